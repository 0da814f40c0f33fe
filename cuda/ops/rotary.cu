/*
 * A thread a pair, and one for each element that only moves: neighbours in memory are neighbouring threads, and each
 * element is read and written once. Cosines and sines are the same for all heads of a token, and come from the cache.
 */
#include "cuda/ops/rotary.h"

#include "cuda/ops/element.h"
#include "cuda/ops/index_check.h"

enum { THREADS = 256 };

static __device__ int64_t cache_row(const bert_cuda_rotary_args &a, int64_t b, int64_t row) {
    const int64_t token = b * a.rows + row;
    if (!a.ids) return token;
    const int64_t at = a.offset ? 0 : token;
    const int64_t position =
        static_cast<int64_t>(static_cast<uint64_t>(a.ids[at]) + static_cast<uint64_t>(a.offset ? row : 0));
    if (position >= 0 && position < a.positions) return position;
    report_index(position, a.positions, at, a.input, a.check);
    return 0;
}

template <typename F> static __global__ void __launch_bounds__(THREADS) rotary_kernel(bert_cuda_rotary_args a) {
    begin_kernel();
    const int64_t work = a.depth - a.half; /* pairs, then single elements */
    const int64_t count = a.batch * a.heads * a.rows * work, step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < count; i += step) {
        const int64_t token = i / work, item = i - token * work, head = token / a.rows, row = token - head * a.rows;
        const int64_t b = head / a.heads, h = head - b * a.heads;
        const int64_t start = b * a.batch_stride + h * a.head_stride + row * a.row_stride;
        if (item >= a.half) {
            copy_element(a.y, start + a.half + item, a.x, start + a.half + item, bert_element_bytes(a.dtype));
            continue;
        }
        const int64_t angle = cache_row(a, b, row) * a.half + item;
        const int64_t first = start + (a.interleaved ? 2 * item : item), second = first + (a.interleaved ? 1 : a.half);
        const F cosine = load_as<F>(a.cosines, a.dtype, angle), sine = load_as<F>(a.sines, a.dtype, angle);
        const F x = load_as<F>(a.x, a.dtype, first), y = load_as<F>(a.x, a.dtype, second);
        store_as<F>(a.y, a.dtype, first, cosine * x - sine * y);
        store_as<F>(a.y, a.dtype, second, sine * x + cosine * y);
    }
}

cudaError_t bert_cuda_rotary(const bert_cuda_rotary_args *args, cudaStream_t stream) {
    const bert_cuda_rotary_args a = *args;
    if (!bert_dtype_is_float(a.dtype) || a.half < 0 || 2 * a.half > a.depth) return cudaErrorInvalidValue;
    const int64_t count = a.batch * a.heads * a.rows * (a.depth - a.half);
    if (count == 0) return cudaSuccess;
    if (a.ids && a.half > 0 && a.positions < 1) return cudaErrorInvalidValue;
    const dim3 grid(bert_blocks(count, THREADS)), block(THREADS);
    if (a.dtype == BERT_DOUBLE) return BERT_LAUNCH((rotary_kernel<double>), grid, block, 0, stream, a);
    return BERT_LAUNCH((rotary_kernel<float>), grid, block, 0, stream, a);
}
