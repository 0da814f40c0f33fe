/* Nodes of a graph and of the branches of its Ifs. */
#include "core/base/error.h"
#include "onnx_loader/saver.h"

#include <string.h>

static bert_status save_branch(bert_onnx_saver *saver, const bert_block *block, BertOnnx__AttributeProto *out,
                               bert_error *error) {
    BertOnnx__GraphProto *graph = BERT_ONNX_SAVE_NEW(saver, BertOnnx__GraphProto, 1);
    BertOnnx__ValueInfoProto **outputs =
        BERT_ONNX_SAVE_NEW(saver, BertOnnx__ValueInfoProto *, (size_t)block->output_count);
    if (!graph || !outputs) return bert_fail_memory(error, sizeof *graph, "a branch");
    bert_onnx__graph_proto__init(graph);
    graph->name = bert_onnx_save_text(saver, "branch");
    bert_onnx_nodes nodes = {0};
    BERT_TRY(bert_onnx_save_block(saver, block, &nodes, error));
    for (int32_t i = 0; i < block->output_count; i++) {
        const bert_value *value = block->outputs[i];
        const char *name = bert_onnx_save_name(saver, value);
        bool listed = false;
        for (int32_t j = 0; j < i; j++) listed = listed || block->outputs[j] == value;
        if (listed || !value->producer || value->producer->block != block) {
            /* An output of a branch is written in it. */
            const char *copy = bert_onnx_save_fresh(saver, saver->taken, name);
            bert_onnx_save_node(saver, &nodes, "", "Identity", &name, 1, &copy, 1);
            name = copy;
        }
        outputs[i] = bert_onnx_save_value(saver, &value->info, name);
    }
    graph->node = nodes.items;
    graph->n_node = nodes.count;
    graph->output = outputs;
    graph->n_output = (size_t)block->output_count;
    out->g = graph;
    return BERT_OK;
}

static void save_strings(bert_onnx_saver *saver, const bert_attribute *attribute, BertOnnx__AttributeProto *out) {
    ProtobufCBinaryData *strings = BERT_ONNX_SAVE_NEW(saver, ProtobufCBinaryData, attribute->count);
    for (size_t i = 0; strings && i < attribute->count; i++) {
        const char *text = attribute->value.strings[i];
        strings[i] = (ProtobufCBinaryData){strlen(text), (uint8_t *)bert_onnx_save_text(saver, text)};
    }
    out->strings = strings;
    out->n_strings = strings ? attribute->count : 0;
}

/* Tensors in attributes are small: a weight in a Constant node is a constant of the graph. */
static void save_tensor(bert_onnx_saver *saver, const bert_constant *constant, BertOnnx__AttributeProto *out) {
    BertOnnx__TensorProto *tensor = bert_onnx_save_tensor(saver, constant, "");
    if (!tensor) return;
    tensor->has_raw_data = 1;
    tensor->raw_data = (ProtobufCBinaryData){constant->bytes, (uint8_t *)constant->data};
    out->t = tensor;
}

