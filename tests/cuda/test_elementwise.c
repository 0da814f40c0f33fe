/* Elementwise operators with broadcasting, and softmax. */
#include "cuda/ops/elementwise.h"
#include "cuda/ops/softmax.h"
#include "tests/cuda/kernel_case.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const bert_dtype floats[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16, BERT_DOUBLE};
static const bert_dtype integers[] = {BERT_INT64, BERT_INT32, BERT_INT8, BERT_UINT8, BERT_UINT16, BERT_UINT64};

static bert_cuda_operand operand(const case_tensor *tensor, int32_t rank) {
    bert_cuda_operand result = {.data = tensor->device, .dtype = tensor->host.dtype};
    bert_cuda_broadcast_strides(rank, &tensor->host, result.strides);
    return result;
}

/* Runs the operator on inputs and output that the case has. */
static void run(bert_cuda_elementwise_op op, const case_tensor *const inputs[3], case_tensor *y,
                const float *parameter) {
    bert_cuda_elementwise_args args = {.op = op, .rank = y->host.rank, .dtype = y->host.dtype, .y = y->device};
    for (int32_t i = 0; i < y->host.rank; i++) args.dims[i] = y->host.dims[i];
    for (int i = 0; i < 3; i++)
        if (inputs[i]) args.inputs[i] = operand(inputs[i], y->host.rank);
    if (parameter) memcpy(args.parameter, parameter, sizeof args.parameter);
    case_compare(bert_cuda_elementwise(&args, NULL));
}

static void unary_case(bert_op_id id, bert_cuda_elementwise_op op, bert_dtype dtype, bool positive) {
    static const float special[] = {0.0F, -0.0F, NAN,  INFINITY, -INFINITY, 0.5F,
                                    1.5F, -2.5F, 3.0F, -1.0F,    30.0F,     -30.0F};
    float values[12];
    for (int i = 0; i < 12; i++) values[i] = positive ? fabsf(special[i]) : special[i];
    case_begin(id);
    const case_tensor *x = case_input_floats(dtype, 2, DIMS(3, 4), values);
    case_tensor *y = case_output(dtype, 2, DIMS(3, 4));
    run(op, (const case_tensor *const[3]){x}, y, (const float[2]){1.702F, 0});
}

static const struct {
    bert_op_id id;
    bert_cuda_elementwise_op op;
} unary_ops[] = {{BERT_OP_Abs, BERT_CUDA_ABS},         {BERT_OP_Ceil, BERT_CUDA_CEIL},
                 {BERT_OP_Cos, BERT_CUDA_COS},         {BERT_OP_Erf, BERT_CUDA_ERF},
                 {BERT_OP_Exp, BERT_CUDA_EXP},         {BERT_OP_Floor, BERT_CUDA_FLOOR},
                 {BERT_OP_Gelu, BERT_CUDA_GELU_OF},    {BERT_OP_MS_QuickGelu, BERT_CUDA_QUICK_GELU_OF},
                 {BERT_OP_Log, BERT_CUDA_LOG},         {BERT_OP_Mish, BERT_CUDA_MISH},
                 {BERT_OP_Neg, BERT_CUDA_NEG},         {BERT_OP_Reciprocal, BERT_CUDA_RECIPROCAL},
                 {BERT_OP_Relu, BERT_CUDA_RELU_OF},    {BERT_OP_Round, BERT_CUDA_ROUND},
                 {BERT_OP_Sigmoid, BERT_CUDA_SIGMOID}, {BERT_OP_Sign, BERT_CUDA_SIGN},
                 {BERT_OP_Sin, BERT_CUDA_SIN},         {BERT_OP_Softplus, BERT_CUDA_SOFTPLUS},
                 {BERT_OP_Sqrt, BERT_CUDA_SQRT},       {BERT_OP_Tanh, BERT_CUDA_TANH_OF}};

