/* bertc run, verify, inspect and bench. */
#include "core/base/json.h"
#include "tests/cli/driver.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* ---- verify ------------------------------------------------------------------------------------------------------ */

static const char *last_line(const char *text) {
    size_t end = strlen(text);
    assert_true(end > 0 && text[end - 1] == '\n');
    size_t begin = end - 1;
    while (begin > 0 && text[begin - 1] != '\n') begin--;
    return text + begin;
}

/* "9 passed, 0 failed, 0 skipped", for the folders that GRAPHS has. */
static const char *all_passed(void) {
    static char line[64];
    DIR *listing = opendir(GRAPHS);
    assert_non_null(listing);
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(listing));) {
        count += entry->d_name[0] != '.' && strcmp(entry->d_name, "tolerances.txt") != 0;
    }
    closedir(listing);
    assert_true(count >= 5);
    snprintf(line, sizeof line, "%d passed, 0 failed, 0 skipped\n", count);
    return line;
}

static void cases_pass_with_every_provider_with_and_without_passes(void **state) {
    static const char *const options[][3] = {{"reference", "--quiet", "fp32"},
                                             {"reference", "--no-passes", "fp32"},
                                             {"cpu", "--quiet", "fp32"},
                                             {"cpu", "--no-passes", "fp32"},
                                             {"reference", "--quiet", "fp64"}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        cli_result result =
            CLI("verify", GRAPHS, "--provider", options[i][0], options[i][1], "--precision", options[i][2]);
        cli_expect(&result, 0);
        assert_string_equal(last_line(result.out), all_passed());
        cli_free(&result);
    }
}

/* A copy of a case with one data set, to be broken; its folder's tolerances.txt is not copied. */
static char *copy_case(const char *name) {
    char *folder = strdup(cli_make_folder());
    char *target = cli_path(folder, name);
    char *data = cli_path(target, "test_data_set_0");
    char *source = cli_path(GRAPHS, name);
    char *source_data = cli_path(source, "test_data_set_0");
    assert_int_equal(mkdir(target, 0777), 0);
    assert_int_equal(mkdir(data, 0777), 0);
    char *from = cli_path(source, "model.onnx");
    char *to = cli_path(target, "model.onnx");
    cli_copy(from, to);
    free(from);
    free(to);
    DIR *listing = opendir(source_data);
    assert_non_null(listing);
    for (const struct dirent *entry; (entry = readdir(listing));) {
        if (entry->d_name[0] == '.') continue;
        from = cli_path(source_data, entry->d_name);
        to = cli_path(data, entry->d_name);
        cli_copy(from, to);
        free(from);
        free(to);
    }
    closedir(listing);
    free(data);
    free(source);
    free(source_data);
    free(folder);
    return target;
}

/* Where the float elements of output_0.pb stand: raw_data, which these files have last. */
static size_t raw_data_at(const char *bytes, size_t size, size_t raw_bytes) {
    assert_true(size > raw_bytes);
    return size - raw_bytes;
}

typedef void (*damage)(float *elements, size_t count);

static void put_nan(float *elements, size_t count) {
    elements[count / 2] = __builtin_nanf("");
}
static void put_infinity(float *elements, size_t count) {
    elements[0] = __builtin_inff();
}
static void flip_a_sign(float *elements, size_t count) {
    elements[count - 1] = -elements[count - 1];
}
static void zero_a_row(float *elements, size_t count) {
    memset(elements + count / 2, 0, 32 * sizeof *elements);
}
static void leave(float *elements, size_t count) {}
static void move_a_little(float *elements, size_t count) {
    for (size_t i = 0; i < count; i++) elements[i] += i % 2 ? 5e-5F : -5e-5F;
}

