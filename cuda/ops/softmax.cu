/*
 * Attention has its own softmax; this one is for what graphs are left with, so it is plain: a warp a row for short
 * rows, a block a row for long ones, three passes that find the row in the caches. A NaN makes the whole row NaN, as it
 * does in the reference.
 */
#include "cuda/ops/softmax.h"

#include "cuda/ops/element.h"

template <typename F> struct softmax_row {
    bert_cuda_softmax_args a;
    int64_t start, bias;

    __device__ softmax_row(const bert_cuda_softmax_args &args, int64_t row) : a(args) {
        start = row / a.inner * a.count * a.inner + row % a.inner;
        bias = a.bias ? row / a.bias_every % a.bias_rows * a.count : 0;
    }
    __device__ F load(int64_t i) const {
        F value = load_as<F>(a.x, a.dtype, start + i * a.inner);
        if (a.bias) value += load_as<F>(a.bias, a.dtype, bias + i);
        return value;
    }
    __device__ void store(int64_t i, F value) const {
        store_as<F>(a.y, a.dtype, start + i * a.inner, value);
    }
};

/* Threads of a block take the rows of blockIdx.x: blockDim.y rows at once, blockDim.x threads (a warp, or all) a row.
 */
template <typename F>
static __global__ void __launch_bounds__(128) softmax_kernel(bert_cuda_softmax_args a, int64_t rows) {
    begin_kernel();
    BERT_SHARED(F, scratch, 4 * 3);
    const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    const int lane = static_cast<int>(threadIdx.x) % BERT_WARP, warp = static_cast<int>(threadIdx.x) / BERT_WARP;
    const int warps = static_cast<int>(blockDim.x) / BERT_WARP;
    if (row >= rows) return; /* a whole warp, and no barrier follows where a block has several rows */
    const softmax_row<F> r(a, row);
    F greatest = static_cast<F>(-INFINITY), sum = 0;
    for (int64_t i = threadIdx.x; i < a.count; i += blockDim.x) {
        const F value = r.load(i);
        greatest = isnan(value) || value > greatest ? value : greatest;
    }
    for (int step = BERT_WARP / 2; step > 0; step /= 2) {
        const F other = __shfl_xor_sync(BERT_ALL_LANES, greatest, step);
        greatest = isnan(other) || other > greatest ? other : greatest;
    }
    if (warps > 1) {
        if (lane == 0) scratch[warp] = greatest;
        __syncthreads();
        greatest = scratch[0];
        for (int i = 1; i < warps; i++) greatest = isnan(scratch[i]) || scratch[i] > greatest ? scratch[i] : greatest;
    }
    for (int64_t i = threadIdx.x; i < a.count; i += blockDim.x) sum += exp(r.load(i) - greatest);
    for (int step = BERT_WARP / 2; step > 0; step /= 2) sum += __shfl_xor_sync(BERT_ALL_LANES, sum, step);
    if (warps > 1) {
        if (lane == 0) scratch[4 + warp] = sum;
        __syncthreads();
        sum = 0;
        for (int i = 0; i < warps; i++) sum += scratch[4 + i];
    }
    const F logarithm = log(sum);
    for (int64_t i = threadIdx.x; i < a.count; i += blockDim.x) {
        const F shifted = r.load(i) - greatest;
        r.store(i, a.logarithm ? shifted - logarithm : exp(shifted) / sum);
    }
}

cudaError_t bert_cuda_softmax(const bert_cuda_softmax_args *args, cudaStream_t stream) {
    const int64_t rows = args->outer * args->inner;
    if (!bert_dtype_is_float(args->dtype) || args->outer < 0 || args->count < 0 || args->inner < 0)
        return cudaErrorInvalidValue;
    if (args->bias && (args->inner != 1 || args->bias_every < 1 || args->bias_rows < 1)) return cudaErrorInvalidValue;
    if (rows == 0 || args->count == 0) return cudaSuccess;
    const bool narrow = args->count <= 1024;
    const dim3 block = narrow ? dim3(BERT_WARP, 4) : dim3(128, 1);
    const dim3 grid(bert_blocks(rows, block.y, INT32_MAX));
    if (args->dtype == BERT_DOUBLE) return BERT_LAUNCH((softmax_kernel<double>), grid, block, 0, stream, *args, rows);
    return BERT_LAUNCH((softmax_kernel<float>), grid, block, 0, stream, *args, rows);
}
