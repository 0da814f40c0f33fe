/*
 * Products of 8-bit integers and of bfloat16 for AMX (those of split float32 are in amx_split.h, attention's in
 * amx_attention.h): a tile instruction multiplies 16 rows of 64 bytes with 16 rows of 64 bytes, which hold 16 columns
 * in groups of four bytes. That is how panels lie, so tiles are loaded from them as they are.
 *
 * Of the eight tiles four are sums (see pair_pass for the six of bfloat16): an instruction takes 16 cycles and its
 * result 52, so four independent ones keep the unit busy. The columns of a panel are three tiles wide. For each 64
 * rows: two products of 2 x 2 tiles (32 rows, 32 columns), which use each tile that is loaded twice, then one of 4 x 1
 * for the third column of tiles. That one loads most for a product, so it comes when its rows are in the first-level
 * cache.
 *
 * The three passes load 13 tiles for 12 products: more than the second-level cache gives (16 cycles a product, 1 KB a
 * tile, some 48 bytes a cycle). So they take a piece of k at a time that stays in the first-level one, and sums wait in
 * memory from piece to piece.
 *
 * Tiles have the shape that `enter` sets and `leave` gives up, once for each thread and parallel region, but where
 * split float32 has few rows. Rows that don't fill tiles are done by tiles that overlap: a row's result doesn't depend
 * on who computes it. Fewer than 16 rows, and steps that don't fill a tile, go through scratch filled up with zeros.
 *
 * tests/cpu/test_emulated.c runs this file, compiled a second time over an emulation of the instructions.
 */
#ifndef BERT_AMX_EMULATOR
#include <immintrin.h>
#endif
#include <string.h>

#include "cpu/kernels/fetch.h"

/* Rows of a tile, bytes of its rows, and the steps of four bytes that a row or its rows hold. */
enum { TILE_ROWS = 16, TILE_BYTES = 64, TILE_STEPS = 16, GROUP_BYTES = 4, TILES = 8, COLUMN_TILES = 3, A_TILES = 4 };
_Static_assert(COLUMN_TILES *TILE_ROWS == (int)BERT_QGEMM_COLUMNS, "a panel is three tiles wide");
_Static_assert(COLUMN_TILES *TILE_ROWS == (int)BERT_BGEMM_COLUMNS, "a panel is three tiles wide");
_Static_assert((int)BERT_QGEMM_STEP == GROUP_BYTES, "a step is a group of a tile");
_Static_assert(BERT_BGEMM_STEP * 2 == (int)GROUP_BYTES, "a step is a group of a tile");

/* Compilers are not told that tile loads read memory: what was written to `memory` is there after this, and what will
 * be written there waits until after it. */
static inline void publish(const void *memory) {
    __asm__ volatile("" : : "r"(memory) : "memory");
}

/* Sums of products of few rows, and a's tiles in those, have so many rows; the others all. */
static void configure(int rows) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    _Static_assert(sizeof config == 64, "what ldtilecfg reads");
    for (int i = 0; i < TILES; i++) {
        config.row_bytes[i] = TILE_BYTES;
        config.rows[i] = i < 6 ? (uint8_t)rows : TILE_ROWS;
    }
    publish(&config);
    _tile_loadconfig(&config);
}

static void enter(void) {
    configure(TILE_ROWS);
}

static void leave(void) {
    _tile_release();
}

/* A product in bytes, whatever its elements: rows of a, and of the panel b, BERT_QGEMM_COLUMNS groups a step. */
typedef struct product {
    char *c;
    const char *a, *b;
    int64_t ldc, lda; /* bytes */
    int64_t rows, steps;
    const char *start; /* what sums begin as; NULL: zeros */
    int64_t ld_start;
    bool in_place;      /* start is c */
    int64_t first, end; /* steps of a piece */
    char *sums;         /* of the 64 rows from sums_row on, from one piece to the next */
    int64_t sums_row;
    spread_fetch fetch; /* points: 16 steps of a pass each */
    const char *y; /* rows that will be written, y_stride bytes apart: so many are left, y_rows with each 16 steps */
    int64_t y_stride, y_left, y_rows;
} product;

