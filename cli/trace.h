/* Kernels of profiled runs as Chrome trace events (chrome://tracing, Perfetto). */
#ifndef BERT_CLI_TRACE_H
#define BERT_CLI_TRACE_H

#include <bert/session.h>

typedef struct bert_trace bert_trace;

/** Makes the file. BERT_IO_ERROR. Close with bert_trace_close. */
bert_status bert_trace_open(const char *path, bert_trace **out, bert_error *error);
/**
 * Adds the run that just ended, for the first runs of a cell. Kernels run one after the other: each begins where the
 * one before ended. The session's profile must not have been reset since the first run of the cell.
 */
void bert_trace_run(bert_trace *trace, const bert_session *session, int64_t batch, int64_t sequence, size_t run);
/** Ends the file. NULL is ignored. BERT_IO_ERROR when something could not be written. */
bert_status bert_trace_close(bert_trace *trace, bert_error *error);

#endif
