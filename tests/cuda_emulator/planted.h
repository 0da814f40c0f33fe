/* Kernels with and without a planted fault, for the emulator's own tests. */
#ifndef BERT_TESTS_CUDA_EMULATOR_PLANTED_H
#define BERT_TESTS_CUDA_EMULATOR_PLANTED_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum planted_fault {
    PLANTED_NONE,
    PLANTED_MISSING_BARRIER,
    PLANTED_SWAPPED_LANE,
    PLANTED_OFF_BY_ONE,       /* a shared array */
    PLANTED_OVERRUN,          /* device memory, written */
    PLANTED_OVERREAD,         /* device memory, read */
    PLANTED_NOT_WRITTEN,      /* shared memory */
    PLANTED_MISALIGNED,       /* a load of 16 bytes */
    PLANTED_DIVERGED_BARRIER, /* half of the threads skip it */
    PLANTED_DIVERGED_LANES,   /* half of a warp shuffles */
    PLANTED_ABSENT_LANE,      /* the mask leaves a source out */
    PLANTED_BLOCKS_COLLIDE,   /* two blocks write one element */
    PLANTED_NO_SYNCWARP,
    PLANTED_NO_WAIT,      /* for a copy in the background */
    PLANTED_NO_WAIT_NEXT, /* for the next one to the same place, where something is already */
    PLANTED_COPIED_OVER,  /* a copy in the background begins where others may still read; a barrier comes before its end
                           */
    PLANTED_COPIED_ELSEWHERE, /* in the background, into device memory */
    PLANTED_STRAY,            /* a wild address */
    PLANTED_TOO_EARLY,        /* device memory, or a copy from it, before the kernel before has ended */
    PLANTED_LEFT_EARLY,       /* a block ends before it has */
    /* Of a cluster: */
    PLANTED_BLOCKS_BARRIER, /* a barrier of each block in the place of the cluster's */
    PLANTED_PARTING,        /* in its place, which orders nothing */
    PLANTED_WRITTEN_AGAIN,  /* while another block reads it */
    PLANTED_ENDED_BLOCK,    /* is read from */
    PLANTED_SKIPPED,        /* by one block: the cluster's barrier */
    PLANTED_FAR_BLOCK,      /* not of this cluster */
    PLANTED_FAR_PREFETCH    /* of device memory that isn't there */
} planted_fault;

/** y[i] = sum of x over the i-th block of `threads` elements; threads a multiple of 32. x and y are device memory. */
cudaError_t planted_sums(const float *x, float *y, int blocks, int threads, planted_fault fault, cudaStream_t stream);
/** y[i] = x[i ^ 1] by way of shared memory and __syncwarp. One warp. */
cudaError_t planted_swap(const float *x, float *y, planted_fault fault, cudaStream_t stream);
/** y [64] = x [64] through shared memory by copies of 16 bytes in the background. */
cudaError_t planted_copy(const float *x, float *y, planted_fault fault, cudaStream_t stream);
/** d [16][8] = a [16][16] b [16][8] for elements of 16 bits; `swapped` exchanges two registers of A. */
cudaError_t planted_product(const uint16_t *a, const uint16_t *b, float *d, int bf16, int swapped, cudaStream_t stream);
/** d [16][8] = a [16][k] b [k][8]: tf32 (k 8, floats), or signed bytes (k 32). */
cudaError_t planted_product_tf32(const float *a, const float *b, float *d, cudaStream_t stream);
cudaError_t planted_product_s8(const int8_t *a, const int8_t *b, int32_t *d, cudaStream_t stream);
/** y [blocks][32] = x [blocks][32] of the next block of the cluster, by way of that one's shared memory, a block a row.
 */
cudaError_t planted_neighbours(const float *x, float *y, int cluster, int blocks, planted_fault fault,
                               cudaStream_t stream);
/** counts[x[i]] += 1 with atomics, or (fault) without. */
cudaError_t planted_histogram(const int32_t *x, int32_t *counts, int n, int atomic, cudaStream_t stream);
/** Each lane's vote, its ballot and what lanes below it hold: y [32][4] = {any, all, ballot, up by 1}. */
cudaError_t planted_votes(const int32_t *x, uint32_t *y, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
