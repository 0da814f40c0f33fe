/* The canonical LayerNormLinear: its reference against the operators it stands for, one after the other; inference. */
#include "core/base/float16.h"
#include "core/graph/canonical.h"
#include "tests/graph/op_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 2, SEQUENCE = 2, ROWS = BATCH * SEQUENCE, MOST_WIDTH = 133, MOST_PARTS = 3 };
enum { MOST = MOST_WIDTH * MOST_WIDTH, MOST_MOMENTS = ROWS * 2 * (MOST_WIDTH / BERT_MOMENT_COLUMNS + 1) };

/* What a node is, and what it has. */
typedef struct variant {
    int64_t depth, width; /* of x, and of y */
    int parts;
    bool transposed, bias, residual, x_norm, x_beta, residual_norm, residual_beta, moments;
    bert_dtype dtype;
} variant;

/* Multiples of 1/16, which float16 holds, far enough from 0 that a sum of squares is no sum of squared distances. */
static float number(int64_t i, int seed, float center) {
    return center + (float)((i * 29 + seed * 41 + i / 7) % 47 - 23) / 16;
}

static float x[MOST], residual[MOST], weights[MOST_PARTS][MOST], biases[MOST_PARTS][MOST_WIDTH];
static float gammas[2][MOST_WIDTH], betas[2][MOST_WIDTH];
static const float epsilons[2] = {0.25F, 1e-5F};

static void fill(void) {
    for (int64_t i = 0; i < MOST; i++) {
        x[i] = number(i, 1, 5);
        residual[i] = number(i, 2, -3);
        for (int part = 0; part < MOST_PARTS; part++) weights[part][i] = number(i, 3 + part, 0) / 16;
    }
    for (int64_t i = 0; i < MOST_WIDTH; i++) {
        for (int part = 0; part < MOST_PARTS; part++) biases[part][i] = number(i, 6 + part, 0);
        for (int side = 0; side < 2; side++) {
            gammas[side][i] = number(i, 9 + side, 1);
            betas[side][i] = number(i, 11 + side, 0);
        }
    }
}

/* Parts have other numbers of columns, where there are several. */
static int64_t columns_of(const variant *v, int part) {
    if (v->parts == 1) return v->width;
    return part ? part : v->width - 3;
}

/* ---- Running operators ------------------------------------------------------------------------------------------- */

static const char *shape(const int64_t *dims, int rank) {
    static char text[64];
    int length = 0;
    for (int i = 0; i < rank; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, i ? ",%d" : "%d", (int)dims[i]);
    return text;
}
#define SHAPE(...)                                                                                                     \
    shape((const int64_t[]){__VA_ARGS__}, (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))

static uint16_t halves[24][MOST];
static int half_count;

static void give(bert_dtype dtype, const char *dims, const float *values, int64_t count) {
    if (dtype == BERT_FLOAT) {
        op_case_tensor(dtype, dims, values);
        return;
    }
    uint16_t *half = halves[half_count++ % 24];
    for (int64_t i = 0; i < count; i++) half[i] = bert_float_to_half(values[i]);
    op_case_tensor(dtype, dims, half);
}

static void give_rows(bert_dtype dtype, const float *values, int64_t width) {
    give(dtype, SHAPE(BATCH, SEQUENCE, width), values, ROWS * width);
}

static void give_weights(const variant *v, bert_dtype dtype) {
    for (int part = 0; part < v->parts; part++) {
        const int64_t columns = columns_of(v, part);
        give(dtype, v->transposed ? SHAPE(columns, v->depth) : SHAPE(v->depth, columns), weights[part],
             columns * v->depth);
        if (v->bias) {
            give(dtype, SHAPE(columns), biases[part], columns);
        } else {
            op_case_absent();
        }
    }
    op_case_int("parts", v->parts);
    op_case_int("transpose", v->transposed);
    op_case_float("alpha", 0.5F);
    op_case_string("activation", v->bias ? "none" : "gelu");
}

static void normalize(const float *rows, int64_t width, int side, bool has_beta, float *out) {
    op_case_begin("LayerNormalization", 17);
    give_rows(BERT_FLOAT, rows, width);
    give(BERT_FLOAT, SHAPE(width), gammas[side], width);
    if (has_beta) give(BERT_FLOAT, SHAPE(width), betas[side], width);
    op_case_float("epsilon", epsilons[side]);
    memcpy(out, op_case_run(), (size_t)(ROWS * width) * sizeof *out);
}

