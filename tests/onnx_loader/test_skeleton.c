/* The wire format and the scan: everything of the loader that needs no operator. */
#include "tests/support/test.h"

#include "onnx_loader/onnx_file.h"
#include "onnx_loader/skeleton.h"
#include "onnx_loader/wire.h"
#include "tests/support/onnx_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODELS BERT_SOURCE_DIR "/models/zh-sentiment/"

static bert_status open_message(const message *m, bert_onnx_file *file, bert_error *error) {
    const bert_model_source source = {.data = m->data, .bytes = m->size};
    return bert_onnx_file_open(&source, file, error);
}

/* Opens, expects the failure with a sentence that holds `part`, and frees the message. */
static void expect_failure(message m, bert_status expected, const char *part) {
    bert_onnx_file file;
    bert_error error = {0};
    bert_status status = open_message(&m, &file, &error);
    if (status != expected || !strstr(error.message, part)) {
        fail_msg("got status %d and \"%s\", expected %d and \"%s\"", status, error.message, expected, part);
    }
    free_message(&m);
}

static void varints_are_read_to_ten_bytes(void **state) {
    static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, (uint64_t)1 << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        unsigned char bytes[BERT_WIRE_VARINT_BYTES];
        size_t count = bert_wire_write_varint(bytes, values[i]);
        for (size_t cut = 0; cut <= count; cut++) {
            bert_wire_range range = {bytes, bytes + cut};
            uint64_t value = 0;
            assert_int_equal(bert_wire_read_varint(&range, &value), cut == count);
            if (cut < count) continue;
            assert_true(value == values[i]);
            assert_ptr_equal(range.at, bytes + count);
        }
    }
    static const unsigned char endless[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00};
    bert_wire_range range = {endless, endless + sizeof endless};
    uint64_t value = 0;
    assert_false(bert_wire_read_varint(&range, &value));
    static const unsigned char padded[] = {0x85, 0x80, 0x00};
    range = (bert_wire_range){padded, padded + sizeof padded};
    assert_true(bert_wire_read_varint(&range, &value));
    assert_int_equal(value, 5);
}

static void a_message_given_in_parts_is_joined(void **state) {
    message m = {0}, a = {0}, b = {0}, c = {0};
    put_int(&m, MODEL_IR_VERSION, 3);
    put_message(&a, GRAPH_NODE, node("A", "x", "y"));
    put_string(&a, GRAPH_NAME, "first");
    put_message(&b, GRAPH_NODE, node("B", "y", "z"));
    put_string(&b, GRAPH_NAME, "second");
    put_message(&c, GRAPH_INITIALIZER, float_tensor("w", 3));
    put_message(&m, MODEL_GRAPH, a);
    put_string(&m, MODEL_PRODUCER_NAME, "one");
    put_message(&m, MODEL_GRAPH, b);
    put_int(&m, MODEL_IR_VERSION, 8);
    put_message(&m, MODEL_GRAPH, c);
    put_string(&m, MODEL_PRODUCER_NAME, "two");
    bert_onnx_file file;
    bert_error error = {0};
    if (open_message(&m, &file, &error) != BERT_OK) fail_msg("%s", error.message);
    assert_int_equal(file.model->ir_version, 8);
    assert_string_equal(file.model->producer_name, "two");
    const BertOnnx__GraphProto *graph = file.model->graph;
    assert_string_equal(graph->name, "second");
    assert_int_equal(graph->n_node, 2);
    assert_string_equal(graph->node[0]->op_type, "A");
    assert_string_equal(graph->node[1]->op_type, "B");
    assert_int_equal(graph->n_initializer, 1);
    bert_onnx_file_close(&file);
    free_message(&m);
}

