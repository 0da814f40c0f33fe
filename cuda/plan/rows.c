/* Embedding, and LayerNorm in its spellings. */
#include "core/graph/canonical.h"
#include "cuda/ops/embedding.h"
#include "cuda/ops/layer_norm.h"
#include "cuda/plan/composed_norm.h"

#include <stdio.h>
#include <string.h>

/* ---- Parameters of LayerNorm ------------------------------------------------------------------------------------- */

/* Gamma, beta and bias, as far as they are there, stay float32 where the planner has set `flag`. */
static bert_status keep_parameters(const bert_cuda_planner *planner, const int32_t inputs[3]) {
    for (int i = 0; planner->state->flag && i < 3; i++) BERT_CUDA_TRY(bert_cuda_keep_floats(planner, inputs[i]));
    return BERT_OK;
}

static const void *parameter(const bert_cuda_call *call, int32_t input) {
    return bert_cuda_input(call, input) ? bert_cuda_kept_floats(call, input).data : NULL;
}

/* Whole rows are written, so that their ranges, or their bytes, come with them. */
static void give_rows(const bert_cuda_planner *planner) {
    planner->out->y_ranges = 1;
    planner->out->y_bytes = bert_cuda_row_width(&planner->node->outputs[0]);
}

/* ---- Embedding --------------------------------------------------------------------------------------------------- */

static const int32_t tables[] = {BERT_EMBEDDING_WORD_TABLE, BERT_EMBEDDING_POSITION_TABLE, BERT_EMBEDDING_TYPE_TABLE};

/* A table of bytes, its scale and its zero point. */
typedef struct byte_table {
    bert_dtype stored; /* what the device holds the table's numbers as */
    const bert_constant *table, *scale, *zero_point;
} byte_table;

static int64_t spread_at(const bert_constant *constant, int64_t row, int64_t column) {
    if (constant->rank < 2) return 0;
    return (constant->dims[0] == 1 ? 0 : row) * constant->dims[1] + (constant->dims[1] == 1 ? 0 : column);
}

/* (table - zero point) x scale, which has the type of the scale: what is stored has no more digits. */
static bert_status write_table(const void *argument, void *out, bert_error *error) {
    const byte_table *source = argument;
    const size_t size = bert_cuda_dtype_size(source->stored), scale_size = bert_cuda_dtype_size(source->scale->dtype);
    for (int64_t row = 0; row < source->table->dims[0]; row++) {
        for (int64_t column = 0; column < source->table->dims[1]; column++) {
            const int64_t at = row * source->table->dims[1] + column;
            const int64_t zero = source->zero_point ? bert_cuda_constant_int(source->zero_point,
                                                                             spread_at(source->zero_point, row, column))
                                                    : 0;
            float scale;
            bert_cuda_decode(source->scale->dtype, BERT_FLOAT, &scale,
                             source->scale->data + scale_size * (size_t)spread_at(source->scale, row, column), 1);
            const float value = (float)(bert_cuda_constant_int(source->table, at) - zero) * scale;
            bert_cuda_encode(source->stored, BERT_FLOAT, (char *)out + (size_t)at * size, &value, 1);
        }
    }
    return BERT_OK;
}

static bert_status pack_table(const bert_cuda_planner *planner, int which) {
    const int32_t table = tables[which];
    const bert_op_node *node = planner->node;
    const bert_dtype type = node->inputs[BERT_EMBEDDING_SCALE(table)].dtype;
    const bert_dtype stored = planner->state->flag ? BERT_FLOAT : bert_cuda_stored(planner->prepared, type);
    const byte_table source = {stored, bert_cuda_known(node, table), bert_cuda_known(node, BERT_EMBEDDING_SCALE(table)),
                               bert_cuda_known(node, BERT_EMBEDDING_ZERO_POINT(table))};
    if (!source.table || !source.table->id || !source.scale || !source.scale->id || type == BERT_DOUBLE ||
        (source.zero_point && !source.zero_point->id))
        return bert_cuda_leave(planner, "wants constant tables of bytes, with constant scales that are no double");
    planner->out->unread_inputs |= UINT64_C(1) << table | UINT64_C(3) << BERT_EMBEDDING_SCALE(table);
    if (planner->mode == BERT_PLAN_QUERY) return BERT_OK;
    char key[96];
    const int length = snprintf(key, sizeof key, "table %d %llu %llu %llu", (int)stored,
                                (unsigned long long)source.table->id, (unsigned long long)source.scale->id,
                                (unsigned long long)(source.zero_point ? source.zero_point->id : 0));
    const size_t bytes = source.table->bytes * bert_cuda_dtype_size(stored);
    return bert_cuda_pack(planner->prepared, key, (size_t)length, bytes, write_table, &source,
                          &planner->state->packed[which], planner->error);
}

