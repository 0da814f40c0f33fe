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
    if (columns == 0) return;
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
    if (columns == 0) return;
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

/* An operand as MatMul sees it: at least two dimensions, and their strides. */
typedef struct operand_view {
    int32_t rank;
    int64_t dims[BERT_MAX_RANK], strides[BERT_MAX_RANK];
} operand_view;

static operand_view view_of(const bert_tensor *tensor, const int32_t *axes, bool is_a) {
    operand_view view = {.rank = tensor->rank > 1 ? tensor->rank : 2};
    int64_t strides[BERT_MAX_RANK] = {0};
    bert_dense_strides(tensor->rank, tensor->dims, strides);
    if (tensor->rank == 1) {
        int32_t along = is_a ? 1 : 0;
        view.dims[0] = view.dims[1] = 1;
        view.dims[along] = tensor->dims[0];
        view.strides[along] = 1;
        return view;
    }
    for (int32_t i = 0; i < view.rank; i++) {
        view.dims[i] = tensor->dims[axes ? axes[i] : i];
        view.strides[i] = strides[axes ? axes[i] : i];
    }
    return view;
}

bert_batched_product bert_batched_product_begin(const bert_tensor *a, const int32_t *a_axes, const bert_tensor *b,
                                                const int32_t *b_axes) {
    operand_view views[2] = {view_of(a, a_axes, true), view_of(b, b_axes, false)};
    int32_t rank = (views[0].rank > views[1].rank ? views[0].rank : views[1].rank) - 2;
    int64_t dims[BERT_MAX_RANK];
    int64_t strides[2][BERT_MAX_RANK] = {{0}};
    for (int32_t i = 0; i < rank; i++) {
        dims[i] = 1;
        for (int32_t operand = 0; operand < 2; operand++) {
            int32_t own = i - (rank - (views[operand].rank - 2));
            if (own < 0 || views[operand].dims[own] == 1) continue;
            dims[i] = views[operand].dims[own];
            strides[operand][i] = views[operand].strides[own];
        }
    }
    const operand_view *left = &views[0];
    const operand_view *right = &views[1];
    bert_batched_product product = {
        .rows = left->dims[left->rank - 2],
        .depth = left->dims[left->rank - 1],
        .columns = right->dims[right->rank - 1],
        .a = {a, 0, left->strides[left->rank - 2], left->strides[left->rank - 1]},
        .b = {b, 0, right->strides[right->rank - 2], right->strides[right->rank - 1]},
        .loop = bert_loop_over(rank, dims),
    };
    bert_loop_add_strides(&product.loop, strides[0]);
    bert_loop_add_strides(&product.loop, strides[1]);
    product.start = -1;
    return product;
}

bool bert_batched_product_step(bert_batched_product *product) {
    if (product->start >= 0 && product->loop.left) bert_loop_next(&product->loop);
    if (!product->loop.left) return false;
    int64_t a_size = product->rows * product->depth;
    int64_t b_size = product->depth * product->columns;
    product->start = product->loop.position * product->rows * product->columns;
    product->a.offset = product->loop.offset[0];
    product->b.offset = product->loop.offset[1];
    product->a_index = a_size ? product->a.offset / a_size : 0;
    product->b_index = b_size ? product->b.offset / b_size : 0;
    return true;
}
