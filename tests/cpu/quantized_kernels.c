#include "tests/cpu/quantized_kernels.h"

#include "tests/cpu/bounded_kernels.h"
#include "tests/cpu/compare.h"
#include "tests/cpu/guarded.h"

#include <math.h>

static const int64_t lengths[] = {1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 48, 64, 131};
enum { LENGTHS = sizeof lengths / sizeof *lengths, ROWS = 3 };

static void fill_bytes(void *out, int64_t count, uint32_t seed) {
    unsigned char *bytes = out;
    uint32_t state = seed * 2654435761U + 99U;
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525U + 1013904223U;
        bytes[i] = (unsigned char)(state >> 24);
    }
}

static void same_range(const bert_row_range *range, const bert_row_range *expected) {
    assert_true(range->least == expected->least && range->most == expected->most);
}

void test_range(const bert_cpu_kernels *table) {
    for (int at = 0; at < LENGTHS * 4; at++) {
        const int64_t n = lengths[at / 4];
        bert_guarded memory;
        float *x = guarded_floats(&memory, ROWS * n);
        bert_row_range ranges[ROWS], expected[ROWS];
        fill_random(x, ROWS * n, 3.0F, (uint32_t)at);
        for (int64_t i = 0; i < ROWS * n; i++) x[i] += at % 4 == 1 ? 5.0F : at % 4 == 2 ? -5.0F : 0.0F;
        if (at % 4 == 3) {
            x[n / 2] = NAN;
            x[n] = INFINITY;
        }
        bert_cpu_kernels_scalar.range(&(bert_range_args){expected, x, ROWS, n});
        table->range(&(bert_range_args){ranges, x, ROWS, n});
        for (int row = 0; row < ROWS; row++) same_range(&ranges[row], &expected[row]);
        guarded_free(&memory);
    }
}

/* Quotients next to k + 1/2, where a unit in the last place decides between two integers: `quantize` of AVX-512 and
 * every `quantized_add` don't divide. */
enum { HALVES = 255, AROUND = 7, MANTISSA_STEP = 4093 /* 1: every one, which takes minutes */ };

static void fill_next_to_halves(float *x, float scale, float sign) {
    for (int k = 0; k < HALVES; k++) {
        float value = sign * ((float)k + 0.5F) * scale;
        for (int i = 0; i < AROUND / 2; i++) value = nextafterf(value, -INFINITY);
        for (int i = 0; i < AROUND; i++, value = nextafterf(value, INFINITY)) x[k * AROUND + i] = value;
    }
}

static float scale_of_mantissa(uint32_t mantissa) {
    return ldexpf(1.0F + (float)mantissa * 0x1p-23F, (int)(mantissa % 161) - 80);
}

static void quantize_next_to_halves(const bert_cpu_kernels *table) {
    static float x[HALVES * AROUND];
    static uint8_t y[HALVES * AROUND], expected[HALVES * AROUND];
    for (uint32_t mantissa = 0; mantissa < 1U << 23; mantissa += MANTISSA_STEP) {
        const float scale = scale_of_mantissa(mantissa);
        const int32_t zero_point = mantissa % 2 ? 255 : 0;
        fill_next_to_halves(x, scale, zero_point ? -1.0F : 1.0F);
        int32_t sum, expected_sum;
        bert_quantize_args args = {expected,        &expected_sum,  x, &scale, &zero_point, 1,
                                   HALVES * AROUND, HALVES * AROUND};
        bert_cpu_kernels_scalar.quantize(&args);
        args.y = y;
        args.sums = &sum;
        table->quantize(&args);
        assert_memory_equal(y, expected, sizeof y);
        assert_int_equal(sum, expected_sum);
    }
}

