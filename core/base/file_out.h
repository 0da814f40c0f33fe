/* Writing a file so that nobody ever sees half of it. */
#ifndef BERT_BASE_FILE_OUT_H
#define BERT_BASE_FILE_OUT_H

#include <bert/types.h>
#include <stdio.h>

/**
 * A file that is being written under another name in the same folder. It takes its own name, in one step, when it is
 * closed: until then, and after any failure, what stood there before stands there still. One thread.
 */
typedef struct bert_file_out {
    FILE *stream;      /**< NULL when nothing is open. */
    char *path;        /**< What it will be called. */
    char *temporary;   /**< What it is called so far. */
    uint64_t position; /**< Bytes written. */
} bert_file_out;

/**
 * Starts to write `path`, with the permissions that the process gives new files. BERT_IO_ERROR names the path and the
 * reason: no such folder, no permission, something there that is not a regular file.
 */
bert_status bert_file_out_open(const char *path, bert_file_out *out, bert_error *error);
/** Appends `bytes` bytes; `data` may be NULL when there are none. BERT_IO_ERROR: the disk is full, say. */
bert_status bert_file_out_write(bert_file_out *out, const void *data, size_t bytes, bert_error *error);
/** Ends the writing and gives the file its name. On failure nothing is left of it. */
bert_status bert_file_out_close(bert_file_out *out, bert_error *error);
/** Removes what was written. Does nothing when nothing is open. */
void bert_file_out_abandon(bert_file_out *out);

#endif
