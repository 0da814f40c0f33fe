/* PackTokens and UnpackTokens: rows of a batch without its padding, and back. */
#include "cpu/ops/ops.h"

#include "core/graph/canonical.h"

#include <string.h>

typedef struct token_run {
    const unsigned char *x;
    unsigned char *y;
    const int32_t *tokens;
    int64_t rows, padded, task_rows; /* rows without padding; tokens of the padded tensor */
    size_t bytes;                    /* of a row */
} token_run;

/* `padded`: the tensor that has padding. */
static token_run begin(const bert_kernel_call *call, const bert_tensor *padded) {
    const int32_t axes = *(const int32_t *)call->plan->state;
    token_run run = {.x = call->inputs[BERT_PACK_X].data,
                     .y = call->outputs[0].data,
                     .tokens = call->inputs[BERT_PACK_TOKENS].data,
                     .rows = call->inputs[BERT_PACK_TOKENS].dims[0],
                     .padded = bert_cpu_count(padded->dims, 0, axes),
                     .bytes = bert_dtype_size(padded->dtype)};
    run.bytes *= (size_t)bert_cpu_count(padded->dims, axes, padded->rank);
    run.task_rows = BERT_CPU_TASK_BYTES / (int64_t)(run.bytes + 1) + 1;
    return run;
}

static void pack_rows(void *argument, int64_t task, int thread) {
    const token_run *run = argument;
    const int64_t last = (task + 1) * run->task_rows, end = last < run->rows ? last : run->rows;
    for (int64_t row = task * run->task_rows; row < end; row++)
        memcpy(run->y + (size_t)row * run->bytes, run->x + (size_t)(run->tokens[row] % run->padded) * run->bytes,
               run->bytes);
}

static bert_status run_pack(const bert_kernel_call *call, bert_error *error) {
    token_run run = begin(call, &call->inputs[BERT_PACK_X]);
    if (run.bytes == 0 || run.padded == 0) return BERT_OK;
    for (int64_t row = 0; row < run.rows; row++) {
        if (run.tokens[row] >= 0) continue;
        return bert_fail(error, BERT_INVALID_INPUT, "token %d of row %lld is negative", (int)run.tokens[row],
                         (long long)row);
    }
    bert_thread_pool_run(bert_cpu_threads_for(call), (run.rows + run.task_rows - 1) / run.task_rows, pack_rows, &run);
    return BERT_OK;
}

static void zero_tokens(const token_run *run, int64_t from, int64_t end) {
    if (from < end) memset(run->y + (size_t)from * run->bytes, 0, (size_t)(end - from) * run->bytes);
}

/* Each row with the padding before it; the last one with that after it, too. */
static void unpack_rows(void *argument, int64_t task, int thread) {
    const token_run *run = argument;
    const int64_t last = (task + 1) * run->task_rows, end = last < run->rows ? last : run->rows;
    for (int64_t row = task * run->task_rows; row < end; row++) {
        const int64_t token = run->tokens[row];
        zero_tokens(run, row == 0 ? 0 : run->tokens[row - 1] + 1, token);
        if (row == 0 || run->tokens[row - 1] != token)
            memcpy(run->y + (size_t)token * run->bytes, run->x + (size_t)row * run->bytes, run->bytes);
        if (row + 1 == run->rows) zero_tokens(run, token + 1, run->padded);
    }
}

static bert_status run_unpack(const bert_kernel_call *call, bert_error *error) {
    token_run run = begin(call, &call->outputs[0]);
    if (run.bytes == 0) return BERT_OK;
    if (run.rows == 0) zero_tokens(&run, 0, run.padded);
    bert_thread_pool_run(bert_cpu_threads_for(call), (run.rows + run.task_rows - 1) / run.task_rows, unpack_rows, &run);
    return BERT_OK;
}

static bert_status plan(const bert_cpu_planner *planner, bert_kernel_fn run, const char *kernel) {
    planner->out->run = run;
    planner->out->kernel = kernel;
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(int32_t), &state));
    *(int32_t *)state = (int32_t)BERT_NODE_INT(planner->node, "axes", 2);
    return BERT_OK;
}

bert_status bert_cpu_plan_pack_tokens(const bert_cpu_planner *planner) {
    return plan(planner, run_pack, "pack_tokens/cpu");
}

bert_status bert_cpu_plan_unpack_tokens(const bert_cpu_planner *planner) {
    return plan(planner, run_unpack, "unpack_tokens/cpu");
}
