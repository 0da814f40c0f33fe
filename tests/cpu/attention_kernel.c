#include "tests/cpu/attention_kernel.h"

#include "tests/cpu/guarded.h"

#include <math.h>

/* Variants: how bias and mask are laid out, and what masks everything. */
enum { BIAS = 1, BIAS_ROWS = 2, BIAS_ONE = 4, MASK = 8, MASK_ROWS = 16, MASK_ALL = 32, NAN_IS_ZERO = 64 };

static void attention_case(const bert_cpu_kernels *table, int64_t rows, int64_t n, int64_t width, int variant) {
    enum { Q, KEYS, VALUES, SCORES, RESULT, EXPECTED, BIASES, BUFFERS };
    const int64_t slack = variant % 3, ldq = width + slack, ld_keys = n + slack, ld_scores = n + 2 * slack;
    const int64_t counts[BUFFERS] = {[Q] = (rows - 1) * ldq + width,
                                     [KEYS] = (width - 1) * ld_keys + n,
                                     [VALUES] = (n - 1) * ldq + width,
                                     [SCORES] = (rows - 1) * ld_scores + n,
                                     [RESULT] = (rows - 1) * ldq + width,
                                     [EXPECTED] = (rows - 1) * ldq + width,
                                     [BIASES] = variant & BIAS_ROWS  ? rows * n
                                                : variant & BIAS_ONE ? 1
                                                                     : n};
    bert_guarded memory[BUFFERS + 1];
    float *buffers[BUFFERS];
    for (int i = 0; i < BUFFERS; i++) {
        buffers[i] = guarded_floats(&memory[i], counts[i]);
        if (i != SCORES) fill_random(buffers[i], counts[i], 2.0F, (uint32_t)i);
    }
    const int64_t mask_count = variant & MASK_ROWS ? rows * n : n;
    uint8_t *mask = guarded_new(&memory[BUFFERS], (size_t)mask_count);
    for (int64_t i = 0; i < mask_count; i++) mask[i] = variant & MASK_ALL ? 0 : i % 5 != 2;
    bert_attention_args args = {.y = buffers[EXPECTED],
                                .q = buffers[Q],
                                .keys = buffers[KEYS],
                                .values = buffers[VALUES],
                                .scores = buffers[SCORES],
                                .ldy = ldq,
                                .ldq = ldq,
                                .ld_keys = ld_keys,
                                .ld_values = ldq,
                                .ld_scores = ld_scores,
                                .rows = rows,
                                .n = n,
                                .width = width,
                                .scale = 0.35F,
                                .bias = variant & BIAS ? buffers[BIASES] : NULL,
                                .bias_row_stride = variant & BIAS_ROWS ? n : 0,
                                .bias_stride = variant & BIAS_ONE && !(variant & BIAS_ROWS) ? 0 : 1,
                                .mask = variant & MASK ? mask : NULL,
                                .mask_row_stride = variant & MASK_ROWS ? n : 0,
                                .mask_stride = 1,
                                .mask_value = -INFINITY,
                                .nan_is_zero = variant & NAN_IS_ZERO};
    bert_cpu_kernels_scalar.attention(&args);
    memcpy(buffers[RESULT], buffers[EXPECTED], (size_t)counts[RESULT] * sizeof(float));
    for (int64_t row = 0; row < rows; row++) /* what is there before must not count */
        for (int64_t i = 0; i < width; i++) buffers[RESULT][row * ldq + i] = NAN;
    args.y = buffers[RESULT];
    table->attention(&args);
    const bool nothing = variant & MASK && variant & MASK_ALL;
    for (int64_t at = 0; at < counts[RESULT]; at++) {
        const float result = buffers[RESULT][at], expected = buffers[EXPECTED][at];
        if (at % ldq >= width) { /* the slack is left alone */
            assert_memory_equal(&result, &expected, sizeof result);
            continue;
        }
        if (nothing)
            assert_true(variant & NAN_IS_ZERO ? result == 0.0F : isnan(result));
        else
            assert_true(fabsf(result - expected) <= 3e-6F * (1.0F + fabsf(expected)));
    }
    /* The last row alone: the same bits. */
    float alone[128];
    const int64_t last = rows - 1;
    args.y = alone;
    args.q += last * ldq;
    if (args.bias) args.bias += last * args.bias_row_stride;
    if (args.mask) args.mask += last * args.mask_row_stride;
    args.rows = 1;
    table->attention(&args);
    assert_memory_equal(alone, buffers[RESULT] + last * ldq, (size_t)width * sizeof *alone);
    for (int i = 0; i <= BUFFERS; i++) guarded_free(&memory[i]);
}

