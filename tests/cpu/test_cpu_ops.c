/*
 * Every operator of the CPU backend against the reference implementation, over shapes and threads. Runs once for each
 * instruction set that this machine has, and once with each GEMM provider: see main.
 */
#include "core/graph/canonical.h"
#include "tests/cpu/node_case.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_FLOATS = 1 << 19 };
static float pool[8][MOST_FLOATS];
static bool own_kernels; /* what BERT_CPU_GEMM says */

/* Buffer `which`, filled. */
static float *data(int which, int64_t count, float scale) {
    assert_true(count <= MOST_FLOATS);
    fill_random(pool[which], count, scale, (uint32_t)which + 7);
    return pool[which];
}

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})

static const char *const activations[] = {"none", "gelu", "gelu_tanh", "quick_gelu", "silu", "tanh", "relu"};

/* `variant`: bit 0 transposed, 1 bias, 2 residual, 3 unaligned. */
static void linear_case(int64_t rows, int64_t k, int64_t n, int parts, int variant, const char *activation) {
    node_case_begin(BERT_OP_BERTC_Linear);
    node_case_int("parts", parts);
    node_case_int("transpose", variant & 1);
    node_case_float("alpha", parts == 2 ? 0.5F : 1.0F);
    node_case_string("activation", activation);
    node_case_input(BERT_FLOAT, 3, DIMS(1, rows, k), data(0, rows * k, 1.0F));
    if (variant & 4)
        node_case_input(BERT_FLOAT, 3, DIMS(1, rows, n * parts), data(1, rows * n * parts, 1.0F));
    else
        node_case_absent();
    for (int part = 0; part < parts; part++) {
        const int64_t dims[2] = {variant & 1 ? n : k, variant & 1 ? k : n};
        const float *weight = data(2 + part, k * n, 1.0F);
        if (variant & 8)
            node_case_unaligned(BERT_FLOAT, 2, dims, weight, 0);
        else
            node_case_constant(2, dims, weight);
        if (variant & 2 && part != 1)
            node_case_constant(1, DIMS(n), data(5 + part, n, 1.0F));
        else
            node_case_absent();
    }
    node_case_output(3, DIMS(1, rows, n * parts));
    node_case_compare(2e-6F * sqrtf((float)k));
}

static void linear_agrees_with_the_reference(void **state) {
    static const int64_t rows[] = {0, 1, 5, 8, 17, 64, 131};
    static const int64_t ks[] = {1, 7, 64, 129};
    static const int64_t ns[] = {1, 2, 47, 48, 49, 96, 101};
    int at = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof ks / sizeof *ks; j++)
            for (size_t l = 0; l < sizeof ns / sizeof *ns; l++, at++) {
                if (l == 0) node_backend_threads((int)(i + j) % 4 + 1);
                linear_case(rows[i], ks[j], ns[l], at % 3 + 1, at % 16,
                            activations[(size_t)at % (sizeof activations / sizeof *activations)]);
            }
    node_backend_threads(2);
    linear_case(40, 1700, 130, 1, 2, "none"); /* cut along k, several blocks of rows */
    linear_case(300, 768, 100, 3, 7, "gelu");
    linear_case(64, 1600, 96, 1, 9, "none");
}

static void a_weight_is_packed_once_for_all_that_use_it(void **state) {
    const size_t before = node_backend_bytes();
    size_t after[3];
    for (int i = 0; i < 3; i++) {
        node_case_begin(BERT_OP_BERTC_Linear);
        node_case_input(BERT_FLOAT, 2, DIMS(2, 32), data(0, 64, 1.0F));
        node_case_absent();
        node_case_unaligned(BERT_FLOAT, 2, DIMS(32, 48), data(2, 32 * 48, 1.0F),
                            i < 2 ? 5 : 6); /* the third is another one */
        node_case_output(2, DIMS(2, 48));
        node_case_compare(1e-5F);
        after[i] = node_backend_bytes();
    }
    assert_true(after[0] > before);
    assert_int_equal(after[1], after[0]);
    assert_true(after[2] > after[1]);
}

