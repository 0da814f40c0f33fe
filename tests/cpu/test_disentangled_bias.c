/*
 * DisentangledBias of the CPU backend against the reference implementation: shapes that end beside a block, a tile or a
 * vector, indices as DeBERTa has them and without any order, on one thread and several.
 */
#include "tests/cpu/node_case.h"

#include "core/base/float16.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FLOATS = 1 << 18, MOST_INDICES = 1 << 17, CASES = 250, BOTH = 3 };

static float q[MOST_FLOATS], k[MOST_FLOATS], keys[MOST_FLOATS], queries[MOST_FLOATS];
static int64_t c2p[MOST_INDICES], p2c[MOST_INDICES];
static int32_t narrow_c2p[MOST_INDICES], narrow_p2c[MOST_INDICES];

static int fill(void **state) {
    node_open(state);
    node_case_seed(5);
    for (int i = 0; i < MOST_FLOATS; i++) {
        q[i] = (float)node_case_draw(-1000, 1000) / 1000.0F;
        k[i] = (float)node_case_draw(-1000, 1000) / 1000.0F;
        keys[i] = (float)node_case_draw(-1000, 1000) / 2000.0F;
        queries[i] = (float)node_case_draw(-1000, 1000) / 2000.0F;
    }
    return 0;
}

/* What indices are: of the distance of query and key, clipped at the ends, or in buckets that grow with it; the same
 * for all; anything; anything of the two ends. */
typedef enum index_order { DISTANCE, BUCKETS, ONE, ANY, ENDS, ORDERS } index_order;

typedef struct bias_case {
    int64_t batch, queries, keys, heads, width; /* width: of a head */
    int64_t key_positions, query_positions;
    index_order order;
    int terms;     /* bit 0: content to position, 1: the other way round */
    bool negative; /* every other index counts from the end */
    bool wide;     /* int64 */
} bias_case;

static int64_t draw_index(const bias_case *c, int64_t distance, int64_t positions) {
    int64_t at = distance + positions / 2;
    switch (c->order) {
    case ONE:
        return positions - 1;
    case ANY:
        return node_case_draw(0, positions - 1);
    case ENDS:
        return node_case_draw(0, 1) ? positions - 1 : 0;
    case BUCKETS:
        if (distance > 8 || distance < -8) at = positions / 2 + (distance < 0 ? -1 : 1) * (4 + llabs(distance) / 2);
        break;
    default:
        break;
    }
    return at < 0 ? 0 : at < positions ? at : positions - 1;
}

static void fill_indices(const bias_case *c) {
    for (int64_t i = 0; i < c->queries; i++) {
        for (int64_t j = 0; j < c->keys; j++) {
            const int64_t at = i * c->keys + j, other = j * c->queries + i;
            c2p[at] = draw_index(c, i - j, c->key_positions);
            p2c[other] = draw_index(c, i - j, c->query_positions);
            if (c->negative && at % 2) c2p[at] -= c->key_positions;
            if (c->negative && other % 2) p2c[other] -= c->query_positions;
        }
    }
    for (int64_t i = 0; i < c->queries * c->keys; i++) {
        narrow_c2p[i] = (int32_t)c2p[i];
        narrow_p2c[i] = (int32_t)p2c[i];
    }
}

static void add_term(const bias_case *c, int term, int64_t positions) {
    const int64_t rows = term ? c->keys : c->queries, columns = term ? c->queries : c->keys;
    if (!(c->terms >> term & 1)) {
        node_case_absent();
        node_case_absent();
        return;
    }
    node_case_input(BERT_FLOAT, 3, (int64_t[]){1, positions, c->heads * c->width}, term ? queries : keys);
    if (c->wide)
        node_case_input(BERT_INT64, 2, (int64_t[]){rows, columns}, term ? p2c : c2p);
    else
        node_case_input(BERT_INT32, 2, (int64_t[]){rows, columns}, term ? narrow_p2c : narrow_c2p);
}

