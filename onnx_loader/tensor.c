/* TensorProto to constant. */
#include "core/base/error.h"
#include "onnx_loader/builder.h"

#include <inttypes.h>
#include <string.h>

static const char *type_name(int32_t type) {
    static const char *const names[] = {
        [14] = "complex64",  [15] = "complex128",     [17] = "float8e4m3fn", [18] = "float8e4m3fnuz",
        [19] = "float8e5m2", [20] = "float8e5m2fnuz", [21] = "uint4",        [22] = "int4",
        [23] = "float4e2m1", [24] = "float8e8m0",     [25] = "uint2",        [26] = "int2"};
    if (type >= 0 && (size_t)type < sizeof names / sizeof names[0] && names[type]) return names[type];
    return bert_dtype_name((bert_dtype)type);
}

/* Rank, dims and the number of elements and bytes, all checked. */
static bert_status read_shape(const BertOnnx__TensorProto *tensor, bert_tensor *out, size_t *bytes, bert_error *error) {
    *out = (bert_tensor){.dtype = (bert_dtype)tensor->data_type};
    size_t size = bert_dtype_size(out->dtype);
    if (size == 0) {
        return bert_fail(error, BERT_UNSUPPORTED, "it has elements of type %s (%" PRId32 "), which no operator takes",
                         type_name(tensor->data_type), tensor->data_type);
    }
    if (tensor->n_dims > BERT_MAX_RANK) {
        return bert_fail(error, BERT_UNSUPPORTED, "it has %zu dimensions, the greatest rank is %d", tensor->n_dims,
                         BERT_MAX_RANK);
    }
    out->rank = (int32_t)tensor->n_dims;
    if (out->rank) memcpy(out->dims, tensor->dims, tensor->n_dims * sizeof tensor->dims[0]);
    for (int32_t i = 0; i < out->rank; i++) {
        if (out->dims[i] < 0) {
            return bert_fail(error, BERT_INVALID_MODEL, "its dimension %d is %" PRId64 ", which is negative", i,
                             out->dims[i]);
        }
    }
    int64_t elements = bert_tensor_elements(out);
    if (elements < 0) return bert_fail(error, BERT_INVALID_MODEL, "its dimensions multiply to more than memory holds");
    *bytes = (size_t)elements * size;
    return BERT_OK;
}

/* One of the lists that hold a tensor's elements as numbers. */
typedef struct number_list {
    const char *name;
    const void *data;
    size_t count;
} number_list;

static number_list typed_data(const BertOnnx__TensorProto *t, bert_dtype dtype) {
    switch (dtype) {
    case BERT_FLOAT:
        return (number_list){"float_data", t->float_data, t->n_float_data};
    case BERT_DOUBLE:
        return (number_list){"double_data", t->double_data, t->n_double_data};
    case BERT_INT64:
        return (number_list){"int64_data", t->int64_data, t->n_int64_data};
    case BERT_UINT32:
    case BERT_UINT64:
        return (number_list){"uint64_data", t->uint64_data, t->n_uint64_data};
    default:
        return (number_list){"int32_data", t->int32_data, t->n_int32_data};
    }
}

/* Narrows 32-bit numbers to elements of 1 or 2 bytes. A bool is 0 or 1 whatever the file has. */
static bert_status narrow(const int32_t *from, size_t count, bert_dtype dtype, unsigned char *to, bert_error *error) {
    static const struct {
        int32_t least, greatest;
    } ranges[] = {
        [BERT_UINT8] = {0, UINT8_MAX},         [BERT_INT8] = {INT8_MIN, INT8_MAX},   [BERT_UINT16] = {0, UINT16_MAX},
        [BERT_INT16] = {INT16_MIN, INT16_MAX}, [BERT_BOOL] = {INT32_MIN, INT32_MAX}, [BERT_FLOAT16] = {0, UINT16_MAX},
        [BERT_BFLOAT16] = {0, UINT16_MAX}};
    size_t size = bert_dtype_size(dtype);
    for (size_t i = 0; i < count; i++) {
        if (from[i] < ranges[dtype].least || from[i] > ranges[dtype].greatest) {
            return bert_fail(error, BERT_INVALID_MODEL, "its element %zu is %" PRId32 ", which is not a %s", i, from[i],
                             bert_dtype_name(dtype));
        }
        int32_t value = dtype == BERT_BOOL ? from[i] != 0 : from[i];
        memcpy(to + i * size, &value, size); /* little-endian: the low bytes come first */
    }
    return BERT_OK;
}

