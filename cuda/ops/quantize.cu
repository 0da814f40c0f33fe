/*
 * Each step is bound by memory; the range of a tensor is found by whoever writes it, so that quantizing reads it once.
 * The scale of a group is found by one block from a few bytes a row (that of very many ranges by way of some blocks'
 * parts), without atomics: the same bits on every run.
 * Quotients and products are spelled as intrinsics that round each step, as ONNX's operators do: the compiler may not
 * fuse them.
 */
#include "cuda/ops/quantize.h"

#include "cuda/ops/epilogue.h"
#include "cuda/ops/quantized.h"

enum { THREADS = 128, WARPS = THREADS / BERT_WARP };

static __device__ inline int warp_sum_int(int x) {
    for (int step = BERT_WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(BERT_ALL_LANES, x, step);
    return x;
}

/* ---- Ranges --------------------------------------------------------------------------------------------------------
 */

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    ranges_kernel(const T *x, int64_t rows, int64_t width, bert_cuda_range *ranges) {
    begin_kernel();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        row_range range;
        for (int64_t i = threadIdx.x; i < width; i += THREADS) range.add(to_float(x[row * width + i]));
        range.join_block(scratch);
        if (threadIdx.x == 0) range.store(ranges + row);
    }
}

cudaError_t bert_cuda_row_ranges(const bert_cuda_row_ranges_args *args, cudaStream_t stream) {
    if (args->rows < 0 || args->width < 0) return cudaErrorInvalidValue;
    if (args->rows == 0) return cudaSuccess;
    const dim3 grid(bert_blocks(args->rows, 1)), block(THREADS);
    switch (args->dtype) {
    case BERT_FLOAT:
        return BERT_LAUNCH((ranges_kernel<float>), grid, block, 0, stream, static_cast<const float *>(args->x),
                           args->rows, args->width, args->ranges);
    case BERT_FLOAT16:
        return BERT_LAUNCH((ranges_kernel<__half>), grid, block, 0, stream, static_cast<const __half *>(args->x),
                           args->rows, args->width, args->ranges);
    case BERT_BFLOAT16:
        return BERT_LAUNCH((ranges_kernel<__nv_bfloat16>), grid, block, 0, stream,
                           static_cast<const __nv_bfloat16 *>(args->x), args->rows, args->width, args->ranges);
    default:
        return cudaErrorInvalidValue;
    }
}

/* ---- Scales --------------------------------------------------------------------------------------------------------
 */

/* What DynamicQuantizeLinear makes of the range of what it quantizes. */
static __device__ inline float scale_of(const row_range &range) {
    const float width = __fsub_rn(range.most, range.least);
    return width == 0.0F ? 1.0F : __fdiv_rn(width, 255.0F);
}
static __device__ inline int zero_point_of(const row_range &range, float scale) {
    return quantized(__fdiv_rn(-range.least, scale), 0, 0, 255);
}

/* Ranges of which one block would read more than this by itself are joined in parts first. */
enum { FEW_RANGES = 8192, PART_THREADS = 256 };

static __global__ void __launch_bounds__(PART_THREADS)
    join_kernel(const bert_cuda_range *ranges, int64_t count, bert_cuda_range *parts) {
    begin_kernel();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    row_range range;
    for (int64_t i = blockIdx.x * PART_THREADS + threadIdx.x; i < count; i += gridDim.x * PART_THREADS)
        range.add(ranges[i]);
    range.join_block(scratch);
    if (threadIdx.x == 0) range.store(parts + blockIdx.x);
}

/* `joined`: ranges of `parts` that are all of them; 0: none were joined. */
static __global__ void __launch_bounds__(1024) quantization_kernel(bert_cuda_quantization_args a, int64_t joined) {
    begin_kernel();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    for (int64_t group = blockIdx.x; group < a.groups; group += gridDim.x) {
        int64_t first = 0, end = a.rows;
        if (a.offsets) {
            first = a.offsets[group];
            if (a.offsets[group + 1] < end) end = a.offsets[group + 1];
        }
        bool some = false;
        if (a.counted) {
            for (int64_t row = first + threadIdx.x; row < end; row += blockDim.x) some = some || a.counted[row];
            some = __syncthreads_or(some) != 0;
        }
        row_range range;
        for (int64_t i = threadIdx.x; i < joined; i += blockDim.x) range.add(a.parts[i]);
        if (joined == 0) {
            for (int64_t i = first * a.ranges_per_row + threadIdx.x; i < end * a.ranges_per_row; i += blockDim.x) {
                if (some && !a.counted[i / a.ranges_per_row]) continue;
                range.add(a.ranges[i]);
            }
        }
        range.join_block(scratch);
        const float scale = scale_of(range);
        const int zero_point = zero_point_of(range, scale);
        if (!a.offsets) end = 1; /* all rows share it */
        for (int64_t row = first + threadIdx.x; row < end; row += blockDim.x) {
            a.scales[row] = scale;
            a.zero_points[row] = zero_point;
        }
        if (group == 0 && threadIdx.x == 0 && a.first_zero_point)
            *a.first_zero_point = static_cast<uint8_t>(zero_point);
    }
}

