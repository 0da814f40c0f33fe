/*
 * Conv of the CPU backend against the reference implementation: shapes drawn at random, and those that end where a
 * block, a tile or a chain of sums does, on one thread and several.
 */
#include "tests/cpu/node_case.h"

#include "core/base/float16.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_AXES = 3, MOST_RANK = MOST_AXES + 2, MOST_ELEMENTS = 1 << 20, CASES = 400 };

static float x_values[MOST_ELEMENTS], w_values[MOST_ELEMENTS], bias[1 << 12];

static int fill(void **state) {
    node_open(state);
    node_case_seed(11);
    for (int i = 0; i < MOST_ELEMENTS; i++) {
        x_values[i] = (float)node_case_draw(-1000, 1000) / 1000.0F;
        w_values[i] = (float)node_case_draw(-1000, 1000) / 8000.0F;
    }
    for (size_t i = 0; i < sizeof bias / sizeof *bias; i++) bias[i] = (float)node_case_draw(-1000, 1000) / 500.0F;
    return 0;
}

/* A node; a list of 0s is left out, and so is group where it is 1. */
typedef struct conv_case {
    int32_t axes;
    int64_t batch, inputs, outputs, group; /* inputs: channels of a group */
    int64_t size[MOST_AXES], kernel[MOST_AXES];
    int64_t strides[MOST_AXES], dilations[MOST_AXES], pads[2 * MOST_AXES];
    const char *auto_pad;
    bool biased;
} conv_case;

/* Places along an axis as shape inference counts them; -1: the kernel doesn't fit. */
static int64_t count_places(const conv_case *c, int32_t i) {
    const int64_t stride = c->strides[i] ? c->strides[i] : 1, dilation = c->dilations[i] ? c->dilations[i] : 1;
    const int64_t both = c->auto_pad ? 0 : c->pads[i] + c->pads[i + c->axes];
    if (c->auto_pad && strncmp(c->auto_pad, "SAME", 4) == 0) return (c->size[i] + stride - 1) / stride;
    if (c->size[i] == 0) return 0;
    const int64_t room = c->size[i] + both - (c->kernel[i] - 1) * dilation - 1;
    return room < 0 ? -1 : room / stride + 1;
}

static int64_t product(const int64_t *dims, int32_t rank) {
    int64_t count = 1;
    for (int32_t i = 0; i < rank; i++) count *= dims[i];
    return count;
}

/* The shapes of x, w and y; false where there is no such node, or it is too large for a test. */
static bool find_shapes(const conv_case *c, int64_t dims[3][MOST_RANK]) {
    const int32_t rank = c->axes + 2;
    memcpy(dims[0], (const int64_t[]){c->batch, c->inputs * c->group}, 2 * sizeof(int64_t));
    memcpy(dims[1], (const int64_t[]){c->outputs * c->group, c->inputs}, 2 * sizeof(int64_t));
    memcpy(dims[2], (const int64_t[]){c->batch, c->outputs * c->group}, 2 * sizeof(int64_t));
    for (int32_t i = 0; i < c->axes; i++) {
        dims[0][i + 2] = c->size[i];
        dims[1][i + 2] = c->kernel[i];
        dims[2][i + 2] = count_places(c, i);
        if (dims[2][i + 2] < 0) return false;
    }
    for (int i = 0; i < 3; i++)
        if (product(dims[i], rank) > MOST_ELEMENTS) return false;
    return product(dims[2], rank) * c->inputs * product(c->kernel, c->axes) < 50 * 1000 * 1000;
}

static void give_list(const char *name, const int64_t *values, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        if (values[i] == 0) continue;
        node_case_ints(name, values, (size_t)count);
        return;
    }
}

