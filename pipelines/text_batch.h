/* Rows of token ids as the tensors that a text model takes: pads them to one width and runs the model. */
#ifndef BERT_PIPELINES_TEXT_BATCH_H
#define BERT_PIPELINES_TEXT_BATCH_H

#include "pipelines/text_encoder.h"

/** An input that a model may have been given (core/runtime/model_end.h): int32 [M], the [MASK] tokens of all rows. */
#define BERT_TEXT_MASK_TOKENS "tokens of [MASK]"

/** One thread at a time; the model outlives it. */
typedef struct bert_text_batch bert_text_batch;

/**
 * The model's inputs are recognized by name: input_ids, attention_mask, token_type_ids, of int32 or int64; it may lack
 * the last two, and have BERT_TEXT_MASK_TOKENS. BERT_UNSUPPORTED when it needs another input. The tokenizer says how to
 * pad. `allocator` (may be NULL) outlives the batch. Free with bert_text_batch_free.
 */
bert_status bert_text_batch_create(const bert_model *model, const bert_tokenizer *tokenizer,
                                   const bert_allocator *allocator, bert_text_batch **out, bert_error *error);
void bert_text_batch_free(bert_text_batch *batch);

/** Whether every row's first token is at place 0: even an empty text has one, and padding is behind the tokens. */
bert_status bert_text_begins_at_0(const bert_tokenizer *tokenizer, bool *out, bert_error *error);

/** Tokens of a row at most: what the model's file fixes, else INT64_MAX. */
int64_t bert_text_batch_width(const bert_text_batch *batch);
/** Rows that the model takes at once, for one whose file fixes it; else SIZE_MAX. */
size_t bert_text_batch_capacity(const bert_text_batch *batch);

/**
 * Runs the model on `count` rows (at least one, bert_text_batch_capacity at most) as bert_session_run does; the
 * outputs' first dimension follows `rows`, with further rows to ignore where the file fixes the batch.
 */
bert_status bert_text_batch_run(bert_text_batch *batch, bert_session *session, const bert_run_options *options,
                                const bert_text_row *const *rows, size_t count, bert_named_tensor *outputs,
                                size_t output_count, bert_error *error);
/** What a row has in an output [.., width, ..] of the last run: in sequence `at`, from `first` on. */
typedef struct bert_text_place {
    int64_t at, first;
} bert_text_place;
/** Of row `index` of the run: its tokens, behind padding that is left, or the [MASK] tokens of a model that takes
 * these.
 */
bert_text_place bert_text_batch_place(const bert_text_batch *batch, const bert_text_row *row, size_t index,
                                      size_t width);

#endif
