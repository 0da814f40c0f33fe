/* Products of [m, 64] and [64, 48] with what follows them, and who makes them: what tests of cuda/followed_product.h
 * share. */
#ifndef BERT_TESTS_CUDA_FOLLOWED_CASE_H
#define BERT_TESTS_CUDA_FOLLOWED_CASE_H

#include "core/base/memory.h"
#include "cuda/followed_product.h"
#include "tests/cuda/gemm_case.h"

#ifdef BERT_CUDA_EMULATED
#include "tests/cuda_emulator/emulator.h"
#endif

#include <string.h>

enum { N = 48, K = 64, PACKED = 64 };

typedef struct followed {
    bert_cuda_gemm_args product;
    bert_cuda_bias_activation_args floats;
    bert_cuda_dequantize_args bytes;
    bert_cuda_followed_product p;
    bert_cuda_followed_norms norms;
    case_tensor *y;
} followed;

/* GELU(x W + bias) + residual, in a type of floats; or x W + bias. */
static inline void make_floats(followed *f, bert_dtype dtype, int64_t m, bool bias_alone) {
    case_begin(BERT_OP_BERTC_Linear);
    case_string("activation", bias_alone ? "none" : "gelu");
    const case_tensor *a = case_input(dtype, 2, DIMS(m, K), 1.0F), *residual = NULL;
    if (bias_alone)
        case_absent();
    else
        residual = case_input(dtype, 2, DIMS(m, N), 1.0F);
    const case_tensor *b = case_input(dtype, 2, DIMS(K, N), 0.5F), *bias = case_input(dtype, 1, DIMS(N), 1.0F);
    f->y = case_output(dtype, 2, DIMS(m, N));
    f->product = (bert_cuda_gemm_args){.kind = dtype == BERT_FLOAT16    ? BERT_CUDA_GEMM_F16
                                               : dtype == BERT_BFLOAT16 ? BERT_CUDA_GEMM_BF16
                                                                        : BERT_CUDA_GEMM_F32,
                                       .m = m,
                                       .n = N,
                                       .k = K,
                                       .batch = 1,
                                       .alpha = 1,
                                       .a = a->device,
                                       .b = b->device,
                                       .c = f->y->device,
                                       .lda = K,
                                       .ldb = N,
                                       .ldc = N,
                                       .workspace = workspace};
    f->floats = (bert_cuda_bias_activation_args){.dtype = dtype,
                                                 .activation = bias_alone ? BERT_CUDA_NONE : BERT_CUDA_GELU,
                                                 .rows = m,
                                                 .width = N,
                                                 .x = f->y->device,
                                                 .bias = bias->device,
                                                 .residual = residual ? residual->device : NULL,
                                                 .y = f->y->device};
    f->p = (bert_cuda_followed_product){.product = &f->product, .floats = &f->floats};
    if (dtype != BERT_FLOAT) f->y->tolerance *= 2; /* the library's products are rounded on their way */
}

/* Bytes, as they are: no zero points, scales of 1; the reference has them as integers. Weights are packed wider than y
 * is. */
