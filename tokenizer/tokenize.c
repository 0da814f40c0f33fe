/* One text to tokens: its added tokens, and the words between them. */
#include "tokenizer/words.h"

#include "core/base/error.h"
#include "core/base/utf8.h"

#include <string.h>

static bert_status put_added(bert_words *words, const bert_added_token *token, int32_t start, int32_t end,
                             bert_error *error) {
    BERT_TRY(bert_words_reserve(words, 1, error));
    bert_tokens *out = words->out;
    out->items[out->count++] = (bert_token){.id = token->id, .start = start, .end = end, .word = words->index++};
    return BERT_OK;
}

/* A stretch of text without raw added tokens: normalized, searched for normalized ones, tokenized between them. */
static bert_status tokenize_stretch(bert_words *words, const char *bytes, size_t length, int32_t first,
                                    bert_error *error) {
    const bert_tokenizer *tokenizer = words->tokenizer;
    if (tokenizer->added.normal.count == 0) {
        bool sorted;
        BERT_TRY(bert_words_of_text(words, bytes, length, first, &sorted, error));
        if (!sorted) return BERT_OK;
    }
    bert_normalized *normal = &words->scratch->normalized;
    BERT_TRY(bert_normalize(tokenizer->normalizer, bytes, length, first, normal, error));
    bert_searched_text text = {.chars = normal->text, .length = normal->length};
    bert_token_search search = {0};
    bert_token_match match;
    size_t done = 0;
    while (bert_token_search_next(&tokenizer->added, &tokenizer->added.normal, &text, &search, &match)) {
        if (done < match.start) BERT_TRY(bert_words_of_range(words, normal, done, match.start, error));
        BERT_TRY(put_added(words, match.token, normal->source[match.start], normal->source[match.end - 1] + 1, error));
        done = match.end;
    }
    return bert_words_of_range(words, normal, done, normal->length, error);
}

static int32_t count_code_points(const char *text, size_t length) {
    int32_t count = 0;
    for (size_t i = 0; i < length; i++) count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

/* Copies the text with U+FFFD for what is not UTF-8. A byte becomes at most three. */
static bert_status replace_invalid(const char **text, size_t *length, bert_scratch *scratch, bert_error *error) {
    size_t want;
    if (!bert_size_multiply(*length, 3, &want)) want = SIZE_MAX;
    if (want > scratch->replaced_capacity) {
        char *fresh = bert_allocate(scratch->allocator, want, BERT_ALIGNMENT);
        if (!fresh) return bert_fail_memory(error, want, "a text with its broken bytes replaced");
        bert_deallocate(scratch->allocator, scratch->replaced, scratch->replaced_capacity, BERT_ALIGNMENT);
        scratch->replaced = fresh;
        scratch->replaced_capacity = want;
    }
    *length = bert_utf8_replace(*text, *length, scratch->replaced);
    *text = scratch->replaced;
    return BERT_OK;
}

bert_status bert_tokenize(const bert_tokenizer *tokenizer, const char *text, size_t length, const char *name,
                          bert_invalid_utf8 invalid, bert_scratch *scratch, bert_tokens *out, bert_error *error) {
    out->count = 0;
    if (length == 0) return BERT_OK;
    size_t valid = bert_utf8_valid_prefix(text, length);
    if (valid < length) {
        if (invalid == BERT_INVALID_UTF8_ERROR) {
            return bert_fail(error, BERT_INVALID_INPUT, "the %s is not UTF-8: byte %zu is 0x%02X", name, valid,
                             (unsigned char)text[valid]);
        }
        BERT_TRY(replace_invalid(&text, &length, scratch, error));
    }
    if (length >= INT32_MAX) {
        return bert_fail(error, BERT_UNSUPPORTED, "the %s has %zu bytes; at most 2147483646 can be tokenized", name,
                         length);
    }
    bert_searched_text searched = {.bytes = text, .length = length};
    bert_token_search search = {0};
    bert_token_match match;
    size_t done = 0;
    int32_t done_points = 0;
    bert_words words = {.tokenizer = tokenizer, .scratch = scratch, .out = out};
    while (bert_token_search_next(&tokenizer->added, &tokenizer->added.raw, &searched, &search, &match)) {
        int32_t start = match.start < done ? done_points - count_code_points(text + match.start, done - match.start)
                                           : done_points + count_code_points(text + done, match.start - done);
        if (done < match.start) {
            BERT_TRY(tokenize_stretch(&words, text + done, match.start - done, done_points, error));
        }
        int32_t end = start + count_code_points(text + match.start, match.end - match.start);
        BERT_TRY(put_added(&words, match.token, start, end, error));
        done = match.end;
        done_points = end;
    }
    return tokenize_stretch(&words, text + done, length - done, done_points, error);
}
