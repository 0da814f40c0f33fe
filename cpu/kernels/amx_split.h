/*
 * Products of split float32 for AMX: six products of bfloat16 for one of float32. Two tiles of rows and up to three of
 * columns are six sums; the two tiles that are left hold what is multiplied. So 42 tiles are loaded for 36 products,
 * most of them from the first-level cache: 15 KB of each 32 steps come from the second one. Everything is read in the
 * order in which it lies. One tile of rows has three sums, and loads 12 tiles for 18 products.
 *
 * A pass takes all steps, its sums go to scratch and from there, after the next pass, to c: what a tile store wrote is
 * in the cache by then. Meanwhile what comes next is split, pair by pair, each after a product: the 75 instructions of
 * a pair take about as long as a product of tiles, by other units. Included by amx.c alone.
 */
#ifndef BERT_CPU_KERNELS_AMX_SPLIT_H
#define BERT_CPU_KERNELS_AMX_SPLIT_H

#ifndef BERT_AMX_EMULATOR
#include "cpu/kernels/split_parts_avx512.h"
#else
/* Machines that emulate tiles may lack AVX-512 as well. */
static inline void split_whole_pair(uint16_t *pair, const float *x, int64_t ldx) {
    bert_cpu_kernels_scalar.split_panel(
        &(bert_split_panel_args){.y = pair, .x = x, .ldx = ldx, .columns = BERT_SPLIT_COLUMNS, .k = 2, .end = 1});
}
#endif

_Static_assert(LDB == BERT_SPLIT_COLUMNS * sizeof(float), "a row of sums");

/* Sums of one pass, [rows][BERT_SPLIT_COLUMNS]. */
typedef struct split_sums {
    _Alignas(TILE_BYTES) float values[BERT_SPLIT_ROWS][BERT_SPLIT_COLUMNS];
} split_sums;

/* What is split between products. */
typedef struct splitting {
    bert_split_panel_args part;
    void (*split_panel)(const bert_split_panel_args *args);
    int64_t whole;       /* bert_split_whole_pairs */
    int64_t next, limit; /* pairs that may be split now */
    int64_t due;         /* grows with each product by `share`; a pair is due with every `products` */
    int64_t share, products;
    spread_fetch fetch; /* a point with each pair */
} splitting;

/* Pairs that would be split with a tile's products at the pace of a ring: its own are, somewhat before the last of
 * them.
 */
enum { RING_SHARE = BERT_SPLIT_PAIRS + 4 };

/* Within the passes, after each of their products: called, it takes MiniLM 4 % more time at 1x16 (Granite Rapids, bertc
 * bench --threads 1, in turn). */
static inline __attribute__((always_inline)) void split_pair(splitting *s) {
    const bert_split_panel_args *part = &s->part;
    const int64_t at = s->next++;
    if (at < s->whole) {
        split_whole_pair(part->y + bert_split_pair_place(BERT_SPLIT_COLUMNS, part->ring, at),
                         part->x + 2 * at * part->ldx, part->ldx);
    } else {
        s->part.first = at;
        s->part.end = at + 1;
        s->split_panel(part);
    }
    publish(part->y);
    fetch_at_point(&s->fetch);
}

static inline __attribute__((always_inline)) void after_product(splitting *s) {
    if (s->next >= s->limit) return;
    for (s->due += s->share; s->due >= s->products && s->next < s->limit; s->due -= s->products) split_pair(s);
}

static inline void split_until(splitting *s, int64_t end) {
    while (s->next < end) split_pair(s);
}

/* Begins with the pairs of `part`, so that they are split by the time that so many products are done. */
static void begin_splitting(splitting *s, const bert_sgemm_split_args *args, const bert_split_panel_args *part,
                            int64_t products) {
    *s = (splitting){.split_panel = args->split_panel, .products = products};
    if (!part) return;
    s->part = *part;
    s->whole = bert_split_whole_pairs(part);
    s->next = part->first;
    s->limit = part->end;
    s->share = part->end - part->first;
}

/* Products of a tile of k. */
static int64_t products_of(const bert_sgemm_split_args *args) {
    return (args->rows > TILE_ROWS ? 2 : 1) * 6 * ((args->columns + 15) / 16);
}

/* A tile of the panel itself in somewhat fewer products than a tile has: its last pairs are in the cache when the next
 * tile is loaded. */
static void begin_ring(splitting *s, const bert_sgemm_split_args *args) {
    begin_splitting(s, args, args->as_it_goes, products_of(args));
    s->share = RING_SHARE;
}

