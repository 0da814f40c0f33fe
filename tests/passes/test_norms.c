/* LayerNormalization, SkipLayerNormalization and Gelu from their spellings, and what must be left alone. */
#include "tests/passes/builder.h"

#include "core/graph/canonical.h"

#include <math.h>

#define WIDTH 8

/* ---- LayerNormalization ---------------------------------------------------------------------------------------------
 */

/* How a LayerNormalization is spelled; all zero is the plain form. */
typedef struct norm_spelling {
    bool square_by_mul, root_by_pow, two_deviations, reciprocal, swapped;
    int64_t axis; /* Of the means; 0 stands for -1. */
    float power;  /* 0 stands for 2. */
    bool no_keepdims;
    bert_value *other; /* Taken in place of x in the mean. */
} norm_spelling;

typedef struct norm_values {
    bert_value *x, *deviation, *variance, *result;
} norm_values;

static bert_value *commute(builder *b, bert_op_id id, bool swapped, bert_value *a, bert_value *c) {
    bert_value *operands[2] = {swapped ? c : a, swapped ? a : c};
    return node(b, id, NULL, 0, operands, 2);
}

static norm_values spell_norm(builder *b, bert_value *x, norm_spelling s) {
    norm_values v = {.x = x};
    int64_t axis = s.axis ? s.axis : -1;
    bert_value *first = OP(b, Sub, x, mean(b, s.other ? s.other : x, axis));
    v.deviation = s.two_deviations ? OP(b, Sub, x, mean(b, x, axis)) : first;
    bert_value *square =
        s.square_by_mul ? OP(b, Mul, first, first) : OP(b, Pow, first, scalar(b, s.power != 0 ? s.power : 2));
    v.variance = mean(b, square, axis);
    bert_value *sum = commute(b, BERT_OP_Add, s.swapped, v.variance, scalar(b, 1e-6F));
    bert_value *root = s.root_by_pow ? OP(b, Pow, sum, scalar(b, 0.5F)) : OP(b, Sqrt, sum);
    bert_value *normal = s.reciprocal ? commute(b, BERT_OP_Mul, s.swapped, v.deviation, OP(b, Div, scalar(b, 1), root))
                                      : OP(b, Div, v.deviation, root);
    bert_value *scaled = commute(b, BERT_OP_Mul, s.swapped, normal, weight(b, WIDTH, 0));
    v.result = commute(b, BERT_OP_Add, s.swapped, scaled, weight(b, WIDTH, 0));
    return v;
}

static void every_spelling_of_layer_norm_becomes_one_node(void **state) {
    for (int bits = 0; bits < 32; bits++) {
        builder b = start(11);
        bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8");
        norm_values v = spell_norm(&b, x,
                                   (norm_spelling){.square_by_mul = bits & 1,
                                                   .root_by_pow = bits & 2,
                                                   .two_deviations = bits & 4,
                                                   .reciprocal = bits & 8,
                                                   .swapped = bits & 16});
        RUN(&b, "layer_norm", v.result);
        assert_int_equal(count_all(&b), 1);
        bert_node *norm = only(&b, BERT_OP_LayerNormalization);
        assert_ptr_equal(norm->inputs[0], x);
        assert_ptr_equal(norm->outputs[0], v.result);
        assert_int_equal(norm->input_count, 3);
        assert_true(fabsf(BERT_NODE_FLOAT(norm, "epsilon", 0) - 1e-6F) < 1e-12F);
        assert_true(norm->opset >= 17);
        assert_int_equal(b.report.rewrite_count, 1);
        finish(&b);
    }
}

static void the_last_axis_may_be_counted_from_the_front(void **state) {
    builder b = start(11);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8");
    norm_values v = spell_norm(&b, x, (norm_spelling){.axis = 2});
    RUN(&b, "layer_norm", v.result);
    assert_int_equal(count_all(&b), 1);
    finish(&b);
}

static void expect_no_norm(norm_spelling s, const char *dims) {
    builder b = start(11);
    bert_value *x = input(&b, "x", BERT_FLOAT, dims);
    if (s.other) s.other = input(&b, "y", BERT_FLOAT, dims);
    norm_values v = spell_norm(&b, x, s);
    RUN(&b, "layer_norm", v.result);
    assert_int_equal(count_nodes(&b, BERT_OP_LayerNormalization), 0);
    assert_int_equal(b.report.rewrite_count, 0);
    assert_true(b.report.miss_count > 0);
    finish(&b);
}

