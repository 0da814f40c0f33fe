/*
 * Every float32 kernel, written once over the vectors of vector_avx2.h or vector_avx512.h, whichever the including file
 * brought. Not a header in the usual sense: each of avx2.c and avx512.c includes it once and gets its own static copy,
 * compiled with its own flags.
 */
#include "cpu/kernels/fetch.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vector_math.h"

#include <math.h>

#define V_ALWAYS_INLINE static inline __attribute__((always_inline))

/* ---- Matrix product ---------------------------------------------------------------------------------------------- */

/* The widest tile: with 8 x 3 vectors for most columns, four vectors are 6 x 4, 24 sums as well. */
enum { V_MOST_VECTORS = V_TILE_VECTORS > 2 ? 4 : V_TILE_VECTORS, V_WIDE_ROWS = 6 };
/* Whole tiles from which on rows that are left share with the last. With fewer, memory is what b waits for, and one
 * full tile that takes b from there leaves it more time than two halves (measured with AVX2 alone: docs/kernels.md). */
enum { V_SHARED_TILES = V_TILE_VECTORS > 2 ? 1 : 4 };

/* What a row of b is: floats, or the first or second ones of pairs of bfloat16. */
typedef enum row_form { ROW_FLOAT, ROW_FIRST, ROW_SECOND } row_form;

/* A vector of a row of b, of the lanes in `lanes` where it is cut. */
V_ALWAYS_INLINE v_float load_row(const row_form form, const bool cut, v_mask lanes, const float *b) {
    if (form == ROW_FLOAT) return cut ? v_load_first(b, lanes) : v_load(b);
    const int32_t *pairs = (const int32_t *)(const void *)b;
    const v_int pair = cut ? v_load_int_first(pairs, lanes) : v_load_int(pairs);
    return form == ROW_FIRST ? v_first_bf16(pair) : v_second_bf16(pair);
}

/* One step along k: `vectors` vectors of a row of b against one element of each of `rows` rows of a. */
V_ALWAYS_INLINE void tile_step(const row_form form, const int rows, const int vectors, const bool partial, v_mask last,
                               v_float sums[V_TILE_ROWS][V_MOST_VECTORS], const float *a, int64_t lda, const float *b) {
    v_float columns[V_MOST_VECTORS];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; j++) columns[j] = load_row(form, partial && j == vectors - 1, last, b + j * V_WIDTH);
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
        const v_float row = v_set(a[i * lda]);
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) sums[i][j] = v_fma(row, columns[j], sums[i][j]);
    }
}

/* Where a tile's product is read and written; `each` lines of each range are fetched every four steps. */
typedef struct tile_place {
    float *c;
    const float *a, *b; /* b: or pairs of bfloat16, one in the place of a float */
    const bert_fetch *fetch;
    const char *from;
    int64_t each;
} tile_place;

/*
 * One chain of a tile of c: `rows` by `vectors` vectors of sums stay in registers through `steps` of k. All but the
 * pointers are constants of the call, so that the loops unroll and each combination becomes straight code. `partial`:
 * only the lanes of `last` of the rightmost vector are there.
 */
V_ALWAYS_INLINE void tile_chain(const bool pairs, const int rows, const int vectors, const bool partial, v_mask last,
                                const bert_sgemm_args *args, tile_place *at, int64_t steps, bool accumulate) {
    const int64_t lda = args->lda, ldb = args->ldb, ldc = args->ldc;
    const float *a = at->a, *b = at->b;
    const char *from = at->from;
    v_float sums[V_TILE_ROWS][V_MOST_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) sums[i][j] = v_set(0.0F);
    }
    int64_t p = 0;
    for (; p + 4 <= steps; p += 4) {
        for (int64_t line = 0; line < at->each; line++, from += BERT_FETCH_LINE) fetch_turn(at->fetch, from);
#pragma GCC unroll 4
        for (int step = 0; step < 4; step++) {
            const row_form form = !pairs ? ROW_FLOAT : step % 2 == 0 ? ROW_FIRST : ROW_SECOND;
            tile_step(form, rows, vectors, partial, last, sums, a, lda, b);
            a++;
            if (form != ROW_FIRST) b += ldb;
        }
    }
    for (; p < steps; p++, a++) {
        if (pairs && p % 2 == 0) {
            tile_step(ROW_FIRST, rows, vectors, partial, last, sums, a, lda, b);
        } else {
            tile_step(pairs ? ROW_SECOND : ROW_FLOAT, rows, vectors, partial, last, sums, a, lda, b);
            b += ldb;
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            float *place = at->c + i * ldc + j * V_WIDTH;
            const bool cut = partial && j == vectors - 1;
            v_float sum = sums[i][j];
            if (accumulate) sum = v_add(cut ? v_load_first(place, last) : v_load(place), sum);
            if (cut)
                v_store_first(place, last, sum);
            else
                v_store(place, sum);
        }
    }
    at->a = a;
    at->b = b;
    at->from = from;
}

