/* Graphs: names, inputs, branches, functions, provenance, and every way in which a model can contradict itself. */
#include "tests/onnx_loader/loading.h"

#include "core/graph/op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MODELS BERT_SOURCE_DIR "/models/zh-sentiment/"

/* A graph with an input x and an output y, both float of a named length. */
static message graph_xy(void) {
    message graph = {0};
    put_message(&graph, GRAPH_INPUT, named_value_info("x", BERT_FLOAT, "n"));
    put_message(&graph, GRAPH_OUTPUT, named_value_info("y", BERT_FLOAT, "n"));
    return graph;
}

static void add_node(message *graph, const char *op, const char *inputs, const char *outputs) {
    put_message(graph, GRAPH_NODE, node(op, inputs, outputs));
}

static message named_node(const char *name, const char *op, const char *inputs, const char *outputs) {
    message m = node(op, inputs, outputs);
    put_string(&m, NODE_NAME, name);
    return m;
}

static message node_of_domain(const char *domain, const char *op, const char *inputs, const char *outputs) {
    message m = node(op, inputs, outputs);
    put_string(&m, NODE_DOMAIN, domain);
    return m;
}

/* ---- Versions -----------------------------------------------------------------------------------------------------
 */

static void ir_versions_3_to_12_and_opsets_9_to_23_load(void **state) {
    for (int64_t ir = 1; ir <= 14; ir++) {
        message graph = graph_xy();
        add_node(&graph, "Identity", "x", "y");
        message m = model(ir, 17, graph);
        if (ir >= 3 && ir <= 12) {
            bert_graph *loaded = load(&m);
            assert_int_equal(loaded->ir_version, ir);
            release(loaded, &m);
        } else {
            expect_refused(m, BERT_UNSUPPORTED, "IR version");
        }
    }
    for (int64_t version = 7; version <= 25; version++) {
        message graph = graph_xy();
        add_node(&graph, "Identity", "x", "y");
        message m = model(8, version, graph);
        if (version >= 9 && version <= 23) {
            bert_graph *loaded = load(&m);
            assert_int_equal(loaded->body.first->opset, version);
            release(loaded, &m);
        } else {
            expect_refused(m, BERT_UNSUPPORTED, "of operator set ai.onnx; bert.c has 9 to 23");
        }
    }
}

static void what_is_not_a_model_is_told_so(void **state) {
    expect_refused((message){0}, BERT_INVALID_MODEL, "is empty");
    message m = {0};
    put_string(&m, 500, "no model, but protobuf");
    expect_refused(m, BERT_INVALID_MODEL, "not an ONNX model");
    m = (message){0};
    put_bytes(&m, "{\"a\": 1}", 8);
    expect_refused(m, BERT_INVALID_MODEL, "the model in memory: not an ONNX model, or a damaged one: model has ");
    m = (message){0};
    put_int(&m, MODEL_IR_VERSION, 8);
    expect_refused(m, BERT_INVALID_MODEL, "no graph");
    expect_file_refused(BERT_SOURCE_DIR "/models", BERT_IO_ERROR, "is a folder");
    expect_file_refused(BERT_SOURCE_DIR "/missing.onnx", BERT_IO_ERROR, "could not be opened");
    expect_file_refused(MODELS "vocab.txt", BERT_INVALID_MODEL, "model ");
}

static void domains_matter_only_where_they_are_used(void **state) {
    message graph = graph_xy();
    put_message(&graph, GRAPH_NODE, node_of_domain("ai.onnx", "Identity", "x", "y"));
    message m = model(8, 17, graph);
    put_message(&m, MODEL_OPSET, opset("ai.onnx.ml", 5));
    put_message(&m, MODEL_OPSET, opset("com.microsoft", 1));
    put_message(&m, MODEL_OPSET, opset("ai.onnx", 17));
    bert_graph *loaded = load(&m);
    assert_string_equal(loaded->body.first->op->name, "Identity");
    release(loaded, &m);

    graph = graph_xy();
    put_message(&graph, GRAPH_NODE, node_of_domain("ai.onnx.ml", "Scaler", "x", "y"));
    m = model(8, 17, graph);
    put_message(&m, MODEL_OPSET, opset("ai.onnx.ml", 5));
    expect_refused(m, BERT_UNSUPPORTED, "Scaler of ai.onnx.ml 5 (node y)");

    /* Canonical operators are made by passes, never by files. */
    graph = graph_xy();
    put_message(&graph, GRAPH_NODE, node_of_domain("bertc", "Linear", "x", "y"));
    expect_refused(model(8, 17, graph), BERT_UNSUPPORTED, "Linear of bertc");

    graph = graph_xy();
    add_node(&graph, "Identity", "x", "y");
    m = model(8, 17, graph);
    put_message(&m, MODEL_OPSET, opset("ai.onnx", 18));
    expect_refused(m, BERT_INVALID_MODEL, "imports versions 17 and 18");

    graph = graph_xy();
    add_node(&graph, "Identity", "x", "y");
    m = model(8, 17, graph);
    put_message(&m, MODEL_OPSET, opset("com.microsoft", 2));
    expect_refused(m, BERT_UNSUPPORTED, "version 2 of operator set com.microsoft");

    graph = graph_xy();
    add_node(&graph, "Identity", "x", "y");
    m = (message){0};
    put_int(&m, MODEL_IR_VERSION, 8);
    put_message(&m, MODEL_GRAPH, graph);
    expect_refused(m, BERT_INVALID_MODEL, "does not say which version");
}

