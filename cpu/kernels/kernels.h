/*
 * The kernels of the CPU backend: one struct of function pointers, one list that declares them.
 *
 * Each instruction set has a file that exports one const table with the kernels that it has; the others are NULL.
 * Selection starts from the scalar table, which is complete and written with the C library's functions: the oracle that
 * tests hold every other kernel to, by walking BERT_CPU_KERNELS. A new kernel is a line of this list, a scalar
 * implementation, a test under tests/cpu, and then as many faster ones as are worth having.
 *
 * Rules for all: sizes are elements; nothing outside the given extents is read or written (tails are masked); no
 * alignment is needed beyond the type's; any thread; outputs don't overlap inputs unless a kernel says so. Every row of
 * a result depends on its own row of inputs only, by the same operations in the same order whatever the number of rows.
 */
#ifndef BERT_CPU_KERNELS_KERNELS_H
#define BERT_CPU_KERNELS_KERNELS_H

#include "core/base/cpu_features.h"

#include <bert/backend.h>

/** Functions of one variable; also the activations of a Linear. */
typedef enum bert_unary {
    BERT_UNARY_IDENTITY,
    BERT_UNARY_RELU,
    BERT_UNARY_TANH,
    BERT_UNARY_ERF,
    BERT_UNARY_GELU,       /**< x (1 + erf(x / sqrt 2)) / 2 */
    BERT_UNARY_GELU_TANH,  /**< x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 */
    BERT_UNARY_QUICK_GELU, /**< x sigmoid(1.702 x) */
    BERT_UNARY_SILU,       /**< x sigmoid(x) */
    BERT_UNARY_SIGMOID,
    BERT_UNARY_EXP,
    BERT_UNARY_SQRT,
    BERT_UNARY_ABS,
    BERT_UNARY_NEGATE,
    BERT_UNARY_RECIPROCAL,
    BERT_UNARY_COUNT
} bert_unary;

typedef enum bert_binary {
    BERT_BINARY_ADD,
    BERT_BINARY_SUBTRACT,
    BERT_BINARY_MULTIPLY,
    BERT_BINARY_DIVIDE,
    BERT_BINARY_COUNT
} bert_binary;

/** Steps of k that are added up one after the other, see bert_sgemm_args. */
enum { BERT_SGEMM_CHAIN = 256 };

/** Bytes of a cache line, by which is fetched. */
enum { BERT_FETCH_LINE = 64 };

/**
 * What will be needed next, for kernels to fetch while they compute: `lines` cache lines of each of `streams` ranges,
 * one of each in turn; the ranges begin at `from`, `stride` bytes apart. Hardware that prefetches follows a range as
 * far as its page goes, and rests until the next page is touched: with several ranges memory is never at rest. 0 lines:
 * nothing.
 */
typedef struct bert_fetch {
    const char *from;
    int64_t lines, stride;
    int32_t streams;
} bert_fetch;

/** Takes the first `lines` of each range, or all, from the front. */
static inline bert_fetch bert_fetch_take(bert_fetch *rest, int64_t lines) {
    bert_fetch front = *rest;
    if (lines < front.lines) front.lines = lines;
    rest->from += front.lines * BERT_FETCH_LINE;
    rest->lines -= front.lines;
    return front;
}

/**
 * c[m, n] = a[m, k] b[k, n], or with `accumulate` c += a b; rows `ldc`, `lda`, `ldb` elements apart. Those of b may
 * overlap (ldb < n): a convolution's do. Each element is a chain of additions in order of k over every BERT_SGEMM_CHAIN
 * steps, and the chains are added in order: shorter chains round less (one of 3,072 steps is off three times as far).
 * So a product cut along k at a multiple of BERT_SGEMM_CHAIN gives the same bits as one that is not.
 */
typedef struct bert_sgemm_args {
    float *c;
    const float *a, *b;
    int64_t ldc, lda, ldb;
    int64_t m, n, k;
    bool accumulate;
    bert_fetch fetch;
} bert_sgemm_args;

/** y = activation(alpha y + bias) + residual over y[rows, n], in place. */
typedef struct bert_epilogue_args {
    float *y;
    const float *bias;     /**< [n] or NULL. */
    const float *residual; /**< [rows, n], rows residual_stride apart, or NULL; may be y's own memory only if NULL. */
    int64_t stride, residual_stride;
    int64_t rows, n;
    float alpha;
    bert_unary activation;
} bert_epilogue_args;

