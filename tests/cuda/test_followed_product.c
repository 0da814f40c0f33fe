/* Products with what follows them, in all ways, and the choice between these: with a library whose products are
 * measured (a GPU's, or cuBLASLt's calls on the emulator), and with the emulator's own, which has no clock. */
#include "cuda/ops/tensor_product.h"
#include "tests/cuda/followed_case.h"

#ifdef BERT_TESTS_CUBLASLT
#include "tests/cuda_emulator/cublaslt.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void count_own(void) {
    count_kernel("tensor_product_kernel");
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
        cmocka_unit_test(what_is_made_of_y_follows_the_librarys_product),
        cmocka_unit_test(a_product_beside_y_is_refused),
        cmocka_unit_test(the_identity_names_our_own_kernel),
        cmocka_unit_test(the_environment_names_a_way),
    };
    return cmocka_run_group_tests_name("cuda followed product", tests, gemm_case_open, gemm_case_close);
}
