/* Tensors: where their elements may be, and what is refused. */
#include "tests/onnx_loader/loading.h"

#include "core/base/float16.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A model with the one initializer "w" and an input that is its output. */
static message model_of(message tensor) {
    message graph = {0};
    put_message(&graph, GRAPH_INITIALIZER, tensor);
    put_message(&graph, GRAPH_INPUT, named_value_info("x", 1, "batch"));
    put_message(&graph, GRAPH_OUTPUT, named_value_info("x", 1, "batch"));
    return model(8, 17, graph);
}

static const bert_constant *constant_of(const bert_graph *graph) {
    const bert_value *value = value_named(graph, "w");
    assert_non_null(value->info.constant);
    assert_int_equal(value->info.dtype, value->info.constant->dtype);
    return value->info.constant;
}

static void expect_elements(message tensor, int type, int64_t count, const double *expected) {
    message m = model_of(tensor);
    bert_graph *graph = load(&m);
    const bert_constant *constant = constant_of(graph);
    assert_int_equal(constant->dtype, type);
    assert_int_equal(bert_constant_elements(constant), count);
    for (int64_t i = 0; i < count; i++) assert_true(bert_constant_double(constant, i) == expected[i]);
    release(graph, &m);
}

static message ints_tensor(int type, uint32_t field, int64_t count, const int64_t *values) {
    message m = tensor_head("w", type, 1, &count), packed = {0};
    for (int64_t i = 0; i < count; i++) put_varint(&packed, (uint64_t)values[i]);
    put_message(&m, field, packed);
    return m;
}

static void integers_come_from_the_list_of_their_type(void **state) {
    static const int64_t small[] = {0, 1, 127};
    static const double same[] = {0, 1, 127}, as_bool[] = {0, 1, 1};
    static const int in_int32[] = {BERT_UINT8, BERT_INT8, BERT_UINT16, BERT_INT16, BERT_INT32};
    for (size_t i = 0; i < sizeof in_int32 / sizeof in_int32[0]; i++) {
        expect_elements(ints_tensor(in_int32[i], TENSOR_INT32S, 3, small), in_int32[i], 3, same);
    }
    expect_elements(ints_tensor(BERT_BOOL, TENSOR_INT32S, 3, small), BERT_BOOL, 3, as_bool);
    expect_elements(ints_tensor(BERT_INT64, TENSOR_INT64S, 3, small), BERT_INT64, 3, same);
    expect_elements(ints_tensor(BERT_UINT32, TENSOR_UINT64S, 3, small), BERT_UINT32, 3, same);
    expect_elements(ints_tensor(BERT_UINT64, TENSOR_UINT64S, 3, small), BERT_UINT64, 3, same);
    static const int64_t low[] = {-128, -1, 127};
    static const double low_same[] = {-128, -1, 127};
    expect_elements(ints_tensor(BERT_INT8, TENSOR_INT32S, 3, low), BERT_INT8, 3, low_same);
    expect_elements(ints_tensor(BERT_INT32, TENSOR_INT32S, 3, low), BERT_INT32, 3, low_same);
    expect_elements(ints_tensor(BERT_INT64, TENSOR_INT64S, 3, low), BERT_INT64, 3, low_same);
}

static void half_floats_come_as_their_bits(void **state) {
    static const double expected[] = {1.0, -2.0, 0.5};
    int64_t bits[3];
    for (int i = 0; i < 3; i++) bits[i] = bert_float_to_half((float)expected[i]);
    expect_elements(ints_tensor(BERT_FLOAT16, TENSOR_INT32S, 3, bits), BERT_FLOAT16, 3, expected);
    for (int i = 0; i < 3; i++) bits[i] = bert_float_to_bfloat16((float)expected[i]);
    expect_elements(ints_tensor(BERT_BFLOAT16, TENSOR_INT32S, 3, bits), BERT_BFLOAT16, 3, expected);
    int64_t count = 3;
    uint16_t raw[3];
    for (int i = 0; i < 3; i++) raw[i] = bert_float_to_bfloat16((float)expected[i]);
    message m = tensor_head("w", BERT_BFLOAT16, 1, &count);
    put_blob(&m, TENSOR_RAW, raw, sizeof raw);
    expect_elements(m, BERT_BFLOAT16, 3, expected);
}

