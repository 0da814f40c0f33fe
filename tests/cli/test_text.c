/* bertc classify and tokenize, on what BertTokenizerFast and ONNX Runtime gave for the bundled model. */
#include "tests/cli/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* The first `lines` lines, for these settings. Quantization moves a rounding here and there: its tolerance is wider. */
static void check_classify(const char *model, const char *column, size_t lines, const char *batch_size,
                           const char *threads) {
    double tolerance = strstr(column, "quantized") ? 3e-3 : 1e-4;
    golden_set golden = golden_load();
    if (lines > golden.count) lines = golden.count;
    size_t bytes = 0;
    for (size_t i = 0; i < lines; i++) bytes += strlen(golden.lines[i]) + 1;
    const char *const arguments[] = {"classify",     model,      "--jsonl",   "--format", "jsonl",
                                     "--batch-size", batch_size, "--threads", threads,    NULL};
    cli_result result = cli_run(arguments, golden.text, bytes);
    cli_expect(&result, 0);
    size_t count;
    char **answers = cli_lines(result.out, &count);
    assert_int_equal(count, lines);
    for (size_t i = 0; i < count; i++) {
        if (!golden_logits_are_near(&golden, i, answers[i], column, tolerance)) fail_msg("line %zu: %s", i, answers[i]);
    }
    cli_lines_free(answers, count);
    cli_free(&result);
    golden_free(&golden);
}

static void logits_are_onnx_runtimes_whatever_the_batch_and_threads(void **state) {
    check_classify(MODEL_FOLDER, "model", SIZE_MAX, "8", "2");
    check_classify(MODEL_FOLDER, "model", 50, "1", "1");
    check_classify(MODEL_FOLDER, "model", 50, "7", "1");
    check_classify(MODEL_FOLDER, "model", 50, "1000", "3");
    static const char optimized[] = MODEL_FOLDER "/model-optimized.onnx";
    check_classify(optimized, "model-optimized", SIZE_MAX, "8", "2");
    check_classify(optimized, "model-optimized", 50, "1", "1");
}

/* Without vector kernels OpenBLAS multiplies, whose sums depend on a batch's rows, unless it is told not to. */
static const char *sums_of_one_order(void) {
    cli_result version = CLI("--version");
    cli_expect(&version, 0);
    bool openblas = strstr(version.out, "in use: scalar") != NULL;
    cli_free(&version);
    return openblas ? "--deterministic" : NULL;
}

static void a_quantized_model_answers_the_same_bits_in_any_batch(void **state) {
    static const char quantized[] = MODEL_FOLDER "/model-optimized-quantized.onnx";
    check_classify(quantized, "model-optimized-quantized", SIZE_MAX, "8", "2");
    static const char *const batch_sizes[] = {"1", "7", "32"};
    golden_set golden = golden_load();
    cli_result results[3];
    for (int i = 0; i < 3; i++) {
        const char *const arguments[] = {"classify",     quantized,      "--jsonl",           "--format", "jsonl",
                                         "--batch-size", batch_sizes[i], sums_of_one_order(), NULL};
        results[i] = cli_run(arguments, golden.text, golden.size);
        cli_expect(&results[i], 0);
        assert_string_equal(results[i].out, results[0].out);
    }
    for (int i = 0; i < 3; i++) cli_free(&results[i]);
    golden_free(&golden);
}

static void a_wrong_logit_is_noticed(void **state) {
    golden_set golden = golden_load();
    static const char *const wrong[] = {
        "[-1.76222, 1.73140]", "[1.76222, 1.73128]", "[0, 0]", "[-1.76222, null]", "[-1.76222]", "[]", "null"};
    assert_true(golden_logits_are_near(&golden, 0, "{\"logits\": [-1.76225, 1.73130]}", "model", 1e-4));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char answer[128];
        snprintf(answer, sizeof answer, "{\"logits\": %s}", wrong[i]);
        if (golden_logits_are_near(&golden, 0, answer, "model", 1e-4)) fail_msg("%s passes", answer);
    }
    assert_false(golden_logits_are_near(&golden, 0, "{\"error\": \"x\"}", "model", 1e-4));
    golden_free(&golden);
}

