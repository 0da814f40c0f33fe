/* Vectors of 16 floats for vector_kernels.h. Included by files that are compiled with AVX-512 F, BW, DQ and VL. */
#ifndef BERT_CPU_KERNELS_VECTOR_AVX512_H
#define BERT_CPU_KERNELS_VECTOR_AVX512_H

#include <bert/backend.h>

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

enum { V_WIDTH = 16, V_TILE_ROWS = BERT_V_TILE_ROWS, V_TILE_VECTORS = BERT_V_TILE_VECTORS };
typedef __m512 v_float;
typedef __m512i v_int; /* of 32 bits */
typedef __mmask16 v_mask;

static inline v_mask v_first(int64_t n) {
    return (v_mask)((1U << n) - 1U);
}
static inline v_float v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
static inline v_float v_load_first(const float *p, v_mask first) {
    return _mm512_maskz_loadu_ps(first, p);
}
static inline void v_store(float *p, v_float a) {
    _mm512_storeu_ps(p, a);
}
static inline void v_store_first(float *p, v_mask first, v_float a) {
    _mm512_mask_storeu_ps(p, first, a);
}
static inline v_float v_set(float a) {
    return _mm512_set1_ps(a);
}
static inline v_int v_load_int(const int32_t *p) {
    return _mm512_loadu_si512(p);
}
static inline v_int v_load_int_first(const int32_t *p, v_mask first) {
    return _mm512_maskz_loadu_epi32(first, p);
}
static inline void v_store_int(int32_t *p, v_int a) {
    _mm512_storeu_si512(p, a);
}
static inline v_int v_set_int(int32_t a) {
    return _mm512_set1_epi32(a);
}
/* Integers wrap around. */
static inline v_int v_sub_int(v_int a, v_int b) {
    return _mm512_sub_epi32(a, b);
}
static inline v_int v_mul_int(v_int a, v_int b) {
    return _mm512_mullo_epi32(a, b);
}
/* Of pairs of bfloat16, the first and the second ones. */
static inline v_float v_first_bf16(v_int a) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(a, 16));
}
static inline v_float v_second_bf16(v_int a) {
    return _mm512_castsi512_ps(_mm512_and_si512(a, _mm512_set1_epi32((int32_t)0xffff0000)));
}
static inline v_float v_to_float(v_int a) {
    return _mm512_cvtepi32_ps(a);
}
static inline v_float v_add(v_float a, v_float b) {
    return _mm512_add_ps(a, b);
}
static inline v_float v_sub(v_float a, v_float b) {
    return _mm512_sub_ps(a, b);
}
static inline v_float v_mul(v_float a, v_float b) {
    return _mm512_mul_ps(a, b);
}
static inline v_float v_div(v_float a, v_float b) {
    return _mm512_div_ps(a, b);
}
/* a b + c */
static inline v_float v_fma(v_float a, v_float b, v_float c) {
    return _mm512_fmadd_ps(a, b, c);
}
/* c - a b */
static inline v_float v_fnma(v_float a, v_float b, v_float c) {
    return _mm512_fnmadd_ps(a, b, c);
}
/* b where either is NaN */
static inline v_float v_max(v_float a, v_float b) {
    return _mm512_max_ps(a, b);
}
static inline v_float v_min(v_float a, v_float b) {
    return _mm512_min_ps(a, b);
}
static inline v_float v_sqrt(v_float a) {
    return _mm512_sqrt_ps(a);
}
static inline v_float v_abs(v_float a) {
    return _mm512_abs_ps(a);
}
static inline v_float v_negate(v_float a) {
    return _mm512_xor_ps(a, _mm512_set1_ps(-0.0F));
}
/* |a| with the sign of b */
static inline v_float v_copy_sign(v_float a, v_float b) {
    const v_float sign = _mm512_set1_ps(-0.0F);
    return _mm512_or_ps(_mm512_andnot_ps(sign, a), _mm512_and_ps(sign, b));
}
static inline v_mask v_less(v_float a, v_float b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
/* mask ? a : b */
static inline v_float v_select(v_mask mask, v_float a, v_float b) {
    return _mm512_mask_blend_ps(mask, b, a);
}
static inline v_float v_round(v_float a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* a 2^n for a whole n in [-250, 250], rounded once */
static inline v_float v_scale(v_float a, v_float n) {
    return _mm512_scalef_ps(a, n);
}
/* a 2^n for a in [0.5, 2] and a whole n in [-250, 0]; 0 where that is subnormal: a lane that underflows would cost more
 * than a hundred cycles, and keys that are masked all do. */
static inline v_float v_scale_down(v_float a, v_float n) {
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(n, v_set(-125.0F), _CMP_NLT_UQ), a, n); /* NaN comes through */
}
static inline float v_sum(v_float a) {
    return _mm512_reduce_add_ps(a);
}
/* The least of `least` and the greatest of `most`: both at once, as greatest ones. */
static inline bert_row_range v_range(v_float least, v_float most) {
    const v_float negated = v_negate(least);
    v_float both = _mm512_max_ps(_mm512_shuffle_f32x4(negated, most, 0x44), _mm512_shuffle_f32x4(negated, most, 0xee));
    both = _mm512_max_ps(both, _mm512_shuffle_f32x4(both, both, 0xb1));
    both = _mm512_max_ps(both, _mm512_permute_ps(both, 0x4e));
    both = _mm512_max_ps(both, _mm512_permute_ps(both, 0xb1));
    return (bert_row_range){-_mm512_cvtss_f32(both), _mm_cvtss_f32(_mm512_extractf32x4_ps(both, 2))};
}
/* Of each lane the element `at`, of [0, 2 V_WIDTH), of both vectors side by side; of other ones the last five bits. */
#define BERT_V_CHOOSES_BY_LAST_BITS
static inline v_float v_choose(v_float low, v_float high, v_int at) {
    return _mm512_permutex2var_ps(low, at, high);
}
static inline v_int v_bits(v_float a) {
    return _mm512_castps_si512(a);
}
/* Whether each of `lanes` is in [0, 2 V_WIDTH). */
static inline bool v_can_choose(v_int at, v_mask lanes) {
    return _mm512_mask_cmpge_epu32_mask(lanes, at, _mm512_set1_epi32(2 * V_WIDTH)) == 0;
}
/* Of each of `lanes` x[at], 0 where that is outside [0, n). */
static inline v_float v_gather(const float *x, v_int at, int32_t n, v_mask lanes) {
    const __mmask16 inside = _mm512_mask_cmplt_epu32_mask(lanes, at, _mm512_set1_epi32(n));
    return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), inside, at, x, sizeof(float));
}
/* bytes that are not 0 */
static inline v_mask v_load_bytes(const uint8_t *p) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm_test_epi8_mask(bytes, bytes);
}
static inline v_mask v_load_bytes_first(const uint8_t *p, int64_t n) {
    const __m128i bytes = _mm_maskz_loadu_epi8(v_first(n), p);
    return _mm_test_epi8_mask(bytes, bytes);
}
/* bytes, of int8 or uint8, as integers */
static inline v_int v_widen(const uint8_t *p, bool is_signed) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    return is_signed ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
}
static inline v_int v_widen_first(const uint8_t *p, int64_t n, bool is_signed) {
    const __m128i bytes = _mm_maskz_loadu_epi8(v_first(n), p);
    return is_signed ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
}
static inline float v_greatest(v_float a) {
    return _mm512_reduce_max_ps(a);
}