/** y = (t - mean) / sqrt(variance + epsilon) gamma + beta by rows of t = x + bias + skip; y and sum may be x or skip.
 */
typedef struct bert_layer_norm_args {
    float *y;           /**< [rows, n] */
    float *sum;         /**< [rows, n]: t; or NULL. */
    const float *x;     /**< [rows, n] */
    const float *skip;  /**< [rows, n] or NULL. */
    const float *bias;  /**< [n] or NULL. */
    const float *gamma; /**< [n] */
    const float *beta;  /**< [n] or NULL. */
    int64_t rows, n;
    float epsilon;
    bool simplified; /**< No mean is subtracted. */
} bert_layer_norm_args;

/** y[n] = softmax(x scale + bias, where mask is 0: mask_value); y may be x. */
typedef struct bert_softmax_args {
    float *y;
    const float *x;
    int64_t n;
    float scale;
    const float *bias; /**< [n], or one element with bias_stride 0; NULL: none. */
    int64_t bias_stride;
    const uint8_t *mask; /**< Likewise. */
    int64_t mask_stride;
    float mask_value;
    bool nan_is_zero; /**< A result of NaN (nothing to attend to) becomes zeros. */
} bert_softmax_args;

/** Queries that one call of the attention kernel takes at most. */
enum { BERT_ATTENTION_ROWS = 64 };

/**
 * y[rows, width] = softmax(q keys scale + bias, where mask is 0: mask_value) values: some queries of one head. Rows of
 * each matrix are its ld elements apart.
 */
typedef struct bert_attention_args {
    float *y;
    const float *q;      /**< [rows, width]; at most BERT_ATTENTION_ROWS rows. */
    const float *keys;   /**< [width, n]: transposed. */
    const float *values; /**< [n, width] */
    float *scores;       /**< Scratch: [rows, n]. */
    int64_t ldy, ldq, ld_keys, ld_values, ld_scores;
    int64_t rows, n, width;
    float scale;
    const float *bias; /**< Of the first row; strides of 0 repeat a row, or one element of it. NULL: none. */
    int64_t bias_row_stride, bias_stride;
    const uint8_t *mask; /**< Likewise. */
    int64_t mask_row_stride, mask_stride;
    float mask_value;
    bool nan_is_zero; /**< A row with nothing to attend to gives zeros, not NaN. */
    /** Keys before these that count nothing and aren't given: sums over keys are cut into chains as if they were there,
     * so that they have the same bits. */
    int64_t lead;
} bert_attention_args;

/** The softmax of one row of an attention's scores, in place. */
static inline bert_softmax_args bert_attention_softmax(const bert_attention_args *args, int64_t row) {
    float *scores = args->scores + row * args->ld_scores;
    return (bert_softmax_args){.y = scores,
                               .x = scores,
                               .n = args->n,
                               .scale = args->scale,
                               .bias = args->bias ? args->bias + row * args->bias_row_stride : NULL,
                               .bias_stride = args->bias_stride,
                               .mask = args->mask ? args->mask + row * args->mask_row_stride : NULL,
                               .mask_stride = args->mask_stride,
                               .mask_value = args->mask_value,
                               .nan_is_zero = args->nan_is_zero};
}

/** y = scores values, the second product of attention. */
static inline void bert_attention_context(const bert_attention_args *args,
                                          void (*multiply)(const bert_sgemm_args *args)) {
    const int64_t rest = BERT_SGEMM_CHAIN - args->lead % BERT_SGEMM_CHAIN; /* of the chain that the first key is in */
    bert_sgemm_args product = {.c = args->y,
                               .a = args->scores,
                               .b = args->values,
                               .ldc = args->ldy,
                               .lda = args->ld_scores,
                               .ldb = args->ld_values,
                               .m = args->rows,
                               .n = args->width,
                               .k = args->n};
    if (rest < BERT_SGEMM_CHAIN && rest < args->n) {
        product.k = rest;
        multiply(&product);
        product.a += rest;
        product.b += rest * args->ld_values;
        product.k = args->n - rest;
        product.accumulate = true;
    }
    multiply(&product);
}

