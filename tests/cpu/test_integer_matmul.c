/*
 * MatMulInteger and QLinearMatMul of two activations on the CPU backend against the reference implementation: integers
 * are equal to the last bit, whatever the shapes, types, zero points and threads.
 */
#include "core/graph/op.h"
#include "tests/cpu/node_case.h"

#include <string.h>

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})
enum { MOST = 1 << 17 };

static unsigned char pool[2][MOST];

static int open_backend(void **state) {
    node_open(state);
    node_case_seed(11);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < MOST; j++) pool[i][j] = (unsigned char)node_case_draw(0, 255);
    return 0;
}

/* `variant`: bits 0 to 2 int8 of a, b and y, 3 to 4 zero points of a and b. */
enum { VARIANTS = 32 };

static bert_dtype byte_type(int variant, int bit) {
    return variant >> bit & 1 ? BERT_INT8 : BERT_UINT8;
}

static void give_zero_point(int variant, int bit, bert_dtype dtype) {
    if (variant >> bit & 1)
        node_case_input(dtype, 0, NULL, &(unsigned char){(unsigned char)(variant * 71 + 9)});
    else
        node_case_absent();
}

static void integer_case(int32_t rank, const int64_t *a, const int64_t *b, const int64_t *y, int variant) {
    node_case_begin(BERT_OP_MatMulInteger);
    node_case_input(byte_type(variant, 0), rank, a, pool[0]);
    node_case_input(byte_type(variant, 1), rank, b, pool[1]);
    give_zero_point(variant, 3, byte_type(variant, 0));
    give_zero_point(variant, 4, byte_type(variant, 1));
    node_case_output_of(BERT_INT32, rank, y);
}

static void qlinear_case(int32_t rank, const int64_t *a, const int64_t *b, const int64_t *y, int variant) {
    node_case_begin(BERT_OP_QLinearMatMul);
    node_case_input(byte_type(variant, 0), rank, a, pool[0]);
    node_case_input(BERT_FLOAT, 0, NULL, &(float){0.0137F});
    node_case_input(byte_type(variant, 0), 0, NULL, &(unsigned char){variant >> 3 & 1 ? 131 : 7});
    node_case_input(byte_type(variant, 1), rank, b, pool[1]);
    node_case_input(BERT_FLOAT, 1, DIMS(1), &(float){0.0219F});
    node_case_input(byte_type(variant, 1), 1, DIMS(1), &(unsigned char){variant >> 4 & 1 ? 250 : 64});
    node_case_input(BERT_FLOAT, 0, NULL, &(float){0.31F});
    node_case_input(byte_type(variant, 2), 0, NULL, &(unsigned char){117});
    node_case_output_of(byte_type(variant, 2), rank, y);
}

/* Rows of a task are 64, columns of a block 256, and k of a piece 256. */
static void integers_are_those_of_the_reference(void **state) {
    static const int64_t ms[] = {0, 1, 7, 64, 65}, ks[] = {0, 1, 63, 256, 257, 600}, ns[] = {1, 3, 48, 255, 258};
    int at = 0;
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++)
        for (size_t j = 0; j < sizeof ks / sizeof *ks; j++)
            for (size_t l = 0; l < sizeof ns / sizeof *ns; l++, at++) {
                const int64_t m = ms[i], k = ks[j], n = ns[l];
                if (m * k > MOST || k * n > MOST) continue;
                node_backend_threads(at % 3 + 1);
                integer_case(2, DIMS(m, k), DIMS(k, n), DIMS(m, n), at * 7 % VARIANTS);
                node_case_compare(0.0F);
                qlinear_case(2, DIMS(m, k), DIMS(k, n), DIMS(m, n), at * 7 % VARIANTS);
                node_case_compare(0.0F);
            }
}