/* Bytes of a step of a panel, and of a row of sums. Steps of a piece: its 64 rows of a (24 KB) and its share of the
 * panel (18 KB) mostly stay in the first-level cache of 48 KB while three passes read them. Shorter pieces store and
 * load their sums (12 KB) more often, which no product hides. */
enum { LDB = BERT_QGEMM_COLUMNS * GROUP_BYTES, PIECE_STEPS = 96 };

static inline void fetch_ahead(product *p) {
    fetch_at_point(&p->fetch);
    for (int64_t i = 0; i < p->y_rows && p->y_left > 0; i++) {
        fetch_panel_row(p->y);
        if (--p->y_left > 0) p->y += p->y_stride;
    }
}

/* Scratch of a pass: up to four tiles of a and three of b, where what is there doesn't fill a tile. */
typedef struct scratch {
    _Alignas(TILE_BYTES) char a[A_TILES][TILE_ROWS * TILE_BYTES];
    _Alignas(TILE_BYTES) char b[COLUMN_TILES][TILE_ROWS * TILE_BYTES];
} scratch;

static void copy_rows(char *out, const char *from, int64_t stride, int64_t rows, int64_t bytes) {
    publish(out);
    for (int64_t row = 0; row < rows; row++) memcpy(out + row * TILE_BYTES, from + row * stride, (size_t)bytes);
    publish(out);
}

/* `rows` rows of `bytes` bytes, the rest zeros. */
static void fill_tile(char *out, const char *from, int64_t stride, int64_t rows, int64_t bytes) {
    publish(out);
    memset(out, 0, TILE_ROWS * TILE_BYTES);
    copy_rows(out, from, stride, rows, bytes);
}

/* Fewer rows than a tile has, as many tiles of steps from `step` on as there is scratch: a tile load waits until what
 * was written is in the cache, and then waits once for all. Rows beyond stay as they are. */
static void copy_few(const product *p, scratch *out, int64_t place, int64_t rows, int64_t step) {
    for (int i = 0; i < A_TILES && step + TILE_STEPS <= p->steps; i++, step += TILE_STEPS)
        copy_rows(out->a[i], p->a + place * p->lda + step * GROUP_BYTES, p->lda, rows, TILE_BYTES);
}

/* Tiles of a from `step` on for the rows at each of `count` places; those of b from a column of tiles on. */
static void fill_scratch(const product *p, scratch *out, const int64_t *places, int count, int64_t rows, int64_t step,
                         int64_t steps, int first_column, int columns) {
    for (int i = 0; i < count; i++)
        fill_tile(out->a[i], p->a + places[i] * p->lda + step * GROUP_BYTES, p->lda, rows, steps * GROUP_BYTES);
    for (int i = 0; i < columns; i++)
        fill_tile(out->b[i], p->b + step * LDB + (first_column + i) * TILE_BYTES, LDB, steps, TILE_BYTES);
}

static int64_t piece_end(const product *p) {
    return p->steps - p->first <= PIECE_STEPS + PIECE_STEPS / 2 ? p->steps : p->first + PIECE_STEPS;
}

/* Where each of a pass's four sums stands: a place among rows, a column of tiles. */
static const int columns_2x2[4] = {0, 1, 0, 1}, columns_4x1[4] = {2, 2, 2, 2};

static inline char *sums_at(const product *p, int64_t place, int column) {
    return p->sums + (place - p->sums_row) * LDB + column * TILE_BYTES;
}

/* What sums of a piece begin as: the product's start, or what the piece before left. */
static inline const char *begin_at(const product *p, int64_t place, int column) {
    return p->first > 0 ? sums_at(p, place, column) : p->start + place * p->ld_start + column * TILE_BYTES;
}

static inline void begin_sums(const product *p, const int64_t places[4], const int columns[4]) {
    if (p->first == 0 && !p->start) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        return;
    }
    const int64_t stride = p->first > 0 ? LDB : p->ld_start;
    _tile_loadd(0, begin_at(p, places[0], columns[0]), stride);
    _tile_loadd(1, begin_at(p, places[1], columns[1]), stride);
    _tile_loadd(2, begin_at(p, places[2], columns[2]), stride);
    _tile_loadd(3, begin_at(p, places[3], columns[3]), stride);
}

