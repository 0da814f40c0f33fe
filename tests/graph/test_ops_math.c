/* Plain arithmetic ops: inference over symbolic shapes and followed elements, values, types and refusals. */
#include "core/base/float16.h"
#include "tests/graph/op_case.h"

#include <math.h>

static void arithmetic_broadcasts_symbolic_shapes(void **state) {
    op_case_begin("Add", 14);
    op_case_input(BERT_FLOAT, "batch,sequence,768");
    op_case_input(BERT_FLOAT, "768");
    op_case_expect(0, BERT_FLOAT, "batch,sequence,768");
    op_case_begin("Mul", 14);
    op_case_input(BERT_FLOAT, "batch,1,1,sequence");
    op_case_input(BERT_FLOAT, "1,12,sequence,1");
    op_case_expect(0, BERT_FLOAT, "batch,12,sequence,sequence");
    op_case_begin("Add", 14);
    op_case_input(BERT_FLOAT, "?");
    op_case_input(BERT_FLOAT, "8");
    op_case_expect(0, BERT_FLOAT, "8");
    op_case_begin("Add", 14);
    op_case_input(BERT_FLOAT, "3,4");
    op_case_input(BERT_FLOAT, "3");
    op_case_expect_refused(BERT_INVALID_MODEL, "shapes [3, 4] and [3] don't broadcast");
    op_case_begin("Add", 14);
    op_case_input(BERT_FLOAT, "3");
    op_case_input(BERT_INT64, "3");
    op_case_expect_refused(BERT_INVALID_MODEL, "have types float and int64");
    op_case_begin("And", 7);
    op_case_input(BERT_FLOAT, "3");
    op_case_input(BERT_BOOL, "3");
    op_case_expect_refused(BERT_INVALID_MODEL, "input 0 has type float; And takes bool");
}

static void elements_are_followed_through_arithmetic(void **state) {
    op_case_begin("Mul", 14);
    op_case_vector("batch,sequence,-1");
    op_case_scalar("2");
    op_case_expect_elements(0, "2*batch,2*sequence,-2");
    op_case_begin("Div", 14);
    op_case_scalar("768");
    op_case_vector("12");
    op_case_expect_elements(0, "64");
    op_case_begin("Equal", 13);
    op_case_vector("batch,-1,sequence");
    op_case_vector("-1,-1,batch");
    op_case_expect_elements(0, "0,1,?");
    op_case_begin("Neg", 13);
    op_case_vector("batch,3");
    op_case_expect_elements(0, "-batch,-3");
    op_case_begin("Cast", 13);
    op_case_vector("batch,300");
    op_case_int("to", BERT_INT32);
    op_case_expect_elements(0, "batch,300");
    op_case_begin("Cast", 13);
    op_case_vector("300");
    op_case_int("to", BERT_UINT8);
    op_case_expect_elements(0, NULL); /* it wraps around */
    op_case_begin("ReduceProd", 13);
    op_case_vector("batch,sequence,4");
    op_case_expect(0, BERT_INT64, "1");
    op_case_expect_elements(0, "4*batch*sequence");
}

static void where_chooses_between_followed_elements(void **state) {
    static const uint8_t condition[] = {1, 0};
    op_case_begin("Where", 16);
    op_case_tensor(BERT_BOOL, "2", condition);
    op_case_vector("1");
    op_case_vector("batch,sequence");
    op_case_expect_elements(0, "1,sequence");
}

