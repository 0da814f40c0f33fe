/* Inputs for a model made up: token ids in range, masks of ones, type ids of zeros. */
#ifndef BERT_CLI_RANDOM_INPUTS_H
#define BERT_CLI_RANDOM_INPUTS_H

#include "cli/tensor_file.h"

#include <bert/model.h>

/** A generator of random numbers (splitmix64): the state is the seed. */
typedef struct bert_random {
    uint64_t state;
} bert_random;
uint64_t bert_random_next(bert_random *random);

/**
 * Fills a tensor for the model's input `name`, whose dtype, dims and memory it has. Integers named as a mask are 1, as
 * type or segment ids 0, as position ids count from 0 along the last dimension; others are below the rows of the
 * table that the graph looks them up in (100 where there is none). Floats are uniform in [-1, 1).
 */
void bert_random_fill(const bert_model *model, const char *name, bert_random *random, bert_tensor *tensor);

/** Whether bert_random_fill makes token ids of it: integers whose values are arbitrary. */
bool bert_random_is_ids(const char *name, bert_dtype dtype);

#endif
