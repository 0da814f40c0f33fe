/* Products of bytes of any shape, for those that the library has no fast kernel for. */
#ifndef BERT_CUDA_OPS_BYTE_PRODUCT_H
#define BERT_CUDA_OPS_BYTE_PRODUCT_H

#include "cuda/gemm.h"
#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/** gemm.h's product of kind S8: exact, whatever the transposes, sizes and alignment. Needs no workspace. */
cudaError_t bert_cuda_byte_product(const bert_cuda_gemm_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
