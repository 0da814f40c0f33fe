/*
 * Every kernel of every instruction set against the scalar one: the list that declares the kernels is the list of
 * tests. Shapes are awkward on purpose, buffers end at a page that can't be touched.
 */
#include "cpu/kernels/kernels.h"
#include "tests/cpu/attention_kernel.h"
#include "tests/cpu/attention_parts_kernels.h"
#include "tests/cpu/bounded_kernels.h"
#include "tests/cpu/compare.h"
#include "tests/cpu/guarded.h"
#include "tests/cpu/narrow_kernels.h"
#include "tests/cpu/quantized_kernels.h"
#include "tests/cpu/split_kernels.h"

#include <math.h>

static const int64_t lengths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 97, 128, 131, 257};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

static void multiply_case(const bert_cpu_kernels *table, int64_t m, int64_t n, int64_t k, int64_t slack) {
    bert_guarded memory[5];
    const int64_t lda = k + slack, ldb = n + slack, ldc = n + slack;
    /* The last row ends at the guard: nothing of its slack is there. */
    float *a = guarded_floats(&memory[0], (m - 1) * lda + k), *b = guarded_floats(&memory[1], (k - 1) * ldb + n);
    float *c = guarded_floats(&memory[2], (m - 1) * ldc + n), *expected = guarded_floats(&memory[3], (m - 1) * ldc + n);
    float *half = guarded_floats(&memory[4], (m - 1) * ldc + n);
    fill_random(a, (m - 1) * lda + k, 1.0F, 1);
    fill_random(b, (k - 1) * ldb + n, 1.0F, 2);
    bert_sgemm_args args = {.a = a, .b = b, .c = expected, .lda = lda, .ldb = ldb, .ldc = ldc, .m = m, .n = n, .k = k};
    bert_cpu_kernels_scalar.sgemm(&args);
    memcpy(c, expected, (size_t)((m - 1) * ldc + n) * sizeof *c);
    for (int64_t row = 0; row < m; row++)
        for (int64_t i = 0; i < n; i++) c[row * ldc + i] = NAN; /* what is there before must not count */
    args.c = c;
    args.fetch = (bert_fetch){.from = (const char *)b, .lines = 7, .stride = 192, .streams = 3};
    table->sgemm(&args);
    compare(c, ldc, expected, ldc, m, n, 2e-6F * sqrtf((float)k), "sgemm");
    for (int64_t row = 0; row + 1 < m; row++) /* the slack is left alone */
        assert_memory_equal(c + row * ldc + n, expected + row * ldc + n, (size_t)slack * sizeof *c);
    /* Cut along k between chains: the same bits. One row alone: the same bits. */
    const int64_t cut = k > BERT_SGEMM_CHAIN ? BERT_SGEMM_CHAIN : 0;
    args.c = half;
    args.k = cut;
    table->sgemm(&args);
    args.accumulate = cut > 0;
    args.a = a + cut;
    args.b = b + cut * ldb;
    args.k = k - cut;
    table->sgemm(&args);
    for (int64_t row = 0; row < m; row++) assert_memory_equal(half + row * ldc, c + row * ldc, (size_t)n * sizeof *c);
    args = (bert_sgemm_args){
        .a = a + (m - 1) * lda, .b = b, .c = half, .lda = lda, .ldb = ldb, .ldc = ldc, .m = 1, .n = n, .k = k};
    table->sgemm(&args);
    assert_memory_equal(half, c + (m - 1) * ldc, (size_t)n * sizeof *c);
    for (int i = 0; i < 5; i++) guarded_free(&memory[i]);
}

