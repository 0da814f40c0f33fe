/*
 * Gathers are a thread an element of the result; a row that is a multiple of 16 bytes is moved 16 at a time.
 *
 * Scatters have to keep the order of updates that meet in one place: the last one stays, and floats are summed in the
 * same order on every run. So one thread takes all updates that may meet: of ScatterElements those along the axis,
 * which nothing else can meet; of ScatterND all tuples, for one column of the row. Long lists of tuples with short rows
 * are slow that way; BERTs have none.
 */
#include "cuda/ops/gather.h"

#include "cuda/ops/element.h"
#include "cuda/ops/index_check.h"

enum { THREADS = 256 };

static bool is_index(bert_dtype type) {
    return type == BERT_INT32 || type == BERT_INT64;
}

/* ---- Gather --------------------------------------------------------------------------------------------------------
 */

/* V is what is moved at a time, a.row counts it; 0: single elements of a.element_bytes. */
template <int WIDE> static __global__ void __launch_bounds__(THREADS) gather_kernel(bert_cuda_gather_args a) {
    begin_kernel();
    const int64_t total = a.before * a.count * a.row, step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < total; i += step) {
        const int64_t place = i / a.row, column = i % a.row, at = place % a.count;
        const int64_t index = checked_index(load_index(a.indices, a.index_type, at), a.bound, at, a.input, a.check);
        const int64_t from = (place / a.count * a.bound + index) * a.row + column;
        if (WIDE)
            static_cast<uint4 *>(a.y)[i] = static_cast<const uint4 *>(a.data)[from];
        else
            copy_element(a.y, i, a.data, from, a.element_bytes);
    }
}

cudaError_t bert_cuda_gather(const bert_cuda_gather_args *args, cudaStream_t stream) {
    bert_cuda_gather_args a = *args;
    if (a.before < 0 || a.bound < 0 || a.row < 0 || a.count < 0 || !bert_bytes_allowed(a.element_bytes) ||
        !is_index(a.index_type))
        return cudaErrorInvalidValue;
    if (a.before * a.count * a.row == 0) return cudaSuccess;
    if (a.bound == 0) return cudaErrorInvalidValue; /* nothing to choose from */
    const int per_vector = 16 / a.element_bytes;
    const uintptr_t both = reinterpret_cast<uintptr_t>(a.data) | reinterpret_cast<uintptr_t>(a.y);
    const bool wide = a.row % per_vector == 0 && both % 16 == 0;
    if (wide) a.row /= per_vector;
    const dim3 grid(bert_blocks(a.before * a.count * a.row, THREADS, 1 << 14)), block(THREADS);
    if (wide) return BERT_LAUNCH((gather_kernel<1>), grid, block, 0, stream, a);
    return BERT_LAUNCH((gather_kernel<0>), grid, block, 0, stream, a);
}

static void dense_strides(int32_t rank, const int64_t *dims, int64_t *strides) {
    int64_t stride = 1;
    for (int32_t i = rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= dims[i];
    }
}

/* Strides of the data with 0 along the axis, and the stride along it. */
struct along {
    bert_cuda_walk walk;
    int64_t strides[BERT_MAX_RANK];
    int64_t step;
};

static __global__ void __launch_bounds__(THREADS)
    gather_elements_kernel(bert_cuda_gather_elements_args a, along places) {
    begin_kernel();
    const int64_t step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < places.walk.count; i += step) {
        const int64_t value = load_index(a.indices, a.index_type, i);
        const int64_t index = checked_index(value, a.data_dims[a.axis], i, 1, a.check);
        const int64_t from = offset_of(places.walk, places.strides, i) + index * places.step;
        copy_element(a.y, i, a.data, from, a.element_bytes);
    }
}

