/*
 * A float32 in two halves, as the bfloat16 plans hold what a model adds to from layer to layer: its residual.
 *
 * The upper half is the number rounded to bfloat16 (to nearest, ties away from 0), the lower half the last 16 of its
 * bits; together they are the float32 again, to the last bit. A tensor has all upper halves first, then all lower ones,
 * in the memory that float32 would take. So products and attention read 2 bytes an element, and find an ordinary tensor
 * of bfloat16; who adds to the residual reads and writes 4. Beside a float32 tensor with a copy in bfloat16, as others
 * hold it, that saves a LayerNorm 2 of 12 bytes an element, and a third of the memory.
 *
 * For .cu files.
 */
#ifndef BERT_CUDA_OPS_HALVES_H
#define BERT_CUDA_OPS_HALVES_H

#include "cuda/platform.h"

/** Whether elements of a type can be upper halves. What follows is called for no other, but compiles for all. */
template <typename T> struct bert_halves { static constexpr bool exist = false; };
template <> struct bert_halves<__nv_bfloat16> { static constexpr bool exist = true; };

/** The number: with 0 for a lower half, the upper one. `lower` is not looked at where T has no halves. */
template <typename T> static __device__ inline float join_halves(T upper, uint16_t lower) {
    return to_float(upper);
}
template <> __device__ inline float join_halves(__nv_bfloat16 upper, uint16_t lower) {
    const uint32_t high = static_cast<uint32_t>(__bfloat16_as_ushort(upper)) << 16;
    return __uint_as_float(high + static_cast<uint32_t>(static_cast<int32_t>(static_cast<int16_t>(lower))));
}

template <typename T> static __device__ inline T upper_half(float x) {
    return from_float<T>(x);
}
/* The lower half counts from -2^15 on, which rounding away from 0 leaves. A NaN keeps to its upper half. */
template <> __device__ inline __nv_bfloat16 upper_half<__nv_bfloat16>(float x) {
    const uint32_t bits = __float_as_uint(x);
    const bool nan = (bits & 0x7fffffff) > 0x7f800000;
    return __ushort_as_bfloat16(static_cast<uint16_t>(nan ? bits >> 16 | 0x40 : (bits + 0x8000) >> 16));
}
static __device__ inline uint16_t lower_half(float x) {
    const uint32_t bits = __float_as_uint(x);
    return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0 : bits & 0xffff);
}

/** As the element is stored: rounded, or the upper half of what is stored. */
template <typename T> static __device__ inline T stored_element(float x, bool halves) {
    return halves ? upper_half<T>(x) : from_float<T>(x);
}

#endif
