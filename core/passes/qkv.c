/* Three Linears of one input whose results are query, key and value of one Attention: one Linear, packed. */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

#include <math.h>
#include <string.h>

/* The Linear that writes a value which only the attention reads, if it can be a part of a larger one. */
static bert_node *part(const bert_value *value, const bert_node *attention) {
    bert_node *linear = bert_value_made_by(value, BERT_OP_BERTC_Linear);
    if (!linear || linear->block != attention->block || bert_value_sole_reader(value) != attention) return NULL;
    if (BERT_NODE_INT(linear, "parts", 1) != 1 || linear->inputs[BERT_LINEAR_RESIDUAL]) return NULL;
    return strcmp(BERT_NODE_STRING(linear, "activation", "none"), "none") == 0 ? linear : NULL;
}

static bool alike(const bert_node *a, const bert_node *b) {
    const bert_value *v = a->inputs[BERT_LINEAR_WEIGHT(0)], *w = b->inputs[BERT_LINEAR_WEIGHT(0)];
    return a->inputs[BERT_LINEAR_X] == b->inputs[BERT_LINEAR_X] && bert_same_shape(v, w) &&
           v->info.dtype == w->info.dtype && BERT_NODE_INT(a, "transpose", 0) == BERT_NODE_INT(b, "transpose", 0) &&
           BERT_NODE_FLOAT(a, "alpha", 1) == BERT_NODE_FLOAT(b, "alpha", 1);
}

static bert_status build_linear(bert_pass_context *context, bert_node *attention, bert_node *const parts[3],
                                bert_value **out) {
    bert_value *inputs[BERT_LINEAR_BIAS(2) + 1] = {[BERT_LINEAR_X] = parts[0]->inputs[BERT_LINEAR_X]};
    for (int p = 0; p < 3; p++) {
        inputs[BERT_LINEAR_WEIGHT(p)] = parts[p]->inputs[BERT_LINEAR_WEIGHT(0)];
        inputs[BERT_LINEAR_BIAS(p)] = bert_node_in(parts[p], BERT_LINEAR_BIAS(0));
    }
    bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("parts", 3),
                                   BERT_INT_ATTRIBUTE("transpose", BERT_NODE_INT(parts[0], "transpose", 0)),
                                   BERT_FLOAT_ATTRIBUTE("alpha", BERT_NODE_FLOAT(parts[0], "alpha", 1)),
                                   BERT_STRING_ATTRIBUTE("activation", "none")};
    BERT_TRY(bert_build(context, attention,
                        &(bert_node_spec){.op = parts[0]->op,
                                          .opset = 1,
                                          .name = parts[0]->name,
                                          .inputs = inputs,
                                          .input_count = BERT_LINEAR_BIAS(2) + 1,
                                          .attributes = attributes,
                                          .attribute_count = 4},
                        parts[0], out));
    for (int p = 1; p < 3; p++) BERT_TRY(bert_node_add_origins((*out)->producer, parts[p], context->error));
    return BERT_OK;
}

static bert_status visit(bert_pass_context *context, bert_node *node) {
    if (!bert_node_is(node, BERT_OP_BERTC_Attention) || BERT_NODE_INT(node, "packed", 0)) return BERT_OK;
    bert_node *parts[3];
    for (int p = 0; p < 3; p++) {
        parts[p] = part(node->inputs[p], node);
        if (parts[p] && alike(parts[0], parts[p])) continue;
        bert_pass_missed(context, node, "its query, key and value are not plain Linears of one input");
        return BERT_OK;
    }
    bert_value *packed = NULL;
    BERT_TRY(build_linear(context, node, parts, &packed));
    bert_value *inputs[BERT_ATTENTION_MASK + 1] = {[BERT_ATTENTION_Q] = packed,
                                                   [BERT_ATTENTION_BIAS] = bert_node_in(node, BERT_ATTENTION_BIAS),
                                                   [BERT_ATTENTION_MASK] = bert_node_in(node, BERT_ATTENTION_MASK)};
    bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("heads", BERT_NODE_INT(node, "heads", 1)),
                                   BERT_FLOAT_ATTRIBUTE("scale", BERT_NODE_FLOAT(node, "scale", 1)),
                                   BERT_INT_ATTRIBUTE("packed", 1),
                                   BERT_STRING_ATTRIBUTE("masked_rows", BERT_NODE_STRING(node, "masked_rows", "nan")),
                                   BERT_FLOAT_ATTRIBUTE("mask_value", BERT_NODE_FLOAT(node, "mask_value", -INFINITY))};
    bert_pattern pattern;
    bert_pattern_begin(&pattern, context, node);
    return bert_pattern_replace(&pattern,
                                &(bert_node_spec){.op = node->op,
                                                  .opset = 1,
                                                  .inputs = inputs,
                                                  .input_count = BERT_ATTENTION_MASK + 1,
                                                  .outputs = &(bert_value *){NULL},
                                                  .output_count = 1,
                                                  .attributes = attributes,
                                                  .attribute_count = 5},
                                NULL);
}

bert_status bert_pass_qkv(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
