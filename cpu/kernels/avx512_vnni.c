/* The quantized product for AVX-512 VNNI: four products of bytes are added to a 32-bit sum, without saturation. */
#include "cpu/kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

enum { VECTORS = 3, TILE_ROWS = 8, LINE_BYTES = 64 };
_Static_assert(VECTORS * 16 == BERT_QGEMM_COLUMNS, "a panel is as wide as the tile");

/* `rows` is a constant where this is inlined: the sums stay in registers. `per_step` lines are fetched at each step. */
static inline __attribute__((always_inline)) void tile(const int rows, const bert_qgemm_args *args, int64_t row,
                                                       const char *prefetch, int64_t per_step) {
    __m512i sums[TILE_ROWS][VECTORS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < VECTORS; j++) sums[i][j] = _mm512_setzero_si512();
    const uint8_t *a = args->a + row * args->lda;
    const int8_t *b = args->b;
    for (int64_t step = 0; step < args->steps; step++) {
        __m512i right[VECTORS];
        for (int j = 0; j < VECTORS; j++) right[j] = _mm512_loadu_si512(b + j * 16 * BERT_QGEMM_STEP);
        for (int i = 0; i < rows; i++) {
            int32_t four;
            memcpy(&four, a + i * args->lda, sizeof four);
            const __m512i left = _mm512_set1_epi32(four);
            for (int j = 0; j < VECTORS; j++) sums[i][j] = _mm512_dpbusd_epi32(sums[i][j], left, right[j]);
        }
        for (int64_t line = 0; line < per_step; line++, prefetch += LINE_BYTES) _mm_prefetch(prefetch, _MM_HINT_T1);
        a += BERT_QGEMM_STEP;
        b += BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP;
    }
    int32_t *c = args->c + row * BERT_QGEMM_COLUMNS;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < VECTORS; j++) _mm512_storeu_si512(c + i * BERT_QGEMM_COLUMNS + j * 16, sums[i][j]);
}

static void qgemm(const bert_qgemm_args *args) {
    const int64_t strips = (args->rows + TILE_ROWS - 1) / TILE_ROWS, all = strips * args->steps;
    const int64_t per_step = args->prefetch && all > 0 ? (args->prefetch_lines + all - 1) / all : 0;
    const char *prefetch = args->prefetch;
    int64_t row = 0;
    for (; row + TILE_ROWS <= args->rows; row += TILE_ROWS) {
        const bool fetch = per_step > 0 && prefetch < (const char *)args->prefetch + args->prefetch_lines * LINE_BYTES;
        tile(TILE_ROWS, args, row, prefetch, fetch ? per_step : 0);
        if (fetch) prefetch += per_step * args->steps * LINE_BYTES;
    }
    switch (args->rows - row) {
#define TILE_CASE(count)                                                                                               \
    case count:                                                                                                        \
        tile(count, args, row, prefetch, per_step);                                                                    \
        break;
        TILE_CASE(1)
        TILE_CASE(2)
        TILE_CASE(3)
        TILE_CASE(4)
        TILE_CASE(5)
        TILE_CASE(6)
        TILE_CASE(7)
#undef TILE_CASE
    default:
        break;
    }
}

const bert_cpu_kernels bert_cpu_kernels_avx512_vnni = {.qgemm = qgemm};
