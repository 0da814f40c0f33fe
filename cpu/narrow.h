/* Floats of 16 bits, float16 and bfloat16, to float32 and back. The kernels compute in float32. */
#ifndef BERT_CPU_NARROW_H
#define BERT_CPU_NARROW_H

#include "core/base/thread_pool.h"
#include "cpu/kernels/kernels.h"

#include <bert/backend.h>

static inline bool bert_cpu_is_narrow(bert_dtype dtype) {
    return dtype == BERT_FLOAT16 || dtype == BERT_BFLOAT16;
}

/** y[count] = x[count] of `dtype`, which is narrow; x at any address. */
void bert_cpu_widen(const bert_cpu_kernels *kernels, bert_thread_pool *threads, float *y, const void *x,
                    bert_dtype dtype, int64_t count);
/** y[count] of `dtype`, which is narrow, = x[count] to the nearest, half to even. */
void bert_cpu_narrow(const bert_cpu_kernels *kernels, bert_thread_pool *threads, uint16_t *y, const float *x,
                     bert_dtype dtype, int64_t count);

/** x[count], as `dtype`, which is narrow, holds it: to the nearest, half to even. On the calling thread. */
void bert_cpu_round(const bert_cpu_kernels *kernels, float *x, bert_dtype dtype, int64_t count);

/** Elements [first, first + count) of a constant of float32 or narrow, which may lie at any address. */
void bert_cpu_read_floats(const bert_constant *constant, int64_t first, int64_t count, float *out);

#endif
