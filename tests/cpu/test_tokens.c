/*
 * Rows without padding on the CPU backend: Attention and Pool over them, and how they are packed and unpacked, against
 * the reference implementations, for each instruction set that this machine has.
 */
#include "core/graph/canonical.h"
#include "tests/cpu/node_case.h"
#include "tests/cpu/ragged_tokens.h"

#include <math.h>
#include <string.h>

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})
enum { HEADS = 2, MOST = 1 << 18 };

static float values[4][MOST];
static unsigned char mask[MOST];

/* `variant`: bit 0 packed, 1 bias, 2 mask, 3 holes, 4.. how bias and mask broadcast. */
static void attention_case(int variant, int64_t width) {
    const int64_t rows = choose_tokens(variant & 8), hidden = HEADS * width;
    const int shape = variant >> 4;
    const int64_t *dims = DIMS(shape & 1 ? BATCH : 1, shape & 2 ? HEADS : 1, shape & 4 ? SEQUENCE : 1, SEQUENCE);
    const int64_t elements = dims[0] * dims[1] * dims[2] * dims[3];
    assert_true(elements <= MOST && rows * 3 * hidden <= MOST);
    for (int64_t i = 0; i < elements; i++) mask[i] = i % 3 != 1;
    node_case_begin(BERT_OP_BERTC_Attention);
    node_case_int("heads", HEADS);
    node_case_int("packed", variant & 1);
    node_case_int("sequence", SEQUENCE);
    node_case_float("scale", 0.2F);
    node_case_float("mask_value", -1e4F);
    node_case_input(BERT_FLOAT, 3, DIMS(1, rows, variant & 1 ? 3 * hidden : hidden), values[0]);
    for (int i = 1; i < 3; i++) {
        if (variant & 1)
            node_case_absent();
        else
            node_case_input(BERT_FLOAT, 3, DIMS(1, rows, hidden), values[i]);
    }
    if (variant & 2)
        node_case_input(BERT_FLOAT, 4, dims, values[3]);
    else
        node_case_absent();
    if (variant & 4)
        node_case_input(BERT_BOOL, 4, dims, mask);
    else
        node_case_absent();
    node_case_absent();
    node_case_absent();
    node_case_input(BERT_INT32, 1, DIMS(BATCH + 1), starts);
    node_case_input(BERT_INT32, 1, DIMS(rows), tokens);
    node_case_output(3, DIMS(1, rows, hidden));
}

static void attention_over_rows_agrees_with_the_reference(void **state) {
    for (int variant = 0; variant < 128; variant++) {
        node_backend_threads(variant % 3 + 1);
        attention_case(variant, 8);
        node_case_compare(2e-6F);
    }
    attention_case(9, 33);
    node_case_compare(2e-6F);
}

static void expect_rows_of_others_change_no_bit(void) {
    enum { WIDTH = 16, HIDDEN = HEADS * WIDTH, ROWS = 51 };
    static float alone[ROWS * HIDDEN];
    choose_tokens(false);
    node_case_begin(BERT_OP_BERTC_Attention);
    node_case_int("heads", HEADS);
    node_case_int("packed", 1);
    node_case_input(BERT_FLOAT, 3, DIMS(1, ROWS, 3 * HIDDEN), values[0] + starts[2] * 3 * HIDDEN);
    node_case_output(3, DIMS(1, ROWS, HIDDEN));
    memcpy(alone, node_case_run(), sizeof alone);
    node_case_begin(BERT_OP_BERTC_Attention);
    node_case_int("heads", HEADS);
    node_case_int("packed", 1);
    node_case_int("sequence", SEQUENCE);
    node_case_input(BERT_FLOAT, 3, DIMS(1, starts[BATCH], 3 * HIDDEN), values[0]);
    for (int i = BERT_ATTENTION_K; i < BERT_ATTENTION_STARTS; i++) node_case_absent();
    node_case_input(BERT_INT32, 1, DIMS(BATCH + 1), starts);
    node_case_input(BERT_INT32, 1, DIMS(starts[BATCH]), tokens);
    node_case_output(3, DIMS(1, starts[BATCH], HIDDEN));
    assert_memory_equal(node_case_run() + starts[2] * HIDDEN, alone, sizeof alone);
}

