/* Products with what follows them, in all ways, and the choice between these: with a library whose products are
 * measured (a GPU's, or cuBLASLt's calls on the emulator), and with the emulator's own, which has no clock. */
#include "core/base/memory.h"
#include "cuda/followed_product.h"
#include "cuda/ops/tensor_product.h"
#include "tests/cuda/gemm_case.h"

#ifdef BERT_CUDA_EMULATED
#include "tests/cuda_emulator/emulator.h"
#endif
#ifdef BERT_TESTS_CUBLASLT
#include "tests/cuda_emulator/cublaslt.h"
#endif

#include <stdio.h>
#include <stdlib.h>
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
static void make_floats(followed *f, bert_dtype dtype, int64_t m, bool bias_alone) {
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

/* Moments of the rows of x [rows, 64 or less], as an input. */
static const float *moments_input(const case_tensor *x, int64_t rows, int64_t width) {
    float moments[64 * 2];
    for (int64_t row = 0; row < rows; row++) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < width; i++) sum += case_at(x, row * width + i);
        for (int64_t i = 0; i < width; i++)
            squares += (case_at(x, row * width + i) - sum / (double)width) *
                       (case_at(x, row * width + i) - sum / (double)width);
        moments[row * 2] = (float)(sum / (double)width);
        moments[row * 2 + 1] = (float)squares;
    }
    return case_input_floats(BERT_FLOAT, 3, DIMS(rows, 1, 2), moments)->device;
}

/* norm(x) W + norm(residual), with moments of that. */
static void make_normed(followed *f, int64_t m) {
    make_floats(f, BERT_FLOAT16, m, true);
    case_begin(BERT_OP_BERTC_LayerNormLinear);
    case_float("x_epsilon", 1e-5F);
    case_float("residual_epsilon", 1e-5F);
    const case_tensor *a = case_input(BERT_FLOAT16, 2, DIMS(m, K), 2.0F),
                      *residual = case_input(BERT_FLOAT16, 2, DIMS(m, N), 2.0F);
    f->norms = (bert_cuda_followed_norms){0};
    f->norms.of.a = (bert_cuda_row_norm){.moments = moments_input(a, m, K),
                                         .gamma = case_input(BERT_FLOAT16, 1, DIMS(K), 1.0F)->device,
                                         .beta = case_input(BERT_FLOAT16, 1, DIMS(K), 1.0F)->device,
                                         .epsilon = 1e-5F};
    f->norms.of.residual = (bert_cuda_row_norm){.moments = moments_input(residual, m, N),
                                                .gamma = case_input(BERT_FLOAT16, 1, DIMS(N), 1.0F)->device,
                                                .epsilon = 1e-5F};
    case_absent();
    f->product.b = case_input(BERT_FLOAT16, 2, DIMS(K, N), 0.5F)->device;
    f->y = case_output(BERT_FLOAT16, 2, DIMS(m, N));
    case_tensor *moments = case_output(BERT_FLOAT, 3, DIMS(m, 1, 2));
    f->y->tolerance *= 3;
    moments->tolerance = 4 * case_tolerance(BERT_FLOAT16);
    f->norms.of.moments = moments->device;
    f->norms.a = case_extra(BERT_FLOAT16, 2, DIMS(m, K))->device;
    f->norms.residual = case_extra(BERT_FLOAT16, 2, DIMS(m, N))->device;
    f->product.a = a->device;
    f->product.c = f->y->device;
    f->floats.x = f->floats.y = f->y->device;
    f->floats.bias = NULL;
    f->floats.residual = residual->device;
    f->p.norms = &f->norms;
}

/* Bytes, as they are: no zero points, scales of 1; the reference has them as integers. Weights are packed wider than y
 * is. */