/** y[n] = a op b; a stride of 0 repeats one element. y may be a or b. */
typedef struct bert_binary_args {
    float *y;
    const float *a, *b;
    int64_t a_stride, b_stride; /**< 0 or 1. */
    int64_t n;
    bert_binary op;
} bert_binary_args;

/**
 * y[rows, n] = x[rows, n] rotated by angles [rows, n], elements i and i + n / 2 of a row being a pair; n is even:
 * y[i] = x[i] cosines[i] - x[i + n / 2] sines[i] and y[i + n / 2] = x[i + n / 2] cosines[i + n / 2] + x[i] sines[i + n
 * / 2]. Rows of each matrix are its ld elements apart, those of both angles ld_angles.
 */
typedef struct bert_rotate_args {
    float *y;
    const float *x, *cosines, *sines;
    int64_t ldy, ldx, ld_angles;
    int64_t rows, n;
} bert_rotate_args;

/** y[columns, rows] = transpose of x[rows, columns]; rows of each `ldy` and `ldx` elements apart. */
typedef struct bert_transpose_args {
    float *y;
    const float *x;
    int64_t ldy, ldx;
    int64_t rows, columns;
} bert_transpose_args;

/**
 * How floats are quantized and dequantized again: x becomes (x / scale, rounded half to even and clamped to [least,
 * most], + shift) new_scale. `least` and `most` are what bytes hold less the zero point, whole numbers; `shift` is the
 * zero point less that of dequantizing. NaN counts as the least.
 */
typedef struct bert_requantization {
    float scale, least, most, shift, new_scale;
} bert_requantization;

/** y[n] = y_by(a_by(a) + b), NULL changing nothing; a stride of 0 repeats one element. y may be a or b where that has a
 * stride of 1. */
typedef struct bert_quantized_add_args {
    float *y;
    const float *a, *b;
    int64_t a_stride, b_stride; /**< 0 or 1. */
    int64_t n;
    const bert_requantization *a_by, *y_by;
} bert_quantized_add_args;

/**
 * y[rows, n] = scale x[row, index[row, n] - first] + plus[rows, n], with 0 for what is outside x[rows, width]. Rows of
 * each are its ld elements apart; `first` and indices aren't negative, and first + width fits 31 bits. Fast where
 * indices side by side are close to each other.
 */
typedef struct bert_take_args {
    float *y;
    const float *x;
    const int32_t *index;
    const float *plus; /**< May be y. NULL: none. */
    int64_t ldy, ldx, ld_index, ld_plus;
    int64_t rows, n, width;
    int32_t first;
    float scale;
} bert_take_args;

/** y[n] = f(x[n]); y may be x. */
typedef struct bert_unary_args {
    float *y;
    const float *x;
    int64_t n;
    bert_unary op;
} bert_unary_args;

/** Columns of a panel of packed 8-bit weights, and the rows of it that lie side by side, a column's after one another.
 */
enum { BERT_QGEMM_COLUMNS = 48, BERT_QGEMM_STEP = 4 };

/** ranges[rows]: of 0 and each row of x[rows, n]; NaN counts as nothing. */
typedef struct bert_range_args {
    bert_row_range *ranges;
    const float *x;
    int64_t rows, n;
} bert_range_args;

/**
 * y[rows, n] = clamp(round(x / scale) + zero_point, 0, 255), half to even, NaN as 0, a scale and zero point, of [0,
 * 255], a row; rows of y are `stride` apart and filled up with zeros. sums[rows]: of each row of y.
 */
typedef struct bert_quantize_args {
    uint8_t *y;
    int32_t *sums;
    const float *x;
    const float *scales;
    const int32_t *zero_points;
    int64_t rows, n, stride;
} bert_quantize_args;

/**
 * A panel of int8 that is bounded: where steps 2 i and 2 i + 1 have two weights of a column each (the first two of a
 * step or the last two), the positive ones of these four add up to BERT_QGEMM_BOUND at most, and the negative ones to
 * no less than -BERT_QGEMM_BOUND. So whatever bytes they are multiplied with, the sum of the four products stays within
 * 16 bits. What this takes from weights comes on top as excess: pairs of any two steps of BERT_QGEMM_EXCESS_COLUMNS
 * columns. Each step of it keeps to BERT_QGEMM_EXCESS_BOUND, so that any two are bounded together.
 */
