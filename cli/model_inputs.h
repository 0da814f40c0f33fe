/* Tensors for every input of a model: from files, or made up for given shapes. */
#ifndef BERT_CLI_MODEL_INPUTS_H
#define BERT_CLI_MODEL_INPUTS_H

#include "cli/options.h"
#include "cli/random_inputs.h"
#include "cli/tensor_file.h"

#include <bert/model.h>
#include <bert/session.h>

/** The size of a symbolic dimension, by its name or as INPUT:INDEX. */
typedef struct bert_dimension {
    char name[128];
    int64_t size;
} bert_dimension;

#define BERT_MAX_DIMENSIONS 32

/** What --shape says: "batch=2,sequence=16". */
typedef struct bert_dimensions {
    bert_dimension items[BERT_MAX_DIMENSIONS];
    size_t count;
} bert_dimensions;

/**
 * What every --shape of `command` says together. Returns BERT_OPTIONS_GO_ON, or the status to exit with after a
 * sentence about one that is not a list of NAME=SIZE.
 */
int bert_dimensions_parse(const char *command, const bert_option_list *shapes, bert_dimensions *out);

/** Inputs as a session takes them. Free with bert_model_inputs_free. */
typedef struct bert_model_inputs {
    bert_owned_tensor *tensors; /**< `count` of them; `named` shows their memory. */
    bert_named_tensor *named;
    size_t count;
} bert_model_inputs;
void bert_model_inputs_free(bert_model_inputs *inputs);

/**
 * Reads `files` (NAME=FILE each) and, with `random`, makes up what no file gives; inputs that have a default in the
 * model are left to it. Sizes of symbolic dimensions come from `dimensions` and from the files. BERT_INVALID_ARGUMENT
 * names what is missing or unknown; BERT_INVALID_INPUT and BERT_IO_ERROR a file.
 */
bert_status bert_model_inputs_make(const bert_model *model, const bert_option_list *files,
                                   const bert_dimensions *dimensions, bool random, uint64_t seed,
                                   bert_model_inputs *out, bert_error *error);

/** A float32 tensor becomes a double one, in place: what a model promoted to double takes. */
bert_status bert_owned_tensor_to_double(bert_owned_tensor *tensor, bert_error *error);

#endif
