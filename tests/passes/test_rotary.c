/* Heads that are rotated by their positions: spelled as exporters do, and what only looks like it. */
#include "core/graph/canonical.h"
#include "tests/passes/twice.h"

#include <math.h>

enum { BATCH = 2, SEQUENCE = 6, HEADS = 3, SIZE = 8, WIDTH = HEADS * SIZE };

/* How query, key and value come from their projections. */
typedef enum cut {
    THREE_LINEARS,
    SPLIT_PACKED,     /* of [B, S, 3, H, D] */
    SPLIT_TRANSPOSED, /* of [B, H, 3, S, D] */
    SLICE_PACKED,
    GATHER_PACKED,
    SLICE_COLUMNS, /* of [B, S, 3 H D] */
    CUTS
} cut;

typedef enum angles {
    OF_ALL,      /* [1, 1, S, D], or [1, S, 1, D] where sequences come before heads */
    OF_EACH,     /* [B, 1, S, D] */
    WITHOUT_ONE, /* [1, S, D], or [S, 1, D] */
    OF_ROWS,     /* [S, D]: where heads come before sequences */
    OF_TABLE,    /* as many rows of a table as there are tokens */
    ANGLES,
    OF_HEADS,      /* Near misses: [1, H, S, D], */
    OF_NONE,       /* [1, 1, 1, D], */
    OF_MIXED,      /* sines of each sequence beside cosines of all, */
    OF_SHORT_TABLE /* one row where there are tokens */
} angles;

typedef enum fault {
    RIGHT,
    KEY_ALONE,        /* is rotated */
    OTHER_ANGLES,     /* of the key */
    NEGATED_FIRST,    /* Concat(x[D/2:], -x[:D/2]) */
    NOT_SWAPPED,      /* Concat(-x[:D/2], x[D/2:]) */
    OTHER_HALF,       /* the first half of another tensor */
    FIRST_COLUMNS,    /* x[:D/2 - 1] and x[D/2 - 1:] */
    OTHER_X,          /* beside the cosines */
    ROTATED_AND_MORE, /* something is added to what is rotated */
    VALUE_TOO,        /* is rotated */
    ORDER_OF_PARTS,   /* key, query, value in what is packed */
    LATE_COLUMNS,     /* of the key, by one */
    OTHER_SOURCE      /* of the value */
} fault;

typedef struct spec {
    cut from;
    bool sequence_first; /* rotated as [B, S, H, D] */
    bool split;          /* halves by a Split */
    bool swapped;        /* operands of Mul and Add the other way round */
    bool scaled;         /* after rotation */
    bool key_by_reshape; /* transposed in three dimensions */
    angles form;
    fault fault;
} spec;

static float x[BATCH * SIZE * WIDTH], numbers[4][BATCH * HEADS * SIZE * SIZE];
static bert_value *cosines[2], *sines[2];

static bert_value *either(builder *b, const spec *s, bool product, bert_value *first, bert_value *second) {
    bert_value *left = s->swapped ? second : first, *right = s->swapped ? first : second;
    return product ? OP(b, Mul, left, right) : OP(b, Add, left, right);
}

static bert_value *columns(builder *b, bert_value *of, int64_t start, int64_t end) {
    return OP(b, Slice, of, INTS(b, start), INTS(b, end), INTS(b, 3));
}

static void halve(builder *b, const spec *s, bert_value *of, bert_value *out[2]) {
    const int64_t half = s->fault == FIRST_COLUMNS ? SIZE / 2 - 1 : SIZE / 2;
    if (s->split && s->fault != FIRST_COLUMNS) {
        split(b, of, s->swapped ? 3 : -1, 2, out);
        return;
    }
    out[0] = columns(b, of, 0, half);
    out[1] = columns(b, of, s->swapped ? half - SIZE : half, INT64_MAX);
}

