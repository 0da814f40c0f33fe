/*
 * Attention that rotates its heads on the CPU backend, against the reference implementation, for each instruction set
 * that this machine has. Every angle is another number, so that one in another's place shows.
 */
#include "core/graph/canonical.h"
#include "tests/cpu/node_case.h"
#include "tests/cpu/ragged_tokens.h"

#include <math.h>
#include <string.h>

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})
enum { HEADS = 2, MOST = 1 << 18 };

static float values[6][MOST]; /* Q, K, V, a bias, cosines, sines */
static float *const cosines = values[4], *const sines = values[5];

/* What a case has besides its sizes. */
enum { PACKED = 1, OWN_ANGLES = 2, BIASED = 4, ROW_BIAS = 8, VARIANTS = 16 };

static void begin(int variant, int64_t batch, int64_t rows, int64_t width) {
    const int64_t hidden = HEADS * width, columns = variant & PACKED ? 3 * hidden : hidden;
    assert_true(batch * rows * columns <= MOST);
    node_case_begin(BERT_OP_BERTC_Attention);
    node_case_int("heads", HEADS);
    node_case_int("packed", variant & PACKED);
    node_case_float("scale", 0.3F);
    node_case_input(BERT_FLOAT, 3, DIMS(batch, rows, columns), values[0]);
    for (int i = 1; i < 3; i++) {
        if (variant & PACKED)
            node_case_absent();
        else
            node_case_input(BERT_FLOAT, 3, DIMS(batch, rows, hidden), values[i]);
    }
}

/* Bias, mask and angles, for `batch` sequences of `length` positions. */
static void add_terms(int variant, int64_t batch, int64_t length, int64_t width) {
    const int64_t angles = variant & OWN_ANGLES ? batch : 1;
    assert_true(batch * length * (length > width ? length : width) <= MOST);
    if (variant & BIASED)
        node_case_input(BERT_FLOAT, 4, DIMS(batch, 1, variant & ROW_BIAS ? length : 1, length), values[3]);
    else
        node_case_absent();
    node_case_absent();
    node_case_input(BERT_FLOAT, 3, DIMS(angles, length, width), cosines);
    node_case_input(BERT_FLOAT, 3, DIMS(angles, length, width), sines);
}

static void padded_case(int variant, int64_t batch, int64_t length, int64_t width) {
    begin(variant, batch, length, width);
    add_terms(variant, batch, length, width);
    node_case_output(3, DIMS(batch, length, HEADS * width));
}

static void rows_case(int variant, bool holes, int64_t width) {
    const int64_t rows = choose_tokens(holes);
    begin(variant, 1, rows, width);
    add_terms(variant, BATCH, SEQUENCE, width);
    node_case_int("sequence", SEQUENCE);
    node_case_input(BERT_INT32, 1, DIMS(BATCH + 1), starts);
    node_case_input(BERT_INT32, 1, DIMS(rows), tokens);
    node_case_output(3, DIMS(1, rows, HEADS * width));
}

static void rotated_heads_agree_with_the_reference(void **state) {
    static const int64_t widths[] = {2, 6, 32, 64}, lengths[] = {1, 7, 49, 131};
    for (int variant = 0; variant < VARIANTS; variant++) {
        node_backend_threads(variant % 3 + 1);
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
            for (size_t j = 0; j < sizeof lengths / sizeof *lengths; j++) {
                padded_case(variant, 1 + (int64_t)(i + j) % 3, lengths[j], widths[i]);
                node_case_compare(1e-5F);
            }
    }
    padded_case(PACKED | OWN_ANGLES, 2, 300, 10); /* blocks of 24 queries */
    node_case_compare(1e-5F);
}

static void rotated_rows_without_padding_agree_with_the_reference(void **state) {
    for (int variant = 0; variant < 2 * VARIANTS; variant++) {
        node_backend_threads(variant % 3 + 1);
        for (int64_t width = 2; width <= 66; width *= 4) {
            rows_case(variant % VARIANTS, variant >= VARIANTS, width);
            node_case_compare(1e-5F);
        }
    }
}

static void expect_rows_of_others_change_no_bit(void) {
    enum { WIDTH = 16, HIDDEN = HEADS * WIDTH, ROWS = 51, PLACE = 2, FIRST = 7 };
    static float alone[ROWS * HIDDEN], of_rows[ROWS * 3 * HIDDEN];
    choose_tokens(false);
    memcpy(of_rows, values[0] + starts[PLACE] * 3 * HIDDEN, sizeof of_rows);
    node_backend_threads(1);
    node_case_begin(BERT_OP_BERTC_Attention);
    node_case_int("heads", HEADS);
    node_case_int("packed", 1);
    node_case_float("scale", 0.3F);
    node_case_input(BERT_FLOAT, 3, DIMS(1, ROWS, 3 * HIDDEN), of_rows);
    for (int i = BERT_ATTENTION_K; i < BERT_ATTENTION_COSINES; i++) node_case_absent();
    node_case_input(BERT_FLOAT, 3, DIMS(1, ROWS, WIDTH), cosines + (PLACE * SEQUENCE + FIRST) * WIDTH);
    node_case_input(BERT_FLOAT, 3, DIMS(1, ROWS, WIDTH), sines + (PLACE * SEQUENCE + FIRST) * WIDTH);
    node_case_output(3, DIMS(1, ROWS, HIDDEN));
    memcpy(alone, node_case_run(), sizeof alone);
    for (int threads = 1; threads < 4; threads++) {
        node_backend_threads(threads);
        rows_case(PACKED | OWN_ANGLES, false, WIDTH);
        assert_memory_equal(node_case_run() + starts[PLACE] * HIDDEN, alone, sizeof alone);
    }
}

