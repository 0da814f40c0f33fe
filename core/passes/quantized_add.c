/*
 * QuantizedAdd: a sum between quantizers, in one pass over its tensor.
 *
 *   QuantizeLinear(a) -> DequantizeLinear, or a as it is
 *   Add b
 *   QuantizeLinear -> DequantizeLinear, or -> readers of bytes, or nothing where a has such a pair
 *
 * all by constant scales and zero points of one element, in float32. Files of quantize_static have such pairs around
 * each Add: of a bias that a quantized product's result has to be quantized for, a mask, a residual.
 */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/list.h"
#include "core/passes/quantizers.h"

static bool is_float_quantizer(const bert_node *node) {
    return bert_is_single_quantizer(node) && node->inputs[0]->info.dtype == BERT_FLOAT;
}
static bool is_float_dequantizer(const bert_node *node) {
    return bert_is_single_dequantizer(node) && node->outputs[0]->info.dtype == BERT_FLOAT;
}

/* The scale and zero point of a quantizer or dequantizer; a zero point that is absent is 0 of the bytes' type. */
static bert_status take_scale(bert_pass_context *context, const bert_node *node, bert_dtype bytes,
                              bert_value *scale_and_zero[2]) {
    const bert_constant *constant = NULL;
    scale_and_zero[0] = node->inputs[1];
    scale_and_zero[1] = bert_node_in(node, 2);
    if (scale_and_zero[1]) return BERT_OK;
    void *zero = bert_arena_allocate(&context->graph->arena, 1, 1);
    if (!zero) return bert_fail_memory(context->error, 1, "a zero point");
    BERT_TRY(bert_graph_add_constant(context->graph, bytes, 0, NULL, zero, 1, NULL, &constant, context->error));
    return bert_graph_add_constant_value(context->graph, NULL, constant, &scale_and_zero[1], context->error);
}

/* The DequantizeLinear of a QuantizeLinear's bytes that makes the operand, which nobody else reads; else NULL. */
static bert_node *requantizer_of(const bert_value *operand, const bert_node *add) {
    bert_node *dequantize = operand->producer;
    if (!is_float_dequantizer(dequantize) || dequantize->block != add->block ||
        bert_value_sole_reader(operand) != add || !bert_same_shape(operand, add->outputs[0]))
        return NULL;
    const bert_value *bytes = dequantize->inputs[0];
    return bert_value_sole_reader(bytes) == dequantize && is_float_quantizer(bytes->producer) &&
                   bytes->producer->block == add->block
               ? dequantize
               : NULL;
}

/* a, where one of the operands is quantized and dequantized, and how; b is the other one. */
static bert_status match_a(bert_pattern *pattern, const bert_node *add, bert_value **inputs, bool *matched) {
    bert_node *dequantize = NULL;
    int side = -1;
    while (!dequantize && ++side < 2) dequantize = requantizer_of(add->inputs[side], add);
    *matched = dequantize != NULL;
    if (!dequantize) return BERT_OK;
    bert_node *quantize = dequantize->inputs[0]->producer;
    const bert_dtype bytes = dequantize->inputs[0]->info.dtype;
    inputs[BERT_QUANTIZED_ADD_A] = quantize->inputs[0];
    inputs[BERT_QUANTIZED_ADD_B] = add->inputs[1 - side];
    bert_pattern_add(pattern, dequantize);
    bert_pattern_add(pattern, quantize);
    BERT_TRY(take_scale(pattern->context, quantize, bytes, &inputs[BERT_QUANTIZED_ADD_A_SCALE]));
    return take_scale(pattern->context, dequantize, bytes, &inputs[BERT_QUANTIZED_ADD_A_NEW_SCALE]);
}

/* What becomes of the sum, from `quantize` on; the pattern ends there, or in what makes floats of its bytes. */
static bert_status match_y(bert_pattern *pattern, bert_node *quantize, bert_value **inputs) {
    const bert_value *bytes = quantize->outputs[0];
    bert_node *dequantize = bert_value_sole_reader(bytes), *add = pattern->root;
    bert_pass_context *context = pattern->context;
    const bool gives_floats =
        is_float_dequantizer(dequantize) && dequantize->inputs[0] == bytes && dequantize->block == add->block;
    bert_pattern_begin(pattern, context, gives_floats ? dequantize : quantize);
    bert_pattern_add(pattern, quantize);
    bert_pattern_add(pattern, add);
    BERT_TRY(take_scale(context, quantize, bytes->info.dtype, &inputs[BERT_QUANTIZED_ADD_Y_SCALE]));
    if (!gives_floats) return BERT_OK;
    return take_scale(context, dequantize, bytes->info.dtype, &inputs[BERT_QUANTIZED_ADD_Y_NEW_SCALE]);
}

static bert_status visit(bert_pass_context *context, bert_node *add) {
    if (!bert_node_is(add, BERT_OP_Add)) return BERT_OK;
    bert_value *inputs[BERT_QUANTIZED_ADD_INPUTS] = {add->inputs[0], add->inputs[1]};
    bert_pattern pattern;
    bool of_a = false;
    bert_pattern_begin(&pattern, context, add);
    bert_node *quantize = bert_value_sole_reader(add->outputs[0]);
    const bool of_y =
        is_float_quantizer(quantize) && quantize->inputs[0] == add->outputs[0] && quantize->block == add->block;
    if (of_y) BERT_TRY(match_y(&pattern, quantize, inputs));
    BERT_TRY(match_a(&pattern, add, inputs, &of_a));
    if (!of_a && !of_y) return BERT_OK;
    return bert_pattern_replace(
        &pattern,
        &(bert_node_spec){.op = bert_op_get(BERT_OP_BERTC_QuantizedAdd),
                          .opset = 1,
                          .inputs = inputs,
                          .input_count = of_a ? BERT_QUANTIZED_ADD_INPUTS : BERT_QUANTIZED_ADD_A_SCALE},
        NULL);
}

bert_status bert_pass_quantized_add(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
