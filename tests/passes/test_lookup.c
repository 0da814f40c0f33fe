/* What becomes of single bytes as a table: which nodes it takes the place of, and what stays. */
#include "core/graph/canonical.h"
#include "tests/passes/grids.h"
#include "tests/passes/twice.h"

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})

static bert_value *op_named(const builder *b, const char *name) {
    BERT_FOR_EACH_NODE (node, &b->graph->body) {
        if (strcmp(node->op->name, name) == 0) return node->outputs[0];
    }
    return NULL;
}

/* ---- What tables take the place of ---------------------------------------------------------------------------------
 */

static unsigned char every_byte[2 * 256];
static float floats[2 * 256];

static int fill(void **state) {
    for (int i = 0; i < 2 * 256; i++) {
        every_byte[i] = (unsigned char)(i * 37 + i / 256);
        floats[i] = (float)((i * 7919 + 13) % 1021) / 100 - 5.1F;
    }
    return 0;
}

/* A GELU in its erf form, quantized before and after each operator. `choice`: bit 0 int8, 1 bytes come from outside, 2
 * what is in the middle of it is read, too. */
static void make_gelu(builder *b, const void *spec) {
    const int choice = *(const int *)spec;
    const bert_dtype type = choice & 1 ? BERT_INT8 : BERT_UINT8;
    const grid by = grid_of(b, 0.04F, type), half = grid_of(b, 0.01F, type), fine = grid_of(b, 0.02F, type);
    bert_value *q = choice & 2 ? input(b, "q", type, "2 256") : quantize(b, input(b, "x", BERT_FLOAT, "2 256"), by);
    bert_value *x = dequantize(b, q, by);
    bert_value *erf = round_trip(b, OP(b, Erf, round_trip(b, OP(b, Div, x, scalar(b, 1.4142135F)), fine)), half);
    bert_value *sum = round_trip(b, OP(b, Add, scalar(b, 1), erf), fine);
    bert_value *gelu = round_trip(b, OP(b, Mul, round_trip(b, OP(b, Mul, x, sum), by), scalar(b, 0.5F)), by);
    bert_value *outputs[] = {OP(b, Softmax, gelu), choice & 4 ? OP(b, Softmax, erf) : NULL};
    declare(b, outputs, outputs[1] ? 2 : 1);
}

static void a_gelu_between_bytes_is_one_table(void **state) {
    for (int choice = 0; choice < 8; choice++) {
        bert_named_tensor x = choice & 2
                                  ? twice_input("q", choice & 1 ? BERT_INT8 : BERT_UINT8, every_byte, 2, DIMS(2, 256))
                                  : twice_input("x", BERT_FLOAT, floats, 2, DIMS(2, 256));
        bert_model *model = twice(make_gelu, &choice, &x, 1, 0);
        assert_int_equal(twice_count(model, BERT_OP_BERTC_Lookup), choice & 4 ? 2 : 1);
        assert_int_equal(twice_count(model, BERT_OP_DequantizeLinear), choice & 4 ? 2 : 1);
        assert_int_equal(twice_count(model, BERT_OP_QuantizeLinear), choice & 2 ? 0 : 1);
        assert_int_equal(twice_count(model, BERT_OP_Erf) + twice_count(model, BERT_OP_Mul), 0);
        bert_model_free(model);
    }
}

