/* Rows without padding: PackTokens, UnpackTokens, Embedding, Attention and QuantizedLinear, by their reference. */
#include "core/graph/canonical.h"
#include "tests/graph/op_case.h"

#include <math.h>
#include <string.h>

/* Three sequences of four places: b has two tokens in the middle, c all but the second. */
enum { BATCH = 3, SEQUENCE = 4, ROWS = 6, WIDTH = 4 };
static const int32_t tokens[ROWS] = {0, 5, 6, 8, 10, 11}, starts[BATCH + 1] = {0, 1, 3, 6};

static float x[BATCH * SEQUENCE * 3 * WIDTH];

static int fill(void **state) {
    for (int i = 0; i < BATCH * SEQUENCE * 3 * WIDTH; i++) x[i] = (float)((i * 31 + 7) % 47) / 11.0F - 2.0F;
    return 0;
}

static void tokens_become_rows(void **state) {
    op_case_begin_in("bertc", "PackTokens", 1);
    op_case_tensor(BERT_FLOAT, "3,4,2", x);
    op_case_tensor(BERT_INT32, "6", tokens);
    op_case_expect(0, BERT_FLOAT, "1,6,2");
    const float *y = op_case_run();
    for (int row = 0; row < ROWS; row++) assert_memory_equal(y + 2 * row, x + 2 * tokens[row], 2 * sizeof *y);

    /* What there is for one sequence is the same for all. */
    static const int64_t ids[SEQUENCE] = {10, 11, 12, 13};
    static const int64_t expected[ROWS] = {10, 11, 12, 10, 12, 13};
    op_case_begin_in("bertc", "PackTokens", 1);
    op_case_tensor(BERT_INT64, "1,4", ids);
    op_case_tensor(BERT_INT32, "6", tokens);
    op_case_expect(0, BERT_INT64, "1,6");
    assert_memory_equal(op_case_run(), expected, sizeof expected);
    op_case_begin_in("bertc", "PackTokens", 1);
    op_case_int("axes", 1);
    op_case_tensor(BERT_INT64, "4", ids);
    op_case_tensor(BERT_INT32, "6", tokens);
    op_case_expect(0, BERT_INT64, "6");
    assert_memory_equal(op_case_run(), expected, sizeof expected);
}

static void rows_become_tokens_and_the_rest_is_zero(void **state) {
    for (int axes = 1; axes < 3; axes++) {
        op_case_begin_in("bertc", "UnpackTokens", 1);
        op_case_int("axes", axes);
        op_case_int("batch", BATCH);
        op_case_int("sequence", SEQUENCE);
        op_case_tensor(BERT_FLOAT, axes == 1 ? "6,2" : "1,6,2", x);
        op_case_tensor(BERT_INT32, "6", tokens);
        op_case_expect(0, BERT_FLOAT, axes == 1 ? "12,2" : "3,4,2");
        const float *y = op_case_run();
        int row = 0;
        for (int token = 0; token < BATCH * SEQUENCE; token++) {
            const bool real = row < ROWS && tokens[row] == token;
            for (int i = 0; i < 2; i++) assert_true(y[2 * token + i] == (real ? x[2 * row + i] : 0));
            row += real;
        }
    }
}

static void the_first_row_of_a_token_counts(void **state) {
    static const int32_t repeated[ROWS] = {0, 5, 5, 8, 10, 10};
    static const int rows[BATCH * SEQUENCE] = {0, -1, -1, -1, -1, 1, -1, -1, 3, -1, 4, -1};
    op_case_begin_in("bertc", "UnpackTokens", 1);
    op_case_int("batch", BATCH);
    op_case_int("sequence", SEQUENCE);
    op_case_tensor(BERT_FLOAT, "1,6,2", x);
    op_case_tensor(BERT_INT32, "6", repeated);
    op_case_expect(0, BERT_FLOAT, "3,4,2");
    const float *y = op_case_run();
    for (int i = 0; i < BATCH * SEQUENCE * 2; i++)
        assert_true(y[i] == (rows[i / 2] < 0 ? 0 : x[2 * rows[i / 2] + i % 2]));
}

/* x has 12 rows of a table each; ids of padding may be anything. */
static void embedding_finds_the_ids_of_its_tokens(void **state) {
    int64_t ids[BATCH * SEQUENCE];
    for (int i = 0; i < BATCH * SEQUENCE; i++) ids[i] = 1000;
    for (int row = 0; row < ROWS; row++) ids[tokens[row]] = 2 * row;
    static const int32_t positions[SEQUENCE] = {3, 1, 0, 2};
    for (int form = 0; form < 2; form++) { /* sequences, and tokens that are sequences of their own */
        op_case_begin_in("bertc", "Embedding", 1);
        op_case_tensor(BERT_INT64, form ? "12,1" : "3,4", ids);
        op_case_tensor(BERT_FLOAT, "12,3", x);
        if (!form) op_case_tensor(BERT_INT32, "1,4", positions);
        if (!form) op_case_tensor(BERT_FLOAT, "4,3", x);
        for (int i = form ? 2 : 4; i < BERT_EMBEDDING_TOKENS; i++) op_case_absent();
        op_case_tensor(BERT_INT32, "6", tokens);
        op_case_expect(0, BERT_FLOAT, form ? "6,1,3" : "1,6,3");
        const float *y = op_case_run();
        for (int i = 0; i < ROWS * 3; i++) {
            const float word = x[2 * (i / 3) * 3 + i % 3];
            const float position = form ? 0 : x[positions[tokens[i / 3] % SEQUENCE] * 3 + i % 3];
            assert_true(y[i] == word + position);
        }
    }
}

