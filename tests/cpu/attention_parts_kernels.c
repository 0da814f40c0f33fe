#include "tests/cpu/attention_parts_kernels.h"

#include "core/base/float16.h"
#include "tests/cpu/guarded.h"

#include <math.h>
#include <stdlib.h>

static const int32_t all_parts[] = {1, BERT_SPLIT_PARTS};
#define COUNT(array) (int64_t)(sizeof(array) / sizeof *(array))

/* What is special to a part: zeros, halves between two bfloat16, what rounds to infinity, infinity, a NaN of ones. */
static void add_special(float *x, int64_t count) {
    static const uint32_t bits[] = {0,          0x80000000U, 0x3f808000U, 0x3f818000U, 0xbf808000U, 0x7f7fffffU,
                                    0x7f800000, 0xff800000U, 0x7fc00000U, 0xffffffffU, 0x00000001U, 0x807fffffU};
    for (int64_t i = 0; i < COUNT(bits) && i < count; i++) memcpy(&x[(i * 7919) % count], &bits[i], sizeof bits[i]);
}

static uint16_t *new_side(bert_guarded *memory, int64_t panels, int64_t k, int32_t parts) {
    return guarded_new(memory, (size_t)(panels * bert_split_tiles(k) * bert_parts_elements(parts)) * sizeof(uint16_t));
}

static void left_case(const bert_cpu_kernels *table, int64_t rows, int64_t k, int32_t parts) {
    bert_guarded memory[3];
    const int64_t ldx = k + 3, count = (rows - 1) * ldx + k;
    const size_t bytes = (size_t)(bert_split_tiles(k) * bert_parts_elements(parts)) * sizeof(uint16_t);
    float *x = guarded_floats(&memory[0], count);
    uint16_t *y = new_side(&memory[1], 1, k, parts), *expected = new_side(&memory[2], 1, k, parts);
    fill_random(x, count, 3.0F, (uint32_t)(rows + k));
    add_special(x, count);
    bert_attention_left_args args = {.y = y, .x = x, .ldx = ldx, .rows = rows, .k = k, .parts = parts};
    table->attention_left(&args);
    args.y = expected;
    bert_cpu_kernels_scalar.attention_left(&args);
    assert_memory_equal(y, expected, bytes); /* rows that x doesn't have are left alone */
    for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
}

void test_attention_left(const bert_cpu_kernels *table) {
    static const int64_t rows[] = {1, 3, 15, 16, 17, 31, 32}, k[] = {1, 15, 16, 17, 31, 32, 33, 47, 48, 64, 96, 100};
    for (int64_t i = 0; i < COUNT(rows); i++)
        for (int64_t j = 0; j < COUNT(k); j++)
            for (int64_t p = 0; p < COUNT(all_parts); p++) left_case(table, rows[i], k[j], all_parts[p]);
}

static void right_case(const bert_cpu_kernels *table, int64_t k, int64_t columns, int32_t parts, bool transposed) {
    bert_guarded memory[3];
    const int64_t rows = transposed ? columns : k, n = transposed ? k : columns, ldx = n + 5;
    const int64_t count = (rows - 1) * ldx + n, panels = bert_parts_panels(columns);
    float *x = guarded_floats(&memory[0], count);
    uint16_t *y = new_side(&memory[1], panels, k, parts), *expected = new_side(&memory[2], panels, k, parts);
    fill_random(x, count, 3.0F, (uint32_t)(columns + k));
    add_special(x, count);
    bert_attention_right_args args = {
        .y = y, .x = x, .ldx = ldx, .k = k, .columns = columns, .parts = parts, .transposed = transposed};
    table->attention_right(&args);
    args.y = expected;
    bert_cpu_kernels_scalar.attention_right(&args);
    assert_memory_equal(y, expected,
                        (size_t)(panels * bert_split_tiles(k) * bert_parts_elements(parts)) * sizeof(uint16_t));
    for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
}

void test_attention_right(const bert_cpu_kernels *table) {
    static const int64_t sizes[] = {1, 15, 16, 17, 31, 32, 33, 48, 63, 64, 100};
    for (int64_t i = 0; i < COUNT(sizes); i++)
        for (int64_t j = 0; j < COUNT(sizes); j++)
            for (int variant = 0; variant < 4; variant++)
                right_case(table, sizes[i], sizes[j], all_parts[variant / 2], variant % 2);
}

static float rounded(float x) {
    return bert_bfloat16_to_float(bert_float_to_bfloat16(x));
}

