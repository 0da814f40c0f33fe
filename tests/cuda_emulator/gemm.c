/*
 * The GEMM provider of a plug-in that is built for the emulator: plain loops on device memory, as work of the stream.
 * Takes what cublasLt takes and refuses what it refuses, so that a host that runs here asks a GPU nothing else. The
 * real provider's own calls are tested beside it, on the cublasLt of cublaslt.c, whose loops are plainer and slower.
 */
#include "cuda/gemm.h"

#include "core/base/float16.h"
#include "cuda/gemm_key.h"
#include "tests/cuda_emulator/e4m3.h"
#include "tests/cuda_emulator/emulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bert_cuda_gemm {
    bert_cuda_gemm_cache *cache;
};

static bert_emulator_e4m3_products e4m3 = BERT_EMULATOR_E4M3_SCALED;

void bert_emulator_have_e4m3(bert_emulator_e4m3_products products) {
    e4m3 = products;
}

static bert_cuda_gemm *open_loops(char *why, size_t size) {
    bert_cuda_gemm *gemm = calloc(1, sizeof *gemm);
    if (!gemm) snprintf(why, size, "no memory for the handle of a GEMM library");
    return gemm;
}

static void close_loops(bert_cuda_gemm *gemm) {
    free(gemm);
}

/* As the library of cublaslt.c: scales don't go with a k that is large beside n, nor with some biases. */
static bool supports(bert_cuda_gemm *gemm, const bert_cuda_gemm_shape *shape) {
    if (shape->kind != BERT_CUDA_GEMM_F8) return true;
    if (!shape->scales) return e4m3 != BERT_EMULATOR_NO_E4M3;
    if (shape->bias && shape->n == BERT_EMULATOR_E4M3_UNBIASED) return false;
    return e4m3 == BERT_EMULATOR_E4M3_SCALED && shape->k <= BERT_EMULATOR_E4M3_DEPTH * shape->n;
}

static float load(const bert_cuda_gemm_args *g, const void *data, int64_t at) {
    switch (g->kind) {
    case BERT_CUDA_GEMM_F16:
        return bert_half_to_float(((const uint16_t *)data)[at]);
    case BERT_CUDA_GEMM_BF16:
        return bert_bfloat16_to_float(((const uint16_t *)data)[at]);
    case BERT_CUDA_GEMM_F8:
        return bert_emulated_e4m3_to_float(((const uint8_t *)data)[at]);
    default:
        return ((const float *)data)[at];
    }
}

static double load_result(const bert_cuda_gemm_args *g, const void *data, int64_t at) {
    switch (g->kind) {
    case BERT_CUDA_GEMM_F16:
    case BERT_CUDA_GEMM_F8:
        return (double)bert_half_to_float(((const uint16_t *)data)[at]);
    case BERT_CUDA_GEMM_BF16:
        return (double)bert_bfloat16_to_float(((const uint16_t *)data)[at]);
    default:
        return (double)((const float *)data)[at];
    }
}

/* alpha sum + beta C + bias, rounded once. */
static void store(const bert_cuda_gemm_args *g, int64_t at, int64_t column, double sum) {
    double value = (double)g->alpha * sum;
    if (g->beta != 0) value += (double)g->beta * load_result(g, g->c, at);
    if (g->bias) value += load_result(g, g->bias, column);
    switch (g->kind) {
    case BERT_CUDA_GEMM_F16:
    case BERT_CUDA_GEMM_F8:
        ((uint16_t *)g->c)[at] = bert_float_to_half((float)value);
        break;
    case BERT_CUDA_GEMM_BF16:
        ((uint16_t *)g->c)[at] = bert_float_to_bfloat16((float)value);
        break;
    default:
        ((float *)g->c)[at] = (float)value;
    }
}