/* Begins the node over the indices as they are. */
static void begin(const bias_case *c, int threads) {
    const int64_t hidden = c->heads * c->width;
    assert_true(c->batch * c->queries * hidden <= MOST_FLOATS && c->batch * c->keys * hidden <= MOST_FLOATS);
    assert_true(c->key_positions * hidden <= MOST_FLOATS && c->query_positions * hidden <= MOST_FLOATS);
    assert_true(c->queries * c->keys <= MOST_INDICES);
    node_backend_threads(threads);
    node_case_begin(BERT_OP_BERTC_DisentangledBias);
    node_case_int("heads", c->heads);
    node_case_float("scale", 0.3F);
    node_case_input(BERT_FLOAT, 3, (int64_t[]){c->batch, c->queries, hidden}, q);
    node_case_input(BERT_FLOAT, 3, (int64_t[]){c->batch, c->keys, hidden}, k);
    if (c->terms) { /* of none there are two inputs */
        add_term(c, 0, c->key_positions);
        add_term(c, 1, c->query_positions);
    }
    node_case_output(4, (int64_t[]){c->batch, c->heads, c->queries, c->keys});
}

static void compare(const bias_case *c, int threads) {
    fill_indices(c);
    begin(c, threads);
    node_case_compare(1e-5F);
    assert_string_equal(node_case_kernel(), "disentangled_bias/cpu");
}

static const int64_t sizes[] = {1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49};
enum { SIZES = sizeof sizes / sizeof *sizes };

static int64_t draw_size(void) {
    return sizes[node_case_draw(0, SIZES - 1)];
}

static void any_shape_agrees_with_the_reference(void **state) {
    static const int64_t widths[] = {1, 3, 8, 17, 64, 64};
    for (int at = 0; at < CASES; at++) {
        const bias_case c = {.batch = node_case_draw(1, 2),
                             .queries = draw_size(),
                             .keys = draw_size(),
                             .heads = node_case_draw(1, 3),
                             .width = widths[node_case_draw(0, 5)],
                             .key_positions = node_case_draw(1, 120),
                             .query_positions = node_case_draw(1, 120),
                             .order = (index_order)node_case_draw(0, ORDERS - 1),
                             .terms = at % 8 ? (int)node_case_draw(1, BOTH) : at / 8 % 4,
                             .negative = node_case_draw(0, 1),
                             .wide = node_case_draw(0, 1)};
        compare(&c, 1 + at % 3);
    }
}

/* As DeBERTa has them: the same number of queries and keys, positions for either of twice as many distances. */
static void relative_positions_agree_with_the_reference(void **state) {
    for (int at = 0; at < SIZES; at++) {
        bias_case c = {.batch = 1, .queries = sizes[at], .keys = sizes[at], .heads = 2, .width = 64, .wide = true};
        c.key_positions = c.query_positions = 2 * sizes[at];
        c.terms = BOTH;
        compare(&c, 1 + at % 3);
        c.order = BUCKETS;
        c.key_positions = c.query_positions = sizes[at];
        compare(&c, 1);
    }
}

/* More rows or columns than a tile has, of y and of either term. */
static void several_tiles_agree_with_the_reference(void **state) {
    static const int64_t shapes[][2] = {{255, 5}, {256, 17}, {257, 3}, {5, 257}, {16, 300}, {513, 2}, {270, 290}};
    for (size_t at = 0; at < sizeof shapes / sizeof *shapes; at++) {
        bias_case c = {.batch = 1, .queries = shapes[at][0], .keys = shapes[at][1], .heads = 2, .width = 5};
        c.key_positions = 600;
        c.query_positions = 333;
        for (c.terms = 1; c.terms <= BOTH; c.terms++) compare(&c, 1 + (int)at % 3);
        c.terms = BOTH;
        c.order = ANY;
        compare(&c, 2);
    }
}

