/*
 * Attention: one head and block of query rows at a time, so that its scores never leave the cache.
 *
 * For each head K is transposed once into the thread's scratch (the kernel wants the right side by rows of k), and V
 * copied beside it: where it lies each row of it is on a page of its own. Then the attention kernel takes a few rows of
 * Q at a time, and writes the context straight into y.
 */
#include "cpu/ops/ops.h"

#include "core/graph/canonical.h"

#include <math.h>
#include <string.h>

/* Query rows whose scores are held at once, and bytes that their scores may take: they stay in the first-level cache,
 * or near it. */
enum { BLOCK_ROWS = 48, LEAST_ROWS = 16, SCORE_BYTES = 48 * 1024, LINE_FLOATS = 16 };
_Static_assert((int)BLOCK_ROWS <= (int)BERT_ATTENTION_ROWS, "what the kernel takes");

typedef struct attention_state {
    int64_t heads;
    float scale, mask_value;
    bool packed, nan_is_zero;
    int64_t scratch_floats; /* of one thread */
} attention_state;

/* A float or bool tensor of rank 4 seen as [B, H, S, T] by strides of 0 where it is broadcast. */
typedef struct broadcast {
    const void *data;
    int64_t strides[4];
} broadcast;

static broadcast see_as_4d(const bert_tensor *tensor) {
    broadcast seen = {0};
    if (tensor->dtype == BERT_DTYPE_UNDEFINED) return seen;
    seen.data = tensor->data;
    int64_t stride = 1;
    for (int i = 3; i >= 0; i--) {
        seen.strides[i] = tensor->dims[i] == 1 ? 0 : stride;
        stride *= tensor->dims[i];
    }
    return seen;
}

typedef struct attention_run {
    const bert_kernel_call *call;
    const attention_state *state;
    const bert_cpu_kernels *kernels;
    const float *q, *k, *v;
    int64_t q_stride, kv_stride; /* from one token to the next */
    int64_t queries, keys, width, padded_keys;
    int64_t pieces; /* of the queries of a head: tasks where there are fewer heads than threads want */
    broadcast bias, mask;
} attention_run;