static void com_microsoft_needs_no_import(void **state) {
    const bert_op *op = bert_op_find("com.microsoft", "FusedMatMul");
    if (!op) fail_msg("the table has no FusedMatMul to test with");
    message graph = graph_xy();
    put_message(&graph, GRAPH_NODE, node_of_domain("com.microsoft", "FusedMatMul", "x x", "y"));
    message m = model(8, 17, graph);
    bert_graph *loaded = load(&m);
    assert_ptr_equal(loaded->body.first->op, op);
    assert_int_equal(loaded->body.first->opset, 1);
    release(loaded, &m);
}

/* ---- Missing operators --------------------------------------------------------------------------------------------
 */

static void all_missing_operators_are_listed_in_one_sentence(void **state) {
    message graph = graph_xy(), branch = {0};
    put_message(&graph, GRAPH_NODE, named_node("first", "Foo", "x", "a"));
    put_message(&graph, GRAPH_NODE, named_node("second", "Foo", "a", "b"));
    put_message(&graph, GRAPH_NODE, node_of_domain("com.microsoft", "Bar", "b", "c"));
    put_message(&graph, GRAPH_NODE, node_of_domain("made.up", "Foo", "b", "c"));
    put_message(&branch, GRAPH_NODE, named_node("inside", "Baz", "x", "d"));
    put_message(&branch, GRAPH_OUTPUT, named_value_info("d", BERT_FLOAT, "n"));
    message n = node("Loop", "x", "y");
    put_message(&n, NODE_ATTRIBUTE, graph_attribute("body", branch));
    put_message(&graph, GRAPH_NODE, n);
    expect_refused(model(8, 17, graph), BERT_UNSUPPORTED,
                   "bert.c does not have 5 of the model's operators: Foo of ai.onnx 17 (node first and 1 more); Bar of "
                   "com.microsoft 1 (node c); Foo of made.up (node c); Loop of ai.onnx 17 (node y); Baz of ai.onnx 17 "
                   "(node inside)");
}

static void an_operator_outside_its_opsets_is_missing(void **state) {
    const bert_op *gelu = bert_op_find("", "Gelu");
    if (!gelu || gelu->since != 20) fail_msg("the table has no Gelu from 20 on to test with");
    message graph = graph_xy();
    add_node(&graph, "Gelu", "x", "y");
    expect_refused(model(8, 17, graph), BERT_UNSUPPORTED, "Gelu of ai.onnx 17, known from 20 to 23 (node y)");
}

static void a_long_list_of_missing_operators_says_how_many_more(void **state) {
    message graph = graph_xy();
    for (int i = 0; i < 5000; i++) {
        char op[40], output[16];
        snprintf(op, sizeof op, "\xe4\xbd\xa0Operator%d", i);
        snprintf(output, sizeof output, "o%d", i);
        add_node(&graph, op, "x", output);
    }
    message m = model(8, 17, graph);
    const bert_model_source source = {.data = m.data, .bytes = m.size};
    bert_graph *loaded = NULL;
    bert_error error = {0};
    assert_int_equal(bert_onnx_load(&source, &loaded, &error), BERT_UNSUPPORTED);
    const char *more = strstr(error.message, "; and ");
    assert_non_null(more);
    assert_non_null(strstr(more, " more"));
    free_message(&m);
}

/* ---- Inputs and outputs -------------------------------------------------------------------------------------------
 */

static void initializers_that_are_inputs_are_defaults_from_ir_4_on(void **state) {
    for (int64_t ir = 3; ir <= 4; ir++) {
        static const int64_t four = 4;
        message graph = {0};
        put_message(&graph, GRAPH_INPUT, value_info("w", BERT_FLOAT, 1, &four));
        put_message(&graph, GRAPH_INPUT, named_value_info("x", BERT_FLOAT, "n"));
        put_message(&graph, GRAPH_INITIALIZER, float_tensor("w", 4));
        put_message(&graph, GRAPH_INITIALIZER, float_tensor("v", 4));
        add_node(&graph, "Add", "x w", "s");
        add_node(&graph, "Add", "s v", "y");
        put_message(&graph, GRAPH_OUTPUT, named_value_info("y", BERT_FLOAT, "n"));
        message m = model(ir, 11, graph);
        bert_graph *loaded = load(&m);
        const bert_value *w = value_named(loaded, "w"), *v = value_named(loaded, "v");
        assert_non_null(v->info.constant);
        assert_string_equal(loaded->inputs[0]->name, "x");
        if (ir == 3) {
            assert_int_equal(loaded->input_count, 1);
            assert_non_null(w->info.constant);
            assert_false(w->graph_input);
        } else {
            assert_int_equal(loaded->input_count, 2);
            assert_ptr_equal(loaded->inputs[1], w); /* those without a default come first */
            assert_null(w->info.constant);
            assert_true(w->graph_input);
            assert_int_equal(w->input_default->dims[0], 4);
        }
        release(loaded, &m);
    }
    message graph = graph_xy();
    put_message(&graph, GRAPH_INPUT, named_value_info("w", BERT_INT64, "n"));
    put_message(&graph, GRAPH_INITIALIZER, float_tensor("w", 4));
    add_node(&graph, "Identity", "x", "y");
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "graph input w: it is of type int64, and its initializer");
}

