/*
 * Linear with --precision fp8: weights as E4M3 with a scale for each column, made once; x as E4M3 with a scale for each
 * row, made in every run by who writes x, or here, so that a row's result doesn't depend on its neighbours. Sums are
 * the tensor cores' fast ones, of fewer bits than float32 (docs/cuda.md), the rest is float16. A weight is packed as
 * [N, K], the one form that products of E4M3 have.
 *
 * Hopper's products apply the scales of rows and columns themselves, where the library has a kernel that does for their
 * shape, of few rows and of many. Others have a factor for all of a product: it keeps sums inside float16, and the
 * epilogue applies the scales.
 */
#include "core/graph/canonical.h"
#include "cuda/ops/e4m3.h"
#include "cuda/ops/quantize_e4m3.h"
#include "cuda/plan/parts.h"

#include <math.h>
#include <string.h>

enum { MULTIPLE = 16, CHUNK = 1024, TILE_ROWS = 64, TILE_COLUMNS = 256 };

/* What is packed: float scales [N], then bytes [N, K]. */
static size_t scale_bytes(int64_t columns) {
    const size_t bytes = (size_t)columns * sizeof(float);
    return (bytes + BERT_CUDA_ALIGNMENT - 1) & ~(size_t)(BERT_CUDA_ALIGNMENT - 1);
}

/* ---- Planning ---------------------------------------------------------------------------------------------------- */

bool bert_cuda_takes_e4m3(const bert_cuda_planner *planner, const bert_cuda_parts *parts) {
    const bert_op_node *node = planner->node;
    int64_t columns = 0;
    if (parts->prepared->precision != BERT_PRECISION_FP8 || node->inputs[0].dtype == BERT_BFLOAT16) return false;
    for (int32_t part = 0; part < parts->count; part++) {
        const int32_t weight = BERT_LINEAR_WEIGHT(part), bias = BERT_LINEAR_BIAS(part);
        const bert_constant *constant = bert_cuda_model_constant(node, weight);
        if (!constant || constant->rank != 2 || bert_cuda_varies(node, bias)) return false;
        if (constant->dims[parts->transposed ? 1 : 0] % MULTIPLE) return false;
        columns += constant->dims[parts->transposed ? 0 : 1];
    }
    return columns % MULTIPLE == 0;
}

static void load(const bert_constant *weight, int64_t first, int64_t count, float *out) {
    const size_t size = bert_cuda_dtype_size(weight->dtype);
    bert_cuda_decode(weight->dtype, BERT_FLOAT, out, weight->data + (size_t)first * size, count);
}

/* A weight [N, K]: what is a column of the product is a row here. */
static void write_rows(const bert_constant *weight, float *scales, uint8_t *bytes) {
    const int64_t rows = weight->dims[0], depth = weight->dims[1];
    float values[CHUNK], factors[CHUNK];
    for (int64_t row = 0; row < rows; row++) {
        float most = 0;
        for (int64_t at = 0; at < depth; at += CHUNK) {
            const int64_t count = at + CHUNK < depth ? CHUNK : depth - at;
            load(weight, row * depth + at, count, values);
            most = fmaxf(most, bert_cuda_greatest_magnitude(values, count));
        }
        scales[row] = bert_e4m3_scale(most);
        const float factor = 1.0F / scales[row];
        for (int64_t i = 0; i < CHUNK && i < depth; i++) factors[i] = factor;
        for (int64_t at = 0; at < depth; at += CHUNK) {
            const int64_t count = at + CHUNK < depth ? CHUNK : depth - at;
            load(weight, row * depth + at, count, values);
            bert_cuda_encode_e4m3(bytes + row * depth + at, values, factors, count);
        }
    }
}

static void find_column_scales(const bert_constant *weight, float *scales) {
    const int64_t depth = weight->dims[0], columns = weight->dims[1];
    float values[CHUNK];
    for (int64_t k = 0; k < depth; k++) {
        for (int64_t at = 0; at < columns; at += CHUNK) {
            const int64_t count = at + CHUNK < columns ? CHUNK : columns - at;
            load(weight, k * columns + at, count, values);
            bert_cuda_add_magnitudes(scales + at, values, count);
        }
    }
    for (int64_t column = 0; column < columns; column++) scales[column] = bert_e4m3_scale(scales[column]);
}

/* Rows from k on and columns from `column` on of a weight [K, N], as far as a tile goes: converted as they lie, and
 * written with rows and columns exchanged. */
static void write_tile(const bert_constant *weight, int64_t k, int64_t column, const float *scales, uint8_t *bytes) {
    const int64_t depth = weight->dims[0], columns = weight->dims[1];
    const int64_t height = k + TILE_ROWS < depth ? TILE_ROWS : depth - k;
    const int64_t width = column + TILE_COLUMNS < columns ? TILE_COLUMNS : columns - column;
    float values[TILE_COLUMNS], factors[TILE_COLUMNS];
    uint8_t tile[TILE_ROWS][TILE_COLUMNS];
    for (int64_t i = 0; i < width; i++) factors[i] = 1.0F / scales[column + i];
    for (int64_t i = 0; i < height; i++) {
        load(weight, (k + i) * columns + column, width, values);
        bert_cuda_encode_e4m3(tile[i], values, factors, width);
    }
    for (int64_t j = 0; j < width; j++)
        for (int64_t i = 0; i < height; i++) bytes[(column + j) * depth + k + i] = tile[i][j];
}

