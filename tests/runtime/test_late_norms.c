/*
 * LayerNorms go into the Linears around them, of graphs made by hand: which steps a plan then has, and that it gives
 * what it did before. The backend is the reference, which says that it takes LayerNormLinears.
 */
#include "core/graph/canonical.h"
#include "core/runtime/plan.h"
#include "core/runtime/reference_backend.h"
#include "tests/runtime/build.h"
#include "tests/support/scarce_memory.h"
#include "tests/support/test.h"
#include "tests/support/worst.h"

#include <stdio.h>
#include <string.h>

enum { MOST_BATCH = 2, SEQUENCE = 3, WIDTH = 70, INNER = 130, MOST_ELEMENTS = MOST_BATCH * SEQUENCE * INNER };

/* ---- A backend --------------------------------------------------------------------------------------------------- */

/* What it refuses when it is asked in the middle of binding: a node of this operator and this name (NULL: any). */
static struct {
    const char *op, *name;
    bert_status status;
    int least_inputs; /* of those that are there */
} refused;
static const char *of_bytes; /* a Linear that reads byte rows */
static int asked;            /* for LayerNormLinears */

static int inputs_of(const bert_op_node *node) {
    int count = 0;
    for (int32_t i = 0; i < node->input_count; i++) count += node->inputs[i].dtype != BERT_DTYPE_UNDEFINED;
    return count;
}

static bert_status plan(bert_prepared *prepared, bert_context *context, const bert_op_node *node, bert_plan_mode mode,
                        bert_op_plan *out, bert_error *error) {
    const bool known = node->outputs[0].rank > 0 && node->outputs[0].dims[0] >= 0;
    if (mode == BERT_PLAN_QUERY && strcmp(node->op_type, "LayerNormLinear") == 0) asked++;
    if (mode == BERT_PLAN_QUERY && known && refused.op && strcmp(node->op_type, refused.op) == 0 &&
        (!refused.name || strcmp(node->name, refused.name) == 0) && inputs_of(node) >= refused.least_inputs)
        return bert_fail(error, refused.status, "it is not to be");
    BERT_TRY(bert_reference_backend.plan(prepared, context, node, mode, out, error));
    if (of_bytes && strcmp(node->op_type, "Linear") == 0 && strcmp(node->name, of_bytes) == 0) out->x_bytes = 8;
    return BERT_OK;
}

/* ---- Graphs ------------------------------------------------------------------------------------------------------ */

static float number(int64_t i, int seed, float scale) {
    return scale * (float)((i * 29 + seed * 41 + i / 7) % 47 - 23) / 23;
}

/* Of the constants that a graph has so far. */
static int seed;

static bert_value *constant(bert_graph *graph, int32_t rank, const int64_t *dims, float center, float scale) {
    static float values[520 * 512];
    int64_t count = 1;
    for (int32_t i = 0; i < rank; i++) count *= dims[i];
    assert_true((size_t)count <= sizeof values / sizeof *values);
    seed = (seed + 1) % 47;
    for (int64_t i = 0; i < count; i++) values[i] = center + number(i, seed, scale);
    return build_constant(graph, BERT_FLOAT, rank, dims, values);
}

static bert_value *vector(bert_graph *graph, int64_t width, float center) {
    return constant(graph, 1, &width, center, 0.5F);
}

static int64_t width_of(const bert_value *x) {
    return x->info.shape.dims[x->info.shape.rank - 1];
}

/* Its shape, for what is built on it. */
static bert_value *inferred(bert_graph *graph, bert_value *y) {
    assert_non_null(y);
    assert_int_equal(bert_infer_node(graph, y->producer, NULL), BERT_OK);
    return y;
}

/* A new node's output; its second one into *second, where that isn't NULL. */
static bert_value *add_node(bert_graph *graph, bert_op_id op, const char *name, const bert_attribute *attributes,
                            size_t attribute_count, bert_value *const *inputs, int32_t input_count,
                            bert_value **second) {
    bert_value *outputs[2] = {NULL, NULL};
    bert_node *node = NULL;
    for (int i = 0; i < (second ? 2 : 1); i++)
        assert_int_equal(bert_graph_add_value(graph, NULL, &outputs[i], NULL), BERT_OK);
    const bert_node_spec spec = {.op = bert_op_get(op),
                                 .opset = op == BERT_OP_LayerNormalization ? 17 : 1,
                                 .name = name,
                                 .inputs = inputs,
                                 .input_count = input_count,
                                 .outputs = outputs,
                                 .output_count = second ? 2 : 1,
                                 .attributes = attributes,
                                 .attribute_count = attribute_count};
    assert_int_equal(bert_graph_add_node(&graph->body, NULL, &spec, &node, NULL), BERT_OK);
    if (second) *second = outputs[1];
    return inferred(graph, outputs[0]);
}

