/* See cuda_fp16.h. */
#ifndef BERT_EMULATED_CUDA_BF16_H
#define BERT_EMULATED_CUDA_BF16_H

#include "core/base/float16.h"

struct __nv_bfloat16 {
    unsigned short bits;
};

static inline float __bfloat162float(__nv_bfloat16 x) {
    return bert_bfloat16_to_float(x.bits);
}
static inline __nv_bfloat16 __float2bfloat16_rn(float x) {
    return {bert_float_to_bfloat16(x)};
}
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) {
    return x.bits;
}
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
    return {bits};
}

#endif
