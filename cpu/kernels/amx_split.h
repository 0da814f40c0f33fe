/*
 * Products of split float32 for AMX: six products of bfloat16 for one of float32. Two tiles of rows and up to three of
 * columns are six sums; the two tiles that are left hold what is multiplied. So 42 tiles are loaded for 36 products,
 * most of them from the first-level cache: 15 KB of each 32 steps come from the second one. Everything is read in the
 * order in which it lies. One tile of rows has three sums, and loads 12 tiles for 18 products.
 *
 * A pass takes all steps, its sums go to scratch and from there, after the next pass, to c: what a tile store wrote is
 * in the cache by then. Meanwhile another panel is split: a few pairs after each six products. Included by amx.c alone.
 */
#ifndef BERT_CPU_KERNELS_AMX_SPLIT_H
#define BERT_CPU_KERNELS_AMX_SPLIT_H

_Static_assert(LDB == BERT_SPLIT_COLUMNS * sizeof(float), "a row of sums");

/* Sums of one pass, [rows][BERT_SPLIT_COLUMNS]. */
typedef struct split_sums {
    _Alignas(TILE_BYTES) float values[BERT_SPLIT_ROWS][BERT_SPLIT_COLUMNS];
} split_sums;

/* Pairs [next, end) of the other panel, `count` at a time. */
typedef struct split_ahead {
    const bert_sgemm_split_args *args;
    int64_t next, end, count, ring;
} split_ahead;

static inline void split_some(split_ahead *ahead, int64_t end, int64_t count) {
    if (ahead->next >= end) return;
    bert_split_panel_args part = *ahead->args->ahead;
    part.first = ahead->next;
    part.end = end - ahead->next < count ? end : ahead->next + count;
    ahead->next = part.end;
    ahead->args->split_panel(&part);
    publish(part.y);
}

/* Pairs of a tile, the fewest that are worth a call, and the calls of split_some while a tile is multiplied. */
enum { PAIRS = BERT_SPLIT_STEPS / 2, LEAST_PAIRS = 2, CALLS = 6 };

/* Pairs may be split up to here while tile `tile` is multiplied: in a ring the place of that tile is taken. */
static inline int64_t split_end(const split_ahead *ahead, int64_t tile) {
    const int64_t end = (tile + ahead->ring) * PAIRS;
    return ahead->ring && end < ahead->end ? end : ahead->end;
}

/* All of a ring's places but one, before the first tile is multiplied. */
static inline void split_ring(split_ahead *ahead) {
    const int64_t pairs = (ahead->ring - 1) * PAIRS;
    if (ahead->ring) split_some(ahead, pairs < ahead->end ? pairs : ahead->end, pairs);
}

/* The places of parts in a group of rows and in a panel. */
enum { A_LOW, A_MIDDLE, A_HIGH, B_HIGH = 0, B_MIDDLE, B_LOW };

/*
 * One part of a and one of b, two tiles of rows and COLUMNS of columns. Sums 0 to 2 are those of the first row, 3 to 5
 * of the second.
 */
#define SPLIT_PART(COLUMNS, A_PART, B_PART)                                                                            \
    do {                                                                                                               \
        const uint16_t *a_part = a + (A_PART)*2 * BERT_SPLIT_TILE, *a_second = a_part + BERT_SPLIT_TILE;               \
        const uint16_t *b_part = b + (B_PART) * (COLUMNS)*BERT_SPLIT_TILE;                                             \
        _tile_loadd(6, a_part, TILE_BYTES);                                                                            \
        _tile_loadd(7, b_part, TILE_BYTES);                                                                            \
        _tile_dpbf16ps(0, 6, 7);                                                                                       \
        _tile_loadd(6, a_second, TILE_BYTES);                                                                          \
        _tile_dpbf16ps(3, 6, 7);                                                                                       \
        if ((COLUMNS) > 1) {                                                                                           \
            _tile_loadd(7, b_part + BERT_SPLIT_TILE, TILE_BYTES);                                                      \
            _tile_dpbf16ps(4, 6, 7);                                                                                   \
            _tile_loadd(6, a_part, TILE_BYTES);                                                                        \
            _tile_dpbf16ps(1, 6, 7);                                                                                   \
        }                                                                                                              \
        if ((COLUMNS) > 2) {                                                                                           \
            _tile_loadd(7, b_part + 2 * BERT_SPLIT_TILE, TILE_BYTES);                                                  \
            _tile_dpbf16ps(2, 6, 7);                                                                                   \
            _tile_loadd(6, a_second, TILE_BYTES);                                                                      \
            _tile_dpbf16ps(5, 6, 7);                                                                                   \
        }                                                                                                              \
    } while (0)

