/* Folding, shapes and common nodes; and where elements go through views. */
#include "tests/passes/builder.h"

#include "core/passes/layout.h"

/* ---- fold -----------------------------------------------------------------------------------------------------------
 */

static void constant_arithmetic_is_computed(void **state) {
    builder b = start(17);
    bert_value *factor = OP(&b, Mul, OP(&b, Sqrt, scalar(&b, 16)), scalar(&b, 0.5F));
    bert_value *result = OP(&b, Mul, input(&b, "x", BERT_FLOAT, "batch 8"), factor);
    RUN(&b, "fold", result);
    assert_int_equal(count_all(&b), 1);
    double number = 0;
    assert_true(bert_value_scalar(only(&b, BERT_OP_Mul)->inputs[1], &number));
    assert_true(number == 2);
    finish(&b);
}

static void a_dimension_that_is_known_is_computed(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch 8");
    bert_value *width = OP(&b, Gather, OP(&b, Shape, x), INTS(&b, 1));
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 0);
    bert_value *result = OP(&b, Reshape, x, OP_WITH(&b, Concat, axis, INTS(&b, -1), width));
    RUN(&b, "fold", result);
    /* [-1, 8] is the shape that x has already: the Reshape changes nothing, but its result leaves the graph. */
    assert_int_equal(count_all(&b), 1);
    assert_non_null(only(&b, BERT_OP_Reshape)->inputs[1]->info.constant);
    finish(&b);
}

static void weights_are_not_transposed_or_converted(void **state) {
    builder b = start(17);
    bert_attribute perm = INTS_ATTRIBUTE("perm", 1, 0);
    bert_value *w = OP_WITH(&b, Transpose, perm, weight(&b, 6, 8));
    bert_value *result = OP(&b, MatMul, input(&b, "x", BERT_FLOAT, "batch 8"), w);
    RUN(&b, "fold", result);
    assert_int_equal(count_nodes(&b, BERT_OP_Transpose), 1);
    finish(&b);
}

static void nodes_that_change_nothing_go(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch 4 8");
    bert_attribute to = BERT_INT_ATTRIBUTE("to", BERT_FLOAT), perm = INTS_ATTRIBUTE("perm", 0, 1, 2);
    bert_value *y = OP_WITH(&b, Cast, to, OP(&b, Identity, x));
    y = OP_WITH(&b, Transpose, perm, RESHAPE(&b, y, 0, 4, -1));
    y = OP(&b, Mul, scalar(&b, 1), OP(&b, Add, y, scalar(&b, 0)));
    y = OP(&b, Div, OP(&b, Sub, y, scalar(&b, 0)), scalar(&b, 1));
    bert_value *result = OP(&b, Relu, y);
    RUN(&b, "fold", result);
    assert_int_equal(count_all(&b), 1);
    assert_ptr_equal(only(&b, BERT_OP_Relu)->inputs[0], x);
    finish(&b);
}

static void nodes_that_change_something_stay(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch 4 4");
    bert_attribute to = BERT_INT_ATTRIBUTE("to", BERT_DOUBLE), perm = INTS_ATTRIBUTE("perm", 0, 2, 1);
    bert_value *results[] = {
        OP_WITH(&b, Transpose, perm, x),
        OP_WITH(&b, Cast, to, x),
        OP(&b, Slice, x, INTS(&b, 3), INTS(&b, -5), INTS(&b, 1), INTS(&b, -1)), /* Backward. */
        OP(&b, Sub, scalar(&b, 0), x),
        OP(&b, Div, scalar(&b, 1), x),
        OP(&b, Add, x, weight(&b, 4, 0)),
        OP(&b, Mul, input(&b, "y", BERT_FLOAT, "4"), tensor(&b, 2, (int64_t[]){1, 1})), /* One more dimension. */
    };
    int count = sizeof results / sizeof results[0];
    bert_value *last[7];
    for (int i = 0; i < count; i++) last[i] = OP(&b, Neg, results[i]);
    run(&b, "fold", last, count);
    assert_int_equal(count_all(&b), 2 * count);
    finish(&b);
}

