/*
 * Gather of a constant that is dequantized: what is gathered are bytes, and only they are dequantized. A table of words
 * would be computed as a whole at each run, and lie in memory in its float form.
 */
#include "core/base/error.h"
#include "core/passes/list.h"
#include "core/passes/quantizers.h"

static bert_status rewrite(bert_pass_context *context, bert_node *gather, bert_node *dequantize) {
    bert_value *zero = bert_node_in(dequantize, 2), *inputs[3] = {NULL};
    BERT_TRY(bert_build(context, gather,
                        &(bert_node_spec){.op = gather->op,
                                          .opset = gather->opset,
                                          .name = gather->name,
                                          .inputs = (bert_value *[]){dequantize->inputs[0], gather->inputs[1]},
                                          .input_count = 2,
                                          .attributes = gather->attributes,
                                          .attribute_count = gather->attribute_count},
                        gather, &inputs[0]));
    BERT_TRY(bert_build_shown(context, dequantize->inputs[1], 0, NULL, &inputs[1]));
    if (zero) BERT_TRY(bert_build_shown(context, zero, 0, NULL, &inputs[2]));
    bert_pattern pattern;
    bert_pattern_begin(&pattern, context, gather);
    bert_pattern_add_shared(&pattern, dequantize);
    return bert_pattern_replace(&pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_DequantizeLinear),
                                                  .opset = bert_build_opset(gather, 13),
                                                  .name = dequantize->name,
                                                  .inputs = inputs,
                                                  .input_count = zero ? 3 : 2},
                                NULL);
}

static bert_status visit(bert_pass_context *context, bert_node *node) {
    if (!bert_node_is(node, BERT_OP_Gather)) return BERT_OK;
    bert_node *dequantize = node->inputs[0]->producer;
    const bool fits = bert_is_single_dequantizer(dequantize) && dequantize->inputs[0]->info.constant;
    return fits ? rewrite(context, node, dequantize) : BERT_OK;
}

bert_status bert_pass_dequantized_rows(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
