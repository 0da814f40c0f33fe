/*
 * What a .cu file of bert.c may use of CUDA, beyond the language: this header and tensor_core.h, nothing else. Compiled
 * by nvcc it is CUDA; compiled as C++ with the emulator's headers (tests/cuda_emulator) the same file runs on the CPU,
 * watched. Some things are spelled differently from plain CUDA, so that both compilers understand them:
 *
 *   BERT_SHARED(float, sums, 32);            __shared__ float sums[32], aligned to 16 bytes
 *   BERT_SHARED_DYNAMIC(__half, tile);       extern __shared__ ... tile[]
 *   BERT_LAUNCH((kernel<T>), grid, block, shared_bytes, stream, arguments...)      a cudaError_t
 *   BERT_LAUNCH_CLUSTERS((kernel<T>), blocks, grid, ...)      the same, `blocks` neighbours along x in a cluster
 *   BERT_UNROLL for (...)   BERT_ROLLED for (...)      #pragma unroll, #pragma unroll 1
 *
 * And every kernel begins with begin_kernel().
 */
#ifndef BERT_CUDA_PLATFORM_H
#define BERT_CUDA_PLATFORM_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "cuda/launch.h"

#include <bert/types.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <type_traits>

/* ---- Shared memory and launches ------------------------------------------------------------------------------------
 */

#ifdef BERT_CUDA_EMULATED

