/* The lanes of a last vector that is not full, for kernels written over AVX-512's own types. */
#ifndef BERT_CPU_KERNELS_LANES_AVX512_H
#define BERT_CPU_KERNELS_LANES_AVX512_H

#include <immintrin.h>
#include <stdint.h>

/* Lanes of 16 that `left` elements fill. */
static inline __mmask16 lanes_of(int64_t left) {
    return (__mmask16)(left >= 16 ? 0xffffU : (1U << left) - 1U);
}

#endif
