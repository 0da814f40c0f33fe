/*
 * Lets the parity suite drive the tokenizer: loads FOLDER, answers requests from standard input until it ends.
 *
 * A request is a header of eight int64 (kind, flags, truncation, max_length, stride, pad_to, first size, second size)
 * and that many bytes of text and pair. Kind 0 encodes: the answer is int64 status, int64 windows, and for each window
 * int64 length and the arrays ids, type_ids, word_ids (int32), offsets (int64 pairs), attention_mask,
 * special_tokens_mask (uint8), sequence_ids (int8). Kind 1 decodes (the first bytes are int32 ids): int64 status,
 * int64 bytes, the bytes. After a failure: int64 status, int64 bytes, the sentence.
 */
#include <bert/tokenizer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KIND, FLAGS, TRUNCATION, MAX_LENGTH, STRIDE, PAD_TO, FIRST, SECOND, FIELDS };
enum { HAS_PAIR = 1, NO_SPECIAL = 2, REPLACE = 4, CLEAN_UP = 8 };

static void put(const void *data, size_t size, size_t count) {
    if (count && fwrite(data, size, count, stdout) != count) exit(1);
}

static void put_header(int64_t status, int64_t count) {
    int64_t header[2] = {status, count};
    put(header, sizeof *header, 2);
}

static void put_view(bert_encoding_view view) {
    int64_t length = (int64_t)view.length;
    put(&length, sizeof length, 1);
    put(view.ids, sizeof *view.ids, view.length);
    put(view.type_ids, sizeof *view.type_ids, view.length);
    put(view.word_ids, sizeof *view.word_ids, view.length);
    put(view.offsets, sizeof *view.offsets, view.length);
    put(view.attention_mask, 1, view.length);
    put(view.special_tokens_mask, 1, view.length);
    put(view.sequence_ids, 1, view.length);
}

static void encode(const bert_tokenizer *tokenizer, bert_encoding *encoding, const int64_t *request, const char *text) {
    bert_encode_options options = {
        .struct_size = sizeof options,
        .no_special_tokens = request[FLAGS] & NO_SPECIAL,
        .truncation = (bert_truncation)request[TRUNCATION],
        .max_length = request[MAX_LENGTH],
        .stride = request[STRIDE],
        .pad_to = request[PAD_TO],
        .invalid_utf8 = request[FLAGS] & REPLACE ? BERT_INVALID_UTF8_REPLACE : BERT_INVALID_UTF8_ERROR,
    };
    bert_error error;
    bert_status status = BERT_OK;
    int64_t windows = 1;
    /* Twice, once to count the windows, so that they can be written as they come. */
    for (int pass = 0; pass < 2 && status == BERT_OK; pass++) {
        status = bert_tokenizer_encode(tokenizer, text, (size_t)request[FIRST],
                                       request[FLAGS] & HAS_PAIR ? text + request[FIRST] : NULL,
                                       (size_t)request[SECOND], &options, encoding, &error);
        if (status != BERT_OK) break;
        if (pass == 0) {
            while (bert_encoding_next(encoding)) windows++;
            continue;
        }
        put_header(BERT_OK, windows);
        do {
            put_view(bert_encoding_get(encoding));
        } while (bert_encoding_next(encoding));
    }
    if (status != BERT_OK) {
        put_header(status, (int64_t)strlen(error.message));
        put(error.message, 1, strlen(error.message));
    }
}

static void decode(const bert_tokenizer *tokenizer, const int64_t *request, const char *bytes) {
    size_t count = (size_t)request[FIRST] / sizeof(int32_t);
    bool skip = request[FLAGS] & NO_SPECIAL, clean = request[FLAGS] & CLEAN_UP;
    const int32_t *ids = (const int32_t *)(const void *)bytes;
    size_t length = bert_tokenizer_decode(tokenizer, ids, count, skip, clean, NULL, 0);
    char *out = malloc(length + 1);
    if (!out || bert_tokenizer_decode(tokenizer, ids, count, skip, clean, out, length + 1) != length) exit(1);
    put_header(BERT_OK, (int64_t)length);
    put(out, 1, length);
    free(out);
}

static void say(void *user, bert_log_level level, const char *message) {
    fprintf(stderr, "notice: %s\n", message);
}

int main(int argc, char **argv) {
    bert_tokenizer *tokenizer;
    bert_encoding *encoding;
    bert_error error;
    bert_log log = {.write = say, .level = BERT_LOG_NOTICE};
    bert_tokenizer_options options = {.struct_size = sizeof options, .log = &log};
    if (argc != 2 || bert_tokenizer_load(argv[1], &options, &tokenizer, &error) != BERT_OK ||
        bert_encoding_create(tokenizer, &encoding, &error) != BERT_OK) {
        fprintf(stderr, "%s\n", argc == 2 ? error.message : "usage: tokenizer_probe FOLDER");
        return 1;
    }
    int64_t request[FIELDS];
    while (fread(request, sizeof *request, FIELDS, stdin) == FIELDS) {
        /* Exactly as large as the text, so that AddressSanitizer sees what reads past it. */
        size_t size = (size_t)(request[FIRST] + request[SECOND]);
        char *text = malloc(size ? size : 1);
        if (!text || fread(text, 1, size, stdin) != size) return 1;
        if (request[KIND] == 0) {
            encode(tokenizer, encoding, request, text);
        } else {
            decode(tokenizer, request, text);
        }
        free(text);
        if (fflush(stdout) != 0) return 1;
    }
    bert_encoding_free(encoding);
    bert_tokenizer_free(tokenizer);
    return 0;
}