/* Sides made by the scalar kernels; the first row alone, by the first columns alone, has the same bits. */
static void multiply_case(const bert_cpu_kernels *table, int64_t rows, int64_t columns, int64_t k, int32_t parts) {
    enum { A, B, C, FLOATS };
    const int64_t room = (rows + 15) / 16 * 16, ldc = (columns + 15) / 16 * 16 + 7;
    const int64_t counts[FLOATS] = {rows * k, k * columns, (room - 1) * ldc + (columns + 15) / 16 * 16};
    bert_guarded memory[FLOATS + 2];
    float *x[FLOATS];
    for (int i = 0; i < FLOATS; i++) {
        x[i] = guarded_floats(&memory[i], counts[i]);
        fill_random(x[i], counts[i], 1.0F, (uint32_t)(i + rows));
    }
    uint16_t *a = new_side(&memory[FLOATS], 1, k, parts);
    uint16_t *b = new_side(&memory[FLOATS + 1], bert_parts_panels(columns), k, parts);
    bert_cpu_kernels_scalar.attention_left(
        &(bert_attention_left_args){.y = a, .x = x[A], .ldx = k, .rows = rows, .k = k, .parts = parts});
    bert_cpu_kernels_scalar.attention_right(
        &(bert_attention_right_args){.y = b, .x = x[B], .ldx = columns, .k = k, .columns = columns, .parts = parts});
    bert_attention_multiply_args args = {.c = x[C],
                                         .a = a,
                                         .b = b,
                                         .ldc = ldc,
                                         .b_stride = bert_split_tiles(k) * bert_parts_elements(parts),
                                         .rows = rows,
                                         .columns = columns,
                                         .tiles = bert_split_tiles(k),
                                         .parts = parts};
    bert_cpu_enter(table);
    table->attention_multiply(&args);
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t column = 0; column < columns; column++) {
            double sum = 0.0, size = 0.0;
            for (int64_t step = 0; step < k; step++) {
                const float left = x[A][row * k + step], right = x[B][step * columns + column];
                const double term =
                    parts == 1 ? (double)rounded(left) * (double)rounded(right) : (double)left * (double)right;
                sum += term;
                size += fabs(term);
            }
            assert_true(fabs((double)x[C][row * ldc + column] - sum) <= 1e-6 * (size + 1e-3));
        }
    }
    float *alone = calloc((size_t)(16 * ldc), sizeof *alone);
    assert_non_null(alone);
    args.c = alone;
    args.rows = 1;
    args.columns = (columns + 1) / 2;
    table->attention_multiply(&args);
    bert_cpu_exit(table);
    assert_memory_equal(alone, x[C], (size_t)args.columns * sizeof *alone);
    free(alone);
    for (int i = 0; i < FLOATS + 2; i++) guarded_free(&memory[i]);
}

void test_attention_multiply(const bert_cpu_kernels *table) {
    static const int64_t rows[] = {1, 8, 9, 16, 17, 32}, columns[] = {1, 16, 17, 32, 33, 48, 100};
    static const int64_t k[] = {1, 32, 33, 64, 131};
    for (int64_t i = 0; i < COUNT(rows); i++)
        for (int64_t j = 0; j < COUNT(columns); j++)
            for (int64_t l = 0; l < COUNT(k); l++)
                for (int64_t p = 0; p < COUNT(all_parts); p++)
                    multiply_case(table, rows[i], columns[j], k[l], all_parts[p]);
}

/* What the parts of a left side's element add up to. */
static double element_of(const uint16_t *side, int64_t row, int64_t step, int32_t parts) {
    const uint16_t *place = side + step / BERT_SPLIT_STEPS * bert_parts_elements(parts) + row * 32 + step % 16 * 2 +
                            step % BERT_SPLIT_STEPS / 16;
    double sum = 0.0;
    for (int32_t part = 0; part < parts; part++)
        sum += (double)bert_bfloat16_to_float(place[(int64_t)part * BERT_PARTS_NEXT]);
    return sum;
}

enum { BIASED = 1, MASKED = 2, ALL_MASKED = 4, FAR = 8, VARIANTS = 16 };

/* A score that was scaled, biased and masked. */
static double score_of(const bert_attention_args *attention, float x, int64_t key) {
    if (attention->mask && !attention->mask[key]) return (double)attention->mask_value;
    return (double)(x * attention->scale + (attention->bias ? attention->bias[key] : 0.0F));
}