void test_quantize(const bert_cpu_kernels *table) {
    static const float scales[] = {0.02F, 0.5F, 1e-30F, 0.0F, INFINITY, 1.0F};
    for (int at = 0; at < LENGTHS * 6; at++) {
        const int64_t n = lengths[at / 6], stride = (n + 3) / 4 * 4;
        const float scale[ROWS] = {scales[at % 6], 0.25F, scales[at % 6]};
        const int32_t zero_points[ROWS] = {at % 256, 0, 255};
        int32_t sums[ROWS], expected_sums[ROWS];
        bert_guarded memory[3];
        float *x = guarded_floats(&memory[0], ROWS * n);
        uint8_t *y = guarded_new(&memory[1], (size_t)(ROWS * stride));
        uint8_t *expected = guarded_new(&memory[2], (size_t)(ROWS * stride));
        fill_random(x, ROWS * n, 3.0F, (uint32_t)at);
        for (int64_t i = 0; i < n; i++) x[n + i] = ((float)i - 7.0F) * 0.125F; /* halves: to even */
        if (at % 6 == 5) {
            x[0] = NAN;
            x[n - 1] = INFINITY;
            x[2 * n] = -INFINITY;
            x[3 * n - 1] = 3e38F;
        }
        bert_quantize_args args = {expected, expected_sums, x, scale, zero_points, ROWS, n, stride};
        bert_cpu_kernels_scalar.quantize(&args);
        args.y = y;
        args.sums = sums;
        table->quantize(&args);
        assert_memory_equal(y, expected, (size_t)(ROWS * stride));
        assert_memory_equal(sums, expected_sums, sizeof sums);
        for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
    }
    quantize_next_to_halves(table);
}

void test_qgemm(const bert_cpu_kernels *table) {
    static const int64_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 16, 23, 32, 47, 48, 49, 64, 65, 80, 113};
    static const int64_t steps[] = {0, 1, 2, 3, 16, 33, 131, 259, 301};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t j = 0; j < sizeof steps / sizeof *steps; j++) {
            const int64_t m = rows[i], depth = steps[j] * BERT_QGEMM_STEP, lda = depth + (i + j) % 2 * 4;
            const size_t sums = (size_t)(m * BERT_QGEMM_COLUMNS) * sizeof(int32_t);
            bert_guarded memory[4];
            uint8_t *a = guarded_new(&memory[0], (size_t)((m - 1) * lda + depth));
            int8_t *b = guarded_new(&memory[1], (size_t)(depth * BERT_QGEMM_COLUMNS));
            int32_t *c = guarded_new(&memory[2], sums), *expected = guarded_new(&memory[3], sums);
            if (j % 2) { /* the greatest sums there are */
                memset(a, 255, (size_t)((m - 1) * lda + depth));
                memset(b, i % 2 ? -128 : 127, (size_t)(depth * BERT_QGEMM_COLUMNS));
            } else {
                fill_bytes(a, (m - 1) * lda + depth, 1);
                fill_bytes(b, depth * BERT_QGEMM_COLUMNS, 2);
            }
            bert_qgemm_args args = {.c = expected, .a = a, .b = b, .lda = lda, .rows = m, .steps = steps[j]};
            bert_cpu_kernels_scalar.qgemm(&args);
            if (j % 2) assert_int_equal(expected[0], depth * 255 * (i % 2 ? -128 : 127));
            args.c = c;
            args.fetch = (bert_fetch){.from = (const char *)b, .lines = steps[j], .stride = 192, .streams = 3};
            args.y = c; /* fetched beyond its end, which changes nothing */
            args.y_stride = 192 + (int64_t)i % 2 * 4096;
            bert_cpu_enter(table);
            table->qgemm(&args);
            bert_cpu_exit(table);
            assert_memory_equal(c, expected, sums);
            for (int at = 0; at < 4; at++) guarded_free(&memory[at]);
        }
    }
    if (table->bounded_panels) test_qgemm_bounded(table);
}

/* What rows share with the row before: scale and zero point, the scale alone, the zero point alone, nothing. */
enum { DEQUANTIZED_ROWS = 19, DEQUANTIZED_KINDS = 5 };
static const float kinds_of_scales[DEQUANTIZED_KINDS] = {0.02F, 0.02F, 0.02F, 0.5F, 3.0F};
static const int32_t kinds_of_x_zeros[DEQUANTIZED_KINDS] = {128, 128, 255, 255, 0};
static const int32_t kinds_of_sums[DEQUANTIZED_KINDS] = {17, 70000, 783360, 17, 783360};

