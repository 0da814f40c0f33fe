/*
 * A block a row: the greatest magnitude first, then the bytes, from a row that is in the cache by then; 16 bytes of x a
 * thread at a time where rows allow it. The conversion is spelled out (e4m3.h), a few integer operations beside a load
 * and a store: GPUs before Ada have no instruction for it, and weights on the host and the emulator get the same bits.
 */
#include "cuda/ops/quantize_e4m3.h"

#include "cuda/ops/e4m3.h"
#include "cuda/platform.h"

enum { THREADS = 128 };

template <typename T, int N>
static __global__ void __launch_bounds__(THREADS) quantize_e4m3_kernel(bert_cuda_quantize_e4m3_args a) {
    using vector = bert_vector<T, N>;
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
        const T *x = static_cast<const T *>(a.x) + row * a.width;
        uint8_t *y = a.y + row * a.width;
        float most = 0;
        for (int64_t i = threadIdx.x * N; i < a.width; i += THREADS * N) {
            const vector values = *reinterpret_cast<const vector *>(x + i);
            BERT_UNROLL
            for (int j = 0; j < N; j++) most = fmaxf(most, fabsf(to_float(values.at[j])));
        }
        most = block_max(most, scratch);
        float scale = __fdiv_rn(most, BERT_E4M3_MOST);
        if (!(scale > 0.0F)) scale = 1;
        for (int64_t i = threadIdx.x * N; i < a.width; i += THREADS * N) {
            const vector values = *reinterpret_cast<const vector *>(x + i);
            bert_vector<uint8_t, N> bytes;
            BERT_UNROLL
            for (int j = 0; j < N; j++)
                bytes.at[j] = bert_e4m3_of_bits(__float_as_uint(__fdiv_rn(to_float(values.at[j]), scale)));
            *reinterpret_cast<bert_vector<uint8_t, N> *>(y + i) = bytes;
        }
        if (threadIdx.x == 0) a.scales[row] = scale;
    }
}

template <typename T> static cudaError_t launch(const bert_cuda_quantize_e4m3_args *a, cudaStream_t stream) {
    constexpr int N = 16 / static_cast<int>(sizeof(T));
    const dim3 grid(bert_blocks(a->rows, 1)), block(THREADS);
    if (bert_vectors_fit<N>(a->width, static_cast<const T *>(a->x)) && bert_vectors_fit<N>(a->width, a->y))
        return BERT_LAUNCH((quantize_e4m3_kernel<T, N>), grid, block, 0, stream, *a);
    return BERT_LAUNCH((quantize_e4m3_kernel<T, 1>), grid, block, 0, stream, *a);
}

cudaError_t bert_cuda_quantize_e4m3(const bert_cuda_quantize_e4m3_args *args, cudaStream_t stream) {
    if (args->rows < 0 || args->width < 0) return cudaErrorInvalidValue;
    if (args->rows == 0) return cudaSuccess;
    switch (args->dtype) {
    case BERT_FLOAT:
        return launch<float>(args, stream);
    case BERT_FLOAT16:
        return launch<__half>(args, stream);
    case BERT_BFLOAT16:
        return launch<__nv_bfloat16>(args, stream);
    default:
        return cudaErrorInvalidValue;
    }
}
