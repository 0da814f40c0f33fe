/*
 * Texts as the tensors that a text model takes: encodes them one by one, pads them to one width, and runs the model.
 * What every task's pipeline begins with.
 */
#ifndef BERT_PIPELINES_TEXT_BATCH_H
#define BERT_PIPELINES_TEXT_BATCH_H

#include <bert/session.h>
#include <bert/tokenizer.h>

/** A text, or a pair when `pair` is not NULL. Lengths in bytes; NUL bytes are text. */
typedef struct bert_text {
    const char *text;
    size_t text_length;
    const char *pair;
    size_t pair_length;
    const struct bert_text_row *row; /**< What an encoder made of it ahead of its batch; NULL: nothing yet. */
} bert_text;

typedef struct bert_text_batch_options {
    bert_truncation truncation;
    /** Tokens a row has at most, special ones included; 0: what the tokenizer and the model's fixed shapes allow. */
    int64_t max_length;
    bert_invalid_utf8 invalid_utf8;
} bert_text_batch_options;

/** Rows of token ids. One thread at a time; the model and the tokenizer outlive it. */
typedef struct bert_text_batch bert_text_batch;

/**
 * The model's inputs are recognized by name: input_ids, attention_mask, token_type_ids, of int32 or int64; it may lack
 * the last two. BERT_UNSUPPORTED when it needs another input. Free with bert_text_batch_free.
 */
bert_status bert_text_batch_create(const bert_model *model, const bert_tokenizer *tokenizer,
                                   const bert_text_batch_options *options, bert_text_batch **out, bert_error *error);
void bert_text_batch_free(bert_text_batch *batch);

/** A text as token ids, made ahead of the batch that it will be in. Free with bert_text_row_free. */
typedef struct bert_text_row {
    size_t length; /**< Tokens. */
    bool cut;      /**< Truncation dropped some. */
    int32_t ids[]; /**< `length` ids, then `length` type ids. */
} bert_text_row;
void bert_text_row_free(bert_text_row *row);

/**
 * Makes rows for a batch on another thread than the one that fills and runs it. One thread at a time; the tokenizer
 * outlives it. Free with bert_text_encoder_free.
 */
typedef struct bert_text_encoder bert_text_encoder;
bert_status bert_text_encoder_create(const bert_text_batch *batch, bert_text_encoder **out, bert_error *error);
void bert_text_encoder_free(bert_text_encoder *encoder);
/** Fails as bert_text_batch_add would. A batch takes the row as the text's, in place of encoding it again. */
bert_status bert_text_encoder_encode(bert_text_encoder *encoder, const bert_text *text, bert_text_row **out,
                                     bert_error *error);

/** The length that texts are cut at; INT64_MAX when nothing limits it. */
int64_t bert_text_batch_max_length(const bert_text_batch *batch);
/** Rows that the model takes at once, for one whose file fixes it; else SIZE_MAX. */
size_t bert_text_batch_capacity(const bert_text_batch *batch);
/** Rows added since it was cleared. */
size_t bert_text_batch_rows(const bert_text_batch *batch);

void bert_text_batch_clear(bert_text_batch *batch);
/**
 * Adds a text as the next row, encoding it unless it has one; *cut tells whether truncation dropped tokens. After a
 * failure the batch is as it was. BERT_INVALID_INPUT: not UTF-8, or too long and not to be truncated.
 */
bert_status bert_text_batch_add(bert_text_batch *batch, const bert_text *text, bool *cut, bert_error *error);

/** Pads the rows and runs the model on them, as bert_session_run does. The batch must have a row. */
bert_status bert_text_batch_run(bert_text_batch *batch, bert_session *session, bert_named_tensor *outputs,
                                size_t output_count, bert_error *error);

#endif
