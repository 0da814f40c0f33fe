/*
 * The weight becomes floats in scratch just before it is multiplied, and stays in its bits otherwise: writing and
 * reading N K floats is little beside a product with the hundreds of rows that an encoder has, and the product itself
 * is the library's. A thread makes the floats of one byte; neighbours have neighbouring bytes, and share a scale.
 */
#include "cuda/ops/few_bits.h"

#include "cuda/ops/element.h"

enum { THREADS = 256 };

template <typename F>
static __device__ F zero_point(const bert_cuda_few_bits_args &a, int64_t column, int64_t block, int64_t blocks) {
    if (!a.zero_points) return F(1 << (a.bits - 1));
    if (a.zero_type != BERT_UINT8) return load_as<F>(a.zero_points, a.zero_type, column * blocks + block);
    const uint8_t *row = static_cast<const uint8_t *>(a.zero_points) + column * ((blocks * a.bits + 7) / 8);
    return F(row[block * a.bits / 8] >> (block * a.bits % 8) & ((1 << a.bits) - 1));
}

template <typename F> static __global__ void __launch_bounds__(THREADS) few_bits_kernel(bert_cuda_few_bits_args a) {
    begin_kernel();
    const int64_t blocks = (a.depth + a.block - 1) / a.block, bytes = a.block * a.bits / 8;
    const int64_t count = a.columns * blocks * bytes, step = static_cast<int64_t>(gridDim.x) * THREADS;
    const int per_byte = 8 / a.bits;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < count; i += step) {
        const int64_t at = i / bytes, column = at / blocks, block = at - column * blocks;
        const int64_t k = block * a.block + (i - at * bytes) * per_byte;
        const F scale = load_as<F>(a.scales, a.scale_type, at), zero = zero_point<F>(a, column, block, blocks);
        const unsigned byte = a.x[i];
        for (int j = 0; j < per_byte && k + j < a.depth; j++) { /* the last block may be filled up */
            const F number = F(byte >> (j * a.bits) & ((1U << a.bits) - 1));
            store_as<F>(a.y, a.dtype, column * a.depth + k + j, (number - zero) * scale);
        }
    }
}

cudaError_t bert_cuda_few_bits(const bert_cuda_few_bits_args *args, cudaStream_t stream) {
    const bert_cuda_few_bits_args a = *args;
    if (!bert_dtype_is_float(a.dtype) || !bert_dtype_is_float(a.scale_type) ||
        (a.bits != 2 && a.bits != 4 && a.bits != 8) || a.block < 16 || (a.block & (a.block - 1)) || a.columns < 0 ||
        a.depth < 0)
        return cudaErrorInvalidValue;
    if (a.zero_points && a.zero_type != BERT_UINT8 && !bert_dtype_is_float(a.zero_type)) return cudaErrorInvalidValue;
    const int64_t count = a.columns * ((a.depth + a.block - 1) / a.block) * (a.block * a.bits / 8);
    if (count == 0) return cudaSuccess;
    const dim3 grid(bert_blocks(count, THREADS)), block(THREADS);
    if (a.dtype == BERT_DOUBLE || a.scale_type == BERT_DOUBLE)
        return BERT_LAUNCH((few_bits_kernel<double>), grid, block, 0, stream, a);
    return BERT_LAUNCH((few_bits_kernel<float>), grid, block, 0, stream, a);
}
