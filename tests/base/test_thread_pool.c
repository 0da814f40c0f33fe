/* The thread pool: every task once, where it should run, nesting, sharing, and what cores a process is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/thread_pool.h"
#include "tests/support/scarce_memory.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TASKS = 1000 };

struct record {
    bert_thread_pool *pool;
    int thread[TASKS]; /* plain ints: a task that ran on two threads is a race that TSan sees */
    int runs[TASKS];
    atomic_int nested;
};

static void note(void *argument, int64_t task, int thread) {
    struct record *record = argument;
    record->thread[task] = thread;
    record->runs[task]++;
}

static bert_thread_pool *make_pool(int threads) {
    bert_thread_pool *pool = NULL;
    bert_error error = {0};
    assert_int_equal(bert_thread_pool_create(threads, NULL, &pool, &error), BERT_OK);
    assert_non_null(pool);
    return pool;
}

static void every_task_runs_once_on_its_thread(void **state) {
    for (int threads = 1; threads <= 5; threads++) {
        bert_thread_pool *pool = make_pool(threads);
        assert_int_equal(bert_thread_pool_threads(pool), threads);
        for (int tasks = 0; tasks <= TASKS; tasks += tasks < 8 ? 1 : 331) {
            struct record record = {0};
            bert_thread_pool_run(pool, tasks, note, &record);
            const int used = tasks < threads ? tasks : threads;
            for (int64_t task = 0; task < TASKS; task++) {
                assert_int_equal(record.runs[task], task < tasks ? 1 : 0);
                if (task >= tasks) continue;
                const int64_t thread = record.thread[task];
                if (thread == 0) continue; /* the caller's, or taken over by it */
                assert_true(tasks * thread / used <= task && task < tasks * (thread + 1) / used);
            }
        }
        bert_thread_pool_free(pool);
    }
}

/* Each task waits until all have begun, so that none can be taken over: where threads are free they do their shares. */
struct meeting {
    struct record record;
    atomic_int begun;
    int tasks;
};

static void meet(void *argument, int64_t task, int thread) {
    struct meeting *meeting = argument;
    note(&meeting->record, task, thread);
    atomic_fetch_add(&meeting->begun, 1);
    for (int i = 0; i < 20000 && atomic_load(&meeting->begun) < meeting->tasks; i++) usleep(1000);
}

static void threads_do_their_shares_while_the_caller_is_busy(void **state) {
    enum { THREADS = 4, REGIONS = 50 };
    bert_thread_pool *pool = make_pool(THREADS);
    for (int region = 0; region < REGIONS; region++) {
        struct meeting meeting = {.tasks = 2 + region % (THREADS - 1)};
        bert_thread_pool_run(pool, meeting.tasks, meet, &meeting);
        assert_int_equal(atomic_load(&meeting.begun), meeting.tasks);
        for (int task = 0; task < meeting.tasks; task++) {
            assert_int_equal(meeting.record.runs[task], 1);
            assert_int_equal(meeting.record.thread[task], task);
        }
    }
    bert_thread_pool_free(pool);
}

/* More threads than cores, regions far shorter than waking a thread takes: shares are taken over, threads come late. */
static void every_task_runs_once_where_threads_come_late(void **state) {
    enum { THREADS = 12, REGIONS = 20000 };
    bert_thread_pool *pool = make_pool(THREADS);
    int64_t all = 0, taken_over = 0;
    int expected[TASKS] = {0};
    struct record record = {0};
    for (int region = 0; region < REGIONS; region++) {
        const int tasks = 2 + region % (2 * THREADS);
        bert_thread_pool_run(pool, tasks, note, &record);
        for (int task = 0; task < tasks; task++) expected[task]++;
        all += tasks;
        const int used = tasks < THREADS ? tasks : THREADS;
        for (int task = tasks / used; task < tasks; task++) taken_over += record.thread[task] == 0;
    }
    assert_memory_equal(record.runs, expected, sizeof expected);
    assert_true(taken_over > 0);
    print_message("%d regions: the caller took %lld of %lld tasks over\n", REGIONS, (long long)taken_over,
                  (long long)all);
    bert_thread_pool_free(pool);
}

