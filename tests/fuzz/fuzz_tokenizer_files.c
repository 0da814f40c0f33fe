/* Any bytes as the files of a tokenizer: loading fails with a sentence, or gives a tokenizer that works. */
#include <bert/tokenizer.h>

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
    if (bert_tokenizer_load_memory(&files, NULL, &tokenizer, &error) == BERT_OK) {
        use(tokenizer);
        bert_tokenizer_free(tokenizer);
    } else if (tokenizer || !error.message[0] || strchr(error.message, '\n')) {
        abort();
    }
    return 0;
}
