/*
 * The quantized product for AVX-VNNI, the form of VNNI with 256 bits: four products of bytes are added to a 32-bit sum,
 * without saturation.
 *
 * A panel's 48 columns are done in two halves: 12 of the 16 registers are sums of 4 rows by 3 vectors of 8 columns, 3
 * hold b and 1 a row's four bytes.
 *
 * tests/cpu/test_emulated.c runs this file, compiled a second time over an emulation of the instruction.
 */
#include "cpu/kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

#include "cpu/kernels/fetch.h"

enum { VECTORS = 3, WIDTH = 8, TILE_ROWS = 4, HALF_COLUMNS = VECTORS * WIDTH };
_Static_assert(2 * HALF_COLUMNS == (int)BERT_QGEMM_COLUMNS, "a panel is two halves");

/* `rows` is a constant where this is inlined: the sums stay in registers. */
static inline __attribute__((always_inline)) void tile(const int rows, const bert_qgemm_args *args, int64_t row,
                                                       int64_t first) {
    __m256i sums[TILE_ROWS][VECTORS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < VECTORS; j++) sums[i][j] = _mm256_setzero_si256();
    const uint8_t *a = args->a + row * args->lda;
    const int8_t *b = args->b + first * BERT_QGEMM_STEP;
    for (int64_t step = 0; step < args->steps; step++) {
        __m256i right[VECTORS];
        for (int j = 0; j < VECTORS; j++)
            right[j] = _mm256_loadu_si256((const __m256i *)(const void *)(b + j * WIDTH * BERT_QGEMM_STEP));
        for (int i = 0; i < rows; i++) {
            int32_t four;
            memcpy(&four, a + i * args->lda, sizeof four);
            const __m256i left = _mm256_set1_epi32(four);
            for (int j = 0; j < VECTORS; j++) sums[i][j] = _mm256_dpbusd_avx_epi32(sums[i][j], left, right[j]);
        }
        a += BERT_QGEMM_STEP;
        b += BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP;
    }
    int32_t *c = args->c + row * BERT_QGEMM_COLUMNS + first;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < VECTORS; j++)
            _mm256_storeu_si256((__m256i *)(void *)(c + i * BERT_QGEMM_COLUMNS + j * WIDTH), sums[i][j]);
}

static void qgemm(const bert_qgemm_args *args) {
    /* Lines go with the tiles, of which there are two for every four rows. */
    const int64_t tiles = (args->rows + TILE_ROWS - 1) / TILE_ROWS * 2;
    spread_fetch fetch = spread_over(&args->fetch, tiles);
    for (int64_t first = 0; first < BERT_QGEMM_COLUMNS; first += HALF_COLUMNS) {
        for (int64_t row = 0; row < args->rows; row += TILE_ROWS) {
            fetch_at_point(&fetch);
            switch (args->rows - row) {
            case 1:
                tile(1, args, row, first);
                break;
            case 2:
                tile(2, args, row, first);
                break;
            case 3:
                tile(3, args, row, first);
                break;
            default:
                tile(TILE_ROWS, args, row, first);
                break;
            }
        }
    }
}

const bert_cpu_kernels bert_cpu_kernels_avx_vnni = {.qgemm = qgemm};
