/* Tensors that are held in halves, cuda/ops/halves.h: kernels that read and write them are as exact as in float32. */
#include "core/graph/canonical.h"
#include "cuda/ops/bias_activation.h"
#include "cuda/ops/elementwise.h"
#include "cuda/ops/embedding.h"
#include "cuda/ops/layer_norm.h"
#include "cuda/ops/quantize.h"
#include "cuda/ops/reduce.h"
#include "tests/cuda/halves_case.h"
#include "tests/cuda/skip_case.h"

#include <math.h>
#include <string.h>

static void to_halves(const case_tensor *tensor, bool with_lower) {
    halves_put(&tensor->host, tensor->device, with_lower);
}

static void from_halves(const case_tensor *tensor) {
    halves_join_all(&tensor->host, tensor->device);
}

static uint16_t *lower_of(const case_tensor *tensor) {
    return (uint16_t *)tensor->device + bert_tensor_elements(&tensor->host);
}

/* As exact as float32: `variant`: bits of skip_case_begin, 3 x has lower halves too, 4 in place. */
static void skip_case_in_halves(int64_t rows, int64_t width, int variant) {
    skip_case c = skip_case_begin(BERT_FLOAT, rows, width, variant, true);
    case_tensor *x = c.x, *residual = c.residual, *y = c.y, *sum = c.sum;
    void *own_y = y->device, *own_sum = sum->device;
    to_halves(x, variant & 8);
    to_halves(residual, true);
    if (variant & 16) {
        y->device = x->device;
        sum->device = residual->device;
    }
    c.args.dtype = BERT_BFLOAT16;
    c.args.float_parameters = true;
    c.args.y = y->device;
    c.args.sum = sum->device;
    c.args.x_lower = variant & 8 ? lower_of(x) : NULL;
    c.args.residual_lower = lower_of(residual);
    c.args.sum_lower = lower_of(sum);
    c.args.y_lower = lower_of(y);
    case_good(bert_cuda_layer_norm(&c.args, NULL));
    from_halves(y);
    from_halves(sum);
    case_compare(cudaSuccess);
    y->device = own_y;
    sum->device = own_sum;
}

static void layer_norm_keeps_to_float32_in_halves(void **state) {
    static const int64_t widths[] = {1, 8, 31, 64, 1024, 1032};
    int variant = 0;
    for (int64_t rows = 1; rows < 6; rows++)
        for (size_t k = 0; k < sizeof widths / sizeof *widths; k++, variant++)
            skip_case_in_halves(rows, widths[k], variant % 32);
    for (variant = 0; variant < 32; variant++) skip_case_in_halves(3, 48, variant);
    static const int64_t usual_widths[] = {384, 760, 768, 776, 1016, 1024};
    for (size_t k = 0; k < sizeof usual_widths / sizeof *usual_widths; k++)
        for (variant = (int)k % 3; variant < 32; variant += 3) skip_case_in_halves(2, usual_widths[k], variant);
}

/* Gamma and beta in float32 beside rows of 16 bits, which are rounded as ever. */
static void parameters_may_be_float32(void **state) {
    static const int64_t widths[] = {40, 41, 384, 760, 768, 1016, 1024};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        const int64_t width = widths[i];
        case_begin(BERT_OP_LayerNormalization);
        const case_tensor *x = case_input(BERT_BFLOAT16, 2, DIMS(3, width), 3.0F);
        const case_tensor *gamma = case_input(BERT_FLOAT, 1, DIMS(width), 1.0F);
        const case_tensor *beta = case_input(BERT_FLOAT, 1, DIMS(width), 1.0F);
        case_tensor *y = case_output(BERT_BFLOAT16, 2, DIMS(3, width));
        const bert_cuda_layer_norm_args args = {.dtype = BERT_BFLOAT16,
                                                .float_parameters = true,
                                                .rows = 3,
                                                .width = width,
                                                .x = x->device,
                                                .gamma = gamma->device,
                                                .beta = beta->device,
                                                .y = y->device,
                                                .epsilon = 1e-5F};
        case_compare(bert_cuda_layer_norm(&args, NULL));
    }
}

