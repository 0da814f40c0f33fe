/* What providers share: the rules of gemm.h, and the cache's key of a product. */
#ifndef BERT_CUDA_GEMM_KEY_H
#define BERT_CUDA_GEMM_KEY_H

#include "cuda/gemm.h"

enum {
    BERT_CUDA_GEMM_TRANSPOSE_A = 1,
    BERT_CUDA_GEMM_TRANSPOSE_B = 2,
    BERT_CUDA_GEMM_BIAS = 4,
    BERT_CUDA_GEMM_SCALES = 8,
    BERT_CUDA_GEMM_ADDS = 16, /* beta is not 0 */
    /* Of a product with what follows it. */
    BERT_CUDA_GEMM_FOLLOWED = 32,
    BERT_CUDA_GEMM_RESIDUAL = 64,
    BERT_CUDA_GEMM_HALVES = 128,
    BERT_CUDA_GEMM_ACTIVATION_SHIFT = 8, /* from this bit on, bert_cuda_activation */
    BERT_CUDA_GEMM_DTYPE_SHIFT = 16,     /* from this bit on, the type of y */
    BERT_CUDA_GEMM_BIAS_ALONE = 1 << 24, /* at most */
    BERT_CUDA_GEMM_COLD = 1 << 25,       /* B comes from memory */
    BERT_CUDA_GEMM_NORM_A = 1 << 26,     /* of a product with norms: bert_cuda_followed_product */
    BERT_CUDA_GEMM_NORM_RESIDUAL = 1 << 27,
    BERT_CUDA_GEMM_MOMENTS = 1 << 28
};

static inline size_t bert_cuda_gemm_operand_bytes(bert_cuda_gemm_kind kind) {
    return kind == BERT_CUDA_GEMM_F32 || kind == BERT_CUDA_GEMM_TF32   ? 4
           : kind == BERT_CUDA_GEMM_F16 || kind == BERT_CUDA_GEMM_BF16 ? 2
                                                                       : 1;
}

static inline size_t bert_cuda_gemm_result_bytes(bert_cuda_gemm_kind kind) {
    return kind == BERT_CUDA_GEMM_F32 || kind == BERT_CUDA_GEMM_TF32 || kind == BERT_CUDA_GEMM_S8 ? 4 : 2;
}

/* Bytes, at most 16, that all of these are multiples of. */
static inline int32_t bert_cuda_gemm_alignment(const bert_cuda_gemm_args *g) {
    const uint64_t in = bert_cuda_gemm_operand_bytes(g->kind), out = bert_cuda_gemm_result_bytes(g->kind);
    uint64_t all = (uint64_t)(uintptr_t)g->a | (uint64_t)(uintptr_t)g->b | (uint64_t)(uintptr_t)g->c |
                   (uint64_t)(uintptr_t)g->bias | 16;
    all |= (uint64_t)g->lda * in | (uint64_t)g->ldb * in | (uint64_t)g->ldc * out;
    if (g->batch > 1) all |= (uint64_t)g->stride_a * in | (uint64_t)g->stride_b * in | (uint64_t)g->stride_c * out;
    return (int32_t)(all & (~all + 1));
}

static inline bert_cuda_gemm_key bert_cuda_gemm_key_of(const bert_cuda_gemm_args *g) {
    bert_cuda_gemm_key key = {(int32_t)g->kind,
                              0,
                              bert_cuda_gemm_alignment(g),
                              bert_cuda_gemm_bucket(g->m),
                              g->n,
                              g->k,
                              bert_cuda_gemm_bucket(g->batch)};
    if (g->transpose_a) key.flags |= BERT_CUDA_GEMM_TRANSPOSE_A;
    if (g->transpose_b) key.flags |= BERT_CUDA_GEMM_TRANSPOSE_B;
    if (g->bias) key.flags |= BERT_CUDA_GEMM_BIAS;
    if (g->row_scales) key.flags |= BERT_CUDA_GEMM_SCALES;
    if (g->beta != 0) key.flags |= BERT_CUDA_GEMM_ADDS;
    if (g->cold_b) key.flags |= BERT_CUDA_GEMM_COLD;
    return key;
}

/* Why gemm.h doesn't allow a product; NULL when it does. */
static inline const char *bert_cuda_gemm_fault(const bert_cuda_gemm_args *g) {
    if (g->m < 0 || g->n < 0 || g->k < 0 || g->batch < 0) return "a product has a negative size";
    if (g->lda < (g->transpose_a ? g->m : g->k) || g->ldb < (g->transpose_b ? g->k : g->n) || g->ldc < g->n)
        return "rows of a product's operands are longer than from one to the next";
    if (g->kind == BERT_CUDA_GEMM_S8 && (g->alpha != 1 || (g->beta != 0 && g->beta != 1) || g->bias))
        return "products of int8 want alpha 1, beta 0 or 1, and no bias";
    if (g->kind != BERT_CUDA_GEMM_F8)
        return g->row_scales || g->column_scales ? "products of E4M3 alone have scales" : NULL;
    if (g->transpose_a || !g->transpose_b) return "products of E4M3 want A as it is and B transposed";
    if (g->n % 16 || g->k % 16) return "products of E4M3 want n and k as multiples of 16";
    if (bert_cuda_gemm_alignment(g) < 16) return "products of E4M3 want rows aligned to 16 bytes";
    if (!g->row_scales != !g->column_scales || (g->row_scales && g->batch != 1))
        return "scales want those of both operands, and one product at a time";
    return NULL;
}

#endif