static void integers_wrap_and_division_truncates(void **state) {
    static const int32_t a[] = {7, -7, INT32_MAX, 5};
    static const int32_t b[] = {2, 2, 1, -3};
    op_case_begin("Div", 14);
    op_case_tensor(BERT_INT32, "4", a);
    op_case_tensor(BERT_INT32, "4", b);
    OP_CASE_EXPECT_DATA(0, int32_t, 3, -3, INT32_MAX, -1);
    op_case_begin("Add", 14);
    op_case_tensor(BERT_INT32, "4", a);
    op_case_tensor(BERT_INT32, "4", b);
    OP_CASE_EXPECT_DATA(0, int32_t, 9, -5, INT32_MIN, 2);
    op_case_begin("Mod", 13);
    op_case_tensor(BERT_INT32, "4", a);
    op_case_tensor(BERT_INT32, "4", b);
    OP_CASE_EXPECT_DATA(0, int32_t, 1, 1, 0, -1);
    static const int32_t zero[] = {0};
    op_case_begin("Div", 14);
    op_case_tensor(BERT_INT32, "4", a);
    op_case_tensor(BERT_INT32, "1", zero);
    op_case_expect_run_fails(BERT_INVALID_INPUT, "Div of integers by zero");
    static const uint64_t large[] = {UINT64_MAX, 1};
    op_case_begin("Max", 13);
    op_case_tensor(BERT_UINT64, "2", large);
    op_case_tensor(BERT_UINT64, "2", large);
    OP_CASE_EXPECT_DATA(0, uint64_t, UINT64_MAX, 1);
}

static void nan_goes_where_numpy_puts_it(void **state) {
    static const float a[] = {NAN, 1, -2};
    static const float b[] = {0, NAN, 3};
    op_case_begin("Max", 13);
    op_case_tensor(BERT_FLOAT, "3", a);
    op_case_tensor(BERT_FLOAT, "3", b);
    OP_CASE_EXPECT_CLOSE(0, NAN, NAN, 3);
    op_case_begin("IsNaN", 13);
    op_case_tensor(BERT_FLOAT, "3", a);
    OP_CASE_EXPECT_DATA(0, uint8_t, 1, 0, 0);
    op_case_begin("Relu", 14);
    op_case_tensor(BERT_FLOAT, "3", a);
    OP_CASE_EXPECT_CLOSE(0, NAN, 1, 0);
    op_case_begin("Equal", 13);
    op_case_tensor(BERT_FLOAT, "3", a);
    op_case_tensor(BERT_FLOAT, "3", a);
    OP_CASE_EXPECT_DATA(0, uint8_t, 0, 1, 1);
}

static void softmax_changed_its_meaning_at_13(void **state) {
    static const float x[] = {0, 1, 2, 3};
    op_case_begin("Softmax", 13);
    op_case_tensor(BERT_FLOAT, "1,2,2", x);
    OP_CASE_EXPECT_CLOSE(0, 0.2689414F, 0.7310586F, 0.2689414F, 0.7310586F);
    op_case_begin("Softmax", 11);
    op_case_tensor(BERT_FLOAT, "1,2,2", x);
    OP_CASE_EXPECT_CLOSE(0, 0.0320586F, 0.0871443F, 0.2368828F, 0.6439143F);
    static const float masked[] = {-INFINITY, -INFINITY, 0, -INFINITY};
    op_case_begin("Softmax", 13);
    op_case_tensor(BERT_FLOAT, "2,2", masked);
    OP_CASE_EXPECT_CLOSE(0, NAN, NAN, 1, 0);
}

static void matmul_takes_vectors_and_broadcasts_batches(void **state) {
    static const float a[] = {1, 2, 3, 4};
    static const float b[] = {5, 6};
    op_case_begin("MatMul", 13);
    op_case_tensor(BERT_FLOAT, "2,2", a);
    op_case_tensor(BERT_FLOAT, "2", b);
    op_case_expect(0, BERT_FLOAT, "2");
    OP_CASE_EXPECT_CLOSE(0, 17, 39);
    op_case_begin("MatMul", 13);
    op_case_tensor(BERT_FLOAT, "2,1,2", a);
    op_case_tensor(BERT_FLOAT, "2,1", b);
    op_case_expect(0, BERT_FLOAT, "2,1,1");
    OP_CASE_EXPECT_CLOSE(0, 17, 39);
    op_case_begin("MatMul", 13);
    op_case_input(BERT_FLOAT, "batch,12,sequence,64");
    op_case_input(BERT_FLOAT, "batch,12,64,sequence");
    op_case_expect(0, BERT_FLOAT, "batch,12,sequence,sequence");
    op_case_begin("MatMul", 13);
    op_case_input(BERT_FLOAT, "2,3");
    op_case_input(BERT_FLOAT, "4,5");
    op_case_expect_refused(BERT_INVALID_MODEL, "the columns of A and the rows of B are 3 and 4");
    op_case_begin("Gemm", 13);
    op_case_tensor(BERT_FLOAT, "2,2", a);
    op_case_tensor(BERT_FLOAT, "1,2", b);
    op_case_tensor(BERT_FLOAT, "2,1", b);
    op_case_int("transA", 1);
    op_case_int("transB", 1);
    op_case_float("alpha", 0.5F);
    op_case_float("beta", 2.0F);
    OP_CASE_EXPECT_CLOSE(0, 21.5F, 29);
}