/* Operators of one, two and three operands; a constant that lies anywhere in a file, one of [1, 1], a condition. */
static void make_operators(builder *b, const void *spec) {
    const int choice = *(const int *)spec;
    const grid by = grid_of(b, 0.05F, choice & 1 ? BERT_INT8 : BERT_UINT8);
    bert_value *x = round_trip(b, input(b, "x", BERT_FLOAT, "2 256"), by), *y = NULL;
    bert_value *one = tensor(b, 2, DIMS(1, 1));
    if (choice / 2 == 0) y = OP(b, Clip, x, scalar(b, -0.5F), scalar(b, 0.7F));
    if (choice / 2 == 1) y = OP(b, Where, OP(b, Greater, x, one), x, OP(b, Neg, x));
    if (choice / 2 == 2) y = OP(b, Pow, x, scalar(b, 2));
    if (choice / 2 == 3) y = OP(b, Identity, OP(b, Sigmoid, x));
    if (choice / 2 == 4) y = cast(b, cast(b, OP(b, Exp, x), BERT_FLOAT16), BERT_FLOAT);
    if (choice / 2 == 5) y = OP(b, Max, x, one, scalar(b, 0.1F));
    y = OP(b, Softmax, round_trip(b, y, grid_of(b, 0.03F, BERT_UINT8)));
    declare(b, &y, 1);
}

static void what_works_element_by_element_is_followed(void **state) {
    for (int choice = 0; choice < 12; choice++) {
        bert_named_tensor x = twice_input("x", BERT_FLOAT, floats, 2, DIMS(2, 256));
        bert_model *model = twice(make_operators, &choice, &x, 1, 0);
        assert_int_equal(twice_count(model, BERT_OP_BERTC_Lookup), 1);
        assert_int_equal(twice_count(model, BERT_OP_QuantizeLinear), 1);
        bert_model_free(model);
    }
}

/* By twice the scale after a product with 2: the same bytes. */
static void bytes_that_stay_the_same_need_no_table(void **state) {
    for (int leaves = 0; leaves < 2; leaves++) {
        builder b = start(21);
        const grid by = grid_of(&b, 0.125F, BERT_UINT8), twice_as_wide = {scalar(&b, 0.25F), by.zero_point};
        bert_value *q = input(&b, "q", BERT_UINT8, "n 6");
        bert_value *same = quantize(&b, OP(&b, Mul, dequantize(&b, q, by), scalar(&b, 2)), twice_as_wide);
        bert_value *y = leaves ? same : OP(&b, Softmax, dequantize(&b, same, twice_as_wide));
        RUN(&b, "lookup", y);
        assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Lookup), leaves); /* the output keeps its name */
        assert_int_equal(count_nodes(&b, BERT_OP_QuantizeLinear), 0);
        if (!leaves) assert_ptr_equal(only(&b, BERT_OP_DequantizeLinear)->inputs[0], q);
        finish(&b);
    }
}

/* Many ways through the same nodes: they are walked once. */
static void sums_of_sums_end(void **state) {
    builder b = start(21);
    const grid by = grid_of(&b, 0.01F, BERT_UINT8);
    bert_value *x = dequantize(&b, input(&b, "q", BERT_UINT8, "n"), by);
    for (int i = 0; i < 60; i++) x = OP(&b, Sub, OP(&b, Add, x, x), x);
    bert_value *y = OP(&b, Softmax, round_trip(&b, x, grid_of(&b, 0.02F, BERT_UINT8)));
    RUN(&b, "lookup", y);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Lookup), 1);
    assert_int_equal(count_nodes(&b, BERT_OP_Add), 0);
    finish(&b);
}

/* `choice`: bit 0 int8, 1 places of 64 bits. */
static void make_gather(builder *b, const void *spec) {
    const int choice = *(const int *)spec;
    bert_value *q = input(b, "q", choice & 1 ? BERT_INT8 : BERT_UINT8, "2 256");
    bert_value *places = cast(b, q, choice & 2 ? BERT_INT64 : BERT_INT32);
    bert_value *y = cast(b, OP(b, Gather, bytes(b, BERT_INT8, 1, DIMS(256)), places), BERT_FLOAT);
    declare(b, &y, 1);
}

static void a_table_that_is_gathered_from_is_one(void **state) {
    for (int choice = 0; choice < 4; choice++) {
        bert_named_tensor q = twice_input("q", choice & 1 ? BERT_INT8 : BERT_UINT8, every_byte, 2, DIMS(2, 256));
        bert_model *model = twice(make_gather, &choice, &q, 1, 0);
        assert_int_equal(twice_count(model, BERT_OP_BERTC_Lookup), 1);
        assert_int_equal(twice_count(model, BERT_OP_Gather), 0);
        bert_model_free(model);
    }
}

