/*
 * Elements in the forms that the device has them in. All weights of a model pass here while a session waits for its
 * first answer, so loops are such that compilers make vectors of them, and are compiled a second time for AVX2, whose
 * machines have an instruction for float16 as well. The bits are the same.
 */
#include "core/base/float16.h"
#include "cuda/device.h"
#include "cuda/ops/e4m3.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* ---- Loops; tensors of a file may begin anywhere ----------------------------------------------------------------- */

static ALWAYS_INLINE float float_at(const void *from, int64_t at) {
    float value;
    memcpy(&value, (const char *)from + at * 4, sizeof value);
    return value;
}

static ALWAYS_INLINE uint16_t narrow_at(const void *from, int64_t at) {
    uint16_t value;
    memcpy(&value, (const char *)from + at * 2, sizeof value);
    return value;
}

/* What is finite stays finite: masks add the least float32 there is. From `beyond` on numbers round to infinity, after
 * which the greatest number comes one earlier. */
static ALWAYS_INLINE uint16_t kept_finite(uint16_t narrow, float value, uint32_t beyond) {
    const uint32_t magnitude = bert_float_bits(value) & 0x7fffffff;
    return (uint16_t)(narrow - ((magnitude >= beyond) & (magnitude < 0x7f800000)));
}

static ALWAYS_INLINE void halves_of_floats(void *to, const void *from, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const uint16_t half = kept_finite(bert_float_to_half(float_at(from, i)), float_at(from, i), 0x477ff000);
        memcpy((char *)to + i * 2, &half, sizeof half);
    }
}

static ALWAYS_INLINE void bfloat16_of_floats(void *to, const void *from, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const uint16_t narrow = kept_finite(bert_float_to_bfloat16(float_at(from, i)), float_at(from, i), 0x7f7f8000);
        memcpy((char *)to + i * 2, &narrow, sizeof narrow);
    }
}

static ALWAYS_INLINE void floats_of_halves(void *to, const void *from, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const float value = bert_half_to_float(narrow_at(from, i));
        memcpy((char *)to + i * 4, &value, sizeof value);
    }
}

static ALWAYS_INLINE void floats_of_bfloat16(void *to, const void *from, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const float value = bert_bfloat16_to_float(narrow_at(from, i));
        memcpy((char *)to + i * 4, &value, sizeof value);
    }
}

/* Not-a-numbers count for nothing, here and below. */
static ALWAYS_INLINE void add_magnitudes(float *most, const float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const float magnitude = bert_float_of_bits(bert_float_bits(x[i]) & 0x7fffffff);
        most[i] = magnitude > most[i] ? magnitude : most[i];
    }
}

/* Bits of magnitudes are ordered as these are, and compilers may reorder their comparisons. */
static ALWAYS_INLINE float greatest_magnitude(const float *x, int64_t count) {
    int32_t most = 0;
    for (int64_t i = 0; i < count; i++) {
        const int32_t magnitude = (int32_t)(bert_float_bits(x[i]) & 0x7fffffff);
        const int32_t counted = magnitude & -(int32_t)(magnitude <= 0x7f800000);
        most = counted > most ? counted : most;
    }
    return bert_float_of_bits((uint32_t)most);
}

static ALWAYS_INLINE void e4m3_of_floats(uint8_t *to, const float *x, const float *factors, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] = bert_e4m3_of_bits(bert_float_bits(x[i] * factors[i]));
}

/* ---- For two kinds of machine ------------------------------------------------------------------------------------ */

typedef void convert_fn(void *to, const void *from, int64_t count);

typedef struct loops {
    convert_fn *halves_of_floats, *bfloat16_of_floats, *floats_of_halves, *floats_of_bfloat16;
    void (*add_magnitudes)(float *most, const float *x, int64_t count);
    float (*greatest_magnitude)(const float *x, int64_t count);
    void (*e4m3_of_floats)(uint8_t *to, const float *x, const float *factors, int64_t count);
} loops;

