/* Loading, binding and running small graphs on the reference backend. */
#include "tests/runtime/build.h"
#include "tests/support/test.h"

#include <string.h>

/* y = (x + 1) * x, z = y reshaped to [-1]; w = x itself; one = a constant. */
static bert_status build_small(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "batch,3");
    bert_value *sum = build_node(&graph->body, "Add", "sum", NULL, 0, x, build_float(graph, 1), BUILD_END);
    bert_value *y = build_node(&graph->body, "Mul", "y", NULL, 0, sum, x, BUILD_END);
    bert_value *flat = build_int64s(graph, 1, DIMS(-1));
    bert_value *z = build_node(&graph->body, "Reshape", "z", NULL, 0, y, flat, BUILD_END);
    bert_value *one = build_constant(graph, BERT_FLOAT, 1, DIMS(2), (float[]){5, 6});
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, y, z, x, one, BUILD_END);
}

typedef struct fixture {
    bert_model *model;
    bert_session *session;
    bert_error error;
} fixture;

static void open_fixture(fixture *f, build_fn build, const bert_session_options *options) {
    *f = (fixture){0};
    if (build_load(build, NULL, NULL, &f->model, &f->error) != BERT_OK) fail_msg("%s", f->error.message);
    if (bert_session_create(f->model, options, &f->session, &f->error) != BERT_OK) fail_msg("%s", f->error.message);
}

static void close_fixture(fixture *f) {
    bert_session_free(f->session);
    bert_model_free(f->model);
}

static void expect_run(fixture *f, const bert_named_tensor *inputs, size_t count, bert_named_tensor *outputs,
                       size_t output_count) {
    bert_status status = bert_session_run(f->session, NULL, inputs, count, outputs, output_count, &f->error);
    if (status != BERT_OK) fail_msg("%s", f->error.message);
}

static void expect_failure(fixture *f, bert_status expected, const char *part, const bert_named_tensor *inputs,
                           size_t count, bert_named_tensor *outputs, size_t output_count) {
    memset(&f->error, 0, sizeof f->error);
    bert_status status = bert_session_run(f->session, NULL, inputs, count, outputs, output_count, &f->error);
    assert_int_equal(status, expected);
    assert_int_equal(f->error.status, expected);
    if (!strstr(f->error.message, part)) fail_msg("'%s' does not say '%s'", f->error.message, part);
}

static void outputs_are_what_the_graph_defines(void **state) {
    fixture f;
    open_fixture(&f, build_small, NULL);
    for (int64_t batch = 1; batch < 5; batch++) {
        float x[12];
        for (int i = 0; i < 12; i++) x[i] = (float)i / 2;
        const char *last_name[] = {"#3"};
        bert_model_tensor constant;
        bert_model_output(f.model, 3, &constant);
        last_name[0] = constant.name;
        bert_named_tensor input = named("x", BERT_FLOAT, 2, DIMS(batch, 3), x);
        bert_named_tensor outputs[4] = {{.name = "z"}, {.name = "x"}, {.name = "y"}, {.name = last_name[0]}};
        expect_run(&f, &input, 1, outputs, 4);
        assert_int_equal(outputs[0].tensor.rank, 1);
        assert_int_equal(outputs[0].tensor.dims[0], 3 * batch);
        assert_int_equal(outputs[2].tensor.rank, 2);
        assert_int_equal(outputs[2].tensor.dims[0], batch);
        const float *z = outputs[0].tensor.data, *copy = outputs[1].tensor.data, *y = outputs[2].tensor.data;
        assert_ptr_not_equal(copy, x);
        for (int64_t i = 0; i < 3 * batch; i++) {
            assert_true(y[i] == (x[i] + 1) * x[i] && z[i] == y[i] && copy[i] == x[i]);
        }
        assert_int_equal(outputs[3].tensor.dims[0], 2);
        assert_true(((float *)outputs[3].tensor.data)[1] == 6);
    }
    close_fixture(&f);
}