static void floats_come_from_the_list_of_their_type(void **state) {
    static const double expected[] = {0.5, -1.25};
    int64_t count = 2;
    message m = tensor_head("w", BERT_FLOAT, 1, &count);
    put_float(&m, TENSOR_FLOATS, 0.5F);
    put_float(&m, TENSOR_FLOATS, -1.25F);
    expect_elements(m, BERT_FLOAT, 2, expected);
    m = tensor_head("w", BERT_DOUBLE, 1, &count);
    put_blob(&m, TENSOR_DOUBLES, expected, sizeof expected);
    expect_elements(m, BERT_DOUBLE, 2, expected);
}

static void scalars_and_empty_tensors_are_kept(void **state) {
    static const double half[] = {0.5};
    static const float raw = 0.5F;
    message m = tensor_head("w", BERT_FLOAT, 0, NULL);
    put_blob(&m, TENSOR_RAW, &raw, sizeof raw);
    expect_elements(m, BERT_FLOAT, 1, half);
    static const int64_t empty[] = {3, 0};
    expect_elements(tensor_head("w", BERT_FLOAT, 2, empty), BERT_FLOAT, 0, NULL);
    m = tensor_head("w", BERT_INT64, 2, empty);
    put_blob(&m, TENSOR_RAW, "", 0);
    expect_elements(m, BERT_INT64, 0, NULL);
    /* Near miss: no elements where there must be one. */
    expect_refused(model_of(tensor_head("w", BERT_FLOAT, 0, NULL)), BERT_INVALID_MODEL,
                   "initializer w: it has 0 elements in float_data, and its shape wants 1");
}

static void raw_data_is_a_view_with_its_alignment_known(void **state) {
    bool unaligned = false;
    for (int shift = 0; shift < 8; shift++) {
        message tensor = {0}, m;
        char name[16] = "w";
        for (int i = 0; i < shift; i++) put_int(&tensor, 1000, 1); /* moves what follows by three bytes */
        put_message(&tensor, 1000, (message){0});
        int64_t count = 5;
        message rest = tensor_head(name, 1, 1, &count);
        put_bytes(&tensor, rest.data, rest.size);
        free_message(&rest);
        static const float values[] = {1, 2, 3, 4, 5};
        put_blob(&tensor, TENSOR_RAW, values, sizeof values);
        m = model_of(tensor);
        bert_graph *graph = load(&m);
        const bert_constant *w = constant_of(graph);
        assert_true(w->data >= m.data && w->data + w->bytes <= m.data + m.size);
        assert_int_equal((uintptr_t)w->data % w->alignment, 0);
        if (w->alignment < sizeof(float)) unaligned = true;
        assert_memory_equal(w->data, values, sizeof values);
        assert_null(w->file); /* memory, not a mapping */
        release(graph, &m);
    }
    assert_true(unaligned);
}

static void a_bool_is_zero_or_one_whatever_the_file_has(void **state) {
    int64_t count = 4;
    message m = tensor_head("w", BERT_BOOL, 1, &count);
    put_blob(&m, TENSOR_RAW, "\0\1\2\xff", 4);
    static const double expected[] = {0, 1, 1, 1};
    m = model_of(m);
    bert_graph *graph = load(&m);
    const bert_constant *w = constant_of(graph);
    for (int i = 0; i < 4; i++) assert_int_equal(w->data[i], expected[i]);
    release(graph, &m);
    m = tensor_head("w", BERT_BOOL, 1, &count);
    put_blob(&m, TENSOR_RAW, "\0\1\1\0", 4);
    m = model_of(m);
    graph = load(&m);
    w = constant_of(graph);
    assert_true(w->data >= m.data && w->data < m.data + m.size); /* good as it is: not copied */
    release(graph, &m);
}

