/* Pool: its shapes, and its reference against numbers worked out by hand. */
#include "tests/graph/op_case.h"

#include <math.h>

/* Two sequences of three tokens of two elements. */
static const float x[] = {1, 2, 3, -4, 5, 6, -7, 8, 9, -10, 11, 12};

/* A case of x, without a mask. */
static void begin(const char *pooling) {
    op_case_begin_in("bertc", "Pool", 1);
    op_case_string("pooling", pooling);
    op_case_tensor(BERT_FLOAT, "2,3,2", x);
}

static void shapes_follow_from_x(void **state) {
    static const bert_dtype masks[] = {BERT_BOOL, BERT_INT8, BERT_UINT8, BERT_INT32, BERT_INT64, BERT_FLOAT16};
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        op_case_begin_in("bertc", "Pool", 1);
        op_case_string("pooling", "mean");
        op_case_input(BERT_FLOAT16, "batch,sequence,8");
        op_case_input(masks[i], "batch,sequence");
        op_case_expect(0, BERT_FLOAT16, "batch,8");
    }
    op_case_begin_in("bertc", "Pool", 1);
    op_case_string("pooling", "max");
    op_case_input(BERT_DOUBLE, "1,rows,8");
    op_case_absent();
    op_case_input(BERT_INT32, "5");
    op_case_expect(0, BERT_DOUBLE, "4,8");
    op_case_begin_in("bertc", "Pool", 1);
    op_case_string("pooling", "first");
    op_case_input(BERT_FLOAT, "*");
    op_case_expect(0, BERT_FLOAT, "?,?");
}