static void no_pool_means_the_caller(void **state) {
    struct record record = {0};
    bert_thread_pool_run(NULL, TASKS, note, &record);
    for (int i = 0; i < TASKS; i++) assert_true(record.runs[i] == 1 && record.thread[i] == 0);
    assert_int_equal(bert_thread_pool_threads(NULL), 1);
    bert_thread_pool_free(NULL);
}

struct inner {
    pthread_t outer;
    int thread;
    struct record *record;
};

static void note_inner(void *argument, int64_t task, int thread) {
    struct inner *inner = argument;
    if (pthread_equal(pthread_self(), inner->outer) && thread == inner->thread)
        atomic_fetch_add(&inner->record->nested, 1);
}

static void call_again(void *argument, int64_t task, int thread) {
    struct record *record = argument;
    struct inner inner = {pthread_self(), thread, record};
    bert_thread_pool_run(record->pool, 10, note_inner, &inner);
}

static void calls_inside_a_task_stay_on_its_thread(void **state) {
    struct record record = {.pool = make_pool(3)};
    bert_thread_pool_run(record.pool, 7, call_again, &record);
    assert_int_equal(atomic_load(&record.nested), 70);
    bert_thread_pool_run(record.pool, 1, call_again, &record);
    assert_int_equal(atomic_load(&record.nested), 80);
    bert_thread_pool_free(record.pool);
}

static void set_flag(void *argument, int64_t task, int thread) {
    atomic_store((atomic_bool *)argument, true);
}

struct busy_pool {
    bert_thread_pool *pool;
    atomic_bool begun, passed;
};

static void *pass_by(void *argument) {
    struct busy_pool *busy = argument;
    while (!atomic_load(&busy->begun)) usleep(1000);
    bert_thread_pool_run(busy->pool, 1, set_flag, &busy->passed);
    return NULL;
}

static void wait_to_be_passed(void *argument, int64_t task, int thread) {
    struct busy_pool *busy = argument;
    atomic_store(&busy->begun, true);
    for (int i = 0; i < 20000 && !atomic_load(&busy->passed); i++) usleep(1000);
}

static void a_single_task_does_not_wait_for_a_busy_pool(void **state) {
    struct busy_pool busy = {.pool = make_pool(2)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, pass_by, &busy), 0);
    bert_thread_pool_run(busy.pool, 2, wait_to_be_passed, &busy);
    assert_true(atomic_load(&busy.passed)); /* while the region was under way */
    pthread_join(thread, NULL);
    bert_thread_pool_free(busy.pool);
}

struct caller {
    bert_thread_pool *pool;
    int *in_region; /* plain: two regions at once are a race */
    int total;
};

static void add_one(void *argument, int64_t task, int thread) {
    struct caller *caller = argument;
    if (task == 0) {
        (*caller->in_region)++;
        caller->total++;
    }
}

static void *call_often(void *argument) {
    struct caller *caller = argument;
    for (int i = 0; i < 500; i++) bert_thread_pool_run(caller->pool, 4, add_one, caller);
    return NULL;
}

static void callers_take_turns(void **state) {
    bert_thread_pool *pool = make_pool(2);
    int in_region = 0;
    struct caller callers[3];
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        callers[i] = (struct caller){pool, &in_region, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    }
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++) assert_int_equal(callers[i].total, 500);
    assert_int_equal(in_region, 1500);
    bert_thread_pool_free(pool);
}

static void threads_that_slept_wake_again(void **state) {
    bert_thread_pool *pool = make_pool(4);
    for (int i = 0; i < 20; i++) {
        usleep(1000);
        struct record record = {0};
        bert_thread_pool_run(pool, 64, note, &record);
        for (int task = 0; task < 64; task++) assert_int_equal(record.runs[task], 1);
    }
    bert_thread_pool_free(pool);
}

