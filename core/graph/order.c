/* The order of nodes in a block, and the check of a graph's invariants. */
#include "core/base/error.h"
#include "core/graph/op.h"

#include <string.h>

/* What a node waits for: its inputs, and for an If what its branches read from outside. */
typedef struct dependencies {
    bert_value **values;
    size_t count;
} dependencies;

static size_t count_inner_reads(const bert_node *node) {
    size_t count = (size_t)node->input_count;
    for (size_t i = 0; i < node->attribute_count; i++) {
        if (node->attributes[i].kind != BERT_ATTRIBUTE_GRAPH) continue;
        const bert_block *branch = node->attributes[i].value.graph;
        count += (size_t)branch->output_count;
        BERT_FOR_EACH_NODE (inner, branch) {
            count += count_inner_reads(inner);
        }
    }
    return count;
}

static void list_inner_reads(const bert_node *node, dependencies *out) {
    for (int32_t i = 0; i < node->input_count; i++) out->values[out->count++] = node->inputs[i];
    for (size_t i = 0; i < node->attribute_count; i++) {
        if (node->attributes[i].kind != BERT_ATTRIBUTE_GRAPH) continue;
        const bert_block *branch = node->attributes[i].value.graph;
        for (int32_t o = 0; o < branch->output_count; o++) out->values[out->count++] = branch->outputs[o];
        BERT_FOR_EACH_NODE (inner, branch) {
            list_inner_reads(inner, out);
        }
    }
}

static bool has_branches(const bert_node *node) {
    for (size_t i = 0; i < node->attribute_count; i++) {
        if (node->attributes[i].kind == BERT_ATTRIBUTE_GRAPH) return true;
    }
    return false;
}

static bool find_dependencies(const bert_node *node, dependencies *out) {
    if (!has_branches(node)) {
        *out = (dependencies){node->inputs, (size_t)node->input_count};
        return true;
    }
    *out = (dependencies){0};
    out->values = BERT_ARENA_NEW_ARRAY(&node->block->graph->arena, bert_value *, count_inner_reads(node));
    if (!out->values) return false;
    list_inner_reads(node, out);
    return true;
}

typedef struct frame {
    bert_node *node;
    dependencies waits_for;
    size_t next;
} frame;

enum { NEW, OPEN, DONE };

typedef struct sorter {
    bert_block *block;
    unsigned char *state; /* by node id */
    frame *stack;
    size_t depth;
    bert_node *first, *last; /* the sorted list */
} sorter;

static void append(sorter *s, bert_node *node) {
    node->previous = s->last;
    node->next = NULL;
    *(s->last ? &s->last->next : &s->first) = node;
    s->last = node;
    s->state[node->id] = DONE;
}

static bert_status push(sorter *s, bert_node *node, bert_error *error) {
    frame *f = &s->stack[s->depth++];
    *f = (frame){.node = node};
    s->state[node->id] = OPEN;
    if (find_dependencies(node, &f->waits_for)) return BERT_OK;
    return bert_fail_memory(error, sizeof(bert_value *), "the order of nodes");
}

/* Depth first without recursion: a chain may be as long as the graph. */
static bert_status visit(sorter *s, bert_node *root, bert_error *error) {
    BERT_TRY(push(s, root, error));
    while (s->depth) {
        frame *f = &s->stack[s->depth - 1];
        if (f->next == f->waits_for.count) {
            append(s, f->node);
            s->depth--;
            continue;
        }
        const bert_value *value = f->waits_for.values[f->next++];
        bert_node *writer = value ? value->producer : NULL;
        if (!writer || writer->block != s->block || s->state[writer->id] == DONE) continue;
        if (s->state[writer->id] == OPEN) {
            return bert_fail(error, BERT_INVALID_MODEL,
                             "the graph has a cycle: node %s (%s) needs tensor %s, which depends on that node's output",
                             bert_node_label(f->node), f->node->op->name, value->name);
        }
        BERT_TRY(push(s, writer, error));
    }
    return BERT_OK;
}

static bert_status sort_block(sorter *s, bert_block *block, bert_node **nodes, bert_error *error) {
    size_t count = 0;
    BERT_FOR_EACH_NODE (node, block) {
        nodes[count++] = node;
    }
    s->block = block;
    s->first = s->last = NULL;
    bert_status status = BERT_OK;
    for (size_t i = 0; i < count && status == BERT_OK; i++) {
        if (s->state[nodes[i]->id] == NEW) status = visit(s, nodes[i], error);
    }
    if (status != BERT_OK) {
        /* Give the list back as it was. */
        s->first = s->last = NULL;
        for (size_t i = 0; i < count; i++) append(s, nodes[i]);
    }
    block->first = s->first;
    block->last = s->last;
    if (status != BERT_OK) return status;
    /* `nodes` is free again for the blocks inside. */
    BERT_FOR_EACH_NODE (node, block) {
        for (size_t i = 0; i < node->attribute_count; i++) {
            if (node->attributes[i].kind != BERT_ATTRIBUTE_GRAPH) continue;
            BERT_TRY(sort_block(s, node->attributes[i].value.graph, nodes, error));
        }
    }
    return BERT_OK;
}