static int64_t padded(int64_t count) {
    return (count + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS;
}

/* Keys, values and scores of one thread. */
static int64_t scratch_floats(int64_t keys, int64_t width) {
    return padded(keys) * (2 * width + BLOCK_ROWS);
}

/* Queries [first, first + rows) of one head. */
static void run_rows(const attention_run *run, int64_t batch, int64_t head, int64_t first, int64_t rows,
                     float *scratch) {
    const int64_t width = run->width, y_stride = run->state->heads * width;
    const int64_t token = batch * run->queries + first;
    const int64_t *bias = run->bias.strides, *mask = run->mask.strides;
    float *values = scratch + width * run->padded_keys;
    bert_attention_args args = {.y = (float *)run->call->outputs[0].data + token * y_stride + head * width,
                                .q = run->q + token * run->q_stride + head * width,
                                .keys = scratch,
                                .values = values,
                                .scores = values + width * run->padded_keys,
                                .ldy = y_stride,
                                .ldq = run->q_stride,
                                .ld_keys = run->padded_keys,
                                .ld_values = width,
                                .ld_scores = run->padded_keys,
                                .rows = rows,
                                .n = run->keys,
                                .width = width,
                                .scale = run->state->scale,
                                .mask_value = run->state->mask_value,
                                .nan_is_zero = run->state->nan_is_zero};
    if (run->bias.data) {
        args.bias = (const float *)run->bias.data + batch * bias[0] + head * bias[1] + first * bias[2];
        args.bias_row_stride = bias[2];
        args.bias_stride = bias[3];
    }
    if (run->mask.data) {
        args.mask = (const uint8_t *)run->mask.data + batch * mask[0] + head * mask[1] + first * mask[2];
        args.mask_row_stride = mask[2];
        args.mask_stride = mask[3];
    }
    run->call->context->prepared->attend(&args);
}

static int64_t block_rows(int64_t padded_keys) {
    const int64_t rows = SCORE_BYTES / ((padded_keys + 1) * (int64_t)sizeof(float)) / 8 * 8;
    return rows < LEAST_ROWS ? LEAST_ROWS : rows > BLOCK_ROWS ? BLOCK_ROWS : rows;
}

static void run_piece(void *argument, int64_t task, int thread) {
    const attention_run *run = argument;
    const int64_t piece = task % run->pieces, head = task / run->pieces % run->state->heads;
    const int64_t batch = task / run->pieces / run->state->heads;
    const int64_t source = batch * run->keys * run->kv_stride + head * run->width;
    float *keys = (float *)run->call->workspace + thread * run->state->scratch_floats;
    float *values = keys + run->width * run->padded_keys;
    run->kernels->transpose(&(bert_transpose_args){.y = keys,
                                                   .x = run->k + source,
                                                   .ldy = run->padded_keys,
                                                   .ldx = run->kv_stride,
                                                   .rows = run->keys,
                                                   .columns = run->width});
    for (int64_t key = 0; key < run->keys; key++)
        memcpy(values + key * run->width, run->v + source + key * run->kv_stride, (size_t)run->width * sizeof *values);
    const int64_t end = run->queries * (piece + 1) / run->pieces, step = block_rows(run->padded_keys);
    for (int64_t row = run->queries * piece / run->pieces; row < end; row += step)
        run_rows(run, batch, head, row, end - row < step ? end - row : step, keys);
}

static bert_status run_attention(const bert_kernel_call *call, bert_error *error) {
    const attention_state *state = call->plan->state;
    const bert_tensor *q = &call->inputs[BERT_ATTENTION_Q], *y = &call->outputs[0];
    attention_run run = {.call = call, .state = state, .kernels = bert_cpu_kernels_for(call), .q = q->data};
    const int64_t batches = y->dims[0], hidden = y->dims[2];
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
    run.padded_keys = padded(run.keys);
    run.bias = see_as_4d(&call->inputs[BERT_ATTENTION_BIAS]);
    run.mask = see_as_4d(&call->inputs[BERT_ATTENTION_MASK]);
    if (batches == 0 || run.queries == 0 || hidden == 0) return BERT_OK;
    const int64_t heads = batches * state->heads, threads = bert_thread_pool_threads(bert_cpu_threads_for(call));
    run.pieces = 1;
    while (heads * run.pieces < 4 * threads && heads * run.pieces % threads != 0 &&
           run.queries / (run.pieces + 1) >= 16)
        run.pieces++;
    bert_thread_pool_run(bert_cpu_threads_for(call), heads * run.pieces, run_piece, &run);
    return BERT_OK;
}

/* Whether an input is absent or of this type and rank 4, each dimension 1 or the whole. */
static bool is_broadcast(const bert_op_node *node, int32_t input, bert_dtype dtype) {
    if (!bert_cpu_has(node, input)) return true;
    const bert_tensor_desc *desc = &node->inputs[input];
    return desc->dtype == dtype && (desc->rank == 4 || desc->rank == -1);
}

static bert_status plan_scratch(const bert_cpu_planner *planner, attention_state *state) {
    const bert_op_node *node = planner->node;
    const bert_tensor_desc *q = &node->inputs[BERT_ATTENTION_Q];
    const int64_t keys = state->packed ? q->dims[1] : node->inputs[BERT_ATTENTION_K].dims[1];
    const int64_t width = node->outputs[0].dims[2] / state->heads;
    const int64_t threads = bert_thread_pool_threads(planner->context->threads);
    size_t floats, all;
    if (!bert_size_multiply((size_t)padded(keys), (size_t)(2 * width + BLOCK_ROWS), &floats) ||
        !bert_size_multiply(floats, (size_t)threads * sizeof(float), &all))
        return bert_cpu_leave(planner, "has no room for scores of that many keys");
    state->scratch_floats = scratch_floats(keys, width);
    planner->out->workspace_bytes = all;
    return BERT_OK;
}

bert_status bert_cpu_plan_attention(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    attention_state wanted = {.heads = bert_cpu_int(node, "heads", 0),
                              .scale = bert_cpu_float(node, "scale", 1.0F),
                              .mask_value = bert_cpu_float(node, "mask_value", -INFINITY),
                              .packed = bert_cpu_int(node, "packed", 0) != 0,
                              .nan_is_zero = strcmp(bert_cpu_string(node, "masked_rows", "nan"), "zero") == 0};
    const bool float_inputs =
        bert_cpu_is_float(node, BERT_ATTENTION_Q) &&
        (wanted.packed || (bert_cpu_is_float(node, BERT_ATTENTION_K) && bert_cpu_is_float(node, BERT_ATTENTION_V)));
    if (!float_inputs || wanted.heads < 1) return bert_cpu_leave(planner, "computes in float32, with heads");
    if (!is_broadcast(node, BERT_ATTENTION_BIAS, BERT_FLOAT) || !is_broadcast(node, BERT_ATTENTION_MASK, BERT_BOOL))
        return bert_cpu_leave(planner, "takes a float32 bias and a bool mask of rank 4");
    planner->out->run = run_attention;
    planner->out->kernel = "attention/cpu";
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    BERT_TRY(plan_scratch(planner, &wanted));
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof wanted, &state));
    *(attention_state *)state = wanted;
    return BERT_OK;
}
