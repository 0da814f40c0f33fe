/* QuantizeLinear, DequantizeLinear and QuantizedAdd, by scales that are given; DynamicQuantizeLinear, by the range of
 * its input. */
#include "cuda/ops/quantize.h"

#include "core/graph/canonical.h"
#include "cuda/ops/gather.h"
#include "cuda/ops/quantized_add.h"
#include "cuda/plan/plan.h"

#include <string.h>

/* ---- By a given scale -------------------------------------------------------------------------------------------- */

/* The input that is the scale. */
enum { SCALE = 1 };

/* An input of the two operators; one that is absent has no type. */
static bert_tensor quantization_input(const bert_cuda_call *call, int32_t input) {
    if (!bert_cuda_input(call, input)) return (bert_tensor){.dtype = BERT_DTYPE_UNDEFINED};
    return input == SCALE ? bert_cuda_kept_floats(call, SCALE) : call->inputs[input];
}

/* Whether blocks of the axis are two axes of it: where they fill it, and there is room for one more. */
static bool blocks_fill(int64_t length, int64_t block, int32_t rank) {
    return rank < BERT_MAX_RANK && (length <= block || length % block == 0);
}

/* Blocks that don't fill the axis: scales and zero points are repeated, by the block of each place along it. */
static bert_status plan_repeated(const bert_cuda_planner *planner, int64_t length, int64_t block) {
    const bert_op_node *node = planner->node;
    const bert_host *host = planner->prepared->device->host;
    const int64_t elements = bert_cuda_desc_count(&node->inputs[0], 0, node->inputs[0].rank);
    const size_t room = (size_t)length * sizeof(int64_t);
    int64_t *blocks = bert_cuda_new(host, room);
    if (!blocks) return bert_cuda_no_memory(host, room, planner->error);
    for (int64_t i = 0; i < length; i++) blocks[i] = i / block;
    bert_status status = bert_cuda_own(planner, blocks, room);
    bert_cuda_delete(host, blocks, room);
    for (int32_t i = 1; status == BERT_OK && i < 3; i++) {
        const size_t size = bert_cuda_node_has(node, i) ? bert_cuda_dtype_size(node->inputs[i].dtype) : 0;
        status = bert_cuda_reserve(planner, elements, size);
    }
    return status;
}

