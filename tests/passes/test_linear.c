/* Linear and Embedding from their spellings, and what must be left alone. */
#include "tests/passes/builder.h"

#include "core/graph/canonical.h"

/* ---- Linear ---------------------------------------------------------------------------------------------------------
 */

static void a_product_with_a_bias_in_either_place_becomes_linear(void **state) {
    for (int swapped = 0; swapped < 2; swapped++) {
        builder b = start(17);
        bert_value *x = input(&b, "x", BERT_FLOAT, "batch sequence 8"), *w = weight(&b, 8, 6), *bias = weight(&b, 6, 0);
        bert_value *product = OP(&b, MatMul, x, w);
        bert_value *result = swapped ? OP(&b, Add, bias, product) : OP(&b, Add, product, bias);
        RUN(&b, "linear", result);
        assert_int_equal(count_all(&b), 1);
        bert_node *linear = only(&b, BERT_OP_BERTC_Linear);
        assert_ptr_equal(linear->inputs[BERT_LINEAR_X], x);
        assert_ptr_equal(linear->inputs[BERT_LINEAR_WEIGHT(0)], w);
        assert_ptr_equal(linear->inputs[BERT_LINEAR_BIAS(0)], bias);
        assert_int_equal(BERT_NODE_INT(linear, "transpose", 0), 0);
        assert_string_equal(BERT_NODE_STRING(linear, "activation", "none"), "none");
        finish(&b);
    }
}

static void a_product_without_bias_becomes_linear(void **state) {
    builder b = start(17);
    bert_value *result = OP(&b, MatMul, input(&b, "x", BERT_FLOAT, "batch sequence 8"), weight(&b, 8, 6));
    RUN(&b, "linear", result);
    assert_null(only(&b, BERT_OP_BERTC_Linear)->inputs[BERT_LINEAR_BIAS(0)]);
    finish(&b);
}

static void a_transposed_weight_is_read_through(void **state) {
    builder b = start(17);
    bert_attribute perm = INTS_ATTRIBUTE("perm", 1, 0);
    bert_value *w = weight(&b, 6, 8);
    bert_value *result =
        OP(&b, MatMul, input(&b, "x", BERT_FLOAT, "batch sequence 8"), OP_WITH(&b, Transpose, perm, w));
    RUN(&b, "linear", result);
    assert_int_equal(count_all(&b), 1);
    bert_node *linear = only(&b, BERT_OP_BERTC_Linear);
    assert_ptr_equal(linear->inputs[BERT_LINEAR_WEIGHT(0)], w);
    assert_int_equal(BERT_NODE_INT(linear, "transpose", 0), 1);
    finish(&b);
}

