/* Einsum becomes products, sums and views; what they don't compute stays. */
#include "core/graph/canonical.h"
#include "tests/passes/twice.h"

#include <stdio.h>

enum { MOST = 3, ELEMENTS = 65536 };

/* Dimensions are read off the equation: a letter's size is a name, or a number where `known` has it. */
typedef struct spec {
    const char *equation, *known;
    bert_op_id by;         /* What computes it; BERT_OP_Einsum: it stays. */
    int transposes, views; /* How many of the one, and of Reshape, Squeeze and Unsqueeze there are. */
    bert_dtype dtype;      /* 0: float32 */
    const char *ones;      /* Letters that are 1 in the first operand. */
    const char *missed;    /* A word of why it stays. */
    bool constant;         /* The second operand. */
} spec;

static float floats[ELEMENTS];
static int32_t whole[ELEMENTS];

static int64_t size_of(char letter) {
    return 2 + letter * 3 % 5;
}

/* The letters of operand `number`; false where there is none. Other signs are left out. */
static bool letters_of(const char *equation, int number, char out[16]) {
    size_t count = 0;
    for (; number; number--) {
        equation = strchr(equation, ',');
        if (!equation) return false;
        equation++;
    }
    for (; *equation && !strchr(",-", *equation); equation++) {
        if (strchr(". ", *equation) == NULL) out[count++] = *equation;
    }
    out[count] = '\0';
    return true;
}

static bool is_one(const spec *s, int operand, char letter) {
    return operand == 0 && s->ones && strchr(s->ones, letter);
}

static bert_value *build(builder *b, const spec *s) {
    bert_value *operands[MOST] = {NULL};
    int32_t count = 0;
    char letters[16], name[2] = "a";
    for (; letters_of(s->equation, count, letters); count++, name[0]++) {
        char dims[64] = "";
        int64_t numbers[16];
        for (int i = 0; letters[i]; i++) {
            const bool known = strchr(s->known, letters[i]) || is_one(s, count, letters[i]);
            numbers[i] = is_one(s, count, letters[i]) ? 1 : size_of(letters[i]);
            if (known)
                sprintf(dims + strlen(dims), "%d ", (int)numbers[i]);
            else
                sprintf(dims + strlen(dims), "%c ", letters[i]);
        }
        operands[count] = s->constant && count == 1 ? tensor(b, (int32_t)strlen(letters), numbers)
                                                    : input(b, name, s->dtype ? s->dtype : BERT_FLOAT, dims);
    }
    bert_attribute equation = BERT_STRING_ATTRIBUTE("equation", s->equation);
    return node(b, BERT_OP_Einsum, &equation, 1, operands, count);
}

static void make(builder *b, const void *of) {
    declare(b, (bert_value *[]){build(b, of)}, 1);
}

static bert_model *model_of(const spec *s) {
    bert_named_tensor given[MOST];
    char letters[16];
    static const char *const names[MOST] = {"a", "b", "c"};
    size_t count = 0;
    for (int i = 0; i < MOST && letters_of(s->equation, i, letters); i++) {
        int64_t dims[16] = {0};
        void *data = s->dtype == BERT_INT32 ? (void *)whole : (void *)floats;
        for (int j = 0; letters[j]; j++) dims[j] = is_one(s, i, letters[j]) ? 1 : size_of(letters[j]);
        if (s->constant && i == 1) continue;
        given[count++] = twice_input(names[i], s->dtype ? s->dtype : BERT_FLOAT, data, (int32_t)strlen(letters), dims);
    }
    return twice(make, s, given, count, 1e-5);
}

static int views_in(const bert_model *model) {
    return twice_count(model, BERT_OP_Reshape) + twice_count(model, BERT_OP_Squeeze) +
           twice_count(model, BERT_OP_Unsqueeze);
}

