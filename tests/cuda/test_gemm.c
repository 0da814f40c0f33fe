/* Products of every kind against plain loops in double: the library's on a GPU, the emulator's own elsewhere. */
#include "core/base/memory.h"
#include "cuda/gemm_key.h"
#include "cuda/ops/byte_product.h"
#include "tests/cuda/gemm_case.h"

#ifdef BERT_TESTS_CUBLASLT /* the plug-in's calls of the library, on the emulator */
#include "tests/cuda_emulator/cublaslt.h"
#endif
#ifdef BERT_CUDA_EMULATED
#include "tests/cuda_emulator/emulator.h"
#endif

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a product of each kind may be off: by the sum of its terms' magnitudes, and by rounding the result. */
static const struct {
    const char *name;
    bert_dtype operand, result;
    double by_terms, by_result;
} kinds[] = {
    [BERT_CUDA_GEMM_F32] = {"f32", BERT_FLOAT, BERT_FLOAT, 1e-6, 1e-6},
    [BERT_CUDA_GEMM_TF32] = {"tf32", BERT_FLOAT, BERT_FLOAT, 2e-3, 1e-6},
    [BERT_CUDA_GEMM_F16] = {"f16", BERT_FLOAT16, BERT_FLOAT16, 1e-6, 0x1p-11},
    [BERT_CUDA_GEMM_BF16] = {"bf16", BERT_BFLOAT16, BERT_BFLOAT16, 1e-6, 0x1p-8},
    [BERT_CUDA_GEMM_S8] = {"s8", BERT_INT8, BERT_INT32, 0, 0},
    /* Tensor cores keep 14 bits of a sum of E4M3 products. */
    [BERT_CUDA_GEMM_F8] = {"f8", BERT_UINT8, BERT_FLOAT16, 1e-3, 0x1p-11},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* One product with its tensors. `spare`: elements between rows, and between the products of a batch. */
typedef struct product {
    bert_cuda_gemm_kind kind;
    bool transpose_a, transpose_b, shared_b, bias, scales;
    int64_t m, n, k, batch, spare;
    float alpha, beta;
} product;

typedef struct made {
    bert_cuda_gemm_args args;
    case_tensor *a, *b, *c, *bias, *row_scales, *column_scales;
    double *c_before;
} made;

static uint32_t next_bits(void) {
    static uint32_t state = 7;
    state = state * 1664525U + 1013904223U;
    return state >> 8;
}

/* int8 of any value, and E4M3 up to 3.75 of either sign. */
static case_tensor *bytes_of(bert_dtype dtype, int64_t count) {
    unsigned char *bytes = malloc((size_t)count + 1);
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits = next_bits();
        bytes[i] = (unsigned char)(dtype == BERT_INT8 ? bits : (bits & 0x80) | (bits & 0x7f) % 0x48);
    }
    case_tensor *tensor = case_input_of(dtype, 1, DIMS(count), bytes);
    free(bytes);
    return tensor;
}

static case_tensor *operand(bert_cuda_gemm_kind kind, int64_t count) {
    const bert_dtype dtype = kinds[kind].operand;
    return bert_dtype_size(dtype) == 1 ? bytes_of(dtype, count) : case_input(dtype, 1, DIMS(count), 1.0F);
}

static made make(const product *p) {
    made x = {0};
    bert_cuda_gemm_args *g = &x.args;
    case_begin(BERT_OP_MatMul);
    *g = (bert_cuda_gemm_args){.kind = p->kind,
                               .transpose_a = p->transpose_a,
                               .transpose_b = p->transpose_b,
                               .m = p->m,
                               .n = p->n,
                               .k = p->k,
                               .batch = p->batch,
                               .alpha = p->alpha,
                               .beta = p->beta,
                               .lda = (p->transpose_a ? p->m : p->k) + p->spare,
                               .ldb = (p->transpose_b ? p->k : p->n) + p->spare,
                               .ldc = p->n + p->spare,
                               .workspace = workspace};
    g->stride_a = (p->transpose_a ? p->k : p->m) * g->lda + p->spare;
    g->stride_b = p->shared_b ? 0 : (p->transpose_b ? p->n : p->k) * g->ldb + p->spare;
    g->stride_c = p->m * g->ldc + p->spare;
    x.a = operand(p->kind, p->batch * g->stride_a);
    x.b = operand(p->kind, (p->shared_b ? (p->transpose_b ? p->n : p->k) * g->ldb : p->batch * g->stride_b));
    const int64_t results = p->batch * g->stride_c;
    x.c = case_input(kinds[p->kind].result, 1, DIMS(results), p->kind == BERT_CUDA_GEMM_S8 ? 1000.0F : 1.0F);
    x.c_before = calloc((size_t)results + 1, sizeof *x.c_before);
    for (int64_t i = 0; i < results; i++) x.c_before[i] = case_at(x.c, i);
    if (p->bias) x.bias = case_input(kinds[p->kind].result, 1, DIMS(p->n), 2.0F);
    if (p->scales) x.row_scales = case_input(BERT_FLOAT, 1, DIMS(p->m), 2.0F);
    if (p->scales) x.column_scales = case_input(BERT_FLOAT, 1, DIMS(p->n), 2.0F);
    g->a = x.a->device;
    g->b = x.b->device;
    g->c = x.c->device;
    g->bias = p->bias ? x.bias->device : NULL;
    g->row_scales = p->scales ? x.row_scales->device : NULL;
    g->column_scales = p->scales ? x.column_scales->device : NULL;
    return x;
}

