/* clang-format off */
/*
 * The canonical operators that passes rewrite a BERT to (domain "bertc", version 1). Shapes: B batch, S sequence (of
 * queries), T sequence of keys, H heads, D elements a head, K inputs and N outputs of a Linear, V rows of a table,
 * R tokens of a batch without its padding. `...` is any number of leading dimensions. Types: float is float32,
 * float16, bfloat16 or double, the same for all float operands.
 *
 * Embedding
 *   inputs      0 word_ids [B, S] int32|int64     1 word_table [V, K] float
 *               2 position_ids [B or 1, S]        3 position_table           (both absent: none)
 *               4 type_ids [B or 1, S]            5 type_table               (both absent: none)
 *               6 gamma [K]                       7 beta [K]                 (both absent: no LayerNorm)
 *               8 word_scale [1 or V, 1 or K] float    9 word_zero_point, of its shape and the table's type, or absent (0)
 *               10 position_scale    11 position_zero_point    12 type_scale    13 type_zero_point
 *               14 tokens int32 [R], never falling, or absent: every token is a row
 *   outputs     0 y [B, S, K], or with `tokens` [1, R, K] (or [R, 1, K] where S is 1)
 *   attributes  epsilon float
 *   y = LayerNorm(word_table[word_ids] + type_table[type_ids] + position_table[position_ids]), summed in this order. A
 *   table of int8 or uint8 has a scale, and stands for (table - zero point) x scale, rounded to the type of the scale
 *   as DequantizeLinear does it, before rows are summed.
 *   With `tokens` row r is token s of sequence b, tokens[r] = b S + s; ids of other tokens are not looked at.
 *   A negative id counts from the end of the table, as ONNX's Gather has it; outside it is BERT_INVALID_INPUT with the
 *   place.
 *
 * Linear
 *   inputs      0 x [..., K]                      1 residual [..., N] or absent
 *               2 + 2p weight_p [K, N_p]          3 + 2p bias_p [N_p] or absent, for p in [0, parts)
 *   outputs     0 y [..., N], N the sum of N_p: the parts side by side (packed QKV is three parts)
 *   attributes  parts int (1)
 *               transpose int (0; 1: weight_p is [N_p, K])
 *               alpha float (1; scales x W before the bias)
 *               activation string ("none", "gelu" (erf), "gelu_tanh", "quick_gelu" (x sigmoid(1.702 x)), "silu"
 *                 (x sigmoid(x)), "tanh", "relu")
 *   y = activation(alpha x W + b) + residual
 *
 * LayerNormLinear, which binding makes of Linears and the LayerNorms around them for backends that ask for it
 *   inputs      0 x [..., K]                      1 residual [..., N] or absent
 *               2 x_moments float32 [..., ceil(K / 64), 2]    3 x_gamma [K]    4 x_beta [K] or absent    (all absent: x is
 *                 taken as it is)
 *               5 residual_moments float32 [..., ceil(N / 64), 2]    6 residual_gamma [N]    7 residual_beta [N] or absent
 *                 (all absent: likewise)
 *               8 + 2p weight_p, 9 + 2p bias_p    as Linear has them
 *   outputs     0 y [..., N], as Linear has it    1 moments float32 [..., ceil(N / 64), 2] of y, optional
 *   attributes  parts, transpose, alpha, activation, as Linear has them
 *               x_epsilon, residual_epsilon float, with moments
 *   y = activation(alpha norm(x) W + b) + norm(residual), where norm is LayerNorm over the last dimension by the moments that
 *   come along: of each 64 neighbouring elements of a row (fewer at its end) their mean, and the sum of their squared
 *   distances from it. Those of a row follow from these (Chan, Golub, LeVeque, 'Updating formulae and a pairwise algorithm for
 *   computing sample variances', 1979). Moments are float32 whatever x is; the variance is the mean of squared distances.
 *
 * QuantizedLinear
 *   inputs      0 x [..., K] float                1 residual [..., N] or absent
 *               2 x_scale scalar, or absent       3 x_zero_point uint8 scalar, or absent (0)
 *               4 + 4p weight_p [K, N_p] int8|uint8    5 + 4p weight_scale_p, scalar or [N_p]
 *               6 + 4p weight_zero_point_p, scalar or [N_p], of the weight's type, or absent (0)
 *               7 + 4p bias_p [N_p] float, int32, or absent, for p in [0, parts)
 *               4 + 4 parts  starts int32 [G + 1], with scope "sequence" alone
 *               5 + 4 parts  counted bool [rows of x], with scope "sequence", or absent (every row counts)
 *   outputs     0 y [..., N], N the sum of N_p: the parts side by side
 *   attributes  parts int (1)
 *               transpose int (0; 1: weight_p is [N_p, K])
 *               activation string, as Linear has it
 *               weight_only int (0; 1: x is not quantized, and there is no x_scale)
 *               scope string ("tensor", "sequence", "token"): what one dynamic scale covers
 *               place int: of each sequence of x [B, S, K] y has the row at this place alone, from the end where it is
 *                 negative: y [B, N]; absent: every row. With a dynamic scale, which covers all rows of x nevertheless,
 *                 and without residual.
 *               keepdims int (0; 1: y [B, 1, N]), with `place`
 *   Dynamic, without x_scale: a row of x has the scale sx and zero point zx that ONNX's DynamicQuantizeLinear gives
 *   the rows m that share it (float32 and double alone): with "tensor" all of x, with "token" the row itself, with
 *   "sequence" those rows of its group that count (all of them where none does); rows starts[g] to starts[g + 1] are
 *   group g.
 *     sx = (max(m, 0) - min(m, 0)) / 255, or 1 where that is 0;  zx = clamp(round(-min(m, 0) / sx), 0, 255);
 *     q = clamp(round(x / sx) + zx, 0, 255), rounding half to even, each step in the type of x;  s = sx * weight_scale
 *   Static: q = clamp(round(x / x_scale) + x_zero_point, 0, 255);  s = weight_scale, which holds x's scale already
 *   y = activation(float(sum over K of (q - zx) (weight - weight_zero_point)) * s + bias) + residual, the sum in 32
 *   bits that wrap around and never saturate, equal to the last bit in every implementation; an int32 bias is part of
 *   it.
 *   weight_only: y = activation((sum over K of x (weight - weight_zero_point)) * weight_scale + bias) + residual.
 *
 * Attention
 *   inputs      0 q [B, S, H D], or with `packed` [B, S, 3 H D] as q, k, v side by side
 *               1 k [B, T, H D]   2 v [B, T, H D]      (absent with `packed`)
 *               3 bias float, broadcastable to [B, H, S, T] (rank 4), added to the scaled scores; or absent
 *               4 mask bool, broadcastable to [B, H, S, T] (rank 4): where false the score counts as `mask_value`; or
 *                 absent
 *               5 cosines float [1 or B, S, D]    6 sines, of its shape    (both absent: heads aren't rotated)
 *               7 starts int32 [B + 1]   8 tokens int32 [R]      (both absent: every token is a row)
 *   outputs     0 y [B, S, H D]
 *   attributes  heads int
 *               scale float (multiplies Q K^T)
 *               packed int (0)
 *               mask_value float (-infinity)
 *               masked_rows string ("nan": as softmax has it; "zero": a row that softmax gives NaN for counts as zeros)
 *               sequence int (0): S, with `tokens` alone
 *   y = softmax(mask(scale Q K^T + bias)) V, the softmax over T with the row's greatest score subtracted first.
 *   With `cosines`, for which S = T and D is even, heads of Q and K are rotated by their positions first (rotary position
 *   embeddings: Su et al., 'RoFormer', 2021), elements d and d + D/2 of a head being a pair:
 *     x'[s, d] = x[s, d] cosines[s, d] + t[s, d] sines[s, d];  t[s, d] = -x[s, d + D/2] for d < D/2, else x[s, d - D/2]
 *   With `tokens`, q, k, v and y are [1, R, ...]: rows starts[b] to starts[b + 1] are tokens of sequence b, of which
 *   there may be none, and attend to each other alone. Row r is token s = tokens[r] - b S of it, for which bias and
 *   mask, still those of [B, H, S, S], and cosines and sines, still those of [B, S, D], have what they have. y of rows
 *   from starts[B] on, which are no sequence's, may be anything.
 *
 * DisentangledBias
 *   inputs      0 q [B, S, H D] float             1 k [B, T, H D]
 *               2 position_keys [1, P, H D]       3 content_to_position [S, T] int32|int64, rows of 2   (both absent: none)
 *               4 position_queries [1, P', H D]   5 position_to_content [T, S] int32|int64, rows of 4   (both absent: none)
 *   outputs     0 y [B, H, S, T]
 *   attributes  heads int
 *               scale float (1)
 *   P and P' are positions: y[b, h, i, j] = scale (q[b, i] . position_keys[content_to_position[i, j]] + k[b, j] . position_queries[
 *   position_to_content[j, i]]), products over the D elements of head h: what DeBERTa's disentangled attention adds to the scores for
 *   relative positions (He et al., 'DeBERTa', 2021, equation 4). Indices as ONNX's GatherElements has them: a negative one counts from
 *   the end, outside it is BERT_INVALID_INPUT with the place.
 *
 * SkipLayerNormalization
 *   inputs      0 x [..., K]   1 skip, the shape of x   2 gamma [K]   3 beta [K] or absent   4 bias [K] or absent
 *   outputs     0 y [..., K]   1 sum [..., K] = x + skip + bias, optional
 *   attributes  epsilon float
 *               simplified int (0; 1: no mean is subtracted, RMS normalization)
 *   y = LayerNorm(x + bias + skip) over the last dimension; variance in two passes
 *
 * Pool
 *   inputs      0 x [B, S, K] float
 *               1 mask [B, S] bool, int8, uint8, int32, int64 or the type of x, or absent (1 everywhere)
 *               2 starts int32 [B + 1], in the place of a mask, or absent
 *   outputs     0 y [B, K]
 *   attributes  pooling string ("mean", "max", "first")
 *               epsilon float (1e-9)
 *               normalize int (0; 1: y is brought to length 1)
 *   One vector for each sequence from those of its tokens whose mask isn't 0; others are not looked at.
 *   mean: y = (sum over S of mask x) / max(sum over S of mask, epsilon). max: the greatest element, a NaN where there is
 *   one; first: the first token's; both zeros for a sequence without tokens. normalize: y / max(|y|, 1e-12), with the
 *   root of the sum of squares over K for |y|.
 *   With `starts` x is [1, R, K]: rows starts[b] to starts[b + 1] are all that there is of sequence b, each counting 1.
 *
 * Lookup
 *   inputs      0 x [...] int8|uint8              1 table [256] int8|uint8
 *   outputs     0 y [...], of the table's type
 *   y = table[x], counted from the end where x is negative, as ONNX's Gather has it: any function of single bytes.
 *
 * QuantizedAdd
 *   inputs      0 a float32   1 b float32, which broadcast to y's shape; each of the others has one element
 *               2 y_scale float32       3 y_zero_point int8|uint8                (2 to 5 absent: y is the sum itself)
 *               4 y_new_scale float32   5 y_new_zero_point, of the type of 3     (both absent: y stays bytes)
 *               6 a_scale float32       7 a_zero_point int8|uint8
 *               8 a_new_scale float32   9 a_new_zero_point, of the type of 7     (6 to 9 absent: a counts as it is)
 *   outputs     0 y float32, or bytes of the type of y_zero_point
 *   A sum as static quantization has it, in one pass: a is quantized by a_scale and a_zero_point and dequantized by the new ones, b is added in
 *   float32, and the sum quantized and dequantized likewise, as QuantizeLinear, DequantizeLinear and Add have it, to the last bit.
 *
 * PackTokens and UnpackTokens, which binding puts around what runs without padding; PackTokens also where a caller
 * wants some tokens alone
 *   inputs      0 x                              1 tokens int32 [R], none negative; of UnpackTokens never falling
 *   outputs     0 y
 *   attributes  axes int (2): how many leading dimensions of the padded tensor count its tokens
 *               batch int, sequence int: B and S, of UnpackTokens alone
 *   PackTokens: x is padded, [B, S, ...] or [1, S, ...] (axes 2), [B S, ...] or [S, ...] (axes 1); y is [1, R, ...]
 *   or [R, ...] and has x's token tokens[r] = b S + s at r; what x has for one sequence holds for all.
 *   UnpackTokens: the other way round, to [B, S, ...] or [B S, ...]; zeros where there is no token. The first row of
 *   a token counts.
 */
