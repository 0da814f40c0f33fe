/* Activations in float32, by the formulas of core/graph/canonical.h; for .cu files. */
#ifndef BERT_CUDA_OPS_ACTIVATION_H
#define BERT_CUDA_OPS_ACTIVATION_H

#include "cuda/ops/op.h"
#include "cuda/platform.h"

static __device__ inline float activate(float x, bert_cuda_activation activation) {
    switch (activation) {
    case BERT_CUDA_GELU: /* x Phi(x); erff is good to 2 units in the last place */
        return 0.5F * x * (1.0F + erff(x * 0.70710678118654752F));
    case BERT_CUDA_GELU_TANH:
        return 0.5F * x * (1.0F + tanhf(0.79788456080286536F * (x + 0.044715F * x * x * x)));
    case BERT_CUDA_QUICK_GELU:
        return x / (1.0F + expf(-1.702F * x));
    case BERT_CUDA_SILU:
        return x / (1.0F + expf(-x));
    case BERT_CUDA_TANH:
        return tanhf(x);
    case BERT_CUDA_RELU:
        return x < 0.0F ? 0.0F : x; /* NaN stays */
    default:
        return x;
    }
}

template <bert_cuda_activation ACTIVATION, int N> static __device__ inline void activate_each(float (&x)[N]) {
    BERT_UNROLL
    for (int i = 0; i < N; i++) x[i] = activate(x[i], ACTIVATION);
}

/** Elements of one thread. The activation is looked at once: a jump for each element costs as much as a GELU. */
template <int N> static __device__ inline void activate_all(float (&x)[N], bert_cuda_activation activation) {
    switch (activation) {
    case BERT_CUDA_GELU:
        return activate_each<BERT_CUDA_GELU>(x);
    case BERT_CUDA_GELU_TANH:
        return activate_each<BERT_CUDA_GELU_TANH>(x);
    case BERT_CUDA_QUICK_GELU:
        return activate_each<BERT_CUDA_QUICK_GELU>(x);
    case BERT_CUDA_SILU:
        return activate_each<BERT_CUDA_SILU>(x);
    case BERT_CUDA_TANH:
        return activate_each<BERT_CUDA_TANH>(x);
    case BERT_CUDA_RELU:
        return activate_each<BERT_CUDA_RELU>(x);
    default:
        return;
    }
}

#endif
