/*
 * Nodes of float16 and bfloat16 on the CPU backend against the reference implementations, which round once a node too.
 * Runs for each instruction set that this machine has and with each GEMM provider: see main.
 */
#include "core/base/float16.h"
#include "core/graph/canonical.h"
#include "cpu/kernels/kernels.h"
#include "cpu/narrow.h"
#include "tests/cpu/node_case.h"

#include <math.h>
#include <stdio.h>

enum { MOST = 1 << 18 };
#define DIMS(...) ((const int64_t[]){__VA_ARGS__})

static const bert_dtype types[] = {BERT_FLOAT16, BERT_BFLOAT16};

/* Two roundings of results that differ a little may be one step apart. */
static float step_of(bert_dtype dtype) {
    return dtype == BERT_FLOAT16 ? 0x1.1p-10F : 0x1.1p-7F;
}

static uint16_t round_to(bert_dtype dtype, float value) {
    return dtype == BERT_FLOAT16 ? bert_float_to_half(value) : bert_float_to_bfloat16(value);
}

/* Buffer `which`, filled. */
static const uint16_t *data(bert_dtype dtype, int which, int64_t count, float scale) {
    static uint16_t buffers[8][MOST];
    static float values[MOST];
    assert_true(count <= MOST);
    fill_random(values, count, scale, (uint32_t)which + 7);
    for (int64_t i = 0; i < count; i++) buffers[which][i] = round_to(dtype, values[i]);
    return buffers[which];
}

/* The kernel is the one of float32, and says that it runs between conversions. */
static void compare(bert_dtype dtype, const char *kernel) {
    char name[64];
    node_case_compare(step_of(dtype));
    snprintf(name, sizeof name, "%s/%s", kernel, bert_dtype_name(dtype));
    assert_string_equal(node_case_kernel(), name);
}

/* ---- Conversions ------------------------------------------------------------------------------------------------- */

static void conversions_take_any_address_and_any_length(void **state) {
    bert_isa isa;
    bert_error error;
    bert_cpu_kernels kernels;
    assert_int_equal(bert_isa_select(&isa, &error), BERT_OK);
    bert_cpu_kernels_select(isa, &kernels);
    static const int64_t counts[] = {0, 1, 1023, 1024, 1025, 32768, 32769, 100003};
    static float wide[100003], expected[100003];
    static uint16_t back[100003];
    static unsigned char bytes[2 * 100003 + 1];
    for (int type = 0; type < 2; type++) {
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            const int64_t n = counts[i];
            const uint16_t *x = data(types[type], 0, n, 9.0F);
            const bert_constant constant = {.dtype = types[type], .data = bytes + 1};
            memcpy(bytes + 1, x, (size_t)n * sizeof *x);
            bert_cpu_read_floats(&constant, 0, n, expected);
            bert_cpu_widen(&kernels, NULL, wide, bytes + 1, types[type], n);
            if (n) assert_memory_equal(wide, expected, (size_t)n * sizeof *wide);
            bert_cpu_narrow(&kernels, NULL, back, wide, types[type], n);
            if (n) assert_memory_equal(back, x, (size_t)n * sizeof *x);
            if (n > 3) bert_cpu_read_floats(&constant, 3, 1, expected);
            if (n > 3) assert_true(expected[0] == wide[3]);
        }
    }
}

/* ---- Operators --------------------------------------------------------------------------------------------------- */

/* `variant`: bit 0 transposed, 1 bias, 2 residual, 3 unaligned. */
static void linear_case(bert_dtype dtype, int64_t rows, int64_t k, int64_t n, int parts, int variant) {
    const float scale = 1.0F / sqrtf((float)k);
    node_case_begin(BERT_OP_BERTC_Linear);
    node_case_int("parts", parts);
    node_case_int("transpose", variant & 1);
    node_case_string("activation", variant & 1 ? "gelu" : "none");
    node_case_input(dtype, 3, DIMS(1, rows, k), data(dtype, 0, rows * k, 1.0F));
    if (variant & 4)
        node_case_input(dtype, 3, DIMS(1, rows, n * parts), data(dtype, 1, rows * n * parts, 1.0F));
    else
        node_case_absent();
    for (int part = 0; part < parts; part++) {
        const int64_t dims[2] = {variant & 1 ? n : k, variant & 1 ? k : n};
        const uint16_t *weight = data(dtype, 2 + part, k * n, scale);
        if (variant & 8)
            node_case_unaligned(dtype, 2, dims, weight, 0);
        else
            node_case_constant_of(dtype, 2, dims, weight);
        if (variant & 2 && part != 1)
            node_case_constant_of(dtype, 1, DIMS(n), data(dtype, 5 + part, n, 1.0F));
        else
            node_case_absent();
    }
    node_case_output_of(dtype, 3, DIMS(1, rows, n * parts));
    node_case_compare(step_of(dtype));
    assert_non_null(strstr(node_case_kernel(), bert_dtype_name(dtype)));
    assert_true(strncmp(node_case_kernel(), "linear/", 7) == 0);
}

