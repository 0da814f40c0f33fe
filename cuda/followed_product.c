#include "cuda/followed_product.h"

#include "cuda/environment.h"
#include "cuda/gemm_key.h"
#include "cuda/ops/tensor_product.h"
#include "cuda/stopwatch.h"

#include <stdio.h>
#include <string.h>

static const bert_cuda_gemm_provider *const provider = &bert_cuda_gemm_provider_built;

bert_cuda_product_way bert_cuda_product_way_wanted(void) {
    switch (bert_cuda_environment_says(BERT_CUDA_LINEAR)) {
    case BERT_CUDA_LINEAR_LIBRARY:
        return BERT_CUDA_PRODUCT_LIBRARY;
    case BERT_CUDA_LINEAR_OWN:
        return BERT_CUDA_PRODUCT_OWN;
    default:
        return BERT_CUDA_PRODUCT_CHOSEN;
    }
}

void bert_cuda_product_identity(char *out, size_t size) {
    provider->identify(out, size);
    const size_t length = strlen(out);
    snprintf(out + length, size - length, "; tensor_product %d", BERT_CUDA_TENSOR_PRODUCT_REVISION);
}

static bert_cuda_gemm_key key_of(const bert_cuda_followed_product *p) {
    const bool bytes = p->product->kind == BERT_CUDA_GEMM_S8;
    const bool residual = bytes ? p->bytes->residual : p->floats->residual;
    const bool halves = bytes ? p->bytes->y_lower : p->floats->y_lower;
    const uint32_t activation = bytes ? p->bytes->activation : p->floats->activation;
    const uint32_t dtype = bytes ? p->bytes->dtype : p->floats->dtype;
    bert_cuda_gemm_key key = bert_cuda_gemm_key_of(p->product);
    key.flags |=
        BERT_CUDA_GEMM_FOLLOWED | activation << BERT_CUDA_GEMM_ACTIVATION_SHIFT | dtype << BERT_CUDA_GEMM_DTYPE_SHIFT;
    if (residual) key.flags |= BERT_CUDA_GEMM_RESIDUAL;
    if (halves) key.flags |= BERT_CUDA_GEMM_HALVES;
    return key;
}

/* ---- Choosing ---------------------------------------------------------------------------------------------------- */

/* The library adds a bias to floats itself. Scales that are not the product's own come before it. */
static bool at_most_a_bias_follows(const bert_cuda_followed_product *p) {
    const bert_cuda_bias_activation_args *floats = p->floats;
    return p->product->kind != BERT_CUDA_GEMM_S8 && floats->activation == BERT_CUDA_NONE && !floats->residual &&
           !floats->row_scales && !floats->y_lower && !floats->ranges && !floats->e4m3.bytes;
}

/* With more rows the library's tiles for Hopper win where nothing follows: that is not worth the time to measure it. */
enum { ROWS_TO_TRY_OWN = 1024 };

/* Our own kernel has no part in it: it doesn't take the product, isn't wanted, or has nothing to save. */
static bool is_the_librarys(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p) {
    if (maker->way == BERT_CUDA_PRODUCT_LIBRARY || !bert_cuda_tensor_product_fits(p->product)) return true;
    return maker->way == BERT_CUDA_PRODUCT_CHOSEN && maker->cache && at_most_a_bias_follows(p) &&
           (!provider->clock || p->product->m > ROWS_TO_TRY_OWN);
}

/* Nothing was measured, or will be: the kernel of our own, where it takes the product. */
static bool by_rule(const bert_cuda_product_maker *maker) {
    return maker->way == BERT_CUDA_PRODUCT_OWN ||
           (maker->way == BERT_CUDA_PRODUCT_CHOSEN && (!maker->cache || !provider->clock));
}

/* Whether there is a choice for the product. One of a tile that isn't there (a file from elsewhere, say) is none. */
static bool find_choice(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p,
                        bert_cuda_gemm_choice *out) {
    const bert_cuda_gemm_key key = key_of(p);
    return maker->cache && bert_cuda_gemm_cache_find(maker->cache, &key, out) && out->tile >= 0 &&
           out->tile <= BERT_CUDA_TENSOR_PRODUCT_ALL_TILES;
}

/* 0: the library's; else 1 + the tile of our own. */
static int32_t way_of(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p) {
    bert_cuda_gemm_choice choice;
    if (is_the_librarys(maker, p)) return 0;
    if (!by_rule(maker) && find_choice(maker, p, &choice)) return choice.tile;
    if (!by_rule(maker) && at_most_a_bias_follows(p)) return 0;
    return 1 + bert_cuda_tensor_product_tile(p->product->m, p->product->n);
}

