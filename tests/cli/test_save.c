/* bertc inspect --save-optimized: what it writes is the same model, whole or not at all. */
#include "core/base/json.h"
#include "tests/cli/driver.h"
#include "tests/support/onnx_writer.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const char bundled[] = MODEL_FOLDER;

/* A folder with the data sets of a case of GRAPHS and its tolerances, for a model that is still to come. */
static char *case_without_model(const char *folder, const char *name) {
    char *target = cli_path(folder, name);
    assert_int_equal(mkdir(target, 0777), 0);
    for (int set = 0; set < 3; set++) {
        char from[512];
        char data_set[32];
        snprintf(data_set, sizeof data_set, "test_data_set_%d", set);
        snprintf(from, sizeof from, "%s/%s/%s", GRAPHS, name, data_set);
        char *to = cli_path(target, data_set);
        assert_int_equal(symlink(from, to), 0);
        free(to);
    }
    return target;
}

/* The list of operators that inspect gives for a model, as text. */
static char *operators(const char *model) {
    cli_result result = CLI("inspect", model, "--format", "json");
    cli_expect(&result, 0);
    char *begin = strstr(result.out, "\"ops\"");
    char *end = begin ? strchr(begin, ']') : NULL;
    if (!end) {
        fail_msg("no list of operators in %s", result.out);
        return NULL;
    }
    char *text = strndup(begin, (size_t)(end - begin));
    cli_free(&result);
    return text;
}

static void save(const char *model, const char *saved, const char *option) {
    cli_result result = CLI("inspect", model, "--save-optimized", saved, option);
    cli_expect(&result, 0);
    cli_free(&result);
}

static void verify(const char *saved_case, const char *option) {
    cli_result result = CLI("verify", saved_case, option);
    cli_expect(&result, 0);
    cli_free(&result);
}

/* Saved with `option`, a case passes as before, and with its functions' bodies run as they stand. */
static void check_case(const char *folder, const char *name, const char *option) {
    char *saved_case = case_without_model(folder, name);
    char *saved = cli_path(saved_case, "model.onnx");
    char model[512];
    snprintf(model, sizeof model, "%s/%s/model.onnx", GRAPHS, name);
    save(model, saved, option);
    verify(saved_case, "--quiet");
    /* Operator by operator float16 is rounded more often than the file's fused ones do. */
    cli_result plain = CLI("verify", saved_case, "--no-passes", strstr(name, "fp16") ? "--atol=2e-2" : "--quiet");
    cli_expect(&plain, 0);
    cli_free(&plain);
    if (strcmp(option, "--no-passes") != 0) {
        char *before = operators(model), *after = operators(saved);
        assert_string_equal(after, before);
        free(before);
        free(after);
    }
    free(saved);
    free(saved_case);
}

static void every_case_is_the_same_after_saving(void **state) {
    static const char *const options[] = {"--quiet", "--external-data", "--no-passes"};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        char *folder = strdup(cli_make_folder());
        char *tolerances = cli_path(folder, "tolerances.txt");
        cli_copy(GRAPHS "/tolerances.txt", tolerances);
        DIR *listing = opendir(GRAPHS);
        assert_non_null(listing);
        int count = 0;
        for (const struct dirent *entry; (entry = readdir(listing));) {
            if (entry->d_name[0] == '.' || strchr(entry->d_name, '.')) continue;
            check_case(folder, entry->d_name, options[i]);
            count++;
        }
        closedir(listing);
        assert_true(count >= 5);
        free(tolerances);
        free(folder);
    }
}

static int64_t size_of(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 ? (int64_t)status.st_size : -1;
}

static void external_data_lies_beside_the_model(void **state) {
    const char *folder = cli_make_folder();
    char *saved = cli_path(folder, "small.onnx"), *data = cli_path(folder, "small.onnx.data");
    save(MODEL_FOLDER "/model.onnx", saved, "--external-data");
    assert_true(size_of(saved) < 300000);
    assert_true(size_of(data) > 4821 * 128 * 4); /* the table of words */
    char *words = operators(saved), *expected = operators(MODEL_FOLDER "/model.onnx");
    assert_string_equal(words, expected);
    free(words);
    free(expected);
    assert_int_equal(remove(data), 0);
    cli_expect_one_sentence(CLI("inspect", saved), "small.onnx.data");
    free(saved);
    free(data);
}

static int files_in(const char *folder) {
    DIR *listing = opendir(folder);
    assert_non_null(listing);
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(listing));) count += entry->d_name[0] != '.';
    closedir(listing);
    return count;
}

