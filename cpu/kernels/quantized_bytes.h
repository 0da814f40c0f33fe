/*
 * The integer product without VNNI for bounded panels, over the vectors (bytes_vector, of BYTE_COLUMNS columns) and the
 * shape of tiles (BERT_BYTE_ROWS, BYTE_VECTORS) that quantized_avx2.h or quantized_avx512.h brought. Included by them
 * alone, and by these alone that have the instructions of AVX2.
 *
 * Bytes are multiplied by bytes, and the four products of two steps added up in 16 bits, where bounds keep them from
 * saturating; a multiplication by ones makes 32 bits of the sums of a column. Those are five instructions for what
 * 16-bit multiply-adds (quantized_words.h) take eight for, besides widening b.
 */
#include "cpu/kernels/fetch.h"

enum { BYTE_ROWS = BERT_BYTE_ROWS, BYTE_TILE_COLUMNS = BYTE_VECTORS * BYTE_COLUMNS, EXCESS_ROWS = 4 };
/* Steps whose part of a panel stays in the first-level cache while all rows pass. Even: pairs are of one piece. */
enum { BYTE_STEPS = 256, STEP_BYTES = BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP };
_Static_assert((int)BERT_QGEMM_COLUMNS % BYTE_TILE_COLUMNS == 0, "a panel is whole tiles");
_Static_assert((int)BYTE_STEPS % 2 == 0, "steps go in pairs");

/* ---- The panel ----------------------------------------------------------------------------------------------------
 */

/* A tile of `rows` rows, a constant where this is inlined, and `steps` steps from `a` and `b` on. */
static inline __attribute__((always_inline)) void
bytes_tile(const int rows, const uint8_t *a, int64_t lda, const int8_t *b, int64_t steps, int32_t *c, bool accumulate) {
    bytes_vector sums[BYTE_ROWS][BYTE_VECTORS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < BYTE_VECTORS; j++) sums[i][j] = bytes_zero();
    for (; steps >= 2; steps -= 2) {
        bytes_vector first[BYTE_VECTORS], second[BYTE_VECTORS];
        for (int j = 0; j < BYTE_VECTORS; j++) {
            first[j] = bytes_load(b + j * BYTE_COLUMNS * BERT_QGEMM_STEP);
            second[j] = bytes_load(b + STEP_BYTES + j * BYTE_COLUMNS * BERT_QGEMM_STEP);
        }
        for (int i = 0; i < rows; i++) {
            const bytes_vector left = bytes_four(a + i * lda), right = bytes_four(a + i * lda + BERT_QGEMM_STEP);
            for (int j = 0; j < BYTE_VECTORS; j++)
                sums[i][j] = bytes_add_columns(
                    sums[i][j], bytes_add_words(bytes_multiply(left, first[j]), bytes_multiply(right, second[j])));
        }
        a += 2 * BERT_QGEMM_STEP;
        b += 2 * STEP_BYTES;
    }
    if (steps) {
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < BYTE_VECTORS; j++)
                sums[i][j] =
                    bytes_add_columns(sums[i][j], bytes_multiply(bytes_four(a + i * lda),
                                                                 bytes_load(b + j * BYTE_COLUMNS * BERT_QGEMM_STEP)));
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < BYTE_VECTORS; j++)
            bytes_store_sums(c + i * BERT_QGEMM_COLUMNS + j * BYTE_COLUMNS, sums[i][j], accumulate);
}

/* `steps` steps from `from` on, for all columns of `rows` rows: the number of rows as a constant. */
static void bytes_rows(const bert_qgemm_args *args, int64_t row, int64_t rows, int64_t column, int64_t from,
                       int64_t steps) {
    const uint8_t *a = args->a + row * args->lda + from * BERT_QGEMM_STEP;
    const int8_t *b = args->b + from * STEP_BYTES + column * BERT_QGEMM_STEP;
    int32_t *c = args->c + row * BERT_QGEMM_COLUMNS + column;
    switch (rows) {
    case 1:
        bytes_tile(1, a, args->lda, b, steps, c, from > 0);
        break;
    case 2:
        bytes_tile(2, a, args->lda, b, steps, c, from > 0);
        break;
#if BERT_BYTE_ROWS > 3
    case 3:
        bytes_tile(3, a, args->lda, b, steps, c, from > 0);
        break;
#endif
    default:
        bytes_tile(BYTE_ROWS, a, args->lda, b, steps, c, from > 0);
        break;
    }
}
_Static_assert(BERT_BYTE_ROWS == 3 || BERT_BYTE_ROWS == 4, "bytes_rows has a case for each number of rows");

