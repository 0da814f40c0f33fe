/*
 * Bound by memory, like LayerNorm. Lanes that are neighbours take a stretch of one row, 128 columns, so that the bias
 * is read at neighbouring addresses, no index is divided by the width, and the stretch's range needs these lanes alone;
 * each thread moves 16 bytes at a time where rows allow it.
 */
#include "cuda/ops/bias_activation.h"

#include "cuda/ops/epilogue.h"

enum { THREADS = 128 };

template <typename T> struct scaled_rows {
    bert_epilogue<T> after;
    const T *x;
    const float *row_scales, *column_scales;
    float scale;
    int64_t rows;
};

/* N elements of a row from `column` on; they are added to its range. */
template <typename T, int N>
static __device__ void compute(const scaled_rows<T> &a, int64_t row, int64_t column, row_range *range) {
    bert_elements<T, N> x;
    typename bert_epilogue<T>::template columns<N> columns;
    float values[N];
    x.load(a.x, nullptr, row * a.after.width + column);
    columns.load(a.after, column);
    BERT_UNROLL
    for (int i = 0; i < N; i++) values[i] = x.get(i);
    if (a.row_scales) {
        const float scale = a.scale * a.row_scales[row];
        BERT_UNROLL
        for (int i = 0; i < N; i++) values[i] *= scale * a.column_scales[column + i];
    }
    a.after.write(columns, values, row, column, range);
}

template <typename T, int N> static __global__ void __launch_bounds__(THREADS) stretch_kernel(scaled_rows<T> a) {
    constexpr int LANES = bert_stretch<N>::LANES;
    const int64_t stretches = bert_cuda_stretches(a.after.width);
    const int64_t stretch = static_cast<int64_t>(blockIdx.x) * (THREADS / LANES) + threadIdx.x / LANES;
    const int64_t first = stretch * BERT_CUDA_STRETCH + threadIdx.x % LANES * N;
    for (int64_t row = blockIdx.y; row < a.rows; row += gridDim.y) {
        row_range range;
        BERT_UNROLL
        for (int piece = 0; piece < bert_stretch<N>::PIECES; piece++) {
            const int64_t column = first + piece * LANES * N;
            if (column < a.after.width) compute<T, N>(a, row, column, &range);
        }
        if (!a.after.ranges) continue;
        range.join_lanes(LANES);
        if (threadIdx.x % LANES == 0 && stretch < stretches) range.store(a.after.ranges + row * stretches + stretch);
    }
}

template <typename T, int N> static cudaError_t launch_as(const scaled_rows<T> &a, cudaStream_t stream) {
    const dim3 grid(bert_blocks(bert_cuda_stretches(a.after.width), THREADS / bert_stretch<N>::LANES, INT32_MAX),
                    bert_blocks(a.rows, 1, 65535));
    return BERT_LAUNCH((stretch_kernel<T, N>), grid, dim3(THREADS), 0, stream, a);
}

template <typename T> static cudaError_t launch(const bert_cuda_bias_activation_args *args, cudaStream_t stream) {
    constexpr int N = 16 / static_cast<int>(sizeof(T));
    scaled_rows<T> a = {};
    a.after = bert_epilogue<T>::of(*args);
    a.x = static_cast<const T *>(args->x);
    a.row_scales = args->row_scales;
    a.column_scales = args->column_scales;
    a.scale = args->scale;
    a.rows = args->rows;
    return a.after.template vectors_fit<N>() && bert_vectors_fit<N>(args->width, a.x) ? launch_as<T, N>(a, stream)
                                                                                      : launch_as<T, 1>(a, stream);
}

cudaError_t bert_cuda_bias_activation(const bert_cuda_bias_activation_args *args, cudaStream_t stream) {
    if (args->rows < 0 || args->width < 0 || !args->row_scales != !args->column_scales) return cudaErrorInvalidValue;
    if ((args->residual_lower || args->y_lower) && args->dtype != BERT_BFLOAT16) return cudaErrorInvalidValue;
    if (args->rows == 0 || args->width == 0) return cudaSuccess;
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
