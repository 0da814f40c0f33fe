/*
 * Attention's forms by its definition: float32 and split float32 as exact as sums allow, bfloat16 of what its operands
 * round to; the same bits for a query alone and for a range of keys; and what isn't finite. The kernels are those of
 * this machine, the scalar ones, and AMX's emulated.
 */
#include "core/base/float16.h"
#include "cpu/ops/attention_form.h"
#include "tests/cpu/guarded.h"
#if defined(__x86_64__)
#include "tests/cpu/emulated_kernels.h"
#endif

#include <math.h>
#include <stdlib.h>

static float rounded(float x) {
    return bert_bfloat16_to_float(bert_float_to_bfloat16(x));
}

/* Matrices of one head, rows `stride` apart as in a packed QKV tensor; those of keys may be a copy. */
typedef struct attention_shape {
    int64_t queries, keys, width, stride, key_stride;
} attention_shape;

/* What an operand of a form's products is. */
static double operand(const bert_attention_form *form, float x) {
    return (double)(form == &bert_attention_bf16 ? rounded(x) : x);
}

/* What a query's context is where only sums and the softmax are exact; in *slack, what probabilities that are rounded
 * could move it by. */
static double expected_context(const bert_attention_form *form, const attention_shape *s, const float *q,
                               const float *k, const float *v, const uint8_t *mask, float scale, int64_t column,
                               double *slack) {
    double *scores = malloc((size_t)s->keys * sizeof *scores), most = -INFINITY, total = 0.0, sum = 0.0;
    assert_non_null(scores);
    for (int64_t key = 0; key < s->keys; key++) {
        scores[key] = 0.0;
        for (int64_t i = 0; i < s->width; i++)
            scores[key] += operand(form, q[i]) * operand(form, k[key * s->key_stride + i]);
        scores[key] = mask[key] ? scores[key] * (double)scale : -1000.0;
        most = fmax(most, scores[key]);
    }
    for (int64_t key = 0; key < s->keys; key++) total += exp(scores[key] - most);
    *slack = 1e-6;
    for (int64_t key = 0; key < s->keys; key++) {
        const double probability = exp(scores[key] - most) / total;
        const double value = operand(form, v[key * s->stride + column]);
        sum += probability * value;
        if (form == &bert_attention_bf16) *slack += probability * fabs(value) / 256.0;
    }
    free(scores);
    return sum;
}

/* Blocks of as many queries as the form takes. */
static void attend_all(const bert_attention_form *form, const bert_attention_head *head,
                       const bert_attention_args *args) {
    for (int64_t row = 0; row < args->rows; row += form->block_rows) {
        bert_attention_args block = *args;
        block.y += row * args->ldy;
        block.q += row * args->ldq;
        block.rows = args->rows - row < form->block_rows ? args->rows - row : form->block_rows;
        form->attend(form, head, 0, &block);
    }
}

static void attention_case(const bert_cpu_kernels *kernels, const bert_attention_form *form, const attention_shape *s) {
    bert_device device = {.kernels = *kernels};
    const bert_prepared prepared = {.device = &device, .attend = kernels->attention};
    bert_guarded memory[6];
    const int64_t elements = (s->keys - 1) * s->stride + s->width;
    const int64_t key_elements = (s->keys - 1) * s->key_stride + s->width;
    float *k = guarded_floats(&memory[0], key_elements), *v = guarded_floats(&memory[1], elements);
    float *q = guarded_floats(&memory[2], (s->queries - 1) * s->stride + s->width);
    float *y = guarded_floats(&memory[3], s->queries * s->width);
    uint8_t *mask = guarded_new(&memory[4], (size_t)s->keys);
    const size_t scratch = (size_t)form->scratch_floats(form, s->keys, s->width) * sizeof(float);
    assert_true(scratch % 64 == 0);
    fill_random(k, key_elements, 1.0F, 1);
    fill_random(v, elements, 1.0F, 2);
    fill_random(q, (s->queries - 1) * s->stride + s->width, 1.0F, 3);
    for (int64_t key = 0; key < s->keys; key++) mask[key] = key % 5 != 3;
    const bert_attention_head head = {.prepared = &prepared,
                                      .k = k,
                                      .v = v,
                                      .k_stride = s->key_stride,
                                      .v_stride = s->stride,
                                      .keys = s->keys,
                                      .width = s->width,
                                      .scratch = guarded_new(&memory[5], scratch)};
    bert_attention_args args = {.y = y,
                                .q = q,
                                .ldy = s->width,
                                .ldq = s->stride,
                                .rows = s->queries,
                                .n = s->keys,
                                .width = s->width,
                                .scale = 0.3F,
                                .mask = mask,
                                .mask_stride = 1,
                                .mask_value = -1000.0F};
    bert_cpu_enter(kernels);
    form->load(form, &head);
    attend_all(form, &head, &args);
    for (int64_t row = 0; row < s->queries; row++) {
        for (int64_t column = 0; column < s->width; column++) {
            double slack;
            const double expected = expected_context(form, s, q + row * s->stride, k, v, mask, 0.3F, column, &slack);
            assert_true(fabs(y[row * s->width + column] - expected) <= slack); /* false for NaN */
        }
    }
    /* The last query alone has the same bits. */
    float *last = malloc((size_t)s->width * sizeof *last);
    assert_non_null(last);
    memcpy(last, y + (s->queries - 1) * s->width, (size_t)s->width * sizeof *last);
    args.q += (s->queries - 1) * s->stride;
    args.rows = 1;
    form->attend(form, &head, 0, &args);
    bert_cpu_exit(kernels);
    assert_memory_equal(y, last, (size_t)s->width * sizeof *last);
    free(last);
    for (int i = 0; i < 6; i++) guarded_free(&memory[i]);
}

