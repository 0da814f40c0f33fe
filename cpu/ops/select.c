/* Where, and GatherElements: each element of y is one that a mask or an index chooses. */
#include "cpu/ops/ops.h"

#include <stdatomic.h>
#include <string.h>

/* Elements of one task. */
enum { TASK_ELEMENTS = 16384 };

/* ---- Where ------------------------------------------------------------------------------------------------------- */

enum { CONDITION, X, Y, OPERANDS };

/* Dimensions of the output with the operands' steps along each; the last dimension is the inner loop. */
typedef struct where_run {
    const unsigned char *data[OPERANDS];
    unsigned char *out;
    size_t size;
    int32_t rank;
    int64_t dims[BERT_MAX_RANK], steps[OPERANDS][BERT_MAX_RANK];
    int64_t task_rows;
} where_run;

/* Whether dimension `i` goes on evenly from the last that was taken. */
static bool goes_on(const where_run *run, int64_t steps[OPERANDS][BERT_MAX_RANK], int32_t i, int64_t size) {
    for (int operand = 0; operand < OPERANDS; operand++)
        if (run->steps[operand][run->rank - 1] != steps[operand][i] * size) return false;
    return true;
}

static void join(where_run *run, const bert_kernel_call *call, const bert_tensor *out) {
    int64_t steps[OPERANDS][BERT_MAX_RANK];
    for (int operand = 0; operand < OPERANDS; operand++)
        bert_cpu_steps(&call->inputs[operand], out->rank, steps[operand]);
    for (int32_t i = 0; i < out->rank; i++) {
        if (out->dims[i] == 1) continue;
        const bool joined = run->rank > 0 && goes_on(run, steps, i, out->dims[i]);
        const int32_t at = joined ? run->rank - 1 : run->rank++;
        run->dims[at] = out->dims[i] * (joined ? run->dims[at] : 1);
        for (int operand = 0; operand < OPERANDS; operand++) run->steps[operand][at] = steps[operand][i];
    }
    if (run->rank == 0) run->dims[run->rank++] = 1;
}

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