/* clang-format on */
#ifndef BERT_GRAPH_CANONICAL_H
#define BERT_GRAPH_CANONICAL_H

#include <bert/types.h>
#include <string.h>

/** Inputs of Linear: where part p's weight and bias stand. */
#define BERT_LINEAR_X 0
#define BERT_LINEAR_RESIDUAL 1
#define BERT_LINEAR_WEIGHT(part) (2 + 2 * (part))
#define BERT_LINEAR_BIAS(part) (3 + 2 * (part))

/** Inputs of LayerNormLinear, which has its x and residual where Linear has them; and columns that a moment is of. */
#define BERT_LAYER_NORM_LINEAR_X_MOMENTS 2
#define BERT_LAYER_NORM_LINEAR_X_GAMMA 3
#define BERT_LAYER_NORM_LINEAR_X_BETA 4
#define BERT_LAYER_NORM_LINEAR_RESIDUAL_MOMENTS 5
#define BERT_LAYER_NORM_LINEAR_RESIDUAL_GAMMA 6
#define BERT_LAYER_NORM_LINEAR_RESIDUAL_BETA 7
#define BERT_LAYER_NORM_LINEAR_WEIGHT(part) (8 + 2 * (part))
#define BERT_LAYER_NORM_LINEAR_BIAS(part) (9 + 2 * (part))
#define BERT_MOMENT_COLUMNS 64
#define BERT_MOMENTS_OF_ROW(width) ((width) / BERT_MOMENT_COLUMNS + ((width) % BERT_MOMENT_COLUMNS != 0))

