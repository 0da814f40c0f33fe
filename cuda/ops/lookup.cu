/*
 * Each byte is read and written once, 16 at a time where both sides are aligned: memory bounds it as long as lookups
 * keep pace. So the table is in shared memory. Its 256 bytes are 64 words, two in each bank, and lanes that read the
 * same word share it: whatever the bytes are, what a warp looks up at once takes two turns at most, and no copies of
 * the table are needed to keep lanes apart.
 */
#include "cuda/ops/lookup.h"

#include "cuda/platform.h"

/* A thread for each byte of the table. Each block brings that, so there are not many more than a GPU holds at once. */
enum { THREADS = 256, BYTES = 16, MOST_BLOCKS = 1 << 11 };

/* So many vectors first; the bytes behind them go one by one. */
static __global__ void __launch_bounds__(THREADS) lookup_kernel(bert_cuda_lookup_args a, int64_t vectors) {
    begin_kernel();
    BERT_SHARED(uint8_t, table, THREADS);
    table[threadIdx.x] = a.table[threadIdx.x];
    __syncthreads();
    const int64_t first = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
    const int64_t step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = first; i < vectors; i += step) {
        bert_vector<uint8_t, BYTES> bytes = reinterpret_cast<const bert_vector<uint8_t, BYTES> *>(a.x)[i];
        BERT_UNROLL
        for (int j = 0; j < BYTES; j++) bytes.at[j] = table[bytes.at[j]];
        store_vector(a.y + i * BYTES, bytes);
    }
    for (int64_t i = vectors * BYTES + first; i < a.count; i += step) a.y[i] = table[a.x[i]];
}

cudaError_t bert_cuda_lookup(const bert_cuda_lookup_args *args, cudaStream_t stream) {
    if (args->count < 0) return cudaErrorInvalidValue;
    if (args->count == 0) return cudaSuccess;
    const uintptr_t both = reinterpret_cast<uintptr_t>(args->x) | reinterpret_cast<uintptr_t>(args->y);
    const int64_t vectors = both % BYTES == 0 ? args->count / BYTES : 0;
    const dim3 grid(bert_blocks(vectors > 0 ? vectors : args->count, THREADS, MOST_BLOCKS)), block(THREADS);
    return BERT_LAUNCH(lookup_kernel, grid, block, 0, stream, *args, vectors);
}
