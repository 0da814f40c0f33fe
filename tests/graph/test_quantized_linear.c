/* The canonical QuantizedLinear: inference, and its reference implementation against the operators it stands for. */
#include "core/graph/canonical.h"
#include "tests/graph/op_case.h"

#include <string.h>

enum { ROWS = 5, DEPTH = 7, COLUMNS = 3 };

static float x[ROWS * DEPTH], residual[ROWS * COLUMNS * 2];
static const float scales[COLUMNS] = {0.5F, 0.03125F, 0.0123F}, bias[COLUMNS] = {0.25F, -1.5F, 3.0F};
static unsigned char weights[2][DEPTH * COLUMNS];
static const unsigned char zero_points[COLUMNS] = {0, 128, 255};

static int fill(void **state) {
    for (int i = 0; i < ROWS * DEPTH; i++) x[i] = (float)((i * 29 + 11) % 83) / 17.0F - 1.3F;
    for (int i = 0; i < ROWS * COLUMNS * 2; i++) residual[i] = (float)i / 8.0F;
    for (int i = 0; i < DEPTH * COLUMNS; i++) {
        weights[0][i] = (unsigned char)(i * 97 + 5);
        weights[1][i] = (unsigned char)(i * 53 + 250);
    }
    return 0;
}

/* DynamicQuantizeLinear and MatMulInteger on their own: the sums and the scale of x. */
static float sums_apart(bert_dtype type, const unsigned char *weight, const void *zero, int32_t sums[ROWS * COLUMNS]) {
    unsigned char values[ROWS * DEPTH], zero_point;
    op_case_begin("DynamicQuantizeLinear", 11);
    op_case_outputs(3);
    op_case_tensor(BERT_FLOAT, "5,7", x);
    op_case_run();
    memcpy(values, op_case_output(0)->data, sizeof values);
    const float scale = *(const float *)op_case_output(1)->data;
    zero_point = *(const unsigned char *)op_case_output(2)->data;
    op_case_begin("MatMulInteger", 10);
    op_case_tensor(BERT_UINT8, "5,7", values);
    op_case_tensor(type, "7,3", weight);
    op_case_tensor(BERT_UINT8, "", &zero_point);
    op_case_tensor(type, "3", zero);
    memcpy(sums, op_case_run(), ROWS * COLUMNS * sizeof *sums);
    return scale;
}

static void it_is_what_the_operators_compute_one_by_one(void **state) {
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        const bert_dtype type = is_signed ? BERT_INT8 : BERT_UINT8;
        int32_t sums[2][ROWS * COLUMNS];
        float scale = 0;
        for (int part = 0; part < 2; part++) scale = sums_apart(type, weights[part], zero_points, sums[part]);
        op_case_begin_in("bertc", "QuantizedLinear", 1);
        op_case_int("parts", 2);
        op_case_string("activation", "relu");
        op_case_tensor(BERT_FLOAT, "5,7", x);
        op_case_tensor(BERT_FLOAT, "5,6", residual);
        op_case_absent();
        op_case_absent();
        for (int part = 0; part < 2; part++) {
            op_case_tensor(type, "7,3", weights[part]);
            op_case_tensor(BERT_FLOAT, part ? "" : "3", scales);
            op_case_tensor(type, "3", zero_points);
            if (part)
                op_case_absent();
            else
                op_case_tensor(BERT_FLOAT, "3", bias);
        }
        const float *y = op_case_run();
        for (int i = 0; i < ROWS; i++) {
            for (int j = 0; j < 2 * COLUMNS; j++) {
                const int part = j / COLUMNS, column = j % COLUMNS;
                const float factor = scale * scales[part ? 0 : column];
                const float product = (float)sums[part][i * COLUMNS + column] * factor;
                double value = (double)product + (part ? 0.0 : (double)bias[column]);
                if (value < 0) value = 0;
                assert_true(y[i * 2 * COLUMNS + j] == (float)(value + (double)residual[i * 2 * COLUMNS + j]));
            }
        }
    }
}