static double e4m3(unsigned bits) {
    const double size = bits & 0x78 ? ldexp(8 + (bits & 7), (int)(bits >> 3 & 15) - 10) : ldexp(bits & 7, -9);
    return bits & 0x80 ? -size : size;
}

static double value_of(const product *p, const case_tensor *tensor, int64_t at) {
    return p->kind == BERT_CUDA_GEMM_F8 ? e4m3(((const unsigned char *)tensor->host.data)[at]) : case_at(tensor, at);
}

/* Element (row, column) of C, and how far off it may be. */
static double expected(const product *p, const made *x, int64_t batch, int64_t row, int64_t column, double *allowed) {
    const bert_cuda_gemm_args *g = &x->args;
    double sum = 0, terms = 0;
    for (int64_t k = 0; k < p->k; k++) {
        const int64_t a = batch * g->stride_a + (p->transpose_a ? k * g->lda + row : row * g->lda + k);
        const int64_t b = batch * g->stride_b + (p->transpose_b ? column * g->ldb + k : k * g->ldb + column);
        const double term = value_of(p, x->a, a) * value_of(p, x->b, b);
        sum += term;
        terms += fabs(term);
    }
    double scale = (double)p->alpha;
    if (p->scales) scale *= case_at(x->row_scales, row) * case_at(x->column_scales, column);
    double result = scale * sum;
    if (p->beta != 0) result += (double)p->beta * x->c_before[batch * g->stride_c + row * g->ldc + column];
    if (p->bias) result += case_at(x->bias, column);
    *allowed = kinds[p->kind].by_terms * fabs(scale) * terms + kinds[p->kind].by_result * (fabs(result) + 1e-3);
    return result;
}

/* The rows of C are right, and what lies between them is as it was. */
static void compare(const product *p, const made *x) {
    const bert_cuda_gemm_args *g = &x->args;
    case_fetch(x->c);
    for (int64_t i = 0; i < p->batch * g->stride_c; i++) {
        const int64_t batch = i / g->stride_c, row = i % g->stride_c / g->ldc, column = i % g->stride_c % g->ldc;
        const double got = case_at(x->c, i);
        double allowed = 0, right = x->c_before[i];
        if (row < p->m && column < p->n) right = expected(p, x, batch, row, column, &allowed);
        if (fabs(got - right) <= allowed) continue;
        fail_msg(
            "%s, %d x %d x %d, %d at once, transposes %d%d, beta %g, bias %d: [%d, %d, %d] is %.9g instead of %.9g",
            kinds[p->kind].name, (int)p->m, (int)p->n, (int)p->k, (int)p->batch, p->transpose_a, p->transpose_b,
            (double)p->beta, p->bias, (int)batch, (int)row, (int)column, got, right);
    }
}

static void expect_success(cudaError_t status, const char *why) {
    if (status != cudaSuccess) fail_msg("%s (%s)", why, cudaGetErrorString(status));
    case_good(status);
}

static void check(const product *p) {
    char why[512] = "";
    made x = make(p);
    expect_success(provider->run(gemm, &x.args, NULL, why, sizeof why), why);
    compare(p, &x);
    free(x.c_before);
}

static bool there(const product *p) {
    return provider->supports(gemm, &(bert_cuda_gemm_shape){p->kind, p->n, p->k, p->scales, p->bias});
}

/* ---- Cases ---------------------------------------------------------------------------------------------------------
 */

static const int64_t sizes[][3] = {{1, 1, 1},    {1, 16, 32},   {3, 17, 5},  {16, 48, 64},
                                   {33, 31, 67}, {65, 32, 128}, {2, 130, 48}};