static bert_value *rotate(builder *b, const spec *s, bert_value *heads, int which) {
    const bert_attribute last = BERT_INT_ATTRIBUTE("axis", -1);
    bert_value *half[2], *turned, *beside = s->fault == OTHER_X ? OP(b, Abs, heads) : heads;
    halve(b, s, heads, half);
    if (s->fault == OTHER_HALF) half[0] = columns(b, OP(b, Abs, heads), 0, SIZE / 2);
    if (s->fault == NEGATED_FIRST)
        turned = OP_WITH(b, Concat, last, half[1], OP(b, Neg, half[0]));
    else if (s->fault == NOT_SWAPPED)
        turned = OP_WITH(b, Concat, last, OP(b, Neg, half[0]), half[1]);
    else
        turned = OP_WITH(b, Concat, last, OP(b, Neg, half[1]), half[0]);
    bert_value *y =
        either(b, s, false, either(b, s, true, beside, cosines[which]), either(b, s, true, turned, sines[which]));
    return s->fault == ROTATED_AND_MORE ? OP(b, Add, y, tensor(b, 1, (const int64_t[]){SIZE})) : y;
}

/* What query, key and value lie in; NULL where each has a Linear of its own. */
static bert_value *pack(builder *b, const spec *s, bert_value *from) {
    const bert_attribute order = INTS_ATTRIBUTE("perm", 0, 3, 2, 1, 4);
    if (s->from == THREE_LINEARS) return NULL;
    bert_value *all = OP(b, MatMul, from, weight(b, WIDTH, 3 * WIDTH));
    if (s->from == SLICE_COLUMNS) return all;
    all = RESHAPE(b, all, 0, 0, 3, HEADS, SIZE);
    return s->from == SPLIT_TRANSPOSED ? OP_WITH(b, Transpose, order, all) : all;
}

static bert_value *slice_columns(builder *b, const spec *s, bert_value *packed, int part) {
    const int64_t start = part * WIDTH + (s->fault == LATE_COLUMNS && part == 1);
    if (s->fault == OTHER_SOURCE && part == 2) packed = OP(b, Abs, packed);
    packed = OP(b, Slice, packed, INTS(b, start), INTS(b, start + WIDTH), INTS(b, s->swapped ? -1 : 2));
    return RESHAPE(b, packed, 0, 0, HEADS, SIZE);
}

/* Query, key and value, [B, S, H, D] or [B, H, S, D]. */
static void project(builder *b, const spec *s, bert_value *from, bert_value *heads[3]) {
    const bert_attribute second = BERT_INT_ATTRIBUTE("axis", 2);
    bert_value *packed = pack(b, s, from), *parts[3] = {NULL};
    if (s->from == SPLIT_PACKED || s->from == SPLIT_TRANSPOSED) split(b, packed, s->swapped ? -3 : 2, 3, parts);
    for (int i = 0; i < 3; i++) {
        const int part = s->fault == ORDER_OF_PARTS && i < 2 ? 1 - i : i;
        if (s->from == SLICE_PACKED)
            parts[part] = OP(b, Slice, packed, INTS(b, part), INTS(b, part + 1), INTS(b, s->swapped ? -3 : 2));
        if (s->from == THREE_LINEARS)
            heads[i] = RESHAPE(b, OP(b, MatMul, from, weight(b, WIDTH, WIDTH)), 0, 0, HEADS, SIZE);
        else if (s->from == SLICE_COLUMNS)
            heads[i] = slice_columns(b, s, packed, part);
        else if (s->from == GATHER_PACKED)
            heads[i] = OP_WITH(b, Gather, second, packed, INT(b, part));
        else
            heads[i] = OP(b, Squeeze, parts[part], INTS(b, 2));
        if ((s->from == SPLIT_TRANSPOSED) == s->sequence_first) heads[i] = transpose(b, heads[i], 0, 2, 1, 3);
    }
}

/* Of cosines (0 and 2) or sines. */
static angles form_of(const spec *s, int which) {
    return s->form == OF_MIXED ? which % 2 == 0 ? OF_ALL : OF_EACH : s->form;
}

/* Shapes of angles; how many tokens there are is known where the key is transposed in three dimensions. */
static const char *dims_of(const spec *s, int which) {
    static const char *const all[][2][2] = {
        [OF_ALL] = {{"1 1 sequence 8", "1 1 8 8"}, {"1 sequence 1 8", "1 8 1 8"}},
        [OF_EACH] = {{"batch 1 sequence 8", "batch 1 8 8"}, {"batch sequence 1 8", "batch 8 1 8"}},
        [WITHOUT_ONE] = {{"1 sequence 8", "1 8 8"}, {"sequence 1 8", "8 1 8"}},
        [OF_ROWS] = {{"sequence 8", "8 8"}, {"sequence 1 8", "8 1 8"}},
        [OF_HEADS] = {{"1 3 sequence 8", "1 3 8 8"}, {"1 sequence 3 8", "1 8 3 8"}},
        [OF_NONE] = {{"1 1 1 8", "1 1 1 8"}, {"1 1 1 8", "1 1 1 8"}}};
    return all[form_of(s, which)][s->sequence_first][s->key_by_reshape];
}

