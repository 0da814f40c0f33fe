/* Canonical Pool. */
#include "cuda/ops/pool.h"

#include "core/graph/canonical.h"
#include "cuda/plan/plan.h"

static bool normalizes(const bert_op_node *node) {
    return BERT_NODE_INT(node, "normalize", 0) != 0;
}

bert_status bert_cuda_plan_pool(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    BERT_CUDA_TRY(bert_cuda_want_float(planner, BERT_POOL_X));
    bert_cuda_give_wide(planner, 0);
    if (planner->mode != BERT_PLAN_BIND || !normalizes(node)) return BERT_OK;
    return bert_cuda_reserve(planner, bert_cuda_desc_count(&node->outputs[0], 0, 2), sizeof(float));
}

bert_status bert_cuda_run_pool(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const bert_tensor *x = &call->inputs[BERT_POOL_X], *y = &call->outputs[0];
    const bert_tensor *mask = bert_cuda_input(call, BERT_POOL_MASK);
    const bert_cuda_pool_args args = {.dtype = x->dtype,
                                      .pooling =
                                          (bert_cuda_pooling)bert_pool_kind_of(BERT_NODE_STRING(node, "pooling", "")),
                                      .batch = y->dims[0],
                                      .width = y->dims[1],
                                      .offsets = bert_cuda_input_data(call, BERT_POOL_STARTS),
                                      .sequence = x->dims[1],
                                      .mask = mask ? mask->data : NULL,
                                      .mask_dtype = mask ? mask->dtype : BERT_DTYPE_UNDEFINED,
                                      .x = x->data,
                                      .x_lower = bert_cuda_lower_halves(call, BERT_POOL_X),
                                      .y = y->data,
                                      .y_lower = bert_cuda_output_lower_halves(call, 0),
                                      .values = normalizes(node) ? call->workspace : NULL,
                                      .epsilon = BERT_NODE_FLOAT(node, "epsilon", BERT_POOL_EPSILON)};
    return bert_cuda_launched(call, bert_cuda_pool(&args, call->context->stream), "pool");
}
