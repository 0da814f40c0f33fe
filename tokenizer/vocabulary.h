/* The vocabulary of WordPiece: token text <-> id, and the trie that WordPiece walks. */
#ifndef BERT_TOKENIZER_VOCABULARY_H
#define BERT_TOKENIZER_VOCABULARY_H

#include "core/base/memory.h"

#include <bert/types.h>

/**
 * A step of the trie: the code point that leads from one node to the next. All steps lie in one open hash table, so a
 * step costs one probe, whatever the fan-out, and building needs no second structure.
 */
typedef struct bert_trie_edge {
    uint64_t key;   /* (node << 21 | code point) + 1; 0 is an empty slot. */
    uint32_t child; /* The node behind; the root is node 0. */
    int32_t id;     /* Of the token that ends here, or -1. */
} bert_trie_edge;

typedef struct bert_vocabulary_entry {
    int32_t id; /* -1: superseded by a later entry of the same text. */
    uint32_t length;
    const char *text; /* NUL-terminated. */
} bert_vocabulary_entry;

/** Built by one thread, then read-only: any thread. */
typedef struct bert_vocabulary {
    const bert_allocator *allocator;
    bert_trie_edge *edges;
    size_t capacity; /* A power of two. */
    int shift;       /* 64 - log2(capacity) */
    uint32_t nodes;
    int32_t empty_id; /* Of the empty token, or -1. */
    bert_vocabulary_entry *entries;
    size_t entry_count, entry_capacity;
    size_t distinct; /* Different texts: what `tokenizers` calls the size of the vocabulary. */
} bert_vocabulary;

/** Nothing is allocated yet. */
void bert_vocabulary_init(bert_vocabulary *vocabulary, const bert_allocator *allocator);
void bert_vocabulary_free(bert_vocabulary *vocabulary);

/** Room for `entries` tokens of together `bytes` bytes, so that adding them seldom grows anything. */
bert_status bert_vocabulary_reserve(bert_vocabulary *vocabulary, size_t entries, size_t bytes, bert_error *error);

/**
 * Adds a token. `text` is well-formed UTF-8 followed by a NUL, at most INT32_MAX bytes, and outlives the vocabulary.
 * A text that is there already gets the new id; *previous is then the old one, -1 otherwise.
 */
bert_status bert_vocabulary_add(bert_vocabulary *vocabulary, const char *text, size_t length, int32_t id,
                                int32_t *previous, bert_error *error);

/** Call once after the last token: sorts by id and drops superseded entries. */
void bert_vocabulary_finish(bert_vocabulary *vocabulary);

/** -1 when there is none. */
int32_t bert_vocabulary_id(const bert_vocabulary *vocabulary, const char *text, size_t length);
/** NULL when there is none. */
const bert_vocabulary_entry *bert_vocabulary_entry_of(const bert_vocabulary *vocabulary, int32_t id);

/** The node behind a text, or UINT32_MAX. */
uint32_t bert_vocabulary_node(const bert_vocabulary *vocabulary, const char *text, size_t length);

static inline size_t bert_trie_slot(uint64_t key, int shift) {
    return (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> shift);
}

/** The step from a node by a code point; NULL when there is none. The vocabulary has an edge at least. */
static inline const bert_trie_edge *bert_trie_step(const bert_vocabulary *vocabulary, uint32_t node,
                                                   uint32_t code_point) {
    uint64_t key = ((uint64_t)node << 21 | code_point) + 1;
    size_t mask = vocabulary->capacity - 1;
    for (size_t slot = bert_trie_slot(key, vocabulary->shift);; slot = (slot + 1) & mask) {
        const bert_trie_edge *edge = &vocabulary->edges[slot];
        if (edge->key == key) return edge;
        if (edge->key == 0) return NULL;
    }
}

#endif