static void a_model_can_be_saved_over_itself(void **state) {
    const char *folder = cli_make_folder();
    char *model = cli_path(folder, "model.onnx");
    cli_copy(MODEL_FOLDER "/model.onnx", model);
    char *expected = operators(model);
    save(model, model, "--quiet");
    char *after = operators(model);
    assert_string_equal(after, expected);
    assert_int_equal(files_in(folder), 1);
    free(expected);
    free(after);
    free(model);
}

static void what_can_not_be_written_is_said_and_leaves_nothing(void **state) {
    const char *folder = cli_make_folder();
    char *missing = cli_path(folder, "missing/model.onnx"), *saved = cli_path(folder, "model.onnx");
    cli_expect_one_sentence(CLI("inspect", bundled, "--save-optimized", missing), "No such file or directory");
    cli_expect_one_sentence(CLI("inspect", bundled, "--save-optimized", folder), "not a regular file");
    assert_int_equal(files_in(folder), 0);
    /* A disk that is full after 100,000 bytes: what stood there stays, and nothing else is left. */
    cli_write_file(saved, "before", 6);
    struct rlimit limit = {.rlim_cur = 100000, .rlim_max = RLIM_INFINITY};
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cli_result results[2] = {CLI("inspect", bundled, "--save-optimized", saved),
                             CLI("inspect", bundled, "--save-optimized", saved, "--external-data")};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    for (int i = 0; i < 2; i++) cli_expect_one_sentence(results[i], "File too large");
    assert_int_equal(files_in(folder), 1);
    size_t size;
    char *text = cli_read_file(saved, &size);
    assert_string_equal(text, "before");
    free(text);
    free(saved);
    free(missing);
}

/* Loaded again, what was saved has the same operators, and its first output the same bits. `option` is run's. */
static void expect_found_again(const char *folder, const char *original, const char *option) {
    char *saved = cli_path(folder, "saved.onnx"), *out[2] = {cli_path(folder, "before"), cli_path(folder, "after")};
    save(original, saved, "--quiet");
    char *logits[2];
    size_t sizes[2];
    for (int i = 0; i < 2; i++) {
        const char *model = i ? saved : original;
        cli_result result = CLI("run", model, "--random", option, "--output-dir", out[i], "--threads", "1");
        cli_expect(&result, 0);
        cli_free(&result);
        char *file = cli_path(out[i], "output_0.npy");
        logits[i] = cli_read_file(file, &sizes[i]);
        free(file);
    }
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(logits[0], logits[1], sizes[0]);
    char *before = operators(original), *after = operators(saved);
    assert_string_equal(after, before);
    free(before);
    free(after);
    for (int i = 0; i < 2; i++) {
        free(logits[i]);
        free(out[i]);
    }
    free(saved);
}

/* A product that multiplies [CLS] alone becomes a function that takes its row. */
static void a_product_of_one_place_is_found_again(void **state) {
    expect_found_again(cli_make_folder(), MODEL_FOLDER "/model-optimized-quantized.onnx", "--shape=batch=2,sequence=9");
}

static message scalar_of(const char *name, int type, const void *data, size_t size) {
    message tensor = tensor_head(name, type, 0, NULL);
    put_blob(&tensor, TENSOR_RAW, data, size);
    return tensor;
}

/* The graph becomes a node of the canonical operator, which is found again in what is saved. */
static void expect_becomes(message graph, const char *op) {
    const char *folder = cli_make_folder();
    char *path = cli_path(folder, "model.onnx");
    message whole = model(8, 17, graph);
    cli_write_file(path, whole.data, whole.size);
    free_message(&whole);
    char *names = operators(path);
    assert_non_null(strstr(names, op));
    free(names);
    expect_found_again(folder, path, "--quiet");
    free(path);
}

/* x in bytes, squared between bytes, and as floats again. */
static void a_table_of_bytes_is_found_again(void **state) {
    enum { FLOAT = 1, UINT8 = 2 };
    message graph = {0};
    put_message(&graph, GRAPH_INITIALIZER, scalar_of("s", FLOAT, &(float){0.0117F}, sizeof(float)));
    put_message(&graph, GRAPH_INITIALIZER, scalar_of("z", UINT8, &(unsigned char){128}, 1));
    put_message(&graph, GRAPH_INPUT, value_info("x", FLOAT, 2, (const int64_t[]){2, 300}));
    put_message(&graph, GRAPH_NODE, node("QuantizeLinear", "x s z", "q"));
    put_message(&graph, GRAPH_NODE, node("DequantizeLinear", "q s z", "d"));
    put_message(&graph, GRAPH_NODE, node("Mul", "d d", "m"));
    put_message(&graph, GRAPH_NODE, node("QuantizeLinear", "m s z", "r"));
    put_message(&graph, GRAPH_NODE, node("DequantizeLinear", "r s z", "output_0"));
    put_message(&graph, GRAPH_OUTPUT, value_info("output_0", FLOAT, 2, (const int64_t[]){2, 300}));
    expect_becomes(graph, "Lookup");
}

