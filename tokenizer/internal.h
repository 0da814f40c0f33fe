/* What the files of the tokenizer share: the loaded tokenizer, and the tokens of one text. */
#ifndef BERT_TOKENIZER_INTERNAL_H
#define BERT_TOKENIZER_INTERNAL_H

#include "core/base/memory.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/vocabulary.h"

#include <bert/tokenizer.h>

/** A piece of the post-processor's template: a special token, or one of the two texts. */
typedef struct bert_template_piece {
    int32_t special_id; /**< -1: a text. */
    int8_t sequence;    /**< 0 text, 1 pair. */
    int32_t type_id;
} bert_template_piece;

typedef struct bert_template {
    bert_template_piece *pieces; /* In the tokenizer's arena. */
    size_t count;
    size_t special_count; /* Tokens that it adds. */
} bert_template;

struct bert_tokenizer {
    const bert_allocator *allocator;
    bert_arena arena; /* Strings and templates. */
    char *vocabulary_text;
    size_t vocabulary_text_bytes;
    bert_vocabulary vocabulary;
    bert_added_tokens added;
    bert_normalizer_settings settings;
    bert_normalizer *normalizer;
    int32_t unk_id;
    uint32_t continuation; /* The trie's node behind the prefix of continuing pieces; UINT32_MAX: no token has it. */
    int64_t max_word;      /* Characters; a longer word is [UNK]. */
    bert_template single, pair;
    bool has_decoder, decoder_cleanup;
    const char *decoder_prefix;
    size_t decoder_prefix_length;
    int64_t model_max_length;
    bool truncate_left, pad_left;
    int32_t pad_id, pad_type_id;
    bert_special_ids special;
    int32_t size;
};

/** A token of one text, before anything is put around it. Offsets in code points. */
typedef struct bert_token {
    int32_t id, start, end, word;
} bert_token;

/** The tokens of one text; grows, never shrinks. */
typedef struct bert_tokens {
    bert_token *items;
    size_t count, capacity;
} bert_tokens;

/** Scratch of one thread, part of an encoding. */
typedef struct bert_scratch {
    const bert_allocator *allocator;
    bert_normalized normalized;
    char *replaced; /* The text with U+FFFD for what is not UTF-8. */
    size_t replaced_capacity;
} bert_scratch;

/** A token as text, as convert_ids_to_tokens gives it or changed by the caller. */
typedef struct bert_token_text {
    const char *text;
    size_t length;
} bert_token_text;

/** Tokens back to text as BertTokenizerFast.convert_tokens_to_string. Writes and returns as bert_tokenizer_decode. */
size_t bert_tokenizer_join(const bert_tokenizer *tokenizer, const bert_token_text *tokens, size_t count, char *out,
                           size_t capacity);

/** Tokenizes one text: added tokens, normalizer, pre-tokenizer, WordPiece. `name` ("text", "pair") is for errors. */
bert_status bert_tokenize(const bert_tokenizer *tokenizer, const char *text, size_t length, const char *name,
                          bert_invalid_utf8 invalid, bert_scratch *scratch, bert_tokens *out, bert_error *error);

#endif
