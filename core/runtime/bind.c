#include "core/runtime/bind.h"

#include "core/base/error.h"
#include "core/runtime/op_node.h"

#include <inttypes.h>
#include <string.h>

/*
 * Results up to this size are evaluated once, while binding, and kept with the plan (shape arithmetic, position ids,
 * masks of ranges). A larger one runs as a kernel, in every run or once for all (computed_once.h): a plan must not hold
 * copies of weights.
 */
static const size_t greatest_fold_bytes = (size_t)1 << 20;

typedef struct binder {
    const bert_model *model;
    const bert_request *request;
    bert_arena *arena;
    bert_symbols *symbols; /* own: the model's are shared with other threads */
    bert_binding *binding;
    bool *wanted; /* by node id */
    bert_error *error;
} binder;

static bert_status no_memory(const binder *b) {
    return bert_fail(b->error, BERT_OUT_OF_MEMORY, "could not allocate memory for binding shapes");
}

/* ---- Which nodes matter ----------------------------------------------------------------------------------------- */

typedef struct value_stack {
    const bert_value **values;
    bool *seen;
    size_t depth;
} value_stack;

static void push(value_stack *stack, const bert_value *value) {
    if (!value || stack->seen[value->id]) return;
    stack->seen[value->id] = true;
    stack->values[stack->depth++] = value;
}

/* Nodes that wanted outputs may depend on: of an If, both branches. */
static bert_status find_wanted(binder *b) {
    const bert_graph *graph = b->model->graph;
    value_stack stack = {.values = BERT_ARENA_NEW_ARRAY(b->arena, const bert_value *, graph->value_count),
                         .seen = BERT_ARENA_NEW_ARRAY(b->arena, bool, graph->value_count)};
    b->wanted = BERT_ARENA_NEW_ARRAY(b->arena, bool, graph->next_node_id);
    if (!stack.values || !stack.seen || !b->wanted) return no_memory(b);
    for (int32_t i = 0; i < graph->output_count; i++) {
        if (b->request->wanted[i]) push(&stack, graph->outputs[i]);
    }
    while (stack.depth) {
        const bert_value *value = stack.values[--stack.depth];
        const bert_node *node = value->producer;
        if (!node) continue;
        b->wanted[node->id] = true;
        for (int32_t i = 0; i < node->input_count; i++) push(&stack, node->inputs[i]);
        if (!bert_node_is_if(node)) continue;
        for (int condition = 0; condition < 2; condition++) {
            const bert_block *branch = bert_if_branch(node, condition);
            if (branch && value->producer_output < branch->output_count) {
                push(&stack, branch->outputs[value->producer_output]);
            }
        }
    }
    return BERT_OK;
}

/* ---- Known content ---------------------------------------------------------------------------------------------- */

/* A constant of `tensor`'s type and shape over `data`, aligned to 64; `info` becomes what is known of it. */
static bert_status set_known(binder *b, bert_value_info *info, const bert_tensor *tensor, const void *data,
                             uint64_t id) {
    bert_constant *constant = BERT_ARENA_NEW(b->arena, bert_constant);
    if (!constant) return no_memory(b);
    *constant = (bert_constant){.id = id, .dtype = tensor->dtype, .rank = tensor->rank, .alignment = BERT_ALIGNMENT};
    memcpy(constant->dims, tensor->dims, sizeof constant->dims);
    constant->bytes = bert_tensor_bytes(tensor);
    constant->data = constant->bytes ? data : NULL;
    return bert_constant_describe(b->arena, constant, info, b->error);
}

static bert_tensor tensor_of(const bert_value_info *info) {
    bert_tensor tensor = {.dtype = info->dtype, .rank = info->shape.rank};
    for (int32_t i = 0; i < info->shape.rank; i++) tensor.dims[i] = info->shape.dims[i];
    return tensor;
}

static void *allocate_tensor(binder *b, bert_tensor *tensor) {
    size_t bytes = bert_tensor_bytes(tensor);
    tensor->data = bert_arena_allocate(b->arena, bytes, BERT_ALIGNMENT);
    return tensor->data;
}

static bool all_elements_known(const bert_value_info *info) {
    if (!info->elements || info->shape.rank > 1) return false;
    if (info->element_count != (info->shape.rank == 1 ? info->shape.dims[0] : 1)) return false;
    for (int32_t i = 0; i < info->element_count; i++) {
        if (!bert_dim_known(info->elements[i])) return false;
    }
    return true;
}

