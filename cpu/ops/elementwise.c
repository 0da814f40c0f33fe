/* Functions of one float32 tensor, and of several with ONNX's broadcasting. */
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

enum { MOST_OPERANDS = 3 };

/* Dimensions of y with the steps of the operands along each, neighbours joined where all go on evenly. */
typedef struct broadcast {
    int32_t operands;
    int32_t rank; /* >= 1; the last dimension is the inner loop */
    int64_t dims[BERT_MAX_RANK], strides[MOST_OPERANDS][BERT_MAX_RANK];
    int64_t rows_per_task, pieces_per_row;
} broadcast;

/* Computes elements [first, first + n) of inner row `row`, for which the operands begin at `offsets`. */
typedef void (*broadcast_row_fn)(const broadcast *b, const int64_t *offsets, int64_t position, int64_t n);

/* Whether dimension i of y, of `size`, goes on where the last one of `b` steps, for every operand. */
static bool goes_on(const broadcast *b, int64_t strides[][BERT_MAX_RANK], int32_t i, int64_t size) {
    bool even = b->rank > 0;
    for (int32_t o = 0; even && o < b->operands; o++) even = b->strides[o][b->rank - 1] == strides[o][i] * size;
    return even;
}

static broadcast collapse(const bert_tensor *inputs, int32_t operands, const bert_tensor *y) {
    broadcast b = {.operands = operands};
    int64_t strides[MOST_OPERANDS][BERT_MAX_RANK];
    for (int32_t o = 0; o < operands; o++) bert_cpu_steps(&inputs[o], y->rank, strides[o]);
    for (int32_t i = 0; i < y->rank; i++) {
        if (y->dims[i] == 1) continue;
        if (goes_on(&b, strides, i, y->dims[i])) {
            b.dims[b.rank - 1] *= y->dims[i];
        } else {
            b.dims[b.rank++] = y->dims[i];
        }
        for (int32_t o = 0; o < operands; o++) b.strides[o][b.rank - 1] = strides[o][i];
    }
    if (b.rank == 0) b.dims[b.rank++] = 1;
    const int64_t n = b.dims[b.rank - 1];
    b.pieces_per_row = (n + TASK_FLOATS - 1) / TASK_FLOATS;
    b.rows_per_task = TASK_FLOATS / n + 1;
    return b;
}

static void run_row(const broadcast *b, broadcast_row_fn compute, int64_t row, int64_t first, int64_t n) {
    const int32_t inner = b->rank - 1;
    int64_t offsets[MOST_OPERANDS] = {0};
    const int64_t position = row * b->dims[inner] + first;
    for (int32_t o = 0; o < b->operands; o++) offsets[o] = first * b->strides[o][inner];
    for (int32_t i = inner - 1; i >= 0; i--) {
        for (int32_t o = 0; o < b->operands; o++) offsets[o] += row % b->dims[i] * b->strides[o][i];
        row /= b->dims[i];
    }
    compute(b, offsets, position, n);
}

/* One task of a run that is made of a broadcast and what it is for. */
static void run_rows(const broadcast *b, broadcast_row_fn compute, int64_t task) {
    const int64_t n = b->dims[b->rank - 1], rows = bert_cpu_count(b->dims, 0, b->rank - 1);
    if (b->pieces_per_row > 1) {
        const int64_t first = task % b->pieces_per_row * TASK_FLOATS;
        run_row(b, compute, task / b->pieces_per_row, first, n - first < TASK_FLOATS ? n - first : TASK_FLOATS);
        return;
    }
    const int64_t last = (task + 1) * b->rows_per_task, end = last < rows ? last : rows;
    for (int64_t row = task * b->rows_per_task; row < end; row++) run_row(b, compute, row, 0, n);
}

static int64_t count_tasks(const broadcast *b) {
    const int64_t rows = bert_cpu_count(b->dims, 0, b->rank - 1);
    return b->pieces_per_row > 1 ? rows * b->pieces_per_row : (rows + b->rows_per_task - 1) / b->rows_per_task;
}

/* ---- Two tensors ------------------------------------------------------------------------------------------------- */

typedef struct binary_run {
    broadcast b; /* first, so that a row finds the rest */
    const bert_cpu_kernels *kernels;
    bert_binary op;
    float *y;
    const float *operands[2];
} binary_run;

static void compute_binary_row(const broadcast *b, const int64_t *offsets, int64_t position, int64_t n) {
    const binary_run *run = (const binary_run *)b;
    run->kernels->binary(&(bert_binary_args){.y = run->y + position,
                                             .a = run->operands[0] + offsets[0],
                                             .b = run->operands[1] + offsets[1],
                                             .a_stride = b->strides[0][b->rank - 1],
                                             .b_stride = b->strides[1][b->rank - 1],
                                             .n = n,
                                             .op = run->op});
}

