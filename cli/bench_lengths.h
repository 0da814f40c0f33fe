/* Batches of sequences of different lengths, for `bertc bench --lengths`. */
#ifndef BERT_CLI_BENCH_LENGTHS_H
#define BERT_CLI_BENCH_LENGTHS_H

#include "cli/random_inputs.h"

#include <bert/model.h>
#include <bert/session.h>

/** "5-128": the least and the greatest; false for anything else. */
bool bert_lengths_parse(const char *text, int64_t *least, int64_t *greatest);

/**
 * The lengths of `count` sequences: spread from `least` to `greatest`, both among them, short ones more often, as texts
 * are (a third of the way on average), in random order.
 */
void bert_lengths_fill(int64_t least, int64_t greatest, bert_random *random, int64_t *lengths, int64_t count);

/**
 * Writes the attention mask among `inputs`: each sequence's tokens 1, what comes after them 0. BERT_UNSUPPORTED when
 * the model has none.
 */
bert_status bert_lengths_mask(const bert_model *model, const int64_t *lengths, bert_named_tensor *inputs, size_t count,
                              bert_error *error);

#endif
