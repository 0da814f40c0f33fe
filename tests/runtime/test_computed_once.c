/* Products of constants are computed once for all plans and sessions of a model. */
#include "core/runtime/reference_backend.h"
#include "tests/runtime/build.h"
#include "tests/support/test.h"

#include <string.h>

enum { DEEP = 520, WIDTH = 2, MOST_ROWS = 3 };

/* The reference backend, that counts what it multiplies and negates, and can fail at it. */
static bert_kernel_fn multiply, negate;
static int products, negations;
static bool fails;

static bert_status run_product(const bert_kernel_call *call, bert_error *error) {
    products++;
    if (fails) return bert_fail(error, BERT_IO_ERROR, "no product");
    return multiply(call, error);
}

static bert_status run_negation(const bert_kernel_call *call, bert_error *error) {
    negations++;
    return negate(call, error);
}

static bert_status plan_counted(bert_prepared *prepared, bert_context *context, const bert_op_node *node,
                                bert_plan_mode mode, bert_op_plan *out, bert_error *error) {
    const bert_status status = bert_reference_backend.plan(prepared, context, node, mode, out, error);
    if (status != BERT_OK || mode != BERT_PLAN_BIND) return status;
    if (strcmp(node->op_type, "MatMul") == 0) {
        multiply = out->run;
        out->run = run_product;
    } else if (strcmp(node->op_type, "Neg") == 0) {
        negate = out->run;
        out->run = run_negation;
    }
    return BERT_OK;
}

static int start(void **state) {
    products = negations = 0;
    fails = false;
    return 0;
}

/*
 * x W with W = (-I) (-B), of constants alone, of which binding computes the second in every plan; and the sum of -I,
 * that no product reads. I is the identity, and larger than what binding computes by itself.
 */
static bert_status build_products(bert_graph *graph, bert_error *error) {
    static float identity[DEEP * DEEP], b[DEEP * WIDTH];
    bert_block *body = &graph->body;
    for (int i = 0; i < DEEP; i++) {
        identity[i * DEEP + i] = 1;
        b[i * WIDTH] = -(float)i;
        b[i * WIDTH + 1] = -1;
    }
    bert_value *one = build_constant(graph, BERT_FLOAT, 2, DIMS(DEEP, DEEP), identity);
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "rows,520");
    bert_value *left = build_node(body, "Neg", "left", NULL, 0, one, BUILD_END);
    bert_value *right = build_node(body, "Neg", "right", NULL, 0,
                                   build_constant(graph, BERT_FLOAT, 2, DIMS(DEEP, WIDTH), b), BUILD_END);
    bert_value *weight = build_node(body, "MatMul", "weight", NULL, 0, left, right, BUILD_END);
    bert_value *product = build_node(body, "MatMul", "product", NULL, 0, x, weight, BUILD_END);
    bert_value *other = build_node(body, "Neg", "other", NULL, 0, one, BUILD_END);
    bert_value *sum = build_node(body, "ReduceSum", "sum", NULL, 0, other, BUILD_END);
    bert_value *y = build_node(body, "Add", "y", NULL, 0, product, sum, BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, y, BUILD_END);
}

/* Rows of x, row r all r + 1. */
static bert_named_tensor make_rows(int64_t rows, float *x) {
    for (int64_t i = 0; i < rows * DEEP; i++) x[i] = (float)(i / DEEP + 1);
    return named("x", BERT_FLOAT, 2, DIMS(rows, DEEP), x);
}

/* Runs it for `rows` rows and checks what comes out. */
static void expect_right(bert_session *session, int64_t rows) {
    float x[MOST_ROWS * DEEP];
    bert_error error;
    const bert_named_tensor input = make_rows(rows, x);
    bert_named_tensor output = {.name = "y"};
    if (bert_session_run(session, NULL, &input, 1, &output, 1, &error) != BERT_OK) fail_msg("%s", error.message);
    const float *y = output.tensor.data;
    for (int64_t i = 0; i < rows; i++) {
        assert_float_equal(y[i * WIDTH], -(float)((i + 1) * DEEP * (DEEP - 1) / 2 + DEEP), 0);
        assert_float_equal(y[i * WIDTH + 1], -(float)((i + 1) * DEEP + DEEP), 0);
    }
}

static void serves_every_shape_and_session(void **state) {
    build_planned planned;
    bert_session *second;
    bert_error error;
    build_planned_open(&planned, build_products, plan_counted);
    for (int64_t rows = 1; rows <= MOST_ROWS; rows++) expect_right(planned.session, rows);
    if (bert_session_create(planned.model, NULL, &second, &error) != BERT_OK) fail_msg("%s", error.message);
    expect_right(second, 1);
    expect_right(second, 2);
    /* Five runs: x W and one -I in each, the other and its product with B in the first alone. */
    assert_int_equal(products, 5 + 1);
    assert_int_equal(negations, 5 + 1);
    bert_session_free(second);
    expect_right(planned.session, 2);
    build_planned_close(&planned);
}

static void failure_is_told_and_not_kept(void **state) {
    build_planned planned;
    bert_error error;
    float x[DEEP];
    const bert_named_tensor input = make_rows(1, x);
    build_planned_open(&planned, build_products, plan_counted);
    fails = true;
    assert_int_equal(build_planned_run(&planned, &input, &error), BERT_IO_ERROR);
    assert_non_null(strstr(error.message, "weight"));
    assert_non_null(strstr(error.message, "no product"));
    fails = false;
    expect_right(planned.session, 1);
    build_planned_close(&planned);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(serves_every_shape_and_session, start),
        cmocka_unit_test_setup(failure_is_told_and_not_kept, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
