/*
 * Conversions between float32 and the two 16-bit float formats, as IEEE 754 rounds them (to nearest, ties to even).
 * Inline, so that a plug-in, which imports nothing of its host, has them too; and without branches, so that compilers
 * make vectors of loops over them: cases are chosen by masks of all ones.
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

static inline uint32_t bert_mask_if(int condition) {
    return -(uint32_t)condition;
}

static inline float bert_half_to_float(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = half & 0x7fff, rebias = 112U << 23;
    const uint32_t small = bert_mask_if(magnitude < 0x400), special = bert_mask_if(magnitude >= 0x7c00);
    /* Subnormals are multiples of 2^-24, which float32 has exactly; infinity and NaN have the greatest exponent. */
    const uint32_t subnormal = bert_float_bits((float)(int32_t)magnitude * 0x1p-24f);
    const uint32_t normal = (magnitude << 13) + rebias + (rebias & special);
    return bert_float_of_bits(sign | (subnormal & small) | (normal & ~small));
}

/** Overflow gives infinity; NaN stays NaN. */
static inline uint16_t bert_float_to_half(float value) {
    const uint32_t bits = bert_float_bits(value), magnitude = bits & 0x7fffffff;
    const uint32_t small = bert_mask_if(magnitude < 0x38800000), nan = bert_mask_if(magnitude > 0x7f800000);
    const uint32_t large = bert_mask_if(magnitude >= 0x477ff000); /* 65520 and above round to infinity */
    /* Subnormal: adding 0.5 puts the rounding of float32 itself at 2^-24. */
    const uint32_t subnormal = bert_float_bits(bert_float_of_bits(magnitude) + 0.5F) - bert_float_bits(0.5F);
    const uint32_t normal = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
    const uint32_t payload = 0x200 | (magnitude >> 13 & 0x3ff);
    return (uint16_t)((bits >> 16 & 0x8000) | (subnormal & small) | (normal & ~small & ~large) | (0x7c00 & large) |
                      (payload & nan));
}

static inline float bert_bfloat16_to_float(uint16_t bfloat16) {
    return bert_float_of_bits((uint32_t)bfloat16 << 16);
}

static inline uint16_t bert_float_to_bfloat16(float value) {
    const uint32_t bits = bert_float_bits(value), nan = bert_mask_if((bits & 0x7fffffff) > 0x7f800000);
    const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
    return (uint16_t)((((bits | 0x400000) & nan) | (rounded & ~nan)) >> 16);
}

#endif