static void store_element(const bert_tensor *tensor, int32_t index, int64_t element) {
    switch (bert_dtype_size(tensor->dtype)) {
    case 1:
        ((uint8_t *)tensor->data)[index] = (uint8_t)element;
        return;
    case 2:
        ((uint16_t *)tensor->data)[index] = (uint16_t)element;
        return;
    case 4:
        ((uint32_t *)tensor->data)[index] = (uint32_t)element;
        return;
    default:
        ((int64_t *)tensor->data)[index] = element;
    }
}

/* Inference followed the elements: the content of a Shape, say, needs no input's content. */
static bert_status know_from_elements(binder *b, bert_value_info *info) {
    bert_tensor tensor = tensor_of(info);
    if (!allocate_tensor(b, &tensor)) return no_memory(b);
    for (int32_t i = 0; i < info->element_count; i++) store_element(&tensor, i, info->elements[i]);
    return set_known(b, info, &tensor, tensor.data, 0);
}

static bert_value_info *info_of(const binder *b, const bert_value *value) {
    return value ? &b->binding->infos[value->id] : NULL;
}

static bert_status read_constant(binder *b, const bert_constant *constant, bert_tensor *out) {
    *out = (bert_tensor){.dtype = constant->dtype, .rank = constant->rank, .data = (void *)constant->data};
    memcpy(out->dims, constant->dims, sizeof out->dims);
    if (!constant->bytes || constant->alignment >= bert_dtype_size(constant->dtype)) return BERT_OK;
    if (!allocate_tensor(b, out)) return no_memory(b);
    memcpy(out->data, constant->data, constant->bytes);
    return BERT_OK;
}

/* Runs the reference implementation of a node whose inputs are all known. */
static bert_status evaluate(binder *b, const bert_node *node) {
    bert_tensor *inputs = BERT_ARENA_NEW_ARRAY(b->arena, bert_tensor, (size_t)node->input_count);
    bert_tensor *outputs = BERT_ARENA_NEW_ARRAY(b->arena, bert_tensor, (size_t)node->output_count);
    if (!inputs || !outputs) return no_memory(b);
    for (int32_t i = 0; i < node->input_count; i++) {
        if (node->inputs[i]) BERT_TRY(read_constant(b, info_of(b, node->inputs[i])->constant, &inputs[i]));
    }
    for (int32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i]) outputs[i] = tensor_of(info_of(b, node->outputs[i]));
    }
    bert_status status = bert_node_evaluate(b->arena, node, inputs, outputs, b->error);
    if (status != BERT_OK) return bert_fail_in_node(b->error, status, node);
    for (int32_t i = 0; i < node->output_count; i++) {
        if (!node->outputs[i]) continue;
        BERT_TRY(set_known(b, info_of(b, node->outputs[i]), &outputs[i], outputs[i].data, 0));
    }
    return BERT_OK;
}

static bool can_evaluate(const binder *b, const bert_node *node) {
    if ((node->op->flags & BERT_OP_IMPURE) || !node->op->reference) return false;
    for (int32_t i = 0; i < node->input_count; i++) {
        if (node->inputs[i] && !info_of(b, node->inputs[i])->constant) return false;
    }
    if (b->model->deciders.nodes[node->id]) return true;
    size_t bytes = 0;
    for (int32_t i = 0; i < node->output_count; i++) {
        if (!node->outputs[i]) continue;
        bert_tensor tensor = tensor_of(info_of(b, node->outputs[i]));
        size_t size = bert_tensor_bytes(&tensor);
        if (!bert_size_add(bytes, size, &bytes)) return false;
    }
    return bytes <= greatest_fold_bytes;
}

/* A view of a constant is a constant over the same bytes. It keeps the id only with the shape: packed weights are found
 * by it. */
static bert_status view_constant(binder *b, const bert_constant *viewed, bert_value_info *info) {
    bert_tensor tensor = tensor_of(info);
    bool same = viewed->rank == tensor.rank;
    for (int32_t i = 0; same && i < tensor.rank; i++) same = viewed->dims[i] == tensor.dims[i];
    bert_constant *constant = BERT_ARENA_NEW(b->arena, bert_constant);
    if (!constant) return no_memory(b);
    *constant = *viewed;
    constant->id = same ? viewed->id : 0;
    constant->rank = tensor.rank;
    memcpy(constant->dims, tensor.dims, sizeof constant->dims);
    return bert_constant_describe(b->arena, constant, info, b->error);
}

