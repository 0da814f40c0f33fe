/* The fastest of several ways to the same: how choices among ways to a product are made. */
#ifndef BERT_CUDA_STOPWATCH_H
#define BERT_CUDA_STOPWATCH_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

/** Puts the work on the stream, which may be capturing, in one of its ways; false where it fails. */
typedef bool (*bert_cuda_way_fn)(const void *work, int way, cudaStream_t stream);

typedef struct bert_cuda_fastest {
    int way; /**< -1: none, all failed. */
    int64_t nanoseconds;
} bert_cuda_fastest;

enum { BERT_CUDA_MOST_WAYS = 32 };

/**
 * Times the ways from 0 to `count` - 1; of two as fast as each other the first counts. Runs each up to some tens of
 * times, or short ones `least` times in a row where that is more, those near the fastest twice as often, waits for the
 * stream, and must not be called while that is captured. An error is the stream's, or of events: ways that fail are
 * left out, and leave no error for the next call to find.
 */
cudaError_t bert_cuda_find_fastest(cudaStream_t stream, bert_cuda_way_fn run, const void *work, int count, int least,
                                   bert_cuda_fastest *out);

#endif
