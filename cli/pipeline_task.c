#include "cli/pipeline_task.h"

#include "cli/cli.h"
#include "cli/output.h"
#include "core/base/error.h"
#include "pipelines/pipeline.h"

typedef struct pipeline_state {
    const bert_pipeline_command *command;
    bert_pipeline *pipeline;
    bert_answers *answers; /* Of the last batch. */
} pipeline_state;

int bert_pipeline_parse(int argc, char **argv, const bert_pipeline_command *command, bert_pipeline_arguments *out) {
    *out = (bert_pipeline_arguments){.model = NULL};
    bert_option text_rows[BERT_TEXT_TASK_OPTION_COUNT];
    bert_option engine_rows[BERT_ENGINE_OPTION_COUNT];
    bert_text_task_option_rows(&out->text, text_rows);
    bert_engine_option_rows(&out->engine, BERT_QUANT_SCOPE_SEQUENCE, engine_rows);
    const bert_usage usage = {.synopsis = command->synopsis,
                              .text = command->text,
                              .groups = {{command->title, command->options, command->option_count},
                                         {"Text", text_rows, BERT_TEXT_TASK_OPTION_COUNT},
                                         {"Engine", engine_rows, BERT_ENGINE_OPTION_COUNT}},
                              .least_arguments = 1,
                              .greatest_arguments = -1};
    int first;
    int status = bert_options_parse(argc, argv, &usage, &first);
    if (status != BERT_OPTIONS_GO_ON) return status;
    out->model = argv[first];
    out->texts = argv + first + 1;
    out->text_count = (size_t)(argc - first - 1);
    return status;
}

static bert_long_text long_text(int truncation, bert_long_text otherwise) {
    switch (truncation) {
    case BERT_TRUNCATION_NONE:
        return BERT_LONG_TEXT_REFUSE;
    case BERT_TRUNCATION_LONGEST_FIRST:
        return BERT_LONG_TEXT_CUT;
    case BERT_TRUNCATION_ONLY_FIRST:
        return BERT_LONG_TEXT_CUT_FIRST;
    case BERT_TRUNCATION_ONLY_SECOND:
        return BERT_LONG_TEXT_CUT_SECOND;
    default:
        return otherwise;
    }
}

bert_status bert_pipeline_open(const bert_pipeline_command *command, const bert_pipeline_arguments *arguments,
                               bert_pipeline_options *options, bert_loaded_pipeline *out, bert_error *error) {
    const bert_engine_options *engine = &arguments->engine;
    const bert_text_task_options *text = &arguments->text;
    *out = (bert_loaded_pipeline){.log = bert_engine_log(engine)};
    bert_model_options model = bert_engine_model_options(engine, &out->log);
    BERT_TRY(bert_thread_pool_create((int)engine->threads, NULL, &out->threads, error));
    bert_session_options session = bert_engine_session_options(engine, out->threads, BERT_PADDED_ROWS_UNDEFINED, false);
    options->struct_size = sizeof *options;
    options->tokenizer_folder = text->tokenizer_folder;
    options->model = &model;
    options->session = &session;
    options->batch_size = (int32_t)text->batch_size;
    options->long_text = long_text(text->truncation, options->long_text);
    options->max_length = text->max_length;
    options->invalid_utf8 = (bert_invalid_utf8)text->input.invalid_utf8;
    return bert_pipeline_load(command->task, arguments->model, options, &out->pipeline, error);
}

void bert_pipeline_close(bert_loaded_pipeline *loaded) {
    bert_pipeline_free(loaded->pipeline);
    bert_thread_pool_free(loaded->threads);
    *loaded = (bert_loaded_pipeline){.pipeline = NULL};
}

static bert_status run(void *user, const bert_text *texts, const bert_encoded_text *const *encoded, size_t count,
                       bert_error *error) {
    pipeline_state *state = user;
    bert_answers_free(state->answers);
    state->answers = NULL;
    return bert_pipeline_run_encoded(state->pipeline, texts, encoded, count, NULL, &state->answers, error);
}

static const char *failure(void *user, size_t index) {
    const pipeline_state *state = user;
    return bert_answers_get(state->answers, index)->sentence;
}

static bool cut(void *user, size_t index) {
    const pipeline_state *state = user;
    return bert_answers_get(state->answers, index)->cut;
}

static void print(void *user, size_t index, const bert_text_item *item) {
    const pipeline_state *state = user;
    const bert_pipeline_command *command = state->command;
    command->print(command->user, state->pipeline, bert_answers_get(state->answers, index), item);
}

static void write(void *user, size_t index, bert_json_out *json) {
    const pipeline_state *state = user;
    const bert_pipeline_command *command = state->command;
    command->write(command->user, state->pipeline, bert_answers_get(state->answers, index), json);
}

int bert_pipeline_answer(const bert_pipeline_command *command, const bert_pipeline_arguments *arguments,
                         bert_pipeline_options *options, bert_text_input *input) {
    bert_loaded_pipeline loaded;
    bert_text_encoder *encoder = NULL;
    bert_error error;
    bert_status status = bert_pipeline_open(command, arguments, options, &loaded, &error);
    if (status == BERT_OK) status = bert_pipeline_encoder(loaded.pipeline, &encoder, &error);
    int exit_status;
    if (status == BERT_OK) {
        pipeline_state state = {.command = command, .pipeline = loaded.pipeline};
        const bert_text_task task = {.user = &state,
                                     .run = run,
                                     .failure = failure,
                                     .cut = cut,
                                     .print = print,
                                     .write = write,
                                     .max_length = bert_pipeline_max_length(loaded.pipeline),
                                     .in_order = loaded.pipeline->in_order,
                                     .encoder = encoder};
        exit_status = bert_text_task_loop(&task, &arguments->text, arguments->engine.quiet, input);
        bert_answers_free(state.answers);
    } else {
        exit_status = bert_cli_failed(&error);
    }
    bert_text_encoder_free(encoder);
    bert_pipeline_close(&loaded);
    return exit_status;
}

int bert_pipeline_command_run(const bert_pipeline_command *command, const bert_pipeline_arguments *arguments,
                              bert_pipeline_options *options) {
    bert_text_input input;
    int status =
        bert_text_input_open(command->name, &arguments->text.input, arguments->texts, arguments->text_count, &input);
    if (status != BERT_OPTIONS_GO_ON) return status;
    status = bert_pipeline_answer(command, arguments, options, &input);
    bert_text_input_close(&input);
    return status;
}

void bert_print_item(const bert_text_item *item) {
    bert_output_write(item->text, item->length);
    if (item->pair) {
        bert_output_print("\t");
        bert_output_write(item->pair, item->pair_length);
    }
}