/* One operator after the other. */
static void run_apart(const variant *v, float *out) {
    static float normal_x[MOST], normal_residual[MOST];
    const float *read_x = v->x_norm ? normal_x : x, *read_residual = v->residual_norm ? normal_residual : residual;
    if (v->x_norm) normalize(x, v->depth, 0, v->x_beta, normal_x);
    if (v->residual_norm) normalize(residual, v->width, 1, v->residual_beta, normal_residual);
    op_case_begin_in("bertc", "Linear", 1);
    give_rows(BERT_FLOAT, read_x, v->depth);
    if (v->residual) {
        give_rows(BERT_FLOAT, read_residual, v->width);
    } else {
        op_case_absent();
    }
    give_weights(v, BERT_FLOAT);
    memcpy(out, op_case_run(), (size_t)(ROWS * v->width) * sizeof *out);
}

static int64_t moments_in(int64_t width) {
    return (width + BERT_MOMENT_COLUMNS - 1) / BERT_MOMENT_COLUMNS;
}

static void find_moments(const float *rows, int64_t width, float *out) {
    for (int64_t row = 0; row < ROWS; row++) {
        for (int64_t first = 0; first < width; first += BERT_MOMENT_COLUMNS) {
            const int64_t end = first + BERT_MOMENT_COLUMNS < width ? first + BERT_MOMENT_COLUMNS : width;
            double sum = 0, squares = 0;
            for (int64_t i = first; i < end; i++) sum += rows[row * width + i];
            const double mean = sum / (double)(end - first);
            for (int64_t i = first; i < end; i++) squares += pow(rows[row * width + i] - mean, 2);
            *out++ = (float)mean;
            *out++ = (float)squares;
        }
    }
}

/* Moments, gamma and beta, or none. */
static void give_norm(const variant *v, int side, bool given, bool has_beta, float *moments) {
    const int64_t width = side ? v->width : v->depth;
    if (!given) {
        for (int i = 0; i < 3; i++) op_case_absent();
        return;
    }
    find_moments(side ? residual : x, width, moments);
    op_case_tensor(BERT_FLOAT, SHAPE(BATCH, SEQUENCE, moments_in(width), 2), moments);
    give(v->dtype, SHAPE(width), gammas[side], width);
    if (has_beta) {
        give(v->dtype, SHAPE(width), betas[side], width);
    } else {
        op_case_absent();
    }
    op_case_float(side ? "residual_epsilon" : "x_epsilon", epsilons[side]);
}

static void run_together(const variant *v) {
    static float moments[2][MOST_MOMENTS];
    op_case_begin_in("bertc", "LayerNormLinear", 1);
    op_case_outputs(v->moments ? 2 : 1);
    give_rows(v->dtype, x, v->depth);
    if (v->residual) {
        give_rows(v->dtype, residual, v->width);
    } else {
        op_case_absent();
    }
    give_norm(v, 0, v->x_norm, v->x_beta, moments[0]);
    give_norm(v, 1, v->residual_norm, v->residual_beta, moments[1]);
    give_weights(v, v->dtype);
    op_case_expect(0, v->dtype, SHAPE(BATCH, SEQUENCE, v->width));
    if (v->moments) op_case_expect(1, BERT_FLOAT, SHAPE(BATCH, SEQUENCE, moments_in(v->width), 2));
    op_case_run();
}

/* ---- Against operators apart ------------------------------------------------------------------------------------- */

static float element(const bert_tensor *tensor, int64_t i) {
    return tensor->dtype == BERT_FLOAT ? ((const float *)tensor->data)[i]
                                       : bert_half_to_float(((const uint16_t *)tensor->data)[i]);
}

static void expect_near(float found, float expected, float tolerance, const char *what, const variant *v, int64_t i) {
    if (fabsf(found - expected) <= tolerance * (1 + fabsf(expected))) return;
    fail_msg("%s of %d x %d, %d parts: element %d is %g, not %g", what, (int)v->depth, (int)v->width, v->parts, (int)i,
             found, expected);
}

static void compare(const variant *v) {
    static float expected[MOST], given[MOST], moments[MOST_MOMENTS];
    run_apart(v, expected);
    run_together(v);
    const bert_tensor *y = op_case_output(0);
    for (int64_t i = 0; i < ROWS * v->width; i++) {
        given[i] = element(y, i);
        expect_near(given[i], expected[i], v->dtype == BERT_FLOAT ? 1e-5F : 1e-3F, "y", v, i);
    }
    if (!v->moments) return;
    /* Of what was stored, whatever the type. */
    find_moments(given, v->width, moments);
    for (int64_t i = 0; i < ROWS * 2 * moments_in(v->width); i++)
        expect_near(element(op_case_output(1), i), moments[i], 1e-6F, "moments", v, i);
}