bert_status bert_cuda_plan_quantize(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    const int64_t block = BERT_NODE_INT(node, "block_size", 0);
    BERT_CUDA_TRY(bert_cuda_keep_floats(planner, SCALE));
    if (block == 0 || planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_tensor_desc *x = &node->inputs[0];
    const int64_t length = x->dims[bert_cuda_axis(BERT_NODE_INT(node, "axis", 1), x->rank)];
    return blocks_fill(length, block, x->rank) ? BERT_OK : plan_repeated(planner, length, block);
}

/* A scale or zero point for each element of x, in `out`. */
static bert_status repeat(const bert_cuda_call *call, const bert_tensor *x, const bert_tensor *of_blocks, int32_t axis,
                          void *out) {
    const bert_cuda_gather_args args = {.element_bytes = (int32_t)bert_cuda_dtype_size(of_blocks->dtype),
                                        .before = bert_cuda_count(x->dims, 0, axis),
                                        .bound = of_blocks->dims[axis],
                                        .row = bert_cuda_count(x->dims, axis + 1, x->rank),
                                        .data = of_blocks->data,
                                        .indices = call->node->own,
                                        .index_type = BERT_INT64,
                                        .count = x->dims[axis],
                                        .y = out};
    return bert_cuda_launched(call, bert_cuda_gather(&args, call->context->stream), "gather");
}

/* The same for all places along an axis that blocks don't fill. */
static bert_status run_repeated(const bert_cuda_call *call, bert_cuda_elementwise_args *args, int32_t axis) {
    const bert_tensor *x = &call->inputs[0];
    void *workspace = call->workspace;
    if (bert_cuda_elements(x) == 0) return BERT_OK;
    for (int32_t i = 0; i < 3; i++) {
        const bert_tensor tensor = quantization_input(call, i);
        if (tensor.dtype == BERT_DTYPE_UNDEFINED) continue;
        void *piece = x->data;
        if (i > 0) {
            piece = bert_cuda_take(&workspace, bert_cuda_elements(x), bert_cuda_dtype_size(tensor.dtype));
            BERT_CUDA_TRY(repeat(call, x, &tensor, axis, piece));
        }
        args->inputs[i] = (bert_cuda_operand){.data = piece, .dtype = tensor.dtype};
        bert_cuda_dense_strides(x->rank, x->dims, args->inputs[i].strides);
    }
    return bert_cuda_launch_elementwise(call, args);
}

/* A scale, or zero point, for each place along the axis, for each block of it, or one for all. */
static void set_scale(bert_cuda_elementwise_args *args, int place, const bert_tensor *tensor, int32_t axis,
                      bool blocks) {
    if (tensor->dtype == BERT_DTYPE_UNDEFINED) return;
    int64_t strides[BERT_MAX_RANK];
    bert_cuda_operand *operand = &args->inputs[place];
    *operand = (bert_cuda_operand){.data = tensor->data, .dtype = tensor->dtype};
    if (!blocks) {
        if (bert_cuda_elements(tensor) != 1) operand->strides[axis] = 1;
        return;
    }
    bert_cuda_dense_strides(tensor->rank, tensor->dims, strides);
    for (int32_t i = 0; i < tensor->rank; i++) operand->strides[i <= axis ? i : i + 1] = strides[i];
}

static bert_status run_by_scale(const bert_cuda_call *call, bert_cuda_elementwise_op op) {
    bert_cuda_elementwise_args args = bert_cuda_elementwise_to(op, &call->outputs[0]);
    const bert_op_node *node = &call->node->node;
    const int32_t axis = bert_cuda_axis(BERT_NODE_INT(node, "axis", 1), args.rank);
    const int64_t block = BERT_NODE_INT(node, "block_size", 0);
    if (block && !blocks_fill(args.dims[axis], block, args.rank)) return run_repeated(call, &args, axis);
    if (block) {
        const int64_t length = args.dims[axis], inside = length < block ? length : block;
        for (int32_t i = args.rank; i > axis; i--) args.dims[i] = args.dims[i - 1];
        args.dims[axis] = inside ? length / inside : 0;
        args.dims[axis + 1] = inside;
        args.rank++;
    }
    args.inputs[0] = (bert_cuda_operand){.data = call->inputs[0].data, .dtype = call->inputs[0].dtype};
    bert_cuda_dense_strides(args.rank, args.dims, args.inputs[0].strides);
    for (int i = 1; i < 3; i++) {
        const bert_tensor tensor = quantization_input(call, i);
        set_scale(&args, i, &tensor, axis, block != 0);
    }
    return bert_cuda_launch_elementwise(call, &args);
}

bert_status bert_cuda_run_quantize(const bert_cuda_call *call) {
    return run_by_scale(call, BERT_CUDA_QUANTIZE);
}

bert_status bert_cuda_run_dequantize(const bert_cuda_call *call) {
    return run_by_scale(call, BERT_CUDA_DEQUANTIZE);
}

/* ---- QuantizedAdd ------------------------------------------------------------------------------------------------ */

bert_status bert_cuda_plan_quantized_add(const bert_cuda_planner *planner) {
    static const int32_t scales[] = {BERT_QUANTIZED_ADD_Y_SCALE, BERT_QUANTIZED_ADD_Y_NEW_SCALE,
                                     BERT_QUANTIZED_ADD_A_SCALE, BERT_QUANTIZED_ADD_A_NEW_SCALE};
    for (int i = 0; i < 4; i++) BERT_CUDA_TRY(bert_cuda_keep_floats(planner, scales[i]));
    bert_cuda_offer_place(planner, 2);
    return BERT_OK;
}

/* The scale, and the zero point behind it. */
static bert_cuda_byte_scale byte_scale(const bert_cuda_call *call, int32_t input) {
    if (!bert_cuda_input(call, input)) return (bert_cuda_byte_scale){.scale = NULL};
    const bert_tensor scale = bert_cuda_kept_floats(call, input), *zero_point = &call->inputs[input + 1];
    return (bert_cuda_byte_scale){
        .scale = scale.data, .scale_type = scale.dtype, .zero_point = zero_point->data, .byte_type = zero_point->dtype};
}

static bert_cuda_operand addend(const bert_cuda_call *call, int32_t input) {
    const bert_tensor *x = &call->inputs[input];
    bert_cuda_operand operand = {.data = x->data, .dtype = x->dtype, .lower = bert_cuda_lower_halves(call, input)};
    bert_cuda_broadcast_strides(call->outputs[0].rank, x, operand.strides);
    return operand;
}

bert_status bert_cuda_run_quantized_add(const bert_cuda_call *call) {
    const bert_tensor *y = &call->outputs[0];
    bert_cuda_quantized_add_args args = {.rank = y->rank,
                                         .a = addend(call, BERT_QUANTIZED_ADD_A),
                                         .b = addend(call, BERT_QUANTIZED_ADD_B),
                                         .a_scale = byte_scale(call, BERT_QUANTIZED_ADD_A_SCALE),
                                         .a_new_scale = byte_scale(call, BERT_QUANTIZED_ADD_A_NEW_SCALE),
                                         .y_scale = byte_scale(call, BERT_QUANTIZED_ADD_Y_SCALE),
                                         .y_new_scale = byte_scale(call, BERT_QUANTIZED_ADD_Y_NEW_SCALE),
                                         .y = y->data};
    memcpy(args.dims, y->dims, sizeof args.dims);
    return bert_cuda_launched(call, bert_cuda_quantized_add(&args, call->context->stream), "quantized_add");
}

/* ---- By a range -------------------------------------------------------------------------------------------------- */

static int64_t rows_of(int32_t rank, const int64_t *dims) {
    return rank > 0 ? bert_cuda_count(dims, 0, rank - 1) : 1;
}

bert_status bert_cuda_reserve_quantize_by_range(const bert_cuda_planner *planner, int32_t rank, const int64_t *dims) {
    const int64_t rows = rows_of(rank, dims);
    BERT_CUDA_TRY(bert_cuda_reserve(planner, rows, sizeof(bert_cuda_range)));
    BERT_CUDA_TRY(bert_cuda_reserve(planner, BERT_CUDA_QUANTIZATION_PARTS, sizeof(bert_cuda_range)));
    BERT_CUDA_TRY(bert_cuda_reserve(planner, 1, sizeof(float)));
    BERT_CUDA_TRY(bert_cuda_reserve(planner, 1, sizeof(int32_t)));
    return bert_cuda_reserve(planner, 1, sizeof(uint8_t));
}

/* Nobody leaves ranges of x (x_ranges): they are for QuantizedLinear, and for Linears that read bytes. */
bert_status bert_cuda_quantize_by_range(const bert_cuda_call *call, const bert_tensor *x, void **workspace,
                                        uint8_t *bytes, uint8_t *zero_point, bert_cuda_tensor_scale *out) {
    const int64_t rows = rows_of(x->rank, x->dims), width = x->rank > 0 ? x->dims[x->rank - 1] : 1;
    cudaStream_t stream = call->context->stream;
    bert_cuda_range *ranges = bert_cuda_take(workspace, rows, sizeof *ranges);
    bert_cuda_range *parts = bert_cuda_take(workspace, BERT_CUDA_QUANTIZATION_PARTS, sizeof *parts);
    out->scale = bert_cuda_take(workspace, 1, sizeof *out->scale);
    int32_t *whole_zero_point = bert_cuda_take(workspace, 1, sizeof *whole_zero_point);
    uint8_t *spare = bert_cuda_take(workspace, 1, sizeof *spare);
    out->zero_point = zero_point ? zero_point : spare;
    const bert_cuda_row_ranges_args range = {
        .dtype = x->dtype, .rows = rows, .width = width, .x = x->data, .ranges = ranges};
    const bert_cuda_quantization_args quantization = {.ranges = ranges,
                                                      .rows = rows,
                                                      .ranges_per_row = 1,
                                                      .scales = out->scale,
                                                      .zero_points = whole_zero_point,
                                                      .parts = parts,
                                                      .first_zero_point = out->zero_point};
    const bert_cuda_quantize_args quantize = {.dtype = x->dtype,
                                              .rows = rows,
                                              .width = width,
                                              .x = x->data,
                                              .step = 1,
                                              .scales = out->scale,
                                              .zero_points = whole_zero_point,
                                              .y = bytes,
                                              .pitch = width};
    BERT_CUDA_TRY(bert_cuda_launched(call, bert_cuda_row_ranges(&range, stream), "row_ranges"));
    BERT_CUDA_TRY(bert_cuda_launched(call, bert_cuda_quantization(&quantization, stream), "quantization"));
    return bert_cuda_launched(call, bert_cuda_quantize(&quantize, stream), "quantize");
}

bert_status bert_cuda_plan_dynamic_quantize(const bert_cuda_planner *planner) {
    const bert_tensor_desc *x = &planner->node->inputs[0];
    BERT_CUDA_TRY(bert_cuda_want_float(planner, 0));
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    if (!bert_cuda_node_gives(planner->node, 0))
        BERT_CUDA_TRY(bert_cuda_reserve(planner, bert_cuda_desc_count(x, 0, x->rank), 1));
    return bert_cuda_reserve_quantize_by_range(planner, x->rank, x->dims);
}

bert_status bert_cuda_run_dynamic_quantize(const bert_cuda_call *call) {
    const bert_tensor *x = &call->inputs[0];
    bert_cuda_tensor_scale found;
    void *workspace = call->workspace, *bytes = bert_cuda_output_data(call, 0); /* also where nobody reads them */
    if (!bytes) bytes = bert_cuda_take(&workspace, bert_cuda_elements(x), 1);
    BERT_CUDA_TRY(bert_cuda_quantize_by_range(call, x, &workspace, bytes, bert_cuda_output_data(call, 2), &found));
    const bert_tensor scale = {.dtype = BERT_FLOAT, .data = found.scale};
    return bert_cuda_output_data(call, 1) ? bert_cuda_spread(call, &scale, &call->outputs[1]) : BERT_OK;
}
