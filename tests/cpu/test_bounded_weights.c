/*
 * Quantized weights for kernels that ask for bounded panels: the same weights as without bounds, from their constants
 * and from the store, whose bounds and excess are looked at before kernels follow them.
 */
#include "cpu/device.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEP_BYTES = BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP, GROUP_BYTES = STEP_BYTES / BERT_QGEMM_EXCESS_GROUPS };

/* ---- A store of at most two items -------------------------------------------------------------------------------- */

typedef struct item {
    char layout[40];
    void *data;
    size_t bytes;
} item;

typedef struct fake_store {
    bert_weight_store base;
    item *items; /* two */
    int *count, *packed;
} fake_store;

static const void *find(const bert_weight_store *base, const char *layout, const bert_constant *const *constants,
                        int32_t count, size_t bytes) {
    const fake_store *store = (const fake_store *)base;
    for (int i = 0; i < *store->count; i++)
        if (strcmp(store->items[i].layout, layout) == 0 && store->items[i].bytes == bytes) return store->items[i].data;
    return NULL;
}

static void packed(const bert_weight_store *base, const char *layout, const bert_constant *const *constants,
                   int32_t count, const void *data, size_t bytes) {
    const fake_store *store = (const fake_store *)base;
    (*store->packed)++;
    if (*store->count == 2) return;
    item *out = &store->items[(*store->count)++];
    snprintf(out->layout, sizeof out->layout, "%s", layout);
    out->bytes = bytes;
    out->data = malloc(bytes);
    assert_non_null(out->data);
    memcpy(out->data, data, bytes);
}

/* ---- A weight ---------------------------------------------------------------------------------------------------- */

enum { K = 131, PARTS = 2, PART_COLUMNS = 70, N = PARTS * PART_COLUMNS, PANELS = (N + 47) / 48 };

/* Two parts side by side, the first with a zero point, the second with one of each column. */
typedef struct parts {
    uint8_t values[PARTS][K * PART_COLUMNS], zeros[PARTS][PART_COLUMNS];
    float scales[PARTS];
    bert_constant constants[3 * PARTS];
    bert_quantized_source source;
} parts;

static void fill_parts(parts *p, bool transposed, bool uniform) {
    uint32_t state = 3;
    *p = (parts){.source = {.count = PARTS, .transposed = transposed}};
    for (int i = 0; i < PARTS; i++) {
        p->scales[i] = 0.5F;
        for (int j = 0; j < PART_COLUMNS; j++) p->zeros[i][j] = (uint8_t)(100 + 60 * i + j % 7 * i);
        for (int at = 0; at < K * PART_COLUMNS; at++) {
            int sum = -60;
            for (int j = 0; j < 4; j++) {
                state = state * 1664525U + 1013904223U;
                sum += (int)((state >> 8) % 31);
            }
            const int value = p->zeros[i][0] + (at % 1009 == 0 ? 3 * sum : sum);
            p->values[i][at] = (uint8_t)(uniform ? (int)(state >> 24) : value < 0 ? 0 : value > 255 ? 255 : value);
        }
        bert_constant *constants = &p->constants[3 * i];
        constants[0] = (bert_constant){.dtype = BERT_UINT8,
                                       .rank = 2,
                                       .dims = {transposed ? PART_COLUMNS : K, transposed ? K : PART_COLUMNS},
                                       .data = p->values[i],
                                       .bytes = sizeof p->values[i]};
        constants[1] = (bert_constant){
            .dtype = BERT_FLOAT, .data = (const unsigned char *)&p->scales[i], .bytes = sizeof p->scales[i]};
        constants[2] = (bert_constant){.dtype = BERT_UINT8, .rank = i, .dims = {PART_COLUMNS}, .data = p->zeros[i]};
        constants[2].bytes = i ? PART_COLUMNS : 1;
        for (int j = 0; j < 3; j++) constants[j].id = 3 * (uint64_t)i + (uint64_t)j + 1;
        p->source.weights[i] = &constants[0];
        p->source.scales[i] = &constants[1];
        p->source.zero_points[i] = &constants[2];
    }
}

