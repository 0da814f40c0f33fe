/* Dynamic quantization of a float32 graph: `bertc quantize`. Not one of the passes that a load runs. */
#ifndef BERT_PASSES_QUANTIZE_DYNAMIC_H
#define BERT_PASSES_QUANTIZE_DYNAMIC_H

#include "core/graph/graph.h"

/** What weights become. */
typedef struct bert_quantize_options {
    bert_dtype weights; /**< BERT_INT8: symmetric, -127 to 127; BERT_UINT8: 0 to 255 with a zero point. */
    bool per_channel;   /**< A scale for each column of a product's weight, not one for all of it. */
} bert_quantize_options;

/** What was done, and what stayed float32. */
typedef struct bert_quantize_report {
    int64_t products, tables; /**< MatMul, Gemm and Attention nodes; Gather nodes over a table. */
    int64_t left;             /**< Products with a constant float32 matrix that have no quantized spelling here. */
    const char *first_left;   /**< The name of the first of them; NULL when there is none. */
} bert_quantize_report;

/* clang-format off */
/**
 * Rewrites a graph as the file has it (sorted, no passes), shapes inferred or not, to dynamic INT8 in ONNX's operators,
 * as ONNX Runtime's quantize_dynamic spells it and with its numbers:
 *
 *     x W         DynamicQuantizeLinear(x), which all products of one x share, MatMulInteger, Cast, Mul by the product
 *                 of the scales
 *     Attention   (com.microsoft) DynamicQuantizeLinear(x), QAttention
 *     tables      Gather over bytes, DequantizeLinear
 *
 * W is a constant float32 matrix: a MatMul's right side, a Gemm's B (A as it is, beta 1). Weights are rounded half to
 * even: int8 w = round(W / s) with s = max |W| / 127; uint8 w = round(W / s) + z with s = (max(W, 0) - min(W, 0)) /
 * 255, z = round(-min(W, 0) / s). Tables are uint8, with one scale. The new constants live in the graph's arena.
 * BERT_INVALID_MODEL (what inference finds), BERT_INVALID_ARGUMENT (weights of another type), BERT_OUT_OF_MEMORY; the
 * graph is then unusable.
 */
/* clang-format on */
bert_status bert_quantize_dynamic(bert_graph *graph, const bert_quantize_options *options, const bert_log *log,
                                  bert_quantize_report *report, bert_error *error);

#endif