static void only_what_wanted_outputs_need_runs(void **state) {
    fixture f;
    open_fixture(&f, build_small, NULL);
    bert_named_tensor input = named("x", BERT_FLOAT, 2, DIMS(1, 3), (float[]){1, 2, 3});
    bert_named_tensor output = {.name = "x"};
    expect_run(&f, &input, 1, &output, 1);
    assert_int_equal(bert_session_plan(f.session)->step_count, 0);
    output = (bert_named_tensor){.name = "z"};
    expect_run(&f, &input, 1, &output, 1);
    assert_int_equal(bert_session_plan(f.session)->step_count, 2);
    close_fixture(&f);
}

static void callers_buffers_are_written_and_never_overrun(void **state) {
    fixture f;
    open_fixture(&f, build_small, NULL);
    bert_named_tensor input = named("x", BERT_FLOAT, 2, DIMS(1, 3), (float[]){1, 2, 3});
    float y[4] = {0, 0, 0, 99};
    bert_named_tensor output = {.name = "y", .tensor.data = y, .capacity_bytes = 12};
    expect_run(&f, &input, 1, &output, 1);
    assert_ptr_equal(output.tensor.data, y);
    assert_true(y[0] == 2 && y[1] == 6 && y[2] == 12 && y[3] == 99);

    /* One byte off: not a place for kernels, but for the result. */
    unsigned char odd[14] = {0};
    output = (bert_named_tensor){.name = "y", .tensor.data = odd + 1, .capacity_bytes = 12};
    expect_run(&f, &input, 1, &output, 1);
    assert_memory_equal(odd + 1, y, 12);
    assert_int_equal(odd[13], 0);

    /* Over the input: the result must not be made where it is still read. */
    float both[3] = {1, 2, 3};
    input = named("x", BERT_FLOAT, 2, DIMS(1, 3), both);
    output = (bert_named_tensor){.name = "y", .tensor.data = both, .capacity_bytes = sizeof both};
    expect_run(&f, &input, 1, &output, 1);
    assert_memory_equal(both, y, 12);

    input = named("x", BERT_FLOAT, 2, DIMS(1, 3), (float[]){1, 2, 3});
    output = (bert_named_tensor){.name = "y", .tensor.data = y, .capacity_bytes = 11};
    expect_failure(&f, BERT_INVALID_ARGUMENT, "output y needs 12 bytes", &input, 1, &output, 1);
    bert_named_tensor outputs[2] = {{.name = "y", .tensor.data = y, .capacity_bytes = 12},
                                    {.name = "z", .tensor.data = y + 1, .capacity_bytes = 12}};
    expect_failure(&f, BERT_INVALID_ARGUMENT, "overlap", &input, 1, outputs, 2);
    close_fixture(&f);
}

static void misaligned_inputs_are_copied(void **state) {
    fixture f;
    open_fixture(&f, build_small, NULL);
    _Alignas(8) unsigned char odd[16];
    memcpy(odd + 1, (float[]){1, 2, 3}, 12);
    bert_named_tensor input = named("x", BERT_FLOAT, 2, DIMS(1, 3), odd + 1);
    bert_named_tensor outputs[2] = {{.name = "y"}, {.name = "x"}};
    expect_run(&f, &input, 1, outputs, 2);
    assert_true(((float *)outputs[0].tensor.data)[2] == 12);
    assert_memory_equal(outputs[1].tensor.data, odd + 1, 12);
    close_fixture(&f);
}

/* y = a + b, of shape [batch, sequence], and a fixed dimension in c. */
static bert_status build_three_inputs(bert_graph *graph, bert_error *error) {
    bert_value *a = build_input(graph, "a", BERT_INT64, "batch,sequence");
    bert_value *b = build_input(graph, "b", BERT_INT64, "batch,sequence");
    bert_value *c = build_input(graph, "c", BERT_INT64, "4");
    bert_value *y = build_node(&graph->body, "Add", "y", NULL, 0, a, b, BUILD_END);
    BERT_TRY(build_inputs(graph, error, a, b, c, BUILD_END));
    return build_outputs(graph, error, y, BUILD_END);
}