enum { BERT_QGEMM_BOUND = 127, BERT_QGEMM_EXCESS_BOUND = BERT_QGEMM_BOUND / 2, BERT_QGEMM_EXCESS_COLUMNS = 8 };
enum { BERT_QGEMM_EXCESS_GROUPS = BERT_QGEMM_COLUMNS / BERT_QGEMM_EXCESS_COLUMNS };

typedef struct bert_qgemm_excess {
    int8_t weights[2][BERT_QGEMM_EXCESS_COLUMNS * BERT_QGEMM_STEP];
    int32_t steps[2];
} bert_qgemm_excess;

/** Where a panel's excess stands in a weight's: of columns 8 g to 8 g + 7 from first[g] on, up to first[g + 1]. */
typedef struct bert_qgemm_bounds {
    int32_t first[BERT_QGEMM_EXCESS_GROUPS + 1];
    int32_t bounded; /**< 0: the panel isn't, and has no excess. */
} bert_qgemm_bounds;

/**
 * What of a panel b[steps][BERT_QGEMM_COLUMNS][4] is beyond bounds once the zero points, of each weight of a step, are
 * taken off: most[(steps + 1) / 2][BERT_QGEMM_EXCESS_GROUPS][2], of each pair of steps and group of columns the most
 * that is taken from one of its halves' first step, as far as that has weights of the sign, and from the second. 255
 * stands for more as well. A step beyond the last is zeros.
 */
typedef struct bert_measure_excess_args {
    uint8_t *most;
    const int8_t *b;
    const int8_t *zeros; /**< [BERT_QGEMM_COLUMNS * 4] */
    int64_t steps;
} bert_measure_excess_args;

/**
 * c[rows, BERT_QGEMM_COLUMNS] = a[rows, 4 steps] times a panel b[steps][BERT_QGEMM_COLUMNS][4], rows of a `lda` apart.
 * The sums wrap around in 32 bits and never saturate: every implementation gives the same integers.
 */
typedef struct bert_qgemm_args {
    int32_t *c;
    const uint8_t *a;
    const int8_t *b;
    int64_t lda, rows, steps;
    /** Of a bounded panel, to whose product that of the excess is added; NULL: b is all there is, and isn't bounded.
     * For kernels that ask for bounded panels alone. */
    const bert_qgemm_bounds *bounds;
    const bert_qgemm_excess *excess;
    bert_fetch fetch;
    /** Where what becomes of the sums will be written, a row of a panel's floats every `y_stride` bytes: kernels
     * that are fast enough to wait for it fetch it meanwhile. NULL: not known. */
    const void *y;
    int64_t y_stride;
} bert_qgemm_args;

/**
 * y[rows, n] = activation(t + bias) + residual with t = float(c - x_zeros offsets - x_sums zeros) * (x_scales *
 * scales), the first factor of each product of its row, the other of its column; rows of c are BERT_QGEMM_COLUMNS
 * apart, n is at most that, rows of y are `stride` apart. An offset is the sum of a column of weights less its zero
 * point: so the integer is the sum over (x - zero point) (w - zero point).
 */
typedef struct bert_dequantize_args {
    float *y;
    const int32_t *c;
    const float *x_scales;
    const int32_t *x_zeros, *x_sums;
    const float *scales;
    const int32_t *zeros, *offsets;
    int64_t stride, rows, n;
    const float *bias;     /**< [n] or NULL. */
    const float *residual; /**< [rows, n], rows residual_stride apart, or NULL. */
    int64_t residual_stride;
    bert_unary activation;
    bert_row_range *ranges; /**< [rows], range_stride apart: what bert_range_args would say of y; or NULL. */
    int64_t range_stride;
    bert_fetch fetch;
} bert_dequantize_args;

/** y[n] = (x[n] - zero_point) scale of bytes, uint8 or int8, by one rounding: ONNX's DequantizeLinear. */
typedef struct bert_dequantize_bytes_args {
    float *y;
    const void *x;
    int64_t n;
    float scale;
    int32_t zero_point;
    bool is_signed; /**< x is int8. */
} bert_dequantize_bytes_args;

/** y[n] = table[x[n]] of bytes; table has 256. y may be x. */
typedef struct bert_lookup_args {
    uint8_t *y;
    const uint8_t *x, *table;
    int64_t n;
} bert_lookup_args;

