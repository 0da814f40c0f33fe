/* The canonical QuantizedLinear (core/graph/canonical.h). */
#include "core/graph/canonical.h"
#include "core/graph/ops/activation.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/quantized.h"

#include <inttypes.h>
#include <string.h>

/* ---- Inference ------------------------------------------------------------------------------------------------------
 */

/* A scalar, or a vector with an element for each of `columns`. */
static bert_status infer_per_column(const bert_inference *in, int32_t input, bert_dim columns, const char *what) {
    BERT_TRY(bert_infer_rank(in, input, 0, 1));
    const bert_shape *shape = bert_infer_shape(in, input);
    if (shape->rank != 1 || shape->dims[0] == 1) return BERT_OK;
    return bert_infer_equal(in, shape->dims[0], columns, what, NULL);
}

/* A bias is a float or, where x is quantized, an int32 that the sums begin with. */
static bert_status infer_bias_type(const bert_inference *in, int32_t bias) {
    if (bert_infer_dtype(in, bias) == BERT_INT32 && !BERT_INFER_INT(in, "weight_only", 0)) return BERT_OK;
    return bert_infer_same_type(in, 0, bias);
}

/* Columns of part `part` into *columns; its rows must be `depth`. */
static bert_status infer_part(const bert_inference *in, int32_t part, bert_dim depth, bert_dim *columns) {
    const bool transposed = BERT_INFER_INT(in, "transpose", 0) != 0;
    const int32_t weight = BERT_QUANTIZED_LINEAR_WEIGHT(part), scale = BERT_QUANTIZED_LINEAR_SCALE(part);
    const int32_t zero_point = BERT_QUANTIZED_LINEAR_ZERO_POINT(part), bias = BERT_QUANTIZED_LINEAR_BIAS(part);
    if (!bert_infer_input(in, weight) || !bert_infer_input(in, scale)) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "weight %" PRId32 " of QuantizedLinear, or the scale of it, is missing", part);
    }
    BERT_TRY(bert_infer_type(in, weight, BERT_TYPES_BYTE));
    BERT_TRY(bert_infer_same_type(in, 0, scale));
    BERT_TRY(bert_infer_same_type(in, weight, zero_point));
    BERT_TRY(infer_bias_type(in, bias));
    BERT_TRY(bert_infer_rank(in, weight, 2, 2));
    BERT_TRY(bert_infer_rank(in, bias, 1, 1));
    const bert_shape *w = bert_infer_shape(in, weight);
    *columns = w->rank < 0 ? bert_dim_fresh(in->symbols) : w->dims[transposed ? 0 : 1];
    if (w->rank >= 0) {
        BERT_TRY(bert_infer_equal(in, w->dims[transposed ? 1 : 0], depth,
                                  "the rows of the weight and the last dimension of the input", NULL));
    }
    BERT_TRY(infer_per_column(in, scale, *columns, "the scales and the columns of the weight"));
    BERT_TRY(infer_per_column(in, zero_point, *columns, "the zero points and the columns of the weight"));
    const bert_shape *b = bert_infer_shape(in, bias);
    if (b->rank < 0) return BERT_OK;
    return bert_infer_equal(in, b->dims[0], *columns, "the elements of the bias and the columns of the weight",
                            columns);
}

/* How x is quantized, if it is. */
static bert_status infer_x(const bert_inference *in) {
    const bool weight_only = BERT_INFER_INT(in, "weight_only", 0) != 0;
    const int32_t scale = BERT_QUANTIZED_LINEAR_X_SCALE, zero_point = BERT_QUANTIZED_LINEAR_X_ZERO_POINT;
    BERT_TRY(bert_infer_type(in, 0, weight_only ? BERT_TYPES_FLOAT : BERT_TYPE(BERT_FLOAT) | BERT_TYPE(BERT_DOUBLE)));
    if (bert_infer_input(in, scale) ? weight_only : bert_infer_input(in, zero_point) != NULL) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "QuantizedLinear with weight_only and a scale of x, or a zero point of x without a scale");
    }
    BERT_TRY(bert_infer_same_type(in, 0, scale));
    BERT_TRY(bert_infer_rank(in, scale, 0, 0));
    if (bert_infer_input(in, zero_point)) BERT_TRY(bert_infer_type(in, zero_point, BERT_TYPE(BERT_UINT8)));
    return bert_infer_rank(in, zero_point, 0, 0);
}