static void every_kind_and_transpose(void **state) {
    int turn = 0;
    for (int kind = 0; kind < BERT_CUDA_GEMM_F8; kind++) {
        for (int size = 0; size < 7; size++) {
            for (int transposes = 0; transposes < 4; transposes++, turn++) {
                const product p = {.kind = (bert_cuda_gemm_kind)kind,
                                   .transpose_a = transposes & 1,
                                   .transpose_b = transposes & 2,
                                   .bias = kind != BERT_CUDA_GEMM_S8 && turn % 2,
                                   .m = sizes[size][0],
                                   .n = sizes[size][1],
                                   .k = sizes[size][2],
                                   .batch = turn % 3 == 0 ? 3 : 1,
                                   .shared_b = turn % 6 == 0,
                                   .spare = turn % 5 == 0 ? 16 : 0,
                                   .alpha = kind == BERT_CUDA_GEMM_S8 || turn % 4 ? 1.0F : -0.5F,
                                   .beta = turn % 7 == 0 ? 1.0F : 0.0F};
                check(&p);
            }
        }
    }
}

static void e4m3_with_scales(void **state) {
    static const int64_t whole[][3] = {{1, 16, 16}, {5, 48, 32}, {64, 32, 128}, {17, 144, 64}};
    int checked = 0;
    for (int turn = 0; turn < 24; turn++) {
        const product p = {.kind = BERT_CUDA_GEMM_F8,
                           .transpose_b = true,
                           .bias = turn % 3 > 0 && turn % 4 < 3,
                           .scales = turn % 3 > 0,
                           .m = whole[turn % 4][0],
                           .n = whole[turn % 4][1],
                           .k = whole[turn % 4][2],
                           .batch = 1,
                           .alpha = turn % 5 == 0 ? 0x1p-12F : 1};
        if (!there(&p)) continue;
        check(&p);
        checked++;
    }
    if (!checked) {
        print_message("skipped: neither library nor device has products of E4M3\n");
        skip();
    }
}

/* Of a product that `supports` says yes to, any number of rows can be made. */
static void e4m3_with_scales_has_every_number_of_rows(void **state) {
    static const int64_t rows[] = {1, 16, 33, 128, 256, 257};
    static const struct {
        int64_t n, k;
        bool bias, there; /* on the emulator */
    } shapes[] = {{80, 64, false, true}, {80, 64, true, false}, {16, 64, true, true},  {16, 144, false, false},
                  {48, 144, true, true}, {16, 32, false, true}, {16, 160, true, false}};
    for (size_t shape = 0; shape < sizeof shapes / sizeof *shapes; shape++) {
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            const product p = {.kind = BERT_CUDA_GEMM_F8,
                               .transpose_b = true,
                               .bias = shapes[shape].bias,
                               .scales = true,
                               .m = rows[i],
                               .n = shapes[shape].n,
                               .k = shapes[shape].k,
                               .batch = 1,
                               .alpha = 1};
            if (there(&p)) check(&p);
#ifdef BERT_CUDA_EMULATED
            assert_int_equal(there(&p), shapes[shape].there);
#endif
        }
    }
}

/* Answers of one shape aren't another's, nor those of a library that was asked more than it is remembered of. */
static void what_is_supported_stays_so(void **state) {
    for (int turn = 0; turn < 2; turn++) {
        for (int64_t k = 16; k <= 16 * 100; k += 16) {
            const bert_cuda_gemm_shape plain = {BERT_CUDA_GEMM_F16, 16, k, false, false},
                                       scaled = {BERT_CUDA_GEMM_F8, 16, k, true, false};
            assert_true(provider->supports(gemm, &plain));
#ifdef BERT_CUDA_EMULATED
            assert_int_equal(provider->supports(gemm, &scaled), k <= (int64_t)16 * BERT_EMULATOR_E4M3_DEPTH);
#else
            provider->supports(gemm, &scaled);
#endif
        }
    }
}

#ifdef BERT_TESTS_CUBLASLT
/* An algorithm that fits and is refused as it is run, chosen or guessed, gives way to the next one. */
static void a_refused_algorithm_gives_way(void **state) {
    for (int turn = 0; turn < 3; turn++) {
        const product p = {.kind = BERT_CUDA_GEMM_F16, .m = turn ? 33 : 9, .n = 64, .k = 128, .batch = 1, .alpha = 1};
        char why[512] = "";
        bert_cuda_gemm_cache *cache =
            bert_cuda_gemm_cache_create(&bert_default_allocator, NULL, "tests", why, sizeof why);
        made x = make(&p);
        const bert_cuda_gemm_key key = bert_cuda_gemm_key_of(&x.args);
        const bert_cuda_gemm_choice choice = {.words = {turn == 2 ? 1000 : 1002}};
        if (turn != 1) assert_true(bert_cuda_gemm_cache_add(cache, &key, &choice));
        provider->use_cache(gemm, cache);
        expect_success(provider->run(gemm, &x.args, NULL, why, sizeof why), why);
        compare(&p, &x);
        provider->use_cache(gemm, NULL);
        bert_cuda_gemm_cache_free(cache);
        free(x.c_before);
    }
}