static void products_of_a_file_agree_with_the_reference(void **state) {
    for (int variant = 0; variant < 8; variant++) {
        node_backend_threads(variant % 3 + 1);
        const int64_t m = 9 + variant * 20, k = 33, n = 50;
        node_case_begin(BERT_OP_Gemm);
        node_case_int("transB", variant & 1);
        node_case_float("alpha", variant & 2 ? 0.25F : 1.0F);
        node_case_input(BERT_FLOAT, 2, DIMS(m, k), data(0, m * k, 1.0F));
        node_case_constant(2, variant & 1 ? DIMS(n, k) : DIMS(k, n), data(1, k * n, 1.0F));
        if (variant & 4) node_case_input(BERT_FLOAT, 1, DIMS(n), data(2, n, 1.0F));
        node_case_output(2, DIMS(m, n));
        node_case_compare(1e-5F);

        node_case_begin(BERT_OP_MatMul);
        node_case_input(BERT_FLOAT, 4, DIMS(2, 1, m, k), data(0, 2 * m * k, 1.0F));
        if (variant & 1)
            node_case_constant(2, DIMS(k, n), data(1, k * n, 1.0F));
        else
            node_case_input(BERT_FLOAT, 3, DIMS(3, k, n), data(1, 3 * k * n, 1.0F));
        if (variant & 1)
            node_case_output(4, DIMS(2, 1, m, n));
        else
            node_case_output(4, DIMS(2, 3, m, n));
        node_case_compare(1e-5F);
    }
    node_case_begin(BERT_OP_Gemm); /* near misses are the fallback's */
    node_case_int("transA", 1);
    node_case_input(BERT_FLOAT, 2, DIMS(4, 2), data(0, 8, 1.0F));
    node_case_constant(2, DIMS(4, 3), data(1, 12, 1.0F));
    node_case_output(2, DIMS(2, 3));
    node_case_expect_left();
    node_case_begin(BERT_OP_MatMul);
    node_case_input(BERT_DOUBLE, 2, DIMS(1, 1), DIMS(0));
    node_case_input(BERT_DOUBLE, 2, DIMS(1, 1), DIMS(0));
    node_case_output(2, DIMS(1, 1));
    node_case_expect_left();
}

static void normalizations_agree_with_the_reference(void **state) {
    static const int64_t widths[] = {3, 16, 50, 768};
    for (int variant = 0; variant < 64; variant++) {
        node_backend_threads(variant % 3 + 1);
        const int64_t n = widths[variant % 4], rows = variant % 5 * 7;
        node_case_begin(BERT_OP_LayerNormalization);
        node_case_float("epsilon", 1e-12F);
        node_case_int("axis", variant & 1 ? -1 : 2);
        node_case_input(BERT_FLOAT, 3, DIMS(2, rows, n), data(0, 2 * rows * n, 3.0F));
        node_case_input(BERT_FLOAT, 1, DIMS(n), data(1, n, 1.0F));
        if (variant & 2) node_case_input(BERT_FLOAT, 1, DIMS(n), data(2, n, 1.0F));
        node_case_output(3, DIMS(2, rows, n));
        node_case_compare(1e-5F);
        assert_int_equal(node_case_y_ranges(), 1);

        node_case_begin(BERT_OP_BERTC_SkipLayerNormalization);
        node_case_float("epsilon", 1e-5F);
        node_case_int("simplified", variant >> 4 & 1);
        node_case_input(BERT_FLOAT, 3, DIMS(2, rows, n), data(0, 2 * rows * n, 3.0F));
        node_case_input(BERT_FLOAT, 3, DIMS(2, rows, n), data(1, 2 * rows * n, 3.0F));
        node_case_input(BERT_FLOAT, 1, DIMS(n), data(2, n, 1.0F));
        if (variant & 4)
            node_case_input(BERT_FLOAT, 1, DIMS(n), data(3, n, 1.0F));
        else
            node_case_absent();
        if (variant & 8) node_case_input(BERT_FLOAT, 1, DIMS(n), data(4, n, 1.0F));
        node_case_output(3, DIMS(2, rows, n));
        if (variant & 32) node_case_output(3, DIMS(2, rows, n));
        node_case_compare(1e-5F);
        assert_int_equal(node_case_y_ranges(), 1);
    }
}

