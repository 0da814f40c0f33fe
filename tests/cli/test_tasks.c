/* bertc classify, embed, ner, fill-mask, qa and rerank, on what transformers' pipelines gave for small models. */
#include "tests/cli/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIPELINES BERT_SOURCE_DIR "/tests/data/pipelines"

enum { GREATEST_ARGUMENTS = 24 };

/* ---- Comparing JSON ---------------------------------------------------------------------------------------------- */

/* Whether an answer agrees: numbers within 1e-4 (those without a fraction then exactly), all else exactly. Members that
 * are not expected may be there. */
static bool agrees(const bert_json *got, const bert_json *expected) {
    if (!got || got->type != expected->type) return false;
    switch (expected->type) {
    case BERT_JSON_NUMBER:
        return fabs(got->number - expected->number) <= 1e-4;
    case BERT_JSON_STRING:
        return got->length == expected->length && memcmp(got->text, expected->text, got->length) == 0;
    case BERT_JSON_ARRAY: {
        if (got->length != expected->length) return false;
        const bert_json *element = got->first;
        for (const bert_json *e = expected->first; e; e = e->next, element = element->next) {
            if (!agrees(element, e)) return false;
        }
        return true;
    }
    case BERT_JSON_OBJECT:
        for (const bert_json *e = expected->first; e; e = e->next) {
            if (!agrees(bert_json_get(got, e->key), e)) return false;
        }
        return true;
    default:
        return true;
    }
}

static void the_comparison_notices_what_differs(void **state) {
    static const char expected[] = "{\"a\": [{\"label\": \"X\", \"score\": 0.5, \"start\": 3}], \"b\": []}";
    static const char *const wrong[] = {"{\"a\": [{\"label\": \"Y\", \"score\": 0.5, \"start\": 3}], \"b\": []}",
                                        "{\"a\": [{\"label\": \"X\", \"score\": 0.5002, \"start\": 3}], \"b\": []}",
                                        "{\"a\": [{\"label\": \"X\", \"score\": null, \"start\": 3}], \"b\": []}",
                                        "{\"a\": [{\"label\": \"X\", \"score\": 0.5, \"start\": 4}], \"b\": []}",
                                        "{\"a\": [{\"label\": \"X\", \"score\": 0.5}], \"b\": []}",
                                        "{\"a\": [], \"b\": []}",
                                        "{\"a\": [{\"label\": \"X\", \"score\": 0.5, \"start\": 3}], \"b\": [1]}",
                                        "{\"error\": \"x\"}"};
    golden_set golden = {0};
    bert_arena_init(&golden.arena, NULL);
    const bert_json *right = golden_parse(&golden, expected);
    assert_true(agrees(golden_parse(&golden, "{\"c\": 1, \"a\": [{\"start\": 3, \"label\": \"X\", \"score\": "
                                             "0.50009}], \"b\": []}"),
                       right));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (agrees(golden_parse(&golden, wrong[i]), right)) fail_msg("%s passes", wrong[i]);
    }
    bert_arena_free(&golden.arena);
}

/* ---- Stored answers ---------------------------------------------------------------------------------------------- */

/* One line of answers.jsonl: a command, its input and what transformers answered. */
static size_t check_case(golden_set *golden, const bert_json *stored, const char *batch_size) {
    const char *arguments[GREATEST_ARGUMENTS];
    size_t count = 0;
    const char *command = bert_json_get(stored, "command")->text;
    char *model = cli_path(PIPELINES, bert_json_get(stored, "model")->text);
    const char *first[] = {command, model, "--jsonl", "--format", "jsonl", "--batch-size", batch_size};
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) arguments[count++] = first[i];
    for (const bert_json *a = bert_json_get(stored, "arguments")->first; a; a = a->next) {
        assert_true(count + 1 < GREATEST_ARGUMENTS);
        arguments[count++] = a->text;
    }
    arguments[count] = NULL;
    const bert_json *input = bert_json_get(stored, "input"), *answers = bert_json_get(stored, "answers");
    cli_result result = cli_run(arguments, input->text, input->length);
    cli_expect(&result, 0);
    size_t lines;
    char **got = cli_lines(result.out, &lines);
    assert_int_equal(lines, answers->length);
    const bert_json *expected = answers->first;
    for (size_t i = 0; i < lines; i++, expected = expected->next) {
        if (!agrees(golden_parse(golden, got[i]), expected)) {
            fail_msg("%s on %s, argument %s: answer %zu is %s", command, model, count > 7 ? arguments[7] : "none", i,
                     got[i]);
        }
    }
    cli_lines_free(got, lines);
    cli_free(&result);
    free(model);
    return lines;
}

