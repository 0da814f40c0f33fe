#include "tokenizer/added_tokens.h"

#include "core/base/error.h"
#include "core/base/utf8.h"
#include "tokenizer/unicode.h"

#include <string.h>

void bert_added_tokens_init(bert_added_tokens *added, bert_arena *arena, const bert_allocator *allocator) {
    *added = (bert_added_tokens){.allocator = allocator, .arena = arena, .greatest_id = -1};
    bert_trie_init(&added->contents, allocator);
    bert_trie_init(&added->raw.trie, allocator);
    bert_trie_init(&added->normal.trie, allocator);
}

void bert_added_tokens_free(bert_added_tokens *added) {
    bert_trie_free(&added->contents);
    bert_trie_free(&added->raw.trie);
    bert_trie_free(&added->normal.trie);
    bert_deallocate(added->allocator, added->tokens, added->capacity * sizeof *added->tokens, BERT_ALIGNMENT);
    bert_deallocate(added->allocator, added->by_id, added->count * sizeof *added->by_id, BERT_ALIGNMENT);
    *added = (bert_added_tokens){.allocator = added->allocator, .arena = added->arena, .greatest_id = -1};
}

const bert_added_token *bert_added_tokens_find(const bert_added_tokens *added, const char *content, size_t length) {
    if (added->count == 0 || length == 0) return NULL;
    int32_t index = bert_trie_get(&added->contents, content, length);
    return index < 0 ? NULL : &added->tokens[index];
}

const bert_added_token *bert_added_tokens_of_id(const bert_added_tokens *added, int32_t id) {
    size_t low = 0, high = added->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (added->tokens[added->by_id[middle]].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == added->count || added->tokens[added->by_id[low]].id != id) return NULL;
    return &added->tokens[added->by_id[low]];
}

static bert_status grow(bert_added_tokens *added, bert_error *error) {
    if (added->count < added->capacity) return BERT_OK;
    size_t capacity = added->capacity ? added->capacity * 2 : 16;
    bert_added_token *tokens = bert_allocate(added->allocator, capacity * sizeof *tokens, BERT_ALIGNMENT);
    if (!tokens) return bert_fail_memory(error, capacity * sizeof *tokens, "the added tokens");
    if (added->tokens) memcpy(tokens, added->tokens, added->count * sizeof *tokens);
    bert_deallocate(added->allocator, added->tokens, added->capacity * sizeof *tokens, BERT_ALIGNMENT);
    added->tokens = tokens;
    added->capacity = capacity;
    return BERT_OK;
}

/* The id of a token that the vocabulary has not: behind all added ones, or behind the count of the vocabulary's tokens,
   which is less than its greatest id where ids have gaps; `tokenizers` counts so. */
static bert_status take_new_id(const bert_added_tokens *added, const bert_vocabulary *vocabulary, int32_t *id,
                               bert_error *error) {
    size_t next = vocabulary->entry_count, behind = added->greatest_id < 0 ? 0 : (size_t)added->greatest_id + 1;
    if (next < behind) next = behind;
    if (next >= INT32_MAX) return bert_fail(error, BERT_UNSUPPORTED, "an added token would get an id beyond 2^31 - 2");
    *id = (int32_t)next;
    return BERT_OK;
}

bert_status bert_added_tokens_add(bert_added_tokens *added, const bert_vocabulary *vocabulary,
                                  const bert_added_token *token, bert_error *error) {
    if (token->length == 0) return BERT_OK;
    bert_added_token fresh = *token;
    const bert_added_token *there = bert_added_tokens_find(added, token->content, token->length);
    if (there) {
        fresh.content = there->content;
        fresh.id = there->id;
        added->tokens[there - added->tokens] = fresh;
        return BERT_OK;
    }
    BERT_TRY(grow(added, error));
    fresh.id = bert_vocabulary_id(vocabulary, token->content, token->length);
    if (fresh.id < 0) BERT_TRY(take_new_id(added, vocabulary, &fresh.id, error));
    fresh.content = bert_arena_string(added->arena, token->content, token->length);
    if (!fresh.content) return bert_fail_memory(error, token->length + 1, "an added token");
    if (added->count == 0) BERT_TRY(bert_trie_reserve(&added->contents, 64, error));
    BERT_TRY(bert_trie_set(&added->contents, fresh.content, fresh.length, (int32_t)added->count, error));
    if (fresh.id > added->greatest_id) added->greatest_id = fresh.id;
    added->tokens[added->count++] = fresh;
    return BERT_OK;
}

