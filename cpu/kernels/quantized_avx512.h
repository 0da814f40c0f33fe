/* Quantized kernels for AVX-512 without VNNI. Included by avx512.c alone. */
#ifndef BERT_CPU_KERNELS_QUANTIZED_AVX512_H
#define BERT_CPU_KERNELS_QUANTIZED_AVX512_H

#include "cpu/kernels/by_inverse.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/lanes_avx512.h"

#include <immintrin.h>
#include <string.h>

/* ---- Quantization ------------------------------------------------------------------------------------------------ */

/* What a row is divided by. */
typedef struct row_scale {
    __m512 scale, inverse, low, high;
} row_scale;

/*
 * 16 quotients as whole numbers. Beyond +-512 nothing changes but that the conversion to integers would overflow; NaN
 * becomes the least, since max keeps its second operand for it. `divide`: not by_inverse.
 */
static inline __attribute__((always_inline)) __m512i quantize_vector(__m512 x, const row_scale *by, const bool divide) {
    __m512 ratio;
    if (divide) {
        ratio = _mm512_min_ps(_mm512_max_ps(_mm512_div_ps(x, by->scale), by->low), by->high);
    } else {
        x = _mm512_min_ps(_mm512_max_ps(x, by->low), by->high);
        ratio = _mm512_mul_ps(x, by->inverse);
        ratio = _mm512_fmadd_ps(_mm512_fnmadd_ps(by->scale, ratio, x), by->inverse, ratio);
    }
    return _mm512_cvtps_epi32(ratio);
}

/* Four vectors' bytes in order. Words hold a quotient and a zero point, 767 at most; saturation clamps to [0, 255]. */
static inline __m512i to_bytes(const __m512i values[4], __m512i zero_point) {
    /* Packing leaves four bytes of each of the vectors in each quarter. */
    const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i low = _mm512_add_epi16(_mm512_packs_epi32(values[0], values[1]), zero_point);
    const __m512i high = _mm512_add_epi16(_mm512_packs_epi32(values[2], values[3]), zero_point);
    return _mm512_permutexvar_epi32(in_order, _mm512_packus_epi16(low, high));
}

static inline __attribute__((always_inline)) void quantize_row(const bert_quantize_args *args, int64_t row,
                                                               const bool divide) {
    const float *x = args->x + row * args->n;
    uint8_t *y = args->y + row * args->stride;
    const float scale = args->scales[row], bound = divide ? 512.0F : 512.0F * scale;
    const row_scale by = {.scale = _mm512_set1_ps(scale),
                          .inverse = _mm512_set1_ps(1.0F / scale),
                          .low = _mm512_set1_ps(-bound),
                          .high = _mm512_set1_ps(bound)};
    const __m512i zero_point = _mm512_set1_epi16((short)args->zero_points[row]);
    __m512i values[4], total = _mm512_setzero_si512();
    int64_t i = 0;
    for (; args->n - i >= 64; i += 64) {
        for (int j = 0; j < 4; j++) values[j] = quantize_vector(_mm512_loadu_ps(x + i + 16 * j), &by, divide);
        const __m512i bytes = to_bytes(values, zero_point);
        total = _mm512_add_epi64(total, _mm512_sad_epu8(bytes, _mm512_setzero_si512()));
        _mm512_storeu_si512(y + i, bytes);
    }
    for (; i < args->n; i += 16) {
        const __mmask16 lanes = lanes_of(args->n - i);
        values[0] = quantize_vector(_mm512_maskz_loadu_ps(lanes, x + i), &by, divide);
        for (int j = 1; j < 4; j++) values[j] = values[0];
        const __m512i bytes = _mm512_maskz_mov_epi8(lanes, to_bytes(values, zero_point));
        total = _mm512_add_epi64(total, _mm512_sad_epu8(bytes, _mm512_setzero_si512()));
        _mm_mask_storeu_epi8(y + i, lanes, _mm512_castsi512_si128(bytes));
    }
    if (args->stride > args->n) memset(y + args->n, 0, (size_t)(args->stride - args->n));
    args->sums[row] = (int32_t)_mm512_reduce_add_epi64(total);
}

static void quantize(const bert_quantize_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        if (by_inverse(args->scales[row]))
            quantize_row(args, row, false);
        else
            quantize_row(args, row, true);
    }
}