static void odd_sizes_are_refused(void **state) {
    bert_thread_pool *pool = NULL;
    bert_error error = {0};
    assert_int_equal(bert_thread_pool_create(-1, NULL, &pool, &error), BERT_INVALID_ARGUMENT);
    assert_null(pool);
    assert_non_null(strstr(error.message, "-1"));
    assert_int_equal(bert_thread_pool_create(1025, NULL, &pool, &error), BERT_INVALID_ARGUMENT);
    assert_int_equal(bert_thread_pool_create(1, NULL, NULL, &error), BERT_INVALID_ARGUMENT);
    pool = make_pool(0);
    assert_int_equal(bert_thread_pool_threads(pool), bert_available_cores());
    bert_thread_pool_free(pool);
}

static void a_failed_allocation_is_a_status(void **state) {
    scarce_memory memory = {.fail_to = SIZE_MAX};
    const bert_allocator none = scarce_allocator(&memory);
    bert_thread_pool *pool;
    bert_error error = {0};
    assert_int_equal(bert_thread_pool_create(2, &none, &pool, &error), BERT_OUT_OF_MEMORY);
    assert_null(pool);
}

static void write_file(const char *folder, const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int cores_of(const char *folder, const char *membership) {
    char path[512];
    write_file(folder, "membership", membership);
    snprintf(path, sizeof path, "%s/membership", folder);
    return bert_cgroup_cores(path, folder);
}

static void quotas_of_control_groups_count(void **state) {
    char folder[] = "/tmp/bert_cgroup_XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_int_equal(cores_of(folder, "0::/\n"), INT_MAX);
    write_file(folder, "a/b/cpu.max", "max 100000\n");
    assert_int_equal(cores_of(folder, "0::/a/b\n"), INT_MAX);
    write_file(folder, "a/cpu.max", "250000 100000\n"); /* the group around it: 2.5 cores are 3 threads */
    assert_int_equal(cores_of(folder, "0::/a/b\n"), 3);
    write_file(folder, "a/b/cpu.max", "50000 100000\n");
    assert_int_equal(cores_of(folder, "0::/a/b\n"), 1);
    assert_int_equal(cores_of(folder, "0::/c\n"), INT_MAX);
    assert_int_equal(cores_of(folder, "0::/a/../a/b\n"), INT_MAX);
    write_file(folder, "cpu,cpuacct/x/cpu.cfs_quota_us", "400000\n");
    write_file(folder, "cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cores_of(folder, "3:cpuset:/x\n"), INT_MAX);
    assert_int_equal(cores_of(folder, "3:cpuset:/\n2:cpu,cpuacct:/x/y\n"), 4);
    write_file(folder, "cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n");
    assert_int_equal(cores_of(folder, "2:cpu,cpuacct:/x\n"), INT_MAX);
    write_file(folder, "cpu,cpuacct/x/cpu.cfs_quota_us", "nonsense\n");
    assert_int_equal(cores_of(folder, "2:cpu,cpuacct:/x\n"), INT_MAX);
    assert_int_equal(bert_cgroup_cores("/nonexistent", folder), INT_MAX);
    char command[600];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

static void affinity_counts(void **state) {
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_true(bert_available_cores() >= 1 && bert_available_cores() <= CPU_COUNT(&before));
    int first = 0;
    while (!CPU_ISSET(first, &before)) first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(bert_available_cores(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once_on_its_thread),
        cmocka_unit_test(threads_do_their_shares_while_the_caller_is_busy),
        cmocka_unit_test(every_task_runs_once_where_threads_come_late),
        cmocka_unit_test(no_pool_means_the_caller),
        cmocka_unit_test(calls_inside_a_task_stay_on_its_thread),
        cmocka_unit_test(a_single_task_does_not_wait_for_a_busy_pool),
        cmocka_unit_test(callers_take_turns),
        cmocka_unit_test(threads_that_slept_wake_again),
        cmocka_unit_test(odd_sizes_are_refused),
        cmocka_unit_test(a_failed_allocation_is_a_status),
        cmocka_unit_test(quotas_of_control_groups_count),
        cmocka_unit_test(affinity_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
