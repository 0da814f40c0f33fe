/*
 * The providers of bfloat16.
 *
 * "bf16": weights and x are rounded to bfloat16 and multiplied by the bgemm kernel, which adds in float32. Weights lie
 * in panels of BERT_BGEMM_COLUMNS columns, two rows of k side by side; x is rounded first, unless who wrote it has.
 *
 * "bf16_weights": only weights are rounded, which halves their memory and what is read of it. Their panels are as wide
 * as the own provider's, whose product runs on them with the kernel that widens in registers.
 */
#include "core/base/memory.h"
#include "cpu/gemm/panels.h"

#include <string.h>

enum { BLOCK_BYTES = 512 * 1024, MOST_COLUMNS = 64, CHUNK = 512 };

/* ---- Packing ----------------------------------------------------------------------------------------------------- */

/* A part on its way into panels of `columns` columns, `step` rows side by side: depth is k filled up to steps. */
typedef struct packing {
    const bert_cpu_kernels *kernels;
    uint16_t *packed; /* [panels][depth / step][columns][step] */
    const unsigned char *bytes;
    int64_t columns, step, k, depth;
    int64_t first, width; /* the columns that the part becomes */
    bool transposed;
} packing;

static void round_run(const packing *p, uint16_t *out, const float *from, int64_t count) {
    p->kernels->to_bf16(&(bert_to_bf16_args){.y = out, .x = from, .rows = 1, .n = count, .padded = count});
}

/* The place of row `row` in a panel, of its first column. */
static uint16_t *place_of(const packing *p, uint16_t *panel, int64_t row) {
    return panel + row / p->step * p->step * p->columns + row % p->step;
}

/* `width` columns of the part [k, n_part] from `start` on, which go to `column` of a panel. Values are copied first:
 * they may start at any address. */
static void pack_rows(const packing *p, uint16_t *panel, int64_t column, int64_t start, int64_t width) {
    float values[MOST_COLUMNS];
    uint16_t halves[MOST_COLUMNS];
    for (int64_t row = 0; row < p->k; row++) {
        memcpy(values, p->bytes + (row * p->width + start) * (int64_t)sizeof(float), (size_t)width * sizeof *values);
        round_run(p, halves, values, width);
        uint16_t *out = place_of(p, panel, row);
        for (int64_t i = 0; i < width; i++) out[(column + i) * p->step] = halves[i];
    }
}

/* The same from [n_part, k]. */
static void pack_columns(const packing *p, uint16_t *panel, int64_t column, int64_t start, int64_t width) {
    float values[CHUNK];
    uint16_t halves[CHUNK];
    for (int64_t i = 0; i < width; i++) {
        for (int64_t row = 0; row < p->k; row += CHUNK) {
            const int64_t count = p->k - row < CHUNK ? p->k - row : CHUNK;
            memcpy(values, p->bytes + ((start + i) * p->k + row) * (int64_t)sizeof(float),
                   (size_t)count * sizeof *values);
            round_run(p, halves, values, count);
            for (int64_t j = 0; j < count; j++) place_of(p, panel, row + j)[(column + i) * p->step] = halves[j];
        }
    }
}

/* What of the part falls into one panel. The first part that does also fills the panel with zeros. */
static void pack_panel(void *argument, int64_t task, int thread) {
    const packing *p = argument;
    const int64_t begin = (p->first / p->columns + task) * p->columns, end = p->first + p->width;
    const int64_t from = p->first > begin ? p->first : begin, to = end < begin + p->columns ? end : begin + p->columns;
    uint16_t *panel = p->packed + begin * p->depth;
    if (from == begin) memset(panel, 0, (size_t)(p->columns * p->depth) * sizeof *panel);
    if (p->transposed)
        pack_columns(p, panel, from - begin, from - p->first, to - from);
    else
        pack_rows(p, panel, from - begin, from - p->first, to - from);
}

static void pack_halves(const bert_cpu_kernels *kernels, bert_thread_pool *threads, void *packed, int64_t first,
                        const bert_constant *part, bool transposed, int64_t columns, int64_t step) {
    packing all = {.kernels = kernels,
                   .packed = packed,
                   .bytes = part->data,
                   .columns = columns,
                   .step = step,
                   .first = first,
                   .transposed = transposed};
    bert_gemm_part_shape(part, transposed, &all.k, &all.width);
    if (all.width == 0 || all.k == 0) return;
    all.depth = (all.k + step - 1) / step * step;
    const int64_t last = (first + all.width - 1) / columns;
    bert_thread_pool_run(threads, last - first / columns + 1, pack_panel, &all);
}

static size_t panel_bytes(int64_t k, int64_t n, int64_t columns, int64_t step) {
    size_t count, bytes;
    if (!bert_size_multiply((size_t)((n + columns - 1) / columns * columns), (size_t)((k + step - 1) / step * step),
                            &count) ||
        !bert_size_multiply(count, sizeof(uint16_t), &bytes))
        return 0;
    return bytes;
}

