/* The quantized product for AVX-512 VNNI: four products of bytes are added to a 32-bit sum, without saturation. */
#define PANEL_SUM __m512i
#define PANEL_ZERO _mm512_setzero_si512()
#define PANEL_LOAD(place) _mm512_loadu_si512(place)
#define PANEL_MULTIPLY(sum, a, b) _mm512_dpbusd_epi32(sum, a, b)
#define PANEL_STORE(place, sum) _mm512_storeu_si512(place, sum)
#include "cpu/kernels/panel_avx512.h"

static void qgemm(const bert_qgemm_args *args) {
    panel_multiply(&(panel_product){.c = (char *)args->c,
                                    .a = (const char *)args->a,
                                    .b = (const char *)args->b,
                                    .ldc = BERT_QGEMM_COLUMNS * (int64_t)sizeof *args->c,
                                    .lda = args->lda,
                                    .rows = args->rows,
                                    .steps = args->steps,
                                    .fetch = args->fetch,
                                    .y = args->y,
                                    .y_stride = args->y_stride});
}

const bert_cpu_kernels bert_cpu_kernels_avx512_vnni = {.qgemm = qgemm};
