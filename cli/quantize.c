/* bertc quantize: a float32 model to dynamic INT8, as ONNX. */
#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/output.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/passes/quantize_dynamic.h"
#include "core/runtime/composition.h"
#include "onnx_loader/save.h"
#include "pipelines/model_files.h"

#include <inttypes.h>

static const char *const weight_types[] = {"int8", "uint8", NULL};

typedef struct quantize_options {
    int weights; /* index of weight_types */
    bool per_channel, external_data;
} quantize_options;

static bert_status quantize_graph(const quantize_options *options, bert_graph *graph, const char *out,
                                  const bert_log *log, bert_error *error) {
    const bert_quantize_options how = {.weights = options->weights == 0 ? BERT_INT8 : BERT_UINT8,
                                       .per_channel = options->per_channel};
    const bert_onnx_save_options save_options = {.external_data = options->external_data};
    bert_quantize_report report;
    BERT_TRY(bert_quantize_dynamic(graph, &how, log, &report, error));
    if (report.products + report.tables == 0)
        return bert_fail(error, BERT_INVALID_MODEL, "the model has no float32 weights to quantize");
    BERT_TRY(bert_onnx_save(graph, out, &save_options, error));
    if (report.left)
        bert_log_write(log, BERT_LOG_NOTICE, "%" PRId64 " product%s stayed float32, %s first", report.left,
                       report.left == 1 ? "" : "s", report.first_left);
    bert_output_print("%s: %" PRId64 " products and %" PRId64 " tables quantized\n", out, report.products,
                      report.tables);
    return BERT_OK;
}

static bert_status quantize(const quantize_options *options, const bert_engine_options *engine, const char *model,
                            const char *out, bert_error *error) {
    bert_model_files files;
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    bert_graph *graph = NULL;
    const bert_log log = bert_engine_log(engine);
    bert_status status = bert_model_files_find(model, NULL, &arena, &files, error);
    if (status == BERT_OK) {
        const bert_model_source source = {.path = files.model, .log = &log};
        status = bert_default_composition.load(&source, &graph, error);
    }
    if (status == BERT_OK) {
        status = quantize_graph(options, graph, out, &log, error);
        bert_graph_free(graph);
    }
    bert_arena_free(&arena);
    return status;
}

int bert_command_quantize(int argc, char **argv) {
    quantize_options options = {0};
    bert_engine_options engine;
    bert_option engine_rows[BERT_ENGINE_OPTION_COUNT];
    bert_engine_option_rows(&engine, BERT_QUANT_SCOPE_TENSOR, engine_rows);
    const bert_option rows[] = {
        {.name = "weights",
         .kind = BERT_OPTION_CHOICE,
         .value = &options.weights,
         .argument = "int8|uint8",
         .choices = weight_types,
         .help = "what weights become: int8 (default), symmetric, or\nuint8 with a zero point"},
        {.name = "per-channel", .value = &options.per_channel, .help = "a scale for each column of a weight"},
        {.name = "external-data",
         .value = &options.external_data,
         .help = "weights in OUT.data (beyond 2 GiB they always are)"},
    };
    const bert_usage usage = {
        .synopsis = "bertc quantize MODEL OUT [OPTION ...]",
        .text = "Writes a float32 model as dynamic INT8: weights of products and tables become bytes, activations are\n"
                "quantized while it runs. OUT is ONNX, of operators that ONNX Runtime has too.\n",
        .groups = {{"Quantizing", rows, sizeof rows / sizeof rows[0]},
                   {BERT_ENGINE_NOTICES_TITLE, engine_rows, BERT_ENGINE_OPTION_COUNT}},
        .least_arguments = 2,
        .greatest_arguments = 2,
    };
    int first;
    const int go_on = bert_options_parse(argc, argv, &usage, &first);
    if (go_on != BERT_OPTIONS_GO_ON) return go_on;
    bert_error error = {0};
    if (quantize(&options, &engine, argv[first], argv[first + 1], &error) != BERT_OK) return bert_cli_failed(&error);
    return BERT_EXIT_OK;
}