static void convolutions_lay_kernels_over_padded_axes(void **state) {
    static const float x[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    static const float w[] = {1, 0, -1, 1, 2, 1};
    static const float bias[] = {0.5F, 0};
    static const float ten[] = {1, 10, 1, 10};
    static const int64_t pads[] = {1, 1}, before[] = {2, 0}, one[] = {1, 0}, two[] = {2}, three[] = {3};
    /* A channel a group. */
    op_case_begin("Conv", 13);
    op_case_tensor(BERT_FLOAT, "1,2,4", x);
    op_case_tensor(BERT_FLOAT, "2,1,3", w);
    op_case_tensor(BERT_FLOAT, "2", bias);
    op_case_int("group", 2);
    op_case_ints("pads", pads, 2);
    op_case_ints("kernel_shape", three, 1);
    OP_CASE_EXPECT_CLOSE(0, -1.5F, -1.5F, -1.5F, 3.5F, 16, 24, 28, 23);
    op_case_begin("Conv", 13);
    op_case_tensor(BERT_FLOAT, "1,1,5", x);
    op_case_tensor(BERT_FLOAT, "1,1,2", ten);
    op_case_ints("pads", before, 2);
    op_case_ints("strides", two, 1);
    op_case_ints("dilations", two, 1);
    OP_CASE_EXPECT_CLOSE(0, 10, 31, 53);
    /* A stride that steps over the end of the padding. */
    op_case_begin("Conv", 13);
    op_case_tensor(BERT_FLOAT, "1,2,4", x);
    op_case_tensor(BERT_FLOAT, "1,2,2", ten);
    op_case_ints("pads", one, 2);
    op_case_ints("strides", two, 1);
    OP_CASE_EXPECT_CLOSE(0, 60, 108);
    op_case_begin("Conv", 13);
    op_case_tensor(BERT_FLOAT, "1,1,4", x);
    op_case_tensor(BERT_FLOAT, "1,1,2", ten);
    op_case_string("auto_pad", "SAME_LOWER");
    OP_CASE_EXPECT_CLOSE(0, 10, 21, 32, 43);
    op_case_begin("Conv", 13);
    op_case_tensor(BERT_FLOAT, "1,1,4", x);
    op_case_tensor(BERT_FLOAT, "1,1,2", ten);
    op_case_string("auto_pad", "SAME_UPPER");
    OP_CASE_EXPECT_CLOSE(0, 21, 32, 43, 4);
    /* More outputs than are computed together, and channels that are summed. */
    op_case_begin("Conv", 13);
    op_case_tensor(BERT_FLOAT, "1,1,1", x + 1);
    op_case_tensor(BERT_FLOAT, "9,1,1", x);
    OP_CASE_EXPECT_CLOSE(0, 2, 4, 6, 8, 10, 12, 14, 16, 18);
    op_case_begin("Conv", 13);
    op_case_tensor(BERT_FLOAT, "1,2,2,2", x);
    op_case_tensor(BERT_FLOAT, "1,2,1,2", w + 2);
    OP_CASE_EXPECT_CLOSE(0, 17, 23);
}

/* Two sequences, and two groups of two channels and two outputs each. */
static void convolutions_keep_sequences_and_groups_apart(void **state) {
    static const float x[24] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23};
    static const float w[16] = {-2, -1, 0, 1, 2, -2, -1, 0, 1, 2, -2, -1, 0, 1, 2, -2};
    static const float bias[] = {0, 1, 2, 3};
    op_case_begin("Conv", 13);
    op_case_tensor(BERT_FLOAT, "2,4,3", x);
    op_case_tensor(BERT_FLOAT, "4,2,2", w);
    op_case_tensor(BERT_FLOAT, "4", bias);
    op_case_int("group", 2);
    op_case_expect(0, BERT_FLOAT, "2,4,2");
    OP_CASE_EXPECT_CLOSE(0, 3, 1, -4, -5, -6, -6, 8, 9, -21, -23, -16, -17, -6, -6, 20, 21);
}

