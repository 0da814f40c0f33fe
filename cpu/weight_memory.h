/* Where a prepared model's packed weights lie: side by side in large blocks. */
#ifndef BERT_CPU_WEIGHT_MEMORY_H
#define BERT_CPU_WEIGHT_MEMORY_H

#include <bert/types.h>
#include <stddef.h>

/**
 * Blocks of whole large pages (BERT_LARGE_PAGE), each as large as all before it up to a limit: so a small model takes
 * little, and all of a large one lies on large pages. (A weight alone would leave its last, begun page to small ones;
 * of an INT8 model most weights are less than a page.) All zeros is an empty one. Not for two threads at once.
 */
typedef struct bert_weight_memory {
    struct bert_weight_block *blocks;
    size_t bytes; /**< Of all blocks. */
} bert_weight_memory;

/** `bytes` (not 0), aligned to BERT_ALIGNMENT and not set to anything; NULL when there is no memory. It stays until
 * bert_weight_memory_free. */
void *bert_weight_memory_take(bert_weight_memory *memory, const bert_allocator *allocator, size_t bytes);
/** Gives back what was taken last, with the same `bytes`: what comes of a weight that can't be packed after all. */
void bert_weight_memory_give_back(bert_weight_memory *memory, void *taken, size_t bytes);
/** Of the same allocator. */
void bert_weight_memory_free(bert_weight_memory *memory, const bert_allocator *allocator);

#endif
