/* Pool from the means that sentence-transformers' models end in, what brings them to length 1, and near misses. */
#include "core/graph/canonical.h"
#include "tests/passes/twice.h"

#include <math.h>

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})

enum { BATCH = 3, LENGTH = 5, WIDTH = 4 };

/* How the mask gets to the tokens. */
typedef enum weights_form {
    EXPAND_THEN_CAST, /* Expand(Unsqueeze(mask)), then Cast */
    CAST_THEN_EXPAND,
    NOT_EXPANDED,
    RESHAPED, /* Reshape in place of Unsqueeze */
    NO_CAST,  /* the mask is float */
    OF_ANOTHER_SHAPE,
    OF_SQUARES, /* weights are the square of the mask: made of it, and not it */
    THROUGH_BOOL,
    WEIGHTS
} weights_form;

/* How the divisor is made. */
typedef enum count_form {
    SAME_WEIGHTS, /* of what the tokens are multiplied with */
    OF_INTEGERS,  /* Cast of a sum over the mask itself, [B, 1] */
    CAST_LAST,    /* the same, bounded before it is cast */
    OF_ANOTHER_MASK,
    OF_ANOTHER_AXIS,
    UNBOUNDED,
    BOUNDED_ABOVE,
    LENGTH_OF_ROOT, /* the root of the sum, as mean_sqrt_len has it */
    COUNTS
} count_form;

/* What follows. */
typedef enum end_form {
    AS_IT_IS,
    BY_L2,
    BY_SQUARES,    /* Sqrt(ReduceSum(y * y)) */
    BY_POWERS,     /* Sqrt(ReduceSum(Pow(y, 2))) */
    BY_SUM_SQUARE, /* Sqrt(ReduceSumSquare(y)), not expanded */
    BY_L1,
    OVER_THE_BATCH,
    BOUNDED_BY_MORE,
    BY_NO_BOUND,
    OF_ANOTHER,
    ENDS
} end_form;

typedef struct pool_spec {
    weights_form weights;
    count_form count;
    end_form end;
    bool swapped, by_max;
    double epsilon; /* 0: 1e-9 */
} pool_spec;

static bert_value *sum(builder *b, bert_value *x, int64_t axis, int64_t keepdims) {
    const bert_attribute keep = BERT_INT_ATTRIBUTE("keepdims", keepdims);
    return OP_WITH(b, ReduceSum, keep, x, INTS(b, axis));
}

static bert_value *at_least(builder *b, bert_value *x, float least, bool by_max) {
    return by_max ? OP(b, Max, scalar(b, least), x) : OP(b, Clip, x, scalar(b, least));
}

static bert_value *expand_like(builder *b, bert_value *x, bert_value *like) {
    return OP(b, Expand, x, OP(b, Shape, like));
}

static bert_value *make_weights(builder *b, const pool_spec *s, bert_value *x, bert_value *mask) {
    if (s->weights == CAST_THEN_EXPAND) mask = cast(b, mask, BERT_FLOAT);
    if (s->weights == THROUGH_BOOL) mask = cast(b, mask, BERT_BOOL);
    if (s->weights == OF_SQUARES) mask = OP(b, Mul, mask, mask);
    bert_value *rows = s->weights == OF_ANOTHER_SHAPE ? OP(b, Unsqueeze, mask, INTS(b, 0))
                       : s->weights == RESHAPED       ? RESHAPE(b, mask, 0, 0, 1)
                                                      : OP(b, Unsqueeze, mask, INTS(b, -1));
    if (s->weights != NOT_EXPANDED && s->weights != OF_ANOTHER_SHAPE) rows = expand_like(b, rows, x);
    return s->weights == NO_CAST || s->weights == CAST_THEN_EXPAND ? rows : cast(b, rows, BERT_FLOAT);
}

