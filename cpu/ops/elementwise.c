/* Functions of one and of two float32 tensors, the latter with ONNX's broadcasting. */
#include "cpu/ops/ops.h"

#include "core/graph/op.h"

#include <string.h>

/* Elements of one task. */
enum { TASK_FLOATS = 16384 };

/* ---- One tensor -------------------------------------------------------------------------------------------------- */

typedef struct unary_run {
    const bert_cpu_kernels *kernels;
    bert_unary_args all;
} unary_run;

static void run_unary_piece(void *argument, int64_t task, int thread) {
    const unary_run *run = argument;
    bert_unary_args args = run->all;
    const int64_t first = task * TASK_FLOATS;
    args.x += first;
    args.y += first;
    args.n = args.n - first < TASK_FLOATS ? args.n - first : TASK_FLOATS;
    run->kernels->unary(&args);
}

static bert_status run_unary(const bert_kernel_call *call, bert_error *error) {
    const int64_t n = bert_tensor_elements(&call->inputs[0]);
    unary_run run = {.kernels = bert_cpu_kernels_for(call),
                     .all = {.y = call->outputs[0].data,
                             .x = call->inputs[0].data,
                             .n = n,
                             .op = *(const bert_unary *)call->plan->state}};
    bert_thread_pool_run(bert_cpu_threads_for(call), (n + TASK_FLOATS - 1) / TASK_FLOATS, run_unary_piece, &run);
    return BERT_OK;
}

static bool find_unary(const bert_op_node *node, bert_unary *out) {
    switch (node->op_id) {
    case BERT_OP_Abs:
        *out = BERT_UNARY_ABS;
        return true;
    case BERT_OP_Erf:
        *out = BERT_UNARY_ERF;
        return true;
    case BERT_OP_Exp:
        *out = BERT_UNARY_EXP;
        return true;
    case BERT_OP_Gelu:
        *out =
            strcmp(BERT_NODE_STRING(node, "approximate", "none"), "tanh") == 0 ? BERT_UNARY_GELU_TANH : BERT_UNARY_GELU;
        return true;
    case BERT_OP_MS_Gelu:
        *out = BERT_UNARY_GELU;
        return true;
    case BERT_OP_Neg:
        *out = BERT_UNARY_NEGATE;
        return true;
    case BERT_OP_Reciprocal:
        *out = BERT_UNARY_RECIPROCAL;
        return true;
    case BERT_OP_Relu:
        *out = BERT_UNARY_RELU;
        return true;
    case BERT_OP_Sigmoid:
        *out = BERT_UNARY_SIGMOID;
        return true;
    case BERT_OP_Sqrt:
        *out = BERT_UNARY_SQRT;
        return true;
    case BERT_OP_Tanh:
        *out = BERT_UNARY_TANH;
        return true;
    default:
        return false;
    }
}

bert_status bert_cpu_plan_unary(const bert_cpu_planner *planner) {
    bert_unary op;
    if (!bert_cpu_is_float(planner->node, 0) || !find_unary(planner->node, &op))
        return bert_cpu_leave(planner, "computes in float32 only");
    planner->out->run = run_unary;
    planner->out->kernel = "unary/cpu";
    planner->out->in_place = 1;
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof op, &state));
    *(bert_unary *)state = op;
    return BERT_OK;
}

/* ---- Two tensors ------------------------------------------------------------------------------------------------- */

/* Dimensions of y with the steps of a and b along each, neighbours joined where both go on evenly. */
typedef struct binary_run {
    const bert_cpu_kernels *kernels;
    bert_binary op;
    float *y;
    const float *a, *b;
    int32_t rank; /* >= 1; the last dimension is the inner loop */
    int64_t dims[BERT_MAX_RANK], a_strides[BERT_MAX_RANK], b_strides[BERT_MAX_RANK];
    int64_t rows_per_task, pieces_per_row;
} binary_run;

