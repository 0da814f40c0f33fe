/* bertc inspect: what is in a model, and what becomes of it. */
#include "cli/inspect.h"

#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/model_inputs.h"
#include "cli/output.h"
#include "core/base/error.h"
#include "core/runtime/model.h"
#include "core/runtime/padding.h"
#include "onnx_loader/save.h"
#include "pipelines/model_files.h"

#include <stdlib.h>

typedef enum inspect_format { FORMAT_TEXT, FORMAT_JSON, FORMAT_DOT } inspect_format;
static const char *const formats[] = {"text", "json", "dot", NULL};

typedef struct inspect_options {
    bert_engine_options engine;
    bert_option_list shapes;
    bert_dimensions dimensions;
    bool passes;
    int format;
    const char *save_optimized;
    bool external_data;
} inspect_options;

/* The plan for the shapes that were asked for. */
static bert_status bind(const inspect_options *options, bert_engine *engine, bert_inspection *inspection,
                        bert_error *error) {
    const bert_option_list no_files = {0};
    bert_model_inputs inputs;
    BERT_TRY(bert_model_inputs_make(engine->model, &no_files, &options->dimensions, true, 0, &inputs, error));
    bert_status status = bert_engine_start(&options->engine, BERT_PADDED_ROWS_EXACT, false, engine, error);
    size_t count = bert_model_output_count(engine->model);
    const char **names = calloc(count + 1, sizeof *names);
    if (status == BERT_OK && !names) status = bert_fail_memory(error, count * sizeof *names, "outputs");
    for (size_t i = 0; status == BERT_OK && i < count; i++) {
        bert_model_tensor output;
        status = bert_model_output(engine->model, i, &output);
        names[i] = output.name;
    }
    if (status == BERT_OK) status = bert_session_bind(engine->session, inputs.named, inputs.count, names, count, error);
    if (status == BERT_OK) {
        inspection->plan = bert_session_plan(engine->session);
        inspection->provider = bert_session_provider(engine->session);
        inspection->memory.struct_size = sizeof inspection->memory;
        bert_session_get_memory(engine->session, &inspection->memory);
    }
    free(names);
    bert_model_inputs_free(&inputs);
    return status;
}

static bert_status show(const inspect_options *options, const bert_inspection *inspection, bert_error *error) {
    bert_json_out json = {0};
    switch ((inspect_format)options->format) {
    case FORMAT_TEXT:
        bert_inspect_print(inspection);
        return BERT_OK;
    case FORMAT_DOT:
        bert_inspect_dot(inspection);
        return BERT_OK;
    case FORMAT_JSON:
        break;
    }
    bert_inspect_json(inspection, &json);
    bert_output_write(json.text, json.length);
    bert_status status = json.failed ? bert_fail_memory(error, json.capacity, "the answer") : BERT_OK;
    bert_json_out_free(&json);
    return status;
}

static bert_status inspect(const inspect_options *options, const char *model, bert_error *error) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    bert_model_files files;
    bert_engine engine = {0};
    bert_inspection inspection = {.all_passes = options->passes};
    bert_status status = bert_model_files_find(model, NULL, &arena, &files, error);
    if (status == BERT_OK) status = bert_engine_load(&options->engine, files.model, &engine, error);
    if (status == BERT_OK) {
        inspection.path = files.model;
        inspection.model = engine.model;
        inspection.graph = bert_model_graph(engine.model);
        inspection.report = bert_model_pass_report(engine.model);
        status = bert_inspection_count(&inspection, &arena, error);
        if (status == BERT_OK) status = bert_inspection_find_plain(&inspection, &arena, error);
    }
    if (status == BERT_OK) {
        status = bert_padding_check(engine.model, BERT_QUANT_SCOPE_SEQUENCE, &arena, &inspection.padding, error);
    }
    if (status == BERT_OK && options->save_optimized) {
        const bert_onnx_save_options save_options = {.external_data = options->external_data};
        status = bert_onnx_save(inspection.graph, options->save_optimized, &save_options, error);
    }
    if (status == BERT_OK && options->shapes.count) status = bind(options, &engine, &inspection, error);
    if (status == BERT_OK) status = show(options, &inspection, error);
    bert_engine_close(&engine);
    bert_arena_free(&arena);
    return status;
}

static int parse_and_inspect(int argc, char **argv, inspect_options *options) {
    bert_option engine_rows[BERT_ENGINE_OPTION_COUNT];
    bert_engine_option_rows(&options->engine, BERT_QUANT_SCOPE_TENSOR, engine_rows);
    options->engine.weights_at_once = true;
    const bert_option own_rows[] = {
        {.name = "format",
         .kind = BERT_OPTION_CHOICE,
         .value = &options->format,
         .argument = "text|json|dot",
         .choices = formats,
         .help = "for people (default), programs, or Graphviz"},
        {.name = "passes", .value = &options->passes, .help = "every rewrite, and every place where one stopped short"},
        {.name = "shape",
         .kind = BERT_OPTION_LIST,
         .value = &options->shapes,
         .argument = "NAME=N[,...]",
         .help = "also the plan and memory for these sizes of symbolic\ndimensions: batch=2,sequence=16"},
        {.name = "save-optimized",
         .kind = BERT_OPTION_STRING,
         .value = &options->save_optimized,
         .argument = "FILE",
         .help =
             "write the rewritten graph as a .onnx file: what was\nrewritten is a function, of ONNX's own operators"},
        {.name = "external-data",
         .value = &options->external_data,
         .help = "with --save-optimized: weights in FILE.data (beyond\n2 GiB they always are)"},
    };
    const bert_usage usage = {
        .synopsis = "bertc inspect MODEL [OPTION ...]",
        .text = "Shows a model's inputs, outputs, operators, weights, and what the rewriting passes did.\n",
        .groups = {{"Inspecting", own_rows, sizeof own_rows / sizeof own_rows[0]},
                   {"Engine", engine_rows, BERT_ENGINE_OPTION_COUNT}},
        .least_arguments = 1,
        .greatest_arguments = 1};
    int first;
    int status = bert_options_parse(argc, argv, &usage, &first);
    if (status != BERT_OPTIONS_GO_ON) return status;
    status = bert_dimensions_parse("inspect", &options->shapes, &options->dimensions);
    if (status != BERT_OPTIONS_GO_ON) return status;
    bert_error error;
    return inspect(options, argv[first], &error) == BERT_OK ? BERT_EXIT_OK : bert_cli_failed(&error);
}

int bert_command_inspect(int argc, char **argv) {
    inspect_options options = {0};
    int status = parse_and_inspect(argc, argv, &options);
    free(options.shapes.values);
    return status;
}
