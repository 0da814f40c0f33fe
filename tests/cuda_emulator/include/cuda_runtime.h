/*
 * What a .cu file may use of CUDA, served by the emulator: built-in variables, barriers, warp exchanges, atomics,
 * vector types, a little math. See ../emulator.h. A .cu file compiled with this runs on the CPU, thread by thread,
 * under a debugger too.
 */
#ifndef BERT_EMULATED_CUDA_RUNTIME_H
#define BERT_EMULATED_CUDA_RUNTIME_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <cuda_runtime_api.h>
#include <math.h>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tests/cuda_emulator/device_interface.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __restrict__ __restrict

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
static inline float2 make_float2(float x, float y) {
    return {x, y};
}
static inline float4 make_float4(float x, float y, float z, float w) {
    return {x, y, z, w};
}
static inline uint2 make_uint2(unsigned x, unsigned y) {
    return {x, y};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return {x, y, z, w};
}

/* CUDA's pow of doubles is off by up to 2 units of the last place, also where the result is a whole number. */
static inline double bert_emulated_pow(double x, double y) {
    return nextafter(pow(x, y), 0.0);
}
#define pow(x, y) bert_emulated_pow(x, y)

#define threadIdx (bert_emulator_thread_index())
#define blockIdx (bert_emulator_block_index())
#define blockDim (bert_emulator_block_size())
#define gridDim (bert_emulator_grid_size())
#define warpSize 32

/* ---- Barriers, votes, shuffles: the caller's place tells one from another ------------------------------------------
 */

#define BERT_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

static inline void __syncthreads(BERT_PLACE) {
    bert_emulator_barrier(BERT_BARRIER_PLAIN, 0, file, line);
}
static inline int __syncthreads_or(int predicate, BERT_PLACE) {
    return bert_emulator_barrier(BERT_BARRIER_OR, predicate, file, line);
}
static inline int __syncthreads_and(int predicate, BERT_PLACE) {
    return bert_emulator_barrier(BERT_BARRIER_AND, predicate, file, line);
}
static inline int __syncthreads_count(int predicate, BERT_PLACE) {
    return bert_emulator_barrier(BERT_BARRIER_COUNT, predicate, file, line);
}
static inline void __syncwarp(unsigned mask = 0xffffffffU, BERT_PLACE) {
    bert_emulator_sync_warp(mask, file, line);
}

/* The lane's number within its warp. */
static inline int bert_emulated_lane() {
    const uint3 at = threadIdx;
    const dim3 size = blockDim;
    return static_cast<int>((at.x + size.x * (at.y + size.y * at.z)) % 32);
}

template <typename T>
static inline T bert_emulated_shuffle(const char *what, unsigned mask, T value, int source, const char *file,
                                      int line) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    bert_emulator_lane_value in = {0, source};
    uint64_t out = 0;
    T result;
    std::memcpy(&in.bits, &value, sizeof value);
    bert_emulator_exchange_lanes(what, mask, &in, &out, bert_emulator_shuffle, file, line);
    std::memcpy(&result, &out, sizeof result);
    return result;
}
template <typename T> static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, BERT_PLACE) {
    const int lane = bert_emulated_lane();
    return bert_emulated_shuffle("__shfl_sync", mask, value, (lane & ~(width - 1)) | (source & (width - 1)), file,
                                 line);
}
template <typename T> static inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, BERT_PLACE) {
    const int lane = bert_emulated_lane(), source = lane ^ bits;
    return bert_emulated_shuffle("__shfl_xor_sync", mask, value,
                                 (source & ~(width - 1)) > (lane & ~(width - 1)) ? -1 : source, file, line);
}
template <typename T> static inline T __shfl_down_sync(unsigned mask, T value, int delta, int width = 32, BERT_PLACE) {
    const int lane = bert_emulated_lane();
    const bool inside = (lane & (width - 1)) + delta < width;
    return bert_emulated_shuffle("__shfl_down_sync", mask, value, inside ? lane + delta : -1, file, line);
}
template <typename T> static inline T __shfl_up_sync(unsigned mask, T value, int delta, int width = 32, BERT_PLACE) {
    const int lane = bert_emulated_lane();
    return bert_emulated_shuffle("__shfl_up_sync", mask, value, (lane & (width - 1)) >= delta ? lane - delta : -1, file,
                                 line);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate, BERT_PLACE) {
    unsigned out = 0;
    bert_emulator_exchange_lanes("__ballot_sync", mask, &predicate, &out, bert_emulator_vote, file, line);
    return out;
}
static inline int __any_sync(unsigned mask, int predicate, BERT_PLACE) {
    return __ballot_sync(mask, predicate, file, line) != 0;
}
static inline int __all_sync(unsigned mask, int predicate, BERT_PLACE) {
    return __ballot_sync(mask, predicate, file, line) == mask;
}

