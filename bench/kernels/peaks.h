/* What this machine can do at most, measured: the yardsticks of the kernel lab. */
#ifndef BERT_BENCH_KERNELS_PEAKS_H
#define BERT_BENCH_KERNELS_PEAKS_H

#include "core/base/cpu_features.h"

typedef enum lab_peak {
    LAB_PEAK_FLOAT,  /**< Multiply-adds of float32 in registers, 1e9 operations a second (a multiply-add is two). */
    LAB_PEAK_INT8,   /**< The same of 8-bit integers to 32-bit sums. */
    LAB_PEAK_BF16,   /**< The same of bfloat16 to float32. */
    LAB_PEAK_CACHE,  /**< Copying within the second-level cache, 1e9 bytes a second, read and written. */
    LAB_PEAK_MEMORY, /**< Reading from memory, 1e9 bytes a second. */
    LAB_PEAK_COUNT
} lab_peak;

const char *lab_peak_name(lab_peak peak);
const char *lab_peak_unit(lab_peak peak);

/** Seconds of CPU time of the calling thread: what other programs take away does not count. */
double lab_seconds(void);

/**
 * The best of several measurements with the instructions of `isa`; 0 where it has none for it, or they are not in this
 * build. The machine has the ISA.
 */
double lab_measure_peak(lab_peak peak, bert_isa isa);

#endif