static void unary_operators_agree_with_the_reference(void **state) {
    for (size_t i = 0; i < sizeof unary_ops / sizeof *unary_ops; i++)
        for (size_t j = 0; j < 4; j++)
            unary_case(unary_ops[i].id, unary_ops[i].op, floats[j], unary_ops[i].op == BERT_CUDA_LOG);
    static const bert_op_id ids[] = {BERT_OP_Abs, BERT_OP_Neg, BERT_OP_Relu, BERT_OP_Sign};
    static const bert_cuda_elementwise_op ops[] = {BERT_CUDA_ABS, BERT_CUDA_NEG, BERT_CUDA_RELU_OF, BERT_CUDA_SIGN};
    const int64_t values[] = {0, 1, -1, INT64_MAX, INT64_MIN, 200};
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < sizeof integers / sizeof *integers; j++) {
            case_begin(ids[i]);
            const case_tensor *x =
                case_input_of(integers[j], 1, DIMS(6), values); /* of narrow types: its first bytes */
            run(ops[i], (const case_tensor *const[3]){x}, case_output(integers[j], 1, DIMS(6)), NULL);
        }
    case_begin(BERT_OP_Gelu);
    case_string("approximate", "tanh");
    const case_tensor *x = case_input(BERT_FLOAT, 1, DIMS(300), 4.0F);
    run(BERT_CUDA_GELU_TANH_OF, (const case_tensor *const[3]){x}, case_output(BERT_FLOAT, 1, DIMS(300)), NULL);
}

static void tests_and_logic_agree_with_the_reference(void **state) {
    const float values[] = {0, NAN, INFINITY, -INFINITY, 1};
    for (size_t j = 0; j < 4; j++) {
        case_begin(BERT_OP_IsNaN);
        run(BERT_CUDA_IS_NAN, (const case_tensor *const[3]){case_input_floats(floats[j], 1, DIMS(5), values)},
            case_output(BERT_BOOL, 1, DIMS(5)), NULL);
        case_begin(BERT_OP_IsInf);
        case_int("detect_negative", (int64_t)j & 1);
        case_int("detect_positive", (int64_t)j >> 1);
        run(BERT_CUDA_IS_INF, (const case_tensor *const[3]){case_input_floats(floats[j], 1, DIMS(5), values)},
            case_output(BERT_BOOL, 1, DIMS(5)), (const float[2]){(float)(j & 1), (float)(j >> 1)});
    }
    case_begin(BERT_OP_Not);
    run(BERT_CUDA_NOT, (const case_tensor *const[3]){case_input(BERT_BOOL, 1, DIMS(9), 2)},
        case_output(BERT_BOOL, 1, DIMS(9)), NULL);
    static const bert_op_id ids[] = {BERT_OP_And, BERT_OP_Or, BERT_OP_Xor, BERT_OP_Equal};
    static const bert_cuda_elementwise_op ops[] = {BERT_CUDA_AND, BERT_CUDA_OR, BERT_CUDA_XOR, BERT_CUDA_EQUAL};
    for (int i = 0; i < 4; i++) {
        case_begin(ids[i]);
        const case_tensor *a = case_input(BERT_BOOL, 2, DIMS(4, 1), 2), *b = case_input(BERT_BOOL, 2, DIMS(1, 3), 2);
        run(ops[i], (const case_tensor *const[3]){a, b}, case_output(BERT_BOOL, 2, DIMS(4, 3)), NULL);
    }
}

static const struct {
    bert_op_id id;
    bert_cuda_elementwise_op op;
} binary_ops[] = {{BERT_OP_Add, BERT_CUDA_ADD},         {BERT_OP_Sub, BERT_CUDA_SUB},
                  {BERT_OP_Mul, BERT_CUDA_MUL},         {BERT_OP_Div, BERT_CUDA_DIV},
                  {BERT_OP_Mod, BERT_CUDA_MOD},         {BERT_OP_Min, BERT_CUDA_MIN},
                  {BERT_OP_Max, BERT_CUDA_MAX},         {BERT_OP_Equal, BERT_CUDA_EQUAL},
                  {BERT_OP_Greater, BERT_CUDA_GREATER}, {BERT_OP_GreaterOrEqual, BERT_CUDA_GREATER_OR_EQUAL},
                  {BERT_OP_Less, BERT_CUDA_LESS},       {BERT_OP_LessOrEqual, BERT_CUDA_LESS_OR_EQUAL}};

