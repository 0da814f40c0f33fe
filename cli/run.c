/* bertc run: a model on tensors. */
#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/model_inputs.h"
#include "cli/output.h"
#include "core/base/error.h"
#include "pipelines/model_files.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const file_formats[] = {"npy", "pb", NULL};

typedef struct run_options {
    bert_engine_options engine;
    bert_option_list inputs, outputs, shapes;
    bert_dimensions dimensions;
    bool random;
    const char *output_dir;
    int output_format;
} run_options;

/* One line an output: name, type, shape, least, mean, greatest, and the first elements. */
static void print_summary(const bert_named_tensor *output) {
    enum { SHOWN = 6 };
    const bert_tensor *tensor = &output->tensor;
    int64_t count = bert_tensor_elements(tensor);
    double least = INFINITY;
    double greatest = -INFINITY;
    double sum = 0;
    int64_t nans = 0;
    char shape[BERT_SHAPE_TEXT_BYTES];
    for (int64_t i = 0; i < count; i++) {
        double value = bert_tensor_element(tensor, i);
        nans += isnan(value);
        least = fmin(least, value);
        greatest = fmax(greatest, value);
        sum += isnan(value) ? 0 : value;
    }
    bert_output_print("%s  %s%s", output->name, bert_dtype_name(tensor->dtype),
                      bert_shape_text(tensor->dims, tensor->rank, shape));
    if (count > nans) {
        bert_output_print("  least %.6g  mean %.6g  greatest %.6g", least, sum / (double)(count - nans), greatest);
    }
    if (nans) bert_output_print("  NaN %" PRId64, nans);
    bert_output_print("\n    ");
    for (int64_t i = 0; i < count && i < SHOWN; i++) {
        bert_output_print("%s%.9g", i ? " " : "", bert_tensor_element(tensor, i));
    }
    bert_output_print("%s\n", count > SHOWN ? " ..." : "");
}

/* The name as a file can have it: what a file name can't hold becomes '_'. NULL when memory runs out. */
static char *file_name(bert_arena *arena, const char *name) {
    char *base = bert_arena_string(arena, name, strlen(name));
    for (char *c = base; c && *c; c++) {
        if (strchr("/\\:*?\"<>|", *c) || (unsigned char)*c < 0x20) *c = '_';
    }
    if (base && (base[0] == '.' || base[0] == '\0')) return bert_arena_format(arena, "_%s", base);
    return base;
}

/* Where an output goes; one whose name another output has already in its file gets a number. */
static const char *output_path(const run_options *options, const bert_named_tensor *outputs, size_t at,
                               bert_arena *arena) {
    const char *base = file_name(arena, outputs[at].name);
    const char *ending = file_formats[options->output_format];
    for (size_t i = 0; base && i < at; i++) {
        const char *other = file_name(arena, outputs[i].name);
        if (other && strcmp(other, base) == 0) {
            return bert_arena_format(arena, "%s/%s_%zu.%s", options->output_dir, base, at, ending);
        }
    }
    return base ? bert_arena_format(arena, "%s/%s.%s", options->output_dir, base, ending) : NULL;
}

static bert_status write_output(const run_options *options, const bert_named_tensor *outputs, size_t at,
                                bert_error *error) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    const char *path = output_path(options, outputs, at, &arena);
    bert_status status = path ? bert_tensor_file_write(path, outputs[at].name, &outputs[at].tensor, error)
                              : bert_fail_memory(error, strlen(outputs[at].name), "a path");
    bert_arena_free(&arena);
    return status;
}

static bert_status write_outputs(const run_options *options, const bert_named_tensor *outputs, size_t count,
                                 bert_error *error) {
    if (options->output_dir && mkdir(options->output_dir, 0777) && errno != EEXIST) {
        return bert_fail(error, BERT_IO_ERROR, "cannot make the folder '%s': %s", options->output_dir, strerror(errno));
    }
    for (size_t i = 0; i < count; i++) {
        if (options->output_dir) BERT_TRY(write_output(options, outputs, i, error));
        print_summary(&outputs[i]);
    }
    return BERT_OK;
}

