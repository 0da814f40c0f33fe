/*
 * What computes in bfloat16. The providers: products against the scalar kernel over operands that were rounded
 * beforehand, for weights laid out either way, in parts, at any address, over awkward shapes; the same bits for a row
 * alone, and by several threads; and how far they are from float32. The kernels are those of this machine, the scalar
 * ones, and AMX's emulated.
 */
#include "core/base/float16.h"
#include "cpu/gemm/gemm.h"
#include "tests/cpu/guarded.h"
#if defined(__x86_64__)
#include "tests/cpu/emulated_kernels.h"
#endif

#include <math.h>
#include <stdlib.h>

typedef struct shape {
    int64_t rows, k, n;
    int32_t parts;
} shape;

static float rounded(float x) {
    return bert_bfloat16_to_float(bert_float_to_bfloat16(x));
}

/* One part of a weight as a file has it: bytes that start at an odd address. */
static bert_constant make_part(unsigned char *memory, const float *weight, int64_t k, int64_t n, int64_t first,
                               int64_t width, bool transposed) {
    unsigned char *bytes = memory + 1;
    for (int64_t row = 0; row < k; row++)
        for (int64_t i = 0; i < width; i++)
            memcpy(bytes + (transposed ? i * k + row : row * width + i) * (int64_t)sizeof(float),
                   &weight[row * n + first + i], sizeof(float));
    return (bert_constant){.id = 1,
                           .dtype = BERT_FLOAT,
                           .rank = 2,
                           .dims = {transposed ? width : k, transposed ? k : width},
                           .data = bytes,
                           .bytes = (size_t)(k * width) * sizeof(float),
                           .alignment = 1};
}

static bert_thread_pool *pool; /* of three threads */

static void product_case(const bert_gemm_provider *provider, const bert_cpu_kernels *kernels, const shape *s,
                         bool transposed, double *worst_of_all) {
    const int64_t k = s->k, n = s->n, rows = s->rows;
    bert_guarded memory[6];
    float *weight = guarded_floats(&memory[0], k * n), *x = guarded_floats(&memory[1], rows * k);
    float *y = guarded_floats(&memory[2], rows * n), *bias = guarded_floats(&memory[3], n);
    const size_t bytes = provider->packed_bytes(kernels, k, n);
    void *packed = guarded_new(&memory[4], (bytes + 63) / 64 * 64);
    bert_packed_weight prepared = {.count = s->parts, .k = k, .n = n, .data = packed};
    const size_t scratch = bert_gemm_workspace_bytes(provider, &prepared, (size_t)rows, 3);
    void *workspace = guarded_new(&memory[5], (scratch + 64) / 64 * 64);
    memset(workspace, 0xff, (scratch + 64) / 64 * 64); /* NaN */
    fill_random(weight, k * n, 0.5F, 1);
    fill_random(x, rows * k, 1.0F, 2);
    fill_random(bias, n, 1.0F, 3);
    unsigned char *file = malloc((size_t)(k * n) * sizeof(float) + 1);
    assert_non_null(file);
    for (int32_t part = 0; part < s->parts; part++) {
        const int64_t first = n * part / s->parts, width = n * (part + 1) / s->parts - first;
        const bert_constant constant = make_part(file, weight, k, n, first, width, transposed);
        provider->pack(kernels, NULL, packed, n, first, &constant, transposed);
    }
    free(file);
    bert_gemm_call call = {
        .kernels = kernels,
        .weight = &prepared,
        .x = x,
        .rows = rows,
        .workspace = workspace,
        .epilogue = {.y = y, .bias = bias, .stride = n, .alpha = 1.0F, .activation = BERT_UNARY_IDENTITY}};
    float *alone = malloc((size_t)(rows * n) * sizeof *alone);
    assert_non_null(alone);
    provider->run(&call);
    memcpy(alone, y, (size_t)(rows * n) * sizeof *y);
    call.threads = pool;
    memset(y, 0xff, (size_t)(rows * n) * sizeof *y);
    provider->run(&call);
    assert_memory_equal(y, alone, (size_t)(rows * n) * sizeof *y);
    call.threads = NULL;
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t column = 0; column < n; column++) {
            double sum = bias[column], exact = bias[column], size = 1.0;
            for (int64_t p = 0; p < k; p++) {
                const float left = x[row * k + p], right = weight[p * n + column];
                const double product =
                    (double)(provider == &bert_gemm_bf16 ? rounded(left) : left) * (double)rounded(right);
                sum += product;
                size += fabs(product);
                exact += (double)left * (double)right;
            }
            const double result = y[row * n + column], off = fabs(result - exact) / (1.0 + fabs(exact));
            assert_true(fabs(result - sum) <= 1e-6 * size); /* false for NaN */
            if (off > *worst_of_all) *worst_of_all = off;
        }
    }
    call.x += (rows - 1) * k;
    call.rows = 1;
    memset(y, 0xff, (size_t)n * sizeof *y);
    provider->run(&call);
    assert_memory_equal(y, alone + (rows - 1) * n, (size_t)n * sizeof *y);
    free(alone);
    for (int i = 0; i < 6; i++) guarded_free(&memory[i]);
}

