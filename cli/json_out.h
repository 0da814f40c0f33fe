/* Writing JSON text: for --format jsonl, json and trace files. Never fails for content; only memory can run out. */
#ifndef BERT_CLI_JSON_OUT_H
#define BERT_CLI_JSON_OUT_H

#include <bert/types.h>
#include <stdarg.h>

/** A growing text. Zeroed to begin with; free with bert_json_out_free. One thread. */
typedef struct bert_json_out {
    char *text; /**< NUL-terminated once something was written. */
    size_t length, capacity;
    bool failed;        /**< Memory ran out: `text` is cut. */
    size_t not_numbers; /**< NaN and infinities that were written as null. */
    bool after_value;   /**< A comma is due before the next element. */
} bert_json_out;

void bert_json_out_free(bert_json_out *json);
/** Forgets the text, keeps the memory and the count of not_numbers. */
void bert_json_out_clear(bert_json_out *json);

void bert_json_out_begin(bert_json_out *json, char bracket); /**< '{' or '[' */
void bert_json_out_end(bert_json_out *json, char bracket);   /**< '}' or ']' */
void bert_json_out_key(bert_json_out *json, const char *name);
void bert_json_out_null(bert_json_out *json);
void bert_json_out_boolean(bert_json_out *json, bool value);
void bert_json_out_integer(bert_json_out *json, int64_t value);
/** 9 significant digits, so that a float32 reads back as the same one; NaN and infinities are null. */
void bert_json_out_number(bert_json_out *json, double value);
/** `digits` significant digits: for measurements. */
void bert_json_out_measure(bert_json_out *json, double value, int digits);
/** Any bytes: what is not UTF-8 becomes U+FFFD. */
void bert_json_out_string(bert_json_out *json, const char *text, size_t length);
void bert_json_out_text(bert_json_out *json, const char *text); /**< NUL-terminated; NULL is null. */
/** Bytes and formatted text as they are, between values. */
void bert_json_out_raw(bert_json_out *json, const char *bytes, size_t length);
void bert_json_out_format(bert_json_out *json, const char *format, va_list arguments) BERT_PRINTF(2, 0);
/** Ends a line that holds a whole value. */
void bert_json_out_newline(bert_json_out *json);

#endif
