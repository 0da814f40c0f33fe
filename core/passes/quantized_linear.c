/*
 * QuantizedLinear: a product of a tensor that is quantized on the way and a constant weight of 8 bits.
 *
 *   DynamicQuantizeLinear(x) -> q, sx, zx, or QuantizeLinear(x, sx, zx) -> q with a constant scale
 *   MatMulInteger(q, W, zx, zw), Cast to the type of x, times sx and the scale of W, in any order, as one factor or two
 *   com.microsoft's MatMulIntegerToFloat(q, W, sx, sw, zx, zw, bias), or DynamicQuantizeMatMul(x, W, sw, zw, bias)
 *   then Add of a constant vector, and Gelu, Tanh, Relu or QuickGelu (SiLU)
 *   QLinearMatMul, and com.microsoft's QGemm: of constant scales; a QuantizeLinear in units of 1 follows where the
 *   result is bytes
 *
 * DynamicQuantizeLinear may have other readers, as that of query, key and value has.
 */
#include "core/base/error.h"
#include "core/passes/list.h"
#include "core/passes/quantized_product.h"
#include "core/passes/quantizers.h"

typedef struct integer_product {
    bert_quantized_product product;
    bert_node *quantize; /* The DynamicQuantizeLinear, where there is one. */
} integer_product;

/* Where an operator's inputs stand; -1: it has none. The first operand is input 0. */
typedef struct places {
    int32_t x_scale, x_zero_point, weight, scale, zero_point, bias, y_scale, y_zero_point;
} places;

static bool places_of(const bert_node *node, places *out) {
    switch (node->op->id) {
    case BERT_OP_MatMulInteger:
        *out = (places){-1, 2, 1, -1, 3, -1, -1, -1};
        return true;
    case BERT_OP_MS_MatMulIntegerToFloat:
        *out = (places){2, 4, 1, 3, 5, 6, -1, -1};
        return true;
    case BERT_OP_MS_DynamicQuantizeMatMul:
        *out = (places){-1, -1, 1, 2, 3, 4, -1, -1};
        return true;
    case BERT_OP_QLinearMatMul:
        *out = (places){1, 2, 3, 4, 5, -1, 6, 7};
        return true;
    case BERT_OP_MS_QGemm:
        *out = (places){1, 2, 3, 4, 5, 6, 7, 8};
        return true;
    default:
        return false;
    }
}

static bert_value *input_at(const bert_node *node, int32_t place) {
    return place < 0 ? NULL : bert_node_in(node, place);
}

/* ---- The first operand ---------------------------------------------------------------------------------------------
 */

/* Whether the node reads what the DynamicQuantizeLinear gives: its zero point, and its scale where it has one. */
static bool match_dynamic(integer_product *m, const bert_node *node, const places *at, bert_node *quantize) {
    const bert_value *zero = input_at(node, at->x_zero_point);
    if (!zero || zero != bert_node_out(quantize, 2))
        return bert_quantized_miss(&m->product, node, "the zero point of its first operand is another one");
    if (at->x_scale >= 0 && input_at(node, at->x_scale) != bert_node_out(quantize, 1))
        return bert_quantized_miss(&m->product, node, "the scale of its first operand is another one");
    m->quantize = quantize;
    m->product.x = quantize->inputs[0];
    bert_pattern_add_shared(&m->product.pattern, quantize);
    return true;
}

static bert_status match_x(integer_product *m, const bert_node *node, const places *at, bool *matched) {
    bert_value *q = node->inputs[0], *scale = input_at(node, at->x_scale);
    bert_node *quantize = bert_value_made_by(q, BERT_OP_DynamicQuantizeLinear);
    *matched = true;
    if (at->x_zero_point < 0) { /* DynamicQuantizeMatMul quantizes it itself */
        m->product.x = q;
        return BERT_OK;
    }
    if (quantize) {
        *matched = match_dynamic(m, node, at, quantize);
        return BERT_OK;
    }
    if (!scale) { /* MatMulInteger: that of the QuantizeLinear, or 1, by which bytes of any maker are whole numbers */
        if (bert_is_quantize(q->producer))
            scale = q->producer->inputs[1];
        else
            BERT_TRY(bert_build_float(m->product.pattern.context, 1, &scale));
    }
    return bert_quantized_take_x(&m->product, node, q, scale, input_at(node, at->x_zero_point), matched);
}

/* ---- The weight and what belongs to it -----------------------------------------------------------------------------
 */

static bool match_weight(bert_quantized_product *m, const bert_node *node, const places *at) {
    m->weight = node->inputs[at->weight];
    m->transposed = BERT_NODE_INT(node, "transB", 0) != 0;
    const bert_constant *constant = m->weight->info.constant;
    if (!constant) return false;
    if (constant->rank != 2) return bert_quantized_miss(m, node, "its weight is not a matrix of rank 2");
    return BERT_NODE_INT(node, "transA", 0) == 0 || bert_quantized_miss(m, node, "its first operand is transposed");
}

/* A bias of floats, or (of QGemm) one that is part of the sums. */
static bert_status match_own_bias(bert_quantized_product *m, bert_value *bias, bool *matched) {
    const bert_dim width = bert_quantized_width(m);
    const bert_constant *constant = bias->info.constant;
    *matched = constant && constant->rank >= 1 && bert_constant_elements(constant) == width &&
               constant->dims[constant->rank - 1] == width &&
               (constant->dtype == BERT_INT32 || constant->dtype == m->x->info.dtype);
    return *matched ? bert_build_shown(m->pattern.context, bias, 1, &width, &m->bias) : BERT_OK;
}

