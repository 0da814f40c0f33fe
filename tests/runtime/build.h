/* Small graphs made in tests, and a composition that loads them. */
#ifndef BERT_TESTS_RUNTIME_BUILD_H
#define BERT_TESTS_RUNTIME_BUILD_H

#include "core/base/error.h"
#include "core/graph/op.h"
#include "core/runtime/model.h"
#include "core/runtime/session.h"

#include <bert/session.h>

/** Fills an empty graph. */
typedef bert_status (*build_fn)(bert_graph *graph, bert_error *error);

/** Loads what a build_fn makes; reference backend, no passes. */
extern const bert_composition build_composition;

/** Loads the graph of `build` with `composition` (NULL: build_composition). */
bert_status build_load(build_fn build, const bert_composition *composition, const bert_model_options *options,
                       bert_model **out, bert_error *error);

/** A value of a graph input: `dims` as "batch,3,sequence"; "" is a scalar. NULL when memory runs out, as all below. */
bert_value *build_input(bert_graph *graph, const char *name, bert_dtype dtype, const char *dims);
/** A constant over a copy of `data`. */
bert_value *build_constant(bert_graph *graph, bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data);
bert_value *build_int64s(bert_graph *graph, int64_t count, const int64_t *elements);
bert_value *build_int64(bert_graph *graph, int64_t element);
bert_value *build_float(bert_graph *graph, float element);
/** The output, named `name`, of a new node of an op of ai.onnx at opset 17. Inputs end with BUILD_END. */
bert_value *build_node(bert_block *block, const char *op, const char *name, const bert_attribute *attributes,
                       size_t attribute_count, bert_value *first, ...);
#define BUILD_END ((bert_value *)-1)
/** An output that is unread gets memory too: the second output of a node, say. */
bert_status build_inputs(bert_graph *graph, bert_error *error, bert_value *first, ...);
bert_status build_outputs(bert_graph *graph, bert_error *error, bert_value *first, ...);

/** A named tensor over data. */
bert_named_tensor named(const char *name, bert_dtype dtype, int32_t rank, const int64_t *dims, void *data);
#define DIMS(...) ((const int64_t[]){__VA_ARGS__})

#endif
