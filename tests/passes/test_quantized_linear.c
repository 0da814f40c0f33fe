/* QuantizedLinear from the spellings of a quantized product, and what must be left alone. */
#include "tests/passes/builder.h"

#include "core/graph/canonical.h"

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})

/* MatMulInteger(8 x 6) and Cast. */
static bert_value *product(builder *b, quantized q, bert_value *w, bert_value *zero) {
    bert_value *sums =
        zero ? OP(b, MatMulInteger, q.values, w, q.zero_point, zero) : OP(b, MatMulInteger, q.values, w, q.zero_point);
    return cast(b, sums, BERT_FLOAT);
}

static bert_node *only_linear(const builder *b, int nodes) {
    assert_int_equal(count_all(b), nodes);
    return only(b, BERT_OP_BERTC_QuantizedLinear);
}

static void scales_are_found_in_any_order(void **state) {
    for (int form = 0; form < 5; form++) {
        builder b = start(17);
        bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8"), *w = bytes(&b, BERT_INT8, 2, DIMS(8, 6));
        bert_value *zero = bytes(&b, BERT_INT8, 0, NULL), *bias = weight(&b, 6, 0);
        bert_value *scale = form & 1 ? weight(&b, 6, 0) : scalar(&b, 0.02F);
        quantized q = quantize_dynamically(&b, x);
        bert_value *y = product(&b, q, w, zero);
        if (form == 0) y = OP(&b, Mul, y, OP(&b, Mul, q.scale, scale));
        if (form == 1) y = OP(&b, Mul, OP(&b, Mul, scale, q.scale), y);
        if (form == 2) y = OP(&b, Mul, OP(&b, Mul, y, q.scale), scale);
        if (form == 3) y = OP(&b, Mul, q.scale, OP(&b, Mul, scale, y));
        if (form == 4) y = OP(&b, Mul, OP(&b, Mul, y, scale), q.scale);
        y = OP(&b, Tanh, form & 1 ? OP(&b, Add, bias, y) : OP(&b, Add, y, bias));
        RUN(&b, "quantized_linear", y);
        bert_node *linear = only_linear(&b, 1);
        assert_ptr_equal(linear->inputs[BERT_LINEAR_X], x);
        assert_null(linear->inputs[BERT_LINEAR_RESIDUAL]);
        assert_ptr_equal(linear->inputs[BERT_QUANTIZED_LINEAR_WEIGHT(0)], w);
        assert_ptr_equal(linear->inputs[BERT_QUANTIZED_LINEAR_SCALE(0)], scale);
        assert_ptr_equal(linear->inputs[BERT_QUANTIZED_LINEAR_ZERO_POINT(0)], zero);
        assert_ptr_equal(linear->inputs[BERT_QUANTIZED_LINEAR_BIAS(0)], bias);
        assert_string_equal(BERT_NODE_STRING(linear, "activation", "none"), "tanh");
        finish(&b);
    }
}

static void fused_products_of_com_microsoft_are_taken(void **state) {
    for (int form = 0; form < 2; form++) {
        builder b = start(17);
        bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8"), *w = bytes(&b, BERT_UINT8, 2, DIMS(8, 6));
        bert_value *zero = bytes(&b, BERT_UINT8, 1, DIMS(6)), *scale = weight(&b, 6, 0), *bias = weight(&b, 6, 0);
        bert_value *y;
        if (form) {
            y = OP(&b, MS_DynamicQuantizeMatMul, x, w, scale, zero, bias);
        } else {
            quantized q = quantize_dynamically(&b, x);
            y = OP(&b, MS_MatMulIntegerToFloat, q.values, w, q.scale, scale, q.zero_point, zero, bias);
        }
        RUN(&b, "quantized_linear", y);
        bert_node *linear = only_linear(&b, 1);
        assert_ptr_equal(linear->inputs[BERT_LINEAR_X], x);
        assert_ptr_equal(linear->inputs[BERT_QUANTIZED_LINEAR_ZERO_POINT(0)], zero);
        assert_ptr_equal(linear->inputs[BERT_QUANTIZED_LINEAR_BIAS(0)], bias);
        finish(&b);
    }
}

static void products_may_share_what_was_quantized(void **state) {
    builder b = start(17);
    quantized q = quantize_dynamically(&b, input(&b, "x", BERT_FLOAT, "batch sequence 8"));
    bert_value *scale = tensor(&b, 1, DIMS(1)), *both = OP(&b, Mul, q.scale, scale), *results[3];
    for (int i = 0; i < 3; i++)
        results[i] = OP(&b, Mul, product(&b, q, bytes(&b, BERT_INT8, 2, DIMS(8, 6)), NULL), both);
    run(&b, "quantized_linear", results, 3);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_QuantizedLinear), 3);
    assert_int_equal(count_all(&b), 3);
    finish(&b);
}

