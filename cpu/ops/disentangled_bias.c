/*
 * DisentangledBias. What a term gives to an element of y is the product of a row of content, a query or a key, with the
 * position that the element's index names. Neighbours name neighbours: a block of rows and a tile's columns need a
 * window of positions not much wider than both are, and far narrower than all. So the block is multiplied with its
 * window, and elements take their products from there. Indices without any order make windows of all positions, which
 * is slower and nothing else.
 *
 * First indices are checked and windows found, then the positions that are named at all are transposed, for each head.
 * Then tiles of y are made: the keys' term first, whose rows are columns of y, then the queries'.
 *
 * Blocks and tiles depend on shapes alone, and windows on these and the indices, so that neither threads nor other
 * sequences of a batch change a bit.
 */
#include "cpu/ops/ops.h"

#include "core/graph/canonical.h"

#include <inttypes.h>
#include <string.h>

enum { LINE = BERT_ALIGNMENT / sizeof(float) };
/* Rows of a block. Each one more makes its window wider, by a position that the other rows have no use for. */
enum { BLOCK_ROWS = 16 };
/* Rows and columns of a tile, at most. In smaller ones windows are wide for what is taken from them; larger ones, and
 * their indices, would leave the second-level cache. */
enum { TILE = 256, TILE_STRIDE = TILE + LINE };
/* Positions of one product, 34 KB for a block: wider windows are cut. */
enum { PIECE = 512, PRODUCT_STRIDE = PIECE + LINE };
/* Positions at most: added to an index of 32 bits they don't overflow. */
enum { MOST_POSITIONS = 1 << 30 };
/* Up to as many indices no thread is woken. */
enum { FEW_INDICES = 4096 };

/* The input whose rows are a term's, and the one of its positions, before that of its indices. */
enum { KEYS_TERM, QUERIES_TERM, TERMS };
static const int32_t content_inputs[TERMS] = {BERT_DISENTANGLED_K, BERT_DISENTANGLED_Q};
static const int32_t position_inputs[TERMS] = {BERT_DISENTANGLED_QUERIES, BERT_DISENTANGLED_KEYS};

typedef struct bias_state {
    int64_t heads;
    float scale;
    bool has[TERMS];
} bias_state;

/* Positions [first, end); with this end, some index is outside. */
enum { OUTSIDE = -1 };
typedef struct window {
    int32_t first, end;
} window;

/* One of the two terms. Rows are queries and columns keys, or the other way round. */
typedef struct term {
    bool of_keys;
    const bert_tensor *indices; /* [rows, columns] */
    const float *content;       /* [B, rows, H D] */
    const float *positions;     /* [count, H D] */
    int64_t rows, columns, count;
    int64_t blocks, tile_columns, tiles; /* of rows; of columns, and how many there are */
    int32_t *places;                     /* the indices, counted from the front */
    window *windows;                     /* [blocks, tiles]: of a block in a tile */
    window named;                        /* by any index */
    float *transposed;                   /* [H, D, stride]: positions of `named` */
    int64_t stride;
} term;

/* What a thread works in. */
typedef struct scratch {
    float products[BLOCK_ROWS * PRODUCT_STRIDE]; /* of a block with positions */
    float block[BLOCK_ROWS * TILE_STRIDE];       /* [keys, queries] */
    float tile[TILE * TILE_STRIDE];              /* [queries, keys]: the keys' term */
} scratch;

typedef struct bias_run {
    const bert_kernel_call *call;
    const bert_cpu_kernels *kernels;
    term terms[TERMS]; /* those that there are, in order */
    int32_t count;
    int64_t batches, heads, queries, keys, width; /* width: of a head */
    int64_t tile_queries, tile_keys, key_tiles;
    float scale;
    scratch *scratches;
} bias_run;

static int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* ---- Indices ----------------------------------------------------------------------------------------------------- */

/*
 * Places of `n` indices, which widen the window; false where one is outside. Then there are less than no positions up
 * to it, or behind it: either number has its top bit set. No branch depends on an index, so that vectors do this.
 */
