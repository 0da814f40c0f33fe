/* The canonical QuantizedAdd: inference, and its reference implementation against the operators it stands for. */
#include "core/graph/canonical.h"
#include "tests/graph/op_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Inference ------------------------------------------------------------------------------------------------------
 */

/* Inputs of a case of inference by their numbers: a type and a shape (NULL: absent), a and b of type float. */
typedef struct form {
    bert_dtype types[BERT_QUANTIZED_ADD_INPUTS];
    const char *shapes[BERT_QUANTIZED_ADD_INPUTS];
} form;

/* Whose bytes are of `dtype`; bit 0 of `variant`: a is quantized, 1: y is dequantized, 2: y is the sum itself. */
static form form_of(int variant, bert_dtype dtype, const char *a, const char *b) {
    form f = {.types = {BERT_FLOAT, BERT_FLOAT}, .shapes = {a, b}};
    for (int i = BERT_QUANTIZED_ADD_Y_SCALE; i < BERT_QUANTIZED_ADD_INPUTS; i += 2) {
        const bool present = i == BERT_QUANTIZED_ADD_Y_SCALE       ? !(variant & 4)
                             : i == BERT_QUANTIZED_ADD_Y_NEW_SCALE ? variant & 2
                                                                   : variant & 1;
        f.types[i] = BERT_FLOAT;
        f.types[i + 1] = dtype;
        f.shapes[i] = f.shapes[i + 1] = present ? "" : NULL;
    }
    return f;
}

static void begin(const form *f) {
    op_case_begin_in("bertc", "QuantizedAdd", 1);
    for (int i = 0; i < BERT_QUANTIZED_ADD_INPUTS; i++) {
        if (f->shapes[i])
            op_case_input(f->types[i], f->shapes[i]);
        else
            op_case_absent();
    }
}

static const bert_dtype byte_types[] = {BERT_UINT8, BERT_INT8};

enum { VARIANTS = 6 };

static void y_is_bytes_where_it_is_quantized_and_floats_elsewhere(void **state) {
    for (int variant = 0; variant < VARIANTS; variant++) {
        for (int type = 0; type < 2; type++) {
            form f = form_of(variant, byte_types[type], "batch,sequence,4", "4");
            /* What a is quantized to doesn't matter. */
            f.types[BERT_QUANTIZED_ADD_A_ZERO_POINT] = f.types[BERT_QUANTIZED_ADD_A_NEW_ZERO_POINT] = BERT_INT8;
            begin(&f);
            op_case_expect(0, variant & 6 ? BERT_FLOAT : byte_types[type], "batch,sequence,4");
        }
    }
}

static void a_and_b_broadcast(void **state) {
    static const char *const shapes[][3] = {
        {"batch,1,1,sequence", "batch,12,sequence,sequence", "batch,12,sequence,sequence"},
        {"batch,12,sequence,sequence", "batch,1,1,sequence", "batch,12,sequence,sequence"},
        {"", "", ""},
        {"", "3,1", "3,1"},
        {"3,1", "1,5", "3,5"},
        {"0,4", "4", "0,4"},
        {"*", "4", "*"},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const form f = form_of(3, BERT_UINT8, shapes[i][0], shapes[i][1]);
        begin(&f);
        op_case_expect(0, BERT_FLOAT, shapes[i][2]);
    }
    const form f = form_of(0, BERT_UINT8, "3,4", "3");
    begin(&f);
    op_case_expect_refused(BERT_INVALID_MODEL, "[3, 4] and [3] don't broadcast");
}