#define BERT_SHARED(type, name, count)                                                                                 \
    static const char name##_tag = 0;                                                                                  \
    type *const name = static_cast<type *>(bert_emulator_shared(&name##_tag, (count) * sizeof(type), 16))
#define BERT_SHARED_DYNAMIC(type, name) type *const name = static_cast<type *>(bert_emulator_shared(nullptr, 0, 16))
#define BERT_LAUNCH_CLUSTERS(kernel, cluster, grid, block, shared, stream, ...)                                        \
    bert_launch(#kernel, kernel, cluster, grid, block, shared, stream, __VA_ARGS__)
#define BERT_UNROLL
#define BERT_ROLLED

#else

#define BERT_SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define BERT_SHARED_DYNAMIC(type, name)                                                                                \
    extern __shared__ __align__(16) unsigned char bert_dynamic_shared[];                                               \
    type *const name = reinterpret_cast<type *>(bert_dynamic_shared)
#define BERT_LAUNCH_CLUSTERS(kernel, cluster, grid, block, shared, stream, ...)                                        \
    bert_launch(kernel, cluster, grid, block, shared, stream, __VA_ARGS__)
#define BERT_UNROLL _Pragma("unroll")
#define BERT_ROLLED _Pragma("unroll 1")

template <typename... P, typename... A>
static inline cudaError_t bert_launch(void (*kernel)(P...), unsigned cluster, dim3 grid, dim3 block, size_t shared,
                                      cudaStream_t stream, A... arguments) {
    cudaLaunchAttribute attributes[2] = {};
    unsigned count = 0;
    if (bert_cuda_launch_ahead) {
        attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[count++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (cluster > 1) {
        attributes[count].id = cudaLaunchAttributeClusterDimension;
        attributes[count].val.clusterDim.x = cluster;
        attributes[count].val.clusterDim.y = attributes[count].val.clusterDim.z = 1;
        count++;
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = count;
    return cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...);
}

#endif

#define BERT_LAUNCH(kernel, grid, block, shared, stream, ...)                                                          \
    BERT_LAUNCH_CLUSTERS(kernel, 1, grid, block, shared, stream, __VA_ARGS__)

/** What code has that is compiled for Hopper and later, and no earlier one: launches ahead, clusters. */
#if defined(BERT_CUDA_EMULATED) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900)
#define BERT_HOPPER 1
#else
#define BERT_HOPPER 0
#endif

/** Whether the current device runs such code of a kernel. A GPU may run code for an earlier one, which a driver
 * compiles for it. */
template <typename... P> static inline bool bert_runs_for_hopper(void (*kernel)(P...)) {
    cudaFuncAttributes attributes = {};
    return cudaFuncGetAttributes(&attributes, reinterpret_cast<const void *>(kernel)) == cudaSuccess &&
           attributes.ptxVersion >= 90;
}

/**
 * The first statement of every kernel, but for prefetch and what that takes: what came before in the stream has ended,
 * and what it wrote is there, when it returns. A kernel may have been launched earlier than that (launch.h).
 *
 * After that it lets the next kernel come, which a GPU does when every block of this one has got here, so that no block
 * waits for a place that a later kernel took. The next one waits for the end of this whole kernel, and so for the end
 * of all before it, as this one had to wait for them: that is why no thread may leave a kernel before. It comes only
 * now for the sake of kernels that aren't ours: whatever one of the library's touches before it waits, the kernel
 * before ours has ended. Arguments are no device memory, and may be looked at before.
 */
static __device__ inline void begin_kernel() {
#if defined(BERT_CUDA_EMULATED)
    bert_emulator_begin_kernel();
#elif BERT_HOPPER
    asm volatile("griddepcontrol.wait;\n\t"
                 "griddepcontrol.launch_dependents;" ::
                     : "memory");
#endif
}

/** Bytes that one prefetch is counted on for. A line of L2 has 128, but a GPU may fetch less of it at a time
 * (cudaLimitMaxL2FetchGranularity). */
enum { BERT_PREFETCHED = 64 };

/**
 * Asks for the BERT_PREFETCHED bytes around an address of device memory to be brought into L2. Nothing is read, so that
 * it may stand before begin_kernel, even for what the kernel before still writes: L2 has what is written. (Hopper's
 * cp.async.bulk.prefetch takes whole rows, but the lanes of a warp one after the other.)
 */
static __device__ inline void prefetch(const void *address) {
#if defined(BERT_CUDA_EMULATED)
    bert_emulator_prefetch(address, BERT_PREFETCHED);
#else
    asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(address)));
#endif
}

/** Lets a kernel have more dynamic shared memory than the 48 KiB that all have. Cheap to repeat; always the same for a
 * kernel, which other threads launch by what they allowed. */
template <typename... P> static inline cudaError_t bert_allow_shared(void (*kernel)(P...), size_t bytes) {
    if (bytes <= 48U << 10) return cudaSuccess;
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                static_cast<int>(bytes));
}

/** Tiles of `side` items that hold `count` of them, the last one maybe in part. */
static inline int64_t bert_tiles(int64_t count, int64_t side) {
    return count / side + (count % side != 0);
}

/** Blocks for `count` items with `per_block` each, at most `most`: the kernel strides over the rest. At least one. */
static inline unsigned bert_blocks(int64_t count, int64_t per_block, int64_t most = 1 << 16) {
    const int64_t blocks = bert_tiles(count, per_block);
    return static_cast<unsigned>(blocks < 1 ? 1 : blocks > most ? most : blocks);
}

/* ---- Elements ------------------------------------------------------------------------------------------------------
 */

/* Kernels compute in float, whatever the type of the elements. */
static __device__ inline float to_float(float x) {
    return x;
}
static __device__ inline float to_float(__half x) {
    return __half2float(x);
}
static __device__ inline float to_float(__nv_bfloat16 x) {
    return __bfloat162float(x);
}
template <typename T> __device__ inline T from_float(float x);
template <> __device__ inline float from_float<float>(float x) {
    return x;
}
template <> __device__ inline __half from_float<__half>(float x) {
    return __float2half_rn(x);
}
template <> __device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}

/** 2^x, good to 2 units in the last place; 0 below 2^-126, for which exp2f takes three more instructions. */
static __device__ inline float exp2_near(float x) {
#ifdef BERT_CUDA_EMULATED
    return x < -126.0F ? 0.0F : exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

/** N elements that are loaded and stored in one go: their address is a multiple of their size. */
template <typename T, int N> struct alignas(sizeof(T) * N) bert_vector { T at[N]; };

/**
 * N elements that were loaded in one go, still in the words that a load gives. nvcc takes a vector of 16-bit elements
 * apart where it was loaded, if that depends on anything: each element gets a register of its own, and the next load
 * has to wait for this one.
 */
template <typename T, int N> struct bert_packed {
    static_assert(sizeof(T) == 2 || sizeof(T) == 4, "elements of half a word or a word");
    using word = std::conditional_t<sizeof(T) * N % 4 == 0, uint32_t, uint16_t>;
    static constexpr int PER_WORD = static_cast<int>(sizeof(word) / sizeof(T));
    bert_vector<word, N / PER_WORD> words;

    __device__ void load(const T *from) {
        words = *reinterpret_cast<const bert_vector<word, N / PER_WORD> *>(from);
    }
    __device__ bert_vector<T, N> unpack() const {
        bert_vector<T, N> x;
        BERT_UNROLL
        for (int i = 0; i < N; i++) x.at[i] = get(i);
        return x;
    }
    __device__ T get(int i) const {
        const word element = static_cast<word>(words.at[i / PER_WORD] >> i % PER_WORD * 16);
        T x;
        memcpy(&x, &element, sizeof x);
        return x;
    }
};

/** Stores a vector in one go, which nvcc may not do: of one that is assigned it can make a store for each element. */
template <typename T, int N> static __device__ inline void store_vector(T *to, const bert_vector<T, N> &vector) {
#ifndef BERT_CUDA_EMULATED
    if constexpr (sizeof vector == 8) {
        uint32_t w[2];
        memcpy(w, &vector, sizeof w);
        asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(to)), "r"(w[0]), "r"(w[1])
                     : "memory");
        return;
    }
    if constexpr (sizeof vector == 16) {
        uint32_t w[4];
        memcpy(w, &vector, sizeof w);
        asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "r"(w[0]),
                     "r"(w[1]), "r"(w[2]), "r"(w[3])
                     : "memory");
        return;
    }