/* The integers' share of a result exactly, what vector functions compute within their error. Ranges, two a row here
 * and others' between them, are those of the result, asked for or not. */
static void dequantize_agrees(const bert_cpu_kernels *table, bert_dequantize_args args, const float *bias,
                              const float *residual, bert_unary activation) {
    const int64_t count = (args.rows - 1) * args.stride + args.n;
    bert_guarded memory[2];
    float *y = guarded_floats(&memory[0], count), *expected = guarded_floats(&memory[1], count);
    bert_row_range ranges[DEQUANTIZED_ROWS][2], range;
    memset(ranges, 0x55, sizeof ranges);
    args.bias = bias;
    args.residual = residual;
    args.residual_stride = args.n;
    args.activation = activation;
    args.y = expected;
    bert_cpu_kernels_scalar.dequantize(&args);
    args.y = y;
    table->dequantize(&args);
    if (activation == BERT_UNARY_IDENTITY)
        assert_memory_equal(y, expected, (size_t)count * sizeof *y);
    else
        compare(y, args.stride, expected, args.stride, args.rows, args.n, 1e-6F, "dequantize");
    args.ranges = ranges[0];
    args.range_stride = 2;
    memset(expected, 0, (size_t)count * sizeof *expected);
    args.y = expected;
    table->dequantize(&args);
    for (int64_t row = 0; row < args.rows; row++) {
        bert_cpu_kernels_scalar.range(&(bert_range_args){&range, y + row * args.stride, 1, args.n});
        assert_memory_equal(expected + row * args.stride, y + row * args.stride, (size_t)args.n * sizeof *y);
        same_range(&ranges[row][0], &range);
        assert_memory_equal(&ranges[row][1], "\x55\x55\x55\x55\x55\x55\x55\x55", sizeof range);
    }
    for (int i = 0; i < 2; i++) guarded_free(&memory[i]);
}

/* Zero points of weights. */
enum { NO_ZEROS, ONE_ZERO, ZEROS, KINDS_OF_ZEROS };

static int32_t zero_of(int kind, int64_t column) {
    return kind == NO_ZEROS ? 0 : kind == ONE_ZERO ? -5 : (int32_t)(column * 37 % 256) - 128;
}

void test_dequantize(const bert_cpu_kernels *table) {
    float x_scales[DEQUANTIZED_ROWS];
    int32_t x_zeros[DEQUANTIZED_ROWS], x_sums[DEQUANTIZED_ROWS];
    for (int row = 0; row < DEQUANTIZED_ROWS; row++) {
        x_scales[row] = kinds_of_scales[row % DEQUANTIZED_KINDS];
        x_zeros[row] = kinds_of_x_zeros[row % DEQUANTIZED_KINDS];
        x_sums[row] = kinds_of_sums[row % DEQUANTIZED_KINDS];
    }
    for (int64_t at = 0; at < BERT_QGEMM_COLUMNS * KINDS_OF_ZEROS; at++) {
        const int64_t n = at / KINDS_OF_ZEROS + 1; /* of a whole panel too */
        int32_t c[DEQUANTIZED_ROWS * BERT_QGEMM_COLUMNS];
        bert_guarded memory[5];
        float *scales = guarded_floats(&memory[0], n);
        int32_t *zeros = guarded_new(&memory[1], (size_t)n * sizeof *zeros);
        int32_t *offsets = guarded_new(&memory[2], (size_t)n * sizeof *offsets);
        float *bias = guarded_floats(&memory[3], n), *residual = guarded_floats(&memory[4], DEQUANTIZED_ROWS * n);
        fill_bytes(c, sizeof c, 1);
        fill_random(scales, n, 0.01F, 2);
        for (int64_t i = 0; i < n; i++) zeros[i] = zero_of((int)(at % KINDS_OF_ZEROS), i);
        fill_bytes(offsets, n * (int64_t)sizeof *offsets, 3);
        fill_random(bias, n, 1.0F, 4);
        fill_random(residual, DEQUANTIZED_ROWS * n, 1.0F, 5);
        const bert_dequantize_args args = {.c = c,
                                           .x_scales = x_scales,
                                           .x_zeros = x_zeros,
                                           .x_sums = x_sums,
                                           .scales = scales,
                                           .zeros = zeros,
                                           .offsets = offsets,
                                           .stride = n + n % 3,
                                           .rows = DEQUANTIZED_ROWS,
                                           .n = n,
                                           /* changes nothing, wherever it ends */
                                           .fetch = {(const char *)scales, n % 3 * 100, 4096, n % 2 ? 4 : 1}};
        dequantize_agrees(table, args, NULL, NULL, BERT_UNARY_IDENTITY);
        dequantize_agrees(table, args, bias, residual, BERT_UNARY_IDENTITY);
        const float kept = residual[n / 2];
        residual[n / 2] = NAN; /* beside it and before it are numbers of the same lane */
        dequantize_agrees(table, args, bias, residual, BERT_UNARY_IDENTITY);
        residual[n / 2] = kept;
        for (int activation = BERT_UNARY_RELU; activation <= BERT_UNARY_SIGMOID; activation++)
            dequantize_agrees(table, args, bias, n % 2 ? residual : NULL, (bert_unary)activation);
        for (int i = 0; i < 5; i++) guarded_free(&memory[i]);
    }
}