static void a_scale_has_one_element_of_any_shape(void **state) {
    for (int i = BERT_QUANTIZED_ADD_Y_SCALE; i < BERT_QUANTIZED_ADD_INPUTS; i++) {
        static const char *const fitting[] = {"1", "1,1", "*", "n"};
        for (size_t k = 0; k < sizeof fitting / sizeof *fitting; k++) {
            form f = form_of(3, BERT_INT8, "batch,4", "4");
            f.shapes[i] = fitting[k];
            begin(&f);
            op_case_expect(0, BERT_FLOAT, "batch,4");
        }
        form f = form_of(3, BERT_INT8, "batch,2", "2");
        f.shapes[i] = "2";
        begin(&f);
        op_case_expect_refused(BERT_INVALID_MODEL, "the elements of a scale or zero point and 1 are 2 and 1");
        f.shapes[i] = "0";
        begin(&f);
        op_case_expect_refused(BERT_INVALID_MODEL, "0 and 1");
    }
}

static void scales_come_with_zero_points(void **state) {
    for (int i = BERT_QUANTIZED_ADD_Y_SCALE; i < BERT_QUANTIZED_ADD_INPUTS; i++) {
        form f = form_of(3, BERT_UINT8, "4", "4");
        f.shapes[i] = NULL;
        begin(&f);
        op_case_expect_refused(BERT_INVALID_MODEL, "a scale without a zero point");
    }
    const form summed = form_of(2 | 4, BERT_UINT8, "4", "4");
    begin(&summed);
    op_case_expect_refused(BERT_INVALID_MODEL, "dequantizes a sum that it doesn't quantize");
    for (int i = BERT_QUANTIZED_ADD_A_SCALE; i < BERT_QUANTIZED_ADD_INPUTS; i += 2) {
        form f = form_of(3, BERT_UINT8, "4", "4");
        f.shapes[i] = f.shapes[i + 1] = NULL;
        begin(&f);
        op_case_expect_refused(BERT_INVALID_MODEL, "without dequantizing it, or the other way");
    }
}

static void wrong_types_are_refused(void **state) {
    for (int i = 0; i < BERT_QUANTIZED_ADD_INPUTS; i++) {
        static const bert_dtype wrong[] = {BERT_FLOAT16, BERT_DOUBLE, BERT_INT32, BERT_INT16, BERT_BOOL};
        const bool zero_point = i > BERT_QUANTIZED_ADD_Y_SCALE && i % 2;
        for (size_t k = 0; k <= sizeof wrong / sizeof *wrong; k++) {
            char text[32];
            form f = form_of(3, BERT_UINT8, "4", "4");
            f.types[i] = k ? wrong[k - 1] : zero_point ? BERT_FLOAT : BERT_UINT8;
            snprintf(text, sizeof text, "input %d has type %s", i, bert_dtype_name(f.types[i]));
            begin(&f);
            op_case_expect_refused(BERT_INVALID_MODEL, text);
        }
        if (!zero_point) continue;
        /* A byte type, but not that of the other zero point. */
        form f = form_of(3, BERT_UINT8, "4", "4");
        f.types[i] = BERT_INT8;
        begin(&f);
        op_case_expect_refused(BERT_INVALID_MODEL, "takes one type for both");
    }
}

/* ---- Reference ------------------------------------------------------------------------------------------------------
 */

/* A case with content: the floats by their numbers and shapes, and scales and zero points from y_scale on. */
typedef struct sum {
    const float *a, *b;
    const char *a_shape, *b_shape;
    float scales[4];
    unsigned char zero_points[4];
    bert_dtype a_type, y_type;
} sum;

enum { Y, Y_NEW, A, A_NEW, MOST_ELEMENTS = 4096 };

static bert_dtype type_of(const sum *s, int scale) {
    return scale < A ? s->y_type : s->a_type;
}

static void give_scale(const sum *s, int scale) {
    /* Of several shapes, which make no difference. */
    static const char *const shapes[] = {"", "1", "1,1,1", "1"};
    op_case_tensor(BERT_FLOAT, shapes[scale], &s->scales[scale]);
    op_case_tensor(type_of(s, scale), shapes[3 - scale], &s->zero_points[scale]);
}