static bert_status copy_numbers(bert_onnx_builder *builder, number_list list, bert_dtype dtype, size_t bytes,
                                const unsigned char **out, bert_error *error) {
    size_t size = bert_dtype_size(dtype), count = bytes / size;
    if (list.count != count) {
        return bert_fail(error, BERT_INVALID_MODEL, "it has %zu elements in %s, and its shape wants %zu", list.count,
                         list.name, count);
    }
    unsigned char *copy = bert_arena_allocate(&builder->graph->arena, bytes, BERT_ALIGNMENT);
    if (!copy) return bert_fail_memory(error, bytes, "a tensor's elements");
    *out = copy;
    if (dtype == BERT_UINT32) {
        const uint64_t *from = list.data;
        for (size_t i = 0; i < count; i++) {
            if (from[i] > UINT32_MAX) {
                return bert_fail(error, BERT_INVALID_MODEL, "its element %zu is %" PRIu64 ", which is not a uint32", i,
                                 from[i]);
            }
            memcpy(copy + i * size, &from[i], size);
        }
        return BERT_OK;
    }
    if (size < 4) return narrow(list.data, count, dtype, copy, error);
    if (bytes) memcpy(copy, list.data, bytes);
    return BERT_OK;
}

/* Kernels rely on a bool being 0 or 1; a file's bytes may be anything. */
static bert_status normalize_bools(bert_onnx_builder *builder, const unsigned char **data, size_t bytes,
                                   const bert_file **file, bert_error *error) {
    size_t good = 0;
    while (good < bytes && (*data)[good] <= 1) good++;
    if (good == bytes) return BERT_OK;
    unsigned char *copy = bert_arena_allocate(&builder->graph->arena, bytes, BERT_ALIGNMENT);
    if (!copy) return bert_fail_memory(error, bytes, "a tensor's elements");
    for (size_t i = 0; i < bytes; i++) copy[i] = (*data)[i] != 0;
    *data = copy;
    *file = NULL;
    return BERT_OK;
}

/* Elements in lists other than the one that belongs to the type. */
static size_t numbers_in_all(const BertOnnx__TensorProto *t) {
    return t->n_float_data + t->n_double_data + t->n_int32_data + t->n_int64_data + t->n_uint64_data;
}

static bert_status find_bytes(bert_onnx_builder *builder, const BertOnnx__TensorProto *tensor, bert_dtype dtype,
                              size_t bytes, const unsigned char **data, const bert_file **file, bert_error *error) {
    size_t raw_bytes = 0;
    bool raw = bert_onnx_raw_data(builder->bytes, tensor, data, &raw_bytes);
    number_list list = typed_data(tensor, dtype);
    if (tensor->has_data_location && tensor->data_location == 1) {
        if (raw_bytes || numbers_in_all(tensor)) {
            return bert_fail(error, BERT_INVALID_MODEL, "it has data in the model's file and in another one");
        }
        return bert_onnx_external_data(builder, tensor, bytes, data, file, error);
    }
    if (tensor->has_data_location && tensor->data_location != 0) {
        return bert_fail(error, BERT_INVALID_MODEL, "its data_location is %" PRId32 ", which ONNX does not define",
                         tensor->data_location);
    }
    if (numbers_in_all(tensor) != list.count) {
        return bert_fail(error, BERT_INVALID_MODEL, "it is of type %s, and has elements elsewhere than in %s",
                         bert_dtype_name(dtype), list.name);
    }
    if (raw_bytes && list.count) {
        return bert_fail(error, BERT_INVALID_MODEL, "it has elements in raw_data and in %s", list.name);
    }
    if (!raw || list.count) {
        *file = NULL;
        return copy_numbers(builder, list, dtype, bytes, data, error);
    }
    if (raw_bytes != bytes) {
        return bert_fail(error, BERT_INVALID_MODEL, "its raw_data has %zu bytes, and its type and shape want %zu",
                         raw_bytes, bytes);
    }
    *file = builder->bytes;
    return BERT_OK;
}

bert_status bert_onnx_make_constant(bert_onnx_builder *builder, const BertOnnx__TensorProto *tensor,
                                    const bert_constant **out, bert_error *error) {
    if (tensor->segment) {
        return bert_fail(error, BERT_UNSUPPORTED, "it is a segment of a larger tensor, which no exporter writes");
    }
    bert_tensor shape;
    size_t bytes = 0;
    BERT_TRY(read_shape(tensor, &shape, &bytes, error));
    const unsigned char *data = NULL;
    const bert_file *file = NULL;
    BERT_TRY(find_bytes(builder, tensor, shape.dtype, bytes, &data, &file, error));
    if (shape.dtype == BERT_BOOL) BERT_TRY(normalize_bools(builder, &data, bytes, &file, error));
    return bert_graph_add_constant(builder->graph, shape.dtype, shape.rank, shape.dims, data, bytes, file, out, error);
}
