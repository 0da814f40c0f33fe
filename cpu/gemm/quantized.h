/*
 * GEMM of quantized activations with constant weights of 8 bits: exact integer sums, then floats, bias, activation and
 * residual while a tile is in cache.
 *
 * Weights are packed once into panels of BERT_QGEMM_COLUMNS columns, those of uint8 as int8 with values and zero points
 * less 128, which changes no product. There is one layout for all instruction sets; for kernels that ask for it panels
 * are bounded (bounded.h), and their zero points 0.
 */
#ifndef BERT_CPU_GEMM_QUANTIZED_H
#define BERT_CPU_GEMM_QUANTIZED_H

#include "core/base/thread_pool.h"
#include "cpu/gemm/gemm.h"

/** What a weight is packed from: constants with an id; matrices [k, n_p] of int8 or uint8 side by side ([n_p, k]
 * transposed), for each the scale (float32) and the zero point (of its own type, or NULL) of the whole or of each
 * column. */
typedef struct bert_quantized_source {
    const bert_constant *weights[BERT_GEMM_MAX_PARTS];
    const bert_constant *scales[BERT_GEMM_MAX_PARTS];
    const bert_constant *zero_points[BERT_GEMM_MAX_PARTS];
    int32_t count;
    bool transposed;
} bert_quantized_source;

typedef struct bert_quantized_weight {
    struct bert_quantized_weight *next;
    uint64_t ids[3 * BERT_GEMM_MAX_PARTS]; /**< The key: of each part's weight, scale and zero point (0: none), */
    int32_t count;                         /**< how many parts, */
    bool transposed;                       /**< and which way round. */
    int64_t k, n, steps;                   /**< n over all parts; k filled up to 4 steps. */
    const int8_t *panels;
    const float *scales;             /**< [n] */
    const int32_t *zeros;            /**< [n]: zero points. */
    const int32_t *offsets;          /**< [n]: see bert_dequantize_args. */
    const bert_qgemm_bounds *bounds; /**< Of each panel; NULL: for kernels that don't ask for them. */
    const bert_qgemm_excess *excess;
    size_t bytes; /**< Of all of them. */
} bert_quantized_weight;

/** Bytes from one row of quantized activations to the next. */
static inline int64_t bert_quantized_row_bytes(const bert_quantized_weight *weight) {
    return bert_gemm_row_bytes(weight->steps * BERT_QGEMM_STEP);
}

/** Rows of quantized activations, each with its scale, zero point and sum. */
typedef struct bert_quantized_rows {
    const uint8_t *values; /**< [rows, 4 steps], zeros from k on; rows bert_quantized_row_bytes apart. */
    const float *scales;
    const int32_t *zero_points, *sums;
} bert_quantized_rows;

typedef struct bert_quantized_call {
    const bert_cpu_kernels *kernels;
    bert_thread_pool *threads;
    const bert_quantized_weight *weight;
    bert_quantized_rows x;
    const int32_t *start; /**< [n]: what the sums begin with; or NULL. */
    int64_t rows;
    /** y, strides and what happens to it: `rows`, `n` and `alpha` in it are ignored. */
    bert_epilogue_args epilogue;
    bert_row_range *ranges; /**< [rows, bert_quantized_ranges]: of each row of y, a panel's columns each; or NULL. */
} bert_quantized_call;

/** Ranges of a row of y. */
int64_t bert_quantized_ranges(const bert_quantized_weight *weight);

void bert_gemm_quantized(const bert_quantized_call *call);

#endif