static const char *activation = "none"; /* of the next Linear */
static int parts = 1;
static bool without_bias;

static bert_value *linear(bert_graph *graph, const char *name, bert_value *x, int64_t width, bert_value *residual) {
    bert_value *inputs[8] = {x, residual};
    const bert_attribute attributes[] = {BERT_STRING_ATTRIBUTE("activation", activation),
                                         BERT_INT_ATTRIBUTE("parts", parts)};
    for (int part = 0; part < parts; part++) {
        inputs[BERT_LINEAR_WEIGHT(part)] =
            constant(graph, 2, DIMS(width_of(x), width / parts), 0, 2 / (float)width_of(x));
        if (!without_bias) inputs[BERT_LINEAR_BIAS(part)] = vector(graph, width / parts, 0.25F);
    }
    bert_value *y = add_node(graph, BERT_OP_BERTC_Linear, name, attributes, 2, inputs, 2 + 2 * parts, NULL);
    activation = "none";
    parts = 1;
    without_bias = false;
    return y;
}

static bert_value *gelu(bert_graph *graph, const char *name, bert_value *x, int64_t width) {
    activation = "gelu";
    return linear(graph, name, x, width, NULL);
}

/* How norms are. */
static struct { bool with_bias, without_beta, skip_first, simplified, no_epsilon; } form;

static bert_value *skip_norm_of(bert_graph *graph, bert_value *x, bert_value *skip, bert_value *gamma,
                                bert_value **sum) {
    const int64_t width = width_of(x);
    bert_value *inputs[5] = {form.skip_first ? skip : x, form.skip_first ? x : skip, gamma,
                             form.without_beta ? NULL : vector(graph, width, 0),
                             form.with_bias ? vector(graph, width, 0) : NULL};
    const bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("simplified", form.simplified),
                                         BERT_FLOAT_ATTRIBUTE("epsilon", 0.25F)};
    return add_node(graph, BERT_OP_BERTC_SkipLayerNormalization, NULL, attributes, form.no_epsilon ? 1 : 2, inputs, 5,
                    sum);
}

static bert_value *skip_norm(bert_graph *graph, bert_value *x, bert_value *skip) {
    return skip_norm_of(graph, x, skip, vector(graph, width_of(x), 1), NULL);
}

static bert_value *layer_norm_of(bert_graph *graph, bert_value *x, bert_value *gamma, int64_t axis, bert_value **mean) {
    bert_value *inputs[3] = {x, gamma, form.without_beta ? NULL : vector(graph, width_of(x), 0)};
    const bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("axis", axis), BERT_FLOAT_ATTRIBUTE("epsilon", 0.125F)};
    return add_node(graph, BERT_OP_LayerNormalization, NULL, attributes, form.no_epsilon ? 1 : 2, inputs, 3, mean);
}

static bert_value *layer_norm(bert_graph *graph, bert_value *x) {
    return layer_norm_of(graph, x, vector(graph, width_of(x), 1), -1, NULL);
}

static bert_value *relu(bert_graph *graph, bert_value *x) {
    return inferred(graph, build_node(&graph->body, "Relu", NULL, NULL, 0, x, BUILD_END));
}

/* The same in another shape. */
static bert_value *reshaped(bert_graph *graph, bert_value *x, int64_t rank, const int64_t *dims) {
    return inferred(graph,
                    build_node(&graph->body, "Reshape", NULL, NULL, 0, x, build_int64s(graph, rank, dims), BUILD_END));
}

