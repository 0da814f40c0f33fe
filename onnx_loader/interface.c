/* What a graph takes and gives: inputs, initializers, outputs, and the types that the file states. */
#include "core/base/error.h"
#include "onnx_loader/builder.h"

#include <inttypes.h>
#include <string.h>

/* A dimension with a name that the file gives, or one that is not known: -1 is how some exporters write that. */
static bert_status read_dimension(bert_onnx_builder *builder, const BertOnnx__DimensionProto *dimension, bert_dim *out,
                                  bert_error *error) {
    bert_graph *graph = builder->graph;
    if (dimension->value_case == BERT_ONNX__DIMENSION_PROTO__VALUE_DIM_VALUE && dimension->dim_value != -1) {
        if (dimension->dim_value < 0 || dimension->dim_value >= BERT_DIM_LIMIT) {
            return bert_fail(error, BERT_INVALID_MODEL, "it has a dimension of %" PRId64, dimension->dim_value);
        }
        *out = dimension->dim_value;
        return BERT_OK;
    }
    if (dimension->value_case == BERT_ONNX__DIMENSION_PROTO__VALUE_DIM_PARAM && *dimension->dim_param) {
        const char *name = bert_arena_string(&graph->arena, dimension->dim_param, strlen(dimension->dim_param));
        if (!name) return bert_fail_memory(error, strlen(dimension->dim_param), "the name of a dimension");
        *out = bert_dim_named(graph->symbols, name);
    } else {
        *out = bert_dim_fresh(graph->symbols);
    }
    return BERT_OK;
}

bert_status bert_onnx_read_type(bert_onnx_builder *builder, const BertOnnx__TypeProto *type, bert_value_info *out,
                                bert_error *error) {
    *out = (bert_value_info){.shape = {.rank = -1}};
    if (!type || !type->tensor_type) {
        bool other = type && (type->sequence_type || type->map_type || type->optional_type || type->sparse_tensor_type);
        if (other) return bert_fail(error, BERT_UNSUPPORTED, "it is not a dense tensor, and bert.c has no others");
        return bert_fail(error, BERT_INVALID_MODEL, "it has no type");
    }
    const BertOnnx__TensorTypeProto *tensor = type->tensor_type;
    out->dtype = (bert_dtype)tensor->elem_type;
    if (bert_dtype_size(out->dtype) == 0) {
        return bert_fail(error, BERT_UNSUPPORTED, "it has elements of type %s (%" PRId32 "), which no operator takes",
                         bert_dtype_name(out->dtype), tensor->elem_type);
    }
    if (!tensor->shape) return BERT_OK;
    if (tensor->shape->n_dim > BERT_MAX_RANK) {
        return bert_fail(error, BERT_UNSUPPORTED, "it has %zu dimensions, the greatest rank is %d",
                         tensor->shape->n_dim, BERT_MAX_RANK);
    }
    for (size_t i = 0; i < tensor->shape->n_dim; i++) {
        BERT_TRY(read_dimension(builder, tensor->shape->dim[i], &out->shape.dims[i], error));
    }
    out->shape.rank = (int32_t)tensor->shape->n_dim;
    return BERT_OK;
}

bert_status bert_onnx_apply_hints(const bert_onnx_context *context, BertOnnx__ValueInfoProto *const *infos,
                                  size_t count, bert_error *error) {
    for (size_t i = 0; i < count; i++) {
        bert_value *value = bert_onnx_find(context->scope, bert_onnx_text(infos[i]->name));
        if (!value || value == &bert_onnx_absent || value->graph_input || value->info.constant) continue;
        bert_value_info info;
        /* What can't be used is no loss: it was only a hint. */
        bert_status status = bert_onnx_read_type(context->builder, infos[i]->type, &info, NULL);
        if (status == BERT_OUT_OF_MEMORY) return bert_fail_memory(error, sizeof info, "the type of a tensor");
        if (status == BERT_OK) value->info = info;
    }
    return BERT_OK;
}

/* ---- Initializers and inputs --------------------------------------------------------------------------------------
 */

static bert_status make_initializer(const bert_onnx_context *context, const BertOnnx__TensorProto *tensor,
                                    const bert_constant **out, bert_error *error) {
    bert_status status = bert_onnx_make_constant(context->builder, tensor, out, error);
    if (status == BERT_OK) return BERT_OK;
    const char *name = bert_onnx_text(tensor->name);
    return bert_fail_in(error, status, "initializer %.*s", BERT_ONNX_SHOWN(name));
}

bert_status bert_onnx_build_initializers(const bert_onnx_context *context, const BertOnnx__GraphProto *graph,
                                         const bert_hash *defaults, bert_error *error) {
    if (graph->n_sparse_initializer) {
        return bert_fail(error, BERT_UNSUPPORTED, "it has sparse initializers, which bert.c does not read");
    }
    for (size_t i = 0; i < graph->n_initializer; i++) {
        const BertOnnx__TensorProto *tensor = graph->initializer[i];
        const char *name = bert_onnx_text(tensor->name);
        if (*name == '\0') return bert_fail(error, BERT_INVALID_MODEL, "initializer %zu has no name", i);
        if (defaults && bert_hash_get(defaults, name, strlen(name)) == tensor) continue;
        const bert_constant *constant = NULL;
        bert_value *value = NULL;
        BERT_TRY(bert_onnx_new_value(context, name, &value, error));
        BERT_TRY(bert_onnx_declare(context->scope, name, value, error));
        BERT_TRY(make_initializer(context, tensor, &constant, error));
        BERT_TRY(bert_graph_set_constant(context->builder->graph, value, constant, error));
    }
    return BERT_OK;
}

