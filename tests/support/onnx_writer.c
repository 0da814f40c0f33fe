#include "tests/support/onnx_writer.h"

#include <stdlib.h>
#include <string.h>

void put_bytes(message *m, const void *bytes, size_t count) {
    if (m->size + count > m->capacity) {
        size_t capacity = (m->size + count) * 2 + 64;
        unsigned char *data = realloc(m->data, capacity);
        if (!data) abort();
        m->data = data;
        m->capacity = capacity;
    }
    if (count) memcpy(m->data + m->size, bytes, count);
    m->size += count;
}

void put_varint(message *m, uint64_t value) {
    unsigned char bytes[10];
    size_t count = 0;
    for (; value >= 0x80; value >>= 7) bytes[count++] = (unsigned char)(value | 0x80);
    bytes[count++] = (unsigned char)value;
    put_bytes(m, bytes, count);
}

void put_tag(message *m, uint32_t field, unsigned wire_type) {
    put_varint(m, (uint64_t)field << 3 | wire_type);
}

void put_int(message *m, uint32_t field, int64_t value) {
    put_tag(m, field, 0);
    put_varint(m, (uint64_t)value);
}

void put_float(message *m, uint32_t field, float value) {
    put_tag(m, field, 5);
    put_bytes(m, &value, sizeof value);
}

void put_double(message *m, uint32_t field, double value) {
    put_tag(m, field, 1);
    put_bytes(m, &value, sizeof value);
}

void put_blob(message *m, uint32_t field, const void *bytes, size_t count) {
    put_tag(m, field, 2);
    put_varint(m, count);
    put_bytes(m, bytes, count);
}

void put_string(message *m, uint32_t field, const char *text) {
    put_blob(m, field, text, strlen(text));
}

void put_message(message *m, uint32_t field, message inner) {
    put_blob(m, field, inner.data, inner.size);
    free(inner.data);
}

void free_message(message *m) {
    free(m->data);
    *m = (message){0};
}

static message dimension(int64_t value, const char *name) {
    message m = {0};
    if (name) {
        put_string(&m, 2, name);
    } else if (value >= 0) {
        put_int(&m, 1, value);
    }
    return m;
}

static message typed_value(const char *name, int type, message shape, bool has_shape) {
    message m = {0}, tensor = {0}, outer = {0};
    put_string(&m, 1, name);
    put_int(&tensor, 1, type);
    if (has_shape) put_message(&tensor, 2, shape);
    put_message(&outer, 1, tensor);
    put_message(&m, 2, outer);
    return m;
}

message value_info(const char *name, int type, int rank, const int64_t *dims) {
    message m = {0}, shape = {0};
    if (type == 0) {
        put_string(&m, 1, name);
        return m;
    }
    for (int i = 0; i < rank; i++) put_message(&shape, 1, dimension(dims[i], NULL));
    return typed_value(name, type, shape, rank >= 0);
}

message named_value_info(const char *name, int type, const char *dim) {
    message shape = {0};
    put_message(&shape, 1, dimension(0, dim));
    return typed_value(name, type, shape, true);
}

message tensor_head(const char *name, int type, int rank, const int64_t *dims) {
    message m = {0};
    for (int i = 0; i < rank; i++) put_int(&m, TENSOR_DIMS, dims[i]);
    put_int(&m, TENSOR_TYPE, type);
    put_string(&m, TENSOR_NAME, name);
    return m;
}

message float_tensor(const char *name, int64_t count) {
    message m = tensor_head(name, 1, 1, &count), raw = {0};
    for (int64_t i = 0; i < count; i++) {
        float value = (float)i;
        put_bytes(&raw, &value, sizeof value);
    }
    put_message(&m, TENSOR_RAW, raw);
    return m;
}

static void put_names(message *m, uint32_t field, const char *names) {
    while (*names) {
        size_t length = strcspn(names, " ");
        put_blob(m, field, names, length == 1 && *names == '-' ? 0 : length);
        names += length + strspn(names + length, " ");
    }
}

message node(const char *op, const char *inputs, const char *outputs) {
    message m = {0};
    put_names(&m, NODE_INPUT, inputs);
    put_names(&m, NODE_OUTPUT, outputs);
    put_string(&m, NODE_OP, op);
    return m;
}

static message attribute(const char *name, int type) {
    message m = {0};
    put_string(&m, ATTRIBUTE_NAME, name);
    if (type) put_int(&m, ATTRIBUTE_TYPE, type);
    return m;
}

message int_attribute(const char *name, int64_t value) {
    message m = attribute(name, 2);
    put_int(&m, ATTRIBUTE_I, value);
    return m;
}

message float_attribute(const char *name, float value) {
    message m = attribute(name, 1);
    put_float(&m, ATTRIBUTE_F, value);
    return m;
}

message string_attribute(const char *name, const char *value) {
    message m = attribute(name, 3);
    put_string(&m, ATTRIBUTE_S, value);
    return m;
}

message tensor_attribute(const char *name, message tensor) {
    message m = attribute(name, 4);
    put_message(&m, ATTRIBUTE_T, tensor);
    return m;
}

message graph_attribute(const char *name, message graph) {
    message m = attribute(name, 5);
    put_message(&m, ATTRIBUTE_G, graph);
    return m;
}

message reference_attribute(const char *name, const char *function_attribute, int type) {
    message m = attribute(name, type);
    put_string(&m, ATTRIBUTE_REFERENCE, function_attribute);
    return m;
}

message opset(const char *domain, int64_t version) {
    message m = {0};
    put_string(&m, 1, domain);
    put_int(&m, 2, version);
    return m;
}

message key_value(const char *key, const char *value) {
    message m = {0};
    put_string(&m, 1, key);
    put_string(&m, 2, value);
    return m;
}

message model(int64_t ir_version, int64_t onnx_opset, message graph) {
    message m = {0};
    put_int(&m, MODEL_IR_VERSION, ir_version);
    put_message(&m, MODEL_OPSET, opset("", onnx_opset));
    put_message(&m, MODEL_GRAPH, graph);
    return m;
}
