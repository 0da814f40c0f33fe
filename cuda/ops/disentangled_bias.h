/* Canonical DisentangledBias (core/graph/canonical.h): what DeBERTa adds to scores for relative positions. */
#ifndef BERT_CUDA_OPS_DISENTANGLED_BIAS_H
#define BERT_CUDA_OPS_DISENTANGLED_BIAS_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BERT_CUDA_CONTENT_TO_POSITION, BERT_CUDA_POSITION_TO_CONTENT, BERT_CUDA_POSITION_TERMS };

/** One of the two terms: products of rows of content with rows that stand for positions. */
typedef struct bert_cuda_position_term {
    const void *content; /**< q [batch, queries, heads depth]; of BERT_CUDA_POSITION_TO_CONTENT k [batch, keys, ...] */
    const void *positions; /**< [count, heads depth] */
    int64_t count;         /**< At least 1 where there are elements of y. */
    const void *indices;   /**< Of q [queries, keys], of k [keys, queries]; NULL: there is no such term. */
    bert_dtype index_type; /**< BERT_INT32 or BERT_INT64 */
    int32_t input;         /**< Which the indices are. */
} bert_cuda_position_term;

/** y[b, h, i, j] = scale (q[b, i] . positions[indices[i, j]] + k[b, j] . positions[indices[j, i]]), of head h. */
typedef struct bert_cuda_disentangled_bias_args {
    bert_dtype dtype; /**< Of all but indices. */
    int64_t batch, heads, depth, queries, keys;
    bert_cuda_position_term terms[BERT_CUDA_POSITION_TERMS];
    float scale;
    void *y; /**< [batch, heads, queries, keys] */
    bert_cuda_index_check check;
    int64_t blocks; /**< With so many, or more, each takes several sequences; 0: as many as fill a GPU. */
} bert_cuda_disentangled_bias_args;

/** Bits of an element depend on its own rows alone: neither on the batch nor on other indices. */
cudaError_t bert_cuda_disentangled_bias(const bert_cuda_disentangled_bias_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
