/*
 * If with a condition that is known: the nodes of the branch that runs take its place. (A condition that is known only
 * with the shapes of a run is decided when these are bound.)
 */
#include "core/base/error.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

static bool condition_of(const bert_node *node, bool *out) {
    const bert_value_info *info = &node->inputs[0]->info;
    double number = 0;
    if (bert_constant_scalar(info->constant, &number)) {
        *out = number != 0;
        return true;
    }
    if (!info->elements || info->element_count != 1 || !bert_dim_known(info->elements[0])) return false;
    *out = info->elements[0] != 0;
    return true;
}

/* The same node outside the branch, before `before`. Branches that it holds itself go with it. */
static bert_status move_out(bert_node *node, bert_node *before, bert_error *error) {
    bert_node *made = NULL;
    bert_value **none = BERT_ARENA_NEW_ARRAY(&before->block->graph->arena, bert_value *, (size_t)node->output_count);
    if (!none) return bert_fail_memory(error, 0, "a node's outputs");
    for (int32_t i = 0; i < node->output_count; i++) none[i] = NULL;
    BERT_TRY(bert_graph_add_node(before->block, before,
                                 &(bert_node_spec){.op = node->op,
                                                   .opset = node->opset,
                                                   .name = node->name,
                                                   .inputs = node->inputs,
                                                   .input_count = node->input_count,
                                                   .outputs = none,
                                                   .output_count = node->output_count,
                                                   .attributes = node->attributes,
                                                   .attribute_count = node->attribute_count},
                                 &made, error));
    BERT_TRY(bert_node_add_origins(made, node, error));
    for (int32_t i = 0; i < node->output_count; i++) bert_node_take_output(made, i, node, i);
    for (size_t i = 0; i < node->attribute_count; i++) {
        if (node->attributes[i].kind == BERT_ATTRIBUTE_GRAPH) node->attributes[i].value.graph->parent = before->block;
    }
    /* Removing the old node would remove the branches that are now the new one's. */
    node->attribute_count = 0;
    bert_graph_remove_node(node);
    return BERT_OK;
}

/* The branch of that name, if all that it gives is made in it (or constant). */
static bert_block *branch_of(const bert_node *node, const char *name) {
    const bert_attribute *attribute = bert_attribute_find(node->attributes, node->attribute_count, name);
    if (!attribute || attribute->kind != BERT_ATTRIBUTE_GRAPH) return NULL;
    bert_block *branch = attribute->value.graph;
    for (int32_t i = 0; i < branch->output_count; i++) {
        const bert_value *output = branch->outputs[i];
        bool own = output->producer ? output->producer->block == branch : output->info.constant != NULL;
        if (!own) return NULL;
    }
    return branch;
}

static bert_status visit(bert_pass_context *context, bert_node *node) {
    bool condition = false;
    /* One inside a branch comes to its turn when that has been moved out. */
    if (!bert_node_is(node, BERT_OP_If) || node->block->parent || !condition_of(node, &condition)) return BERT_OK;
    bert_block *then_branch = branch_of(node, "then_branch"), *else_branch = branch_of(node, "else_branch");
    if (!then_branch || !else_branch) {
        bert_pass_missed(context, node, "a branch gives a value from outside");
        return BERT_OK;
    }
    bert_block *branch = condition ? then_branch : else_branch;
    while (branch->first) BERT_TRY(move_out(branch->first, node, context->error));
    for (int32_t i = 0; i < node->output_count; i++) {
        if (!node->outputs[i]) continue;
        BERT_TRY(bert_graph_replace_value(context->graph, node->outputs[i], branch->outputs[i], context->error));
    }
    bert_graph_remove_node(node);
    bert_pass_rewrote(context, NULL);
    return BERT_OK;
}

bert_status bert_pass_branches(bert_pass_context *context) {
    uint32_t before;
    do {
        before = context->changes;
        BERT_TRY(bert_pass_each(context, visit));
        /* What a branch was given may decide the Ifs that stood in it. */
        if (context->changes != before) BERT_TRY(bert_infer_graph(context->graph, context->error));
    } while (context->changes != before);
    return BERT_OK;
}