static void a_mean_over_another_axis_is_no_layer_norm(void **state) {
    expect_no_norm((norm_spelling){.axis = 1}, "batch 8 8");
}

static void another_power_is_no_layer_norm(void **state) {
    expect_no_norm((norm_spelling){.power = 3}, "batch sequence 8");
}

static void the_mean_of_another_tensor_is_no_layer_norm(void **state) {
    static bert_value any;
    expect_no_norm((norm_spelling){.other = &any}, "batch sequence 8");
}

static void a_deviation_that_is_read_elsewhere_is_left_alone(void **state) {
    builder b = start(11);
    norm_values v = spell_norm(&b, input(&b, "x", BERT_FLOAT, "batch sequence 8"), (norm_spelling){0});
    bert_value *other = OP(&b, Relu, v.deviation);
    RUN(&b, "layer_norm", v.result, other);
    assert_int_equal(count_nodes(&b, BERT_OP_LayerNormalization), 0);
    assert_int_equal(b.report.miss_count, 1);
    assert_non_null(strstr(b.report.misses[0].reason, v.deviation->name));
    finish(&b);
}

static void a_variance_that_leaves_the_graph_is_left_alone(void **state) {
    builder b = start(11);
    norm_values v = spell_norm(&b, input(&b, "x", BERT_FLOAT, "batch sequence 8"), (norm_spelling){0});
    RUN(&b, "layer_norm", v.result, v.variance);
    assert_int_equal(count_nodes(&b, BERT_OP_LayerNormalization), 0);
    finish(&b);
}

/* ---- SkipLayerNormalization -----------------------------------------------------------------------------------------
 */

static bert_value *norm_of(builder *b, bert_value *x) {
    return OP(b, LayerNormalization, x, weight(b, WIDTH, 0), weight(b, WIDTH, 0));
}

static void a_sum_and_its_norm_become_one_node(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8");
    bert_value *y = input(&b, "y", BERT_FLOAT, "batch sequence 8");
    bert_value *result = norm_of(&b, OP(&b, Add, x, y));
    RUN(&b, "skip_layer_norm", result);
    assert_int_equal(count_all(&b), 1);
    bert_node *skip = only(&b, BERT_OP_BERTC_SkipLayerNormalization);
    assert_ptr_equal(skip->inputs[BERT_SKIP_X], x);
    assert_ptr_equal(skip->inputs[BERT_SKIP_SKIP], y);
    assert_ptr_equal(skip->outputs[0], result);
    finish(&b);
}

static void a_sum_that_is_read_elsewhere_becomes_the_second_output(void **state) {
    for (int leaves = 0; leaves < 2; leaves++) {
        builder b = start(17);
        bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8");
        bert_value *sum = OP(&b, Add, x, input(&b, "y", BERT_FLOAT, "batch sequence 8"));
        bert_value *early = OP(&b, Relu, sum), *result = norm_of(&b, sum);
        RUN(&b, "skip_layer_norm", result, leaves ? sum : early);
        bert_node *skip = only(&b, BERT_OP_BERTC_SkipLayerNormalization);
        assert_int_equal(skip->output_count, 2);
        assert_ptr_equal(skip->outputs[1], sum);
        assert_int_equal(count_all(&b), leaves ? 1 : 2);
        finish(&b);
    }
}

static void a_broadcast_sum_is_no_skip(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8");
    bert_value *result = norm_of(&b, OP(&b, Add, x, input(&b, "y", BERT_FLOAT, "1 sequence 8")));
    RUN(&b, "skip_layer_norm", result);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_SkipLayerNormalization), 0);
    assert_int_equal(b.report.miss_count, 1);
    finish(&b);
}

static void a_norm_over_more_axes_is_no_skip(void **state) {
    builder b = start(17);
    bert_value *sum = OP(&b, Add, input(&b, "x", BERT_FLOAT, "batch 4 8"), input(&b, "y", BERT_FLOAT, "batch 4 8"));
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", -2);
    bert_value *result = OP_WITH(&b, LayerNormalization, axis, sum, weight(&b, 4, 8), weight(&b, 4, 8));
    RUN(&b, "skip_layer_norm", result);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_SkipLayerNormalization), 0);
    finish(&b);
}

