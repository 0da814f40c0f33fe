/* What goes wrong: wrong usage is exit status 2, bad input one clear sentence and exit status 1. */
#include "tests/cli/driver.h"
#include "tests/support/onnx_writer.h"

#include <bert/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A model file of these bytes; the path in static memory. */
static const char *model_file(const void *bytes, size_t size) {
    cli_write_file("cli-bad.onnx", bytes, size);
    return "cli-bad.onnx";
}

static void expect_refused_model(const char *path, const char *words) {
    cli_expect_one_sentence(CLI("inspect", path), words);
    cli_expect_one_sentence(CLI("run", path, "--random", "--shape", "batch=1,sequence=4"), words);
    cli_expect_one_sentence(CLI("bench", path, "--runs", "1"), words);
    cli_expect_one_sentence(CLI("classify", path, "--tokenizer", MODEL_FOLDER, "text"), words);
}

static void files_that_are_no_models_are_refused(void **state) {
    size_t size;
    char *good = cli_read_file(MODEL_FOLDER "/model.onnx", &size);
    expect_refused_model("cli-no-such-file.onnx", "cli-no-such-file.onnx");
    expect_refused_model(model_file("", 0), "empty");
    expect_refused_model(model_file(good, size / 2), "cli-bad.onnx");
    expect_refused_model(model_file(good, size - 1), "cli-bad.onnx");
    expect_refused_model(BERT_SOURCE_DIR "/CMakeLists.txt", "CMakeLists.txt");
    expect_refused_model(BERT_SOURCE_DIR "/tests", "model.onnx");
    char *folder = strdup(cli_make_folder());
    char *model_is_a_folder = cli_path(folder, "model.onnx");
    assert_int_equal(mkdir(model_is_a_folder, 0777), 0);
    expect_refused_model(folder, "model.onnx");
    free(model_is_a_folder);
    free(folder);
    free(good);
}

static void a_flipped_bit_is_refused_or_harmless(void **state) {
    size_t size;
    char *good = cli_read_file(MODEL_FOLDER "/model.onnx", &size);
    int refused = 0;
    for (size_t i = 0; i < 64; i++) {
        size_t at = i < 32 ? i : (i - 31) * 523;
        good[at] = (char)(good[at] ^ (1 << i % 8));
        cli_result result = CLI("run", model_file(good, size), "--random", "--shape", "batch=1,sequence=4", "--quiet");
        if (result.status == 0) {
            cli_free(&result);
        } else {
            cli_expect_one_sentence(result, "");
            refused++;
        }
        good[at] = (char)(good[at] ^ (1 << i % 8));
    }
    assert_true(refused > 10);
    free(good);
}

static void a_claim_of_three_gigabytes_is_refused(void **state) {
    message graph = {0};
    message m = {0};
    put_int(&m, MODEL_IR_VERSION, 8);
    put_message(&m, MODEL_OPSET, opset("", 17));
    put_tag(&m, MODEL_GRAPH, 2);
    put_varint(&m, (uint64_t)3 << 30);
    expect_refused_model(model_file(m.data, m.size), "cli-bad.onnx");
    free_message(&m);
    /* A weight that says it has 3 GiB, and has 4 bytes. */
    message tensor = tensor_head("w", BERT_FLOAT, 1, (const int64_t[]){805306368});
    put_blob(&tensor, TENSOR_RAW, "abcd", 4);
    put_message(&graph, GRAPH_INITIALIZER, tensor);
    put_message(&graph, GRAPH_NODE, node("Identity", "w", "y"));
    put_message(&graph, GRAPH_OUTPUT, named_value_info("y", BERT_FLOAT, "n"));
    m = model(8, 17, graph);
    expect_refused_model(model_file(m.data, m.size), "w");
    free_message(&m);
}

