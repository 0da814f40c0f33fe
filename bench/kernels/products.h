/* Whole products with a weight, as the CPU backend makes them: each GEMM provider beside the others. */
#ifndef BERT_BENCH_KERNELS_PRODUCTS_H
#define BERT_BENCH_KERNELS_PRODUCTS_H

#include "bench/kernels/peaks.h"
#include "cpu/gemm/gemm.h"
#include "cpu/gemm/quantized.h"

typedef enum lab_provider {
    LAB_PROVIDER_OWN,
    LAB_PROVIDER_SPLIT,
    LAB_PROVIDER_OPENBLAS,
    LAB_PROVIDER_BF16_WEIGHTS,
    LAB_PROVIDER_BF16,
    LAB_PROVIDER_QUANTIZED,
    LAB_PROVIDER_COUNT
} lab_provider;

typedef struct lab_product_shape {
    int64_t k, n;
} lab_product_shape;

/** Weights of one shape, packed by every provider that is there. */
typedef struct lab_product lab_product;

/** What its figures are a share of, and the error that is its rounding's own. */
lab_peak lab_provider_peak(lab_provider provider);
double lab_provider_tolerance(lab_provider provider);

/**
 * Packs for `max_rows` rows at most: so many distinct weights of each provider that no cache holds them, as in a model
 * (64 at most: small ones may stay in cache). NULL: out of memory. lab_product_free frees it.
 */
lab_product *lab_product_create(const bert_cpu_kernels *kernels, lab_product_shape shape, int64_t max_rows);
void lab_product_free(lab_product *product);

/** The provider's name; NULL: these kernels or this machine lack it, and nothing below may be asked of it. */
const char *lab_product_provider(const lab_product *product, lab_provider provider);

/** Worst difference from the scalar kernels' result, relative to 1 + |expected|, over the first `rows` rows. */
double lab_product_error(lab_product *product, lab_provider provider, int64_t rows);

/** Seconds of CPU time of one product of `rows` rows; each call takes the next of the weights. */
double lab_product_time(lab_product *product, lab_provider provider, int64_t rows);

#endif