/** Columns of a panel of packed bfloat16 weights, and the rows of it that lie side by side, a column's after one
 * another.
 */
enum { BERT_BGEMM_COLUMNS = 48, BERT_BGEMM_STEP = 2 };
/** Steps that one instruction may add up before they meet the sum. */
enum { BERT_BGEMM_CHAIN = 16 };

/** y[rows, n] = x[rows, n] in bfloat16, to the nearest, half to even; NaN stays one. Rows are ldy and ldx apart; those
 * of y are filled up with zeros to `padded` elements, which is n or more. */
typedef struct bert_to_bf16_args {
    uint16_t *y;
    const float *x;
    int64_t ldy, ldx, rows, n, padded;
} bert_to_bf16_args;

/** y[n] = x[n], of bfloat16. */
typedef struct bert_from_bf16_args {
    float *y;
    const uint16_t *x;
    int64_t n;
} bert_from_bf16_args;

/**
 * sgemm with a b of bfloat16, two rows of it side by side as in bert_bgemm_args: b[(k + 1) / 2][n][2], rows of pairs
 * ldb pairs apart. Where k is odd the second row of the last pairs doesn't count. The same bits as with b in float32.
 */
typedef struct bert_sgemm_bf16_args {
    bert_sgemm_args product; /**< All but its b. */
    const uint16_t *b;
} bert_sgemm_bf16_args;

/** Parts of a float32 that is split: x = high + middle + low, each a bfloat16; exactly, but near the ends of the range,
 * see bert_split_rows_args. */
enum { BERT_SPLIT_PARTS = 3 };
/**
 * What kernels of split numbers work with: a tile of 16 rows of 32 of them (of x: rows by k; of a panel: pairs of
 * k by columns), the steps of k that a tile has, rows of x side by side, and the columns of a panel.
 */
enum { BERT_SPLIT_TILE = 512, BERT_SPLIT_STEPS = 32, BERT_SPLIT_ROWS = 32, BERT_SPLIT_COLUMNS = 48 };

/** Elements of a group of rows of x, of `rows` rows, and of a panel, per BERT_SPLIT_STEPS steps of k. */
enum {
    BERT_SPLIT_GROUP_TILE = BERT_SPLIT_ROWS / 16 * BERT_SPLIT_PARTS * BERT_SPLIT_TILE,
    BERT_SPLIT_PANEL_TILE = BERT_SPLIT_COLUMNS / 16 * BERT_SPLIT_PARTS * BERT_SPLIT_TILE
};
static inline int64_t bert_split_rows_elements(int64_t rows) {
    return (rows + BERT_SPLIT_ROWS - 1) / BERT_SPLIT_ROWS * BERT_SPLIT_GROUP_TILE;
}
static inline int64_t bert_split_panel_elements(int64_t columns) {
    return (columns + 15) / 16 * BERT_SPLIT_PARTS * BERT_SPLIT_TILE;
}
/** Pairs of rows of a panel that a tile has; tiles' places in a ring. */
enum { BERT_SPLIT_PAIRS = BERT_SPLIT_STEPS / 2, BERT_SPLIT_RING = 2 };
/** Where a panel in parts has tile `tile` of k: in a ring at the place of tile % BERT_SPLIT_RING, else at its own. */
static inline int64_t bert_split_tile_place(int64_t columns, bool ring, int64_t tile) {
    return (ring ? tile % BERT_SPLIT_RING : tile) * bert_split_panel_elements(columns);
}
/** And pair `at` of high parts; those of middle and low ones come after as many tiles as it has columns of them. */
static inline int64_t bert_split_pair_place(int64_t columns, bool ring, int64_t at) {
    return bert_split_tile_place(columns, ring, at / BERT_SPLIT_PAIRS) + at % BERT_SPLIT_PAIRS * 32;
}
/** Tiles along k. */
static inline int64_t bert_split_tiles(int64_t k) {
    return (k + BERT_SPLIT_STEPS - 1) / BERT_SPLIT_STEPS;
}

/**
 * y[groups of 32 rows][tiles of k][low, middle, high][2][16 rows][16][2]: x[rows, k], rows ldx apart, split. Zeros
 * fill up k, and rows to a multiple of 16. Numbers that aren't finite, and those from 3.3962e38 on, which round to
 * infinity, leave a NaN in a part. Parts have nothing below 2^-133, and subnormal ones count as zeros when they are
 * multiplied: an error of 2^-126 times the other factor.
 */