cudaError_t bert_cuda_gather_elements(const bert_cuda_gather_elements_args *args, cudaStream_t stream) {
    along places = {};
    if (!bert_walk_over(args->rank, args->dims, &places.walk) || args->axis < 0 || args->axis >= args->rank ||
        !bert_bytes_allowed(args->element_bytes) || !is_index(args->index_type))
        return cudaErrorInvalidValue;
    if (places.walk.count == 0) return cudaSuccess;
    if (args->data_dims[args->axis] <= 0) return cudaErrorInvalidValue;
    dense_strides(args->rank, args->data_dims, places.strides);
    places.step = places.strides[args->axis];
    places.strides[args->axis] = 0;
    return BERT_LAUNCH(gather_elements_kernel, dim3(bert_blocks(places.walk.count, THREADS, 1 << 14)), dim3(THREADS), 0,
                       stream, *args, places);
}

/* The row that a tuple of indices names, in rows. */
static __device__ int64_t row_of_tuple(const void *indices, bert_dtype type, int64_t tuple, int depth,
                                       const int64_t *bounds, const bert_cuda_index_check &check) {
    int64_t row = 0;
    for (int i = 0; i < depth; i++) {
        const int64_t at = tuple * depth + i;
        row = row * bounds[i] + checked_index(load_index(indices, type, at), bounds[i], at, 1, check);
    }
    return row;
}

static __global__ void __launch_bounds__(THREADS) gather_nd_kernel(bert_cuda_gather_nd_args a, int64_t batch_rows) {
    begin_kernel();
    const int64_t total = a.batches * a.tuples * a.row, step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < total; i += step) {
        const int64_t tuple = i / a.row;
        const int64_t row =
            tuple / a.tuples * batch_rows + row_of_tuple(a.indices, a.index_type, tuple, a.depth, a.bounds, a.check);
        copy_element(a.y, i, a.data, row * a.row + i % a.row, a.element_bytes);
    }
}

/* Product of the bounds; -1 for one that is not positive. */
static int64_t rows_within(int32_t depth, const int64_t *bounds) {
    int64_t rows = 1;
    if (depth < 0 || depth > BERT_MAX_RANK) return -1;
    for (int32_t i = 0; i < depth; i++) {
        if (bounds[i] <= 0) return -1;
        rows *= bounds[i];
    }
    return rows;
}

cudaError_t bert_cuda_gather_nd(const bert_cuda_gather_nd_args *args, cudaStream_t stream) {
    if (args->batches < 0 || args->tuples < 0 || args->row < 0 || !bert_bytes_allowed(args->element_bytes) ||
        !is_index(args->index_type))
        return cudaErrorInvalidValue;
    const int64_t total = args->batches * args->tuples * args->row, rows = rows_within(args->depth, args->bounds);
    if (total == 0) return cudaSuccess;
    if (rows < 0) return cudaErrorInvalidValue;
    return BERT_LAUNCH(gather_nd_kernel, dim3(bert_blocks(total, THREADS, 1 << 14)), dim3(THREADS), 0, stream, *args,
                       rows);
}

/* ---- Scatter -------------------------------------------------------------------------------------------------------
 */

template <typename F> static __device__ F combined(bert_cuda_scatter_mode mode, F there, F update) {
    switch (mode) {
    case BERT_CUDA_SCATTER_ADD:
        return there + update;
    case BERT_CUDA_SCATTER_MUL:
        return there * update;
    case BERT_CUDA_SCATTER_MAX:
        return update > there ? update : there;
    default:
        return update < there ? update : there;
    }
}

static __device__ void put(bert_cuda_scatter_mode mode, bert_dtype dtype, void *y, int64_t to, const void *updates,
                           int64_t from) {
    if (mode == BERT_CUDA_SCATTER_NONE) {
        copy_element(y, to, updates, from, bert_element_bytes(dtype));
    } else if (bert_dtype_is_float(dtype)) {
        const double there = load_as<double>(y, dtype, to), update = load_as<double>(updates, dtype, from);
        store_as<double>(y, dtype, to, combined(mode, there, update));
    } else {
        const int64_t there = load_as<int64_t>(y, dtype, to), update = load_as<int64_t>(updates, dtype, from);
        const uint64_t a = static_cast<uint64_t>(there), b = static_cast<uint64_t>(update);
        const bool wraps = mode <= BERT_CUDA_SCATTER_MUL || dtype == BERT_UINT64;
        store_as<int64_t>(y, dtype, to,
                          wraps ? static_cast<int64_t>(combined(mode, a, b)) : combined(mode, there, update));
    }
}

