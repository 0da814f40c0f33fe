/* What the emulated cuBLASLt tells tests. */
#ifndef BERT_TESTS_CUDA_EMULATOR_CUBLASLT_H
#define BERT_TESTS_CUDA_EMULATOR_CUBLASLT_H

#include <stdbool.h>
#include <stdint.h>

/** Products that were asked for with fast sums since the program began. */
uint64_t bert_emulated_fast_products(void);

/** Different addresses of first operands (our B) of products since it was last called, 256 at most. */
int bert_emulated_first_operands(void);

/** From now on the library gives and checks no algorithm, as one of CUDA 13.3 does while a stream is captured; or no
 * longer. */
void bert_emulated_refuse_questions(bool refuse);

/** From now on the last column of each D, a row of ours, is wrong by far, or no longer. */
void bert_emulated_spoil_products(bool spoil);

#endif
