/*
 * Attention by products of bfloat16 for AVX-512: its sides, and the softmax between its products, which gives its
 * probabilities in parts. Included by avx512.c alone.
 */
#ifndef BERT_CPU_KERNELS_ATTENTION_AVX512_H
#define BERT_CPU_KERNELS_ATTENTION_AVX512_H

#include "cpu/kernels/bf16_avx512.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/lanes_avx512.h"
#include "cpu/kernels/split_parts_avx512.h"

#include <immintrin.h>
#include <string.h>

/* Stores parts of pairs, `step` elements apart, the greatest first or last. */
V_ALWAYS_INLINE void store_parts(const int32_t parts, const bool greatest_first, uint16_t *place, int64_t step,
                                 __m512 first, __m512 second) {
    if (parts == 1) {
        _mm512_storeu_si512(place, pairs_of(round_to_bf16(first), round_to_bf16(second)));
        return;
    }
    const split_pairs pairs = split_two(first, second, pairs_of);
    _mm512_storeu_si512(place, greatest_first ? pairs.high : pairs.low);
    _mm512_storeu_si512(place + step, pairs.middle);
    _mm512_storeu_si512(place + 2 * step, greatest_first ? pairs.low : pairs.high);
}

enum { PART = BERT_PARTS_NEXT, HALF_STEPS = BERT_SPLIT_STEPS / 2 };

/* 16 elements of a row from one on, zeros beyond the row's `n`. */
static inline __m512 load_to_end(const float *x, int64_t from, int64_t n) {
    if (from + 16 <= n) return _mm512_loadu_ps(x + from);
    return from < n ? _mm512_maskz_loadu_ps(lanes_of(n - from), x + from) : _mm512_setzero_ps();
}

V_ALWAYS_INLINE void left_side(const int32_t parts, const bert_attention_left_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        const float *x = args->x + row * args->ldx;
        uint16_t *y = args->y + row * 32;
        for (int64_t step = 0; step < args->k; step += BERT_SPLIT_STEPS, y += bert_parts_elements(parts))
            store_parts(parts, false, y, PART, load_to_end(x, step, args->k),
                        load_to_end(x, step + HALF_STEPS, args->k));
    }
}

static void attention_left(const bert_attention_left_args *args) {
    if (args->parts == 1)
        left_side(1, args);
    else
        left_side(BERT_SPLIT_PARTS, args);
}

/* A tile of k of 16 columns, [32 steps][16 columns], from rows of k. */
V_ALWAYS_INLINE void tile_of_rows(const int32_t parts, const bert_attention_right_args *args, int64_t step,
                                  int64_t column, uint16_t *y) {
    for (int64_t i = 0; i < HALF_STEPS; i++) {
        const int64_t first = step + i, second = first + HALF_STEPS;
        const float *x = args->x + first * args->ldx;
        const __m512 upper = first < args->k ? load_to_end(x, column, args->columns) : _mm512_setzero_ps();
        const __m512 lower =
            second < args->k ? load_to_end(x + HALF_STEPS * args->ldx, column, args->columns) : _mm512_setzero_ps();
        store_parts(parts, true, y + i * 32, PART, upper, lower);
    }
}

/* The same from rows that are columns. */
V_ALWAYS_INLINE void tile_of_columns(const int32_t parts, const bert_attention_right_args *args, int64_t step,
                                     int64_t column, uint16_t *y) {
    float rows[16][BERT_SPLIT_STEPS], turned[BERT_SPLIT_STEPS][16];
    const float *x = args->x + column * args->ldx + step;
    int64_t ldx = args->ldx;
    const int64_t columns = args->columns - column, steps = args->k - step;
    if (columns < 16 || steps < BERT_SPLIT_STEPS) {
        memset(rows, 0, sizeof rows);
        for (int64_t i = 0; i < columns && i < 16; i++) {
            _mm512_storeu_ps(rows[i], load_to_end(x + i * ldx, 0, steps));
            _mm512_storeu_ps(rows[i] + HALF_STEPS, load_to_end(x + i * ldx, HALF_STEPS, steps));
        }
        x = rows[0];
        ldx = BERT_SPLIT_STEPS;
    }
    v_transpose_square(turned[0], 16, x, ldx);
    v_transpose_square(turned[HALF_STEPS], 16, x + HALF_STEPS, ldx);
    for (int64_t i = 0; i < HALF_STEPS; i++)
        store_parts(parts, true, y + i * 32, PART, _mm512_loadu_ps(turned[i]), _mm512_loadu_ps(turned[i + HALF_STEPS]));
}