static void run_binary_piece(void *argument, int64_t task, int thread) {
    run_rows(argument, compute_binary_row, task);
}

static bert_status run_binary(const bert_kernel_call *call, bert_error *error) {
    const bert_tensor *y = &call->outputs[0];
    if (bert_tensor_elements(y) == 0) return BERT_OK;
    binary_run run = {.b = collapse(call->inputs, 2, y),
                      .kernels = bert_cpu_kernels_for(call),
                      .op = *(const bert_binary *)call->plan->state,
                      .y = y->data,
                      .operands = {call->inputs[0].data, call->inputs[1].data}};
    bert_thread_pool_run(bert_cpu_threads_for(call), count_tasks(&run.b), run_binary_piece, &run);
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

/* ---- Where ------------------------------------------------------------------------------------------------------- */

enum { CONDITION, X, Y };

typedef struct where_run {
    broadcast b; /* first, so that a row finds the rest */
    size_t size; /* bytes of an element of x, y and the output */
    const unsigned char *data[3];
    unsigned char *out;
} where_run;

/* The inner loops that compilers make vectors of: x and y a number or a row each. */
#define CHOOSE(type, x_step, y_step)                                                                                   \
    for (int64_t i = 0; i < n; i++) out[i] = condition[i] ? x[i * (x_step)] : y[i * (y_step)]
#define DEFINE_CHOOSE(type)                                                                                            \
    static void choose_##type(type *restrict out, const uint8_t *restrict condition, const type *restrict x,           \
                              const type *restrict y, int64_t n, bool x_row, bool y_row) {                             \
        if (x_row && y_row)                                                                                            \
            CHOOSE(type, 1, 1);                                                                                        \
        else if (x_row)                                                                                                \
            CHOOSE(type, 1, 0);                                                                                        \
        else if (y_row)                                                                                                \
            CHOOSE(type, 0, 1);                                                                                        \
        else                                                                                                           \
            CHOOSE(type, 0, 0);                                                                                        \
    }
DEFINE_CHOOSE(uint8_t)
DEFINE_CHOOSE(uint16_t)
DEFINE_CHOOSE(uint32_t)
DEFINE_CHOOSE(uint64_t)

/* One operand for the whole row. */
static void copy(unsigned char *out, const unsigned char *from, size_t size, int64_t n, bool row) {
    if (row) {
        memcpy(out, from, (size_t)n * size);
        return;
    }
    for (int64_t i = 0; i < n; i++) memcpy(out + (size_t)i * size, from, size);
}

static void compute_where_row(const broadcast *b, const int64_t *offsets, int64_t position, int64_t n) {
    const where_run *run = (const where_run *)b;
    const int32_t inner = b->rank - 1;
    const uint8_t *condition = run->data[CONDITION] + offsets[CONDITION];
    const unsigned char *x = run->data[X] + (size_t)offsets[X] * run->size;
    const unsigned char *y = run->data[Y] + (size_t)offsets[Y] * run->size;
    const bool x_row = b->strides[X][inner] != 0, y_row = b->strides[Y][inner] != 0;
    unsigned char *out = run->out + (size_t)position * run->size;
    if (b->strides[CONDITION][inner] == 0) {
        copy(out, *condition ? x : y, run->size, n, *condition ? x_row : y_row);
        return;
    }
#define CALL(type)                                                                                                     \
    choose_##type((type *)(void *)out, condition, (const type *)(const void *)x, (const type *)(const void *)y, n,     \
                  x_row, y_row)
    switch (run->size) {
    case 1:
        CALL(uint8_t);
        return;
    case 2:
        CALL(uint16_t);
        return;
    case 4:
        CALL(uint32_t);
        return;
    default:
        CALL(uint64_t);
    }
#undef CALL
}

static void run_where_piece(void *argument, int64_t task, int thread) {
    run_rows(argument, compute_where_row, task);
}

static bert_status run_where(const bert_kernel_call *call, bert_error *error) {
    const bert_tensor *out = &call->outputs[0];
    if (bert_tensor_elements(out) == 0) return BERT_OK;
    where_run run = {.b = collapse(call->inputs, 3, out), .size = bert_dtype_size(out->dtype), .out = out->data};
    for (int i = CONDITION; i <= Y; i++) run.data[i] = call->inputs[i].data;
    bert_thread_pool_run(bert_cpu_threads_for(call), count_tasks(&run.b), run_where_piece, &run);
    return BERT_OK;
}

bert_status bert_cpu_plan_where(const bert_cpu_planner *planner) {
    if (!bert_cpu_is_moved(planner->node, X)) return bert_cpu_leave(planner, "doesn't move this type");
    planner->out->run = run_where;
    planner->out->kernel = "where/cpu";
    return BERT_OK;
}