static void elements_outside_their_type_are_refused(void **state) {
    static const struct {
        int type;
        uint32_t field;
        int64_t value;
    } bad[] = {{BERT_UINT8, TENSOR_INT32S, 256},
               {BERT_UINT8, TENSOR_INT32S, -1},
               {BERT_INT8, TENSOR_INT32S, 128},
               {BERT_INT16, TENSOR_INT32S, -32769},
               {BERT_UINT16, TENSOR_INT32S, 65536},
               {BERT_FLOAT16, TENSOR_INT32S, 65536},
               {BERT_UINT32, TENSOR_UINT64S, (int64_t)1 << 32}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const int64_t values[] = {0, bad[i].value};
        expect_refused(model_of(ints_tensor(bad[i].type, bad[i].field, 2, values)), BERT_INVALID_MODEL,
                       "initializer w: its element 1 is");
    }
}

static void contradictions_in_a_tensor_are_refused(void **state) {
    static const int64_t one = 1, two = 2, negative = -1, values[] = {1, 2};
    static const int64_t huge[] = {1 << 20, 1 << 20, 1 << 20, 1 << 20}, nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    expect_refused(model_of(ints_tensor(BERT_INT64, TENSOR_INT32S, 2, values)), BERT_INVALID_MODEL,
                   "elements elsewhere than in int64_data");
    message m = ints_tensor(BERT_INT64, TENSOR_INT64S, 2, values);
    put_blob(&m, TENSOR_RAW, values, sizeof values);
    expect_refused(model_of(m), BERT_INVALID_MODEL, "in raw_data and in int64_data");
    m = tensor_head("w", BERT_FLOAT, 1, &two);
    put_blob(&m, TENSOR_RAW, values, 7);
    expect_refused(model_of(m), BERT_INVALID_MODEL, "raw_data has 7 bytes, and its type and shape want 8");
    expect_refused(model_of(tensor_head("w", BERT_FLOAT, 1, &negative)), BERT_INVALID_MODEL, "negative");
    expect_refused(model_of(tensor_head("w", BERT_FLOAT, 4, huge)), BERT_INVALID_MODEL, "more than memory holds");
    expect_refused(model_of(tensor_head("w", BERT_FLOAT, 9, nine)), BERT_UNSUPPORTED, "9 dimensions");
    expect_refused(model_of(tensor_head("w", 8, 1, &one)), BERT_UNSUPPORTED, "type string");
    expect_refused(model_of(tensor_head("w", 17, 1, &one)), BERT_UNSUPPORTED, "type float8e4m3fn (17)");
    expect_refused(model_of(tensor_head("w", 0, 1, &one)), BERT_UNSUPPORTED, "type undefined (0)");
    expect_refused(model_of(tensor_head("w", 1000, 1, &one)), BERT_UNSUPPORTED, "(1000)");
    m = float_tensor("w", 2);
    put_int(&m, TENSOR_LOCATION, 2);
    expect_refused(model_of(m), BERT_INVALID_MODEL, "data_location is 2");
    m = float_tensor("w", 2);
    put_blob(&m, TENSOR_SEGMENT, "", 0);
    expect_refused(model_of(m), BERT_UNSUPPORTED, "segment");
    expect_refused(model_of(float_tensor("", 2)), BERT_INVALID_MODEL, "initializer 0 has no name");
}