/* Columns of the last panel that x doesn't have are zeros as well. Rows of x are read in their order, since each may
 * lie on a page of its own. */
V_ALWAYS_INLINE void right_side(const int32_t parts, const bert_attention_right_args *args) {
    const int64_t tiles = bert_split_tiles(args->k), panels = bert_parts_panels(args->columns);
    const int64_t column_tiles = 2 * panels, elements = bert_parts_elements(parts);
    for (int64_t at = 0; at < tiles * column_tiles; at++) {
        const int64_t tile = args->transposed ? at % tiles : at / column_tiles;
        const int64_t column_tile = args->transposed ? at / tiles : at % column_tiles;
        uint16_t *y = args->y + (column_tile / 2 * tiles + tile) * elements + column_tile % 2 * BERT_SPLIT_TILE;
        if (args->transposed)
            tile_of_columns(parts, args, tile * BERT_SPLIT_STEPS, column_tile * 16, y);
        else
            tile_of_rows(parts, args, tile * BERT_SPLIT_STEPS, column_tile * 16, y);
    }
}

static void attention_right(const bert_attention_right_args *args) {
    if (args->parts == 1)
        right_side(1, args);
    else
        right_side(BERT_SPLIT_PARTS, args);
}

/* ---- Probabilities ----------------------------------------------------------------------------------------------- */

/* e^x for x <= 0, 0 below 2^-100; NaN for NaN. */
static inline __m512 exp_in_parts(__m512 x) {
    __m512 n;
    const __m512 part = v_exp_parts(v_max(v_set(-150.0F), x), &n);
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(n, v_set(-99.0F), _CMP_NLT_UQ), part, n);
}

/* What the 8 leading bits leave: exact, and so are three parts that are cut and not rounded. */
static inline __m512 below_upper(__m512 x) {
    const __m512i upper = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32((int32_t)0xffff0000));
    return _mm512_sub_ps(x, _mm512_castsi512_ps(upper));
}

/* 32 probabilities, none negative. Cut parts are 14 instructions where rounded ones are 18. */
V_ALWAYS_INLINE void store_probabilities(const int32_t parts, uint16_t *y, __m512 first, __m512 second) {
    if (parts == 1) {
        const __m512i half = _mm512_set1_epi32(0x8000);
        _mm512_storeu_si512(y, pairs_of(_mm512_add_epi32(_mm512_castps_si512(first), half),
                                        _mm512_add_epi32(_mm512_castps_si512(second), half)));
        return;
    }
    for (int part = BERT_SPLIT_PARTS - 1; part >= 0; part--) {
        _mm512_storeu_si512(y + part * PART, pairs_of(_mm512_castps_si512(first), _mm512_castps_si512(second)));
        first = below_upper(first);
        second = below_upper(second);
    }
}

