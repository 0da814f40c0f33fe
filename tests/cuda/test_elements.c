/* Elements in the device's forms: many at once, which vectors convert, as one by one by the definitions. Built
 * twice: with the loops that this machine takes, and with those of machines without AVX2. */
#include "core/base/float16.h"
#include "cuda/device.h"
#include "cuda/ops/e4m3.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 1 << 16, ROUNDS = 64, GUARD = 0xab };

/* Every upper half of a float32's bits, with lower halves that are different in each round: 0, all ones and the middle
 * of two numbers of 16 bits among them. */
static void fill(float *values, int round) {
    static const uint32_t lower[] = {0, 1, 0xffff, 0x8000, 0x7fff, 0x8001, 0x1000, 0xfff, 0x1001, 0xe000, 0xf000};
    for (uint32_t i = 0; i < COUNT; i++) {
        const uint32_t bits =
            (size_t)round < sizeof lower / sizeof *lower ? lower[round] : i * 2654435761U * (uint32_t)round >> 16;
        values[i] = bert_float_of_bits(i << 16 | bits);
    }
}

/* By the definitions. */
static uint16_t narrow_of(bert_dtype stored, float value) {
    const uint16_t infinity = stored == BERT_FLOAT16 ? 0x7c00 : 0x7f80;
    const uint16_t narrow = stored == BERT_FLOAT16 ? bert_float_to_half(value) : bert_float_to_bfloat16(value);
    return (narrow & 0x7fff) == infinity && isfinite(value) ? (uint16_t)(narrow - 1) : narrow;
}

/* Counts that leave something beside whole vectors. */
static int64_t odd_count(int round) {
    return COUNT - round % 19;
}

/* From and to addresses that are multiples of nothing, as they may be in a file; what lies around is left alone. */
static void floats_become_narrow(void **state) {
    static const bert_dtype types[] = {BERT_FLOAT16, BERT_BFLOAT16};
    float *values = malloc(COUNT * sizeof *values);
    unsigned char *from = malloc(COUNT * sizeof *values + 1), *to = malloc(COUNT * sizeof(uint16_t) + 2);
    for (int round = 0; round < ROUNDS; round++) {
        const int64_t count = odd_count(round), offset = round % 2;
        fill(values, round);
        memcpy(from + 1, values, COUNT * sizeof *values);
        for (int type = 0; type < 2; type++) {
            unsigned char *end = to + offset + count * 2;
            to[0] = *end = GUARD;
            bert_cuda_encode(types[type], BERT_FLOAT, to + offset, from + 1, count);
            for (int64_t i = 0; i < count; i++) {
                uint16_t narrow;
                memcpy(&narrow, to + offset + i * 2, sizeof narrow);
                if (narrow != narrow_of(types[type], values[i]))
                    fail_msg("%08x became %04x", bert_float_bits(values[i]), narrow);
            }
            assert_int_equal(*end, GUARD);
            if (offset) assert_int_equal(to[0], GUARD);
        }
    }
    free(values);
    free(from);
    free(to);
}

static void expect_half(unsigned half, float value) {
    const unsigned exponent = half >> 10 & 31, fraction = half & 1023;
    const double size = exponent ? ldexp(1024 + fraction, (int)exponent - 25) : ldexp(fraction, -24);
    if (exponent == 31)
        assert_true(fraction ? isnan(value) : isinf(value));
    else
        assert_true((double)fabsf(value) == size);
    assert_int_equal(signbit(value) != 0, half >> 15);
}

static void narrow_become_floats(void **state) {
    unsigned char *from = malloc(COUNT * sizeof(uint16_t) + 1), *to = malloc(COUNT * sizeof(float) + 2);
    for (uint32_t i = 0; i < COUNT; i++) memcpy(from + 1 + i * 2, &(uint16_t){(uint16_t)i}, 2);
    for (int round = 0; round < 20; round++) {
        const int64_t count = odd_count(round), offset = round % 2;
        unsigned char *end = to + offset + count * 4;
        for (int type = 0; type < 2; type++) {
            to[0] = *end = GUARD;
            bert_cuda_decode(type ? BERT_BFLOAT16 : BERT_FLOAT16, BERT_FLOAT, to + offset, from + 1, count);
            for (uint32_t i = 0; i < count; i++) {
                float value;
                memcpy(&value, to + offset + i * 4, sizeof value);
                if (type)
                    assert_int_equal(bert_float_bits(value), i << 16);
                else
                    expect_half(i, value);
            }
            assert_int_equal(*end, GUARD);
            if (offset) assert_int_equal(to[0], GUARD);
        }
    }
    free(from);
    free(to);
}

static void floats_become_e4m3(void **state) {
    float *values = malloc((COUNT + 1) * sizeof *values), *factors = malloc((COUNT + 1) * sizeof *factors);
    uint8_t *to = malloc(COUNT + 2);
    for (int round = 0; round < ROUNDS; round++) {
        const int64_t count = odd_count(round), offset = round % 2;
        float *x = values + offset, *by = factors + 1 - offset;
        uint8_t *y = to + offset;
        fill(x, round);
        for (int i = 0; i < COUNT; i++) by[i] = i % 3 ? 1 : 0x1.8p-3F;
        to[0] = y[count] = GUARD;
        bert_cuda_encode_e4m3(y, x, by, count);
        for (int64_t i = 0; i < count; i++) {
            const float scaled = x[i] * by[i];
            assert_int_equal(y[i], bert_e4m3_of_bits(bert_float_bits(scaled)));
        }
        assert_int_equal(y[count], GUARD);
        if (offset) assert_int_equal(to[0], GUARD);
    }
    free(values);
    free(factors);
    free(to);
}

static void magnitudes_leave_nan_out(void **state) {
    float x[38], most[38];
    for (int i = 0; i < 38; i++) x[i] = (float)(i * 7 % 37) * (i % 2 ? -1.0F : 1.0F);
    x[5] = NAN;
    x[6] = -NAN;
    assert_true(bert_cuda_greatest_magnitude(x, 0) == 0);
    for (int offset = 0; offset < 2; offset++) {
        for (int count = 1; count + offset < 38; count++) {
            float expected = 0;
            for (int i = 0; i < count; i++) expected = fmaxf(expected, fabsf(x[offset + i]));
            assert_true(bert_cuda_greatest_magnitude(x + offset, count) == expected);
            for (int i = 0; i < 38; i++) most[i] = 20;
            bert_cuda_add_magnitudes(most + offset, x + offset, count);
            for (int i = 0; i < 38; i++)
                assert_true(most[i] == (i >= offset && i < offset + count ? fmaxf(20, fabsf(x[i])) : 20));
        }
    }
    x[7] = -INFINITY;
    assert_true(isinf(bert_cuda_greatest_magnitude(x, 37)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_become_narrow),
        cmocka_unit_test(narrow_become_floats),
        cmocka_unit_test(floats_become_e4m3),
        cmocka_unit_test(magnitudes_leave_nan_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
