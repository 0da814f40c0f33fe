/* Kernels for AVX-512 F, BW, DQ and VL. */
#define BERT_V_TILE_ROWS 8
#define BERT_V_TILE_VECTORS 3
#include "cpu/kernels/vector_avx512.h"
/* After the vectors that they are written over. */
#include "cpu/kernels/bf16_avx512.h"
#include "cpu/kernels/f16_avx512.h"
#include "cpu/kernels/quantized_avx512.h"
#include "cpu/kernels/vector_kernels.h"

const bert_cpu_kernels bert_cpu_kernels_avx512 =
    BERT_CPU_VECTOR_TABLE(.range = range, .quantize = quantize, .qgemm = qgemm, .to_bf16 = to_bf16,
                          .from_bf16 = from_bf16, .to_f16 = to_f16, .from_f16 = from_f16);
