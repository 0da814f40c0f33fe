/* The comparison of what kernels give with what the scalar ones give. */
#ifndef BERT_TESTS_CPU_COMPARE_H
#define BERT_TESTS_CPU_COMPARE_H

#include "tests/support/test.h"

#include <math.h>

static inline bool same_kind(float a, float b) {
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
    if (isinf(a) || isinf(b)) return a == b;
    return true;
}

/* Compares rows of y with rows of what is expected; `tolerance` counts relative to 1 + |expected|. */
static inline void compare(const float *y, int64_t stride, const float *expected, int64_t expected_stride, int64_t rows,
                           int64_t n, float tolerance, const char *what) {
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t i = 0; i < n; i++) {
            const float a = y[row * stride + i], b = expected[row * expected_stride + i];
            if (same_kind(a, b) && !(fabsf(a - b) > tolerance * (1.0F + fabsf(b)))) continue;
            fail_msg("%s: row %lld, element %lld is %.9g, expected %.9g", what, (long long)row, (long long)i, (double)a,
                     (double)b);
        }
    }
}

/* The same bits, but that a NaN may be any NaN. */
static inline void compare_bits(const float *y, const float *expected, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (isnan(expected[i]))
            assert_true(isnan(y[i]));
        else
            assert_memory_equal(&y[i], &expected[i], sizeof *y);
    }
}

#endif
