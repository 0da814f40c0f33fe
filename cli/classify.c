/* bertc classify: text classification. */
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/pipeline_task.h"

static const char *const functions[] = {"default", "softmax", "sigmoid", "none", NULL};

static const char *label_of(const bert_pipeline *pipeline, size_t label) {
    const char *name = bert_pipeline_label(pipeline, label);
    return name ? name : "?";
}

static void print(void *user, const bert_pipeline *pipeline, const bert_answer *answer, const bert_text_item *item) {
    bert_output_print("%-10s %.4f  ", label_of(pipeline, answer->label), answer->scores[answer->label]);
    bert_print_item(item);
    bert_output_print("\n");
}

static void write_numbers(bert_json_out *json, const char *key, const double *numbers, size_t count) {
    bert_json_out_key(json, key);
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < count; i++) bert_json_out_number(json, numbers[i]);
    bert_json_out_end(json, ']');
}

static void write(void *user, const bert_pipeline *pipeline, const bert_answer *answer, bert_json_out *json) {
    bert_json_out_key(json, "label");
    bert_json_out_text(json, label_of(pipeline, answer->label));
    bert_json_out_key(json, "score");
    bert_json_out_number(json, answer->scores[answer->label]);
    write_numbers(json, "scores", answer->scores, answer->label_count);
    write_numbers(json, "logits", answer->logits, answer->label_count);
}

int bert_command_classify(int argc, char **argv) {
    int function = BERT_SCORE_DEFAULT;
    const bert_option rows[] = {
        {.name = "function",
         .kind = BERT_OPTION_CHOICE,
         .value = &function,
         .argument = "NAME",
         .choices = functions,
         .help = "what scores are made of logits with: default (as\nconfig.json has it), softmax, sigmoid, none"}};
    const bert_pipeline_command command = {
        .name = "classify",
        .task = BERT_TASK_TEXT_CLASSIFICATION,
        .synopsis = "bertc classify MODEL [OPTION ...] [TEXT ...]",
        .text = "Gives each text, or pair of texts, a label and a score. Without TEXT, standard\n"
                "input is read, one text a line; a TAB splits a pair.\n",
        .title = "Classifying",
        .options = rows,
        .option_count = sizeof rows / sizeof *rows,
        .print = print,
        .write = write};
    bert_pipeline_arguments arguments;
    int status = bert_pipeline_parse(argc, argv, &command, &arguments);
    if (status != BERT_OPTIONS_GO_ON) return status;
    bert_pipeline_options options = {.score_function = (bert_score_function)function};
    return bert_pipeline_command_run(&command, &arguments, &options);
}
