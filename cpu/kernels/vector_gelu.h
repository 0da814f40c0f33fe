/*
 * GELU, x Phi(x), over the vectors of vector_avx2.h or vector_avx512.h. Included by vector_math.h alone. Errors against
 * double precision are held by tests/cpu/test_vector_math.c, which prints them.
 */
#ifndef BERT_CPU_KERNELS_VECTOR_GELU_H
#define BERT_CPU_KERNELS_VECTOR_GELU_H

#ifdef BERT_V_CHOOSES_BY_LAST_BITS
/*
 * Phi by pieces: a polynomial in u = 2.6 x - k for each whole number k, off by 3.1e-8 at most; x Phi(x) is by 6e-9
 * below -1.5. 0 before the first piece that isn't, at -5.96, where x Phi(x) is -8e-9; 1 in the last one, from 5.58 on,
 * where 1 - Phi(x) is below 2e-8. Phi itself becomes small where x is negative, so the result's relative error grows
 * from 1e-7 at -1.5 to 2e-4 at -5.96. Element k % 32 of a row is of piece k, of [-16, 15]. tests/tools/gelu_pieces.py
 * makes the table.
 */
enum { GELU_COEFFICIENTS = 6, GELU_PIECES = 32 };
_Static_assert((int)GELU_PIECES == 2 * V_WIDTH, "what v_choose chooses from");
/* clang-format off */
static const _Alignas(64) float gelu_pieces[GELU_COEFFICIENTS][GELU_PIECES] = {
    {0x1p-1F, 0x1.4caa9p-1F, 0x1.8ee90ep-1F, 0x1.c05e28p-1F, 0x1.e045bep-1F, 0x1.f20e3ap-1F,
     0x1.fa9eaep-1F, 0x1.fe2ef6p-1F, 0x1.ff76eep-1F, 0x1.ffdcccp-1F, 0x1.fff822p-1F, 0x1.fffe7ap-1F,
     0x1.ffffbep-1F, 0x1.fffff6p-1F, 0x1.fffffep-1F, 1.0F, 0.0F, 0x1.11a328p-28F,
     0x1.37d32ep-25F, 0x1.33cbe2p-22F, 0x1.07511ap-19F, 0x1.86bb94p-17F, 0x1.f742c4p-15F, 0x1.199808p-12F,
     0x1.1222d6p-10F, 0x1.d10a26p-9F, 0x1.58548ap-7F, 0x1.be38a8p-6F, 0x1.fba418p-5F, 0x1.fd0eb8p-4F,
     0x1.c45bc4p-3F, 0x1.66aadep-2F},
    {0x1.3a3e68p-3F, 0x1.23d6f2p-3F, 0x1.d3870cp-4F, 0x1.42fea2p-4F, 0x1.80eb1ep-5F, 0x1.8ba32ap-6F,
     0x1.5ebc94p-7F, 0x1.0c2d1ap-8F, 0x1.61b52ep-10F, 0x1.925e6cp-12F, 0x1.8ac8b8p-14F, 0x1.4e1482p-16F,
     0x1.e7acp-19F, 0x1.32feb6p-21F, 0x1.4d5dcep-24F, 0.0F, 0.0F, 0x1.38395ep-27F,
     0x1.4d5d44p-24F, 0x1.32fe5ep-21F, 0x1.e7aba4p-19F, 0x1.4e145cp-16F, 0x1.8ac8ap-14F, 0x1.925e6p-12F,
     0x1.61b52cp-10F, 0x1.0c2d1ap-8F, 0x1.5ebc96p-7F, 0x1.8ba32cp-6F, 0x1.80eb1ep-5F, 0x1.42feap-4F,
     0x1.d38708p-4F, 0x1.23d6fp-3F},
    {0x1.187c9cp-48F, -0x1.595d12p-7F, -0x1.14a352p-6F, -0x1.1eadf6p-6F, -0x1.c78718p-7F, -0x1.24a2e8p-7F,
     -0x1.374fb2p-8F, -0x1.15b344p-9F, -0x1.a29494p-11F, -0x1.0bd3b4p-12F, -0x1.23f232p-14F, -0x1.0fb7f6p-16F,
     -0x1.b09a64p-19F, -0x1.26ef24p-21F, -0x1.58c4cep-24F, 0.0F, 0.0F, 0x1.59cb0cp-27F,
     0x1.58c4c2p-24F, 0x1.26ef1ep-21F, 0x1.b09a62p-19F, 0x1.0fb7f6p-16F, 0x1.23f234p-14F, 0x1.0bd3b4p-12F,
     0x1.a29496p-11F, 0x1.15b344p-9F, 0x1.374fb2p-8F, 0x1.24a2e8p-7F, 0x1.c78716p-7F, 0x1.1eadf6p-6F,
     0x1.14a35ap-6F, 0x1.595d0cp-7F},
    {-0x1.efd5b6p-9F, -0x1.885448p-9F, -0x1.2d38aep-10F, 0x1.51b692p-11F, 0x1.9f1534p-10F, 0x1.a51d2ep-10F,
     0x1.2b3c72p-10F, 0x1.4a860ep-11F, 0x1.275f06p-12F, 0x1.b3c896p-14F, 0x1.0c7a96p-15F, 0x1.1655acp-17F,
     0x1.e803a6p-20F, 0x1.6b15c6p-22F, 0x1.cbbd6ap-25F, 0.0F, 0.0F, 0x1.f072aap-28F,
     0x1.cbcec4p-25F, 0x1.6b20c2p-22F, 0x1.e80f02p-20F, 0x1.165a68p-17F, 0x1.0c7da6p-15F, 0x1.b3cb62p-14F,
     0x1.275fa6p-12F, 0x1.4a858ep-11F, 0x1.2b3b1cp-10F, 0x1.a51a8ap-10F, 0x1.9f1332p-10F, 0x1.51bec6p-11F,
     -0x1.2d2846p-10F, -0x1.88527ep-9F},
    {-0x1.7c06cep-47F, 0x1.815128p-12F, 0x1.04eb64p-11F, 0x1.77f738p-12F, 0x1.cb1e1ap-14F, -0x1.3b576ep-14F,
     -0x1.1b5374p-13F, -0x1.d06518p-14F, -0x1.0bbbfp-14F, -0x1.de4ef6p-16F, -0x1.582ce8p-17F, -0x1.972bap-19F,
     -0x1.90c816p-21F, -0x1.4ad198p-23F, -0x1.cc7e8ep-26F, 0.0F, 0.0F, 0x1.0f512ap-28F,
     0x1.cc7f5ap-26F, 0x1.4ad202p-23F, 0x1.90c852p-21F, 0x1.972ba6p-19F, 0x1.582cc8p-17F, 0x1.de4eacp-16F,
     0x1.0bbbc4p-14F, 0x1.d064f8p-14F, 0x1.1b53c2p-13F, 0x1.3b59fp-14F, -0x1.cb1a3ep-14F, -0x1.77f7bap-12F,
     -0x1.04ef12p-11F, -0x1.814e4ep-12F},
    {0x1.5d1e76p-14F, 0x1.c5c4e6p-15F, -0x1.f762dep-19F, -0x1.7f2dc2p-15F, -0x1.8ff842p-15F, -0x1.97e2dep-16F,
     -0x1.65042p-20F, 0x1.297a5p-17F, 0x1.26909ap-17F, 0x1.5f7138p-18F, 0x1.350352p-19F, 0x1.aafc8cp-21F,
     0x1.dda29p-23F, 0x1.b7d956p-25F, 0x1.50fc26p-27F, 0.0F, 0.0F, 0x1.af88dcp-30F,
     0x1.501e3ep-27F, 0x1.b6c044p-25F, 0x1.dc7fa4p-23F, 0x1.aa0a1ep-21F, 0x1.3466cp-19F, 0x1.5ee1dp-18F,
     0x1.265052p-17F, 0x1.29e0dep-17F, -0x1.53fc0cp-20F, -0x1.95c52cp-16F, -0x1.8f2a5p-15F, -0x1.80d246p-15F,
     -0x1.3075dcp-18F, 0x1.c4409p-15F},
};
/* clang-format on */

