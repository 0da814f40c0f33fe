/*
 * What follows a product, for the neighbouring elements of a row that one thread has: shared by the kernels that do it
 * alone (bias_activation, dequantize) and by the product that does it to its own sums (tensor_product). For .cu files.
 *
 * A thread that has the same columns of several rows loads what belongs to columns once:
 *
 *   bert_float_sums<T> or bert_byte_sums<T>   sums -> values of a row: scales, zero points
 *   bert_epilogue<T>                          values -> y: bias, activation, residual, rounding, the row's range
 */
#ifndef BERT_CUDA_OPS_EPILOGUE_H
#define BERT_CUDA_OPS_EPILOGUE_H

#include "cuda/ops/activation.h"
#include "cuda/ops/bias_activation.h"
#include "cuda/ops/halves.h"
#include "cuda/ops/quantize.h"
#include "cuda/ops/row_range.h"

template <typename T> struct bert_epilogue {
    const T *bias, *residual;
    const uint16_t *residual_lower;
    T *y;
    uint16_t *y_lower;
    bert_cuda_range *ranges;
    int64_t width;
    bert_cuda_activation activation;

    /** Of the arguments of either kernel, which name these alike. */
    template <typename A> static bert_epilogue of(const A &args) {
        bert_epilogue e = {};
        e.bias = static_cast<const T *>(args.bias);
        e.residual = static_cast<const T *>(args.residual);
        e.residual_lower = args.residual_lower;
        e.y = static_cast<T *>(args.y);
        e.y_lower = args.y_lower;
        e.ranges = args.ranges;
        e.width = args.width;
        e.activation = args.activation;
        return e;
    }
    /** Whether a thread may have N elements from a multiple of N on. */
    template <int N> bool vectors_fit() const {
        return bert_vectors_fit<N>(width, bias) && bert_vectors_fit<N>(width, residual) &&
               bert_vectors_fit<N>(width, residual_lower) && bert_vectors_fit<N>(width, y) &&
               bert_vectors_fit<N>(width, y_lower);
    }

    template <int N> struct columns {
        bert_vector<T, N> bias;
        __device__ void load(const bert_epilogue &e, int64_t column) {
            bias = {};
            if (e.bias) bias = *reinterpret_cast<const bert_vector<T, N> *>(e.bias + column);
        }
    };

    /** N elements of a row from `column` on, as they are to be stored; they are added to its range. `values` are used
     * up. Sums are spelled as intrinsics, which no compiler fuses with what is before them: the same bits in every
     * kernel. */
    template <int N>
    __device__ bert_elements<T, N> finish(const columns<N> &c, float (&values)[N], int64_t row, int64_t column,
                                          row_range *range) const {
        bert_elements<T, N> added = {}, out;
        if (residual) added.load(residual, residual_lower, row * width + column);
        if (bias) {
            BERT_UNROLL
            for (int i = 0; i < N; i++) values[i] = __fadd_rn(values[i], to_float(c.bias.at[i]));
        }
        activate_all(values, activation);
        BERT_UNROLL
        for (int i = 0; i < N; i++) {
            const float value = residual ? __fadd_rn(values[i], added.get(i)) : values[i];
            range->add(out.set(i, value, y_lower != nullptr));
        }
        return out;
    }
    /** The same, stored. */
    template <int N>
    __device__ void write(const columns<N> &c, float (&values)[N], int64_t row, int64_t column,
                          row_range *range) const {
        finish(c, values, row, column, range).store(y, y_lower, row * width + column);
    }
};

/** Sums of a product of floats, and that product's alpha. */
template <typename T> struct bert_float_sums {
    using sum = float;
    using element = T;
    float alpha;

    template <int N> struct columns {
        __device__ void load(const bert_float_sums &s, int64_t column) {}
    };
    template <int N>
    __device__ void values_of(const columns<N> &c, const float (&sums)[N], int64_t row, int64_t column,
                              float (&values)[N]) const {
        BERT_UNROLL
        for (int i = 0; i < N; i++) values[i] = alpha * sums[i];
    }
};

/** Sums of (q - 128) (w - weight_shift): bert_cuda_dequantize_args has the words. All of it modulo 2^32, as the sums
 * are. */
