/*
 * QuantizedLinear: a product of a tensor that is quantized on the way and a constant weight of 8 bits.
 *
 *   DynamicQuantizeLinear(x) -> q, sx, zx
 *   MatMulInteger(q, W, zx, zw), Cast to the type of x, times sx and the scale of W, in any order, as one factor or two
 *   com.microsoft's MatMulIntegerToFloat(q, W, sx, sw, zx, zw, bias), or DynamicQuantizeMatMul(x, W, sw, zw, bias)
 *   then Add of a constant vector, and Gelu, Tanh, Relu or QuickGelu
 *
 * DynamicQuantizeLinear may have other readers, as that of query, key and value has.
 */
#include "core/base/error.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

#include "core/graph/canonical.h"

#include <string.h>

typedef struct quantized_linear {
    bert_pattern pattern;
    bert_node *quantize; /* NULL where x is not quantized by a node of its own */
    bert_value *x, *weight, *scale, *zero_point, *bias;
    const char *activation;
} quantized_linear;

/* ---- Constants of a column ------------------------------------------------------------------------------------------
 */

/*
 * A constant of one element or (unless the rank is over `most_rank`) one for each of n columns, shown as a scalar or
 * [n]; NULL in *out where it is neither.
 */
static bert_status per_column(bert_pass_context *context, bert_value *value, bert_dim n, int32_t most_rank,
                              bert_value **out) {
    *out = NULL;
    const bert_constant *constant = value->info.constant;
    if (!constant || constant->rank > most_rank) return BERT_OK;
    const int64_t elements = bert_constant_elements(constant);
    const bool single = elements == 1;
    if (!single && (elements != n || constant->dims[constant->rank - 1] != n)) return BERT_OK;
    if (constant->rank == (single ? 0 : 1)) {
        *out = value;
        return BERT_OK;
    }
    const bert_constant *shown = NULL;
    BERT_TRY(bert_graph_add_constant(context->graph, constant->dtype, single ? 0 : 1, &n, constant->data,
                                     constant->bytes, constant->file, &shown, context->error));
    return bert_graph_add_constant_value(context->graph, NULL, shown, out, context->error);
}

static bert_dim width(const quantized_linear *m) {
    return bert_value_dim(m->weight, 1);
}

/* ---- The product ----------------------------------------------------------------------------------------------------
 */

/* Says why the product stays as it is. */
static bool miss(const quantized_linear *m, const bert_node *node, const char *why) {
    bert_pass_missed(m->pattern.context, node, "%s", why);
    return false;
}

static bool match_weight(quantized_linear *m, const bert_node *node) {
    m->weight = node->inputs[1];
    const bert_constant *constant = m->weight->info.constant;
    if (!constant) return false;
    if (constant->rank != 2) return miss(m, node, "its weight is not a matrix of rank 2");
    return true;
}

/* Whether `node` reads what a DynamicQuantizeLinear gives: the integers, the zero point, and the scale if it has one.
 */
static bool match_quantized(quantized_linear *m, bert_node *node, int32_t zero_point, int32_t scale) {
    bert_node *quantize = bert_value_made_by(node->inputs[0], BERT_OP_DynamicQuantizeLinear);
    if (!quantize) return miss(m, node, "its first operand is not quantized by a DynamicQuantizeLinear");
    bert_value *zero = bert_node_in(node, zero_point);
    if (!zero || zero != bert_node_out(quantize, 2))
        return miss(m, node, "the zero point of its first operand is another one");
    if (scale >= 0 && bert_node_in(node, scale) != bert_node_out(quantize, 1))
        return miss(m, node, "the scale of its first operand is another one");
    m->quantize = quantize;
    m->x = quantize->inputs[0];
    bert_pattern_add_shared(&m->pattern, quantize);
    return true;
}

