/* Single messages of a file, made in the saver's arena. */
#include "core/base/float16.h"
#include "onnx_loader/saver.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void *bert_onnx_save_memory(bert_onnx_saver *saver, size_t count, size_t size) {
    void *memory = bert_arena_array(&saver->arena, count, size);
    if (!memory) saver->exhausted = true;
    return memory;
}

static char no_text[] = "";

char *bert_onnx_save_text(bert_onnx_saver *saver, const char *text) {
    char *copy = bert_arena_string(&saver->arena, text, strlen(text));
    if (!copy) saver->exhausted = true;
    return copy ? copy : no_text;
}

char *bert_onnx_save_format(bert_onnx_saver *saver, const char *format, ...) {
    va_list arguments;
    va_list again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length < 0 ? NULL : bert_onnx_save_memory(saver, (size_t)length + 1, 1);
    if (text) vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text ? text : no_text;
}

bool bert_onnx_save_take(bert_onnx_saver *saver, bert_hash *taken, const char *name) {
    if (bert_hash_get(taken, name, strlen(name))) return false;
    if (!bert_hash_set(taken, name, strlen(name), saver)) saver->exhausted = true;
    return true;
}

char *bert_onnx_save_fresh(bert_onnx_saver *saver, bert_hash *taken, const char *wish) {
    char *name = bert_onnx_save_text(saver, wish);
    for (unsigned i = 1; !saver->exhausted && !bert_onnx_save_take(saver, taken, name); i++) {
        name = bert_onnx_save_format(saver, "%s_%u", wish, i);
    }
    return name;
}

BertOnnx__OperatorSetIdProto *bert_onnx_save_import(bert_onnx_saver *saver, const char *domain, int64_t version) {
    BertOnnx__OperatorSetIdProto *import = BERT_ONNX_SAVE_NEW(saver, BertOnnx__OperatorSetIdProto, 1);
    if (!import) return NULL;
    bert_onnx__operator_set_id_proto__init(import);
    import->domain = bert_onnx_save_text(saver, domain);
    import->has_version = 1;
    import->version = version;
    return import;
}

BertOnnx__TensorProto *bert_onnx_save_tensor(bert_onnx_saver *saver, const bert_constant *constant, const char *name) {
    BertOnnx__TensorProto *tensor = BERT_ONNX_SAVE_NEW(saver, BertOnnx__TensorProto, 1);
    int64_t *dims = BERT_ONNX_SAVE_NEW(saver, int64_t, (size_t)constant->rank);
    if (!tensor || !dims) return NULL;
    bert_onnx__tensor_proto__init(tensor);
    for (int32_t d = 0; d < constant->rank; d++) dims[d] = constant->dims[d];
    tensor->dims = dims;
    tensor->n_dims = (size_t)constant->rank;
    tensor->has_data_type = 1;
    tensor->data_type = (int32_t)constant->dtype;
    tensor->name = bert_onnx_save_text(saver, name);
    return tensor;
}

static BertOnnx__TensorShapeProto *save_shape(bert_onnx_saver *saver, const bert_shape *shape) {
    BertOnnx__TensorShapeProto *proto = BERT_ONNX_SAVE_NEW(saver, BertOnnx__TensorShapeProto, 1);
    BertOnnx__DimensionProto *dims = BERT_ONNX_SAVE_NEW(saver, BertOnnx__DimensionProto, (size_t)shape->rank);
    BertOnnx__DimensionProto **list = BERT_ONNX_SAVE_NEW(saver, BertOnnx__DimensionProto *, (size_t)shape->rank);
    if (!proto || !dims || !list) return NULL;
    bert_onnx__tensor_shape_proto__init(proto);
    for (int32_t d = 0; d < shape->rank; d++) {
        const char *name = bert_dim_name(saver->graph->symbols, shape->dims[d]);
        bert_onnx__dimension_proto__init(&dims[d]);
        if (bert_dim_known(shape->dims[d])) {
            dims[d].value_case = BERT_ONNX__DIMENSION_PROTO__VALUE_DIM_VALUE;
            dims[d].dim_value = shape->dims[d];
        } else if (name) {
            dims[d].value_case = BERT_ONNX__DIMENSION_PROTO__VALUE_DIM_PARAM;
            dims[d].dim_param = bert_onnx_save_text(saver, name);
        }
        list[d] = &dims[d];
    }
    proto->dim = list;
    proto->n_dim = (size_t)shape->rank;
    return proto;
}

