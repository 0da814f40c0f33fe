/* Conv, over any number of spatial axes. */
#ifndef BERT_CUDA_OPS_CONV_H
#define BERT_CUDA_OPS_CONV_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BERT_CUDA_CONV_AXES = BERT_MAX_RANK - 2 };

/** One spatial axis, and how the kernel is laid over it: tap t of place p meets element p stride + t dilation - before
 * of x, or padding where there is none. */
typedef struct bert_cuda_conv_axis {
    int64_t size, taps, places; /**< Of x, w and y; taps from 1 on. */
    int64_t stride, dilation;   /**< From 1 to INT32_MAX. */
    int64_t before;             /**< Padding, from 0 on. What is behind follows from `places`. */
} bert_cuda_conv_axis;

typedef struct bert_cuda_conv_args {
    bert_dtype dtype; /**< Of all tensors: float32, float16, bfloat16 or double, which is computed in double. */
    int32_t axes;     /**< From 1 on. */
    bert_cuda_conv_axis axis[BERT_CUDA_CONV_AXES];
    int64_t batch, groups;
    int64_t group_inputs, group_outputs; /**< Channels of x and of y that a group has. */
    const void *x;                       /**< [batch, groups * group_inputs, sizes...] */
    const void *w;                       /**< [groups * group_outputs, group_inputs, taps...] */
    const void *b;                       /**< [groups * group_outputs], or NULL */
    void *y;                             /**< [batch, groups * group_outputs, places...] */
} bert_cuda_conv_args;

/** The order of each sum depends on the channels of a group, the taps and the type alone. */
cudaError_t bert_cuda_conv(const bert_cuda_conv_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
