/* Text classification: texts and pairs to labels and scores, as Hugging Face's pipeline of that name gives them. */
#ifndef BERT_PIPELINES_TEXT_CLASSIFICATION_H
#define BERT_PIPELINES_TEXT_CLASSIFICATION_H

#include "pipelines/model_config.h"
#include "pipelines/text_batch.h"

/** One thread at a time; model, session, tokenizer and config outlive it. */
typedef struct bert_text_classifier bert_text_classifier;

/**
 * The logits are the output named "logits", else the first one. Texts are cut at the least of options->max_length, the
 * tokenizer's model_max_length and the config's max_position_embeddings. Free with bert_text_classifier_free.
 */
bert_status bert_text_classifier_create(const bert_model *model, bert_session *session, const bert_tokenizer *tokenizer,
                                        const bert_model_config *config, const bert_text_batch_options *options,
                                        bert_text_classifier **out, bert_error *error);
void bert_text_classifier_free(bert_text_classifier *classifier);
/** The length that texts are cut at, in tokens; INT64_MAX when nothing limits it. */
int64_t bert_text_classifier_max_length(const bert_text_classifier *classifier);

/** An encoder that makes rows for this classifier, as bert_text_encoder_create does. */
bert_status bert_text_classifier_encoder(const bert_text_classifier *classifier, bert_text_encoder **out,
                                         bert_error *error);

/** The answer for one text. */
typedef struct bert_classification {
    bert_status status;   /**< BERT_OK, or why this text has no answer; then only `sentence` is set. */
    const char *sentence; /**< One sentence. */
    bool cut;             /**< The text was truncated. */
    size_t label;         /**< Index of the greatest score. */
    size_t label_count;   /**< Elements of `scores` and `logits`. */
    const double *scores; /**< Softmax of the logits, or sigmoid for multi-label and single outputs, or themselves
                               for regression: as config.json's problem_type has it. */
    const double *logits;
} bert_classification;

/**
 * Classifies `count` texts as one batch. A text that can't be used has its own status and does not harm the others; the
 * call fails only when nothing could be run at all. *out: `count` answers, good until the next call.
 */
bert_status bert_text_classifier_run(bert_text_classifier *classifier, const bert_text *texts, size_t count,
                                     const bert_classification **out, bert_error *error);

/** The name of a label: id2label's, else "LABEL_1" as Hugging Face has it. Good until the next call. */
const char *bert_text_classifier_label(bert_text_classifier *classifier, size_t label);

#endif
