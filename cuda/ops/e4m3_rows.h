/*
 * A row as E4M3 with its scale, by the threads that have it at hand. What quantize_e4m3 and the kernels that write such
 * rows share: whoever makes them, they are those of quantize_e4m3.h, to the last bit. For .cu files.
 */
#ifndef BERT_CUDA_OPS_E4M3_ROWS_H
#define BERT_CUDA_OPS_E4M3_ROWS_H

#include "cuda/ops/e4m3.h"
#include "cuda/ops/op.h"
#include "cuda/platform.h"

/* Ada and Hopper convert two numbers with one instruction, which CUDA has from 12.1 on for both. */
#if defined __CUDA_ARCH__ && __CUDA_ARCH__ >= 890 &&                                                                   \
    (__CUDACC_VER_MAJOR__ > 12 || (__CUDACC_VER_MAJOR__ == 12 && __CUDACC_VER_MINOR__ >= 1))
#define BERT_E4M3_INSTRUCTION 1
#else
#define BERT_E4M3_INSTRUCTION 0
#endif

/** Two numbers, the first in the low byte. */
static __device__ inline uint16_t e4m3_pair(float first, float second) {
#if BERT_E4M3_INSTRUCTION
    uint16_t pair;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(second), "f"(first));
    return pair;
#else
    return static_cast<uint16_t>(bert_e4m3_of_bits(__float_as_uint(first)) | bert_e4m3_of_bits(__float_as_uint(second))
                                                                                 << 8);
#endif
}

/** Of elements as they are stored; NaN has no part in it. */
template <typename T, int N> static __device__ inline float greatest_magnitude(const bert_vector<T, N> &x) {
    float most = 0;
    BERT_UNROLL
    for (int i = 0; i < N; i++) most = fmaxf(most, fabsf(to_float(x.at[i])));
    return most;
}

/** A row's scale, and what its elements are multiplied by. */
struct e4m3_scale {
    float scale, inverse;

    /** `most`: of the magnitudes of the whole row. */
    __device__ explicit e4m3_scale(float most) : scale(bert_e4m3_scale(most)), inverse(1.0F / scale) {}

    /** N elements of the row, as they are stored, to `to` as bytes. N is 1 or a multiple of 4. */
    template <typename T, int N> __device__ void store(bert_vector<T, N> x, uint8_t *to) const {
        bert_vector<uint8_t, N> bytes;
        float scaled[N];
        BERT_UNROLL
        for (int i = 0; i < N; i++) scaled[i] = to_float(x.at[i]) * inverse;
        if constexpr (N == 1) {
            bytes.at[0] = static_cast<uint8_t>(e4m3_pair(scaled[0], 0));
        } else {
            uint32_t words[N / 4];
            BERT_UNROLL
            for (int i = 0; i < N; i += 4) {
                const uint32_t low = e4m3_pair(scaled[i], scaled[i + 1]);
                words[i / 4] = low | static_cast<uint32_t>(e4m3_pair(scaled[i + 2], scaled[i + 3])) << 16;
            }
            memcpy(&bytes, words, sizeof bytes);
        }
        store_vector(to, bytes);
    }
};

/**
 * Row `row` of `to` from x, its elements as they are stored: N of them at a time, from threadIdx.x N on in steps of the
 * block, so that each thread may take what it has just written itself. `most`: the row's, in every thread.
 */
template <typename T, int N>
static __device__ inline void write_e4m3_row(const T *x, int64_t width, float most, const bert_cuda_e4m3_rows &to,
                                             int64_t row) {
    const e4m3_scale scale(most);
    const int64_t step = static_cast<int64_t>(blockDim.x) * N;
    for (int64_t i = static_cast<int64_t>(threadIdx.x) * N; i < width; i += step) {
        scale.store(*reinterpret_cast<const bert_vector<T, N> *>(x + i), to.bytes + row * width + i);
    }
    if (threadIdx.x == 0) to.scales[row] = scale.scale;
}

#endif
