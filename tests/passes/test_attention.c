/* Attention from its spellings, packed query/key/value, masks, and what must be left alone. */
#include "tests/passes/builder.h"

#include "core/graph/canonical.h"

#include <math.h>

#define HEADS 4
#define SIZE 16
#define WIDTH (HEADS * SIZE)

typedef enum mask_form { MASK_NONE, MASK_ADD, MASK_WHERE_KEEP, MASK_WHERE_DROP } mask_form;

/* How an attention is spelled; all zero is transformers 4.30's form with B, S, H, D and a division by 4. */
typedef struct spelling {
    bool scale_operands; /* sqrt of the scale on both query and key, as scaled-dot-product attention has it. */
    bool scale_query;    /* The whole scale on the query. */
    bool guard;          /* Where(IsNaN(p), 0, p). */
    bool swapped;        /* Operands of Mul and Add. */
    bool three;          /* Batch and heads joined. */
    bool key_in_steps;   /* Key transposed twice, by way of three dimensions. */
    bool later_scale;    /* Near miss: the scale after the mask. */
    bool wrong_heads;    /* Near miss: the result's heads and positions not swapped back. */
    int64_t axis;        /* Of Softmax; 0 stands for -1. */
    mask_form mask;
} spelling;

typedef struct attention_values {
    bert_value *x, *q, *k, *v, *mask, *scores, *probabilities, *result;
} attention_values;

static bert_value *project(builder *b, bert_value *x) {
    return OP(b, Add, weight(b, WIDTH, 0), OP(b, MatMul, x, weight(b, WIDTH, WIDTH)));
}

static bert_value *commute(builder *b, bert_op_id id, bool swapped, bert_value *a, bert_value *c) {
    bert_value *operands[2] = {swapped ? c : a, swapped ? a : c};
    return node(b, id, NULL, 0, operands, 2);
}

/* [batch, heads, sequence, size] of [batch, sequence, width]. */
static bert_value *heads_of(builder *b, bert_value *x) {
    return transpose(b, RESHAPE(b, x, 0, 0, HEADS, SIZE), 0, 2, 1, 3);
}

static bert_value *transpose_last(builder *b, bert_value *x) {
    bert_attribute perm = INTS_ATTRIBUTE("perm", 0, 2, 1);
    return OP_WITH(b, Transpose, perm, x);
}

static bert_value *joined(builder *b, bert_value *heads, spelling s) {
    if (!s.three) return heads;
    /* [-1, sequence, size] by arithmetic on the shape of what is at hand. */
    bert_value *length = OP(b, Gather, OP(b, Shape, heads), INTS(b, 2));
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 0);
    bert_value *target = OP_WITH(b, Concat, axis, INTS(b, -1), length, INTS(b, SIZE));
    return OP(b, Reshape, heads, target);
}

static bert_value *key_view(builder *b, bert_value *k, spelling s) {
    if (s.three) return transpose_last(b, joined(b, heads_of(b, k), s));
    if (!s.key_in_steps) return transpose(b, RESHAPE(b, k, 0, 0, HEADS, SIZE), 0, 2, 3, 1);
    bert_value *heads = heads_of(b, k), *shape = OP(b, Shape, heads);
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 0);
    bert_value *flat =
        OP_WITH(b, Concat, axis, INTS(b, -1), OP(b, Gather, shape, INTS(b, 2)), OP(b, Gather, shape, INTS(b, 3)));
    bert_value *target = OP(b, Gather, shape, INTS(b, 0, 1, 3, 2));
    return OP(b, Reshape, transpose_last(b, OP(b, Reshape, heads, flat)), target);
}

static bert_value *scale(builder *b, bert_value *x, float factor, bool swapped) {
    return commute(b, BERT_OP_Mul, swapped, x, scalar(b, factor));
}