/* Begins the node with its constants, x and y; the case must outlive it. False as above. */
static bool begin(const conv_case *c, int64_t dims[3][MOST_RANK], int threads) {
    const int32_t rank = c->axes + 2;
    if (!find_shapes(c, dims)) return false;
    node_backend_threads(threads);
    node_case_begin(BERT_OP_Conv);
    if (c->group != 1) node_case_int("group", c->group);
    give_list("strides", c->strides, c->axes);
    give_list("dilations", c->dilations, c->axes);
    give_list("pads", c->pads, 2 * c->axes);
    if (c->auto_pad) node_case_string("auto_pad", c->auto_pad);
    node_case_input(BERT_FLOAT, rank, dims[0], x_values);
    node_case_constant(rank, dims[1], w_values);
    if (c->biased) node_case_constant(1, dims[1], bias);
    node_case_output(rank, dims[2]);
    return true;
}

static void compare(const conv_case *c) {
    int64_t dims[3][MOST_RANK];
    for (int threads = 1; threads <= 3; threads += 2) {
        assert_true(begin(c, dims, threads));
        node_case_compare(2e-5F);
        assert_string_equal(node_case_kernel(), "conv/cpu");
    }
}

/* Inference lets a list be left out, but not one number of it. */
static void draw_axis(conv_case *c, int32_t i, bool strided, bool dilated) {
    c->size[i] = node_case_draw(0, 5) ? node_case_draw(1, 12) : node_case_draw(0, 40);
    c->kernel[i] = node_case_draw(0, 2) ? node_case_draw(1, 4) : 1;
    if (strided) c->strides[i] = node_case_draw(1, 3);
    if (dilated) c->dilations[i] = node_case_draw(1, 3);
    for (int side = 0; side < 2 && node_case_draw(0, 1); side++) c->pads[i + side * c->axes] = node_case_draw(0, 5);
}

static void any_shape_agrees_with_the_reference(void **state) {
    static const char *const ways[] = {NULL, NULL, "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"};
    for (int at = 0; at < CASES;) {
        conv_case c = {.axes = (int32_t)node_case_draw(1, MOST_AXES),
                       .batch = node_case_draw(1, 3),
                       .biased = node_case_draw(0, 1)};
        c.inputs = node_case_draw(0, 1) ? 1 : node_case_draw(0, 9);
        c.outputs = node_case_draw(0, 2) ? node_case_draw(1, 3) : node_case_draw(1, 20);
        c.group = node_case_draw(0, 1) ? 1 : node_case_draw(1, 5);
        c.auto_pad = ways[node_case_draw(0, 5)];
        const bool strided = node_case_draw(0, 1), dilated = node_case_draw(0, 1);
        for (int32_t i = 0; i < c.axes; i++) draw_axis(&c, i, strided, dilated);
        if (c.axes == 3) c.batch = 1;
        int64_t dims[3][MOST_RANK];
        if (!find_shapes(&c, dims)) continue;
        compare(&c);
        at++;
    }
}

/* Kernels of one element, columns as they lie: outputs that end beside a task's rows, places beside a tile's columns,
 * inputs beside a chain's steps, and so many places that columns are copied. */
static void products_of_channels_agree_with_the_reference(void **state) {
    static const int64_t sizes[][4] = {{1, 1, 1, 1},      {2, 5, 7, 1},      {95, 3, 16, 1},  {96, 17, 48, 1},
                                       {97, 16, 49, 2},   {193, 255, 31, 1}, {5, 256, 33, 1}, {7, 257, 47, 2},
                                       {12, 192, 128, 4}, {3, 768, 65, 1},   {4, 6, 511, 1},  {4, 6, 512, 1},
                                       {4, 6, 513, 2},    {385, 3, 600, 1},  {2, 770, 520, 1}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int64_t *s = sizes[i];
        conv_case c = {.axes = 1, .batch = 2, .outputs = s[0], .inputs = s[1], .size = {s[2]}, .group = s[3]};
        c.kernel[0] = 1;
        c.biased = i % 2;
        compare(&c);
    }
    conv_case square = {
        .axes = 2, .batch = 1, .outputs = 8, .inputs = 8, .size = {9, 11}, .kernel = {1, 1}, .group = 3};
    compare(&square);
    square.strides[0] = 1;
    square.strides[1] = 2; /* gathered */
    compare(&square);
}