/* Tensors by name; of two with one name the last, which bert_onnx_build_initializers then finds declared. */
static bert_hash *initializers_by_name(bert_arena *arena, const BertOnnx__GraphProto *graph) {
    bert_hash *hash = bert_hash_create(arena);
    for (size_t i = 0; hash && i < graph->n_initializer; i++) {
        const char *name = bert_onnx_text(graph->initializer[i]->name);
        if (!bert_hash_set(hash, name, strlen(name), graph->initializer[i])) hash = NULL;
    }
    return hash;
}

static bert_status build_input(const bert_onnx_context *context, const BertOnnx__ValueInfoProto *input,
                               const BertOnnx__TensorProto *initializer, bert_value **out, bert_error *error) {
    const char *name = bert_onnx_text(input->name);
    bert_value_info info;
    BERT_TRY(bert_onnx_read_type(context->builder, input->type, &info, error));
    bert_value *value = NULL;
    BERT_TRY(bert_onnx_new_value(context, name, &value, error));
    BERT_TRY(bert_onnx_declare(context->scope, name, value, error));
    value->info = info;
    if (initializer) {
        BERT_TRY(make_initializer(context, initializer, &value->input_default, error));
        if (value->input_default->dtype != info.dtype) {
            return bert_fail(error, BERT_INVALID_MODEL, "it is of type %s, and its initializer of type %s",
                             bert_dtype_name(info.dtype), bert_dtype_name(value->input_default->dtype));
        }
    }
    *out = value;
    return BERT_OK;
}

bert_status bert_onnx_build_inputs(const bert_onnx_context *context, const BertOnnx__GraphProto *graph,
                                   bert_error *error) {
    bert_onnx_builder *builder = context->builder;
    /* Up to IR 3 every initializer had to be an input too, and none of them was meant to be given. */
    bool overridable = builder->model->ir_version >= 4;
    bert_hash *initializers = initializers_by_name(&builder->scratch, graph);
    bert_hash *defaults = bert_hash_create(&builder->scratch);
    bert_value **list = BERT_ARENA_NEW_ARRAY(&builder->scratch, bert_value *, graph->n_input);
    if (!initializers || !defaults || !list) return bert_fail_memory(error, sizeof *list, "the graph's inputs");
    int32_t count = 0;
    for (int with_default = 0; with_default <= (int)overridable; with_default++) {
        for (size_t i = 0; i < graph->n_input; i++) {
            const char *name = bert_onnx_text(graph->input[i]->name);
            if (*name == '\0') return bert_fail(error, BERT_INVALID_MODEL, "graph input %zu has no name", i);
            BertOnnx__TensorProto *initializer = bert_hash_get(initializers, name, strlen(name));
            if ((initializer != NULL) != (bool)with_default) continue;
            bert_status status = build_input(context, graph->input[i], initializer, &list[count], error);
            if (status != BERT_OK) return bert_fail_in(error, status, "graph input %.*s", BERT_ONNX_SHOWN(name));
            count++;
            if (initializer && !bert_hash_set(defaults, name, strlen(name), initializer)) {
                return bert_fail_memory(error, sizeof *list, "the graph's inputs");
            }
        }
    }
    BERT_TRY(bert_onnx_build_initializers(context, graph, defaults, error));
    return bert_graph_set_inputs(builder->graph, list, count, error);
}

bert_status bert_onnx_build_outputs(const bert_onnx_context *context, const BertOnnx__GraphProto *graph,
                                    bert_error *error) {
    bert_onnx_builder *builder = context->builder;
    if (graph->n_output == 0) return bert_fail(error, BERT_INVALID_MODEL, "the graph has no outputs");
    bert_value **list = BERT_ARENA_NEW_ARRAY(&builder->scratch, bert_value *, graph->n_output);
    if (!list) return bert_fail_memory(error, sizeof *list, "the graph's outputs");
    for (size_t i = 0; i < graph->n_output; i++) {
        const char *name = bert_onnx_text(graph->output[i]->name);
        list[i] = bert_onnx_find(context->scope, name);
        if (!list[i]) {
            return bert_fail(error, BERT_INVALID_MODEL, "graph output %.*s is a tensor that nothing writes",
                             BERT_ONNX_SHOWN(name));
        }
        if (list[i]->graph_output) {
            return bert_fail(error, BERT_INVALID_MODEL, "graph output %.*s is listed twice", BERT_ONNX_SHOWN(name));
        }
        list[i]->graph_output = true;
    }
    BERT_TRY(bert_onnx_apply_hints(context, graph->output, graph->n_output, error));
    return bert_graph_set_outputs(builder->graph, list, (int32_t)graph->n_output, error);
}
