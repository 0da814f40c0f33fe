/* Operators of one element of each input: they differ by the code in their row. */
#include "cuda/ops/elementwise.h"

#include "cuda/ops/softmax.h"
#include "cuda/plan/plan.h"

#include <math.h>
#include <string.h>

static bert_cuda_elementwise_args args_for(const bert_cuda_call *call, bert_cuda_elementwise_op op) {
    bert_cuda_elementwise_args args = bert_cuda_elementwise_to(op, &call->outputs[0]);
    args.y_lower = bert_cuda_output_lower_halves(call, 0);
    return args;
}

static void set_tensor(bert_cuda_elementwise_args *args, int place, const bert_tensor *tensor) {
    args->inputs[place] = (bert_cuda_operand){.data = tensor->data, .dtype = tensor->dtype};
    bert_cuda_broadcast_strides(args->rank, tensor, args->inputs[place].strides);
}

static void set_input(const bert_cuda_call *call, bert_cuda_elementwise_args *args, int place, int32_t input) {
    const bert_tensor *tensor = bert_cuda_input(call, input);
    if (!tensor) return;
    set_tensor(args, place, tensor);
    args->inputs[place].lower = bert_cuda_lower_halves(call, input);
}

static bert_cuda_elementwise_op op_of(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const int32_t code = call->node->op->code;
    if (code == BERT_CUDA_GELU_OF && strcmp(BERT_NODE_STRING(node, "approximate", "none"), "tanh") == 0)
        return BERT_CUDA_GELU_TANH_OF;
    return (bert_cuda_elementwise_op)code;
}

bert_status bert_cuda_run_elementwise(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    bert_cuda_elementwise_args args = args_for(call, op_of(call));
    for (int32_t i = 0; i < node->input_count && i < 3; i++) set_input(call, &args, i, i);
    switch (args.op) {
    case BERT_CUDA_QUICK_GELU_OF:
        args.parameter[0] = BERT_NODE_FLOAT(node, "alpha", 1.702F);
        break;
    case BERT_CUDA_IS_INF:
        args.parameter[0] = (float)BERT_NODE_INT(node, "detect_negative", 1);
        args.parameter[1] = (float)BERT_NODE_INT(node, "detect_positive", 1);
        break;
    case BERT_CUDA_MOD:
        args.parameter[0] = (float)BERT_NODE_INT(node, "fmod", 0);
        break;
    default:
        break;
    }
    if (call->node->reporter >= 0) args.bad = &call->context->report->divided_by_zero;
    return bert_cuda_launch_elementwise(call, &args);
}

/* Whether this is where a model that passes left as it is adds to its residual: neither is a constant, or broadcast. */
static bool adds_residual(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    if (planner->mode != BERT_PLAN_BIND || planner->state->op->code != BERT_CUDA_ADD) return false;
    for (int i = 0; i < 2; i++) {
        const bert_tensor_desc *x = &node->inputs[i];
        if (x->constant || !bert_cuda_is_alike(planner, x, &node->outputs[0])) return false;
    }
    return true;
}

bert_status bert_cuda_plan_elementwise(const bert_cuda_planner *planner) {
    bert_cuda_keep_wide(planner);
    if (adds_residual(planner)) bert_cuda_give_wide(planner, 0);
    bert_cuda_offer_place(planner, 3);
    return BERT_OK;
}

/* The third input and those behind it are read after the first two were replaced by what they gave. */
bert_status bert_cuda_plan_variadic(const bert_cuda_planner *planner) {
    bert_cuda_keep_wide(planner);
    bert_cuda_offer_place(planner, 2);
    return BERT_OK;
}

bert_status bert_cuda_plan_divide(const bert_cuda_planner *planner) {
    const bert_dtype dtype = planner->node->inputs[0].dtype;
    const bool whole = dtype != BERT_DOUBLE && !bert_cuda_is_float(planner->node, 0);
    if (whole) BERT_CUDA_TRY(bert_cuda_want_reports(planner));
    return bert_cuda_plan_elementwise(planner);
}

/* Cast and CastLike, whose second input says nothing but its type: it may be wide where the first is of a type that has
 * no halves. */
bert_status bert_cuda_plan_cast(const bert_cuda_planner *planner) {
    if (planner->state->wide_inputs & 1) bert_cuda_give_wide(planner, 0);
    bert_cuda_offer_place(planner, 1);
    return BERT_OK;
}

