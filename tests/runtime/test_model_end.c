/* A model that gives its hidden states pooled, or those of some tokens: bert_model_end_in_pool and its neighbour. */
#include "core/runtime/model_end.h"
#include "tests/runtime/build.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

enum { BATCH = 2, SEQUENCE = 3, WIDTH = 2 };

static float states[BATCH * SEQUENCE * WIDTH] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static int64_t mask[BATCH * SEQUENCE] = {1, 1, 0, 0, 0, 1};

/* Inputs "x" and, unless left out, "mask", of these types and shapes; x is an output twice, and a sum is one. */
static struct {
    bert_dtype x_type, mask_type;
    const char *x_dims, *mask_dims;
    bool optional; /* an input with a default, which comes last */
    bool taken;    /* a tensor inside has the mask's name */
} built;

static bert_status build(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", built.x_type, built.x_dims), *given = NULL, *added = NULL;
    if (built.mask_dims) given = build_input(graph, "mask", built.mask_type, built.mask_dims);
    if (built.optional) {
        added = build_input(graph, "added", BERT_FLOAT, "");
        const bert_value *number = build_float(graph, 0.5F);
        if (!added || !number) return bert_fail_memory(error, 0, "a graph");
        added->input_default = number->info.constant;
    }
    bert_value *twice = build_node(&graph->body, "Add", built.taken ? "mask" : "twice", NULL, 0, x, x, BUILD_END);
    bert_value *last = twice;
    if (added) last = build_node(&graph->body, "Add", "sum", NULL, 0, twice, added, BUILD_END);
    if (given && added) BERT_TRY(build_inputs(graph, error, x, given, added, BUILD_END));
    if (given && !added) BERT_TRY(build_inputs(graph, error, x, given, BUILD_END));
    if (!given && added) BERT_TRY(build_inputs(graph, error, x, added, BUILD_END));
    if (!given && !added) BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, last, twice, BUILD_END);
}

static bert_model *load(void) {
    bert_model *model = NULL;
    bert_error error;
    if (build_load(build, NULL, NULL, &model, &error) != BERT_OK) fail_msg("%s", error.message);
    return model;
}

static void reset(void) {
    built.x_type = BERT_FLOAT;
    built.mask_type = BERT_INT64;
    built.x_dims = "batch,sequence,2";
    built.mask_dims = "batch,sequence";
    built.optional = built.taken = false;
}

static const char *twice_name(void) {
    return built.taken ? "mask" : "twice";
}

static const char *end_in_pool(bert_model *model, const char *pooling, bool normalize, bool begins_at_0) {
    const char *name = NULL;
    bert_error error;
    const bert_pooled_output wanted = {twice_name(), "mask", pooling, normalize, begins_at_0};
    if (bert_model_end_in_pool(model, &wanted, &name, &error) != BERT_OK) fail_msg("%s", error.message);
    return name;
}

static void expect_pooled(bert_model *model, const char *name, const float expected[BATCH * WIDTH], bool masked) {
    bert_session *session = NULL;
    bert_error error;
    const bert_named_tensor inputs[] = {named("x", BERT_FLOAT, 3, DIMS(BATCH, SEQUENCE, WIDTH), states),
                                        named("mask", BERT_INT64, 2, DIMS(BATCH, SEQUENCE), mask)};
    bert_named_tensor output = {.name = name};
    if (bert_session_create(model, NULL, &session, &error) != BERT_OK ||
        bert_session_run(session, NULL, inputs, masked ? 2 : 1, &output, 1, &error) != BERT_OK)
        fail_msg("%s", error.message);
    const bert_tensor y = output.tensor;
    assert_true(y.dtype == BERT_FLOAT && y.rank == 2 && y.dims[0] == BATCH && y.dims[1] == WIDTH);
    for (int i = 0; i < BATCH * WIDTH; i++) assert_true(fabsf(((const float *)y.data)[i] - expected[i]) < 1e-6F);
    bert_session_free(session);
}

typedef struct pooled_case {
    const char *pooling;
    bool normalize, begins_at_0;
    float expected[BATCH * WIDTH];
} pooled_case;

/* Of a model with inputs of form `form`: the mask is its own, or it gets one where it needs one. */
static void pooled_form(const pooled_case *c, int form) {
    reset();
    if (form % 3) built.mask_dims = NULL;
    built.taken = form % 3 == 2;
    built.optional = form / 3;
    bert_model *model = load();
    const bool by_mask = !(c->begins_at_0 && strcmp(c->pooling, "first") == 0), own = form % 3 == 0;
    const size_t inputs = bert_model_input_count(model);
    const char *name = end_in_pool(model, c->pooling, c->normalize, c->begins_at_0);
    bert_model_tensor described = {0};
    assert_int_equal(bert_model_input_count(model), inputs + (by_mask && !own));
    if (by_mask || own) {
        assert_int_equal(bert_model_input(model, 1, &described), BERT_OK);
        assert_string_equal(described.name, "mask");
        assert_true(described.dtype == BERT_INT64 && described.rank == 2 && !described.optional);
        assert_string_equal(described.dim_names[1], "sequence");
    }
    assert_int_equal(bert_model_output_count(model), 1);
    assert_int_equal(bert_model_output(model, 0, &described), BERT_OK);
    assert_string_equal(described.name, name);
    assert_true(described.rank == 2 && described.dims[1] == 2);
    expect_pooled(model, name, c->expected, by_mask || own);
    bert_model_free(model);
}