static void run_where_row(const where_run *run, int64_t row) {
    const int32_t inner = run->rank - 1;
    const int64_t n = run->dims[inner];
    int64_t at[OPERANDS] = {0}, left = row;
    for (int32_t i = inner - 1; i >= 0; i--) {
        for (int operand = 0; operand < OPERANDS; operand++)
            at[operand] += left % run->dims[i] * run->steps[operand][i];
        left /= run->dims[i];
    }
    const uint8_t *condition = run->data[CONDITION] + at[CONDITION];
    const unsigned char *x = run->data[X] + (size_t)at[X] * run->size, *y = run->data[Y] + (size_t)at[Y] * run->size;
    const bool x_row = run->steps[X][inner] != 0, y_row = run->steps[Y][inner] != 0;
    unsigned char *out = run->out + (size_t)(row * n) * run->size;
    if (run->steps[CONDITION][inner] == 0) {
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
    const where_run *run = argument;
    const int64_t rows = bert_cpu_count(run->dims, 0, run->rank - 1);
    const int64_t last = (task + 1) * run->task_rows, end = last < rows ? last : rows;
    for (int64_t row = task * run->task_rows; row < end; row++) run_where_row(run, row);
}

static bert_status run_where(const bert_kernel_call *call, bert_error *error) {
    const bert_tensor *out = &call->outputs[0];
    where_run run = {.out = out->data, .size = bert_dtype_size(out->dtype)};
    if (bert_tensor_elements(out) == 0) return BERT_OK;
    for (int operand = 0; operand < OPERANDS; operand++) run.data[operand] = call->inputs[operand].data;
    join(&run, call, out);
    run.task_rows = TASK_ELEMENTS / run.dims[run.rank - 1] + 1;
    const int64_t rows = bert_cpu_count(run.dims, 0, run.rank - 1);
    bert_thread_pool_run(rows <= run.task_rows ? NULL : bert_cpu_threads_for(call),
                         (rows + run.task_rows - 1) / run.task_rows, run_where_piece, &run);
    return BERT_OK;
}

bert_status bert_cpu_plan_where(const bert_cpu_planner *planner) {
    if (!bert_cpu_is_moved(planner->node, X)) return bert_cpu_leave(planner, "doesn't move this type");
    planner->out->run = run_where;
    planner->out->kernel = "where/cpu";
    return BERT_OK;
}

/* ---- GatherElements ---------------------------------------------------------------------------------------------- */

typedef struct gather_run {
    const bert_tensor *x, *indices;
    unsigned char *y;
    size_t size;
    int32_t axis;
    int64_t steps[BERT_MAX_RANK]; /* of x */
    int64_t task_rows;
    atomic_int_least64_t wrong; /* an element whose index is outside x; -1: none */
} gather_run;

/* Indices of a row of the last dimension as offsets from what the row has of x; false: `*wrong` is outside. */
static bool find_offsets(const gather_run *run, int64_t first, int64_t n, int64_t *offsets, int64_t *wrong) {
    const int32_t last = run->x->rank - 1;
    const int64_t size = run->x->dims[run->axis], step = run->steps[run->axis];
    const int64_t along = run->axis == last ? 0 : run->steps[last];
    for (int64_t i = 0; i < n; i++) {
        int64_t index = bert_cpu_index(run->indices, first + i);
        if (index < 0) index += size;
        if (index < 0 || index >= size) {
            *wrong = first + i;
            return false;
        }
        offsets[i] = index * step + i * along;
    }
    return true;
}

#define TAKE(type)                                                                                                     \
    for (int64_t i = 0; i < n; i++) ((type *)(void *)y)[i] = ((const type *)(const void *)x)[offsets[i]]

static void take(const gather_run *run, const unsigned char *x, unsigned char *y, const int64_t *offsets, int64_t n) {
    switch (run->size) {
    case 1:
        TAKE(uint8_t);
        return;
    case 2:
        TAKE(uint16_t);
        return;
    case 4:
        TAKE(uint32_t);
        return;
    default:
        TAKE(uint64_t);
    }
}

/* A row of y in pieces. */
static bool gather_row(const gather_run *run, int64_t row, int64_t *wrong) {
    enum { PIECE = 256 };
    const bert_tensor *indices = run->indices;
    const int32_t last = indices->rank - 1;
    const int64_t n = indices->dims[last];
    int64_t from = 0, left = row, offsets[PIECE];
    for (int32_t i = last - 1; i >= 0; i--) {
        if (i != run->axis) from += left % indices->dims[i] * run->steps[i];
        left /= indices->dims[i];
    }
    for (int64_t first = 0; first < n; first += PIECE) {
        const int64_t count = n - first < PIECE ? n - first : PIECE;
        const int64_t start = from + (run->axis == last ? 0 : first * run->steps[last]);
        if (!find_offsets(run, row * n + first, count, offsets, wrong)) return false;
        take(run, (const unsigned char *)run->x->data + (size_t)start * run->size,
             run->y + (size_t)(row * n + first) * run->size, offsets, count);
    }
    return true;
}

static int64_t index_rows(const gather_run *run) {
    return bert_cpu_count(run->indices->dims, 0, run->indices->rank - 1);
}

static void gather_piece(void *argument, int64_t task, int thread) {
    gather_run *run = argument;
    const int64_t rows = index_rows(run), last = (task + 1) * run->task_rows, end = last < rows ? last : rows;
    for (int64_t row = task * run->task_rows; row < end; row++) {
        int64_t wrong;
        if (!gather_row(run, row, &wrong)) atomic_store(&run->wrong, wrong);
    }
}

static bert_status run_gather_elements(const bert_kernel_call *call, bert_error *error) {
    const bert_tensor *x = &call->inputs[0], *indices = &call->inputs[1];
    gather_run run = {
        .x = x, .indices = indices, .y = call->outputs[0].data, .axis = *(const int32_t *)call->plan->state};
    if (bert_tensor_elements(indices) == 0) return BERT_OK;
    bert_cpu_steps(x, x->rank, run.steps);
    run.size = bert_dtype_size(x->dtype);
    run.task_rows = TASK_ELEMENTS / indices->dims[indices->rank - 1] + 1;
    atomic_init(&run.wrong, -1);
    const int64_t rows = index_rows(&run);
    bert_thread_pool_run(rows <= run.task_rows ? NULL : bert_cpu_threads_for(call),
                         (rows + run.task_rows - 1) / run.task_rows, gather_piece, &run);
    const int64_t wrong = atomic_load(&run.wrong);
    if (wrong < 0) return BERT_OK;
    return bert_fail(error, BERT_INVALID_INPUT,
                     "index %lld, element %lld of the indices, is outside the %lld elements of the axis",
                     (long long)bert_cpu_index(indices, wrong), (long long)wrong, (long long)x->dims[run.axis]);
}

bert_status bert_cpu_plan_gather_elements(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    const bert_dtype dtype = node->inputs[1].dtype;
    if (dtype != BERT_INT32 && dtype != BERT_INT64) return bert_cpu_leave(planner, "takes int32 and int64 indices");
    if (!bert_cpu_is_moved(node, 0)) return bert_cpu_leave(planner, "doesn't move this type");
    planner->out->run = run_gather_elements;
    planner->out->kernel = "gather_elements/cpu";
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    if (node->inputs[0].rank < 1) return bert_cpu_leave(planner, "wants dimensions");
    const int64_t axis = BERT_NODE_INT(node, "axis", 0);
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(int32_t), &state));
    *(int32_t *)state = (int32_t)(axis < 0 ? axis + node->inputs[0].rank : axis);
    return BERT_OK;
}
