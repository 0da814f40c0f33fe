#include "tokenizer/trie.h"

#include "core/base/error.h"
#include "core/base/utf8.h"

#include <string.h>

void bert_trie_init(bert_trie *trie, const bert_allocator *allocator) {
    *trie = (bert_trie){.allocator = allocator, .nodes = 1};
}

void bert_trie_free(bert_trie *trie) {
    bert_deallocate(trie->allocator, trie->edges, trie->capacity * sizeof *trie->edges, BERT_ALIGNMENT);
    bert_trie_init(trie, trie->allocator);
}

/* The slot of a key, or the free one where it would go. */
static bert_trie_edge *find_slot(bert_trie_edge *edges, size_t capacity, int shift, uint64_t key) {
    size_t slot = bert_trie_slot(key, shift);
    while (edges[slot].key && edges[slot].key != key) slot = (slot + 1) & (capacity - 1);
    return &edges[slot];
}

static bert_status resize(bert_trie *trie, int log2_capacity, bert_error *error) {
    size_t capacity = (size_t)1 << log2_capacity, bytes = capacity * sizeof *trie->edges;
    int shift = 64 - log2_capacity;
    bert_trie_edge *edges = bert_allocate(trie->allocator, bytes, BERT_ALIGNMENT);
    if (!edges) return bert_fail_memory(error, bytes, "a trie");
    memset(edges, 0, bytes);
    for (size_t i = 0; i < trie->capacity; i++) {
        uint64_t key = trie->edges[i].key;
        if (key) *find_slot(edges, capacity, shift, key) = trie->edges[i];
    }
    bert_deallocate(trie->allocator, trie->edges, trie->capacity * sizeof *edges, BERT_ALIGNMENT);
    trie->edges = edges;
    trie->capacity = capacity;
    trie->shift = shift;
    return BERT_OK;
}

bert_status bert_trie_reserve(bert_trie *trie, size_t nodes, bert_error *error) {
    int log2_capacity = 6;
    while (log2_capacity < 40 && ((size_t)1 << log2_capacity) / 8 * 5 < nodes) log2_capacity++;
    return resize(trie, log2_capacity, error);
}

bert_status bert_trie_follow(bert_trie *trie, uint32_t node, uint32_t code_point, bert_trie_edge **out,
                             bert_error *error) {
    uint64_t key = ((uint64_t)node << 21 | code_point) + 1;
    bert_trie_edge *edge = find_slot(trie->edges, trie->capacity, trie->shift, key);
    if (!edge->key) {
        if (trie->nodes >= trie->capacity / 8 * 5) {
            BERT_TRY(resize(trie, 64 - trie->shift + 1, error));
            edge = find_slot(trie->edges, trie->capacity, trie->shift, key);
        }
        if (trie->nodes == UINT32_MAX) {
            return bert_fail(error, BERT_UNSUPPORTED, "the vocabulary has more than 4294967294 different prefixes");
        }
        *edge = (bert_trie_edge){.key = key, .child = trie->nodes++, .value = -1};
    }
    *out = edge;
    return BERT_OK;
}

bert_status bert_trie_set(bert_trie *trie, const char *text, size_t length, int32_t value, bert_error *error) {
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    bert_trie_edge *edge = NULL;
    while (at < end) BERT_TRY(bert_trie_follow(trie, edge ? edge->child : 0, bert_utf8_next(&at), &edge, error));
    if (edge) edge->value = value;
    return BERT_OK;
}

int32_t bert_trie_get(const bert_trie *trie, const char *text, size_t length) {
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    const bert_trie_edge *edge = NULL;
    while (at < end) {
        edge = bert_trie_step(trie, edge ? edge->child : 0, bert_utf8_next(&at));
        if (!edge) return -1;
    }
    return edge ? edge->value : -1;
}
