/* What every text task does: read texts, answer them in batches, write the answers in the order of the texts. */
#ifndef BERT_CLI_TEXT_TASK_H
#define BERT_CLI_TEXT_TASK_H

#include "cli/engine.h"
#include "cli/json_out.h"
#include "cli/text_input.h"
#include "pipelines/text_encoder.h"

typedef enum bert_answer_format { BERT_FORMAT_TEXT = 0, BERT_FORMAT_JSONL = 1 } bert_answer_format;

typedef struct bert_text_task_options {
    bert_text_input_options input;
    const char *tokenizer_folder;
    int64_t max_length; /**< 0: not given. */
    int truncation;     /**< bert_truncation; -1: not given. */
    int64_t batch_size;
    int format; /**< bert_answer_format */
} bert_text_task_options;

#define BERT_TEXT_TASK_OPTION_COUNT (BERT_TEXT_INPUT_OPTION_COUNT + 5)
/** Rows for the table of options, over `options`, which get their defaults. */
void bert_text_task_option_rows(bert_text_task_options *options, bert_option rows[BERT_TEXT_TASK_OPTION_COUNT]);

/** How a task answers. `index` counts the texts of the batch that `run` was given last. */
typedef struct bert_text_task {
    void *user;
    /**
     * Answers texts as one batch; fails only when no text could be answered at all. `encoded`: what `encoder` made of
     * each, NULL where it failed or there is none.
     */
    bert_status (*run)(void *user, const bert_text *texts, const bert_encoded_text *const *encoded, size_t count,
                       bert_error *error);
    /** Why a text has no answer; NULL when it has one. */
    const char *(*failure)(void *user, size_t index);
    /** Whether a text was truncated; asked after its answer was written. */
    bool (*cut)(void *user, size_t index);
    /** Writes one answer for people, its line end included. */
    void (*print)(void *user, size_t index, const bert_text_item *item);
    /** Writes one answer as members of a JSON object. */
    void (*write)(void *user, size_t index, bert_json_out *json);
    int64_t max_length; /**< What texts are cut at, for the notice. */
    /** Answers depend on what else is in the batch: batches are of texts that follow each other. */
    bool in_order;
    /** Encodes texts on the thread that reads them, while others run. NULL: `run` does it. */
    bert_text_encoder *encoder;
} bert_text_task;

/**
 * Answers every text of `input`, in its order. Texts are read in windows; those of a window run sorted by length, so
 * that a batch has little padding. Ctrl-C ends the work with the answers that are there. Returns the exit status,
 * messages written.
 */
int bert_text_task_loop(const bert_text_task *task, const bert_text_task_options *options, bool quiet,
                        bert_text_input *input);

#endif
