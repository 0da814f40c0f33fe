#include "core/base/json.h"

#include "core/base/error.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/*
 * jansson reads; what it read is copied to the arena. Two things it does not do are done around it: a key may hold NUL
 * here, and an integer any number of digits (JSON_DECODE_INT_AS_REAL).
 */

enum { DEEPEST = 128, ESCAPE_BYTES = 6, STAND_IN_BYTES = 3 };

typedef struct conversion {
    const char *name;
    bert_arena *arena;
    bert_error *error;
    /** UTF-8 of a noncharacter that the text does not have and that stands for NUL; "" when no NUL is in the text. */
    char stand_in[STAND_IN_BYTES + 1];
} conversion;

/* Whether an escape begins at `at`: an odd number of backslashes stands there. */
static bool is_escape(const char *start, const char *at) {
    size_t backslashes = 1;
    while (at > start && at[-1] == '\\') {
        backslashes++;
        at--;
    }
    return backslashes % 2 == 1;
}

/* The next \u0000 of [at, end); NULL when there is none. */
static char *find_nul_escape(char *start, char *at, const char *end) {
    for (; (at = memmem(at, (size_t)(end - at), "\\u0000", ESCAPE_BYTES)); at++) {
        if (is_escape(start, at)) return at;
    }
    return NULL;
}

/* Whether the text has U+FDD0 + index, spelled out or escaped. */
static bool has_noncharacter(const char *bytes, size_t size, const char utf8[STAND_IN_BYTES], int index) {
    if (memmem(bytes, size, utf8, STAND_IN_BYTES)) return true;
    for (size_t i = 0; i + ESCAPE_BYTES <= size; i++) {
        if (bytes[i] != '\\' || bytes[i + 1] != 'u') continue;
        char digits[5] = {bytes[i + 2], bytes[i + 3], bytes[i + 4], bytes[i + 5]};
        if (strtol(digits, NULL, 16) == 0xFDD0 + index) return true;
    }
    return false;
}

/* Puts a noncharacter in the place of every escaped NUL: \ufdd0 is as long as \u0000. */
static bert_status replace_nul_escapes(conversion *c, char *bytes, size_t size) {
    char *end = bytes + size, *escape = find_nul_escape(bytes, bytes, end);
    if (!escape) return BERT_OK;
    int index = 0;
    char utf8[STAND_IN_BYTES + 1] = "\xEF\xB7\x90";
    while (index < 32 && has_noncharacter(bytes, size, utf8, index)) {
        index++;
        utf8[2]++;
    }
    if (index == 32) {
        return bert_fail(c->error, BERT_UNSUPPORTED, "%s: holds \\u0000 and all of U+FDD0 to U+FDEF", c->name);
    }
    static const char hex[] = "0123456789abcdef";
    for (; escape; escape = find_nul_escape(bytes, escape, end)) {
        const char replacement[ESCAPE_BYTES] = {
            '\\', 'u', 'f', 'd', hex[(0xD0 + index) >> 4], hex[(0xD0 + index) & 15]};
        memcpy(escape, replacement, ESCAPE_BYTES);
    }
    memcpy(c->stand_in, utf8, sizeof utf8);
    return BERT_OK;
}

static bert_status copy_string(const conversion *c, const char *from, size_t size, const char **out, size_t *length) {
    char *copy = bert_arena_string(c->arena, from, size);
    if (!copy) return bert_fail_memory(c->error, size, c->name);
    char *end = copy + size, *write = copy;
    if (c->stand_in[0]) {
        for (const char *read = copy; read < end;) {
            if (end - read >= STAND_IN_BYTES && memcmp(read, c->stand_in, STAND_IN_BYTES) == 0) {
                *write++ = '\0';
                read += STAND_IN_BYTES;
            } else {
                *write++ = *read++;
            }
        }
        *write = '\0';
        end = write;
    }
    *out = copy;
    *length = (size_t)(end - copy);
    return BERT_OK;
}

static bert_status convert(const conversion *c, const json_t *from, int depth, bert_json *to);

static bert_status convert_child(const conversion *c, const json_t *from, int depth, bert_json *parent,
                                 bert_json ***link, bert_json **out) {
    bert_json *child = BERT_ARENA_NEW(c->arena, bert_json);
    if (!child) return bert_fail_memory(c->error, sizeof *child, c->name);
    **link = child;
    *link = &child->next;
    parent->length++;
    *out = child;
    return convert(c, from, depth + 1, child);
}