/* `rows` rows from `row` on of scores that are scaled and biased. */
V_ALWAYS_INLINE void probability_rows(const int rows, const int32_t parts,
                                      const bert_attention_probabilities_args *args, int64_t row,
                                      const __m512 *greatest) {
    const bert_attention_args *attention = args->attention;
    const int64_t n = attention->n, whole = n / BERT_SPLIT_STEPS * BERT_SPLIT_STEPS, ldx = attention->ld_scores;
    const float *x = attention->scores + row * ldx;
    uint16_t *y = args->y + row * 32;
    __m512 sums[V_SCORE_ROWS];
    for (int i = 0; i < rows; i++) sums[i] = _mm512_setzero_ps();
    for (int64_t key = 0; key < whole; key += BERT_SPLIT_STEPS, y += bert_parts_elements(parts)) {
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const float *place = x + i * ldx + key;
            const __m512 first = exp_in_parts(_mm512_sub_ps(_mm512_loadu_ps(place), greatest[i]));
            const __m512 second = exp_in_parts(_mm512_sub_ps(_mm512_loadu_ps(place + HALF_STEPS), greatest[i]));
            sums[i] = _mm512_add_ps(sums[i], _mm512_add_ps(first, second));
            store_probabilities(parts, y + i * 32, first, second);
        }
    }
    if (whole < n) {
        const __mmask16 lanes[2] = {lanes_of(n - whole), n - whole > 16 ? lanes_of(n - whole - 16) : 0};
        for (int i = 0; i < rows; i++) {
            __m512 values[2];
            for (int j = 0; j < 2; j++) {
                const __m512 score = _mm512_maskz_loadu_ps(lanes[j], x + i * ldx + whole + j * HALF_STEPS);
                values[j] = _mm512_maskz_mov_ps(lanes[j], exp_in_parts(_mm512_sub_ps(score, greatest[i])));
            }
            sums[i] = _mm512_add_ps(sums[i], _mm512_add_ps(values[0], values[1]));
            store_probabilities(parts, y + i * 32, values[0], values[1]);
        }
    }
    for (int i = 0; i < rows; i++) args->totals[row + i] = _mm512_reduce_add_ps(sums[i]);
}

/* Where the row's result will go. */
static inline void fetch_place(const bert_attention_args *attention, int64_t row) {
    const char *y = (const char *)(attention->y + row * attention->ldy);
    for (int64_t i = 0; i < attention->width; i += 16) _mm_prefetch(y + i * 4, _MM_HINT_T0);
}

V_ALWAYS_INLINE void probabilities_of(const int rows, const bert_attention_probabilities_args *args, int64_t row) {
    bert_softmax_args softmax[V_SCORE_ROWS];
    __m512 greatest[V_SCORE_ROWS];
    for (int i = 0; i < rows; i++) {
        softmax[i] = bert_attention_softmax(args->attention, row + i);
        fetch_place(args->attention, row + i);
    }
    scaled_scores(rows, softmax, greatest);
    if (args->parts == 1)
        probability_rows(rows, 1, args, row, greatest);
    else
        probability_rows(rows, BERT_SPLIT_PARTS, args, row, greatest);
}

/* Four rows don't reach over the end of a tile. */
static void attention_probabilities(const bert_attention_probabilities_args *args) {
    const int64_t rows = args->attention->rows;
    int64_t row = 0;
    for (; row + V_SCORE_ROWS <= rows; row += V_SCORE_ROWS) probabilities_of(V_SCORE_ROWS, args, row);
    for (; row < rows; row++) probabilities_of(1, args, row);
}

static void attention_divide(const bert_attention_divide_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        const __m512 factor = _mm512_set1_ps(1.0F / args->totals[row]);
        __m512 zero = _mm512_setzero_ps(); /* NaN where something isn't finite */
        for (int64_t i = 0; i < args->width; i += 16) {
            const __mmask16 lanes = lanes_of(args->width - i);
            const __m512 x = _mm512_maskz_loadu_ps(lanes, args->x + row * args->ldx + i);
            const __m512 y = _mm512_mul_ps(x, factor);
            zero = _mm512_fmadd_ps(y, _mm512_setzero_ps(), zero);
            _mm512_mask_storeu_ps(args->y + row * args->ldy + i, lanes, y);
        }
        args->left_out[row] = _mm512_cmp_ps_mask(zero, zero, _CMP_UNORD_Q) != 0;
    }
}

#endif
