/* A case of SkipLayerNormalization and the arguments of its kernel, for rows of any type and for rows in halves. */
#ifndef BERT_TESTS_CUDA_SKIP_CASE_H
#define BERT_TESTS_CUDA_SKIP_CASE_H

#include "cuda/ops/layer_norm.h"
#include "tests/cuda/kernel_case.h"

typedef struct skip_case {
    case_tensor *x, *residual, *y, *sum; /* sum: NULL where it isn't asked for */
    bert_cuda_layer_norm_args args;
} skip_case;

/** `variant`: bit 0 bias, 1 beta, 2 simplified. */
static inline skip_case skip_case_begin(bert_dtype dtype, int64_t rows, int64_t width, int variant, bool with_sum) {
    const bool simplified = variant >> 2 & 1;
    case_begin(BERT_OP_BERTC_SkipLayerNormalization);
    case_float("epsilon", 1e-5F);
    case_int("simplified", simplified);
    skip_case c = {.args = {.dtype = dtype, .rows = rows, .width = width, .epsilon = 1e-5F, .simplified = simplified}};
    c.x = case_input(dtype, 2, DIMS(rows, width), 2.0F);
    c.residual = case_input(dtype, 2, DIMS(rows, width), 2.0F);
    c.args.gamma = case_input(dtype, 1, DIMS(width), 1.0F)->device;
    if (variant & 2)
        c.args.beta = case_input(dtype, 1, DIMS(width), 1.0F)->device;
    else
        case_absent();
    if (variant & 1) c.args.bias = case_input(dtype, 1, DIMS(width), 1.0F)->device;
    c.y = case_output(dtype, 2, DIMS(rows, width));
    c.y->tolerance *= 3;
    if (with_sum) c.sum = case_output(dtype, 2, DIMS(rows, width));
    c.args.x = c.x->device;
    c.args.residual = c.residual->device;
    c.args.y = c.y->device;
    c.args.sum = c.sum ? c.sum->device : NULL;
    return c;
}

#endif
