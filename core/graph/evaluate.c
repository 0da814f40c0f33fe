/* Running reference implementations: for what binding and passes compute, and for the reference backend. */
#include "core/base/error.h"
#include "core/graph/op.h"

#include <string.h>

bert_status bert_op_evaluate(const bert_op_node *node, const bert_tensor *inputs, const bert_tensor *outputs,
                             void *workspace, bert_error *error) {
    const bert_op *op = bert_op_get((bert_op_id)node->op_id);
    return op->reference(&(bert_reference_call){.op = op,
                                                .opset = node->opset,
                                                .attributes = node->attributes,
                                                .attribute_count = node->attribute_count,
                                                .input_count = node->input_count,
                                                .output_count = node->output_count,
                                                .inputs = inputs,
                                                .outputs = outputs,
                                                .workspace = workspace,
                                                .error = error});
}

static bert_tensor_desc *describe(bert_arena *arena, const bert_tensor *tensors, int32_t count) {
    bert_tensor_desc *descs = BERT_ARENA_NEW_ARRAY(arena, bert_tensor_desc, (size_t)count);
    for (int32_t i = 0; descs && i < count; i++) {
        descs[i] = (bert_tensor_desc){.dtype = tensors[i].dtype, .rank = tensors[i].rank};
        memcpy(descs[i].dims, tensors[i].dims, sizeof descs[i].dims);
    }
    return descs;
}

static bert_status allocate(bert_arena *arena, size_t bytes, void **out, bert_error *error) {
    *out = bert_arena_allocate(arena, bytes, BERT_ALIGNMENT);
    return *out ? BERT_OK : bert_fail_memory(error, bytes, "evaluating a node");
}

bert_status bert_node_evaluate(bert_arena *arena, const bert_node *node, const bert_tensor *inputs,
                               bert_tensor *outputs, bert_error *error) {
    bert_op_node shown = {.domain = node->op->domain,
                          .op_type = node->op->name,
                          .opset = node->opset,
                          .op_id = node->op->id,
                          .name = bert_node_label(node),
                          .attributes = node->attributes,
                          .attribute_count = node->attribute_count,
                          .input_count = node->input_count,
                          .output_count = node->output_count,
                          .inputs = describe(arena, inputs, node->input_count),
                          .outputs = describe(arena, outputs, node->output_count)};
    if (!shown.inputs || !shown.outputs) return bert_fail_memory(error, sizeof shown, "evaluating a node");
    void *workspace = NULL;
    if (node->op->workspace) BERT_TRY(allocate(arena, node->op->workspace(&shown), &workspace, error));
    for (int32_t i = 0; i < node->output_count; i++) {
        if (outputs[i].dtype == BERT_DTYPE_UNDEFINED || outputs[i].data) continue;
        size_t bytes = bert_tensor_bytes(&outputs[i]);
        BERT_TRY(allocate(arena, bytes, &outputs[i].data, error));
    }
    return bert_op_evaluate(&shown, inputs, outputs, workspace, error);
}