static void other_gathers_stay(void **state) {
    for (int form = 0; form < 4; form++) {
        builder b = start(21);
        bert_value *table = form == 0   ? bytes(&b, BERT_UINT8, 1, DIMS(255))
                            : form == 1 ? bytes(&b, BERT_UINT8, 2, DIMS(256, 1))
                            : form == 2 ? tensor(&b, 1, DIMS(256))
                                        : bytes(&b, BERT_UINT8, 1, DIMS(256));
        bert_value *places = input(&b, "places", form == 3 ? BERT_INT32 : BERT_UINT8, "n");
        bert_value *y = OP(&b, Gather, table, cast(&b, places, BERT_INT64));
        RUN(&b, "lookup", y);
        assert_int_equal(count_nodes(&b, BERT_OP_Gather), 1);
        finish(&b);
    }
}

/* A Transpose, of which no table is made, reads the bytes of one. */
static void tables_stand_on_both_sides_of_a_move(void **state) {
    builder b = start(21);
    const grid by = grid_of(&b, 0.01F, BERT_UINT8), other = grid_of(&b, 0.02F, BERT_INT8);
    bert_value *q = input(&b, "q", BERT_UINT8, "n 6");
    bert_value *moved = OP(&b, Transpose, quantize(&b, OP(&b, Exp, dequantize(&b, q, by)), other));
    bert_value *y = dequantize(&b, quantize(&b, OP(&b, Neg, dequantize(&b, moved, other)), by), by);
    RUN(&b, "lookup", y);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Lookup), 2);
    assert_int_equal(count_nodes(&b, BERT_OP_QuantizeLinear), 0);
    assert_int_equal(count_nodes(&b, BERT_OP_Exp) + count_nodes(&b, BERT_OP_Neg), 0);
    finish(&b);
}

/* ---- What stays -----------------------------------------------------------------------------------------------------
 */

enum { FORMS = 9 };

static bert_value *made_of_more(builder *b, int form, bert_value *x, grid by, grid *last) {
    switch (form) {
    case 0: /* other bytes of the tensor */
        return OP(b, Softmax, x);
    case 1: /* a number for each column */
        return OP(b, Add, x, tensor(b, 1, DIMS(6)));
    case 2: /* two tensors of bytes */
        return OP(b, Add, x, dequantize(b, input(b, "other", BERT_UINT8, "n 6"), by));
    case 3: /* floats that come from outside */
        return OP(b, Add, x, input(b, "float", BERT_FLOAT, ""));
    case 4: /* another shape */
        return OP(b, Mul, x, tensor(b, 3, DIMS(1, 1, 1)));
    case 5: /* a scale that isn't known */
        last->scale = input(b, "scale", BERT_FLOAT, "");
        return OP(b, Exp, x);
    case 6: /* a scale for each column */
        return OP(
            b, Exp,
            dequantize(b, x->producer->inputs[0], (grid){tensor(b, 1, DIMS(6)), bytes(b, BERT_UINT8, 1, DIMS(6))}));
    case 7: /* 16 bits */
        last->zero_point = NULL;
        return OP(b, Exp, x);
    default: /* an operator that fails for some bytes */
        return cast(b, OP(b, Div, integers(b, 0, NULL, &(int32_t){7}), cast(b, x, BERT_INT32)), BERT_FLOAT);
    }
}

static void what_depends_on_more_than_a_byte_stays(void **state) {
    for (int form = 0; form < FORMS; form++) {
        builder b = start(21);
        const grid by = grid_of(&b, 0.01F, BERT_UINT8);
        grid last = by;
        bert_value *x = dequantize(&b, input(&b, "q", BERT_UINT8, "n 6"), by);
        bert_value *y = made_of_more(&b, form, x, by, &last);
        bert_attribute words = BERT_INT_ATTRIBUTE("output_dtype", BERT_UINT16);
        y = form == 7 ? OP_WITH(&b, QuantizeLinear, words, y, last.scale) : quantize(&b, y, last);
        RUN(&b, "lookup", y);
        assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Lookup), 0);
        assert_int_equal(count_nodes(&b, BERT_OP_QuantizeLinear), 1);
        finish(&b);
    }
}