template <typename T> struct bert_byte_sums {
    using sum = int32_t;
    using element = T;
    const float *scales, *weight_scales;
    const int32_t *zero_points, *sums, *weight_zero_points, *weight_sums, *integer_bias;
    int64_t row_stride;
    uint32_t depth;

    static bert_byte_sums of(const bert_cuda_dequantize_args &a) {
        return {a.scales,       a.weight_scales,      a.zero_points,
                a.sums,         a.weight_zero_points, a.weight_sums,
                a.integer_bias, a.row_stride,         static_cast<uint32_t>(a.depth)};
    }

    template <int N> struct columns {
        float scales[N];
        uint32_t zero_points[N], sums[N];
        __device__ void load(const bert_byte_sums &s, int64_t column) {
            BERT_UNROLL
            for (int i = 0; i < N; i++) {
                scales[i] = s.weight_scales[column + i];
                zero_points[i] = static_cast<uint32_t>(s.weight_zero_points[column + i]);
                sums[i] = static_cast<uint32_t>(s.weight_sums[column + i]);
            }
        }
    };
    /** The product as if zero points had been taken off before, as a float. */
    template <int N>
    __device__ void values_of(const columns<N> &c, const int32_t (&products)[N], int64_t row, int64_t column,
                              float (&values)[N]) const {
        const float scale = scales ? scales[row * row_stride] : 1.0F; /* a factor of 1 changes no bit */
        const uint32_t zero = static_cast<uint32_t>(zero_points[row * row_stride] - 128);
        const uint32_t rest = static_cast<uint32_t>(sums[row]) - depth * zero;
        BERT_UNROLL
        for (int i = 0; i < N; i++) {
            uint32_t whole = static_cast<uint32_t>(products[i]) - zero * c.sums[i] - c.zero_points[i] * rest;
            if (integer_bias) whole += static_cast<uint32_t>(integer_bias[column + i]);
            values[i] = __fmul_rn(static_cast<float>(static_cast<int>(whole)), __fmul_rn(scale, c.scales[i]));
        }
    }
};

/**
 * Lanes that have a stretch of so many columns when each has N of them at a time: neighbours, 32 at most, which then
 * have several pieces of it.
 */
template <int COLUMNS, int N> struct bert_stretch {
    static constexpr int LANES = COLUMNS / N < BERT_WARP ? COLUMNS / N : BERT_WARP;
    static constexpr int PIECES = COLUMNS / (N * LANES);
};

enum { BERT_STRETCH_THREADS = 128 };

/**
 * What follows a product, by itself: bias_activation and dequantize. Neighbouring lanes take a stretch of a row, whose
 * range is what they join. `rows` has the epilogue `after` and write<N>(row, column, range), for N elements.
 */
template <int N, typename R>
static __global__ void __launch_bounds__(BERT_STRETCH_THREADS) stretch_kernel(R rows, int64_t count) {
    begin_kernel();
    constexpr int LANES = bert_stretch<BERT_CUDA_STRETCH, N>::LANES;
    const int64_t width = rows.after.width, stretches = bert_cuda_stretches(width);
    const int64_t stretch = static_cast<int64_t>(blockIdx.x) * (BERT_STRETCH_THREADS / LANES) + threadIdx.x / LANES;
    const int64_t first = stretch * BERT_CUDA_STRETCH + threadIdx.x % LANES * N;
    for (int64_t row = blockIdx.y; row < count; row += gridDim.y) {
        row_range range;
        BERT_UNROLL
        for (int piece = 0; piece < bert_stretch<BERT_CUDA_STRETCH, N>::PIECES; piece++) {
            const int64_t column = first + piece * LANES * N;
            if (column < width) rows.template write<N>(row, column, &range);
        }
        if (!rows.after.ranges) continue;
        range.join_lanes(LANES);
        if (threadIdx.x % LANES == 0 && stretch < stretches) range.store(rows.after.ranges + row * stretches + stretch);
    }
}

template <int N, typename R> static cudaError_t launch_stretches(const R &rows, int64_t count, cudaStream_t stream) {
    constexpr int LANES = bert_stretch<BERT_CUDA_STRETCH, N>::LANES;
    const dim3 grid(bert_blocks(bert_cuda_stretches(rows.after.width), BERT_STRETCH_THREADS / LANES, INT32_MAX),
                    bert_blocks(count, 1, 65535));
    return BERT_LAUNCH((stretch_kernel<N, R>), grid, dim3(BERT_STRETCH_THREADS), 0, stream, rows, count);
}

#endif