static bert_value *masked(builder *b, attention_values *v, bert_value *scores, spelling s) {
    switch (s.mask) {
    case MASK_ADD:
        v->mask = input(b, "mask", BERT_FLOAT, "batch 1 1 sequence");
        return commute(b, BERT_OP_Add, s.swapped, scores, v->mask);
    case MASK_WHERE_KEEP:
        v->mask = input(b, "mask", BERT_BOOL, "batch 1 1 sequence");
        return OP(b, Where, v->mask, scores, scalar(b, -1e9F));
    case MASK_WHERE_DROP:
        v->mask = input(b, "mask", BERT_BOOL, "batch 1 1 sequence");
        return OP(b, Where, v->mask, scalar(b, -1e9F), scores);
    default:
        return scores;
    }
}

static bert_value *put_back(builder *b, bert_value *context, spelling s) {
    if (s.three) {
        bert_value *sequence = OP(b, Gather, OP(b, Shape, context), INTS(b, 1));
        bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 0);
        bert_value *target = OP_WITH(b, Concat, axis, INTS(b, -1), INTS(b, HEADS), sequence, INTS(b, SIZE));
        context = OP(b, Reshape, context, target);
    }
    if (s.wrong_heads) {
        bert_value *batch_first = transpose(b, context, 0, 1, 2, 3);
        bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 0);
        bert_value *shape = OP(b, Shape, batch_first);
        bert_value *target = OP_WITH(b, Concat, axis, OP(b, Gather, shape, INTS(b, 0, 2)), INTS(b, WIDTH));
        return OP(b, Reshape, batch_first, target);
    }
    return RESHAPE(b, transpose(b, context, 0, 2, 1, 3), 0, 0, WIDTH);
}

static attention_values spell(builder *b, spelling s) {
    attention_values v = {.x = input(b, "x", BERT_FLOAT, "batch sequence 64")};
    v.q = project(b, v.x);
    v.k = project(b, v.x);
    v.v = project(b, v.x);
    bert_value *q = joined(b, heads_of(b, v.q), s), *k = key_view(b, v.k, s), *values = joined(b, heads_of(b, v.v), s);
    if (s.scale_operands || s.scale_query) q = scale(b, q, s.scale_query ? 0.25F : 0.5F, s.swapped);
    if (s.scale_operands) k = scale(b, k, 0.5F, s.swapped);
    v.scores = OP(b, MatMul, q, k);
    if (!s.scale_operands && !s.scale_query && !s.later_scale) v.scores = OP(b, Div, v.scores, scalar(b, 4));
    bert_value *scores = masked(b, &v, v.scores, s);
    if (s.later_scale) scores = OP(b, Div, scores, scalar(b, 4));
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", s.axis ? s.axis : -1);
    v.probabilities = OP_WITH(b, Softmax, axis, scores);
    bert_value *weights = v.probabilities;
    if (s.guard) weights = OP(b, Where, OP(b, IsNaN, v.probabilities), scalar(b, 0), v.probabilities);
    v.result = put_back(b, OP(b, MatMul, weights, values), s);
    return v;
}

/* Shapes first, as in the list of passes: then attention alone. */
static void run_attention(builder *b, bert_value *const *outputs, int32_t count) {
    run(b, "shapes", outputs, count);
    run(b, "attention", outputs, count);
}

static bert_node *expect_attention(builder *b, const attention_values *v) {
    run_attention(b, (bert_value *[]){v->result}, 1);
    bert_node *attention = only(b, BERT_OP_BERTC_Attention);
    assert_int_equal(count_nodes(b, BERT_OP_Softmax), 0);
    assert_int_equal(count_nodes(b, BERT_OP_Reshape), 0);
    assert_int_equal(count_nodes(b, BERT_OP_Transpose), 0);
    assert_int_equal(count_nodes(b, BERT_OP_MatMul), 3);
    assert_ptr_equal(attention->inputs[BERT_ATTENTION_Q], v->q);
    assert_ptr_equal(attention->inputs[BERT_ATTENTION_K], v->k);
    assert_ptr_equal(attention->inputs[BERT_ATTENTION_V], v->v);
    assert_ptr_equal(attention->outputs[0], v->result);
    assert_int_equal(BERT_NODE_INT(attention, "heads", 0), HEADS);
    assert_true(fabsf(BERT_NODE_FLOAT(attention, "scale", 0) - 0.25F) < 1e-6F);
    return attention;
}

