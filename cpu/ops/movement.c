/* Transpose, Gather and GatherElements: elements are moved, not changed. */
#include "cpu/ops/ops.h"
#include "cpu/ops/walk.h"

#include <stdatomic.h>
#include <string.h>

/* ---- Transpose --------------------------------------------------------------------------------------------------- */

/*
 * Neighbouring dimensions that stay together are joined first. Where the last one stays last, rows are copied; else the
 * plane of x's last dimension and y's last dimension is transposed for every index of the others.
 */
typedef struct transpose_state {
    int32_t perm[BERT_MAX_RANK];
} transpose_state;

enum { FROM, TO }; /* operands of the walk over y's shape: x and y */

typedef struct transpose_run {
    const bert_cpu_kernels *kernels;
    const unsigned char *x;
    unsigned char *y;
    size_t size;    /* of an element */
    bert_walk walk; /* joined */
    int32_t plane;  /* the dimension of y along which x is contiguous */
} transpose_run;

static void join(const bert_tensor *x, const bert_tensor *y, const int32_t *perm, transpose_run *run) {
    bert_walk walk = bert_walk_begin(y->rank, y->dims);
    bert_walk_add(&walk, x);
    bert_walk_add(&walk, y);
    run->walk = walk;
    for (int32_t i = 0; i < x->rank; i++) run->walk.steps[FROM][i] = walk.steps[FROM][perm[i]];
    bert_walk_join(&run->walk);
    run->plane = run->walk.rank - 1;
    while (run->plane > 0 && run->walk.steps[FROM][run->plane] != 1) run->plane--;
}

static void copy_row(const void *argument, const int64_t *offsets, const int64_t *steps, int64_t n) {
    const transpose_run *run = argument;
    const int64_t size = (int64_t)run->size;
    memcpy(run->y + offsets[TO] * size, run->x + offsets[FROM] * size, (size_t)(n * size));
}

/* A plane of elements that the kernel doesn't have: squares of 16 by 16, whose lines stay in the first-level cache. */
static void transpose_elements(const bert_transpose_args *args, void *to, const void *from, size_t size) {
    enum { SIDE = 16 };
    for (int64_t i = 0; i < args->columns; i += SIDE) {
        const int64_t i_end = bert_smaller(args->columns, i + SIDE);
        for (int64_t j = 0; j < args->rows; j += SIDE) {
            const int64_t j_end = bert_smaller(args->rows, j + SIDE);
#define TRANSPOSE(type)                                                                                                \
    for (int64_t y_row = i; y_row < i_end; y_row++)                                                                    \
        for (int64_t x_row = j; x_row < j_end; x_row++)                                                                \
            ((type *)to)[y_row * args->ldy + x_row] = ((const type *)from)[x_row * args->ldx + y_row];
            BERT_CPU_BY_SIZE(size, TRANSPOSE)
#undef TRANSPOSE
        }
    }
}

/* One plane, for an index of the other dimensions. */
static void transpose_plane(void *argument, int64_t index, int thread) {
    const transpose_run *run = argument;
    const bert_walk *walk = &run->walk;
    const int32_t last = walk->rank - 1;
    int64_t x = 0, y = 0;
    for (int32_t i = last - 1; i >= 0; i--) {
        if (i == run->plane) continue;
        const int64_t at = index % walk->dims[i];
        index /= walk->dims[i];
        x += at * walk->steps[FROM][i];
        y += at * walk->steps[TO][i];
    }
    unsigned char *to = run->y + y * (int64_t)run->size;
    const unsigned char *from = run->x + x * (int64_t)run->size;
    bert_transpose_args args = {.ldy = walk->steps[TO][run->plane],
                                .ldx = walk->steps[FROM][last],
                                .rows = walk->dims[last],
                                .columns = walk->dims[run->plane]};
    if (run->size != sizeof(float)) {
        transpose_elements(&args, to, from, run->size);
        return;
    }
    args.y = (float *)(void *)to;
    args.x = (const float *)(const void *)from;
    run->kernels->transpose(&args);
}

