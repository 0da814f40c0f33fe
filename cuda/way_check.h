/*
 * Whether ways to the same result give the same: what is asked of a way before it is timed. A kernel may be wrong on a
 * GPU, or with a driver, that nobody tried it on; then it is not taken, instead of giving wrong answers fast.
 */
#ifndef BERT_CUDA_WAY_CHECK_H
#define BERT_CUDA_WAY_CHECK_H

#include "cuda/ops/op.h"
#include "cuda/stopwatch.h"

typedef enum bert_cuda_way_verdict {
    BERT_CUDA_WAY_AGREES,
    BERT_CUDA_WAY_FAILS,  /**< It doesn't run, or isn't there. */
    BERT_CUDA_WAY_DIFFERS /**< From the first. */
} bert_cuda_way_verdict;

/** What ways write, and how close they have to come. Of more rows than there is memory for, the last are looked at. */
typedef struct bert_cuda_way_check {
    bert_dtype dtype; /**< Of y: a float type. */
    int64_t rows, width;
    void *y;         /**< [rows, width], which no way reads. */
    float tolerance; /**< Share of the greatest element by which another way's may be off; 0: not at all. */
    void *memory;    /**< Device memory aligned to 256 bytes, which ways behind the first leave alone. */
    size_t bytes;    /**< Of it. */
} bert_cuda_way_check;

/**
 * verdicts[way] for the ways from 0 to `count` - 1, each of which is run once: whether it gives y as the first one
 * does. All agree where the first doesn't run, or there isn't memory for a row. Leaves y undefined, waits for the
 * stream, and must not be called while that is captured. An error is the stream's, or of copies: ways that fail leave
 * none for the next call to find.
 */
cudaError_t bert_cuda_check_ways(const bert_cuda_way_check *check, bert_cuda_way_fn run, const void *work, int count,
                                 cudaStream_t stream, bert_cuda_way_verdict *verdicts);

#endif
