/* Quantized kernels for AVX2. Included by avx2.c alone. */
#ifndef BERT_CPU_KERNELS_QUANTIZED_AVX2_H
#define BERT_CPU_KERNELS_QUANTIZED_AVX2_H

#include "cpu/kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

/* ---- Quantization ------------------------------------------------------------------------------------------------ */

/* The first `count` of 8 floats, the others 0. */
static inline __m256 load_first(const float *x, int64_t count) {
    float padded[8] = {0};
    memcpy(padded, x, (size_t)count * sizeof *x);
    return _mm256_loadu_ps(padded);
}

/* 8 quotients as whole numbers. Beyond +-512 nothing changes but that the conversion to integers would overflow; NaN
 * becomes the least, since max keeps its second operand for it. */
static inline __m256i quantize_vector(__m256 x, __m256 scale) {
    const __m256 ratio = _mm256_max_ps(_mm256_div_ps(x, scale), _mm256_set1_ps(-512.0F));
    return _mm256_cvtps_epi32(_mm256_min_ps(ratio, _mm256_set1_ps(512.0F)));
}

/* Four vectors' bytes in order. Words hold a quotient and a zero point, 767 at most; saturation clamps to [0, 255]. */
static inline __m256i to_bytes(const __m256i values[4], __m256i zero_point) {
    /* Packing leaves four bytes of each of the vectors in each half. */
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i low = _mm256_add_epi16(_mm256_packs_epi32(values[0], values[1]), zero_point);
    const __m256i high = _mm256_add_epi16(_mm256_packs_epi32(values[2], values[3]), zero_point);
    return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), in_order);
}

static void quantize(const bert_quantize_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        const float *x = args->x + row * args->n;
        uint8_t *y = args->y + row * args->stride;
        const __m256 scale = _mm256_set1_ps(args->scales[row]);
        const __m256i zero_point = _mm256_set1_epi16((short)args->zero_points[row]);
        __m256i values[4], total = _mm256_setzero_si256();
        int64_t i = 0;
        for (; args->n - i >= 32; i += 32) {
            for (int j = 0; j < 4; j++) values[j] = quantize_vector(_mm256_loadu_ps(x + i + 8 * j), scale);
            const __m256i bytes = to_bytes(values, zero_point);
            total = _mm256_add_epi64(total, _mm256_sad_epu8(bytes, _mm256_setzero_si256()));
            _mm256_storeu_si256((__m256i *)(void *)(y + i), bytes);
        }
        int64_t lanes[4];
        _mm256_storeu_si256((__m256i *)(void *)lanes, total);
        int64_t sum = lanes[0] + lanes[1] + lanes[2] + lanes[3];
        for (; i < args->n; i += 8) {
            const int64_t count = args->n - i < 8 ? args->n - i : 8;
            uint8_t last[32];
            values[0] = quantize_vector(count < 8 ? load_first(x + i, count) : _mm256_loadu_ps(x + i), scale);
            for (int j = 1; j < 4; j++) values[j] = values[0];
            _mm256_storeu_si256((__m256i *)(void *)last, to_bytes(values, zero_point));
            for (int64_t j = 0; j < count; j++) {
                y[i + j] = last[j];
                sum += last[j];
            }
        }
        for (int64_t j = args->n; j < args->stride; j++) y[j] = 0;
        args->sums[row] = (int32_t)sum;
    }
}

/* ---- The product ------------------------------------------------------------------------------------------------ */

/*
 * Of panels that aren't bounded: bytes become 16-bit integers, whose products go to 32 bits in pairs, since sums of
 * products of bytes would saturate in 16 bits. A vector of sums holds two for each of four columns, which are added at
 * the end. Rows of a are widened once for a piece of k, so that a step of one is a broadcast load, and a step of b for
 * six rows at a time: 12 sums, 2 of b, 1 of a and a product are the 16 registers that there are.
 */
#define BERT_WORD_ROWS 6
enum { WORD_ROWS = BERT_WORD_ROWS, WORD_VECTORS = 2, WORD_COLUMNS = 4, WORD_STEPS = 128 };
_Static_assert(WORD_VECTORS == 2, "hadd joins two vectors of sums");

static inline __attribute__((always_inline)) void words_tile(const int rows, const int16_t *words, const int8_t *b,
                                                             int64_t steps, int32_t *c, bool accumulate) {
    __m256i sums[WORD_ROWS][WORD_VECTORS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < WORD_VECTORS; j++) sums[i][j] = _mm256_setzero_si256();
    for (int64_t step = 0; step < steps; step++) {
        __m256i right[WORD_VECTORS];
        for (int j = 0; j < WORD_VECTORS; j++)
            right[j] = _mm256_cvtepi8_epi16(
                _mm_loadu_si128((const __m128i *)(const void *)(b + j * WORD_COLUMNS * BERT_QGEMM_STEP)));
        for (int i = 0; i < rows; i++) {
            long long four;
            memcpy(&four, words + (i * WORD_STEPS + step) * BERT_QGEMM_STEP, sizeof four);
            const __m256i left = _mm256_set1_epi64x(four);
            for (int j = 0; j < WORD_VECTORS; j++)
                sums[i][j] = _mm256_add_epi32(sums[i][j], _mm256_madd_epi16(left, right[j]));
            /* One row after the other: compilers that load all rows first run out of registers and spill sums. */
            __asm__ volatile("" : "+x"(sums[i][0]), "+x"(sums[i][1]) : : "memory");
        }
        b += BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP;
    }
    for (int i = 0; i < rows; i++) {
        __m256i *place = (__m256i *)(void *)(c + i * BERT_QGEMM_COLUMNS);
        const __m256i pairs = _mm256_hadd_epi32(sums[i][0], sums[i][1]);
        __m256i total = _mm256_permute4x64_epi64(pairs, 0xd8);
        if (accumulate) total = _mm256_add_epi32(total, _mm256_loadu_si256(place));
        _mm256_storeu_si256(place, total);
    }
}