/* A tile of c over the whole of k, chain by chain. */
V_ALWAYS_INLINE void tile(const bool pairs, const int rows, const int vectors, const bool partial, v_mask last,
                          const bert_sgemm_args *args, float *c, const float *a, const float *b, const char *from,
                          int64_t lines) {
    const int64_t k = args->k;
    /* What is fetched ahead is spread over the steps. */
    const int64_t each = lines > 0 ? (lines + k / 4) / (k / 4 + 1) : 0;
    tile_place at = {.c = c, .a = a, .b = b, .fetch = &args->fetch, .from = from, .each = each};
    int64_t begin = 0;
    do { /* once even where k is 0: zeros */
        const int64_t steps = k - begin < BERT_SGEMM_CHAIN ? k - begin : BERT_SGEMM_CHAIN;
        tile_chain(pairs, rows, vectors, partial, last, args, &at, steps, args->accumulate || begin > 0);
        begin += BERT_SGEMM_CHAIN;
    } while (begin < k);
}

/* Columns of one tile's width over all rows, `most` at a time. */
V_ALWAYS_INLINE void tile_column(const bool pairs, const int most, const int vectors, const bool partial, v_mask last,
                                 const bert_sgemm_args *args, int64_t first) {
    const int shared_rows = most / 2 + 1; /* half of a tile and the two rows that may be left after it */
    const int64_t tiles = (args->m + most - 1) / most;
    const int64_t lines = (args->fetch.lines + tiles - 1) / tiles;
    const char *from = args->fetch.from;
    const float *b = args->b + first, *a = args->a;
    float *c = args->c + first;
    int64_t whole = args->m / most, rest = args->m % most;
    /* One or two rows alone are too few chains to fill the units: they share with the last whole tile. */
    const bool shared = whole >= V_SHARED_TILES && (rest == 1 || rest == 2);
    if (shared) whole--;
    for (int64_t i = 0; i < whole; i++, from += lines * BERT_FETCH_LINE) {
        tile(pairs, most, vectors, partial, last, args, c, a, b, from, lines);
        a += most * args->lda;
        c += most * args->ldc;
    }
    if (shared) {
        tile(pairs, shared_rows, vectors, partial, last, args, c, a, b, from, lines);
        a += shared_rows * args->lda;
        c += shared_rows * args->ldc;
        rest += most - shared_rows;
    }
    switch (rest) {
#define TILE_CASE(rows)                                                                                                \
    case rows:                                                                                                         \
        if (rows < most) tile(pairs, rows, vectors, partial, last, args, c, a, b, from, lines);                        \
        break;
        TILE_CASE(1)
        TILE_CASE(2)
        TILE_CASE(3)
        TILE_CASE(4)
        TILE_CASE(5)
#if BERT_V_TILE_ROWS > 6
        TILE_CASE(6)
        TILE_CASE(7)
#endif
#undef TILE_CASE
    default:
        break;
    }
}

static void tile_columns_1(const bert_sgemm_args *args, int64_t first) {
    tile_column(false, V_TILE_ROWS, 1, false, v_first(0), args, first);
}
static void tile_columns_2(const bert_sgemm_args *args, int64_t first) {
    tile_column(false, V_TILE_ROWS, 2, false, v_first(0), args, first);
}
#if BERT_V_TILE_VECTORS > 2
static void tile_columns_3(const bert_sgemm_args *args, int64_t first) {
    tile_column(false, V_TILE_ROWS, 3, false, v_first(0), args, first);
}
static void tile_columns_4(const bert_sgemm_args *args, int64_t first) {
    tile_column(false, V_WIDE_ROWS, V_MOST_VECTORS, false, v_first(0), args, first);
}
#endif
static void tile_columns_partial(const bert_sgemm_args *args, int64_t first) {
    tile_column(false, V_TILE_ROWS, 1, true, v_first(args->n - first), args, first);
}

static void sgemm(const bert_sgemm_args *args) {
    int64_t first = 0;
    while (args->n - first >= V_WIDTH) {
        const int64_t vectors = (args->n - first) / V_WIDTH;
#if BERT_V_TILE_VECTORS > 2
        if (vectors >= 3) {
            const bool four = vectors % 3 != 0 && vectors != 5; /* so that none or few are left: 7 = 4 + 3, 8 = 4 + 4 */
            (four ? tile_columns_4 : tile_columns_3)(args, first);
            first += (four ? 4 : 3) * V_WIDTH;
            continue;
        }
#endif
        if (vectors >= 2) {
            tile_columns_2(args, first);
            first += 2 * V_WIDTH;
        } else {
            tile_columns_1(args, first);
            first += V_WIDTH;
        }
    }
    if (first < args->n) tile_columns_partial(args, first);
}

