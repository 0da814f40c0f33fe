/* Models promoted to double: every step in double, but for whole numbers that float32 arithmetic decides. */
#include "tests/runtime/build.h"
#include "tests/support/test.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { WIDTH = 5 };

/* Runs the model of `build` with float64 inputs, or as it is, and copies its first output. */
static void run(build_fn build, bool promoted, const bert_named_tensor *inputs, size_t input_count, const char *name,
                bert_dtype dtype, void *out, size_t out_bytes) {
    bert_model_options model_options = {.struct_size = sizeof model_options, .promote_to_double = promoted};
    bert_session_options options = {.struct_size = sizeof options,
                                    .precision = promoted ? BERT_PRECISION_FP64 : BERT_PRECISION_FP32};
    bert_model *model;
    bert_session *session;
    bert_error error;
    if (build_load(build, NULL, &model_options, &model, &error) != BERT_OK) fail_msg("%s", error.message);
    if (bert_session_create(model, &options, &session, &error) != BERT_OK) fail_msg("%s", error.message);
    bert_named_tensor output = {.name = name};
    if (bert_session_run(session, NULL, inputs, input_count, &output, 1, &error) != BERT_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(output.tensor.dtype, dtype);
    assert_int_equal((size_t)bert_tensor_elements(&output.tensor) * bert_dtype_size(dtype), out_bytes);
    memcpy(out, output.tensor.data, out_bytes);
    bert_session_free(session);
    bert_model_free(model);
}

/* Numbers that float32 can't hold, so that a step in float shows. */
static void fill(double *x, size_t count) {
    for (size_t i = 0; i < count; i++) x[i] = sin((double)(i + 1) * 1.7) + 1e-11 * (double)i;
}

static void expect_near(const double *got, const double *expected, size_t count) {
    for (size_t i = 0; i < count; i++) {
        double error = fabs(got[i] - expected[i]);
        if (!(error <= 4e-15 * (1 + fabs(expected[i])))) fail_msg("%zu: %.17g, not %.17g", i, got[i], expected[i]);
    }
}

/* GELU as exporters spell it: x (1 + erf(x / sqrt(2))) / 2, its constants rounded to float32 in the file. */
static bert_status build_gelu(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "n,5");
    bert_block *body = &graph->body;
    bert_value *root = build_float(graph, sqrtf(2));
    bert_value *scaled = build_node(body, "Div", "scaled", NULL, 0, x, root, BUILD_END);
    bert_value *erf_value = build_node(body, "Erf", "erf", NULL, 0, scaled, BUILD_END);
    bert_value *sum = build_node(body, "Add", "sum", NULL, 0, erf_value, build_float(graph, 1), BUILD_END);
    bert_value *product = build_node(body, "Mul", "product", NULL, 0, x, sum, BUILD_END);
    bert_value *y = build_node(body, "Mul", "y", NULL, 0, product, build_float(graph, 0.5F), BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, y, BUILD_END);
}

static void gelu_is_double(void **state) {
    double x[2 * WIDTH], y[2 * WIDTH], expected[2 * WIDTH];
    fill(x, 2 * WIDTH);
    for (int i = 0; i < 2 * WIDTH; i++) expected[i] = x[i] * (1 + erf(x[i] / (double)sqrtf(2))) / 2;
    bert_named_tensor input = named("x", BERT_DOUBLE, 2, DIMS(2, WIDTH), x);
    run(build_gelu, true, &input, 1, "y", BERT_DOUBLE, y, sizeof y);
    expect_near(y, expected, 2 * WIDTH);
}

/* LayerNormalization, with statistics as double too where the file says float. */
static bert_status build_norm(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "n,5");
    bert_value *gamma = build_constant(graph, BERT_FLOAT, 1, DIMS(WIDTH), (float[]){1, 2, 3, 0.1F, -1});
    bert_value *beta = build_constant(graph, BERT_FLOAT, 1, DIMS(WIDTH), (float[]){0.3F, 0, 0, 1, 2});
    const bert_attribute attributes[] = {BERT_FLOAT_ATTRIBUTE("epsilon", 1e-3F),
                                         BERT_INT_ATTRIBUTE("stash_type", BERT_FLOAT)};
    bert_value *y = build_node(&graph->body, "LayerNormalization", "y", attributes, 2, x, gamma, beta, BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, y, BUILD_END);
}

