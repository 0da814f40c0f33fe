/* The canonical Linear (core/graph/canonical.h), and of LayerNormLinear what is Linear's. */
#include "core/graph/ops/canonical_linear.h"

#include "core/graph/canonical.h"
#include "core/graph/ops/activation.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/product.h"

#include <inttypes.h>

/* Input at which the weights begin, each with its bias behind it. */
static int32_t first_weight(const bert_op *op) {
    return op->id == BERT_OP_BERTC_LayerNormLinear ? BERT_LAYER_NORM_LINEAR_WEIGHT(0) : BERT_LINEAR_WEIGHT(0);
}

/* Columns of part `part` into *columns; its rows must be `depth`. */
static bert_status infer_part(const bert_inference *in, int32_t part, bert_dim depth, bert_dim *columns) {
    const bool transposed = BERT_INFER_INT(in, "transpose", 0) != 0;
    int32_t weight = first_weight(in->op) + 2 * part;
    int32_t bias = weight + 1;
    if (!bert_infer_input(in, weight)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "weight %" PRId32 " of %s is missing", part, in->op->name);
    }
    BERT_TRY(bert_infer_same_type(in, 0, weight));
    BERT_TRY(bert_infer_same_type(in, 0, bias));
    BERT_TRY(bert_infer_rank(in, weight, 2, 2));
    BERT_TRY(bert_infer_rank(in, bias, 1, 1));
    const bert_shape *w = bert_infer_shape(in, weight);
    const bert_shape *b = bert_infer_shape(in, bias);
    *columns = w->rank < 0 ? bert_dim_fresh(in->symbols) : w->dims[transposed ? 0 : 1];
    if (w->rank >= 0) {
        BERT_TRY(bert_infer_equal(in, w->dims[transposed ? 1 : 0], depth,
                                  "the rows of the weight and the last dimension of the input", NULL));
    }
    if (b->rank < 0) return BERT_OK;
    return bert_infer_equal(in, b->dims[0], *columns, "the elements of the bias and the columns of the weight",
                            columns);
}

bert_status bert_infer_linear(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_same_type(in, 0, BERT_LINEAR_RESIDUAL));
    BERT_TRY(bert_infer_rank(in, 0, 1, BERT_MAX_RANK));
    double parameter;
    const char *activation = BERT_INFER_STRING(in, "activation", "none");
    if (!bert_activation(activation, &parameter)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "%s has no activation \"%s\"", in->op->name, activation);
    }
    int64_t parts = BERT_INFER_INT(in, "parts", 1);
    const int32_t most = (in->op->max_inputs - first_weight(in->op)) / 2;
    if (parts < 1 || parts > most) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "%s has %" PRId64 " parts; it takes 1 to %" PRId32,
                         in->op->name, parts, most);
    }
    return bert_infer_linear_output(in, bert_infer_shape(in, BERT_LINEAR_X), parts, infer_part);
}

/* Columns [first_column, ...) of the output: one weight and its bias. */
static void linear_part(const bert_reference_call *call, const bert_tensor *x, const bert_tensor *residual,
                        double *sums, int32_t part, int64_t first_column) {
    const int32_t input = first_weight(call->op) + 2 * part;
    const bert_tensor *weight = &call->inputs[input];
    const bert_tensor *bias = bert_call_input(call, input + 1);
    const bert_tensor *y = &call->outputs[0];
    bool transposed = BERT_CALL_INT(call, "transpose", 0) != 0;
    double alpha = BERT_CALL_FLOAT(call, "alpha", 1.0F);
    double parameter = 0;
    bert_unary_fn activation = bert_activation(BERT_CALL_STRING(call, "activation", "none"), &parameter);
    int64_t depth = x->dims[x->rank - 1];
    int64_t rows = bert_dims_product(x, 0, x->rank - 1);
    int64_t width = y->dims[y->rank - 1];
    int64_t columns = weight->dims[transposed ? 0 : 1];
    bert_matrix left = {x, 0, depth, 1};
    bert_matrix right = {weight, 0, transposed ? 1 : columns, transposed ? depth : 1};
    for (int64_t row = 0; row < rows; row += BERT_PRODUCT_ROWS) {
        int64_t count = rows - row < BERT_PRODUCT_ROWS ? rows - row : BERT_PRODUCT_ROWS;
        bert_product_rows(&left, &right, row, count, depth, columns, sums);
        for (int64_t i = 0; i < count * columns; i++) {
            int64_t column = i % columns;
            int64_t at = (row + i / columns) * width + first_column + column;
            double value = activation(alpha * sums[i] + (bias ? bert_load(bias, column) : 0), parameter);
            bert_store(y, at, value + (residual ? bert_load(residual, at) : 0));
        }
    }
}

void bert_linear_product(const bert_reference_call *call, const bert_tensor *x, const bert_tensor *residual,
                         double *sums) {
    int32_t parts = (int32_t)BERT_CALL_INT(call, "parts", 1);
    int64_t first_column = 0;
    for (int32_t part = 0; part < parts; part++) {
        const bert_tensor *weight = &call->inputs[first_weight(call->op) + 2 * part];
        linear_part(call, x, residual, sums, part, first_column);
        first_column += weight->dims[BERT_CALL_INT(call, "transpose", 0) ? 0 : 1];
    }
}

bert_status bert_reference_linear(const bert_reference_call *call) {
    bert_linear_product(call, &call->inputs[BERT_LINEAR_X], bert_call_input(call, BERT_LINEAR_RESIDUAL),
                        call->workspace);
    return BERT_OK;
}

size_t bert_workspace_linear(const bert_op_node *node) {
    const bert_tensor_desc *y = &node->outputs[0];
    return bert_product_workspace(y->dims[y->rank - 1]);
}
