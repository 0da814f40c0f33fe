/*
 * Constants and nodes that change nothing: nor do a Reshape and the one that undoes it, or a Concat of which parts are
 * taken again.
 *
 * A node whose inputs are all known is computed by its reference implementation, if that is cheap. Weights are left as
 * they are: computing their transposes or their float form would double the model's memory, and the passes that use
 * them read through such nodes.
 */
#include "core/base/error.h"
#include "core/passes/list.h"
#include "core/passes/slice.h"

#include <string.h>

/** Elements that the inputs and outputs of a computed node may have in all. */
#define FOLD_LIMIT 65536

/* ---- Computing ------------------------------------------------------------------------------------------------------
 */

static bool is_weight_form(const bert_node *node) {
    const bert_value *from = bert_node_in(node, 0), *to = node->outputs[0];
    switch (node->op->id) {
    case BERT_OP_MatMul:
    case BERT_OP_Gemm:
    case BERT_OP_Einsum: /* Few elements may take many steps. */
        return true;
    case BERT_OP_Transpose:
    case BERT_OP_Cast:
        return to && bert_value_rank(to) >= 2 && bert_dtype_is_float(to->info.dtype);
    default: /* A quantized weight in its float form. */
        return from && to && bert_value_rank(to) >= 2 && bert_dtype_is_float(to->info.dtype) &&
               bert_dtype_size(from->info.dtype) == 1;
    }
}

/* Fills a tensor's type and shape from what is known of a value; false when that isn't everything. */
static bool describe(const bert_value *value, bert_tensor *out, int64_t *elements) {
    *out = (bert_tensor){.dtype = BERT_DTYPE_UNDEFINED};
    if (!value) return true;
    const bert_value_info *info = &value->info;
    if (bert_dtype_size(info->dtype) == 0 || info->shape.rank < 0) return false;
    out->dtype = info->dtype;
    out->rank = info->shape.rank;
    for (int32_t i = 0; i < out->rank; i++) {
        if (!bert_dim_known(info->shape.dims[i])) return false;
        out->dims[i] = info->shape.dims[i];
    }
    int64_t count = bert_tensor_elements(out);
    if (count < 0 || count > FOLD_LIMIT - *elements) return false;
    *elements += count;
    return true;
}

/* Memory of a tensor's elements in the graph's arena. */
static bool allocate(bert_graph *graph, bert_tensor *tensor, size_t *bytes) {
    *bytes = bert_tensor_bytes(tensor);
    tensor->data = bert_arena_allocate(&graph->arena, *bytes, BERT_ALIGNMENT);
    return tensor->data != NULL;
}

#define FOLD_OPERANDS 16

typedef struct folding {
    bert_tensor inputs[FOLD_OPERANDS], outputs[FOLD_OPERANDS];
} folding;

static bool can_compute(const bert_node *node, folding *f) {
    if (!node->op->reference || node->op->flags & BERT_OP_IMPURE || is_weight_form(node)) return false;
    if (node->input_count > FOLD_OPERANDS || node->output_count > FOLD_OPERANDS) return false;
    int64_t elements = 0;
    for (int32_t i = 0; i < node->input_count; i++) {
        const bert_value *input = node->inputs[i];
        if (input && !input->info.constant) return false;
        if (!describe(input, &f->inputs[i], &elements)) return false;
    }
    for (int32_t i = 0; i < node->output_count; i++) {
        const bert_value *output = node->outputs[i];
        if (output && bert_value_leaves(output)) return false;
        if (!describe(output, &f->outputs[i], &elements)) return false;
    }
    return true;
}

/* Runs the reference implementation into arena memory. False where it refuses: then it does at run time, too. */
static bert_status compute(bert_pass_context *context, const bert_node *node, folding *f, bool *done) {
    bert_graph *graph = context->graph;
    size_t bytes = 0;
    for (int32_t i = 0; i < node->input_count; i++) {
        if (!node->inputs[i]) continue;
        /* Constants lie at any address of the file. */
        if (!allocate(graph, &f->inputs[i], &bytes)) return bert_fail_memory(context->error, bytes, "a constant");
        if (bytes) memcpy(f->inputs[i].data, node->inputs[i]->info.constant->data, bytes);
    }
    bert_error reason;
    bert_status status = bert_node_evaluate(&graph->arena, node, f->inputs, f->outputs, &reason);
    if (status == BERT_OUT_OF_MEMORY) return bert_fail_memory(context->error, bytes, "a constant");
    *done = status == BERT_OK;
    return BERT_OK;
}

