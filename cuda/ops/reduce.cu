/*
 * A reduction has a block for each result: its threads take every 128th member, then a tree over the block, in an order
 * that is the same on every run. Floats are summed in double, which the little arithmetic that there is beside the
 * memory allows, so that long rows lose nothing. What goes along one axis has a thread a line: exact in its ties, and
 * slow only for few long lines.
 */
#include "cuda/ops/reduce.h"

#include "cuda/ops/element.h"
#include "cuda/ops/halves.h"

enum { THREADS = 128 };

/* ---- Reductions ----------------------------------------------------------------------------------------------------
 */

struct reduce {
    bert_cuda_reduce_args args;
    bert_cuda_walk results, members; /* over x; reduced, or kept, axes are 1 */
    int64_t strides[BERT_MAX_RANK];
};

/* What is known of some members; `largest` is what the sum of LOG_SUM_EXP is relative to. */
struct float_state {
    double value, largest;
};

static __device__ float_state float_start(bert_cuda_reduction reduction) {
    float_state state = {0, -INFINITY};
    if (reduction == BERT_CUDA_REDUCE_PROD) state.value = 1;
    if (reduction == BERT_CUDA_REDUCE_MAX) state.value = -INFINITY;
    if (reduction == BERT_CUDA_REDUCE_MIN) state.value = INFINITY;
    return state;
}

static __device__ float_state float_member(bert_cuda_reduction reduction, double x) {
    switch (reduction) {
    case BERT_CUDA_REDUCE_L1:
        return {fabs(x), 0};
    case BERT_CUDA_REDUCE_L2:
    case BERT_CUDA_REDUCE_SUM_SQUARE:
        return {x * x, 0};
    case BERT_CUDA_REDUCE_LOG_SUM_EXP:
        if (x == -INFINITY) return {0, -INFINITY};
        return {isnan(x) ? x : 1.0, isnan(x) ? -INFINITY : x};
    default:
        return {x, 0};
    }
}

static __device__ float_state joined(bert_cuda_reduction reduction, float_state a, float_state b) {
    switch (reduction) {
    case BERT_CUDA_REDUCE_MAX:
        return {b.value > a.value || isnan(b.value) ? b.value : a.value, 0};
    case BERT_CUDA_REDUCE_MIN:
        return {b.value < a.value || isnan(b.value) ? b.value : a.value, 0};
    case BERT_CUDA_REDUCE_PROD:
        return {a.value * b.value, 0};
    case BERT_CUDA_REDUCE_LOG_SUM_EXP: {
        if (a.largest == b.largest) return {a.value + b.value, a.largest};
        const double most = a.largest > b.largest ? a.largest : b.largest;
        const double left = a.largest == most ? 1.0 : exp(a.largest - most); /* infinity less infinity is NaN */
        const double right = b.largest == most ? 1.0 : exp(b.largest - most);
        return {a.value * left + b.value * right, most};
    }
    default:
        return {a.value + b.value, 0};
    }
}

static __device__ double finished(bert_cuda_reduction reduction, float_state state, int64_t count) {
    switch (reduction) {
    case BERT_CUDA_REDUCE_L2:
        return sqrt(state.value);
    case BERT_CUDA_REDUCE_MEAN:
        return state.value / static_cast<double>(count);
    case BERT_CUDA_REDUCE_LOG_SUM:
        return log(state.value);
    case BERT_CUDA_REDUCE_LOG_SUM_EXP:
        return state.value == 0 ? -INFINITY : state.largest + log(state.value);
    default:
        return state.value;
    }
}

/* Integers: modulo 2^64. */
static __device__ int64_t integer_start(bert_cuda_reduction reduction, bert_dtype dtype) {
    if (reduction == BERT_CUDA_REDUCE_PROD) return 1;
    if (reduction != BERT_CUDA_REDUCE_MAX && reduction != BERT_CUDA_REDUCE_MIN) return 0;
    const bool is_signed = dtype == BERT_INT8 || dtype == BERT_INT16 || dtype == BERT_INT32 || dtype == BERT_INT64;
    const int bits = dtype == BERT_BOOL ? 1 : 8 * bert_element_bytes(dtype);
    if (reduction == BERT_CUDA_REDUCE_MAX) return is_signed ? -1 - static_cast<int64_t>((1ULL << (bits - 1)) - 1) : 0;
    if (is_signed) return static_cast<int64_t>((1ULL << (bits - 1)) - 1);
    return bits == 64 ? -1 : static_cast<int64_t>((1ULL << bits) - 1);
}

