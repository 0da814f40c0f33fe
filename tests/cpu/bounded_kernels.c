#include "tests/cpu/bounded_kernels.h"

#include "cpu/gemm/bounded.h"
#include "tests/cpu/guarded.h"

#include <stdlib.h>

enum { STEP_BYTES = BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP, GROUPS = BERT_QGEMM_EXCESS_GROUPS };
enum { GROUP_BYTES = STEP_BYTES / GROUPS };

/* Weights as they are trained, and such that everything there is to bounds is met: single great ones, zero points far
 * from the middle, a half of the greatest numbers there are, and sums next to the bound, one of whose steps lacks
 * weights of the sign or lies next to what a step of excess may hold. */
enum { TRAINED, SPIKES, SHIFTED, GREATEST, NEXT_TO_BOUNDS, WEIGHT_KINDS };
static const int64_t steps_tested[] = {0, 1, 2, 3, 16, 33, 131, 256, 257, 301};
enum { STEPS_TESTED = sizeof steps_tested / sizeof *steps_tested };

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

/* About normal, with a deviation of 25, as weights of 8 bits are. */
static int8_t trained(uint32_t *state) {
    int sum = 0;
    for (int i = 0; i < 4; i++) sum += (int)(next_random(state) % 44);
    return (int8_t)(sum - 86);
}

/* The zero point of a column: none of the first, of others another in every group. */
static int zero_of(int kind, int column) {
    if (kind != SHIFTED || column == 0) return 0;
    return column % 2 ? 40 - column : column - 60;
}

static void fill_weights(int8_t *b, int64_t steps, int kind) {
    static const int8_t edges[] = {127, -127, 126, -126, 64, -64, 63, -63, 62, 1, -1, 0, 0, 0, -128, 65};
    uint32_t state = (uint32_t)(kind + 7 * steps);
    for (int64_t i = 0; i < steps * STEP_BYTES; i++) {
        const bool rare = next_random(&state) % 997 == 0;
        b[i] = trained(&state);
        if (kind == SHIFTED) b[i] = (int8_t)(b[i] / 2 + zero_of(kind, i % STEP_BYTES / BERT_QGEMM_STEP));
        if (kind == SPIKES && rare) b[i] = rare && state % 2 ? 127 : -128;
        if (kind == NEXT_TO_BOUNDS && next_random(&state) % 199 == 0) b[i] = edges[next_random(&state) % sizeof edges];
    }
    /* A half of a column whose excess is as much as two steps hold: 4 x 63 + 1 less the bound. */
    if (kind == GREATEST && steps > 1)
        for (int i = 0; i < 4; i++) b[i / 2 * STEP_BYTES + i % 2] = (int8_t)(i == 3 ? 64 : 63);
}

static void fill_zeros(int8_t zeros[STEP_BYTES], int kind) {
    for (int i = 0; i < STEP_BYTES; i++) zeros[i] = (int8_t)zero_of(kind, i / BERT_QGEMM_STEP);
}

/* A panel, what was measured of it, and what comes of it; exactly as large as it must be. */
typedef struct bounded_case {
    int64_t steps;
    int8_t *panel, *original;
    int8_t zeros[STEP_BYTES];
    uint8_t *most;
    bert_qgemm_bounds bounds;
    bert_qgemm_excess *excess;
    bert_guarded memory[4];
} bounded_case;

static size_t most_bytes(int64_t steps) {
    return (size_t)((steps + 1) / 2 * GROUPS * 2);
}

static void make_case(bounded_case *c, int64_t steps, int kind) {
    *c = (bounded_case){.steps = steps};
    c->panel = guarded_new(&c->memory[0], (size_t)(steps * STEP_BYTES));
    c->original = guarded_new(&c->memory[1], (size_t)(steps * STEP_BYTES));
    c->most = guarded_new(&c->memory[2], most_bytes(steps));
    fill_weights(c->original, steps, kind);
    fill_zeros(c->zeros, kind);
    memcpy(c->panel, c->original, (size_t)(steps * STEP_BYTES));
}

/* false where the panel isn't to be bounded. */
static bool bound_case(bounded_case *c, const bert_cpu_kernels *table) {
    c->excess = guarded_new(&c->memory[3], 0);
    table->measure_excess(&(bert_measure_excess_args){c->most, c->panel, c->zeros, c->steps});
    if (!bert_qgemm_count_excess(c->most, c->steps, c->bounds.first + 1)) return false;
    for (int group = 0; group < GROUPS; group++) c->bounds.first[group + 1] += c->bounds.first[group];
    c->bounds.bounded = 1;
    guarded_free(&c->memory[3]);
    c->excess = guarded_new(&c->memory[3], (size_t)c->bounds.first[GROUPS] * sizeof *c->excess);
    bert_qgemm_bound(c->panel, c->steps, c->zeros, c->most, &c->bounds, c->excess);
    return true;
}