static bert_value *transpose_key(builder *b, const spec *s, bert_value *key) {
    const bert_attribute last_two = INTS_ATTRIBUTE("perm", 0, 2, 1);
    if (!s->key_by_reshape) return transpose(b, key, 0, 1, 3, 2);
    key = OP_WITH(b, Transpose, last_two, RESHAPE(b, key, -1, SIZE, SIZE));
    return RESHAPE(b, key, -1, HEADS, SIZE, SIZE);
}

static const char *const angle_names[4] = {"cosines", "sines", "cosines_of_key", "sines_of_key"};

static bool is_table(const spec *s) {
    return s->form == OF_TABLE || s->form == OF_SHORT_TABLE;
}

/* Cosines or sines: an input, or the first rows of a table. */
static bert_value *angles_for(builder *b, const spec *s, bert_value *from, int which) {
    const bert_attribute first = BERT_INT_ATTRIBUTE("axis", 0);
    const int64_t rows = s->form == OF_TABLE ? 16 : 1;
    if (!is_table(s)) return input(b, angle_names[which], BERT_FLOAT, dims_of(s, which));
    bert_value *length = OP_WITH(b, Gather, first, OP(b, Shape, from), INTS(b, 1));
    if (s->sequence_first)
        return OP(b, Slice, tensor(b, 3, (int64_t[]){rows, 1, SIZE}), INTS(b, 0), length, INTS(b, 0));
    return OP(b, Slice, tensor(b, 2, (int64_t[]){rows, SIZE}), INTS(b, 0), length, INTS(b, 0));
}

static void make(builder *b, const void *of) {
    const spec *s = of;
    const bert_attribute last = BERT_INT_ATTRIBUTE("axis", -1);
    bert_value *heads[3], *from = input(b, "x", BERT_FLOAT, s->key_by_reshape ? "batch 8 24" : "batch sequence 24");
    for (int i = 0; i < 2; i++) {
        const bool others = s->fault == OTHER_ANGLES && i == 1;
        cosines[i] = i == 0 || others ? angles_for(b, s, from, 2 * i) : cosines[0];
        sines[i] = i == 0 || others ? angles_for(b, s, from, 2 * i + 1) : sines[0];
    }
    project(b, s, from, heads);
    for (int i = 0; i < 3; i++) {
        const bool rotated = i == 0 ? s->fault != KEY_ALONE : i == 1 || s->fault == VALUE_TOO;
        if (rotated) heads[i] = rotate(b, s, heads[i], i == 1);
        if (s->scaled && i < 2) heads[i] = OP(b, Mul, heads[i], scalar(b, 0.5F));
        if (s->sequence_first) heads[i] = transpose(b, heads[i], 0, 2, 1, 3);
    }
    bert_value *scores = OP(b, MatMul, heads[0], transpose_key(b, s, heads[1]));
    bert_value *context = OP(b, MatMul, OP_WITH(b, Softmax, last, scores), heads[2]);
    declare(b, (bert_value *[]){RESHAPE(b, transpose(b, context, 0, 2, 1, 3), 0, 0, WIDTH)}, 1);
}

/* The Attention that passes make of it; of a model that is to be freed. */
static bert_node *attention_of(const spec *s, bert_model **model) {
    const int64_t sequence = s->key_by_reshape ? SIZE : SEQUENCE;
    const int64_t heads = s->form == OF_HEADS ? HEADS : 1;
    const int64_t rows = s->form == OF_NONE ? 1 : sequence;
    int64_t dims[4] = {1, s->sequence_first ? rows : heads, s->sequence_first ? heads : rows, SIZE};
    const int32_t left_out =
        s->form == WITHOUT_ONE || s->form == OF_ROWS ? (s->form == OF_ROWS && !s->sequence_first ? 2 : 1) : 0;
    bert_named_tensor given[5] = {twice_input("x", BERT_FLOAT, x, 3, (const int64_t[]){BATCH, sequence, WIDTH})};
    size_t count = 1;
    for (int i = 0; i < (s->fault == OTHER_ANGLES ? 4 : 2) && !is_table(s); i++) {
        dims[0] = form_of(s, i) == OF_EACH ? BATCH : 1;
        given[count++] = twice_input(angle_names[i], BERT_FLOAT, numbers[i], 4 - left_out, dims + left_out);
    }
    *model = twice(make, s, given, count, 1e-5);
    BERT_FOR_EACH_NODE (node, &bert_model_graph(*model)->body) {
        if (node->op->id == BERT_OP_BERTC_Attention) return node;
    }
    fail_msg("no Attention");
    return NULL;
}

