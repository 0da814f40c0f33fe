#include "core/base/error.h"
#include "core/base/float16.h"
#include "core/graph/graph.h"

#include <stdatomic.h>
#include <string.h>

int64_t bert_constant_elements(const bert_constant *constant) {
    int64_t elements = 1;
    for (int i = 0; i < constant->rank; i++) elements *= constant->dims[i];
    return elements;
}

/* Reads element `index` of C type `type` from bytes of any alignment. */
#define READ(type)                                                                                                     \
    type value;                                                                                                        \
    memcpy(&value, constant->data + (size_t)index * sizeof value, sizeof value)

int64_t bert_constant_int(const bert_constant *constant, int64_t index) {
    switch (constant->dtype) {
    case BERT_UINT8:
    case BERT_BOOL:
        return constant->data[index];
    case BERT_INT8:
        return (int8_t)constant->data[index];
    case BERT_UINT16: {
        READ(uint16_t);
        return value;
    }
    case BERT_INT16: {
        READ(int16_t);
        return value;
    }
    case BERT_INT32: {
        READ(int32_t);
        return value;
    }
    case BERT_UINT32: {
        READ(uint32_t);
        return value;
    }
    case BERT_INT64:
    case BERT_UINT64: {
        READ(int64_t);
        return value;
    }
    default: {
        double value = bert_constant_double(constant, index);
        /* Out of range would be undefined in C: saturate. NaN counts as 0. */
        if (!(value > -0x1p63)) return value < 0 ? INT64_MIN : 0;
        return value >= 0x1p63 ? INT64_MAX : (int64_t)value;
    }
    }
}

double bert_constant_double(const bert_constant *constant, int64_t index) {
    switch (constant->dtype) {
    case BERT_FLOAT: {
        READ(float);
        return value;
    }
    case BERT_DOUBLE: {
        READ(double);
        return value;
    }
    case BERT_FLOAT16: {
        READ(uint16_t);
        return bert_half_to_float(value);
    }
    case BERT_BFLOAT16: {
        READ(uint16_t);
        return bert_bfloat16_to_float(value);
    }
    case BERT_UINT64: {
        READ(uint64_t);
        return (double)value;
    }
    case BERT_UINT8:
    case BERT_BOOL:
    case BERT_INT8:
    case BERT_UINT16:
    case BERT_INT16:
    case BERT_INT32:
    case BERT_UINT32:
    case BERT_INT64:
        return (double)bert_constant_int(constant, index);
    default:
        return 0;
    }
}

bool bert_constant_scalar(const bert_constant *constant, double *out) {
    if (!constant || bert_dtype_size(constant->dtype) == 0 || bert_constant_elements(constant) != 1) return false;
    *out = bert_constant_double(constant, 0);
    return true;
}

static size_t alignment_of(const void *data) {
    uintptr_t address = (uintptr_t)data;
    return address % BERT_ALIGNMENT == 0 ? BERT_ALIGNMENT : (size_t)(address & -address);
}

bert_status bert_graph_add_constant(bert_graph *graph, bert_dtype dtype, int32_t rank, const int64_t *dims,
                                    const void *data, size_t bytes, const bert_file *file, const bert_constant **out,
                                    bert_error *error) {
    static atomic_uint_least64_t last_id;
    bert_tensor shape = {.dtype = dtype, .rank = rank};
    if (rank < 0 || rank > BERT_MAX_RANK) {
        return bert_fail(error, BERT_UNSUPPORTED, "a constant has rank %d, the greatest is %d", rank, BERT_MAX_RANK);
    }
    if (rank) memcpy(shape.dims, dims, (size_t)rank * sizeof dims[0]);
    int64_t elements = bert_tensor_elements(&shape);
    size_t size = bert_dtype_size(dtype);
    if (size == 0) {
        return bert_fail(error, BERT_UNSUPPORTED, "a constant has elements of type %s", bert_dtype_name(dtype));
    }
    if (elements < 0 || (uint64_t)elements * size != bytes) {
        return bert_fail(error, BERT_INVALID_MODEL, "a constant of type %s has %zu bytes, which its shape contradicts",
                         bert_dtype_name(dtype), bytes);
    }
    bert_constant *constant = BERT_ARENA_NEW(&graph->arena, bert_constant);
    if (!constant) return bert_fail_memory(error, sizeof *constant, "a constant");
    *constant = (bert_constant){.id = atomic_fetch_add(&last_id, 1) + 1,
                                .dtype = dtype,
                                .rank = rank,
                                .data = bytes ? data : NULL,
                                .bytes = bytes,
                                .alignment = bytes ? alignment_of(data) : BERT_ALIGNMENT,
                                .file = file && file->mapped ? file : NULL};
    memcpy(constant->dims, shape.dims, sizeof constant->dims);
    *out = constant;
    return BERT_OK;
}

static bool is_tracked(const bert_constant *constant) {
    switch (constant->dtype) {
    case BERT_BOOL:
    case BERT_UINT8:
    case BERT_INT8:
    case BERT_UINT16:
    case BERT_INT16:
    case BERT_INT32:
    case BERT_UINT32:
    case BERT_INT64:
        return constant->rank <= 1 && bert_constant_elements(constant) <= BERT_MAX_TRACKED_ELEMENTS;
    default:
        return false;
    }
}

/* An element that is no bert_dim (beyond 2^61) stops the following of the whole tensor. */
static bool track(bert_arena *arena, const bert_constant *constant, bert_value_info *info) {
    int32_t count = (int32_t)bert_constant_elements(constant);
    bert_dim *elements = BERT_ARENA_NEW_ARRAY(arena, bert_dim, (size_t)count);
    if (!elements) return false;
    for (int32_t i = 0; i < count; i++) {
        elements[i] = bert_constant_int(constant, i);
        if (elements[i] <= -BERT_DIM_LIMIT || elements[i] >= BERT_DIM_LIMIT) return true;
    }
    info->elements = elements;
    info->element_count = count;
    return true;
}

bert_status bert_constant_describe(bert_arena *arena, const bert_constant *constant, bert_value_info *out,
                                   bert_error *error) {
    bert_value_info info = {.dtype = constant->dtype, .shape = {.rank = constant->rank}, .constant = constant};
    memcpy(info.shape.dims, constant->dims, sizeof constant->dims);
    if (is_tracked(constant) && !track(arena, constant, &info)) {
        return bert_fail_memory(error, BERT_MAX_TRACKED_ELEMENTS * sizeof(bert_dim), "a constant's elements");
    }
    *out = info;
    return BERT_OK;
}

bert_status bert_graph_set_constant(bert_graph *graph, bert_value *value, const bert_constant *constant,
                                    bert_error *error) {
    return bert_constant_describe(&graph->arena, constant, &value->info, error);
}

bert_status bert_graph_add_constant_value(bert_graph *graph, const char *name, const bert_constant *constant,
                                          bert_value **out, bert_error *error) {
    bert_value *value = NULL;
    BERT_TRY(bert_graph_add_value(graph, name, &value, error));
    BERT_TRY(bert_graph_set_constant(graph, value, constant, error));
    *out = value;
    return BERT_OK;
}
