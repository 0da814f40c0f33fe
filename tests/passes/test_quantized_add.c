/* Sums between quantizers as one operator: which nodes it takes the place of, and what stays. */
#include "core/graph/canonical.h"
#include "tests/passes/grids.h"
#include "tests/passes/twice.h"

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})

static float numbers[2 * 3 * 6], others[2 * 3 * 6];

static int fill(void **state) {
    for (int i = 0; i < 2 * 3 * 6; i++) {
        numbers[i] = (float)((i * 7919 + 13) % 211) / 50 - 2.05F;
        others[i] = (float)((i * 104729 + 7) % 199) / 60 - 1.6F;
    }
    return 0;
}

/* ---- What it takes the place of ------------------------------------------------------------------------------------
 */

/* Bits: what is summed and what becomes of it. */
enum { INT8 = 1, OF_BYTES = 2, TO_BYTES = 4, TO_FLOATS = 8, SECOND = 16, NO_ZERO = 32, CHOICES = 64 };

/* x, on its way through bytes or not, and a constant or another input, in either order. */
static void make_sum(builder *b, const void *spec) {
    const int choice = *(const int *)spec;
    const bert_dtype type = choice & INT8 ? BERT_INT8 : BERT_UINT8;
    grid by = grid_of(b, 0.017F, type), last = grid_of(b, 0.023F, type);
    if (choice & NO_ZERO && type == BERT_UINT8) by.zero_point = last.zero_point = NULL;
    bert_value *x = input(b, "x", BERT_FLOAT, "2 3 6"), *other = tensor(b, 1, DIMS(6));
    if (choice & OF_BYTES) x = round_trip(b, x, by);
    bert_value *y = choice & SECOND ? OP(b, Add, other, x) : OP(b, Add, x, other);
    if (choice & TO_BYTES) y = quantize(b, y, last);
    if (choice & TO_FLOATS && choice & TO_BYTES) y = dequantize(b, y, last);
    y = choice & TO_BYTES && !(choice & TO_FLOATS) ? cast(b, OP(b, Transpose, y), BERT_FLOAT) : OP(b, Softmax, y);
    declare(b, &y, 1);
}

static void a_sum_and_its_quantizers_are_one_node(void **state) {
    for (int choice = 0; choice < CHOICES; choice++) {
        bert_named_tensor x = twice_input("x", BERT_FLOAT, numbers, 3, DIMS(2, 3, 6));
        bert_model *model = twice(make_sum, &choice, &x, 1, 0);
        const int expected = (choice & (OF_BYTES | TO_BYTES)) != 0;
        assert_int_equal(twice_count(model, BERT_OP_BERTC_QuantizedAdd), expected);
        assert_int_equal(twice_count(model, BERT_OP_Add), !expected);
        assert_int_equal(twice_count(model, BERT_OP_QuantizeLinear), 0);
        assert_int_equal(twice_count(model, BERT_OP_DequantizeLinear), 0);
        bert_model_free(model);
    }
}

/* Scores by the root of a head's width: the bytes of one scale are those of another. */
static void make_scaled(builder *b, const void *spec) {
    const grid by = grid_of(b, 0.04F, BERT_UINT8), half = {scalar(b, 0.02F), by.zero_point};
    bert_value *x = round_trip(b, input(b, "x", BERT_FLOAT, "2 3 6"), by);
    bert_value *scores = round_trip(b, OP(b, Div, x, scalar(b, 2)), half);
    bert_value *y = OP(b, Softmax, round_trip(b, OP(b, Add, scores, input(b, "other", BERT_FLOAT, "2 1 6")), by));
    declare(b, &y, 1);
}

static void a_is_dequantized_by_what_its_bytes_are_then(void **state) {
    const bert_named_tensor inputs[] = {twice_input("x", BERT_FLOAT, numbers, 3, DIMS(2, 3, 6)),
                                        twice_input("other", BERT_FLOAT, others, 3, DIMS(2, 1, 6))};
    bert_model *model = twice(make_scaled, NULL, inputs, 2, 0);
    assert_int_equal(twice_count(model, BERT_OP_BERTC_QuantizedAdd), 1);
    assert_int_equal(twice_count(model, BERT_OP_QuantizeLinear) + twice_count(model, BERT_OP_DequantizeLinear), 0);
    bert_model_free(model);
}