static bert_status become_constant(bert_pass_context *context, bert_value *value, const bert_tensor *tensor) {
    size_t bytes = bert_tensor_bytes(tensor);
    const bert_constant *constant = NULL;
    BERT_TRY(bert_graph_add_constant(context->graph, tensor->dtype, tensor->rank, tensor->dims, tensor->data, bytes,
                                     NULL, &constant, context->error));
    return bert_graph_set_constant(context->graph, value, constant, context->error);
}

/* A node's outputs stay as constants that it no longer writes. */
static void detach(bert_node *node) {
    for (int32_t i = 0; i < node->output_count; i++) {
        if (!node->outputs[i]) continue;
        node->outputs[i]->producer = NULL;
        node->outputs[i] = NULL;
    }
    bert_graph_remove_node(node);
}

static bert_status fold_node(bert_pass_context *context, bert_node *node, bool *folded) {
    folding f;
    bool done = false;
    if (!can_compute(node, &f)) return BERT_OK;
    BERT_TRY(compute(context, node, &f, &done));
    if (!done) return BERT_OK;
    for (int32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i]) BERT_TRY(become_constant(context, node->outputs[i], &f.outputs[i]));
    }
    detach(node);
    *folded = true;
    return BERT_OK;
}

/* Inference follows small integer tensors: where it knows every element, nothing is left to compute. */
static bert_status fold_followed(bert_pass_context *context, bert_node *node, bool *folded) {
    bert_value *output = node->output_count == 1 ? node->outputs[0] : NULL;
    if (!output || !output->info.elements || bert_value_leaves(output) || output->info.shape.rank < 0) return BERT_OK;
    const bert_value_info *info = &output->info;
    if (info->dtype != BERT_INT64 && info->dtype != BERT_INT32 && info->dtype != BERT_BOOL) return BERT_OK;
    for (int32_t i = 0; i < info->element_count; i++) {
        if (!bert_dim_known(info->elements[i])) return BERT_OK;
        if (info->dtype == BERT_INT32 && (int32_t)info->elements[i] != info->elements[i]) return BERT_OK;
    }
    bert_tensor tensor = {.dtype = info->dtype, .rank = info->shape.rank, .dims = {info->element_count}};
    size_t bytes = 0;
    if (!allocate(context->graph, &tensor, &bytes)) return bert_fail_memory(context->error, bytes, "a constant");
    for (int32_t i = 0; i < info->element_count; i++) {
        if (info->dtype == BERT_INT64) ((int64_t *)tensor.data)[i] = info->elements[i];
        if (info->dtype == BERT_INT32) ((int32_t *)tensor.data)[i] = (int32_t)info->elements[i];
        if (info->dtype == BERT_BOOL) ((unsigned char *)tensor.data)[i] = info->elements[i] != 0;
    }
    BERT_TRY(become_constant(context, output, &tensor));
    detach(node);
    *folded = true;
    return BERT_OK;
}

/* Inference may give a node's output its constant (the op Constant, above all). */
static void fold_inferred(bert_node *node, bool *folded) {
    const bert_value *output = node->output_count == 1 ? node->outputs[0] : NULL;
    if (!output || !output->info.constant || bert_value_leaves(output)) return;
    detach(node);
    *folded = true;
}

/* ---- Nodes that change nothing --------------------------------------------------------------------------------------
 */

static bool only_forward_steps(const bert_node *node) {
    int64_t steps[BERT_MAX_RANK];
    int32_t count = 0;
    if (!bert_node_in(node, 4)) return true;
    if (!bert_value_ints(node->inputs[4], steps, BERT_MAX_RANK, &count)) return false;
    for (int32_t i = 0; i < count; i++) {
        if (steps[i] < 0) return false;
    }
    return true;
}

static bool keeps_order(const bert_node *node) {
    int32_t perm[BERT_MAX_RANK];
    if (!bert_node_permutation(node, perm)) return false;
    for (int32_t i = 0; i < bert_value_rank(node->inputs[0]); i++) {
        if (perm[i] != i) return false;
    }
    return true;
}

/* The operand of a binary node whose other one is its neutral element. */
static bert_value *beside_neutral(const bert_node *node) {
    double scalar = 0;
    bool right_only = false;
    double neutral = 0;
    switch (node->op->id) {
    case BERT_OP_Sub:
        right_only = true;
        break;
    case BERT_OP_Add:
    case BERT_OP_Or:
        break;
    case BERT_OP_Div:
    case BERT_OP_Pow:
        right_only = true;
        neutral = 1;
        break;
    case BERT_OP_Mul:
    case BERT_OP_And:
        neutral = 1;
        break;
    default:
        return NULL;
    }
    bert_value *other = bert_node_beside_scalar(node, right_only, &scalar);
    return other && scalar == neutral ? other : NULL;
}

