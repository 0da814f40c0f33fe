/*
 * QuantizedLinear of the CPU backend against the reference implementation, over shapes, types and threads, for each
 * instruction set that this machine has.
 */
#include "core/graph/canonical.h"
#include "tests/cpu/node_case.h"

#include <math.h>

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})
enum { MOST = 1 << 17, MOST_COLUMNS = 160 };

static float x[MOST], residual[MOST], scales[3][MOST_COLUMNS], biases[3][MOST_COLUMNS];
static unsigned char weights[3][MOST], zero_points[3][MOST_COLUMNS];
static int32_t starts[MOST_COLUMNS];

/* `variant`: bit 0 int8, 1 bias, 2 residual, 3 scales of columns, 4 zero points, 5 of columns, 6 a scale of x, 7 a
 * transposed weight, 8 a bias that is part of the sum, where there is one part. */
enum { VARIANTS = 1 << 9 };

static void quantized_case(int64_t rows, int64_t k, int64_t n, int parts, int variant, const char *activation) {
    const bert_dtype type = variant & 1 ? BERT_INT8 : BERT_UINT8;
    assert_true(rows * k <= MOST && k * n <= MOST && n <= MOST_COLUMNS && rows * n * parts <= MOST);
    node_case_begin(BERT_OP_BERTC_QuantizedLinear);
    node_case_int("parts", parts);
    node_case_string("activation", activation);
    node_case_input(BERT_FLOAT, 3, DIMS(1, rows, k), x);
    if (variant & 4)
        node_case_input(BERT_FLOAT, 3, DIMS(1, rows, n * parts), residual);
    else
        node_case_absent();
    if (variant & 64)
        node_case_constant_of(BERT_FLOAT, 0, NULL, &(float){0.013F});
    else
        node_case_absent();
    if ((variant & 65) == 65)
        node_case_constant_of(BERT_UINT8, 0, NULL, &(unsigned char){131});
    else
        node_case_absent();
    node_case_int("transpose", variant >> 7 & 1);
    for (int part = 0; part < parts; part++) {
        node_case_constant_of(type, 2, variant & 128 ? DIMS(n, k) : DIMS(k, n), weights[part]);
        node_case_constant_of(BERT_FLOAT, variant & 8 ? 1 : 0, DIMS(n), scales[part]);
        if (variant & 16)
            node_case_constant_of(type, variant & 32 ? 1 : 0, DIMS(n), zero_points[part]);
        else
            node_case_absent();
        if (variant & 256 && parts == 1)
            node_case_constant_of(BERT_INT32, 1, DIMS(n), starts);
        else if (variant & 2 && part != 1)
            node_case_constant(1, DIMS(n), biases[part]);
        else
            node_case_absent();
    }
    node_case_output(3, DIMS(1, rows, n * parts));
}

static int open_backend(void **state) {
    node_open(state);
    fill_random(x, MOST, 2.0F, 1);
    fill_random(residual, MOST, 1.0F, 2);
    for (int i = 0; i < MOST_COLUMNS; i++) starts[i] = i * 7919 - 500000;
    for (int part = 0; part < 3; part++) {
        fill_random(scales[part], MOST_COLUMNS, 0.001F, (uint32_t)part + 3);
        fill_random(biases[part], MOST_COLUMNS, 1.0F, (uint32_t)part + 6);
        for (int i = 0; i < MOST; i++) weights[part][i] = (unsigned char)((i * 2654435761U + (unsigned)part) >> 13);
        for (int i = 0; i < MOST_COLUMNS; i++) zero_points[part][i] = (unsigned char)(i * 53 + part);
    }
    return 0;
}

static void quantized_linear_agrees_with_the_reference(void **state) {
    static const int64_t rows[] = {0, 1, 5, 8, 67};
    static const int64_t ks[] = {1, 6, 64, 131};
    static const int64_t ns[] = {1, 2, 47, 48, 49, 101};
    static const char *const activations[] = {"none", "gelu", "relu", "tanh"};
    int at = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof ks / sizeof *ks; j++)
            for (size_t l = 0; l < sizeof ns / sizeof *ns; l++, at++) {
                if (at % 12 == 0) node_backend_threads(at / 12 % 3 + 1);
                quantized_case(rows[i], ks[j], ns[l], at % 3 + 1, at * 7 % VARIANTS, activations[at % 4]);
                node_case_compare(2e-6F);
            }
    node_backend_threads(2);
    quantized_case(100, 1300, 100, 1, 0x1a, "none"); /* several blocks of rows */
    node_case_compare(2e-6F);
}

static void sums_and_scales_have_the_bits_of_the_reference(void **state) {
    for (int variant = 0; variant < VARIANTS; variant++) {
        quantized_case(9, 130, 50, variant & 256 ? 1 : 2, variant & ~6, "none");
        node_case_compare(0.0F);
    }
}

