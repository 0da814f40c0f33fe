#include "bench/kernels/byte_cases.h"

#include "cpu/gemm/bounded.h"

#include <stdlib.h>
#include <string.h>

enum { STEP_BYTES = BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP };
static const int8_t no_zeros[STEP_BYTES];

void lab_fill_weights(int8_t *out, int64_t count, uint32_t seed) {
    uint32_t state = seed * 2654435761U + 99U;
    for (int64_t i = 0; i < count; i++) {
        int sum = 0;
        for (int j = 0; j < 4; j++) {
            state = state * 1664525U + 1013904223U;
            sum += (int)((state >> 8) % 44);
        }
        out[i] = (int8_t)(sum - 86);
    }
}

/* ---- Bounds ------------------------------------------------------------------------------------------------------ */

static size_t most_bytes(int64_t steps) {
    return (size_t)((steps + 1) / 2 * BERT_QGEMM_EXCESS_GROUPS * 2);
}

/* What panel `at` is to have; its excess follows that of the panel before. */
static void count_panel(const int8_t *panel, int64_t steps, uint8_t *most, int32_t before, bert_qgemm_bounds *out) {
    bert_cpu_kernels_scalar.measure_excess(&(bert_measure_excess_args){most, panel, no_zeros, steps});
    out->bounded = bert_qgemm_count_excess(most, steps, out->first + 1);
    if (!out->bounded) memset(out, 0, sizeof *out);
    out->first[0] = before;
    for (int group = 0; group < BERT_QGEMM_EXCESS_GROUPS; group++) out->first[group + 1] += out->first[group];
}

bool lab_bound_panels(int8_t *panels, int64_t count, int64_t steps, lab_bounded *out) {
    const size_t bytes = most_bytes(steps);
    uint8_t *most = lab_allocate((size_t)count * bytes);
    *out = (lab_bounded){.bounds = lab_allocate((size_t)count * sizeof *out->bounds)};
    int32_t pairs = 0;
    for (int64_t at = 0; most && out->bounds && at < count; at++) {
        count_panel(panels + at * steps * STEP_BYTES, steps, most + (size_t)at * bytes, pairs, &out->bounds[at]);
        pairs = out->bounds[at].first[BERT_QGEMM_EXCESS_GROUPS];
    }
    out->excess = lab_allocate((size_t)pairs * sizeof *out->excess);
    const bool done = most && out->bounds && out->excess;
    for (int64_t at = 0; done && at < count; at++)
        if (out->bounds[at].bounded)
            bert_qgemm_bound(panels + at * steps * STEP_BYTES, steps, no_zeros, most + (size_t)at * bytes,
                             &out->bounds[at], out->excess);
    free(most);
    return done;
}

void lab_free_bounded(lab_bounded *bounded) {
    free(bounded->bounds);
    free(bounded->excess);
    *bounded = (lab_bounded){0};
}

/* ---- Cases ------------------------------------------------------------------------------------------------------- */

/* x, a panel, the same bounded, its bounds, its excess. */
enum { X, PANEL, BOUNDED, BOUNDS, EXCESS };

static bool add_weights(const lab_shape *s, lab_buffers *b, int index) {
    b->inputs[index] = lab_allocate((size_t)(s->k * BERT_QGEMM_COLUMNS));
    if (b->inputs[index]) lab_fill_weights(b->inputs[index], s->k * BERT_QGEMM_COLUMNS, 1);
    return b->inputs[index] != NULL;
}

bool lab_prepare_qgemm(const lab_shape *s, lab_buffers *b) {
    if (!lab_add_bytes(b, X, s->m * s->k) || !add_weights(s, b, PANEL) || !add_weights(s, b, BOUNDED)) return false;
    lab_bounded bounded;
    const bool done = lab_bound_panels(b->inputs[BOUNDED], 1, s->k / BERT_QGEMM_STEP, &bounded);
    b->inputs[BOUNDS] = bounded.bounds;
    b->inputs[EXCESS] = bounded.excess;
    return done && lab_set_output(b, (size_t)(s->m * BERT_QGEMM_COLUMNS) * sizeof(int32_t));
}

void lab_call_qgemm(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    const bert_qgemm_bounds *bounds = b->inputs[BOUNDS];
    const bool bounded = table->bounded_panels && bounds->bounded;
    table->qgemm(&(bert_qgemm_args){.c = b->out,
                                    .a = b->inputs[X],
                                    .b = b->inputs[bounded ? BOUNDED : PANEL],
                                    .lda = s->k,
                                    .rows = s->m,
                                    .steps = s->k / BERT_QGEMM_STEP,
                                    .bounds = bounded ? bounds : NULL,
                                    .excess = bounded ? b->inputs[EXCESS] : NULL});
}

/* A row is a step of k. */
bool lab_prepare_measure_excess(const lab_shape *s, lab_buffers *b) {
    b->inputs[0] = lab_allocate((size_t)(s->m * STEP_BYTES));
    if (b->inputs[0]) lab_fill_weights(b->inputs[0], s->m * STEP_BYTES, 1);
    return b->inputs[0] && lab_set_output(b, most_bytes(s->m));
}

void lab_call_measure_excess(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->measure_excess(
        &(bert_measure_excess_args){.most = b->out, .b = b->inputs[0], .zeros = no_zeros, .steps = s->m});
}

double lab_measure_excess_work(const lab_shape *s) {
    return (double)s->m * STEP_BYTES;
}