/* Keys from `first` on alone, where those before are dropped: the bits of all keys. */
static void lead_case(const bert_cpu_kernels *table, int64_t first, int64_t n) {
    enum { Q, KEYS, VALUES, SCORES, BIAS_ROW, RESULT, EXPECTED, BUFFERS, ROW_COUNT = 5, WIDTH = 33 };
    const int64_t counts[BUFFERS] = {ROW_COUNT * WIDTH, WIDTH * n,        n * WIDTH, ROW_COUNT * n, n,
                                     ROW_COUNT * WIDTH, ROW_COUNT * WIDTH};
    bert_guarded memory[BUFFERS];
    float *buffers[BUFFERS];
    for (int i = 0; i < BUFFERS; i++) {
        buffers[i] = guarded_floats(&memory[i], counts[i]);
        fill_random(buffers[i], counts[i], 1.0F, (uint32_t)i);
    }
    for (int64_t key = 0; key < first; key++) buffers[BIAS_ROW][key] = -INFINITY;
    bert_attention_args args = {.y = buffers[EXPECTED],
                                .q = buffers[Q],
                                .keys = buffers[KEYS],
                                .values = buffers[VALUES],
                                .scores = buffers[SCORES],
                                .ldy = WIDTH,
                                .ldq = WIDTH,
                                .ld_keys = n,
                                .ld_values = WIDTH,
                                .ld_scores = n,
                                .rows = ROW_COUNT,
                                .n = n,
                                .width = WIDTH,
                                .scale = 0.2F,
                                .bias = buffers[BIAS_ROW],
                                .bias_stride = 1};
    table->attention(&args);
    args.y = buffers[RESULT];
    args.keys += first;
    args.values += first * WIDTH;
    args.bias += first;
    args.n -= first;
    args.lead = first;
    table->attention(&args);
    assert_memory_equal(buffers[RESULT], buffers[EXPECTED], (size_t)(ROW_COUNT * WIDTH) * sizeof(float));
    for (int i = 0; i < BUFFERS; i++) guarded_free(&memory[i]);
}

void test_attention(const bert_cpu_kernels *table) {
    static const int64_t rows[] = {1, 2, 3, 4, 5, 13, 48, BERT_ATTENTION_ROWS}, widths[] = {5, 32, 64};
    static const int64_t keys[] = {1, 2, 7, 16, 17, 48, 131};
    int variant = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof keys / sizeof *keys; j++)
            for (size_t k = 0; k < sizeof widths / sizeof *widths; k++)
                for (int round = 0; round < 4; round++)
                    attention_case(table, rows[i], keys[j], widths[k], variant++ % (2 * NAN_IS_ZERO));
    static const int64_t leads[] = {16, 48, 240, BERT_SGEMM_CHAIN, BERT_SGEMM_CHAIN + 16, 2 * BERT_SGEMM_CHAIN + 64};
    for (size_t i = 0; i < sizeof leads / sizeof *leads; i++) {
        lead_case(table, leads[i], leads[i] + 1);
        lead_case(table, leads[i], leads[i] + 190);
        lead_case(table, leads[i], leads[i] + 600);
    }
}
