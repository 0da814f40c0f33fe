/* Activations in float32, by the formulas of core/graph/canonical.h; for .cu files. */
#ifndef BERT_CUDA_OPS_ACTIVATION_H
#define BERT_CUDA_OPS_ACTIVATION_H

#include "cuda/ops/op.h"
#include "cuda/platform.h"

/**
 * x Phi(x) as x / 2 + t (1/2 - Phi(-t)), where t = |x| and Phi(-t) = erfc(t / sqrt 2) / 2 = 2^q(t). With the exact
 * power it is off by 1e-7 |x| at most; one that is off by 2^-22 of itself, as ex2.approx may be, adds 2^-23 |x|, since
 * Phi(-t) is half at most. (0.5 x (1 + erff(x / sqrt 2)) is off by 1.4e-7 |x| with an erff that is good to 2 units in
 * the last place.) It takes 12 instructions (sm_90, nvdisasm -c), not 26, of which 9 choose between the two polynomials
 * of erff.
 * tests/tools/gelu_polynomial.py makes q; where nothing is left of Phi(-t), from 6 on, it falls on. -infinity gives
 * NaN, as the formula with erf does.
 */
static __device__ inline float gelu(float x) {
    const float t = fabsf(x);
    float q = fmaf(-0x1.7c7edep-19F, t, 0x1.4a52f2p-15F);
    q = fmaf(q, t, -0x1.8672c2p-13F);
    q = fmaf(q, t, -0x1.1f2d28p-13F);
    q = fmaf(q, t, 0x1.cee886p-8F);
    q = fmaf(q, t, -0x1.ae0c78p-5F);
    q = fmaf(q, t, -0x1.d63aacp-2F);
    q = fmaf(q, t, -0x1.26aed4p+0F);
    q = fmaf(q, t, -1.0F);
    return fmaf(t, 0.5F - exp2_near(q), 0.5F * x);
}

static __device__ inline float activate(float x, bert_cuda_activation activation) {
    switch (activation) {
    case BERT_CUDA_GELU:
        return gelu(x);
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
