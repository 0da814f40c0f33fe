/* Products with a constant right side: Linear, Gemm, and MatMul with a weight. */
#include "cpu/ops/ops.h"

#include "core/graph/canonical.h"

#include <string.h>

typedef struct linear_state {
    const bert_gemm_provider *provider;
    const bert_packed_weight *weight;
    float alpha;
    bert_unary activation;
    int32_t bias_input, residual_input; /* -1: none */
    bool own_bias;                      /* The parts' biases side by side, in `bias`. */
    float bias[];
} linear_state;

static const float *input_or_null(const bert_kernel_call *call, int32_t input) {
    return input < 0 ? NULL : bert_cpu_input(call, input);
}

static bert_status run_linear(const bert_kernel_call *call, bert_error *error) {
    const linear_state *state = call->plan->state;
    const bert_tensor *x = &call->inputs[0];
    const int64_t rows = bert_cpu_count(x->dims, 0, x->rank - 1), n = state->weight->n;
    bert_prepared *prepared = call->context->prepared;
    bert_thread_pool *threads = bert_cpu_threads_for(call);
    state->provider->run(
        &(bert_gemm_call){.kernels = bert_cpu_kernels_for(call),
                          .threads = threads,
                          .weight = bert_cpu_use_weight(prepared, threads, state->weight),
                          .model_bytes = atomic_load_explicit(&prepared->bytes, memory_order_relaxed),
                          .x = x->data,
                          .rows = rows,
                          .x_rows = (uint16_t *)(void *)call->x_bytes.bytes,
                          .y_rows = (uint16_t *)(void *)call->y_bytes.bytes,
                          .x_made = call->x_bytes_made,
                          .y_unread = call->y_unread,
                          .workspace = call->workspace,
                          .epilogue = {.y = call->outputs[0].data,
                                       .bias = state->own_bias ? state->bias : input_or_null(call, state->bias_input),
                                       .residual = input_or_null(call, state->residual_input),
                                       .stride = n,
                                       .residual_stride = n,
                                       .alpha = state->alpha,
                                       .activation = state->activation}});
    return BERT_OK;
}

/* Whether an input is a float matrix that can be packed. */
static bool is_weight(const bert_op_node *node, int32_t input) {
    if (!bert_cpu_is_float(node, input)) return false;
    const bert_constant *constant = node->inputs[input].constant;
    return constant && constant->id != 0 && constant->rank == 2;
}

/* What the three operators have in common, once the source is known. `state_bytes` covers linear_state and bias. */
static bert_status plan_product(const bert_cpu_planner *planner, const bert_weight_source *source, size_t bias_count,
                                linear_state **state_out) {
    const bert_gemm_provider *provider = planner->prepared->gemm;
    planner->out->run = run_linear;
    planner->out->kernel = provider->kernel;
    *state_out = NULL;
    if (planner->mode == BERT_PLAN_QUERY) return BERT_OK;
    const bert_packed_weight *weight = NULL;
    BERT_TRY(
        bert_cpu_pack_weight(planner->prepared, bert_cpu_planner_threads(planner), source, &weight, planner->error));
    if (planner->mode == BERT_PLAN_PREPARE) return BERT_OK;
    const bert_tensor_desc *x = &planner->node->inputs[0];
    size_t rows = SIZE_MAX;
    bert_size_product(1, x->dims, x->rank - 1, &rows);
    const int threads = bert_thread_pool_threads(planner->context->threads);
    planner->out->workspace_bytes = planner->out->x_bytes ? bert_gemm_scratch_bytes(provider, weight, rows, threads)
                                                          : bert_gemm_workspace_bytes(provider, weight, rows, threads);
    if (planner->out->workspace_bytes == SIZE_MAX) return bert_cpu_leave(planner, "can't hold an input of this size");
    void *memory;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(linear_state) + bias_count * sizeof(float), &memory));
    linear_state *state = memory;
    state->provider = provider;
    state->weight = weight;
    state->alpha = 1.0F;
    state->bias_input = state->residual_input = -1;
    *state_out = state;
    return BERT_OK;
}

/* ---- Linear ------------------------------------------------------------------------------------------------------ */

