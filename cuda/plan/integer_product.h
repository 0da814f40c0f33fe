/* Products of bytes, for the operators that are one and those that have one in them. */
#ifndef BERT_CUDA_PLAN_INTEGER_PRODUCT_H
#define BERT_CUDA_PLAN_INTEGER_PRODUCT_H

#include "cuda/plan/plan.h"

/**
 * y = (a - a_zero) (b - b_zero) [+ sums_bias] as int32, or that times alpha a_scale b_scale, then + bias, or / y_scale
 * in bytes. Zero points and scales: one, one for each row of a or column of b, or one for each of those of each matrix.
 * Filled from dimensions alone while a node is bound: pointers are NULL then.
 */
typedef struct bert_cuda_integer_product {
    bert_tensor a, b, y;           /**< Of one dimension too: a row on the left, a column on the right. */
    bool transpose_a, transpose_b; /**< Of matrices alone. */
    bool dynamic;                  /**< a is float, and quantized by its own range. */
    /* NULL: there is none. Scales are all there, or none. */
    const bert_tensor *a_zero, *b_zero, *a_scale, *b_scale;
    const bert_tensor *sums_bias; /**< int32, broadcasts to y. */
    const bert_tensor *bias;      /**< Broadcasts to y. */
    const bert_tensor *y_scale, *y_zero;
    float alpha;
} bert_cuda_integer_product;

/** Scales, and a bias beside them: the inputs that a product has them from, -1 for one that it hasn't. */
typedef struct bert_cuda_product_floats {
    int32_t inputs[4];
} bert_cuda_product_floats;

/** Their types; those that are constant stay float32 in sessions of 16 bits, where others are as all tensors are. */
bert_status bert_cuda_plan_product_floats(const bert_cuda_planner *planner, bert_cuda_product_floats floats);
/** Workspace, and the constants of a product, which are the node's own memory from there on. */
bert_status bert_cuda_integer_product_reserve(const bert_cuda_planner *planner,
                                              const bert_cuda_integer_product *product);
/** `workspace`: what is left of the call's, in the order in which it was reserved. */
bert_status bert_cuda_integer_product_run(const bert_cuda_call *call, const bert_cuda_integer_product *product,
                                          void **workspace);

#endif
