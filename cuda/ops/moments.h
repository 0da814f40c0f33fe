/* Moments of rows, as LayerNormLinear in core/graph/canonical.h has them. */
#ifndef BERT_CUDA_OPS_MOMENTS_H
#define BERT_CUDA_OPS_MOMENTS_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bert_cuda_moments_args {
    int64_t rows, width;
    const void *x;  /**< float16 [rows, width]; rows begin at multiples of 16 bytes. */
    float *moments; /**< [rows, ceil(width / 64), 2] */
} bert_cuda_moments_args;

/** Of each 64 elements of a row, or what is left of it: the mean, and the sum of squared distances from it.
 * cudaErrorNotSupported: rows begin elsewhere. */
cudaError_t bert_cuda_moments(const bert_cuda_moments_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