/* The attribute's three values in the order of bert_quant_scope; -1 for another. */
static int scope_named(const char *name) {
    static const char *const names[] = {"tensor", "sequence", "token"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) == 0) return i;
    }
    return -1;
}

/* What one dynamic scale covers. */
static bert_status infer_scope(const bert_inference *in, int32_t parts) {
    const int32_t starts = BERT_QUANTIZED_LINEAR_STARTS(parts), counted = BERT_QUANTIZED_LINEAR_COUNTED(parts);
    const int scope = scope_named(BERT_INFER_STRING(in, "scope", "tensor"));
    if (scope < 0 || (scope == BERT_QUANT_SCOPE_SEQUENCE) != (bert_infer_input(in, starts) != NULL) ||
        (bert_infer_input(in, counted) && scope != BERT_QUANT_SCOPE_SEQUENCE)) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "QuantizedLinear's scope is tensor or token, or sequence with the starts of groups of rows");
    }
    BERT_TRY(bert_infer_type(in, starts, BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_type(in, counted, BERT_TYPES_BOOL));
    BERT_TRY(bert_infer_rank(in, starts, 1, 1));
    BERT_TRY(bert_infer_rank(in, counted, 1, 1));
    const bert_shape *x = bert_infer_shape(in, 0), *rows = bert_infer_shape(in, counted);
    if (x->rank < 1 || rows->rank < 1) return BERT_OK;
    return bert_infer_equal(in, bert_shape_product(in, x, 0, x->rank - 1), rows->dims[0],
                            "the rows of the input and the elements of `counted`", NULL);
}

/* The shape of the rows of x that are multiplied. */
static bert_status infer_rows(const bert_inference *in, bert_shape *rows) {
    const int64_t place = BERT_INFER_INT(in, "place", BERT_EVERY_PLACE);
    *rows = *bert_infer_shape(in, BERT_LINEAR_X);
    if (place == BERT_EVERY_PLACE) return BERT_OK;
    if (BERT_INFER_INT(in, "weight_only", 0) || bert_infer_input(in, BERT_QUANTIZED_LINEAR_X_SCALE) ||
        bert_infer_input(in, BERT_LINEAR_RESIDUAL)) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "QuantizedLinear has a place with a dynamic scale and without residual alone");
    }
    BERT_TRY(bert_infer_rank(in, BERT_LINEAR_X, 3, 3));
    if (rows->rank < 0) return BERT_OK;
    const bert_dim sequence = rows->dims[1];
    if (bert_dim_known(sequence) && (place < -sequence || place >= sequence)) {
        return bert_fail(in->error, BERT_INVALID_INPUT, "place %" PRId64 " is outside a sequence of %" PRId64, place,
                         sequence);
    }
    if (BERT_INFER_INT(in, "keepdims", 0)) {
        rows->dims[1] = 1;
    } else {
        rows->dims[1] = rows->dims[2];
        rows->rank = 2;
    }
    return BERT_OK;
}

bert_status bert_infer_quantized_linear(const bert_inference *in) {
    BERT_TRY(infer_x(in));
    BERT_TRY(bert_infer_same_type(in, 0, BERT_LINEAR_RESIDUAL));
    BERT_TRY(bert_infer_rank(in, 0, 1, BERT_MAX_RANK));
    double parameter;
    const char *activation = BERT_INFER_STRING(in, "activation", "none");
    if (!bert_activation(activation, &parameter)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "QuantizedLinear has no activation \"%s\"", activation);
    }
    const int64_t parts = BERT_INFER_INT(in, "parts", 1);
    const int32_t most = (in->op->max_inputs - BERT_QUANTIZED_LINEAR_WEIGHT(0)) / 4;
    if (parts < 1 || parts > most) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "QuantizedLinear has %" PRId64 " parts; it takes 1 to %" PRId32,
                         parts, most);
    }
    BERT_TRY(infer_scope(in, (int32_t)parts));
    bert_shape multiplied;
    BERT_TRY(infer_rows(in, &multiplied));
    return bert_infer_linear_output(in, &multiplied, parts, infer_part);
}

