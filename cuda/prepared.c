/* The weights of a prepared model. */
#include "cuda/device.h"

#include <string.h>

/* Asks the library, which knows the device. */
static bert_status look_for_e4m3(const bert_prepared *prepared, bert_error *error) {
    const bert_cuda_gemm_provider *provider = &bert_cuda_gemm_provider_built;
    const bert_device *device = prepared->device;
    const bert_host *host = device->host;
    char why[256] = "";
    BERT_CUDA_TRY(bert_cuda_check(host, cudaSetDevice(device->index), error, "cudaSetDevice"));
    bert_cuda_gemm *gemm = provider->open(why, sizeof why);
    if (!gemm) return host->fail(error, BERT_UNSUPPORTED, "%s: %s", provider->name, why);
    const bool there = provider->supports(gemm, &(bert_cuda_gemm_shape){.kind = BERT_CUDA_GEMM_F8, .n = 256, .k = 256});
    provider->close(gemm);
    if (there) return BERT_OK;
    return host->fail(
        error, BERT_UNSUPPORTED,
        "fp8 takes a GPU with products of FP8 (compute capability 8.9 and later: Ada, Hopper), and %s has "
        "none",
        device->name);
}

bert_status bert_cuda_prepared_create(bert_device *device, const bert_prepare_options *options, bert_prepared **out,
                                      bert_error *error) {
    const bert_host *host = device->host;
    switch (options->precision) {
    case BERT_PRECISION_FP32:
    case BERT_PRECISION_TF32:
    case BERT_PRECISION_FP16:
    case BERT_PRECISION_BF16:
    case BERT_PRECISION_FP8:
        break;
    default:
        return host->fail(error, BERT_UNSUPPORTED, "the cuda provider computes in fp32, tf32, fp16, bf16 and fp8 only");
    }
    bert_prepared *prepared = bert_cuda_new(host, sizeof *prepared);
    if (!prepared) return bert_cuda_no_memory(host, sizeof *prepared, error);
    *prepared =
        (bert_prepared){.device = device, .precision = options->precision, .deterministic = options->deterministic};
    pthread_mutex_init(&prepared->lock, NULL);
    const bert_status status = options->precision == BERT_PRECISION_FP8 ? look_for_e4m3(prepared, error) : BERT_OK;
    if (status != BERT_OK) {
        bert_cuda_prepared_free(prepared);
        return status;
    }
    *out = prepared;
    return BERT_OK;
}

static void free_packed(const bert_prepared *prepared, bert_cuda_packed *packed) {
    const bert_host *host = prepared->device->host;
    if (packed->data) bert_cuda_memory_free(prepared->device, packed->data, packed->bytes);
    bert_cuda_delete(host, packed->key, packed->key_bytes);
    bert_cuda_delete(host, packed, sizeof *packed);
}

void bert_cuda_prepared_free(bert_prepared *prepared) {
    while (prepared->packed) {
        bert_cuda_packed *packed = prepared->packed;
        prepared->packed = packed->next;
        free_packed(prepared, packed);
    }
    pthread_mutex_destroy(&prepared->lock);
    bert_cuda_delete(prepared->device->host, prepared, sizeof *prepared);
}

size_t bert_cuda_prepared_bytes(const bert_prepared *prepared) {
    bert_prepared *shared = (bert_prepared *)prepared; /* only the lock is touched */
    pthread_mutex_lock(&shared->lock);
    const size_t bytes = shared->bytes;
    pthread_mutex_unlock(&shared->lock);
    return bytes;
}

/* Those of a plan alone (id 0) don't count. */
static void count_constant(bert_prepared *prepared, const bert_constant *constant, size_t bytes) {
    if (!constant->id) return;
    pthread_mutex_lock(&prepared->lock);
    prepared->constant_bytes += bytes;
    pthread_mutex_unlock(&prepared->lock);
}

