/*
 * The SIMT emulator: runs the kernels of cuda/ on the CPU and watches what they do.
 *
 * A .cu file is compiled as C++ with the headers in include/ in place of CUDA's, and with the compiler's own
 * instrumentation of memory accesses (-fsanitize=thread, of which only the calls are used: access.c answers them, not
 * the sanitizer). So kernels stay as they are, and every load and store of a kernel is looked at:
 *
 *   - it must lie in a live allocation of device memory, in one shared array of the block, in the thread's own stack,
 * or, to read, in constants and launch parameters; and be aligned to its size;
 *   - shared memory must be written by the block before it is read;
 *   - two threads may not touch the same byte, one of them writing, unless a __syncthreads (of one block), a __syncwarp
 *     (of one warp) or the end of the kernel lies between; atomics may meet atomics;
 *   - device memory may not be touched by a thread, nor a copy from it be begun, before its begin_kernel, which waits
 *     for the kernel before (a GPU lets two overlap up to there), and no thread may end without it.
 *
 * Each thread of a block is a fiber with a stack of its own; a block runs after the other. A thread runs until it waits
 * at __syncthreads or at an exchange between the lanes of a warp (shuffle, vote, __syncwarp, ldmatrix, mma). If none
 * can go on and not all are done, the block has diverged: that is reported with the places at which they wait.
 *
 * Faults are kept in a list. A bad address or divergence ends the launch, which reports the error that a GPU would;
 * after a race, a read of unwritten memory or an access too early the kernel goes on.
 */
#ifndef BERT_TESTS_CUDA_EMULATOR_H
#define BERT_TESTS_CUDA_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bert_emulator_kind {
    BERT_EMULATOR_OUT_OF_BOUNDS, /**< The address belongs to nothing that the thread may touch so. */
    BERT_EMULATOR_MISALIGNED,
    BERT_EMULATOR_RACE,
    BERT_EMULATOR_UNINITIALIZED, /**< Shared memory was read that the block has not written. */
    BERT_EMULATOR_DIVERGENCE,    /**< Threads wait for each other at different places, or for one that has ended. */
    BERT_EMULATOR_BAD_LANE,      /**< An exchange with a lane that does not take part. */
    BERT_EMULATOR_TOO_EARLY,     /**< Device memory was touched before begin_kernel, or it was never called. */
    BERT_EMULATOR_LESS_SHARED    /**< A kernel was allowed less shared memory than before, which others launch it by. */
} bert_emulator_kind;

typedef struct bert_emulator_fault {
    bert_emulator_kind kind;
    char kernel[96];
    uint32_t block[3], thread[3];
    void *code; /**< Where in the program, for addr2line; NULL where the message has the place. */
    char message[256];
} bert_emulator_fault;

/** Faults since the last clear; the first 64 are kept, all are counted. Not while a kernel runs. */
size_t bert_emulator_fault_count(void);
const bert_emulator_fault *bert_emulator_fault_at(size_t index);
void bert_emulator_clear(void);
/** One line: kernel, block, thread, message, file and line. */
void bert_emulator_describe(const bert_emulator_fault *fault, char *out, size_t size);
/** Prints those kept to standard error. */
void bert_emulator_print(void);

/** The order in which threads of a block get their turns: 0 ascending (the default), 1 descending, more: shuffled. */
void bert_emulator_order(uint32_t order);

/** Device memory that cudaMalloc gives at most; the default is 4 GiB. */
void bert_emulator_memory_limit(size_t bytes);
/**
 * The call of cudaMalloc, cudaMemcpyAsync, a launch ... that comes after `calls` others fails with `error`; none where
 * `calls` is negative. Gives whether a failure that was ordered before has come.
 */
bool bert_emulator_fail_after(long calls, int error);
/** What the GPU that is emulated has of products of E4M3; at first all there is. */
typedef enum bert_emulator_e4m3_products {
    BERT_EMULATOR_NO_E4M3,
    BERT_EMULATOR_E4M3,       /**< Without scales of rows and columns. */
    BERT_EMULATOR_E4M3_SCALED /**< And with them. */
} bert_emulator_e4m3_products;
void bert_emulator_have_e4m3(bert_emulator_e4m3_products products);
/** Products with scales are there for k up to so many times n, and not with a bias for this n. */
enum { BERT_EMULATOR_E4M3_DEPTH = 8, BERT_EMULATOR_E4M3_UNBIASED = 80 };
/** The CUDA version that the driver has, as cudaDriverGetVersion gives it; at first CUDART_VERSION. 0: no driver. */
void bert_emulator_have_driver(int version);
/** The compute capability of the GPU that is emulated; at first 8.9. */
void bert_emulator_have_capability(int major, int minor);
/** What kernels are compiled for at most, as cudaFuncGetAttributes gives it; at first 90. The GPU takes no later code.
 */
void bert_emulator_have_code(int version);
/** Whether no graph can be made of what is captured, and whether work is refused while it is captured. */
void bert_emulator_refuse_graphs(bool refuse);
void bert_emulator_refuse_captured_work(bool refuse);

/** Around host code that stands in for a library's kernels (GEMM): makes device memory accessible. They nest. */
void bert_emulator_device_begin(void);
void bert_emulator_device_end(void);
/**
 * Runs `work` as a stream would: now, or when the graph is launched that the stream is captured into. `argument` is
 * copied. Returns a cudaError_t. `stream` is a cudaStream_t.
 */
int bert_emulator_enqueue(void *stream, void (*work)(void *argument), const void *argument, size_t bytes);

/** Kernels launched since bert_emulator_count; without it, since the program began. */
uint64_t bert_emulator_launches(void);
/** Counts from 0 on the kernels whose names have `name` in them; NULL: all. `name` lives until the next call. */
void bert_emulator_count(const char *name);
/** From now on runs `work` after each kernel whose name has `name` in it, with device memory accessible: to make wrong
 * what it wrote. NULL: no longer. What is given lives until the next call. */
void bert_emulator_after(const char *name, void (*work)(void *argument), void *argument);
/** Blocks of a cluster of the last launch. */
unsigned bert_emulator_last_cluster(void);
/** Bytes that kernels had fetched into a cache since the last call. */
size_t bert_emulator_prefetched(void);
/** Graphs launched, and copies from the host to the device, since the program began. */
uint64_t bert_emulator_graph_launches(void);
uint64_t bert_emulator_uploads(void);

#ifdef __cplusplus
}
#endif
#endif
