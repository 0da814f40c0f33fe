/* What the files of the emulator share. One launch runs at a time, so its state is global, under launch_lock. */
#ifndef BERT_TESTS_CUDA_EMULATOR_INTERNAL_H
#define BERT_TESTS_CUDA_EMULATOR_INTERNAL_H

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/fiber.h"

#include <cuda_runtime_api.h>

enum { EMU_LANES = 32, EMU_MOST_THREADS = 1024, EMU_MOST_WARPS = 32, EMU_MOST_SHARED = 32, EMU_STACK_BYTES = 64 << 10 };
enum { EMU_SHARED_PER_BLOCK = 48 << 10, EMU_SHARED_OPTIN = 99 << 10 /* sm_89's, the least of those supported */ };
enum { EMU_MOST_CLUSTER = 8 /* blocks */ };

typedef struct emu_dim3 {
    unsigned x, y, z;
} emu_dim3;

typedef enum emu_state { EMU_READY, EMU_AT_BARRIER, EMU_AT_EXCHANGE, EMU_DONE } emu_state;

/** A cp.async that has not been waited for. */
typedef struct emu_copy {
    void *to;
    const void *from;
    size_t bytes, valid;
    int group;
    void *code;
} emu_copy;
enum { EMU_MOST_COPIES = 256 };

/** A stretch of the block's shared memory that one array has. */
typedef struct emu_array {
    const void *tag;
    unsigned char *data;
    size_t bytes;
} emu_array;

/** One of the blocks that run at a time: those of a cluster, mostly one. */
typedef struct emu_block {
    emu_dim3 index;
    uint32_t rank;  /**< In its cluster. */
    uint32_t since; /**< The epoch that its last barrier began. */
    int barrier_result;
    emu_array arrays[EMU_MOST_SHARED]; /**< The first is the dynamic one. */
    int array_count;
    size_t shared_used;
} emu_block;

typedef struct emu_thread {
    emu_fiber fiber;
    uint32_t linear, warp, lane; /**< linear, warp: of all of the cluster, block after block; lane: in the warp. */
    emu_block *block;
    emu_dim3 index;
    unsigned char *stack;
    emu_state state;
    bool begun; /**< Kernels before this one have ended, as far as the thread can know. */
    /* While it waits: where, for what, with what. */
    const char *file, *what;
    int line;
    uint32_t mask;
    void *in, *out;
    void *resolve;
    int barrier_kind, predicate;
    emu_copy copies[EMU_MOST_COPIES];
    int copy_count, copy_group;
} emu_thread;

typedef struct emu_launch {
    const char *name;
    emu_dim3 grid, block_size;
    emu_block blocks[EMU_MOST_CLUSTER];
    uint32_t cluster;       /**< Blocks of one: neighbours along x. */
    uint32_t block_threads; /**< Of one block; where there are several, a multiple of 32. */
    uint32_t thread_count;  /**< Of all blocks that run at a time. */
    emu_thread *threads;
    emu_thread *current; /**< NULL while the host runs. */
    void (*run)(void *);
    void *closure;
    size_t closure_bytes;
    size_t dynamic_bytes;
    uint32_t epoch;                      /**< Grows at every barrier and cluster, over the whole process. */
    uint32_t launch_epoch;               /**< The first of this launch. */
    uint32_t cluster_epoch;              /**< The first of this cluster. */
    uint32_t cluster_since;              /**< The epoch that the cluster's last barrier began. */
    uint32_t warp_epoch[EMU_MOST_WARPS]; /**< Grows at every __syncwarp. */
    cudaError_t error;                   /**< Set: the launch is over. */
    emu_fiber host;
} emu_launch;
extern emu_launch emu;

/** Who touched a byte last; what is older than the launch does not matter. */
typedef struct emu_cell {
    uint32_t write_epoch, write_warp_epoch;
    uint16_t write_thread;
    bool write_atomic, copying; /**< copying: a cp.async to it was begun and not waited for. */
    uint8_t read_warp;          /**< The warp that read last, and in which of its epochs, and which of its lanes. */
    uint32_t read_epoch;        /**< Of the last read. */
    uint32_t read_earlier;      /**< Of the last read by an earlier cluster. */
    uint32_t read_beside;       /**< Of the last read by another block of this cluster than read_warp's. */
    uint32_t read_warps;        /**< Of read_warp's block, that read since its last barrier. */
    uint32_t read_warp_epoch, read_lanes;
} emu_cell;

/** Notes an access and reports a race, or a read of shared memory that was not written. */
void emu_shadow_access(emu_cell *cells, size_t bytes, const emu_thread *thread, bool write, bool atomic, bool shared,
                       void *code, const void *address);
/** Notes that the thread's cp.async to these bytes of shared memory begins, whose writes may come at any time now. */
void emu_shadow_begin_copy(const void *shared, size_t bytes);
extern emu_cell *const emu_shared_cells;
/** EMU_SHARED_BYTES for each block of a cluster, one after the other. */
unsigned char *emu_shared_memory(void);
enum { EMU_SHARED_BYTES = 128 << 10 };
/** An array of a block, made where there is none of the tag. */
void *emu_shared_array(emu_block *block, const void *tag, size_t bytes, size_t alignment);

/** As `thread` does it. False when the launch is over. */
bool emu_access(const emu_thread *thread, const void *address, size_t bytes, bool write, bool atomic, void *code);

/** Reports a thread that touches device memory too early. */
void emu_check_begun(const emu_thread *thread, void *code);

__attribute__((format(printf, 4, 5))) void emu_report(bert_emulator_kind kind, const emu_thread *thread, void *code,
                                                      const char *format, ...);
/** The launch is over: back to the host if a kernel's thread asks. */
void emu_abort(cudaError_t error);
/** Lets other threads of the block run. */
void emu_wait(emu_thread *thread, emu_state state);

/* Device memory. */
typedef struct emu_buffer {
    unsigned char *data;
    size_t bytes;
} emu_buffer;
/** The allocation that holds the address; else NULL and *nearest one that lies close (may be NULL). */
const emu_buffer *emu_find_buffer(const void *address, const emu_buffer **nearest);
/** The cells of an address of device memory; NULL outside the heap. */
emu_cell *emu_heap_cells(const void *address);
/** Whether the stretch lies in one allocation of the device; or, where `device` is false, outside its memory. */
bool emu_is_where(const void *memory, size_t bytes, bool device);
/** One thread of the host at a time; they nest. */
void emu_lock(void);
void emu_unlock(void);

/** cudaSuccess, or what bert_emulator_fail_after asked for. */
cudaError_t emu_planned_failure(void);
cudaError_t emu_set_error(cudaError_t error);
size_t emu_dynamic_limit(const void *function);

/** A launch as it was asked for. */
typedef struct emu_kernel {
    const char *name;
    emu_dim3 grid, block;
    uint32_t cluster; /**< Blocks along x. */
    size_t shared;
    void (*run)(void *closure);
    void (*release)(void *closure);
    void *closure;
    size_t closure_bytes;
} emu_kernel;

/** Runs a kernel now. */
cudaError_t emu_run(const emu_kernel *kernel);

#endif