typedef struct bert_split_rows_args {
    uint16_t *y;
    const float *x;
    int64_t ldx, rows, k;
} bert_split_rows_args;

/**
 * y[tiles of k][high, middle, low][column tiles][16 pairs][16][2]: pairs [first, end) of x[k, columns], rows ldx apart,
 * split; columns is at most BERT_SPLIT_COLUMNS. Pair i is rows 2 i and 2 i + 1. Otherwise as
 * bert_split_rows_args.
 */
typedef struct bert_split_panel_args {
    uint16_t *y;
    const float *x;
    int64_t ldx, columns, k;
    int64_t first, end;
    bool ring; /**< See bert_split_tile_place. */
} bert_split_panel_args;

/** Pairs before this one are two whole rows of a whole panel. */
static inline int64_t bert_split_whole_pairs(const bert_split_panel_args *args) {
    return args->columns == BERT_SPLIT_COLUMNS ? args->k / 2 : 0;
}

/**
 * c[rows, columns] = a b, or with `accumulate` c += a b, rows of c ldc apart; a and b are split, `a_stride` elements
 * from one group of rows to the next. Of the nine products of parts six are added up in float32, the others are about
 * 2^-24 of a term together. Where the sums of a row are not all finite (a number wasn't, or split into one that
 * isn't) the row of c is left alone and left_out[row] is 1, else 0.
 */
typedef struct bert_sgemm_split_args {
    float *c;
    const uint16_t *a, *b;
    uint8_t *left_out; /**< [rows] */
    int64_t ldc, a_stride;
    int64_t rows, columns, tiles; /**< columns: 1 to BERT_SPLIT_COLUMNS; tiles of k */
    bool accumulate;
    /** NULL: b is a panel, split. Else b is the ring of this panel, whose tiles are split as they are multiplied; those
     * of the pairs before its `first`, whole tiles, are there. Rows are at most BERT_SPLIT_ROWS then. */
    const bert_split_panel_args *as_it_goes;
    /** Pairs of another panel that are split meanwhile: where b is a ring, after its own, while its last tile is
     * multiplied, to where that is not. NULL: none. */
    const bert_split_panel_args *ahead;
    bert_fetch fetch; /**< Meanwhile, while pairs are split: of as_it_goes, else of `ahead`. */
    void (*split_panel)(const bert_split_panel_args *args);
} bert_sgemm_split_args;

/**
 * What attention's products are made of where they are products of bfloat16: numbers rounded to one part, or split into
 * BERT_SPLIT_PARTS, of which the products of six pairs are added up (see bert_sgemm_split_args). Both sides lie in
 * tiles of BERT_SPLIT_TILE elements, which have BERT_SPLIT_STEPS steps of k: [16 rows][16][2] of the left side, [16][16
 * columns][2] of the right one. Pair i of a tile is its steps i and i + 16: two vectors become pairs by a shift and a
 * blend. Rows of the left side and columns of the right one go together by 32.
 */
enum { BERT_PARTS_ROWS = 32, BERT_PARTS_COLUMNS = 32 };
/** From one part of an element to the next; and panels of so many columns. */
enum { BERT_PARTS_NEXT = 2 * BERT_SPLIT_TILE };
static inline int64_t bert_parts_panels(int64_t columns) {
    return (columns + BERT_PARTS_COLUMNS - 1) / BERT_PARTS_COLUMNS;
}

/** Elements of 32 rows or columns per tile of k. */
static inline int64_t bert_parts_elements(int32_t parts) {
    return (int64_t)parts * BERT_PARTS_NEXT;
}

/** The products of parts that are added up, in this order: of part `a` of the left side, 0 being the least, and part
 * `b` of the right one, 0 being the greatest. The least ones come first, but for the last two: so each is what changes
 * one side alone. */
typedef struct bert_parts_pair {
    int32_t a, b;
} bert_parts_pair;
static inline int32_t bert_parts_products(int32_t parts) {
    return parts == 1 ? 1 : 6;
}
static inline bert_parts_pair bert_parts_pair_at(int32_t parts, int32_t i) {
    static const bert_parts_pair pairs[] = {{0, 0}, {1, 0}, {1, 1}, {2, 1}, {2, 0}, {2, 2}};
    return pairs[parts == 1 ? 0 : i];
}

