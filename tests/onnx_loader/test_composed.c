/* Operators of com.microsoft that are functions of others: what they are inlined to, and which calls are refused. */
#include "tests/onnx_loader/loading.h"

#include "core/graph/op.h"

#include <string.h>

enum { FLOAT = 1, UINT8 = 2, INT8 = 3, BOOL = 9 };

static message microsoft(const char *op, const char *inputs) {
    message n = node(op, inputs, "y");
    put_string(&n, NODE_DOMAIN, "com.microsoft");
    put_string(&n, NODE_NAME, "n");
    return n;
}

static message byte_constant(const char *name, int type) {
    message tensor = tensor_head(name, type, 0, NULL);
    put_blob(&tensor, TENSOR_RAW, "\x05", 1);
    return tensor;
}

/* Bytes a, b [2, 3] and a condition c, with scales s, t, u and zero points z, w, o. */
static void put_operands(message *graph) {
    static const int64_t dims[] = {2, 3};
    static const char *const scales[] = {"s", "t", "u"}, *const zero_points[] = {"z", "w", "o"};
    for (int i = 0; i < 3; i++) {
        message scale = tensor_head(scales[i], FLOAT, 0, NULL);
        put_blob(&scale, TENSOR_RAW, &(float){0.5F + (float)i}, sizeof(float));
        put_message(graph, GRAPH_INITIALIZER, scale);
        put_message(graph, GRAPH_INITIALIZER, byte_constant(zero_points[i], i == 2 ? INT8 : UINT8));
    }
    put_message(graph, GRAPH_INPUT, value_info("a", UINT8, 2, dims));
    put_message(graph, GRAPH_INPUT, value_info("b", UINT8, 2, dims));
    put_message(graph, GRAPH_INPUT, value_info("c", BOOL, 2, dims));
}

static message model_of(message call) {
    message graph = {0};
    put_operands(&graph);
    put_message(&graph, GRAPH_NODE, call);
    put_message(&graph, GRAPH_OUTPUT, value_info("y", 0, -1, NULL));
    return model(8, 11, graph);
}

static bert_node *made_by(const bert_value *value, bert_op_id id) {
    assert_non_null(value->producer);
    assert_int_equal(value->producer->op->id, id);
    return value->producer;
}

static void expect_dequantized(const bert_graph *graph, const bert_value *value, const char *x, const char *scale,
                               const char *zero_point) {
    const bert_node *node = made_by(value, BERT_OP_DequantizeLinear);
    assert_ptr_equal(node->inputs[0], value_named(graph, x));
    assert_ptr_equal(node->inputs[1], value_named(graph, scale));
    if (zero_point)
        assert_ptr_equal(node->inputs[2], value_named(graph, zero_point));
    else
        assert_int_equal(node->input_count, 2);
}

/* The operator between bytes, of a graph that quantizes by u and o. */
static bert_node *operator_of(const bert_graph *graph, bert_op_id id) {
    const bert_node *quantize = made_by(value_named(graph, "y"), BERT_OP_QuantizeLinear);
    assert_ptr_equal(quantize->inputs[1], value_named(graph, "u"));
    assert_ptr_equal(quantize->inputs[2], value_named(graph, "o"));
    assert_string_equal(quantize->origins[0]->name, "n"); /* errors speak of the file's node */
    return made_by(quantize->inputs[0], id);
}