static bert_status run_transpose(const bert_kernel_call *call, bert_error *error) {
    const transpose_state *state = call->plan->state;
    const bert_tensor *x = &call->inputs[0], *y = &call->outputs[0];
    const int64_t elements = bert_tensor_elements(x);
    if (elements == 0) return BERT_OK;
    transpose_run run = {
        .kernels = bert_cpu_kernels_for(call), .x = x->data, .y = y->data, .size = bert_dtype_size(x->dtype)};
    join(x, y, state->perm, &run);
    const int32_t last = run.walk.rank - 1;
    if (run.plane == last) {
        bert_walk_run(&run.walk, bert_cpu_threads_for(call), run.size, copy_row, &run);
        return BERT_OK;
    }
    const int64_t planes = elements / (run.walk.dims[last] * run.walk.dims[run.plane]);
    bert_thread_pool_run(bert_cpu_threads_for(call), planes, transpose_plane, &run);
    return BERT_OK;
}

bert_status bert_cpu_plan_transpose(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    if (!bert_cpu_is_moved(node, 0)) return bert_cpu_leave(planner, "moves elements of 1, 2, 4 or 8 bytes");
    planner->out->run = run_transpose;
    planner->out->kernel = "transpose/cpu";
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    size_t count;
    const int64_t *perm = BERT_NODE_INTS(node, "perm", &count);
    const int32_t rank = node->inputs[0].rank;
    if (perm && (int32_t)count != rank) return bert_cpu_leave(planner, "wants perm to have an entry a dimension");
    void *memory;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(transpose_state), &memory));
    transpose_state *state = memory;
    for (int32_t i = 0; i < rank; i++) state->perm[i] = perm ? (int32_t)perm[i] : rank - 1 - i;
    return BERT_OK;
}

/* ---- Gather ------------------------------------------------------------------------------------------------------ */

typedef struct gather_run {
    const bert_tensor *indices;
    const unsigned char *x;
    unsigned char *y;
    int64_t count, rows;       /* indices; what they choose from */
    int64_t y_rows, task_rows; /* of the output */
    size_t bytes;              /* of one row */
} gather_run;

static void gather_rows(void *argument, int64_t task, int thread) {
    const gather_run *run = argument;
    const int64_t last = (task + 1) * run->task_rows, end = last < run->y_rows ? last : run->y_rows;
    for (int64_t row = task * run->task_rows; row < end; row++) {
        const int64_t outer = row / run->count;
        int64_t index = bert_cpu_index(run->indices, row % run->count);
        if (index < 0) index += run->rows;
        memcpy(run->y + row * (int64_t)run->bytes, run->x + (outer * run->rows + index) * (int64_t)run->bytes,
               run->bytes);
    }
}

static bert_status run_gather(const bert_kernel_call *call, bert_error *error) {
    const bert_tensor *x = &call->inputs[0], *indices = &call->inputs[1];
    const int64_t axis = *(const int64_t *)call->plan->state;
    gather_run run = {.indices = indices,
                      .x = x->data,
                      .y = call->outputs[0].data,
                      .count = bert_tensor_elements(indices),
                      .rows = x->dims[axis]};
    run.y_rows = bert_cpu_count(x->dims, 0, (int32_t)axis) * run.count;
    run.bytes = (size_t)bert_cpu_count(x->dims, (int32_t)axis + 1, x->rank) * bert_dtype_size(x->dtype);
    for (int64_t i = 0; i < run.count; i++) {
        const int64_t index = bert_cpu_index(indices, i);
        if (index >= -run.rows && index < run.rows) continue;
        return bert_fail(error, BERT_INVALID_INPUT,
                         "index %lld at place %lld of %lld is outside the %lld rows of a table", (long long)index,
                         (long long)i, (long long)run.count, (long long)run.rows);
    }
    if (run.bytes == 0) return BERT_OK;
    run.task_rows = (int64_t)(BERT_CPU_TASK_BYTES / run.bytes) + 1;
    const int64_t tasks = (run.y_rows + run.task_rows - 1) / run.task_rows;
    bert_thread_pool_run(bert_cpu_threads_for(call), tasks, gather_rows, &run);
    return BERT_OK;
}

