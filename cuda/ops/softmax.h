/* Softmax and LogSoftmax along an axis; also com.microsoft's BiasSoftmax, by `bias`. */
#ifndef BERT_CUDA_OPS_SOFTMAX_H
#define BERT_CUDA_OPS_SOFTMAX_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bert_cuda_softmax_args {
    bert_dtype dtype;            /**< float, float16, bfloat16 or double */
    int64_t outer, count, inner; /**< x is [outer, count, inner]; the softmax goes over count. */
    const void *x;
    const void *bias;              /**< Added to x before; NULL: none. Row i of [outer] takes bias row */
    int64_t bias_every, bias_rows; /**< i / bias_every % bias_rows, of count elements; inner is 1. */
    void *y;                       /**< May be x. */
    bool logarithm;
} bert_cuda_softmax_args;

cudaError_t bert_cuda_softmax(const bert_cuda_softmax_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