#define PLACE(type)                                                                                                    \
    static bool place_##type(const type##_t *indices, int64_t n, int64_t count, int32_t *places, window *w) {          \
        const u##type##_t all = (u##type##_t)count;                                                                    \
        const int32_t add = (int32_t)count;                                                                            \
        int32_t least = w->first, most = w->end - 1;                                                                   \
        u##type##_t outside = 0;                                                                                       \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            const u##type##_t index = (u##type##_t)indices[i];                                                         \
            const int32_t low = (int32_t)index, place = low + (low < 0 ? add : 0);                                     \
            outside |= (index + all) | (all - 1 - index);                                                              \
            places[i] = place;                                                                                         \
            least = place < least ? place : least;                                                                     \
            most = place > most ? place : most;                                                                        \
        }                                                                                                              \
        if (outside >> (8 * sizeof outside - 1)) return false;                                                         \
        *w = (window){least, most + 1};                                                                                \
        return true;                                                                                                   \
    }
PLACE(int32)
PLACE(int64)
#undef PLACE

/* Rows [begin, end) of some columns. Products like whole vectors: the window is as wide, if there are positions. */
static window place_rows(const term *t, int64_t begin, int64_t end, int64_t column, int64_t columns) {
    window w = {INT32_MAX, 0};
    bool inside = true;
    for (int64_t row = begin; row < end && inside; row++) {
        const int64_t first = row * t->columns + column;
        if (t->indices->dtype == BERT_INT32)
            inside = place_int32((const int32_t *)t->indices->data + first, columns, t->count, t->places + first, &w);
        else
            inside = place_int64((const int64_t *)t->indices->data + first, columns, t->count, t->places + first, &w);
    }
    if (!inside) return (window){0, OUTSIDE};
    const int64_t width = divide_up(w.end - w.first, LINE) * LINE;
    w.end = (int32_t)bert_smaller(w.first + width, t->count);
    w.first = w.end > width ? w.end - (int32_t)width : 0;
    return w;
}

/* The windows of a block of rows. */
static void find_windows(void *argument, int64_t task, int thread) {
    const bias_run *run = argument;
    const term *t = &run->terms[0];
    if (task >= t->blocks) {
        task -= t->blocks;
        t++;
    }
    const int64_t begin = task * BLOCK_ROWS, end = bert_smaller(begin + BLOCK_ROWS, t->rows);
    for (int64_t tile = 0; tile < t->tiles; tile++) {
        const int64_t column = tile * t->tile_columns, columns = bert_smaller(t->tile_columns, t->columns - column);
        t->windows[task * t->tiles + tile] = place_rows(t, begin, end, column, columns);
    }
}

/* The first index that is outside, of which there is one. */
static bert_status name_wrong(const term *t, bert_error *error) {
    int64_t at = 0, index;
    for (;; at++) {
        index = bert_cpu_index(t->indices, at);
        if (index < -t->count || index >= t->count) break;
    }
    return bert_fail(error, BERT_INVALID_INPUT,
                     "index %" PRId64 ", element %" PRId64 " of input %d, is outside the %" PRId64 " positions", index,
                     at, t->of_keys ? BERT_DISENTANGLED_P2C : BERT_DISENTANGLED_C2P, t->count);
}

/* From one row of transposed positions to the next: an odd number of cache lines, so that a column of them lies in all
 * of the first-level cache's sets. */
static int64_t row_floats(int64_t positions) {
    return bert_gemm_row_bytes(positions * (int64_t)sizeof(float)) / (int64_t)sizeof(float);
}

/* What all windows of a term cover. */
static bert_status join_windows(term *t, bert_error *error) {
    t->named = t->windows[0];
    for (int64_t i = 0; i < t->blocks * t->tiles; i++) {
        const window *w = &t->windows[i];
        if (w->end == OUTSIDE) return name_wrong(t, error);
        if (w->first < t->named.first) t->named.first = w->first;
        if (w->end > t->named.end) t->named.end = w->end;
    }
    t->stride = row_floats(t->named.end - t->named.first);
    return BERT_OK;
}

