/* Attention that rotates its heads: against Attention over what is rotated here, over rows without padding, too. */
#include "core/graph/canonical.h"
#include "tests/graph/op_case.h"

#include <math.h>
#include <string.h>

enum { BATCH = 2, LENGTH = 3, HEADS = 2, SIZE = 4, HALF = SIZE / 2, HIDDEN = HEADS * SIZE };
enum { TOKENS = BATCH * LENGTH, ANGLES = LENGTH * SIZE };

static float x[TOKENS * 3 * HIDDEN], rotated[TOKENS * 3 * HIDDEN];
static float cosines[BATCH * ANGLES], sines[BATCH * ANGLES];

/* Every angle is another number, in the second half of a head as well. `own`: each sequence has angles of its own. */
static void fill(bool own) {
    for (int i = 0; i < TOKENS * 3 * HIDDEN; i++) x[i] = rotated[i] = sinf((float)i * 0.7F);
    for (int i = 0; i < BATCH * ANGLES; i++) {
        cosines[i] = cosf((float)i * 0.3F);
        sines[i] = sinf((float)i * 0.4F);
    }
    for (int token = 0; token < TOKENS; token++) {
        const float *c = cosines + (own ? token : token % LENGTH) * SIZE;
        const float *s = sines + (own ? token : token % LENGTH) * SIZE;
        for (int head = 0; head < 2 * HEADS; head++) { /* of Q, then of K */
            const float *from = x + token * 3 * HIDDEN + head * SIZE;
            float *to = rotated + token * 3 * HIDDEN + head * SIZE;
            for (int d = 0; d < SIZE; d++)
                to[d] = from[d] * c[d] + (d < HALF ? -from[d + HALF] : from[d - HALF]) * s[d];
        }
    }
}

static void begin(const char *shape, const float *qkv) {
    op_case_begin_in("bertc", "Attention", 1);
    op_case_int("heads", HEADS);
    op_case_int("packed", 1);
    op_case_float("scale", 0.5F);
    op_case_tensor(BERT_FLOAT, shape, qkv);
    for (int i = BERT_ATTENTION_K; i < BERT_ATTENTION_COSINES; i++) op_case_absent();
}

static void expect_rotated(bool own) {
    static float expected[TOKENS * HIDDEN];
    fill(own);
    begin("2,3,24", rotated);
    memcpy(expected, op_case_run(), sizeof expected);
    begin("2,3,24", x);
    op_case_tensor(BERT_FLOAT, own ? "2,3,4" : "1,3,4", cosines);
    op_case_tensor(BERT_FLOAT, own ? "2,3,4" : "1,3,4", sines);
    op_case_expect(0, BERT_FLOAT, "2,3,8");
    op_case_expect_close(0, expected, sizeof expected / sizeof *expected);
}

static void heads_are_rotated_by_their_positions(void **state) {
    expect_rotated(false);
    expect_rotated(true);
}

/* Token 1 of the first sequence and token 0 of the second are padding: positions are those of the padded batch. */
static void rows_without_padding_have_the_angles_of_their_tokens(void **state) {
    static const int32_t tokens[] = {0, 2, 4, 5}, starts[] = {0, 2, 4};
    static float of_rows[4 * 3 * HIDDEN], expected[4 * HIDDEN];
    fill(true);
    for (int row = 0; row < 4; row++)
        memcpy(of_rows + row * 3 * HIDDEN, rotated + tokens[row] * 3 * HIDDEN, 3 * HIDDEN * sizeof *of_rows);
    for (int run = 0; run < 2; run++) {
        begin("1,4,24", of_rows);
        op_case_int("sequence", LENGTH);
        if (run == 0) {
            op_case_absent();
            op_case_absent();
        } else {
            op_case_tensor(BERT_FLOAT, "2,3,4", cosines);
            op_case_tensor(BERT_FLOAT, "2,3,4", sines);
        }
        op_case_tensor(BERT_INT32, "3", starts);
        op_case_tensor(BERT_INT32, "4", tokens);
        if (run == 0) {
            memcpy(expected, op_case_run(), sizeof expected);
            for (int row = 0; row < 4; row++)
                memcpy(of_rows + row * 3 * HIDDEN, x + tokens[row] * 3 * HIDDEN, 3 * HIDDEN * sizeof *of_rows);
        } else {
            op_case_expect_close(0, expected, sizeof expected / sizeof *expected);
        }
    }
}

static void begin_shapes(const char *keys, const char *angles, const char *other_angles) {
    op_case_begin_in("bertc", "Attention", 1);
    op_case_int("heads", HEADS);
    op_case_input(BERT_FLOAT, "2,3,8");
    op_case_input(BERT_FLOAT, keys);
    op_case_input(BERT_FLOAT, keys);
    op_case_absent();
    op_case_absent();
    op_case_input(BERT_FLOAT, angles);
    if (other_angles) op_case_input(BERT_FLOAT, other_angles);
}

static void wrong_angles_are_refused(void **state) {
    begin_shapes("2,3,8", "1,3,4", NULL);
    op_case_expect_refused(BERT_INVALID_MODEL, "cosines and sines go together");
    begin_shapes("2,5,8", "1,3,4", "1,3,4");
    op_case_expect_refused(BERT_INVALID_MODEL, "the queries and keys of rotated heads");
    begin_shapes("2,3,8", "1,3,4", "1,3,2");
    op_case_expect_refused(BERT_INVALID_MODEL, "");
    begin_shapes("2,3,8", "1,1,4", "1,3,4");
    op_case_expect_refused(BERT_INVALID_MODEL, "the rows of the angles and the tokens");
    begin_shapes("2,3,8", "1,3,1", "1,3,4");
    op_case_expect_refused(BERT_INVALID_MODEL, "the columns of the angles and a head's elements");
    begin_shapes("2,3,8", "3,3,4", "1,3,4");
    op_case_expect_refused(BERT_INVALID_MODEL, "");
    begin_shapes("2,3,8", "1,3,4", "2,3,4");
    op_case_expect_refused(BERT_INVALID_MODEL, "the batches of cosines and sines");
    begin_shapes("2,3,8", "2,3,4", "1,3,4");
    op_case_expect_refused(BERT_INVALID_MODEL, "the batches of cosines and sines");
    op_case_begin_in("bertc", "Attention", 1);
    op_case_int("heads", HEADS);
    op_case_int("packed", 1);
    op_case_input(BERT_FLOAT, "2,3,18");
    for (int i = BERT_ATTENTION_K; i < BERT_ATTENTION_COSINES; i++) op_case_absent();
    op_case_input(BERT_FLOAT, "1,3,3");
    op_case_input(BERT_FLOAT, "1,3,3");
    op_case_expect_refused(BERT_INVALID_MODEL, "heads of 3 elements, an odd number");
}

int main(void) {
#define TEST(name) cmocka_unit_test_teardown(name, op_case_teardown)
    const struct CMUnitTest tests[] = {
        TEST(heads_are_rotated_by_their_positions),
        TEST(rows_without_padding_have_the_angles_of_their_tokens),
        TEST(wrong_angles_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
