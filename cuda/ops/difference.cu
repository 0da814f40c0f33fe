/*
 * Called some times a product, when ways to it are measured: a thread an element at a time is fast enough. Blocks write
 * what they found side by side, for the host to join: no atomics, and nothing to be cleared before.
 */
#include "cuda/ops/difference.h"

#include "cuda/platform.h"

#include <float.h>

enum { THREADS = 256 };

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    difference_kernel(const T *x, const T *reference, int64_t count, bert_cuda_difference_part *parts) {
    begin_kernel();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    const int64_t step = static_cast<int64_t>(gridDim.x) * THREADS;
    float difference = 0, magnitude = 0;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < count; i += step) {
        const float wanted = to_float(reference[i]), distance = fabsf(to_float(x[i]) - wanted);
        if (!(fabsf(wanted) <= FLT_MAX)) continue;
        magnitude = fmaxf(magnitude, fabsf(wanted));
        difference = distance <= FLT_MAX ? fmaxf(difference, distance) : INFINITY; /* NaN too */
    }
    difference = block_max(difference, scratch);
    magnitude = block_max(magnitude, scratch);
    if (threadIdx.x == 0) parts[blockIdx.x] = {difference, magnitude};
}

template <typename T> static cudaError_t launch(const bert_cuda_difference_args *args, cudaStream_t stream) {
    return BERT_LAUNCH(difference_kernel<T>, dim3(bert_cuda_difference_parts(args->count)), dim3(THREADS), 0, stream,
                       static_cast<const T *>(args->x), static_cast<const T *>(args->reference), args->count,
                       args->parts);
}

cudaError_t bert_cuda_difference(const bert_cuda_difference_args *args, cudaStream_t stream) {
    if (args->count < 0) return cudaErrorInvalidValue;
    if (args->count == 0) return cudaSuccess;
    switch (args->dtype) {
    case BERT_FLOAT:
        return launch<float>(args, stream);
    case BERT_FLOAT16:
        return launch<__half>(args, stream);
    case BERT_BFLOAT16:
        return launch<__nv_bfloat16>(args, stream);
    default:
        return cudaErrorInvalidValue;
    }
}
