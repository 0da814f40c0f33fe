#include "cuda/followed_product.h"

#include "core/graph/canonical.h"
#include "cuda/cold_operand.h"
#include "cuda/environment.h"
#include "cuda/gemm_key.h"
#include "cuda/ops/layer_norm.h"
#include "cuda/ops/moments.h"
#include "cuda/way_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const bert_cuda_gemm_provider *const provider = &bert_cuda_gemm_provider_built;

bert_cuda_product_policy bert_cuda_product_policy_wanted(void) {
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

/* The library adds a bias to floats itself. Scales that are not the product's own come before it. */
static bool at_most_a_bias_follows(const bert_cuda_followed_product *p) {
    const bert_cuda_bias_activation_args *floats = p->floats;
    return p->product->kind != BERT_CUDA_GEMM_S8 && !p->norms && floats->activation == BERT_CUDA_NONE &&
           !floats->residual && !floats->row_scales && !floats->y_lower && !floats->ranges && !floats->e4m3.bytes;
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
    if (at_most_a_bias_follows(p)) key.flags |= BERT_CUDA_GEMM_BIAS_ALONE;
    if (bytes) key.n = p->bytes->width; /* weights are packed wider */
    if (p->norms && p->norms->of.a.moments) key.flags |= BERT_CUDA_GEMM_NORM_A;
    if (p->norms && p->norms->of.residual.moments) key.flags |= BERT_CUDA_GEMM_NORM_RESIDUAL;
    if (p->norms && p->norms->of.moments) key.flags |= BERT_CUDA_GEMM_MOMENTS;
    return key;
}

/* ---- Choosing ---------------------------------------------------------------------------------------------------- */

/* With more rows our own kernel saves little where nothing follows, and measuring it takes longer. */
enum { ROWS_TO_TRY_OWN = 1024 };

/* Our own kernel has no part in it: it doesn't take the product, isn't wanted, or has nothing to save. */
static bool is_the_librarys(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p) {
    if (maker->policy == BERT_CUDA_PRODUCT_LIBRARY || !bert_cuda_tensor_product_fits(p->product)) return true;
    return maker->policy == BERT_CUDA_PRODUCT_CHOSEN && maker->cache && at_most_a_bias_follows(p) &&
           (!provider->clock || p->product->m > ROWS_TO_TRY_OWN);
}

/* Ways are timed, and choices kept. Otherwise it is the kernel of our own, where that takes the product. */
static bool measures(const bert_cuda_product_maker *maker) {
    return maker->policy == BERT_CUDA_PRODUCT_CHOSEN && maker->cache && provider->clock;
}

/*
 * A product of many rows and what follows it, chunk by chunk: sums of a chunk are in L2 when they are read, where those
 * of the whole go to memory and come back. Chunks of fewer bytes than these have too few rows to fill a GPU, of more
 * don't stay in a Hopper's 50 MB; and whole sums that stay need no chunks. A choice names the rows by their place here:
 * BERT_CUDA_TENSOR_PRODUCT_REVISION is to be raised with them.
 */
static const int64_t chunk_rows[BERT_CUDA_PRODUCT_CHUNKS] = {8192, 4096, 2048};
static const int64_t least_chunk_bytes = 4 << 20, most_chunk_bytes = 32 << 20;

static bool may_be_in_chunks(const bert_cuda_followed_product *p, int32_t chunk) {
    const bert_cuda_gemm_args *g = p->product;
    const int64_t row = g->n * (int64_t)bert_cuda_gemm_result_bytes(g->kind), bytes = chunk_rows[chunk] * row;
    if (at_most_a_bias_follows(p) || p->norms || g->batch != 1) return false;
    if (bert_cuda_gemm_bucket(g->m) <= chunk_rows[chunk]) return false;
    return bytes >= least_chunk_bytes && bytes <= most_chunk_bytes &&
           bert_cuda_gemm_bucket(g->m) * row > most_chunk_bytes;
}

static bool is_of_library(int32_t way) {
    return way == 0 || way >= BERT_CUDA_PRODUCT_IN_CHUNKS;
}

/* Whether the product may be made in a way, as a choice has it. */
static bool has_way(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p, int32_t way) {
    if (way < 0 || way >= BERT_CUDA_PRODUCT_WAYS) return false;
    if (way >= BERT_CUDA_PRODUCT_IN_CHUNKS) return may_be_in_chunks(p, way - BERT_CUDA_PRODUCT_IN_CHUNKS);
    if (way == 0) return true;
    return !is_the_librarys(maker, p) && (!p->norms || bert_cuda_tensor_product_tile_takes_norms(way - 1));
}

/* Whether there is a choice for the product. One of a way that isn't there (a file from elsewhere, say) is none. */
static bool find_choice(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p,
                        bert_cuda_gemm_choice *out) {
    const bert_cuda_gemm_key key = key_of(p);
    return bert_cuda_gemm_cache_find(maker->cache, &key, out) && has_way(maker, p, out->way);
}

/* Whether there is anything to choose between. */
static bool has_a_choice(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p) {
    if (!measures(maker)) return false;
    for (int32_t way = 1; way < BERT_CUDA_PRODUCT_WAYS; way++)
        if (has_way(maker, p, way)) return true;
    return false;
}

/* The way of our own where nothing was measured. */
static int32_t own_way(const bert_cuda_followed_product *p) {
    int32_t tile = bert_cuda_tensor_product_tile(p->product->m, p->product->n);
    while (p->norms && !bert_cuda_tensor_product_tile_takes_norms(tile)) tile++;
    return 1 + tile;
}

static int32_t way_of(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p) {
    bert_cuda_gemm_choice choice;
    if (has_a_choice(maker, p) && find_choice(maker, p, &choice)) return choice.way;
    /* Of what is measured our own kernel makes nothing that it wasn't held against the library's for. */
    return is_the_librarys(maker, p) || measures(maker) ? 0 : own_way(p);
}

bool bert_cuda_norms_are_faster_apart(bert_cuda_gemm_cache *cache, const bert_cuda_followed_product *p) {
    for (int cold = 0; cold < 2 && cache; cold++) {
        bert_cuda_gemm_args product = *p->product;
        bert_cuda_followed_product other = *p;
        bert_cuda_gemm_choice choice;
        product.cold_b = cold;
        other.product = &product;
        const bert_cuda_gemm_key key = key_of(&other);
        if (bert_cuda_gemm_cache_find(cache, &key, &choice) && choice.way == 0) return true;
    }
    return false;
}

bool bert_cuda_product_needs_no_sums(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p) {
    return !is_the_librarys(maker, p) && !measures(maker);
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

static cudaError_t run_own(const bert_cuda_followed_product *p, int32_t tile, cudaStream_t stream, char *why,
                           size_t size) {
    const bert_cuda_tensor_product_args args = {.product = p->product,
                                                .floats = p->floats,
                                                .bytes = p->bytes,
                                                .norms = p->norms ? &p->norms->of : NULL,
                                                .tile = tile};
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

/* Rows from `first` on, of which there are `rows`, of what follows; x, or products, are where the chunk's C is. */
static bert_cuda_bias_activation_args floats_of_rows(const bert_cuda_bias_activation_args *all, int64_t first,
                                                     int64_t rows, const void *c) {
    bert_cuda_bias_activation_args part = *all;
    const int64_t at = first * all->width;
    const size_t bytes = (size_t)at * (size_t)bert_element_bytes(all->dtype);
    part.rows = rows;
    part.x = c;
    part.y = (char *)all->y + bytes;
    if (all->residual) part.residual = (const char *)all->residual + bytes;
    if (all->row_scales) part.row_scales += first;
    if (all->residual_lower) part.residual_lower += at;
    if (all->y_lower) part.y_lower += at;
    if (all->ranges) part.ranges += first * bert_cuda_stretches(all->width);
    if (all->e4m3.bytes) part.e4m3 = (bert_cuda_e4m3_rows){all->e4m3.bytes + at, all->e4m3.scales + first};
    return part;
}

static bert_cuda_dequantize_args bytes_of_rows(const bert_cuda_dequantize_args *all, int64_t first, int64_t rows,
                                               const void *c) {
    bert_cuda_dequantize_args part = *all;
    const int64_t at = first * all->width;
    const size_t bytes = (size_t)at * (size_t)bert_element_bytes(all->dtype);
    part.rows = rows;
    part.products = c;
    part.y = (char *)all->y + bytes;
    if (all->residual) part.residual = (const char *)all->residual + bytes;
    if (all->scales) part.scales += first * all->row_stride;
    part.zero_points += first * all->row_stride;
    part.sums += first;
    if (all->residual_lower) part.residual_lower += at;
    if (all->y_lower) part.y_lower += at;
    if (all->ranges) part.ranges += first * bert_cuda_stretches(all->width);
    return part;
}

/* Rows of the product. Where C is nobody's y, all chunks have the same one, which stays in L2. */
static bert_cuda_gemm_args product_of_rows(const bert_cuda_followed_product *p, int64_t first, int64_t rows) {
    bert_cuda_gemm_args part = *p->product;
    const void *y = part.kind == BERT_CUDA_GEMM_S8 ? p->bytes->y : p->floats->y;
    part.m = rows;
    part.a = (const char *)part.a + (size_t)(first * part.lda) * bert_cuda_gemm_operand_bytes(part.kind);
    if (part.c == y) part.c = (char *)part.c + (size_t)(first * part.ldc) * bert_cuda_gemm_result_bytes(part.kind);
    if (part.row_scales) part.row_scales += first;
    return part;
}

cudaError_t bert_cuda_run_product_in_chunks(bert_cuda_gemm *gemm, const bert_cuda_followed_product *p, int64_t step,
                                            cudaStream_t stream, char *why, size_t size) {
    const int64_t m = p->product->m;
    cudaError_t status = cudaSuccess;
    for (int64_t first = 0; first < m && status == cudaSuccess; first += step) {
        const int64_t rows = m - first < step ? m - first : step;
        const bert_cuda_gemm_args product = product_of_rows(p, first, rows);
        bert_cuda_bias_activation_args floats = {0};
        bert_cuda_dequantize_args bytes = {0};
        if (product.kind == BERT_CUDA_GEMM_S8)
            bytes = bytes_of_rows(p->bytes, first, rows, product.c);
        else
            floats = floats_of_rows(p->floats, first, rows, product.c);
        const bert_cuda_followed_product part = {.product = &product, .floats = &floats, .bytes = &bytes};
        status = run_library(gemm, &part, stream, why, size);
    }
    return status;
}

/* Rows of a chunk: all of about one size, so that none is left with few; a multiple of 16, so that chunks begin as
 * aligned as the whole does. */
static int64_t rows_of_chunks(int64_t m, int32_t way) {
    const int64_t most = chunk_rows[way - BERT_CUDA_PRODUCT_IN_CHUNKS], chunks = (m + most - 1) / most;
    return ((m + chunks - 1) / chunks + 15) / 16 * 16;
}

/* A product without its norms: of rows that kernels of their own have normalized. */
typedef struct plain_product {
    bert_cuda_gemm_args product;
    bert_cuda_bias_activation_args floats;
    bert_cuda_followed_product followed;
} plain_product;

/* Fills `out`, which points into itself. */
static void leave_norms_out(const bert_cuda_followed_product *p, plain_product *out) {
    const bert_cuda_followed_norms *norms = p->norms;
    out->product = *p->product;
    out->floats = *p->floats;
    out->followed = (bert_cuda_followed_product){.product = &out->product, .floats = &out->floats};
    if (norms->of.a.moments) {
        out->product.a = norms->a;
        out->product.lda = out->product.k;
    }
    if (norms->of.residual.moments) out->floats.residual = norms->residual;
}

static cudaError_t normalize(const bert_cuda_row_norm *norm, bert_dtype dtype, int64_t rows, int64_t width,
                             const void *x, void *y, cudaStream_t stream) {
    const bert_cuda_layer_norm_args args = {.dtype = dtype,
                                            .rows = rows,
                                            .width = width,
                                            .x = x,
                                            .gamma = norm->gamma,
                                            .beta = norm->beta,
                                            .y = y,
                                            .epsilon = norm->epsilon};
    return norm->moments ? bert_cuda_layer_norm(&args, stream) : cudaSuccess;
}

/* What the plain product reads. */
static cudaError_t normalize_operands(const bert_cuda_followed_product *p, cudaStream_t stream, char *why,
                                      size_t size) {
    const bert_cuda_gemm_args *g = p->product;
    const bert_cuda_product_norms *norms = &p->norms->of;
    const bert_dtype dtype = p->floats->dtype;
    cudaError_t status = normalize(&norms->a, dtype, g->m, g->k, g->a, p->norms->a, stream);
    if (status == cudaSuccess)
        status = normalize(&norms->residual, dtype, g->m, g->n, p->floats->residual, p->norms->residual, stream);
    if (status != cudaSuccess) snprintf(why, size, "the kernel layer_norm: %s", cudaGetErrorString(status));
    return status;
}

static cudaError_t run_between_norms(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p,
                                     char *why, size_t size) {
    const bert_cuda_moments_args moments = {
        .rows = p->product->m, .width = p->product->n, .x = p->floats->y, .moments = p->norms->of.moments};
    plain_product plain;
    leave_norms_out(p, &plain);
    cudaError_t status = normalize_operands(p, maker->stream, why, size);
    if (status == cudaSuccess) status = run_library(maker->gemm, &plain.followed, maker->stream, why, size);
    if (status != cudaSuccess || !moments.moments) return status;
    status = bert_cuda_moments(&moments, maker->stream);
    if (status != cudaSuccess) snprintf(why, size, "the kernel moments: %s", cudaGetErrorString(status));
    return status;
}

static cudaError_t run_way(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p, int32_t way,
                           char *why, size_t size) {
    if (way >= BERT_CUDA_PRODUCT_IN_CHUNKS)
        return bert_cuda_run_product_in_chunks(maker->gemm, p, rows_of_chunks(p->product->m, way), maker->stream, why,
                                               size);
    if (way > 0) return run_own(p, way - 1, maker->stream, why, size);
    return p->norms ? run_between_norms(maker, p, why, size) : run_library(maker->gemm, p, maker->stream, why, size);
}

cudaError_t bert_cuda_run_followed_product(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p,
                                           char *why, size_t size) {
    const int32_t way = way_of(maker, p);
    const cudaError_t status = run_way(maker, p, way, why, size);
    /* What a choice was measured with and its key doesn't tell, as where a bias begins, may be otherwise here. */
    if (is_of_library(way) || status != cudaErrorNotSupported) return status;
    return run_way(maker, p, 0, why, size);
}

/* ---- Measuring --------------------------------------------------------------------------------------------------- */

typedef struct trials {
    const bert_cuda_product_maker *maker;
    const bert_cuda_followed_product *p;
    bert_cuda_cold_operand *b;
    bool wrong[BERT_CUDA_PRODUCT_WAYS]; /* ways that were found so */
} trials;

/* `way` as a choice has it. */
static bool run_trial(const void *work, int way, cudaStream_t stream) {
    const trials *t = work;
    const bert_cuda_gemm_args *product = t->p->product;
    char why[256];
    if (!has_way(t->maker, t->p, way) || t->wrong[way]) return false;
    if (!is_of_library(way) && !bert_cuda_tensor_product_may_win(product->m, product->n, way - 1)) return false;
    bert_cuda_gemm_args by_turns = *product;
    by_turns.b = bert_cuda_cold_operand_next(t->b);
    bert_cuda_followed_product p = *t->p;
    p.product = &by_turns;
    bert_cuda_product_maker maker = *t->maker;
    maker.stream = stream;
    return run_way(&maker, &p, way, why, sizeof why) == cudaSuccess;
}

bool bert_cuda_keep_product_choice(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p,
                                   int32_t way, int64_t nanoseconds) {
    const bert_cuda_gemm_key key = key_of(p);
    return bert_cuda_gemm_cache_add(maker->cache, &key,
                                    &(bert_cuda_gemm_choice){.way = way, .nanoseconds = nanoseconds});
}

/*
 * By which share of the greatest element of y our own kernel may be off the library's way: that rounds each sum to 16
 * bits before what follows it. What a wrong kernel gives, sums of the wrong elements or none, is off by the greatest
 * itself. From bytes both should come to the same bits, but last bits are no reason to do without a kernel.
 */
static const float most_off = 1.0F / 64;

/* Marks the tiles of our own kernel that don't give rows of `width` elements at y as the library's way does. Chunks are
 * the library's way, too. */
static cudaError_t hold_against_librarys(trials *t, bert_dtype dtype, int64_t width, void *y) {
    const bert_cuda_gemm_args *g = t->p->product;
    const bert_cuda_way_check check = {.dtype = dtype,
                                       .rows = g->m,
                                       .width = width,
                                       .y = y,
                                       .tolerance = most_off,
                                       .memory = g->workspace,
                                       .bytes = g->workspace ? provider->workspace_bytes : 0};
    bert_cuda_way_verdict verdicts[BERT_CUDA_PRODUCT_IN_CHUNKS];
    const cudaError_t status =
        bert_cuda_check_ways(&check, run_trial, t, BERT_CUDA_PRODUCT_IN_CHUNKS, t->maker->stream, verdicts);
    for (int32_t way = 1; way < BERT_CUDA_PRODUCT_IN_CHUNKS && status == cudaSuccess; way++)
        if (verdicts[way] == BERT_CUDA_WAY_DIFFERS) t->wrong[way] = true;
    return status;
}

/* Finds tiles whose y, or moments of it, differ; where there are some, `notice` is a sentence about them. */
static cudaError_t find_wrong(trials *t, char *notice, size_t size) {
    const bert_cuda_followed_product *p = t->p;
    const bert_cuda_gemm_args *g = p->product;
    int count = 0;
    if (is_the_librarys(t->maker, p)) return cudaSuccess;
    cudaError_t status = g->kind == BERT_CUDA_GEMM_S8
                             ? hold_against_librarys(t, p->bytes->dtype, p->bytes->width, p->bytes->y)
                             : hold_against_librarys(t, p->floats->dtype, g->n, p->floats->y);
    if (status == cudaSuccess && p->norms && p->norms->of.moments)
        status = hold_against_librarys(t, BERT_FLOAT, 2 * BERT_MOMENTS_OF_ROW(g->n), p->norms->of.moments);
    if (status != cudaSuccess) return status;
    for (int32_t way = 1; way < BERT_CUDA_PRODUCT_IN_CHUNKS; way++) count += t->wrong[way];
    if (count > 0)
        snprintf(notice, size,
                 "the kernel tensor_product gives another product of [%" PRId64 ", %" PRId64 "] and [%" PRId64
                 ", %" PRId64 "] than %s in %d of its tiles, which are not used for it",
                 g->m, g->k, g->k, g->n, provider->name, count);
    return cudaSuccess;
}

/* The library's best algorithm for the product, whole or in chunks. */
static cudaError_t tune_library(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p, int32_t way,
                                char *why, size_t size) {
    if (p->norms) {
        plain_product plain;
        leave_norms_out(p, &plain);
        const cudaError_t status = normalize_operands(p, maker->stream, why, size);
        return status == cudaSuccess ? tune_library(maker, &plain.followed, way, why, size) : status;
    }
    bert_cuda_gemm_args product = product_of_library(p);
    const int64_t m = product.m, step = way >= BERT_CUDA_PRODUCT_IN_CHUNKS ? rows_of_chunks(m, way) : m;
    product.m = step;
    const cudaError_t status = provider->tune(maker->gemm, &product, maker->stream, why, size);
    if (m % step == 0 || status != cudaSuccess) return status;
    product.m = m % step; /* the last chunk, which may have another algorithm */
    return provider->tune(maker->gemm, &product, maker->stream, why, size);
}

cudaError_t bert_cuda_tune_followed_product(const bert_cuda_product_maker *maker, const bert_cuda_followed_product *p,
                                            char *why, size_t size) {
    bert_cuda_gemm_choice known = {.way = 0};
    why[0] = '\0';
    if (p->product->m == 0 || p->product->n == 0) return cudaSuccess;
    if (!is_the_librarys(maker, p) && !measures(maker)) return cudaSuccess;
    const bool chooses = has_a_choice(maker, p), found = chooses && find_choice(maker, p, &known);
    cudaError_t status = cudaSuccess;
    if (found || !chooses) return is_of_library(known.way) ? tune_library(maker, p, known.way, why, size) : status;
    /* The library's best algorithms first: the pair is measured with them. */
    for (int32_t way = 0; way < BERT_CUDA_PRODUCT_WAYS && status == cudaSuccess; way++)
        if (is_of_library(way) && has_way(maker, p, way)) status = tune_library(maker, p, way, why, size);
    if (status != cudaSuccess) return status;
    bert_cuda_cold_operand b = bert_cuda_cold_operand_open(p->product, maker->stream);
    trials t = {.maker = maker, .p = p, .b = &b};
    bert_cuda_fastest fastest;
    status = find_wrong(&t, why, size);
    if (status == cudaSuccess)
        status = bert_cuda_find_fastest(maker->stream, run_trial, &t, BERT_CUDA_PRODUCT_WAYS, b.count, &fastest);
    bert_cuda_cold_operand_close(&b);
    if (status != cudaSuccess)
        snprintf(why, size, "measuring a product and what follows it: %s", cudaGetErrorString(status));
    else if (fastest.way >= 0)
        bert_cuda_keep_product_choice(maker, p, fastest.way, fastest.nanoseconds);
    return status;
}
