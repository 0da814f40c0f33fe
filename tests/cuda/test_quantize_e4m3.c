/* Quantizing to E4M3 against the definition: of all numbers that the format has, the nearest one. Kernels that make
 * E4M3 of what they write make the same bytes of it as quantizing it afterwards. */
#include "cuda/ops/bias_activation.h"
#include "cuda/ops/embedding.h"
#include "cuda/ops/layer_norm.h"
#include "cuda/ops/quantize_e4m3.h"
#include "tests/cuda/kernel_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const bert_dtype float_types[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16};

static double e4m3(unsigned bits) {
    const double size = bits & 0x78 ? ldexp(8 + (bits & 7), (int)(bits >> 3 & 15) - 10) : ldexp(bits & 7, -9);
    return bits & 0x80 ? -size : size;
}

/* Nothing is nearer; of two as near, the one whose last bit is 0. */
static void expect_nearest(float x, float scale, unsigned got) {
    const float inverse = 1 / scale, scaled = x * inverse; /* each rounded to float32, as the kernel does */
    const double exact = (double)scaled;
    if (isnan(scaled)) {
        assert_int_equal(got, 0x7f);
        return;
    }
    assert_int_not_equal(got & 0x7f, 0x7f);
    if (exact != 0) assert_int_equal(got >> 7, exact < 0);
    const double off = fabs(e4m3(got) - exact);
    for (unsigned other = 0; other < 0x7f; other++) {
        const double away = fabs(e4m3(other) - fabs(exact));
        if (away > off || (away == off && (other == (got & 0x7f) || !(got & 1)))) continue;
        fail_msg("%.9g became %02x, which is %.9g, though %.9g is nearer", exact, got, e4m3(got), e4m3(other));
    }
}

/* Rows as a kernel makes them. */
typedef struct made_rows {
    case_tensor *bytes, *scales;
    bert_cuda_e4m3_rows device;
} made_rows;

static made_rows room(int64_t rows, int64_t width) {
    made_rows made = {case_extra(BERT_UINT8, 2, DIMS(rows, width)), case_extra(BERT_FLOAT, 1, DIMS(rows)), {0}};
    made.device = (bert_cuda_e4m3_rows){made.bytes->device, made.scales->device};
    return made;
}

static void check(const case_tensor *x, int64_t rows, int64_t width) {
    const made_rows y = room(rows, width);
    const bert_cuda_quantize_e4m3_args args = {
        .dtype = x->host.dtype, .rows = rows, .width = width, .x = x->device, .y = y.device};
    case_good(bert_cuda_quantize_e4m3(&args, NULL));
    const unsigned char *bytes = case_fetch(y.bytes);
    case_fetch(y.scales);
    for (int64_t row = 0; row < rows; row++) {
        float most = 0;
        for (int64_t i = 0; i < width; i++) most = fmaxf(most, fabsf((float)case_at(x, row * width + i)));
        const float scale = most / 448 >= 0x1p-126F ? most / 448 : 1;
        assert_true((float)case_at(y.scales, row) == scale);
        for (int64_t i = 0; i < width; i++)
            expect_nearest((float)case_at(x, row * width + i), scale, bytes[row * width + i]);
    }
}

static void rows_of_every_type(void **state) {
    static const int64_t shapes[][2] = {{1, 1},  {3, 127},  {2, 129},  {5, 64},   {0, 16},   {2, 0},
                                        {3, 72}, {2, 2048}, {2, 2056}, {2, 3080}, {2, 4096}, {2, 4104}};
    for (int i = 0; i < 36; i++) {
        const int64_t *shape = shapes[i % 12];
        case_begin(BERT_OP_Identity);
        check(case_input(float_types[i / 12], 2, DIMS(shape[0], shape[1]), i % 2 ? 3.0F : 1e-3F), shape[0], shape[1]);
    }
}

/* With 448 in the row the scale is 1: every number of the format, and what lies in the middle of two. */
static void every_number_and_every_tie(void **state) {
    float values[400] = {448};
    int64_t count = 1;
    for (unsigned bits = 0; bits < 0x7e; bits++) {
        values[count++] = (float)e4m3(bits);
        values[count++] = (float)(bits & 1 ? -1 : 1) * (float)((e4m3(bits) + e4m3(bits + 1)) / 2);
        values[count++] = nextafterf((float)((e4m3(bits) + e4m3(bits + 1)) / 2), bits & 2 ? 0 : 1000);
    }
    case_begin(BERT_OP_Identity);
    check(case_input_floats(BERT_FLOAT, 2, DIMS(1, count), values), 1, count);
}