static void wrong_inputs_are_told_in_one_sentence(void **state) {
    fixture f;
    open_fixture(&f, build_three_inputs, NULL);
    int64_t data[64] = {0};
    bert_named_tensor good[3] = {named("a", BERT_INT64, 2, DIMS(2, 3), data),
                                 named("b", BERT_INT64, 2, DIMS(2, 3), data), named("c", BERT_INT64, 1, DIMS(4), data)};
    bert_named_tensor in[4], output = {.name = "y"};
#define TRY(status, part, count)                                                                                       \
    expect_failure(&f, status, part, in, count, &output, 1);                                                           \
    memcpy(in, good, sizeof good)
    memcpy(in, good, sizeof good);
    TRY(BERT_INVALID_INPUT, "input c is missing", 2);
    in[1].name = "bb";
    TRY(BERT_INVALID_INPUT, "no input bb: it has a, b, c", 3);
    in[1].name = NULL;
    TRY(BERT_INVALID_ARGUMENT, "no name", 3);
    in[3] = good[0];
    TRY(BERT_INVALID_INPUT, "input a is given twice", 4);
    in[0].tensor.dtype = BERT_INT32;
    TRY(BERT_INVALID_INPUT, "input a has elements of type int32, the model wants int64", 3);
    in[0].tensor.rank = 3;
    TRY(BERT_INVALID_INPUT, "input a has rank 3, the model wants 2", 3);
    in[2].tensor.dims[0] = 5;
    TRY(BERT_INVALID_INPUT, "input c: dimension 0 is 5, the model wants 4", 3);
    in[1].tensor.dims[1] = 17;
    TRY(BERT_INVALID_INPUT, "input b: dimension 1 (sequence) is 17, but a has 3 there", 3);
    in[1].tensor.dims[0] = -1;
    TRY(BERT_INVALID_INPUT, "input b: dimension 0 is -1", 3);
    in[0].tensor.dims[0] = in[0].tensor.dims[1] = INT64_MAX / 2;
    TRY(BERT_INVALID_INPUT, "more elements than memory", 3);
    in[0].tensor.data = NULL;
    TRY(BERT_INVALID_ARGUMENT, "input a has no data", 3);
    output.name = "yy";
    TRY(BERT_INVALID_INPUT, "no output yy: it has y", 3);
    bert_named_tensor twice[2] = {{.name = "y"}, {.name = "y"}};
    expect_failure(&f, BERT_INVALID_INPUT, "asked for twice", good, 3, twice, 2);
    expect_failure(&f, BERT_INVALID_ARGUMENT, "at least one output", good, 3, NULL, 0);
    output = (bert_named_tensor){.name = "y"};
    expect_run(&f, good, 3, &output, 1); /* the session is as good as before */
    close_fixture(&f);
#undef TRY
}

static void empty_tensors_run(void **state) {
    fixture f;
    open_fixture(&f, build_small, NULL);
    bert_named_tensor input = named("x", BERT_FLOAT, 2, DIMS(0, 3), NULL);
    bert_named_tensor outputs[2] = {{.name = "y"}, {.name = "z"}};
    expect_run(&f, &input, 1, outputs, 2);
    assert_int_equal(outputs[0].tensor.dims[0], 0);
    assert_int_equal(outputs[1].tensor.dims[0], 0);
    close_fixture(&f);
}

/* The file may list one tensor as two outputs. */
static bert_status build_twice(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "n");
    bert_value *y = build_node(&graph->body, "Add", "y", NULL, 0, x, x, BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, y, y, BUILD_END);
}

static void one_tensor_may_be_two_outputs(void **state) {
    fixture f;
    open_fixture(&f, build_twice, NULL);
    bert_named_tensor input = named("x", BERT_FLOAT, 1, DIMS(2), (float[]){1, 2});
    float a[2] = {0}, b[2] = {0};
    bert_named_tensor outputs[2] = {{.name = "y", .tensor.data = a, .capacity_bytes = 8},
                                    {.name = "y", .tensor.data = b, .capacity_bytes = 8}};
    expect_run(&f, &input, 1, outputs, 2);
    assert_true(a[1] == 4 && b[0] == 2 && b[1] == 4);
    close_fixture(&f);
}

