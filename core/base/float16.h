/*
 * Conversions between float32 and the two 16-bit float formats, as IEEE 754 rounds them (to nearest, ties to even).
 * Inline, so that a plug-in, which imports nothing of its host, has them too.
 */
#ifndef BERT_BASE_FLOAT16_H
#define BERT_BASE_FLOAT16_H

#include <stdint.h>
#include <string.h>

static inline uint32_t bert_float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float bert_float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float bert_half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = (half >> 10) & 0x1f;
    uint32_t mantissa = half & 0x3ff;
    if (exponent == 0x1f) return bert_float_of_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) {
        /* Zero and subnormals: mantissa * 2^-24 is exact in float32. */
        float magnitude = (float)mantissa * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return bert_float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

/** Overflow gives infinity; NaN stays NaN. */
static inline uint16_t bert_float_to_half(float value) {
    uint32_t bits = bert_float_bits(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and above round to infinity */
    if (magnitude < 0x38800000) {
        /* Subnormal: adding 0.5 puts the rounding of float32 itself at 2^-24. */
        float shifted = bert_float_of_bits(magnitude) + 0.5F;
        return (uint16_t)(sign | (bert_float_bits(shifted) - bert_float_bits(0.5F)));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

static inline float bert_bfloat16_to_float(uint16_t bfloat16) {
    return bert_float_of_bits((uint32_t)bfloat16 << 16);
}

static inline uint16_t bert_float_to_bfloat16(float value) {
    uint32_t bits = bert_float_bits(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