static void products_agree_with_the_reference(void **state) {
    for (int type = 0; type < 2; type++) {
        const bert_dtype dtype = types[type];
        for (int variant = 0; variant < 16; variant++) {
            node_backend_threads(variant % 3 + 1);
            linear_case(dtype, variant % 5 * 7, 33 + variant, 49, variant % 3 + 1, variant);
        }
        linear_case(dtype, 70, 300, 130, 1, 7);

        node_case_begin(BERT_OP_Gemm);
        node_case_input(dtype, 2, DIMS(9, 16), data(dtype, 0, 9 * 16, 1.0F));
        node_case_constant_of(dtype, 2, DIMS(16, 5), data(dtype, 1, 16 * 5, 0.3F));
        node_case_constant_of(dtype, 1, DIMS(5), data(dtype, 2, 5, 1.0F));
        node_case_output_of(dtype, 2, DIMS(9, 5));
        node_case_compare(step_of(dtype));

        node_case_begin(BERT_OP_MatMul);
        node_case_input(dtype, 3, DIMS(2, 70, 40), data(dtype, 0, 2 * 70 * 40, 1.0F));
        node_case_input(dtype, 3, DIMS(2, 40, 30), data(dtype, 1, 2 * 40 * 30, 0.2F));
        node_case_output_of(dtype, 3, DIMS(2, 70, 30));
        compare(dtype, "matmul/cpu");

        node_case_begin(BERT_OP_MS_MatMulNBits);
        node_case_int("K", 64);
        node_case_int("N", 7);
        node_case_int("bits", 4);
        node_case_int("block_size", 32);
        node_case_input(dtype, 2, DIMS(3, 64), data(dtype, 0, 3 * 64, 1.0F));
        node_case_constant_of(BERT_UINT8, 3, DIMS(7, 2, 16), data(dtype, 1, 7 * 2 * 8, 1.0F));
        node_case_constant_of(dtype, 2, DIMS(7, 2), data(dtype, 2, 14, 0.02F));
        node_case_constant_of(dtype, 2, DIMS(7, 2), data(dtype, 3, 14, 8.0F));
        node_case_output_of(dtype, 2, DIMS(3, 7));
        compare(dtype, "weight_only/cpu");
    }
}

/* Its own bytes are the key, as they are of a weight of float32. */
static void a_weight_is_packed_once(void **state) {
    const size_t before = node_backend_bytes();
    size_t after[2];
    for (int i = 0; i < 2; i++) {
        node_case_begin(BERT_OP_BERTC_Linear);
        node_case_input(BERT_FLOAT16, 2, DIMS(2, 32), data(BERT_FLOAT16, 0, 64, 1.0F));
        node_case_absent();
        node_case_unaligned(BERT_FLOAT16, 2, DIMS(32, 48), data(BERT_FLOAT16, 2, 32 * 48, 0.2F), 5);
        node_case_unaligned(BERT_FLOAT16, 1, DIMS(48), data(BERT_FLOAT16, 3, 48, 1.0F), 6); /* widened, read by runs */
        node_case_output_of(BERT_FLOAT16, 2, DIMS(2, 48));
        node_case_compare(step_of(BERT_FLOAT16));
        after[i] = node_backend_bytes();
    }
    assert_true(after[0] >= before + (32 * 48 + 48) * sizeof(float));
    assert_int_equal(after[1], after[0]);
}