bool bert_cuda_product_needs_no_sums(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p) {
    return !is_the_librarys(maker, p) && by_rule(maker);
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

static cudaError_t run_own(const bert_cuda_followed_product *p, int32_t tile, cudaStream_t stream, char *why,
                           size_t size) {
    const bert_cuda_tensor_product_args args = {
        .product = p->product, .floats = p->floats, .bytes = p->bytes, .tile = tile};
    const cudaError_t status = bert_cuda_tensor_product(&args, stream);
    if (status != cudaSuccess) snprintf(why, size, "the kernel tensor_product: %s", cudaGetErrorString(status));
    return status;
}

/* The product as the library makes it. */
static bert_cuda_gemm_args product_of_library(const bert_cuda_followed_product *p) {
    bert_cuda_gemm_args product = *p->product;
    if (at_most_a_bias_follows(p)) product.bias = p->floats->bias;
    return product;
}

static cudaError_t run_library(bert_cuda_gemm *gemm, const bert_cuda_followed_product *p, cudaStream_t stream,
                               char *why, size_t size) {
    const bool bytes = p->product->kind == BERT_CUDA_GEMM_S8, alone = at_most_a_bias_follows(p);
    const bert_cuda_gemm_args product = product_of_library(p);
    if (alone && product.c != p->floats->y) {
        snprintf(why, size, "a product that at most a bias follows is to be written where it is wanted");
        return cudaErrorInvalidValue;
    }
    cudaError_t status = provider->run(gemm, &product, stream, why, size);
    if (status != cudaSuccess || alone) return status;
    status = bytes ? bert_cuda_dequantize(p->bytes, stream) : bert_cuda_bias_activation(p->floats, stream);
    if (status != cudaSuccess)
        snprintf(why, size, "the kernel %s: %s", bytes ? "dequantize" : "bias_activation", cudaGetErrorString(status));
    return status;
}

static cudaError_t run_way(bert_cuda_gemm *gemm, const bert_cuda_followed_product *p, int32_t way, cudaStream_t stream,
                           char *why, size_t size) {
    return way ? run_own(p, way - 1, stream, why, size) : run_library(gemm, p, stream, why, size);
}

cudaError_t bert_cuda_run_followed_product(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p,
                                           char *why, size_t size) {
    const int32_t way = way_of(maker, p);
    const cudaError_t status = run_way(maker->gemm, p, way, maker->stream, why, size);
    /* What a choice was measured with and its key doesn't tell, as where a bias begins, may be otherwise here. */
    if (way == 0 || status != cudaErrorNotSupported) return status;
    return run_own(p, bert_cuda_tensor_product_tile(p->product->m, p->product->n), maker->stream, why, size);
}

/* ---- Measuring --------------------------------------------------------------------------------------------------- */

typedef struct trials {
    bert_cuda_gemm *gemm;
    const bert_cuda_followed_product *p;
} trials;

/* `way` as a choice has it. */
static bool run_trial(const void *work, int way, cudaStream_t stream) {
    const trials *t = work;
    const bert_cuda_gemm_args *product = t->p->product;
    char why[256];
    if (way && !bert_cuda_tensor_product_may_win(product->m, product->n, way - 1)) return false;
    return run_way(t->gemm, t->p, way, stream, why, sizeof why) == cudaSuccess;
}

bool bert_cuda_keep_product_choice(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p,
                                   int32_t way, int64_t nanoseconds) {
    const bert_cuda_gemm_key key = key_of(p);
    return bert_cuda_gemm_cache_add(maker->cache, &key,
                                    &(bert_cuda_gemm_choice){.tile = way, .nanoseconds = nanoseconds});
}

cudaError_t bert_cuda_tune_followed_product(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p,
                                            char *why, size_t size) {
    const bool librarys = is_the_librarys(maker, p);
    bert_cuda_gemm_choice known;
    if (p->product->m == 0 || p->product->n == 0) return cudaSuccess;
    if (!librarys && by_rule(maker)) return cudaSuccess;
    const bool found = !librarys && find_choice(maker, p, &known);
    /* The library's best algorithm first: the pair is measured with it. */
    if (!found || known.tile == 0) {
        const bert_cuda_gemm_args product = product_of_library(p);
        const cudaError_t status = provider->tune(maker->gemm, &product, maker->stream, why, size);
        if (status != cudaSuccess) return status;
    }
    if (found || librarys) return cudaSuccess;
    bert_cuda_fastest fastest;
    const cudaError_t status = bert_cuda_find_fastest(maker->stream, run_trial, &(trials){maker->gemm, p},
                                                      1 + BERT_CUDA_TENSOR_PRODUCT_ALL_TILES, &fastest);
    if (status != cudaSuccess)
        snprintf(why, size, "measuring a product and what follows it: %s", cudaGetErrorString(status));
    else if (fastest.way >= 0)
        bert_cuda_keep_product_choice(maker, p, fastest.way, fastest.nanoseconds);
    return status;
}