/* In a ring tile `tile` has to be there before it is multiplied; meanwhile the one after it takes the place of the one
 * before it, and during the last one what is ahead is split. */
static inline void turn_ring(splitting *s, const bert_sgemm_split_args *args, int64_t tile) {
    if (!args->as_it_goes) return;
    publish(args->b);
    split_until(s, (tile + 1) * BERT_SPLIT_PAIRS);
    s->due = 0;
    s->limit = (tile + BERT_SPLIT_RING) * BERT_SPLIT_PAIRS;
    if (tile + 1 == args->tiles) begin_splitting(s, args, args->ahead, products_of(args));
}

/* The places of parts in a group of rows and in a panel. */
enum { A_LOW, A_MIDDLE, A_HIGH, B_HIGH = 0, B_MIDDLE, B_LOW };

#define SPLIT_PRODUCT(SUM, A, B)                                                                                       \
    do {                                                                                                               \
        _tile_dpbf16ps(SUM, A, B);                                                                                     \
        after_product(s);                                                                                              \
    } while (0)

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
        SPLIT_PRODUCT(0, 6, 7);                                                                                        \
        _tile_loadd(6, a_second, TILE_BYTES);                                                                          \
        SPLIT_PRODUCT(3, 6, 7);                                                                                        \
        if ((COLUMNS) > 1) {                                                                                           \
            _tile_loadd(7, b_part + BERT_SPLIT_TILE, TILE_BYTES);                                                      \
            SPLIT_PRODUCT(4, 6, 7);                                                                                    \
            _tile_loadd(6, a_part, TILE_BYTES);                                                                        \
            SPLIT_PRODUCT(1, 6, 7);                                                                                    \
        }                                                                                                              \
        if ((COLUMNS) > 2) {                                                                                           \
            _tile_loadd(7, b_part + 2 * BERT_SPLIT_TILE, TILE_BYTES);                                                  \
            SPLIT_PRODUCT(2, 6, 7);                                                                                    \
            _tile_loadd(6, a_second, TILE_BYTES);                                                                      \
            SPLIT_PRODUCT(5, 6, 7);                                                                                    \
        }                                                                                                              \
    } while (0)

#define SPLIT_STORE(NUMBER, ROW, COLUMN) _tile_stored(NUMBER, &sums->values[ROW][(COLUMN)*16], LDB)

/* A tile of k of the panel. */
static inline const uint16_t *split_tile(const bert_sgemm_split_args *args, int64_t tile, int columns) {
    return args->b + bert_split_tile_place((int64_t)columns * 16, args->as_it_goes != NULL, tile);
}

