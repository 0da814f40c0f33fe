/*
 * What follows a product, for the neighbouring elements of a row that one thread has: shared by the kernels that do it
 * alone (bias_activation, dequantize) and by the product that does it to its own sums (tensor_product). For .cu files.
 *
 * A thread that has the same columns of several rows loads what belongs to columns once:
 *
 *   bert_float_sums<T> or bert_byte_sums<T>   sums -> values of a row: scales, zero points
 *   bert_epilogue<T>                          values -> y: bias, activation, residual, rounding, the row's range
 *
 * The kernels that do it alone are bound by memory, if they don't spend their instructions on what isn't there: that
 * is looked at once for the elements of a thread, and what most products are followed by once for a launch
 * (bert_epilogue_form).
 */
#ifndef BERT_CUDA_OPS_EPILOGUE_H
#define BERT_CUDA_OPS_EPILOGUE_H

#include "cuda/ops/activation.h"
#include "cuda/ops/bias_activation.h"
#include "cuda/ops/halves.h"
#include "cuda/ops/quantize.h"
#include "cuda/ops/row_range.h"

/** What an epilogue is known to be when a kernel is compiled. */
enum bert_epilogue_form {
    BERT_EPILOGUE_ANY,
    BERT_EPILOGUE_GELU,         /**< By erf, of a sum with a bias; no residual, no lower halves. */
    BERT_EPILOGUE_NO_ACTIVATION /**< The rest as it comes. */
};

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
        e.residual_lower = args.residual ? args.residual_lower : nullptr;
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
    /** For launching: a kernel of this form may do it. */
    bert_epilogue_form form() const {
        if (activation == BERT_CUDA_GELU && bias && !residual && !y_lower) return BERT_EPILOGUE_GELU;
        return activation == BERT_CUDA_NONE ? BERT_EPILOGUE_NO_ACTIVATION : BERT_EPILOGUE_ANY;
    }
    /** Says again what the form says, where the compiler sees it: it leaves out what never happens. */
    template <bert_epilogue_form FORM> __device__ void assume() {
        if (FORM == BERT_EPILOGUE_NO_ACTIVATION) activation = BERT_CUDA_NONE;
        if (FORM != BERT_EPILOGUE_GELU) return;
        if (!bias) __builtin_unreachable();
        activation = BERT_CUDA_GELU;
        residual = nullptr;
        residual_lower = y_lower = nullptr;
    }

    template <int N> struct columns {
        bert_packed<T, N> bias;
        __device__ void load(const bert_epilogue &e, int64_t column) {
            if (e.bias) bias.load(e.bias + column);
        }
    };
    /** What is added to a row in the end: N elements of the residual, if there is one. */
    template <int N> struct added {
        bert_packed<T, N> upper;
        bert_packed<uint16_t, N> lower;
        __device__ void load(const bert_epilogue &e, int64_t at) {
            if (e.residual) upper.load(e.residual + at);
            if (bert_halves<T>::exist && e.residual_lower) lower.load(e.residual_lower + at);
        }
    };
    /* The three steps from values of a row to y, N elements at a time. Sums are spelled as intrinsics, which no
     * compiler fuses with what is before them: the same bits in every kernel. */
    template <int N> __device__ void activate(const columns<N> &c, float (&values)[N]) const {
        if (bias) {
            BERT_UNROLL
            for (int i = 0; i < N; i++) values[i] = __fadd_rn(values[i], to_float(c.bias.get(i)));
        }
        activate_all(values, activation);
    }
    template <int N> __device__ void add(const added<N> &a, float (&values)[N]) const {
        if (bert_halves<T>::exist && residual_lower) {
            BERT_UNROLL
            for (int i = 0; i < N; i++) values[i] = __fadd_rn(values[i], join_halves(a.upper.get(i), a.lower.get(i)));
        } else if (residual) {
            BERT_UNROLL
            for (int i = 0; i < N; i++) values[i] = __fadd_rn(values[i], to_float(a.upper.get(i)));
        }
    }
    template <int N> __device__ bert_elements<T, N> round(const float (&values)[N]) const {
        bert_elements<T, N> out;
        BERT_UNROLL
        for (int i = 0; i < N; i++) out.set(i, values[i], y_lower != nullptr);
        return out;
    }
    /** N elements of a row as they are to be stored. `values` are used up. */
    template <int N>
    __device__ bert_elements<T, N> finish(const columns<N> &c, float (&values)[N], const added<N> &a) const {
        activate(c, values);
        add(a, values);
        return round(values);
    }
    /** All of it, from values to y; they are added to the range of their row, if that is wanted. */
    template <int N>
    __device__ void write(const columns<N> &c, float (&values)[N], int64_t row, int64_t column,
                          row_range *range) const {
        const int64_t at = row * width + column;
        added<N> a;
        a.load(*this, at);
        const bert_elements<T, N> out = finish(c, values, a);
        out.store(y, y_lower, at);
        if (ranges) range->add(out.upper);
    }
};

