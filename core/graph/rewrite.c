#include "core/base/error.h"
#include "core/graph/op.h"

#include <string.h>

bert_status bert_node_set_input(bert_node *node, int32_t input, bert_value *value, bert_error *error) {
    bert_value *old = node->inputs[input];
    if (old == value) return BERT_OK;
    if (value) BERT_TRY(bert_value_add_use(node->block->graph, value, node, input, error));
    if (old) bert_value_drop_use(old, node, input);
    node->inputs[input] = value;
    return BERT_OK;
}

/* Calls visit for every block of the graph, inner ones after the node that they belong to. */
static void for_each_block(bert_block *block, void (*visit)(bert_block *block, void *argument), void *argument) {
    visit(block, argument);
    BERT_FOR_EACH_NODE (node, block) {
        for (size_t i = 0; i < node->attribute_count; i++) {
            if (node->attributes[i].kind != BERT_ATTRIBUTE_GRAPH) continue;
            for_each_block(node->attributes[i].value.graph, visit, argument);
        }
    }
}

struct replacement {
    bert_value *from, *to;
};

static void replace_block_outputs(bert_block *block, void *argument) {
    const struct replacement *r = argument;
    for (int32_t i = 0; i < block->output_count; i++) {
        if (block->outputs[i] == r->from) block->outputs[i] = r->to;
    }
}

bert_status bert_graph_replace_value(bert_graph *graph, bert_value *from, bert_value *to, bert_error *error) {
    if (from == to) return BERT_OK;
    while (from->use_count) {
        bert_use use = from->uses[from->use_count - 1];
        BERT_TRY(bert_node_set_input(use.node, use.input, to, error));
    }
    if (from->graph_output) {
        for (int32_t i = 0; i < graph->output_count; i++) {
            if (graph->outputs[i] == from) graph->outputs[i] = to;
        }
        from->graph_output = false;
        to->graph_output = true;
    }
    if (from->branch_output) {
        for_each_block(&graph->body, replace_block_outputs, &(struct replacement){from, to});
        from->branch_output = false;
        to->branch_output = true;
    }
    return BERT_OK;
}

void bert_node_take_output(bert_node *to, int32_t to_output, bert_node *from, int32_t output) {
    bert_value *value = from->outputs[output];
    from->outputs[output] = NULL;
    to->outputs[to_output] = value;
    if (!value) return;
    value->producer = to;
    value->producer_output = to_output;
}

/* A value that nothing writes, reads or names has no place in the graph any more. */
static void remove_if_alone(bert_graph *graph, const bert_value *value) {
    if (value->producer || value->use_count || value->graph_input || value->graph_output || value->branch_output)
        return;
    graph->values[value->id] = NULL;
}

static void unlink_node(bert_node *node) {
    bert_block *block = node->block;
    *(node->previous ? &node->previous->next : &block->first) = node->next;
    *(node->next ? &node->next->previous : &block->last) = node->previous;
    node->previous = node->next = NULL;
}

void bert_graph_remove_node(bert_node *node) {
    bert_graph *graph = node->block->graph;
    for (size_t i = 0; i < node->attribute_count; i++) {
        if (node->attributes[i].kind != BERT_ATTRIBUTE_GRAPH) continue;
        bert_block *branch = node->attributes[i].value.graph;
        BERT_FOR_EACH_NODE_SAFE (inner, branch) {
            bert_graph_remove_node(inner);
        }
        for (int32_t o = 0; o < branch->output_count; o++) branch->outputs[o]->branch_output = false;
    }
    for (int32_t i = 0; i < node->input_count; i++) {
        bert_value *input = node->inputs[i];
        if (!input) continue;
        bert_value_drop_use(input, node, i);
        node->inputs[i] = NULL;
        remove_if_alone(graph, input);
    }
    for (int32_t i = 0; i < node->output_count; i++) {
        bert_value *output = node->outputs[i];
        if (!output || output->producer != node) continue;
        output->producer = NULL;
        remove_if_alone(graph, output);
    }
    unlink_node(node);
}

const char *bert_node_label(const bert_node *node) {
    if (node->name[0]) return node->name;
    if (node->origin_count) return node->origins[node->origin_count - 1]->name;
    return node->output_count && node->outputs[0] ? node->outputs[0]->name : "";
}

/* Room for so many origins. It doubles, since a node may take in any number of others one by one. */
static bert_status reserve_origins(bert_node *node, size_t count, bert_error *error) {
    if (count <= node->origin_capacity) return BERT_OK;
    const bert_origin **grown = BERT_ARENA_NEW_ARRAY(&node->block->graph->arena, const bert_origin *, 2 * count);
    if (!grown) return bert_fail_memory(error, 2 * count * sizeof(const bert_origin *), "a node's origins");
    if (node->origin_count) memcpy(grown, node->origins, node->origin_count * sizeof *grown);
    node->origins = grown;
    node->origin_capacity = (uint32_t)(2 * count);
    return BERT_OK;
}

/* Where in the list, which is sorted by index, an origin is or belongs. */
static uint32_t place_of(const bert_node *node, uint32_t index) {
    uint32_t first = 0, end = node->origin_count;
    while (first < end) {
        const uint32_t middle = first + (end - first) / 2;
        if (node->origins[middle]->index < index)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

bert_status bert_node_add_origins(bert_node *node, const bert_node *from, bert_error *error) {
    if (from->origin_count == 0 || node == from) return BERT_OK;
    BERT_TRY(reserve_origins(node, (size_t)node->origin_count + from->origin_count, error));
    for (uint32_t i = 0; i < from->origin_count; i++) {
        const bert_origin *origin = from->origins[i];
        const uint32_t at = place_of(node, origin->index), after = node->origin_count - at;
        if (after && node->origins[at]->index == origin->index) continue;
        memmove(node->origins + at + 1, node->origins + at, after * sizeof *node->origins);
        node->origins[at] = origin;
        node->origin_count++;
    }
    return BERT_OK;
}

static bool node_is_read(const bert_node *node) {
    for (int32_t i = 0; i < node->output_count; i++) {
        const bert_value *output = node->outputs[i];
        if (output && (output->use_count || output->graph_output || output->branch_output)) return true;
    }
    return false;
}

static uint32_t remove_dead_in(bert_block *block) {
    uint32_t removed = 0;
    for (bert_node *node = block->last, *previous; node; node = previous) {
        previous = node->previous;
        if (!node_is_read(node)) {
            bert_graph_remove_node(node);
            removed++;
            continue;
        }
        for (size_t i = 0; i < node->attribute_count; i++) {
            if (node->attributes[i].kind == BERT_ATTRIBUTE_GRAPH) {
                removed += remove_dead_in(node->attributes[i].value.graph);
            }
        }
    }
    return removed;
}

uint32_t bert_graph_remove_dead(bert_graph *graph) {
    /* A node that a branch read may come before the If: again until nothing goes. */
    uint32_t removed = 0, last;
    do {
        last = remove_dead_in(&graph->body);
        removed += last;
    } while (last);
    for (uint32_t i = 0; i < graph->value_count; i++) {
        if (graph->values[i]) remove_if_alone(graph, graph->values[i]);
    }
    return removed;
}
