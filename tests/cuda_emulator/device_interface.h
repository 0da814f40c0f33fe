/* What the emulator's CUDA headers call: between a kernel, compiled as C++, and the emulator, compiled as C. */
#ifndef BERT_TESTS_CUDA_EMULATOR_DEVICE_INTERFACE_H
#define BERT_TESTS_CUDA_EMULATOR_DEVICE_INTERFACE_H

#include <cuda_runtime_api.h>
#include <stdint.h>

typedef struct uint3 {
    unsigned x, y, z;
} uint3;
typedef struct dim3 {
    unsigned x, y, z;
#ifdef __cplusplus
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
    constexpr dim3(uint3 of) : x(of.x), y(of.y), z(of.z) {}
#endif
} dim3;

#ifdef __cplusplus
extern "C" {
#endif

__attribute__((const)) uint3 bert_emulator_thread_index(void);
__attribute__((const)) uint3 bert_emulator_block_index(void);
__attribute__((const)) uint3 bert_emulator_block_size(void);
__attribute__((const)) uint3 bert_emulator_grid_size(void);

/** Which block of its cluster the thread is in. */
__attribute__((const)) unsigned bert_emulator_cluster_rank(void);

/** From here on the thread may touch device memory. */
void bert_emulator_begin_kernel(void);

enum {
    BERT_BARRIER_PLAIN,
    BERT_BARRIER_OR,
    BERT_BARRIER_AND,
    BERT_BARRIER_COUNT,
    BERT_BARRIER_CLUSTER,
    BERT_BARRIER_PARTING
};
/** Waits for all threads of the block. The count of those whose predicate holds, or whether any or all did. Of the
 * cluster: waits for those of all its blocks, and gives nothing; parting orders no accesses. */
int bert_emulator_barrier(int kind, int predicate, const char *file, int line);

/**
 * Lanes of `mask` wait for each other; the last to come computes what each gets. `in` and `out` are the lanes' own,
 * NULL for lanes that take no part.
 */
typedef struct bert_emulator_exchange {
    uint32_t mask;
    void *in[32];
    void *out[32];
} bert_emulator_exchange;
typedef void (*bert_emulator_resolve)(const bert_emulator_exchange *exchange);
void bert_emulator_exchange_lanes(const char *what, uint32_t mask, void *in, void *out, bert_emulator_resolve resolve,
                                  const char *file, int line);
/** The same, and memory that lanes wrote before is there for all of them. */
void bert_emulator_sync_warp(uint32_t mask, const char *file, int line);

/** `source` is a lane, -1 the own. In: bert_emulator_lane_value; out: the source's 8 bytes. */
typedef struct bert_emulator_lane_value {
    uint64_t bits;
    int source;
} bert_emulator_lane_value;
void bert_emulator_shuffle(const bert_emulator_exchange *exchange);
/** In: an int; out: the unsigned mask of lanes where it isn't 0. */
void bert_emulator_vote(const bert_emulator_exchange *exchange);

/** In: the address of a row of 16 bytes, and how many matrices there are. Out: a register of 4 bytes for each. */
typedef struct bert_emulator_row {
    const void *address;
    int matrices;
} bert_emulator_row;
void bert_emulator_ldmatrix(const bert_emulator_exchange *exchange);
void bert_emulator_ldmatrix_trans(const bert_emulator_exchange *exchange);

/** Registers of one lane for one mma: as many of each as the shape has. Out: d, 4 registers. */
typedef struct bert_emulator_fragments {
    uint32_t a[4], b[2], c[4];
} bert_emulator_fragments;
void bert_emulator_mma_f16(const bert_emulator_exchange *exchange);  /**< m16n8k16, sums in float32 */
void bert_emulator_mma_bf16(const bert_emulator_exchange *exchange); /**< m16n8k16, sums in float32 */
void bert_emulator_mma_tf32(const bert_emulator_exchange *exchange); /**< m16n8k8, sums in float32 */
void bert_emulator_mma_s8(const bert_emulator_exchange *exchange);   /**< m16n8k32, sums in int32 */

/** A shared array of the block, the same for all threads that name the tag; NULL is the dynamic one. */
void *bert_emulator_shared(const void *tag, size_t bytes, size_t alignment);

/** What the block `rank` of the cluster has where this one has `shared`, which is in shared memory. */
void bert_emulator_cluster_load(void *out, const void *shared, unsigned rank, size_t bytes);

/** Looks at an address around which `bytes` may be fetched into a cache: device memory, which may be touched later. */
void bert_emulator_prefetch(const void *address, size_t bytes);

/** Looks at an access that the compiler's instrumentation does not show: atomics. */
void bert_emulator_touch(const void *address, size_t bytes, int write, int atomic, void *code);

/** cp.async: nothing is copied before the wait, so that a kernel that forgets to wait reads what is not written. */
void bert_emulator_copy_async(void *shared, const void *global, size_t bytes, size_t valid);
void bert_emulator_copy_commit(void);
void bert_emulator_copy_wait(int groups_left);

/** `cluster`: its blocks, neighbours along x. Takes the closure over: `release` is called when it is not needed any
 * more. */
cudaError_t bert_emulator_launch(const char *name, const void *function, unsigned cluster, dim3 grid, dim3 block,
                                 size_t shared, cudaStream_t stream, void (*run)(void *), void (*release)(void *),
                                 void *closure, size_t closure_bytes);

#ifdef __cplusplus
}
#endif
#endif
