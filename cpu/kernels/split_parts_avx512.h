/*
 * 32 numbers in three parts each, for AVX-512: what split_avx512.h does with rows and panels, and amx_split.h with
 * pairs of a panel's rows between products. Halves are rounded away from zero, so that a part is one addition and one
 * mask, and pairs of rows a shift and a blend: 18 instructions.
 */
#ifndef BERT_CPU_KERNELS_SPLIT_PARTS_AVX512_H
#define BERT_CPU_KERNELS_SPLIT_PARTS_AVX512_H

#include "cpu/kernels/kernels.h"

#include <immintrin.h>

/* The nearest bfloat16, as a float32. */
static inline __m512i upper_half(__m512 x) {
    const __m512i rounded = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
    return _mm512_and_si512(rounded, _mm512_set1_epi32((int32_t)0xffff0000));
}

/* The upper halves of two vectors: pairs of the same lane. Low parts below 2^-133 and NaN have something in the lower
 * ones as well, which is left out. */
static inline __m512i pairs_of(__m512i first, __m512i second) {
    return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(first, 16), second);
}

/* Of 32 numbers. */
typedef struct split_pairs {
    __m512i high, middle, low;
} split_pairs;

static inline __attribute__((always_inline)) split_pairs split_two(__m512 first, __m512 second,
                                                                   __m512i (*join)(__m512i, __m512i)) {
    split_pairs pairs;
    __m512i upper[2] = {upper_half(first), upper_half(second)};
    pairs.high = join(upper[0], upper[1]);
    first = _mm512_sub_ps(first, _mm512_castsi512_ps(upper[0]));
    second = _mm512_sub_ps(second, _mm512_castsi512_ps(upper[1]));
    upper[0] = upper_half(first);
    upper[1] = upper_half(second);
    pairs.middle = join(upper[0], upper[1]);
    first = _mm512_sub_ps(first, _mm512_castsi512_ps(upper[0]));
    second = _mm512_sub_ps(second, _mm512_castsi512_ps(upper[1]));
    pairs.low = join(_mm512_castps_si512(first), _mm512_castps_si512(second));
    return pairs;
}

static inline void store_panel(uint16_t *pair, int64_t part, const split_pairs *pairs) {
    _mm512_storeu_si512(pair, pairs->high);
    _mm512_storeu_si512(pair + part, pairs->middle);
    _mm512_storeu_si512(pair + 2 * part, pairs->low);
}

/* Two rows of a packed panel are six lines. They are asked for so far ahead: MiniLM takes 3 % more at 1x16 with half of
 * it, 5 % more with twice as much (Granite Rapids, bertc bench --threads 1, in turn). */
enum { AHEAD_BYTES = 3072 };

/* Two rows of bert_split_whole_pairs, ldx apart, to their place. */
static inline void split_whole_pair(uint16_t *pair, const float *x, int64_t ldx) {
    enum { PART = 3 * BERT_SPLIT_TILE };
    for (int i = 0; i < 6; i++) _mm_prefetch((const char *)(x + 16 * i) + AHEAD_BYTES, _MM_HINT_T0);
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        const split_pairs pairs = split_two(_mm512_loadu_ps(x + 16 * i), _mm512_loadu_ps(x + ldx + 16 * i), pairs_of);
        store_panel(pair + i * BERT_SPLIT_TILE, PART, &pairs);
    }
}

#endif