static bert_status save_attribute(bert_onnx_saver *saver, const bert_attribute *attribute, BertOnnx__NodeProto *node,
                                  bert_error *error) {
    static const bert_onnx_attribute_type types[] = {
        [BERT_ATTRIBUTE_INT] = BERT_ONNX_INT,       [BERT_ATTRIBUTE_FLOAT] = BERT_ONNX_FLOAT,
        [BERT_ATTRIBUTE_STRING] = BERT_ONNX_STRING, [BERT_ATTRIBUTE_TENSOR] = BERT_ONNX_TENSOR,
        [BERT_ATTRIBUTE_GRAPH] = BERT_ONNX_GRAPH,   [BERT_ATTRIBUTE_INTS] = BERT_ONNX_INTS,
        [BERT_ATTRIBUTE_FLOATS] = BERT_ONNX_FLOATS, [BERT_ATTRIBUTE_STRINGS] = BERT_ONNX_STRINGS};
    const char *name = attribute->name;
    if (attribute->kind == BERT_ATTRIBUTE_INT) {
        bert_onnx_save_int(saver, node, name, attribute->value.i);
        return BERT_OK;
    }
    if (attribute->kind == BERT_ATTRIBUTE_FLOAT) {
        bert_onnx_save_float(saver, node, name, attribute->value.f);
        return BERT_OK;
    }
    if (attribute->kind == BERT_ATTRIBUTE_INTS) {
        bert_onnx_save_ints(saver, node, name, attribute->value.ints, attribute->count);
        return BERT_OK;
    }
    BertOnnx__AttributeProto *out = bert_onnx_save_attribute(saver, node, name, types[attribute->kind]);
    if (!out) return bert_fail_memory(error, sizeof *out, "an attribute");
    switch (attribute->kind) {
    case BERT_ATTRIBUTE_STRING:
        out->has_s = 1;
        out->s = (ProtobufCBinaryData){attribute->count, (uint8_t *)attribute->value.s};
        return BERT_OK;
    case BERT_ATTRIBUTE_TENSOR:
        save_tensor(saver, attribute->value.tensor, out);
        return BERT_OK;
    case BERT_ATTRIBUTE_GRAPH:
        return save_branch(saver, attribute->value.graph, out, error);
    case BERT_ATTRIBUTE_FLOATS:
        out->floats = (float *)attribute->value.floats;
        out->n_floats = attribute->count;
        return BERT_OK;
    default:
        save_strings(saver, attribute, out);
        return BERT_OK;
    }
}

bert_status bert_onnx_save_attributes(bert_onnx_saver *saver, const bert_node *node, const char *const *without,
                                      BertOnnx__NodeProto *out, bert_error *error) {
    for (size_t i = 0; i < node->attribute_count; i++) {
        bool left_out = false;
        for (size_t w = 0; without && without[w]; w++) {
            left_out = left_out || strcmp(node->attributes[i].name, without[w]) == 0;
        }
        if (!left_out) BERT_TRY(save_attribute(saver, &node->attributes[i], out, error));
    }
    return BERT_OK;
}

static bert_status save_as_it_is(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                 bert_error *error) {
    const char **inputs = BERT_ONNX_SAVE_NEW(saver, const char *, (size_t)node->input_count);
    const char **outputs = BERT_ONNX_SAVE_NEW(saver, const char *, (size_t)node->output_count);
    if (!inputs || !outputs) return bert_fail_memory(error, sizeof *inputs, "a node");
    for (int32_t i = 0; i < node->input_count; i++) inputs[i] = bert_onnx_save_name(saver, node->inputs[i]);
    for (int32_t i = 0; i < node->output_count; i++) outputs[i] = bert_onnx_save_name(saver, node->outputs[i]);
    BertOnnx__NodeProto *out = bert_onnx_save_node(saver, nodes, node->op->domain, node->op->name, inputs,
                                                   (size_t)node->input_count, outputs, (size_t)node->output_count);
    if (!out) return bert_fail_memory(error, sizeof *out, "a node");
    bert_onnx_save_node_name(saver, out, node->name);
    return bert_onnx_save_attributes(saver, node, NULL, out, error);
}

static bert_status save_one(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes, bert_error *error) {
    if (strcmp(node->op->domain, BERT_CANONICAL_DOMAIN) == 0) {
        return bert_onnx_save_canonical(saver, node, nodes, error);
    }
    bool done = false;
    if (*node->op->domain == '\0') BERT_TRY(bert_onnx_save_upgraded(saver, node, nodes, &done, error));
    return done ? BERT_OK : save_as_it_is(saver, node, nodes, error);
}

bert_status bert_onnx_save_block(bert_onnx_saver *saver, const bert_block *block, bert_onnx_nodes *nodes,
                                 bert_error *error) {
    bert_onnx_save_find_parts(saver, block);
    BERT_FOR_EACH_NODE (node, block) {
        bert_status status = save_one(saver, node, nodes, error);
        if (status != BERT_OK)
            return bert_fail_in(error, status, "node %s (%s)", bert_node_label(node), node->op->name);
    }
    return BERT_OK;
}
