/* Ids to text, and what a loaded tokenizer says of itself. */
#include "tokenizer/internal.h"

#include "core/base/utf8.h"

#include <string.h>

int32_t bert_tokenizer_vocabulary_size(const bert_tokenizer *tokenizer) {
    return tokenizer->size;
}

const char *bert_tokenizer_token(const bert_tokenizer *tokenizer, int32_t id, size_t *length) {
    const bert_added_token *added = bert_added_tokens_of_id(&tokenizer->added, id);
    const bert_vocabulary_entry *entry = added ? NULL : bert_vocabulary_entry_of(&tokenizer->vocabulary, id);
    if (!added && !entry) return NULL;
    if (length) *length = added ? added->length : entry->length;
    return added ? added->content : entry->text;
}

int32_t bert_tokenizer_id(const bert_tokenizer *tokenizer, const char *token, size_t length) {
    if (bert_utf8_valid_prefix(token, length) != length) return -1;
    const bert_added_token *added = bert_added_tokens_find(&tokenizer->added, token, length);
    return added ? added->id : bert_vocabulary_id(&tokenizer->vocabulary, token, length);
}

int64_t bert_tokenizer_model_max_length(const bert_tokenizer *tokenizer) {
    return tokenizer->model_max_length;
}

bert_special_ids bert_tokenizer_special_ids(const bert_tokenizer *tokenizer) {
    return tokenizer->special;
}

/*
 * Clean-up is a chain of replacements, each of all occurrences from left to right in what the one before gave. Here
 * they form a pipe: a stage holds back the bytes that may be the start of its pattern, so that nothing is allocated.
 */
typedef struct replacement {
    const char *from, *to;
} replacement;

/* What the WordPiece decoder does to every token by itself ... */
static const replacement token_cleanup[] = {
    {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
    {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};
/* ... and clean_up_tokenization_spaces to the whole text. */
static const replacement text_cleanup[] = {
    {" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
    {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};

enum {
    TOKEN_STAGES = sizeof token_cleanup / sizeof *token_cleanup,
    TEXT_STAGES = sizeof text_cleanup / sizeof *text_cleanup,
    STAGES = TOKEN_STAGES + TEXT_STAGES
};

typedef struct pipe {
    const replacement *stages[STAGES];
    size_t held[STAGES]; /* Bytes that a stage holds back: so many of the start of its pattern. */
    size_t count;
    char *out;
    size_t capacity, length;
} pipe;

static void push(pipe *p, size_t stage, char c);

static void push_text(pipe *p, size_t stage, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) push(p, stage, text[i]);
}

static void push(pipe *p, size_t stage, char c) {
    if (stage == p->count) {
        if (p->length < p->capacity) p->out[p->length] = c;
        p->length++;
        return;
    }
    const char *from = p->stages[stage]->from;
    size_t held = p->held[stage];
    if (from[held] == c && c) {
        p->held[stage] = held + 1;
        if (!from[held + 1]) {
            p->held[stage] = 0;
            push_text(p, stage + 1, p->stages[stage]->to, strlen(p->stages[stage]->to));
        }
        return;
    }
    if (held == 0) {
        push(p, stage + 1, c);
        return;
    }
    /* No match starts at the first byte held back; one may start later. */
    p->held[stage] = 0;
    push(p, stage + 1, from[0]);
    push_text(p, stage, from + 1, held - 1);
    push(p, stage, c);
}

/* Lets go of what the stages [first, end) hold back. */
static void flush(pipe *p, size_t first, size_t end) {
    for (size_t stage = first; stage < end; stage++) {
        size_t held = p->held[stage];
        p->held[stage] = 0;
        push_text(p, stage + 1, p->stages[stage]->from, held);
    }
}

static void add_stages(pipe *p, const replacement *stages, size_t count) {
    for (size_t i = 0; i < count; i++) p->stages[p->count++] = &stages[i];
}

static void put_token(const bert_tokenizer *tokenizer, pipe *p, const char *text, size_t length, bool first,
                      size_t token_stages) {
    size_t prefix = tokenizer->decoder_prefix_length;
    if (!first) {
        bool continues =
            tokenizer->has_decoder && length >= prefix && memcmp(text, tokenizer->decoder_prefix, prefix) == 0;
        if (continues) {
            text += prefix;
            length -= prefix;
        } else {
            push(p, 0, ' ');
        }
    }
    push_text(p, 0, text, length);
    flush(p, 0, token_stages);
}

size_t bert_tokenizer_decode(const bert_tokenizer *tokenizer, const int32_t *ids, size_t count,
                             bool skip_special_tokens, bool clean_up_spaces, char *out, size_t capacity) {
    pipe p = {.out = out, .capacity = out ? capacity : 0};
    if (tokenizer->has_decoder && tokenizer->decoder_cleanup) add_stages(&p, token_cleanup, TOKEN_STAGES);
    size_t token_stages = p.count;
    if (clean_up_spaces) add_stages(&p, text_cleanup, TEXT_STAGES);
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        const bert_added_token *added = bert_added_tokens_of_id(&tokenizer->added, ids[i]);
        const bert_vocabulary_entry *entry = added ? NULL : bert_vocabulary_entry_of(&tokenizer->vocabulary, ids[i]);
        if (!added && !entry) continue;
        if (added && skip_special_tokens && added->decoded_is_special) continue;
        put_token(tokenizer, &p, added ? added->decoded : entry->text, added ? added->decoded_length : entry->length,
                  first, token_stages);
        first = false;
    }
    flush(&p, token_stages, p.count);
    if (p.capacity) p.out[p.length < p.capacity ? p.length : p.capacity - 1] = '\0';
    return p.length;
}

size_t bert_tokenizer_join(const bert_tokenizer *tokenizer, const bert_token_text *tokens, size_t count, char *out,
                           size_t capacity) {
    pipe p = {.out = out, .capacity = out ? capacity : 0};
    if (tokenizer->has_decoder && tokenizer->decoder_cleanup) add_stages(&p, token_cleanup, TOKEN_STAGES);
    for (size_t i = 0; i < count; i++) {
        put_token(tokenizer, &p, tokens[i].text, tokens[i].length, i == 0, p.count);
    }
    if (p.capacity) p.out[p.length < p.capacity ? p.length : p.capacity - 1] = '\0';
    return p.length;
}
