/* models/zh-sentiment/golden.jsonl: what BertTokenizerFast and ONNX Runtime gave. */
#ifndef BERT_TESTS_CLI_GOLDEN_H
#define BERT_TESTS_CLI_GOLDEN_H

#include "core/base/json.h"
#include "tests/cli/driver.h"

typedef struct golden_set {
    char *text; /* The file. */
    size_t size;
    char **lines;
    size_t count;
    bert_arena arena;
} golden_set;

golden_set golden_load(void);
void golden_free(golden_set *golden);
/* A line as JSON, in the arena of `golden`; fails the test when it is none. */
const bert_json *golden_parse(golden_set *golden, const char *line);
/* Numbers of an array of JSON; fails the test when they are not `count`. */
void golden_numbers(const bert_json *array, double *out, size_t count);
/* Whether the answer holds two logits within `tolerance` of the golden ones of `model`. */
bool golden_logits_are_near(golden_set *golden, size_t line, const char *answer, const char *model, double tolerance);

#endif
