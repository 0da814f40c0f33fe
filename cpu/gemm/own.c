/*
 * The own provider: W is cut into panels of as many columns as the sgemm kernel's tile, each [k, columns] in one piece,
 * the last one filled up with zeros.
 *
 * One tile of work is a block of rows times a panel. A thread takes a contiguous range of tiles, block by block, so
 * that a block of x stays in its second-level cache while panels stream by; each panel is cut along k into pieces that
 * stay in cache while the block's rows pass. While one piece is used the next one is fetched.
 */
#include "cpu/gemm/gemm.h"

#include "core/base/memory.h"

#include <string.h>

/* Rows of a panel that are used in one go, and bytes of x that a block may take. The first level holds neither: the
 * second level must hold a block of x, a piece of a panel, and the next one. */
enum { DEPTH = 768, BLOCK_BYTES = 448 * 1024, LARGEST_COLUMNS = 64, LINE_FLOATS = 16 };
_Static_assert(DEPTH % BERT_SGEMM_CHAIN == 0, "a piece is whole chains, so that cutting changes no bits");

static bool in_place(const bert_weight_source *source) {
    return false;
}

static size_t packed_count(const bert_cpu_kernels *kernels, int64_t k, int64_t n) {
    const int64_t columns = kernels->sgemm_columns;
    size_t count;
    if (!bert_size_multiply((size_t)((n + columns - 1) / columns * columns), (size_t)k, &count)) return 0;
    return count;
}

/* Columns of the panel that hold something. */
static int64_t panel_width(int64_t n, int64_t columns, int64_t panel) {
    const int64_t left = n - panel * columns;
    return left < columns ? left : columns;
}

/* Rows of the file are copied into panels piece by piece: they may start at any address. */
static void pack_rows(float *packed, int64_t columns, int64_t first, const bert_constant *part, int64_t k, int64_t n) {
    const unsigned char *bytes = part->data;
    for (int64_t start = 0; start < n;) {
        const int64_t panel = (first + start) / columns, place = (first + start) % columns;
        const int64_t width = n - start < columns - place ? n - start : columns - place;
        float *out = packed + panel * columns * k + place;
        for (int64_t row = 0; row < k; row++)
            memcpy(out + row * columns, bytes + (row * n + start) * (int64_t)sizeof(float),
                   (size_t)width * sizeof *out);
        start += width;
    }
}

/* The same from [n, k]: a few rows are brought to an aligned place, then transposed into the panel. */
static void pack_columns(const bert_cpu_kernels *kernels, float *packed, int64_t columns, int64_t first,
                         const bert_constant *part, int64_t k, int64_t n) {
    enum { STEPS = 128 };
    _Alignas(BERT_ALIGNMENT) float rows[LARGEST_COLUMNS * STEPS];
    const unsigned char *bytes = part->data;
    for (int64_t start = 0; start < n;) {
        const int64_t panel = (first + start) / columns, place = (first + start) % columns;
        const int64_t width = n - start < columns - place ? n - start : columns - place;
        for (int64_t p = 0; p < k; p += STEPS) {
            const int64_t steps = k - p < STEPS ? k - p : STEPS;
            for (int64_t i = 0; i < width; i++)
                memcpy(rows + i * STEPS, bytes + ((start + i) * k + p) * (int64_t)sizeof(float),
                       (size_t)steps * sizeof *rows);
            kernels->transpose(&(bert_transpose_args){.y = packed + (panel * k + p) * columns + place,
                                                      .x = rows,
                                                      .ldy = columns,
                                                      .ldx = STEPS,
                                                      .rows = width,
                                                      .columns = steps});
        }
        start += width;
    }
}

static void pack(const bert_cpu_kernels *kernels, float *packed, int64_t n, int64_t first, const bert_constant *part,
                 bool transposed) {
    const int64_t columns = kernels->sgemm_columns;
    int64_t k, width;
    bert_gemm_part_shape(part, transposed, &k, &width);
    if (transposed)
        pack_columns(kernels, packed, columns, first, part, k, width);
    else
        pack_rows(packed, columns, first, part, k, width);
    if (first + width < n || n % columns == 0) return;
    /* The last part: zeros where the last panel holds nothing. */
    float *last = packed + n / columns * columns * k;
    for (int64_t row = 0; row < k; row++)
        memset(last + row * columns + n % columns, 0, (size_t)(columns - n % columns) * sizeof *last);
}

