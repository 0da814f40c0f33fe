/* com.microsoft's EmbedLayerNormalization, and QEmbedLayerNormalization, whose tables, gamma and beta are bytes. */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"
#include "core/graph/ops/normalization.h"

#include <inttypes.h>

/* The tables, and gamma and beta. */
enum { WORD, POSITION, SEGMENT, GAMMA, BETA, PARAMETERS };

/* Where everything stands; -1 for what an operator doesn't have. Ids: word ids 0, segment ids 1. */
typedef struct operands {
    int32_t parameter[PARAMETERS], scale[PARAMETERS], zero[PARAMETERS];
    int32_t mask, position_ids;
} operands;

static operands operands_of(bert_op_id id) {
    if (id == BERT_OP_MS_QEmbedLayerNormalization) {
        return (operands){{2, 3, 4, 5, 6}, {8, 9, 10, 11, 12}, {13, 14, 15, 16, 17}, 7, -1};
    }
    return (operands){{2, 3, 4, 5, 6}, {-1, -1, -1, -1, -1}, {-1, -1, -1, -1, -1}, 7, 8};
}

/* ---- Inference ------------------------------------------------------------------------------------------------------
 */

/* One table, gamma or beta: there, of the right type and rank, of *width columns. */
static bert_status infer_parameter(const bert_inference *in, const operands *o, int32_t which, bert_dim *width) {
    int32_t input = o->parameter[which];
    bool quantized = o->scale[which] >= 0;
    bool optional = which == SEGMENT && !bert_infer_input(in, 1);
    if (!bert_infer_input(in, input) || (quantized && !bert_infer_input(in, o->scale[which])) ||
        (quantized && !bert_infer_input(in, o->zero[which]))) {
        if (optional) return BERT_OK;
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "input %" PRId32 " of %s, its scale or its zero point is missing", input, in->op->name);
    }
    if (quantized) {
        BERT_TRY(bert_infer_type(in, input, BERT_TYPES_BYTE));
        BERT_TRY(bert_infer_same_type(in, input, o->zero[which]));
        BERT_TRY(bert_infer_type(in, o->scale[which], BERT_TYPES_FLOAT));
        BERT_TRY(bert_infer_same_type(in, o->scale[WORD], o->scale[which]));
        for (int32_t i = 0; i < 2; i++) {
            const bert_shape *shape = bert_infer_shape(in, i ? o->zero[which] : o->scale[which]);
            if (shape->rank < 0) continue;
            BERT_TRY(
                bert_infer_equal(in, bert_shape_elements(in, shape), 1, "the elements of a scale or zero point", NULL));
        }
    } else {
        BERT_TRY(bert_infer_type(in, input, BERT_TYPES_FLOAT));
        BERT_TRY(bert_infer_same_type(in, o->parameter[WORD], input));
    }
    int32_t rank = which < GAMMA ? 2 : 1;
    BERT_TRY(bert_infer_rank(in, input, rank, rank));
    const bert_shape *shape = bert_infer_shape(in, input);
    if (shape->rank < 0) return BERT_OK;
    return bert_infer_equal(in, *width, shape->dims[rank - 1], "the columns of the tables, gamma and beta", width);
}