/* QuantizeLinear and DequantizeLinear on their own. `out` may be where x is. */
static void one_by_one(const sum *s, const char *op, int scale, bert_dtype dtype, const char *shape, const void *x,
                       void *out) {
    op_case_begin(op, 17);
    op_case_tensor(dtype, shape, x);
    op_case_tensor(BERT_FLOAT, "", &s->scales[scale]);
    op_case_tensor(type_of(s, scale), "", &s->zero_points[scale]);
    const void *y = op_case_run();
    memcpy(out, y, bert_tensor_bytes(op_case_output(0)));
}

static void shape_text(const bert_tensor *tensor, char *out, size_t capacity) {
    size_t length = 0;
    out[0] = '\0';
    for (int32_t i = 0; i < tensor->rank; i++)
        length += (size_t)snprintf(out + length, capacity - length, "%s%d", i ? "," : "", (int)tensor->dims[i]);
}

/* What the operators give one after the other; bytes of it. */
static size_t expected_of(const sum *s, int variant, void *out) {
    static unsigned char bytes[MOST_ELEMENTS];
    static float floats[MOST_ELEMENTS];
    char shape[64];
    const float *a = s->a;
    if (variant & 1) {
        one_by_one(s, "QuantizeLinear", A, BERT_FLOAT, s->a_shape, a, bytes);
        one_by_one(s, "DequantizeLinear", A_NEW, s->a_type, s->a_shape, bytes, floats);
        a = floats;
    }
    op_case_begin("Add", 14);
    op_case_tensor(BERT_FLOAT, s->a_shape, a);
    op_case_tensor(BERT_FLOAT, s->b_shape, s->b);
    const void *sums = op_case_run();
    const size_t size = bert_tensor_bytes(op_case_output(0));
    assert_true(size <= sizeof floats);
    shape_text(op_case_output(0), shape, sizeof shape);
    memcpy(variant & 4 ? out : floats, sums, size);
    if (variant & 4) return size;
    one_by_one(s, "QuantizeLinear", Y, BERT_FLOAT, shape, floats, variant & 2 ? bytes : out);
    if (variant & 2) one_by_one(s, "DequantizeLinear", Y_NEW, s->y_type, shape, bytes, out);
    return variant & 2 ? size : size / sizeof(float);
}

static void give_absent(int count) {
    for (int i = 0; i < count; i++) op_case_absent();
}

static void expect_the_same(const sum *s) {
    static unsigned char expected[MOST_ELEMENTS * sizeof(float)];
    for (int variant = 0; variant < VARIANTS; variant++) {
        const size_t size = expected_of(s, variant, expected);
        op_case_begin_in("bertc", "QuantizedAdd", 1);
        op_case_tensor(BERT_FLOAT, s->a_shape, s->a);
        op_case_tensor(BERT_FLOAT, s->b_shape, s->b);
        if (!(variant & 4)) give_scale(s, Y);
        if (variant & 2) give_scale(s, Y_NEW);
        if (variant & 1) give_absent(variant & 4 ? 4 : variant & 2 ? 0 : 2);
        if (variant & 1) {
            give_scale(s, A);
            give_scale(s, A_NEW);
        }
        const void *y = op_case_run();
        assert_int_equal(bert_tensor_bytes(op_case_output(0)), size);
        assert_memory_equal(y, expected, size);
    }
}

static float numbers[2][MOST_ELEMENTS];

static int fill(void **state) {
    for (int i = 0; i < MOST_ELEMENTS; i++) {
        numbers[0][i] = (float)((i * 7919 + 13) % 1021) / 100 - 5.1F;
        numbers[1][i] = (float)((i * 104729 + 7) % 2039) / 200 - 5.3F;
    }
    return 0;
}

/* Of every pair of byte types; what bytes are dequantized by differs from what they were quantized by. */
static void expect_the_same_of_all_types(sum s) {
    static const float scales[] = {0.043F, 0.0417F, 0.031F, 0.0323F};
    static const unsigned char zero_points[2][4] = {{117, 119, 140, 128}, {251, 3, 0, 17}};
    memcpy(s.scales, scales, sizeof scales);
    for (int types = 0; types < 4; types++) {
        s.y_type = byte_types[types & 1];
        s.a_type = byte_types[types >> 1];
        memcpy(s.zero_points, zero_points[types & 1], 2);
        memcpy(s.zero_points + A, zero_points[types >> 1] + A, 2);
        expect_the_same(&s);
    }
}