/* Scale (where the node has one), zero point and bias among the node's inputs; -1: none. */
static bert_status match_parameters(quantized_linear *m, const bert_node *node, int32_t scale, int32_t zero_point,
                                    int32_t bias, bool *matched) {
    bert_pass_context *context = m->pattern.context;
    bert_value *given_zero = bert_node_in(node, zero_point), *given_bias = bias < 0 ? NULL : bert_node_in(node, bias);
    *matched = false;
    if (scale >= 0) {
        if (node->inputs[scale]->info.dtype != m->x->info.dtype) return BERT_OK;
        BERT_TRY(per_column(context, node->inputs[scale], width(m), BERT_MAX_RANK, &m->scale));
        if (!m->scale) return BERT_OK;
    }
    if (given_zero) {
        BERT_TRY(per_column(context, given_zero, width(m), BERT_MAX_RANK, &m->zero_point));
        if (!m->zero_point) {
            miss(m, node, "the zero point of its weight is no constant with an element for each column");
            return BERT_OK;
        }
    }
    if (given_bias) {
        if (!bert_is_constant_vector(given_bias, width(m)) || given_bias->info.dtype != m->x->info.dtype)
            return BERT_OK;
        m->bias = given_bias;
    }
    *matched = true;
    return BERT_OK;
}

/* ---- What follows it ------------------------------------------------------------------------------------------------
 */

static bert_node *next(const quantized_linear *m) {
    bert_node *reader = bert_value_sole_reader(m->pattern.root->outputs[0]);
    return reader && reader->block == m->pattern.root->block ? reader : NULL;
}

static void extend(quantized_linear *m, bert_node *node) {
    bert_node *old = m->pattern.root;
    m->pattern.nodes[0] = m->pattern.root = node;
    bert_pattern_add(&m->pattern, old);
}

/* A constant that a product may be multiplied by: a scale of the weight. */
static bert_status match_scale(quantized_linear *m, bert_value *value) {
    if (value->info.dtype != m->x->info.dtype) return BERT_OK;
    return per_column(m->pattern.context, value, width(m), bert_value_rank(m->x), &m->scale);
}

/* The node that multiplies the root by `other`, and what it is: the scale of x, that of W, or the product of both. */
static bert_status match_factor(quantized_linear *m, bool *of_x) {
    bert_node *mul = next(m);
    if (!bert_node_is(mul, BERT_OP_Mul)) return BERT_OK;
    bert_value *other = bert_node_beside(mul, m->pattern.root->outputs[0]);
    const bert_value *x_scale = bert_node_out(m->quantize, 1);
    bert_node *both = bert_value_made_by(other, BERT_OP_Mul);
    bert_value *w_scale = both && x_scale ? bert_node_beside(both, x_scale) : NULL;
    if (x_scale && other == x_scale && !*of_x) {
        *of_x = true;
        extend(m, mul);
    } else if (w_scale && !*of_x && !m->scale) {
        BERT_TRY(match_scale(m, w_scale));
        if (!m->scale) return BERT_OK;
        *of_x = true;
        extend(m, mul);
        bert_pattern_add_shared(&m->pattern, both);
    } else if (!m->scale) {
        BERT_TRY(match_scale(m, other));
        if (m->scale) extend(m, mul);
    }
    return BERT_OK;
}

/* Cast and the scales after a MatMulInteger. */
static bert_status match_scales(quantized_linear *m, bool *matched) {
    bert_node *product = m->pattern.root, *cast = next(m);
    bool of_x = false;
    *matched = false;
    if (!bert_node_is(cast, BERT_OP_Cast) || cast->outputs[0]->info.dtype != m->x->info.dtype) {
        miss(m, product, "its result does not go to a Cast to the type that was quantized");
        return BERT_OK;
    }
    extend(m, cast);
    BERT_TRY(match_factor(m, &of_x));
    if (!of_x || !m->scale) BERT_TRY(match_factor(m, &of_x));
    *matched = of_x && m->scale;
    if (!*matched) miss(m, product, "it is not multiplied by the scale of its input and a constant one of its weight");
    return BERT_OK;
}