/* Those of the last piece are c. */
static inline char *result_at(const product *p, int64_t place, int column) {
    return p->end < p->steps ? sums_at(p, place, column) : p->c + place * p->ldc + column * TILE_BYTES;
}

static inline void end_sums(const product *p, const int64_t places[4], const int columns[4]) {
    const int64_t stride = p->end < p->steps ? LDB : p->ldc;
    _tile_stored(0, result_at(p, places[0], columns[0]), stride);
    _tile_stored(1, result_at(p, places[1], columns[1]), stride);
    _tile_stored(2, result_at(p, places[2], columns[2]), stride);
    _tile_stored(3, result_at(p, places[3], columns[3]), stride);
}

/* The three sums of 16 rows or fewer. */
static inline void begin_few(const product *p, scratch *rest, int64_t place, int64_t rows) {
    if (!p->start) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        return;
    }
    const char *start = p->start + place * p->ld_start;
    if (rows == TILE_ROWS) {
        _tile_loadd(0, start, p->ld_start);
        _tile_loadd(1, start + TILE_BYTES, p->ld_start);
        _tile_loadd(2, start + 2 * TILE_BYTES, p->ld_start);
        return;
    }
    for (int column = 0; column < COLUMN_TILES; column++)
        fill_tile(rest->b[column], start + column * TILE_BYTES, p->ld_start, rows, TILE_BYTES);
    _tile_loadd(0, rest->b[0], TILE_BYTES);
    _tile_loadd(1, rest->b[1], TILE_BYTES);
    _tile_loadd(2, rest->b[2], TILE_BYTES);
}

/*
 * The passes, for one instruction each: MULTIPLY(sum, a, b). Numbers of tiles are part of the instructions: 0 to 3 are
 * sums, 4, 5 and 7 hold a where four rows of tiles need it, else 6 and 7 hold b.
 */
