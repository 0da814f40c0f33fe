#include "tests/runtime/build.h"

#include "core/base/error.h"
#include "core/runtime/reference_backend.h"
#include "tests/support/test.h"

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

bert_value *build_matrix(bert_graph *graph, bert_value *x, int64_t width) {
    return build_node(&graph->body, "Reshape", NULL, NULL, 0, x, build_int64s(graph, 2, DIMS(-1, width)), BUILD_END);
}

void build_planned_open(build_planned *out, build_fn build, build_plan_fn *plan) {
    bert_model_tensor described;
    bert_error error;
    *out = (build_planned){.backend = bert_reference_backend, .composition = build_composition};
    out->backend.plan = plan;
    out->backends[0] = &out->backend;
    out->composition.backends = out->backends;
    if (build_load(build, &out->composition, NULL, &out->model, &error) != BERT_OK) fail_msg("%s", error.message);
    if (bert_session_create(out->model, NULL, &out->session, &error) != BERT_OK) fail_msg("%s", error.message);
    out->output_count = bert_model_output_count(out->model);
    assert_true(out->output_count <= BUILD_MOST_OUTPUTS);
    for (size_t i = 0; i < out->output_count; i++) {
        assert_int_equal(bert_model_output(out->model, i, &described), BERT_OK);
        out->outputs[i].name = described.name;
    }
}

bert_status build_planned_run(build_planned *planned, const bert_named_tensor *input, bert_error *error) {
    return bert_session_run(planned->session, NULL, input, 1, planned->outputs, planned->output_count, error);
}

void build_planned_close(build_planned *planned) {
    bert_session_free(planned->session);
    bert_model_free(planned->model);
}
