#include "core/graph/ops/quantized.h"

#include <math.h>
#include <string.h>

double bert_quotient_in(bert_dtype dtype, double a, double b) {
    return dtype == BERT_DOUBLE ? a / b : (double)((float)a / (float)b);
}

double bert_product_in(bert_dtype dtype, double a, double b) {
    return dtype == BERT_DOUBLE ? a * b : (double)((float)a * (float)b);
}

int32_t bert_quantized(double value, int64_t zero_point, bert_dtype dtype) {
    int32_t bits = (int32_t)bert_dtype_size(dtype) * 8;
    bool is_signed = dtype == BERT_INT8 || dtype == BERT_INT16;
    double least = is_signed ? -(double)(1 << (bits - 1)) : 0;
    double most = is_signed ? (double)((1 << (bits - 1)) - 1) : (double)((1 << bits) - 1);
    double rounded = nearbyint(value) + (double)zero_point;
    if (!(rounded > least)) return (int32_t)least; /* NaN too */
    return rounded > most ? (int32_t)most : (int32_t)rounded;
}

void bert_range_add(bert_range *range, const bert_tensor *x, int64_t from, int64_t count) {
    for (int64_t i = from; i < from + count; i++) {
        double value = bert_load(x, i);
        if (value < range->least) range->least = value;
        if (value > range->most) range->most = value;
    }
}

bert_quantization bert_quantization_of(const bert_range *range, bert_dtype dtype) {
    double width =
        dtype == BERT_DOUBLE ? range->most - range->least : (double)((float)range->most - (float)range->least);
    double scale = width == 0 ? 1 : bert_quotient_in(dtype, width, 255);
    int32_t zero_point = bert_quantized(bert_quotient_in(dtype, -range->least, scale), 0, BERT_UINT8);
    return (bert_quantization){.scale = scale, .zero_point = zero_point};
}

bert_quantization bert_dynamic_quantization(const bert_tensor *x, int64_t from, int64_t count) {
    bert_range range = {0};
    bert_range_add(&range, x, from, count);
    return bert_quantization_of(&range, x->dtype);
}

bert_per_index bert_per_index_of(const bert_tensor *tensor, int64_t count, int64_t index) {
    bert_per_index values = {.tensor = tensor};
    int64_t elements = tensor ? bert_tensor_elements(tensor) : 1;
    if (elements == 1) return values;
    values.stride = 1;
    values.offset = elements == count ? 0 : index * count;
    return values;
}

size_t bert_quantized_workspace(int64_t columns) {
    size_t bytes;
    bool fits = columns >= 0 && bert_size_multiply((size_t)columns, (BERT_PRODUCT_ROWS + 1) * sizeof(int32_t), &bytes);
    return fits ? bytes : SIZE_MAX;
}

void bert_quantized_product_rows(const bert_matrix *a, const bert_per_index *a_zero, const bert_matrix *b,
                                 const bert_per_index *b_zero, int64_t row, int64_t count, int64_t depth,
                                 int64_t columns, int32_t *scratch) {
    uint32_t *sums = (uint32_t *)scratch; /* unsigned: wrapping around is what is meant */
    uint32_t *b_row = sums + BERT_PRODUCT_ROWS * columns;
    if (columns == 0) return;
    memset(sums, 0, (size_t)(count * columns) * sizeof *sums);
    for (int64_t k = 0; k < depth; k++) {
        for (int64_t j = 0; j < columns; j++) {
            int64_t at = b->offset + k * b->row_stride + j * b->column_stride;
            b_row[j] = (uint32_t)(bert_load_integer(b->tensor, at) - bert_zero_point(b_zero, j));
        }
        for (int64_t i = 0; i < count; i++) {
            int64_t at = a->offset + (row + i) * a->row_stride + k * a->column_stride;
            uint32_t factor = (uint32_t)(bert_load_integer(a->tensor, at) - bert_zero_point(a_zero, row + i));
            uint32_t *sum = sums + i * columns;
            for (int64_t j = 0; j < columns; j++) sum[j] += factor * b_row[j];
        }
    }
}
