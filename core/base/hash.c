#include "core/base/hash.h"

#include <string.h>

typedef struct entry {
    const char *key; /* NULL: free */
    size_t length;
    uint64_t code;
    void *value;
} entry;

struct bert_hash {
    bert_arena *arena;
    entry *entries;
    size_t capacity; /* a power of two */
    size_t count;
};

enum { FIRST_CAPACITY = 64 };

/* FNV-1a, finished with a multiplication so that the low bits depend on all of the key. */
static uint64_t code_of(const char *key, size_t length) {
    uint64_t code = 0xcbf29ce484222325U;
    for (size_t i = 0; i < length; i++) code = (code ^ (unsigned char)key[i]) * 0x100000001b3U;
    code *= 0x9e3779b97f4a7c15U;
    return code ^ code >> 32;
}

/* The entry of the key, or the free one where it would go. The table is never full. */
static entry *find(entry *entries, size_t capacity, const char *key, size_t length, uint64_t code) {
    size_t at = (size_t)code & (capacity - 1);
    for (;; at = (at + 1) & (capacity - 1)) {
        entry *e = &entries[at];
        if (!e->key) return e;
        if (e->code == code && e->length == length && memcmp(e->key, key, length) == 0) return e;
    }
}

bert_hash *bert_hash_create(bert_arena *arena) {
    bert_hash *hash = BERT_ARENA_NEW(arena, bert_hash);
    if (!hash) return NULL;
    *hash = (bert_hash){.arena = arena, .capacity = FIRST_CAPACITY};
    hash->entries = BERT_ARENA_NEW_ARRAY(arena, entry, FIRST_CAPACITY);
    return hash->entries ? hash : NULL;
}

static bool grow(bert_hash *hash) {
    size_t capacity;
    if (!bert_size_multiply(hash->capacity, 2, &capacity)) return false;
    entry *entries = BERT_ARENA_NEW_ARRAY(hash->arena, entry, capacity);
    if (!entries) return false;
    for (size_t i = 0; i < hash->capacity; i++) {
        const entry *old = &hash->entries[i];
        if (old->key) *find(entries, capacity, old->key, old->length, old->code) = *old;
    }
    hash->entries = entries;
    hash->capacity = capacity;
    return true;
}

bool bert_hash_set(bert_hash *hash, const char *key, size_t length, void *value) {
    if (hash->count * 2 >= hash->capacity && !grow(hash)) return false;
    uint64_t code = code_of(key, length);
    entry *e = find(hash->entries, hash->capacity, key, length, code);
    if (!e->key) {
        *e = (entry){.key = key, .length = length, .code = code};
        hash->count++;
    }
    e->value = value;
    return true;
}

void *bert_hash_get(const bert_hash *hash, const char *key, size_t length) {
    return find(hash->entries, hash->capacity, key, length, code_of(key, length))->value;
}

size_t bert_hash_count(const bert_hash *hash) {
    return hash->count;
}
