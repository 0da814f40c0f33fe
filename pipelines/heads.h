/* Which output of a model is which head, and which task it fits. */
#ifndef BERT_PIPELINES_HEADS_H
#define BERT_PIPELINES_HEADS_H

#include "pipelines/model_config.h"

/** What a task reads of a model: one output, two for question answering. Names live as long as the model. */
typedef struct bert_head {
    const char *outputs[2];
    size_t output_count;
    int64_t width; /**< Last dimension of the first output as declared; -1 when the file does not say. */
} bert_head;

/**
 * Outputs are told apart by their names (last_hidden_state, logits, start_logits ...), their shapes, the vocabulary's
 * size and config.json's architecture. BERT_UNSUPPORTED when the task's head is missing: which outputs there are, and
 * which tasks they fit.
 */
bert_status bert_head_find(bert_task task, const bert_model *model, const bert_model_config *config,
                           int32_t vocabulary_size, bert_head *out, bert_error *error);

#endif