/* Where a last bit decides, as it does not in most rows: what is multiplied by a reciprocal is not what is divided. */
static void next_to_every_tie(void **state) {
    float values[400] = {1};
    int64_t count = 1;
    for (unsigned bits = 0; bits < 0x7e; bits++) {
        const float tie = (float)((e4m3(bits) + e4m3(bits + 1)) / 2 / 448);
        values[count++] = tie;
        values[count++] = nextafterf(tie, 0);
        values[count++] = -nextafterf(tie, 1);
    }
    assert_true(count <= 400);
    case_begin(BERT_OP_Identity);
    check(case_input_floats(BERT_FLOAT, 2, DIMS(1, 400), values), 1, 400); /* whole vectors */
}

static void odd_rows(void **state) {
    const float values[] = {0,        0,      -0.0F, 0,      NAN, 2,   -2,       1,     1e-45F, 0,        0,
                            0,        -3e38F, 3e38F, 1e-30F, 1,   NAN, NAN,      -NAN,  NAN,    1e-36F,   0,
                            5.3e-36F, 3e-36F, 0,     0,      0,   0,   INFINITY, 1e30F, -0.0F,  -INFINITY};
    case_begin(BERT_OP_Identity);
    check(case_input_floats(BERT_FLOAT, 2, DIMS(8, 4), values), 8, 4);
}

/* ---- Made by who writes them --------------------------------------------------------------------------------------
 */

static void expect_same(const made_rows *a, const made_rows *b, int64_t rows, int64_t width) {
    assert_memory_equal(case_fetch(a->bytes), case_fetch(b->bytes), (size_t)(rows * width));
    assert_memory_equal(case_fetch(a->scales), case_fetch(b->scales), (size_t)rows * sizeof(float));
}

/* What quantizing y makes of it. */
static void expect_of(const void *y, bert_dtype dtype, const made_rows *made, int64_t rows, int64_t width) {
    const made_rows own = room(rows, width);
    const bert_cuda_quantize_e4m3_args args = {.dtype = dtype, .rows = rows, .width = width, .x = y, .y = own.device};
    case_good(bert_cuda_quantize_e4m3(&args, NULL));
    if (rows && width) expect_same(made, &own, rows, width);
}

/* Widths in a warp's registers and beyond, aligned and not. `variant`: bit 0 in place, 1 simplified. */
static void layer_norm_case(bert_dtype dtype, int64_t rows, int64_t width, int variant) {
    case_begin(BERT_OP_Identity);
    const case_tensor *x = case_input(dtype, 2, DIMS(rows, width), 2.0F);
    const case_tensor *residual = case_input(dtype, 2, DIMS(rows, width), 2.0F);
    const case_tensor *gamma = case_input(dtype, 1, DIMS(width), 1.0F), *beta = case_input(dtype, 1, DIMS(width), 1.0F);
    const case_tensor *y = case_extra(dtype, 2, DIMS(rows, width)), *other = case_extra(dtype, 2, DIMS(rows, width));
    const made_rows made = room(rows, width), alone = room(rows, width);
    bert_cuda_layer_norm_args args = {.dtype = dtype,
                                      .rows = rows,
                                      .width = width,
                                      .x = x->device,
                                      .residual = residual->device,
                                      .gamma = gamma->device,
                                      .beta = beta->device,
                                      .y = other->device,
                                      .e4m3 = alone.device,
                                      .y_unread = true,
                                      .epsilon = 1e-5F,
                                      .simplified = variant & 2};
    case_good(bert_cuda_layer_norm(&args, NULL));
    args.y = variant & 1 ? x->device : y->device;
    args.e4m3 = made.device;
    args.y_unread = false;
    case_good(bert_cuda_layer_norm(&args, NULL));
    expect_of(args.y, dtype, &made, rows, width);
    if (rows) expect_same(&made, &alone, rows, width);
}

static void layer_norm_makes_the_same(void **state) {
    static const int64_t widths[] = {1, 8, 31, 72, 384, 760, 768, 1016, 1024, 1031, 1040};
    int variant = 0;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 11; k++, variant++) layer_norm_case(float_types[i], variant % 4, widths[k], variant);
    layer_norm_case(BERT_FLOAT16, 1030, 8, 0); /* several warps a block, the last with less */
}

