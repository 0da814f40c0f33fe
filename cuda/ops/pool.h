/* One vector for each sequence from those of its tokens, as sentence-transformers pools. */
#ifndef BERT_CUDA_OPS_POOL_H
#define BERT_CUDA_OPS_POOL_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bert_cuda_pooling {
    BERT_CUDA_POOL_FIRST, /**< The first token, [CLS]. */
    BERT_CUDA_POOL_MEAN,
    BERT_CUDA_POOL_MAX
} bert_cuda_pooling;

typedef struct bert_cuda_pool_args {
    bert_dtype dtype;
    bert_cuda_pooling pooling;
    int64_t batch, width;
    const int32_t *offsets; /**< [batch + 1]: sequence b has rows offsets[b] to offsets[b + 1] - 1 of x; NULL: */
    int64_t sequence;       /**< the rows b sequence to (b + 1) sequence - 1. */
    const uint8_t *counted; /**< [rows of x]: which of them count; NULL: all. The first is the first that counts. */
    const void *x;          /**< [rows, width] */
    float *y;               /**< [batch, width]; zeros for a sequence of which no token counts. */
    bool normalize;         /**< To length 1, or what is left of it where the length is below 1e-12. */
} bert_cuda_pool_args;

cudaError_t bert_cuda_pool(const bert_cuda_pool_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
