/*
 * com.microsoft's EmbedLayerNormalization and QEmbedLayerNormalization, as far as passes leave them (that is, where the
 * sum is asked for, or without passes): rows of each table, made floats where they are bytes, their sum and its
 * LayerNorm.
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

/* By the code of the row: whether parameters are bytes. */
static bool is_quantized(const bert_cuda_op *op) {
    return op->code != 0;
}

/* What a run keeps in the workspace, in this order: rows of the three tables as they are stored, gathered; then the
 * three of them, gamma and beta as floats; then the mask. */
typedef struct sizes {
    int64_t tokens, width;
    size_t stored, computed; /* bytes of an element of a table, of a float */
    bool segments;
} sizes;

static sizes sizes_of(const bert_cuda_operands *o) {
    const bert_tensor *ids = &o->inputs[IDS], *table = &o->inputs[FIRST_PARAMETER];
    return (sizes){.tokens = bert_cuda_elements(ids),
                   .width = table->dims[1],
                   .stored = bert_cuda_dtype_size(table->dtype),
                   .computed = bert_cuda_dtype_size(o->outputs[Y].dtype),
                   .segments = bert_cuda_operand_at(o->inputs, SEGMENT_IDS) != NULL};
}

/* ---- Planning ---------------------------------------------------------------------------------------------------- */

/* A kernel compares with it. */
static const int32_t one = 1;

