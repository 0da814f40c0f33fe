/* Elements from one place to another, as they are: Transpose, Slice, Split, Concat (a call for each input), Expand,
 * Identity, and reshapes that copy. */
#ifndef BERT_CUDA_OPS_MOVE_H
#define BERT_CUDA_OPS_MOVE_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A box of elements that is read with one set of strides, of any sign and 0 too, and written with another. */
typedef struct bert_cuda_move_args {
    int32_t element_bytes; /**< 1, 2, 4 or 8 */
    int32_t rank;
    int64_t dims[BERT_MAX_RANK];
    const void *from; /**< Where the box begins. */
    int64_t from_strides[BERT_MAX_RANK];
    void *to;
    int64_t to_strides[BERT_MAX_RANK]; /**< No two elements of the box to one place. */
} bert_cuda_move_args;

cudaError_t bert_cuda_move(const bert_cuda_move_args *args, cudaStream_t stream);

/** Where an element outside the input comes from. */
typedef enum bert_cuda_pad_mode {
    BERT_CUDA_PAD_CONSTANT,
    BERT_CUDA_PAD_EDGE,
    BERT_CUDA_PAD_REFLECT,
    BERT_CUDA_PAD_WRAP /**< Tile is this with before 0. */
} bert_cuda_pad_mode;

/**
 * Output element c of an axis is element c - before of a part of the input: `size` elements from `first` on. One
 * outside the part is found by the mode. A part without elements has the mode constant.
 */
typedef struct bert_cuda_pad_args {
    int32_t element_bytes;
    int32_t rank;
    int64_t dims[BERT_MAX_RANK]; /**< Of the output, which is dense. */
    int64_t before[BERT_MAX_RANK], first[BERT_MAX_RANK], size[BERT_MAX_RANK];
    int64_t strides[BERT_MAX_RANK]; /**< Of the input. */
    const void *from;
    const void *fill;   /**< The constant, on the device; NULL: */
    uint64_t fill_bits; /**< its low bytes. */
    bert_cuda_pad_mode mode;
    void *to;
} bert_cuda_pad_args;

cudaError_t bert_cuda_pad(const bert_cuda_pad_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
