/* Kernels for AVX-512 F, BW, DQ and VL. */
#define BERT_V_TILE_ROWS 8
#define BERT_V_TILE_VECTORS 3
#include "cpu/kernels/vector_avx512.h"
/* After the vectors that they are written over. */
#include "cpu/kernels/bf16_avx512.h"
#include "cpu/kernels/f16_avx512.h"
#include "cpu/kernels/quantized_avx512.h"
#include "cpu/kernels/split_avx512.h"
#include "cpu/kernels/vector_kernels.h"
/* After the softmax and the transposition that it uses. */
#include "cpu/kernels/attention_avx512.h"

/* 64 bytes by the sixteen parts of the table that their upper halves choose (kernel_lab --kernel lookup). */
static void lookup(const bert_lookup_args *args) {
    __m512i parts[16];
    for (int i = 0; i < 16; i++)
        parts[i] = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)(args->table + 16 * i)));
    const __m512i half = _mm512_set1_epi8(15);
    for (int64_t i = 0; i < args->n; i += 64) {
        const int64_t left = args->n - i;
        const __mmask64 mask = left < 64 ? ((__mmask64)1 << left) - 1 : ~(__mmask64)0;
        const __m512i x = _mm512_maskz_loadu_epi8(mask, args->x + i), low = _mm512_and_si512(x, half);
        const __m512i high = _mm512_and_si512(_mm512_srli_epi16(x, 4), half);
        __m512i y = _mm512_shuffle_epi8(parts[0], low);
        for (int part = 1; part < 16; part++) {
            const __mmask64 here = _mm512_cmpeq_epi8_mask(high, _mm512_set1_epi8((char)part));
            y = _mm512_mask_shuffle_epi8(y, here, parts[part], low);
        }
        _mm512_mask_storeu_epi8(args->y + i, mask, y);
    }
}

const bert_cpu_kernels bert_cpu_kernels_avx512 =
    BERT_CPU_VECTOR_TABLE(.fetch_streams = 4, .quantize = quantize, .qgemm = qgemm, .bounded_panels = true,
                          .lookup = lookup, .to_bf16 = to_bf16, .from_bf16 = from_bf16, .to_f16 = to_f16,
                          .from_f16 = from_f16, .split_rows = split_rows, .split_panel = split_panel,
                          .attention_left = attention_left, .attention_right = attention_right,
                          .attention_probabilities = attention_probabilities, .attention_divide = attention_divide);