/* ---- Gelu -----------------------------------------------------------------------------------------------------------
 */

/* 1 + erf(x / sqrt 2), or with another divisor. */
static bert_value *erf_gate(builder *b, bert_value *x, bool by_mul, bool swapped, float divisor) {
    bert_value *inside =
        by_mul ? commute(b, BERT_OP_Mul, swapped, x, scalar(b, 1 / divisor)) : OP(b, Div, x, scalar(b, divisor));
    return commute(b, BERT_OP_Add, swapped, OP(b, Erf, inside), scalar(b, 1));
}

/* The product of x, the gate and a half, in the association that `where` says. */
static bert_value *half_product(builder *b, bert_value *x, bert_value *gate, int where, bool swapped) {
    bert_value *half = scalar(b, 0.5F);
    switch (where) {
    case 0:
        return commute(b, BERT_OP_Mul, swapped, commute(b, BERT_OP_Mul, swapped, x, gate), half);
    case 1:
        return commute(b, BERT_OP_Mul, swapped, commute(b, BERT_OP_Mul, swapped, x, half), gate);
    case 2:
        return commute(b, BERT_OP_Mul, swapped, x, commute(b, BERT_OP_Mul, swapped, gate, half));
    default:
        return OP(b, Div, commute(b, BERT_OP_Mul, swapped, x, gate), scalar(b, 2));
    }
}

static void every_spelling_of_erf_gelu_becomes_one_node(void **state) {
    for (int bits = 0; bits < 16; bits++) {
        builder b = start(11);
        bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8");
        bool by_mul = bits & 1, swapped = bits & 2;
        bert_value *gate = erf_gate(&b, x, by_mul, swapped, 1.41421354F);
        bert_value *result = half_product(&b, x, gate, bits >> 2, swapped);
        RUN(&b, "gelu", result);
        assert_int_equal(count_all(&b), 1);
        bert_node *gelu = only(&b, BERT_OP_Gelu);
        assert_ptr_equal(gelu->inputs[0], x);
        assert_string_equal(BERT_NODE_STRING(gelu, "approximate", "none"), "none");
        finish(&b);
    }
}

static bert_value *cube(builder *b, bert_value *x, int spelling) {
    if (spelling == 0) return OP(b, Pow, x, scalar(b, 3));
    if (spelling == 1) return OP(b, Mul, OP(b, Mul, x, x), x);
    return OP(b, Mul, x, OP(b, Pow, x, scalar(b, 2)));
}

static bert_value *tanh_gate(builder *b, bert_value *x, int spelling, float factor) {
    bert_value *inside;
    if (spelling < 3) {
        bert_value *sum = OP(b, Add, x, OP(b, Mul, scalar(b, 0.044715F), cube(b, x, spelling)));
        inside = OP(b, Mul, sum, scalar(b, factor));
    } else if (spelling == 3) { /* ONNX Runtime's FastGelu. */
        bert_value *sum = OP(b, Add, OP(b, Mul, scalar(b, 0.035677F), OP(b, Mul, x, x)), scalar(b, factor));
        inside = OP(b, Mul, x, sum);
    } else { /* Hugging Face's gelu_fast. */
        bert_value *scaled = OP(b, Mul, x, scalar(b, factor));
        bert_value *sum = OP(b, Add, scalar(b, 1), OP(b, Mul, OP(b, Mul, x, scalar(b, 0.044715F)), x));
        inside = OP(b, Mul, scaled, sum);
    }
    return OP(b, Add, scalar(b, 1), OP(b, Tanh, inside));
}

static void every_spelling_of_tanh_gelu_becomes_one_node(void **state) {
    for (int spelling = 0; spelling < 5; spelling++) {
        for (int where = 0; where < 4; where++) {
            builder b = start(11);
            bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8");
            bert_value *result = half_product(&b, x, tanh_gate(&b, x, spelling, 0.7978846F), where, where & 1);
            RUN(&b, "gelu", result);
            assert_int_equal(count_all(&b), 1);
            assert_string_equal(BERT_NODE_STRING(only(&b, BERT_OP_Gelu), "approximate", "none"), "tanh");
            finish(&b);
        }
    }
}