static void contradictions_are_refused(void **state) {
    static const struct {
        const char *pooling, *x;
        bert_dtype mask;
        const char *shape, *words;
    } cases[] = {{"median", "2,3,4", BERT_INT64, "2,3", "no pooling \"median\""},
                 {"mean", "2,4", BERT_INT64, "2,4", "input 0 has 2 dimensions"},
                 {"mean", "2,3,4", BERT_INT64, "2,3,1", "input 1 has 3 dimensions"},
                 {"mean", "2,3,4", BERT_INT64, "2,5", "dimensions of x and of the mask"},
                 {"mean", "2,3,4", BERT_INT64, "3,3", "dimensions of x and of the mask"},
                 {"mean", "2,3,4", BERT_INT16, "2,3", "int16"},
                 {"mean", "2,3,4", BERT_DOUBLE, "2,3", "double"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        op_case_begin_in("bertc", "Pool", 1);
        op_case_string("pooling", cases[i].pooling);
        op_case_input(BERT_FLOAT, cases[i].x);
        op_case_input(cases[i].mask, cases[i].shape);
        op_case_expect_refused(BERT_INVALID_MODEL, cases[i].words);
    }
    begin("mean");
    op_case_input(BERT_INT64, "2,3");
    op_case_input(BERT_INT32, "3");
    op_case_expect_refused(BERT_INVALID_MODEL, "not both");
}

static void tokens_count_as_their_mask_says(void **state) {
    static const int64_t mask[] = {1, 0, 1, 0, 0, 0}, weights[] = {0, 1, 2, -1, 0, 3};
    static const float fractions[] = {0.5F, 0, 0.25F, 0, 1, 0};
    begin("mean");
    op_case_tensor(BERT_INT64, "2,3", mask);
    OP_CASE_EXPECT_CLOSE(0, 3, 4, 0, 0);
    begin("max");
    op_case_tensor(BERT_INT64, "2,3", mask);
    OP_CASE_EXPECT_CLOSE(0, 5, 6, 0, 0);
    begin("first");
    op_case_tensor(BERT_INT64, "2,3", weights);
    OP_CASE_EXPECT_CLOSE(0, 3, -4, -7, 8);
    begin("mean");
    op_case_tensor(BERT_INT64, "2,3", weights);
    OP_CASE_EXPECT_CLOSE(0, 13.0F / 3, 8.0F / 3, 20, 14);
    begin("mean");
    op_case_tensor(BERT_FLOAT, "2,3", fractions);
    OP_CASE_EXPECT_CLOSE(0, 1.75F / 0.75F, 2.5F / 0.75F, 9, -10);
}

static void every_token_counts_without_a_mask(void **state) {
    begin("mean");
    OP_CASE_EXPECT_CLOSE(0, 3, 4.0F / 3, 13.0F / 3, 10.0F / 3);
    begin("max");
    OP_CASE_EXPECT_CLOSE(0, 5, 6, 11, 12);
    begin("first");
    OP_CASE_EXPECT_CLOSE(0, 1, 2, -7, 8);
}

/* The divisor is no less than epsilon, which may be more than there is to divide by, or nothing. */
static void the_divisor_is_bounded(void **state) {
    static const int64_t mask[] = {1, 0, 0, 0, 0, 0};
    begin("mean");
    op_case_float("epsilon", 4);
    op_case_tensor(BERT_INT64, "2,3", mask);
    OP_CASE_EXPECT_CLOSE(0, 0.25F, 0.5F, 0, 0);
    begin("mean");
    op_case_float("epsilon", 0);
    op_case_tensor(BERT_INT64, "2,3", mask);
    OP_CASE_EXPECT_CLOSE(0, 1, 2, NAN, NAN);
}

/* Sequences of four rows, of none, and of two. */
static void rows_are_those_of_each_sequence(void **state) {
    static const int32_t starts[] = {0, 4, 4, 6}, beyond[] = {0, 4, 4, 7}, backward[] = {0, 4, 3, 6};
    static const char *const poolings[] = {"mean", "max", "first"};
    static const float expected[3][6] = {{0.5F, 3, 0, 0, 10, 1}, {5, 8, 0, 0, 11, 12}, {1, 2, 0, 0, 9, -10}};
    for (int i = 0; i < 3; i++) {
        op_case_begin_in("bertc", "Pool", 1);
        op_case_string("pooling", poolings[i]);
        op_case_tensor(BERT_FLOAT, "1,6,2", x);
        op_case_absent();
        op_case_tensor(BERT_INT32, "4", starts);
        op_case_expect(0, BERT_FLOAT, "3,2");
        op_case_expect_close(0, expected[i], 6);
    }
    for (int i = 0; i < 2; i++) {
        op_case_begin_in("bertc", "Pool", 1);
        op_case_string("pooling", "mean");
        op_case_tensor(BERT_FLOAT, "1,6,2", x);
        op_case_absent();
        op_case_tensor(BERT_INT32, "4", i ? backward : beyond);
        op_case_expect_run_fails(BERT_INVALID_INPUT, i ? "sequence 1 is rows 4 to 3 of 6" : "rows 4 to 7 of 6");
    }
}

static void vectors_are_brought_to_length_1(void **state) {
    static const double tokens[] = {2, 1, 4, 7, 5, 5, 1e-13, 0};
    static const uint8_t mask[] = {1, 1, 0, 1};
    op_case_begin_in("bertc", "Pool", 1);
    op_case_string("pooling", "mean");
    op_case_int("normalize", 1);
    op_case_tensor(BERT_DOUBLE, "2,2,2", tokens);
    op_case_tensor(BERT_BOOL, "2,2", mask);
    const double *y = op_case_run();
    const double expected[] = {0.6, 0.8, 0.1, 0};
    for (int i = 0; i < 4; i++) assert_true(fabs(y[i] - expected[i]) < 1e-15);
}

static void a_nan_stays_the_greatest(void **state) {
    static const float tokens[] = {1, NAN, 2, 4, 3, 5};
    op_case_begin_in("bertc", "Pool", 1);
    op_case_string("pooling", "max");
    op_case_tensor(BERT_FLOAT, "1,3,2", tokens);
    OP_CASE_EXPECT_CLOSE(0, 3, NAN);
}

static void a_vector_with_a_nan_has_no_length(void **state) {
    static const float tokens[] = {3, NAN, 5, 4, 3, 0};
    op_case_begin_in("bertc", "Pool", 1);
    op_case_string("pooling", "first");
    op_case_int("normalize", 1);
    op_case_tensor(BERT_FLOAT, "2,1,3", tokens);
    OP_CASE_EXPECT_CLOSE(0, NAN, NAN, NAN, 0.8F, 0.6F, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(shapes_follow_from_x, op_case_teardown),
        cmocka_unit_test_teardown(contradictions_are_refused, op_case_teardown),
        cmocka_unit_test_teardown(tokens_count_as_their_mask_says, op_case_teardown),
        cmocka_unit_test_teardown(every_token_counts_without_a_mask, op_case_teardown),
        cmocka_unit_test_teardown(the_divisor_is_bounded, op_case_teardown),
        cmocka_unit_test_teardown(rows_are_those_of_each_sequence, op_case_teardown),
        cmocka_unit_test_teardown(vectors_are_brought_to_length_1, op_case_teardown),
        cmocka_unit_test_teardown(a_nan_stays_the_greatest, op_case_teardown),
        cmocka_unit_test_teardown(a_vector_with_a_nan_has_no_length, op_case_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