static void pair_columns(const bert_sgemm_args *args, int64_t first) {
    tile_column(true, V_TILE_ROWS, V_TILE_VECTORS, false, v_first(0), args, first);
}
static void pair_columns_1(const bert_sgemm_args *args, int64_t first) {
    tile_column(true, V_TILE_ROWS, 1, false, v_first(0), args, first);
}
static void pair_columns_partial(const bert_sgemm_args *args, int64_t first) {
    tile_column(true, V_TILE_ROWS, 1, true, v_first(args->n - first), args, first);
}

/* Panels are as wide as a tile: there is one, or of the last panel what is left. */
static void sgemm_bf16(const bert_sgemm_bf16_args *args) {
    bert_sgemm_args product = args->product;
    product.b = (const float *)(const void *)args->b;
    int64_t first = 0;
    for (; product.n - first >= V_TILE_VECTORS * V_WIDTH; first += V_TILE_VECTORS * V_WIDTH)
        pair_columns(&product, first);
    for (; product.n - first >= V_WIDTH; first += V_WIDTH) pair_columns_1(&product, first);
    if (first < product.n) pair_columns_partial(&product, first);
}

/* ---- Elementwise ------------------------------------------------------------------------------------------------- */

V_ALWAYS_INLINE v_float apply(const bert_unary op, v_float x) {
    switch (op) {
    case BERT_UNARY_RELU:
        return v_max(v_set(0.0F), x);
    case BERT_UNARY_TANH:
        return v_tanh(x);
    case BERT_UNARY_ERF:
        return v_erf(x);
    case BERT_UNARY_GELU:
        return v_gelu(x);
    case BERT_UNARY_GELU_TANH:
        return v_gelu_tanh(x);
    case BERT_UNARY_QUICK_GELU:
        return v_mul(x, v_sigmoid(v_mul(x, v_set(1.702F))));
    case BERT_UNARY_SILU:
        return v_mul(x, v_sigmoid(x));
    case BERT_UNARY_SIGMOID:
        return v_sigmoid(x);
    case BERT_UNARY_EXP:
        return v_exp(x);
    case BERT_UNARY_SQRT:
        return v_sqrt(x);
    case BERT_UNARY_ABS:
        return v_abs(x);
    case BERT_UNARY_NEGATE:
        return v_negate(x);
    case BERT_UNARY_RECIPROCAL:
        return v_div(v_set(1.0F), x);
    default:
        return x;
    }
}

/* CALL(op) for the value of `op`, as a constant: one loop for each. */
#define FOR_EACH_UNARY(op, CALL)                                                                                       \
    switch (op) {                                                                                                      \
    case BERT_UNARY_RELU:                                                                                              \
        CALL(BERT_UNARY_RELU);                                                                                         \
        break;                                                                                                         \
    case BERT_UNARY_TANH:                                                                                              \
        CALL(BERT_UNARY_TANH);                                                                                         \
        break;                                                                                                         \
    case BERT_UNARY_ERF:                                                                                               \
        CALL(BERT_UNARY_ERF);                                                                                          \
        break;                                                                                                         \
    case BERT_UNARY_GELU:                                                                                              \
        CALL(BERT_UNARY_GELU);                                                                                         \
        break;                                                                                                         \
    case BERT_UNARY_GELU_TANH:                                                                                         \
        CALL(BERT_UNARY_GELU_TANH);                                                                                    \
        break;                                                                                                         \
    case BERT_UNARY_QUICK_GELU:                                                                                        \
        CALL(BERT_UNARY_QUICK_GELU);                                                                                   \
        break;                                                                                                         \
    case BERT_UNARY_SILU:                                                                                              \
        CALL(BERT_UNARY_SILU);                                                                                         \
        break;                                                                                                         \
    case BERT_UNARY_SIGMOID:                                                                                           \
        CALL(BERT_UNARY_SIGMOID);                                                                                      \
        break;                                                                                                         \
    case BERT_UNARY_EXP:                                                                                               \
        CALL(BERT_UNARY_EXP);                                                                                          \
        break;                                                                                                         \
    case BERT_UNARY_SQRT:                                                                                              \
        CALL(BERT_UNARY_SQRT);                                                                                         \
        break;                                                                                                         \
    case BERT_UNARY_ABS:                                                                                               \
        CALL(BERT_UNARY_ABS);                                                                                          \
        break;                                                                                                         \
    case BERT_UNARY_NEGATE:                                                                                            \
        CALL(BERT_UNARY_NEGATE);                                                                                       \
        break;                                                                                                         \
    case BERT_UNARY_RECIPROCAL:                                                                                        \
        CALL(BERT_UNARY_RECIPROCAL);                                                                                   \
        break;                                                                                                         \
    default:                                                                                                           \
        CALL(BERT_UNARY_IDENTITY);                                                                                     \
        break;                                                                                                         \
    }