typedef struct own_run {
    const bert_gemm_call *call;
    int64_t block_rows, blocks, panels, parts;
} own_run;

/* One piece of one panel for one block of rows, and the epilogue after the last piece. */
static void run_piece(const own_run *run, int64_t row, int64_t rows, int64_t panel, int64_t depth, const float *next) {
    const bert_gemm_call *call = run->call;
    const bert_packed_weight *weight = call->weight;
    const int64_t columns = call->kernels->sgemm_columns, k = weight->k;
    const int64_t steps = k - depth < DEPTH ? k - depth : DEPTH;
    const int64_t width = panel_width(weight->n, columns, panel);
    bert_epilogue_args epilogue = call->epilogue;
    epilogue.y += row * epilogue.stride + panel * columns;
    call->kernels->sgemm(&(bert_sgemm_args){.c = epilogue.y,
                                            .a = call->x + row * k + depth,
                                            .b = weight->data + (panel * k + depth) * columns,
                                            .ldc = epilogue.stride,
                                            .lda = k,
                                            .ldb = columns,
                                            .m = rows,
                                            .n = width,
                                            .k = steps,
                                            .accumulate = depth > 0,
                                            .prefetch = next,
                                            .prefetch_lines = next ? steps * columns / LINE_FLOATS : 0});
    if (depth + steps < k) return;
    if (epilogue.bias) epilogue.bias += panel * columns;
    if (epilogue.residual) epilogue.residual += row * epilogue.residual_stride + panel * columns;
    epilogue.rows = rows;
    epilogue.n = width;
    call->kernels->epilogue(&epilogue);
}

/* The panels [first, end) for one block of rows. */
static void run_block(const own_run *run, int64_t block, int64_t first, int64_t end) {
    const bert_packed_weight *weight = run->call->weight;
    const int64_t columns = run->call->kernels->sgemm_columns, k = weight->k;
    const int64_t row = block * run->block_rows;
    const int64_t left = run->call->rows - row, rows = left < run->block_rows ? left : run->block_rows;
    int64_t depth = 0;
    do { /* once even where k is 0: the epilogue of zeros */
        for (int64_t panel = first; panel < end; panel++) {
            const float *next = NULL;
            if (panel + 1 < end)
                next = weight->data + ((panel + 1) * k + depth) * columns;
            else if (depth + DEPTH < k)
                next = weight->data + (first * k + depth + DEPTH) * columns;
            run_piece(run, row, rows, panel, depth, next);
        }
        depth += DEPTH;
    } while (depth < k);
}

static void run_part(void *argument, int64_t part, int thread) {
    const own_run *run = argument;
    const int64_t tiles = run->blocks * run->panels;
    int64_t tile = tiles * part / run->parts;
    const int64_t end = tiles * (part + 1) / run->parts;
    while (tile < end) {
        const int64_t block = tile / run->panels, first = tile % run->panels;
        const int64_t left = end - tile, count = left < run->panels - first ? left : run->panels - first;
        run_block(run, block, first, first + count);
        tile += count;
    }
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void run(const bert_gemm_call *call) {
    const int64_t columns = call->kernels->sgemm_columns, tile_rows = call->kernels->sgemm_rows;
    const int64_t k = call->weight->k > 0 ? call->weight->k : 1;
    if (call->rows == 0 || call->weight->n == 0) return;
    int64_t rows = BLOCK_BYTES / (smaller(k, DEPTH) * (int64_t)sizeof(float)) / tile_rows * tile_rows;
    if (rows < tile_rows) rows = tile_rows;
    /* Blocks of about the same size: the last one is not much smaller than the others. */
    const int64_t blocks = (call->rows + rows - 1) / rows;
    rows = ((call->rows + blocks - 1) / blocks + tile_rows - 1) / tile_rows * tile_rows;
    own_run all = {.call = call,
                   .block_rows = rows,
                   .blocks = (call->rows + rows - 1) / rows,
                   .panels = (call->weight->n + columns - 1) / columns};
    all.parts = smaller(bert_thread_pool_threads(call->threads), all.blocks * all.panels);
    bert_thread_pool_run(call->threads, all.parts, run_part, &all);
}

const bert_gemm_provider bert_gemm_own = {
    .name = "own",
    .kernel = "linear/own",
    .in_place = in_place,
    .packed_count = packed_count,
    .pack = pack,
    .run = run,
};
