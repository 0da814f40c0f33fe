#include "core/base/error.h"

/* The functions themselves are defined here. */
#undef bert_fail
#undef bert_fail_in
#undef bert_fail_memory

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *bert_status_name(bert_status status) {
    switch (status) {
    case BERT_OK:
        return "ok";
    case BERT_INVALID_ARGUMENT:
        return "invalid argument";
    case BERT_OUT_OF_MEMORY:
        return "out of memory";
    case BERT_IO_ERROR:
        return "input/output error";
    case BERT_INVALID_MODEL:
        return "invalid model";
    case BERT_UNSUPPORTED:
        return "unsupported";
    case BERT_INVALID_INPUT:
        return "invalid input";
    case BERT_CANCELLED:
        return "cancelled";
    case BERT_INTERNAL:
        return "internal error";
    }
    return "unknown status";
}

/* Names from files end up in sentences: a newline or another control byte there must not break a line of output, and
 * a cut must not leave half a character. */
static void clean_message(char *message) {
    size_t length = strlen(message);
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)message[i] < 0x20 || message[i] == 0x7f) message[i] = ' ';
    }
    if (length + 1 < BERT_ERROR_MESSAGE_BYTES) return;
    size_t lead = length;
    while (lead > 0 && length - lead < 3 && ((unsigned char)message[lead - 1] & 0xc0) == 0x80) lead--;
    if (lead == 0) return;
    unsigned char first = (unsigned char)message[lead - 1];
    size_t needed = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    if (length - (lead - 1) < needed) message[lead - 1] = '\0';
}

bert_status bert_fail(bert_error *error, bert_status status, const char *format, ...) {
    if (!error) return status;
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    clean_message(error->message);
    return status;
}

bert_status bert_fail_in(bert_error *error, bert_status status, const char *format, ...) {
    if (!error) return status;
    char inner[BERT_ERROR_MESSAGE_BYTES];
    memcpy(inner, error->message, sizeof inner);
    inner[sizeof inner - 1] = '\0';
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    if (length < 0) length = 0;
    if ((size_t)length < sizeof error->message) {
        snprintf(error->message + length, sizeof error->message - (size_t)length, ": %s", inner);
    }
    error->status = status;
    clean_message(error->message);
    return status;
}

bert_status bert_fail_memory(bert_error *error, size_t bytes, const char *what) {
    return bert_fail(error, BERT_OUT_OF_MEMORY, "could not allocate %zu bytes for %s", bytes, what);
}