static void weights_alone_agree_with_the_reference(void **state) {
    static const int64_t rows[] = {0, 1, 9}, ks[] = {1, 64, 300}, ns[] = {1, 95, 96, 160};
    static const char *const activations[] = {"none", "gelu", "relu", "tanh"};
    int at = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof ks / sizeof *ks; j++)
            for (size_t l = 0; l < sizeof ns / sizeof *ns; l++, at++) {
                if (at % 12 == 0) node_backend_threads(at / 12 + 1);
                quantized_case(rows[i], ks[j], ns[l], at % 3 + 1, at * 37 % 64 | (at & 1) << 7, activations[at % 4]);
                node_case_int("weight_only", 1);
                node_case_compare(2e-5F);
            }
}

/* `zeros`: 0 none, 1 packed, 2 of floats. */
static void nbits_case(int64_t rows, int64_t k, int64_t n, int64_t bits, int64_t block, int zeros, bool bias) {
    const int64_t blocks = (k + block - 1) / block, packed = (blocks * bits + 7) / 8;
    node_case_begin(BERT_OP_MS_MatMulNBits);
    node_case_int("K", k);
    node_case_int("N", n);
    node_case_int("bits", bits);
    node_case_int("block_size", block);
    node_case_input(BERT_FLOAT, 3, DIMS(1, rows, k), x);
    node_case_constant_of(BERT_UINT8, 3, DIMS(n, blocks, block * bits / 8), weights[0]);
    node_case_constant_of(BERT_FLOAT, 2, DIMS(n, blocks), residual);
    if (zeros == 0) node_case_absent();
    if (zeros == 1) node_case_constant_of(BERT_UINT8, 2, DIMS(n, packed), weights[1]);
    if (zeros == 2) node_case_constant_of(BERT_FLOAT, 2, DIMS(n, blocks), x + 100);
    node_case_absent();
    if (bias) node_case_constant(1, DIMS(n), biases[0]);
    node_case_output(3, DIMS(1, rows, n));
    /* Sums of k products of up to 2^bits cancel, and OpenBLAS orders them as it likes. */
    node_case_compare(4e-7F * (float)(1 << bits) * sqrtf((float)k));
}

static void packed_blocks_agree_with_the_reference(void **state) {
    int at = 0;
    for (int64_t bits = 2; bits <= 8; bits *= 2)
        for (int64_t block = 16; block <= 128; block *= 2)
            for (int zeros = 0; zeros < 3; zeros++, at++) {
                node_backend_threads(at % 3 + 1);
                nbits_case(at % 2 ? 1 : 7, at % 4 ? 300 : 16, at % 3 ? 100 : 7, bits, block, zeros, at & 1);
            }
}

static void one_scale_quantizes_and_dequantizes_exactly(void **state) {
    static const int64_t counts[] = {0, 1, 7, 100, 40000};
    static const bert_op_id ops[] = {BERT_OP_QuantizeLinear, BERT_OP_DequantizeLinear, BERT_OP_MS_QuantizeLinear,
                                     BERT_OP_MS_DequantizeLinear};
    for (int choice = 0; choice < 80; choice++) {
        const bert_op_id op = ops[choice & 3];
        const bool narrows = !(choice & 1);
        const bert_dtype type = choice & 4 ? BERT_INT8 : BERT_UINT8;
        const int64_t count = counts[choice / 16];
        if (type == BERT_INT8 && !(choice & 8)) continue; /* the zero point says the type */
        node_backend_threads(choice % 3 + 1);
        node_case_begin(op);
        node_case_input(narrows ? BERT_FLOAT : type, 2, DIMS(1, count), narrows ? (const void *)x : weights[0]);
        node_case_input(BERT_FLOAT, 0, NULL, &(float){0.0123F});
        if (choice & 8) node_case_input(type, 0, NULL, &(unsigned char){type == BERT_INT8 ? 0xf3 : 0x83});
        node_case_output_of(narrows ? type : BERT_FLOAT, 2, DIMS(1, count));
        node_case_compare(0.0F);
    }
}

static void bytes_are_looked_up(void **state) {
    static const int64_t counts[] = {0, 1, 63, 64, 65, 65536, 65600}; /* a task has 65,536 */
    for (int choice = 0; choice < 28; choice++) {
        const int64_t count = counts[choice / 4];
        const bert_dtype from = choice & 1 ? BERT_INT8 : BERT_UINT8, to = choice & 2 ? BERT_INT8 : BERT_UINT8;
        node_backend_threads(choice % 3 + 1);
        node_case_begin(BERT_OP_BERTC_Lookup);
        node_case_input(from, 2, DIMS(1, count), weights[0]);
        node_case_constant_of(to, 1, DIMS(BERT_LOOKUP_SIZE), weights[1]);
        node_case_output_of(to, 2, DIMS(1, count));
        node_case_compare(0.0F);
    }
}

