/* Saving: names, constants that are shared, branches, old forms of operators, limits, and memory that runs out. */
#include "tests/onnx_loader/loading.h"
#include "tests/support/scarce_memory.h"

#include "core/graph/op.h"
#include "onnx_loader/save.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODEL BERT_SOURCE_DIR "/models/zh-sentiment/model.onnx"

static char folder[64];

static const char *path_of(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static bert_graph *load_file(const char *path, const bert_allocator *allocator) {
    const bert_model_source source = {.path = path, .allocator = allocator};
    bert_graph *graph = NULL;
    bert_error error = {0};
    if (bert_onnx_load(&source, &graph, &error) != BERT_OK) fail_msg("%s", error.message);
    if (bert_infer_graph(graph, &error) != BERT_OK) fail_msg("%s", error.message);
    if (bert_graph_check(graph, &error) != BERT_OK) fail_msg("%s", error.message);
    return graph;
}

/* The graph of a message after saving and loading again. */
static bert_graph *save_and_load(message m, const bert_onnx_save_options *options) {
    bert_graph *graph = load(&m);
    bert_error error = {0};
    assert_int_equal(bert_infer_graph(graph, &error), BERT_OK);
    if (bert_onnx_save(graph, path_of("m.onnx"), options, &error) != BERT_OK) fail_msg("%s", error.message);
    release(graph, &m);
    return load_file(path_of("m.onnx"), NULL);
}

static bert_node *only(const bert_graph *graph, bert_op_id id) {
    bert_node *found = NULL;
    BERT_FOR_EACH_NODE (n, &graph->body) {
        if (n->op->id != id) continue;
        assert_null(found);
        found = n;
    }
    assert_non_null(found);
    return found;
}

static int64_t size_of(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 ? (int64_t)status.st_size : -1;
}

static void interfaces_and_names_stay(void **state) {
    message g = {0};
    const int64_t three[] = {3};
    put_message(&g, GRAPH_INPUT, named_value_info("x", 1, "batch"));
    put_message(&g, GRAPH_INPUT, value_info("given", 1, 1, three));
    put_message(&g, GRAPH_INITIALIZER, float_tensor("given", 3));
    put_message(&g, GRAPH_NODE, node("Neg", "x", "a"));
    put_message(&g, GRAPH_NODE, node("Neg", "given", "b"));
    put_message(&g, GRAPH_OUTPUT, value_info("a", 0, -1, NULL));
    put_message(&g, GRAPH_OUTPUT, value_info("b", 0, -1, NULL));
    put_message(&g, GRAPH_OUTPUT, value_info("x", 0, -1, NULL));
    bert_graph *graph = save_and_load(model(8, 17, g), NULL);
    assert_int_equal(graph->input_count, 2);
    assert_string_equal(graph->inputs[0]->name, "x");
    assert_string_equal(bert_dim_name(graph->symbols, graph->inputs[0]->info.shape.dims[0]), "batch");
    assert_string_equal(graph->inputs[1]->name, "given");
    assert_non_null(graph->inputs[1]->input_default);
    assert_true(bert_constant_double(graph->inputs[1]->input_default, 2) == 2);
    static const char *const outputs[] = {"a", "b", "x"};
    for (int i = 0; i < 3; i++) assert_string_equal(graph->output_names[i], outputs[i]);
    assert_ptr_equal(graph->outputs[2], graph->inputs[0]);
    assert_int_equal(count_nodes(graph), 2);
    bert_graph_free(graph);
}

/* A pass may put another value in an output's place, one value in two places, and a constant in one. */
static void outputs_keep_what_the_caller_calls_them(void **state) {
    message g = {0};
    put_message(&g, GRAPH_INPUT, named_value_info("x", 1, "batch"));
    put_message(&g, GRAPH_INITIALIZER, float_tensor("w", 1));
    put_message(&g, GRAPH_NODE, node("Neg", "x", "a"));
    put_message(&g, GRAPH_NODE, node("Identity", "a", "b"));
    put_message(&g, GRAPH_NODE, node("Identity", "w", "c"));
    put_message(&g, GRAPH_NODE, node("Add", "a w", "y"));
    static const char *const outputs[] = {"a", "b", "c", "y"};
    for (int i = 0; i < 4; i++) put_message(&g, GRAPH_OUTPUT, value_info(outputs[i], 0, -1, NULL));
    message m = model(8, 17, g);
    bert_graph *graph = load(&m);
    bert_error error = {0};
    assert_int_equal(bert_graph_replace_value(graph, value_named(graph, "b"), value_named(graph, "a"), &error),
                     BERT_OK);
    assert_int_equal(bert_graph_replace_value(graph, value_named(graph, "c"), value_named(graph, "w"), &error),
                     BERT_OK);
    bert_graph_remove_dead(graph);
    assert_int_equal(bert_infer_graph(graph, &error), BERT_OK);
    assert_int_equal(bert_onnx_save(graph, path_of("m.onnx"), NULL, &error), BERT_OK);
    release(graph, &m);
    graph = load_file(path_of("m.onnx"), NULL);
    for (int i = 0; i < 4; i++) assert_string_equal(graph->output_names[i], outputs[i]);
    bert_node *copy = graph->outputs[1]->producer;
    assert_true(copy && copy->op->id == BERT_OP_Identity && copy->inputs[0] == graph->outputs[0]);
    copy = graph->outputs[2]->producer;
    assert_true(copy && copy->op->id == BERT_OP_Identity && copy->inputs[0]->info.constant);
    bert_graph_free(graph);
}

static message if_graph(void) {
    message then = {0}, otherwise = {0}, g = {0}, choice = node("If", "c", "y");
    put_string(&then, GRAPH_NAME, "then");
    put_message(&then, GRAPH_NODE, node("Add", "x w", "t"));
    put_message(&then, GRAPH_OUTPUT, value_info("t", 0, -1, NULL));
    put_string(&otherwise, GRAPH_NAME, "otherwise");
    put_message(&otherwise, GRAPH_NODE, node("Identity", "w", "e"));
    put_message(&otherwise, GRAPH_OUTPUT, value_info("e", 0, -1, NULL));
    put_message(&choice, NODE_ATTRIBUTE, graph_attribute("then_branch", then));
    put_message(&choice, NODE_ATTRIBUTE, graph_attribute("else_branch", otherwise));
    const int64_t three[] = {3};
    put_message(&g, GRAPH_INPUT, value_info("c", 9, 0, NULL));
    put_message(&g, GRAPH_INPUT, value_info("x", 1, 1, three));
    put_message(&g, GRAPH_INITIALIZER, float_tensor("w", 3));
    put_message(&g, GRAPH_NODE, choice);
    put_message(&g, GRAPH_OUTPUT, value_info("y", 0, -1, NULL));
    return g;
}

static void branches_are_saved(void **state) {
    bert_graph *graph = save_and_load(model(8, 17, if_graph()), NULL);
    const bert_node *choice = only(graph, BERT_OP_If);
    assert_int_equal(choice->attribute_count, 2);
    for (int i = 0; i < 2; i++) {
        const bert_block *branch = choice->attributes[i].value.graph;
        assert_int_equal(branch->output_count, 1);
        assert_true(branch->first && branch->first == branch->last);
        bool then = strcmp(choice->attributes[i].name, "then_branch") == 0;
        assert_int_equal(branch->first->op->id, then ? BERT_OP_Add : BERT_OP_Identity);
        assert_ptr_equal(branch->first->inputs[then], value_named(graph, "w"));
    }
    bert_graph_free(graph);
}

static message with_ints(message n, const char *name, int64_t number) {
    message attribute = {0};
    put_string(&attribute, ATTRIBUTE_NAME, name);
    put_int(&attribute, ATTRIBUTE_INTS, number);
    put_int(&attribute, ATTRIBUTE_TYPE, 7);
    put_message(&n, NODE_ATTRIBUTE, attribute);
    return n;
}

static message with(message n, message attribute) {
    put_message(&n, NODE_ATTRIBUTE, attribute);
    return n;
}

/* Operators of opset 9 as the opset has them that is written. */
static void old_forms_are_written_as_new_ones(void **state) {
    message g = {0};
    const int64_t dims[] = {2, 3, 4};
    put_message(&g, GRAPH_INPUT, value_info("x", 1, 3, dims));
    put_message(&g, GRAPH_NODE, with_ints(node("Unsqueeze", "x", "a"), "axes", 0));
    put_message(&g, GRAPH_NODE, with_ints(node("Squeeze", "a", "b"), "axes", 0));
    put_message(&g, GRAPH_NODE, with(node("Clip", "b", "c"), float_attribute("max", 1.5F)));
    put_message(&g, GRAPH_NODE,
                with_ints(with_ints(with_ints(node("Slice", "c", "d"), "starts", 1), "ends", 3), "axes", 2));
    put_message(&g, GRAPH_NODE, with(node("TopK", "d", "e i"), int_attribute("k", 1)));
    put_message(&g, GRAPH_NODE, with(node("Softmax", "c", "s"), int_attribute("axis", 1)));
    put_message(&g, GRAPH_NODE, with(node("Split", "x", "p q"), int_attribute("axis", 0)));
    static const char *const outputs[] = {"e", "s", "p", "q"};
    for (int i = 0; i < 4; i++) put_message(&g, GRAPH_OUTPUT, value_info(outputs[i], 0, -1, NULL));
    bert_graph *graph = save_and_load(model(4, 9, g), NULL);
    BERT_FOR_EACH_NODE (n, &graph->body) assert_int_equal(n->opset, 17);
    static const struct {
        bert_op_id id;
        int32_t input;
        double number;
    } moved[] = {{BERT_OP_Unsqueeze, 1, 0}, {BERT_OP_Squeeze, 1, 0}, {BERT_OP_Clip, 2, 1.5}, {BERT_OP_Slice, 1, 1},
                 {BERT_OP_Slice, 2, 3},     {BERT_OP_Slice, 3, 2},   {BERT_OP_TopK, 1, 1}};
    for (size_t i = 0; i < sizeof moved / sizeof moved[0]; i++) {
        const bert_node *n = only(graph, moved[i].id);
        double number = -1;
        assert_true(moved[i].input < n->input_count && n->inputs[moved[i].input]);
        assert_true(bert_constant_scalar(n->inputs[moved[i].input]->info.constant, &number));
        assert_true(number == moved[i].number);
        assert_int_equal(n->attribute_count, 0);
    }
    assert_null(only(graph, BERT_OP_Clip)->inputs[1]);
    /* Over the last two dimensions together. */
    const bert_node *softmax = only(graph, BERT_OP_Softmax);
    assert_int_equal(BERT_NODE_INT(softmax, "axis", 0), -1);
    assert_int_equal(softmax->inputs[0]->info.shape.dims[1], 12);
    assert_int_equal(graph->outputs[1]->info.shape.rank, 3);
    bert_graph_free(graph);
}

static void a_file_that_would_be_too_large_puts_weights_beside_it(void **state) {
    bert_graph *graph = load_file(MODEL, NULL);
    bert_error error = {0};
    char whole[128];
    char parted[128];
    snprintf(whole, sizeof whole, "%s", path_of("whole.onnx"));
    snprintf(parted, sizeof parted, "%s", path_of("parted.onnx"));
    assert_int_equal(bert_onnx_save(graph, whole, NULL, &error), BERT_OK);
    assert_int_equal(bert_onnx_save(graph, parted, &(bert_onnx_save_options){.most_bytes = 200000}, &error), BERT_OK);
    assert_true(size_of(whole) > 4 << 20);
    assert_true(size_of(parted) <= 200000);
    assert_int_equal(size_of(path_of("whole.onnx.data")), -1);
    bert_graph *from[2] = {load_file(whole, NULL), load_file(parted, NULL)};
    for (uint32_t i = 0; i < graph->value_count; i++) {
        const bert_value *value = graph->values[i];
        if (!value || value->producer || !value->info.constant || !value->use_count) continue;
        for (int f = 0; f < 2; f++) {
            const bert_constant *constant = value_named(from[f], value->name)->info.constant;
            assert_int_equal(constant->bytes, value->info.constant->bytes);
            assert_memory_equal(constant->data, value->info.constant->data, constant->bytes);
            if (f && constant->bytes >= 1024) assert_int_equal(constant->alignment, 64);
        }
    }
    for (int f = 0; f < 2; f++) bert_graph_free(from[f]);
    assert_int_equal(
        bert_onnx_save(graph, path_of("small.onnx"), &(bert_onnx_save_options){.most_bytes = 1000}, &error),
        BERT_UNSUPPORTED);
    assert_non_null(strstr(error.message, "a file can hold 1000"));
    assert_int_equal(size_of(path_of("small.onnx")), -1);
    bert_graph_free(graph);
}

static void memory_that_runs_out_leaves_no_file(void **state) {
    scarce_memory memory = {0};
    bert_allocator allocator = scarce_allocator(&memory);
    bert_graph *graph = load_file(MODEL, &allocator);
    size_t live = memory.live;
    bool saved = false;
    for (size_t refused = 0; !saved; refused++) {
        bert_error error = {0};
        memory.allocations = 0;
        memory.fail_from = refused;
        memory.fail_to = refused + 1;
        bert_status status = bert_onnx_save(graph, path_of("scarce.onnx"), NULL, &error);
        saved = status == BERT_OK;
        if (!saved) assert_int_equal(status, BERT_OUT_OF_MEMORY);
        assert_int_equal(size_of(path_of("scarce.onnx")) >= 0, saved);
        assert_int_equal(memory.live, live);
        if (saved) assert_true(refused >= memory.allocations && refused > 5);
    }
    memory.fail_from = memory.fail_to = 0;
    bert_graph_free(graph);
}

static int setup(void **state) {
    make_folder(folder);
    return 0;
}

static int teardown(void **state) {
    remove_folder(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interfaces_and_names_stay),
        cmocka_unit_test(outputs_keep_what_the_caller_calls_them),
        cmocka_unit_test(branches_are_saved),
        cmocka_unit_test(old_forms_are_written_as_new_ones),
        cmocka_unit_test(a_file_that_would_be_too_large_puts_weights_beside_it),
        cmocka_unit_test(memory_that_runs_out_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
