/* Ops that shapes are computed with, and ops that move elements: inference with symbolic dimensions, and content. */
#include "tests/graph/op_case.h"

#define INPUT(...) op_case_input(BERT_FLOAT, __VA_ARGS__)
#define EXPECT(shape) op_case_expect(0, BERT_FLOAT, shape)

static const float six[6] = {0, 1, 2, 3, 4, 5};
static const int64_t numbers[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

static void shape_gives_dimensions_as_elements(void **state) {
    op_case_begin("Shape", 13);
    INPUT("batch,sequence,768");
    op_case_expect(0, BERT_INT64, "3");
    op_case_expect_elements(0, "batch,sequence,768");
    op_case_begin("Shape", 15);
    INPUT("batch,sequence,768");
    op_case_int("start", -2);
    op_case_int("end", -1);
    op_case_expect_elements(0, "sequence");
    op_case_begin("Shape", 15);
    INPUT("batch,sequence,768");
    op_case_int("start", 2);
    op_case_int("end", 1);
    op_case_expect(0, BERT_INT64, "0");
    op_case_begin("Shape", 13);
    INPUT("*");
    op_case_expect(0, BERT_INT64, "?");
    op_case_begin("Size", 13);
    INPUT("batch,sequence,2");
    op_case_expect_elements(0, "2*batch*sequence");
}

static void reshape_understands_what_exporters_write(void **state) {
    op_case_begin("Reshape", 14);
    INPUT("batch,sequence,768");
    op_case_vector("batch,sequence,12,-1");
    EXPECT("batch,sequence,12,64");
    op_case_begin("Reshape", 14);
    INPUT("batch,sequence,768");
    op_case_vector("0,-1,12,64");
    EXPECT("batch,sequence,12,64");
    op_case_begin("Reshape", 14);
    INPUT("batch,sequence,12,64");
    op_case_vector("batch,sequence,-1");
    EXPECT("batch,sequence,768");
    op_case_begin("Reshape", 14);
    INPUT("batch,sequence");
    op_case_vector("-1");
    EXPECT("batch*sequence");
    op_case_begin("Reshape", 14);
    INPUT("*");
    op_case_vector("batch,-1,0");
    EXPECT("batch,?,?");
    op_case_begin("Reshape", 14);
    INPUT("batch,sequence");
    op_case_input(BERT_INT64, "3");
    EXPECT("?,?,?");
    op_case_begin("Reshape", 14);
    INPUT("batch,sequence");
    op_case_input(BERT_INT64, "?");
    EXPECT("*");
    op_case_begin("Reshape", 14);
    op_case_scalar("sequence");
    op_case_vector("-1");
    op_case_expect(0, BERT_INT64, "1");
    op_case_expect_elements(0, "sequence");
}

static void reshape_copies_zeros_unless_told_not_to(void **state) {
    op_case_begin("Reshape", 14);
    INPUT("2,0,3");
    op_case_vector("0,3,0");
    op_case_expect_refused(BERT_INVALID_MODEL, "a shape of 18 elements");
    op_case_begin("Reshape", 14);
    INPUT("2,0,3");
    op_case_vector("0,7");
    op_case_int("allowzero", 1);
    EXPECT("0,7");
    op_case_begin("Reshape", 14);
    INPUT("2,0,3");
    op_case_vector("0,-1");
    op_case_int("allowzero", 1);
    op_case_expect_refused(BERT_INVALID_MODEL, "-1 times 0 elements");
}

static void reshape_refuses_what_does_not_fit(void **state) {
    op_case_begin("Reshape", 14);
    INPUT("2,3");
    op_case_vector("4,-1");
    op_case_expect_refused(BERT_INVALID_MODEL, "6 elements");
    /* A view larger than what it looks at must not pass for one whose size isn't known yet. */
    static const char *const beyond[] = {"9223372036854775807", "4294967296,4294967296", "-1,4294967296,4294967296"};
    for (size_t i = 0; i < 3; i++) {
        op_case_begin("Reshape", 14);
        INPUT("2,3");
        op_case_vector(beyond[i]);
        op_case_expect_refused(BERT_INVALID_MODEL, "more elements than a tensor can have");
    }
    op_case_begin("Reshape", 14);
    INPUT("2,3");
    op_case_vector("-1,-1");
    op_case_expect_refused(BERT_INVALID_MODEL, "both 0 and 1");
    op_case_begin("Reshape", 14);
    INPUT("2,3");
    op_case_vector("6,0,0");
    op_case_expect_refused(BERT_INVALID_MODEL, "copies dimension 2");
    op_case_begin("Reshape", 14);
    INPUT("2,3");
    op_case_vector("-2,3");
    op_case_expect_refused(BERT_INVALID_MODEL, "-2");
    op_case_begin("Reshape", 14);
    INPUT("1");
    op_case_vector("1,1,1,1,1,1,1,1,1");
    op_case_expect_refused(BERT_UNSUPPORTED, "more than 8 dimensions");
    op_case_begin("Reshape", 14);
    op_case_input(BERT_STRING, "1");
    op_case_vector("1,1");
    op_case_expect_refused(BERT_INVALID_MODEL, "string");
}

static void squeeze_and_unsqueeze_take_axes_of_either_kind(void **state) {
    const int64_t axes[] = {0, -1};
    op_case_begin("Unsqueeze", 11);
    INPUT("batch,sequence");
    op_case_ints("axes", axes, 2);
    EXPECT("1,batch,sequence,1");
    op_case_begin("Unsqueeze", 13);
    INPUT("batch,sequence");
    op_case_vector("1,2");
    EXPECT("batch,1,1,sequence");
    op_case_begin("Unsqueeze", 13);
    INPUT("batch,sequence");
    op_case_input(BERT_INT64, "2");
    EXPECT("?,?,?,?");
    op_case_begin("Unsqueeze", 13);
    op_case_scalar("sequence");
    op_case_vector("0");
    op_case_expect_elements(0, "sequence");
    op_case_begin("Squeeze", 13);
    INPUT("1,batch,1,sequence");
    op_case_vector("0");
    EXPECT("batch,1,sequence");
    op_case_begin("Squeeze", 11);
    INPUT("1,batch,1");
    op_case_ints("axes", axes, 2);
    EXPECT("batch");
    op_case_begin("Squeeze", 13);
    INPUT("1,2,1");
    EXPECT("2");
    op_case_begin("Squeeze", 13);
    INPUT("1,batch,1");
    EXPECT("*");
    op_case_begin("Squeeze", 13);
    op_case_vector("sequence");
    op_case_expect(0, BERT_INT64, "");
    op_case_expect_elements(0, "sequence");
    op_case_begin("Squeeze", 13);
    op_case_vector("batch,sequence");
    op_case_expect_elements(0, "batch,sequence");
    op_case_begin("Unsqueeze", 13);
    op_case_vector("batch,sequence");
    op_case_vector("0");
    op_case_expect(0, BERT_INT64, "1,2");
    op_case_expect_elements(0, NULL);
}

static void squeeze_and_unsqueeze_refuse_wrong_axes(void **state) {
    op_case_begin("Squeeze", 13);
    INPUT("1,2,1");
    op_case_vector("1");
    op_case_expect_refused(BERT_INVALID_MODEL, "dimension 1 is 2");
    op_case_begin("Squeeze", 13);
    INPUT("1,2,1");
    op_case_vector("3");
    op_case_expect_refused(BERT_INVALID_MODEL, "axis 3");
    op_case_begin("Unsqueeze", 13);
    INPUT("1,2");
    op_case_vector("0,-4");
    op_case_expect_refused(BERT_INVALID_MODEL, "twice");
    op_case_begin("Unsqueeze", 13);
    INPUT("1,2");
    op_case_vector("0,1,2,3,4,5,6");
    op_case_expect_refused(BERT_UNSUPPORTED, "more than 8");
    op_case_begin("Unsqueeze", 11);
    INPUT("1,2");
    op_case_expect_refused(BERT_INVALID_MODEL, "needs axes");
}

static void flatten_splits_at_its_axis(void **state) {
    op_case_begin("Flatten", 13);
    INPUT("batch,sequence,768");
    op_case_int("axis", -1);
    EXPECT("batch*sequence,768");
    op_case_begin("Flatten", 13);
    INPUT("batch,sequence,768");
    op_case_int("axis", 3);
    EXPECT("768*batch*sequence,1");
    op_case_begin("Flatten", 13);
    INPUT("2,3");
    op_case_int("axis", 0);
    EXPECT("1,6");
    op_case_begin("Flatten", 13);
    INPUT("2,3");
    op_case_int("axis", -3);
    op_case_expect_refused(BERT_INVALID_MODEL, "axis -3");
}

static void a_view_keeps_every_element(void **state) {
    op_case_begin("Reshape", 14);
    op_case_tensor(BERT_FLOAT, "2,3", six);
    op_case_tensor(BERT_INT64, "2", (const int64_t[]){3, -1});
    EXPECT("3,2");
    OP_CASE_EXPECT_DATA(0, float, 0, 1, 2, 3, 4, 5);
}

static void transpose_permutes(void **state) {
    op_case_begin("Transpose", 13);
    INPUT("batch,sequence,12,64");
    const int64_t heads[] = {0, 2, 3, 1};
    op_case_ints("perm", heads, 4);
    EXPECT("batch,12,64,sequence");
    op_case_begin("Transpose", 13);
    op_case_tensor(BERT_FLOAT, "2,3", six);
    OP_CASE_EXPECT_DATA(0, float, 0, 3, 1, 4, 2, 5);
    op_case_begin("Transpose", 13);
    const int64_t perm[] = {2, 0, 1};
    op_case_tensor(BERT_INT64, "2,2,3", numbers);
    op_case_ints("perm", perm, 3);
    op_case_expect(0, BERT_INT64, "3,2,2");
    OP_CASE_EXPECT_DATA(0, int64_t, 0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11);
    op_case_begin("Transpose", 13);
    INPUT("2,3");
    const int64_t twice[] = {1, 1};
    op_case_ints("perm", twice, 2);
    op_case_expect_refused(BERT_INVALID_MODEL, "no permutation");
    op_case_begin("Transpose", 13);
    INPUT("2,3");
    op_case_ints("perm", perm, 3);
    op_case_expect_refused(BERT_INVALID_MODEL, "3 axes");
}

static void concat_adds_along_its_axis_and_follows_elements(void **state) {
    op_case_begin("Concat", 13);
    INPUT("batch,3");
    INPUT("2,sequence");
    op_case_int("axis", -1);
    EXPECT("2,sequence + 3");
    /* The name of a dimension stays, whichever input has it: as in MobileBERT, whose neighbours are slices that are
     * padded. */
    for (int i = 0; i < 2; i++) {
        op_case_begin("Concat", 13);
        INPUT(i ? "batch,sequence,3" : "batch,?,3");
        INPUT(i ? "batch,?,3" : "batch,sequence,3");
        op_case_int("axis", 2);
        EXPECT("batch,sequence,6");
    }
    /* So does what is computed from names, which says more than nothing. */
    for (int i = 0; i < 2; i++) {
        op_case_begin("Concat", 13);
        INPUT(i ? "sequence + 3,3" : "?,3");
        INPUT(i ? "?,3" : "sequence + 3,3");
        op_case_int("axis", 1);
        EXPECT("sequence + 3,6");
        op_case_begin("Concat", 13);
        INPUT(i ? "sequence + 3,3" : "batch,3");
        INPUT(i ? "batch,3" : "sequence + 3,3");
        op_case_int("axis", 1);
        EXPECT("batch,6");
    }
    op_case_begin("Concat", 13);
    op_case_vector("batch");
    op_case_vector("sequence,12");
    op_case_input(BERT_INT64, "1");
    op_case_int("axis", 0);
    op_case_expect(0, BERT_INT64, "4");
    op_case_expect_elements(0, "batch,sequence,12,?");
    op_case_begin("Concat", 13);
    op_case_tensor(BERT_FLOAT, "2,1", six);
    op_case_tensor(BERT_FLOAT, "2,0", NULL);
    op_case_tensor(BERT_FLOAT, "2,2", six + 2);
    op_case_int("axis", 1);
    OP_CASE_EXPECT_DATA(0, float, 0, 2, 3, 1, 4, 5);
    op_case_begin("Concat", 13);
    INPUT("2,3");
    INPUT("4,3");
    op_case_int("axis", 1);
    op_case_expect_refused(BERT_INVALID_MODEL, "are 2 and 4");
    op_case_begin("Concat", 13);
    INPUT("2,3");
    INPUT("4");
    op_case_int("axis", 0);
    op_case_expect_refused(BERT_INVALID_MODEL, "one rank");
}

static void split_by_count_and_by_sizes(void **state) {
    op_case_begin("Split", 13);
    INPUT("batch,sequence,2304");
    op_case_int("axis", 2);
    op_case_outputs(3);
    op_case_expect(2, BERT_FLOAT, "batch,sequence,768");
    op_case_begin("Split", 13);
    op_case_vector("batch,sequence,768");
    op_case_vector("1,2");
    op_case_outputs(2);
    op_case_expect_elements(0, "batch");
    op_case_expect_elements(1, "sequence,768");
    const int64_t sizes[] = {1, 2};
    op_case_begin("Split", 11);
    op_case_tensor(BERT_FLOAT, "2,3", six);
    op_case_ints("split", sizes, 2);
    op_case_int("axis", 1);
    op_case_outputs(2);
    op_case_unread(0);
    OP_CASE_EXPECT_DATA(1, float, 1, 2, 4, 5);
    op_case_begin("Split", 18);
    op_case_tensor(BERT_FLOAT, "5", six);
    op_case_int("num_outputs", 2);
    op_case_outputs(2);
    OP_CASE_EXPECT_DATA(0, float, 0, 1, 2);
    OP_CASE_EXPECT_DATA(1, float, 3, 4);
    op_case_begin("Split", 18);
    op_case_tensor(BERT_FLOAT, "5", six);
    op_case_int("num_outputs", 4);
    op_case_outputs(4);
    op_case_expect(3, BERT_FLOAT, "0");
    OP_CASE_EXPECT_DATA(2, float, 4);
    op_case_begin("Split", 13);
    INPUT("5");
    op_case_outputs(2);
    op_case_expect_refused(BERT_INVALID_MODEL, "5 can't be split into 2");
    op_case_begin("Split", 13);
    INPUT("5");
    op_case_vector("2,2");
    op_case_outputs(2);
    op_case_expect_refused(BERT_INVALID_MODEL, "5 and 4");
    op_case_begin("Split", 13);
    INPUT("5");
    op_case_vector("9223372036854775807,5");
    op_case_outputs(2);
    op_case_expect_refused(BERT_INVALID_MODEL, "more elements");
}

static void slice_sizes_are_exact_or_symbolic(void **state) {
    static const struct {
        const char *dim, *start, *end, *step, *size;
    } cases[] = {
        {"512", "0", "sequence", "1", "min(sequence, 512)"},
        {"sequence", "0", "sequence", "1", "sequence"},
        {"sequence", "0", "9223372036854775807", "1", "sequence"},
        {"sequence", "0", "1", "1", "min(sequence, 1)"},
        {"sequence", "-1", "9223372036854775807", "1", "min(sequence, 1)"},
        {"sequence", "-1", "-9223372036854775808", "-1", "sequence"},
        {"sequence", "-sequence", "9223372036854775807", "1", "sequence"},
        {"512", "-sequence", "9223372036854775807", "1", "?"}, /* all of them where there are none */
        {"sequence", "-sequence", "9223372036854775807", "2", "?"},
        {"sequence", "0", "-1", "1", "max(sequence - 1, 0)"},
        {"sequence", "0", "sequence", "2", "floor_div(sequence + 1, 2)"},
        {"sequence", "0", "?", "1", "?"},
        {"sequence", "?", "5", "1", "?"},
        {"sequence", "0", "5", "?", "?"},
        {"10", "2", "8", "1", "6"},
        {"10", "2", "8", "4", "2"},
        {"10", "-3", "100", "1", "3"},
        {"10", "8", "2", "1", "0"},
        {"10", "-1", "-100", "-1", "10"},
        {"10", "8", "2", "-4", "2"},
        {"10", "100", "0", "-1", "9"},
        {"0", "0", "5", "1", "0"},
        {"0", "-1", "-5", "-1", "0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        op_case_begin("Slice", 13);
        INPUT(cases[i].dim);
        op_case_vector(cases[i].start);
        op_case_vector(cases[i].end);
        op_case_absent();
        op_case_vector(cases[i].step);
        EXPECT(cases[i].size);
    }
}

static void slice_follows_elements_and_moves_them(void **state) {
    op_case_begin("Slice", 13);
    op_case_vector("batch,sequence,768");
    op_case_vector("-2");
    op_case_vector("9223372036854775807");
    op_case_expect_elements(0, "sequence,768");
    op_case_begin("Slice", 13);
    op_case_vector("batch,sequence,768");
    op_case_vector("2");
    op_case_vector("-9223372036854775808");
    op_case_vector("0");
    op_case_vector("-2");
    op_case_expect_elements(0, "768,batch");
    const int64_t starts[] = {1, 0};
    const int64_t ends[] = {INT64_MAX, -1};
    const int64_t axes[] = {-1, 0};
    const int64_t steps[] = {1, 1};
    op_case_begin("Slice", 13);
    op_case_tensor(BERT_INT64, "4,3", numbers);
    op_case_tensor(BERT_INT64, "2", starts);
    op_case_tensor(BERT_INT64, "2", ends);
    op_case_tensor(BERT_INT64, "2", axes);
    op_case_tensor(BERT_INT64, "2", steps);
    op_case_expect(0, BERT_INT64, "3,2");
    OP_CASE_EXPECT_DATA(0, int64_t, 1, 2, 4, 5, 7, 8);
    op_case_begin("Slice", 9);
    op_case_tensor(BERT_INT64, "4,3", numbers);
    op_case_ints("starts", starts, 2);
    op_case_ints("ends", ends, 2);
    op_case_ints("axes", axes, 2);
    OP_CASE_EXPECT_DATA(0, int64_t, 1, 2, 4, 5, 7, 8);
    op_case_begin("Slice", 10);
    op_case_tensor(BERT_INT64, "4,3", numbers);
    op_case_tensor(BERT_INT32, "1", (const int32_t[]){-1});
    op_case_tensor(BERT_INT32, "1", (const int32_t[]){INT32_MIN});
    op_case_tensor(BERT_INT32, "1", (const int32_t[]){1});
    op_case_tensor(BERT_INT32, "1", (const int32_t[]){-2});
    OP_CASE_EXPECT_DATA(0, int64_t, 2, 0, 5, 3, 8, 6, 11, 9);
}

static void slice_refuses_lists_that_disagree(void **state) {
    op_case_begin("Slice", 13);
    INPUT("2,3");
    op_case_vector("0,0");
    op_case_vector("1");
    op_case_expect_refused(BERT_INVALID_MODEL, "one length");
    op_case_begin("Slice", 13);
    INPUT("2,3");
    op_case_vector("0");
    op_case_vector("1");
    op_case_vector("0");
    op_case_vector("0");
    op_case_expect_refused(BERT_INVALID_MODEL, "step of 0");
    op_case_begin("Slice", 13);
    INPUT("2,3");
    op_case_vector("0,0");
    op_case_vector("1,1");
    op_case_vector("1,-1");
    op_case_expect_refused(BERT_INVALID_MODEL, "twice");
    op_case_begin("Slice", 13);
    INPUT("2");
    op_case_vector("0");
    op_case_vector("1");
    op_case_vector("1");
    op_case_expect_refused(BERT_INVALID_MODEL, "axis 1");
}

static void gather_takes_rows_and_names_what_is_not_there(void **state) {
    op_case_begin("Gather", 13);
    INPUT("21128,768");
    op_case_input(BERT_INT64, "batch,sequence");
    EXPECT("batch,sequence,768");
    op_case_begin("Gather", 13);
    op_case_vector("batch,sequence,768");
    op_case_tensor(BERT_INT64, "", (const int64_t[]){-2});
    op_case_expect(0, BERT_INT64, "");
    op_case_expect_elements(0, "sequence");
    op_case_begin("Gather", 13);
    op_case_vector("batch,sequence,768");
    op_case_vector("2,0");
    op_case_expect_elements(0, "768,batch");
    op_case_begin("Gather", 13);
    op_case_vector("batch,sequence");
    op_case_scalar("2");
    op_case_expect_refused(BERT_INVALID_MODEL, "index 2 is outside a vector of 2");
    op_case_begin("Gather", 13);
    op_case_tensor(BERT_FLOAT, "3,2", six);
    op_case_tensor(BERT_INT32, "1,3", (const int32_t[]){-1, 0, 1});
    OP_CASE_EXPECT_DATA(0, float, 4, 5, 0, 1, 2, 3);
    op_case_begin("Gather", 13);
    op_case_tensor(BERT_FLOAT, "2,3", six);
    op_case_tensor(BERT_INT64, "2", (const int64_t[]){2, 0});
    op_case_int("axis", -1);
    OP_CASE_EXPECT_DATA(0, float, 2, 0, 5, 3);
    for (int sign = -1; sign <= 1; sign += 2) {
        op_case_begin("Gather", 13);
        op_case_tensor(BERT_FLOAT, "3,2", six);
        const int64_t ids[] = {0, 0, 0, sign < 0 ? -4 : 3};
        op_case_tensor(BERT_INT64, "2,2", ids);
        op_case_expect_run_fails(BERT_INVALID_INPUT, sign < 0 ? "index -4 at [1, 1] of input 1 is outside the 3 rows"
                                                              : "index 3 at [1, 1] of input 1 is outside the 3 rows");
    }
}

static void gather_elements_and_nd(void **state) {
    op_case_begin("GatherElements", 13);
    op_case_tensor(BERT_FLOAT, "2,3", six);
    op_case_tensor(BERT_INT64, "2,2", (const int64_t[]){2, 0, -1, 1});
    op_case_int("axis", 1);
    OP_CASE_EXPECT_DATA(0, float, 2, 0, 5, 4);
    op_case_begin("GatherElements", 13);
    op_case_tensor(BERT_FLOAT, "2,3", six);
    op_case_tensor(BERT_INT64, "1,1", (const int64_t[]){3});
    op_case_int("axis", 1);
    op_case_expect_run_fails(BERT_INVALID_INPUT, "index 3 at [0, 0]");
    op_case_begin("GatherND", 12);
    INPUT("batch,sequence,768");
    op_case_input(BERT_INT64, "batch,1");
    op_case_int("batch_dims", 1);
    EXPECT("batch,768");
    op_case_begin("GatherND", 12);
    op_case_tensor(BERT_INT64, "2,2,3", numbers);
    op_case_tensor(BERT_INT64, "2,1,1", (const int64_t[]){1, -2});
    op_case_int("batch_dims", 1);
    op_case_expect(0, BERT_INT64, "2,1,3");
    OP_CASE_EXPECT_DATA(0, int64_t, 3, 4, 5, 6, 7, 8);
    op_case_begin("GatherND", 12);
    INPUT("2,2");
    op_case_input(BERT_INT64, "2,3");
    op_case_expect_refused(BERT_INVALID_MODEL, "indices of 3 numbers");
}

int main(void) {
#define TEST(name) cmocka_unit_test_teardown(name, op_case_teardown)
    const struct CMUnitTest tests[] = {
        TEST(shape_gives_dimensions_as_elements),
        TEST(reshape_understands_what_exporters_write),
        TEST(reshape_copies_zeros_unless_told_not_to),
        TEST(reshape_refuses_what_does_not_fit),
        TEST(squeeze_and_unsqueeze_take_axes_of_either_kind),
        TEST(squeeze_and_unsqueeze_refuse_wrong_axes),
        TEST(flatten_splits_at_its_axis),
        TEST(a_view_keeps_every_element),
        TEST(transpose_permutes),
        TEST(concat_adds_along_its_axis_and_follows_elements),
        TEST(split_by_count_and_by_sizes),
        TEST(slice_sizes_are_exact_or_symbolic),
        TEST(slice_follows_elements_and_moves_them),
        TEST(slice_refuses_lists_that_disagree),
        TEST(gather_takes_rows_and_names_what_is_not_there),
        TEST(gather_elements_and_nd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