static void make_bytes(followed *f, int64_t m) {
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

static bert_dtype type_of(bert_cuda_gemm_kind kind) {
    return kind == BERT_CUDA_GEMM_F16 ? BERT_FLOAT16 : kind == BERT_CUDA_GEMM_BF16 ? BERT_BFLOAT16 : BERT_FLOAT;
}

static void make(followed *f, bert_cuda_gemm_kind kind, int64_t m) {
    if (kind == BERT_CUDA_GEMM_S8)
        make_bytes(f, m);
    else
        make_floats(f, type_of(kind), m, false);
}

static bert_cuda_product_maker maker_of(bert_cuda_gemm_cache *cache, bert_cuda_product_policy policy) {
    provider->use_cache(gemm, cache);
    return (bert_cuda_product_maker){.gemm = gemm, .cache = cache, .policy = policy};
}

static bert_cuda_gemm_cache *new_cache(void) {
    char why[512] = "";
    return bert_cuda_gemm_cache_create(&bert_default_allocator, NULL, "tests", why, sizeof why);
}

/* Without times nothing is chosen: tests of choices are skipped. */
static void need_clock(void) {
    if (provider->clock) return;
    print_message("skipped: nothing is chosen by the emulator's provider\n");
    skip();
}

static void count_kernel(const char *kernel) {
#ifdef BERT_CUDA_EMULATED
    bert_emulator_count(kernel);
#endif
}

static void count_own(void) {
    count_kernel("tensor_product_kernel");
}

/* Launches of the kernel since then; a GPU doesn't tell. */
static void expect_launches(int launches) {
#ifdef BERT_CUDA_EMULATED
    assert_int_equal(bert_emulator_launches(), launches);
    bert_emulator_count(NULL);
#endif
}

static void expect_measured(bool measured) {
#ifdef BERT_CUDA_EMULATED
    assert_int_equal(bert_emulator_launches() > 0, measured);
    bert_emulator_count(NULL);
#endif
}

/* Runs it; y is right. */
static void check_result(const bert_cuda_product_maker *maker, followed *f) {
    char why[512] = "";
    const cudaError_t status = bert_cuda_run_followed_product(maker, &f->p, why, sizeof why);
    if (status != cudaSuccess) fail_msg("%s", why);
    if (f->product.kind != BERT_CUDA_GEMM_S8) {
        case_compare(status);
    } else {
        case_good(status);
        const int64_t count = f->product.m * N;
        int32_t *expected = malloc((size_t)count * sizeof *expected);
        memcpy(expected, f->y->host.data, (size_t)count * sizeof *expected);
        const float *got = case_fetch(f->y);
        for (int64_t i = 0; i < count; i++) assert_true(got[i] == (float)expected[i]);
        memcpy(f->y->host.data, expected, (size_t)count * sizeof *expected);
        free(expected);
    }
}

/* The same, `own`: by our own kernel. */
static void check_run(const bert_cuda_product_maker *maker, followed *f, bool own) {
    count_own();
    check_result(maker, f);
    expect_launches(own);
}

static void tune(const bert_cuda_product_maker *maker, const followed *f) {
    char why[512] = "";
    const cudaError_t status = bert_cuda_tune_followed_product(maker, &f->p, why, sizeof why);
    if (status != cudaSuccess) fail_msg("%s", why);
    case_good(status);
}

static const bert_cuda_gemm_kind kinds[] = {BERT_CUDA_GEMM_F16, BERT_CUDA_GEMM_BF16, BERT_CUDA_GEMM_S8,
                                            BERT_CUDA_GEMM_F32};
enum { KINDS = sizeof kinds / sizeof *kinds, OF_OUR_OWN = KINDS - 1 };

static void both_ways_give_the_product(void **state) {
    for (int kind = 0; kind < KINDS; kind++) {
        for (int way = BERT_CUDA_PRODUCT_CHOSEN; way <= BERT_CUDA_PRODUCT_OWN; way++) {
            followed f;
            make(&f, kinds[kind], 33);
            const bert_cuda_product_maker maker = maker_of(NULL, (bert_cuda_product_policy)way);
            const bool own = way != BERT_CUDA_PRODUCT_LIBRARY && kind < OF_OUR_OWN;
            tune(&maker, &f);
            check_run(&maker, &f, own);
            assert_int_equal(bert_cuda_product_needs_no_sums(&maker, &f.p), own);
        }
    }
}

/* Where operands lie otherwise than our own kernel wants them, the library is asked. */
static void what_does_not_fit_is_the_librarys(void **state) {
    followed f;
    make(&f, BERT_CUDA_GEMM_F16, 3);
    const bert_cuda_product_maker maker = maker_of(NULL, BERT_CUDA_PRODUCT_OWN);
    case_tensor *room = case_extra(BERT_FLOAT16, 1, DIMS(3 * K + 1));
    void *shifted = (char *)room->device + 2;
    assert_int_equal(cudaMemcpy(shifted, f.product.a, (size_t)(3 * K) * 2, cudaMemcpyDeviceToDevice), cudaSuccess);
    f.product.a = shifted;
    check_run(&maker, &f, false);
}

static void choices_are_measured_once_and_kept(void **state) {
    for (int kind = 0; kind < KINDS; kind++) {
        bert_cuda_gemm_cache *cache = new_cache();
        const bert_cuda_product_maker maker = maker_of(cache, BERT_CUDA_PRODUCT_CHOSEN);
        followed f;
        make(&f, kinds[kind], 20);
        tune(&maker, &f);
        const bool measured = provider->clock && kind < OF_OUR_OWN;
        const size_t kept = bert_cuda_gemm_cache_count(cache);
        /* The pair's is measured with the library's own choice; of few bytes a library may have none. */
        if (measured && kinds[kind] == BERT_CUDA_GEMM_S8)
            assert_in_range(kept, 1, 2);
        else
            assert_int_equal(kept, measured ? 2 : provider->clock || kind >= OF_OUR_OWN);
        assert_int_equal(bert_cuda_product_needs_no_sums(&maker, &f.p), !provider->clock && kind < OF_OUR_OWN);
        count_own();
        tune(&maker, &f);
        expect_launches(0);
        assert_int_equal(bert_cuda_gemm_cache_count(cache), kept);
        /* What follows is part of what was measured. */
        f.floats.residual = NULL;
        f.bytes.activation = BERT_CUDA_RELU;
        tune(&maker, &f);
        assert_int_equal(bert_cuda_gemm_cache_count(cache), kept + measured);
        provider->use_cache(gemm, NULL);
        bert_cuda_gemm_cache_free(cache);
    }
}

/* Each way that a file may name, and some that it can't mean. */
static void choices_are_used(void **state) {
    need_clock();
    for (int kind = 0; kind < OF_OUR_OWN; kind++) {
        for (int32_t way = -1; way <= BERT_CUDA_PRODUCT_WAYS; way++) {
            bert_cuda_gemm_cache *cache = new_cache();
            const bert_cuda_product_maker maker = maker_of(cache, BERT_CUDA_PRODUCT_CHOSEN);
            followed f;
            make(&f, kinds[kind], 20);
            bert_cuda_keep_product_choice(&maker, &f.p, way, 1);
            assert_int_equal(bert_cuda_gemm_cache_count(cache), 1);
            check_run(&maker, &f, way > 0 && way <= BERT_CUDA_TENSOR_PRODUCT_TILES); /* there are no clusters */
            /* What a file can't mean is measured and replaced, once. */
            for (int turn = 0; turn < 2; turn++) {
                count_own();
                tune(&maker, &f);
                expect_measured(turn == 0 && (way < 0 || way >= BERT_CUDA_PRODUCT_IN_CHUNKS));
            }
            provider->use_cache(gemm, NULL);
            bert_cuda_gemm_cache_free(cache);
        }
    }
}

/* Where rows are normalized on the way every way gives that, and the library's has a kernel for each of it. */
static void norms_are_done_in_every_way(void **state) {
    for (int32_t way = 0; way < BERT_CUDA_PRODUCT_IN_CHUNKS; way++) {
        bert_cuda_gemm_cache *cache = new_cache();
        followed f;
        make_normed(&f, 20);
        /* Without a clock: asked for. A tile that can't be (here for few pieces of k) gives way to the library's. */
        const bert_cuda_product_policy policy =
            provider->clock || way > 0 ? BERT_CUDA_PRODUCT_CHOSEN : BERT_CUDA_PRODUCT_LIBRARY;
        const bert_cuda_product_maker maker = maker_of(provider->clock ? cache : NULL, policy);
        if (provider->clock) bert_cuda_keep_product_choice(&maker, &f.p, way, 1);
        count_own();
        tune(&maker, &f);
        const bool measured = provider->clock && way > 0 && !bert_cuda_tensor_product_tile_takes_norms(way - 1);
        expect_measured(measured);
        count_kernel("moments_kernel");
        check_result(&maker, &f);
        if (!measured && way <= BERT_CUDA_TENSOR_PRODUCT_TILES) expect_launches(way == 0);
        count_kernel("row_kernel");
        check_result(&maker, &f);
        if (!measured && way <= BERT_CUDA_TENSOR_PRODUCT_TILES) expect_launches(way == 0 ? 2 : 0);
        count_kernel(NULL);
        provider->use_cache(gemm, NULL);
        bert_cuda_gemm_cache_free(cache);
    }
}

#ifdef BERT_TESTS_CUBLASLT
static void spoil_last_moment(void *moments) {
    float *last = (float *)moments + 20 * 2 - 1;
    *last = 2 * *last + 1;
}
#endif

/* What normalizes has choices of its own, and is held against the library's way as any other is: y, and moments, since
 * who reads these has nothing else of a row. */
static void norms_are_measured_and_held_against_the_librarys(void **state) {
#ifdef BERT_TESTS_CUBLASLT
    enum { RIGHT, WRONG_Y, WRONG_MOMENTS, CASES };
    for (int wrong = RIGHT; wrong < CASES; wrong++) {
        bert_cuda_gemm_cache *cache = new_cache();
        const bert_cuda_product_maker maker = maker_of(cache, BERT_CUDA_PRODUCT_CHOSEN);
        followed f;
        char why[512] = "before";
        make_normed(&f, 20);
        bert_emulated_spoil_products(wrong == WRONG_Y);
        if (wrong == WRONG_MOMENTS) bert_emulator_after("moments_kernel", spoil_last_moment, f.norms.of.moments);
        case_good(bert_cuda_tune_followed_product(&maker, &f.p, why, sizeof why));
        bert_emulated_spoil_products(false);
        bert_emulator_after(NULL, NULL, NULL);
        assert_int_equal(bert_cuda_gemm_cache_count(cache), 2); /* the pair, and the library's algorithm */
        assert_int_equal(strstr(why, "tensor_product gives another product of [20, 64] and [64, 48] than") != NULL,
                         wrong != RIGHT);
        count_kernel("moments_kernel");
        check_result(&maker, &f);
        if (wrong != RIGHT)
            expect_launches(1);
        else
            count_kernel(NULL);
        provider->use_cache(gemm, NULL);
        bert_cuda_gemm_cache_free(cache);
    }
#else
    print_message("skipped: only the emulated library can be wrong\n");
    skip();
#endif
}

/* Weights that come from memory are measured so, and have choices of their own. */
static void cold_weights_take_turns_while_they_are_measured(void **state) {
#ifdef BERT_TESTS_CUBLASLT
    for (int kind = 0; kind < KINDS; kind++) {
        bert_cuda_gemm_cache *cache = new_cache();
        const bert_cuda_product_maker maker = maker_of(cache, BERT_CUDA_PRODUCT_CHOSEN);
        followed f;
        size_t kept = 0;
        make(&f, kinds[kind], 20);
        for (int cold = 0; cold < 2; cold++) {
            char why[512] = "";
            size_t before = 0, after = 0, total = 0;
            const bool pair = kind < OF_OUR_OWN; /* else the library's algorithms alone are measured */
            f.product.cold_b = cold;
            assert_int_equal(cudaMemGetInfo(&before, &total), cudaSuccess);
            bert_emulated_first_operands();
            case_good(provider->tune(gemm, &f.product, NULL, why, sizeof why));
            if (kinds[kind] != BERT_CUDA_GEMM_S8) assert_int_equal(bert_emulated_first_operands() > 1, cold);
            bert_emulated_first_operands();
            tune(&maker, &f);
            assert_int_equal(bert_emulated_first_operands() > 1, cold && pair);
            assert_int_equal(cudaMemGetInfo(&after, &total), cudaSuccess);
            assert_int_equal(after, before);
            if (cold)
                assert_int_equal(bert_cuda_gemm_cache_count(cache), 2 * kept);
            else
                kept = bert_cuda_gemm_cache_count(cache);
            check_result(&maker, &f);
            assert_in_range(bert_emulated_first_operands(), 0, 1); /* none by our own kernel */
        }
        provider->use_cache(gemm, NULL);
        bert_cuda_gemm_cache_free(cache);
    }
#else
    print_message("skipped: only the emulated library tells what it multiplies\n");
    skip();
#endif
}

/* Our own kernel is not taken, however fast, where it doesn't give what the library gives. Here it is the library that
 * is wrong, which comes to the same. */
static void what_differs_from_the_librarys_is_not_chosen(void **state) {
#ifdef BERT_TESTS_CUBLASLT
    for (int i = 0; i < 2 * OF_OUR_OWN; i++) {
        const bool wrong = i % 2;
        bert_cuda_gemm_cache *cache = new_cache();
        const bert_cuda_product_maker maker = maker_of(cache, BERT_CUDA_PRODUCT_CHOSEN);
        followed f;
        char why[512] = "before";
        make(&f, kinds[i / 2], 20);
        bert_emulated_spoil_products(wrong);
        case_good(bert_cuda_tune_followed_product(&maker, &f.p, why, sizeof why));
        bert_emulated_spoil_products(false);
        if (wrong)
            assert_non_null(strstr(why, "tensor_product gives another product of [20, 64] and [64, "));
        else
            assert_string_equal(why, "");
        if (wrong) check_run(&maker, &f, false);
        provider->use_cache(gemm, NULL);
        bert_cuda_gemm_cache_free(cache);
    }
#else
    print_message("skipped: only the emulated library can be wrong\n");
    skip();
#endif
}

/* Where the library is to make all, its own algorithm is measured, whatever was chosen for the pair. */
static void a_choice_of_our_own_leaves_the_librarys_to_be_measured(void **state) {
    bert_cuda_gemm_cache *cache = new_cache();
    const bert_cuda_product_maker maker = maker_of(cache, BERT_CUDA_PRODUCT_LIBRARY);
    followed f;
    make(&f, BERT_CUDA_GEMM_F16, 20);
    bert_cuda_keep_product_choice(&maker, &f.p, 1, 1);
    tune(&maker, &f);
    assert_int_equal(bert_cuda_gemm_cache_count(cache), 2);
    check_run(&maker, &f, false);
    provider->use_cache(gemm, NULL);
    bert_cuda_gemm_cache_free(cache);
}

/* Without measuring the way doesn't depend on rows. */
static void rows_decide_nothing_where_nothing_is_measured(void **state) {
    static const int64_t rows[] = {1, 2, 31, 64};
    for (int kind = 0; kind < OF_OUR_OWN; kind++) {
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            followed f;
            make(&f, kinds[kind], rows[i]);
            const bert_cuda_product_maker maker = maker_of(NULL, BERT_CUDA_PRODUCT_CHOSEN);
            check_run(&maker, &f, true);
        }
    }
}

