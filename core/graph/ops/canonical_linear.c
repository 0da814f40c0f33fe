/* The canonical Linear and Embedding (core/graph/canonical.h). */
#include "core/graph/canonical.h"
#include "core/graph/ops/activation.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/normalization.h"
#include "core/graph/ops/product.h"

#include <inttypes.h>

/* ---- Linear --------------------------------------------------------------------------------------------------------
 */

/* Columns of part `part` into *columns; its rows must be `depth`. */
static bert_status infer_part(const bert_inference *in, int32_t part, bool transposed, bert_dim depth,
                              bert_dim *columns) {
    int32_t weight = BERT_LINEAR_WEIGHT(part);
    int32_t bias = BERT_LINEAR_BIAS(part);
    if (!bert_infer_input(in, weight)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "weight %" PRId32 " of Linear is missing", part);
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
        return bert_fail(in->error, BERT_INVALID_MODEL, "Linear has no activation \"%s\"", activation);
    }
    int64_t parts = BERT_INFER_INT(in, "parts", 1);
    if (parts < 1 || parts > (in->op->max_inputs - 2) / 2) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "Linear has %" PRId64 " parts; it takes 1 to %" PRId32, parts,
                         (in->op->max_inputs - 2) / 2);
    }
    bert_shape shape = *bert_infer_shape(in, 0);
    bert_dim depth = shape.rank < 0 ? bert_dim_fresh(in->symbols) : shape.dims[shape.rank - 1];
    bert_dim columns = 0;
    bool transposed = BERT_INFER_INT(in, "transpose", 0) != 0;
    for (int32_t part = 0; part < parts; part++) {
        bert_dim of_part = 0;
        BERT_TRY(infer_part(in, part, transposed, depth, &of_part));
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

/* Columns [first_column, ...) of the output: one weight and its bias. */
static void linear_part(const bert_reference_call *call, int32_t part, int64_t first_column) {
    const bert_tensor *x = &call->inputs[BERT_LINEAR_X];
    const bert_tensor *residual = bert_call_input(call, BERT_LINEAR_RESIDUAL);
    const bert_tensor *weight = &call->inputs[BERT_LINEAR_WEIGHT(part)];
    const bert_tensor *bias = bert_call_input(call, BERT_LINEAR_BIAS(part));
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
    double *sums = call->workspace;
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

bert_status bert_reference_linear(const bert_reference_call *call) {
    int32_t parts = (int32_t)BERT_CALL_INT(call, "parts", 1);
    int64_t first_column = 0;
    for (int32_t part = 0; part < parts; part++) {
        linear_part(call, part, first_column);
        first_column += call->inputs[BERT_LINEAR_WEIGHT(part)].dims[BERT_CALL_INT(call, "transpose", 0) ? 0 : 1];
    }
    return BERT_OK;
}

size_t bert_workspace_linear(const bert_op_node *node) {
    const bert_tensor_desc *y = &node->outputs[0];
    return bert_product_workspace(y->dims[y->rank - 1]);
}

/* ---- Embedding -----------------------------------------------------------------------------------------------------
 */

/* A table [V, K] and its ids, which are either both there or both absent. *width is what is known of K. */
static bert_status infer_table(const bert_inference *in, int32_t ids, int32_t table, bert_dim *width) {
    if (!bert_infer_input(in, ids) != !bert_infer_input(in, table)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "inputs %" PRId32 " and %" PRId32 " of Embedding go together",
                         ids, table);
    }
    BERT_TRY(bert_infer_type(in, ids, BERT_TYPES_INDEX));
    BERT_TRY(bert_infer_same_type(in, BERT_EMBEDDING_WORD_TABLE, table));
    BERT_TRY(bert_infer_rank(in, ids, 2, 2));
    BERT_TRY(bert_infer_rank(in, table, 2, 2));
    const bert_shape *word_ids = bert_infer_shape(in, BERT_EMBEDDING_WORD_IDS);
    if (word_ids->rank == 2) BERT_TRY(bert_infer_broadcasts_to(in, ids, word_ids));
    const bert_shape *shape = bert_infer_shape(in, table);
    if (shape->rank < 0) return BERT_OK;
    return bert_infer_equal(in, *width, shape->dims[1], "the columns of two embedding tables", width);
}

bert_status bert_infer_embedding(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, BERT_EMBEDDING_WORD_TABLE, BERT_TYPES_FLOAT));
    bert_dim width = bert_dim_fresh(in->symbols);
    for (int32_t i = BERT_EMBEDDING_WORD_IDS; i < BERT_EMBEDDING_GAMMA; i += 2) {
        BERT_TRY(infer_table(in, i, i + 1, &width));
    }
    if (!bert_infer_input(in, BERT_EMBEDDING_GAMMA) != !bert_infer_input(in, BERT_EMBEDDING_BETA)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "gamma and beta of Embedding go together");
    }
    for (int32_t i = BERT_EMBEDDING_GAMMA; i <= BERT_EMBEDDING_BETA; i++) {
        BERT_TRY(bert_infer_same_type(in, BERT_EMBEDDING_WORD_TABLE, i));
        BERT_TRY(bert_infer_rank(in, i, 1, 1));
        if (bert_infer_shape(in, i)->rank != 1) continue;
        BERT_TRY(bert_infer_equal(in, width, bert_infer_shape(in, i)->dims[0],
                                  "the columns of the tables and the elements of gamma or beta", &width));
    }
    bert_shape shape = *bert_infer_shape(in, BERT_EMBEDDING_WORD_IDS);
    if (shape.rank == 2) BERT_TRY(bert_shape_append(in, &shape, width));
    bert_infer_give(in, 0, bert_infer_dtype(in, BERT_EMBEDDING_WORD_TABLE), &shape);
    return BERT_OK;
}

