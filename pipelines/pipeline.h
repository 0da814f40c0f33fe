/* What the tasks share: a loaded pipeline, a row of a run, the answer that it goes into. */
#ifndef BERT_PIPELINES_PIPELINE_H
#define BERT_PIPELINES_PIPELINE_H

#include "pipelines/heads.h"
#include "pipelines/text_batch.h"
#include "tokenizer/internal.h"

#include <pthread.h>

struct bert_worker;

/** A row of a run, and where its part of the answer goes. */
typedef struct bert_row_reading {
    const bert_pipeline *pipeline;
    bert_arena *arena;          /**< Lives as long as the answers. */
    bert_arena *scratch;        /**< Lives until the text's answer is put together. */
    const bert_text *text;      /**< Well-formed UTF-8: what is not was replaced. */
    const bert_text_row *row;   /**< Its tokens. */
    const bert_tensor *outputs; /**< The head's, in its order. */
    int64_t at;                 /**< The row in the outputs' first dimension; */
    int64_t first;              /**< where its first token lies in the second one. Fill-mask: its first mask, at 0. */
    bert_answer *answer;
    void **partial; /**< Where the task leaves what the row gave until `finish`. */
} bert_row_reading;

/** A text whose rows have all been read. */
typedef struct bert_text_reading {
    const bert_pipeline *pipeline;
    bert_arena *arena, *scratch; /**< As above. */
    const bert_text *text;
    void *const *partials; /**< One a row, in the order of the text. */
    size_t rows;
    bert_answer *answer;
} bert_text_reading;

/** A task: what pipeline.c and run.c call in this order. Any but `check` and `read` may be NULL. */
typedef struct bert_task_rules {
    /** Reads the task's own options when a pipeline is created. */
    bert_status (*prepare)(bert_pipeline *pipeline, const bert_pipeline_options *options, bert_error *error);
    /** Whether the task takes a text; what it refuses is the text's own failure. */
    bert_status (*accept)(const bert_pipeline *pipeline, const bert_text *text, bert_error *error);
    /** The same, of the tokens: called for each of a text's rows, before the run. */
    bert_status (*accept_row)(const bert_pipeline *pipeline, const bert_text_row *row, bert_error *error);
    /** Whether the outputs have the shape that the task reads. */
    bert_status (*check)(const bert_pipeline *pipeline, const bert_tensor *outputs, bert_error *error);
    /** Takes what a row gave; rows come in any order. */
    bert_status (*read)(const bert_row_reading *reading, bert_error *error);
    /** Puts a text's answer together. */
    bert_status (*finish)(const bert_text_reading *reading, bert_error *error);
} bert_task_rules;

extern const bert_task_rules bert_text_classification_rules, bert_feature_extraction_rules,
    bert_token_classification_rules, bert_fill_mask_rules, bert_question_answering_rules, bert_text_ranking_rules;

struct bert_pipeline {
    bert_allocator allocator;
    bert_log log;
    bert_arena arena; /* Strings, labels, targets. */
    bert_task task;
    const bert_task_rules *rules;
    bert_model *model;
    bert_tokenizer *tokenizer;
    bert_thread_pool *threads; /* Its own, or NULL. */
    bert_model_config config;
    bert_head head;
    bert_session_options session;
    bert_text_encoder_options texts;
    size_t batch_size;
    bool in_order; /* Answers depend on what else is in the batch: batches are of texts that follow each other. */
    const char **labels;
    size_t label_count;
    /* The tasks' own settings: */
    bert_score_function score_function;
    size_t ranking_label;
    bert_pooling pooling;
    bool normalize;
    bert_aggregation aggregation;
    const char **ignore_labels;
    size_t ignore_label_count;
    size_t top_k;
    int32_t *targets; /* Sorted; NULL: every token. */
    size_t target_count;
    int64_t max_answer_length;
    bool impossible_answers, answers_within_words;

    pthread_mutex_t mutex; /* Of `idle`. */
    struct bert_worker *idle;
};

/**
 * An encoder of texts for this pipeline, to make ready on another thread what bert_pipeline_run_encoded takes. One
 * thread at a time. Free with bert_text_encoder_free.
 */
bert_status bert_pipeline_encoder(const bert_pipeline *pipeline, bert_text_encoder **out, bert_error *error);
/** bert_pipeline_run for texts that are encoded already: `encoded` has one a text; NULL where it is to be done here. */
bert_status bert_pipeline_run_encoded(bert_pipeline *pipeline, const bert_text *texts,
                                      const bert_encoded_text *const *encoded, size_t count,
                                      const bert_run_options *options, bert_answers **out, bert_error *error);

/** BERT_UNSUPPORTED unless an output is float and has that rank; `what` is what the task wants of it. */
bert_status bert_check_output(const bert_pipeline *pipeline, const bert_tensor *outputs, size_t index, int32_t rank,
                              const char *what, bert_error *error);
/** Element `index` of an output. */
double bert_output_value(const bert_tensor *output, int64_t index);
/** Reads `count` elements from `index` on as doubles. */
void bert_output_values(const bert_tensor *output, int64_t index, size_t count, double *out);
/** exp(x) / sum exp(x), in place allowed. */
void bert_softmax(const double *logits, double *scores, size_t count);
/** Index of the greatest; the first of equals, NaN is never greater. `count` > 0. */
size_t bert_greatest(const double *values, size_t count);

/** A place in well-formed UTF-8, for slices by code points whose starts mostly rise. */
typedef struct bert_code_points {
    const char *text;
    size_t length;
    size_t byte;
    int64_t index; /**< Code points before `byte`. */
} bert_code_points;
/** The bytes from code point `start` to `end`, cut at the text's end; *length_out bytes. */
const char *bert_code_points_slice(bert_code_points *points, int64_t start, int64_t end, size_t *length_out);

/** Decodes ids into the arena as bert_tokenizer_decode does, with the tokenizer's own clean-up. BERT_OUT_OF_MEMORY. */
bert_status bert_decode_into(const bert_pipeline *pipeline, bert_arena *arena, const int32_t *ids, size_t count,
                             bool skip_special_tokens, const char **out, size_t *length_out, bert_error *error);

#endif