/* One part: the scales of its columns, which are 0, and the bytes. */
static void write_part(const bert_constant *weight, bool transposed, float *scales, uint8_t *bytes) {
    if (transposed) {
        write_rows(weight, scales, bytes);
        return;
    }
    find_column_scales(weight, scales);
    for (int64_t k = 0; k < weight->dims[0]; k += TILE_ROWS)
        for (int64_t column = 0; column < weight->dims[1]; column += TILE_COLUMNS)
            write_tile(weight, k, column, scales, bytes);
}

static bert_status write_parts(const void *argument, void *out, bert_error *error) {
    const bert_cuda_parts *parts = argument;
    const int64_t depth = bert_cuda_parts_depth(parts);
    float *scales = out;
    uint8_t *bytes = (uint8_t *)out + scale_bytes(parts->columns);
    for (int32_t part = 0; part < parts->count; part++) {
        const int64_t columns = bert_cuda_part_columns(parts, part);
        write_part(parts->constants[part], parts->transposed, scales, bytes);
        scales += columns;
        bytes += columns * depth;
    }
    return BERT_OK;
}

/* Whichever way the bias is added. The answer depends on n and k alone: a row has the same bits in every batch. */
static bool product_takes_scales(const bert_cuda_planner *planner, int64_t n, int64_t k) {
    bert_cuda_gemm_shape shape = {.kind = BERT_CUDA_GEMM_F8, .n = n, .k = k, .scales = true};
    bool takes = true;
    for (int bias = 0; bias < 2 && takes; bias++) {
        shape.bias = bias;
        takes = bert_cuda_gemm_provider_built.supports(planner->context->gemm, &shape);
    }
    return takes;
}

bert_status bert_cuda_pack_e4m3(const bert_cuda_planner *planner, const bert_cuda_parts *parts, void **out) {
    bert_cuda_node *state = planner->state;
    bert_cuda_parts_id id;
    const size_t key = bert_cuda_parts_key(parts, "e4m3", parts->constants, &id);
    state->n = parts->columns;
    state->k = bert_cuda_parts_depth(parts);
    if (planner->mode == BERT_PLAN_BIND) {
        const bert_device *device = planner->prepared->device;
        BERT_CUDA_TRY(bert_cuda_check(device->host, cudaSetDevice(device->index), planner->error, "cudaSetDevice"));
        state->e4m3_scales = product_takes_scales(planner, state->n, state->k);
    }
    return bert_cuda_pack(planner->prepared, &id, key, scale_bytes(state->n) + (size_t)(state->n * state->k),
                          write_parts, parts, out, planner->error);
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

/* A power of two by which no sum of products of E4M3 leaves float16. */
static float smallest_sums(int64_t depth) {
    int exponent;
    frexpf(BERT_E4M3_MOST * BERT_E4M3_MOST / 65504.0F * (float)depth, &exponent);
    return ldexpf(1.0F, -exponent);
}

/* x as E4M3, where nobody made it so before. */
static bert_status make_rows(const bert_cuda_call *call, const bert_tensor *x, int64_t rows) {
    if (call->x_e4m3_made) return BERT_OK;
    const bert_cuda_quantize_e4m3_args args = {.dtype = x->dtype,
                                               .rows = rows,
                                               .width = call->node->k,
                                               .x = x->data,
                                               .ranges = call->x_ranges,
                                               .ranges_per_row = call->node->node.x_ranges,
                                               .y = call->x_e4m3};
    return bert_cuda_launched(call, bert_cuda_quantize_e4m3(&args, call->context->stream), "quantize_e4m3");
}

bert_status bert_cuda_run_e4m3_linear(const bert_cuda_call *call, const void *packed, const void *bias) {
    const bert_cuda_node *node = call->node;
    const bert_tensor *x = &call->inputs[BERT_LINEAR_X], *y = &call->outputs[0];
    const int64_t rows = bert_cuda_count(x->dims, 0, x->rank - 1);
    const float alpha = BERT_NODE_FLOAT(&node->node, "alpha", 1.0F);
    BERT_CUDA_TRY(make_rows(call, x, rows));
    bert_cuda_gemm_args product = {.kind = BERT_CUDA_GEMM_F8,
                                   .transpose_b = true,
                                   .m = rows,
                                   .n = node->n,
                                   .k = node->k,
                                   .batch = 1,
                                   .alpha = alpha,
                                   .a = call->x_e4m3.bytes,
                                   .b = (const uint8_t *)packed + scale_bytes(node->n),
                                   .c = y->data,
                                   .lda = node->k,
                                   .ldb = node->k,
                                   .ldc = node->n,
                                   .cold_b = bert_cuda_is_cold(call, BERT_LINEAR_WEIGHT(0), rows)};
    bert_cuda_epilogue epilogue = {.bias = bias};
    if (node->e4m3_scales) {
        product.row_scales = call->x_e4m3.scales;
        product.column_scales = packed;
    } else {
        product.alpha = smallest_sums(node->k);
        epilogue.row_scales = call->x_e4m3.scales;
        epilogue.column_scales = packed;
        epilogue.scale = alpha / product.alpha;
    }
    return bert_cuda_multiply_with_epilogue(call, &product, &epilogue);
}
