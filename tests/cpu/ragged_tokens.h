/* The tokens of a batch without its padding: starts and tokens as Attention and its kind take them. */
#ifndef BERT_TESTS_CPU_RAGGED_TOKENS_H
#define BERT_TESTS_CPU_RAGGED_TOKENS_H

#include <stdbool.h>
#include <stdint.h>

enum { BATCH = 4, SEQUENCE = 70, TOKENS = BATCH * SEQUENCE };

static int32_t starts[BATCH + 1], tokens[TOKENS];

/* Sequences of 70, 0, 51 and 1 tokens; with `holes` some in between are missing. The number of rows. */
static inline int64_t choose_tokens(bool holes) {
    static const int64_t first[BATCH] = {0, 0, 7, 69}, end[BATCH] = {70, 0, 58, 70};
    int32_t rows = 0;
    for (int b = 0; b < BATCH; b++) {
        starts[b] = rows;
        for (int64_t s = first[b]; s < end[b]; s++) {
            if (!holes || s % 5 != 3) tokens[rows++] = (int32_t)(b * SEQUENCE + s);
        }
    }
    starts[BATCH] = rows;
    return rows;
}

#endif