static int verify_damaged(damage apply, const char *option) {
    enum { ELEMENTS = 7 * 64 };
    char *folder = copy_case("old_bert_11");
    char *path = cli_path(folder, "test_data_set_0/output_0.pb");
    size_t size;
    char *bytes = cli_read_file(path, &size);
    float elements[ELEMENTS];
    size_t at = raw_data_at(bytes, size, sizeof elements);
    memcpy(elements, bytes + at, sizeof elements);
    apply(elements, ELEMENTS);
    memcpy(bytes + at, elements, sizeof elements);
    cli_write_file(path, bytes, size);
    cli_result result = CLI("verify", folder, option);
    int status = result.status;
    const char *expected = status == 0 ? "1 passed, 0 failed, 0 skipped\n" : "0 passed, 1 failed, 0 skipped\n";
    assert_string_equal(last_line(result.out), expected);
    assert_int_equal(strncmp(result.out, status == 0 ? "pass  old_bert_11  " : "fail  old_bert_11  ", 19), 0);
    cli_free(&result);
    free(bytes);
    free(path);
    free(folder);
    return status;
}

static void what_differs_fails(void **state) {
    assert_int_equal(verify_damaged(leave, "--quiet"), 0);
    assert_int_equal(verify_damaged(move_a_little, "--quiet"), 0);
    assert_int_equal(verify_damaged(move_a_little, "--atol=1e-5"), 1);
    assert_int_equal(verify_damaged(put_nan, "--quiet"), 1);
    assert_int_equal(verify_damaged(put_nan, "--atol=1e9"), 1);
    assert_int_equal(verify_damaged(put_infinity, "--atol=1e9"), 1);
    assert_int_equal(verify_damaged(flip_a_sign, "--quiet"), 1);
    assert_int_equal(verify_damaged(zero_a_row, "--quiet"), 1);
    assert_int_equal(verify_damaged(zero_a_row, "--atol=1e9"), 0);
}

static void tolerances_come_from_the_folder_of_cases(void **state) {
    char *folder = copy_case("old_bert_11");
    char *file = cli_path(folder, "../tolerances.txt");
    static const struct {
        const char *text;
        int status;
    } rows[] = {{"# comment\n\nother* 1 1\nold_bert_1? 0 0\n* 1 1\n", 1},
                {"old* 1e-3 1e-4\n* 0 0\n", 0},
                {"old_bert_11 1e-3\n", 1},
                {"old_bert_11 1e-3 nonsense\n", 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cli_write_file(file, rows[i].text, strlen(rows[i].text));
        cli_result result = CLI("verify", folder);
        cli_expect(&result, rows[i].status);
        cli_free(&result);
    }
    cli_write_file(file, rows[0].text, strlen(rows[0].text));
    cli_result result = CLI("verify", folder, "--atol", "1e-3");
    cli_expect(&result, 0);
    cli_free(&result);
    free(file);
    free(folder);
}

static void a_case_without_outputs_or_a_folder_without_cases_does_not_pass(void **state) {
    char *folder = copy_case("old_bert_11");
    static const char *const outputs[] = {"test_data_set_0/output_0.pb", "test_data_set_0/output_1.pb"};
    for (int i = 0; i < 2; i++) {
        char *path = cli_path(folder, outputs[i]);
        assert_int_equal(remove(path), 0);
        free(path);
    }
    cli_result result = CLI("verify", folder);
    cli_expect(&result, 1);
    assert_string_equal(last_line(result.out), "0 passed, 1 failed, 0 skipped\n");
    cli_free(&result);
    char *empty = cli_path(folder, "test_data_set_0");
    result = CLI("verify", empty);
    cli_expect(&result, 1);
    assert_string_equal(result.out, "0 passed, 0 failed, 0 skipped\n");
    cli_free(&result);
    free(empty);
    free(folder);
}

/* ---- run --------------------------------------------------------------------------------------------------------- */

static void run_writes_what_verify_reads(void **state) {
    char *folder = copy_case("old_bert_cls_11");
    char *inputs[3];
    static const char *const names[] = {"input_ids", "attention_mask", "token_type_ids"};
    for (int i = 0; i < 3; i++) {
        assert_true(asprintf(&inputs[i], "%s=%s/test_data_set_0/input_%d.pb", names[i], folder, i) > 0);
    }
    char *out = cli_path(folder, "out");
    cli_result result = CLI("run", folder, "--input", inputs[0], "--input", inputs[1], "--input", inputs[2],
                            "--output-dir", out, "--output-format", "pb");
    cli_expect(&result, 0);
    assert_non_null(strstr(result.out, "float[1,"));
    cli_free(&result);
    /* Put where the case has what was expected, it is equal to the last bit. */
    DIR *listing = opendir(out);
    assert_non_null(listing);
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(listing));) {
        if (entry->d_name[0] == '.') continue;
        char *from = cli_path(out, entry->d_name);
        char *to = cli_path(folder, "test_data_set_0/output_0.pb");
        cli_copy(from, to);
        free(from);
        free(to);
        count++;
    }
    closedir(listing);
    assert_int_equal(count, 1);
    result = CLI("verify", folder, "--rtol", "0", "--atol", "0");
    cli_expect(&result, 0);
    cli_free(&result);
    for (int i = 0; i < 3; i++) free(inputs[i]);
    free(out);
    free(folder);
}

