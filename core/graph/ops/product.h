/* The matrix product that every reference implementation with one in it uses. */
#ifndef BERT_GRAPH_OPS_PRODUCT_H
#define BERT_GRAPH_OPS_PRODUCT_H

#include "core/graph/ops/loops.h"

/** A matrix inside a tensor: element (i, j) is at offset + i row_stride + j column_stride, in elements. */
typedef struct bert_matrix {
    const bert_tensor *tensor;
    int64_t offset, row_stride, column_stride;
} bert_matrix;

/** Rows of a product that are computed together. */
enum { BERT_PRODUCT_ROWS = 8 };

/** Doubles of scratch that a product of `columns` columns needs. */
static inline int64_t bert_product_scratch(int64_t columns) {
    return (BERT_PRODUCT_ROWS + 1) * columns;
}
/** The same in bytes as a workspace; SIZE_MAX, which no allocator has, when it overflows. */
size_t bert_product_workspace(int64_t columns);

/**
 * Rows [row, row + count) of A B, count at most BERT_PRODUCT_ROWS, into scratch[0 .. count * columns). Each element is
 * summed over `depth` from first to last, in double.
 */
void bert_product_rows(const bert_matrix *a, const bert_matrix *b, int64_t row, int64_t count, int64_t depth,
                       int64_t columns, double *scratch);

/** The same for integers, modulo 2^64. Nothing but addresses is converted: scratch takes int64 instead. */
void bert_integer_product_rows(const bert_matrix *a, const bert_matrix *b, int64_t row, int64_t count, int64_t depth,
                               int64_t columns, uint64_t *scratch);

#endif