/* Shapes that join to one dimension, to two, and not at all. */
static void broadcast_case(size_t which, bert_dtype dtype, int shape) {
    static const int64_t left[][4] = {{2, 3, 4, 5}, {2, 3, 1, 5}, {1, 3, 4, 1}, {2, 1, 4, 5}};
    static const int64_t right[][4] = {{2, 3, 4, 5}, {2, 1, 4, 5}, {2, 1, 1, 5}, {1, 1, 1, 1}};
    const bool compares = binary_ops[which].op >= BERT_CUDA_EQUAL;
    case_begin(binary_ops[which].id);
    const bool c_modulo = binary_ops[which].op == BERT_CUDA_MOD && shape % 2 && dtype != BERT_FLOAT;
    case_int("fmod", c_modulo);
    int64_t dims[4];
    for (int i = 0; i < 4; i++) dims[i] = left[shape][i] > right[shape][i] ? left[shape][i] : right[shape][i];
    case_tensor *a = case_input(dtype, 4, left[shape], 100.0F);
    const bool divides = binary_ops[which].op == BERT_CUDA_DIV || binary_ops[which].op == BERT_CUDA_MOD;
    int64_t ones[120];
    for (int i = 0; i < 120; i++) ones[i] = (i % 7 + 1) * 0x0101010101010101; /* no zero in any type */
    const bool whole = dtype != BERT_FLOAT && dtype != BERT_FLOAT16 && dtype != BERT_BFLOAT16 && dtype != BERT_DOUBLE;
    const case_tensor *b =
        divides && whole ? case_input_of(dtype, 4, right[shape], ones) : case_input(dtype, 4, right[shape], 100.0F);
    case_tensor *y = case_output(compares ? BERT_BOOL : dtype, 4, dims);
    run(binary_ops[which].op, (const case_tensor *const[3]){a, b}, y, (const float[2]){(float)c_modulo, 0});
}

static void binary_operators_agree_with_the_reference(void **state) {
    for (size_t i = 0; i < sizeof binary_ops / sizeof *binary_ops; i++)
        for (int shape = 0; shape < 4; shape++) {
            for (size_t j = 0; j < 4; j++) {
                if (binary_ops[i].op == BERT_CUDA_MOD && j > 0 && j < 3) continue; /* jumps where roundings differ */
                broadcast_case(i, floats[j], shape);
            }
            for (size_t j = 0; j < sizeof integers / sizeof *integers; j++) broadcast_case(i, integers[j], shape);
        }
}

static void integer_edges_agree_with_the_reference(void **state) {
    const int64_t a[] = {INT64_MIN, -7, 7, -7, 7, INT64_MAX, -1}, b[] = {-1, 2, -2, -2, 2, 2, INT64_MAX};
    for (size_t i = 0; i < sizeof binary_ops / sizeof *binary_ops; i++) {
        for (int is_unsigned = 0; is_unsigned < 2; is_unsigned++) {
            const bert_dtype dtype = is_unsigned ? BERT_UINT64 : BERT_INT64;
            case_begin(binary_ops[i].id);
            const case_tensor *x = case_input_of(dtype, 1, DIMS(7), a), *y = case_input_of(dtype, 1, DIMS(7), b);
            case_tensor *z = case_output(binary_ops[i].op >= BERT_CUDA_EQUAL ? BERT_BOOL : dtype, 1, DIMS(7));
            run(binary_ops[i].op, (const case_tensor *const[3]){x, y}, z, NULL);
        }
    }
    const int32_t zeros[] = {0, 0}, flag = 0;
    case_begin(BERT_OP_Div);
    const case_tensor *x = case_input(BERT_INT32, 1, DIMS(2), 9), *zero = case_input_of(BERT_INT32, 1, DIMS(2), zeros);
    case_tensor *bad = case_input_of(BERT_INT32, 1, DIMS(1), &flag), *y = case_extra(BERT_INT32, 1, DIMS(2));
    const bert_cuda_elementwise_args args = {.op = BERT_CUDA_DIV,
                                             .rank = 1,
                                             .dims = {2},
                                             .inputs = {operand(x, 1), operand(zero, 1)},
                                             .dtype = BERT_INT32,
                                             .y = y->device,
                                             .bad = bad->device};
    case_good(bert_cuda_elementwise(&args, NULL));
    case_fetch(bad);
    assert_true(case_at(bad, 0) == 1);
}

