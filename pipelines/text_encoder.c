#include "pipelines/text_encoder.h"

#include "core/base/error.h"
#include "core/base/memory.h"

#include <inttypes.h>
#include <string.h>

/* What is kept of every token, in the order of a row's pointers. */
enum { IDS, TYPE_IDS, SPECIAL, STARTS, ENDS, WORDS, SEQUENCES, COLUMNS };
enum { DEFAULT_STRIDE = 128 }; /* That of transformers' question answering. */

struct bert_text_encoder {
    bert_text_encoder_options options;
    const bert_tokenizer *tokenizer;
    bert_encode_options encode;
    bert_encoding *encoding;
    /* The rows of the text that is under way. */
    int32_t *tokens; /* A row's columns one behind the other. */
    size_t token_count, token_capacity;
    size_t *lengths;
    size_t row_count, row_capacity;
};

/* Room for `needed` elements of `size` bytes in a list that holds `count`. */
static bert_status reserve(const bert_allocator *allocator, void **list, size_t size, size_t count, size_t needed,
                           size_t *capacity, bert_error *error) {
    if (needed <= *capacity) return BERT_OK;
    size_t bytes;
    if (needed < 2 * *capacity) needed = 2 * *capacity;
    if (needed < 256) needed = 256;
    if (!bert_size_multiply(needed, size, &bytes)) return bert_fail_memory(error, SIZE_MAX, "token ids");
    void *items = bert_allocate(allocator, bytes, BERT_ALIGNMENT);
    if (!items) return bert_fail_memory(error, bytes, "token ids");
    if (count) memcpy(items, *list, count * size);
    bert_deallocate(allocator, *list, *capacity * size, BERT_ALIGNMENT);
    *list = items;
    *capacity = needed;
    return BERT_OK;
}

void bert_text_encoder_free(bert_text_encoder *encoder) {
    if (!encoder) return;
    const bert_allocator *allocator = encoder->options.allocator;
    bert_encoding_free(encoder->encoding);
    bert_deallocate(allocator, encoder->tokens, encoder->token_capacity * sizeof *encoder->tokens, BERT_ALIGNMENT);
    bert_deallocate(allocator, encoder->lengths, encoder->row_capacity * sizeof *encoder->lengths, BERT_ALIGNMENT);
    bert_deallocate(allocator, encoder, sizeof *encoder, BERT_ALIGNMENT);
}

bert_status bert_text_encoder_create(const bert_tokenizer *tokenizer, const bert_text_encoder_options *options,
                                     bert_text_encoder **out, bert_error *error) {
    *out = NULL;
    bert_text_encoder *encoder = bert_allocate(options->allocator, sizeof *encoder, BERT_ALIGNMENT);
    if (!encoder) return bert_fail_memory(error, sizeof *encoder, "an encoder of texts");
    int64_t stride = options->windows ? options->stride : 0;
    if (stride < 0) stride = options->max_length / 2 < DEFAULT_STRIDE ? options->max_length / 2 : DEFAULT_STRIDE;
    *encoder = (bert_text_encoder){.options = *options,
                                   .tokenizer = tokenizer,
                                   .encode = {.struct_size = sizeof encoder->encode,
                                              .truncation = options->truncation,
                                              .max_length = options->max_length,
                                              .stride = stride,
                                              .invalid_utf8 = options->invalid_utf8}};
    bert_status status = bert_encoding_create(tokenizer, &encoder->encoding, error);
    if (status != BERT_OK) {
        bert_text_encoder_free(encoder);
        return status;
    }
    *out = encoder;
    return BERT_OK;
}

