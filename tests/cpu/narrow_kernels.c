#include "tests/cpu/narrow_kernels.h"

#include "core/base/float16.h"
#include "tests/cpu/compare.h"
#include "tests/cpu/guarded.h"

#include <math.h>

static const int64_t lengths[] = {1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 48, 131};
enum { LENGTHS = sizeof lengths / sizeof *lengths, ROWS = 3 };

void test_to_bf16(const bert_cpu_kernels *table) {
    for (int at = 0; at < LENGTHS * 3; at++) {
        const int64_t n = lengths[at / 3], padded = n + at % 3, ldy = padded + at % 2, ldx = n + at % 4;
        const int64_t count = (ROWS - 1) * ldx + n;
        const size_t bytes = (size_t)((ROWS - 1) * ldy + padded) * sizeof(uint16_t);
        bert_guarded memory[3];
        float *x = guarded_floats(&memory[0], count);
        uint16_t *y = guarded_new(&memory[1], bytes), *expected = guarded_new(&memory[2], bytes);
        fill_random(x, count, 1e4F, (uint32_t)at);
        const uint32_t bits[] = {0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff, 0xff800000, 0x7fa00001,
                                 0xffffffff, 0x00000001, 0x807fffff, 0x80000000, 0x00008000};
        for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) /* halves, overflow, infinity, NaN, subnormal numbers */
            memcpy(&x[(i + (size_t)at) % (size_t)count], &bits[i], sizeof *x);
        bert_to_bf16_args args = {
            .y = expected, .x = x, .ldy = ldy, .ldx = ldx, .rows = ROWS, .n = n, .padded = padded};
        bert_cpu_kernels_scalar.to_bf16(&args);
        args.y = y;
        table->to_bf16(&args);
        assert_memory_equal(y, expected, bytes); /* between rows, too */
        for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
    }
}

void test_from_bf16(const bert_cpu_kernels *table) {
    for (int at = 0; at < LENGTHS; at++) {
        const int64_t n = lengths[at];
        bert_guarded memory[3];
        uint16_t *x = guarded_new(&memory[0], (size_t)n * sizeof *x);
        float *y = guarded_floats(&memory[1], n), *expected = guarded_floats(&memory[2], n);
        for (int64_t i = 0; i < n; i++) x[i] = (uint16_t)(i * 7919 + at * 31);
        bert_from_bf16_args args = {expected, x, n};
        bert_cpu_kernels_scalar.from_bf16(&args);
        args.y = y;
        table->from_bf16(&args);
        assert_memory_equal(y, expected, (size_t)n * sizeof *y);
        for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
    }
}

/* Whole numbers up to 7, whose sums are exact in any order, or anything in [-1, 1). */
static void fill_halves(uint16_t *x, int64_t count, bool whole, uint32_t seed) {
    for (int64_t i = 0; i < count; i++) {
        float value;
        fill_random(&value, 1, whole ? 7.0F : 1.0F, seed + (uint32_t)i);
        x[i] = bert_float_to_bfloat16(whole ? nearbyintf(value) : value);
    }
}

/* The same bits as sgemm of the same table with b in float32; what stands beside the last row of an odd k is no number.
 */
static void widened_case(const bert_cpu_kernels *table, int64_t m, int64_t n, int64_t k, int64_t slack) {
    const int64_t lda = k + slack, ldb = n + slack, ldc = n + slack, pairs = (k + 1) / 2;
    const int64_t results = (m - 1) * ldc + n;
    bert_guarded memory[5];
    float *a = guarded_floats(&memory[0], (m - 1) * lda + k), *wide = guarded_floats(&memory[1], k * n);
    uint16_t *b = guarded_new(&memory[2], (size_t)((pairs - 1) * ldb + n) * 2 * sizeof *b);
    float *c = guarded_floats(&memory[3], results), *expected = guarded_floats(&memory[4], results);
    fill_random(a, (m - 1) * lda + k, 1.0F, 1);
    fill_halves(b, ((pairs - 1) * ldb + n) * 2, false, 2);
    for (int64_t i = 0; i < n && k % 2; i++) b[((pairs - 1) * ldb + i) * 2 + 1] = 0x7fc0;
    for (int64_t row = 0; row < k; row++)
        for (int64_t i = 0; i < n; i++)
            wide[row * n + i] = bert_bfloat16_to_float(b[(row / 2 * ldb + i) * 2 + row % 2]);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        fill_random(c, results, 1.0F, 3);
        memcpy(expected, c, (size_t)results * sizeof *c);
        bert_sgemm_args product = {.c = expected,
                                   .a = a,
                                   .b = wide,
                                   .ldc = ldc,
                                   .lda = lda,
                                   .ldb = n,
                                   .m = m,
                                   .n = n,
                                   .k = k,
                                   .accumulate = accumulate != 0,
                                   .fetch = {(const char *)a, accumulate * 7, 192, 3}};
        table->sgemm(&product);
        product.c = c;
        product.b = NULL;
        product.ldb = ldb;
        table->sgemm_bf16(&(bert_sgemm_bf16_args){.product = product, .b = b});
        assert_memory_equal(c, expected, (size_t)results * sizeof *c); /* the slack too */
    }
    for (int i = 0; i < 5; i++) guarded_free(&memory[i]);
}

