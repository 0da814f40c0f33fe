/*
 * com.microsoft's EmbedLayerNormalization and QEmbedLayerNormalization, as far as passes leave them (that is, where the
 * sum is asked for, or without passes): rows of each table, made floats where they are bytes, their sum and its
 * LayerNorm. With bf16 all that is computed in float32, from parameters (or their scales) of float32, and y and the sum
 * are given in halves.
 */
#include "cuda/ops/gather.h"
#include "cuda/ops/layer_norm.h"
#include "cuda/ops/move.h"
#include "cuda/ops/reduce.h"
#include "cuda/plan/plan.h"

#include <string.h>

enum { WORD, POSITION, SEGMENT, GAMMA, BETA, PARAMETERS };
enum { Y, MASK_INDEX, SUM };
enum { IDS, SEGMENT_IDS, FIRST_PARAMETER, MASK = 7, POSITION_IDS = 8, FIRST_SCALE = 8, FIRST_ZERO_POINT = 13 };

/* By the code of the row: whether parameters are bytes. What stays float32 are their scales, or else they themselves;
 * the node's flag: all of these are there, as float32. */
static bool is_quantized(const bert_cuda_op *op) {
    return op->code != 0;
}

/* What a run keeps in the workspace, in this order: rows of the three tables as they are stored, gathered; then the
 * three of them, gamma and beta as floats; then the mask. */
typedef struct sizes {
    int64_t tokens, width;
    bert_dtype stored, computed; /* of rows of tables, and of what is summed and normalized */
    bool segments;
} sizes;

static sizes sizes_of(const bert_cuda_node *node, const bert_cuda_operands *o) {
    const bert_tensor *ids = &o->inputs[IDS], *table = &o->inputs[FIRST_PARAMETER];
    const bert_dtype computed = node->flag ? BERT_FLOAT : o->outputs[Y].dtype;
    return (sizes){.tokens = bert_cuda_elements(ids),
                   .width = table->dims[1],
                   .stored = is_quantized(node->op) ? table->dtype : computed,
                   .computed = computed,
                   .segments = bert_cuda_operand_at(o->inputs, SEGMENT_IDS) != NULL};
}

/* ---- Planning ---------------------------------------------------------------------------------------------------- */

/* A kernel compares with it. */
static const int32_t one = 1;