static __device__ int64_t integer_member(bert_cuda_reduction reduction, int64_t x, bool is_unsigned) {
    const uint64_t bits = static_cast<uint64_t>(x);
    if (reduction == BERT_CUDA_REDUCE_L1) return x < 0 && !is_unsigned ? static_cast<int64_t>(0 - bits) : x;
    if (reduction == BERT_CUDA_REDUCE_L2 || reduction == BERT_CUDA_REDUCE_SUM_SQUARE)
        return static_cast<int64_t>(bits * bits);
    return x;
}

static __device__ int64_t joined(bert_cuda_reduction reduction, int64_t a, int64_t b, bool is_unsigned) {
    const uint64_t x = static_cast<uint64_t>(a), y = static_cast<uint64_t>(b);
    const bool less = is_unsigned ? x < y : a < b;
    switch (reduction) {
    case BERT_CUDA_REDUCE_MAX:
        return less ? b : a;
    case BERT_CUDA_REDUCE_MIN:
        return less ? a : b;
    case BERT_CUDA_REDUCE_PROD:
        return static_cast<int64_t>(x * y);
    default:
        return static_cast<int64_t>(x + y);
    }
}

/* Halves are of bfloat16. */
static __device__ double load_member(const bert_cuda_reduce_args &a, int64_t at) {
    if (!a.x_lower) return load_as<double>(a.x, a.dtype, at);
    return static_cast<double>(load_element(static_cast<const __nv_bfloat16 *>(a.x), a.x_lower, at));
}

static __device__ void store_result(const bert_cuda_reduce_args &a, int64_t at, double value) {
    if (a.y_lower)
        store_element(static_cast<__nv_bfloat16 *>(a.y), a.y_lower, at, static_cast<float>(value));
    else
        store_as<double>(a.y, a.dtype, at, value);
}

/* Two kernels of one form: a state for each thread, then a tree over them in shared memory. */
static __global__ void __launch_bounds__(THREADS) reduce_floats_kernel(reduce r) {
    begin_kernel();
    BERT_SHARED(float_state, states, THREADS);
    const bert_cuda_reduction reduction = r.args.reduction;
    const int at = static_cast<int>(threadIdx.x);
    for (int64_t result = blockIdx.x; result < r.results.count; result += gridDim.x) {
        const int64_t from = offset_of(r.results, r.strides, result);
        float_state state = float_start(reduction);
        for (int64_t i = at; i < r.members.count; i += THREADS) {
            const double x = load_member(r.args, from + offset_of(r.members, r.strides, i));
            state = joined(reduction, state, float_member(reduction, x));
        }
        states[at] = state;
        __syncthreads();
        for (int half = THREADS / 2; half > 0; half /= 2) {
            if (at < half) states[at] = joined(reduction, states[at], states[at + half]);
            __syncthreads();
        }
        if (at == 0) store_result(r.args, result, finished(reduction, states[0], r.members.count));
        __syncthreads();
    }
}

static __global__ void __launch_bounds__(THREADS) reduce_integers_kernel(reduce r) {
    begin_kernel();
    BERT_SHARED(int64_t, states, THREADS);
    const bert_cuda_reduction reduction = r.args.reduction;
    const bool is_unsigned = r.args.dtype == BERT_UINT64;
    const int at = static_cast<int>(threadIdx.x);
    for (int64_t result = blockIdx.x; result < r.results.count; result += gridDim.x) {
        const int64_t from = offset_of(r.results, r.strides, result);
        int64_t state = integer_start(reduction, r.args.dtype);
        for (int64_t i = at; i < r.members.count; i += THREADS) {
            const int64_t x = load_as<int64_t>(r.args.x, r.args.dtype, from + offset_of(r.members, r.strides, i));
            state = joined(reduction, state, integer_member(reduction, x, is_unsigned), is_unsigned);
        }
        states[at] = state;
        __syncthreads();
        for (int half = THREADS / 2; half > 0; half /= 2) {
            if (at < half) states[at] = joined(reduction, states[at], states[at + half], is_unsigned);
            __syncthreads();
        }
        if (at == 0) {
            int64_t y = states[0];
            if (reduction == BERT_CUDA_REDUCE_L2) y = static_cast<int64_t>(sqrt(static_cast<double>(y)));
            if (reduction == BERT_CUDA_REDUCE_MEAN) y = r.members.count ? y / r.members.count : 0;
            store_as<int64_t>(r.args.y, r.args.dtype, result, y);
        }
        __syncthreads();
    }
}