/* Scale (where the node has one), zero point and bias; what the result is quantized with. */
static bert_status match_parameters(bert_quantized_product *m, const bert_node *node, const places *at, bool *matched) {
    bert_pass_context *context = m->pattern.context;
    const bert_dim width = bert_quantized_width(m);
    bert_value *scale = input_at(node, at->scale), *zero = input_at(node, at->zero_point);
    bert_value *bias = input_at(node, at->bias), *y_scale = input_at(node, at->y_scale);
    *matched = false;
    if (scale) {
        if (scale->info.dtype != m->x->info.dtype) return BERT_OK;
        BERT_TRY(bert_quantized_per_column(context, scale, width, BERT_MAX_RANK, &m->scale));
        if (!m->scale) return BERT_OK;
    }
    if (zero) {
        BERT_TRY(bert_quantized_per_column(context, zero, width, BERT_MAX_RANK, &m->zero_point));
        if (!m->zero_point) {
            bert_quantized_miss(m, node, "the zero point of its weight is no constant with an element for each column");
            return BERT_OK;
        }
    }
    *matched = true;
    if (bias) BERT_TRY(match_own_bias(m, bias, matched));
    if (!*matched || !y_scale) return BERT_OK;
    m->y_zero_point = input_at(node, at->y_zero_point);
    *matched =
        bert_is_single_constant(y_scale) && bert_is_single_constant(m->y_zero_point) && m->x->info.dtype == BERT_FLOAT;
    if (!*matched) bert_quantized_miss(m, node, "its result has no constant scale and zero point");
    return BERT_OK;
}

/* ---- Cast and scales after a MatMulInteger -------------------------------------------------------------------------
 */

/* A constant that a product may be multiplied by: a scale of the weight. */
static bert_status match_scale(bert_quantized_product *m, bert_value *value) {
    if (value->info.dtype != m->x->info.dtype) return BERT_OK;
    return bert_quantized_per_column(m->pattern.context, value, bert_quantized_width(m), bert_value_rank(m->x),
                                     &m->scale);
}

/* The node that multiplies the root by `other`, and what it is: the scale of x, that of W, or the product of both. */
static bert_status match_factor(integer_product *m, bool *of_x) {
    bert_quantized_product *p = &m->product;
    bert_node *mul = bert_quantized_next(p);
    if (!bert_node_is(mul, BERT_OP_Mul)) return BERT_OK;
    bert_value *other = bert_node_beside(mul, p->pattern.root->outputs[0]);
    const bert_value *x_scale = m->quantize ? bert_node_out(m->quantize, 1) : NULL;
    bert_node *both = bert_value_made_by(other, BERT_OP_Mul);
    bert_value *w_scale = both && x_scale ? bert_node_beside(both, x_scale) : NULL;
    if (x_scale && other == x_scale && !*of_x) {
        *of_x = true;
        bert_quantized_extend(p, mul);
    } else if (w_scale && !*of_x && !p->scale) {
        BERT_TRY(match_scale(p, w_scale));
        if (!p->scale) return BERT_OK;
        *of_x = true;
        bert_quantized_extend(p, mul);
        bert_pattern_add_shared(&p->pattern, both);
    } else if (!p->scale) {
        BERT_TRY(match_scale(p, other));
        if (p->scale) bert_quantized_extend(p, mul);
    }
    return BERT_OK;
}

/* Cast and the scales after a MatMulInteger. With a static scale of x there is one factor, which holds it. */
static bert_status match_scales(integer_product *m, bool *matched) {
    bert_quantized_product *p = &m->product;
    bert_node *product = p->pattern.root, *cast = bert_quantized_next(p);
    bool of_x = p->x_scale != NULL;
    *matched = false;
    if (!bert_node_is(cast, BERT_OP_Cast) || cast->outputs[0]->info.dtype != p->x->info.dtype) {
        bert_quantized_miss(p, product, "its result does not go to a Cast to the type that was quantized");
        return BERT_OK;
    }
    bert_quantized_extend(p, cast);
    BERT_TRY(match_factor(m, &of_x));
    if (!of_x || !p->scale) BERT_TRY(match_factor(m, &of_x));
    *matched = of_x && p->scale;
    if (!*matched)
        bert_quantized_miss(p, product,
                            "it is not multiplied by the scale of its input and a constant one of its weight");
    return BERT_OK;
}

/* ---- All of it -----------------------------------------------------------------------------------------------------
 */

static bert_status visit(bert_pass_context *context, bert_node *node) {
    integer_product m = {.product = {.activation = "none"}};
    bert_quantized_product *p = &m.product;
    places at;
    bool matched = false;
    if (!places_of(node, &at)) return BERT_OK;
    bert_pattern_begin(&p->pattern, context, node);
    if (!match_weight(p, node, &at)) return BERT_OK;
    BERT_TRY(match_x(&m, node, &at, &matched));
    if (!matched || bert_value_rank(p->x) < 2 || p->x->info.constant) return BERT_OK;
    BERT_TRY(match_parameters(p, node, &at, &matched));
    if (matched && at.scale < 0) BERT_TRY(match_scales(&m, &matched));
    if (!matched) return BERT_OK;
    if (p->x_scale && at.scale >= 0)
        BERT_TRY(bert_quantized_join_scales(p, BERT_NODE_FLOAT(node, "alpha", 1), input_at(node, at.y_scale)));
    return bert_quantized_finish(p);
}

bert_status bert_pass_quantized_linear(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