static void free_case(bounded_case *c) {
    for (int i = 0; i < 4; i++) guarded_free(&c->memory[i]);
}

/* The sums of positive and of negative weights of two. */
static void add_half(const int8_t *weights, int sums[2]) {
    for (int i = 0; i < 2; i++) sums[weights[i] < 0] += weights[i] < 0 ? -weights[i] : weights[i];
}

static void panel_keeps_to_bounds(const bounded_case *c) {
    for (int64_t step = 0; step < c->steps; step += 2) {
        for (int half = 0; half < STEP_BYTES; half += 2) {
            int sums[2] = {0, 0};
            for (int64_t s = step; s < step + 2 && s < c->steps; s++) add_half(c->panel + s * STEP_BYTES + half, sums);
            assert_in_range(sums[0], 0, BERT_QGEMM_BOUND);
            assert_in_range(sums[1], 0, BERT_QGEMM_BOUND);
        }
    }
}

static void excess_keeps_to_bounds(const bounded_case *c) {
    for (int32_t i = 0; i < 2 * c->bounds.first[GROUPS]; i++) {
        const bert_qgemm_excess *pair = &c->excess[i / 2];
        assert_in_range(pair->steps[i % 2], 0, c->steps - 1);
        for (int half = 0; half < GROUP_BYTES; half += 2) {
            int sums[2] = {0, 0};
            add_half(pair->weights[i % 2] + half, sums);
            assert_in_range(sums[0], 0, BERT_QGEMM_EXCESS_BOUND);
            assert_in_range(sums[1], 0, BERT_QGEMM_EXCESS_BOUND);
        }
    }
}

/* Panel and excess together are what was packed, less its zero points. */
static void nothing_is_lost(const bounded_case *c) {
    int16_t *whole = calloc((size_t)(c->steps * STEP_BYTES) + 1, sizeof *whole);
    assert_non_null(whole);
    for (int64_t i = 0; i < c->steps * STEP_BYTES; i++) whole[i] = (int16_t)(0 + c->panel[i]);
    for (int group = 0; group < GROUPS; group++)
        for (int32_t i = 2 * c->bounds.first[group]; i < 2 * c->bounds.first[group + 1]; i++)
            for (int at = 0; at < GROUP_BYTES; at++) {
                int16_t *place = &whole[c->excess[i / 2].steps[i % 2] * STEP_BYTES + group * GROUP_BYTES + at];
                *place = (int16_t)(*place + c->excess[i / 2].weights[i % 2][at]);
            }
    for (int64_t i = 0; i < c->steps * STEP_BYTES; i++)
        assert_int_equal(whole[i], c->original[i] - c->zeros[i % STEP_BYTES]);
    free(whole);
}

/* Uniform bytes are beyond their bounds nearly everywhere, and one half of the greatest numbers is more than excess can
 * hold. */
static void some_panels_are_left(const bert_cpu_kernels *table) {
    bounded_case uniform, greatest;
    make_case(&uniform, 64, TRAINED);
    uint32_t state = 5;
    for (int i = 0; i < 64 * STEP_BYTES; i++) uniform.panel[i] = (int8_t)next_random(&state);
    assert_false(bound_case(&uniform, table));
    make_case(&greatest, 64, GREATEST);
    assert_true(bound_case(&greatest, table));
    free_case(&greatest);
    make_case(&greatest, 64, GREATEST);
    for (int i = 0; i < 4; i++) greatest.panel[i / 2 * STEP_BYTES + i % 2] = -127;
    assert_false(bound_case(&greatest, table));
    assert_int_equal(greatest.most[1], 127);
    free_case(&greatest);
    free_case(&uniform);
}

/* Steps of excess that a pair of steps takes, by what is to be taken from the first and the second; -1: too much. */
static void count_of(uint8_t first, uint8_t second, int steps) {
    enum { STEPS = 40 };
    uint8_t most[STEPS / 2 * GROUPS * 2] = {0};
    int32_t pairs[GROUPS];
    for (int pair = 0; pair < 2; pair++) { /* of group 1 */
        most[(pair * GROUPS + 1) * 2] = first;
        most[(pair * GROUPS + 1) * 2 + 1] = second;
    }
    assert_int_equal(bert_qgemm_count_excess(most, STEPS, pairs), steps >= 0);
    for (int group = 0; group < GROUPS && steps >= 0; group++) assert_int_equal(pairs[group], group == 1 ? steps : 0);
}

