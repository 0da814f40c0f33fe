/* Ops that make tensors from a rule, scatter, select and pad; If. */
#include "tests/graph/op_case.h"

#include <math.h>

#define INPUT(...) op_case_input(BERT_FLOAT, __VA_ARGS__)
#define EXPECT(shape) op_case_expect(0, BERT_FLOAT, shape)

static const float six[6] = {0, 1, 2, 3, 4, 5};

static void expand_broadcasts_both_ways(void **state) {
    op_case_begin("Expand", 13);
    INPUT("batch,1,1,sequence");
    op_case_vector("batch,1,sequence,sequence");
    EXPECT("batch,1,sequence,sequence");
    op_case_begin("Expand", 13);
    INPUT("3,1");
    op_case_vector("1");
    EXPECT("3,1");
    op_case_begin("Expand", 13);
    op_case_scalar("sequence");
    op_case_vector("3");
    op_case_expect_elements(0, "sequence,sequence,sequence");
    op_case_begin("Expand", 13);
    op_case_tensor(BERT_FLOAT, "3,1", six);
    op_case_tensor(BERT_INT64, "3", (const int64_t[]){2, 1, 2});
    EXPECT("2,3,2");
    OP_CASE_EXPECT_DATA(0, float, 0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2);
    op_case_begin("Expand", 13);
    INPUT("3,2");
    op_case_vector("3,4");
    op_case_expect_refused(BERT_INVALID_MODEL, "[3, 4]");
    op_case_begin("Expand", 13);
    INPUT("3,2");
    op_case_vector("-1,2");
    op_case_expect_refused(BERT_INVALID_MODEL, "-1");
}

static void tile_repeats(void **state) {
    op_case_begin("Tile", 13);
    INPUT("batch,2");
    op_case_vector("3,sequence");
    EXPECT("3*batch,2*sequence");
    op_case_begin("Tile", 13);
    op_case_tensor(BERT_FLOAT, "2,1", six);
    op_case_tensor(BERT_INT64, "2", (const int64_t[]){2, 2});
    OP_CASE_EXPECT_DATA(0, float, 0, 0, 1, 1, 0, 0, 1, 1);
    op_case_begin("Tile", 13);
    op_case_tensor(BERT_FLOAT, "2,1", six);
    op_case_tensor(BERT_INT64, "2", (const int64_t[]){2, 0});
    EXPECT("4,0");
    op_case_run();
    op_case_begin("Tile", 13);
    INPUT("2,1");
    op_case_vector("2");
    op_case_expect_refused(BERT_INVALID_MODEL, "1 repeats");
}

static void constant_of_shape_fills(void **state) {
    static const int64_t one = 1;
    op_case_begin("ConstantOfShape", 9);
    op_case_vector("3");
    op_case_constant("value", BERT_INT64, "1", &one);
    op_case_expect(0, BERT_INT64, "3");
    op_case_expect_elements(0, "1,1,1");
    op_case_begin("ConstantOfShape", 9);
    op_case_vector("batch,sequence");
    EXPECT("batch,sequence");
    op_case_begin("ConstantOfShape", 9);
    op_case_tensor(BERT_INT64, "2", (const int64_t[]){1, 3});
    op_case_constant("value", BERT_INT64, "1", &one);
    OP_CASE_EXPECT_DATA(0, int64_t, 1, 1, 1);
    op_case_begin("ConstantOfShape", 9);
    op_case_tensor(BERT_INT64, "0", NULL);
    EXPECT("");
    OP_CASE_EXPECT_DATA(0, float, 0);
    op_case_begin("ConstantOfShape", 9);
    op_case_vector("batch,-1");
    op_case_expect_refused(BERT_INVALID_MODEL, "dimension -1");
}

