/* Attention's cases of the kernel lab, for the list in cases.c. */
#ifndef BERT_BENCH_KERNELS_ATTENTION_CASES_H
#define BERT_BENCH_KERNELS_ATTENTION_CASES_H

#include "bench/kernels/cases.h"

bool lab_prepare_attention(const lab_shape *s, lab_buffers *b);
void lab_call_attention(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b);
double lab_attention_work(const lab_shape *s);

bool lab_prepare_left(const lab_shape *s, lab_buffers *b);
void lab_call_left(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b);
double lab_left_work(const lab_shape *s);

bool lab_prepare_right(const lab_shape *s, lab_buffers *b);
void lab_call_right(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b);
double lab_right_work(const lab_shape *s);

bool lab_prepare_multiply(const lab_shape *s, lab_buffers *b);
void lab_call_multiply(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b);

bool lab_prepare_probabilities(const lab_shape *s, lab_buffers *b);
void lab_call_probabilities(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b);
double lab_probabilities_work(const lab_shape *s);

bool lab_prepare_divide(const lab_shape *s, lab_buffers *b);
void lab_call_divide(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b);
double lab_divide_work(const lab_shape *s);

#endif
