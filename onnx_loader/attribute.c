/* AttributeProto to attribute, and Constant nodes. */
#include "core/base/error.h"
#include "onnx_loader/builder.h"

#include <inttypes.h>
#include <string.h>

enum { FIRST_UNKNOWN_TYPE = 9 };

bert_status bert_onnx_attribute_type_of(const BertOnnx__AttributeProto *a, bert_onnx_attribute_type *out,
                                        bert_error *error) {
    int32_t type = a->has_type ? a->type : 0;
    if (type == 0) {
        /* Old files do not say: then what is filled in does. */
        const bool filled[FIRST_UNKNOWN_TYPE] = {
            [BERT_ONNX_FLOAT] = a->has_f,     [BERT_ONNX_INT] = a->has_i,
            [BERT_ONNX_STRING] = a->has_s,    [BERT_ONNX_TENSOR] = a->t != NULL,
            [BERT_ONNX_GRAPH] = a->g != NULL, [BERT_ONNX_FLOATS] = a->n_floats > 0,
            [BERT_ONNX_INTS] = a->n_ints > 0, [BERT_ONNX_STRINGS] = a->n_strings > 0,
        };
        int kinds = a->n_tensors || a->n_graphs || a->tp || a->n_type_protos || a->sparse_tensor || a->n_sparse_tensors;
        for (int32_t i = 0; i < FIRST_UNKNOWN_TYPE; i++) {
            if (filled[i]) {
                type = i;
                kinds++;
            }
        }
        if (kinds != 1) {
            return bert_fail(error, BERT_INVALID_MODEL, "it has no type, and values of %d kinds", kinds);
        }
    }
    if (type < BERT_ONNX_FLOAT || type > BERT_ONNX_STRINGS) {
        return bert_fail(error, BERT_UNSUPPORTED,
                         "it is of type %" PRId32 ", and no operator takes more than numbers, strings, tensors, graphs "
                         "and lists of the first two",
                         type);
    }
    *out = (bert_onnx_attribute_type)type;
    return BERT_OK;
}

static bool is_reference(const BertOnnx__AttributeProto *attribute) {
    return attribute->ref_attr_name && *attribute->ref_attr_name;
}

bert_status bert_onnx_resolve_attribute(const bert_onnx_call *call, const BertOnnx__AttributeProto *attribute,
                                        const BertOnnx__AttributeProto **out, bert_error *error) {
    *out = attribute;
    if (!is_reference(attribute)) return BERT_OK;
    const char *name = attribute->ref_attr_name;
    if (!call) {
        return bert_fail(error, BERT_INVALID_MODEL, "it refers to %.*s, an attribute of a function, outside of one",
                         BERT_ONNX_SHOWN(name));
    }
    *out = NULL;
    for (size_t i = 0; i < call->attribute_count; i++) {
        if (strcmp(call->attributes[i].name, name) == 0) *out = call->attributes[i].value;
    }
    for (size_t i = 0; i < call->function->n_attribute_proto && !*out; i++) {
        const BertOnnx__AttributeProto *missing = call->function->attribute_proto[i];
        if (strcmp(bert_onnx_text(missing->name), name) == 0) *out = missing;
    }
    if (!*out) return BERT_OK;
    bert_onnx_attribute_type type = BERT_ONNX_INT;
    BERT_TRY(bert_onnx_attribute_type_of(*out, &type, error));
    if (is_reference(*out) || (attribute->has_type && attribute->type && attribute->type != (int32_t)type)) {
        return bert_fail(error, BERT_INVALID_MODEL,
                         "it refers to %.*s, which the call gives with type %d where %" PRId32 " is expected",
                         BERT_ONNX_SHOWN(name), type, attribute->type);
    }
    return BERT_OK;
}

static bert_status copy_string(bert_arena *arena, const ProtobufCBinaryData *bytes, const char **out,
                               bert_error *error) {
    *out = bert_arena_string(arena, (const char *)bytes->data, bytes->len);
    return *out ? BERT_OK : bert_fail_memory(error, bytes->len, "an attribute");
}

static bert_status copy_list(bert_arena *arena, const void *from, size_t count, size_t size, const void **out,
                             bert_error *error) {
    void *copy = bert_arena_array(arena, count, size);
    if (!copy) return bert_fail_memory(error, count * size, "an attribute");
    if (count) memcpy(copy, from, count * size);
    *out = copy;
    return BERT_OK;
}

