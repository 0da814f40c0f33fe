/*
 * A weight as a model has it whose weights are more than L2 holds: it comes from memory each time that it is used. One
 * product that is repeated to be measured has its B in L2 after the first time, and is faster than it will be: by how
 * much depends on the way, and whoever fetches ahead gains nothing. So copies of B take turns that together are more
 * than L2 holds, or as many as there may be of a small one.
 */
#ifndef BERT_CUDA_COLD_OPERAND_H
#define BERT_CUDA_COLD_OPERAND_H

#include "cuda/gemm.h"

typedef struct bert_cuda_cold_operand {
    const void *original;
    char *copies; /**< Device memory. */
    size_t apart; /**< Bytes from one copy to the next. */
    int count;    /**< With the original; 1: that alone. */
    int turn;
} bert_cuda_cold_operand;

/** B of a product with `cold_b`, and as many copies of it as are wanted; of another, where memory runs out or L2's size
 * isn't known, B alone.
 * The copies are made on the stream. Close it, which waits for what uses them. */
bert_cuda_cold_operand bert_cuda_cold_operand_open(const bert_cuda_gemm_args *g, cudaStream_t stream);
void bert_cuda_cold_operand_close(bert_cuda_cold_operand *operand);

/** Bytes of L2 of the current device; 0: not known. */
size_t bert_cuda_l2_bytes(void);

/** The one whose turn it is. */
const void *bert_cuda_cold_operand_next(bert_cuda_cold_operand *operand);

#endif
