/*
 * Bound by memory, like LayerNorm. Lanes that are neighbours take a stretch of one row, 128 columns, so that the bias
 * is read at neighbouring addresses, no index is divided by the width, and the stretch's range needs these lanes alone;
 * each thread moves 16 bytes at a time where rows allow it, of several rows where there are many (epilogue.h). What
 * becomes E4M3 needs the greatest magnitude of all of a row: there a block takes a whole row, which stays in registers
 * meanwhile, up to 4,096 elements of 16 bits.
 */
#include "cuda/ops/bias_activation.h"

#include "cuda/ops/e4m3_rows.h"
#include "cuda/ops/epilogue.h"

enum { THREADS = 128 /* of a block that has a row */, KEPT = 4 /* vectors of a row that a thread has in registers */ };

template <typename T> struct scaled_rows {
    using element = T;
    bert_epilogue<T> after;
    const T *x;
    const float *row_scales, *column_scales;
    float scale;
    bert_cuda_e4m3_rows e4m3;
    bool y_unread;
    int64_t rows;

    bert_epilogue_form form() const {
        return row_scales && after.form() == BERT_EPILOGUE_GELU ? BERT_EPILOGUE_ANY : after.form();
    }
    template <bert_epilogue_form FORM> __device__ void assume() {
        after.template assume<FORM>();
        if (FORM == BERT_EPILOGUE_GELU) row_scales = nullptr;
    }
    template <int N> struct columns {
        typename bert_epilogue<T>::template columns<N> of_values;
        float scales[N];
        __device__ void load(const scaled_rows &rows, int64_t column) {
            of_values.load(rows.after, column);
            if (!rows.row_scales) return;
            BERT_UNROLL
            for (int i = 0; i < N; i++) scales[i] = rows.column_scales[column + i];
        }
    };
    template <int N> struct inputs {
        bert_packed<T, N> x;
        float row_scale;
        typename bert_epilogue<T>::template added<N> added;
        __device__ void load(const scaled_rows &rows, int64_t row, int64_t at) {
            x.load(rows.x + at);
            if (rows.row_scales) row_scale = rows.row_scales[row];
            added.load(rows.after, at);
        }
    };
    template <int N> __device__ bert_elements<T, N> finish(const columns<N> &c, const inputs<N> &in) const {
        float values[N];
        BERT_UNROLL
        for (int i = 0; i < N; i++) values[i] = to_float(in.x.get(i));
        if (row_scales) {
            const float row_scale = scale * in.row_scale;
            BERT_UNROLL
            for (int i = 0; i < N; i++) values[i] *= row_scale * c.scales[i];
        }
        return after.finish(c.of_values, values, in.added);
    }
};

/* Rows of any length as E4M3, from y as it was written. */
template <typename T, int N> static __global__ void __launch_bounds__(THREADS) e4m3_kernel(scaled_rows<T> a) {
    begin_kernel();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
        float most = 0;
        for (int64_t column = threadIdx.x * N; column < a.after.width; column += THREADS * N) {
            typename scaled_rows<T>::template columns<N> columns;
            typename scaled_rows<T>::template inputs<N> inputs;
            columns.load(a, column);
            inputs.load(a, row, row * a.after.width + column);
            const bert_elements<T, N> y = a.finish(columns, inputs);
            y.store(a.after.y, nullptr, row * a.after.width + column);
            most = fmaxf(most, greatest_magnitude(y.upper));
        }
        write_e4m3_row<T, N>(a.after.y + row * a.after.width, a.after.width, block_max(most, scratch), a.e4m3, row);
    }
}

/* Rows of up to THREADS N KEPT elements: x is read once, and y alone is written, if that. All of a row is asked for
 * before any of it is used. */
template <typename T, int N, bert_epilogue_form FORM>
static __global__ void __launch_bounds__(THREADS) e4m3_row_kernel(scaled_rows<T> a) {
    begin_kernel();
    a.template assume<FORM>();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    const int64_t first = threadIdx.x * N, step = THREADS * N, width = a.after.width;
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
        typename scaled_rows<T>::template inputs<N> inputs[KEPT];
        typename scaled_rows<T>::template columns<N> columns[KEPT];
        BERT_UNROLL
        for (int i = 0; i < KEPT; i++) {
            if (first + i * step >= width) continue;
            inputs[i].load(a, row, row * width + first + i * step);
            columns[i].load(a, first + i * step);
        }
        bert_elements<T, N> kept[KEPT];
        float most = 0;
        BERT_UNROLL
        for (int i = 0; i < KEPT; i++) {
            if (first + i * step >= width) continue;
            kept[i] = a.finish(columns[i], inputs[i]);
            most = fmaxf(most, greatest_magnitude(kept[i].upper));
        }
        const e4m3_scale scale(block_max(most, scratch));
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
    if (!a.e4m3.bytes) return launch_stretches<N>(a, a.rows, stream);
    if (a.after.width > THREADS * N * KEPT) return BERT_LAUNCH((e4m3_kernel<T, N>), rows, block, 0, stream, a);
    if constexpr (N > 1) {
        if (a.form() == BERT_EPILOGUE_GELU)
            return BERT_LAUNCH((e4m3_row_kernel<T, N, BERT_EPILOGUE_GELU>), rows, block, 0, stream, a);
    }
    return BERT_LAUNCH((e4m3_row_kernel<T, N, BERT_EPILOGUE_ANY>), rows, block, 0, stream, a);
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
