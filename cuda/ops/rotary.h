/* RotaryEmbedding, ai.onnx's and com.microsoft's: pairs of a head's elements are turned by the angle of their position.
 */
#ifndef BERT_CUDA_OPS_ROTARY_H
#define BERT_CUDA_OPS_ROTARY_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bert_cuda_rotary_args {
    bert_dtype dtype; /**< float32, float16, bfloat16 or double; of x, y, cosines and sines */
    int64_t batch, heads, rows, depth;
    int64_t batch_stride, head_stride, row_stride; /**< Of x and y, in elements; a head's elements lie together. */
    int64_t half;     /**< Pairs that are turned; 2 half <= depth, the elements after them stay. */
    bool interleaved; /**< A pair is elements 2 i and 2 i + 1, else i and i + half. */
    const void *x;
    const void *cosines, *sines; /**< [positions, half], or without position ids [batch, rows, half] */
    const int64_t *ids;          /**< [batch, rows]; NULL: the caches have a row for each token. */
    bool offset;                 /**< There is one id alone: the position of row 0. */
    int64_t positions;
    void *y;
    bert_cuda_index_check check; /**< A position before 0 is reported like one after the end. */
    int32_t input;               /**< Which the ids are. */
} bert_cuda_rotary_args;

cudaError_t bert_cuda_rotary(const bert_cuda_rotary_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