static bert_status place_all(bias_run *run, bert_thread_pool *threads, bert_error *error) {
    int64_t tasks = 0;
    for (int32_t i = 0; i < run->count; i++) tasks += run->terms[i].blocks;
    if (run->queries * run->keys <= FEW_INDICES) threads = NULL;
    bert_thread_pool_run(threads, tasks, find_windows, run);
    for (int32_t i = 0; i < run->count; i++) BERT_TRY(join_windows(&run->terms[i], error));
    return BERT_OK;
}

static void transpose_head(void *argument, int64_t task, int thread) {
    const bias_run *run = argument;
    const term *t = &run->terms[task / run->heads];
    const int64_t head = task % run->heads, hidden = run->heads * run->width;
    run->kernels->transpose(&(bert_transpose_args){.y = t->transposed + head * run->width * t->stride,
                                                   .x = t->positions + t->named.first * hidden + head * run->width,
                                                   .ldy = t->stride,
                                                   .ldx = hidden,
                                                   .rows = t->named.end - t->named.first,
                                                   .columns = run->width});
}

/* ---- Tiles of y -------------------------------------------------------------------------------------------------- */

/* A rectangle of a term's indices, for one head of a sequence. */
typedef struct part {
    const term *of;
    int64_t batch, head, row, rows, column, columns;
} part;

/* Rows of a matrix, `stride` elements apart. */
typedef struct matrix {
    float *data; /* NULL: none */
    int64_t stride;
} matrix;

/* y = what the term gives to a part in one of its blocks, and `plus`. */
static void run_part(const bias_run *run, const part *p, matrix y, matrix plus, float *products) {
    const term *t = p->of;
    const int64_t hidden = run->heads * run->width;
    const window *w = &t->windows[p->row / BLOCK_ROWS * t->tiles + p->column / t->tile_columns];
    for (int32_t first = w->first; first < w->end; first += PIECE, plus = y) {
        const int32_t n = (int32_t)bert_smaller(PIECE, w->end - first);
        run->call->context->prepared->multiply(
            &(bert_sgemm_args){.c = products,
                               .a = t->content + (p->batch * t->rows + p->row) * hidden + p->head * run->width,
                               .b = t->transposed + p->head * run->width * t->stride + (first - t->named.first),
                               .ldc = PRODUCT_STRIDE,
                               .lda = hidden,
                               .ldb = t->stride,
                               .m = p->rows,
                               .n = n,
                               .k = run->width});
        run->kernels->take(&(bert_take_args){.y = y.data,
                                             .x = products,
                                             .index = t->places + p->row * t->columns + p->column,
                                             .plus = plus.data,
                                             .ldy = y.stride,
                                             .ldx = PRODUCT_STRIDE,
                                             .ld_index = t->columns,
                                             .ld_plus = plus.stride,
                                             .rows = p->rows,
                                             .n = p->columns,
                                             .width = n,
                                             .first = first,
                                             .scale = run->scale});
    }
}

/* Rows of the keys' term are columns of y. */
static void run_keys(const bias_run *run, part p, matrix y, scratch *with) {
    const matrix block = {with->block, TILE_STRIDE}, none = {NULL, 0};
    const int64_t end = p.row + p.rows;
    for (; p.row < end; p.row += BLOCK_ROWS, y.data += BLOCK_ROWS) {
        p.rows = bert_smaller(BLOCK_ROWS, end - p.row);
        run_part(run, &p, block, none, with->products);
        run->kernels->transpose(&(bert_transpose_args){
            .y = y.data, .x = block.data, .ldy = y.stride, .ldx = block.stride, .rows = p.rows, .columns = p.columns});
    }
}

static void run_queries(const bias_run *run, part p, matrix y, matrix plus, scratch *with) {
    const int64_t end = p.row + p.rows;
    for (; p.row < end; p.row += BLOCK_ROWS) {
        p.rows = bert_smaller(BLOCK_ROWS, end - p.row);
        run_part(run, &p, y, plus, with->products);
        y.data += BLOCK_ROWS * y.stride;
        if (plus.data) plus.data += BLOCK_ROWS * plus.stride;
    }
}

