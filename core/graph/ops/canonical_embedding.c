/* Embedding, the canonical operator: three tables, their sum, LayerNorm. */
#include "core/graph/canonical.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"
#include "core/graph/ops/normalization.h"

#include <inttypes.h>

/* An exporter cuts a constant list of positions to the sequence's length: a longer sequence gets too few of them. */
static bert_status check_length(const bert_inference *in, bert_dim tokens, bert_dim positions) {
    bool too_long = bert_dim_known(tokens) && bert_dim_known(positions) && positions > 1 && tokens > positions;
    if (!too_long) return BERT_OK;
    return bert_fail(in->error, BERT_INVALID_MODEL,
                     "a sequence of %" PRId64 " tokens is longer than the %" PRId64 " positions that the model has",
                     tokens, positions);
}

/* The type that a table stands for: its own, or that of its scale. */
static bert_dtype infer_float_type(const bert_inference *in, int32_t table) {
    return bert_infer_input(in, BERT_EMBEDDING_SCALE(table)) ? bert_infer_dtype(in, BERT_EMBEDDING_SCALE(table))
                                                             : bert_infer_dtype(in, table);
}

/* The scale and zero point of a table of bytes; none of any other. */
static bert_status infer_scale(const bert_inference *in, int32_t table) {
    const int32_t scale = BERT_EMBEDDING_SCALE(table), zero_point = BERT_EMBEDDING_ZERO_POINT(table);
    if (!bert_infer_input(in, scale)) {
        if (bert_infer_input(in, zero_point)) {
            return bert_fail(in->error, BERT_INVALID_MODEL, "a zero point of Embedding is without its scale");
        }
        return bert_infer_type(in, table, BERT_TYPES_FLOAT);
    }
    BERT_TRY(bert_infer_type(in, table, BERT_TYPES_BYTE));
    BERT_TRY(bert_infer_type(in, scale, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_same_type(in, table, zero_point));
    for (int32_t i = scale; i <= zero_point; i++) {
        BERT_TRY(bert_infer_rank(in, i, 2, 2));
        if (bert_infer_shape(in, table)->rank == 2) {
            BERT_TRY(bert_infer_broadcasts_to(in, i, bert_infer_shape(in, table)));
        }
    }
    return BERT_OK;
}

/* What gamma and beta have, too. */
static bert_status infer_agreement(const bert_inference *in, bert_dtype dtype) {
    const bert_dtype words = infer_float_type(in, BERT_EMBEDDING_WORD_TABLE);
    if (!dtype || !words || dtype == words) return BERT_OK;
    return bert_fail(in->error, BERT_INVALID_MODEL, "Embedding adds %s to %s", bert_dtype_name(dtype),
                     bert_dtype_name(words));
}

/* A table [V, K] and its ids, which are either both there or both absent. *width is what is known of K. */
static bert_status infer_table(const bert_inference *in, int32_t ids, int32_t table, bert_dim *width) {
    if (!bert_infer_input(in, ids) != !bert_infer_input(in, table)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "inputs %" PRId32 " and %" PRId32 " of Embedding go together",
                         ids, table);
    }
    BERT_TRY(bert_infer_type(in, ids, BERT_TYPES_INDEX));
    BERT_TRY(infer_scale(in, table));
    BERT_TRY(infer_agreement(in, infer_float_type(in, table)));
    BERT_TRY(bert_infer_rank(in, ids, 2, 2));
    BERT_TRY(bert_infer_rank(in, table, 2, 2));
    const bert_shape *word_ids = bert_infer_shape(in, BERT_EMBEDDING_WORD_IDS);
    const bert_shape *these = bert_infer_shape(in, ids);
    if (ids == BERT_EMBEDDING_POSITION_IDS && word_ids->rank == 2 && these->rank == 2) {
        BERT_TRY(check_length(in, word_ids->dims[1], these->dims[1]));
    }
    if (word_ids->rank == 2) BERT_TRY(bert_infer_broadcasts_to(in, ids, word_ids));
    const bert_shape *shape = bert_infer_shape(in, table);
    if (shape->rank < 0) return BERT_OK;
    return bert_infer_equal(in, *width, shape->dims[1], "the columns of two embedding tables", width);
}