static void element(const bert_cuda_gemm_args *g, int64_t batch, int64_t row, int64_t column) {
    const int64_t a = batch * g->stride_a + (g->transpose_a ? row : row * g->lda);
    const int64_t b = batch * g->stride_b + (g->transpose_b ? column * g->ldb : column);
    const int64_t a_step = g->transpose_a ? g->lda : 1, b_step = g->transpose_b ? 1 : g->ldb;
    const int64_t c = batch * g->stride_c + row * g->ldc + column;
    if (g->kind == BERT_CUDA_GEMM_S8) {
        uint32_t sum = g->beta != 0 ? ((const uint32_t *)g->c)[c] : 0;
        const int8_t *left = g->a, *right = g->b;
        for (int64_t k = 0; k < g->k; k++) sum += (uint32_t)(left[a + k * a_step] * right[b + k * b_step]);
        ((uint32_t *)g->c)[c] = sum;
        return;
    }
    double sum = 0;
    for (int64_t k = 0; k < g->k; k++)
        sum += (double)load(g, g->a, a + k * a_step) * (double)load(g, g->b, b + k * b_step);
    if (g->row_scales) sum *= (double)g->row_scales[row] * (double)g->column_scales[column];
    store(g, c, column, sum);
}

static void run_now(void *argument) {
    const bert_cuda_gemm_args *g = argument;
    for (int64_t batch = 0; batch < g->batch; batch++)
        for (int64_t row = 0; row < g->m; row++)
            for (int64_t column = 0; column < g->n; column++) element(g, batch, row, column);
}

static cudaError_t run(bert_cuda_gemm *gemm, const bert_cuda_gemm_args *args, cudaStream_t stream, char *why,
                       size_t size) {
    const char *fault = bert_cuda_gemm_fault(args);
    if (fault) {
        snprintf(why, size, "%s", fault);
        return cudaErrorInvalidValue;
    }
    if (!supports(gemm, &(bert_cuda_gemm_shape){.kind = args->kind,
                                                .n = args->n,
                                                .k = args->k,
                                                .scales = args->row_scales != NULL,
                                                .bias = args->bias != NULL})) {
        snprintf(why, size, "the device has no such products of E4M3");
        return cudaErrorNotSupported;
    }
    return (cudaError_t)bert_emulator_enqueue(stream, run_now, args, sizeof *args);
}

static void identify(char *out, size_t size) {
    snprintf(out, size, "emulator; loops");
}

static void use_cache(bert_cuda_gemm *gemm, bert_cuda_gemm_cache *cache) {
    gemm->cache = cache;
}

/* There is one algorithm; what a GPU's C would hold afterwards is anything, so NaN here. */
static cudaError_t tune(bert_cuda_gemm *gemm, const bert_cuda_gemm_args *args, cudaStream_t stream, char *why,
                        size_t size) {
    const bert_cuda_gemm_key key = bert_cuda_gemm_key_of(args);
    bert_cuda_gemm_choice choice = {.nanoseconds = 1};
    if (!gemm->cache) return cudaSuccess;
    enum cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
    const cudaError_t status = cudaStreamIsCapturing(stream, &capturing);
    if (status != cudaSuccess || capturing != cudaStreamCaptureStatusNone) {
        snprintf(why, size, "a GEMM can't be measured while its stream is captured");
        return status != cudaSuccess ? status : cudaErrorStreamCaptureUnsupported;
    }
    if (bert_cuda_gemm_cache_find(gemm->cache, &key, &choice)) return cudaSuccess;
    for (int64_t i = 0; i < args->batch * args->m; i++) {
        const int64_t at = i / args->m * args->stride_c + i % args->m * args->ldc;
        const size_t bytes = bert_cuda_gemm_result_bytes(args->kind);
        const cudaError_t cleared =
            cudaMemsetAsync((char *)args->c + (size_t)at * bytes, 0xff, (size_t)args->n * bytes, stream);
        if (cleared != cudaSuccess) return cleared;
    }
    bert_cuda_gemm_cache_add(gemm->cache, &key, &choice);
    return cudaSuccess;
}

const bert_cuda_gemm_provider bert_cuda_gemm_provider_built = {.name = "loops",
                                                               .open = open_loops,
                                                               .close = close_loops,
                                                               .s8_multiple = 16,
                                                               .supports = supports,
                                                               .run = run,
                                                               .identify = identify,
                                                               .use_cache = use_cache,
                                                               .tune = tune};