/* Scores of which some are so far below that they, or parts of them, would be subnormal. */
static void probabilities_case(const bert_cpu_kernels *table, int64_t rows, int64_t n, int32_t parts, int variant) {
    enum { SCORES, BIAS, ORIGINAL, FLOATS };
    const int64_t ld = n + 3, counts[FLOATS] = {(rows - 1) * ld + n, n, (rows - 1) * ld + n};
    bert_guarded memory[FLOATS + 3];
    float *x[FLOATS];
    for (int i = 0; i < FLOATS; i++) {
        x[i] = guarded_floats(&memory[i], counts[i]);
        fill_random(x[i], counts[i], variant & FAR ? 150.0F : 4.0F, (uint32_t)(i + n));
    }
    memcpy(x[SCORES], x[ORIGINAL], (size_t)counts[SCORES] * sizeof(float));
    uint8_t *mask = guarded_new(&memory[FLOATS], (size_t)n);
    for (int64_t i = 0; i < n; i++) mask[i] = !(variant & ALL_MASKED) && i % 5 != 2;
    uint16_t *y = new_side(&memory[FLOATS + 1], 1, n, parts);
    float *totals = guarded_floats(&memory[FLOATS + 2], rows);
    const bert_attention_args attention = {.scores = x[SCORES],
                                           .ld_scores = ld,
                                           .rows = rows,
                                           .n = n,
                                           .scale = 0.5F,
                                           .bias = variant & BIASED ? x[BIAS] : NULL,
                                           .bias_stride = 1,
                                           .mask = variant & MASKED ? mask : NULL,
                                           .mask_stride = 1,
                                           .mask_value = variant & ALL_MASKED ? -INFINITY : -1000.0F};
    table->attention_probabilities(
        &(bert_attention_probabilities_args){.y = y, .totals = totals, .attention = &attention, .parts = parts});
    const double error = parts == 1 ? 0x1p-8 : 4e-7;
    for (int64_t row = 0; row < rows; row++) {
        double *scores = malloc((size_t)n * sizeof *scores), most = -INFINITY, total = 0.0;
        assert_non_null(scores);
        for (int64_t i = 0; i < n; i++) scores[i] = score_of(&attention, x[ORIGINAL][row * ld + i], i);
        for (int64_t i = 0; i < n; i++)
            if (scores[i] > most) most = scores[i];
        for (int64_t i = 0; i < bert_split_tiles(n) * BERT_SPLIT_STEPS; i++) {
            const double expected = i < n ? exp(scores[i] - most) : 0.0, value = element_of(y, row, i, parts);
            total += expected;
            if (i < n && variant & MASKED && variant & ALL_MASKED) {
                assert_true(isnan(value));
                continue;
            }
            /* A product of scale and bias is rounded once or twice. */
            const double slack = error + (variant & FAR ? 2e-5 : 1e-6);
            assert_true(fabs(value - expected) <= expected * slack || (value == 0.0 && expected < 0x1.01p-99));
            assert_true(value == 0.0 || value >= 0x1p-101); /* no part is subnormal */
        }
        if (isnan(total))
            assert_true(isnan(totals[row]));
        else
            assert_true(fabs((double)totals[row] - total) <= 3e-5 * total);
        free(scores);
    }
    for (int i = 0; i < FLOATS + 3; i++) guarded_free(&memory[i]);
}

void test_attention_probabilities(const bert_cpu_kernels *table) {
    static const int64_t rows[] = {1, 4, 5, 16, 19, 32}, n[] = {1, 7, 16, 17, 31, 32, 33, 50, 131};
    int variant = 0;
    for (int64_t i = 0; i < COUNT(rows); i++)
        for (int64_t j = 0; j < COUNT(n); j++)
            for (int round = 0; round < 2 * 3; round++)
                probabilities_case(table, rows[i], n[j], all_parts[round % 2], variant++ * 7 % VARIANTS);
}

static void divide_case(const bert_cpu_kernels *table, int64_t rows, int64_t width) {
    const int64_t ldx = width + 9, ldy = width + 2;
    bert_guarded memory[3];
    float *x = guarded_floats(&memory[0], (rows - 1) * ldx + width);
    float *y = guarded_floats(&memory[1], (rows - 1) * ldy + width), *totals = guarded_floats(&memory[2], rows);
    uint8_t left_out[BERT_PARTS_ROWS];
    fill_random(x, (rows - 1) * ldx + width, 2.0F, (uint32_t)width);
    for (int64_t row = 0; row < rows; row++) totals[row] = row % 4 == 1 ? NAN : 0.5F + (float)row;
    for (int64_t row = 2; row < rows; row += 4) x[row * ldx + row % width] = row % 8 == 2 ? INFINITY : NAN;
    memset(y, GUARD_PATTERN, (size_t)((rows - 1) * ldy + width) * sizeof *y);
    table->attention_divide(&(bert_attention_divide_args){
        .y = y, .x = x, .totals = totals, .left_out = left_out, .ldy = ldy, .ldx = ldx, .rows = rows, .width = width});
    for (int64_t row = 0; row < rows; row++) {
        assert_int_equal(left_out[row], row % 4 == 1 || row % 4 == 2);
        for (int64_t i = 0; i < ldy && row * ldy + i < (rows - 1) * ldy + width; i++) {
            const float value = y[row * ldy + i];
            if (i >= width)
                assert_int_equal(((const unsigned char *)&value)[0], GUARD_PATTERN);
            else if (!left_out[row])
                assert_true(fabsf(value - x[row * ldx + i] / totals[row]) <= 2e-7F * fabsf(value));
        }
    }
    for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
}

void test_attention_divide(const bert_cpu_kernels *table) {
    static const int64_t rows[] = {1, 2, 3, 7, 32}, widths[] = {1, 15, 16, 17, 48, 64, 100};
    for (int64_t i = 0; i < COUNT(rows); i++)
        for (int64_t j = 0; j < COUNT(widths); j++) divide_case(table, rows[i], widths[j]);
}