#define SPLIT_STORE(NUMBER, ROW, COLUMN) _tile_stored(NUMBER, &sums->values[ROW][(COLUMN)*16], LDB)

/* Products come in the same order in every pass: what a part of b is multiplied with, part after part. */
#define DEFINE_SPLIT_PASS(COLUMNS)                                                                                     \
    static void split_2x##COLUMNS(const bert_sgemm_split_args *args, const uint16_t *a, split_sums *sums,              \
                                  split_ahead *ahead) {                                                                \
        const int64_t mask = bert_split_ring_mask(ahead->ring);                                                        \
        split_ring(ahead);                                                                                             \
        _tile_zero(0);                                                                                                 \
        _tile_zero(1);                                                                                                 \
        _tile_zero(2);                                                                                                 \
        _tile_zero(3);                                                                                                 \
        _tile_zero(4);                                                                                                 \
        _tile_zero(5);                                                                                                 \
        for (int64_t tile = 0; tile < args->tiles; tile++) {                                                           \
            const uint16_t *b = args->b + (tile & mask) * (COLUMNS)*BERT_SPLIT_PARTS * BERT_SPLIT_TILE;                \
            const int64_t end = split_end(ahead, tile);                                                                \
            SPLIT_PART(COLUMNS, A_LOW, B_HIGH);                                                                        \
            split_some(ahead, end, ahead->count);                                                                      \
            SPLIT_PART(COLUMNS, A_MIDDLE, B_HIGH);                                                                     \
            split_some(ahead, end, ahead->count);                                                                      \
            SPLIT_PART(COLUMNS, A_HIGH, B_HIGH);                                                                       \
            split_some(ahead, end, ahead->count);                                                                      \
            SPLIT_PART(COLUMNS, A_MIDDLE, B_MIDDLE);                                                                   \
            split_some(ahead, end, ahead->count);                                                                      \
            SPLIT_PART(COLUMNS, A_HIGH, B_MIDDLE);                                                                     \
            split_some(ahead, end, ahead->count);                                                                      \
            SPLIT_PART(COLUMNS, A_HIGH, B_LOW);                                                                        \
            split_some(ahead, end, ahead->count);                                                                      \
            a += BERT_SPLIT_GROUP_TILE;                                                                                \
        }                                                                                                              \
        SPLIT_STORE(0, 0, 0);                                                                                          \
        if ((COLUMNS) > 1) SPLIT_STORE(1, 0, 1);                                                                       \
        if ((COLUMNS) > 2) SPLIT_STORE(2, 0, 2);                                                                       \
        SPLIT_STORE(3, 16, 0);                                                                                         \
        if ((COLUMNS) > 1) SPLIT_STORE(4, 16, 1);                                                                      \
        if ((COLUMNS) > 2) SPLIT_STORE(5, 16, 2);                                                                      \
        publish(sums);                                                                                                 \
    }

/*
 * One tile of rows: its parts stay in tiles 3 (low), 4 (middle) and 5 (high), so that each tile of b is loaded once.
 * Products of one sum wait for each other, so those of two columns take turns.
 */
#define SPLIT_LOAD_B(NUMBER, COLUMNS, B_PART, COLUMN)                                                                  \
    _tile_loadd(NUMBER, b + ((B_PART) * (COLUMNS) + (COLUMN)) * BERT_SPLIT_TILE, TILE_BYTES)

