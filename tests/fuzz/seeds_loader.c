/*
 * Writes models for fuzz_loader to begin with: seeds_loader FOLDER. Small ones with every part of the format, and the
 * graphs of tests/data without their weights.
 */
#include "onnx_loader/onnx_file.h"
#include "tests/support/onnx_writer.h"

#include <stdio.h>
#include <stdlib.h>

static void save(const char *folder, const char *name, const void *data, size_t size) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.onnx", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0) {
        fprintf(stderr, "seeds_loader: %s could not be written\n", path);
        exit(1);
    }
}

static void save_message(const char *folder, const char *name, message m) {
    save(folder, name, m.data, m.size);
    free_message(&m);
}

static message graph_xy(void) {
    message graph = {0};
    put_message(&graph, GRAPH_INPUT, named_value_info("x", 1, "n"));
    put_message(&graph, GRAPH_INPUT, value_info("c", 9, 0, NULL));
    put_message(&graph, GRAPH_OUTPUT, named_value_info("y", 1, "n"));
    put_message(&graph, GRAPH_VALUE_INFO, named_value_info("h", 1, "n"));
    return graph;
}

static void save_tensors(const char *folder) {
    static const int64_t two[] = {2}, empty[] = {2, 0};
    static const struct {
        int type;
        uint32_t field;
    } kinds[] = {{2, TENSOR_INT32S}, {3, TENSOR_INT32S},  {6, TENSOR_INT32S},   {7, TENSOR_INT64S},
                 {9, TENSOR_INT32S}, {10, TENSOR_INT32S}, {13, TENSOR_UINT64S}, {16, TENSOR_INT32S}};
    message graph = graph_xy(), tensor;
    put_message(&graph, GRAPH_INITIALIZER, float_tensor("raw", 3));
    put_message(&graph, GRAPH_INPUT, named_value_info("raw", 1, "k"));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char name[8];
        snprintf(name, sizeof name, "t%zu", i);
        tensor = tensor_head(name, kinds[i].type, 1, two);
        put_blob(&tensor, kinds[i].field, "\1\2", 2);
        put_message(&graph, GRAPH_INITIALIZER, tensor);
    }
    tensor = tensor_head("double", 11, 1, two);
    put_double(&tensor, TENSOR_DOUBLES, 1.0);
    put_double(&tensor, TENSOR_DOUBLES, 2.0);
    put_message(&graph, GRAPH_INITIALIZER, tensor);
    put_message(&graph, GRAPH_INITIALIZER, tensor_head("empty", 1, 2, empty));
    tensor = tensor_head("external", 1, 1, two);
    put_message(&tensor, TENSOR_EXTERNAL, key_value("location", "a/b.bin"));
    put_message(&tensor, TENSOR_EXTERNAL, key_value("offset", "4"));
    put_message(&tensor, TENSOR_EXTERNAL, key_value("length", "8"));
    message with_external = {0};
    put_bytes(&with_external, graph.data, graph.size);
    put_int(&tensor, TENSOR_LOCATION, 1);
    put_message(&with_external, GRAPH_INITIALIZER, tensor);
    put_message(&graph, GRAPH_NODE, node("Add", "x raw", "y"));
    save_message(folder, "tensors", model(8, 17, graph));
    save_message(folder, "external", model(8, 17, with_external));
}

static message branch(const char *op, const char *inputs) {
    message graph = {0};
    put_message(&graph, GRAPH_INITIALIZER, float_tensor("own", 1));
    put_message(&graph, GRAPH_NODE, node(op, inputs, "out"));
    put_message(&graph, GRAPH_OUTPUT, named_value_info("out", 1, "n"));
    return graph;
}

static message if_node(message then_branch, message else_branch, const char *output) {
    message n = node("If", "c", output);
    put_message(&n, NODE_ATTRIBUTE, graph_attribute("then_branch", then_branch));
    put_message(&n, NODE_ATTRIBUTE, graph_attribute("else_branch", else_branch));
    return n;
}

static void save_branches(const char *folder) {
    message graph = graph_xy(), inner = {0};
    put_message(&inner, GRAPH_NODE, if_node(branch("Add", "x own"), branch("Neg", "h"), "out"));
    put_message(&inner, GRAPH_OUTPUT, named_value_info("out", 1, "n"));
    put_message(&graph, GRAPH_NODE, if_node(inner, branch("Abs", "x"), "y"));
    put_message(&graph, GRAPH_NODE, node("Identity", "x", "h"));
    save_message(folder, "branches", model(8, 17, graph));
}

