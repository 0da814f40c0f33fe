/*
 * The two forms of OpenBLAS's provider, whichever suits this machine: products against sums in double over awkward
 * shapes, for weights laid out either way and in parts, on one thread and on three.
 */
#include "cpu/gemm/gemm.h"
#include "tests/cpu/guarded.h"

#include <bert/thread_pool.h>
#include <math.h>
#include <stdlib.h>

typedef struct shape {
    int64_t rows, k, n;
    int32_t parts;
} shape;

static void hold(const bert_gemm_provider *provider, bert_thread_pool *threads, const shape *s, bool transposed) {
    const int64_t k = s->k, n = s->n, rows = s->rows;
    const bert_cpu_kernels *kernels = &bert_cpu_kernels_scalar;
    bert_guarded memory[6];
    float *weight = guarded_floats(&memory[0], k * n), *x = guarded_floats(&memory[1], rows * k);
    float *y = guarded_floats(&memory[2], rows * n), *bias = guarded_floats(&memory[3], n);
    float *residual = guarded_floats(&memory[4], rows * n);
    void *packed = guarded_new(&memory[5], provider->packed_bytes(kernels, k, n));
    fill_random(weight, k * n, 0.5F, 1);
    fill_random(x, rows * k, 1.0F, 2);
    fill_random(bias, n, 1.0F, 3);
    fill_random(residual, rows * n, 1.0F, 4);
    float *part = malloc((size_t)(k * n) * sizeof *part);
    assert_non_null(part);
    for (int32_t i = 0; i < s->parts; i++) {
        const int64_t first = n * i / s->parts, width = n * (i + 1) / s->parts - first;
        for (int64_t row = 0; row < k; row++)
            for (int64_t j = 0; j < width; j++)
                part[transposed ? j * k + row : row * width + j] = weight[row * n + first + j];
        const bert_constant constant = {.id = 1,
                                        .dtype = BERT_FLOAT,
                                        .rank = 2,
                                        .dims = {transposed ? width : k, transposed ? k : width},
                                        .data = (const unsigned char *)part,
                                        .bytes = (size_t)(k * width) * sizeof *part,
                                        .alignment = 4};
        provider->pack(kernels, threads, packed, n, first, &constant, transposed);
    }
    free(part);
    const bert_packed_weight prepared = {.count = s->parts, .k = k, .n = n, .data = packed};
    provider->run(&(bert_gemm_call){.kernels = kernels,
                                    .threads = threads,
                                    .weight = &prepared,
                                    .x = x,
                                    .rows = rows,
                                    .epilogue = {.y = y,
                                                 .bias = bias,
                                                 .residual = residual,
                                                 .stride = n,
                                                 .residual_stride = n,
                                                 .alpha = 1.0F,
                                                 .activation = BERT_UNARY_IDENTITY}});
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t column = 0; column < n; column++) {
            double sum = (double)bias[column] + (double)residual[row * n + column], size = 1.0;
            for (int64_t p = 0; p < k; p++) {
                const double product = (double)x[row * k + p] * (double)weight[p * n + column];
                sum += product;
                size += fabs(product);
            }
            assert_true(fabs(y[row * n + column] - sum) <= 1e-6 * size); /* false for NaN */
        }
    }
    for (int i = 0; i < 6; i++) guarded_free(&memory[i]);
}

static void both_forms_multiply(void **state) {
    static const shape shapes[] = {{1, 1, 1, 1},     {3, 7, 65, 1},    {32, 64, 64, 1},    {33, 600, 63, 1},
                                   {65, 31, 150, 3}, {2, 1700, 70, 2}, {257, 490, 130, 1}, {5, 20, 900, 3}};
    const bert_gemm_provider *const forms[] = {&bert_gemm_openblas, &bert_gemm_openblas_panels};
    const bert_gemm_provider *suits;
    bert_error error;
    if (bert_openblas_open(&suits, &error) != BERT_OK) {
        print_message("skipped: %s\n", error.message);
        skip();
    }
    print_message("%s suits this machine\n", suits->name);
    bert_thread_pool *threads;
    assert_int_equal(bert_thread_pool_create(3, NULL, &threads, NULL), BERT_OK);
    for (size_t form = 0; form < 2; form++) {
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            hold(forms[form], NULL, &shapes[i], false);
            hold(forms[form], threads, &shapes[i], true);
        }
    }
    bert_thread_pool_free(threads);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(both_forms_multiply)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