#define DEFINE_LOOPS(kind, to_halves, attribute)                                                                       \
    attribute static void kind##_halves_of_floats(void *to, const void *from, int64_t count) {                         \
        to_halves(to, from, count);                                                                                    \
    }                                                                                                                  \
    attribute static void kind##_bfloat16_of_floats(void *to, const void *from, int64_t count) {                       \
        bfloat16_of_floats(to, from, count);                                                                           \
    }                                                                                                                  \
    attribute static void kind##_floats_of_halves(void *to, const void *from, int64_t count) {                         \
        floats_of_halves(to, from, count);                                                                             \
    }                                                                                                                  \
    attribute static void kind##_floats_of_bfloat16(void *to, const void *from, int64_t count) {                       \
        floats_of_bfloat16(to, from, count);                                                                           \
    }                                                                                                                  \
    attribute static void kind##_add_magnitudes(float *most, const float *x, int64_t count) {                          \
        add_magnitudes(most, x, count);                                                                                \
    }                                                                                                                  \
    attribute static float kind##_greatest_magnitude(const float *x, int64_t count) {                                  \
        return greatest_magnitude(x, count);                                                                           \
    }                                                                                                                  \
    attribute static void kind##_e4m3_of_floats(uint8_t *to, const float *x, const float *factors, int64_t count) {    \
        e4m3_of_floats(to, x, factors, count);                                                                         \
    }                                                                                                                  \
    static const loops kind##_loops = {                                                                                \
        kind##_halves_of_floats, kind##_bfloat16_of_floats, kind##_floats_of_halves, kind##_floats_of_bfloat16,        \
        kind##_add_magnitudes,   kind##_greatest_magnitude, kind##_e4m3_of_floats};

DEFINE_LOOPS(plain, halves_of_floats, )

#ifdef __x86_64__
#define WIDE __attribute__((target("avx2,f16c")))

/* F16C has no saturation: finite numbers are bounded before. */
WIDE static inline __m128i eight_halves(const float *from) {
    const __m256 sign = _mm256_set1_ps(-0.0F), infinity = _mm256_set1_ps(INFINITY), x = _mm256_loadu_ps(from);
    const __m256 magnitude = _mm256_andnot_ps(sign, x);
    const __m256 bounded = _mm256_or_ps(_mm256_and_ps(sign, x), _mm256_min_ps(magnitude, _mm256_set1_ps(65504)));
    const __m256 finite = _mm256_cmp_ps(magnitude, infinity, _CMP_LT_OQ);
    return _mm256_cvtps_ph(_mm256_blendv_ps(x, bounded, finite), _MM_FROUND_TO_NEAREST_INT);
}

WIDE static void halves_by_f16c(void *to, const void *from, int64_t count) {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m128i halves = eight_halves((const float *)((const char *)from + i * 4));
        _mm_storeu_si128((__m128i *)((char *)to + i * 2), halves);
    }
    halves_of_floats((char *)to + i * 2, (const char *)from + i * 4, count - i);
}

DEFINE_LOOPS(wide, halves_by_f16c, WIDE)

/* Compilers know AVX2 by name, and not all of them F16C, which no machine with it lacks but by a hypervisor's will. */
static bool is_wide(void) {
    static atomic_int answer; /* 0: not asked yet, 1: no, 2: yes */
    unsigned a = 0, b = 0, c = 0, d = 0;
    const int known = atomic_load_explicit(&answer, memory_order_relaxed);
    if (known) return known == 2;
    const bool wide = __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    atomic_store_explicit(&answer, wide ? 2 : 1, memory_order_relaxed);
    return wide;
}

static const loops *fastest(void) {
    return is_wide() ? &wide_loops : &plain_loops;
}
#else
static const loops *fastest(void) {
    return &plain_loops;
}
#endif

/* ---- Elements ---------------------------------------------------------------------------------------------------- */

static void copy(bert_dtype dtype, void *to, const void *from, int64_t count) {
    if (count) memcpy(to, from, (size_t)count * bert_cuda_dtype_size(dtype));
}

void bert_cuda_encode(bert_dtype stored, bert_dtype dtype, void *to, const void *from, int64_t count) {
    if (stored == dtype)
        copy(dtype, to, from, count);
    else if (stored == BERT_FLOAT16)
        fastest()->halves_of_floats(to, from, count);
    else
        fastest()->bfloat16_of_floats(to, from, count);
}

void bert_cuda_decode(bert_dtype stored, bert_dtype dtype, void *to, const void *from, int64_t count) {
    if (stored == dtype)
        copy(dtype, to, from, count);
    else if (stored == BERT_FLOAT16)
        fastest()->floats_of_halves(to, from, count);
    else
        fastest()->floats_of_bfloat16(to, from, count);
}

void bert_cuda_add_magnitudes(float *most, const float *x, int64_t count) {
    fastest()->add_magnitudes(most, x, count);
}

float bert_cuda_greatest_magnitude(const float *x, int64_t count) {
    return fastest()->greatest_magnitude(x, count);
}

void bert_cuda_encode_e4m3(uint8_t *to, const float *x, const float *factors, int64_t count) {
    fastest()->e4m3_of_floats(to, x, factors, count);
}