/* torch.stack, then parts of it again. */
static void what_is_taken_of_a_concat_is_what_went_into_it(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch 4 8"), *y = input(&b, "y", BERT_FLOAT, "batch 4 8");
    bert_attribute first = BERT_INT_ATTRIBUTE("axis", 1), last = BERT_INT_ATTRIBUTE("axis", -1);
    bert_value *stacked =
        OP_WITH(&b, Concat, first, OP(&b, Unsqueeze, x, INTS(&b, 1)), OP(&b, Unsqueeze, y, INTS(&b, 1)));
    bert_value *beside = OP_WITH(&b, Concat, last, x, y);
    bert_value *empty = OP(&b, Slice, x, INTS(&b, 8), INTS(&b, INT64_MAX), INTS(&b, 2));
    bert_value *results[] = {
        OP(&b, Neg, OP_WITH(&b, Gather, first, stacked, INT(&b, -1))),
        OP(&b, Abs, OP(&b, Slice, beside, INTS(&b, 0), INTS(&b, 8), INTS(&b, 2))),
        OP(&b, Relu, OP(&b, Slice, beside, INTS(&b, 8), INTS(&b, 16), INTS(&b, -1))),
        OP(&b, Exp, OP_WITH(&b, Concat, last, x, empty)),
        OP(&b, Log, OP(&b, Squeeze, OP(&b, Unsqueeze, x, INTS(&b, 0)), INTS(&b, 0))),
    };
    run(&b, "fold", results, 5);
    assert_int_equal(count_all(&b), 5);
    assert_ptr_equal(only(&b, BERT_OP_Neg)->inputs[0], y);
    assert_ptr_equal(only(&b, BERT_OP_Abs)->inputs[0], x);
    assert_ptr_equal(only(&b, BERT_OP_Relu)->inputs[0], y);
    assert_ptr_equal(only(&b, BERT_OP_Exp)->inputs[0], x);
    assert_ptr_equal(only(&b, BERT_OP_Log)->inputs[0], x);
    finish(&b);
}

static void other_parts_of_a_concat_stay(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch 4 8"), *y = input(&b, "y", BERT_FLOAT, "batch 4 8");
    bert_attribute last = BERT_INT_ATTRIBUTE("axis", -1), middle = BERT_INT_ATTRIBUTE("axis", 1);
    bert_value *beside = OP_WITH(&b, Concat, last, x, y);
    bert_value *taken[] = {
        OP(&b, Slice, beside, INTS(&b, 4), INTS(&b, 12), INTS(&b, 2)),                   /* some of each */
        OP(&b, Slice, beside, INTS(&b, 0), INTS(&b, 16), INTS(&b, 2), INTS(&b, 2)),      /* every other one */
        OP(&b, Slice, beside, INTS(&b, 0), INTS(&b, 4), INTS(&b, 2)),                    /* half of one */
        OP_WITH(&b, Gather, last, beside, INT(&b, 0)),                                   /* a column of one */
        OP_WITH(&b, Gather, middle, OP(&b, Unsqueeze, beside, INTS(&b, 1)), INT(&b, 0)), /* along another axis */
    };
    bert_value *results[5];
    for (int i = 0; i < 5; i++) results[i] = OP(&b, Neg, taken[i]);
    run(&b, "fold", results, 5);
    assert_int_equal(count_nodes(&b, BERT_OP_Slice), 3);
    assert_int_equal(count_nodes(&b, BERT_OP_Gather), 2);
    assert_int_equal(count_nodes(&b, BERT_OP_Concat), 1);
    finish(&b);
}