static bert_status find_known(binder *b, const bert_node *node) {
    bool all_known = true;
    for (int32_t i = 0; i < node->output_count; i++) {
        bert_value_info *info = info_of(b, node->outputs[i]);
        if (!info) continue;
        if (all_elements_known(info)) BERT_TRY(know_from_elements(b, info));
        if (!info->constant) all_known = false;
    }
    if (all_known) return BERT_OK;
    if (node->op->flags & BERT_OP_VIEW) {
        const bert_constant *viewed = info_of(b, node->inputs[0])->constant;
        if (!viewed) return BERT_OK;
        b->binding->sources[node->outputs[0]->id] = b->binding->sources[node->inputs[0]->id];
        return view_constant(b, viewed, info_of(b, node->outputs[0]));
    }
    return can_evaluate(b, node) ? evaluate(b, node) : BERT_OK;
}

/* ---- Inference -------------------------------------------------------------------------------------------------- */

static bert_status check_output(const binder *b, const bert_node *node, const bert_value *value) {
    const bert_value_info *info = info_of(b, value);
    bool known = info->dtype != BERT_DTYPE_UNDEFINED && info->shape.rank >= 0;
    for (int32_t i = 0; known && i < info->shape.rank; i++) known = bert_dim_known(info->shape.dims[i]);
    if (known) return BERT_OK;
    return bert_fail(b->error, BERT_UNSUPPORTED,
                     "node %s (%s): the shape of its output %s is not known before the node runs",
                     bert_node_label(node), node->op->name, value->name);
}

static bert_status infer(binder *b, const bert_node *node) {
    const bert_value_info **inputs = BERT_ARENA_NEW_ARRAY(b->arena, const bert_value_info *, (size_t)node->input_count);
    bert_value_info **outputs = BERT_ARENA_NEW_ARRAY(b->arena, bert_value_info *, (size_t)node->output_count);
    if (!inputs || !outputs) return no_memory(b);
    for (int32_t i = 0; i < node->input_count; i++) inputs[i] = info_of(b, node->inputs[i]);
    for (int32_t i = 0; i < node->output_count; i++) outputs[i] = info_of(b, node->outputs[i]);
    bert_status status = bert_infer_outputs(&(bert_inference){.op = node->op,
                                                              .opset = node->opset,
                                                              .attributes = node->attributes,
                                                              .attribute_count = node->attribute_count,
                                                              .input_count = node->input_count,
                                                              .output_count = node->output_count,
                                                              .inputs = inputs,
                                                              .outputs = outputs,
                                                              .symbols = b->symbols,
                                                              .arena = b->arena,
                                                              .error = b->error});
    /* The model's own shapes were found to agree when it was loaded: now it is the caller's that don't. */
    if (status == BERT_INVALID_MODEL) status = BERT_INVALID_INPUT;
    if (status != BERT_OK) return bert_fail_in_node(b->error, status, node);
    for (int32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i]) BERT_TRY(check_output(b, node, node->outputs[i]));
    }
    return BERT_OK;
}

static bert_status bind_block(binder *b, const bert_block *block);

static bert_status bind_if(binder *b, const bert_node *node) {
    const bert_value_info *info = info_of(b, node->inputs[0]);
    if (!info || !info->constant || bert_constant_elements(info->constant) != 1) {
        return bert_fail(b->error, BERT_UNSUPPORTED,
                         "node %s (%s): its condition is not a single value that is known before the run",
                         bert_node_label(node), node->op->name);
    }
    bool condition = bert_constant_int(info->constant, 0) != 0;
    const bert_block *branch = bert_if_branch(node, condition);
    if (!branch || branch->output_count < node->output_count) {
        return bert_fail(b->error, BERT_INVALID_MODEL, "node %s (%s) has no %s_branch with %d outputs",
                         bert_node_label(node), node->op->name, condition ? "then" : "else", node->output_count);
    }
    BERT_TRY(bind_block(b, branch));
    for (int32_t i = 0; i < node->output_count; i++) {
        const bert_value *output = node->outputs[i], *inner = branch->outputs[i];
        if (!output) continue;
        b->binding->infos[output->id] = b->binding->infos[inner->id];
        b->binding->roots[output->id] = b->binding->roots[inner->id];
        b->binding->sources[output->id] = b->binding->sources[inner->id];
    }
    return BERT_OK;
}

static bert_status bind_node(binder *b, const bert_node *node) {
    if (bert_node_is_if(node)) return bind_if(b, node);
    BERT_TRY(infer(b, node));
    BERT_TRY(find_known(b, node));
    bool all_known = true;
    for (int32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] && !info_of(b, node->outputs[i])->constant) all_known = false;
    }
    if (all_known) return BERT_OK;
    const bert_value *output = node->outputs[0];
    if (output && (node->op->flags & BERT_OP_VIEW)) {
        b->binding->roots[output->id] = b->binding->roots[node->inputs[0]->id];
        return BERT_OK;
    }
    b->binding->steps[b->binding->step_count++] = node;
    return BERT_OK;
}

