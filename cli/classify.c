/* bertc classify: text classification. */
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/text_task.h"
#include "core/base/error.h"
#include "pipelines/text_classification.h"

typedef struct classify_state {
    bert_text_classifier *classifier;
    const bert_classification *answers;
} classify_state;

static bert_status run(void *user, const bert_text *texts, size_t count, bert_error *error) {
    classify_state *state = user;
    return bert_text_classifier_run(state->classifier, texts, count, &state->answers, error);
}

static const char *failure(void *user, size_t index) {
    const classify_state *state = user;
    return state->answers[index].sentence;
}

static bool cut(void *user, size_t index) {
    const classify_state *state = user;
    return state->answers[index].cut;
}

static void print(void *user, size_t index, const bert_text_item *item) {
    const classify_state *state = user;
    const bert_classification *answer = &state->answers[index];
    const char *label = bert_text_classifier_label(state->classifier, answer->label);
    bert_output_print("%-10s %.4f  ", label, answer->scores[answer->label]);
    bert_output_write(item->text, item->length);
    if (item->pair) {
        bert_output_print("\t");
        bert_output_write(item->pair, item->pair_length);
    }
    bert_output_print("\n");
}

static void write_numbers(bert_json_out *json, const char *key, const double *numbers, size_t count) {
    bert_json_out_key(json, key);
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < count; i++) bert_json_out_number(json, numbers[i]);
    bert_json_out_end(json, ']');
}

static void write(void *user, size_t index, bert_json_out *json) {
    const classify_state *state = user;
    const bert_classification *answer = &state->answers[index];
    bert_json_out_key(json, "label");
    bert_json_out_text(json, bert_text_classifier_label(state->classifier, answer->label));
    bert_json_out_key(json, "score");
    bert_json_out_number(json, answer->scores[answer->label]);
    write_numbers(json, "scores", answer->scores, answer->label_count);
    write_numbers(json, "logits", answer->logits, answer->label_count);
}

static int classify(const char *model, const bert_engine_options *engine_options, const bert_text_task_options *options,
                    bert_text_input *input) {
    bert_text_engine engine;
    bert_model_config config = {0};
    classify_state state = {0};
    bert_error error;
    bert_text_batch_options batch = {.truncation = options->truncation < 0 ? BERT_TRUNCATION_LONGEST_FIRST
                                                                           : (bert_truncation)options->truncation,
                                     .max_length = options->max_length,
                                     .invalid_utf8 = (bert_invalid_utf8)options->input.invalid_utf8};
    bert_status status = bert_text_engine_open(model, options->tokenizer_folder, engine_options, &engine, &error);
    if (status == BERT_OK) status = bert_model_config_load(engine.files.config, NULL, &config, &error);
    if (status == BERT_OK) {
        status = bert_text_classifier_create(engine.engine.model, engine.engine.session, engine.tokenizer, &config,
                                             &batch, &state.classifier, &error);
    }
    bert_text_encoder *encoder = NULL;
    if (status == BERT_OK) status = bert_text_classifier_encoder(state.classifier, &encoder, &error);
    int exit_status;
    if (status == BERT_OK) {
        const bert_text_task task = {.user = &state,
                                     .run = run,
                                     .failure = failure,
                                     .cut = cut,
                                     .print = print,
                                     .write = write,
                                     .max_length = bert_text_classifier_max_length(state.classifier),
                                     .one_by_one = engine.engine.one_by_one,
                                     .in_order = bert_engine_batches_matter(engine_options, &engine.engine),
                                     .encoder = encoder};
        exit_status = bert_text_task_loop(&task, options, engine_options->quiet, input);
    } else {
        exit_status = bert_cli_failed(&error);
    }
    bert_text_encoder_free(encoder);
    bert_text_classifier_free(state.classifier);
    bert_model_config_free(&config);
    bert_text_engine_close(&engine);
    return exit_status;
}

int bert_command_classify(int argc, char **argv) {
    bert_engine_options engine_options;
    bert_text_task_options options;
    bert_option text_rows[BERT_TEXT_TASK_OPTION_COUNT];
    bert_option engine_rows[BERT_ENGINE_OPTION_COUNT];
    bert_text_task_option_rows(&options, text_rows);
    bert_engine_option_rows(&engine_options, BERT_QUANT_SCOPE_SEQUENCE, engine_rows);
    const bert_usage usage = {
        .synopsis = "bertc classify MODEL [OPTION ...] [TEXT ...]",
        .text = "Gives each text, or pair of texts, a label and a score. Without TEXT, standard\n"
                "input is read, one text a line; a TAB splits a pair.\n",
        .groups = {{"Text", text_rows, BERT_TEXT_TASK_OPTION_COUNT}, {"Engine", engine_rows, BERT_ENGINE_OPTION_COUNT}},
        .least_arguments = 1,
        .greatest_arguments = -1};
    int first;
    int status = bert_options_parse(argc, argv, &usage, &first);
    if (status != BERT_OPTIONS_GO_ON) return status;
    bert_text_input input;
    status = bert_text_input_open("classify", &options.input, argv + first + 1, (size_t)(argc - first - 1), &input);
    if (status != BERT_OPTIONS_GO_ON) return status;
    status = classify(argv[first], &engine_options, &options, &input);
    bert_text_input_close(&input);
    return status;
}
