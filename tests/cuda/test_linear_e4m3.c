/* Linear with --precision fp8 against the products of the very bytes that it should multiply: an order of magnitude
 * closer than E4M3 is to what it stands for. */
#include "core/base/float16.h"
#include "core/graph/canonical.h"
#include "cuda/backend.h"
#include "cuda/ops/e4m3.h"
#include "tests/cuda/faults.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/runtime/build.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 5, MOST_DEPTH = 1040, MOST_PARTS = 3, MOST_WIDTH = 272 };

/* What is asked for; the builder takes no argument. */
static struct {
    int32_t parts;
    int64_t depth, widths[MOST_PARTS], width;
    bool transposed, biased, residual;
    const char *activation;
    float alpha;
} asked;

static float weights[MOST_DEPTH * MOST_WIDTH], biases[MOST_WIDTH]; /* [K, N] of all parts */

static float noise(float scale) {
    static uint32_t state = 11;
    state = state * 1664525U + 1013904223U;
    return ((float)(state >> 8) * 0x1p-23F - 1) * scale;
}

/* Some columns are a hundred times as large as others: one scale for all would lose the small ones. */
static void draw(void) {
    asked.width = 0;
    for (int32_t part = 0; part < asked.parts; part++) asked.width += asked.widths[part];
    for (int64_t i = 0; i < asked.depth * asked.width; i++) weights[i] = noise(i % asked.width % 3 ? 0.01F : 1.0F);
    for (int64_t i = 0; i < asked.width; i++) biases[i] = noise(0.5F);
    for (int64_t k = 0; k < asked.depth; k++) weights[k * asked.width + 1] = 0; /* a column of zeros */
}

static bert_value *weight_of(bert_graph *graph, int64_t first, int64_t width) {
    static float part[MOST_DEPTH * MOST_WIDTH];
    for (int64_t k = 0; k < asked.depth; k++) {
        for (int64_t column = 0; column < width; column++) {
            const int64_t at = asked.transposed ? column * asked.depth + k : k * width + column;
            part[at] = weights[k * asked.width + first + column];
        }
    }
    const int64_t dims[2] = {asked.transposed ? width : asked.depth, asked.transposed ? asked.depth : width};
    return build_constant(graph, BERT_FLOAT, 2, dims, part);
}

static bert_status build(bert_graph *graph, bert_error *error) {
    char shape[32];
    snprintf(shape, sizeof shape, "rows,%d", (int)asked.depth);
    bert_value *inputs[2 + 2 * MOST_PARTS] = {build_input(graph, "x", BERT_FLOAT, shape)};
    if (asked.residual) inputs[BERT_LINEAR_RESIDUAL] = build_input(graph, "residual", BERT_FLOAT, "rows,width");
    int64_t first = 0;
    for (int32_t part = 0; part < asked.parts; part++) {
        const int64_t width = asked.widths[part];
        inputs[BERT_LINEAR_WEIGHT(part)] = weight_of(graph, first, width);
        if (asked.biased && part != 1) /* one part has none */
            inputs[BERT_LINEAR_BIAS(part)] = build_constant(graph, BERT_FLOAT, 1, &width, biases + first);
        first += width;
    }
    const bert_attribute attributes[] = {
        {.name = "parts", .kind = BERT_ATTRIBUTE_INT, .count = 1, .value.i = asked.parts},
        {.name = "transpose", .kind = BERT_ATTRIBUTE_INT, .count = 1, .value.i = asked.transposed},
        {.name = "alpha", .kind = BERT_ATTRIBUTE_FLOAT, .count = 1, .value.f = asked.alpha},
        {.name = "activation",
         .kind = BERT_ATTRIBUTE_STRING,
         .count = strlen(asked.activation),
         .value.s = asked.activation}};
    bert_value *y = build_node_of(&graph->body, bert_op_get(BERT_OP_BERTC_Linear), 1, "y", attributes, 4, inputs,
                                  2 + 2 * asked.parts);
    if (asked.residual)
        BERT_TRY(build_inputs(graph, error, inputs[0], inputs[BERT_LINEAR_RESIDUAL], BUILD_END));
    else
        BERT_TRY(build_inputs(graph, error, inputs[0], BUILD_END));
    return build_outputs(graph, error, y, BUILD_END);
}

