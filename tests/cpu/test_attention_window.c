/*
 * Attention in windows: the keys that queries look at, and on the CPU backend that leaving out the others gives what
 * the reference implementation gives, and the bits that all keys give. Runs for each instruction set that this machine
 * has.
 */
#include "core/graph/canonical.h"
#include "cpu/ops/attention_window.h"
#include "tests/cpu/node_case.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})
enum { HEADS = 2, WIDTH = 8, HIDDEN = HEADS * WIDTH, MOST = 700, BATCH = 3 };

/* ---- Which keys are looked at ------------------------------------------------------------------------------------ */

enum { ROWS = 24, KEYS = 333 };
static float unit_bias[ROWS * KEYS];
static unsigned char unit_mask[ROWS * KEYS];

/* Row r keeps keys [first + r, end + r) of those that there are. */
static void keep(int64_t first, int64_t end, float dropped) {
    for (int64_t i = 0; i < ROWS * KEYS; i++) {
        const int64_t key = i % KEYS - i / KEYS;
        const bool kept = key >= first && key < end;
        unit_bias[i] = kept ? -2.0F : dropped;
        unit_mask[i] = kept;
    }
}

static bert_attention_args unit_args(bool biased, bool masked, float mask_value) {
    return (bert_attention_args){.rows = ROWS,
                                 .n = KEYS,
                                 .bias = biased ? unit_bias : NULL,
                                 .bias_row_stride = KEYS,
                                 .bias_stride = 1,
                                 .mask = masked ? unit_mask : NULL,
                                 .mask_row_stride = KEYS,
                                 .mask_stride = 1,
                                 .mask_value = mask_value};
}

static void expect_window(const bert_attention_args *args, int64_t step, int64_t first, int64_t end) {
    const bert_attention_window found = bert_attention_window_of(args, step);
    if (found.first == first && found.end == end) return;
    fail_msg("keys [%lld, %lld) are looked at, expected [%lld, %lld)", (long long)found.first, (long long)found.end,
             (long long)first, (long long)end);
}

/* By float, bool or both: [first, end) where the window begins and ends at multiples of 16. */
static void expect_windows(int64_t first, int64_t end) {
    for (int form = 1; form < 4; form++) {
        const bert_attention_args args = unit_args(form & 1, form & 2, -INFINITY);
        expect_window(&args, 16, first, end);
        const int64_t whole = (end + 95) / 96 * 96;
        expect_window(&args, 96, first / 96 * 96, whole < KEYS ? whole : KEYS);
    }
}

static void windows_are_found_from_both_ends(void **state) {
    static const float drops[] = {-INFINITY, -FLT_MAX, -1e30F};
    for (int i = 0; i < 3; i++) {
        keep(0, 40, drops[i]);
        expect_windows(0, 64); /* the last row's end is 63 */
        keep(100, 101, drops[i]);
        expect_windows(96, 128);
        keep(112, 121, drops[i]);
        expect_windows(112, 144);
        keep(111, 122, drops[i]);
        expect_windows(96, 160);
        keep(-64, 65, drops[i]);
        expect_windows(0, 96);
        keep(200, KEYS, drops[i]);
        expect_windows(192, KEYS);
        keep(297, 298, drops[i]);
        expect_windows(288, KEYS); /* the last row's end is 321 */
        keep(296, 297, drops[i]);
        expect_windows(288, 320);
        keep(0, KEYS, drops[i]);
        expect_windows(0, KEYS);
    }
    keep(100, 101, -9e29F); /* nothing is dropped for certain */
    bert_attention_args args = unit_args(true, false, -INFINITY);
    expect_window(&args, 16, 0, KEYS);
    args = unit_args(false, true, -10000.0F);
    expect_window(&args, 16, 0, KEYS);
    args = unit_args(true, true, -10000.0F);
    expect_window(&args, 16, 0, KEYS);
}

/* One key that isn't dropped, in any row and place, is in the window. */
static void no_key_is_left_out(void **state) {
    for (int64_t row = 0; row < ROWS; row += 5) {
        for (int64_t key = 0; key < KEYS; key += 7) {
            keep(150, 160, -INFINITY);
            unit_bias[row * KEYS + key] = NAN;
            unit_mask[row * KEYS + key] = 1;
            for (int form = 1; form < 4; form++) {
                const bert_attention_args args = unit_args(form & 1, form & 2, -INFINITY);
                const int64_t end = (key / 16 + 1) * 16;
                expect_window(&args, 16, key < 144 ? key / 16 * 16 : 144, end < 192 ? 192 : end < KEYS ? end : KEYS);
            }
        }
    }
}