/* The library adds a bias itself: no kernel is behind its product. Where nothing is measured at all, or that is asked
 * for, it is a product of our own; where all is, and there are few rows, ours is measured against the library's. */
static void a_bias_alone_is_added_by_the_library(void **state) {
    static const bert_cuda_gemm_kind floats[] = {BERT_CUDA_GEMM_F16, BERT_CUDA_GEMM_BF16, BERT_CUDA_GEMM_F32};
    enum { FEW = 20, MANY = 1025 };
    for (int i = 0; i < 3 * 3 * 3; i++) {
        const bert_cuda_gemm_kind kind = floats[i % 3];
        const bert_cuda_product_policy way = (bert_cuda_product_policy)(i / 3 % 3);
        const bool measures = i / 9 != 0;
        const int64_t rows = i / 9 == 1 ? MANY : FEW;
        char why[512] = "";
        bert_cuda_gemm_cache *cache = measures ? new_cache() : NULL;
        const bert_cuda_product_maker maker = maker_of(cache, way);
        followed f;
        make_floats(&f, type_of(kind), rows, true);
        const bool ours = kind != BERT_CUDA_GEMM_F32, chosen = way == BERT_CUDA_PRODUCT_CHOSEN;
        const bool own = ours && (way == BERT_CUDA_PRODUCT_OWN || (chosen && !measures));
        const bool both = ours && chosen && measures && provider->clock && rows == FEW;
        count_own();
        tune(&maker, &f);
        expect_measured(both);
        if (measures) assert_int_equal(bert_cuda_gemm_cache_count(cache), both ? 2 : !own);
        for (int32_t choice = both; choice >= 0; choice--) { /* instead of what was measured */
            if (both) bert_cuda_keep_product_choice(&maker, &f.p, choice, 1);
            check_run(&maker, &f, own || choice > 0);
        }
        assert_int_equal(bert_cuda_product_needs_no_sums(&maker, &f.p), own);
        count_kernel("stretch_kernel");
        case_good(bert_cuda_run_followed_product(&maker, &f.p, why, sizeof why));
        expect_launches(0);
        provider->use_cache(gemm, NULL);
        if (cache) bert_cuda_gemm_cache_free(cache);
    }
}

