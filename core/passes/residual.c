/*
 * A sum of what a Linear (or QuantizedLinear) computes and a tensor of the same shape, which the Linear adds itself.
 * Where a normalization follows, skip_layer_norm has taken the sum already.
 */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

static bert_node *linear_of(const bert_value *value, const bert_node *add) {
    bert_node *linear = bert_value_made_by(value, BERT_OP_BERTC_Linear);
    if (!linear) linear = bert_value_made_by(value, BERT_OP_BERTC_QuantizedLinear);
    if (!linear || linear->block != add->block || bert_value_sole_reader(value) != add) return NULL;
    return linear->inputs[BERT_LINEAR_RESIDUAL] || bert_has_place(linear) ? NULL : linear;
}

static bert_status visit(bert_pass_context *context, bert_node *add) {
    if (!bert_node_is(add, BERT_OP_Add) || !bert_same_shape(add->inputs[0], add->inputs[1])) return BERT_OK;
    bert_node *linear = NULL;
    bert_value *residual = NULL;
    for (int side = 0; side < 2 && !linear; side++) {
        linear = linear_of(add->inputs[side], add);
        residual = add->inputs[1 - side];
    }
    if (!linear) return BERT_OK;
    bert_pattern pattern;
    bert_pattern_begin(&pattern, context, add);
    bert_pattern_add(&pattern, linear);
    /* First: a constant that nobody reads any more would go. */
    BERT_TRY(bert_node_set_input(linear, BERT_LINEAR_RESIDUAL, residual, context->error));
    /* The sum's place is after both operands. */
    return bert_pattern_replace(&pattern,
                                &(bert_node_spec){.op = linear->op,
                                                  .opset = linear->opset,
                                                  .name = linear->name,
                                                  .inputs = linear->inputs,
                                                  .input_count = linear->input_count,
                                                  .attributes = linear->attributes,
                                                  .attribute_count = linear->attribute_count},
                                NULL);
}

bert_status bert_pass_residual(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
