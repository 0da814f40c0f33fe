/* core/graph/symbolic.h: expressions are equal exactly when their handles are. */
#include "tests/support/test.h"

#include "core/graph/symbolic.h"

#include <stdio.h>

static bert_arena arena;
static bert_symbols *symbols;
static bert_dim batch, sequence;

static int set_up(void **state) {
    bert_arena_init(&arena, NULL);
    symbols = bert_symbols_create(&arena);
    batch = bert_dim_named(symbols, "batch");
    sequence = bert_dim_named(symbols, "sequence");
    return symbols ? 0 : -1;
}

static int tear_down(void **state) {
    bert_arena_free(&arena);
    return 0;
}

static bert_dim sum(bert_dim a, bert_dim b) {
    return bert_dim_add(symbols, a, b);
}
static bert_dim difference(bert_dim a, bert_dim b) {
    return bert_dim_subtract(symbols, a, b);
}
static bert_dim product(bert_dim a, bert_dim b) {
    return bert_dim_multiply(symbols, a, b);
}
static bert_dim quotient(bert_dim a, bert_dim b) {
    return bert_dim_divide(symbols, a, b, false);
}
static bert_dim floored(bert_dim a, bert_dim b) {
    return bert_dim_divide(symbols, a, b, true);
}

static void expect_text(bert_dim dim, const char *text) {
    char out[128];
    assert_string_equal(bert_dim_format(symbols, dim, out, sizeof out), text);
}

static void numbers_stay_numbers(void **state) {
    assert_int_equal(sum(3, 4), 7);
    assert_int_equal(product(-3, 4), -12);
    assert_int_equal(quotient(-7, 2), -3);
    assert_int_equal(floored(-7, 2), -4);
    assert_int_equal(floored(7, -2), -4);
    assert_int_equal(bert_dim_modulo(symbols, -7, 3), 2);
    assert_int_equal(bert_dim_modulo(symbols, 7, -3), -2);
    assert_int_equal(bert_dim_minimum(symbols, -1, 4), -1);
    assert_int_equal(bert_dim_maximum(symbols, -1, 4), 4);
    assert_true(bert_dim_known(-1));
}

static void what_cannot_be_said_is_fresh(void **state) {
    assert_false(bert_dim_known(quotient(7, 0)));
    assert_false(bert_dim_known(bert_dim_modulo(symbols, 7, 0)));
    assert_false(bert_dim_known(product(BERT_DIM_LIMIT / 2, 4)));
    assert_false(bert_dim_known(sum(BERT_DIM_LIMIT - 2, 1)));
    assert_false(bert_dim_known(sum(BERT_DIM_LIMIT - 1, -1))); /* the end of the range stands for what is beyond it */
    assert_true(quotient(7, 0) != quotient(7, 0));
    assert_true(bert_dim_fresh(symbols) != bert_dim_fresh(symbols));
    bert_dim wide = sequence;
    for (int i = 0; i < 9; i++) wide = product(wide, sequence); /* beyond the greatest degree */
    assert_false(bert_dim_known(wide));
    assert_true(product(wide, 1) == wide);
}

static void names_are_one_symbol_each(void **state) {
    assert_true(bert_dim_named(symbols, "batch") == batch);
    assert_true(batch != sequence);
    char name[16];
    bert_dim many[300];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "d%d", i);
        many[i] = bert_dim_named(symbols, name);
    }
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "d%d", i);
        assert_true(bert_dim_named(symbols, name) == many[i]);
        assert_true(i == 0 || many[i] != many[i - 1]);
    }
}

static void spelling_does_not_matter(void **state) {
    bert_dim a = product(sum(batch, 1), sum(sequence, -2));
    bert_dim b = sum(difference(product(sequence, batch), product(2, batch)), difference(sequence, 2));
    assert_true(a == b);
    expect_text(a, "batch*sequence - 2*batch + sequence - 2");
    assert_true(difference(a, b) == 0);
    assert_true(difference(a, sum(b, 1)) == -1);
    assert_true(a != sum(b, 1)); /* a near miss */
    assert_true(product(a, 0) == 0);
    assert_true(difference(sum(batch, sequence), sequence) == batch);
}

static void many_expressions_are_all_found_again(void **state) {
    bert_dim made[500];
    for (int i = 0; i < 500; i++) made[i] = sum(product(batch, i + 2), i);
    for (int i = 0; i < 500; i++) assert_true(sum(i, product(i + 2, batch)) == made[i]);
}

/* Reshape of [batch, sequence, 768] to [batch, sequence, 12, -1]: what -1 becomes. */
static void a_head_split_divides_exactly(void **state) {
    bert_dim all = product(product(batch, sequence), 768);
    assert_int_equal(quotient(all, product(product(batch, sequence), 12)), 64);
    assert_true(quotient(all, product(batch, 768)) == sequence);
    assert_true(quotient(product(sum(batch, sequence), sum(batch, 3)), sum(3, batch)) == sum(sequence, batch));
    assert_true(quotient(product(difference(product(batch, batch), 1), 2), sum(batch, -1)) ==
                sum(product(2, batch), 2));
}