/* ---- In chunks of rows ---------------------------------------------------------------------------------------------
 */

/* A product whose operands are E4M3, and, with `scaled`, scales that the product applies; else the kernel after it. */
static void make_e4m3(followed *f, int64_t m, bool scaled) {
    static const uint8_t numbers[] = {0x30, 0xb8, 0x3c, 0xc0, 0x00}; /* 0.5, -1, 1.5, -2, 0: sums are exact */
    static uint8_t bytes[64 * K];
    float scales[64];
    make_floats(f, BERT_FLOAT16, m, false);
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = numbers[i * 37 % 64 % sizeof numbers];
    for (int i = 0; i < 64; i++) scales[i] = 0.25F + (float)(i % 7);
    case_tensor *a = case_extra(BERT_UINT8, 2, DIMS(m, K)), *b = case_extra(BERT_UINT8, 2, DIMS(N, K));
    case_tensor *rows = case_extra(BERT_FLOAT, 1, DIMS(m)), *columns = case_extra(BERT_FLOAT, 1, DIMS(N));
    cudaMemcpy(a->device, bytes, (size_t)m * K, cudaMemcpyHostToDevice);
    cudaMemcpy(b->device, bytes, (size_t)N * K, cudaMemcpyHostToDevice);
    cudaMemcpy(rows->device, scales, (size_t)m * sizeof *scales, cudaMemcpyHostToDevice);
    cudaMemcpy(columns->device, scales, N * sizeof *scales, cudaMemcpyHostToDevice);
    f->product.kind = BERT_CUDA_GEMM_F8;
    f->product.transpose_b = true;
    f->product.ldb = K;
    f->product.a = a->device;
    f->product.b = b->device;
    f->product.row_scales = scaled ? rows->device : NULL;
    f->product.column_scales = scaled ? columns->device : NULL;
    f->floats.row_scales = scaled ? NULL : rows->device;
    f->floats.column_scales = scaled ? NULL : columns->device;
    f->floats.scale = 0.5F;
}

