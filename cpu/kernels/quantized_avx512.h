/* Quantized kernels for AVX-512; the product is AVX2's, or that of avx512_vnni.c. Included by avx512.c alone. */
#ifndef BERT_CPU_KERNELS_QUANTIZED_AVX512_H
#define BERT_CPU_KERNELS_QUANTIZED_AVX512_H

#include "cpu/kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

/* Lanes of 16 that `left` elements fill. */
static inline __mmask16 lanes_of(int64_t left) {
    return (__mmask16)(left >= 16 ? 0xffffU : (1U << left) - 1U);
}

/* min and max keep their second operand where the first one is NaN. */
static void range(const bert_range_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        const float *x = args->x + row * args->n;
        __m512 least = _mm512_setzero_ps(), most = _mm512_setzero_ps();
        for (int64_t i = 0; i < args->n; i += 16) {
            const __m512 v = _mm512_maskz_loadu_ps(lanes_of(args->n - i), x + i);
            least = _mm512_min_ps(v, least);
            most = _mm512_max_ps(v, most);
        }
        args->least[row] = _mm512_reduce_min_ps(least);
        args->most[row] = _mm512_reduce_max_ps(most);
    }
}

/* Beyond +-512 nothing changes but that the conversion to integers would overflow; NaN becomes the least, since max
 * keeps its second operand for it. */
static void quantize(const bert_quantize_args *args) {
    const __m512 low = _mm512_set1_ps(-512.0F), high = _mm512_set1_ps(512.0F);
    for (int64_t row = 0; row < args->rows; row++) {
        const float *x = args->x + row * args->n;
        uint8_t *y = args->y + row * args->stride;
        const __m512 scale = _mm512_set1_ps(args->scales[row]);
        const __m512i zero_point = _mm512_set1_epi32(args->zero_points[row]);
        __m512i total = _mm512_setzero_si512();
        for (int64_t i = 0; i < args->n; i += 16) {
            const __mmask16 lanes = lanes_of(args->n - i);
            const __m512 ratio = _mm512_div_ps(_mm512_maskz_loadu_ps(lanes, x + i), scale);
            __m512i value = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(ratio, low), high));
            value = _mm512_max_epi32(_mm512_add_epi32(value, zero_point), _mm512_setzero_si512());
            value = _mm512_min_epi32(value, _mm512_set1_epi32(255));
            total = _mm512_mask_add_epi32(total, lanes, total, value);
            _mm_mask_storeu_epi8(y + i, lanes, _mm512_cvtepi32_epi8(value));
        }
        if (args->stride > args->n) memset(y + args->n, 0, (size_t)(args->stride - args->n));
        args->sums[row] = _mm512_reduce_add_epi32(total);
    }
}

static void dequantize(const bert_dequantize_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        const int32_t *c = args->c + row * BERT_QGEMM_COLUMNS;
        float *y = args->y + row * args->stride;
        const __m512i zero = _mm512_set1_epi32(args->x_zeros[row]), sum = _mm512_set1_epi32(args->x_sums[row]);
        const __m512 scale = _mm512_set1_ps(args->x_scales[row]);
        for (int64_t i = 0; i < args->n; i += 16) {
            const __mmask16 lanes = lanes_of(args->n - i);
            __m512i total = _mm512_maskz_loadu_epi32(lanes, c + i);
            total =
                _mm512_sub_epi32(total, _mm512_mullo_epi32(zero, _mm512_maskz_loadu_epi32(lanes, args->offsets + i)));
            total = _mm512_sub_epi32(total, _mm512_mullo_epi32(sum, _mm512_maskz_loadu_epi32(lanes, args->zeros + i)));
            const __m512 factor = _mm512_mul_ps(scale, _mm512_maskz_loadu_ps(lanes, args->scales + i));
            _mm512_mask_storeu_ps(y + i, lanes, _mm512_mul_ps(_mm512_cvtepi32_ps(total), factor));
        }
    }
}

#endif
