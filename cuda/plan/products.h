/* Many products at once, by ONNX's rules for shapes. */
#ifndef BERT_CUDA_PLAN_PRODUCTS_H
#define BERT_CUDA_PLAN_PRODUCTS_H

#include "cuda/plan/plan.h"

/** A tensor as matrices, as they are stored; strides in elements. */
typedef struct bert_cuda_matrices {
    const void *data;
    bool vector; /**< A row on the left, a column on the right. */
    int64_t rows, columns, pitch;
    int32_t rank; /**< Of what stands before the matrices. */
    int64_t dims[BERT_MAX_RANK], strides[BERT_MAX_RANK];
} bert_cuda_matrices;

/** `batch_last`: the rows are dimension 0, what stands before matrices otherwise comes after it. */
bert_cuda_matrices bert_cuda_matrices_of(const bert_tensor *tensor, bool left, bool batch_last);

/** The dimensions before matrices, of which neighbours are joined where both operands go through them evenly. */
typedef struct bert_cuda_batches {
    int32_t rank;
    int64_t dims[BERT_MAX_RANK], a[BERT_MAX_RANK], b[BERT_MAX_RANK]; /**< Strides, 0 where an operand is broadcast. */
} bert_cuda_batches;

bert_cuda_batches bert_cuda_product_batches(const bert_cuda_matrices *a, const bert_cuda_matrices *b);
/** Sizes of matrices, as they are multiplied, and where they lie. */
bert_cuda_gemm_args bert_cuda_product_sizes(const bert_cuda_matrices *a, const bert_cuda_matrices *b, bool transpose_a,
                                            bool transpose_b);
/** All products; `args` has everything but batches. Elements of operands and of the result have these bytes. */
bert_status bert_cuda_multiply_all(const bert_cuda_call *call, const bert_cuda_batches *shape,
                                   bert_cuda_gemm_args *args, size_t element, size_t result);

#endif
