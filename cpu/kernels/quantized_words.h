/*
 * The integer product without VNNI for panels that aren't bounded, over the words_tile and the shape of tiles
 * (WORD_ROWS, WORD_VECTORS, WORD_COLUMNS, WORD_STEPS) that quantized_avx2.h or quantized_avx512.h brought. Included by
 * them alone.
 */
enum { WORD_TILE_COLUMNS = WORD_VECTORS * WORD_COLUMNS };
_Static_assert((int)BERT_QGEMM_COLUMNS % WORD_TILE_COLUMNS == 0, "a panel is whole tiles");
_Static_assert(WORD_ROWS == 4 || WORD_ROWS == 6, "words_rows has a case for each number of rows");

/* The number of rows as a constant, so that each has loops of its own. */
static inline __attribute__((always_inline)) void words_rows(int64_t rows, const int16_t *words, const int8_t *b,
                                                             int64_t steps, int32_t *c, bool accumulate) {
    switch (rows) {
    case 1:
        words_tile(1, words, b, steps, c, accumulate);
        break;
    case 2:
        words_tile(2, words, b, steps, c, accumulate);
        break;
    case 3:
        words_tile(3, words, b, steps, c, accumulate);
        break;
#if BERT_WORD_ROWS > 4
    case 4:
        words_tile(4, words, b, steps, c, accumulate);
        break;
    case 5:
        words_tile(5, words, b, steps, c, accumulate);
        break;
#endif
    default:
        words_tile(WORD_ROWS, words, b, steps, c, accumulate);
        break;
    }
}

/* `steps` steps of up to WORD_ROWS rows from `from` on. */
static void words_piece(const bert_qgemm_args *args, int64_t row, int64_t rows, int64_t from, int64_t steps) {
    _Alignas(64) int16_t words[WORD_ROWS * WORD_STEPS * BERT_QGEMM_STEP];
    for (int64_t i = 0; i < rows; i++) {
        const uint8_t *a = args->a + (row + i) * args->lda + from * BERT_QGEMM_STEP;
        int16_t *out = words + i * WORD_STEPS * BERT_QGEMM_STEP;
        for (int64_t p = 0; p < steps * BERT_QGEMM_STEP; p++) out[p] = a[p];
    }
    for (int64_t first = 0; first < BERT_QGEMM_COLUMNS; first += WORD_TILE_COLUMNS)
        words_rows(rows, words, args->b + (from * BERT_QGEMM_COLUMNS + first) * BERT_QGEMM_STEP, steps,
                   args->c + row * BERT_QGEMM_COLUMNS + first, from > 0);
}

static void qgemm_words(const bert_qgemm_args *args) {
    /* A piece of the panel, 24 KB, stays in the first-level cache while all rows pass. */
    int64_t from = 0;
    do { /* once even where there are no steps: zeros */
        const int64_t steps = args->steps - from < WORD_STEPS ? args->steps - from : WORD_STEPS;
        for (int64_t row = 0; row < args->rows; row += WORD_ROWS)
            words_piece(args, row, args->rows - row < WORD_ROWS ? args->rows - row : WORD_ROWS, from, steps);
        from += WORD_STEPS;
    } while (from < args->steps);
}
