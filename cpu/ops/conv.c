/*
 * Conv: for each group a product of its kernels [outputs, inputs x taps] with columns [inputs x taps, places]: what the
 * taps of a kernel meet at one place of y, 0 where that is padding. Channels of x are these columns where a kernel is
 * one element; overlapping rows of them are where there is one channel and the kernel moves by one element; else
 * columns are gathered, a block of places and a piece of k at a time.
 *
 * What is cut and where depends on shapes alone, so that neither threads nor other sequences of a batch change a bit.
 */
#include "cpu/ops/ops.h"

#include "core/graph/conv_axes.h"

#include <limits.h>
#include <string.h>

/* Columns as they lie are used up to this many places: rows that are further apart share few of the cache's sets. */
enum { MOST_DIRECT_PLACES = 512 };
/* Rows of a product that is one task: of columns as they lie, and of gathered ones, where gathering is to be little. */
enum { DIRECT_ROWS = 96, GATHERED_ROWS = 384 };
/* Gathered at a time, 288 KB, which the second-level cache holds; a piece of k ends where a chain of sums does. */
enum { BLOCK_PLACES = 96, VECTOR_PLACES = 16, PIECE = 3 * BERT_SGEMM_CHAIN };
/* Outputs of a group of one channel up to which nothing is gathered, and places of a task then. */
enum { MOST_ROW_OUTPUTS = 8, ROW_PLACES = 1024 };

/* In the field's words: pointwise, depthwise, im2col. */
typedef enum conv_way { DIRECT, OVERLAPPING_ROWS, GATHERED } conv_way;

typedef struct conv_state {
    conv_way way;
    bool biased;
    int32_t axes;
    bert_conv_axis axis[BERT_CONV_MAX_AXES];
    int64_t groups, inputs, outputs; /* Channels of a group. */
    int64_t taps, k;                 /* Of a kernel; of one for each input. */
    int64_t size, places;            /* Elements of a channel of x and of y. */
    int64_t block_rows, block_places, row_blocks, place_blocks;
} conv_state;

typedef struct conv_run {
    const bert_kernel_call *call;
    const conv_state *state;
    const float *x, *w, *bias; /* bias: NULL: none */
    float *y;
} conv_run;

static const bert_conv_axis *last_axis(const conv_state *state) {
    return &state->axis[state->axes - 1];
}

/* The bias of output channels [first, first + rows) at some places, in rows of y. */
static void begin_rows(const conv_run *run, float *y, int64_t first, int64_t rows, int64_t places) {
    for (int64_t i = 0; i < rows; i++, y += run->state->places) {
        const float bias = run->bias ? run->bias[first + i] : 0;
        for (int64_t j = 0; j < places; j++) y[j] = bias;
    }
}

/*
 * A row of y is all its places along the last axis. The element of a channel of x that starts the row which tap
 * `outer` of the other axes meets from row `row` on; -1: that is padding.
 */
static int64_t find_row(const conv_state *state, int64_t row, int64_t outer) {
    int64_t offset = 0, step = last_axis(state)->size;
    for (int32_t i = state->axes - 2; i >= 0; i--) {
        const bert_conv_axis *axis = &state->axis[i];
        const int64_t at = row % axis->places * axis->stride + outer % axis->taps * axis->dilation - axis->before;
        if (at < 0 || at >= axis->size) return -1;
        row /= axis->places;
        outer /= axis->taps;
        offset += at * step;
        step *= axis->size;
    }
    return offset;
}

/* ---- One channel a group: overlapping rows ----------------------------------------------------------------------- */

/* Places [begin, end) of a row of y where some taps may meet padding. */
static void add_edge(const bert_conv_axis *axis, float *y, const float *x, const float *w, int64_t begin, int64_t end) {
    for (int64_t tap = 0; tap < axis->taps; tap++) {
        const int64_t shift = tap * axis->dilation - axis->before;
        const int64_t first = begin < -shift ? -shift : begin, last = bert_smaller(end, axis->size - shift);
        for (int64_t j = first; j < last; j++) y[j] += w[tap] * x[j + shift];
    }
}

