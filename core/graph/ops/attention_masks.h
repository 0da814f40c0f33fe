/*
 * What com.microsoft's attention operators add to the scores: the bias, the mask in its many shapes, and the triangle
 * of unidirectional attention.
 */
#ifndef BERT_GRAPH_OPS_ATTENTION_MASKS_H
#define BERT_GRAPH_OPS_ATTENTION_MASKS_H

#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

/** A bias of rank 4 that broadcasts to [batch, heads, rows, columns]. */
typedef struct bert_spread {
    const bert_tensor *tensor; /**< NULL: absent. */
    int64_t first;             /**< Element that (0, 0, 0, 0) is. */
    int64_t strides[4];        /**< 0 along a broadcast dimension. */
} bert_spread;

/** `tensor` of rank up to 4, or NULL. */
bert_spread bert_spread_of(const bert_tensor *tensor);
/** Offset of element (batch, head, row, 0); columns follow with stride strides[3]. */
static inline int64_t bert_spread_row(const bert_spread *s, int64_t batch, int64_t head, int64_t row) {
    return s->first + batch * s->strides[0] + head * s->strides[1] + row * s->strides[2];
}

/**
 * The mask, by its shape, with B sequences, S queries and T keys:
 *   [B]             keys from the given length on are masked
 *   [2 B]           the same, and (second half) keys before the given start
 *   [3 B + 2]       lengths first; the rest, which CUDA kernels use, is not read
 *   [B, T]          keys where it isn't positive are masked; [B, 1] masks nothing
 *   [B, S, T]       the same for each query
 *   [B, 1, M, M]    the same, the row that of the query's position after the past
 */
typedef struct bert_attention_masks {
    const bert_tensor *mask; /**< NULL: absent. */
    bert_spread bias;
    double filter;                /**< Added to the score of a masked key. */
    bool unidirectional;          /**< The lowest float is added to the score of a key after the query instead. */
    int64_t batch, rows, columns; /**< columns: keys, those of the past included. */
    int64_t past;                 /**< Keys of the past: query `row` is at position past + row. */
} bert_attention_masks;

/** Checks the mask's shape (input `mask`) and that the bias (input `bias`) broadcasts. */
bert_status bert_infer_attention_masks(const bert_inference *in, int32_t mask, int32_t bias, bert_dim batch,
                                       int64_t heads, bert_dim rows, bert_dim columns);
/** BERT_INVALID_INPUT for a length or start that is negative. */
bert_status bert_attention_masks_check(const bert_reference_call *call, const bert_attention_masks *masks);
/** The `adjust` of a bert_attention whose user is a bert_attention_masks. */
void bert_attention_masks_apply(const void *user, int64_t batch, int64_t head, int64_t row, double *scores);

#endif
