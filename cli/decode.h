/* bertc tokenize --decode: ids back to text. */
#ifndef BERT_CLI_DECODE_H
#define BERT_CLI_DECODE_H

#include "cli/text_task.h"

typedef struct bert_decode_options {
    bool skip_special_tokens;
    bool no_clean_up; /**< Keep the space before punctuation. */
} bert_decode_options;

/**
 * Decodes every input: ids separated by spaces or commas, or JSON: an array of them or an object with "input_ids".
 * Returns the exit status, messages written.
 */
int bert_decode_all(const bert_tokenizer *tokenizer, const bert_decode_options *decode,
                    const bert_text_task_options *options, bool quiet, bert_text_input *input);

#endif
