/* What bytes stand for, in the graphs of tests: QuantizeLinear and DequantizeLinear by one scale and zero point. */
#ifndef BERT_TESTS_PASSES_GRIDS_H
#define BERT_TESTS_PASSES_GRIDS_H

#include "tests/passes/builder.h"

/** One scale and zero point; NULL: none. */
typedef struct grid {
    bert_value *scale, *zero_point;
} grid;

static inline grid grid_of(builder *b, float scale, bert_dtype dtype) {
    return (grid){scalar(b, scale), bytes(b, dtype, 0, NULL)};
}

static inline bert_value *quantize(builder *b, bert_value *x, grid by) {
    return OP(b, QuantizeLinear, x, by.scale, by.zero_point);
}

static inline bert_value *dequantize(builder *b, bert_value *q, grid by) {
    return OP(b, DequantizeLinear, q, by.scale, by.zero_point);
}

static inline bert_value *round_trip(builder *b, bert_value *x, grid by) {
    return dequantize(b, quantize(b, x, by), by);
}

#endif
