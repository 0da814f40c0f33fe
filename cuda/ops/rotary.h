/* RotaryEmbedding, ai.onnx's and com.microsoft's, and what canonical Attention does to Q and K: pairs of a head's
 * elements are turned by the angle of their position. */
#ifndef BERT_CUDA_OPS_ROTARY_H
#define BERT_CUDA_OPS_ROTARY_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/** From one sequence, head and row to the next, in elements; a head's elements lie together. */
typedef struct bert_cuda_rotary_strides {
    int64_t batch, head, row;
} bert_cuda_rotary_strides;

typedef struct bert_cuda_rotary_args {
    bert_dtype dtype; /**< float32, float16, bfloat16 or double; of x, y, cosines and sines */
    int64_t batch, heads, rows, depth;
    int64_t half;     /**< Pairs that are turned; 2 half <= depth, the elements after them stay. */
    bool interleaved; /**< A pair is elements 2 i and 2 i + 1, else i and i + half. */
    const void *x[2]; /**< Tensors that are turned alike; the second may be NULL: there is one. */
    void *y[2];
    bert_cuda_rotary_strides x_at, y_at;
    const void *cosines, *sines; /**< [positions, half]; with `angle_each` [positions, 2 half] */
    bool angle_each;       /**< Both elements of a pair have their own: i and i + half of a row. Not interleaved. */
    const int64_t *ids;    /**< [batch, rows]; NULL: row s of sequence b is token b rows + s. */
    bool offset;           /**< There is one id alone: the position of row 0. */
    const int32_t *tokens; /**< [batch, rows], without ids: which token each row is instead; or NULL. */
    int64_t positions;     /**< Without ids, tokens begin anew with the caches' first row after so many. */
    bert_cuda_index_check check; /**< A position before 0 is reported like one after the end. */
    int32_t input;               /**< Which the ids are. */
} bert_cuda_rotary_args;

cudaError_t bert_cuda_rotary(const bert_cuda_rotary_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
