/* QuantizedLinear: x is quantized into the workspace, then multiplied (cpu/gemm/quantized.h). */
#include "cpu/ops/ops.h"

#include "core/graph/canonical.h"

#include <math.h>
#include <string.h>

typedef struct quantized_state {
    const bert_quantized_weight *weight;
    bert_unary activation;
    int32_t residual_input, bias_input; /* -1: none */
    bert_quant_scope scope;
    int32_t starts_input, counted_input; /* of scope sequence; counted: -1: none */
    bool has_scale;                      /* x has a scale and zero point of its own: */
    float x_scale;
    int32_t x_zero_point;
    int64_t place;    /* the node's attribute */
    int32_t x_ranges; /* ranges of a row of x that calls bring */
    bool own_bias;    /* The parts' biases side by side, in `bias`. */
    float bias[];
} quantized_state;

/* Elements of one task of what is done row by row. */
enum { TASK_FLOATS = 16384 };

/* ---- The workspace ----------------------------------------------------------------------------------------------- */

/* The rows of x that are multiplied in 8 bits, then what each row of x has; where not all are multiplied, scales and
 * zero points of those that are stand first in the end. */
typedef struct workspace {
    uint8_t *values;
    bert_row_range *ranges;
    float *scales;
    int32_t *zero_points, *sums;
} workspace;

enum { ROW_BYTES = sizeof(bert_row_range) + sizeof(float) + 2 * sizeof(int32_t) };

static workspace lay_out(void *memory, const bert_quantized_weight *weight, int64_t multiplied, int64_t rows) {
    workspace w = {.values = memory};
    w.ranges = (void *)(w.values + multiplied * bert_quantized_row_bytes(weight));
    w.scales = (float *)(void *)(w.ranges + rows);
    w.zero_points = (int32_t *)(void *)(w.scales + rows);
    w.sums = w.zero_points + rows;
    return w;
}

/* ---- Quantization ------------------------------------------------------------------------------------------------ */

typedef struct row_run {
    const bert_cpu_kernels *kernels;
    workspace work;
    const float *x;
    const bert_row_range *x_ranges; /* [rows, range_count] */
    int64_t range_count;
    int64_t rows, k, task_rows;
    int64_t x_stride, stride; /* from row to row: elements of x, bytes of what it becomes */
} row_run;

static int64_t tasks_of(const row_run *run) {
    return (run->rows + run->task_rows - 1) / run->task_rows;
}

static int64_t rows_of_task(const row_run *run, int64_t row) {
    return run->rows - row < run->task_rows ? run->rows - row : run->task_rows;
}

static void find_ranges(void *argument, int64_t task, int thread) {
    const row_run *run = argument;
    const int64_t row = task * run->task_rows;
    run->kernels->range(&(bert_range_args){
        .ranges = run->work.ranges + row, .x = run->x + row * run->k, .rows = rows_of_task(run, row), .n = run->k});
}

/* Of a row whose parts whoever wrote it has told. */
static void join_ranges(void *argument, int64_t task, int thread) {
    const row_run *run = argument;
    const int64_t first = task * run->task_rows, end = first + rows_of_task(run, first);
    for (int64_t row = first; row < end; row++) {
        const bert_row_range *parts = run->x_ranges + row * run->range_count;
        bert_row_range all = {0.0F, 0.0F};
        for (int64_t i = 0; i < run->range_count; i++) {
            all.least = parts[i].least < all.least ? parts[i].least : all.least;
            all.most = parts[i].most > all.most ? parts[i].most : all.most;
        }
        run->work.ranges[row] = all;
    }
}

static void quantize_rows(void *argument, int64_t task, int thread) {
    const row_run *run = argument;
    const int64_t first = task * run->task_rows, end = first + rows_of_task(run, first);
    const int64_t together = run->x_stride == run->k ? end - first : 1;
    for (int64_t row = first; row < end; row += together)
        run->kernels->quantize(&(bert_quantize_args){.y = run->work.values + row * run->stride,
                                                     .sums = run->work.sums + row,
                                                     .x = run->x + row * run->x_stride,
                                                     .scales = run->work.scales + row,
                                                     .zero_points = run->work.zero_points + row,
                                                     .rows = together,
                                                     .n = run->k,
                                                     .stride = run->stride});
}

/* Whether a row is in its group's range; `counted` NULL: every one is. */
static bool counts(const uint8_t *counted, int64_t row) {
    return !counted || counted[row] != 0;
}

