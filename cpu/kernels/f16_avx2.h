/* Conversions to and from float16 for AVX2 and F16C. Included by avx2.c alone. */
#ifndef BERT_CPU_KERNELS_F16_AVX2_H
#define BERT_CPU_KERNELS_F16_AVX2_H

#include "core/base/float16.h"
#include "cpu/kernels/kernels.h"

#include <immintrin.h>

static void to_f16(const bert_to_f16_args *args) {
    int64_t i = 0;
    for (; i + 8 <= args->n; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(args->y + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(args->x + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < args->n; i++) args->y[i] = bert_float_to_half(args->x[i]);
}

static void from_f16(const bert_from_f16_args *args) {
    int64_t i = 0;
    for (; i + 8 <= args->n; i += 8)
        _mm256_storeu_ps(args->y + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(args->x + i))));
    for (; i < args->n; i++) args->y[i] = bert_half_to_float(args->x[i]);
}

#endif