/* Of y: with tokens, their number, as one sequence (or sequences of one token). */
static bert_status infer_rows(const bert_inference *in, bert_shape *shape) {
    if (!bert_infer_input(in, BERT_EMBEDDING_TOKENS)) return BERT_OK;
    BERT_TRY(bert_infer_type(in, BERT_EMBEDDING_TOKENS, BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_rank(in, BERT_EMBEDDING_TOKENS, 1, 1));
    const bert_shape *tokens = bert_infer_shape(in, BERT_EMBEDDING_TOKENS);
    if (shape->rank != 2 || tokens->rank != 1) return BERT_OK;
    const int32_t axis = shape->dims[1] == 1 ? 0 : 1;
    shape->dims[1 - axis] = 1;
    shape->dims[axis] = tokens->dims[0];
    return BERT_OK;
}

bert_status bert_infer_embedding(const bert_inference *in) {
    bert_dim width = bert_dim_fresh(in->symbols);
    for (int32_t i = BERT_EMBEDDING_WORD_IDS; i < BERT_EMBEDDING_GAMMA; i += 2) {
        BERT_TRY(infer_table(in, i, i + 1, &width));
    }
    if (!bert_infer_input(in, BERT_EMBEDDING_GAMMA) != !bert_infer_input(in, BERT_EMBEDDING_BETA)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "gamma and beta of Embedding go together");
    }
    for (int32_t i = BERT_EMBEDDING_GAMMA; i <= BERT_EMBEDDING_BETA; i++) {
        BERT_TRY(infer_agreement(in, bert_infer_dtype(in, i)));
        BERT_TRY(bert_infer_rank(in, i, 1, 1));
        if (bert_infer_shape(in, i)->rank != 1) continue;
        BERT_TRY(bert_infer_equal(in, width, bert_infer_shape(in, i)->dims[0],
                                  "the columns of the tables and the elements of gamma or beta", &width));
    }
    bert_shape shape = *bert_infer_shape(in, BERT_EMBEDDING_WORD_IDS);
    BERT_TRY(infer_rows(in, &shape));
    if (shape.rank == 2) BERT_TRY(bert_shape_append(in, &shape, width));
    bert_infer_give(in, 0, infer_float_type(in, BERT_EMBEDDING_WORD_TABLE), &shape);
    return BERT_OK;
}

/* Element (row, column) of a matrix that broadcasts. */
static int64_t broadcast_at(const bert_tensor *tensor, int64_t row, int64_t column) {
    return (tensor->dims[0] == 1 ? 0 : row) * tensor->dims[1] + (tensor->dims[1] == 1 ? 0 : column);
}

/* Element (row, column) of a table, in float where it is bytes. */
static double element_of(const bert_reference_call *call, int32_t input, int64_t row, int64_t column) {
    const bert_tensor *table = &call->inputs[input];
    const bert_tensor *scale = bert_call_input(call, BERT_EMBEDDING_SCALE(input));
    const bert_tensor *zero = bert_call_input(call, BERT_EMBEDDING_ZERO_POINT(input));
    const int64_t at = row * table->dims[1] + column;
    if (!scale) return bert_load(table, at);
    const bert_integer shift = zero ? bert_load_integer(zero, broadcast_at(zero, row, column)) : 0;
    const double difference = (double)(int64_t)(bert_load_integer(table, at) - shift);
    return bert_rounded(scale->dtype, difference * bert_load(scale, broadcast_at(scale, row, column)));
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
    for (int64_t k = 0; k < width; k++) sum[k] += element_of(call, input + 1, id, k);
    return BERT_OK;
}

bert_status bert_reference_embedding(const bert_reference_call *call) {
    static const int32_t order[] = {BERT_EMBEDDING_WORD_IDS, BERT_EMBEDDING_TYPE_IDS, BERT_EMBEDDING_POSITION_IDS};
    const bert_tensor *y = &call->outputs[0];
    const bert_tensor *tokens = bert_call_input(call, BERT_EMBEDDING_TOKENS);
    const bert_tensor *gamma = bert_call_input(call, BERT_EMBEDDING_GAMMA);
    const bert_tensor *beta = bert_call_input(call, BERT_EMBEDDING_BETA);
    const int64_t width = y->dims[2], *ids = call->inputs[BERT_EMBEDDING_WORD_IDS].dims;
    double *sum = call->workspace;
    for (int64_t row = 0; row < y->dims[0] * y->dims[1]; row++) {
        const int64_t token = tokens ? (int64_t)bert_load_integer(tokens, row) : row;
        if (token < 0 || token >= ids[0] * ids[1]) {
            return bert_fail(call->error, BERT_INVALID_INPUT, "token %" PRId64 " is not among the %" PRId64, token,
                             ids[0] * ids[1]);
        }
        for (int64_t k = 0; k < width; k++) sum[k] = 0;
        for (int32_t i = 0; i < 3; i++) {
            if (!bert_call_has_input(call, order[i])) continue;
            BERT_TRY(add_table_row(call, order[i], token / ids[1], token % ids[1], sum));
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