/* DynamicQuantizeLinear's scale and zero point of a range that holds 0, for rows [from, end). */
static void choose_scale(const workspace *work, int64_t from, int64_t end, const uint8_t *counted) {
    float least = 0.0F, most = 0.0F;
    bool any = false;
    for (int64_t row = from; row < end && !any; row++) any = counts(counted, row);
    for (int64_t row = from; row < end; row++) {
        if (any && !counts(counted, row)) continue;
        least = fminf(least, work->ranges[row].least);
        most = fmaxf(most, work->ranges[row].most);
    }
    const float width = most - least, scale = width == 0.0F ? 1.0F : width / 255.0F;
    const float zero = nearbyintf(-least / scale);
    const int32_t zero_point = !(zero > 0.0F) ? 0 : zero > 255.0F ? 255 : (int32_t)zero; /* NaN is 0 */
    for (int64_t row = from; row < end; row++) {
        work->scales[row] = scale;
        work->zero_points[row] = zero_point;
    }
}

/* A scale for each group of rows that the scope makes. */
static void choose_scales(const bert_kernel_call *call, const quantized_state *state, int64_t rows,
                          const workspace *work) {
    if (state->scope == BERT_QUANT_SCOPE_TENSOR) {
        choose_scale(work, 0, rows, NULL);
    } else if (state->scope == BERT_QUANT_SCOPE_TOKEN) {
        for (int64_t row = 0; row < rows; row++) choose_scale(work, row, row + 1, NULL);
    } else {
        const int32_t *starts = bert_cpu_input(call, state->starts_input);
        const uint8_t *counted = state->counted_input < 0 ? NULL : bert_cpu_input(call, state->counted_input);
        const int64_t groups = call->inputs[state->starts_input].dims[0] - 1;
        for (int64_t group = 0; group < groups; group++) choose_scale(work, starts[group], starts[group + 1], counted);
    }
}

static void set_rows(const workspace *work, int64_t rows, float scale, int32_t zero_point) {
    for (int64_t row = 0; row < rows; row++) {
        work->scales[row] = scale;
        work->zero_points[row] = zero_point;
    }
}

/* What the rows that are multiplied have, to the front. */
static void choose_rows(const workspace *work, const bert_row_choice *rows) {
    for (int64_t row = 0; row < rows->count; row++) {
        work->scales[row] = work->scales[rows->first + row * rows->step];
        work->zero_points[row] = work->zero_points[rows->first + row * rows->step];
    }
}

/* `all`: rows of x. */
static void quantize(const bert_kernel_call *call, const quantized_state *state, int64_t all,
                     const bert_row_choice *rows, const workspace *work) {
    const bert_quantized_weight *weight = state->weight;
    const float *x = call->inputs[BERT_LINEAR_X].data;
    row_run run = {.kernels = bert_cpu_kernels_for(call),
                   .work = *work,
                   .x = x,
                   .rows = all,
                   .k = weight->k,
                   .x_ranges = call->x_ranges,
                   .range_count = state->x_ranges,
                   .x_stride = weight->k,
                   .stride = bert_quantized_row_bytes(weight),
                   .task_rows = TASK_FLOATS / (weight->k + 1) + 1};
    if (state->has_scale) {
        set_rows(work, all, state->x_scale, state->x_zero_point);
    } else {
        bert_thread_pool_run(bert_cpu_threads_for(call), tasks_of(&run), call->x_ranges ? join_ranges : find_ranges,
                             &run);
        choose_scales(call, state, all, work);
        choose_rows(work, rows);
    }
    run.x = x + rows->first * weight->k;
    run.rows = rows->count;
    run.x_stride = rows->step * weight->k;
    bert_thread_pool_run(bert_cpu_threads_for(call), tasks_of(&run), quantize_rows, &run);
    /* The weight's scale holds that of x. */
    if (state->has_scale) set_rows(work, all, 1.0F, state->x_zero_point);
}

static bert_status run_quantized_linear(const bert_kernel_call *call, bert_error *error) {
    const quantized_state *state = call->plan->state;
    const bert_tensor *x = &call->inputs[BERT_LINEAR_X];
    const bert_row_choice rows = bert_rows_at(state->place, x);
    const int64_t all = bert_cpu_count(x->dims, 0, x->rank - 1), n = state->weight->n;
    if (rows.count == 0 || n == 0) return BERT_OK;
    const workspace work = lay_out(call->workspace, state->weight, rows.count, all);
    quantize(call, state, all, &rows, &work);
    const void *bias = state->own_bias ? state->bias : NULL;
    if (state->bias_input >= 0) bias = bert_cpu_input(call, state->bias_input);
    const bool starts = state->bias_input >= 0 && call->inputs[state->bias_input].dtype == BERT_INT32;
    bert_gemm_quantized(&(bert_quantized_call){
        .kernels = bert_cpu_kernels_for(call),
        .threads = bert_cpu_threads_for(call),
        .weight = state->weight,
        .x = {work.values, work.scales, work.zero_points, work.sums},
        .start = starts ? bias : NULL,
        .rows = rows.count,
        .ranges = call->y_ranges,
        .epilogue = {.y = call->outputs[0].data,
                     .bias = starts ? NULL : bias,
                     .residual = state->residual_input < 0 ? NULL : bert_cpu_input(call, state->residual_input),
                     .stride = n,
                     .residual_stride = n,
                     .activation = state->activation}});
    return BERT_OK;
}

