/*
 * Text in, answers out: the tasks of Hugging Face's pipelines.
 *
 *     bert_pipeline *pipeline;
 *     bert_answers *answers;
 *     bert_text text = {"a splendid film", 15, NULL, 0};
 *     if (bert_pipeline_load(BERT_TASK_TEXT_CLASSIFICATION, "model-folder", NULL, &pipeline, &error)) ...
 *     if (bert_pipeline_run(pipeline, &text, 1, NULL, &answers, &error)) ...
 *     const bert_answer *answer = bert_answers_get(answers, 0);
 *     printf("%s %f\n", bert_pipeline_label(pipeline, answer->label), answer->scores[answer->label]);
 *     bert_answers_free(answers);
 *     bert_pipeline_free(pipeline);
 */
#ifndef BERT_PIPELINE_H
#define BERT_PIPELINE_H

#include <bert/model.h>
#include <bert/session.h>
#include <bert/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What is asked of a model; each needs a head of its own. The numbers are part of the ABI. */
typedef enum bert_task {
    BERT_TASK_TEXT_CLASSIFICATION = 0,  /**< Logits of [batch, labels]. */
    BERT_TASK_FEATURE_EXTRACTION = 1,   /**< Hidden states of [batch, sequence, hidden]. */
    BERT_TASK_TOKEN_CLASSIFICATION = 2, /**< Logits of [batch, sequence, labels]. */
    BERT_TASK_FILL_MASK = 3,            /**< Logits of [batch, sequence, vocabulary]. */
    BERT_TASK_QUESTION_ANSWERING = 4,   /**< Start and end logits of [batch, sequence]. */
    BERT_TASK_TEXT_RANKING = 5          /**< A cross-encoder: logits of [batch, labels] for pairs. */
} bert_task;

/** Hugging Face's name of a task ("text-classification"); "unknown task" for another number. Static. Any thread. */
BERT_API const char *bert_task_name(bert_task task);

/**
 * A text, or a pair when `pair` is not NULL. Lengths in bytes; NUL bytes are text. A pair of no bytes is no pair, as in
 * transformers, but for ranking.
 */
typedef struct bert_text {
    const char *text; /**< Question answering: the question. Ranking: the query. */
    size_t text_length;
    const char *pair; /**< Question answering: the context. Ranking: the document. */
    size_t pair_length;
} bert_text;

/** What becomes of a text that has more tokens than fit. What was cut is reported: see bert_answer.cut. */
typedef enum bert_long_text {
    BERT_LONG_TEXT_DEFAULT = 0,    /**< Question answering: windows. Else cut, the longer of a pair first. */
    BERT_LONG_TEXT_REFUSE = 1,     /**< The text has no answer, but a sentence that says how long it is. */
    BERT_LONG_TEXT_CUT = 2,        /**< The longer of a pair first. */
    BERT_LONG_TEXT_CUT_FIRST = 3,  /**< Only the text of a pair. */
    BERT_LONG_TEXT_CUT_SECOND = 4, /**< Only the pair of a text. */
    /**
     * Windows that share `stride` tokens, their answers put together as transformers does. Question answering, and
     * token classification with an aggregation; elsewhere BERT_UNSUPPORTED, for no rule is defined there.
     */
    BERT_LONG_TEXT_WINDOWS = 5
} bert_long_text;

/** What the scores of a classifier are made of its logits with. */
typedef enum bert_score_function {
    BERT_SCORE_DEFAULT = 0, /**< As config.json's problem_type and the number of labels have it. */
    BERT_SCORE_SOFTMAX = 1,
    BERT_SCORE_SIGMOID = 2,
    BERT_SCORE_NONE = 3
} bert_score_function;

/** How the vectors of a text's tokens become one. */
typedef enum bert_pooling {
    BERT_POOLING_DEFAULT = 0, /**< As modules.json and 1_Pooling/config.json have it; else the mean. */
    BERT_POOLING_NONE = 1,    /**< They don't: a vector a token, special tokens included. */
    BERT_POOLING_CLS = 2,     /**< The first token's. */
    BERT_POOLING_MEAN = 3,    /**< Over all tokens that are not padding. */
    BERT_POOLING_MAX = 4
} bert_pooling;