static void check(const spec *s) {
    bert_model *model = model_of(s);
    const bool stays = s->by == BERT_OP_Einsum;
    if (twice_count(model, BERT_OP_Einsum) != stays || twice_count(model, s->by) != 1 ||
        twice_count(model, BERT_OP_Transpose) != s->transposes || views_in(model) != s->views)
        fail_msg("%s: %d Einsum, %d of its operator, %d Transpose, %d views", s->equation,
                 twice_count(model, BERT_OP_Einsum), twice_count(model, s->by), twice_count(model, BERT_OP_Transpose),
                 views_in(model));
    bert_model_free(model);
}

static void check_all(const spec *specs, size_t count) {
    for (size_t i = 0; i < count; i++) check(&specs[i]);
}
#define CHECK(specs) check_all((specs), sizeof(specs) / sizeof((specs)[0]))

static int fill(void **state) {
    for (int i = 0; i < ELEMENTS; i++) {
        floats[i] = (float)(i * 7919 % 211) / 100 - 1.05F;
        whole[i] = i * 7919 % 211 - 105;
    }
    return 0;
}

/* ---- What is rewritten ----------------------------------------------------------------------------------------------
 */

static void products_become_matmul(void **state) {
    static const spec specs[] = {
        {"ij,jk->ik", "", BERT_OP_MatMul, .views = 0},
        {"ij,jk", "", BERT_OP_MatMul, .views = 0},
        {"bhqd,bhdk->bhqk", "", BERT_OP_MatMul, .views = 0},
        {"bhqd,bhkd->bhqk", "", BERT_OP_MatMul, .transposes = 1},
        {"bkhd, bqhd -> bhqk", "", BERT_OP_MatMul, .transposes = 2}, /* the second one is the left one */
        {"ibnd,jbnd->bnij", "", BERT_OP_MatMul, .transposes = 2},
        {"bnij,jbnd->ibnd", "", BERT_OP_MatMul, .transposes = 2},
        {"ij,jk->ki", "", BERT_OP_MatMul, .transposes = 1}, /* not both operands */
        {"bid,bd->bi", "", BERT_OP_MatMul, .views = 2},
        {"bd,bid->bi", "", BERT_OP_MatMul, .views = 2},
        {"i,i->", "", BERT_OP_MatMul, .views = 3},
        {"i,i", "i", BERT_OP_MatMul, .views = 3},
        {"i,ij->j", "", BERT_OP_MatMul, .views = 2},
        {"bsi,ij->bsj", "", BERT_OP_MatMul, .views = 0}, /* rows of several labels */
        {"ibnd,snd->ibns", "", BERT_OP_MatMul, .transposes = 3,
         .views = 1}, /* with a batch: the right one is repeated */
        {"sbi,ij->bsj", "", BERT_OP_MatMul, .transposes = 1},
        {"ij,jk->ik", "", BERT_OP_MatMul, .views = 0, .dtype = BERT_INT32},
        {"bij,bjk->bik", "", BERT_OP_MatMul, .views = 0, .ones = "b"}, /* a batch of 1 is repeated */
    };
    CHECK(specs);
}

static void labels_of_weights_are_joined(void **state) {
    static const spec specs[] = {
        {"ibh,hnd->ibnd", "nd", BERT_OP_MatMul, .views = 2},
        {"ibnd,hnd->ibh", "nd", BERT_OP_MatMul, .transposes = 1, .views = 2},
        {"hnd,ibh->ibnd", "hnd", BERT_OP_MatMul, .views = 2},
        {"ibh,hnd->nibd", "hnd", BERT_OP_MatMul, .transposes = 1, .views = 2},
        {"ibh,hnd->ibnd", "hnd", BERT_OP_BERTC_Linear, .views = 1, .constant = true},
        {"ibnd,hnd->ibh", "hnd", BERT_OP_BERTC_Linear, .views = 1, .constant = true},
        {"ij,kj->ki", "jk", BERT_OP_BERTC_Linear, .transposes = 1,
         .constant = true}, /* the weight stays on the right */
        {"bsh,oh->bso", "ho", BERT_OP_BERTC_Linear, .views = 0, .constant = true},
    };
    CHECK(specs);
}