/* What is added to nothing comes out as it went in, and its upper half is the nearest bfloat16. */
static void halves_hold_every_number(void **state) {
    const uint32_t numbers[] = {0,          0x80000000, 1,          0x3f800000, 0x3f808000, 0x3f818000, 0x3f807fff,
                                0x3f808001, 0xbf808000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x007fffff,
                                0x00008000, 0x7fffffff, 0x7f800001, 0xffc00000, 0x7fc12345, 0x42f6e979, 0xc2f6e979};
    enum { COUNT = sizeof numbers / sizeof *numbers };
    for (int64_t room = COUNT; room <= COUNT + 3; room += 3) { /* element by element, and in vectors */
        case_begin(BERT_OP_Identity);
        case_tensor *x = case_input(BERT_FLOAT, 1, DIMS(room), 0.0F);
        case_tensor *residual = case_input(BERT_FLOAT, 1, DIMS(room), 0.0F);
        case_tensor *y = case_extra(BERT_FLOAT, 1, DIMS(room)), *ranges = case_extra(BERT_FLOAT, 1, DIMS(2));
        float *floats = residual->host.data;
        for (int64_t i = 0; i < room; i++) memcpy(&floats[i], &numbers[i % COUNT], 4);
        memset(x->host.data, 0, (size_t)room * 4); /* and no -0 */
        to_halves(x, false);
        to_halves(residual, true);
        const bert_cuda_bias_activation_args args = {.dtype = BERT_BFLOAT16,
                                                     .rows = 1,
                                                     .width = room,
                                                     .x = x->device,
                                                     .residual = residual->device,
                                                     .y = y->device,
                                                     .residual_lower = lower_of(residual),
                                                     .y_lower = lower_of(y),
                                                     .ranges = ranges->device};
        case_good(bert_cuda_bias_activation(&args, NULL));
        const uint16_t *halves = case_fetch(y);
        for (int64_t i = 0; i < room; i++) {
            uint16_t upper, lower;
            halves_split(floats[i], &upper, &lower);
            const float back = halves_join(halves[i], halves[room + i]);
            if (isnan(halves_join(upper, 0)) || isnan(floats[i]))
                assert_true(isnan(halves_join(halves[i], 0)) && isnan(back));
            else
                assert_true(back == floats[i] && halves[i] == (floats[i] == 0.0F ? 0 : upper));
        }
        const float *range = case_fetch(ranges);
        assert_true(range[0] == -INFINITY && range[1] == INFINITY);
    }
}

static void embedding_keeps_to_float32_in_halves(void **state) {
    static const int64_t widths[] = {31, 32, 384, 760, 768, 1016, 1024};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        const int64_t width = widths[i];
        for (int norm = 0; norm < 2; norm++) {
            case_begin(BERT_OP_BERTC_Embedding);
            case_float("epsilon", 1e-5F);
            const case_tensor *ids = case_input(BERT_INT64, 2, DIMS(2, 3), 11);
            const case_tensor *words = case_input(BERT_FLOAT, 2, DIMS(11, width), 1.0F);
            case_absent();
            case_absent();
            const case_tensor *type_ids = case_input(BERT_INT64, 2, DIMS(2, 3), 2);
            const case_tensor *types = case_input(BERT_FLOAT, 2, DIMS(2, width), 1.0F);
            const case_tensor *gamma = norm ? case_input(BERT_FLOAT, 1, DIMS(width), 1.0F) : NULL;
            const case_tensor *beta = norm ? case_input(BERT_FLOAT, 1, DIMS(width), 1.0F) : NULL;
            case_tensor *y = case_output(BERT_FLOAT, 3, DIMS(2, 3, width));
            y->tolerance *= 3;
            const bert_cuda_embedding_args args = {
                .dtype = BERT_BFLOAT16,
                .float_parameters = true,
                .batch = 2,
                .length = 3,
                .width = width,
                .word = {ids->device, BERT_INT64, 3, 1, words->device, 11},
                .type = {type_ids->device, BERT_INT64, 3, 1, types->device, 2},
                .gamma = norm ? gamma->device : NULL,
                .beta = norm ? beta->device : NULL,
                .epsilon = 1e-5F,
                .y = y->device,
                .y_lower = lower_of(y),
            };
            case_good(bert_cuda_embedding(&args, NULL));
            from_halves(y);
            case_compare(cudaSuccess);
        }
    }
}

