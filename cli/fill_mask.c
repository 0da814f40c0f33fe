/* bertc fill-mask: the likeliest tokens for each mask. */
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/pipeline_task.h"
#include "core/base/error.h"

#include <stdlib.h>
#include <string.h>

static void print(void *user, const bert_pipeline *pipeline, const bert_answer *answer, const bert_text_item *item) {
    for (size_t m = 0; m < answer->mask_count; m++) {
        const bert_mask_answer *mask = &answer->masks[m];
        for (size_t i = 0; i < mask->count; i++) {
            const bert_filling *filling = &mask->fillings[i];
            if (answer->mask_count > 1) bert_output_print("%zu: ", m + 1);
            bert_output_print("%-12s %.4f  ", filling->token_text, filling->score);
            bert_output_write(filling->sequence, filling->sequence_length);
            bert_output_print("\n");
        }
    }
}

static void write_filling(bert_json_out *json, const bert_filling *filling) {
    bert_json_out_begin(json, '{');
    bert_json_out_key(json, "token");
    bert_json_out_integer(json, filling->token);
    bert_json_out_key(json, "token_str");
    bert_json_out_string(json, filling->token_text, filling->token_text_length);
    bert_json_out_key(json, "score");
    bert_json_out_number(json, filling->score);
    bert_json_out_key(json, "sequence");
    bert_json_out_string(json, filling->sequence, filling->sequence_length);
    bert_json_out_end(json, '}');
}

static void write(void *user, const bert_pipeline *pipeline, const bert_answer *answer, bert_json_out *json) {
    bert_json_out_key(json, "masks");
    bert_json_out_begin(json, '[');
    for (size_t m = 0; m < answer->mask_count; m++) {
        bert_json_out_begin(json, '[');
        for (size_t i = 0; i < answer->masks[m].count; i++) write_filling(json, &answer->masks[m].fillings[i]);
        bert_json_out_end(json, ']');
    }
    bert_json_out_end(json, ']');
}

/* "a,b" to its parts, in place. NULL when memory runs out. */
static const char **split_targets(char *list, size_t *count) {
    size_t most = 1;
    for (const char *at = list; *at; at++) most += *at == ',';
    const char **targets = calloc(most, sizeof *targets);
    *count = 0;
    char *rest = NULL;
    for (char *part = strtok_r(list, ",", &rest); targets && part; part = strtok_r(NULL, ",", &rest)) {
        targets[(*count)++] = part;
    }
    return targets;
}

static int fill(const bert_pipeline_command *command, const bert_pipeline_arguments *arguments, const char *list,
                int64_t top_k) {
    bert_pipeline_options options = {.top_k = top_k};
    char *copy = list ? strdup(list) : NULL;
    const char **targets = copy ? split_targets(copy, &options.target_count) : NULL;
    int status;
    if (list && !targets) {
        bert_error error;
        bert_fail_memory(&error, strlen(list), "targets");
        status = bert_cli_failed(&error);
    } else if (list && options.target_count == 0) {
        status = bert_usage_error("fill-mask", "--targets names no token");
    } else {
        options.targets = targets;
        status = bert_pipeline_command_run(command, arguments, &options);
    }
    free((void *)targets);
    free(copy);
    return status;
}

int bert_command_fill_mask(int argc, char **argv) {
    int64_t top_k = 5;
    const char *targets = NULL;
    const bert_option rows[] = {{.name = "top-k",
                                 .kind = BERT_OPTION_INTEGER,
                                 .value = &top_k,
                                 .argument = "N",
                                 .least = 1,
                                 .greatest = INT32_MAX,
                                 .help = "tokens for each mask at most (default: 5)"},
                                {.name = "targets",
                                 .kind = BERT_OPTION_STRING,
                                 .value = &targets,
                                 .argument = "A,B",
                                 .help = "only these tokens"}};
    const bert_pipeline_command command = {
        .name = "fill-mask",
        .task = BERT_TASK_FILL_MASK,
        .synopsis = "bertc fill-mask MODEL [OPTION ...] [TEXT ...]",
        .text = "Finds the likeliest tokens for each [MASK] of a text. Without TEXT, standard\n"
                "input is read, one text a line; a TAB splits a pair.\n",
        .title = "Masks",
        .options = rows,
        .option_count = sizeof rows / sizeof *rows,
        .print = print,
        .write = write};
    bert_pipeline_arguments arguments;
    int status = bert_pipeline_parse(argc, argv, &command, &arguments);
    return status == BERT_OPTIONS_GO_ON ? fill(&command, &arguments, targets, top_k) : status;
}
