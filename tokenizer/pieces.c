#include "tokenizer/pieces.h"

#include "core/base/error.h"
#include "core/base/utf8.h"

#include <string.h>

void bert_pieces_init(bert_pieces *pieces, const bert_allocator *allocator) {
    *pieces = (bert_pieces){.nodes = NULL};
    bert_trie_init(&pieces->trie, allocator);
}

void bert_pieces_free(bert_pieces *pieces) {
    const bert_allocator *allocator = pieces->trie.allocator;
    bert_deallocate(allocator, pieces->nodes, pieces->node_bytes, BERT_ALIGNMENT);
    bert_trie_free(&pieces->trie);
    bert_pieces_init(pieces, allocator);
}

/* How the trie was made: a node's parent, the code point that leads from there, and its depth. */
typedef struct origin {
    uint32_t parent, code_point, depth;
} origin;

/* What building needs besides: nodes as they come, and again by depth. */
typedef struct building {
    bert_pieces *pieces;
    const bert_allocator *allocator;
    origin *origins;
    size_t capacity; /* Nodes. */
    uint32_t *order;
    uint32_t deepest;
} building;

/* The code point before *end, which moves to its start. */
static uint32_t read_backward(const char **end) {
    const unsigned char *at = (const unsigned char *)*end - 1;
    if (*at < 0x80) {
        *end = (const char *)at;
        return *at;
    }
    while ((*at & 0xC0) == 0x80) at--;
    *end = (const char *)at;
    return bert_utf8_next(&at);
}

static bert_status grow(building *b, size_t capacity, bert_error *error) {
    bert_pieces *pieces = b->pieces;
    size_t origin_bytes = SIZE_MAX, node_bytes = SIZE_MAX;
    origin *origins = NULL;
    bert_piece_node *nodes = NULL;
    if (bert_size_multiply(capacity, sizeof *origins, &origin_bytes) &&
        bert_size_multiply(capacity, sizeof *nodes, &node_bytes)) {
        origins = bert_allocate(b->allocator, origin_bytes, BERT_ALIGNMENT);
        nodes = bert_allocate(b->allocator, node_bytes, BERT_ALIGNMENT);
    }
    if (!origins || !nodes) {
        bert_deallocate(b->allocator, origins, origin_bytes, BERT_ALIGNMENT);
        bert_deallocate(b->allocator, nodes, node_bytes, BERT_ALIGNMENT);
        return bert_fail_memory(error, node_bytes, "the pieces of words");
    }
    if (b->capacity) {
        memcpy(origins, b->origins, b->capacity * sizeof *origins);
        memcpy(nodes, pieces->nodes, b->capacity * sizeof *nodes);
    }
    bert_deallocate(b->allocator, b->origins, b->capacity * sizeof *origins, BERT_ALIGNMENT);
    bert_deallocate(b->allocator, pieces->nodes, pieces->node_bytes, BERT_ALIGNMENT);
    b->origins = origins;
    b->capacity = capacity;
    pieces->nodes = nodes;
    pieces->node_bytes = node_bytes;
    return BERT_OK;
}

/* Adds the piece [begin, end), last code point first. */
static bert_status add(building *b, const char *begin, const char *end, int32_t id, bert_error *error) {
    bert_pieces *pieces = b->pieces;
    uint32_t node = 0, depth = 0;
    while (end > begin) {
        uint32_t code_point = read_backward(&end), next = pieces->trie.nodes;
        bert_trie_edge *edge;
        BERT_TRY(bert_trie_follow(&pieces->trie, node, code_point, &edge, error));
        depth++;
        if (edge->child == next) {
            if (next >= b->capacity) BERT_TRY(grow(b, 2 * b->capacity, error));
            b->origins[next] = (origin){.parent = node, .code_point = code_point, .depth = depth};
            pieces->nodes[next] = (bert_piece_node){.piece = {.id = -1}};
        }
        node = edge->child;
    }
    pieces->nodes[node].piece = (bert_piece){.id = id, .chars = depth};
    if (depth > b->deepest) b->deepest = depth;
    return BERT_OK;
}