/* ---- Both sides in bfloat16 -------------------------------------------------------------------------------------- */

static size_t packed_bytes(const bert_cpu_kernels *kernels, int64_t k, int64_t n) {
    return panel_bytes(k, n, BERT_BGEMM_COLUMNS, BERT_BGEMM_STEP);
}

static void pack(const bert_cpu_kernels *kernels, bert_thread_pool *threads, void *packed, int64_t n, int64_t first,
                 const bert_constant *part, bool transposed) {
    pack_halves(kernels, threads, packed, first, part, transposed, BERT_BGEMM_COLUMNS, BERT_BGEMM_STEP);
}

static int64_t whole_steps(int64_t k) {
    return (k + BERT_BGEMM_STEP - 1) / BERT_BGEMM_STEP * BERT_BGEMM_STEP;
}

static int64_t depth_of(const bert_packed_weight *weight) {
    return whole_steps(weight->k);
}

static int64_t x_row_bytes(int64_t k) {
    return bert_gemm_row_bytes(whole_steps(k) * (int64_t)sizeof(uint16_t));
}

static int64_t x_stride(int64_t k) {
    return x_row_bytes(k) / (int64_t)sizeof(uint16_t);
}

/*
 * Where kernels want large blocks k is cut into slices: a block's share of x in one slice, and the sums of a group of
 * panels, stay in the second-level cache while slices stream by. Whole rows of x would leave room for fewer of them,
 * and weights are read from memory once for each block.
 */
enum { SLICE = 768 };
_Static_assert(SLICE % (BERT_BGEMM_CHAIN * BERT_BGEMM_STEP) == 0, "sums don't depend on slices");

/* Rows that sums of a panel have room for, and floats of a group's, where k is cut. */
static int64_t sum_rows(int64_t rows) {
    return bert_smaller((rows + BERT_PANEL_ROWS - 1) / BERT_PANEL_ROWS * BERT_PANEL_ROWS, BERT_PANEL_MOST_ROWS);
}

static int64_t sums_of(const bert_packed_weight *weight, int64_t rows) {
    return depth_of(weight) > SLICE ? BERT_PANEL_GROUP * BERT_BGEMM_COLUMNS * sum_rows(rows) : 0;
}

/* Sums for each thread. */
static size_t workspace_bytes(const bert_packed_weight *weight, size_t rows, int threads) {
    const int64_t some = rows < BERT_PANEL_MOST_ROWS ? (int64_t)rows : BERT_PANEL_MOST_ROWS;
    size_t bytes;
    return bert_size_multiply((size_t)threads, (size_t)sums_of(weight, some) * sizeof(float), &bytes) ? bytes
                                                                                                      : SIZE_MAX;
}

typedef struct bf16_run {
    const bert_gemm_call *call;
    float *sums; /* [threads][group][sum_rows][BERT_BGEMM_COLUMNS], where k is cut */
    uint16_t *x; /* [rows, depth], rows `stride` apart */
    int64_t depth, stride, slice, task_rows;
} bf16_run;

static void round_rows(void *argument, int64_t task, int thread) {
    const bf16_run *run = argument;
    const int64_t k = run->call->weight->k, row = task * run->task_rows, left = run->call->rows - row;
    run->call->kernels->to_bf16(&(bert_to_bf16_args){.y = run->x + row * run->stride,
                                                     .x = run->call->x + row * k,
                                                     .ldy = run->stride,
                                                     .ldx = k,
                                                     .rows = left < run->task_rows ? left : run->task_rows,
                                                     .n = k,
                                                     .padded = run->stride});
}

/* A panel's columns of rows of y as the next product's x; what fills those up comes with the last panel. */
static void write_x_of_next(const bert_gemm_call *call, const bert_epilogue_args *tile, int64_t row, int64_t column) {
    const int64_t n = call->weight->n, stride = x_stride(n);
    const bool last = column + tile->n == n;
    call->kernels->to_bf16(&(bert_to_bf16_args){.y = call->y_rows + row * stride + column,
                                                .x = tile->y,
                                                .ldy = stride,
                                                .ldx = tile->stride,
                                                .rows = tile->rows,
                                                .n = tile->n,
                                                .padded = last ? stride - column : tile->n});
}

