/* Attention of heads that were computed one by one, as rotation by positions does: they are put side by side for it. */
#include "core/graph/canonical.h"
#include "tests/passes/twice.h"

#include <math.h>

enum { BATCH = 2, SEQUENCE = 6, HEADS = 4, SIZE = 8, WIDTH = HEADS * SIZE };

typedef enum part { NOTHING, QUERY, KEY, VALUE, EVERY, PARTS } part;

typedef struct spec {
    part rotated;
    bool scaled;         /* after rotation, query and key */
    bool masked;         /* a Where, and the guard that exports have */
    bool key_turned;     /* rotated as [batch, heads, size, sequence] */
    bool square;         /* as many tokens as a head is wide, and the key as it lies: no exporter does that */
    bool heads_are_read; /* by something else, too */
    bool unknown_heads;  /* Near misses: nobody knows how many, */
    bool scaled_value;   /* or what is to be multiplied by 2 */
} spec;

static float x[BATCH * SIZE * WIDTH];
static bool mask[BATCH * SIZE];

/* [batch, heads, sequence, size] */
static bert_value *heads_of(builder *b, bert_value *from) {
    bert_value *projected = OP(b, Add, OP(b, MatMul, from, weight(b, WIDTH, WIDTH)), weight(b, WIDTH, 0));
    return transpose(b, RESHAPE(b, projected, 0, 0, HEADS, SIZE), 0, 2, 1, 3);
}

/* No view, and no scale: numbers of a head's elements. */
static bert_value *rotate(builder *b, bert_value *heads) {
    return OP(b, Add, OP(b, Mul, heads, weight(b, SIZE, 0)), OP(b, Neg, heads));
}

static bool is_rotated(const spec *s, part which) {
    return s->rotated == which || s->rotated == EVERY;
}

static bert_value *key_of(builder *b, const spec *s, bert_value *from) {
    bert_value *key = heads_of(b, from);
    if (s->square) return rotate(b, key);
    if (s->key_turned) return OP(b, Abs, transpose(b, key, 0, 1, 3, 2));
    if (is_rotated(s, KEY)) key = rotate(b, key);
    if (s->scaled) key = OP(b, Mul, key, scalar(b, 0.5F));
    return transpose(b, key, 0, 1, 3, 2);
}

static void make(builder *b, const void *of) {
    const spec *s = of;
    bert_value *from = input(b, "x", BERT_FLOAT, s->square ? "batch 8 32" : "batch sequence 32");
    bert_value *query = heads_of(b, from), *value = heads_of(b, from);
    if (is_rotated(s, QUERY)) query = rotate(b, query);
    if (s->scaled) query = OP(b, Mul, query, scalar(b, 0.5F));
    if (is_rotated(s, VALUE)) value = rotate(b, value);
    if (s->scaled_value) value = OP(b, Mul, value, scalar(b, 2));
    if (s->unknown_heads) { /* as many as another input has elements: all of them */
        bert_value *which = input(b, "which", BERT_INT64, "count");
        bert_attribute heads_axis = BERT_INT_ATTRIBUTE("axis", 1);
        query = OP_WITH(b, Gather, heads_axis, query, which);
    }
    bert_value *scores = OP(b, Div, OP(b, MatMul, query, key_of(b, s, from)), scalar(b, 3));
    if (s->masked)
        scores = OP(b, Where, input(b, "mask", BERT_BOOL, "batch 1 1 sequence"), scores, scalar(b, -INFINITY));
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", -1);
    bert_value *p = OP_WITH(b, Softmax, axis, scores);
    if (s->masked) p = OP(b, Where, OP(b, IsNaN, p), scalar(b, 0), p);
    bert_value *context = transpose(b, OP(b, MatMul, p, value), 0, 2, 1, 3);
    bert_value *outputs[2] = {RESHAPE(b, context, 0, 0, WIDTH), NULL};
    int32_t count = 1;
    if (s->heads_are_read) outputs[count++] = OP(b, Tanh, query);
    declare(b, outputs, count);
}

static int attentions(const spec *s) {
    const int64_t sequence = s->square ? SIZE : SEQUENCE;
    static int64_t which[HEADS] = {0, 1, 2, 3};
    bert_named_tensor given[3] = {twice_input("x", BERT_FLOAT, x, 3, (const int64_t[]){BATCH, sequence, WIDTH})};
    size_t count = 1;
    if (s->unknown_heads) given[count++] = twice_input("which", BERT_INT64, which, 1, (const int64_t[]){HEADS});
    if (s->masked) given[count++] = twice_input("mask", BERT_BOOL, mask, 4, (const int64_t[]){BATCH, 1, 1, sequence});
    bert_model *model = twice(make, s, given, count, 1e-5);
    const int found = twice_count(model, BERT_OP_BERTC_Attention);
    assert_int_equal(twice_count(model, BERT_OP_Softmax), 1 - found);
    bert_model_free(model);
    return found;
}

static int fill(void **state) {
    for (int i = 0; i < BATCH * SIZE * WIDTH; i++) x[i] = (float)(i * 7919 % 211) / 100 - 1.05F;
    /* All of the first sequence counts, and nothing of the second one: its rows are zeros. */
    for (int i = 0; i < BATCH * SIZE; i++) mask[i] = i < SEQUENCE;
    return 0;
}

static void rotated_heads_become_attention(void **state) {
    for (int i = 0; i < 8 * PARTS; i++)
        assert_int_equal(
            attentions(&(spec){.rotated = (part)(i / 8), .scaled = i & 1, .masked = i & 2, .heads_are_read = i & 4}),
            1);
}

/* What multiplies as keys do is one, whatever its dimensions are called. */
static void keys_may_lie_in_any_order(void **state) {
    assert_int_equal(attentions(&(spec){.key_turned = true}), 1);
    assert_int_equal(attentions(&(spec){.key_turned = true, .rotated = QUERY, .masked = true}), 1);
    assert_int_equal(attentions(&(spec){.square = true}), 1);
}

static void what_attention_does_not_compute_stays_plain(void **state) {
    assert_int_equal(attentions(&(spec){.rotated = EVERY, .unknown_heads = true}), 0);
    assert_int_equal(attentions(&(spec){.rotated = EVERY, .scaled_value = true}), 0);
    assert_int_equal(attentions(&(spec){.scaled_value = true}), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rotated_heads_become_attention),
                                       cmocka_unit_test(keys_may_lie_in_any_order),
                                       cmocka_unit_test(what_attention_does_not_compute_stays_plain)};
    return cmocka_run_group_tests(tests, fill, NULL);
}
