/* com.microsoft's Attention, QAttention and PackedAttention, as far as passes leave them: one product that projects Q,
 * K and V, then attention over them. */
#include "cuda/ops/tokens.h"
#include "cuda/plan/attend.h"
#include "cuda/plan/integer_product.h"

#include <float.h>
#include <string.h>

/* Widths of Q, K and V in the projection. Q and K have the same. */
typedef struct widths {
    int64_t q, v, all;
} widths;

static widths widths_of(const bert_op_node *node, int64_t columns) {
    size_t count = 0;
    const int64_t *listed = BERT_NODE_INTS(node, "qkv_hidden_sizes", &count);
    if (count == 3) return (widths){listed[0], listed[2], columns};
    return (widths){columns / 3, columns / 3, columns};
}

/* Q, K and V side by side in `projected` [batch, queries, all]. */
static bert_cuda_attend describe_projected(const bert_op_node *node, const bert_tensor *projected) {
    const int64_t rows = projected->dims[1], heads = BERT_NODE_INT(node, "num_heads", 1);
    const widths w = widths_of(node, projected->dims[2]);
    const int64_t depth = w.q / heads, value_depth = w.v / heads;
    return (bert_cuda_attend){
        .dtype = projected->dtype,
        .batch = projected->dims[0],
        .heads = heads,
        .shared = heads,
        .queries = rows,
        .keys = rows,
        .q = {bert_cuda_heads_in_rows(projected, rows, w.all, depth, 0), .depth = depth},
        .k = {bert_cuda_heads_in_rows(projected, rows, w.all, depth, w.q), .depth = depth},
        .v = {bert_cuda_heads_in_rows(projected, rows, w.all, value_depth, 2 * w.q), .depth = value_depth},
        .scale = bert_cuda_attend_scale(node, 0, depth),
        .y_batch = rows * w.v,
        .y_head = value_depth,
        .y_row = w.v};
}

/* ---- Attention and QAttention ------------------------------------------------------------------------------------ */

enum { X, WEIGHT, BIAS };

/* Where the others stand; -1 for what an operator doesn't have. */
typedef struct places {
    int32_t x_scale, weight_scale, mask, x_zero, weight_zero, past, scores_bias;
} places;

/* By the code of the row: whether it is QAttention. */
static const places places_of[] = {{-1, -1, 3, -1, -1, 4, 5}, {3, 4, 5, 6, 7, 8, -1}};

/* What the projection makes, without its memory. */
static bert_tensor projection_of(const bert_cuda_operands *o) {
    const bert_tensor *x = &o->inputs[X];
    return (bert_tensor){
        .dtype = o->outputs[0].dtype, .rank = 3, .dims = {x->dims[0], x->dims[1], o->inputs[WEIGHT].dims[1]}};
}

static bert_cuda_attend describe_attention(const bert_op_node *node, int32_t code, const bert_cuda_operands *o,
                                           const bert_tensor *projected) {
    const places *at = &places_of[code];
    const bert_tensor *past = bert_cuda_operand_at(o->inputs, at->past);
    const bert_tensor *present = bert_cuda_operand_at(o->outputs, 1);
    bert_cuda_attend a = describe_projected(node, projected);
    const size_t size = bert_cuda_dtype_size(a.dtype);
    a.y = o->outputs[0].data;
    if (past) { /* [2, batch, heads, past, depth] */
        a.past = past->dims[3];
        a.keys += a.past;
        a.k.past = past->data;
        if (past->data) a.v.past = (const char *)past->data + (size_t)(a.batch * a.heads * a.past * a.k.depth) * size;
    }
    if (present) {
        a.k.gives_present = a.v.gives_present = true;
        a.k.present = present->data;
        if (present->data)
            a.v.present = (char *)present->data + (size_t)(a.batch * a.heads * a.keys * a.k.depth) * size;
    }
    bert_cuda_attend_mask(&a, bert_cuda_operand_at(o->inputs, at->mask),
                          BERT_NODE_FLOAT(node, "mask_filter_value", -10000.0F));
    bert_cuda_attend_bias(&a, bert_cuda_operand_at(o->inputs, at->scores_bias));
    if (BERT_NODE_INT(node, "unidirectional", 0)) bert_cuda_attend_causal(&a, -FLT_MAX);
    return a;
}

static bert_cuda_integer_product describe_product(const bert_cuda_operands *o, const bert_tensor *projected) {
    const places *at = &places_of[1];
    return (bert_cuda_integer_product){.a = o->inputs[X],
                                       .b = o->inputs[WEIGHT],
                                       .y = *projected,
                                       .a_zero = bert_cuda_operand_at(o->inputs, at->x_zero),
                                       .b_zero = bert_cuda_operand_at(o->inputs, at->weight_zero),
                                       .a_scale = &o->inputs[at->x_scale],
                                       .b_scale = &o->inputs[at->weight_scale],
                                       .bias = &o->inputs[BIAS],
                                       .alpha = 1};
}

/* Of QAttention. */
static const bert_cuda_product_floats product_floats = {{3, 4, BIAS, -1}};