/* Each of the 256 bytes in the last turn, whose first comes at another place each time. */
void test_dequantize_bytes(const bert_cpu_kernels *table) {
    static const float scales[] = {0.02F, 0.0F, 1e-44F, 3e38F, -0.3F, INFINITY, NAN};
    enum { SCALES = sizeof scales / sizeof *scales };
    for (int at = 0; at < (LENGTHS + 1) * SCALES * 2; at++) {
        const int64_t n = at / 2 / SCALES < LENGTHS ? lengths[at / 2 / SCALES] : 256;
        const bool is_signed = at % 2 == 1;
        bert_guarded memory[3];
        uint8_t *x = guarded_new(&memory[0], (size_t)n);
        float *y = guarded_floats(&memory[1], n), *expected = guarded_floats(&memory[2], n);
        for (int64_t i = 0; i < n; i++) x[i] = (uint8_t)(i + at * 31);
        bert_dequantize_bytes_args args = {
            expected, x, n, scales[at / 2 % SCALES], at * 57 % 256 - (is_signed ? 128 : 0), is_signed};
        bert_cpu_kernels_scalar.dequantize_bytes(&args);
        const int32_t first = is_signed && x[0] > 127 ? x[0] - 256 : x[0];
        if (args.scale == scales[0]) assert_true(expected[0] == (float)(first - args.zero_point) * args.scale);
        args.y = y;
        table->dequantize_bytes(&args);
        compare_bits(y, expected, n);
        for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
    }
}

/* Each of the 256 bytes at each place of a vector. */
void test_lookup(const bert_cpu_kernels *table) {
    for (int at = 0; at < LENGTHS + 64; at++) {
        const int64_t n = at < LENGTHS ? lengths[at] : 256 + 64;
        bert_guarded memory[4];
        uint8_t *x = guarded_new(&memory[0], (size_t)n), *y = guarded_new(&memory[1], (size_t)n);
        uint8_t *expected = guarded_new(&memory[2], (size_t)n), *bytes = guarded_new(&memory[3], 256);
        for (int64_t i = 0; i < n; i++) x[i] = (uint8_t)(i + at);
        fill_bytes(bytes, 256, (uint32_t)at);
        bert_cpu_kernels_scalar.lookup(&(bert_lookup_args){expected, x, bytes, n});
        assert_int_equal(expected[n - 1], bytes[(n - 1 + at) % 256]);
        table->lookup(&(bert_lookup_args){y, x, bytes, n});
        assert_memory_equal(y, expected, n);
        table->lookup(&(bert_lookup_args){x, x, bytes, n}); /* y may be x */
        assert_memory_equal(x, expected, n);
        for (int i = 0; i < 4; i++) guarded_free(&memory[i]);
    }
}

