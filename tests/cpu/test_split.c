/*
 * The provider of float32 by products of bfloat16: products against sums in double over awkward shapes, for weights
 * laid out either way and in parts; the same bits for a row alone and among others, on one thread and on three; numbers
 * that don't split; errors beside those of the own provider; and where it is chosen. With this machine's best kernels,
 * the scalar ones and AMX's emulated.
 */
#include "cpu/gemm/gemm.h"
#include "tests/cpu/emulated_kernels.h"
#include "tests/cpu/guarded.h"

#include <bert/thread_pool.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    int64_t rows, k, n;
    int32_t parts;
    bool transposed;
} shape;

enum { BUFFERS = 4, COUNTED_STEPS = 96 };
#define ALPHA 0.5F /* of x W, before bias and residual: once, when all of k was added up */

/* What is multiplied. */
typedef struct layer {
    const bert_cpu_kernels *kernels;
    shape s;
    float *x, *weight, *bias, *residual;
    bert_guarded memory[BUFFERS];
} layer;

static void new_layer(layer *l, const bert_cpu_kernels *kernels, const shape *s) {
    *l = (layer){.kernels = kernels, .s = *s};
    l->x = guarded_floats(&l->memory[0], s->rows * s->k);
    l->weight = guarded_floats(&l->memory[1], s->k * s->n);
    l->bias = guarded_floats(&l->memory[2], s->n);
    l->residual = guarded_floats(&l->memory[3], s->rows * s->n);
    fill_random(l->x, s->rows * s->k, 1.0F, 1);
    fill_random(l->weight, s->k * s->n, 0.5F, 2);
    fill_random(l->bias, s->n, 1.0F, 3);
    fill_random(l->residual, s->rows * s->n, 1.0F, 4);
}

static void free_layer(layer *l) {
    for (int i = 0; i < BUFFERS; i++) guarded_free(&l->memory[i]);
}

static void pack(const layer *l, const bert_gemm_provider *provider, bert_thread_pool *threads, void *packed) {
    const shape *s = &l->s;
    float *part = malloc((size_t)(s->k * s->n + 1) * sizeof *part);
    assert_non_null(part);
    for (int32_t i = 0; i < s->parts; i++) {
        const int64_t first = s->n * i / s->parts, width = s->n * (i + 1) / s->parts - first;
        for (int64_t row = 0; row < s->k; row++)
            for (int64_t j = 0; j < width; j++)
                part[s->transposed ? j * s->k + row : row * width + j] = l->weight[row * s->n + first + j];
        const bert_constant constant = {.id = 1,
                                        .dtype = BERT_FLOAT,
                                        .rank = 2,
                                        .dims = {s->transposed ? width : s->k, s->transposed ? s->k : width},
                                        .data = (const unsigned char *)part,
                                        .bytes = (size_t)(s->k * width) * sizeof *part,
                                        .alignment = 4};
        provider->pack(l->kernels, threads, packed, s->n, first, &constant, s->transposed);
    }
    free(part);
}

static size_t model_bytes = SIZE_MAX;

/* Some rows of the product, packed for it alone. */
static void run(const layer *l, const bert_gemm_provider *provider, bert_thread_pool *threads, int64_t first,
                int64_t rows, float *y) {
    const int64_t k = l->s.k, n = l->s.n;
    bert_guarded memory[2];
    void *packed = guarded_new(&memory[0], provider->packed_bytes(l->kernels, k, n));
    pack(l, provider, threads, packed);
    const bert_packed_weight weight = {.count = l->s.parts, .k = k, .n = n, .data = packed};
    const size_t scratch =
        bert_gemm_workspace_bytes(provider, &weight, (size_t)rows, bert_thread_pool_threads(threads));
    provider->run(&(bert_gemm_call){.kernels = l->kernels,
                                    .threads = threads,
                                    .weight = &weight,
                                    .model_bytes = model_bytes,
                                    .x = l->x + first * k,
                                    .rows = rows,
                                    .workspace = guarded_new(&memory[1], scratch),
                                    .epilogue = {.y = y,
                                                 .bias = l->bias,
                                                 .residual = l->residual + first * n,
                                                 .stride = n,
                                                 .residual_stride = n,
                                                 .alpha = ALPHA,
                                                 .activation = BERT_UNARY_IDENTITY}});
    for (int i = 0; i < 2; i++) guarded_free(&memory[i]);
}