/* y in memory of its own, with what else is made of it. */
typedef struct outputs {
    case_tensor *y, *ranges, *e4m3, *scales;
} outputs;

static outputs give_outputs(followed *f) {
    const int64_t m = f->product.m;
    const bool bytes = f->product.kind == BERT_CUDA_GEMM_S8, e4m3 = f->product.kind == BERT_CUDA_GEMM_F8;
    const bert_dtype dtype = bytes ? f->bytes.dtype : f->floats.dtype;
    const bool halves = dtype == BERT_BFLOAT16;
    outputs out = {.y = case_extra(dtype, 2, DIMS(halves ? 2 * m : m, N))};
    if (e4m3) {
        out.e4m3 = case_extra(BERT_UINT8, 2, DIMS(m, N));
        out.scales = case_extra(BERT_FLOAT, 1, DIMS(m));
        f->floats.e4m3 = (bert_cuda_e4m3_rows){out.e4m3->device, out.scales->device};
    } else {
        out.ranges = case_extra(BERT_FLOAT, 2, DIMS(m, 2));
        f->floats.ranges = f->bytes.ranges = out.ranges->device;
    }
    f->floats.y = f->bytes.y = out.y->device;
    f->floats.y_lower = f->bytes.y_lower = halves ? (uint16_t *)out.y->device + m * N : NULL;
    if (bytes) return out;
    f->floats.x = f->product.c = out.y->device;
    return out;
}

