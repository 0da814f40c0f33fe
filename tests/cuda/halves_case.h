/* Tensors in halves, as cuda/ops/halves.h has them, by other means: for cases of kernels and of nodes. */
#ifndef BERT_TESTS_CUDA_HALVES_CASE_H
#define BERT_TESTS_CUDA_HALVES_CASE_H

#include "tests/cuda/kernel_case.h"

/** The nearest bfloat16, and how far off that is. */
void halves_split(float x, uint16_t *upper, uint16_t *lower);
float halves_join(uint16_t upper, uint16_t lower);
/**
 * Puts the numbers of a float32 tensor of the host on the device in halves, in memory of its size. Without lower halves
 * the numbers are rounded, on the host too, and what lies behind the upper ones is nobody's.
 */
void halves_put(const bert_tensor *host, void *device, bool with_lower);
/** What lies on the device in halves becomes float32 there, for case_compare to look at. */
void halves_join_all(const bert_tensor *host, void *device);

#endif