/* Of one byte: bounds and a zero point that depend on it, which an operator has one of for all of its elements. */
static void make_bounds(builder *b, const void *spec) {
    const int form = *(const int *)spec;
    const grid by = grid_of(b, 0.05F, BERT_UINT8);
    bert_value *q = input(b, "q", BERT_UINT8, "1"), *x = dequantize(b, q, by), *twice = OP(b, Mul, x, scalar(b, 2));
    const grid last = {by.scale, q};
    bert_value *y[] = {NULL, OP(b, Softmax, round_trip(b, twice, by))}; /* the other is a table */
    if (form == 0) y[0] = quantize(b, OP(b, Clip, x, twice), by);
    if (form == 1) y[0] = quantize(b, OP(b, Clip, x, NULL, twice), by);
    if (form == 2) y[0] = quantize(b, OP(b, Clip, tensor(b, 1, DIMS(1)), x), by);
    if (form == 3) y[0] = quantize(b, twice, last);
    if (form == 4) y[0] = quantize(b, tensor(b, 1, DIMS(1)), last);
    y[0] = cast(b, y[0], BERT_FLOAT);
    declare(b, y, 2);
}

static void one_byte_for_all_elements_stays(void **state) {
    for (int form = 0; form < 5; form++) {
        bert_named_tensor q = twice_input("q", BERT_UINT8, &(unsigned char){130}, 1, DIMS(1));
        bert_model *model = twice(make_bounds, &form, &q, 1, 0);
        assert_int_equal(twice_count(model, BERT_OP_BERTC_Lookup), 1);
        bert_model_free(model);
    }
}

/* A function begins anew where more than its bytes comes in, and floats that are read are computed as before. */
static void tables_begin_and_end_where_others_read(void **state) {
    builder b = start(21);
    const grid by = grid_of(&b, 0.01F, BERT_UINT8), other = grid_of(&b, 0.02F, BERT_INT8);
    bert_value *q = input(&b, "q", BERT_UINT8, "n 6");
    bert_value *exp = OP(&b, Exp, dequantize(&b, q, by)), *first = quantize(&b, exp, other);
    bert_value *sum = OP(&b, Add, dequantize(&b, first, other), tensor(&b, 1, DIMS(6))),
               *second = quantize(&b, sum, by);
    bert_value *third = quantize(&b, OP(&b, Neg, dequantize(&b, second, by)), other);
    bert_value *y[] = {dequantize(&b, third, other), OP(&b, Softmax, exp)};
    RUN(&b, "lookup", y[0], y[1]);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Lookup), 2);
    assert_int_equal(count_nodes(&b, BERT_OP_QuantizeLinear), 1);
    assert_int_equal(count_nodes(&b, BERT_OP_Exp), 1);
    assert_int_equal(count_nodes(&b, BERT_OP_Neg), 0);
    assert_ptr_equal(op_named(&b, "Lookup")->producer->inputs[BERT_LOOKUP_X], q);
    finish(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gelu_between_bytes_is_one_table),
        cmocka_unit_test(what_works_element_by_element_is_followed),
        cmocka_unit_test(bytes_that_stay_the_same_need_no_table),
        cmocka_unit_test(sums_of_sums_end),
        cmocka_unit_test(a_table_that_is_gathered_from_is_one),
        cmocka_unit_test(other_gathers_stay),
        cmocka_unit_test(tables_stand_on_both_sides_of_a_move),
        cmocka_unit_test(one_byte_for_all_elements_stays),
        cmocka_unit_test(what_depends_on_more_than_a_byte_stays),
        cmocka_unit_test(tables_begin_and_end_where_others_read),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