/* y = Reshape(x, s): the content of s decides a shape. */
static bert_status build_reshape(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "n");
    bert_value *s = build_input(graph, "s", BERT_INT64, "rank");
    bert_value *doubled = build_node(&graph->body, "Mul", "doubled", NULL, 0, s, build_int64(graph, 2), BUILD_END);
    bert_value *shaped = build_node(&graph->body, "Reshape", "shaped", NULL, 0, x, doubled, BUILD_END);
    bert_value *y = build_node(&graph->body, "Add", "y", NULL, 0, shaped, build_float(graph, 1), BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, s, BUILD_END));
    return build_outputs(graph, error, y, BUILD_END);
}

static void contents_that_decide_shapes_are_part_of_the_plan(void **state) {
    fixture f;
    open_fixture(&f, build_reshape, NULL);
    assert_false(f.model->deciders.inputs[0]);
    assert_true(f.model->deciders.inputs[1]);
    float x[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    int64_t shape[2] = {1, 2};
    bert_named_tensor inputs[2] = {named("x", BERT_FLOAT, 1, DIMS(8), x), named("s", BERT_INT64, 1, DIMS(2), shape)};
    bert_named_tensor output = {.name = "y"};
    expect_run(&f, inputs, 2, &output, 1);
    assert_int_equal(output.tensor.dims[0], 2);
    assert_int_equal(output.tensor.dims[1], 4);
    shape[0] = 2;
    shape[1] = 1;
    output = (bert_named_tensor){.name = "y"};
    expect_run(&f, inputs, 2, &output, 1);
    assert_int_equal(output.tensor.dims[0], 4);
    assert_true(((float *)output.tensor.data)[7] == 8);
    bert_session_memory memory = {.struct_size = sizeof memory};
    bert_session_get_memory(f.session, &memory);
    assert_int_equal(memory.plan_count, 2);

    shape[1] = 7;
    output = (bert_named_tensor){.name = "y"};
    expect_failure(&f, BERT_INVALID_INPUT, "shaped", inputs, 2, &output, 1);

    inputs[1].tensor.data = NULL;
    const char *names[] = {"y"};
    assert_int_equal(bert_session_bind(f.session, inputs, 2, names, 1, &f.error), BERT_INVALID_ARGUMENT);
    assert_non_null(strstr(f.error.message, "input s has no data, and the model's shapes depend on its content"));
    shape[1] = 1;
    inputs[1].tensor.data = shape;
    inputs[0].tensor.data = NULL; /* binding needs no other content */
    assert_int_equal(bert_session_bind(f.session, inputs, 2, names, 1, &f.error), BERT_OK);
    close_fixture(&f);
}

/* y = x + Range(0, Shape(x)[1]) cast to nothing: the range follows from the shape and is no step of a plan. */
static bert_status build_positions(bert_graph *graph, bert_error *error) {
    bert_block *body = &graph->body;
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 0);
    bert_value *x = build_input(graph, "x", BERT_INT64, "batch,sequence");
    bert_value *shape = build_node(body, "Shape", "shape", NULL, 0, x, BUILD_END);
    bert_value *length = build_node(body, "Gather", "length", &axis, 1, shape, build_int64(graph, 1), BUILD_END);
    bert_value *range =
        build_node(body, "Range", "range", NULL, 0, build_int64(graph, 0), length, build_int64(graph, 1), BUILD_END);
    bert_value *y = build_node(body, "Add", "y", NULL, 0, x, range, BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, y, range, BUILD_END);
}

static void what_follows_from_shapes_is_folded(void **state) {
    fixture f;
    open_fixture(&f, build_positions, NULL);
    assert_false(f.model->deciders.inputs[0]);
    for (int64_t n = 1; n < 200; n += 33) {
        int64_t x[200] = {0};
        bert_named_tensor input = named("x", BERT_INT64, 2, DIMS(1, n), x);
        bert_named_tensor outputs[2] = {{.name = "y"}, {.name = "range"}};
        expect_run(&f, &input, 1, outputs, 2);
        const int64_t *y = outputs[0].tensor.data, *range = outputs[1].tensor.data;
        for (int64_t i = 0; i < n; i++) assert_true(y[i] == i && range[i] == i);
        assert_int_equal(bert_session_plan(f.session)->step_count, 1);
    }
    close_fixture(&f);
}

