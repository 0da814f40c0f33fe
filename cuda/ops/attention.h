/* Every operator with attention in it (canonical: core/graph/canonical.h): softmax(mask(cap(scale Q K^T) + bias)) V for
 * all heads, in one pass. */
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

/** What `scores` gets of the scores of ai.onnx's Attention, and of com.microsoft's MultiHeadAttention. */
typedef enum bert_cuda_scores {
    BERT_CUDA_SCORES_RAW,    /**< Scaled. */
    BERT_CUDA_SCORES_CAPPED, /**< Capped besides. */
    BERT_CUDA_SCORES_MASKED, /**< With bias and mask. */
    BERT_CUDA_SCORES_WEIGHTS /**< After the softmax. */
} bert_cuda_scores;

typedef struct bert_cuda_attention_args {
    bert_dtype dtype; /**< Of q, k, v and y. */
    int64_t batch, heads, depth;
    int64_t group;         /**< Heads of q that follow each other share a head of k and v; 0 is 1. */
    int64_t value_depth;   /**< Of v and y; 0 is depth. */
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
    float softcap;       /**< Scores are softcap tanh(score / softcap) before they are masked; 0: they stay. */
    const void *bias;    /**< Added to the scaled scores; NULL: none. */
    bool wide_bias;      /**< It is float32, else of type `dtype`. */
    int64_t bias_at[4];  /**< Its strides for (sequence, head, query, key), 0 where it is broadcast. */
    const uint8_t *mask; /**< Where 0 the score counts as mask_value; NULL: none. */
    int64_t mask_at[4];
    /** [rows of y, bert_cuda_attention_ranges], of y, whose sequences then follow each other; or NULL. */
    bert_cuda_range *ranges;
    float scale, mask_value;
    bool zero_rows;        /**< Rows that softmax gives NaN for (all keys at -infinity) are zeros. */
    void *scores;          /**< [batch, heads, queries, keys] of type `dtype`, without `offsets`; NULL: nobody asks. */
    bert_cuda_scores form; /**< Of `scores`. */
} bert_cuda_attention_args;

/** Ranges that a row of y has: one for each head, or for each 64 elements of a longer one. */
static inline int64_t bert_cuda_attention_ranges(int64_t heads, int64_t value_depth) {
    return heads * ((value_depth + 63) / 64);
}

/** keys 0: y is zeros. */
cudaError_t bert_cuda_attention(const bert_cuda_attention_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
