/* How far numbers are from those expected, at worst: for tests and tools that hold it against a tolerance. */
#ifndef BERT_TESTS_SUPPORT_WORST_H
#define BERT_TESTS_SUPPORT_WORST_H

#include <math.h>
#include <stdint.h>

/** |got - expected| / (1 + |expected|). Infinity where one of them is NaN or infinite, even if the other is too. */
static inline double error_of(double got, double expected) {
    const double error = fabs(got - expected) / (1.0 + fabs(expected));
    return isnan(error) ? (double)INFINITY : error;
}

/** The greatest of `count` elements. */
static inline double worst_error(const float *got, const float *expected, int64_t count) {
    double worst = 0.0;
    for (int64_t i = 0; i < count; i++) {
        const double error = error_of((double)got[i], (double)expected[i]);
        if (error > worst) worst = error;
    }
    return worst;
}

#endif
