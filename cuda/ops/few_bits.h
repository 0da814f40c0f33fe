/* Weights of com.microsoft's MatMulNBits: numbers of 2, 4 or 8 bits in blocks, as floats that a product takes. */
#ifndef BERT_CUDA_OPS_FEW_BITS_H
#define BERT_CUDA_OPS_FEW_BITS_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bert_cuda_few_bits_args {
    bert_dtype dtype;       /**< Of y: float32, float16, bfloat16 or double */
    int32_t bits;           /**< 2, 4 or 8 */
    int64_t columns, depth; /**< N and K */
    int64_t block;          /**< Numbers along K that share a scale: a power of two, at least 16 */
    const uint8_t *x;       /**< [N, blocks, block bits / 8]; the first number of a byte is in its low bits */
    const void *scales;     /**< [N, blocks] */
    bert_dtype scale_type;  /**< float32, float16, bfloat16 or double */
    /** NULL: 2^(bits - 1). uint8: numbers packed as those of x, each column's from a byte of its own on; else [N,
     * blocks] of scale_type. */
    const void *zero_points;
    bert_dtype zero_type;
    void *y; /**< [N, K]: (x - zero point) scale */
} bert_cuda_few_bits_args;

cudaError_t bert_cuda_few_bits(const bert_cuda_few_bits_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