/* An element, and the sum of the absolute values of its terms as far as they are finite. */
static double exact(const layer *l, int64_t row, int64_t column, double *size) {
    const int64_t k = l->s.k, n = l->s.n;
    double sum = (double)l->bias[column] + (double)l->residual[row * n + column];
    *size = fabs((double)l->bias[column]) + fabs((double)l->residual[row * n + column]);
    for (int64_t p = 0; p < k; p++) {
        const double term = (double)(ALPHA * l->x[row * k + p]) * (double)l->weight[p * n + column];
        sum += term;
        if (isfinite(term)) *size += fabs(term);
    }
    return sum;
}

/* Errors of a product relative to its terms: the greatest, and the mean, which changes less with the numbers. */
typedef struct errors {
    double worst, mean;
} errors;

static errors errors_of(const layer *l, const float *y) {
    errors all = {0};
    const int64_t n = l->s.n;
    for (int64_t i = 0; i < l->s.rows * n; i++) {
        double size;
        const double off = fabs((double)y[i] - exact(l, i / n, i % n, &size)) / size;
        if (!(off <= all.worst)) all.worst = isnan(off) ? INFINITY : off;
        all.mean += off / (double)(l->s.rows * n);
    }
    return all;
}

static void hold(const bert_cpu_kernels *kernels, bert_thread_pool *threads, const shape *s) {
    layer l;
    bert_guarded memory[2];
    new_layer(&l, kernels, s);
    for (int64_t i = 1; i < s->k * s->n; i += 97) l.weight[i] *= 0x1p-115F; /* with parts below the least number */
    const int64_t count = s->rows * s->n, rows[] = {0, s->rows / 2, s->rows - 1};
    float *y = guarded_floats(&memory[0], count), *again = guarded_floats(&memory[1], count);
    run(&l, &bert_gemm_split, NULL, 0, s->rows, y);
    const double worst = errors_of(&l, y).worst;
    if (worst > 0x1p-22)
        fail_msg("%lld x %lld x %lld: off by %g", (long long)s->rows, (long long)s->k, (long long)s->n, worst);
    run(&l, &bert_gemm_split, threads, 0, s->rows, again);
    assert_memory_equal(again, y, (size_t)count * sizeof *y);
    for (int i = 0; i < 3 && s->rows > 1; i++) {
        run(&l, &bert_gemm_split, i % 2 ? threads : NULL, rows[i], 1, again);
        assert_memory_equal(again, y + rows[i] * s->n, (size_t)s->n * sizeof *y);
    }
    free_layer(&l);
    for (int i = 0; i < 2; i++) guarded_free(&memory[i]);
}

static bert_cpu_kernels best;
static bert_thread_pool *pool;

static void shapes_of_all_kinds_multiply(void **state) {
    static const int64_t rows[] = {1, 17, 33, 129, 300}, depths[] = {0, 1, 33, 768, 769, 1600},
                         widths[] = {1, 47, 49, 150};
    for (int i = 0; i < 5; i++) {
        for (int j = 0; j < 6; j++) {
            for (int turn = 0; turn < 2; turn++) {
                const int64_t n = widths[(i + j + turn) % 4];
                const shape s = {rows[i], depths[j], n, n > 1 && (i + j / 2) % 2 ? 3 : 1, (i + turn) % 2 != 0};
                hold(&best, pool, &s);
                if (s.rows * s.k * s.n < 1000000) hold(&bert_cpu_kernels_scalar, pool, &s);
            }
        }
    }
    hold(&best, pool, &(shape){700, 33, 49, 1, false}); /* more than one round on each thread */
}

/* NaN where the own provider has it, infinity where that has it, else numbers that are close to its. */
static void hold_to_own(const layer *l, bert_thread_pool *threads) {
    const int64_t count = l->s.rows * l->s.n;
    bert_guarded memory[2];
    float *y = guarded_floats(&memory[0], count), *own = guarded_floats(&memory[1], count);
    run(l, &bert_gemm_own, NULL, 0, l->s.rows, own);
    run(l, &bert_gemm_split, threads, 0, l->s.rows, y);
    for (int64_t i = 0; i < count; i++) {
        if (isfinite(own[i])) {
            double size;
            exact(l, i / l->s.n, i % l->s.n, &size);
            assert_true(fabs((double)y[i] - (double)own[i]) <= 0x1p-21 * size); /* false for NaN */
        } else {
            assert_true(isnan(own[i]) ? isnan(y[i]) : y[i] == own[i]);
        }
    }
    for (int i = 0; i < 2; i++) guarded_free(&memory[i]);
}

