/* Conv. */
#include "cuda/ops/conv.h"

#include "cuda/plan/plan.h"

bert_status bert_cuda_run_conv(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const bert_tensor *x = &call->inputs[0], *w = &call->inputs[1], *y = &call->outputs[0];
    const int64_t groups = BERT_NODE_INT(node, "group", 1);
    bert_cuda_conv_args args = {.dtype = y->dtype,
                                .axes = y->rank - BERT_CONV_SPATIAL,
                                .batch = y->dims[0],
                                .groups = groups,
                                .group_inputs = w->dims[1],
                                .group_outputs = y->dims[1] / groups,
                                .x = x->data,
                                .w = w->data,
                                .b = bert_cuda_input_data(call, 2),
                                .y = y->data};
    bert_conv_read_axes(node->attributes, node->attribute_count, args.axes, x->dims, w->dims, y->dims, args.axis);
    return bert_cuda_launched(call, bert_cuda_conv(&args, call->context->stream), "conv");
}
