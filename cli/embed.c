/* bertc embed: feature extraction, sentence embeddings. */
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/pipeline_task.h"

enum { SHOWN_NUMBERS = 4 };

/* In the order of bert_pooling. */
static const char *const poolings[] = {"default", "none", "cls", "mean", "max", NULL};

static void print_token(const bert_pipeline *pipeline, int32_t id) {
    size_t length;
    const char *token = bert_tokenizer_token(bert_pipeline_tokenizer(pipeline), id, &length);
    if (token) bert_output_write(token, length);
}

static void print(void *user, const bert_pipeline *pipeline, const bert_answer *answer, const bert_text_item *item) {
    for (size_t r = 0; r < answer->rows; r++) {
        const float *row = answer->embedding + r * answer->width;
        bert_output_print("[");
        for (size_t i = 0; i < answer->width && i < SHOWN_NUMBERS; i++) bert_output_print("%.4f, ", (double)row[i]);
        bert_output_print("... %zu]  ", answer->width);
        if (answer->tokens) {
            print_token(pipeline, answer->tokens[r]);
        } else {
            bert_print_item(item);
        }
        bert_output_print("\n");
    }
}

static void write_row(bert_json_out *json, const float *row, size_t width) {
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < width; i++) bert_json_out_number(json, (double)row[i]);
    bert_json_out_end(json, ']');
}

static void write(void *user, const bert_pipeline *pipeline, const bert_answer *answer, bert_json_out *json) {
    if (!answer->tokens) {
        bert_json_out_key(json, "embedding");
        write_row(json, answer->embedding, answer->width);
        return;
    }
    bert_json_out_key(json, "embeddings");
    bert_json_out_begin(json, '[');
    for (size_t r = 0; r < answer->rows; r++) write_row(json, answer->embedding + r * answer->width, answer->width);
    bert_json_out_end(json, ']');
    bert_json_out_key(json, "tokens");
    bert_json_out_begin(json, '[');
    for (size_t r = 0; r < answer->rows; r++) {
        size_t length = 0;
        const char *token = bert_tokenizer_token(bert_pipeline_tokenizer(pipeline), answer->tokens[r], &length);
        bert_json_out_string(json, token ? token : "", length);
    }
    bert_json_out_end(json, ']');
}

int bert_command_embed(int argc, char **argv) {
    int pooling = BERT_POOLING_DEFAULT;
    bool normalize = false;
    bool no_normalize = false;
    const bert_option rows[] = {
        {.name = "pooling",
         .kind = BERT_OPTION_CHOICE,
         .value = &pooling,
         .argument = "HOW",
         .choices = poolings,
         .help = "cls, mean, max: one vector a text; none: one a token.\n"
                 "Default: as modules.json says, else mean"},
        {.name = "normalize", .value = &normalize, .help = "vectors of length 1"},
        {.name = "no-normalize", .value = &no_normalize, .help = "vectors as they are, whatever modules.json says"}};
    const bert_pipeline_command command = {
        .name = "embed",
        .task = BERT_TASK_FEATURE_EXTRACTION,
        .synopsis = "bertc embed MODEL [OPTION ...] [TEXT ...]",
        .text = "Gives each text, or pair of texts, a vector. Without TEXT, standard input is\n"
                "read, one text a line; a TAB splits a pair. --format jsonl writes whole vectors.\n",
        .title = "Embedding",
        .options = rows,
        .option_count = sizeof rows / sizeof *rows,
        .print = print,
        .write = write};
    bert_pipeline_arguments arguments;
    int status = bert_pipeline_parse(argc, argv, &command, &arguments);
    if (status != BERT_OPTIONS_GO_ON) return status;
    if (normalize && no_normalize)
        return bert_usage_error("embed", "--normalize and --no-normalize exclude each other");
    bert_pipeline_options options = {.pooling = (bert_pooling)pooling,
                                     .normalize = normalize      ? BERT_ON
                                                  : no_normalize ? BERT_OFF
                                                                 : BERT_AS_THE_MODEL_SAYS};
    return bert_pipeline_command_run(&command, &arguments, &options);
}
