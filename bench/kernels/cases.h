/* What the kernel lab runs: each kernel of BERT_CPU_KERNELS over the shapes that BERT models give it. */
#ifndef BERT_BENCH_KERNELS_CASES_H
#define BERT_BENCH_KERNELS_CASES_H

#include "bench/kernels/peaks.h"
#include "cpu/kernels/kernels.h"

enum { LAB_INPUTS = 7, LAB_MAX_SHAPES = 8 };

/** A shape: what its numbers mean stands in lab_kernel.shape_names. */
typedef struct lab_shape {
    int64_t m, n, k;
} lab_shape;

/** Buffers of one case: inputs that calls leave alone, and one output. All are aligned to 64 bytes. */
typedef struct lab_buffers {
    void *inputs[LAB_INPUTS];
    void *out;
    size_t out_bytes;
} lab_buffers;

typedef struct lab_kernel {
    const char *name;
    const char *shape_names; /**< "rows x columns x depth" */
    lab_shape shapes[LAB_MAX_SHAPES];
    lab_peak peak;   /**< What bounds it. */
    float tolerance; /**< See lab_tolerance, which may allow more for some shapes. */
    /** Allocates and fills; false: out of memory. What it left is freed by lab_free. */
    bool (*prepare)(const lab_shape *shape, lab_buffers *buffers);
    void (*call)(const bert_cpu_kernels *table, const lab_shape *shape, const lab_buffers *buffers);
    /** Of one call: operations, or bytes read and written where bandwidth is the bound. */
    double (*work)(const lab_shape *shape);
    bool (*has)(const bert_cpu_kernels *table);
} lab_kernel;

extern const lab_kernel lab_kernels[];
extern const int lab_kernel_count;

/** Against scalar, relative to 1 + |expected|; 0: the same bytes. */
float lab_tolerance(const lab_kernel *kernel, const lab_shape *shape);

/** `bytes` of memory, zeroed; NULL when there is none. */
void *lab_allocate(size_t bytes);
/** Numbers in [-scale, scale), the same everywhere. */
void lab_fill(float *x, int64_t count, float scale, uint32_t seed);
void lab_free(lab_buffers *buffers);

/* What cases are prepared with; false: out of memory. */

/** Input `index`: `count` random floats; or bytes. */
bool lab_add_floats(lab_buffers *buffers, int index, int64_t count, float scale);
bool lab_add_bytes(lab_buffers *buffers, int index, int64_t count);
bool lab_set_output(lab_buffers *buffers, size_t bytes);

/** Operations of a product [m, k] x [k, n]. */
double lab_product_work(const lab_shape *s);
/** Bytes of so many matrices of floats [m, n]. */
double lab_float_traffic(const lab_shape *s, int matrices);

#endif