static bert_value *make_count(builder *b, const pool_spec *s, bert_value *weights, bert_value *mask) {
    const float epsilon = s->epsilon != 0 ? (float)s->epsilon : 1e-9F;
    const bert_attribute to_float = BERT_INT_ATTRIBUTE("to", BERT_FLOAT);
    bert_value *count = NULL;
    switch (s->count) {
    case OF_INTEGERS:
        count = OP_WITH(b, Cast, to_float, sum(b, mask, 1, 1));
        break;
    case CAST_LAST:
        return OP_WITH(b, Cast, to_float, OP(b, Clip, sum(b, mask, 1, 1), INT(b, 1)));
    case OF_ANOTHER_MASK:
        count = OP_WITH(b, Cast, to_float, sum(b, input(b, "other", BERT_INT64, "b s"), 1, 1));
        break;
    case OF_ANOTHER_AXIS: /* the sum over all sequences and tokens */
        count = sum(b, weights, 0, 0);
        count = OP(b, ReduceSum, count, INTS(b, 0));
        break;
    case LENGTH_OF_ROOT:
        count = OP(b, Sqrt, sum(b, weights, 1, 0));
        break;
    case BOUNDED_ABOVE:
        return OP(b, Clip, sum(b, weights, 1, 0), scalar(b, epsilon), scalar(b, 3));
    case UNBOUNDED:
        return sum(b, weights, 1, 0);
    default:
        count = sum(b, weights, 1, 0);
    }
    return at_least(b, count, epsilon, s->by_max);
}

static bert_value *make_mean(builder *b, const pool_spec *s, bert_value *x, bert_value *mask) {
    bert_value *weights = make_weights(b, s, x, mask);
    bert_value *product = s->swapped ? OP(b, Mul, weights, x) : OP(b, Mul, x, weights);
    return OP(b, Div, sum(b, product, 1, 0), make_count(b, s, weights, mask));
}

static bert_value *make_length(builder *b, const pool_spec *s, bert_value *y) {
    const bert_attribute over[] = {INTS_ATTRIBUTE("axes", s->end == OVER_THE_BATCH ? 0 : -1)};
    switch (s->end) {
    case BY_SQUARES:
        return OP(b, Sqrt, sum(b, OP(b, Mul, y, y), 1, 1));
    case BY_POWERS:
        return OP(b, Sqrt, sum(b, OP(b, Pow, y, scalar(b, 2)), -1, 1));
    case BY_SUM_SQUARE:
        return OP(b, Sqrt, OP_WITH(b, ReduceSumSquare, over[0], y));
    case BY_L1:
        return OP_WITH(b, ReduceL1, over[0], y);
    case OF_ANOTHER:
        return OP_WITH(b, ReduceL2, over[0], OP(b, Neg, y));
    default:
        return OP_WITH(b, ReduceL2, over[0], y);
    }
}

static bert_value *make_end(builder *b, const pool_spec *s, bert_value *y) {
    if (s->end == AS_IT_IS) return y;
    bert_value *length = make_length(b, s, y);
    if (s->end != BY_NO_BOUND) length = at_least(b, length, s->end == BOUNDED_BY_MORE ? 1 : 1e-12F, s->by_max);
    return OP(b, Div, y, s->end == BY_SUM_SQUARE ? length : expand_like(b, length, y));
}

static void make(builder *b, const void *spec) {
    const pool_spec *s = spec;
    bert_value *x = input(b, "x", BERT_FLOAT, "b s 4");
    bert_value *mask = input(b, "mask", s->weights == NO_CAST ? BERT_FLOAT : BERT_INT64, "b s");
    bert_value *y = make_end(b, s, make_mean(b, s, x, mask));
    declare(b, &y, 1);
}

/* ---- With and without the pass -------------------------------------------------------------------------------------
 */

static float numbers[BATCH * LENGTH * WIDTH];
static int64_t mask[BATCH * LENGTH], other[BATCH * LENGTH];
static float float_mask[BATCH * LENGTH];

