/* QuantizeLinear and DequantizeLinear, of either domain, by one constant scale and zero point: who they are, and which
 * do the same. */
#ifndef BERT_PASSES_QUANTIZERS_H
#define BERT_PASSES_QUANTIZERS_H

#include "core/passes/match.h"

/** int8 or uint8. */
bool bert_is_byte(bert_dtype dtype);
/** Whether the value is a constant of one element. */
bool bert_is_single_constant(const bert_value *value);
/** A QuantizeLinear or a DequantizeLinear (NULL: false), whatever its scale. */
bool bert_is_quantize(const bert_node *node);
bool bert_is_dequantize(const bert_node *node);
/** The QuantizeLinear that made q with this scale and zero point (NULL: 0), constants of one element; else NULL. */
bert_node *bert_quantizer_of(const bert_value *q, const bert_value *scale, const bert_value *zero_point);
/**
 * Whether the node (or NULL) is a QuantizeLinear to bytes by a constant scale, of its input's type, and zero point of
 * one element.
 */
bool bert_is_single_quantizer(const bert_node *node);
/**
 * Whether the node (or NULL) is a DequantizeLinear of bytes by a constant scale, of its output's type, and zero point
 * of one element.
 */
bool bert_is_single_dequantizer(const bert_node *node);
/** Whether zero points (NULL: 0) and scales of two such nodes, and their bytes' types, are equal. */
bool bert_same_dequantizers(const bert_node *a, const bert_node *b);

#endif
