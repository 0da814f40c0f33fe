/* Rows as E4M3 with a scale each: what a product of gemm.h's kinds F8 takes on its left. */
#ifndef BERT_CUDA_OPS_QUANTIZE_E4M3_H
#define BERT_CUDA_OPS_QUANTIZE_E4M3_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bert_cuda_quantize_e4m3_args {
    bert_dtype dtype;
    int64_t rows, width;
    const void *x; /**< [rows, width] */
    uint8_t *y;    /**< [rows, width] */
    float *scales; /**< [rows]: greatest |x| of the row / 448, or 1 where that is 0 */
} bert_cuda_quantize_e4m3_args;

/**
 * y = x / scale, rounded to the nearest E4M3 (ties to even), so that x is about scale y: to within 1/16 of itself, or
 * 2^-10 of a scale. NaN stays NaN, and has no part in the scale; of a row with an infinity the scale is infinite.
 */
cudaError_t bert_cuda_quantize_e4m3(const bert_cuda_quantize_e4m3_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