/* torch.arange(length, dtype=float32) */
static bert_node *range_of(builder *b, bert_dtype dtype, float start, float step) {
    bert_attribute to = BERT_INT_ATTRIBUTE("to", dtype), axis = BERT_INT_ATTRIBUTE("axis", 0);
    bert_value *shape = OP(b, Shape, input(b, "x", BERT_FLOAT, "batch sequence"));
    bert_value *length = OP_WITH(b, Cast, to, OP_WITH(b, Gather, axis, shape, INT(b, 1)));
    bert_value *first = cast(b, scalar(b, start), dtype), *by = cast(b, scalar(b, step), dtype);
    run_all(b, (bert_value *[]){OP(b, Neg, OP(b, Range, first, length, by))}, 1);
    return only(b, BERT_OP_Neg)->inputs[0]->producer;
}

static void a_range_of_floats_that_were_integers_is_one_of_integers(void **state) {
    builder b = start(17);
    const bert_node *cast = range_of(&b, BERT_FLOAT, 0, 1);
    assert_true(bert_node_is(cast, BERT_OP_Cast));
    assert_int_equal(cast->outputs[0]->info.dtype, BERT_FLOAT);
    assert_int_equal(cast->outputs[0]->info.shape.dims[0], b.inputs[0]->info.shape.dims[1]);
    assert_int_equal(cast->inputs[0]->info.dtype, BERT_INT64);
    finish(&b);
}

static void other_ranges_of_floats_stay(void **state) {
    static const struct {
        bert_dtype dtype;
        float start, step;
    } cases[] = {{BERT_FLOAT, 0.5F, 1},
                 {BERT_FLOAT, 0, 0.25F},
                 {BERT_FLOAT, 0x1p25F, 1},
                 {BERT_FLOAT, 0, 0},
                 {BERT_FLOAT16, 0, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        builder b = start(17);
        assert_true(bert_node_is(range_of(&b, cases[i].dtype, cases[i].start, cases[i].step), BERT_OP_Range));
        finish(&b);
    }
}

static void an_identity_between_input_and_output_stays(void **state) {
    builder b = start(17);
    bert_value *result = OP(&b, Identity, input(&b, "x", BERT_FLOAT, "batch 4"));
    RUN(&b, "fold", result);
    assert_int_equal(count_all(&b), 1);
    finish(&b);
}

static void an_output_keeps_its_name_when_its_identity_goes(void **state) {
    builder b = start(17);
    bert_value *inner = OP(&b, Relu, input(&b, "x", BERT_FLOAT, "batch 4")), *result = OP(&b, Identity, inner);
    const char *name = result->name;
    RUN(&b, "fold", result);
    assert_int_equal(count_all(&b), 1);
    assert_ptr_equal(b.graph->outputs[0], inner);
    assert_string_equal(b.graph->output_names[0], name);
    finish(&b);
}

/* ---- shapes ---------------------------------------------------------------------------------------------------------
 */

static void a_reshape_gets_a_constant_target(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 64");
    bert_value *shape = OP(&b, Shape, OP(&b, Relu, x));
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 0), allowzero = BERT_INT_ATTRIBUTE("allowzero", 1);
    bert_value *target = OP_WITH(&b, Concat, axis, OP(&b, Gather, shape, INTS(&b, 0)),
                                 OP(&b, Gather, shape, INTS(&b, 1)), INTS(&b, 4, 16));
    bert_value *result = OP_WITH(&b, Reshape, allowzero, x, target);
    RUN(&b, "shapes", result);
    assert_int_equal(count_all(&b), 1);
    bert_node *reshape = only(&b, BERT_OP_Reshape);
    int64_t numbers[4];
    int32_t count = 0;
    assert_true(bert_value_ints(reshape->inputs[1], numbers, 4, &count));
    assert_int_equal(count, 4);
    assert_memory_equal(numbers, ((int64_t[]){0, 0, 4, 16}), sizeof numbers);
    assert_int_equal(BERT_NODE_INT(reshape, "allowzero", 0), 0);
    finish(&b);
}