static void expect_same(case_tensor *a, case_tensor *b) {
    if (!a) return;
    const size_t bytes = (size_t)bert_tensor_elements(&a->host) * bert_dtype_size(a->host.dtype);
    assert_memory_equal(case_fetch(a), case_fetch(b), bytes);
}

static const void *random_integers(int64_t count, int bound) {
    static int32_t values[64];
    case_tensor *integers = case_extra(BERT_INT32, 1, DIMS(count));
    for (int64_t i = 0; i < count; i++) values[i] = (int32_t)(i * 7919 % bound);
    cudaMemcpy(integers->device, values, (size_t)count * sizeof *values, cudaMemcpyHostToDevice);
    return integers->device;
}

/* Bytes whose rows have a scale and a zero point each, and a residual in halves. */
static void make_rows_of_bytes(followed *f, int64_t m) {
    make_bytes(f, m);
    f->bytes.dtype = BERT_BFLOAT16;
    f->bytes.scales = case_input(BERT_FLOAT, 1, DIMS(m), 1.0F)->device;
    f->bytes.zero_points = random_integers(m, 256);
    f->bytes.sums = random_integers(m, 5000);
    f->bytes.weight_sums = random_integers(N, 3000);
    f->bytes.row_stride = 1;
    f->bytes.residual = case_input(BERT_BFLOAT16, 2, DIMS(m, N), 9.0F)->device;
    f->bytes.residual_lower = case_input(BERT_BFLOAT16, 2, DIMS(m, N), 1.0F)->device;
}

/* A product of floats whose sums are exact, too. */
static void make_whole_numbers(followed *f, bert_cuda_gemm_kind kind, int64_t m) {
    float a[64 * K], b[K * N];
    make(f, kind, m);
    for (int i = 0; i < 64 * K; i++) a[i] = (float)(i * 37 % 64 % 5 - 2);
    for (int i = 0; i < K * N; i++) b[i] = (float)(i * 91 % 64 % 7 - 3) / 32;
    f->product.a = case_input_floats(f->floats.dtype, 2, DIMS(m, K), a)->device;
    f->product.b = case_input_floats(f->floats.dtype, 2, DIMS(K, N), b)->device;
}

static bool multiplies_e4m3(int64_t n, int64_t k, bool scaled) {
    return provider->supports(gemm,
                              &(bert_cuda_gemm_shape){.kind = BERT_CUDA_GEMM_F8, .n = n, .k = k, .scales = scaled});
}

/* To the last bit, since sums are exact: a library may add up in another order where there are fewer rows. */
static void chunks_of_rows_give_what_all_rows_give(void **state) {
    static const int64_t steps[] = {1, 16, 33, 50, 64};
    const int64_t m = 50;
    for (int form = 0; form < 5; form++) {
        followed f;
        char why[512] = "";
        if (form < 2 && !multiplies_e4m3(N, K, form)) {
            print_message("skipped: E4M3, which the library has no kernels for here\n");
            continue;
        }
        if (form < 2) make_e4m3(&f, m, form);
        if (form == 2) make_rows_of_bytes(&f, m);
        if (form > 2) make_whole_numbers(&f, form == 3 ? BERT_CUDA_GEMM_F16 : BERT_CUDA_GEMM_BF16, m);
        if (form == 4) f.floats.residual_lower = case_input(BERT_BFLOAT16, 2, DIMS(m, N), 1.0F)->device;
        const bert_cuda_product_maker maker = maker_of(NULL, BERT_CUDA_PRODUCT_LIBRARY);
        const outputs whole = give_outputs(&f);
        case_good(bert_cuda_run_followed_product(&maker, &f.p, why, sizeof why));
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
            if (form == 1 && steps[i] % 4 != 0) continue; /* scales begin at 16 bytes, as those of real chunks do */
            const outputs out = give_outputs(&f);
            case_good(bert_cuda_run_product_in_chunks(gemm, &f.p, steps[i], NULL, why, sizeof why));
            expect_same(whole.y, out.y);
            expect_same(whole.ranges, out.ranges);
            expect_same(whole.e4m3, out.e4m3);
            expect_same(whole.scales, out.scales);
        }
    }
}