/* Masks of 0 and 1 with a sequence that has none, and (`odd`) of other numbers. */
static void fill(bool odd) {
    for (int i = 0; i < BATCH * LENGTH * WIDTH; i++) numbers[i] = (float)((i * 7919 + 13) % 211) / 100 - 1.05F;
    for (int i = 0; i < BATCH * LENGTH; i++) {
        mask[i] = i / LENGTH == 1 ? 0 : i % LENGTH < 4 - i / LENGTH;
        if (odd && i / LENGTH != 1) mask[i] = (i * 5) % 4;
        float_mask[i] = (float)mask[i] / 2;
        other[i] = i % 2 + 1;
    }
}

/* The model with passes; its results are those without. */
static bert_model *run_twice(const pool_spec *s, bool odd) {
    fill(odd);
    const bool floats = s->weights == NO_CAST;
    const bert_named_tensor inputs[] = {twice_input("x", BERT_FLOAT, numbers, 3, DIMS(BATCH, LENGTH, WIDTH)),
                                        twice_input("mask", floats ? BERT_FLOAT : BERT_INT64,
                                                    floats ? (void *)float_mask : mask, 2, DIMS(BATCH, LENGTH)),
                                        twice_input("other", BERT_INT64, other, 2, DIMS(BATCH, LENGTH))};
    return twice(make, s, inputs, s->count == OF_ANOTHER_MASK ? 3 : 2, 1e-6);
}

static void expect(const pool_spec *s, bool pools, bool normalizes) {
    for (int odd = 0; odd < 2; odd++) {
        bert_model *model = run_twice(s, odd);
        const int pool_count = twice_count(model, BERT_OP_BERTC_Pool), divisions = twice_count(model, BERT_OP_Div);
        if (pool_count != pools || divisions != (pools ? 0 : 1) + (s->end != AS_IT_IS && !normalizes))
            fail_msg("weights %d, count %d, end %d: %d Pool, %d Div", s->weights, s->count, s->end, pool_count,
                     divisions);
        BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) {
            if (node->op->id != BERT_OP_BERTC_Pool) continue;
            assert_int_equal(BERT_NODE_INT(node, "normalize", 0), normalizes);
            assert_true(node->inputs[BERT_POOL_X]->graph_input);
            assert_true(node->inputs[BERT_POOL_MASK]->graph_input || s->weights == OF_SQUARES ||
                        s->weights == THROUGH_BOOL);
        }
        bert_model_free(model);
    }
}

static void every_spelling_of_a_masked_mean_becomes_one_node(void **state) {
    for (int weights = 0; weights < WEIGHTS; weights++) {
        if (weights == OF_ANOTHER_SHAPE || weights == THROUGH_BOOL) continue;
        for (int count = SAME_WEIGHTS; count <= CAST_LAST; count++) {
            /* The sum of the mask is no sum of its squares; a float mask needs no Cast. */
            if (count != SAME_WEIGHTS && (weights == OF_SQUARES || weights == NO_CAST)) continue;
            for (int bits = 0; bits < 4; bits++) {
                const pool_spec s = {.weights = (weights_form)weights,
                                     .count = (count_form)count,
                                     .swapped = bits & 1,
                                     .by_max = bits & 2};
                expect(&s, true, false);
            }
        }
    }
}

static void any_bound_below_will_do(void **state) {
    expect(&(pool_spec){.epsilon = 2.5}, true, false);
    expect(&(pool_spec){.epsilon = 1e-30, .end = BY_L2}, true, true);
}

static void every_spelling_of_length_1_becomes_part_of_it(void **state) {
    for (int end = BY_L2; end <= BY_SUM_SQUARE; end++) {
        for (int by_max = 0; by_max < 2; by_max++) {
            const pool_spec s = {.end = (end_form)end, .by_max = by_max};
            expect(&s, true, true);
        }
    }
}

static void other_means_are_left_alone(void **state) {
    static const count_form counts[] = {OF_ANOTHER_MASK, BOUNDED_ABOVE, LENGTH_OF_ROOT};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) expect(&(pool_spec){.count = counts[i]}, false, false);
    expect(&(pool_spec){.weights = OF_SQUARES, .count = OF_INTEGERS}, false, false);
    expect(&(pool_spec){.weights = THROUGH_BOOL, .count = OF_INTEGERS}, false, false);
}