/* A static scale: QuantizeLinear and QLinearMatMul on their own, whose output is in units of 1 here. */
static void with_a_scale_of_x_it_is_what_qlinear_matmul_computes(void **state) {
    static const float x_scale = 0.0625F, one = 1.0F;
    static const unsigned char x_zero = 77, y_zero = 100;
    unsigned char values[ROWS * DEPTH], expected[ROWS * COLUMNS], turned[DEPTH * COLUMNS];
    float factors[COLUMNS];
    op_case_begin("QuantizeLinear", 13);
    op_case_tensor(BERT_FLOAT, "5,7", x);
    op_case_tensor(BERT_FLOAT, "", &x_scale);
    op_case_tensor(BERT_UINT8, "", &x_zero);
    memcpy(values, op_case_run(), sizeof values);
    op_case_begin("QLinearMatMul", 10);
    op_case_tensor(BERT_UINT8, "5,7", values);
    op_case_tensor(BERT_FLOAT, "", &x_scale);
    op_case_tensor(BERT_UINT8, "", &x_zero);
    op_case_tensor(BERT_INT8, "7,3", weights[0]);
    op_case_tensor(BERT_FLOAT, "3", scales);
    op_case_tensor(BERT_INT8, "3", zero_points);
    op_case_tensor(BERT_FLOAT, "", &one);
    op_case_tensor(BERT_UINT8, "", &y_zero);
    memcpy(expected, op_case_run(), sizeof expected);
    for (int j = 0; j < COLUMNS; j++) factors[j] = x_scale * scales[j];
    for (int i = 0; i < DEPTH * COLUMNS; i++) turned[i % COLUMNS * DEPTH + i / COLUMNS] = weights[0][i];
    for (int transpose = 0; transpose < 2; transpose++) {
        float y[ROWS * COLUMNS];
        op_case_begin_in("bertc", "QuantizedLinear", 1);
        op_case_int("transpose", transpose);
        op_case_tensor(BERT_FLOAT, "5,7", x);
        op_case_absent();
        op_case_tensor(BERT_FLOAT, "", &x_scale);
        op_case_tensor(BERT_UINT8, "", &x_zero);
        op_case_tensor(BERT_INT8, transpose ? "3,7" : "7,3", transpose ? turned : weights[0]);
        op_case_tensor(BERT_FLOAT, "3", factors);
        op_case_tensor(BERT_INT8, "3", zero_points);
        memcpy(y, op_case_run(), sizeof y);
        op_case_begin("QuantizeLinear", 13);
        op_case_tensor(BERT_FLOAT, "5,3", y);
        op_case_tensor(BERT_FLOAT, "", &one);
        op_case_tensor(BERT_UINT8, "", &y_zero);
        assert_memory_equal(op_case_run(), expected, sizeof expected);
    }
}

static void an_integer_bias_is_part_of_the_sum(void **state) {
    static const float x_scale = 0.0625F;
    static const int32_t start[COLUMNS] = {16777219, -5, INT32_MAX};
    int32_t sums[ROWS * COLUMNS];
    unsigned char values[ROWS * DEPTH];
    op_case_begin("QuantizeLinear", 13);
    op_case_tensor(BERT_FLOAT, "5,7", x);
    op_case_tensor(BERT_FLOAT, "", &x_scale);
    op_case_absent();
    memcpy(values, op_case_run(), sizeof values);
    op_case_begin("MatMulInteger", 10);
    op_case_tensor(BERT_UINT8, "5,7", values);
    op_case_tensor(BERT_UINT8, "7,3", weights[0]);
    memcpy(sums, op_case_run(), sizeof sums);
    op_case_begin_in("bertc", "QuantizedLinear", 1);
    op_case_tensor(BERT_FLOAT, "5,7", x);
    op_case_absent();
    op_case_tensor(BERT_FLOAT, "", &x_scale);
    op_case_absent();
    op_case_tensor(BERT_UINT8, "7,3", weights[0]);
    op_case_tensor(BERT_FLOAT, "3", scales);
    op_case_absent();
    op_case_tensor(BERT_INT32, "3", start);
    const float *y = op_case_run();
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        const int32_t sum = (int32_t)((uint32_t)sums[i] + (uint32_t)start[i % COLUMNS]);
        assert_true(y[i] == (float)sum * scales[i % COLUMNS]);
    }
}

