/* The weights of a prepared model. */
#include "core/base/error.h"
#include "core/base/memory.h"
#include "cpu/device.h"

#include <stdio.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

/* Pages of 2 MiB: a thread that streams weights from memory misses in the TLB 500 times less. */
enum { HUGE_PAGE = 2 * 1024 * 1024 };

static bool same_source(const bert_packed_weight *weight, const bert_weight_source *source) {
    if (weight->count != source->count || weight->transposed != source->transposed) return false;
    for (int32_t i = 0; i < source->count; i++)
        if (weight->ids[i] != source->parts[i]->id) return false;
    return true;
}

static void ask_for_huge_pages(void *memory, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    /* Whole ones only: what the last one would take beyond the weight would be memory for nothing. */
    if (bytes >= HUGE_PAGE) madvise(memory, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
}

void *bert_cpu_allocate_weight(const bert_prepared *prepared, size_t bytes, size_t *alignment) {
    *alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : BERT_ALIGNMENT;
    void *memory = bert_allocate(prepared->device->host->allocator, bytes, *alignment);
    if (memory) ask_for_huge_pages(memory, bytes);
    return memory;
}

/* Fills k and n; false where the parts don't go together or sizes overflow. */
static bool measure(const bert_gemm_provider *provider, const bert_cpu_kernels *kernels,
                    const bert_weight_source *source, bert_packed_weight *weight) {
    for (int32_t i = 0; i < source->count; i++) {
        int64_t k, n;
        bert_gemm_part_shape(source->parts[i], source->transposed, &k, &n);
        if (i > 0 && k != weight->k) return false;
        weight->k = k;
        if (__builtin_add_overflow(weight->n, n, &weight->n)) return false;
    }
    if (weight->n > INT32_MAX || weight->k > INT32_MAX) return false; /* what BLAS counts with */
    weight->bytes = provider->packed_bytes(kernels, weight->k, weight->n);
    return weight->bytes > 0 || weight->k == 0 || weight->n == 0;
}

/* The name of the layout, for the store: what depends on more than the constants is in it. */
static void name_layout(const bert_prepared *prepared, const bert_weight_source *source, char out[64]) {
    snprintf(out, 64, "float32 %s %d%s", prepared->gemm->name, prepared->device->kernels.sgemm_columns,
             source->transposed ? " transposed" : "");
}

static bert_status pack(bert_prepared *prepared, bert_thread_pool *threads, const bert_weight_source *source,
                        bert_packed_weight *weight, bert_error *error) {
    const bert_gemm_provider *provider = prepared->gemm;
    const bert_cpu_kernels *kernels = &prepared->device->kernels;
    if (!measure(provider, kernels, source, weight))
        return bert_fail(error, BERT_UNSUPPORTED, "a weight of this shape is more than a product can take");
    if (bert_gemm_in_place(provider, source) || weight->bytes == 0) {
        weight->data = source->parts[0]->data;
        weight->bytes = 0;
        return BERT_OK;
    }
    const bert_weight_store *store = prepared->store;
    char layout[64];
    name_layout(prepared, source, layout);
    if (store) weight->data = store->find(store, layout, source->parts, source->count, weight->bytes);
    if (weight->data) return BERT_OK;
    weight->owned = bert_cpu_allocate_weight(prepared, weight->bytes, &weight->alignment);
    if (!weight->owned) return bert_fail_memory(error, weight->bytes, "a packed weight");
    weight->data = weight->owned;
    int64_t first = 0;
    for (int32_t i = 0; i < source->count; i++) {
        int64_t k, n;
        bert_gemm_part_shape(source->parts[i], source->transposed, &k, &n);
        provider->pack(kernels, threads, weight->owned, weight->n, first, source->parts[i], source->transposed);
        first += n;
    }
    if (store) store->packed(store, layout, source->parts, source->count, weight->data, weight->bytes);
    return BERT_OK;
}

static bert_status add_weight(bert_prepared *prepared, bert_thread_pool *threads, const bert_weight_source *source,
                              const bert_packed_weight **out, bert_error *error) {
    const bert_allocator *allocator = prepared->device->host->allocator;
    bert_packed_weight *weight = bert_allocate(allocator, sizeof *weight, _Alignof(bert_packed_weight));
    if (!weight) return bert_fail_memory(error, sizeof *weight, "a packed weight");
    *weight = (bert_packed_weight){.count = source->count, .transposed = source->transposed};
    for (int32_t i = 0; i < source->count; i++) weight->ids[i] = source->parts[i]->id;
    bert_status status = pack(prepared, threads, source, weight, error);
    if (status != BERT_OK) {
        bert_deallocate(allocator, weight, sizeof *weight, _Alignof(bert_packed_weight));
        return status;
    }
    weight->next = prepared->weights;
    prepared->weights = weight;
    prepared->bytes += weight->bytes;
    *out = weight;
    return BERT_OK;
}

bert_status bert_cpu_pack_weight(bert_prepared *prepared, bert_thread_pool *threads, const bert_weight_source *source,
                                 const bert_packed_weight **out, bert_error *error) {
    pthread_mutex_lock(&prepared->mutex);
    const bert_packed_weight *weight = prepared->weights;
    while (weight && !same_source(weight, source)) weight = weight->next;
    bert_status status = BERT_OK;
    if (weight)
        *out = weight;
    else
        status = add_weight(prepared, threads, source, out, error);
    pthread_mutex_unlock(&prepared->mutex);
    return status;
}

void bert_cpu_free_weights(bert_prepared *prepared) {
    const bert_allocator *allocator = prepared->device->host->allocator;
    while (prepared->weights) {
        bert_packed_weight *weight = prepared->weights;
        prepared->weights = weight->next;
        if (weight->owned) bert_deallocate(allocator, weight->owned, weight->bytes, weight->alignment);
        bert_deallocate(allocator, weight, sizeof *weight, _Alignof(bert_packed_weight));
    }
}
