/*
 * Which way to a product, or to one and what follows it, was measured fastest: in memory, and in a file that later
 * processes begin with. Knows nothing of CUDA.
 *
 * The file is text: a line with the format's version, one with what the choices hold for, a line a choice, and one with
 * their number and a checksum. It is never written in place: a reader sees a whole file, the old or the new, and what
 * two processes write at a time is one of both.
 */
#ifndef BERT_CUDA_GEMM_CACHE_H
#define BERT_CUDA_GEMM_CACHE_H

#include <bert/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a choice is for. */
typedef struct bert_cuda_gemm_key {
    int32_t kind;      /**< bert_cuda_gemm_kind. */
    uint32_t flags;    /**< Of gemm_key.h: transposes, bias ... */
    int32_t alignment; /**< Bytes that every pointer and row is aligned to: 1 to 16. */
    int64_t rows;      /**< The bucket of m, by bert_cuda_gemm_bucket. */
    int64_t n, k;
    int64_t batch; /**< The bucket of the batch. */
} bert_cuda_gemm_key;

/** How the product is made, and the time that it was chosen for. */
typedef struct bert_cuda_gemm_choice {
    uint64_t words[8]; /**< The library's own description of an algorithm. */
    int32_t way;       /**< Of a product with what follows it: a way of followed_product.h. */
    int64_t nanoseconds;
} bert_cuda_gemm_choice;

/** Choices of one device, library and revision of our own kernel. Any thread. */
typedef struct bert_cuda_gemm_cache bert_cuda_gemm_cache;

/** Rows that share a choice: up to 8 each for themselves, then four buckets to a doubling. The greatest of them. */
int64_t bert_cuda_gemm_bucket(int64_t rows);

/**
 * Which file: the environment's BERT_CUDA_GEMM_CACHE, where it is set ("off" is none); else `beside`, a model's path,
 * with ".gemm" appended; none when that is NULL. False, and an empty `out`, for none or one that doesn't fit.
 */
bool bert_cuda_gemm_cache_path(const char *beside, char *out, size_t size);

/**
 * A cache, in memory of the allocator, with what the file has for `identity`, a line of text. `path` NULL:
 * in memory alone. A file that isn't there is no fault; one that is damaged, of another version or for another device,
 * library or kernel of ours is ignored, with a sentence in `notice` (of `size` bytes, else empty), and is replaced when
 * there is something to save; what is something else altogether, or can't be read, stays as it is. NULL when memory
 * runs out. Free it after every handle that uses it.
 */
bert_cuda_gemm_cache *bert_cuda_gemm_cache_create(const bert_allocator *allocator, const char *path,
                                                  const char *identity, char *notice, size_t size);
void bert_cuda_gemm_cache_free(bert_cuda_gemm_cache *cache);

/** Whether there is a choice; then *out is it. */
bool bert_cuda_gemm_cache_find(bert_cuda_gemm_cache *cache, const bert_cuda_gemm_key *key, bert_cuda_gemm_choice *out);
/** Keeps a choice, instead of the key's earlier one. False when memory runs out or there are 65,536 already. */
bool bert_cuda_gemm_cache_add(bert_cuda_gemm_cache *cache, const bert_cuda_gemm_key *key,
                              const bert_cuda_gemm_choice *choice);
size_t bert_cuda_gemm_cache_count(bert_cuda_gemm_cache *cache);
/** While it is the same, what find says is. */
uint64_t bert_cuda_gemm_cache_revision(bert_cuda_gemm_cache *cache);

/**
 * Writes the file anew, where there is one and something was added; choices that another process put there meanwhile
 * stay. A symbolic link stays one. False with a sentence in `notice` when it can't be written, or is something else by
 * now; choices in memory stay good.
 */
bool bert_cuda_gemm_cache_save(bert_cuda_gemm_cache *cache, char *notice, size_t size);

#ifdef __cplusplus
}
#endif
#endif
