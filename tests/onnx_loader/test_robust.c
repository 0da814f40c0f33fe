/*
 * Files that are cut or changed, and memory that runs out: every one loads, or gives a sentence.
 *
 *   test_robust quick|full     how many of each
 */
#include "tests/onnx_loader/loading.h"
#include "tests/support/scarce_memory.h"

#include "core/base/file.h"
#include "core/base/utf8.h"
#include "onnx_loader/onnx_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL BERT_SOURCE_DIR "/models/zh-sentiment/model.onnx"

static bool full;

/* The bundled model, and where in it there are no weights. */
static unsigned char *original;
static size_t original_size;
static size_t *structure;
static size_t structure_count;

static int compare_offsets(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return x < y ? -1 : x > y;
}

/* Every offset of the file that no initializer's raw_data covers. */
static void find_structure(const bert_onnx_file *file) {
    const BertOnnx__GraphProto *graph = file->model->graph;
    size_t *edges = calloc(2 * graph->n_initializer + 2, sizeof *edges), count = 0;
    structure = malloc(original_size * sizeof *structure);
    assert_non_null(edges);
    assert_non_null(structure);
    for (size_t i = 0; i < graph->n_initializer; i++) {
        const unsigned char *data = NULL;
        size_t size = 0;
        if (!bert_onnx_raw_data(&file->bytes, graph->initializer[i], &data, &size) || size < 64) continue;
        edges[count++] = (size_t)(data - file->bytes.data);
        edges[count++] = (size_t)(data - file->bytes.data) + size;
    }
    qsort(edges, count, sizeof *edges, compare_offsets);
    edges[count] = original_size;
    size_t at = 0;
    for (size_t i = 0; i <= count; i += 2) {
        for (; at < edges[i]; at++) structure[structure_count++] = at;
        if (i < count) at = edges[i + 1];
    }
    free(edges);
}

static int setup(void **state) {
    const bert_model_source source = {.path = MODEL};
    bert_onnx_file file;
    bert_error error = {0};
    if (bert_onnx_file_open(&source, &file, &error) != BERT_OK) fail_msg("%s", error.message);
    original_size = file.bytes.size;
    original = malloc(original_size);
    assert_non_null(original);
    memcpy(original, file.bytes.data, original_size);
    find_structure(&file);
    bert_onnx_file_close(&file);
    assert_in_range(structure_count, 20000, original_size / 10);
    return 0;
}

static int teardown(void **state) {
    free(original);
    free(structure);
    return 0;
}

/* Loads; a failure must be one line of UTF-8 that says something. Returns whether it loaded. */
static bool loads_or_tells(const unsigned char *data, size_t size, const char *what, size_t which) {
    const bert_model_source source = {.data = data, .bytes = size};
    bert_graph *graph = NULL;
    bert_error error = {0};
    bert_status status = bert_onnx_load(&source, &graph, &error);
    if (status == BERT_OK) {
        assert_non_null(graph);
        if (bert_graph_check(graph, &error) != BERT_OK) fail_msg("%s %zu: %s", what, which, error.message);
        bert_graph_free(graph);
        return true;
    }
    size_t length = strlen(error.message);
    if (graph || length < 30 || strchr(error.message, '\n') || error.status != status ||
        bert_utf8_valid_prefix(error.message, length) != length ||
        (status != BERT_INVALID_MODEL && status != BERT_UNSUPPORTED)) {
        fail_msg("%s %zu: status %d, \"%s\"", what, which, status, error.message);
    }
    return false;
}

static void every_prefix_of_the_first_64_kib_is_refused(void **state) {
    enum { PREFIXES = 65536 };
    unsigned char *prefix = malloc(PREFIXES);
    assert_non_null(prefix);
    for (size_t size = 0; size < PREFIXES; size++) {
        /* At the end of memory that is no larger, so that a read behind it is seen by a sanitizer. */
        memcpy(prefix + PREFIXES - size, original, size);
        assert_false(loads_or_tells(prefix + PREFIXES - size, size, "prefix", size));
    }
    free(prefix);
}