/* A choice of chunks holds where there is more than one and all of them don't stay in a cache; otherwise it is none. */
static void chunks_are_for_many_rows(void **state) {
    static const struct {
        int64_t m, n;
        int chunks; /* of up to 2,048 rows */
    } cases[] = {{2048, 8192, 1}, {2064, 6560, 2}, {2064, 1024, 1}};
    need_clock();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bert_cuda_gemm_cache *cache = new_cache();
        const bert_cuda_product_maker maker = maker_of(cache, BERT_CUDA_PRODUCT_CHOSEN);
        const int64_t m = cases[i].m, n = cases[i].n, k = 16;
        followed f;
        char why[512] = "";
        if (!multiplies_e4m3(n, k, true)) {
            print_message("skipped: E4M3, which the library has no kernels for here\n");
            skip();
        }
        case_begin(BERT_OP_MatMul);
        f.p = (bert_cuda_followed_product){.product = &f.product, .floats = &f.floats};
        case_tensor *a = case_extra(BERT_UINT8, 2, DIMS(m, k)), *b = case_extra(BERT_UINT8, 2, DIMS(n, k));
        case_tensor *scales = case_extra(BERT_FLOAT, 1, DIMS(m > n ? m : n)),
                    *y = case_extra(BERT_FLOAT16, 2, DIMS(m, n));
        cudaMemset(a->device, 0, (size_t)(m * k));
        cudaMemset(b->device, 0, (size_t)(n * k));
        cudaMemset(scales->device, 0, (size_t)(m > n ? m : n) * sizeof(float));
        f.product = (bert_cuda_gemm_args){.kind = BERT_CUDA_GEMM_F8,
                                          .transpose_b = true,
                                          .m = m,
                                          .n = n,
                                          .k = k,
                                          .batch = 1,
                                          .alpha = 1,
                                          .a = a->device,
                                          .b = b->device,
                                          .c = y->device,
                                          .lda = k,
                                          .ldb = k,
                                          .ldc = n,
                                          .row_scales = scales->device,
                                          .column_scales = scales->device,
                                          .workspace = workspace};
        f.floats = (bert_cuda_bias_activation_args){
            .dtype = BERT_FLOAT16, .activation = BERT_CUDA_RELU, .rows = m, .width = n, .x = y->device, .y = y->device};
        if (cases[i].chunks > 1) { /* algorithms of the whole and of two chunks, and the choice */
            count_kernel("stretch_kernel");
            tune(&maker, &f);
            expect_measured(true);
            assert_int_equal(bert_cuda_gemm_cache_count(cache), 4);
        }
        bert_cuda_keep_product_choice(&maker, &f.p, BERT_CUDA_PRODUCT_WAYS - 1, 1);
        count_kernel("stretch_kernel");
        case_good(bert_cuda_run_followed_product(&maker, &f.p, why, sizeof why));
        expect_launches(cases[i].chunks);
        provider->use_cache(gemm, NULL);
        bert_cuda_gemm_cache_free(cache);
    }
}

/* A choice that a session measured may be none for the next one, whose y, say, begins elsewhere. */
static void a_choice_that_is_refused_gives_way(void **state) {
#ifdef BERT_CUDA_EMULATED
    need_clock();
    for (int hopper = 0; hopper < 2; hopper++) {
        bert_cuda_gemm_cache *cache = new_cache();
        const bert_cuda_product_maker maker = maker_of(cache, BERT_CUDA_PRODUCT_CHOSEN);
        followed f;
        make(&f, BERT_CUDA_GEMM_F16, 20);
        bert_cuda_keep_product_choice(&maker, &f.p, 1 + BERT_CUDA_TENSOR_PRODUCT_TILES, 1);
        bert_emulator_have_capability(hopper ? 9 : 8, hopper ? 0 : 9);
        check_run(&maker, &f, hopper);
        if (hopper) assert_int_equal(bert_emulator_last_cluster(), 2);
        bert_emulator_have_capability(8, 9);
        provider->use_cache(gemm, NULL);
        bert_cuda_gemm_cache_free(cache);
    }
#else
    print_message("skipped: a GPU is what it is\n");
    skip();
#endif
}