/* Fills the source, and the columns of all parts. */
static bert_status collect_parts(const bert_cpu_planner *planner, int64_t parts, bert_weight_source *source,
                                 int64_t *columns) {
    const bert_op_node *node = planner->node;
    *source = (bert_weight_source){.count = (int32_t)parts, .transposed = BERT_NODE_INT(node, "transpose", 0) != 0};
    for (int32_t part = 0; part < source->count; part++) {
        if (!is_weight(node, BERT_LINEAR_WEIGHT(part)))
            return bert_cpu_leave(planner, "wants constant float32 weights");
        if (!bert_cpu_float_or_absent(node, BERT_LINEAR_BIAS(part)))
            return bert_cpu_leave(planner, "wants float32 biases");
        if (parts > 1 && bert_cpu_has(node, BERT_LINEAR_BIAS(part)) && !node->inputs[BERT_LINEAR_BIAS(part)].constant)
            return bert_cpu_leave(planner, "wants constant biases where there are several parts");
        int64_t k, n;
        source->parts[part] = node->inputs[BERT_LINEAR_WEIGHT(part)].constant;
        bert_gemm_part_shape(source->parts[part], source->transposed, &k, &n);
        *columns += n;
    }
    return BERT_OK;
}

/* Biases of several parts become one; a missing one is zeros, which the state holds already. */
static void join_biases(const bert_op_node *node, const bert_weight_source *source, linear_state *state) {
    state->own_bias = true;
    int64_t first = 0;
    for (int32_t part = 0; part < source->count; part++) {
        int64_t k, n;
        bert_gemm_part_shape(source->parts[part], source->transposed, &k, &n);
        if (bert_cpu_has(node, BERT_LINEAR_BIAS(part))) {
            bert_cpu_read_floats(node->inputs[BERT_LINEAR_BIAS(part)].constant, 0, n, state->bias + first);
        }
        first += n;
    }
}

/* The forms of x and y that products read and write beside float32. */
static void plan_rows(const bert_cpu_planner *planner, const bert_weight_source *source, int64_t columns) {
    int64_t k, n;
    bert_gemm_part_shape(source->parts[0], source->transposed, &k, &n);
    planner->out->x_bytes = bert_cpu_row_bytes(planner, k);
    if (planner->mode == BERT_PLAN_BIND) planner->out->y_bytes = bert_cpu_row_bytes(planner, columns);
}

bert_status bert_cpu_plan_linear(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    const int64_t parts = BERT_NODE_INT(node, "parts", 1);
    int64_t n = 0;
    bert_unary activation;
    bert_weight_source source;
    if (parts < 1 || parts > BERT_GEMM_MAX_PARTS) return bert_cpu_leave(planner, "takes 1 to 8 parts");
    if (!bert_cpu_activation(BERT_NODE_STRING(node, "activation", "none"), &activation))
        return bert_cpu_leave(planner, "doesn't know this activation");
    if (!bert_cpu_is_float(node, BERT_LINEAR_X) || !bert_cpu_float_or_absent(node, BERT_LINEAR_RESIDUAL))
        return bert_cpu_leave(planner, "computes in float32 only");
    BERT_TRY(collect_parts(planner, parts, &source, &n));

    linear_state *state;
    plan_rows(planner, &source, n);
    BERT_TRY(plan_product(planner, &source, parts > 1 ? (size_t)n : 0, &state));
    const bool in_place = bert_gemm_in_place(planner->prepared->gemm, &source);
    for (int32_t part = 0; part < source.count; part++) {
        if (!in_place) planner->out->unread_inputs |= UINT64_C(1) << BERT_LINEAR_WEIGHT(part);
        if (parts > 1 && bert_cpu_has(node, BERT_LINEAR_BIAS(part)))
            planner->out->unread_inputs |= UINT64_C(1) << BERT_LINEAR_BIAS(part);
    }
    if (!state) return BERT_OK;
    state->alpha = BERT_NODE_FLOAT(node, "alpha", 1.0F);
    state->activation = activation;
    if (bert_cpu_has(node, BERT_LINEAR_RESIDUAL)) state->residual_input = BERT_LINEAR_RESIDUAL;
    if (parts > 1)
        join_biases(node, &source, state);
    else if (bert_cpu_has(node, BERT_LINEAR_BIAS(0)))
        state->bias_input = BERT_LINEAR_BIAS(0);
    return BERT_OK;
}

/* ---- Gemm and MatMul as the file has them ------------------------------------------------------------------------ */

static void mark_packed(const bert_cpu_planner *planner, const bert_weight_source *source) {
    if (!bert_gemm_in_place(planner->prepared->gemm, source)) planner->out->unread_inputs |= UINT64_C(1) << 1;
}

