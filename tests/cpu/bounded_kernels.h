/* The tests of bounded panels: of what kernels measure, of bounding (cpu/gemm/bounded.h), of the product with them. */
#ifndef BERT_TESTS_CPU_BOUNDED_KERNELS_H
#define BERT_TESTS_CPU_BOUNDED_KERNELS_H

#include "cpu/kernels/kernels.h"

void test_measure_excess(const bert_cpu_kernels *table);
/** For tables that ask for bounded panels. */
void test_qgemm_bounded(const bert_cpu_kernels *table);

#endif