static void powers_agree_with_the_reference(void **state) {
    const float bases[] = {0, 2, -2, 1.5F, 3, 9}, exponents[] = {0, 3, 2, 0.5F, -1, 2};
    const int64_t whole[] = {0, 2, -2, 7, 3, 9}, by[] = {0, 3, 2, 1, 5, -1};
    for (size_t j = 0; j < 4; j++) {
        case_begin(BERT_OP_Pow);
        const case_tensor *x = case_input_floats(floats[j], 1, DIMS(6), bases);
        const case_tensor *p = case_input_floats(BERT_FLOAT, 1, DIMS(6), exponents);
        run(BERT_CUDA_POW, (const case_tensor *const[3]){x, p}, case_output(floats[j], 1, DIMS(6)), NULL);
        case_begin(BERT_OP_Pow);
        x = case_input_floats(floats[j], 1, DIMS(6), bases);
        p = case_input_of(BERT_INT64, 1, DIMS(1), &by[2]);
        run(BERT_CUDA_POW, (const case_tensor *const[3]){x, p}, case_output(floats[j], 1, DIMS(6)), NULL);
    }
    case_begin(BERT_OP_Pow);
    const case_tensor *x = case_input_of(BERT_INT64, 1, DIMS(6), whole), *p = case_input_of(BERT_INT64, 1, DIMS(6), by);
    run(BERT_CUDA_POW, (const case_tensor *const[3]){x, p}, case_output(BERT_INT64, 1, DIMS(6)), NULL);
    case_begin(BERT_OP_Pow);
    x = case_input_of(BERT_INT64, 1, DIMS(6), whole);
    p = case_input_floats(BERT_FLOAT, 1, DIMS(6), exponents);
    run(BERT_CUDA_POW, (const case_tensor *const[3]){x, p}, case_output(BERT_INT64, 1, DIMS(6)), NULL);
    /* What CUDA's pow misses by a little. */
    enum { NEAR = 13 };
    const int64_t near[NEAR] = {3, 2, 2, 21, 9, 16, 4, -3, 3, -5, 10, 7, 1125899973951488};
    const float to[NEAR] = {1, 11, 31, 3, 0.5F, 0.75F, 1.5F, 3, 40, 23, 18, 0.5F, 0.5F}; /* the last is not whole */
    case_begin(BERT_OP_Pow);
    x = case_input_of(BERT_INT64, 1, DIMS(NEAR), near);
    p = case_input_floats(BERT_FLOAT, 1, DIMS(NEAR), to);
    run(BERT_CUDA_POW, (const case_tensor *const[3]){x, p}, case_output(BERT_INT64, 1, DIMS(NEAR)), NULL);
}

static void casts_agree_with_the_reference(void **state) {
    static const bert_dtype types[] = {BERT_FLOAT,  BERT_FLOAT16, BERT_BFLOAT16, BERT_DOUBLE, BERT_BOOL,
                                       BERT_INT8,   BERT_UINT8,   BERT_INT16,    BERT_UINT16, BERT_INT32,
                                       BERT_UINT32, BERT_INT64,   BERT_UINT64};
    const float values[] = {0, 1, -1, 2.5F, -2.5F, 127, 300, -70000, NAN, 1e20F, -INFINITY, 3e9F};
    for (size_t i = 0; i < 13; i++)
        for (size_t j = 0; j < 13; j++) {
            case_begin(BERT_OP_Cast);
            case_int("to", types[j]);
            const case_tensor *x =
                i < 4 ? case_input_floats(types[i], 1, DIMS(12), values) : case_input(types[i], 1, DIMS(12), 1e9F);
            case_tensor *y = case_output(types[j], 1, DIMS(12));
            y->tolerance = 0;
            run(BERT_CUDA_CAST, (const case_tensor *const[3]){x}, y, NULL);
        }
}

