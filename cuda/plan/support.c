/* What planners and runs are written with. */
#include "cuda/plan/plan.h"

/* The function itself is defined here. */
#undef bert_cuda_leave

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bert_status bert_cuda_leave(const bert_cuda_planner *planner, const char *why) {
    return planner->prepared->device->host->fail(planner->error, BERT_UNSUPPORTED, "the cuda provider's %s %s",
                                                 planner->node->op_type, why);
}

/* ---- Attributes and constants ------------------------------------------------------------------------------------ */

const bert_constant *bert_cuda_known(const bert_op_node *node, int32_t input) {
    return bert_cuda_node_has(node, input) ? node->inputs[input].constant : NULL;
}

bool bert_cuda_is_float(const bert_op_node *node, int32_t input) {
    if (!bert_cuda_node_has(node, input)) return false;
    const bert_dtype dtype = node->inputs[input].dtype;
    return dtype == BERT_FLOAT || dtype == BERT_FLOAT16 || dtype == BERT_BFLOAT16;
}

bert_status bert_cuda_want_float(const bert_cuda_planner *planner, int32_t input) {
    if (bert_cuda_is_float(planner->node, input)) return BERT_OK;
    return bert_cuda_leave(planner, "computes in float32, float16 and bfloat16 only");
}

int64_t bert_cuda_constant_count(const bert_constant *constant) {
    return bert_cuda_count(constant->dims, 0, constant->rank);
}

int64_t bert_cuda_constant_int(const bert_constant *constant, int64_t at) {
    const size_t size = bert_cuda_dtype_size(constant->dtype);
    const unsigned char *data = constant->data + (size_t)at * size;
    int64_t wide;
    int32_t word;
    switch (constant->dtype) {
    case BERT_INT64:
    case BERT_UINT64:
        memcpy(&wide, data, sizeof wide);
        return wide;
    case BERT_INT32:
        memcpy(&word, data, sizeof word);
        return word;
    case BERT_INT8:
        return (int8_t)data[0];
    default:
        return data[0];
    }
}

int64_t bert_cuda_desc_count(const bert_tensor_desc *desc, int32_t first, int32_t end) {
    return bert_cuda_count(desc->dims, first, end);
}

bool bert_cuda_encode_float(bert_dtype stored, float value, void *to) {
    const double wide = (double)value;
    switch (stored) {
    case BERT_FLOAT:
    case BERT_FLOAT16:
    case BERT_BFLOAT16:
        bert_cuda_encode(stored, BERT_FLOAT, to, &value, 1);
        return true;
    case BERT_DOUBLE:
        memcpy(to, &wide, sizeof wide);
        return true;
    default:
        return false;
    }
}

/* ---- Planning ---------------------------------------------------------------------------------------------------- */

bert_status bert_cuda_want_reports(const bert_cuda_planner *planner) {
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_cuda_op *op = planner->state->op;
    const bert_cuda_reporter reporter = {planner->node->name, op->name, op->indices};
    planner->state->reporter = bert_cuda_number_reporter(planner->context, &reporter);
    if (planner->state->reporter >= 0) return BERT_OK;
    return bert_cuda_no_memory(planner->prepared->device->host, sizeof reporter, planner->error);
}

void bert_cuda_give_wide(const bert_cuda_planner *planner, int32_t output) {
    if (planner->prepared->precision != BERT_PRECISION_BF16 || !bert_cuda_node_gives(planner->node, output)) return;
    if (planner->node->outputs[output].dtype != BERT_FLOAT) return;
    planner->out->wide_outputs |= UINT64_C(1) << output;
    planner->state->wide_outputs |= UINT64_C(1) << output;
}

void bert_cuda_keep_wide(const bert_cuda_planner *planner) {
    if (planner->state->wide_inputs) bert_cuda_give_wide(planner, 0);
}

bool bert_cuda_is_alike(const bert_cuda_planner *planner, const bert_tensor_desc *x, const bert_tensor_desc *y) {
    const bert_prepared *prepared = planner->prepared;
    bool alike = x->rank == y->rank && bert_cuda_dtype_size(bert_cuda_stored(prepared, x->dtype)) ==
                                           bert_cuda_dtype_size(bert_cuda_stored(prepared, y->dtype));
    for (int32_t i = 0; alike && i < x->rank; i++) alike = x->dims[i] == y->dims[i];
    return alike;
}