static void every_spelling_becomes_one_attention(void **state) {
    for (int bits = 0; bits < 32; bits++) {
        for (mask_form mask = MASK_NONE; mask <= MASK_WHERE_DROP; mask++) {
            builder b = start(17);
            attention_values v = spell(&b, (spelling){.scale_operands = bits & 1,
                                                      .scale_query = bits & 2,
                                                      .guard = bits & 4,
                                                      .swapped = bits & 8,
                                                      .key_in_steps = bits & 16,
                                                      .mask = mask});
            if ((bits & 3) == 3) {
                finish(&b);
                continue;
            }
            bert_node *attention = expect_attention(&b, &v);
            assert_string_equal(BERT_NODE_STRING(attention, "masked_rows", ""), bits & 4 ? "zero" : "nan");
            assert_ptr_equal(attention->inputs[BERT_ATTENTION_BIAS], mask == MASK_ADD ? v.mask : NULL);
            bert_value *boolean_mask = attention->inputs[BERT_ATTENTION_MASK];
            if (mask == MASK_WHERE_KEEP) assert_ptr_equal(boolean_mask, v.mask);
            if (mask == MASK_WHERE_DROP) assert_ptr_equal(boolean_mask->producer->inputs[0], v.mask);
            if (mask >= MASK_WHERE_KEEP) assert_true(BERT_NODE_FLOAT(attention, "mask_value", 0) == -1e9F);
            assert_int_equal(count_nodes(&b, BERT_OP_Not), mask == MASK_WHERE_DROP);
            finish(&b);
        }
    }
}

static void joined_batch_and_heads_become_attention(void **state) {
    for (int guard = 0; guard < 2; guard++) {
        builder b = start(17);
        attention_values v = spell(&b, (spelling){.three = true, .guard = guard});
        expect_attention(&b, &v);
        finish(&b);
    }
}

static void two_biases_are_summed(void **state) {
    builder b = start(17);
    attention_values v = {.x = input(&b, "x", BERT_FLOAT, "batch sequence 64")};
    bert_value *scores =
        OP(&b, MatMul, heads_of(&b, v.x), transpose(&b, RESHAPE(&b, v.x, 0, 0, HEADS, SIZE), 0, 2, 3, 1));
    bert_value *mask = input(&b, "mask", BERT_FLOAT, "batch 1 1 sequence");
    bert_value *position = input(&b, "position", BERT_FLOAT, "4 sequence sequence");
    scores = OP(&b, Add, mask, OP(&b, Add, scores, position));
    v.result = put_back(&b, OP(&b, MatMul, OP(&b, Softmax, scores), heads_of(&b, v.x)), (spelling){0});
    run_attention(&b, &v.result, 1);
    bert_node *attention = only(&b, BERT_OP_BERTC_Attention);
    bert_value *bias = attention->inputs[BERT_ATTENTION_BIAS];
    assert_int_equal(bias->info.shape.rank, 4);
    assert_true(bias->producer->op->id == BERT_OP_Add);
    assert_true(BERT_NODE_FLOAT(attention, "scale", 0) == 1);
    finish(&b);
}

static void expect_no_attention(spelling s, int leaks) {
    builder b = start(17);
    attention_values v = spell(&b, s);
    bert_value *outputs[] = {v.result, leaks == 1 ? v.probabilities : v.scores};
    run_attention(&b, outputs, leaks ? 2 : 1);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Attention), 0);
    assert_int_equal(count_nodes(&b, BERT_OP_Softmax), 1);
    assert_true(b.report.miss_count > 0);
    finish(&b);
}

static void near_attentions_are_left_alone(void **state) {
    expect_no_attention((spelling){.later_scale = true, .mask = MASK_ADD}, 0);
    expect_no_attention((spelling){.wrong_heads = true}, 0);
    expect_no_attention((spelling){.axis = 2}, 0);
}

static void probabilities_and_scores_that_leave_the_graph_keep_it_plain(void **state) {
    expect_no_attention((spelling){0}, 1);
    expect_no_attention((spelling){.guard = true}, 1);
    expect_no_attention((spelling){.mask = MASK_ADD}, 2);
}

