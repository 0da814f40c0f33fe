/* Writing to the caller's log. */
#ifndef BERT_BASE_LOG_H
#define BERT_BASE_LOG_H

#include <bert/types.h>

/** Formats and writes one sentence when `log` takes the level. `log` may be NULL. Allocates nothing. */
void bert_log_write(const bert_log *log, bert_log_level level, const char *format, ...) BERT_PRINTF(3, 4);

#endif