/* Rows of b that overlap, each `ldb` elements after the one before. */
static void overlapping_case(const bert_cpu_kernels *table, int64_t m, int64_t n, int64_t k, int64_t ldb) {
    bert_guarded memory[4];
    float *a = guarded_floats(&memory[0], m * k), *b = guarded_floats(&memory[1], (k - 1) * ldb + n);
    float *c = guarded_floats(&memory[2], m * n), *expected = guarded_floats(&memory[3], m * n);
    fill_random(a, m * k, 1.0F, 1);
    fill_random(b, (k - 1) * ldb + n, 1.0F, 2);
    bert_sgemm_args args = {.a = a, .b = b, .c = expected, .lda = k, .ldb = ldb, .ldc = n, .m = m, .n = n, .k = k};
    bert_cpu_kernels_scalar.sgemm(&args);
    args.c = c;
    table->sgemm(&args);
    compare(c, n, expected, n, m, n, 2e-6F * sqrtf((float)k), "sgemm");
    for (int i = 0; i < 4; i++) guarded_free(&memory[i]);
}

/* Long products round as chains of BERT_SGEMM_CHAIN do, not as one of K: half of that is well above the one and well
 * below the other. */
static void sgemm_rounding_case(const bert_cpu_kernels *table) {
    enum { M = 8, N = 64, K = 3072 };
    bert_guarded memory[3];
    float *a = guarded_floats(&memory[0], M * K), *b = guarded_floats(&memory[1], K * N);
    float *c = guarded_floats(&memory[2], M * N);
    fill_random(a, M * K, 1.0F, 1);
    fill_random(b, K * N, 1.0F, 2);
    table->sgemm(&(bert_sgemm_args){.a = a, .b = b, .c = c, .lda = K, .ldb = N, .ldc = N, .m = M, .n = N, .k = K});
    double square_errors = 0, squares = 0;
    for (int64_t i = 0; i < M * N; i++) {
        double exact = 0;
        for (int64_t p = 0; p < K; p++) exact += (double)a[i / N * K + p] * (double)b[p * N + i % N];
        square_errors += ((double)c[i] - exact) * ((double)c[i] - exact);
        squares += exact * exact;
    }
    const double error = sqrt(square_errors / squares), one_chain = sqrt(K / 2.0) * 0x1p-24 / sqrt(3);
    if (!(error < one_chain / 2)) fail_msg("a product is off by %.3g, one chain by about %.3g", error, one_chain);
    for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
}

static void test_sgemm(const bert_cpu_kernels *table) {
    static const int64_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 17, 24, 31};
    static const int64_t columns[] = {1, 7, 8, 9, 15, 16, 17, 23, 32, 33, 47, 48, 49, 64, 80, 96, 101, 112, 128};
    static const int64_t depths[] = {1, 2, 3, 4, 5, 31, 64, 129};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof columns / sizeof *columns; j++)
            for (size_t k = 0; k < sizeof depths / sizeof *depths; k++)
                multiply_case(table, rows[i], columns[j], depths[k], (int64_t)(i + j + k) % 2 * 5);
    multiply_case(table, 9, 50, 2 * BERT_SGEMM_CHAIN, 0);
    multiply_case(table, 3, 17, 2 * BERT_SGEMM_CHAIN + 1, 5);
    overlapping_case(table, 1, 120, 9, 1);
    overlapping_case(table, 5, 33, 4, 3);
    sgemm_rounding_case(table);
}

static void test_epilogue(const bert_cpu_kernels *table) {
    for (int at = 0; at < LENGTHS * 4; at++) {
        const int64_t n = lengths[at / 4], rows = 3, stride = n + at % 3;
        for (int activation = 0; activation < BERT_UNARY_COUNT; activation++) {
            bert_guarded memory[4];
            const int64_t count = (rows - 1) * stride + n;
            float *y = guarded_floats(&memory[0], count), *expected = guarded_floats(&memory[1], count);
            float *bias = guarded_floats(&memory[2], n), *residual = guarded_floats(&memory[3], rows * n);
            const bool positive = activation == BERT_UNARY_SQRT || activation == BERT_UNARY_RECIPROCAL;
            fill_random(y, count, 4.0F, 3);
            for (int64_t i = 0; positive && i < count; i++) y[i] = fabsf(y[i]) + 2.0F;
            memcpy(expected, y, (size_t)count * sizeof *y);
            fill_random(bias, n, 1.0F, 4);
            fill_random(residual, rows * n, 1.0F, 5);
            bert_epilogue_args args = {.y = expected,
                                       .bias = at & 1 ? bias : NULL,
                                       .residual = at & 2 ? residual : NULL,
                                       .stride = stride,
                                       .residual_stride = n,
                                       .rows = rows,
                                       .n = n,
                                       .alpha = at & 1 ? 1.0F : 0.75F,
                                       .activation = (bert_unary)activation};
            bert_cpu_kernels_scalar.epilogue(&args);
            args.y = y;
            table->epilogue(&args);
            compare(y, stride, expected, stride, rows, n, 1e-6F, "epilogue");
            for (int i = 0; i < 4; i++) guarded_free(&memory[i]);
        }
    }
}

