/*
 * A product of packed panels for AVX-512: c[rows, 48] = a[rows, 4 bytes a step] times b[steps][48][4 bytes], by an
 * instruction that multiplies groups of four bytes. Included by files that define PANEL_SUM (the vector of sums),
 * PANEL_ZERO, PANEL_LOAD(place), PANEL_MULTIPLY(sum, a, b) over vectors of whole numbers, and PANEL_STORE(place, sum).
 *
 * 24 of the 32 registers are sums of 8 rows by 3 vectors, 3 hold b, 1 holds a row's four bytes: 11 loads for 24
 * products, which two ports for each keep up with.
 */
#include <immintrin.h>
#include <string.h>

#include "cpu/kernels/fetch.h"

enum { PANEL_VECTORS = 3, PANEL_ROWS = 8, PANEL_GROUP = 4, PANEL_COLUMNS = PANEL_VECTORS * 16, LINE_BYTES = 64 };
_Static_assert(PANEL_COLUMNS == (int)BERT_QGEMM_COLUMNS && PANEL_COLUMNS == (int)BERT_BGEMM_COLUMNS,
               "a panel is as wide as the tile");

/* Strides in bytes. */
typedef struct panel_product {
    char *c;
    const char *a, *b;
    int64_t ldc, lda;
    int64_t rows, steps;
    const char *start; /* what the sums begin as; NULL: zeros */
    int64_t ld_start;
    bert_fetch fetch;
    const char *y; /* rows that will be written; NULL: none */
    int64_t y_stride;
} panel_product;

/* Steps between fetches: all at once would take the line fill buffers that b comes through, too. */
enum { PANEL_PACE = 4 };

/* `rows` is a constant where these are inlined: the sums stay in registers. */
static inline __attribute__((always_inline)) void panel_step(const int rows, PANEL_SUM sums[PANEL_ROWS][PANEL_VECTORS],
                                                             const char *a, int64_t lda, const char *b) {
    __m512i right[PANEL_VECTORS];
    for (int j = 0; j < PANEL_VECTORS; j++) right[j] = _mm512_loadu_si512(b + j * LINE_BYTES);
    for (int i = 0; i < rows; i++) {
        int32_t four;
        memcpy(&four, a + i * lda, sizeof four);
        const __m512i left = _mm512_set1_epi32(four);
        for (int j = 0; j < PANEL_VECTORS; j++) sums[i][j] = PANEL_MULTIPLY(sums[i][j], left, right[j]);
    }
}

/* Every PANEL_PACE steps are a point of `fetch`, and one row of y is fetched, so that none waits for the lines of
 * another. */
static inline __attribute__((always_inline)) void panel_tile(const int rows, const panel_product *p, int64_t row,
                                                             spread_fetch *fetch) {
    PANEL_SUM sums[PANEL_ROWS][PANEL_VECTORS];
    const char *start = p->start ? p->start + row * p->ld_start : NULL;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < PANEL_VECTORS; j++)
            sums[i][j] = start ? PANEL_LOAD(start + i * p->ld_start + j * LINE_BYTES) : PANEL_ZERO;
    const char *a = p->a + row * p->lda, *b = p->b;
    const char *y = p->y ? p->y + row * p->y_stride : NULL;
    int64_t step = 0, y_left = y ? rows : 0;
    for (; step + PANEL_PACE <= p->steps; step += PANEL_PACE) {
        fetch_at_point(fetch);
        if (y_left > 0) {
            fetch_panel_row(y);
            if (--y_left > 0) y += p->y_stride;
        }
        for (int i = 0; i < PANEL_PACE; i++, a += PANEL_GROUP, b += PANEL_COLUMNS * PANEL_GROUP)
            panel_step(rows, sums, a, p->lda, b);
    }
    for (; step < p->steps; step++, a += PANEL_GROUP, b += PANEL_COLUMNS * PANEL_GROUP)
        panel_step(rows, sums, a, p->lda, b);
    char *c = p->c + row * p->ldc;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < PANEL_VECTORS; j++) PANEL_STORE(c + i * p->ldc + j * LINE_BYTES, sums[i][j]);
}

static inline void panel_multiply(const panel_product *p) {
    const int64_t strips = (p->rows + PANEL_ROWS - 1) / PANEL_ROWS;
    spread_fetch fetch = spread_over(&p->fetch, strips * (p->steps / PANEL_PACE));
    int64_t row = 0;
    for (; row + PANEL_ROWS <= p->rows; row += PANEL_ROWS) panel_tile(PANEL_ROWS, p, row, &fetch);
    switch (p->rows - row) {
#define TILE_CASE(count)                                                                                               \
    case count:                                                                                                        \
        panel_tile(count, p, row, &fetch);                                                                             \
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