/* A bias, then a residual whose own bytes nobody else reads. */
static void a_bias_and_a_residual_are_two_nodes(void **state) {
    builder b = start(21);
    const grid by = grid_of(&b, 0.01F, BERT_UINT8), other = grid_of(&b, 0.02F, BERT_INT8);
    bert_value *x = input(&b, "x", BERT_FLOAT, "n 6"), *residual = input(&b, "residual", BERT_FLOAT, "n 6");
    bert_value *biased = round_trip(&b, OP(&b, Add, round_trip(&b, x, by), tensor(&b, 1, DIMS(6))), other);
    bert_value *sum = round_trip(&b, OP(&b, Add, biased, round_trip(&b, residual, by)), other);
    bert_value *y = OP(&b, Softmax, sum);
    RUN(&b, "quantized_add", y);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_QuantizedAdd), 2);
    assert_int_equal(count_nodes(&b, BERT_OP_QuantizeLinear), 0);
    const bert_node *last = y->producer->inputs[0]->producer;
    assert_ptr_equal(last->inputs[BERT_QUANTIZED_ADD_A], residual);
    assert_ptr_equal(last->inputs[BERT_QUANTIZED_ADD_B]->producer->inputs[BERT_QUANTIZED_ADD_A], x);
    finish(&b);
}

/* ---- What stays where others read it -------------------------------------------------------------------------------
 */

static void bytes_that_others_read_are_written(void **state) {
    builder b = start(21);
    const grid by = grid_of(&b, 0.01F, BERT_UINT8);
    bert_value *x = input(&b, "x", BERT_FLOAT, "n 6");
    bert_value *q = quantize(&b, OP(&b, Add, x, tensor(&b, 1, DIMS(6))), by);
    bert_value *y[] = {OP(&b, Softmax, dequantize(&b, q, by)), cast(&b, q, BERT_FLOAT)};
    RUN(&b, "quantized_add", y[0], y[1]);
    assert_int_equal(only(&b, BERT_OP_BERTC_QuantizedAdd)->outputs[0]->info.dtype, BERT_UINT8);
    assert_int_equal(count_nodes(&b, BERT_OP_QuantizeLinear), 0);
    assert_int_equal(count_nodes(&b, BERT_OP_DequantizeLinear), 1);
    finish(&b);
}

enum { FORMS = 10 };

/* In each form one of the pairs, or the sum, is no part of it. */
static bert_value *make_form(builder *b, int form, bert_value **also) {
    grid by = grid_of(b, 0.01F, BERT_UINT8), wide = by, after = by;
    bert_value *x = input(b, "x", form == 8 ? BERT_FLOAT16 : BERT_FLOAT, "n 6"), *bias = tensor(b, 1, DIMS(6));
    if (form == 0) after.scale = input(b, "scale", BERT_FLOAT, "");
    if (form == 1) after = (grid){tensor(b, 1, DIMS(6)), bytes(b, BERT_UINT8, 1, DIMS(6))};
    if (form == 2) after.zero_point = input(b, "zero", BERT_UINT8, "");
    if (form == 3) by.scale = wide.scale = input(b, "scale", BERT_FLOAT, "");
    if (form == 4) bias = tensor(b, 3, DIMS(2, 1, 6)); /* the sum is larger than a */
    if (form == 8)
        return OP(b, QuantizeLinear, OP(b, Add, x, cast(b, bias, BERT_FLOAT16)), cast(b, after.scale, BERT_FLOAT16));
    bert_value *q = quantize(b, x, by), *d = dequantize(b, q, wide);
    if (form == 5) *also = OP(b, Softmax, d);
    if (form == 6) *also = cast(b, q, BERT_FLOAT);
    bert_value *sum = form == 9 ? OP(b, Mul, d, bias) : OP(b, Add, d, bias);
    if (form == 7) *also = OP(b, Softmax, sum);
    return OP(b, Softmax, round_trip(b, sum, after));
}

/* What is left of a: the node's own inputs 6 to 9; of y: 2 to 5. */
static void what_others_read_or_nobody_knows_stays(void **state) {
    static const struct {
        int sums, of_a, of_y;
    } expected[FORMS] = {{1, 1, 0}, {1, 1, 0}, {1, 1, 0}, {1, 0, 1}, {1, 0, 1},
                         {1, 0, 1}, {1, 0, 1}, {1, 1, 0}, {0, 0, 0}, {0, 0, 0}};
    for (int form = 0; form < FORMS; form++) {
        builder b = start(21);
        bert_value *also = NULL, *y = make_form(&b, form, &also);
        if (also)
            RUN(&b, "quantized_add", y, also);
        else
            RUN(&b, "quantized_add", y);
        assert_int_equal(count_nodes(&b, BERT_OP_BERTC_QuantizedAdd), expected[form].sums);
        if (expected[form].sums) {
            const bert_node *sum = only(&b, BERT_OP_BERTC_QuantizedAdd);
            assert_int_equal(bert_node_in(sum, BERT_QUANTIZED_ADD_A_SCALE) != NULL, expected[form].of_a);
            assert_int_equal(bert_node_in(sum, BERT_QUANTIZED_ADD_Y_SCALE) != NULL, expected[form].of_y);
        }
        finish(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sum_and_its_quantizers_are_one_node),
        cmocka_unit_test(a_is_dequantized_by_what_its_bytes_are_then),
        cmocka_unit_test(a_bias_and_a_residual_are_two_nodes),
        cmocka_unit_test(bytes_that_others_read_are_written),
        cmocka_unit_test(what_others_read_or_nobody_knows_stays),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