static void layer_norm_case(const bert_cpu_kernels *table, int64_t n, int64_t rows, int variant) {
    bert_guarded memory[9];
    float *buffers[9];
    for (int i = 0; i < 9; i++) {
        const int64_t count = i >= 6 ? n : rows * n; /* the last three: bias, gamma, beta */
        buffers[i] = guarded_floats(&memory[i], count);
        fill_random(buffers[i], count, 2.0F, (uint32_t)i);
        if (i == 0) /* rows that are spread, and around a mean far from 0: the variance must be taken around it */
            for (int64_t j = 0; j < count; j++)
                buffers[i][j] += (j % n % 2 ? 4.0F : -4.0F) + (variant & 1 ? 100.0F : 0.0F);
    }
    bert_layer_norm_args args = {.y = buffers[2],
                                 .sum = variant & 2 ? buffers[3] : NULL,
                                 .x = buffers[0],
                                 .skip = variant & 4 ? buffers[1] : NULL,
                                 .bias = variant & 8 ? buffers[6] : NULL,
                                 .gamma = buffers[7],
                                 .beta = variant & 1 ? NULL : buffers[8],
                                 .rows = rows,
                                 .n = n,
                                 .epsilon = 1e-5F,
                                 .simplified = variant & 16};
    bert_cpu_kernels_scalar.layer_norm(&args);
    args.y = buffers[4];
    if (args.sum) args.sum = buffers[5];
    table->layer_norm(&args);
    const float tolerance = n == 1 ? 5e-2F : 2e-5F; /* one element: rounding over the square root of epsilon */
    compare(buffers[4], n, buffers[2], n, rows, n, tolerance, "layer_norm");
    if (args.sum) assert_memory_equal(buffers[5], buffers[3], (size_t)(rows * n) * sizeof(float));
    for (int i = 0; i < 9; i++) guarded_free(&memory[i]);
}

static void test_layer_norm(const bert_cpu_kernels *table) {
    for (int at = 0; at < LENGTHS; at++)
        for (int variant = 0; variant < 32; variant++) layer_norm_case(table, lengths[at], 1 + at % 3, variant);
}

static void softmax_case(const bert_cpu_kernels *table, int64_t n, int variant, float special) {
    bert_guarded memory[5];
    float *x = guarded_floats(&memory[0], n), *bias = guarded_floats(&memory[1], n);
    float *y = guarded_floats(&memory[2], n), *expected = guarded_floats(&memory[3], n);
    uint8_t *mask = guarded_new(&memory[4], (size_t)n);
    fill_random(x, n, 10.0F, (uint32_t)variant);
    fill_random(bias, n, 3.0F, 9);
    x[n / 2] += special;
    for (int64_t i = 0; i < n; i++) mask[i] = variant & 32 ? 0 : i % 3 != 1;
    bert_softmax_args args = {.y = expected,
                              .x = x,
                              .n = n,
                              .scale = 0.125F,
                              .bias = variant & 1 ? bias : NULL,
                              .bias_stride = variant & 2 ? 1 : 0,
                              .mask = variant & 4 ? mask : NULL,
                              .mask_stride = variant & 8 ? 1 : 0,
                              .mask_value = variant & 16 ? -INFINITY : -10000.0F,
                              .nan_is_zero = variant & 64};
    bert_cpu_kernels_scalar.softmax(&args);
    args.y = y;
    table->softmax(&args);
    compare(y, n, expected, n, 1, n, 5e-7F, "softmax");
    memcpy(y, x, (size_t)n * sizeof *y); /* in place */
    args.x = y;
    table->softmax(&args);
    compare(y, n, expected, n, 1, n, 5e-7F, "softmax in place");
    for (int i = 0; i < 5; i++) guarded_free(&memory[i]);
}

