/*
 * What the passes share that make a QuantizedLinear: columns' constants, a scale of x that the file has, and what
 * follows a product.
 */
#ifndef BERT_PASSES_QUANTIZED_PRODUCT_H
#define BERT_PASSES_QUANTIZED_PRODUCT_H

#include "core/passes/match.h"

typedef struct bert_quantized_product {
    bert_pattern pattern; /**< Its root is the last node that was matched. */
    bert_value *x;
    bert_value *x_scale, *x_zero_point; /**< Static; else NULL. */
    bert_value *weight, *scale, *zero_point, *bias;
    bool transposed, weight_only;
    const char *activation;
    bert_value *y_zero_point; /**< The output is rounded to its type and this is added; NULL: it is float. */
} bert_quantized_product;

/** Says why the product stays as it is; false. */
bool bert_quantized_miss(const bert_quantized_product *m, const bert_node *node, const char *why);
/** Columns of the weight. */
bert_dim bert_quantized_width(const bert_quantized_product *m);
/**
 * A constant of one element or (unless its rank is over `most_rank`) one for each of n columns, shown as a scalar or
 * [n]; NULL in *out where it is neither.
 */
bert_status bert_quantized_per_column(bert_pass_context *context, bert_value *value, bert_dim n, int32_t most_rank,
                                      bert_value **out);
/**
 * Takes `q`, bytes with a constant scale and zero point (NULL: 0), as x: what a QuantizeLinear made them from, or
 * DequantizeLinear of them, which gives the same bytes again. *matched is false, and a near miss is recorded, when they
 * are not one constant each.
 */
bert_status bert_quantized_take_x(bert_quantized_product *m, const bert_node *node, bert_value *q, bert_value *scale,
                                  bert_value *zero_point, bool *matched);
/**
 * The scale of the product: (x's scale x m->scale), times `factor` unless that is 1, over that of the output where
 * there is one, each step rounded to the type of the scales. m->scale becomes it.
 */
bert_status bert_quantized_join_scales(bert_quantized_product *m, float factor, const bert_value *y_scale);
/** The pattern goes on to `node`, which reads its root. */
void bert_quantized_extend(bert_quantized_product *m, bert_node *node);
/** The node that alone reads the root's output and may become the root. */
bert_node *bert_quantized_next(const bert_quantized_product *m);
/** Takes bias and activation that follow, if the output is float, then puts the QuantizedLinear in the pattern's place.
 */
bert_status bert_quantized_finish(bert_quantized_product *m);

#endif