static void layer_normalization_is_double(void **state) {
    const float gamma[] = {1, 2, 3, 0.1F, -1}, beta[] = {0.3F, 0, 0, 1, 2};
    double x[WIDTH], y[WIDTH], expected[WIDTH], mean = 0, variance = 0;
    fill(x, WIDTH);
    for (int i = 0; i < WIDTH; i++) mean += x[i] / WIDTH;
    for (int i = 0; i < WIDTH; i++) variance += (x[i] - mean) * (x[i] - mean) / WIDTH;
    for (int i = 0; i < WIDTH; i++) {
        expected[i] = (x[i] - mean) / sqrt(variance + (double)1e-3F) * gamma[i] + beta[i];
    }
    bert_named_tensor input = named("x", BERT_DOUBLE, 2, DIMS(1, WIDTH), x);
    run(build_norm, true, &input, 1, "y", BERT_DOUBLE, y, sizeof y);
    expect_near(y, expected, WIDTH);
}

/* Scores and a mask: softmax(x + (1 - cast(m)) least), least the float32 with the greatest magnitude. */
static bert_status build_masked(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "n,5");
    bert_value *m = build_input(graph, "m", BERT_INT64, "n,5");
    bert_block *body = &graph->body;
    const bert_attribute to_float = BERT_INT_ATTRIBUTE("to", BERT_FLOAT);
    bert_value *cast = build_node(body, "Cast", "cast", &to_float, 1, m, BUILD_END);
    bert_value *drop = build_node(body, "Sub", "drop", NULL, 0, build_float(graph, 1), cast, BUILD_END);
    bert_value *bias = build_node(body, "Mul", "bias", NULL, 0, drop, build_float(graph, -FLT_MAX), BUILD_END);
    bert_value *sum = build_node(body, "Add", "scores", NULL, 0, x, bias, BUILD_END);
    bert_value *y = build_node(body, "Softmax", "y", NULL, 0, sum, BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, m, BUILD_END));
    return build_outputs(graph, error, y, BUILD_END);
}

static void masked_softmax_is_double(void **state) {
    double x[2 * WIDTH], y[2 * WIDTH], expected[2 * WIDTH] = {0}, sum = 0;
    int64_t mask[2 * WIDTH] = {1, 1, 0, 1};
    fill(x, 2 * WIDTH);
    for (int i = 0; i < WIDTH; i++) sum += mask[i] ? exp(x[i]) : 0;
    for (int i = 0; i < WIDTH; i++) expected[i] = mask[i] ? exp(x[i]) / sum : 0;
    /* A row without a token: beside 3.4e38 its scores are lost in double too. */
    for (int i = WIDTH; i < 2 * WIDTH; i++) expected[i] = 1.0 / WIDTH;
    bert_named_tensor inputs[] = {named("x", BERT_DOUBLE, 2, DIMS(2, WIDTH), x),
                                  named("m", BERT_INT64, 2, DIMS(2, WIDTH), mask)};
    run(build_masked, true, inputs, 2, "y", BERT_DOUBLE, y, sizeof y);
    expect_near(y, expected, 2 * WIDTH);
}

/* A tensor of zeros whose type no attribute names. */
static bert_status build_zeros(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "n,5");
    bert_value *shape = build_node(&graph->body, "Shape", "shape", NULL, 0, x, BUILD_END);
    bert_value *zeros = build_node(&graph->body, "ConstantOfShape", "zeros", NULL, 0, shape, BUILD_END);
    bert_value *y = build_node(&graph->body, "Add", "y", NULL, 0, x, zeros, BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, y, BUILD_END);
}

static void zeros_of_no_named_type_are_double(void **state) {
    double x[WIDTH], y[WIDTH];
    fill(x, WIDTH);
    bert_named_tensor input = named("x", BERT_DOUBLE, 2, DIMS(1, WIDTH), x);
    run(build_zeros, true, &input, 1, "y", BERT_DOUBLE, y, sizeof y);
    expect_near(y, x, WIDTH);
}

/*
 * The buckets of relative positions as MPNet has them, trunc(log(p / 8) / log(16) * 8), which is a whole number at
 * p = 16, 32, 64; and y, which reads the same positions as float, and a constant of the buckets.
 */