/* For a group of columns, the vectors of b in both steps are u less 128 and zeros z less 128: what is above zero is u -
 * z where that isn't below, what is below z - u, and products with ones add up halves. */
static inline void halves_of(const int8_t *b, __m256i zeros, __m256i *positive, __m256i *negative) {
    const __m256i flip = _mm256_set1_epi8(-128), ones = _mm256_set1_epi8(1);
    const __m256i u = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)b), flip);
    *positive = _mm256_maddubs_epi16(_mm256_subs_epu8(u, zeros), ones);
    *negative = _mm256_maddubs_epi16(_mm256_subs_epu8(zeros, u), ones);
}

/* The greatest of 16 words each, 0 at least and 255 at most. */
static inline void greatest_of(__m256i first, __m256i second, uint8_t out[2]) {
    const __m256i bytes = _mm256_packus_epi16(first, second);
    __m128i most = _mm_max_epu8(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
    most = _mm_max_epu8(most, _mm_srli_epi64(most, 32));
    most = _mm_max_epu8(most, _mm_srli_epi64(most, 16));
    most = _mm_max_epu8(most, _mm_srli_epi64(most, 8));
    out[0] = (uint8_t)_mm_extract_epi8(most, 0);
    out[1] = (uint8_t)_mm_extract_epi8(most, 8);
}

static void measure_excess(const bert_measure_excess_args *args) {
    enum { GROUP_BYTES = BERT_QGEMM_EXCESS_COLUMNS * BERT_QGEMM_STEP };
    _Static_assert(GROUP_BYTES == 32, "a group is a vector");
    const __m256i bound = _mm256_set1_epi16(BERT_QGEMM_BOUND), flip = _mm256_set1_epi8(-128);
    uint8_t *most = args->most;
    for (int64_t step = 0; step < args->steps; step += 2) {
        for (int64_t at = 0; at < BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP; at += GROUP_BYTES, most += 2) {
            const int8_t *b = args->b + step * BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP + at;
            const __m256i zeros =
                _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)(args->zeros + at)), flip);
            __m256i positive[2], negative[2];
            halves_of(b, zeros, &positive[0], &negative[0]);
            positive[1] = negative[1] = _mm256_setzero_si256();
            if (step + 1 < args->steps)
                halves_of(b + BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP, zeros, &positive[1], &negative[1]);
            /* What the second step is beyond the bound by itself; where it isn't, that is room for the first. */
            const __m256i p = _mm256_sub_epi16(positive[1], bound), n = _mm256_sub_epi16(negative[1], bound);
            const __m256i none = _mm256_setzero_si256();
            greatest_of(_mm256_max_epi16(_mm256_add_epi16(positive[0], _mm256_min_epi16(p, none)),
                                         _mm256_add_epi16(negative[0], _mm256_min_epi16(n, none))),
                        _mm256_max_epi16(p, n), most);
        }
    }
}

/* Of bounded panels: 6 sums, 4 vectors of b, 2 of a, 2 products and ones. */
#define BERT_BYTE_ROWS 3
enum { BYTE_VECTORS = 2, BYTE_COLUMNS = 8 };
typedef __m256i bytes_vector;

static inline bytes_vector bytes_zero(void) {
    return _mm256_setzero_si256();
}
static inline bytes_vector bytes_load(const int8_t *b) {
    return _mm256_loadu_si256((const __m256i *)(const void *)b);
}
/* Four bytes of a row for every column. */
static inline bytes_vector bytes_four(const uint8_t *a) {
    int32_t four;
    memcpy(&four, a, sizeof four);
    return _mm256_set1_epi32(four);
}
/* Products of a's bytes and b's in sums of two. */
static inline bytes_vector bytes_multiply(bytes_vector a, bytes_vector b) {
    return _mm256_maddubs_epi16(a, b);
}
static inline bytes_vector bytes_add_words(bytes_vector a, bytes_vector b) {
    return _mm256_add_epi16(a, b);
}
/* Adds both words of each column. */
static inline bytes_vector bytes_add_columns(bytes_vector sums, bytes_vector words) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
}
static inline void bytes_store_sums(int32_t *c, bytes_vector sums, bool accumulate) {
    __m256i *place = (__m256i *)(void *)c;
    _mm256_storeu_si256(place, accumulate ? _mm256_add_epi32(sums, _mm256_loadu_si256(place)) : sums);
}

#include "cpu/kernels/quantized_words.h"
/* After the product that it falls back to. */
#include "cpu/kernels/quantized_bytes.h"

#endif