/* Types in types: the parts of a message whose own enclosing message comes in parts. */
static void parts_of_parts_are_joined(void **state) {
    message m = {0}, graph = {0}, info = {0};
    put_string(&info, 1, "x");
    for (int part = 0; part < 3; part++) {
        for (int inner = 0; inner < 2; inner++) {
            message type = {0}, tensor = {0}, shape = {0}, dim = {0};
            put_int(&dim, 1, part * 2 + inner);
            put_message(&shape, 1, dim);
            put_int(&tensor, 1, 1 + part);
            put_message(&tensor, 2, shape);
            put_message(&type, 1, tensor);
            put_message(&info, 2, type);
        }
    }
    put_message(&graph, GRAPH_INPUT, info);
    put_message(&m, MODEL_GRAPH, graph);
    bert_onnx_file file;
    bert_error error = {0};
    if (open_message(&m, &file, &error) != BERT_OK) fail_msg("%s", error.message);
    const BertOnnx__TensorTypeProto *type = file.model->graph->input[0]->type->tensor_type;
    assert_int_equal(type->elem_type, 3);
    assert_int_equal(type->shape->n_dim, 6);
    for (int i = 0; i < 6; i++) assert_int_equal(type->shape->dim[i]->dim_value, i);
    bert_onnx_file_close(&file);
    free_message(&m);
}

static void of_a_dimension_given_twice_the_last_counts(void **state) {
    message m = {0}, graph = {0}, info = {0}, type = {0}, tensor = {0}, shape = {0}, dim = {0};
    put_int(&dim, 1, 7);
    put_string(&dim, 2, "batch");
    put_message(&shape, 1, dim);
    dim = (message){0};
    put_string(&dim, 2, "batch");
    put_int(&dim, 1, 7);
    put_message(&shape, 1, dim);
    put_message(&tensor, 2, shape);
    put_message(&type, 1, tensor);
    put_message(&info, 2, type);
    put_message(&graph, GRAPH_INPUT, info);
    put_message(&m, MODEL_GRAPH, graph);
    bert_onnx_file file;
    assert_int_equal(open_message(&m, &file, NULL), BERT_OK);
    const BertOnnx__TensorShapeProto *dims = file.model->graph->input[0]->type->tensor_type->shape;
    assert_int_equal(dims->dim[0]->value_case, BERT_ONNX__DIMENSION_PROTO__VALUE_DIM_PARAM);
    assert_int_equal(dims->dim[1]->value_case, BERT_ONNX__DIMENSION_PROTO__VALUE_DIM_VALUE);
    bert_onnx_file_close(&file);
    free_message(&m);
}

static void lists_are_read_packed_unpacked_and_mixed(void **state) {
    message m = {0}, graph = {0}, tensor = {0}, packed = {0};
    static const float floats[] = {0.5F, 1.5F};
    put_int(&tensor, TENSOR_DIMS, 10);
    put_varint(&packed, 20);
    put_varint(&packed, 300);
    put_message(&tensor, TENSOR_DIMS, packed);
    put_int(&tensor, TENSOR_DIMS, 40);
    put_float(&tensor, TENSOR_FLOATS, -1.0F);
    put_blob(&tensor, TENSOR_FLOATS, floats, sizeof floats);
    put_blob(&tensor, TENSOR_FLOATS, floats, 0);
    put_double(&tensor, TENSOR_DOUBLES, 2.5);
    put_message(&graph, GRAPH_INITIALIZER, tensor);
    put_message(&m, MODEL_GRAPH, graph);
    bert_onnx_file file;
    bert_error error = {0};
    if (open_message(&m, &file, &error) != BERT_OK) fail_msg("%s", error.message);
    const BertOnnx__TensorProto *t = file.model->graph->initializer[0];
    static const int64_t dims[] = {10, 20, 300, 40};
    assert_int_equal(t->n_dims, 4);
    assert_memory_equal(t->dims, dims, sizeof dims);
    static const float all[] = {-1.0F, 0.5F, 1.5F};
    assert_int_equal(t->n_float_data, 3);
    assert_memory_equal(t->float_data, all, sizeof all);
    assert_int_equal(t->n_double_data, 1);
    bert_onnx_file_close(&file);
    free_message(&m);
}

/* A tensor with raw_data "0123456789" and a doc_string in front, which moves it. */
static message marked_tensor(const char *name, const char *text) {
    message m = {0};
    put_string(&m, TENSOR_NAME, name);
    put_string(&m, TENSOR_RAW, "overwritten by the second one");
    put_string(&m, TENSOR_DOC, "what onnx.proto does not list is dropped");
    put_string(&m, TENSOR_RAW, text);
    return m;
}

static void expect_raw(const bert_onnx_file *file, const BertOnnx__TensorProto *tensor, const char *text) {
    const unsigned char *data = NULL;
    size_t size = 0;
    assert_true(bert_onnx_raw_data(&file->bytes, tensor, &data, &size));
    assert_int_equal(size, strlen(text));
    assert_memory_equal(data, text, size);
}