static inline v_float gelu_coefficient(int i, v_int piece) {
    return v_choose(v_load(gelu_pieces[i]), v_load(gelu_pieces[i] + V_WIDTH), piece);
}

static inline v_float v_gelu(v_float x) {
    const v_float rounding = v_set(0x1.8p23F), scale = v_set(2.6F);
    /* Where an operand is NaN the second one is the result: NaN comes through. */
    const v_float inside = v_min(v_set(15.0F / 2.6F), v_max(v_set(-16.0F / 2.6F), x));
    const v_float rounded = v_fma(inside, scale, rounding); /* its last bits are k */
    const v_float u = v_fma(inside, scale, v_sub(rounding, rounded));
    const v_int piece = v_bits(rounded);
    v_float p = gelu_coefficient(5, piece);
    p = v_fma(p, u, gelu_coefficient(4, piece));
    p = v_fma(p, u, gelu_coefficient(3, piece));
    p = v_fma(p, u, gelu_coefficient(2, piece));
    p = v_fma(p, u, gelu_coefficient(1, piece));
    p = v_fma(p, u, gelu_coefficient(0, piece));
    return v_mul(x, p); /* -infinity gives NaN, as the formula does */
}
#else
/*
 * x Phi(x), where Phi(-t) = erfc(t / sqrt 2) / 2 = 2^q(t) for t = |x|, q to 2.1e-8 on [0, 6] (more beyond 1), and
 * Phi(t) = 1 - Phi(-t): max(x, 0) - t Phi(-t), so that the small results of negative x keep their digits. Beyond 6 that
 * product is below 6e-9, and 0 here. 2^r on [-1/2, 1/2] to 7.5e-8.
 */
