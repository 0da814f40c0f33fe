/* The tests of the quantized kernels, for test_kernels.c: each holds one table's kernel to the scalar one, to the bit.
 */
#ifndef BERT_TESTS_CPU_QUANTIZED_KERNELS_H
#define BERT_TESTS_CPU_QUANTIZED_KERNELS_H

#include "cpu/kernels/kernels.h"

void test_range(const bert_cpu_kernels *table);
void test_quantize(const bert_cpu_kernels *table);
void test_qgemm(const bert_cpu_kernels *table);
void test_dequantize(const bert_cpu_kernels *table);
void test_dequantize_bytes(const bert_cpu_kernels *table);
void test_quantized_add(const bert_cpu_kernels *table);
void test_lookup(const bert_cpu_kernels *table);

#endif
