#include "tests/runtime/build.h"

#include "core/base/error.h"
#include "core/runtime/reference_backend.h"

#include <string.h>

static bert_status load(const bert_model_source *source, bert_graph **out, bert_error *error) {
    build_fn build;
    memcpy(&build, source->data, sizeof build);
    bert_graph *graph = bert_graph_create(source->allocator);
    if (!graph) return bert_fail_memory(error, sizeof *graph, "a graph");
    bert_status status = build(graph, error);
    if (status == BERT_OK) status = bert_graph_sort(graph, error);
    if (status == BERT_OK) status = bert_graph_check(graph, error);
    if (status != BERT_OK) {
        bert_graph_free(graph);
        return status;
    }
    *out = graph;
    return BERT_OK;
}

static bert_status run_no_passes(bert_graph *graph, const bert_log *log, const struct bert_pass_report **report,
                                 bert_error *error) {
    return BERT_OK;
}

static const bert_backend *const backends[] = {&bert_reference_backend};

const bert_composition build_composition = {.load = load,
                                            .run_passes = run_no_passes,
                                            .backends = backends,
                                            .backend_count = 1,
                                            .reference = &bert_reference_backend};

bert_status build_load(build_fn build, const bert_composition *composition, const bert_model_options *options,
                       bert_model **out, bert_error *error) {
    bert_model_source source = {.data = &build, .bytes = sizeof build};
    return bert_model_load_composed(composition ? composition : &build_composition, &source, options, out, error);
}

bert_named_tensor named(const char *name, bert_dtype dtype, int32_t rank, const int64_t *dims, void *data) {
    bert_named_tensor tensor = {.name = name, .tensor = {.dtype = dtype, .rank = rank, .data = data}};
    for (int32_t i = 0; i < rank; i++) tensor.tensor.dims[i] = dims[i];
    return tensor;
}
