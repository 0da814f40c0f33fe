/* The canonical QuantizedLinear (core/graph/canonical.h). */
#include "core/graph/canonical.h"
#include "core/graph/ops/activation.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/quantized.h"

#include <inttypes.h>

/* ---- Inference ------------------------------------------------------------------------------------------------------
 */

/* A scalar, or a vector with an element for each of `columns`. */
static bert_status infer_per_column(const bert_inference *in, int32_t input, bert_dim columns, const char *what) {
    BERT_TRY(bert_infer_rank(in, input, 0, 1));
    const bert_shape *shape = bert_infer_shape(in, input);
    if (shape->rank != 1 || shape->dims[0] == 1) return BERT_OK;
    return bert_infer_equal(in, shape->dims[0], columns, what, NULL);
}

/* Columns of part `part` into *columns; its rows must be `depth`. */
static bert_status infer_part(const bert_inference *in, int32_t part, bert_dim depth, bert_dim *columns) {
    const int32_t weight = BERT_QUANTIZED_LINEAR_WEIGHT(part), scale = BERT_QUANTIZED_LINEAR_SCALE(part);
    const int32_t zero_point = BERT_QUANTIZED_LINEAR_ZERO_POINT(part), bias = BERT_QUANTIZED_LINEAR_BIAS(part);
    if (!bert_infer_input(in, weight) || !bert_infer_input(in, scale)) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "weight %" PRId32 " of QuantizedLinear, or the scale of it, is missing", part);
    }
    BERT_TRY(bert_infer_type(in, weight, BERT_TYPES_BYTE));
    BERT_TRY(bert_infer_same_type(in, 0, scale));
    BERT_TRY(bert_infer_same_type(in, weight, zero_point));
    BERT_TRY(bert_infer_same_type(in, 0, bias));
    BERT_TRY(bert_infer_rank(in, weight, 2, 2));
    BERT_TRY(bert_infer_rank(in, bias, 1, 1));
    const bert_shape *w = bert_infer_shape(in, weight);
    *columns = w->rank < 0 ? bert_dim_fresh(in->symbols) : w->dims[1];
    if (w->rank >= 0) {
        BERT_TRY(bert_infer_equal(in, w->dims[0], depth, "the rows of the weight and the last dimension of the input",
                                  NULL));
    }
    BERT_TRY(infer_per_column(in, scale, *columns, "the scales and the columns of the weight"));
    BERT_TRY(infer_per_column(in, zero_point, *columns, "the zero points and the columns of the weight"));
    const bert_shape *b = bert_infer_shape(in, bias);
    if (b->rank < 0) return BERT_OK;
    return bert_infer_equal(in, b->dims[0], *columns, "the elements of the bias and the columns of the weight",
                            columns);
}

bert_status bert_infer_quantized_linear(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPE(BERT_FLOAT) | BERT_TYPE(BERT_DOUBLE)));
    BERT_TRY(bert_infer_same_type(in, 0, BERT_LINEAR_RESIDUAL));
    BERT_TRY(bert_infer_rank(in, 0, 1, BERT_MAX_RANK));
    double parameter;
    const char *activation = BERT_INFER_STRING(in, "activation", "none");
    if (!bert_activation(activation, &parameter)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "QuantizedLinear has no activation \"%s\"", activation);
    }
    const int64_t parts = BERT_INFER_INT(in, "parts", 1);
    if (parts < 1 || parts > (in->op->max_inputs - 2) / 4) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "QuantizedLinear has %" PRId64 " parts; it takes 1 to %" PRId32,
                         parts, (in->op->max_inputs - 2) / 4);
    }
    bert_shape shape = *bert_infer_shape(in, 0);
    const bert_dim depth = shape.rank < 0 ? bert_dim_fresh(in->symbols) : shape.dims[shape.rank - 1];
    bert_dim columns = 0;
    for (int32_t part = 0; part < parts; part++) {
        bert_dim of_part = 0;
        BERT_TRY(infer_part(in, part, depth, &of_part));
        columns = bert_dim_add(in->symbols, columns, of_part);
    }
    if (shape.rank > 0) shape.dims[shape.rank - 1] = columns;
    if (bert_infer_input(in, BERT_LINEAR_RESIDUAL)) {
        BERT_TRY(bert_infer_equal_shapes(in, bert_infer_shape(in, BERT_LINEAR_RESIDUAL), &shape,
                                         "the residual and the output", NULL));
    }
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &shape);
    return BERT_OK;
}

/* ---- Reference ------------------------------------------------------------------------------------------------------
 */

/* x as DynamicQuantizeLinear gives it. `zero_point` is a tensor of one element, shown as such to the product. */
typedef struct quantized_rows {
    bert_tensor values, zero_point;
    double scale;
} quantized_rows;

