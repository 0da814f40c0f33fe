/*
 * Whether a kernel of cuda/ops may be launched while the one before it in its stream still runs (programmatic dependent
 * launch, from compute capability 9.0 on, of code that is compiled for 9.0 or later). It saves the time in which a GPU
 * ends one kernel and starts the next, which is a good part of a small batch. Kernels call begin_kernel (platform.h)
 * before they read or write device memory, so they don't see a difference.
 */
#ifndef BERT_CUDA_LAUNCH_H
#define BERT_CUDA_LAUNCH_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How kernels of this process are launched; at first one after the other. Written before the first launch alone. */
extern bool bert_cuda_launch_ahead;

/**
 * Whether the code that the current device runs waits for the kernel before it, as code for 9.0 and later does, and no
 * code for an earlier GPU, on whatever GPU; the driver and the runtime that this was built with can do it in recordings
 * too, which takes CUDA 12.3; and BERT_CUDA_LAUNCH_AHEAD isn't "off" in the environment.
 */
bool bert_cuda_can_launch_ahead(void);

#ifdef __cplusplus
}
#endif
#endif
