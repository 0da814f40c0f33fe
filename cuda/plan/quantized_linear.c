/*
 * Canonical QuantizedLinear: ranges of rows, their scales, bytes, a product of bytes, and what follows it. A weight is
 * packed as [N, K] of signed bytes, which tensor cores want, with N and K filled up with zeros to what the library
 * wants; with a scale, a zero point and the sum for each column.
 */
#include "core/graph/canonical.h"
#include "cuda/ops/quantize.h"
#include "cuda/plan/parts.h"

#include <string.h>

/* What is packed. COLUMNS: float scales, then int32 zero points, then int32 sums; [padded N] each. */
enum { PACKED_BYTES, PACKED_COLUMNS, PACKED_BIAS };

static int64_t up_to(int64_t count, int64_t multiple) {
    return (count + multiple - 1) / multiple * multiple;
}

/* Both in multiples of what the library wants; rows begin at 16 bytes. */
static int64_t padded(int64_t count) {
    const int64_t multiple = bert_cuda_gemm_provider_built.s8_multiple;
    return up_to(count, multiple > 1 ? up_to(multiple, 16) : 1);
}

/* ---- Packing ----------------------------------------------------------------------------------------------------- */

static int64_t weight_at(const bert_cuda_parts *parts, int32_t part, int64_t column, int64_t k) {
    const bert_constant *weight = parts->constants[part];
    return bert_cuda_constant_int(weight, parts->transposed ? column * bert_cuda_parts_depth(parts) + k
                                                            : k * bert_cuda_part_columns(parts, part) + column);
}

/* Bytes are unsigned or signed; signed ones are what is stored. */
static int64_t shift_of(const bert_cuda_parts *parts, int32_t part) {
    return parts->constants[part]->dtype == BERT_UINT8 ? 128 : 0;
}

static int64_t zero_point_at(const bert_cuda_parts *parts, int32_t part, int64_t column) {
    const bert_constant *zero_points = parts->zero_points[part];
    if (!zero_points) return 0;
    return bert_cuda_constant_int(zero_points, bert_cuda_constant_count(zero_points) == 1 ? 0 : column);
}

static float scale_at(const bert_cuda_parts *parts, int32_t part, int64_t column) {
    const bert_constant *scales = parts->scales[part];
    const size_t at = (size_t)(bert_cuda_constant_count(scales) == 1 ? 0 : column);
    float scale;
    bert_cuda_decode(scales->dtype, BERT_FLOAT, &scale, scales->data + at * bert_cuda_dtype_size(scales->dtype), 1);
    return scale;
}

/* weight_only: as what the device holds the weight, which is of the type of x and of the scales. */
static bert_dtype dequantized_type(const bert_cuda_parts *parts) {
    return bert_cuda_stored(parts->prepared, parts->scales[0]->dtype);
}

static bert_status write_bytes(const void *argument, void *out, bert_error *error) {
    const bert_cuda_parts *parts = argument;
    const int64_t depth = bert_cuda_parts_depth(parts), pitch = padded(depth);
    int8_t *row = out;
    for (int32_t part = 0; part < parts->count; part++) {
        const int64_t shift = shift_of(parts, part);
        for (int64_t column = 0; column < bert_cuda_part_columns(parts, part); column++, row += pitch) {
            for (int64_t k = 0; k < depth; k++) row[k] = (int8_t)(weight_at(parts, part, column, k) - shift);
        }
    }
    return BERT_OK;
}

static bert_status write_columns(const void *argument, void *out, bert_error *error) {
    const bert_cuda_parts *parts = argument;
    const int64_t depth = bert_cuda_parts_depth(parts), pitch = padded(parts->columns);
    float *scales = out;
    int32_t *zero_points = (int32_t *)(void *)(scales + pitch), *sums = zero_points + pitch;
    int64_t at = 0;
    for (int32_t part = 0; part < parts->count; part++) {
        const int64_t shift = shift_of(parts, part);
        for (int64_t column = 0; column < bert_cuda_part_columns(parts, part); column++, at++) {
            int64_t sum = 0;
            for (int64_t k = 0; k < depth; k++) sum += weight_at(parts, part, column, k) - shift;
            scales[at] = scale_at(parts, part, column);
            zero_points[at] = (int32_t)(zero_point_at(parts, part, column) - shift);
            sums[at] = (int32_t)sum;
        }
    }
    return BERT_OK;
}

