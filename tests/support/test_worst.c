/* Negative controls of the comparator: what must not pass for near, wherever it stands. */
#include "tests/support/test.h"
#include "tests/support/worst.h"

#include <string.h>

enum { ROWS = 3, WIDTH = 5, COUNT = ROWS * WIDTH };

/* More than any tolerance that it is held against, and what the numbers below are away from zero. */
#define FAR 0.3

static void fill(float *x) {
    for (int i = 0; i < COUNT; i++) x[i] = (i % 2 ? -1.0F : 1.0F) * (0.5F + (float)i);
}

static double worst_of(const float *got) {
    float expected[COUNT];
    fill(expected);
    return worst_error(got, expected, COUNT);
}

static void what_is_near_is_told_by_its_distance(void **state) {
    float got[COUNT];
    fill(got);
    assert_true(worst_of(got) == 0.0);
    got[0] += 0.25F; /* from 0.5 */
    got[COUNT - 1] += 0.25F;
    assert_true(fabs(worst_of(got) - 0.25 / 1.5) < 1e-6);
    assert_true(worst_error(got, got, 0) == 0.0);
}

static void one_wrong_element_is_far(void **state) {
    for (int i = 0; i < COUNT; i++) {
        float right[COUNT], got[COUNT];
        fill(right);
        fill(got);
        got[i] = -got[i];
        assert_true(worst_of(got) > FAR);
        const float odd[] = {NAN, INFINITY, -INFINITY};
        for (int j = 0; j < 3; j++) {
            got[i] = odd[j];
            assert_true(worst_of(got) == (double)INFINITY);
            assert_true(worst_error(right, got, COUNT) == (double)INFINITY);
            assert_true(worst_error(got, got, COUNT) == (double)INFINITY);
        }
    }
}

static void a_row_of_zeros_is_far(void **state) {
    for (int row = 0; row < ROWS; row++) {
        float got[COUNT];
        fill(got);
        memset(got + (ptrdiff_t)row * WIDTH, 0, WIDTH * sizeof *got);
        assert_true(worst_of(got) > FAR);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_near_is_told_by_its_distance),
        cmocka_unit_test(one_wrong_element_is_far),
        cmocka_unit_test(a_row_of_zeros_is_far),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