/* `variant`: bit 0 positions, 1 types, 2 a norm, 3 every third token is padding. */
static void embedding_case(int variant, int64_t batch, int64_t length, int64_t width) {
    static int32_t tokens[64];
    int64_t rows = 0;
    static int64_t words[64], positions[64];
    static int32_t types[64];
    for (int64_t i = 0; i < 64; i++) {
        words[i] = i * 7 % 31 - (i % 5 == 0 ? 3 : 0); /* some count from the end */
        positions[i] = i % length;
        types[i] = (int32_t)(i % 2);
        if (i < batch * length && i % 3 != 2) tokens[rows++] = (int32_t)i;
    }
    node_case_begin(BERT_OP_BERTC_Embedding);
    node_case_float("epsilon", 1e-5F);
    node_case_input(BERT_INT64, 2, DIMS(batch, length), words);
    node_case_input(BERT_FLOAT, 2, DIMS(31, width), data(0, 31 * width, 1.0F));
    if (variant & 1) {
        node_case_input(BERT_INT64, 2, DIMS(1, length), positions);
        node_case_input(BERT_FLOAT, 2, DIMS(40, width), data(1, 40 * width, 1.0F));
    } else {
        node_case_absent();
        node_case_absent();
    }
    if (variant & 2) {
        node_case_input(BERT_INT32, 2, DIMS(batch, length), types);
        node_case_input(BERT_FLOAT, 2, DIMS(2, width), data(2, 2 * width, 1.0F));
    } else {
        node_case_absent();
        node_case_absent();
    }
    if (variant & 4) {
        node_case_input(BERT_FLOAT, 1, DIMS(width), data(3, width, 1.0F));
        node_case_input(BERT_FLOAT, 1, DIMS(width), data(4, width, 1.0F));
    } else if (variant & 8) {
        node_case_absent();
        node_case_absent();
    }
    if (!(variant & 8)) {
        node_case_output(3, DIMS(batch, length, width));
        return;
    }
    for (int32_t i = BERT_EMBEDDING_WORD_SCALE; i < BERT_EMBEDDING_TOKENS; i++) node_case_absent();
    node_case_input(BERT_INT32, 1, DIMS(rows), tokens);
    if (length == 1)
        node_case_output(3, DIMS(rows, 1, width));
    else
        node_case_output(3, DIMS(1, rows, width));
}

static void embedding_agrees_with_the_reference(void **state) {
    for (int variant = 0; variant < 16; variant++) {
        node_backend_threads(variant % 4 + 1);
        embedding_case(variant, 2, 13, 48);
        node_case_compare(1e-5F);
        assert_int_equal(node_case_y_ranges(), 1);
        embedding_case(variant, 1, 1, 5);
        node_case_compare(1e-4F);
    }
}