/* A model with input x and output y, float of [n], and these nodes. */
static const char *graph_file(const char *const nodes[][3], size_t count) {
    message graph = {0};
    put_message(&graph, GRAPH_INPUT, named_value_info("x", BERT_FLOAT, "n"));
    put_message(&graph, GRAPH_OUTPUT, named_value_info("y", BERT_FLOAT, "n"));
    put_message(&graph, GRAPH_INITIALIZER, float_tensor("five", 5));
    put_message(&graph, GRAPH_INITIALIZER, float_tensor("seven", 7));
    for (size_t i = 0; i < count; i++) put_message(&graph, GRAPH_NODE, node(nodes[i][0], nodes[i][1], nodes[i][2]));
    message m = model(8, 17, graph);
    const char *path = model_file(m.data, m.size);
    free_message(&m);
    return path;
}

static void graphs_that_cannot_run_are_refused(void **state) {
    expect_refused_model(graph_file((const char *const[][3]){{"Frobnicate", "x", "y"}}, 1), "Frobnicate");
    expect_refused_model(
        graph_file((const char *const[][3]){{"Add", "x b", "a"}, {"Relu", "a", "b"}, {"Relu", "b", "y"}}, 3), "cycle");
    expect_refused_model(graph_file((const char *const[][3]){{"Add", "five seven", "a"}, {"Add", "x a", "y"}}, 2),
                         "Add");
    expect_refused_model(graph_file((const char *const[][3]){{"Relu", "nowhere", "y"}}, 1), "nowhere");
    /* Shapes that contradict each other only once they are known. */
    const char *path = graph_file((const char *const[][3]){{"Add", "x five", "y"}}, 1);
    cli_result fits = CLI("run", path, "--random", "--shape", "n=5");
    cli_expect(&fits, 0);
    cli_free(&fits);
    cli_expect_one_sentence(CLI("run", path, "--random", "--shape", "n=6"), "Add");
}

static void ids_and_lengths_beyond_the_tables_are_refused(void **state) {
    static const char head[] = "\x93NUMPY\x01\x00\x46\x00{'descr': '<i8', 'fortran_order': False, 'shape': (1, 3), }";
    static const int64_t wrong[] = {4821, -4822, INT64_MAX};
    for (size_t i = 0; i < 3; i++) {
        char bytes[80 + 24];
        memset(bytes, ' ', 80);
        memcpy(bytes, head, sizeof head - 1);
        bytes[79] = '\n';
        memcpy(bytes + 80, (const int64_t[]){2, wrong[i], 3}, 24);
        cli_write_file("cli-ids.npy", bytes, sizeof bytes);
        char number[32];
        snprintf(number, sizeof number, "%lld", (long long)wrong[i]);
        cli_expect_one_sentence(CLI("run", MODEL_FOLDER, "--input", "input_ids=cli-ids.npy", "--random"), number);
        cli_expect_one_sentence(
            CLI("run", MODEL_FOLDER, "--input", "input_ids=cli-ids.npy", "--random", "--provider", "reference"),
            number);
    }
    cli_expect_one_sentence(CLI("run", MODEL_FOLDER, "--random", "--shape", "batch=1,sequence=257"), "25");
    cli_expect_one_sentence(CLI("bench", MODEL_FOLDER, "--sequence", "257", "--runs", "1", "--format", "json"), "25");
}

static void files_of_tensors_that_are_none_are_refused(void **state) {
    static const char *const bad[] = {
        "", "\x93NUMPY", "\x93NUMPY\x01 \xff\xff{'descr'", "not numpy at all, but long enough for a header",
        "\x93NUMPY\x01 \x36 {'descr': 'O', 'fortran_order': False, 'shape': (1,), }   \n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cli_write_file("cli-bad.npy", bad[i], strlen(bad[i]));
        cli_write_file("cli-bad.pb", bad[i], strlen(bad[i]));
        cli_expect_one_sentence(CLI("run", MODEL_FOLDER, "--input", "input_ids=cli-bad.npy", "--random"),
                                "cli-bad.npy");
        cli_expect_one_sentence(CLI("run", MODEL_FOLDER, "--input", "input_ids=cli-bad.pb", "--random"), "cli-bad.pb");
    }
}