/* What would be subnormal is 0: a lane that underflows is slow, and so is what is multiplied with it. Scores up to 170
 * below the greatest, whose exponentials are next to one another on both sides of the least normal number. */
static void softmax_has_no_subnormal_results(const bert_cpu_kernels *table) {
    enum { SCORES = 171 };
    float x[SCORES], y[SCORES];
    for (int i = 0; i < SCORES; i++) x[i] = -(float)i;
    table->softmax(&(bert_softmax_args){.y = y, .x = x, .n = SCORES, .scale = 1.0F});
    for (int i = 0; i < SCORES; i++) assert_true(i < 86 ? y[i] > 0.0F : y[i] == 0.0F || fpclassify(y[i]) == FP_NORMAL);
}

static void test_softmax(const bert_cpu_kernels *table) {
    static const float specials[] = {0.0F, INFINITY, -INFINITY, NAN, 3e38F};
    if (table != &bert_cpu_kernels_scalar) softmax_has_no_subnormal_results(table);
    for (int at = 0; at < LENGTHS; at++)
        for (int variant = 0; variant < 128; variant++)
            softmax_case(table, lengths[at], variant, specials[variant % 7 == 0 ? (variant / 7) % 5 : 0]);
}

static void test_unary(const bert_cpu_kernels *table) {
    for (int at = 0; at < LENGTHS; at++) {
        for (int op = 0; op < BERT_UNARY_COUNT; op++) {
            bert_guarded memory[3];
            const int64_t n = lengths[at];
            float *x = guarded_floats(&memory[0], n), *y = guarded_floats(&memory[1], n);
            float *expected = guarded_floats(&memory[2], n);
            fill_random(x, n, 5.0F, (uint32_t)at);
            x[0] = (float[]){NAN, INFINITY, -INFINITY, 0.0F, -0.0F}[at % 5];
            bert_unary_args args = {expected, x, n, (bert_unary)op};
            bert_cpu_kernels_scalar.unary(&args);
            args.y = y;
            table->unary(&args);
            compare(y, n, expected, n, 1, n, 1e-6F, "unary");
            args.y = x;
            table->unary(&args);
            compare(x, n, expected, n, 1, n, 1e-6F, "unary in place");
            for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
        }
    }
}

static void test_binary(const bert_cpu_kernels *table) {
    for (int at = 0; at < LENGTHS; at++) {
        for (int variant = 0; variant < BERT_BINARY_COUNT * 4; variant++) {
            bert_guarded memory[4];
            const int64_t n = lengths[at], strides[2] = {variant & 1, variant / 2 & 1};
            float *a = guarded_floats(&memory[0], strides[0] ? n : 1);
            float *b = guarded_floats(&memory[1], strides[1] ? n : 1);
            float *y = guarded_floats(&memory[2], n), *expected = guarded_floats(&memory[3], n);
            fill_random(a, strides[0] ? n : 1, 2.0F, 1);
            fill_random(b, strides[1] ? n : 1, 2.0F, 2);
            bert_binary_args args = {expected, a, b, strides[0], strides[1], n, (bert_binary)(variant / 4)};
            bert_cpu_kernels_scalar.binary(&args);
            args.y = y;
            table->binary(&args);
            assert_memory_equal(y, expected, (size_t)n * sizeof *y);
            for (int i = 0; i < 4; i++) guarded_free(&memory[i]);
        }
    }
}