/* Windows wider than a product are cut. */
static void wide_windows_agree_with_the_reference(void **state) {
    static const int64_t positions[] = {511, 512, 513, 528, 1024, 1025, 1700};
    for (size_t at = 0; at < sizeof positions / sizeof *positions; at++) {
        bias_case c = {.batch = 2, .queries = 20, .keys = 37, .heads = 2, .width = 19, .terms = BOTH};
        c.key_positions = positions[at];
        c.query_positions = positions[6 - at];
        for (c.order = ANY; c.order <= ENDS; c.order++) compare(&c, 1 + (int)at % 3);
    }
}

/* NaNs between the positions that are named, and beside them. */
static void positions_without_an_index_are_not_seen(void **state) {
    bias_case c = {.batch = 1, .queries = 24, .keys = 24, .heads = 1, .width = 8, .order = ENDS, .terms = BOTH};
    static float before[64 * 8];
    c.key_positions = c.query_positions = 32;
    memcpy(before, keys, sizeof before);
    for (int64_t i = 0; i < 64 * 8; i++)
        if (i / 8 != 0 && i / 8 != 31) keys[i] = queries[i] = NAN;
    fill_indices(&c);
    begin(&c, 1);
    const float *y = node_case_run();
    for (int i = 0; i < 24 * 24; i++) assert_true(isfinite(y[i]));
    node_case_compare(1e-5F);
    for (int64_t i = 0; i < 64 * 8; i++) {
        keys[i] = before[i];
        queries[i] = before[64 * 8 - 1 - i];
    }
}

static void what_is_empty_agrees_with_the_reference(void **state) {
    const bias_case plain = {.batch = 2,
                             .queries = 3,
                             .keys = 4,
                             .heads = 2,
                             .width = 3,
                             .key_positions = 5,
                             .query_positions = 6,
                             .terms = BOTH};
    for (int empty = 0; empty < 4; empty++) {
        bias_case c = plain;
        if (empty == 0) c.batch = 0;
        if (empty == 1) c.queries = 0;
        if (empty == 2) c.keys = 0;
        if (empty == 3) c.width = 0; /* sums of nothing */
        compare(&c, 2);
        c.terms = 0;
        compare(&c, 2);
    }
    bias_case nowhere = plain; /* no indices, and no positions that they could name */
    nowhere.queries = nowhere.key_positions = nowhere.query_positions = 0;
    compare(&nowhere, 1);
}

static void expect_outside(const bias_case *c, int term, int64_t at, int64_t index, int threads) {
    char text[160];
    const int64_t positions = term ? c->query_positions : c->key_positions;
    fill_indices(c);
    (term ? p2c : c2p)[at] = index;
    (term ? narrow_p2c : narrow_c2p)[at] = (int32_t)index;
    begin(c, threads);
    snprintf(text, sizeof text, "index %lld, element %lld of input %d, is outside the %lld positions", (long long)index,
             (long long)at, term ? 5 : 3, (long long)positions);
    node_case_expect_fails(BERT_INVALID_INPUT, text);
}

static void indices_outside_are_named(void **state) {
    bias_case c = {.batch = 1, .queries = 33, .keys = 260, .heads = 1, .width = 2, .terms = BOTH};
    c.key_positions = 40;
    c.query_positions = 50;
    const int64_t places[] = {0, 16 * 33 + 5, 33 * 260 - 1};
    for (int at = 0; at < 3; at++) {
        for (int term = 0; term < 2; term++) {
            const int64_t count = term ? c.query_positions : c.key_positions;
            const int64_t narrow[] = {count, -count - 1, INT32_MAX, INT32_MIN};
            const int64_t wide[] = {
                count, -count - 1, INT64_MAX, INT64_MIN, (INT64_C(1) << 32) + 1, INT64_C(-1) - UINT32_MAX};
            c.wide = false;
            for (int i = 0; i < 4; i++) expect_outside(&c, term, places[at], narrow[i], 1 + at);
            c.wide = true;
            for (int i = 0; i < 6; i++) expect_outside(&c, term, places[at], wide[i], 1 + at);
        }
    }
    c.key_positions = 0; /* any index */
    c.terms = 1;
    for (int wide = 0; wide < 2; wide++) {
        c.wide = wide;
        memset(c2p, 0, sizeof c2p);
        memset(narrow_c2p, 0, sizeof narrow_c2p);
        begin(&c, 2);
        node_case_expect_fails(BERT_INVALID_INPUT, "index 0, element 0 of input 3, is outside the 0 positions");
    }
}

