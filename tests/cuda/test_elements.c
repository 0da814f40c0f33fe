/* Elements in the device's forms: many at once, which vectors convert, as one by one by the definitions. */
#include "core/base/float16.h"
#include "cuda/device.h"
#include "cuda/ops/e4m3.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 1 << 16, ROUNDS = 64 };

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

/* From an address that is a multiple of nothing, as it may be in a file; what lies behind the last is left alone. */
static void floats_become_narrow(void **state) {
    static const bert_dtype types[] = {BERT_FLOAT16, BERT_BFLOAT16};
    float *values = malloc(COUNT * sizeof *values);
    unsigned char *from = malloc(COUNT * sizeof *values + 1);
    uint16_t *to = malloc((COUNT + 1) * sizeof *to);
    for (int round = 0; round < ROUNDS; round++) {
        fill(values, round);
        memcpy(from + 1, values, COUNT * sizeof *values);
        for (int type = 0; type < 2; type++) {
            const int64_t count = COUNT - round % 9;
            to[count] = 0xabcd;
            bert_cuda_encode(types[type], BERT_FLOAT, to, from + 1, count);
            for (int64_t i = 0; i < count; i++)
                if (to[i] != narrow_of(types[type], values[i]))
                    fail_msg("%08x became %04x", bert_float_bits(values[i]), to[i]);
            assert_int_equal(to[count], 0xabcd);
        }
    }
    free(values);
    free(from);
    free(to);
}

static void narrow_become_floats(void **state) {
    uint16_t *from = malloc(COUNT * sizeof *from);
    float *to = malloc(COUNT * sizeof *to);
    for (int i = 0; i < COUNT; i++) from[i] = (uint16_t)i;
    bert_cuda_decode(BERT_FLOAT16, BERT_FLOAT, to, from, COUNT);
    for (int i = 0; i < COUNT; i++) {
        const int exponent = i >> 10 & 31, fraction = i & 1023;
        const double size = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        if (exponent == 31)
            assert_true(fraction ? isnan(to[i]) : isinf(to[i]));
        else
            assert_true((double)fabsf(to[i]) == size);
        assert_int_equal(signbit(to[i]) != 0, i >> 15);
    }
    bert_cuda_decode(BERT_BFLOAT16, BERT_FLOAT, to, from, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) assert_int_equal(bert_float_bits(to[i]), i << 16);
    free(from);
    free(to);
}

static void floats_become_e4m3(void **state) {
    float *values = malloc(COUNT * sizeof *values), *factors = malloc(COUNT * sizeof *factors);
    uint8_t *to = malloc(COUNT);
    for (int round = 0; round < ROUNDS; round++) {
        fill(values, round);
        for (int i = 0; i < COUNT; i++) factors[i] = i % 3 ? 1 : 0x1.8p-3F;
        bert_cuda_encode_e4m3(to, values, factors, COUNT);
        for (int i = 0; i < COUNT; i++) {
            const float scaled = values[i] * factors[i];
            assert_int_equal(to[i], bert_e4m3_of_bits(bert_float_bits(scaled)));
        }
    }
    free(values);
    free(factors);
    free(to);
}

static void magnitudes_leave_nan_out(void **state) {
    float x[37], most[37] = {0};
    for (int i = 0; i < 37; i++) {
        x[i] = (float)(i * 7 % 37) * (i % 2 ? -1.0F : 1.0F);
        most[i] = 20;
    }
    x[5] = NAN;
    x[6] = -NAN;
    assert_true(bert_cuda_greatest_magnitude(x, 0) == 0);
    for (int count = 1; count < 37; count++) {
        float expected = 0;
        for (int i = 0; i < count; i++) expected = fmaxf(expected, fabsf(x[i]));
        assert_true(bert_cuda_greatest_magnitude(x, count) == expected);
    }
    bert_cuda_add_magnitudes(most, x, 36);
    for (int i = 0; i < 37; i++) assert_true(most[i] == (i < 36 ? fmaxf(20, fabsf(x[i])) : 20));
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
