/* Quantizing to E4M3 against the definition: of all numbers that the format has, the nearest one. */
#include "cuda/ops/quantize_e4m3.h"
#include "tests/cuda/kernel_case.h"

#include <math.h>

static double e4m3(unsigned bits) {
    const double size = bits & 0x78 ? ldexp(8 + (bits & 7), (int)(bits >> 3 & 15) - 10) : ldexp(bits & 7, -9);
    return bits & 0x80 ? -size : size;
}

/* Nothing is nearer; of two as near, the one whose last bit is 0. */
static void expect_nearest(float x, float scale, unsigned got) {
    const double exact = (double)(x / scale); /* rounded to float32, as the kernel does */
    if (isnan(x)) {
        assert_int_equal(got & 0x7f, 0x7f);
        return;
    }
    assert_int_not_equal(got & 0x7f, 0x7f);
    if (exact != 0) assert_int_equal(got >> 7, exact < 0);
    const double off = fabs(e4m3(got) - exact);
    for (unsigned other = 0; other < 0x7f; other++) {
        const double away = fabs(e4m3(other) - fabs(exact));
        if (away > off || (away == off && (other == (got & 0x7f) || !(got & 1)))) continue;
        fail_msg("%.9g became %02x, which is %.9g, though %.9g is nearer", exact, got, e4m3(got), e4m3(other));
    }
}

static void check(const case_tensor *x, int64_t rows, int64_t width) {
    case_tensor *y = case_extra(BERT_UINT8, 2, DIMS(rows, width)), *scales = case_extra(BERT_FLOAT, 1, DIMS(rows));
    const bert_cuda_quantize_e4m3_args args = {x->host.dtype, rows, width, x->device, y->device, scales->device};
    case_good(bert_cuda_quantize_e4m3(&args, NULL));
    const unsigned char *bytes = case_fetch(y);
    case_fetch(scales);
    for (int64_t row = 0; row < rows; row++) {
        float most = 0;
        for (int64_t i = 0; i < width; i++) most = fmaxf(most, fabsf((float)case_at(x, row * width + i)));
        const float scale = most / 448 > 0 ? most / 448 : 1;
        assert_true((float)case_at(scales, row) == scale);
        for (int64_t i = 0; i < width; i++)
            expect_nearest((float)case_at(x, row * width + i), scale, bytes[row * width + i]);
    }
}

static void rows_of_every_type(void **state) {
    static const bert_dtype dtypes[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16};
    static const int64_t shapes[][2] = {{1, 1}, {3, 127}, {2, 129}, {5, 64}, {0, 16}, {2, 0}, {3, 72}, {2, 2064}};
    for (int i = 0; i < 24; i++) {
        const int64_t *shape = shapes[i % 8];
        case_begin(BERT_OP_Identity);
        check(case_input(dtypes[i / 8], 2, DIMS(shape[0], shape[1]), i % 2 ? 3.0F : 1e-3F), shape[0], shape[1]);
    }
}

/* With 448 in the row the scale is 1: every number of the format, and what lies in the middle of two. */
static void every_number_and_every_tie(void **state) {
    float values[400] = {448};
    int64_t count = 1;
    for (unsigned bits = 0; bits < 0x7e; bits++) {
        values[count++] = (float)e4m3(bits);
        values[count++] = (float)(bits & 1 ? -1 : 1) * (float)((e4m3(bits) + e4m3(bits + 1)) / 2);
        values[count++] = nextafterf((float)((e4m3(bits) + e4m3(bits + 1)) / 2), bits & 2 ? 0 : 1000);
    }
    case_begin(BERT_OP_Identity);
    check(case_input_floats(BERT_FLOAT, 2, DIMS(1, count), values), 1, count);
}

static void odd_rows(void **state) {
    const float values[] = {0, 0, -0.0F,  0,     NAN,    2, -2,  1,   1e-45F, 0,
                            0, 0, -3e38F, 3e38F, 1e-30F, 1, NAN, NAN, NAN,    NAN};
    case_begin(BERT_OP_Identity);
    check(case_input_floats(BERT_FLOAT, 2, DIMS(5, 4), values), 5, 4);
}

static void wrong_arguments_are_refused(void **state) {
    bert_cuda_quantize_e4m3_args args = {.dtype = BERT_FLOAT, .rows = 1, .width = -1};
    assert_int_equal(bert_cuda_quantize_e4m3(&args, NULL), cudaErrorInvalidValue);
    args.width = 4;
    args.dtype = BERT_INT8;
    assert_int_equal(bert_cuda_quantize_e4m3(&args, NULL), cudaErrorInvalidValue);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_every_type),
        cmocka_unit_test(every_number_and_every_tie),
        cmocka_unit_test(odd_rows),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, case_open, case_close);
}
