/* The GEMM provider of a plug-in that is built for the emulator: plain loops on device memory, as work of the stream.
 */
#include "cuda/gemm.h"

#include "core/base/float16.h"
#include "tests/cuda_emulator/emulator.h"

struct bert_cuda_gemm {
    int unused;
};

static bert_cuda_gemm *open_loops(char *why, size_t size) {
    static bert_cuda_gemm loops;
    return &loops;
}

static void close_loops(bert_cuda_gemm *gemm) {}

static float load(const bert_cuda_gemm_args *g, const void *data, int64_t at) {
    switch (g->kind) {
    case BERT_CUDA_GEMM_F16:
        return bert_half_to_float(((const uint16_t *)data)[at]);
    case BERT_CUDA_GEMM_BF16:
        return bert_bfloat16_to_float(((const uint16_t *)data)[at]);
    case BERT_CUDA_GEMM_S8:
        return ((const int8_t *)data)[at];
    default:
        return ((const float *)data)[at];
    }
}

/* alpha sum + beta C, rounded once. */
static void store(const bert_cuda_gemm_args *g, int64_t at, double sum) {
    uint16_t *narrow = g->c;
    float *wide = g->c;
    double value = (double)g->alpha * sum;
    switch (g->kind) {
    case BERT_CUDA_GEMM_F16:
        if (g->beta != 0) value += (double)g->beta * (double)bert_half_to_float(narrow[at]);
        narrow[at] = bert_float_to_half((float)value);
        break;
    case BERT_CUDA_GEMM_BF16:
        if (g->beta != 0) value += (double)g->beta * (double)bert_bfloat16_to_float(narrow[at]);
        narrow[at] = bert_float_to_bfloat16((float)value);
        break;
    default:
        if (g->beta != 0) value += (double)g->beta * (double)wide[at];
        wide[at] = (float)value;
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
    store(g, c, sum);
}

static void run_now(void *argument) {
    const bert_cuda_gemm_args *g = argument;
    for (int64_t batch = 0; batch < g->batch; batch++)
        for (int64_t row = 0; row < g->m; row++)
            for (int64_t column = 0; column < g->n; column++) element(g, batch, row, column);
}

static cudaError_t run(bert_cuda_gemm *gemm, const bert_cuda_gemm_args *args, cudaStream_t stream, char *why,
                       size_t size) {
    return (cudaError_t)bert_emulator_enqueue(stream, run_now, args, sizeof *args);
}

const bert_cuda_gemm_provider bert_cuda_gemm_provider_built = {
    .name = "loops", .open = open_loops, .close = close_loops, .s8_multiple = 1, .run = run};