bert_status bert_cuda_plan_embed_layer_norm(const bert_cuda_planner *planner) {
    const bool quantized = is_quantized(planner->state->op);
    const int32_t first = quantized ? FIRST_SCALE : FIRST_PARAMETER;
    const int32_t floats[] = {first, first + 1, first + 2, first + 3, first + 4};
    BERT_CUDA_TRY(bert_cuda_want_float(planner, first));
    planner->state->flag = bert_cuda_stay_floats(planner, floats, PARAMETERS);
    for (int i = WORD; (quantized || planner->state->flag) && i < PARAMETERS; i++)
        BERT_CUDA_TRY(bert_cuda_keep_floats(planner, floats[i]));
    if (planner->state->flag) bert_cuda_give_wide(planner, Y);
    if (planner->state->flag) bert_cuda_give_wide(planner, SUM);
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_cuda_operands operands = bert_cuda_planned_operands(planner);
    const sizes s = sizes_of(planner->state, &operands);
    const size_t stored = bert_cuda_dtype_size(s.stored), computed = bert_cuda_dtype_size(s.computed);
    const int64_t elements = bert_cuda_times(s.tokens, s.width);
    for (int i = WORD; i <= SEGMENT; i++) BERT_CUDA_TRY(bert_cuda_reserve(planner, elements, stored));
    for (int i = WORD; quantized && i < PARAMETERS; i++)
        BERT_CUDA_TRY(bert_cuda_reserve(planner, i < GAMMA ? elements : s.width, computed));
    BERT_CUDA_TRY(bert_cuda_reserve(planner, s.tokens, sizeof(bool)));
    BERT_CUDA_TRY(bert_cuda_reserve(planner, s.tokens, sizeof(int32_t)));
    BERT_CUDA_TRY(bert_cuda_own(planner, &one, sizeof one));
    return bert_cuda_want_reports(planner);
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

static bert_tensor parameter(const bert_cuda_call *call, int which) {
    if (is_quantized(call->node->op)) return call->inputs[FIRST_PARAMETER + which];
    return bert_cuda_kept_floats(call, FIRST_PARAMETER + which);
}

/* Rows of a table at ids, which are an input. */
static bert_status gather_rows(const bert_cuda_call *call, int which, int32_t ids, const sizes *s, void *out) {
    const bert_tensor table = parameter(call, which);
    const bert_cuda_gather_args args = {.element_bytes = (int32_t)bert_cuda_dtype_size(s->stored),
                                        .before = 1,
                                        .bound = table.dims[0],
                                        .row = s->width,
                                        .data = table.data,
                                        .indices = call->inputs[ids].data,
                                        .index_type = BERT_INT32,
                                        .count = bert_cuda_elements(&call->inputs[ids]),
                                        .y = out,
                                        .check = bert_cuda_check_of(call),
                                        .input = ids};
    if (args.bound == 0)
        return call->node->prepared->device->host->fail(call->error, BERT_INVALID_INPUT,
                                                        "there are ids, and a table of 0 rows");
    return bert_cuda_launched(call, bert_cuda_gather(&args, call->context->stream), "gather");
}

/* The first rows of a table, or those that were gathered for one sequence, for each sequence. */
static bert_status repeat_rows(const bert_cuda_call *call, const void *rows, const sizes *s, void *out) {
    const int64_t batch = call->outputs[Y].dims[0], row = call->outputs[Y].dims[1] * s->width;
    const bert_cuda_move_args args = {.element_bytes = (int32_t)bert_cuda_dtype_size(s->stored),
                                      .rank = 2,
                                      .dims = {batch, row},
                                      .from = rows,
                                      .from_strides = {0, 1},
                                      .to = out,
                                      .to_strides = {row, 1}};
    return bert_cuda_launched(call, bert_cuda_move(&args, call->context->stream), "move");
}

/* Rows of the position table for all tokens. `spare`: memory of as many elements. */
static bert_status position_rows(const bert_cuda_call *call, const sizes *s, void *out, void *spare) {
    const bert_tensor table = parameter(call, POSITION);
    const bert_tensor *ids = is_quantized(call->node->op) ? NULL : bert_cuda_input(call, POSITION_IDS);
    const int64_t length = call->outputs[Y].dims[1];
    if (ids && bert_cuda_elements(ids) == s->tokens) return gather_rows(call, POSITION, POSITION_IDS, s, out);
    if (ids) {
        BERT_CUDA_TRY(gather_rows(call, POSITION, POSITION_IDS, s, spare));
        return repeat_rows(call, spare, s, out);
    }
    if (length > table.dims[0])
        return call->node->prepared->device->host->fail(call->error, BERT_INVALID_INPUT,
                                                        "%lld tokens, and a table of %lld positions", (long long)length,
                                                        (long long)table.dims[0]);
    return repeat_rows(call, table.data, s, out);
}

/* Bytes of a parameter as floats. */
static bert_status dequantize(const bert_cuda_call *call, int which, const void *x, int64_t count,
                              const bert_tensor *out) {
    const bert_tensor *table = &call->inputs[FIRST_PARAMETER + which];
    const bert_tensor scale = bert_cuda_kept_floats(call, FIRST_SCALE + which);
    const bert_cuda_elementwise_args args = {
        .op = BERT_CUDA_DEQUANTIZE,
        .rank = 1,
        .dims = {count},
        .inputs = {{x, table->dtype, {1}},
                   {scale.data, scale.dtype, {0}},
                   {call->inputs[FIRST_ZERO_POINT + which].data, table->dtype, {0}}},
        .dtype = out->dtype,
        .y = out->data};
    return bert_cuda_launch_elementwise(call, &args);
}

/* The parameters as floats, in the memory of `parameters` or where they are. */
static bert_status make_floats(const bert_cuda_call *call, const sizes *s, void **workspace,
                               const void *parameters[PARAMETERS]) {
    for (int i = GAMMA; i < PARAMETERS; i++) parameters[i] = parameter(call, i).data;
    for (int i = WORD; is_quantized(call->node->op) && i < PARAMETERS; i++) {
        const int64_t count = i < GAMMA ? s->tokens * s->width : s->width;
        void *piece = bert_cuda_take(workspace, count, bert_cuda_dtype_size(s->computed));
        if (i == SEGMENT && !s->segments) continue;
        const bert_tensor floats = {.dtype = s->computed, .data = piece};
        BERT_CUDA_TRY(dequantize(call, i, parameters[i], count, &floats));
        parameters[i] = piece;
    }
    return BERT_OK;
}

/* How many elements of a sequence's mask are 1. */
static bert_status count_mask(const bert_cuda_call *call, const sizes *s, void **workspace) {
    const bert_tensor *mask = bert_cuda_input(call, MASK);
    void *counts = bert_cuda_output_data(call, MASK_INDEX);
    void *equal = bert_cuda_take(workspace, s->tokens, sizeof(bool));
    void *numbers = bert_cuda_take(workspace, s->tokens, sizeof(int32_t));
    if (!counts) return BERT_OK;
    const bert_cuda_pad_args zeros = {
        .element_bytes = sizeof(int32_t), .rank = 1, .dims = {call->outputs[MASK_INDEX].dims[0]}, .to = counts};
    if (!mask) return bert_cuda_launched(call, bert_cuda_pad(&zeros, call->context->stream), "pad");
    const bert_cuda_elementwise_args compare = {
        .op = BERT_CUDA_EQUAL,
        .rank = 1,
        .dims = {s->tokens},
        .inputs = {{mask->data, BERT_INT32, {1}}, {call->node->own, BERT_INT32, {0}}},
        .dtype = BERT_BOOL,
        .y = equal};
    const bert_cuda_elementwise_args convert = {.op = BERT_CUDA_CAST,
                                                .rank = 1,
                                                .dims = {s->tokens},
                                                .inputs = {{equal, BERT_BOOL, {1}}},
                                                .dtype = BERT_INT32,
                                                .y = numbers};
    const bert_cuda_reduce_args sum = {.reduction = BERT_CUDA_REDUCE_SUM,
                                       .dtype = BERT_INT32,
                                       .rank = 2,
                                       .dims = {mask->dims[0], mask->dims[1]},
                                       .axes = 1u << 1,
                                       .x = numbers,
                                       .y = counts};
    BERT_CUDA_TRY(bert_cuda_launch_elementwise(call, &compare));
    BERT_CUDA_TRY(bert_cuda_launch_elementwise(call, &convert));
    return bert_cuda_launched(call, bert_cuda_reduce(&sum, call->context->stream), "reduce");
}

/* Of the rows of words and positions, to which segments were added. Float32 takes their memory before it is halved. */
static bert_status normalize(const bert_cuda_call *call, const sizes *s, const void *const parameters[PARAMETERS]) {
    bert_tensor y = call->outputs[Y], sum = y;
    sum.data = bert_cuda_output_data(call, SUM);
    y.dtype = sum.dtype = s->computed;
    if (call->node->flag) y.data = (void *)parameters[WORD];
    if (call->node->flag && sum.data) sum.data = (void *)parameters[POSITION];
    const bert_cuda_layer_norm_args norm = {.dtype = s->computed,
                                            .rows = s->tokens,
                                            .width = s->width,
                                            .x = parameters[WORD],
                                            .residual = parameters[POSITION],
                                            .gamma = parameters[GAMMA],
                                            .beta = parameters[BETA],
                                            .sum = sum.data,
                                            .y = y.data,
                                            .epsilon = BERT_NODE_FLOAT(&call->node->node, "epsilon", 1e-12F)};
    BERT_CUDA_TRY(bert_cuda_launched(call, bert_cuda_layer_norm(&norm, call->context->stream), "layer_norm"));
    if (!call->node->flag) return BERT_OK;
    BERT_CUDA_TRY(bert_cuda_give(call, &sum, SUM));
    return bert_cuda_give(call, &y, Y);
}

bert_status bert_cuda_run_embed_layer_norm(const bert_cuda_call *call) {
    const bert_cuda_operands operands = bert_cuda_called_operands(call);
    const sizes s = sizes_of(call->node, &operands);
    void *workspace = call->workspace, *rows[3];
    const void *parameters[PARAMETERS];
    const int64_t elements = s.tokens * s.width;
    for (int i = WORD; i <= SEGMENT; i++)
        parameters[i] = rows[i] = bert_cuda_take(&workspace, elements, bert_cuda_dtype_size(s.stored));
    if (elements == 0) return count_mask(call, &s, &workspace);
    BERT_CUDA_TRY(position_rows(call, &s, rows[POSITION], rows[SEGMENT]));
    BERT_CUDA_TRY(gather_rows(call, WORD, IDS, &s, rows[WORD]));
    if (s.segments) BERT_CUDA_TRY(gather_rows(call, SEGMENT, SEGMENT_IDS, &s, rows[SEGMENT]));
    BERT_CUDA_TRY(make_floats(call, &s, &workspace, parameters));
    if (s.segments) {
        const bert_cuda_elementwise_args add = {
            .op = BERT_CUDA_ADD,
            .rank = 1,
            .dims = {elements},
            .inputs = {{parameters[POSITION], s.computed, {1}}, {parameters[SEGMENT], s.computed, {1}}},
            .dtype = s.computed,
            .y = (void *)parameters[POSITION]};
        BERT_CUDA_TRY(bert_cuda_launch_elementwise(call, &add));
    }
    BERT_CUDA_TRY(normalize(call, &s, parameters));
    return count_mask(call, &s, &workspace);
}
