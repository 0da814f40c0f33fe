#include "cli/compare_tensors.h"

#include "cli/tensor_file.h"
#include "core/base/dtypes.h"

#include <math.h>

static bool same_form(const bert_tensor *got, const bert_tensor *expected) {
    bool widened = got->dtype == BERT_DOUBLE && expected->dtype == BERT_FLOAT;
    if ((got->dtype != expected->dtype && !widened) || got->rank != expected->rank) return false;
    for (int d = 0; d < got->rank; d++) {
        if (got->dims[d] != expected->dims[d]) return false;
    }
    return true;
}

static double float_ratio(double got, double expected, bert_tolerance tolerance) {
    if (isnan(got) || isnan(expected)) return isnan(got) && isnan(expected) ? 0 : INFINITY;
    if (isinf(got) || isinf(expected)) return got == expected ? 0 : INFINITY;
    double error = fabs(got - expected);
    double allowed = tolerance.atol + tolerance.rtol * fabs(expected);
    if (error == 0) return 0;
    return allowed > 0 ? error / allowed : INFINITY;
}

static double integer_ratio(int64_t got, int64_t expected, bert_tolerance tolerance) {
    if (got == expected) return 0;
    /* The difference of two int64 may overflow; as unsigned numbers it never does. */
    uint64_t error = got > expected ? (uint64_t)got - (uint64_t)expected : (uint64_t)expected - (uint64_t)got;
    return tolerance.atol > 0 ? (double)error / tolerance.atol : INFINITY;
}

bert_comparison bert_compare_tensors(const bert_tensor *got, const bert_tensor *expected, bert_tolerance tolerance) {
    bert_comparison result = {.same_form = same_form(got, expected)};
    if (!result.same_form) return result;
    bool floats = bert_dtype_is_float(got->dtype);
    int64_t worst = 0;
    result.elements = bert_tensor_elements(got);
    for (int64_t i = 0; i < result.elements; i++) {
        double ratio = floats ? float_ratio(bert_tensor_element(got, i), bert_tensor_element(expected, i), tolerance)
                              : integer_ratio(bert_tensor_integer(got, i), bert_tensor_integer(expected, i), tolerance);
        result.beyond += ratio > 1;
        if (ratio > result.ratio) {
            result.ratio = ratio;
            worst = i;
        }
    }
    if (result.elements == 0) return result;
    result.got = bert_tensor_element(got, worst);
    result.expected = bert_tensor_element(expected, worst);
    /* Of two infinities the difference is no number. */
    result.error = result.ratio > 0 ? fabs(result.got - result.expected) : 0;
    for (int d = got->rank; d-- > 0; worst /= got->dims[d]) result.index[d] = worst % got->dims[d];
    return result;
}