bert_status bert_cpu_plan_gemm(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    if (!bert_cpu_is_float(node, 0) || !is_weight(node, 1) || BERT_NODE_INT(node, "transA", 0) != 0)
        return bert_cpu_leave(planner, "takes a plain float32 A and a constant B");
    const bert_weight_source source = {
        .parts = {node->inputs[1].constant}, .count = 1, .transposed = BERT_NODE_INT(node, "transB", 0) != 0};
    int64_t k, n;
    bert_gemm_part_shape(source.parts[0], source.transposed, &k, &n);
    if (bert_cpu_has(node, 2)) {
        const bert_tensor_desc *bias = &node->inputs[2];
        const bool row =
            (bias->rank == 1 && bias->dims[0] == n) || (bias->rank == 2 && bias->dims[0] == 1 && bias->dims[1] == n);
        if (bias->dtype != BERT_FLOAT || !row || BERT_NODE_FLOAT(node, "beta", 1.0F) != 1.0F)
            return bert_cpu_leave(planner, "takes one row of C with a beta of 1");
    }
    linear_state *state;
    BERT_TRY(plan_product(planner, &source, 0, &state));
    mark_packed(planner, &source);
    if (!state) return BERT_OK;
    state->alpha = BERT_NODE_FLOAT(node, "alpha", 1.0F);
    if (bert_cpu_has(node, 2)) state->bias_input = 2;
    return BERT_OK;
}

static bert_status plan_batched(const bert_cpu_planner *planner);

bert_status bert_cpu_plan_matmul(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    if (!bert_cpu_is_float(node, 0) || !bert_cpu_is_float(node, 1))
        return bert_cpu_leave(planner, "computes in float32 only");
    if (node->inputs[0].rank == 1 || node->inputs[1].rank == 1)
        return bert_cpu_leave(planner, "takes matrices, not vectors");
    if (!is_weight(node, 1)) return plan_batched(planner);
    const bert_weight_source source = {.parts = {node->inputs[1].constant}, .count = 1};
    linear_state *state;
    BERT_TRY(plan_product(planner, &source, 0, &state));
    mark_packed(planner, &source);
    return BERT_OK;
}

/* ---- MatMul of two activations ----------------------------------------------------------------------------------- */

/* Rows of one task. */
enum { TASK_ROWS = 64 };

typedef struct batched_run {
    const bert_kernel_call *call;
    int64_t m, n, k, row_blocks;
} batched_run;

static void run_batched_block(void *argument, int64_t task, int thread) {
    const batched_run *run = argument;
    const bert_tensor *a = &run->call->inputs[0], *b = &run->call->inputs[1], *y = &run->call->outputs[0];
    const int64_t batch = task / run->row_blocks, row = task % run->row_blocks * TASK_ROWS;
    const int64_t rows = run->m - row < TASK_ROWS ? run->m - row : TASK_ROWS;
    run->call->context->prepared->multiply(
        &(bert_sgemm_args){.c = (float *)y->data + (batch * run->m + row) * run->n,
                           .a = (const float *)a->data + bert_cpu_matrix_offset(a, y, batch) + row * run->k,
                           .b = (const float *)b->data + bert_cpu_matrix_offset(b, y, batch),
                           .ldc = run->n,
                           .lda = run->k,
                           .ldb = run->n,
                           .m = rows,
                           .n = run->n,
                           .k = run->k});
}

static bert_status run_batched(const bert_kernel_call *call, bert_error *error) {
    const bert_tensor *a = &call->inputs[0], *y = &call->outputs[0];
    if (bert_tensor_elements(y) == 0) return BERT_OK;
    batched_run run = {.call = call, .m = y->dims[y->rank - 2], .n = y->dims[y->rank - 1], .k = a->dims[a->rank - 1]};
    run.row_blocks = (run.m + TASK_ROWS - 1) / TASK_ROWS;
    const int64_t batches = bert_cpu_count(y->dims, 0, y->rank - 2);
    bert_thread_pool_run(bert_cpu_threads_for(call), batches * run.row_blocks, run_batched_block, &run);
    return BERT_OK;
}

static bert_status plan_batched(const bert_cpu_planner *planner) {
    planner->out->run = run_batched;
    planner->out->kernel = "matmul/cpu";
    return BERT_OK;
}