#define DEFINE_SPLIT_ROW_PASS(COLUMNS)                                                                                 \
    static void split_1x##COLUMNS(const bert_sgemm_split_args *args, const uint16_t *a, split_sums *sums,              \
                                  split_ahead *ahead) {                                                                \
        const int64_t mask = bert_split_ring_mask(ahead->ring);                                                        \
        split_ring(ahead);                                                                                             \
        _tile_zero(0);                                                                                                 \
        _tile_zero(1);                                                                                                 \
        _tile_zero(2);                                                                                                 \
        for (int64_t tile = 0; tile < args->tiles; tile++) {                                                           \
            const uint16_t *b = args->b + (tile & mask) * (COLUMNS)*BERT_SPLIT_PARTS * BERT_SPLIT_TILE;                \
            const int64_t end = split_end(ahead, tile);                                                                \
            _tile_loadd(3, a + A_LOW * 2 * BERT_SPLIT_TILE, TILE_BYTES);                                               \
            SPLIT_LOAD_B(6, COLUMNS, B_HIGH, 0);                                                                       \
            _tile_dpbf16ps(0, 3, 6);                                                                                   \
            if ((COLUMNS) > 1) SPLIT_LOAD_B(7, COLUMNS, B_HIGH, 1);                                                    \
            if ((COLUMNS) > 1) _tile_dpbf16ps(1, 3, 7);                                                                \
            _tile_loadd(4, a + A_MIDDLE * 2 * BERT_SPLIT_TILE, TILE_BYTES);                                            \
            _tile_dpbf16ps(0, 4, 6);                                                                                   \
            if ((COLUMNS) > 1) _tile_dpbf16ps(1, 4, 7);                                                                \
            split_some(ahead, end, ahead->count);                                                                      \
            _tile_loadd(5, a + A_HIGH * 2 * BERT_SPLIT_TILE, TILE_BYTES);                                              \
            _tile_dpbf16ps(0, 5, 6);                                                                                   \
            if ((COLUMNS) > 1) _tile_dpbf16ps(1, 5, 7);                                                                \
            split_some(ahead, end, ahead->count);                                                                      \
            if ((COLUMNS) > 2) SPLIT_LOAD_B(6, COLUMNS, B_HIGH, 2);                                                    \
            if ((COLUMNS) > 2) _tile_dpbf16ps(2, 3, 6);                                                                \
            SPLIT_LOAD_B(7, COLUMNS, B_MIDDLE, 0);                                                                     \
            _tile_dpbf16ps(0, 4, 7);                                                                                   \
            if ((COLUMNS) > 2) _tile_dpbf16ps(2, 4, 6);                                                                \
            _tile_dpbf16ps(0, 5, 7);                                                                                   \
            if ((COLUMNS) > 2) _tile_dpbf16ps(2, 5, 6);                                                                \
            split_some(ahead, end, ahead->count);                                                                      \
            if ((COLUMNS) > 1) SPLIT_LOAD_B(7, COLUMNS, B_MIDDLE, 1);                                                  \
            if ((COLUMNS) > 1) _tile_dpbf16ps(1, 4, 7);                                                                \
            if ((COLUMNS) > 2) SPLIT_LOAD_B(6, COLUMNS, B_MIDDLE, 2);                                                  \
            if ((COLUMNS) > 2) _tile_dpbf16ps(2, 4, 6);                                                                \
            split_some(ahead, end, ahead->count);                                                                      \
            if ((COLUMNS) > 1) _tile_dpbf16ps(1, 5, 7);                                                                \
            if ((COLUMNS) > 2) _tile_dpbf16ps(2, 5, 6);                                                                \
            split_some(ahead, end, ahead->count);                                                                      \
            SPLIT_LOAD_B(7, COLUMNS, B_LOW, 0);                                                                        \
            _tile_dpbf16ps(0, 5, 7);                                                                                   \
            if ((COLUMNS) > 1) SPLIT_LOAD_B(6, COLUMNS, B_LOW, 1);                                                     \
            if ((COLUMNS) > 1) _tile_dpbf16ps(1, 5, 6);                                                                \
            if ((COLUMNS) > 2) SPLIT_LOAD_B(7, COLUMNS, B_LOW, 2);                                                     \
            if ((COLUMNS) > 2) _tile_dpbf16ps(2, 5, 7);                                                                \
            split_some(ahead, end, ahead->count);                                                                      \
            a += BERT_SPLIT_GROUP_TILE;                                                                                \
        }                                                                                                              \
        SPLIT_STORE(0, 0, 0);                                                                                          \
        if ((COLUMNS) > 1) SPLIT_STORE(1, 0, 1);                                                                       \
        if ((COLUMNS) > 2) SPLIT_STORE(2, 0, 2);                                                                       \
        publish(sums);                                                                                                 \
    }

