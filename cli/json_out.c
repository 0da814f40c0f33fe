#include "cli/json_out.h"

#include "core/base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bert_json_out_free(bert_json_out *json) {
    free(json->text);
    *json = (bert_json_out){0};
}

void bert_json_out_clear(bert_json_out *json) {
    json->length = 0;
    json->failed = false;
    json->after_value = false;
    if (json->text) json->text[0] = '\0';
}

/* Room for `length` bytes and a NUL more. */
static bool grow(bert_json_out *json, size_t length) {
    size_t capacity = json->capacity ? json->capacity : 256;
    while (capacity - json->length <= length && capacity <= SIZE_MAX / 2) capacity *= 2;
    char *text = capacity - json->length > length ? realloc(json->text, capacity) : NULL;
    if (!text) {
        json->failed = true;
        return false;
    }
    json->text = text;
    json->capacity = capacity;
    return true;
}

static inline void append(bert_json_out *json, const char *bytes, size_t length) {
    if (json->failed || (json->capacity - json->length <= length && !grow(json, length))) return;
    memcpy(json->text + json->length, bytes, length);
    json->length += length;
    json->text[json->length] = '\0';
}

static void append_text(bert_json_out *json, const char *text) {
    append(json, text, strlen(text));
}

/* Before every value: the comma that separates it from the one before. */
static void begin_value(bert_json_out *json) {
    if (json->after_value) append(json, ", ", 2);
    json->after_value = true;
}

void bert_json_out_begin(bert_json_out *json, char bracket) {
    begin_value(json);
    append(json, &bracket, 1);
    json->after_value = false;
}

void bert_json_out_end(bert_json_out *json, char bracket) {
    append(json, &bracket, 1);
    json->after_value = true;
}

/* The bytes of well-formed UTF-8 as they stand in a JSON string. */
static void append_escaped(bert_json_out *json, const char *text, size_t length) {
    size_t plain = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
        append(json, text + plain, i - plain);
        plain = i + 1;
        char escape[8];
        snprintf(escape, sizeof escape, byte < 0x20 ? "\\u%04x" : "\\%c", byte);
        append_text(json, escape);
    }
    append(json, text + plain, length - plain);
}

static void append_string(bert_json_out *json, const char *text, size_t length) {
    append(json, "\"", 1);
    for (;;) {
        size_t valid = bert_utf8_valid_prefix(text, length);
        append_escaped(json, text, valid);
        text += valid;
        length -= valid;
        if (length == 0) break;
        size_t invalid = bert_utf8_invalid_length(text, length);
        append_text(json, "\xef\xbf\xbd");
        text += invalid;
        length -= invalid;
    }
    append(json, "\"", 1);
}

void bert_json_out_key(bert_json_out *json, const char *name) {
    begin_value(json);
    append_string(json, name, strlen(name));
    append(json, ": ", 2);
    json->after_value = false;
}

void bert_json_out_null(bert_json_out *json) {
    begin_value(json);
    append_text(json, "null");
}

void bert_json_out_boolean(bert_json_out *json, bool value) {
    begin_value(json);
    append_text(json, value ? "true" : "false");
}

void bert_json_out_integer(bert_json_out *json, int64_t value) {
    char digits[24];
    char *at = digits + sizeof digits;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do {
        *--at = (char)('0' + rest % 10);
    } while (rest /= 10);
    if (value < 0) *--at = '-';
    begin_value(json);
    append(json, at, (size_t)(digits + sizeof digits - at));
}

void bert_json_out_measure(bert_json_out *json, double value, int digits) {
    if (!isfinite(value)) {
        json->not_numbers++;
        bert_json_out_null(json);
        return;
    }
    char number[40];
    snprintf(number, sizeof number, "%.*g", digits, value);
    begin_value(json);
    append_text(json, number);
}

void bert_json_out_number(bert_json_out *json, double value) {
    bert_json_out_measure(json, value, 9);
}

void bert_json_out_string(bert_json_out *json, const char *text, size_t length) {
    begin_value(json);
    append_string(json, text, length);
}

void bert_json_out_text(bert_json_out *json, const char *text) {
    if (!text) {
        bert_json_out_null(json);
        return;
    }
    bert_json_out_string(json, text, strlen(text));
}

void bert_json_out_raw(bert_json_out *json, const char *bytes, size_t length) {
    append(json, bytes, length);
}

void bert_json_out_format(bert_json_out *json, const char *format, va_list arguments) {
    char few[256];
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(few, sizeof few, format, arguments);
    if (length >= 0 && (size_t)length < sizeof few) {
        append(json, few, (size_t)length);
    } else {
        char *many = NULL;
        length = vasprintf(&many, format, again);
        if (length >= 0) append(json, many, (size_t)length);
        json->failed |= length < 0;
        if (length >= 0) free(many);
    }
    va_end(again);
}

void bert_json_out_newline(bert_json_out *json) {
    append(json, "\n", 1);
    json->after_value = false;
}
