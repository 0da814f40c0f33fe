/* Products with what follows them, chunk by chunk of rows: what they give, and when they are chosen. */
#include "tests/cuda/followed_case.h"

/* A product whose operands are E4M3, and, with `scaled`, scales that the product applies; else the kernel after it. */
static void make_e4m3(followed *f, int64_t m, bool scaled) {
    static const uint8_t numbers[] = {0x30, 0xb8, 0x3c, 0xc0, 0x00}; /* 0.5, -1, 1.5, -2, 0: sums are exact */
    static uint8_t bytes[64 * K];
    float scales[64];
    make_floats(f, BERT_FLOAT16, m, false);
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = numbers[i * 37 % 61 % sizeof numbers];
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
    for (int i = 0; i < 64 * K; i++) a[i] = (float)(i * 37 % 61 % 5 - 2);
    for (int i = 0; i < K * N; i++) b[i] = (float)(i * 91 % 61 % 7 - 3) / 32;
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
        const int64_t m = cases[i].m, n = cases[i].n, k = 16;
        if (!multiplies_e4m3(n, k, true)) {
            print_message("skipped: E4M3, which the library has no kernels for here\n");
            skip();
        }
        bert_cuda_gemm_cache *cache = new_cache();
        const bert_cuda_product_maker maker = maker_of(cache, BERT_CUDA_PRODUCT_CHOSEN);
        followed f;
        char why[512] = "";
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_of_rows_give_what_all_rows_give),
        cmocka_unit_test(chunks_are_for_many_rows),
    };
    return cmocka_run_group_tests_name("cuda followed product chunks", tests, gemm_case_open, gemm_case_close);
}
