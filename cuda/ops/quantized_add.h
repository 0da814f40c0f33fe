/* Canonical QuantizedAdd (core/graph/canonical.h): a sum of tensors that are quantized and dequantized, in one pass. */
#ifndef BERT_CUDA_OPS_QUANTIZED_ADD_H
#define BERT_CUDA_OPS_QUANTIZED_ADD_H

#include "cuda/ops/elementwise.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A scale and a zero point of a whole tensor. */
typedef struct bert_cuda_byte_scale {
    const void *scale; /**< [1]; NULL: there are none. */
    bert_dtype scale_type;
    const void *zero_point; /**< [1] */
    bert_dtype byte_type;   /**< Of the zero point, and of what is quantized: BERT_INT8, BERT_UINT8. */
} bert_cuda_byte_scale;

typedef struct bert_cuda_quantized_add_args {
    int32_t rank;
    int64_t dims[BERT_MAX_RANK];               /**< Of y. */
    bert_cuda_operand a, b;                    /**< Of one type; their lower halves count. */
    bert_cuda_byte_scale a_scale, a_new_scale; /**< Both or neither: a counts as it is. */
    bert_cuda_byte_scale y_scale,
        y_new_scale; /**< None: y is the sum, of the type of a; the first alone: bytes; both: of the type of a. */
    void *y;         /**< Dense. May be an input that is as dense and whose elements are of the same size. */
} bert_cuda_quantized_add_args;

cudaError_t bert_cuda_quantized_add(const bert_cuda_quantized_add_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