/**
 * y[tiles of k][parts, the least first][2][16 rows][16][2] = x[rows, k], rows ldx apart and at most BERT_PARTS_ROWS.
 * Zeros fill up k; rows of y beyond x's are left alone. One part is rounded to nearest, half to even, and NaN stays
 * one. Of three parts a number that isn't finite, or rounds to infinity, leaves a NaN in one.
 */
typedef struct bert_attention_left_args {
    uint16_t *y;
    const float *x;
    int64_t ldx, rows, k;
    int32_t parts; /**< 1 or BERT_SPLIT_PARTS. */
} bert_attention_left_args;

/**
 * y[panels of BERT_PARTS_COLUMNS columns][tiles of k][parts, the greatest first][2][16][16 columns][2] = x[k, columns],
 * or `transposed` of x[columns, k]; rows of x ldx apart. Zeros fill up k and columns. Otherwise as
 * bert_attention_left_args.
 */
typedef struct bert_attention_right_args {
    uint16_t *y;
    const float *x;
    int64_t ldx, k, columns;
    int32_t parts;
    bool transposed;
} bert_attention_right_args;

/**
 * c[rows, columns] = a b over `tiles` tiles of k, of a left and a right side, panels of b b_stride elements apart. c
 * has room for whole tiles, rows up to a multiple of 16 and columns likewise; what it has there beyond rows and columns
 * may change.
 */
typedef struct bert_attention_multiply_args {
    float *c;
    const uint16_t *a, *b;
    int64_t ldc, b_stride, rows, columns, tiles;
    int32_t parts;
} bert_attention_multiply_args;

/**
 * y = e^(score - the row's greatest), a left side whose k are the keys, and totals[rows] their sums. Of `attention`
 * rows, at most BERT_PARTS_ROWS, n, scores, scale, bias and mask count; scores are overwritten, and rows of its y
 * may be fetched. Where a probability is below about 2^-100 it is 0, so that no part of it is subnormal.
 */
typedef struct bert_attention_probabilities_args {
    uint16_t *y;
    float *totals;
    const bert_attention_args *attention;
    int32_t parts;
} bert_attention_probabilities_args;

/** y[rows, width] = x / totals, rows ldy and ldx apart; left_out[row] is 1 where not all of the row is finite, else 0.
 */
typedef struct bert_attention_divide_args {
    float *y;
    const float *x, *totals;
    uint8_t *left_out;
    int64_t ldy, ldx, rows, width;
} bert_attention_divide_args;

/** y[n] = x[n] in float16, to the nearest, half to even; beyond its range infinity; NaN stays one. */
typedef struct bert_to_f16_args {
    uint16_t *y;
    const float *x;
    int64_t n;
} bert_to_f16_args;

/** y[n] = x[n], of float16. */
typedef struct bert_from_f16_args {
    float *y;
    const uint16_t *x;
    int64_t n;
} bert_from_f16_args;

/**
 * c[rows, BERT_BGEMM_COLUMNS] = start + a[rows, 2 steps] times a panel b[steps][BERT_BGEMM_COLUMNS][2], all of bfloat16
 * but c and start; rows of c, a and start `ldc`, `lda` and `ld_start` apart. Sums are float32; their order is the
 * instruction set's. A product that is cut along k at a multiple of BERT_BGEMM_CHAIN steps, the first part's c the
 * start of the second, gives the same bits as one that is not.
 */
typedef struct bert_bgemm_args {
    float *c;
    const uint16_t *a, *b;
    int64_t ldc, lda, rows, steps;
    const float *start; /**< May be c, with its stride. NULL: zeros. */
    int64_t ld_start;
    bert_fetch fetch;
} bert_bgemm_args;