static void what_does_not_fit_is_refused(void **state) {
    static const int32_t beyond[] = {0, 12}, negative[] = {-1, 3};
    op_case_begin_in("bertc", "UnpackTokens", 1);
    op_case_int("batch", BATCH);
    op_case_int("sequence", SEQUENCE);
    op_case_input(BERT_FLOAT, "1,5,2");
    op_case_input(BERT_INT32, "6");
    op_case_expect_refused(BERT_INVALID_MODEL, "the rows of x and the tokens");
    op_case_begin_in("bertc", "PackTokens", 1);
    op_case_int("axes", 3);
    op_case_input(BERT_FLOAT, "3,4,2");
    op_case_input(BERT_INT32, "6");
    op_case_expect_refused(BERT_INVALID_MODEL, "3 axes of tokens");
    op_case_begin_in("bertc", "UnpackTokens", 1);
    op_case_int("batch", BATCH);
    op_case_int("sequence", SEQUENCE);
    op_case_tensor(BERT_FLOAT, "1,2,2", x);
    op_case_tensor(BERT_INT32, "2", beyond);
    op_case_expect_run_fails(BERT_INVALID_INPUT, "token 12 is beyond the 12");
    op_case_begin_in("bertc", "PackTokens", 1);
    op_case_tensor(BERT_FLOAT, "3,4,2", x);
    op_case_tensor(BERT_INT32, "2", negative);
    op_case_expect_run_fails(BERT_INVALID_INPUT, "is negative");
    static const int64_t ids[BATCH * SEQUENCE] = {0};
    op_case_begin_in("bertc", "Embedding", 1);
    op_case_tensor(BERT_INT64, "3,4", ids);
    op_case_tensor(BERT_FLOAT, "12,3", x);
    for (int i = 2; i < BERT_EMBEDDING_TOKENS; i++) op_case_absent();
    op_case_tensor(BERT_INT32, "2", beyond);
    op_case_expect_run_fails(BERT_INVALID_INPUT, "token 12 is not among the 12");
}

/* Over rows, and with padding whose keys a mask drops: the rows are the same. */
static void attention_over_rows_is_attention_without_the_padding(void **state) {
    static float rows[ROWS * 3 * WIDTH], bias[2 * SEQUENCE * SEQUENCE], padded[BATCH * SEQUENCE * WIDTH];
    unsigned char keep[BATCH * SEQUENCE] = {0};
    for (int i = 0; i < 2 * SEQUENCE * SEQUENCE; i++) bias[i] = (float)(i % 7) / 3.0F;
    for (int row = 0; row < ROWS; row++) {
        keep[tokens[row]] = 1;
        memcpy(rows + row * 3 * WIDTH, x + tokens[row] * 3 * WIDTH, 3 * WIDTH * sizeof *rows);
    }
    op_case_begin_in("bertc", "Attention", 1);
    op_case_int("heads", 2);
    op_case_int("packed", 1);
    op_case_tensor(BERT_FLOAT, "3,4,12", x);
    op_case_absent();
    op_case_absent();
    op_case_tensor(BERT_FLOAT, "1,2,4,4", bias);
    op_case_tensor(BERT_BOOL, "3,1,1,4", keep);
    memcpy(padded, op_case_run(), sizeof padded);
    op_case_begin_in("bertc", "Attention", 1);
    op_case_int("heads", 2);
    op_case_int("packed", 1);
    op_case_int("sequence", SEQUENCE);
    op_case_tensor(BERT_FLOAT, "1,6,12", rows);
    op_case_absent();
    op_case_absent();
    op_case_tensor(BERT_FLOAT, "1,2,4,4", bias);
    op_case_tensor(BERT_BOOL, "3,1,1,4", keep);
    op_case_absent();
    op_case_absent();
    op_case_tensor(BERT_INT32, "4", starts);
    op_case_tensor(BERT_INT32, "6", tokens);
    op_case_expect(0, BERT_FLOAT, "1,6,4");
    const float *y = op_case_run();
    for (int row = 0; row < ROWS; row++) {
        for (int i = 0; i < WIDTH; i++) {
            assert_true(fabsf(y[row * WIDTH + i] - padded[tokens[row] * WIDTH + i]) < 1e-6F);
        }
    }
    op_case_begin_in("bertc", "Attention", 1);
    op_case_int("heads", 2);
    op_case_int("packed", 1);
    op_case_input(BERT_FLOAT, "1,6,12");
    for (int i = BERT_ATTENTION_K; i < BERT_ATTENTION_TOKENS; i++) op_case_absent();
    op_case_input(BERT_INT32, "6");
    op_case_expect_refused(BERT_INVALID_MODEL, "starts, tokens and sequence go together");
}