static inline void make_bytes(followed *f, int64_t m) {
    static int8_t a[64 * K], b[PACKED * K];
    static int32_t no_points[N];
    int32_t offset = 128;
    float one = 1;
    case_begin(BERT_OP_MatMulInteger);
    for (size_t i = 0; i < sizeof a; i++) a[i] = (int8_t)(i * 37 % 255);
    for (size_t i = 0; i < N * K; i++) b[i] = (int8_t)(i * 91 % 253);
    int8_t across[K * N];
    for (int64_t i = 0; i < K * N; i++) across[i] = b[i % N * K + i / N];
    const case_tensor *left = case_input_of(BERT_INT8, 2, DIMS(m, K), a);
    case_input_of(BERT_INT8, 2, DIMS(K, N), across);
    case_tensor *expected = case_output(BERT_INT32, 2, DIMS(m, N));
    expected->reference_only = true;
    case_compare(cudaSuccess);
    const void *right = case_extra(BERT_INT8, 2, DIMS(PACKED, K))->device;
    cudaMemcpy((void *)(uintptr_t)right, b, sizeof b, cudaMemcpyHostToDevice);
    case_tensor *zeros = case_extra(BERT_INT32, 1, DIMS(N)), *offsets = case_extra(BERT_INT32, 1, DIMS(1));
    case_tensor *sums = case_extra(BERT_INT32, 1, DIMS(m)), *scales = case_extra(BERT_FLOAT, 1, DIMS(N));
    case_tensor *products = case_extra(BERT_INT32, 2, DIMS(m, PACKED));
    float many[N];
    for (int i = 0; i < N; i++) many[i] = one;
    cudaMemcpy(zeros->device, no_points, sizeof no_points, cudaMemcpyHostToDevice);
    cudaMemcpy(offsets->device, &offset, sizeof offset, cudaMemcpyHostToDevice);
    cudaMemcpy(scales->device, many, sizeof many, cudaMemcpyHostToDevice);
    cudaMemset(sums->device, 0, (size_t)m * 4);
    f->y = case_extra(BERT_FLOAT, 2, DIMS(m, N));
    memcpy(f->y->host.data, expected->host.data, (size_t)(m * N) * 4);
    f->product = (bert_cuda_gemm_args){.kind = BERT_CUDA_GEMM_S8,
                                       .transpose_b = true,
                                       .m = m,
                                       .n = PACKED,
                                       .k = K,
                                       .batch = 1,
                                       .alpha = 1,
                                       .a = left->device,
                                       .b = right,
                                       .c = products->device,
                                       .lda = K,
                                       .ldb = K,
                                       .ldc = PACKED,
                                       .workspace = workspace};
    f->bytes = (bert_cuda_dequantize_args){.dtype = BERT_FLOAT,
                                           .rows = m,
                                           .width = N,
                                           .depth = K,
                                           .products = products->device,
                                           .pitch = PACKED,
                                           .zero_points = offsets->device,
                                           .sums = sums->device,
                                           .weight_scales = scales->device,
                                           .weight_zero_points = zeros->device,
                                           .weight_sums = zeros->device,
                                           .y = f->y->device};
    f->p = (bert_cuda_followed_product){.product = &f->product, .bytes = &f->bytes};
}

static inline bert_dtype type_of(bert_cuda_gemm_kind kind) {
    return kind == BERT_CUDA_GEMM_F16 ? BERT_FLOAT16 : kind == BERT_CUDA_GEMM_BF16 ? BERT_BFLOAT16 : BERT_FLOAT;
}

static inline void make(followed *f, bert_cuda_gemm_kind kind, int64_t m) {
    if (kind == BERT_CUDA_GEMM_S8)
        make_bytes(f, m);
    else
        make_floats(f, type_of(kind), m, false);
}

static inline bert_cuda_product_maker maker_of(bert_cuda_gemm_cache *cache, bert_cuda_product_policy policy) {
    provider->use_cache(gemm, cache);
    return (bert_cuda_product_maker){.gemm = gemm, .cache = cache, .policy = policy};
}

static inline bert_cuda_gemm_cache *new_cache(void) {
    char why[512] = "";
    return bert_cuda_gemm_cache_create(&bert_default_allocator, NULL, "tests", why, sizeof why);
}

/* Without times nothing is chosen: tests of choices are skipped. */
static inline void need_clock(void) {
    if (provider->clock) return;
    print_message("skipped: nothing is chosen by the emulator's provider\n");
    skip();
}

static inline void count_kernel(const char *kernel) {
#ifdef BERT_CUDA_EMULATED
    bert_emulator_count(kernel);
#endif
}

/* Launches of the kernel since then; a GPU doesn't tell. */
static inline void expect_launches(int launches) {
#ifdef BERT_CUDA_EMULATED
    assert_int_equal(bert_emulator_launches(), launches);
    bert_emulator_count(NULL);
#endif
}

static inline void expect_measured(bool measured) {
#ifdef BERT_CUDA_EMULATED
    assert_int_equal(bert_emulator_launches() > 0, measured);
    bert_emulator_count(NULL);
#endif
}

static inline void tune(const bert_cuda_product_maker *maker, const followed *f) {
    char why[512] = "";
    const cudaError_t status = bert_cuda_tune_followed_product(maker, &f->p, why, sizeof why);
    if (status != cudaSuccess) fail_msg("%s", why);
    case_good(status);
}

#endif