DEFINE_SPLIT_PASS(1)
DEFINE_SPLIT_PASS(2)
DEFINE_SPLIT_PASS(3)
DEFINE_SPLIT_ROW_PASS(1)
DEFINE_SPLIT_ROW_PASS(2)
DEFINE_SPLIT_ROW_PASS(3)

static void (*const split_passes[2][3])(const bert_sgemm_split_args *args, const uint16_t *a, split_sums *sums,
                                        split_ahead *ahead) = {{split_1x1, split_1x2, split_1x3},
                                                               {split_2x1, split_2x2, split_2x3}};

/* Whether `count` numbers are finite, where exponents are not all ones. Compilers make vectors of it. */
static inline bool all_finite(const float *restrict x, int64_t count) {
    int32_t infinite = 0;
    for (int64_t i = 0; i < count; i++) {
        int32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        infinite |= (bits & 0x7f800000) == 0x7f800000;
    }
    return !infinite;
}

static inline void finish_row(float *restrict c, const float *restrict sums, int64_t columns, bool accumulate) {
    for (int64_t i = 0; i < columns; i++) c[i] = accumulate ? c[i] + sums[i] : sums[i];
}

/* Rows of sums from row `row` of c on. */
static void finish_pass(const bert_sgemm_split_args *args, const split_sums *sums, int64_t row) {
    const int64_t rows = args->rows - row < BERT_SPLIT_ROWS ? args->rows - row : BERT_SPLIT_ROWS;
    for (int64_t i = 0; i < rows; i++) {
        const bool finite = args->columns == BERT_SPLIT_COLUMNS ? all_finite(sums->values[i], BERT_SPLIT_COLUMNS)
                                                                : all_finite(sums->values[i], args->columns);
        args->left_out[row + i] = finite ? 0 : 1;
        if (!finite) continue;
        float *c = args->c + (row + i) * args->ldc;
        if (args->columns == BERT_SPLIT_COLUMNS)
            finish_row(c, sums->values[i], BERT_SPLIT_COLUMNS, args->accumulate);
        else
            finish_row(c, sums->values[i], args->columns, args->accumulate);
    }
}

/* Pairs are spread over all that is multiplied. */
static split_ahead spread_splitting(const bert_sgemm_split_args *args, int64_t passes) {
    const bert_split_panel_args *panel = args->ahead;
    if (!panel) return (split_ahead){.args = args};
    const int64_t calls = passes * args->tiles * CALLS, pairs = panel->end - panel->first;
    const int64_t count = calls > 0 ? (pairs + calls - 1) / calls : pairs;
    return (split_ahead){.args = args,
                         .next = panel->first,
                         .end = panel->end,
                         .count = count > LEAST_PAIRS ? count : LEAST_PAIRS,
                         .ring = panel->ring};
}

static void sgemm_split(const bert_sgemm_split_args *args) {
    split_sums sums[2];
    const int64_t passes = (args->rows + BERT_SPLIT_ROWS - 1) / BERT_SPLIT_ROWS;
    const int64_t column_tiles = (args->columns + 15) / 16;
    split_ahead ahead = spread_splitting(args, passes);
    const bool few = args->rows > 0 && args->rows < TILE_ROWS;
    if (few) configure((int)args->rows);
    for (int64_t pass = 0; pass < passes; pass++) {
        const int64_t row = pass * BERT_SPLIT_ROWS, row_tiles = args->rows - row > TILE_ROWS ? 2 : 1;
        split_passes[row_tiles - 1][column_tiles - 1](args, args->a + pass * args->a_stride, &sums[pass % 2], &ahead);
        if (pass > 0) finish_pass(args, &sums[(pass - 1) % 2], row - BERT_SPLIT_ROWS);
    }
    if (passes > 0) finish_pass(args, &sums[(passes - 1) % 2], (passes - 1) * BERT_SPLIT_ROWS);
    split_some(&ahead, ahead.end, ahead.end); /* where nothing was multiplied */
    if (few) configure(TILE_ROWS);
}

#endif
