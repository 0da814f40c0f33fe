/*
 * Slice, Split, Concat, Expand and Tile: blocks of elements are copied from one place to another, each along its own
 * steps. Neighbouring dimensions that go on evenly on both sides are joined first, so that most blocks are rows of
 * bytes.
 */
#include "cpu/ops/ops.h"
#include "cpu/ops/walk.h"

/* A block of elements in x and y. */
typedef struct block {
    const unsigned char *x;
    unsigned char *y;
    size_t size; /* bytes of an element */
    bert_walk walk;
} block;

enum { X, Y }; /* the walk's operands */

/* What is [dims] in y, with the steps that x and y have as they are. */
static block begin_block(const bert_tensor *x, const bert_tensor *y, const int64_t *dims) {
    block b = {.x = x->data, .y = y->data, .size = bert_dtype_size(y->dtype), .walk = bert_walk_begin(y->rank, dims)};
    bert_walk_add(&b.walk, x);
    bert_walk_add(&b.walk, y);
    return b;
}

static void copy_row(const void *argument, const int64_t *offsets, const int64_t *steps, int64_t n) {
    const block *b = argument;
    bert_cpu_copy(b->y + offsets[Y] * (int64_t)b->size, steps[Y], b->x + offsets[X] * (int64_t)b->size, steps[X],
                  b->size, n);
}

static void copy_block(const bert_kernel_call *call, block *b) {
    bert_walk_run(&b->walk, bert_cpu_threads_for(call), b->size, copy_row, b);
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
        const int64_t step = state->starts ? 1 : option_at(call, 4, i, 1), axis = bert_cpu_axis(given, x->rank);
        b.x += first_of(start, step, x->dims[axis]) * b.walk.steps[X][axis] * (int64_t)b.size;
        /* A step beyond the dimension takes one element. */
        b.walk.steps[X][axis] *= y->dims[axis] > 1 ? step : 1;
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
        .axis = (int32_t)bert_cpu_axis(BERT_NODE_INT(node, "axis", 0), node->inputs[0].rank), .count = count};
    return BERT_OK;
}

static bert_status run_split(const bert_kernel_call *call, bert_error *error) {
    const parts_state *state = call->plan->state;
    const bert_tensor *x = &call->inputs[0];
    int64_t first = 0;
    for (int32_t i = 0; i < state->count; i++) {
        const bert_tensor *y = &call->outputs[i];
        block b = begin_block(x, y, y->dims);
        b.x += first * b.walk.steps[X][state->axis] * (int64_t)b.size;
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
        b.y += first * b.walk.steps[Y][state->axis] * (int64_t)b.size;
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
    block b = {.x = x->data, .y = y->data, .size = bert_dtype_size(x->dtype), .walk = {.operands = 2}};
    bert_walk *walk = &b.walk;
    bert_cpu_steps(x, x->rank, x_steps);
    bert_cpu_steps(y, y->rank, y_steps);
    if (bert_tensor_elements(y) == 0) return BERT_OK;
    for (int32_t i = 0; i < x->rank; i++) {
        walk->dims[walk->rank] = y->dims[i] / x->dims[i];
        walk->steps[Y][walk->rank++] = y_steps[i] * x->dims[i];
        walk->dims[walk->rank] = x->dims[i];
        walk->steps[X][walk->rank] = x_steps[i];
        walk->steps[Y][walk->rank++] = y_steps[i];
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