/* Adds the row that the id for position (i, j) names. */
static bert_status add_table_row(const bert_reference_call *call, int32_t input, int64_t i, int64_t j, double *sum) {
    static const char *const names[] = {"word", "word", "position", "position", "type"};
    const bert_tensor *ids = &call->inputs[input];
    const bert_tensor *table = &call->inputs[input + 1];
    int64_t at = (ids->dims[0] == 1 ? 0 : i) * ids->dims[1] + (ids->dims[1] == 1 ? 0 : j);
    int64_t id = (int64_t)bert_load_integer(ids, at);
    int64_t rows = table->dims[0];
    int64_t width = table->dims[1];
    if (id < -rows || id >= rows) {
        return bert_fail(call->error, BERT_INVALID_INPUT,
                         "%s id %" PRId64 " of sequence %" PRId64 ", position %" PRId64
                         ", is outside a table of %" PRId64 " rows",
                         names[input], id, i, j, rows);
    }
    if (id < 0) id += rows;
    for (int64_t k = 0; k < width; k++) sum[k] += bert_load(table, id * width + k);
    return BERT_OK;
}

bert_status bert_reference_embedding(const bert_reference_call *call) {
    static const int32_t order[] = {BERT_EMBEDDING_WORD_IDS, BERT_EMBEDDING_TYPE_IDS, BERT_EMBEDDING_POSITION_IDS};
    const bert_tensor *y = &call->outputs[0];
    const bert_tensor *gamma = bert_call_input(call, BERT_EMBEDDING_GAMMA);
    const bert_tensor *beta = bert_call_input(call, BERT_EMBEDDING_BETA);
    int64_t width = y->dims[2];
    double *sum = call->workspace;
    for (int64_t row = 0; row < y->dims[0] * y->dims[1]; row++) {
        for (int64_t k = 0; k < width; k++) sum[k] = 0;
        for (int32_t i = 0; i < 3; i++) {
            if (!bert_call_has_input(call, order[i])) continue;
            BERT_TRY(add_table_row(call, order[i], row / y->dims[1], row % y->dims[1], sum));
        }
        bert_row_statistics statistics = {.inverse_deviation = 1};
        if (gamma) {
            double epsilon = BERT_CALL_FLOAT(call, "epsilon", 1e-12F);
            statistics = bert_normalize_statistics(sum, width, epsilon, false);
        }
        for (int64_t k = 0; k < width; k++) {
            double value = (sum[k] - statistics.mean) * statistics.inverse_deviation;
            if (gamma) value = value * bert_load(gamma, k) + bert_load(beta, k);
            bert_store(y, row * width + k, value);
        }
    }
    return BERT_OK;
}

size_t bert_workspace_embedding(const bert_op_node *node) {
    size_t bytes;
    return bert_size_multiply((size_t)node->outputs[0].dims[2], sizeof(double), &bytes) ? bytes : SIZE_MAX;
}