static void collapse(binary_run *run, const bert_tensor *a, const bert_tensor *b, const bert_tensor *y) {
    int64_t a_strides[BERT_MAX_RANK], b_strides[BERT_MAX_RANK];
    bert_cpu_steps(a, y->rank, a_strides);
    bert_cpu_steps(b, y->rank, b_strides);
    run->rank = 0;
    for (int32_t i = 0; i < y->rank; i++) {
        if (y->dims[i] == 1) continue;
        const int32_t last = run->rank - 1;
        if (last >= 0 && run->a_strides[last] == a_strides[i] * y->dims[i] &&
            run->b_strides[last] == b_strides[i] * y->dims[i]) {
            run->dims[last] *= y->dims[i];
            run->a_strides[last] = a_strides[i];
            run->b_strides[last] = b_strides[i];
            continue;
        }
        run->dims[run->rank] = y->dims[i];
        run->a_strides[run->rank] = a_strides[i];
        run->b_strides[run->rank++] = b_strides[i];
    }
    if (run->rank == 0) {
        run->rank = 1;
        run->dims[0] = 1;
        run->a_strides[0] = run->b_strides[0] = 0;
    }
}

/* Elements [first, first + n) of inner row `row`. */
static void run_row(const binary_run *run, int64_t row, int64_t first, int64_t n) {
    const int32_t inner = run->rank - 1;
    const float *a = run->a + first * run->a_strides[inner], *b = run->b + first * run->b_strides[inner];
    float *y = run->y + row * run->dims[inner] + first;
    for (int32_t i = inner - 1; i >= 0; i--) {
        a += row % run->dims[i] * run->a_strides[i];
        b += row % run->dims[i] * run->b_strides[i];
        row /= run->dims[i];
    }
    run->kernels->binary(&(bert_binary_args){.y = y,
                                             .a = a,
                                             .b = b,
                                             .a_stride = run->a_strides[inner],
                                             .b_stride = run->b_strides[inner],
                                             .n = n,
                                             .op = run->op});
}

static void run_binary_piece(void *argument, int64_t task, int thread) {
    const binary_run *run = argument;
    const int64_t n = run->dims[run->rank - 1], rows = bert_cpu_count(run->dims, 0, run->rank - 1);
    if (run->pieces_per_row > 1) {
        const int64_t first = task % run->pieces_per_row * TASK_FLOATS;
        run_row(run, task / run->pieces_per_row, first, n - first < TASK_FLOATS ? n - first : TASK_FLOATS);
        return;
    }
    const int64_t last = (task + 1) * run->rows_per_task, end = last < rows ? last : rows;
    for (int64_t row = task * run->rows_per_task; row < end; row++) run_row(run, row, 0, n);
}

static bert_status run_binary(const bert_kernel_call *call, bert_error *error) {
    const bert_tensor *y = &call->outputs[0];
    if (bert_tensor_elements(y) == 0) return BERT_OK;
    binary_run run = {.kernels = bert_cpu_kernels_for(call),
                      .op = *(const bert_binary *)call->plan->state,
                      .y = y->data,
                      .a = call->inputs[0].data,
                      .b = call->inputs[1].data};
    collapse(&run, &call->inputs[0], &call->inputs[1], y);
    const int64_t n = run.dims[run.rank - 1], rows = bert_cpu_count(run.dims, 0, run.rank - 1);
    run.pieces_per_row = (n + TASK_FLOATS - 1) / TASK_FLOATS;
    run.rows_per_task = TASK_FLOATS / n + 1;
    const int64_t tasks =
        run.pieces_per_row > 1 ? rows * run.pieces_per_row : (rows + run.rows_per_task - 1) / run.rows_per_task;
    bert_thread_pool_run(bert_cpu_threads_for(call), tasks, run_binary_piece, &run);
    return BERT_OK;
}

bert_status bert_cpu_plan_binary(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    if (!bert_cpu_is_float(node, 0) || !bert_cpu_is_float(node, 1))
        return bert_cpu_leave(planner, "computes in float32 only");
    planner->out->run = run_binary;
    planner->out->kernel = "binary/cpu";
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(bert_binary), &state));
    *(bert_binary *)state = node->op_id == BERT_OP_Sub   ? BERT_BINARY_SUBTRACT
                            : node->op_id == BERT_OP_Mul ? BERT_BINARY_MULTIPLY
                            : node->op_id == BERT_OP_Div ? BERT_BINARY_DIVIDE
                                                         : BERT_BINARY_ADD;
    bool same = node->inputs[0].rank == node->outputs[0].rank;
    for (int32_t i = 0; same && i < node->outputs[0].rank; i++)
        same = node->inputs[0].dims[i] == node->outputs[0].dims[i];
    if (same) planner->out->in_place = 1;
    return BERT_OK;
}