/* A bias between bytes: added to x in bytes, and the sum in bytes as floats again. */
static void a_sum_between_bytes_is_found_again(void **state) {
    enum { FLOAT = 1, INT8 = 3 };
    float bias[300];
    for (int i = 0; i < 300; i++) bias[i] = (float)i * 0.01F - 1;
    message graph = {0};
    put_message(&graph, GRAPH_INITIALIZER, scalar_of("s", FLOAT, &(float){0.0117F}, sizeof(float)));
    put_message(&graph, GRAPH_INITIALIZER, scalar_of("t", FLOAT, &(float){0.023F}, sizeof(float)));
    put_message(&graph, GRAPH_INITIALIZER, scalar_of("z", INT8, &(signed char){-7}, 1));
    message row = tensor_head("bias", FLOAT, 1, (const int64_t[]){300});
    put_blob(&row, TENSOR_RAW, bias, sizeof bias);
    put_message(&graph, GRAPH_INITIALIZER, row);
    put_message(&graph, GRAPH_INPUT, value_info("x", FLOAT, 2, (const int64_t[]){2, 300}));
    put_message(&graph, GRAPH_NODE, node("QuantizeLinear", "x s z", "q"));
    put_message(&graph, GRAPH_NODE, node("DequantizeLinear", "q s z", "d"));
    put_message(&graph, GRAPH_NODE, node("Add", "bias d", "m"));
    put_message(&graph, GRAPH_NODE, node("QuantizeLinear", "m t z", "r"));
    put_message(&graph, GRAPH_NODE, node("DequantizeLinear", "r t z", "output_0"));
    put_message(&graph, GRAPH_OUTPUT, value_info("output_0", FLOAT, 2, (const int64_t[]){2, 300}));
    expect_becomes(graph, "QuantizedAdd");
}

/* A product of bytes that no QuantizeLinear makes: its function has one, which is dropped when it is read. */
static void a_product_of_bytes_is_found_again(void **state) {
    enum { FLOAT = 1, UINT8 = 2, INT8 = 3 };
    signed char weights[20];
    for (int i = 0; i < 20; i++) weights[i] = (signed char)(i * 37 % 251 - 125);
    message graph = {0};
    put_message(&graph, GRAPH_INITIALIZER, scalar_of("s", FLOAT, &(float){0.0117F}, sizeof(float)));
    put_message(&graph, GRAPH_INITIALIZER, scalar_of("z", UINT8, &(unsigned char){119}, 1));
    message matrix = tensor_head("w", INT8, 2, (const int64_t[]){4, 5});
    put_blob(&matrix, TENSOR_RAW, weights, sizeof weights);
    put_message(&graph, GRAPH_INITIALIZER, matrix);
    put_message(&graph, GRAPH_INPUT, value_info("q", UINT8, 3, (const int64_t[]){2, 3, 4}));
    put_message(&graph, GRAPH_NODE, node("DequantizeLinear", "q s z", "x"));
    put_message(&graph, GRAPH_NODE, node("DequantizeLinear", "w s", "floats"));
    put_message(&graph, GRAPH_NODE, node("MatMul", "x floats", "output_0"));
    put_message(&graph, GRAPH_OUTPUT, value_info("output_0", FLOAT, 3, (const int64_t[]){2, 3, 5}));
    expect_becomes(graph, "QuantizedLinear");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_is_the_same_after_saving),
        cmocka_unit_test(external_data_lies_beside_the_model),
        cmocka_unit_test(a_model_can_be_saved_over_itself),
        cmocka_unit_test(a_product_of_one_place_is_found_again),
        cmocka_unit_test(a_table_of_bytes_is_found_again),
        cmocka_unit_test(a_sum_between_bytes_is_found_again),
        cmocka_unit_test(a_product_of_bytes_is_found_again),
        cmocka_unit_test(what_can_not_be_written_is_said_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