/* Captures a product while the library answers nothing. NULL, and it is right; or the sentence of its failure. */
static const char *capture_unanswered(const product *p, made *x, cudaStream_t stream) {
    static char why[512];
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    assert_int_equal(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), cudaSuccess);
    bert_emulated_refuse_questions(true);
    const cudaError_t status = provider->run(gemm, &x->args, stream, why, sizeof why);
    bert_emulated_refuse_questions(false);
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    if (status == cudaSuccess) {
        assert_int_equal(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
        assert_int_equal(cudaMemset(x->args.c, 0, (size_t)(p->m * p->n) * 2), cudaSuccess);
        case_good(cudaGraphLaunch(exec, stream));
        compare(p, x);
        cudaGraphExecDestroy(exec);
    }
    cudaGraphDestroy(graph);
    return status == cudaSuccess ? NULL : why;
}

/* What was made before is captured without asking the library. So many products are remembered, the last ones. */
static void nothing_is_asked_while_a_stream_is_captured(void **state) {
    enum { FEW = 3, MANY = 512 };
    char why[512] = "";
    cudaStream_t stream;
    assert_int_equal(cudaStreamCreate(&stream), cudaSuccess);
    for (int turn = 0; turn < 2; turn++) {
        const product p = {.kind = BERT_CUDA_GEMM_F16, .bias = true, .m = 600, .n = 8, .k = 16, .batch = 1, .alpha = 1};
        made x = make(&p);
        if (turn == 0) assert_non_null(strstr(capture_unanswered(&p, &x, stream), "INTERNAL_ERROR"));
        expect_success(provider->run(gemm, &x.args, stream, why, sizeof why), why);
        bert_cuda_gemm_args others = x.args;
        for (others.m = 1; others.m <= (turn ? MANY : FEW); others.m++)
            expect_success(provider->run(gemm, &others, stream, why, sizeof why), why);
        if (turn)
            assert_non_null(capture_unanswered(&p, &x, stream));
        else
            assert_null(capture_unanswered(&p, &x, stream));
        if (turn) { /* used again, it is among the last ones again */
            expect_success(provider->run(gemm, &x.args, stream, why, sizeof why), why);
            for (others.m = 1; others.m < MANY - 1; others.m++)
                expect_success(provider->run(gemm, &others, stream, why, sizeof why), why);
            expect_success(provider->run(gemm, &x.args, stream, why, sizeof why), why);
            for (others.m = MANY + 1; others.m < MANY + 5; others.m++)
                expect_success(provider->run(gemm, &others, stream, why, sizeof why), why);
            assert_null(capture_unanswered(&p, &x, stream));
        }
        free(x.c_before);
    }
    cudaStreamDestroy(stream);
}

static void expect_unanswered(const made *x, bool made_all_the_same) {
    char why[512] = "";
    bert_emulated_refuse_questions(true);
    const cudaError_t status = provider->run(gemm, &x->args, NULL, why, sizeof why);
    bert_emulated_refuse_questions(false);
    if ((status == cudaSuccess) != made_all_the_same) fail_msg("%s", why);
    case_good(cudaSuccess);
}

/* A product is made as before without asking the library, until there are other choices. */
static void nothing_is_asked_twice(void **state) {
    const product p = {.kind = BERT_CUDA_GEMM_F16, .m = 5, .n = 24, .k = 40, .batch = 1, .alpha = 1};
    char why[512] = "";
    bert_cuda_gemm_cache *caches[2];
    for (int i = 0; i < 2; i++)
        caches[i] = bert_cuda_gemm_cache_create(&bert_default_allocator, NULL, "tests", why, sizeof why);
    made x = make(&p);
    bert_cuda_gemm_key key = bert_cuda_gemm_key_of(&x.args);
    key.k++; /* of another product: it may have been of this one */
    const bert_cuda_gemm_choice choice = {.words = {1}};
    assert_true(bert_cuda_gemm_cache_add(caches[1], &key, &choice)); /* as many as the first has in the end */
    for (int i = 0; i < 3; i++) {
        provider->use_cache(gemm, i < 2 ? caches[i] : NULL);
        expect_unanswered(&x, false);
        check(&p);
        expect_unanswered(&x, true);
        if (i == 2) break;
        assert_true(bert_cuda_gemm_cache_add(caches[i], &key, &choice));
        expect_unanswered(&x, false);
        check(&p);
        expect_unanswered(&x, true);
    }
    for (int i = 0; i < 2; i++) bert_cuda_gemm_cache_free(caches[i]);
    free(x.c_before);
}