static void rotate_case(const bert_cpu_kernels *table, int64_t rows, int64_t n, int64_t slack) {
    enum { X, COSINES, SINES, RESULT, EXPECTED, BUFFERS };
    bert_guarded memory[BUFFERS];
    float *buffers[BUFFERS], last[256];
    const int64_t ldx = n + slack, ld_angles = n + slack / 2, ldy = n + slack / 3;
    for (int i = 0; i < BUFFERS; i++) {
        const int64_t count = (rows - 1) * (i == X ? ldx : i < RESULT ? ld_angles : ldy) + n;
        buffers[i] = guarded_floats(&memory[i], count);
        fill_random(buffers[i], count, 1.0F, i < RESULT ? (uint32_t)i : RESULT);
    }
    bert_rotate_args args = {.y = buffers[EXPECTED],
                             .x = buffers[X],
                             .cosines = buffers[COSINES],
                             .sines = buffers[SINES],
                             .ldy = ldy,
                             .ldx = ldx,
                             .ld_angles = ld_angles,
                             .rows = rows,
                             .n = n};
    bert_cpu_kernels_scalar.rotate(&args);
    args.y = buffers[RESULT];
    table->rotate(&args);
    compare(buffers[RESULT], ldy, buffers[EXPECTED], ldy, rows, n, 1e-6F, "rotate");
    for (int64_t row = 0; row + 1 < rows; row++) /* the slack is left alone */
        assert_memory_equal(buffers[RESULT] + row * ldy + n, buffers[EXPECTED] + row * ldy + n,
                            (size_t)(ldy - n) * sizeof(float));
    args.y = last; /* the last row alone: the same bits */
    args.x += (rows - 1) * ldx;
    args.cosines += (rows - 1) * ld_angles;
    args.sines += (rows - 1) * ld_angles;
    args.rows = 1;
    table->rotate(&args);
    assert_memory_equal(last, buffers[RESULT] + (rows - 1) * ldy, (size_t)n * sizeof *last);
    for (int i = 0; i < BUFFERS; i++) guarded_free(&memory[i]);
}

/* Each element against the formula, so that scalar and the others aren't wrong alike. */
static void rotate_by_the_formula(const bert_cpu_kernels *table) {
    enum { N = 6, HALF = N / 2 };
    float x[N], cosines[N], sines[N], y[N];
    fill_random(x, N, 1.0F, 1);
    fill_random(cosines, N, 1.0F, 2);
    fill_random(sines, N, 1.0F, 3);
    table->rotate(&(bert_rotate_args){y, x, cosines, sines, N, N, N, 1, N});
    for (int i = 0; i < N; i++) {
        const float other = i < HALF ? -x[i + HALF] : x[i - HALF];
        assert_true(fabsf(y[i] - (x[i] * cosines[i] + other * sines[i])) <= 1e-6F);
    }
}

static void test_rotate(const bert_cpu_kernels *table) {
    static const int64_t widths[] = {2, 6, 10, 14, 16, 18, 32, 34, 48, 64, 66, 96, 128};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (int64_t rows = 1; rows < 5; rows++)
            for (int64_t slack = 0; slack < 10; slack += 3) rotate_case(table, rows, widths[i], slack);
    rotate_by_the_formula(table);
}

static void test_transpose(const bert_cpu_kernels *table) {
    for (int i = 0; i < LENGTHS; i++) {
        for (int j = 0; j < LENGTHS; j++) {
            bert_guarded memory[2];
            const int64_t rows = lengths[i], columns = lengths[j], ldx = columns + i % 2, ldy = rows + j % 2;
            float *x = guarded_floats(&memory[0], (rows - 1) * ldx + columns);
            float *y = guarded_floats(&memory[1], (columns - 1) * ldy + rows);
            fill_random(x, (rows - 1) * ldx + columns, 1.0F, 1);
            bert_transpose_args args = {y, x, ldy, ldx, rows, columns};
            table->transpose(&args);
            for (int64_t row = 0; row < rows; row++)
                for (int64_t column = 0; column < columns; column++)
                    assert_true(y[column * ldy + row] == x[row * ldx + column]);
            if (ldy > rows && columns > 1) { /* the slack still holds the pattern */
                unsigned char pattern[sizeof(float)];
                memset(pattern, GUARD_PATTERN, sizeof pattern);
                assert_memory_equal(y + rows, pattern, sizeof pattern);
            }
            for (int at = 0; at < 2; at++) guarded_free(&memory[at]);
        }
    }
}