static void raw_data_is_left_in_place_wherever_tensors_are(void **state) {
    message m = {0}, graph = {0}, inner = {0}, attribute = {0}, function = {0}, n;
    put_message(&graph, GRAPH_INITIALIZER, marked_tensor("a", "in an initializer"));
    n = node("If", "c", "y");
    put_message(&inner, GRAPH_INITIALIZER, marked_tensor("b", "in a branch"));
    put_message(&n, NODE_ATTRIBUTE, graph_attribute("then_branch", inner));
    put_message(&n, NODE_ATTRIBUTE, tensor_attribute("value", marked_tensor("c", "in an attribute")));
    put_message(&attribute, ATTRIBUTE_TENSORS, marked_tensor("d", "in a list"));
    put_message(&attribute, ATTRIBUTE_TENSORS, marked_tensor("e", ""));
    put_message(&n, NODE_ATTRIBUTE, attribute);
    put_message(&graph, GRAPH_NODE, n);
    n = node("Constant", "", "y");
    put_message(&n, NODE_ATTRIBUTE, tensor_attribute("value", marked_tensor("f", "in a function")));
    put_message(&function, FUNCTION_NODE, n);
    put_message(&m, MODEL_FUNCTION, function);
    put_message(&m, MODEL_GRAPH, graph);
    bert_onnx_file file;
    bert_error error = {0};
    if (open_message(&m, &file, &error) != BERT_OK) fail_msg("%s", error.message);
    const BertOnnx__GraphProto *g = file.model->graph;
    expect_raw(&file, g->initializer[0], "in an initializer");
    expect_raw(&file, g->node[0]->attribute[0]->g->initializer[0], "in a branch");
    expect_raw(&file, g->node[0]->attribute[1]->t, "in an attribute");
    expect_raw(&file, g->node[0]->attribute[2]->tensors[0], "in a list");
    expect_raw(&file, g->node[0]->attribute[2]->tensors[1], "");
    expect_raw(&file, file.model->functions[0]->node[0]->attribute[0]->t, "in a function");
    bert_onnx_file_close(&file);
    free_message(&m);
}

static void the_skeleton_does_not_grow_with_weights(void **state) {
    message m = {0}, graph = {0}, tensor = {0};
    size_t size = (size_t)1 << 22;
    unsigned char *weights = calloc(1, size);
    put_blob(&tensor, TENSOR_RAW, weights, size);
    put_message(&graph, GRAPH_INITIALIZER, tensor);
    put_message(&m, MODEL_GRAPH, graph);
    bert_onnx_skeleton skeleton;
    assert_int_equal(
        bert_onnx_skeleton_build(&bert_onnx__model_proto__descriptor, m.data, m.size, NULL, &skeleton, NULL), BERT_OK);
    assert_true(skeleton.capacity < 10000);
    bert_onnx_skeleton_free(&skeleton);
    free(weights);
    free_message(&m);
}

static message with_field(uint32_t field, unsigned wire_type, const void *bytes, size_t count) {
    message m = {0};
    put_int(&m, MODEL_IR_VERSION, 8);
    put_tag(&m, field, wire_type);
    put_bytes(&m, bytes, count);
    return m;
}

static void unknown_fields_of_every_wire_type_are_skipped(void **state) {
    message m = {0}, graph = {0};
    put_int(&m, 1000, -1);
    put_float(&m, 536870911, 1.0F);
    put_double(&m, 1001, 1.0);
    put_blob(&m, 1002, "\x0b\xff", 2);
    put_string(&graph, 10, "a doc_string");
    put_message(&graph, GRAPH_NODE, node("A", "", "y"));
    put_message(&m, MODEL_GRAPH, graph);
    bert_onnx_file file;
    assert_int_equal(open_message(&m, &file, NULL), BERT_OK);
    assert_int_equal(file.model->graph->n_node, 1);
    bert_onnx_file_close(&file);
    free_message(&m);
}

