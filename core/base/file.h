/* Files as bytes: mapped, or read into memory where mapping is not wanted. */
#ifndef BERT_BASE_FILE_H
#define BERT_BASE_FILE_H

#include <bert/types.h>

/** What changes when a file is written to or replaced: equal stamps, the same content. All zeros: not known. */
typedef struct bert_file_stamp {
    uint64_t device, inode;
    int64_t written_ns, changed_ns; /**< Since the epoch: the last change of content, and of anything. */
} bert_file_stamp;

/** The bytes of one file or of a caller's buffer. */
typedef struct bert_file {
    const unsigned char *data;       /**< NULL when size is 0. */
    size_t size;                     /**< Bytes. */
    bool mapped;                     /**< Pages come from the file: truncating it while it is used raises SIGBUS. */
    bert_file_stamp stamp;           /**< When it was opened; all zeros for a caller's buffer. */
    const bert_allocator *allocator; /**< What `data` is freed with when not mapped; NULL for a borrowed buffer. */
} bert_file;

/**
 * Opens a regular file read-only. `map` false reads it into memory of the allocator. Fails with BERT_IO_ERROR and a
 * sentence that names the path and the reason (missing, a directory, not readable), BERT_OUT_OF_MEMORY otherwise.
 */
bert_status bert_file_open(const char *path, bool map, const bert_allocator *allocator, bert_file *out,
                           bert_error *error);
void bert_file_close(bert_file *file);
/** Whether `path` leads, through links too, to the file that was opened. Never so for a caller's buffer. */
bool bert_file_is_at(const bert_file *file, const char *path);

/**
 * Gives the resident pages that lie wholly inside [data, data + bytes) back to the system; they come back from the file
 * when read again. Does nothing for memory that is not mapped. Any thread.
 */
void bert_file_release_pages(const bert_file *file, const void *data, size_t bytes);

/** Makes the pages of [data, data + bytes) resident all at once: cheaper than a fault for each few. Only a hint. */
void bert_file_fetch_pages(const bert_file *file, const void *data, size_t bytes);

#endif