static void other_lengths_are_left_alone(void **state) {
    for (int end = BY_L1; end < ENDS; end++) {
        if (end != BY_NO_BOUND) expect(&(pool_spec){.end = (end_form)end}, true, false);
    }
}

/* ---- What the pass looks at ----------------------------------------------------------------------------------------
 */

/* x is [5, 5, 5], so that dimensions fit whatever they are. */
static void expect_left(const pool_spec *s, const char *reason) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "5 5 5"), *given = input(&b, "mask", BERT_INT64, "5 5");
    bert_value *y = make_end(&b, s, make_mean(&b, s, x, given));
    RUN(&b, "pool", y);
    const int pools = s->end != AS_IT_IS;
    assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Pool), pools);
    assert_int_equal(b.report.rewrite_count, pools);
    assert_int_equal(b.report.miss_count, 1);
    if (!strstr(b.report.misses[0].reason, reason)) fail_msg("%s", b.report.misses[0].reason);
    finish(&b);
}

static void near_misses_are_reported(void **state) {
    static const char other_mean[] = "is not the mean of the tokens that one mask counts";
    expect_left(&(pool_spec){.weights = OF_ANOTHER_SHAPE}, other_mean);
    expect_left(&(pool_spec){.count = OF_ANOTHER_AXIS}, other_mean);
    expect_left(&(pool_spec){.count = UNBOUNDED}, other_mean);
    expect_left(&(pool_spec){.end = BY_NO_BOUND}, "max(|y|, 1e-12)");
    expect_left(&(pool_spec){.end = OVER_THE_BATCH}, "max(|y|, 1e-12)");
}

/* One vector is divided by as many lengths as its length is expanded to: the quotients are three. */
static void a_length_that_is_expanded_to_more_vectors_is_left_alone(void **state) {
    for (int64_t count = 1; count < 4; count += 2) {
        builder b = start(17);
        bert_value *x = input(&b, "x", BERT_FLOAT, "1 5 4"), *given = input(&b, "mask", BERT_INT64, "1 5");
        const pool_spec s = {.end = BY_L2};
        bert_value *mean = make_mean(&b, &s, x, given),
                   *length = at_least(&b, make_length(&b, &s, mean), 1e-12F, false);
        bert_value *y = OP(&b, Div, mean, OP(&b, Expand, length, INTS(&b, count, 4)));
        RUN(&b, "pool", y);
        assert_int_equal(BERT_NODE_INT(only(&b, BERT_OP_BERTC_Pool), "normalize", 0), count == 1);
        assert_int_equal(b.report.miss_count, count != 1);
        if (count != 1) assert_non_null(strstr(b.report.misses[0].reason, "max(|y|, 1e-12)"));
        finish(&b);
    }
}

/* A mean over the hidden dimension, or over the batch. */
static void a_mean_over_another_axis_is_left_alone(void **state) {
    for (int64_t axis = 0; axis < 3; axis += 2) {
        builder b = start(17);
        bert_value *x = input(&b, "x", BERT_FLOAT, "4 4 4"), *given = input(&b, "mask", BERT_INT64, "4 4");
        bert_value *weights = make_weights(&b, &(pool_spec){.weights = EXPAND_THEN_CAST}, x, given);
        bert_value *count = at_least(&b, sum(&b, weights, axis, 0), 1e-9F, false);
        bert_value *y = OP(&b, Div, sum(&b, OP(&b, Mul, x, weights), axis, 0), count);
        RUN(&b, "pool", y);
        assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Pool), 0);
        finish(&b);
    }
}

