/*
 * Attention masks of every form and content: what adds, what chooses, over keys or over pairs; padding on the right and
 * on the left, holes, and nothing at all. (Those of com.microsoft's operators are in test_fused.c.)
 */
#include "core/graph/canonical.h"
#include "tests/passes/twice.h"

#include <float.h>
#include <math.h>

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})

enum { BATCH = 3, LENGTH = 6, HEADS = 2, WIDTH = 8 };

typedef enum form {
    ADD_KEYS,       /* (1 - mask) x least, of the mask [b, s] */
    ADD_SQUARE,     /* the same, expanded to [b, 1, s, s] */
    ADD_VECTOR,     /* float [s] */
    ADD_PAIRS,      /* float [s, s] */
    ADD_HEADS,      /* float [1, H, s, s] */
    ADD_ALL,        /* float [b, H, s, s] */
    KEEP_KEYS,      /* Where(mask, scores, least) */
    KEEP_SQUARE,    /* the mask expanded to [b, 1, s, s] */
    KEEP_PAIRS,     /* bool [s, s] */
    KEEP_CUBE,      /* bool [1, s, s] */
    DROP_KEYS,      /* Where(mask == 0 as large as the scores, least, scores) */
    KEEP_AND_CAUSE, /* the mask and a triangle */
    KEEP_AND_ADD,   /* Where, over an addition [1, H, s, s] */
    FORMS
} form;

/* Which keys of which row count. */
typedef enum content { ALL, RIGHT, LEFT, HOLES, NOTHING, CONTENTS } content;

typedef struct mask_spec {
    form form;
    float least;
    bool guarded;
} mask_spec;

static float numbers[BATCH * HEADS * LENGTH * LENGTH + 600];
static int64_t mask[BATCH * LENGTH];
static unsigned char pairs[LENGTH * LENGTH];

static int64_t keeps(content c, int64_t row, int64_t column) {
    switch (c) {
    case RIGHT:
        return column < LENGTH - 2 * row;
    case LEFT:
        return column >= 2 * row;
    case HOLES:
        return (column + row) % 3 != 1;
    case NOTHING:
        return row != 1;
    default:
        return 1;
    }
}

static void fill(content c) {
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        numbers[i] = (float)((i * 7919 + 13) % 211) / 100 - 1.05F;
    for (int64_t i = 0; i < BATCH * LENGTH; i++) mask[i] = keeps(c, i / LENGTH, i % LENGTH);
    for (int64_t i = 0; i < LENGTH * LENGTH; i++)
        pairs[i] = i / LENGTH == i % LENGTH || keeps(c, i / LENGTH % BATCH, i % LENGTH);
}

/* ---- The graph ------------------------------------------------------------------------------------------------------
 */

static bert_value *heads_of(builder *b, bert_value *x, bool key) {
    x = RESHAPE(b, OP(b, MatMul, x, weight(b, WIDTH, WIDTH)), 0, 0, HEADS, WIDTH / HEADS);
    return key ? transpose(b, x, 0, 2, 3, 1) : transpose(b, x, 0, 2, 1, 3);
}

/* The mask [b, s] as [b, 1, 1, s], or expanded. */
static bert_value *keys(builder *b, bert_value *given, bert_value *scores, bool expanded) {
    bert_value *x = OP(b, Unsqueeze, given, INTS(b, 1, 2));
    if (!expanded) return x;
    bert_value *shape = OP(b, Shape, scores);
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 0);
    bert_value *target = OP_WITH(b, Concat, axis, OP(b, Gather, shape, INTS(b, 0)), INTS(b, 1),
                                 OP(b, Gather, shape, INTS(b, 2)), OP(b, Gather, shape, INTS(b, 3)));
    return OP(b, Expand, x, target);
}

static bert_value *added(builder *b, const mask_spec *s, bert_value *scores, bert_value *given) {
    static const char *const dims[] = {
        [ADD_VECTOR] = "s", [ADD_PAIRS] = "s s", [ADD_HEADS] = "1 2 s s", [ADD_ALL] = "b 2 s s"};
    if (s->form > ADD_SQUARE) return OP(b, Add, scores, input(b, "bias", BERT_FLOAT, dims[s->form]));
    bert_value *drop = OP(b, Sub, scalar(b, 1), cast(b, keys(b, given, scores, s->form == ADD_SQUARE), BERT_FLOAT));
    return OP(b, Add, OP(b, Mul, drop, scalar(b, s->least)), scores);
}

