/* Where the text tasks read from: arguments, or standard input as lines or as JSON objects. */
#ifndef BERT_CLI_TEXT_INPUT_H
#define BERT_CLI_TEXT_INPUT_H

#include "cli/options.h"

#include <bert/tokenizer.h>

/** The options --jsonl, --no-pairs, --text-pair and --invalid-utf8. Zeroed for the defaults. */
typedef struct bert_text_input_options {
    bool jsonl;
    bool no_pairs;
    const char *text_pair;
    int invalid_utf8; /**< bert_invalid_utf8 */
} bert_text_input_options;

/** Rows for the table of options, over `options`. */
#define BERT_TEXT_INPUT_OPTION_COUNT 4
void bert_text_input_option_rows(bert_text_input_options *options, bert_option rows[BERT_TEXT_INPUT_OPTION_COUNT]);

/** One input. The memory is its own: free with bert_text_item_free. */
typedef struct bert_text_item {
    size_t number;  /**< Its place among the inputs, from 1: the line, or the argument. */
    char *text;     /**< `length` bytes, NUL bytes possible; not yet known to be UTF-8. */
    char *pair;     /**< NULL when there is none. */
    char *sentence; /**< Why the line can't be used; NULL when it can. */
    size_t length, pair_length;
    size_t input_bytes; /**< That it took up in the input. */
} bert_text_item;
void bert_text_item_free(bert_text_item *item);

typedef struct bert_text_input {
    bert_text_input_options options;
    char **arguments; /**< NULL: standard input. */
    size_t argument_count, taken;
    int descriptor; /**< Standard input. */
    int wake;     /**< A descriptor: when it becomes readable, a read that waits ends as if the input did. -1: none. */
    char *buffer; /**< What was read: `end` bytes, of which those before `begin` are done with. */
    size_t begin, end, capacity, number;
    bool at_end; /**< Nothing more is to be read. */
    /** Names of the JSON object's two texts: "text" and "text_pair". With text_key NULL the line itself is the text. */
    const char *text_key, *pair_key;
    const char *before; /**< When set, each line or argument is the pair of this text; without a TAB's meaning. */
    const char *after;  /**< The same, the line being the text and this its pair. */
} bert_text_input;

/**
 * Reads from `count` arguments, or from standard input when there is none. Returns BERT_OPTIONS_GO_ON, or the status to
 * exit with after a sentence about wrong usage. `command` is for that sentence.
 */
int bert_text_input_open(const char *command, const bert_text_input_options *options, char **arguments, size_t count,
                         bert_text_input *out);
void bert_text_input_close(bert_text_input *input);

/**
 * The next input into *out. Returns false at the end, or with `error` filled when reading failed (`error->status` is
 * BERT_OK at the end).
 */
bool bert_text_input_next(bert_text_input *input, bert_text_item *out, bert_error *error);

/** Whether the next input is there, so that bert_text_input_next need not wait for it. */
bool bert_text_input_is_ready(const bert_text_input *input);

/** Whether a person types the input. */
bool bert_text_input_is_interactive(const bert_text_input *input);

/** What input_bytes of all inputs add up to; 0 when no one knows yet. Ask before reading. */
size_t bert_text_input_total_bytes(const bert_text_input *input);

#endif