/* `variant`: bit 0 int8, 1 scales of rows, 2 of columns, 3 zero points, 4 a norm, 5 float types. */
static void embedding_of_bytes_agrees_with_the_reference(void **state) {
    enum { ROWS = 31, WIDTH = 48 };
    static const int64_t words[] = {0, 5, 30, -1, 7, 7, 12, 3}, positions[] = {0, 1, 2, 3};
    static unsigned char table[ROWS * WIDTH], zeros[ROWS * WIDTH + 3];
    for (int i = 0; i < ROWS * WIDTH; i++) {
        table[i] = (unsigned char)(i * 37 + 11);
        zeros[i] = (unsigned char)(i * 101 + 7);
    }
    for (int variant = 0; variant < 64; variant++) {
        const bert_dtype type = variant & 1 ? BERT_INT8 : BERT_UINT8;
        const int64_t rows = variant & 2 ? ROWS : 1, columns = variant & 4 ? WIDTH : 1;
        const bool typed = variant & 32;
        node_backend_threads(variant % 3 + 1);
        node_case_begin(BERT_OP_BERTC_Embedding);
        node_case_input(BERT_INT64, 2, DIMS(2, 4), words);
        node_case_input(type, 2, DIMS(ROWS, WIDTH), table);
        node_case_input(BERT_INT64, 2, DIMS(1, 4), positions);
        node_case_input(type, 2, DIMS(ROWS, WIDTH), zeros);
        for (int i = 0; i < 2 && !typed; i++) node_case_absent();
        if (typed) node_case_input(BERT_INT64, 2, DIMS(1, 4), positions);
        if (typed) node_case_input(BERT_FLOAT, 2, DIMS(4, WIDTH), data(5, 4 * WIDTH, 1.0F));
        for (int i = 0; i < 2; i++) {
            if (variant & 16)
                node_case_input(BERT_FLOAT, 1, DIMS(WIDTH), data(2 + i, WIDTH, 1.0F));
            else
                node_case_absent();
        }
        for (int i = 0; i < 2; i++) {
            node_case_input(BERT_FLOAT, 2, DIMS(rows, columns), data(i, rows * columns, 0.01F));
            if (variant & 8)
                node_case_input(type, 2, DIMS(rows, columns), zeros + 3 * i);
            else
                node_case_absent();
        }
        node_case_output(3, DIMS(2, 4, WIDTH));
        node_case_compare(variant & 16 ? 1e-5F : 1e-6F);
    }
}

static void an_id_outside_its_table_is_named(void **state) {
    static const int64_t words[] = {0, 1, 2, 3, 4, 31}, types[] = {0, 0, 2, 0, 0, 0};
    node_case_begin(BERT_OP_BERTC_Embedding);
    node_case_input(BERT_INT64, 2, DIMS(2, 3), words);
    node_case_input(BERT_FLOAT, 2, DIMS(31, 4), data(0, 31 * 4, 1.0F));
    node_case_output(3, DIMS(2, 3, 4));
    node_case_expect_fails(BERT_INVALID_INPUT,
                           "token id 31 at position 2 of sequence 1 is outside the table of 31 rows");
    node_case_begin(BERT_OP_BERTC_Embedding);
    node_case_input(BERT_INT64, 2, DIMS(2, 3), types);
    node_case_input(BERT_FLOAT, 2, DIMS(31, 4), data(0, 31 * 4, 1.0F));
    node_case_absent();
    node_case_absent();
    node_case_input(BERT_INT64, 2, DIMS(2, 3), types);
    node_case_input(BERT_FLOAT, 2, DIMS(2, 4), data(1, 8, 1.0F));
    node_case_output(3, DIMS(2, 3, 4));
    node_case_expect_fails(BERT_INVALID_INPUT, "token type id 2 at position 2 of sequence 0");
    /* Where it stands with the padding, of which nobody looks at the ids. */
    static const int64_t padded[] = {0, 99, 99, 3, 31, 99};
    static const int32_t tokens[] = {0, 3, 4};
    node_case_begin(BERT_OP_BERTC_Embedding);
    node_case_input(BERT_INT64, 2, DIMS(2, 3), padded);
    node_case_input(BERT_FLOAT, 2, DIMS(31, 4), data(0, 31 * 4, 1.0F));
    for (int32_t i = BERT_EMBEDDING_POSITION_IDS; i < BERT_EMBEDDING_TOKENS; i++) node_case_absent();
    node_case_input(BERT_INT32, 1, DIMS(3), tokens);
    node_case_output(3, DIMS(1, 3, 4));
    node_case_expect_fails(BERT_INVALID_INPUT, "token id 31 at position 1 of sequence 1 is outside");
}

