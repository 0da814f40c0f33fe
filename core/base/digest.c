#include "core/base/digest.h"

#include <stdatomic.h>
#ifdef BERT_XXHASH_DISPATCHES
#include <xxh_x86dispatch.h> /* picks AVX2 or AVX-512 when it runs */
#else
#include <xxhash.h>
#endif

/* Large enough to hash at full speed, small enough to split a weight of a few MiB over threads. */
enum { BLOCK_BYTES = 1 << 18 };

typedef struct digest_run {
    const unsigned char *data;
    size_t bytes;
    _Atomic uint64_t sum;
} digest_run;

static void digest_block(void *argument, int64_t block, int thread) {
    digest_run *run = argument;
    const size_t start = (size_t)block * BLOCK_BYTES, left = run->bytes - start;
    const size_t length = left < BLOCK_BYTES ? left : BLOCK_BYTES;
    atomic_fetch_add_explicit(&run->sum, XXH3_64bits_withSeed(run->data + start, length, (uint64_t)block),
                              memory_order_relaxed);
}

uint64_t bert_digest(const void *data, size_t bytes, bert_thread_pool *threads) {
    digest_run run = {.data = data, .bytes = bytes};
    bert_thread_pool_run(threads, (int64_t)((bytes + BLOCK_BYTES - 1) / BLOCK_BYTES), digest_block, &run);
    const uint64_t last[2] = {atomic_load_explicit(&run.sum, memory_order_relaxed), bytes};
    return XXH3_64bits(last, sizeof last);
}
