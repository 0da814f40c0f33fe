#include "core/base/error.h"
#include "core/passes/match.h"

#include <string.h>

void bert_pattern_begin(bert_pattern *pattern, bert_pass_context *context, bert_node *root) {
    *pattern = (bert_pattern){.context = context, .root = root, .nodes = {root}, .count = 1};
}

static void add(bert_pattern *pattern, bert_node *node, bool shared) {
    for (int i = 0; i < pattern->count; i++) {
        if (pattern->nodes[i] == node) return;
    }
    if (pattern->count == BERT_PATTERN_CAPACITY || node->block != pattern->root->block) {
        /* A shared node may stay where it is: the pattern then only lacks it as an origin. */
        if (!shared) pattern->foreign = node;
        return;
    }
    pattern->shared[pattern->count] = shared;
    pattern->nodes[pattern->count++] = node;
}

void bert_pattern_add(bert_pattern *pattern, bert_node *node) {
    add(pattern, node, false);
}

void bert_pattern_add_shared(bert_pattern *pattern, bert_node *node) {
    add(pattern, node, true);
}

static bool in_pattern(const bert_pattern *pattern, const bert_node *node) {
    for (int i = 0; i < pattern->count; i++) {
        if (pattern->nodes[i] == node) return true;
    }
    return false;
}

bool bert_pattern_closed(const bert_pattern *pattern) {
    if (pattern->foreign) {
        bert_pass_missed(pattern->context, pattern->foreign, "is part of the pattern but can't be replaced with it");
        return false;
    }
    for (int i = 1; i < pattern->count; i++) {
        const bert_node *node = pattern->nodes[i];
        if (pattern->shared[i]) continue;
        for (int32_t o = 0; o < node->output_count; o++) {
            const bert_value *output = node->outputs[o];
            if (!output) continue;
            bool leaks = bert_value_leaves(output);
            for (uint32_t u = 0; u < output->use_count && !leaks; u++) {
                leaks = !in_pattern(pattern, output->uses[u].node);
            }
            if (!leaks) continue;
            bert_pass_missed(pattern->context, node, "its result %s is also read outside the pattern", output->name);
            return false;
        }
    }
    for (int32_t o = 1; o < pattern->root->output_count; o++) {
        const bert_value *output = pattern->root->outputs[o];
        if (!output || (output->use_count == 0 && !bert_value_leaves(output))) continue;
        bert_pass_missed(pattern->context, pattern->root, "its further output %s is read", output->name);
        return false;
    }
    return true;
}

static bool is_read(const bert_node *node) {
    for (int32_t o = 0; o < node->output_count; o++) {
        if (node->outputs[o] && (node->outputs[o]->use_count || bert_value_leaves(node->outputs[o]))) return true;
    }
    return false;
}

/* The root reads the others, so nodes go as their readers have gone; few enough for a look at all each time. */
static void remove_unread(bert_pattern *pattern) {
    bert_graph_remove_node(pattern->root);
    for (bool again = true; again;) {
        again = false;
        for (int i = 1; i < pattern->count; i++) {
            if (!bert_node_linked(pattern->nodes[i]) || is_read(pattern->nodes[i])) continue;
            bert_graph_remove_node(pattern->nodes[i]);
            again = true;
        }
    }
}

bert_status bert_pattern_replace(bert_pattern *pattern, const bert_node_spec *spec, bert_node **out) {
    bert_error *error = pattern->context->error;
    bert_node *node = NULL, *root = pattern->root;
    bert_node_spec own = *spec;
    if (!own.name) own.name = root->name;
    own.outputs = &(bert_value *){NULL};
    own.output_count = 1;
    BERT_TRY(bert_graph_add_node(root->block, root, &own, &node, error));
    for (int i = 0; i < pattern->count; i++) BERT_TRY(bert_node_add_origins(node, pattern->nodes[i], error));
    bert_node_take_output(node, 0, root, 0);
    remove_unread(pattern);
    bert_pass_rewrote(pattern->context, node);
    if (out) *out = node;
    return BERT_OK;
}

bert_status bert_pattern_forward(bert_pattern *pattern, bert_value *value) {
    bert_node *root = pattern->root;
    BERT_TRY(bert_graph_replace_value(pattern->context->graph, root->outputs[0], value, pattern->context->error));
    remove_unread(pattern);
    bert_pass_rewrote(pattern->context, NULL);
    return BERT_OK;
}

bert_status bert_build(bert_pass_context *context, bert_node *before, const bert_node_spec *spec, const bert_node *from,
                       bert_value **out) {
    bert_value *value = NULL;
    bert_node *node = NULL;
    bert_node_spec own = *spec;
    BERT_TRY(bert_graph_add_value(context->graph, NULL, &value, context->error));
    own.outputs = &value;
    own.output_count = 1;
    BERT_TRY(bert_graph_add_node(before->block, before, &own, &node, context->error));
    if (from) BERT_TRY(bert_node_add_origins(node, from, context->error));
    BERT_TRY(bert_infer_node(context->graph, node, context->error));
    *out = value;
    return BERT_OK;
}

bert_status bert_build_ints(bert_pass_context *context, const int64_t *ints, int32_t count, bert_value **out) {
    bert_graph *graph = context->graph;
    int64_t dim = count, elements = count < 0 ? 1 : count;
    size_t bytes = (size_t)elements * sizeof *ints;
    int64_t *copy = BERT_ARENA_NEW_ARRAY(&graph->arena, int64_t, (size_t)elements);
    if (!copy) return bert_fail_memory(context->error, bytes, "a list of integers");
    if (elements) memcpy(copy, ints, bytes);
    const bert_constant *constant = NULL;
    BERT_TRY(bert_graph_add_constant(graph, BERT_INT64, count < 0 ? 0 : 1, &dim, copy, bytes, NULL, &constant,
                                     context->error));
    return bert_graph_add_constant_value(graph, NULL, constant, out, context->error);
}

