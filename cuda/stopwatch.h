/* How long work takes on the device: what choices among ways to the same product go by. */
#ifndef BERT_CUDA_STOPWATCH_H
#define BERT_CUDA_STOPWATCH_H

#include <cuda_runtime_api.h>
#include <stdbool.h>

typedef struct bert_cuda_stopwatch {
    cudaEvent_t begin, end;
    cudaStream_t stream;
} bert_cuda_stopwatch;

/** Puts the work on the stream, which may be capturing; false where it fails. */
typedef bool (*bert_cuda_timed_fn)(const void *work, cudaStream_t stream);

/** Close it whatever this gives. */
cudaError_t bert_cuda_stopwatch_open(cudaStream_t stream, bert_cuda_stopwatch *out);
void bert_cuda_stopwatch_close(bert_cuda_stopwatch *watch);

/**
 * Milliseconds that the work takes; negative when it fails, and no error is left for the next call to find. Runs it up
 * to some tens of times, waits for the stream, and must not be called while that is captured.
 */
float bert_cuda_time(const bert_cuda_stopwatch *watch, bert_cuda_timed_fn run, const void *work);

#endif
