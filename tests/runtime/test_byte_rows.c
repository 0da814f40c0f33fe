/* Byte rows are made once, by who writes a tensor or by its first reader, and reach everyone who reads them. */
#include "core/graph/canonical.h"
#include "core/runtime/plan.h"
#include "core/runtime/reference_backend.h"
#include "tests/runtime/build.h"
#include "tests/support/test.h"

#include <string.h>

enum { BATCH = 2, ROWS = 3, WIDTH = 4, ELEMENTS = BATCH * ROWS * WIDTH, READERS = 7 };

/* The reference backend, but that Linear reads byte rows, and Add offers them: of each element its integral part, and
 * some bytes at the end of a row. Add gives a range for each row too. */
static bert_kernel_fn add, linear;
static bool offers, reads;
static enum { CONSTANT, ONLY_BEFORE, ONLY_BOUND } says; /* in which modes of planning it reads bytes */
static bert_status query;                               /* what a Linear is answered to whether it reads bytes */
enum { SPARE = 3, OTHER_SPARE = 7 };
static bool others_want_more; /* a Linear with a residual does */
static int wanted, unread, made, found, ranges, ranges_read;

static void make(const bert_tensor *tensor, const bert_byte_rows *to, int64_t row_bytes) {
    const int64_t width = tensor->dims[tensor->rank - 1];
    const float *values = tensor->data;
    for (int64_t row = 0; row < ELEMENTS / width; row++) {
        memset(to->bytes + row * row_bytes, 0xee, (size_t)row_bytes);
        for (int64_t i = 0; i < width; i++) to->bytes[row * row_bytes + i] = (uint8_t)values[row * width + i];
        to->scales[row] = (float)row;
    }
}

/* In these graphs elements increase along a row. */
static bert_row_range range_of(const bert_tensor *tensor, int row) {
    const int64_t width = tensor->dims[tensor->rank - 1];
    const float *values = (const float *)tensor->data + row * width;
    return (bert_row_range){values[0], values[width - 1]};
}

static bert_status run_add(const bert_kernel_call *call, bert_error *error) {
    const bert_status status = add(call, error);
    ranges += call->y_ranges != NULL;
    for (int i = 0; call->y_ranges && i < BATCH * ROWS; i++) call->y_ranges[i] = range_of(&call->outputs[0], i);
    wanted += call->y_bytes.bytes != NULL;
    unread += call->y_unread;
    if (call->y_bytes.bytes) make(&call->outputs[0], &call->y_bytes, call->plan->y_bytes);
    if (call->y_unread) memset(call->outputs[0].data, 0x7f, ELEMENTS * sizeof(float));
    return status;
}

/* Who makes the bytes of rows has their ranges, or none. */
static void read_ranges(const bert_tensor *x, const bert_row_range *ranges_of_x) {
    for (int i = 0; ranges_of_x && i < ELEMENTS / x->dims[x->rank - 1]; i++) {
        const bert_row_range expected = range_of(x, i);
        assert_true(ranges_of_x[i].least == expected.least && ranges_of_x[i].most == expected.most);
    }
    ranges_read += ranges_of_x != NULL;
}

/* What it reads are the bytes: the reference is given what these stand for. */
static bert_status run_linear(const bert_kernel_call *call, bert_error *error) {
    const int64_t width = call->inputs[0].dims[call->inputs[0].rank - 1];
    float values[ELEMENTS];
    bert_tensor inputs[2 + 2];
    bert_kernel_call own = *call;
    assert_non_null(call->x_bytes.bytes);
    if (!call->x_bytes_made) {
        read_ranges(&call->inputs[0], call->x_ranges);
        make(&call->inputs[0], &call->x_bytes, call->plan->x_bytes);
    }
    made += !call->x_bytes_made;
    found += call->x_bytes_made;
    for (int64_t i = 0; i < ELEMENTS; i++) {
        const int64_t at = i / width * call->plan->x_bytes + i % width;
        values[i] = (float)call->x_bytes.bytes[at];
    }
    for (int64_t i = 0; i < ELEMENTS / width; i++) assert_true(call->x_bytes.scales[i] == (float)i);
    memcpy(inputs, call->inputs, sizeof inputs);
    inputs[0].data = values;
    own.inputs = inputs;
    return linear(&own, error);
}