/* A product in all but one thing like another, which an algorithm may depend on: its rows begin at multiples of 16
 * bytes, too. */
static bert_cuda_gemm_args differing(const bert_cuda_gemm_args *like, int thing) {
    bert_cuda_gemm_args g = *like;
    if (thing == 0) g.m--;
    if (thing == 1) g.n--;
    if (thing == 2) g.k--;
    if (thing == 3) g.batch--;
    if (thing == 4) g.lda -= 4;
    if (thing == 5) g.ldb -= 4;
    if (thing == 6) g.ldc -= 4;
    if (thing == 7) g.stride_a -= 4;
    if (thing == 8) g.stride_b -= 4;
    if (thing == 9) g.stride_c -= 4;
    if (thing == 10) g.bias = NULL;
    if (thing == 11) g.workspace = NULL;
    if (thing == 12) g.beta = 0;
    if (thing == 13) g.kind = BERT_CUDA_GEMM_TF32;
    if (thing == 14) g.a = (const char *)g.a + 4;
    if (thing == 15) g.transpose_b = true; /* it is square */
    return g;
}

/* What was captured is one that was made before for the same product alone. */
static void a_product_that_differs_was_not_made_before(void **state) {
    const product p = {.kind = BERT_CUDA_GEMM_F32,
                       .bias = true,
                       .m = 3,
                       .n = 8,
                       .k = 8,
                       .batch = 3,
                       .spare = 8,
                       .alpha = 1,
                       .beta = 1};
    char why[512] = "";
    cudaStream_t stream;
    cudaGraph_t graph;
    assert_int_equal(cudaStreamCreate(&stream), cudaSuccess);
    made x = make(&p);
    expect_success(provider->run(gemm, &x.args, stream, why, sizeof why), why);
    for (int thing = 0; thing <= 16; thing++) {
        const bert_cuda_gemm_args g = differing(&x.args, thing);
        assert_int_equal(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), cudaSuccess);
        bert_emulated_refuse_questions(true);
        const cudaError_t status = provider->run(gemm, &g, stream, why, sizeof why);
        bert_emulated_refuse_questions(false);
        assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaSuccess);
        cudaGraphDestroy(graph);
        if ((status == cudaSuccess) != (thing == 16)) fail_msg("thing %d: %s", thing, why);
    }
    cudaStreamDestroy(stream);
    free(x.c_before);
}

/* Sums of E4M3 are fast where the library has that for a few rows, so that rows of a small and of a large batch have
 * the same; also by an algorithm that was chosen. */
static void e4m3_sums_do_not_depend_on_rows(void **state) {
    static const int64_t rows[] = {1, 16, 17, 65};
    for (int turn = 0; turn < 16; turn++) {
        const bool fast = turn & 1, tuned = turn & 2;
        const product p = {.kind = BERT_CUDA_GEMM_F8,
                           .transpose_b = true,
                           .scales = turn / 4 % 2,
                           .m = rows[turn / 4],
                           .n = 48,
                           .k = fast ? 32 : 16,
                           .batch = 1,
                           .alpha = 1};
        char why[512] = "";
        bert_cuda_gemm_cache *cache =
            bert_cuda_gemm_cache_create(&bert_default_allocator, NULL, "tests", why, sizeof why);
        made x = make(&p);
        provider->use_cache(gemm, cache);
        if (tuned) expect_success(provider->tune(gemm, &x.args, NULL, why, sizeof why), why);
        assert_int_equal(bert_cuda_gemm_cache_count(cache), tuned);
        const uint64_t before = bert_emulated_fast_products();
        expect_success(provider->run(gemm, &x.args, NULL, why, sizeof why), why);
        compare(&p, &x);
        assert_int_equal(bert_emulated_fast_products() - before, fast);
        provider->use_cache(gemm, NULL);
        bert_cuda_gemm_cache_free(cache);
        free(x.c_before);
    }
}
#endif

/* With beta 0 C may hold anything. */
static void c_is_not_read_without_beta(void **state) {
    for (int kind = 0; kind < KINDS; kind++) {
        const product p = {
            .kind = (bert_cuda_gemm_kind)kind, .transpose_b = true, .m = 5, .n = 16, .k = 32, .batch = 1, .alpha = 1};
        char why[512] = "";
        if (!there(&p)) continue;
        made x = make(&p);
        assert_int_equal(cudaMemset(x.args.c, 0xff, (size_t)(5 * 16) * bert_cuda_gemm_result_bytes(p.kind)),
                         cudaSuccess);
        expect_success(provider->run(gemm, &x.args, NULL, why, sizeof why), why);
        compare(&p, &x);
        free(x.c_before);
    }
}

