/*
 * The product of bfloat16 for AVX-512 BF16: pairs of products are added to a float32 sum.
 *
 * tests/cpu/test_emulated.c runs this file, compiled a second time over an emulation of the instruction.
 */
#define PANEL_SUM __m512
#define PANEL_ZERO _mm512_setzero_ps()
#define PANEL_LOAD(place) _mm512_loadu_ps(place)
#define PANEL_MULTIPLY(sum, a, b) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
#define PANEL_STORE(place, sum) _mm512_storeu_ps(place, sum)
#include "cpu/kernels/panel_avx512.h"

static void bgemm(const bert_bgemm_args *args) {
    panel_multiply(&(panel_product){.c = (char *)args->c,
                                    .a = (const char *)args->a,
                                    .b = (const char *)args->b,
                                    .ldc = args->ldc * (int64_t)sizeof *args->c,
                                    .lda = args->lda * (int64_t)sizeof *args->a,
                                    .rows = args->rows,
                                    .steps = args->steps,
                                    .start = (const char *)args->start,
                                    .ld_start = args->ld_start * (int64_t)sizeof *args->start,
                                    .fetch = args->fetch});
}

/* Rows of a tile whose sums, of 32 columns each, stay in registers. */
enum { ATTENTION_ROWS = 8 };

/* One product of parts: 32 steps of a and of b. */
static inline __attribute__((always_inline)) void attention_tile(__m512 sums[ATTENTION_ROWS][2], const uint16_t *a,
                                                                 const uint16_t *b) {
    for (int pair = 0; pair < BERT_SPLIT_STEPS / 2; pair++, a += 2, b += 32) {
        const __m512i right[2] = {_mm512_loadu_si512(b), _mm512_loadu_si512(b + BERT_SPLIT_TILE)};
#pragma GCC unroll 8
        for (int i = 0; i < ATTENTION_ROWS; i++) {
            int32_t two;
            memcpy(&two, a + i * 32, sizeof two);
            for (int j = 0; j < 2; j++) sums[i][j] = PANEL_MULTIPLY(sums[i][j], _mm512_set1_epi32(two), right[j]);
        }
    }
}

/* Eight rows of a tile by one panel, or by the `second` half of it as well. */
static void attention_rows(const bert_attention_multiply_args *args, bool second, const uint16_t *a, const uint16_t *b,
                           float *c) {
    __m512 sums[ATTENTION_ROWS][2];
    for (int i = 0; i < ATTENTION_ROWS; i++) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
    for (int64_t tile = 0; tile < args->tiles; tile++) {
        for (int32_t i = 0; i < bert_parts_products(args->parts); i++) {
            const bert_parts_pair pair = bert_parts_pair_at(args->parts, i);
            attention_tile(sums, a + pair.a * BERT_PARTS_NEXT, b + pair.b * BERT_PARTS_NEXT);
        }
        a += bert_parts_elements(args->parts);
        b += bert_parts_elements(args->parts);
    }
    for (int i = 0; i < ATTENTION_ROWS; i++) _mm512_storeu_ps(c + i * args->ldc, sums[i][0]);
    if (second)
        for (int i = 0; i < ATTENTION_ROWS; i++) _mm512_storeu_ps(c + i * args->ldc + 16, sums[i][1]);
}

static void attention_multiply(const bert_attention_multiply_args *args) {
    for (int64_t row = 0; row < args->rows; row += ATTENTION_ROWS) {
        const uint16_t *a = args->a + row * 32;
        for (int64_t column = 0; column < args->columns; column += BERT_PARTS_COLUMNS)
            attention_rows(args, args->columns - column > 16, a, args->b + column / BERT_PARTS_COLUMNS * args->b_stride,
                           args->c + row * args->ldc + column);
    }
}

const bert_cpu_kernels bert_cpu_kernels_avx512_bf16 = {.bgemm = bgemm, .attention_multiply = attention_multiply};