/* Nodes in the order of their depth, the root left out: b->order. */
static bert_status order_by_depth(building *b, bert_error *error) {
    size_t nodes = b->pieces->trie.nodes, bytes = ((size_t)b->deepest + 2) * sizeof(uint32_t);
    uint32_t *starts = bert_allocate(b->allocator, bytes, BERT_ALIGNMENT);
    b->order = bert_allocate(b->allocator, b->capacity * sizeof *b->order, BERT_ALIGNMENT);
    if (!starts || !b->order) {
        bert_deallocate(b->allocator, starts, bytes, BERT_ALIGNMENT);
        return bert_fail_memory(error, bytes, "the pieces of words");
    }
    memset(starts, 0, bytes);
    for (size_t i = 1; i < nodes; i++) starts[b->origins[i].depth + 1]++;
    for (size_t d = 1; d < (size_t)b->deepest + 2; d++) starts[d] += starts[d - 1];
    for (size_t i = 1; i < nodes; i++) b->order[starts[b->origins[i].depth]++] = (uint32_t)i;
    bert_deallocate(b->allocator, starts, bytes, BERT_ALIGNMENT);
    return BERT_OK;
}

/* The node after `code_point` from `node`, or from the nearest that its links lead to. */
static inline uint32_t advance(const bert_pieces *pieces, uint32_t node, uint32_t code_point) {
    for (;;) {
        const bert_trie_edge *edge = bert_trie_step(&pieces->trie, node, code_point);
        if (edge) return edge->child;
        if (node == 0) return 0;
        node = pieces->nodes[node].link;
    }
}

/* A node's link is a step from its parent's, which is less deep and known. */
static void set_links(const building *b) {
    const bert_pieces *pieces = b->pieces;
    bert_piece_node *nodes = pieces->nodes;
    for (size_t i = 0; i + 1 < pieces->trie.nodes; i++) {
        uint32_t node = b->order[i];
        const origin *from = &b->origins[node];
        uint32_t link = from->parent ? advance(pieces, nodes[from->parent].link, from->code_point) : 0;
        nodes[node].link = link;
        if (nodes[node].piece.id < 0) nodes[node].piece = nodes[link].piece;
    }
}

static bool continues(const bert_vocabulary_entry *entry, const char *prefix, size_t length) {
    return entry->length > length && (length == 0 || entry->text[0] == prefix[0]) &&
           memcmp(entry->text, prefix, length) == 0;
}

static bert_status build(building *b, const bert_vocabulary *vocabulary, const char *prefix, size_t prefix_length,
                         size_t count, bert_error *error) {
    /* Reversed, the pieces of real vocabularies share so much that there are hardly more nodes than pieces. */
    size_t nodes = count + count / 4 + 2;
    BERT_TRY(bert_trie_reserve(&b->pieces->trie, nodes, error));
    BERT_TRY(grow(b, nodes, error));
    b->pieces->nodes[0] = (bert_piece_node){.piece = {.id = -1}};
    for (size_t i = 0; i < vocabulary->entry_count; i++) {
        const bert_vocabulary_entry *entry = &vocabulary->entries[i];
        if (!continues(entry, prefix, prefix_length)) continue;
        BERT_TRY(add(b, entry->text + prefix_length, entry->text + entry->length, entry->id, error));
    }
    BERT_TRY(order_by_depth(b, error));
    set_links(b);
    return BERT_OK;
}

bert_status bert_pieces_build(bert_pieces *pieces, const bert_vocabulary *vocabulary, const char *prefix,
                              size_t prefix_length, bert_error *error) {
    size_t count = 0;
    for (size_t i = 0; i < vocabulary->entry_count; i++) {
        count += continues(&vocabulary->entries[i], prefix, prefix_length);
    }
    if (count == 0) return BERT_OK;
    building b = {.pieces = pieces, .allocator = pieces->trie.allocator};
    bert_status status = build(&b, vocabulary, prefix, prefix_length, count, error);
    bert_deallocate(b.allocator, b.origins, b.capacity * sizeof *b.origins, BERT_ALIGNMENT);
    bert_deallocate(b.allocator, b.order, b.capacity * sizeof *b.order, BERT_ALIGNMENT);
    return status;
}

void bert_pieces_find(const bert_pieces *pieces, const char *end, size_t count, bert_piece *longest) {
    uint32_t node = 0;
    while (count > 0) {
        node = advance(pieces, node, read_backward(&end));
        longest[--count] = pieces->nodes[node].piece;
    }
}
