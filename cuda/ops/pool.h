/* One vector for each sequence from those of its tokens, as sentence-transformers pools. */
#ifndef BERT_CUDA_OPS_POOL_H
#define BERT_CUDA_OPS_POOL_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bert_cuda_pooling {
    BERT_CUDA_POOL_FIRST, /**< The first token that counts, [CLS]. */
    BERT_CUDA_POOL_MEAN,  /**< The sum of tokens times their mask, by the sum of the mask or `epsilon`. */
    BERT_CUDA_POOL_MAX
} bert_cuda_pooling;

typedef struct bert_cuda_pool_args {
    bert_dtype dtype; /**< Of x and y: float32, float16 or bfloat16. */
    bert_cuda_pooling pooling;
    int64_t batch, width;
    const int32_t *offsets;  /**< [batch + 1]: sequence b has rows offsets[b] to offsets[b + 1] - 1 of x; NULL: */
    int64_t sequence;        /**< the rows b sequence to (b + 1) sequence - 1. */
    const void *mask;        /**< [rows of x]: those of 0 don't count; NULL: all are 1. */
    bert_dtype mask_dtype;   /**< bool, int8, uint8, int32, int64, or one of x's. */
    const void *x;           /**< [rows, width] */
    const uint16_t *x_lower; /**< Lower halves of x's elements (cuda/ops/halves.h), or NULL. */
    void *y;                 /**< [batch, width]; zeros for a sequence of which no token counts. */
    uint16_t *y_lower;       /**< As x_lower, to be written. */
    /** Scratch of [batch, width] where y is to be normalized: to length 1, or what is left of it where the length is
     * below 1e-12. NULL: y is what is pooled. */
    float *values;
    float epsilon; /**< Least divisor of a mean. */
} bert_cuda_pool_args;

cudaError_t bert_cuda_pool(const bert_cuda_pool_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
