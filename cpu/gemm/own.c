/*
 * The own provider: W is cut into panels of as many columns as the sgemm kernel's tile, each [k, columns] in one piece,
 * the last one filled up with zeros.
 *
 * One tile of work is a block of rows times a panel. A thread takes a contiguous range of tiles, block by block, so
 * that a block of x stays in its second-level cache while panels stream by; each panel is cut along k into pieces that
 * stay in cache while the block's rows pass. While one piece is used the next one is fetched.
 *
 * A weight that is used once alone isn't worth its packed form, whose fresh memory takes longer than the product: then
 * each piece is packed into the stack, multiplied, and forgotten.
 */
#include "cpu/gemm/gemm.h"

#include "core/base/memory.h"

#include <string.h>

/* Rows of a panel that are used in one go, and bytes of x that a block may take. The first level holds neither: the
 * second level must hold a block of x, a piece of a panel, and the next one. */
enum { DEPTH = 768, BLOCK_BYTES = 448 * 1024 };
/* The same of a piece on the stack, which takes 96 KB at most with what is transposed. */
enum { SOURCE_DEPTH = 256 };
_Static_assert(DEPTH % BERT_SGEMM_CHAIN == 0 && SOURCE_DEPTH % BERT_SGEMM_CHAIN == 0,
               "a piece is whole chains, so that cutting changes no bits");

size_t bert_gemm_panel_bytes(int64_t columns, int64_t k, int64_t n) {
    size_t count, bytes;
    if (!bert_size_multiply((size_t)((n + columns - 1) / columns * columns), (size_t)k, &count) ||
        !bert_size_multiply(count, sizeof(float), &bytes))
        return 0;
    return bytes;
}

static size_t packed_bytes(const bert_cpu_kernels *kernels, int64_t k, int64_t n) {
    return bert_gemm_panel_bytes(kernels->sgemm_columns, k, n);
}

/* A part on its way into panels. */
typedef struct packing {
    const bert_cpu_kernels *kernels;
    float *packed; /* [panels][k, columns] */
    const unsigned char *bytes;
    int64_t columns, k;
    int64_t first, width; /* the columns that the part becomes */
    int64_t n;            /* of all parts */
    bool transposed;
} packing;

/* Rows of a weight, along k. */
typedef struct row_range {
    int64_t first, count;
} row_range;

/* `width` columns of the part [k, n_part] from `start` on. Its rows are copied: they may start at any address. */
static void pack_rows(const packing *p, row_range rows, float *out, int64_t start, int64_t width) {
    for (int64_t i = 0; i < rows.count; i++)
        memcpy(out + i * p->columns, p->bytes + ((rows.first + i) * p->width + start) * (int64_t)sizeof(float),
               (size_t)width * sizeof *out);
}

/* The same from [n_part, k]: a few rows are brought to an aligned place, then transposed into the panel. */
static void pack_columns(const packing *p, row_range rows, float *out, int64_t start, int64_t width) {
    enum { STEPS = 128 };
    _Alignas(BERT_ALIGNMENT) float part[BERT_GEMM_MAX_COLUMNS * STEPS];
    for (int64_t depth = 0; depth < rows.count; depth += STEPS) {
        const int64_t steps = bert_smaller(rows.count - depth, STEPS);
        for (int64_t i = 0; i < width; i++)
            memcpy(part + i * STEPS, p->bytes + ((start + i) * p->k + rows.first + depth) * (int64_t)sizeof(float),
                   (size_t)steps * sizeof *part);
        p->kernels->transpose(&(bert_transpose_args){.y = out + depth * p->columns,
                                                     .x = part,
                                                     .ldy = p->columns,
                                                     .ldx = STEPS,
                                                     .rows = width,
                                                     .columns = steps});
    }
}

/* What the part has of these rows of a panel, [rows, columns] at `out`. */
static void pack_piece(const packing *p, row_range rows, int64_t panel, float *out) {
    const int64_t begin = panel * p->columns;
    const int64_t from = p->first > begin ? p->first : begin;
    const int64_t to = bert_smaller(p->first + p->width, begin + p->columns);
    if (from >= to) return;
    if (p->transposed)
        pack_columns(p, rows, out + from - begin, from - p->first, to - from);
    else
        pack_rows(p, rows, out + from - begin, from - p->first, to - from);
}