/* Heads and sequences come one after another for each tile, whose indices stay in cache. Where both terms are there y
 * is written once, row by row: what the keys give is held until then. */
static void run_tile(void *argument, int64_t task, int thread) {
    const bias_run *run = argument;
    scratch *with = &run->scratches[thread];
    const int64_t head = task % run->heads, batch = task / run->heads % run->batches;
    const int64_t tile = task / run->heads / run->batches;
    const int64_t query = tile / run->key_tiles * run->tile_queries, key = tile % run->key_tiles * run->tile_keys;
    const int64_t queries = bert_smaller(run->tile_queries, run->queries - query);
    const int64_t keys = bert_smaller(run->tile_keys, run->keys - key);
    const int64_t row = (batch * run->heads + head) * run->queries + query;
    const matrix y = {(float *)run->call->outputs[0].data + row * run->keys + key, run->keys};
    const matrix held = {with->tile, TILE_STRIDE}, none = {NULL, 0};
    const term *t = run->terms, *end = t + run->count;
    const bool both = run->count == TERMS;
    if (t->of_keys) run_keys(run, (part){t++, batch, head, key, keys, query, queries}, both ? held : y, with);
    if (t < end) run_queries(run, (part){t, batch, head, query, queries, key, keys}, y, both ? held : none, with);
}

/* ---- All --------------------------------------------------------------------------------------------------------- */

static int64_t tile_rows(int64_t rows) {
    return bert_gemm_block_rows(rows, TILE, BLOCK_ROWS);
}

/* Where what a term needs begins in the workspace, in bytes. */
typedef struct term_layout {
    size_t places, windows, transposed;
} term_layout;

/* Puts a matrix behind the *bytes before it; false where sizes overflow. */
static bool put(size_t *bytes, size_t size, int64_t rows, int64_t columns, size_t *at) {
    size_t end;
    if (!bert_size_multiply(size, (size_t)rows, &size) || !bert_size_multiply(size, (size_t)columns, &size) ||
        !bert_size_add(*bytes, size, &end) || !bert_size_add(end, BERT_ALIGNMENT - 1, &end))
        return false;
    *at = *bytes;
    *bytes = end - end % BERT_ALIGNMENT;
    return true;
}

/* *bytes: of what lies before the term's, and then of both. `hidden`: elements of a position. */
static bool lay_out(int64_t rows, int64_t columns, int64_t positions, int64_t hidden, term_layout *out, size_t *bytes) {
    const int64_t blocks = divide_up(rows, BLOCK_ROWS), tiles = divide_up(columns, tile_rows(columns));
    return put(bytes, sizeof(int32_t), rows, columns, &out->places) &&
           put(bytes, sizeof(window), blocks, tiles, &out->windows) &&
           put(bytes, sizeof(float), row_floats(positions), hidden, &out->transposed);
}

static size_t scratch_bytes(bert_thread_pool *threads) {
    return sizeof(scratch) * (size_t)bert_thread_pool_threads(threads);
}

/* Where it works is *bytes behind the beginning of the workspace. */
static term begin_term(const bias_run *run, int kind, size_t *bytes) {
    const bert_tensor *content = &run->call->inputs[content_inputs[kind]];
    const bert_tensor *rows = &run->call->inputs[position_inputs[kind]], *indices = rows + 1;
    term t = {.of_keys = kind == KEYS_TERM,
              .indices = indices,
              .content = content->data,
              .positions = rows->data,
              .rows = indices->dims[0],
              .columns = indices->dims[1],
              .count = rows->dims[1],
              .tile_columns = tile_rows(indices->dims[1])};
    char *workspace = run->call->workspace;
    term_layout at = {0};
    t.blocks = divide_up(t.rows, BLOCK_ROWS);
    t.tiles = divide_up(t.columns, t.tile_columns);
    lay_out(t.rows, t.columns, t.count, run->heads * run->width, &at, bytes); /* as planned, where it did fit */
    t.places = (int32_t *)(void *)(workspace + at.places);
    t.windows = (window *)(void *)(workspace + at.windows);
    t.transposed = (float *)(void *)(workspace + at.transposed);
    return t;
}