V_ALWAYS_INLINE void unary_loop(const bert_unary_args *args, const bert_unary op) {
    const float *x = args->x;
    float *y = args->y;
    int64_t i = 0;
    for (; i + V_WIDTH <= args->n; i += V_WIDTH) v_store(y + i, apply(op, v_load(x + i)));
    if (i < args->n) {
        const v_mask first = v_first(args->n - i);
        v_store_first(y + i, first, apply(op, v_load_first(x + i, first)));
    }
}

static void unary(const bert_unary_args *args){
#define CALL(op) unary_loop(args, op)
    FOR_EACH_UNARY(args->op, CALL)
#undef CALL
}

V_ALWAYS_INLINE void epilogue_loop(const bert_epilogue_args *args, const bert_unary op) {
    const v_float alpha = v_set(args->alpha);
    const int64_t n = args->n;
    for (int64_t row = 0; row < args->rows; row++) {
        float *y = args->y + row * args->stride;
        const float *residual = args->residual ? args->residual + row * args->residual_stride : NULL;
        int64_t i = 0;
        for (; i + V_WIDTH <= n; i += V_WIDTH) {
            const v_float bias = args->bias ? v_load(args->bias + i) : v_set(0.0F);
            v_float value = apply(op, v_fma(alpha, v_load(y + i), bias));
            if (residual) value = v_add(value, v_load(residual + i));
            v_store(y + i, value);
        }
        if (i < n) {
            const v_mask first = v_first(n - i);
            const v_float bias = args->bias ? v_load_first(args->bias + i, first) : v_set(0.0F);
            v_float value = apply(op, v_fma(alpha, v_load_first(y + i, first), bias));
            if (residual) value = v_add(value, v_load_first(residual + i, first));
            v_store_first(y + i, first, value);
        }
    }
}

static void epilogue(const bert_epilogue_args *args) {
#define CALL(op) epilogue_loop(args, op)
    FOR_EACH_UNARY(args->activation, CALL)
#undef CALL
}

/* ---- Ranges ------------------------------------------------------------------------------------------------------ */

/* Four of each hide that min and max take some cycles. Both keep their second operand where the first one is NaN. */
enum { RANGE_CHAINS = 4 };

static bert_row_range range_of(const float *x, int64_t n) {
    v_float least[RANGE_CHAINS], most[RANGE_CHAINS];
    for (int j = 0; j < RANGE_CHAINS; j++) least[j] = most[j] = v_set(0.0F);
    int64_t i = 0;
    for (; n - i >= V_WIDTH * RANGE_CHAINS; i += V_WIDTH * RANGE_CHAINS) {
#pragma GCC unroll 4
        for (int j = 0; j < RANGE_CHAINS; j++) {
            const v_float value = v_load(x + i + V_WIDTH * j);
            least[j] = v_min(value, least[j]);
            most[j] = v_max(value, most[j]);
        }
    }
    for (; i < n; i += V_WIDTH) {
        const v_float value = n - i < V_WIDTH ? v_load_first(x + i, v_first(n - i)) : v_load(x + i);
        least[0] = v_min(value, least[0]);
        most[0] = v_max(value, most[0]);
    }
    return v_range(v_min(v_min(least[0], least[1]), v_min(least[2], least[3])),
                   v_max(v_max(most[0], most[1]), v_max(most[2], most[3])));
}

static void range(const bert_range_args *args) {
    for (int64_t row = 0; row < args->rows; row++) args->ranges[row] = range_of(args->x + row * args->n, args->n);
}

/* ---- Products of 8 bits back to floats --------------------------------------------------------------------------- */

_Static_assert(BERT_QGEMM_COLUMNS % V_WIDTH == 0, "a panel is whole vectors");

/* Vectors of a panel. Their numbers are loaded once for all rows; with AVX-512 they stay in registers. */
enum { V_PANEL_VECTORS = BERT_QGEMM_COLUMNS / V_WIDTH };

/* Lines of y are asked for so many rows before they are written: a panel's part of a row is seldom in the first level.
 */
enum { ROWS_AHEAD = 8 };

/* What columns share as long as the scale and zero point of x stay the same. */
typedef struct dequantized_strip {
    v_int taken[V_PANEL_VECTORS]; /* what the zero point of x takes off */
    v_float scales[V_PANEL_VECTORS], bias[V_PANEL_VECTORS];
} dequantized_strip;

/* Whole vectors, or with `cut` the lanes that are there; zeros elsewhere. */
V_ALWAYS_INLINE v_float load_columns(const bool cut, v_mask lanes, const float *at) {
    return cut ? v_load_first(at, lanes) : v_load(at);
}
V_ALWAYS_INLINE v_int load_int_columns(const bool cut, v_mask lanes, const int32_t *at) {
    return cut ? v_load_int_first(at, lanes) : v_load_int(at);
}

/* Lanes of the least and the greatest of a row. They become one range each for several rows at a time: among what makes
 * y there are no registers left for it. */