static void a_small_file_that_claims_gigabytes_is_refused(void **state) {
    static const int64_t dims[] = {3, 1 << 20, 1 << 8};
    static const float some[] = {1, 2, 3};
    message m = tensor_head("w", BERT_FLOAT, 3, dims);
    put_blob(&m, TENSOR_RAW, some, sizeof some);
    expect_refused(model_of(m), BERT_INVALID_MODEL, "want 3221225472");
    m = tensor_head("w", BERT_FLOAT, 3, dims);
    put_blob(&m, TENSOR_FLOATS, some, sizeof some);
    expect_refused(model_of(m), BERT_INVALID_MODEL, "its shape wants 805306368");
    message graph = {0};
    m = (message){0};
    put_int(&m, MODEL_IR_VERSION, 8);
    put_tag(&graph, GRAPH_INITIALIZER, 2);
    put_varint(&graph, 3221225472U);
    put_message(&m, MODEL_GRAPH, graph);
    expect_refused(m, BERT_INVALID_MODEL, "ends before the field does");
}

/* ---- External data ------------------------------------------------------------------------------------------------
 */

static message external_tensor(const char *location, const char *offset, const char *length) {
    int64_t count = 4;
    message m = tensor_head("w", BERT_FLOAT, 1, &count);
    if (location) put_message(&m, TENSOR_EXTERNAL, key_value("location", location));
    if (offset) put_message(&m, TENSOR_EXTERNAL, key_value("offset", offset));
    if (length) put_message(&m, TENSOR_EXTERNAL, key_value("length", length));
    put_message(&m, TENSOR_EXTERNAL, key_value("checksum", "0123"));
    put_int(&m, TENSOR_LOCATION, 1);
    return m;
}

static const float external_values[] = {1, 2, 3, 4, 5, 6, 7, 8};

/* Writes the model beside the data and expects element 0 of the tensor to be `first`, or the failure. */
static void try_external(const char *folder, message tensor, double first, bert_status expected, const char *part) {
    char path[256];
    message m = model_of(tensor);
    write_file(folder, "model.onnx", m.data, m.size);
    free_message(&m);
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    if (expected != BERT_OK) {
        expect_file_refused(path, expected, part);
        return;
    }
    for (int read_files = 0; read_files < 2; read_files++) {
        const bert_model_source source = {.path = path, .read_files = read_files};
        bert_graph *graph = NULL;
        bert_error error = {0};
        if (bert_onnx_load(&source, &graph, &error) != BERT_OK) fail_msg("%s", error.message);
        const bert_constant *w = constant_of(graph);
        for (int i = 0; i < 4; i++) assert_true(bert_constant_double(w, i) == first + i);
        assert_int_equal(w->file != NULL, !read_files);
        bert_graph_free(graph);
    }
}

static void external_data_is_mapped_by_offset_and_length(void **state) {
    char folder[64], below[80];
    make_folder(folder);
    write_file(folder, "data.bin", external_values, sizeof external_values);
    snprintf(below, sizeof below, "%s/weights", folder);
    assert_int_equal(mkdir(below, 0700), 0);
    write_file(below, "data.bin", external_values, sizeof external_values);
    try_external(folder, external_tensor("data.bin", NULL, NULL), 1, BERT_OK, NULL);
    try_external(folder, external_tensor("data.bin", "0", "16"), 1, BERT_OK, NULL);
    try_external(folder, external_tensor("data.bin", "8", "16"), 3, BERT_OK, NULL);
    try_external(folder, external_tensor("data.bin", "16", NULL), 5, BERT_OK, NULL);
    try_external(folder, external_tensor("weights/data.bin", "4", "16"), 2, BERT_OK, NULL);
    try_external(folder, external_tensor("./weights/./data.bin", "4", "16"), 2, BERT_OK, NULL);
    remove_folder(folder);
}