/* weight_only: (weight - zero point) x scale as the device's floats, [K, N]. */
static bert_status write_floats(const void *argument, void *out, bert_error *error) {
    const bert_cuda_parts *parts = argument;
    const bert_dtype stored = dequantized_type(parts);
    const size_t size = bert_cuda_dtype_size(stored);
    int64_t first = 0;
    for (int32_t part = 0; part < parts->count; part++) {
        for (int64_t k = 0; k < bert_cuda_parts_depth(parts); k++) {
            for (int64_t column = 0; column < bert_cuda_part_columns(parts, part); column++) {
                const float value = (float)(weight_at(parts, part, column, k) - zero_point_at(parts, part, column)) *
                                    scale_at(parts, part, column);
                bert_cuda_encode(stored, BERT_FLOAT, (char *)out + (size_t)(k * parts->columns + first + column) * size,
                                 &value, 1);
            }
        }
        first += bert_cuda_part_columns(parts, part);
    }
    return BERT_OK;
}

static bert_status pack(const bert_cuda_planner *planner, const bert_cuda_parts *parts, const char *what,
                        const bert_constant *const *constants, size_t bytes, bert_cuda_pack_fn write, int place) {
    bert_cuda_parts_id id;
    const size_t key = bert_cuda_parts_key(parts, what, constants, &id);
    return bert_cuda_pack(planner->prepared, &id, key, bytes, write, parts, &planner->state->packed[place],
                          planner->error);
}

static bert_status pack_all(const bert_cuda_planner *planner, const bert_cuda_parts *parts, bool weight_only) {
    bert_cuda_node *state = planner->state;
    state->n = parts->columns;
    state->k = bert_cuda_parts_depth(parts);
    state->padded_n = padded(state->n);
    state->padded_k = padded(state->k);
    const size_t size = bert_cuda_dtype_size(dequantized_type(parts));
    if (weight_only) {
        BERT_CUDA_TRY(pack(planner, parts, "dequantized", parts->scales, (size_t)(state->k * state->n) * size,
                           write_floats, PACKED_BYTES));
    } else {
        BERT_CUDA_TRY(pack(planner, parts, "bytes", parts->constants, (size_t)(state->padded_n * state->padded_k),
                           write_bytes, PACKED_BYTES));
        BERT_CUDA_TRY(pack(planner, parts, "columns", parts->scales, (size_t)state->padded_n * 12, write_columns,
                           PACKED_COLUMNS));
    }
    if (!bert_cuda_parts_bias(parts)) return BERT_OK;
    return pack(planner, parts, "biases", parts->biases, (size_t)state->n * 4, bert_cuda_write_biases, PACKED_BIAS);
}

/* ---- Planning ---------------------------------------------------------------------------------------------------- */

/* The parts: scales of x's type; all biases of that, or all int32 where x is quantized too. */
static bert_status collect(const bert_cuda_planner *planner, bool weight_only, bert_cuda_parts *parts) {
    const bert_op_node *node = planner->node;
    const bert_dtype type = node->inputs[0].dtype;
    for (int32_t part = 0; part < parts->count; part++) {
        const int32_t weight = BERT_QUANTIZED_LINEAR_WEIGHT(part), zero = BERT_QUANTIZED_LINEAR_ZERO_POINT(part);
        BERT_CUDA_TRY(bert_cuda_add_part(planner, parts, part, weight, BERT_QUANTIZED_LINEAR_BIAS(part)));
        parts->scales[part] = bert_cuda_model_constant(node, BERT_QUANTIZED_LINEAR_SCALE(part));
        parts->zero_points[part] = bert_cuda_model_constant(node, zero);
        if (!parts->scales[part] || parts->scales[part]->dtype != type || bert_cuda_varies(node, zero))
            return bert_cuda_leave(planner, "wants constant scales of the type of its input, and constant zero points");
        planner->out->unread_inputs |= UINT64_C(15) << weight;
    }
    const bert_constant *bias = bert_cuda_parts_bias(parts);
    if (!bias || bias->dtype == type || (!weight_only && bias->dtype == BERT_INT32)) return BERT_OK;
    return bert_cuda_leave(planner, "wants biases of the type of its input, or int32 where that is quantized");
}