/* `variant`: bit 0 packed, 1 bias, 2 mask, 3 zero, 4 a row that is masked out, 5.. how bias and mask broadcast. */
static void attention_case(int variant, int64_t batch, int64_t queries, int64_t keys, int64_t heads, int64_t width) {
    static unsigned char mask[MOST_FLOATS];
    const int64_t hidden = heads * width, shape = variant >> 5;
    if (variant & 1) keys = queries;
    node_case_begin(BERT_OP_BERTC_Attention);
    node_case_int("heads", heads);
    node_case_float("scale", 0.3F);
    node_case_int("packed", variant & 1);
    node_case_string("masked_rows", variant & 8 ? "zero" : "nan");
    if (variant & 1) {
        node_case_input(BERT_FLOAT, 3, DIMS(batch, queries, 3 * hidden), data(0, batch * queries * 3 * hidden, 2.0F));
        node_case_absent();
        node_case_absent();
    } else {
        node_case_input(BERT_FLOAT, 3, DIMS(batch, queries, hidden), data(0, batch * queries * hidden, 2.0F));
        node_case_input(BERT_FLOAT, 3, DIMS(batch, keys, hidden), data(1, batch * keys * hidden, 2.0F));
        node_case_input(BERT_FLOAT, 3, DIMS(batch, keys, hidden), data(2, batch * keys * hidden, 2.0F));
    }
    const int64_t dims[4] = {shape & 1 ? batch : 1, shape & 2 ? heads : 1, shape & 4 ? queries : 1,
                             shape & 8 ? 1 : keys};
    const int64_t count = dims[0] * dims[1] * dims[2] * dims[3];
    if (variant & 2)
        node_case_input(BERT_FLOAT, 4, dims, data(3, count, 1.0F));
    else
        node_case_absent();
    if (variant & 4) {
        for (int64_t i = 0; i < count; i++) mask[i] = i % 3 != 0 || (i == 0 && dims[3] > 1);
        if (variant & 16) memset(mask, 0, (size_t)dims[3]);
        node_case_input(BERT_BOOL, 4, dims, mask);
    }
    node_case_output(3, DIMS(batch, queries, hidden));
    node_case_compare(1e-5F);
}

static void attention_agrees_with_the_reference(void **state) {
    for (int variant = 0; variant < 512; variant++) {
        if (variant % 128 == 0) node_backend_threads(variant / 128 + 1);
        attention_case(variant, 2, 5, 7, 3, 8);
    }
    attention_case(7 + (5 << 5), 1, 131, 131, 2, 64);
    attention_case(6 + (1 << 5), 2, 50, 33, 4, 17);
    attention_case(1, 1, 1, 1, 1, 1);
    /* Blocks of 24 queries, the last with less; masks by query. Keys whose rows lie an odd number of lines apart. */
    attention_case(6 + (5 << 5), 2, 50, 257, 2, 8);
    attention_case(6 + (7 << 5), 1, 73, 300, 3, 16);
    attention_case(7 + (5 << 5), 1, 512, 512, 2, 8);
}

static void softmax_agrees_with_the_reference(void **state) {
    for (int threads = 1; threads <= 3; threads++) {
        node_backend_threads(threads);
        node_case_begin(BERT_OP_Softmax);
        node_case_int("axis", threads == 1 ? -1 : 2);
        node_case_input(BERT_FLOAT, 3, DIMS(3, 77, 45), data(0, 3 * 77 * 45, 8.0F));
        node_case_output(3, DIMS(3, 77, 45));
        node_case_compare(1e-6F);
    }
    node_case_begin(BERT_OP_Softmax);
    node_case_int("axis", 1);
    node_case_input(BERT_FLOAT, 3, DIMS(3, 7, 45), data(0, 3 * 7 * 45, 8.0F));
    node_case_output(3, DIMS(3, 7, 45));
    node_case_expect_left();
}