static void texts_that_are_not_utf8_are_refused(void **state) {
    static const char *const commands[] = {"classify", "tokenize"};
    for (int i = 0; i < 2; i++) {
        cli_result result = CLI(commands[i], MODEL_FOLDER, "--format", "jsonl", "\xe4\xbd");
        cli_expect(&result, 1);
        assert_int_equal(strncmp(result.out, "{\"error\": \"", 11), 0);
        assert_non_null(strstr(result.err, "UTF-8"));
        cli_free(&result);
    }
}

static void tokenizers_that_are_broken_are_refused(void **state) {
    char *folder = strdup(cli_make_folder());
    char *vocabulary = cli_path(folder, "vocab.txt");
    char *json = cli_path(folder, "tokenizer.json");
    cli_expect_one_sentence(CLI("tokenize", folder, "x"), "model.onnx");
    cli_expect_one_sentence(CLI("classify", MODEL_FOLDER, "--tokenizer", folder, "x"), "vocab.txt");
    cli_write_file(vocabulary, "[PAD]\n[CLS]\n[SEP]\nhello\n", 24);
    cli_expect_one_sentence(CLI("tokenize", folder, "x"), "[UNK]");
    cli_expect_one_sentence(CLI("classify", MODEL_FOLDER, "--tokenizer", folder, "x"), "[UNK]");
    cli_write_file(json, "{\"model\": 1", 11);
    cli_expect_one_sentence(CLI("tokenize", folder, "x"), "tokenizer.json");
    free(json);
    free(vocabulary);
    free(folder);
}

static void a_vocabulary_larger_than_the_model_is_one_sentence(void **state) {
    /* The case's model has fewer rows than the bundled tokenizer has tokens. */
    cli_result result =
        CLI("classify", GRAPHS "/old_bert_cls_11", "--tokenizer", MODEL_FOLDER, "--format", "jsonl", "hello", "");
    cli_expect(&result, 1);
    assert_int_equal(strncmp(result.out, "{\"error\": \"", 11), 0);
    assert_non_null(strstr(result.out, "\n{\"label\"")); /* The other text goes on. */
    cli_free(&result);
}

static void expect_usage(cli_result result, const char *words) {
    cli_expect(&result, 2);
    assert_string_equal(result.out, "");
    if (strncmp(result.err, "bertc: ", 7) != 0 || !strstr(result.err, words) || !strstr(result.err, "--help")) {
        fail_msg("'%s' was expected in %s", words, result.err);
    }
    cli_free(&result);
}

static void wrong_usage_is_exit_status_2(void **state) {
    static const char *const commands[] = {"classify", "tokenize", "run", "inspect", "verify", "bench"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        expect_usage(CLI(commands[i]), "too few arguments");
        expect_usage(CLI(commands[i], MODEL_FOLDER, "--no-such-option"), "--no-such-option");
        expect_usage(CLI(commands[i], MODEL_FOLDER, "-x"), "-x");
        expect_usage(CLI(commands[i], MODEL_FOLDER, "--threads"), "--threads needs a value");
        expect_usage(CLI(commands[i], MODEL_FOLDER, "--threads", "0"), "from 1 to 1024");
        expect_usage(CLI(commands[i], MODEL_FOLDER, "--threads", "2x"), "2x");
        expect_usage(CLI(commands[i], MODEL_FOLDER, "--precision", "fp12"), "fp12");
        expect_usage(CLI(commands[i], MODEL_FOLDER, "--quiet=1"), "--quiet=1");
    }
    expect_usage(CLI("frobnicate"), "frobnicate");
    cli_result nothing = cli_run((const char *const[]){NULL}, "", 0);
    expect_usage(nothing, "a command is missing");
    expect_usage(CLI("bench", MODEL_FOLDER, "--batch", "1,,2"), "--batch");
    expect_usage(CLI("bench", MODEL_FOLDER, "--sequence", "0"), "--sequence");
    expect_usage(CLI("bench", MODEL_FOLDER, "--min-time", "-1"), "--min-time");
    expect_usage(CLI("bench", MODEL_FOLDER, "another"), "too many arguments");
    expect_usage(CLI("run", MODEL_FOLDER, "--shape", "batch"), "--shape");
    expect_usage(CLI("classify", MODEL_FOLDER, "--format", "xml", "x"), "xml");
    expect_usage(CLI("classify", MODEL_FOLDER, "--jsonl", "x"), "--jsonl");
    expect_usage(CLI("classify", MODEL_FOLDER, "--text-pair", "x"), "--text-pair");
    expect_usage(CLI("classify", MODEL_FOLDER, "--text-pair", "x", "y", "z"), "--text-pair");
}