bert_status bert_cpu_plan_gather(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    const bert_dtype dtype = node->inputs[1].dtype;
    if (dtype != BERT_INT32 && dtype != BERT_INT64) return bert_cpu_leave(planner, "takes int32 and int64 indices");
    if (bert_dtype_size(node->inputs[0].dtype) == 0) return bert_cpu_leave(planner, "doesn't move this type");
    planner->out->run = run_gather;
    planner->out->kernel = "gather/cpu";
    planner->out->unaligned_inputs = 1; /* rows are copied byte by byte */
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(int64_t), &state));
    *(int64_t *)state = bert_cpu_axis(BERT_NODE_INT(node, "axis", 0), node->inputs[0].rank);
    return BERT_OK;
}

/* ---- GatherElements ---------------------------------------------------------------------------------------------- */

typedef struct elements_run {
    const bert_tensor *x, *indices;
    unsigned char *y;
    size_t size;
    int32_t axis;
    int64_t steps[BERT_MAX_RANK]; /* of x */
    int64_t task_rows;
    atomic_bool wrong; /* an index is outside x */
} elements_run;

static bool is_inside(int64_t size, int64_t index) {
    return index >= -size && index < size;
}

/* Indices of a row of the last dimension as offsets from what the row has of x; false: one is outside. */
static bool find_offsets(const elements_run *run, int64_t first, int64_t n, int64_t *offsets) {
    const int32_t last = run->x->rank - 1;
    const int64_t size = run->x->dims[run->axis], step = run->steps[run->axis];
    const int64_t along = run->axis == last ? 0 : run->steps[last];
    for (int64_t i = 0; i < n; i++) {
        const int64_t index = bert_cpu_index(run->indices, first + i);
        if (!is_inside(size, index)) return false;
        offsets[i] = (index < 0 ? index + size : index) * step + i * along;
    }
    return true;
}

#define TAKE(type)                                                                                                     \
    for (int64_t i = 0; i < n; i++) ((type *)(void *)y)[i] = ((const type *)(const void *)x)[offsets[i]]

static void take(const elements_run *run, const unsigned char *x, unsigned char *y, const int64_t *offsets, int64_t n) {
    BERT_CPU_BY_SIZE(run->size, TAKE)
}

/* A row of y in pieces. */
static bool gather_row(const elements_run *run, int64_t row) {
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
        if (!find_offsets(run, row * n + first, count, offsets)) return false;
        take(run, (const unsigned char *)run->x->data + (size_t)start * run->size,
             run->y + (size_t)(row * n + first) * run->size, offsets, count);
    }
    return true;
}

static int64_t index_rows(const elements_run *run) {
    return bert_cpu_count(run->indices->dims, 0, run->indices->rank - 1);
}

static void gather_piece(void *argument, int64_t task, int thread) {
    elements_run *run = argument;
    const int64_t rows = index_rows(run), last = (task + 1) * run->task_rows, end = last < rows ? last : rows;
    for (int64_t row = task * run->task_rows; row < end; row++) {
        if (!gather_row(run, row)) atomic_store(&run->wrong, true);
    }
}

static bert_status run_gather_elements(const bert_kernel_call *call, bert_error *error) {
    const bert_tensor *x = &call->inputs[0], *indices = &call->inputs[1];
    elements_run run = {
        .x = x, .indices = indices, .y = call->outputs[0].data, .axis = *(const int32_t *)call->plan->state};
    if (bert_tensor_elements(indices) == 0) return BERT_OK;
    bert_cpu_steps(x, x->rank, run.steps);
    run.size = bert_dtype_size(x->dtype);
    run.task_rows = (int64_t)(BERT_CPU_TASK_BYTES / run.size) / indices->dims[indices->rank - 1] + 1;
    atomic_init(&run.wrong, false);
    const int64_t tasks = (index_rows(&run) + run.task_rows - 1) / run.task_rows;
    bert_thread_pool_run(bert_cpu_threads_for(call), tasks, gather_piece, &run);
    if (!atomic_load(&run.wrong)) return BERT_OK;
    int64_t wrong = 0; /* the first one, whichever thread met one */
    while (is_inside(x->dims[run.axis], bert_cpu_index(indices, wrong))) wrong++;
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
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(int32_t), &state));
    *(int32_t *)state = (int32_t)bert_cpu_axis(BERT_NODE_INT(node, "axis", 0), node->inputs[0].rank);
    return BERT_OK;
}
