/*
 * Matrix products, behind one table: cuBLAS and cuBLASLt in the plug-in, plain loops where the plug-in is built for the
 * emulator. Everything else that the CUDA provider runs is a kernel of its own.
 */
#ifndef BERT_CUDA_GEMM_H
#define BERT_CUDA_GEMM_H

#include <bert/types.h>
#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/** In what a product computes. The types of its operands and result follow. */
typedef enum bert_cuda_gemm_kind {
    BERT_CUDA_GEMM_F32,  /**< float32, true */
    BERT_CUDA_GEMM_TF32, /**< float32 operands, of which the products see 10 bits; sums in float32 */
    BERT_CUDA_GEMM_F16,  /**< float16 operands and result, sums in float32 */
    BERT_CUDA_GEMM_BF16, /**< bfloat16 operands and result, sums in float32 */
    BERT_CUDA_GEMM_S8    /**< int8 operands, int32 result, exact; alpha is 1, beta 0 or 1 */
} bert_cuda_gemm_kind;

/**
 * C = alpha op(A) op(B) + beta C for `batch` products at once. All row-major: op(A) is [m, k], op(B) [k, n], C [m, n];
 * a transposed operand is stored as [k, m], or [n, k]. lda, ldb, ldc: elements from one stored row to the next; the
 * strides: from one product of the batch to the next, 0 for an operand that all share. With beta 0 C is not read.
 */
typedef struct bert_cuda_gemm_args {
    bert_cuda_gemm_kind kind;
    bool transpose_a, transpose_b;
    int64_t m, n, k, batch;
    float alpha, beta;
    const void *a, *b;
    void *c;
    int64_t lda, ldb, ldc;
    int64_t stride_a, stride_b, stride_c;
    void *workspace; /**< workspace_bytes of the provider, aligned to 256; content undefined. */
} bert_cuda_gemm_args;

/** A library's handles of one session. One thread at a time. */
typedef struct bert_cuda_gemm bert_cuda_gemm;

typedef struct bert_cuda_gemm_provider {
    const char *name; /**< "cublas", "loops" */
    /** NULL with a sentence in `why` (of `size` bytes) where the library fails. */
    bert_cuda_gemm *(*open)(char *why, size_t size);
    void (*close)(bert_cuda_gemm *gemm);
    size_t workspace_bytes;
    /** Whether INT8 products want n and k as multiples of this, and 16-byte aligned rows. */
    int64_t s8_multiple;
    /** Puts a product on the stream; may be captured. cudaSuccess, or an error with a sentence in `why`. */
    cudaError_t (*run)(bert_cuda_gemm *gemm, const bert_cuda_gemm_args *args, cudaStream_t stream, char *why,
                       size_t size);
} bert_cuda_gemm_provider;

/** The one that this build has. */
extern const bert_cuda_gemm_provider bert_cuda_gemm_provider_built;

#ifdef __cplusplus
}
#endif
#endif
