/*
 * Attention's products of bfloat16 for AMX: 32 rows by 32 columns are four sums, two tiles of each side hold what is
 * multiplied. A part stays for all the products that want it, so three parts load 14 tiles for 24 products, and the
 * rows' share of them comes from the first-level cache. A row's sums are added up in the same order whatever rows and
 * columns it is computed with. Included by amx.c alone.
 */
#ifndef BERT_CPU_KERNELS_AMX_ATTENTION_H
#define BERT_CPU_KERNELS_AMX_ATTENTION_H

#define ATTENTION_LOAD_A(ROWS, PART)                                                                                   \
    do {                                                                                                               \
        _tile_loadd(4, a + (PART)*BERT_PARTS_NEXT, TILE_BYTES);                                                        \
        if ((ROWS) > 1) _tile_loadd(5, a + (PART)*BERT_PARTS_NEXT + BERT_SPLIT_TILE, TILE_BYTES);                      \
    } while (0)

#define ATTENTION_LOAD_B(COLUMNS, PART)                                                                                \
    do {                                                                                                               \
        _tile_loadd(6, b + (PART)*BERT_PARTS_NEXT, TILE_BYTES);                                                        \
        if ((COLUMNS) > 1) _tile_loadd(7, b + (PART)*BERT_PARTS_NEXT + BERT_SPLIT_TILE, TILE_BYTES);                   \
    } while (0)

/* Sums 0 and 1 are those of the first 16 rows, 2 and 3 of the second. */
#define ATTENTION_PRODUCTS(ROWS, COLUMNS)                                                                              \
    do {                                                                                                               \
        _tile_dpbf16ps(0, 4, 6);                                                                                       \
        if ((COLUMNS) > 1) _tile_dpbf16ps(1, 4, 7);                                                                    \
        if ((ROWS) > 1) _tile_dpbf16ps(2, 5, 6);                                                                       \
        if ((ROWS) > 1 && (COLUMNS) > 1) _tile_dpbf16ps(3, 5, 7);                                                      \
    } while (0)

#define ATTENTION_STORE(ROWS, COLUMNS)                                                                                 \
    do {                                                                                                               \
        _tile_stored(0, c, ldc);                                                                                       \
        if ((COLUMNS) > 1) _tile_stored(1, c + 16, ldc);                                                               \
        if ((ROWS) > 1) _tile_stored(2, c + 16 * args->ldc, ldc);                                                      \
        if ((ROWS) > 1 && (COLUMNS) > 1) _tile_stored(3, c + 16 * args->ldc + 16, ldc);                                \
    } while (0)

/* One panel of b by ROWS tiles of rows and COLUMNS of columns. What two pairs of parts one after the other have in
 * common stays; the loop over pairs is unrolled, so that which it is costs nothing. */
#define DEFINE_ATTENTION_PANEL(ROWS, COLUMNS)                                                                          \
    static inline __attribute__((always_inline)) void attention_tiles_##ROWS##x##COLUMNS(                              \
        const int32_t parts, int64_t tiles, const uint16_t *a, const uint16_t *b) {                                    \
        for (int64_t tile = 0; tile < tiles;                                                                           \
             tile++, a += bert_parts_elements(parts), b += bert_parts_elements(parts)) {                               \
            bert_parts_pair there = {-1, -1};                                                                          \
            _Pragma("GCC unroll 6") for (int32_t i = 0; i < bert_parts_products(parts); i++) {                         \
                const bert_parts_pair pair = bert_parts_pair_at(parts, i);                                             \
                if (pair.a != there.a) ATTENTION_LOAD_A(ROWS, pair.a);                                                 \
                if (pair.b != there.b) ATTENTION_LOAD_B(COLUMNS, pair.b);                                              \
                ATTENTION_PRODUCTS(ROWS, COLUMNS);                                                                     \
                there = pair;                                                                                          \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
                                                                                                                       \
    static void attention_##ROWS##x##COLUMNS(const bert_attention_multiply_args *args, const uint16_t *b, float *c) {  \
        const int64_t ldc = args->ldc * (int64_t)sizeof *c;                                                            \
        _tile_zero(0);                                                                                                 \
        if ((COLUMNS) > 1) _tile_zero(1);                                                                              \
        if ((ROWS) > 1) _tile_zero(2);                                                                                 \
        if ((ROWS) > 1 && (COLUMNS) > 1) _tile_zero(3);                                                                \
        if (args->parts == 1)                                                                                          \
            attention_tiles_##ROWS##x##COLUMNS(1, args->tiles, args->a, b);                                            \
        else                                                                                                           \
            attention_tiles_##ROWS##x##COLUMNS(BERT_SPLIT_PARTS, args->tiles, args->a, b);                             \
        ATTENTION_STORE(ROWS, COLUMNS);                                                                                \
    }

DEFINE_ATTENTION_PANEL(1, 1)
DEFINE_ATTENTION_PANEL(1, 2)
DEFINE_ATTENTION_PANEL(2, 1)
DEFINE_ATTENTION_PANEL(2, 2)

static void attention_multiply(const bert_attention_multiply_args *args) {
    publish(args);
    for (int64_t column = 0; column < args->columns; column += BERT_PARTS_COLUMNS) {
        const uint16_t *b = args->b + column / BERT_PARTS_COLUMNS * args->b_stride;
        float *c = args->c + column;
        const bool whole = args->columns - column > 16;
        if (args->rows > TILE_ROWS)
            (whole ? attention_2x2 : attention_2x1)(args, b, c);
        else
            (whole ? attention_1x2 : attention_1x1)(args, b, c);
    }
    publish(args->c);
}

#endif
