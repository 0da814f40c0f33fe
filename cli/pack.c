/* bertc pack: a model's weights as this machine's kernels want them, in a file that is mapped as it is. */
#include "cli/cli.h"
#include "cli/engine.h"
#include "core/base/error.h"
#include "pipelines/model_files.h"

static bert_status load_and_pack(const bert_engine_options *options, const char *path, const char *out,
                                 bert_engine *engine, bert_error *error) {
    BERT_TRY(bert_engine_load(options, path, engine, error));
    BERT_TRY(bert_thread_pool_create((int)options->threads, NULL, &engine->threads, error));
    const bert_session_options session_options =
        bert_engine_session_options(options, engine->threads, BERT_PADDED_ROWS_EXACT, false);
    return bert_model_pack(engine->model, &session_options, out, error);
}

static bert_status pack(const bert_engine_options *options, const char *model, const char *out, bert_error *error) {
    bert_model_files files;
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    bert_status status = bert_model_files_find(model, NULL, &arena, &files, error);
    if (status == BERT_OK) {
        bert_engine engine = {0};
        status = load_and_pack(options, files.model, out, &engine, error);
        bert_engine_close(&engine);
    }
    bert_arena_free(&arena);
    return status;
}

int bert_command_pack(int argc, char **argv) {
    bert_engine_options options;
    bert_option rows[BERT_ENGINE_OPTION_COUNT];
    bert_engine_option_rows(&options, BERT_QUANT_SCOPE_TENSOR, rows);
    const bert_usage usage = {
        .synopsis = "bertc pack MODEL OUT",
        .text =
            "Writes the model's weights to OUT as this machine's kernels want them. Other commands map OUT with\n"
            "--packed OUT instead of packing weights at every start. OUT serves this model, this instruction set and\n"
            "these options alone; anything else is noticed, and weights are packed as without it.\n",
        .groups = {{"Options", rows, BERT_ENGINE_OPTION_COUNT}},
        .least_arguments = 2,
        .greatest_arguments = 2,
    };
    int first;
    const int go_on = bert_options_parse(argc, argv, &usage, &first);
    if (go_on != BERT_OPTIONS_GO_ON) return go_on;
    bert_error error = {0};
    if (pack(&options, argv[first], argv[first + 1], &error) != BERT_OK) return bert_cli_failed(&error);
    return BERT_EXIT_OK;
}
