#include "core/runtime/computed_once.h"

#include "core/base/error.h"
#include "core/graph/op.h"
#include "core/runtime/op_node.h"

/* Whether it has elements, and the same shape for every request. */
static bool is_static(const bert_value *value) {
    const bert_shape *shape = &value->info.shape;
    bool known = bert_dtype_size(value->info.dtype) > 0 && shape->rank >= 0;
    for (int32_t i = 0; known && i < shape->rank; i++) known = bert_dim_known(shape->dims[i]) && shape->dims[i] > 0;
    return known;
}

/* Whether the node's output follows from constants of the model alone, whatever the request and the session: a branch
 * of an If is the request's choice, and how activations are quantized the session's. */
static bool gives_fixed(const bert_node *node, const bool *fixed) {
    if (node->output_count != 1 || !node->outputs[0] || node->op->flags & BERT_OP_IMPURE) return false;
    if (node->op->id == BERT_OP_If || bert_is_dynamic_linear(node)) return false;
    if (!is_static(node->outputs[0]) || node->outputs[0]->graph_output || node->outputs[0]->branch_output) return false;
    for (int32_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] && !fixed[node->inputs[i]->id]) return false;
    return true;
}

/* By value: constants of the model, and what follows from them. */
static bool *find_fixed(const bert_graph *graph, uint32_t values, bert_arena *scratch) {
    bool *fixed = BERT_ARENA_NEW_ARRAY(scratch, bool, values);
    if (!fixed) return NULL;
    for (uint32_t i = 0; i < graph->value_count; i++) fixed[i] = graph->values[i] && graph->values[i]->info.constant;
    BERT_FOR_EACH_NODE (node, &graph->body)
        if (gives_fixed(node, fixed)) fixed[node->outputs[0]->id] = true;
    return fixed;
}

static bool multiplies(const bert_node *node) {
    switch (node->op->id) {
    case BERT_OP_BERTC_Linear:
    case BERT_OP_MatMul:
    case BERT_OP_Gemm:
        return true;
    default:
        return false;
    }
}

bool bert_find_computed_once(const bert_graph *graph, const bert_binding *binding, bert_arena *scratch, bool *once) {
    const bool *fixed = find_fixed(graph, binding->value_count, scratch);
    bool *wanted = BERT_ARENA_NEW_ARRAY(scratch, bool, binding->value_count);
    if (!fixed || !wanted) return false;
    for (size_t s = binding->step_count; s-- > 0;) {
        const bert_node *node = binding->steps[s];
        const bert_value *output = node->outputs[0];
        once[s] = output && fixed[output->id] && (multiplies(node) || wanted[output->id]);
        for (int32_t i = 0; once[s] && i < node->input_count; i++)
            if (node->inputs[i]) wanted[binding->roots[node->inputs[i]->id]->id] = true;
    }
    return true;
}

bert_status bert_compute_once(const bert_weights *weights, bert_context *context, const bert_plan_step *step,
                              bert_tensor *output, bert_error *error) {
    const bert_backend *backend = weights->device->backend;
    const size_t bytes = step->plan.workspace_bytes;
    void *workspace = bytes ? bert_allocate(&weights->model->allocator, bytes, BERT_ALIGNMENT) : NULL;
    if (bytes && !workspace) return bert_fail_memory(error, bytes, "what is computed once");
    const bert_kernel_call call = {
        .plan = &step->plan, .context = context, .inputs = step->inputs, .outputs = output, .workspace = workspace};
    bert_status status = backend->run_begin ? backend->run_begin(context, error) : BERT_OK;
    const bool begun = status == BERT_OK;
    if (begun) status = step->plan.run(&call, error);
    if (begun && backend->run_end) {
        const bert_status ended = backend->run_end(context, status == BERT_OK ? error : NULL);
        if (status == BERT_OK) status = ended;
    }
    bert_deallocate(&weights->model->allocator, workspace, bytes, BERT_ALIGNMENT);
    return status == BERT_OK ? BERT_OK : bert_fail_in_node(error, status, step->node);
}
