/* Added tokens: found in the text before anything else looks at it, and again in the normalized text. */
#ifndef BERT_TOKENIZER_ADDED_TOKENS_H
#define BERT_TOKENIZER_ADDED_TOKENS_H

#include "tokenizer/normalizer.h"
#include "tokenizer/trie.h"
#include "tokenizer/vocabulary.h"

/** What tokenizer.json calls an added token. Strings are well-formed UTF-8 and NUL-terminated. */
typedef struct bert_added_token {
    const char *content;
    size_t length;
    int32_t id;
    bool single_word;    /**< Only where no word character touches it. */
    bool lstrip;         /**< Takes the white space before it. */
    bool rstrip;         /**< Takes the white space after it. */
    bool normalized;     /**< Its normalized form is looked for in the normalized text. */
    bool special;        /**< Left out by a decode that skips special tokens. */
    const char *decoded; /**< What decoding gives: the normalized form where `normalized` makes it another. */
    size_t decoded_length;
    bool decoded_is_special; /**< Some special token is spelled like `decoded`. */
} bert_added_token;

/** A set of patterns: the trie maps the text of each to its index in `tokens`. */
typedef struct bert_token_patterns {
    bert_trie trie; /* No edges when there is no pattern. */
    size_t count;
    bool first[256]; /* The bytes that patterns start with. */
    int only_first;  /* The one such byte, or -1. */
} bert_token_patterns;

/** Built while loading, then read-only: any thread. */
typedef struct bert_added_tokens {
    const bert_allocator *allocator;
    bert_arena *arena; /* Strings live here. */
    bert_added_token *tokens;
    size_t count, capacity;
    int32_t greatest_id; /* -1 when there is none. */
    bert_trie contents;  /* The index of each token by its content ... */
    int32_t *by_id;      /* ... and in the order of ids. */
    bert_token_patterns raw, normal;
} bert_added_tokens;

void bert_added_tokens_init(bert_added_tokens *added, bert_arena *arena, const bert_allocator *allocator);
void bert_added_tokens_free(bert_added_tokens *added);

/** The token with that content or NULL; with that id or NULL. */
const bert_added_token *bert_added_tokens_find(const bert_added_tokens *added, const char *content, size_t length);
const bert_added_token *bert_added_tokens_of_id(const bert_added_tokens *added, int32_t id);

/**
 * Adds a token, or changes the flags of the one with the same content. Its id is that of the vocabulary, or the next
 * one beyond. An empty content is ignored.
 */
bert_status bert_added_tokens_add(bert_added_tokens *added, const bert_vocabulary *vocabulary,
                                  const bert_added_token *token, bert_error *error);

/** Call once after the last token. `normalizer` is that of the tokenizer with spaces around Chinese characters. */
bert_status bert_added_tokens_finish(bert_added_tokens *added, const bert_normalizer *normalizer, bert_error *error);

/** A text that is searched: UTF-8 or normalized characters. Positions are bytes or characters. */
typedef struct bert_searched_text {
    const char *bytes; /* NULL: characters. */
    const bert_char *chars;
    size_t length;
} bert_searched_text;

/** The state of a search; zero it. */
typedef struct bert_token_search {
    size_t at;    /* Where the next match may start. */
    size_t taken; /* What the last match ended with, white space included. */
} bert_token_search;

/** A match: the token and the range that it takes, white space included. */
typedef struct bert_token_match {
    const bert_added_token *token;
    size_t start, end;
} bert_token_match;

/**
 * The next match, leftmost and then longest; false when there is none. Its range may begin before the end of the match
 * before it where that one's rstrip took what this one starts with, as in `tokenizers`.
 */
bool bert_token_search_next(const bert_added_tokens *added, const bert_token_patterns *patterns,
                            const bert_searched_text *text, bert_token_search *search, bert_token_match *match);

#endif
