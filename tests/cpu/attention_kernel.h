/* The test of the attention kernel, for test_kernels.c: holds one table's kernel to the scalar one. */
#ifndef BERT_TESTS_CPU_ATTENTION_KERNEL_H
#define BERT_TESTS_CPU_ATTENTION_KERNEL_H

#include "cpu/kernels/kernels.h"

void test_attention(const bert_cpu_kernels *table);

#endif
