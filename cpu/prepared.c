/* The weights of a prepared model, and what else it makes once. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/memory.h"
#include "cpu/device.h"

#include <stdio.h>

static bool same_source(const bert_packed_weight *weight, const bert_weight_source *source) {
    if (weight->count != source->count || weight->transposed != source->transposed) return false;
    for (int32_t i = 0; i < source->count; i++)
        if (weight->ids[i] != source->parts[i]->id) return false;
    return true;
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

/* The part as float32: itself, or what is widened into *owned, which the caller frees. */
static bert_status widen_part(const bert_prepared *prepared, bert_thread_pool *threads, const bert_constant *part,
                              bert_constant *out, float **owned, bert_error *error) {
    *out = *part;
    *owned = NULL;
    if (part->dtype == BERT_FLOAT || part->bytes == 0) return BERT_OK;
    if (!bert_size_multiply(part->bytes, sizeof(float) / sizeof(uint16_t), &out->bytes)) out->bytes = SIZE_MAX;
    *owned = bert_allocate(prepared->device->host->allocator, out->bytes, BERT_ALIGNMENT);
    if (!*owned) return bert_fail_memory(error, out->bytes, "a weight as float32");
    bert_cpu_widen(&prepared->device->kernels, threads, *owned, part->data, part->dtype,
                   (int64_t)(part->bytes / sizeof(uint16_t)));
    out->dtype = BERT_FLOAT;
    out->data = (const unsigned char *)*owned;
    out->alignment = BERT_ALIGNMENT;
    return BERT_OK;
}

static bert_status pack_part(const bert_prepared *prepared, bert_thread_pool *threads, const bert_packed_weight *weight,
                             void *packed, int64_t *first, const bert_constant *part, bert_error *error) {
    bert_constant wide;
    float *owned;
    int64_t k, n;
    BERT_TRY(widen_part(prepared, threads, part, &wide, &owned, error));
    bert_gemm_part_shape(part, weight->transposed, &k, &n);
    prepared->gemm->pack(&prepared->device->kernels, threads, packed, weight->n, *first, &wide, weight->transposed);
    *first += n;
    if (owned) bert_deallocate(prepared->device->host->allocator, owned, wide.bytes, BERT_ALIGNMENT);
    return BERT_OK;
}

/* Packs the parts into memory of the prepared model, under its lock. */
static bert_status pack(bert_prepared *prepared, bert_thread_pool *threads, const bert_weight_source *source,
                        bert_packed_weight *weight, bert_error *error) {
    void *packed = bert_weight_memory_take(&prepared->weight_memory, prepared->device->host->allocator, weight->bytes);
    if (!packed) return bert_fail_memory(error, weight->bytes, "a packed weight");
    int64_t first = 0;
    bert_status status = BERT_OK;
    for (int32_t i = 0; i < source->count && status == BERT_OK; i++)
        status = pack_part(prepared, threads, weight, packed, &first, source->parts[i], error);
    if (status != BERT_OK) {
        bert_weight_memory_give_back(&prepared->weight_memory, packed, weight->bytes);
        return status;
    }
    weight->data = packed;
    return BERT_OK;
}

static bool can_be_deferred(const bert_prepared *prepared, const bert_weight_source *source) {
    bool floats = prepared->on_demand && prepared->gemm->takes_source;
    for (int32_t i = 0; i < source->count; i++) floats = floats && source->parts[i]->dtype == BERT_FLOAT;
    return floats;
}

static bert_status defer(const bert_prepared *prepared, const bert_weight_source *source, bert_packed_weight *weight,
                         bert_error *error) {
    weight->deferred =
        bert_allocate(prepared->device->host->allocator, sizeof *weight->deferred, _Alignof(bert_deferred_weight));
    if (!weight->deferred) return bert_fail_memory(error, sizeof *weight->deferred, "a weight");
    weight->deferred->source = *source;
    for (int32_t i = 0; i < source->count; i++) {
        weight->deferred->parts[i] = *source->parts[i];
        weight->deferred->source.parts[i] = &weight->deferred->parts[i];
    }
    atomic_init(&weight->deferred->used, false);
    atomic_init(&weight->deferred->packed, NULL);
    return BERT_OK;
}