static bert_value *input(bert_graph *graph) {
    return build_input(graph, "x", BERT_FLOAT, "batch,3,70");
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

typedef struct opened {
    bert_backend backend;
    const bert_backend *backends[1];
    bert_composition composition;
    bert_model *model;
    bert_session *session;
    bert_named_tensor outputs[BUILD_MOST_OUTPUTS];
    size_t output_count;
} opened;

/* `out` stays where it is until it is closed. */
static bert_status open_graph(opened *out, build_fn build, bool late, const bert_allocator *allocator,
                              bert_error *error) {
    const bert_model_options options = {.struct_size = sizeof options, .allocator = allocator};
    seed = 0;
    bert_model_tensor described;
    *out = (opened){.backend = bert_reference_backend, .composition = build_composition};
    out->backend.plan = plan;
    out->backend.layer_norm_linear = late;
    out->backends[0] = &out->backend;
    out->composition.backends = out->backends;
    BERT_TRY(build_load(build, &out->composition, &options, &out->model, error));
    BERT_TRY(bert_session_create(out->model, NULL, &out->session, error));
    out->output_count = bert_model_output_count(out->model);
    assert_true(out->output_count <= BUILD_MOST_OUTPUTS);
    for (size_t i = 0; i < out->output_count; i++) {
        assert_int_equal(bert_model_output(out->model, i, &described), BERT_OK);
        out->outputs[i].name = described.name;
    }
    return BERT_OK;
}

static void close_graph(opened *graph) {
    bert_session_free(graph->session);
    bert_model_free(graph->model);
}

static bert_status run_batch(opened *graph, int64_t batch, bert_error *error) {
    static float values[MOST_ELEMENTS];
    for (int i = 0; i < MOST_ELEMENTS; i++) values[i] = 1 + number(i, 5, 2);
    const bert_named_tensor x = named("x", BERT_FLOAT, 3, DIMS(batch, SEQUENCE, WIDTH), values);
    for (size_t i = 0; i < graph->output_count; i++) graph->outputs[i].tensor = (bert_tensor){0};
    return bert_session_run(graph->session, NULL, &x, 1, graph->outputs, graph->output_count, error);
}

static bool has(const bert_node *node, int32_t input) {
    return bert_node_in(node, input) != NULL;
}

/* Steps by their names; of a LayerNormLinear what it normalizes (x), adds (r, n: a norm of it), and gives (m). */
static const char *steps_of(const bert_session *session) {
    static char text[1024];
    const bert_plan *p = bert_session_plan(session);
    size_t at = 0;
    text[0] = '\0';
    for (size_t s = 0; s < p->step_count; s++) {
        const bert_node *node = p->steps[s].node;
        const char *name = node->op->name;
        const bool moments = node->output_count > 1;
        char made[16];
        if (node->op->id == BERT_OP_BERTC_LayerNormLinear) {
            snprintf(made, sizeof made, "(%s%s%s%s)", has(node, BERT_LAYER_NORM_LINEAR_X_MOMENTS) ? "x" : "",
                     has(node, BERT_LINEAR_RESIDUAL) ? "r" : "",
                     has(node, BERT_LAYER_NORM_LINEAR_RESIDUAL_MOMENTS) ? "n" : "", moments ? "m" : "");
            name = made;
        } else if (node->op->id == BERT_OP_BERTC_SkipLayerNormalization) {
            name = "Skip";
        } else if (node->op->id == BERT_OP_LayerNormalization) {
            name = "Norm";
        }
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", s ? " " : "", name);
        assert_true(at < sizeof text);
    }
    return text;
}

static void expect_equal_outputs(const opened *got, const opened *expected) {
    for (size_t i = 0; i < expected->output_count; i++) {
        const bert_tensor *a = &got->outputs[i].tensor, *b = &expected->outputs[i].tensor;
        assert_int_equal(bert_tensor_elements(a), bert_tensor_elements(b));
        const double worst = worst_error(a->data, b->data, bert_tensor_elements(b));
        if (!(worst <= 1e-5)) fail_msg("output %s is off by %g", expected->outputs[i].name, worst);
    }
}

/* Batches of any size have the steps, and results of the backend that knows no LayerNormLinear. */
static void expect_steps(build_fn build, const char *steps) {
    opened late, plain;
    bert_error error;
    if (open_graph(&late, build, true, NULL, &error) != BERT_OK) fail_msg("%s", error.message);
    if (open_graph(&plain, build, false, NULL, &error) != BERT_OK) fail_msg("%s", error.message);
    for (int64_t batch = 1; batch <= MOST_BATCH; batch++) {
        const int before = asked;
        if (run_batch(&plain, batch, &error) != BERT_OK) fail_msg("%s", error.message);
        assert_int_equal(asked, before);
        if (run_batch(&late, batch, &error) != BERT_OK) fail_msg("%s", error.message);
        if (strcmp(steps_of(late.session), steps) != 0) fail_msg("%s, not %s", steps_of(late.session), steps);
        expect_equal_outputs(&late, &plain);
    }
    close_graph(&late);
    close_graph(&plain);
}

/* ---- Layers that end in a norm ----------------------------------------------------------------------------------- */

/* The two norms of a layer whose attention is left out; *middle: what the first gives. */
static bert_value *post_layer(bert_graph *graph, const char *const names[3], bert_value *x, bert_value **middle) {
    without_bias = form.with_bias;
    bert_value *attended = linear(graph, names[0], x, WIDTH, NULL);
    bert_value *one = skip_norm(graph, attended, x);
    bert_value *inner = gelu(graph, names[1], one, INNER);
    without_bias = form.with_bias;
    bert_value *outer = linear(graph, names[2], inner, WIDTH, NULL);
    if (middle) *middle = one;
    return skip_norm(graph, outer, one);
}

static const char *const first_names[] = {"a1", "f1", "o1"}, *const second_names[] = {"a2", "f2", "o2"};

static bert_status build_post(bert_graph *graph, bert_error *error) {
    bert_value *x = input(graph);
    bert_value *y = post_layer(graph, second_names, post_layer(graph, first_names, relu(graph, x), NULL), NULL);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, y, BUILD_END);
}