static void cancelled_runs_stop_between_kernels(void **state) {
    fixture f;
    open_fixture(&f, build_small, NULL);
    bert_cancel_flag flag = 1;
    bert_run_options options = {.struct_size = sizeof options, .cancel = &flag};
    bert_named_tensor input = named("x", BERT_FLOAT, 2, DIMS(1, 3), (float[]){1, 2, 3});
    bert_named_tensor output = {.name = "y"};
    assert_int_equal(bert_session_run(f.session, &options, &input, 1, &output, 1, &f.error), BERT_CANCELLED);
    assert_non_null(strstr(f.error.message, "before node sum (Add)"));
    flag = 0;
    assert_int_equal(bert_session_run(f.session, &options, &input, 1, &output, 1, &f.error), BERT_OK);
    close_fixture(&f);
}

/* y = Gather(table, ids): an id may be outside. */
static bert_status build_lookup(bert_graph *graph, bert_error *error) {
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 0);
    bert_value *ids = build_input(graph, "ids", BERT_INT64, "n");
    bert_value *table = build_constant(graph, BERT_FLOAT, 2, DIMS(3, 2), (float[]){0, 1, 2, 3, 4, 5});
    bert_value *y = build_node(&graph->body, "Gather", "lookup", &axis, 1, table, ids, BUILD_END);
    BERT_TRY(build_inputs(graph, error, ids, BUILD_END));
    return build_outputs(graph, error, y, BUILD_END);
}

static void an_id_outside_the_table_names_the_node_and_spares_the_session(void **state) {
    fixture f;
    open_fixture(&f, build_lookup, NULL);
    int64_t ids[2] = {2, 3};
    bert_named_tensor input = named("ids", BERT_INT64, 1, DIMS(2), ids);
    bert_named_tensor output = {.name = "lookup"};
    expect_failure(&f, BERT_INVALID_INPUT, "node lookup (Gather): ", &input, 1, &output, 1);
    ids[1] = 0;
    expect_run(&f, &input, 1, &output, 1);
    assert_true(((float *)output.tensor.data)[1] == 5 && ((float *)output.tensor.data)[3] == 1);
    close_fixture(&f);
}

static void the_cache_keeps_the_plans_used_last(void **state) {
    fixture f;
    bert_session_options options = {.struct_size = sizeof options, .plan_cache = 2};
    open_fixture(&f, build_small, &options);
    float x[12] = {0};
    const bert_plan *plans[4];
    static const int64_t batches[] = {1, 2, 1, 3, 1, 2};
    for (size_t i = 0; i < 6; i++) {
        bert_named_tensor input = named("x", BERT_FLOAT, 2, DIMS(batches[i], 3), x), output = {.name = "y"};
        bert_session_memory memory = {.struct_size = sizeof memory};
        expect_run(&f, &input, 1, &output, 1);
        bert_session_get_memory(f.session, &memory);
        assert_true(memory.plan_count <= 2 && memory.arena_bytes > 0);
        if (i == 0) plans[1] = bert_session_plan(f.session);
        if (i == 2 || i == 4) assert_ptr_equal(bert_session_plan(f.session), plans[1]); /* 2, then 3, went instead */
        assert_int_equal(bert_session_plan(f.session)->request.inputs[0].dims[0], batches[i]);
    }
    close_fixture(&f);
}