/* The places are those of the stride alone, and the padding what they need of the dilated kernel: an odd element of it
 * goes behind, or before. */
static void convolutions_pad_for_strides_and_dilations(void **state) {
    static const float x[] = {1, 2, 3, 4, 5, 6}, w[] = {1, 10, 100};
    static const int64_t two[] = {2}, three[] = {3};
    static const float strided[2][3] = {{321, 543, 65}, {210, 432, 654}}, both[2][2] = {{420, 53}, {310, 42}};
    for (int lower = 0; lower < 2; lower++) {
        const char *way = lower ? "SAME_LOWER" : "SAME_UPPER";
        op_case_begin("Conv", 13);
        op_case_tensor(BERT_FLOAT, "1,1,6", x);
        op_case_tensor(BERT_FLOAT, "1,1,3", w);
        op_case_string("auto_pad", way);
        op_case_ints("strides", two, 1);
        op_case_expect_close(0, strided[lower], 3);
        op_case_begin("Conv", 13);
        op_case_tensor(BERT_FLOAT, "1,1,6", x);
        op_case_tensor(BERT_FLOAT, "1,1,3", w);
        op_case_string("auto_pad", way);
        op_case_ints("dilations", two, 1);
        OP_CASE_EXPECT_CLOSE(0, 310, 420, 531, 642, 53, 64);
        op_case_begin("Conv", 13);
        op_case_tensor(BERT_FLOAT, "1,1,5", x);
        op_case_tensor(BERT_FLOAT, "1,1,3", w);
        op_case_string("auto_pad", way);
        op_case_ints("strides", three, 1);
        op_case_ints("dilations", two, 1);
        op_case_expect_close(0, both[lower], 2);
    }
}

/* Sums are rounded once, to the type of the tensors: 2049 lies between two numbers of float16. */
static void convolutions_are_of_every_float(void **state) {
    static const float numbers[] = {2048, 1, 1};
    uint16_t x[3], w[3];
    for (int i = 0; i < 3; i++) x[i] = bert_float_to_half(numbers[i]);
    for (int i = 0; i < 3; i++) w[i] = bert_float_to_half(1);
    op_case_begin("Conv", 13);
    op_case_tensor(BERT_FLOAT16, "1,1,3", x);
    op_case_tensor(BERT_FLOAT16, "1,1,3", w);
    op_case_expect(0, BERT_FLOAT16, "1,1,1");
    OP_CASE_EXPECT_DATA(0, uint16_t, bert_float_to_half(2050));
    static const double fine[] = {1e16, 2, 3}, ones[] = {1, 1};
    op_case_begin("Conv", 13);
    op_case_tensor(BERT_DOUBLE, "1,1,3", fine);
    op_case_tensor(BERT_DOUBLE, "1,1,2", ones);
    op_case_expect(0, BERT_DOUBLE, "1,1,2");
    OP_CASE_EXPECT_DATA(0, double, 10000000000000002.0, 5);
}