static void matrices_broadcast(void **state) {
    node_backend_threads(2);
    for (int variant = 0; variant < VARIANTS; variant++) {
        integer_case(4, DIMS(2, 3, 5, 70), DIMS(2, 3, 70, 9), DIMS(2, 3, 5, 9), variant);
        node_case_compare(0.0F);
        qlinear_case(4, DIMS(2, 3, 5, 70), DIMS(1, 3, 70, 9), DIMS(2, 3, 5, 9), variant);
        node_case_compare(0.0F);
        qlinear_case(4, DIMS(1, 3, 65, 16), DIMS(4, 1, 16, 65), DIMS(4, 3, 65, 65), variant);
        node_case_compare(0.0F);
    }
    node_case_begin(BERT_OP_MatMulInteger); /* ranks of their own */
    node_case_input(BERT_UINT8, 4, DIMS(2, 2, 3, 20), pool[0]);
    node_case_input(BERT_INT8, 2, DIMS(20, 5), pool[1]);
    node_case_output_of(BERT_INT32, 4, DIMS(2, 2, 3, 5));
    node_case_compare(0.0F);
    node_case_begin(BERT_OP_MatMulInteger); /* a zero point of A alone */
    node_case_input(BERT_UINT8, 2, DIMS(3, 20), pool[0]);
    node_case_input(BERT_INT8, 2, DIMS(20, 5), pool[1]);
    node_case_input(BERT_UINT8, 0, NULL, pool[0]);
    node_case_output_of(BERT_INT32, 2, DIMS(3, 5));
    node_case_compare(0.0F);
}

/* As large as sums get: 256 products of 255 and 255, and so many that 32 bits wrap around. */
static void the_largest_sums_are_exact(void **state) {
    static unsigned char most[33100];
    static const int64_t ks[] = {255, 256, 257, 511, 33100};
    memset(most, 255, sizeof most);
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        node_case_begin(BERT_OP_MatMulInteger);
        node_case_input(BERT_UINT8, 2, DIMS(1, ks[i]), most);
        node_case_input(BERT_UINT8, 2, DIMS(ks[i], 1), most);
        node_case_output_of(BERT_INT32, 2, DIMS(1, 1));
        node_case_compare(0.0F);
    }
}

static void other_forms_are_left(void **state) {
    static const float scales[4] = {0.1F, 0.2F, 0.3F, 0.4F};
    node_case_begin(BERT_OP_MatMulInteger); /* a zero point for each row */
    node_case_input(BERT_UINT8, 2, DIMS(4, 3), pool[0]);
    node_case_input(BERT_UINT8, 2, DIMS(3, 4), pool[1]);
    node_case_input(BERT_UINT8, 1, DIMS(4), pool[0]);
    node_case_output_of(BERT_INT32, 2, DIMS(4, 4));
    node_case_expect_left();
    node_case_begin(BERT_OP_MatMulInteger); /* a vector */
    node_case_input(BERT_UINT8, 1, DIMS(3), pool[0]);
    node_case_input(BERT_UINT8, 2, DIMS(3, 4), pool[1]);
    node_case_output_of(BERT_INT32, 1, DIMS(4));
    node_case_expect_left();
    node_case_begin(BERT_OP_QLinearMatMul); /* a scale for each column */
    node_case_input(BERT_UINT8, 2, DIMS(4, 3), pool[0]);
    node_case_input(BERT_FLOAT, 0, NULL, scales);
    node_case_input(BERT_UINT8, 0, NULL, pool[0]);
    node_case_input(BERT_UINT8, 2, DIMS(3, 4), pool[1]);
    node_case_input(BERT_FLOAT, 1, DIMS(4), scales);
    node_case_input(BERT_UINT8, 1, DIMS(4), pool[0]);
    node_case_input(BERT_FLOAT, 0, NULL, scales);
    node_case_input(BERT_UINT8, 0, NULL, pool[0]);
    node_case_output_of(BERT_UINT8, 2, DIMS(4, 4));
    node_case_expect_left();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_those_of_the_reference),
        cmocka_unit_test(matrices_broadcast),
        cmocka_unit_test(the_largest_sums_are_exact),
        cmocka_unit_test(other_forms_are_left),
    };
    return node_run_tests(tests, sizeof tests / sizeof *tests, open_backend, true);
}