void bert_cuda_offer_place(const bert_cuda_planner *planner, int32_t inputs) {
    const bert_op_node *node = planner->node;
    if (planner->mode != BERT_PLAN_BIND || !bert_cuda_node_gives(node, 0)) return;
    for (int32_t i = 0; i < inputs; i++) {
        if (!bert_cuda_node_has(node, i) || node->inputs[i].constant) continue;
        if (!bert_cuda_is_alike(planner, &node->inputs[i], &node->outputs[0])) continue;
        planner->out->in_place = 1 + i;
        return;
    }
}

bert_status bert_cuda_plan_keep_wide(const bert_cuda_planner *planner) {
    bert_cuda_keep_wide(planner);
    return BERT_OK;
}

bert_status bert_cuda_plan_in_place(const bert_cuda_planner *planner) {
    bert_cuda_offer_place(planner, 1);
    return BERT_OK;
}

bert_status bert_cuda_own(const bert_cuda_planner *planner, const void *source, size_t bytes) {
    bert_cuda_node *state = planner->state;
    BERT_CUDA_TRY(bert_cuda_memory_allocate(planner->prepared->device, bytes, &state->own, planner->error));
    state->own_bytes = bytes;
    return bert_cuda_copy_to_device(planner->prepared->device, state->own, source, bytes, planner->error);
}

static bert_status write_floats(const void *argument, void *out, bert_error *error) {
    const bert_constant *constant = argument;
    memcpy(out, constant->data, constant->bytes);
    return BERT_OK;
}

bert_status bert_cuda_keep_floats(const bert_cuda_planner *planner, int32_t input) {
    const bert_constant *constant = input < 0 ? NULL : bert_cuda_known(planner->node, input);
    char key[48];
    if (!constant || constant->id == 0 || constant->dtype != BERT_FLOAT) return BERT_OK;
    if (bert_cuda_stored(planner->prepared, BERT_FLOAT) == BERT_FLOAT) return BERT_OK;
    planner->out->unread_inputs |= UINT64_C(1) << input;
    if (planner->mode == BERT_PLAN_QUERY) return BERT_OK;
    const int length = snprintf(key, sizeof key, "floats %llu", (unsigned long long)constant->id);
    return bert_cuda_pack(planner->prepared, key, (size_t)length, constant->bytes, write_floats, constant,
                          &planner->state->floats[input], planner->error);
}

bool bert_cuda_stay_floats(const bert_cuda_planner *planner, const int32_t *inputs, int count) {
    if (planner->prepared->precision != BERT_PRECISION_BF16) return false;
    for (int i = 0; i < count; i++) {
        const bert_constant *constant = bert_cuda_known(planner->node, inputs[i]);
        if (!bert_cuda_node_has(planner->node, inputs[i])) continue;
        if (!constant || constant->id == 0 || constant->dtype != BERT_FLOAT) return false;
    }
    return true;
}

bert_status bert_cuda_reserve(const bert_cuda_planner *planner, int64_t count, size_t element_bytes) {
    size_t bytes;
    if (__builtin_mul_overflow((size_t)count, element_bytes, &bytes) ||
        __builtin_add_overflow(bytes, (size_t)BERT_CUDA_ALIGNMENT, &bytes) ||
        __builtin_add_overflow(bytes & ~(size_t)(BERT_CUDA_ALIGNMENT - 1), planner->out->workspace_bytes, &bytes) ||
        bytes > PTRDIFF_MAX)
        return bert_cuda_leave(planner, "can't hold an input of this size");
    planner->out->workspace_bytes = bytes;
    return BERT_OK;
}

void *bert_cuda_take(void **workspace, int64_t count, size_t element_bytes) {
    void *piece = *workspace;
    const size_t bytes = (size_t)count * element_bytes + BERT_CUDA_ALIGNMENT;
    *workspace = (char *)piece + (bytes & ~(size_t)(BERT_CUDA_ALIGNMENT - 1));
    return piece;
}

