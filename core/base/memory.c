#include "core/base/memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

static void *default_allocate(void *user, size_t bytes, size_t alignment) {
    void *memory = NULL;
    if (alignment < sizeof(void *)) alignment = sizeof(void *);
    return posix_memalign(&memory, alignment, bytes) == 0 ? memory : NULL;
}

static void default_deallocate(void *user, void *memory, size_t bytes, size_t alignment) {
    free(memory);
}

const bert_allocator bert_default_allocator = {default_allocate, default_deallocate, NULL};

void *bert_allocate(const bert_allocator *allocator, size_t bytes, size_t alignment) {
    if (bytes == 0 || bytes > PTRDIFF_MAX) return NULL;
    if (!allocator) allocator = &bert_default_allocator;
    return allocator->allocate(allocator->user, bytes, alignment);
}

void bert_deallocate(const bert_allocator *allocator, void *memory, size_t bytes, size_t alignment) {
    if (!memory) return;
    if (!allocator) allocator = &bert_default_allocator;
    allocator->deallocate(allocator->user, memory, bytes, alignment);
}

void bert_ask_for_large_pages(void *memory, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const size_t whole = bytes - bytes % BERT_LARGE_PAGE;
    if (whole > 0 && (uintptr_t)memory % BERT_LARGE_PAGE == 0) madvise(memory, whole, MADV_HUGEPAGE);
#endif
}

bool bert_size_multiply(size_t a, size_t b, size_t *out) {
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) return false;
    *out = product;
    return true;
}

bool bert_size_add(size_t a, size_t b, size_t *out) {
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return false;
    *out = sum;
    return true;
}

bool bert_size_product(size_t unit, const int64_t *dims, int32_t count, size_t *out) {
    for (int32_t i = 0; i < count; i++) {
        if (!bert_size_multiply(unit, (size_t)dims[i], &unit)) return false;
    }
    *out = unit;
    return true;
}

struct bert_arena_block {
    struct bert_arena_block *next;
    size_t size; /* bytes, this header included */
    size_t used;
};

enum { FIRST_BLOCK_BYTES = 16 * 1024, LARGEST_BLOCK_BYTES = 1024 * 1024 };

void bert_arena_init(bert_arena *arena, const bert_allocator *allocator) {
    *arena = (bert_arena){.allocator = allocator};
}

/* Where `bytes` would lie in the block, or SIZE_MAX when they don't fit. */
static size_t place_in_block(const struct bert_arena_block *block, size_t bytes, size_t alignment) {
    size_t start = (block->used + alignment - 1) & ~(alignment - 1);
    return start <= block->size && bytes <= block->size - start ? start : SIZE_MAX;
}

static struct bert_arena_block *grow(bert_arena *arena, size_t bytes) {
    size_t size = arena->blocks ? arena->blocks->size * 2 : FIRST_BLOCK_BYTES;
    if (size > LARGEST_BLOCK_BYTES) size = LARGEST_BLOCK_BYTES;
    size_t least;
    if (!bert_size_add(bytes, sizeof(struct bert_arena_block) + BERT_ALIGNMENT, &least)) return NULL;
    if (size < least) size = least;
    struct bert_arena_block *block = bert_allocate(arena->allocator, size, BERT_ALIGNMENT);
    if (!block) return NULL;
    *block = (struct bert_arena_block){.next = arena->blocks, .size = size, .used = sizeof *block};
    arena->blocks = block;
    arena->total_bytes += size;
    return block;
}

void *bert_arena_allocate(bert_arena *arena, size_t bytes, size_t alignment) {
    struct bert_arena_block *block = arena->blocks;
    size_t start = block ? place_in_block(block, bytes, alignment) : SIZE_MAX;
    if (start == SIZE_MAX) {
        block = grow(arena, bytes);
        if (!block) return NULL;
        start = place_in_block(block, bytes, alignment);
        if (start == SIZE_MAX) return NULL;
    }
    block->used = start + bytes;
    return memset((char *)block + start, 0, bytes);
}

void *bert_arena_array(bert_arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (!bert_size_multiply(count, size, &bytes)) return NULL;
    return bert_arena_allocate(arena, bytes, 16);
}

char *bert_arena_string(bert_arena *arena, const char *text, size_t length) {
    size_t bytes;
    if (!bert_size_add(length, 1, &bytes)) return NULL;
    char *copy = bert_arena_allocate(arena, bytes, 1);
    if (copy && length) memcpy(copy, text, length);
    return copy;
}

char *bert_arena_format(bert_arena *arena, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) return NULL;
    char *text = bert_arena_allocate(arena, (size_t)length + 1, 1);
    if (!text) return NULL;
    va_start(arguments, format);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return text;
}

void bert_arena_free(bert_arena *arena) {
    struct bert_arena_block *block = arena->blocks;
    while (block) {
        struct bert_arena_block *next = block->next;
        bert_deallocate(arena->allocator, block, block->size, BERT_ALIGNMENT);
        block = next;
    }
    arena->blocks = NULL;
    arena->total_bytes = 0;
}