static void a_row_that_counts_no_key_for_certain_looks_at_all(void **state) {
    static const float others[] = {-INFINITY, -FLT_MAX, -1001.0F, NAN};
    for (int i = 0; i < 4; i++) {
        for (int64_t row = 0; row < ROWS; row += 23) {
            keep(100, 140, -INFINITY);
            for (int64_t key = 100; key < 140 + ROWS; key++) {
                unit_bias[row * KEYS + key] = others[i];
                unit_mask[row * KEYS + key] = 0;
            }
            bert_attention_args args = unit_args(true, false, -INFINITY);
            expect_window(&args, 16, 0, KEYS);
            args = unit_args(false, true, -INFINITY);
            expect_window(&args, 16, 0, KEYS);
            unit_bias[row * KEYS + 120] = -1000.0F; /* one is enough, where it isn't masked */
            args = unit_args(true, true, -INFINITY);
            expect_window(&args, 16, 0, KEYS);
            unit_mask[row * KEYS + 120] = 1;
            expect_window(&args, 16, 96, 176);
        }
    }
}

/* A mask of keys alone beside a bias by row, and one element for a whole row. */
static void what_rows_or_keys_share_counts_for_all(void **state) {
    keep(100, 140, -INFINITY);
    memset(unit_mask, 1, KEYS);
    memset(unit_mask + 150, 0, KEYS - 150);
    bert_attention_args args = unit_args(true, true, -INFINITY);
    args.mask_row_stride = 0;
    expect_window(&args, 16, 96, 160);
    for (int i = 0; i < ROWS; i++) unit_bias[i] = 0.0F;
    args.bias_row_stride = 1;
    args.bias_stride = 0;
    expect_window(&args, 16, 0, 160);
    unit_bias[3] = -INFINITY;
    expect_window(&args, 16, 0, KEYS);
}

/* One element for a whole row, without the other tensor: what follows it is other rows'. */
static void rows_of_one_element_drop_nothing(void **state) {
    keep(100, 140, -INFINITY);
    for (int i = 0; i < ROWS; i++) {
        unit_bias[i] = 0.0F;
        unit_mask[i] = 1;
    }
    for (int form = 1; form < 3; form++) {
        bert_attention_args args = unit_args(form & 1, form & 2, -INFINITY);
        args.bias_row_stride = args.mask_row_stride = 1;
        args.bias_stride = args.mask_stride = 0;
        args.n = 320;
        expect_window(&args, 16, 0, 320);
    }
}

/* The mask's value takes the place of a score, its bias included. */
static void a_masked_key_is_not_dropped_by_its_bias(void **state) {
    keep(100, 140, -INFINITY);
    const bert_attention_args args = unit_args(true, true, -10000.0F);
    expect_window(&args, 16, 0, KEYS);
}

/* ---- Attention --------------------------------------------------------------------------------------------------- */

static float x[3][BATCH * MOST * 3 * HIDDEN], angles[2][MOST * WIDTH];
static float biases[HEADS * MOST * MOST];
static unsigned char masks[HEADS * MOST * MOST];

/* How a case drops keys, and what else it has. */
enum { BY_BIAS = 1, BY_MASK = 2, BY_HEAD = 4, PACKED = 8, ROTATED = 16, ZERO = 32 };

typedef struct window_case {
    int64_t batch, queries, keys;
    int64_t before, after;   /* a query keeps so many keys before and after its own place */
    int64_t length;          /* and of those alone that are below it */
    int64_t nothing, period; /* every so many queries from `nothing` on have no key at all; 0: none */
    float dropped;           /* a bias, and the mask's value */
} window_case;

static void fill_masks(const window_case *c, int variant) {
    const int64_t heads = variant & BY_HEAD ? HEADS : 1;
    assert_true(heads * c->queries * c->keys <= HEADS * MOST * MOST);
    for (int64_t i = 0; i < heads * c->queries * c->keys; i++) {
        const int64_t key = i % c->keys, query = i / c->keys % c->queries, head = i / c->keys / c->queries;
        const bool empty = c->period > 0 && query >= c->nothing && (query - c->nothing) % c->period == 0;
        /* Heads look at other places. */
        const bool kept =
            key >= query - c->before + 50 * head && key <= query + c->after + 50 * head && key < c->length && !empty;
        biases[i] = kept ? (float)(i % 7) * 0.25F : c->dropped;
        masks[i] = kept;
    }
}

