/*
 * Bound by memory, like LayerNorm. Lanes that are neighbours take a stretch of one row, 128 columns, so that the bias
 * is read at neighbouring addresses, no index is divided by the width, and the stretch's range needs these lanes alone;
 * each thread moves 16 bytes at a time where rows allow it. What becomes E4M3 needs the range of all of a row: there a
 * block takes a whole row, which stays in registers meanwhile, up to 4,096 elements of 16 bits.
 */
#include "cuda/ops/bias_activation.h"

#include "cuda/ops/e4m3_rows.h"
#include "cuda/ops/epilogue.h"

enum { THREADS = 128 /* of a block that has a row */, KEPT = 4 /* vectors of a row that a thread has in registers */ };

template <typename T> struct scaled_rows {
    bert_epilogue<T> after;
    const T *x;
    const float *row_scales, *column_scales;
    float scale;
    bert_cuda_e4m3_rows e4m3;
    bool y_unread;
    int64_t rows;

    /* N elements of a row from `column` on; they are added to its range. */
    template <int N> __device__ bert_elements<T, N> compute(int64_t row, int64_t column, row_range *range) const {
        bert_elements<T, N> from;
        typename bert_epilogue<T>::template columns<N> columns;
        float values[N];
        from.load(x, nullptr, row * after.width + column);
        columns.load(after, column);
        BERT_UNROLL
        for (int i = 0; i < N; i++) values[i] = from.get(i);
        if (row_scales) {
            const float row_scale = scale * row_scales[row];
            BERT_UNROLL
            for (int i = 0; i < N; i++) values[i] *= row_scale * column_scales[column + i];
        }
        return after.finish(columns, values, row, column, range);
    }
    template <int N> __device__ void write(int64_t row, int64_t column, row_range *range) const {
        compute<N>(row, column, range).store(after.y, after.y_lower, row * after.width + column);
    }
};

/* Rows of any length as E4M3, from y as it was written. */
template <typename T, int N> static __global__ void __launch_bounds__(THREADS) e4m3_kernel(scaled_rows<T> a) {
    begin_kernel();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
        row_range range;
        for (int64_t column = threadIdx.x * N; column < a.after.width; column += THREADS * N)
            a.template write<N>(row, column, &range);
        range.join_block(scratch);
        write_e4m3_row<T, N>(a.after.y + row * a.after.width, a.after.width, range.magnitude(), a.e4m3, row);
    }
}

/* Rows of up to THREADS N KEPT elements: x is read once, and y alone is written, if that. */
template <typename T, int N> static __global__ void __launch_bounds__(THREADS) e4m3_row_kernel(scaled_rows<T> a) {
    begin_kernel();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    const int64_t first = threadIdx.x * N, step = THREADS * N, width = a.after.width;
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
        bert_elements<T, N> kept[KEPT];
        row_range range;
        BERT_UNROLL
        for (int i = 0; i < KEPT; i++)
            if (first + i * step < width) kept[i] = a.template compute<N>(row, first + i * step, &range);
        range.join_block(scratch);
        const e4m3_scale scale(range.magnitude());
        BERT_UNROLL
        for (int i = 0; i < KEPT; i++) {
            const int64_t at = row * width + first + i * step;
            if (first + i * step >= width) continue;
            if (!a.y_unread) kept[i].store(a.after.y, nullptr, at);
            scale.store(kept[i].upper, a.e4m3.bytes + at);
        }
        if (threadIdx.x == 0) a.e4m3.scales[row] = scale.scale;
    }
}

template <typename T, int N> static cudaError_t launch_as(const scaled_rows<T> &a, cudaStream_t stream) {
    const dim3 rows(bert_blocks(a.rows, 1)), block(THREADS);
    if (a.e4m3.bytes && a.after.width <= THREADS * N * KEPT)
        return BERT_LAUNCH((e4m3_row_kernel<T, N>), rows, block, 0, stream, a);
    if (a.e4m3.bytes) return BERT_LAUNCH((e4m3_kernel<T, N>), rows, block, 0, stream, a);
    return launch_stretches<N>(a, a.rows, stream);
}

template <typename T> static cudaError_t launch(const bert_cuda_bias_activation_args *args, cudaStream_t stream) {
    constexpr int N = 16 / static_cast<int>(sizeof(T));
    scaled_rows<T> a = {};
    a.after = bert_epilogue<T>::of(*args);
    a.x = static_cast<const T *>(args->x);
    a.row_scales = args->row_scales;
    a.column_scales = args->column_scales;
    a.scale = args->scale;
    a.e4m3 = args->e4m3;
    a.y_unread = args->y_unread && args->e4m3.bytes;
    a.rows = args->rows;
    const bool vectors = a.after.template vectors_fit<N>() && bert_vectors_fit<N>(args->width, a.x) &&
                         bert_vectors_fit<N>(args->width, a.e4m3.bytes);
    return vectors ? launch_as<T, N>(a, stream) : launch_as<T, 1>(a, stream);
}

cudaError_t bert_cuda_bias_activation(const bert_cuda_bias_activation_args *args, cudaStream_t stream) {
    if (args->rows < 0 || args->width < 0 || !args->row_scales != !args->column_scales) return cudaErrorInvalidValue;
    if ((args->residual_lower || args->y_lower) && args->dtype != BERT_BFLOAT16) return cudaErrorInvalidValue;
    if (args->e4m3.bytes && (args->ranges || args->y_lower)) return cudaErrorInvalidValue;
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
