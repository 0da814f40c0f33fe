/*
 * A block a sequence, a thread a column, which reads with its neighbours row after row. Sums are float32 in the order
 * of tokens. The length for `normalize` is a sum over the block, after which each thread scales what it wrote.
 */
#include "cuda/ops/pool.h"

#include "cuda/platform.h"

enum { THREADS = 256 };

template <typename T> static __global__ void __launch_bounds__(THREADS) pool_kernel(bert_cuda_pool_args a) {
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    for (int64_t b = blockIdx.x; b < a.batch; b += gridDim.x) {
        const int64_t first = a.offsets ? a.offsets[b] : b * a.sequence;
        const int64_t end = a.offsets ? a.offsets[b + 1] : first + a.sequence;
        float squares = 0;
        for (int64_t column = threadIdx.x; column < a.width; column += THREADS) {
            float value = 0;
            int64_t count = 0;
            for (int64_t row = first; row < end; row++) {
                if (a.counted && !a.counted[row]) continue; /* the same for all threads */
                const float x = to_float(static_cast<const T *>(a.x)[row * a.width + column]);
                const bool greater = x > value || isnan(x);
                value = count == 0 ? x : a.pooling == BERT_CUDA_POOL_MAX ? (greater ? x : value) : value + x;
                count++;
                if (a.pooling == BERT_CUDA_POOL_FIRST) break;
            }
            if (a.pooling == BERT_CUDA_POOL_MEAN && count > 0) value /= static_cast<float>(count);
            a.y[b * a.width + column] = value;
            squares += value * value;
        }
        if (!a.normalize) continue;
        const float length = fmaxf(sqrtf(block_sum(squares, scratch)), 1e-12F);
        for (int64_t column = threadIdx.x; column < a.width; column += THREADS) a.y[b * a.width + column] /= length;
    }
}

cudaError_t bert_cuda_pool(const bert_cuda_pool_args *args, cudaStream_t stream) {
    if (args->batch < 0 || args->width < 0 || (!args->offsets && args->sequence < 0)) return cudaErrorInvalidValue;
    if (args->batch == 0 || args->width == 0) return cudaSuccess;
    const dim3 grid(bert_blocks(args->batch, 1)), block(THREADS);
    switch (args->dtype) {
    case BERT_FLOAT:
        return BERT_LAUNCH((pool_kernel<float>), grid, block, 0, stream, *args);
    case BERT_FLOAT16:
        return BERT_LAUNCH((pool_kernel<__half>), grid, block, 0, stream, *args);
    case BERT_BFLOAT16:
        return BERT_LAUNCH((pool_kernel<__nv_bfloat16>), grid, block, 0, stream, *args);
    default:
        return cudaErrorInvalidValue;
    }
}