static void answers_are_transformers(void **state) {
    golden_set golden = {0};
    bert_arena_init(&golden.arena, NULL);
    golden.text = cli_read_file(PIPELINES "/answers.jsonl", &golden.size);
    golden.lines = cli_lines(golden.text, &golden.count);
    size_t answers = 0;
    for (size_t i = 0; i < golden.count; i++) {
        const bert_json *stored = golden_parse(&golden, golden.lines[i]);
        answers += check_case(&golden, stored, "8");
        check_case(&golden, stored, i % 2 ? "1" : "1000");
    }
    assert_true(golden.count >= 20 && answers > 150);
    golden_free(&golden);
}

/* ---- The command line -------------------------------------------------------------------------------------------- */

static void expect_output(cli_result result, int status, const char *out, const char *err) {
    cli_expect(&result, status);
    if (!strstr(result.out, out) || !strstr(result.err, err)) {
        fail_msg("'%s' and '%s' were expected\nstdout: %s\nstderr: %s", out, err, result.out, result.err);
    }
    cli_free(&result);
}

static void people_read_answers_too(void **state) {
    expect_output(CLI("embed", PIPELINES "/embed", "good film"), 0, "... 16]  good film\n", "");
    expect_output(CLI("embed", PIPELINES "/embed", "--pooling", "none", "good film"), 0, "... 16]  [CLS]\n", "");
    expect_output(CLI("ner", PIPELINES "/ner", "--aggregation", "simple", "--ignore-label", "x", "good film"), 0,
                  "good film\n  ", "");
    expect_output(CLI("fill-mask", PIPELINES "/fill-mask", "good [MASK]"), 0, "  good ", "");
    expect_output(CLI("qa", PIPELINES "/qa", "--question", "who", "--context", "good film"), 0, " to ", "");
    expect_output(CLI("rerank", PIPELINES "/score", "--query", "who", "good", "film"), 0, "  1  film\n", "");
}

static void questions_and_contexts_come_from_anywhere(void **state) {
    cli_result results[] = {
        CLI("qa", PIPELINES "/qa", "--question", "who", "--context", "john lives in paris", "--format", "jsonl"),
        CLI("qa", PIPELINES "/qa", "--question", "who", "--format", "jsonl", "john lives in paris"),
        CLI("qa", PIPELINES "/qa", "--context", "john lives in paris", "--format", "jsonl", "who"),
        CLI_INPUT("who\tjohn lives in paris\n", "qa", PIPELINES "/qa", "--format", "jsonl"),
        CLI_INPUT("john lives in paris\n", "qa", PIPELINES "/qa", "--question", "who", "--format", "jsonl"),
        CLI_INPUT("{\"question\": \"who\", \"context\": \"john lives in paris\"}\n", "qa", PIPELINES "/qa", "--jsonl",
                  "--format", "jsonl")};
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        cli_expect(&results[i], 0);
        assert_string_equal(results[i].out, results[0].out);
        assert_non_null(strstr(results[i].out, "{\"answer\": \""));
    }
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) cli_free(&results[i]);
}

static void a_head_that_is_missing_names_what_fits(void **state) {
    cli_expect_one_sentence(CLI("ner", MODEL_FOLDER, "x"), "output_0 [batch, 2]; they fit text-classification");
    cli_expect_one_sentence(CLI("qa", PIPELINES "/ner", "--question", "a", "b"), "they fit token-classification");
    cli_expect_one_sentence(CLI("classify", PIPELINES "/fill-mask", "x"), "they fit fill-mask");
    cli_expect_one_sentence(CLI("fill-mask", PIPELINES "/embed", "x"), "they fit feature-extraction");
    cli_expect_one_sentence(
        CLI("embed", PIPELINES "/qa", "x"),
        "start_logits [batch, sequence], end_logits [batch, sequence]; they fit question-answering");
    cli_expect_one_sentence(CLI("rerank", PIPELINES "/embed", "--query", "x", "y"), "they fit feature-extraction");
}