bool bert_cuda_weights_are_cold(bert_prepared *prepared) {
    pthread_mutex_lock(&prepared->lock);
    const size_t bytes = prepared->bytes + prepared->constant_bytes;
    pthread_mutex_unlock(&prepared->lock);
    return prepared->device->l2_bytes > 0 && bytes > prepared->device->l2_bytes;
}

bert_status bert_cuda_constant(bert_prepared *prepared, void *destination, const bert_constant *source,
                               bert_error *error) {
    const bert_host *host = prepared->device->host;
    const bert_dtype stored = bert_cuda_stored(prepared, source->dtype);
    if (stored == source->dtype) {
        BERT_CUDA_TRY(bert_cuda_copy_to_device(prepared->device, destination, source->data, source->bytes, error));
        count_constant(prepared, source, source->bytes);
        return BERT_OK;
    }
    const size_t count = source->bytes / sizeof(float); /* no other type is held as another */
    const size_t bytes = count * bert_cuda_dtype_size(stored);
    if (bytes == 0) return BERT_OK;
    void *narrow = bert_cuda_new(host, bytes);
    if (!narrow) return bert_cuda_no_memory(host, bytes, error);
    bert_cuda_encode(stored, source->dtype, narrow, source->data, (int64_t)count);
    const bert_status status = bert_cuda_copy_to_device(prepared->device, destination, narrow, bytes, error);
    bert_cuda_delete(host, narrow, bytes);
    if (status == BERT_OK) count_constant(prepared, source, bytes);
    return status;
}

static bert_status pack_to_device(const bert_prepared *prepared, bert_cuda_packed *packed, bert_cuda_pack_fn pack,
                                  const void *argument, bert_error *error) {
    const bert_host *host = prepared->device->host;
    const size_t room = packed->bytes ? packed->bytes : 1;
    void *memory = bert_cuda_new(host, room);
    if (!memory) return bert_cuda_no_memory(host, room, error);
    memset(memory, 0, room);
    bert_status status = pack(argument, memory, error);
    if (status == BERT_OK) status = bert_cuda_memory_allocate(prepared->device, packed->bytes, &packed->data, error);
    if (status == BERT_OK) {
        status = bert_cuda_copy_to_device(prepared->device, packed->data, memory, packed->bytes, error);
    }
    bert_cuda_delete(host, memory, room);
    return status;
}

static bert_status add_packed(bert_prepared *prepared, const void *key, size_t key_bytes, size_t bytes,
                              bert_cuda_pack_fn pack, const void *argument, void **out, bert_error *error) {
    const bert_host *host = prepared->device->host;
    bert_cuda_packed *packed = bert_cuda_new(host, sizeof *packed);
    if (!packed) return bert_cuda_no_memory(host, sizeof *packed, error);
    *packed = (bert_cuda_packed){.key_bytes = key_bytes, .bytes = bytes, .key = bert_cuda_new(host, key_bytes)};
    bert_status status = packed->key ? BERT_OK : bert_cuda_no_memory(host, key_bytes, error);
    if (status == BERT_OK) {
        memcpy(packed->key, key, key_bytes);
        status = pack_to_device(prepared, packed, pack, argument, error);
    }
    if (status != BERT_OK) {
        free_packed(prepared, packed);
        return status;
    }
    packed->next = prepared->packed;
    prepared->packed = packed;
    prepared->bytes += bytes;
    *out = packed->data;
    return BERT_OK;
}

bert_status bert_cuda_pack(bert_prepared *prepared, const void *key, size_t key_bytes, size_t bytes,
                           bert_cuda_pack_fn pack, const void *argument, void **out, bert_error *error) {
    pthread_mutex_lock(&prepared->lock);
    const bert_cuda_packed *packed = prepared->packed;
    while (packed && (packed->key_bytes != key_bytes || memcmp(packed->key, key, key_bytes) != 0))
        packed = packed->next;
    bert_status status = BERT_OK;
    if (packed)
        *out = packed->data;
    else
        status = add_packed(prepared, key, key_bytes, bytes, pack, argument, out, error);
    pthread_mutex_unlock(&prepared->lock);
    return status;
}
