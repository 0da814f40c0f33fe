/* Answers on standard output: a reader that goes away ends the work quietly, a full disk is an error. */
#ifndef BERT_CLI_OUTPUT_H
#define BERT_CLI_OUTPUT_H

#include "cli/json_out.h"

/**
 * Call once, first, before any file is opened: a write to a closed pipe, or beyond the size that files may have,
 * becomes an error that bert_output_flush sees instead of a signal, and no file gets the number of a standard stream
 * that the caller closed.
 */
void bert_output_begin(void);
/** Printf to standard output. */
void bert_output_print(const char *format, ...) BERT_PRINTF(1, 2);
/** Bytes to standard output. */
void bert_output_write(const char *bytes, size_t length);
/**
 * From now on the two above write to `text` instead, which keeps answers back until it is their turn; NULL ends that.
 */
void bert_output_divert(bert_json_out *text);
/** Hands what was written on to the reader. False when nothing more can be written: stop working. */
bool bert_output_flush(void);
/**
 * Closes standard output. Returns `status`, or BERT_EXIT_FAILED with a message when something could not be written.
 * A reader that closed its end is no failure.
 */
int bert_output_end(int status);

#endif
