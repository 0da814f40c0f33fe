/* What needs no QuantizeLinear and DequantizeLinear, and constants of which some rows are dequantized. */
#include "tests/passes/grids.h"
#include "tests/passes/twice.h"

#include <math.h>

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})

static float numbers[2 * 4 * 6];

static int fill(void **state) {
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        numbers[i] = (float)((i * 7919 + 13) % 211) / 100 - 1.05F;
    return 0;
}

/* ---- Bytes that are quantized to themselves again -------------------------------------------------------------------
 */

static void make_moves(builder *b, const void *spec) {
    const int choice = *(const int *)spec;
    const grid by = grid_of(b, 0.0123F, choice & 1 ? BERT_INT8 : BERT_UINT8);
    bert_value *x = round_trip(b, input(b, "x", BERT_FLOAT, "2 4 6"), by);
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 1), turned = INTS_ATTRIBUTE("perm", 1, 0, 2);
    bert_value *y = round_trip(b, OP_WITH(b, Transpose, turned, x), by);
    y = round_trip(b, RESHAPE(b, y, 4, 12), by);
    y = round_trip(b, OP(b, Slice, y, INTS(b, 0), INTS(b, 8), INTS(b, 1)), by);
    y = round_trip(b, OP(b, Expand, OP(b, Unsqueeze, y, INTS(b, 0)), INTS(b, 3, 4, 8)), by);
    y = round_trip(b, OP_WITH(b, Gather, axis, y, INTS(b, 1, 3)), by);
    if (choice & 2) y = round_trip(b, OP(b, Exp, y), by); /* this one is needed */
    y = OP(b, Neg, y);
    declare(b, &y, 1);
}

static void bytes_are_not_quantized_to_themselves_again(void **state) {
    for (int choice = 0; choice < 4; choice++) {
        bert_named_tensor x = twice_input("x", BERT_FLOAT, numbers, 3, DIMS(2, 4, 6));
        bert_model *model = twice(make_moves, &choice, &x, 1, 0);
        assert_int_equal(twice_count(model, BERT_OP_QuantizeLinear), choice & 2 ? 2 : 1);
        assert_int_equal(twice_count(model, BERT_OP_DequantizeLinear), choice & 2 ? 2 : 1);
        bert_model_free(model);
    }
}

/* What is off n by this much still rounds to n, for scales throughout the range that the pass takes. */
static void ordinary_scales_give_each_byte_again(void **state) {
    for (int exponent = -100; exponent < 100; exponent++) {
        for (uint32_t mantissa = 1; mantissa < 1U << 23; mantissa += 131071) {
            const float scale = ldexpf(1.0F + (float)mantissa * 0x1p-23F, exponent);
            for (int n = 1; n <= 255; n++) {
                const float x = (float)n * scale;
                assert_true(nearbyintf(x / scale) == (float)n);
            }
        }
    }
}

static void bytes_that_come_to_others_are_quantized(void **state) {
    for (int form = 0; form < 8; form++) {
        builder b = start(21);
        const grid by = grid_of(&b, form == 4 ? 0x1p-100F : form == 5 ? 0x1p100F : 0.01F, BERT_UINT8);
        grid other = by;
        bert_value *x = input(&b, "x", BERT_FLOAT, "4 6"), *y;
        if (form == 0) other.scale = scalar(&b, 0.02F);
        if (form == 1) other.zero_point = bytes(&b, BERT_UINT8, 0, NULL);
        if (form == 2) other.zero_point = bytes(&b, BERT_INT8, 0, NULL);
        if (form == 3) other.scale = input(&b, "s", BERT_FLOAT, "");
        y = OP(&b, Transpose, round_trip(&b, x, by));
        if (form == 6) y = OP(&b, Abs, y);
        y = round_trip(&b, y, other);
        if (form != 7) y = OP(&b, Neg, y); /* 7: it leaves the graph under its name */
        RUN(&b, "requantized", y);
        assert_int_equal(count_nodes(&b, BERT_OP_QuantizeLinear), 2);
        assert_int_equal(count_nodes(&b, BERT_OP_DequantizeLinear), 2);
        finish(&b);
    }
}