static void activations_join_their_linear(void **state) {
    static const struct {
        bert_op_id op;
        const char *name;
        float alpha;
    } cases[] = {{BERT_OP_Gelu, "gelu", 0},
                 {BERT_OP_Tanh, "tanh", 0},
                 {BERT_OP_Relu, "relu", 0},
                 {BERT_OP_MS_QuickGelu, "quick_gelu", 0},
                 {BERT_OP_MS_QuickGelu, "quick_gelu", 1.702F},
                 {BERT_OP_MS_QuickGelu, "silu", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        builder b = start(20);
        bert_value *product = OP(&b, MatMul, input(&b, "x", BERT_FLOAT, "batch sequence 8"), weight(&b, 8, 6));
        bert_value *sum = OP(&b, Add, product, weight(&b, 6, 0));
        const bert_attribute alpha = BERT_FLOAT_ATTRIBUTE("alpha", cases[i].alpha);
        bert_value *result = node(&b, cases[i].op, &alpha, cases[i].alpha != 0, &sum, 1);
        RUN(&b, "linear", result);
        assert_int_equal(count_all(&b), 1);
        assert_string_equal(BERT_NODE_STRING(only(&b, BERT_OP_BERTC_Linear), "activation", "none"), cases[i].name);
        finish(&b);
    }
}

static void an_activation_stays_when_what_goes_into_it_is_read_elsewhere(void **state) {
    builder b = start(20);
    bert_value *product = OP(&b, MatMul, input(&b, "x", BERT_FLOAT, "batch sequence 8"), weight(&b, 8, 6));
    bert_value *sum = OP(&b, Add, product, weight(&b, 6, 0)), *result = OP(&b, Tanh, sum);
    RUN(&b, "linear", result, sum);
    assert_int_equal(count_all(&b), 2);
    assert_string_equal(BERT_NODE_STRING(only(&b, BERT_OP_BERTC_Linear), "activation", "none"), "none");
    assert_non_null(only(&b, BERT_OP_BERTC_Linear)->inputs[BERT_LINEAR_BIAS(0)]);
    finish(&b);
}

static void a_product_that_leaves_the_graph_keeps_its_bias_apart(void **state) {
    builder b = start(17);
    bert_value *product = OP(&b, MatMul, input(&b, "x", BERT_FLOAT, "batch sequence 8"), weight(&b, 8, 6));
    bert_value *sum = OP(&b, Add, product, weight(&b, 6, 0));
    RUN(&b, "linear", product, sum);
    assert_int_equal(count_all(&b), 2);
    assert_null(only(&b, BERT_OP_BERTC_Linear)->inputs[BERT_LINEAR_BIAS(0)]);
    finish(&b);
}

static void an_addend_that_is_no_row_vector_is_no_bias(void **state) {
    for (int form = 0; form < 2; form++) {
        builder b = start(17);
        bert_value *product = OP(&b, MatMul, input(&b, "x", BERT_FLOAT, "batch 6 8"), weight(&b, 8, 6));
        bert_value *addend = form ? input(&b, "y", BERT_FLOAT, "6") : tensor(&b, 2, (int64_t[]){6, 1});
        bert_value *sum = OP(&b, Add, product, addend);
        RUN(&b, "linear", sum);
        assert_int_equal(count_all(&b), 2);
        assert_null(only(&b, BERT_OP_BERTC_Linear)->inputs[BERT_LINEAR_BIAS(0)]);
        finish(&b);
    }
}

static void a_product_of_two_activations_is_no_linear(void **state) {
    builder b = start(17);
    bert_value *result =
        OP(&b, MatMul, input(&b, "x", BERT_FLOAT, "batch 4 8"), input(&b, "y", BERT_FLOAT, "batch 8 4"));
    RUN(&b, "linear", result);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Linear), 0);
    finish(&b);
}

static void a_weight_of_rank_3_is_no_linear(void **state) {
    builder b = start(17);
    bert_value *result =
        OP(&b, MatMul, input(&b, "x", BERT_FLOAT, "4 sequence 8"), tensor(&b, 3, (int64_t[]){4, 8, 6}));
    RUN(&b, "linear", result);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Linear), 0);
    assert_int_equal(b.report.miss_count, 1);
    finish(&b);
}

static void gemm_becomes_linear(void **state) {
    for (int transposed = 0; transposed < 2; transposed++) {
        builder b = start(17);
        bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("transB", transposed), BERT_FLOAT_ATTRIBUTE("alpha", 0.25F)};
        bert_value *inputs[] = {input(&b, "x", BERT_FLOAT, "batch 8"), transposed ? weight(&b, 6, 8) : weight(&b, 8, 6),
                                tensor(&b, 2, (int64_t[]){1, 6})};
        bert_value *result = OP(&b, Tanh, node(&b, BERT_OP_Gemm, attributes, 2, inputs, 3));
        RUN(&b, "linear", result);
        assert_int_equal(count_all(&b), 1);
        bert_node *linear = only(&b, BERT_OP_BERTC_Linear);
        assert_int_equal(BERT_NODE_INT(linear, "transpose", 9), transposed);
        assert_true(BERT_NODE_FLOAT(linear, "alpha", 1) == 0.25F);
        assert_int_equal(linear->inputs[BERT_LINEAR_BIAS(0)]->info.shape.rank, 1);
        finish(&b);
    }
}