static bert_status plan(bert_prepared *prepared, bert_context *context, const bert_op_node *node, bert_plan_mode mode,
                        bert_op_plan *out, bert_error *error) {
    const bool is_linear = strcmp(node->op_type, "Linear") == 0;
    if (is_linear && mode == BERT_PLAN_QUERY && query != BERT_OK) return bert_fail(error, query, "it is not known");
    const bert_status status = bert_reference_backend.plan(prepared, context, node, mode, out, error);
    if (status != BERT_OK) return status;
    if (strcmp(node->op_type, "Add") == 0) {
        out->y_ranges = 1;
        out->y_bytes = offers ? WIDTH + SPARE : 0;
        add = out->run;
        out->run = run_add;
    }
    if (!is_linear || !reads) return BERT_OK;
    const bool more = others_want_more && node->inputs[BERT_LINEAR_RESIDUAL].dtype != BERT_DTYPE_UNDEFINED;
    if (says == CONSTANT || (mode == BERT_PLAN_BIND) == (says == ONLY_BOUND))
        out->x_bytes = node->inputs[BERT_LINEAR_WEIGHT(0)].constant->dims[0] + (more ? OTHER_SPARE : SPARE);
    linear = out->run;
    out->run = run_linear;
    return BERT_OK;
}

/* A Linear whose weight gives back the first WIDTH columns, and adds `residual` (NULL: nothing). */
static bert_value *add_linear(bert_graph *graph, bert_value *x, int64_t depth, bert_value *residual) {
    float weights[2 * WIDTH * WIDTH] = {0};
    for (int i = 0; i < WIDTH; i++) weights[i * WIDTH + i] = 1;
    bert_value *inputs[4] = {[BERT_LINEAR_X] = x, [BERT_LINEAR_RESIDUAL] = residual};
    inputs[BERT_LINEAR_WEIGHT(0)] = build_constant(graph, BERT_FLOAT, 2, DIMS(depth, WIDTH), weights);
    if (!x || !inputs[BERT_LINEAR_WEIGHT(0)]) return NULL;
    return build_node_of(&graph->body, bert_op_get(BERT_OP_BERTC_Linear), 1, NULL, NULL, 0, inputs, 4);
}

static bert_value *build_linear(bert_graph *graph, bert_value *x, int64_t depth) {
    return add_linear(graph, x, depth, NULL);
}

static bert_value *added(bert_graph *graph, bert_value *x, float number) {
    return build_node(&graph->body, "Add", NULL, NULL, 0, x, build_float(graph, number), BUILD_END);
}

/*
 * x + 1 is read as it is, as a matrix, and as other rows, whose bytes are not the same; x + 2 by two readers, and
 * nobody else; x + 3 by a reader, and it is an output. The last two read what a Linear gave, which makes no bytes.
 */
static bert_status build(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "2,3,4");
    bert_value *one = added(graph, x, 1), *two = added(graph, x, 2), *three = added(graph, x, 3);
    bert_value *first = build_linear(graph, one, WIDTH);
    bert_value *other = build_linear(graph, build_matrix(graph, one, 2 * WIDTH), 2 * WIDTH);
    bert_value *again = build_linear(graph, build_matrix(graph, one, WIDTH), WIDTH);
    bert_value *alone = build_linear(graph, two, WIDTH),
               *both = build_linear(graph, build_matrix(graph, two, WIDTH), WIDTH);
    bert_value *output = build_linear(graph, three, WIDTH);
    bert_value *last = build_linear(graph, first, WIDTH),
               *end = build_linear(graph, build_matrix(graph, first, WIDTH), WIDTH);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, other, again, alone, both, output, last, end, three, BUILD_END);
}

static void expect(const bert_named_tensor *output, int64_t rows, int64_t step, float added_number, const float *x) {
    const float *y = output->tensor.data;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < WIDTH; i++) assert_true(y[row * WIDTH + i] == x[row * step + i] + added_number);
}

static void expect_all(bert_session *session, const bert_named_tensor *outputs, const float *x) {
    expect(&outputs[0], BATCH * ROWS / 2, 2 * WIDTH, 1, x);
    static const float numbers[] = {0, 1, 2, 2, 3, 1, 1, 3};
    for (int i = 1; i < READERS + 1; i++) expect(&outputs[i], BATCH * ROWS, WIDTH, numbers[i], x);
}

typedef void expect_fn(bert_session *session, const bert_named_tensor *outputs, const float *x);

