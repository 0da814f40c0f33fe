/* An allocator that counts, and that refuses what a test tells it to. */
#ifndef BERT_TESTS_SUPPORT_SCARCE_MEMORY_H
#define BERT_TESTS_SUPPORT_SCARCE_MEMORY_H

#include "core/base/memory.h"

/** Allocations number fail_from to fail_to - 1 (from 0) are refused; none where the two are equal. One thread. */
typedef struct scarce_memory {
    size_t fail_from, fail_to;
    size_t allocations; /**< Asked for, refused ones included. */
    size_t live;        /**< Not given back yet. */
} scarce_memory;

static void *scarce_allocate(void *user, size_t bytes, size_t alignment) {
    scarce_memory *memory = user;
    size_t index = memory->allocations++;
    if (index >= memory->fail_from && index < memory->fail_to) return NULL;
    void *block = bert_allocate(NULL, bytes, alignment);
    if (block) memory->live++;
    return block;
}

static void scarce_deallocate(void *user, void *block, size_t bytes, size_t alignment) {
    scarce_memory *memory = user;
    if (block) memory->live--;
    bert_deallocate(NULL, block, bytes, alignment);
}

/** `memory` must outlive everything that is allocated. */
static inline bert_allocator scarce_allocator(scarce_memory *memory) {
    return (bert_allocator){scarce_allocate, scarce_deallocate, memory};
}

#endif