static void elementwise_agrees_with_the_reference(void **state) {
    static const bert_op_id unary[] = {BERT_OP_Abs,     BERT_OP_Erf,  BERT_OP_Exp,        BERT_OP_Gelu,
                                       BERT_OP_MS_Gelu, BERT_OP_Neg,  BERT_OP_Reciprocal, BERT_OP_Relu,
                                       BERT_OP_Sigmoid, BERT_OP_Sqrt, BERT_OP_Tanh,       BERT_OP_Gelu};
    for (size_t i = 0; i < sizeof unary / sizeof *unary; i++) {
        node_backend_threads((int)i % 3 + 1);
        node_case_begin(unary[i]);
        if (i + 1 == sizeof unary / sizeof *unary) node_case_string("approximate", "tanh");
        node_case_input(BERT_FLOAT, 2, DIMS(3, 17001), data(0, 3 * 17001, 4.0F));
        node_case_output(2, DIMS(3, 17001));
        node_case_compare(2e-6F);
    }
    static const bert_op_id binary[] = {BERT_OP_Add, BERT_OP_Sub, BERT_OP_Mul, BERT_OP_Div};
    for (int i = 0; i < 256; i++) {
        if (i % 64 == 0) node_backend_threads(i / 64 + 1);
        const int64_t full[4] = {2, 3, 5, 19};
        int64_t a[4], b[4];
        for (int j = 0; j < 4; j++) {
            a[j] = i >> j & 1 ? full[j] : 1;
            b[j] = i >> (j + 4) & 1 ? full[j] : 1;
        }
        int64_t y[4];
        for (int j = 0; j < 4; j++) y[j] = a[j] > b[j] ? a[j] : b[j];
        node_case_begin(binary[i % 4]);
        node_case_input(BERT_FLOAT, 4, a, data(0, a[0] * a[1] * a[2] * a[3], 2.0F));
        const int drop = b[0] == 1 ? 1 : 0; /* a lower rank */
        node_case_input(BERT_FLOAT, 4 - drop, b + drop, data(1, b[0] * b[1] * b[2] * b[3], 2.0F));
        node_case_output(4, y);
        node_case_compare(1e-6F);
    }
    node_case_begin(BERT_OP_Add); /* rows longer than a task */
    node_case_input(BERT_FLOAT, 2, DIMS(3, 40000), data(0, 120000, 2.0F));
    node_case_input(BERT_FLOAT, 2, DIMS(3, 1), data(1, 3, 2.0F));
    node_case_output(2, DIMS(3, 40000));
    node_case_compare(1e-6F);
    node_case_begin(BERT_OP_Mul);
    node_case_input(BERT_FLOAT, 0, NULL, data(0, 1, 2.0F));
    node_case_input(BERT_FLOAT, 0, NULL, data(1, 1, 2.0F));
    node_case_output(0, NULL);
    node_case_compare(1e-6F);
}

static void tests_for_nan_agree_with_the_reference(void **state) {
    float *numbers = malloc(40000 * sizeof *numbers);
    for (int i = 0; i < 40000; i++) numbers[i] = i % 5 == 1 ? NAN : i % 7 == 1 ? INFINITY : (float)i;
    node_case_begin(BERT_OP_IsNaN);
    node_case_input(BERT_FLOAT, 2, DIMS(2, 20000), numbers);
    node_case_output_of(BERT_BOOL, 2, DIMS(2, 20000));
    node_case_compare(0.0F);
    free(numbers);
}

