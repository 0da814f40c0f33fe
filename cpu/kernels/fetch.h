/* What kernels for x86 fetch ahead. Included after the instructions, or their emulation. */
#ifndef BERT_CPU_KERNELS_FETCH_H
#define BERT_CPU_KERNELS_FETCH_H

#include "cpu/kernels/kernels.h"

/* One line of each range. */
static inline __attribute__((always_inline)) void fetch_turn(const bert_fetch *fetch, const char *from) {
    _mm_prefetch(from, _MM_HINT_T1);
    for (int32_t i = 1; i < fetch->streams; i++) _mm_prefetch(from + i * fetch->stride, _MM_HINT_T1);
}

/* A fetch whose lines are spread evenly over `points` of what is computed. */
typedef struct spread_fetch {
    bert_fetch fetch;
    int64_t points, due;
} spread_fetch;

static inline spread_fetch spread_over(const bert_fetch *fetch, int64_t points) {
    return (spread_fetch){.fetch = *fetch, .points = points > 0 ? points : 1};
}

static inline __attribute__((always_inline)) void fetch_at_point(spread_fetch *s) {
    if (s->fetch.lines == 0) return;
    for (s->due += s->fetch.lines; s->due >= s->points; s->due -= s->points) {
        fetch_turn(&s->fetch, s->fetch.from);
        s->fetch.from += BERT_FETCH_LINE;
    }
}

/* Fetches the lines of a row of a panel's results into the second-level cache: they are written soon, and a write that
 * misses waits for memory. */
static inline __attribute__((always_inline)) void fetch_panel_row(const char *row) {
    for (int64_t at = 0; at < BERT_QGEMM_COLUMNS * (int64_t)sizeof(float); at += BERT_FETCH_LINE)
        _mm_prefetch(row + at, _MM_HINT_T1);
}

#endif