static void answers_tell_label_and_scores(void **state) {
    cli_result result = CLI("classify", MODEL_FOLDER, "--format", "jsonl", "这家酒店很好，下次还来！");
    cli_expect(&result, 0);
    golden_set golden = golden_load();
    const bert_json *answer = golden_parse(&golden, result.out);
    double scores[2];
    double logits[2];
    double score;
    assert_true(bert_json_is_string(bert_json_get(answer, "label"), "positive"));
    assert_true(bert_json_number(bert_json_get(answer, "score"), &score));
    golden_numbers(bert_json_get(answer, "scores"), scores, 2);
    golden_numbers(bert_json_get(answer, "logits"), logits, 2);
    assert_true(fabs(scores[0] + scores[1] - 1) < 1e-6);
    assert_true(fabs(scores[1] - 1 / (1 + exp(logits[0] - logits[1]))) < 1e-6);
    assert_true(score == scores[1]);
    golden_free(&golden);
    cli_free(&result);
}

static void ids_are_bert_tokenizer_fasts(void **state) {
    golden_set golden = golden_load();
    const char *arguments[] = {"tokenize", MODEL_FOLDER, "--jsonl", "--format", "jsonl", NULL};
    cli_result result = cli_run(arguments, golden.text, golden.size);
    cli_expect(&result, 0);
    size_t count;
    char **answers = cli_lines(result.out, &count);
    assert_int_equal(count, golden.count);
    static const char *const keys[] = {"input_ids", "token_type_ids"};
    for (size_t i = 0; i < 2 * count; i++) {
        const bert_json *expected = bert_json_get(golden_parse(&golden, golden.lines[i / 2]), keys[i % 2]);
        const bert_json *got = bert_json_get(golden_parse(&golden, answers[i / 2]), keys[i % 2]);
        if (!got || got->length != expected->length) fail_msg("line %zu: another number of %s", i / 2, keys[i % 2]);
        const bert_json *b = expected->first;
        for (const bert_json *a = got->first; a; a = a->next, b = b->next) {
            if (a->number != b->number) fail_msg("line %zu: other %s", i / 2, keys[i % 2]);
        }
    }
    cli_lines_free(answers, count);
    cli_free(&result);
    golden_free(&golden);
}

static void tokens_come_with_masks_and_offsets(void **state) {
    cli_result result = CLI("tokenize", MODEL_FOLDER, "--format", "jsonl", "hello");
    cli_expect(&result, 0);
    assert_string_equal(
        result.out, "{\"input_ids\": [2, 4264, 3799, 4148, 3], \"token_type_ids\": [0, 0, 0, 0, 0], "
                    "\"attention_mask\": [1, 1, 1, 1, 1], \"special_tokens_mask\": [1, 0, 0, 0, 1], \"tokens\": "
                    "[\"[CLS]\", \"he\", \"##l\", \"##lo\", \"[SEP]\"], \"offsets\": [[0, 0], [0, 2], [2, 3], [3, 5], "
                    "[0, 0]]}\n");
    cli_free(&result);
}

static void ids_become_text_again(void **state) {
    cli_result result = CLI("tokenize", MODEL_FOLDER, "--decode", "2 4264 3799 4148 3", "[4264,3799,4148]",
                            "{\"input_ids\": [4264, 3799, 4148, 3]}");
    cli_expect(&result, 0);
    assert_string_equal(result.out, "[CLS] hello [SEP]\nhello\nhello [SEP]\n");
    cli_free(&result);
    result =
        CLI("tokenize", MODEL_FOLDER, "--decode", "--skip-special-tokens", "--format", "jsonl", "2,4264,3799,4148,3");
    cli_expect(&result, 0);
    assert_string_equal(result.out, "{\"text\": \"hello\"}\n");
    cli_free(&result);
    result = CLI("tokenize", MODEL_FOLDER, "--decode", "4821", "x", "4264");
    cli_expect(&result, 1);
    assert_non_null(strstr(result.out, "error: the id 4821 is outside"));
    assert_non_null(strstr(result.out, "error: 'x' is not a token id"));
    cli_free(&result);
}