/* What index has at a place of a row: of neighbours, of neighbours far away, or of anything inside or around x. */
enum take_order { TAKE_DOWN, TAKE_UP, TAKE_SAME, TAKE_SLOWLY, TAKE_JUMP, TAKE_INSIDE, TAKE_AROUND, TAKE_ORDERS };

static int32_t take_index(enum take_order order, int64_t row, int64_t i, int64_t n, int64_t width) {
    const int64_t mixed = (row * 7919 + i * 104729) % 8191;
    switch (order) {
    case TAKE_DOWN:
        return (int32_t)(row + n - 1 - i);
    case TAKE_UP:
        return (int32_t)(row + i);
    case TAKE_SAME:
        return (int32_t)(width - 1);
    case TAKE_SLOWLY:
        return (int32_t)(row + i / 3);
    case TAKE_JUMP:
        return (int32_t)((row + i) / 9 % 2 ? width - 1 : 0);
    case TAKE_INSIDE:
        return (int32_t)(mixed % width);
    default:
        return (int32_t)(mixed % (3 * width) - width);
    }
}

/* What is added: nothing, a matrix, y itself. */
enum take_sum { TAKE_ALONE, TAKE_PLUS, TAKE_IN_PLACE, TAKE_SUMS };

static void take_case(const bert_cpu_kernels *table, int64_t n, int64_t width, enum take_order order,
                      enum take_sum sum) {
    enum { ROWS = 3 };
    bert_guarded memory[5];
    const int64_t ldx = width + n % 2, ldy = n + width % 3, ld_index = n + (n + width) % 2, ld_plus = n + width % 2;
    const int64_t indices = (ROWS - 1) * ld_index + n, count = (ROWS - 1) * ldy + n;
    float *x = guarded_floats(&memory[0], (ROWS - 1) * ldx + width), *y = guarded_floats(&memory[1], count);
    float *expected = guarded_floats(&memory[2], count), *plus = guarded_floats(&memory[3], (ROWS - 1) * ld_plus + n);
    int32_t *index = guarded_new(&memory[4], (size_t)indices * sizeof *index);
    /* Indices aren't negative, x's first column may be any. */
    const int32_t first = order == TAKE_AROUND ? (int32_t)width : order == TAKE_UP ? 1 << 20 : 0;
    for (int64_t i = 0; i < indices; i++) index[i] = first + take_index(order, i / ld_index, i % ld_index, n, width);
    fill_random(x, (ROWS - 1) * ldx + width, 1.0F, 1);
    fill_random(y, count, 1.0F, 2);
    fill_random(plus, (ROWS - 1) * ld_plus + n, 1.0F, 3);
    memcpy(expected, y, (size_t)count * sizeof *y);
    bert_take_args args = {.y = expected,
                           .x = x,
                           .index = index,
                           .plus = sum == TAKE_ALONE  ? NULL
                                   : sum == TAKE_PLUS ? plus
                                                      : expected,
                           .ldy = ldy,
                           .ldx = ldx,
                           .ld_index = ld_index,
                           .ld_plus = sum == TAKE_IN_PLACE ? ldy : ld_plus,
                           .rows = ROWS,
                           .n = n,
                           .width = width,
                           .first = first,
                           .scale = 0.7F};
    float last[512];
    memcpy(last, y + (ROWS - 1) * ldy, (size_t)n * sizeof *last);
    bert_cpu_kernels_scalar.take(&args);
    args.y = y;
    if (sum == TAKE_IN_PLACE) args.plus = y;
    table->take(&args);
    compare(y, ldy, expected, ldy, ROWS, n, sum == TAKE_ALONE ? 0.0F : 1e-6F, "take");
    for (int64_t row = 0; row + 1 < ROWS; row++) /* the slack is left alone */
        assert_memory_equal(y + row * ldy + n, expected + row * ldy + n, (size_t)(ldy - n) * sizeof *y);
    args.y = last; /* the last row alone: the same bits */
    args.x += (ROWS - 1) * ldx;
    args.index += (ROWS - 1) * ld_index;
    if (sum == TAKE_PLUS) args.plus += (ROWS - 1) * ld_plus;
    if (sum == TAKE_IN_PLACE) args.plus = last;
    args.rows = 1;
    table->take(&args);
    assert_memory_equal(last, y + (ROWS - 1) * ldy, (size_t)n * sizeof *last);
    for (int i = 0; i < 5; i++) guarded_free(&memory[i]);
}

