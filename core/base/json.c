#include "core/base/json.h"

#include "core/base/error.h"
#include "core/base/utf8.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 128 };

typedef struct parser {
    const char *start, *at, *end;
    const char *name;
    bert_arena *arena;
    bert_error *error;
    int depth;
} parser;

static bert_status fail_at(parser *p, const char *at, const char *what) {
    size_t line = 1, column = 1;
    for (const char *c = p->start; c < at; c++) {
        if (*c == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)*c & 0xC0) != 0x80) {
            column++;
        }
    }
    return bert_fail(p->error, BERT_INVALID_MODEL, "%s: not JSON: line %zu, column %zu: %s", p->name, line, column,
                     what);
}

static void skip_space(parser *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\r' || *p->at == '\t')) p->at++;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Four hex digits at p->at; false when they are not there. */
static bool take_hex(parser *p, uint32_t *out) {
    if (p->end - p->at < 4) return false;
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p->at[i]);
        if (digit < 0) return false;
        value = value << 4 | (uint32_t)digit;
    }
    p->at += 4;
    *out = value;
    return true;
}

/* What follows "\u", a surrogate pair as one code point. */
static bert_status take_unicode_escape(parser *p, uint32_t *out) {
    const char *start = p->at - 2;
    uint32_t high, low = 0;
    if (!take_hex(p, &high)) return fail_at(p, start, "\\u wants four hexadecimal digits");
    if (high >= 0xD800 && high <= 0xDFFF) {
        bool pair = high < 0xDC00 && p->end - p->at >= 2 && p->at[0] == '\\' && p->at[1] == 'u';
        if (pair) p->at += 2;
        if (!pair || !take_hex(p, &low) || low < 0xDC00 || low > 0xDFFF) {
            return fail_at(p, start, "a surrogate without its other half");
        }
        high = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    }
    *out = high;
    return BERT_OK;
}

static bert_status take_escape(parser *p, char **out) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *start = p->at++;
    if (p->at == p->end) return fail_at(p, start, "the string does not end");
    char c = *p->at++;
    if (c == 'u') {
        uint32_t code_point = 0;
        BERT_TRY(take_unicode_escape(p, &code_point));
        *out += bert_utf8_encode(code_point, *out);
        return BERT_OK;
    }
    const char *name = c ? strchr(names, c) : NULL;
    if (!name) return fail_at(p, start, "an unknown escape");
    *(*out)++ = values[name - names];
    return BERT_OK;
}

/* Finds the closing quote and says whether escapes lie before it. */
static bert_status measure_string(parser *p, const char **closing, bool *escapes) {
    const char *c = p->at;
    *escapes = false;
    for (; c < p->end && *c != '"'; c++) {
        if ((unsigned char)*c < 0x20) return fail_at(p, c, "a control character inside a string");
        if (*c == '\\') {
            *escapes = true;
            if (++c == p->end) break;
        }
    }
    if (c >= p->end) return fail_at(p, p->at - 1, "the string does not end");
    *closing = c;
    size_t size = (size_t)(c - p->at), valid = bert_utf8_valid_prefix(p->at, size);
    return valid == size ? BERT_OK : fail_at(p, p->at + valid, "bytes that are not UTF-8");
}

static bert_status take_string(parser *p, const char **text, size_t *length) {
    const char *closing = NULL;
    bool escapes = false;
    p->at++;
    BERT_TRY(measure_string(p, &closing, &escapes));
    if (!escapes) {
        *text = p->at;
        *length = (size_t)(closing - p->at);
        p->at = closing + 1;
        return BERT_OK;
    }
    /* An escape is never shorter than what it stands for. */
    size_t size = (size_t)(closing - p->at);
    char *copy = bert_arena_allocate(p->arena, size, 1), *out = copy;
    if (!copy) return bert_fail_memory(p->error, size, p->name);
    while (p->at < closing) {
        if (*p->at == '\\') {
            BERT_TRY(take_escape(p, &out));
        } else {
            *out++ = *p->at++;
        }
    }
    p->at = closing + 1;
    *text = copy;
    *length = (size_t)(out - copy);
    return BERT_OK;
}

static bool take_digits(parser *p) {
    const char *start = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9') p->at++;
    return p->at > start;
}

static bert_status take_number(parser *p, bert_json *value) {
    const char *start = p->at;
    if (*p->at == '-') p->at++;
    bool zero = p->at < p->end && *p->at == '0';
    const char *digits = p->at;
    if (!take_digits(p) || (zero && p->at - digits > 1)) return fail_at(p, start, "not a value");
    if (p->at < p->end && *p->at == '.') {
        p->at++;
        if (!take_digits(p)) return fail_at(p, start, "a number that ends in '.'");
    }
    if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
        p->at++;
        if (p->at < p->end && (*p->at == '+' || *p->at == '-')) p->at++;
        if (!take_digits(p)) return fail_at(p, start, "a number without its exponent");
    }
    value->type = BERT_JSON_NUMBER;
    value->text = start;
    value->length = (size_t)(p->at - start);
    return BERT_OK;
}

static bool take_word(parser *p, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(p->end - p->at) < length || memcmp(p->at, word, length) != 0) return false;
    p->at += length;
    return true;
}

static bert_status take_value(parser *p, bert_json *value);