/* Gathered columns: places around a block, rows around a task's, k around a piece. */
static void gathered_columns_agree_with_the_reference(void **state) {
    static const int64_t places[] = {15, 16, 95, 96, 97, 193}, outputs[] = {1, 9, 383, 384, 385};
    static const int64_t inputs[] = {2, 255, 256, 257, 400};
    for (size_t i = 0; i < 6; i++) {
        conv_case c = {.axes = 1, .batch = 2, .inputs = 5, .outputs = outputs[i % 5], .group = 1, .size = {places[i]}};
        c.kernel[0] = 3;
        c.pads[0] = c.pads[1] = 1;
        c.biased = true;
        compare(&c);
    }
    for (size_t i = 0; i < 5; i++) {
        conv_case c = {.axes = 1, .batch = 1, .inputs = inputs[i], .outputs = 4, .group = 2, .size = {21}};
        c.kernel[0] = 3;
        c.pads[1] = 2;
        compare(&c);
    }
    conv_case more_taps_than_a_piece = {
        .axes = 2, .batch = 1, .inputs = 2, .outputs = 3, .group = 1, .size = {40, 45}, .kernel = {29, 31}};
    compare(&more_taps_than_a_piece);
    conv_case image = {.axes = 2, .batch = 2, .inputs = 3, .outputs = 10, .group = 1, .size = {33, 31}};
    image.kernel[0] = image.kernel[1] = 7;
    image.strides[0] = image.strides[1] = 2;
    image.pads[0] = image.pads[1] = image.pads[2] = image.pads[3] = 3;
    compare(&image);
}

/* One channel a group: kernels along the tokens as ConvBERT has them, and rows that are cut. */
static void single_channels_agree_with_the_reference(void **state) {
    static const int64_t sizes[] = {1, 3, 8, 9, 17, 128, 1023, 1024, 1025, 3000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        conv_case c = {.axes = 1, .batch = 2, .inputs = 1, .outputs = 1, .group = 7, .size = {sizes[i]}};
        c.kernel[0] = 9;
        c.pads[0] = c.pads[1] = 4;
        c.biased = i % 2 == 0;
        compare(&c);
        c.dilations[0] = 2;
        c.outputs = 1 + (int64_t)i;
        c.pads[0] = 16;
        compare(&c);
    }
    conv_case far = {.axes = 1, .batch = 1, .inputs = 1, .outputs = 2, .group = 3, .size = {5}, .kernel = {2}};
    far.pads[0] = 900;
    far.pads[1] = 1300; /* most places meet padding alone */
    far.dilations[0] = 700;
    compare(&far);
    conv_case long_kernel = {
        .axes = 1, .batch = 1, .inputs = 1, .outputs = 2, .group = 2, .size = {700}, .kernel = {300}};
    compare(&long_kernel);
}

/* No sequences, no places, no outputs; and no channels, where y is biases. */
static void what_is_empty_agrees_with_the_reference(void **state) {
    const conv_case plain = {.axes = 2, .batch = 2, .inputs = 2, .outputs = 2, .group = 2, .size = {3, 5}};
    for (int empty = 0; empty < 8; empty++) {
        conv_case c = plain;
        c.kernel[0] = 1 + empty % 2;
        c.kernel[1] = 1;
        c.biased = true;
        if (empty / 2 == 0) c.batch = 0;
        if (empty / 2 == 1) c.size[1] = 0;
        if (empty / 2 == 2) c.outputs = 0;
        if (empty / 2 == 3) c.inputs = 0;
        compare(&c);
        c.biased = false;
        c.auto_pad = "SAME_UPPER";
        compare(&c);
        c.inputs = c.inputs ? 1 : 0;
        compare(&c);
    }
    /* A kernel of 2^64 elements, which nothing has to hold. */
    conv_case vast = {.axes = 2, .inputs = INT64_C(1) << 32, .group = 1, .size = {1 << 17, 1 << 17}};
    vast.kernel[0] = vast.kernel[1] = 1 << 16;
    compare(&vast);
}

