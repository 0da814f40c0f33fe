/*
 * The arithmetic of quantized operators: roundings, ranges, and the product of integer matrices with zero points.
 * Steps that ONNX defines in float are done in float (in double where the tensors are double), so that the integers are
 * the same to the last bit.
 */
#ifndef BERT_GRAPH_OPS_QUANTIZED_H
#define BERT_GRAPH_OPS_QUANTIZED_H

#include "core/graph/ops/product.h"

/** How a tensor is quantized: one scale and zero point. */
typedef struct bert_quantization {
    double scale;
    int32_t zero_point;
} bert_quantization;

/** a / b and a * b rounded to float, unless `dtype` is double. */
double bert_quotient_in(bert_dtype dtype, double a, double b);
double bert_product_in(bert_dtype dtype, double a, double b);

/** Half to even, plus the zero point, clamped to the range of an 8 or 16-bit integer type. `value` is x / scale. */
int32_t bert_quantized(double value, int64_t zero_point, bert_dtype dtype);

/** The range of elements, widened to hold 0; {0} is that of none. */
typedef struct bert_range {
    double least, most;
} bert_range;
void bert_range_add(bert_range *range, const bert_tensor *x, int64_t from, int64_t count);
/** DynamicQuantizeLinear's scale and zero point of a range of elements of that type, over uint8. */
bert_quantization bert_quantization_of(const bert_range *range, bert_dtype dtype);
/** DynamicQuantizeLinear's scale and zero point of `count` elements: their range, widened to hold 0, over uint8. */
bert_quantization bert_dynamic_quantization(const bert_tensor *x, int64_t from, int64_t count);

/** Zero points or scales along rows or columns: that of index i is element offset + i stride; no tensor: 0. */
typedef struct bert_per_index {
    const bert_tensor *tensor;
    int64_t offset, stride;
} bert_per_index;

/** One for all, or one for each of `count` from `index` times `count` on, as the tensor's number of elements has it. */
bert_per_index bert_per_index_of(const bert_tensor *tensor, int64_t count, int64_t index);

static inline int64_t bert_zero_point(const bert_per_index *zero, int64_t i) {
    return zero->tensor ? (int64_t)bert_load_integer(zero->tensor, zero->offset + i * zero->stride) : 0;
}

/** Bytes of scratch for products of `columns` columns; SIZE_MAX when it overflows. */
size_t bert_quantized_workspace(int64_t columns);
/**
 * Rows [row, row + count) of (A - zero points) (B - zero points), count at most BERT_PRODUCT_ROWS, into scratch. 32-bit
 * accumulation that wraps around, as two's complement has it; nothing saturates.
 */
void bert_quantized_product_rows(const bert_matrix *a, const bert_per_index *a_zero, const bert_matrix *b,
                                 const bert_per_index *b_zero, int64_t row, int64_t count, int64_t depth,
                                 int64_t columns, int32_t *scratch);

#endif