static void range_counts(void **state) {
    op_case_begin("Range", 11);
    op_case_scalar("0");
    op_case_scalar("sequence");
    op_case_scalar("1");
    op_case_expect(0, BERT_INT64, "sequence");
    op_case_begin("Range", 11);
    op_case_scalar("past");
    op_case_scalar("total");
    op_case_scalar("1");
    op_case_expect(0, BERT_INT64, "max(-past + total, 0)");
    op_case_begin("Range", 11);
    op_case_scalar("10");
    op_case_scalar("4");
    op_case_scalar("-4");
    op_case_expect(0, BERT_INT64, "2");
    op_case_expect_elements(0, "10,6");
    op_case_begin("Range", 11);
    op_case_scalar("4");
    op_case_scalar("0");
    op_case_scalar("1");
    op_case_expect(0, BERT_INT64, "0");
    op_case_begin("Range", 11);
    op_case_scalar("4");
    op_case_scalar("0");
    op_case_scalar("0");
    op_case_expect_refused(BERT_INVALID_MODEL, "step of 0");
    op_case_begin("Range", 11);
    op_case_tensor(BERT_FLOAT, "", (const float[]){1});
    op_case_tensor(BERT_FLOAT, "", (const float[]){2});
    op_case_tensor(BERT_FLOAT, "", (const float[]){0.375f});
    OP_CASE_EXPECT_DATA(0, float, 1, 1.375f, 1.75f);
    op_case_begin("Range", 11);
    op_case_tensor(BERT_INT32, "", (const int32_t[]){3});
    op_case_tensor(BERT_INT32, "", (const int32_t[]){0});
    op_case_tensor(BERT_INT32, "", (const int32_t[]){-2});
    OP_CASE_EXPECT_DATA(0, int32_t, 3, 1);
    op_case_begin("Range", 11);
    op_case_tensor(BERT_FLOAT, "", (const float[]){0});
    op_case_tensor(BERT_FLOAT, "", (const float[]){INFINITY});
    op_case_tensor(BERT_FLOAT, "", (const float[]){1});
    op_case_expect_refused(BERT_INVALID_MODEL, "no end");
}

static void eye_and_triangles(void **state) {
    op_case_begin("EyeLike", 9);
    op_case_tensor(BERT_FLOAT, "2,3", six);
    op_case_int("k", 1);
    op_case_int("dtype", BERT_INT32);
    OP_CASE_EXPECT_DATA(0, int32_t, 0, 1, 0, 0, 0, 1);
    op_case_begin("EyeLike", 9);
    op_case_tensor(BERT_FLOAT, "2,2", six);
    OP_CASE_EXPECT_DATA(0, float, 1, 0, 0, 1);
    op_case_begin("EyeLike", 9);
    INPUT("2,2");
    op_case_int("dtype", BERT_STRING);
    op_case_expect_refused(BERT_UNSUPPORTED, "numbered 8");
    op_case_begin("EyeLike", 9);
    INPUT("2,2");
    op_case_int("dtype", BERT_DTYPE_UNDEFINED);
    op_case_expect_refused(BERT_UNSUPPORTED, "numbered 0");
    op_case_begin("Trilu", 14);
    op_case_tensor(BERT_FLOAT, "2,3", six);
    op_case_tensor(BERT_INT64, "", (const int64_t[]){1});
    OP_CASE_EXPECT_DATA(0, float, 0, 1, 2, 0, 0, 5);
    op_case_begin("Trilu", 14);
    op_case_tensor(BERT_FLOAT, "2,3", six);
    op_case_int("upper", 0);
    OP_CASE_EXPECT_DATA(0, float, 0, 0, 0, 3, 4, 0);
}

static void pad_in_every_mode(void **state) {
    static const struct {
        const char *mode;
        float wanted[8];
    } cases[] = {{"constant", {9, 9, 9, 0, 1, 2, 9, 9}},
                 {"edge", {0, 0, 0, 0, 1, 2, 2, 2}},
                 {"reflect", {1, 2, 1, 0, 1, 2, 1, 0}},
                 {"wrap", {0, 1, 2, 0, 1, 2, 0, 1}}};
    for (size_t i = 0; i < 4; i++) {
        op_case_begin("Pad", 19);
        op_case_tensor(BERT_FLOAT, "1,3", six);
        op_case_tensor(BERT_INT64, "2", (const int64_t[]){3, 2});
        op_case_tensor(BERT_FLOAT, "", (const float[]){9});
        op_case_tensor(BERT_INT64, "1", (const int64_t[]){-1});
        op_case_string("mode", cases[i].mode);
        EXPECT("1,8");
        assert_memory_equal(op_case_run(), cases[i].wanted, sizeof cases[i].wanted);
    }
    const int64_t crop[] = {-1, 0, 0, -1};
    op_case_begin("Pad", 9);
    op_case_tensor(BERT_FLOAT, "2,3", six);
    op_case_ints("pads", crop, 4);
    OP_CASE_EXPECT_DATA(0, float, 3, 4);
    op_case_begin("Pad", 13);
    INPUT("batch,3");
    op_case_vector("0,1,sequence,1");
    EXPECT("batch + sequence,5");
    op_case_begin("Pad", 13);
    INPUT("2,3");
    op_case_vector("0,-2,0,-2");
    op_case_expect_refused(BERT_INVALID_MODEL, "1 elements more");
    op_case_begin("Pad", 13);
    INPUT("2,3");
    op_case_vector("1,1");
    op_case_expect_refused(BERT_INVALID_MODEL, "2 amounts for 2 axes");
    op_case_begin("Pad", 13);
    INPUT("2,3");
    op_case_vector("0,0,0,0");
    op_case_string("mode", "mirror");
    op_case_expect_refused(BERT_INVALID_MODEL, "mirror");
    op_case_begin("Pad", 19);
    op_case_tensor(BERT_FLOAT, "0", NULL);
    op_case_tensor(BERT_INT64, "2", (const int64_t[]){1, 0});
    op_case_string("mode", "edge");
    op_case_expect_run_fails(BERT_INVALID_INPUT, "nothing to repeat");
}