/** Inputs of QuantizedLinear, which has its x and residual where Linear has them. */
#define BERT_QUANTIZED_LINEAR_X_SCALE 2
#define BERT_QUANTIZED_LINEAR_X_ZERO_POINT 3
#define BERT_QUANTIZED_LINEAR_WEIGHT(part) (4 + 4 * (part))
#define BERT_QUANTIZED_LINEAR_SCALE(part) (5 + 4 * (part))
#define BERT_QUANTIZED_LINEAR_ZERO_POINT(part) (6 + 4 * (part))
#define BERT_QUANTIZED_LINEAR_BIAS(part) (7 + 4 * (part))
#define BERT_QUANTIZED_LINEAR_STARTS(parts) (4 + 4 * (parts))
#define BERT_QUANTIZED_LINEAR_COUNTED(parts) (5 + 4 * (parts))
/** The attribute `place` where it is absent. */
#define BERT_EVERY_PLACE INT64_MIN

/** Rows of x that a QuantizedLinear multiplies: `count` of them, `step` apart, from `first` on. */
typedef struct bert_row_choice {
    int64_t count, first, step;
} bert_row_choice;
/** `place` lies within the sequences of x, or is BERT_EVERY_PLACE. */
static inline bert_row_choice bert_rows_at(int64_t place, const bert_tensor *x) {
    bert_row_choice rows = {1, 0, 1};
    if (place == BERT_EVERY_PLACE) {
        for (int32_t i = 0; i + 1 < x->rank; i++) rows.count *= x->dims[i];
    } else {
        rows.count = x->dims[0];
        rows.step = x->dims[1];
        rows.first = place < 0 ? place + rows.step : place;
    }
    return rows;
}