/* A sequence has the same bits alone and in a batch, on any number of threads. */
static void bits_depend_on_nothing_else(void **state) {
    static const int64_t inputs[] = {1, 40, 40}, kernels[] = {9, 1, 3};
    for (int i = 0; i < 3; i++) {
        int64_t dims[3][MOST_RANK];
        conv_case c = {.axes = 1, .batch = 3, .inputs = inputs[i], .outputs = i ? 200 : 1, .group = i ? 1 : 40};
        c.size[0] = 130;
        c.kernel[0] = kernels[i];
        c.pads[0] = c.pads[1] = kernels[i] / 2;
        const size_t elements = (size_t)(3 * 130 * c.outputs * c.group);
        float *whole = malloc(elements * sizeof *whole);
        assert_non_null(whole);
        assert_true(begin(&c, dims, 3));
        memcpy(whole, node_case_run(), elements * sizeof *whole);
        assert_true(begin(&c, dims, 1));
        assert_memory_equal(whole, node_case_run(), elements * sizeof *whole);
        c.batch = 1;
        assert_true(begin(&c, dims, 2));
        assert_memory_equal(whole, node_case_run(), elements / 3 * sizeof *whole);
        free(whole);
    }
}

/* float16 between conversions; double is the fallback's. */
static void other_types_are_converted_or_left(void **state) {
    static uint16_t half[3][64];
    static const int64_t x[] = {1, 4, 8}, w[] = {2, 4, 3}, y[] = {1, 2, 6};
    static const double doubles[64];
    for (int i = 0; i < 64; i++) {
        half[0][i] = bert_float_to_half(x_values[i]);
        half[1][i] = bert_float_to_half(w_values[i]);
        half[2][i] = bert_float_to_half(bias[i]);
    }
    node_backend_threads(2);
    node_case_begin(BERT_OP_Conv);
    node_case_input(BERT_FLOAT16, 3, x, half[0]);
    node_case_constant_of(BERT_FLOAT16, 3, w, half[1]);
    node_case_constant_of(BERT_FLOAT16, 1, w, half[2]);
    node_case_output_of(BERT_FLOAT16, 3, y);
    node_case_compare(1e-3F);
    assert_string_equal(node_case_kernel(), "conv/cpu/float16");
    node_case_begin(BERT_OP_Conv);
    node_case_input(BERT_DOUBLE, 3, x, doubles);
    node_case_constant_of(BERT_DOUBLE, 3, w, doubles);
    node_case_output_of(BERT_DOUBLE, 3, y);
    node_case_expect_left();
}

/* Kernels that are computed, not constants. */
static void kernels_may_be_activations(void **state) {
    static const int64_t x[] = {2, 6, 20}, w[] = {6, 1, 5}, y[] = {2, 6, 16}, group = 6;
    node_backend_threads(1);
    node_case_begin(BERT_OP_Conv);
    node_case_int("group", group);
    node_case_input(BERT_FLOAT, 3, x, x_values);
    node_case_input(BERT_FLOAT, 3, w, w_values);
    node_case_output(3, y);
    node_case_compare(2e-5F);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_shape_agrees_with_the_reference),
        cmocka_unit_test(products_of_channels_agree_with_the_reference),
        cmocka_unit_test(gathered_columns_agree_with_the_reference),
        cmocka_unit_test(single_channels_agree_with_the_reference),
        cmocka_unit_test(what_is_empty_agrees_with_the_reference),
        cmocka_unit_test(bits_depend_on_nothing_else),
        cmocka_unit_test(other_types_are_converted_or_left),
        cmocka_unit_test(kernels_may_be_activations),
    };
    return node_run_tests(tests, sizeof tests / sizeof *tests, fill, false);
}
