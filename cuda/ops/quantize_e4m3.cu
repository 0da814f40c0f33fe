/*
 * A block a row: the greatest magnitude first, then the bytes, from a row that is in the cache by then. The conversion
 * is spelled out, a few integer operations beside a load and a store: GPUs before Ada have no instruction for it, and
 * the emulator computes the same bits.
 */
#include "cuda/ops/quantize_e4m3.h"

#include "cuda/platform.h"

enum { THREADS = 128 };

static const float greatest_e4m3 = 448.0F;

/* To nearest, ties to even, at most 448. E4M3: a sign, 4 bits of exponent with a bias of 7, 3 of fraction; no infinity.
 */
static __device__ inline uint8_t to_e4m3(float x) {
    const uint32_t bits = __float_as_uint(x);
    const uint32_t sign = bits >> 24 & 0x80, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return static_cast<uint8_t>(sign | 0x7f);
    if (magnitude >= 0x43e00000) return static_cast<uint8_t>(sign | 0x7e);
    if (magnitude < 0x3c800000) /* below 2^-6: multiples of 2^-9 */
        return static_cast<uint8_t>(sign | static_cast<uint32_t>(rintf(fabsf(x) * 512.0F)));
    const uint32_t rounded = magnitude + 0x7ffff + (magnitude >> 20 & 1);
    return static_cast<uint8_t>(sign | ((rounded >> 20) - (120U << 3)));
}

template <typename T>
static __global__ void __launch_bounds__(THREADS) quantize_e4m3_kernel(bert_cuda_quantize_e4m3_args a) {
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
        const T *x = static_cast<const T *>(a.x) + row * a.width;
        uint8_t *y = a.y + row * a.pitch;
        float most = 0;
        for (int64_t i = threadIdx.x; i < a.width; i += THREADS) most = fmaxf(most, fabsf(to_float(x[i])));
        most = block_max(most, scratch);
        float scale = __fdiv_rn(most, greatest_e4m3);
        if (!(scale > 0.0F)) scale = 1;
        for (int64_t i = threadIdx.x; i < a.pitch; i += THREADS)
            y[i] = i < a.width ? to_e4m3(__fdiv_rn(to_float(x[i]), scale)) : static_cast<uint8_t>(0);
        if (threadIdx.x == 0) a.scales[row] = scale;
    }
}

cudaError_t bert_cuda_quantize_e4m3(const bert_cuda_quantize_e4m3_args *args, cudaStream_t stream) {
    if (args->rows < 0 || args->width < 0 || args->pitch < args->width) return cudaErrorInvalidValue;
    if (args->rows == 0) return cudaSuccess;
    const dim3 grid(bert_blocks(args->rows, 1)), block(THREADS);
    switch (args->dtype) {
    case BERT_FLOAT:
        return BERT_LAUNCH((quantize_e4m3_kernel<float>), grid, block, 0, stream, *args);
    case BERT_FLOAT16:
        return BERT_LAUNCH((quantize_e4m3_kernel<__half>), grid, block, 0, stream, *args);
    case BERT_BFLOAT16:
        return BERT_LAUNCH((quantize_e4m3_kernel<__nv_bfloat16>), grid, block, 0, stream, *args);
    default:
        return cudaErrorInvalidValue;
    }
}
