#include "core/runtime/op_node.h"

#include "core/base/error.h"
#include "core/graph/canonical.h"

#include <string.h>

static void describe_value(const bert_value_info *info, bert_tensor_desc *out) {
    *out = (bert_tensor_desc){.dtype = info->dtype, .rank = info->shape.rank, .constant = info->constant};
    for (int32_t i = 0; i < info->shape.rank; i++) {
        out->dims[i] = bert_dim_known(info->shape.dims[i]) ? info->shape.dims[i] : -1;
    }
}

static bert_tensor_desc *describe_values(bert_arena *arena, bert_value *const *values, int32_t count,
                                         const bert_value_info *infos) {
    bert_tensor_desc *descs = BERT_ARENA_NEW_ARRAY(arena, bert_tensor_desc, (size_t)count);
    for (int32_t i = 0; descs && i < count; i++) {
        if (values[i]) describe_value(infos ? &infos[values[i]->id] : &values[i]->info, &descs[i]);
    }
    return descs;
}

bert_status bert_describe_node(bert_arena *arena, const bert_node *node, const bert_value_info *infos,
                               bert_op_node *out, bert_error *error) {
    bert_tensor_desc *inputs = describe_values(arena, node->inputs, node->input_count, infos);
    bert_tensor_desc *outputs = describe_values(arena, node->outputs, node->output_count, infos);
    if (!inputs || !outputs) return bert_fail_memory(error, sizeof *inputs, "the description of a node");
    *out = (bert_op_node){.domain = node->op->domain,
                          .op_type = node->op->name,
                          .opset = node->opset,
                          .op_id = (uint32_t)node->op->id,
                          .name = bert_node_label(node),
                          .attributes = node->attributes,
                          .attribute_count = node->attribute_count,
                          .input_count = node->input_count,
                          .output_count = node->output_count,
                          .inputs = inputs,
                          .outputs = outputs};
    return BERT_OK;
}

bert_status bert_fail_in_node(bert_error *error, bert_status status, const bert_node *node) {
    return bert_fail_in(error, status, "node %s (%s)", bert_node_label(node), node->op->name);
}

static int64_t elements_of(const bert_tensor_desc *desc) {
    int64_t elements = 1;
    for (int32_t i = 0; i < desc->rank; i++) elements *= desc->dims[i];
    return elements;
}

static int64_t dimension_from_end(const bert_tensor_desc *desc, int32_t from_end) {
    return desc->rank >= from_end ? desc->dims[desc->rank - from_end] : 1;
}

/* Q K^T and P V: 2 multiplications and additions for each of heads x queries x keys x elements, twice. */
static int64_t attention_flops(const bert_op_node *node) {
    bool packed = BERT_NODE_INT(node, "packed", 0) != 0;
    const bert_tensor_desc *keys = &node->inputs[packed ? BERT_ATTENTION_Q : BERT_ATTENTION_K];
    /* Without padding: at most those of the longest sequence. */
    const int64_t sequence = BERT_NODE_INT(node, "sequence", 0);
    if (sequence > 0) return 4 * elements_of(&node->outputs[0]) * sequence;
    return 4 * elements_of(&node->outputs[0]) * dimension_from_end(keys, 2);
}

/* One multiplication and addition for each output and element of a kernel [M, C/group, ...]; padding counts, too. */
static int64_t conv_flops(const bert_op_node *node) {
    const bert_tensor_desc *w = &node->inputs[1];
    return w->rank > 0 && w->dims[0] > 0 ? 2 * elements_of(&node->outputs[0]) * (elements_of(w) / w->dims[0]) : 0;
}

int64_t bert_count_flops(const bert_op_node *node) {
    static const char *const products[] = {"Gemm",
                                           "MatMul",
                                           "MatMulInteger",
                                           "QLinearMatMul",
                                           "FusedMatMul",
                                           "DynamicQuantizeMatMul",
                                           "MatMulIntegerToFloat"};
    static const char *const linears[] = {"Linear", "LayerNormLinear", "QuantizedLinear"};
    if (node->output_count < 1 || node->outputs[0].rank < 0) return 0;
    const int64_t outputs = elements_of(&node->outputs[0]);
    if (strcmp(node->domain, BERT_CANONICAL_DOMAIN) == 0) {
        for (size_t i = 0; i < sizeof linears / sizeof *linears; i++) {
            if (strcmp(node->op_type, linears[i]) != 0) continue;
            return 2 * outputs * dimension_from_end(&node->inputs[BERT_LINEAR_X], 1);
        }
        return strcmp(node->op_type, "Attention") == 0 ? attention_flops(node) : 0;
    }
    if (strcmp(node->op_type, "Conv") == 0) return conv_flops(node);
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
        if (strcmp(node->op_type, products[i]) != 0) continue;
        bool transposed = BERT_NODE_INT(node, "transA", 0) != 0;
        return 2 * outputs * dimension_from_end(&node->inputs[0], transposed ? 2 : 1);
    }
    return 0;
}
