/* Vectors of 8 floats for vector_kernels.h. Included by files that are compiled with AVX2 and FMA. */
#ifndef BERT_CPU_KERNELS_VECTOR_AVX2_H
#define BERT_CPU_KERNELS_VECTOR_AVX2_H

#include <bert/backend.h>

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { V_WIDTH = 8, V_TILE_ROWS = BERT_V_TILE_ROWS, V_TILE_VECTORS = BERT_V_TILE_VECTORS };
typedef __m256 v_float;
typedef __m256i v_int; /* of 32 bits */
typedef __m256 v_mask; /* Sign bits count. */

static inline v_mask v_first(int64_t n) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lanes));
}
static inline v_float v_load(const float *p) {
    return _mm256_loadu_ps(p);
}
static inline v_float v_load_first(const float *p, v_mask first) {
    return _mm256_maskload_ps(p, _mm256_castps_si256(first));
}
static inline void v_store(float *p, v_float a) {
    _mm256_storeu_ps(p, a);
}
static inline void v_store_first(float *p, v_mask first, v_float a) {
    _mm256_maskstore_ps(p, _mm256_castps_si256(first), a);
}
static inline v_float v_set(float a) {
    return _mm256_set1_ps(a);
}
static inline v_int v_load_int(const int32_t *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}
static inline v_int v_load_int_first(const int32_t *p, v_mask first) {
    return _mm256_maskload_epi32(p, _mm256_castps_si256(first));
}
static inline void v_store_int(int32_t *p, v_int a) {
    _mm256_storeu_si256((__m256i *)(void *)p, a);
}
static inline v_int v_set_int(int32_t a) {
    return _mm256_set1_epi32(a);
}
/* Integers wrap around. */
static inline v_int v_sub_int(v_int a, v_int b) {
    return _mm256_sub_epi32(a, b);
}
static inline v_int v_mul_int(v_int a, v_int b) {
    return _mm256_mullo_epi32(a, b);
}
/* Of pairs of bfloat16, the first and the second ones. */
static inline v_float v_first_bf16(v_int a) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(a, 16));
}
static inline v_float v_second_bf16(v_int a) {
    return _mm256_castsi256_ps(_mm256_and_si256(a, _mm256_set1_epi32((int32_t)0xffff0000)));
}
static inline v_float v_to_float(v_int a) {
    return _mm256_cvtepi32_ps(a);
}
static inline v_float v_add(v_float a, v_float b) {
    return _mm256_add_ps(a, b);
}
static inline v_float v_sub(v_float a, v_float b) {
    return _mm256_sub_ps(a, b);
}
static inline v_float v_mul(v_float a, v_float b) {
    return _mm256_mul_ps(a, b);
}
static inline v_float v_div(v_float a, v_float b) {
    return _mm256_div_ps(a, b);
}
/* a b + c */
static inline v_float v_fma(v_float a, v_float b, v_float c) {
    return _mm256_fmadd_ps(a, b, c);
}
/* c - a b */
static inline v_float v_fnma(v_float a, v_float b, v_float c) {
    return _mm256_fnmadd_ps(a, b, c);
}
/* b where either is NaN */
static inline v_float v_max(v_float a, v_float b) {
    return _mm256_max_ps(a, b);
}
static inline v_float v_min(v_float a, v_float b) {
    return _mm256_min_ps(a, b);
}
static inline v_float v_sqrt(v_float a) {
    return _mm256_sqrt_ps(a);
}
static inline v_float v_abs(v_float a) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a);
}
static inline v_float v_negate(v_float a) {
    return _mm256_xor_ps(a, _mm256_set1_ps(-0.0F));
}
/* |a| with the sign of b */
static inline v_float v_copy_sign(v_float a, v_float b) {
    const v_float sign = _mm256_set1_ps(-0.0F);
    return _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b));
}
static inline v_mask v_less(v_float a, v_float b) {
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}
/* mask ? a : b */
static inline v_float v_select(v_mask mask, v_float a, v_float b) {
    return _mm256_blendv_ps(b, a, mask);
}
static inline v_float v_round(v_float a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* 2^n for a whole n in [-126, 127] */
static inline v_float v_power_of_2(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
/* a 2^n for a whole n in [-250, 250]; in two steps, so that only the last one rounds to a subnormal */
static inline v_float v_scale(v_float a, v_float n) {
    const __m256i whole = _mm256_cvtps_epi32(n);
    const __m256i half = _mm256_srai_epi32(whole, 1);
    return _mm256_mul_ps(_mm256_mul_ps(a, v_power_of_2(half)), v_power_of_2(_mm256_sub_epi32(whole, half)));
}
/* a 2^n for a in [0.5, 2] and a whole n in [-250, 0]; 0 where that is subnormal */
static inline v_float v_scale_down(v_float a, v_float n) {
    const __m256i shifted = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    const __m256 scaled = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), shifted));
    /* "Not less": NaN comes through. */
    return _mm256_and_ps(_mm256_cmp_ps(n, _mm256_set1_ps(-125.0F), _CMP_NLT_UQ), scaled);
}
static inline float v_sum(v_float a) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}
/* The least of `least` and the greatest of `most`: both at once, as greatest ones. */
static inline bert_row_range v_range(v_float least, v_float most) {
    const v_float negated = v_negate(least);
    v_float both =
        _mm256_max_ps(_mm256_permute2f128_ps(negated, most, 0x20), _mm256_permute2f128_ps(negated, most, 0x31));
    both = _mm256_max_ps(both, _mm256_permute_ps(both, 0x4e));
    both = _mm256_max_ps(both, _mm256_permute_ps(both, 0xb1));
    return (bert_row_range){-_mm256_cvtss_f32(both), _mm_cvtss_f32(_mm256_extractf128_ps(both, 1))};
}
static inline float v_greatest(v_float a) {
    __m128 greatest = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    greatest = _mm_max_ps(greatest, _mm_movehl_ps(greatest, greatest));
    return _mm_cvtss_f32(_mm_max_ss(greatest, _mm_movehdup_ps(greatest)));
}
/* Of each lane the element `at`, of [0, 2 V_WIDTH), of both vectors side by side. */
static inline v_float v_choose(v_float low, v_float high, v_int at) {
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, at), _mm256_permutevar8x32_ps(high, at),
                            _mm256_castsi256_ps(_mm256_slli_epi32(at, 28)));
}
/* Whether each of `lanes` is in [0, 2 V_WIDTH). */
static inline bool v_can_choose(v_int at, v_mask lanes) {
    const __m256i others = _mm256_and_si256(at, _mm256_castps_si256(lanes));
    return _mm256_testz_si256(others, _mm256_set1_epi32(-2 * V_WIDTH));
}
/* Of each of `lanes` x[at], 0 where that is outside [0, n). */
static inline v_float v_gather(const float *x, v_int at, int32_t n, v_mask lanes) {
    const __m256i inside = _mm256_andnot_si256(at, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), at));
    return _mm256_mask_i32gather_ps(_mm256_setzero_ps(), x, at, _mm256_and_ps(_mm256_castsi256_ps(inside), lanes),
                                    sizeof(float));
}
/* bytes that are not 0 */
static inline v_mask v_load_bytes_first(const uint8_t *p, int64_t n) {
    uint8_t bytes[8] = {0};
    memcpy(bytes, p, (size_t)n);
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)bytes));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(wide, _mm256_setzero_si256()));
}
static inline v_mask v_load_bytes(const uint8_t *p) {
    return v_load_bytes_first(p, V_WIDTH);
}
/* bytes, of int8 or uint8, as integers */
static inline v_int v_widen(const uint8_t *p, bool is_signed) {
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)p);
    return is_signed ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes);
}
static inline v_int v_widen_first(const uint8_t *p, int64_t n, bool is_signed) {
    uint8_t bytes[8] = {0};
    memcpy(bytes, p, (size_t)n);
    return v_widen(bytes, is_signed);
}