static void it_is_what_the_operators_compute_one_by_one(void **state) {
    static const char *const shapes[][2] = {
        {"5,64", "5,64"},       /* a residual */
        {"2,3,7", "7"},         /* a bias */
        {"7", "2,3,7"},         /* b is larger than a */
        {"2,3,4,4", "2,1,1,4"}, /* a mask of keys */
        {"2,1,1,4", "2,3,4,4"}, {"3,1", "1,5"}, {"3,5", ""}, {"", "3,5"}, {"", ""}, {"3,5", "1,1,1,1"}, {"0,5", "5"},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        expect_the_same_of_all_types(
            (sum){.a = numbers[0], .b = numbers[1], .a_shape = shapes[i][0], .b_shape = shapes[i][1]});
}

/* Each of them with each, as a column and a row. */
static void special_values_are_what_they_are_one_by_one(void **state) {
    static const float values[] = {0.0F,   -0.0F, NAN,  -NAN,    INFINITY,      -INFINITY, 3.4e38F, -3.4e38F,    1e-45F,
                                   -1e30F, 1e10F, 2e9F, -2.2e9F, 2147483648.0F, 5.5F,      -5.5F,   16777216.0F, 1.0F};
    expect_the_same_of_all_types((sum){.a = values, .b = values, .a_shape = "18,1", .b_shape = "18"});
    static const float scales[][4] = {{1e-38F, 3e38F, 1e-40F, 1e38F},
                                      {INFINITY, 1.0F, 1.0F, INFINITY},
                                      {0.0F, 1.0F, 0.0F, 0.5F},
                                      {NAN, 1.0F, 1.0F, NAN},
                                      {-0.5F, 1.0F, -0.25F, -1.0F}};
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        sum s = {
            .a = values, .b = values, .a_shape = "18,1", .b_shape = "18", .a_type = BERT_INT8, .y_type = BERT_UINT8};
        memcpy(s.scales, scales[i], sizeof s.scales);
        expect_the_same(&s);
    }
}

/* Every half between two bytes, of a sum and of a. */
static void ties_go_to_the_even_byte(void **state) {
    static float halves[1200];
    for (int i = 0; i < 1200; i++) halves[i] = (float)(i - 600) / 2;
    for (int type = 0; type < 2; type++) {
        sum s = {.a = halves, .b = halves + 600, .a_shape = "1200", .b_shape = "", .scales = {1, 1, 1, 1}};
        s.a_type = s.y_type = byte_types[type];
        expect_the_same(&s);
        s.zero_points[Y] = s.zero_points[A] = 101;
        s.b = halves + 603;
        expect_the_same(&s);
    }
    op_case_begin_in("bertc", "QuantizedAdd", 1);
    op_case_tensor(BERT_FLOAT, "8", (const float[]){0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -2.5F, 300, -300});
    op_case_tensor(BERT_FLOAT, "", &(const float){0});
    op_case_tensor(BERT_FLOAT, "", &(const float){1});
    op_case_tensor(BERT_INT8, "", &(const int8_t){10});
    OP_CASE_EXPECT_DATA(0, int8_t, 10, 12, 12, 10, 8, 8, 127, -128);
}

int main(void) {
#define TEST(name) cmocka_unit_test_teardown(name, op_case_teardown)
    const struct CMUnitTest tests[] = {
        TEST(y_is_bytes_where_it_is_quantized_and_floats_elsewhere),
        TEST(a_and_b_broadcast),
        TEST(a_scale_has_one_element_of_any_shape),
        TEST(scales_come_with_zero_points),
        TEST(wrong_types_are_refused),
        TEST(it_is_what_the_operators_compute_one_by_one),
        TEST(special_values_are_what_they_are_one_by_one),
        TEST(ties_go_to_the_even_byte),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
