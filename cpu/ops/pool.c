/*
 * Pool: one vector for each sequence, a task each. Tokens that count are added up one row after the other, by kernels
 * that work along the row, in chains that are added up in turn: a short chain rounds less. Where a chain ends depends
 * on the tokens that count alone, so padding changes no bit.
 */
#include "cpu/ops/ops.h"

#include "core/graph/canonical.h"

#include <math.h>
#include <string.h>

/* Tokens of a chain; rows of scratch that a thread has: the chain, a token times its weight. */
enum { CHAIN = 32, SCRATCH_ROWS = 2 };

typedef struct pool_state {
    bert_pool_kind how;
    float epsilon;
    bool normalize;
    bool masked, rows; /* Has a mask; has starts. */
} pool_state;

typedef struct pool_run {
    const pool_state *state;
    const bert_cpu_kernels *kernels;
    const float *x;
    const bert_tensor *mask; /* NULL: every token counts 1 */
    const int32_t *starts;   /* NULL: sequences of `sequence` rows */
    float *y, *scratch;
    int64_t sequence, width;
} pool_run;

static float weight_of(const bert_tensor *mask, int64_t token) {
    if (!mask) return 1;
    switch (mask->dtype) {
    case BERT_FLOAT:
        return ((const float *)mask->data)[token];
    case BERT_INT64:
        return (float)((const int64_t *)mask->data)[token];
    case BERT_INT32:
        return (float)((const int32_t *)mask->data)[token];
    case BERT_INT8:
        return ((const int8_t *)mask->data)[token];
    case BERT_BOOL:
        return ((const uint8_t *)mask->data)[token] != 0;
    default:
        return ((const uint8_t *)mask->data)[token];
    }
}

static void combine(const pool_run *run, bert_binary op, float *y, const float *a, const float *b, int64_t b_stride) {
    run->kernels->binary(
        &(bert_binary_args){.y = y, .a = a, .b = b, .a_stride = 1, .b_stride = b_stride, .n = run->width, .op = op});
}

/* sum of weight x / max(sum of weight, epsilon); y is zeros to begin with. */
static void find_mean(const pool_run *run, int64_t first, int64_t end, float *chain, float *y) {
    float *scaled = chain + run->width;
    const size_t bytes = (size_t)run->width * sizeof *y;
    double total = 0;
    int64_t count = 0;
    for (int64_t token = first; token < end; token++) {
        const float weight = weight_of(run->mask, token), *x = run->x + token * run->width;
        if (weight == 0) continue;
        if (weight != 1) {
            combine(run, BERT_BINARY_MULTIPLY, scaled, x, &weight, 0);
            x = scaled;
        }
        if (count % CHAIN == 0)
            memcpy(chain, x, bytes);
        else
            combine(run, BERT_BINARY_ADD, chain, chain, x, 1);
        total += (double)weight;
        if (++count % CHAIN == 0) combine(run, BERT_BINARY_ADD, y, y, chain, 1);
    }
    if (count % CHAIN) combine(run, BERT_BINARY_ADD, y, y, chain, 1);
    const float divisor = (float)fmax(total, (double)run->state->epsilon);
    combine(run, BERT_BINARY_DIVIDE, y, y, &divisor, 0);
}

/* The first token's row, or the greatest elements of all; y is zeros to begin with. */
static void find_first_or_greatest(const pool_run *run, int64_t first, int64_t end, float *y) {
    const size_t bytes = (size_t)run->width * sizeof *y;
    bool any = false;
    for (int64_t token = first; token < end && !(any && run->state->how == BERT_POOL_KIND_FIRST); token++) {
        const float *x = run->x + token * run->width;
        if (weight_of(run->mask, token) == 0) continue;
        if (!any) memcpy(y, x, bytes);
        any = true;
        for (int64_t i = 0; i < run->width; i++) y[i] = x[i] > y[i] || isnan(x[i]) ? x[i] : y[i];
    }
}

static void pool_sequence(void *argument, int64_t task, int thread) {
    const pool_run *run = argument;
    const int64_t first = run->starts ? run->starts[task] : task * run->sequence;
    const int64_t end = run->starts ? run->starts[task + 1] : first + run->sequence;
    float *y = run->y + task * run->width;
    memset(y, 0, (size_t)run->width * sizeof *y);
    if (run->state->how == BERT_POOL_KIND_MEAN)
        find_mean(run, first, end, run->scratch + thread * SCRATCH_ROWS * run->width, y);
    else
        find_first_or_greatest(run, first, end, y);
    if (!run->state->normalize) return;
    double squares = 0;
    for (int64_t i = 0; i < run->width; i++) squares += (double)y[i] * (double)y[i];
    const double norm = sqrt(squares);
    const float length = (float)(norm < 1e-12 ? 1e-12 : norm); /* a NaN stays one, unlike in fmax */
    combine(run, BERT_BINARY_DIVIDE, y, y, &length, 0);
}

static bert_status run_pool(const bert_kernel_call *call, bert_error *error) {
    const pool_state *state = call->plan->state;
    const bert_tensor *x = &call->inputs[BERT_POOL_X], *y = &call->outputs[0];
    pool_run run = {.state = state,
                    .kernels = bert_cpu_kernels_for(call),
                    .x = x->data,
                    .mask = state->masked ? &call->inputs[BERT_POOL_MASK] : NULL,
                    .starts = state->rows ? call->inputs[BERT_POOL_STARTS].data : NULL,
                    .y = y->data,
                    .scratch = call->workspace,
                    .sequence = x->dims[1],
                    .width = y->dims[1]};
    if (run.width == 0) return BERT_OK;
    bert_thread_pool_run(bert_cpu_threads_for(call), y->dims[0], pool_sequence, &run);
    return BERT_OK;
}

static bert_status plan_scratch(const bert_cpu_planner *planner) {
    const int64_t threads = bert_thread_pool_threads(planner->context->threads);
    size_t *bytes = &planner->out->workspace_bytes;
    if (bert_size_multiply((size_t)planner->node->outputs[0].dims[1], SCRATCH_ROWS * sizeof(float), bytes) &&
        bert_size_multiply(*bytes, (size_t)threads, bytes))
        return BERT_OK;
    return bert_cpu_leave(planner, "can't hold vectors of this size");
}

bert_status bert_cpu_plan_pool(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    if (!bert_cpu_is_float(node, BERT_POOL_X)) return bert_cpu_leave(planner, "computes in float32");
    planner->out->run = run_pool;
    planner->out->kernel = "pool/cpu";
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    BERT_TRY(plan_scratch(planner));
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(pool_state), &state));
    *(pool_state *)state = (pool_state){.how = bert_pool_kind_of(BERT_NODE_STRING(node, "pooling", "")),
                                        .epsilon = BERT_NODE_FLOAT(node, "epsilon", BERT_POOL_EPSILON),
                                        .normalize = BERT_NODE_INT(node, "normalize", 0) != 0,
                                        .masked = bert_cpu_has(node, BERT_POOL_MASK),
                                        .rows = bert_cpu_has(node, BERT_POOL_STARTS)};
    return BERT_OK;
}