#define DEFINE_PASSES(name, MULTIPLY)                                                                                  \
    /* 2 x 2 tiles: the rows at places[0] and [1], the first two columns of tiles. */                                  \
    static inline void name##_step_2x2(const char *a0, const char *a1, int64_t lda, const char *b0, const char *b1,    \
                                       int64_t ldb) {                                                                  \
        _tile_loadd(4, a0, lda);                                                                                       \
        _tile_loadd(6, b0, ldb);                                                                                       \
        MULTIPLY(0, 4, 6);                                                                                             \
        _tile_loadd(7, b1, ldb);                                                                                       \
        MULTIPLY(1, 4, 7);                                                                                             \
        _tile_loadd(5, a1, lda);                                                                                       \
        MULTIPLY(2, 5, 6);                                                                                             \
        MULTIPLY(3, 5, 7);                                                                                             \
    }                                                                                                                  \
    static void name##_2x2(product *p, const int64_t *places) {                                                        \
        int64_t step = p->first;                                                                                       \
        const char *a0 = p->a + places[0] * p->lda + step * GROUP_BYTES;                                               \
        const char *a1 = p->a + places[1] * p->lda + step * GROUP_BYTES, *b = p->b + step * LDB;                       \
        const int64_t rows[4] = {places[0], places[0], places[1], places[1]};                                          \
        begin_sums(p, rows, columns_2x2);                                                                              \
        for (; step + TILE_STEPS <= p->end; step += TILE_STEPS) {                                                      \
            name##_step_2x2(a0, a1, p->lda, b, b + TILE_BYTES, LDB);                                                   \
            fetch_ahead(p);                                                                                            \
            a0 += TILE_BYTES;                                                                                          \
            a1 += TILE_BYTES;                                                                                          \
            b += TILE_STEPS * LDB;                                                                                     \
        }                                                                                                              \
        if (step < p->end) {                                                                                           \
            scratch rest;                                                                                              \
            fill_scratch(p, &rest, places, 2, TILE_ROWS, step, p->steps - step, 0, 2);                                 \
            name##_step_2x2(rest.a[0], rest.a[1], TILE_BYTES, rest.b[0], rest.b[1], TILE_BYTES);                       \
            fetch_ahead(p);                                                                                            \
        }                                                                                                              \
        end_sums(p, rows, columns_2x2);                                                                                \
    }                                                                                                                  \
                                                                                                                       \
    /* 4 x 1 tiles: the third column of tiles. */                                                                      \
    static inline void name##_step_4x1(const char *const a[4], int64_t lda, const char *b, int64_t ldb) {              \
        _tile_loadd(6, b, ldb);                                                                                        \
        _tile_loadd(4, a[0], lda);                                                                                     \
        MULTIPLY(0, 4, 6);                                                                                             \
        _tile_loadd(5, a[1], lda);                                                                                     \
        MULTIPLY(1, 5, 6);                                                                                             \
        _tile_loadd(7, a[2], lda);                                                                                     \
        MULTIPLY(2, 7, 6);                                                                                             \
        _tile_loadd(4, a[3], lda);                                                                                     \
        MULTIPLY(3, 4, 6);                                                                                             \
    }                                                                                                                  \
    static void name##_4x1(product *p, const int64_t *places) {                                                        \
        int64_t step = p->first;                                                                                       \
        const char *a[4], *b = p->b + step * LDB + 2 * TILE_BYTES;                                                     \
        for (int i = 0; i < 4; i++) a[i] = p->a + places[i] * p->lda + step * GROUP_BYTES;                             \
        begin_sums(p, places, columns_4x1);                                                                            \
        for (; step + TILE_STEPS <= p->end; step += TILE_STEPS) {                                                      \
            name##_step_4x1(a, p->lda, b, LDB);                                                                        \
            fetch_ahead(p);                                                                                            \
            for (int i = 0; i < 4; i++) a[i] += TILE_BYTES;                                                            \
            b += TILE_STEPS * LDB;                                                                                     \
        }                                                                                                              \
        if (step < p->end) {                                                                                           \
            scratch rest;                                                                                              \
            fill_scratch(p, &rest, places, 4, TILE_ROWS, step, p->steps - step, 2, 1);                                 \
            const char *const left[4] = {rest.a[0], rest.a[1], rest.a[2], rest.a[3]};                                  \
            name##_step_4x1(left, TILE_BYTES, rest.b[0], TILE_BYTES);                                                  \
            fetch_ahead(p);                                                                                            \
        }                                                                                                              \
        end_sums(p, places, columns_4x1);                                                                              \
    }                                                                                                                  \
                                                                                                                       \
    /* 1 x 3 tiles: 16 rows or fewer, all columns. */                                                                  \
    static inline void name##_step_1x3(const char *a, int64_t lda, const char *b0, const char *b1, const char *b2,     \
                                       int64_t ldb) {                                                                  \
        _tile_loadd(4, a, lda);                                                                                        \
        _tile_loadd(5, b0, ldb);                                                                                       \
        MULTIPLY(0, 4, 5);                                                                                             \
        _tile_loadd(6, b1, ldb);                                                                                       \
        MULTIPLY(1, 4, 6);                                                                                             \
        _tile_loadd(7, b2, ldb);                                                                                       \
        MULTIPLY(2, 4, 7);                                                                                             \
    }                                                                                                                  \
    static void name##_1x3(product *p, int64_t place, int64_t rows) {                                                  \
        const char *a = p->a + place * p->lda, *b = p->b;                                                              \
        char *c = p->c + place * p->ldc;                                                                               \
        const bool few = rows < TILE_ROWS;                                                                             \
        scratch rest;                                                                                                  \
        int64_t step = 0;                                                                                              \
        if (few) memset(rest.a, 0, sizeof rest.a);                                                                     \
        begin_few(p, &rest, place, rows);                                                                              \
        for (; step + TILE_STEPS <= p->steps; step += TILE_STEPS) {                                                    \
            const int64_t at = step / TILE_STEPS % A_TILES;                                                            \
            if (few && at == 0) copy_few(p, &rest, place, rows, step);                                                 \
            name##_step_1x3(few ? rest.a[at] : a, few ? TILE_BYTES : p->lda, b, b + TILE_BYTES, b + 2 * TILE_BYTES,    \
                            LDB);                                                                                      \
            fetch_ahead(p);                                                                                            \
            a += TILE_BYTES;                                                                                           \
            b += TILE_STEPS * LDB;                                                                                     \
        }                                                                                                              \
        if (step < p->steps) {                                                                                         \
            fill_scratch(p, &rest, &place, 1, rows, step, p->steps - step, 0, COLUMN_TILES);                           \
            name##_step_1x3(rest.a[0], TILE_BYTES, rest.b[0], rest.b[1], rest.b[2], TILE_BYTES);                       \
            fetch_ahead(p);                                                                                            \
        }                                                                                                              \
        if (rows == TILE_ROWS) {                                                                                       \
            _tile_stored(0, c, p->ldc);                                                                                \
            _tile_stored(1, c + TILE_BYTES, p->ldc);                                                                   \
            _tile_stored(2, c + 2 * TILE_BYTES, p->ldc);                                                               \
            return;                                                                                                    \
        }                                                                                                              \
        _tile_stored(0, rest.b[0], TILE_BYTES);                                                                        \
        _tile_stored(1, rest.b[1], TILE_BYTES);                                                                        \
        _tile_stored(2, rest.b[2], TILE_BYTES);                                                                        \
        for (int64_t row = 0; row < rows; row++)                                                                       \
            for (int column = 0; column < COLUMN_TILES; column++)                                                      \
                memcpy(c + row * p->ldc + column * TILE_BYTES, rest.b[column] + row * TILE_BYTES, TILE_BYTES);         \
    }                                                                                                                  \
                                                                                                                       \
    static void name##_all(product *p) {                                                                               \
        if (p->rows < TILE_ROWS) {                                                                                     \
            name##_1x3(p, 0, p->rows);                                                                                 \
            return;                                                                                                    \
        }                                                                                                              \
        int64_t row = 0;                                                                                               \
        for (; p->rows - row > 3 * TILE_ROWS; row += 4 * TILE_ROWS) {                                                  \
            const int64_t last = p->rows - TILE_ROWS, fourth = row + 3 * TILE_ROWS;                                    \
            const int64_t places[4] = {row, row + TILE_ROWS, row + 2 * TILE_ROWS, fourth < last ? fourth : last};      \
            p->sums_row = p->sums == p->c ? 0 : row;                                                                   \
            p->first = 0;                                                                                              \
            do { /* once even where k is 0: zeros */                                                                   \
                p->end = piece_end(p);                                                                                 \
                name##_2x2(p, places);                                                                                 \
                name##_2x2(p, places + 2);                                                                             \
                name##_4x1(p, places);                                                                                 \
                p->first = p->end;                                                                                     \
            } while (p->first < p->steps);                                                                             \
        }                                                                                                              \
        for (; row < p->rows; row += TILE_ROWS) {                                                                      \
            const int64_t left = p->rows - row;                                                                        \
            if (left >= TILE_ROWS || !p->in_place) /* else rows that overlap would be added to twice */                \
                name##_1x3(p, left < TILE_ROWS ? p->rows - TILE_ROWS : row, TILE_ROWS);                                \
            else                                                                                                       \
                name##_1x3(p, row, left);                                                                              \
        }                                                                                                              \
    }

