/*
 * Slice, Split, Concat, Expand and Tile: blocks of elements are copied from one place to another, each along its own
 * steps. Neighbouring dimensions that go on evenly on both sides are joined first, so that most blocks are rows of
 * bytes.
 */
#include "cpu/ops/ops.h"

#include <string.h>

/* What Tile repeats is a dimension beside the one that is repeated. */
enum { MOST_DIMS = 2 * BERT_MAX_RANK };

/* A block of elements; steps in elements. */
typedef struct block {
    const unsigned char *x;
    unsigned char *y;
    size_t size; /* bytes of an element */
    int32_t rank;
    int64_t dims[MOST_DIMS], x_steps[MOST_DIMS], y_steps[MOST_DIMS];
    int64_t task_rows, pieces; /* rows of the last dimension of a task; tasks of a row where that is long */
} block;

/* Bytes of one task: handing over fewer costs more than copying them. */
enum { TASK_BYTES = 65536 };

/* ---- Blocks ------------------------------------------------------------------------------------------------------ */

/* What is [dims] in y, with the steps that x and y have as they are. */
static block begin_block(const bert_tensor *x, const bert_tensor *y, const int64_t *dims) {
    block b = {.x = x->data, .y = y->data, .size = bert_dtype_size(y->dtype), .rank = y->rank};
    if (y->rank) memcpy(b.dims, dims, (size_t)y->rank * sizeof *dims);
    bert_cpu_steps(x, y->rank, b.x_steps);
    bert_cpu_steps(y, y->rank, b.y_steps);
    return b;
}

static void join(block *b) {
    int32_t rank = 0;
    for (int32_t i = 0; i < b->rank; i++) {
        if (b->dims[i] == 1) continue;
        const int32_t last = rank - 1;
        if (last >= 0 && b->x_steps[last] == b->x_steps[i] * b->dims[i] &&
            b->y_steps[last] == b->y_steps[i] * b->dims[i]) {
            b->dims[last] *= b->dims[i];
            b->x_steps[last] = b->x_steps[i];
            b->y_steps[last] = b->y_steps[i];
            continue;
        }
        b->dims[rank] = b->dims[i];
        b->x_steps[rank] = b->x_steps[i];
        b->y_steps[rank++] = b->y_steps[i];
    }
    if (rank == 0) b->dims[rank++] = b->x_steps[0] = b->y_steps[0] = 1;
    b->rank = rank;
}

#define COPY_ELEMENTS(type)                                                                                            \
    for (int64_t i = 0; i < n; i++) ((type *)(void *)y)[i * y_step] = ((const type *)(const void *)x)[i * x_step]

static void copy_elements(const block *b, const unsigned char *x, unsigned char *y, int64_t n) {
    const int64_t x_step = b->x_steps[b->rank - 1], y_step = b->y_steps[b->rank - 1];
    if (x_step == 1 && y_step == 1) {
        memcpy(y, x, (size_t)n * b->size);
        return;
    }
    switch (b->size) {
    case 1:
        COPY_ELEMENTS(uint8_t);
        return;
    case 2:
        COPY_ELEMENTS(uint16_t);
        return;
    case 4:
        COPY_ELEMENTS(uint32_t);
        return;
    default:
        COPY_ELEMENTS(uint64_t);
    }
}

static int64_t rows_of(const block *b) {
    return bert_cpu_count(b->dims, 0, b->rank - 1);
}

/* Elements [first, first + n) of a row. */
static void copy_piece(const block *b, int64_t row, int64_t first, int64_t n) {
    int64_t x = first * b->x_steps[b->rank - 1], y = first * b->y_steps[b->rank - 1];
    for (int32_t i = b->rank - 2; i >= 0; i--) {
        const int64_t at = row % b->dims[i];
        row /= b->dims[i];
        x += at * b->x_steps[i];
        y += at * b->y_steps[i];
    }
    copy_elements(b, b->x + x * (int64_t)b->size, b->y + y * (int64_t)b->size, n);
}

