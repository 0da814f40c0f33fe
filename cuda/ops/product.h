/* Products of the types that the library's are not made of: double, and whole numbers of 32 and 64 bits. */
#ifndef BERT_CUDA_OPS_PRODUCT_H
#define BERT_CUDA_OPS_PRODUCT_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Where the elements of an operand are: its batches by `batch`, then rows and columns, in elements; 0 where broadcast.
 */
typedef struct bert_cuda_product_operand {
    const void *data;
    int64_t batch[BERT_MAX_RANK], row, column;
} bert_cuda_product_operand;

/** C = alpha A B + beta C for each of the batches. */
typedef struct bert_cuda_product_args {
    bert_dtype dtype; /**< double, int32, uint32, int64 or uint64; whole numbers wrap around, alpha is 1 and beta 0 */
    int32_t rank;     /**< Of the batches. */
    int64_t dims[BERT_MAX_RANK];
    int64_t m, n, k;
    bert_cuda_product_operand a, b; /**< [m, k] and [k, n] */
    void *c;                        /**< [dims..., m, n], dense; not read with beta 0. */
    double alpha, beta;
} bert_cuda_product_args;

cudaError_t bert_cuda_product(const bert_cuda_product_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