/* ---- Planning ---------------------------------------------------------------------------------------------------- */

static const bert_constant *constant_at(const bert_op_node *node, int32_t input) {
    const bert_constant *constant = bert_cpu_has(node, input) ? node->inputs[input].constant : NULL;
    return constant && constant->id != 0 ? constant : NULL;
}

static int64_t columns_of(const bert_quantized_source *source, int32_t part) {
    return source->weights[part]->dims[source->transposed ? 0 : 1];
}

static bert_status collect_parts(const bert_cpu_planner *planner, int32_t parts, bert_quantized_source *source,
                                 int64_t *columns) {
    const bert_op_node *node = planner->node;
    *source = (bert_quantized_source){.count = parts, .transposed = BERT_NODE_INT(node, "transpose", 0) != 0};
    for (int32_t part = 0; part < parts; part++) {
        const int32_t zero_point = BERT_QUANTIZED_LINEAR_ZERO_POINT(part), bias = BERT_QUANTIZED_LINEAR_BIAS(part);
        source->weights[part] = constant_at(node, BERT_QUANTIZED_LINEAR_WEIGHT(part));
        source->scales[part] = constant_at(node, BERT_QUANTIZED_LINEAR_SCALE(part));
        source->zero_points[part] = constant_at(node, zero_point);
        if (!source->weights[part] || !source->scales[part] ||
            (bert_cpu_has(node, zero_point) && !source->zero_points[part]))
            return bert_cpu_leave(planner, "wants constant weights, scales and zero points");
        const bool starts = parts == 1 && bert_cpu_has(node, bias) && node->inputs[bias].dtype == BERT_INT32;
        if (!starts && !bert_cpu_float_or_absent(node, bias)) return bert_cpu_leave(planner, "wants float32 biases");
        if (parts > 1 && bert_cpu_has(node, bias) && !node->inputs[bias].constant)
            return bert_cpu_leave(planner, "wants constant biases where there are several parts");
        *columns += columns_of(source, part);
    }
    return BERT_OK;
}

/* Biases of several parts become one; a missing one is zeros, which the state holds already. */
static void join_biases(const bert_op_node *node, const bert_quantized_source *source, quantized_state *state) {
    state->own_bias = true;
    int64_t first = 0;
    for (int32_t part = 0; part < source->count; part++) {
        if (bert_cpu_has(node, BERT_QUANTIZED_LINEAR_BIAS(part))) {
            const bert_constant *bias = node->inputs[BERT_QUANTIZED_LINEAR_BIAS(part)].constant;
            if (bias->bytes) memcpy(state->bias + first, bias->data, bias->bytes);
        }
        first += columns_of(source, part);
    }
}

/* Bytes of scratch for the greatest x, as lay_out has it; false where they overflow. */
static bool workspace_bytes(const bert_quantized_weight *weight, int64_t place, const bert_tensor_desc *x,
                            size_t *bytes) {
    size_t rows, values, vectors;
    if (!bert_size_product(1, x->dims, x->rank - 1, &rows)) return false;
    const size_t multiplied = place == BERT_EVERY_PLACE ? rows : (size_t)x->dims[0];
    if (!bert_size_multiply(multiplied, (size_t)bert_quantized_row_bytes(weight), &values) ||
        !bert_size_multiply(rows, ROW_BYTES, &vectors))
        return false;
    return bert_size_add(values, vectors, bytes);
}

static void mark_unread(const bert_cpu_planner *planner, int32_t parts) {
    planner->out->unread_inputs |= UINT64_C(3) << BERT_QUANTIZED_LINEAR_X_SCALE;
    for (int32_t part = 0; part < parts; part++) {
        planner->out->unread_inputs |= UINT64_C(7) << BERT_QUANTIZED_LINEAR_WEIGHT(part);
        if (parts > 1) planner->out->unread_inputs |= UINT64_C(1) << BERT_QUANTIZED_LINEAR_BIAS(part);
    }
}

