/* Any bytes as text and pair, with any options: an encoding whose arrays agree with each other, or a sentence. */
#include <bert/tokenizer.h>

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char vocabulary[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\n##b\nab\n##ab\nhello\n!\n.\n\xe4\xbb\x8a\n"
    "e\n##e\ni\n##\xcc\x87\n\xe1\x84\x80\n##\xe1\x85\xa1\n\xe1\xac\x84\n##\xe1\xac\x84";
static const char added[] = "{\"added_tokens_decoder\": {"
                            "\"30\": {\"content\": \"<one>\", \"lstrip\": true, \"normalized\": false},"
                            "\"31\": {\"content\": \"Two\", \"rstrip\": true, \"normalized\": true},"
                            "\"32\": {\"content\": \"\xe4\xbb\x8a\", \"single_word\": true, \"normalized\": true},"
                            "\"33\": {\"content\": \" s\", \"single_word\": true, \"normalized\": false}}}";
static const char cased[] = "{\"do_lower_case\": false}";

static bert_tokenizer *tokenizers[2];
static bert_encoding *encodings[2];

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    for (int i = 0; i < 2; i++) {
        bert_tokenizer_files files = {.struct_size = sizeof files, .vocab_txt = {vocabulary, sizeof vocabulary - 1}};
        files.tokenizer_config_json.data = i ? cased : added;
        files.tokenizer_config_json.size = strlen(files.tokenizer_config_json.data);
        if (bert_tokenizer_load_memory(&files, NULL, &tokenizers[i], NULL) != BERT_OK) abort();
        if (bert_encoding_create(tokenizers[i], &encodings[i], NULL) != BERT_OK) abort();
    }
    return 0;
}

static void check(const bert_tokenizer *tokenizer, bert_encoding_view view, size_t most) {
    for (size_t i = 0; i < view.length; i++) {
        int64_t start = view.offsets[i][0], end = view.offsets[i][1];
        bool special = view.special_tokens_mask[i];
        if (!bert_tokenizer_token(tokenizer, view.ids[i], NULL) || start < 0 || (size_t)end > most) abort();
        if (special ? start != end || view.word_ids[i] != -1 : start >= end || view.word_ids[i] < 0) abort();
        if (special != (view.sequence_ids[i] < 0)) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 8) return 0;
    int which = data[0] & 1;
    bert_encode_options options = {
        .struct_size = sizeof options,
        .no_special_tokens = data[0] >> 1 & 1,
        .truncation = (bert_truncation)(data[1] & 3),
        .max_length = data[2],
        .stride = data[3] & 15,
        .pad_to = data[4],
        .invalid_utf8 = data[0] >> 2 & 1 ? BERT_INVALID_UTF8_REPLACE : BERT_INVALID_UTF8_ERROR,
    };
    size_t first = data[0] >> 3 & 1 ? data[5] : size;
    data += 6;
    size -= 6;
    if (first > size) first = size;
    const char *text = (const char *)data, *pair = first < size ? text + first : NULL;
    bert_error error = {0};
    bert_encoding *encoding = encodings[which];
    if (bert_tokenizer_encode(tokenizers[which], text, first, pair, size - first, &options, encoding, &error) !=
        BERT_OK) {
        if (!error.message[0] || bert_encoding_get(encoding).length || bert_encoding_next(encoding)) abort();
        return 0;
    }
    int windows = 0;
    do {
        check(tokenizers[which], bert_encoding_get(encoding), size);
    } while (bert_encoding_next(encoding) && ++windows < 50);
    return 0;
}
