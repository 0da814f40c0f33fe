/* What a model ends in other than its file says: hidden states pooled, or some tokens alone. */
#ifndef BERT_RUNTIME_MODEL_END_H
#define BERT_RUNTIME_MODEL_END_H

#include "core/runtime/model.h"

/** Names are the model's own, of `pooling` those of canonical Pool. */
typedef struct bert_pooled_output {
    const char *hidden_states; /**< An output, [B, S, K]. */
    /** The input that says which tokens count, [B, S] of int32 or int64. A model without one gets it: of int64, read
     * by the pooling alone. */
    const char *mask;
    const char *pooling; /**< "mean", "max", "first" */
    bool normalize;      /**< To length 1. */
    /** Every sequence has a token, and the first one is at place 0: so the mask isn't asked for "first". */
    bool begins_at_0;
} bert_pooled_output;

/**
 * Puts a Pool behind the hidden states, whose result [B, K] becomes the only output: its name comes in *name_out and
 * lives as long as the model. What nothing needs any more goes; where the model had passes they run again, so that no
 * more is computed than what is wanted. For a model that has no session yet and that nobody else uses. BERT_UNSUPPORTED
 * where the output is known to be no float tensor of rank 3, or the mask is another one than said, BERT_INVALID_MODEL
 * where shapes contradict each other, BERT_INVALID_ARGUMENT where there is no such output, BERT_OUT_OF_MEMORY; after a
 * failure the model can only be freed.
 */
bert_status bert_model_end_in_pool(bert_model *model, const bert_pooled_output *wanted, const char **name_out,
                                   bert_error *error);

/**
 * The same for the rows [1, M, K] that output `output` [B, S, K] has of M tokens: an input `tokens` of int32 [M] says
 * which, by numbers b S + s from 0 to B S - 1, in any order, some more than once. They have to be tokens that
 * attention_mask counts, where padding is skipped.
 */
bert_status bert_model_end_in_tokens(bert_model *model, const char *output, const char *tokens, const char **name_out,
                                     bert_error *error);

#endif
