/* float32 to FP8 E4M3 with a scale, for weights on the host and for rows on the device: the same bits. */
#ifndef BERT_CUDA_OPS_E4M3_H
#define BERT_CUDA_OPS_E4M3_H

#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
#include "cuda/platform.h"
#define BERT_E4M3_FUNCTION static inline __host__ __device__
#else
#define BERT_E4M3_FUNCTION static inline
#endif

/** The greatest number of the format. */
#define BERT_E4M3_MOST 448.0F

/**
 * The scale of numbers up to `most` in magnitude: most / 448, or 1 where that is below 2^-126, whose reciprocal may be
 * infinite. Numbers are multiplied by 1 / scale, rounded once to float32, and then become E4M3.
 */
BERT_E4M3_FUNCTION float bert_e4m3_scale(float most) {
    const float scale = most / BERT_E4M3_MOST;
    return scale >= 0x1p-126F ? scale : 1.0F;
}

/**
 * The number nearest to the float32 with these bits, ties to even, at most 448 in magnitude; NaN is 0x7f, as PTX's
 * instruction has it. E4M3 (OCP 8-bit Floating Point Specification): a sign, 4 bits of exponent with a bias of 7, 3 of
 * fraction; no infinity, all ones is NaN. Without branches, so that compilers make vectors of it.
 */
BERT_E4M3_FUNCTION uint8_t bert_e4m3_of_bits(uint32_t bits) {
    const uint32_t sign = bits >> 24 & 0x80, magnitude = bits & 0x7fffffff;
    const uint32_t bounded = magnitude < 0x43e00000 ? magnitude : 0x43e00000;
    /* From 2^-6 on: 3 bits of fraction are kept, and a carry goes to the exponent. */
    const uint32_t normal = ((bounded + 0x7ffff + (bounded >> 20 & 1)) >> 20) - (120U << 3);
    /* Below: multiples of 2^-9, which is the last bit of numbers from 2^14 on. */
    float shifted;
    uint32_t subnormal;
    memcpy(&shifted, &bounded, sizeof shifted);
    shifted += 0x1p14F;
    memcpy(&subnormal, &shifted, sizeof subnormal);
    subnormal -= 0x46800000;
    const uint32_t below = -(uint32_t)(bounded < 0x3c800000), nan = -(uint32_t)(magnitude > 0x7f800000);
    return (uint8_t)(((sign | (subnormal & below) | (normal & ~below)) & ~nan) | (0x7f & nan));
}

#endif
