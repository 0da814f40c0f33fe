/* Einsum. */
#include "cuda/ops/einsum.h"

#include "core/graph/einsum.h"
#include "cuda/plan/plan.h"

#include <string.h>

/* Inference took the equation. */
static bert_einsum equation_of(const bert_op_node *node) {
    bert_einsum e;
    bert_einsum_parse(BERT_NODE_STRING(node, "equation", ""), &e);
    return e;
}

bert_status bert_cuda_plan_einsum(const bert_cuda_planner *planner) {
    const bert_einsum e = equation_of(planner->node);
    int32_t count = 0;
    for (uint64_t summed = bert_einsum_summed(&e); summed; summed &= summed - 1) count++;
    if (e.operands > BERT_CUDA_EINSUM_OPERANDS) return bert_cuda_leave(planner, "has no kernel for so many operands");
    if (count > BERT_MAX_RANK) return bert_cuda_leave(planner, "has no kernel that sums over so many labels");
    return BERT_OK;
}

bert_status bert_cuda_run_einsum(const bert_cuda_call *call) {
    const bert_tensor *y = &call->outputs[0];
    const bert_einsum e = equation_of(&call->node->node);
    const bert_einsum_loops loops = bert_einsum_loops_over(&e, call->inputs, y->rank);
    bert_cuda_einsum_args args = {
        .dtype = y->dtype, .operands = e.operands, .outer = loops.outer, .inner = loops.inner, .y = y->data};
    memcpy(args.outer_dims, loops.sizes, (size_t)loops.outer * sizeof loops.sizes[0]);
    memcpy(args.inner_dims, loops.sizes + loops.outer, (size_t)loops.inner * sizeof loops.sizes[0]);
    for (int32_t i = 0; i < e.operands; i++) {
        int64_t strides[BERT_EINSUM_AXES];
        bert_einsum_strides(&e, &loops, i, &call->inputs[i], strides);
        args.inputs[i].data = call->inputs[i].data;
        memcpy(args.inputs[i].outer, strides, (size_t)loops.outer * sizeof strides[0]);
        memcpy(args.inputs[i].inner, strides + loops.outer, (size_t)loops.inner * sizeof strides[0]);
    }
    return bert_cuda_launched(call, bert_cuda_einsum(&args, call->context->stream), "einsum");
}