/** Inputs of Attention. */
enum {
    BERT_ATTENTION_Q,
    BERT_ATTENTION_K,
    BERT_ATTENTION_V,
    BERT_ATTENTION_BIAS,
    BERT_ATTENTION_MASK,
    BERT_ATTENTION_COSINES,
    BERT_ATTENTION_SINES,
    BERT_ATTENTION_STARTS,
    BERT_ATTENTION_TOKENS,
    BERT_ATTENTION_INPUTS,
    BERT_ATTENTION_OF_MODEL = BERT_ATTENTION_STARTS /* Inputs that a model's node may have; the others are binding's. */
};

/** Inputs of DisentangledBias. */
enum {
    BERT_DISENTANGLED_Q,
    BERT_DISENTANGLED_K,
    BERT_DISENTANGLED_KEYS,
    BERT_DISENTANGLED_C2P,
    BERT_DISENTANGLED_QUERIES,
    BERT_DISENTANGLED_P2C,
    BERT_DISENTANGLED_INPUTS
};

/** Inputs of Pool. */
enum { BERT_POOL_X, BERT_POOL_MASK, BERT_POOL_STARTS };
/** What its attribute "pooling" names, and its default epsilon. */
typedef enum bert_pool_kind {
    BERT_POOL_KIND_FIRST,
    BERT_POOL_KIND_MEAN,
    BERT_POOL_KIND_MAX,
    BERT_POOL_KIND_UNKNOWN
} bert_pool_kind;
static inline bert_pool_kind bert_pool_kind_of(const char *name) {
    static const char *const names[] = {"first", "mean", "max"};
    int found = BERT_POOL_KIND_FIRST;
    while (found < BERT_POOL_KIND_UNKNOWN && strcmp(names[found], name) != 0) found++;
    return (bert_pool_kind)found;
}
#define BERT_POOL_EPSILON 1e-9F