/* ---- Reference ------------------------------------------------------------------------------------------------------
 */

/* x in 8 bits, with a zero point and scale a row. */
typedef struct quantized_rows {
    bert_tensor values, zero_points;
    double *scales; /* that belong to the product: 1 where the weight's scale holds them */
} quantized_rows;

/* What every column of one part needs. */
typedef struct part_columns {
    const bert_tensor *weight, *scale, *bias;
    bert_per_index scales, zeros;
    bert_matrix right;
    int64_t depth, columns, first; /* first: where they begin in the output */
} part_columns;

static part_columns columns_of(const bert_reference_call *call, int32_t part, int64_t first) {
    const bool transposed = BERT_CALL_INT(call, "transpose", 0) != 0;
    const bert_tensor *weight = &call->inputs[BERT_QUANTIZED_LINEAR_WEIGHT(part)];
    part_columns c = {.weight = weight,
                      .scale = &call->inputs[BERT_QUANTIZED_LINEAR_SCALE(part)],
                      .bias = bert_call_input(call, BERT_QUANTIZED_LINEAR_BIAS(part)),
                      .depth = weight->dims[transposed ? 1 : 0],
                      .columns = weight->dims[transposed ? 0 : 1],
                      .first = first};
    c.scales = bert_per_index_of(c.scale, c.columns, 0);
    c.zeros = bert_per_index_of(bert_call_input(call, BERT_QUANTIZED_LINEAR_ZERO_POINT(part)), c.columns, 0);
    c.right = (bert_matrix){weight, 0, transposed ? 1 : c.columns, transposed ? c.depth : 1};
    return c;
}

static double scale_at(const part_columns *c, int64_t column) {
    return bert_load(c->scale, column * c->scales.stride);
}

/* A scaled sum to its place: bias, activation, residual. */
static void finish(const bert_reference_call *call, const part_columns *c, int64_t row, int64_t column, double value) {
    const bert_tensor *residual = bert_call_input(call, BERT_LINEAR_RESIDUAL), *y = &call->outputs[0];
    const int64_t at = row * y->dims[y->rank - 1] + c->first + column;
    double parameter = 0;
    bert_unary_fn activation = bert_activation(BERT_CALL_STRING(call, "activation", "none"), &parameter);
    if (c->bias && c->bias->dtype != BERT_INT32) value += bert_load(c->bias, column);
    value = activation(value, parameter);
    bert_store(y, at, value + (residual ? bert_load(residual, at) : 0));
}

/* The workspace: scales of rows, their zero points, the quantized x, sums; each part aligned. Offsets in bytes. */
typedef struct workspace_layout {
    size_t zero_points, values, sums;
} workspace_layout;

static bool lay_out(size_t rows, size_t elements, workspace_layout *out) {
    size_t bytes;
    const size_t blur = BERT_ALIGNMENT - 1;
    if (!bert_size_multiply(rows, sizeof(double), &bytes) || elements > SIZE_MAX / 4 || bytes > SIZE_MAX / 4) {
        return false;
    }
    out->zero_points = (bytes + blur) & ~blur;
    out->values = (out->zero_points + rows + blur) & ~blur;
    out->sums = (out->values + elements + blur) & ~blur;
    return true;
}