static bert_status take_member(parser *p, bert_json *parent, bert_json *child) {
    if (parent->type == BERT_JSON_OBJECT) {
        if (p->at == p->end || *p->at != '"') return fail_at(p, p->at, "expected a key in double quotes");
        BERT_TRY(take_string(p, &child->key, &child->key_length));
        skip_space(p);
        if (p->at == p->end || *p->at != ':') return fail_at(p, p->at, "expected ':' after the key");
        p->at++;
        skip_space(p);
    }
    return take_value(p, child);
}

static bert_status take_members(parser *p, bert_json *parent) {
    char closing = parent->type == BERT_JSON_OBJECT ? '}' : ']';
    bert_json **link = &parent->first;
    p->at++;
    skip_space(p);
    if (p->at < p->end && *p->at == closing) {
        p->at++;
        return BERT_OK;
    }
    for (;;) {
        bert_json *child = bert_arena_allocate(p->arena, sizeof *child, 8);
        if (!child) return bert_fail_memory(p->error, sizeof *child, p->name);
        *link = child;
        link = &child->next;
        parent->length++;
        BERT_TRY(take_member(p, parent, child));
        skip_space(p);
        if (p->at < p->end && *p->at == closing) break;
        if (p->at == p->end || *p->at != ',') {
            return fail_at(p, p->at, closing == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
        }
        p->at++;
        skip_space(p);
    }
    p->at++;
    return BERT_OK;
}

static bert_status take_value(parser *p, bert_json *value) {
    if (p->at == p->end) return fail_at(p, p->at, "the file ends where a value should stand");
    switch (*p->at) {
    case '{':
    case '[':
        value->type = *p->at == '{' ? BERT_JSON_OBJECT : BERT_JSON_ARRAY;
        if (p->depth == DEEPEST) return fail_at(p, p->at, "nested deeper than 128");
        p->depth++;
        BERT_TRY(take_members(p, value));
        p->depth--;
        return BERT_OK;
    case '"':
        value->type = BERT_JSON_STRING;
        return take_string(p, &value->text, &value->length);
    case 't':
        value->type = BERT_JSON_TRUE;
        return take_word(p, "true") ? BERT_OK : fail_at(p, p->at, "not a value");
    case 'f':
        value->type = BERT_JSON_FALSE;
        return take_word(p, "false") ? BERT_OK : fail_at(p, p->at, "not a value");
    case 'n':
        value->type = BERT_JSON_NULL;
        return take_word(p, "null") ? BERT_OK : fail_at(p, p->at, "not a value");
    default:
        return take_number(p, value);
    }
}

bert_status bert_json_parse(const char *bytes, size_t size, const char *name, bert_arena *arena, const bert_json **out,
                            bert_error *error) {
    *out = NULL;
    parser p = {.start = bytes, .at = bytes, .end = bytes, .name = name, .arena = arena, .error = error};
    if (size) p.end += size;
    bert_json *value = BERT_ARENA_NEW(arena, bert_json);
    if (!value) return bert_fail_memory(error, sizeof *value, name);
    skip_space(&p);
    BERT_TRY(take_value(&p, value));
    skip_space(&p);
    if (p.at != p.end) return fail_at(&p, p.at, "more follows after the value");
    *out = value;
    return BERT_OK;
}

const bert_json *bert_json_get(const bert_json *object, const char *key) {
    if (!object || object->type != BERT_JSON_OBJECT) return NULL;
    const bert_json *found = NULL;
    size_t length = strlen(key);
    for (const bert_json *member = object->first; member; member = member->next) {
        if (member->key_length == length && memcmp(member->key, key, length) == 0) found = member;
    }
    return found;
}

bool bert_json_is_string(const bert_json *value, const char *text) {
    return value && value->type == BERT_JSON_STRING && value->length == strlen(text) &&
           memcmp(value->text, text, value->length) == 0;
}

bool bert_json_integer(const bert_json *value, int64_t *out) {
    if (!value || value->type != BERT_JSON_NUMBER) return false;
    bool negative = value->text[0] == '-';
    int64_t total = 0;
    for (size_t i = negative; i < value->length; i++) {
        if (value->text[i] < '0' || value->text[i] > '9') return false;
        int digit = value->text[i] - '0';
        if (__builtin_mul_overflow(total, (int64_t)10, &total) ||
            __builtin_add_overflow(total, (int64_t)(negative ? -digit : digit), &total)) {
            return false;
        }
    }
    *out = total;
    return true;
}

bool bert_json_number(const bert_json *value, double *out) {
    if (!value || value->type != BERT_JSON_NUMBER) return false;
    /* strtod reads a comma as the decimal point in some locales; the C locale is asked for by name. A number is
       always followed by a byte that ends it, but perhaps by the end of the buffer: so a copy, cut where more digits
       can't move the double by more than rounding. */
    char copy[512];
    size_t length = value->length;
    if (length < sizeof copy) {
        memcpy(copy, value->text, length);
        copy[length] = '\0';
        locale_t c_locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
        if (c_locale == (locale_t)0) return false;
        *out = strtod_l(copy, NULL, c_locale);
        freelocale(c_locale);
    } else {
        *out = value->text[0] == '-' ? -INFINITY : INFINITY;
        bool integer =
            !memchr(value->text, '.', length) && !memchr(value->text, 'e', length) && !memchr(value->text, 'E', length);
        return integer;
    }
    return true;
}

const char *bert_json_type_name(const bert_json *value) {
    static const char *const names[] = {"null", "false", "true", "a number", "a string", "an array", "an object"};
    return value ? names[value->type] : "nothing";
}
