/* Memory for packed weights: pieces side by side, in blocks that grow. */
#include "cpu/weight_memory.h"
#include "tests/support/scarce_memory.h"
#include "tests/support/test.h"

#include <stdint.h>
#include <string.h>

enum { PIECES = 60 };

static void pieces_are_aligned_and_apart(void **state) {
    scarce_memory count = {0};
    const bert_allocator allocator = scarce_allocator(&count);
    bert_weight_memory memory = {0};
    unsigned char *pieces[PIECES];
    size_t sizes[PIECES], all = 0;
    for (int i = 0; i < PIECES; i++) {
        sizes[i] = i % 10 == 9 ? 3 * BERT_LARGE_PAGE + 5 : 2 + (size_t)i * 9973;
        pieces[i] = bert_weight_memory_take(&memory, &allocator, sizes[i]);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % BERT_ALIGNMENT, 0);
        memset(pieces[i], i, sizes[i]);
        all += sizes[i];
    }
    for (int i = 0; i < PIECES; i++) {
        assert_int_equal(pieces[i][0], i);
        assert_memory_equal(pieces[i], pieces[i] + 1, sizes[i] - 1); /* every byte is the first one */
    }
    assert_true(memory.bytes >= all && memory.bytes <= 2 * all + BERT_LARGE_PAGE);
    bert_weight_memory_free(&memory, &allocator);
    assert_int_equal(count.live, 0);
    assert_int_equal(memory.bytes, 0);
}

static void a_small_model_takes_one_page(void **state) {
    scarce_memory count = {0};
    const bert_allocator allocator = scarce_allocator(&count);
    bert_weight_memory memory = {0};
    for (int i = 0; i < 16; i++) assert_non_null(bert_weight_memory_take(&memory, &allocator, 100000));
    assert_int_equal(memory.bytes, BERT_LARGE_PAGE);
    bert_weight_memory_free(&memory, &allocator);
    assert_int_equal(count.live, 0);
}

/* What was taken before stays good, whichever of a block's two allocations fails. */
static void without_memory_there_is_none(void **state) {
    for (size_t left = 0; left < 4; left++) {
        scarce_memory count = {.fail_from = left, .fail_to = SIZE_MAX};
        const bert_allocator allocator = scarce_allocator(&count);
        bert_weight_memory memory = {0};
        unsigned char *first = bert_weight_memory_take(&memory, &allocator, BERT_LARGE_PAGE);
        assert_int_equal(first != NULL, left >= 2);
        if (first) memset(first, 7, BERT_LARGE_PAGE);
        assert_null(bert_weight_memory_take(&memory, &allocator, BERT_LARGE_PAGE));
        assert_null(bert_weight_memory_take(&memory, &allocator, SIZE_MAX));
        assert_null(bert_weight_memory_take(&memory, &allocator, SIZE_MAX - 2 * BERT_ALIGNMENT));
        if (first) assert_int_equal(first[BERT_LARGE_PAGE - 1], 7);
        bert_weight_memory_free(&memory, &allocator);
        assert_int_equal(count.live, 0);
    }
}

/* The next piece lies where the last one lay; one that others lie behind stays. */
static void what_was_taken_last_can_be_given_back(void **state) {
    scarce_memory count = {0};
    const bert_allocator allocator = scarce_allocator(&count);
    bert_weight_memory memory = {0};
    void *first = bert_weight_memory_take(&memory, &allocator, 100), *last;
    last = bert_weight_memory_take(&memory, &allocator, 1000);
    bert_weight_memory_give_back(&memory, last, 1000);
    assert_ptr_equal(bert_weight_memory_take(&memory, &allocator, 10), last);
    bert_weight_memory_give_back(&memory, first, 100);
    assert_ptr_not_equal(bert_weight_memory_take(&memory, &allocator, 10), first);
    bert_weight_memory_free(&memory, &allocator);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_apart), cmocka_unit_test(a_small_model_takes_one_page),
        cmocka_unit_test(without_memory_there_is_none), cmocka_unit_test(what_was_taken_last_can_be_given_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
