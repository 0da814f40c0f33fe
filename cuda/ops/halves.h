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

/* Elements of a tensor that may be in halves: `lower` NULL, or of a type that has none, means that it isn't. */

template <typename T> static __device__ inline float load_element(const T *x, const uint16_t *lower, int64_t at) {
    return bert_halves<T>::exist && lower ? join_halves(x[at], lower[at]) : to_float(x[at]);
}

/** Gives what is found in y alone. */
template <typename T> static __device__ inline float store_element(T *y, uint16_t *lower, int64_t at, float value) {
    const T stored = stored_element<T>(value, lower != nullptr);
    y[at] = stored;
    if (bert_halves<T>::exist && lower) lower[at] = lower_half(value);
    return to_float(stored);
}

/** N such elements, loaded and stored in one go: `from` is a multiple of N, and so are addresses (bert_vectors_fit). */
template <typename T, int N> struct bert_elements {
    bert_vector<T, N> upper;
    bert_vector<uint16_t, N> lower;

    __device__ void load(const T *x, const uint16_t *x_lower, int64_t from) {
        load_vector(&upper, x, from);
        lower = {};
        if (bert_halves<T>::exist && x_lower) load_vector(&lower, x_lower, from);
    }
    __device__ float get(int i) const {
        return join_halves(upper.at[i], lower.at[i]);
    }
    /** Gives what is found in the upper half alone. */
    __device__ float set(int i, float value, bool halves) {
        upper.at[i] = stored_element<T>(value, halves);
        lower.at[i] = lower_half(value);
        return to_float(upper.at[i]);
    }
    /** Of those that were set with `halves` if `y_lower` is not NULL. */
    __device__ void store(T *y, uint16_t *y_lower, int64_t from) const {
        store_vector(y + from, upper);
        if (bert_halves<T>::exist && y_lower) store_vector(y_lower + from, lower);
    }
};

#endif
