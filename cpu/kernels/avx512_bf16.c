/*
 * The product of bfloat16 for AVX-512 BF16: pairs of products are added to a float32 sum.
 *
 * tests/cpu/test_emulated.c runs this file, compiled a second time over an emulation of the instruction.
 */
#define PANEL_SUM __m512
#define PANEL_ZERO _mm512_setzero_ps()
#define PANEL_MULTIPLY(sum, a, b) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
#define PANEL_STORE(place, sum) _mm512_storeu_ps(place, sum)
#include "cpu/kernels/panel_avx512.h"

static void bgemm(const bert_bgemm_args *args) {
    panel_multiply(&(panel_product){.c = (char *)args->c,
                                    .a = (const char *)args->a,
                                    .b = (const char *)args->b,
                                    .ldc = args->ldc * (int64_t)sizeof *args->c,
                                    .lda = args->lda * (int64_t)sizeof *args->a,
                                    .rows = args->rows,
                                    .steps = args->steps,
                                    .prefetch = args->prefetch,
                                    .prefetch_lines = args->prefetch_lines});
}

const bert_cpu_kernels bert_cpu_kernels_avx512_bf16 = {.bgemm = bgemm};