bert_status bert_cuda_plan_embedding(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    const int32_t parameters[] = {BERT_EMBEDDING_GAMMA, BERT_EMBEDDING_BETA, -1};
    bool floats = bert_cuda_stay_floats(planner, parameters, 3); /* tables of bytes become whatever the others are */
    for (int i = 0; i < 3; i++) {
        const int32_t scale = BERT_EMBEDDING_SCALE(tables[i]);
        floats = floats && bert_cuda_stay_floats(planner, bert_cuda_node_has(node, scale) ? &scale : &tables[i], 1);
    }
    planner->state->flag = floats;
    for (int i = 0; i < 3; i++) {
        if (!bert_cuda_node_has(node, tables[i])) continue;
        const bert_dtype ids = node->inputs[tables[i] - 1].dtype;
        if (ids != BERT_INT32 && ids != BERT_INT64) return bert_cuda_leave(planner, "takes ids of int32 or int64");
        if (bert_cuda_node_has(node, BERT_EMBEDDING_SCALE(tables[i])))
            BERT_CUDA_TRY(pack_table(planner, i));
        else if (!bert_cuda_is_float(node, tables[i]))
            return bert_cuda_leave(planner, "has no kernel for tables of this type");
        else if (floats)
            BERT_CUDA_TRY(bert_cuda_keep_floats(planner, tables[i]));
    }
    BERT_CUDA_TRY(keep_parameters(planner, parameters));
    bert_cuda_give_wide(planner, 0);
    give_rows(planner);
    return bert_cuda_want_reports(planner);
}

static bert_cuda_embedding_table table_of(const bert_cuda_call *call, int which) {
    const bert_tensor *ids = bert_cuda_input(call, tables[which] - 1);
    const bert_tensor *table = bert_cuda_input(call, tables[which]);
    if (!ids || !table) return (bert_cuda_embedding_table){0};
    const void *made = call->node->packed[which]; /* of bytes */
    return (bert_cuda_embedding_table){.ids = ids->data,
                                       .id_type = ids->dtype,
                                       .batch_stride = ids->dims[0] == 1 ? 0 : ids->dims[1],
                                       .token_stride = ids->dims[1] == 1 ? 0 : 1,
                                       .table = made ? made : parameter(call, tables[which]),
                                       .rows = table->dims[0]};
}

bert_status bert_cuda_run_embedding(const bert_cuda_call *call) {
    const bert_tensor *y = &call->outputs[0], *ids = &call->inputs[BERT_EMBEDDING_WORD_IDS];
    const bert_cuda_embedding_args args = {.dtype = y->dtype,
                                           .float_parameters = call->node->flag,
                                           .batch = ids->dims[0],
                                           .length = ids->dims[1],
                                           .width = y->dims[2],
                                           .word = table_of(call, 0),
                                           .type = table_of(call, 2),
                                           .position = table_of(call, 1),
                                           .gamma = parameter(call, BERT_EMBEDDING_GAMMA),
                                           .beta = parameter(call, BERT_EMBEDDING_BETA),
                                           .epsilon = BERT_NODE_FLOAT(&call->node->node, "epsilon", 1e-12F),
                                           .sources = bert_cuda_input_data(call, BERT_EMBEDDING_TOKENS),
                                           .tokens = y->dims[0] * y->dims[1],
                                           .y = y->data,
                                           .y_lower = bert_cuda_output_lower_halves(call, 0),
                                           .ranges = call->y_ranges,
                                           .e4m3 = call->y_e4m3,
                                           .y_unread = call->y_unread,
                                           .check = bert_cuda_check_of(call)};
    return bert_cuda_launched(call, bert_cuda_embedding(&args, call->context->stream), "embedding");
}

/* ---- LayerNorm --------------------------------------------------------------------------------------------------- */

/* Elements from dimension `first` on; -1 where they are not yet known. */
static int64_t known_count(const bert_tensor_desc *desc, int32_t first) {
    for (int32_t i = first; i < desc->rank; i++)
        if (desc->dims[i] < 0) return -1;
    return desc->rank < first ? -1 : bert_cuda_desc_count(desc, first, desc->rank);
}

/* Whether the kernel computes a LayerNormalization, as far as dimensions are known: of one type, gamma and beta of
 * exactly the dimensions from the axis on, statistics in float32. */
static bool suits_layer_norm(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    const bert_tensor_desc *x = &node->inputs[0];
    if (!bert_cuda_is_float(node, 0)) return false;
    const int64_t axis = BERT_NODE_INT(node, "axis", -1);
    const int64_t width = x->rank < 0 ? -1 : known_count(x, bert_cuda_axis(axis, x->rank));
    for (int32_t i = 1; i < node->input_count; i++) {
        if (!bert_cuda_node_has(node, i)) continue;
        const int64_t count = known_count(&node->inputs[i], 0);
        if (node->inputs[i].dtype != x->dtype || (count >= 0 && width >= 0 && count != width)) return false;
    }
    for (int32_t i = 1; i < node->output_count; i++) {
        if (!bert_cuda_node_gives(node, i)) continue;
        if (bert_cuda_stored(planner->prepared, node->outputs[i].dtype) != BERT_FLOAT) return false;
    }
    return true;
}