static void external_data_that_contradicts_its_file_is_refused(void **state) {
    char folder[64];
    make_folder(folder);
    write_file(folder, "data.bin", external_values, sizeof external_values);
    write_file(folder, "empty.bin", "", 0);
    bert_status bad = BERT_INVALID_MODEL;
    try_external(folder, external_tensor("data.bin", "17", "16"), 0, bad, "of data.bin, which has 32");
    try_external(folder, external_tensor("data.bin", "18446744073709551615", NULL), 0, bad, "which has 32");
    try_external(folder, external_tensor("data.bin", "18446744073709551616", NULL), 0, bad, "not a number");
    try_external(folder, external_tensor("data.bin", "-1", NULL), 0, bad, "not a number");
    try_external(folder, external_tensor("data.bin", "", NULL), 0, bad, "not a number");
    try_external(folder, external_tensor("data.bin", "0", "15"), 0, bad, "15 bytes of external data");
    try_external(folder, external_tensor("data.bin", "0", "0x10"), 0, bad, "not a number");
    try_external(folder, external_tensor("empty.bin", NULL, NULL), 0, bad, "which has 0");
    try_external(folder, external_tensor(NULL, NULL, NULL), 0, bad, "without a location");
    try_external(folder, external_tensor("", NULL, NULL), 0, bad, "without a location");
    message both = external_tensor("data.bin", NULL, NULL);
    put_blob(&both, TENSOR_RAW, external_values, 16);
    try_external(folder, both, 0, bad, "in the model's file and in another");
    try_external(folder, external_tensor("missing.bin", NULL, NULL), 0, BERT_IO_ERROR, "missing.bin");
    remove_folder(folder);
}

static void external_data_never_comes_from_outside_the_folder(void **state) {
    char folder[64], outside[64], path[160], target[160];
    make_folder(folder);
    make_folder(outside);
    write_file(outside, "data.bin", external_values, sizeof external_values);
    snprintf(target, sizeof target, "%s/data.bin", outside);
    bert_status bad = BERT_INVALID_MODEL;
    try_external(folder, external_tensor(target, NULL, NULL), 0, bad, "only paths inside");
    const char *up = strrchr(outside, '/');
    snprintf(path, sizeof path, "..%s/data.bin", up);
    try_external(folder, external_tensor(path, NULL, NULL), 0, bad, "only paths inside");
    snprintf(path, sizeof path, "a/../..%s/data.bin", up);
    try_external(folder, external_tensor(path, NULL, NULL), 0, bad, "only paths inside");
    try_external(folder, external_tensor("..", NULL, NULL), 0, bad, "only paths inside");
    try_external(folder, external_tensor("..\\data.bin", NULL, NULL), 0, bad, "only paths inside");
    snprintf(path, sizeof path, "%s/link.bin", folder);
    assert_int_equal(symlink(target, path), 0);
    try_external(folder, external_tensor("link.bin", NULL, NULL), 0, bad, "link out of the model's folder");
    snprintf(path, sizeof path, "%s/link", folder);
    assert_int_equal(symlink(outside, path), 0);
    try_external(folder, external_tensor("link/data.bin", NULL, NULL), 0, bad, "link out of the model's folder");
    /* Near misses: two dots inside a name, and a link that stays inside. */
    write_file(folder, "data..bin", external_values, sizeof external_values);
    try_external(folder, external_tensor("data..bin", NULL, NULL), 1, BERT_OK, NULL);
    snprintf(path, sizeof path, "%s/inside.bin", folder);
    assert_int_equal(symlink("data..bin", path), 0);
    try_external(folder, external_tensor("inside.bin", NULL, NULL), 1, BERT_OK, NULL);
    try_external(folder, external_tensor(".", NULL, NULL), 0, bad, "link out of the model's folder");
    remove_folder(folder);
    remove_folder(outside);
}