/* A cut at the end is found at once by the graph's length; here that length says that the graph ends at the cut. */
static void every_prefix_whose_length_is_put_right_is_refused(void **state) {
    size_t field_at = 0;
    const unsigned char *at = original;
    while (*at != (MODEL_GRAPH << 3 | 2)) { /* in front of the graph there are short fields alone */
        at += (*at & 7) == 0 ? 2 : 2 + at[1];
        assert_true(at < original + 1000);
    }
    field_at = (size_t)(at - original);
    size_t start = field_at + 1;
    while (original[start++] & 0x80) continue;
    size_t step = full ? 3 : 101;
    unsigned char *copy = malloc(start + 65536);
    assert_non_null(copy);
    memcpy(copy, original, start + 65536);
    size_t loaded = 0;
    for (size_t size = 0; size < 65536; size += step) {
        size_t rest = size;
        for (size_t i = field_at + 1; i < start; i++, rest >>= 7) {
            copy[i] = (unsigned char)((rest & 0x7f) | (i + 1 < start ? 0x80 : 0));
        }
        loaded += loads_or_tells(copy, start + size, "graph of", size);
    }
    assert_int_equal(loaded, 0);
    free(copy);
}

/* ---- Mutations ----------------------------------------------------------------------------------------------------
 */

static uint64_t random_state;