void test_sgemm_bf16(const bert_cpu_kernels *table) {
    static const int64_t rows[] = {1, 2, 3, 5, 6, 7, 8, 9, 17}, depths[] = {1, 2, 3, 4, 5, 7, 64, 129};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int j = 0; j < LENGTHS; j++)
            for (size_t k = 0; k < sizeof depths / sizeof *depths; k++)
                widened_case(table, rows[i], lengths[j], depths[k], (int64_t)(i + k) % 2 * 5 + j % 2);
    widened_case(table, 9, 48, 2 * BERT_SGEMM_CHAIN, 0);
    widened_case(table, 3, 50, 2 * BERT_SGEMM_CHAIN + 1, 5);
}

/* With a start that is c or lies elsewhere; and a product that is cut along k has the bits of one that isn't. */
static void start_case(const bert_cpu_kernels *table, int64_t rows, int64_t steps, int64_t slack) {
    const int64_t cut = steps / 2 / BERT_BGEMM_CHAIN * BERT_BGEMM_CHAIN, depth = steps * BERT_BGEMM_STEP;
    const int64_t lda = depth + slack, ldc = BERT_BGEMM_COLUMNS + slack;
    const int64_t results = (rows - 1) * ldc + BERT_BGEMM_COLUMNS;
    bert_guarded memory[5];
    uint16_t *a = guarded_new(&memory[0], (size_t)((rows - 1) * lda + depth) * sizeof *a);
    uint16_t *b = guarded_new(&memory[1], (size_t)(depth * BERT_BGEMM_COLUMNS) * sizeof *b);
    float *c = guarded_floats(&memory[2], results), *expected = guarded_floats(&memory[3], results);
    float *start = guarded_floats(&memory[4], results);
    fill_halves(a, (rows - 1) * lda + depth, false, 7);
    fill_halves(b, depth * BERT_BGEMM_COLUMNS, false, 2000000);
    memcpy(start, expected, (size_t)results * sizeof *start);
    bert_bgemm_args args = {.c = expected, .a = a, .b = b, .ldc = ldc, .lda = lda, .rows = rows, .steps = steps};
    bert_cpu_enter(table);
    table->bgemm(&args);
    for (int apart = 0; apart < 2; apart++) {
        args.c = apart ? start : c;
        args.a = a;
        args.b = b;
        args.start = NULL;
        args.steps = cut;
        table->bgemm(&args);
        args.start = args.c;
        args.ld_start = ldc;
        args.c = c;
        args.a += cut * BERT_BGEMM_STEP;
        args.b += cut * BERT_BGEMM_STEP * BERT_BGEMM_COLUMNS;
        args.steps = steps - cut;
        table->bgemm(&args);
        assert_memory_equal(c, expected, (size_t)results * sizeof *c); /* the slack too */
    }
    bert_cpu_exit(table);
    for (int i = 0; i < 5; i++) guarded_free(&memory[i]);
}