/* `choice`: bit 0 a is quantized, 1 the sum is, 2 it stays bytes, 3 and 4 the bytes of a and y are int8. Rows of more
 * than a chunk, and b as a bias, a mask, a residual, or larger than a. */
static void quantized_add_case(int choice, int32_t rank, const int64_t *a, const int64_t *b, const int64_t *y) {
    const bert_dtype a_type = choice & 8 ? BERT_INT8 : BERT_UINT8, y_type = choice & 16 ? BERT_INT8 : BERT_UINT8;
    const bool of_a = choice & 1, of_y = choice & 2, bytes = of_y && choice & 4;
    node_case_begin(BERT_OP_BERTC_QuantizedAdd);
    node_case_input(BERT_FLOAT, rank, a, x);
    node_case_input(BERT_FLOAT, rank, b, residual);
    for (int i = 0; i < 2; i++) { /* a scale and a zero point, to quantize and to dequantize */
        const bool there = of_y && !(i && bytes);
        there ? node_case_input(BERT_FLOAT, 0, NULL, &(float){0.017F * (float)(i + 1)}) : node_case_absent();
        there ? node_case_input(y_type, 1, DIMS(1), &(unsigned char){(unsigned char)(120 + i)}) : node_case_absent();
    }
    for (int i = 0; i < 2 && of_a; i++) {
        node_case_input(BERT_FLOAT, 1, DIMS(1), &(float){0.013F / (float)(i + 1)});
        node_case_input(a_type, 0, NULL, &(unsigned char){(unsigned char)(131 - i)});
    }
    node_case_output_of(bytes ? y_type : BERT_FLOAT, rank, y);
    node_case_compare(0.0F);
    assert_string_equal(node_case_kernel(), "quantized_add/cpu");
}

static void sums_between_quantizers_have_the_bits_of_the_reference(void **state) {
    for (int choice = 0; choice < 32; choice++) {
        node_backend_threads(choice % 3 + 1);
        quantized_add_case(choice, 2, DIMS(7, 33), DIMS(1, 33), DIMS(7, 33));
        quantized_add_case(choice, 4, DIMS(2, 3, 5, 7), DIMS(2, 1, 1, 7), DIMS(2, 3, 5, 7));
        quantized_add_case(choice, 2, DIMS(3, 2500), DIMS(3, 2500), DIMS(3, 2500));
        quantized_add_case(choice, 2, DIMS(1, 5), DIMS(4, 1), DIMS(4, 5));
        quantized_add_case(choice, 2, DIMS(2, 17), DIMS(1, 1), DIMS(2, 17));
        quantized_add_case(choice, 2, DIMS(0, 4), DIMS(1, 4), DIMS(0, 4));
    }
}

/* Rows in groups of very different ranges, in each scope; `variant` as above, without an activation. */
static void scoped_case(bert_quant_scope scope, bool counted, int variant) {
    static const int32_t ends[] = {0, 3, 3, 9, 10};
    static const unsigned char counts[] = {1, 0, 1, 0, 0, 0, 0, 0, 0, 1};
    static const char *const names[] = {"tensor", "sequence", "token"};
    quantized_case(10, 70, 50, 2, variant, "none");
    node_case_string("scope", names[scope]);
    if (scope != BERT_QUANT_SCOPE_SEQUENCE) return;
    node_case_input(BERT_INT32, 1, DIMS(5), ends);
    if (counted)
        node_case_input(BERT_BOOL, 1, DIMS(10), counts);
    else
        node_case_absent();
}

static void scopes_have_the_bits_of_the_reference(void **state) {
    for (int64_t row = 0; row < 10; row++) {
        for (int64_t i = 0; i < 70; i++) x[row * 70 + i] *= (float)(1 << row);
    }
    for (int variant = 0; variant < 32; variant += 5) {
        scoped_case(BERT_QUANT_SCOPE_TENSOR, false, variant & ~6);
        node_case_compare(0.0F);
        const float first = node_case_run()[0];
        scoped_case(BERT_QUANT_SCOPE_TOKEN, false, variant & ~6);
        node_case_compare(0.0F);
        assert_true(node_case_run()[0] != first); /* row 0 alone is quantized finer */
        for (int counted = 0; counted < 2; counted++) {
            scoped_case(BERT_QUANT_SCOPE_SEQUENCE, counted, variant & ~6);
            node_case_compare(0.0F);
            assert_true(node_case_run()[0] != first);
        }
    }
    scoped_case(BERT_QUANT_SCOPE_SEQUENCE, true, 64); /* a scale of x is the same for all */
    node_case_compare(0.0F);
    fill_random(x, MOST, 2.0F, 1);
}