/* ---- Packing ----------------------------------------------------------------------------------------------------- */

typedef struct backend {
    bert_host host;
    bert_device device;
    bert_prepared prepared;
    item items[2];
    int count, packed;
    fake_store store;
} backend;

static const bert_quantized_weight *pack(backend *b, const parts *p, bool bounded) {
    b->device = (bert_device){.host = &b->host, .kernels = bert_cpu_kernels_scalar};
    b->device.kernels.bounded_panels = bounded;
    b->store = (fake_store){.base = {find, packed}, .items = b->items, .count = &b->count, .packed = &b->packed};
    b->prepared = (bert_prepared){.device = &b->device, .store = &b->store.base};
    assert_int_equal(pthread_mutex_init(&b->prepared.mutex, NULL), 0);
    const bert_quantized_weight *weight = NULL;
    bert_error error;
    assert_int_equal(bert_cpu_pack_quantized(&b->prepared, NULL, &p->source, &weight, &error), BERT_OK);
    assert_non_null(weight);
    return weight;
}

/* What was packed; the store stays. */
static void free_packed(backend *b) {
    bert_cpu_free_quantized(&b->prepared);
    bert_weight_memory_free(&b->prepared.weight_memory, NULL);
    pthread_mutex_destroy(&b->prepared.mutex);
}

static void free_store(backend *b) {
    for (int i = 0; i < b->count; i++) free(b->items[i].data);
    b->count = 0;
}

static int whole_at(const bert_quantized_weight *w, int64_t row, int64_t column) {
    const int64_t panel = column / BERT_QGEMM_COLUMNS, step = row / BERT_QGEMM_STEP;
    const int64_t at = column % BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP + row % BERT_QGEMM_STEP;
    int sum = w->panels[(panel * w->steps + step) * STEP_BYTES + at] - w->zeros[column];
    if (!w->bounds || !w->bounds[panel].bounded) return sum;
    const int64_t group = at / GROUP_BYTES;
    for (int32_t i = 2 * w->bounds[panel].first[group]; i < 2 * w->bounds[panel].first[group + 1]; i++)
        if (w->excess[i / 2].steps[i % 2] == step) sum += w->excess[i / 2].weights[i % 2][at % GROUP_BYTES];
    return sum;
}

static void weights_are_the_same(const bert_quantized_weight *w, const bert_quantized_weight *plain) {
    assert_int_equal(w->n, N);
    for (int64_t column = 0; column < N; column++) {
        for (int64_t row = 0; row < K; row++) assert_int_equal(whole_at(w, row, column), whole_at(plain, row, column));
        assert_int_equal(w->offsets[column], plain->offsets[column]);
        assert_true(w->scales[column] == plain->scales[column]);
    }
}

static void bounds_change_no_weight(void **state) {
    for (int kind = 0; kind < 4; kind++) {
        const bool uniform = kind >= 2;
        parts *p = malloc(sizeof *p);
        assert_non_null(p);
        fill_parts(p, kind % 2, uniform);
        backend plain = {0}, bounded = {0};
        const bert_quantized_weight *expected = pack(&plain, p, false), *weight = pack(&bounded, p, true);
        assert_null(expected->bounds);
        assert_non_null(weight->bounds);
        assert_int_equal(weight->excess != NULL, !uniform);
        for (int panel = 0; panel < PANELS; panel++) assert_int_equal(weight->bounds[panel].bounded, !uniform);
        for (int column = 0; column < N && !uniform; column++) assert_int_equal(weight->zeros[column], 0);
        weights_are_the_same(weight, expected);
        assert_int_equal(bounded.count, uniform ? 1 : 2);
        free_packed(&plain);
        free_packed(&bounded);
        free_store(&plain);
        free_store(&bounded);
        free(p);
    }
}