bool bert_cuda_find_activation(const char *name, bert_cuda_activation *out) {
    static const char *const names[] = {[BERT_CUDA_NONE] = "none",
                                        [BERT_CUDA_GELU] = "gelu",
                                        [BERT_CUDA_GELU_TANH] = "gelu_tanh",
                                        [BERT_CUDA_QUICK_GELU] = "quick_gelu",
                                        [BERT_CUDA_SILU] = "silu",
                                        [BERT_CUDA_TANH] = "tanh",
                                        [BERT_CUDA_RELU] = "relu"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *out = (bert_cuda_activation)i;
        return true;
    }
    return false;
}

bert_cuda_activation bert_cuda_activation_of(const bert_op_node *node) {
    bert_cuda_activation activation = BERT_CUDA_NONE;
    bert_cuda_find_activation(BERT_NODE_STRING(node, "activation", "none"), &activation);
    return activation;
}

/* ---- Calls ------------------------------------------------------------------------------------------------------- */

bert_tensor bert_cuda_kept_floats(const bert_cuda_call *call, int32_t input) {
    bert_tensor tensor = call->inputs[input];
    if (!call->node->floats[input]) return tensor;
    tensor.dtype = BERT_FLOAT;
    tensor.data = call->node->floats[input];
    return tensor;
}

static uint16_t *lower_halves(const bert_tensor *tensor) {
    return (uint16_t *)tensor->data + bert_cuda_elements(tensor);
}

const uint16_t *bert_cuda_lower_halves(const bert_cuda_call *call, int32_t input) {
    const bert_tensor *tensor = bert_cuda_input(call, input);
    return tensor && call->node->wide_inputs >> input & 1 ? lower_halves(tensor) : NULL;
}

uint16_t *bert_cuda_output_lower_halves(const bert_cuda_call *call, int32_t output) {
    if (!bert_cuda_output_data(call, output) || !(call->node->wide_outputs >> output & 1)) return NULL;
    return lower_halves(&call->outputs[output]);
}

void bert_cuda_dense_strides(int32_t rank, const int64_t *dims, int64_t strides[BERT_MAX_RANK]) {
    int64_t stride = 1;
    for (int32_t i = rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= dims[i];
    }
}