static void movement_agrees_with_the_reference(void **state) {
    static int64_t perms[24][4];
    int count = 0;
    for (int i = 0; i < 256; i++) {
        const int64_t p[4] = {i & 3, i >> 2 & 3, i >> 4 & 3, i >> 6};
        if ((1 << p[0] | 1 << p[1] | 1 << p[2] | 1 << p[3]) == 15) memcpy(perms[count++], p, sizeof p);
    }
    assert_int_equal(count, 24);
    static const int64_t shapes[][4] = {{2, 17, 3, 16}, {1, 19, 33, 1}, {5, 1, 16, 40}, {1, 1, 1, 1}, {2, 0, 3, 4}};
    for (int i = 0; i < 24; i++) {
        for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) {
            int64_t y[4], n = 1;
            for (int d = 0; d < 4; d++) {
                y[d] = shapes[j][perms[i][d]];
                n *= y[d];
            }
            node_case_begin(BERT_OP_Transpose);
            node_case_ints("perm", perms[i], 4);
            node_case_input(BERT_FLOAT, 4, shapes[j], data(0, n, 1.0F));
            node_case_output(4, y);
            node_case_compare(0.0F);
        }
    }
    node_case_begin(BERT_OP_Transpose); /* no perm: the dimensions are reversed */
    node_case_input(BERT_FLOAT, 3, DIMS(3, 20, 18), data(0, 3 * 20 * 18, 1.0F));
    node_case_output(3, DIMS(18, 20, 3));
    node_case_compare(0.0F);

    static const int32_t rows[] = {0, -1, 3, 2, 2, 0};
    static const int64_t scalar = 1, wrong[] = {0, 5};
    node_backend_threads(3);
    node_case_begin(BERT_OP_Gather);
    node_case_input(BERT_FLOAT, 2, DIMS(4, 9001), data(0, 4 * 9001, 1.0F));
    node_case_input(BERT_INT32, 2, DIMS(2, 3), rows);
    node_case_output(3, DIMS(2, 3, 9001));
    node_case_compare(0.0F);
    node_case_begin(BERT_OP_Gather);
    node_case_int("axis", 1);
    node_case_input(BERT_FLOAT, 3, DIMS(2, 5, 9), data(0, 90, 1.0F));
    node_case_input(BERT_INT64, 0, NULL, &scalar);
    node_case_output(2, DIMS(2, 9));
    node_case_compare(0.0F);
    node_case_begin(BERT_OP_Gather);
    node_case_input(BERT_FLOAT, 2, DIMS(5, 9), data(0, 45, 1.0F));
    node_case_input(BERT_INT64, 1, DIMS(2), wrong);
    node_case_output(2, DIMS(2, 9));
    node_case_expect_fails(BERT_INVALID_INPUT, "index 5 at place 1 of 2 is outside the 5 rows");
}

/* The promise of providers with own kernels: the same bits with any number of threads and rows. */
static void own_products_have_the_same_bits_alone_and_in_a_batch(void **state) {
    if (!own_kernels) {
        print_message("skipped: OpenBLAS doesn't promise it\n");
        skip();
    }
    enum { ROWS = 37, K = 900, N = 131 };
    static float whole[ROWS * N];
    for (int threads = 1; threads <= 4; threads++) {
        for (int64_t rows = 1; rows <= ROWS; rows += 4) {
            node_backend_threads(threads);
            node_case_begin(BERT_OP_BERTC_Linear);
            node_case_string("activation", "gelu");
            node_case_input(BERT_FLOAT, 2, DIMS(rows == 1 ? ROWS : rows, K), data(0, ROWS * K, 1.0F));
            node_case_absent();
            node_case_constant(2, DIMS(K, N), data(2, K * N, 1.0F));
            node_case_output(2, DIMS(rows == 1 ? ROWS : rows, N));
            const float *y = node_case_run();
            if (threads == 1 && rows == 1) memcpy(whole, y, sizeof whole);
            assert_memory_equal(y, whole, (size_t)(rows == 1 ? ROWS : rows) * N * sizeof *y);
        }
    }
}

static int open_backend(void **state) {
    const char *provider = getenv("BERT_CPU_GEMM");
    own_kernels = provider && strcmp(provider, "openblas") != 0;
    return node_open(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_agrees_with_the_reference),
        cmocka_unit_test(a_weight_is_packed_once_for_all_that_use_it),
        cmocka_unit_test(products_of_a_file_agree_with_the_reference),
        cmocka_unit_test(normalizations_agree_with_the_reference),
        cmocka_unit_test(embedding_agrees_with_the_reference),
        cmocka_unit_test(embedding_of_bytes_agrees_with_the_reference),
        cmocka_unit_test(an_id_outside_its_table_is_named),
        cmocka_unit_test(attention_agrees_with_the_reference),
        cmocka_unit_test(softmax_agrees_with_the_reference),
        cmocka_unit_test(elementwise_agrees_with_the_reference),
        cmocka_unit_test(tests_for_nan_agree_with_the_reference),
        cmocka_unit_test(movement_agrees_with_the_reference),
        cmocka_unit_test(own_products_have_the_same_bits_alone_and_in_a_batch),
    };
    return node_run_tests(tests, sizeof tests / sizeof *tests, open_backend, true);
}
