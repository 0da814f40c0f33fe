#include "core/runtime/deciders.h"

#include "core/base/error.h"

#include <string.h>

typedef struct search {
    const bert_graph *graph;
    bert_deciders *found;
    bool *seen;               /* by value id */
    const bert_value **stack; /* values whose content must be known; each is pushed once */
    size_t depth;
} search;

bool bert_node_is_if(const bert_node *node) {
    return bert_if_branch(node, true) != NULL;
}

const bert_block *bert_if_branch(const bert_node *node, bool condition) {
    const bert_attribute *branch =
        bert_attribute_find(node->attributes, node->attribute_count, condition ? "then_branch" : "else_branch");
    return branch && branch->kind == BERT_ATTRIBUTE_GRAPH ? branch->value.graph : NULL;
}

/* Shapes are what these give, and those are known without any content. */
static bool reads_shapes_only(const bert_node *node) {
    return node->op->id == BERT_OP_Shape || node->op->id == BERT_OP_Size;
}

static void push(search *s, const bert_value *value) {
    if (!value || s->seen[value->id]) return;
    s->seen[value->id] = true;
    s->stack[s->depth++] = value;
}

static void push_branches(search *s, const bert_node *node, int32_t output) {
    for (int condition = 0; condition < 2; condition++) {
        const bert_block *branch = bert_if_branch(node, condition);
        if (branch && output < branch->output_count) push(s, branch->outputs[output]);
    }
}

static void mark_input(search *s, const bert_value *value) {
    for (int32_t i = 0; i < s->graph->input_count; i++) {
        if (s->graph->inputs[i] == value) s->found->inputs[i] = true;
    }
}

/* Everything that the values on the stack are computed from. */
static void follow_back(search *s) {
    while (s->depth) {
        const bert_value *value = s->stack[--s->depth];
        if (value->graph_input) mark_input(s, value);
        const bert_node *node = value->producer;
        if (!node) continue;
        s->found->nodes[node->id] = true;
        if (reads_shapes_only(node)) continue;
        for (int32_t i = 0; i < node->input_count; i++) push(s, node->inputs[i]);
        if (bert_node_is_if(node)) push_branches(s, node, value->producer_output);
    }
}

static void push_deciders_of(search *s, const bert_block *block) {
    BERT_FOR_EACH_NODE (node, block) {
        if (bert_node_is_if(node)) {
            push(s, node->inputs[0]);
            for (int condition = 0; condition < 2; condition++) {
                const bert_block *branch = bert_if_branch(node, condition);
                if (branch) push_deciders_of(s, branch);
            }
            continue;
        }
        for (int32_t i = 0; i < node->input_count && i < 32; i++) {
            if (node->op->shape_inputs >> i & 1) push(s, node->inputs[i]);
        }
    }
}

static bool is_known(const search *s, const bert_value *value) {
    return !value || value->info.constant || s->found->known[value->id];
}

static void find_known(search *s, const bert_block *block);

static bool if_output_is_known(const search *s, const bert_node *node, int32_t output) {
    if (!is_known(s, node->inputs[0])) return false;
    for (int condition = 0; condition < 2; condition++) {
        const bert_block *branch = bert_if_branch(node, condition);
        if (!branch || output >= branch->output_count || !is_known(s, branch->outputs[output])) return false;
    }
    return true;
}

static void find_known_of_if(search *s, const bert_node *node) {
    for (int condition = 0; condition < 2; condition++) {
        const bert_block *branch = bert_if_branch(node, condition);
        if (branch) find_known(s, branch);
    }
    for (int32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i]) s->found->known[node->outputs[i]->id] = if_output_is_known(s, node, i);
    }
}

static void find_known(search *s, const bert_block *block) {
    BERT_FOR_EACH_NODE (node, block) {
        if (bert_node_is_if(node)) {
            find_known_of_if(s, node);
            continue;
        }
        bool known = !(node->op->flags & BERT_OP_IMPURE);
        for (int32_t i = 0; i < node->input_count && known && !reads_shapes_only(node); i++) {
            known = is_known(s, node->inputs[i]);
        }
        for (int32_t i = 0; i < node->output_count; i++) {
            if (node->outputs[i]) s->found->known[node->outputs[i]->id] = known;
        }
    }
}

bert_status bert_deciders_find(const bert_graph *graph, bert_arena *arena, bert_deciders *out, bert_error *error) {
    size_t values = graph->value_count, nodes = graph->next_node_id, inputs = (size_t)graph->input_count;
    search s = {.graph = graph, .found = out};
    *out = (bert_deciders){.inputs = BERT_ARENA_NEW_ARRAY(arena, bool, inputs),
                           .nodes = BERT_ARENA_NEW_ARRAY(arena, bool, nodes),
                           .known = BERT_ARENA_NEW_ARRAY(arena, bool, values)};
    s.seen = BERT_ARENA_NEW_ARRAY(arena, bool, values);
    s.stack = BERT_ARENA_NEW_ARRAY(arena, const bert_value *, values);
    if (!out->inputs || !out->nodes || !out->known || !s.seen || !s.stack) {
        return bert_fail_memory(error, values * sizeof *s.stack, "the search for what decides shapes");
    }
    push_deciders_of(&s, &graph->body);
    follow_back(&s);
    for (size_t i = 0; i < inputs; i++) {
        if (out->inputs[i]) out->known[graph->inputs[i]->id] = true;
    }
    find_known(&s, &graph->body);
    return BERT_OK;
}