static bert_status convert_children(const conversion *c, const json_t *from, int depth, bert_json *to) {
    if (depth == DEEPEST) {
        return bert_fail(c->error, BERT_INVALID_MODEL, "%s: nested deeper than %d", c->name, DEEPEST);
    }
    bert_json **link = &to->first, *child = NULL;
    for (size_t i = 0; i < json_array_size(from); i++) {
        BERT_TRY(convert_child(c, json_array_get(from, i), depth, to, &link, &child));
    }
    json_t *object = (json_t *)from; /* iterating takes no const object, but leaves it as it is */
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
        const char *key = json_object_iter_key(at);
        BERT_TRY(convert_child(c, json_object_iter_value(at), depth, to, &link, &child));
        BERT_TRY(copy_string(c, key, strlen(key), &child->key, &child->key_length));
    }
    return BERT_OK;
}

static bert_status convert(const conversion *c, const json_t *from, int depth, bert_json *to) {
    switch (json_typeof(from)) {
    case JSON_OBJECT:
        to->type = BERT_JSON_OBJECT;
        return convert_children(c, from, depth, to);
    case JSON_ARRAY:
        to->type = BERT_JSON_ARRAY;
        return convert_children(c, from, depth, to);
    case JSON_STRING:
        to->type = BERT_JSON_STRING;
        return copy_string(c, json_string_value(from), json_string_length(from), &to->text, &to->length);
    case JSON_INTEGER:
    case JSON_REAL:
        to->type = BERT_JSON_NUMBER;
        to->number = json_number_value(from);
        return BERT_OK;
    case JSON_TRUE:
        to->type = BERT_JSON_TRUE;
        return BERT_OK;
    case JSON_FALSE:
        to->type = BERT_JSON_FALSE;
        return BERT_OK;
    case JSON_NULL:
        to->type = BERT_JSON_NULL;
        return BERT_OK;
    }
    return bert_fail(c->error, BERT_INTERNAL, "%s: a JSON value of no known type", c->name);
}

/* Parses bytes that may be written to. */
static bert_status parse(conversion *c, char *bytes, size_t size, const bert_json **out) {
    BERT_TRY(replace_nul_escapes(c, bytes, size));
    json_error_t problem;
    json_t *root = json_loadb(bytes, size, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &problem);
    if (!root) {
        if (json_error_code(&problem) == json_error_out_of_memory) return bert_fail_memory(c->error, size, c->name);
        return bert_fail(c->error, BERT_INVALID_MODEL, "%s: not JSON: line %d, column %d: %s", c->name, problem.line,
                         problem.column, problem.text);
    }
    bert_json *value = BERT_ARENA_NEW(c->arena, bert_json);
    bert_status status = value ? convert(c, root, 0, value) : bert_fail_memory(c->error, sizeof *value, c->name);
    json_decref(root);
    if (status == BERT_OK) *out = value;
    return status;
}

bert_status bert_json_parse(const char *bytes, size_t size, const char *name, bert_arena *arena, const bert_json **out,
                            bert_error *error) {
    *out = NULL;
    conversion c = {.name = name, .arena = arena, .error = error};
    if (size == 0) return bert_fail(error, BERT_INVALID_MODEL, "%s: not JSON: the file is empty", name);
    char *copy = bert_allocate(arena->allocator, size, 1);
    if (!copy) return bert_fail_memory(error, size, name);
    memcpy(copy, bytes, size);
    bert_status status = parse(&c, copy, size, out);
    bert_deallocate(arena->allocator, copy, size, 1);
    return status;
}

const bert_json *bert_json_get(const bert_json *object, const char *key) {
    if (!object || object->type != BERT_JSON_OBJECT) return NULL;
    size_t length = strlen(key);
    for (const bert_json *member = object->first; member; member = member->next) {
        if (member->key_length == length && memcmp(member->key, key, length) == 0) return member;
    }
    return NULL;
}

bool bert_json_is_string(const bert_json *value, const char *text) {
    return value && value->type == BERT_JSON_STRING && value->length == strlen(text) &&
           memcmp(value->text, text, value->length) == 0;
}

bool bert_json_integer(const bert_json *value, int64_t *out) {
    if (!value || value->type != BERT_JSON_NUMBER) return false;
    double number = value->number;
    if (!(number >= -0x1p53 && number <= 0x1p53) || number != (double)(int64_t)number) return false;
    *out = (int64_t)number;
    return true;
}

bool bert_json_number(const bert_json *value, double *out) {
    if (!value || value->type != BERT_JSON_NUMBER) return false;
    *out = value->number;
    return true;
}

const char *bert_json_type_name(const bert_json *value) {
    static const char *const names[] = {"null", "false", "true", "a number", "a string", "an array", "an object"};
    return value ? names[value->type] : "nothing";
}