/* A range of keys, where the others are dropped, has the bits of all of them; with `odd` a value in it is infinite and
 * a query isn't a number. */
static void range_case(const bert_cpu_kernels *kernels, const bert_attention_form *form, int64_t keys, int64_t first,
                       int64_t end, bool odd) {
    enum { WIDTH = 50, QUERIES = 7 };
    bert_device device = {.kernels = *kernels};
    const bert_prepared prepared = {.device = &device, .attend = kernels->attention};
    bert_guarded memory[6];
    float *k = guarded_floats(&memory[0], keys * WIDTH), *v = guarded_floats(&memory[1], keys * WIDTH);
    float *q = guarded_floats(&memory[2], QUERIES * WIDTH), *bias = guarded_floats(&memory[5], QUERIES * keys);
    float y[2][QUERIES * WIDTH];
    uint8_t *mask = guarded_new(&memory[3], (size_t)keys);
    fill_random(k, keys * WIDTH, 1.0F, 1);
    fill_random(v, keys * WIDTH, 1.0F, 2);
    fill_random(q, QUERIES * WIDTH, 1.0F, 3);
    fill_random(bias, QUERIES * keys, 1.0F, 4);
    if (odd) v[first * WIDTH + 3] = INFINITY;
    if (odd) q[2 * WIDTH] = NAN;
    for (int64_t key = 0; key < keys; key++) mask[key] = key >= first && key < end && key % 5 != 3;
    const size_t scratch = (size_t)form->scratch_floats(form, keys, WIDTH) * sizeof(float);
    const bert_attention_head head = {.prepared = &prepared,
                                      .k = k,
                                      .v = v,
                                      .k_stride = WIDTH,
                                      .v_stride = WIDTH,
                                      .keys = keys,
                                      .width = WIDTH,
                                      .scratch = guarded_new(&memory[4], scratch)};
    bert_cpu_enter(kernels);
    form->load(form, &head);
    assert_true(first % form->key_step == 0);
    for (int i = 0; i < 2; i++) {
        bert_attention_args args = {.y = y[i],
                                    .q = q,
                                    .ldy = WIDTH,
                                    .ldq = WIDTH,
                                    .rows = QUERIES,
                                    .n = i ? end - first : keys,
                                    .width = WIDTH,
                                    .scale = 0.3F,
                                    .bias = i ? bias + first : bias,
                                    .bias_row_stride = keys,
                                    .bias_stride = 1,
                                    .mask = i ? mask + first : mask,
                                    .mask_stride = 1,
                                    .mask_value = -INFINITY,
                                    .lead = i ? first : 0};
        form->attend(form, &head, i ? first : 0, &args);
    }
    bert_cpu_exit(kernels);
    for (int i = 0; i < QUERIES * WIDTH; i++)
        if (!isnan(y[0][i]) || !isnan(y[1][i])) assert_memory_equal(&y[1][i], &y[0][i], sizeof y[0][i]);
    for (int i = 0; i < 6; i++) guarded_free(&memory[i]);
}

static void range_cases(const bert_cpu_kernels *kernels, const bert_attention_form *form) {
    for (int odd = 0; odd < 2; odd++) {
        range_case(kernels, form, 301, 96, 97, odd);
        range_case(kernels, form, 301, 96, 250, odd);
        range_case(kernels, form, 301, 288, 301, odd);
        range_case(kernels, form, 290, 192, 240, odd);
        range_case(kernels, form, 150, 0, 79, odd);
    }
}

/* Queries, keys or values that aren't finite, or round to what isn't, and queries with nothing to attend to: what
 * float32 makes of them. */
