/* Ranges of rows go from the kernel that writes them to the one that quantizes them, and nowhere else. */
#include "core/graph/canonical.h"
#include "core/runtime/op_node.h"
#include "core/runtime/plan.h"
#include "core/runtime/reference_backend.h"
#include "tests/runtime/build.h"
#include "tests/support/test.h"

#include <string.h>

enum { BATCH = 2, ROWS = 3, WIDTH = 4, RANGES = 2 };

/* The reference backend, but that Add gives two ranges a row, as many numbers as it has rows and ranges. */
static bert_kernel_fn add, linear;
static int offers, handed, brought, read, written;

static bert_status run_add(const bert_kernel_call *call, bert_error *error) {
    assert_null(call->x_ranges);
    handed += call->y_ranges != NULL;
    for (int i = 0; call->y_ranges && i < BATCH * ROWS * RANGES; i++) {
        call->y_ranges[i] = (bert_row_range){(float)-i, (float)i};
        written++;
    }
    return add(call, error);
}

static bert_status run_linear(const bert_kernel_call *call, bert_error *error) {
    assert_null(call->y_ranges);
    read += call->x_ranges != NULL;
    for (int i = 0; call->x_ranges && i < BATCH * ROWS * RANGES; i++)
        assert_true(call->x_ranges[i].least == (float)-i && call->x_ranges[i].most == (float)i);
    return linear(call, error);
}

static bert_status plan(bert_prepared *prepared, bert_context *context, const bert_op_node *node, bert_plan_mode mode,
                        bert_op_plan *out, bert_error *error) {
    const bert_status status = bert_reference_backend.plan(prepared, context, node, mode, out, error);
    if (status != BERT_OK || mode != BERT_PLAN_BIND) {
        assert_int_equal(node->x_ranges, 0);
        return status;
    }
    if (strcmp(node->op_type, "Add") == 0) {
        out->y_ranges = offers;
        add = out->run;
        out->run = run_add;
    }
    if (strcmp(node->op_type, "QuantizedLinear") != 0) return BERT_OK;
    if (node->x_ranges) assert_int_equal(node->x_ranges, RANGES);
    brought += node->x_ranges != 0;
    linear = out->run;
    out->run = run_linear;
    return BERT_OK;
}

static bert_value *quantized_linear(bert_graph *graph, bert_value *x, int64_t depth) {
    const int8_t weights[2 * WIDTH * WIDTH] = {1, -2, 3, 4, 5, -6, 7, 8};
    bert_value *inputs[8] = {x};
    inputs[BERT_QUANTIZED_LINEAR_WEIGHT(0)] = build_constant(graph, BERT_INT8, 2, DIMS(depth, WIDTH), weights);
    inputs[BERT_QUANTIZED_LINEAR_SCALE(0)] = build_float(graph, 0.5F);
    if (!x || !inputs[BERT_QUANTIZED_LINEAR_WEIGHT(0)] || !inputs[BERT_QUANTIZED_LINEAR_SCALE(0)]) return NULL;
    return build_node_of(&graph->body, bert_op_get(BERT_OP_BERTC_QuantizedLinear), 1, NULL, NULL, 0, inputs, 8);
}

/* Of x + 1: rows as they are, as a matrix, and as other rows; then what a QuantizedLinear gave, and 2 x. */
static bert_status build(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "2,3,4");
    bert_value *sum = build_node(&graph->body, "Add", "sum", NULL, 0, x, build_float(graph, 1), BUILD_END);
    bert_value *first = quantized_linear(graph, sum, WIDTH);
    bert_value *second = quantized_linear(graph, build_matrix(graph, sum, WIDTH), WIDTH);
    bert_value *other = quantized_linear(graph, build_matrix(graph, sum, 2 * WIDTH), 2 * WIDTH);
    bert_value *third = quantized_linear(graph, first, WIDTH);
    bert_value *unread = build_node(&graph->body, "Add", "unread", NULL, 0, x, x, BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, second, other, third, unread, BUILD_END);
}

static void run_with(int count, size_t *arena) {
    build_planned planned;
    bert_error error;
    float values[BATCH * ROWS * WIDTH] = {1, 2, -3, 4};
    const bert_named_tensor x = named("x", BERT_FLOAT, 3, DIMS(BATCH, ROWS, WIDTH), values);
    offers = count;
    handed = brought = read = written = 0;
    build_planned_open(&planned, build, plan);
    assert_int_equal(planned.output_count, 4);
    if (build_planned_run(&planned, &x, &error) != BERT_OK) fail_msg("%s", error.message);
    *arena = bert_session_plan(planned.session)->arena_bytes;
    build_planned_close(&planned);
}

static void ranges_go_to_who_quantizes_the_rows(void **state) {
    size_t with, without;
    run_with(RANGES, &with);
    assert_int_equal(handed, 1);  /* the first Add: nobody quantizes what the second one gives */
    assert_int_equal(brought, 2); /* as it is and as a matrix; other rows have none, nor what nobody found */
    assert_int_equal(read, 2);
    assert_int_equal(written, BATCH * ROWS * RANGES);
    run_with(0, &without);
    assert_int_equal(handed, 0);
    assert_int_equal(brought, 0);
    assert_int_equal(read, 0);
    assert_int_equal(written, 0);
    assert_true(with > without);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_go_to_who_quantizes_the_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