DEFINE_PASSES(bytes, _tile_dpbusd)
DEFINE_PASSES(halves, _tile_dpbf16ps)

/* Passes over all of k: three for each 64 rows, one for each 16 of the rest. */
static int64_t passes_of(int64_t rows) {
    const int64_t groups = (rows + TILE_ROWS - 1) / (4 * TILE_ROWS), rest = rows - groups * 4 * TILE_ROWS;
    return 3 * groups + (rest > 0 ? (rest + TILE_ROWS - 1) / TILE_ROWS : 0);
}

/* What is fetched meanwhile is spread over so many tiles of steps. */
static int64_t fetches_of(const product *p, int64_t passes) {
    return passes * ((p->steps + TILE_STEPS - 1) / TILE_STEPS);
}

static void spread_rows(product *p, int64_t fetches, const void *y, int64_t y_stride) {
    if (fetches <= 0) return;
    p->y = y;
    p->y_left = p->rows;
    p->y_stride = y_stride;
    p->y_rows = (p->rows + fetches - 1) / fetches;
}

static void qgemm(const bert_qgemm_args *args) {
    product p = {.c = (char *)args->c,
                 .sums = (char *)args->c,
                 .a = (const char *)args->a,
                 .b = (const char *)args->b,
                 .ldc = BERT_QGEMM_COLUMNS * (int64_t)sizeof(int32_t),
                 .lda = args->lda,
                 .rows = args->rows,
                 .steps = args->steps};
    const int64_t fetches = fetches_of(&p, passes_of(p.rows));
    p.fetch = spread_over(&args->fetch, fetches);
    if (args->y) spread_rows(&p, fetches, args->y, args->y_stride);
    bytes_all(&p);
}