static void begin(const window_case *c, int variant) {
    const int64_t columns = variant & PACKED ? 3 * HIDDEN : HIDDEN, heads = variant & BY_HEAD ? HEADS : 1;
    fill_masks(c, variant);
    node_case_begin(BERT_OP_BERTC_Attention);
    node_case_int("heads", HEADS);
    node_case_int("packed", (variant & PACKED) != 0);
    node_case_float("scale", 0.4F);
    node_case_float("mask_value", c->dropped);
    node_case_string("masked_rows", variant & ZERO ? "zero" : "nan");
    node_case_input(BERT_FLOAT, 3, DIMS(c->batch, c->queries, columns), x[0]);
    for (int i = 1; i < 3; i++) {
        if (variant & PACKED)
            node_case_absent();
        else
            node_case_input(BERT_FLOAT, 3, DIMS(c->batch, c->keys, HIDDEN), x[i]);
    }
    if (variant & BY_BIAS)
        node_case_input(BERT_FLOAT, 4, DIMS(1, heads, c->queries, c->keys), biases);
    else
        node_case_absent();
    if (variant & BY_MASK)
        node_case_input(BERT_BOOL, 4, DIMS(1, heads, c->queries, c->keys), masks);
    else
        node_case_absent();
    for (int i = 0; i < 2; i++) {
        if (variant & ROTATED)
            node_case_input(BERT_FLOAT, 3, DIMS(1, c->keys, WIDTH), angles[i]);
        else
            node_case_absent();
    }
    node_case_output(3, DIMS(c->batch, c->queries, HIDDEN));
}

static void windows_agree_with_the_reference(void **state) {
    static const window_case cases[] = {
        {1, 128, 128, 64, 64, 128, 0, 0, -FLT_MAX},   {2, 129, 129, 0, 0, 129, 0, 0, -INFINITY},
        {1, 300, 300, 64, 64, 300, 0, 0, -FLT_MAX},   {2, 333, 333, 5, 9, 333, 0, 0, -INFINITY},
        {1, 600, 600, 64, 64, 555, 0, 0, -FLT_MAX},   {1, 290, 290, 100, 0, 290, 0, 0, -1e30F},
        {1, 300, 300, 20, 20, 300, 49, 97, -FLT_MAX}, {1, 300, 300, 20, 20, 300, 0, 31, -INFINITY},
        {1, 300, 300, 20, 20, 200, 0, 0, -FLT_MAX},   {1, 300, 300, 64, 64, 300, 0, 0, -10000.0F},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int form = 1; form < 4; form++) {
            const int at = (int)i * 3 + form;
            node_backend_threads(at % 3 + 1);
            begin(&cases[i], form | (at % 2 ? BY_HEAD : 0) | (at % 3 ? PACKED : 0) | (at % 4 ? 0 : ROTATED) |
                                 (at % 5 > 2 ? ZERO : 0));
            node_case_compare(1e-5F);
        }
    }
    /* Fewer queries than keys, and more. */
    const window_case fewer = {2, 50, 400, 30, 90, 400, 0, 0, -INFINITY};
    const window_case more = {2, 260, 140, 30, 90, 140, 200, 1, -FLT_MAX};
    begin(&fewer, BY_BIAS);
    node_case_compare(1e-5F);
    begin(&more, BY_MASK | BY_HEAD);
    node_case_compare(1e-5F);
}

/* Sequences look at other places by a mask of their own, heads by a bias of theirs. */
static void each_sequence_and_head_has_its_windows(void **state) {
    enum { LENGTH = 260, MASKED = LENGTH * LENGTH };
    assert_true(BATCH * MASKED <= HEADS * MOST * MOST);
    for (int form = 0; form < 3; form++) {
        const bool by_batch = form != 1, by_head = form != 0;
        const window_case c = {BATCH, LENGTH, LENGTH, 40, 40, LENGTH, 0, 0, -INFINITY};
        fill_masks(&c, BY_HEAD);
        for (int64_t i = 0; i < BATCH * MASKED; i++) {
            const int64_t key = i % LENGTH, query = i / LENGTH % LENGTH, place = query + i / MASKED * 30;
            masks[i] = key + 60 > place && key < place + 90;
        }
        node_case_begin(BERT_OP_BERTC_Attention);
        node_case_int("heads", HEADS);
        node_case_int("packed", 1);
        node_case_input(BERT_FLOAT, 3, DIMS(BATCH, LENGTH, 3 * HIDDEN), x[0]);
        node_case_absent();
        node_case_absent();
        if (by_head)
            node_case_input(BERT_FLOAT, 4, DIMS(1, HEADS, LENGTH, LENGTH), biases);
        else
            node_case_absent();
        node_case_input(BERT_BOOL, 4, DIMS(by_batch ? BATCH : 1, 1, LENGTH, LENGTH), masks);
        node_case_output(3, DIMS(BATCH, LENGTH, HIDDEN));
        node_case_compare(1e-5F);
    }
}

