/* When a division by a scale may be had without dividing. */
#ifndef BERT_CPU_KERNELS_BY_INVERSE_H
#define BERT_CPU_KERNELS_BY_INVERSE_H

#include <stdbool.h>

/*
 * Whether x / scale may be had without the division, which takes 16 cycles a vector (Zen 4: 10): q = x inverse, where
 * inverse is 1 / scale rounded, then q + (x - scale q) inverse, where an FMA gives the remainder exactly. What comes
 * out may be one unit in the last place off, but rounds to the same whole number, half to even, as what a division
 * gives. That holds for each of the 2^23 mantissas of a scale, for the three floats x on either side of each (k + 1/2)
 * scale, k below 512: tests/cpu/quantized_kernels.c tries a share of those below 255, or all; beyond, bytes are full.
 * Far from the ends of float's exponents alone, where nothing underflows; false for NaN.
 */
static inline bool by_inverse(float scale) {
    return scale >= 0x1p-80F && scale <= 0x1p80F;
}

#endif
