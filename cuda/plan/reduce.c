/* Reductions, and what goes along an axis. */
#include "cuda/ops/reduce.h"

#include "cuda/plan/plan.h"

#include <string.h>

/* Bit i: axis i is reduced; from the attribute, or from input 1. 0: none is named. */
static uint32_t axes_of(const bert_cuda_call *call, int32_t rank) {
    size_t count = 0;
    const int64_t *listed = BERT_NODE_INTS(&call->node->node, "axes", &count);
    const bert_constant *input = call->node->known[1];
    if (input) count = (size_t)bert_cuda_constant_count(input);
    uint32_t axes = 0;
    for (size_t i = 0; i < count; i++) {
        const int64_t axis = input ? bert_cuda_constant_int(input, (int64_t)i) : listed[i];
        axes |= UINT32_C(1) << bert_cuda_axis(axis, rank);
    }
    return axes;
}

bert_status bert_cuda_run_reduce(const bert_cuda_call *call) {
    const bert_tensor *x = &call->inputs[0];
    bert_cuda_reduce_args args = {.reduction = (bert_cuda_reduction)call->node->op->code,
                                  .dtype = x->dtype,
                                  .rank = x->rank,
                                  .axes = axes_of(call, x->rank),
                                  .x = x->data,
                                  .y = call->outputs[0].data,
                                  .x_lower = bert_cuda_lower_halves(call, 0),
                                  .y_lower = bert_cuda_output_lower_halves(call, 0)};
    memcpy(args.dims, x->dims, sizeof args.dims);
    if (args.axes == 0 && BERT_NODE_INT(&call->node->node, "noop_with_empty_axes", 0))
        return bert_cuda_spread_halves(call, x, args.x_lower, &call->outputs[0], args.y_lower);
    if (args.axes == 0) args.axes = (UINT32_C(1) << x->rank) - 1;
    return bert_cuda_launched(call, bert_cuda_reduce(&args, call->context->stream), "reduce");
}

static bert_cuda_line_args line_of(const bert_tensor *x, int32_t axis) {
    return (bert_cuda_line_args){.dtype = x->dtype,
                                 .outer = bert_cuda_count(x->dims, 0, axis),
                                 .count = x->dims[axis],
                                 .inner = bert_cuda_count(x->dims, axis + 1, x->rank),
                                 .x = x->data};
}

bert_status bert_cuda_run_arg_extreme(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const bert_tensor *x = &call->inputs[0];
    const bert_cuda_line_args line = line_of(x, bert_cuda_axis(BERT_NODE_INT(node, "axis", 0), x->rank));
    const bool last = BERT_NODE_INT(node, "select_last_index", 0) != 0;
    if (bert_cuda_elements(&call->outputs[0]) == 0) return BERT_OK;
    return bert_cuda_launched(
        call,
        bert_cuda_arg_extreme(&line, call->node->op->code != 0, last, call->outputs[0].data, call->context->stream),
        "arg_extreme");
}

bert_status bert_cuda_run_cumulative_sum(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const bert_tensor *x = &call->inputs[0];
    const bert_cuda_line_args line =
        line_of(x, bert_cuda_axis(bert_cuda_constant_int(call->node->known[1], 0), x->rank));
    return bert_cuda_launched(call,
                              bert_cuda_cumulative_sum(&line, BERT_NODE_INT(node, "exclusive", 0) != 0,
                                                       BERT_NODE_INT(node, "reverse", 0) != 0, call->outputs[0].data,
                                                       call->context->stream),
                              "cumulative_sum");
}

bert_status bert_cuda_plan_cumulative_sum(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const int64_t axis = bert_cuda_constant_int(node->inputs[1].constant, 0);
    if (axis >= -node->inputs[0].rank && axis < node->inputs[0].rank) return BERT_OK;
    return planner->prepared->device->host->fail(planner->error, BERT_INVALID_INPUT,
                                                 "CumSum's axis %lld is outside a tensor of %d dimensions",
                                                 (long long)axis, (int)node->inputs[0].rank);
}

bert_status bert_cuda_run_top_k(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const bert_tensor *x = &call->inputs[0];
    const int32_t axis = bert_cuda_axis(BERT_NODE_INT(node, "axis", -1), x->rank);
    const bert_cuda_line_args line = line_of(x, axis);
    const bool largest = node->opset < 11 || BERT_NODE_INT(node, "largest", 1) != 0;
    const bool values = call->outputs[0].dtype != BERT_DTYPE_UNDEFINED;
    return bert_cuda_launched(call,
                              bert_cuda_top_k(&line, call->outputs[values ? 0 : 1].dims[axis], largest,
                                              bert_cuda_output_data(call, 0), bert_cuda_output_data(call, 1),
                                              call->context->stream),
                              "top_k");
}