/* Adds what the taps of one row of kernels give to places [begin, end) of rows of y. */
static void add_taps(const conv_run *run, float *y, const float *x, const float *w, int64_t begin, int64_t end) {
    const conv_state *state = run->state;
    const bert_conv_axis *axis = last_axis(state);
    /* Where no tap meets padding. */
    int64_t inner = axis->before < begin ? begin : axis->before;
    int64_t inner_end = bert_smaller(end, axis->size + axis->before - (axis->taps - 1) * axis->dilation);
    if (inner >= inner_end) inner = inner_end = end;
    for (int64_t i = 0; i < state->outputs; i++) {
        add_edge(axis, y + i * state->places, x, w + i * state->taps, begin, inner);
        add_edge(axis, y + i * state->places, x, w + i * state->taps, inner_end, end);
    }
    if (inner == inner_end) return;
    /* Rows of b overlap, which is the kernel's own to take: OpenBLAS refuses it. */
    bert_cpu_kernels_for(run->call)->sgemm(&(bert_sgemm_args){.c = y + inner,
                                                              .a = w,
                                                              .b = x + (inner - axis->before),
                                                              .ldc = state->places,
                                                              .lda = state->taps,
                                                              .ldb = axis->dilation,
                                                              .m = state->outputs,
                                                              .n = inner_end - inner,
                                                              .k = axis->taps,
                                                              .accumulate = true});
}

/* Some places of one row, all outputs of a group: blocks of rows are rows of y, blocks of places parts of a row. */
static void run_row(void *argument, int64_t task, int thread) {
    const conv_run *run = argument;
    const conv_state *state = run->state;
    const bert_conv_axis *axis = last_axis(state);
    const int64_t begin = task % state->place_blocks * state->block_places;
    const int64_t end = bert_smaller(axis->places, begin + state->block_places);
    task /= state->place_blocks;
    const int64_t row = task % state->row_blocks, channel = task / state->row_blocks; /* of x, in all sequences */
    const int64_t output = channel % state->groups * state->outputs;
    float *y = run->y + channel * state->outputs * state->places + row * axis->places;
    begin_rows(run, y + begin, output, state->outputs, end - begin);
    for (int64_t outer = 0; outer * axis->taps < state->taps; outer++) {
        const int64_t offset = find_row(state, row, outer);
        if (offset < 0) continue;
        add_taps(run, y, run->x + channel * state->size + offset, run->w + output * state->taps + outer * axis->taps,
                 begin, end);
    }
}

/* ---- Columns ----------------------------------------------------------------------------------------------------- */

/* What one tap meets at some places: nothing, then `count` elements of a channel from `first` on, then nothing again.
 */
typedef struct meeting {
    int64_t first, nothing, count;
} meeting;

/* From place `begin` of a row on; the row of x starts at `row`. */
static meeting meet(const bert_conv_axis *axis, int64_t tap, int64_t begin, int64_t row, int64_t places) {
    const int64_t start = begin * axis->stride + tap * axis->dilation - axis->before, left = axis->size - start;
    const int64_t nothing = start < 0 ? (-start + axis->stride - 1) / axis->stride : 0;
    const int64_t end = left > 0 ? bert_smaller(places, (left - 1) / axis->stride + 1) : 0;
    if (nothing >= end) return (meeting){.nothing = places};
    return (meeting){.first = row + start + nothing * axis->stride, .nothing = nothing, .count = end - nothing};
}

static void copy_row(float *y, const float *x, const meeting *m, int64_t stride, int64_t places) {
    const int64_t end = m->nothing + m->count;
    if (m->nothing > 0) memset(y, 0, (size_t)m->nothing * sizeof *y);
    if (stride == 1)
        memcpy(y + m->nothing, x + m->first, (size_t)m->count * sizeof *y);
    else
        for (int64_t j = 0; j < m->count; j++) y[m->nothing + j] = x[m->first + j * stride];
    if (end < places) memset(y + end, 0, (size_t)(places - end) * sizeof *y);
}