static void random_inputs_depend_on_the_seed_alone(void **state) {
    static const char *const seeds[] = {"1", "1", "2"};
    char *outs[3];
    for (int i = 0; i < 3; i++) {
        cli_result result = CLI("run", MODEL_FOLDER, "--random", "--seed", seeds[i], "--shape", "batch=2,sequence=16",
                                "--threads", "1");
        cli_expect(&result, 0);
        outs[i] = result.out;
        free(result.err);
    }
    assert_string_equal(outs[0], outs[1]);
    assert_string_not_equal(outs[0], outs[2]);
    assert_non_null(strstr(outs[0], "output_0  float[2,2]"));
    for (int i = 0; i < 3; i++) free(outs[i]);
}

static void npy_goes_in_and_comes_out(void **state) {
    char *folder = strdup(cli_make_folder());
    const char head[] = "\x93NUMPY\x01\x00\x46\x00{'descr': '<i8', 'fortran_order': False, 'shape': (1, 3), }";
    char input[80 + 24];
    memset(input, ' ', 80);
    memcpy(input, head, sizeof head - 1);
    input[79] = '\n';
    memcpy(input + 80, (const int64_t[]){2, 879, 3}, 24);
    char *ids = cli_path(folder, "ids.npy");
    char *argument;
    cli_write_file(ids, input, sizeof input);
    assert_true(asprintf(&argument, "input_ids=%s", ids) > 0);
    cli_result result = CLI("run", MODEL_FOLDER, "--input", argument, "--random", "--output-dir", folder);
    cli_expect(&result, 0);
    cli_free(&result);
    free(argument);
    free(ids);
    char *path = cli_path(folder, "output_0.npy");
    size_t size;
    char *bytes = cli_read_file(path, &size);
    assert_int_equal(size, 128 + 2 * sizeof(float));
    assert_memory_equal(bytes, "\x93NUMPY\x01\x00", 8);
    assert_non_null(strstr(bytes + 10, "'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)"));
    free(bytes);
    free(path);
    free(folder);
}

static void what_is_missing_is_named(void **state) {
    cli_expect_one_sentence(CLI("run", MODEL_FOLDER), "input 'input_ids' is missing");
    cli_expect_one_sentence(CLI("run", MODEL_FOLDER, "--random"), "--shape batch=N");
    cli_expect_one_sentence(CLI("run", MODEL_FOLDER, "--random", "--shape", "length=3"), "no input has a dimension");
    cli_expect_one_sentence(CLI("run", MODEL_FOLDER, "--input", "x=y.npy"), "NAME one of input_ids");
    cli_expect_one_sentence(CLI("run", MODEL_FOLDER, "--input", "input_ids=none.npy"), "none.npy");
    cli_expect_one_sentence(CLI("run", MODEL_FOLDER, "--input", "input_ids=ids.txt"), "neither in .npy nor in .pb");
    cli_expect_one_sentence(
        CLI("run", MODEL_FOLDER, "--random", "--shape", "batch=1,sequence=4", "--output", "none", "--quiet"), "none");
}

/* ---- inspect and bench ------------------------------------------------------------------------------------------- */

static const bert_json *parse(const char *text, bert_arena *arena) {
    const bert_json *value;
    bert_error error;
    if (bert_json_parse(text, strlen(text), "answer", arena, &value, &error) != BERT_OK) fail_msg("%s", error.message);
    return value;
}

static double number_of(const bert_json *object, const char *key) {
    double number;
    if (!bert_json_number(bert_json_get(object, key), &number)) fail_msg("there is no number '%s'", key);
    return number;
}

