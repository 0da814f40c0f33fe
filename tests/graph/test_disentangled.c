/* The canonical DisentangledBias: inference, and its reference implementation against the operators it stands for. */
#include "core/graph/canonical.h"
#include "tests/graph/op_case.h"

#include <math.h>

enum { B = 2, S = 3, T = 4, H = 2, D = 5, P = 6, WIDTH = H * D };

static float q[B * S * WIDTH], k[B * T * WIDTH], keys[P * WIDTH], queries[P * WIDTH];
static const int32_t c2p[S * T] = {3, 2, 1, 0, 4, 3, 2, 1, 5, 4, 3, -4};
static const int64_t p2c[T * S] = {2, 1, 0, 3, 2, 1, 4, 3, 2, 5, -2, 3};

static int fill(void **state) {
    for (int i = 0; i < B * T * WIDTH; i++) k[i] = (float)((i * 31 + 7) % 47) / 11.0F - 2.0F;
    for (int i = 0; i < B * S * WIDTH; i++) q[i] = (float)((i * 29 + 3) % 41) / 9.0F - 2.2F;
    for (int i = 0; i < P * WIDTH; i++) keys[i] = (float)((i * 23 + 5) % 37) / 8.0F - 2.0F;
    for (int i = 0; i < P * WIDTH; i++) queries[i] = (float)((i * 19 + 1) % 43) / 10.0F - 2.0F;
    return 0;
}

/* `terms`: bit 0 content to position, 1 the other way round. */
static void begin(int terms) {
    op_case_begin_in("bertc", "DisentangledBias", 1);
    op_case_int("heads", H);
    op_case_float("scale", 0.25F);
    op_case_tensor(BERT_FLOAT, "2,3,10", q);
    op_case_tensor(BERT_FLOAT, "2,4,10", k);
    for (int term = 0; term < 2; term++) {
        if (terms >> term & 1) {
            op_case_tensor(BERT_FLOAT, "1,6,10", term ? queries : keys);
            op_case_tensor(term ? BERT_INT64 : BERT_INT32, term ? "4,3" : "3,4", term ? (const void *)p2c : c2p);
        } else {
            op_case_absent();
            op_case_absent();
        }
    }
}

static double product(const float *a, const float *b, int head) {
    double sum = 0;
    for (int i = 0; i < D; i++) sum += (double)a[head * D + i] * (double)b[head * D + i];
    return sum;
}

static void each_term_is_a_product_with_the_row_of_its_position(void **state) {
    for (int terms = 0; terms < 4; terms++) {
        begin(terms);
        op_case_expect(0, BERT_FLOAT, "2,2,3,4");
        const float *y = op_case_run();
        for (int at = 0; at < B * H * S * T; at++) {
            const int j = at % T, i = at / T % S, head = at / T / S % H, batch = at / T / S / H;
            const int64_t key = c2p[i * T + j], query = p2c[j * S + i];
            const float *key_row = keys + (key < 0 ? key + P : key) * WIDTH;
            const float *query_row = queries + (query < 0 ? query + P : query) * WIDTH;
            double expected = 0;
            if (terms & 1) expected += product(q + (batch * S + i) * WIDTH, key_row, head);
            if (terms & 2) expected += product(k + (batch * T + j) * WIDTH, query_row, head);
            assert_true(fabs((double)y[at] - 0.25 * expected) < 1e-6);
        }
    }
}

static void indices_outside_are_named(void **state) {
    static const int32_t outside[S * T] = {0, 0, 0, 0, 0, 6};
    op_case_begin_in("bertc", "DisentangledBias", 1);
    op_case_int("heads", H);
    op_case_tensor(BERT_FLOAT, "2,3,10", q);
    op_case_tensor(BERT_FLOAT, "2,4,10", k);
    op_case_tensor(BERT_FLOAT, "1,6,10", keys);
    op_case_tensor(BERT_INT32, "3,4", outside);
    op_case_expect_run_fails(BERT_INVALID_INPUT, "index 6 at [1, 1] of input 3 is outside the 6 positions");
}

static void symbolic(const char *keys_shape, const char *c2p_shape) {
    op_case_begin_in("bertc", "DisentangledBias", 1);
    op_case_int("heads", 3);
    op_case_input(BERT_FLOAT, "batch,queries,12");
    op_case_input(BERT_FLOAT, "batch,keys,12");
    if (keys_shape)
        op_case_input(BERT_FLOAT, keys_shape);
    else
        op_case_absent();
    if (c2p_shape) op_case_input(BERT_INT64, c2p_shape);
}

static void shapes_must_agree(void **state) {
    symbolic("1,p,12", "queries,keys");
    op_case_expect(0, BERT_FLOAT, "batch,3,queries,keys");
    symbolic(NULL, NULL);
    op_case_expect(0, BERT_FLOAT, "batch,3,queries,keys");
    symbolic("2,p,12", "queries,keys");
    op_case_expect_refused(BERT_INVALID_MODEL, "the first dimension of positions and 1 are 2 and 1");
    symbolic("1,p,13", "queries,keys");
    op_case_expect_refused(BERT_INVALID_MODEL, "q and the position keys are 13 and 12");
    static const struct {
        const char *keys, *c2p, *queries, *p2c, *says;
    } wrong[] = {
        {"1,6,12", "4,5", "1,6,12", "5,4", NULL},
        {"1,6,12", "3,5", NULL, NULL, "the queries and the rows of content_to_position"},
        {"1,6,12", "4,4", NULL, NULL, "the keys and the columns of content_to_position"},
        {NULL, NULL, "1,6,12", "4,5", "the keys and the rows of position_to_content"},
        {NULL, NULL, "1,6,12", "5,5", "the queries and the columns of position_to_content"},
        {NULL, NULL, "1,6,11", "5,4", "k and the position queries"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *const shapes[] = {wrong[i].keys, wrong[i].c2p, wrong[i].queries, wrong[i].p2c};
        op_case_begin_in("bertc", "DisentangledBias", 1);
        op_case_int("heads", 3);
        op_case_input(BERT_FLOAT, "2,4,12");
        op_case_input(BERT_FLOAT, "2,5,12");
        for (int j = 0; j < 4; j++) {
            if (shapes[j])
                op_case_input(j % 2 ? BERT_INT32 : BERT_FLOAT, shapes[j]);
            else
                op_case_absent();
        }
        if (wrong[i].says)
            op_case_expect_refused(BERT_INVALID_MODEL, wrong[i].says);
        else
            op_case_expect(0, BERT_FLOAT, "2,3,4,5");
    }
    symbolic("1,p,12", NULL);
    op_case_expect_refused(BERT_INVALID_MODEL, "positions without indices");
    op_case_begin_in("bertc", "DisentangledBias", 1);
    op_case_int("heads", 5);
    op_case_input(BERT_FLOAT, "batch,queries,12");
    op_case_input(BERT_FLOAT, "batch,keys,12");
    op_case_expect_refused(BERT_INVALID_MODEL, "12 elements don't make 5 heads");
    op_case_begin_in("bertc", "DisentangledBias", 1);
    op_case_input(BERT_FLOAT, "batch,queries,12");
    op_case_input(BERT_FLOAT, "batch,keys,12");
    op_case_expect_refused(BERT_INVALID_MODEL, "0 heads");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(each_term_is_a_product_with_the_row_of_its_position, op_case_teardown),
        cmocka_unit_test_teardown(indices_outside_are_named, op_case_teardown),
        cmocka_unit_test_teardown(shapes_must_agree, op_case_teardown),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
