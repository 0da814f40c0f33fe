/* Canonical Lookup (core/graph/canonical.h): a byte of a table for each byte. */
#ifndef BERT_CUDA_OPS_LOOKUP_H
#define BERT_CUDA_OPS_LOOKUP_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bert_cuda_lookup_args {
    int64_t count;
    const uint8_t *x;     /**< [count], int8 by its bits: -1 is 255 */
    const uint8_t *table; /**< [256] */
    uint8_t *y;           /**< [count]: table[x]. May be x. */
} bert_cuda_lookup_args;

cudaError_t bert_cuda_lookup(const bert_cuda_lookup_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
