/* From normalized characters to tokens: the pre-tokenizer, which makes words, and WordPiece, which splits them. */
#ifndef BERT_TOKENIZER_WORDS_H
#define BERT_TOKENIZER_WORDS_H

#include "tokenizer/internal.h"

/** What words are made of and where their tokens go. Kept by the caller over the stretches of a text. */
typedef struct bert_words {
    const bert_tokenizer *tokenizer;
    bert_scratch *scratch;
    bert_tokens *out;
    int32_t index; /**< Of the next word; added tokens count as well. */
} bert_words;

/** Room for `more` tokens behind those that are there. */
bert_status bert_words_reserve(bert_words *words, size_t more, bert_error *error);

/**
 * Tokenizes well-formed UTF-8 whose first code point has the index `source` in its text, normalizing it on the way.
 * *sorted is set, and nothing changed, where characters would have to be sorted first.
 */
bert_status bert_words_of_text(bert_words *words, const char *text, size_t length, int32_t source, bool *sorted,
                               bert_error *error);

/** Tokenizes [start, end) of a normalized text. */
bert_status bert_words_of_range(bert_words *words, const bert_normalized *text, size_t start, size_t end,
                                bert_error *error);

#endif
