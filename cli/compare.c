/* bertc compare: every tensor of a case against the same one here. */
#include "cli/compare.h"

#include "cli/cli.h"
#include "core/base/error.h"
#include "pipelines/model_files.h"

#include <string.h>

static const char *const formats[] = {"text", "json", NULL};

typedef struct compare_options {
    bert_engine_options engine;
    bert_tolerance given; /* Negative: not given. */
    bool all;
    int format;
} compare_options;

/* The data sets of a case, or the folder itself where it is one. */
static bert_status find_data_sets(const bert_case *item, bert_arena *arena, const char ***out, size_t *count,
                                  bert_error *error) {
    const char **files;
    size_t file_count;
    BERT_TRY(bert_case_data_sets(item, arena, out, count, error));
    if (*count) return BERT_OK;
    BERT_TRY(bert_case_files(item->folder, "output_", arena, &files, &file_count, error));
    if (!file_count) {
        return bert_fail(error, BERT_INVALID_INPUT, "'%s' has neither test_data_set_* nor output_*.pb to compare with",
                         item->folder);
    }
    *out = BERT_ARENA_NEW_ARRAY(arena, const char *, 1);
    if (!*out) return bert_fail_memory(error, sizeof **out, "a path");
    (*out)[0] = item->folder;
    *count = 1;
    return BERT_OK;
}

static bert_status compare(const compare_options *options, const char *model, const char *path, bert_arena *arena,
                           bert_comparing *out, bert_error *error) {
    bert_model_files files;
    bert_case item;
    const char **data_sets;
    size_t count;
    BERT_TRY(bert_model_files_find(model, NULL, arena, &files, error));
    BERT_TRY(bert_case_open(path, arena, &item, error));
    BERT_TRY(find_data_sets(&item, arena, &data_sets, &count, error));
    out->model = files.model;
    out->name = item.name;
    BERT_TRY(bert_case_tolerance(&item, &options->given, &out->tolerance, error));
    return bert_compare_run(&options->engine, files.model, data_sets, count, arena, out, error);
}

static int compare_and_show(const compare_options *options, const char *model, const char *path) {
    bert_error error;
    bert_arena arena;
    bert_comparing comparing = {0};
    bert_arena_init(&arena, NULL);
    bert_status status = compare(options, model, path, &arena, &comparing, &error);
    if (status == BERT_OK && options->format) status = bert_compare_json(&comparing, options->all, &error);
    if (status == BERT_OK && !options->format) bert_compare_print(&comparing, options->all);
    int exit_status = status != BERT_OK     ? bert_cli_failed(&error)
                      : comparing.diverging ? BERT_EXIT_FAILED
                                            : BERT_EXIT_OK;
    bert_arena_free(&arena);
    return exit_status;
}

int bert_command_compare(int argc, char **argv) {
    compare_options options = {0};
    bert_option engine_rows[BERT_ENGINE_OPTION_COUNT];
    bert_engine_option_rows(&options.engine, BERT_QUANT_SCOPE_TENSOR, engine_rows);
    enum { TOLERANCE = 1, FORMAT = TOLERANCE + BERT_TOLERANCE_OPTION_COUNT };
    bert_option own_rows[FORMAT + 1] = {
        {.name = "all", .value = &options.all, .help = "show every tensor, not only those that diverge"},
        [FORMAT] = {.name = "format",
                    .kind = BERT_OPTION_CHOICE,
                    .value = &options.format,
                    .argument = "text|json",
                    .choices = formats,
                    .help = "for people (default), or programs"},
    };
    bert_tolerance_option_rows(&options.given, own_rows + TOLERANCE);
    const bert_usage usage = {
        .synopsis = "bertc compare MODEL CASE [OPTION ...]",
        .text = "Runs the inputs of a case, holds every tensor that the case names, inside the graph or an output of\n"
                "it, against the same one here, and names the first that diverges. CASE has test_data_set_* folders\n"
                "with input_*.pb and output_*.pb, or is such a folder; tests/tools/dump_onnxruntime.py makes one.\n",
        .groups = {{"Comparing", own_rows, sizeof own_rows / sizeof own_rows[0]},
                   {"Engine", engine_rows, BERT_ENGINE_OPTION_COUNT}},
        .least_arguments = 2,
        .greatest_arguments = 2};
    int first;
    int status = bert_options_parse(argc, argv, &usage, &first);
    if (status != BERT_OPTIONS_GO_ON) return status;
    return compare_and_show(&options, argv[first], argv[first + 1]);
}
