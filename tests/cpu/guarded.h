/* Buffers that end where a page that can't be touched begins, with a pattern before them. */
#ifndef BERT_TESTS_CPU_GUARDED_H
#define BERT_TESTS_CPU_GUARDED_H

#include "tests/support/test.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct bert_guarded {
    unsigned char *pages;
    size_t total, used; /* bytes; the guard page is not in `total` */
} bert_guarded;

enum { GUARD_PATTERN = 0xa5 };

/* `bytes` of memory filled with the pattern: one byte past the end is a fault. */
static inline void *guarded_new(bert_guarded *out, size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    out->total = (bytes + 64 + page - 1) / page * page;
    out->used = bytes;
    out->pages = mmap(NULL, out->total + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(out->pages != MAP_FAILED);
    assert_int_equal(mprotect(out->pages + out->total, page, PROT_NONE), 0);
    memset(out->pages, GUARD_PATTERN, out->total);
    return out->pages + out->total - bytes;
}

static inline float *guarded_floats(bert_guarded *out, int64_t count) {
    return guarded_new(out, (size_t)count * sizeof(float));
}

/* Fails when anything before the buffer was written. */
static inline void guarded_free(bert_guarded *guarded) {
    const size_t before = guarded->total - guarded->used;
    size_t written = 0;
    for (size_t i = 0; i < before; i++) written += guarded->pages[i] != GUARD_PATTERN;
    assert_int_equal(written, 0);
    munmap(guarded->pages, guarded->total + (size_t)sysconf(_SC_PAGESIZE));
}

/* Numbers in [-scale, scale) that look random and are the same everywhere. */
static inline void fill_random(float *x, int64_t count, float scale, uint32_t seed) {
    uint32_t state = seed * 2654435761U + 12345U;
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525U + 1013904223U;
        x[i] = ((float)(state >> 8) * 0x1p-23F - 1.0F) * scale;
    }
}

#endif