/* Excess is counted by what a step of it holds, up to two steps of it for each of the panel. */
static void excess_is_counted(void) {
    enum { STEPS = 12, HALF_OF_ALL = 2 * STEPS };
    count_of(0, 0, 0);
    count_of(1, 0, 1);
    count_of(63, 0, 1);
    count_of(64, 0, 2);
    count_of(126, 0, 2);
    count_of(127, 0, -1);
    count_of(0, 63, 1);
    count_of(63, 64, 3);
    count_of(126, 126, 4);
    count_of(0, 127, -1);
    count_of(255, 255, -1);
    uint8_t most[STEPS / 2 * GROUPS * 2] = {0};
    int32_t pairs[GROUPS];
    for (int i = 0; i < HALF_OF_ALL; i++) most[3 * i] = 1; /* two in each three */
    assert_true(bert_qgemm_count_excess(most, STEPS, pairs));
    most[1] = 1;
    assert_false(bert_qgemm_count_excess(most, STEPS, pairs));
}

void test_measure_excess(const bert_cpu_kernels *table) {
    excess_is_counted();
    int bounded = 0, with_excess = 0;
    for (int kind = 0; kind < WEIGHT_KINDS; kind++) {
        for (int at = 0; at < STEPS_TESTED; at++) {
            bounded_case c;
            make_case(&c, steps_tested[at], kind);
            bert_guarded memory;
            uint8_t *expected = guarded_new(&memory, most_bytes(c.steps));
            bert_cpu_kernels_scalar.measure_excess(&(bert_measure_excess_args){expected, c.original, c.zeros, c.steps});
            const bool is_bounded = bound_case(&c, table);
            assert_memory_equal(c.most, expected, most_bytes(c.steps));
            if (is_bounded) {
                panel_keeps_to_bounds(&c);
                excess_keeps_to_bounds(&c);
                nothing_is_lost(&c);
                bounded++;
                with_excess += c.bounds.first[GROUPS] > 0;
            } else {
                assert_memory_equal(c.panel, c.original, (size_t)(c.steps * STEP_BYTES));
            }
            guarded_free(&memory);
            free_case(&c);
        }
    }
    assert_true(bounded >= 20 && with_excess >= 20);
    some_panels_are_left(table);
}

/* The sums of a panel as it was, each of its weights less the zero point. */
static void expect_sums(const bounded_case *c, const bert_qgemm_args *args, int32_t *out) {
    for (int64_t row = 0; row < args->rows; row++)
        for (int64_t column = 0; column < BERT_QGEMM_COLUMNS; column++) {
            int32_t sum = 0;
            for (int64_t i = 0; i < c->steps * BERT_QGEMM_STEP; i++) {
                const int64_t at = column * BERT_QGEMM_STEP + i % BERT_QGEMM_STEP;
                sum +=
                    args->a[row * args->lda + i] * (c->original[i / BERT_QGEMM_STEP * STEP_BYTES + at] - c->zeros[at]);
            }
            out[row * BERT_QGEMM_COLUMNS + column] = sum;
        }
}

static void multiply_bounded(const bert_cpu_kernels *table, const bounded_case *c, int64_t rows, bool greatest) {
    const int64_t depth = c->steps * BERT_QGEMM_STEP, lda = depth + rows % 2 * 4;
    const size_t bytes = (size_t)((rows - 1) * lda + depth);
    const size_t sums = (size_t)(rows * BERT_QGEMM_COLUMNS) * sizeof(int32_t);
    bert_guarded memory[3];
    uint8_t *a = guarded_new(&memory[0], bytes);
    int32_t *y = guarded_new(&memory[1], sums), *expected = guarded_new(&memory[2], sums);
    uint32_t state = (uint32_t)rows;
    for (size_t i = 0; i < bytes; i++) a[i] = greatest ? 255 : (uint8_t)next_random(&state);
    const bert_qgemm_args args = {.c = y,
                                  .a = a,
                                  .b = c->panel,
                                  .lda = lda,
                                  .rows = rows,
                                  .steps = c->steps,
                                  .bounds = &c->bounds,
                                  .excess = c->excess};
    expect_sums(c, &args, expected);
    bert_cpu_enter(table);
    table->qgemm(&args);
    bert_cpu_exit(table);
    assert_memory_equal(y, expected, sums);
    for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
}

void test_qgemm_bounded(const bert_cpu_kernels *table) {
    static const int64_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 23, 64};
    for (int kind = 0; kind < WEIGHT_KINDS; kind++) {
        for (int at = 0; at < STEPS_TESTED; at++) {
            bounded_case c;
            make_case(&c, steps_tested[at], kind);
            if (bound_case(&c, &bert_cpu_kernels_scalar))
                for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) multiply_bounded(table, &c, rows[i], i % 2);
            free_case(&c);
        }
    }
}