static void norms_agree_with_the_reference(void **state) {
    enum { ROWS = 14, N = 50 };
    for (int type = 0; type < 2; type++) {
        const bert_dtype dtype = types[type];
        node_backend_threads(type + 1);
        node_case_begin(BERT_OP_LayerNormalization);
        node_case_input(dtype, 2, DIMS(ROWS, N), data(dtype, 0, ROWS * N, 3.0F));
        node_case_constant_of(dtype, 1, DIMS(N), data(dtype, 1, N, 1.0F));
        node_case_constant_of(dtype, 1, DIMS(N), data(dtype, 2, N, 1.0F));
        node_case_output_of(dtype, 2, DIMS(ROWS, N));
        compare(dtype, "layer_norm/cpu");

        node_case_begin(BERT_OP_BERTC_SkipLayerNormalization);
        node_case_input(dtype, 3, DIMS(2, ROWS, N), data(dtype, 0, 2 * ROWS * N, 3.0F));
        node_case_input(dtype, 3, DIMS(2, ROWS, N), data(dtype, 1, 2 * ROWS * N, 3.0F));
        node_case_constant_of(dtype, 1, DIMS(N), data(dtype, 2, N, 1.0F));
        node_case_constant_of(dtype, 1, DIMS(N), data(dtype, 3, N, 1.0F));
        node_case_output_of(dtype, 3, DIMS(2, ROWS, N));
        node_case_output_of(dtype, 3, DIMS(2, ROWS, N)); /* the sum */
        compare(dtype, "skip_layer_norm/cpu");

        node_case_begin(BERT_OP_Softmax);
        node_case_input(dtype, 2, DIMS(ROWS, N), data(dtype, 0, ROWS * N, 8.0F));
        node_case_output_of(dtype, 2, DIMS(ROWS, N));
        compare(dtype, "softmax/cpu");

        node_case_begin(BERT_OP_BERTC_Pool);
        node_case_string("pooling", "mean");
        node_case_int("normalize", type);
        node_case_input(dtype, 3, DIMS(2, ROWS, N), data(dtype, 0, 2 * ROWS * N, 3.0F));
        node_case_input(dtype, 2, DIMS(2, ROWS), data(dtype, 1, 2 * ROWS, 1.0F));
        node_case_float("epsilon", 1.0F);
        node_case_output_of(dtype, 2, DIMS(2, N));
        compare(dtype, "pool/cpu");
    }
}

static void embedding_agrees_with_the_reference(void **state) {
    enum { WIDTH = 48 };
    static const int64_t words[] = {0, 5, 30, -1, 7, 7, 12, 3}, positions[] = {0, 1, 2, 3};
    for (int type = 0; type < 2; type++) {
        const bert_dtype dtype = types[type];
        for (int constant = 0; constant < 2; constant++) {
            node_backend_threads(constant + 1);
            node_case_begin(BERT_OP_BERTC_Embedding);
            node_case_input(BERT_INT64, 2, DIMS(2, 4), words);
            if (constant)
                node_case_unaligned(dtype, 2, DIMS(31, WIDTH), data(dtype, 0, 31 * WIDTH, 1.0F), 0);
            else
                node_case_input(dtype, 2, DIMS(31, WIDTH), data(dtype, 0, 31 * WIDTH, 1.0F));
            node_case_input(BERT_INT64, 2, DIMS(1, 4), positions);
            node_case_constant_of(dtype, 2, DIMS(4, WIDTH), data(dtype, 1, 4 * WIDTH, 1.0F));
            node_case_absent();
            node_case_absent();
            node_case_constant_of(dtype, 1, DIMS(WIDTH), data(dtype, 2, WIDTH, 1.0F));
            node_case_constant_of(dtype, 1, DIMS(WIDTH), data(dtype, 3, WIDTH, 1.0F));
            node_case_output_of(dtype, 3, DIMS(2, 4, WIDTH));
            compare(dtype, "embedding/cpu");
        }
    }
}

/* What memory holds beside the file's own table is gamma and beta. */
static void a_table_is_not_widened(void **state) {
    enum { ROWS = 3000, WIDTH = 64 };
    static const int32_t words[] = {2999, 0, 1700, -1};
    for (int type = 0; type < 2; type++) {
        const bert_dtype dtype = types[type];
        const size_t before = node_backend_bytes();
        node_case_begin(BERT_OP_BERTC_Embedding);
        node_case_input(BERT_INT32, 2, DIMS(1, 4), words);
        node_case_unaligned(dtype, 2, DIMS(ROWS, WIDTH), data(dtype, 0, ROWS * WIDTH, 1.0F), 0);
        for (int input = BERT_EMBEDDING_POSITION_IDS; input < BERT_EMBEDDING_GAMMA; input++) node_case_absent();
        node_case_constant_of(dtype, 1, DIMS(WIDTH), data(dtype, 1, WIDTH, 1.0F));
        node_case_constant_of(dtype, 1, DIMS(WIDTH), data(dtype, 2, WIDTH, 1.0F));
        node_case_output_of(dtype, 3, DIMS(1, 4, WIDTH));
        compare(dtype, "embedding/cpu");
        assert_int_equal(node_backend_bytes() - before, 2 * WIDTH * sizeof(float));
    }
}