static void a_scale_of_rank_2_is_shown_as_a_vector(void **state) {
    builder b = start(17);
    quantized q = quantize_dynamically(&b, input(&b, "x", BERT_FLOAT, "batch sequence 8"));
    bert_value *y = product(&b, q, bytes(&b, BERT_INT8, 2, DIMS(8, 6)), NULL);
    y = OP(&b, Mul, OP(&b, Mul, y, tensor(&b, 2, DIMS(1, 6))), q.scale);
    RUN(&b, "quantized_linear", y);
    assert_int_equal(bert_value_rank(only_linear(&b, 1)->inputs[BERT_QUANTIZED_LINEAR_SCALE(0)]), 1);
    finish(&b);
}

static void another_zero_point_or_scale_of_the_input_is_left_alone(void **state) {
    for (int form = 0; form < 5; form++) {
        builder b = start(17);
        bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8"), *w = bytes(&b, BERT_INT8, 2, DIMS(8, 6));
        quantized q = quantize_dynamically(&b, x),
                  other = quantize_dynamically(&b, input(&b, "y", BERT_FLOAT, "batch sequence 8"));
        bert_value *scale = scalar(&b, 0.02F), *y;
        if (form == 0) q.zero_point = other.zero_point;
        if (form == 1) q.scale = other.scale;
        if (form == 2) scale = input(&b, "scale", BERT_FLOAT, "6"); /* not constant */
        y = product(&b, q, w, NULL);
        y = form == 3 ? OP(&b, Mul, y, scale) : OP(&b, Mul, OP(&b, Mul, y, q.scale), form == 4 ? q.scale : scale);
        RUN(&b, "quantized_linear", y);
        assert_int_equal(count_nodes(&b, BERT_OP_BERTC_QuantizedLinear), 0);
        assert_int_equal(count_nodes(&b, BERT_OP_MatMulInteger), 1);
        assert_int_equal(b.report.miss_count, 1);
        finish(&b);
    }
}

static void a_product_without_zero_point_or_with_another_scale_is_left_alone(void **state) {
    for (int form = 0; form < 2; form++) {
        builder b = start(17);
        bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8"), *w = bytes(&b, BERT_UINT8, 2, DIMS(8, 6));
        quantized q = quantize_dynamically(&b, x);
        bert_value *y = form ? OP(&b, MS_MatMulIntegerToFloat, q.values, w, scalar(&b, 1), scalar(&b, 1), q.zero_point)
                             : OP(&b, Mul, cast(&b, OP(&b, MatMulInteger, q.values, w), BERT_FLOAT),
                                  OP(&b, Mul, q.scale, scalar(&b, 1)));
        RUN(&b, "quantized_linear", y);
        assert_int_equal(count_nodes(&b, BERT_OP_BERTC_QuantizedLinear), 0);
        finish(&b);
    }
}

static void sums_that_are_read_elsewhere_stay(void **state) {
    builder b = start(17);
    quantized q = quantize_dynamically(&b, input(&b, "x", BERT_FLOAT, "batch sequence 8"));
    bert_value *sum = product(&b, q, bytes(&b, BERT_INT8, 2, DIMS(8, 6)), NULL);
    bert_value *y = OP(&b, Mul, sum, OP(&b, Mul, q.scale, scalar(&b, 0.02F)));
    RUN(&b, "quantized_linear", y, sum);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_QuantizedLinear), 0);
    finish(&b);
}

static void a_bias_that_is_no_row_vector_stays_apart(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch 6 8");
    bert_value *y = OP(&b, MS_DynamicQuantizeMatMul, x, bytes(&b, BERT_INT8, 2, DIMS(8, 6)), scalar(&b, 0.02F));
    y = OP(&b, Add, y, tensor(&b, 2, DIMS(6, 1)));
    RUN(&b, "quantized_linear", y);
    assert_int_equal(count_all(&b), 2);
    assert_null(only(&b, BERT_OP_BERTC_QuantizedLinear)->inputs[BERT_QUANTIZED_LINEAR_BIAS(0)]);
    finish(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_are_found_in_any_order),
        cmocka_unit_test(fused_products_of_com_microsoft_are_taken),
        cmocka_unit_test(products_may_share_what_was_quantized),
        cmocka_unit_test(a_scale_of_rank_2_is_shown_as_a_vector),
        cmocka_unit_test(another_zero_point_or_scale_of_the_input_is_left_alone),
        cmocka_unit_test(a_product_without_zero_point_or_with_another_scale_is_left_alone),
        cmocka_unit_test(sums_that_are_read_elsewhere_stay),
        cmocka_unit_test(a_bias_that_is_no_row_vector_stays_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
