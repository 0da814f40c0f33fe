/* A trie over code points: what added tokens are searched with, and the pieces of words. */
#ifndef BERT_TOKENIZER_TRIE_H
#define BERT_TOKENIZER_TRIE_H

#include "core/base/memory.h"

#include <bert/types.h>

/**
 * A step of the trie: the code point that leads from one node to the next. All steps lie in one open hash table, so a
 * step costs one probe, whatever the fan-out, and building needs no second structure.
 */
typedef struct bert_trie_edge {
    uint64_t key;   /* (node << 21 | code point) + 1; 0 is an empty slot. */
    uint32_t child; /* The node behind; the root is node 0. */
    int32_t value;  /* Of the text that ends here, or -1. */
} bert_trie_edge;

/** Built by one thread, then read-only: any thread. */
typedef struct bert_trie {
    const bert_allocator *allocator;
    bert_trie_edge *edges;
    size_t capacity; /* A power of two; 0 before bert_trie_reserve. */
    int shift;       /* 64 - log2(capacity) */
    uint32_t nodes;
} bert_trie;

/** Nothing is allocated yet. */
void bert_trie_init(bert_trie *trie, const bert_allocator *allocator);
void bert_trie_free(bert_trie *trie);
/** Makes the table, with room for `nodes` before it grows. Call once, before all below. */
bert_status bert_trie_reserve(bert_trie *trie, size_t nodes, bert_error *error);

/** The step from a node by a code point, made where there is none. It stays where it is until the next such call. */
bert_status bert_trie_follow(bert_trie *trie, uint32_t node, uint32_t code_point, bert_trie_edge **out,
                             bert_error *error);
/** Gives a text of well-formed UTF-8, not empty, a value from 0 on, in place of the one that it has. */
bert_status bert_trie_set(bert_trie *trie, const char *text, size_t length, int32_t value, bert_error *error);
/** The value of a text; -1 when there is none. */
int32_t bert_trie_get(const bert_trie *trie, const char *text, size_t length);

static inline size_t bert_trie_slot(uint64_t key, int shift) {
    return (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> shift);
}

/** The step from a node by a code point; NULL when there is none. */
static inline const bert_trie_edge *bert_trie_step(const bert_trie *trie, uint32_t node, uint32_t code_point) {
    uint64_t key = ((uint64_t)node << 21 | code_point) + 1;
    size_t mask = trie->capacity - 1;
    for (size_t slot = bert_trie_slot(key, trie->shift);; slot = (slot + 1) & mask) {
        const bert_trie_edge *edge = &trie->edges[slot];
        if (edge->key == key) return edge;
        if (edge->key == 0) return NULL;
    }
}

#endif