static void hold(const bert_gemm_provider *provider, const bert_cpu_kernels *kernels, const char *what) {
    static const shape shapes[] = {{1, 1, 1, 1},       {3, 7, 5, 1},     {2, 33, 49, 1},    {17, 64, 48, 1},
                                   {9, 130, 97, 2},    {65, 31, 150, 3}, {5, 600, 51, 3},   {70, 513, 96, 1},
                                   {3, 769, 50, 1},    {2, 1537, 97, 2}, {17, 2305, 49, 3},  /* several pieces of k */
                                   {100, 800, 800, 2}, {330, 40, 49, 1}, {330, 800, 50, 1}}; /* groups, blocks */
    double worst = 0.0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int transposed = 0; transposed < (shapes[i].rows < 100 ? 2 : 1); transposed++)
            product_case(provider, kernels, &shapes[i], transposed != 0, &worst);
    print_message("%s of %s: at most %.1e from float32\n", provider->name, what, worst);
    assert_true(worst > 0.0 && worst < 0.1);
}

static void weights_in_bfloat16_give_the_products_of_what_they_round_to(void **state) {
    hold(&bert_gemm_bf16_weights, &bert_cpu_kernels_scalar, "scalar");
    for (int isa = BERT_ISA_SCALAR + 1; isa < BERT_ISA_COUNT; isa++) {
        bert_cpu_kernels kernels;
        if (!bert_isa_present((bert_isa)isa)) continue;
        bert_cpu_kernels_select((bert_isa)isa, &kernels);
        hold(&bert_gemm_bf16_weights, &kernels, bert_isa_name((bert_isa)isa));
    }
}

static void slow_pairs_are_left_for_weights_alone(void **state) {
    assert_ptr_equal(bert_gemm_choose_bf16(BERT_ISA_AVX512_BF16, true), &bert_gemm_bf16_weights);
    assert_ptr_equal(bert_gemm_choose_bf16(BERT_ISA_AVX512_BF16, false), &bert_gemm_bf16);
    assert_ptr_equal(bert_gemm_choose_bf16(BERT_ISA_AMX, true), &bert_gemm_bf16); /* it has tiles */
}

static void both_sides_in_bfloat16_give_the_products_of_what_they_round_to(void **state) {
    bert_cpu_kernels kernels = bert_cpu_kernels_scalar;
    for (int isa = BERT_ISA_SCALAR; isa < BERT_ISA_COUNT; isa++) {
        if (!bert_isa_present((bert_isa)isa)) continue;
        bert_cpu_kernels_select((bert_isa)isa, &kernels);
        hold(&bert_gemm_bf16, &kernels, bert_isa_name((bert_isa)isa));
    }
#if defined(__x86_64__)
    bert_cpu_kernels_override(&bert_emulated_amx, &kernels);
    hold(&bert_gemm_bf16, &kernels, "emulated amx");
#endif
}

static int begin(void **state) {
    return bert_thread_pool_create(3, NULL, &pool, NULL) == BERT_OK ? 0 : 1;
}

static int end(void **state) {
    bert_thread_pool_free(pool);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_in_bfloat16_give_the_products_of_what_they_round_to),
        cmocka_unit_test(slow_pairs_are_left_for_weights_alone),
        cmocka_unit_test(both_sides_in_bfloat16_give_the_products_of_what_they_round_to),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
