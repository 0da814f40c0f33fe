/* A session's stream, what is copied on it, and what its kernels report. */
#include "cuda/device.h"

#include <inttypes.h>
#include <string.h>

static const bert_host *host_of(const bert_context *context) {
    return context->prepared->device->host;
}

/* ---- Making and freeing ------------------------------------------------------------------------------------------ */

void bert_cuda_context_free(bert_context *context) {
    const bert_host *host = host_of(context);
    cudaSetDevice(context->prepared->device->index);
    bert_cuda_forget_recordings(context);
    if (context->began) cudaEventDestroy(context->began);
    if (context->ended) cudaEventDestroy(context->ended);
    if (context->gemm) bert_cuda_gemm_provider_built.close(context->gemm);
    if (context->gemm_workspace) cudaFree(context->gemm_workspace);
    if (context->report) cudaFreeHost(context->report);
    if (context->staging.memory) cudaFreeHost(context->staging.memory);
    if (context->stream) cudaStreamDestroy(context->stream);
    bert_cuda_delete(host, context->reporters, (size_t)context->reporter_capacity * sizeof *context->reporters);
    bert_cuda_delete(host, context->deliveries, context->delivery_capacity * sizeof *context->deliveries);
    bert_cuda_delete(host, context, sizeof *context);
}

static bert_status open_gemm(bert_context *context, bert_error *error) {
    const bert_cuda_gemm_provider *provider = &bert_cuda_gemm_provider_built;
    char why[256] = "";
    context->gemm = provider->open(why, sizeof why);
    if (!context->gemm) return host_of(context)->fail(error, BERT_UNSUPPORTED, "%s: %s", provider->name, why);
    if (!context->prepared->deterministic) provider->use_cache(context->gemm, context->prepared->device->choices);
    if (provider->workspace_bytes == 0) return BERT_OK;
    return bert_cuda_memory_allocate(context->prepared->device, provider->workspace_bytes, &context->gemm_workspace,
                                     error);
}

static bert_status create_events(bert_context *context, bert_error *error) {
    const bert_host *host = host_of(context);
    BERT_CUDA_TRY(bert_cuda_check(host, cudaEventCreate(&context->began), error, "cudaEventCreate of a session"));
    return bert_cuda_check(host, cudaEventCreate(&context->ended), error, "cudaEventCreate of a session");
}

static bert_status open_context(bert_context *context, bool device_time, bert_error *error) {
    const bert_host *host = host_of(context);
    bert_device *device = context->prepared->device;
    BERT_CUDA_TRY(bert_cuda_check(host, cudaSetDevice(device->index), error, "cudaSetDevice"));
    BERT_CUDA_TRY(bert_cuda_check(host, cudaStreamCreateWithFlags(&context->stream, cudaStreamNonBlocking), error,
                                  "cudaStreamCreateWithFlags of a session"));
    BERT_CUDA_TRY(open_gemm(context, error));
    if (device_time) BERT_CUDA_TRY(create_events(context, error));
    void *memory = NULL;
    BERT_CUDA_TRY(bert_cuda_check(host, cudaMallocHost(&memory, sizeof *context->report), error,
                                  "cudaMallocHost of %zu bytes", sizeof *context->report));
    context->report = memory;
    return BERT_OK;
}

bert_status bert_cuda_context_create(bert_prepared *prepared, const bert_context_options *options, bert_context **out,
                                     bert_error *error) {
    const bert_host *host = prepared->device->host;
    if (options->attention_precision != BERT_PRECISION_FP32)
        return host->fail(error, BERT_UNSUPPORTED, "attention is computed in the precision of the model");
    bert_context *context = bert_cuda_new(host, sizeof *context);
    if (!context) return bert_cuda_no_memory(host, sizeof *context, error);
    *context = (bert_context){.prepared = prepared};
    const bert_status status = open_context(context, options->device_time, error);
    if (status != BERT_OK) {
        bert_cuda_context_free(context);
        return status;
    }
    *out = context;
    return BERT_OK;
}

size_t bert_cuda_context_bytes(const bert_context *context) {
    const size_t workspace = context->gemm_workspace ? bert_cuda_gemm_provider_built.workspace_bytes : 0;
    return workspace + context->staging.bytes + sizeof *context->report;
}

int64_t bert_cuda_device_nanoseconds(const bert_context *context) {
    float milliseconds = 0;
    if (!context->timed) return 0;
    if (cudaEventElapsedTime(&milliseconds, context->began, context->ended) == cudaSuccess)
        return (int64_t)((double)milliseconds * 1e6);
    cudaGetLastError(); /* seen: the next call is not to find it */
    return 0;
}