/* Rows [from, to) with one scale, that of those which count: x in 8 bits. */
static void quantize_group(const bert_reference_call *call, int64_t from, int64_t to, const bert_tensor *counted,
                           quantized_rows *out) {
    const bert_tensor *x = &call->inputs[BERT_LINEAR_X];
    const bert_tensor *scale = bert_call_input(call, BERT_QUANTIZED_LINEAR_X_SCALE);
    const bert_tensor *zero = bert_call_input(call, BERT_QUANTIZED_LINEAR_X_ZERO_POINT);
    const int64_t width = x->dims[x->rank - 1];
    bert_quantization q = {0};
    if (scale) {
        q.scale = bert_load(scale, 0);
        q.zero_point = zero ? (int32_t)bert_load_integer(zero, 0) : 0;
    } else {
        bert_range range = {0};
        bool any = false;
        for (int64_t row = from; row < to; row++) any |= !counted || bert_load_integer(counted, row);
        for (int64_t row = from; row < to; row++) {
            if (any && counted && !bert_load_integer(counted, row)) continue;
            bert_range_add(&range, x, row * width, width);
        }
        q = bert_quantization_of(&range, x->dtype);
    }
    for (int64_t row = from; row < to; row++) {
        out->scales[row] = scale ? 1 : q.scale;
        bert_store_integer(&out->zero_points, row, q.zero_point);
    }
    for (int64_t i = from * width; i < to * width; i++) {
        const double value = bert_quotient_in(x->dtype, bert_load(x, i), q.scale);
        bert_store_integer(&out->values, i, bert_quantized(value, q.zero_point, BERT_UINT8));
    }
}

static bert_status quantize_sequences(const bert_reference_call *call, int32_t parts, int64_t rows,
                                      quantized_rows *out) {
    const bert_tensor *starts = &call->inputs[BERT_QUANTIZED_LINEAR_STARTS(parts)];
    const bert_tensor *counted = bert_call_input(call, BERT_QUANTIZED_LINEAR_COUNTED(parts));
    int64_t done = 0;
    for (int64_t group = 0; group + 1 < starts->dims[0]; group++) {
        const int64_t end = (int64_t)bert_load_integer(starts, group + 1);
        if ((int64_t)bert_load_integer(starts, group) != done || end < done || end > rows) {
            return bert_fail(call->error, BERT_INVALID_INPUT, "group %" PRId64 " ends at row %" PRId64 " of %" PRId64,
                             group, end, rows);
        }
        quantize_group(call, done, end, counted, out);
        done = end;
    }
    if (done == rows) return BERT_OK;
    return bert_fail(call->error, BERT_INVALID_INPUT, "%" PRId64 " rows are in groups, of %" PRId64, done, rows);
}

/* The rows that are multiplied, to the front. */
static void choose_rows(const bert_reference_call *call, quantized_rows *out) {
    const bert_tensor *x = &call->inputs[BERT_LINEAR_X];
    const bert_row_choice rows = bert_rows_at(BERT_CALL_INT(call, "place", BERT_EVERY_PLACE), x);
    const int64_t width = x->dims[x->rank - 1];
    for (int64_t i = 0; i < rows.count; i++) {
        const int64_t row = rows.first + i * rows.step;
        if (row == i) continue;
        out->scales[i] = out->scales[row];
        bert_copy_elements(&out->zero_points, i, &out->zero_points, row, 1);
        bert_copy_elements(&out->values, i * width, &out->values, row * width, width);
    }
}

static bert_status quantize_rows(const bert_reference_call *call, int32_t parts, quantized_rows *out) {
    const bert_tensor *x = &call->inputs[BERT_LINEAR_X];
    const int64_t rows = bert_dims_product(x, 0, x->rank - 1);
    workspace_layout layout = {0};
    lay_out((size_t)rows, (size_t)bert_tensor_elements(x), &layout); /* fits: it was allocated */
    char *memory = call->workspace;
    out->scales = call->workspace;
    out->zero_points =
        (bert_tensor){.dtype = BERT_UINT8, .rank = 1, .dims = {rows}, .data = memory + layout.zero_points};
    out->values = *x;
    out->values.dtype = BERT_UINT8;
    out->values.data = memory + layout.values;
    switch (scope_named(BERT_CALL_STRING(call, "scope", "tensor"))) {
    case BERT_QUANT_SCOPE_SEQUENCE:
        return quantize_sequences(call, parts, rows, out);
    case BERT_QUANT_SCOPE_TOKEN:
        for (int64_t row = 0; row < rows; row++) quantize_group(call, row, row + 1, NULL, out);
        return BERT_OK;
    default:
        quantize_group(call, 0, rows, NULL, out);
        return BERT_OK;
    }
}

static bert_status quantize(const bert_reference_call *call, int32_t parts, quantized_rows *out) {
    BERT_TRY(quantize_rows(call, parts, out));
    choose_rows(call, out);
    return BERT_OK;
}