static void profiles_name_every_kernel(void **state) {
    fixture f;
    bert_session_options options = {.struct_size = sizeof options, .profile = true};
    open_fixture(&f, build_small, &options);
    size_t count = 7;
    assert_null(bert_session_profile(f.session, &count));
    assert_int_equal(count, 0);
    bert_named_tensor input = named("x", BERT_FLOAT, 2, DIMS(1, 3), (float[]){1, 2, 3}), output = {.name = "y"};
    expect_run(&f, &input, 1, &output, 1);
    expect_run(&f, &input, 1, &output, 1);
    const bert_profile_entry *entries = bert_session_profile(f.session, &count);
    assert_int_equal(count, 2);
    assert_string_equal(entries[0].node, "sum");
    assert_string_equal(entries[1].op_type, "Mul");
    assert_string_equal(entries[1].kernel, "reference");
    assert_non_null(entries[1].origins);
    assert_int_equal(entries[0].runs, 2);
    assert_true(entries[0].nanoseconds > 0);
    bert_session_reset_profile(f.session);
    entries = bert_session_profile(f.session, &count);
    assert_int_equal(entries[0].runs, 0);
    close_fixture(&f);
}

typedef struct log_text {
    char text[2000];
} log_text;
static void write_log(void *user, bert_log_level level, const char *message) {
    log_text *log = user;
    if (level >= BERT_LOG_NOTICE) strncat(log->text, message, sizeof log->text - strlen(log->text) - 1);
}

static void providers_are_tried_in_order(void **state) {
    log_text text = {""};
    bert_log log = {.write = write_log, .user = &text};
    bert_model_options model_options = {.struct_size = sizeof model_options, .log = &log};
    bert_model *model = NULL;
    bert_session *session = NULL;
    bert_error error;
    assert_int_equal(build_load(build_small, NULL, &model_options, &model, &error), BERT_OK);
    bert_session_options options = {.struct_size = sizeof options, .providers = "cuda, reference"};
    assert_int_equal(bert_session_create(model, &options, &session, &error), BERT_OK);
    assert_string_equal(bert_session_provider(session), "reference");
    assert_non_null(strstr(text.text, "provider cuda: not in this build"));
    bert_session_free(session);

    options.providers = "cuda,tpu";
    assert_int_equal(bert_session_create(model, &options, &session, &error), BERT_UNSUPPORTED);
    assert_null(session);
    assert_non_null(strstr(error.message, "provider cuda: not in this build; provider tpu: not in this build"));
    options.providers = " ,";
    assert_int_equal(bert_session_create(model, &options, &session, &error), BERT_INVALID_ARGUMENT);
    options.providers = "reference";
    options.precision = BERT_PRECISION_BF16;
    assert_int_equal(bert_session_create(model, &options, &session, &error), BERT_UNSUPPORTED);
    options.precision = BERT_PRECISION_FP64;
    assert_int_equal(bert_session_create(model, &options, &session, &error), BERT_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "promote_to_double"));
    options.precision = BERT_PRECISION_FP32;
    options.plan_cache = -1;
    assert_int_equal(bert_session_create(model, &options, &session, &error), BERT_INVALID_ARGUMENT);
    options.struct_size = 0;
    assert_int_equal(bert_session_create(model, &options, &session, &error), BERT_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "struct_size"));
    bert_model_free(model);
}

static void models_promoted_to_double_compute_in_double(void **state) {
    bert_model_options model_options = {.struct_size = sizeof model_options, .promote_to_double = true};
    bert_model *model = NULL;
    bert_session *session = NULL;
    bert_error error;
    assert_int_equal(build_load(build_small, NULL, &model_options, &model, &error), BERT_OK);
    bert_session_options options = {.struct_size = sizeof options};
    assert_int_equal(bert_session_create(model, &options, &session, &error), BERT_INVALID_ARGUMENT);
    options.precision = BERT_PRECISION_FP64;
    assert_int_equal(bert_session_create(model, &options, &session, &error), BERT_OK);
    double x[3] = {1e-12, 1.0 / 3, 2};
    bert_named_tensor input = named("x", BERT_DOUBLE, 2, DIMS(1, 3), x), output = {.name = "y"};
    assert_int_equal(bert_session_run(session, NULL, &input, 1, &output, 1, &error), BERT_OK);
    const double *y = output.tensor.data;
    assert_int_equal(output.tensor.dtype, BERT_DOUBLE);
    for (int i = 0; i < 3; i++) assert_true(y[i] == (x[i] + 1) * x[i]);
    bert_session_free(session);
    bert_model_free(model);
}

