/*
 * For rows that no kernel of our own wrote: tensor_product gives the moments of what it writes. Eight lanes have the 64
 * elements of a group, 16 bytes each.
 */
#include "cuda/ops/moments.h"

#include "cuda/ops/row_moments.h"

enum { THREADS = 128, N = 8, LANES = BERT_MOMENT_COLUMNS / N };

static __global__ void __launch_bounds__(THREADS)
    moments_kernel(const __half *x, int64_t count, int64_t groups, int64_t width, float *moments) {
    begin_kernel();
    const int64_t at = static_cast<int64_t>(blockIdx.x) * (THREADS / LANES) + threadIdx.x / LANES; /* of all groups */
    const int64_t row = at / groups, first = (at - row * groups) * BERT_MOMENT_COLUMNS;
    const int64_t column = first + threadIdx.x % LANES * N, left = width - first;
    const bool has = at < count && column < width;
    bert_vector<__half, N> own = {};
    float values[N];
    if (has) load_vector(&own, x, row * width + column);
    BERT_UNROLL
    for (int i = 0; i < N; i++) values[i] = to_float(own.at[i]);
    store_moments<LANES>(values, has, static_cast<int>(left < BERT_MOMENT_COLUMNS ? left : BERT_MOMENT_COLUMNS),
                         moments + at * 2);
}

cudaError_t bert_cuda_moments(const bert_cuda_moments_args *args, cudaStream_t stream) {
    const __half *x = static_cast<const __half *>(args->x);
    if (args->rows < 0 || args->width < 0) return cudaErrorInvalidValue;
    if (args->rows == 0 || args->width == 0) return cudaSuccess;
    if (!bert_vectors_fit<N>(args->width, x) || !bert_vectors_fit<2>(0, args->moments)) return cudaErrorNotSupported;
    const int64_t groups = BERT_MOMENTS_OF_ROW(args->width), count = args->rows * groups;
    if (count / (THREADS / LANES) >= INT32_MAX) return cudaErrorInvalidValue;
    return BERT_LAUNCH(moments_kernel, dim3(bert_blocks(count, THREADS / LANES, INT32_MAX)), dim3(THREADS), 0, stream,
                       x, count, groups, args->width, args->moments);
}
