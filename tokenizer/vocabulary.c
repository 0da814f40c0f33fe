#include "tokenizer/vocabulary.h"

#include "core/base/error.h"
#include "core/base/utf8.h"

#include <stdlib.h>
#include <string.h>

void bert_vocabulary_init(bert_vocabulary *vocabulary, const bert_allocator *allocator) {
    *vocabulary = (bert_vocabulary){.allocator = allocator, .nodes = 1, .empty_id = -1};
}

void bert_vocabulary_free(bert_vocabulary *vocabulary) {
    bert_deallocate(vocabulary->allocator, vocabulary->edges, vocabulary->capacity * sizeof(bert_trie_edge),
                    BERT_ALIGNMENT);
    bert_deallocate(vocabulary->allocator, vocabulary->entries,
                    vocabulary->entry_capacity * sizeof(bert_vocabulary_entry), BERT_ALIGNMENT);
    bert_vocabulary_init(vocabulary, vocabulary->allocator);
}

/* A free slot for a key that is not in the table. */
static bert_trie_edge *free_slot(bert_trie_edge *edges, size_t capacity, int shift, uint64_t key) {
    size_t slot = bert_trie_slot(key, shift);
    while (edges[slot].key) slot = (slot + 1) & (capacity - 1);
    return &edges[slot];
}

static bert_status resize_edges(bert_vocabulary *vocabulary, int log2_capacity, bert_error *error) {
    size_t capacity = (size_t)1 << log2_capacity, bytes = capacity * sizeof(bert_trie_edge);
    int shift = 64 - log2_capacity;
    bert_trie_edge *edges = bert_allocate(vocabulary->allocator, bytes, BERT_ALIGNMENT);
    if (!edges) return bert_fail_memory(error, bytes, "the trie of the vocabulary");
    memset(edges, 0, bytes);
    for (size_t i = 0; i < vocabulary->capacity; i++) {
        if (vocabulary->edges[i].key) {
            *free_slot(edges, capacity, shift, vocabulary->edges[i].key) = vocabulary->edges[i];
        }
    }
    bert_deallocate(vocabulary->allocator, vocabulary->edges, vocabulary->capacity * sizeof(bert_trie_edge),
                    BERT_ALIGNMENT);
    vocabulary->edges = edges;
    vocabulary->capacity = capacity;
    vocabulary->shift = shift;
    return BERT_OK;
}

static bert_status resize_entries(bert_vocabulary *vocabulary, size_t capacity, bert_error *error) {
    size_t bytes;
    if (!bert_size_multiply(capacity, sizeof(bert_vocabulary_entry), &bytes)) bytes = SIZE_MAX;
    bert_vocabulary_entry *entries = bert_allocate(vocabulary->allocator, bytes, BERT_ALIGNMENT);
    if (!entries) return bert_fail_memory(error, bytes, "the tokens of the vocabulary");
    if (vocabulary->entry_count) memcpy(entries, vocabulary->entries, vocabulary->entry_count * sizeof *entries);
    bert_deallocate(vocabulary->allocator, vocabulary->entries, vocabulary->entry_capacity * sizeof *entries,
                    BERT_ALIGNMENT);
    vocabulary->entries = entries;
    vocabulary->entry_capacity = capacity;
    return BERT_OK;
}

bert_status bert_vocabulary_reserve(bert_vocabulary *vocabulary, size_t entries, size_t bytes, bert_error *error) {
    /* Tokens share prefixes: half as many edges as bytes is what real vocabularies stay below. */
    int log2_capacity = 8;
    while (log2_capacity < 40 && ((size_t)1 << log2_capacity) < bytes / 2 + bytes / 4) log2_capacity++;
    BERT_TRY(resize_edges(vocabulary, log2_capacity, error));
    return resize_entries(vocabulary, entries ? entries : 1, error);
}

