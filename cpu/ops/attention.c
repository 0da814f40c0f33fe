/*
 * Attention: one head and block of query rows at a time, so that its scores never leave the cache. What a head's keys
 * and values are laid out as, and how a block is computed, is the form's (attention_form.h). Where heads are rotated by
 * their positions, copies of the keys, and of one block of queries at a time, are: no form knows of it.
 *
 * Where bias or mask differ by query, the keys that each block of queries looks at are found first, once for all heads
 * that share them, and the others are left out. No bit depends on it, where our own kernels multiply.
 */
#include "cpu/ops/attention_form.h"
#include "cpu/ops/attention_window.h"
#include "cpu/ops/ops.h"

#include "core/graph/canonical.h"

#include <math.h>
#include <string.h>

/* With more keys than these blocks of queries are smaller, so that their scores stay in the cache. The query rows that
 * share a window of keys are such a block: with more of them windows are wider. Of fewer keys than these a window
 * leaves too little out to be sought. */
enum { WHOLE_BLOCK_KEYS = 256, LEAST_WINDOWED_KEYS = 128 };

/* Split numbers are worth their while from so many keys on (docs/kernels.md). */
enum { LEAST_SPLIT_KEYS = 256 };

typedef struct attention_state {
    const bert_attention_form *form;
    int64_t heads;
    float scale, mask_value;
    bool packed, nan_is_zero;
    bool biased, masked;    /* the node has these inputs */
    bool rotated;           /* it has cosines and sines */
    int64_t sequence;       /* S, where rows are tokens without padding */
    int64_t scratch_floats; /* of one thread */
    /* Windows [batches, heads, blocks] in the workspace, each 1 where all share them; no blocks: none are sought. */
    int64_t window_batches, window_heads, window_blocks;
} attention_state;

/* A bias or mask of [B, H, S, T], where it may broadcast, and its steps along each. */
typedef struct mask_tensor {
    const void *data; /* NULL: absent */
    int64_t steps[4];
} mask_tensor;

static mask_tensor mask_of(const bert_kernel_call *call, int32_t input) {
    mask_tensor mask = {.data = call->inputs[input].data};
    bert_cpu_steps(&call->inputs[input], 4, mask.steps);
    return mask;
}

/* Cosines and sines, [1 or B, S, D]. */
typedef struct angle_tensors {
    const float *cosines, *sines;
    int64_t batch_step;
} angle_tensors;

static angle_tensors angles_of(const bert_kernel_call *call) {
    const bert_tensor *cosines = &call->inputs[BERT_ATTENTION_COSINES], *sines = &call->inputs[BERT_ATTENTION_SINES];
    return (angle_tensors){.cosines = cosines->data,
                           .sines = sines->data,
                           .batch_step = cosines->dims[0] == 1 ? 0 : cosines->dims[1] * cosines->dims[2]};
}

typedef struct attention_run {
    const bert_kernel_call *call;
    const attention_state *state;
    const float *q, *k, *v;
    int64_t q_stride, kv_stride;  /* from one token to the next */
    int64_t queries, keys, width; /* queries and keys: the most that a sequence has */
    int64_t pieces;               /* of the queries of a head: tasks where there are fewer heads than threads want */
    mask_tensor bias, mask;
    angle_tensors angles;           /* where heads are rotated */
    const int32_t *starts, *tokens; /* NULL: every token is a row */
    bert_attention_window *windows; /* NULL: every query looks at all keys */
} attention_run;

/* One sequence: its rows among q's and among k's, and where they stand in bias and mask. */
typedef struct sequence_rows {
    int64_t batch, first_query, queries, first_key, keys;
    const int32_t *positions; /* of rows, from `origin` on; NULL: 0, 1, 2 ... */
    int64_t origin;
    bool contiguous; /* positions are one after the other */
} sequence_rows;

/* A row each of bias and mask. */
enum { MASK_ROWS = 2 };

