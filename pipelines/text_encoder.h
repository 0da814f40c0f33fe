/* Texts as rows of token ids: one a text, or several windows of one that is too long. */
#ifndef BERT_PIPELINES_TEXT_ENCODER_H
#define BERT_PIPELINES_TEXT_ENCODER_H

#include <bert/pipeline.h>

typedef struct bert_text_encoder_options {
    bert_truncation truncation; /**< NONE: a text that is too long is refused. */
    int64_t max_length;         /**< Tokens a row has at most, special ones included; above 0. */
    bool windows;               /**< A longer text becomes several rows. */
    int64_t stride;             /**< Tokens that these share; -1: 128, or half of max_length where that is less. */
    bool empty_pair_is_none;    /**< A pair of no bytes is no pair, as BertTokenizerFast has it for a single text. */
    bert_invalid_utf8 invalid_utf8;
    const bert_allocator *allocator; /**< Outlives encoder and texts; NULL: the C library's. */
} bert_text_encoder_options;

/** The tokens of a row, without padding: parallel arrays. */
typedef struct bert_text_row {
    size_t length;
    const int32_t *ids;
    const int32_t *type_ids;
    const int32_t *special;       /**< 1 for special tokens, else 0. */
    const int32_t *starts, *ends; /**< In code points of the token's own text. */
    const int32_t *words;         /**< Index of the word in its text; -1 for special tokens. */
    const int32_t *sequences;     /**< 0 text, 1 pair, -1 special tokens. */
} bert_text_row;

/** An encoded text, in one block of memory. Read-only: any thread. Free with bert_encoded_text_free. */
typedef struct bert_encoded_text {
    const bert_allocator *allocator;
    size_t bytes;
    bool cut;         /**< Truncation dropped tokens. */
    size_t tokens;    /**< Of all rows. */
    size_t row_count; /**< At least 1. */
    bert_text_row rows[];
} bert_encoded_text;
/** NULL is ignored. */
void bert_encoded_text_free(bert_encoded_text *text);

/** One thread at a time; the tokenizer outlives it. Free with bert_text_encoder_free. */
typedef struct bert_text_encoder bert_text_encoder;
bert_status bert_text_encoder_create(const bert_tokenizer *tokenizer, const bert_text_encoder_options *options,
                                     bert_text_encoder **out, bert_error *error);
/** NULL is ignored. */
void bert_text_encoder_free(bert_text_encoder *encoder);
/** BERT_INVALID_INPUT: not UTF-8, no tokens at all, or too long and not to be truncated. */
bert_status bert_text_encoder_encode(bert_text_encoder *encoder, const bert_text *text, bert_encoded_text **out,
                                     bert_error *error);

#endif