static bert_status follow(bert_vocabulary *vocabulary, uint32_t node, uint32_t code_point, bert_trie_edge **out,
                          bert_error *error) {
    uint64_t key = ((uint64_t)node << 21 | code_point) + 1;
    size_t mask = vocabulary->capacity - 1, slot = bert_trie_slot(key, vocabulary->shift);
    while (vocabulary->edges[slot].key && vocabulary->edges[slot].key != key) slot = (slot + 1) & mask;
    bert_trie_edge *edge = &vocabulary->edges[slot];
    if (!edge->key) {
        if (vocabulary->nodes >= vocabulary->capacity / 8 * 5) {
            BERT_TRY(resize_edges(vocabulary, 64 - vocabulary->shift + 1, error));
            edge = free_slot(vocabulary->edges, vocabulary->capacity, vocabulary->shift, key);
        }
        if (vocabulary->nodes == UINT32_MAX) {
            return bert_fail(error, BERT_UNSUPPORTED, "the vocabulary has more than 4294967294 different prefixes");
        }
        *edge = (bert_trie_edge){.key = key, .child = vocabulary->nodes++, .id = -1};
    }
    *out = edge;
    return BERT_OK;
}

bert_status bert_vocabulary_add(bert_vocabulary *vocabulary, const char *text, size_t length, int32_t id,
                                int32_t *previous, bert_error *error) {
    if (vocabulary->entry_count == vocabulary->entry_capacity) {
        BERT_TRY(resize_entries(vocabulary, vocabulary->entry_capacity * 2, error));
    }
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    int32_t *slot = &vocabulary->empty_id;
    bert_trie_edge *edge = NULL;
    while (at < end) {
        uint32_t node = edge ? edge->child : 0;
        BERT_TRY(follow(vocabulary, node, bert_utf8_next(&at), &edge, error));
        slot = &edge->id;
    }
    *previous = *slot;
    if (*slot < 0) vocabulary->distinct++;
    *slot = id;
    vocabulary->entries[vocabulary->entry_count++] =
        (bert_vocabulary_entry){.id = id, .length = (uint32_t)length, .text = text};
    return BERT_OK;
}

static int compare_entries(const void *left, const void *right) {
    const bert_vocabulary_entry *a = left, *b = right;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    /* Two texts with one id: the one that was added last stands last. Texts of a file lie in its order. */
    return a->text < b->text ? -1 : a->text > b->text;
}

void bert_vocabulary_finish(bert_vocabulary *vocabulary) {
    bert_vocabulary_entry *entries = vocabulary->entries;
    bool sorted = true;
    if (vocabulary->distinct != vocabulary->entry_count) {
        size_t kept = 0;
        for (size_t i = 0; i < vocabulary->entry_count; i++) {
            if (bert_vocabulary_id(vocabulary, entries[i].text, entries[i].length) == entries[i].id) {
                entries[kept++] = entries[i];
            }
        }
        vocabulary->entry_count = kept;
    }
    for (size_t i = 1; i < vocabulary->entry_count && sorted; i++) sorted = entries[i - 1].id < entries[i].id;
    if (!sorted) qsort(entries, vocabulary->entry_count, sizeof *entries, compare_entries);
}

static const bert_trie_edge *walk(const bert_vocabulary *vocabulary, const char *text, size_t length) {
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    const bert_trie_edge *edge = NULL;
    while (at < end) {
        edge = bert_trie_step(vocabulary, edge ? edge->child : 0, bert_utf8_next(&at));
        if (!edge) return NULL;
    }
    return edge;
}

int32_t bert_vocabulary_id(const bert_vocabulary *vocabulary, const char *text, size_t length) {
    if (length == 0) return vocabulary->empty_id;
    const bert_trie_edge *edge = walk(vocabulary, text, length);
    return edge ? edge->id : -1;
}

uint32_t bert_vocabulary_node(const bert_vocabulary *vocabulary, const char *text, size_t length) {
    if (length == 0) return 0;
    const bert_trie_edge *edge = walk(vocabulary, text, length);
    return edge ? edge->child : UINT32_MAX;
}

const bert_vocabulary_entry *bert_vocabulary_entry_of(const bert_vocabulary *vocabulary, int32_t id) {
    size_t low = 0, high = vocabulary->entry_count;
    /* Ids mostly run from 0 without a gap: then the entry is where its id says. */
    if (id >= 0 && (size_t)id < high && vocabulary->entries[id].id == id) return &vocabulary->entries[id];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (vocabulary->entries[middle].id <= id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low && vocabulary->entries[low - 1].id == id ? &vocabulary->entries[low - 1] : NULL;
}