static void quick_gelu_becomes_one_node(void **state) {
    builder b = start(11);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8");
    bert_value *result = OP(&b, Mul, OP(&b, Sigmoid, OP(&b, Mul, scalar(&b, 1.702F), x)), x);
    RUN(&b, "gelu", result);
    assert_int_equal(count_all(&b), 1);
    assert_string_equal(b.graph->body.first->op->name, "QuickGelu");
    finish(&b);
}

/* SiLU, whichever way round, and as it stands in a gated feed-forward part. */
static void silu_becomes_one_node(void **state) {
    for (int variant = 0; variant < 3; variant++) {
        builder b = start(11);
        bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8"), *gate = OP(&b, Sigmoid, x);
        bert_value *result = variant ? OP(&b, Mul, x, gate) : OP(&b, Mul, gate, x);
        if (variant == 2) result = OP(&b, Mul, input(&b, "up", BERT_FLOAT, "batch sequence 8"), result);
        RUN(&b, "gelu", result);
        assert_int_equal(count_all(&b), variant == 2 ? 2 : 1);
        assert_true(BERT_NODE_FLOAT(only(&b, BERT_OP_MS_QuickGelu), "alpha", 0) == 1);
        finish(&b);
    }
}

/* Something near a Gelu stays as it is. */
static void expect_no_gelu(builder *b, bert_value *result) {
    int before = count_all(b);
    RUN(b, "gelu", result);
    assert_int_equal(count_all(b), before);
    finish(b);
}

static void near_gelus_are_left_alone(void **state) {
    builder b = start(11);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8");
    expect_no_gelu(&b, half_product(&b, x, erf_gate(&b, x, false, false, 1.5F), 0, false));

    b = start(11);
    x = input(&b, "x", BERT_FLOAT, "batch sequence 8");
    expect_no_gelu(&b, half_product(&b, x, tanh_gate(&b, x, 0, 0.8F), 0, false));

    b = start(11);
    x = input(&b, "x", BERT_FLOAT, "batch sequence 8");
    expect_no_gelu(&b, OP(&b, Mul, x, erf_gate(&b, x, false, false, 1.41421354F)));

    b = start(11);
    x = input(&b, "x", BERT_FLOAT, "batch sequence 8");
    bert_value *y = input(&b, "y", BERT_FLOAT, "batch sequence 8");
    expect_no_gelu(&b, half_product(&b, x, erf_gate(&b, y, false, false, 1.41421354F), 0, false));

    b = start(11);
    x = input(&b, "x", BERT_FLOAT, "batch sequence 8");
    expect_no_gelu(&b, OP(&b, Mul, x, OP(&b, Sigmoid, OP(&b, Mul, x, scalar(&b, 1.5F)))));
}

static void an_erf_that_is_read_elsewhere_is_left_alone(void **state) {
    builder b = start(11);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8");
    bert_value *gate = erf_gate(&b, x, false, false, 1.41421354F);
    bert_value *result = half_product(&b, x, gate, 0, false);
    RUN(&b, "gelu", result, gate);
    assert_int_equal(count_nodes(&b, BERT_OP_Gelu), 0);
    assert_true(b.report.miss_count > 0);
    finish(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_spelling_of_layer_norm_becomes_one_node),
        cmocka_unit_test(the_last_axis_may_be_counted_from_the_front),
        cmocka_unit_test(a_mean_over_another_axis_is_no_layer_norm),
        cmocka_unit_test(another_power_is_no_layer_norm),
        cmocka_unit_test(the_mean_of_another_tensor_is_no_layer_norm),
        cmocka_unit_test(a_deviation_that_is_read_elsewhere_is_left_alone),
        cmocka_unit_test(a_variance_that_leaves_the_graph_is_left_alone),
        cmocka_unit_test(a_sum_and_its_norm_become_one_node),
        cmocka_unit_test(a_sum_that_is_read_elsewhere_becomes_the_second_output),
        cmocka_unit_test(a_broadcast_sum_is_no_skip),
        cmocka_unit_test(a_norm_over_more_axes_is_no_skip),
        cmocka_unit_test(every_spelling_of_erf_gelu_becomes_one_node),
        cmocka_unit_test(every_spelling_of_tanh_gelu_becomes_one_node),
        cmocka_unit_test(quick_gelu_becomes_one_node),
        cmocka_unit_test(silu_becomes_one_node),
        cmocka_unit_test(near_gelus_are_left_alone),
        cmocka_unit_test(an_erf_that_is_read_elsewhere_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