/* Scales that are divided by and others; values between all bytes, at halves, and beyond. */
static float added_value(int64_t i, float scale) {
    static const float special[] = {NAN, INFINITY, -INFINITY, 3e38F, -3e38F, 0.0F, -0.0F, 1e-45F};
    enum { SPECIAL = sizeof special / sizeof *special };
    if (i % 19 < SPECIAL) return special[i % 19];
    return ((float)(i * 37 % 701) - 350.0F) * 0.5F * (isfinite(scale) ? scale : 1.0F);
}

static void quantized_add_case(const bert_cpu_kernels *table, int64_t n, int choice, const bert_requantization *a_by,
                               const bert_requantization *y_by) {
    const int64_t a_stride = choice >> 2 & 1, b_stride = choice >> 3 & 1;
    bert_guarded memory[4];
    float *a = guarded_floats(&memory[0], a_stride ? n : 1), *b = guarded_floats(&memory[1], b_stride ? n : 1);
    float *y = guarded_floats(&memory[2], n), *expected = guarded_floats(&memory[3], n);
    for (int64_t i = 0; i < (a_stride ? n : 1); i++) a[i] = added_value(i + choice, a_by->scale);
    for (int64_t i = 0; i < (b_stride ? n : 1); i++) b[i] = (float)(i % 3) * 0.25F;
    bert_quantized_add_args args = {.y = expected,
                                    .a = a,
                                    .b = b,
                                    .a_stride = a_stride,
                                    .b_stride = b_stride,
                                    .n = n,
                                    .a_by = choice & 1 ? a_by : NULL,
                                    .y_by = choice & 2 ? y_by : NULL};
    bert_cpu_kernels_scalar.quantized_add(&args);
    args.y = y;
    table->quantized_add(&args);
    compare_bits(y, expected, n);
    if (a_stride || b_stride) { /* y may be either */
        args.y = a_stride ? a : b;
        table->quantized_add(&args);
        compare_bits(args.y, expected, n);
    }
    for (int i = 0; i < 4; i++) guarded_free(&memory[i]);
}

static void add_next_to_halves(const bert_cpu_kernels *table) {
    static float x[HALVES * AROUND], y[HALVES * AROUND], expected[HALVES * AROUND];
    for (uint32_t mantissa = 0; mantissa < 1U << 23; mantissa += MANTISSA_STEP) {
        const bert_requantization by = {
            .scale = scale_of_mantissa(mantissa), .least = -255, .most = 255, .shift = 1, .new_scale = 1};
        fill_next_to_halves(x, by.scale, mantissa % 2 ? -1.0F : 1.0F);
        bert_quantized_add_args args = {
            .y = expected, .a = x, .b = &(float){0}, .a_stride = 1, .n = HALVES * AROUND, .a_by = &by};
        bert_cpu_kernels_scalar.quantized_add(&args);
        args.y = y;
        table->quantized_add(&args);
        compare_bits(y, expected, HALVES * AROUND);
    }
}

void test_quantized_add(const bert_cpu_kernels *table) {
    static const float scales[] = {0.02F, 3.7F, 1e-44F, 0.0F, 3e38F, -0.3F, INFINITY, NAN};
    const bert_requantization half = {.scale = 0.5F, .least = -130, .most = 125, .shift = 2, .new_scale = 0.25F};
    float y[2];
    bert_cpu_kernels_scalar.quantized_add(&(bert_quantized_add_args){
        .y = y, .a = (float[]){1.25F, -900}, .b = &(float){0}, .a_stride = 1, .n = 2, .a_by = &half});
    assert_true(y[0] == (2 + 2) * 0.25F && y[1] == (-130 + 2) * 0.25F);
    for (int at = 0; at < LENGTHS; at++) {
        for (int choice = 0; choice < 16; choice++) {
            for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
                const bert_requantization by = {.scale = scales[i],
                                                .least = (float)-choice * 17,
                                                .most = (float)(255 - choice * 17),
                                                .shift = (float)(choice * 17 - 100),
                                                .new_scale = scales[(i + (size_t)choice % 2) % 8]};
                quantized_add_case(table, lengths[at], choice, &by, &by);
                quantized_add_case(table, lengths[at], choice, &by, &half);
                quantized_add_case(table, lengths[at], choice, &half, &by);
            }
        }
    }
    add_next_to_halves(table);
}
