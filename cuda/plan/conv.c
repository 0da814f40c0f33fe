/* Conv. */
#include "cuda/ops/conv.h"

#include "cuda/plan/plan.h"

#include <string.h>

enum { SPATIAL = 2 };

/* The padding in front of an axis that auto_pad gives as many places as its stride alone has. */
static int64_t pad_to_same(const bert_cuda_conv_axis *axis, bool upper) {
    const int64_t span = (axis->taps - 1) * axis->dilation + 1;
    const int64_t both = (axis->places - 1) * axis->stride + span - axis->size;
    if (both <= 0) return 0;
    return upper ? both / 2 : both - both / 2;
}

/* Inference has looked at the lists: they are as long as they have to be. */
static void read_axes(const bert_cuda_call *call, bert_cuda_conv_args *args) {
    const bert_op_node *node = &call->node->node;
    const char *way = BERT_NODE_STRING(node, "auto_pad", "NOTSET");
    const bool upper = strcmp(way, "SAME_UPPER") == 0, same = upper || strcmp(way, "SAME_LOWER") == 0;
    size_t count;
    const int64_t *strides = BERT_NODE_INTS(node, "strides", &count);
    const int64_t *dilations = BERT_NODE_INTS(node, "dilations", &count);
    const int64_t *pads = strcmp(way, "NOTSET") == 0 ? BERT_NODE_INTS(node, "pads", &count) : NULL;
    for (int32_t i = 0; i < args->axes; i++) {
        bert_cuda_conv_axis *axis = &args->axis[i];
        *axis = (bert_cuda_conv_axis){.size = call->inputs[0].dims[SPATIAL + i],
                                      .taps = call->inputs[1].dims[SPATIAL + i],
                                      .places = call->outputs[0].dims[SPATIAL + i],
                                      .stride = strides ? strides[i] : 1,
                                      .dilation = dilations ? dilations[i] : 1,
                                      .before = pads ? pads[i] : 0};
        if (same) axis->before = pad_to_same(axis, upper);
    }
}

bert_status bert_cuda_run_conv(const bert_cuda_call *call) {
    const bert_tensor *x = &call->inputs[0], *w = &call->inputs[1], *y = &call->outputs[0];
    const int64_t groups = BERT_NODE_INT(&call->node->node, "group", 1);
    bert_cuda_conv_args args = {.dtype = y->dtype,
                                .axes = y->rank - SPATIAL,
                                .batch = y->dims[0],
                                .groups = groups,
                                .group_inputs = w->dims[1],
                                .group_outputs = y->dims[1] / groups,
                                .x = x->data,
                                .w = w->data,
                                .b = bert_cuda_input_data(call, 2),
                                .y = y->data};
    read_axes(call, &args);
    return bert_cuda_launched(call, bert_cuda_conv(&args, call->context->stream), "conv");
}