static void not_finite_case(const bert_cpu_kernels *kernels, const bert_attention_form *form, int kind) {
    enum { KEYS = 40, QUERIES = 19, WIDTH = 33, ODD = 5 };
    bert_device device = {.kernels = *kernels};
    const bert_prepared prepared = {.device = &device, .attend = kernels->attention};
    static float q[QUERIES * WIDTH], k[KEYS * WIDTH], v[KEYS * WIDTH], y[2][QUERIES * WIDTH];
    static uint8_t mask[QUERIES * KEYS];
    const float odd[] = {INFINITY, -INFINITY, NAN, 3.4e38F};
    fill_random(q, QUERIES * WIDTH, 1.0F, 1);
    fill_random(k, KEYS * WIDTH, 1.0F, 2);
    fill_random(v, KEYS * WIDTH, 1.0F, 3);
    memset(mask, 1, sizeof mask);
    float *const matrices[] = {q, k, v};
    if (kind < 12) matrices[kind / 4][ODD * WIDTH + 3] = odd[kind % 4];
    if (kind >= 12) memset(mask + (int64_t)ODD * KEYS, 0, KEYS);
    const bert_attention_form *forms[] = {form, &bert_attention_float};
    for (int i = 0; i < 2; i++) {
        bert_guarded memory;
        const bert_attention_head head = {
            .prepared = &prepared,
            .k = k,
            .v = v,
            .k_stride = WIDTH,
            .v_stride = WIDTH,
            .keys = KEYS,
            .width = WIDTH,
            .scratch = guarded_new(&memory, (size_t)forms[i]->scratch_floats(forms[i], KEYS, WIDTH) * sizeof(float))};
        bert_attention_args args = {.y = y[i],
                                    .q = q,
                                    .ldy = WIDTH,
                                    .ldq = WIDTH,
                                    .rows = QUERIES,
                                    .n = KEYS,
                                    .width = WIDTH,
                                    .scale = 0.3F,
                                    .mask = kind >= 12 ? mask : NULL,
                                    .mask_row_stride = KEYS,
                                    .mask_stride = 1,
                                    .mask_value = -INFINITY,
                                    .nan_is_zero = kind == 13};
        bert_cpu_enter(kernels);
        forms[i]->load(forms[i], &head);
        forms[i]->attend(forms[i], &head, 0, &args);
        bert_cpu_exit(kernels);
        guarded_free(&memory);
    }
    for (int64_t at = 0; at < QUERIES * WIDTH; at++) {
        const float error = form == &bert_attention_bf16 ? 2e-2F : 2e-6F;
        const bool same = isfinite(y[1][at]) ? fabsf(y[0][at] - y[1][at]) <= error * (1.0F + fabsf(y[1][at]))
                          : isnan(y[1][at])  ? isnan(y[0][at])
                                             : y[0][at] == y[1][at];
        assert_true(same);
    }
}

static void not_finite_cases(const bert_cpu_kernels *kernels, const bert_attention_form *form) {
    for (int kind = 0; kind < 14; kind++) not_finite_case(kernels, form, kind);
}

static void attention_cases(const bert_cpu_kernels *kernels, const bert_attention_form *form) {
    static const attention_shape shapes[] = {{1, 1, 1, 1, 1},      {3, 2, 7, 9, 9},      {48, 47, 64, 192, 64},
                                             {17, 48, 32, 32, 32}, {5, 49, 96, 100, 96}, {31, 131, 64, 192, 192},
                                             {16, 33, 49, 51, 49}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) attention_case(kernels, form, &shapes[i]);
}

/* By each instruction set that is here, and by emulated tiles. */
static void hold_each(void (*hold)(const bert_cpu_kernels *kernels, const bert_attention_form *form)) {
    static const bert_attention_form *const forms[] = {&bert_attention_float, &bert_attention_split,
                                                       &bert_attention_bf16};
    bert_cpu_kernels kernels = bert_cpu_kernels_scalar;
    for (size_t form = 0; form < sizeof forms / sizeof *forms; form++) {
        for (int isa = BERT_ISA_SCALAR; isa < BERT_ISA_COUNT; isa++) {
            if (!bert_isa_present((bert_isa)isa)) continue;
            bert_cpu_kernels_select((bert_isa)isa, &kernels);
            hold(&kernels, forms[form]);
        }
#if defined(__x86_64__)
        bert_cpu_kernels_override(&bert_emulated_amx, &kernels);
        hold(&kernels, forms[form]);
#endif
    }
}

static void forms_are_attention_by_its_definition(void **state) {
    hold_each(attention_cases);
}

static void keys_outside_of_a_window_change_no_bit(void **state) {
    hold_each(range_cases);
}

static void what_is_not_finite_is_what_float32_makes_of_it(void **state) {
    hold_each(not_finite_cases);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_are_attention_by_its_definition),
        cmocka_unit_test(keys_outside_of_a_window_change_no_bit),
        cmocka_unit_test(what_is_not_finite_is_what_float32_makes_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
