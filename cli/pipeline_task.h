/* What the subcommands that answer with a pipeline share: their options, loading it, texts in and answers out. */
#ifndef BERT_CLI_PIPELINE_TASK_H
#define BERT_CLI_PIPELINE_TASK_H

#include "cli/text_task.h"

#include <bert/pipeline.h>

/** A subcommand. */
typedef struct bert_pipeline_command {
    const char *name;
    bert_task task;
    const char *synopsis, *text; /**< For its help. */
    const char *title;           /**< Of its own options. */
    const bert_option *options;
    size_t option_count;
    void *user; /**< For the two below. */
    /** Writes one answer for people, its line ends included. */
    void (*print)(void *user, const bert_pipeline *pipeline, const bert_answer *answer, const bert_text_item *item);
    /** Writes one answer as members of a JSON object. */
    void (*write)(void *user, const bert_pipeline *pipeline, const bert_answer *answer, bert_json_out *json);
} bert_pipeline_command;

/** What the command line says. */
typedef struct bert_pipeline_arguments {
    const char *model;
    char **texts;
    size_t text_count;
    bert_text_task_options text;
    bert_engine_options engine;
} bert_pipeline_arguments;

/** Returns BERT_OPTIONS_GO_ON, or the status to exit with. */
int bert_pipeline_parse(int argc, char **argv, const bert_pipeline_command *command, bert_pipeline_arguments *out);

/** A loaded pipeline and what it runs on. */
typedef struct bert_loaded_pipeline {
    bert_pipeline *pipeline;
    bert_thread_pool *threads;
    bert_log log;
} bert_loaded_pipeline;

/** `options` has the task's own settings; the rest is filled in. bert_pipeline_close also after a failure. */
bert_status bert_pipeline_open(const bert_pipeline_command *command, const bert_pipeline_arguments *arguments,
                               bert_pipeline_options *options, bert_loaded_pipeline *out, bert_error *error);
void bert_pipeline_close(bert_loaded_pipeline *loaded);

/** Loads the pipeline and answers every text of `input`. Returns the exit status, messages written. */
int bert_pipeline_answer(const bert_pipeline_command *command, const bert_pipeline_arguments *arguments,
                         bert_pipeline_options *options, bert_text_input *input);

/** The same for texts from the arguments, or from standard input: what most subcommands are. */
int bert_pipeline_command_run(const bert_pipeline_command *command, const bert_pipeline_arguments *arguments,
                              bert_pipeline_options *options);

/** The text of an item, a TAB between the two of a pair. */
void bert_print_item(const bert_text_item *item);

#endif
