/* The tests of the kernels of 16-bit floats, for test_kernels.c: each holds one table's kernel to the scalar one. */
#ifndef BERT_TESTS_CPU_NARROW_KERNELS_H
#define BERT_TESTS_CPU_NARROW_KERNELS_H

#include "cpu/kernels/kernels.h"

void test_to_bf16(const bert_cpu_kernels *table);
void test_from_bf16(const bert_cpu_kernels *table);
void test_sgemm_bf16(const bert_cpu_kernels *table);
void test_bgemm(const bert_cpu_kernels *table);
void test_to_f16(const bert_cpu_kernels *table);
void test_from_f16(const bert_cpu_kernels *table);

#endif