/** Inputs of Lookup, and the elements of its table. */
enum { BERT_LOOKUP_X, BERT_LOOKUP_TABLE };
#define BERT_LOOKUP_SIZE 256

/** Inputs of QuantizedAdd. */
enum {
    BERT_QUANTIZED_ADD_A,
    BERT_QUANTIZED_ADD_B,
    BERT_QUANTIZED_ADD_Y_SCALE,
    BERT_QUANTIZED_ADD_Y_ZERO_POINT,
    BERT_QUANTIZED_ADD_Y_NEW_SCALE,
    BERT_QUANTIZED_ADD_Y_NEW_ZERO_POINT,
    BERT_QUANTIZED_ADD_A_SCALE,
    BERT_QUANTIZED_ADD_A_ZERO_POINT,
    BERT_QUANTIZED_ADD_A_NEW_SCALE,
    BERT_QUANTIZED_ADD_A_NEW_ZERO_POINT,
    BERT_QUANTIZED_ADD_INPUTS
};

/** Inputs of PackTokens and UnpackTokens. */
enum { BERT_PACK_X, BERT_PACK_TOKENS };

/** Inputs of Embedding. */
enum {
    BERT_EMBEDDING_WORD_IDS,
    BERT_EMBEDDING_WORD_TABLE,
    BERT_EMBEDDING_POSITION_IDS,
    BERT_EMBEDDING_POSITION_TABLE,
    BERT_EMBEDDING_TYPE_IDS,
    BERT_EMBEDDING_TYPE_TABLE,
    BERT_EMBEDDING_GAMMA,
    BERT_EMBEDDING_BETA,
    BERT_EMBEDDING_WORD_SCALE,
    BERT_EMBEDDING_WORD_ZERO_POINT,
    BERT_EMBEDDING_POSITION_SCALE,
    BERT_EMBEDDING_POSITION_ZERO_POINT,
    BERT_EMBEDDING_TYPE_SCALE,
    BERT_EMBEDDING_TYPE_ZERO_POINT,
    BERT_EMBEDDING_TOKENS,
    BERT_EMBEDDING_INPUTS
};
/** Where the scale and zero point of the table at input `table` stand. */
#define BERT_EMBEDDING_SCALE(table) ((table) + 7)
#define BERT_EMBEDDING_ZERO_POINT(table) ((table) + 8)

/** Inputs of SkipLayerNormalization. */
enum { BERT_SKIP_X, BERT_SKIP_SKIP, BERT_SKIP_GAMMA, BERT_SKIP_BETA, BERT_SKIP_BIAS };

#endif