static void outer_products_become_mul(void **state) {
    static const spec specs[] = {
        {"i,j->ij", "", BERT_OP_Mul, .views = 1},
        {"i,j->ji", "", BERT_OP_Mul, .views = 1},
        {"bi,bj->bij", "", BERT_OP_Mul, .views = 2},
        {"ib,bj->jbi", "", BERT_OP_Mul, .transposes = 2, .views = 1},
        {"xi,b->xbi", "", BERT_OP_Mul, .views = 2},
        {"ij,ij->ij", "", BERT_OP_Mul, .views = 0},
        {"ij,->ij", "", BERT_OP_Mul, .views = 0},
        {"ij,j->ij", "", BERT_OP_Mul, .views = 0, .dtype = BERT_INT32},
        {"ij,ij->ij", "", BERT_OP_Mul, .views = 0, .ones = "j"},
    };
    CHECK(specs);
}

static void one_operand_is_summed_and_transposed(void **state) {
    static const spec specs[] = {
        {"ij->ji", "", BERT_OP_Transpose, .transposes = 1},
        {"ji", "", BERT_OP_Transpose, .transposes = 1},
        {"ij->ji", "", BERT_OP_Transpose, .transposes = 1, .dtype = BERT_INT32},
        {"ij->i", "", BERT_OP_ReduceSum, .views = 0},
        {"ij->", "", BERT_OP_ReduceSum, .views = 0},
        {"ijk->ki", "", BERT_OP_ReduceSum, .transposes = 1},
        {"ij->ij", "", BERT_OP_Identity, .views = 0},
    };
    CHECK(specs);
}

/* ---- What is not ----------------------------------------------------------------------------------------------------
 */

static void check_misses(const spec *specs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        builder b = start(17);
        run_all(&b, (bert_value *[]){build(&b, &specs[i])}, 1);
        assert_int_equal(count_nodes(&b, BERT_OP_Einsum), 1);
        if (!count_misses(&b, "einsum", specs[i].missed))
            fail_msg("%s: nobody says %s", specs[i].equation, specs[i].missed);
        finish(&b);
    }
}

static void near_misses_stay(void **state) {
    static const spec specs[] = {
        {"i,i,i->i", "", BERT_OP_Einsum, .missed = "more than two operands"},
        {"ii->i", "", BERT_OP_Einsum, .missed = "label twice"},
        {"ii,i->i", "", BERT_OP_Einsum, .missed = "label twice"},
        {"i...,i->i...", "", BERT_OP_Einsum, .missed = "an ellipsis"},
        {"ij,k->ik", "", BERT_OP_Einsum, .missed = "one operand alone"},
        {"i,jk->ik", "", BERT_OP_Einsum, .missed = "one operand alone"},
        {"ij,ik->i", "", BERT_OP_Einsum, .missed = "one operand alone"}, /* each of them has one */
        {"abcdefgh,abcdefgh->abcdefg", "", BERT_OP_Einsum, .missed = "too many dimensions"},
        {"ija,jkl->iakl", "", BERT_OP_Einsum, .missed = "not known"},
        {"ijk,kj->i", "", BERT_OP_Einsum, .missed = "not known"},
        {"ijk,kj->i", "ijk", BERT_OP_Einsum, .missed = "apart"},
        {"ij,jk->ik", "", BERT_OP_Einsum, .ones = "j", .missed = "label j is not certainly of one size"},
    };
    CHECK(specs);
    check_misses(specs, sizeof specs / sizeof specs[0]);
}

/* Of bytes there are neither products nor sums. */
static void types_that_others_lack_stay(void **state) {
    static const spec specs[] = {
        {"ij,jk->ik", "", BERT_OP_Einsum, .dtype = BERT_INT8, .missed = "MatMul has no such type"},
        {"ij->i", "", BERT_OP_Einsum, .dtype = BERT_INT8, .missed = "ReduceSum has no such type"},
    };
    check_misses(specs, sizeof specs / sizeof specs[0]);
}