/* y[8][8] = transpose of x[8][8] */
static inline void v_transpose_square(float *y, int64_t ldy, const float *x, int64_t ldx) {
    __m256 r[8], t[8];
    for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(x + i * ldx);
    for (int i = 0; i < 8; i += 4) {
        const __m256 low01 = _mm256_unpacklo_ps(r[i], r[i + 1]), high01 = _mm256_unpackhi_ps(r[i], r[i + 1]);
        const __m256 low23 = _mm256_unpacklo_ps(r[i + 2], r[i + 3]), high23 = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm256_shuffle_ps(low01, low23, _MM_SHUFFLE(1, 0, 1, 0));
        t[i + 1] = _mm256_shuffle_ps(low01, low23, _MM_SHUFFLE(3, 2, 3, 2));
        t[i + 2] = _mm256_shuffle_ps(high01, high23, _MM_SHUFFLE(1, 0, 1, 0));
        t[i + 3] = _mm256_shuffle_ps(high01, high23, _MM_SHUFFLE(3, 2, 3, 2));
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(y + i * ldy, _mm256_permute2f128_ps(t[i], t[i + 4], 0x20));
        _mm256_storeu_ps(y + (i + 4) * ldy, _mm256_permute2f128_ps(t[i], t[i + 4], 0x31));
    }
}

#endif