/** Sums of a product of floats, and that product's alpha. */
template <typename T> struct bert_float_sums {
    using sum = float;
    using element = T;
    static constexpr bool NORMS = false; /* whether rows are normalized on the way: tensor_product's bert_normed_sums */
    float alpha;

    template <int N> struct columns {
        __device__ void load(const bert_float_sums &s, int64_t column) {}
    };
    template <int N>
    __device__ void values_of(const columns<N> &c, const float (&sums)[N], int64_t row, float (&values)[N]) const {
        BERT_UNROLL
        for (int i = 0; i < N; i++) values[i] = alpha * sums[i];
    }
};

/** Sums of (q - 128) (w - weight_shift): bert_cuda_dequantize_args has the words. All of it modulo 2^32, as the sums
 * are. */
template <typename T> struct bert_byte_sums {
    using sum = int32_t;
    using element = T;
    static constexpr bool NORMS = false;
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
        uint32_t zero_points[N], sums[N], bias[N];
        __device__ void load(const bert_byte_sums &s, int64_t column) {
            BERT_UNROLL
            for (int i = 0; i < N; i++) {
                scales[i] = s.weight_scales[column + i];
                zero_points[i] = static_cast<uint32_t>(s.weight_zero_points[column + i]);
                sums[i] = static_cast<uint32_t>(s.weight_sums[column + i]);
                bias[i] = s.integer_bias ? static_cast<uint32_t>(s.integer_bias[column + i]) : 0;
            }
        }
    };
    /** What belongs to a row, as it is loaded. */
    struct row_terms {
        float scale;
        int32_t zero_point, sum;
        __device__ void load(const bert_byte_sums &s, int64_t row) {
            if (s.scales) scale = s.scales[row * s.row_stride];
            zero_point = s.zero_points[row * s.row_stride];
            sum = s.sums[row];
        }
    };
    /** The product as if zero points had been taken off before, as a float. */
    template <int N>
    __device__ void values_of(const columns<N> &c, const row_terms &r, const int32_t (&products)[N],
                              float (&values)[N]) const {
        const float scale = scales ? r.scale : 1.0F; /* a factor of 1 changes no bit */
        const uint32_t zero = static_cast<uint32_t>(r.zero_point - 128);
        const uint32_t rest = static_cast<uint32_t>(r.sum) - depth * zero;
        BERT_UNROLL
        for (int i = 0; i < N; i++) {
            const uint32_t whole =
                static_cast<uint32_t>(products[i]) - zero * c.sums[i] - c.zero_points[i] * rest + c.bias[i];
            values[i] = __fmul_rn(static_cast<float>(static_cast<int>(whole)), __fmul_rn(scale, c.scales[i]));
        }
    }
    template <int N>
    __device__ void values_of(const columns<N> &c, const int32_t (&products)[N], int64_t row,
                              float (&values)[N]) const {
        row_terms terms;
        terms.load(*this, row);
        values_of(c, terms, products, values);
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

enum {
    BERT_STRETCH_THREADS = 128,
    BERT_STRETCH_VECTORS = 4, /* of x that a thread asks for before it uses the first: 64 KiB of 1,024 threads */
    BERT_STRETCH_BLOCKS = 512 /* that keep a GPU busy: with fewer of them a thread has fewer rows */
};

/**
 * What follows a product, by itself: bias_activation and dequantize. Neighbouring lanes take a stretch of a row, whose
 * range is what they join; a thread has the same columns of several rows, which are gridDim.y apart, and asks for all
 * of it before it waits for any. `rows`: the epilogue `after`, and
 *
 *   form(), assume<FORM>()           of the epilogue, and what is before it
 *   columns<N>: load(rows, column)   what belongs to columns
 *   inputs<N>: load(rows, row, at)   all that is read of a row; `at`: where it is in y
 *   finish(columns, inputs)          the elements of y
 */
template <int N, bert_epilogue_form FORM, typename R>
static __global__ void __launch_bounds__(BERT_STRETCH_THREADS) stretch_kernel(R rows, int64_t count) {
    begin_kernel();
    rows.template assume<FORM>();
    using shape = bert_stretch<BERT_CUDA_STRETCH, N>;
    constexpr int LANES = shape::LANES, PIECES = shape::PIECES, STEP = LANES * N, ROWS = BERT_STRETCH_VECTORS / PIECES;
    const int64_t width = rows.after.width, stretches = bert_cuda_stretches(width);
    const int64_t stretch = static_cast<int64_t>(blockIdx.x) * (BERT_STRETCH_THREADS / LANES) + threadIdx.x / LANES;
    const int64_t column = stretch * BERT_CUDA_STRETCH + threadIdx.x % LANES * N;
    const int apart = static_cast<int>(gridDim.y);
    const int64_t row = static_cast<int64_t>(blockIdx.z) * ROWS * apart + blockIdx.y;
    const int left = static_cast<int>(count - row < ROWS * apart ? count - row : ROWS * apart);

    int64_t at[ROWS];
    typename R::template inputs<N> inputs[ROWS][PIECES];
    typename R::template columns<N> columns[PIECES];
    BERT_UNROLL
    for (int i = 0; i < ROWS; i++) {
        at[i] = i ? at[i - 1] + apart * width : row * width + column;
        BERT_UNROLL
        for (int piece = 0; piece < PIECES; piece++)
            if (i * apart < left && column + piece * STEP < width)
                inputs[i][piece].load(rows, row + i * apart, at[i] + piece * STEP);
    }
    BERT_UNROLL
    for (int piece = 0; piece < PIECES; piece++)
        if (column + piece * STEP < width) columns[piece].load(rows, column + piece * STEP);

    BERT_UNROLL
    for (int i = 0; i < ROWS; i++) {
        if (i * apart >= left) return;
        bert_elements<typename R::element, N> y[PIECES];
        BERT_UNROLL
        for (int piece = 0; piece < PIECES; piece++) {
            if (column + piece * STEP >= width) continue;
            y[piece] = rows.finish(columns[piece], inputs[i][piece]);
            y[piece].store(rows.after.y, rows.after.y_lower, at[i] + piece * STEP);
        }
        if (!rows.after.ranges) continue;
        row_range range;
        BERT_UNROLL
        for (int piece = 0; piece < PIECES; piece++)
            if (column + piece * STEP < width) range.add(y[piece].upper);
        range.join_lanes(LANES);
        if (threadIdx.x % LANES == 0 && stretch < stretches)
            range.store(rows.after.ranges + (row + i * apart) * stretches + stretch);
    }
}

template <int N, bert_epilogue_form FORM, typename R>
static cudaError_t launch_stretches_as(const R &rows, int64_t count, cudaStream_t stream) {
    using shape = bert_stretch<BERT_CUDA_STRETCH, N>;
    constexpr int ROWS = BERT_STRETCH_VECTORS / shape::PIECES;
    const int64_t width = rows.after.width;
    const unsigned across = bert_blocks(bert_cuda_stretches(width), BERT_STRETCH_THREADS / shape::LANES, INT32_MAX);
    const int64_t fewest = bert_tiles(count, ROWS), busy = bert_tiles(BERT_STRETCH_BLOCKS, across);
    const int64_t wanted = fewest > busy ? fewest : busy;
    const unsigned down = bert_blocks(wanted < count ? wanted : count, 1, 65535);
    const dim3 grid(across, down, static_cast<unsigned>(bert_tiles(count, static_cast<int64_t>(ROWS) * down)));
    return BERT_LAUNCH((stretch_kernel<N, FORM, R>), grid, dim3(BERT_STRETCH_THREADS), 0, stream, rows, count);
}

/** N elements a thread at a time; rows that don't allow it have one kernel for all forms. */
template <int N, typename R> static cudaError_t launch_stretches(const R &rows, int64_t count, cudaStream_t stream) {
    if constexpr (N > 1) {
        switch (rows.form()) {
        case BERT_EPILOGUE_GELU:
            return launch_stretches_as<N, BERT_EPILOGUE_GELU>(rows, count, stream);
        case BERT_EPILOGUE_NO_ACTIVATION:
            return launch_stretches_as<N, BERT_EPILOGUE_NO_ACTIVATION>(rows, count, stream);
        default:
            break;
        }
    }
    return launch_stretches_as<N, BERT_EPILOGUE_ANY>(rows, count, stream);
}

#endif