static bool is_rotary(const spec *s, bool packed) {
    bert_model *model = NULL;
    const bert_node *attention = attention_of(s, &model);
    const bool rotary = bert_node_in(attention, BERT_ATTENTION_COSINES) != NULL;
    const bool of_table = s->form == OF_TABLE && !s->key_by_reshape; /* else it's computed */
    assert_int_equal(bert_node_in(attention, BERT_ATTENTION_SINES) != NULL, rotary);
    if (rotary) {
        assert_int_equal(BERT_NODE_INT(attention, "packed", 0), packed);
        assert_int_equal(twice_count(model, BERT_OP_Neg), s->fault == VALUE_TOO);
        assert_int_equal(twice_count(model, BERT_OP_Slice), s->fault == VALUE_TOO || of_table ? 2 : 0);
        assert_int_equal(twice_count(model, BERT_OP_Split), 0);
    }
    bert_model_free(model);
    return rotary;
}

static void rotated_heads_are_part_of_attention(void **state) {
    for (int i = 0; i < CUTS * ANGLES; i++)
        for (int variant = 0; variant < 32; variant++)
            assert_true(is_rotary(&(spec){.from = (cut)(i / ANGLES),
                                          .form = (angles)(i % ANGLES),
                                          .sequence_first = variant & 1,
                                          .split = variant & 2,
                                          .swapped = variant & 4,
                                          .scaled = variant & 8,
                                          .key_by_reshape = variant & 16},
                                  true));
}

static void what_only_looks_like_rotation_stays_plain(void **state) {
    for (int i = 0; i < 8; i++) {
        spec s = {.from = i & 1 ? GATHER_PACKED : THREE_LINEARS, .sequence_first = i & 2, .split = i & 4};
        for (int wrong = RIGHT + 1; wrong < VALUE_TOO; wrong++) {
            s.fault = (fault)wrong;
            assert_false(is_rotary(&s, false));
        }
        s.fault = RIGHT;
        s.form = OF_HEADS;
        assert_false(is_rotary(&s, false));
        s.form = OF_NONE;
        assert_false(is_rotary(&s, false));
        s.form = OF_MIXED;
        assert_false(is_rotary(&s, false));
        s.form = OF_SHORT_TABLE;
        assert_false(is_rotary(&s, false));
    }
}

/* Rotated alike, and read from where they are. */
static void what_does_not_lie_side_by_side_is_not_packed(void **state) {
    static const spec cases[] = {{.from = SPLIT_PACKED, .fault = ORDER_OF_PARTS},
                                 {.from = SLICE_COLUMNS, .fault = ORDER_OF_PARTS},
                                 {.from = SLICE_COLUMNS, .fault = LATE_COLUMNS},
                                 {.from = SLICE_COLUMNS, .fault = OTHER_SOURCE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bert_model *model = NULL;
        const bert_node *attention = attention_of(&cases[i], &model);
        assert_non_null(bert_node_in(attention, BERT_ATTENTION_COSINES));
        assert_int_equal(BERT_NODE_INT(attention, "packed", 0), 0);
        bert_model_free(model);
    }
    assert_true(is_rotary(&(spec){.from = THREE_LINEARS, .fault = VALUE_TOO}, false));
}

static int fill(void **state) {
    for (int i = 0; i < BATCH * SIZE * WIDTH; i++) x[i] = (float)(i * 7919 % 211) / 100 - 1.05F;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < BATCH * HEADS * SIZE * SIZE; j++) numbers[i][j] = sinf((float)(j + 100 * i) * 0.37F);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rotated_heads_are_part_of_attention),
                                       cmocka_unit_test(what_only_looks_like_rotation_stays_plain),
                                       cmocka_unit_test(what_does_not_lie_side_by_side_is_not_packed)};
    return cmocka_run_group_tests(tests, fill, NULL);
}
