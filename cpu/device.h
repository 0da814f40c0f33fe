/* What the objects of the CPU backend hold. For files under cpu/ only. */
#ifndef BERT_CPU_DEVICE_H
#define BERT_CPU_DEVICE_H

#include "core/base/thread_pool.h"
#include "cpu/gemm/gemm.h"
#include "cpu/gemm/quantized.h"
#include "cpu/kernels/kernels.h"
#include "cpu/narrow.h"
#include "cpu/weight_memory.h"

#include <bert/backend.h>
#include <pthread.h>

/** Read-only once it is open. */
struct bert_device {
    const bert_host *host;
    bert_isa isa;
    bert_cpu_kernels kernels;
    const bert_gemm_provider *gemm;
    bert_device *fallback; /**< Of host->fallback; NULL when there is none. */
};

/** A constant of 16-bit floats as float32. */
typedef struct bert_wide_constant {
    struct bert_wide_constant *next;
    uint64_t id; /**< Of the constant. */
    float *data;
    size_t bytes;
} bert_wide_constant;

/** The name of a kernel between conversions. */
typedef struct bert_narrow_name {
    struct bert_narrow_name *next;
    const char *kernel;
    bert_dtype dtype;
    char text[64];
} bert_narrow_name;

/** Packed weights, found by what they were packed from. The lists grow under the mutex; entries never change, but that
 * deferred ones get their packed form. */
struct bert_prepared {
    bert_device *device;
    const bert_gemm_provider *gemm;                  /**< For weights. */
    void (*multiply)(const bert_sgemm_args *args);   /**< For two activations, on the calling thread; */
    void (*attend)(const bert_attention_args *args); /**< likewise. */
    const struct bert_attention_form *attention;     /**< Where a context doesn't say otherwise. */
    const bert_weight_store *store;                  /**< NULL: none. */
    bert_thread_pool *threads;                       /**< For BERT_PLAN_PREPARE alone. */
    bool on_demand;                                  /**< Weights are packed when they are used a second time. */
    pthread_mutex_t mutex;
    struct bert_packed_weight *weights;
    struct bert_quantized_weight *quantized;
    bert_weight_memory weight_memory; /**< Of both. */
    bert_wide_constant *wide;
    bert_narrow_name *names;
    atomic_size_t bytes; /**< Of all that is packed. Grows under the mutex. */
    bert_prepared *fallback;
};

struct bert_context {
    bert_prepared *prepared;
    bert_thread_pool *threads;
    const struct bert_attention_form *attention; /**< How products of attention are computed. */
    bert_context *fallback;
};

/**
 * The packed form of a weight: found, mapped from the store, made now, on `threads`, or deferred: products ask
 * bert_cpu_use_weight. `weight` is good as long as `prepared`. Any thread.
 */
bert_status bert_cpu_pack_weight(bert_prepared *prepared, bert_thread_pool *threads, const bert_weight_source *source,
                                 const bert_packed_weight **out, bert_error *error);
/**
 * What a product is to be run with: `weight` itself, or where it is deferred and was used before its packed form, which
 * is made now, on `threads`. Where there is no memory for that, or the lock is taken, it stays deferred. Any thread,
 * but not within a task of a pool: the lock is held while `threads` run.
 */
const bert_packed_weight *bert_cpu_use_weight(bert_prepared *prepared, bert_thread_pool *threads,
                                              const bert_packed_weight *weight);
void bert_cpu_free_weights(bert_prepared *prepared);
/** The same as the two above for a quantized weight. */
bert_status bert_cpu_pack_quantized(bert_prepared *prepared, bert_thread_pool *threads,
                                    const bert_quantized_source *source, const bert_quantized_weight **out,
                                    bert_error *error);
void bert_cpu_free_quantized(bert_prepared *prepared);

/** A constant with an id, of 16-bit floats, as float32: found, or made now, on `threads`. Good as long as `prepared`.
 */
bert_status bert_cpu_widen_constant(bert_prepared *prepared, bert_thread_pool *threads, const bert_constant *constant,
                                    const float **out, bert_error *error);
/** What a kernel is called where it runs between conversions from `dtype` and back: "linear/own/float16". */
bert_status bert_cpu_narrow_name(bert_prepared *prepared, const char *kernel, bert_dtype dtype, const char **out,
                                 bert_error *error);
/** What the two above made. */
void bert_cpu_free_wide(bert_prepared *prepared);

#endif
