/*
 * Bytes that are quantized to themselves again.
 *
 *   DequantizeLinear(q) -> moves -> QuantizeLinear -> DequantizeLinear, all by one constant scale and zero point, where
 *   moves are operators that only take elements to other places: the last two change nothing
 *
 * quantize_static puts such a pair behind every Reshape, Transpose and Gather. With x = n s rounded once, n a whole
 * number of at most 8 bits, x / s is off n by 2^-23 n at most and rounds to n: so x stays, bit for bit.
 */
#include "core/base/error.h"
#include "core/passes/layout.h"
#include "core/passes/list.h"
#include "core/passes/quantizers.h"

/* Whether the node gives elements of its first input alone, at other places. */
static bool moves_elements(const bert_node *node) {
    return bert_is_view(node) || bert_node_is(node, BERT_OP_Gather) || bert_node_is(node, BERT_OP_Slice) ||
           bert_node_is(node, BERT_OP_Expand);
}

/* Whether n s neither overflows nor comes near the subnormal numbers. */
static bool is_ordinary(const bert_value *scale) {
    double number = 0;
    return scale->info.dtype == BERT_FLOAT && bert_value_scalar(scale, &number) && number > 0x1p-100 &&
           number < 0x1p100;
}

static bert_status visit(bert_pass_context *context, bert_node *node) {
    if (node->output_count != 1 || bert_value_leaves(node->outputs[0]) || !bert_is_single_dequantizer(node) ||
        !is_ordinary(node->inputs[1]))
        return BERT_OK;
    bert_node *quantize = bert_quantizer_of(node->inputs[0], node->inputs[1], bert_node_in(node, 2));
    if (!quantize) return BERT_OK;
    const bert_value *from = quantize->inputs[0];
    while (from->producer && moves_elements(from->producer)) from = from->producer->inputs[0];
    const bert_node *first = from->producer;
    if (!bert_is_single_dequantizer(first) || !bert_same_dequantizers(first, node)) return BERT_OK;
    bert_pattern pattern;
    bert_pattern_begin(&pattern, context, node);
    bert_pattern_add_shared(&pattern, quantize);
    return bert_pattern_forward(&pattern, quantize->inputs[0]);
}

bert_status bert_pass_requantized(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
