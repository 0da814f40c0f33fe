/*
 * The provider of float32 by products of bfloat16: each number is split into three of them, and six products of parts
 * are added up in float32 for one of numbers. Faster than sgemm where the unit for bfloat16 is more than six times as
 * fast as that for float32, which AMX is. As exact as sgemm: what is left out is about 2^-24 of a term (kernels.h
 * says what becomes of numbers near the ends of the range), and 32 products are added up before they touch the sum.
 *
 * Weights are the own provider's panels of float32. A panel's rows are split into scratch while the panel before is
 * multiplied with a block of x, which was split before: no more of the weight is read than float32 has.
 * Depths of a panel are gone through one after the other for all panels, so that a block of x stays in the second-level
 * cache.
 *
 * Numbers that aren't finite don't split: rows for which a result isn't are multiplied again by sgemm.
 */
#include "cpu/gemm/gemm.h"

/* Rows of a panel that are split in one go, and rows of x: their parts are 885 KB of the second-level cache. */
enum { DEPTH = 768, BLOCK_ROWS = 192, COLUMNS = BERT_SPLIT_COLUMNS };
_Static_assert(DEPTH % BERT_SPLIT_STEPS == 0 && BLOCK_ROWS % BERT_SPLIT_ROWS == 0, "whole tiles");
_Static_assert(DEPTH % BERT_SGEMM_CHAIN == 0, "sgemm's chains aren't cut");

static size_t packed_bytes(const bert_cpu_kernels *kernels, int64_t k, int64_t n) {
    return bert_gemm_panel_bytes(COLUMNS, k, n);
}

static void pack(const bert_cpu_kernels *kernels, bert_thread_pool *threads, void *packed, int64_t n, int64_t first,
                 const bert_constant *part, bool transposed) {
    bert_gemm_pack_panels(kernels, threads, COLUMNS, packed, n, first, part, transposed);
}

/* ---- The workspace: for each thread scratch, then some rows of x, split ------------------------------------------ */

typedef struct thread_scratch {
    uint16_t pieces[2][DEPTH / BERT_SPLIT_STEPS * BERT_SPLIT_PANEL_TILE]; /* of a panel, split */
    float source[DEPTH * COLUMNS];                                        /* from an unpacked weight */
} thread_scratch;
_Static_assert(sizeof(thread_scratch) % BERT_ALIGNMENT == 0, "one after the other they stay aligned");

/* Rows of one round, at most. Whole blocks and a small rest are faster than even rounds of smaller blocks: 3 to 8 % at
 * 400 rows, no difference at 200 (Granite Rapids, bertc bench --sequence 200,400). */
static int64_t rows_together(int64_t threads) {
    return BLOCK_ROWS * threads;
}

static size_t workspace_bytes(const bert_packed_weight *weight, size_t rows, int threads) {
    const size_t most = (size_t)rows_together(threads), together = rows < most ? rows : most;
    size_t bytes, scratch;
    if (!bert_size_multiply((size_t)bert_split_tiles(weight->k) * sizeof(uint16_t),
                            (size_t)bert_split_rows_elements((int64_t)together), &bytes) ||
        !bert_size_multiply((size_t)threads, sizeof(thread_scratch), &scratch) ||
        !bert_size_add(bytes, scratch, &bytes))
        return SIZE_MAX;
    return bytes;
}

/* ---- The product ------------------------------------------------------------------------------------------------- */

/* Rows [row, row + rows) of the product. */
typedef struct split_run {
    const bert_gemm_call *call;
    thread_scratch *scratch; /* [parts] */
    uint16_t *x;             /* [groups of rows][tiles of k]... */
    int64_t group;           /* elements of x from one group of rows to the next */
    int64_t row, rows;
    int64_t block_rows, blocks, panels, parts;
} split_run;

/* What a thread does of it. */
typedef struct split_share {
    const split_run *run;
    thread_scratch *scratch;
} split_share;

/* Some rows of a panel, in float32 and split. */
typedef struct panel_piece {
    int64_t panel, depth;
    bert_split_panel_args split; /* its x: rows COLUMNS apart, k of them */
} panel_piece;

static panel_piece piece_of(const split_share *share, int64_t panel, int64_t depth, uint16_t *halves) {
    const bert_packed_weight *weight = share->run->call->weight;
    const int64_t steps = bert_smaller(weight->k - depth, DEPTH);
    const float *values = share->scratch->source;
    if (!weight->deferred) values = (const float *)weight->data + panel * weight->k * COLUMNS + depth * COLUMNS;
    return (panel_piece){.panel = panel,
                         .depth = depth,
                         .split = {.y = halves,
                                   .x = values,
                                   .ldx = COLUMNS,
                                   .columns = bert_gemm_panel_width(weight->n, COLUMNS, panel),
                                   .k = steps,
                                   .end = bert_split_tiles(steps) * BERT_SPLIT_PAIRS}};
}

