/* Tables of kernels whose instructions are emulated (emulated_instructions.h): CMakeLists.txt compiles
 * cpu/kernels/<isa>.c with that header before it, and its table under the name here. */
#ifndef BERT_TESTS_CPU_EMULATED_KERNELS_H
#define BERT_TESTS_CPU_EMULATED_KERNELS_H

#include "cpu/kernels/kernels.h"

extern const bert_cpu_kernels bert_emulated_amx;
extern const bert_cpu_kernels bert_emulated_avx_vnni;    /**< Wants AVX2. */
extern const bert_cpu_kernels bert_emulated_avx512_bf16; /**< Wants AVX-512. */

/** Called, where a program has it, with each cache line that emulated kernels prefetch. */
__attribute__((weak)) void bert_emulated_prefetch(const void *line);
/** Likewise, with each product of two tiles of bfloat16. */
__attribute__((weak)) void bert_emulated_product(void);

#endif