typedef enum bert_switch { BERT_AS_THE_MODEL_SAYS = 0, BERT_ON = 1, BERT_OFF = 2 } bert_switch;

/** How tokens become entities: transformers' aggregation_strategy. */
typedef enum bert_aggregation {
    BERT_AGGREGATION_NONE = 0,    /**< An entity a token. */
    BERT_AGGREGATION_SIMPLE = 1,  /**< Neighbours of one label are one entity. */
    BERT_AGGREGATION_FIRST = 2,   /**< The same, a word having the label of its first token, ... */
    BERT_AGGREGATION_AVERAGE = 3, /**< ... of the average over its tokens, ... */
    BERT_AGGREGATION_MAX = 4      /**< ... of the token with the greatest score. */
} bert_aggregation;

/** Options of a pipeline. Set `struct_size`, zero the rest for the defaults. Strings are copied. */
typedef struct bert_pipeline_options {
    size_t struct_size;              /**< sizeof(bert_pipeline_options) */
    const char *tokenizer_folder;    /**< NULL: beside the model, else one folder up. */
    const bert_model_options *model; /**< NULL: the defaults. Its log and allocator serve the whole pipeline. */
    /**
     * NULL: all cores, and what suits texts: padded_rows undefined, quant_scope sequence. Else as it says; `threads`
     * NULL then too means a pool of the pipeline's own.
     */
    const bert_session_options *session;
    /* Texts */
    int32_t batch_size; /**< Texts (or windows) that run together, of like length; 0 means 8. */
    bert_long_text long_text;
    /** Tokens that a text has at most, special ones included; 0: what tokenizer, config.json and graph allow. */
    int64_t max_length;
    /** Tokens that windows share. 0: question answering's 128, or half of max_length where that is less, else none; -1:
     * none. */
    int64_t stride;
    bert_invalid_utf8 invalid_utf8;
    /* Text classification and ranking */
    bert_score_function score_function;
    /** Ranking by a model of several labels: the one whose score counts. NULL: the last one of two. */
    const char *ranking_label;
    /* Feature extraction */
    bert_pooling pooling;
    bert_switch normalize; /**< To length 1 (Euclidean). The model says: a Normalize module in modules.json. */
    /* Token classification */
    bert_aggregation aggregation;
    const char *const *ignore_labels; /**< Entities of these are left out. NULL: "O" alone. */
    size_t ignore_label_count;
    /* Fill-mask and question answering */
    int64_t top_k; /**< Answers at most; 0: 5 for fill-mask, 1 for question answering. */
    /**
     * Fill-mask: only these tokens are answers; their scores stay those of the whole vocabulary. A target that is no
     * token counts as the first token that it is made of, with a notice. NULL: every token.
     */
    const char *const *targets;
    size_t target_count;
    int64_t max_answer_length; /**< Tokens of an answer; 0 means 15. */
    bool impossible_answers;   /**< The empty answer competes. */
    bool answers_within_words; /**< Answers may begin and end inside words (transformers' align_to_words=False). */
} bert_pipeline_options;

/** A task's model, tokenizer and settings: immutable, usable from any number of threads at once. */
typedef struct bert_pipeline bert_pipeline;

/**
 * Loads what a task needs: `model` is a .onnx file, or a folder with model.onnx or onnx/model.onnx, with the
 * tokenizer's files and config.json beside it or one folder up. BERT_UNSUPPORTED when the model has no head for the
 * task: the sentence says which outputs it has and which task fits. Free with bert_pipeline_free.
 */
BERT_API bert_status bert_pipeline_load(bert_task task, const char *model, const bert_pipeline_options *options,
                                        bert_pipeline **out, bert_error *error);
/** NULL is ignored. No run may be under way; answers live on. */
BERT_API void bert_pipeline_free(bert_pipeline *pipeline);