static void weight_only_takes_x_as_it_is(void **state) {
    float expected[ROWS * COLUMNS];
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        double sum = 0;
        const int column = i % COLUMNS;
        for (int k = 0; k < DEPTH; k++)
            sum += (double)x[i / COLUMNS * DEPTH + k] * (weights[0][k * COLUMNS + column] - zero_points[column]);
        expected[i] = (float)(sum * (double)scales[column] + (double)bias[column]);
    }
    op_case_begin_in("bertc", "QuantizedLinear", 1);
    op_case_int("weight_only", 1);
    op_case_tensor(BERT_FLOAT, "5,7", x);
    for (int i = 0; i < 3; i++) op_case_absent();
    op_case_tensor(BERT_UINT8, "7,3", weights[0]);
    op_case_tensor(BERT_FLOAT, "3", scales);
    op_case_tensor(BERT_UINT8, "3", zero_points);
    op_case_tensor(BERT_FLOAT, "3", bias);
    op_case_expect_close(0, expected, ROWS * COLUMNS);
}

/* One row of each sequence of x [1, 5, 7] or [5, 1, 7]: what the whole product has there, whose scale it shares. */
static void with_a_place_it_has_one_row_of_each_sequence(void **state) {
    static const char *const scopes[] = {"tensor", "token", "sequence"};
    static const int32_t starts[] = {0, ROWS};
    for (int scope = 0; scope < 3; scope++) {
        float whole[ROWS * COLUMNS];
        for (int64_t place = -ROWS - 1; place < ROWS; place++) { /* the first one: all of them */
            op_case_begin_in("bertc", "QuantizedLinear", 1);
            op_case_string("activation", "relu");
            op_case_string("scope", scopes[scope]);
            if (place >= -ROWS) op_case_int("place", place);
            op_case_int("keepdims", place & 1);
            op_case_tensor(BERT_FLOAT, "1,5,7", x);
            for (int i = BERT_LINEAR_RESIDUAL; i < BERT_QUANTIZED_LINEAR_WEIGHT(0); i++) op_case_absent();
            op_case_tensor(BERT_INT8, "7,3", weights[0]);
            op_case_tensor(BERT_FLOAT, "3", scales);
            op_case_tensor(BERT_INT8, "3", zero_points);
            op_case_tensor(BERT_FLOAT, "3", bias);
            if (scope == 2) op_case_tensor(BERT_INT32, "2", starts);
            const float *y = op_case_run();
            if (place < -ROWS) {
                memcpy(whole, y, sizeof whole);
                continue;
            }
            assert_int_equal(op_case_output(0)->rank, place & 1 ? 3 : 2);
            assert_int_equal(bert_tensor_elements(op_case_output(0)), COLUMNS);
            assert_memory_equal(y, whole + (place + ROWS) % ROWS * COLUMNS, COLUMNS * sizeof *whole);
        }
    }
}

static void begin(void) {
    op_case_begin_in("bertc", "QuantizedLinear", 1);
    op_case_input(BERT_FLOAT, "batch,sequence,7");
    for (int i = BERT_LINEAR_RESIDUAL; i < BERT_QUANTIZED_LINEAR_WEIGHT(0); i++) op_case_absent();
}

static void its_shape_is_that_of_all_parts(void **state) {
    begin();
    op_case_int("parts", 2);
    for (int part = 0; part < 2; part++) {
        op_case_input(BERT_UINT8, part ? "7,4" : "7,3");
        op_case_input(BERT_FLOAT, part ? "4" : "1");
        op_case_absent();
        op_case_absent();
    }
    op_case_expect(0, BERT_FLOAT, "batch,sequence,7");
    for (int keepdims = 0; keepdims < 2; keepdims++) {
        begin();
        op_case_int("place", -1);
        op_case_int("keepdims", keepdims);
        op_case_input(BERT_UINT8, "7,3");
        op_case_input(BERT_FLOAT, "1");
        op_case_expect(0, BERT_FLOAT, keepdims ? "batch,1,3" : "batch,3");
    }
}