/* A sequence has the same bits alone and in a batch, on any number of threads. */
static void bits_depend_on_nothing_else(void **state) {
    for (int order = 0; order < ORDERS; order++) {
        bias_case c = {.batch = 3, .queries = 70, .keys = 300, .heads = 2, .width = 33, .terms = BOTH};
        c.key_positions = 370;
        c.query_positions = 700;
        c.order = (index_order)order;
        fill_indices(&c);
        const size_t elements = (size_t)(c.batch * c.heads * c.queries * c.keys);
        float *whole = malloc(elements * sizeof *whole);
        assert_non_null(whole);
        begin(&c, 3);
        memcpy(whole, node_case_run(), elements * sizeof *whole);
        begin(&c, 1);
        assert_memory_equal(whole, node_case_run(), elements * sizeof *whole);
        c.batch = 1;
        begin(&c, 2);
        assert_memory_equal(whole, node_case_run(), elements / 3 * sizeof *whole);
        free(whole);
    }
}

/* float16 between conversions; double, and more positions than places are counted for, are the fallback's. */
static void other_types_are_converted_or_left(void **state) {
    static uint16_t half[3][48];
    static const int64_t x[] = {1, 4, 12}, rows[] = {1, 4, 12}, indices[] = {4, 4}, y[] = {1, 2, 4, 4};
    static const int64_t vast[] = {1, (INT64_C(1) << 30) + 1, 0}, nothing[] = {1, 4, 0};
    static const double doubles[48];
    static const int32_t zeros[16];
    for (int i = 0; i < 48; i++) {
        half[0][i] = bert_float_to_half(q[i]);
        half[1][i] = bert_float_to_half(k[i]);
        half[2][i] = bert_float_to_half(keys[i]);
    }
    node_backend_threads(2);
    node_case_begin(BERT_OP_BERTC_DisentangledBias);
    node_case_int("heads", 2);
    node_case_input(BERT_FLOAT16, 3, x, half[0]);
    node_case_input(BERT_FLOAT16, 3, x, half[1]);
    node_case_constant_of(BERT_FLOAT16, 3, rows, half[2]);
    node_case_input(BERT_INT32, 2, indices, zeros);
    node_case_output_of(BERT_FLOAT16, 4, y);
    node_case_compare(1e-3F);
    assert_string_equal(node_case_kernel(), "disentangled_bias/cpu/float16");
    for (int left = 0; left < 2; left++) {
        const bert_dtype dtype = left ? BERT_FLOAT : BERT_DOUBLE;
        node_case_begin(BERT_OP_BERTC_DisentangledBias);
        node_case_int("heads", 2);
        node_case_input(dtype, 3, left ? nothing : x, doubles);
        node_case_input(dtype, 3, left ? nothing : x, doubles);
        node_case_input(dtype, 3, left ? vast : rows, doubles);
        node_case_input(BERT_INT32, 2, indices, zeros);
        node_case_output_of(dtype, 4, y);
        node_case_expect_left();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_shape_agrees_with_the_reference),
        cmocka_unit_test(relative_positions_agree_with_the_reference),
        cmocka_unit_test(several_tiles_agree_with_the_reference),
        cmocka_unit_test(wide_windows_agree_with_the_reference),
        cmocka_unit_test(positions_without_an_index_are_not_seen),
        cmocka_unit_test(what_is_empty_agrees_with_the_reference),
        cmocka_unit_test(indices_outside_are_named),
        cmocka_unit_test(bits_depend_on_nothing_else),
        cmocka_unit_test(other_types_are_converted_or_left),
    };
    return node_run_tests(tests, sizeof tests / sizeof *tests, fill, false);
}
