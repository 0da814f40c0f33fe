/*
 * QuantizedLinear from products of floats whose weight is bytes in their float form (dequantized.h).
 *
 *   MatMul(x, W') or Gemm(x, W', b), W' such a form or the Transpose of one; then Add of a constant vector, and an
 *   activation
 *
 * Where x is the float form of bytes, too (DequantizeLinear with a constant scale, of what QuantizeLinear made, as
 * static graphs have it), the product is one of integers; else x stays as it is.
 */
#include "core/base/error.h"
#include "core/passes/dequantized.h"
#include "core/passes/list.h"
#include "core/passes/quantized_product.h"
#include "core/passes/quantizers.h"

/* ---- The weight ----------------------------------------------------------------------------------------------------
 */

/* The constant [1 or R, 1 or C] as a scalar or a list of columns; NULL in *out where it differs along the rows. */
static bert_status of_columns(bert_quantized_product *m, bert_value *value, bert_value **out) {
    *out = NULL;
    if (bert_value_dim(value, m->transposed ? 1 : 0) != 1) return BERT_OK;
    const int64_t columns = bert_constant_elements(value->info.constant);
    return bert_build_shown(m->pattern.context, value, columns == 1 ? 0 : 1, &columns, out);
}

static bert_status match_weight(bert_quantized_product *m, const bert_node *node, bool *matched) {
    bert_value *value = node->inputs[1];
    bert_node *transpose = bert_value_made_by(value, BERT_OP_Transpose);
    bert_dequantized of;
    int32_t perm[BERT_MAX_RANK];
    *matched = false;
    m->transposed = BERT_NODE_INT(node, "transB", 0) != 0;
    if (transpose && bert_node_permutation(transpose, perm) && bert_value_rank(value) == 2 && perm[0] == 1) {
        bert_pattern_add_shared(&m->pattern, transpose);
        m->transposed = !m->transposed;
        value = transpose->inputs[0];
    }
    BERT_TRY(bert_match_dequantized(m->pattern.context, value, &of));
    if (!of.bytes) return BERT_OK;
    for (int i = 0; i < of.count; i++) bert_pattern_add_shared(&m->pattern, of.nodes[i]);
    m->weight = of.bytes;
    BERT_TRY(of_columns(m, of.scale, &m->scale));
    if (of.zero_point) BERT_TRY(of_columns(m, of.zero_point, &m->zero_point));
    *matched = m->scale && !of.zero_point == !m->zero_point;
    if (!*matched) bert_quantized_miss(m, node, "the scale of its weight differs along what is summed");
    return BERT_OK;
}

/* ---- x and the rest ------------------------------------------------------------------------------------------------
 */

static bert_status match_x(bert_quantized_product *m, const bert_node *node, bool *matched) {
    bert_node *dequantize = node->inputs[0]->producer;
    m->x = node->inputs[0];
    *matched = m->x->info.dtype == m->scale->info.dtype && !m->x->info.constant;
    m->weight_only = true;
    if (!*matched || !bert_is_dequantize(dequantize) || dequantize->inputs[1]->info.dtype != m->x->info.dtype)
        return BERT_OK;
    bool taken = false;
    bert_quantized_product with_bytes = *m;
    bert_pattern_add_shared(&with_bytes.pattern, dequantize);
    BERT_TRY(bert_quantized_take_x(&with_bytes, node, dequantize->inputs[0], dequantize->inputs[1],
                                   bert_node_in(dequantize, 2), &taken));
    if (!taken) return BERT_OK;
    *m = with_bytes;
    m->weight_only = false;
    return BERT_OK;
}

static bert_status match_gemm(bert_quantized_product *m, const bert_node *node, bool *matched) {
    const float beta = BERT_NODE_FLOAT(node, "beta", 1);
    const bert_dim width = bert_quantized_width(m);
    bert_value *addend = beta == 0 ? NULL : bert_node_in(node, 2);
    *matched =
        BERT_NODE_INT(node, "transA", 0) == 0 && BERT_NODE_FLOAT(node, "alpha", 1) == 1 && (!addend || beta == 1);
    if (!*matched) {
        bert_quantized_miss(m, node, "its input is transposed, or its operands are scaled");
        return BERT_OK;
    }
    if (!addend) return BERT_OK;
    *matched = addend->info.constant && bert_value_rank(addend) >= 1 && bert_value_dim(addend, -1) == width &&
               bert_constant_elements(addend->info.constant) == width;
    if (!*matched) bert_quantized_miss(m, node, "its addend is not a constant vector as long as a row");
    return *matched ? bert_build_shown(m->pattern.context, addend, 1, &width, &m->bias) : BERT_OK;
}

static bert_status visit(bert_pass_context *context, bert_node *node) {
    bert_quantized_product m = {.activation = "none"};
    bool matched = false;
    if (!bert_node_is(node, BERT_OP_MatMul) && !bert_node_is(node, BERT_OP_Gemm)) return BERT_OK;
    bert_pattern_begin(&m.pattern, context, node);
    BERT_TRY(match_weight(&m, node, &matched));
    if (matched) BERT_TRY(match_x(&m, node, &matched));
    if (matched && bert_node_is(node, BERT_OP_Gemm)) BERT_TRY(match_gemm(&m, node, &matched));
    if (!matched || bert_value_rank(m.x) < 2) return BERT_OK;
    if (!m.weight_only) BERT_TRY(bert_quantized_join_scales(&m, 1, NULL));
    return bert_quantized_finish(&m);
}

bert_status bert_pass_dequantized_linear(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