/* Ranges that whoever wrote x has told are not sought again, and change no bit. */
static void told_ranges_have_the_bits_of_those_found(void **state) {
    static const int32_t counts[] = {1, 3, 16};
    for (int choice = 0; choice < 9; choice++) {
        const int32_t count = counts[choice / 3];
        const bert_quant_scope scope = (bert_quant_scope)(choice % 3);
        node_backend_threads(choice % 2 + 1);
        scoped_case(scope, true, 24);
        node_case_x_ranges(count, 1.0F);
        node_case_compare(0.0F);
        const float found = node_case_run()[0];
        scoped_case(scope, true, 24);
        node_case_x_ranges(count, 2.0F);
        assert_true(node_case_run()[0] != found);
        assert_int_equal(node_case_y_ranges(), 3); /* of 48 columns each */
        quantized_case(9, 7000, 8, 1, 24, "none"); /* several tasks of rows */
        node_case_x_ranges(count, 1.0F);
        node_case_compare(0.0F);
    }
}

/* One row of each of two sequences whose ranges are different. */
static void rows_of_a_place_agree_with_the_reference(void **state) {
    static const char *const names[] = {"tensor", "sequence", "token"};
    static const int32_t ends[] = {0, 5, 10};
    static const unsigned char counts[] = {1, 1, 0, 0, 0, 1, 1, 1, 1, 0};
    for (int64_t i = 0; i < 5 * 70; i++) x[i] *= 3.0F;
    for (int i = 0; i < 3 * 2 * 10; i++) {
        const int scope = i % 3, keepdims = i / 3 % 2;
        node_backend_threads(i % 2 + 1);
        node_case_begin(BERT_OP_BERTC_QuantizedLinear);
        node_case_int("place", i / 6 - 5);
        node_case_int("keepdims", keepdims);
        node_case_string("scope", names[scope]);
        node_case_string("activation", "gelu");
        node_case_input(BERT_FLOAT, 3, DIMS(2, 5, 70), x);
        if (i % 4 == 3) node_case_x_ranges(2, 1.0F);
        for (int j = BERT_LINEAR_RESIDUAL; j < BERT_QUANTIZED_LINEAR_WEIGHT(0); j++) node_case_absent();
        node_case_constant_of(BERT_INT8, 2, DIMS(70, 50), weights[0]);
        node_case_constant_of(BERT_FLOAT, 1, DIMS(50), scales[0]);
        node_case_constant_of(BERT_INT8, 1, DIMS(50), zero_points[0]);
        node_case_constant(1, DIMS(50), biases[0]);
        if (scope == BERT_QUANT_SCOPE_SEQUENCE) {
            node_case_input(BERT_INT32, 1, DIMS(3), ends);
            node_case_input(BERT_BOOL, 1, DIMS(10), counts);
        }
        if (keepdims)
            node_case_output(3, DIMS(2, 1, 50));
        else
            node_case_output(2, DIMS(2, 50));
        node_case_compare(1e-5F);
    }
    fill_random(x, MOST, 2.0F, 1);
}

static void a_weight_that_is_not_constant_is_left(void **state) {
    node_case_begin(BERT_OP_BERTC_QuantizedLinear);
    node_case_input(BERT_FLOAT, 2, DIMS(2, 4), x);
    for (int i = BERT_LINEAR_RESIDUAL; i < BERT_QUANTIZED_LINEAR_WEIGHT(0); i++) node_case_absent();
    node_case_input(BERT_INT8, 2, DIMS(4, 3), weights[0]);
    node_case_constant_of(BERT_FLOAT, 0, NULL, scales[0]);
    node_case_output(2, DIMS(2, 3));
    node_case_expect_left();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantized_linear_agrees_with_the_reference),
        cmocka_unit_test(sums_and_scales_have_the_bits_of_the_reference),
        cmocka_unit_test(weights_alone_agree_with_the_reference),
        cmocka_unit_test(packed_blocks_agree_with_the_reference),
        cmocka_unit_test(one_scale_quantizes_and_dequantizes_exactly),
        cmocka_unit_test(bytes_are_looked_up),
        cmocka_unit_test(sums_between_quantizers_have_the_bits_of_the_reference),
        cmocka_unit_test(scopes_have_the_bits_of_the_reference),
        cmocka_unit_test(told_ranges_have_the_bits_of_those_found),
        cmocka_unit_test(rows_of_a_place_agree_with_the_reference),
        cmocka_unit_test(a_weight_that_is_not_constant_is_left),
    };
    return node_run_tests(tests, sizeof tests / sizeof *tests, open_backend, false);
}