bert_status bert_cuda_plan_embed_layer_norm(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    const bool quantized = is_quantized(planner->state->op);
    if (!bert_cuda_is_float(node, quantized ? FIRST_SCALE : FIRST_PARAMETER))
        return bert_cuda_leave(planner, "computes in float32, float16 and bfloat16 only");
    for (int i = WORD; quantized && i < PARAMETERS; i++)
        BERT_CUDA_TRY(bert_cuda_keep_floats(planner, FIRST_SCALE + i, i));
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_cuda_operands operands = bert_cuda_planned_operands(planner);
    const sizes s = sizes_of(&operands);
    int64_t elements;
    if (__builtin_mul_overflow(s.tokens, s.width, &elements))
        return bert_cuda_leave(planner, "can't hold an input of this size");
    for (int i = WORD; i <= SEGMENT; i++) BERT_CUDA_TRY(bert_cuda_reserve(planner, elements, s.stored));
    for (int i = WORD; quantized && i < PARAMETERS; i++)
        BERT_CUDA_TRY(bert_cuda_reserve(planner, i < GAMMA ? elements : s.width, s.computed));
    BERT_CUDA_TRY(bert_cuda_reserve(planner, s.tokens, sizeof(bool)));
    BERT_CUDA_TRY(bert_cuda_reserve(planner, s.tokens, sizeof(int32_t)));
    BERT_CUDA_TRY(bert_cuda_own(planner, &one, sizeof one));
    return bert_cuda_want_reports(planner);
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

static bert_status compute(const bert_cuda_call *call, const bert_cuda_elementwise_args *args) {
    return bert_cuda_launched(call, bert_cuda_elementwise(args, call->context->stream), "elementwise");
}

/* Rows of a table at ids, which are an input. */
static bert_status gather_rows(const bert_cuda_call *call, int which, int32_t ids, const sizes *s, void *out) {
    const bert_tensor *table = &call->inputs[FIRST_PARAMETER + which];
    const bert_cuda_gather_args args = {.element_bytes = (int32_t)s->stored,
                                        .before = 1,
                                        .bound = table->dims[0],
                                        .row = s->width,
                                        .data = table->data,
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
    const bert_cuda_move_args args = {.element_bytes = (int32_t)s->stored,
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
    const bert_tensor *table = &call->inputs[FIRST_PARAMETER + POSITION];
    const bert_tensor *ids = is_quantized(call->node->op) ? NULL : bert_cuda_input(call, POSITION_IDS);
    const int64_t length = call->outputs[Y].dims[1];
    if (ids && bert_cuda_elements(ids) == s->tokens) return gather_rows(call, POSITION, POSITION_IDS, s, out);
    if (ids) {
        BERT_CUDA_TRY(gather_rows(call, POSITION, POSITION_IDS, s, spare));
        return repeat_rows(call, spare, s, out);
    }
    if (length > table->dims[0])
        return call->node->prepared->device->host->fail(call->error, BERT_INVALID_INPUT,
                                                        "%lld tokens, and a table of %lld positions", (long long)length,
                                                        (long long)table->dims[0]);
    return repeat_rows(call, table->data, s, out);
}

/* Bytes of a parameter as floats. */
static bert_status dequantize(const bert_cuda_call *call, int which, const void *x, int64_t count, void *out) {
    const bert_tensor *table = &call->inputs[FIRST_PARAMETER + which];
    const bert_tensor scale = bert_cuda_kept_floats(call, FIRST_SCALE + which, which);
    const bert_cuda_elementwise_args args = {
        .op = BERT_CUDA_DEQUANTIZE,
        .rank = 1,
        .dims = {count},
        .inputs = {{x, table->dtype, {1}},
                   {scale.data, scale.dtype, {0}},
                   {call->inputs[FIRST_ZERO_POINT + which].data, table->dtype, {0}}},
        .dtype = call->outputs[Y].dtype,
        .y = out};
    return compute(call, &args);
}

/* The parameters as floats, in the memory of `parameters` or where they are. */
static bert_status make_floats(const bert_cuda_call *call, const sizes *s, void **workspace,
                               const void *parameters[PARAMETERS]) {
    for (int i = GAMMA; i < PARAMETERS; i++) parameters[i] = call->inputs[FIRST_PARAMETER + i].data;
    for (int i = WORD; is_quantized(call->node->op) && i < PARAMETERS; i++) {
        const int64_t count = i < GAMMA ? s->tokens * s->width : s->width;
        void *piece = bert_cuda_take(workspace, count, s->computed);
        if (i == SEGMENT && !s->segments) continue;
        BERT_CUDA_TRY(dequantize(call, i, parameters[i], count, piece));
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
    BERT_CUDA_TRY(compute(call, &compare));
    BERT_CUDA_TRY(compute(call, &convert));
    return bert_cuda_launched(call, bert_cuda_reduce(&sum, call->context->stream), "reduce");
}

bert_status bert_cuda_run_embed_layer_norm(const bert_cuda_call *call) {
    const bert_cuda_operands operands = bert_cuda_called_operands(call);
    const sizes s = sizes_of(&operands);
    const bert_tensor *y = &call->outputs[Y];
    void *workspace = call->workspace, *rows[3];
    const void *parameters[PARAMETERS];
    const int64_t elements = s.tokens * s.width;
    for (int i = WORD; i <= SEGMENT; i++) parameters[i] = rows[i] = bert_cuda_take(&workspace, elements, s.stored);
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
            .inputs = {{parameters[POSITION], y->dtype, {1}}, {parameters[SEGMENT], y->dtype, {1}}},
            .dtype = y->dtype,
            .y = (void *)parameters[POSITION]};
        BERT_CUDA_TRY(compute(call, &add));
    }
    const bert_cuda_layer_norm_args norm = {.dtype = y->dtype,
                                            .rows = s.tokens,
                                            .width = s.width,
                                            .x = parameters[WORD],
                                            .residual = parameters[POSITION],
                                            .gamma = parameters[GAMMA],
                                            .beta = parameters[BETA],
                                            .sum = bert_cuda_output_data(call, SUM),
                                            .y = y->data,
                                            .epsilon = BERT_NODE_FLOAT(&call->node->node, "epsilon", 1e-12F)};
    BERT_CUDA_TRY(bert_cuda_launched(call, bert_cuda_layer_norm(&norm, call->context->stream), "layer_norm"));
    return count_mask(call, &s, &workspace);
}