static void widths_of_all_kinds(void **state) {
    static const int64_t widths[] = {1, 63, 64, 65, 128, 130};
    for (size_t depth = 0; depth < 6; depth++) {
        for (size_t width = 0; width < 6; width++) {
            for (int form = 0; form < 4; form++) {
                const int parts = form & 1 ? 3 : 1;
                compare(&(variant){.depth = widths[depth],
                                   .width = widths[width] + (parts == 3 ? 3 : 0),
                                   .parts = parts,
                                   .transposed = form & 2,
                                   .bias = true,
                                   .residual = true,
                                   .x_norm = true,
                                   .x_beta = true,
                                   .residual_norm = true,
                                   .residual_beta = true,
                                   .moments = true,
                                   .dtype = BERT_FLOAT});
            }
        }
    }
}

static void everything_optional_with_and_without(void **state) {
    for (int bits = 0; bits < 512; bits++) {
        const variant v = {.depth = 65,
                           .width = 70,
                           .parts = 1,
                           .bias = bits & 1,
                           .residual = bits & 2,
                           .x_norm = bits & 4,
                           .x_beta = bits & 8,
                           .residual_norm = bits & 16,
                           .residual_beta = bits & 32,
                           .moments = bits & 64,
                           .transposed = bits & 128,
                           .dtype = bits & 256 ? BERT_FLOAT16 : BERT_FLOAT};
        if ((v.x_beta && !v.x_norm) || (v.residual_norm && !v.residual) || (v.residual_beta && !v.residual_norm))
            continue;
        compare(&v);
    }
}

/* What y is rounded to is what its moments are of: of numbers around 4096 float16 keeps multiples of 4. */
static void moments_are_those_of_what_is_stored(void **state) {
    static uint16_t one, weight[70], bias[70];
    one = bert_float_to_half(1);
    for (int i = 0; i < 70; i++) weight[i] = bert_float_to_half((float)(i % 4));
    for (int i = 0; i < 70; i++) bias[i] = bert_float_to_half(4096);
    op_case_begin_in("bertc", "LayerNormLinear", 1);
    op_case_outputs(2);
    op_case_tensor(BERT_FLOAT16, "1,1", &one);
    for (int i = 0; i < 7; i++) op_case_absent();
    op_case_tensor(BERT_FLOAT16, "1,70", weight);
    op_case_tensor(BERT_FLOAT16, "70", bias);
    op_case_expect(1, BERT_FLOAT, "1,2,2");
    op_case_run();
    /* 0 and 1 and 2 (to even) become 4096, 3 becomes 4100. */
    OP_CASE_EXPECT_CLOSE(1, 4097, 192, 4096 + 4.0F / 6, 16 * 5.0F / 6);
}

/* ---- Inference --------------------------------------------------------------------------------------------------- */

static void shapes_may_be_unknown(void **state) {
    op_case_begin_in("bertc", "LayerNormLinear", 1);
    op_case_outputs(2);
    op_case_input(BERT_FLOAT16, "batch,sequence,130");
    op_case_input(BERT_FLOAT16, "batch,sequence,12");
    op_case_input(BERT_FLOAT, "batch,sequence,3,2");
    op_case_input(BERT_FLOAT16, "130");
    for (int i = 0; i < 4; i++) op_case_absent();
    op_case_input(BERT_FLOAT16, "12,130");
    op_case_int("transpose", 1);
    op_case_float("x_epsilon", 1e-5F);
    op_case_expect(0, BERT_FLOAT16, "batch,sequence,12");
    op_case_expect(1, BERT_FLOAT, "batch,sequence,1,2");
    op_case_begin_in("bertc", "LayerNormLinear", 1);
    op_case_outputs(2);
    op_case_input(BERT_FLOAT, "batch,hidden");
    op_case_absent();
    op_case_input(BERT_FLOAT, "*");
    op_case_input(BERT_FLOAT, "?");
    for (int i = 0; i < 4; i++) op_case_absent();
    op_case_input(BERT_FLOAT, "*");
    op_case_float("x_epsilon", 1e-5F);
    op_case_expect(0, BERT_FLOAT, "batch,?");
    op_case_expect(1, BERT_FLOAT, "batch,?,2");
    op_case_begin_in("bertc", "LayerNormLinear", 1);
    op_case_outputs(2);
    op_case_input(BERT_FLOAT, "*");
    for (int i = 0; i < 7; i++) op_case_absent();
    op_case_input(BERT_FLOAT, "4,5");
    op_case_expect(1, BERT_FLOAT, "*");
}

/* Inputs as text: a type and a shape each, "h" float16 and "f" float32; "" is absent. */
typedef struct wrong {
    const char *inputs[9];
    const char *x_epsilon, *residual_epsilon; /* NULL: without */
    int parts;
    const char *words;
} wrong;

