/* Reductions over any axes, and what goes along one axis: ArgMax, ArgMin, CumSum, TopK. */
#ifndef BERT_CUDA_OPS_REDUCE_H
#define BERT_CUDA_OPS_REDUCE_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bert_cuda_reduction {
    BERT_CUDA_REDUCE_L1,
    BERT_CUDA_REDUCE_L2,
    BERT_CUDA_REDUCE_LOG_SUM,
    BERT_CUDA_REDUCE_LOG_SUM_EXP,
    BERT_CUDA_REDUCE_MAX,
    BERT_CUDA_REDUCE_MEAN,
    BERT_CUDA_REDUCE_MIN,
    BERT_CUDA_REDUCE_PROD,
    BERT_CUDA_REDUCE_SUM,
    BERT_CUDA_REDUCE_SUM_SQUARE
} bert_cuda_reduction;

typedef struct bert_cuda_reduce_args {
    bert_cuda_reduction reduction;
    bert_dtype dtype; /**< Of x and y: any; bool for MAX and MIN. */
    int32_t rank;
    int64_t dims[BERT_MAX_RANK]; /**< Of x. */
    uint32_t axes;               /**< Bit i: axis i is reduced. */
    const void *x;
    void *y; /**< The other axes, in order. */
    /** BERT_BFLOAT16 alone: the lower halves (halves.h) of tensors that are held in float32; NULL: they are not. */
    const uint16_t *x_lower;
    uint16_t *y_lower;
} bert_cuda_reduce_args;

/** Nothing to reduce gives the value of the empty sum, product, greatest ... as the reference has it. */
cudaError_t bert_cuda_reduce(const bert_cuda_reduce_args *args, cudaStream_t stream);

/** x is [outer, count, inner]; what is done goes along count. */
typedef struct bert_cuda_line_args {
    bert_dtype dtype; /**< Of x. */
    int64_t outer, count, inner;
    const void *x;
} bert_cuda_line_args;

/** y int64 [outer, inner]: the first (or `last`) place of the greatest, or least, element. count > 0. */
cudaError_t bert_cuda_arg_extreme(const bert_cuda_line_args *line, bool greatest, bool last, int64_t *y,
                                  cudaStream_t stream);

/** y of the shape and type of x: sums of what comes up to, or (`exclusive`) before each; or from the end (`reverse`).
 */
cudaError_t bert_cuda_cumulative_sum(const bert_cuda_line_args *line, bool exclusive, bool reverse, void *y,
                                     cudaStream_t stream);

/** values (type of x) and indices (int64) [outer, k, inner], best first, either NULL; equal ones in the order of x. */
cudaError_t bert_cuda_top_k(const bert_cuda_line_args *line, int64_t k, bool largest, void *values, int64_t *indices,
                            cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