/** Belongs to the pipeline. */
BERT_API const bert_tokenizer *bert_pipeline_tokenizer(const bert_pipeline *pipeline);
/** Tokens that a text (or a window) has at most; INT64_MAX when nothing limits it. */
BERT_API int64_t bert_pipeline_max_length(const bert_pipeline *pipeline);
/** Labels that config.json names, or else that the head has; 0 where neither says, or the task has none. */
BERT_API size_t bert_pipeline_label_count(const bert_pipeline *pipeline);
/** The name of a label, "LABEL_7" for one that config.json does not name; NULL beyond the count. Belongs to the
 * pipeline. */
BERT_API const char *bert_pipeline_label(const bert_pipeline *pipeline, size_t label);

/** A part of a text that has a label. Offsets in code points of the text. Strings belong to the answers. */
typedef struct bert_entity {
    const char *label; /**< "B-PER"; with an aggregation "PER". */
    double score;
    const char *word; /**< As transformers spells it: of the vocabulary's tokens. UTF-8, NUL-terminated. */
    size_t word_length;
    int64_t index; /**< Of its token, from 0 ([CLS]); -1 with an aggregation. */
    int64_t start, end;
} bert_entity;

/** A token for a mask. */
typedef struct bert_filling {
    int32_t token;
    double score;
    const char *token_text;
    size_t token_text_length;
    const char *sequence; /**< The whole text with that token in the mask's place. */
    size_t sequence_length;
} bert_filling;

/** The fillings of one mask, best first. */
typedef struct bert_mask_answer {
    const bert_filling *fillings;
    size_t count;
} bert_mask_answer;

/** A part of a context that answers. Offsets in code points of the context. */
typedef struct bert_span {
    double score;
    int64_t start, end;
    const char *text; /**< UTF-8, NUL-terminated; "" for the empty answer. */
    size_t text_length;
} bert_span;

/** What one text gave. Only the task's own members are set. Grows at its end alone: get it by bert_answers_get. */
typedef struct bert_answer {
    bert_status status;   /**< BERT_OK, or why this text has no answer: then only `sentence` is set. */
    const char *sentence; /**< NULL with BERT_OK. */
    bool cut;             /**< Tokens were dropped. */
    size_t windows;       /**< That the text was read in; 1 unless it was too long. */
    /* Text classification, ranking */
    size_t label; /**< With the greatest score; ranking: the one that counts. */
    size_t label_count;
    const double *scores; /**< label_count */
    const double *logits; /**< label_count */
    /* Feature extraction */
    const float *embedding; /**< Row-major: rows x width. */
    size_t rows, width;     /**< 1 row; with pooling none one a token. */
    const int32_t *tokens;  /**< The token ids of the rows with pooling none. */
    /* Token classification */
    const bert_entity *entities;
    size_t entity_count;
    /* Fill-mask */
    const bert_mask_answer *masks; /**< In the order of the text. */
    size_t mask_count;
    /* Question answering */
    const bert_span *spans; /**< Best first. */
    size_t span_count;
} bert_answer;

/** The answers of one run. Immutable: any thread. */
typedef struct bert_answers bert_answers;

/**
 * Answers `count` texts. One that can't be used has its own status and does not harm the others; the call fails only
 * when nothing could be run at all. `options` (may be NULL): cancellation. Any number of threads may run at once;
 * each has a session of its own, kept for later. Free the answers with bert_answers_free.
 */
BERT_API bert_status bert_pipeline_run(bert_pipeline *pipeline, const bert_text *texts, size_t count,
                                       const bert_run_options *options, bert_answers **out, bert_error *error);
BERT_API void bert_answers_free(bert_answers *answers);
BERT_API size_t bert_answers_count(const bert_answers *answers);
/** The answer of text `index`, NULL beyond the count. Belongs to the answers. */
BERT_API const bert_answer *bert_answers_get(const bert_answers *answers, size_t index);

/** A document's place among those of one query. */
typedef struct bert_ranked {
    size_t index; /**< Of its text in the run. */
    double score;
} bert_ranked;
/**
 * Ranking: the run's texts that have an answer, best first; equal scores keep their order, NaN comes last. Belongs to
 * the answers. *count_out 0 for other tasks.
 */
BERT_API const bert_ranked *bert_answers_ranking(const bert_answers *answers, size_t *count_out);

#ifdef __cplusplus
}
#endif
#endif
