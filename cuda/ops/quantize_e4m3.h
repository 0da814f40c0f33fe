/* Rows as E4M3 with a scale each: what a product of gemm.h's kind F8 takes on its left. LayerNorm, Embedding and what
 * follows a product make them of what they write, without this kernel. */
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
    /** [rows, ranges_per_row], of the parts of each row; NULL: x is read for its greatest magnitude first. */
    const bert_cuda_range *ranges;
    int64_t ranges_per_row;
    bert_cuda_e4m3_rows y; /**< [rows, width] */
} bert_cuda_quantize_e4m3_args;

/**
 * The scale of a row is its greatest |x| / 448, or 1 where that is below 2^-126. y = x (1 / scale): the reciprocal and
 * the product rounded to float32, then to the nearest E4M3 (ties to even), so that x is about scale y: to within 1/16
 * of itself, or 2^-10 of a scale. NaN stays NaN, and has no part in the scale; of a row with an infinity the scale is
 * infinite.
 */
cudaError_t bert_cuda_quantize_e4m3(const bert_cuda_quantize_e4m3_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
