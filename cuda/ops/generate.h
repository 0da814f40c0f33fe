/* Tensors from a rule: OneHot, Trilu, EyeLike, Range. (ConstantOfShape is bert_cuda_pad of a part without elements.) */
#ifndef BERT_CUDA_OPS_GENERATE_H
#define BERT_CUDA_OPS_GENERATE_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bert_cuda_one_hot_args {
    int32_t element_bytes;        /**< Of values and y. */
    int64_t before, depth, after; /**< y is [before, depth, after], indices [before, after] */
    const void *indices;          /**< Any type; one outside [-depth, depth) names no class. */
    bert_dtype index_type;
    const void *values; /**< off, on */
    void *y;
} bert_cuda_one_hot_args;

cudaError_t bert_cuda_one_hot(const bert_cuda_one_hot_args *args, cudaStream_t stream);

typedef struct bert_cuda_trilu_args {
    int32_t element_bytes;
    int64_t matrices, rows, columns; /**< x and y are [matrices, rows, columns] */
    const void *x;
    const int64_t *diagonal; /**< On the device; NULL: 0. */
    bool upper;
    void *y; /**< May be x. */
} bert_cuda_trilu_args;

/** Keeps what lies on and above (or below) the diagonal, zeros elsewhere. */
cudaError_t bert_cuda_trilu(const bert_cuda_trilu_args *args, cudaStream_t stream);

/** y [rows, columns]: 1 where column - row is `above`, else 0. */
cudaError_t bert_cuda_eye_like(bert_dtype dtype, int64_t rows, int64_t columns, int64_t above, void *y,
                               cudaStream_t stream);

/** y [count]: start + i delta; start and delta one element each, on the device, of y's type. */
cudaError_t bert_cuda_range_of(bert_dtype dtype, const void *start, const void *delta, int64_t count, void *y,
                               cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
