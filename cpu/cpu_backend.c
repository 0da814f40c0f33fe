#include "cpu/cpu_backend.h"

#include "core/base/error.h"
#include "core/base/memory.h"
#include "cpu/ops/attention_form.h"
#include "cpu/ops/ops.h"

#include <stdio.h>
#include <string.h>

/* ---- Device ------------------------------------------------------------------------------------------------------ */

static void device_close(bert_device *device) {
    if (device->fallback) device->host->fallback->device_close(device->fallback);
    bert_deallocate(device->host->allocator, device, sizeof *device, _Alignof(bert_device));
}

static bert_status device_open(const bert_host *host, bert_device **out, bert_error *error) {
    bert_isa isa;
    const bert_gemm_provider *gemm;
    BERT_TRY(bert_isa_select(&isa, error));
    BERT_TRY(bert_gemm_choose(isa, &gemm, error));
    bert_device *device = bert_allocate(host->allocator, sizeof *device, _Alignof(bert_device));
    if (!device) return bert_fail_memory(error, sizeof *device, "the cpu device");
    *device = (bert_device){.host = host, .isa = isa, .gemm = gemm};
    bert_cpu_kernels_select(isa, &device->kernels);
    if (host->fallback) {
        bert_status status = host->fallback->device_open(host, &device->fallback, error);
        if (status != BERT_OK) {
            device->fallback = NULL;
            device_close(device);
            return status;
        }
    }
    *out = device;
    return BERT_OK;
}

static void device_properties(const bert_device *device, bert_device_properties *out) {
    *out = (bert_device_properties){.host_memory = true};
    snprintf(out->name, sizeof out->name, "cpu (%s)", bert_isa_name(device->isa));
}

/* ---- Prepared model ---------------------------------------------------------------------------------------------- */

static void prepared_free(bert_prepared *prepared) {
    bert_device *device = prepared->device;
    if (prepared->fallback) device->host->fallback->prepared_free(prepared->fallback);
    bert_cpu_free_weights(prepared);
    bert_cpu_free_quantized(prepared);
    bert_weight_memory_free(&prepared->weight_memory, device->host->allocator);
    bert_cpu_free_wide(prepared);
    pthread_mutex_destroy(&prepared->mutex);
    bert_deallocate(device->host->allocator, prepared, sizeof *prepared, _Alignof(bert_prepared));
}

static bert_status check_bf16(const bert_device *device, bert_error *error) {
    if (device->kernels.bgemm != bert_cpu_kernels_scalar.bgemm) return BERT_OK;
    return bert_fail(error, BERT_UNSUPPORTED,
                     "the cpu backend computes in bf16 with amx or avx512_bf16, and %s is what it may use here "
                     "(bf16-weights, which saves memory, works everywhere)",
                     bert_isa_name(device->isa));
}

/* What serves the weights of Linear at a precision. */
static bert_status choose_gemm(const bert_device *device, const bert_prepare_options *options,
                               const bert_gemm_provider **out, bert_error *error) {
    switch (options->precision) {
    case BERT_PRECISION_FP32:
        *out = options->deterministic && !device->gemm->one_order ? &bert_gemm_own : device->gemm;
        return BERT_OK;
    case BERT_PRECISION_BF16_WEIGHTS:
        *out = &bert_gemm_bf16_weights;
        return BERT_OK;
    case BERT_PRECISION_BF16:
        BERT_TRY(check_bf16(device, error));
        *out = bert_gemm_choose_bf16(device->isa, bert_bf16_pairs_are_slow());
        return BERT_OK;
    default:
        return bert_fail(error, BERT_UNSUPPORTED, "the cpu backend computes in fp32, bf16 and bf16-weights only");
    }
}

/* Where there is AMX attention is rounded with Linear, or else as float32's Linear split. */
static const bert_attention_form *choose_attention(const bert_device *device, const bert_gemm_provider *gemm,
                                                   bool deterministic) {
    if (device->isa == BERT_ISA_AMX && gemm == &bert_gemm_bf16) return &bert_attention_bf16;
    /* By the longest sequence (attention.c): not where bits must be the same beside longer ones. */
    const bool split = device->isa == BERT_ISA_AMX && device->gemm == &bert_gemm_split && !deterministic;
    return split ? &bert_attention_split : &bert_attention_float;
}

static bert_status prepared_create(bert_device *device, const bert_prepare_options *options, bert_prepared **out,
                                   bert_error *error) {
    const bert_gemm_provider *gemm = NULL, *openblas;
    BERT_TRY(choose_gemm(device, options, &gemm, error));
    /* What isn't a Linear: OpenBLAS changes the order of its sums with the number of rows and threads. */
    const bool own = options->deterministic || device->kernels.sgemm != bert_cpu_kernels_scalar.sgemm;
    if (!own) BERT_TRY(bert_openblas_open(&openblas, error));
    bert_prepared *prepared = bert_allocate(device->host->allocator, sizeof *prepared, _Alignof(bert_prepared));
    if (!prepared) return bert_fail_memory(error, sizeof *prepared, "a prepared model");
    *prepared = (bert_prepared){.device = device,
                                .gemm = gemm,
                                .multiply = own ? device->kernels.sgemm : bert_openblas_sgemm,
                                .attend = own ? device->kernels.attention : bert_openblas_attention,
                                .attention = choose_attention(device, gemm, options->deterministic),
                                .store = options->store,
                                .threads = options->threads,
                                .on_demand = options->on_demand};
    pthread_mutex_init(&prepared->mutex, NULL);
    if (device->fallback) {
        bert_prepare_options plain = *options; /* what isn't a Linear stays in float32 */
        plain.precision = BERT_PRECISION_FP32;
        bert_status status =
            device->host->fallback->prepared_create(device->fallback, &plain, &prepared->fallback, error);
        if (status != BERT_OK) {
            prepared->fallback = NULL;
            prepared_free(prepared);
            return status;
        }
    }
    *out = prepared;
    return BERT_OK;
}