/* A sequence has the bits that it has as a batch of its own. */
static void rows_of_others_change_no_bit(void **state) {
    if (!node_attention_by_openblas()) expect_rows_of_others_change_no_bit();
    assert_true(node_backend_precision(BERT_PRECISION_FP32, true));
    expect_rows_of_others_change_no_bit();
    assert_true(node_backend_precision(BERT_PRECISION_FP32, false));
}

static void tokens_are_packed_and_unpacked(void **state) {
    for (int threads = 1; threads < 4; threads++) {
        node_backend_threads(threads);
        for (int form = 0; form < 4; form++) {
            const int64_t rows = form == 3 ? 0 : choose_tokens(form & 1), width = form == 2 ? 700 : 3;
            node_case_begin(BERT_OP_BERTC_PackTokens);
            node_case_input(BERT_FLOAT, 3, DIMS(form & 1 ? BATCH : 1, SEQUENCE, width), values[0]);
            node_case_input(BERT_INT32, 1, DIMS(rows), tokens);
            node_case_output(3, DIMS(1, rows, width));
            node_case_compare(0.0F);
            if (rows > 1) tokens[rows - 1] = tokens[rows - 2]; /* of two rows the first counts */
            node_case_begin(BERT_OP_BERTC_UnpackTokens);
            node_case_int("axes", form & 1 ? 1 : 2);
            node_case_int("batch", BATCH);
            node_case_int("sequence", SEQUENCE);
            if (form & 1) {
                node_case_input(BERT_FLOAT, 2, DIMS(rows, width), values[0]);
            } else {
                node_case_input(BERT_FLOAT, 3, DIMS(1, rows, width), values[0]);
            }
            node_case_input(BERT_INT32, 1, DIMS(rows), tokens);
            if (form & 1)
                node_case_output(2, DIMS(TOKENS, width));
            else
                node_case_output(3, DIMS(BATCH, SEQUENCE, width));
            node_case_compare(0.0F);
        }
    }
}

static const char *const poolings[] = {"mean", "max", "first"};

/* A mask of SEQUENCE tokens for each sequence; nothing counts in the second, and more or less than once in the last. */
static const void *fill_mask(bert_dtype dtype) {
    static int64_t wide[TOKENS];
    choose_tokens(true);
    memset(wide, 0, sizeof wide);
    for (int32_t row = 0; row < starts[BATCH]; row++) wide[tokens[row]] = 1;
    for (int i = TOKENS - SEQUENCE; i < TOKENS && dtype != BERT_BOOL; i++) wide[i] = i % 3;
    for (int i = 0; i < TOKENS && dtype != BERT_INT64; i++) {
        if (dtype == BERT_INT32) ((int32_t *)(void *)mask)[i] = (int32_t)wide[i];
        if (dtype == BERT_FLOAT) ((float *)(void *)mask)[i] = (float)wide[i] / 2;
        if (bert_dtype_size(dtype) == 1) mask[i] = (unsigned char)wide[i];
    }
    return dtype == BERT_INT64 ? (const void *)wide : mask;
}