static void a_mask_that_does_not_broadcast_for_certain_is_left_alone(void **state) {
    builder b = start(17);
    attention_values v = {.x = input(&b, "x", BERT_FLOAT, "batch sequence 64")};
    bert_value *scores =
        OP(&b, MatMul, heads_of(&b, v.x), transpose(&b, RESHAPE(&b, v.x, 0, 0, HEADS, SIZE), 0, 2, 3, 1));
    scores = OP(&b, Add, scores, input(&b, "mask", BERT_FLOAT, "batch 1 1 other"));
    v.result = put_back(&b, OP(&b, MatMul, OP(&b, Softmax, scores), heads_of(&b, v.x)), (spelling){0});
    run_attention(&b, &v.result, 1);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Attention), 0);
    finish(&b);
}

/* ---- Query, key and value in one ------------------------------------------------------------------------------------
 */

static void run_to_qkv(builder *b, bert_value *result) {
    static const char *const passes[] = {"shapes", "linear", "attention", "qkv"};
    for (int i = 0; i < 4; i++) RUN(b, passes[i], result);
}

static void three_projections_of_one_input_are_packed(void **state) {
    builder b = start(17);
    attention_values v = spell(&b, (spelling){.mask = MASK_ADD});
    run_to_qkv(&b, v.result);
    assert_int_equal(count_all(&b), 2);
    bert_node *linear = only(&b, BERT_OP_BERTC_Linear), *attention = only(&b, BERT_OP_BERTC_Attention);
    assert_int_equal(BERT_NODE_INT(linear, "parts", 0), 3);
    assert_int_equal(BERT_NODE_INT(attention, "packed", 0), 1);
    assert_int_equal(BERT_NODE_INT(attention, "heads", 0), HEADS);
    assert_ptr_equal(attention->inputs[BERT_ATTENTION_BIAS], v.mask);
    assert_null(attention->inputs[BERT_ATTENTION_K]);
    assert_int_equal(bert_value_dim(linear->outputs[0], -1), 3 * WIDTH);
    finish(&b);
}

/* Attention over what a Split cuts along the last dimension; `swapped`: into key, query and value. */
static bert_value *over_split(builder *b, bool swapped) {
    bert_value *x = input(b, "x", BERT_FLOAT, "batch sequence 192"), *parts[3];
    split(b, x, -1, 3, parts);
    bert_value *q = parts[swapped], *k = parts[!swapped];
    bert_value *scores = OP(b, MatMul, heads_of(b, q), transpose(b, RESHAPE(b, k, 0, 0, HEADS, SIZE), 0, 2, 3, 1));
    return put_back(b, OP(b, MatMul, OP(b, Softmax, scores), heads_of(b, parts[2])), (spelling){0});
}

static void what_is_split_into_query_key_and_value_is_packed(void **state) {
    builder b = start(17);
    bert_value *result = over_split(&b, false);
    run_to_qkv(&b, result);
    assert_int_equal(count_all(&b), 1);
    bert_node *attention = only(&b, BERT_OP_BERTC_Attention);
    assert_int_equal(BERT_NODE_INT(attention, "packed", 0), 1);
    assert_string_equal(attention->inputs[BERT_ATTENTION_Q]->name, "x");
    assert_null(attention->inputs[BERT_ATTENTION_K]);
    finish(&b);
}

static void another_order_of_the_parts_is_not_packed(void **state) {
    builder b = start(17);
    bert_value *result = over_split(&b, true);
    run_to_qkv(&b, result);
    assert_int_equal(BERT_NODE_INT(only(&b, BERT_OP_BERTC_Attention), "packed", 0), 0);
    assert_int_equal(count_nodes(&b, BERT_OP_Split), 1);
    finish(&b);
}

static void a_projection_that_leaves_the_graph_is_not_packed(void **state) {
    builder b = start(17);
    attention_values v = spell(&b, (spelling){0});
    static const char *const passes[] = {"shapes", "linear", "attention", "qkv"};
    for (int i = 0; i < 4; i++) RUN(&b, passes[i], v.result, v.k);
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Linear), 3);
    assert_int_equal(BERT_NODE_INT(only(&b, BERT_OP_BERTC_Attention), "packed", 0), 0);
    finish(&b);
}

