#include "tests/cli/golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

golden_set golden_load(void) {
    golden_set golden = {0};
    golden.text = cli_read_file(MODEL_FOLDER "/golden.jsonl", &golden.size);
    golden.lines = cli_lines(golden.text, &golden.count);
    assert_true(golden.count > 200);
    bert_arena_init(&golden.arena, NULL);
    return golden;
}

void golden_free(golden_set *golden) {
    cli_lines_free(golden->lines, golden->count);
    free(golden->text);
    bert_arena_free(&golden->arena);
}

const bert_json *golden_parse(golden_set *golden, const char *line) {
    const bert_json *value;
    bert_error error;
    if (bert_json_parse(line, strlen(line), "answer", &golden->arena, &value, &error) != BERT_OK) {
        fail_msg("%s in %s", error.message, line);
    }
    return value;
}

void golden_numbers(const bert_json *array, double *out, size_t count) {
    assert_non_null(array);
    assert_int_equal(array->type, BERT_JSON_ARRAY);
    assert_int_equal(array->length, count);
    for (const bert_json *element = array->first; element; element = element->next) {
        assert_true(bert_json_number(element, out++));
    }
}

bool golden_logits_are_near(golden_set *golden, size_t line, const char *answer, const char *model, double tolerance) {
    const bert_json *got = bert_json_get(golden_parse(golden, answer), "logits");
    const bert_json *logits = bert_json_get(golden_parse(golden, golden->lines[line]), "logits");
    double expected[2];
    golden_numbers(bert_json_get(logits, model), expected, 2);
    if (!got || got->type != BERT_JSON_ARRAY || got->length != 2) return false;
    const bert_json *element = got->first;
    for (int i = 0; i < 2; i++, element = element->next) {
        double number;
        if (!bert_json_number(element, &number) || !(fabs(number - expected[i]) <= tolerance)) return false;
    }
    return true;
}