static void types_of_inputs_are_read_with_their_symbols(void **state) {
    static const int64_t dims[] = {2, -1, 0};
    message graph = graph_xy();
    put_message(&graph, GRAPH_INPUT, named_value_info("x2", BERT_INT64, "n"));
    put_message(&graph, GRAPH_INPUT, named_value_info("x3", BERT_BOOL, "m"));
    put_message(&graph, GRAPH_INPUT, value_info("x4", BERT_FLOAT16, 3, dims));
    put_message(&graph, GRAPH_INPUT, value_info("x5", BERT_FLOAT, -1, NULL));
    put_message(&graph, GRAPH_INPUT, value_info("x6", BERT_FLOAT, 0, NULL));
    put_message(&graph, GRAPH_INPUT, named_value_info("x7", BERT_FLOAT, ""));
    add_node(&graph, "Identity", "x", "y");
    message m = model(8, 17, graph);
    bert_graph *loaded = load(&m);
    assert_int_equal(loaded->input_count, 7);
    const bert_value_info *x = &loaded->inputs[0]->info, *x2 = &loaded->inputs[1]->info;
    assert_int_equal(x->dtype, BERT_FLOAT);
    assert_int_equal(x2->dtype, BERT_INT64);
    assert_false(bert_dim_known(x->shape.dims[0]));
    assert_true(x->shape.dims[0] == x2->shape.dims[0]);
    assert_true(x->shape.dims[0] != loaded->inputs[2]->info.shape.dims[0]);
    const bert_shape *x4 = &loaded->inputs[3]->info.shape;
    assert_int_equal(x4->rank, 3);
    assert_int_equal(x4->dims[0], 2);
    assert_false(bert_dim_known(x4->dims[1]));
    assert_int_equal(x4->dims[2], 0);
    assert_int_equal(loaded->inputs[4]->info.shape.rank, -1);
    assert_int_equal(loaded->inputs[5]->info.shape.rank, 0);
    assert_false(bert_dim_known(loaded->inputs[6]->info.shape.dims[0]));
    release(loaded, &m);
}

static void expect_input_refused(message input, bert_status expected, const char *part) {
    message graph = graph_xy();
    put_message(&graph, GRAPH_INPUT, input);
    add_node(&graph, "Identity", "x", "y");
    expect_refused(model(8, 17, graph), expected, part);
}

static void inputs_that_are_no_tensors_are_refused(void **state) {
    static const int64_t nine[9] = {0}, one = 1;
    message huge = {0}, type = {0}, tensor = {0}, shape = {0}, dim = {0}, sequence = {0};
    expect_input_refused(value_info("z", 0, 0, NULL), BERT_INVALID_MODEL, "graph input z: it has no type");
    expect_input_refused(value_info("z", BERT_STRING, 1, &one), BERT_UNSUPPORTED, "graph input z: it has elements of");
    expect_input_refused(value_info("z", BERT_FLOAT, 9, nine), BERT_UNSUPPORTED, "9 dimensions");
    expect_input_refused(value_info("", BERT_FLOAT, 1, &one), BERT_INVALID_MODEL, "has no name");
    expect_input_refused(value_info("x", BERT_FLOAT, 1, &one), BERT_INVALID_MODEL, "x is defined more than once");
    put_int(&dim, 1, -2);
    put_message(&shape, 1, dim);
    put_int(&tensor, 1, BERT_FLOAT);
    put_message(&tensor, 2, shape);
    put_message(&type, 1, tensor);
    put_string(&huge, 1, "z");
    put_message(&huge, 2, type);
    expect_input_refused(huge, BERT_INVALID_MODEL, "graph input z: it has a dimension of -2");
    message other = {0};
    type = (message){0};
    put_string(&other, 1, "z");
    put_message(&type, 4, sequence);
    put_message(&other, 2, type);
    expect_input_refused(other, BERT_UNSUPPORTED, "not a dense tensor");
}

static void hints_fill_types_that_the_graph_leaves_open(void **state) {
    static const int64_t nine[9] = {0};
    message graph = graph_xy();
    add_node(&graph, "Identity", "x", "a");
    add_node(&graph, "Identity", "a", "b");
    add_node(&graph, "Identity", "b", "y");
    put_message(&graph, GRAPH_VALUE_INFO, named_value_info("a", BERT_FLOAT, "n"));
    put_message(&graph, GRAPH_VALUE_INFO, value_info("b", BERT_FLOAT, 9, nine));
    put_message(&graph, GRAPH_VALUE_INFO, named_value_info("x", BERT_INT64, "other"));
    put_message(&graph, GRAPH_VALUE_INFO, named_value_info("nobody", BERT_FLOAT, "n"));
    message m = model(8, 17, graph);
    bert_graph *loaded = load(&m);
    assert_int_equal(value_named(loaded, "a")->info.dtype, BERT_FLOAT);
    assert_int_equal(value_named(loaded, "a")->info.shape.rank, 1);
    assert_int_equal(value_named(loaded, "b")->info.shape.rank, -1); /* a hint that can't be used is dropped */
    assert_int_equal(value_named(loaded, "x")->info.dtype, BERT_FLOAT);
    assert_int_equal(value_named(loaded, "y")->info.shape.rank, 1);
    release(loaded, &m);
}