/* The encoding's current window as the next row. */
static bert_status add_row(bert_text_encoder *encoder, bert_error *error) {
    bert_encoding_view view = bert_encoding_get(encoder->encoding);
    const bert_allocator *allocator = encoder->options.allocator;
    size_t more;
    size_t total;
    if (view.length == 0) return bert_fail(error, BERT_INVALID_INPUT, "the text has no tokens");
    if (!bert_size_multiply(view.length, COLUMNS, &more) || !bert_size_add(encoder->token_count, more, &total)) {
        return bert_fail_memory(error, SIZE_MAX, "token ids");
    }
    BERT_TRY(reserve(allocator, (void **)&encoder->tokens, sizeof *encoder->tokens, encoder->token_count, total,
                     &encoder->token_capacity, error));
    BERT_TRY(reserve(allocator, (void **)&encoder->lengths, sizeof *encoder->lengths, encoder->row_count,
                     encoder->row_count + 1, &encoder->row_capacity, error));
    int32_t *columns[COLUMNS];
    for (int c = 0; c < COLUMNS; c++) columns[c] = encoder->tokens + encoder->token_count + (size_t)c * view.length;
    memcpy(columns[IDS], view.ids, view.length * sizeof *view.ids);
    memcpy(columns[TYPE_IDS], view.type_ids, view.length * sizeof *view.type_ids);
    memcpy(columns[WORDS], view.word_ids, view.length * sizeof *view.word_ids);
    for (size_t i = 0; i < view.length; i++) {
        columns[SPECIAL][i] = view.special_tokens_mask[i];
        columns[STARTS][i] = (int32_t)view.offsets[i][0];
        columns[ENDS][i] = (int32_t)view.offsets[i][1];
        columns[SEQUENCES][i] = view.sequence_ids[i] == 0 ? 0 : view.sequence_ids[i] == 1 ? 1 : -1;
    }
    encoder->token_count = total;
    encoder->lengths[encoder->row_count++] = view.length;
    return BERT_OK;
}

static bert_status add_rows(bert_text_encoder *encoder, const bert_text *text, bool *cut, bert_error *error) {
    const bert_text_encoder_options *options = &encoder->options;
    const char *pair = options->empty_pair_is_none && text->pair_length == 0 ? NULL : text->pair;
    BERT_TRY(bert_tokenizer_encode(encoder->tokenizer, text->text, text->text_length, pair, text->pair_length,
                                   &encoder->encode, encoder->encoding, error));
    size_t length = bert_encoding_get(encoder->encoding).length;
    if (options->truncation == BERT_TRUNCATION_NONE && length > (uint64_t)options->max_length) {
        return bert_fail(error, BERT_INVALID_INPUT,
                         "the text has %zu tokens, but at most %" PRId64 " fit and it is not to be truncated", length,
                         options->max_length);
    }
    encoder->token_count = encoder->row_count = 0;
    BERT_TRY(add_row(encoder, error));
    while (options->windows && bert_encoding_next(encoder->encoding)) BERT_TRY(add_row(encoder, error));
    *cut = !options->windows && options->truncation != BERT_TRUNCATION_NONE && bert_encoding_next(encoder->encoding);
    return BERT_OK;
}

bert_status bert_text_encoder_encode(bert_text_encoder *encoder, const bert_text *text, bert_encoded_text **out,
                                     bert_error *error) {
    *out = NULL;
    bool cut = false;
    BERT_TRY(add_rows(encoder, text, &cut, error));
    size_t head = sizeof(bert_encoded_text) + encoder->row_count * sizeof(bert_text_row);
    size_t bytes = head + encoder->token_count * sizeof *encoder->tokens;
    bert_encoded_text *encoded = bert_allocate(encoder->options.allocator, bytes, BERT_ALIGNMENT);
    if (!encoded) return bert_fail_memory(error, bytes, "token ids");
    *encoded = (bert_encoded_text){.allocator = encoder->options.allocator,
                                   .bytes = bytes,
                                   .cut = cut,
                                   .tokens = encoder->token_count / COLUMNS,
                                   .row_count = encoder->row_count};
    int32_t *at = (int32_t *)(void *)((char *)encoded + head);
    memcpy(at, encoder->tokens, encoder->token_count * sizeof *encoder->tokens);
    for (size_t r = 0; r < encoder->row_count; r++) {
        size_t length = encoder->lengths[r];
        encoded->rows[r] = (bert_text_row){.length = length,
                                           .ids = at + IDS * length,
                                           .type_ids = at + TYPE_IDS * length,
                                           .special = at + SPECIAL * length,
                                           .starts = at + STARTS * length,
                                           .ends = at + ENDS * length,
                                           .words = at + WORDS * length,
                                           .sequences = at + SEQUENCES * length};
        at += COLUMNS * length;
    }
    *out = encoded;
    return BERT_OK;
}

void bert_encoded_text_free(bert_encoded_text *text) {
    if (text) bert_deallocate(text->allocator, text, text->bytes, BERT_ALIGNMENT);
}
