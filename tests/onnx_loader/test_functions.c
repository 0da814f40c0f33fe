/* Functions that a model defines: inlined with their own names, operator sets and attributes. */
#include "tests/onnx_loader/loading.h"

#include "core/graph/op.h"

#include <stdio.h>
#include <string.h>

static message graph_xy(void) {
    message graph = {0};
    put_message(&graph, GRAPH_INPUT, named_value_info("x", BERT_FLOAT, "n"));
    put_message(&graph, GRAPH_OUTPUT, named_value_info("y", BERT_FLOAT, "n"));
    return graph;
}

static message call_of(const char *name, const char *function, const char *inputs, const char *outputs) {
    message m = node(function, inputs, outputs);
    put_string(&m, NODE_DOMAIN, "local");
    put_string(&m, NODE_NAME, name);
    return m;
}

static message function_head(const char *name, const char *const *inputs, const char *const *outputs,
                             int64_t onnx_opset) {
    message m = {0};
    put_string(&m, FUNCTION_NAME, name);
    put_string(&m, FUNCTION_DOMAIN, "local");
    for (; *inputs; inputs++) put_string(&m, FUNCTION_INPUT, *inputs);
    for (; *outputs; outputs++) put_string(&m, FUNCTION_OUTPUT, *outputs);
    if (onnx_opset) put_message(&m, FUNCTION_OPSET, opset("", onnx_opset));
    return m;
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* local.Scaled(a, b) = (a + k) x b with an inner tensor "t" and a Constant "k" from the attribute alpha. */
static message scaled(int64_t default_alpha) {
    message m = function_head("Scaled", NAMES("a", "b"), NAMES("r"), 14), n = node("Constant", "", "k");
    put_message(&n, NODE_ATTRIBUTE, reference_attribute("value_float", "alpha", 1));
    put_message(&m, FUNCTION_NODE, n);
    n = node("Add", "a k", "t");
    put_string(&n, NODE_NAME, "add");
    put_message(&m, FUNCTION_NODE, n);
    put_message(&m, FUNCTION_NODE, node("Mul", "t b", "r"));
    if (default_alpha) {
        put_message(&m, FUNCTION_DEFAULT, float_attribute("alpha", (float)default_alpha));
    } else {
        put_string(&m, FUNCTION_ATTRIBUTE, "alpha");
    }
    return m;
}

static void a_call_becomes_the_functions_nodes(void **state) {
    message graph = graph_xy(), n = call_of("first", "Scaled", "x x", "h");
    put_message(&n, NODE_ATTRIBUTE, float_attribute("alpha", 3));
    put_message(&graph, GRAPH_NODE, n);
    put_message(&graph, GRAPH_NODE, call_of("second", "Scaled", "h x", "y"));
    message m = model(8, 17, graph);
    put_message(&m, MODEL_FUNCTION, scaled(5));
    bert_graph *loaded = load(&m);
    assert_int_equal(count_nodes(loaded), 4);
    assert_int_equal(loaded->file_node_count, 5);
    const bert_node *add = loaded->body.first, *last = loaded->body.last;
    assert_string_equal(add->name, "first/add");
    assert_int_equal(add->opset, 14); /* the function's import, not the model's */
    assert_string_equal(add->outputs[0]->name, "first/t");
    assert_true(bert_constant_double(add->inputs[1]->info.constant, 0) == 3.0);
    assert_ptr_equal(add->next->outputs[0], value_named(loaded, "h"));
    assert_true(bert_constant_double(value_named(loaded, "second/k")->info.constant, 0) == 5.0);
    assert_ptr_equal(last->outputs[0], value_named(loaded, "y"));
    /* A node comes from the call and from the function's own node. */
    assert_int_equal(add->origin_count, 2);
    assert_int_equal(add->origins[0]->index, 0);
    assert_string_equal(add->origins[0]->name, "first");
    assert_string_equal(add->origins[0]->op_type, "Scaled");
    assert_int_equal(add->origins[1]->index, 3);
    assert_string_equal(add->origins[1]->name, "add");
    assert_int_equal(last->origins[0]->index, 1);
    assert_int_equal(last->origins[1]->index, 4);
    release(loaded, &m);
}

static void calls_nest_and_pass_attributes_on(void **state) {
    message outer = function_head("Outer", NAMES("a"), NAMES("r"), 17), graph = graph_xy(), n;
    n = call_of("inner", "Scaled", "a a", "t");
    put_message(&n, NODE_ATTRIBUTE, reference_attribute("alpha", "beta", 1));
    put_message(&outer, FUNCTION_NODE, n);
    put_message(&outer, FUNCTION_NODE, node("Identity", "t", "r"));
    n = call_of("call", "Outer", "x", "y");
    put_message(&n, NODE_ATTRIBUTE, float_attribute("beta", 9));
    put_message(&graph, GRAPH_NODE, n);
    message m = model(8, 17, graph);
    put_message(&m, MODEL_FUNCTION, outer);
    put_message(&m, MODEL_FUNCTION, scaled(0));
    bert_graph *loaded = load(&m);
    const bert_node *add = loaded->body.first;
    assert_string_equal(add->name, "call/inner/add");
    assert_true(bert_constant_double(add->inputs[1]->info.constant, 0) == 9.0);
    assert_int_equal(add->origin_count, 3);
    release(loaded, &m);
}

static void overloads_are_told_apart(void **state) {
    message graph = graph_xy(), n = call_of("n", "F", "x", "y");
    put_string(&n, NODE_OVERLOAD, "two");
    put_message(&graph, GRAPH_NODE, n);
    message m = model(10, 17, graph);
    static const char *const overloads[] = {"one", "two"}, *const ops[] = {"Neg", "Abs"};
    for (int i = 0; i < 2; i++) {
        message f = function_head("F", NAMES("a"), NAMES("r"), 17);
        put_string(&f, FUNCTION_OVERLOAD, overloads[i]);
        put_message(&f, FUNCTION_NODE, node(ops[i], "a", "r"));
        put_message(&m, MODEL_FUNCTION, f);
    }
    bert_graph *loaded = load(&m);
    assert_string_equal(loaded->body.first->op->name, "Abs");
    release(loaded, &m);
    graph = graph_xy();
    put_message(&graph, GRAPH_NODE, call_of("n", "F", "x", "y")); /* without overload: neither */
    m = model(10, 17, graph);
    message f = function_head("F", NAMES("a"), NAMES("r"), 17);
    put_string(&f, FUNCTION_OVERLOAD, "one");
    put_message(&m, MODEL_FUNCTION, f);
    expect_refused(m, BERT_UNSUPPORTED, "F of local (node n)");
}

static void what_a_call_leaves_out_is_absent_inside(void **state) {
    message f = function_head("F", NAMES("a", "low", "high"), NAMES("r", "second"), 17), graph = graph_xy();
    put_message(&f, FUNCTION_NODE, node("Clip", "a low high", "r"));
    put_message(&f, FUNCTION_NODE, node("Neg", "r", "second"));
    put_message(&graph, GRAPH_NODE, call_of("n", "F", "x - x", "y"));
    message m = model(8, 17, graph);
    put_message(&m, MODEL_FUNCTION, f);
    bert_graph *loaded = load(&m);
    const bert_node *clip = loaded->body.first;
    assert_int_equal(clip->input_count, 3);
    assert_null(clip->inputs[1]);
    assert_string_equal(loaded->body.last->outputs[0]->name, "n/second");
    release(loaded, &m);
}

static void outputs_that_no_node_writes_are_copies(void **state) {
    message f = function_head("F", NAMES("a"), NAMES("a", "r", "r"), 17), graph = graph_xy();
    put_message(&f, FUNCTION_NODE, node("Neg", "a", "r"));
    put_message(&graph, GRAPH_NODE, call_of("n", "F", "x", "p q s"));
    put_message(&graph, GRAPH_NODE, node("Add", "p q", "t"));
    put_message(&graph, GRAPH_NODE, node("Add", "t s", "y"));
    message m = model(8, 17, graph);
    put_message(&m, MODEL_FUNCTION, f);
    bert_graph *loaded = load(&m);
    assert_string_equal(value_named(loaded, "p")->producer->op->name, "Identity");
    assert_ptr_equal(value_named(loaded, "p")->producer->inputs[0], value_named(loaded, "x"));
    assert_string_equal(value_named(loaded, "q")->producer->op->name, "Neg");
    assert_ptr_equal(value_named(loaded, "s")->producer->inputs[0], value_named(loaded, "q"));
    release(loaded, &m);
}

static void branches_inside_functions_see_the_functions_names(void **state) {
    message f = function_head("F", NAMES("c", "a"), NAMES("r"), 17), graph = graph_xy(), inner = {0}, n;
    put_message(&inner, GRAPH_NODE, node("Neg", "a", "r"));
    put_message(&inner, GRAPH_OUTPUT, named_value_info("r", BERT_FLOAT, "n"));
    message other = {0};
    put_message(&other, GRAPH_NODE, call_of("deep", "G", "a", "r"));
    put_message(&other, GRAPH_OUTPUT, named_value_info("r", BERT_FLOAT, "n"));
    n = node("If", "c", "r");
    put_message(&n, NODE_ATTRIBUTE, graph_attribute("then_branch", inner));
    put_message(&n, NODE_ATTRIBUTE, graph_attribute("else_branch", other));
    put_message(&f, FUNCTION_NODE, n);
    message g = function_head("G", NAMES("a"), NAMES("r"), 17);
    put_message(&g, FUNCTION_NODE, node("Abs", "a", "r"));
    put_message(&graph, GRAPH_INPUT, value_info("c", BERT_BOOL, 0, NULL));
    put_message(&graph, GRAPH_NODE, call_of("one", "F", "c x", "h"));
    put_message(&graph, GRAPH_NODE, call_of("two", "F", "c h", "y"));
    message m = model(8, 17, graph);
    put_message(&m, MODEL_FUNCTION, f);
    put_message(&m, MODEL_FUNCTION, g);
    bert_graph *loaded = load(&m);
    assert_int_equal(count_nodes(loaded), 2);
    const bert_node *two = loaded->body.last;
    assert_ptr_equal(two->outputs[0], value_named(loaded, "y"));
    const bert_attribute *then_branch = bert_attribute_find(two->attributes, two->attribute_count, "then_branch");
    const bert_node *neg = then_branch->value.graph->first;
    assert_ptr_equal(neg->inputs[0], value_named(loaded, "h"));
    assert_true(neg->outputs[0] != two->outputs[0]);
    const bert_attribute *else_branch = bert_attribute_find(two->attributes, two->attribute_count, "else_branch");
    assert_string_equal(else_branch->value.graph->first->op->name, "Abs");
    release(loaded, &m);
}

static void a_function_shadows_an_operator_of_its_name(void **state) {
    message f = {0}, graph = graph_xy();
    put_string(&f, FUNCTION_NAME, "Gelu");
    put_string(&f, FUNCTION_INPUT, "a");
    put_string(&f, FUNCTION_OUTPUT, "r");
    put_message(&f, FUNCTION_NODE, node("Neg", "a", "r"));
    put_message(&graph, GRAPH_NODE, node("Gelu", "x", "y"));
    message m = model(8, 17, graph);
    put_message(&m, MODEL_FUNCTION, f);
    bert_graph *loaded = load(&m);
    assert_string_equal(loaded->body.first->op->name, "Neg");
    release(loaded, &m);
}

static message model_with(message function, const char *inputs, const char *outputs) {
    message graph = graph_xy();
    put_message(&graph, GRAPH_NODE, call_of("n", "F", inputs, outputs));
    message m = model(8, 17, graph);
    put_message(&m, MODEL_FUNCTION, function);
    return m;
}

static void malformed_functions_are_refused(void **state) {
    message f = function_head("F", NAMES("a"), NAMES("r"), 17);
    put_message(&f, FUNCTION_NODE, call_of("again", "F", "a", "r"));
    expect_refused(model_with(f, "x", "y"), BERT_INVALID_MODEL,
                   "node n (F): node again (F): the function calls itself");
    f = function_head("F", NAMES("a"), NAMES("r"), 17);
    put_message(&f, FUNCTION_NODE, node("Neg", "a", "r"));
    expect_refused(model_with(f, "x x", "y"), BERT_INVALID_MODEL, "2 inputs and 1 outputs, and the function 1 and 1");
    f = function_head("F", NAMES("a"), NAMES("r"), 17);
    put_message(&f, FUNCTION_NODE, node("Neg", "a", "t"));
    expect_refused(model_with(f, "x", "y"), BERT_INVALID_MODEL, "output r of the function is a tensor that nothing");
    f = function_head("F", NAMES("a"), NAMES("r"), 17);
    put_message(&f, FUNCTION_NODE, node("Neg", "x", "r")); /* the caller's x is not in sight */
    expect_refused(model_with(f, "x", "y"), BERT_INVALID_MODEL, "its input 0 is tensor x, which nothing writes");
    f = function_head("F", NAMES("a", "a"), NAMES("r"), 17);
    put_message(&f, FUNCTION_NODE, node("Neg", "a", "r"));
    expect_refused(model_with(f, "x x", "y"), BERT_INVALID_MODEL, "tensor a is defined more than once");
    f = function_head("F", NAMES("a"), NAMES("r"), 25);
    put_message(&f, FUNCTION_NODE, node("Neg", "a", "r"));
    expect_refused(model_with(f, "x", "y"), BERT_UNSUPPORTED, "the function F imports version 25");
    f = function_head("F", NAMES("a"), NAMES("r"), 17);
    put_message(&f, FUNCTION_NODE, node("Nonsense", "a", "r"));
    expect_refused(model_with(f, "x", "y"), BERT_UNSUPPORTED, "Nonsense of ai.onnx 17 (node r)");
    f = function_head("F", NAMES("a"), NAMES("r"), 17);
    message n = node("Neg", "a", "r");
    put_message(&n, NODE_ATTRIBUTE, reference_attribute("i", "alpha", 2));
    put_message(&f, FUNCTION_NODE, n);
    put_message(&f, FUNCTION_DEFAULT, float_attribute("alpha", 1));
    expect_refused(model_with(f, "x", "y"), BERT_INVALID_MODEL, "refers to alpha, which the call gives with type 1");
    message graph = graph_xy();
    put_message(&graph, GRAPH_NODE, node("Identity", "x", "y"));
    message m = model(8, 17, graph);
    put_message(&m, MODEL_FUNCTION, function_head("F", NAMES("a"), NAMES("r"), 17));
    put_message(&m, MODEL_FUNCTION, function_head("F", NAMES("a"), NAMES("r"), 17));
    expect_refused(m, BERT_INVALID_MODEL, "the function F of domain local is defined twice");
}

static void a_function_that_nobody_calls_may_hold_anything(void **state) {
    message graph = graph_xy(), f = function_head("F", NAMES("a"), NAMES("r"), 17);
    put_message(&graph, GRAPH_NODE, node("Identity", "x", "y"));
    put_message(&f, FUNCTION_NODE, node("Nonsense", "a", "r"));
    message m = model(8, 17, graph);
    put_message(&m, MODEL_FUNCTION, f);
    bert_graph *loaded = load(&m);
    assert_int_equal(loaded->file_node_count, 2);
    release(loaded, &m);
}

/* Each function calls the next twice: 2^levels nodes, or none at all if the last one is empty. */
static message doubling(int levels, bool empty) {
    message graph = graph_xy();
    put_message(&graph, GRAPH_NODE, call_of("n", "F0", "x", empty ? "-" : "y"));
    if (empty) put_message(&graph, GRAPH_NODE, node("Identity", "x", "y"));
    message m = model(8, 17, graph);
    for (int i = 0; i < levels; i++) {
        char name[16], next[16];
        snprintf(name, sizeof name, "F%d", i);
        snprintf(next, sizeof next, "F%d", i + 1);
        message f = function_head(name, NAMES("a"), NAMES("r"), 17);
        put_message(&f, FUNCTION_NODE, call_of("p", next, "a", empty ? "-" : "t"));
        put_message(&f, FUNCTION_NODE, call_of("q", next, empty ? "a" : "t", empty ? "-" : "r"));
        put_message(&m, MODEL_FUNCTION, f);
    }
    char last[16];
    snprintf(last, sizeof last, "F%d", levels);
    message f = function_head(last, NAMES("a"), NAMES("r"), 17);
    if (!empty) put_message(&f, FUNCTION_NODE, node("Neg", "a", "r"));
    put_message(&m, MODEL_FUNCTION, f);
    return m;
}

static void expansion_is_bounded(void **state) {
    message m = doubling(10, false);
    bert_graph *loaded = load(&m);
    assert_int_equal(count_nodes(loaded), 1024);
    release(loaded, &m);
    m = doubling(10, true);
    loaded = load(&m);
    assert_int_equal(count_nodes(loaded), 1);
    release(loaded, &m);
    expect_refused(doubling(25, true), BERT_UNSUPPORTED, "functions expand to more than");
    expect_refused(doubling(40, false), BERT_UNSUPPORTED, "nested deeper than 32");
    /* Names of a megabyte, a thousand times a thousand. */
    enum { LONG = 1000000 };
    static char name[LONG + 1];
    memset(name, 'n', LONG);
    message graph = graph_xy();
    for (int i = 0; i < 1000; i++) put_message(&graph, GRAPH_NODE, call_of("c", "F", "x", "-"));
    put_message(&graph, GRAPH_NODE, node("Identity", "x", "y"));
    m = model(8, 17, graph);
    message f = function_head("F", NAMES("a"), NAMES("r"), 17), n = node("Neg", "a", "r");
    put_string(&n, NODE_NAME, name);
    for (int i = 0; i < 1000; i++) put_message(&f, FUNCTION_NODE, call_of(i ? "i" : name, "G", "a", "-"));
    put_message(&f, FUNCTION_NODE, n);
    put_message(&m, MODEL_FUNCTION, f);
    put_message(&m, MODEL_FUNCTION, function_head("G", NAMES("a"), NAMES("r"), 17));
    expect_refused(m, BERT_UNSUPPORTED, "functions expand to more than");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_becomes_the_functions_nodes),
        cmocka_unit_test(calls_nest_and_pass_attributes_on),
        cmocka_unit_test(overloads_are_told_apart),
        cmocka_unit_test(what_a_call_leaves_out_is_absent_inside),
        cmocka_unit_test(outputs_that_no_node_writes_are_copies),
        cmocka_unit_test(branches_inside_functions_see_the_functions_names),
        cmocka_unit_test(a_function_shadows_an_operator_of_its_name),
        cmocka_unit_test(malformed_functions_are_refused),
        cmocka_unit_test(a_function_that_nobody_calls_may_hold_anything),
        cmocka_unit_test(expansion_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