/* A cache that keeps files by their hash and has folders of links to them. */
static void a_model_and_its_data_may_both_be_links_to_files_side_by_side(void **state) {
    char cache[64], blobs[80], snapshot[80], path[160];
    make_folder(cache);
    snprintf(blobs, sizeof blobs, "%s/blobs", cache);
    snprintf(snapshot, sizeof snapshot, "%s/snapshot", cache);
    assert_int_equal(mkdir(blobs, 0700), 0);
    assert_int_equal(mkdir(snapshot, 0700), 0);
    message m = model_of(external_tensor("model.onnx_data", "4", "16"));
    write_file(blobs, "1111", m.data, m.size);
    write_file(blobs, "2222", external_values, sizeof external_values);
    free_message(&m);
    snprintf(path, sizeof path, "%s/model.onnx_data", snapshot);
    assert_int_equal(symlink("../blobs/2222", path), 0);
    snprintf(path, sizeof path, "%s/model.onnx", snapshot);
    assert_int_equal(symlink("../blobs/1111", path), 0);
    const bert_model_source source = {.path = path};
    bert_graph *graph = NULL;
    bert_error error = {0};
    if (bert_onnx_load(&source, &graph, &error) != BERT_OK) fail_msg("%s", error.message);
    assert_true(bert_constant_double(constant_of(graph), 0) == 2.0);
    bert_graph_free(graph);
    remove_folder(cache);
}

static void a_model_in_memory_has_external_data_where_it_is_told(void **state) {
    char folder[64];
    make_folder(folder);
    write_file(folder, "data.bin", external_values, sizeof external_values);
    message m = model_of(external_tensor("data.bin", "4", "16"));
    const bert_model_source source = {.data = m.data, .bytes = m.size, .external_data_folder = folder};
    bert_graph *graph = NULL;
    bert_error error = {0};
    if (bert_onnx_load(&source, &graph, &error) != BERT_OK) fail_msg("%s", error.message);
    assert_true(bert_constant_double(constant_of(graph), 0) == 2.0);
    bert_graph_free(graph);
    expect_refused(m, BERT_INVALID_MODEL, "no folder unless one is given");
    remove_folder(folder);
}

static void a_file_of_external_data_is_mapped_once(void **state) {
    char folder[64], path[160];
    make_folder(folder);
    write_file(folder, "data.bin", external_values, sizeof external_values);
    message graph_message = {0};
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        message tensor = external_tensor("data.bin", "4", "16");
        put_string(&tensor, TENSOR_NAME, name);
        put_message(&graph_message, GRAPH_INITIALIZER, tensor);
    }
    put_message(&graph_message, GRAPH_OUTPUT, named_value_info("w0", 1, "n"));
    message m = model(8, 17, graph_message);
    write_file(folder, "model.onnx", m.data, m.size);
    free_message(&m);
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    const bert_model_source source = {.path = path};
    bert_graph *graph = NULL;
    bert_error error = {0};
    if (bert_onnx_load(&source, &graph, &error) != BERT_OK) fail_msg("%s", error.message);
    int files = 0;
    for (const bert_graph_file *file = graph->files; file; file = file->next) files++;
    assert_int_equal(files, 2);
    bert_graph_free(graph);
    remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_come_from_the_list_of_their_type),
        cmocka_unit_test(half_floats_come_as_their_bits),
        cmocka_unit_test(floats_come_from_the_list_of_their_type),
        cmocka_unit_test(scalars_and_empty_tensors_are_kept),
        cmocka_unit_test(raw_data_is_a_view_with_its_alignment_known),
        cmocka_unit_test(a_bool_is_zero_or_one_whatever_the_file_has),
        cmocka_unit_test(elements_outside_their_type_are_refused),
        cmocka_unit_test(contradictions_in_a_tensor_are_refused),
        cmocka_unit_test(a_small_file_that_claims_gigabytes_is_refused),
        cmocka_unit_test(external_data_is_mapped_by_offset_and_length),
        cmocka_unit_test(external_data_that_contradicts_its_file_is_refused),
        cmocka_unit_test(external_data_never_comes_from_outside_the_folder),
        cmocka_unit_test(a_model_and_its_data_may_both_be_links_to_files_side_by_side),
        cmocka_unit_test(a_model_in_memory_has_external_data_where_it_is_told),
        cmocka_unit_test(a_file_of_external_data_is_mapped_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