bert_status bert_cuda_plan_ms_attention(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    const int32_t code = planner->state->op->code;
    BERT_CUDA_TRY(bert_cuda_want_float(planner, code ? BIAS : X));
    if (code) BERT_CUDA_TRY(bert_cuda_plan_product_floats(planner, product_floats));
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_cuda_operands operands = bert_cuda_planned_operands(planner);
    const bert_tensor projected = projection_of(&operands);
    const bert_cuda_attend attend = describe_attention(node, code, &operands, &projected);
    BERT_CUDA_TRY(bert_cuda_reserve(planner, bert_cuda_elements(&projected), bert_cuda_dtype_size(projected.dtype)));
    if (code) {
        const bert_cuda_integer_product product = describe_product(&operands, &projected);
        BERT_CUDA_TRY(bert_cuda_integer_product_reserve(planner, &product));
    }
    return bert_cuda_attend_reserve(planner, &attend);
}

/* x W + bias. */
static bert_status project(const bert_cuda_call *call, const bert_tensor *projected) {
    const bert_tensor *x = &call->inputs[X], *weight = &call->inputs[WEIGHT];
    bert_cuda_gemm_args args =
        bert_cuda_product_of_rows(call, x, weight->data, false, weight->dims[1], projected->data);
    args.cold_b = bert_cuda_is_cold(call, WEIGHT, args.m);
    return bert_cuda_multiply_biased(call, &args, projected->dtype, bert_cuda_input_data(call, BIAS));
}

bert_status bert_cuda_run_ms_attention(const bert_cuda_call *call) {
    const int32_t code = call->node->op->code;
    const bert_cuda_operands operands = bert_cuda_called_operands(call);
    bert_tensor projected = projection_of(&operands);
    void *workspace = call->workspace;
    projected.data = bert_cuda_take(&workspace, bert_cuda_elements(&projected), bert_cuda_dtype_size(projected.dtype));
    if (code) {
        const bert_cuda_integer_product product = describe_product(&operands, &projected);
        BERT_CUDA_TRY(bert_cuda_integer_product_run(call, &product, &workspace));
    } else {
        BERT_CUDA_TRY(project(call, &projected));
    }
    const bert_cuda_attend attend = describe_attention(&call->node->node, code, &operands, &projected);
    return bert_cuda_attend_run(call, &attend, &workspace);
}

/* ---- PackedAttention --------------------------------------------------------------------------------------------- */

enum { OFFSETS = 3, STARTS, PACKED_BIAS };

bert_status bert_cuda_plan_packed_attention(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    BERT_CUDA_TRY(bert_cuda_want_float(planner, X));
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_tensor_desc *x = &node->inputs[X];
    const size_t size = bert_cuda_dtype_size(bert_cuda_stored(planner->prepared, x->dtype));
    BERT_CUDA_TRY(bert_cuda_reserve(planner, bert_cuda_times(x->dims[0], node->inputs[WEIGHT].dims[1]), size));
    BERT_CUDA_TRY(bert_cuda_reserve(planner, node->inputs[STARTS].dims[0], sizeof(int32_t)));
    return bert_cuda_want_reports(planner);
}

bert_status bert_cuda_run_packed_attention(const bert_cuda_call *call) {
    const bert_tensor *x = &call->inputs[X], *starts = &call->inputs[STARTS];
    const bert_tensor *bias = bert_cuda_input(call, PACKED_BIAS);
    const int64_t columns = call->inputs[WEIGHT].dims[1], longest = call->inputs[OFFSETS].dims[1];
    bert_tensor projected = {.dtype = x->dtype, .rank = 3, .dims = {1, x->dims[0], columns}};
    void *workspace = call->workspace;
    projected.data = bert_cuda_take(&workspace, bert_cuda_elements(&projected), bert_cuda_dtype_size(x->dtype));
    int32_t *checked = bert_cuda_take(&workspace, starts->dims[0], sizeof *checked);
    const bert_cuda_offsets_args offsets = {.sequences = starts->dims[0] - 1,
                                            .tokens = x->dims[0],
                                            .longest = longest,
                                            .offsets = starts->data,
                                            .checked = checked,
                                            .check = bert_cuda_check_of(call),
                                            .input = STARTS};
    BERT_CUDA_TRY(project(call, &projected));
    BERT_CUDA_TRY(bert_cuda_launched(call, bert_cuda_check_offsets(&offsets, call->context->stream), "check_offsets"));
    const bert_cuda_attend a = describe_projected(&call->node->node, &projected);
    bert_cuda_attention_args args = {.dtype = a.dtype,
                                     .batch = offsets.sequences,
                                     .heads = a.heads,
                                     .depth = a.q.depth,
                                     .value_depth = a.v.depth,
                                     .queries = longest,
                                     .keys = longest,
                                     .q = a.q.heads,
                                     .k = a.k.heads,
                                     .v = a.v.heads,
                                     .y = call->outputs[0].data,
                                     .y_head = a.y_head,
                                     .y_row = a.y_row,
                                     .offsets = checked,
                                     .scale = a.scale};
    if (bias) {
        args.bias = bias->data;
        bert_cuda_attend_strides(bias, args.bias_at);
    }
    return bert_cuda_launched(call, bert_cuda_attention(&args, call->context->stream), "attention");
}
