#include "core/base/thread_pool.h"

#include "core/base/error.h"
#include "core/base/memory.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

enum { MAX_THREADS = 1024, CACHE_LINE = 64 };

/* How long a thread looks for work, or for the others' end, before it sleeps: longer than the gaps between kernels. */
static const int64_t SPIN_NANOSECONDS = 100 * 1000;

/*
 * One thread's share of a region. Its own thread claims it, or the caller, who looks when its own is done for those
 * that nobody has begun, since their threads were not woken yet, or not given a core: so a busy machine delays a region
 * by what is under way, not by what waits. The claim is the generation's number: a thread that wakes when its region is
 * over finds its share claimed, and touches nothing else of the region.
 */
struct worker {
    _Alignas(CACHE_LINE) atomic_uint claimed;
    bert_thread_pool *pool;
    int index;
    pthread_t thread;
};

struct bert_thread_pool {
    const bert_allocator *allocator;
    int threads;
    bool spin; /* Not where threads outnumber cores: a spinning one would keep a working one waiting. */
    size_t bytes;
    pthread_mutex_t region;    /* Held through a region: a second caller waits here. */
    pthread_mutex_t mutex;     /* For the two conditions. */
    pthread_cond_t work, done; /* A new generation; the last worker's end. */
    /* The region under way: written before `generation` is raised, left alone until `unfinished` is 0. */
    bert_task_fn fn;
    void *argument;
    int64_t tasks;
    int shares; /* Threads that have something to do: the first ones. */
    atomic_bool stop;
    _Alignas(CACHE_LINE) atomic_uint generation;
    atomic_int sleepers;
    _Alignas(CACHE_LINE) atomic_int unfinished; /* Shares of the region. */
    atomic_bool caller_sleeps;
    _Alignas(CACHE_LINE) struct worker workers[]; /* threads of them; the first one is the caller's. */
};

/* The region that this thread works in: a call from inside a task finds it here. */
static _Thread_local const bert_thread_pool *current_pool;
static _Thread_local int current_thread;

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static bool new_generation(const bert_thread_pool *pool, unsigned seen) {
    return atomic_load_explicit(&pool->generation, memory_order_acquire) != seen;
}

static bool all_done(const bert_thread_pool *pool, unsigned unused) {
    return atomic_load_explicit(&pool->unfinished, memory_order_acquire) == 0;
}

/* Waits for a short while; whether it came true. */
static bool spin_until(const bert_thread_pool *pool, bool (*ready)(const bert_thread_pool *, unsigned),
                       unsigned value) {
    if (ready(pool, value)) return true;
    if (!pool->spin) return false;
    const int64_t end = now() + SPIN_NANOSECONDS;
    do {
        for (int i = 0; i < 32; i++) {
            if (ready(pool, value)) return true;
            pause_briefly();
        }
    } while (now() < end);
    return false;
}

/* First task of thread `index` of `threads`: floor(tasks * index / threads) without the overflow. */
static int64_t first_task(int64_t tasks, int index, int threads) {
    return tasks / threads * index + tasks % threads * index / threads;
}

/* Tasks [first, end) on thread `index`: what they call stays on it. */
static void run_tasks(const bert_thread_pool *pool, bert_task_fn fn, void *argument, int64_t first, int64_t end,
                      int index) {
    current_pool = pool;
    current_thread = index;
    for (int64_t task = first; task < end; task++) fn(argument, task, index);
    current_pool = NULL;
}

/* The tasks of one share, on thread `index`. */
static void run_share(const bert_thread_pool *pool, int share, int index) {
    run_tasks(pool, pool->fn, pool->argument, first_task(pool->tasks, share, pool->shares),
              first_task(pool->tasks, share + 1, pool->shares), index);
}

/* Whether the share of this generation was nobody's yet, and is the calling thread's now. */
static bool claim(bert_thread_pool *pool, int share, unsigned generation) {
    atomic_uint *claimed = &pool->workers[share].claimed;
    unsigned before = atomic_load(claimed);
    /* A claim of a later generation stays: this thread is late. Generations may wrap around. */
    while ((int)(before - generation) < 0)
        if (atomic_compare_exchange_weak(claimed, &before, generation)) return true;
    return false;
}

static void finish_share(bert_thread_pool *pool) {
    if (atomic_fetch_sub(&pool->unfinished, 1) != 1 || !atomic_load(&pool->caller_sleeps)) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_signal(&pool->done);
    pthread_mutex_unlock(&pool->mutex);
}

/* What a worker does of a region: its own share, unless the caller has taken it. */
static void work_on(bert_thread_pool *pool, int index, unsigned generation) {
    if (!claim(pool, index, generation)) return;
    run_share(pool, index, index);
    finish_share(pool);
}

/* The caller's share, then those that nobody has begun. */
static void work_through(bert_thread_pool *pool, unsigned generation) {
    run_share(pool, 0, 0);
    finish_share(pool);
    for (int share = 1; share < pool->shares && !all_done(pool, 0); share++) {
        if (!claim(pool, share, generation)) continue;
        run_share(pool, share, 0);
        finish_share(pool);
    }
}

