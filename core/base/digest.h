/* Digests of large data: to notice damage and changed files, not malice. */
#ifndef BERT_BASE_DIGEST_H
#define BERT_BASE_DIGEST_H

#include "core/base/thread_pool.h"

#include <stddef.h>

/**
 * 64 bits that depend on every one of `bytes` bytes and on their number: the sum of XXH3 over blocks of 256 KiB, each
 * seeded with its position, so that threads share the work and any number of them gives the same. `threads` may be
 * NULL. Allocates nothing. Any thread.
 */
uint64_t bert_digest(const void *data, size_t bytes, bert_thread_pool *threads);

#endif