typedef struct planted {
    int64_t step, at; /* a row, or a column */
    float value;
} planted;

/* In the first piece of k, in others, and in the last step; both infinities in a row are NaN. */
static void numbers_that_do_not_split_are_left_to_sgemm(void **state) {
    static const planted in_x[] = {{100, 3, INFINITY}, {900, 5, NAN},        {1599, 7, 3.4e38F},
                                   {0, 9, INFINITY},   {1000, 9, -INFINITY}, {767, 11, -3.4e38F},
                                   {768, 13, NAN},     {1536, 15, -INFINITY}};
    static const planted in_weight[] = {{800, 50, INFINITY}, {10, 20, NAN}, {1599, 99, 3.4e38F}, {768, 0, -3.4e38F}};
    static const int64_t rows[] = {17, 40, 150};
    for (int i = 0; i < 9; i++) {
        const shape s = {rows[i / 3], 1600, 100, 1, i % 2 != 0};
        layer l;
        new_layer(&l, &best, &s);
        for (size_t j = 0; j < sizeof in_x / sizeof *in_x && i % 3 != 0; j++)
            l.x[in_x[j].at * s.k + in_x[j].step] = in_x[j].value;
        for (size_t j = 0; j < sizeof in_weight / sizeof *in_weight && i % 3 != 1; j++)
            l.weight[in_weight[j].step * s.n + in_weight[j].at] = in_weight[j].value;
        hold_to_own(&l, i % 2 ? pool : NULL);
        free_layer(&l);
    }
}

/* Numbers in [-1, 1), which no stride makes alike, or in [0, 1). */
static void fill_mixed(float *x, int64_t count, bool positive, uint64_t seed) {
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        const uint64_t mixed = (seed ^ seed >> 29) * 0xbf58476d1ce4e5b9U;
        x[i] = (float)((double)(mixed >> 11) * (positive ? 0x1p-53 : 0x1p-52) - (positive ? 0.0 : 1.0));
    }
}

/* Where terms have either sign the mean is smaller, and the worst of so many elements alike. Where they have one, sums
 * grow, and AMX rounds them six times for every 32 terms. */
static void errors_are_about_those_of_sgemm(void **state) {
    const bert_cpu_kernels *const tables[] = {&best, &bert_cpu_kernels_scalar};
    for (int i = 0; i < 8; i++) {
        const bool positive = i % 2 != 0;
        const shape s = {64, i / 2 % 2 ? 3072 : 768, 96, 1, false};
        layer l;
        bert_guarded memory;
        new_layer(&l, tables[i / 4], &s);
        fill_mixed(l.x, s.rows * s.k, positive, 1);
        fill_mixed(l.weight, s.k * s.n, positive, 2);
        float *y = guarded_floats(&memory, s.rows * s.n);
        run(&l, &bert_gemm_split, NULL, 0, s.rows, y);
        const errors split = errors_of(&l, y);
        run(&l, &bert_gemm_own, NULL, 0, s.rows, y);
        const errors own = errors_of(&l, y);
        print_message("%s kernels, k = %lld, %s: split is off by %.3g, at most %.3g, own by %.3g, at most %.3g\n",
                      i / 4 ? "scalar" : "best", (long long)s.k, positive ? "one sign" : "both signs", split.mean,
                      split.worst, own.mean, own.worst);
        assert_true(split.mean <= (positive ? 1.5 : 1.0) * own.mean);
        assert_true(split.worst <= (positive ? 2.0 : 1.5) * own.worst);
        free_layer(&l);
        guarded_free(&memory);
    }
}

/* AMX's product everywhere, its instructions emulated where there are none. */
static void emulated_tiles_multiply(void **state) {
#if defined(__x86_64__)
    static const shape shapes[] = {
        {1, 33, 49, 1, false}, {17, 769, 49, 1, true}, {33, 96, 47, 3, false}, {70, 64, 100, 1, false}};
    bert_cpu_kernels kernels = bert_cpu_kernels_scalar;
    bert_cpu_kernels_override(&bert_emulated_amx, &kernels);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) hold(&kernels, pool, &shapes[i]);
#else
    print_message("skipped: tiles are emulated on x86 alone\n");
#endif
}

#if defined(__x86_64__)
static _Atomic int64_t lines_fetched;

