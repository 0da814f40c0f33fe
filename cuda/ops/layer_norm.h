/* LayerNorm of rows, with what stands before it in a BERT: bias and residual. Canonical SkipLayerNormalization and
 * ONNX's LayerNormalization, RMSNormalization over the last dimension. */
#ifndef BERT_CUDA_OPS_LAYER_NORM_H
#define BERT_CUDA_OPS_LAYER_NORM_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bert_cuda_layer_norm_args {
    bert_dtype dtype;      /**< Of every float tensor here. */
    bool float_parameters; /**< BERT_BFLOAT16 alone: bias, gamma and beta are float32 instead. */
    int64_t rows, width;
    const void *x;        /**< [rows, width] */
    const void *residual; /**< [rows, width], or NULL */
    const void *bias;     /**< [width], or NULL */
    const void *gamma;    /**< [width] */
    const void *beta;     /**< [width], or NULL */
    void *sum;            /**< [rows, width]: x + bias + residual; or NULL. May be `x` or `residual`. */
    void *y;              /**< [rows, width]; may be `x` or `residual`. */
    /** BERT_BFLOAT16 alone: the lower halves (halves.h) of tensors that are held in float32; NULL: they are not. */
    const uint16_t *x_lower, *residual_lower;
    uint16_t *sum_lower, *y_lower; /**< Of `sum` or `y` that is an input: its own where that has some. */
    float *mean;                   /**< [rows], or NULL */
    float *deviation;              /**< [rows]: 1 / sqrt(variance + epsilon); or NULL */
    bert_cuda_range *ranges;       /**< [rows], of y; or NULL */
    bert_cuda_e4m3_rows e4m3;      /**< Of y as it is stored, without lower halves; `bytes` NULL: not wanted. */
    bool y_unread;                 /**< With `e4m3`: y need not be written, though it may be. */
    float epsilon;
    bool simplified; /**< No mean is subtracted. */
} bert_cuda_layer_norm_args;

/** y = (s - mean(s)) / sqrt(variance(s) + epsilon) * gamma + beta with s = x + bias + residual; variance in two passes.
 */
cudaError_t bert_cuda_layer_norm(const bert_cuda_layer_norm_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