/* ---- The product of bfloat16 ------------------------------------------------------------------------------------- */

/*
 * 32 rows and all columns, six sums: seven loads for six products, of which two come from the first-level cache at
 * once. Sums 3 to 5 are gone through backwards, since b's last tile is there already.
 *
 * A sum that one pass is finished with is stored when the next pass needs its tile: stored at the end of a pass all six
 * would have to wait for their last products, and nothing would be multiplied meanwhile.
 */
typedef struct pair_pass {
    const char *a0, *a1, *b;
    int64_t lda;
    char *held; /* where the sums of the pass before go; NULL: there was none */
    int64_t ld_held;
    const char *begin; /* what its own begin as; NULL: zeros */
    int64_t ld_begin;
} pair_pass;

#define EXCHANGE(sum, row, column)                                                                                     \
    if (s->held) _tile_stored(sum, s->held + (row)*s->ld_held + (column)*TILE_BYTES, s->ld_held);                      \
    if (s->begin)                                                                                                      \
        _tile_loadd(sum, s->begin + (row)*s->ld_begin + (column)*TILE_BYTES, s->ld_begin);                             \
    else                                                                                                               \
        _tile_zero(sum)

static inline void first_pair_step(const pair_pass *s) {
    _tile_loadd(6, s->a0, s->lda);
    _tile_loadd(7, s->b, LDB);
    EXCHANGE(0, 0, 0);
    _tile_dpbf16ps(0, 6, 7);
    _tile_loadd(7, s->b + TILE_BYTES, LDB);
    EXCHANGE(1, 0, 1);
    _tile_dpbf16ps(1, 6, 7);
    _tile_loadd(7, s->b + 2 * TILE_BYTES, LDB);
    EXCHANGE(2, 0, 2);
    _tile_dpbf16ps(2, 6, 7);
    _tile_loadd(6, s->a1, s->lda);
    EXCHANGE(3, TILE_ROWS, 2);
    _tile_dpbf16ps(3, 6, 7);
    _tile_loadd(7, s->b + TILE_BYTES, LDB);
    EXCHANGE(4, TILE_ROWS, 1);
    _tile_dpbf16ps(4, 6, 7);
    _tile_loadd(7, s->b, LDB);
    EXCHANGE(5, TILE_ROWS, 0);
    _tile_dpbf16ps(5, 6, 7);
}
#undef EXCHANGE

static inline void pair_step(const pair_pass *s) {
    _tile_loadd(6, s->a0, s->lda);
    _tile_loadd(7, s->b, LDB);
    _tile_dpbf16ps(0, 6, 7);
    _tile_loadd(7, s->b + TILE_BYTES, LDB);
    _tile_dpbf16ps(1, 6, 7);
    _tile_loadd(7, s->b + 2 * TILE_BYTES, LDB);
    _tile_dpbf16ps(2, 6, 7);
    _tile_loadd(6, s->a1, s->lda);
    _tile_dpbf16ps(3, 6, 7);
    _tile_loadd(7, s->b + TILE_BYTES, LDB);
    _tile_dpbf16ps(4, 6, 7);
    _tile_loadd(7, s->b, LDB);
    _tile_dpbf16ps(5, 6, 7);
}

static inline void store_pair(char *c, int64_t ldc) {
    _tile_stored(0, c, ldc);
    _tile_stored(1, c + TILE_BYTES, ldc);
    _tile_stored(2, c + 2 * TILE_BYTES, ldc);
    c += TILE_ROWS * ldc;
    _tile_stored(3, c + 2 * TILE_BYTES, ldc);
    _tile_stored(4, c + TILE_BYTES, ldc);
    _tile_stored(5, c, ldc);
}