static void inspect_shows_the_model_in_three_formats(void **state) {
    cli_result result = CLI("inspect", MODEL_FOLDER, "--passes", "--shape", "batch=2,sequence=16");
    cli_expect(&result, 0);
    assert_non_null(strstr(result.out, "int64[batch,sequence]"));
    assert_non_null(strstr(result.out, "Plan on cpu"));
    assert_non_null(strstr(result.out, "bertc.Attention"));
    if (!strstr(result.out, "\nPadding: skipped by text tasks\n")) fail_msg("%s", result.out);
    cli_free(&result);
    result = CLI("inspect", MODEL_FOLDER, "--no-passes", "--format", "json");
    cli_expect(&result, 0);
    if (!strstr(result.out, "\"padding\": {\"skipped\": false, \"reason\": \"node ")) fail_msg("%s", result.out);
    cli_free(&result);
    result = CLI("inspect", MODEL_FOLDER, "--format", "dot");
    cli_expect(&result, 0);
    assert_int_equal(strncmp(result.out, "digraph model {", 15), 0);
    /* Nodes that passes made have a name of the file's as well. */
    assert_non_null(strstr(result.out, "bertc.Attention\\n"));
    assert_null(strstr(result.out, "\\n\""));
    cli_free(&result);
    result = CLI("inspect", MODEL_FOLDER, "--format", "json", "--passes", "--shape", "batch=2,sequence=16");
    cli_expect(&result, 0);
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    const bert_json *answer = parse(result.out, &arena);
    assert_int_equal(bert_json_get(answer, "inputs")->length, 3);
    assert_int_equal(bert_json_get(answer, "outputs")->length, 1);
    assert_true(bert_json_get(answer, "plan")->length > 4);
    assert_true(bert_json_get(answer, "rewrites")->length > 4);
    assert_true(number_of(answer, "arena_bytes") > 0);
    assert_true(number_of(answer, "nodes") < number_of(answer, "file_nodes"));
    bert_arena_free(&arena);
    cli_free(&result);
}

static void bench_skips_the_padding_of_different_lengths(void **state) {
    for (int skips = 0; skips < 2; skips++) {
        bert_arena arena;
        bert_arena_init(&arena, NULL);
        cli_result result = CLI("bench", MODEL_FOLDER, "--batch", "4", "--lengths", "3-9", "--runs", "2", "--threads",
                                "1", "--format", "json", "--profile", "--padding", skips ? "skip" : "compute");
        cli_expect(&result, 0);
        const bert_json *cell = bert_json_get(parse(result.out, &arena), "cells")->first;
        assert_true(number_of(cell, "sequence") == 9);
        assert_true(number_of(cell, "tokens") == 3 + 4 + 5 + 9);
        assert_true((strstr(result.out, "UnpackTokens") != NULL) == skips);
        bert_arena_free(&arena);
        cli_free(&result);
    }
    cli_result result = CLI("bench", MODEL_FOLDER, "--lengths", "9-3");
    cli_expect(&result, 2);
    cli_free(&result);
}

/* One scale for all rows covers those of padding, too. */
static void bench_says_why_padding_is_computed(void **state) {
    static const char said[] = "padding is computed, since it can't be skipped: node ";
    for (int by_sequence = 0; by_sequence < 2; by_sequence++) {
        cli_result result = CLI("bench", MODEL_FOLDER "/model-optimized-quantized.onnx", "--batch", "2", "--lengths",
                                "3-5", "--runs", "1", "--quant-scope", by_sequence ? "sequence" : "tensor");
        cli_expect(&result, 0);
        if ((strstr(result.err, said) != NULL) == by_sequence) fail_msg("%s", result.err);
        cli_free(&result);
    }
}