#define ALL_OF_POST "Relu (rm) (x) (rnm) (xrnm) (x) (rn) Norm"
#define NONE_OF_POST "Relu Linear Skip Linear Linear Skip Linear Skip Linear Linear Skip"

static void norms_of_post_layers_are_late(void **state) {
    for (int bits = 0; bits < 16; bits++) {
        form.with_bias = bits & 1;
        form.skip_first = bits & 2;
        form.without_beta = bits & 4;
        form.no_epsilon = bits & 8;
        expect_steps(build_post, ALL_OF_POST);
    }
    memset(&form, 0, sizeof form);
}

static void who_is_made_stands_where_its_linear_stood(void **state) {
    opened graph;
    bert_error error;
    if (open_graph(&graph, build_post, true, NULL, &error) != BERT_OK) fail_msg("%s", error.message);
    assert_int_equal(run_batch(&graph, 2, &error), BERT_OK);
    static const char *const labels[] = {NULL, "a1", "f1", "o1", "a2", "f2", "o2"};
    const bert_plan *p = bert_session_plan(graph.session);
    for (size_t s = 1; s < 7; s++) {
        assert_string_equal(bert_node_label(p->steps[s].node), labels[s]);
        const int64_t depth = s == 3 || s == 6 ? INNER : WIDTH, width = s == 2 || s == 5 ? INNER : WIDTH;
        assert_int_equal(p->steps[s].flops, 2 * 2 * SEQUENCE * depth * width);
    }
    close_graph(&graph);
}

/* A bias that its Linear can't take along. */
static bert_status build_two_biases(bert_graph *graph, bert_error *error) {
    bert_value *x = input(graph);
    bert_value *y = skip_norm(graph, linear(graph, "a", x, WIDTH, NULL), x);
    bert_value *z = skip_norm(graph, linear(graph, "b", y, WIDTH, NULL), y);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, z, BUILD_END);
}

static bert_status build_parts(bert_graph *graph, bert_error *error) {
    bert_value *x = input(graph);
    without_bias = true;
    parts = 2;
    bert_value *y = skip_norm(graph, linear(graph, "a", x, WIDTH, NULL), x);
    parts = 3;
    bert_value *z = linear(graph, "b", y, 3 * WIDTH, NULL);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, z, BUILD_END);
}

static void a_bias_stays_that_a_linear_cannot_take(void **state) {
    expect_steps(build_two_biases, "(rm) (xrn) Norm");
    expect_steps(build_parts, "(rm) (x)");
    form.with_bias = true;
    expect_steps(build_two_biases, "Linear Skip Linear Skip");
    expect_steps(build_parts, "Linear Skip Linear");
    memset(&form, 0, sizeof form);
}

/* The skip is computed after the Linear, and by a Linear that might have taken the other as its skip. */
static bert_status build_late_skip(bert_graph *graph, bert_error *error) {
    bert_value *x = input(graph);
    bert_value *a = linear(graph, "a", x, WIDTH, NULL), *b = relu(graph, x), *c = linear(graph, "c", b, WIDTH, NULL);
    bert_value *y = skip_norm(graph, a, c);
    bert_value *z = linear(graph, "d", y, INNER, NULL);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, z, BUILD_END);
}

