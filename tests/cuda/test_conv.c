/* Convolutions, as the provider plans them: with tiles that are full, that are mostly padding, and without. */
#include "core/base/memory.h"
#include "cuda/ops/conv.h"
#include "tests/cuda/node_case.h"

#include <string.h>

enum { MOST_AXES = BERT_CONV_MAX_AXES };

/* What the axes of a case have; an auto_pad other than NULL overrules pads. */
typedef struct conv_case {
    int32_t axes;
    int64_t batch, groups, group_inputs, group_outputs;
    int64_t size[MOST_AXES], taps[MOST_AXES], stride[MOST_AXES], dilation[MOST_AXES];
    int64_t pads[2 * MOST_AXES];
    const char *auto_pad;
    bool bias;
} conv_case;

/* Zeros of a case are ones, but for pads. */
static int64_t or_one(int64_t number) {
    return number ? number : 1;
}

static int64_t places_of(const conv_case *c, int32_t axis) {
    const int64_t stride = or_one(c->stride[axis]), span = (c->taps[axis] - 1) * or_one(c->dilation[axis]) + 1;
    const bool valid = c->auto_pad && strcmp(c->auto_pad, "VALID") == 0;
    if (c->auto_pad && !valid) return (c->size[axis] + stride - 1) / stride;
    if (c->size[axis] == 0) return 0;
    const int64_t pads = valid ? 0 : c->pads[axis] + c->pads[axis + c->axes];
    return (c->size[axis] + pads - span) / stride + 1;
}

/* A list of zeros alone is left out. */
static void list(const char *name, const int64_t *from, int64_t *kept, int32_t count, bool ones_for_zeros) {
    bool any = false;
    for (int32_t i = 0; i < count; i++) {
        any = any || from[i];
        kept[i] = ones_for_zeros ? or_one(from[i]) : from[i];
    }
    if (any) case_ints(name, kept, (size_t)count);
}

/* Gives y. */
static case_tensor *build(const conv_case *c, bert_dtype dtype) {
    static int64_t strides[MOST_AXES], dilations[MOST_AXES], pads[2 * MOST_AXES]; /* the case keeps pointers */
    int64_t x[BERT_MAX_RANK] = {c->batch, c->groups * c->group_inputs};
    int64_t w[BERT_MAX_RANK] = {c->groups * c->group_outputs, c->group_inputs}, y[BERT_MAX_RANK] = {c->batch, w[0]};
    for (int32_t i = 0; i < c->axes; i++) {
        x[2 + i] = c->size[i];
        w[2 + i] = c->taps[i];
        y[2 + i] = places_of(c, i);
    }
    case_begin(BERT_OP_Conv);
    case_int("group", c->groups);
    list("strides", c->stride, strides, c->axes, true);
    list("dilations", c->dilation, dilations, c->axes, true);
    list("pads", c->pads, pads, 2 * c->axes, false);
    if (c->auto_pad) case_string("auto_pad", c->auto_pad);
    case_input(dtype, 2 + c->axes, x, 0.5F);
    case_input(dtype, 2 + c->axes, w, 0.5F);
    if (c->bias) case_input(dtype, 1, w, 2.0F);
    return case_output(dtype, 2 + c->axes, y);
}

static const bert_dtype types[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16, BERT_DOUBLE};

static void compare_in_every_type(const conv_case *c) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        build(c, types[i]);
        node_case_compare();
    }
}

static void compare_by_kernel(const conv_case *c, const char *kernel) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        build(c, types[i]);
        node_case_compare_launching(kernel, 1);
    }
}

/* A kernel of one place: products. Outputs and places around a tile of 64, channels around 32 of them. */
static void products_agree_with_the_reference(void **state) {
    static const int64_t outputs[] = {1, 63, 64, 65, 131}, channels[] = {33, 31, 32, 1, 67}, places[] = {65, 1, 63, 64};
    for (int i = 0; i < 20; i++) {
        const conv_case c = {.axes = 1,
                             .batch = 1,
                             .groups = 1 + i % 2,
                             .group_inputs = channels[(i + i / 5) % 5],
                             .group_outputs = outputs[i % 5],
                             .size = {places[i % 4]},
                             .taps = {1},
                             .bias = i % 3 != 0};
        compare_in_every_type(&c);
    }
}