static void malformed_fields_are_named_with_their_place(void **state) {
    expect_failure(with_field(99, 3, "", 0), BERT_INVALID_MODEL, "group");
    expect_failure(with_field(99, 4, "", 0), BERT_INVALID_MODEL, "group");
    expect_failure(with_field(99, 6, "", 0), BERT_INVALID_MODEL, "wire type");
    expect_failure(with_field(99, 7, "", 0), BERT_INVALID_MODEL, "wire type");
    expect_failure(with_field(0, 0, "\1", 1), BERT_INVALID_MODEL, "field number");
    expect_failure(with_field(99, 1, "1234567", 7), BERT_INVALID_MODEL, "ends before");
    expect_failure(with_field(99, 5, "123", 3), BERT_INVALID_MODEL, "ends before");
    expect_failure(with_field(99, 2, "\x05lost", 5), BERT_INVALID_MODEL, "ends before");
    expect_failure(with_field(99, 2, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10), BERT_INVALID_MODEL,
                   "ends before");
    expect_failure(with_field(99, 2, "\xff", 1), BERT_INVALID_MODEL, "does not end");
    expect_failure(with_field(MODEL_GRAPH, 0, "\1", 1), BERT_INVALID_MODEL, "model.graph has another wire type");
    expect_failure(with_field(MODEL_IR_VERSION, 2, "\1\1", 2), BERT_INVALID_MODEL,
                   "model.ir_version has another wire type");
    expect_failure(with_field(MODEL_PRODUCER_NAME, 2, "\2\xc3\x28", 3), BERT_INVALID_MODEL, "is not UTF-8");
    expect_failure(with_field(MODEL_PRODUCER_NAME, 2, "\3a\0b", 4), BERT_INVALID_MODEL, "NUL");

    message graph = {0}, tensor = {0}, m = {0};
    put_message(&graph, GRAPH_INITIALIZER, float_tensor("w", 1));
    put_blob(&tensor, TENSOR_FLOATS, "12345", 5);
    put_message(&graph, GRAPH_INITIALIZER, tensor);
    put_message(&m, MODEL_GRAPH, graph);
    expect_failure(m, BERT_INVALID_MODEL, "model.graph.initializer[1].float_data[0] is a packed list cut");
    m = graph = tensor = (message){0};
    put_blob(&tensor, TENSOR_INT64S, "\x01\x80", 2);
    put_message(&graph, GRAPH_INITIALIZER, tensor);
    put_message(&m, MODEL_GRAPH, graph);
    expect_failure(m, BERT_INVALID_MODEL, "an integer that does not end");
    expect_failure((message){0}, BERT_INVALID_MODEL, "empty");
}

/* Graphs in attributes of nodes of graphs; each level is three messages. */
static message nested(int levels) {
    message m = {0}, graph = {0};
    for (int i = 0; i < levels; i++) {
        message n = node("If", "", "");
        put_message(&n, NODE_ATTRIBUTE, graph_attribute("g", graph));
        graph = (message){0};
        put_message(&graph, GRAPH_NODE, n);
    }
    put_message(&m, MODEL_GRAPH, graph);
    return m;
}

static void nesting_is_limited_before_the_stack_is(void **state) {
    message m = nested(20);
    bert_onnx_file file;
    bert_error error = {0};
    if (open_message(&m, &file, &error) != BERT_OK) fail_msg("%s", error.message);
    bert_onnx_file_close(&file);
    free_message(&m);
    expect_failure(nested(22), BERT_UNSUPPORTED, "nested deeper");
    expect_failure(nested(3000), BERT_UNSUPPORTED, "nested deeper");
}

/* What the other types hold in each other is never decoded, however deep. */
static void nesting_in_what_is_refused_is_not_followed(void **state) {
    message type = {0};
    for (int i = 0; i < 2000; i++) {
        message sequence = {0}, outer = {0};
        put_message(&sequence, 1, type);
        put_message(&outer, 4, sequence);
        type = outer;
    }
    message m = {0}, graph = {0}, info = {0};
    put_message(&info, 2, type);
    put_message(&graph, GRAPH_INPUT, info);
    put_message(&m, MODEL_GRAPH, graph);
    bert_onnx_file file;
    assert_int_equal(open_message(&m, &file, NULL), BERT_OK);
    assert_non_null(file.model->graph->input[0]->type->sequence_type);
    bert_onnx_file_close(&file);
    free_message(&m);
}

