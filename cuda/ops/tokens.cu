/*
 * Rows are copied 16 bytes at a time where they allow it. To unpack, each row of y looks for its token among the
 * ascending ones (some ten steps of a search that all threads of a row share), so that y is written once and nothing
 * has to be cleared before.
 */
#include "cuda/ops/tokens.h"

#include "cuda/ops/element.h"
#include "cuda/ops/index_check.h"

enum { THREADS = 128 };

template <int WIDE> static __device__ void copy(const bert_cuda_tokens_args &a, int64_t to, int64_t from) {
    if (WIDE)
        static_cast<uint4 *>(a.y)[to] = static_cast<const uint4 *>(a.x)[from];
    else
        copy_element(a.y, to, a.x, from, a.element_bytes);
}

/* A block a row. */
template <int WIDE> static __global__ void __launch_bounds__(THREADS) pack_kernel(bert_cuda_tokens_args a) {
    begin_kernel();
    for (int64_t row = blockIdx.x; row < a.count; row += gridDim.x) {
        const int64_t from = a.tokens[row] % a.padded;
        for (int64_t i = threadIdx.x; i < a.width; i += THREADS) copy<WIDE>(a, row * a.width + i, from * a.width + i);
    }
}

template <int WIDE> static __global__ void __launch_bounds__(THREADS) unpack_kernel(bert_cuda_tokens_args a) {
    begin_kernel();
    for (int64_t row = blockIdx.x; row < a.padded; row += gridDim.x) {
        int64_t low = 0, high = a.count; /* the first token that is not before the row */
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (a.tokens[middle] < row)
                low = middle + 1;
            else
                high = middle;
        }
        const bool there = low < a.count && a.tokens[low] == row;
        for (int64_t i = threadIdx.x; i < a.width; i += THREADS) {
            const int64_t to = row * a.width + i;
            if (there)
                copy<WIDE>(a, to, low * a.width + i);
            else if (WIDE)
                static_cast<uint4 *>(a.y)[to] = make_uint4(0, 0, 0, 0);
            else
                store_bits(a.y, to, 0, a.element_bytes);
        }
    }
}

/* One thread: there are as many offsets as a batch has sequences. */
static __global__ void check_offsets_kernel(bert_cuda_offsets_args a) {
    begin_kernel();
    int64_t before = 0;
    for (int64_t i = 0; i <= a.sequences; i++) {
        const int64_t offset = a.offsets[i];
        const bool ends = i == 0 ? offset == 0 : i < a.sequences || offset == a.tokens;
        const bool fits = ends && offset >= before && offset - before <= a.longest && offset <= a.tokens;
        if (!fits) report_index(offset, a.tokens, i, a.input, a.check);
        if (fits) before = offset;
        a.checked[i] = static_cast<int32_t>(before);
    }
}

/* Whether 16 bytes go at a time; then width counts those. */
static bool widen(bert_cuda_tokens_args *a) {
    const int per_vector = 16 / a->element_bytes;
    const uintptr_t both = reinterpret_cast<uintptr_t>(a->x) | reinterpret_cast<uintptr_t>(a->y);
    if (a->width % per_vector || both % 16) return false;
    a->width /= per_vector;
    return true;
}

static bool allowed(const bert_cuda_tokens_args *a) {
    return bert_bytes_allowed(a->element_bytes) && a->width >= 0 && a->count >= 0 && a->padded >= 0;
}

cudaError_t bert_cuda_pack_tokens(const bert_cuda_tokens_args *args, cudaStream_t stream) {
    bert_cuda_tokens_args a = *args;
    if (!allowed(args)) return cudaErrorInvalidValue;
    if (a.width == 0 || a.count == 0) return cudaSuccess;
    if (a.padded == 0) return cudaErrorInvalidValue;
    const dim3 grid(bert_blocks(a.count, 1)), block(THREADS);
    if (widen(&a)) return BERT_LAUNCH((pack_kernel<1>), grid, block, 0, stream, a);
    return BERT_LAUNCH((pack_kernel<0>), grid, block, 0, stream, a);
}

cudaError_t bert_cuda_unpack_tokens(const bert_cuda_tokens_args *args, cudaStream_t stream) {
    bert_cuda_tokens_args a = *args;
    if (!allowed(args)) return cudaErrorInvalidValue;
    if (a.width == 0 || a.padded == 0) return cudaSuccess;
    const dim3 grid(bert_blocks(a.padded, 1)), block(THREADS);
    if (widen(&a)) return BERT_LAUNCH((unpack_kernel<1>), grid, block, 0, stream, a);
    return BERT_LAUNCH((unpack_kernel<0>), grid, block, 0, stream, a);
}

cudaError_t bert_cuda_check_offsets(const bert_cuda_offsets_args *args, cudaStream_t stream) {
    if (args->sequences < 0 || args->tokens < 0 || args->tokens > INT32_MAX) return cudaErrorInvalidValue;
    return BERT_LAUNCH(check_offsets_kernel, dim3(1), dim3(1), 0, stream, *args);
}
