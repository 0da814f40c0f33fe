/* Internal side of the thread pool whose public half is <bert/thread_pool.h>. */
#ifndef BERT_BASE_THREAD_POOL_H
#define BERT_BASE_THREAD_POOL_H

#include <bert/thread_pool.h>

/** One task of a parallel region. `thread` is in [0, threads): an index for per-thread scratch. */
typedef void (*bert_task_fn)(void *argument, int64_t task, int thread);

/**
 * Runs fn(argument, task, thread) for every task in [0, tasks), returning when all are done. The calling thread takes
 * part as thread 0. Tasks are split statically: thread t gets [tasks * t / threads, tasks * (t + 1) / threads), so the
 * same work lands on the same thread in every run. `pool` may be NULL (all on the caller). Calls do not nest: a call
 * from inside a task runs on that thread alone. One region at a time per pool; a second caller waits.
 * Allocates nothing.
 */
void bert_thread_pool_run(bert_thread_pool *pool, int64_t tasks, bert_task_fn fn, void *argument);

#endif