/* ---- What it should be ------------------------------------------------------------------------------------------- */

static float half(float x) {
    return bert_half_to_float(bert_float_to_half(x));
}

static double e4m3(float x) {
    uint32_t word;
    memcpy(&word, &x, sizeof word);
    const unsigned bits = bert_e4m3_of_bits(word);
    const double size = bits & 0x78 ? ldexp(8 + (bits & 7), (int)(bits >> 3 & 15) - 10) : ldexp(bits & 7, -9);
    return bits & 0x80 ? -size : size;
}

/* The scale of `count` numbers that are `step` apart. */
static float scale_of(const float *x, int64_t count, int64_t step) {
    float most = 0;
    for (int64_t i = 0; i < count; i++) most = fmaxf(most, fabsf(x[i * step]));
    return most > 0 ? most / 448.0F : 1.0F;
}

static bool has_bias(int64_t column) {
    const bool second = column >= asked.widths[0] && column < asked.widths[0] + asked.widths[1];
    return asked.biased && !(asked.parts > 1 && second);
}

/* *size: of what is added up, each of which may have been rounded to float16. */
static double expected(bool in_e4m3, const float *x, const float *residual, int64_t row, int64_t column, double *size) {
    const float row_scale = scale_of(x + row * asked.depth, asked.depth, 1);
    const float column_scale = scale_of(weights + column, asked.depth, asked.width);
    double sum = 0;
    for (int64_t k = 0; k < asked.depth; k++) {
        const float a = x[row * asked.depth + k], b = weights[k * asked.width + column];
        if (in_e4m3)
            sum += e4m3(a * (1 / row_scale)) * e4m3(b * (1 / column_scale)) * (double)row_scale * (double)column_scale;
        else
            sum += (double)half(a) * (double)half(b);
    }
    double y = (double)asked.alpha * sum;
    *size = 1e-2 + fabs(y);
    if (has_bias(column)) y += (double)half(biases[column]);
    *size += fabs(y);
    if (strcmp(asked.activation, "gelu") == 0) y = 0.5 * y * (1 + erf(y * sqrt(0.5)));
    if (residual) y += (double)half(residual[row * asked.width + column]);
    *size += fabs(y);
    return y;
}

static uint64_t kernels; /* of the last run, without the library's */

/* ---- Cases ------------------------------------------------------------------------------------------------------- */

