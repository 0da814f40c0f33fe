/*
 * Dynamic quantization, and what follows a product of bytes: canonical QuantizedLinear (core/graph/canonical.h) is
 *
 *   ranges of rows (of whoever wrote x, or bert_cuda_row_ranges) -> quantization -> quantize -> GEMM -> dequantize
 *
 * x of a row is scale (q - zero_point) with q in [0, 255]; tensor cores take signed bytes, so q - 128 is what is
 * stored. All integers are those that ONNX's operators define, to the last bit.
 */
#ifndef BERT_CUDA_OPS_QUANTIZE_H
#define BERT_CUDA_OPS_QUANTIZE_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bert_cuda_row_ranges_args {
    bert_dtype dtype;
    int64_t rows, width;
    const void *x;           /**< [rows, width] */
    bert_cuda_range *ranges; /**< [rows] */
} bert_cuda_row_ranges_args;

cudaError_t bert_cuda_row_ranges(const bert_cuda_row_ranges_args *args, cudaStream_t stream);

enum { BERT_CUDA_QUANTIZATION_PARTS = 128 };

typedef struct bert_cuda_quantization_args {
    const bert_cuda_range *ranges; /**< [rows, ranges_per_row] */
    int64_t rows, ranges_per_row;
    /** [groups + 1]: rows offsets[g] to offsets[g + 1] - 1 share a scale (quant_scope sequence); NULL: all rows do. */
    const int32_t *offsets;
    int64_t groups;         /**< With `offsets`. */
    const uint8_t *counted; /**< [rows]: a group's scale is that of its rows that count; of all where none does. NULL:
                                 all. */
    float *scales;          /**< [rows], or one without `offsets`: (most - least) / 255, or 1 where that is 0 */
    int32_t *zero_points;   /**< As many: round(-least / scale), in [0, 255] */
    /** [BERT_CUDA_QUANTIZATION_PARTS] to work in, where all rows are one group; NULL: one block reads all ranges. */
    bert_cuda_range *parts;
    uint8_t *first_zero_point; /**< The first one as a byte, for DynamicQuantizeLinear; or NULL. */
} bert_cuda_quantization_args;

/** Without `offsets`, no rows have a scale and zero point too. */
cudaError_t bert_cuda_quantization(const bert_cuda_quantization_args *args, cudaStream_t stream);

typedef struct bert_cuda_quantize_args {
    bert_dtype dtype;
    int64_t rows, width;
    const void *x;       /**< [.., width]: row i of y is made from row first + i step. */
    int64_t first, step; /**< At least 0 and 1. */
    /** [.., ranges_per_row]: each row of x has the scale and zero point of its own range, which are written; NULL: they
     * are there. */
    const bert_cuda_range *ranges;
    int64_t ranges_per_row;
    float *scales;        /**< One for each row of x, or one with scale_stride 0. */
    int32_t *zero_points; /**< Likewise. */
    int64_t scale_stride; /**< 1, or 0: the first scale and zero point for every row, without ranges. */
    bool shifted;         /**< y is int8, q - 128; else uint8, q. */
    void *y;              /**< [rows, pitch] */
    int64_t pitch;        /**< At least width; what lies between is 0. */
    int32_t *sums;        /**< [rows]: the sum of a row of y; or NULL */
} bert_cuda_quantize_args;

/** q = clamp(round(x / scale) + zero_point, 0, 255), rounding half to even. */
cudaError_t bert_cuda_quantize(const bert_cuda_quantize_args *args, cudaStream_t stream);

typedef struct bert_cuda_dequantize_args {
    bert_dtype dtype; /**< Of bias, residual and y. */
    bert_cuda_activation activation;
    int64_t rows, width, depth; /**< depth: K, over which the product summed. */
    const int32_t *products;    /**< [rows, pitch]: sums of (q - 128) (w - weight_shift) */
    int64_t pitch;
    const float *scales;               /**< [rows] of x, one with row_stride 0; NULL: weight_scales hold it already */
    const int32_t *zero_points;        /**< [rows] of x, one with row_stride 0 */
    int64_t row_stride;                /**< From row to row of these two; 0: the first ones for every row. */
    const int32_t *sums;               /**< [rows], of the rows of q - 128 */
    const float *weight_scales;        /**< [width] */
    const int32_t *weight_zero_points; /**< [width], less weight_shift */
    const int32_t *weight_sums;        /**< [width]: sum over k of w - weight_shift */
    const void *bias;                  /**< [width], or NULL */
    const int32_t *integer_bias;       /**< [width], part of the integer sum; or NULL */
    const void *residual;              /**< [rows, width], or NULL */
    void *y;                           /**< [rows, width]; may be `residual` */
    /** BERT_BFLOAT16 alone: the lower halves (halves.h) of tensors that are held in float32; NULL: they are not. */
    const uint16_t *residual_lower;
    uint16_t *y_lower;
    bert_cuda_range *ranges; /**< [rows, bert_cuda_stretches(width)], of y; or NULL */
} bert_cuda_dequantize_args;

/** y = activation(float(sum of (q - zero_point) (w - weight_zero_point) + integer_bias) (scale weight_scale) + bias) +
 * residual */
cudaError_t bert_cuda_dequantize(const bert_cuda_dequantize_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
