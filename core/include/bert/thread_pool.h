/* Threads that sessions run their kernels on. */
#ifndef BERT_THREAD_POOL_H
#define BERT_THREAD_POOL_H

#include <bert/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A fixed set of threads. May be shared by sessions; a session that finds it busy waits for its turn. */
typedef struct bert_thread_pool bert_thread_pool;

/** Cores that this process may use: the least of affinity mask and cgroup quota (rounded up), at least 1. */
BERT_API int bert_available_cores(void);

/**
 * Starts `threads` - 1 threads (the caller of a run is the last one). 0 means bert_available_cores(). At most 1024.
 * The threads spin for a moment after work, then sleep. Free with bert_thread_pool_free, after the sessions that use
 * it.
 */
BERT_API bert_status bert_thread_pool_create(int threads, const bert_allocator *allocator, bert_thread_pool **out,
                                             bert_error *error);
/** Threads that take part in a run, the caller's included. */
BERT_API int bert_thread_pool_threads(const bert_thread_pool *pool);
/** Ends the threads. NULL is ignored. No run may be under way. */
BERT_API void bert_thread_pool_free(bert_thread_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
