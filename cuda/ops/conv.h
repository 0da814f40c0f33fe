/* Conv, over any number of spatial axes. */
#ifndef BERT_CUDA_OPS_CONV_H
#define BERT_CUDA_OPS_CONV_H

#include "core/graph/conv_axes.h"
#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bert_cuda_conv_args {
    bert_dtype dtype; /**< Of all tensors: float32, float16, bfloat16 or double, which is computed in double. */
    int32_t axes;     /**< From 1 on. */
    bert_conv_axis axis[BERT_CONV_MAX_AXES];
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