static uint64_t next_random(void) {
    /* splitmix64 */
    uint64_t z = random_state += 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

static size_t below(size_t limit) {
    return (size_t)(next_random() % limit);
}

static size_t random_place(void) {
    return below(4) ? structure[below(structure_count)] : below(original_size);
}

typedef struct undo {
    size_t at;
    unsigned char byte;
} undo;

/* Changes up to eight bytes in place; returns how many. */
static size_t change_bytes(unsigned char *data, undo *undone) {
    static const unsigned char extremes[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0x0a, 0x12, 0x2a};
    size_t count = 1 + below(8), run = below(3) == 0, place = random_place();
    for (size_t i = 0; i < count; i++) {
        size_t at = run ? place + i : random_place();
        if (at >= original_size) at = place;
        undone[i] = (undo){at, data[at]};
        switch (below(4)) {
        case 0:
            data[at] ^= (unsigned char)(1U << below(8));
            break;
        case 1:
            data[at] = extremes[below(sizeof extremes)];
            break;
        case 2:
            data[at] = (unsigned char)next_random();
            break;
        default:
            data[at] = (unsigned char)(data[at] + (below(2) ? 1 : -1));
        }
    }
    return count;
}

/* Puts in, takes out or repeats a few bytes; `data` has room for 64 more. Returns the new size. */
static size_t move_bytes(unsigned char *data) {
    size_t at = random_place(), count = 1 + below(40);
    if (at + count > original_size) return original_size - 1;
    switch (below(3)) {
    case 0:
        memmove(data + at, data + at + count, original_size - at - count);
        return original_size - count;
    case 1:
        memmove(data + at + count, data + at, original_size - at);
        for (size_t i = 0; i < count; i++) data[at + i] = (unsigned char)next_random();
        return original_size + count;
    default:
        memmove(data + at + count, data + at, original_size - at);
        return original_size + count;
    }
}

static void mutations_load_or_tell_why_not(void **state) {
    size_t mutations = full ? 10000 : 600, loaded = 0;
    unsigned char *data = malloc(original_size + 64);
    assert_non_null(data);
    memcpy(data, original, original_size);
    for (size_t i = 0; i < mutations; i++) {
        random_state = i * 1000003; /* each can be had again alone */
        if (i % 16 == 0) {
            size_t size = move_bytes(data);
            loaded += loads_or_tells(data, size, "mutation", i);
            memcpy(data, original, original_size);
            continue;
        }
        undo undone[8];
        size_t count = change_bytes(data, undone);
        loaded += loads_or_tells(data, original_size, "mutation", i);
        while (count-- > 0) data[undone[count].at] = undone[count].byte;
    }
    assert_memory_equal(data, original, original_size);
    assert_true(loads_or_tells(data, original_size, "the original", 0));
    /* Neither all nor none: the changes reach into structure, and some are harmless. */
    assert_in_range(loaded, mutations / 50, mutations - mutations / 4);
    free(data);
}

/* ---- Memory that runs out -----------------------------------------------------------------------------------------
 */

/* Everything that allocates: branches, functions, typed elements, a read external file, enough nodes to fill arenas. */
static message rich_model(void) {
    static const int64_t four = 4;
    message graph = {0}, then_branch = {0}, function = {0}, external = tensor_head("far", BERT_FLOAT, 1, &four), n;
    put_message(&graph, GRAPH_INPUT, named_value_info("v0", BERT_FLOAT, "n"));
    put_message(&graph, GRAPH_INPUT, value_info("c", BERT_BOOL, 0, NULL));
    put_message(&external, TENSOR_EXTERNAL, key_value("location", "data.bin"));
    put_int(&external, TENSOR_LOCATION, 1);
    put_message(&graph, GRAPH_INITIALIZER, external);
    message typed = tensor_head("typed", BERT_FLOAT, 1, &four);
    for (int i = 0; i < 4; i++) put_float(&typed, TENSOR_FLOATS, (float)i);
    put_message(&graph, GRAPH_INITIALIZER, typed);
    for (int i = 0; i < 400; i++) {
        char inputs[40], output[16];
        snprintf(inputs, sizeof inputs, "v%d %s", i, i % 2 ? "far" : "typed");
        snprintf(output, sizeof output, "v%d", i + 1);
        n = node(i % 10 ? "Add" : "F", inputs, output);
        if (i % 10 == 0) put_string(&n, NODE_DOMAIN, "local");
        put_message(&n, NODE_ATTRIBUTE, string_attribute("__note", "an attribute"));
        put_message(&graph, GRAPH_NODE, n);
    }
    put_message(&then_branch, GRAPH_NODE, node("Neg", "v400", "out"));
    put_message(&then_branch, GRAPH_OUTPUT, named_value_info("out", BERT_FLOAT, "n"));
    message else_branch = {0};
    put_bytes(&else_branch, then_branch.data, then_branch.size);
    n = node("If", "c", "y");
    put_message(&n, NODE_ATTRIBUTE, graph_attribute("then_branch", then_branch));
    put_message(&n, NODE_ATTRIBUTE, graph_attribute("else_branch", else_branch));
    put_message(&graph, GRAPH_NODE, n);
    put_message(&graph, GRAPH_OUTPUT, named_value_info("y", BERT_FLOAT, "n"));
    message m = model(8, 17, graph);
    put_string(&function, FUNCTION_NAME, "F");
    put_string(&function, FUNCTION_DOMAIN, "local");
    put_string(&function, FUNCTION_INPUT, "a");
    put_string(&function, FUNCTION_INPUT, "b");
    put_string(&function, FUNCTION_OUTPUT, "r");
    put_message(&function, FUNCTION_NODE, node("Add", "a b", "t"));
    put_message(&function, FUNCTION_NODE, node("Abs", "t", "r"));
    put_message(&m, MODEL_FUNCTION, function);
    return m;
}

static bert_status load_with(scarce_memory *memory, const char *path, bert_error *error) {
    const bert_allocator allocator = scarce_allocator(memory);
    const bert_model_source source = {.path = path, .read_files = true, .allocator = &allocator};
    bert_graph *graph = NULL;
    bert_status status = bert_onnx_load(&source, &graph, error);
    assert_int_equal(graph != NULL, status == BERT_OK);
    bert_graph_free(graph);
    assert_int_equal(memory->live, 0);
    return status;
}

static void running_out_of_memory_anywhere_leaks_nothing(void **state) {
    char folder[64], path[80];
    make_folder(folder);
    message m = rich_model();
    write_file(folder, "model.onnx", m.data, m.size);
    write_file(folder, "data.bin", "0123456789abcdef", 16);
    free_message(&m);
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    scarce_memory plenty = {0};
    bert_error error = {0};
    if (load_with(&plenty, path, &error) != BERT_OK) fail_msg("%s", error.message);
    assert_in_range(plenty.allocations, 30, 5000);
    for (size_t i = 0; i < plenty.allocations; i++) {
        scarce_memory from_here = {.fail_from = i, .fail_to = SIZE_MAX}, just_here = {.fail_from = i, .fail_to = i + 1};
        assert_int_equal(load_with(&from_here, path, &error), BERT_OUT_OF_MEMORY);
        assert_int_equal(error.status, BERT_OUT_OF_MEMORY);
        assert_non_null(strstr(error.message, "could not allocate"));
        assert_int_equal(load_with(&just_here, path, NULL), BERT_OUT_OF_MEMORY);
    }
    remove_folder(folder);
}

int main(int argc, char **argv) {
    full = argc > 1 && strcmp(argv[1], "full") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_prefix_of_the_first_64_kib_is_refused),
        cmocka_unit_test(every_prefix_whose_length_is_put_right_is_refused),
        cmocka_unit_test(mutations_load_or_tell_why_not),
        cmocka_unit_test(running_out_of_memory_anywhere_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
