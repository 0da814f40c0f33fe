/* Which contents decide shapes, and what is known once shapes are. */
#ifndef BERT_RUNTIME_DECIDERS_H
#define BERT_RUNTIME_DECIDERS_H

#include "core/graph/op.h"

/** Facts about a graph that binding relies on; found once, when the model is loaded. */
typedef struct bert_deciders {
    bool
        *inputs; /**< By index of the graph's inputs: its content decides a shape or a branch, so plans depend on it. */
    bool *nodes; /**< By node id: a shape or a branch depends on its output, so binding must evaluate it. */
    bool *known; /**< By value id: content that follows from shapes and deciding inputs: binding can evaluate it. */
} bert_deciders;

/** Arrays lie in `arena`. BERT_OUT_OF_MEMORY. */
bert_status bert_deciders_find(const bert_graph *graph, bert_arena *arena, bert_deciders *out, bert_error *error);

/** Whether the node is an If: it chooses a branch by its first input. */
bool bert_node_is_if(const bert_node *node);
/** The branch of an If that a condition chooses; NULL when the node has none of that name. */
const bert_block *bert_if_branch(const bert_node *node, bool condition);

#endif
