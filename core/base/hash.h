/* A table from strings to pointers, in an arena. */
#ifndef BERT_BASE_HASH_H
#define BERT_BASE_HASH_H

#include "core/base/memory.h"

/** Open addressing; entries can be replaced but not removed. Not for use by two threads at once while it is written. */
typedef struct bert_hash bert_hash;

/** NULL when memory runs out. Lives as long as the arena. */
bert_hash *bert_hash_create(bert_arena *arena);
/**
 * Sets the value of a key of `length` bytes (not copied: it must live as long as the table). False when memory runs
 * out, and then the table is as it was.
 */
bool bert_hash_set(bert_hash *hash, const char *key, size_t length, void *value);
/** NULL when there is none. */
void *bert_hash_get(const bert_hash *hash, const char *key, size_t length);
size_t bert_hash_count(const bert_hash *hash);

#endif
