#include "tests/support/graph_build.h"

#include "core/base/error.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

bert_value *build_input(bert_graph *graph, const char *name, bert_dtype dtype, const char *dims) {
    bert_value *value = NULL;
    if (bert_graph_add_value(graph, name, &value, NULL) != BERT_OK) return NULL;
    value->info = (bert_value_info){.dtype = dtype};
    while (*dims) {
        char text[32] = "";
        size_t length = strcspn(dims, ", ");
        memcpy(text, dims, length);
        bool number = text[0] >= '0' && text[0] <= '9';
        value->info.shape.dims[value->info.shape.rank++] =
            number ? strtoll(text, NULL, 10) : bert_dim_named(graph->symbols, text);
        dims += length + (dims[length] != '\0');
    }
    return value;
}

bert_value *build_constant(bert_graph *graph, bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data) {
    size_t bytes = bert_dtype_size(dtype);
    for (int32_t i = 0; i < rank; i++) bytes *= (size_t)dims[i];
    unsigned char *copy = bert_arena_allocate(&graph->arena, bytes + 1, BERT_ALIGNMENT);
    const bert_constant *constant = NULL;
    bert_value *value = NULL;
    if (!copy) return NULL;
    /* One byte off, as most weights of real files are. */
    copy++;
    memcpy(copy, data, bytes);
    if (bert_graph_add_constant(graph, dtype, rank, dims, copy, bytes, NULL, &constant, NULL) != BERT_OK) return NULL;
    return bert_graph_add_constant_value(graph, NULL, constant, &value, NULL) == BERT_OK ? value : NULL;
}

bert_value *build_int64s(bert_graph *graph, int64_t count, const int64_t *elements) {
    return build_constant(graph, BERT_INT64, 1, &count, elements);
}

bert_value *build_int64(bert_graph *graph, int64_t element) {
    return build_constant(graph, BERT_INT64, 0, NULL, &element);
}

bert_value *build_float(bert_graph *graph, float element) {
    return build_constant(graph, BERT_FLOAT, 0, NULL, &element);
}

bert_value *build_node_of(bert_block *block, const bert_op *op, int32_t opset, const char *name,
                          const bert_attribute *attributes, size_t attribute_count, bert_value *const *inputs,
                          int32_t input_count) {
    bert_value *output = NULL;
    bert_node *node = NULL;
    if (bert_graph_add_value(block->graph, name, &output, NULL) != BERT_OK) return NULL;
    bert_node_spec spec = {.op = op,
                           .opset = opset,
                           .name = name,
                           .inputs = inputs,
                           .input_count = input_count,
                           .outputs = &output,
                           .output_count = 1,
                           .attributes = attributes,
                           .attribute_count = attribute_count};
    return bert_graph_add_node(block, NULL, &spec, &node, NULL) == BERT_OK ? output : NULL;
}

bert_value *build_node(bert_block *block, const char *op, const char *name, const bert_attribute *attributes,
                       size_t attribute_count, bert_value *first, ...) {
    bert_value *inputs[16];
    int32_t count = 0;
    va_list arguments;
    va_start(arguments, first);
    for (bert_value *input = first; input != BUILD_END; input = va_arg(arguments, bert_value *)) {
        inputs[count++] = input;
        if (!input) break;
    }
    va_end(arguments);
    if (count && !inputs[count - 1]) return NULL;
    return build_node_of(block, bert_op_find("", op), 17, name, attributes, attribute_count, inputs, count);
}

static bert_status set_values(bert_graph *graph, bert_value *first, va_list arguments, bool inputs, bert_error *error) {
    bert_value *values[16];
    int32_t count = 0;
    for (bert_value *value = first; value != BUILD_END; value = va_arg(arguments, bert_value *)) {
        if (!value) return bert_fail_memory(error, 1, "a test's graph");
        values[count++] = value;
    }
    return inputs ? bert_graph_set_inputs(graph, values, count, error)
                  : bert_graph_set_outputs(graph, values, count, error);
}

bert_status build_inputs(bert_graph *graph, bert_error *error, bert_value *first, ...) {
    va_list arguments;
    va_start(arguments, first);
    bert_status status = set_values(graph, first, arguments, true, error);
    va_end(arguments);
    return status;
}

bert_status build_outputs(bert_graph *graph, bert_error *error, bert_value *first, ...) {
    va_list arguments;
    va_start(arguments, first);
    bert_status status = set_values(graph, first, arguments, false, error);
    va_end(arguments);
    return status;
}
