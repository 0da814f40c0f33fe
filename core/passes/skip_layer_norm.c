/* SkipLayerNormalization: LayerNormalization of a sum of two tensors of one shape. The sum may be read elsewhere. */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

/* Over the last dimension, with gamma and no further output read. */
static bool is_plain(const bert_node *norm) {
    int32_t rank = norm->inputs[0] ? bert_value_rank(norm->inputs[0]) : -1;
    if (rank < 1 || bert_axis_from_front(BERT_NODE_INT(norm, "axis", -1), rank) != rank - 1) return false;
    bert_dim width = bert_value_dim(norm->inputs[0], -1);
    bert_value *beta = bert_node_in(norm, 2);
    return bert_is_constant_vector(bert_node_in(norm, 1), width) && (!beta || bert_is_constant_vector(beta, width));
}

/* Another reader of the sum gets it from the new node, which stands where the sum was computed. */
static bert_status rewrite(bert_pattern *pattern, bert_node *norm, bert_node *add, bool sum_is_read) {
    bert_pass_context *context = pattern->context;
    bert_attribute epsilon = BERT_FLOAT_ATTRIBUTE("epsilon", BERT_NODE_FLOAT(norm, "epsilon", 1e-5F));
    bert_value *inputs[] = {[BERT_SKIP_X] = add->inputs[0],
                            [BERT_SKIP_SKIP] = add->inputs[1],
                            [BERT_SKIP_GAMMA] = norm->inputs[1],
                            [BERT_SKIP_BETA] = bert_node_in(norm, 2)};
    bert_node *node = NULL;
    BERT_TRY(bert_graph_add_node(add->block, add,
                                 &(bert_node_spec){.op = bert_op_get(BERT_OP_BERTC_SkipLayerNormalization),
                                                   .opset = 1,
                                                   .name = norm->name,
                                                   .inputs = inputs,
                                                   .input_count = inputs[BERT_SKIP_BETA] ? 4 : 3,
                                                   .outputs = (bert_value *[]){NULL, NULL},
                                                   .output_count = sum_is_read ? 2 : 1,
                                                   .attributes = &epsilon,
                                                   .attribute_count = 1},
                                 &node, context->error));
    BERT_TRY(bert_node_add_origins(node, add, context->error));
    BERT_TRY(bert_node_add_origins(node, norm, context->error));
    bert_node_take_output(node, 0, norm, 0);
    bert_graph_remove_node(norm);
    if (sum_is_read) bert_node_take_output(node, 1, add, 0);
    bert_graph_remove_node(add);
    bert_pass_rewrote(context, node);
    return BERT_OK;
}

static bert_status visit(bert_pass_context *context, bert_node *norm) {
    if (!bert_node_is(norm, BERT_OP_LayerNormalization) || !is_plain(norm)) return BERT_OK;
    bert_node *add = bert_value_made_by(norm->inputs[0], BERT_OP_Add);
    if (!add || add->block != norm->block) return BERT_OK;
    if (!bert_same_shape(add->inputs[0], add->inputs[1]) || !bert_same_shape(add->inputs[0], add->outputs[0])) {
        bert_pass_missed(context, add, "its operands do not certainly have one shape");
        return BERT_OK;
    }
    bert_pattern pattern;
    bert_pattern_begin(&pattern, context, norm);
    if (!bert_pattern_closed(&pattern)) return BERT_OK;
    bool sum_is_read = add->outputs[0]->use_count > 1 || bert_value_leaves(add->outputs[0]);
    return rewrite(&pattern, norm, add, sum_is_read);
}

bert_status bert_pass_skip_layer_norm(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