static void outputs_are_checked(void **state) {
    message graph = graph_xy();
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "graph output y is a tensor that nothing writes");
    graph = graph_xy();
    add_node(&graph, "Identity", "x", "y");
    put_message(&graph, GRAPH_OUTPUT, named_value_info("y", BERT_FLOAT, "n"));
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "graph output y is listed twice");
    graph = (message){0};
    put_message(&graph, GRAPH_INPUT, named_value_info("x", BERT_FLOAT, "n"));
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "the graph has no outputs");
    graph = graph_xy();
    put_message(&graph, GRAPH_INITIALIZER, float_tensor("y", 3)); /* a constant may be an output */
    message m = model(8, 17, graph);
    bert_graph *loaded = load(&m);
    assert_non_null(loaded->outputs[0]->info.constant);
    release(loaded, &m);
}

/* ---- Names --------------------------------------------------------------------------------------------------------
 */

static void a_tensor_is_written_once(void **state) {
    message graph = graph_xy();
    add_node(&graph, "Identity", "x", "y");
    put_message(&graph, GRAPH_NODE, named_node("again", "Identity", "x", "y"));
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL,
                   "node again (Identity): tensor y is defined more than once");
    graph = graph_xy();
    add_node(&graph, "Identity", "x", "y");
    add_node(&graph, "Identity", "y", "x");
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "tensor x is defined more than once");
    graph = graph_xy();
    put_message(&graph, GRAPH_INITIALIZER, float_tensor("w", 3));
    put_message(&graph, GRAPH_INITIALIZER, float_tensor("w", 3));
    add_node(&graph, "Identity", "x", "y");
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "tensor w is defined more than once");
    graph = graph_xy();
    put_message(&graph, GRAPH_INITIALIZER, float_tensor("x", 3));
    put_message(&graph, GRAPH_INITIALIZER, float_tensor("x", 3));
    add_node(&graph, "Identity", "x", "y");
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "tensor x is defined more than once");
}

static void nodes_may_come_in_any_order_but_not_in_a_circle(void **state) {
    message graph = graph_xy();
    put_message(&graph, GRAPH_NODE, named_node("last", "Identity", "b", "y"));
    put_message(&graph, GRAPH_NODE, named_node("middle", "Identity", "a", "b"));
    put_message(&graph, GRAPH_NODE, named_node("first", "Identity", "x", "a"));
    message m = model(8, 17, graph);
    bert_graph *loaded = load(&m);
    assert_string_equal(loaded->body.first->name, "first");
    assert_int_equal(loaded->body.first->origins[0]->index, 2);
    assert_string_equal(loaded->body.last->name, "last");
    assert_int_equal(loaded->body.last->origins[0]->index, 0);
    release(loaded, &m);
    graph = graph_xy();
    put_message(&graph, GRAPH_NODE, named_node("one", "Add", "x b", "a"));
    put_message(&graph, GRAPH_NODE, named_node("two", "Identity", "a", "b"));
    add_node(&graph, "Identity", "b", "y");
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "cycle");
    graph = graph_xy();
    put_message(&graph, GRAPH_NODE, named_node("lost", "Add", "x nothing", "y"));
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL,
                   "node lost (Add): its input 1 is tensor nothing, which nothing writes");
}

static void counts_of_inputs_and_outputs_fit_the_operator(void **state) {
    static const struct {
        const char *inputs, *outputs, *part;
    } bad[] = {{"x", "y", "it has 1 inputs, expected 2 to 2"},      {"x x x", "y", "it has 3 inputs, expected 2 to 2"},
               {"x -", "y", "it has 1 inputs, expected 2 to 2"},    {"- x", "y", "its input 0 is missing"},
               {"x x", "y z", "it has 2 outputs, expected 1 to 1"}, {"x x", "-", "it has 0 outputs, expected 1 to 1"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        message graph = graph_xy();
        put_message(&graph, GRAPH_NODE, named_node("n", "Add", bad[i].inputs, bad[i].outputs));
        expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, bad[i].part);
    }
    message graph = graph_xy();
    add_node(&graph, "Add", "x x - -", "y - -"); /* names that are empty at the end do not count */
    message m = model(8, 17, graph);
    bert_graph *loaded = load(&m);
    assert_int_equal(loaded->body.first->input_count, 2);
    assert_int_equal(loaded->body.first->output_count, 1);
    release(loaded, &m);
    graph = graph_xy();
    add_node(&graph, "Clip", "x - x", "y"); /* an optional one in between is left out */
    m = model(8, 17, graph);
    loaded = load(&m);
    assert_int_equal(loaded->body.first->input_count, 3);
    assert_null(loaded->body.first->inputs[1]);
    release(loaded, &m);
    graph = graph_xy();
    add_node(&graph, "", "x", "y");
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "node y has no operator");
}

/* ---- Attributes ---------------------------------------------------------------------------------------------------
 */

static message ints_attribute(const char *name, bool packed) {
    message m = {0}, list = {0};
    put_string(&m, ATTRIBUTE_NAME, name);
    put_int(&m, ATTRIBUTE_TYPE, 7);
    for (int i = 0; i < 3; i++) {
        if (packed) {
            put_varint(&list, (uint64_t)(int64_t)(i - 1));
        } else {
            put_int(&m, ATTRIBUTE_INTS, i - 1);
        }
    }
    if (packed) put_message(&m, ATTRIBUTE_INTS, list);
    return m;
}