static void a_gemm_of_another_form_is_left_alone(void **state) {
    for (int form = 0; form < 3; form++) {
        builder b = start(17);
        bert_attribute attribute =
            form == 0 ? BERT_INT_ATTRIBUTE("transA", 1) : BERT_FLOAT_ATTRIBUTE("beta", form == 1 ? 0.5F : 1);
        bert_value *inputs[] = {input(&b, "x", BERT_FLOAT, form == 0 ? "8 5" : "5 8"), weight(&b, 8, 6),
                                form == 2 ? weight(&b, 5, 6) : weight(&b, 6, 0)};
        bert_value *result = node(&b, BERT_OP_Gemm, &attribute, 1, inputs, 3);
        RUN(&b, "linear", result);
        assert_int_equal(count_nodes(&b, BERT_OP_Gemm), 1);
        assert_int_equal(b.report.miss_count, 1);
        finish(&b);
    }
}

/* ---- Embedding ------------------------------------------------------------------------------------------------------
 */

typedef struct lookups {
    bert_value *words, *positions, *types; /* Rows. */
    bert_value *word_ids, *position_ids, *type_ids;
} lookups;

static lookups look_up(builder *b, const char *position_dims) {
    lookups l = {.word_ids = input(b, "input_ids", BERT_INT64, "batch sequence"),
                 .type_ids = input(b, "token_type_ids", BERT_INT64, "batch sequence"),
                 .position_ids = input(b, "position_ids", BERT_INT64, position_dims)};
    l.words = OP(b, Gather, weight(b, 30, 8), l.word_ids);
    l.types = OP(b, Gather, weight(b, 2, 8), l.type_ids);
    l.positions = OP(b, Gather, weight(b, 16, 8), l.position_ids);
    return l;
}

static bert_value *normalize(builder *b, bert_value *x) {
    bert_attribute epsilon = BERT_FLOAT_ATTRIBUTE("epsilon", 1e-12F);
    return OP_WITH(b, LayerNormalization, epsilon, x, weight(b, 8, 0), weight(b, 8, 0));
}

static void a_sum_of_lookups_in_any_order_becomes_embedding(void **state) {
    static const char *const position_dims[] = {"1 sequence", "batch sequence", "sequence"};
    for (int order = 0; order < 6; order++) {
        for (int p = 0; p < 3; p++) {
            builder b = start(17);
            lookups l = look_up(&b, position_dims[p]);
            bert_value *rows[3] = {l.words, l.types, l.positions};
            bert_value *first = rows[order % 3], *second = rows[(order + 1 + order / 3) % 3];
            bert_value *third = rows[(order + 2 - order / 3) % 3];
            bert_value *result = normalize(&b, OP(&b, Add, OP(&b, Add, first, second), third));
            RUN(&b, "embedding", result);
            assert_int_equal(count_all(&b), p == 2 ? 2 : 1);
            bert_node *embedding = only(&b, BERT_OP_BERTC_Embedding);
            assert_ptr_equal(embedding->inputs[BERT_EMBEDDING_WORD_IDS], l.word_ids);
            assert_ptr_equal(embedding->inputs[BERT_EMBEDDING_TYPE_IDS], l.type_ids);
            if (p < 2) assert_ptr_equal(embedding->inputs[BERT_EMBEDDING_POSITION_IDS], l.position_ids);
            assert_int_equal(embedding->inputs[BERT_EMBEDDING_POSITION_IDS]->info.shape.rank, 2);
            assert_non_null(embedding->inputs[BERT_EMBEDDING_GAMMA]);
            assert_true(BERT_NODE_FLOAT(embedding, "epsilon", 0) == 1e-12F);
            finish(&b);
        }
    }
}

/* The first `rows` of constant positions, cut to the sequence: [1, min(sequence, rows)]. */
static bert_value *cut_positions(builder *b, bert_value *ids, int64_t rows) {
    int64_t numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    bert_value *positions = OP(b, Unsqueeze, ints(b, (int32_t)rows, numbers), INTS(b, 0));
    bert_value *length = OP(b, Gather, OP(b, Shape, ids), INTS(b, 1));
    return OP(b, Slice, positions, INTS(b, 0), length, INTS(b, 1));
}