/* One piece for 32 rows from `row` on. */
static void run_pair(product *p, int64_t row, pair_pass *s) {
    const bool begins = p->first == 0, ends = p->end == p->steps;
    s->a0 = p->a + row * p->lda + p->first * GROUP_BYTES;
    s->a1 = s->a0 + TILE_ROWS * p->lda;
    s->b = p->b + p->first * LDB;
    s->begin = begins && !p->start ? NULL : begin_at(p, row, 0);
    s->ld_begin = begins ? p->ld_start : LDB;
    first_pair_step(s);
    fetch_ahead(p);
    for (int64_t step = p->first + TILE_STEPS; step < p->end; step += TILE_STEPS) {
        s->a0 += TILE_BYTES;
        s->a1 += TILE_BYTES;
        s->b += TILE_STEPS * LDB;
        pair_step(s);
        fetch_ahead(p);
    }
    s->held = ends ? p->c + row * p->ldc : sums_at(p, row, 0);
    s->ld_held = ends ? p->ldc : LDB;
}

/* Rows in pairs of tiles, steps in whole ones: two pairs share a piece of the panel in the first-level cache. One that
 * is left alone has no need of pieces. */
static void run_pairs(product *p) {
    pair_pass pass = {.lda = p->lda};
    for (int64_t row = 0; row < p->rows; row += 4 * TILE_ROWS) {
        const bool two = row + 2 * TILE_ROWS < p->rows;
        p->sums_row = row;
        for (p->first = 0; p->first < p->steps; p->first = p->end) {
            p->end = two ? piece_end(p) : p->steps;
            run_pair(p, row, &pass);
            if (two) run_pair(p, row + 2 * TILE_ROWS, &pass);
        }
    }
    store_pair(pass.held, pass.ld_held);
}

/* Sums stay in scratch meanwhile: rows of c may all lie in a few of the cache's sets. */
static void bgemm(const bert_bgemm_args *args) {
    _Alignas(TILE_BYTES) char sums[4 * TILE_ROWS * LDB];
    product p = {.c = (char *)args->c,
                 .sums = sums,
                 .a = (const char *)args->a,
                 .b = (const char *)args->b,
                 .ldc = args->ldc * (int64_t)sizeof(float),
                 .lda = args->lda * (int64_t)sizeof(uint16_t),
                 .rows = args->rows,
                 .steps = args->steps,
                 .start = (const char *)args->start,
                 .ld_start = args->ld_start * (int64_t)sizeof(float),
                 .in_place = args->start && args->start == args->c};
    const int64_t pairs = p.steps > 0 && p.steps % TILE_STEPS == 0 ? p.rows / (2 * TILE_ROWS) : 0;
    const int64_t rest = p.rows - pairs * 2 * TILE_ROWS;
    const int64_t fetches = fetches_of(&p, pairs + passes_of(rest));
    p.fetch = spread_over(&args->fetch, fetches);
    if (args->ldc != BERT_BGEMM_COLUMNS) spread_rows(&p, fetches, args->c, p.ldc);
    if (pairs > 0) {
        p.rows -= rest;
        run_pairs(&p);
        p.a += p.rows * p.lda;
        p.c += p.rows * p.ldc;
        if (p.start) p.start += p.rows * p.ld_start;
        p.rows = rest;
    }
    if (p.rows > 0) halves_all(&p);
}

#include "cpu/kernels/amx_attention.h"
#include "cpu/kernels/amx_split.h"

/* Blocks of x take up to half of the second-level cache, which CPUs with AMX have 2 MB of. */
const bert_cpu_kernels bert_cpu_kernels_amx = {.qgemm = qgemm,
                                               .bgemm = bgemm,
                                               .sgemm_split = sgemm_split,
                                               .attention_multiply = attention_multiply,
                                               .block_bytes = 1024 * 1024,
                                               .late_eighths = 1,
                                               .fetch_streams = 4,
                                               .enter = enter,
                                               .leave = leave};
