/*
 * A block a row: the greatest magnitude first, of ranges where who wrote the row left some, then the bytes, from a row
 * that stays in registers meanwhile, up to 4,096 elements of 16 bits, or is in the cache by then; 16 bytes of x a
 * thread at a time where rows allow it. From Ada on an instruction converts two numbers (e4m3_rows.h); elsewhere, on
 * the host and in the emulator it is spelled out in integers (e4m3.h), to the same bits.
 */
#include "cuda/ops/quantize_e4m3.h"

#include "cuda/ops/e4m3_rows.h"
#include "cuda/ops/row_range.h"

enum { THREADS = 128 /* of a block */, KEPT = 4 /* vectors of a row that a thread has in registers */ };

/* The greatest magnitude of a row for all threads of the block; each warp reads all ranges. */
static __device__ float most_of_ranges(const bert_cuda_range *ranges, int64_t count) {
    row_range range;
    for (int64_t i = threadIdx.x % BERT_WARP; i < count; i += BERT_WARP) range.add(ranges[i]);
    range.join_lanes(BERT_WARP);
    return range.magnitude();
}

template <typename T, int N> static __device__ float most_of_row(const T *x, int64_t width, float *scratch) {
    float most = 0;
    for (int64_t i = threadIdx.x * N; i < width; i += THREADS * N)
        most = fmaxf(most, greatest_magnitude(*reinterpret_cast<const bert_vector<T, N> *>(x + i)));
    return block_max(most, scratch);
}

template <typename T, int N>
static __global__ void __launch_bounds__(THREADS) quantize_e4m3_kernel(bert_cuda_quantize_e4m3_args a) {
    begin_kernel();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
        const T *x = static_cast<const T *>(a.x) + row * a.width;
        const float most = a.ranges ? most_of_ranges(a.ranges + row * a.ranges_per_row, a.ranges_per_row)
                                    : most_of_row<T, N>(x, a.width, scratch);
        write_e4m3_row<T, N>(x, a.width, most, a.y, row);
    }
}

/* Rows of up to THREADS N KEPT elements, which are all asked for before any of them, or of their ranges, is used. */
template <typename T, int N>
static __global__ void __launch_bounds__(THREADS) quantize_e4m3_row_kernel(bert_cuda_quantize_e4m3_args a) {
    begin_kernel();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    const int64_t first = threadIdx.x * N, step = THREADS * N;
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
        const int64_t at = row * a.width + first;
        bert_packed<T, N> kept[KEPT];
        BERT_UNROLL
        for (int i = 0; i < KEPT; i++)
            if (first + i * step < a.width) kept[i].load(static_cast<const T *>(a.x) + at + i * step);
        float most = 0;
        if (a.ranges) {
            most = most_of_ranges(a.ranges + row * a.ranges_per_row, a.ranges_per_row);
        } else {
            BERT_UNROLL
            for (int i = 0; i < KEPT; i++)
                if (first + i * step < a.width) most = fmaxf(most, greatest_magnitude(kept[i].unpack()));
            most = block_max(most, scratch);
        }
        const e4m3_scale scale(most);
        BERT_UNROLL
        for (int i = 0; i < KEPT; i++)
            if (first + i * step < a.width) scale.store(kept[i].unpack(), a.y.bytes + at + i * step);
        if (threadIdx.x == 0) a.y.scales[row] = scale.scale;
    }
}

template <typename T> static cudaError_t launch(const bert_cuda_quantize_e4m3_args *a, cudaStream_t stream) {
    constexpr int N = 16 / static_cast<int>(sizeof(T));
    const dim3 grid(bert_blocks(a->rows, 1)), block(THREADS);
    if (!bert_vectors_fit<N>(a->width, static_cast<const T *>(a->x)) || !bert_vectors_fit<N>(a->width, a->y.bytes))
        return BERT_LAUNCH((quantize_e4m3_kernel<T, 1>), grid, block, 0, stream, *a);
    if (a->width <= THREADS * N * KEPT)
        return BERT_LAUNCH((quantize_e4m3_row_kernel<T, N>), grid, block, 0, stream, *a);
    return BERT_LAUNCH((quantize_e4m3_kernel<T, N>), grid, block, 0, stream, *a);
}

cudaError_t bert_cuda_quantize_e4m3(const bert_cuda_quantize_e4m3_args *args, cudaStream_t stream) {
    if (args->rows < 0 || args->width < 0 || (args->ranges && args->ranges_per_row < 1)) return cudaErrorInvalidValue;
    if (args->rows == 0) return cudaSuccess;
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