bert_status bert_cuda_plan_layer_norm(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    if (!suits_layer_norm(planner)) return bert_cuda_plan_composed_norm(planner, false);
    const int32_t parameters[] = {1, 2, -1};
    planner->state->flag = bert_cuda_stay_floats(planner, parameters, 3);
    BERT_CUDA_TRY(keep_parameters(planner, parameters));
    bert_cuda_give_wide(planner, 0);
    bert_cuda_offer_place(planner, 1);
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const int32_t rank = node->inputs[0].rank;
    if (bert_cuda_axis(BERT_NODE_INT(node, "axis", -1), rank) == rank - 1) give_rows(planner);
    return BERT_OK;
}

bert_status bert_cuda_run_layer_norm(const bert_cuda_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const int32_t axis = bert_cuda_axis(BERT_NODE_INT(&call->node->node, "axis", -1), x->rank);
    const bool simplified = call->node->op->code != 0;
    bert_cuda_layer_norm_args args = {.dtype = x->dtype,
                                      .float_parameters = call->node->flag,
                                      .rows = bert_cuda_count(x->dims, 0, axis),
                                      .width = bert_cuda_count(x->dims, axis, x->rank),
                                      .x = x->data,
                                      .gamma = parameter(call, 1),
                                      .beta = parameter(call, 2),
                                      .y = call->outputs[0].data,
                                      .x_lower = bert_cuda_lower_halves(call, 0),
                                      .y_lower = bert_cuda_output_lower_halves(call, 0),
                                      .ranges = call->y_ranges,
                                      .e4m3 = call->y_e4m3,
                                      .y_unread = call->y_unread,
                                      .epsilon = BERT_NODE_FLOAT(&call->node->node, "epsilon", 1e-5F),
                                      .simplified = simplified};
    args.mean = simplified ? NULL : bert_cuda_output_data(call, 1);
    args.deviation = bert_cuda_output_data(call, simplified ? 1 : 2);
    return bert_cuda_launched(call, bert_cuda_layer_norm(&args, call->context->stream), "layer_norm");
}

/* Of one type, the skip of the shape of the input. */
static bool suits_skip_layer_norm(const bert_op_node *node) {
    const bert_tensor_desc *x = &node->inputs[0], *skip = &node->inputs[1];
    if (!bert_cuda_is_float(node, 0)) return false;
    const int64_t count = x->rank < 0 ? -1 : known_count(x, 0), of_skip = skip->rank < 0 ? -1 : known_count(skip, 0);
    return count < 0 || of_skip < 0 || count == of_skip;
}

bert_status bert_cuda_plan_skip_layer_norm(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    if (!suits_skip_layer_norm(node)) return bert_cuda_plan_composed_norm(planner, true);
    const bert_cuda_skip_form form = bert_cuda_skip_form_of(node, planner->state->op->code);
    const int32_t parameters[] = {BERT_SKIP_GAMMA, form.beta, form.bias};
    planner->state->flag = bert_cuda_stay_floats(planner, parameters, 3);
    BERT_CUDA_TRY(keep_parameters(planner, parameters));
    bert_cuda_give_wide(planner, 0);
    bert_cuda_give_wide(planner, form.sum);
    bert_cuda_offer_place(planner, 2);
    if (planner->mode == BERT_PLAN_BIND) give_rows(planner);
    return BERT_OK;
}

bert_status bert_cuda_run_skip_layer_norm(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const bert_tensor *x = &call->inputs[0];
    const int32_t code = call->node->op->code;
    const bert_cuda_skip_form form = bert_cuda_skip_form_of(node, code);
    const bert_cuda_layer_norm_args args = {.dtype = x->dtype,
                                            .float_parameters = call->node->flag,
                                            .rows = bert_cuda_count(x->dims, 0, x->rank - 1),
                                            .width = x->dims[x->rank - 1],
                                            .x = x->data,
                                            .residual = call->inputs[1].data,
                                            .bias = parameter(call, form.bias),
                                            .gamma = parameter(call, BERT_SKIP_GAMMA),
                                            .beta = parameter(call, form.beta),
                                            .sum = bert_cuda_output_data(call, form.sum),
                                            .y = call->outputs[0].data,
                                            .x_lower = bert_cuda_lower_halves(call, BERT_SKIP_X),
                                            .residual_lower = bert_cuda_lower_halves(call, BERT_SKIP_SKIP),
                                            .sum_lower = bert_cuda_output_lower_halves(call, form.sum),
                                            .y_lower = bert_cuda_output_lower_halves(call, 0),
                                            .ranges = call->y_ranges,
                                            .e4m3 = call->y_e4m3,
                                            .y_unread = call->y_unread,
                                            .epsilon = BERT_NODE_FLOAT(node, "epsilon", 1e-12F),
                                            .simplified = form.simplified};
    return bert_cuda_launched(call, bert_cuda_layer_norm(&args, call->context->stream), "layer_norm");
}
