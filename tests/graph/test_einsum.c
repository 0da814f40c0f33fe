/* Einsum: what equations are taken, which shapes they give, and what is computed. */
#include "tests/graph/op_case.h"

static const float x[24] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24};

/* Operands of float32 with these shapes; NULL: no more. */
static void begin(const char *equation, const char *a, const char *b, const char *c) {
    op_case_begin("Einsum", 12);
    if (a) op_case_input(BERT_FLOAT, a);
    if (b) op_case_input(BERT_FLOAT, b);
    if (c) op_case_input(BERT_FLOAT, c);
    op_case_string("equation", equation);
}

/* The same of tensors, whose elements count up from 1. */
static void begin_data(const char *equation, const char *a, const char *b, const char *c) {
    op_case_begin("Einsum", 12);
    if (a) op_case_tensor(BERT_FLOAT, a, x);
    if (b) op_case_tensor(BERT_FLOAT, b, x);
    if (c) op_case_tensor(BERT_FLOAT, c, x);
    op_case_string("equation", equation);
}

/* ---- Shapes ---------------------------------------------------------------------------------------------------------
 */

static void shapes_follow_labels(void **state) {
    static const struct {
        const char *equation, *a, *b, *shape;
    } cases[] = {
        {"i,j->ij", "sequence", "32", "sequence,32"},
        {"ibnd,jbnd->bnij", "queries,batch,12,64", "keys,batch,12,64", "batch,12,queries,keys"},
        {"bqhd,bkhd", "batch,queries,12,64", "batch,keys,12,64", "keys,queries"},
        {" b q h d , b k h d -> b h q k ", "batch,queries,12,64", "batch,keys,12,64", "batch,12,queries,keys"},
        {"i,i->", "n", "n", ""},
        {"i,i->i", "n", "1", "n"},
        {"i,i->i", "1", "n", "n"},
        {"i,i->i", "?", "7", "7"},
        {"aB,bA", "2,3", "4,5", "5,3,2,4"},
        {"ij...,jk->k...i", "2,3,4,5", "3,6", "6,4,5,2"},
        {"...ij,...jk", "batch,1,2,3", "8,3,4", "batch,8,2,4"},
        {"...,...", "2,3", "5,2,3", "5,2,3"},
        {"i...,j", "2,3,4", "5", "3,4,2,5"},
        {"...i,i...->...", "2", "2", ""},
        {"ij,jk", "*", "3,4", "?,4"},
        {"i...,i...->i...", "2", "*", "*"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin(cases[i].equation, cases[i].a, cases[i].b, NULL);
        op_case_expect(0, BERT_FLOAT, cases[i].shape);
    }
    begin("ii->i", "n,n", NULL, NULL);
    op_case_expect(0, BERT_FLOAT, "n");
    begin("b...ii", "2,3,4,4", NULL, NULL);
    op_case_expect(0, BERT_FLOAT, "3,2");
    begin("ij,jk,kl", "2,3", "3,4", "4,5");
    op_case_expect(0, BERT_FLOAT, "2,5");
    begin(",i,", "", "n", "");
    op_case_expect(0, BERT_FLOAT, "n");
}

static void refuse(const char *text, const char *equation, const char *a, const char *b) {
    begin(equation, a, b, NULL);
    op_case_expect_refused(BERT_INVALID_MODEL, text);
}

static void bad_equations_are_refused(void **state) {
    refuse("has a character that is no label", "i1", "2,2", NULL);
    refuse("has a character that is no label", "ij-ij", "2,2", NULL);
    refuse("has a character that is no label", "ij- >ij", "2,2", NULL);
    refuse("has a character that is no label", "ij->ij,", "2,2", NULL);
    refuse("has a character that is no label", "ij->i->j", "2,2", NULL);
    refuse("has dots that are no ellipsis", "..ij", "2,2", NULL);
    refuse("has dots that are no ellipsis", "ij->....ij", "2,2", NULL);
    refuse("has two ellipses in a term", "...i...", "2,2", NULL);
    refuse("has more labels in a term than", "abcdefghi->a", "*", NULL);
    refuse("has more labels in a term than", "a->abcdefghi", "2", NULL);
    refuse("gives more labels than", "abcde,fghi", "1,2,3,4,5", "1,2,3,4");
    refuse("has a label twice in its output", "ij->iji", "2,2", NULL);
    refuse("has a label in its output that no input has", "ij->ik", "2,2", NULL);
    refuse("has an ellipsis in an input and none in its output", "...i->i", "2,2", NULL);
    refuse("equation \"i,j\" is of 2 operands, and there are 1", "i,j", "2", NULL);
    refuse("equation \"i\" is of 1 operands, and there are 2", "i", "2", "2");
    refuse("has 1 labels for input 0 of 2 dimensions", "i,j", "2,2", "2");
    refuse("has 3 labels for input 1 of 2 dimensions", "i,j...kl->ikl...", "2", "3,4");
}

static void sizes_must_agree(void **state) {
    refuse("j of equation \"ij,jk\" is 3 in one place and 4 in another", "ij,jk", "2,3", "4,5");
    refuse("i of equation \"ii\" is 2 in one place and 3 in another", "ii", "2,3", NULL);
    refuse("i of equation \"ii\" is 1 in one place and 3 in another", "ii", "1,3", NULL);
    refuse("i of equation \"i,ii\" is 1 in one place and 4 in another", "i,ii", "4", "1,4");
    refuse("a dimension of the ellipsis of equation", "...i,...i", "2,3,4", "5,4");
}

static void too_many_dimensions_are_refused(void **state) {
    begin("a...,bcdefg->abcdefg...", "2,3,4", "1,1,1,1,1,1", NULL);
    op_case_expect_refused(BERT_UNSUPPORTED, "gives a tensor of more than 8 dimensions");
}

static void types_must_agree(void **state) {
    op_case_begin("Einsum", 12);
    op_case_input(BERT_FLOAT, "2");
    op_case_input(BERT_DOUBLE, "2");
    op_case_string("equation", "i,i");
    op_case_expect_refused(BERT_INVALID_MODEL, "");
    op_case_begin("Einsum", 12);
    op_case_input(BERT_BOOL, "2");
    op_case_string("equation", "i");
    op_case_expect_refused(BERT_INVALID_MODEL, "");
}

/* ---- Results --------------------------------------------------------------------------------------------------------
 */

static void one_operand(void **state) {
    begin_data("ij->ji", "2,3", NULL, NULL);
    OP_CASE_EXPECT_CLOSE(0, 1, 4, 2, 5, 3, 6);
    begin_data("ji", "2,3", NULL, NULL);
    OP_CASE_EXPECT_CLOSE(0, 1, 4, 2, 5, 3, 6);
    begin_data("aB", "2,3", NULL, NULL); /* B goes before a */
    OP_CASE_EXPECT_CLOSE(0, 1, 4, 2, 5, 3, 6);
    begin_data("ij->i", "2,3", NULL, NULL);
    OP_CASE_EXPECT_CLOSE(0, 6, 15);
    begin_data("ij->", "2,3", NULL, NULL);
    OP_CASE_EXPECT_CLOSE(0, 21);
    begin_data("ii->i", "3,3", NULL, NULL);
    OP_CASE_EXPECT_CLOSE(0, 1, 5, 9);
    begin_data("ii", "3,3", NULL, NULL);
    OP_CASE_EXPECT_CLOSE(0, 15);
    begin_data("...ii->...i", "2,2,2", NULL, NULL);
    OP_CASE_EXPECT_CLOSE(0, 1, 4, 5, 8);
    begin_data("i...->...i", "2,3", NULL, NULL);
    OP_CASE_EXPECT_CLOSE(0, 1, 4, 2, 5, 3, 6);
    begin_data("->", "", NULL, NULL);
    OP_CASE_EXPECT_CLOSE(0, 1);
}

static void two_operands(void **state) {
    begin_data("i,j->ij", "2", "3", NULL);
    OP_CASE_EXPECT_CLOSE(0, 1, 2, 3, 2, 4, 6);
    begin_data("i,i", "3", "3", NULL);
    OP_CASE_EXPECT_CLOSE(0, 14);
    begin_data("ij,jk", "2,3", "3,2", NULL);
    OP_CASE_EXPECT_CLOSE(0, 22, 28, 49, 64);
    begin_data("ij,kj->ki", "2,2", "3,2", NULL);
    OP_CASE_EXPECT_CLOSE(0, 5, 11, 11, 25, 17, 39);
    begin_data("ij,kl->i", "2,2", "1,2", NULL); /* sums of either side alone */
    OP_CASE_EXPECT_CLOSE(0, 9, 21);
    begin_data("...ij,...jk", "2,1,2", "2,2,1", NULL);
    OP_CASE_EXPECT_CLOSE(0, 5, 25);
    begin_data("...i,...i->...", "2,2", "1,2", NULL);
    OP_CASE_EXPECT_CLOSE(0, 5, 11);
    begin_data("...i,...i->...", "2", "2,1,2", NULL);
    OP_CASE_EXPECT_CLOSE(0, 5, 11);
    begin_data("ij,jk", "2,1", "2,2", NULL); /* j is 1 on the left */
    OP_CASE_EXPECT_CLOSE(0, 4, 6, 8, 12);
    begin_data("ii,i->i", "2,2", "2", NULL);
    OP_CASE_EXPECT_CLOSE(0, 1, 8);
}

static void more_operands(void **state) {
    begin_data("i,j,k->kij", "2", "2", "2");
    OP_CASE_EXPECT_CLOSE(0, 1, 2, 2, 4, 2, 4, 4, 8);
    begin_data("ij,jk,k", "2,2", "2,2", "2");
    OP_CASE_EXPECT_CLOSE(0, 27, 59);
    op_case_begin("Einsum", 12);
    for (int i = 0; i < 6; i++) op_case_tensor(BERT_FLOAT, "2", x);
    op_case_string("equation", "i,i,i,i,i,j->j");
    OP_CASE_EXPECT_CLOSE(0, 33, 66);
}

static void nothing_sums_to_zero(void **state) {
    begin_data("ij->i", "2,0", NULL, NULL);
    OP_CASE_EXPECT_CLOSE(0, 0, 0);
    begin_data("ij,jk->ik", "1,0", "0,2", NULL);
    OP_CASE_EXPECT_CLOSE(0, 0, 0);
}

/* Whole numbers wrap around in their own type, also where double would round. */
static void whole_numbers_are_exact(void **state) {
    static const int64_t longs[2] = {INT64_C(9007199254740993), 3};
    static const int32_t words[2] = {65536, 65537};
    static const uint8_t octets[2] = {200, 100};
    op_case_begin("Einsum", 12);
    op_case_tensor(BERT_INT64, "2", longs);
    op_case_tensor(BERT_INT64, "2", longs);
    op_case_string("equation", "i,j->ij");
    OP_CASE_EXPECT_DATA(0, int64_t, INT64_C(18014398509481985), INT64_C(27021597764222979), INT64_C(27021597764222979),
                        9);
    op_case_begin("Einsum", 12);
    op_case_tensor(BERT_INT32, "2", words);
    op_case_tensor(BERT_INT32, "2", words);
    op_case_string("equation", "i,i");
    OP_CASE_EXPECT_DATA(0, int32_t, 131073);
    op_case_begin("Einsum", 12);
    op_case_tensor(BERT_UINT8, "2", octets);
    op_case_string("equation", "i->");
    OP_CASE_EXPECT_DATA(0, uint8_t, 44);
}

/* Floats are rounded once, at the end. */
static void floats_are_summed_in_double(void **state) {
    static const float floats[3] = {16777216, 1, 1}; /* one by one, ones are lost */
    static const uint16_t halves[3] = {0x6800, 0x3c00, 0x3c00};
    op_case_begin("Einsum", 12);
    op_case_tensor(BERT_FLOAT, "3", floats);
    op_case_string("equation", "i->");
    OP_CASE_EXPECT_DATA(0, float, 16777218);
    op_case_begin("Einsum", 12);
    op_case_tensor(BERT_FLOAT16, "3", halves); /* 2048, 1, 1 */
    op_case_string("equation", "i->");
    OP_CASE_EXPECT_DATA(0, uint16_t, 0x6801);
}

static void sums_without_an_end_are_refused(void **state) {
    static const uint8_t octets[256];
    op_case_begin("Einsum", 12);
    for (int i = 0; i < 8; i++) op_case_tensor(BERT_UINT8, "256", octets);
    op_case_string("equation", "a,b,c,d,e,f,g,h->");
    op_case_expect_run_fails(BERT_UNSUPPORTED, "sums more than can be counted");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes_follow_labels),
                                       cmocka_unit_test(bad_equations_are_refused),
                                       cmocka_unit_test(sizes_must_agree),
                                       cmocka_unit_test(too_many_dimensions_are_refused),
                                       cmocka_unit_test(types_must_agree),
                                       cmocka_unit_test(one_operand),
                                       cmocka_unit_test(two_operands),
                                       cmocka_unit_test(more_operands),
                                       cmocka_unit_test(nothing_sums_to_zero),
                                       cmocka_unit_test(whole_numbers_are_exact),
                                       cmocka_unit_test(floats_are_summed_in_double),
                                       cmocka_unit_test(sums_without_an_end_are_refused)};
    return cmocka_run_group_tests(tests, NULL, op_case_teardown);
}
