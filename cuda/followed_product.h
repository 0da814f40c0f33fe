/*
 * A product and what follows it, y = epilogue(A B), in the fastest of these ways: the library's product and a kernel
 * after it, of all rows or chunk by chunk, or one kernel of our own that does both (ops/tensor_product.h). A bias alone
 * the library adds itself, with no kernel after it. Where rows are to be normalized on the way, the library's way has
 * kernels for that around it.
 */
#ifndef BERT_CUDA_FOLLOWED_PRODUCT_H
#define BERT_CUDA_FOLLOWED_PRODUCT_H

#include "cuda/gemm.h"
#include "cuda/ops/bias_activation.h"
#include "cuda/ops/quantize.h"
#include "cuda/ops/tensor_product.h"

/** Who decides how one is made. */
typedef enum bert_cuda_product_policy {
    /** As it was measured; by our own kernel where nothing was and it takes the product. That depends on neither the
     * number of rows nor the process, so the bits don't either. A product of floats that at most a bias follows is the
     * library's, which adds that itself, but where it has few rows and ours was faster, and where nothing is measured
     * because there is no cache: the library's first guess may depend on the number of rows. */
    BERT_CUDA_PRODUCT_CHOSEN,
    BERT_CUDA_PRODUCT_LIBRARY, /**< By the library, all rows at once, with a kernel after it where more than a bias
                                  follows. */
    BERT_CUDA_PRODUCT_OWN      /**< By our own kernel, where that takes it. */
} bert_cuda_product_policy;

/** The environment's BERT_CUDA_LINEAR, for tests and comparisons: "library" or "own"; otherwise the way is chosen. */
bert_cuda_product_policy bert_cuda_product_policy_wanted(void);

/** What choices hold for, as text of `size` bytes for bert_cuda_gemm_cache_create: the device, the library, the driver
 * and the revision of our own kernel that it is measured against. */
void bert_cuda_product_identity(char *out, size_t size);

/** What the products of a session have in common. */
typedef struct bert_cuda_product_maker {
    bert_cuda_gemm *gemm;
    bert_cuda_gemm_cache *cache; /**< That `gemm` uses too; NULL: nothing is measured. */
    bert_cuda_product_policy policy;
    cudaStream_t stream;
} bert_cuda_product_maker;

/** What is normalized on the way, of products that bert_cuda_tensor_product takes with norms. Where the library makes
 * them all that is a kernel each: rows are written normalized to memory, then multiplied and added. */
typedef struct bert_cuda_followed_norms {
    bert_cuda_product_norms of;
    void *a;        /**< [m, k] of A's type, for A as it is multiplied. */
    void *residual; /**< [m, n], for the residual as it is added. */
} bert_cuda_followed_norms;

/** `product` has no bias, and beta 0. C is what follows reads as x, or as products: it may be y, where that isn't the
 * residual, and is y where at most a bias follows. */
typedef struct bert_cuda_followed_product {
    const bert_cuda_gemm_args *product;
    const bert_cuda_bias_activation_args *floats; /**< What follows; of S8 not looked at. */
    const bert_cuda_dequantize_args *bytes;       /**< What follows S8. */
    const bert_cuda_followed_norms *norms;        /**< NULL: none. */
} bert_cuda_followed_product;

/** Ways, as choices have them: 0, the library's product and a kernel after it (with norms: and kernels for these around
 * both); then 1 + a tile of ops/tensor_product.h; then the library's
 * again, in chunks of many rows. */
enum {
    BERT_CUDA_PRODUCT_IN_CHUNKS = 1 + BERT_CUDA_TENSOR_PRODUCT_ALL_TILES,
    BERT_CUDA_PRODUCT_CHUNKS = 3,
    BERT_CUDA_PRODUCT_WAYS = BERT_CUDA_PRODUCT_IN_CHUNKS + BERT_CUDA_PRODUCT_CHUNKS
};

/** Whether a product with norms was measured, and was faster with kernels for them, wherever B came from. Of pointers
 * it matters only which are NULL, and how they are aligned. */
bool bert_cuda_norms_are_faster_apart(bert_cuda_gemm_cache *cache, const bert_cuda_followed_product *p);

/** Whether C is never written, so that no memory is wanted for it, whatever the number of rows. Where products are
 * measured it isn't known: that is done in a run, for its rows alone, and writes C. Of the product only what
 * bert_cuda_tensor_product_fits looks at; of what follows, `floats` alone. */
bool bert_cuda_product_needs_no_sums(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p);

/** Puts the product on the stream; may be captured. cudaSuccess, or an error with a sentence in `why`. */
cudaError_t bert_cuda_run_followed_product(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p,
                                           char *why, size_t size);

/** The library's way, so many rows at a time: for products of one batch that more than a bias follows. */
cudaError_t bert_cuda_run_product_in_chunks(bert_cuda_gemm *gemm, const bert_cuda_followed_product *p, int64_t step,
                                            cudaStream_t stream, char *why, size_t size);

/** Keeps a choice in the maker's cache. False when memory runs out. */
bool bert_cuda_keep_product_choice(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p,
                                   int32_t way, int64_t nanoseconds);

/** Measures the ways that the product may be made and keeps the best, as `tune` of gemm.h does: the same holds, but
 * that operands are looked at. Ways that don't give what the library's does aren't taken; then there is a sentence
 * about it in `why` with cudaSuccess, too, and an empty one else. y, which is not the residual, is left undefined. */
cudaError_t bert_cuda_tune_followed_product(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p,
                                            char *why, size_t size);

#endif
