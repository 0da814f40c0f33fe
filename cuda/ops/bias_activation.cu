/*
 * Bound by memory, like LayerNorm. A block takes a stretch of one row, so that the bias is read by neighbouring threads
 * at neighbouring addresses and no index is divided by the width; each thread moves 16 bytes at a time where rows allow
 * it. With `ranges` or `e4m3` a block takes a whole row, because the range of a row needs all of it; one that becomes
 * E4M3 stays in registers meanwhile, up to 4,096 elements of 16 bits.
 */
#include "cuda/ops/bias_activation.h"

#include "cuda/ops/activation.h"
#include "cuda/ops/e4m3_rows.h"
#include "cuda/ops/halves.h"
#include "cuda/ops/row_range.h"

enum { THREADS = 128, KEPT = 4 /* vectors of a row that a thread has in registers */ };

template <typename T> struct epilogue {
    const T *x, *bias, *residual;
    T *y;
    const float *row_scales, *column_scales;
    float scale;
    const uint16_t *residual_lower;
    uint16_t *y_lower;
    bert_cuda_range *ranges;
    bert_cuda_e4m3_rows e4m3;
    bool y_unread;
    int64_t rows, width;
    bert_cuda_activation activation;
};

/* N elements of a row from `column` on; they are added to its range. */
template <typename T, int N>
static __device__ bert_elements<T, N> compute(const epilogue<T> &a, int64_t row, int64_t column, row_range *range) {
    const int64_t at = row * a.width + column;
    bert_elements<T, N> x, bias = {}, residual = {}, y;
    float values[N];
    x.load(a.x, nullptr, at);
    if (a.bias) bias.load(a.bias, nullptr, column);
    if (a.residual) residual.load(a.residual, a.residual_lower, at);
    BERT_UNROLL
    for (int i = 0; i < N; i++) values[i] = x.get(i);
    if (a.row_scales) {
        const float scale = a.scale * a.row_scales[row];
        BERT_UNROLL
        for (int i = 0; i < N; i++) values[i] *= scale * a.column_scales[column + i];
    }
    if (a.bias) {
        BERT_UNROLL
        for (int i = 0; i < N; i++) values[i] += bias.get(i);
    }
    activate_all(values, a.activation);
    BERT_UNROLL
    for (int i = 0; i < N; i++) {
        const float value = a.residual ? values[i] + residual.get(i) : values[i];
        range->add(y.set(i, value, a.y_lower != nullptr));
    }
    return y;
}

template <typename T, int N>
static __device__ void write(const epilogue<T> &a, int64_t row, int64_t column, row_range *range) {
    compute<T, N>(a, row, column, range).store(a.y, a.y_lower, row * a.width + column);
}

template <typename T, int N> static __global__ void __launch_bounds__(THREADS) stretch_kernel(epilogue<T> a) {
    begin_kernel();
    row_range unused;
    const int64_t column = (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) * N;
    if (column >= a.width) return;
    for (int64_t row = blockIdx.y; row < a.rows; row += gridDim.y) write<T, N>(a, row, column, &unused);
}

template <typename T, int N> static __global__ void __launch_bounds__(THREADS) row_kernel(epilogue<T> a) {
    begin_kernel();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
        row_range range;
        for (int64_t column = threadIdx.x * N; column < a.width; column += THREADS * N)
            write<T, N>(a, row, column, &range);
        range.join_block(scratch);
        if (a.e4m3.bytes) write_e4m3_row<T, N>(a.y + row * a.width, a.width, range.magnitude(), a.e4m3, row);
        if (a.ranges && threadIdx.x == 0) range.store(a.ranges + row);
    }
}

/* Rows of up to THREADS N KEPT elements, without lower halves: x is read once, and y alone is written, if that. */
template <typename T, int N> static __global__ void __launch_bounds__(THREADS) e4m3_row_kernel(epilogue<T> a) {
    begin_kernel();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    const int64_t first = threadIdx.x * N, step = THREADS * N;
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
        bert_elements<T, N> kept[KEPT];
        row_range range;
        BERT_UNROLL
        for (int i = 0; i < KEPT; i++)
            if (first + i * step < a.width) kept[i] = compute<T, N>(a, row, first + i * step, &range);
        range.join_block(scratch);
        const e4m3_scale scale(range.magnitude());
        BERT_UNROLL
        for (int i = 0; i < KEPT; i++) {
            const int64_t at = row * a.width + first + i * step;
            if (first + i * step >= a.width) continue;
            float values[N];
            BERT_UNROLL
            for (int j = 0; j < N; j++) values[j] = to_float(kept[i].upper.at[j]);
            if (!a.y_unread) kept[i].store(a.y, nullptr, at);
            store_vector(a.e4m3.bytes + at, scale.bytes(values));
        }
        if (threadIdx.x != 0) continue;
        a.e4m3.scales[row] = scale.scale;
        if (a.ranges) range.store(a.ranges + row);
    }
}

template <typename T, int N> static cudaError_t launch_as(const epilogue<T> &a, cudaStream_t stream) {
    const dim3 rows(bert_blocks(a.rows, 1));
    if (a.e4m3.bytes && a.width <= THREADS * N * KEPT)
        return BERT_LAUNCH((e4m3_row_kernel<T, N>), rows, dim3(THREADS), 0, stream, a);
    if (a.ranges || a.e4m3.bytes) return BERT_LAUNCH((row_kernel<T, N>), rows, dim3(THREADS), 0, stream, a);
    const dim3 grid(bert_blocks(a.width, static_cast<int64_t>(THREADS) * N, INT32_MAX), bert_blocks(a.rows, 1, 65535));
    return BERT_LAUNCH((stretch_kernel<T, N>), grid, dim3(THREADS), 0, stream, a);
}

template <typename T> static cudaError_t launch(const bert_cuda_bias_activation_args *args, cudaStream_t stream) {
    epilogue<T> a = {};
    a.x = static_cast<const T *>(args->x);
    a.bias = static_cast<const T *>(args->bias);
    a.residual = static_cast<const T *>(args->residual);
    a.row_scales = args->row_scales;
    a.column_scales = args->column_scales;
    a.scale = args->scale;
    a.y = static_cast<T *>(args->y);
    a.residual_lower = args->residual_lower;
    a.y_lower = args->y_lower;
    a.ranges = args->ranges;
    a.e4m3 = args->e4m3;
    a.y_unread = args->y_unread && args->e4m3.bytes;
    a.rows = args->rows;
    a.width = args->width;
    a.activation = args->activation;
    constexpr int N = 16 / static_cast<int>(sizeof(T));
    const bool vectors = bert_vectors_fit<N>(a.width, a.x) && bert_vectors_fit<N>(a.width, a.bias) &&
                         bert_vectors_fit<N>(a.width, a.residual) && bert_vectors_fit<N>(a.width, a.y) &&
                         bert_vectors_fit<N>(a.width, a.residual_lower) && bert_vectors_fit<N>(a.width, a.y_lower) &&
                         bert_vectors_fit<N>(a.width, a.e4m3.bytes);
    return vectors ? launch_as<T, N>(a, stream) : launch_as<T, 1>(a, stream);
}

cudaError_t bert_cuda_bias_activation(const bert_cuda_bias_activation_args *args, cudaStream_t stream) {
    if (args->rows < 0 || args->width < 0 || !args->row_scales != !args->column_scales) return cudaErrorInvalidValue;
    if ((args->residual_lower || args->y_lower) && args->dtype != BERT_BFLOAT16) return cudaErrorInvalidValue;
    if (args->e4m3.bytes && args->y_lower) return cudaErrorInvalidValue;
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