/* One group of rows, quantized on its own. */
static const float *multiply_group(int first, const char *shape, const signed char *weight) {
    static const float scale = 0.01F;
    op_case_begin_in("bertc", "QuantizedLinear", 1);
    op_case_tensor(BERT_FLOAT, shape, x + first * WIDTH);
    for (int i = 0; i < 3; i++) op_case_absent();
    op_case_tensor(BERT_INT8, "4,2", weight);
    op_case_tensor(BERT_FLOAT, "", &scale);
    return op_case_run();
}

/* All rows, in a scope. */
static void expect_scope(const char *scope, const int32_t *ends, const unsigned char *counted, const float *expected) {
    static const signed char weight[WIDTH * 2] = {1, -2, 3, 127, -128, 6, 7, -8};
    static const float scale = 0.01F;
    op_case_begin_in("bertc", "QuantizedLinear", 1);
    op_case_string("scope", scope);
    op_case_tensor(BERT_FLOAT, "6,4", x);
    for (int i = 0; i < 3; i++) op_case_absent();
    op_case_tensor(BERT_INT8, "4,2", weight);
    op_case_tensor(BERT_FLOAT, "", &scale);
    op_case_absent();
    op_case_absent();
    if (ends) op_case_tensor(BERT_INT32, "4", ends);
    if (counted) op_case_tensor(BERT_BOOL, "6", counted);
    op_case_expect(0, BERT_FLOAT, "6,2");
    assert_memory_equal(op_case_run(), expected, ROWS * 2 * sizeof *expected);
}

static void a_scope_has_the_scale_of_its_rows_alone(void **state) {
    static const signed char weight[WIDTH * 2] = {1, -2, 3, 127, -128, 6, 7, -8};
    static const char *const shapes[] = {"", "1,4", "2,4", "3,4"};
    float expected[ROWS * 2];
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] *= 1.0F + (float)i / WIDTH;
    for (int row = 0; row < ROWS; row++) {
        memcpy(expected + 2 * row, multiply_group(row, "1,4", weight), 2 * sizeof *expected);
    }
    expect_scope("token", NULL, NULL, expected);
    for (int group = 0; group < BATCH; group++) {
        const int count = starts[group + 1] - starts[group];
        memcpy(expected + (ptrdiff_t)2 * starts[group], multiply_group(starts[group], shapes[count], weight),
               2 * (size_t)count * sizeof *expected);
    }
    expect_scope("sequence", starts, NULL, expected);

    /* Of the last group only the first row counts, and none of the first: then all of it does. */
    static const unsigned char counted[ROWS] = {0, 1, 1, 1, 0, 0};
    memcpy(expected + 6, multiply_group(3, "1,4", weight), 2 * sizeof *expected);
    op_case_begin_in("bertc", "QuantizedLinear", 1);
    op_case_string("scope", "sequence");
    op_case_tensor(BERT_FLOAT, "6,4", x);
    for (int i = 0; i < 3; i++) op_case_absent();
    op_case_tensor(BERT_INT8, "4,2", weight);
    op_case_tensor(BERT_FLOAT, "", &(float){0.01F});
    op_case_absent();
    op_case_absent();
    op_case_tensor(BERT_INT32, "4", starts);
    op_case_tensor(BERT_BOOL, "6", counted);
    const float *y = op_case_run();
    assert_memory_equal(y, expected, 8 * sizeof *expected);
    assert_true(y[8] != expected[8] || y[9] != expected[9]);
}

static void a_scope_without_its_inputs_is_refused(void **state) {
    for (int scope = 0; scope < 3; scope++) {
        static const char *const names[] = {"sequence", "token", "rows"};
        op_case_begin_in("bertc", "QuantizedLinear", 1);
        op_case_string("scope", names[scope]);
        op_case_input(BERT_FLOAT, "6,4");
        for (int i = 0; i < 3; i++) op_case_absent();
        op_case_input(BERT_INT8, "4,2");
        op_case_input(BERT_FLOAT, "");
        op_case_absent();
        op_case_absent();
        if (scope == 1) op_case_input(BERT_INT32, "4");
        op_case_expect_refused(BERT_INVALID_MODEL, "scope is tensor or token, or sequence");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(tokens_become_rows, op_case_teardown),
        cmocka_unit_test_teardown(rows_become_tokens_and_the_rest_is_zero, op_case_teardown),
        cmocka_unit_test_teardown(the_first_row_of_a_token_counts, op_case_teardown),
        cmocka_unit_test_setup_teardown(embedding_finds_the_ids_of_its_tokens, fill, op_case_teardown),
        cmocka_unit_test_teardown(what_does_not_fit_is_refused, op_case_teardown),
        cmocka_unit_test_setup_teardown(attention_over_rows_is_attention_without_the_padding, fill, op_case_teardown),
        cmocka_unit_test_setup_teardown(a_scope_has_the_scale_of_its_rows_alone, fill, op_case_teardown),
        cmocka_unit_test_teardown(a_scope_without_its_inputs_is_refused, op_case_teardown),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