/* Attributes whose names begin with two underscores may stand at any node. */
static void attributes_of_every_kind_are_kept(void **state) {
    message graph = graph_xy(), n = named_node("n", "Identity", "x", "y"), strings = {0}, floats = {0};
    put_message(&n, NODE_ATTRIBUTE, int_attribute("__i", -5));
    put_message(&n, NODE_ATTRIBUTE, float_attribute("__f", 0.25F));
    put_message(&n, NODE_ATTRIBUTE, string_attribute("__s", "NOTSET"));
    put_message(&n, NODE_ATTRIBUTE, tensor_attribute("__t", float_tensor("", 3)));
    put_message(&n, NODE_ATTRIBUTE, ints_attribute("__packed", true));
    put_message(&n, NODE_ATTRIBUTE, ints_attribute("__unpacked", false));
    put_string(&floats, ATTRIBUTE_NAME, "__floats"); /* no type: what is filled in says it */
    put_float(&floats, ATTRIBUTE_FLOATS, 1.5F);
    put_message(&n, NODE_ATTRIBUTE, floats);
    put_string(&strings, ATTRIBUTE_NAME, "__strings");
    put_int(&strings, ATTRIBUTE_TYPE, 8);
    put_string(&strings, ATTRIBUTE_STRINGS, "a");
    put_string(&strings, ATTRIBUTE_STRINGS, "");
    put_message(&n, NODE_ATTRIBUTE, strings);
    message zero = {0};
    put_string(&zero, ATTRIBUTE_NAME, "__zero"); /* proto3 writers leave a zero out */
    put_int(&zero, ATTRIBUTE_TYPE, 2);
    put_message(&n, NODE_ATTRIBUTE, zero);
    put_message(&graph, GRAPH_NODE, n);
    message m = model(8, 17, graph);
    bert_graph *loaded = load(&m);
    const bert_node *built = loaded->body.first;
    assert_int_equal(built->attribute_count, 9);
    assert_int_equal(BERT_NODE_INT(built, "__i", 0), -5);
    assert_true(BERT_NODE_FLOAT(built, "__f", 0) == 0.25F);
    assert_string_equal(BERT_NODE_STRING(built, "__s", ""), "NOTSET");
    assert_int_equal(bert_attribute_find(built->attributes, built->attribute_count, "__s")->count, 6);
    assert_int_equal(BERT_NODE_INT(built, "__zero", 7), 0);
    const bert_attribute *t = bert_attribute_find(built->attributes, built->attribute_count, "__t");
    assert_int_equal(t->kind, BERT_ATTRIBUTE_TENSOR);
    assert_int_equal(t->value.tensor->dims[0], 3);
    for (int i = 0; i < 2; i++) {
        size_t count = 0;
        const int64_t *ints = BERT_NODE_INTS(built, i ? "__packed" : "__unpacked", &count);
        assert_int_equal(count, 3);
        for (int k = 0; k < 3; k++) assert_int_equal(ints[k], k - 1);
    }
    const bert_attribute *f = bert_attribute_find(built->attributes, built->attribute_count, "__floats");
    assert_int_equal(f->kind, BERT_ATTRIBUTE_FLOATS);
    assert_true(f->count == 1 && f->value.floats[0] == 1.5F);
    const bert_attribute *s = bert_attribute_find(built->attributes, built->attribute_count, "__strings");
    assert_int_equal(s->count, 2);
    assert_string_equal(s->value.strings[0], "a");
    assert_string_equal(s->value.strings[1], "");
    release(loaded, &m);
}

static void expect_attribute_refused(message attribute, bert_status expected, const char *part) {
    message graph = graph_xy(), n = named_node("n", "Identity", "x", "y");
    put_message(&n, NODE_ATTRIBUTE, int_attribute("i", 1));
    put_message(&n, NODE_ATTRIBUTE, attribute);
    put_message(&graph, GRAPH_NODE, n);
    expect_refused(model(8, 17, graph), expected, part);
}

static message typed_attribute(const char *name, int type) {
    message m = {0};
    put_string(&m, ATTRIBUTE_NAME, name);
    put_int(&m, ATTRIBUTE_TYPE, type);
    return m;
}

static void attributes_that_say_nothing_are_refused(void **state) {
    expect_attribute_refused(int_attribute("i", 1), BERT_INVALID_MODEL,
                             "node n (Identity): attribute i: it is given twice");
    expect_attribute_refused(int_attribute("", 1), BERT_INVALID_MODEL, "it has no name");
    expect_attribute_refused(typed_attribute("a", 0), BERT_INVALID_MODEL, "no type, and values of 0 kinds");
    message both = typed_attribute("a", 0);
    put_int(&both, ATTRIBUTE_I, 1);
    put_float(&both, ATTRIBUTE_F, 1);
    expect_attribute_refused(both, BERT_INVALID_MODEL, "no type, and values of 2 kinds");
    expect_attribute_refused(typed_attribute("a", 4), BERT_INVALID_MODEL, "said to be a tensor and has none");
    expect_attribute_refused(typed_attribute("a", 5), BERT_INVALID_MODEL, "said to be a graph and has none");
    expect_attribute_refused(typed_attribute("a", 9), BERT_UNSUPPORTED, "of type 9");
    expect_attribute_refused(typed_attribute("a", 11), BERT_UNSUPPORTED, "of type 11");
    expect_attribute_refused(reference_attribute("a", "alpha", 1), BERT_INVALID_MODEL, "outside of one");
}