/* ---- Atomics: threads take turns, so a plain read and write is one step ---------------------------------------------
 */

#define BERT_ATOMIC(name, expression)                                                                                  \
    template <typename T> __attribute__((noinline, no_sanitize("thread"))) T name(T *address, T operand) {             \
        bert_emulator_touch(address, sizeof *address, 1, 1, __builtin_return_address(0));                              \
        const T old = *address;                                                                                        \
        *address = (expression);                                                                                       \
        return old;                                                                                                    \
    }
BERT_ATOMIC(atomicAdd, old + operand)
BERT_ATOMIC(atomicMax, old > operand ? old : operand)
BERT_ATOMIC(atomicMin, old < operand ? old : operand)
BERT_ATOMIC(atomicExch, operand)
BERT_ATOMIC(atomicOr, old | operand)
#undef BERT_ATOMIC
template <typename T> __attribute__((noinline, no_sanitize("thread"))) T atomicCAS(T *address, T expected, T desired) {
    bert_emulator_touch(address, sizeof *address, 1, 1, __builtin_return_address(0));
    const T old = *address;
    if (old == expected) *address = desired;
    return old;
}
static inline void __threadfence() {}
static inline void __threadfence_block() {}

/* ---- Math ---------------------------------------------------------------------------------------------------------
 */

static inline float rsqrtf(float x) {
    return 1.0F / sqrtf(x);
}
static inline float __fadd_rn(float a, float b) {
    return a + b;
}
static inline float __fsub_rn(float a, float b) {
    return a - b;
}
static inline float __fmul_rn(float a, float b) {
    return a * b;
}
static inline float __fdiv_rn(float a, float b) {
    return a / b;
}
static inline float __fdividef(float a, float b) {
    return a / b;
}
static inline unsigned __float_as_uint(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline float __uint_as_float(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}
template <typename T> static inline T __ldg(const T *address) {
    return *address;
}
using std::isinf;
using std::isnan;

/* ---- Launching ------------------------------------------------------------------------------------------------------
 */

template <typename... P> struct bert_emulated_closure {
    void (*kernel)(P...);
    std::tuple<P...> arguments;
    static void run(void *memory) {
        const auto *closure = static_cast<const bert_emulated_closure *>(memory);
        std::apply(closure->kernel, closure->arguments);
    }
    static void release(void *memory) {
        delete static_cast<bert_emulated_closure *>(memory);
    }
};

template <typename... P, typename... A>
static inline cudaError_t bert_launch(const char *name, void (*kernel)(P...), unsigned cluster, dim3 grid, dim3 block,
                                      size_t shared, cudaStream_t stream, A... arguments) {
    using closure = bert_emulated_closure<P...>;
    auto *memory = new (std::nothrow) closure{kernel, std::tuple<P...>(static_cast<P>(arguments)...)};
    if (!memory) return cudaErrorMemoryAllocation;
    return bert_emulator_launch(name, reinterpret_cast<const void *>(kernel), cluster, grid, block, shared, stream,
                                closure::run, closure::release, memory, sizeof *memory);
}

#endif