/* The piece after this one of the panels [first, end); false: it was the last one. */
static bool next_piece(const split_share *share, const panel_piece *piece, int64_t first, int64_t end, uint16_t *halves,
                       panel_piece *next) {
    const bool same_depth = piece->panel + 1 < end;
    const int64_t depth = same_depth ? piece->depth : piece->depth + DEPTH;
    if (depth > piece->depth && depth >= share->run->call->weight->k) return false;
    *next = piece_of(share, same_depth ? piece->panel + 1 : first, depth, halves);
    return true;
}

/*
 * What is fetched of a piece while the one before it is multiplied, or split. Of more rows the products take longer
 * than memory. One tile of rows is multiplied so fast that fetching takes time itself, which only memory is worth: a
 * cache gives as much to what split_whole_pair asks for. Ratios are in docs/kernels.md.
 */
static bert_fetch fetch_of(const split_run *run, int64_t rows, const panel_piece *piece) {
    enum { MOST_ROWS = 96, CACHE_BYTES = 128 << 20 };
    const bert_gemm_call *call = run->call;
    const bool worth = rows > BERT_SPLIT_ROWS / 2 || call->model_bytes > (size_t)CACHE_BYTES;
    if (rows > MOST_ROWS || !worth || call->weight->deferred) return (bert_fetch){.lines = 0};
    return bert_fetch_of(call->kernels, piece->split.x,
                         piece->split.k * COLUMNS * (int64_t)sizeof(float) / BERT_FETCH_LINE);
}

static void multiply_left_out(const split_run *run, const panel_piece *piece, const bert_epilogue_args *epilogue,
                              int64_t row, const uint8_t *left_out) {
    const bert_gemm_call *call = run->call;
    const int64_t k = call->weight->k;
    for (int64_t i = 0, count; i < epilogue->rows; i += count) {
        count = 1;
        if (!left_out[i]) continue;
        while (i + count < epilogue->rows && left_out[i + count]) count++;
        call->kernels->sgemm(&(bert_sgemm_args){.c = epilogue->y + i * epilogue->stride,
                                                .a = call->x + (row + i) * k + piece->depth,
                                                .b = piece->split.x,
                                                .ldc = epilogue->stride,
                                                .lda = k,
                                                .ldb = COLUMNS,
                                                .m = count,
                                                .n = epilogue->n,
                                                .k = piece->split.k,
                                                .accumulate = piece->depth > 0});
    }
}

/* A piece for one block of rows, what is ahead meanwhile, and the epilogue after the last piece of its panel.
 * `coming`: a piece that comes after what is split; or NULL. */
static void multiply_piece(const split_run *run, int64_t block, const panel_piece *piece,
                           const bert_split_panel_args *ahead, const panel_piece *coming) {
    const bert_gemm_call *call = run->call;
    const int64_t first = block * run->block_rows, rows = bert_smaller(run->rows - first, run->block_rows);
    const int64_t row = run->row + first;
    uint8_t left_out[BLOCK_ROWS];
    const bert_epilogue_args epilogue =
        bert_gemm_epilogue_at(&call->epilogue, row, rows, piece->panel * COLUMNS, piece->split.columns);
    call->kernels->sgemm_split(&(bert_sgemm_split_args){
        .c = epilogue.y,
        .a = run->x + first / BERT_SPLIT_ROWS * run->group + piece->depth / BERT_SPLIT_STEPS * BERT_SPLIT_GROUP_TILE,
        .b = piece->split.y,
        .left_out = left_out,
        .ldc = epilogue.stride,
        .a_stride = run->group,
        .rows = rows,
        .columns = epilogue.n,
        .tiles = bert_split_tiles(piece->split.k),
        .accumulate = piece->depth > 0,
        .as_it_goes = piece->split.ring ? &piece->split : NULL,
        .ahead = ahead,
        .fetch = coming ? fetch_of(run, rows, coming) : (bert_fetch){.lines = 0},
        .split_panel = call->kernels->split_panel});
    multiply_left_out(run, piece, &epilogue, row, left_out);
    if (piece->depth + piece->split.k == call->weight->k) call->kernels->epilogue(&epilogue);
}

/* The panels [first, end) for one block of rows; the next piece is split while one is multiplied. Of a weight that
 * isn't packed there is one piece at a time, so that nothing is ahead. */