static void quotients_that_do_not_divide_are_symbols_of_their_own(void **state) {
    bert_dim half = quotient(sequence, 2);
    assert_true(half == quotient(sequence, 2));
    assert_true(half == floored(sequence, 2)); /* nothing is negative here */
    assert_true(half != quotient(sequence, 3));
    expect_text(half, "floor_div(sequence, 2)");
    assert_true(floored(sum(product(4, sequence), 3), 2) == sum(product(2, sequence), 1));
    assert_true(floored(sum(product(3, sequence), 4), 2) == sum(sum(sequence, 2), half));
    assert_true(quotient(difference(sequence, 5), 2) != floored(difference(sequence, 5), 2));
    assert_int_equal(bert_dim_modulo(symbols, sum(product(8, sequence), 11), 8), 3);
    assert_int_equal(bert_dim_modulo(symbols, product(sequence, batch), batch), 0);
    expect_text(bert_dim_modulo(symbols, sum(product(9, sequence), 8), 8), "mod(sequence, 8)");
}

static void extremes_use_what_is_known_of_signs(void **state) {
    assert_int_equal(bert_dim_minimum(symbols, batch, -1), -1);
    assert_true(bert_dim_maximum(symbols, 0, batch) == batch);
    assert_true(bert_dim_maximum(symbols, sum(batch, sequence), batch) == sum(batch, sequence));
    bert_dim greater = bert_dim_maximum(symbols, batch, sequence);
    assert_true(greater == bert_dim_maximum(symbols, sequence, batch));
    assert_true(bert_dim_maximum(symbols, greater, batch) == greater);
    assert_true(greater != bert_dim_minimum(symbols, batch, sequence));
    assert_true(bert_dim_nonnegative(symbols, greater));
    assert_false(bert_dim_nonnegative(symbols, difference(batch, 1)));
    assert_true(bert_dim_nonnegative(symbols, sum(product(batch, sequence), 3)));
    assert_false(bert_dim_nonnegative(symbols, bert_dim_fresh(symbols)));
    assert_true(bert_dim_all_named(symbols, 3) && bert_dim_all_named(symbols, batch));
    assert_true(bert_dim_all_named(symbols, sum(product(batch, greater), 3)));
    const bert_dim fresh = bert_dim_fresh(symbols);
    assert_false(bert_dim_all_named(symbols, fresh));
    assert_false(bert_dim_all_named(symbols, sum(fresh, batch)));
    assert_false(bert_dim_all_named(symbols, bert_dim_maximum(symbols, fresh, sequence)));
}

static void broadcasting_keeps_the_dimension_that_is_not_one(void **state) {
    assert_true(bert_dim_broadcast(symbols, 1, sequence) == sequence);
    assert_true(bert_dim_broadcast(symbols, sequence, 1) == sequence);
    assert_true(bert_dim_broadcast(symbols, sequence, sequence) == sequence);
    assert_int_equal(bert_dim_broadcast(symbols, sequence, 12), 12);
    assert_int_equal(bert_dim_broadcast(symbols, 1, 0), 0);
    bert_dim both = bert_dim_broadcast(symbols, batch, sequence);
    assert_true(both == bert_dim_broadcast(symbols, sequence, batch));
    assert_true(both != batch && both != sequence && !bert_dim_known(both));
    /* A slice of a table of 512 positions: where it broadcasts with `sequence` at all, `sequence` comes out. */
    bert_dim capped = bert_dim_minimum(symbols, sequence, 512);
    assert_true(bert_dim_broadcast(symbols, sequence, capped) == sequence);
    assert_true(bert_dim_broadcast(symbols, capped, sequence) == sequence);
    bert_dim other = bert_dim_broadcast(symbols, batch, capped); /* a near miss */
    assert_true(other != batch && other != capped);
    bert_dim unknown = bert_dim_minimum(symbols, sequence, batch); /* may be 0 where sequence is 1 */
    assert_true(bert_dim_broadcast(symbols, sequence, unknown) != sequence);
}

static void text_is_cut_at_the_capacity(void **state) {
    char out[6];
    assert_string_equal(bert_dim_format(symbols, product(batch, sequence), out, sizeof out), "batch");
    expect_text(-3, "-3");
    expect_text(difference(0, batch), "-batch");
    assert_int_equal(bert_dim_format(symbols, bert_dim_fresh(symbols), out, sizeof out)[0], '?');
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(numbers_stay_numbers),
        TEST(what_cannot_be_said_is_fresh),
        TEST(names_are_one_symbol_each),
        TEST(spelling_does_not_matter),
        TEST(many_expressions_are_all_found_again),
        TEST(a_head_split_divides_exactly),
        TEST(quotients_that_do_not_divide_are_symbols_of_their_own),
        TEST(extremes_use_what_is_known_of_signs),
        TEST(broadcasting_keeps_the_dimension_that_is_not_one),
        TEST(text_is_cut_at_the_capacity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
