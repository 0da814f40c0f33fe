/*
 * Reading JSON, by jansson, into an arena: keys and strings may hold NUL, integers may have any number of digits,
 * errors name line and column.
 */
#ifndef BERT_BASE_JSON_H
#define BERT_BASE_JSON_H

#include "core/base/memory.h"

#include <bert/types.h>

typedef enum bert_json_type {
    BERT_JSON_NULL,
    BERT_JSON_FALSE,
    BERT_JSON_TRUE,
    BERT_JSON_NUMBER,
    BERT_JSON_STRING,
    BERT_JSON_ARRAY,
    BERT_JSON_OBJECT
} bert_json_type;

/** A value. Lives in the arena of its parse. Read-only: any thread. */
typedef struct bert_json {
    bert_json_type type;
    const char *key; /**< In an object: UTF-8, terminated, key_length bytes, NUL may be among them. */
    size_t key_length;
    const char *text; /**< String: UTF-8, terminated, `length` bytes, NUL may be among them. */
    size_t length;    /**< Bytes of `text`; members or elements of an object or array. */
    double number;    /**< The nearest double, whether written as an integer or not. */
    struct bert_json *first;
    struct bert_json *next; /**< Members of an object and elements of an array, in the order of the file. */
} bert_json;

/**
 * Parses one JSON value (RFC 8259) that takes up all of the bytes. `name` is what errors call the source. Of members
 * with one key the last counts. BERT_INVALID_MODEL with line and column for what is not JSON, a number beyond double's
 * range, or values nested deeper than 128.
 */
bert_status bert_json_parse(const char *bytes, size_t size, const char *name, bert_arena *arena, const bert_json **out,
                            bert_error *error);

/** The member of that name; NULL when there is none, or `object` is NULL or no object. */
const bert_json *bert_json_get(const bert_json *object, const char *key);

/** Whether it is a string with these bytes. `value` may be NULL. */
bool bert_json_is_string(const bert_json *value, const char *text);

/** Whether it is a number without fraction of at most 2^53; then *out holds it. `value` may be NULL. */
bool bert_json_integer(const bert_json *value, int64_t *out);

/** Whether it is a number; then *out holds it. `value` may be NULL. */
bool bert_json_number(const bert_json *value, double *out);

/** "an object", "a string" ...: for errors. NULL is "nothing". */
const char *bert_json_type_name(const bert_json *value);

#endif
