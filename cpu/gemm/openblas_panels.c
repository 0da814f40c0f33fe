/*
 * OpenBLAS over panels of 64 columns, for its kernels that multiply small matrices as they lie (up to a million
 * multiply-adds a call): what it spends elsewhere on copying both sides at each call is saved, half the time with few
 * rows (docs/kernels.md has figures). Its kernels for AVX2 have no such products, and lose by the smaller calls.
 */
#include "cpu/gemm/gemm.h"

/* A call is at most ROWS x COLUMNS x DEPTH multiply-adds, whose sums are chains as short as the own provider's; rows of
 * a task share a panel. */
enum { COLUMNS = BERT_GEMM_MAX_COLUMNS, ROWS = 32, DEPTH = BERT_SGEMM_CHAIN, TASK_ROWS = 256, MOST_PANELS = 12 };
_Static_assert(ROWS *COLUMNS *DEPTH <= 1000000, "what OpenBLAS takes for small");

static size_t packed_bytes(const bert_cpu_kernels *kernels, int64_t k, int64_t n) {
    return bert_gemm_panel_bytes(COLUMNS, k, n);
}

static void pack(const bert_cpu_kernels *kernels, bert_thread_pool *threads, void *packed, int64_t n, int64_t first,
                 const bert_constant *part, bool transposed) {
    bert_gemm_pack_panels(kernels, threads, COLUMNS, packed, n, first, part, transposed);
}

typedef struct panels_run {
    const bert_gemm_call *call;
    int64_t panels, groups, group_panels; /* a task is some rows and a group of panels */
} panels_run;

static void run_panel(const panels_run *run, int64_t row, int64_t rows, int64_t panel) {
    const bert_gemm_call *call = run->call;
    const int64_t k = call->weight->k, column = panel * COLUMNS;
    const bert_epilogue_args epilogue =
        bert_gemm_epilogue_at(&call->epilogue, row, rows, column, bert_smaller(COLUMNS, call->weight->n - column));
    int64_t from = 0;
    do { /* once even where k is 0: zeros */
        for (int64_t block = 0; block < rows; block += ROWS)
            bert_openblas_multiply(
                &(bert_sgemm_args){.c = epilogue.y + block * epilogue.stride,
                                   .a = call->x + (row + block) * k + from,
                                   .b = (const float *)call->weight->data + column * k + from * COLUMNS,
                                   .ldc = epilogue.stride,
                                   .lda = k > 0 ? k : 1,
                                   .ldb = COLUMNS,
                                   .m = bert_smaller(ROWS, rows - block),
                                   .n = epilogue.n,
                                   .k = bert_smaller(DEPTH, k - from),
                                   .accumulate = from > 0},
                false);
        from += DEPTH;
    } while (from < k);
    call->kernels->epilogue(&epilogue);
}

static void run_task(void *argument, int64_t task, int thread) {
    const panels_run *run = argument;
    const int64_t row = task / run->groups * TASK_ROWS, first = task % run->groups * run->group_panels;
    const int64_t end = bert_smaller(first + run->group_panels, run->panels);
    for (int64_t panel = first; panel < end; panel++)
        run_panel(run, row, bert_smaller(TASK_ROWS, run->call->rows - row), panel);
}

static void run(const bert_gemm_call *call) {
    const int64_t rows = call->rows, threads = bert_thread_pool_threads(call->threads);
    if (rows == 0 || call->weight->n == 0) return;
    panels_run run = {.call = call, .panels = (call->weight->n + COLUMNS - 1) / COLUMNS};
    /* Groups that go evenly over the threads. */
    run.groups = (run.panels + MOST_PANELS - 1) / MOST_PANELS;
    run.groups = bert_smaller((run.groups + threads - 1) / threads * threads, run.panels);
    run.group_panels = (run.panels + run.groups - 1) / run.groups;
    run.groups = (run.panels + run.group_panels - 1) / run.group_panels;
    bert_thread_pool_run(call->threads, (rows + TASK_ROWS - 1) / TASK_ROWS * run.groups, run_task, &run);
}

const bert_gemm_provider bert_gemm_openblas_panels = {
    .name = "openblas_panels",
    .kernel = "linear/openblas",
    .packed_bytes = packed_bytes,
    .pack = pack,
    .run = run,
};
