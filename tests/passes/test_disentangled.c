/* DeBERTa's attention: DisentangledBias and Attention from its spellings, and what must be left alone. */
#include "core/graph/canonical.h"
#include "tests/passes/twice.h"

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})
enum { HEADS = 2, SIZE = 4, WIDTH = HEADS * SIZE, POSITIONS = 6, BATCH = 2, SEQUENCE = 3 };

/* Ways in which exporters differ, then one thing that is wrong. */
typedef struct spelling {
    bert_value *offset, *by_head; /* Inputs, where there are such. */
    bool four;                    /* Batch and heads are two dimensions throughout. */
    bool tile;                    /* Positions are tiled for the batch, else expanded. */
    bool no_keys, no_queries;
    bool scale_late; /* After both terms are added up. */
    bool turn_late;  /* A scale before the Transpose, not after it. */
    bool swapped;    /* Operands of Add. */
    bool late;       /* What indices are comes with a run. */
    bool masked;     /* Where(mask, ...) before Softmax; */
    bool zeroed;     /* and behind it. */
    bool keep;       /* The mask says which keys stay. */
    bool read;       /* The bias is an output as well. */
    bool another;    /* There is a second bias, which masks keys, too. */
    enum {
        RIGHT,
        OTHER_CONTENT,   /* The values' heads are multiplied with positions. */
        OTHER_AXIS,      /* Gathered along queries. */
        OTHER_SCALE,     /* One term has another scale. */
        NOT_TURNED,      /* Keys stay first. */
        BY_HEAD,         /* Indices of each head, which come with a run. */
        OF_ONE_HEAD,     /* Indices for the first sequence and head alone, whose bias all get. */
        TWICE,           /* The same term two times. */
        OTHER_MASK,      /* Zeros behind Softmax by another mask; */
        OTHER_NUMBER,    /* something else than zeros; */
        SMALL_MASK_VALUE /* or where masked keys count a little. */
    } wrong;
} spelling;

static float numbers[BATCH * SEQUENCE * WIDTH];
static bool mask[BATCH * SEQUENCE * SEQUENCE], other_mask[BATCH * SEQUENCE * SEQUENCE];
static int64_t by_head[BATCH * HEADS * SEQUENCE * SEQUENCE];

static int fill(void **state) {
    for (int i = 0; i < BATCH * SEQUENCE * WIDTH; i++) numbers[i] = (float)((i * 7919 + 13) % 211) / 100 - 1.05F;
    for (int i = 0; i < BATCH * SEQUENCE * SEQUENCE; i++) {
        const int sequence = i / SEQUENCE / SEQUENCE, query = i / SEQUENCE % SEQUENCE, key = i % SEQUENCE;
        mask[i] = sequence == 1 && (key == 2 || query == 2); /* drops the last token of the second sequence */
        other_mask[i] = i % 5 == 0;
    }
    for (int i = 0; i < BATCH * HEADS * SEQUENCE * SEQUENCE; i++) by_head[i] = i % POSITIONS;
    return 0;
}

static bert_value *turned(builder *b, bert_value *x, bool four) {
    bert_attribute three = INTS_ATTRIBUTE("perm", 0, 2, 1);
    return four ? transpose(b, x, 0, 1, 3, 2) : OP_WITH(b, Transpose, three, x);
}

static bert_value *heads_of(builder *b, bert_value *x, int64_t length, bool four) {
    bert_value *heads = transpose(b, RESHAPE(b, x, 0, 0, HEADS, SIZE), 0, 2, 1, 3);
    return four ? heads : RESHAPE(b, heads, -1, length, SIZE);
}

static bert_value *project(builder *b, bert_value *x) {
    return OP(b, Add, OP(b, MatMul, x, weight(b, WIDTH, WIDTH)), weight(b, WIDTH, 0));
}

/* [1, P, H D] as what is multiplied from the right. */
static bert_value *positions(builder *b, spelling s) {
    bert_value *heads = heads_of(b, project(b, tensor(b, 3, DIMS(1, POSITIONS, WIDTH))), POSITIONS, s.four);
    if (!s.four) heads = OP(b, Tile, heads, INTS(b, BATCH, 1, 1));
    if (s.four && s.tile) heads = OP(b, Tile, heads, INTS(b, BATCH, 1, 1, 1));
    if (s.four && !s.tile) heads = OP(b, Expand, heads, INTS(b, BATCH, HEADS, POSITIONS, SIZE));
    return turned(b, heads, s.four);
}

/* Rows of positions by the difference of two places, the same for all sequences and heads. */
static bert_value *indices(builder *b, spelling s, int64_t first) {
    int64_t all[SEQUENCE * SEQUENCE];
    for (int64_t i = 0; i < SEQUENCE * SEQUENCE; i++) all[i] = first + i / SEQUENCE - i % SEQUENCE;
    bert_value *list = RESHAPE(b, ints(b, SEQUENCE * SEQUENCE, all), 1, SEQUENCE, SEQUENCE);
    if (s.late) list = OP(b, Add, list, s.offset);
    if (s.wrong == BY_HEAD) return s.by_head;
    if (s.wrong == OF_ONE_HEAD) return s.four ? RESHAPE(b, list, 1, 1, SEQUENCE, SEQUENCE) : list;
    return s.four ? OP(b, Expand, list, INTS(b, BATCH, HEADS, SEQUENCE, SEQUENCE))
                  : OP(b, Expand, list, INTS(b, BATCH * HEADS, SEQUENCE, SEQUENCE));
}