/* What a thread's scratch has for a sequence of so many keys: each part begins at a cache line. */
typedef struct scratch_parts {
    float *masks;          /* MASK_ROWS rows, for what isn't contiguous */
    float *context;        /* a block's, where y itself isn't read */
    float *queries, *keys; /* rotated ones: a block and all; no room where heads aren't rotated */
    float *form;           /* the form's own */
} scratch_parts;

/* What stands before the form's own. */
static int64_t floats_before_form(bool rotated, int64_t keys, int64_t width) {
    const int64_t padded = bert_attention_padded(keys);
    return MASK_ROWS * padded + BERT_ATTENTION_BLOCK * width + (rotated ? (BERT_ATTENTION_BLOCK + padded) * width : 0);
}

static scratch_parts parts_of(float *scratch, bool rotated, int64_t keys, int64_t width) {
    float *context = scratch + MASK_ROWS * bert_attention_padded(keys);
    float *queries = context + BERT_ATTENTION_BLOCK * width;
    return (scratch_parts){.masks = scratch,
                           .context = context,
                           .queries = queries,
                           .keys = queries + BERT_ATTENTION_BLOCK * width,
                           .form = scratch + floats_before_form(rotated, keys, width)};
}

static int64_t scratch_floats(const attention_state *state, int64_t keys, int64_t width) {
    return floats_before_form(state->rotated, keys, width) + state->form->scratch_floats(state->form, keys, width);
}

static sequence_rows sequence_of(const attention_run *run, int64_t batch) {
    sequence_rows rows = {.batch = batch, .queries = run->queries, .keys = run->keys, .contiguous = true};
    rows.first_query = batch * run->queries;
    rows.first_key = batch * run->keys;
    if (run->tokens) {
        rows.first_query = rows.first_key = run->starts[batch];
        rows.queries = rows.keys = run->starts[batch + 1] - run->starts[batch];
        rows.positions = run->tokens + rows.first_query;
        rows.origin = batch * run->state->sequence;
        if (rows.keys > 0) rows.contiguous = rows.positions[rows.keys - 1] - rows.positions[0] == rows.keys - 1;
    }
    return rows;
}

static int64_t position_of(const sequence_rows *rows, int64_t index) {
    return rows->positions ? rows->positions[index] - rows->origin : index;
}

/* Rows [first, first + count) of a head of x by the angles of their positions. */
static void rotate_rows(const attention_run *run, const sequence_rows *rows, const float *x, int64_t stride,
                        int64_t first, int64_t count, float *y) {
    const bert_cpu_kernels *kernels = bert_cpu_kernels_for(run->call);
    const int64_t width = run->width, step = rows->contiguous ? count : 1;
    const int64_t sequence = rows->batch * run->angles.batch_step;
    for (int64_t row = 0; row < count; row += step) {
        const int64_t angle = sequence + position_of(rows, first + row) * width;
        kernels->rotate(&(bert_rotate_args){.y = y + row * width,
                                            .x = x + row * stride,
                                            .cosines = run->angles.cosines + angle,
                                            .sines = run->angles.sines + angle,
                                            .ldy = width,
                                            .ldx = stride,
                                            .ld_angles = width,
                                            .rows = step,
                                            .n = width});
    }
}

/* What bias or mask has for the sequence's keys, one after the other: for the row that `data` begins. */
static void gather_bias(const sequence_rows *rows, const float *data, int64_t stride, float *out) {
    for (int64_t key = 0; key < rows->keys; key++) out[key] = data[position_of(rows, key) * stride];
}

static void gather_mask(const sequence_rows *rows, const uint8_t *data, int64_t stride, uint8_t *out) {
    for (int64_t key = 0; key < rows->keys; key++) out[key] = data[position_of(rows, key) * stride];
}