cudaError_t bert_cuda_reduce(const bert_cuda_reduce_args *args, cudaStream_t stream) {
    reduce r = {};
    r.args = *args;
    int64_t kept[BERT_MAX_RANK], reduced[BERT_MAX_RANK], stride = 1;
    if (args->rank < 0 || args->rank > BERT_MAX_RANK || !bert_element_bytes(args->dtype)) return cudaErrorInvalidValue;
    if ((args->x_lower || args->y_lower) && args->dtype != BERT_BFLOAT16) return cudaErrorInvalidValue;
    for (int32_t i = args->rank - 1; i >= 0; i--) {
        const bool gone = args->axes >> i & 1;
        kept[i] = gone ? 1 : args->dims[i];
        reduced[i] = gone ? args->dims[i] : 1;
        r.strides[i] = stride;
        stride *= args->dims[i];
    }
    if (!bert_walk_over(args->rank, kept, &r.results) || !bert_walk_over(args->rank, reduced, &r.members))
        return cudaErrorInvalidValue;
    if (r.results.count == 0) return cudaSuccess;
    const bool floats = bert_dtype_is_float(args->dtype);
    const bool logarithmic =
        args->reduction == BERT_CUDA_REDUCE_LOG_SUM || args->reduction == BERT_CUDA_REDUCE_LOG_SUM_EXP;
    if (!floats && logarithmic) return cudaErrorInvalidValue;
    const dim3 grid(bert_blocks(r.results.count, 1)), block(THREADS);
    if (floats) return BERT_LAUNCH(reduce_floats_kernel, grid, block, 0, stream, r);
    return BERT_LAUNCH(reduce_integers_kernel, grid, block, 0, stream, r);
}

/* ---- Along one axis ------------------------------------------------------------------------------------------------
 */

/* Whether element a is greater (1), less (-1) than b, or neither. */
static __device__ int ordered(const bert_cuda_line_args &line, int64_t a, int64_t b) {
    if (bert_dtype_is_float(line.dtype)) {
        const double x = load_as<double>(line.x, line.dtype, a), y = load_as<double>(line.x, line.dtype, b);
        return (x > y) - (x < y);
    }
    const int64_t x = load_as<int64_t>(line.x, line.dtype, a), y = load_as<int64_t>(line.x, line.dtype, b);
    if (line.dtype == BERT_UINT64) {
        const uint64_t left = static_cast<uint64_t>(x), right = static_cast<uint64_t>(y);
        return (left > right) - (left < right);
    }
    return (x > y) - (x < y);
}

static __device__ int64_t line_start(const bert_cuda_line_args &line, int64_t i, int64_t count) {
    return i / line.inner * count * line.inner + i % line.inner;
}

static __global__ void __launch_bounds__(THREADS)
    arg_extreme_kernel(bert_cuda_line_args line, bool greatest, bool last, int64_t *y) {
    begin_kernel();
    const int64_t lines = line.outer * line.inner, step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < lines; i += step) {
        const int64_t start = line_start(line, i, line.count);
        int64_t best = 0;
        for (int64_t j = 0; j < line.count; j++) {
            const int order = ordered(line, start + j * line.inner, start + best * line.inner);
            if ((greatest ? order > 0 : order < 0) || (order == 0 && last)) best = j;
        }
        y[i] = best;
    }
}

