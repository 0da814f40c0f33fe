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

/** MatMul of tensors, one pair of matrices after the other: batches are broadcast, a vector is a matrix. */
typedef struct bert_batched_product {
    int64_t rows, depth, columns;
    bert_matrix a, b; /**< Of this step. */
    bert_loop loop;   /**< `left` and `position` count the pairs; the result's matrix starts at `start`. */
    int64_t start;
    int64_t a_index, b_index; /**< Which matrix of its operand each is. */
} bert_batched_product;

/** `a_axes`, `b_axes`: operand dimension i is the tensor's dimension axes[i]; NULL: as they are. */
bert_batched_product bert_batched_product_begin(const bert_tensor *a, const int32_t *a_axes, const bert_tensor *b,
                                                const int32_t *b_axes);
/** Whether there is a step left; when so, `a`, `b` and `start` are its own. */
bool bert_batched_product_step(bert_batched_product *product);

#endif