bert_status bert_graph_sort(bert_graph *graph, bert_error *error) {
    size_t count = (size_t)graph->next_node_id + 1;
    size_t bytes = count * (sizeof(frame) + sizeof(bert_node *) + 1);
    unsigned char *memory = bert_allocate(graph->allocator, bytes, BERT_ALIGNMENT);
    if (!memory) return bert_fail_memory(error, bytes, "the order of nodes");
    sorter s = {.stack = (frame *)memory, .state = memory + count * (sizeof(frame) + sizeof(bert_node *))};
    memset(s.state, NEW, count);
    bert_node **nodes = (bert_node **)(memory + count * sizeof(frame));
    bert_status status = sort_block(&s, &graph->body, nodes, error);
    bert_deallocate(graph->allocator, memory, bytes, BERT_ALIGNMENT);
    return status;
}

static bool reads(const bert_value *value, const bert_node *node, int32_t input) {
    for (uint32_t i = 0; i < value->use_count; i++) {
        if (value->uses[i].node == node && value->uses[i].input == input) return true;
    }
    return false;
}

static bert_status check_node(const bert_node *node, const unsigned char *written, bert_error *error) {
    const bert_graph *graph = node->block->graph;
    const bert_op *op = node->op;
    if (node->input_count < op->min_inputs || (op->max_inputs >= 0 && node->input_count > op->max_inputs) ||
        node->output_count < op->min_outputs || (op->max_outputs >= 0 && node->output_count > op->max_outputs)) {
        return bert_fail(error, BERT_INTERNAL, "node %s (%s) has %d inputs and %d outputs", bert_node_label(node),
                         op->name, node->input_count, node->output_count);
    }
    for (int32_t i = 0; i < node->input_count; i++) {
        const bert_value *value = node->inputs[i];
        if (!value) continue;
        if (graph->values[value->id] != value || !reads(value, node, i)) {
            return bert_fail(error, BERT_INTERNAL, "input %d of node %s (%s) does not know of its reader", i,
                             bert_node_label(node), op->name);
        }
        if (value->producer ? !written[value->id] : !value->graph_input && !value->info.constant) {
            return bert_fail(error, BERT_INTERNAL, "input %d of node %s (%s), %s, is read before it is written", i,
                             bert_node_label(node), op->name, value->name);
        }
    }
    for (int32_t i = 0; i < node->output_count; i++) {
        const bert_value *value = node->outputs[i];
        if (value && (value->producer != node || value->producer_output != i || graph->values[value->id] != value)) {
            return bert_fail(error, BERT_INTERNAL, "output %d of node %s (%s) does not know of its writer", i,
                             bert_node_label(node), op->name);
        }
    }
    return BERT_OK;
}

static bert_status check_block(const bert_block *block, unsigned char *written, bert_error *error) {
    const bert_node *previous = NULL;
    BERT_FOR_EACH_NODE (node, block) {
        if (node->previous != previous || node->block != block) {
            return bert_fail(error, BERT_INTERNAL, "node %s is wrongly linked", bert_node_label(node));
        }
        previous = node;
        BERT_TRY(check_node(node, written, error));
        for (size_t i = 0; i < node->attribute_count; i++) {
            if (node->attributes[i].kind != BERT_ATTRIBUTE_GRAPH) continue;
            BERT_TRY(check_block(node->attributes[i].value.graph, written, error));
        }
        for (int32_t i = 0; i < node->output_count; i++) {
            if (node->outputs[i]) written[node->outputs[i]->id] = 1;
        }
    }
    if (block->last != previous) return bert_fail(error, BERT_INTERNAL, "the last node of a block is wrong");
    return BERT_OK;
}

static bert_status check_value(const bert_value *value, bert_error *error) {
    for (uint32_t i = 0; i < value->use_count; i++) {
        const bert_use *use = &value->uses[i];
        if (use->input >= use->node->input_count || use->node->inputs[use->input] != value) {
            return bert_fail(error, BERT_INTERNAL, "tensor %s lists a reader that does not read it", value->name);
        }
    }
    if (value->producer && value->info.constant) {
        return bert_fail(error, BERT_INTERNAL, "tensor %s is a constant and written by a node", value->name);
    }
    return BERT_OK;
}

bert_status bert_graph_check(const bert_graph *graph, bert_error *error) {
    size_t bytes = (size_t)graph->value_count + 1;
    unsigned char *written = bert_allocate(graph->allocator, bytes, 1);
    if (!written) return bert_fail_memory(error, bytes, "the check of a graph");
    memset(written, 0, bytes);
    bert_status status = check_block(&graph->body, written, error);
    for (uint32_t i = 0; i < graph->value_count && status == BERT_OK; i++) {
        if (graph->values[i]) status = check_value(graph->values[i], error);
    }
    for (int32_t i = 0; i < graph->output_count && status == BERT_OK; i++) {
        const bert_value *output = graph->outputs[i];
        bool has_content = output->graph_input || output->info.constant || written[output->id];
        if (!output->graph_output || graph->values[output->id] != output || !has_content) {
            status = bert_fail(error, BERT_INTERNAL, "output %s has no content", graph->output_names[i]);
        }
    }
    bert_deallocate(graph->allocator, written, bytes, 1);
    return status;
}