static bert_status build_buckets(bert_graph *graph, bert_error *error) {
    bert_value *p = build_input(graph, "p", BERT_INT64, "n");
    bert_block *body = &graph->body;
    const bert_attribute to_float = BERT_INT_ATTRIBUTE("to", BERT_FLOAT);
    const bert_attribute to_int = BERT_INT_ATTRIBUTE("to", BERT_INT64);
    bert_value *eight = build_float(graph, 8);
    bert_value *place = build_node(body, "Cast", "place", &to_float, 1, p, BUILD_END);
    bert_value *part = build_node(body, "Div", "part", NULL, 0, place, eight, BUILD_END);
    bert_value *log_value = build_node(body, "Log", "log", NULL, 0, part, BUILD_END);
    bert_value *base = build_float(graph, logf(16));
    bert_value *in_base = build_node(body, "Div", "in_base", NULL, 0, log_value, base, BUILD_END);
    bert_value *bucket = build_node(body, "Mul", "bucket", NULL, 0, in_base, eight, BUILD_END);
    bert_value *whole = build_node(body, "Cast", "whole", &to_int, 1, bucket, BUILD_END);
    bert_value *third = build_node(body, "Div", "third", NULL, 0, place, build_float(graph, 3), BUILD_END);
    bert_value *y = build_node(body, "Mul", "y", NULL, 0, third, eight, BUILD_END);
    BERT_TRY(build_inputs(graph, error, p, BUILD_END));
    return build_outputs(graph, error, whole, y, BUILD_END);
}

static void buckets_are_those_of_float32(void **state) {
    enum { PLACES = 121 };
    int64_t p[PLACES], wide[PLACES], narrow[PLACES];
    double y[PLACES], expected[PLACES];
    int differ = 0;
    for (int i = 0; i < PLACES; i++) {
        p[i] = 8 + i;
        expected[i] = (double)p[i] / 3 * 8;
        int64_t in_double = (int64_t)(log((double)p[i] / 8) / (double)logf(16) * 8);
        int64_t in_float = (int64_t)((float)log((double)p[i] / 8) / logf(16) * 8);
        differ += in_double != in_float;
    }
    assert_true(differ > 0); /* Else nothing is tested here. */
    bert_named_tensor input = named("p", BERT_INT64, 1, DIMS(PLACES), p);
    run(build_buckets, false, &input, 1, "whole", BERT_INT64, narrow, sizeof narrow);
    run(build_buckets, true, &input, 1, "whole", BERT_INT64, wide, sizeof wide);
    assert_memory_equal(wide, narrow, sizeof wide);
    run(build_buckets, true, &input, 1, "y", BERT_DOUBLE, y, sizeof y);
    expect_near(y, expected, PLACES);
}

/* Whole numbers that activations decide: no rounding of float32 is kept there. */
static bert_status build_decided(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "n,5");
    bert_block *body = &graph->body;
    const bert_attribute to_int = BERT_INT_ATTRIBUTE("to", BERT_INT64);
    bert_value *scaled = build_node(body, "Mul", "scaled", NULL, 0, x, build_float(graph, 1e9F), BUILD_END);
    bert_value *whole = build_node(body, "Cast", "whole", &to_int, 1, scaled, BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, whole, BUILD_END);
}

static void whole_numbers_from_activations_are_double(void **state) {
    double x[WIDTH];
    int64_t whole[WIDTH], expected[WIDTH];
    fill(x, WIDTH);
    for (int i = 0; i < WIDTH; i++) expected[i] = (int64_t)(x[i] * (double)1e9F);
    bert_named_tensor input = named("x", BERT_DOUBLE, 2, DIMS(1, WIDTH), x);
    run(build_decided, true, &input, 1, "whole", BERT_INT64, whole, sizeof whole);
    assert_memory_equal(whole, expected, sizeof whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gelu_is_double),
        cmocka_unit_test(layer_normalization_is_double),
        cmocka_unit_test(masked_softmax_is_double),
        cmocka_unit_test(zeros_of_no_named_type_are_double),
        cmocka_unit_test(buckets_are_those_of_float32),
        cmocka_unit_test(whole_numbers_from_activations_are_double),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