int32_t bert_build_opset(const bert_node *near, int32_t least) {
    int32_t opset = near->op->domain[0] == '\0' ? near->opset : least;
    return opset > least ? opset : least;
}

bert_status bert_build_unsqueeze(bert_pass_context *context, bert_node *before, bert_value *value, const int64_t *axes,
                                 int32_t count, bert_value **out) {
    bert_value *inputs[2] = {value, NULL};
    BERT_TRY(bert_build_ints(context, axes, count, &inputs[1]));
    return bert_build(context, before,
                      &(bert_node_spec){.op = bert_op_get(BERT_OP_Unsqueeze),
                                        .opset = bert_build_opset(before, 13),
                                        .inputs = inputs,
                                        .input_count = 2},
                      NULL, out);
}

bert_status bert_build_transpose(bert_pass_context *context, bert_node *before, bert_value *value, const int64_t *perm,
                                 int32_t rank, bert_value **out) {
    const size_t count = (size_t)rank;
    int64_t *own = BERT_ARENA_NEW_ARRAY(&context->graph->arena, int64_t, count);
    if (!own) return bert_fail_memory(context->error, count * sizeof *own, "an attribute");
    memcpy(own, perm, count * sizeof *own);
    const bert_attribute attribute = {
        .name = "perm", .kind = BERT_ATTRIBUTE_INTS, .count = count, .value = {.ints = own}};
    return bert_build(context, before,
                      &(bert_node_spec){.op = bert_op_get(BERT_OP_Transpose),
                                        .opset = bert_build_opset(before, 13),
                                        .inputs = &value,
                                        .input_count = 1,
                                        .attributes = &attribute,
                                        .attribute_count = 1},
                      before, out);
}

bert_status bert_build_op(bert_pass_context *context, bert_node *before, bert_op_id id, bert_value *const *inputs,
                          int32_t count, bert_value **out) {
    return bert_build(
        context, before,
        &(bert_node_spec){
            .op = bert_op_get(id), .opset = bert_build_opset(before, 13), .inputs = inputs, .input_count = count},
        before, out);
}

bert_status bert_build_cast(bert_pass_context *context, bert_node *before, bert_value *value, bert_dtype to,
                            bert_value **out) {
    *out = value;
    if (value->info.dtype == to) return BERT_OK;
    bert_attribute type = BERT_INT_ATTRIBUTE("to", to);
    return bert_build(context, before,
                      &(bert_node_spec){.op = bert_op_get(BERT_OP_Cast),
                                        .opset = bert_build_opset(before, 13),
                                        .inputs = &value,
                                        .input_count = 1,
                                        .attributes = &type,
                                        .attribute_count = 1},
                      before, out);
}

bert_status bert_build_range(bert_pass_context *context, bert_node *before, bert_value *like, int32_t axis,
                             bert_value **out) {
    bert_value *shape = NULL, *index = NULL, *bounds[3] = {NULL};
    BERT_TRY(bert_build_op(context, before, BERT_OP_Shape, &like, 1, &shape));
    BERT_TRY(bert_build_ints(context, &(int64_t){axis}, -1, &index));
    BERT_TRY(bert_build_ints(context, &(int64_t){0}, -1, &bounds[0]));
    /* The attribute as exporters write it, so that theirs and this one are common. */
    bert_attribute first = BERT_INT_ATTRIBUTE("axis", 0);
    BERT_TRY(bert_build(context, before,
                        &(bert_node_spec){.op = bert_op_get(BERT_OP_Gather),
                                          .opset = bert_build_opset(before, 13),
                                          .inputs = (bert_value *[]){shape, index},
                                          .input_count = 2,
                                          .attributes = &first,
                                          .attribute_count = 1},
                        before, &bounds[1]));
    BERT_TRY(bert_build_ints(context, &(int64_t){1}, -1, &bounds[2]));
    return bert_build_op(context, before, BERT_OP_Range, bounds, 3, out);
}

bert_status bert_build_shown(bert_pass_context *context, bert_value *value, int32_t rank, const int64_t *dims,
                             bert_value **out) {
    const bert_constant *from = value->info.constant, *shown = NULL;
    *out = value;
    if (from->rank == rank && (rank == 0 || memcmp(from->dims, dims, (size_t)rank * sizeof *dims) == 0)) return BERT_OK;
    BERT_TRY(bert_graph_add_constant(context->graph, from->dtype, rank, dims, from->data, from->bytes, from->file,
                                     &shown, context->error));
    return bert_graph_add_constant_value(context->graph, NULL, shown, out, context->error);
}

bert_status bert_build_float(bert_pass_context *context, float number, bert_value **out) {
    bert_graph *graph = context->graph;
    float *copy = BERT_ARENA_NEW(&graph->arena, float);
    const bert_constant *constant = NULL;
    if (!copy) return bert_fail_memory(context->error, sizeof *copy, "a number");
    *copy = number;
    BERT_TRY(bert_graph_add_constant(graph, BERT_FLOAT, 0, NULL, copy, sizeof *copy, NULL, &constant, context->error));
    return bert_graph_add_constant_value(graph, NULL, constant, out, context->error);
}
