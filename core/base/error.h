/* Filling a bert_error. Every fallible function returns bert_status and reports with these. */
#ifndef BERT_BASE_ERROR_H
#define BERT_BASE_ERROR_H

#include <bert/status.h>
#include <stddef.h>

/** Fills `error` (may be NULL) with the sentence and returns `status`, so that `return bert_fail(...)` reads well. */
bert_status bert_fail(bert_error *error, bert_status status, const char *format, ...) BERT_PRINTF(3, 4);

/** Puts "<context>: " before the sentence that a callee left; returns `status` unchanged. */
bert_status bert_fail_in(bert_error *error, bert_status status, const char *format, ...) BERT_PRINTF(3, 4);

/** BERT_OUT_OF_MEMORY with a sentence that names what the bytes were for. */
bert_status bert_fail_memory(bert_error *error, size_t bytes, const char *what);

#ifdef __clang_analyzer__
/* The analyzer sees one file at a time: tell it that these give back the status that they are given. */
#define bert_fail(error, status, ...) ((void)bert_fail((error), (status), __VA_ARGS__), (status))
#define bert_fail_in(error, status, ...) ((void)bert_fail_in((error), (status), __VA_ARGS__), (status))
#define bert_fail_memory(error, bytes, what) ((void)bert_fail_memory((error), (bytes), (what)), BERT_OUT_OF_MEMORY)
#endif

/** Returns from the calling function when `expression` is not BERT_OK. For functions that have nothing to release. */
#define BERT_TRY(expression)                                                                                           \
    do {                                                                                                               \
        bert_status bert_try_status_ = (expression);                                                                   \
        if (bert_try_status_ != BERT_OK) return bert_try_status_;                                                      \
    } while (0)

#endif