/* Where the weight is, or its packed form is made now or later. */
static bert_status place(bert_prepared *prepared, bert_thread_pool *threads, const bert_weight_source *source,
                         bert_packed_weight *weight, bert_error *error) {
    const bert_gemm_provider *provider = prepared->gemm;
    if (!measure(provider, &prepared->device->kernels, source, weight))
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
    if (can_be_deferred(prepared, source)) return defer(prepared, source, weight, error);
    BERT_TRY(pack(prepared, threads, source, weight, error));
    if (store) store->packed(store, layout, source->parts, source->count, weight->data, weight->bytes);
    return BERT_OK;
}

static bert_packed_weight *new_weight(const bert_prepared *prepared, const bert_packed_weight *like,
                                      bert_error *error) {
    bert_packed_weight *weight =
        bert_allocate(prepared->device->host->allocator, sizeof *weight, _Alignof(bert_packed_weight));
    if (weight)
        *weight = *like;
    else
        bert_fail_memory(error, sizeof *weight, "a packed weight");
    return weight;
}

static void free_weight(const bert_prepared *prepared, bert_packed_weight *weight) {
    if (weight)
        bert_deallocate(prepared->device->host->allocator, weight, sizeof *weight, _Alignof(bert_packed_weight));
}

static bert_status add_weight(bert_prepared *prepared, bert_thread_pool *threads, const bert_weight_source *source,
                              const bert_packed_weight **out, bert_error *error) {
    bert_packed_weight key = {.count = source->count, .transposed = source->transposed};
    for (int32_t i = 0; i < source->count; i++) key.ids[i] = source->parts[i]->id;
    bert_packed_weight *weight = new_weight(prepared, &key, error);
    if (!weight) return BERT_OUT_OF_MEMORY;
    bert_status status = place(prepared, threads, source, weight, error);
    if (status != BERT_OK) {
        free_weight(prepared, weight);
        return status;
    }
    if (!weight->deferred) prepared->bytes += weight->bytes;
    weight->next = prepared->weights;
    prepared->weights = weight;
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

/* The packed form, in a weight of its own; NULL where there is no memory. */
static bert_packed_weight *pack_deferred(bert_prepared *prepared, bert_thread_pool *threads,
                                         const bert_packed_weight *weight) {
    bert_packed_weight *packed = new_weight(prepared, weight, NULL);
    if (!packed) return NULL;
    packed->deferred = NULL;
    if (pack(prepared, threads, &weight->deferred->source, packed, NULL) != BERT_OK) {
        free_weight(prepared, packed);
        return NULL;
    }
    prepared->bytes += packed->bytes;
    for (int32_t i = 0; i < weight->count; i++) {
        const bert_constant *part = &weight->deferred->parts[i];
        if (part->file) bert_file_release_pages(part->file, part->data, part->bytes);
    }
    return packed;
}

const bert_packed_weight *bert_cpu_use_weight(bert_prepared *prepared, bert_thread_pool *threads,
                                              const bert_packed_weight *weight) {
    bert_deferred_weight *deferred = weight->deferred;
    if (!deferred) return weight;
    bert_packed_weight *packed = atomic_load_explicit(&deferred->packed, memory_order_acquire);
    if (packed) return packed;
    if (!atomic_exchange(&deferred->used, true)) return weight;
    if (pthread_mutex_trylock(&prepared->mutex) != 0) return weight; /* another one packs, or plans: next time */
    packed = atomic_load_explicit(&deferred->packed, memory_order_relaxed);
    if (!packed) packed = pack_deferred(prepared, threads, weight);
    atomic_store_explicit(&deferred->packed, packed, memory_order_release);
    pthread_mutex_unlock(&prepared->mutex);
    return packed ? packed : weight;
}

void bert_cpu_free_weights(bert_prepared *prepared) {
    const bert_allocator *allocator = prepared->device->host->allocator;
    while (prepared->weights) {
        bert_packed_weight *weight = prepared->weights;
        prepared->weights = weight->next;
        if (weight->deferred) {
            free_weight(prepared, atomic_load(&weight->deferred->packed));
            bert_deallocate(allocator, weight->deferred, sizeof *weight->deferred, _Alignof(bert_deferred_weight));
        }
        free_weight(prepared, weight);
    }
}

/* ---- Floats of 16 bits ------------------------------------------------------------------------------------------- */

static bert_status add_wide(bert_prepared *prepared, bert_thread_pool *threads, const bert_constant *constant,
                            const bert_wide_constant **out, bert_error *error) {
    const bert_allocator *allocator = prepared->device->host->allocator;
    bert_wide_constant *wide = bert_allocate(allocator, sizeof *wide, _Alignof(bert_wide_constant));
    if (!wide) return bert_fail_memory(error, sizeof *wide, "a constant as float32");
    bert_constant as_float;
    bert_status status = widen_part(prepared, threads, constant, &as_float, &wide->data, error);
    if (status != BERT_OK) {
        bert_deallocate(allocator, wide, sizeof *wide, _Alignof(bert_wide_constant));
        return status;
    }
    wide->id = constant->id;
    wide->bytes = as_float.bytes;
    wide->next = prepared->wide;
    prepared->wide = wide;
    prepared->bytes += wide->bytes;
    *out = wide;
    return BERT_OK;
}

bert_status bert_cpu_widen_constant(bert_prepared *prepared, bert_thread_pool *threads, const bert_constant *constant,
                                    const float **out, bert_error *error) {
    pthread_mutex_lock(&prepared->mutex);
    const bert_wide_constant *wide = prepared->wide;
    while (wide && wide->id != constant->id) wide = wide->next;
    const bert_status status = wide ? BERT_OK : add_wide(prepared, threads, constant, &wide, error);
    if (status == BERT_OK) *out = wide->data;
    pthread_mutex_unlock(&prepared->mutex);
    return status;
}

bert_status bert_cpu_narrow_name(bert_prepared *prepared, const char *kernel, bert_dtype dtype, const char **out,
                                 bert_error *error) {
    pthread_mutex_lock(&prepared->mutex);
    bert_narrow_name *name = prepared->names;
    while (name && (name->dtype != dtype || name->kernel != kernel)) name = name->next;
    if (!name) {
        name = bert_allocate(prepared->device->host->allocator, sizeof *name, _Alignof(bert_narrow_name));
        if (name) {
            *name = (bert_narrow_name){.next = prepared->names, .kernel = kernel, .dtype = dtype};
            snprintf(name->text, sizeof name->text, "%s/%s", kernel, dtype == BERT_FLOAT16 ? "float16" : "bfloat16");
            prepared->names = name;
        }
    }
    pthread_mutex_unlock(&prepared->mutex);
    if (!name) return bert_fail_memory(error, sizeof *name, "the name of a kernel");
    *out = name->text;
    return BERT_OK;
}

void bert_cpu_free_wide(bert_prepared *prepared) {
    const bert_allocator *allocator = prepared->device->host->allocator;
    while (prepared->wide) {
        bert_wide_constant *wide = prepared->wide;
        prepared->wide = wide->next;
        if (wide->data) bert_deallocate(allocator, wide->data, wide->bytes, BERT_ALIGNMENT);
        bert_deallocate(allocator, wide, sizeof *wide, _Alignof(bert_wide_constant));
    }
    while (prepared->names) {
        bert_narrow_name *name = prepared->names;
        prepared->names = name->next;
        bert_deallocate(allocator, name, sizeof *name, _Alignof(bert_narrow_name));
    }
}