static void scatter_replaces_and_combines(void **state) {
    op_case_begin("ScatterElements", 18);
    op_case_tensor(BERT_FLOAT, "2,3", six);
    op_case_tensor(BERT_INT64, "2,2", (const int64_t[]){0, 0, -1, 0});
    op_case_tensor(BERT_FLOAT, "2,2", (const float[]){10, 20, 30, 40});
    op_case_int("axis", 1);
    op_case_string("reduction", "add");
    OP_CASE_EXPECT_DATA(0, float, 30, 1, 2, 43, 4, 35);
    op_case_begin("ScatterND", 18);
    op_case_tensor(BERT_FLOAT, "3,2", six);
    op_case_tensor(BERT_INT64, "2,1", (const int64_t[]){2, 0});
    op_case_tensor(BERT_FLOAT, "2,2", (const float[]){7, 3, -1, 8});
    op_case_string("reduction", "max");
    OP_CASE_EXPECT_DATA(0, float, 0, 8, 2, 3, 7, 5);
    op_case_begin("ScatterND", 13);
    op_case_tensor(BERT_INT32, "2,2", (const int32_t[]){1, 2, 3, 4});
    op_case_tensor(BERT_INT64, "1,2", (const int64_t[]){1, -2});
    op_case_tensor(BERT_INT32, "1", (const int32_t[]){9});
    OP_CASE_EXPECT_DATA(0, int32_t, 1, 2, 9, 4);
    op_case_begin("ScatterND", 18);
    op_case_tensor(BERT_INT64, "1", (const int64_t[]){INT64_MIN});
    op_case_tensor(BERT_INT64, "1,1", (const int64_t[]){0});
    op_case_tensor(BERT_INT64, "1", (const int64_t[]){-1});
    op_case_string("reduction", "mul");
    OP_CASE_EXPECT_DATA(0, int64_t, INT64_MIN);
    op_case_begin("ScatterND", 13);
    INPUT("3,2");
    op_case_input(BERT_INT64, "2,1");
    INPUT("2,3");
    op_case_expect_refused(BERT_INVALID_MODEL, "[2, 2] and [2, 3]");
    op_case_begin("ScatterND", 13);
    op_case_tensor(BERT_FLOAT, "3", six);
    op_case_tensor(BERT_INT64, "1,1", (const int64_t[]){3});
    op_case_tensor(BERT_FLOAT, "1", six);
    op_case_expect_run_fails(BERT_INVALID_INPUT, "index 3 at [0, 0]");
    op_case_begin("ScatterElements", 18);
    INPUT("2");
    op_case_input(BERT_INT64, "2");
    INPUT("2");
    op_case_string("reduction", "sum");
    op_case_expect_refused(BERT_INVALID_MODEL, "sum");
}

static void one_hot_puts_off_and_on(void **state) {
    op_case_begin("OneHot", 11);
    op_case_tensor(BERT_INT64, "4", (const int64_t[]){1, -1, 3, -4});
    op_case_tensor(BERT_INT64, "", (const int64_t[]){3});
    op_case_tensor(BERT_FLOAT, "2", (const float[]){2, 5});
    EXPECT("4,3");
    OP_CASE_EXPECT_DATA(0, float, 2, 5, 2, 2, 2, 5, 2, 2, 2, 2, 2, 2);
    op_case_begin("OneHot", 11);
    op_case_tensor(BERT_FLOAT, "2", (const float[]){1, 0});
    op_case_tensor(BERT_FLOAT, "1", (const float[]){2});
    op_case_tensor(BERT_INT32, "2", (const int32_t[]){0, 1});
    op_case_int("axis", 0);
    op_case_expect(0, BERT_INT32, "2,2");
    OP_CASE_EXPECT_DATA(0, int32_t, 0, 1, 1, 0);
    op_case_begin("OneHot", 11);
    op_case_input(BERT_INT64, "batch,sequence");
    op_case_scalar("classes");
    op_case_input(BERT_FLOAT, "2");
    op_case_int("axis", 1);
    EXPECT("batch,classes,sequence");
    op_case_begin("OneHot", 11);
    op_case_input(BERT_INT64, "batch");
    op_case_scalar("-2");
    op_case_input(BERT_FLOAT, "2");
    op_case_expect_refused(BERT_INVALID_MODEL, "depth of -2");
}

