/* The real tokens of a batch, and rows that runs have besides. */
#include "core/runtime/tokens.h"
#include "tests/support/test.h"

enum { BATCH = 4, SEQUENCE = 20 };

/* Sequences of so many tokens each, from the left on. */
static bert_tokens count(const int lengths[BATCH]) {
    static int64_t mask[BATCH * SEQUENCE];
    const bert_constant constant = {
        .dtype = BERT_INT64, .rank = 2, .dims = {BATCH, SEQUENCE}, .data = (const void *)mask};
    bert_tokens tokens = {0};
    for (int i = 0; i < BATCH * SEQUENCE; i++) mask[i] = i % SEQUENCE < lengths[i / SEQUENCE];
    assert_int_equal(bert_tokens_count(&tokens, NULL, &constant, NULL), BERT_OK);
    return tokens;
}

static void tokens_are_counted(void **state) {
    bert_tokens tokens = count((const int[]){3, 20, 1, 9});
    assert_true(tokens.packable && tokens.right);
    assert_int_equal(tokens.rows, 33);
    assert_int_equal(tokens.run_rows, 33);
    assert_int_equal(tokens.starts[2], 23);
    assert_int_equal(tokens.tokens[23], 2 * SEQUENCE);
    assert_int_equal(bert_tokens_bucket(&tokens), 40);
    bert_tokens_free(&tokens, NULL);
    tokens = count((const int[]){20, 20, 20, 20});
    assert_false(tokens.packable);
    bert_tokens_free(&tokens, NULL);
}

static void runs_of_few_rows_have_a_multiple(void **state) {
    static const struct {
        int64_t step, few, expected;
    } cases[] = {{16, 33, 40} /* 48, but for the bucket */,
                 {6, 33, 36},
                 {11, 33, 33},
                 {64, 33, 40},
                 {1, 33, 33},
                 {0, 33, 33},
                 {16, 32, 33}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bert_tokens tokens = count((const int[]){3, 20, 1, 9});
        bert_tokens_fill(&tokens, cases[i].step, cases[i].few);
        assert_int_equal(tokens.run_rows, cases[i].expected);
        assert_int_equal(tokens.rows, 33);
        assert_int_equal(tokens.starts[BATCH], 33);
        for (int64_t row = 32; row < tokens.run_rows; row++) assert_int_equal(tokens.tokens[row], 3 * SEQUENCE + 8);
        bert_tokens_free(&tokens, NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_counted),
        cmocka_unit_test(runs_of_few_rows_have_a_multiple),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
