/* What products of panels for x86 share. Included after the instructions, or their emulation. */
#ifndef BERT_CPU_KERNELS_PANEL_ROW_H
#define BERT_CPU_KERNELS_PANEL_ROW_H

#include "cpu/kernels/kernels.h"

/* Fetches the lines of a row of a panel's results into the second-level cache: they are written soon, and a write that
 * misses waits for memory. */
static inline __attribute__((always_inline)) void fetch_panel_row(const char *row) {
    for (int64_t at = 0; at < BERT_QGEMM_COLUMNS * (int64_t)sizeof(float); at += 64)
        _mm_prefetch(row + at, _MM_HINT_T1);
}

#endif
