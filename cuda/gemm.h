/*
 * Matrix products, behind one table: cuBLASLt in the plug-in, plain loops where the plug-in is built for the
 * emulator. Those of 16 bits and of bytes may also be made with what follows them, by a kernel of our own
 * (followed_product.h); everything else that the CUDA provider runs is a kernel of its own.
 */
#ifndef BERT_CUDA_GEMM_H
#define BERT_CUDA_GEMM_H

#include "cuda/gemm_cache.h"

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
    BERT_CUDA_GEMM_S8,   /**< int8 operands, int32 result, exact; alpha is 1, beta 0 or 1, no bias */
    /** E4M3 operands, float16 result. Sums are those of tensor cores where the library has kernels with them, which
     * keep some 14 bits; else they are in float32. Which does not depend on m. Only op(A) = A and op(B) = Bᵀ; n, k, lda
     * and ldb multiples of 16; operands, result and strides aligned to 16 bytes. */
    BERT_CUDA_GEMM_F8
} bert_cuda_gemm_kind;

/**
 * C = alpha op(A) op(B) + beta C + bias for `batch` products at once. All row-major: op(A) is [m, k], op(B) [k, n], C
 * [m, n]; a transposed operand is stored as [k, m], or [n, k]. lda, ldb, ldc: elements from one stored row to the next,
 * at least the length of a row; the strides: from one product of the batch to the next, 0 for an operand that all
 * share. With beta 0 C is not read. Rounded once, bias included.
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
    const void *bias; /**< [n], of C's type, added to every row; NULL: none. */
    /** F8 alone, batch 1: [m] and [n], in device memory, what rows of A and columns of op(B) are multiplied by; NULL
     * (both): 1. Not every device that has F8 has these, and not for every n and k: `supports`. */
    const float *row_scales, *column_scales;
    bool cold_b;     /**< Its B comes from memory, not from L2, and is measured so (cold_operand.h): batch 1. */
    void *workspace; /**< workspace_bytes of the provider, aligned to 256; content undefined. */
} bert_cuda_gemm_args;

/** What `supports` is asked about: C = A Bᵀ, with any number of rows. */
typedef struct bert_cuda_gemm_shape {
    bert_cuda_gemm_kind kind;
    int64_t n, k;
    bool scales, bias; /**< Scales: of F8 alone. */
} bert_cuda_gemm_shape;

/** A library's handles of one session. One thread at a time. */
typedef struct bert_cuda_gemm bert_cuda_gemm;

typedef struct bert_cuda_gemm_provider {
    const char *name; /**< "cublasLt", "loops" */
    /** NULL with a sentence in `why` (of `size` bytes) where the library fails. */
    bert_cuda_gemm *(*open)(char *why, size_t size);
    void (*close)(bert_cuda_gemm *gemm);
    size_t workspace_bytes;
    /**
     * INT8 products are fast where n and k are multiples of this, B is transposed, A is not, and rows begin at
     * multiples of 16 bytes: pack weights so. Others are right, and slow.
     */
    int64_t s8_multiple;
    /** Whether library and device have such products, of few rows and of many. The answer about a shape stays. */
    bool (*supports)(bert_cuda_gemm *gemm, const bert_cuda_gemm_shape *shape);
    /** Puts a product on the stream. cudaSuccess, or an error with a sentence in `why`. May be captured: one of the
     * last 512 that were run before is then made by the same algorithm, and a library that answers no questions
     * meanwhile isn't asked. */
    cudaError_t (*run)(bert_cuda_gemm *gemm, const bert_cuda_gemm_args *args, cudaStream_t stream, char *why,
                       size_t size);

    /* Which of the library's algorithms is the fastest for a product is measured once and kept in a cache, which the
     * sessions of a device share. Without a cache nothing is measured, and the library's first guess is taken: the same
     * one in every process, so the same bits. */

    /** Whether times on the device mean anything. The emulator's don't, so nothing is chosen by them. */
    bool clock;
    /** The device, its driver and the library, as text of `size` bytes: of what times hold for
     * (bert_cuda_product_identity). */
    void (*identify)(char *out, size_t size);
    /** Choices are looked up and kept there from now on; NULL: no longer. The cache outlives its use. */
    void (*use_cache)(bert_cuda_gemm *gemm, bert_cuda_gemm_cache *cache);
    /**
     * Measures the product on the stream and keeps the best choice, unless the cache has one; some milliseconds, with
     * `cold_b` more. Runs on the pointers of `args`, whose content doesn't matter, and leaves C undefined. Waits for
     * the stream, so it is an error while the stream is captured: call it for each product of a plan before the
     * capture, then bert_cuda_gemm_cache_save once.
     */
    cudaError_t (*tune)(bert_cuda_gemm *gemm, const bert_cuda_gemm_args *args, cudaStream_t stream, char *why,
                        size_t size);
} bert_cuda_gemm_provider;

/** The one that this build has. */
extern const bert_cuda_gemm_provider bert_cuda_gemm_provider_built;

#ifdef __cplusplus
}
#endif
#endif