static void embedding_case(bert_dtype dtype, int64_t tokens, int64_t width, bool normalized) {
    int64_t ids[8];
    for (int i = 0; i < 8; i++) ids[i] = i * 5 % 7;
    case_begin(BERT_OP_Identity);
    const case_tensor *at = case_input_of(BERT_INT64, 1, DIMS(tokens), ids);
    const case_tensor *words = case_input(dtype, 2, DIMS(7, width), 1.0F);
    const case_tensor *gamma = case_input(dtype, 1, DIMS(width), 1.0F);
    const case_tensor *y = case_extra(dtype, 2, DIMS(tokens, width)),
                      *other = case_extra(dtype, 2, DIMS(tokens, width));
    const made_rows made = room(tokens, width), alone = room(tokens, width);
    bert_cuda_embedding_args args = {.dtype = dtype,
                                     .batch = 1,
                                     .length = tokens,
                                     .width = width,
                                     .word = {at->device, BERT_INT64, tokens, 1, words->device, 7},
                                     .gamma = normalized ? gamma->device : NULL,
                                     .beta = normalized ? gamma->device : NULL,
                                     .epsilon = 1e-5F,
                                     .y = y->device,
                                     .e4m3 = made.device};
    case_good(bert_cuda_embedding(&args, NULL));
    expect_of(y->device, dtype, &made, tokens, width);
    args.y = other->device;
    args.e4m3 = alone.device;
    args.y_unread = true;
    case_good(bert_cuda_embedding(&args, NULL));
    if (tokens) expect_same(&made, &alone, tokens, width);
}

static void embedding_makes_the_same(void **state) {
    static const int64_t widths[] = {8, 33, 384, 760, 768, 1016, 1024, 1032};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 8; k++) embedding_case(float_types[i], k, widths[k], (i + k) % 2);
}

/* Rows in registers, up to 4,096 of 16 bits, and longer ones. `variant`: bit 0 in place, 1 residual, 2 one NaN. */
static void epilogue_case(bert_dtype dtype, int64_t rows, int64_t width, int variant) {
    case_begin(BERT_OP_Identity);
    case_tensor *x = case_input(dtype, 2, DIMS(rows, width), 4.0F);
    const case_tensor *bias = case_input(dtype, 1, DIMS(width), 1.0F);
    const case_tensor *residual = case_input(dtype, 2, DIMS(rows, width), 2.0F);
    const case_tensor *other = case_extra(dtype, 2, DIMS(rows, width));
    case_tensor *y = case_extra(dtype, 2, DIMS(rows, width));
    const made_rows made = room(rows, width), alone = room(rows, width);
    if (variant & 4 && rows && width) /* all ones is NaN in every type */
        assert_int_equal(cudaMemset(x->device, 0xff, dtype == BERT_FLOAT ? 4 : 2), cudaSuccess);
    bert_cuda_bias_activation_args args = {.dtype = dtype,
                                           .activation = BERT_CUDA_GELU,
                                           .rows = rows,
                                           .width = width,
                                           .x = x->device,
                                           .bias = bias->device,
                                           .residual = variant & 2 ? residual->device : NULL,
                                           .y = other->device,
                                           .e4m3 = alone.device,
                                           .y_unread = true};
    case_good(bert_cuda_bias_activation(&args, NULL));
    if (variant & 1) y = x;
    args.y = y->device;
    args.e4m3 = made.device;
    args.y_unread = false;
    case_good(bert_cuda_bias_activation(&args, NULL));
    expect_of(y->device, dtype, &made, rows, width);
    if (rows && width) expect_same(&made, &alone, rows, width);
}

static void what_follows_a_product_makes_the_same(void **state) {
    static const int64_t widths[] = {0, 1, 7, 64, 520, 1024, 1300, 4096, 4104};
    int variant = 0;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 9; k++, variant += 3) epilogue_case(float_types[i], variant % 5, widths[k], variant);
}

/* Ranges of the parts of a row spare a read of it. */
static void ranges_give_the_same(void **state) {
    static const int64_t shapes[][3] = {{1, 1, 1},    {3, 64, 1}, {5, 96, 3},   {2, 96, 40},
                                        {4, 768, 12}, {0, 8, 2},  {2, 2056, 5}, {2, 4104, 33}};
    for (int i = 0; i < 8; i++) {
        const int64_t rows = shapes[i][0], width = shapes[i][1], parts = shapes[i][2];
        case_begin(BERT_OP_Identity);
        const case_tensor *x = case_input(float_types[i % 3], 2, DIMS(rows, width), 2.0F);
        case_tensor *ranges = case_extra(BERT_FLOAT, 3, DIMS(rows, parts, 2));
        const made_rows made = room(rows, width);
        float *values = calloc((size_t)(rows * parts) + 1, 2 * sizeof *values);
        for (int64_t at = 0; at < rows * width; at++) { /* parts need not be of one size */
            float *range = values + 2 * (at / width * parts + at % width * 7 % parts);
            range[0] = fminf(range[0], (float)case_at(x, at));
            range[1] = fmaxf(range[1], (float)case_at(x, at));
        }
        if (rows)
            cudaMemcpy(ranges->device, values, (size_t)(rows * parts) * 2 * sizeof *values, cudaMemcpyHostToDevice);
        free(values);
        const bert_cuda_quantize_e4m3_args args = {.dtype = x->host.dtype,
                                                   .rows = rows,
                                                   .width = width,
                                                   .x = x->device,
                                                   .ranges = ranges->device,
                                                   .ranges_per_row = parts,
                                                   .y = made.device};
        case_good(bert_cuda_quantize_e4m3(&args, NULL));
        expect_of(x->device, x->host.dtype, &made, rows, width);
    }
}