/* A run that fails says `text`. */
static void run_graph(build_fn graph, expect_fn *expect_outputs, bert_status expected, const char *text) {
    build_planned planned;
    bert_error error;
    float values[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++) values[i] = (float)i;
    const bert_named_tensor x = named("x", BERT_FLOAT, 3, DIMS(BATCH, ROWS, WIDTH), values);
    wanted = unread = made = found = ranges = ranges_read = 0;
    const bert_status asked = query;
    query = BERT_OK; /* sessions ask too, who may run the node at all */
    build_planned_open(&planned, graph, plan);
    query = asked;
    const bert_status status = build_planned_run(&planned, &x, &error);
    if (status != expected || (status != BERT_OK && !strstr(error.message, text))) fail_msg("%s", error.message);
    if (status == BERT_OK) expect_outputs(planned.session, planned.outputs, values);
    build_planned_close(&planned);
}

static void run_with(bool bytes_offered, bool bytes_read) {
    offers = bytes_offered;
    reads = bytes_read;
    run_graph(build, expect_all, BERT_OK, NULL);
}

static void bytes_come_from_who_writes(void **state) {
    run_with(true, true);
    assert_int_equal(wanted, 3);
    assert_int_equal(unread, 1); /* x + 2 */
    assert_int_equal(made, 2);   /* of other rows, and of what a Linear gave */
    assert_int_equal(found, 6);
    assert_int_equal(ranges, 0); /* who has the bytes needs none */
    assert_int_equal(ranges_read, 0);
}

static void the_first_reader_makes_them_otherwise(void **state) {
    run_with(false, true);
    assert_int_equal(wanted, 0);
    assert_int_equal(unread, 0);
    assert_int_equal(made, 5);
    assert_int_equal(found, 3);
    assert_int_equal(ranges, 3);      /* from which it needs to read x once alone */
    assert_int_equal(ranges_read, 3); /* other rows have none, nor what a Linear gave */
}

static void nobody_makes_what_nobody_reads(void **state) {
    run_with(true, false);
    assert_int_equal(wanted, 0);
    assert_int_equal(unread, 0);
    assert_int_equal(ranges, 0);
}

/* ---- What no step writes ----------------------------------------------------------------------------------------- */

/* The input, as it is and as a matrix; a constant, twice. */
static bert_status build_unwritten(bert_graph *graph, bert_error *error) {
    float five_more[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++) five_more[i] = (float)i + 5;
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "2,3,4");
    bert_value *constant = build_constant(graph, BERT_FLOAT, 3, DIMS(BATCH, ROWS, WIDTH), five_more);
    bert_value *first = build_linear(graph, x, WIDTH),
               *again = build_linear(graph, build_matrix(graph, x, WIDTH), WIDTH);
    bert_value *one = add_linear(graph, constant, WIDTH, x), *other = add_linear(graph, constant, WIDTH, x);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, first, again, one, other, BUILD_END);
}

static void expect_unwritten(bert_session *session, const bert_named_tensor *outputs, const float *x) {
    float with_constant[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++) with_constant[i] = x[i] + x[i] + 5;
    for (int i = 0; i < 4; i++) expect(&outputs[i], BATCH * ROWS, WIDTH, 0, i < 2 ? x : with_constant);
}

static void inputs_and_constants_are_read_too(void **state) {
    offers = reads = true;
    run_graph(build_unwritten, expect_unwritten, BERT_OK, NULL);
    assert_int_equal(made, 3); /* of a constant by each reader */
    assert_int_equal(found, 1);
}

/* ---- What is read in another way --------------------------------------------------------------------------------- */

static bert_status build_residual(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "2,3,4"), *sum = added(graph, x, 1);
    bert_value *y = add_linear(graph, sum, WIDTH, sum);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, y, BUILD_END);
}

static void expect_residual(bert_session *session, const bert_named_tensor *outputs, const float *x) {
    float twice[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++) twice[i] = 2 * (x[i] + 1);
    expect(&outputs[0], BATCH * ROWS, WIDTH, 0, twice);
}

static void a_residual_is_no_byte_rows(void **state) {
    offers = reads = true;
    run_graph(build_residual, expect_residual, BERT_OK, NULL);
    assert_int_equal(wanted, 1);
    assert_int_equal(found, 1);
    assert_int_equal(unread, 0);
}

/* Who wants other bytes of a row than its first reader makes its own, and who writes them gives those of the first. */
static bert_status build_others(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "2,3,4"), *sum = added(graph, x, 1), *one = added(graph, x, 2);
    bert_value *first = build_linear(graph, sum, WIDTH), *other = add_linear(graph, sum, WIDTH, x);
    bert_value *again = build_linear(graph, sum, WIDTH), *alone = add_linear(graph, one, WIDTH, x);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, first, other, again, alone, BUILD_END);
}

