/*
 * The library's INT8 kernels want B transposed and sizes in sixteens. What a graph has otherwise (a MatMulInteger with
 * 2 columns, say) comes here: right for every shape, at the speed of plain integer arithmetic. A block computes a tile
 * of 32 x 32 results, four a thread, from 32 x 32 tiles of both operands in shared memory: each byte that is loaded
 * serves 32 products. Rows of the tiles are 36 bytes, so that the rows that a warp reads at once begin in different
 * banks.
 */
#include "cuda/ops/byte_product.h"

#include "cuda/platform.h"

enum { TILE = 32, PITCH = 36, ROWS = 8, THREADS = TILE * ROWS };

/* Where element (row, column) of an operand is that may be stored transposed. */
static __device__ inline int64_t place(bool transposed, int64_t row, int64_t column, int64_t pitch) {
    return transposed ? column * pitch + row : row * pitch + column;
}

/* A TILE x TILE part of a [rows, columns] operand; zeros outside it. */
static __device__ void load_tile(int8_t *tile, const int8_t *from, bool transposed, int64_t pitch, int64_t row,
                                 int64_t column, int64_t rows, int64_t columns) {
    for (int i = static_cast<int>(threadIdx.x); i < TILE * TILE; i += THREADS) {
        /* Neighbours in memory go to neighbouring threads. */
        const int down = transposed ? i % TILE : i / TILE, across = transposed ? i / TILE : i % TILE;
        const bool inside = row + down < rows && column + across < columns;
        tile[down * PITCH + across] =
            inside ? from[place(transposed, row + down, column + across, pitch)] : static_cast<int8_t>(0);
    }
}

static __global__ void __launch_bounds__(THREADS)
    byte_product_kernel(bert_cuda_gemm_args g, int64_t tiles_across, int64_t tiles) {
    begin_kernel();
    BERT_SHARED(int8_t, left, TILE * PITCH);
    BERT_SHARED(int8_t, right, TILE * PITCH);
    const int column = static_cast<int>(threadIdx.x) % TILE, first = static_cast<int>(threadIdx.x) / TILE;
    const int64_t per_product = tiles / g.batch;
    for (int64_t t = blockIdx.x; t < tiles; t += gridDim.x) {
        const int64_t product = t / per_product, within = t % per_product;
        const int64_t row0 = within / tiles_across * TILE, column0 = within % tiles_across * TILE;
        const int8_t *a = static_cast<const int8_t *>(g.a) + product * g.stride_a;
        const int8_t *b = static_cast<const int8_t *>(g.b) + product * g.stride_b;
        int32_t *c = static_cast<int32_t *>(g.c) + product * g.stride_c;
        uint32_t sums[TILE / ROWS] = {0, 0, 0, 0};
        for (int64_t k = 0; k < g.k; k += TILE) {
            load_tile(left, a, g.transpose_a, g.lda, row0, k, g.m, g.k);
            load_tile(right, b, g.transpose_b, g.ldb, k, column0, g.k, g.n);
            __syncthreads();
            for (int i = 0; i < TILE; i++) {
                const int32_t factor = right[i * PITCH + column];
                for (int j = 0; j < TILE / ROWS; j++)
                    sums[j] += static_cast<uint32_t>(left[(first + j * ROWS) * PITCH + i] * factor);
            }
            __syncthreads();
        }
        for (int j = 0; j < TILE / ROWS; j++) {
            const int64_t row = row0 + first + j * ROWS;
            if (row >= g.m || column0 + column >= g.n) continue;
            int32_t *to = &c[row * g.ldc + column0 + column];
            *to = static_cast<int32_t>(sums[j] + (g.beta != 0 ? static_cast<uint32_t>(*to) : 0U));
        }
    }
}

cudaError_t bert_cuda_byte_product(const bert_cuda_gemm_args *args, cudaStream_t stream) {
    const bert_cuda_gemm_args g = *args;
    if (g.kind != BERT_CUDA_GEMM_S8 || g.bias || g.alpha != 1 || (g.beta != 0 && g.beta != 1) || g.m < 0 || g.n < 0 ||
        g.k < 0 || g.batch < 0)
        return cudaErrorInvalidValue;
    if (g.m == 0 || g.n == 0 || g.batch == 0) return cudaSuccess;
    const int64_t across = bert_tiles(g.n, TILE), tiles = across * bert_tiles(g.m, TILE) * g.batch;
    return BERT_LAUNCH(byte_product_kernel, dim3(bert_blocks(tiles, 1)), dim3(THREADS), 0, stream, g, across, tiles);
}