static __global__ void __launch_bounds__(THREADS)
    cumulative_sum_kernel(bert_cuda_line_args line, bool exclusive, bool reverse, void *y) {
    begin_kernel();
    const int64_t lines = line.outer * line.inner, step = static_cast<int64_t>(gridDim.x) * THREADS;
    const bool floats = bert_dtype_is_float(line.dtype);
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < lines; i += step) {
        const int64_t start = line_start(line, i, line.count);
        double sum = 0;
        uint64_t whole = 0;
        for (int64_t j = 0; j < line.count; j++) {
            const int64_t at = start + (reverse ? line.count - 1 - j : j) * line.inner;
            const double before = sum;
            const uint64_t whole_before = whole;
            if (floats) {
                sum += load_as<double>(line.x, line.dtype, at);
                store_as<double>(y, line.dtype, at, exclusive ? before : sum);
            } else {
                whole += static_cast<uint64_t>(load_as<int64_t>(line.x, line.dtype, at));
                store_as<int64_t>(y, line.dtype, at, static_cast<int64_t>(exclusive ? whole_before : whole));
            }
        }
    }
}

/* Whether element a comes before element b: NaN counts as greater than any number. */
static __device__ bool comes_first(const bert_cuda_line_args &line, int64_t a, int64_t b, bool largest) {
    if (!bert_dtype_is_float(line.dtype)) return ordered(line, a, b) == (largest ? 1 : -1);
    const double x = load_as<double>(line.x, line.dtype, largest ? a : b);
    const double y = load_as<double>(line.x, line.dtype, largest ? b : a);
    return !isnan(y) && (isnan(x) || x > y);
}

/* Each turn finds the best of those that come after the one that was found last: k passes, no memory. */
static __global__ void __launch_bounds__(THREADS)
    top_k_kernel(bert_cuda_line_args line, int64_t k, bool largest, void *values, int64_t *indices) {
    begin_kernel();
    const int64_t lines = line.outer * line.inner, step = static_cast<int64_t>(gridDim.x) * THREADS;
    const int bytes = bert_element_bytes(line.dtype);
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < lines; i += step) {
        const int64_t start = line_start(line, i, line.count), target = line_start(line, i, k);
        int64_t found = -1;
        for (int64_t turn = 0; turn < k; turn++) {
            int64_t best = -1;
            for (int64_t j = 0; j < line.count; j++) {
                const int64_t at = start + j * line.inner, last = start + found * line.inner;
                if (found >= 0) { /* taken: it comes before the last one found, or is as good and not behind it */
                    if (comes_first(line, at, last, largest)) continue;
                    if (j <= found && !comes_first(line, last, at, largest)) continue;
                }
                if (best < 0 || comes_first(line, at, start + best * line.inner, largest)) best = j;
            }
            found = best;
            if (values) copy_element(values, target + turn * line.inner, line.x, start + found * line.inner, bytes);
            if (indices) indices[target + turn * line.inner] = found;
        }
    }
}

static bool line_allowed(const bert_cuda_line_args *line) {
    return line->outer >= 0 && line->count >= 0 && line->inner >= 0 && bert_element_bytes(line->dtype) > 0;
}

cudaError_t bert_cuda_arg_extreme(const bert_cuda_line_args *line, bool greatest, bool last, int64_t *y,
                                  cudaStream_t stream) {
    if (!line_allowed(line)) return cudaErrorInvalidValue;
    if (line->outer * line->inner == 0) return cudaSuccess;
    if (line->count == 0) return cudaErrorInvalidValue;
    return BERT_LAUNCH(arg_extreme_kernel, dim3(bert_blocks(line->outer * line->inner, THREADS)), dim3(THREADS), 0,
                       stream, *line, greatest, last, y);
}

cudaError_t bert_cuda_cumulative_sum(const bert_cuda_line_args *line, bool exclusive, bool reverse, void *y,
                                     cudaStream_t stream) {
    if (!line_allowed(line)) return cudaErrorInvalidValue;
    if (line->outer * line->inner * line->count == 0) return cudaSuccess;
    return BERT_LAUNCH(cumulative_sum_kernel, dim3(bert_blocks(line->outer * line->inner, THREADS)), dim3(THREADS), 0,
                       stream, *line, exclusive, reverse, y);
}

cudaError_t bert_cuda_top_k(const bert_cuda_line_args *line, int64_t k, bool largest, void *values, int64_t *indices,
                            cudaStream_t stream) {
    if (!line_allowed(line) || k < 0 || k > line->count) return cudaErrorInvalidValue;
    if (line->outer * line->inner * k == 0) return cudaSuccess;
    return BERT_LAUNCH(top_k_kernel, dim3(bert_blocks(line->outer * line->inner, THREADS)), dim3(THREADS), 0, stream,
                       *line, k, largest, values, indices);
}
