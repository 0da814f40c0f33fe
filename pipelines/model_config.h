/* What the tasks need of a model's config.json. */
#ifndef BERT_PIPELINES_MODEL_CONFIG_H
#define BERT_PIPELINES_MODEL_CONFIG_H

#include "core/base/memory.h"

/** `problem_type`: what the logits of a classifier mean. */
typedef enum bert_problem_type {
    BERT_PROBLEM_UNSTATED = 0,
    BERT_PROBLEM_SINGLE_LABEL,
    BERT_PROBLEM_MULTI_LABEL,
    BERT_PROBLEM_REGRESSION
} bert_problem_type;

typedef struct bert_model_config {
    bert_arena arena;
    const char **labels; /**< `id2label`: by id; NULL for an id that is not there. */
    size_t label_count;  /**< The greatest id + 1; 0 without id2label. */
    bert_problem_type problem_type;
    int64_t max_position_embeddings; /**< 0 when it is not given. */
} bert_model_config;

/**
 * Reads config.json; `path` NULL gives a config in which nothing is stated. BERT_IO_ERROR, BERT_INVALID_MODEL when it
 * is not JSON or a key has the wrong type. Free with bert_model_config_free.
 */
bert_status bert_model_config_load(const char *path, const bert_allocator *allocator, bert_model_config *out,
                                   bert_error *error);
void bert_model_config_free(bert_model_config *config);

#endif