static bert_status bind_block(binder *b, const bert_block *block) {
    BERT_FOR_EACH_NODE (node, block) {
        if (b->wanted[node->id]) BERT_TRY(bind_node(b, node));
    }
    return BERT_OK;
}

/* ---- Begin and end ---------------------------------------------------------------------------------------------- */

static bert_status bind_input(binder *b, int32_t index) {
    const bert_value *value = b->model->graph->inputs[index];
    bert_value_info *info = info_of(b, value);
    if (!b->request->given[index]) {
        b->binding->sources[value->id] = value->input_default;
        return bert_constant_describe(b->arena, value->input_default, info, b->error);
    }
    const bert_tensor *given = &b->request->inputs[index];
    *info = (bert_value_info){.dtype = given->dtype, .shape = {.rank = given->rank}};
    for (int32_t i = 0; i < given->rank; i++) info->shape.dims[i] = given->dims[i];
    if (!b->model->deciders.inputs[index]) return BERT_OK;
    bert_tensor copy = *given;
    if (!allocate_tensor(b, &copy)) return no_memory(b);
    size_t bytes = bert_tensor_bytes(given);
    if (bytes) memcpy(copy.data, given->data, bytes);
    return set_known(b, info, &copy, copy.data, 0);
}

static bert_status start(binder *b) {
    const bert_graph *graph = b->model->graph;
    bert_binding *binding = b->binding;
    *binding = (bert_binding){.value_count = graph->value_count,
                              .value_capacity = graph->value_count,
                              .infos = BERT_ARENA_NEW_ARRAY(b->arena, bert_value_info, graph->value_count),
                              .roots = BERT_ARENA_NEW_ARRAY(b->arena, const bert_value *, graph->value_count),
                              .sources = BERT_ARENA_NEW_ARRAY(b->arena, const bert_constant *, graph->value_count),
                              .steps = BERT_ARENA_NEW_ARRAY(b->arena, const bert_node *, graph->next_node_id)};
    b->symbols = bert_symbols_create(b->arena);
    if (!binding->infos || !binding->roots || !binding->sources || !binding->steps || !b->symbols) {
        return no_memory(b);
    }
    for (uint32_t i = 0; i < graph->value_count; i++) {
        const bert_value *value = graph->values[i];
        if (!value) continue;
        binding->roots[i] = value;
        if (value->info.constant) {
            binding->infos[i] = value->info;
            binding->sources[i] = value->info.constant;
        } else {
            binding->infos[i].shape.rank = -1;
        }
    }
    for (int32_t i = 0; i < graph->input_count; i++) BERT_TRY(bind_input(b, i));
    return BERT_OK;
}

/* Keeps the steps that wanted outputs need now that branches are chosen and known content stands on its own. */
static bert_status drop_unneeded(binder *b) {
    const bert_graph *graph = b->model->graph;
    bert_binding *binding = b->binding;
    bool *needed = BERT_ARENA_NEW_ARRAY(b->arena, bool, graph->value_count);
    if (!needed) return no_memory(b);
    for (int32_t i = 0; i < graph->output_count; i++) {
        const bert_value *output = graph->outputs[i];
        if (b->request->wanted[i] && !binding->infos[output->id].constant) {
            needed[binding->roots[output->id]->id] = true;
        }
    }
    size_t first = binding->step_count;
    for (size_t s = binding->step_count; s-- > 0;) {
        const bert_node *node = binding->steps[s];
        bool keep = false;
        for (int32_t i = 0; i < node->output_count; i++) {
            if (node->outputs[i] && needed[node->outputs[i]->id]) keep = true;
        }
        if (!keep) continue;
        for (int32_t i = 0; i < node->input_count; i++) {
            const bert_value *input = node->inputs[i];
            if (input && !binding->infos[input->id].constant) needed[binding->roots[input->id]->id] = true;
        }
        binding->steps[--first] = node;
    }
    binding->steps += first;
    binding->step_count -= first;
    return BERT_OK;
}

bert_status bert_bind(const bert_model *model, const bert_request *request, bert_arena *arena, bert_binding *out,
                      bert_error *error) {
    binder b = {.model = model, .request = request, .arena = arena, .binding = out, .error = error};
    BERT_TRY(start(&b));
    BERT_TRY(find_wanted(&b));
    BERT_TRY(bind_block(&b, &model->graph->body));
    return drop_unneeded(&b);
}