/* Whether a dimension of a value is certainly this. */
static bool has_dim(const bert_value *value, int32_t axis, bert_dim dim) {
    return bert_value_rank(value) > axis && bert_value_dim(value, axis) == dim;
}

/* The input of a Concat beside others that have no elements. */
static bert_value *beside_empty(const bert_node *concat) {
    bert_value *only = NULL;
    const int32_t rank = bert_value_rank(concat->outputs[0]);
    const int32_t axis = bert_axis_from_front(BERT_NODE_INT(concat, "axis", 0), rank < 0 ? 0 : rank);
    if (concat->input_count == 1) return concat->inputs[0];
    for (int32_t i = 0; i < concat->input_count; i++) {
        if (axis >= 0 && has_dim(concat->inputs[i], axis, 0)) continue;
        if (only) return NULL;
        only = concat->inputs[i];
    }
    return only;
}

/* The input of a Concat that a Slice or a Gather takes out of it again. */
static bert_value *taken_of_concat(const bert_node *node) {
    bert_slice slice;
    if (!bert_slice_of(node->outputs[0], &slice)) return NULL;
    const bert_node *concat = bert_value_made_by(slice.source, BERT_OP_Concat);
    const bert_dim size = slice.drops_axis ? 1 : bert_value_dim(node->outputs[0], slice.axis);
    if (!concat || concat->block != node->block ||
        bert_axis_from_front(BERT_NODE_INT(concat, "axis", 0), bert_value_rank(slice.source)) != slice.axis)
        return NULL;
    int64_t start = 0;
    for (int32_t i = 0; i < concat->input_count; i++) {
        bert_value *part = concat->inputs[i];
        if (start == slice.start && has_dim(part, slice.axis, size)) return part;
        if (bert_value_rank(part) <= slice.axis || !bert_dim_known(bert_value_dim(part, slice.axis))) return NULL;
        start += bert_value_dim(part, slice.axis);
    }
    return NULL;
}

/* The value that the node's only output equals for every input, if it has its shape; NULL when there is none. */
static bert_value *unchanged(const bert_node *node) {
    bert_value *input = bert_node_in(node, 0);
    switch (node->op->id) {
    case BERT_OP_Identity:
    case BERT_OP_Dropout:
    case BERT_OP_Cast:
    case BERT_OP_Expand:
    case BERT_OP_Tile:
        return input;
    case BERT_OP_Reshape:
    case BERT_OP_Squeeze:
    case BERT_OP_Unsqueeze:
    case BERT_OP_Flatten:
        return bert_value_before_reshaping(input, &node->outputs[0]->info.shape);
    case BERT_OP_Slice:
        if (only_forward_steps(node) && bert_same_shape(input, node->outputs[0])) return input;
        return taken_of_concat(node);
    case BERT_OP_Gather:
        input = taken_of_concat(node);
        return input ? bert_value_before_reshaping(input, &node->outputs[0]->info.shape) : NULL;
    case BERT_OP_Transpose:
        return keeps_order(node) ? input : NULL;
    case BERT_OP_Concat:
        return beside_empty(node);
    case BERT_OP_Max:
    case BERT_OP_Min:
        return node->input_count == 1 ? input : NULL;
    default:
        return beside_neutral(node);
    }
}

static bert_status drop_unchanged(bert_pass_context *context, bert_node *node) {
    bert_value *output = node->output_count == 1 ? node->outputs[0] : NULL;
    bert_value *same = output ? unchanged(node) : NULL;
    if (!same) return BERT_OK;
    if (!bert_node_is(node, BERT_OP_Identity) &&
        (same->info.dtype == BERT_DTYPE_UNDEFINED || same->info.dtype != output->info.dtype ||
         !bert_same_shape(same, output)))
        return BERT_OK;
    /* What leaves is written by a node of its own block, once. */
    if (bert_value_leaves(output) &&
        (!same->producer || same->producer->block != node->block || bert_value_leaves(same)))
        return BERT_OK;
    bert_pattern pattern;
    bert_pattern_begin(&pattern, context, node);
    return bert_pattern_forward(&pattern, same);
}

static bert_status visit(bert_pass_context *context, bert_node *node) {
    bool folded = false;
    /* Exporters name a shared weight anew for every layer: it stays one constant, which is packed once. */
    if (bert_node_is(node, BERT_OP_Identity)) return drop_unchanged(context, node);
    fold_inferred(node, &folded);
    if (!folded) BERT_TRY(fold_followed(context, node, &folded));
    if (!folded) BERT_TRY(fold_node(context, node, &folded));
    if (!folded) return drop_unchanged(context, node);
    bert_pass_rewrote(context, NULL);
    return BERT_OK;
}

bert_status bert_pass_fold(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
