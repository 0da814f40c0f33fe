/* QuantizedAdd, in one pass; bytes are made of sums while these are in the first-level cache. */
#include "cpu/ops/ops.h"
#include "cpu/ops/walk.h"

#include "core/graph/canonical.h"

typedef struct quantized_add_state {
    bool quantizes_a, quantizes_y;
} quantized_add_state;

typedef struct quantized_add_run {
    const bert_cpu_kernels *kernels;
    const float *a, *b;
    float *floats; /* y; or */
    uint8_t *bytes;
    const bert_requantization *a_by, *y_by; /* NULL: none */
    bert_cpu_quantization to_bytes;
} quantized_add_run;

/* What a scale and the zero point behind it say. */
static bert_cpu_quantization read_scale(const bert_kernel_call *call, int32_t scale) {
    const bert_tensor *zero_point = &call->inputs[scale + 1];
    return (bert_cpu_quantization){.scale = *(const float *)call->inputs[scale].data,
                                   .zero_point = bert_cpu_byte(zero_point, 0),
                                   .is_signed = zero_point->dtype == BERT_INT8};
}

/* By one scale and zero point to bytes, by another to floats. */
static bert_requantization read_scales(const bert_kernel_call *call, int32_t scale, int32_t new_scale) {
    const bert_cpu_quantization from = read_scale(call, scale), to = read_scale(call, new_scale);
    const int32_t least = from.is_signed ? INT8_MIN : 0;
    return (bert_requantization){.scale = from.scale,
                                 .least = (float)(least - from.zero_point),
                                 .most = (float)(least + UINT8_MAX - from.zero_point),
                                 .shift = (float)(from.zero_point - to.zero_point),
                                 .new_scale = to.scale};
}

static void compute_row(const void *argument, const int64_t *offsets, const int64_t *steps, int64_t n) {
    enum { CHUNK = 1024 };
    const quantized_add_run *run = argument;
    bert_quantized_add_args args = {.a = run->a + offsets[0],
                                    .b = run->b + offsets[1],
                                    .a_stride = steps[0],
                                    .b_stride = steps[1],
                                    .n = n,
                                    .a_by = run->a_by,
                                    .y_by = run->y_by};
    if (run->floats) {
        args.y = run->floats + offsets[2];
        run->kernels->quantized_add(&args);
        return;
    }
    _Alignas(BERT_ALIGNMENT) float sums[CHUNK];
    args.y = sums;
    for (int64_t first = 0; first < n; first += CHUNK) {
        args.n = bert_smaller(CHUNK, n - first);
        run->kernels->quantized_add(&args);
        bert_cpu_quantize(run->kernels, &run->to_bytes, run->bytes + offsets[2] + first, sums, args.n);
        args.a += CHUNK * steps[0];
        args.b += CHUNK * steps[1];
    }
}

static bert_status run_quantized_add(const bert_kernel_call *call, bert_error *error) {
    const bert_tensor *a = &call->inputs[BERT_QUANTIZED_ADD_A], *b = &call->inputs[BERT_QUANTIZED_ADD_B];
    const bert_tensor *y = &call->outputs[0];
    const quantized_add_state *state = call->plan->state;
    quantized_add_run run = {.kernels = bert_cpu_kernels_for(call), .a = a->data, .b = b->data};
    bert_requantization a_by, y_by;
    if (state->quantizes_a) {
        a_by = read_scales(call, BERT_QUANTIZED_ADD_A_SCALE, BERT_QUANTIZED_ADD_A_NEW_SCALE);
        run.a_by = &a_by;
    }
    if (y->dtype == BERT_FLOAT) {
        run.floats = y->data;
        if (state->quantizes_y) {
            y_by = read_scales(call, BERT_QUANTIZED_ADD_Y_SCALE, BERT_QUANTIZED_ADD_Y_NEW_SCALE);
            run.y_by = &y_by;
        }
    } else {
        run.bytes = y->data;
        run.to_bytes = read_scale(call, BERT_QUANTIZED_ADD_Y_SCALE);
    }
    bert_walk walk = bert_walk_begin(y->rank, y->dims);
    bert_walk_add(&walk, a);
    bert_walk_add(&walk, b);
    bert_walk_add(&walk, y);
    bert_walk_run(&walk, bert_cpu_threads_for(call), sizeof(float), compute_row, &run);
    return BERT_OK;
}

bert_status bert_cpu_plan_quantized_add(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    planner->out->run = run_quantized_add;
    planner->out->kernel = "quantized_add/cpu";
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    void *memory;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(quantized_add_state), &memory));
    quantized_add_state *state = memory;
    state->quantizes_y = bert_cpu_has(node, BERT_QUANTIZED_ADD_Y_SCALE);
    state->quantizes_a = bert_cpu_has(node, BERT_QUANTIZED_ADD_A_SCALE);
    if (node->outputs[0].dtype == BERT_FLOAT &&
        bert_cpu_same_dims(&node->inputs[BERT_QUANTIZED_ADD_A], &node->outputs[0]))
        planner->out->in_place = 1 + BERT_QUANTIZED_ADD_A;
    return BERT_OK;
}