/** X(name): the kernel `name` takes const bert_<name>_args *. */
#define BERT_CPU_KERNELS(X)                                                                                            \
    X(sgemm)                                                                                                           \
    X(epilogue)                                                                                                        \
    X(layer_norm)                                                                                                      \
    X(softmax)                                                                                                         \
    X(attention)                                                                                                       \
    X(unary)                                                                                                           \
    X(binary)                                                                                                          \
    X(rotate)                                                                                                          \
    X(transpose)                                                                                                       \
    X(take)                                                                                                            \
    X(range)                                                                                                           \
    X(quantize)                                                                                                        \
    X(measure_excess)                                                                                                  \
    X(qgemm)                                                                                                           \
    X(dequantize)                                                                                                      \
    X(dequantize_bytes)                                                                                                \
    X(quantized_add)                                                                                                   \
    X(lookup)                                                                                                          \
    X(to_bf16)                                                                                                         \
    X(from_bf16)                                                                                                       \
    X(sgemm_bf16)                                                                                                      \
    X(bgemm)                                                                                                           \
    X(split_rows)                                                                                                      \
    X(split_panel)                                                                                                     \
    X(sgemm_split)                                                                                                     \
    X(attention_left)                                                                                                  \
    X(attention_right)                                                                                                 \
    X(attention_multiply)                                                                                              \
    X(attention_probabilities)                                                                                         \
    X(attention_divide)                                                                                                \
    X(to_f16)                                                                                                          \
    X(from_f16)

typedef struct bert_cpu_kernels {
#define BERT_CPU_KERNEL_MEMBER(name) void (*name)(const bert_##name##_args *args);
    BERT_CPU_KERNELS(BERT_CPU_KERNEL_MEMBER)
#undef BERT_CPU_KERNEL_MEMBER
    /** Shape of sgemm's tile: panels of packed weights are this wide, and rows are best cut in multiples of it. */
    int32_t sgemm_columns, sgemm_rows;
    /** Bytes of x that a block of rows may take in products of bytes and of bfloat16: for each block weights are read
     * from memory once more. 0: what is best for vectors. */
    int32_t block_bytes;
    /** Where qgemm is faster than memory: eighths of what is fetched ahead that dequantize fetches, twice as many with
     * an activation, so that memory doesn't rest meanwhile. */
    int32_t late_eighths;
    /** qgemm is faster with panels that are bounded (bert_qgemm_bounds). */
    bool bounded_panels;
    /** Ranges of what comes next that are fetched side by side (bert_fetch). 0: one. */
    int32_t fetch_streams;
    /** Before and after the kernels of a share of a parallel region (AMX sets the shape of its tiles); NULL:
     * nothing. Between them no other region starts on the thread. */
    void (*enter)(void);
    void (*leave)(void);
} bert_cpu_kernels;

/** `lines` cache lines from `from` on, in as many ranges as the kernels want; a few lines beyond them may be fetched.
 */
static inline bert_fetch bert_fetch_of(const bert_cpu_kernels *kernels, const void *from, int64_t lines) {
    const int32_t streams = kernels->fetch_streams > 0 ? kernels->fetch_streams : 1;
    const int64_t range = (lines + streams - 1) / streams;
    return (bert_fetch){.from = from, .lines = range, .stride = range * BERT_FETCH_LINE, .streams = streams};
}

static inline void bert_cpu_enter(const bert_cpu_kernels *kernels) {
    if (kernels->enter) kernels->enter();
}
static inline void bert_cpu_exit(const bert_cpu_kernels *kernels) {
    if (kernels->leave) kernels->leave();
}

/** The attention kernel by its parts: two products and a softmax a row. */
void bert_attention_by_parts(const bert_attention_args *args, void (*multiply)(const bert_sgemm_args *args),
                             void (*softmax)(const bert_softmax_args *args));

/** The table of one ISA's file as it is, NULL entries included; NULL for an ISA without a file in this build. */
const bert_cpu_kernels *bert_cpu_kernels_of(bert_isa isa);
/** Puts what a table has in the place of what `out` has. */
void bert_cpu_kernels_override(const bert_cpu_kernels *table, bert_cpu_kernels *out);
/** The best kernels that this machine runs within `limit` (see bert_isa_usable). Every pointer is set. */
void bert_cpu_kernels_select(bert_isa limit, bert_cpu_kernels *out);

extern const bert_cpu_kernels bert_cpu_kernels_scalar;
extern const bert_cpu_kernels bert_cpu_kernels_avx2;
extern const bert_cpu_kernels bert_cpu_kernels_avx_vnni;
extern const bert_cpu_kernels bert_cpu_kernels_avx512;
extern const bert_cpu_kernels bert_cpu_kernels_avx512_vnni;
extern const bert_cpu_kernels bert_cpu_kernels_avx512_bf16;
extern const bert_cpu_kernels bert_cpu_kernels_amx;

#endif