static bert_value *chosen(builder *b, const mask_spec *s, bert_value *scores, bert_value *given) {
    bert_value *least = scalar(b, s->least), *keep = NULL;
    switch (s->form) {
    case KEEP_PAIRS:
        return OP(b, Where, input(b, "pairs", BERT_BOOL, "s s"), scores, least);
    case KEEP_CUBE:
        return OP(b, Where, input(b, "pairs", BERT_BOOL, "1 s s"), scores, least);
    case DROP_KEYS:
        keep = OP(b, Expand, OP(b, Unsqueeze, OP(b, Equal, given, INT(b, 0)), INTS(b, 1, 2)), OP(b, Shape, scores));
        return OP(b, Where, keep, least, scores);
    case KEEP_AND_ADD:
        scores = OP(b, Add, scores, input(b, "bias", BERT_FLOAT, "1 2 s s"));
        break;
    default:
        break;
    }
    keep = cast(b, keys(b, given, scores, s->form == KEEP_SQUARE), BERT_BOOL);
    if (s->form == KEEP_AND_CAUSE) keep = OP(b, And, keep, input(b, "pairs", BERT_BOOL, "1 1 s s"));
    return OP(b, Where, keep, scores, least);
}

static void make(builder *b, const void *spec) {
    const mask_spec *s = spec;
    bert_value *x = input(b, "x", BERT_FLOAT, "b s 8"), *given = input(b, "mask", BERT_INT64, "b s");
    bert_value *q = heads_of(b, x, false), *k = heads_of(b, x, true), *v = heads_of(b, x, false);
    bert_value *scores = OP(b, Mul, OP(b, MatMul, q, k), scalar(b, 0.5F));
    scores = s->form < KEEP_KEYS ? added(b, s, scores, given) : chosen(b, s, scores, given);
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", -1);
    bert_value *p = OP_WITH(b, Softmax, axis, scores);
    if (s->guarded) p = OP(b, Where, OP(b, IsNaN, p), scalar(b, 0), p);
    bert_value *y = RESHAPE(b, transpose(b, OP(b, MatMul, p, v), 0, 2, 1, 3), 0, 0, WIDTH);
    declare(b, &y, 1);
}

/* ---- The test -------------------------------------------------------------------------------------------------------
 */

static void check(const mask_spec *s, double allowed) {
    static const int64_t full[] = {BATCH, HEADS, LENGTH, LENGTH};
    bert_named_tensor inputs[3] = {twice_input("x", BERT_FLOAT, numbers, 3, DIMS(BATCH, LENGTH, WIDTH)),
                                   twice_input("mask", BERT_INT64, mask, 2, DIMS(BATCH, LENGTH))};
    size_t count = 2;
    int64_t dims[4] = {1, HEADS, LENGTH, LENGTH};
    if (s->form == ADD_VECTOR) inputs[count++] = twice_input("bias", BERT_FLOAT, numbers + 300, 1, dims + 2);
    if (s->form == ADD_PAIRS) inputs[count++] = twice_input("bias", BERT_FLOAT, numbers + 300, 2, dims + 2);
    if (s->form == ADD_HEADS || s->form == KEEP_AND_ADD)
        inputs[count++] = twice_input("bias", BERT_FLOAT, numbers + 300, 4, dims);
    if (s->form == ADD_ALL) inputs[count++] = twice_input("bias", BERT_FLOAT, numbers + 300, 4, full);
    dims[1] = 1;
    if (s->form == KEEP_PAIRS) inputs[count++] = twice_input("pairs", BERT_BOOL, pairs, 2, dims + 2);
    if (s->form == KEEP_CUBE) inputs[count++] = twice_input("pairs", BERT_BOOL, pairs, 3, dims + 1);
    if (s->form == KEEP_AND_CAUSE) inputs[count++] = twice_input("pairs", BERT_BOOL, pairs, 4, dims);
    bert_model *model = twice(make, s, inputs, count, allowed);
    static const bert_op_id gone[] = {BERT_OP_Softmax, BERT_OP_MatMul, BERT_OP_Transpose, BERT_OP_IsNaN};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) assert_int_equal(twice_count(model, gone[i]), 0);
    assert_int_equal(twice_count(model, BERT_OP_BERTC_Attention), 1);
    assert_int_equal(twice_count(model, BERT_OP_BERTC_Linear), 1);
    if (s->form == ADD_SQUARE || s->form == KEEP_SQUARE || s->form == DROP_KEYS)
        assert_int_equal(twice_count(model, BERT_OP_Expand), 0); /* keys alone are masked, and it shows */
    bert_model_free(model);
}

static void masks_of_every_form_and_content_compute_the_same(void **state) {
    static const float least[] = {-10000, -FLT_MAX, -INFINITY};
    for (int c = 0; c < CONTENTS; c++) {
        fill((content)c);
        for (int f = 0; f < FORMS; f++) {
            for (int i = 0; i < 6; i++) {
                mask_spec s = {(form)f, least[i / 2], i & 1};
                /* Infinity times 0 is no number, and neither is a row of nothing without the guard. */
                if (isinf(s.least) && (f < KEEP_KEYS || (c == NOTHING && !s.guarded))) continue;
                /* Where nothing is kept -10000 is added to all scores: in float32, whose steps are 1e-3 there, or not.
                 */
                check(&s, c == NOTHING && s.least == -10000 ? 1e-3 : 1e-5);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_of_every_form_and_content_compute_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
