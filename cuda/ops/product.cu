/*
 * Models compute in float32 and below; what comes here is the odd product of indices or lengths, and a model in double
 * that is run for its digits. So one kernel that is right for any strides: a block computes a tile of 16 x 16 results,
 * one a thread, from tiles of both operands in shared memory. A row of a tile is one longer than it has elements, so
 * that a column's lie in different banks.
 */
#include "cuda/ops/product.h"

#include "cuda/ops/element.h"

enum { TILE = 16, PITCH = TILE + 1, THREADS = TILE * TILE };

/* A TILE x TILE part of a [rows, columns] operand that begins at `start`; zeros outside it. */
template <typename F>
static __device__ void load_tile(F *tile, const bert_cuda_product_operand &x, bert_dtype dtype, int64_t start,
                                 int64_t row, int64_t column, int64_t rows, int64_t columns) {
    /* Neighbours in memory go to neighbouring threads. */
    const int fast = static_cast<int>(threadIdx.x) % TILE, slow = static_cast<int>(threadIdx.x) / TILE;
    const bool by_rows = x.column == 1;
    const int down = by_rows ? slow : fast, across = by_rows ? fast : slow;
    const bool inside = row + down < rows && column + across < columns;
    tile[down * PITCH + across] =
        inside ? load_as<F>(x.data, dtype, start + (row + down) * x.row + (column + across) * x.column) : F(0);
}

/* Whole numbers wrap around, which signed ones may not do. */
static __device__ inline double added(double sum, double a, double b) {
    return fma(a, b, sum);
}
static __device__ inline int64_t added(int64_t sum, int64_t a, int64_t b) {
    return static_cast<int64_t>(static_cast<uint64_t>(sum) + static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
static __device__ inline double finished(const bert_cuda_product_args &g, double sum, int64_t at) {
    return g.alpha * sum + (g.beta != 0 ? g.beta * static_cast<const double *>(g.c)[at] : 0.0);
}
static __device__ inline int64_t finished(const bert_cuda_product_args &g, int64_t sum, int64_t at) {
    return sum;
}

template <typename F>
static __global__ void __launch_bounds__(THREADS)
    product_kernel(bert_cuda_product_args g, bert_cuda_walk batches, int64_t tiles_across, int64_t tiles) {
    begin_kernel();
    BERT_SHARED(F, left, TILE * PITCH);
    BERT_SHARED(F, right, TILE * PITCH);
    const int column = static_cast<int>(threadIdx.x) % TILE, row = static_cast<int>(threadIdx.x) / TILE;
    const int64_t per_product = tiles / batches.count;
    for (int64_t t = blockIdx.x; t < tiles; t += gridDim.x) {
        const int64_t product = t / per_product, within = t % per_product;
        const int64_t row0 = within / tiles_across * TILE, column0 = within % tiles_across * TILE;
        const int64_t a = offset_of(batches, g.a.batch, product), b = offset_of(batches, g.b.batch, product);
        F sum = F(0);
        for (int64_t k = 0; k < g.k; k += TILE) {
            load_tile<F>(left, g.a, g.dtype, a, row0, k, g.m, g.k);
            load_tile<F>(right, g.b, g.dtype, b, k, column0, g.k, g.n);
            __syncthreads();
            for (int i = 0; i < TILE; i++) sum = added(sum, left[row * PITCH + i], right[i * PITCH + column]);
            __syncthreads();
        }
        if (row0 + row >= g.m || column0 + column >= g.n) continue;
        const int64_t at = (product * g.m + row0 + row) * g.n + column0 + column;
        store_as<F>(g.c, g.dtype, at, finished(g, sum, at));
    }
}

cudaError_t bert_cuda_product(const bert_cuda_product_args *args, cudaStream_t stream) {
    const bert_cuda_product_args g = *args;
    const bool whole =
        g.dtype == BERT_INT32 || g.dtype == BERT_UINT32 || g.dtype == BERT_INT64 || g.dtype == BERT_UINT64;
    bert_cuda_walk batches;
    if ((g.dtype != BERT_DOUBLE && !whole) || (whole && (g.alpha != 1 || g.beta != 0)) || g.m < 0 || g.n < 0 ||
        g.k < 0 || !bert_walk_over(g.rank, g.dims, &batches))
        return cudaErrorInvalidValue;
    if (g.m == 0 || g.n == 0 || batches.count == 0) return cudaSuccess;
    const int64_t across = bert_tiles(g.n, TILE), tiles = across * bert_tiles(g.m, TILE) * batches.count;
    const dim3 grid(bert_blocks(tiles, 1)), block(THREADS);
    if (whole) return BERT_LAUNCH((product_kernel<int64_t>), grid, block, 0, stream, g, batches, across, tiles);
    return BERT_LAUNCH((product_kernel<double>), grid, block, 0, stream, g, batches, across, tiles);
}