/* Points a block of rows from `first` on to its bias and mask. `extra`: a row each, for what isn't contiguous. */
static void set_masks(const attention_run *run, const sequence_rows *rows, int64_t head, int64_t first, float *extra,
                      bert_attention_args *args) {
    const int64_t *bias = run->bias.steps, *mask = run->mask.steps;
    const int64_t query = position_of(rows, first), key = rows->contiguous ? position_of(rows, 0) : 0;
    if (run->bias.data) {
        args->bias = (const float *)run->bias.data + rows->batch * bias[0] + head * bias[1] + query * bias[2];
        args->bias_row_stride = bias[2];
        args->bias_stride = bias[3];
        if (rows->contiguous || !bias[3]) {
            args->bias += key * bias[3];
        } else {
            gather_bias(rows, args->bias, bias[3], extra);
            args->bias = extra;
            args->bias_stride = 1;
        }
    }
    if (run->mask.data) {
        args->mask = (const uint8_t *)run->mask.data + rows->batch * mask[0] + head * mask[1] + query * mask[2];
        args->mask_row_stride = mask[2];
        args->mask_stride = mask[3];
        if (rows->contiguous || !mask[3]) {
            args->mask += key * mask[3];
        } else {
            uint8_t *row = (uint8_t *)(extra + bert_attention_padded(rows->keys));
            gather_mask(rows, args->mask, mask[3], row);
            args->mask = row;
            args->mask_stride = 1;
        }
    }
}

/* ---- Windows ----------------------------------------------------------------------------------------------------- */

static void find_window(void *argument, int64_t task, int thread) {
    const attention_run *run = argument;
    const attention_state *state = run->state;
    const int64_t most = state->form->window_rows;
    const int64_t first = task % state->window_blocks * most, head = task / state->window_blocks;
    const sequence_rows rows = sequence_of(run, head / state->window_heads);
    const int64_t left = rows.queries - first;
    bert_attention_args args = {.rows = left < most ? left : most, .n = rows.keys, .mask_value = state->mask_value};
    if (left <= 0) return; /* nobody asks */
    run->windows[task] = (bert_attention_window){0, rows.keys};
    if (!rows.contiguous) return;
    set_masks(run, &rows, head % state->window_heads, first, NULL, &args);
    run->windows[task] = bert_attention_window_of(&args, state->form->key_step);
}

/* Of a query that begins a block, and of those after it in the block. */
static bert_attention_window window_at(const attention_run *run, const sequence_rows *rows, int64_t head,
                                       int64_t query) {
    const attention_state *state = run->state;
    if (!run->windows) return (bert_attention_window){0, rows->keys};
    const int64_t batch = state->window_batches > 1 ? rows->batch : 0, of = state->window_heads > 1 ? head : 0;
    return run->windows[(batch * state->window_heads + of) * state->window_blocks + query / state->form->window_rows];
}