/* Rows [begin, end) of the columns of places along one row of y; x is the group's first channel. */
static void gather_row(const conv_state *state, float *columns, const float *x, int64_t place, int64_t places,
                       int64_t begin, int64_t end) {
    const bert_conv_axis *axis = last_axis(state);
    for (int64_t tap = 0; tap < state->taps; tap++) {
        meeting m = {.nothing = places};
        const int64_t row = find_row(state, place / axis->places, tap / axis->taps);
        if (row >= 0) m = meet(axis, tap % axis->taps, place % axis->places, row, places);
        int64_t channel = begin > tap ? (begin - tap + state->taps - 1) / state->taps : 0;
        for (int64_t k = channel * state->taps + tap; k < end; k += state->taps, channel++)
            copy_row(columns + (k - begin) * state->block_places, x + channel * state->size, &m, axis->stride, places);
    }
}

static void gather(const conv_state *state, float *columns, const float *x, int64_t place, int64_t places,
                   int64_t begin, int64_t end) {
    const int64_t row_places = last_axis(state)->places;
    while (places > 0) {
        const int64_t count = bert_smaller(places, row_places - place % row_places);
        gather_row(state, columns, x, place, count, begin, end);
        columns += count;
        place += count;
        places -= count;
    }
}

static int64_t piece_of(const conv_state *state) {
    return state->way == DIRECT ? state->k : bert_smaller(state->k, PIECE);
}

/*
 * Cache lines of the kernels of the next task, which lie behind this one's up to output `end`. With few places these
 * are what takes time, and a whole task of them is fetched while the one before is multiplied.
 */
static int64_t next_lines(const conv_state *state, int64_t end) {
    enum { LINE = BERT_FETCH_LINE / sizeof(float) };
    const int64_t left = state->groups * state->outputs - end;
    return state->way == DIRECT ? bert_smaller(left, state->block_rows) * state->k / LINE : 0;
}

/* Some outputs of a group at some places. */
static void run_block(void *argument, int64_t task, int thread) {
    const conv_run *run = argument;
    const conv_state *state = run->state;
    const int64_t row = task % state->row_blocks * state->block_rows;
    const int64_t rows = bert_smaller(state->block_rows, state->outputs - row);
    task /= state->row_blocks;
    const int64_t place = task % state->place_blocks * state->block_places;
    const int64_t places = bert_smaller(state->block_places, state->places - place);
    const int64_t group = task / state->place_blocks; /* in all sequences */
    const int64_t output = group % state->groups * state->outputs + row, piece = piece_of(state);
    const float *x = run->x + group * state->inputs * state->size;
    float *y = run->y + (group * state->outputs + row) * state->places + place;
    float *columns = NULL;
    if (state->way == GATHERED) columns = (float *)run->call->workspace + thread * piece * state->block_places;
    const bert_fetch next = bert_fetch_of(bert_cpu_kernels_for(run->call), run->w + (output + rows) * state->k,
                                          next_lines(state, output + rows));
    begin_rows(run, y, output, rows, places);
    for (int64_t begin = 0; begin < state->k; begin += piece) {
        const int64_t end = bert_smaller(state->k, begin + piece);
        if (columns) gather(state, columns, x, place, places, begin, end);
        run->call->context->prepared->multiply(&(bert_sgemm_args){.c = y,
                                                                  .a = run->w + output * state->k + begin,
                                                                  .b = columns ? columns : x,
                                                                  .ldc = state->places,
                                                                  .lda = state->k,
                                                                  .ldb = state->block_places,
                                                                  .m = rows,
                                                                  .n = places,
                                                                  .k = end - begin,
                                                                  .accumulate = true,
                                                                  .fetch = next});
    }
}

static bert_status run_conv(const bert_kernel_call *call, bert_error *error) {
    const conv_state *state = call->plan->state;
    conv_run run = {.call = call,
                    .state = state,
                    .x = call->inputs[0].data,
                    .w = call->inputs[1].data,
                    .bias = state->biased ? call->inputs[2].data : NULL,
                    .y = call->outputs[0].data};
    if (bert_tensor_elements(&call->outputs[0]) == 0) return BERT_OK;
    bert_thread_pool_run(bert_cpu_threads_for(call),
                         call->outputs[0].dims[0] * state->groups * state->place_blocks * state->row_blocks,
                         state->way == OVERLAPPING_ROWS ? run_row : run_block, &run);
    return BERT_OK;
}

/* ---- Planning ---------------------------------------------------------------------------------------------------- */

