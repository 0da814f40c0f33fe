#include "cpu/weight_memory.h"

#include "core/base/memory.h"

#define GREATEST_BLOCK (32 * BERT_LARGE_PAGE)

typedef struct bert_weight_block {
    struct bert_weight_block *next;
    unsigned char *data;
    size_t bytes, used;
} bert_weight_block;

static bert_weight_block *add_block(bert_weight_memory *memory, const bert_allocator *allocator, size_t least) {
    size_t bytes = memory->bytes < GREATEST_BLOCK ? memory->bytes : GREATEST_BLOCK;
    if (bytes < least) bytes = least;
    if (!bert_size_add(bytes, BERT_LARGE_PAGE - 1, &bytes)) return NULL;
    bytes -= bytes % BERT_LARGE_PAGE;
    bert_weight_block *block = bert_allocate(allocator, sizeof *block, _Alignof(bert_weight_block));
    if (!block) return NULL;
    *block = (bert_weight_block){
        .next = memory->blocks, .data = bert_allocate(allocator, bytes, BERT_LARGE_PAGE), .bytes = bytes};
    if (!block->data) {
        bert_deallocate(allocator, block, sizeof *block, _Alignof(bert_weight_block));
        return NULL;
    }
    bert_ask_for_large_pages(block->data, bytes);
    memory->blocks = block;
    memory->bytes += bytes;
    return block;
}

/* Of a piece, with what aligns the next one; 0 on overflow. */
static size_t piece_bytes(size_t bytes) {
    return bert_size_add(bytes, BERT_ALIGNMENT - 1, &bytes) ? bytes - bytes % BERT_ALIGNMENT : 0;
}

void *bert_weight_memory_take(bert_weight_memory *memory, const bert_allocator *allocator, size_t bytes) {
    bytes = piece_bytes(bytes);
    if (bytes == 0) return NULL;
    bert_weight_block *block = memory->blocks;
    while (block && block->bytes - block->used < bytes) block = block->next;
    if (!block) block = add_block(memory, allocator, bytes);
    if (!block) return NULL;
    void *taken = block->data + block->used;
    block->used += bytes;
    return taken;
}

void bert_weight_memory_give_back(bert_weight_memory *memory, void *taken, size_t bytes) {
    bytes = piece_bytes(bytes);
    for (bert_weight_block *block = memory->blocks; block; block = block->next)
        if (block->used >= bytes && block->data + block->used - bytes == (unsigned char *)taken) block->used -= bytes;
}

void bert_weight_memory_free(bert_weight_memory *memory, const bert_allocator *allocator) {
    while (memory->blocks) {
        bert_weight_block *block = memory->blocks;
        memory->blocks = block->next;
        bert_deallocate(allocator, block->data, block->bytes, BERT_LARGE_PAGE);
        bert_deallocate(allocator, block, sizeof *block, _Alignof(bert_weight_block));
    }
    memory->bytes = 0;
}
