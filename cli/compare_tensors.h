/* Whether a tensor is what was expected, and where it is worst. */
#ifndef BERT_CLI_COMPARE_TENSORS_H
#define BERT_CLI_COMPARE_TENSORS_H

#include <bert/types.h>

/** |got - expected| <= atol + rtol |expected| is near enough. Of integers, the difference has to be at most atol. */
typedef struct bert_tolerance {
    double rtol, atol;
} bert_tolerance;

/** The element with the greatest error against what is allowed for it. */
typedef struct bert_comparison {
    bool same_form;   /**< Types and shapes agree, so that elements were compared. */
    int64_t elements; /**< That were compared. */
    int64_t beyond;   /**< That are not near enough. */
    double ratio;     /**< Error by what is allowed: above 1 fails; infinity for a NaN or infinity that is alone. */
    double error;     /**< |got - expected| there. */
    double got, expected;
    int64_t index[BERT_MAX_RANK];
} bert_comparison;

/**
 * Compares element by element. NaN is near NaN only, an infinity near the same one only. The types have to agree, but
 * that a double is good for a float that was expected. `tolerance` 0, 0 asks for equality.
 */
bert_comparison bert_compare_tensors(const bert_tensor *got, const bert_tensor *expected, bert_tolerance tolerance);

#endif