static void bench_measures_every_cell_with_so_many_runs(void **state) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    cli_result result = CLI("bench", MODEL_FOLDER, "--batch", "1,3", "--sequence", "8,16", "--runs", "4", "--threads",
                            "1", "--format", "json", "--profile", "--trace", "cli-trace.json");
    cli_expect(&result, 0);
    const bert_json *answer = parse(result.out, &arena);
    static const char *const texts[] = {"model", "provider", "precision", "isa"};
    static const char *const numbers[] = {"threads", "load_ms", "peak_rss_mib"};
    static const char *const cell_numbers[] = {"median_ms", "min_ms", "p99_ms", "tokens_per_s", "gflops"};
    for (int i = 0; i < 4; i++) assert_int_equal(bert_json_get(answer, texts[i])->type, BERT_JSON_STRING);
    for (int i = 0; i < 3; i++) assert_true(number_of(answer, numbers[i]) > 0);
    assert_true(number_of(answer, "threads") == 1);
    const bert_json *cells = bert_json_get(answer, "cells");
    assert_int_equal(cells->length, 4);
    static const double shapes[][2] = {{1, 8}, {1, 16}, {3, 8}, {3, 16}};
    size_t index = 0;
    for (const bert_json *cell = cells->first; cell; cell = cell->next, index++) {
        assert_true(number_of(cell, "batch") == shapes[index][0] && number_of(cell, "sequence") == shapes[index][1]);
        assert_true(number_of(cell, "runs") == 4);
        for (int i = 0; i < 5; i++) assert_true(number_of(cell, cell_numbers[i]) > 0);
        assert_true(number_of(cell, "min_ms") <= number_of(cell, "median_ms"));
        assert_true(number_of(cell, "median_ms") <= number_of(cell, "p99_ms"));
        assert_int_equal(bert_json_get(cell, "layers")->length, 5);
    }
    cli_free(&result);
    size_t size;
    char *trace = cli_read_file("cli-trace.json", &size);
    assert_true(bert_json_get(parse(trace, &arena), "traceEvents")->length > 4 * 4);
    free(trace);
    bert_arena_free(&arena);
}

/* Optimizers leave few of the names that tell a layer: its kernels tell it, too. */
static void bench_finds_layers_whatever_nodes_are_called(void **state) {
    static const char *const graphs[] = {"old_bert_11", "old_bert_11_off_idx", "new_bert_17"};
    for (int i = 0; i < 3; i++) {
        char path[160];
        snprintf(path, sizeof path, GRAPHS "/%s/model.onnx", graphs[i]);
        bert_arena arena;
        bert_arena_init(&arena, NULL);
        cli_result result = CLI("bench", path, "--sequence", "8", "--runs", "2", "--format", "json", "--profile");
        cli_expect(&result, 0);
        const bert_json *layers = bert_json_get(bert_json_get(parse(result.out, &arena), "cells")->first, "layers");
        assert_int_equal(layers->length, 3); /* two, and what is outside */
        for (const bert_json *layer = layers->first->next; layer; layer = layer->next)
            assert_true(number_of(layer, "calls") >= 7); /* 4 products, attention, 2 norms; a mask's nodes */
        bert_arena_free(&arena);
        cli_free(&result);
    }
}

static void bench_measures_at_least_as_long_as_it_is_asked_to(void **state) {
    struct timespec begin;
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    cli_result result = CLI("bench", MODEL_FOLDER, "--sequence", "8", "--min-time", "0.2", "--format", "json");
    clock_gettime(CLOCK_MONOTONIC, &end);
    cli_expect(&result, 0);
    assert_true((double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec) >= 0.2);
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    const bert_json *cell = bert_json_get(parse(result.out, &arena), "cells")->first;
    assert_true(number_of(cell, "runs") >= 5);
    bert_arena_free(&arena);
    cli_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_pass_with_every_provider_with_and_without_passes),
        cmocka_unit_test(what_differs_fails),
        cmocka_unit_test(tolerances_come_from_the_folder_of_cases),
        cmocka_unit_test(a_case_without_outputs_or_a_folder_without_cases_does_not_pass),
        cmocka_unit_test(run_writes_what_verify_reads),
        cmocka_unit_test(random_inputs_depend_on_the_seed_alone),
        cmocka_unit_test(npy_goes_in_and_comes_out),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(inspect_shows_the_model_in_three_formats),
        cmocka_unit_test(bench_measures_every_cell_with_so_many_runs),
        cmocka_unit_test(bench_finds_layers_whatever_nodes_are_called),
        cmocka_unit_test(bench_skips_the_padding_of_different_lengths),
        cmocka_unit_test(bench_says_why_padding_is_computed),
        cmocka_unit_test(bench_measures_at_least_as_long_as_it_is_asked_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
