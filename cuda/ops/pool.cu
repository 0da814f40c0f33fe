/*
 * A block a sequence, a thread a column, which reads with its neighbours row after row. Sums are float32 in the order
 * of tokens. The length is a sum over the block, after which each thread scales what it kept in float32.
 */
#include "cuda/ops/pool.h"

#include "cuda/ops/element.h"
#include "cuda/ops/halves.h"

enum { THREADS = 256 };

/* What a row of x counts. */
static __device__ inline float weight_of(const bert_cuda_pool_args &a, int64_t row) {
    if (!a.mask) return 1;
    if (bert_dtype_is_float(a.mask_dtype)) return load_as<float>(a.mask, a.mask_dtype, row);
    return static_cast<float>(load_as<int64_t>(a.mask, a.mask_dtype, row));
}

template <typename T>
static __device__ inline float pool_column(const bert_cuda_pool_args &a, int64_t b, int64_t column) {
    const int64_t first = a.offsets ? a.offsets[b] : b * a.sequence;
    const int64_t end = a.offsets ? a.offsets[b + 1] : first + a.sequence;
    float value = 0, total = 0;
    bool any = false;
    for (int64_t row = first; row < end; row++) {
        const float weight = weight_of(a, row);
        if (weight == 0) continue; /* the same for all threads */
        const int64_t at = row * a.width + column;
        const float x = load_element(static_cast<const T *>(a.x), a.x_lower, at);
        if (a.pooling == BERT_CUDA_POOL_FIRST) return x;
        if (a.pooling == BERT_CUDA_POOL_MEAN) value += weight * x;
        if (a.pooling == BERT_CUDA_POOL_MAX && (!any || x > value || isnan(x))) value = x;
        total += weight;
        any = true;
    }
    return a.pooling == BERT_CUDA_POOL_MEAN ? value / fmaxf(total, a.epsilon) : value;
}

template <typename T> static __global__ void __launch_bounds__(THREADS) pool_kernel(bert_cuda_pool_args a) {
    begin_kernel();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    for (int64_t b = blockIdx.x; b < a.batch; b += gridDim.x) {
        float squares = 0;
        for (int64_t column = threadIdx.x; column < a.width; column += THREADS) {
            const int64_t at = b * a.width + column;
            const float value = pool_column<T>(a, b, column);
            squares += value * value;
            if (a.values)
                a.values[at] = value;
            else
                store_element(static_cast<T *>(a.y), a.y_lower, at, value);
        }
        if (!a.values) continue;
        const float norm = sqrtf(block_sum(squares, scratch));
        const float length = norm < 1e-12F ? 1e-12F : norm; /* a NaN stays one, unlike in fmaxf */
        for (int64_t column = threadIdx.x; column < a.width; column += THREADS) {
            const int64_t at = b * a.width + column;
            store_element(static_cast<T *>(a.y), a.y_lower, at, a.values[at] / length);
        }
    }
}

static bool is_mask(bert_dtype dtype) {
    switch (dtype) {
    case BERT_BOOL:
    case BERT_INT8:
    case BERT_UINT8:
    case BERT_INT32:
    case BERT_INT64:
    case BERT_FLOAT:
    case BERT_FLOAT16:
    case BERT_BFLOAT16:
        return true;
    default:
        return false;
    }
}

cudaError_t bert_cuda_pool(const bert_cuda_pool_args *args, cudaStream_t stream) {
    if (args->batch < 0 || args->width < 0 || (!args->offsets && args->sequence < 0)) return cudaErrorInvalidValue;
    if (args->mask && !is_mask(args->mask_dtype)) return cudaErrorInvalidValue;
    if ((args->x_lower || args->y_lower) && args->dtype != BERT_BFLOAT16) return cudaErrorInvalidValue;
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
