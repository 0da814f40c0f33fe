/* What this build is put together from, and loading with it. */
#include "core/runtime/composition.h"

#include "core/base/error.h"
#include "core/passes/pass.h"
#include "core/runtime/model.h"
#include "core/runtime/reference_backend.h"
#include "cpu/cpu_backend.h"
#include "onnx_loader/onnx_loader.h"

static const bert_backend *const backends[] = {&bert_cpu_backend, &bert_reference_backend};
static const char *const plugins[] = {"cuda"};

static bert_status run_passes(bert_graph *graph, const bert_log *log, const bert_pass_report **out, bert_error *error) {
    bert_pass_report *report = BERT_ARENA_NEW(&graph->arena, bert_pass_report);
    if (!report) return bert_fail_memory(error, sizeof *report, "the report of the passes");
    report->arena = &graph->arena;
    *out = report;
    return bert_passes_run(graph, log, report, error);
}

const bert_composition bert_default_composition = {
    .load = bert_onnx_load,
    .run_passes = run_passes,
    .backends = backends,
    .backend_count = sizeof backends / sizeof *backends,
    .plugins = plugins,
    .plugin_count = sizeof plugins / sizeof *plugins,
    .reference = &bert_reference_backend,
};

static bert_status load(const bert_model_source *source, const bert_model_options *options, bert_model **out,
                        bert_error *error) {
    return bert_model_load_composed(&bert_default_composition, source, options, out, error);
}

bert_status bert_model_load(const char *path, const bert_model_options *options, bert_model **out, bert_error *error) {
    *out = NULL;
    if (!path) return bert_fail(error, BERT_INVALID_ARGUMENT, "the path of the model is NULL");
    return load(&(bert_model_source){.path = path}, options, out, error);
}

bert_status bert_model_load_memory(const void *data, size_t bytes, const bert_model_options *options, bert_model **out,
                                   bert_error *error) {
    *out = NULL;
    if (!data) return bert_fail(error, BERT_INVALID_ARGUMENT, "the model in memory is NULL");
    return load(&(bert_model_source){.data = data, .bytes = bytes}, options, out, error);
}
