/*
 * Nodes of float16 and bfloat16, by the kernels of float32. What a run gives is widened into the workspace, and what
 * the kernel computed is rounded from there: once a node, as the graph's types say. Constants that a kernel reads are
 * widened once for the prepared model; those that it packs, when they are packed; and rows of tables that it looks up,
 * when it does.
 *
 * Converting costs a pass over the activations, little beside a product. If they were kept as float32 throughout a
 * graph, what is beyond the range of float16 would not become the infinity that the graph makes of it.
 */
#include "cpu/ops/ops.h"

#include "core/graph/op.h"

#include <string.h>

enum { MOST_INPUTS = 48, MOST_OUTPUTS = 8 };

/* Where a run's tensor of 16-bit floats lies as float32. */
typedef enum wide_place {
    AS_IT_IS = 0, /* it is none, or is not read */
    CONSTANT,
    WORKSPACE
} wide_place;

typedef struct wide_tensor {
    wide_place place;
    const float *constant;
    size_t offset; /* in the workspace */
} wide_tensor;

typedef struct narrow_state {
    bert_op_plan inner; /* the kernel of float32, whose workspace is the first part of the whole */
    const bert_allocator *allocator;
    int32_t input_count, output_count;
    uint64_t narrow_inputs; /* bit i: the kernel reads input i as it is */
    wide_tensor inputs[MOST_INPUTS], outputs[MOST_OUTPUTS];
} narrow_state;

static void release(void *memory) {
    narrow_state *state = memory;
    if (state->inner.release_state) state->inner.release_state(state->inner.state);
    bert_deallocate(state->allocator, state, sizeof *state, _Alignof(narrow_state));
}

static bert_tensor as_float(const bert_kernel_call *call, const bert_tensor *tensor, const wide_tensor *wide) {
    bert_tensor out = *tensor;
    if (wide->place == AS_IT_IS) return out;
    out.dtype = BERT_FLOAT;
    out.data = wide->place == CONSTANT ? (void *)wide->constant /* kernels only read it */
                                       : (void *)((char *)call->workspace + wide->offset);
    return out;
}

static bert_status run_narrow(const bert_kernel_call *call, bert_error *error) {
    const narrow_state *state = call->plan->state;
    const bert_cpu_kernels *kernels = bert_cpu_kernels_for(call);
    bert_thread_pool *threads = bert_cpu_threads_for(call);
    bert_tensor inputs[MOST_INPUTS], outputs[MOST_OUTPUTS];
    for (int32_t i = 0; i < state->input_count; i++) {
        inputs[i] = as_float(call, &call->inputs[i], &state->inputs[i]);
        if (state->inputs[i].place == WORKSPACE)
            bert_cpu_widen(kernels, threads, inputs[i].data, call->inputs[i].data, call->inputs[i].dtype,
                           bert_tensor_elements(&inputs[i]));
    }
    for (int32_t i = 0; i < state->output_count; i++)
        outputs[i] = as_float(call, &call->outputs[i], &state->outputs[i]);
    bert_kernel_call inner = *call;
    inner.plan = &state->inner;
    inner.inputs = inputs;
    inner.outputs = outputs;
    BERT_TRY(state->inner.run(&inner, error));
    for (int32_t i = 0; i < state->output_count; i++)
        if (state->outputs[i].place == WORKSPACE)
            bert_cpu_narrow(kernels, threads, call->outputs[i].data, outputs[i].data, call->outputs[i].dtype,
                            bert_tensor_elements(&outputs[i]));
    return BERT_OK;
}

/* ---- Planning ---------------------------------------------------------------------------------------------------- */

/* The node with its tensors of 16-bit floats as float32. */
typedef struct wide_node {
    bert_op_node node;
    bert_tensor_desc inputs[MOST_INPUTS], outputs[MOST_OUTPUTS];
    bert_dtype dtype; /* the first narrow one; BERT_DTYPE_UNDEFINED: there is none */
} wide_node;

static void widen_descs(wide_node *wide, bert_tensor_desc *descs, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        if (!bert_cpu_is_narrow(descs[i].dtype)) continue;
        if (wide->dtype == BERT_DTYPE_UNDEFINED) wide->dtype = descs[i].dtype;
        descs[i].dtype = BERT_FLOAT;
    }
}

/* Whether one more rounding to 16 bits decides between two whole numbers. */
static bool quantizes(const bert_op_node *node) {
    if (node->op_id == BERT_OP_BERTC_QuantizedLinear) return BERT_NODE_INT(node, "weight_only", 0) == 0;
    return node->op_id == BERT_OP_QuantizeLinear || node->op_id == BERT_OP_MS_QuantizeLinear;
}

static bert_status widen_node(const bert_cpu_planner *planner, wide_node *wide) {
    const bert_op_node *node = planner->node;
    wide->dtype = BERT_DTYPE_UNDEFINED;
    if (node->input_count > MOST_INPUTS || node->output_count > MOST_OUTPUTS)
        return bert_cpu_leave(planner, "has no kernel for so many tensors");
    wide->node = *node;
    wide->node.inputs = wide->inputs;
    wide->node.outputs = wide->outputs;
    if (node->input_count) memcpy(wide->inputs, node->inputs, (size_t)node->input_count * sizeof *wide->inputs);
    if (node->output_count) memcpy(wide->outputs, node->outputs, (size_t)node->output_count * sizeof *wide->outputs);
    widen_descs(wide, wide->inputs, node->input_count);
    widen_descs(wide, wide->outputs, node->output_count);
    return BERT_OK;
}

