/* Conversions to and from bfloat16 for AVX2. Included by avx2.c alone. */
#ifndef BERT_CPU_KERNELS_BF16_AVX2_H
#define BERT_CPU_KERNELS_BF16_AVX2_H

#include "core/base/float16.h"
#include "cpu/kernels/kernels.h"

#include <immintrin.h>

/* The upper halves of 8 floats after rounding, in the lower halves of 8 whole numbers: 0x7fff and the last bit that
 * stays are added; a NaN is cut and made quiet. */
static inline __m256i round_to_bf16(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x), upper = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(rounded, _mm256_or_si256(upper, _mm256_set1_epi32(0x40)), nan);
}

static void to_bf16(const bert_to_bf16_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        const float *x = args->x + row * args->ldx;
        uint16_t *y = args->y + row * args->ldy;
        int64_t i = 0;
        for (; i + 8 <= args->n; i += 8) {
            const __m256i values = round_to_bf16(_mm256_loadu_ps(x + i));
            const __m128i halves =
                _mm_packus_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
            _mm_storeu_si128((__m128i *)(void *)(y + i), halves);
        }
        for (; i < args->n; i++) y[i] = bert_float_to_bfloat16(x[i]);
        for (; i < args->padded; i++) y[i] = 0;
    }
}

static void from_bf16(const bert_from_bf16_args *args) {
    int64_t i = 0;
    for (; i + 8 <= args->n; i += 8) {
        const __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)(args->x + i));
        const __m256i bits = _mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16);
        _mm256_storeu_ps(args->y + i, _mm256_castsi256_ps(bits));
    }
    for (; i < args->n; i++) args->y[i] = bert_bfloat16_to_float(args->x[i]);
}

#endif