/* The scale and zero point of a static x: float32 and int32, on the device. */
static bert_status keep_scale(const bert_cuda_planner *planner) {
    const bert_constant *scale = bert_cuda_model_constant(planner->node, BERT_QUANTIZED_LINEAR_X_SCALE);
    const bert_constant *zero = bert_cuda_model_constant(planner->node, BERT_QUANTIZED_LINEAR_X_ZERO_POINT);
    struct {
        float scale;
        int32_t zero_point;
    } given = {0};
    memcpy(&given.scale, scale->data, sizeof given.scale);
    if (zero) given.zero_point = (int32_t)bert_cuda_constant_int(zero, 0);
    return bert_cuda_own(planner, &given, sizeof given);
}

static bert_cuda_gemm_args product_of_bytes(const bert_cuda_node *node, int64_t rows, const int8_t *bytes,
                                            int32_t *products) {
    return (bert_cuda_gemm_args){.kind = BERT_CUDA_GEMM_S8,
                                 .transpose_b = true,
                                 .m = rows,
                                 .n = node->padded_n,
                                 .k = node->padded_k,
                                 .batch = 1,
                                 .alpha = 1,
                                 .a = bytes,
                                 .b = node->packed[PACKED_BYTES],
                                 .c = products,
                                 .lda = node->padded_k,
                                 .ldb = node->padded_k,
                                 .ldc = node->padded_n};
}

/* Elements of sums that the product leaves in memory for what follows: the workspace is aligned as `fits` wants it. */
static int64_t sums_between(const bert_cuda_node *node, const bert_context *context, int64_t rows) {
    const bert_cuda_product_maker maker = bert_cuda_maker_of(context);
    const bert_cuda_gemm_args product = product_of_bytes(node, rows, NULL, NULL);
    const bert_cuda_followed_product followed = {.product = &product};
    return bert_cuda_product_needs_no_sums(&maker, &followed) ? 0 : bert_cuda_times(rows, node->padded_n);
}

/* Rows that are multiplied. */
static bert_row_choice multiplied(const bert_op_node *node, const bert_tensor *x) {
    return bert_rows_at(BERT_NODE_INT(node, "place", BERT_EVERY_PLACE), x);
}

static bool scope_is(const bert_op_node *node, const char *scope) {
    return strcmp(BERT_NODE_STRING(node, "scope", "tensor"), scope) == 0;
}

/* Whether all rows of x have one scale and zero point: those of a static x, which the node owns, or of its range. */
static bool shares_scale(const bert_cuda_node *node) {
    return node->own || scope_is(&node->node, "tensor");
}

static bert_status reserve(const bert_cuda_planner *planner) {
    const bert_cuda_node *state = planner->state;
    const bert_tensor_desc *x = &planner->node->inputs[0], *y = &planner->node->outputs[0];
    const int64_t all = bert_cuda_desc_count(x, 0, x->rank - 1), rows = bert_cuda_desc_count(y, 0, y->rank - 1);
    BERT_CUDA_TRY(bert_cuda_reserve(planner, state->node.x_ranges ? 0 : all, sizeof(bert_cuda_range)));
    BERT_CUDA_TRY(bert_cuda_reserve(planner, BERT_CUDA_QUANTIZATION_PARTS, sizeof(bert_cuda_range)));
    for (int i = 0; i < 2; i++) BERT_CUDA_TRY(bert_cuda_reserve(planner, shares_scale(state) ? 1 : all, 4));
    BERT_CUDA_TRY(bert_cuda_reserve(planner, rows, 4));
    BERT_CUDA_TRY(bert_cuda_reserve(planner, bert_cuda_times(rows, state->padded_k), 1));
    return bert_cuda_reserve(planner, sums_between(state, planner->context, rows), 4);
}