/* Doubles an array; false where there is no memory for it. */
static bool grow(const bert_host *host, void **array, size_t element, size_t capacity, size_t *new_capacity) {
    const size_t more = capacity ? 2 * capacity : 8;
    void *larger = bert_cuda_new(host, more * element);
    if (!larger) return false;
    if (capacity) memcpy(larger, *array, capacity * element);
    bert_cuda_delete(host, *array, capacity * element);
    *array = larger;
    *new_capacity = more;
    return true;
}

int32_t bert_cuda_number_reporter(bert_context *context, const bert_cuda_reporter *reporter) {
    for (int32_t i = 0; i < context->reporter_count; i++) {
        if (context->reporters[i].name == reporter->name && context->reporters[i].op == reporter->op) return i;
    }
    if (context->reporter_count == context->reporter_capacity) {
        size_t capacity;
        void *reporters = context->reporters;
        if (!grow(host_of(context), &reporters, sizeof *reporter, (size_t)context->reporter_capacity, &capacity))
            return -1;
        context->reporters = reporters;
        context->reporter_capacity = (int32_t)capacity;
    }
    context->reporters[context->reporter_count] = *reporter;
    return context->reporter_count++;
}

/* ---- Copies ------------------------------------------------------------------------------------------------------ */

bert_status bert_cuda_finish_uploads(bert_context *context, bert_error *error) {
    const bert_cuda_pending_upload pending = context->pending;
    context->pending.bytes = 0;
    if (pending.bytes == 0) return BERT_OK;
    return bert_cuda_check(host_of(context),
                           cudaMemcpyAsync(pending.destination, context->staging.memory + pending.staged, pending.bytes,
                                           cudaMemcpyHostToDevice, context->stream),
                           error, "cudaMemcpyAsync of inputs of %zu bytes to the device", pending.bytes);
}

/* Waits for the stream, and hands over what was downloaded. */
static bert_status settle(bert_context *context, bert_error *error) {
    const bert_status status = bert_cuda_check(host_of(context), cudaStreamSynchronize(context->stream), error,
                                               "the kernels of a run (cudaStreamSynchronize)");
    for (size_t i = 0; status == BERT_OK && i < context->delivery_count; i++) {
        const bert_cuda_delivery *delivery = &context->deliveries[i];
        bert_cuda_decode(bert_cuda_stored(context->prepared, delivery->dtype), delivery->dtype, delivery->destination,
                         context->staging.memory + delivery->staged, delivery->count);
    }
    context->delivery_count = 0;
    context->staging.used = 0;
    return status;
}

/* Takes `bytes` from `at` on, and what lies before. */
static void claim(bert_cuda_staging *staging, size_t at, size_t bytes) {
    const size_t end = (at + bytes + BERT_CUDA_ALIGNMENT - 1) & ~(size_t)(BERT_CUDA_ALIGNMENT - 1);
    staging->used = end < staging->bytes ? end : staging->bytes;
}

/* Room for `bytes` in pinned memory; what is in use is finished with first where there is too little. */
static bert_status stage(bert_context *context, size_t bytes, size_t *at, bert_error *error) {
    bert_cuda_staging *staging = &context->staging;
    if (bytes > staging->bytes - staging->used) {
        BERT_CUDA_TRY(bert_cuda_finish_uploads(context, error));
        BERT_CUDA_TRY(settle(context, error));
        if (bytes > staging->bytes) {
            size_t room = staging->bytes ? 2 * staging->bytes : (size_t)1 << 16;
            if (room < bytes) room = bytes;
            void *memory = NULL;
            BERT_CUDA_TRY(bert_cuda_check(host_of(context), cudaMallocHost(&memory, room), error,
                                          "cudaMallocHost of %zu bytes for inputs and outputs", room));
            if (staging->memory) cudaFreeHost(staging->memory);
            *staging = (bert_cuda_staging){.memory = memory, .bytes = room};
        }
    }
    *at = staging->used;
    claim(staging, *at, bytes);
    return BERT_OK;
}

/* Room in pinned memory for an upload: behind the one before as far as it lies behind it on the device, where what lies
 * between is nothing but alignment. */