/* Rows of bytes are rounded as DequantizeLinear does it, before they are summed: no bit is off, as two are. */
static void rows_of_bytes_are_rounded_before_they_are_summed(void **state) {
    enum { ROWS = 9, WIDTH = 1100 };
    static const int64_t scale_dims[][2] = {{1, 1}, {ROWS, 1}, {1, WIDTH}};
    static const int64_t words[] = {0, 5, -1, 7}, positions[] = {8, 1, 3, 2};
    for (int type = 0; type < 2; type++) {
        const bert_dtype dtype = types[type];
        for (int i = 0; i < 3; i++) {
            const int64_t *dims = scale_dims[i], scales = dims[0] * dims[1];
            node_case_begin(BERT_OP_BERTC_Embedding);
            for (int table = 0; table < 2; table++) {
                node_case_input(BERT_INT64, 2, DIMS(1, 4), table ? positions : words);
                node_case_constant_of(BERT_INT8, 2, DIMS(ROWS, WIDTH), data(dtype, table, ROWS * WIDTH / 2, 1.0F));
            }
            for (int input = BERT_EMBEDDING_TYPE_IDS; input <= BERT_EMBEDDING_BETA; input++) node_case_absent();
            for (int table = 0; table < 2; table++) {
                node_case_constant_of(dtype, 2, dims, data(dtype, 2 + table, scales, 0.1F));
                node_case_absent();
            }
            node_case_output_of(dtype, 3, DIMS(1, 4, WIDTH));
            node_case_compare(0.0F);
        }
    }
}

static void attention_agrees_with_the_reference(void **state) {
    enum { HEADS = 2, WIDTH = 16, LENGTH = 21, HIDDEN = HEADS * WIDTH };
    static unsigned char mask[2 * LENGTH];
    for (int i = 0; i < 2 * LENGTH; i++) mask[i] = i % 3 != 1;
    for (int type = 0; type < 2; type++) {
        const bert_dtype dtype = types[type];
        node_backend_threads(2 - type);
        node_case_begin(BERT_OP_BERTC_Attention);
        node_case_int("heads", HEADS);
        node_case_int("packed", 1);
        node_case_float("scale", 0.25F);
        node_case_input(dtype, 3, DIMS(2, LENGTH, 3 * HIDDEN), data(dtype, 0, 2 * LENGTH * 3 * HIDDEN, 1.0F));
        node_case_absent();
        node_case_absent();
        node_case_input(dtype, 4, DIMS(1, HEADS, LENGTH, LENGTH), data(dtype, 1, HEADS * LENGTH * LENGTH, 1.0F));
        node_case_input(BERT_BOOL, 4, DIMS(2, 1, 1, LENGTH), mask);
        node_case_output_of(dtype, 3, DIMS(2, LENGTH, HIDDEN));
        /* The reference rounds scores and probabilities, too. */
        node_case_compare(2 * step_of(dtype));
        assert_true(strncmp(node_case_kernel(), "attention/cpu/", 14) == 0);
    }
}

/* Cosines and sines are widened, too: once where they are constants. */
static void rotated_attention_agrees_with_the_reference(void **state) {
    enum { HEADS = 2, WIDTH = 6, LENGTH = 7, HIDDEN = HEADS * WIDTH };
    for (int variant = 0; variant < 4; variant++) {
        const bert_dtype dtype = types[variant & 1];
        void (*add)(bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data) =
            variant & 2 ? node_case_constant_of : node_case_input;
        node_case_begin(BERT_OP_BERTC_Attention);
        node_case_int("heads", HEADS);
        node_case_int("packed", 1);
        node_case_float("scale", 0.4F);
        node_case_input(dtype, 3, DIMS(2, LENGTH, 3 * HIDDEN), data(dtype, 0, 2 * LENGTH * 3 * HIDDEN, 1.0F));
        for (int i = BERT_ATTENTION_K; i < BERT_ATTENTION_COSINES; i++) node_case_absent();
        add(dtype, 3, DIMS(1, LENGTH, WIDTH), data(dtype, 1, LENGTH * WIDTH, 1.0F));
        add(dtype, 3, DIMS(1, LENGTH, WIDTH), data(dtype, 2, LENGTH * WIDTH, 1.0F));
        node_case_output_of(dtype, 3, DIMS(2, LENGTH, HIDDEN));
        node_case_compare(2 * step_of(dtype));
        assert_true(strncmp(node_case_kernel(), "attention/cpu/", 14) == 0);
    }
}