/* ---- Masks ----------------------------------------------------------------------------------------------------------
 */

/* Attention over a boolean mask, that is expanded over queries and joined with `condition`. */
static bert_value *over_expanded_mask(builder *b, bert_value *condition) {
    bert_value *x = input(b, "x", BERT_FLOAT, "batch sequence 64");
    bert_value *mask = input(b, "mask", BERT_BOOL, "batch 1 1 sequence");
    if (condition) mask = OP(b, And, condition, mask);
    bert_value *shape = OP(b, Shape, x);
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 0);
    bert_value *target = OP_WITH(b, Concat, axis, OP(b, Gather, shape, INTS(b, 0)), INTS(b, 1),
                                 OP(b, Gather, shape, INTS(b, 1)), OP(b, Gather, shape, INTS(b, 1)));
    bert_value *bias = OP(b, Where, OP(b, Expand, mask, target), scalar(b, 0), scalar(b, -INFINITY));
    bert_value *scores = OP(b, MatMul, heads_of(b, x), transpose(b, RESHAPE(b, x, 0, 0, HEADS, SIZE), 0, 2, 3, 1));
    return put_back(b, OP(b, MatMul, OP(b, Softmax, OP(b, Add, scores, bias)), heads_of(b, x)), (spelling){0});
}

static bert_value *mask_after_all(builder *b, bert_value *result) {
    run_attention(b, &result, 1);
    RUN(b, "mask", result);
    return only(b, BERT_OP_BERTC_Attention)->inputs[BERT_ATTENTION_BIAS];
}

/* Range(0, sequence) >= `least`, as [1, 1, sequence, 1]. */
static bert_value *positions_at_least(builder *b, int64_t least) {
    bert_value *length = OP(b, Gather, OP(b, Shape, input(b, "ids", BERT_INT64, "batch sequence")), INT(b, 1));
    bert_value *range = OP(b, Range, INT(b, 0), length, INT(b, 1));
    return OP(b, GreaterOrEqual, OP(b, Unsqueeze, range, INTS(b, 0, 1, 3)), INT(b, least));
}

static void an_expanded_mask_is_narrowed(void **state) {
    builder b = start(17);
    bert_value *bias = mask_after_all(&b, over_expanded_mask(&b, NULL));
    assert_true(bert_value_dim(bias, 2) == 1);
    assert_int_equal(count_nodes(&b, BERT_OP_Expand), 0);
    finish(&b);
}

static void a_condition_that_always_holds_goes(void **state) {
    builder b = start(17);
    bert_value *bias = mask_after_all(&b, over_expanded_mask(&b, positions_at_least(&b, 0)));
    assert_true(bert_value_dim(bias, 2) == 1);
    assert_int_equal(count_nodes(&b, BERT_OP_And), 0);
    assert_int_equal(count_nodes(&b, BERT_OP_Range), 0);
    finish(&b);
}

static void a_condition_that_may_fail_stays(void **state) {
    builder b = start(17);
    bert_value *bias = mask_after_all(&b, over_expanded_mask(&b, positions_at_least(&b, 1)));
    assert_true(bert_value_dim(bias, 2) != 1);
    assert_int_equal(count_nodes(&b, BERT_OP_And), 1);
    finish(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_spelling_becomes_one_attention),
        cmocka_unit_test(joined_batch_and_heads_become_attention),
        cmocka_unit_test(two_biases_are_summed),
        cmocka_unit_test(near_attentions_are_left_alone),
        cmocka_unit_test(probabilities_and_scores_that_leave_the_graph_keep_it_plain),
        cmocka_unit_test(a_mask_that_does_not_broadcast_for_certain_is_left_alone),
        cmocka_unit_test(three_projections_of_one_input_are_packed),
        cmocka_unit_test(what_is_split_into_query_key_and_value_is_packed),
        cmocka_unit_test(another_order_of_the_parts_is_not_packed),
        cmocka_unit_test(a_projection_that_leaves_the_graph_is_not_packed),
        cmocka_unit_test(an_expanded_mask_is_narrowed),
        cmocka_unit_test(a_condition_that_always_holds_goes),
        cmocka_unit_test(a_condition_that_may_fail_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