static void shapes_are_read_from_graph_inputs(void **state) {
    builder b = start(17);
    bert_value *ids = input(&b, "ids", BERT_INT64, "batch sequence");
    bert_value *inner = OP(&b, Relu, OP(&b, Gather, weight(&b, 30, 8), ids));
    bert_value *length = OP(&b, Gather, OP(&b, Shape, inner), INT(&b, 1));
    bert_value *result = OP(&b, Range, INT(&b, 0), length, INT(&b, 1)), *other = OP(&b, Tanh, inner);
    RUN(&b, "shapes", result, other);
    assert_ptr_equal(only(&b, BERT_OP_Shape)->inputs[0], ids);
    assert_int_equal(inner->use_count, 1);
    finish(&b);
}

static void a_dimension_that_no_input_has_is_left_alone(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch 8"), *y = input(&b, "y", BERT_FLOAT, "other 8");
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 0);
    bert_value *both = OP_WITH(&b, Concat, axis, x, y);
    bert_value *length = OP(&b, Gather, OP(&b, Shape, both), INT(&b, 0));
    bert_value *result = OP(&b, Range, INT(&b, 0), length, INT(&b, 1));
    RUN(&b, "shapes", result);
    assert_ptr_equal(only(&b, BERT_OP_Shape)->inputs[0], both);
    finish(&b);
}

/* ---- common ---------------------------------------------------------------------------------------------------------
 */

static void equal_nodes_become_one(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch 8");
    bert_value *first = OP(&b, Relu, OP(&b, Mul, x, scalar(&b, 3))),
               *second = OP(&b, Relu, OP(&b, Mul, x, scalar(&b, 3)));
    bert_value *result = OP(&b, Add, first, second);
    RUN(&b, "common", result);
    assert_int_equal(count_all(&b), 3);
    finish(&b);
}

static void nodes_that_differ_stay(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch 8 8"), *y = input(&b, "y", BERT_FLOAT, "batch 8 8");
    bert_attribute a0 = BERT_INT_ATTRIBUTE("axis", 1), a1 = BERT_INT_ATTRIBUTE("axis", 2);
    bert_value *results[] = {OP_WITH(&b, Softmax, a0, x),
                             OP_WITH(&b, Softmax, a1, x),
                             OP_WITH(&b, Softmax, a0, y),
                             OP(&b, Mul, x, scalar(&b, 3)),
                             OP(&b, Mul, x, scalar(&b, 4)),
                             OP(&b, Sub, x, y),
                             OP(&b, Sub, y, x)};
    run(&b, "common", results, 7);
    assert_int_equal(count_all(&b), 7);
    finish(&b);
}

static void two_equal_outputs_stay_two(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch 8");
    RUN(&b, "common", OP(&b, Relu, x), OP(&b, Relu, x));
    assert_int_equal(count_all(&b), 2);
    finish(&b);
}

/* ---- layout ---------------------------------------------------------------------------------------------------------
 */

static void a_view_and_its_way_back_are_equal(void **state) {
    builder b = start(17);
    bert_symbols *symbols = b.graph->symbols;
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 64");
    bert_dim batch = bert_value_dim(x, 0), sequence = bert_value_dim(x, 1);
    bert_layout there, start_layout;
    assert_true(bert_layout_begin(&there, x));
    start_layout = there;
    assert_true(bert_layout_reshape(&there, (bert_dim[]){batch, sequence, 4, 16}, 4, symbols));
    bert_layout_permute(&there, (int32_t[]){0, 2, 1, 3});
    assert_true(
        bert_layout_reshape(&there, (bert_dim[]){bert_dim_multiply(symbols, batch, 4), sequence, 16}, 3, symbols));
    assert_false(bert_layout_equal(&there, &start_layout));
    assert_true(bert_layout_reshape(&there, (bert_dim[]){batch, 4, sequence, 16}, 4, symbols));
    bert_layout_permute(&there, (int32_t[]){0, 2, 1, 3});
    assert_true(bert_layout_reshape(&there, (bert_dim[]){batch, sequence, 64}, 3, symbols));
    assert_true(bert_layout_equal(&there, &start_layout));
    finish(&b);
}