/* What scripts may give any command: the option behind them is the first that is not known. */
static void some_options_are_everywhere(void **state) {
    static const char *const commands[] = {"classify", "embed",    "ner",  "fill-mask", "qa",
                                           "rerank",   "tokenize", "run",  "inspect",   "verify",
                                           "compare",  "quantize", "pack", "bench"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        expect_usage(CLI(commands[i], MODEL_FOLDER, "--provider", "cpu", "--threads", "1", "--precision", "fp32",
                         "--quant-scope", "token", "--attention", "fp32", "--packed", "x", "--no-passes",
                         "--deterministic", "--seed", "3", "--quiet", "--verbose", "--no-such-option"),
                     "--no-such-option");
    }
}

static void help_and_version_are_answers(void **state) {
    static const char *const commands[] = {"classify", "tokenize", "run", "inspect", "verify", "bench"};
    cli_result all = CLI("--help");
    cli_expect(&all, 0);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        cli_result help = CLI(commands[i], "--help");
        cli_expect(&help, 0);
        assert_string_equal(help.err, "");
        assert_non_null(strstr(help.out, "--provider"));
        assert_non_null(strstr(all.out, commands[i]));
        cli_free(&help);
    }
    cli_free(&all);
    cli_result version = CLI("--version");
    cli_expect(&version, 0);
    assert_int_equal(strncmp(version.out, "bertc ", 6), 0);
    assert_non_null(strstr(version.out, "provider:  reference"));
    assert_non_null(strstr(version.out, "provider:  cpu"));
    cli_free(&version);
}

static void a_provider_that_is_missing_is_a_notice_or_an_error(void **state) {
    cli_result result = CLI("run", MODEL_FOLDER, "--random", "--shape", "batch=1,sequence=4", "--provider", "none,cpu");
    cli_expect(&result, 0);
    assert_non_null(strstr(result.err, "none"));
    cli_free(&result);
    result = CLI("run", MODEL_FOLDER, "--random", "--shape", "batch=1,sequence=4", "--provider", "none");
    cli_expect(&result, 1);
    assert_non_null(strstr(result.err, "none"));
    cli_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_are_no_models_are_refused),
        cmocka_unit_test(a_flipped_bit_is_refused_or_harmless),
        cmocka_unit_test(a_claim_of_three_gigabytes_is_refused),
        cmocka_unit_test(graphs_that_cannot_run_are_refused),
        cmocka_unit_test(ids_and_lengths_beyond_the_tables_are_refused),
        cmocka_unit_test(files_of_tensors_that_are_none_are_refused),
        cmocka_unit_test(texts_that_are_not_utf8_are_refused),
        cmocka_unit_test(tokenizers_that_are_broken_are_refused),
        cmocka_unit_test(a_vocabulary_larger_than_the_model_is_one_sentence),
        cmocka_unit_test(wrong_usage_is_exit_status_2),
        cmocka_unit_test(some_options_are_everywhere),
        cmocka_unit_test(help_and_version_are_answers),
        cmocka_unit_test(a_provider_that_is_missing_is_a_notice_or_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