static void quantized_part(const bert_reference_call *call, const quantized_rows *x, const part_columns *c,
                           int32_t *sums) {
    const bert_tensor *y = &call->outputs[0];
    const int64_t rows = bert_dims_product(y, 0, y->rank - 1);
    const bert_matrix left = {&x->values, 0, c->depth, 1};
    const bert_per_index x_zero = {.tensor = &x->zero_points, .stride = 1};
    const bool begins = c->bias && c->bias->dtype == BERT_INT32;
    for (int64_t row = 0; row < rows; row += BERT_PRODUCT_ROWS) {
        const int64_t count = rows - row < BERT_PRODUCT_ROWS ? rows - row : BERT_PRODUCT_ROWS;
        bert_quantized_product_rows(&left, &x_zero, &c->right, &c->zeros, row, count, c->depth, c->columns, sums);
        for (int64_t i = 0; i < count * c->columns; i++) {
            const int64_t column = i % c->columns;
            const uint32_t start = begins ? (uint32_t)bert_load_integer(c->bias, column) : 0;
            const double sum = (int32_t)((uint32_t)sums[i] + start);
            const double factor = bert_product_in(y->dtype, x->scales[row + i / c->columns], scale_at(c, column));
            finish(call, c, row + i / c->columns, column, bert_product_in(y->dtype, sum, factor));
        }
    }
}

/* The product of x as it is. `sums`: a row of the output. */
static void weight_only_part(const bert_reference_call *call, const part_columns *c, double *sums) {
    const bert_tensor *x = &call->inputs[BERT_LINEAR_X];
    const int64_t rows = bert_dims_product(x, 0, x->rank - 1);
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t j = 0; j < c->columns; j++) sums[j] = 0;
        for (int64_t k = 0; k < c->depth; k++) {
            const double factor = bert_load(x, row * c->depth + k);
            for (int64_t j = 0; j < c->columns; j++) {
                const int64_t at = k * c->right.row_stride + j * c->right.column_stride;
                const int64_t value = (int64_t)bert_load_integer(c->weight, at) - bert_zero_point(&c->zeros, j);
                sums[j] += factor * (double)value;
            }
        }
        for (int64_t j = 0; j < c->columns; j++) finish(call, c, row, j, sums[j] * scale_at(c, j));
    }
}

bert_status bert_reference_quantized_linear(const bert_reference_call *call) {
    const int32_t parts = (int32_t)BERT_CALL_INT(call, "parts", 1);
    const bool weight_only = BERT_CALL_INT(call, "weight_only", 0) != 0;
    const bert_tensor *x = &call->inputs[BERT_LINEAR_X];
    quantized_rows quantized;
    workspace_layout layout = {0};
    lay_out((size_t)bert_dims_product(x, 0, x->rank - 1), (size_t)bert_tensor_elements(x), &layout);
    if (!weight_only) BERT_TRY(quantize(call, parts, &quantized));
    char *sums = (char *)call->workspace + layout.sums;
    int64_t first = 0;
    for (int32_t part = 0; part < parts; part++) {
        const part_columns c = columns_of(call, part, first);
        if (weight_only) {
            weight_only_part(call, &c, call->workspace);
        } else {
            quantized_part(call, &quantized, &c, (int32_t *)(void *)sums);
        }
        first += c.columns;
    }
    return BERT_OK;
}

size_t bert_workspace_quantized_linear(const bert_op_node *node) {
    const bert_tensor_desc *x = &node->inputs[BERT_LINEAR_X], *y = &node->outputs[0];
    const int64_t columns = y->dims[y->rank - 1];
    size_t elements, rows, bytes;
    workspace_layout layout;
    if (BERT_NODE_INT(node, "weight_only", 0)) {
        return bert_product_workspace(columns);
    }
    if (!bert_size_product(1, x->dims, x->rank, &elements) || !bert_size_product(1, x->dims, x->rank - 1, &rows))
        return SIZE_MAX;
    if (!lay_out(rows, elements, &layout)) return SIZE_MAX;
    return bert_size_add(layout.sums, bert_quantized_workspace(columns), &bytes) ? bytes : SIZE_MAX;
}