enum { RANGE_ROWS = 16 };
typedef struct range_ends {
    v_float least, most;
} range_ends;

/* What a strip adds to the ranges of the rows of a group up to `last`. */
static void widen_ranges(const bert_dequantize_args *args, const range_ends *ends, int64_t last, bool begins) {
    for (int64_t row = last / RANGE_ROWS * RANGE_ROWS; row <= last; row++) {
        const bert_row_range part = v_range(ends[row % RANGE_ROWS].least, ends[row % RANGE_ROWS].most);
        bert_row_range *all = args->ranges + row * args->range_stride;
        if (begins) *all = part;
        if (part.least < all->least) all->least = part.least;
        if (part.most > all->most) all->most = part.most;
    }
}

static bool all_equal(const int32_t *values, int64_t n) {
    int32_t bits = 0;
    for (int64_t i = 1; i < n; i++) bits |= values[i] ^ values[0];
    return bits == 0;
}

/*
 * Columns from `first` on through all rows: `vectors` whole ones, or with `cut` one of as many lanes as there are.
 * `one_zero`: the weight has one zero point, or none, so that a row has one product with it: integer products are slow.
 */
V_ALWAYS_INLINE void dequantize_strip(const bert_dequantize_args *args, const bert_unary op, const bool ranged,
                                      bool one_zero, const int vectors, const bool cut, int64_t first) {
    const v_mask lanes = v_first(args->n - first < V_WIDTH ? args->n - first : V_WIDTH);
    const bool biased = args->bias != NULL;
    spread_fetch fetch = spread_over(&args->fetch, args->rows);
    dequantized_strip strip;
    range_ends ends[RANGE_ROWS];
#pragma GCC unroll 8
    for (int j = 0; j < vectors; j++)
        strip.bias[j] = biased ? load_columns(cut, lanes, args->bias + first + j * V_WIDTH) : v_set(0.0F);
    for (int64_t row = 0; row < args->rows; row++) {
        const int32_t *c = args->c + row * BERT_QGEMM_COLUMNS + first, x_zero = args->x_zeros[row];
        const float *residual = args->residual ? args->residual + row * args->residual_stride + first : NULL;
        float *y = args->y + row * args->stride + first;
        const float x_scale = args->x_scales[row];
        if (first == 0) fetch_at_point(&fetch);
        for (int j = 0; j < vectors && row + ROWS_AHEAD < args->rows; j++)
            __builtin_prefetch(y + ROWS_AHEAD * args->stride + j * V_WIDTH, 1, 3);
        const uint32_t sum = (uint32_t)args->x_sums[row];
        v_float least = v_set(0.0F), most = v_set(0.0F);
        const v_int same = v_set_int((int32_t)(sum * (uint32_t)(one_zero ? args->zeros[first] : 0)));
        /* Rows of a tensor or a sequence have one scale and zero point. */
        if (row == 0 || x_zero != args->x_zeros[row - 1] || x_scale != args->x_scales[row - 1]) {
#pragma GCC unroll 8
            for (int j = 0; j < vectors; j++) {
                const int64_t column = first + j * V_WIDTH;
                strip.taken[j] = v_mul_int(v_set_int(x_zero), load_int_columns(cut, lanes, args->offsets + column));
                strip.scales[j] = v_mul(v_set(x_scale), load_columns(cut, lanes, args->scales + column));
            }
        }
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) {
            const int64_t column = j * V_WIDTH;
            v_int share = same;
            if (!one_zero)
                share = v_mul_int(v_set_int((int32_t)sum), load_int_columns(cut, lanes, args->zeros + first + column));
            const v_int whole = v_sub_int(v_sub_int(load_int_columns(cut, lanes, c + column), strip.taken[j]), share);
            v_float value = v_mul(v_to_float(whole), strip.scales[j]);
            if (biased) value = v_add(value, strip.bias[j]);
            value = apply(op, value);
            if (residual) value = v_add(value, load_columns(cut, lanes, residual + column));
            if (cut)
                v_store_first(y + column, lanes, value);
            else
                v_store(y + column, value);
            if (!ranged) continue;
            if (cut) value = v_select(lanes, value, v_set(0.0F));
            least = v_min(value, least);
            most = v_max(value, most);
        }
        if (!ranged) continue;
        ends[row % RANGE_ROWS] = (range_ends){least, most};
        if (row % RANGE_ROWS == RANGE_ROWS - 1 || row == args->rows - 1) widen_ranges(args, ends, row, first == 0);
    }
}

/* A panel in one go; of the last panel, which may be narrower, one vector after the other. */
V_ALWAYS_INLINE void dequantize_columns(const bert_dequantize_args *args, const bert_unary op, const bool ranged,
                                        bool one_zero) {
    if (args->n == BERT_QGEMM_COLUMNS) {
        dequantize_strip(args, op, ranged, one_zero, V_PANEL_VECTORS, false, 0);
        return;
    }
    for (int64_t first = 0; first < args->n; first += V_WIDTH)
        dequantize_strip(args, op, ranged, one_zero, 1, true, first);
}