/* A thread a line along the axis: places.walk goes over the lines. */
static __global__ void __launch_bounds__(THREADS)
    scatter_elements_kernel(bert_cuda_scatter_elements_args a, along places, bert_cuda_walk lines,
                            int64_t update_step) {
    begin_kernel();
    int64_t update_strides[BERT_MAX_RANK] = {};
    for (int i = a.rank - 1, stride = 1; i >= 0; i--) {
        update_strides[i] = stride;
        stride *= static_cast<int>(a.dims[i]);
    }
    const int64_t step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < lines.count; i += step) {
        const int64_t from = offset_of(lines, update_strides, i), to = offset_of(lines, places.strides, i);
        for (int64_t j = 0; j < a.dims[a.axis]; j++) {
            const int64_t at = from + j * update_step;
            const int64_t index =
                checked_index(load_index(a.indices, a.index_type, at), a.y_dims[a.axis], at, 1, a.check);
            put(a.mode, a.dtype, a.y, to + index * places.step, a.updates, at);
        }
    }
}

cudaError_t bert_cuda_scatter_elements(const bert_cuda_scatter_elements_args *args, cudaStream_t stream) {
    along places = {};
    if (!bert_walk_over(args->rank, args->dims, &places.walk) || args->axis < 0 || args->axis >= args->rank ||
        !bert_element_bytes(args->dtype) || !is_index(args->index_type) || places.walk.count > INT32_MAX)
        return cudaErrorInvalidValue;
    if (places.walk.count == 0) return cudaSuccess;
    if (args->y_dims[args->axis] <= 0) return cudaErrorInvalidValue;
    dense_strides(args->rank, args->y_dims, places.strides);
    places.step = places.strides[args->axis];
    bert_cuda_walk lines = places.walk; /* the axis counts as 1 */
    lines.count /= lines.dims[args->axis];
    lines.dims[args->axis] = 1;
    int64_t strides[BERT_MAX_RANK];
    dense_strides(args->rank, args->dims, strides);
    return BERT_LAUNCH(scatter_elements_kernel, dim3(bert_blocks(lines.count, THREADS, 1 << 14)), dim3(THREADS), 0,
                       stream, *args, places, lines, strides[args->axis]);
}

/* A thread a column of the row. */
static __global__ void __launch_bounds__(THREADS) scatter_nd_kernel(bert_cuda_scatter_nd_args a) {
    begin_kernel();
    const int64_t step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < a.row; i += step) {
        for (int64_t tuple = 0; tuple < a.tuples; tuple++) {
            const int64_t row = row_of_tuple(a.indices, a.index_type, tuple, a.depth, a.bounds, a.check);
            put(a.mode, a.dtype, a.y, row * a.row + i, a.updates, tuple * a.row + i);
        }
    }
}

cudaError_t bert_cuda_scatter_nd(const bert_cuda_scatter_nd_args *args, cudaStream_t stream) {
    if (args->tuples < 0 || args->row < 0 || !bert_element_bytes(args->dtype) || !is_index(args->index_type))
        return cudaErrorInvalidValue;
    if (args->tuples == 0 || args->row == 0) return cudaSuccess;
    if (rows_within(args->depth, args->bounds) < 0) return cudaErrorInvalidValue;
    return BERT_LAUNCH(scatter_nd_kernel, dim3(bert_blocks(args->row, THREADS)), dim3(THREADS), 0, stream, *args);
}
