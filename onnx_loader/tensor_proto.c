#include "onnx_loader/tensor_proto.h"

#include "core/base/error.h"
#include "onnx_loader/builder.h"
#include "onnx_loader/skeleton.h"
#include "onnx_loader/wire.h"

#include <string.h>

/* The constant as a tensor of the caller's arena. */
static bert_status copy_out(const bert_constant *constant, const char *proto_name, bert_arena *arena, bert_tensor *out,
                            const char **name, bert_error *error) {
    bert_tensor tensor = {.dtype = constant->dtype, .rank = constant->rank};
    memcpy(tensor.dims, constant->dims, sizeof tensor.dims);
    tensor.data = bert_arena_allocate(arena, constant->bytes, BERT_ALIGNMENT);
    const char *text = bert_arena_string(arena, proto_name, strlen(proto_name));
    if (!tensor.data || !text) return bert_fail_memory(error, constant->bytes, "a tensor");
    if (constant->bytes) memcpy(tensor.data, constant->data, constant->bytes);
    *out = tensor;
    *name = text;
    return BERT_OK;
}

static bert_status decode(bert_onnx_builder *builder, const bert_onnx_skeleton *skeleton, bert_arena *arena,
                          bert_tensor *out, const char **name, bert_error *error) {
    BertOnnx__TensorProto *proto = bert_onnx__tensor_proto__unpack(NULL, skeleton->size, skeleton->data);
    if (!proto) return bert_fail(error, BERT_INVALID_MODEL, "it could not be decoded as an ONNX tensor");
    const bert_constant *constant;
    bert_status status = bert_onnx_make_constant(builder, proto, &constant, error);
    if (status == BERT_OK) status = copy_out(constant, bert_onnx_text(proto->name), arena, out, name, error);
    bert_onnx__tensor_proto__free_unpacked(proto, NULL);
    return status;
}

static bert_status read_with(bert_graph *graph, const void *data, size_t size, bert_arena *arena, bert_tensor *out,
                             const char **name, bert_error *error) {
    bert_onnx_skeleton skeleton;
    BERT_TRY(bert_onnx_skeleton_build(&bert_onnx__tensor_proto__descriptor, data, size, NULL, &skeleton, error));
    const bert_file bytes = {.data = data, .size = size};
    /* Without a folder, data in another file is refused. */
    const bert_model_source source = {.data = data, .bytes = size};
    bert_onnx_builder builder = {.source = &source, .bytes = &bytes, .graph = graph};
    bert_arena_init(&builder.scratch, NULL);
    builder.external = bert_hash_create(&builder.scratch);
    bert_status status = builder.external ? decode(&builder, &skeleton, arena, out, name, error)
                                          : bert_fail_memory(error, sizeof(void *), "the list of external data files");
    bert_arena_free(&builder.scratch);
    bert_onnx_skeleton_free(&skeleton);
    return status;
}

bert_status bert_onnx_tensor_read(const void *data, size_t size, bert_arena *arena, bert_tensor *out, const char **name,
                                  bert_error *error) {
    bert_graph *graph = bert_graph_create(NULL);
    if (!graph) return bert_fail_memory(error, sizeof(void *), "a tensor");
    bert_status status = read_with(graph, data, size, arena, out, name, error);
    bert_graph_free(graph);
    return status;
}

/* The number of a field and its wire type, as they stand before its value. */
static size_t write_key(unsigned char *out, unsigned number, bert_wire_type type) {
    return bert_wire_write_varint(out, number << 3 | (unsigned)type);
}

static size_t write_bytes(unsigned char *out, unsigned number, const void *data, size_t size) {
    size_t at = write_key(out, number, BERT_WIRE_BYTES);
    at += bert_wire_write_varint(out + at, size);
    if (size) memcpy(out + at, data, size);
    return at + size;
}

bert_status bert_onnx_tensor_write(const bert_tensor *tensor, const char *name, bert_arena *arena, void **out,
                                   size_t *size, bert_error *error) {
    enum { DIMS = 1, DATA_TYPE = 2, NAME = 8, RAW_DATA = 9, FIELD_BYTES = 2 * BERT_WIRE_VARINT_BYTES };
    int64_t elements = bert_tensor_elements(tensor);
    size_t element_bytes = bert_dtype_size(tensor->dtype);
    if (elements < 0 || element_bytes == 0 || tensor->rank < 0 || tensor->rank > BERT_MAX_RANK) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "a tensor of type %s and rank %d can't be written",
                         bert_dtype_name(tensor->dtype), (int)tensor->rank);
    }
    size_t bytes = (size_t)elements * element_bytes;
    size_t capacity;
    if (!bert_size_add(bytes, (BERT_MAX_RANK + 3) * FIELD_BYTES + strlen(name), &capacity)) {
        return bert_fail_memory(error, bytes, "a tensor's file");
    }
    unsigned char *text = bert_arena_allocate(arena, capacity, 1);
    if (!text) return bert_fail_memory(error, capacity, "a tensor's file");
    size_t at = 0;
    for (int d = 0; d < tensor->rank; d++) {
        at += write_key(text + at, DIMS, BERT_WIRE_VARINT);
        at += bert_wire_write_varint(text + at, (uint64_t)tensor->dims[d]);
    }
    at += write_key(text + at, DATA_TYPE, BERT_WIRE_VARINT);
    at += bert_wire_write_varint(text + at, (uint64_t)tensor->dtype);
    at += write_bytes(text + at, NAME, name, strlen(name));
    at += write_bytes(text + at, RAW_DATA, tensor->data, bytes);
    *out = text;
    *size = at;
    return BERT_OK;
}
