/* A composition that loads small graphs made in tests. */
#ifndef BERT_TESTS_RUNTIME_BUILD_H
#define BERT_TESTS_RUNTIME_BUILD_H

#include "core/base/error.h"
#include "core/runtime/model.h"
#include "core/runtime/session.h"
#include "tests/support/graph_build.h"

#include <bert/backend.h>
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

/** The value as a matrix whose rows are `width` wide; NULL when memory runs out. */
bert_value *build_matrix(bert_graph *graph, bert_value *x, int64_t width);

/** The plan function of a bert_backend. */
typedef bert_status build_plan_fn(bert_prepared *prepared, bert_context *context, const bert_op_node *node,
                                  bert_plan_mode mode, bert_op_plan *out, bert_error *error);

enum { BUILD_MOST_OUTPUTS = 8 };

/** A session on the reference backend with another plan function. Stays where it is from open to close. */
typedef struct build_planned {
    bert_backend backend;
    const bert_backend *backends[1];
    bert_composition composition;
    bert_model *model;
    bert_session *session;
    bert_named_tensor outputs[BUILD_MOST_OUTPUTS];
    size_t output_count;
} build_planned;

/** Loads the graph of `build` and makes its session; a failure fails the test. */
void build_planned_open(build_planned *out, build_fn build, build_plan_fn *plan);
/** Runs it for all of its outputs, which are the session's until its next run. */
bert_status build_planned_run(build_planned *planned, const bert_named_tensor *input, bert_error *error);
void build_planned_close(build_planned *planned);

#endif
