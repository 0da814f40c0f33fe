/*
 * exp, erf, tanh and the functions made of them over the vectors of vector_avx2.h or vector_avx512.h. Included by
 * vector_kernels.h alone. Errors against double precision, over floats from the whole line, are held by
 * tests/cpu/test_vector_math.c.
 *
 * The polynomials are minimax fits made for these intervals (Chebyshev nodes, reweighted least squares); the error of
 * each fit is stated beside it and lies well below half a unit in the last place of float32, 6e-8.
 */
#ifndef BERT_CPU_KERNELS_VECTOR_MATH_H
#define BERT_CPU_KERNELS_VECTOR_MATH_H

/*
 * x = n ln 2 + r for a whole n and |r| <= ln 2 / 2; returns e^r = 1 + r + r^2 g(r), g to 3e-9. Adding 1.5 2^23 rounds
 * to whole numbers; ln 2 is in two parts so that n times the first is exact.
 */
static inline v_float v_exp_parts(v_float x, v_float *n) {
    const v_float rounding = v_set(0x1.8p23F);
    *n = v_sub(v_fma(x, v_set(1.44269504F), rounding), rounding);
    v_float r = v_fnma(*n, v_set(0x1.62e4p-1F), x);
    r = v_fnma(*n, v_set(0x1.7f7d1cp-20F), r);
    v_float p = v_set(1.38146e-3F);
    p = v_fma(p, r, v_set(8.36872e-3F));
    p = v_fma(p, r, v_set(0x1.5558f2p-5F));
    p = v_fma(p, r, v_set(0x1.555492p-3F));
    p = v_fma(p, r, v_set(0x1.fffffcp-2F));
    p = v_fma(p, r, v_set(1.0F));
    return v_fma(p, r, v_set(1.0F));
}

/* e^x within 2 ulp, subnormal results included; 0 below about -104, infinity above 88.72, NaN for NaN. */
static inline v_float v_exp(v_float x) {
    v_float n;
    /* Where an operand is NaN the second one is the result: NaN comes through. */
    const v_float part = v_exp_parts(v_min(v_set(150.0F), v_max(v_set(-150.0F), x)), &n);
    return v_scale(part, n);
}

/* The same for x <= 0; subnormal results are 0. */
static inline v_float v_exp_down(v_float x) {
    v_float n;
    const v_float part = v_exp_parts(v_max(v_set(-150.0F), x), &n);
    return v_scale_down(part, n);
}

/* z p(z^2) with erf(z) = z + z p(z^2) on |z| <= 0.875, to 8.6e-9; takes z^2 */
static inline v_float v_erf_small(v_float z, v_float square) {
    v_float p = v_set(-6.2032527907e-4F);
    p = v_fma(p, square, v_set(5.0321808743e-3F));
    p = v_fma(p, square, v_set(-2.6791462739e-2F));
    p = v_fma(p, square, v_set(1.12824553217e-1F));
    p = v_fma(p, square, v_set(-3.76125504635e-1F));
    p = v_fma(p, square, v_set(1.28379157492e-1F));
    return v_mul(p, z);
}

/* erfc(z) on [0.875, 5], as e^-q(z) with q to 2.8e-8; 0 above 5 (it is below 2e-12 there) */
static inline v_float v_erfc_large(v_float z) {
    v_float q = v_set(9.796065133840032e-8F);
    q = v_fma(q, z, v_set(-3.7708745903288357e-6F));
    q = v_fma(q, z, v_set(6.611662919585043e-5F));
    q = v_fma(q, z, v_set(-7.033236898059006e-4F));
    q = v_fma(q, z, v_set(5.110683514922117e-3F));
    q = v_fma(q, z, v_set(-2.7163700416200073e-2F));
    q = v_fma(q, z, v_set(1.1108479685352844e-1F));
    q = v_fma(q, z, v_set(6.309899470667485e-1F));
    q = v_fma(q, z, v_set(1.13062070401167F));
    q = v_fma(q, z, v_set(-3.960223841641408e-4F));
    return v_select(v_less(v_set(5.0F), z), v_set(0.0F), v_exp(v_negate(q)));
}

/* erf within 2 ulp. */
static inline v_float v_erf(v_float x) {
    const v_float z = v_abs(x);
    const v_float small = v_add(x, v_erf_small(x, v_mul(x, x)));
    const v_float large = v_copy_sign(v_sub(v_set(1.0F), v_erfc_large(z)), x);
    /* "0.875 < z" is false for NaN, which the small branch hands on. */
    return v_select(v_less(v_set(0.875F), z), large, small);
}

#include "cpu/kernels/vector_gelu.h"

static inline v_float v_sigmoid(v_float x) {
    return v_div(v_set(1.0F), v_add(v_set(1.0F), v_exp(v_negate(x))));
}

/* x (1 + tanh(u)) / 2 = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3) */
static inline v_float v_gelu_tanh(v_float x) {
    const v_float cubic = v_fma(v_mul(x, x), v_set(0.0713548162726F), v_set(1.59576912160573F));
    return v_mul(x, v_sigmoid(v_mul(x, cubic)));
}

/* tanh within 2 ulp: x + x^3 p(x^2) up to 0.625, to 4.2e-9; 1 - 2 / (e^2x + 1) beyond. */
static inline v_float v_tanh(v_float x) {
    const v_float square = v_mul(x, x), size = v_abs(x);
    v_float p = v_set(-5.717036547108621e-3F);
    p = v_fma(p, square, v_set(2.0650578989940997e-2F));
    p = v_fma(p, square, v_set(-5.3743495256723985e-2F));
    p = v_fma(p, square, v_set(1.3331491248451416e-1F));
    p = v_fma(p, square, v_set(-3.3333283923587925e-1F));
    const v_float small = v_fma(v_mul(x, square), p, x);
    const v_float power = v_exp(v_add(size, size));
    const v_float large = v_sub(v_set(1.0F), v_div(v_set(2.0F), v_add(power, v_set(1.0F))));
    return v_select(v_less(v_set(0.625F), size), v_copy_sign(large, x), small);
}

#endif
