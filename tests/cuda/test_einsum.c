/* Einsum as the provider plans and runs it: every form of equation, and every type. */
#include "cuda/ops/einsum.h"
#include "tests/cuda/node_case.h"

#include <string.h>

static const bert_dtype dtypes[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16, BERT_DOUBLE, BERT_INT32,
                                    BERT_INT64, BERT_UINT8,   BERT_UINT64,   BERT_INT8};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0], MOST = 10 };

typedef struct shape {
    int32_t rank;
    int64_t dims[4];
} shape;

typedef struct equation {
    const char *text;
    shape result, operands[MOST]; /* up to the first of rank -1 */
} equation;

#define END                                                                                                            \
    {                                                                                                                  \
        -1, {                                                                                                          \
            0                                                                                                          \
        }                                                                                                              \
    }

static const equation equations[] = {
    {"->", {0}, {{0}, END}},
    {"ij->ji", {2, {5, 3}}, {{2, {3, 5}}, END}},
    {"ij->", {0}, {{2, {3, 5}}, END}},
    {"ijk->j", {1, {5}}, {{3, {3, 5, 2}}, END}}, /* sums over two labels that are apart */
    {"ii->i", {1, {7}}, {{2, {7, 7}}, END}},
    {"...ii->...", {2, {2, 3}}, {{4, {2, 3, 5, 5}}, END}},
    {"i,j->ji", {2, {17, 19}}, {{1, {19}}, {1, {17}}, END}}, /* more than a block */
    {"ij,jk", {2, {5, 3}}, {{2, {5, 7}}, {2, {7, 3}}, END}},
    {"ij,jk", {2, {5, 3}}, {{2, {5, 1}}, {2, {7, 3}}, END}},
    {"...ij,...kj->k...i", {4, {3, 2, 4, 5}}, {{4, {2, 1, 5, 6}}, {3, {4, 3, 6}}, END}},
    {"ibnd,jbnd->bnij", {4, {2, 3, 5, 7}}, {{4, {5, 2, 3, 4}}, {4, {7, 2, 3, 4}}, END}},
    {"ij,kl->il", {2, {2, 5}}, {{2, {2, 3}}, {2, {4, 5}}, END}},
    {"i,ij,j", {0}, {{1, {3}}, {2, {3, 5}}, {1, {5}}, END}},
    {"ij->i", {1, {3}}, {{2, {3, 0}}, END}}, /* sums of nothing */
    {"ij->ji", {2, {0, 3}}, {{2, {3, 0}}, END}},
    {"a,a,a,a,a,a,a,ab->b",
     {1, {3}},
     {{1, {2}}, {1, {2}}, {1, {2}}, {1, {2}}, {1, {2}}, {1, {2}}, {1, {2}}, {2, {2, 3}}, END}},
    {"abcd,efgh->", {0}, {{4, {2, 1, 2, 3}}, {4, {2, 2, 1, 2}}, END}},
};

static case_tensor *begin(const equation *e, bert_dtype dtype) {
    case_begin(BERT_OP_Einsum);
    case_string("equation", e->text);
    for (const shape *s = e->operands; s->rank >= 0; s++) case_input(dtype, s->rank, s->dims, 2.0F);
    return loosened(case_output(dtype, e->result.rank, e->result.dims), 8);
}

static void equations_agree_with_the_reference(void **state) {
    for (size_t i = 0; i < sizeof equations / sizeof equations[0]; i++) {
        for (int t = 0; t < DTYPES; t++) {
            begin(&equations[i], dtypes[t]);
            node_case_compare();
        }
    }
}

/* Operands are rounded, three of them each in one product. */
static void sessions_of_16_bits_hold_floats_in_them(void **state) {
    for (size_t i = 0; i < 2 * sizeof equations / sizeof equations[0]; i++) {
        begin(&equations[i / 2], BERT_FLOAT)->tolerance = 4 * case_tolerance(i % 2 ? BERT_BFLOAT16 : BERT_FLOAT16);
        node_case_compare_in(i % 2 ? BERT_PRECISION_BF16 : BERT_PRECISION_FP16);
    }
}

/* Products of whole numbers wrap around in 64 bits. */
static void whole_numbers_wrap_around(void **state) {
    static const int64_t numbers[3] = {INT64_MAX - 6, INT64_C(1) << 61, 12345};
    case_begin(BERT_OP_Einsum);
    case_string("equation", "i,j,k->i");
    for (int i = 0; i < 3; i++) case_input_of(BERT_INT64, 1, DIMS(3), numbers);
    case_output(BERT_INT64, 1, DIMS(3));
    node_case_compare();
}

static void what_has_no_room_is_left(void **state) {
    case_begin(BERT_OP_Einsum);
    case_string("equation", "i,i,i,i,i,i,i,i,i");
    for (int i = 0; i < 9; i++) case_input(BERT_FLOAT, 1, DIMS(2), 2.0F);
    case_output(BERT_FLOAT, 0, NULL);
    node_case_expect_left("has no kernel for so many operands");
    case_begin(BERT_OP_Einsum);
    case_string("equation", "abcde,fghi->");
    case_input(BERT_FLOAT, 5, DIMS(1, 2, 1, 2, 1), 2.0F);
    case_input(BERT_FLOAT, 4, DIMS(1, 2, 1, 2), 2.0F);
    case_output(BERT_FLOAT, 0, NULL);
    node_case_expect_left("sums over so many labels");
}

/* The kernel's own arguments. */
static void wrong_arguments_are_refused(void **state) {
    const bert_cuda_einsum_args none = {.dtype = BERT_FLOAT},
                                many = {.dtype = BERT_FLOAT, .operands = BERT_CUDA_EINSUM_OPERANDS + 1},
                                truth = {.dtype = BERT_BOOL, .operands = 1},
                                rank = {.dtype = BERT_FLOAT, .operands = 1, .inner = BERT_MAX_RANK + 1};
    const bert_cuda_einsum_args *wrong[] = {&none, &many, &truth, &rank};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(bert_cuda_einsum(wrong[i], NULL), cudaErrorInvalidValue);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equations_agree_with_the_reference), cmocka_unit_test(sessions_of_16_bits_hold_floats_in_them),
        cmocka_unit_test(whole_numbers_wrap_around), cmocka_unit_test(what_has_no_room_is_left),
        cmocka_unit_test(wrong_arguments_are_refused)};
    return cmocka_run_group_tests(tests, node_case_open, node_case_close);
}
