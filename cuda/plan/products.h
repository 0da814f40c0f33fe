/* Many products at once, by ONNX's rules for shapes. */
#ifndef BERT_CUDA_PLAN_PRODUCTS_H
#define BERT_CUDA_PLAN_PRODUCTS_H

#include "cuda/plan/plan.h"

/** The dimensions before matrices, of which neighbours are joined where both operands go through them evenly. */
typedef struct bert_cuda_batches {
    int32_t rank;
    int64_t dims[BERT_MAX_RANK], a[BERT_MAX_RANK], b[BERT_MAX_RANK]; /**< Strides, 0 where an operand is broadcast. */
} bert_cuda_batches;

/** The dimensions of y before its matrices. */
bert_cuda_batches bert_cuda_product_batches(const bert_tensor *a, const bert_tensor *b, const bert_tensor *y);
/** Sizes of matrices, as they are multiplied, and where they lie. A vector is a row on the left, a column on the right.
 */
bert_cuda_gemm_args bert_cuda_product_sizes(const bert_tensor *a, const bert_tensor *b, bool transpose_a,
                                            bool transpose_b);
/** All products; `args` has everything but batches. Elements of operands and of the result have these bytes. */
bert_status bert_cuda_multiply_all(const bert_cuda_call *call, const bert_cuda_batches *shape,
                                   bert_cuda_gemm_args *args, size_t element, size_t result);

#endif
