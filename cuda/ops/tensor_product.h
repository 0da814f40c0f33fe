/*
 * A product on tensor cores that does what follows it: C = epilogue(A B), where the sums never leave the chip. The
 * other way to the same y is a product of the library's and bert_cuda_bias_activation or bert_cuda_dequantize after it;
 * cuda/followed_product.h chooses.
 */
#ifndef BERT_CUDA_OPS_TENSOR_PRODUCT_H
#define BERT_CUDA_OPS_TENSOR_PRODUCT_H

#include "cuda/gemm.h"
#include "cuda/ops/bias_activation.h"
#include "cuda/ops/quantize.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Tiles of y, [256, 128] to [32, 128], the greatest first. All give the same bits. Behind them those that a cluster of
 * blocks shares, each with a part of k: for few rows, on Hopper and later; sums of floats differ in their last bits.
 */
enum { BERT_CUDA_TENSOR_PRODUCT_TILES = 4, BERT_CUDA_TENSOR_PRODUCT_ALL_TILES = 10 };

/** Elements of the longest row of A that is normalized: gamma and beta are in shared memory meanwhile. */
enum { BERT_CUDA_MOST_NORM_WIDTH = 4096 };

/** What choices of this kernel hold for, with the device: to be raised with every change of its code, its tiles, their
 * order or speed, and of what they are measured against (chunks of followed_product.c, the kernels of epilogue.h). */
enum { BERT_CUDA_TENSOR_PRODUCT_REVISION = 4 };

/** Rows [rows, width] that are LayerNorm's input rather than its result, as LayerNormLinear in core/graph/canonical.h
 * has it, which says what `moments` are: [rows, ceil(width / 64), 2]. */
typedef struct bert_cuda_row_norm {
    const float *moments; /**< NULL: rows count as they are. */
    const void *gamma;    /**< [width], of the rows' type. */
    const void *beta;     /**< [width], or NULL */
    float epsilon;
} bert_cuda_row_norm;

/** What is normalized on the way. gamma and beta begin at multiples of 16 bytes, as A and the residual do, moments at
 * multiples of 8. */
typedef struct bert_cuda_product_norms {
    bert_cuda_row_norm a;        /**< Of A: its width is k. */
    bert_cuda_row_norm residual; /**< Of the residual: its width is n. */
    float *moments;              /**< [m, ceil(n / 64), 2], of y as it is stored; or NULL */
} bert_cuda_product_norms;

typedef struct bert_cuda_tensor_product_args {
    const bert_cuda_gemm_args *product; /**< C and its pitch are not looked at. */
    /** What follows F16 and BF16, of their type: rows is m, width n, x is not looked at, no scales, no E4M3. */
    const bert_cuda_bias_activation_args *floats;
    /** What follows S8: rows is m, width at most n, products and their pitch are not looked at. */
    const bert_cuda_dequantize_args *bytes;
    const bert_cuda_product_norms *norms; /**< Of F16 alone, with `floats` that have no ranges; NULL: none. */
    int32_t tile;                         /**< 0 to BERT_CUDA_TENSOR_PRODUCT_ALL_TILES - 1. */
} bert_cuda_tensor_product_args;

/**
 * Whether the kernel takes a product: F16 or BF16 with A as it is, or S8 with B transposed too; one product, beta 0, no
 * bias (which belongs to what follows); A, B and their rows at multiples of 16 bytes. m has no part in it, so that rows
 * have the same bits whatever their number.
 */
bool bert_cuda_tensor_product_fits(const bert_cuda_gemm_args *product);

/** The tile for [m, n] where nothing was measured: the greatest that gives a GPU enough blocks. None that shares k. */
int32_t bert_cuda_tensor_product_tile(int64_t m, int64_t n);

/** Whether a tile takes `norms`: those of few rows do. */
bool bert_cuda_tensor_product_tile_takes_norms(int32_t tile);

/** Whether a tile is worth measuring for [m, n]: no smaller one takes all rows, and k is shared only where there are
 * few tiles. */
bool bert_cuda_tensor_product_may_win(int64_t m, int64_t n, int32_t tile);

/**
 * y = epilogue(alpha A B), as the kernels of `floats` and `bytes` have it, but rounded once: sums of floats are in
 * float32, in order of k whatever the tile and m, those of a cluster part after part; sums of bytes are exact, so y is
 * the same to the last bit. y is neither A nor B; it may be the residual. cudaErrorNotSupported: a tile that shares k,
 * where the GPU or its code is of before Hopper, k is too short, or y, bias, residual or their rows don't begin at
 * multiples of 16 bytes; and with `norms` one of many rows, k above BERT_CUDA_MOST_NORM_WIDTH, or anything that doesn't
 * begin so.
 */
cudaError_t bert_cuda_tensor_product(const bert_cuda_tensor_product_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