/* A place in the workspace for the greatest tensor of a run. */
static bert_status reserve(const bert_cpu_planner *planner, const bert_tensor_desc *desc, wide_tensor *out) {
    size_t bytes = SIZE_MAX - 2 * BERT_ALIGNMENT;
    *out = (wide_tensor){.place = WORKSPACE, .offset = planner->out->workspace_bytes};
    bert_size_product(sizeof(float), desc->dims, desc->rank, &bytes);
    bytes = (bytes + BERT_ALIGNMENT - 1) / BERT_ALIGNMENT * BERT_ALIGNMENT;
    if (bert_size_add(out->offset, bytes, &planner->out->workspace_bytes)) return BERT_OK;
    return bert_cpu_leave(planner, "can't hold a tensor of this size");
}

/* Whether the kernel reads the input as float32. */
static bool is_widened(const bert_cpu_planner *planner, const narrow_state *state, int32_t i) {
    return bert_cpu_is_narrow(planner->node->inputs[i].dtype) &&
           !((planner->out->unread_inputs | state->narrow_inputs) >> i & 1);
}

/* Widens constants that runs read; so the plan no longer reads them. */
static bert_status place_constants(const bert_cpu_planner *planner, narrow_state *state) {
    const bert_op_node *node = planner->node;
    for (int32_t i = 0; i < node->input_count; i++) {
        const bert_constant *constant = node->inputs[i].constant;
        if (!constant || constant->id == 0 || !is_widened(planner, state, i)) continue;
        planner->out->unread_inputs |= UINT64_C(1) << i;
        if (planner->mode == BERT_PLAN_QUERY) continue;
        BERT_TRY(bert_cpu_widen_constant(planner->prepared, bert_cpu_planner_threads(planner), constant,
                                         &state->inputs[i].constant, planner->error));
        state->inputs[i].place = CONSTANT;
    }
    return BERT_OK;
}

static bert_status place_activations(const bert_cpu_planner *planner, narrow_state *state) {
    const bert_op_node *node = planner->node;
    size_t *bytes = &planner->out->workspace_bytes;
    if (!bert_size_add(*bytes, BERT_ALIGNMENT - 1, bytes)) return bert_cpu_leave(planner, "wants too much scratch");
    *bytes = *bytes / BERT_ALIGNMENT * BERT_ALIGNMENT;
    for (int32_t i = 0; i < node->input_count; i++)
        if (is_widened(planner, state, i)) BERT_TRY(reserve(planner, &node->inputs[i], &state->inputs[i]));
    for (int32_t i = 0; i < node->output_count; i++)
        if (bert_cpu_is_narrow(node->outputs[i].dtype))
            BERT_TRY(reserve(planner, &node->outputs[i], &state->outputs[i]));
    return BERT_OK;
}

/* Fills planner->out from state->inner. */
static bert_status wrap(const bert_cpu_planner *planner, bert_dtype dtype, narrow_state *state) {
    const bert_op_node *node = planner->node;
    bert_op_plan *out = planner->out;
    *out = (bert_op_plan){.run = run_narrow,
                          .workspace_bytes = state->inner.workspace_bytes,
                          .unread_inputs = state->inner.unread_inputs,
                          .unaligned_inputs = state->inner.unaligned_inputs};
    BERT_TRY(bert_cpu_narrow_name(planner->prepared, state->inner.kernel, dtype, &out->kernel, planner->error));
    for (int32_t i = 0; i < node->input_count; i++)
        if (is_widened(planner, state, i)) out->unaligned_inputs &= ~(UINT64_C(1) << i);
    const int32_t shared = state->inner.in_place - 1;
    if (shared >= 0 && node->inputs[shared].dtype == node->outputs[0].dtype) out->in_place = state->inner.in_place;
    BERT_TRY(place_constants(planner, state));
    return planner->mode == BERT_PLAN_BIND ? place_activations(planner, state) : BERT_OK;
}

static bert_status plan(const bert_cpu_planner *planner, bert_cpu_plan_fn own, narrow_state *state) {
    wide_node wide;
    BERT_TRY(widen_node(planner, &wide));
    if (wide.dtype == BERT_DTYPE_UNDEFINED) return BERT_UNSUPPORTED; /* the reason is there already */
    if (quantizes(planner->node)) return bert_cpu_leave(planner, "quantizes float32 only");
    bert_cpu_planner inner = *planner;
    inner.node = &wide.node;
    inner.out = &state->inner;
    inner.narrow = wide.dtype;
    inner.narrow_inputs = &state->narrow_inputs;
    BERT_TRY(own(&inner));
    return wrap(planner, wide.dtype, state);
}

bert_status bert_cpu_plan_narrow(const bert_cpu_planner *planner, bert_cpu_plan_fn own) {
    const bert_allocator *allocator = planner->prepared->device->host->allocator;
    narrow_state local, *state = &local;
    if (planner->mode == BERT_PLAN_BIND) {
        state = bert_allocate(allocator, sizeof *state, _Alignof(narrow_state));
        if (!state) return bert_fail_memory(planner->error, sizeof *state, "the plan of a node");
    }
    *state = (narrow_state){
        .allocator = allocator, .input_count = planner->node->input_count, .output_count = planner->node->output_count};
    const bert_status status = plan(planner, own, state);
    if (planner->mode != BERT_PLAN_BIND) return status;
    if (status != BERT_OK) {
        release(state);
        return status;
    }
    planner->out->state = state;
    planner->out->release_state = release;
    return BERT_OK;
}