static void run_task(void *argument, int64_t task, int thread) {
    const block *b = argument;
    const int64_t n = b->dims[b->rank - 1];
    if (b->pieces > 1) {
        const int64_t piece = task % b->pieces, first = n * piece / b->pieces;
        copy_piece(b, task / b->pieces, first, n * (piece + 1) / b->pieces - first);
        return;
    }
    const int64_t all = rows_of(b), last = (task + 1) * b->task_rows, end = last < all ? last : all;
    for (int64_t row = task * b->task_rows; row < end; row++) copy_piece(b, row, 0, n);
}

static void copy_block(const bert_kernel_call *call, block *b) {
    for (int32_t i = 0; i < b->rank; i++)
        if (b->dims[i] == 0) return;
    join(b);
    const int64_t bytes = b->dims[b->rank - 1] * (int64_t)b->size, rows = rows_of(b);
    b->pieces = (bytes + TASK_BYTES - 1) / TASK_BYTES;
    b->task_rows = TASK_BYTES / bytes + 1;
    const int64_t tasks = b->pieces > 1 ? rows * b->pieces : (rows + b->task_rows - 1) / b->task_rows;
    bert_thread_pool_run(tasks == 1 ? NULL : bert_cpu_threads_for(call), tasks, run_task, b);
}

static int64_t from_front(int64_t axis, int32_t rank) {
    return axis < 0 ? axis + rank : axis;
}

/* ---- Slice ------------------------------------------------------------------------------------------------------- */

/* `starts` and `axes` are opset 9's, where lists are attributes that live as long as the model; starts NULL: they are
 * inputs. */
typedef struct slice_state {
    const int64_t *starts, *axes;
    int64_t count;
    int32_t inputs;
} slice_state;

/* Element `i` of an optional list; `missing` where there is none. */
static int64_t option_at(const bert_kernel_call *call, int32_t input, int64_t i, int64_t missing) {
    const slice_state *state = call->plan->state;
    if (input >= state->inputs || call->inputs[input].dtype == BERT_DTYPE_UNDEFINED) return missing;
    return bert_cpu_index(&call->inputs[input], i);
}

/* Where start:end:step begins on a dimension, as numpy has it; y has as many elements as come from there. */
static int64_t first_of(int64_t start, int64_t step, int64_t dim) {
    const int64_t least = step > 0 ? 0 : -1, most = step > 0 ? dim : dim - 1;
    if (start < 0) start += dim;
    return start < least ? least : start > most ? most : start;
}

static bert_status run_slice(const bert_kernel_call *call, bert_error *error) {
    const slice_state *state = call->plan->state;
    const bert_tensor *x = &call->inputs[0], *y = &call->outputs[0];
    block b = begin_block(x, y, y->dims);
    if (bert_tensor_elements(y) == 0) return BERT_OK;
    const int64_t count = state->starts ? state->count : call->inputs[1].dims[0];
    for (int64_t i = 0; i < count; i++) {
        const int64_t start = state->starts ? state->starts[i] : bert_cpu_index(&call->inputs[1], i);
        const int64_t given = state->starts ? (state->axes ? state->axes[i] : i) : option_at(call, 3, i, i);
        const int64_t step = state->starts ? 1 : option_at(call, 4, i, 1), axis = from_front(given, x->rank);
        b.x += first_of(start, step, x->dims[axis]) * b.x_steps[axis] * (int64_t)b.size;
        /* A step beyond the dimension takes one element. */
        b.x_steps[axis] *= y->dims[axis] > 1 ? step : 1;
    }
    copy_block(call, &b);
    return BERT_OK;
}

bert_status bert_cpu_plan_slice(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    size_t starts = 0, axes = 0;
    slice_state wanted = {.inputs = node->input_count};
    if (!bert_cpu_is_moved(node, 0)) return bert_cpu_leave(planner, "doesn't move this type");
    planner->out->run = run_slice;
    planner->out->kernel = "slice/cpu";
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    if (node->opset < 10) {
        wanted.starts = BERT_NODE_INTS(node, "starts", &starts);
        wanted.axes = BERT_NODE_INTS(node, "axes", &axes);
        wanted.count = (int64_t)starts;
    }
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof wanted, &state));
    *(slice_state *)state = wanted;
    return BERT_OK;
}

/* ---- Split and Concat -------------------------------------------------------------------------------------------- */

/* Tensors that lie side by side along an axis of another one. */
typedef struct parts_state {
    int32_t axis, count;
} parts_state;