static size_t prepared_bytes(const bert_prepared *prepared) {
    size_t bytes = atomic_load_explicit(&prepared->bytes, memory_order_relaxed);
    if (prepared->fallback) bytes += prepared->device->host->fallback->prepared_bytes(prepared->fallback);
    return bytes;
}

/* ---- Context ----------------------------------------------------------------------------------------------------- */

static void context_free(bert_context *context) {
    const bert_host *host = context->prepared->device->host;
    if (context->fallback) host->fallback->context_free(context->fallback);
    bert_deallocate(host->allocator, context, sizeof *context, _Alignof(bert_context));
}

static bert_status context_create(bert_prepared *prepared, const bert_context_options *options, bert_context **out,
                                  bert_error *error) {
    const bert_host *host = prepared->device->host;
    const bool bf16_attention = options->attention_precision == BERT_PRECISION_BF16;
    if (bf16_attention) BERT_TRY(check_bf16(prepared->device, error));
    bert_context *context = bert_allocate(host->allocator, sizeof *context, _Alignof(bert_context));
    if (!context) return bert_fail_memory(error, sizeof *context, "a session's context");
    *context = (bert_context){.prepared = prepared,
                              .threads = options->threads,
                              .attention = bf16_attention ? &bert_attention_bf16 : prepared->attention};
    if (prepared->fallback) {
        bert_context_options plain = *options;
        plain.attention_precision = BERT_PRECISION_FP32;
        bert_status status = host->fallback->context_create(prepared->fallback, &plain, &context->fallback, error);
        if (status != BERT_OK) {
            context->fallback = NULL;
            context_free(context);
            return status;
        }
    }
    *out = context;
    return BERT_OK;
}

static bert_status run_begin(bert_context *context, bert_error *error) {
    const bert_backend *fallback = context->prepared->device->host->fallback;
    return context->fallback && fallback->run_begin ? fallback->run_begin(context->fallback, error) : BERT_OK;
}

static bert_status run_end(bert_context *context, bert_error *error) {
    const bert_backend *fallback = context->prepared->device->host->fallback;
    return context->fallback && fallback->run_end ? fallback->run_end(context->fallback, error) : BERT_OK;
}

/* ---- Plans ------------------------------------------------------------------------------------------------------- */

/* The fallback's kernels see the fallback's plan and context. */
static bert_status run_fallback(const bert_kernel_call *call, bert_error *error) {
    bert_kernel_call inner = *call;
    inner.plan = call->plan->state;
    inner.context = call->context->fallback;
    return inner.plan->run(&inner, error);
}

typedef struct fallback_state {
    bert_op_plan plan; /* First: run_fallback takes the state for it. */
    const bert_allocator *allocator;
} fallback_state;

static void release_fallback(void *memory) {
    fallback_state *state = memory;
    if (state->plan.release_state) state->plan.release_state(state->plan.state);
    bert_deallocate(state->allocator, state, sizeof *state, _Alignof(fallback_state));
}

static bert_status plan_fallback(const bert_cpu_planner *planner) {
    bert_prepared *prepared = planner->prepared;
    const bert_host *host = prepared->device->host;
    bert_op_plan inner = {0};
    BERT_TRY(host->fallback->plan(prepared->fallback, planner->context ? planner->context->fallback : NULL,
                                  planner->node, planner->mode, &inner, planner->error));
    *planner->out = inner;
    planner->out->run = run_fallback;
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    fallback_state *state = bert_allocate(host->allocator, sizeof *state, _Alignof(fallback_state));
    if (!state) {
        if (inner.release_state) inner.release_state(inner.state);
        *planner->out = (bert_op_plan){0};
        return bert_fail_memory(planner->error, sizeof *state, "the plan of a node");
    }
    *state = (fallback_state){inner, host->allocator};
    planner->out->state = state;
    planner->out->release_state = release_fallback;
    return BERT_OK;
}

static bert_status plan(bert_prepared *prepared, bert_context *context, const bert_op_node *node, bert_plan_mode mode,
                        bert_op_plan *out, bert_error *error) {
    bert_error reason = {0};
    const bert_cpu_planner planner = {
        .prepared = prepared, .context = context, .node = node, .mode = mode, .out = out, .error = &reason};
    const bert_cpu_plan_fn own = bert_cpu_find_planner(node->op_id);
    bert_status status = own ? own(&planner) : bert_cpu_leave(&planner, "has no kernel");
    if (own && status == BERT_UNSUPPORTED) {
        *out = (bert_op_plan){0};
        status = bert_cpu_plan_narrow(&planner, own);
    }
    if (status == BERT_UNSUPPORTED && prepared->fallback) {
        *out = (bert_op_plan){0};
        status = plan_fallback(&planner);
    }
    if (status != BERT_OK) {
        *out = (bert_op_plan){0};
        if (error) *error = reason;
    }
    return status;
}

const bert_backend bert_cpu_backend = {
    .struct_size = sizeof(bert_backend),
    .abi_version = BERT_BACKEND_ABI_VERSION,
    .name = "cpu",
    .device_open = device_open,
    .device_close = device_close,
    .device_properties = device_properties,
    .prepared_create = prepared_create,
    .prepared_free = prepared_free,
    .prepared_bytes = prepared_bytes,
    .context_create = context_create,
    .context_free = context_free,
    .plan = plan,
    .run_begin = run_begin,
    .run_end = run_end,
};