static void dequantize(const bert_dequantize_args *args) {
    const bool one_zero = all_equal(args->zeros, args->n);
#define CALL(op)                                                                                                       \
    args->ranges ? dequantize_columns(args, op, true, one_zero) : dequantize_columns(args, op, false, one_zero)
    FOR_EACH_UNARY(args->activation, CALL)
#undef CALL
}

V_ALWAYS_INLINE void dequantize_bytes_loop(const bert_dequantize_bytes_args *args, const bool is_signed) {
    const uint8_t *x = args->x;
    const v_float scale = v_set(args->scale);
    const v_int zero_point = v_set_int(args->zero_point);
    int64_t i = 0;
    for (; i + V_WIDTH <= args->n; i += V_WIDTH)
        v_store(args->y + i, v_mul(v_to_float(v_sub_int(v_widen(x + i, is_signed), zero_point)), scale));
    if (i < args->n) {
        const v_int value = v_sub_int(v_widen_first(x + i, args->n - i, is_signed), zero_point);
        v_store_first(args->y + i, v_first(args->n - i), v_mul(v_to_float(value), scale));
    }
}

static void dequantize_bytes(const bert_dequantize_bytes_args *args) {
    if (args->is_signed)
        dequantize_bytes_loop(args, true);
    else
        dequantize_bytes_loop(args, false);
}

V_ALWAYS_INLINE v_float combine(const bert_binary op, v_float a, v_float b) {
    switch (op) {
    case BERT_BINARY_SUBTRACT:
        return v_sub(a, b);
    case BERT_BINARY_MULTIPLY:
        return v_mul(a, b);
    case BERT_BINARY_DIVIDE:
        return v_div(a, b);
    default:
        return v_add(a, b);
    }
}

V_ALWAYS_INLINE void binary_loop(const bert_binary_args *args, const bert_binary op) {
    int64_t i = 0;
    for (; i + V_WIDTH <= args->n; i += V_WIDTH) {
        const v_float a = args->a_stride ? v_load(args->a + i) : v_set(args->a[0]);
        const v_float b = args->b_stride ? v_load(args->b + i) : v_set(args->b[0]);
        v_store(args->y + i, combine(op, a, b));
    }
    if (i < args->n) {
        const v_mask first = v_first(args->n - i);
        const v_float a = args->a_stride ? v_load_first(args->a + i, first) : v_set(args->a[0]);
        const v_float b = args->b_stride ? v_load_first(args->b + i, first) : v_set(args->b[0]);
        v_store_first(args->y + i, first, combine(op, a, b));
    }
}

static void binary(const bert_binary_args *args) {
    switch (args->op) {
    case BERT_BINARY_SUBTRACT:
        binary_loop(args, BERT_BINARY_SUBTRACT);
        break;
    case BERT_BINARY_MULTIPLY:
        binary_loop(args, BERT_BINARY_MULTIPLY);
        break;
    case BERT_BINARY_DIVIDE:
        binary_loop(args, BERT_BINARY_DIVIDE);
        break;
    default:
        binary_loop(args, BERT_BINARY_ADD);
        break;
    }
}

/* ---- Rows -------------------------------------------------------------------------------------------------------- */

/* Four sums hide the latency of an addition; they are added pairwise at the end. */
enum { SUMS = 4 };

V_ALWAYS_INLINE float sum_up(const v_float sums[SUMS]) {
    return v_sum(v_add(v_add(sums[0], sums[1]), v_add(sums[2], sums[3])));
}

V_ALWAYS_INLINE v_float add_row(const float *x, const float *bias, const float *skip, int64_t i) {
    v_float value = v_load(x + i);
    if (bias) value = v_add(value, v_load(bias + i));
    return skip ? v_add(value, v_load(skip + i)) : value;
}

V_ALWAYS_INLINE v_float add_row_first(const float *x, const float *bias, const float *skip, int64_t i, v_mask first) {
    v_float value = v_load_first(x + i, first);
    if (bias) value = v_add(value, v_load_first(bias + i, first));
    return skip ? v_add(value, v_load_first(skip + i, first)) : value;
}

/* y = x + bias + skip; returns the sum of y. */
static float add_rows(float *y, const float *x, const float *bias, const float *skip, int64_t n) {
    v_float sums[SUMS] = {v_set(0.0F), v_set(0.0F), v_set(0.0F), v_set(0.0F)};
    int64_t i = 0;
    for (; i + SUMS * V_WIDTH <= n; i += SUMS * V_WIDTH) {
#pragma GCC unroll 4
        for (int j = 0; j < SUMS; j++) {
            const v_float value = add_row(x, bias, skip, i + j * V_WIDTH);
            v_store(y + i + j * V_WIDTH, value);
            sums[j] = v_add(sums[j], value);
        }
    }
    for (; i + V_WIDTH <= n; i += V_WIDTH) {
        const v_float value = add_row(x, bias, skip, i);
        v_store(y + i, value);
        sums[0] = v_add(sums[0], value);
    }
    if (i < n) {
        const v_mask first = v_first(n - i);
        const v_float value = add_row_first(x, bias, skip, i, first);
        v_store_first(y + i, first, value);
        sums[1] = v_add(sums[1], value);
    }
    return sum_up(sums);
}

