/* Reductions, and what goes along one axis. */
#include "cuda/ops/reduce.h"
#include "tests/cuda/kernel_case.h"

#include <math.h>

static const bert_dtype numeric[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16, BERT_DOUBLE,
                                     BERT_INT64, BERT_INT8,    BERT_UINT8,    BERT_UINT64};

static const bert_op_id reductions[] = {
    BERT_OP_ReduceL1,   BERT_OP_ReduceL2,  BERT_OP_ReduceLogSum, BERT_OP_ReduceLogSumExp, BERT_OP_ReduceMax,
    BERT_OP_ReduceMean, BERT_OP_ReduceMin, BERT_OP_ReduceProd,   BERT_OP_ReduceSum,       BERT_OP_ReduceSumSquare};

static void reduce_case(int which, case_tensor *(*make)(bert_dtype, const int64_t *), bert_dtype dtype,
                        const int64_t dims[3], uint32_t axes) {
    int64_t listed[3], kept[3];
    size_t count = 0;
    case_begin(reductions[which]);
    const case_tensor *x = make(dtype, dims);
    for (int i = 0; i < 3; i++) {
        kept[i] = axes >> i & 1 ? 1 : dims[i];
        if (axes >> i & 1) listed[count++] = i - 3;
    }
    case_input_of(BERT_INT64, 1, DIMS((int64_t)count), listed);
    case_tensor *y = case_output(dtype, 3, kept);
    bert_cuda_reduce_args args = {.reduction = (bert_cuda_reduction)which, .dtype = dtype, .rank = 3, .axes = axes};
    for (int i = 0; i < 3; i++) args.dims[i] = dims[i];
    args.x = x->device;
    args.y = y->device;
    case_compare(bert_cuda_reduce(&args, NULL));
}

static case_tensor *small_numbers(bert_dtype dtype, const int64_t *dims) {
    return case_input(dtype, 3, dims, dtype == BERT_INT8 || dtype == BERT_UINT8 ? 60 : 3);
}

/* NaN, infinities; rows of them alone and among others. */
static case_tensor *odd_numbers(bert_dtype dtype, const int64_t *dims) {
    static const float odd[] = {1, NAN, 2, -INFINITY, -INFINITY, -INFINITY, INFINITY, 1, -1, 0, -0.0F, 3};
    return case_input_floats(dtype, 3, dims, odd);
}

static void reductions_agree_with_the_reference(void **state) {
    static const int64_t shapes[][3] = {{2, 3, 4}, {1, 130, 2}, {3, 1, 257}, {2, 0, 2}};
    int turn = 0;
    for (int which = 0; which < 10; which++) {
        for (int i = 0; i < 8; i++, turn++) {
            if (i >= 4 && (which == 2 || which == 3)) continue; /* of floats alone */
            reduce_case(which, small_numbers, numeric[i], shapes[turn % 3], (uint32_t)turn % 7 + 1);
        }
        reduce_case(which, odd_numbers, BERT_FLOAT, (const int64_t[3]){1, 4, 3}, 4);
        reduce_case(which, odd_numbers, BERT_DOUBLE, (const int64_t[3]){4, 3, 1}, 1);
        reduce_case(which, small_numbers, BERT_FLOAT, shapes[3], 2); /* of nothing */
    }
    reduce_case(4, small_numbers, BERT_BOOL, shapes[0], 4);
    reduce_case(6, small_numbers, BERT_BOOL, shapes[0], 4);
}