static void expect_refused(const wrong *w) {
    op_case_begin_in("bertc", "LayerNormLinear", 1);
    op_case_outputs(2);
    for (int i = 0; i < 9; i++) {
        const char *input = w->inputs[i];
        if (input && *input) {
            op_case_input(*input == 'h' ? BERT_FLOAT16 : BERT_FLOAT, input + 1);
        } else {
            op_case_absent();
        }
    }
    if (w->parts) op_case_int("parts", w->parts);
    if (w->x_epsilon) op_case_float("x_epsilon", 1e-5F);
    if (w->residual_epsilon) op_case_float("residual_epsilon", 1e-5F);
    op_case_expect_refused(BERT_INVALID_MODEL, w->words);
}

static void contradictions_are_refused(void **state) {
    static const wrong cases[] = {
        /* Of Linear. */
        {{"f2,65", "", "", "", "", "", "", "", "f64,4"}, .words = "are 64 and 65"},
        {{"f2,65", "", "", "", "", "", "", "", ""}, .words = "weight 0 of LayerNormLinear is missing"},
        {{"f2,65", "f2,5", "", "", "", "", "", "", "f65,4"}, .words = "the residual and the output"},
        {{"f2,65", "", "", "", "", "", "", "", "f65,4"},
         .parts = 4,
         .words = "LayerNormLinear has 4 parts; it takes 1 to 3"},
        /* Moments, gamma and epsilon come together, and beta beside them alone. */
        {{"f2,65", "", "f2,2,2", "", "", "", "", "", "f65,4"}, "x", .words = "x has moments, gamma and x_epsilon"},
        {{"f2,65", "", "", "f65", "", "", "", "", "f65,4"}, "x", .words = "x has moments, gamma and x_epsilon"},
        {{"f2,65", "", "f2,2,2", "f65", "", "", "", "", "f65,4"}, .words = "x has moments, gamma and x_epsilon"},
        {{"f2,65", "", "", "", "", "", "", "", "f65,4"}, "x", .words = "x has moments, gamma and x_epsilon"},
        {{"f2,65", "", "", "", "f65", "", "", "", "f65,4"}, .words = "x has moments, gamma and x_epsilon"},
        {{"f2,65", "f2,4", "", "", "", "f2,1,2", "", "", "f65,4"},
         .residual_epsilon = "r",
         .words = "residual has moments, gamma and residual_epsilon"},
        {{"f2,65", "f2,4", "", "", "", "f2,1,2", "f4", "", "f65,4"},
         .words = "residual has moments, gamma and residual_epsilon"},
        {{"f2,65", "f2,4", "", "", "", "", "", "f4", "f65,4"},
         .words = "residual has moments, gamma and residual_epsilon"},
        {{"f2,65", "", "", "", "", "f2,1,2", "f4", "", "f65,4"},
         .residual_epsilon = "r",
         .words = "there are moments of residual, and no residual"},
        /* Types and shapes. */
        {{"h2,65", "", "h2,2,2", "h65", "", "", "", "", "h65,4"}, "x", .words = "float16"},
        {{"f2,65", "", "f2,2,2", "h65", "", "", "", "", "f65,4"}, "x", .words = "float16"},
        {{"f2,65", "", "f2,2,2", "f65", "h65", "", "", "", "f65,4"}, "x", .words = "float16"},
        {{"f2,65", "", "f2,2,2", "f1,65", "", "", "", "", "f65,4"}, "x", .words = "input 3 has 2 dimensions"},
        {{"f2,65", "", "f2,2,2", "f64", "", "", "", "", "f65,4"}, "x", .words = "are 64 and 65"},
        {{"f2,65", "", "f2,2,2", "f65", "f64", "", "", "", "f65,4"}, "x", .words = "are 64 and 65"},
        {{"f2,65", "", "f2,1,2", "f65", "", "", "", "", "f65,4"}, "x", .words = "moments"},
        {{"f2,65", "", "f2,2,3", "f65", "", "", "", "", "f65,4"}, "x", .words = "moments"},
        {{"f2,65", "", "f3,2,2", "f65", "", "", "", "", "f65,4"}, "x", .words = "moments"},
        {{"f2,65", "", "f4,2", "f65", "", "", "", "", "f65,4"}, "x", .words = "moments"},
        {{"f2,65", "f2,4", "", "", "", "f2,2,2", "f4", "", "f65,4"}, .residual_epsilon = "r", .words = "moments"},
        {{"f2,65", "f2,4", "", "", "", "f2,1,2", "f65", "", "f65,4"}, .residual_epsilon = "r", .words = "are 65 and 4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) expect_refused(&cases[i]);
}

static int setup(void **state) {
    fill();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(widths_of_all_kinds, op_case_teardown),
        cmocka_unit_test_teardown(everything_optional_with_and_without, op_case_teardown),
        cmocka_unit_test_teardown(moments_are_those_of_what_is_stored, op_case_teardown),
        cmocka_unit_test_teardown(shapes_may_be_unknown, op_case_teardown),
        cmocka_unit_test_teardown(contradictions_are_refused, op_case_teardown),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