static void a_line_that_cant_be_used_is_an_error_in_its_place(void **state) {
    expect_output(CLI_INPUT("good [MASK]\ngood\n", "fill-mask", PIPELINES "/fill-mask", "--format", "jsonl"), 1,
                  "{\"error\": \"the text has no mask: write [MASK] where a token is to be found\"}",
                  "1 of 2 inputs could not be used; number 2");
    expect_output(CLI_INPUT("who\twhere\nwho\n", "qa", PIPELINES "/qa", "--format", "jsonl"), 1,
                  "{\"error\": \"question answering takes a question and a context, but there is one text\"}", "");
    expect_output(CLI_INPUT("\xff\ngood\n", "ner", PIPELINES "/ner", "--format", "jsonl"), 1,
                  "{\"error\": \"the text is not UTF-8", "");
    expect_output(CLI_INPUT("{\"query\": \"who\"}\n{\"query\": \"who\", \"documents\": [\"a\"]}\n[]\n", "rerank",
                            PIPELINES "/score", "--jsonl", "--format", "jsonl"),
                  1, "{\"error\": \"the JSON object has no array \\\"documents\\\"\"}\n{\"results\": [{\"index\": 0",
                  "");
    expect_output(CLI_INPUT("good\n\xff\n", "rerank", PIPELINES "/score", "--query", "who", "--format", "jsonl"), 1,
                  "{\"index\": 1, \"error\": \"the pair is not UTF-8", "1 of 2 documents could not be used");
    expect_output(CLI_INPUT("\xff\xfe ok\n", "ner", PIPELINES "/ner", "--invalid-utf8", "replace", "--aggregation",
                            "simple", "--format", "jsonl"),
                  0, "{\"entities\": [", "");
}

/* A text of `words` times "good ". Free it. */
static char *long_text(size_t words) {
    char *text = malloc(5 * words + 2);
    assert_non_null(text);
    for (size_t i = 0; i < words; i++) memcpy(text + 5 * i, "good ", 5);
    memcpy(text + 5 * words, "\n", 2);
    return text;
}

static void what_is_cut_is_said_once(void **state) {
    char *text = long_text(100);
    char *two = malloc(2 * strlen(text) + 1);
    assert_non_null(two);
    sprintf(two, "%s%s", text, text);
    expect_output(CLI_INPUT(two, "embed", PIPELINES "/embed"), 0, "",
                  "bertc: 2 of 2 texts were cut to 64 tokens, number 1 first\n");
    expect_output(CLI_INPUT(two, "ner", PIPELINES "/ner", "--aggregation", "first"), 0, "",
                  "bertc: 2 of 2 texts were cut to 24 tokens, number 1 first\n");
    expect_output(CLI_INPUT(two, "rerank", PIPELINES "/score", "--query", "who"), 0, "",
                  "bertc: 2 of 2 documents were cut to 64 tokens with their query\n");
    expect_output(CLI_INPUT(text, "ner", PIPELINES "/ner", "--truncation", "none", "--format", "jsonl"), 1,
                  "{\"error\": \"the text has 102 tokens, but at most 24 fit and it is not to be truncated\"}", "");
    cli_result windows = CLI_INPUT(text, "ner", PIPELINES "/ner", "--aggregation", "first", "--stride", "4");
    cli_expect(&windows, 0);
    assert_string_equal(windows.err, "");
    cli_free(&windows);
    windows = CLI_INPUT(text, "qa", PIPELINES "/qa", "--question", "who");
    cli_expect(&windows, 0);
    assert_string_equal(windows.err, "");
    cli_free(&windows);
    free(two);
    free(text);
}

static void wrong_usage_is_status_2(void **state) {
    cli_result results[] = {CLI("ner", PIPELINES "/ner", "--stride", "4", "x"),
                            CLI("rerank", PIPELINES "/score", "x"),
                            CLI("rerank", PIPELINES "/score", "--jsonl", "--query", "x"),
                            CLI("qa", PIPELINES "/qa", "--jsonl", "--question", "x"),
                            CLI("qa", PIPELINES "/qa", "--question", "x", "--context", "y", "z"),
                            CLI("embed", PIPELINES "/embed", "--normalize", "--no-normalize", "x"),
                            CLI("embed", PIPELINES "/embed", "--pooling", "sum", "x"),
                            CLI("fill-mask", PIPELINES "/fill-mask", "--top-k", "0", "x"),
                            CLI("fill-mask", PIPELINES "/fill-mask", "--targets", ",", "x")};
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        cli_expect(&results[i], 2);
        assert_string_equal(results[i].out, "");
        cli_free(&results[i]);
    }
    static const char *const commands[] = {"classify", "embed", "ner", "fill-mask", "qa", "rerank"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        expect_output(CLI(commands[i], "--help"), 0, "--format text|jsonl", "");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_comparison_notices_what_differs),
        cmocka_unit_test(answers_are_transformers),
        cmocka_unit_test(people_read_answers_too),
        cmocka_unit_test(questions_and_contexts_come_from_anywhere),
        cmocka_unit_test(a_head_that_is_missing_names_what_fits),
        cmocka_unit_test(a_line_that_cant_be_used_is_an_error_in_its_place),
        cmocka_unit_test(what_is_cut_is_said_once),
        cmocka_unit_test(wrong_usage_is_status_2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
