/* bertc ner: token classification. */
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/pipeline_task.h"

#include <inttypes.h>
#include <stdlib.h>

/* In the order of bert_aggregation. */
static const char *const aggregations[] = {"none", "simple", "first", "average", "max", NULL};

static void print(void *user, const bert_pipeline *pipeline, const bert_answer *answer, const bert_text_item *item) {
    bert_print_item(item);
    bert_output_print("\n");
    for (size_t i = 0; i < answer->entity_count; i++) {
        const bert_entity *entity = &answer->entities[i];
        bert_output_print("  %-10s %.4f  ", entity->label, entity->score);
        bert_output_write(entity->word, entity->word_length);
        bert_output_print("  (%" PRId64 " to %" PRId64 ")\n", entity->start, entity->end);
    }
}

static void write(void *user, const bert_pipeline *pipeline, const bert_answer *answer, bert_json_out *json) {
    bert_json_out_key(json, "entities");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < answer->entity_count; i++) {
        const bert_entity *entity = &answer->entities[i];
        bert_json_out_begin(json, '{');
        bert_json_out_key(json, entity->index < 0 ? "entity_group" : "entity");
        bert_json_out_text(json, entity->label);
        bert_json_out_key(json, "score");
        bert_json_out_number(json, entity->score);
        if (entity->index >= 0) {
            bert_json_out_key(json, "index");
            bert_json_out_integer(json, entity->index);
        }
        bert_json_out_key(json, "word");
        bert_json_out_string(json, entity->word, entity->word_length);
        bert_json_out_key(json, "start");
        bert_json_out_integer(json, entity->start);
        bert_json_out_key(json, "end");
        bert_json_out_integer(json, entity->end);
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, ']');
}

int bert_command_ner(int argc, char **argv) {
    int aggregation = BERT_AGGREGATION_NONE;
    int64_t stride = -1;
    bert_option_list ignored = {0};
    const bert_option rows[] = {{.name = "aggregation",
                                 .kind = BERT_OPTION_CHOICE,
                                 .value = &aggregation,
                                 .argument = "HOW",
                                 .choices = aggregations,
                                 .help = "none (default): an entity a token; simple: neighbours\n"
                                         "of one label are one; first, average, max: the same,\n"
                                         "a word's tokens agreeing on a label"},
                                {.name = "ignore-label",
                                 .kind = BERT_OPTION_LIST,
                                 .value = &ignored,
                                 .argument = "LABEL",
                                 .help = "leave out entities of it; may be repeated (default: O)"},
                                {.name = "stride",
                                 .kind = BERT_OPTION_INTEGER,
                                 .value = &stride,
                                 .argument = "N",
                                 .least = 0,
                                 .greatest = INT32_MAX,
                                 .help = "read long texts in windows that share N tokens, instead\n"
                                         "of cutting them; needs an aggregation"}};
    const bert_pipeline_command command = {
        .name = "ner",
        .task = BERT_TASK_TOKEN_CLASSIFICATION,
        .synopsis = "bertc ner MODEL [OPTION ...] [TEXT ...]",
        .text = "Finds entities: the parts of each text that have a label. Without TEXT, standard\n"
                "input is read, one text a line; a TAB is text. Offsets count code points.\n",
        .title = "Entities",
        .options = rows,
        .option_count = sizeof rows / sizeof *rows,
        .print = print,
        .write = write};
    bert_pipeline_arguments arguments;
    int status = bert_pipeline_parse(argc, argv, &command, &arguments);
    if (status == BERT_OPTIONS_GO_ON && stride >= 0 && aggregation == BERT_AGGREGATION_NONE) {
        status = bert_usage_error("ner", "--stride needs an --aggregation other than none");
    }
    if (status == BERT_OPTIONS_GO_ON && stride >= 0 && arguments.text.truncation >= 0) {
        status = bert_usage_error("ner", "--stride and --truncation exclude each other");
    }
    if (status == BERT_OPTIONS_GO_ON) {
        arguments.text.input.no_pairs = true;
        bert_pipeline_options options = {.aggregation = (bert_aggregation)aggregation,
                                         .ignore_labels = ignored.count ? ignored.values : NULL,
                                         .ignore_label_count = ignored.count,
                                         .long_text = stride >= 0 ? BERT_LONG_TEXT_WINDOWS : BERT_LONG_TEXT_DEFAULT,
                                         .stride = stride > 0 ? stride : 0};
        status = bert_pipeline_command_run(&command, &arguments, &options);
    }
    free(ignored.values);
    return status;
}