/* Biases of -1e29 drop keys as well, but aren't far enough down to leave them out: all keys are gone through. */
static void hold_bits(int variant, int64_t length) {
    static float expected[BATCH * MOST * HIDDEN];
    window_case c = {2, length, length, 64, 64, length, 0, 0, -1e29F};
    const size_t bytes = (size_t)(2 * length * HIDDEN) * sizeof *expected;
    node_backend_threads(1);
    begin(&c, variant);
    memcpy(expected, node_case_run(), bytes);
    c.dropped = -FLT_MAX;
    for (int threads = 1; threads < 4; threads++) {
        node_backend_threads(threads);
        begin(&c, variant);
        assert_memory_equal(node_case_run(), expected, bytes);
    }
    for (int64_t alone = 0; alone < 2; alone++) {
        const int64_t columns = variant & PACKED ? 3 * HIDDEN : HIDDEN;
        static float kept[3][MOST * 3 * HIDDEN];
        c.batch = 1;
        for (int i = 0; i < 3; i++) { /* the sequence becomes the first */
            memcpy(kept[i], x[i], sizeof kept[i]);
            memmove(x[i], x[i] + alone * length * columns, (size_t)(length * columns) * sizeof(float));
        }
        begin(&c, variant);
        for (int i = 0; i < 3; i++) memcpy(x[i], kept[i], sizeof kept[i]);
        assert_memory_equal(node_case_run(), expected + alone * length * HIDDEN, bytes / 2);
    }
}

static void windows_change_no_bit(void **state) {
    if (node_attention_by_openblas()) skip();
    for (int bf16 = 0; bf16 < 2; bf16++) {
        if (bf16 && !node_backend_bf16_attention(true)) continue;
        for (int form = 1; form < 4; form++) {
            hold_bits(form | PACKED, 600);
            hold_bits(form | BY_HEAD | ROTATED, 333);
        }
    }
    node_backend_bf16_attention(false);
}

/* What stands at a key that nobody looks at is not looked at: neither NaN nor infinity comes through. */
static void keys_outside_windows_are_left_alone(void **state) {
    enum { LENGTH = 600, FIRST = 5, LAST = 590 };
    const window_case c = {1, LENGTH, LENGTH, 64, 64, LENGTH, 0, 0, -INFINITY};
    float *values = x[2];
    const float first = values[FIRST * HIDDEN], last = values[LAST * HIDDEN];
    values[FIRST * HIDDEN] = NAN;
    values[LAST * HIDDEN] = INFINITY;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        if (bf16 && !node_backend_bf16_attention(true)) continue;
        for (int form = 1; form < 4; form++) {
            begin(&c, form);
            const float *y = node_case_run();
            assert_true(isnan(y[0]));
            assert_false(isfinite(y[LAST * HIDDEN]));
            /* Two blocks of queries, 64 keys and what the keys of a window are rounded by. */
            for (int64_t row = FIRST + 64 + 2 * 32 + 32; row < LAST - 64 - 32 - 32; row++)
                assert_true(isfinite(y[row * HIDDEN]));
        }
    }
    node_backend_bf16_attention(false);
    values[FIRST * HIDDEN] = first;
    values[LAST * HIDDEN] = last;
}