static void positions_cut_to_the_sequence_are_ids(void **state) {
    for (int rows = 1; rows <= 16; rows += 15) {
        builder b = start(17);
        bert_value *ids = input(&b, "input_ids", BERT_INT64, "batch sequence");
        bert_value *words = OP(&b, Gather, weight(&b, 30, 8), ids);
        bert_value *positions = OP(&b, Gather, weight(&b, 16, 8), cut_positions(&b, ids, rows));
        bert_value *result = normalize(&b, OP(&b, Add, words, positions));
        RUN(&b, "embedding", result);
        /* One row broadcasts: that is something else. */
        assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Embedding), rows > 1);
        finish(&b);
    }
}

static void two_tables_are_enough_and_the_norm_may_be_missing(void **state) {
    builder b = start(17);
    lookups l = look_up(&b, "1 sequence");
    bert_value *sum = OP(&b, Add, l.positions, l.words);
    RUN(&b, "embedding", sum);
    bert_node *embedding = only(&b, BERT_OP_BERTC_Embedding);
    assert_null(embedding->inputs[BERT_EMBEDDING_TYPE_IDS]);
    assert_null(embedding->inputs[BERT_EMBEDDING_GAMMA]);
    finish(&b);
}

static void three_tables_without_norm_become_one_embedding(void **state) {
    builder b = start(17);
    lookups l = look_up(&b, "1 sequence");
    bert_value *sum = OP(&b, Add, OP(&b, Add, l.words, l.types), l.positions);
    RUN(&b, "embedding", sum);
    assert_int_equal(count_all(&b), 1);
    finish(&b);
}

static void a_sum_with_something_else_is_no_embedding(void **state) {
    builder b = start(17);
    lookups l = look_up(&b, "1 sequence");
    bert_value *other = input(&b, "inputs_embeds", BERT_FLOAT, "batch sequence 8");
    bert_value *result = normalize(&b, OP(&b, Add, OP(&b, Add, l.words, other), l.positions));
    RUN(&b, "embedding", result);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Embedding), 0);
    assert_true(b.report.miss_count > 0);
    finish(&b);
}

static void rows_that_leave_the_graph_are_no_embedding(void **state) {
    builder b = start(17);
    lookups l = look_up(&b, "1 sequence");
    bert_value *result = normalize(&b, OP(&b, Add, l.words, l.positions));
    RUN(&b, "embedding", result, l.words);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Embedding), 0);
    finish(&b);
}

static void columns_of_a_table_are_no_embedding(void **state) {
    builder b = start(17);
    lookups l = look_up(&b, "1 sequence");
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 1);
    bert_value *columns = OP_WITH(&b, Gather, axis, weight(&b, 8, 20), l.word_ids);
    bert_value *result = normalize(&b, OP(&b, Add, OP(&b, Reshape, columns, OP(&b, Shape, l.words)), l.positions));
    RUN(&b, "embedding", result);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Embedding), 0);
    finish(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_product_with_a_bias_in_either_place_becomes_linear),
        cmocka_unit_test(a_product_without_bias_becomes_linear),
        cmocka_unit_test(a_transposed_weight_is_read_through),
        cmocka_unit_test(activations_join_their_linear),
        cmocka_unit_test(an_activation_stays_when_what_goes_into_it_is_read_elsewhere),
        cmocka_unit_test(a_product_that_leaves_the_graph_keeps_its_bias_apart),
        cmocka_unit_test(an_addend_that_is_no_row_vector_is_no_bias),
        cmocka_unit_test(a_product_of_two_activations_is_no_linear),
        cmocka_unit_test(a_weight_of_rank_3_is_no_linear),
        cmocka_unit_test(gemm_becomes_linear),
        cmocka_unit_test(a_gemm_of_another_form_is_left_alone),
        cmocka_unit_test(a_sum_of_lookups_in_any_order_becomes_embedding),
        cmocka_unit_test(positions_cut_to_the_sequence_are_ids),
        cmocka_unit_test(two_tables_are_enough_and_the_norm_may_be_missing),
        cmocka_unit_test(three_tables_without_norm_become_one_embedding),
        cmocka_unit_test(a_sum_with_something_else_is_no_embedding),
        cmocka_unit_test(rows_that_leave_the_graph_are_no_embedding),
        cmocka_unit_test(columns_of_a_table_are_no_embedding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
