/* What the files of the tokenizer share: the loaded tokenizer, and the tokens of one text. */
#ifndef BERT_TOKENIZER_INTERNAL_H
#define BERT_TOKENIZER_INTERNAL_H

#include "core/base/memory.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pieces.h"
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
    bool types_all;       /* Its types are those of every window, with special tokens; else of the first alone. */
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
    bert_pieces pieces; /* The continuing ones. */
    bool marks_pieces;  /* By a prefix that is not empty. */
    int64_t max_word;   /* Characters; a longer word is [UNK]. */
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

/** A word on its way to WordPiece. Its characters come one by one. */
typedef struct bert_word {
    char *bytes; /* Normalized, as UTF-8: what fits, 8 bytes of room behind it. */
    size_t length;
    size_t chars;     /* Also those that did not fit, for then the word is [UNK]. */
    size_t capacity;  /* Characters that fit: as many as a word may have, or the text. */
    int32_t first;    /* Where in the text, in code points, the first character came from, ... */
    int32_t last;     /* ... and the last. */
    bool straight;    /* Each came from the code point behind that of the one before: `sources` is not kept. */
    int32_t *sources; /* Where each character came from. */
    bert_piece *pieces;
    uint64_t *states; /* The hash before each 8 bytes. */
    void *block;      /* All arrays. */
    size_t block_bytes;
} bert_word;

/** Scratch of one thread, part of an encoding. */
typedef struct bert_scratch {
    const bert_allocator *allocator;
    bert_normalized normalized;
    bert_word word;
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
