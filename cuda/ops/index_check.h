/* Indices that come from the user: checked where they are used, on the device. For .cu files. */
#ifndef BERT_CUDA_OPS_INDEX_CHECK_H
#define BERT_CUDA_OPS_INDEX_CHECK_H

#include "cuda/ops/op.h"
#include "cuda/platform.h"

/** Reports an index if it is the first of a run; `bound` is what it was held against. */
static __device__ inline void report_index(int64_t value, int64_t bound, int64_t position, int32_t input,
                                           const bert_cuda_index_check &check) {
    if (!check.report || atomicCAS(&check.report->found, 0, 1) != 0) return;
    check.report->node = check.node;
    check.report->input = input;
    check.report->position = position;
    check.report->value = value;
    check.report->bound = bound;
}

/** The index as one in [0, bound): a negative one counts from the end where `check` lets it; one outside is reported,
 * and 0 instead. */
static __device__ inline int64_t checked_index(int64_t value, int64_t bound, int64_t position, int32_t input,
                                               const bert_cuda_index_check &check) {
    const int64_t index = value < 0 && !check.from_start ? value + bound : value;
    if (index >= 0 && index < bound) return index;
    report_index(value, bound, position, input, check);
    return 0;
}

static __device__ inline int64_t load_index(const void *indices, bert_dtype type, int64_t at) {
    return type == BERT_INT32 ? static_cast<const int32_t *>(indices)[at] : static_cast<const int64_t *>(indices)[at];
}

#endif