static void test_take(const bert_cpu_kernels *table) {
    for (int i = 0; i < LENGTHS; i++)
        for (int j = 0; j < LENGTHS; j++)
            for (int order = 0; order < TAKE_ORDERS; order++)
                for (int sum = 0; sum < TAKE_SUMS; sum++) take_case(table, lengths[i], lengths[j], order, sum);
    take_case(table, 40, 500, TAKE_DOWN, TAKE_PLUS);
}

struct kernel_test {
    const char *name;
    void (*test)(const bert_cpu_kernels *table);
    bool (*has)(const bert_cpu_kernels *table);
};

#define HAS(name)                                                                                                      \
    static bool has_##name(const bert_cpu_kernels *table) {                                                            \
        return table->name != NULL;                                                                                    \
    }
BERT_CPU_KERNELS(HAS)
#undef HAS

static const struct kernel_test kernel_tests[] = {
#define ENTRY(name) {#name, test_##name, has_##name},
    BERT_CPU_KERNELS(ENTRY)
#undef ENTRY
};

static void every_kernel_agrees_with_the_scalar_one(void **state) {
    int tested = 0, absent = 0;
    for (int isa = 0; isa < BERT_ISA_COUNT; isa++) {
        const bert_cpu_kernels *table = bert_cpu_kernels_of((bert_isa)isa);
        if (!table) continue;
        for (size_t i = 0; i < sizeof kernel_tests / sizeof *kernel_tests; i++) {
            if (!kernel_tests[i].has(table)) continue;
            if (!bert_isa_present((bert_isa)isa)) {
                print_message("skipped: %s of %s: this machine doesn't have it\n", kernel_tests[i].name,
                              bert_isa_name((bert_isa)isa));
                absent++;
                continue;
            }
            print_message("%s of %s\n", kernel_tests[i].name, bert_isa_name((bert_isa)isa));
            kernel_tests[i].test(table);
            tested++;
        }
    }
    print_message("%d kernels tested, %d skipped\n", tested, absent);
    assert_true(tested >= (int)(sizeof kernel_tests / sizeof *kernel_tests));
}

static void a_limit_gives_the_best_of_what_it_admits(void **state) {
    for (int limit = 0; limit < BERT_ISA_COUNT; limit++) {
        bert_cpu_kernels chosen;
        bert_cpu_kernels_select((bert_isa)limit, &chosen);
        for (size_t i = 0; i < sizeof kernel_tests / sizeof *kernel_tests; i++)
            assert_true(kernel_tests[i].has(&chosen));
        const bert_cpu_kernels *best = NULL, *best_of_bytes = NULL;
        for (int isa = 0; isa <= limit; isa++) {
            const bert_cpu_kernels *table = bert_cpu_kernels_of((bert_isa)isa);
            if (!bert_isa_usable((bert_isa)isa, (bert_isa)limit) || !table) continue;
            if (table->sgemm) best = table;
            if (table->qgemm) best_of_bytes = table;
        }
        assert_non_null(best);
        assert_true(chosen.sgemm == best->sgemm && chosen.sgemm_columns == best->sgemm_columns &&
                    chosen.sgemm_rows == best->sgemm_rows);
        assert_true(chosen.qgemm == best_of_bytes->qgemm && chosen.bounded_panels == best_of_bytes->bounded_panels);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_agrees_with_the_scalar_one),
        cmocka_unit_test(a_limit_gives_the_best_of_what_it_admits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