/* What of the part falls into one panel, and zeros where the last panel holds nothing. */
static void pack_panel(void *argument, int64_t task, int thread) {
    const packing *p = argument;
    const int64_t panel = p->first / p->columns + task, begin = panel * p->columns;
    const int64_t to = bert_smaller(p->first + p->width, begin + p->columns);
    float *out = p->packed + begin * p->k;
    pack_piece(p, (row_range){0, p->k}, panel, out);
    if (to < p->n || to == begin + p->columns) return;
    for (int64_t row = 0; row < p->k; row++)
        memset(out + row * p->columns + to - begin, 0, (size_t)(begin + p->columns - to) * sizeof *out);
}

void bert_gemm_pack_panels(const bert_cpu_kernels *kernels, bert_thread_pool *threads, int64_t columns, void *packed,
                           int64_t n, int64_t first, const bert_constant *part, bool transposed) {
    packing all = {.kernels = kernels,
                   .packed = packed,
                   .bytes = part->data,
                   .columns = columns,
                   .first = first,
                   .n = n,
                   .transposed = transposed};
    bert_gemm_part_shape(part, transposed, &all.k, &all.width);
    if (all.width == 0 || all.k == 0) return;
    const int64_t last = (first + all.width - 1) / all.columns;
    bert_thread_pool_run(threads, last - first / all.columns + 1, pack_panel, &all);
}

void bert_gemm_pack_source(const bert_gemm_call *call, int64_t columns, int64_t panel, int64_t first, int64_t rows,
                           float *out) {
    const bert_weight_source *source = &call->weight->deferred->source;
    packing p = {.kernels = call->kernels, .columns = columns, .transposed = source->transposed};
    for (int32_t part = 0; part < source->count; part++, p.first += p.width) {
        bert_gemm_part_shape(source->parts[part], p.transposed, &p.k, &p.width);
        p.bytes = source->parts[part]->data;
        pack_piece(&p, (row_range){first, rows}, panel, out);
    }
}

static void pack(const bert_cpu_kernels *kernels, bert_thread_pool *threads, void *packed, int64_t n, int64_t first,
                 const bert_constant *part, bool transposed) {
    bert_gemm_pack_panels(kernels, threads, kernels->sgemm_columns, packed, n, first, part, transposed);
}

typedef struct own_run {
    const bert_gemm_call *call;
    int64_t block_rows, blocks, panels, parts;
    bool bf16; /* weights of bfloat16, two rows of a panel side by side */
} own_run;

/* Bytes of `rows` rows of a panel. */
static int64_t piece_bytes(const own_run *run, int64_t rows) {
    const int64_t columns = run->call->kernels->sgemm_columns;
    if (!run->bf16) return rows * columns * (int64_t)sizeof(float);
    return (rows + BERT_BGEMM_STEP - 1) / BERT_BGEMM_STEP * BERT_BGEMM_STEP * columns * (int64_t)sizeof(uint16_t);
}

/* The piece of a panel that begins at row `depth`. */
static const void *piece_at(const own_run *run, int64_t panel, int64_t depth) {
    return (const char *)run->call->weight->data + panel * piece_bytes(run, run->call->weight->k) +
           piece_bytes(run, depth);
}

/* The piece `b` of `steps` rows for one block of rows, and the epilogue after the last piece. */
static void multiply_piece(const own_run *run, int64_t row, int64_t rows, int64_t panel, int64_t depth, int64_t steps,
                           const void *b, const void *next) {
    const bert_gemm_call *call = run->call;
    const int64_t columns = call->kernels->sgemm_columns, k = call->weight->k;
    const bert_epilogue_args epilogue = bert_gemm_epilogue_at(&call->epilogue, row, rows, panel * columns,
                                                              bert_gemm_panel_width(call->weight->n, columns, panel));
    bert_sgemm_args product = {
        .c = epilogue.y,
        .a = call->x + row * k + depth,
        .ldc = epilogue.stride,
        .lda = k,
        .ldb = columns,
        .m = rows,
        .n = epilogue.n,
        .k = steps,
        .accumulate = depth > 0,
        .fetch = bert_fetch_of(call->kernels, next, next ? piece_bytes(run, steps) / BERT_FETCH_LINE : 0)};
    if (run->bf16) {
        call->kernels->sgemm_bf16(&(bert_sgemm_bf16_args){.product = product, .b = b});
    } else {
        product.b = b;
        call->kernels->sgemm(&product);
    }
    if (depth + steps == k) call->kernels->epilogue(&epilogue);
}