/* The sum of (x - mean)^2. */
static float sum_squares(const float *x, float mean, int64_t n) {
    v_float sums[SUMS] = {v_set(0.0F), v_set(0.0F), v_set(0.0F), v_set(0.0F)};
    const v_float center = v_set(mean);
    int64_t i = 0;
    for (; i + SUMS * V_WIDTH <= n; i += SUMS * V_WIDTH) {
#pragma GCC unroll 4
        for (int j = 0; j < SUMS; j++) {
            const v_float value = v_sub(v_load(x + i + j * V_WIDTH), center);
            sums[j] = v_fma(value, value, sums[j]);
        }
    }
    for (; i + V_WIDTH <= n; i += V_WIDTH) {
        const v_float value = v_sub(v_load(x + i), center);
        sums[0] = v_fma(value, value, sums[0]);
    }
    if (i < n) {
        const v_mask first = v_first(n - i);
        const v_float value = v_select(first, v_sub(v_load_first(x + i, first), center), v_set(0.0F));
        sums[1] = v_fma(value, value, sums[1]);
    }
    return sum_up(sums);
}

static void normalize(float *y, const float *x, float mean, float scale, const bert_layer_norm_args *args) {
    const v_float center = v_set(mean), factor = v_set(scale);
    const int64_t n = args->n;
    int64_t i = 0;
    for (; i + V_WIDTH <= n; i += V_WIDTH) {
        const v_float value = v_mul(v_sub(v_load(x + i), center), factor);
        const v_float beta = args->beta ? v_load(args->beta + i) : v_set(0.0F);
        v_store(y + i, v_fma(value, v_load(args->gamma + i), beta));
    }
    if (i < n) {
        const v_mask first = v_first(n - i);
        const v_float value = v_mul(v_sub(v_load_first(x + i, first), center), factor);
        const v_float beta = args->beta ? v_load_first(args->beta + i, first) : v_set(0.0F);
        v_store_first(y + i, first, v_fma(value, v_load_first(args->gamma + i, first), beta));
    }
}

static void layer_norm(const bert_layer_norm_args *args) {
    const float count = (float)args->n;
    for (int64_t row = 0; row < args->rows; row++) {
        const int64_t offset = row * args->n;
        float *y = args->y + offset;
        float *sum = args->sum ? args->sum + offset : y;
        const float total =
            add_rows(sum, args->x + offset, args->bias, args->skip ? args->skip + offset : NULL, args->n);
        const float mean = args->simplified ? 0.0F : total / count;
        const float scale = 1.0F / sqrtf(sum_squares(sum, mean, args->n) / count + args->epsilon);
        normalize(y, sum, mean, scale, args);
    }
}

/* Pairs of a row whose first elements x begins with: a vector of them, or with `partial` the lanes of `first`. */
V_ALWAYS_INLINE void rotate_pairs(const bool partial, v_mask first, float *y, const float *x, const float *cosines,
                                  const float *sines, int64_t half) {
    const v_float low = load_columns(partial, first, x), high = load_columns(partial, first, x + half);
    const v_float low_part = v_mul(low, load_columns(partial, first, cosines));
    const v_float high_part = v_mul(high, load_columns(partial, first, cosines + half));
    const v_float new_low = v_fnma(high, load_columns(partial, first, sines), low_part);
    const v_float new_high = v_fma(low, load_columns(partial, first, sines + half), high_part);
    if (partial) {
        v_store_first(y, first, new_low);
        v_store_first(y + half, first, new_high);
    } else {
        v_store(y, new_low);
        v_store(y + half, new_high);
    }
}

static void rotate(const bert_rotate_args *args) {
    const int64_t half = args->n / 2;
    for (int64_t row = 0; row < args->rows; row++) {
        const float *x = args->x + row * args->ldx;
        const float *cosines = args->cosines + row * args->ld_angles, *sines = args->sines + row * args->ld_angles;
        float *y = args->y + row * args->ldy;
        int64_t i = 0;
        for (; i + V_WIDTH <= half; i += V_WIDTH)
            rotate_pairs(false, v_first(0), y + i, x + i, cosines + i, sines + i, half);
        if (i < half) rotate_pairs(true, v_first(half - i), y + i, x + i, cosines + i, sines + i, half);
    }
}

