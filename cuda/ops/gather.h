/* Elements chosen, or places written, by indices that come with a run: Gather, GatherElements, GatherND,
 * ScatterElements, ScatterND. Indices are checked on the device. */
#ifndef BERT_CUDA_OPS_GATHER_H
#define BERT_CUDA_OPS_GATHER_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bert_cuda_gather_args {
    int32_t element_bytes;      /**< 1, 2, 4 or 8 */
    int64_t before, bound, row; /**< data is [before, bound, row] */
    const void *data;
    const void *indices;   /**< [count] */
    bert_dtype index_type; /**< BERT_INT32 or BERT_INT64 */
    int64_t count;
    void *y; /**< [before, count, row] */
    bert_cuda_index_check check;
    int32_t input; /**< Which the indices are; 1 in all other calls of this page. */
} bert_cuda_gather_args;

cudaError_t bert_cuda_gather(const bert_cuda_gather_args *args, cudaStream_t stream);

typedef struct bert_cuda_gather_elements_args {
    int32_t element_bytes;
    int32_t rank, axis;
    int64_t dims[BERT_MAX_RANK]; /**< Of indices and y. */
    int64_t data_dims[BERT_MAX_RANK];
    const void *data, *indices;
    bert_dtype index_type;
    void *y;
    bert_cuda_index_check check;
} bert_cuda_gather_elements_args;

cudaError_t bert_cuda_gather_elements(const bert_cuda_gather_elements_args *args, cudaStream_t stream);

/** The first `batch_dims` dimensions are shared; the last of the indices has `depth` numbers, for the axes that follow.
 */
typedef struct bert_cuda_gather_nd_args {
    int32_t element_bytes;
    int32_t depth;
    int64_t batches, tuples;       /**< indices are [batches, tuples, depth] */
    int64_t bounds[BERT_MAX_RANK]; /**< data is [batches, bounds[0], ..., bounds[depth - 1], row] */
    int64_t row;
    const void *data, *indices;
    bert_dtype index_type;
    void *y; /**< [batches, tuples, row] */
    bert_cuda_index_check check;
} bert_cuda_gather_nd_args;

cudaError_t bert_cuda_gather_nd(const bert_cuda_gather_nd_args *args, cudaStream_t stream);

typedef enum bert_cuda_scatter_mode {
    BERT_CUDA_SCATTER_NONE, /**< Of several updates of one place the last one stays. */
    BERT_CUDA_SCATTER_ADD,
    BERT_CUDA_SCATTER_MUL,
    BERT_CUDA_SCATTER_MAX,
    BERT_CUDA_SCATTER_MIN
} bert_cuda_scatter_mode;

/** y holds a copy of data already (bert_cuda_move, cudaMemcpyAsync). */
typedef struct bert_cuda_scatter_elements_args {
    bert_dtype dtype;
    bert_cuda_scatter_mode mode;
    int32_t rank, axis;
    int64_t dims[BERT_MAX_RANK]; /**< Of indices and updates. */
    int64_t y_dims[BERT_MAX_RANK];
    const void *indices, *updates;
    bert_dtype index_type;
    void *y;
    bert_cuda_index_check check;
} bert_cuda_scatter_elements_args;

cudaError_t bert_cuda_scatter_elements(const bert_cuda_scatter_elements_args *args, cudaStream_t stream);

/** y holds a copy of data already. */
typedef struct bert_cuda_scatter_nd_args {
    bert_dtype dtype;
    bert_cuda_scatter_mode mode;
    int32_t depth;
    int64_t tuples;                /**< indices are [tuples, depth] */
    int64_t bounds[BERT_MAX_RANK]; /**< y is [bounds[0], ..., bounds[depth - 1], row] */
    int64_t row;
    const void *indices, *updates; /**< updates are [tuples, row] */
    bert_dtype index_type;
    void *y;
    bert_cuda_index_check check;
} bert_cuda_scatter_nd_args;

cudaError_t bert_cuda_scatter_nd(const bert_cuda_scatter_nd_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