cudaError_t bert_cuda_quantization(const bert_cuda_quantization_args *args, cudaStream_t stream) {
    bert_cuda_quantization_args a = *args;
    if (a.rows < 0 || a.ranges_per_row < 1 || a.groups < 0) return cudaErrorInvalidValue;
    if (!a.offsets) a.groups = 1;
    if (a.groups == 0 || (a.rows == 0 && a.offsets)) return cudaSuccess;
    const int64_t all = a.rows * a.ranges_per_row, ranges = all / a.groups;
    int64_t joined = 0;
    if (a.parts && !a.offsets && !a.counted && all > FEW_RANGES) {
        joined = bert_blocks(all, PART_THREADS, BERT_CUDA_QUANTIZATION_PARTS);
        const cudaError_t status = BERT_LAUNCH(join_kernel, dim3(static_cast<unsigned>(joined)), dim3(PART_THREADS), 0,
                                               stream, a.ranges, all, a.parts);
        if (status != cudaSuccess) return status;
    }
    const unsigned threads = ranges <= 32 ? 32 : ranges <= 256 ? 256 : 1024;
    return BERT_LAUNCH(quantization_kernel, dim3(bert_blocks(a.groups, 1)), dim3(threads), 0, stream, a, joined);
}

/* ---- Quantize ------------------------------------------------------------------------------------------------------
 */

/* Scale and zero point of a row of x, for all lanes of its warp. */
static __device__ inline void row_quantization(const bert_cuda_quantize_args &a, int64_t row, int lane, float *scale,
                                               int *zero_point) {
    if (!a.ranges) {
        *scale = a.scales[row * a.scale_stride];
        *zero_point = a.zero_points[row * a.scale_stride];
        return;
    }
    row_range range;
    for (int64_t i = lane; i < a.ranges_per_row; i += BERT_WARP) range.add(a.ranges[row * a.ranges_per_row + i]);
    range.join_lanes(BERT_WARP);
    *scale = scale_of(range);
    *zero_point = zero_point_of(range, *scale);
    if (lane != 0) return;
    a.scales[row] = *scale;
    a.zero_points[row] = *zero_point;
}

/* A warp a row. N elements of x at a time become N bytes of y. */
template <typename T, int N>
static __global__ void __launch_bounds__(THREADS) quantize_kernel(bert_cuda_quantize_args a) {
    begin_kernel();
    const int lane = static_cast<int>(threadIdx.x) % BERT_WARP, shift = a.shifted ? 128 : 0;
    for (int64_t row = blockIdx.x * WARPS + threadIdx.x / BERT_WARP; row < a.rows; row += gridDim.x * WARPS) {
        const int64_t source = a.first + row * a.step;
        const T *x = static_cast<const T *>(a.x) + source * a.width;
        uint8_t *y = static_cast<uint8_t *>(a.y) + row * a.pitch;
        float scale;
        int zero_point, sum = 0;
        row_quantization(a, source, lane, &scale, &zero_point);
        for (int64_t i = lane * N; i < a.pitch; i += BERT_WARP * N) {
            bert_vector<uint8_t, N> bytes = {};
            if (i < a.width) {
                const bert_vector<T, N> values = *reinterpret_cast<const bert_vector<T, N> *>(x + i);
                BERT_UNROLL
                for (int j = 0; j < N; j++) {
                    const int q = quantized(__fdiv_rn(to_float(values.at[j]), scale), zero_point, 0, 255) - shift;
                    bytes.at[j] = static_cast<uint8_t>(q);
                    sum += q;
                }
            }
            *reinterpret_cast<bert_vector<uint8_t, N> *>(y + i) = bytes;
        }
        sum = warp_sum_int(sum);
        if (a.sums && lane == 0) a.sums[row] = sum;
    }
}