static void a_skip_may_be_computed_after_the_linear(void **state) {
    expect_steps(build_late_skip, "Relu Linear (rm) (x)");
    form.skip_first = true; /* now c adds a */
    expect_steps(build_late_skip, "Linear Relu (rm) (x)");
    memset(&form, 0, sizeof form);
}

/* ---- Layers that begin with a norm ------------------------------------------------------------------------------- */

static bert_value *pre_layer(bert_graph *graph, bert_value *x) {
    bert_value *inner = gelu(graph, NULL, layer_norm(graph, x), INNER);
    return linear(graph, NULL, inner, WIDTH, x);
}

static bert_status build_pre(bert_graph *graph, bert_error *error) {
    bert_value *x = input(graph);
    bert_value *y = gelu(graph, NULL, x, WIDTH);
    y = pre_layer(graph, pre_layer(graph, y));
    bert_value *z = layer_norm(graph, y);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, z, y, BUILD_END);
}

static void norms_of_pre_layers_are_late(void **state) {
    for (int bits = 0; bits < 4; bits++) {
        form.without_beta = bits & 1;
        form.no_epsilon = bits & 2;
        expect_steps(build_pre, "(m) (x) (rm) (x) Linear Norm");
    }
    memset(&form, 0, sizeof form);
}

/* A residual that was normalized, where a pass gave it to the Linear; and two norms of the same rows. */
static bert_status build_residuals(bert_graph *graph, bert_error *error) {
    bert_value *x = input(graph);
    bert_value *y = layer_norm_of(graph, linear(graph, NULL, x, WIDTH, x), vector(graph, WIDTH, 1), 2, NULL);
    bert_value *rows = linear(graph, NULL, relu(graph, x), WIDTH, y);
    bert_value *one = layer_norm(graph, rows), *other = layer_norm(graph, rows);
    bert_value *sum = linear(graph, NULL, one, WIDTH, other), *self = linear(graph, NULL, one, WIDTH, one);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, sum, self, rows, BUILD_END);
}

/* The same, and one of the two norms stays. */
static bert_status build_one_of_two(bert_graph *graph, bert_error *error) {
    bert_value *x = input(graph), *rows = linear(graph, NULL, x, WIDTH, NULL);
    bert_value *one = layer_norm(graph, rows), *other = layer_norm(graph, rows);
    bert_value *y = linear(graph, NULL, one, WIDTH, other);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, y, other, BUILD_END);
}

static void a_residual_is_normalized_too(void **state) {
    expect_steps(build_residuals, "(rm) Relu (rnm) (xrn) (xrn)");
    expect_steps(build_one_of_two, "(m) Norm (xr)");
}

/* ---- Norms that stay --------------------------------------------------------------------------------------------- */

static bert_status build_output(bert_graph *graph, bert_error *error) {
    bert_value *x = input(graph), *middle = NULL;
    bert_value *y = post_layer(graph, second_names, post_layer(graph, first_names, relu(graph, x), &middle), NULL);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, y, build_matrix(graph, middle, WIDTH), BUILD_END);
}

/* The first norm's output is read by another operator, too. */
static bert_status build_other_reader(bert_graph *graph, bert_error *error) {
    bert_value *x = input(graph), *middle = NULL;
    bert_value *y = post_layer(graph, second_names, post_layer(graph, first_names, relu(graph, x), &middle), NULL);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, y, relu(graph, middle), BUILD_END);
}

static void what_others_read_is_normalized(void **state) {
    /* What is an output alone: not so where it isn't wanted. */
    expect_steps(build_output, "Relu Linear Skip Linear (rm) (xrnm) (x) (rn) Norm");
    expect_steps(build_other_reader, "Relu Linear Skip Linear (rm) (xrnm) (x) (rn) Norm Relu");
    opened graph;
    bert_error error;
    if (open_graph(&graph, build_output, true, NULL, &error) != BERT_OK) fail_msg("%s", error.message);
    graph.output_count = 1;
    assert_int_equal(run_batch(&graph, 2, &error), BERT_OK);
    assert_string_equal(steps_of(graph.session), ALL_OF_POST);
    close_graph(&graph);
}

