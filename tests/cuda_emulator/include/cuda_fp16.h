/* The 16-bit floats of CUDA as far as cuda/ uses them: storage, and conversion by rounding to nearest, ties to even. */
#ifndef BERT_EMULATED_CUDA_FP16_H
#define BERT_EMULATED_CUDA_FP16_H

#include "core/base/float16.h"

struct __half {
    unsigned short bits;
};
typedef __half half;

static inline float __half2float(__half x) {
    return bert_half_to_float(x.bits);
}
static inline __half __float2half_rn(float x) {
    return {bert_float_to_half(x)};
}
static inline unsigned short __half_as_ushort(__half x) {
    return x.bits;
}

#endif