/* Products come in the same order in every pass: what a part of b is multiplied with, part after part. */
#define DEFINE_SPLIT_PASS(COLUMNS)                                                                                     \
    static void split_2x##COLUMNS(const bert_sgemm_split_args *args, const uint16_t *a, split_sums *sums,              \
                                  splitting *s) {                                                                      \
        _tile_zero(0);                                                                                                 \
        _tile_zero(1);                                                                                                 \
        _tile_zero(2);                                                                                                 \
        _tile_zero(3);                                                                                                 \
        _tile_zero(4);                                                                                                 \
        _tile_zero(5);                                                                                                 \
        for (int64_t tile = 0; tile < args->tiles; tile++) {                                                           \
            const uint16_t *b = split_tile(args, tile, COLUMNS);                                                       \
            turn_ring(s, args, tile);                                                                                  \
            SPLIT_PART(COLUMNS, A_LOW, B_HIGH);                                                                        \
            SPLIT_PART(COLUMNS, A_MIDDLE, B_HIGH);                                                                     \
            SPLIT_PART(COLUMNS, A_HIGH, B_HIGH);                                                                       \
            SPLIT_PART(COLUMNS, A_MIDDLE, B_MIDDLE);                                                                   \
            SPLIT_PART(COLUMNS, A_HIGH, B_MIDDLE);                                                                     \
            SPLIT_PART(COLUMNS, A_HIGH, B_LOW);                                                                        \
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
                                  splitting *s) {                                                                      \
        _tile_zero(0);                                                                                                 \
        _tile_zero(1);                                                                                                 \
        _tile_zero(2);                                                                                                 \
        for (int64_t tile = 0; tile < args->tiles; tile++) {                                                           \
            const uint16_t *b = split_tile(args, tile, COLUMNS);                                                       \
            turn_ring(s, args, tile);                                                                                  \
            _tile_loadd(3, a + A_LOW * 2 * BERT_SPLIT_TILE, TILE_BYTES);                                               \
            SPLIT_LOAD_B(6, COLUMNS, B_HIGH, 0);                                                                       \
            SPLIT_PRODUCT(0, 3, 6);                                                                                    \
            if ((COLUMNS) > 1) SPLIT_LOAD_B(7, COLUMNS, B_HIGH, 1);                                                    \
            if ((COLUMNS) > 1) SPLIT_PRODUCT(1, 3, 7);                                                                 \
            _tile_loadd(4, a + A_MIDDLE * 2 * BERT_SPLIT_TILE, TILE_BYTES);                                            \
            SPLIT_PRODUCT(0, 4, 6);                                                                                    \
            if ((COLUMNS) > 1) SPLIT_PRODUCT(1, 4, 7);                                                                 \
            _tile_loadd(5, a + A_HIGH * 2 * BERT_SPLIT_TILE, TILE_BYTES);                                              \
            SPLIT_PRODUCT(0, 5, 6);                                                                                    \
            if ((COLUMNS) > 1) SPLIT_PRODUCT(1, 5, 7);                                                                 \
            if ((COLUMNS) > 2) SPLIT_LOAD_B(6, COLUMNS, B_HIGH, 2);                                                    \
            if ((COLUMNS) > 2) SPLIT_PRODUCT(2, 3, 6);                                                                 \
            SPLIT_LOAD_B(7, COLUMNS, B_MIDDLE, 0);                                                                     \
            SPLIT_PRODUCT(0, 4, 7);                                                                                    \
            if ((COLUMNS) > 2) SPLIT_PRODUCT(2, 4, 6);                                                                 \
            SPLIT_PRODUCT(0, 5, 7);                                                                                    \
            if ((COLUMNS) > 2) SPLIT_PRODUCT(2, 5, 6);                                                                 \
            if ((COLUMNS) > 1) SPLIT_LOAD_B(7, COLUMNS, B_MIDDLE, 1);                                                  \
            if ((COLUMNS) > 1) SPLIT_PRODUCT(1, 4, 7);                                                                 \
            if ((COLUMNS) > 2) SPLIT_LOAD_B(6, COLUMNS, B_MIDDLE, 2);                                                  \
            if ((COLUMNS) > 2) SPLIT_PRODUCT(2, 4, 6);                                                                 \
            if ((COLUMNS) > 1) SPLIT_PRODUCT(1, 5, 7);                                                                 \
            if ((COLUMNS) > 2) SPLIT_PRODUCT(2, 5, 6);                                                                 \
            SPLIT_LOAD_B(7, COLUMNS, B_LOW, 0);                                                                        \
            SPLIT_PRODUCT(0, 5, 7);                                                                                    \
            if ((COLUMNS) > 1) SPLIT_LOAD_B(6, COLUMNS, B_LOW, 1);                                                     \
            if ((COLUMNS) > 1) SPLIT_PRODUCT(1, 5, 6);                                                                 \
            if ((COLUMNS) > 2) SPLIT_LOAD_B(7, COLUMNS, B_LOW, 2);                                                     \
            if ((COLUMNS) > 2) SPLIT_PRODUCT(2, 5, 7);                                                                 \
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
                                        splitting *s) = {{split_1x1, split_1x2, split_1x3},
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

static void sgemm_split(const bert_sgemm_split_args *args) {
    split_sums sums[2];
    splitting s;
    const int64_t passes = (args->rows + BERT_SPLIT_ROWS - 1) / BERT_SPLIT_ROWS;
    const int64_t column_tiles = (args->columns + 15) / 16;
    const bool few = args->rows > 0 && args->rows < TILE_ROWS;
    if (args->as_it_goes && args->tiles > 0 && passes > 0)
        begin_ring(&s, args);
    else
        begin_splitting(&s, args, args->ahead, passes * args->tiles * products_of(args));
    s.fetch = spread_over(&args->fetch, s.part.end - s.part.first);
    if (few) configure((int)args->rows);
    for (int64_t pass = 0; pass < passes; pass++) {
        const int64_t row = pass * BERT_SPLIT_ROWS, row_tiles = args->rows - row > TILE_ROWS ? 2 : 1;
        split_passes[row_tiles - 1][column_tiles - 1](args, args->a + pass * args->a_stride, &sums[pass % 2], &s);
        if (pass > 0) finish_pass(args, &sums[(pass - 1) % 2], row - BERT_SPLIT_ROWS);
    }
    if (passes > 0) finish_pass(args, &sums[(passes - 1) % 2], (passes - 1) * BERT_SPLIT_ROWS);
    split_until(&s, s.limit); /* where nothing was multiplied, or less than products_of says */
    if (few) configure(TILE_ROWS);
}

#endif