static void top_k_sorts_and_keeps_the_first_of_equals(void **state) {
    static const float rows[10] = {1, 3, NAN, 3, 0, -1, -1, -2, 5, -2};
    op_case_begin("TopK", 11);
    op_case_tensor(BERT_FLOAT, "2,5", rows);
    op_case_tensor(BERT_INT64, "1", (const int64_t[]){3});
    op_case_outputs(2);
    OP_CASE_EXPECT_DATA(1, int64_t, 2, 1, 3, 3, 0, 1);
    op_case_begin("TopK", 11);
    op_case_tensor(BERT_FLOAT, "2,5", rows);
    op_case_tensor(BERT_INT64, "1", (const int64_t[]){2});
    op_case_int("largest", 0);
    op_case_outputs(2);
    op_case_unread(1);
    OP_CASE_EXPECT_DATA(0, float, 0, 1, -2, -2);
    op_case_begin("TopK", 11);
    op_case_tensor(BERT_INT32, "3,2", (const int32_t[]){1, 6, 5, 2, 3, 4});
    op_case_tensor(BERT_INT64, "1", (const int64_t[]){1});
    op_case_int("axis", 0);
    op_case_outputs(2);
    OP_CASE_EXPECT_DATA(0, int32_t, 5, 6);
    OP_CASE_EXPECT_DATA(1, int64_t, 1, 0);
    op_case_begin("TopK", 11);
    INPUT("2,5");
    op_case_vector("6");
    op_case_outputs(2);
    op_case_expect_refused(BERT_INVALID_MODEL, "6 of 5");
}

static void what_content_decides_is_known_with_the_content(void **state) {
    op_case_begin("NonZero", 13);
    op_case_tensor(BERT_FLOAT, "2,3", (const float[]){0, 1, 0, 2, 0, 3});
    op_case_expect(0, BERT_INT64, "2,3");
    OP_CASE_EXPECT_DATA(0, int64_t, 0, 1, 1, 1, 0, 2);
    op_case_begin("NonZero", 13);
    INPUT("batch,3");
    op_case_expect(0, BERT_INT64, "2,?");
    op_case_begin("Compress", 11);
    op_case_tensor(BERT_FLOAT, "2,3", six);
    op_case_tensor(BERT_BOOL, "2", (const unsigned char[]){0, 1});
    op_case_int("axis", 1);
    EXPECT("2,1");
    OP_CASE_EXPECT_DATA(0, float, 1, 4);
    op_case_begin("Compress", 11);
    op_case_tensor(BERT_FLOAT, "2,3", six);
    op_case_tensor(BERT_BOOL, "5", (const unsigned char[]){0, 1, 0, 1, 1});
    OP_CASE_EXPECT_DATA(0, float, 1, 3, 4);
}

static void if_knows_what_both_branches_share(void **state) {
    const char *const one[] = {"batch,3", "2"};
    const char *const other[] = {"batch,4", "2,1"};
    op_case_begin("If", 13);
    op_case_input(BERT_BOOL, "");
    op_case_branch("then_branch", BERT_FLOAT, one, 2);
    op_case_branch("else_branch", BERT_FLOAT, other, 2);
    op_case_outputs(2);
    EXPECT("batch,?");
    op_case_expect(1, BERT_FLOAT, "*");
    op_case_begin("If", 13);
    op_case_tensor(BERT_BOOL, "", (const unsigned char[]){0});
    op_case_branch("then_branch", BERT_INT64, one, 2);
    op_case_branch("else_branch", BERT_FLOAT, other, 2);
    op_case_outputs(2);
    EXPECT("batch,4");
    op_case_expect(1, BERT_FLOAT, "2,1");
    op_case_begin("If", 13);
    op_case_input(BERT_BOOL, "");
    op_case_branch("then_branch", BERT_INT64, one, 2);
    op_case_branch("else_branch", BERT_FLOAT, other, 2);
    op_case_outputs(2);
    op_case_expect_refused(BERT_INVALID_MODEL, "int64 in one branch and float in the other");
    op_case_begin("If", 13);
    op_case_input(BERT_BOOL, "");
    op_case_branch("then_branch", BERT_FLOAT, one, 2);
    op_case_branch("else_branch", BERT_FLOAT, other, 1);
    op_case_outputs(2);
    op_case_expect_refused(BERT_INVALID_MODEL, "2 outputs and its else_branch 1");
    op_case_begin("If", 13);
    op_case_input(BERT_BOOL, "");
    op_case_branch("then_branch", BERT_FLOAT, one, 1);
    op_case_expect_refused(BERT_INVALID_MODEL, "no else_branch");
}