static void what_is_read_elsewhere_is_left_alone(void **state) {
    for (int which = 0; which < 4; which++) {
        builder b = start(17);
        bert_value *x = input(&b, "x", BERT_FLOAT, "b s 4"), *given = input(&b, "mask", BERT_INT64, "b s");
        const pool_spec s = {.end = which == 3 ? BY_L2 : AS_IT_IS};
        bert_value *weights = make_weights(&b, &s, x, given), *product = OP(&b, Mul, x, weights);
        bert_value *total = sum(&b, product, 1, 0), *count = make_count(&b, &s, weights, given);
        bert_value *mean = OP(&b, Div, total, count), *read[] = {product, total, count, mean};
        bert_value *y = make_end(&b, &s, mean), *elsewhere = OP(&b, Neg, read[which]);
        RUN(&b, "pool", y, elsewhere);
        assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Pool), which == 3);
        assert_int_equal(count_nodes(&b, BERT_OP_Div), 1);
        assert_int_equal(b.report.miss_count, 1);
        assert_non_null(strstr(b.report.misses[0].reason, "read outside the pattern"));
        finish(&b);
    }
}

/* The mask and what is made of it may be: attention has masks of its own of it. */
static void weights_may_be_read_elsewhere(void **state) {
    builder b = start(17);
    bert_value *x = input(&b, "x", BERT_FLOAT, "b s 4"), *given = input(&b, "mask", BERT_INT64, "b s");
    const pool_spec s = {.weights = EXPAND_THEN_CAST};
    bert_value *weights = make_weights(&b, &s, x, given), *elsewhere = OP(&b, Neg, weights);
    bert_value *total = sum(&b, OP(&b, Mul, x, weights), 1, 0);
    bert_value *y = OP(&b, Div, total, make_count(&b, &s, weights, given));
    RUN(&b, "pool", y, elsewhere);
    const bert_node *pool = only(&b, BERT_OP_BERTC_Pool);
    assert_ptr_equal(pool->inputs[BERT_POOL_X], x);
    assert_ptr_equal(pool->inputs[BERT_POOL_MASK], given);
    assert_ptr_equal(pool->outputs[0], y);
    assert_true(fabsf(BERT_NODE_FLOAT(pool, "epsilon", 0) - 1e-9F) < 1e-15F);
    assert_int_equal(count_nodes(&b, BERT_OP_Cast), 1);
    assert_int_equal(count_nodes(&b, BERT_OP_ReduceSum), 0);
    finish(&b);
}

/* As opset 10 has them: axes and bounds are attributes. */
static void old_forms_are_understood(void **state) {
    const bert_attribute last = INTS_ATTRIBUTE("axes", 2);
    const bert_attribute over[] = {INTS_ATTRIBUTE("axes", 1), BERT_INT_ATTRIBUTE("keepdims", 0)};
    const bert_attribute bounds[] = {BERT_FLOAT_ATTRIBUTE("min", 1e-9F), BERT_FLOAT_ATTRIBUTE("max", 1)};
    for (int bounded_above = 0; bounded_above < 2; bounded_above++) {
        builder b = start(10);
        bert_value *x = input(&b, "x", BERT_FLOAT, "b s 4"), *given = input(&b, "mask", BERT_FLOAT, "b s");
        bert_value *weights = OP_WITH(&b, Unsqueeze, last, given), *product = OP(&b, Mul, x, weights);
        bert_value *total = node(&b, BERT_OP_ReduceSum, over, 2, &product, 1);
        bert_value *count = node(&b, BERT_OP_ReduceSum, over, 2, &weights, 1);
        bert_value *y = OP(&b, Div, total, node(&b, BERT_OP_Clip, bounds, (size_t)bounded_above + 1, &count, 1));
        RUN(&b, "pool", y);
        assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Pool), !bounded_above);
        finish(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_spelling_of_a_masked_mean_becomes_one_node),
        cmocka_unit_test(any_bound_below_will_do),
        cmocka_unit_test(every_spelling_of_length_1_becomes_part_of_it),
        cmocka_unit_test(other_means_are_left_alone),
        cmocka_unit_test(other_lengths_are_left_alone),
        cmocka_unit_test(near_misses_are_reported),
        cmocka_unit_test(a_length_that_is_expanded_to_more_vectors_is_left_alone),
        cmocka_unit_test(a_mean_over_another_axis_is_left_alone),
        cmocka_unit_test(what_is_read_elsewhere_is_left_alone),
        cmocka_unit_test(weights_may_be_read_elsewhere),
        cmocka_unit_test(old_forms_are_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