static void numbers_of_messages_are_limited(void **state) {
    message m = {0}, graph = {0};
    for (size_t i = 0; i <= BERT_ONNX_MAX_MESSAGES; i++) put_blob(&graph, GRAPH_NODE, "", 0);
    put_message(&m, MODEL_GRAPH, graph);
    expect_failure(m, BERT_UNSUPPORTED, "more messages");
    m = graph = (message){0};
    for (size_t i = 0; i <= BERT_ONNX_MAX_MESSAGES; i++) put_blob(&graph, GRAPH_SPARSE, "", 0);
    put_message(&m, MODEL_GRAPH, graph);
    expect_failure(m, BERT_UNSUPPORTED, "more messages");
}

/* Merging part by part would take a copy of all nodes so far for each part. */
static void many_parts_are_joined_in_linear_time(void **state) {
    message m = {0};
    enum { PARTS = 200000 };
    for (int i = 0; i < PARTS; i++) {
        message graph = {0};
        put_message(&graph, GRAPH_NODE, node("A", "", "y"));
        put_message(&m, MODEL_GRAPH, graph);
    }
    bert_onnx_file file;
    assert_int_equal(open_message(&m, &file, NULL), BERT_OK);
    assert_int_equal(file.model->graph->n_node, PARTS);
    bert_onnx_file_close(&file);
    free_message(&m);
}

static void onnx_proto_fits_the_scan(void **state) {
    /* The scan keeps a count for each field of a message in an array of 32. */
    const ProtobufCMessageDescriptor *const all[] = {
        &bert_onnx__model_proto__descriptor,  &bert_onnx__graph_proto__descriptor,
        &bert_onnx__node_proto__descriptor,   &bert_onnx__attribute_proto__descriptor,
        &bert_onnx__tensor_proto__descriptor, &bert_onnx__function_proto__descriptor};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) assert_true(all[i]->n_fields <= 32);
}

typedef struct expected_counts {
    const char *name;
    size_t nodes, initializers, inputs, outputs, value_infos, imports;
    const char *producer;
} expected_counts;

static void the_bundled_models_have_the_structure_that_onnx_sees(void **state) {
    static const expected_counts models[] = {
        {"model.onnx", 440, 74, 3, 1, 0, 1, "pytorch"},
        {"model-optimized.onnx", 58, 62, 3, 1, 0, 9, "pytorch"},
        {"model-optimized-quantized.onnx", 118, 102, 3, 1, 10, 9, "onnx.quantize"},
    };
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        for (int read_files = 0; read_files < 2; read_files++) {
            char path[512];
            snprintf(path, sizeof path, "%s%s", MODELS, models[i].name);
            const bert_model_source source = {.path = path, .read_files = read_files};
            bert_onnx_file file;
            bert_error error = {0};
            if (bert_onnx_file_open(&source, &file, &error) != BERT_OK) fail_msg("%s", error.message);
            assert_int_equal(file.bytes.mapped, !read_files);
            const BertOnnx__GraphProto *graph = file.model->graph;
            assert_int_equal(file.model->ir_version, 6);
            assert_int_equal(file.model->n_opset_import, models[i].imports);
            assert_string_equal(file.model->producer_name, models[i].producer);
            assert_int_equal(graph->n_node, models[i].nodes);
            assert_int_equal(graph->n_initializer, models[i].initializers);
            assert_int_equal(graph->n_input, models[i].inputs);
            assert_int_equal(graph->n_output, models[i].outputs);
            assert_int_equal(graph->n_value_info, models[i].value_infos);
            bert_onnx_file_close(&file);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints_are_read_to_ten_bytes),
        cmocka_unit_test(a_message_given_in_parts_is_joined),
        cmocka_unit_test(parts_of_parts_are_joined),
        cmocka_unit_test(of_a_dimension_given_twice_the_last_counts),
        cmocka_unit_test(lists_are_read_packed_unpacked_and_mixed),
        cmocka_unit_test(raw_data_is_left_in_place_wherever_tensors_are),
        cmocka_unit_test(the_skeleton_does_not_grow_with_weights),
        cmocka_unit_test(unknown_fields_of_every_wire_type_are_skipped),
        cmocka_unit_test(malformed_fields_are_named_with_their_place),
        cmocka_unit_test(nesting_is_limited_before_the_stack_is),
        cmocka_unit_test(nesting_in_what_is_refused_is_not_followed),
        cmocka_unit_test(numbers_of_messages_are_limited),
        cmocka_unit_test(many_parts_are_joined_in_linear_time),
        cmocka_unit_test(onnx_proto_fits_the_scan),
        cmocka_unit_test(the_bundled_models_have_the_structure_that_onnx_sees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