static void constant_nodes_become_constants(void **state) {
    message graph = graph_xy(), ints, n, floats = {0};
    n = node("Constant", "", "a");
    put_message(&n, NODE_ATTRIBUTE, tensor_attribute("value", float_tensor("ignored", 3)));
    put_message(&graph, GRAPH_NODE, n);
    n = node("Constant", "", "b");
    put_message(&n, NODE_ATTRIBUTE, float_attribute("value_float", 2.5F));
    put_message(&graph, GRAPH_NODE, n);
    n = node("Constant", "", "c");
    put_message(&n, NODE_ATTRIBUTE, int_attribute("value_int", -7));
    put_message(&graph, GRAPH_NODE, n);
    n = node("Constant", "", "d");
    ints = ints_attribute("value_ints", true);
    put_message(&n, NODE_ATTRIBUTE, ints);
    put_message(&graph, GRAPH_NODE, n);
    n = node("Constant", "", "e");
    floats = typed_attribute("value_floats", 6);
    put_message(&n, NODE_ATTRIBUTE, floats);
    put_message(&graph, GRAPH_NODE, n);
    add_node(&graph, "Add", "x a", "y");
    message m = model(8, 17, graph);
    bert_graph *loaded = load(&m);
    assert_int_equal(count_nodes(loaded), 1);
    assert_int_equal(loaded->file_node_count, 6);
    assert_int_equal(loaded->body.first->origins[0]->index, 5);
    const bert_value_info *a = &value_named(loaded, "a")->info, *b = &value_named(loaded, "b")->info,
                          *c = &value_named(loaded, "c")->info, *d = &value_named(loaded, "d")->info,
                          *e = &value_named(loaded, "e")->info;
    assert_true(a->shape.rank == 1 && a->shape.dims[0] == 3 && bert_constant_double(a->constant, 2) == 2.0);
    assert_true(b->dtype == BERT_FLOAT && b->shape.rank == 0 && bert_constant_double(b->constant, 0) == 2.5);
    assert_true(c->dtype == BERT_INT64 && c->shape.rank == 0 && bert_constant_int(c->constant, 0) == -7);
    assert_true(d->dtype == BERT_INT64 && d->shape.dims[0] == 3 && d->elements && d->elements[0] == -1);
    assert_true(e->dtype == BERT_FLOAT && e->shape.rank == 1 && e->shape.dims[0] == 0 && e->constant);
    release(loaded, &m);
}

static void expect_constant_refused(message attribute, bert_status expected, const char *part) {
    message graph = graph_xy(), n = named_node("k", "Constant", "", "a");
    if (attribute.size) put_message(&n, NODE_ATTRIBUTE, attribute);
    put_message(&graph, GRAPH_NODE, n);
    add_node(&graph, "Add", "x a", "y");
    expect_refused(model(8, 17, graph), expected, part);
}

static void constant_nodes_without_one_value_are_refused(void **state) {
    expect_constant_refused((message){0}, BERT_INVALID_MODEL, "node k (Constant): it has no value");
    expect_constant_refused(string_attribute("value_string", "a"), BERT_UNSUPPORTED, "attribute value_string");
    expect_constant_refused(typed_attribute("sparse_value", 11), BERT_UNSUPPORTED, "attribute sparse_value");
    expect_constant_refused(int_attribute("value_float", 1), BERT_INVALID_MODEL, "it has type 2 and not 1");
    expect_constant_refused(int_attribute("unknown", 1), BERT_INVALID_MODEL, "it has no value");
    message graph = graph_xy(), n = named_node("k", "Constant", "", "y");
    put_message(&n, NODE_ATTRIBUTE, int_attribute("value_int", 1));
    put_message(&n, NODE_ATTRIBUTE, float_attribute("value_float", 1));
    put_message(&graph, GRAPH_NODE, n);
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "more than one value");
    graph = graph_xy();
    n = named_node("k", "Constant", "x", "y");
    put_message(&n, NODE_ATTRIBUTE, int_attribute("value_int", 1));
    put_message(&graph, GRAPH_NODE, n);
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "it has 1 inputs and 1 outputs, expected none and one");
    graph = graph_xy();
    add_node(&graph, "Identity", "x", "y");
    put_blob(&graph, GRAPH_SPARSE, "", 0);
    expect_refused(model(8, 17, graph), BERT_UNSUPPORTED, "sparse initializers");
}

/* ---- Branches -----------------------------------------------------------------------------------------------------
 */

/* A branch that adds `outer` to a constant of its own, all names the same in every branch. */
static message branch(const char *outer) {
    message graph = {0};
    char inputs[32];
    snprintf(inputs, sizeof inputs, "%s own", outer);
    put_message(&graph, GRAPH_INITIALIZER, float_tensor("own", 1));
    put_message(&graph, GRAPH_NODE, named_node("inner", "Add", inputs, "sum"));
    put_message(&graph, GRAPH_OUTPUT, named_value_info("sum", BERT_FLOAT, "n"));
    return graph;
}