static void unknown_ranks_stay(void **state) {
    bert_attribute equation = BERT_STRING_ATTRIBUTE("equation", "ij,jk->ik");
    builder b = start(17);
    bert_value *any = OP(&b, Reshape, input(&b, "a", BERT_FLOAT, "n"), input(&b, "shape", BERT_INT64, "m"));
    run_all(&b, (bert_value *[]){OP_WITH(&b, Einsum, equation, input(&b, "b", BERT_FLOAT, "i j"), any)}, 1);
    assert_int_equal(count_nodes(&b, BERT_OP_Einsum), 1);
    assert_true(count_misses(&b, "einsum", "a rank that is not known"));
    finish(&b);
}

/* 2^40 and 2^40 are no dimension. */
static void sizes_without_a_product_stay(void **state) {
    bert_attribute equation = BERT_STRING_ATTRIBUTE("equation", "ijk,ljk->il");
    builder b = start(17);
    bert_value *x = input(&b, "a", BERT_FLOAT, "i 1099511627776 1099511627776");
    bert_value *y = input(&b, "b", BERT_FLOAT, "l 1099511627776 1099511627776");
    run_all(&b, (bert_value *[]){OP_WITH(&b, Einsum, equation, x, y)}, 1);
    assert_int_equal(count_nodes(&b, BERT_OP_Einsum), 1);
    finish(&b);
}

/* Not copied: a Reshape of a large one would stay, and Linear has constants alone. */
static void joined_weights_stay_constants(void **state) {
    const int64_t dims[3] = {6, 2, 3};
    bert_attribute equation = BERT_STRING_ATTRIBUTE("equation", "ih,hnd->ind");
    builder b = start(17);
    bert_value *y = OP_WITH(&b, Einsum, equation, input(&b, "a", BERT_FLOAT, "i 6"), tensor(&b, 3, dims));
    RUN(&b, "einsum", y);
    assert_non_null(only(&b, BERT_OP_MatMul)->inputs[1]->info.constant);
    assert_null(only(&b, BERT_OP_MatMul)->inputs[1]->producer);
    assert_int_equal(count_nodes(&b, BERT_OP_Reshape), 1);
    finish(&b);
}

/* Few elements take many steps, which loading does not wait for. */
static void constants_are_not_computed_at_load(void **state) {
    const int64_t dims[2] = {4, 4};
    bert_attribute equation = BERT_STRING_ATTRIBUTE("equation", "ii,i->i");
    builder b = start(17);
    bert_value *y = OP_WITH(&b, Einsum, equation, tensor(&b, 2, dims), tensor(&b, 1, dims));
    run_all(&b, (bert_value *[]){OP(&b, Mul, y, input(&b, "a", BERT_FLOAT, "4"))}, 1);
    assert_int_equal(count_nodes(&b, BERT_OP_Einsum), 1);
    finish(&b);
}

/* ---- Models ---------------------------------------------------------------------------------------------------------
 */

enum { BATCH = 2, SEQUENCE = 5, HEADS = 4, SIZE = 8, WIDTH = HEADS * SIZE };

static bert_value *einsum(builder *b, const char *text, bert_value *x, bert_value *y) {
    bert_attribute equation = BERT_STRING_ATTRIBUTE("equation", text);
    return OP_WITH(b, Einsum, equation, x, y);
}

static bert_value *heads_of(builder *b, bert_value *from) {
    bert_value *projected = OP(b, Add, OP(b, MatMul, from, weight(b, WIDTH, WIDTH)), weight(b, WIDTH, 0));
    return RESHAPE(b, projected, 0, 0, HEADS, SIZE);
}

