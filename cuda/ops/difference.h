/* How far two tensors are from each other. Part of no operator: way_check.h asks it of ways to the same result. */
#ifndef BERT_CUDA_OPS_DIFFERENCE_H
#define BERT_CUDA_OPS_DIFFERENCE_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Of some elements: the greatest |x - reference|, and the greatest |reference|. */
typedef struct bert_cuda_difference_part {
    float difference, magnitude;
} bert_cuda_difference_part;

enum { BERT_CUDA_DIFFERENCE_PARTS = 256, BERT_CUDA_DIFFERENCE_ELEMENTS = 4096 };

/** Parts that so many elements come in: one for each BERT_CUDA_DIFFERENCE_ELEMENTS, BERT_CUDA_DIFFERENCE_PARTS at most.
 */
static inline int bert_cuda_difference_parts(int64_t count) {
    const int64_t parts = (count + BERT_CUDA_DIFFERENCE_ELEMENTS - 1) / BERT_CUDA_DIFFERENCE_ELEMENTS;
    return parts < BERT_CUDA_DIFFERENCE_PARTS ? (int)parts : BERT_CUDA_DIFFERENCE_PARTS;
}

typedef struct bert_cuda_difference_args {
    bert_dtype dtype; /**< Of x and the reference: a float type. */
    int64_t count;
    const void *x, *reference; /**< [count] */
    /** [bert_cuda_difference_parts(count)] */
    bert_cuda_difference_part *parts;
} bert_cuda_difference_args;

/**
 * Elements whose reference is infinite or NaN are left out; where x is that and the reference isn't, the difference is
 * infinite.
 */
cudaError_t bert_cuda_difference(const bert_cuda_difference_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