static bert_status copy_strings(bert_arena *arena, const ProtobufCBinaryData *from, size_t count, bert_attribute *out,
                                bert_error *error) {
    const char **strings = BERT_ARENA_NEW_ARRAY(arena, const char *, count);
    if (!strings) return bert_fail_memory(error, count * sizeof *strings, "an attribute");
    for (size_t i = 0; i < count; i++) BERT_TRY(copy_string(arena, &from[i], &strings[i], error));
    out->kind = BERT_ATTRIBUTE_STRINGS;
    out->count = count;
    out->value.strings = strings;
    return BERT_OK;
}

static bert_status build_branch(const bert_onnx_context *context, const BertOnnx__AttributeProto *a, bool referred,
                                bert_attribute *out, bert_error *error) {
    if (!a->g) return bert_fail(error, BERT_INVALID_MODEL, "it is said to be a graph and has none");
    if (referred) {
        return bert_fail(error, BERT_UNSUPPORTED, "it is a graph that a function is given as an attribute");
    }
    out->kind = BERT_ATTRIBUTE_GRAPH;
    return bert_onnx_build_branch(context, a->g, &out->value.graph, error);
}

static bert_status build_value(const bert_onnx_context *context, const BertOnnx__AttributeProto *a, bool referred,
                               bert_attribute *out, bert_error *error) {
    bert_arena *arena = &context->builder->graph->arena;
    bert_onnx_attribute_type type = BERT_ONNX_INT;
    BERT_TRY(bert_onnx_attribute_type_of(a, &type, error));
    out->count = 1;
    switch (type) {
    case BERT_ONNX_INT:
        out->kind = BERT_ATTRIBUTE_INT;
        out->value.i = a->i;
        return BERT_OK;
    case BERT_ONNX_FLOAT:
        out->kind = BERT_ATTRIBUTE_FLOAT;
        out->value.f = a->f;
        return BERT_OK;
    case BERT_ONNX_STRING:
        out->kind = BERT_ATTRIBUTE_STRING;
        out->count = a->s.len;
        return copy_string(arena, &a->s, &out->value.s, error);
    case BERT_ONNX_TENSOR:
        if (!a->t) return bert_fail(error, BERT_INVALID_MODEL, "it is said to be a tensor and has none");
        out->kind = BERT_ATTRIBUTE_TENSOR;
        return bert_onnx_make_constant(context->builder, a->t, &out->value.tensor, error);
    case BERT_ONNX_GRAPH:
        return build_branch(context, a, referred, out, error);
    case BERT_ONNX_FLOATS:
        out->kind = BERT_ATTRIBUTE_FLOATS;
        out->count = a->n_floats;
        return copy_list(arena, a->floats, a->n_floats, sizeof(float), (const void **)&out->value.floats, error);
    case BERT_ONNX_INTS:
        out->kind = BERT_ATTRIBUTE_INTS;
        out->count = a->n_ints;
        return copy_list(arena, a->ints, a->n_ints, sizeof(int64_t), (const void **)&out->value.ints, error);
    case BERT_ONNX_STRINGS:
        return copy_strings(arena, a->strings, a->n_strings, out, error);
    }
    return bert_fail(error, BERT_INTERNAL, "attribute type %d was let through", (int)type);
}

static bert_status build_attribute(const bert_onnx_context *context, const BertOnnx__AttributeProto *attribute,
                                   bert_attribute *list, size_t *count, bert_error *error) {
    const char *name = bert_onnx_text(attribute->name);
    if (*name == '\0') return bert_fail(error, BERT_INVALID_MODEL, "it has no name");
    for (size_t i = 0; i < *count; i++) {
        if (strcmp(list[i].name, name) == 0) return bert_fail(error, BERT_INVALID_MODEL, "it is given twice");
    }
    const BertOnnx__AttributeProto *value = NULL;
    BERT_TRY(bert_onnx_resolve_attribute(context->call, attribute, &value, error));
    if (!value) return BERT_OK;
    bert_attribute *out = &list[*count];
    out->name = bert_arena_string(&context->builder->graph->arena, name, strlen(name));
    if (!out->name) return bert_fail_memory(error, strlen(name), "an attribute");
    BERT_TRY(build_value(context, value, value != attribute, out, error));
    ++*count;
    return BERT_OK;
}