/* Infinity right behind windows: with more threads less of what is there is laid out. */
static void threads_change_no_bit_beside_infinity(void **state) {
    enum { LENGTH = 600 };
    static const int64_t keys[] = {212, 404};
    static float expected[LENGTH * HIDDEN];
    const window_case c = {1, LENGTH, LENGTH, 10, 10, LENGTH, 0, 0, -INFINITY};
    float kept[2], *values = x[2];
    for (int i = 0; i < 2; i++) {
        kept[i] = values[keys[i] * HIDDEN];
        values[keys[i] * HIDDEN] = INFINITY;
    }
    for (int bf16 = 0; bf16 < 2; bf16++) {
        if (bf16 && !node_backend_bf16_attention(true)) continue;
        for (int threads = 1; threads < 7; threads++) {
            node_backend_threads(threads);
            begin(&c, 1);
            const float *y = node_case_run();
            if (threads == 1) memcpy(expected, y, sizeof expected);
            assert_memory_equal(y, expected, sizeof expected);
        }
    }
    node_backend_bf16_attention(false);
    node_backend_threads(1);
    for (int i = 0; i < 2; i++) values[keys[i] * HIDDEN] = kept[i];
}

/* Rows without padding: sequences of other lengths, one that doesn't begin at its first token, one with a gap. */
static void windows_of_rows_without_padding_agree_with_the_reference(void **state) {
    enum { LENGTH = 300 };
    static const int64_t first[BATCH] = {0, 37, 20}, end[BATCH] = {300, 290, 170};
    static int32_t starts[BATCH + 1], tokens[BATCH * LENGTH];
    for (int gap = 0; gap < 2; gap++) {
        int32_t rows = 0;
        for (int b = 0; b < BATCH; b++) {
            starts[b] = rows;
            for (int64_t s = first[b]; s < end[b]; s++)
                if (!gap || b != 1 || s != 100) tokens[rows++] = (int32_t)(b * LENGTH + s);
        }
        starts[BATCH] = rows;
        for (int form = 1; form < 4; form++) {
            window_case c = {1, LENGTH, LENGTH, 30, 30, LENGTH, 0, 0, -FLT_MAX};
            node_backend_threads(form);
            fill_masks(&c, 0);
            node_case_begin(BERT_OP_BERTC_Attention);
            node_case_int("heads", HEADS);
            node_case_int("packed", 1);
            node_case_int("sequence", LENGTH);
            node_case_float("mask_value", c.dropped);
            node_case_input(BERT_FLOAT, 3, DIMS(1, rows, 3 * HIDDEN), x[0]);
            node_case_absent();
            node_case_absent();
            if (form & 1)
                node_case_input(BERT_FLOAT, 4, DIMS(1, 1, LENGTH, LENGTH), biases);
            else
                node_case_absent();
            if (form & 2)
                node_case_input(BERT_BOOL, 4, DIMS(1, 1, LENGTH, LENGTH), masks);
            else
                node_case_absent();
            for (int i = 0; i < 2; i++) node_case_input(BERT_FLOAT, 3, DIMS(1, LENGTH, WIDTH), angles[i]);
            node_case_input(BERT_INT32, 1, DIMS(BATCH + 1), starts);
            node_case_input(BERT_INT32, 1, DIMS(rows), tokens);
            node_case_output(3, DIMS(1, rows, HIDDEN));
            node_case_compare(1e-5F);
        }
    }
}

static int open_backend(void **state) {
    node_open(state);
    for (int i = 0; i < 3; i++) fill_random(x[i], BATCH * MOST * 3 * HIDDEN, 2.0F, (uint32_t)i + 1);
    for (int i = 0; i < 2; i++) fill_random(angles[i], MOST * WIDTH, 1.0F, (uint32_t)i + 7);
    return 0;
}

int main(void) {
    const struct CMUnitTest units[] = {
        cmocka_unit_test(windows_are_found_from_both_ends),
        cmocka_unit_test(no_key_is_left_out),
        cmocka_unit_test(a_row_that_counts_no_key_for_certain_looks_at_all),
        cmocka_unit_test(what_rows_or_keys_share_counts_for_all),
        cmocka_unit_test(rows_of_one_element_drop_nothing),
        cmocka_unit_test(a_masked_key_is_not_dropped_by_its_bias),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_agree_with_the_reference),
        cmocka_unit_test(each_sequence_and_head_has_its_windows),
        cmocka_unit_test(windows_change_no_bit),
        cmocka_unit_test(keys_outside_windows_are_left_alone),
        cmocka_unit_test(threads_change_no_bit_beside_infinity),
        cmocka_unit_test(windows_of_rows_without_padding_agree_with_the_reference),
    };
    return cmocka_run_group_tests(units, NULL, NULL) +
           node_run_tests(tests, sizeof tests / sizeof *tests, open_backend, false);
}