/* The normalized content as UTF-8 in the arena. */
static bert_status normalize_content(bert_added_tokens *added, bert_added_token *token,
                                     const bert_normalizer *normalizer, bert_error *error) {
    bert_normalized text = {.allocator = added->allocator};
    bert_status status = bert_normalize(normalizer, token->content, token->length, 0, &text, error);
    if (status == BERT_OK) {
        char *out = bert_arena_allocate(added->arena, text.length * 4 + 1, 1), *end = out;
        if (out) {
            for (size_t i = 0; i < text.length; i++) end += bert_utf8_encode(BERT_CHAR_VALUE(text.text[i]), end);
            token->decoded = out;
            token->decoded_length = (size_t)(end - out);
        } else {
            status = bert_fail_memory(error, text.length * 4 + 1, "an added token");
        }
    }
    bert_normalized_free(&text);
    return status;
}

static bert_status add_pattern(bert_token_patterns *patterns, const char *text, size_t length, size_t index,
                               bert_error *error) {
    /* A token that normalizes to nothing is nowhere to be found. */
    if (length == 0) return BERT_OK;
    if (patterns->count == 0) BERT_TRY(bert_trie_reserve(&patterns->trie, 64, error));
    BERT_TRY(bert_trie_set(&patterns->trie, text, length, (int32_t)index, error));
    unsigned char first = (unsigned char)text[0];
    patterns->only_first = patterns->count == 0 || patterns->only_first == first ? first : -1;
    patterns->first[first] = true;
    patterns->count++;
    return BERT_OK;
}

/* qsort has no argument for the tokens, so their indices are merged by hand: bottom up, from runs of one. */
static void sort_by_id(const bert_added_token *tokens, int32_t *order, int32_t *scratch, size_t count) {
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t start = 0; start < count; start += 2 * width) {
            size_t middle = start + width < count ? start + width : count;
            size_t end = middle + width < count ? middle + width : count;
            for (size_t i = start, j = middle, k = start; k < end; k++) {
                bool left = j == end || (i < middle && tokens[order[i]].id <= tokens[order[j]].id);
                scratch[k] = left ? order[i++] : order[j++];
            }
        }
        memcpy(order, scratch, count * sizeof *order);
    }
}

static bert_status order_by_id(bert_added_tokens *added, bert_error *error) {
    size_t bytes = added->count * sizeof *added->by_id;
    added->by_id = bert_allocate(added->allocator, bytes, BERT_ALIGNMENT);
    int32_t *scratch = bert_allocate(added->allocator, bytes, BERT_ALIGNMENT);
    if (!added->by_id || !scratch) {
        bert_deallocate(added->allocator, scratch, bytes, BERT_ALIGNMENT);
        return bert_fail_memory(error, bytes, "the added tokens");
    }
    for (size_t i = 0; i < added->count; i++) added->by_id[i] = (int32_t)i;
    sort_by_id(added->tokens, added->by_id, scratch, added->count);
    bert_deallocate(added->allocator, scratch, bytes, BERT_ALIGNMENT);
    return BERT_OK;
}

bert_status bert_added_tokens_finish(bert_added_tokens *added, const bert_normalizer *normalizer, bert_error *error) {
    if (added->count == 0) return BERT_OK;
    for (size_t i = 0; i < added->count; i++) {
        bert_added_token *token = &added->tokens[i];
        token->decoded = token->content;
        token->decoded_length = token->length;
        if (token->normalized) BERT_TRY(normalize_content(added, token, normalizer, error));
        BERT_TRY(add_pattern(token->normalized ? &added->normal : &added->raw, token->decoded, token->decoded_length, i,
                             error));
    }
    for (size_t i = 0; i < added->count; i++) {
        bert_added_token *token = &added->tokens[i];
        const bert_added_token *spelled = bert_added_tokens_find(added, token->decoded, token->decoded_length);
        token->decoded_is_special = spelled && spelled->special;
    }
    return order_by_id(added, error);
}

