/* Kernels for AVX2 and FMA. */
#define BERT_V_TILE_ROWS 6
#define BERT_V_TILE_VECTORS 2
#include "cpu/kernels/vector_avx2.h"
/* After the vectors that they are written over. */
#include "cpu/kernels/bf16_avx2.h"
#include "cpu/kernels/f16_avx2.h"
#include "cpu/kernels/quantized_avx2.h"
#include "cpu/kernels/vector_kernels.h"

const bert_cpu_kernels bert_cpu_kernels_avx2 =
    BERT_CPU_VECTOR_TABLE(.quantize = quantize, .measure_excess = measure_excess, .qgemm = qgemm,
                          .bounded_panels = true, .to_bf16 = to_bf16, .from_bf16 = from_bf16, .to_f16 = to_f16,
                          .from_f16 = from_f16);