static bert_status match_added_bias(quantized_linear *m) {
    bert_node *add = next(m);
    if (m->bias || !bert_node_is(add, BERT_OP_Add)) return BERT_OK;
    bert_value *other = bert_node_beside(add, m->pattern.root->outputs[0]);
    bert_value *bias = NULL;
    if (!other || other->info.dtype != m->x->info.dtype || !other->info.constant || other->info.constant->rank < 1 ||
        bert_constant_elements(other->info.constant) != width(m))
        return BERT_OK;
    BERT_TRY(per_column(m->pattern.context, other, width(m), bert_value_rank(m->x), &bias));
    if (!bias || bert_value_rank(bias) != 1) return BERT_OK;
    m->bias = bias;
    extend(m, add);
    return BERT_OK;
}

static void match_activation(quantized_linear *m) {
    bert_node *node = next(m);
    const char *activation = node && node->input_count == 1 ? bert_activation_of(node) : NULL;
    if (!activation) return;
    m->activation = activation;
    extend(m, node);
}

/* ---- The rewrite ----------------------------------------------------------------------------------------------------
 */

static bert_status rewrite(quantized_linear *m) {
    bert_value *inputs[] = {[BERT_LINEAR_X] = m->x,
                            [BERT_QUANTIZED_LINEAR_WEIGHT(0)] = m->weight,
                            [BERT_QUANTIZED_LINEAR_SCALE(0)] = m->scale,
                            [BERT_QUANTIZED_LINEAR_ZERO_POINT(0)] = m->zero_point,
                            [BERT_QUANTIZED_LINEAR_BIAS(0)] = m->bias};
    bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("parts", 1), BERT_STRING_ATTRIBUTE("activation", m->activation)};
    return bert_pattern_replace(&m->pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_BERTC_QuantizedLinear),
                                                  .opset = 1,
                                                  .inputs = inputs,
                                                  .input_count = sizeof inputs / sizeof *inputs,
                                                  .outputs = &(bert_value *){NULL},
                                                  .output_count = 1,
                                                  .attributes = attributes,
                                                  .attribute_count = 2},
                                NULL);
}

static bert_status match_product(quantized_linear *m, bert_node *node, bool *matched) {
    *matched = false;
    if (!match_weight(m, node)) return BERT_OK;
    switch (node->op->id) {
    case BERT_OP_MatMulInteger:
        if (!match_quantized(m, node, 2, -1)) return BERT_OK;
        BERT_TRY(match_parameters(m, node, -1, 3, -1, matched));
        if (*matched) BERT_TRY(match_scales(m, matched));
        return BERT_OK;
    case BERT_OP_MS_MatMulIntegerToFloat:
        if (!match_quantized(m, node, 4, 2)) return BERT_OK;
        return match_parameters(m, node, 3, 5, 6, matched);
    default: /* DynamicQuantizeMatMul */
        m->x = node->inputs[0];
        return match_parameters(m, node, 2, 3, 4, matched);
    }
}

static bert_status visit(bert_pass_context *context, bert_node *node) {
    if (!bert_node_is(node, BERT_OP_MatMulInteger) && !bert_node_is(node, BERT_OP_MS_MatMulIntegerToFloat) &&
        !bert_node_is(node, BERT_OP_MS_DynamicQuantizeMatMul))
        return BERT_OK;
    quantized_linear m = {.activation = "none"};
    bool matched = false;
    bert_pattern_begin(&m.pattern, context, node);
    BERT_TRY(match_product(&m, node, &matched));
    if (!matched || bert_value_rank(m.x) < 2 || m.x->info.constant) return BERT_OK;
    BERT_TRY(match_added_bias(&m));
    match_activation(&m);
    return bert_pattern_closed(&m.pattern) ? rewrite(&m) : BERT_OK;
}

bert_status bert_pass_quantized_linear(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