/* A sequence has the bits that it has as a batch of its own, with any number of threads. */
static void rows_of_others_change_no_bit(void **state) {
    if (!node_attention_by_openblas()) expect_rows_of_others_change_no_bit();
    assert_true(node_backend_precision(BERT_PRECISION_FP32, true));
    expect_rows_of_others_change_no_bit();
    assert_true(node_backend_precision(BERT_PRECISION_FP32, false));
}

/* Heads of Q and K among `parts` side by side, with the roundings of the vector kernels, which multiply and add in one.
 */
static void rotate_here(float *x, int64_t length, int64_t width, int parts) {
    for (int64_t token = 0; token < length; token++) {
        const float *c = cosines + token * width, *s = sines + token * width;
        for (int64_t head = 0; head < 2 * HEADS; head++) { /* of Q, then of K */
            float *row = x + token * parts * HEADS * width + head * width;
            for (int64_t d = 0; d < width / 2; d++) {
                const float low = row[d], high = row[d + width / 2];
                row[d] = fmaf(-high, s[d], low * c[d]);
                row[d + width / 2] = fmaf(low, s[d + width / 2], high * c[d + width / 2]);
            }
        }
    }
}

/* In bfloat16: the same as of heads that were rotated beforehand, in float32, and rounded once. */
static void heads_are_rotated_before_they_are_rounded(void **state) {
    enum { LENGTH = 61, WIDTH = 64, HIDDEN = HEADS * WIDTH };
    static float rotated[LENGTH * 3 * HIDDEN], expected[LENGTH * HIDDEN];
    if (!node_backend_bf16_attention(true)) {
        print_message("skipped: there are no products of bfloat16\n");
        skip();
    }
    memcpy(rotated, values[0], sizeof rotated);
    rotate_here(rotated, LENGTH, WIDTH, 3);
    for (int threads = 1; threads < 4; threads++) {
        node_backend_threads(threads);
        node_case_begin(BERT_OP_BERTC_Attention);
        node_case_int("heads", HEADS);
        node_case_int("packed", 1);
        node_case_float("scale", 0.3F);
        node_case_input(BERT_FLOAT, 3, DIMS(1, LENGTH, 3 * HIDDEN), rotated);
        node_case_output(3, DIMS(1, LENGTH, HIDDEN));
        memcpy(expected, node_case_run(), sizeof expected);
        padded_case(PACKED, 1, LENGTH, WIDTH);
        assert_memory_equal(node_case_run(), expected, sizeof expected);
        assert_string_equal(node_case_kernel(), "attention/bf16");
        rows_case(OWN_ANGLES, true, WIDTH);
        node_case_compare(0.05F);
    }
    node_backend_bf16_attention(false);
}

static void angles_of_other_types_are_left(void **state) {
    static const double wide[4] = {1, 1, 0, 0};
    node_case_begin(BERT_OP_BERTC_Attention);
    node_case_int("heads", 1);
    node_case_int("packed", 1);
    node_case_input(BERT_FLOAT, 3, DIMS(1, 1, 6), values[0]);
    for (int i = BERT_ATTENTION_K; i < BERT_ATTENTION_COSINES; i++) node_case_absent();
    node_case_input(BERT_DOUBLE, 3, DIMS(1, 1, 2), wide);
    node_case_input(BERT_DOUBLE, 3, DIMS(1, 1, 2), wide);
    node_case_output(3, DIMS(1, 1, 2));
    node_case_expect_left();
}

static int open_backend(void **state) {
    node_open(state);
    for (int i = 0; i < 6; i++) fill_random(values[i], MOST, i < 4 ? 2.0F : 1.0F, (uint32_t)i + 1);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotated_heads_agree_with_the_reference),
        cmocka_unit_test(rotated_rows_without_padding_agree_with_the_reference),
        cmocka_unit_test(rows_of_others_change_no_bit),
        cmocka_unit_test(heads_are_rotated_before_they_are_rounded),
        cmocka_unit_test(angles_of_other_types_are_left),
    };
    return node_run_tests(tests, sizeof tests / sizeof *tests, open_backend, false);
}