/* The jsonl answers of `classify` for the input, as one line of labels and errors. */
static char *labels_of(const char *input, size_t length, const char *option, int status) {
    const char *arguments[] = {"classify", MODEL_FOLDER, "--format", "jsonl", "--quiet", option, NULL};
    cli_result result = cli_run(arguments, input, length);
    cli_expect(&result, status);
    size_t count;
    char **lines = cli_lines(result.out, &count);
    char *labels = calloc(count + 1, 1);
    for (size_t i = 0; i < count; i++) {
        labels[i] = strstr(lines[i], "\"positive\"") ? '+' : strstr(lines[i], "\"negative\"") ? '-' : '!';
        if (labels[i] == '!') assert_non_null(strstr(lines[i], "{\"error\": \""));
    }
    cli_lines_free(lines, count);
    cli_free(&result);
    return labels;
}

#define ASSERT_LABELS(input, option, status, expected)                                                                 \
    do {                                                                                                               \
        char *labels = labels_of((input), sizeof(input) - 1, (option), (status));                                      \
        assert_string_equal(labels, (expected));                                                                       \
        free(labels);                                                                                                  \
    } while (0)

static void lines_are_split_as_promised(void **state) {
    ASSERT_LABELS("质量太差了\n这家酒店很好\r\n\n质量太差了", NULL, 0, "-++-");
    ASSERT_LABELS("", NULL, 0, "");
    ASSERT_LABELS("房间干净，服务热情\t早餐也不错\t这家酒店很好\n", NULL, 0, "+");
    ASSERT_LABELS("{\"text\": \"质量太差了\"}\n\n \n{\"text\": \"这家酒店很好\", \"text_pair\": null, \"n\": "
                  "123456789012345678901234567890}\n",
                  "--jsonl", 0, "-+");
}

static void only_the_first_tab_makes_a_pair(void **state) {
    static const char *const inputs[] = {"a\tb\tc\n", "a\tb c\n"};
    cli_result results[2];
    for (int i = 0; i < 2; i++) {
        results[i] = CLI_INPUT(inputs[i], "tokenize", MODEL_FOLDER, "--format", "jsonl");
        cli_expect(&results[i], 0);
    }
    assert_string_equal(results[0].out, results[1].out);
    cli_result single = CLI_INPUT(inputs[0], "tokenize", MODEL_FOLDER, "--format", "jsonl", "--no-pairs");
    assert_null(strstr(single.out, "1, 1, 1, 1, 1, 1, 1, 1"));
    assert_null(strstr(strstr(single.out, "token_type_ids"), "[0, 0, 0, 0, 1"));
    for (int i = 0; i < 2; i++) cli_free(&results[i]);
    cli_free(&single);
}

static void a_line_that_cannot_be_used_leaves_the_others_alone(void **state) {
    ASSERT_LABELS("质量太差了\n\xff\xfe\n这家酒店很好\n", NULL, 1, "-!+");
    ASSERT_LABELS("{\"text\": \"质量太差了\"}\nnot json\n[1]\n{\"text\": 3}\n{}\n{\"text\": \"\", \"text_pair\": "
                  "7}\n{\"text\": \"\xff\"}\n{\"text\": \"这家酒店很好\"}\n",
                  "--jsonl", 1, "-!!!!!!+");
    ASSERT_LABELS("质量太差了\xff\n", "--invalid-utf8=replace", 0, "-");
    ASSERT_LABELS("{\"text\": \"质量\\u0000太差了\"}\n", "--jsonl", 0, "-");
}

static void a_text_that_is_too_long_is_cut_with_a_notice_or_refused(void **state) {
    char text[3 * 400 + 1];
    for (size_t i = 0; i < 400; i++) memcpy(text + 3 * i, "好", 4);
    cli_result result = CLI("classify", MODEL_FOLDER, text, "短");
    cli_expect(&result, 0);
    assert_string_equal(result.err, "bertc: 1 of 2 texts were cut to 256 tokens, number 1 first\n");
    cli_free(&result);
    result = CLI("classify", MODEL_FOLDER, "--truncation", "none", "--format", "jsonl", text, "短");
    cli_expect(&result, 1);
    assert_non_null(strstr(result.out, "{\"error\": \"the text has 402 tokens, but at most 256 fit"));
    assert_non_null(strstr(result.out, "\"label\""));
    cli_free(&result);
    result = CLI("tokenize", MODEL_FOLDER, "--max-length", "5", "一二三四五六", "--text-pair", "七八");
    cli_expect(&result, 0);
    assert_non_null(strstr(result.err, "cut to 5 tokens"));
    cli_free(&result);
}

