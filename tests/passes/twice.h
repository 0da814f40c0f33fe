/* Runs a small graph of a test with and without passes, on the reference backend. */
#ifndef BERT_TESTS_PASSES_TWICE_H
#define BERT_TESTS_PASSES_TWICE_H

#include "core/runtime/model.h"
#include "tests/passes/builder.h"

#include <bert/session.h>

/** Fills a builder and declares its outputs, as `spec` says. */
typedef void (*twice_fn)(builder *b, const void *spec);

/**
 * Makes the graph twice and runs both on the inputs. Fails the test when an element of an output differs by more than
 * `allowed` of the output's greatest magnitude or 1. Gives the model with passes, to be freed with bert_model_free.
 */
bert_model *twice(twice_fn make, const void *spec, const bert_named_tensor *inputs, size_t count, double allowed);

/** An input of a run. */
bert_named_tensor twice_input(const char *name, bert_dtype dtype, void *data, int32_t rank, const int64_t *dims);

/** Nodes of an operator in a model's graph. */
int twice_count(const bert_model *model, bert_op_id id);

#endif