static message function(const char *name, message n) {
    message m = {0};
    put_string(&m, FUNCTION_NAME, name);
    put_string(&m, FUNCTION_DOMAIN, "l");
    put_string(&m, FUNCTION_INPUT, "a");
    put_string(&m, FUNCTION_INPUT, "b");
    put_string(&m, FUNCTION_OUTPUT, "r");
    put_string(&m, FUNCTION_ATTRIBUTE, "alpha");
    put_message(&m, FUNCTION_DEFAULT, float_attribute("alpha", 1.0F));
    put_message(&m, FUNCTION_OPSET, opset("", 16));
    put_message(&m, FUNCTION_NODE, n);
    return m;
}

static message call(const char *name, const char *inputs, const char *output) {
    message n = node(name, inputs, output);
    put_string(&n, NODE_DOMAIN, "l");
    return n;
}

static void save_functions(const char *folder) {
    message graph = graph_xy(), constant = node("Constant", "", "k"), m, outer;
    put_message(&graph, GRAPH_NODE, call("F", "x x", "h"));
    put_message(&graph, GRAPH_NODE, call("G", "h -", "y"));
    m = model(10, 18, graph);
    put_message(&constant, NODE_ATTRIBUTE, reference_attribute("value_float", "alpha", 1));
    message f = function("F", constant);
    put_message(&f, FUNCTION_NODE, node("Add", "a k", "r"));
    put_message(&m, MODEL_FUNCTION, f);
    outer = call("F", "a b", "r");
    put_message(&outer, NODE_ATTRIBUTE, reference_attribute("alpha", "alpha", 1));
    put_message(&m, MODEL_FUNCTION, function("G", outer));
    put_message(&m, MODEL_OPSET, opset("com.microsoft", 1));
    put_message(&m, MODEL_OPSET, opset("l", 1));
    save_message(folder, "functions", m);
}

/* Weights of more than a few elements become empty, so that a file is small enough to be changed often. */
static void shrink(const bert_onnx_file *file, BertOnnx__TensorProto *tensor) {
    static int64_t none = 0;
    const unsigned char *data = NULL;
    size_t size = 0;
    if (!bert_onnx_raw_data(&file->bytes, tensor, &data, &size)) return;
    tensor->raw_data = (ProtobufCBinaryData){size, (uint8_t *)data};
    if (size <= 64) return;
    tensor->n_dims = 1;
    tensor->dims = &none;
    tensor->raw_data.len = 0;
}

static void save_export(const char *folder, const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/data/graphs/%s/model.onnx", BERT_SOURCE_DIR, name);
    const bert_model_source source = {.path = path};
    bert_onnx_file file;
    bert_error error = {0};
    if (bert_onnx_file_open(&source, &file, &error) != BERT_OK) {
        fprintf(stderr, "seeds_loader: %s: %s\n", path, error.message);
        exit(1);
    }
    const BertOnnx__GraphProto *graph = file.model->graph;
    for (size_t i = 0; i < graph->n_initializer; i++) shrink(&file, graph->initializer[i]);
    for (size_t i = 0; i < graph->n_node; i++) {
        for (size_t a = 0; a < graph->node[i]->n_attribute; a++) {
            if (graph->node[i]->attribute[a]->t) shrink(&file, graph->node[i]->attribute[a]->t);
        }
    }
    size_t size = bert_onnx__model_proto__get_packed_size(file.model);
    uint8_t *packed = malloc(size);
    if (!packed) exit(1);
    bert_onnx__model_proto__pack(file.model, packed);
    save(folder, name, packed, size);
    free(packed);
    bert_onnx_file_close(&file);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: seeds_loader FOLDER\n");
        return 2;
    }
    save_tensors(argv[1]);
    save_branches(argv[1]);
    save_functions(argv[1]);
    static const char *const exports[] = {"old_bert_11", "old_bert_17", "old_bert_cls_11", "new_bert_17",
                                          "new_bert_cls_17"};
    for (size_t i = 0; i < sizeof exports / sizeof exports[0]; i++) save_export(argv[1], exports[i]);
    return 0;
}