/* y[16][16] = transpose of x[16][16] */
static inline void v_transpose_square(float *y, int64_t ldy, const float *x, int64_t ldx) {
    __m512 r[16], t[16];
    /* Four rows at a time into lanes of 4x4, transposed within lanes; then lanes go to their places. */
    for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_ps(x + i * ldx);
    for (int i = 0; i < 16; i += 4) {
        const __m512 low01 = _mm512_unpacklo_ps(r[i], r[i + 1]), high01 = _mm512_unpackhi_ps(r[i], r[i + 1]);
        const __m512 low23 = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), high23 = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm512_shuffle_ps(low01, low23, _MM_SHUFFLE(1, 0, 1, 0));
        t[i + 1] = _mm512_shuffle_ps(low01, low23, _MM_SHUFFLE(3, 2, 3, 2));
        t[i + 2] = _mm512_shuffle_ps(high01, high23, _MM_SHUFFLE(1, 0, 1, 0));
        t[i + 3] = _mm512_shuffle_ps(high01, high23, _MM_SHUFFLE(3, 2, 3, 2));
    }
    for (int i = 0; i < 4; i++) {
        const __m512 even0 = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88),
                     odd0 = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
        const __m512 even1 = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
        const __m512 odd1 = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
        _mm512_storeu_ps(y + i * ldy, _mm512_shuffle_f32x4(even0, even1, 0x88));
        _mm512_storeu_ps(y + (i + 4) * ldy, _mm512_shuffle_f32x4(odd0, odd1, 0x88));
        _mm512_storeu_ps(y + (i + 8) * ldy, _mm512_shuffle_f32x4(even0, even1, 0xdd));
        _mm512_storeu_ps(y + (i + 12) * ldy, _mm512_shuffle_f32x4(odd0, odd1, 0xdd));
    }
}

#endif
