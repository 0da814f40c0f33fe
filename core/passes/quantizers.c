#include "core/passes/quantizers.h"

bool bert_is_byte(bert_dtype dtype) {
    return dtype == BERT_INT8 || dtype == BERT_UINT8;
}

bool bert_is_single_constant(const bert_value *value) {
    return value && value->info.constant && bert_constant_elements(value->info.constant) == 1;
}

bool bert_is_quantize(const bert_node *node) {
    return bert_node_is(node, BERT_OP_QuantizeLinear) || bert_node_is(node, BERT_OP_MS_QuantizeLinear);
}

bool bert_is_dequantize(const bert_node *node) {
    return bert_node_is(node, BERT_OP_DequantizeLinear) || bert_node_is(node, BERT_OP_MS_DequantizeLinear);
}

/* Both constants of one element; NULL: 0. */
static bool same_number(const bert_value *a, const bert_value *b) {
    double x = 0, y = 0;
    return (!a || bert_value_scalar(a, &x)) && (!b || bert_value_scalar(b, &y)) && x == y;
}

bert_node *bert_quantizer_of(const bert_value *q, const bert_value *scale, const bert_value *zero_point) {
    bert_node *node = q->producer; /* of one output */
    if (!bert_is_quantize(node) || node->inputs[0]->info.dtype != scale->info.dtype) return NULL;
    return same_number(node->inputs[1], scale) && same_number(bert_node_in(node, 2), zero_point) ? node : NULL;
}

static bool has_single_scale(const bert_node *node) {
    const bert_value *zero = bert_node_in(node, 2);
    return bert_is_single_constant(node->inputs[1]) && (!zero || bert_is_single_constant(zero)) &&
           !BERT_NODE_INT(node, "block_size", 0);
}

bool bert_is_single_quantizer(const bert_node *node) {
    return bert_is_quantize(node) && bert_is_byte(node->outputs[0]->info.dtype) && has_single_scale(node) &&
           node->inputs[1]->info.dtype == node->inputs[0]->info.dtype;
}

bool bert_is_single_dequantizer(const bert_node *node) {
    if (!bert_is_dequantize(node) || !bert_is_byte(node->inputs[0]->info.dtype)) return false;
    return has_single_scale(node) && node->inputs[1]->info.dtype == node->outputs[0]->info.dtype;
}

bool bert_same_dequantizers(const bert_node *a, const bert_node *b) {
    return a->inputs[0]->info.dtype == b->inputs[0]->info.dtype && same_number(a->inputs[1], b->inputs[1]) &&
           same_number(bert_node_in(a, 2), bert_node_in(b, 2));
}