static void choices_agree_with_the_reference(void **state) {
    static const bert_dtype types[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BOOL, BERT_INT64};
    for (size_t j = 0; j < 4; j++) {
        case_begin(BERT_OP_Where);
        const case_tensor *condition = case_input(BERT_BOOL, 3, DIMS(2, 1, 5), 2);
        const case_tensor *x = case_input(types[j], 2, DIMS(3, 5), 2), *y = case_input(types[j], 0, NULL, 2);
        run(BERT_CUDA_WHERE, (const case_tensor *const[3]){condition, x, y}, case_output(types[j], 3, DIMS(2, 3, 5)),
            NULL);
    }
    static const bert_dtype clipped[] = {BERT_FLOAT, BERT_DOUBLE, BERT_FLOAT16, BERT_INT32, BERT_UINT64};
    for (size_t j = 0; j < 5; j++)
        for (int bounds = 0; bounds < 4; bounds++) {
            case_begin(BERT_OP_Clip);
            const case_tensor *x = case_input(clipped[j], 1, DIMS(40), 9), *least = NULL, *most = NULL;
            const float low[] = {2}, high[] = {5};
            const int64_t low_integer[] = {2}, high_integer[] = {5};
            if (bounds & 1)
                least = j < 3 ? case_input_floats(clipped[j], 0, NULL, low)
                              : case_input_of(clipped[j], 0, NULL, low_integer);
            else
                case_absent();
            if (bounds & 2)
                most = j < 3 ? case_input_floats(clipped[j], 0, NULL, high)
                             : case_input_of(clipped[j], 0, NULL, high_integer);
            run(BERT_CUDA_CLIP, (const case_tensor *const[3]){x, least, most}, case_output(clipped[j], 1, DIMS(40)),
                NULL);
        }
    case_begin(BERT_OP_MS_FastGelu);
    const case_tensor *x = case_input(BERT_FLOAT, 2, DIMS(3, 7), 3), *bias = case_input(BERT_FLOAT, 1, DIMS(7), 1);
    case_tensor *y = case_output(BERT_FLOAT, 2, DIMS(3, 7));
    y->tolerance = 1e-5F;
    run(BERT_CUDA_BIAS_GELU_TANH, (const case_tensor *const[3]){x, bias}, y, NULL);
    case_begin(BERT_OP_MS_BiasGelu);
    x = case_input(BERT_FLOAT, 2, DIMS(3, 7), 3), bias = case_input(BERT_FLOAT, 1, DIMS(7), 1);
    run(BERT_CUDA_BIAS_GELU, (const case_tensor *const[3]){x, bias}, case_output(BERT_FLOAT, 2, DIMS(3, 7)), NULL);
}

static void wrong_types_are_refused(void **state) {
    const int32_t something = 0;
    bert_cuda_elementwise_args args = {.op = BERT_CUDA_SQRT,
                                       .rank = 1,
                                       .dims = {1},
                                       .inputs = {{.data = &something, .dtype = BERT_INT32}},
                                       .dtype = BERT_INT32};
    assert_int_equal(bert_cuda_elementwise(&args, NULL), cudaErrorInvalidValue);
    args.op = BERT_CUDA_ADD; /* lacks its second */
    assert_int_equal(bert_cuda_elementwise(&args, NULL), cudaErrorInvalidValue);
    args.op = BERT_CUDA_ABS;
    args.dims[0] = -1;
    assert_int_equal(bert_cuda_elementwise(&args, NULL), cudaErrorInvalidValue);
    args.dims[0] = 0;
    assert_int_equal(bert_cuda_elementwise(&args, NULL), cudaSuccess);
}

/* ---- Softmax -------------------------------------------------------------------------------------------------------
 */

static void softmax_case(bert_dtype dtype, int64_t outer, int64_t count, int64_t inner, bool logarithm) {
    case_begin(logarithm ? BERT_OP_LogSoftmax : BERT_OP_Softmax);
    case_int("axis", 1);
    const case_tensor *x = case_input(dtype, 3, DIMS(outer, count, inner), 5);
    case_tensor *y = case_output(dtype, 3, DIMS(outer, count, inner));
    const bert_cuda_softmax_args args = {.dtype = dtype,
                                         .outer = outer,
                                         .count = count,
                                         .inner = inner,
                                         .x = x->device,
                                         .y = y->device,
                                         .logarithm = logarithm};
    case_compare(bert_cuda_softmax(&args, NULL));
}