static void a_model_ends_in_its_states_pooled(void **state) {
    static const pooled_case cases[] = {
        {"mean", false, false, {4, 6, 22, 24}},
        {"mean", true, false, {0.554700196F, 0.832050294F, 0.675724506F, 0.737154007F}},
        {"mean", false, true, {4, 6, 22, 24}},
        {"max", false, false, {6, 8, 22, 24}},
        {"first", false, false, {2, 4, 22, 24}},
        {"first", false, true, {2, 4, 14, 16}}, /* whatever the mask says */
        {"first", true, true, {0.447213595F, 0.894427191F, 0.658504608F, 0.752576695F}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int form = 0; form < 6; form++) pooled_form(&cases[i], form);
}

/* Tokens of both sequences, one of them twice, in any order. */
static void a_model_ends_in_some_tokens(void **state) {
    static int32_t tokens[] = {5, 0, 2, 5};
    static const float expected[] = {22, 24, 2, 4, 10, 12, 22, 24};
    reset();
    bert_model *model = load();
    bert_session *session = NULL;
    bert_error error;
    bert_named_tensor output = {NULL};
    bert_model_tensor described = {0};
    if (bert_model_end_in_tokens(model, twice_name(), "which", &output.name, &error) != BERT_OK)
        fail_msg("%s", error.message);
    assert_int_equal(bert_model_input_count(model), 3);
    assert_int_equal(bert_model_input(model, 2, &described), BERT_OK);
    assert_string_equal(described.name, "which");
    assert_true(described.dtype == BERT_INT32 && described.rank == 1 && !described.optional);
    assert_int_equal(bert_model_output_count(model), 1);
    const bert_named_tensor inputs[] = {named("x", BERT_FLOAT, 3, DIMS(BATCH, SEQUENCE, WIDTH), states),
                                        named("mask", BERT_INT64, 2, DIMS(BATCH, SEQUENCE), mask),
                                        named("which", BERT_INT32, 1, DIMS(4), tokens)};
    if (bert_session_create(model, NULL, &session, &error) != BERT_OK ||
        bert_session_run(session, NULL, inputs, 3, &output, 1, &error) != BERT_OK)
        fail_msg("%s", error.message);
    assert_true(output.tensor.rank == 3 && output.tensor.dims[0] == 1 && output.tensor.dims[1] == 4);
    assert_memory_equal(output.tensor.data, expected, sizeof expected);
    bert_session_free(session);
    bert_model_free(model);
}

static void expect_refused(const char *output, const char *pooling, bert_status status, const char *words) {
    bert_model *model = load();
    const char *name = NULL;
    bert_error error = {.message = ""};
    const bert_pooled_output wanted = {output, "mask", pooling, false, false};
    assert_int_equal(bert_model_end_in_pool(model, &wanted, &name, &error), status);
    if (!strstr(error.message, words)) fail_msg("'%s' was expected in '%s'", words, error.message);
    bert_model_free(model);
}

static void expect_no_tokens(const char *output, bert_status status, const char *words) {
    bert_model *model = load();
    const char *name = NULL;
    bert_error error = {.message = ""};
    assert_int_equal(bert_model_end_in_tokens(model, output, "which", &name, &error), status);
    if (!strstr(error.message, words)) fail_msg("'%s' was expected in '%s'", words, error.message);
    bert_model_free(model);
}

static void tokens_of_what_has_none_are_refused(void **state) {
    reset();
    expect_no_tokens("nothing", BERT_INVALID_ARGUMENT, "the model has no output 'nothing'");
    built.x_dims = "batch,2";
    expect_no_tokens("twice", BERT_UNSUPPORTED, "output 'twice' is float of rank 2");
    built.x_dims = "batch,sequence,2";
    built.x_type = BERT_INT64;
    expect_no_tokens("twice", BERT_UNSUPPORTED, "output 'twice' is int64 of rank 3");
}

static void what_cant_be_pooled_is_refused(void **state) {
    reset();
    expect_refused("nothing", "mean", BERT_INVALID_ARGUMENT, "the model has no output 'nothing'");
    expect_refused("twice", "median", BERT_INVALID_MODEL, "(Pool): Pool has no pooling \"median\"");
    built.x_type = BERT_INT64;
    expect_refused("twice", "mean", BERT_UNSUPPORTED, "output 'twice' is int64 of rank 3");
    reset();
    built.x_dims = "batch,2";
    expect_refused("twice", "mean", BERT_UNSUPPORTED, "output 'twice' is float of rank 2");
    reset();
    built.mask_type = BERT_FLOAT;
    expect_refused("twice", "mean", BERT_UNSUPPORTED, "input 'mask' is float of rank 2");
    reset();
    built.mask_dims = "batch,1,1,sequence";
    expect_refused("twice", "mean", BERT_UNSUPPORTED, "input 'mask' is int64 of rank 4");
    reset();
    built.x_dims = "batch,4,2";
    built.mask_dims = "batch,3";
    expect_refused("twice", "mean", BERT_INVALID_MODEL, "the dimensions of x and of the mask");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_ends_in_its_states_pooled),
        cmocka_unit_test(a_model_ends_in_some_tokens),
        cmocka_unit_test(tokens_of_what_has_none_are_refused),
        cmocka_unit_test(what_cant_be_pooled_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