BertOnnx__ValueInfoProto *bert_onnx_save_value(bert_onnx_saver *saver, const bert_value_info *info, const char *name) {
    BertOnnx__ValueInfoProto *value = BERT_ONNX_SAVE_NEW(saver, BertOnnx__ValueInfoProto, 1);
    BertOnnx__TypeProto *type = BERT_ONNX_SAVE_NEW(saver, BertOnnx__TypeProto, 1);
    BertOnnx__TensorTypeProto *tensor = BERT_ONNX_SAVE_NEW(saver, BertOnnx__TensorTypeProto, 1);
    if (!value || !type || !tensor) return NULL;
    bert_onnx__value_info_proto__init(value);
    value->name = bert_onnx_save_text(saver, name);
    if (info->dtype == BERT_DTYPE_UNDEFINED) return value;
    bert_onnx__type_proto__init(type);
    bert_onnx__tensor_type_proto__init(tensor);
    tensor->has_elem_type = 1;
    tensor->elem_type = (int32_t)info->dtype;
    if (info->shape.rank >= 0) tensor->shape = save_shape(saver, &info->shape);
    type->tensor_type = tensor;
    value->type = type;
    return value;
}

/* ---- Nodes ------------------------------------------------------------------------------------------------------ */

static char **copy_names(bert_onnx_saver *saver, const char *const *names, size_t count) {
    char **copies = BERT_ONNX_SAVE_NEW(saver, char *, count);
    for (size_t i = 0; copies && i < count; i++) {
        copies[i] = names[i] ? bert_onnx_save_text(saver, names[i]) : no_text;
    }
    return copies;
}

static bool grow(bert_onnx_saver *saver, bert_onnx_nodes *nodes) {
    if (nodes->count < nodes->capacity) return true;
    size_t capacity = nodes->capacity ? 2 * nodes->capacity : 16;
    BertOnnx__NodeProto **items = BERT_ONNX_SAVE_NEW(saver, BertOnnx__NodeProto *, capacity);
    if (!items) return false;
    if (nodes->count) memcpy(items, nodes->items, nodes->count * sizeof *items);
    nodes->items = items;
    nodes->capacity = capacity;
    return true;
}

BertOnnx__NodeProto *bert_onnx_save_node(bert_onnx_saver *saver, bert_onnx_nodes *nodes, const char *domain,
                                         const char *op_type, const char *const *inputs, size_t input_count,
                                         const char *const *outputs, size_t output_count) {
    while (input_count && (!inputs[input_count - 1] || !*inputs[input_count - 1])) input_count--;
    BertOnnx__NodeProto *node = BERT_ONNX_SAVE_NEW(saver, BertOnnx__NodeProto, 1);
    char **in = copy_names(saver, inputs, input_count);
    char **out = copy_names(saver, outputs, output_count);
    if (!node || !in || !out || !grow(saver, nodes)) return NULL;
    bert_onnx__node_proto__init(node);
    node->input = in;
    node->n_input = input_count;
    node->output = out;
    node->n_output = output_count;
    node->op_type = bert_onnx_save_text(saver, op_type);
    if (*domain) node->domain = bert_onnx_save_text(saver, domain);
    nodes->items[nodes->count++] = node;
    return node;
}

void bert_onnx_save_node_name(bert_onnx_saver *saver, BertOnnx__NodeProto *node, const char *wish) {
    if (!node || !*wish) return;
    node->name = bert_onnx_save_fresh(saver, saver->taken_by_nodes, wish);
}

BertOnnx__AttributeProto *bert_onnx_save_attribute(bert_onnx_saver *saver, BertOnnx__NodeProto *node, const char *name,
                                                   bert_onnx_attribute_type type) {
    BertOnnx__AttributeProto *attribute = BERT_ONNX_SAVE_NEW(saver, BertOnnx__AttributeProto, 1);
    if (!node || !attribute) return NULL;
    BertOnnx__AttributeProto **list = BERT_ONNX_SAVE_NEW(saver, BertOnnx__AttributeProto *, node->n_attribute + 1);
    if (!list) return NULL;
    if (node->n_attribute) memcpy(list, node->attribute, node->n_attribute * sizeof *list);
    bert_onnx__attribute_proto__init(attribute);
    attribute->name = bert_onnx_save_text(saver, name);
    attribute->has_type = 1;
    attribute->type = (int32_t)type;
    list[node->n_attribute] = attribute;
    node->attribute = list;
    node->n_attribute++;
    return attribute;
}

