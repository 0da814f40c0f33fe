/* An output that a model's file does not have: hidden states, pooled. */
#ifndef BERT_RUNTIME_POOLED_OUTPUT_H
#define BERT_RUNTIME_POOLED_OUTPUT_H

#include "core/runtime/model.h"

/** Names are the model's own, of `pooling` those of canonical Pool. */
typedef struct bert_pooled_output {
    const char *hidden_states; /**< An output, [B, S, K]. */
    /** The input that says which tokens count, [B, S] of int32 or int64. A model without one gets it: of int64, read
     * by the pooling alone. */
    const char *mask;
    const char *pooling; /**< "mean", "max", "first" */
    bool normalize;      /**< To length 1. */
} bert_pooled_output;

/**
 * Adds a Pool, and its result [B, K] as the model's last output, whose name comes in *name_out and lives as long as the
 * model. For a model that has no session yet and that nobody else uses. BERT_UNSUPPORTED where the output is known to
 * be no float tensor of rank 3, or the mask is another one than said, BERT_INVALID_MODEL where shapes contradict each
 * other, BERT_INVALID_ARGUMENT where there is no such output, BERT_OUT_OF_MEMORY; after a failure the model can only be
 * freed.
 */
bert_status bert_model_add_pooled_output(bert_model *model, const bert_pooled_output *wanted, const char **name_out,
                                         bert_error *error);

#endif