bert_status bert_cuda_run_cast(const bert_cuda_call *call) {
    return bert_cuda_spread_halves(call, &call->inputs[0], bert_cuda_lower_halves(call, 0), &call->outputs[0],
                                   bert_cuda_output_lower_halves(call, 0));
}

/* Min and Max of any number of tensors: two, then the result and the next. One is its own least and greatest. */
bert_status bert_cuda_run_variadic(const bert_cuda_call *call) {
    bert_cuda_elementwise_args args = args_for(call, op_of(call));
    const int32_t count = call->node->node.input_count;
    set_input(call, &args, 0, 0);
    for (int32_t i = 1; i < count || i == 1; i++) {
        set_input(call, &args, 1, i < count ? i : 0);
        BERT_CUDA_TRY(bert_cuda_launch_elementwise(call, &args));
        set_tensor(&args, 0, &call->outputs[0]);
        args.inputs[0].lower = args.y_lower;
    }
    return BERT_OK;
}

/* To opset 10 the bounds are attributes: one element each, of the type that the device holds. */
bert_status bert_cuda_plan_clip(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    BERT_CUDA_TRY(bert_cuda_plan_elementwise(planner));
    if (node->opset >= 11 || planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_dtype dtype = bert_cuda_stored(planner->prepared, node->inputs[0].dtype);
    const float bounds[2] = {BERT_NODE_FLOAT(node, "min", -INFINITY), BERT_NODE_FLOAT(node, "max", INFINITY)};
    unsigned char stored[2 * BERT_CUDA_ALIGNMENT] = {0};
    for (int i = 0; i < 2; i++) {
        if (!bert_cuda_encode_float(dtype, bounds[i], stored + i * BERT_CUDA_ALIGNMENT))
            return bert_cuda_leave(planner, "takes attributes for floats alone");
    }
    return bert_cuda_own(planner, stored, sizeof stored);
}

bert_status bert_cuda_run_clip(const bert_cuda_call *call) {
    bert_cuda_elementwise_args args = args_for(call, BERT_CUDA_CLIP);
    for (int32_t i = 0; i < 3; i++) set_input(call, &args, i, i);
    for (int i = 0; call->node->own && i < 2; i++) {
        args.inputs[1 + i] = (bert_cuda_operand){.data = (const char *)call->node->own + i * BERT_CUDA_ALIGNMENT,
                                                 .dtype = call->inputs[0].dtype};
    }
    return bert_cuda_launch_elementwise(call, &args);
}

/* ---- Softmax ----------------------------------------------------------------------------------------------------- */

bert_status bert_cuda_run_softmax(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const bert_tensor *x = &call->inputs[0];
    const bool flat = node->opset < 13;
    bert_cuda_softmax_args args = {.dtype = x->dtype,
                                   .outer = 1,
                                   .count = 1,
                                   .inner = 1,
                                   .x = x->data,
                                   .y = call->outputs[0].data,
                                   .logarithm = call->node->op->code != 0};
    if (x->rank > 0) {
        const int32_t axis = bert_cuda_axis(BERT_NODE_INT(node, "axis", flat ? 1 : -1), x->rank);
        args.outer = bert_cuda_count(x->dims, 0, axis);
        args.count = flat ? bert_cuda_count(x->dims, axis, x->rank) : x->dims[axis];
        if (!flat) args.inner = bert_cuda_count(x->dims, axis + 1, x->rank);
    }
    return bert_cuda_launched(call, bert_cuda_softmax(&args, call->context->stream), "softmax");
}

/* The bias, which may be broadcast anywhere, is added first: this operator is rare. */
bert_status bert_cuda_run_bias_softmax(const bert_cuda_call *call) {
    const bert_tensor *x = &call->inputs[0];
    bert_cuda_elementwise_args sum = args_for(call, BERT_CUDA_ADD);
    for (int i = 0; i < 2; i++) set_input(call, &sum, i, i);
    BERT_CUDA_TRY(bert_cuda_launch_elementwise(call, &sum));
    const int32_t axis = bert_cuda_axis(BERT_NODE_INT(&call->node->node, "axis", 1), x->rank);
    const bert_cuda_softmax_args args = {.dtype = x->dtype,
                                         .outer = bert_cuda_count(x->dims, 0, axis),
                                         .count = bert_cuda_count(x->dims, axis, x->rank),
                                         .inner = 1,
                                         .x = call->outputs[0].data,
                                         .y = call->outputs[0].data};
    return bert_cuda_launched(call, bert_cuda_softmax(&args, call->context->stream), "softmax");
}