static void what_does_not_fit_is_refused(void **state) {
    begin();
    op_case_input(BERT_INT8, "8,3");
    op_case_input(BERT_FLOAT, "");
    op_case_expect_refused(BERT_INVALID_MODEL, "rows of the weight");
    begin();
    op_case_input(BERT_INT8, "7,3");
    op_case_input(BERT_FLOAT, "2");
    op_case_expect_refused(BERT_INVALID_MODEL, "scales and the columns");
    begin();
    op_case_input(BERT_INT8, "7,3");
    op_case_input(BERT_FLOAT, "");
    op_case_input(BERT_UINT8, "");
    op_case_expect_refused(BERT_INVALID_MODEL, "");
    begin();
    op_case_input(BERT_FLOAT, "7,3");
    op_case_input(BERT_FLOAT, "");
    op_case_expect_refused(BERT_INVALID_MODEL, "");
    begin();
    op_case_input(BERT_INT8, "7,3");
    op_case_input(BERT_FLOAT, "");
    op_case_int("parts", 4);
    op_case_expect_refused(BERT_INVALID_MODEL, "parts");
    begin();
    op_case_input(BERT_INT8, "7,3");
    op_case_input(BERT_FLOAT, "");
    op_case_int("parts", 2);
    op_case_expect_refused(BERT_INVALID_MODEL, "missing");
    op_case_begin_in("bertc", "QuantizedLinear", 1);
    op_case_int("weight_only", 1);
    op_case_input(BERT_FLOAT, "batch,sequence,7");
    op_case_absent();
    op_case_input(BERT_FLOAT, "");
    op_case_absent();
    op_case_input(BERT_INT8, "7,3");
    op_case_input(BERT_FLOAT, "");
    op_case_expect_refused(BERT_INVALID_MODEL, "weight_only and a scale");
}

static void a_place_that_there_cannot_be_is_refused(void **state) {
    for (int why = 0; why < 5; why++) {
        op_case_begin_in("bertc", "QuantizedLinear", 1);
        op_case_int("place", why == 3 ? 5 : why == 4 ? -6 : 0);
        op_case_int("weight_only", why == 0);
        op_case_input(BERT_FLOAT, why == 2 ? "5,7" : "2,5,7");
        if (why == 1)
            op_case_input(BERT_FLOAT, "2,3");
        else
            op_case_absent();
        for (int i = BERT_QUANTIZED_LINEAR_X_SCALE; i < BERT_QUANTIZED_LINEAR_WEIGHT(0); i++) op_case_absent();
        op_case_input(BERT_INT8, "7,3");
        op_case_input(BERT_FLOAT, "");
        op_case_expect_refused(why < 3 ? BERT_INVALID_MODEL : BERT_INVALID_INPUT,
                               why < 2    ? "dynamic scale and without residual"
                               : why == 2 ? "2 dimensions"
                                          : "outside a sequence of 5");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(it_is_what_the_operators_compute_one_by_one, op_case_teardown),
        cmocka_unit_test_teardown(with_a_scale_of_x_it_is_what_qlinear_matmul_computes, op_case_teardown),
        cmocka_unit_test_teardown(an_integer_bias_is_part_of_the_sum, op_case_teardown),
        cmocka_unit_test_teardown(weight_only_takes_x_as_it_is, op_case_teardown),
        cmocka_unit_test_teardown(with_a_place_it_has_one_row_of_each_sequence, op_case_teardown),
        cmocka_unit_test_teardown(a_place_that_there_cannot_be_is_refused, op_case_teardown),
        cmocka_unit_test_teardown(its_shape_is_that_of_all_parts, op_case_teardown),
        cmocka_unit_test_teardown(what_does_not_fit_is_refused, op_case_teardown),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