static void run_case(bool in_e4m3) {
    const bert_backend *backends[] = {bert_cuda_backend(BERT_BACKEND_ABI_VERSION)};
    bert_composition composition = build_composition;
    const bert_session_options options = {
        .struct_size = sizeof options, .providers = "cuda", .precision = BERT_PRECISION_FP8, .profile = true};
    bert_model *model = NULL;
    bert_session *session = NULL;
    bert_error error;
    float x[ROWS * MOST_DEPTH] = {0}, residual[ROWS * MOST_WIDTH];
    composition.backends = backends;
    draw();
    for (int64_t i = asked.depth; i < ROWS * asked.depth;
         i++) /* the first row is zeros, others have scales of their own */
        x[i] = half(noise(i / asked.depth % 2 ? 3.0F : 0.02F));
    for (int64_t i = 0; i < ROWS * asked.width; i++) residual[i] = noise(1);
    if (build_load(build, &composition, NULL, &model, &error) != BERT_OK) fail_msg("%s", error.message);
    if (bert_session_create(model, &options, &session, &error) != BERT_OK) fail_msg("%s", error.message);
    const bert_named_tensor inputs[2] = {named("x", BERT_FLOAT, 2, DIMS(ROWS, asked.depth), x),
                                         named("residual", BERT_FLOAT, 2, DIMS(ROWS, asked.width), residual)};
    bert_named_tensor output = {.name = "y"};
    bert_emulator_count(NULL);
    if (bert_session_run(session, NULL, inputs, asked.residual ? 2 : 1, &output, 1, &error) != BERT_OK)
        fail_msg("%s", error.message);
    kernels = bert_emulator_launches();
    const float *y = output.tensor.data;
    double off = 0;
    for (int64_t i = 0; i < ROWS * asked.width; i++) {
        double size;
        const int64_t row = i / asked.width, column = i % asked.width;
        const float *added = asked.residual ? residual : NULL;
        const double e = expected(in_e4m3, x, added, row, column, &size);
        if (!(fabs((double)y[i] - e) <= 7e-4 * size))
            fail_msg("element %d is %.6g instead of %.6g", (int)i, (double)y[i], e);
        off = fmax(off, fabs((double)y[i] - expected(!in_e4m3, x, added, row, column, &size)) / size);
    }
    assert_true(off > 4e-3); /* the two are told apart */
    size_t count = 0;
    const bert_profile_entry *entries = bert_session_profile(session, &count);
    assert_int_equal(count, 1);
    assert_string_equal(entries[0].kernel, in_e4m3 ? "linear_e4m3/cuda" : "linear/cuda");
    bert_session_free(session);
    bert_model_free(model);
    expect_no_faults("Linear");
}

static void ask(int variant, int32_t parts, int64_t width) {
    asked.depth = 48;
    asked.parts = parts;
    for (int32_t i = 0; i < MOST_PARTS; i++) asked.widths[i] = i < parts ? width : 0;
    asked.transposed = variant & 1;
    asked.biased = variant & 2;
    asked.residual = variant & 4;
    asked.activation = variant & 8 ? "gelu" : "none";
    asked.alpha = variant & 1 ? 0.5F : 1.0F;
}

static void products_are_those_of_the_bytes(void **state) {
    for (int scaled = 0; scaled < 2; scaled++) {
        bert_emulator_have_e4m3(scaled ? BERT_EMULATOR_E4M3_SCALED : BERT_EMULATOR_E4M3);
        for (int variant = 0; variant < 16; variant++) {
            ask(variant, 1 + variant % 3, 16 + variant % 2 * 16);
            run_case(true);
        }
    }
}

/* Where the library applies scales, but not to this shape, a kernel more does that. */
static void deep_products_are_scaled_afterwards(void **state) {
    for (int variant = 0; variant < 4; variant++) {
        ask(variant, 1, 16);
        asked.depth = (int64_t)16 * BERT_EMULATOR_E4M3_DEPTH;
        run_case(true);
        const uint64_t before = kernels;
        asked.depth += 16;
        run_case(true);
        assert_int_equal(kernels, before + 1);
    }
}

/* More of each than is packed at a time. */
static void large_weights_are_packed_whole(void **state) {
    for (int variant = 0; variant < 2; variant++) {
        ask(variant, 1, MOST_WIDTH);
        asked.depth = MOST_DEPTH;
        run_case(true);
    }
}

/* Three parts of 8 are 24 columns, which products of E4M3 don't have; two are 16. */
static void what_does_not_fit_runs_in_float16(void **state) {
    ask(2, 3, 8);
    run_case(false);
    ask(3, 1, 2);
    run_case(false);
    ask(2, 2, 8);
    run_case(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_those_of_the_bytes),
        cmocka_unit_test(deep_products_are_scaled_afterwards),
        cmocka_unit_test(large_weights_are_packed_whole),
        cmocka_unit_test(what_does_not_fit_runs_in_float16),
    };
    setenv("BERT_CUDA_GEMM_CACHE", "off", 1); /* nothing is written where the test runs */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
