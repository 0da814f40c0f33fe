/* The lab's cases of the int8 product and of the panels that it takes. */
#ifndef BERT_BENCH_BYTE_CASES_H
#define BERT_BENCH_BYTE_CASES_H

#include "bench/kernels/cases.h"

bool lab_prepare_qgemm(const lab_shape *s, lab_buffers *b);
void lab_call_qgemm(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b);
bool lab_prepare_measure_excess(const lab_shape *s, lab_buffers *b);
void lab_call_measure_excess(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b);
double lab_measure_excess_work(const lab_shape *s);

/** Weights of 8 bits about as a model has them that was quantized by tensor: normal, with a deviation of 25. */
void lab_fill_weights(int8_t *out, int64_t count, uint32_t seed);

/** What bounding gave; both freed by lab_free_bounded. */
typedef struct lab_bounded {
    bert_qgemm_bounds *bounds; /**< Of each panel. */
    bert_qgemm_excess *excess;
} lab_bounded;

/** Bounds panels [count][steps][BERT_QGEMM_COLUMNS][4], of zero points 0, where that is worth while. false: out of
 * memory. */
bool lab_bound_panels(int8_t *panels, int64_t count, int64_t steps, lab_bounded *out);
void lab_free_bounded(lab_bounded *bounded);

#endif