/* One operation of 16-bit floats is the rounded one of float32: these are equal, infinity beyond the range as well. */
static void elements_agree_with_the_reference(void **state) {
    static const bert_op_id binary[] = {BERT_OP_Add, BERT_OP_Sub, BERT_OP_Mul, BERT_OP_Div};
    for (int type = 0; type < 2; type++) {
        const bert_dtype dtype = types[type];
        for (size_t i = 0; i < sizeof binary / sizeof *binary; i++) {
            node_backend_threads((int)i % 3 + 1);
            node_case_begin(binary[i]);
            node_case_input(dtype, 2, DIMS(3, 17001), data(dtype, 0, 3 * 17001, 3e4F));
            node_case_constant_of(dtype, 1, DIMS(17001), data(dtype, 1, 17001, 9.0F));
            node_case_output_of(dtype, 2, DIMS(3, 17001));
            node_case_compare(0.0F);
            assert_true(strncmp(node_case_kernel(), "binary/cpu/", 11) == 0);
        }
        node_case_begin(BERT_OP_Tanh);
        node_case_input(dtype, 2, DIMS(3, 1001), data(dtype, 0, 3 * 1001, 3.0F));
        node_case_output_of(dtype, 2, DIMS(3, 1001));
        compare(dtype, "unary/cpu");

        node_case_begin(BERT_OP_Transpose);
        node_case_ints("perm", DIMS(0, 2, 1, 3), 4);
        node_case_input(dtype, 4, DIMS(2, 3, 5, 7), data(dtype, 0, 2 * 3 * 5 * 7, 3.0F));
        node_case_output_of(dtype, 4, DIMS(2, 5, 3, 7));
        node_case_compare(0.0F);

        static const unsigned char bytes[] = {0, 7, 128, 255};
        node_case_begin(BERT_OP_DequantizeLinear);
        node_case_input(BERT_UINT8, 1, DIMS(4), bytes);
        node_case_input(dtype, 0, NULL, data(dtype, 0, 1, 0.1F));
        node_case_output_of(dtype, 1, DIMS(4));
        node_case_compare(0.0F);
    }
}

/* What rounds to whole numbers rounds quotients of the graph's own type. */
static void quantizing_is_left_to_the_fallback(void **state) {
    node_case_begin(BERT_OP_QuantizeLinear);
    node_case_input(BERT_FLOAT16, 1, DIMS(4), data(BERT_FLOAT16, 0, 4, 1.0F));
    node_case_input(BERT_FLOAT16, 0, NULL, data(BERT_FLOAT16, 1, 1, 0.1F));
    node_case_output_of(BERT_UINT8, 1, DIMS(4));
    node_case_expect_left();
    for (int weight_only = 0; weight_only < 2; weight_only++) {
        node_case_begin(BERT_OP_BERTC_QuantizedLinear);
        node_case_int("weight_only", weight_only);
        node_case_input(BERT_FLOAT16, 2, DIMS(2, 8), data(BERT_FLOAT16, 0, 16, 1.0F));
        node_case_absent();
        node_case_absent();
        node_case_absent();
        node_case_constant_of(BERT_INT8, 2, DIMS(8, 6), data(BERT_FLOAT16, 1, 24, 1.0F));
        node_case_constant_of(BERT_FLOAT16, 0, NULL, data(BERT_FLOAT16, 2, 1, 0.02F));
        node_case_output_of(BERT_FLOAT16, 2, DIMS(2, 6));
        if (weight_only)
            compare(BERT_FLOAT16, "weight_only/cpu");
        else
            node_case_expect_left();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversions_take_any_address_and_any_length),
        cmocka_unit_test(products_agree_with_the_reference),
        cmocka_unit_test(a_weight_is_packed_once),
        cmocka_unit_test(norms_agree_with_the_reference),
        cmocka_unit_test(embedding_agrees_with_the_reference),
        cmocka_unit_test(a_table_is_not_widened),
        cmocka_unit_test(rows_of_bytes_are_rounded_before_they_are_summed),
        cmocka_unit_test(attention_agrees_with_the_reference),
        cmocka_unit_test(rotated_attention_agrees_with_the_reference),
        cmocka_unit_test(elements_agree_with_the_reference),
        cmocka_unit_test(quantizing_is_left_to_the_fallback),
    };
    return node_run_tests(tests, sizeof tests / sizeof *tests, node_open, true);
}
