/* Conversions to and from bfloat16 for AVX-512, which round as the scalar ones do: AVX-512 BF16's own instruction takes
 * subnormal numbers for zeros. Included by avx512.c alone. */
#ifndef BERT_CPU_KERNELS_BF16_AVX512_H
#define BERT_CPU_KERNELS_BF16_AVX512_H

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/lanes_avx512.h"

#include <immintrin.h>

/* To the nearest, in the upper halves: 0x7fff and the last bit that stays are added; a NaN is cut and made quiet. */
static inline __m512i round_to_bf16(__m512 x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    return _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), bits, _mm512_set1_epi32(0x400000));
}

/* The upper halves of what is in two vectors. */
static inline __m512i upper_halves(__m512i first, __m512i second) {
    const __m512i even = _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32, 30, 28, 26,
                                          24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_permutex2var_epi16(first, _mm512_add_epi16(even, _mm512_set1_epi16(1)), second);
}

static void to_bf16(const bert_to_bf16_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        const float *x = args->x + row * args->ldx;
        uint16_t *y = args->y + row * args->ldy;
        int64_t i = 0;
        for (; i + 32 <= args->n; i += 32)
            _mm512_storeu_si512(
                y + i, upper_halves(round_to_bf16(_mm512_loadu_ps(x + i)), round_to_bf16(_mm512_loadu_ps(x + i + 16))));
        for (; i < args->n; i += 16) {
            const __mmask16 lanes = lanes_of(args->n - i);
            const __m512i rounded = round_to_bf16(_mm512_maskz_loadu_ps(lanes, x + i));
            _mm256_mask_storeu_epi16(y + i, lanes, _mm512_castsi512_si256(upper_halves(rounded, rounded)));
        }
        for (i = args->n; i < args->padded; i++) y[i] = 0;
    }
}

static void from_bf16(const bert_from_bf16_args *args) {
    for (int64_t i = 0; i < args->n; i += 16) {
        const __mmask16 lanes = lanes_of(args->n - i);
        const __m512i bits = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, args->x + i)), 16);
        _mm512_mask_storeu_ps(args->y + i, lanes, _mm512_castsi512_ps(bits));
    }
}

#endif
