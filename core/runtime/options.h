/* Reading option structs that begin with their size. */
#ifndef BERT_RUNTIME_OPTIONS_H
#define BERT_RUNTIME_OPTIONS_H

#include <bert/types.h>

/**
 * Copies a caller's option struct of any age into `out` of `size` bytes, zeroing what the caller's does not have.
 * `options` NULL means all zero. BERT_INVALID_ARGUMENT when its struct_size was not set, BERT_UNSUPPORTED when it is
 * newer than this library and uses what is not known here. `what` names the struct in the sentence.
 */
bert_status bert_read_options(void *out, size_t size, const void *options, const char *what, bert_error *error);

#endif
