/* Float32 to double, over a whole graph: for the judge of float32 results. */
#include "core/base/error.h"
#include "core/runtime/model.h"

#include <string.h>

static bert_status promote_constant(bert_graph *graph, const bert_constant **constant, bert_error *error) {
    const bert_constant *narrow = *constant;
    size_t elements = (size_t)bert_constant_elements(narrow), bytes;
    if (!bert_size_multiply(elements, sizeof(double), &bytes)) bytes = SIZE_MAX;
    double *data = bert_arena_allocate(&graph->arena, bytes, BERT_ALIGNMENT);
    if (!data) return bert_fail_memory(error, bytes, "a constant as double");
    for (size_t i = 0; i < elements; i++) {
        float value;
        memcpy(&value, narrow->data + i * sizeof value, sizeof value);
        data[i] = value;
    }
    if (narrow->file) bert_file_release_pages(narrow->file, narrow->data, narrow->bytes);
    return bert_graph_add_constant(graph, BERT_DOUBLE, narrow->rank, narrow->dims, data, bytes, NULL, constant, error);
}

/* Attributes that hold an element type, by name: whoever writes float32 there means the type of the model. */
static bool names_a_type(const char *name) {
    return strcmp(name, "to") == 0 || strcmp(name, "dtype") == 0 || strcmp(name, "stash_type") == 0 ||
           strcmp(name, "output_dtype") == 0 || strcmp(name, "softmax_precision") == 0;
}

static bert_status promote_block(bert_graph *graph, bert_block *block, bert_error *error);

static bert_status promote_attribute(bert_graph *graph, bert_attribute *attribute, bert_error *error) {
    switch (attribute->kind) {
    case BERT_ATTRIBUTE_INT:
        if (attribute->value.i == BERT_FLOAT && names_a_type(attribute->name)) attribute->value.i = BERT_DOUBLE;
        return BERT_OK;
    case BERT_ATTRIBUTE_TENSOR:
        if (attribute->value.tensor->dtype != BERT_FLOAT) return BERT_OK;
        return promote_constant(graph, &attribute->value.tensor, error);
    case BERT_ATTRIBUTE_GRAPH:
        return promote_block(graph, attribute->value.graph, error);
    default:
        return BERT_OK;
    }
}

static bert_status promote_block(bert_graph *graph, bert_block *block, bert_error *error) {
    BERT_FOR_EACH_NODE (node, block) {
        for (size_t i = 0; i < node->attribute_count; i++) {
            BERT_TRY(promote_attribute(graph, &node->attributes[i], error));
        }
    }
    return BERT_OK;
}

bert_status bert_promote_to_double(bert_graph *graph, bert_error *error) {
    for (uint32_t i = 0; i < graph->value_count; i++) {
        bert_value *value = graph->values[i];
        if (!value || value->info.dtype != BERT_FLOAT) continue;
        value->info.dtype = BERT_DOUBLE;
        if (value->info.constant) BERT_TRY(promote_constant(graph, &value->info.constant, error));
        if (value->input_default) BERT_TRY(promote_constant(graph, &value->input_default, error));
    }
    return promote_block(graph, &graph->body, error);
}