static void softmax_agrees_with_the_reference(void **state) {
    static const int64_t counts[] = {1, 2, 31, 32, 33, 70};
    for (int i = 0; i < 24; i++) softmax_case(floats[i % 4], i % 3 + 1, counts[i % 6], i / 6 % 3 + 1, i % 5 == 0);
    softmax_case(BERT_FLOAT, 2, 1025, 1, false); /* a block a row */
    softmax_case(BERT_DOUBLE, 1, 1100, 2, true);
    softmax_case(BERT_FLOAT, 0, 3, 1, false);
    const float rows[] = {1, NAN, 2, -INFINITY, -INFINITY, -INFINITY, INFINITY, 1, 2};
    case_begin(BERT_OP_Softmax);
    const case_tensor *x = case_input_floats(BERT_FLOAT, 2, DIMS(3, 3), rows);
    case_tensor *y = case_output(BERT_FLOAT, 2, DIMS(3, 3));
    const bert_cuda_softmax_args args = {
        .dtype = BERT_FLOAT, .outer = 3, .count = 3, .inner = 1, .x = x->device, .y = y->device};
    case_compare(bert_cuda_softmax(&args, NULL));
}

/* y in the memory of one of the inputs, of the same type or of another of its size; the others broadcast. */
static void operators_work_in_place(void **state) {
    static const struct {
        bert_op_id id;
        bert_cuda_elementwise_op op;
        bert_dtype types[3], y;
        int place;
    } cases[] = {{BERT_OP_Tanh, BERT_CUDA_TANH_OF, {BERT_FLOAT16}, BERT_FLOAT16, 0},
                 {BERT_OP_Cast, BERT_CUDA_CAST, {BERT_INT32}, BERT_FLOAT, 0},
                 {BERT_OP_Sub, BERT_CUDA_SUB, {BERT_FLOAT, BERT_FLOAT}, BERT_FLOAT, 0},
                 {BERT_OP_Sub, BERT_CUDA_SUB, {BERT_INT64, BERT_INT64}, BERT_INT64, 1},
                 {BERT_OP_Where, BERT_CUDA_WHERE, {BERT_BOOL, BERT_BFLOAT16, BERT_BFLOAT16}, BERT_BFLOAT16, 2},
                 {BERT_OP_And, BERT_CUDA_AND, {BERT_BOOL, BERT_BOOL}, BERT_BOOL, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        case_begin(cases[i].id);
        case_tensor *inputs[3] = {NULL};
        for (int input = 0; input < 3 && cases[i].types[input] != BERT_DTYPE_UNDEFINED; input++)
            inputs[input] = case_input(cases[i].types[input], 2, DIMS(5, input == cases[i].place ? 67 : 1), 2.0F);
        case_tensor *y = case_output(cases[i].y, 2, DIMS(5, 67));
        void *own = y->device;
        y->device = inputs[cases[i].place]->device;
        if (cases[i].id == BERT_OP_Cast) case_int("to", BERT_FLOAT);
        run(cases[i].op, (const case_tensor *const[3]){inputs[0], inputs[1], inputs[2]}, y, NULL);
        y->device = own;
    }
    case_begin(BERT_OP_Softmax);
    const case_tensor *x = case_input(BERT_FLOAT, 2, DIMS(3, 70), 2.0F);
    case_tensor *y = case_output(BERT_FLOAT, 2, DIMS(3, 70));
    void *own = y->device;
    y->device = x->device;
    const bert_cuda_softmax_args args = {
        .dtype = BERT_FLOAT, .outer = 3, .count = 70, .inner = 1, .x = x->device, .y = x->device};
    case_compare(bert_cuda_softmax(&args, NULL));
    y->device = own;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unary_operators_agree_with_the_reference),
        cmocka_unit_test(tests_and_logic_agree_with_the_reference),
        cmocka_unit_test(binary_operators_agree_with_the_reference),
        cmocka_unit_test(integer_edges_agree_with_the_reference),
        cmocka_unit_test(powers_agree_with_the_reference),
        cmocka_unit_test(casts_agree_with_the_reference),
        cmocka_unit_test(choices_agree_with_the_reference),
        cmocka_unit_test(wrong_types_are_refused),
        cmocka_unit_test(softmax_agrees_with_the_reference),
        cmocka_unit_test(operators_work_in_place),
    };
    return cmocka_run_group_tests(tests, case_open, case_close);
}
