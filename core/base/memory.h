/* Allocation through the caller's allocator, overflow-safe sizes, and the arena that short-lived structure lives in. */
#ifndef BERT_BASE_MEMORY_H
#define BERT_BASE_MEMORY_H

#include <bert/types.h>
#include <stddef.h>

/** Alignment of tensors and packed weights: a cache line, and the widest vector. */
#define BERT_ALIGNMENT 64

/** The C library's allocator. */
extern const bert_allocator bert_default_allocator;

/** `allocator` NULL means the default one. NULL on failure or when bytes is 0. */
void *bert_allocate(const bert_allocator *allocator, size_t bytes, size_t alignment);
/** Takes the size and alignment given to bert_allocate; `memory` may be NULL. */
void bert_deallocate(const bert_allocator *allocator, void *memory, size_t bytes, size_t alignment);

/** What a page of memory is where it is asked to be large: 2 MiB. */
#define BERT_LARGE_PAGE ((size_t)2 << 20)
/**
 * Asks for large pages for whole ones of them, where the system has such; nothing but speed changes: a thread that
 * streams through the memory misses in the TLB 500 times less. `memory` is aligned to a large page, or nothing is done.
 */
void bert_ask_for_large_pages(void *memory, size_t bytes);

/** a * b and a + b into *out; false (and *out untouched) on overflow. */
bool bert_size_multiply(size_t a, size_t b, size_t *out);
bool bert_size_add(size_t a, size_t b, size_t *out);
/** `unit` times the product of `count` dimensions, none negative; likewise. */
bool bert_size_product(size_t unit, const int64_t *dims, int32_t count, size_t *out);

/** Bytes of a tensor's elements, for which bert_tensor_elements has a number. */
static inline size_t bert_tensor_bytes(const bert_tensor *tensor) {
    return (size_t)bert_tensor_elements(tensor) * bert_dtype_size(tensor->dtype);
}

/**
 * A growing region freed as a whole. Blocks come from the allocator; memory handed out is zeroed, stays where it is,
 * and lives until bert_arena_free. Not for use by two threads at once.
 */
typedef struct bert_arena {
    const bert_allocator *allocator;
    struct bert_arena_block *blocks;
    size_t total_bytes; /**< Of all blocks. */
} bert_arena;

void bert_arena_init(bert_arena *arena, const bert_allocator *allocator);
/** NULL when memory runs out. bytes may be 0 (a valid, unusable pointer). alignment is a power of two up to 64. */
void *bert_arena_allocate(bert_arena *arena, size_t bytes, size_t alignment);
/** count * size bytes; NULL also when that overflows. */
void *bert_arena_array(bert_arena *arena, size_t count, size_t size);
/** A NUL-terminated copy of `length` bytes. */
char *bert_arena_string(bert_arena *arena, const char *text, size_t length);
/** A formatted string. */
char *bert_arena_format(bert_arena *arena, const char *format, ...) BERT_PRINTF(2, 3);
void bert_arena_free(bert_arena *arena);

/** One object of a type from an arena, zeroed; NULL when memory runs out. */
#define BERT_ARENA_NEW(arena, type) ((type *)bert_arena_array((arena), 1, sizeof(type)))
#define BERT_ARENA_NEW_ARRAY(arena, type, count) ((type *)bert_arena_array((arena), (count), sizeof(type)))

#endif