/* The outputs that --output names, else all. */
static bert_status choose_outputs(const run_options *options, const bert_model *model, bert_named_tensor **out,
                                  size_t *count, bert_error *error) {
    *count = options->outputs.count ? options->outputs.count : bert_model_output_count(model);
    *out = calloc(*count + 1, sizeof **out);
    if (!*out) return bert_fail_memory(error, *count * sizeof **out, "outputs");
    for (size_t i = 0; i < *count; i++) {
        bert_model_tensor declared = {.name = options->outputs.count ? options->outputs.values[i] : NULL};
        if (!declared.name) BERT_TRY(bert_model_output(model, i, &declared));
        (*out)[i].name = declared.name;
    }
    return BERT_OK;
}

static bert_status run(const run_options *options, const char *model, bert_error *error) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    bert_model_files files;
    bert_engine engine = {0};
    bert_model_inputs inputs = {0};
    bert_named_tensor *outputs = NULL;
    size_t output_count = 0;
    bert_status status = bert_model_files_find(model, NULL, &arena, &files, error);
    if (status == BERT_OK) {
        status = bert_engine_load_outputs(&options->engine, files.model, options->outputs.values,
                                          options->outputs.count, false, &engine, error);
    }
    if (status == BERT_OK) {
        status = bert_model_inputs_make(engine.model, &options->inputs, &options->dimensions, options->random,
                                        (uint64_t)options->engine.seed, &inputs, error);
    }
    if (status == BERT_OK) status = choose_outputs(options, engine.model, &outputs, &output_count, error);
    if (status == BERT_OK) {
        status = bert_engine_start(&options->engine, BERT_PADDED_ROWS_EXACT, false, &engine, error);
    }
    if (status == BERT_OK) {
        status = bert_session_run(engine.session, NULL, inputs.named, inputs.count, outputs, output_count, error);
    }
    if (status == BERT_OK) status = write_outputs(options, outputs, output_count, error);
    free(outputs);
    bert_model_inputs_free(&inputs);
    bert_engine_close(&engine);
    bert_arena_free(&arena);
    return status;
}

static int parse_and_run(int argc, char **argv, run_options *options) {
    bert_option engine_rows[BERT_ENGINE_OPTION_COUNT];
    bert_engine_option_rows(&options->engine, BERT_QUANT_SCOPE_TENSOR, engine_rows);
    const bert_option own_rows[] = {
        {.name = "input",
         .kind = BERT_OPTION_LIST,
         .value = &options->inputs,
         .argument = "NAME=FILE",
         .help = "an input's tensor, .npy or .pb; may be given for each"},
        {.name = "random", .value = &options->random, .help = "make up the inputs that no --input gives"},
        {.name = "shape",
         .kind = BERT_OPTION_LIST,
         .value = &options->shapes,
         .argument = "NAME=N[,...]",
         .help = "sizes of symbolic dimensions: batch=2,sequence=16;\nINPUT:INDEX=N for one that has no name"},
        {.name = "output",
         .kind = BERT_OPTION_LIST,
         .value = &options->outputs,
         .argument = "NAME",
         .help = "compute this output, or tensor inside the graph, only;\nmay be given again"},
        {.name = "output-dir",
         .kind = BERT_OPTION_STRING,
         .value = &options->output_dir,
         .argument = "DIR",
         .help = "write each output into a file here"},
        {.name = "output-format",
         .kind = BERT_OPTION_CHOICE,
         .value = &options->output_format,
         .argument = "npy|pb",
         .choices = file_formats,
         .help = "of those files (default: npy)"},
    };
    const bert_usage usage = {.synopsis = "bertc run MODEL [OPTION ...]",
                              .text = "Runs a model once and shows its outputs.\n",
                              .groups = {{"Tensors", own_rows, sizeof own_rows / sizeof own_rows[0]},
                                         {"Engine", engine_rows, BERT_ENGINE_OPTION_COUNT}},
                              .least_arguments = 1,
                              .greatest_arguments = 1};
    int first;
    int status = bert_options_parse(argc, argv, &usage, &first);
    if (status != BERT_OPTIONS_GO_ON) return status;
    status = bert_dimensions_parse("run", &options->shapes, &options->dimensions);
    if (status != BERT_OPTIONS_GO_ON) return status;
    bert_error error;
    return run(options, argv[first], &error) == BERT_OK ? BERT_EXIT_OK : bert_cli_failed(&error);
}

int bert_command_run(int argc, char **argv) {
    run_options options = {0};
    int status = parse_and_run(argc, argv, &options);
    free(options.inputs.values);
    free(options.outputs.values);
    free(options.shapes.values);
    return status;
}