static message if_node(const char *condition, const char *output, message then_branch, message else_branch) {
    message n = named_node("choice", "If", condition, output);
    put_message(&n, NODE_ATTRIBUTE, graph_attribute("then_branch", then_branch));
    put_message(&n, NODE_ATTRIBUTE, graph_attribute("else_branch", else_branch));
    return n;
}

static const bert_block *branch_of(const bert_node *node, const char *name) {
    const bert_attribute *attribute = bert_attribute_find(node->attributes, node->attribute_count, name);
    assert_non_null(attribute);
    assert_int_equal(attribute->kind, BERT_ATTRIBUTE_GRAPH);
    return attribute->value.graph;
}

static void branches_see_what_is_around_them(void **state) {
    message graph = graph_xy();
    put_message(&graph, GRAPH_INPUT, value_info("c", BERT_BOOL, 0, NULL));
    put_message(&graph, GRAPH_NODE, if_node("c", "y", branch("late"), branch("x")));
    add_node(&graph, "Identity", "x", "late"); /* written after the If in the file */
    message m = model(8, 17, graph);
    bert_graph *loaded = load(&m);
    assert_int_equal(loaded->file_node_count, 4);
    const bert_node *choice = loaded->body.last;
    assert_string_equal(choice->op->name, "If");
    const bert_block *then_branch = branch_of(choice, "then_branch"), *else_branch = branch_of(choice, "else_branch");
    assert_ptr_equal(then_branch->parent, &loaded->body);
    assert_ptr_equal(then_branch->first->inputs[0], value_named(loaded, "late"));
    assert_ptr_equal(else_branch->first->inputs[0], value_named(loaded, "x"));
    assert_int_equal(then_branch->output_count, 1);
    assert_ptr_equal(then_branch->outputs[0], then_branch->first->outputs[0]);
    assert_true(then_branch->outputs[0] != else_branch->outputs[0]); /* the same name, two tensors */
    assert_non_null(else_branch->first->inputs[1]->info.constant);
    assert_int_equal(then_branch->first->origins[0]->index, 2);
    assert_int_equal(else_branch->first->origins[0]->index, 3);
    bert_error error = {0};
    if (bert_infer_graph(loaded, &error) != BERT_OK) fail_msg("%s", error.message);
    release(loaded, &m);
}

static void a_branch_may_use_a_name_of_the_graph_for_its_own(void **state) {
    message graph = graph_xy(), inner = {0};
    put_message(&graph, GRAPH_INPUT, value_info("c", BERT_BOOL, 0, NULL));
    put_message(&inner, GRAPH_NODE, node("Identity", "x", "a"));
    put_message(&inner, GRAPH_NODE, node("Identity", "a", "out"));
    put_message(&inner, GRAPH_OUTPUT, named_value_info("out", BERT_FLOAT, "n"));
    add_node(&graph, "Add", "x x", "a");
    put_message(&graph, GRAPH_NODE, if_node("c", "z", inner, branch("a")));
    add_node(&graph, "Add", "z a", "y");
    message m = model(8, 17, graph);
    bert_graph *loaded = load(&m);
    const bert_value *outer = value_named(loaded, "a");
    assert_string_equal(outer->producer->op->name, "Add");
    const bert_node *choice = value_named(loaded, "z")->producer;
    assert_true(branch_of(choice, "then_branch")->first->outputs[0] != outer);
    assert_ptr_equal(branch_of(choice, "else_branch")->first->inputs[0], outer);
    release(loaded, &m);
}

static void branches_are_checked_as_graphs_are(void **state) {
    message graph = graph_xy(), bad = {0};
    put_message(&graph, GRAPH_INPUT, value_info("c", BERT_BOOL, 0, NULL));
    put_message(&graph, GRAPH_NODE, if_node("c", "y", branch("nothing"), branch("x")));
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL,
                   "node choice (If): attribute then_branch: node inner (Add): its input 0 is tensor nothing");
    graph = graph_xy();
    put_message(&graph, GRAPH_INPUT, value_info("c", BERT_BOOL, 0, NULL));
    bad = branch("x");
    put_message(&bad, GRAPH_OUTPUT, named_value_info("other", BERT_FLOAT, "n"));
    put_message(&graph, GRAPH_NODE, if_node("c", "y", branch("x"), bad));
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "attribute else_branch: its output other is a tensor");
    graph = graph_xy();
    put_message(&graph, GRAPH_INPUT, value_info("c", BERT_BOOL, 0, NULL));
    bad = branch("x");
    put_message(&bad, GRAPH_INPUT, named_value_info("z", BERT_FLOAT, "n"));
    put_message(&graph, GRAPH_NODE, if_node("c", "y", branch("x"), bad));
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "a branch with 1 inputs");
    /* What a branch writes is not seen outside. */
    graph = graph_xy();
    put_message(&graph, GRAPH_INPUT, value_info("c", BERT_BOOL, 0, NULL));
    put_message(&graph, GRAPH_NODE, if_node("c", "z", branch("x"), branch("x")));
    put_message(&graph, GRAPH_NODE, named_node("outside", "Identity", "sum", "y"));
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "node outside (Identity): its input 0 is tensor sum");
    /* A cycle through a branch. */
    graph = graph_xy();
    put_message(&graph, GRAPH_INPUT, value_info("c", BERT_BOOL, 0, NULL));
    put_message(&graph, GRAPH_NODE, if_node("c", "z", branch("y"), branch("x")));
    add_node(&graph, "Identity", "z", "y");
    expect_refused(model(8, 17, graph), BERT_INVALID_MODEL, "cycle");
}

