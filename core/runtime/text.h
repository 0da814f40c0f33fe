/* Sentences put together piece by piece. */
#ifndef BERT_RUNTIME_TEXT_H
#define BERT_RUNTIME_TEXT_H

#include <bert/export.h>
#include <stddef.h>

/** Formats after what `text` holds; what does not fit into `capacity` bytes is cut. Always NUL-terminated. */
void bert_append_text(char *text, size_t capacity, const char *format, ...) BERT_PRINTF(3, 4);

#endif