#endif
    *reinterpret_cast<bert_vector<T, N> *>(to) = vector;
}

/** Fills a vector from x[at] on in one go. One that was returned, the emulator would see as single elements, and miss
 * that it is misaligned. */
template <typename T, int N>
static __device__ inline void load_vector(bert_vector<T, N> *to, const void *x, int64_t at) {
    *to = *reinterpret_cast<const bert_vector<T, N> *>(static_cast<const T *>(x) + at);
}

/**
 * The same where `there`, else zeros; loads by calls that follow each other are under way together. Of a plain load
 * behind a condition nvcc makes a branch, moves what converts the elements into it, and so waits for each load before
 * the next.
 */
template <typename T, int N>
static __device__ inline void load_vector_if(bert_vector<T, N> *to, const T *x, int64_t at, bool there) {
#ifdef BERT_CUDA_EMULATED
    *to = {};
    if (there) load_vector(to, x, at);
#else
    static_assert(sizeof *to % 16 == 0, "whole loads of 16 bytes");
    uint32_t w[sizeof *to / 4];
    BERT_UNROLL
    for (int i = 0; i < static_cast<int>(sizeof *to / 4); i += 4) {
        asm volatile("{\n\t"
                     ".reg .pred there;\n\t"
                     "setp.ne.b32 there, %5, 0;\n\t"
                     "mov.b32 %0, 0;\n\t"
                     "mov.b32 %1, 0;\n\t"
                     "mov.b32 %2, 0;\n\t"
                     "mov.b32 %3, 0;\n\t"
                     "@there ld.global.v4.b32 {%0, %1, %2, %3}, [%4];\n\t"
                     "}"
                     : "=&r"(w[i]), "=&r"(w[i + 1]), "=&r"(w[i + 2]), "=&r"(w[i + 3])
                     : "l"(__cvta_generic_to_global(reinterpret_cast<const uint32_t *>(x + at) + i)),
                       "r"(static_cast<int>(there))
                     : "memory");
    }
    memcpy(to, w, sizeof w);
#endif
}

/** Whether each pointer (NULL too) and each row of `width` elements begins at a multiple of N elements. */
template <int N, typename T> static inline bool bert_vectors_fit(int64_t width, const T *pointer) {
    return width % N == 0 && reinterpret_cast<uintptr_t>(pointer) % (N * sizeof(T)) == 0;
}

/* ---- Warps and blocks ----------------------------------------------------------------------------------------------
 */

#define BERT_ALL_LANES 0xffffffffU
enum { BERT_WARP = 32 };

