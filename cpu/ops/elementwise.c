/* Functions of one float32 tensor, and of several with ONNX's broadcasting. */
#include "cpu/ops/ops.h"
#include "cpu/ops/walk.h"

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
    case BERT_OP_MS_QuickGelu: {
        const float alpha = BERT_NODE_FLOAT(node, "alpha", 1.702F);
        *out = alpha == 1.0F ? BERT_UNARY_SILU : BERT_UNARY_QUICK_GELU;
        return alpha == 1.0F || alpha == 1.702F;
    }
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

/* Whether each element is no number. */
typedef struct nan_run {
    uint8_t *y;
    const float *x;
    int64_t n;
} nan_run;

static void run_nan_piece(void *argument, int64_t task, int thread) {
    const nan_run *run = argument;
    const int64_t first = task * TASK_FLOATS;
    const int64_t end = run->n - first < TASK_FLOATS ? run->n : first + TASK_FLOATS;
    for (int64_t i = first; i < end; i++) run->y[i] = run->x[i] != run->x[i];
}

static bert_status run_nan(const bert_kernel_call *call, bert_error *error) {
    nan_run run = {.y = call->outputs[0].data, .x = call->inputs[0].data, .n = bert_tensor_elements(&call->inputs[0])};
    bert_thread_pool_run(bert_cpu_threads_for(call), (run.n + TASK_FLOATS - 1) / TASK_FLOATS, run_nan_piece, &run);
    return BERT_OK;
}

bert_status bert_cpu_plan_is_nan(const bert_cpu_planner *planner) {
    if (!bert_cpu_is_float(planner->node, 0)) return bert_cpu_leave(planner, "takes float32 only");
    planner->out->run = run_nan;
    planner->out->kernel = "is_nan/cpu";
    return BERT_OK;
}

/* ---- Several tensors --------------------------------------------------------------------------------------------- */

/* All of y; the operands are the `inputs`, which broadcast to it, and y. */
static bert_walk walk_over(const bert_kernel_call *call, int32_t inputs) {
    const bert_tensor *y = &call->outputs[0];
    bert_walk walk = bert_walk_begin(y->rank, y->dims);
    for (int32_t i = 0; i < inputs; i++) bert_walk_add(&walk, &call->inputs[i]);
    bert_walk_add(&walk, y);
    return walk;
}

/* ---- Two tensors ------------------------------------------------------------------------------------------------- */

typedef struct binary_run {
    const bert_cpu_kernels *kernels;
    bert_binary op;
    float *y;
    const float *a, *b;
} binary_run;

static void compute_row(const void *argument, const int64_t *offsets, const int64_t *steps, int64_t n) {
    const binary_run *run = argument;
    run->kernels->binary(&(bert_binary_args){.y = run->y + offsets[2],
                                             .a = run->a + offsets[0],
                                             .b = run->b + offsets[1],
                                             .a_stride = steps[0],
                                             .b_stride = steps[1],
                                             .n = n,
                                             .op = run->op});
}

static bert_status run_binary(const bert_kernel_call *call, bert_error *error) {
    const binary_run run = {.kernels = bert_cpu_kernels_for(call),
                            .op = *(const bert_binary *)call->plan->state,
                            .y = call->outputs[0].data,
                            .a = call->inputs[0].data,
                            .b = call->inputs[1].data};
    bert_walk walk = walk_over(call, 2);
    bert_walk_run(&walk, bert_cpu_threads_for(call), sizeof(float), compute_row, &run);
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
    if (bert_cpu_same_dims(&node->inputs[0], &node->outputs[0])) planner->out->in_place = 1;
    return BERT_OK;
}

/* ---- Where ------------------------------------------------------------------------------------------------------- */

enum { CONDITION, X, Y, OUT };

typedef struct where_run {
    size_t size; /* bytes of an element of x, y and the output */
    const uint8_t *condition;
    const unsigned char *x, *y;
    unsigned char *out;
} where_run;

/* The inner loops that compilers make vectors of: x and y a number or a row each. */
#define CHOOSE(x_step, y_step)                                                                                         \
    for (int64_t i = 0; i < n; i++) out[i] = condition[i] ? x[i * (x_step)] : y[i * (y_step)]
#define DEFINE_CHOOSE(type)                                                                                            \
    static void choose_##type(type *restrict out, const uint8_t *restrict condition, const type *restrict x,           \
                              const type *restrict y, int64_t n, bool x_row, bool y_row) {                             \
        if (x_row && y_row)                                                                                            \
            CHOOSE(1, 1);                                                                                              \
        else if (x_row)                                                                                                \
            CHOOSE(1, 0);                                                                                              \
        else if (y_row)                                                                                                \
            CHOOSE(0, 1);                                                                                              \
        else                                                                                                           \
            CHOOSE(0, 0);                                                                                              \
    }
DEFINE_CHOOSE(uint8_t)
DEFINE_CHOOSE(uint16_t)
DEFINE_CHOOSE(uint32_t)
DEFINE_CHOOSE(uint64_t)

static void choose_row(const void *argument, const int64_t *offsets, const int64_t *steps, int64_t n) {
    const where_run *run = argument;
    const uint8_t *condition = run->condition + offsets[CONDITION];
    const unsigned char *x = run->x + (size_t)offsets[X] * run->size;
    const unsigned char *y = run->y + (size_t)offsets[Y] * run->size;
    unsigned char *out = run->out + (size_t)offsets[OUT] * run->size;
    if (steps[CONDITION] == 0) {
        bert_cpu_copy(out, 1, *condition ? x : y, steps[*condition ? X : Y], run->size, n);
        return;
    }
#define CALL(type)                                                                                                     \
    choose_##type((type *)(void *)out, condition, (const type *)(const void *)x, (const type *)(const void *)y, n,     \
                  steps[X] != 0, steps[Y] != 0)
    BERT_CPU_BY_SIZE(run->size, CALL)
#undef CALL
}

static bert_status run_where(const bert_kernel_call *call, bert_error *error) {
    const where_run run = {.size = bert_dtype_size(call->outputs[0].dtype),
                           .condition = call->inputs[CONDITION].data,
                           .x = call->inputs[X].data,
                           .y = call->inputs[Y].data,
                           .out = call->outputs[0].data};
    bert_walk walk = walk_over(call, 3);
    bert_walk_run(&walk, bert_cpu_threads_for(call), run.size, choose_row, &run);
    return BERT_OK;
}

bert_status bert_cpu_plan_where(const bert_cpu_planner *planner) {
    if (!bert_cpu_is_moved(planner->node, X)) return bert_cpu_leave(planner, "doesn't move this type");
    planner->out->run = run_where;
    planner->out->kernel = "where/cpu";
    return BERT_OK;
}