static void transpose(const bert_transpose_args *args) {
    const int64_t ldx = args->ldx, ldy = args->ldy;
    int64_t row = 0;
    for (; row + V_WIDTH <= args->rows; row += V_WIDTH) {
        int64_t column = 0;
        for (; column + V_WIDTH <= args->columns; column += V_WIDTH)
            v_transpose_square(args->y + column * ldy + row, ldy, args->x + row * ldx + column, ldx);
        for (; column < args->columns; column++)
            for (int64_t i = row; i < row + V_WIDTH; i++) args->y[column * ldy + i] = args->x[i * ldx + column];
    }
    for (; row < args->rows; row++)
        for (int64_t column = 0; column < args->columns; column++)
            args->y[column * ldy + row] = args->x[row * ldx + column];
}

/* ---- Elements by their indices ----------------------------------------------------------------------------------- */

/* A row of x: the element that index `first` names, and the last two vectors' first. */
typedef struct take_row {
    const float *x;
    int32_t first, last, width;
    v_mask low, high; /* lanes of x where it has less than two vectors */
} take_row;

/* Elements of the row by the indices of `lanes`, which are `count`. `narrow`: of a row of less than two vectors. */
V_ALWAYS_INLINE v_float take_lanes(const bool narrow, const bool cut, const take_row *row, const int32_t *index,
                                   v_mask lanes, int64_t count) {
    const v_int at = cut ? v_load_int_first(index, lanes) : v_load_int(index);
    /* Where indices ascend or descend, the lesser end is where all of them are found from. */
    int32_t from = index[0] < index[count - 1] ? index[0] : index[count - 1];
    from = from < row->last ? from : row->last;
    from = from > row->first ? from : row->first;
    const v_int near = v_sub_int(at, v_set_int(from));
    if (!v_can_choose(near, lanes)) return v_gather(row->x, v_sub_int(at, v_set_int(row->first)), row->width, lanes);
    const float *x = row->x + (from - row->first);
    if (narrow) return v_choose(v_load_first(x, row->low), v_load_first(x + V_WIDTH, row->high), near);
    return v_choose(v_load(x), v_load(x + V_WIDTH), near);
}

V_ALWAYS_INLINE void take_rows(const bool narrow, const bool sum, const bert_take_args *args, take_row row) {
    const v_float scale = v_set(args->scale);
    const v_mask all = v_first(V_WIDTH), rest = v_first(args->n % V_WIDTH);
    const int64_t whole = args->n - args->n % V_WIDTH;
    for (int64_t i = 0; i < args->rows; i++) {
        float *y = args->y + i * args->ldy;
        const float *plus = sum ? args->plus + i * args->ld_plus : NULL;
        const int32_t *index = args->index + i * args->ld_index;
        row.x = args->x + i * args->ldx;
        for (int64_t j = 0; j < whole; j += V_WIDTH) {
            const v_float x = take_lanes(narrow, false, &row, index + j, all, V_WIDTH);
            v_store(y + j, sum ? v_fma(scale, x, v_load(plus + j)) : v_mul(scale, x));
        }
        if (whole == args->n) continue;
        const v_float x = take_lanes(narrow, true, &row, index + whole, rest, args->n - whole);
        v_store_first(y + whole, rest, sum ? v_fma(scale, x, v_load_first(plus + whole, rest)) : v_mul(scale, x));
    }
}

static void take(const bert_take_args *args) {
    const int64_t width = args->width;
    const bool narrow = width < 2 * V_WIDTH;
    const take_row row = {.first = args->first,
                          .last = narrow ? args->first : (int32_t)(args->first + width - 2 * V_WIDTH),
                          .width = (int32_t)width,
                          .low = v_first(width < V_WIDTH ? width : V_WIDTH),
                          .high = v_first(narrow && width > V_WIDTH ? width - V_WIDTH : 0)};
    if (narrow)
        args->plus ? take_rows(true, true, args, row) : take_rows(true, false, args, row);
    else
        args->plus ? take_rows(false, true, args, row) : take_rows(false, false, args, row);
}

#include "cpu/kernels/vector_attention.h"
#include "cpu/kernels/vector_quantized.h"

/* The table of the file that includes this one, with the kernels that it adds. */
#define BERT_CPU_VECTOR_TABLE(...)                                                                                     \
    {                                                                                                                  \
        .sgemm = sgemm, .sgemm_bf16 = sgemm_bf16, .epilogue = epilogue, .layer_norm = layer_norm, .softmax = softmax,  \
        .attention = attention, .unary = unary, .binary = binary, .rotate = rotate, .transpose = transpose,            \
        .take = take, .range = range, .dequantize = dequantize, .dequantize_bytes = dequantize_bytes,                  \
        .quantized_add = quantized_add, .sgemm_columns = V_TILE_VECTORS * V_WIDTH, .sgemm_rows = V_TILE_ROWS,          \
        __VA_ARGS__                                                                                                    \
    }