/* A range that is wider than its row decides the scale: the row isn't read for one. */
static void ranges_decide_the_scale(void **state) {
    static const float x[8] = {1, -2, 3, -4, 1, 2, 3, 4}, ranges[8] = {-4, 3, 0, 7, 0, 4, -896, 4};
    case_begin(BERT_OP_Identity);
    const case_tensor *rows = case_input_floats(BERT_FLOAT, 2, DIMS(2, 4), x);
    const case_tensor *wider = case_input_floats(BERT_FLOAT, 3, DIMS(2, 2, 2), ranges);
    const made_rows made = room(2, 4);
    const bert_cuda_quantize_e4m3_args args = {.dtype = BERT_FLOAT,
                                               .rows = 2,
                                               .width = 4,
                                               .x = rows->device,
                                               .ranges = wider->device,
                                               .ranges_per_row = 2,
                                               .y = made.device};
    case_good(bert_cuda_quantize_e4m3(&args, NULL));
    const unsigned char *bytes = case_fetch(made.bytes);
    case_fetch(made.scales);
    for (int row = 0; row < 2; row++) {
        const float scale = row ? 2 : 7.0F / 448;
        assert_true((float)case_at(made.scales, row) == scale);
        for (int i = 0; i < 4; i++) expect_nearest(x[row * 4 + i], scale, bytes[row * 4 + i]);
    }
}

static void wrong_arguments_are_refused(void **state) {
    bert_cuda_quantize_e4m3_args args = {.dtype = BERT_FLOAT, .rows = 1, .width = -1};
    assert_int_equal(bert_cuda_quantize_e4m3(&args, NULL), cudaErrorInvalidValue);
    args.width = 4;
    args.dtype = BERT_INT8;
    assert_int_equal(bert_cuda_quantize_e4m3(&args, NULL), cudaErrorInvalidValue);
    const bert_cuda_range range = {0, 1};
    args.dtype = BERT_FLOAT;
    args.ranges = &range; /* of no parts */
    assert_int_equal(bert_cuda_quantize_e4m3(&args, NULL), cudaErrorInvalidValue);
    uint8_t byte = 0;
    uint16_t half = 0;
    /* Lower halves are no part of these numbers. */
    const bert_cuda_e4m3_rows rows = {.bytes = &byte};
    const bert_cuda_layer_norm_args norm = {
        .dtype = BERT_BFLOAT16, .rows = 1, .width = 1, .y_lower = &half, .e4m3 = rows};
    assert_int_equal(bert_cuda_layer_norm(&norm, NULL), cudaErrorInvalidValue);
    const bert_cuda_embedding_args embedding = {.dtype = BERT_BFLOAT16, .y_lower = &half, .e4m3 = rows};
    assert_int_equal(bert_cuda_embedding(&embedding, NULL), cudaErrorInvalidValue);
    const bert_cuda_bias_activation_args epilogue = {
        .dtype = BERT_BFLOAT16, .rows = 1, .width = 1, .y_lower = &half, .e4m3 = rows};
    assert_int_equal(bert_cuda_bias_activation(&epilogue, NULL), cudaErrorInvalidValue);
    bert_cuda_range written;
    const bert_cuda_bias_activation_args both = {
        .dtype = BERT_FLOAT, .rows = 1, .width = 1, .ranges = &written, .e4m3 = rows};
    assert_int_equal(bert_cuda_bias_activation(&both, NULL), cudaErrorInvalidValue);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_every_type),
        cmocka_unit_test(every_number_and_every_tie),
        cmocka_unit_test(next_to_every_tie),
        cmocka_unit_test(odd_rows),
        cmocka_unit_test(layer_norm_makes_the_same),
        cmocka_unit_test(embedding_makes_the_same),
        cmocka_unit_test(what_follows_a_product_makes_the_same),
        cmocka_unit_test(ranges_give_the_same),
        cmocka_unit_test(ranges_decide_the_scale),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, case_open, case_close);
}