void bert_onnx_save_int(bert_onnx_saver *saver, BertOnnx__NodeProto *node, const char *name, int64_t value) {
    BertOnnx__AttributeProto *attribute = bert_onnx_save_attribute(saver, node, name, BERT_ONNX_INT);
    if (!attribute) return;
    attribute->has_i = 1;
    attribute->i = value;
}

void bert_onnx_save_float(bert_onnx_saver *saver, BertOnnx__NodeProto *node, const char *name, float value) {
    BertOnnx__AttributeProto *attribute = bert_onnx_save_attribute(saver, node, name, BERT_ONNX_FLOAT);
    if (!attribute) return;
    attribute->has_f = 1;
    attribute->f = value;
}

void bert_onnx_save_string(bert_onnx_saver *saver, BertOnnx__NodeProto *node, const char *name, const char *text) {
    BertOnnx__AttributeProto *attribute = bert_onnx_save_attribute(saver, node, name, BERT_ONNX_STRING);
    if (!attribute) return;
    attribute->has_s = 1;
    attribute->s.data = (uint8_t *)bert_onnx_save_text(saver, text);
    attribute->s.len = strlen(text);
}

void bert_onnx_save_ints(bert_onnx_saver *saver, BertOnnx__NodeProto *node, const char *name, const int64_t *ints,
                         size_t count) {
    BertOnnx__AttributeProto *attribute = bert_onnx_save_attribute(saver, node, name, BERT_ONNX_INTS);
    int64_t *copy = BERT_ONNX_SAVE_NEW(saver, int64_t, count);
    if (!attribute || !copy) return;
    if (count) memcpy(copy, ints, count * sizeof *copy);
    attribute->ints = copy;
    attribute->n_ints = count;
}

void bert_onnx_save_reference(bert_onnx_saver *saver, BertOnnx__NodeProto *node, const char *name,
                              bert_onnx_attribute_type type, const char *of_function) {
    BertOnnx__AttributeProto *attribute = bert_onnx_save_attribute(saver, node, name, type);
    if (attribute) attribute->ref_attr_name = bert_onnx_save_text(saver, of_function);
}

/* ---- Constants -------------------------------------------------------------------------------------------------- */

static void save_constant(bert_onnx_saver *saver, bert_onnx_nodes *nodes, const char *name, bert_constant *constant,
                          const void *data) {
    constant->bytes = (size_t)(constant->rank ? constant->dims[0] : 1) * bert_dtype_size(constant->dtype);
    BertOnnx__NodeProto *node = bert_onnx_save_node(saver, nodes, "", "Constant", NULL, 0, &name, 1);
    BertOnnx__AttributeProto *value = bert_onnx_save_attribute(saver, node, "value", BERT_ONNX_TENSOR);
    BertOnnx__TensorProto *tensor = bert_onnx_save_tensor(saver, constant, name);
    unsigned char *copy = bert_onnx_save_memory(saver, constant->bytes, 1);
    if (!value || !tensor || !copy) return;
    memcpy(copy, data, constant->bytes);
    tensor->has_raw_data = 1;
    tensor->raw_data = (ProtobufCBinaryData){constant->bytes, copy};
    value->t = tensor;
}

void bert_onnx_save_int_constant(bert_onnx_saver *saver, bert_onnx_nodes *nodes, const char *name, const int64_t *ints,
                                 int32_t count) {
    bert_constant constant = {.dtype = BERT_INT64, .rank = count >= 0, .dims = {count}};
    save_constant(saver, nodes, name, &constant, ints);
}

void bert_onnx_save_float_constant(bert_onnx_saver *saver, bert_onnx_nodes *nodes, const char *name, bert_dtype dtype,
                                   double number) {
    float single = (float)number;
    uint16_t half = dtype == BERT_BFLOAT16 ? bert_float_to_bfloat16(single) : bert_float_to_half(single);
    bert_constant constant = {.dtype = dtype};
    const void *data = dtype == BERT_DOUBLE  ? (const void *)&number
                       : dtype == BERT_FLOAT ? (const void *)&single
                                             : (const void *)&half;
    save_constant(saver, nodes, name, &constant, data);
}