/* What is odd about one norm, or about who reads it. */
typedef enum odd {
    NOTHING,
    ROWS_ARE_AN_OUTPUT,
    ROWS_ARE_READ,
    ACTIVATION,
    RESIDUAL,
    SIMPLIFIED,
    GAMMA_COMPUTED,
    BETA_COMPUTED,
    ONE_GAMMA,
    GAMMA_OF_ANOTHER_TYPE,
    AXIS,
    SECOND_OUTPUT,
    BYTES,
    ROWS_SEEN_OTHERWISE,
    NO_LINEAR,
    SKIP_IS_BROADCAST,
    MOST_DIMENSIONS,
    READ_AS_A_WEIGHT,
    READ_BY_A_NORM,
    READ_IN_ROWS_OF_ANOTHER_WIDTH,
    READ_IN_MOST_DIMENSIONS
} odd;
static odd oddity;
static bool is_skip; /* the norm is a SkipLayerNormalization */

/* [70], of the input. */
static bert_value *computed_vector(bert_graph *graph, bert_value *x) {
    static const int64_t axes[] = {0, 1};
    const bert_attribute attributes[] = {
        BERT_INT_ATTRIBUTE("keepdims", 0),
        {.name = "axes", .kind = BERT_ATTRIBUTE_INTS, .count = 2, .value = {.ints = axes}}};
    return inferred(graph, build_node(&graph->body, "ReduceMax", NULL, attributes, 2, x, BUILD_END));
}

static bert_value *half_vector(bert_graph *graph, int64_t width) {
    uint16_t ones[WIDTH];
    for (int64_t i = 0; i < width; i++) ones[i] = 0x3C00;
    return build_constant(graph, BERT_FLOAT16, 1, &width, ones);
}

static bert_value *odd_norm(bert_graph *graph, bert_value *x, bert_value *rows, bert_value **second) {
    bert_value **also = oddity == SECOND_OUTPUT ? second : NULL;
    bert_value *gamma = oddity == GAMMA_COMPUTED          ? computed_vector(graph, x)
                        : oddity == ONE_GAMMA             ? vector(graph, 1, 1)
                        : oddity == GAMMA_OF_ANOTHER_TYPE ? half_vector(graph, WIDTH)
                                                          : vector(graph, WIDTH, 1);
    bert_value *beta = oddity == BETA_COMPUTED ? computed_vector(graph, x) : NULL;
    bert_value *skip = oddity == SKIP_IS_BROADCAST ? constant(graph, 2, DIMS(SEQUENCE, WIDTH), 0, 1) : x;
    form.simplified = oddity == SIMPLIFIED;
    bert_value *y = is_skip ? skip_norm_of(graph, rows, skip, gamma, also)
                            : layer_norm_of(graph, rows, gamma, oddity == AXIS ? -2 : -1, also);
    if (beta) assert_int_equal(bert_node_set_input(y->producer, is_skip ? BERT_SKIP_BETA : 2, beta, NULL), BERT_OK);
    form.simplified = false;
    return y;
}

static bert_value *odd_reader(bert_graph *graph, bert_value *y) {
    const int64_t width = oddity == READ_IN_ROWS_OF_ANOTHER_WIDTH ? WIDTH / 2 : WIDTH;
    bert_value *matrix = reshaped(graph, y, 2, DIMS(-1, width));
    const bert_attribute transposed = BERT_INT_ATTRIBUTE("transpose", 1);
    bert_value *inputs[3] = {constant(graph, 2, DIMS(2, WIDTH), 0, 1), NULL, matrix};
    if (oddity == READ_AS_A_WEIGHT) return add_node(graph, BERT_OP_BERTC_Linear, NULL, &transposed, 1, inputs, 3, NULL);
    if (oddity == READ_IN_MOST_DIMENSIONS) {
        bert_value *read = reshaped(graph, y, 8, DIMS(1, 1, 1, 1, 1, -1, SEQUENCE, WIDTH));
        return linear(graph, "reader", read, WIDTH, NULL);
    }
    if (oddity == READ_BY_A_NORM) return skip_norm(graph, relu(graph, y), y);
    return linear(graph, "reader", matrix, width, matrix);
}

static bert_status build_odd(bert_graph *graph, bert_error *error) {
    bert_value *x = input(graph), *read = x, *more = NULL;
    if (oddity == ACTIVATION) activation = "tanh";
    if (oddity == MOST_DIMENSIONS) read = reshaped(graph, x, 8, DIMS(1, 1, 1, 1, 1, -1, SEQUENCE, WIDTH));
    bert_value *rows = linear(graph, oddity == BYTES ? "bytes" : "rows", read, WIDTH, oddity == RESIDUAL ? x : NULL);
    if (oddity == ROWS_ARE_AN_OUTPUT) more = rows;
    if (oddity == ROWS_ARE_READ) more = relu(graph, rows);
    if (oddity == NO_LINEAR) rows = relu(graph, rows);
    if (oddity == ROWS_SEEN_OTHERWISE) rows = reshaped(graph, rows, 3, DIMS(-1, SEQUENCE, WIDTH));
    bert_value *z = odd_reader(graph, odd_norm(graph, read, rows, &more));
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return more ? build_outputs(graph, error, z, more, BUILD_END) : build_outputs(graph, error, z, BUILD_END);
}

