/* Graphs made by hand in tests. Everything returns NULL when memory runs out, so that tests can let it. */
#ifndef BERT_TESTS_SUPPORT_GRAPH_BUILD_H
#define BERT_TESTS_SUPPORT_GRAPH_BUILD_H

#include "core/graph/op.h"

/** A value of a graph input: `dims` as "batch,3,sequence", or with spaces; "" is a scalar. */
bert_value *build_input(bert_graph *graph, const char *name, bert_dtype dtype, const char *dims);
/** A constant over a copy of `data`, at an odd address, as most weights of real files have. */
bert_value *build_constant(bert_graph *graph, bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data);
bert_value *build_int64s(bert_graph *graph, int64_t count, const int64_t *elements);
bert_value *build_int64(bert_graph *graph, int64_t element);
bert_value *build_float(bert_graph *graph, float element);

/** The output of a new node, named `name` as the node is (NULL: made up). Absent inputs are NULL. */
bert_value *build_node_of(bert_block *block, const bert_op *op, int32_t opset, const char *name,
                          const bert_attribute *attributes, size_t attribute_count, bert_value *const *inputs,
                          int32_t input_count);
/** The same of an op of ai.onnx at opset 17. Inputs end with BUILD_END; one that is NULL fails. */
bert_value *build_node(bert_block *block, const char *op, const char *name, const bert_attribute *attributes,
                       size_t attribute_count, bert_value *first, ...);
#define BUILD_END ((bert_value *)-1)

bert_status build_inputs(bert_graph *graph, bert_error *error, bert_value *first, ...);
/** An output that is unread gets memory too: the second output of a node, say. */
bert_status build_outputs(bert_graph *graph, bert_error *error, bert_value *first, ...);

#endif