bert_status bert_cuda_plan_quantized_linear(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    const bool weight_only = BERT_NODE_INT(node, "weight_only", 0) != 0;
    const bool has_scale = bert_cuda_node_has(node, BERT_QUANTIZED_LINEAR_X_SCALE);
    bert_cuda_parts parts;
    BERT_CUDA_TRY(bert_cuda_begin_parts(planner, &parts));
    if (node->inputs[0].dtype != BERT_FLOAT && !(weight_only && bert_cuda_is_float(node, 0)))
        return bert_cuda_leave(planner, "computes in float32, and of 16 bits with weights alone");
    if (bert_cuda_varies(node, BERT_QUANTIZED_LINEAR_X_SCALE) ||
        bert_cuda_varies(node, BERT_QUANTIZED_LINEAR_X_ZERO_POINT))
        return bert_cuda_leave(planner, "wants a constant scale and zero point of its input");
    BERT_CUDA_TRY(collect(planner, weight_only, &parts));
    planner->out->unread_inputs |= UINT64_C(3) << BERT_QUANTIZED_LINEAR_X_SCALE;
    if (!weight_only) bert_cuda_give_stretches(planner);
    if (bert_cuda_node_has(node, BERT_LINEAR_RESIDUAL)) bert_cuda_give_wide(planner, 0);
    if (planner->mode == BERT_PLAN_QUERY) return BERT_OK;
    BERT_CUDA_TRY(pack_all(planner, &parts, weight_only));
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_constant *bias = bert_cuda_parts_bias(&parts);
    planner->state->flag = bias && bias->dtype == BERT_INT32;
    if (has_scale) BERT_CUDA_TRY(keep_scale(planner));
    return weight_only ? BERT_OK : reserve(planner);
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

/* The rows of x that are multiplied, in bytes, and what each row of x has, or all share: then scale_stride is 0,
 * else 1. sums: of the rows in bytes. */
typedef struct byte_rows {
    bert_row_choice multiplied;
    int64_t scale_stride;
    bert_cuda_range *parts;
    float *scales;
    int32_t *zero_points, *sums;
    int8_t *bytes;
    int32_t *products;
} byte_rows;

static int64_t ranges_per_row(const bert_cuda_call *call) {
    return call->x_ranges ? call->node->node.x_ranges : 1;
}

/* What each row of x has between its ends: as whoever wrote x found it, or by reading x. */
static bert_status find_ranges(const bert_cuda_call *call, const bert_tensor *x, int64_t rows, void **workspace,
                               const bert_cuda_range **out) {
    const bert_cuda_node *node = call->node;
    *out = call->x_ranges;
    bert_cuda_range *found = bert_cuda_take(workspace, node->node.x_ranges ? 0 : rows, sizeof *found);
    if (*out || node->own) return BERT_OK;
    const bert_cuda_row_ranges_args args = {
        .dtype = x->dtype, .rows = rows, .width = node->k, .x = x->data, .ranges = found};
    *out = found;
    return bert_cuda_launched(call, bert_cuda_row_ranges(&args, call->context->stream), "row_ranges");
}

static bert_status find_scales(const bert_cuda_call *call, int64_t rows, const bert_cuda_range *ranges,
                               const byte_rows *out) {
    const bert_op_node *node = &call->node->node;
    const int32_t parts = (int32_t)BERT_NODE_INT(node, "parts", 1);
    bert_cuda_quantization_args args = {.ranges = ranges,
                                        .rows = rows,
                                        .ranges_per_row = ranges_per_row(call),
                                        .scales = out->scales,
                                        .zero_points = out->zero_points,
                                        .parts = out->parts};
    if (scope_is(node, "sequence")) {
        const bert_tensor *starts = &call->inputs[BERT_QUANTIZED_LINEAR_STARTS(parts)];
        args.offsets = starts->data;
        args.groups = starts->dims[0] - 1;
        args.counted = bert_cuda_input_data(call, BERT_QUANTIZED_LINEAR_COUNTED(parts));
    }
    return bert_cuda_launched(call, bert_cuda_quantization(&args, call->context->stream), "quantization");
}

static bert_status quantize(const bert_cuda_call *call, const bert_tensor *x, byte_rows *out) {
    const bert_cuda_node *node = call->node;
    const int64_t all = bert_cuda_count(x->dims, 0, x->rank - 1), rows = out->multiplied.count;
    const int64_t scales = out->scale_stride ? all : 1;
    const bert_cuda_range *ranges;
    void *workspace = call->workspace;
    BERT_CUDA_TRY(find_ranges(call, x, all, &workspace, &ranges));
    out->parts = bert_cuda_take(&workspace, BERT_CUDA_QUANTIZATION_PARTS, sizeof *out->parts);
    out->scales = bert_cuda_take(&workspace, scales, 4);
    out->zero_points = bert_cuda_take(&workspace, scales, 4);
    out->sums = bert_cuda_take(&workspace, rows, 4);
    out->bytes = bert_cuda_take(&workspace, rows * node->padded_k, 1);
    out->products = bert_cuda_take(&workspace, sums_between(node, call->context, rows), 4);
    const bool by_row = !node->own && scope_is(&node->node, "token");
    if (node->own) {
        out->scales = node->own;
        out->zero_points = (int32_t *)node->own + 1;
    } else if (!by_row) {
        BERT_CUDA_TRY(find_scales(call, all, ranges, out));
    }
    const bert_cuda_quantize_args args = {.dtype = x->dtype,
                                          .rows = rows,
                                          .width = node->k,
                                          .x = x->data,
                                          .first = out->multiplied.first,
                                          .step = out->multiplied.step,
                                          .ranges = by_row ? ranges : NULL,
                                          .ranges_per_row = ranges_per_row(call),
                                          .scales = out->scales,
                                          .zero_points = out->zero_points,
                                          .scale_stride = out->scale_stride,
                                          .shifted = true,
                                          .y = out->bytes,
                                          .pitch = node->padded_k,
                                          .sums = out->sums};
    return bert_cuda_launched(call, bert_cuda_quantize(&args, call->context->stream), "quantize");
}

static bert_status run_floats(const bert_cuda_call *call, const bert_tensor *x) {
    const bert_cuda_node *node = call->node;
    bert_cuda_gemm_args product =
        bert_cuda_product_of_rows(call, x, node->packed[PACKED_BYTES], false, node->n, call->outputs[0].data);
    product.cold_b = bert_cuda_is_cold(call, BERT_QUANTIZED_LINEAR_WEIGHT(0), product.m);
    return bert_cuda_multiply_with_epilogue(call, &product, &(bert_cuda_epilogue){.bias = node->packed[PACKED_BIAS]});
}

bert_status bert_cuda_run_quantized_linear(const bert_cuda_call *call) {
    const bert_cuda_node *node = call->node;
    const bert_tensor *x = &call->inputs[BERT_LINEAR_X], *y = &call->outputs[0];
    if (BERT_NODE_INT(&node->node, "weight_only", 0)) return run_floats(call, x);
    byte_rows work = {.multiplied = multiplied(&node->node, x), .scale_stride = shares_scale(node) ? 0 : 1};
    const int64_t rows = work.multiplied.count;
    if (rows == 0 || node->n == 0) return BERT_OK;
    BERT_CUDA_TRY(quantize(call, x, &work));
    bert_cuda_gemm_args product = product_of_bytes(node, rows, work.bytes, work.products);
    const int64_t first = work.scale_stride * work.multiplied.first;
    const float *scales = node->packed[PACKED_COLUMNS];
    const int32_t *zero_points = (const int32_t *)(const void *)(scales + node->padded_n);
    const bert_cuda_dequantize_args args = {.dtype = y->dtype,
                                            .activation = bert_cuda_activation_of(&node->node),
                                            .rows = rows,
                                            .width = node->n,
                                            .depth = node->k,
                                            .products = work.products,
                                            .pitch = node->padded_n,
                                            .scales = node->own ? NULL : work.scales + first,
                                            .zero_points = work.zero_points + first,
                                            .row_stride = work.scale_stride * work.multiplied.step,
                                            .sums = work.sums,
                                            .weight_scales = scales,
                                            .weight_zero_points = zero_points,
                                            .weight_sums = zero_points + node->padded_n,
                                            .bias = node->flag ? NULL : node->packed[PACKED_BIAS],
                                            .integer_bias = node->flag ? node->packed[PACKED_BIAS] : NULL,
                                            .residual = bert_cuda_input_data(call, BERT_LINEAR_RESIDUAL),
                                            .y = y->data,
                                            .residual_lower = bert_cuda_lower_halves(call, BERT_LINEAR_RESIDUAL),
                                            .y_lower = bert_cuda_output_lower_halves(call, 0),
                                            .ranges = call->y_ranges};
    product.cold_b = bert_cuda_is_cold(call, BERT_QUANTIZED_LINEAR_WEIGHT(0), rows);
    return bert_cuda_multiply_followed(call, &product, NULL, &args, NULL);
}