static void multiply_case(const bert_cpu_kernels *table, int64_t rows, int64_t steps, int64_t slack, bool whole) {
    const int64_t depth = steps * BERT_BGEMM_STEP, lda = depth + slack, ldc = BERT_BGEMM_COLUMNS + slack;
    const int64_t results = (rows - 1) * ldc + BERT_BGEMM_COLUMNS;
    bert_guarded memory[4];
    uint16_t *a = guarded_new(&memory[0], (size_t)((rows - 1) * lda + depth) * sizeof *a);
    uint16_t *b = guarded_new(&memory[1], (size_t)(depth * BERT_BGEMM_COLUMNS) * sizeof *b);
    float *c = guarded_floats(&memory[2], results), *expected = guarded_floats(&memory[3], results);
    fill_halves(a, (rows - 1) * lda + depth, whole, 1);
    fill_halves(b, depth * BERT_BGEMM_COLUMNS, whole, 1000000);
    bert_bgemm_args args = {.c = expected, .a = a, .b = b, .ldc = ldc, .lda = lda, .rows = rows, .steps = steps};
    bert_cpu_kernels_scalar.bgemm(&args);
    args.c = c;
    args.fetch = (bert_fetch){.from = (const char *)b, .lines = steps, .stride = 192, .streams = 3};
    bert_cpu_enter(table);
    table->bgemm(&args);
    float alone[BERT_BGEMM_COLUMNS];
    args.a = a + (rows - 1) * lda;
    args.c = alone;
    args.rows = 1;
    table->bgemm(&args);
    bert_cpu_exit(table);
    for (int64_t row = 0; row < rows; row++) {
        const float *result = c + row * ldc, *wanted = expected + row * ldc;
        if (whole) assert_memory_equal(result, wanted, BERT_BGEMM_COLUMNS * sizeof *c);
        for (int i = 0; i < BERT_BGEMM_COLUMNS; i++)
            assert_true(fabsf(result[i] - wanted[i]) <= 1e-6F * sqrtf((float)depth) * (1.0F + fabsf(wanted[i])));
        if (row + 1 < rows) /* the slack is left alone */
            assert_memory_equal(result + BERT_BGEMM_COLUMNS, wanted + BERT_BGEMM_COLUMNS, (size_t)slack * sizeof *c);
    }
    assert_memory_equal(alone, c + (rows - 1) * ldc, sizeof alone);
    for (int i = 0; i < 4; i++) guarded_free(&memory[i]);
}

void test_bgemm(const bert_cpu_kernels *table) {
    static const int64_t rows[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 48, 49, 63, 64, 65, 81, 113, 129};
    static const int64_t steps[] = {0, 1, 2, 15, 16, 17, 33, 97, 192, 289, 384};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof steps / sizeof *steps; j++) {
            multiply_case(table, rows[i], steps[j], (int64_t)(i + j) % 2 * 3, (i + j) % 3 != 0);
            start_case(table, rows[i], steps[j], (int64_t)(i + j) % 2 * 3);
        }
}

/* ---- Float16 ----------------------------------------------------------------------------------------------------- */

void test_to_f16(const bert_cpu_kernels *table) {
    for (int at = 0; at < LENGTHS * 3; at++) {
        const int64_t n = lengths[at / 3];
        bert_guarded memory[3];
        float *x = guarded_floats(&memory[0], n);
        uint16_t *y = guarded_new(&memory[1], (size_t)n * sizeof *y);
        uint16_t *expected = guarded_new(&memory[2], (size_t)n * sizeof *y);
        fill_random(x, n, at % 3 ? 1e5F : 1e-5F, (uint32_t)at); /* beyond the range, and below its normal numbers */
        const uint32_t bits[] = {0x3f801000, 0x3f803000, 0x3f801001, 0x477fefff, 0x477ff000, 0x7f7fffff, 0xff800000,
                                 0x7fa00001, 0xffffffff, 0x33000000, 0x33000001, 0xb8800000, 0x387fffff, 0x80000000};
        for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) /* halves, limits, NaN, subnormal numbers */
            if (at % 3 == 0) memcpy(&x[(i + (size_t)at) % (size_t)n], &bits[i], sizeof *x);
        bert_to_f16_args args = {expected, x, n};
        bert_cpu_kernels_scalar.to_f16(&args);
        args.y = y;
        table->to_f16(&args);
        for (int64_t i = 0; i < n; i++) {
            if (isnan(x[i]))
                assert_true((y[i] & 0x7fff) > 0x7c00);
            else
                assert_int_equal(y[i], expected[i]);
        }
        for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
    }
}

void test_from_f16(const bert_cpu_kernels *table) {
    for (int at = 0; at < LENGTHS + 1; at++) {
        const int64_t n = at < LENGTHS ? lengths[at] : 65536;
        bert_guarded memory[3];
        uint16_t *x = guarded_new(&memory[0], (size_t)n * sizeof *x);
        float *y = guarded_floats(&memory[1], n), *expected = guarded_floats(&memory[2], n);
        for (int64_t i = 0; i < n; i++) x[i] = (uint16_t)(i * 7919 + at * 31); /* each of the 65,536 in the last turn */
        bert_from_f16_args args = {expected, x, n};
        bert_cpu_kernels_scalar.from_f16(&args);
        args.y = y;
        table->from_f16(&args);
        compare_bits(y, expected, n);
        for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
    }
}
