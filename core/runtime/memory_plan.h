/* Where in one arena each block of a plan lies: blocks whose lifetimes overlap never share a byte. */
#ifndef BERT_RUNTIME_MEMORY_PLAN_H
#define BERT_RUNTIME_MEMORY_PLAN_H

#include "core/base/memory.h"

/** Memory that is needed from step `first` to step `last`, both included. */
typedef struct bert_memory_block {
    size_t bytes;
    int32_t first, last;
    size_t offset; /**< Filled in; a multiple of BERT_ALIGNMENT. */
} bert_memory_block;

/**
 * Gives every block an offset and *total_out the size of the arena in bytes. Greatest block first, each into the
 * smallest gap that it fits between the blocks that live at the same time (greedy by size, Pisarchyk and Lee,
 * 'Efficient Memory Management for Deep Neural Net Inference', 2020). `scratch` is used while the call lasts.
 * BERT_OUT_OF_MEMORY, also when the sum of sizes overflows.
 */
bert_status bert_memory_plan(bert_memory_block *blocks, size_t count, bert_arena *scratch, size_t *total_out,
                             bert_error *error);

#endif