/* Reads the character at *at and steps over it. */
static uint32_t read_forward(const bert_searched_text *text, size_t *at) {
    if (!text->bytes) return BERT_CHAR_VALUE(text->chars[(*at)++]);
    const unsigned char *start = (const unsigned char *)text->bytes + *at, *p = start;
    uint32_t code_point = bert_utf8_next(&p);
    *at += (size_t)(p - start);
    return code_point;
}

/* Reads the character before *at and steps back to it. */
static uint32_t read_backward(const bert_searched_text *text, size_t *at) {
    if (!text->bytes) return BERT_CHAR_VALUE(text->chars[--(*at)]);
    do {
        (*at)--;
    } while (((unsigned char)text->bytes[*at] & 0xC0) == 0x80);
    size_t there = *at;
    return read_forward(text, &there);
}

/* The longest pattern that starts at `at`: its index and end; false when there is none. */
static bool longest_at(const bert_token_patterns *patterns, const bert_searched_text *text, size_t at, int32_t *index,
                       size_t *end) {
    uint32_t node = 0;
    *index = -1;
    while (at < text->length) {
        const bert_trie_edge *edge = bert_trie_step(&patterns->trie, node, read_forward(text, &at));
        if (!edge) break;
        if (edge->value >= 0) {
            *index = edge->value;
            *end = at;
        }
        node = edge->child;
    }
    return *index >= 0;
}

/* The first position from `at` where a pattern could start. */
static size_t skip_to_first(const bert_token_patterns *patterns, const bert_searched_text *text, size_t at) {
    if (!text->bytes) return at;
    if (patterns->only_first >= 0) {
        const char *found = memchr(text->bytes + at, patterns->only_first, text->length - at);
        return found ? (size_t)(found - text->bytes) : text->length;
    }
    while (at < text->length && !patterns->first[(unsigned char)text->bytes[at]]) at++;
    return at;
}

static bool touches_word(const bert_searched_text *text, size_t start, size_t end) {
    if (start > 0 && bert_unicode_flags(read_backward(text, &start)) & BERT_UNICODE_WORD) return true;
    return end < text->length && bert_unicode_flags(read_forward(text, &end)) & BERT_UNICODE_WORD;
}

static size_t strip_left(const bert_searched_text *text, size_t start) {
    while (start > 0) {
        size_t before = start;
        if (!(bert_unicode_flags(read_backward(text, &before)) & BERT_UNICODE_SPACE)) break;
        start = before;
    }
    return start;
}

static size_t strip_right(const bert_searched_text *text, size_t end) {
    while (end < text->length) {
        size_t after = end;
        if (!(bert_unicode_flags(read_forward(text, &after)) & BERT_UNICODE_SPACE)) break;
        end = after;
    }
    return end;
}

bool bert_token_search_next(const bert_added_tokens *added, const bert_token_patterns *patterns,
                            const bert_searched_text *text, bert_token_search *search, bert_token_match *match) {
    if (patterns->count == 0) return false;
    while (search->at < text->length) {
        size_t start = skip_to_first(patterns, text, search->at), end;
        int32_t index;
        if (start == text->length) break;
        if (!longest_at(patterns, text, start, &index, &end)) {
            search->at = start;
            read_forward(text, &search->at);
            continue;
        }
        /* What is refused for its neighbours is passed over whole. */
        search->at = end;
        const bert_added_token *token = &added->tokens[index];
        if (token->single_word && touches_word(text, start, end)) continue;
        if (token->lstrip) {
            start = strip_left(text, start);
            if (start < search->taken) start = search->taken;
        }
        if (token->rstrip) end = strip_right(text, end);
        *match = (bert_token_match){.token = token, .start = start, .end = end};
        search->taken = end;
        return true;
    }
    search->at = text->length;
    return false;
}
