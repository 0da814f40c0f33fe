/* What the emulated cuBLASLt tells tests. */
#ifndef BERT_TESTS_CUDA_EMULATOR_CUBLASLT_H
#define BERT_TESTS_CUDA_EMULATOR_CUBLASLT_H

#include <stdint.h>

/** Products that were asked for with fast sums since the program began. */
uint64_t bert_emulated_fast_products(void);

#endif
