/*
 * The integer that DynamicQuantizeLinear and QuantizedAdd make of x / scale. QuantizeLinear, which has doubles too, has
 * its own in elementwise.cu. For .cu files.
 */
#ifndef BERT_CUDA_OPS_QUANTIZED_H
#define BERT_CUDA_OPS_QUANTIZED_H

#include "cuda/platform.h"

/** round(quotient) + zero_point in [least, most], rounding half to even; NaN gives `least`. The sum is exact wherever
 * it is in that range. */
static __device__ inline int quantized(float quotient, int zero_point, int least, int most) {
    const float rounded = rintf(quotient) + static_cast<float>(zero_point);
    if (!(rounded > static_cast<float>(least))) return least;
    return rounded > static_cast<float>(most) ? most : static_cast<int>(rounded);
}

#endif