static bool multiply_into(int64_t *product, int64_t factor) {
    size_t out;
    if (!bert_size_multiply((size_t)*product, (size_t)factor, &out) || out > INT64_MAX) return false;
    *product = (int64_t)out;
    return true;
}

/* False where a number is beyond what a product takes. */
static bool count_elements(conv_state *state) {
    state->taps = state->size = state->places = 1;
    for (int32_t i = 0; i < state->axes; i++) {
        const bert_conv_axis *axis = &state->axis[i];
        if (!multiply_into(&state->taps, axis->taps) || !multiply_into(&state->size, axis->size) ||
            !multiply_into(&state->places, axis->places))
            return false;
    }
    state->k = state->inputs;
    return multiply_into(&state->k, state->taps) && state->k <= INT_MAX && state->places <= INT_MAX;
}

static conv_way choose_way(const conv_state *state) {
    if (state->k == 0) return DIRECT; /* no channels: biases alone */
    if (state->inputs == 1 && state->outputs <= MOST_ROW_OUTPUTS && last_axis(state)->stride == 1 && state->taps > 1)
        return OVERLAPPING_ROWS;
    for (int32_t i = 0; i < state->axes; i++) {
        const bert_conv_axis *axis = &state->axis[i];
        if (axis->taps != 1 || axis->stride != 1 || axis->size != axis->places || axis->before != 0) return GATHERED;
    }
    return state->places <= MOST_DIRECT_PLACES ? DIRECT : GATHERED;
}

static void cut(conv_state *state) {
    if (state->way == OVERLAPPING_ROWS) {
        const int64_t row_places = last_axis(state)->places;
        state->row_blocks = state->places / row_places;
        state->block_places = bert_smaller(row_places, ROW_PLACES);
        state->place_blocks = (row_places + state->block_places - 1) / state->block_places;
        return;
    }
    state->block_rows = state->way == DIRECT ? DIRECT_ROWS : GATHERED_ROWS;
    state->block_places =
        state->way == DIRECT ? state->places : bert_gemm_block_rows(state->places, BLOCK_PLACES, VECTOR_PLACES);
    state->row_blocks = (state->outputs + state->block_rows - 1) / state->block_rows;
    state->place_blocks = (state->places + state->block_places - 1) / state->block_places;
}

static bert_status plan_shapes(const bert_cpu_planner *planner, conv_state *state) {
    const bert_op_node *node = planner->node;
    *state = (conv_state){0};
    for (int32_t i = 0; i < node->outputs[0].rank; i++)
        if (node->outputs[0].dims[i] == 0) return BERT_OK; /* nothing to do */
    *state = (conv_state){.axes = node->inputs[0].rank - BERT_CONV_SPATIAL,
                          .biased = bert_cpu_has(node, 2),
                          .groups = BERT_NODE_INT(node, "group", 1),
                          .inputs = node->inputs[1].dims[1]};
    state->outputs = node->inputs[1].dims[0] / state->groups;
    bert_conv_read_axes(node->attributes, node->attribute_count, state->axes, node->inputs[0].dims,
                        node->inputs[1].dims, node->outputs[0].dims, state->axis);
    if (!count_elements(state)) return bert_cpu_leave(planner, "can't hold tensors of this size");
    state->way = choose_way(state);
    cut(state);
    if (state->way != GATHERED) return BERT_OK;
    const size_t floats = (size_t)(piece_of(state) * state->block_places);
    planner->out->workspace_bytes =
        floats * sizeof(float) * (size_t)bert_thread_pool_threads(planner->context->threads);
    return BERT_OK;
}

bert_status bert_cpu_plan_conv(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    if (!bert_cpu_is_float(node, 0) || !bert_cpu_is_float(node, 1) || !bert_cpu_float_or_absent(node, 2))
        return bert_cpu_leave(planner, "computes in float32 only");
    planner->out->run = run_conv;
    planner->out->kernel = "conv/cpu";
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    conv_state shapes;
    void *state;
    BERT_TRY(plan_shapes(planner, &shapes));
    BERT_TRY(bert_cpu_new_state(planner, sizeof shapes, &state));
    *(conv_state *)state = shapes;
    return BERT_OK;
}
