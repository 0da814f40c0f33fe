/*
 * Products of weights that aren't packed yet: providers that take a source have the same bits from it as from the
 * packed form, over awkward shapes, for weights laid out either way and in parts, at any address, on one thread and on
 * three.
 */
#include "cpu/gemm/gemm.h"
#include "tests/cpu/guarded.h"

#include <bert/thread_pool.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    int64_t rows, k, n;
    int32_t parts;
} shape;

enum { MOST_PARTS = 3 };

typedef struct parts {
    bert_guarded memory[MOST_PARTS];
    bert_constant constants[MOST_PARTS];
    bert_deferred_weight deferred;
} parts;

/* Constants that begin one byte behind where floats do, and end where a page does. */
static void fill_parts(parts *all, const shape *s, bool transposed) {
    all->deferred.source = (bert_weight_source){.count = s->parts, .transposed = transposed};
    for (int32_t i = 0; i < s->parts; i++) {
        const int64_t width = s->n * (i + 1) / s->parts - s->n * i / s->parts;
        const size_t bytes = (size_t)(s->k * width) * sizeof(float);
        unsigned char *data = (unsigned char *)guarded_new(&all->memory[i], bytes + 1);
        float *floats = malloc(bytes + 1);
        assert_non_null(floats);
        fill_random(floats, s->k * width, 0.5F, (uint32_t)i);
        memcpy(data + 1, floats, bytes);
        free(floats);
        all->constants[i] = (bert_constant){.id = (uint64_t)i + 1,
                                            .dtype = BERT_FLOAT,
                                            .rank = 2,
                                            .dims = {transposed ? width : s->k, transposed ? s->k : width},
                                            .data = data + 1,
                                            .bytes = bytes,
                                            .alignment = 1};
        all->deferred.source.parts[i] = &all->constants[i];
    }
}

static void pack_parts(const bert_gemm_provider *provider, const bert_cpu_kernels *kernels, bert_thread_pool *threads,
                       const parts *all, const shape *s, void *packed) {
    int64_t first = 0;
    for (int32_t i = 0; i < s->parts; i++) {
        int64_t k, width;
        bert_gemm_part_shape(&all->constants[i], all->deferred.source.transposed, &k, &width);
        provider->pack(kernels, threads, packed, s->n, first, &all->constants[i], all->deferred.source.transposed);
        first += width;
    }
}

static void hold(const bert_gemm_provider *provider, const bert_cpu_kernels *kernels, bert_thread_pool *threads,
                 const shape *s, bool transposed) {
    parts all;
    bert_guarded memory[6];
    const int64_t count = s->rows * s->n;
    float *x = guarded_floats(&memory[0], s->rows * s->k), *bias = guarded_floats(&memory[1], s->n);
    float *y = guarded_floats(&memory[2], count), *expected = guarded_floats(&memory[3], count);
    void *packed = guarded_new(&memory[4], provider->packed_bytes(kernels, s->k, s->n));
    fill_random(x, s->rows * s->k, 1.0F, 7);
    if (s->rows > 1 && s->k > 0) x[s->k + s->k / 2] = INFINITY; /* "split" leaves such a row to sgemm */
    fill_random(bias, s->n, 1.0F, 8);
    fill_parts(&all, s, transposed);
    pack_parts(provider, kernels, threads, &all, s, packed);
    const bert_packed_weight weights[2] = {{.count = s->parts, .k = s->k, .n = s->n, .data = packed},
                                           {.count = s->parts, .k = s->k, .n = s->n, .deferred = &all.deferred}};
    const int count_threads = bert_thread_pool_threads(threads);
    const size_t scratch = bert_gemm_workspace_bytes(provider, &weights[0], (size_t)s->rows, count_threads);
    void *workspace = guarded_new(&memory[5], scratch);
    for (int i = 0; i < 2; i++)
        provider->run(&(bert_gemm_call){
            .kernels = kernels,
            .threads = threads,
            .weight = &weights[i],
            .x = x,
            .rows = s->rows,
            .workspace = workspace,
            .epilogue = {
                .y = i ? y : expected, .bias = bias, .stride = s->n, .alpha = 1.0F, .activation = BERT_UNARY_GELU}});
    assert_memory_equal(y, expected, (size_t)count * sizeof *y);
    for (int i = 0; i < 6; i++) guarded_free(&memory[i]);
    for (int32_t i = 0; i < s->parts; i++) guarded_free(&all.memory[i]);
}

/* More rows than a block, pieces that end in the middle of a chain, panels of several parts. */
static void sources_have_the_bits_of_packed_weights(void **state) {
    static const shape shapes[] = {{1, 1, 1, 1},    {3, 7, 65, 1},    {32, 64, 64, 1},   {9, 600, 63, 1},
                                   {65, 31, 50, 3}, {2, 1700, 70, 2}, {300, 490, 97, 3}, {1, 256, 96, 2},
                                   {5, 0, 20, 1},   {0, 5, 20, 1},    {4, 513, 17, 3}};
    bert_thread_pool *pool = NULL;
    bert_error error;
    if (bert_thread_pool_create(3, NULL, &pool, &error) != BERT_OK) fail_msg("%s", error.message);
    for (int isa = 0; isa < BERT_ISA_COUNT; isa++) {
        bert_cpu_kernels kernels;
        if (!bert_isa_present((bert_isa)isa)) continue;
        bert_cpu_kernels_select((bert_isa)isa, &kernels);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int form = 0; form < 4; form++)
                hold(&bert_gemm_own, &kernels, form & 1 ? pool : NULL, &shapes[i], form & 2);
        if (isa != BERT_ISA_SCALAR && kernels.sgemm_split == bert_cpu_kernels_scalar.sgemm_split) continue;
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int form = 0; form < 4; form++)
                hold(&bert_gemm_split, &kernels, form & 1 ? pool : NULL, &shapes[i], form & 2);
    }
    bert_thread_pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sources_have_the_bits_of_packed_weights)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