static bert_value *gathered(builder *b, spelling s, bert_value *content, int64_t first) {
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", s.wrong == OTHER_AXIS ? (s.four ? 2 : 1) : -1);
    spelling same = s;
    if (s.wrong == OTHER_AXIS) first = 1; /* within the queries */
    if (s.wrong == OTHER_AXIS) same.wrong = RIGHT;
    bert_value *product = OP(b, MatMul, content, positions(b, same)), *by = indices(b, s, first);
    if (s.wrong == OTHER_AXIS) by = OP(b, Clip, by, INT(b, 0), INT(b, SEQUENCE - 1));
    return OP_WITH(b, GatherElements, axis, product, by);
}

static bert_value *scaled(builder *b, bert_value *x, bool now, float by) {
    return now ? OP(b, Div, x, scalar(b, by)) : x;
}

static bert_value *bias_of(builder *b, spelling s, bert_value *q, bert_value *k, bert_value *v) {
    bert_value *keys = NULL, *queries = NULL;
    if (!s.no_keys) {
        bert_value *content = s.wrong == OTHER_CONTENT ? v : q;
        keys = scaled(b, gathered(b, s, content, 2), !s.scale_late, s.wrong == OTHER_SCALE ? 3 : 4);
    }
    if (!s.no_queries) {
        spelling of_keys = s;
        if (s.wrong == OTHER_AXIS) of_keys.wrong = RIGHT;
        queries = scaled(b, gathered(b, of_keys, k, 3), s.turn_late && !s.scale_late, 4);
        if (s.wrong != NOT_TURNED) queries = turned(b, queries, s.four);
        queries = scaled(b, queries, !s.turn_late && !s.scale_late, 4);
    }
    bert_value *sum = !keys      ? queries
                      : !queries ? keys
                                 : OP(b, Add, s.swapped ? queries : keys, s.swapped ? keys : queries);
    if (s.wrong == TWICE) sum = OP(b, Add, sum, keys);
    return scaled(b, sum, s.scale_late, 4);
}

static bert_value *attend(builder *b, spelling s, bert_value *scores, bert_value *v) {
    bert_value *drop = s.masked ? input(b, "mask", BERT_BOOL, "2 1 3 3") : NULL, *zero = scalar(b, 0);
    if (!s.four) scores = RESHAPE(b, scores, -1, HEADS, SEQUENCE, SEQUENCE);
    const float number = s.wrong == SMALL_MASK_VALUE ? -10 : -3.4e38F;
    if (s.masked && s.keep) drop = OP(b, Not, drop);
    if (drop) scores = OP(b, Where, drop, s.keep ? scores : scalar(b, number), s.keep ? scalar(b, number) : scores);
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", -1);
    bert_value *p = OP_WITH(b, Softmax, axis, scores);
    if (s.wrong == OTHER_MASK) drop = input(b, "other_mask", BERT_BOOL, "2 1 3 3");
    if (s.wrong == OTHER_NUMBER) zero = scalar(b, 0.25F);
    if (s.zeroed) p = OP(b, Where, drop, s.keep ? p : zero, s.keep ? zero : p);
    if (!s.four) p = RESHAPE(b, p, -1, SEQUENCE, SEQUENCE);
    bert_value *context = OP(b, MatMul, p, v);
    if (!s.four) context = RESHAPE(b, context, -1, HEADS, SEQUENCE, SIZE);
    return RESHAPE(b, transpose(b, context, 0, 2, 1, 3), 0, 0, WIDTH);
}

static void make(builder *b, const void *spec) {
    spelling s = *(const spelling *)spec;
    if (s.late) s.offset = input(b, "offset", BERT_INT64, "");
    if (s.wrong == BY_HEAD) s.by_head = input(b, "by_head", BERT_INT64, s.four ? "2 2 3 3" : "4 3 3");
    bert_value *x = input(b, "x", BERT_FLOAT, "2 3 8"), *heads[3];
    for (int i = 0; i < 3; i++) heads[i] = heads_of(b, project(b, x), SEQUENCE, s.four);
    bert_value *scores = OP(b, MatMul, heads[0], OP(b, Div, turned(b, heads[1], s.four), scalar(b, 4)));
    bert_value *bias = bias_of(b, s, heads[0], heads[1], heads[2]);
    scores = OP(b, Add, s.swapped ? bias : scores, s.swapped ? scores : bias);
    if (s.another) scores = OP(b, Add, scores, input(b, "another", BERT_FLOAT, "2 1 1 3"));
    bert_value *y[] = {attend(b, s, scores, heads[2]), s.read ? OP(b, Neg, bias) : NULL};
    declare(b, y, s.read ? 2 : 1);
}

