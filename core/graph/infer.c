#include "core/base/error.h"
#include "core/graph/op.h"

#include <inttypes.h>

/* No dimension is negative, and the size in bytes fits a signed 64-bit integer. */
static bert_status check_shape(const bert_inference *in, int32_t output) {
    const bert_value_info *info = in->outputs[output];
    bert_tensor tensor = {.dtype = info->dtype, .rank = info->shape.rank};
    bool known = true;
    for (int32_t i = 0; i < info->shape.rank; i++) {
        bert_dim dim = info->shape.dims[i];
        if (!bert_dim_known(dim)) {
            known = false;
        } else if (dim < 0) {
            return bert_fail(in->error, BERT_INVALID_MODEL,
                             "dimension %" PRId32 " of output %" PRId32 " would be %" PRId64 ", a negative number", i,
                             output, dim);
        }
        tensor.dims[i] = dim;
    }
    if (known && tensor.rank >= 0 && bert_tensor_elements(&tensor) < 0) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "output %" PRId32 " would have more bytes than 2^63", output);
    }
    return BERT_OK;
}

/*
 * Followed elements are integers without bounds. Where the type may have wrapped them around they are not followed any
 * longer: a known number outside of it, or a symbolic one in a type too narrow for dimensions.
 */
static void drop_wrapped_elements(const bert_inference *in, bert_value_info *info) {
    if (!info->elements || bert_dtype_size(info->dtype) == 0) return; /* A type without a size: not known yet. */
    int32_t bits = (int32_t)bert_dtype_size(info->dtype) * 8;
    bool is_unsigned = info->dtype == BERT_UINT8 || info->dtype == BERT_UINT16 || info->dtype == BERT_UINT32 ||
                       info->dtype == BERT_UINT64 || info->dtype == BERT_BOOL;
    int64_t end = bits >= 62 ? BERT_DIM_LIMIT : (int64_t)1 << (is_unsigned ? bits : bits - 1);
    for (int32_t i = 0; info->elements && i < info->element_count; i++) {
        bert_dim element = info->elements[i];
        bool fits = bits >= 32 && (!is_unsigned || bert_dim_nonnegative(in->symbols, element));
        if (bert_dim_known(element)) fits = element < end && element >= (is_unsigned ? 0 : -end);
        if (fits || info->dtype == BERT_BOOL) continue;
        info->elements = NULL;
        info->element_count = 0;
    }
}

bert_status bert_infer_outputs(const bert_inference *in) {
    /* Where any number may come, none of them is absent. */
    int32_t required =
        in->op->max_inputs < 0 && in->input_count > in->op->min_inputs ? in->input_count : in->op->min_inputs;
    for (int32_t i = 0; i < required; i++) {
        if (i >= in->input_count || !in->inputs[i]) {
            return bert_fail(in->error, BERT_INVALID_MODEL, "input %" PRId32 " is missing; %s needs it", i,
                             in->op->name);
        }
    }
    for (int32_t i = 0; i < in->output_count; i++) {
        if (in->outputs[i]) *in->outputs[i] = (bert_value_info){.shape.rank = -1};
    }
    BERT_TRY(in->op->infer(in));
    for (int32_t i = 0; i < in->output_count; i++) {
        if (!in->outputs[i]) continue;
        BERT_TRY(check_shape(in, i));
        drop_wrapped_elements(in, in->outputs[i]);
    }
    return BERT_OK;
}

static bert_status infer_block(bert_graph *graph, bert_block *block, bert_error *error) {
    BERT_FOR_EACH_NODE (node, block) BERT_TRY(bert_infer_node(graph, node, error));
    return BERT_OK;
}

/* Runs inference with room for the node's inputs and outputs in `infos`, then writes what it learned. */
static bert_status infer_with(bert_graph *graph, bert_node *node, const bert_value_info **inputs,
                              bert_value_info **outputs, bert_value_info *infos, bert_error *error) {
    for (int32_t i = 0; i < node->input_count; i++) inputs[i] = node->inputs[i] ? &node->inputs[i]->info : NULL;
    for (int32_t i = 0; i < node->output_count; i++) outputs[i] = node->outputs[i] ? &infos[i] : NULL;
    bert_inference in = {.op = node->op,
                         .opset = node->opset,
                         .attributes = node->attributes,
                         .attribute_count = node->attribute_count,
                         .input_count = node->input_count,
                         .output_count = node->output_count,
                         .inputs = inputs,
                         .outputs = outputs,
                         .symbols = graph->symbols,
                         .arena = &graph->arena,
                         .error = error};
    BERT_TRY(bert_infer_outputs(&in));
    for (int32_t i = 0; i < node->output_count; i++) {
        bert_value *value = node->outputs[i];
        if (!value) continue;
        if (infos[i].dtype == BERT_DTYPE_UNDEFINED) infos[i].dtype = value->info.dtype;
        if (infos[i].shape.rank < 0) infos[i].shape = value->info.shape;
        value->info = infos[i];
    }
    return BERT_OK;
}

bert_status bert_infer_node(bert_graph *graph, bert_node *node, bert_error *error) {
    for (size_t i = 0; i < node->attribute_count; i++) {
        if (node->attributes[i].kind == BERT_ATTRIBUTE_GRAPH) {
            BERT_TRY(infer_block(graph, node->attributes[i].value.graph, error));
        }
    }
    /* Nearly every node has few inputs and outputs; the others' lists come from the arena. */
    enum { FEW = 16 };
    const bert_value_info *few_inputs[FEW];
    bert_value_info *few_outputs[FEW];
    bert_value_info few_infos[FEW] = {{0}};
    const bert_value_info **inputs = few_inputs;
    bert_value_info **outputs = few_outputs;
    bert_value_info *infos = few_infos;
    if (node->input_count > FEW) {
        inputs = (const bert_value_info **)bert_arena_array(&graph->arena, (size_t)node->input_count, sizeof *inputs);
    }
    if (node->output_count > FEW) {
        outputs = (bert_value_info **)bert_arena_array(&graph->arena, (size_t)node->output_count, sizeof *outputs);
        infos = BERT_ARENA_NEW_ARRAY(&graph->arena, bert_value_info, (size_t)node->output_count);
    }
    if (!inputs || !outputs || !infos) {
        return bert_fail_memory(error, (size_t)node->output_count * sizeof *infos, "shape inference");
    }
    bert_status status = infer_with(graph, node, inputs, outputs, infos, error);
    if (status != BERT_OK)
        return bert_fail_in(error, status, "node \"%s\" (%s)", bert_node_label(node), node->op->name);
    return BERT_OK;
}

bert_status bert_infer_graph(bert_graph *graph, bert_error *error) {
    return infer_block(graph, &graph->body, error);
}
