/*
 * Splitting of float32 into three of bfloat16 for AVX-512. Panels are read from memory from front to back, which the
 * hardware's prefetching wants. Included by avx512.c alone.
 */
#ifndef BERT_CPU_KERNELS_SPLIT_AVX512_H
#define BERT_CPU_KERNELS_SPLIT_AVX512_H

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/lanes_avx512.h"
#include "cpu/kernels/split_parts_avx512.h"

#include <immintrin.h>

/* Upper halves, one vector after the other. */
static inline __m512i row_of(__m512i first, __m512i second) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(_mm512_srli_epi32(first, 16))),
                              _mm512_cvtepi32_epi16(_mm512_srli_epi32(second, 16)), 1);
}

/* 32 steps of a row; `left` are in it. */
static inline void split_row_part(uint16_t *tile, const float *x, int64_t left) {
    enum { PART = 2 * BERT_SPLIT_TILE };
    const split_pairs pairs =
        left >= BERT_SPLIT_STEPS
            ? split_two(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16), row_of)
            : split_two(_mm512_maskz_loadu_ps(lanes_of(left), x),
                        _mm512_maskz_loadu_ps(lanes_of(left > 16 ? left - 16 : 0), x + 16), row_of);
    _mm512_storeu_si512(tile, pairs.low);
    _mm512_storeu_si512(tile + PART, pairs.middle);
    _mm512_storeu_si512(tile + 2 * PART, pairs.high);
}

static void split_rows(const bert_split_rows_args *args) {
    const int64_t tiles = bert_split_tiles(args->k), elements = BERT_SPLIT_GROUP_TILE;
    for (int64_t row = 0; row < (args->rows + 15) / 16 * 16; row++) {
        uint16_t *tile = args->y + row / BERT_SPLIT_ROWS * tiles * elements +
                         row % BERT_SPLIT_ROWS / 16 * BERT_SPLIT_TILE + row % 16 * 32;
        const float *x = row < args->rows ? args->x + row * args->ldx : args->x;
        const int64_t k = row < args->rows ? args->k : 0;
        for (int64_t step = 0; step < args->k; step += BERT_SPLIT_STEPS, tile += elements)
            split_row_part(tile, x + (k ? step : 0), k > step ? k - step : 0);
    }
}

/* A row of 16 columns from `column` on, zeros beyond its k and columns. */
static inline __m512 load_panel(const bert_split_panel_args *args, int64_t row, int64_t column) {
    if (row >= args->k) return _mm512_setzero_ps();
    return _mm512_maskz_loadu_ps(lanes_of(args->columns - column), args->x + row * args->ldx + column);
}

static void split_panel(const bert_split_panel_args *args) {
    const int64_t column_tiles = (args->columns + 15) / 16, part = column_tiles * BERT_SPLIT_TILE;
    const int64_t whole = bert_split_whole_pairs(args);
    for (int64_t at = args->first; at < args->end; at++) {
        const int64_t row = 2 * at;
        uint16_t *pair = args->y + bert_split_pair_place(args->columns, args->ring, at);
        if (at < whole) {
            split_whole_pair(pair, args->x + row * args->ldx, args->ldx);
            continue;
        }
        for (int64_t i = 0; i < column_tiles; i++) {
            const split_pairs pairs =
                split_two(load_panel(args, row, 16 * i), load_panel(args, row + 1, 16 * i), pairs_of);
            store_panel(pair + i * BERT_SPLIT_TILE, part, &pairs);
        }
    }
}

#endif
