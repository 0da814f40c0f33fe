/* Nodes at `--precision bf16`, which hand rows on as bfloat16 (node_case.c holds them to what the floats round to), and
 * how attention is computed by precision, length and determinism. */
#include "tests/cpu/node_case.h"

#include "core/graph/canonical.h"

#include <stdlib.h>
#include <string.h>

#define DIMS(...)                                                                                                      \
    (const int64_t[]) {                                                                                                \
        __VA_ARGS__                                                                                                    \
    }

/* Blocks of rows, and tasks of those that are rounded; an odd number of steps. */
enum { ROWS = 700, DEPTH = 69, MOST_WIDTH = 144 };
static float x[ROWS * 3 * MOST_WIDTH], weight[3 * MOST_WIDTH * DEPTH], bias[3 * MOST_WIDTH];

static bool in_bf16(void) {
    if (node_backend_precision(BERT_PRECISION_BF16, false)) return true;
    print_message("no bf16 here\n");
    return false;
}

static bool has_tiles(void) {
    const char *isa = getenv("BERT_CPU_ISA");
    return isa && strcmp(isa, "amx") == 0;
}

/* Whether products read x as bfloat16: with tiles, and where pairs are fast. */
static bool rounds_both_sides(void) {
    node_case_begin(BERT_OP_BERTC_Linear);
    node_case_input(BERT_FLOAT, 2, DIMS(1, DEPTH), x);
    node_case_absent();
    node_case_constant(2, DIMS(DEPTH, 1), weight);
    node_case_constant(1, DIMS(1), bias);
    node_case_output(2, DIMS(1, 1));
    node_case_run();
    const bool both = strcmp(node_case_kernel(), "linear/bf16") == 0;
    assert_true(both || !has_tiles());
    return both;
}

/* Rows go on as bfloat16 from and to such products. */
static void expect_rows(bool both, bool read) {
    assert_int_equal(node_case_x_bytes() > 0, both && read);
    assert_int_equal(node_case_y_bytes() > 0, both);
}

/* Columns that are no multiple of a panel's, and an odd number of them. */
static void linear_reads_and_writes_halves(void **state) {
    static const int64_t widths[] = {48, 47, 100, 144};
    if (!in_bf16()) return;
    const bool both = rounds_both_sides();
    for (int threads = 1; threads < 3; threads++) {
        node_backend_threads(threads);
        for (int i = 0; i < 4; i++) {
            for (int residual = 0; residual < 2; residual++) {
                node_case_begin(BERT_OP_BERTC_Linear);
                node_case_string("activation", residual ? "none" : "gelu");
                node_case_input(BERT_FLOAT, 2, DIMS(ROWS, DEPTH), x);
                if (residual)
                    node_case_input(BERT_FLOAT, 2, DIMS(ROWS, widths[i]), x);
                else
                    node_case_absent();
                node_case_constant(2, DIMS(DEPTH, widths[i]), weight);
                node_case_constant(1, DIMS(widths[i]), bias);
                node_case_output(2, DIMS(ROWS, widths[i]));
                node_case_compare(4e-2F);
                expect_rows(both, true);
            }
        }
    }
}

static void normalized_rows_are_written_as_halves(void **state) {
    if (!in_bf16()) return;
    const bool both = rounds_both_sides();
    for (int64_t width = 47; width < 50; width++) {
        node_case_begin(BERT_OP_BERTC_SkipLayerNormalization);
        for (int i = 0; i < 2; i++) node_case_input(BERT_FLOAT, 2, DIMS(ROWS, width), x + i);
        for (int i = 0; i < 2; i++) node_case_constant(1, DIMS(width), bias + i);
        node_case_output(2, DIMS(ROWS, width));
        node_case_compare(1e-5F);
        expect_rows(both, false);
    }
}

static void begin_attention(int64_t batch, int64_t tokens, int64_t heads, int64_t width) {
    node_case_begin(BERT_OP_BERTC_Attention);
    node_case_int("heads", heads);
    node_case_int("packed", 1);
    node_case_float("scale", 0.2F);
    node_case_input(BERT_FLOAT, 3, DIMS(batch, tokens, 3 * heads * width), x);
    node_case_output(3, DIMS(batch, tokens, heads * width));
}

static void heads_are_written_as_halves(void **state) {
    if (!in_bf16()) return;
    const bool both = rounds_both_sides();
    for (int threads = 1; threads < 4; threads++) {
        node_backend_threads(threads);
        begin_attention(2, 37, 3, 32);
        node_case_compare(3e-2F);
        expect_rows(both, false);
        begin_attention(1, 61, 3, 15); /* an odd number of elements */
        node_case_compare(3e-2F);
        expect_rows(both, false);
    }
}

static void expect_form(const char *name, int64_t tokens) {
    begin_attention(1, tokens, 1, 16);
    node_case_run();
    assert_string_equal(node_case_kernel(), name);
}

/* Products of tiles are what AMX has; which ones, the precision says, and the length. */
static void attention_has_the_form_of_its_precision(void **state) {
    const bool tiles = has_tiles();
    assert_true(node_backend_precision(BERT_PRECISION_FP32, false));
    expect_form("attention/cpu", 255);
    expect_form(tiles ? "attention/split" : "attention/cpu", 256);
    assert_true(node_backend_precision(BERT_PRECISION_FP32, true));
    expect_form("attention/cpu", 256);
    if (in_bf16()) expect_form(tiles ? "attention/bf16" : "attention/cpu", 16);
    if (in_bf16()) expect_form(tiles ? "attention/bf16" : "attention/cpu", 256);
    assert_true(node_backend_precision(BERT_PRECISION_FP32, false));
    if (node_backend_bf16_attention(true)) expect_form("attention/bf16", 16);
    node_backend_bf16_attention(false);
}

static int open_backend(void **state) {
    node_open(state);
    fill_random(x, sizeof x / sizeof *x, 1.0F, 1);
    fill_random(weight, sizeof weight / sizeof *weight, 0.5F, 2);
    fill_random(bias, sizeof bias / sizeof *bias, 1.0F, 3);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_reads_and_writes_halves),
        cmocka_unit_test(normalized_rows_are_written_as_halves),
        cmocka_unit_test(heads_are_written_as_halves),
        cmocka_unit_test(attention_has_the_form_of_its_precision),
    };
    return node_run_tests(tests, sizeof tests / sizeof *tests, open_backend, false);
}
