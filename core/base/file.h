/* Files as bytes: mapped, or read into memory where mapping is not wanted. */
#ifndef BERT_BASE_FILE_H
#define BERT_BASE_FILE_H

#include <bert/types.h>

/** The bytes of one file or of a caller's buffer. */
typedef struct bert_file {
    const unsigned char *data;       /**< NULL when size is 0. */
    size_t size;                     /**< Bytes. */
    bool mapped;                     /**< Pages come from the file: truncating it while it is used raises SIGBUS. */
    const bert_allocator *allocator; /**< What `data` is freed with when not mapped; NULL for a borrowed buffer. */
} bert_file;

/**
 * Opens a regular file read-only. `map` false reads it into memory of the allocator. Fails with BERT_IO_ERROR and a
 * sentence that names the path and the reason (missing, a directory, not readable), BERT_OUT_OF_MEMORY otherwise.
 */
bert_status bert_file_open(const char *path, bool map, const bert_allocator *allocator, bert_file *out,
                           bert_error *error);
void bert_file_close(bert_file *file);

/**
 * Gives the resident pages that lie wholly inside [data, data + bytes) back to the system; they come back from the file
 * when read again. Does nothing for memory that is not mapped. Any thread.
 */
void bert_file_release_pages(const bert_file *file, const void *data, size_t bytes);

#endif
