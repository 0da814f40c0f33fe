/* Status codes and the error record that every fallible function fills. */
#ifndef BERT_STATUS_H
#define BERT_STATUS_H

#include <bert/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What became of a call. The numbers are part of the ABI: new ones are added at the end. */
typedef enum bert_status {
    BERT_OK = 0,
    BERT_INVALID_ARGUMENT = 1, /**< The caller broke a rule of the function: NULL, unknown name, wrong size. */
    BERT_OUT_OF_MEMORY = 2,    /**< An allocation failed; nothing was changed. */
    BERT_IO_ERROR = 3,         /**< A file or folder could not be opened, read, mapped or written. */
    BERT_INVALID_MODEL = 4,    /**< The model's or tokenizer's files are malformed or contradict themselves. */
    BERT_UNSUPPORTED = 5,      /**< Well-formed, but not something that bert.c or the chosen provider does. */
    BERT_INVALID_INPUT = 6,    /**< Tensors or text that the model can't take: shape, id out of range, not UTF-8. */
    BERT_CANCELLED = 7,        /**< The caller's cancel flag was seen. */
    BERT_INTERNAL = 8          /**< A bug in bert.c. */
} bert_status;

/** Size in bytes of an error's sentence, the terminating NUL included. Longer sentences are cut at a character. */
#define BERT_ERROR_MESSAGE_BYTES 1024

/**
 * Filled by a function that fails; left alone by one that succeeds. Owned by the caller, one per thread
 * that is in a call. Every parameter of this type may be NULL when the caller needs the status only.
 */
typedef struct bert_error {
    bert_status status;
    char message[BERT_ERROR_MESSAGE_BYTES]; /**< One UTF-8 sentence: what, where, what was expected. No newline. */
} bert_error;

/** The name of a status ("out of memory"), never NULL. The string is static. Any thread. */
BERT_API const char *bert_status_name(bert_status status);

#ifdef __cplusplus
}
#endif
#endif