static bert_status run_bias(const bert_kernel_call *call, bert_error *error) {
    const bias_state *state = call->plan->state;
    const bert_tensor *y = &call->outputs[0];
    bert_thread_pool *threads = bert_cpu_threads_for(call);
    if (bert_tensor_elements(y) == 0) return BERT_OK;
    bias_run run = {.call = call,
                    .kernels = bert_cpu_kernels_for(call),
                    .batches = y->dims[0],
                    .heads = state->heads,
                    .queries = y->dims[2],
                    .keys = y->dims[3],
                    .width = call->inputs[BERT_DISENTANGLED_Q].dims[2] / state->heads,
                    .tile_queries = tile_rows(y->dims[2]),
                    .tile_keys = tile_rows(y->dims[3]),
                    .scale = state->scale,
                    .scratches = call->workspace};
    size_t bytes = scratch_bytes(threads);
    run.key_tiles = divide_up(run.keys, run.tile_keys);
    for (int kind = 0; kind < TERMS; kind++)
        if (state->has[kind]) run.terms[run.count++] = begin_term(&run, kind, &bytes);
    if (run.count == 0) {
        memset(y->data, 0, bert_tensor_bytes(y));
        return BERT_OK;
    }
    const int64_t tiles = divide_up(run.queries, run.tile_queries) * run.key_tiles;
    BERT_TRY(place_all(&run, threads, error));
    bert_thread_pool_run(threads, run.count * run.heads, transpose_head, &run);
    bert_thread_pool_run(threads, tiles * run.batches * run.heads, run_tile, &run);
    return BERT_OK;
}

static bert_status plan_workspace(const bert_cpu_planner *planner, const bias_state *state) {
    const bert_op_node *node = planner->node;
    const int64_t *y = node->outputs[0].dims, hidden = node->inputs[BERT_DISENTANGLED_Q].dims[2];
    size_t bytes = scratch_bytes(planner->context->threads);
    for (int i = 0; i < 4; i++)
        if (y[i] == 0) return BERT_OK;
    for (int kind = 0; kind < TERMS; kind++) {
        if (!state->has[kind]) continue;
        const bert_tensor_desc *rows = &node->inputs[position_inputs[kind]], *indices = rows + 1;
        term_layout unused;
        if (!lay_out(indices->dims[0], indices->dims[1], rows->dims[1], hidden, &unused, &bytes))
            return bert_cpu_leave(planner, "can't hold tensors of this size");
    }
    planner->out->workspace_bytes = bytes;
    return BERT_OK;
}

/* Whether a term isn't there, or has such inputs. */
static bool takes(const bert_op_node *node, int kind) {
    if (!bert_cpu_has(node, position_inputs[kind])) return true;
    const bert_tensor_desc *rows = &node->inputs[position_inputs[kind]], *indices = rows + 1;
    return rows->dtype == BERT_FLOAT && rows->dims[1] <= MOST_POSITIONS &&
           (indices->dtype == BERT_INT32 || indices->dtype == BERT_INT64);
}

bert_status bert_cpu_plan_disentangled_bias(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    bias_state wanted = {.heads = BERT_NODE_INT(node, "heads", 0), .scale = BERT_NODE_FLOAT(node, "scale", 1.0F)};
    if (!bert_cpu_is_float(node, BERT_DISENTANGLED_Q) || !bert_cpu_is_float(node, BERT_DISENTANGLED_K) ||
        !takes(node, KEYS_TERM) || !takes(node, QUERIES_TERM) || wanted.heads < 1)
        return bert_cpu_leave(planner, "computes in float32, with heads and up to 2^30 positions");
    planner->out->run = run_bias;
    planner->out->kernel = "disentangled_bias/cpu";
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    for (int kind = 0; kind < TERMS; kind++) wanted.has[kind] = bert_cpu_has(node, position_inputs[kind]);
    BERT_TRY(plan_workspace(planner, &wanted));
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof wanted, &state));
    *(bias_state *)state = wanted;
    return BERT_OK;
}
