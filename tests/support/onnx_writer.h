/*
 * Writes ONNX files for tests: protobuf's wire format, and the few messages that tests put together with it. Field
 * numbers are written out here a second time, so that a wrong one in the loader shows. Out of memory ends the test.
 */
#ifndef BERT_TESTS_SUPPORT_ONNX_WRITER_H
#define BERT_TESTS_SUPPORT_ONNX_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A message being written. Zero it to begin. */
typedef struct message {
    unsigned char *data;
    size_t size, capacity;
} message;

void put_bytes(message *m, const void *bytes, size_t count);
void put_varint(message *m, uint64_t value);
void put_tag(message *m, uint32_t field, unsigned wire_type);

void put_int(message *m, uint32_t field, int64_t value);
void put_float(message *m, uint32_t field, float value);
void put_double(message *m, uint32_t field, double value);
void put_blob(message *m, uint32_t field, const void *bytes, size_t count);
void put_string(message *m, uint32_t field, const char *text);
/** Appends `inner` as a field and frees it. */
void put_message(message *m, uint32_t field, message inner);
void free_message(message *m);

enum {
    MODEL_IR_VERSION = 1,
    MODEL_PRODUCER_NAME = 2,
    MODEL_PRODUCER_VERSION = 3,
    MODEL_GRAPH = 7,
    MODEL_OPSET = 8,
    MODEL_FUNCTION = 25,
    GRAPH_NODE = 1,
    GRAPH_NAME = 2,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    GRAPH_VALUE_INFO = 13,
    GRAPH_SPARSE = 15,
    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_NAME = 3,
    NODE_OP = 4,
    NODE_ATTRIBUTE = 5,
    NODE_DOMAIN = 7,
    NODE_OVERLOAD = 8,
    ATTRIBUTE_NAME = 1,
    ATTRIBUTE_F = 2,
    ATTRIBUTE_I = 3,
    ATTRIBUTE_S = 4,
    ATTRIBUTE_T = 5,
    ATTRIBUTE_G = 6,
    ATTRIBUTE_FLOATS = 7,
    ATTRIBUTE_INTS = 8,
    ATTRIBUTE_STRINGS = 9,
    ATTRIBUTE_TENSORS = 10,
    ATTRIBUTE_GRAPHS = 11,
    ATTRIBUTE_TYPE = 20,
    ATTRIBUTE_REFERENCE = 21,
    ATTRIBUTE_SPARSE = 22,
    TENSOR_DIMS = 1,
    TENSOR_TYPE = 2,
    TENSOR_SEGMENT = 3,
    TENSOR_FLOATS = 4,
    TENSOR_INT32S = 5,
    TENSOR_STRINGS = 6,
    TENSOR_INT64S = 7,
    TENSOR_NAME = 8,
    TENSOR_RAW = 9,
    TENSOR_DOUBLES = 10,
    TENSOR_UINT64S = 11,
    TENSOR_DOC = 12,
    TENSOR_EXTERNAL = 13,
    TENSOR_LOCATION = 14,
    FUNCTION_NAME = 1,
    FUNCTION_INPUT = 4,
    FUNCTION_OUTPUT = 5,
    FUNCTION_ATTRIBUTE = 6,
    FUNCTION_NODE = 7,
    FUNCTION_OPSET = 9,
    FUNCTION_DOMAIN = 10,
    FUNCTION_DEFAULT = 11,
    FUNCTION_OVERLOAD = 13
};

/** An input, output or hint; dims: -1 unknown, else a number; rank -1: no shape; type 0: no type at all. */
message value_info(const char *name, int type, int rank, const int64_t *dims);
/** Of rank 1 with a dimension that has a name. */
message named_value_info(const char *name, int type, const char *dim);
/** Name, dims and type; the caller adds elements. */
message tensor_head(const char *name, int type, int rank, const int64_t *dims);
/** A float tensor of rank 1 in raw_data: 0, 1, 2, ... */
message float_tensor(const char *name, int64_t count);
/** Inputs and outputs are lists with blanks between ("a b"); "-" stands for an empty name. */
message node(const char *op, const char *inputs, const char *outputs);
message int_attribute(const char *name, int64_t value);
message float_attribute(const char *name, float value);
message string_attribute(const char *name, const char *value);
message tensor_attribute(const char *name, message tensor);
message graph_attribute(const char *name, message graph);
message reference_attribute(const char *name, const char *function_attribute, int type);
message opset(const char *domain, int64_t version);
message key_value(const char *key, const char *value);
/** IR version and one import of ai.onnx, then the graph. */
message model(int64_t ir_version, int64_t onnx_opset, message graph);

#endif