static bool has_scale(const bert_op_node *node) {
    return bert_cpu_has(node, BERT_QUANTIZED_LINEAR_X_SCALE);
}

/* Whether the scale and zero point of x, where there are any, are known now. */
static bool knows_scale(const bert_op_node *node) {
    return (!has_scale(node) || constant_at(node, BERT_QUANTIZED_LINEAR_X_SCALE)) &&
           (!bert_cpu_has(node, BERT_QUANTIZED_LINEAR_X_ZERO_POINT) ||
            constant_at(node, BERT_QUANTIZED_LINEAR_X_ZERO_POINT));
}

static void keep_scale(const bert_op_node *node, quantized_state *state) {
    const bert_constant *zero_point = constant_at(node, BERT_QUANTIZED_LINEAR_X_ZERO_POINT);
    state->has_scale = has_scale(node);
    if (!state->has_scale) return;
    memcpy(&state->x_scale, constant_at(node, BERT_QUANTIZED_LINEAR_X_SCALE)->data, sizeof state->x_scale);
    state->x_zero_point = zero_point ? zero_point->data[0] : 0;
}

static void keep_scope(const bert_op_node *node, int32_t parts, quantized_state *state) {
    const char *scope = BERT_NODE_STRING(node, "scope", "tensor");
    state->scope = strcmp(scope, "sequence") == 0 ? BERT_QUANT_SCOPE_SEQUENCE
                   : strcmp(scope, "token") == 0  ? BERT_QUANT_SCOPE_TOKEN
                                                  : BERT_QUANT_SCOPE_TENSOR;
    state->starts_input = BERT_QUANTIZED_LINEAR_STARTS(parts);
    state->counted_input = BERT_QUANTIZED_LINEAR_COUNTED(parts);
    if (!bert_cpu_has(node, state->counted_input)) state->counted_input = -1;
}

bert_status bert_cpu_plan_quantized_linear(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    const int64_t parts = BERT_NODE_INT(node, "parts", 1);
    int64_t n = 0;
    bert_unary activation;
    bert_quantized_source source;
    if (BERT_NODE_INT(node, "weight_only", 0)) return bert_cpu_plan_weight_only_linear(planner);
    if (!knows_scale(node)) return bert_cpu_leave(planner, "wants a constant scale and zero point of its input");
    if (parts < 1 || parts > BERT_GEMM_MAX_PARTS) return bert_cpu_leave(planner, "takes 1 to 8 parts");
    if (!bert_cpu_activation(BERT_NODE_STRING(node, "activation", "none"), &activation))
        return bert_cpu_leave(planner, "doesn't know this activation");
    if (!bert_cpu_is_float(node, BERT_LINEAR_X) || !bert_cpu_float_or_absent(node, BERT_LINEAR_RESIDUAL))
        return bert_cpu_leave(planner, "computes in float32 only");
    BERT_TRY(collect_parts(planner, (int32_t)parts, &source, &n));
    planner->out->run = run_quantized_linear;
    planner->out->kernel = "quantized_linear/own";
    mark_unread(planner, source.count);
    if (planner->mode == BERT_PLAN_QUERY) return BERT_OK;

    const bert_quantized_weight *weight = NULL;
    BERT_TRY(bert_cpu_pack_quantized(planner->prepared, bert_cpu_planner_threads(planner), &source, &weight,
                                     planner->error));
    if (planner->mode == BERT_PLAN_PREPARE) return BERT_OK;
    const int64_t place = BERT_NODE_INT(node, "place", BERT_EVERY_PLACE);
    if (!workspace_bytes(weight, place, &node->inputs[BERT_LINEAR_X], &planner->out->workspace_bytes))
        return bert_cpu_leave(planner, "can't hold an input of this size");
    void *memory;
    BERT_TRY(
        bert_cpu_new_state(planner, sizeof(quantized_state) + (parts > 1 ? (size_t)n : 0) * sizeof(float), &memory));
    quantized_state *state = memory;
    state->weight = weight;
    state->activation = activation;
    state->place = place;
    state->x_ranges = node->x_ranges;
    planner->out->y_ranges = (int32_t)bert_quantized_ranges(weight);
    keep_scale(node, state);
    keep_scope(node, (int32_t)parts, state);
    state->residual_input = bert_cpu_has(node, BERT_LINEAR_RESIDUAL) ? BERT_LINEAR_RESIDUAL : -1;
    state->bias_input = -1;
    if (parts > 1)
        join_biases(node, &source, state);
    else if (bert_cpu_has(node, BERT_QUANTIZED_LINEAR_BIAS(0)))
        state->bias_input = BERT_QUANTIZED_LINEAR_BIAS(0);
    return BERT_OK;
}