/* ---- The product ------------------------------------------------------------------------------------------------- */

/*
 * Of panels that aren't bounded: bytes become 16-bit integers, whose products go to 32 bits in pairs, since sums of
 * products of bytes would saturate in 16 bits. A vector of sums holds two for each of eight columns, which are added at
 * the end. Rows of a are widened once for a piece of k, so that a step of one is a broadcast load; a step of b is
 * widened for four rows at a time.
 */
#define BERT_WORD_ROWS 4
enum { WORD_ROWS = BERT_WORD_ROWS, WORD_VECTORS = 6, WORD_COLUMNS = 8, WORD_STEPS = 128 };

static inline __attribute__((always_inline)) void words_tile(const int rows, const int16_t *words, const int8_t *b,
                                                             int64_t steps, int32_t *c, bool accumulate) {
    __m512i sums[WORD_ROWS][WORD_VECTORS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < WORD_VECTORS; j++) sums[i][j] = _mm512_setzero_si512();
    for (int64_t step = 0; step < steps; step++) {
        __m512i left[WORD_ROWS];
        for (int i = 0; i < rows; i++) {
            long long four;
            memcpy(&four, words + (i * WORD_STEPS + step) * BERT_QGEMM_STEP, sizeof four);
            left[i] = _mm512_set1_epi64(four);
        }
        for (int j = 0; j < WORD_VECTORS; j++) {
            const __m512i right = _mm512_cvtepi8_epi16(
                _mm256_loadu_si256((const __m256i *)(const void *)(b + j * WORD_COLUMNS * BERT_QGEMM_STEP)));
            for (int i = 0; i < rows; i++) {
                sums[i][j] = _mm512_add_epi32(sums[i][j], _mm512_madd_epi16(left[i], right));
                /* One vector of b after the other, or sums are spilled: see quantized_avx2.h. */
                __asm__ volatile("" : "+v"(sums[i][j]) : : "memory");
            }
        }
        b += BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP;
    }
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < WORD_VECTORS; j += 2) {
            int32_t *place = c + i * BERT_QGEMM_COLUMNS + j * WORD_COLUMNS;
            __m512i total = _mm512_add_epi32(_mm512_permutex2var_epi32(sums[i][j], even, sums[i][j + 1]),
                                             _mm512_permutex2var_epi32(sums[i][j], odd, sums[i][j + 1]));
            if (accumulate) total = _mm512_add_epi32(total, _mm512_loadu_si512(place));
            _mm512_storeu_si512(place, total);
        }
    }
}

/* Of bounded panels: 12 sums, 6 vectors of b, 2 of a, 2 products and ones. */
#define BERT_BYTE_ROWS 4
enum { BYTE_VECTORS = 3, BYTE_COLUMNS = 16 };
typedef __m512i bytes_vector;

static inline bytes_vector bytes_zero(void) {
    return _mm512_setzero_si512();
}
static inline bytes_vector bytes_load(const int8_t *b) {
    return _mm512_loadu_si512(b);
}
/* Four bytes of a row for every column. */
static inline bytes_vector bytes_four(const uint8_t *a) {
    int32_t four;
    memcpy(&four, a, sizeof four);
    return _mm512_set1_epi32(four);
}
/* Products of a's bytes and b's in sums of two. */
static inline bytes_vector bytes_multiply(bytes_vector a, bytes_vector b) {
    return _mm512_maddubs_epi16(a, b);
}
static inline bytes_vector bytes_add_words(bytes_vector a, bytes_vector b) {
    return _mm512_add_epi16(a, b);
}
/* Adds both words of each column. */
static inline bytes_vector bytes_add_columns(bytes_vector sums, bytes_vector words) {
    return _mm512_add_epi32(sums, _mm512_madd_epi16(words, _mm512_set1_epi16(1)));
}
static inline void bytes_store_sums(int32_t *c, bytes_vector sums, bool accumulate) {
    _mm512_storeu_si512(c, accumulate ? _mm512_add_epi32(sums, _mm512_loadu_si512(c)) : sums);
}

#include "cpu/kernels/quantized_words.h"
/* After the product that it falls back to. */
#include "cpu/kernels/quantized_bytes.h"

#endif