static __device__ inline float warp_sum(float x) {
    for (int step = BERT_WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(BERT_ALL_LANES, x, step);
    return x;
}
/* fmaxf and fminf leave NaN out; so do ranges. */
static __device__ inline float warp_max(float x) {
    for (int step = BERT_WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(BERT_ALL_LANES, x, step));
    return x;
}

/**
 * The sum of x over the block, for all threads; blockDim.x a multiple of 32, blockDim.y and z 1. `scratch`: 33 floats
 * of shared memory, which calls that follow each other may share: one writes parts while another may still read the
 * total of the call before, which lies apart. The order of summation depends on the size of the block alone.
 */
static __device__ inline float block_sum(float x, float *scratch) {
    const int lane = static_cast<int>(threadIdx.x) % BERT_WARP, warp = static_cast<int>(threadIdx.x) / BERT_WARP;
    const int warps = static_cast<int>(blockDim.x) / BERT_WARP;
    x = warp_sum(x);
    if (warps == 1) return x;
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    if (warp == 0) {
        const float total = warp_sum(lane < warps ? scratch[lane] : 0.0F);
        if (lane == 0) scratch[BERT_WARP] = total;
    }
    __syncthreads();
    return scratch[BERT_WARP];
}

/** The same for the greatest. */
static __device__ inline float block_max(float x, float *scratch) {
    const int lane = static_cast<int>(threadIdx.x) % BERT_WARP, warp = static_cast<int>(threadIdx.x) / BERT_WARP;
    const int warps = static_cast<int>(blockDim.x) / BERT_WARP;
    x = warp_max(x);
    if (warps == 1) return x;
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    if (warp == 0) {
        const float greatest = warp_max(lane < warps ? scratch[lane] : scratch[0]);
        if (lane == 0) scratch[BERT_WARP] = greatest;
    }
    __syncthreads();
    return scratch[BERT_WARP];
}

/* ---- Clusters (Hopper) ----------------------------------------------------------------------------------------------
 *
 * Blocks that a GPU runs at the same time and whose shared memory they may read of each other, launched by
 * BERT_LAUNCH_CLUSTERS. Code for earlier GPUs has them compiled to nothing; nobody may launch it.
 */

/** Which block of its cluster this is. */
static __device__ inline unsigned cluster_rank() {
    unsigned rank = 0;
#if defined(BERT_CUDA_EMULATED)
    rank = bert_emulator_cluster_rank();
#elif BERT_HOPPER
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
    return rank;
}

#ifdef BERT_CUDA_EMULATED

static inline void cluster_barrier(BERT_PLACE) {
    bert_emulator_barrier(BERT_BARRIER_CLUSTER, 0, file, line);
}
static inline void cluster_part(BERT_PLACE) {
    bert_emulator_barrier(BERT_BARRIER_PARTING, 0, file, line);
}

#else

/** Waits for all threads of all blocks of the cluster, none of which may have ended; what they wrote to shared memory
 * can be read by all of them. */
static __device__ inline void cluster_barrier() {
#if BERT_HOPPER
    asm volatile("barrier.cluster.arrive.release.aligned;\n\t"
                 "barrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
#endif
}

/** The last that blocks of a cluster do together: none goes on, to its end, while another may still load from it. What
 * a thread loaded must have been used before, in something that it stored: this orders no loads, nor waits for what was
 * written to be seen, which takes a GPU longer than all the rest. */
static __device__ inline void cluster_part() {
#if BERT_HOPPER
    asm volatile("barrier.cluster.arrive.relaxed.aligned;\n\t"
                 "barrier.cluster.wait.aligned;" ::
                     : "memory");
#endif
}

#endif

/** Four words that block `rank` has where this one has `shared`, at a multiple of 16 bytes. That block is not to end
 * meanwhile: cluster_part comes after the last load. */
static __device__ inline void cluster_load(uint32_t (&out)[4], const void *shared, unsigned rank) {
#if defined(BERT_CUDA_EMULATED)
    bert_emulator_cluster_load(out, shared, rank, sizeof out);
#elif BERT_HOPPER
    uint32_t there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;"
        : "=r"(there)
        : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(shared))), "r"(rank));
    asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(there)
                 : "memory");
#endif
}

#endif
