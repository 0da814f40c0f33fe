/* From a node to its plan, and from a run's call to the operator's. */
#include "cuda/plan/plan.h"

#include <string.h>

static const bert_host *host_of(const bert_prepared *prepared) {
    return prepared->device->host;
}

static void release(void *state) {
    bert_cuda_node *node = state;
    if (node->own) bert_cuda_memory_free(node->prepared->device, node->own, node->own_bytes);
    bert_cuda_delete(host_of(node->prepared), node, sizeof *node);
}

enum { MOST_TENSORS = 64 };

static const bert_tensor *as_stored(const bert_prepared *prepared, const bert_tensor *tensors, int32_t count,
                                    bert_tensor *copies) {
    for (int32_t i = 0; i < count; i++) {
        copies[i] = tensors[i];
        copies[i].dtype = bert_cuda_stored(prepared, tensors[i].dtype);
    }
    return copies;
}

static bert_status run(const bert_kernel_call *call, bert_error *error) {
    const bert_cuda_node *node = call->plan->state;
    bert_context *context = call->context;
    const bool recorded = context->phase == BERT_CUDA_CAPTURING;
    bert_error reason = {0};
    if (recorded && context->current->refused) return BERT_OK; /* what is recorded is given up already */
    bert_tensor inputs[MOST_TENSORS], outputs[MOST_TENSORS];
    const bert_cuda_call own = {.node = node,
                                .context = context,
                                .inputs = as_stored(node->prepared, call->inputs, node->node.input_count, inputs),
                                .outputs = as_stored(node->prepared, call->outputs, node->node.output_count, outputs),
                                .workspace = call->workspace,
                                .x_ranges = call->x_ranges,
                                .y_ranges = call->y_ranges,
                                .x_e4m3 = call->x_bytes,
                                .x_e4m3_made = call->x_bytes_made,
                                .y_e4m3 = call->y_bytes,
                                .y_unread = call->y_unread,
                                .error = recorded ? &reason : error};
    const bert_status status = node->op->run(&own);
    if (recorded && status != BERT_OK) {
        bert_cuda_give_up_recording(context, reason.message);
        return BERT_OK;
    }
    if (status != BERT_OK || context->phase != BERT_CUDA_APART) return status;
    return bert_cuda_launched(&own, cudaStreamSynchronize(context->stream), node->op->kernel);
}

/* Types and numbers of tensors that every operator keeps to, and what it must know. */
static bert_status check(const bert_cuda_planner *planner, const bert_cuda_op *op) {
    const bert_op_node *node = planner->node;
    if (node->input_count > MOST_TENSORS || node->output_count > MOST_TENSORS)
        return bert_cuda_leave(planner, "takes up to 64 tensors");
    for (int32_t i = 0; i < node->input_count; i++) {
        if (!bert_cuda_node_has(node, i)) continue;
        if (bert_cuda_dtype_size(node->inputs[i].dtype) == 0)
            return bert_cuda_leave(planner, "has no kernel for this type");
        if (i >= 32 || !(op->host_inputs >> i & 1)) continue;
        if (planner->mode == BERT_PLAN_BIND && !node->inputs[i].constant)
            return bert_cuda_leave(planner, "wants to know the content of its parameters before it runs");
        planner->out->unread_inputs |= UINT64_C(1) << i;
    }
    return BERT_OK;
}

static bert_status plan_op(const bert_cuda_planner *planner, const bert_cuda_op *op) {
    planner->out->run = run;
    planner->out->kernel = op->kernel;
    BERT_CUDA_TRY(check(planner, op));
    return op->plan ? op->plan(planner) : BERT_OK;
}

static bert_cuda_node fresh_node(const bert_cuda_op *op, bert_prepared *prepared, const bert_op_node *node) {
    bert_cuda_node fresh = {.op = op, .prepared = prepared, .node = *node, .reporter = -1};
    fresh.node.inputs = fresh.node.outputs = NULL;
    for (int32_t i = 0; i < node->input_count && i < BERT_CUDA_KNOWN_INPUTS; i++)
        fresh.known[i] = bert_cuda_known(node, i);
    for (int32_t i = 0; i < node->input_count && i < 64; i++) fresh.wide_inputs |= (uint64_t)node->inputs[i].wide << i;
    return fresh;
}

bert_status bert_cuda_plan(bert_prepared *prepared, bert_context *context, const bert_op_node *node,
                           bert_plan_mode mode, bert_op_plan *out, bert_error *error) {
    const bert_host *host = host_of(prepared);
    const bert_cuda_op *op = bert_cuda_find_op(node);
    if (!op) return host->fail(error, BERT_UNSUPPORTED, "the cuda provider has no kernel for %s", node->op_type);
    bert_cuda_node fresh = fresh_node(op, prepared, node), *state = &fresh;
    if (mode == BERT_PLAN_BIND) {
        state = bert_cuda_new(host, sizeof *state);
        if (!state) return bert_cuda_no_memory(host, sizeof *state, error);
        *state = fresh;
    }
    const bert_cuda_planner planner = {prepared, context, node, mode, out, state, error};
    const bert_status status = plan_op(&planner, op);
    if (status != BERT_OK) *out = (bert_op_plan){0};
    if (mode != BERT_PLAN_BIND) return status;
    if (status != BERT_OK) {
        release(state);
        return status;
    }
    out->state = state;
    out->release_state = release;
    return BERT_OK;
}