void bert_emulated_prefetch(const void *line) {
    lines_fetched++;
}

/* Lines fetched by a product of so many rows with three panels. */
static int64_t lines_of(const bert_cpu_kernels *kernels, int64_t rows, size_t bytes) {
    const shape s = {rows, COUNTED_STEPS, 3 * BERT_SPLIT_COLUMNS, 1, false};
    bert_guarded memory;
    layer l;
    new_layer(&l, kernels, &s);
    model_bytes = bytes;
    lines_fetched = 0;
    run(&l, &bert_gemm_split, NULL, 0, rows, guarded_floats(&memory, rows * s.n));
    model_bytes = SIZE_MAX;
    free_layer(&l);
    guarded_free(&memory);
    return lines_fetched;
}
#endif

/* Up to 96 rows the panels that come next are fetched, of one tile of rows where no cache keeps the model. */
static void few_rows_fetch_what_comes_next(void **state) {
#if defined(__x86_64__)
    enum { PANEL_LINES = COUNTED_STEPS * BERT_SPLIT_COLUMNS / 16 };
    bert_cpu_kernels kernels = bert_cpu_kernels_scalar;
    bert_cpu_kernels_override(&bert_emulated_amx, &kernels);
    const int64_t asked = lines_of(&kernels, 16, 0); /* by splitting itself */
    assert_int_equal(lines_of(&kernels, 16, SIZE_MAX), asked + 2 * PANEL_LINES);
    assert_int_equal(lines_of(&kernels, 17, 0), asked + 2 * PANEL_LINES);
    /* Of more rows the second panel is split while the first is used, and the third fetched. */
    const int64_t many = lines_of(&kernels, 128, SIZE_MAX);
    assert_int_equal(lines_of(&kernels, 96, 0), many + PANEL_LINES);
    assert_int_equal(lines_of(&kernels, 97, SIZE_MAX), many);
#else
    print_message("skipped: tiles are emulated on x86 alone\n");
#endif
}

static const bert_gemm_provider *chosen(bert_isa isa, const char *name, bert_status expected) {
    const bert_gemm_provider *provider = NULL;
    bert_error error;
    if (name)
        setenv("BERT_CPU_GEMM", name, 1);
    else
        unsetenv("BERT_CPU_GEMM");
    assert_int_equal(bert_gemm_choose(isa, &provider, &error), expected);
    return provider;
}

static void tiles_take_split_numbers_and_names_overrule(void **state) {
    const char *before = getenv("BERT_CPU_GEMM");
    char *kept = before ? strdup(before) : NULL;
    assert_ptr_equal(chosen(BERT_ISA_AMX, NULL, BERT_OK), &bert_gemm_split);
    assert_ptr_equal(chosen(BERT_ISA_AVX512_BF16, NULL, BERT_OK), &bert_gemm_own);
    assert_ptr_equal(chosen(BERT_ISA_AMX, "own", BERT_OK), &bert_gemm_own);
    assert_ptr_equal(chosen(BERT_ISA_AVX2, "split", BERT_OK), &bert_gemm_split);
    chosen(BERT_ISA_AMX, "mkl", BERT_UNSUPPORTED);
    if (kept)
        setenv("BERT_CPU_GEMM", kept, 1);
    else
        unsetenv("BERT_CPU_GEMM");
    free(kept);
}

static void a_workspace_beyond_memory_is_none(void **state) {
    const bert_packed_weight weight = {.k = INT32_MAX, .n = 1};
    assert_true(bert_gemm_split.workspace_bytes(&weight, SIZE_MAX, INT32_MAX) == SIZE_MAX);
}

static int begin(void **state) {
    bert_isa isa;
    bert_error error;
    if (bert_isa_select(&isa, &error) != BERT_OK || bert_thread_pool_create(3, NULL, &pool, &error) != BERT_OK)
        return 1;
    bert_cpu_kernels_select(isa, &best);
    return 0;
}

static int end(void **state) {
    bert_thread_pool_free(pool);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_of_all_kinds_multiply),
        cmocka_unit_test(numbers_that_do_not_split_are_left_to_sgemm),
        cmocka_unit_test(errors_are_about_those_of_sgemm),
        cmocka_unit_test(emulated_tiles_multiply),
        cmocka_unit_test(few_rows_fetch_what_comes_next),
        cmocka_unit_test(tiles_take_split_numbers_and_names_overrule),
        cmocka_unit_test(a_workspace_beyond_memory_is_none),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