static bert_status stage_upload(bert_context *context, const unsigned char *destination, size_t bytes, size_t *at,
                                bert_error *error) {
    const bert_cuda_pending_upload *pending = &context->pending;
    bert_cuda_staging *staging = &context->staging;
    const unsigned char *end = pending->destination + pending->bytes;
    if (pending->bytes && destination >= end && destination - end < BERT_CUDA_UPLOAD_ALIGNMENT) {
        const size_t next = pending->staged + (size_t)(destination - pending->destination);
        if (next <= staging->bytes && bytes <= staging->bytes - next) {
            *at = next;
            claim(staging, next, bytes);
            return BERT_OK;
        }
    }
    BERT_CUDA_TRY(bert_cuda_finish_uploads(context, error));
    return stage(context, bytes, at, error);
}

bert_status bert_cuda_upload(bert_context *context, void *destination, const bert_tensor *source, bert_error *error) {
    const bert_dtype stored = bert_cuda_stored(context->prepared, source->dtype);
    const int64_t count = bert_cuda_count(source->dims, 0, source->rank);
    const size_t bytes = (size_t)count * bert_cuda_dtype_size(stored);
    bert_cuda_pending_upload *pending = &context->pending;
    size_t at;
    if (bytes == 0) return BERT_OK;
    BERT_CUDA_TRY(stage_upload(context, destination, bytes, &at, error));
    bert_cuda_encode(stored, source->dtype, context->staging.memory + at, source->data, count);
    if (pending->bytes == 0) *pending = (bert_cuda_pending_upload){destination, at, 0};
    pending->bytes = at + bytes - pending->staged;
    return BERT_OK;
}

bert_status bert_cuda_download(bert_context *context, void *destination, const bert_tensor *source, bert_error *error) {
    const bert_dtype stored = bert_cuda_stored(context->prepared, source->dtype);
    const int64_t count = bert_cuda_count(source->dims, 0, source->rank);
    const size_t bytes = (size_t)count * bert_cuda_dtype_size(stored);
    size_t at;
    if (bytes == 0) return BERT_OK;
    if (context->delivery_count == context->delivery_capacity) {
        void *deliveries = context->deliveries;
        if (!grow(host_of(context), &deliveries, sizeof *context->deliveries, context->delivery_capacity,
                  &context->delivery_capacity))
            return bert_cuda_no_memory(host_of(context), sizeof *context->deliveries, error);
        context->deliveries = deliveries;
    }
    BERT_CUDA_TRY(stage(context, bytes, &at, error));
    BERT_CUDA_TRY(bert_cuda_check(
        host_of(context),
        cudaMemcpyAsync(context->staging.memory + at, source->data, bytes, cudaMemcpyDeviceToHost, context->stream),
        error, "cudaMemcpyAsync of an output of %zu bytes from the device", bytes));
    context->deliveries[context->delivery_count++] =
        (bert_cuda_delivery){.destination = destination, .dtype = source->dtype, .count = count, .staged = at};
    return BERT_OK;
}

/* ---- Runs -------------------------------------------------------------------------------------------------------- */

bert_status bert_cuda_run_begin(bert_context *context, bert_error *error) {
    const bert_host *host = host_of(context);
    BERT_CUDA_TRY(bert_cuda_check(host, cudaSetDevice(context->prepared->device->index), error, "cudaSetDevice"));
    context->phase = BERT_CUDA_PLAIN;
    context->ran = false;
    context->timed = false;
    context->delivery_count = 0;
    context->staging.used = 0;
    context->pending.bytes = 0;
    *context->report = (bert_cuda_report){0}; /* the stream is empty: nobody else writes it */
    return BERT_OK;
}

static bert_status describe_report(const bert_context *context, bert_error *error) {
    const bert_host *host = host_of(context);
    const bert_cuda_bad_index *bad = &context->report->index;
    if (bad->found) {
        const bert_cuda_reporter *reporter = &context->reporters[bad->node];
        const bert_cuda_index_words *words = reporter->indices;
        return host->fail(error, BERT_INVALID_INPUT,
                          "node %s (%s): %s %" PRId64 " at position %" PRId64 " of input %" PRId32 " %s %" PRId64 " %s",
                          reporter->name, reporter->op, words->what, bad->value, bad->position, bad->input,
                          words->fault, bad->bound, words->of);
    }
    if (context->report->divided_by_zero)
        return host->fail(error, BERT_INVALID_INPUT, "Div or Mod of integers by zero");
    return BERT_OK;
}

bert_status bert_cuda_run_end(bert_context *context, bert_error *error) {
    bert_status status = bert_cuda_finish_uploads(context, error); /* of a run without kernels */
    const bert_status settled = settle(context, status == BERT_OK ? error : NULL);
    if (status == BERT_OK) status = settled;
    return status == BERT_OK ? describe_report(context, error) : status;
}
