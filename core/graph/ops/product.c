#include "core/graph/ops/product.h"

#include <string.h>

size_t bert_product_workspace(int64_t columns) {
    size_t bytes;
    bool fits = columns >= 0 && bert_size_multiply((size_t)columns, (BERT_PRODUCT_ROWS + 1) * sizeof(double), &bytes);
    return fits ? bytes : SIZE_MAX;
}

/* Row `index` of a matrix. */
static void load_matrix_row(const bert_matrix *matrix, int64_t index, int64_t columns, double *out) {
    int64_t start = matrix->offset + index * matrix->row_stride;
    if (matrix->column_stride == 1) {
        bert_load_row(matrix->tensor, start, columns, out);
    } else {
        for (int64_t j = 0; j < columns; j++) out[j] = bert_load(matrix->tensor, start + j * matrix->column_stride);
    }
}

void bert_product_rows(const bert_matrix *a, const bert_matrix *b, int64_t row, int64_t count, int64_t depth,
                       int64_t columns, double *scratch) {
    double *b_row = scratch + BERT_PRODUCT_ROWS * columns;
    memset(scratch, 0, (size_t)(count * columns) * sizeof *scratch);
    for (int64_t k = 0; k < depth; k++) {
        load_matrix_row(b, k, columns, b_row);
        for (int64_t i = 0; i < count; i++) {
            double factor = bert_load(a->tensor, a->offset + (row + i) * a->row_stride + k * a->column_stride);
            double *sum = scratch + i * columns;
            for (int64_t j = 0; j < columns; j++) sum[j] += factor * b_row[j];
        }
    }
}

void bert_integer_product_rows(const bert_matrix *a, const bert_matrix *b, int64_t row, int64_t count, int64_t depth,
                               int64_t columns, uint64_t *scratch) {
    memset(scratch, 0, (size_t)(count * columns) * sizeof *scratch);
    for (int64_t k = 0; k < depth; k++) {
        for (int64_t j = 0; j < columns; j++) {
            int64_t at = b->offset + k * b->row_stride + j * b->column_stride;
            uint64_t element = (uint64_t)bert_load_integer(b->tensor, at);
            for (int64_t i = 0; i < count; i++) {
                int64_t from = a->offset + (row + i) * a->row_stride + k * a->column_stride;
                scratch[i * columns + j] += (uint64_t)bert_load_integer(a->tensor, from) * element;
            }
        }
    }
}