static void run_many(const split_share *share, int64_t block, int64_t first, int64_t end) {
    const bert_gemm_call *call = share->run->call;
    panel_piece piece = piece_of(share, first, 0, share->scratch->pieces[0]), next = piece, after;
    bool split = false, more = true;
    for (int64_t i = 1; more; i++) {
        more = next_piece(share, &piece, first, end, share->scratch->pieces[i % 2], &next);
        if (call->weight->deferred)
            bert_gemm_pack_source(call, COLUMNS, piece.panel, piece.depth, piece.split.k, share->scratch->source);
        if (!split) call->kernels->split_panel(&piece.split);
        split = more && !call->weight->deferred;
        const bool fetch = split && next_piece(share, &next, first, end, NULL, &after);
        multiply_piece(share->run, block, &piece, split ? &next.split : NULL, fetch ? &after : NULL);
        piece = next;
    }
}

/* Whether the last tile of a piece in a ring isn't where the first one of the next begins. */
static bool leaves_first_place(const panel_piece *piece, const panel_piece *next) {
    const int64_t tiles = bert_split_tiles(piece->split.k);
    return tiles > 0 && (tiles - 1) % BERT_SPLIT_RING != 0 && next->split.columns <= piece->split.columns;
}

/* The same where rows are few: a panel is split as it is multiplied, in a ring that stays in the first-level cache, and
 * while its last tile is, the first one of the next piece, where that has another place. */
static void run_few(const split_share *share, int64_t block, int64_t first, int64_t end) {
    const bert_gemm_call *call = share->run->call;
    uint16_t *ring = share->scratch->pieces[0];
    panel_piece piece = piece_of(share, first, 0, ring), next = piece;
    for (bool more = true; more; piece = next) {
        more = next_piece(share, &piece, first, end, ring, &next);
        if (call->weight->deferred)
            bert_gemm_pack_source(call, COLUMNS, piece.panel, piece.depth, piece.split.k, share->scratch->source);
        piece.split.ring = next.split.ring = true;
        const bool begins = more && !call->weight->deferred && leaves_first_place(&piece, &next);
        bert_split_panel_args tile = next.split;
        tile.end = BERT_SPLIT_PAIRS;
        multiply_piece(share->run, block, &piece, begins ? &tile : NULL, more ? &next : NULL);
        if (begins) next.split.first = tile.end;
    }
}

static void run_block(const void *argument, int64_t block, int64_t first, int64_t end) {
    const split_share *share = argument;
    const split_run *run = share->run;
    const bool few = bert_smaller(run->rows - block * run->block_rows, run->block_rows) <= BERT_SPLIT_ROWS;
    (few ? run_few : run_many)(share, block, first, end);
}

static void run_part(void *argument, int64_t part, int thread) {
    const split_run *run = argument;
    bert_cpu_enter(run->call->kernels);
    bert_gemm_walk(run->blocks, run->panels, part, run->parts, run_block,
                   &(split_share){.run = run, .scratch = run->scratch + part});
    bert_cpu_exit(run->call->kernels);
}

static void split_group(void *argument, int64_t task, int thread) {
    const split_run *run = argument;
    const int64_t k = run->call->weight->k, first = task * BERT_SPLIT_ROWS;
    run->call->kernels->split_rows(&(bert_split_rows_args){.y = run->x + task * run->group,
                                                           .x = run->call->x + (run->row + first) * k,
                                                           .ldx = k,
                                                           .rows = bert_smaller(run->rows - first, BERT_SPLIT_ROWS),
                                                           .k = k});
}

static void run(const bert_gemm_call *call) {
    const bert_packed_weight *weight = call->weight;
    const int64_t threads = bert_thread_pool_threads(call->threads);
    if (weight->n == 0 || call->rows == 0) return;
    const int64_t together = rows_together(threads);
    split_run all = {.call = call,
                     .scratch = call->workspace,
                     .x = (uint16_t *)(void *)((thread_scratch *)call->workspace + threads),
                     .group = bert_split_tiles(weight->k) * BERT_SPLIT_GROUP_TILE,
                     .panels = (weight->n + COLUMNS - 1) / COLUMNS};
    for (; all.row < call->rows; all.row += together) {
        all.rows = bert_smaller(call->rows - all.row, together);
        all.block_rows = bert_gemm_block_rows(all.rows, BLOCK_ROWS, BERT_SPLIT_ROWS);
        all.blocks = (all.rows + all.block_rows - 1) / all.block_rows;
        all.parts = bert_smaller(threads, all.blocks * all.panels);
        bert_thread_pool_run(call->threads, (all.rows + BERT_SPLIT_ROWS - 1) / BERT_SPLIT_ROWS, split_group, &all);
        bert_thread_pool_run(call->threads, all.parts, run_part, &all);
    }
}

const bert_gemm_provider bert_gemm_split = {
    .name = "split",
    .kernel = "linear/split",
    .packed_bytes = packed_bytes,
    .pack = pack,
    .workspace_bytes = workspace_bytes,
    .one_order = true,
    .takes_source = true,
    .run = run,
};