static void expect_others(bert_session *session, const bert_named_tensor *outputs, const float *x) {
    float twice[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++) twice[i] = 2 * x[i];
    expect(&outputs[0], BATCH * ROWS, WIDTH, 1, x);
    expect(&outputs[1], BATCH * ROWS, WIDTH, 1, twice);
    expect(&outputs[2], BATCH * ROWS, WIDTH, 1, x);
    expect(&outputs[3], BATCH * ROWS, WIDTH, 2, twice);
}

static void other_bytes_are_not_shared(void **state) {
    offers = reads = others_want_more = true;
    run_graph(build_others, expect_others, BERT_OK, NULL);
    others_want_more = false;
    assert_int_equal(wanted, 1);
    assert_int_equal(unread, 0); /* the other reader reads x + 1 itself */
    assert_int_equal(made, 2);
    assert_int_equal(found, 2);
}

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

/* Two Linears read x + 2, as bytes alone; while x and these are kept, what the first gives goes where x + 2 was. */
static bert_status build_chain(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "2,3,4"), *sum = added(graph, x, 2);
    bert_value *first = build_linear(graph, sum, WIDTH);
    bert_value *both = build_node(&graph->body, "Add", NULL, NULL, 0, first, x, BUILD_END);
    bert_value *last = add_linear(graph, sum, WIDTH, both);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, last, BUILD_END);
}

static bool overlap(const bert_storage *a, const bert_storage *b) {
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

static void expect_chain(bert_session *session, const bert_named_tensor *outputs, const float *x) {
    const bert_plan *p = bert_session_plan(session);
    float sums[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++) sums[i] = 3 * x[i] + 4;
    expect(&outputs[0], BATCH * ROWS, WIDTH, 0, sums);
    assert_true(p->steps[0].y_unread);
    const bert_storage *sum = &p->storages[p->steps[0].output_storages[0]];
    const bert_storage *bytes = &p->storages[p->steps[0].y_bytes.bytes];
    assert_int_equal(sum->last, 0);
    assert_int_equal(bytes->last, 3);
    for (size_t i = 0; i < p->storage_count; i++) {
        const bert_storage *other = &p->storages[i];
        if (other->kind == BERT_STORAGE_CONSTANT || other == bytes || other->first > 3) continue;
        assert_false(overlap(other, bytes));
    }
    /* What is needed while the last reader is still to come, workspace of the first among it, may lie there. */
    const bert_storage workspace = {.bytes = p->steps[1].plan.workspace_bytes, .offset = p->steps[1].workspace_offset};
    int taken = overlap(&workspace, sum);
    for (size_t i = 0; i < p->storage_count; i++) {
        const bert_storage *other = &p->storages[i];
        if (other->kind != BERT_STORAGE_CONSTANT) taken += other->first > 0 && other->first < 3 && overlap(other, sum);
    }
    assert_true(taken > 0);
}

static void what_is_unread_is_not_kept(void **state) {
    offers = reads = true;
    run_graph(build_chain, expect_chain, BERT_OK, NULL);
    assert_int_equal(unread, 1);
    assert_int_equal(found, 2);
}

/* ---- What backends say ------------------------------------------------------------------------------------------- */

static void who_changes_its_mind_is_found_out(void **state) {
    static const char text[] = "as bytes in one mode of planning alone";
    offers = reads = true;
    says = ONLY_BEFORE;
    run_graph(build, NULL, BERT_INTERNAL, text);
    says = ONLY_BOUND;
    run_graph(build, NULL, BERT_INTERNAL, text);
    says = CONSTANT;
}

static void who_fails_when_asked_is_named(void **state) {
    offers = true;
    reads = false;
    query = BERT_INTERNAL;
    run_graph(build_residual, NULL, BERT_INTERNAL, "(Linear): it is not known");
    query = BERT_UNSUPPORTED; /* who can't say may still run it, and reads no bytes */
    run_graph(build_residual, expect_residual, BERT_OK, NULL);
    assert_int_equal(wanted, 0);
    query = BERT_OK;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_from_who_writes),     cmocka_unit_test(the_first_reader_makes_them_otherwise),
        cmocka_unit_test(nobody_makes_what_nobody_reads), cmocka_unit_test(inputs_and_constants_are_read_too),
        cmocka_unit_test(a_residual_is_no_byte_rows),     cmocka_unit_test(other_bytes_are_not_shared),
        cmocka_unit_test(what_is_unread_is_not_kept),     cmocka_unit_test(who_changes_its_mind_is_found_out),
        cmocka_unit_test(who_fails_when_asked_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