static void describe_tensor(char *out, size_t size, const bert_tensor *tensor) {
    size_t used = (size_t)snprintf(out, size, "%s [", bert_cuda_dtype_name(tensor->dtype));
    for (int32_t i = 0; i < tensor->rank && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%" PRId64, i ? ", " : "", tensor->dims[i]);
    if (used < size) snprintf(out + used, size - used, "]");
}

bert_status bert_cuda_launched(const bert_cuda_call *call, cudaError_t result, const char *kernel) {
    if (result == cudaSuccess) return BERT_OK;
    char x[128] = "nothing", y[128] = "nothing";
    const bert_tensor *input = bert_cuda_input(call, 0);
    if (input) describe_tensor(x, sizeof x, input);
    if (call->node->node.output_count > 0) describe_tensor(y, sizeof y, &call->outputs[0]);
    return bert_cuda_check(call->node->prepared->device->host, result, call->error, "the kernel %s of %s from %s to %s",
                           kernel, call->node->node.op_type, x, y);
}

bert_cuda_gemm_kind bert_cuda_product_kind(const bert_prepared *prepared, bert_dtype stored) {
    if (stored == BERT_FLOAT16) return BERT_CUDA_GEMM_F16;
    if (stored == BERT_BFLOAT16) return BERT_CUDA_GEMM_BF16;
    return prepared->precision == BERT_PRECISION_TF32 ? BERT_CUDA_GEMM_TF32 : BERT_CUDA_GEMM_F32;
}

bert_cuda_gemm_args bert_cuda_product_of_rows(const bert_cuda_call *call, const bert_tensor *x, const void *weight,
                                              bool transposed, int64_t n, void *y) {
    const int64_t k = x->dims[x->rank - 1];
    return (bert_cuda_gemm_args){.kind = bert_cuda_product_kind(call->node->prepared, x->dtype),
                                 .transpose_b = transposed,
                                 .m = bert_cuda_count(x->dims, 0, x->rank - 1),
                                 .n = n,
                                 .k = k,
                                 .batch = 1,
                                 .alpha = 1,
                                 .a = x->data,
                                 .b = weight,
                                 .c = y,
                                 .lda = k,
                                 .ldb = transposed ? k : n,
                                 .ldc = n};
}

static bert_status multiplied(const bert_cuda_call *call, const bert_cuda_gemm_args *args, cudaError_t result,
                              const char *why) {
    if (result == cudaSuccess) return BERT_OK;
    return bert_cuda_check(call->node->prepared->device->host, result, call->error,
                           "the product (%s) of [%" PRId64 ", %" PRId64 "] and [%" PRId64 ", %" PRId64 "], %" PRId64
                           " times: %s",
                           bert_cuda_gemm_provider_built.name, args->m, args->k, args->k, args->n, args->batch, why);
}

bert_status bert_cuda_multiply(const bert_cuda_call *call, bert_cuda_gemm_args *args) {
    const bert_cuda_gemm_provider *provider = &bert_cuda_gemm_provider_built;
    char why[256] = "";
    if (args->m == 0 || args->n == 0 || args->batch == 0) return BERT_OK;
    args->workspace = call->context->gemm_workspace;
    /* Measuring, which is done where there is a cache, leaves anything in C, and waits. */
    const bool tune = args->beta == 0 && call->context->phase != BERT_CUDA_CAPTURING;
    cudaError_t result = cudaSuccess;
    if (tune) result = provider->tune(call->context->gemm, args, call->context->stream, why, sizeof why);
    if (result == cudaSuccess)
        result = provider->run(call->context->gemm, args, call->context->stream, why, sizeof why);
    return multiplied(call, args, result, why);
}

bert_cuda_product_maker bert_cuda_maker_of(const bert_context *context) {
    const bert_prepared *prepared = context->prepared;
    return (bert_cuda_product_maker){.gemm = context->gemm,
                                     .cache = prepared->deterministic ? NULL : prepared->device->choices,
                                     .policy = prepared->device->policy,
                                     .stream = context->stream};
}

bert_status bert_cuda_multiply_followed(const bert_cuda_call *call, bert_cuda_gemm_args *args,
                                        const bert_cuda_bias_activation_args *floats,
                                        const bert_cuda_dequantize_args *bytes, const bert_cuda_followed_norms *norms) {
    const bert_cuda_product_maker maker = bert_cuda_maker_of(call->context);
    const bert_cuda_followed_product product = {.product = args, .floats = floats, .bytes = bytes, .norms = norms};
    char why[256] = "";
    cudaError_t result = cudaSuccess;
    if (args->m == 0 || args->n == 0) return BERT_OK;
    args->workspace = call->context->gemm_workspace;
    if (call->context->phase != BERT_CUDA_CAPTURING) {
        result = bert_cuda_tune_followed_product(&maker, &product, why, sizeof why);
        if (result == cudaSuccess) bert_cuda_notice(call->node->prepared->device->host, why);
    }
    if (result == cudaSuccess) result = bert_cuda_run_followed_product(&maker, &product, why, sizeof why);
    return multiplied(call, args, result, why);
}

/* With more rows a product doesn't wait for its weights. */
enum { MOST_ROWS_THAT_WAIT = 1024 };

bool bert_cuda_is_cold(const bert_cuda_call *call, int32_t weight, int64_t rows) {
    return call->node->known[weight] && rows <= MOST_ROWS_THAT_WAIT && bert_cuda_weights_are_cold(call->node->prepared);
}

bert_status bert_cuda_multiply_biased(const bert_cuda_call *call, bert_cuda_gemm_args *args, bert_dtype dtype,
                                      const void *bias) {
    const bert_cuda_bias_activation_args floats = {
        .dtype = dtype, .rows = args->m, .width = args->n, .x = args->c, .bias = bias, .y = args->c};
    return bert_cuda_multiply_followed(call, args, &floats, NULL, NULL);
}

bert_cuda_elementwise_args bert_cuda_elementwise_to(bert_cuda_elementwise_op op, const bert_tensor *y) {
    bert_cuda_elementwise_args args = {.op = op, .rank = y->rank, .dtype = y->dtype, .y = y->data};
    memcpy(args.dims, y->dims, sizeof args.dims);
    return args;
}

bert_status bert_cuda_launch_elementwise(const bert_cuda_call *call, const bert_cuda_elementwise_args *args) {
    return bert_cuda_launched(call, bert_cuda_elementwise(args, call->context->stream), "elementwise");
}

bert_status bert_cuda_combine(const bert_cuda_call *call, bert_cuda_elementwise_op op, const bert_tensor *a,
                              const bert_tensor *b, const bert_tensor *y) {
    bert_cuda_elementwise_args args = bert_cuda_elementwise_to(op, y);
    const bert_tensor *terms[2] = {a, b};
    for (int i = 0; i < 2 && terms[i]; i++) {
        args.inputs[i] = (bert_cuda_operand){.data = terms[i]->data, .dtype = terms[i]->dtype};
        bert_cuda_broadcast_strides(y->rank, terms[i], args.inputs[i].strides);
    }
    return bert_cuda_launch_elementwise(call, &args);
}

bert_status bert_cuda_spread(const bert_cuda_call *call, const bert_tensor *x, const bert_tensor *y) {
    return bert_cuda_spread_halves(call, x, NULL, y, NULL);
}

bert_status bert_cuda_spread_halves(const bert_cuda_call *call, const bert_tensor *x, const uint16_t *x_lower,
                                    const bert_tensor *y, uint16_t *y_lower) {
    bert_cuda_elementwise_args args = bert_cuda_elementwise_to(BERT_CUDA_CAST, y);
    args.inputs[0] = (bert_cuda_operand){.data = x->data, .dtype = x->dtype, .lower = x_lower};
    args.y_lower = y_lower;
    bert_cuda_broadcast_strides(y->rank, x, args.inputs[0].strides);
    return bert_cuda_launch_elementwise(call, &args);
}

bert_status bert_cuda_give(const bert_cuda_call *call, const bert_tensor *from, int32_t output) {
    if (!bert_cuda_output_data(call, output)) return BERT_OK;
    return bert_cuda_spread_halves(call, from, NULL, &call->outputs[output],
                                   bert_cuda_output_lower_halves(call, output));
}

bert_cuda_index_check bert_cuda_check_of(const bert_cuda_call *call) {
    return (bert_cuda_index_check){.report = &call->context->report->index,
                                   .node = call->node->reporter,
                                   .from_start = call->node->op->indices->from_start};
}

/* ---- Operands ---------------------------------------------------------------------------------------------------- */

static void use_kept_floats(const bert_cuda_node *node, bert_tensor *inputs) {
    for (int i = 0; i < BERT_CUDA_KNOWN_INPUTS; i++) {
        if (!node->floats[i]) continue;
        inputs[i].dtype = BERT_FLOAT;
        inputs[i].data = node->floats[i];
    }
}

bert_cuda_operands bert_cuda_planned_operands(const bert_cuda_planner *planner) {
    bert_cuda_operands result = {0};
    const bert_op_node *node = planner->node;
    for (int side = 0; side < 2; side++) {
        const bert_tensor_desc *descs = side ? node->outputs : node->inputs;
        bert_tensor *tensors = side ? result.outputs : result.inputs;
        const int32_t count = side ? node->output_count : node->input_count;
        for (int32_t i = 0; i < count && i < BERT_CUDA_MOST_OPERANDS; i++) {
            tensors[i].dtype = bert_cuda_stored(planner->prepared, descs[i].dtype);
            tensors[i].rank = descs[i].rank;
            memcpy(tensors[i].dims, descs[i].dims, sizeof tensors[i].dims);
        }
    }
    use_kept_floats(planner->state, result.inputs);
    return result;
}

bert_cuda_operands bert_cuda_called_operands(const bert_cuda_call *call) {
    bert_cuda_operands result = {0};
    const bert_op_node *node = &call->node->node;
    for (int32_t i = 0; i < node->input_count && i < BERT_CUDA_MOST_OPERANDS; i++) result.inputs[i] = call->inputs[i];
    for (int32_t i = 0; i < node->output_count && i < BERT_CUDA_MOST_OPERANDS; i++)
        result.outputs[i] = call->outputs[i];
    use_kept_floats(call->node, result.inputs);
    return result;
}