template <typename T> static cudaError_t launch_quantize(const bert_cuda_quantize_args *a, cudaStream_t stream) {
    const bool fours = bert_vectors_fit<4>(a->width, static_cast<const T *>(a->x)) &&
                       bert_vectors_fit<4>(a->pitch, static_cast<const uint8_t *>(a->y));
    const dim3 grid(bert_blocks(a->rows, WARPS)), block(THREADS);
    if (fours) return BERT_LAUNCH((quantize_kernel<T, 4>), grid, block, 0, stream, *a);
    return BERT_LAUNCH((quantize_kernel<T, 1>), grid, block, 0, stream, *a);
}

cudaError_t bert_cuda_quantize(const bert_cuda_quantize_args *args, cudaStream_t stream) {
    if (args->rows < 0 || args->width < 0 || args->pitch < args->width) return cudaErrorInvalidValue;
    if (args->first < 0 || args->step < 1) return cudaErrorInvalidValue;
    if (args->ranges && args->ranges_per_row < 1) return cudaErrorInvalidValue;
    if (args->rows == 0 || args->pitch == 0) return cudaSuccess;
    switch (args->dtype) {
    case BERT_FLOAT:
        return launch_quantize<float>(args, stream);
    case BERT_FLOAT16:
        return launch_quantize<__half>(args, stream);
    case BERT_BFLOAT16:
        return launch_quantize<__nv_bfloat16>(args, stream);
    default:
        return cudaErrorInvalidValue;
    }
}

/* ---- Dequantize ----------------------------------------------------------------------------------------------------
 */

template <typename T> struct byte_rows {
    using element = T;
    bert_byte_sums<T> before;
    bert_epilogue<T> after;
    const int32_t *products;
    int64_t pitch;

    bert_epilogue_form form() const {
        return after.form();
    }
    template <bert_epilogue_form FORM> __device__ void assume() {
        after.template assume<FORM>();
    }
    template <int N> struct columns {
        typename bert_byte_sums<T>::template columns<N> of_sums;
        typename bert_epilogue<T>::template columns<N> of_values;
        __device__ void load(const byte_rows &rows, int64_t column) {
            of_sums.load(rows.before, column);
            of_values.load(rows.after, column);
        }
    };
    template <int N> struct inputs {
        bert_vector<int32_t, N> sums;
        typename bert_byte_sums<T>::row_terms terms;
        typename bert_epilogue<T>::template added<N> added;
        __device__ void load(const byte_rows &rows, int64_t row, int64_t at) {
            const int64_t place = at + row * (rows.pitch - rows.after.width);
            sums = *reinterpret_cast<const bert_vector<int32_t, N> *>(rows.products + place);
            terms.load(rows.before, row);
            added.load(rows.after, at);
        }
    };
    template <int N> __device__ bert_elements<T, N> finish(const columns<N> &c, const inputs<N> &in) const {
        float values[N];
        before.values_of(c.of_sums, in.terms, in.sums.at, values);
        return after.finish(c.of_values, values, in.added);
    }
};

template <typename T> static cudaError_t launch_dequantize(const bert_cuda_dequantize_args *args, cudaStream_t stream) {
    byte_rows<T> rows = {};
    rows.before = bert_byte_sums<T>::of(*args);
    rows.after = bert_epilogue<T>::of(*args);
    rows.products = args->products;
    rows.pitch = args->pitch;
    const bool fours = rows.after.template vectors_fit<4>() && bert_vectors_fit<4>(args->pitch, args->products);
    return fours ? launch_stretches<4>(rows, args->rows, stream) : launch_stretches<1>(rows, args->rows, stream);
}

cudaError_t bert_cuda_dequantize(const bert_cuda_dequantize_args *args, cudaStream_t stream) {
    if (args->rows < 0 || args->width < 0 || args->pitch < args->width) return cudaErrorInvalidValue;
    if ((args->residual_lower || args->y_lower) && args->dtype != BERT_BFLOAT16) return cudaErrorInvalidValue;
    if (args->rows == 0 || args->width == 0) return cudaSuccess;
    switch (args->dtype) {
    case BERT_FLOAT:
        return launch_dequantize<float>(args, stream);
    case BERT_FLOAT16:
        return launch_dequantize<__half>(args, stream);
    case BERT_BFLOAT16:
        return launch_dequantize<__nv_bfloat16>(args, stream);
    default:
        return cudaErrorInvalidValue;
    }
}
