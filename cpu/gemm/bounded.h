/*
 * Bounded panels (bert_qgemm_bounds of cpu/kernels/kernels.h): weights of 8 bits whose products can be added up in 16
 * bits, and what they lack. Kernels' measure_excess says beforehand where they are beyond their bounds. Any thread.
 */
#ifndef BERT_CPU_GEMM_BOUNDED_H
#define BERT_CPU_GEMM_BOUNDED_H

#include "cpu/kernels/kernels.h"

/**
 * From what was measured of a panel, how many pairs of steps of excess each group of its columns will have. false: so
 * many that the product is better off without bounds, or more than excess can hold.
 */
bool bert_qgemm_count_excess(const uint8_t *most, int64_t steps, int32_t pairs[BERT_QGEMM_EXCESS_GROUPS]);

/**
 * Takes the zero points, of each weight of a step, off a panel [steps][BERT_QGEMM_COLUMNS][4] and bounds it. `excess`
 * has room for what was counted: group g writes from first[g] on, as many as it counted.
 */
void bert_qgemm_bound(int8_t *panel, int64_t steps, const int8_t zeros[BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP],
                      const uint8_t *most, const bert_qgemm_bounds *bounds, bert_qgemm_excess *excess);

#endif