static void pooling_agrees_with_the_reference(void **state) {
    static const bert_dtype masks[] = {BERT_BOOL, BERT_INT8, BERT_UINT8, BERT_INT32, BERT_INT64, BERT_FLOAT};
    for (int variant = 0; variant < 36; variant++) {
        const int64_t width = variant % 5 * 16 + 3;
        const bert_dtype dtype = masks[variant % 6];
        node_backend_threads(variant % 3 + 1);
        node_case_begin(BERT_OP_BERTC_Pool);
        node_case_string("pooling", poolings[variant / 6 % 3]);
        node_case_int("normalize", variant / 18);
        node_case_input(BERT_FLOAT, 3, DIMS(BATCH, SEQUENCE, width), values[variant % 4]);
        if (variant % 7) node_case_input(dtype, 2, DIMS(BATCH, SEQUENCE), fill_mask(dtype));
        node_case_output(2, DIMS(BATCH, width));
        node_case_compare(1e-6F);
        const int64_t rows = choose_tokens(variant & 1);
        node_case_begin(BERT_OP_BERTC_Pool);
        node_case_string("pooling", poolings[variant / 6 % 3]);
        node_case_int("normalize", variant / 18);
        node_case_input(BERT_FLOAT, 3, DIMS(1, rows, width), values[variant % 4]);
        node_case_absent();
        node_case_input(BERT_INT32, 1, DIMS(BATCH + 1), starts);
        node_case_output(2, DIMS(BATCH, width));
        node_case_compare(1e-6F);
    }
}

/* Each pooling meets the NaN: it is in the first sequence's first row. */
static void a_vector_with_a_nan_has_no_length(void **state) {
    enum { WIDTH = 19 };
    float nan[2 * 2 * WIDTH];
    memcpy(nan, values[0], sizeof nan);
    nan[5] = NAN;
    for (int i = 0; i < 3; i++) {
        node_case_begin(BERT_OP_BERTC_Pool);
        node_case_string("pooling", poolings[i]);
        node_case_int("normalize", 1);
        node_case_input(BERT_FLOAT, 3, DIMS(2, 2, WIDTH), nan);
        node_case_output(2, DIMS(2, WIDTH));
        node_case_compare(1e-6F);
        const float *y = node_case_run();
        assert_true(isnan(y[0]) && !isnan(y[WIDTH]));
    }
}

/* Neither what is padded nor other sequences change a bit of a sequence's mean. */
static void padding_changes_no_bit_of_a_mean(void **state) {
    enum { WIDTH = 37 };
    float padded[BATCH * WIDTH];
    node_case_begin(BERT_OP_BERTC_Pool);
    node_case_string("pooling", "mean");
    node_case_input(BERT_FLOAT, 3, DIMS(BATCH, SEQUENCE, WIDTH), values[0]);
    node_case_input(BERT_BOOL, 2, DIMS(BATCH, SEQUENCE), fill_mask(BERT_BOOL));
    node_case_output(2, DIMS(BATCH, WIDTH));
    memcpy(padded, node_case_run(), sizeof padded);
    for (int32_t row = 0; row < starts[BATCH]; row++) {
        memcpy(values[1] + (size_t)row * WIDTH, values[0] + (size_t)tokens[row] * WIDTH, WIDTH * sizeof(float));
    }
    for (int b = 0; b < BATCH; b++) {
        const int32_t alone[] = {0, starts[b + 1] - starts[b]};
        node_case_begin(BERT_OP_BERTC_Pool);
        node_case_string("pooling", "mean");
        node_case_input(BERT_FLOAT, 3, DIMS(1, alone[1], WIDTH), values[1] + (size_t)starts[b] * WIDTH);
        node_case_absent();
        node_case_input(BERT_INT32, 1, DIMS(2), alone);
        node_case_output(2, DIMS(1, WIDTH));
        assert_memory_equal(node_case_run(), padded + b * WIDTH, WIDTH * sizeof(float));
    }
}

static int open_backend(void **state) {
    node_open(state);
    for (int i = 0; i < 4; i++) fill_random(values[i], MOST, 2.0F, (uint32_t)i + 1);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_over_rows_agrees_with_the_reference),
        cmocka_unit_test(rows_of_others_change_no_bit),
        cmocka_unit_test(tokens_are_packed_and_unpacked),
        cmocka_unit_test(pooling_agrees_with_the_reference),
        cmocka_unit_test(a_vector_with_a_nan_has_no_length),
        cmocka_unit_test(padding_changes_no_bit_of_a_mean),
    };
    return node_run_tests(tests, sizeof tests / sizeof *tests, open_backend, false);
}
