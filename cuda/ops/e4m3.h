/* float32 to FP8 E4M3, for weights on the host and for rows on the device: the same bits. */
#ifndef BERT_CUDA_OPS_E4M3_H
#define BERT_CUDA_OPS_E4M3_H

#include <stdint.h>

#ifdef __cplusplus
#include "cuda/platform.h"
#define BERT_E4M3_FUNCTION static inline __host__ __device__
#else
#define BERT_E4M3_FUNCTION static inline
#endif

/** The greatest number of the format. */
#define BERT_E4M3_MOST 448.0F

/**
 * The number nearest to the float32 with these bits, ties to even, at most 448 in magnitude; NaN stays NaN. E4M3 (OCP
 * 8-bit Floating Point Specification): a sign, 4 bits of exponent with a bias of 7, 3 of fraction; no infinity, all
 * ones is NaN.
 */
BERT_E4M3_FUNCTION uint8_t bert_e4m3_of_bits(uint32_t bits) {
    const uint32_t sign = bits >> 24 & 0x80, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint8_t)(sign | 0x7f);
    if (magnitude >= 0x43e00000) return (uint8_t)(sign | 0x7e);
    /* Below 2^-6: multiples of 2^-9, none of less than half of one. */
    const uint32_t exponent = magnitude >> 23, fraction = (magnitude & 0x7fffff) | 0x800000;
    if (exponent < 117) return (uint8_t)sign;
    const uint32_t shift = exponent < 121 ? 141 - exponent : 20;
    const uint32_t kept = fraction >> shift, rest = fraction & ((UINT32_C(1) << shift) - 1);
    const uint32_t middle = UINT32_C(1) << (shift - 1);
    const uint32_t rounded = kept + (rest > middle || (rest == middle && (kept & 1)));
    return (uint8_t)(sign | (exponent < 121 ? rounded : ((exponent - 121) << 3) + rounded));
}

#endif