static void bytes_that_are_read_stay(void **state) {
    builder b = start(21);
    const grid by = grid_of(&b, 0.01F, BERT_UINT8);
    bert_value *x = OP(&b, Transpose, round_trip(&b, input(&b, "x", BERT_FLOAT, "4 6"), by));
    bert_value *q = OP(&b, QuantizeLinear, x, by.scale, by.zero_point);
    bert_value *y = OP(&b, Neg, OP(&b, DequantizeLinear, q, by.scale, by.zero_point));
    RUN(&b, "requantized", y, q);
    assert_ptr_equal(y->producer->inputs[0], x);
    assert_int_equal(count_nodes(&b, BERT_OP_QuantizeLinear), 2);
    assert_int_equal(count_nodes(&b, BERT_OP_DequantizeLinear), 1);
    finish(&b);
}

/* ---- Rows of constants ----------------------------------------------------------------------------------------------
 */

static void make_rows(builder *b, const void *spec) {
    const int choice = *(const int *)spec;
    const bert_dtype dtype = choice & 1 ? BERT_INT8 : BERT_UINT8;
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", choice & 2 ? 1 : 0);
    bert_value *ids = input(b, "ids", BERT_INT64, choice & 4 ? "2 3" : "");
    bert_value *table = bytes(b, dtype, 2, DIMS(12, 8)), *scale = choice & 8 ? tensor(b, 1, DIMS(1)) : scalar(b, 0.1F);
    bert_value *of = choice & 16 ? OP(b, DequantizeLinear, table, scale, bytes(b, dtype, 0, NULL))
                                 : OP(b, DequantizeLinear, table, scale);
    bert_value *y[] = {OP_WITH(b, Gather, axis, of, ids), choice & 32 ? OP(b, Neg, of) : NULL};
    declare(b, y, y[1] ? 2 : 1);
}

static void rows_alone_are_dequantized(void **state) {
    static int64_t ids[] = {3, 7, 0, -1, 7, 2};
    for (int choice = 0; choice < 64; choice++) {
        bert_named_tensor input = twice_input("ids", BERT_INT64, ids, choice & 4 ? 2 : 0, DIMS(2, 3));
        bert_model *model = twice(make_rows, &choice, &input, 1, 0);
        bool of_bytes = false;
        BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) {
            if (node->op->id == BERT_OP_Gather) of_bytes = bert_dtype_size(node->inputs[0]->info.dtype) == 1;
        }
        assert_true(of_bytes);
        assert_int_equal(twice_count(model, BERT_OP_DequantizeLinear), choice & 32 ? 2 : 1);
        bert_model_free(model);
    }
}

static void rows_with_scales_of_their_own_are_left_alone(void **state) {
    for (int form = 0; form < 3; form++) {
        builder b = start(21);
        bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("axis", 0), BERT_INT_ATTRIBUTE("block_size", 12)};
        bert_value *table = form == 1 ? input(&b, "table", BERT_INT8, "12 8") : bytes(&b, BERT_INT8, 2, DIMS(12, 8));
        bert_value *scale = form == 0 ? weight(&b, 12, 0) : form == 1 ? scalar(&b, 0.1F) : tensor(&b, 2, DIMS(1, 8));
        bert_value *of = node(&b, BERT_OP_DequantizeLinear, attributes,
                              form == 2   ? 2
                              : form == 0 ? 1
                                          : 0,
                              (bert_value *[]){table, scale}, 2);
        bert_value *y = OP(&b, Gather, of, input(&b, "ids", BERT_INT64, "n"));
        RUN(&b, "dequantized_rows", y);
        assert_ptr_equal(only(&b, BERT_OP_Gather)->inputs[0], of);
        finish(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_not_quantized_to_themselves_again),
        cmocka_unit_test(ordinary_scales_give_each_byte_again),
        cmocka_unit_test(bytes_that_come_to_others_are_quantized),
        cmocka_unit_test(bytes_that_are_read_stay),
        cmocka_unit_test(rows_alone_are_dequantized),
        cmocka_unit_test(rows_with_scales_of_their_own_are_left_alone),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
