/*
 * The vocabulary of a tokenizer.json, lifted out of it before the JSON library sees it. Almost all of the file is that
 * one object of tens of thousands of members, and building a tree of them only to copy it would take most of the time
 * of loading. What is read here is what every writer writes; whatever is spelled in another way, be it JSON or not, is
 * left where it is, so that the library alone says what is accepted and how it is refused.
 */
#include "tokenizer/load.h"

#include "core/base/error.h"
#include "core/base/utf8.h"

#include <string.h>

/* What is still to be read. */
typedef struct scan {
    const char *at, *end;
} scan;

static void skip_blanks(scan *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t')) s->at++;
}

/* Steps over a character and the blanks before and behind it. */
static bool take(scan *s, char c) {
    skip_blanks(s);
    if (s->at == s->end || *s->at != c) return false;
    s->at++;
    skip_blanks(s);
    return true;
}

/* Steps over a string; *plain tells whether it holds no escape. */
static bool skip_string(scan *s, bool *plain) {
    *plain = true;
    if (s->at == s->end || *s->at != '"') return false;
    for (s->at++; s->at < s->end; s->at++) {
        if (*s->at == '"') {
            s->at++;
            return true;
        }
        if (*s->at != '\\') continue;
        *plain = false;
        if (++s->at == s->end) return false;
    }
    return false;
}

/* Steps over a value: up to the comma or the bracket that ends it. */
static bool skip_value(scan *s) {
    size_t depth = 0;
    bool plain;
    while (s->at < s->end) {
        char c = *s->at;
        if (c == '"') {
            if (!skip_string(s, &plain)) return false;
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']')) return true;
        if (c == '{' || c == '[') depth++;
        if (c == '}' || c == ']') depth--;
        s->at++;
    }
    return false;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* What an escape stands for, behind its backslash; 0 for what is left to the library. */
static uint32_t take_escape(scan *s) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (s->at == s->end || *s->at == '\0') return 0;
    const char *letter = strchr(letters, *s->at);
    if (letter) {
        s->at++;
        return (unsigned char)meanings[letter - letters];
    }
    if (*s->at != 'u' || s->end - s->at < 5) return 0;
    uint32_t code_point = 0;
    for (int i = 1; i <= 4; i++) {
        int digit = hex_digit(s->at[i]);
        if (digit < 0) return 0;
        code_point = code_point << 4 | (uint32_t)digit;
    }
    s->at += 5;
    return code_point; /* A half of a pair is not UTF-8, and found out as that. */
}

/* Takes a string; its text goes to *out, which moves behind it, and never is longer. */
static bool take_text(scan *s, char **out) {
    if (s->at == s->end || *s->at != '"') return false;
    for (s->at++; s->at < s->end;) {
        unsigned char c = (unsigned char)*s->at++;
        if (c == '"') return true;
        if (c < 0x20) return false;
        if (c != '\\') {
            *(*out)++ = (char)c;
            continue;
        }
        uint32_t code_point = take_escape(s);
        if (code_point == 0) return false;
        *out += bert_utf8_encode(code_point, *out);
    }
    return false;
}

/* Takes 1 to 9 digits that begin with no zero, or zero. A tenth is left, and spoils what follows. */
static bool take_id(scan *s, int32_t *out) {
    int32_t id = 0;
    const char *start = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9' && s->at - start < 9) id = 10 * id + (*s->at++ - '0');
    *out = id;
    return s->at > start && (*start != '0' || s->at - start == 1);
}

/* The members of the vocabulary, behind its bracket. */
static bert_status take_members(bert_load *load, scan *s, bool *plain, bert_error *error) {
    bert_tokenizer *tokenizer = load->tokenizer;
    size_t rest = (size_t)(s->end - s->at);
    /* No text is longer than the JSON of its member, the NUL behind it included. */
    tokenizer->vocabulary_text = bert_allocate(tokenizer->allocator, rest + 1, BERT_ALIGNMENT);
    if (!tokenizer->vocabulary_text) return bert_fail_memory(error, rest + 1, "the text of the vocabulary");
    tokenizer->vocabulary_text_bytes = rest + 1;
    BERT_TRY(bert_vocabulary_reserve(&tokenizer->vocabulary, rest / 14 + 16, error));
    char *out = tokenizer->vocabulary_text;
    *plain = false;
    do {
        char *text = out;
        int32_t id;
        skip_blanks(s);
        if (!take_text(s, &out) || !take(s, ':') || !take_id(s, &id) || (size_t)(out - text) >= INT32_MAX) {
            return BERT_OK;
        }
        size_t length = (size_t)(out - text);
        if (bert_utf8_valid_prefix(text, length) != length) return BERT_OK;
        *out++ = '\0';
        BERT_TRY(bert_vocabulary_add(&tokenizer->vocabulary, text, length, id, error));
    } while (take(s, ','));
    *plain = take(s, '}');
    return BERT_OK;
}

/* Finds the value of the last member of that name, which is the one that counts, in the object that `s` stands before.
   False when there is none, or the object is not written plainly. */
static bool find_member(scan s, const char *name, const char **value) {
    size_t length = strlen(name);
    *value = NULL;
    if (!take(&s, '{')) return false;
    do {
        bool plain;
        const char *key = s.at + 1;
        if (!skip_string(&s, &plain) || !plain) return false;
        bool found = (size_t)(s.at - 1 - key) == length && memcmp(key, name, length) == 0;
        if (!take(&s, ':')) return false;
        if (found) *value = s.at;
        if (!skip_value(&s)) return false;
    } while (take(&s, ','));
    return *value && take(&s, '}');
}

bert_status bert_lift_vocabulary(bert_load *load, const char **begin, const char **end, bert_error *error) {
    const bert_source *source = &load->tokenizer_json;
    const char *last = source->data + source->size, *model, *vocabulary;
    *begin = *end = NULL;
    if (!find_member((scan){source->data, last}, "model", &model)) return BERT_OK;
    if (!find_member((scan){model, last}, "vocab", &vocabulary)) return BERT_OK;
    scan s = {vocabulary, last};
    bool plain;
    if (!take(&s, '{')) return BERT_OK;
    bert_status status = take_members(load, &s, &plain, error);
    if (status == BERT_OK && plain) {
        *begin = vocabulary;
        *end = s.at;
    } else {
        bert_drop_vocabulary(load);
    }
    return status;
}

void bert_drop_vocabulary(bert_load *load) {
    bert_tokenizer *tokenizer = load->tokenizer;
    bert_vocabulary_free(&tokenizer->vocabulary);
    bert_deallocate(tokenizer->allocator, tokenizer->vocabulary_text, tokenizer->vocabulary_text_bytes, BERT_ALIGNMENT);
    tokenizer->vocabulary_text = NULL;
    tokenizer->vocabulary_text_bytes = 0;
}
