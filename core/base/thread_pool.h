/* Internal side of the thread pool whose public half is <bert/thread_pool.h>. */
#ifndef BERT_BASE_THREAD_POOL_H
#define BERT_BASE_THREAD_POOL_H

#include <bert/thread_pool.h>

/** One task of a parallel region. `thread` is in [0, threads): an index for per-thread scratch. */
typedef void (*bert_task_fn)(void *argument, int64_t task, int thread);

/**
 * Runs fn(argument, task, thread) for every task in [0, tasks), returning when all are done. The calling thread takes
 * part as thread 0. Tasks are split statically into n = min(tasks, threads) shares, [tasks * t / n, tasks * (t + 1) /
 * n), so the same work lands on the same thread in every run as long as each thread has a core; the caller, done with
 * its own share, takes over those that no thread has begun. A single task runs on the caller at once, whatever the pool
 * does meanwhile, and wakes nobody. `pool` may be NULL (all on the caller). Calls do not nest: a call from inside a
 * task runs on that thread alone, with its own index where the pool is the same, else as thread 0. One region at a time
 * per pool; a second caller of several tasks waits. Allocates nothing.
 */
void bert_thread_pool_run(bert_thread_pool *pool, int64_t tasks, bert_task_fn fn, void *argument);

/**
 * Cores that the CPU quotas of control groups allow (rounded up; the least of the group and those around it), INT_MAX
 * without a quota. `membership` is /proc/self/cgroup, `mount` /sys/fs/cgroup: parameters, so that tests can show other
 * machines. Versions 1 and 2, and both at once.
 */
int bert_cgroup_cores(const char *membership, const char *mount);

#endif