static void a_norm_stays_that_is_odd(void **state) {
    static const struct {
        odd what;
        const char *skip, *norm; /* steps; NULL: there is no such norm */
    } cases[] = {{NOTHING, "(rm) (xrn)", "(m) (xrn)"},
                 {ROWS_ARE_AN_OUTPUT, "Linear Skip Linear", "(m) (xrn)"},
                 {ROWS_ARE_READ, "Linear Relu Skip Linear", "(m) Relu (xrn)"},
                 {ACTIVATION, "Linear Skip Linear", "(m) (xrn)"},
                 {RESIDUAL, "Linear Skip Linear", "(rm) (xrn)"},
                 {SIMPLIFIED, "Linear Skip Linear", NULL},
                 {GAMMA_COMPUTED, "Linear ReduceMax Skip Linear", "Linear ReduceMax Norm Linear"},
                 {BETA_COMPUTED, "Linear ReduceMax Skip Linear", "Linear ReduceMax Norm Linear"},
                 {ONE_GAMMA, NULL, "Linear Norm Linear"},
                 {GAMMA_OF_ANOTHER_TYPE, NULL, "Linear Norm Linear"},
                 {AXIS, NULL, "Linear Norm Linear"},
                 {SECOND_OUTPUT, "(rm) (xrn)", "Linear Norm Linear"},
                 {BYTES, "Linear Skip Linear", "Linear Norm Linear"},
                 {ROWS_SEEN_OTHERWISE, "Linear Skip Linear", "Linear Norm Linear"},
                 {NO_LINEAR, "Linear Relu Skip Linear", "Linear Relu Norm Linear"},
                 {SKIP_IS_BROADCAST, "Linear Skip Linear", NULL},
                 {MOST_DIMENSIONS, "Linear Skip Linear", "Linear Norm Linear"},
                 {READ_AS_A_WEIGHT, "Linear Skip Linear", "Linear Norm Linear"},
                 {READ_BY_A_NORM, "Linear Skip Relu Skip", "Linear Norm Relu Skip"},
                 {READ_IN_ROWS_OF_ANOTHER_WIDTH, "Linear Skip Linear", "Linear Norm Linear"},
                 {READ_IN_MOST_DIMENSIONS, "Linear Skip Linear", "Linear Norm Linear"}};
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        is_skip = i % 2 == 0;
        oddity = cases[i / 2].what;
        of_bytes = oddity == BYTES ? "bytes" : NULL;
        const char *steps = is_skip ? cases[i / 2].skip : cases[i / 2].norm;
        if (steps) expect_steps(build_odd, steps);
    }
    of_bytes = NULL;
}

/* ---- What the backend refuses ------------------------------------------------------------------------------------ */

static void refuse(const char *op, const char *name, bert_status status, int least_inputs) {
    refused.op = op;
    refused.name = name;
    refused.status = status;
    refused.least_inputs = least_inputs;
}

static void expect_refusal(const char *op, const char *name, int least_inputs, const char *steps) {
    refuse(op, name, BERT_UNSUPPORTED, least_inputs);
    expect_steps(build_post, steps);
    refuse(NULL, NULL, BERT_OK, 0);
}

static void a_norm_stays_whose_reader_is_refused(void **state) {
    expect_refusal("LayerNormLinear", NULL, 0, NONE_OF_POST);
    expect_refusal("LayerNormLinear", "f1", 0, "Relu Linear Skip Linear (rm) (xrnm) (x) (rn) Norm");
    expect_refusal("LayerNormLinear", "a2", 0, "Relu (rm) (x) (rn) Norm Linear Skip Linear Linear Skip");
    /* Inputs: a2 has 10 with two norms, o1 and o2 have 7 with one, f1 and f2 have 6. */
    expect_refusal("LayerNormLinear", NULL, 8, "Relu (rm) (x) (rn) Norm Linear Skip Linear Linear Skip");
    expect_refusal("LayerNormLinear", NULL, 7, NONE_OF_POST);
    /* Without it no residual of a Linear whose own norm stays is normalized, and so on to the front. */
    expect_refusal("LayerNormalization", NULL, 0, NONE_OF_POST);
    /* What runs in no way, and what reads bytes. */
    expect_refusal("Linear", "o2", 0, "Relu (rm) (x) (rnm) (xrn) Norm Linear Linear Skip");
    of_bytes = "o2";
    expect_refusal(NULL, NULL, 0, "Relu (rm) (x) (rnm) (xrn) Norm Linear Linear Skip");
    of_bytes = NULL;
}