/* Weights of no rows: there is nothing to bound, and what bounds there are say so. */
static void no_rows_have_bounds_of_nothing(void **state) {
    parts *p = malloc(sizeof *p);
    assert_non_null(p);
    fill_parts(p, false, false);
    for (int i = 0; i < PARTS; i++) p->constants[3 * i].dims[0] = 0, p->constants[3 * i].bytes = 0;
    backend b = {0};
    const bert_quantized_weight *weight = pack(&b, p, true);
    assert_int_equal(weight->steps, 0);
    for (int panel = 0; panel < PANELS; panel++) {
        assert_int_equal(weight->bounds[panel].bounded, 0);
        for (int i = 0; i <= BERT_QGEMM_EXCESS_GROUPS; i++) assert_int_equal(weight->bounds[panel].first[i], 0);
    }
    for (int column = 0; column < N; column++) assert_int_equal(weight->offsets[column], 0);
    free_packed(&b);
    free_store(&b);
    free(p);
}

/* The store has what was packed, but for `damage`: whether it is used, or packed anew. */
static void take_from_store(void (*damage)(backend *b, bert_qgemm_bounds *bounds, bert_qgemm_excess *excess),
                            bool used) {
    parts *p = malloc(sizeof *p);
    assert_non_null(p);
    fill_parts(p, false, false);
    backend plain = {0}, b = {0};
    const bert_quantized_weight *expected = pack(&plain, p, false), *weight = pack(&b, p, true);
    const size_t bounds_at = (size_t)((const char *)weight->bounds - (const char *)weight->panels);
    free_packed(&b);
    if (damage) damage(&b, (bert_qgemm_bounds *)(void *)((char *)b.items[0].data + bounds_at), b.items[1].data);
    b.packed = 0;
    weight = pack(&b, p, true);
    assert_int_equal(b.packed, used ? 0 : 2);
    assert_int_equal(weight->panels == b.items[0].data, used);
    assert_int_equal(weight->excess == b.items[1].data, used);
    weights_are_the_same(weight, expected);
    free_packed(&plain);
    free_packed(&b);
    free_store(&plain);
    free_store(&b);
    free(p);
}

static void a_step_beyond(backend *b, bert_qgemm_bounds *bounds, bert_qgemm_excess *excess) {
    excess[b->items[1].bytes / sizeof *excess - 1].steps[1] = (K + 3) / 4;
}
static void a_step_before(backend *b, bert_qgemm_bounds *bounds, bert_qgemm_excess *excess) {
    excess[0].steps[0] = -1;
}
static void bounds_that_go_back(backend *b, bert_qgemm_bounds *bounds, bert_qgemm_excess *excess) {
    bounds[1].first[3] = bounds[1].first[2] - 1;
}
static void a_gap_between_panels(backend *b, bert_qgemm_bounds *bounds, bert_qgemm_excess *excess) {
    bounds[1].first[0]++;
}
static void excess_of_a_panel_without(backend *b, bert_qgemm_bounds *bounds, bert_qgemm_excess *excess) {
    int panel = 0;
    while (bounds[panel].first[0] == bounds[panel].first[BERT_QGEMM_EXCESS_GROUPS]) panel++;
    bounds[panel].bounded = 0;
}
static void no_excess(backend *b, bert_qgemm_bounds *bounds, bert_qgemm_excess *excess) {
    b->items[1].layout[0] = 'x';
}

static void what_the_store_has_is_looked_at(void **state) {
    take_from_store(NULL, true);
    take_from_store(a_step_beyond, false);
    take_from_store(a_step_before, false);
    take_from_store(bounds_that_go_back, false);
    take_from_store(a_gap_between_panels, false);
    take_from_store(excess_of_a_panel_without, false);
    take_from_store(no_excess, false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_change_no_weight),
        cmocka_unit_test(no_rows_have_bounds_of_nothing),
        cmocka_unit_test(what_the_store_has_is_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
