/* What follows a product: bias, activation, residual. The epilogue of a Linear whose GEMM has none, or not the right
 * one (cuBLASLt's GELU is the tanh form). */
#ifndef BERT_CUDA_OPS_BIAS_ACTIVATION_H
#define BERT_CUDA_OPS_BIAS_ACTIVATION_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bert_cuda_bias_activation_args {
    bert_dtype dtype; /**< Of every float tensor here. */
    bert_cuda_activation activation;
    int64_t rows, width;
    const void *x;                           /**< [rows, width] */
    const void *bias;                        /**< [width], or NULL */
    const void *residual;                    /**< [rows, width], or NULL */
    const float *row_scales, *column_scales; /**< [rows] and [width], of x; NULL (both): 1 */
    float scale;                             /**< Of x, with these. */
    void *y;                                 /**< [rows, width]; may be `x` or `residual`. */
    /** BERT_BFLOAT16 alone: the lower halves (halves.h) of tensors that are held in float32; NULL: they are not. */
    const uint16_t *residual_lower;
    uint16_t *y_lower;
    bert_cuda_range *ranges;  /**< [rows, bert_cuda_stretches(width)], of y; or NULL */
    bert_cuda_e4m3_rows e4m3; /**< Without `ranges`: of y as it is stored, without lower halves; `bytes` NULL: none. */
    bool y_unread;            /**< With `e4m3`: y need not be written, though it may be. */
} bert_cuda_bias_activation_args;

/** y = activation(scale row_scale column_scale x + bias) + residual */
cudaError_t bert_cuda_bias_activation(const bert_cuda_bias_activation_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