/* The panels [first, end) for one block of rows. */
static void run_block(const void *argument, int64_t block, int64_t first, int64_t end) {
    const own_run *run = argument;
    const int64_t k = run->call->weight->k, row = block * run->block_rows;
    const int64_t rows = bert_smaller(run->call->rows - row, run->block_rows);
    int64_t depth = 0;
    do { /* once even where k is 0: the epilogue of zeros */
        const int64_t steps = bert_smaller(k - depth, DEPTH);
        for (int64_t panel = first; panel < end; panel++) {
            const void *next = NULL;
            if (panel + 1 < end)
                next = piece_at(run, panel + 1, depth);
            else if (depth + DEPTH < k)
                next = piece_at(run, first, depth + DEPTH);
            multiply_piece(run, row, rows, panel, depth, steps, piece_at(run, panel, depth), next);
        }
        depth += DEPTH;
    } while (depth < k);
}

/* The same as run_block from a weight that isn't packed. */
static void run_block_of_source(const void *argument, int64_t block, int64_t first, int64_t end) {
    _Alignas(BERT_ALIGNMENT) float piece[SOURCE_DEPTH * BERT_GEMM_MAX_COLUMNS];
    const own_run *run = argument;
    const int64_t k = run->call->weight->k, row = block * run->block_rows;
    const int64_t rows = bert_smaller(run->call->rows - row, run->block_rows);
    for (int64_t panel = first; panel < end; panel++) {
        int64_t depth = 0;
        do { /* once even where k is 0: the epilogue of zeros */
            const int64_t steps = bert_smaller(k - depth, SOURCE_DEPTH);
            bert_gemm_pack_source(run->call, run->call->kernels->sgemm_columns, panel, depth, steps, piece);
            multiply_piece(run, row, rows, panel, depth, steps, piece, NULL);
            depth += SOURCE_DEPTH;
        } while (depth < k);
    }
}

static void run_part(void *argument, int64_t part, int thread) {
    const own_run *run = argument;
    bert_gemm_walk(run->blocks, run->panels, part, run->parts,
                   run->call->weight->deferred ? run_block_of_source : run_block, run);
}

static void run_all(const bert_gemm_call *call, bool bf16) {
    const int64_t columns = call->kernels->sgemm_columns, tile_rows = call->kernels->sgemm_rows;
    const int64_t k = call->weight->k > 0 ? call->weight->k : 1;
    if (call->rows == 0 || call->weight->n == 0) return;
    const int64_t most = BLOCK_BYTES / (bert_smaller(k, DEPTH) * (int64_t)sizeof(float));
    const int64_t rows = bert_gemm_block_rows(call->rows, most, tile_rows);
    own_run all = {.call = call,
                   .block_rows = rows,
                   .blocks = (call->rows + rows - 1) / rows,
                   .panels = (call->weight->n + columns - 1) / columns,
                   .bf16 = bf16};
    all.parts = bert_smaller(bert_thread_pool_threads(call->threads), all.blocks * all.panels);
    bert_thread_pool_run(call->threads, all.parts, run_part, &all);
}

static void run(const bert_gemm_call *call) {
    run_all(call, false);
}

void bert_gemm_own_run_bf16(const bert_gemm_call *call) {
    run_all(call, true);
}

const bert_gemm_provider bert_gemm_own = {
    .name = "own",
    .kernel = "linear/own",
    .packed_bytes = packed_bytes,
    .pack = pack,
    .one_order = true,
    .takes_source = true,
    .run = run,
};
