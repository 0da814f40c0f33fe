/* The tests of the kernels of attention by products of bfloat16, for test_kernels.c: sides are the scalar kernels' to
 * the last bit, products and probabilities are held to sums in double. */
#ifndef BERT_TESTS_CPU_ATTENTION_PARTS_KERNELS_H
#define BERT_TESTS_CPU_ATTENTION_PARTS_KERNELS_H

#include "cpu/kernels/kernels.h"

void test_attention_left(const bert_cpu_kernels *table);
void test_attention_right(const bert_cpu_kernels *table);
void test_attention_multiply(const bert_cpu_kernels *table);
void test_attention_probabilities(const bert_cpu_kernels *table);
void test_attention_divide(const bert_cpu_kernels *table);

#endif