/* Into y, or by way of scratch where the panel is wider than what is left of y, and where that isn't read. */
static void finish_tile(const bf16_run *run, bert_bgemm_args *product, int64_t row, int64_t panel) {
    const bert_gemm_call *call = run->call;
    _Alignas(BERT_ALIGNMENT) float scratch[BERT_PANEL_ROWS * BERT_BGEMM_COLUMNS];
    const int64_t column = panel * BERT_BGEMM_COLUMNS;
    const int64_t width = bert_gemm_panel_width(call->weight->n, BERT_BGEMM_COLUMNS, panel);
    bert_epilogue_args epilogue = bert_gemm_epilogue_at(&call->epilogue, row, product->rows, column, width);
    if (call->y_unread) {
        epilogue.y = scratch;
        epilogue.stride = BERT_BGEMM_COLUMNS;
    }
    const bool apart = width < BERT_BGEMM_COLUMNS && !call->y_unread;
    product->c = apart ? scratch : epilogue.y;
    product->ldc = apart ? BERT_BGEMM_COLUMNS : epilogue.stride;
    call->kernels->bgemm(product);
    for (int64_t i = 0; apart && i < epilogue.rows; i++)
        memcpy(epilogue.y + i * epilogue.stride, scratch + i * BERT_BGEMM_COLUMNS, (size_t)width * sizeof *scratch);
    call->kernels->epilogue(&epilogue);
    if (call->y_rows) write_x_of_next(call, &epilogue, row, column);
}

static void run_tile(const void *argument, const bert_panel_tile *at) {
    const bf16_run *run = argument;
    const int64_t from = at->slice * run->slice, depth = bert_smaller(run->slice, run->depth - from);
    const int64_t group = at->part * BERT_PANEL_GROUP + at->place, rows = sum_rows(run->call->rows);
    float *sums = run->slice < run->depth ? run->sums + (group * rows + at->block_row) * BERT_BGEMM_COLUMNS : NULL;
    bert_bgemm_args product = {.c = sums,
                               .a = run->x + at->row * run->stride + from,
                               .b = (const uint16_t *)run->call->weight->data +
                                    (at->panel * run->depth + from) * BERT_BGEMM_COLUMNS,
                               .ldc = BERT_BGEMM_COLUMNS,
                               .lda = run->stride,
                               .rows = at->rows,
                               .steps = depth / BERT_BGEMM_STEP,
                               .start = from > 0 ? sums : NULL,
                               .ld_start = BERT_BGEMM_COLUMNS,
                               .fetch = at->next};
    if (from + depth < run->depth)
        run->call->kernels->bgemm(&product);
    else
        finish_tile(run, &product, at->row, at->panel);
}

static void run(const bert_gemm_call *call) {
    if (call->rows == 0 || call->weight->n == 0) return;
    const int64_t threads = bert_thread_pool_threads(call->threads), depth = depth_of(call->weight);
    const int64_t step_bytes = BERT_BGEMM_COLUMNS * (int64_t)sizeof(uint16_t);
    bf16_run all = {.call = call,
                    .sums = call->workspace,
                    .x = call->x_rows,
                    .depth = depth,
                    .stride = x_stride(call->weight->k),
                    .slice = call->kernels->block_bytes > 0 ? bert_smaller(depth, SLICE) : depth,
                    .task_rows = 16384 / (depth + 1) + 1};
    const bool cut = all.slice < depth;
    if (!all.x) all.x = (uint16_t *)(void *)(all.sums + threads * sums_of(call->weight, call->rows));
    if (!call->x_made)
        bert_thread_pool_run(call->threads, (call->rows + all.task_rows - 1) / all.task_rows, round_rows, &all);
    bert_gemm_run_panels(
        &(bert_panel_product){.kernels = call->kernels,
                              .threads = call->threads,
                              .rows = call->rows,
                              .row_bytes = (all.slice > 0 ? all.slice : 1) * (int64_t)sizeof *all.x,
                              .block_bytes = cut ? BLOCK_BYTES / 4 : BLOCK_BYTES,
                              .weight = call->weight->data,
                              .panels = (call->weight->n + BERT_BGEMM_COLUMNS - 1) / BERT_BGEMM_COLUMNS,
                              .panel_bytes = depth * step_bytes,
                              .slice_bytes = cut ? all.slice * step_bytes : 0,
                              .run_tile = run_tile,
                              .argument = &all});
}

const bert_gemm_provider bert_gemm_bf16 = {
    .name = "bf16",
    .kernel = "linear/bf16",
    .packed_bytes = packed_bytes,
    .pack = pack,
    .x_row_bytes = x_row_bytes,
    .workspace_bytes = workspace_bytes,
    .one_order = true,
    .run = run,
};

/* ---- Weights alone ----------------------------------------------------------------------------------------------- */

static size_t weights_packed_bytes(const bert_cpu_kernels *kernels, int64_t k, int64_t n) {
    return panel_bytes(k, n, kernels->sgemm_columns, BERT_BGEMM_STEP);
}

static void pack_weights(const bert_cpu_kernels *kernels, bert_thread_pool *threads, void *packed, int64_t n,
                         int64_t first, const bert_constant *part, bool transposed) {
    pack_halves(kernels, threads, packed, first, part, transposed, kernels->sgemm_columns, BERT_BGEMM_STEP);
}

const bert_gemm_provider bert_gemm_bf16_weights = {
    .name = "bf16_weights",
    .kernel = "linear/bf16_weights",
    .packed_bytes = weights_packed_bytes,
    .pack = pack_weights,
    .one_order = true,
    .run = bert_gemm_own_run_bf16,
};
