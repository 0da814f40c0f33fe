/* What the tasks need of the files beside a model: config.json, tokenizer_config.json, sentence-transformers' own. */
#ifndef BERT_PIPELINES_MODEL_CONFIG_H
#define BERT_PIPELINES_MODEL_CONFIG_H

#include "core/base/memory.h"
#include "pipelines/model_files.h"

#include <bert/pipeline.h>

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
    int64_t positions; /**< Tokens that `max_position_embeddings` is enough for; 0 when it is not given. */
    int64_t vocab_size, hidden_size; /**< 0 when they are not given. */
    const char *architecture;        /**< The first of `architectures`: "BertForMaskedLM"; "" when there is none. */
    /** What sentence-transformers' CrossEncoder makes scores with, where config.json says so; else DEFAULT. */
    bert_score_function cross_encoder;
    bool clean_up_spaces; /**< tokenizer_config.json's clean_up_tokenization_spaces. */
    /* modules.json and what it names: */
    bert_pooling pooling;     /**< DEFAULT when there is no modules.json. */
    bool normalize;           /**< There is a Normalize module. */
    int64_t sentence_length;  /**< `max_seq_length` of sentence_bert_config.json; 0 when it is not given. */
    const char *cannot_embed; /**< Why the modules can't be followed: one sentence; NULL when they can. */
} bert_model_config;

/**
 * Reads the files of `files` that are there; none states nothing. BERT_IO_ERROR, BERT_INVALID_MODEL when one is not
 * JSON or a key has the wrong type. Free with bert_model_config_free.
 */
bert_status bert_model_config_load(const bert_model_files *files, const bert_allocator *allocator,
                                   bert_model_config *out, bert_error *error);
void bert_model_config_free(bert_model_config *config);

#endif