/*
 * The order of a sleeper's "sleepers up, then look at the generation" and the caller's "generation up, then look at
 * sleepers" is sequentially consistent, so at least one of them sees the other; likewise for unfinished and
 * caller_sleeps.
 */
static void wait_for_generation(bert_thread_pool *pool, unsigned seen) {
    if (spin_until(pool, new_generation, seen)) return;
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->generation) == seen) pthread_cond_wait(&pool->work, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void start_generation(bert_thread_pool *pool) {
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleepers) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

static void wait_for_workers(bert_thread_pool *pool) {
    if (spin_until(pool, all_done, 0)) return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->unfinished) != 0) pthread_cond_wait(&pool->done, &pool->mutex);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->mutex);
}

static void *work(void *argument) {
    struct worker *worker = argument;
    bert_thread_pool *pool = worker->pool;
    for (unsigned seen = 0;;) {
        wait_for_generation(pool, seen);
        seen = atomic_load(&pool->generation); /* more than one later where regions went by */
        if (atomic_load(&pool->stop)) return NULL;
        work_on(pool, worker->index, seen);
    }
}

static void run_region(bert_thread_pool *pool) {
    const unsigned generation = atomic_load(&pool->generation) + 1;
    for (int i = pool->shares; i < pool->threads; i++) atomic_store(&pool->workers[i].claimed, generation);
    atomic_store(&pool->unfinished, pool->shares);
    start_generation(pool);
    work_through(pool, generation);
    wait_for_workers(pool);
}

void bert_thread_pool_run(bert_thread_pool *pool, int64_t tasks, bert_task_fn fn, void *argument) {
    if (tasks <= 0) return;
    if (!pool || current_pool) {
        const int thread = pool && pool == current_pool ? current_thread : 0;
        for (int64_t task = 0; task < tasks; task++) fn(argument, task, thread);
        return;
    }
    if (tasks == 1) {
        run_tasks(pool, fn, argument, 0, 1, 0); /* no region */
        return;
    }
    pthread_mutex_lock(&pool->region);
    pool->fn = fn;
    pool->argument = argument;
    pool->tasks = tasks;
    pool->shares = tasks < pool->threads ? (int)tasks : pool->threads;
    if (pool->shares > 1)
        run_region(pool);
    else
        run_share(pool, 0, 0);
    pthread_mutex_unlock(&pool->region);
}

/* Ends and joins the first `count` workers after the caller. */
static void end_workers(bert_thread_pool *pool, int count) {
    atomic_store(&pool->stop, true);
    start_generation(pool);
    for (int i = 1; i <= count; i++) pthread_join(pool->workers[i].thread, NULL);
}

static void free_pool(bert_thread_pool *pool) {
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    pthread_mutex_destroy(&pool->region);
    bert_deallocate(pool->allocator, pool, pool->bytes, CACHE_LINE);
}

/* Signals are the program's: its own threads take them. Returns how many workers were started. */
static int start_workers(bert_thread_pool *pool) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int started = 0;
    for (; started < pool->threads - 1; started++) {
        struct worker *worker = &pool->workers[started + 1];
        worker->pool = pool;
        worker->index = started + 1;
        if (pthread_create(&worker->thread, NULL, work, worker) != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

bert_status bert_thread_pool_create(int threads, const bert_allocator *allocator, bert_thread_pool **out,
                                    bert_error *error) {
    if (!out) return bert_fail(error, BERT_INVALID_ARGUMENT, "there is no place for the thread pool (out is NULL)");
    *out = NULL;
    const int cores = bert_available_cores();
    if (threads == 0) threads = cores < MAX_THREADS ? cores : MAX_THREADS;
    if (threads < 0 || threads > MAX_THREADS)
        return bert_fail(error, BERT_INVALID_ARGUMENT, "a thread pool has 1 to %d threads, not %d", MAX_THREADS,
                         threads);
    size_t bytes = sizeof(bert_thread_pool) + sizeof(struct worker) * (size_t)threads;
    bert_thread_pool *pool = bert_allocate(allocator, bytes, CACHE_LINE);
    if (!pool) return bert_fail_memory(error, bytes, "a thread pool");
    memset(pool, 0, bytes);
    pool->allocator = allocator;
    pool->threads = threads;
    pool->spin = threads <= cores;
    pool->bytes = bytes;
    pthread_mutex_init(&pool->region, NULL);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    int started = start_workers(pool);
    if (started < threads - 1) {
        end_workers(pool, started);
        free_pool(pool);
        return bert_fail(error, BERT_OUT_OF_MEMORY, "the system started only %d of the %d threads of a pool",
                         started + 1, threads);
    }
    *out = pool;
    return BERT_OK;
}

int bert_thread_pool_threads(const bert_thread_pool *pool) {
    return pool ? pool->threads : 1;
}

void bert_thread_pool_free(bert_thread_pool *pool) {
    if (!pool) return;
    end_workers(pool, pool->threads - 1);
    free_pool(pool);
}