bert_status bert_onnx_build_attributes(const bert_onnx_context *context, const BertOnnx__NodeProto *node,
                                       bert_attribute **out, size_t *count, bert_error *error) {
    if (node->n_attribute > BERT_ONNX_MAX_ATTRIBUTES) {
        return bert_fail(error, BERT_UNSUPPORTED, "it has %zu attributes, the most is %d", node->n_attribute,
                         BERT_ONNX_MAX_ATTRIBUTES);
    }
    bert_attribute *list = BERT_ARENA_NEW_ARRAY(&context->builder->graph->arena, bert_attribute, node->n_attribute);
    if (!list) return bert_fail_memory(error, node->n_attribute * sizeof *list, "a node's attributes");
    *count = 0;
    for (size_t i = 0; i < node->n_attribute; i++) {
        bert_status status = build_attribute(context, node->attribute[i], list, count, error);
        if (status != BERT_OK) {
            const char *name = bert_onnx_text(node->attribute[i]->name);
            return bert_fail_in(error, status, "attribute %.*s", BERT_ONNX_SHOWN(name));
        }
    }
    *out = list;
    return BERT_OK;
}

/* A constant of rank 0 or 1 over numbers that are copied. */
static bert_status number_constant(const bert_onnx_context *context, bert_dtype dtype, const void *numbers,
                                   size_t count, int32_t rank, const bert_constant **out, bert_error *error) {
    bert_graph *graph = context->builder->graph;
    const int64_t dims[1] = {(int64_t)count};
    size_t size = bert_dtype_size(dtype);
    const void *copy = NULL;
    BERT_TRY(copy_list(&graph->arena, numbers, count, size, &copy, error));
    return bert_graph_add_constant(graph, dtype, rank, dims, copy, count * size, NULL, out, error);
}

/* The constant of one attribute of a Constant node; *out stays NULL for one that ONNX does not define. */
static bert_status constant_of(const bert_onnx_context *context, const char *name,
                               const BertOnnx__AttributeProto *value, const bert_constant **out, bert_error *error) {
    static const struct {
        const char *name;
        bert_onnx_attribute_type type;
    } kinds[] = {{"value", BERT_ONNX_TENSOR},
                 {"value_float", BERT_ONNX_FLOAT},
                 {"value_floats", BERT_ONNX_FLOATS},
                 {"value_int", BERT_ONNX_INT},
                 {"value_ints", BERT_ONNX_INTS}};
    if (strcmp(name, "value_string") == 0 || strcmp(name, "value_strings") == 0 || strcmp(name, "sparse_value") == 0) {
        return bert_fail(error, BERT_UNSUPPORTED, "no operator takes tensors of strings or sparse ones");
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(name, kinds[i].name) != 0) continue;
        bert_onnx_attribute_type type = BERT_ONNX_INT;
        BERT_TRY(bert_onnx_attribute_type_of(value, &type, error));
        if (type != kinds[i].type) {
            return bert_fail(error, BERT_INVALID_MODEL, "it has type %d and not %d", type, kinds[i].type);
        }
        switch (type) {
        case BERT_ONNX_FLOAT:
            return number_constant(context, BERT_FLOAT, &value->f, 1, 0, out, error);
        case BERT_ONNX_INT:
            return number_constant(context, BERT_INT64, &value->i, 1, 0, out, error);
        case BERT_ONNX_FLOATS:
            return number_constant(context, BERT_FLOAT, value->floats, value->n_floats, 1, out, error);
        case BERT_ONNX_INTS:
            return number_constant(context, BERT_INT64, value->ints, value->n_ints, 1, out, error);
        default:
            if (!value->t) return bert_fail(error, BERT_INVALID_MODEL, "it is said to be a tensor and has none");
            return bert_onnx_make_constant(context->builder, value->t, out, error);
        }
    }
    return BERT_OK;
}

bert_status bert_onnx_constant_of_node(const bert_onnx_context *context, const BertOnnx__NodeProto *node,
                                       const bert_constant **out, bert_error *error) {
    int found = 0;
    for (size_t i = 0; i < node->n_attribute; i++) {
        const char *name = bert_onnx_text(node->attribute[i]->name);
        const BertOnnx__AttributeProto *value = NULL;
        const bert_constant *constant = NULL;
        bert_status status = bert_onnx_resolve_attribute(context->call, node->attribute[i], &value, error);
        if (status == BERT_OK && value) status = constant_of(context, name, value, &constant, error);
        if (status != BERT_OK) return bert_fail_in(error, status, "attribute %.*s", BERT_ONNX_SHOWN(name));
        if (!constant) continue;
        *out = constant;
        if (++found > 1) break;
    }
    if (found == 1) return BERT_OK;
    return bert_fail(error, BERT_INVALID_MODEL, "it has %s", found ? "more than one value" : "no value");
}
