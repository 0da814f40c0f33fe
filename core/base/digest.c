#include "core/base/digest.h"

#include <stdatomic.h>
/* The state of a digest, on the stack */
#define XXH_STATIC_LINKING_ONLY
#ifdef BERT_XXHASH_DISPATCHES
#include <xxh_x86dispatch.h> /* picks AVX2 or AVX-512 when it runs */
#else
#include <xxhash.h>
#endif

/* Large enough to hash at full speed, small enough to split a weight of a few MiB over threads. */
enum { BLOCK_BYTES = 1 << 18 };
/* A CPU fetches ahead up to the end of a page at most. So whole pages are asked for, two before they are read. */
enum { PAGE_BYTES = 4096, PAGES_AHEAD = 2, LINE_BYTES = 64 };

typedef struct digest_run {
    const unsigned char *data;
    size_t bytes;
    _Atomic uint64_t sum;
} digest_run;

static void fetch_page(const digest_run *run, size_t start) {
    const size_t end = start + PAGE_BYTES < run->bytes ? start + PAGE_BYTES : run->bytes;
    for (size_t at = start; at < end; at += LINE_BYTES) __builtin_prefetch(run->data + at, 0, 2);
}

static void digest_block(void *argument, int64_t block, int thread) {
    digest_run *run = argument;
    const size_t start = (size_t)block * BLOCK_BYTES, left = run->bytes - start;
    const size_t end = start + (left < BLOCK_BYTES ? left : BLOCK_BYTES);
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset_withSeed(&state, (uint64_t)block);
    for (size_t at = start; at < end; at += PAGE_BYTES) {
        fetch_page(run, at + PAGES_AHEAD * PAGE_BYTES);
        XXH3_64bits_update(&state, run->data + at, end - at < PAGE_BYTES ? end - at : PAGE_BYTES);
    }
    atomic_fetch_add_explicit(&run->sum, XXH3_64bits_digest(&state), memory_order_relaxed);
}

uint64_t bert_digest(const void *data, size_t bytes, bert_thread_pool *threads) {
    digest_run run = {.data = data, .bytes = bytes};
    bert_thread_pool_run(threads, (int64_t)((bytes + BLOCK_BYTES - 1) / BLOCK_BYTES), digest_block, &run);
    const uint64_t last[2] = {atomic_load_explicit(&run.sum, memory_order_relaxed), bytes};
    return XXH3_64bits(last, sizeof last);
}