static void nothing_to_sum_or_to_write(void **state) {
    const product shapes[] = {{.m = 0, .n = 16, .k = 16, .batch = 1},
                              {.m = 4, .n = 16, .k = 16, .batch = 0},
                              {.m = 4, .n = 0, .k = 16, .batch = 1},
                              {.m = 4, .n = 16, .k = 0, .batch = 2, .spare = 16},
                              {.m = 4, .n = 16, .k = 0, .batch = 1, .beta = 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (int kind = 0; kind < BERT_CUDA_GEMM_F8; kind++) {
            product p = shapes[i];
            p.kind = (bert_cuda_gemm_kind)kind;
            p.alpha = 1;
            check(&p);
        }
    }
}

#if !defined(BERT_CUDA_EMULATED) || defined(BERT_TESTS_CUBLASLT)
/* One after the other, where a grid has no place for them. */
static void there_may_be_any_number_of_products(void **state) {
    static const bert_cuda_gemm_kind some[] = {BERT_CUDA_GEMM_F32, BERT_CUDA_GEMM_BF16};
    char why[512] = "";
    bert_cuda_gemm_cache *cache = bert_cuda_gemm_cache_create(&bert_default_allocator, NULL, "tests", why, sizeof why);
    provider->use_cache(gemm, cache);
    for (int i = 0; i < 4; i++) {
        const product p = {.kind = some[i % 2],
                           .m = 1,
                           .n = 2,
                           .k = 3,
                           .batch = 65535 * (1 + i / 2) + i % 2,
                           .spare = 1,
                           .bias = i % 2,
                           .alpha = 1,
                           .beta = 1};
        made x = make(&p);
        expect_success(provider->tune(gemm, &x.args, NULL, why, sizeof why), why);
        assert_int_equal(bert_cuda_gemm_cache_count(cache), i == 0 ? 1 : 2); /* of a call's, by kind */
        free(x.c_before);
        check(&p);
    }
    provider->use_cache(gemm, NULL);
    bert_cuda_gemm_cache_free(cache);
}
#endif

/* The greatest sums of bytes that there are: no saturation anywhere. */
static void bytes_are_exact_at_their_limits(void **state) {
    enum { M = 3, N = 16, K = 4096 };
    int8_t *least = malloc((size_t)N * K);
    memset(least, -128, (size_t)N * K);
    case_begin(BERT_OP_MatMul);
    const case_tensor *a = case_input_of(BERT_INT8, 2, DIMS(M, K), least),
                      *b = case_input_of(BERT_INT8, 2, DIMS(N, K), least);
    case_tensor *c = case_extra(BERT_INT32, 2, DIMS(M, N));
    bert_cuda_gemm_args g = {.kind = BERT_CUDA_GEMM_S8,
                             .transpose_b = true,
                             .m = M,
                             .n = N,
                             .k = K,
                             .batch = 1,
                             .alpha = 1,
                             .a = a->device,
                             .b = b->device,
                             .c = c->device,
                             .lda = K,
                             .ldb = K,
                             .ldc = N,
                             .workspace = workspace};
    char why[512] = "";
    for (int turn = 0; turn < 2; turn++) {
        expect_success(turn ? bert_cuda_byte_product(&g, NULL) : provider->run(gemm, &g, NULL, why, sizeof why), why);
        case_fetch(c);
        for (int i = 0; i < M * N; i++) assert_int_equal((int64_t)case_at(c, i), 16384LL * K);
    }
    free(least);
}

/* The kernel for bytes that the library has none for, in all forms; the emulator watches it here. */
static void byte_kernel_has_every_form(void **state) {
    for (int size = 0; size < 7; size++) {
        for (int transposes = 0; transposes < 4; transposes++) {
            const product p = {.kind = BERT_CUDA_GEMM_S8,
                               .transpose_a = transposes & 1,
                               .transpose_b = transposes & 2,
                               .m = sizes[size][0],
                               .n = sizes[size][1],
                               .k = sizes[size][2],
                               .batch = 1 + size % 3,
                               .shared_b = size == 2,
                               .spare = transposes + size % 2,
                               .alpha = 1,
                               .beta = (float)(size % 2)};
            made x = make(&p);
            case_good(bert_cuda_byte_product(&x.args, NULL));
            compare(&p, &x);
            free(x.c_before);
        }
    }
}

static void what_the_contract_forbids_is_refused(void **state) {
    const product base = {
        .kind = BERT_CUDA_GEMM_S8, .transpose_b = true, .m = 4, .n = 16, .k = 16, .batch = 1, .alpha = 1};
    for (int fault = 0; fault < 10; fault++) {
        product p = base;
        if (fault >= 4) p.kind = BERT_CUDA_GEMM_F8;
        made x = make(&p);
        bert_cuda_gemm_args g = x.args;
        char why[512] = "";
        if (fault == 0) g.alpha = 2;
        if (fault == 1) g.bias = g.c;
        if (fault == 2) g.lda = 15;
        if (fault == 3) g.m = -1;
        if (fault == 4) g.transpose_b = false;
        if (fault == 5) g.k = 15;
        if (fault == 6) g.n = 8;
        if (fault == 7) g.a = (const char *)g.a + 1;
        if (fault == 8) g.row_scales = (const float *)g.a;
        if (fault == 9) g.transpose_a = true;
        assert_int_equal(provider->run(gemm, &g, NULL, why, sizeof why), cudaErrorInvalidValue);
        assert_true(strlen(why) > 20);
        free(x.c_before);
    }
}

/* ---- Choices -------------------------------------------------------------------------------------------------------
 */

static void choices_are_kept_and_used(void **state) {
    char identity[256] = "", why[512] = "";
    provider->identify(identity, sizeof identity);
    assert_true(strlen(identity) > 5);
    bert_cuda_gemm_cache *cache = bert_cuda_gemm_cache_create(&bert_default_allocator, NULL, identity, why, sizeof why);
    assert_non_null(cache);
    size_t kept = 0;
    for (int kind = 0; kind < KINDS; kind++) {
        const product p = {
            .kind = (bert_cuda_gemm_kind)kind, .transpose_b = true, .m = 20, .n = 64, .k = 128, .batch = 1, .alpha = 1};
        if (!there(&p)) continue;
        made x = make(&p);
        provider->use_cache(gemm, NULL);
        expect_success(provider->tune(gemm, &x.args, NULL, why, sizeof why), why); /* measures nothing */
        assert_int_equal(bert_cuda_gemm_cache_count(cache), kept);
        provider->use_cache(gemm, cache);
        expect_success(provider->tune(gemm, &x.args, NULL, why, sizeof why), why);
        const size_t measured = bert_cuda_gemm_cache_count(cache);
        /* Of few bytes a library may have none: they have a kernel of our own. */
        if (kind != BERT_CUDA_GEMM_S8 || measured != kept) assert_int_equal(measured, kept + 1);
        kept = measured;
        expect_success(provider->tune(gemm, &x.args, NULL, why, sizeof why), why);
        assert_int_equal(bert_cuda_gemm_cache_count(cache), kept);
        expect_success(provider->run(gemm, &x.args, NULL, why, sizeof why), why);
        compare(&p, &x);
        free(x.c_before);
        /* Another number of rows of the same bucket goes by the same choice. */
        product near = p;
        near.m = 18;
        assert_int_equal(bert_cuda_gemm_bucket(18), bert_cuda_gemm_bucket(20));
        check(&near);
    }
    provider->use_cache(gemm, NULL);
    bert_cuda_gemm_cache_free(cache);
}

/* A product whose choice is another's: `foreign`, or where that is NULL what was chosen for bfloat16. */
static void check_with_choice(const bert_cuda_gemm_choice *foreign) {
    char why[512] = "";
    product p = {.kind = BERT_CUDA_GEMM_BF16, .m = 9, .n = 64, .k = 128, .batch = 1, .alpha = 1};
    bert_cuda_gemm_cache *cache = bert_cuda_gemm_cache_create(&bert_default_allocator, NULL, "tests", why, sizeof why);
    bert_cuda_gemm_choice choice = {0};
    provider->use_cache(gemm, cache);
    made other = make(&p);
    bert_cuda_gemm_key key = bert_cuda_gemm_key_of(&other.args);
    expect_success(provider->tune(gemm, &other.args, NULL, why, sizeof why), why);
    if (foreign)
        choice = *foreign;
    else
        assert_true(bert_cuda_gemm_cache_find(cache, &key, &choice));
    free(other.c_before);
    p.kind = BERT_CUDA_GEMM_F16;
    made x = make(&p);
    key = bert_cuda_gemm_key_of(&x.args);
    assert_true(bert_cuda_gemm_cache_add(cache, &key, &choice));
    expect_success(provider->run(gemm, &x.args, NULL, why, sizeof why), why);
    compare(&p, &x);
    free(x.c_before);
    provider->use_cache(gemm, NULL);
    bert_cuda_gemm_cache_free(cache);
}

static void choices_that_make_no_sense_are_not_used(void **state) {
    if (provider->clock) check_with_choice(NULL);
#ifdef BERT_CUDA_EMULATED
    bert_cuda_gemm_choice none; /* which a library need not bear */
    memset(&none, 0xff, sizeof none);
    check_with_choice(&none);
#endif
}

static void products_are_captured_and_measuring_is_not(void **state) {
    char why[512] = "";
    const product p = {.kind = BERT_CUDA_GEMM_F16,
                       .transpose_b = true,
                       .bias = true,
                       .m = 7,
                       .n = 48,
                       .k = 64,
                       .batch = 1,
                       .alpha = 1};
    bert_cuda_gemm_cache *cache = bert_cuda_gemm_cache_create(&bert_default_allocator, NULL, "tests", why, sizeof why);
    made x = make(&p);
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    /* One that waits for the default stream, on which operands are copied and C is cleared. */
    assert_int_equal(cudaStreamCreate(&stream), cudaSuccess);
    provider->use_cache(gemm, cache);
    /* Made once before, as what is captured always is: a library may not answer while it is. */
    expect_success(provider->run(gemm, &x.args, stream, why, sizeof why), why);
    assert_int_equal(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), cudaSuccess);
    assert_int_equal(provider->tune(gemm, &x.args, stream, why, sizeof why), cudaErrorStreamCaptureUnsupported);
    assert_non_null(strstr(why, "captured"));
    assert_int_equal(bert_cuda_gemm_cache_count(cache), 0);
    assert_int_equal(provider->run(gemm, &x.args, stream, why, sizeof why), cudaSuccess);
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    assert_int_equal(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
    for (int turn = 0; turn < 2; turn++) {
        assert_int_equal(cudaMemset(x.args.c, 0, (size_t)(7 * 48) * 2), cudaSuccess);
        case_good(cudaGraphLaunch(exec, stream));
        compare(&p, &x);
    }
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
    provider->use_cache(gemm, NULL);
    bert_cuda_gemm_cache_free(cache);
    free(x.c_before);
}

/* What takes little time is measured by way of a graph, which leaves the stream as it was. */
static void small_products_are_measured_on_a_stream(void **state) {
    char why[512] = "";
    const product p = {
        .kind = BERT_CUDA_GEMM_F16, .transpose_b = true, .m = 3, .n = 16, .k = 16, .batch = 1, .alpha = 1};
    bert_cuda_gemm_cache *cache = bert_cuda_gemm_cache_create(&bert_default_allocator, NULL, "tests", why, sizeof why);
    made x = make(&p);
    cudaStream_t stream;
    assert_int_equal(cudaStreamCreate(&stream), cudaSuccess);
    provider->use_cache(gemm, cache);
#ifdef BERT_TESTS_CUBLASLT
    const uint64_t launches = bert_emulator_graph_launches();
#endif
    expect_success(provider->tune(gemm, &x.args, stream, why, sizeof why), why);
#ifdef BERT_TESTS_CUBLASLT
    assert_true(bert_emulator_graph_launches() > launches);
#endif
    assert_int_equal(bert_cuda_gemm_cache_count(cache), 1);
    expect_success(provider->run(gemm, &x.args, stream, why, sizeof why), why);
    assert_int_equal(cudaStreamSynchronize(stream), cudaSuccess);
    compare(&p, &x);
    cudaStreamDestroy(stream);
    provider->use_cache(gemm, NULL);
    bert_cuda_gemm_cache_free(cache);
    free(x.c_before);
}

/* test_cuda_gemm [PATTERN]: tests by name, "byte_kernel*" say. */
int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_and_transpose),
        cmocka_unit_test(e4m3_with_scales),
        cmocka_unit_test(e4m3_with_scales_has_every_number_of_rows),
        cmocka_unit_test(what_is_supported_stays_so),