/* Though it is looked at again after one was refused. */
static void each_node_is_asked_for_once(void **state) {
    for (int i = 0; i < 2; i++) {
        opened graph;
        bert_error error;
        if (open_graph(&graph, build_post, true, NULL, &error) != BERT_OK) fail_msg("%s", error.message);
        if (i) refuse("LayerNormLinear", "f1", BERT_UNSUPPORTED, 0);
        asked = 0;
        assert_int_equal(run_batch(&graph, 2, &error), BERT_OK);
        assert_int_equal(asked, 6);
        refuse(NULL, NULL, BERT_OK, 0);
        close_graph(&graph);
    }
}

static void who_fails_when_asked_is_named(void **state) {
    static const char *const cases[][2] = {{"LayerNormLinear", "f1"}, {"Linear", "a1"}};
    for (int i = 0; i < 2; i++) {
        opened graph;
        bert_error error;
        char words[64];
        snprintf(words, sizeof words, "node %s (%s): it is not to be", cases[i][1], cases[i][0]);
        if (open_graph(&graph, build_post, true, NULL, &error) != BERT_OK) fail_msg("%s", error.message);
        refuse(cases[i][0], cases[i][1], BERT_INTERNAL, 0);
        assert_int_equal(run_batch(&graph, 1, &error), BERT_INTERNAL);
        if (!strstr(error.message, words)) fail_msg("%s", error.message);
        refuse(NULL, NULL, BERT_OK, 0);
        close_graph(&graph);
    }
}

/* ---- What is computed once --------------------------------------------------------------------------------------- */

static bert_status build_once(bert_graph *graph, bert_error *error) {
    bert_value *x = input(graph), *rows = linear(graph, NULL, constant(graph, 2, DIMS(520, 4), 0, 1), 512, NULL);
    bert_value *y = linear(graph, NULL, skip_norm(graph, rows, constant(graph, 2, DIMS(520, 512), 0, 1)), 520, NULL);
    bert_value *z = linear(graph, NULL, y, 4, NULL);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, relu(graph, x), relu(graph, z), BUILD_END);
}

static void norms_of_constants_are_computed_once(void **state) {
    expect_steps(build_once, "Relu Relu");
}

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

static void running_out_of_memory_is_a_status(void **state) {
    bert_status status = BERT_OUT_OF_MEMORY;
    for (size_t at = 0; status != BERT_OK; at++) {
        opened graph;
        bert_error error;
        scarce_memory memory = {0};
        const bert_allocator allocator = scarce_allocator(&memory);
        if (open_graph(&graph, build_pre, true, &allocator, &error) != BERT_OK) fail_msg("%s", error.message);
        const size_t before = memory.allocations;
        memory.fail_from = before + at;
        memory.fail_to = memory.fail_from + 1;
        status = run_batch(&graph, 2, &error);
        if (status != BERT_OK && status != BERT_OUT_OF_MEMORY) fail_msg("allocation %zu: %s", at, error.message);
        if (status == BERT_OK) assert_true(at > 10 && memory.allocations - before <= at);
        close_graph(&graph);
        assert_int_equal(memory.live, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_of_post_layers_are_late),
        cmocka_unit_test(who_is_made_stands_where_its_linear_stood),
        cmocka_unit_test(a_bias_stays_that_a_linear_cannot_take),
        cmocka_unit_test(a_skip_may_be_computed_after_the_linear),
        cmocka_unit_test(norms_of_pre_layers_are_late),
        cmocka_unit_test(a_residual_is_normalized_too),
        cmocka_unit_test(what_others_read_is_normalized),
        cmocka_unit_test(a_norm_stays_that_is_odd),
        cmocka_unit_test(a_norm_stays_whose_reader_is_refused),
        cmocka_unit_test(each_node_is_asked_for_once),
        cmocka_unit_test(who_fails_when_asked_is_named),
        cmocka_unit_test(norms_of_constants_are_computed_once),
        cmocka_unit_test(running_out_of_memory_is_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
