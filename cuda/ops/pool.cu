/*
 * A block for 256 columns of a sequence, or all of them where they are scaled to length 1; a thread a column, which
 * reads with its neighbours row after row. Sums are float32 in the order of tokens. What rows count is read for 256 at
 * a time into shared memory, and some rows of x are asked for before the first of them is added, so that a thread waits
 * for memory once for all of these. The length is a sum over the block, after which each thread scales what it kept in
 * float32.
 */
#include "cuda/ops/pool.h"

#include "cuda/ops/element.h"
#include "cuda/ops/halves.h"

enum { THREADS = 256, AHEAD = 8 };

/* What a row of x counts. */
static __device__ inline float weight_of(const bert_cuda_pool_args &a, int64_t row) {
    if (!a.mask) return 1;
    if (bert_dtype_is_float(a.mask_dtype)) return load_as<float>(a.mask, a.mask_dtype, row);
    return static_cast<float>(load_as<int64_t>(a.mask, a.mask_dtype, row));
}

/* A column of a sequence, as far as it was read. */
struct pooled {
    float value = 0, total = 0;
    bool any = false;
};

/* `rows` rows of x from `first` on, and what each counts. */
template <typename T>
static __device__ inline void add_rows(const bert_cuda_pool_args &a, int64_t first, int rows, const float *weights,
                                       int64_t column, pooled *p) {
    for (int from = 0; from < rows; from += AHEAD) {
        float x[AHEAD];
        BERT_UNROLL
        for (int i = 0; i < AHEAD; i++) {
            const int row = from + i < rows ? from + i : rows - 1;
            x[i] = load_element(static_cast<const T *>(a.x), a.x_lower, (first + row) * a.width + column);
        }
        BERT_UNROLL
        for (int i = 0; i < AHEAD; i++) {
            const float weight = from + i < rows ? weights[from + i] : 0.0F;
            if (weight == 0) continue; /* the same for all threads */
            if (a.pooling == BERT_CUDA_POOL_MEAN) p->value += weight * x[i];
            if (a.pooling == BERT_CUDA_POOL_MAX && (!p->any || x[i] > p->value || isnan(x[i]))) p->value = x[i];
            p->total += weight;
            p->any = true;
        }
    }
}

/* All threads of the block take part, each with a column that there is. */
template <typename T>
static __device__ inline float pool_column(const bert_cuda_pool_args &a, int64_t b, int64_t column, float *weights) {
    const int64_t first = a.offsets ? a.offsets[b] : b * a.sequence;
    const int64_t end = a.offsets ? a.offsets[b + 1] : first + a.sequence;
    pooled p;
    for (int64_t row = first; row < end; row += THREADS) {
        __syncthreads(); /* the rows before are done with */
        if (row + threadIdx.x < end) weights[threadIdx.x] = weight_of(a, row + threadIdx.x);
        __syncthreads();
        const int rows = static_cast<int>(end - row < THREADS ? end - row : int64_t(THREADS));
        if (a.pooling != BERT_CUDA_POOL_FIRST) {
            add_rows<T>(a, row, rows, weights, column, &p);
            continue;
        }
        for (int i = 0; i < rows; i++) /* the first that counts: the same for all threads, and so is the end */
            if (weights[i] != 0)
                return load_element(static_cast<const T *>(a.x), a.x_lower, (row + i) * a.width + column);
    }
    return a.pooling == BERT_CUDA_POOL_MEAN ? p.value / fmaxf(p.total, a.epsilon) : p.value;
}

template <typename T> static __global__ void __launch_bounds__(THREADS) pool_kernel(bert_cuda_pool_args a) {
    begin_kernel();
    BERT_SHARED(float, weights, THREADS);
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    for (int64_t b = blockIdx.x; b < a.batch; b += gridDim.x) {
        float squares = 0;
        for (int64_t tile = blockIdx.y * THREADS; tile < a.width; tile += gridDim.y * THREADS) {
            const int64_t column = tile + threadIdx.x, at = b * a.width + column;
            const float value = pool_column<T>(a, b, column < a.width ? column : a.width - 1, weights);
            if (column >= a.width) continue;
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
    const dim3 grid(bert_blocks(args->batch, 1), args->values ? 1 : bert_blocks(args->width, THREADS, 64)),
        block(THREADS);
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
