/* Canonical Attention (core/graph/canonical.h): softmax(mask(scale Q K^T + bias)) V for all heads, in one pass. */
#ifndef BERT_CUDA_OPS_ATTENTION_H
#define BERT_CUDA_OPS_ATTENTION_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Where element d of row s of head h of sequence b is: data + b batch + h head + s row + d. With packed Q, K and V
 * [B, S, 3 H D]: row is 3 H D, head is D, and data of K lies H D after that of Q.
 */
typedef struct bert_cuda_heads {
    const void *data;
    int64_t batch, head, row;
} bert_cuda_heads;

typedef struct bert_cuda_attention_args {
    bert_dtype dtype; /**< Of q, k, v, y and bias. */
    int64_t batch, heads, depth;
    int64_t queries, keys; /**< Rows of a sequence; with `offsets`, of the longest. */
    bert_cuda_heads q, k, v;
    void *y;
    int64_t y_batch, y_head, y_row;
    /**
     * Padding-free: int32 [batch + 1]; sequence b has rows offsets[b] to offsets[b + 1] - 1 of q, k, v and y, and the
     * batch strides are not looked at. NULL: every sequence has all its rows.
     */
    const int32_t *offsets;
    /**
     * With `offsets`, int32 [rows]: row r of sequence b is token tokens[r] - b sequence of the padded sequence, for
     * which bias and mask have what they have. NULL: the rows of a sequence are its tokens from 0 on.
     */
    const int32_t *tokens;
    int64_t sequence;
    const void *bias;    /**< Added to the scaled scores; NULL: none. */
    int64_t bias_at[4];  /**< Its strides for (sequence, head, query, key), 0 where it is broadcast. */
    const uint8_t *mask; /**< Where 0 the score counts as mask_value; NULL: none. */
    int64_t mask_at[4];
    /** [rows of y, bert_cuda_attention_ranges], of y, whose sequences then follow each other; or NULL. */
    bert_cuda_range *ranges;
    float scale, mask_value;
    bool zero_rows; /**< Rows that softmax gives NaN for (all keys at -infinity) are zeros. */
} bert_cuda_attention_args;

/** Ranges that a row of y has: one for each head, or for each 64 elements of a longer one. */
static inline int64_t bert_cuda_attention_ranges(int64_t heads, int64_t depth) {
    return heads * ((depth + 63) / 64);
}

/** keys 0: y is zeros. */
cudaError_t bert_cuda_attention(const bert_cuda_attention_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
