/* A composition that loads small graphs made in tests. */
#ifndef BERT_TESTS_RUNTIME_BUILD_H
#define BERT_TESTS_RUNTIME_BUILD_H

#include "core/base/error.h"
#include "core/runtime/model.h"
#include "core/runtime/session.h"
#include "tests/support/graph_build.h"

#include <bert/session.h>

/** Fills an empty graph. */
typedef bert_status (*build_fn)(bert_graph *graph, bert_error *error);

/** Loads what a build_fn makes; reference backend, no passes. */
extern const bert_composition build_composition;

/** Loads the graph of `build` with `composition` (NULL: build_composition). */
bert_status build_load(build_fn build, const bert_composition *composition, const bert_model_options *options,
                       bert_model **out, bert_error *error);

/** A named tensor over data. */
bert_named_tensor named(const char *name, bert_dtype dtype, int32_t rank, const int64_t *dims, void *data);
#define DIMS(...) ((const int64_t[]){__VA_ARGS__})

#endif