/* Rows of the next tile: as many as there are, or where one would be left alone, one less. */
static int64_t bytes_rows_next(int64_t left) {
    if (left <= BYTE_ROWS) return left;
    return left == BYTE_ROWS + 1 ? BYTE_ROWS - 1 : BYTE_ROWS;
}

/* ---- The excess ---------------------------------------------------------------------------------------------------
 */

/* Adds what the columns of a group have in excess to `rows` rows of sums, a constant where this is inlined. */
static inline __attribute__((always_inline)) void excess_tile(const int rows, const bert_qgemm_args *args, int64_t row,
                                                              int group) {
    int32_t *c = args->c + row * BERT_QGEMM_COLUMNS + (int64_t)group * BERT_QGEMM_EXCESS_COLUMNS;
    __m256i sums[EXCESS_ROWS];
    for (int i = 0; i < rows; i++)
        sums[i] = _mm256_loadu_si256((const __m256i *)(const void *)(c + i * BERT_QGEMM_COLUMNS));
    const bert_qgemm_excess *pair = args->excess + args->bounds->first[group];
    for (const bert_qgemm_excess *end = args->excess + args->bounds->first[group + 1]; pair < end; pair++) {
        const __m256i first = _mm256_loadu_si256((const __m256i *)(const void *)pair->weights[0]);
        const __m256i second = _mm256_loadu_si256((const __m256i *)(const void *)pair->weights[1]);
        const uint8_t *a = args->a + row * args->lda;
        for (int i = 0; i < rows; i++, a += args->lda) {
            int32_t left, right;
            memcpy(&left, a + (int64_t)pair->steps[0] * BERT_QGEMM_STEP, sizeof left);
            memcpy(&right, a + (int64_t)pair->steps[1] * BERT_QGEMM_STEP, sizeof right);
            const __m256i words = _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_set1_epi32(left), first),
                                                   _mm256_maddubs_epi16(_mm256_set1_epi32(right), second));
            sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
        }
    }
    for (int i = 0; i < rows; i++) _mm256_storeu_si256((__m256i *)(void *)(c + i * BERT_QGEMM_COLUMNS), sums[i]);
}

static void excess_rows(const bert_qgemm_args *args, int64_t row, int64_t rows) {
    for (int group = 0; group < BERT_QGEMM_EXCESS_GROUPS; group++) {
        if (args->bounds->first[group] == args->bounds->first[group + 1]) continue;
        switch (rows) {
        case 1:
            excess_tile(1, args, row, group);
            break;
        case 2:
            excess_tile(2, args, row, group);
            break;
        case 3:
            excess_tile(3, args, row, group);
            break;
        default:
            excess_tile(EXCESS_ROWS, args, row, group);
            break;
        }
    }
}

static void qgemm_bounded(const bert_qgemm_args *args) {
    /* Lines go with the tiles. */
    const int64_t pieces = args->steps > 0 ? (args->steps - 1) / BYTE_STEPS + 1 : 1,
                  tiles = (args->rows + BYTE_ROWS - 1) / BYTE_ROWS;
    spread_fetch fetch = spread_over(&args->fetch, pieces * tiles * (BERT_QGEMM_COLUMNS / BYTE_TILE_COLUMNS));
    int64_t from = 0;
    do { /* once even where there are no steps: zeros */
        const int64_t steps = args->steps - from < BYTE_STEPS ? args->steps - from : BYTE_STEPS;
        for (int64_t column = 0; column < BERT_QGEMM_COLUMNS; column += BYTE_TILE_COLUMNS) {
            for (int64_t row = 0; row < args->rows;) {
                const int64_t rows = bytes_rows_next(args->rows - row);
                fetch_at_point(&fetch);
                bytes_rows(args, row, rows, column, from, steps);
                row += rows;
            }
        }
        from += BYTE_STEPS;
    } while (from < args->steps);
    for (int64_t row = 0; row < args->rows; row += EXCESS_ROWS)
        excess_rows(args, row, args->rows - row < EXCESS_ROWS ? args->rows - row : EXCESS_ROWS);
}

/* ---- Both ---------------------------------------------------------------------------------------------------------
 */

static void qgemm(const bert_qgemm_args *args) {
    if (args->bounds) {
        qgemm_bounded(args);
        return;
    }
    for (int64_t line = 0; line < args->fetch.lines; line++)
        fetch_turn(&args->fetch, args->fetch.from + line * BERT_FETCH_LINE);
    qgemm_words(args);
}