static void extremes_agree_with_the_reference(void **state) {
    for (int i = 0; i < 32; i++) {
        const bert_dtype dtype = numeric[i % 8];
        const bool greatest = i & 1, last = i & 2;
        case_begin(greatest ? BERT_OP_ArgMax : BERT_OP_ArgMin);
        case_int("axis", 1);
        case_int("select_last_index", last);
        const case_tensor *x = case_input(dtype, 3, DIMS(3, i % 5 + 1, 2), 3); /* ties among integers */
        case_tensor *y = case_output(BERT_INT64, 3, DIMS(3, 1, 2));
        const bert_cuda_line_args line = {dtype, 3, i % 5 + 1, 2, x->device};
        case_compare(bert_cuda_arg_extreme(&line, greatest, last, y->device, NULL));
    }
    case_begin(BERT_OP_ArgMax);
    case_int("axis", 1);
    const float odd[] = {NAN, 1, 2, 1, NAN, 2};
    const case_tensor *x = case_input_floats(BERT_FLOAT, 2, DIMS(2, 3), odd);
    case_tensor *y = case_output(BERT_INT64, 2, DIMS(2, 1));
    case_compare(
        bert_cuda_arg_extreme(&(bert_cuda_line_args){BERT_FLOAT, 2, 3, 1, x->device}, true, false, y->device, NULL));
}

static void cumulative_sums_agree_with_the_reference(void **state) {
    const int64_t axis = 1;
    for (int i = 0; i < 32; i++) {
        const bert_dtype dtype = numeric[i % 8];
        case_begin(BERT_OP_CumSum);
        case_int("exclusive", i >> 3 & 1);
        case_int("reverse", i >> 4 & 1);
        const case_tensor *x = case_input(dtype, 3, DIMS(2, 7, 3), 50);
        case_input_of(BERT_INT64, 0, NULL, &axis);
        case_tensor *y = case_output(dtype, 3, DIMS(2, 7, 3));
        const bert_cuda_line_args line = {dtype, 2, 7, 3, x->device};
        case_compare(bert_cuda_cumulative_sum(&line, i >> 3 & 1, i >> 4 & 1, y->device, NULL));
    }
}

static void the_best_agree_with_the_reference(void **state) {
    for (int i = 0; i < 48; i++) {
        const bert_dtype dtype = numeric[i % 8];
        const int64_t k = i % 5;
        case_begin(BERT_OP_TopK);
        case_int("axis", 1);
        case_int("largest", i >> 3 & 1);
        static const float odd[] = {1, NAN, 2, NAN, 1, 3, 2, 2, 1, -INFINITY, INFINITY, 1, 0, -0.0F, 5, 5, 5, 4};
        const case_tensor *x = i % 3 == 0 && i % 8 < 4 ? case_input_floats(dtype, 3, DIMS(1, 6, 3), odd)
                                                       : case_input(dtype, 3, DIMS(1, 6, 3), 4);
        case_input_of(BERT_INT64, 1, DIMS(1), &k);
        case_tensor *values = case_output(dtype, 3, DIMS(1, k, 3)),
                    *indices = case_output(BERT_INT64, 3, DIMS(1, k, 3));
        values->tolerance = 0;
        const bert_cuda_line_args line = {dtype, 1, 6, 3, x->device};
        case_compare(bert_cuda_top_k(&line, k, i >> 3 & 1, values->device, indices->device, NULL));
    }
}

static void wrong_arguments_are_refused(void **state) {
    const bert_cuda_line_args line = {BERT_FLOAT, 1, 0, 1, NULL};
    assert_int_equal(bert_cuda_arg_extreme(&line, true, false, NULL, NULL), cudaErrorInvalidValue);
    assert_int_equal(bert_cuda_top_k(&line, 1, true, NULL, NULL, NULL), cudaErrorInvalidValue);
    const bert_cuda_reduce_args args = {
        .reduction = BERT_CUDA_REDUCE_LOG_SUM, .dtype = BERT_INT32, .rank = 1, .dims = {1}};
    assert_int_equal(bert_cuda_reduce(&args, NULL), cudaErrorInvalidValue);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reductions_agree_with_the_reference),
        cmocka_unit_test(extremes_agree_with_the_reference),
        cmocka_unit_test(cumulative_sums_agree_with_the_reference),
        cmocka_unit_test(the_best_agree_with_the_reference),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, case_open, case_close);
}