static void mish_is_the_identity_far_up_and_nothing_far_down(void **state) {
    static const float x[] = {1, 0, -1, -3, 20, 1000, -1000, 3e38F, -3e38F};
    op_case_begin("Mish", 18);
    op_case_tensor(BERT_FLOAT, "9", x);
    OP_CASE_EXPECT_CLOSE(0, 0.86509842F, 0, -0.30340147F, -0.14564747F, 20, 1000, 0, 3e38F, 0);
    const uint16_t half[] = {bert_float_to_half(1), bert_float_to_half(-3), bert_float_to_half(-60000)};
    op_case_begin("Mish", 18);
    op_case_tensor(BERT_FLOAT16, "3", half);
    op_case_expect(0, BERT_FLOAT16, "3");
    OP_CASE_EXPECT_DATA(0, uint16_t, bert_float_to_half(0.86509842F), bert_float_to_half(-0.14564747F),
                        bert_float_to_half(-0.0F));
}

static void convolutions_have_as_many_places_as_fit(void **state) {
    static const int64_t pads[] = {1, 1}, two[] = {2};
    op_case_begin("Conv", 13);
    op_case_input(BERT_FLOAT, "batch,768,sequence");
    op_case_input(BERT_FLOAT, "256,768,3");
    op_case_ints("pads", pads, 2);
    op_case_expect(0, BERT_FLOAT, "batch,256,sequence");
    op_case_begin("Conv", 13);
    op_case_input(BERT_FLOAT, "batch,4,sequence");
    op_case_input(BERT_FLOAT, "2,2,4");
    op_case_int("group", 2);
    op_case_expect(0, BERT_FLOAT, "batch,2,sequence - 3");
    /* An axis without elements has no places, whatever is padded. */
    for (int64_t pad = 0; pad < 3; pad++) {
        const int64_t both[] = {pad, pad};
        op_case_begin("Conv", 13);
        op_case_input(BERT_FLOAT, "batch,2,0");
        op_case_input(BERT_FLOAT, "2,2,3");
        op_case_ints("pads", both, 2);
        op_case_expect(0, BERT_FLOAT, "batch,2,0");
    }
    static const struct {
        const char *x, *w, *words;
        const int64_t *pads;
        int64_t group, stride;
    } wrong[] = {{"1,3,5", "2,2,2", "the channels of X and the groups' of W are 3 and 2", pads, 1, 1},
                 {"1,4,5", "3,2,2", "2 groups", pads, 2, 1},
                 {"1,2,5,5", "2,2,2,2", "pads lists 2 numbers for 2 spatial axes", pads, 1, 0},
                 {"1,2,5,5", "2,2,2", "X has 4 dimensions and W has 3", pads, 1, 0},
                 {"1,2,1", "2,2,4", "a kernel of 4 with dilation 1 doesn't fit into an input of 1", NULL, 1, 1},
                 {"1,2,1", "2,2,4", "a kernel of 4 with dilation 1 doesn't fit into an input of 1", NULL, 1, 4},
                 {"1,2,3", "2,2,6", "doesn't fit into an input of 3 with padding 2", pads, 1, 9},
                 {"1,2,5", "2,2,0", "a dimension of the kernel is 0", NULL, 1, 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        op_case_begin("Conv", 13);
        op_case_input(BERT_FLOAT, wrong[i].x);
        op_case_input(BERT_FLOAT, wrong[i].w);
        op_case_int("group", wrong[i].group);
        if (wrong[i].pads) op_case_ints("pads", wrong[i].pads, 2);
        if (wrong[i].stride) op_case_ints("strides", &wrong[i].stride, 1);
        op_case_expect_refused(BERT_INVALID_MODEL, wrong[i].words);
    }
    op_case_begin("Conv", 13);
    op_case_input(BERT_FLOAT, "1,2,5");
    op_case_input(BERT_FLOAT, "2,2,3");
    op_case_ints("kernel_shape", two, 1);
    op_case_expect_refused(BERT_INVALID_MODEL, "are 3 and 2");
}

static void reductions_take_axes_where_their_opset_has_them(void **state) {
    static const float x[] = {1, 2, 3, 4, 5, 6};
    static const int64_t last[] = {-1};
    op_case_begin("ReduceMean", 13);
    op_case_tensor(BERT_FLOAT, "2,3", x);
    op_case_ints("axes", last, 1);
    OP_CASE_EXPECT_CLOSE(0, 2, 5);
    op_case_begin("ReduceMean", 18);
    op_case_tensor(BERT_FLOAT, "2,3", x);
    op_case_tensor(BERT_INT64, "1", last);
    op_case_int("keepdims", 0);
    op_case_expect(0, BERT_FLOAT, "2");
    OP_CASE_EXPECT_CLOSE(0, 2, 5);
    op_case_begin("ReduceSum", 13);
    op_case_tensor(BERT_FLOAT, "2,3", x);
    op_case_expect(0, BERT_FLOAT, "1,1");
    OP_CASE_EXPECT_CLOSE(0, 21);
    op_case_begin("ReduceL2", 18);
    op_case_input(BERT_FLOAT, "batch,sequence,4");
    op_case_vector("2,0");
    op_case_expect(0, BERT_FLOAT, "1,sequence,1");
    op_case_begin("ReduceSum", 13);
    op_case_input(BERT_FLOAT, "2,3");
    op_case_vector("2");
    op_case_expect_refused(BERT_INVALID_MODEL, "axis 2 is outside a tensor of 2 dimensions");
    op_case_begin("ArgMax", 13);
    op_case_tensor(BERT_FLOAT, "2,3", x);
    op_case_int("axis", 1);
    op_case_int("keepdims", 0);
    OP_CASE_EXPECT_DATA(0, int64_t, 2, 2);
    static const int64_t axis[] = {1};
    op_case_begin("CumSum", 14);
    op_case_tensor(BERT_FLOAT, "2,3", x);
    op_case_tensor(BERT_INT64, "", axis);
    op_case_int("exclusive", 1);
    op_case_int("reverse", 1);
    OP_CASE_EXPECT_CLOSE(0, 5, 3, 0, 11, 6, 0);
}

static void layer_normalization_is_accepted_at_any_opset(void **state) {
    static const float x[] = {1, 3, 2, 2};
    static const float scale[] = {1, 2};
    static const float bias[] = {0, 1};
    for (int32_t opset = 11; opset <= 17; opset += 6) {
        op_case_begin("LayerNormalization", opset);
        op_case_tensor(BERT_FLOAT, "2,2", x);
        op_case_tensor(BERT_FLOAT, "2", scale);
        op_case_tensor(BERT_FLOAT, "2", bias);
        op_case_float("epsilon", 0.0F);
        op_case_outputs(3);
        op_case_expect(1, BERT_FLOAT, "2,1");
        static const float first[] = {-1, 3};
        op_case_run();
        assert_memory_equal(op_case_output(0)->data, first, sizeof first);
        assert_true(isnan(((const float *)op_case_output(0)->data)[2])); /* 0 / 0 without epsilon */
    }
    op_case_begin("LayerNormalization", 17);
    op_case_input(BERT_FLOAT, "batch,sequence,8");
    op_case_input(BERT_FLOAT, "4");
    op_case_expect_refused(BERT_INVALID_MODEL, "input 1 of shape [4] doesn't broadcast");
}

static void ids_outside_a_table_are_invalid_input(void **state) {
    static const int32_t ids[] = {0, 3};
    static const float table[] = {1, 2, 3};
    op_case_begin_in("bertc", "Embedding", 1);
    op_case_tensor(BERT_INT32, "1,2", ids);
    op_case_tensor(BERT_FLOAT, "3,1", table);
    op_case_expect_run_fails(BERT_INVALID_INPUT, "word id 3 of sequence 0, position 1, is outside a table of 3 rows");
}

/* 173 and -172 scales: 17.296875 and -17.203125 as float16, of which the sum is less than one scale, 0.09997559. */
static void rows_of_bytes_have_the_type_of_their_scale(void **state) {
    static const int32_t ids[] = {0};
    static const uint8_t words[] = {173}, positions[] = {0}, zero_point[] = {172};
    const uint16_t scale = bert_float_to_half(0.1F), expected = bert_float_to_half(0.09375F);
    op_case_begin_in("bertc", "Embedding", 1);
    op_case_tensor(BERT_INT32, "1,1", ids);
    op_case_tensor(BERT_UINT8, "1,1", words);
    op_case_tensor(BERT_INT32, "1,1", ids);
    op_case_tensor(BERT_UINT8, "1,1", positions);
    for (int i = 0; i < 4; i++) op_case_absent(); /* types, gamma, beta */
    op_case_tensor(BERT_FLOAT16, "1,1", &scale);
    op_case_absent();
    op_case_tensor(BERT_FLOAT16, "1,1", &scale);
    op_case_tensor(BERT_UINT8, "1,1", zero_point);
    op_case_expect(0, BERT_FLOAT16, "1,1,1");
    op_case_run();
    assert_int_equal(((const uint16_t *)op_case_output(0)->data)[0], expected);
}

static void wrong_canonical_operators_are_refused(void **state) {
    op_case_begin_in("bertc", "Linear", 1);
    op_case_input(BERT_FLOAT, "batch,4");
    op_case_absent();
    op_case_input(BERT_FLOAT, "5,3");
    op_case_expect_refused(BERT_INVALID_MODEL, "are 5 and 4");
    op_case_begin_in("bertc", "Linear", 1);
    op_case_input(BERT_FLOAT, "batch,4");
    op_case_absent();
    op_case_input(BERT_FLOAT, "4,3");
    op_case_string("activation", "gelu_new");
    op_case_expect_refused(BERT_INVALID_MODEL, "no activation \"gelu_new\"");
    op_case_begin_in("bertc", "Attention", 1);
    op_case_input(BERT_FLOAT, "batch,sequence,10");
    op_case_int("heads", 2);
    op_case_int("packed", 1);
    op_case_expect_refused(BERT_INVALID_MODEL, "is 10, not a multiple of 6");
    op_case_begin_in("bertc", "Attention", 1);
    op_case_input(BERT_FLOAT, "batch,sequence,12");
    op_case_input(BERT_FLOAT, "batch,keys,12");
    op_case_input(BERT_FLOAT, "batch,keys,12");
    op_case_int("heads", 2);
    op_case_expect(0, BERT_FLOAT, "batch,sequence,12");
}

static void a_variadic_input_is_never_absent(void **state) {
    op_case_begin("Max", 13);
    op_case_input(BERT_FLOAT, "3");
    op_case_absent();
    op_case_expect_refused(BERT_INVALID_MODEL, "input 1 is missing");
}

int main(void) {
#define TEST(name) cmocka_unit_test_teardown(name, op_case_teardown)
    const struct CMUnitTest tests[] = {
        TEST(arithmetic_broadcasts_symbolic_shapes),
        TEST(elements_are_followed_through_arithmetic),
        TEST(where_chooses_between_followed_elements),
        TEST(integers_wrap_and_division_truncates),
        TEST(nan_goes_where_numpy_puts_it),
        TEST(softmax_changed_its_meaning_at_13),
        TEST(matmul_takes_vectors_and_broadcasts_batches),
        TEST(convolutions_lay_kernels_over_padded_axes),
        TEST(convolutions_keep_sequences_and_groups_apart),
        TEST(convolutions_pad_for_strides_and_dilations),
        TEST(convolutions_are_of_every_float),
        TEST(mish_is_the_identity_far_up_and_nothing_far_down),
        TEST(convolutions_have_as_many_places_as_fit),
        TEST(reductions_take_axes_where_their_opset_has_them),
        TEST(layer_normalization_is_accepted_at_any_opset),
        TEST(ids_outside_a_table_are_invalid_input),
        TEST(rows_of_bytes_have_the_type_of_their_scale),
        TEST(wrong_canonical_operators_are_refused),
        TEST(a_variadic_input_is_never_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
