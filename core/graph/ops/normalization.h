/* Layer normalization of one row, which several operators end with. */
#ifndef BERT_GRAPH_OPS_NORMALIZATION_H
#define BERT_GRAPH_OPS_NORMALIZATION_H

#include <stdbool.h>
#include <stdint.h>

/** What a row was normalized with. */
typedef struct bert_row_statistics {
    double mean; /**< 0 for RMS normalization. */
    double inverse_deviation;
} bert_row_statistics;

/**
 * Mean and 1 / sqrt(variance + epsilon) of `count` numbers, the variance in a second pass over the differences from the
 * mean. `simplified`: the mean counts as 0 (RMS normalization).
 */
bert_row_statistics bert_normalize_statistics(const double *row, int64_t count, double epsilon, bool simplified);

#endif
