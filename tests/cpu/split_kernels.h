/* The tests of the kernels of split float32, for test_kernels.c: parts are the scalar kernels' to the last bit, and
 * products are held to sums in double. */
#ifndef BERT_TESTS_CPU_SPLIT_KERNELS_H
#define BERT_TESTS_CPU_SPLIT_KERNELS_H

#include "cpu/kernels/kernels.h"

void test_split_rows(const bert_cpu_kernels *table);
void test_split_panel(const bert_cpu_kernels *table);
void test_sgemm_split(const bert_cpu_kernels *table);

#endif