/* From the first to the last key that one of the queries looks at. */
static bert_attention_window window_of_all(const attention_run *run, const sequence_rows *rows, int64_t head,
                                           int64_t begin, int64_t end) {
    bert_attention_window all = window_at(run, rows, head, begin);
    const int64_t step = run->state->form->window_rows;
    for (int64_t query = begin + step; query < end; query += step) {
        const bert_attention_window window = window_at(run, rows, head, query);
        if (window.first < all.first) all.first = window.first;
        if (window.end > all.end) all.end = window.end;
    }
    return all;
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

/* What a thread has of one head of a sequence: its keys from `first_key` on are laid out. */
typedef struct loaded_head {
    bert_attention_head of;
    int64_t head, first_key;
    scratch_parts scratch;
} loaded_head;

static loaded_head load_head(const attention_run *run, const sequence_rows *rows, int64_t head,
                             bert_attention_window keys, int thread) {
    const attention_state *state = run->state;
    const int64_t source = (rows->first_key + keys.first) * run->kv_stride + head * run->width;
    loaded_head loaded = {.head = head, .first_key = keys.first};
    loaded.scratch = parts_of((float *)run->call->workspace + thread * state->scratch_floats, state->rotated,
                              rows->keys, run->width);
    bert_attention_head *of = &loaded.of;
    *of = (bert_attention_head){.prepared = run->call->context->prepared,
                                .k = run->k + source,
                                .v = run->v + source,
                                .k_stride = run->kv_stride,
                                .v_stride = run->kv_stride,
                                .keys = keys.end - keys.first,
                                .width = run->width,
                                .scratch = loaded.scratch.form};
    if (state->rotated) {
        rotate_rows(run, rows, of->k, of->k_stride, keys.first, of->keys, loaded.scratch.keys);
        of->k = loaded.scratch.keys;
        of->k_stride = run->width;
    }
    state->form->load(state->form, of);
    return loaded;
}

/* Queries [first, first + count) of one head, by the keys of a window. */
static void run_rows(const attention_run *run, const sequence_rows *rows, const loaded_head *loaded, int64_t first,
                     int64_t count, bert_attention_window keys) {
    const int64_t width = run->width, y_stride = run->state->heads * width, token = rows->first_query + first;
    const int64_t column = loaded->head * width;
    bert_attention_args args = {.y = (float *)run->call->outputs[0].data + token * y_stride + column,
                                .q = run->q + token * run->q_stride + column,
                                .ldy = y_stride,
                                .ldq = run->q_stride,
                                .rows = count,
                                .n = keys.end - keys.first,
                                .width = width,
                                .scale = run->state->scale,
                                .mask_value = run->state->mask_value,
                                .nan_is_zero = run->state->nan_is_zero,
                                .lead = keys.first};
    if (run->state->rotated) {
        rotate_rows(run, rows, args.q, args.ldq, first, count, loaded->scratch.queries);
        args.q = loaded->scratch.queries;
        args.ldq = width;
    }
    set_masks(run, rows, loaded->head, first, loaded->scratch.masks, &args);
    if (args.bias) args.bias += keys.first * args.bias_stride;
    if (args.mask) args.mask += keys.first * args.mask_stride;
    if (run->call->y_unread) {
        args.y = loaded->scratch.context;
        args.ldy = width;
    }
    run->state->form->attend(run->state->form, &loaded->of, keys.first - loaded->first_key, &args);
    bert_cpu_write_halves(run->call, args.y, args.ldy, token, count, column, width);
}

static bool looks_at_all(const attention_run *run, const sequence_rows *rows, int64_t head, int64_t query) {
    const bert_attention_window window = window_at(run, rows, head, query);
    return window.first == 0 && window.end == rows->keys;
}

/* Rows of the block that begins with a query. Where each query has a bias or mask of its own and positions have gaps, a
 * block is one query. */
static int64_t block_rows(const attention_run *run, const sequence_rows *rows, int64_t head, int64_t query) {
    if (!rows->contiguous && ((run->bias.data && run->bias.steps[2]) || (run->mask.data && run->mask.steps[2])))
        return 1;
    const bert_attention_form *form = run->state->form;
    const int64_t most = rows->keys > WHOLE_BLOCK_KEYS ? form->window_rows : form->block_rows;
    for (int64_t first = query; first < query + most && first < rows->queries; first += form->window_rows) {
        if (!looks_at_all(run, rows, head, first)) return form->window_rows;
    }
    return most;
}

/* Where a piece of a head's queries begins: where windows begin, too. */
static int64_t piece_begin(const attention_run *run, int64_t queries, int64_t piece) {
    if (!run->windows) return queries * piece / run->pieces;
    const int64_t rows = run->state->form->window_rows, blocks = (queries + rows - 1) / rows;
    const int64_t begin = blocks * piece / run->pieces * rows;
    return begin < queries ? begin : queries;
}

static void run_piece(void *argument, int64_t task, int thread) {
    const attention_run *run = argument;
    const int64_t piece = task % run->pieces, head = task / run->pieces % run->state->heads;
    const sequence_rows rows = sequence_of(run, task / run->pieces / run->state->heads);
    const int64_t begin = piece_begin(run, rows.queries, piece), end = piece_begin(run, rows.queries, piece + 1);
    if (begin == end) return;
    const bert_cpu_kernels *kernels = bert_cpu_kernels_for(run->call);
    bert_cpu_enter(kernels);
    const loaded_head loaded = load_head(run, &rows, head, window_of_all(run, &rows, head, begin, end), thread);
    for (int64_t row = begin, count; row < end; row += count) {
        count = block_rows(run, &rows, head, row);
        if (count > end - row) count = end - row;
        run_rows(run, &rows, &loaded, row, count, window_at(run, &rows, head, row));
    }
    bert_cpu_exit(kernels);
}

static bert_status run_attention(const bert_kernel_call *call, bert_error *error) {
    const attention_state *state = call->plan->state;
    const bert_tensor *q = &call->inputs[BERT_ATTENTION_Q], *y = &call->outputs[0];
    attention_run run = {.call = call, .state = state, .q = q->data};
    const int64_t hidden = y->dims[2];
    int64_t batches = y->dims[0];
    run.queries = y->dims[1];
    run.width = hidden / state->heads;
    run.q_stride = q->dims[2];
    run.kv_stride = q->dims[2];
    if (state->packed) {
        run.k = run.q + hidden;
        run.v = run.q + 2 * hidden;
        run.keys = run.queries;
    } else {
        run.k = call->inputs[BERT_ATTENTION_K].data;
        run.v = call->inputs[BERT_ATTENTION_V].data;
        run.keys = call->inputs[BERT_ATTENTION_K].dims[1];
    }
    if (state->sequence) {
        run.starts = bert_cpu_input(call, BERT_ATTENTION_STARTS);
        run.tokens = bert_cpu_input(call, BERT_ATTENTION_TOKENS);
        batches = call->inputs[BERT_ATTENTION_STARTS].dims[0] - 1;
        run.queries = run.keys = state->sequence;
    }
    if (state->biased) run.bias = mask_of(call, BERT_ATTENTION_BIAS);
    if (state->masked) run.mask = mask_of(call, BERT_ATTENTION_MASK);
    if (state->rotated) run.angles = angles_of(call);
    if (batches == 0 || run.queries == 0 || hidden == 0) return BERT_OK;
    const int64_t heads = batches * state->heads, threads = bert_thread_pool_threads(bert_cpu_threads_for(call));
    const int64_t least = state->window_blocks ? state->form->window_rows : 16;
    run.pieces = 1;
    while (heads * run.pieces < 4 * threads && heads * run.pieces % threads != 0 &&
           run.queries / (run.pieces + 1) >= least)
        run.pieces++;
    if (state->window_blocks) {
        run.windows = (void *)((float *)call->workspace + threads * state->scratch_floats);
        bert_thread_pool_run(bert_cpu_threads_for(call),
                             state->window_batches * state->window_heads * state->window_blocks, find_window, &run);
    }
    bert_thread_pool_run(bert_cpu_threads_for(call), heads * run.pieces, run_piece, &run);
    return BERT_OK;
}

/* Whether an input is absent or of this type and rank 4, each dimension 1 or the whole. */
static bool is_broadcast(const bert_op_node *node, int32_t input, bert_dtype dtype) {
    if (!bert_cpu_has(node, input)) return true;
    const bert_tensor_desc *desc = &node->inputs[input];
    return desc->dtype == dtype && (desc->rank == 4 || desc->rank == -1);
}

/* Sets how many windows there are of so many sequences and keys. */
static void count_windows(const bert_op_node *node, int64_t batches, int64_t queries, int64_t keys,
                          attention_state *state) {
    bool by_batch = state->sequence > 0, by_head = false, by_query = false;
    for (int32_t i = BERT_ATTENTION_BIAS; i <= BERT_ATTENTION_MASK; i++) {
        if (!bert_cpu_has(node, i)) continue;
        by_batch = by_batch || node->inputs[i].dims[0] > 1;
        by_head = by_head || node->inputs[i].dims[1] > 1;
        by_query = by_query || node->inputs[i].dims[2] > 1;
    }
    if (!by_query || keys < LEAST_WINDOWED_KEYS) return;
    state->window_batches = by_batch ? batches : 1;
    state->window_heads = by_head ? state->heads : 1;
    state->window_blocks = (queries + state->form->window_rows - 1) / state->form->window_rows;
}

/* The most that a sequence has. */
static int64_t keys_of(const bert_op_node *node, const attention_state *state) {
    if (state->sequence) return state->sequence;
    return node->inputs[state->packed ? BERT_ATTENTION_Q : BERT_ATTENTION_K].dims[1];
}

/* The form, and what a run of it needs. */
static bert_status plan_form(const bert_cpu_planner *planner, attention_state *state) {
    const bert_op_node *node = planner->node;
    const bert_tensor_desc *q = &node->inputs[BERT_ATTENTION_Q];
    int64_t batches = q->dims[0], queries = q->dims[1];
    if (state->sequence) {
        batches = node->inputs[BERT_ATTENTION_STARTS].dims[0] - 1;
        queries = state->sequence;
    }
    const int64_t keys = keys_of(node, state);
    state->form = planner->context->attention;
    if (state->form == &bert_attention_split && keys < LEAST_SPLIT_KEYS) state->form = &bert_attention_float;
    const int64_t width = node->outputs[0].dims[2] / state->heads;
    const int64_t threads = bert_thread_pool_threads(planner->context->threads);
    count_windows(node, batches, queries, keys, state);
    const int64_t window_dims[] = {state->window_batches, state->window_heads, state->window_blocks};
    /* Far below what would overflow, and far above what there is memory for. */
    const int64_t most = INT64_C(1) << 40;
    size_t all, windows = 0;
    if (width > most || keys > most / (16 * width + 16 * BERT_ATTENTION_BLOCK + MASK_ROWS) ||
        !bert_size_multiply((size_t)scratch_floats(state, keys, width), (size_t)threads * sizeof(float), &all) ||
        !bert_size_product(sizeof(bert_attention_window), window_dims, 3, &windows) ||
        !bert_size_add(all, windows, &all) || !bert_size_add(all, BERT_ALIGNMENT - 1, &all))
        return bert_cpu_leave(planner, "has no room for scores of that many keys");
    state->scratch_floats = scratch_floats(state, keys, width);
    /* Whole lines, so that what ends where it must not be passed begins at one. */
    planner->out->workspace_bytes = all / BERT_ALIGNMENT * BERT_ALIGNMENT;
    return BERT_OK;
}

bert_status bert_cpu_plan_attention(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    attention_state wanted = {.heads = BERT_NODE_INT(node, "heads", 0),
                              .scale = BERT_NODE_FLOAT(node, "scale", 1.0F),
                              .mask_value = BERT_NODE_FLOAT(node, "mask_value", -INFINITY),
                              .packed = BERT_NODE_INT(node, "packed", 0) != 0,
                              .biased = bert_cpu_has(node, BERT_ATTENTION_BIAS),
                              .masked = bert_cpu_has(node, BERT_ATTENTION_MASK),
                              .rotated = bert_cpu_has(node, BERT_ATTENTION_COSINES),
                              .sequence = BERT_NODE_INT(node, "sequence", 0),
                              .nan_is_zero = strcmp(BERT_NODE_STRING(node, "masked_rows", "nan"), "zero") == 0};
    const bool float_inputs =
        bert_cpu_is_float(node, BERT_ATTENTION_Q) &&
        (wanted.packed || (bert_cpu_is_float(node, BERT_ATTENTION_K) && bert_cpu_is_float(node, BERT_ATTENTION_V)));
    if (!float_inputs || wanted.heads < 1) return bert_cpu_leave(planner, "computes in float32, with heads");
    if (!is_broadcast(node, BERT_ATTENTION_BIAS, BERT_FLOAT) || !is_broadcast(node, BERT_ATTENTION_MASK, BERT_BOOL))
        return bert_cpu_leave(planner, "takes a float32 bias and a bool mask of rank 4");
    if (!bert_cpu_float_or_absent(node, BERT_ATTENTION_COSINES) ||
        !bert_cpu_float_or_absent(node, BERT_ATTENTION_SINES))
        return bert_cpu_leave(planner, "rotates by float32 cosines and sines");
    planner->out->run = run_attention;
    if (planner->mode == BERT_PLAN_BIND) planner->out->y_bytes = bert_cpu_row_bytes(planner, node->outputs[0].dims[2]);
    planner->out->kernel = bert_attention_float.kernel;
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    BERT_TRY(plan_form(planner, &wanted));
    planner->out->kernel = wanted.form->kernel;
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof wanted, &state));
    *(attention_state *)state = wanted;
    return BERT_OK;
}
