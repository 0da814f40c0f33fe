/*
 * Any bytes as the files of a tokenizer: loading fails with a sentence, or gives a tokenizer that works; and the same
 * one when a tokenizer.json is read by the JSON library alone.
 */
#include <bert/tokenizer.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILES = 5 };

/* The first byte says which files there are; zero bytes doubled would be rare in text, so "\xff" parts them. */
static void split(const uint8_t *data, size_t size, const char *parts[FILES], size_t sizes[FILES]) {
    uint8_t present = size ? data[0] : 0;
    const uint8_t *at = data + (size > 0), *end = data + size;
    for (int i = 0; i < FILES; i++) {
        const uint8_t *stop = at < end ? memchr(at, 0xFF, (size_t)(end - at)) : NULL;
        if (!stop) stop = end;
        parts[i] = present >> i & 1 ? (const char *)at : NULL;
        sizes[i] = (size_t)(stop - at);
        at = stop < end ? stop + 1 : end;
    }
}

static void use(const bert_tokenizer *tokenizer) {
    static const char text[] = "Hello, [MASK] w\xc3\xb6rld! \xe4\xbb\x8a\xe5\xa4\xa9 <x> a\xcc\x81\xcc\xa3";
    bert_encoding *encoding;
    if (bert_encoding_create(tokenizer, &encoding, NULL) != BERT_OK) return;
    bert_encode_options options = {
        .struct_size = sizeof options, .truncation = BERT_TRUNCATION_LONGEST_FIRST, .max_length = 8, .pad_to = 9};
    if (bert_tokenizer_encode(tokenizer, text, sizeof text - 1, "pair", 4, &options, encoding, NULL) == BERT_OK) {
        int windows = 0;
        do {
            bert_encoding_view view = bert_encoding_get(encoding);
            char out[64];
            bert_tokenizer_decode(tokenizer, view.ids, view.length, windows & 1, true, out, sizeof out);
            for (size_t i = 0; i < view.length; i++) {
                if (view.ids[i] < 0) abort();
            }
        } while (bert_encoding_next(encoding) && ++windows < 100);
    }
    bert_encoding_free(encoding);
}

/* The file with a first member that has an escape in its key: its vocabulary is not lifted out. NULL: it has none. */
static char *left_to_library(const char *json, size_t size, size_t *out_size) {
    static const char member[] = "{\"\\u0078\": 0,";
    size_t at = 0;
    while (at < size && strchr(" \t\r\n", json[at]) && json[at]) at++;
    if (at == size || json[at] != '{') return NULL;
    for (size_t next = at + 1; next <= size; next++) {
        if (next == size || json[next] == '}') return NULL;
        if (!strchr(" \t\r\n", json[next]) || !json[next]) break;
    }
    *out_size = size + sizeof member - 2;
    char *out = malloc(*out_size);
    if (!out) abort();
    memcpy(out, json, at);
    memcpy(out + at, member, sizeof member - 1);
    memcpy(out + at + sizeof member - 1, json + at + 1, size - at - 1);
    return out;
}

static bool same_tokens(const bert_tokenizer *a, const bert_tokenizer *b) {
    int32_t size = bert_tokenizer_vocabulary_size(a);
    if (bert_tokenizer_vocabulary_size(b) != size) return false;
    for (int32_t id = 0; id < size && id < 10000; id++) {
        size_t length_a = 0, length_b = 0;
        const char *text_a = bert_tokenizer_token(a, id, &length_a), *text_b = bert_tokenizer_token(b, id, &length_b);
        if (!text_a != !text_b || length_a != length_b || (text_a && memcmp(text_a, text_b, length_a) != 0))
            return false;
    }
    return true;
}

static void load_otherwise(bert_tokenizer_files files, bert_status expected, const bert_tokenizer *tokenizer) {
    size_t size;
    if (!files.tokenizer_json.data) return;
    char *json = left_to_library(files.tokenizer_json.data, files.tokenizer_json.size, &size);
    if (!json) return;
    files.tokenizer_json.data = json;
    files.tokenizer_json.size = size;
    bert_tokenizer *other;
    if (bert_tokenizer_load_memory(&files, NULL, &other, NULL) != expected) abort();
    if (expected == BERT_OK && !same_tokens(tokenizer, other)) abort();
    bert_tokenizer_free(other);
    free(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *parts[FILES];
    size_t sizes[FILES];
    split(data, size, parts, sizes);
    bert_tokenizer_files files = {
        .struct_size = sizeof files,
        .tokenizer_json = {parts[0], sizes[0]},
        .vocab_txt = {parts[1], sizes[1]},
        .tokenizer_config_json = {parts[2], sizes[2]},
        .special_tokens_map_json = {parts[3], sizes[3]},
        .added_tokens_json = {parts[4], sizes[4]},
    };
    bert_tokenizer *tokenizer;
    bert_error error = {0};
    bert_status status = bert_tokenizer_load_memory(&files, NULL, &tokenizer, &error);
    load_otherwise(files, status, tokenizer);
    if (status == BERT_OK) {
        use(tokenizer);
        bert_tokenizer_free(tokenizer);
    } else if (tokenizer || !error.message[0] || strchr(error.message, '\n')) {
        abort();
    }
    return 0;
}