/* ---- Whole files --------------------------------------------------------------------------------------------------
 */

static void plain_exports_load_whole(void **state) {
    static const struct {
        const char *path;
        int nodes, constants, outputs, file_nodes;
    } models[] = {{MODELS "model.onnx", 339, 175, 1, 440},
                  {BERT_SOURCE_DIR "/tests/data/graphs/old_bert_11/model.onnx", 202, 75, 2, 257},
                  {BERT_SOURCE_DIR "/tests/data/graphs/old_bert_17/model.onnx", 162, 84, 2, 226},
                  {BERT_SOURCE_DIR "/tests/data/graphs/old_bert_cls_11/model.onnx", 203, 77, 1, 258},
                  {BERT_SOURCE_DIR "/tests/data/graphs/new_bert_17/model.onnx", 208, 116, 2, 305},
                  {BERT_SOURCE_DIR "/tests/data/graphs/new_bert_cls_17/model.onnx", 209, 118, 1, 306}};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        const bert_model_source source = {.path = models[i].path};
        bert_graph *graph = NULL;
        bert_error error = {0};
        if (bert_onnx_load(&source, &graph, &error) != BERT_OK) fail_msg("%s", error.message);
        if (bert_graph_check(graph, &error) != BERT_OK) fail_msg("%s", error.message);
        assert_int_equal(count_nodes(graph), models[i].nodes);
        int constants = 0;
        for (uint32_t v = 0; v < graph->value_count; v++) constants += graph->values[v]->info.constant != NULL;
        assert_int_equal(constants, models[i].constants);
        assert_int_equal(graph->file_node_count, models[i].file_nodes);
        assert_int_equal(graph->output_count, models[i].outputs);
        assert_int_equal(graph->input_count, 3);
        assert_string_equal(graph->inputs[0]->name, "input_ids");
        assert_int_equal(graph->inputs[0]->info.dtype, BERT_INT64);
        assert_int_equal(graph->inputs[0]->info.shape.rank, 2);
        assert_int_equal(strncmp(graph->producer, "pytorch 2.", 10), 0);
        BERT_FOR_EACH_NODE (n, &graph->body) assert_int_equal(n->origin_count, 1);
        bert_graph_free(graph);
    }
}

static void a_graph_of_100000_nodes_loads_in_linear_time(void **state) {
    enum { NODES = 100000 };
    message graph = {0};
    put_message(&graph, GRAPH_INPUT, named_value_info("v0", BERT_FLOAT, "n"));
    for (int i = 0; i < NODES; i++) {
        char inputs[40], output[16];
        snprintf(inputs, sizeof inputs, "v%d v0", i);
        snprintf(output, sizeof output, "v%d", i + 1);
        add_node(&graph, "Add", inputs, output);
    }
    char last[16];
    snprintf(last, sizeof last, "v%d", NODES);
    put_message(&graph, GRAPH_OUTPUT, named_value_info(last, BERT_FLOAT, "n"));
    message m = model(8, 17, graph);
    const bert_model_source source = {.data = m.data, .bytes = m.size};
    bert_graph *loaded = NULL;
    clock_t start = clock();
    assert_int_equal(bert_onnx_load(&source, &loaded, NULL), BERT_OK);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    assert_int_equal(count_nodes(loaded), NODES);
    assert_int_equal(value_named(loaded, "v0")->use_count, NODES + 1);
    if (seconds > 10) fail_msg("took %.1f s", seconds);
    release(loaded, &m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ir_versions_3_to_12_and_opsets_9_to_23_load),
        cmocka_unit_test(what_is_not_a_model_is_told_so),
        cmocka_unit_test(domains_matter_only_where_they_are_used),
        cmocka_unit_test(com_microsoft_needs_no_import),
        cmocka_unit_test(all_missing_operators_are_listed_in_one_sentence),
        cmocka_unit_test(an_operator_outside_its_opsets_is_missing),
        cmocka_unit_test(a_long_list_of_missing_operators_says_how_many_more),
        cmocka_unit_test(initializers_that_are_inputs_are_defaults_from_ir_4_on),
        cmocka_unit_test(types_of_inputs_are_read_with_their_symbols),
        cmocka_unit_test(inputs_that_are_no_tensors_are_refused),
        cmocka_unit_test(hints_fill_types_that_the_graph_leaves_open),
        cmocka_unit_test(outputs_are_checked),
        cmocka_unit_test(a_tensor_is_written_once),
        cmocka_unit_test(nodes_may_come_in_any_order_but_not_in_a_circle),
        cmocka_unit_test(counts_of_inputs_and_outputs_fit_the_operator),
        cmocka_unit_test(attributes_of_every_kind_are_kept),
        cmocka_unit_test(attributes_that_say_nothing_are_refused),
        cmocka_unit_test(constant_nodes_become_constants),
        cmocka_unit_test(constant_nodes_without_one_value_are_refused),
        cmocka_unit_test(branches_see_what_is_around_them),
        cmocka_unit_test(a_branch_may_use_a_name_of_the_graph_for_its_own),
        cmocka_unit_test(branches_are_checked_as_graphs_are),
        cmocka_unit_test(plain_exports_load_whole),
        cmocka_unit_test(a_graph_of_100000_nodes_loads_in_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