static void quantize(const bert_tensor *x, void *memory, uint8_t *zero_point, quantized_rows *out) {
    const int64_t count = bert_tensor_elements(x);
    const bert_quantization q = bert_dynamic_quantization(x, 0, count);
    *zero_point = (uint8_t)q.zero_point;
    out->scale = q.scale;
    out->zero_point = (bert_tensor){.dtype = BERT_UINT8, .rank = 0, .data = zero_point};
    out->values = *x;
    out->values.dtype = BERT_UINT8;
    out->values.data = memory;
    for (int64_t i = 0; i < count; i++) {
        const double value = bert_quotient_in(x->dtype, bert_load(x, i), q.scale);
        bert_store_integer(&out->values, i, bert_quantized(value, q.zero_point, BERT_UINT8));
    }
}

/* Where the sums begin in the workspace: after the quantized x, aligned. */
static size_t sums_offset(int64_t elements) {
    return ((size_t)elements + BERT_ALIGNMENT - 1) / BERT_ALIGNMENT * BERT_ALIGNMENT;
}

/* Columns [first_column, ...) of the output: one weight and what belongs to it. */
static void quantized_part(const bert_reference_call *call, const quantized_rows *x, int32_t part, int64_t first_column,
                           int32_t *sums) {
    const bert_tensor *residual = bert_call_input(call, BERT_LINEAR_RESIDUAL);
    const bert_tensor *weight = &call->inputs[BERT_QUANTIZED_LINEAR_WEIGHT(part)];
    const bert_tensor *scale = &call->inputs[BERT_QUANTIZED_LINEAR_SCALE(part)];
    const bert_tensor *bias = bert_call_input(call, BERT_QUANTIZED_LINEAR_BIAS(part));
    const bert_tensor *y = &call->outputs[0];
    double parameter = 0;
    bert_unary_fn activation = bert_activation(BERT_CALL_STRING(call, "activation", "none"), &parameter);
    const int64_t depth = weight->dims[0], columns = weight->dims[1], width = y->dims[y->rank - 1];
    const int64_t rows = bert_dims_product(y, 0, y->rank - 1);
    const bert_matrix left = {&x->values, 0, depth, 1}, right = {weight, 0, columns, 1};
    const bert_per_index x_zero = {.tensor = &x->zero_point};
    const bert_per_index zero =
        bert_per_index_of(bert_call_input(call, BERT_QUANTIZED_LINEAR_ZERO_POINT(part)), columns, 0);
    const bert_per_index scales = bert_per_index_of(scale, columns, 0);
    for (int64_t row = 0; row < rows; row += BERT_PRODUCT_ROWS) {
        const int64_t count = rows - row < BERT_PRODUCT_ROWS ? rows - row : BERT_PRODUCT_ROWS;
        bert_quantized_product_rows(&left, &x_zero, &right, &zero, row, count, depth, columns, sums);
        for (int64_t i = 0; i < count * columns; i++) {
            const int64_t column = i % columns;
            const int64_t at = (row + i / columns) * width + first_column + column;
            const double factor = bert_product_in(y->dtype, x->scale, bert_load(scale, column * scales.stride));
            double value = bert_product_in(y->dtype, sums[i], factor);
            value = activation(value + (bias ? bert_load(bias, column) : 0), parameter);
            bert_store(y, at, value + (residual ? bert_load(residual, at) : 0));
        }
    }
}

bert_status bert_reference_quantized_linear(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[BERT_LINEAR_X];
    const int32_t parts = (int32_t)BERT_CALL_INT(call, "parts", 1);
    uint8_t zero_point;
    quantized_rows quantized;
    quantize(x, call->workspace, &zero_point, &quantized);
    int32_t *sums = (int32_t *)(void *)((char *)call->workspace + sums_offset(bert_tensor_elements(x)));
    int64_t first_column = 0;
    for (int32_t part = 0; part < parts; part++) {
        quantized_part(call, &quantized, part, first_column, sums);
        first_column += call->inputs[BERT_QUANTIZED_LINEAR_WEIGHT(part)].dims[1];
    }
    return BERT_OK;
}

size_t bert_workspace_quantized_linear(const bert_op_node *node) {
    const bert_tensor_desc *x = &node->inputs[BERT_LINEAR_X], *y = &node->outputs[0];
    size_t elements = 1, bytes;
    for (int32_t i = 0; i < x->rank; i++) {
        if (!bert_size_multiply(elements, (size_t)x->dims[i], &elements)) return SIZE_MAX;
    }
    if (elements > SIZE_MAX / 2) return SIZE_MAX;
    const size_t sums = bert_quantized_workspace(y->dims[y->rank - 1]);
    return bert_size_add(sums_offset((int64_t)elements), sums, &bytes) ? bytes : SIZE_MAX;
}