/* y = x + d, where d has a default. */
static bert_status build_default(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "n");
    bert_value *d = build_input(graph, "d", BERT_FLOAT, "1");
    bert_value *ten = build_constant(graph, BERT_FLOAT, 1, DIMS(1), (float[]){10});
    bert_value *y = build_node(&graph->body, "Add", "y", NULL, 0, x, d, BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, d, BUILD_END));
    if (!ten) return BERT_OUT_OF_MEMORY;
    d->input_default = ten->info.constant;
    return build_outputs(graph, error, y, BUILD_END);
}

static void defaults_hold_until_the_caller_gives_another(void **state) {
    fixture f;
    open_fixture(&f, build_default, NULL);
    bert_model_tensor tensor;
    assert_int_equal(bert_model_input(f.model, 1, &tensor), BERT_OK);
    assert_true(tensor.optional);
    assert_int_equal(bert_model_input(f.model, 2, &tensor), BERT_INVALID_ARGUMENT);
    bert_named_tensor inputs[2] = {named("x", BERT_FLOAT, 1, DIMS(1), (float[]){1}),
                                   named("d", BERT_FLOAT, 1, DIMS(1), (float[]){20})};
    for (int round = 0; round < 2; round++) {
        bert_named_tensor output = {.name = "y"};
        expect_run(&f, inputs, 1, &output, 1);
        assert_true(((float *)output.tensor.data)[0] == 11);
        output = (bert_named_tensor){.name = "y"};
        expect_run(&f, inputs, 2, &output, 1);
        assert_true(((float *)output.tensor.data)[0] == 21);
    }
    close_fixture(&f);
}

static void a_model_says_what_it_takes_and_gives(void **state) {
    fixture f;
    open_fixture(&f, build_small, NULL);
    bert_model_tensor tensor;
    assert_int_equal(bert_model_input_count(f.model), 1);
    assert_int_equal(bert_model_output_count(f.model), 4);
    bert_model_input(f.model, 0, &tensor);
    assert_string_equal(tensor.name, "x");
    assert_string_equal(tensor.dim_names[0], "batch");
    assert_null(tensor.dim_names[1]);
    assert_true(tensor.rank == 2 && tensor.dims[0] == -1 && tensor.dims[1] == 3 && !tensor.optional);
    bert_model_output(f.model, 0, &tensor);
    assert_int_equal(tensor.dtype, BERT_FLOAT);
    assert_string_equal(tensor.dim_names[0], "batch");
    bert_model_output(f.model, 1, &tensor);
    assert_true(tensor.rank == 1 && tensor.dims[0] == -1 && !tensor.dim_names[0]);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_are_what_the_graph_defines),
        cmocka_unit_test(only_what_wanted_outputs_need_runs),
        cmocka_unit_test(callers_buffers_are_written_and_never_overrun),
        cmocka_unit_test(misaligned_inputs_are_copied),
        cmocka_unit_test(wrong_inputs_are_told_in_one_sentence),
        cmocka_unit_test(empty_tensors_run),
        cmocka_unit_test(one_tensor_may_be_two_outputs),
        cmocka_unit_test(contents_that_decide_shapes_are_part_of_the_plan),
        cmocka_unit_test(what_follows_from_shapes_is_folded),
        cmocka_unit_test(cancelled_runs_stop_between_kernels),
        cmocka_unit_test(an_id_outside_the_table_names_the_node_and_spares_the_session),
        cmocka_unit_test(the_cache_keeps_the_plans_used_last),
        cmocka_unit_test(profiles_name_every_kernel),
        cmocka_unit_test(providers_are_tried_in_order),
        cmocka_unit_test(models_promoted_to_double_compute_in_double),
        cmocka_unit_test(defaults_hold_until_the_caller_gives_another),
        cmocka_unit_test(a_model_says_what_it_takes_and_gives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
