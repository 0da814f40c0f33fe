/* Conversions to and from float16 for AVX-512. Included by avx512.c alone. */
#ifndef BERT_CPU_KERNELS_F16_AVX512_H
#define BERT_CPU_KERNELS_F16_AVX512_H

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/lanes_avx512.h"

#include <immintrin.h>

static void to_f16(const bert_to_f16_args *args) {
    for (int64_t i = 0; i < args->n; i += 16) {
        const __mmask16 lanes = lanes_of(args->n - i);
        const __m512 values = _mm512_maskz_loadu_ps(lanes, args->x + i);
        _mm256_mask_storeu_epi16(args->y + i, lanes, _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT));
    }
}

static void from_f16(const bert_from_f16_args *args) {
    for (int64_t i = 0; i < args->n; i += 16) {
        const __mmask16 lanes = lanes_of(args->n - i);
        _mm512_mask_storeu_ps(args->y + i, lanes, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, args->x + i)));
    }
}

#endif
