/* A thread an element; nothing here is large in a BERT. */
#include "cuda/ops/generate.h"

#include "cuda/ops/element.h"

enum { THREADS = 256 };

/* What thread i of the grid does first, and how far its next element is. */
#define FIRST (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x)
#define STEP (static_cast<int64_t>(gridDim.x) * THREADS)

static dim3 grid_for(int64_t count) {
    return dim3(bert_blocks(count, THREADS, 1 << 14));
}

static __global__ void __launch_bounds__(THREADS) one_hot_kernel(bert_cuda_one_hot_args a) {
    begin_kernel();
    const double depth = static_cast<double>(a.depth);
    for (int64_t i = FIRST; i < a.before * a.depth * a.after; i += STEP) {
        const int64_t j = i / a.after % a.depth;
        const double number = load_as<double>(a.indices, a.index_type, i / (a.depth * a.after) * a.after + i % a.after);
        bool on = false;
        if (number >= -depth && number < depth) {
            const int64_t index = static_cast<int64_t>(number);
            on = (index < 0 ? index + a.depth : index) == j;
        }
        copy_element(a.y, i, a.values, on, a.element_bytes);
    }
}

cudaError_t bert_cuda_one_hot(const bert_cuda_one_hot_args *args, cudaStream_t stream) {
    if (args->before < 0 || args->depth < 0 || args->after < 0 || !bert_bytes_allowed(args->element_bytes) ||
        !bert_element_bytes(args->index_type))
        return cudaErrorInvalidValue;
    const int64_t count = args->before * args->depth * args->after;
    if (count == 0) return cudaSuccess;
    return BERT_LAUNCH(one_hot_kernel, grid_for(count), dim3(THREADS), 0, stream, *args);
}

static __global__ void __launch_bounds__(THREADS) trilu_kernel(bert_cuda_trilu_args a) {
    begin_kernel();
    const int64_t above = a.diagonal ? *a.diagonal : 0;
    for (int64_t i = FIRST; i < a.matrices * a.rows * a.columns; i += STEP) {
        const int64_t distance = i % a.columns - i / a.columns % a.rows;
        if (a.upper ? distance >= above : distance <= above)
            copy_element(a.y, i, a.x, i, a.element_bytes);
        else
            store_bits(a.y, i, 0, a.element_bytes);
    }
}

cudaError_t bert_cuda_trilu(const bert_cuda_trilu_args *args, cudaStream_t stream) {
    if (args->matrices < 0 || args->rows < 0 || args->columns < 0 || !bert_bytes_allowed(args->element_bytes))
        return cudaErrorInvalidValue;
    const int64_t count = args->matrices * args->rows * args->columns;
    if (count == 0) return cudaSuccess;
    return BERT_LAUNCH(trilu_kernel, grid_for(count), dim3(THREADS), 0, stream, *args);
}

static __global__ void __launch_bounds__(THREADS)
    eye_like_kernel(bert_dtype dtype, int64_t rows, int64_t columns, int64_t above, void *y) {
    begin_kernel();
    for (int64_t i = FIRST; i < rows * columns; i += STEP) {
        const bool one = i % columns - i / columns == above;
        if (bert_dtype_is_float(dtype))
            store_as<double>(y, dtype, i, one ? 1.0 : 0.0);
        else
            store_as<int64_t>(y, dtype, i, one);
    }
}

cudaError_t bert_cuda_eye_like(bert_dtype dtype, int64_t rows, int64_t columns, int64_t above, void *y,
                               cudaStream_t stream) {
    if (rows < 0 || columns < 0 || !bert_element_bytes(dtype)) return cudaErrorInvalidValue;
    if (rows * columns == 0) return cudaSuccess;
    return BERT_LAUNCH(eye_like_kernel, grid_for(rows * columns), dim3(THREADS), 0, stream, dtype, rows, columns, above,
                       y);
}

static __global__ void __launch_bounds__(THREADS)
    range_kernel(bert_dtype dtype, const void *start, const void *delta, int64_t count, void *y) {
    begin_kernel();
    for (int64_t i = FIRST; i < count; i += STEP) {
        if (bert_dtype_is_float(dtype)) {
            const double from = load_as<double>(start, dtype, 0), by = load_as<double>(delta, dtype, 0);
            store_as<double>(y, dtype, i, from + static_cast<double>(i) * by);
        } else {
            const uint64_t from = static_cast<uint64_t>(load_as<int64_t>(start, dtype, 0));
            const uint64_t by = static_cast<uint64_t>(load_as<int64_t>(delta, dtype, 0));
            store_as<int64_t>(y, dtype, i, static_cast<int64_t>(from + static_cast<uint64_t>(i) * by));
        }
    }
}

cudaError_t bert_cuda_range_of(bert_dtype dtype, const void *start, const void *delta, int64_t count, void *y,
                               cudaStream_t stream) {
    if (count < 0 || !bert_element_bytes(dtype)) return cudaErrorInvalidValue;
    if (count == 0) return cudaSuccess;
    return BERT_LAUNCH(range_kernel, grid_for(count), dim3(THREADS), 0, stream, dtype, start, delta, count, y);
}
