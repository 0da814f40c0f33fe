/* Einsum as its equation has it: for what passes made no product, sum or view of. */
#ifndef BERT_CUDA_OPS_EINSUM_H
#define BERT_CUDA_OPS_EINSUM_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BERT_CUDA_EINSUM_OPERANDS = 8 };

/** How far elements of an operand are apart along the output's dimensions, and along those that are summed over: 0
 * where it hasn't one, or but one. */
typedef struct bert_cuda_einsum_operand {
    const void *data;
    int64_t outer[BERT_MAX_RANK], inner[BERT_MAX_RANK];
} bert_cuda_einsum_operand;

/** y = the sum over inner dimensions of the products of all operands. Whole numbers wrap around; float32 and below are
 * summed in float32, from first to last. */
typedef struct bert_cuda_einsum_args {
    bert_dtype dtype; /**< Any but bool. */
    int32_t operands; /**< From 1 on. */
    int32_t outer, inner;
    int64_t outer_dims[BERT_MAX_RANK], inner_dims[BERT_MAX_RANK];
    bert_cuda_einsum_operand inputs[BERT_CUDA_EINSUM_OPERANDS];
    void *y; /**< [outer_dims...] */
} bert_cuda_einsum_args;

cudaError_t bert_cuda_einsum(const bert_cuda_einsum_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
