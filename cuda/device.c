/* Errors, device memory and types of elements. */
#include "cuda/device.h"

#include "core/base/dtypes.h"

/* The function itself is defined here. */
#undef bert_cuda_no_memory

#include <stdarg.h>
#include <stdio.h>

bert_status bert_cuda_check(const bert_host *host, cudaError_t result, bert_error *error, const char *format, ...) {
    if (result == cudaSuccess) return BERT_OK;
    cudaGetLastError(); /* seen: the next call is not to find it */
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    const bert_status status = result == cudaErrorMemoryAllocation ? BERT_OUT_OF_MEMORY : BERT_INTERNAL;
    return host->fail(error, status, "%s: %s (%s)", what, cudaGetErrorString(result), cudaGetErrorName(result));
}

bert_status bert_cuda_no_memory(const bert_host *host, size_t bytes, bert_error *error) {
    return host->fail(error, BERT_OUT_OF_MEMORY, "could not allocate %zu bytes on the host for the cuda provider",
                      bytes);
}

void bert_cuda_notice(const bert_host *host, const char *sentence) {
    const bert_log *log = host->log;
    if (sentence[0] && log && log->write && log->level <= BERT_LOG_NOTICE)
        log->write(log->user, BERT_LOG_NOTICE, sentence);
}

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

bert_status bert_cuda_memory_allocate(bert_device *device, size_t bytes, void **out, bert_error *error) {
    const bert_host *host = device->host;
    *out = NULL;
    BERT_CUDA_TRY(bert_cuda_check(host, cudaSetDevice(device->index), error, "cudaSetDevice"));
    const cudaError_t result = cudaMalloc(out, bytes ? bytes : 1);
    if (result == cudaSuccess) return BERT_OK;
    *out = NULL;
    size_t available = 0, total = 0;
    if (result == cudaErrorMemoryAllocation && cudaMemGetInfo(&available, &total) == cudaSuccess) {
        cudaGetLastError();
        return host->fail(error, BERT_OUT_OF_MEMORY, "cudaMalloc of %zu bytes: %zu of %zu are free on %s", bytes,
                          available, total, device->name);
    }
    return bert_cuda_check(host, result, error, "cudaMalloc of %zu bytes", bytes);
}

void bert_cuda_memory_free(bert_device *device, void *memory, size_t bytes) {
    cudaSetDevice(device->index);
    cudaFree(memory);
}

bert_status bert_cuda_copy_to_device(bert_device *device, void *destination, const void *source, size_t bytes,
                                     bert_error *error) {
    if (bytes == 0) return BERT_OK;
    const bert_host *host = device->host;
    pthread_mutex_lock(&device->lock);
    bert_status status = bert_cuda_check(host, cudaSetDevice(device->index), error, "cudaSetDevice");
    if (status == BERT_OK) {
        status =
            bert_cuda_check(host, cudaMemcpyAsync(destination, source, bytes, cudaMemcpyHostToDevice, device->stream),
                            error, "cudaMemcpyAsync of %zu bytes of constants to the device", bytes);
    }
    if (status == BERT_OK) {
        status = bert_cuda_check(host, cudaStreamSynchronize(device->stream), error,
                                 "a copy of %zu bytes of constants to the device", bytes);
    }
    pthread_mutex_unlock(&device->lock);
    return status;
}

/* ---- Elements ---------------------------------------------------------------------------------------------------- */

const char *bert_cuda_dtype_name(bert_dtype dtype) {
#define NAME(dtype, name, bytes)                                                                                       \
    case dtype:                                                                                                        \
        return name;
    switch (dtype) { BERT_DTYPES(NAME) }
#undef NAME
    return "undefined";
}

bert_dtype bert_cuda_stored(const bert_prepared *prepared, bert_dtype dtype) {
    if (dtype != BERT_FLOAT) return dtype;
    if (prepared->precision == BERT_PRECISION_FP16 || prepared->precision == BERT_PRECISION_FP8) return BERT_FLOAT16;
    return prepared->precision == BERT_PRECISION_BF16 ? BERT_BFLOAT16 : BERT_FLOAT;
}

int64_t bert_cuda_count(const int64_t *dims, int32_t first, int32_t end) {
    int64_t count = 1;
    for (int32_t i = first; i < end; i++) count *= dims[i];
    return count;
}