static void cast_like_and_is_inf(void **state) {
    op_case_begin("CastLike", 19);
    op_case_vector("batch,3");
    op_case_input(BERT_INT32, "7");
    op_case_expect(0, BERT_INT32, "2");
    op_case_expect_elements(0, "batch,3");
    op_case_begin("CastLike", 19);
    INPUT("batch");
    op_case_input(BERT_DTYPE_UNDEFINED, "7");
    op_case_expect(0, BERT_DTYPE_UNDEFINED, "batch");
    const float values[] = {INFINITY, -INFINITY, NAN, 1};
    op_case_begin("IsInf", 10);
    op_case_tensor(BERT_FLOAT, "4", values);
    OP_CASE_EXPECT_DATA(0, unsigned char, 1, 1, 0, 0);
    op_case_begin("IsInf", 10);
    op_case_tensor(BERT_FLOAT, "4", values);
    op_case_int("detect_positive", 0);
    OP_CASE_EXPECT_DATA(0, unsigned char, 0, 1, 0, 0);
}

static void a_remainder_has_the_sign_that_is_asked_for(void **state) {
    op_case_begin("Mod", 13);
    op_case_vector("-7,7");
    op_case_vector("5,-5");
    op_case_expect_elements(0, "3,-3");
    op_case_begin("Mod", 13);
    op_case_vector("-7,7");
    op_case_vector("5,-5");
    op_case_int("fmod", 1);
    op_case_expect_elements(0, "-2,2");
}

static void lookup_counts_from_the_end_as_gather_does(void **state) {
    unsigned char table[256], every[256];
    for (int i = 0; i < 256; i++) {
        table[i] = (unsigned char)(i * 101 + 7);
        every[i] = (unsigned char)i;
    }
    static const bert_dtype types[] = {BERT_UINT8, BERT_INT8};
    for (int form = 0; form < 4; form++) {
        op_case_begin_in("bertc", "Lookup", 1);
        op_case_tensor(types[form % 2], "16,16", every);
        op_case_tensor(types[form / 2], "256", table);
        op_case_expect(0, types[form / 2], "16,16");
        assert_memory_equal(op_case_run(), table, sizeof table);
    }
    op_case_begin_in("bertc", "Lookup", 1);
    op_case_input(BERT_INT8, "batch,3");
    op_case_input(BERT_UINT8, "*");
    op_case_expect(0, BERT_UINT8, "batch,3");
    op_case_begin_in("bertc", "Lookup", 1);
    op_case_input(BERT_INT8, "batch,3");
    op_case_input(BERT_UINT8, "255");
    op_case_expect_refused(BERT_INVALID_MODEL, "255 and 256");
    op_case_begin_in("bertc", "Lookup", 1);
    op_case_input(BERT_INT32, "3");
    op_case_input(BERT_UINT8, "256");
    op_case_expect_refused(BERT_INVALID_MODEL, "input 0 has type int32");
}

int main(void) {
#define TEST(name) cmocka_unit_test_teardown(name, op_case_teardown)
    const struct CMUnitTest tests[] = {
        TEST(lookup_counts_from_the_end_as_gather_does),
        TEST(expand_broadcasts_both_ways),
        TEST(tile_repeats),
        TEST(constant_of_shape_fills),
        TEST(range_counts),
        TEST(eye_and_triangles),
        TEST(pad_in_every_mode),
        TEST(scatter_replaces_and_combines),
        TEST(one_hot_puts_off_and_on),
        TEST(top_k_sorts_and_keeps_the_first_of_equals),
        TEST(what_content_decides_is_known_with_the_content),
        TEST(cast_like_and_is_inf),
        TEST(a_remainder_has_the_sign_that_is_asked_for),
        TEST(if_knows_what_both_branches_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