/* A tile of places holds those of several sequences, or a part of one; a tap has one tile of channels, or several. */
static void items_of_a_batch_are_side_by_side(void **state) {
    static const int64_t places[] = {1, 7, 50, 100}, channels[] = {16, 33, 32, 65};
    for (int i = 0; i < 4; i++) {
        const conv_case c = {.axes = 1,
                             .batch = 3 + 2 * i,
                             .groups = 2,
                             .group_inputs = channels[i],
                             .group_outputs = 40,
                             .size = {places[i]},
                             .taps = {i < 2 ? 1 : 3},
                             .pads = {i > 1, i > 1},
                             .bias = i & 1};
        compare_in_every_type(&c);
    }
}

static const conv_case awkward[] = {
    {.axes = 1, .size = {11}, .taps = {9}, .pads = {4, 4}, .bias = true},
    {.axes = 1, .size = {1}, .taps = {1}},
    {.axes = 1, .size = {7}, .taps = {3}, .stride = {2}, .pads = {2, 0}, .bias = true},
    {.axes = 1, .size = {9}, .taps = {2}, .stride = {5}, .dilation = {3}, .pads = {0, 3}},
    {.axes = 1, .size = {3}, .taps = {2}, .stride = {7}, .dilation = {5}, .pads = {6, 9}, .bias = true},
    {.axes = 1, .size = {6}, .taps = {3}, .stride = {2}, .auto_pad = "SAME_UPPER"},
    {.axes = 1, .size = {6}, .taps = {3}, .stride = {2}, .auto_pad = "SAME_LOWER", .bias = true},
    {.axes = 1, .size = {5}, .taps = {3}, .stride = {3}, .dilation = {2}, .auto_pad = "SAME_UPPER"},
    {.axes = 1, .size = {5}, .taps = {3}, .stride = {3}, .dilation = {2}, .auto_pad = "SAME_LOWER"},
    {.axes = 1, .size = {5}, .taps = {1}, .stride = {3}, .auto_pad = "SAME_LOWER"},
    {.axes = 1, .size = {5}, .taps = {3}, .pads = {1, 1}, .auto_pad = "VALID", .bias = true},
    {.axes = 2, .size = {5, 7}, .taps = {3, 2}, .stride = {2, 1}, .pads = {1, 0, 0, 2}, .bias = true},
    {.axes = 2, .size = {6, 5}, .taps = {2, 3}, .stride = {1, 2}, .dilation = {3, 1}, .auto_pad = "SAME_LOWER"},
    {.axes = 2, .size = {4, 4}, .taps = {1, 1}, .stride = {2, 3}, .pads = {1, 0, 0, 1}},
    {.axes = 3, .size = {3, 4, 5}, .taps = {2, 1, 3}, .dilation = {1, 1, 2}, .pads = {1, 0, 2, 0, 1, 1}, .bias = true},
    {.axes = 6, .size = {2, 1, 2, 1, 2, 3}, .taps = {2, 1, 1, 1, 2, 2}, .pads = {1, 0, 0, 1, 0, 1}, .bias = true},
};

/* Channels of a group, by each of the two kernels: one channel, few, and enough for tiles. */
static const int64_t inputs[] = {1, 3, 17}, outputs[] = {1, 2, 18};
static const char *const kernels[] = {"direct_kernel", "direct_kernel", "tile_kernel"};

static void kernels_lie_over_padded_axes(void **state) {
    for (size_t i = 0; i < sizeof awkward / sizeof *awkward; i++) {
        for (int j = 0; j < 3; j++) {
            conv_case c = awkward[i];
            c.batch = 2;
            c.groups = 5 - 2 * j;
            c.group_inputs = inputs[j];
            c.group_outputs = outputs[j];
            compare_by_kernel(&c, kernels[j]);
        }
    }
}

/* Tiles have places of two items, and those of an item lie in two tiles; alone, they lie in one. */
static void bits_of_an_item_depend_on_no_other(void **state) {
    enum { BATCH = 3, PLACES = 50, TAPS = 3, GROUPS = 2, CASES = 3 * 4 };
    for (int i = 0; i < CASES; i++) {
        const bert_dtype dtype = types[i % 4];
        const int64_t of_x = GROUPS * inputs[i / 4], of_y = GROUPS * outputs[i / 4];
        case_begin(BERT_OP_Conv);
        const case_tensor *x = case_input(dtype, 3, DIMS(BATCH, of_x, PLACES), 1.0F);
        const case_tensor *w = case_input(dtype, 3, DIMS(of_y, inputs[i / 4], TAPS), 1.0F);
        const case_tensor *b = case_input(dtype, 1, DIMS(of_y), 1.0F);
        case_tensor *together = case_extra(dtype, 3, DIMS(BATCH, of_y, PLACES));
        case_tensor *alone = case_extra(dtype, 3, DIMS(BATCH, of_y, PLACES));
        bert_cuda_conv_args args = {
            .dtype = dtype,
            .axes = 1,
            .axis = {{.size = PLACES, .taps = TAPS, .places = PLACES, .stride = 1, .dilation = 1, .before = 1}},
            .batch = BATCH,
            .groups = GROUPS,
            .group_inputs = inputs[i / 4],
            .group_outputs = outputs[i / 4],
            .x = x->device,
            .w = w->device,
            .b = b->device,
            .y = together->device};
        case_good(bert_cuda_conv(&args, NULL));
        args.batch = 1;
        for (int item = 0; item < BATCH; item++) {
            args.x = (const char *)x->device + bert_tensor_bytes(&x->host) / BATCH * item;
            args.y = (char *)alone->device + bert_tensor_bytes(&alone->host) / BATCH * item;
            case_good(bert_cuda_conv(&args, NULL));
        }
        assert_memory_equal(case_fetch(alone), case_fetch(together), bert_tensor_bytes(&alone->host));
    }
}