/* Where ranges or E4M3 are to be made of y, too, more than a bias follows: the kernel that makes them is launched. */
static void what_is_made_of_y_follows_the_librarys_product(void **state) {
    const bert_cuda_product_maker maker = maker_of(NULL, BERT_CUDA_PRODUCT_LIBRARY);
    for (int e4m3 = 0; e4m3 < 2; e4m3++) {
        enum { ROWS = 20 };
        followed f;
        char why[512] = "";
        bert_cuda_range ranges[ROWS];
        make_floats(&f, BERT_FLOAT16, ROWS, true);
        case_tensor *bytes = case_extra(BERT_UINT8, 2, DIMS(ROWS, N)), *scales = case_extra(BERT_FLOAT, 1, DIMS(ROWS));
        case_tensor *extremes = case_extra(BERT_FLOAT, 2, DIMS(ROWS, 2));
        cudaMemset(scales->device, 0xff, ROWS * sizeof(float));
        cudaMemset(extremes->device, 0xff, sizeof ranges);
        if (e4m3)
            f.floats.e4m3 = (bert_cuda_e4m3_rows){.bytes = bytes->device, .scales = scales->device};
        else
            f.floats.ranges = extremes->device;
        count_kernel("stretch_kernel");
        case_good(bert_cuda_run_followed_product(&maker, &f.p, why, sizeof why));
        assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
        if (!e4m3) expect_launches(1);
        float written[ROWS];
        cudaMemcpy(ranges, extremes->device, sizeof ranges, cudaMemcpyDeviceToHost);
        cudaMemcpy(written, scales->device, sizeof written, cudaMemcpyDeviceToHost);
        for (int i = 0; i < ROWS; i++)
            if (e4m3)
                assert_true(written[i] > 0);
            else
                assert_true(ranges[i].least < ranges[i].most);
    }
}

/* A product that nothing follows is written into y, and nowhere else. */
static void a_product_beside_y_is_refused(void **state) {
    const bert_cuda_product_maker maker = maker_of(NULL, BERT_CUDA_PRODUCT_LIBRARY);
    followed f;
    char why[512] = "";
    make_floats(&f, BERT_FLOAT, 4, true);
    f.product.c = case_extra(BERT_FLOAT, 2, DIMS(4, N))->device;
    assert_int_equal(bert_cuda_run_followed_product(&maker, &f.p, why, sizeof why), cudaErrorInvalidValue);
    assert_non_null(strstr(why, "at most a bias follows"));
}

/* Files of choices that were made against another kernel of ours are known by it. */
static void the_identity_names_our_own_kernel(void **state) {
    char librarys[256] = "", identity[256] = "", expected[300];
    provider->identify(librarys, sizeof librarys);
    bert_cuda_product_identity(identity, sizeof identity);
    snprintf(expected, sizeof expected, "%s; tensor_product %d", librarys, BERT_CUDA_TENSOR_PRODUCT_REVISION);
    assert_string_equal(identity, expected);
}

static void the_environment_names_a_way(void **state) {
    unsetenv("BERT_CUDA_LINEAR");
    assert_int_equal(bert_cuda_product_policy_wanted(), BERT_CUDA_PRODUCT_CHOSEN);
    setenv("BERT_CUDA_LINEAR", "library", 1);
    assert_int_equal(bert_cuda_product_policy_wanted(), BERT_CUDA_PRODUCT_LIBRARY);
    setenv("BERT_CUDA_LINEAR", "own", 1);
    assert_int_equal(bert_cuda_product_policy_wanted(), BERT_CUDA_PRODUCT_OWN);
    unsetenv("BERT_CUDA_LINEAR");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways_give_the_product),
        cmocka_unit_test(what_does_not_fit_is_the_librarys),
        cmocka_unit_test(choices_are_measured_once_and_kept),
        cmocka_unit_test(choices_are_used),
        cmocka_unit_test(norms_are_done_in_every_way),
        cmocka_unit_test(norms_are_measured_and_held_against_the_librarys),
        cmocka_unit_test(cold_weights_take_turns_while_they_are_measured),
        cmocka_unit_test(what_differs_from_the_librarys_is_not_chosen),
        cmocka_unit_test(a_choice_of_our_own_leaves_the_librarys_to_be_measured),
        cmocka_unit_test(rows_decide_nothing_where_nothing_is_measured),
        cmocka_unit_test(a_bias_alone_is_added_by_the_library),
        cmocka_unit_test(a_choice_that_is_refused_gives_way),
        cmocka_unit_test(chunks_of_rows_give_what_all_rows_give),
        cmocka_unit_test(chunks_are_for_many_rows),
        cmocka_unit_test(what_is_made_of_y_follows_the_librarys_product),
        cmocka_unit_test(a_product_beside_y_is_refused),
        cmocka_unit_test(the_identity_names_our_own_kernel),
        cmocka_unit_test(the_environment_names_a_way),
    };
    return cmocka_run_group_tests_name("cuda followed product", tests, gemm_case_open, gemm_case_close);
}
