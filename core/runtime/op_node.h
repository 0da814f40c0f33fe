/* Showing nodes of a graph to a backend. */
#ifndef BERT_RUNTIME_OP_NODE_H
#define BERT_RUNTIME_OP_NODE_H

#include "core/graph/op.h"

/**
 * Fills `out`, its arrays in `arena`. `infos` is what is known of values, by id; NULL takes what the graph knows.
 * Dimensions that are not numbers become -1. BERT_OUT_OF_MEMORY.
 */
bert_status bert_describe_node(bert_arena *arena, const bert_node *node, const bert_value_info *infos,
                               bert_op_node *out, bert_error *error);

/** "node /bert/Add (Add)", before the sentence of `error`. */
bert_status bert_fail_in_node(bert_error *error, bert_status status, const bert_node *node);

/** Multiplications and additions of one run of the node; 0 for ops that are not counted. Shapes are known. */
int64_t bert_count_flops(const bert_op_node *node);

#endif
