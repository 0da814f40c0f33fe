#include "core/runtime/memory_plan.h"

#include "core/base/error.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static size_t padded(size_t bytes) {
    return (bytes + BERT_ALIGNMENT - 1) & ~(size_t)(BERT_ALIGNMENT - 1);
}

static int greatest_first(const void *a, const void *b) {
    const bert_memory_block *left = *(bert_memory_block *const *)a, *right = *(bert_memory_block *const *)b;
    if (left->bytes != right->bytes) return left->bytes > right->bytes ? -1 : 1;
    /* Blocks of equal size in the order of the array, so that a plan is the same on every machine. */
    return left < right ? -1 : left > right;
}

static bool live_together(const bert_memory_block *a, const bert_memory_block *b) {
    return a->first <= b->last && b->first <= a->last;
}

/* The offset of the smallest gap that `block` fits, or past everything that lives with it. `placed` is by offset. */
static size_t find_offset(const bert_memory_block *block, bert_memory_block *const *placed, size_t count) {
    size_t bytes = padded(block->bytes), end = 0, best = SIZE_MAX, best_gap = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        const bert_memory_block *other = placed[i];
        if (!live_together(block, other)) continue;
        if (other->offset > end) {
            size_t gap = other->offset - end;
            if (gap >= bytes && gap < best_gap) {
                best = end;
                best_gap = gap;
            }
        }
        size_t other_end = other->offset + padded(other->bytes);
        if (other_end > end) end = other_end;
    }
    return best != SIZE_MAX ? best : end;
}

bert_status bert_memory_plan(bert_memory_block *blocks, size_t count, bert_arena *scratch, size_t *total_out,
                             bert_error *error) {
    size_t sum = 0, total = 0;
    for (size_t i = 0; i < count; i++) {
        if (!bert_size_add(sum, blocks[i].bytes, &sum) || !bert_size_add(sum, BERT_ALIGNMENT, &sum)) {
            return bert_fail(error, BERT_OUT_OF_MEMORY, "the tensors of a run do not fit into memory");
        }
    }
    bert_memory_block **order = BERT_ARENA_NEW_ARRAY(scratch, bert_memory_block *, count);
    bert_memory_block **placed = BERT_ARENA_NEW_ARRAY(scratch, bert_memory_block *, count);
    if (!order || !placed) return bert_fail_memory(error, count * sizeof *order, "the memory plan");
    for (size_t i = 0; i < count; i++) order[i] = &blocks[i];
    if (count) qsort(order, count, sizeof *order, greatest_first);
    size_t placed_count = 0;
    for (size_t i = 0; i < count; i++) {
        bert_memory_block *block = order[i];
        block->offset = 0;
        if (block->bytes == 0) continue;
        block->offset = find_offset(block, placed, placed_count);
        if (block->offset + padded(block->bytes) > total) total = block->offset + padded(block->bytes);
        size_t at = placed_count++;
        for (; at > 0 && placed[at - 1]->offset > block->offset; at--) placed[at] = placed[at - 1];
        placed[at] = block;
    }
    *total_out = total;
    return BERT_OK;
}