static void a_model_file_finds_its_tokenizer_beside_it_or_one_folder_up(void **state) {
    char *folder = strdup(cli_make_folder());
    static const char *const files[] = {"vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "config.json"};
    for (size_t i = 0; i < 4; i++) {
        char *from = cli_path(MODEL_FOLDER, files[i]);
        char *to = cli_path(folder, files[i]);
        cli_copy(from, to);
        free(from);
        free(to);
    }
    char *onnx = cli_path(folder, "onnx");
    char *model = cli_path(folder, "onnx/model.onnx");
    assert_int_equal(mkdir(onnx, 0777), 0);
    cli_copy(MODEL_FOLDER "/model.onnx", model);
    const char *names[] = {folder, onnx, model};
    for (size_t i = 0; i < 3; i++) {
        cli_result result = CLI("classify", names[i], "这家酒店很好");
        cli_expect(&result, 0);
        assert_int_equal(strncmp(result.out, "positive", 8), 0);
        cli_free(&result);
    }
    char *config = cli_path(folder, "config.json");
    assert_int_equal(remove(config), 0);
    free(config);
    cli_result result = CLI("classify", GRAPHS "/old_bert_cls_11", "--tokenizer", folder, "");
    cli_expect(&result, 0);
    assert_int_equal(strncmp(result.out, "LABEL_", 6), 0);
    cli_free(&result);
    cli_expect_one_sentence(CLI("classify", GRAPHS "/old_bert_cls_11", "x"), "no tokenizer.json or vocab.txt");
    free(folder);
    free(onnx);
    free(model);
}

static void a_reader_that_goes_away_ends_the_work_quietly(void **state) {
    int status = system("yes 质量太差了 2>/dev/null | head -20000 | " BERT_BERTC " tokenize " MODEL_FOLDER
                        " 2>cli-epipe.txt | head -1 >/dev/null; test ! -s cli-epipe.txt");
    assert_int_equal(status, 0);
}

static void a_full_disk_is_an_error(void **state) {
    if (access("/dev/full", W_OK)) skip();
    int status = system(BERT_BERTC " tokenize " MODEL_FOLDER " hello >/dev/full 2>cli-full.txt");
    assert_int_equal(WEXITSTATUS(status), 1);
    size_t size;
    char *err = cli_read_file("cli-full.txt", &size);
    assert_non_null(strstr(err, "cannot write to standard output"));
    free(err);
}

/* Files that bertc opens don't take their numbers: it neither waits for one as its input nor writes answers into one.
 */
static void closed_standard_streams_are_an_error(void **state) {
    static const struct {
        const char *streams, *words;
    } cases[] = {{"<&-", "cannot read standard input: Bad file descriptor"},
                 {"</dev/null >&-", "cannot write to standard output: Bad file descriptor"}};
    for (size_t i = 0; i < 2; i++) {
        char *command;
        assert_true(asprintf(&command, "timeout 60 " BERT_BERTC " classify " MODEL_FOLDER " %s %s 2>cli-closed.txt",
                             i ? "hello" : "", cases[i].streams) > 0);
        int status = system(command);
        size_t size;
        char *err = cli_read_file("cli-closed.txt", &size);
        if (WEXITSTATUS(status) != 1 || !strstr(err, cases[i].words)) {
            fail_msg("%s: status %d, %s", command, WEXITSTATUS(status), err);
        }
        free(err);
        free(command);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_onnx_runtimes_whatever_the_batch_and_threads),
        cmocka_unit_test(a_quantized_model_answers_the_same_bits_in_any_batch),
        cmocka_unit_test(a_wrong_logit_is_noticed),
        cmocka_unit_test(answers_tell_label_and_scores),
        cmocka_unit_test(ids_are_bert_tokenizer_fasts),
        cmocka_unit_test(tokens_come_with_masks_and_offsets),
        cmocka_unit_test(ids_become_text_again),
        cmocka_unit_test(lines_are_split_as_promised),
        cmocka_unit_test(only_the_first_tab_makes_a_pair),
        cmocka_unit_test(a_line_that_cannot_be_used_leaves_the_others_alone),
        cmocka_unit_test(a_text_that_is_too_long_is_cut_with_a_notice_or_refused),
        cmocka_unit_test(a_model_file_finds_its_tokenizer_beside_it_or_one_folder_up),
        cmocka_unit_test(a_reader_that_goes_away_ends_the_work_quietly),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(closed_standard_streams_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