static bert_model *run_twice(spelling s) {
    bert_named_tensor inputs[6] = {twice_input("x", BERT_FLOAT, numbers, 3, DIMS(BATCH, SEQUENCE, WIDTH))};
    size_t count = 1;
    static int64_t offset = 0;
    if (s.late) inputs[count++] = twice_input("offset", BERT_INT64, &offset, 0, NULL);
    if (s.wrong == BY_HEAD)
        inputs[count++] =
            twice_input("by_head", BERT_INT64, by_head, s.four ? 4 : 3,
                        s.four ? DIMS(BATCH, HEADS, SEQUENCE, SEQUENCE) : DIMS(BATCH * HEADS, SEQUENCE, SEQUENCE));
    static float another[] = {-3e38F, 0, 0, -3e38F, -3e38F, 0};
    if (s.another) inputs[count++] = twice_input("another", BERT_FLOAT, another, 4, DIMS(BATCH, 1, 1, SEQUENCE));
    if (s.masked) inputs[count++] = twice_input("mask", BERT_BOOL, mask, 4, DIMS(BATCH, 1, SEQUENCE, SEQUENCE));
    if (s.wrong == OTHER_MASK)
        inputs[count++] = twice_input("other_mask", BERT_BOOL, other_mask, 4, DIMS(BATCH, 1, SEQUENCE, SEQUENCE));
    return twice(make, &s, inputs, count, 1e-5);
}

static void every_spelling_becomes_a_bias_of_one_attention(void **state) {
    for (int bits = 0; bits < 1 << 9; bits++) {
        for (int terms = 0; terms < 3; terms++) {
            const spelling s = {.four = bits & 1,
                                .tile = bits & 2,
                                .scale_late = bits & 4,
                                .turn_late = bits & 8,
                                .swapped = bits & 16,
                                .masked = bits & 32,
                                .zeroed = (bits & 96) == 96,
                                .late = bits & 128,
                                .keep = bits & 256,
                                .no_keys = terms == 1,
                                .no_queries = terms == 2};
            bert_model *model = run_twice(s);
            assert_int_equal(twice_count(model, BERT_OP_BERTC_DisentangledBias), 1);
            assert_int_equal(twice_count(model, BERT_OP_BERTC_Attention), 1);
            assert_int_equal(twice_count(model, BERT_OP_Softmax) + twice_count(model, BERT_OP_GatherElements), 0);
            bert_model_free(model);
        }
    }
}

static void what_is_another_bias_stays(void **state) {
    for (int wrong = OTHER_CONTENT; wrong <= TWICE; wrong++) {
        for (int four = 0; four < 2; four++) {
            bert_model *model = run_twice((spelling){.four = four, .wrong = wrong});
            assert_int_equal(twice_count(model, BERT_OP_BERTC_DisentangledBias), 0);
            assert_true(twice_count(model, BERT_OP_GatherElements) >= 2);
            /* Where batch and heads are apart it may be any bias of an attention's. */
            assert_int_equal(twice_count(model, BERT_OP_BERTC_Attention), four || wrong == OF_ONE_HEAD);
            bert_model_free(model);
        }
    }
}

static void others_may_read_the_bias(void **state) {
    for (int four = 0; four < 2; four++) {
        bert_model *model = run_twice((spelling){.four = four, .read = true});
        assert_int_equal(twice_count(model, BERT_OP_BERTC_Attention), 1);
        assert_int_equal(twice_count(model, BERT_OP_BERTC_DisentangledBias), 1);
        assert_int_equal(twice_count(model, BERT_OP_GatherElements), 2);
        bert_model_free(model);
    }
}

/* It may mask all that a mask leaves: then masked keys are what counts, until they become zeros. */
static void zeros_behind_another_bias_stay(void **state) {
    bert_model *model = run_twice((spelling){.four = true, .masked = true, .zeroed = true, .another = true});
    assert_int_equal(twice_count(model, BERT_OP_BERTC_Attention), 0);
    bert_model_free(model);
    model = run_twice((spelling){.four = true, .another = true});
    assert_int_equal(twice_count(model, BERT_OP_BERTC_Attention), 1);
    assert_int_equal(twice_count(model, BERT_OP_BERTC_DisentangledBias), 1);
    bert_model_free(model);
}

static void what_is_put_in_the_place_of_other_probabilities_stays(void **state) {
    for (int wrong = OTHER_MASK; wrong <= SMALL_MASK_VALUE; wrong++) {
        bert_model *model = run_twice((spelling){.masked = true, .zeroed = true, .wrong = wrong});
        assert_int_equal(twice_count(model, BERT_OP_BERTC_Attention), 0);
        assert_int_equal(twice_count(model, BERT_OP_Softmax), 1);
        bert_model_free(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_spelling_becomes_a_bias_of_one_attention),
        cmocka_unit_test(what_is_another_bias_stays),
        cmocka_unit_test(others_may_read_the_bias),
        cmocka_unit_test(zeros_behind_another_bias_stay),
        cmocka_unit_test(what_is_put_in_the_place_of_other_probabilities_stays),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