static void a_reshape_that_cuts_across_pieces_is_refused(void **state) {
    builder b = start(17);
    bert_symbols *symbols = b.graph->symbols;
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 64");
    bert_dim batch = bert_value_dim(x, 0), sequence = bert_value_dim(x, 1);
    bert_layout layout;
    assert_true(bert_layout_begin(&layout, x));
    /* [sequence, batch, 64] of [batch, sequence, 64] without a Transpose. */
    assert_false(bert_layout_reshape(&layout, (bert_dim[]){sequence, batch, 64}, 3, symbols));
    assert_true(bert_layout_begin(&layout, x));
    assert_false(bert_layout_reshape(&layout, (bert_dim[]){batch, sequence, 5, 13}, 4, symbols));
    assert_true(bert_layout_begin(&layout, x));
    assert_false(bert_layout_reshape(&layout, (bert_dim[]){batch, sequence, 32}, 3, symbols));
    finish(&b);
}

static void equal_sizes_are_not_equal_pieces(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "4 4 16");
    bert_layout a, c;
    assert_true(bert_layout_begin(&a, x) && bert_layout_begin(&c, x));
    assert_true(bert_layout_reshape(&a, (bert_dim[]){4, 4, 4, 4}, 4, b.graph->symbols));
    assert_true(bert_layout_reshape(&c, (bert_dim[]){4, 4, 4, 4}, 4, b.graph->symbols));
    bert_layout_permute(&c, (int32_t[]){0, 2, 1, 3});
    assert_false(bert_layout_equal(&a, &c));
    finish(&b);
}

/* ---- all ------------------------------------------------------------------------------------------------------------
 */

static void origins_survive_every_pass(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "batch 8");
    bert_value *product = OP(&b, MatMul, x, weight(&b, 8, 8)), *sum = OP(&b, Add, product, weight(&b, 8, 0));
    bert_value *result = OP(&b, Tanh, sum);
    bert_origin origins[] = {{0, "matmul", "MatMul"}, {1, "add", "Add"}, {2, "tanh", "Tanh"}};
    bert_value *values[] = {product, sum, result};
    for (int i = 0; i < 3; i++) {
        values[i]->producer->origins = BERT_ARENA_NEW_ARRAY(&b.graph->arena, const bert_origin *, 1);
        assert_non_null(values[i]->producer->origins);
        values[i]->producer->origins[0] = &origins[i];
        values[i]->producer->origin_count = 1;
    }
    run_all(&b, &result, 1);
    bert_node *linear = only(&b, BERT_OP_BERTC_Linear);
    assert_int_equal(linear->origin_count, 3);
    for (int i = 0; i < 3; i++) assert_ptr_equal(linear->origins[i], &origins[i]);
    finish(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constant_arithmetic_is_computed),
        cmocka_unit_test(a_dimension_that_is_known_is_computed),
        cmocka_unit_test(weights_are_not_transposed_or_converted),
        cmocka_unit_test(nodes_that_change_nothing_go),
        cmocka_unit_test(nodes_that_change_something_stay),
        cmocka_unit_test(what_is_taken_of_a_concat_is_what_went_into_it),
        cmocka_unit_test(other_parts_of_a_concat_stay),
        cmocka_unit_test(a_range_of_floats_that_were_integers_is_one_of_integers),
        cmocka_unit_test(other_ranges_of_floats_stay),
        cmocka_unit_test(an_identity_between_input_and_output_stays),
        cmocka_unit_test(an_output_keeps_its_name_when_its_identity_goes),
        cmocka_unit_test(a_reshape_gets_a_constant_target),
        cmocka_unit_test(shapes_are_read_from_graph_inputs),
        cmocka_unit_test(a_dimension_that_no_input_has_is_left_alone),
        cmocka_unit_test(equal_nodes_become_one),
        cmocka_unit_test(nodes_that_differ_stay),
        cmocka_unit_test(two_equal_outputs_stay_two),
        cmocka_unit_test(a_view_and_its_way_back_are_equal),
        cmocka_unit_test(a_reshape_that_cuts_across_pieces_is_refused),
        cmocka_unit_test(equal_sizes_are_not_equal_pieces),
        cmocka_unit_test(origins_survive_every_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
