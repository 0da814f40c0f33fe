/* What the tests of the tokenizer share: small vocabularies in memory, and encodings as text. */
#ifndef BERT_TESTS_TOKENIZER_SUPPORT_H
#define BERT_TESTS_TOKENIZER_SUPPORT_H

#include "tests/support/test.h"

#include <bert/tokenizer.h>

#include <stdio.h>
#include <string.h>

/** The files of a tokenizer, each a string or NULL. */
typedef struct test_files {
    const char *tokenizer_json, *vocab, *config, *special_map, *added;
} test_files;

static inline bert_status load_files_with(const test_files *files, const bert_tokenizer_options *options,
                                          bert_tokenizer **out, bert_error *error) {
    bert_tokenizer_files bytes = {.struct_size = sizeof bytes};
#define TEST_FILE(to, from)                                                                                            \
    bytes.to.data = files->from;                                                                                       \
    bytes.to.size = files->from ? strlen(files->from) : 0
    TEST_FILE(tokenizer_json, tokenizer_json);
    TEST_FILE(vocab_txt, vocab);
    TEST_FILE(tokenizer_config_json, config);
    TEST_FILE(special_tokens_map_json, special_map);
    TEST_FILE(added_tokens_json, added);
#undef TEST_FILE
    return bert_tokenizer_load_memory(&bytes, options, out, error);
}

static inline bert_tokenizer *load_files(const test_files *files) {
    bert_tokenizer *tokenizer = NULL;
    bert_error error = {0};
    bert_status status = load_files_with(files, NULL, &tokenizer, &error);
    if (status != BERT_OK) fail_msg("loading failed: %s", error.message);
    return tokenizer;
}

/** Encodes NUL-terminated texts; fails the test when that fails. */
static inline bert_encoding_view encode_with(const bert_tokenizer *tokenizer, bert_encoding *encoding, const char *text,
                                             const char *pair, const bert_encode_options *options) {
    bert_error error = {0};
    bert_status status =
        bert_tokenizer_encode(tokenizer, text, strlen(text), pair, pair ? strlen(pair) : 0, options, encoding, &error);
    if (status != BERT_OK) fail_msg("encoding failed: %s", error.message);
    return bert_encoding_get(encoding);
}

/** The tokens of the current window with blanks between them. */
static inline const char *tokens_of(const bert_tokenizer *tokenizer, bert_encoding_view view, char *out, size_t size) {
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < view.length; i++) {
        const char *token = bert_tokenizer_token(tokenizer, view.ids[i], NULL);
        int written = snprintf(out + at, size - at, i ? " %s" : "%s", token ? token : "?");
        assert_true(written >= 0 && (size_t)written < size - at);
        at += (size_t)written;
    }
    return out;
}

static inline void assert_tokens(const bert_tokenizer *tokenizer, bert_encoding_view view, const char *expected) {
    char text[4096];
    assert_string_equal(tokens_of(tokenizer, view, text, sizeof text), expected);
}

#endif