static void each_is_what_it_stands_for(void **state) {
    static const struct {
        const char *op, *inputs;
        bert_op_id id;
        int32_t plain, operands;
    } cases[] = {
        {"QLinearAdd", "a s z b t w u o", BERT_OP_Add, 0, 2},
        {"QLinearMul", "a s z b t w u o", BERT_OP_Mul, 0, 2},
        {"QLinearSigmoid", "a s z u o", BERT_OP_Sigmoid, 0, 1},
        {"QLinearSoftmax", "a s z u o", BERT_OP_Softmax, 0, 1},
        {"QLinearReduceMean", "a s z u o", BERT_OP_ReduceMean, 0, 1},
        {"QLinearWhere", "c a s z b t w u o", BERT_OP_Where, 1, 2},
        {"QLinearConcat", "u o a s z b t w", BERT_OP_Concat, 0, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        message call = microsoft(cases[i].op, cases[i].inputs);
        if (cases[i].id == BERT_OP_Concat) put_message(&call, NODE_ATTRIBUTE, int_attribute("axis", 1));
        message m = model_of(call);
        bert_graph *graph = load(&m);
        const bert_node *node = operator_of(graph, cases[i].id);
        assert_int_equal(graph->file_node_count, 1);
        assert_int_equal(node->input_count, cases[i].plain + cases[i].operands);
        if (cases[i].plain) assert_ptr_equal(node->inputs[0], value_named(graph, "c"));
        expect_dequantized(graph, node->inputs[cases[i].plain], "a", "s", "z");
        if (cases[i].operands > 1) expect_dequantized(graph, node->inputs[cases[i].plain + 1], "b", "t", "w");
        bert_error error = {0};
        assert_int_equal(bert_infer_graph(graph, &error), BERT_OK);
        assert_int_equal(value_named(graph, "y")->info.dtype, BERT_INT8);
        release(graph, &m);
    }
}

static void what_may_be_left_out_is(void **state) {
    message m = model_of(microsoft("QLinearAdd", "a s - b t w u o"));
    bert_graph *graph = load(&m);
    expect_dequantized(graph, operator_of(graph, BERT_OP_Add)->inputs[0], "a", "s", NULL);
    release(graph, &m);
}

static void attributes_are_handed_on(void **state) {
    message call = microsoft("QLinearSoftmax", "a s z u o");
    put_message(&call, NODE_ATTRIBUTE, int_attribute("axis", 0));
    put_message(&call, NODE_ATTRIBUTE, int_attribute("opset", 13));
    message m = model_of(call);
    bert_graph *graph = load(&m);
    const bert_node *softmax = operator_of(graph, BERT_OP_Softmax);
    assert_int_equal(BERT_NODE_INT(softmax, "axis", -1), 0);
    assert_int_equal(softmax->attribute_count, 1);
    assert_int_equal(softmax->opset, 13);
    release(graph, &m);
}

static void an_old_softmax_stays_one(void **state) {
    for (int given = 0; given < 2; given++) {
        message call = microsoft("QLinearSoftmax", "a s z u o");
        if (given) put_message(&call, NODE_ATTRIBUTE, int_attribute("axis", 0));
        put_message(&call, NODE_ATTRIBUTE, int_attribute("opset", 12));
        message m = model_of(call);
        bert_graph *graph = load(&m);
        const bert_node *softmax = operator_of(graph, BERT_OP_Softmax);
        assert_int_equal(BERT_NODE_INT(softmax, "axis", 1), given ? 0 : -1);
        assert_int_equal(softmax->opset, 11);
        release(graph, &m);
    }
}

/* One function for each number of inputs. */
static void concats_of_any_number(void **state) {
    message call = microsoft("QLinearConcat", "u o a s z b t w a s z");
    put_message(&call, NODE_ATTRIBUTE, int_attribute("axis", 0));
    message m = model_of(call);
    bert_graph *graph = load(&m);
    const bert_node *concat = operator_of(graph, BERT_OP_Concat);
    assert_int_equal(concat->input_count, 3);
    expect_dequantized(graph, concat->inputs[2], "a", "s", "z");
    release(graph, &m);
}

static void a_function_of_the_model_comes_first(void **state) {
    message f = {0};
    put_string(&f, FUNCTION_NAME, "QLinearSigmoid");
    put_string(&f, FUNCTION_DOMAIN, "com.microsoft");
    static const char *const inputs[] = {"x", "xs", "xz", "ys", "yz"};
    for (int i = 0; i < 5; i++) put_string(&f, FUNCTION_INPUT, inputs[i]);
    put_string(&f, FUNCTION_OUTPUT, "r");
    put_message(&f, FUNCTION_NODE, node("Identity", "x", "r"));
    message m = model_of(microsoft("QLinearSigmoid", "a s z u o"));
    put_message(&m, MODEL_FUNCTION, f);
    bert_graph *graph = load(&m);
    made_by(value_named(graph, "y"), BERT_OP_Identity);
    release(graph, &m);
}

static void calls_that_make_no_sense_are_refused(void **state) {
    expect_refused(model_of(microsoft("QLinearAdd", "a s z b t w")), BERT_INVALID_MODEL,
                   "node n (QLinearAdd): it has 6 inputs");
    expect_refused(model_of(microsoft("QLinearAdd", "a s z u o")), BERT_INVALID_MODEL, "it has 5 inputs");
    expect_refused(model_of(microsoft("QLinearConcat", "u o a s")), BERT_INVALID_MODEL, "it has 4 inputs");
    expect_refused(model_of(microsoft("QLinearAdd", "a s z b t w u")), BERT_UNSUPPORTED, "no zero point of its result");
    expect_refused(model_of(microsoft("QLinearConcat", "u o")), BERT_INVALID_MODEL, "it has 2 inputs");
    expect_refused(model_of(microsoft("QLinearAdd", "a s z b t w u -")), BERT_UNSUPPORTED,
                   "no zero point of its result");
    expect_refused(model_of(microsoft("QLinearAdd", "a - z b t w u o")), BERT_INVALID_MODEL, "its input 1 is missing");
    message elsewhere = node("QLinearAdd", "a s z b t w u o", "y");
    expect_refused(model_of(elsewhere), BERT_UNSUPPORTED, "QLinearAdd of ai.onnx");
}

/* Each call is looked at, not only the first one of its kind. */
static void a_later_call_is_refused_too(void **state) {
    message m = {0}, graph = {0}, second = node("QLinearAdd", "a s z b t w u -", "r");
    put_string(&second, NODE_DOMAIN, "com.microsoft");
    put_operands(&graph);
    put_message(&graph, GRAPH_NODE, microsoft("QLinearAdd", "a s z b t w u o"));
    put_message(&graph, GRAPH_NODE, second);
    put_message(&graph, GRAPH_OUTPUT, value_info("y", 0, -1, NULL));
    m = model(8, 11, graph);
    expect_refused(m, BERT_UNSUPPORTED, "node r (QLinearAdd): it has no zero point of its result");
}

static void attributes_that_it_lacks_are_refused(void **state) {
    message call = microsoft("QLinearAdd", "a s z b t w u o");
    put_message(&call, NODE_ATTRIBUTE, int_attribute("__note", 1));
    message m = model_of(call);
    release(load(&m), &m);
    call = microsoft("QLinearAdd", "a s z b t w u o");
    put_message(&call, NODE_ATTRIBUTE, int_attribute("axis", 1));
    expect_refused(model_of(call), BERT_INVALID_MODEL, "it has an attribute axis, which QLinearAdd has not");
}

/* A function `f` of the model, which has the call in it. */
static message function_with(message call) {
    message f = {0};
    put_string(&f, FUNCTION_NAME, "F");
    put_string(&f, FUNCTION_DOMAIN, "f");
    static const char *const inputs[] = {"a", "s", "z"};
    for (int i = 0; i < 3; i++) put_string(&f, FUNCTION_INPUT, inputs[i]);
    put_string(&f, FUNCTION_OUTPUT, "y");
    put_message(&f, FUNCTION_NODE, call);
    return f;
}

static message call_of_function(void) {
    message call = node("F", "a s z", "y");
    put_string(&call, NODE_DOMAIN, "f");
    return call;
}

static void calls_in_functions(void **state) {
    message m = model_of(call_of_function());
    put_message(&m, MODEL_FUNCTION, function_with(microsoft("QLinearSigmoid", "a s z s z")));
    bert_graph *graph = load(&m);
    made_by(made_by(value_named(graph, "y"), BERT_OP_QuantizeLinear)->inputs[0], BERT_OP_Sigmoid);
    release(graph, &m);

    m = model_of(node("Identity", "a", "y")); /* what nothing calls may be anything */
    put_message(&m, MODEL_FUNCTION, function_with(microsoft("QLinearSigmoid", "a")));
    release(load(&m), &m);

    message call = microsoft("QLinearSoftmax", "a s z s z"), opset = {0};
    put_string(&opset, ATTRIBUTE_NAME, "opset");
    put_string(&opset, ATTRIBUTE_REFERENCE, "o");
    put_message(&call, NODE_ATTRIBUTE, opset);
    m = model_of(call_of_function());
    put_message(&m, MODEL_FUNCTION, function_with(call));
    expect_refused(m, BERT_UNSUPPORTED, "its attribute opset");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_what_it_stands_for),
        cmocka_unit_test(what_may_be_left_out_is),
        cmocka_unit_test(attributes_are_handed_on),
        cmocka_unit_test(an_old_softmax_stays_one),
        cmocka_unit_test(concats_of_any_number),
        cmocka_unit_test(a_function_of_the_model_comes_first),
        cmocka_unit_test(calls_that_make_no_sense_are_refused),
        cmocka_unit_test(a_later_call_is_refused_too),
        cmocka_unit_test(attributes_that_it_lacks_are_refused),
        cmocka_unit_test(calls_in_functions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
