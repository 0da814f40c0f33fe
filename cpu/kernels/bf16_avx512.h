/* Conversions to and from bfloat16 for AVX-512, which round as the scalar ones do: AVX-512 BF16's own instruction takes
 * subnormal numbers for zeros. Included by avx512.c alone. */
#ifndef BERT_CPU_KERNELS_BF16_AVX512_H
#define BERT_CPU_KERNELS_BF16_AVX512_H

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/lanes_avx512.h"

#include <immintrin.h>

/* 0x7fff and the last bit that stays are added; a NaN is cut and made quiet. */
static inline __m256i round_to_bf16(__m512 x) {
    const __m512i bits = _mm512_castps_si512(x), upper = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40)));
}

static void to_bf16(const bert_to_bf16_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        const float *x = args->x + row * args->n;
        uint16_t *y = args->y + row * args->stride;
        for (int64_t i = 0; i < args->n; i += 16) {
            const __mmask16 lanes = lanes_of(args->n - i);
            _mm256_mask_storeu_epi16(y + i, lanes, round_to_bf16(_mm512_maskz_loadu_ps(lanes, x + i)));
        }
        for (int64_t i = args->n; i < args->stride; i++) y[i] = 0;
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