#ifdef BERT_TESTS_CUBLASLT
        cmocka_unit_test(a_refused_algorithm_gives_way),
        cmocka_unit_test(nothing_is_asked_while_a_stream_is_captured),
        cmocka_unit_test(nothing_is_asked_twice),
        cmocka_unit_test(a_product_that_differs_was_not_made_before),
        cmocka_unit_test(e4m3_sums_do_not_depend_on_rows),
#endif
        cmocka_unit_test(c_is_not_read_without_beta),
        cmocka_unit_test(nothing_to_sum_or_to_write),
#if !defined(BERT_CUDA_EMULATED) || defined(BERT_TESTS_CUBLASLT)
        cmocka_unit_test(there_may_be_any_number_of_products),
#endif
        cmocka_unit_test(bytes_are_exact_at_their_limits),
        cmocka_unit_test(byte_kernel_has_every_form),
        cmocka_unit_test(what_the_contract_forbids_is_refused),
        cmocka_unit_test(choices_are_kept_and_used),
        cmocka_unit_test(choices_that_make_no_sense_are_not_used),
        cmocka_unit_test(products_are_captured_and_measuring_is_not),
        cmocka_unit_test(small_products_are_measured_on_a_stream),
    };
    return cmocka_run_group_tests(tests, gemm_case_open, gemm_case_close);
}