static bert_status plan_parts(const bert_cpu_planner *planner, int32_t count) {
    const bert_op_node *node = planner->node;
    if (!bert_cpu_is_moved(node, 0)) return bert_cpu_leave(planner, "doesn't move this type");
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(parts_state), &state));
    *(parts_state *)state = (parts_state){
        .axis = (int32_t)from_front(BERT_NODE_INT(node, "axis", 0), node->inputs[0].rank), .count = count};
    return BERT_OK;
}

static bert_status run_split(const bert_kernel_call *call, bert_error *error) {
    const parts_state *state = call->plan->state;
    const bert_tensor *x = &call->inputs[0];
    int64_t first = 0;
    for (int32_t i = 0; i < state->count; i++) {
        const bert_tensor *y = &call->outputs[i];
        block b = begin_block(x, y, y->dims);
        b.x += first * b.x_steps[state->axis] * (int64_t)b.size;
        first += y->dims[state->axis];
        copy_block(call, &b);
    }
    return BERT_OK;
}

bert_status bert_cpu_plan_split(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    for (int32_t i = 0; i < node->output_count; i++)
        if (node->outputs[i].dtype == BERT_DTYPE_UNDEFINED) return bert_cpu_leave(planner, "gives every part");
    planner->out->run = run_split;
    planner->out->kernel = "split/cpu";
    return plan_parts(planner, node->output_count);
}

static bert_status run_concat(const bert_kernel_call *call, bert_error *error) {
    const parts_state *state = call->plan->state;
    const bert_tensor *y = &call->outputs[0];
    int64_t first = 0;
    for (int32_t i = 0; i < state->count; i++) {
        const bert_tensor *x = &call->inputs[i];
        block b = begin_block(x, y, x->dims);
        b.y += first * b.y_steps[state->axis] * (int64_t)b.size;
        first += x->dims[state->axis];
        copy_block(call, &b);
    }
    return BERT_OK;
}

bert_status bert_cpu_plan_concat(const bert_cpu_planner *planner) {
    planner->out->run = run_concat;
    planner->out->kernel = "concat/cpu";
    return plan_parts(planner, planner->node->input_count);
}

/* ---- Expand ------------------------------------------------------------------------------------------------------ */

static bert_status run_expand(const bert_kernel_call *call, bert_error *error) {
    const bert_tensor *x = &call->inputs[0], *y = &call->outputs[0];
    block b = begin_block(x, y, y->dims);
    copy_block(call, &b);
    return BERT_OK;
}

bert_status bert_cpu_plan_expand(const bert_cpu_planner *planner) {
    if (!bert_cpu_is_moved(planner->node, 0)) return bert_cpu_leave(planner, "doesn't move this type");
    planner->out->run = run_expand;
    planner->out->kernel = "expand/cpu";
    return BERT_OK;
}

/* ---- Tile -------------------------------------------------------------------------------------------------------- */

static bert_status run_tile(const bert_kernel_call *call, bert_error *error) {
    const bert_tensor *x = &call->inputs[0], *y = &call->outputs[0];
    int64_t x_steps[BERT_MAX_RANK], y_steps[BERT_MAX_RANK];
    block b = {.x = x->data, .y = y->data, .size = bert_dtype_size(x->dtype)};
    bert_cpu_steps(x, x->rank, x_steps);
    bert_cpu_steps(y, y->rank, y_steps);
    if (bert_tensor_elements(y) == 0) return BERT_OK;
    for (int32_t i = 0; i < x->rank; i++) {
        b.dims[b.rank] = y->dims[i] / x->dims[i];
        b.y_steps[b.rank++] = y_steps[i] * x->dims[i];
        b.dims[b.rank] = x->dims[i];
        b.x_steps[b.rank] = x_steps[i];
        b.y_steps[b.rank++] = y_steps[i];
    }
    copy_block(call, &b);
    return BERT_OK;
}

bert_status bert_cpu_plan_tile(const bert_cpu_planner *planner) {
    if (!bert_cpu_is_moved(planner->node, 0)) return bert_cpu_leave(planner, "doesn't move this type");
    planner->out->run = run_tile;
    planner->out->kernel = "tile/cpu";
    return BERT_OK;
}
