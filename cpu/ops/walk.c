#include "cpu/ops/walk.h"

#include "core/base/thread_pool.h"
#include "cpu/ops/ops.h"

#include <string.h>

bert_walk bert_walk_begin(int32_t rank, const int64_t *dims) {
    bert_walk walk = {.rank = rank};
    for (int32_t i = 0; i < rank; i++) walk.dims[i] = dims[i];
    return walk;
}

void bert_walk_add(bert_walk *walk, const bert_tensor *tensor) {
    bert_cpu_steps(tensor, walk->rank, walk->steps[walk->operands++]);
}

/* Whether dimension `i` goes on where `last`, outside it, steps. */
static bool goes_on(const bert_walk *walk, int32_t last, int32_t i) {
    bool even = true;
    for (int32_t o = 0; o < walk->operands; o++) even &= walk->steps[o][last] == walk->steps[o][i] * walk->dims[i];
    return even;
}

void bert_walk_join(bert_walk *walk) {
    int32_t rank = 0;
    for (int32_t i = 0; i < walk->rank; i++) {
        const int64_t size = walk->dims[i];
        if (size == 1) continue;
        if (rank > 0 && goes_on(walk, rank - 1, i))
            walk->dims[rank - 1] *= size;
        else
            walk->dims[rank++] = size;
        for (int32_t o = 0; o < walk->operands; o++) walk->steps[o][rank - 1] = walk->steps[o][i];
    }
    walk->rank = rank;
    if (rank > 0) return;
    walk->rank = 1;
    walk->dims[0] = 1;
    for (int32_t o = 0; o < walk->operands; o++) walk->steps[o][0] = 1;
}

/* A task is some rows, or one piece of a long one. */
typedef struct walk_run {
    const bert_walk *walk;
    bert_walk_fn fn;
    const void *argument;
    int64_t steps[BERT_WALK_OPERANDS]; /* of a row */
    int64_t n, rows;                   /* elements of a row */
    int64_t task_elements, task_rows, pieces;
} walk_run;

/* `n` elements from element `first` on of each of the rows [row, end). */
static void run_rows(const walk_run *run, int64_t row, int64_t end, int64_t first, int64_t n) {
    const bert_walk *walk = run->walk;
    const int32_t inner = walk->rank - 1;
    int64_t at[BERT_WALK_RANK], offsets[BERT_WALK_OPERANDS], left = row;
    for (int32_t o = 0; o < walk->operands; o++) offsets[o] = first * run->steps[o];
    for (int32_t i = inner - 1; i >= 0; i--) {
        at[i] = left % walk->dims[i];
        left /= walk->dims[i];
        for (int32_t o = 0; o < walk->operands; o++) offsets[o] += at[i] * walk->steps[o][i];
    }
    for (;; row++) {
        run->fn(run->argument, offsets, run->steps, n);
        if (row + 1 == end) return;
        int32_t i = inner - 1;
        for (; at[i] + 1 == walk->dims[i]; i--) {
            for (int32_t o = 0; o < walk->operands; o++) offsets[o] -= at[i] * walk->steps[o][i];
            at[i] = 0;
        }
        at[i]++;
        for (int32_t o = 0; o < walk->operands; o++) offsets[o] += walk->steps[o][i];
    }
}

static void run_task(void *argument, int64_t task, int thread) {
    const walk_run *run = argument;
    if (run->pieces > 1) {
        const int64_t row = task / run->pieces, first = task % run->pieces * run->task_elements, left = run->n - first;
        run_rows(run, row, row + 1, first, left < run->task_elements ? left : run->task_elements);
        return;
    }
    const int64_t row = task * run->task_rows, left = run->rows - row;
    run_rows(run, row, row + (left < run->task_rows ? left : run->task_rows), 0, run->n);
}

void bert_walk_run(bert_walk *walk, bert_thread_pool *threads, size_t size, bert_walk_fn fn, const void *argument) {
    bert_walk_join(walk);
    const int32_t inner = walk->rank - 1;
    walk_run run = {.walk = walk,
                    .fn = fn,
                    .argument = argument,
                    .n = walk->dims[inner],
                    .rows = bert_cpu_count(walk->dims, 0, inner),
                    .task_elements = BERT_CPU_TASK_BYTES / (int64_t)size};
    if (run.n == 0 || run.rows == 0) return;
    for (int32_t o = 0; o < walk->operands; o++) run.steps[o] = walk->steps[o][inner];
    run.pieces = (run.n - 1) / run.task_elements + 1;
    run.task_rows = run.task_elements / run.n + 1;
    const int64_t tasks = run.pieces > 1 ? run.rows * run.pieces : (run.rows - 1) / run.task_rows + 1;
    bert_thread_pool_run(threads, tasks, run_task, &run);
}