/* Ids and mask: int32 [B, S], position ids also [1, S]. */
static bert_status infer_ids(const bert_inference *in, int32_t input, const bert_shape *ids) {
    BERT_TRY(bert_infer_type(in, input, BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_rank(in, input, 2, 2));
    const bert_shape *shape = bert_infer_shape(in, input);
    if (shape->rank != 2 || ids->rank != 2) return BERT_OK;
    bool one_row = input == 8 && shape->dims[0] == 1;
    BERT_TRY(bert_infer_equal(in, one_row ? ids->dims[0] : shape->dims[0], ids->dims[0], "the sequences of ids or mask",
                              NULL));
    return bert_infer_equal(in, shape->dims[1], ids->dims[1], "the lengths of ids or mask", NULL);
}

bert_status bert_infer_embed_layer_normalization(const bert_inference *in) {
    operands o = operands_of(in->op->id);
    const bert_shape *ids = bert_infer_shape(in, 0);
    BERT_TRY(infer_ids(in, 0, ids));
    BERT_TRY(infer_ids(in, 1, ids));
    BERT_TRY(infer_ids(in, o.mask, ids));
    BERT_TRY(infer_ids(in, o.position_ids, ids));
    bert_dim width = bert_dim_fresh(in->symbols);
    for (int32_t which = WORD; which < PARAMETERS; which++) BERT_TRY(infer_parameter(in, &o, which, &width));
    bert_dtype dtype = bert_infer_dtype(in, o.scale[WORD] < 0 ? o.parameter[WORD] : o.scale[WORD]);
    if (ids->rank < 0) {
        bert_infer_give(in, 0, dtype, NULL);
        bert_infer_give(in, 1, BERT_INT32, NULL);
        bert_infer_give(in, 2, dtype, NULL);
        return BERT_OK;
    }
    bert_shape shape = *ids;
    bert_shape per_sequence = {.rank = 1, .dims = {ids->dims[0]}};
    BERT_TRY(bert_shape_append(in, &shape, width));
    bert_infer_give(in, 0, dtype, &shape);
    bert_infer_give(in, 1, BERT_INT32, &per_sequence);
    bert_infer_give(in, 2, dtype, &shape);
    return BERT_OK;
}

/* ---- Reference ------------------------------------------------------------------------------------------------------
 */

/* Element of a table, gamma or beta, in its scale's type if it is quantized. */
static double parameter_at(const bert_reference_call *call, const operands *o, int32_t which, int64_t index) {
    const bert_tensor *tensor = &call->inputs[o->parameter[which]];
    if (o->scale[which] < 0) return bert_load(tensor, index);
    const bert_tensor *scale = &call->inputs[o->scale[which]];
    int64_t zero = (int64_t)bert_load_integer(&call->inputs[o->zero[which]], 0);
    double difference = (double)((int64_t)bert_load_integer(tensor, index) - zero);
    return bert_rounded(scale->dtype, difference * bert_load(scale, 0));
}

/* Adds row `id` of a table. */
static bert_status add_row(const bert_reference_call *call, const operands *o, int32_t which, int64_t id, int64_t width,
                           double *sum) {
    static const char *const names[] = {"word", "position", "segment"};
    int64_t rows = call->inputs[o->parameter[which]].dims[0];
    if (id < 0 || id >= rows) {
        return bert_fail(call->error, BERT_INVALID_INPUT, "a %s id is %" PRId64 ", outside a table of %" PRId64 " rows",
                         names[which], id, rows);
    }
    for (int64_t k = 0; k < width; k++) sum[k] += parameter_at(call, o, which, id * width + k);
    return BERT_OK;
}

/* Sum of the rows for token (i, j). */
static bert_status sum_rows(const bert_reference_call *call, const operands *o, int64_t i, int64_t j, double *sum) {
    const bert_tensor *y = &call->outputs[0];
    const bert_tensor *position_ids = bert_call_input(call, o->position_ids);
    int64_t length = y->dims[1];
    int64_t width = y->dims[2];
    int64_t position = j;
    if (position_ids) {
        position = (int64_t)bert_load_integer(position_ids, (position_ids->dims[0] == 1 ? 0 : i) * length + j);
    }
    for (int64_t k = 0; k < width; k++) sum[k] = 0;
    BERT_TRY(add_row(call, o, WORD, (int64_t)bert_load_integer(&call->inputs[0], i * length + j), width, sum));
    BERT_TRY(add_row(call, o, POSITION, position, width, sum));
    if (!bert_call_has_input(call, 1)) return BERT_OK;
    return add_row(call, o, SEGMENT, (int64_t)bert_load_integer(&call->inputs[1], i * length + j), width, sum);
}

/* How many elements of a sequence's mask are 1, which for right padding is its length; 0 without a mask. */
static void count_mask(const bert_reference_call *call, int32_t mask_input) {
    const bert_tensor *mask = bert_call_input(call, mask_input);
    const bert_tensor *counts = bert_call_output(call, 1);
    for (int64_t i = 0; counts && i < counts->dims[0]; i++) {
        int64_t count = 0;
        for (int64_t j = 0; mask && j < mask->dims[1]; j++) {
            count += bert_load_integer(mask, i * mask->dims[1] + j) == 1;
        }
        bert_store_integer(counts, i, count);
    }
}

bert_status bert_reference_embed_layer_normalization(const bert_reference_call *call) {
    operands o = operands_of(call->op->id);
    const bert_tensor *y = &call->outputs[0];
    const bert_tensor *sums = bert_call_output(call, 2);
    double epsilon = BERT_CALL_FLOAT(call, "epsilon", 1e-12F);
    int64_t width = y->dims[2];
    double *sum = call->workspace;
    for (int64_t row = 0; row < y->dims[0] * y->dims[1]; row++) {
        BERT_TRY(sum_rows(call, &o, row / y->dims[1], row % y->dims[1], sum));
        if (sums) bert_store_row(sums, row * width, width, sum);
        bert_row_statistics statistics = bert_normalize_statistics(sum, width, epsilon, false);
        for (int64_t k = 0; k < width; k++) {
            double value = (sum[k] - statistics.mean) * statistics.inverse_deviation;
            value = value * parameter_at(call, &o, GAMMA, k) + parameter_at(call, &o, BETA, k);
            bert_store(y, row * width + k, value);
        }
    }
    count_mask(call, o.mask);
    return BERT_OK;
}

size_t bert_workspace_embed_layer_normalization(const bert_op_node *node) {
    size_t bytes;
    return bert_size_multiply((size_t)node->outputs[0].dims[2], sizeof(double), &bytes) ? bytes : SIZE_MAX;
}