static void make_attention(builder *b, const void *of) {
    const bool *masked = of;
    bert_value *from = input(b, "x", BERT_FLOAT, "batch sequence 32");
    bert_value *scores = einsum(b, "bqhd,bkhd->bhqk", heads_of(b, from), heads_of(b, from));
    scores = OP(b, Div, scores, scalar(b, 3));
    if (*masked) scores = OP(b, Add, scores, input(b, "bias", BERT_FLOAT, "batch 1 1 sequence"));
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", -1);
    bert_value *context = einsum(b, "bhqk,bkhd->bqhd", OP_WITH(b, Softmax, axis, scores), heads_of(b, from));
    declare(b, (bert_value *[]){RESHAPE(b, context, 0, 0, WIDTH)}, 1);
}

/* As XLNet has it: sequence first, weights by heads. */
static void make_by_heads(builder *b, const void *of) {
    const int64_t by_heads[3] = {WIDTH, HEADS, SIZE};
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 3);
    bert_value *from = input(b, "x", BERT_FLOAT, "sequence batch 32"), *heads[3];
    for (int i = 0; i < 3; i++) heads[i] = einsum(b, "ibh,hnd->ibnd", from, tensor(b, 3, by_heads));
    bert_value *scores = OP(b, Mul, einsum(b, "ibnd,jbnd->bnij", heads[0], heads[1]), scalar(b, 0.25F));
    bert_value *context = einsum(b, "bnij,jbnd->ibnd", OP_WITH(b, Softmax, axis, scores), heads[2]);
    declare(b, (bert_value *[]){einsum(b, "ibnd,hnd->ibh", context, tensor(b, 3, by_heads))}, 1);
}

static bert_model *model_without_einsum(twice_fn of, const void *as, const int64_t dims[3], bool masked) {
    bert_named_tensor given[2] = {twice_input("x", BERT_FLOAT, floats, 3, dims)};
    if (masked) given[1] = twice_input("bias", BERT_FLOAT, floats, 4, (const int64_t[]){dims[0], 1, 1, dims[1]});
    bert_model *model = twice(of, as, given, masked ? 2 : 1, 1e-5);
    assert_int_equal(twice_count(model, BERT_OP_Einsum), 0);
    return model;
}

static void attention_is_found(void **state) {
    for (int masked = 0; masked < 2; masked++) {
        bert_model *model =
            model_without_einsum(make_attention, &(bool){masked}, (const int64_t[]){BATCH, SEQUENCE, WIDTH}, masked);
        assert_int_equal(twice_count(model, BERT_OP_BERTC_Attention), 1);
        assert_int_equal(twice_count(model, BERT_OP_Softmax), 0);
        bert_model_free(model);
    }
}

/* Its sequence goes first, as Attention's does not: there products are what there is. */
static void weights_by_heads_become_linear(void **state) {
    bert_model *model = model_without_einsum(make_by_heads, NULL, (const int64_t[]){SEQUENCE, BATCH, WIDTH}, false);
    assert_int_equal(twice_count(model, BERT_OP_BERTC_Linear), 4);
    assert_int_equal(twice_count(model, BERT_OP_MatMul), 2);
    bert_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(products_become_matmul),
                                       cmocka_unit_test(labels_of_weights_are_joined),
                                       cmocka_unit_test(outer_products_become_mul),
                                       cmocka_unit_test(one_operand_is_summed_and_transposed),
                                       cmocka_unit_test(near_misses_stay),
                                       cmocka_unit_test(types_that_others_lack_stay),
                                       cmocka_unit_test(unknown_ranks_stay),
                                       cmocka_unit_test(sizes_without_a_product_stay),
                                       cmocka_unit_test(joined_weights_stay_constants),
                                       cmocka_unit_test(constants_are_not_computed_at_load),
                                       cmocka_unit_test(attention_is_found),
                                       cmocka_unit_test(weights_by_heads_become_linear)};
    return cmocka_run_group_tests(tests, fill, NULL);
}
