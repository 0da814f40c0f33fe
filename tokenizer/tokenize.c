/* One text to tokens. */
#include "tokenizer/internal.h"

#include "core/base/error.h"
#include "core/base/utf8.h"

#include <string.h>

/* Room for `more` tokens behind those that are there. */
static bert_status reserve_tokens(bert_tokens *tokens, size_t more, const bert_allocator *allocator,
                                  bert_error *error) {
    size_t want, bytes = SIZE_MAX;
    if (!bert_size_add(tokens->count, more, &want)) want = SIZE_MAX;
    if (want <= tokens->capacity) return BERT_OK;
    if (want < tokens->capacity * 2) want = tokens->capacity * 2;
    bert_token *items =
        bert_size_multiply(want, sizeof *items, &bytes) ? bert_allocate(allocator, bytes, BERT_ALIGNMENT) : NULL;
    if (!items) return bert_fail_memory(error, bytes, "the tokens of a text");
    if (tokens->count) memcpy(items, tokens->items, tokens->count * sizeof *items);
    bert_deallocate(allocator, tokens->items, tokens->capacity * sizeof *items, BERT_ALIGNMENT);
    tokens->items = items;
    tokens->capacity = want;
    return BERT_OK;
}

/*
 * WordPiece of the word [start, end): the longest token, then the longest continuing one, and so on; all of it [UNK]
 * when one step finds none. A step reads no further than the trie reaches, so the work is at most the word's length
 * times the vocabulary's longest token, whatever the word. There is room for a token a character.
 */
static void tokenize_word(const bert_tokenizer *tokenizer, const bert_normalized *text, size_t start, size_t end,
                          int32_t word, bert_tokens *out) {
    size_t mark = out->count, at = start;
    bool known = (int64_t)(end - start) <= tokenizer->max_word;
    while (known && at < end) {
        uint32_t node = at == start ? 0 : tokenizer->continuation;
        int32_t id = -1;
        size_t stop = at;
        for (size_t i = at; i < end && node != UINT32_MAX; i++) {
            const bert_trie_edge *edge = bert_trie_step(&tokenizer->vocabulary, node, BERT_CHAR_VALUE(text->text[i]));
            if (!edge) break;
            if (edge->id >= 0) {
                id = edge->id;
                stop = i + 1;
            }
            node = edge->child;
        }
        known = id >= 0;
        if (!known) break;
        out->items[out->count++] =
            (bert_token){.id = id, .start = text->source[at], .end = text->source[stop - 1] + 1, .word = word};
        at = stop;
    }
    if (known) return;
    out->count = mark;
    out->items[out->count++] = (bert_token){
        .id = tokenizer->unk_id, .start = text->source[start], .end = text->source[end - 1] + 1, .word = word};
}

/* The pre-tokenizer and WordPiece on [start, end) of a normalized text. *word counts words. */
static bert_status tokenize_range(const bert_tokenizer *tokenizer, const bert_normalized *text, size_t start,
                                  size_t end, int32_t *word, bert_tokens *out, bert_error *error) {
    BERT_TRY(reserve_tokens(out, end - start, tokenizer->allocator, error));
    for (size_t i = start; i < end;) {
        size_t stop = i;
        while (stop < end && BERT_CHAR_CLASS(text->text[stop]) == BERT_CHAR_WORD) stop++;
        if (stop > i) tokenize_word(tokenizer, text, i, stop, (*word)++, out);
        if (stop < end && BERT_CHAR_CLASS(text->text[stop]) == BERT_CHAR_ISOLATED) {
            tokenize_word(tokenizer, text, stop, stop + 1, (*word)++, out);
        }
        i = stop + 1;
    }
    return BERT_OK;
}

static bert_status put_added(const bert_tokenizer *tokenizer, const bert_added_token *token, int32_t start, int32_t end,
                             int32_t *word, bert_tokens *out, bert_error *error) {
    BERT_TRY(reserve_tokens(out, 1, tokenizer->allocator, error));
    out->items[out->count++] = (bert_token){.id = token->id, .start = start, .end = end, .word = (*word)++};
    return BERT_OK;
}

/* A stretch of text without raw added tokens: normalized, searched for normalized ones, tokenized between them. */
static bert_status tokenize_stretch(const bert_tokenizer *tokenizer, const char *bytes, size_t length, int32_t first,
                                    int32_t *word, bert_scratch *scratch, bert_tokens *out, bert_error *error) {
    bert_normalized *normal = &scratch->normalized;
    BERT_TRY(bert_normalize(tokenizer->normalizer, bytes, length, first, normal, error));
    bert_searched_text text = {.chars = normal->text, .length = normal->length};
    bert_token_search search = {0};
    bert_token_match match;
    size_t done = 0;
    while (bert_token_search_next(&tokenizer->added, &tokenizer->added.normal, &text, &search, &match)) {
        if (done < match.start) {
            BERT_TRY(tokenize_range(tokenizer, normal, done, match.start, word, out, error));
        }
        BERT_TRY(put_added(tokenizer, match.token, normal->source[match.start], normal->source[match.end - 1] + 1, word,
                           out, error));
        done = match.end;
    }
    return tokenize_range(tokenizer, normal, done, normal->length, word, out, error);
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
    int32_t done_points = 0, word = 0;
    while (bert_token_search_next(&tokenizer->added, &tokenizer->added.raw, &searched, &search, &match)) {
        int32_t start = match.start < done ? done_points - count_code_points(text + match.start, done - match.start)
                                           : done_points + count_code_points(text + done, match.start - done);
        if (done < match.start) {
            BERT_TRY(
                tokenize_stretch(tokenizer, text + done, match.start - done, done_points, &word, scratch, out, error));
        }
        int32_t end = start + count_code_points(text + match.start, match.end - match.start);
        BERT_TRY(put_added(tokenizer, match.token, start, end, &word, out, error));
        done = match.end;
        done_points = end;
    }
    return tokenize_stretch(tokenizer, text + done, length - done, done_points, &word, scratch, out, error);
}