static inline v_float v_gelu(v_float x) {
    const v_float size = v_abs(x), one = v_set(1.0F), rounding = v_set(0x1.8p23F);
    v_float q = v_set(0x1.5387cep-29F);
    q = v_fma(q, size, v_set(-0x1.8f9514p-24F));
    q = v_fma(q, size, v_set(0x1.a0a24p-20F));
    q = v_fma(q, size, v_set(-0x1.f6b57cp-17F));
    q = v_fma(q, size, v_set(0x1.78d05ep-14F));
    q = v_fma(q, size, v_set(-0x1.3fd6eap-12F));
    q = v_fma(q, size, v_set(0x1.94ea6cp-16F));
    q = v_fma(q, size, v_set(0x1.c6eef6p-8F));
    q = v_fma(q, size, v_set(-0x1.adab08p-5F));
    q = v_fma(q, size, v_set(-0x1.d63c7cp-2F));
    q = v_fma(q, size, v_set(-0x1.26aed4p+0F));
    q = v_fma(q, size, v_set(-1.0F));
    const v_float n = v_sub(v_add(q, rounding), rounding), r = v_sub(q, n);
    v_float p = v_set(0x1.5c08dcp-10F);
    p = v_fma(p, r, v_set(0x1.3d0c52p-7F));
    p = v_fma(p, r, v_set(0x1.c6b6e6p-5F));
    p = v_fma(p, r, v_set(0x1.ebf918p-3F));
    p = v_fma(p, r, v_set(0x1.62e428p-1F));
    p = v_fma(p, r, one);
    /* -infinity gives NaN, as the formula does */
    const v_float positive = v_select(v_less(x, v_set(0.0F)), v_mul(x, v_set(0.0F)), x);
    return v_select(v_less(v_set(6.0F), size), positive, v_fnma(size, v_scale_down(p, n), positive));
}
#endif

#endif