/* Operands with lower halves and without, broadcast or not; y has some too. */
static void elementwise_operators_keep_to_float32(void **state) {
    static const struct {
        bert_op_id id;
        bert_cuda_elementwise_op op;
        int inputs;
    } cases[] = {{BERT_OP_Neg, BERT_CUDA_NEG, 1},
                 {BERT_OP_Mul, BERT_CUDA_MUL, 2},
                 {BERT_OP_Sub, BERT_CUDA_SUB, 2},
                 {BERT_OP_Clip, BERT_CUDA_CLIP, 3}};
    for (int i = 0; i < 16; i++) {
        const bool broadcast = i & 4, second = i & 8;
        bert_cuda_elementwise_args args = {.op = cases[i % 4].op, .rank = 2, .dims = {3, 37}, .dtype = BERT_BFLOAT16};
        case_begin(cases[i % 4].id);
        for (int input = 0; input < cases[i % 4].inputs; input++) {
            const bool scalar = cases[i % 4].inputs == 3 && input > 0;
            const bool halves = input == 0 || second;
            case_tensor *x = scalar               ? case_input(BERT_FLOAT, 0, NULL, 0.5F)
                             : input && broadcast ? case_input(BERT_FLOAT, 2, DIMS(3, 1), 2.0F)
                                                  : case_input(BERT_FLOAT, 2, DIMS(3, 37), 2.0F);
            to_halves(x, halves);
            args.inputs[input] =
                (bert_cuda_operand){.data = x->device, .dtype = BERT_BFLOAT16, .lower = halves ? lower_of(x) : NULL};
            bert_cuda_broadcast_strides(2, &x->host, args.inputs[input].strides);
        }
        case_tensor *y = case_output(BERT_FLOAT, 2, DIMS(3, 37));
        args.y = y->device;
        args.y_lower = lower_of(y);
        case_good(bert_cuda_elementwise(&args, NULL));
        from_halves(y);
        case_compare(cudaSuccess);
    }
}

static void halves_of_other_types_are_refused(void **state) {
    uint16_t lower = 0;
    assert_int_equal(
        bert_cuda_layer_norm(&(bert_cuda_layer_norm_args){.dtype = BERT_FLOAT16, .float_parameters = true}, NULL),
        cudaErrorInvalidValue);
    assert_int_equal(bert_cuda_layer_norm(&(bert_cuda_layer_norm_args){.dtype = BERT_FLOAT16, .y_lower = &lower}, NULL),
                     cudaErrorInvalidValue);
    assert_int_equal(
        bert_cuda_bias_activation(&(bert_cuda_bias_activation_args){.dtype = BERT_FLOAT, .y_lower = &lower}, NULL),
        cudaErrorInvalidValue);
    assert_int_equal(bert_cuda_embedding(&(bert_cuda_embedding_args){.dtype = BERT_FLOAT, .y_lower = &lower}, NULL),
                     cudaErrorInvalidValue);
    assert_int_equal(bert_cuda_dequantize(&(bert_cuda_dequantize_args){.dtype = BERT_FLOAT, .y_lower = &lower}, NULL),
                     cudaErrorInvalidValue);
    assert_int_equal(bert_cuda_reduce(&(bert_cuda_reduce_args){.dtype = BERT_FLOAT, .y_lower = &lower}, NULL),
                     cudaErrorInvalidValue);
    float x = 0;
    bert_cuda_elementwise_args args = {.op = BERT_CUDA_NEG,
                                       .rank = 1,
                                       .dims = {1},
                                       .inputs = {{.data = &x, .dtype = BERT_FLOAT, .lower = &lower}},
                                       .dtype = BERT_FLOAT,
                                       .y = &x};
    assert_int_equal(bert_cuda_elementwise(&args, NULL), cudaErrorInvalidValue);
    args.inputs[0].lower = NULL;
    args.y_lower = &lower;
    assert_int_equal(bert_cuda_elementwise(&args, NULL), cudaErrorInvalidValue);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_hold_every_number),
        cmocka_unit_test(layer_norm_keeps_to_float32_in_halves),
        cmocka_unit_test(parameters_may_be_float32),
        cmocka_unit_test(embedding_keeps_to_float32_in_halves),
        cmocka_unit_test(elementwise_operators_keep_to_float32),
        cmocka_unit_test(halves_of_other_types_are_refused),
    };
    return cmocka_run_group_tests(tests, case_open, case_close);
}