/* Without inputs the bias is left; without a batch, outputs or elements of an axis, nothing. */
static void empty_tensors_are_taken(void **state) {
    static const conv_case empty[] = {{.batch = 2, .group_inputs = 0, .group_outputs = 3, .size = {5}, .bias = true},
                                      {.batch = 2, .group_inputs = 0, .group_outputs = 64, .size = {5}},
                                      {.batch = 0, .group_inputs = 3, .group_outputs = 3, .size = {5}, .bias = true},
                                      {.batch = 2, .group_inputs = 3, .group_outputs = 0, .size = {5}, .bias = true},
                                      {.batch = 2, .group_inputs = 3, .group_outputs = 3, .size = {0}, .bias = true}};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        conv_case c = empty[i];
        c.axes = 1;
        c.groups = 2;
        c.taps[0] = 3;
        c.pads[0] = c.pads[1] = 1;
        compare_in_every_type(&c);
    }
}

/* Tensors of float32 are held in 16 bits, weights and biases among them; of what is held in two halves the first is
 * read. */
static void sessions_of_16_bits_agree_with_the_reference(void **state) {
    static const bert_precision precisions[] = {BERT_PRECISION_TF32, BERT_PRECISION_FP16, BERT_PRECISION_BF16};
    static const float allowed[] = {4e-6F, 4e-3F, 3e-2F};
    for (int i = 0; i < 6; i++) {
        const bool depthwise = i >= 3;
        const conv_case c = {.axes = 1,
                             .batch = 2,
                             .groups = depthwise ? 20 : 2,
                             .group_inputs = depthwise ? 1 : 40,
                             .group_outputs = depthwise ? 1 : 40,
                             .size = {13},
                             .taps = {depthwise ? 9 : 1},
                             .pads = {depthwise ? 4 : 0, depthwise ? 4 : 0},
                             .bias = true};
        build(&c, BERT_FLOAT)->tolerance = allowed[i % 3];
        node_case_compare_in(precisions[i % 3]);
        build(&c, BERT_FLOAT)->tolerance = allowed[2];
        node_case_compare_halves(1, 0);
    }
}

static void wrong_arguments_are_refused(void **state) {
    const bert_cuda_conv_args good = {
        .dtype = BERT_FLOAT, .axes = 1, .axis = {{.taps = 1, .stride = 1, .dilation = 1}}, .groups = 1};
    assert_int_equal(bert_cuda_conv(&good, NULL), cudaSuccess);
    for (int i = 0; i < 10; i++) {
        bert_cuda_conv_args args = good;
        if (i == 0) args.dtype = BERT_INT32;
        if (i == 1) args.axes = 0;
        if (i == 2) args.axes = MOST_AXES + 1;
        if (i == 3) args.groups = 0;
        if (i == 4) args.group_inputs = -1;
        if (i == 5) args.axis[0].taps = 0;
        if (i == 6) args.axis[0].stride = 0;
        if (i == 7) args.axis[0].dilation = 0;
        if (i == 8) args.axis[0].before = -1;
        if (i == 9) args.batch = args.group_outputs = args.axis[0].places = INT64_C(1) << 31;
        assert_int_equal(bert_cuda_conv(&args, NULL), cudaErrorInvalidValue);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_agree_with_the_reference),
        cmocka_unit_test(items_of_a_batch_are_side_by_side),
        cmocka_unit_test(kernels_lie_over_padded_axes),
        cmocka_unit_test(bits_of_an_item_depend_on_no_other),
        cmocka_unit_test(empty_tensors_are_taken),
        cmocka_unit_test(sessions_of_16_bits_agree_with_the_reference),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, node_case_open, node_case_close);
}
