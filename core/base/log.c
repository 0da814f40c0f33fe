#include "core/base/log.h"

#include <stdarg.h>
#include <stdio.h>

void bert_log_write(const bert_log *log, bert_log_level level, const char *format, ...) {
    if (!log || !log->write || level < log->level) return;
    char message[BERT_ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    log->write(log->user, level, message);
}
