/*
 * Constants of 8 bits in their float form: (bytes - zero point) x scale, as files spell it.
 *
 *   DequantizeLinear(W, scale, zero point), of either domain, per tensor or along an axis
 *   Mul(Cast(W), scale), Mul(Sub(Cast(W), zero point), scale), operands in any order
 */
#ifndef BERT_PASSES_DEQUANTIZED_H
#define BERT_PASSES_DEQUANTIZED_H

#include "core/passes/match.h"

enum { BERT_DEQUANTIZED_NODES = 6 };

/** A matrix [R, C]. Scale and zero point are constants [1 or R, 1 or C] that broadcast to it. */
typedef struct bert_dequantized {
    bert_value *bytes;                        /**< int8 or uint8; not NULL when something matched. */
    bert_value *scale;                        /**< Of the float form's type. */
    bert_value *zero_point;                   /**< Of the type of `bytes`; NULL: 0. */
    bert_node *nodes[BERT_DEQUANTIZED_NODES]; /**< What computes the float form; others may read them too. */
    int count;
} bert_dequantized;

/** Fills *out if `value` is the float form of a constant matrix; else out->bytes is NULL. */
bert_status bert_match_dequantized(bert_pass_context *context, const bert_value *value, bert_dequantized *out);
/**
 * Scale and zero point of a DequantizeLinear whose input is [..., C] in place of [R, C]: rows that were taken from a
 * matrix `bytes`. They are constants that the whole or the last axis shares; else out->bytes is NULL.
 */
bert_status bert_match_dequantized_rows(bert_pass_context *context, bert_node *dequantize, bert_value *bytes,
                                        bert_dequantized *out);

#endif
