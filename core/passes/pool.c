/*
 * Pool: the mean of the tokens that a mask counts, and its length, as sentence-transformers' models end:
 *
 *   weights = Cast(Expand(Unsqueeze(mask, 2), shape of x));  y = sum(x * weights) / max(sum(weights), 1e-9)
 *   y / max(|y|, 1e-12)
 *
 * with sums over tokens, weights expanded or left to broadcasting, cast before or after that or not at all, the sum of
 * weights over integers or floats, a bound by Clip or Max, and a length by ReduceL2 or by squares. Pool weighs tokens
 * as the graph does, so any content of the mask will do.
 */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

#include <string.h>

/* ---- Parts of both --------------------------------------------------------------------------------------------------
 */

/* A reduction over one axis, counted from the front: what it is of; NULL for anything else. */
static bert_value *reduced(bert_pattern *pattern, const bert_value *value, bert_op_id id, int32_t axis, bool keeps) {
    bert_node *node = bert_value_made_by(value, id);
    int64_t axes[BERT_MAX_RANK];
    int32_t count = 0;
    if (!node || (BERT_NODE_INT(node, "keepdims", 1) != 0) != keeps || !bert_node_axes(node, axes, &count)) return NULL;
    if (count != 1 || bert_axis_from_front(axes[0], bert_value_rank(node->inputs[0])) != axis) return NULL;
    bert_pattern_add(pattern, node);
    return node->inputs[0];
}

/* max(value, *least): value; NULL for anything else. */
static bert_value *bounded(bert_pattern *pattern, const bert_value *value, double *least) {
    bert_node *node = bert_value_made_by(value, BERT_OP_Max);
    bert_value *inside = node ? bert_node_beside_scalar(node, false, least) : NULL;
    if (!node) {
        node = bert_value_made_by(value, BERT_OP_Clip);
        if (!node || bert_node_in(node, 2) || bert_attribute_find(node->attributes, node->attribute_count, "max"))
            return NULL;
        const bert_attribute *attribute =
            bert_attribute_of_kind(node->attributes, node->attribute_count, "min", BERT_ATTRIBUTE_FLOAT);
        if (attribute) *least = (double)attribute->value.f;
        if (attribute || bert_value_scalar(bert_node_in(node, 1), least)) inside = node->inputs[0];
    }
    if (inside) bert_pattern_add(pattern, node);
    return inside;
}

/* ---- The mean -------------------------------------------------------------------------------------------------------
 */

typedef struct masked_mean {
    bert_pattern pattern;
    bert_value *x, *mask;
    double epsilon;
} masked_mean;

/* Whether a value has x's first two dimensions, and another one only where all along it are the same element. */
static bool is_of_tokens(const masked_mean *m, const bert_value *value) {
    const int32_t rank = bert_value_rank(value);
    if (rank != 2 && rank != 3) return false;
    for (int32_t i = 0; i < 2; i++) {
        if (bert_value_dim(value, i) != bert_value_dim(m->x, i)) return false;
    }
    return rank == 2 || bert_value_dim(value, 2) == 1 || bert_value_dim(value, 2) == bert_value_dim(m->x, 2);
}

static bool is_integer(bert_dtype dtype) {
    return dtype == BERT_BOOL || dtype == BERT_UINT8 || dtype == BERT_INT8 || dtype == BERT_INT32 ||
           dtype == BERT_INT64;
}

/* A conversion that changes no number that a mask has. */
static bool keeps_numbers(const bert_node *cast) {
    const bert_dtype from = cast->inputs[0]->info.dtype, to = cast->outputs[0]->info.dtype;
    if (from == BERT_BOOL) return is_integer(to) || bert_dtype_is_float(to);
    return is_integer(from) && (bert_dtype_is_float(to) ||
                                (to != BERT_BOOL && is_integer(to) && bert_dtype_size(to) > bert_dtype_size(from)));
}

/* What weights [B, S], [B, S, 1] or [B, S, K] are made of: the last thing on the way that Pool takes for a mask. */
static bert_value *mask_behind(masked_mean *m, bert_value *value) {
    bert_value *found = NULL;
    while (is_of_tokens(m, value)) {
        const bool fits = is_integer(value->info.dtype) || value->info.dtype == m->x->info.dtype;
        if (bert_value_rank(value) == 2 && fits) found = value;
        bert_node *node = value->producer;
        if (!node || value->producer_output != 0) break;
        const bool adds_one = bert_node_is(node, BERT_OP_Unsqueeze) || bert_node_is(node, BERT_OP_Reshape);
        const int32_t rank = adds_one ? 2 : bert_value_rank(value);
        if (!adds_one && !bert_node_is(node, BERT_OP_Expand) &&
            !(bert_node_is(node, BERT_OP_Cast) && keeps_numbers(node)))
            break;
        if (bert_value_rank(node->inputs[0]) != rank || (adds_one && bert_value_rank(value) != 3)) break;
        if (adds_one && bert_value_dim(value, 2) != 1) break;
        bert_pattern_add_shared(&m->pattern, node);
        value = node->inputs[0];
    }
    return found;
}

/* What a conversion that changes no number is of; the value itself where there is none. */
static const bert_value *through_cast(bert_pattern *pattern, const bert_value *value) {
    bert_node *cast = bert_value_made_by(value, BERT_OP_Cast);
    if (!cast || !keeps_numbers(cast)) return value;
    bert_pattern_add(pattern, cast);
    return cast->inputs[0];
}

/* The sum of the mask for each sequence, as [B, 1] or [B, K], and no less than epsilon. */
static bool match_count(masked_mean *m, const bert_value *value) {
    const bert_value *sum = bounded(&m->pattern, through_cast(&m->pattern, value), &m->epsilon);
    if (!sum) return false;
    sum = through_cast(&m->pattern, sum);
    bert_value *weights = reduced(&m->pattern, sum, BERT_OP_ReduceSum, 1, false);
    const int32_t rank = weights ? 3 : 2;
    if (!weights) weights = reduced(&m->pattern, sum, BERT_OP_ReduceSum, 1, true);
    return weights && bert_value_rank(weights) == rank && mask_behind(m, weights) == m->mask;
}

/* Sum of x * weights, by the sum of weights. */
static bool match_mean(masked_mean *m, const bert_node *div) {
    const bert_value *product = reduced(&m->pattern, div->inputs[0], BERT_OP_ReduceSum, 1, false);
    bert_node *mul = product ? bert_value_made_by(product, BERT_OP_Mul) : NULL;
    if (!mul || bert_value_rank(product) != 3) return false;
    bert_pattern_add(&m->pattern, mul);
    const bert_pattern before = m->pattern;
    for (int side = 0; side < 2; side++) {
        m->pattern = before;
        m->x = mul->inputs[side];
        if (!bert_same_shape(m->x, product)) continue;
        m->mask = mask_behind(m, mul->inputs[1 - side]);
        if (m->mask && match_count(m, div->inputs[1])) return bert_same_shape(div->inputs[0], div->outputs[0]);
    }
    return false;
}

static bert_status rewrite_mean(bert_pass_context *context, masked_mean *m) {
    const bert_attribute attributes[] = {BERT_STRING_ATTRIBUTE("pooling", "mean"),
                                         BERT_FLOAT_ATTRIBUTE("epsilon", (float)m->epsilon)};
    bert_value *inputs[] = {[BERT_POOL_X] = m->x, [BERT_POOL_MASK] = m->mask};
    return bert_pattern_replace(&m->pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_BERTC_Pool),
                                                  .opset = 1,
                                                  .inputs = inputs,
                                                  .input_count = 2,
                                                  .attributes = attributes,
                                                  .attribute_count = 2},
                                NULL);
}

/* ---- The length -----------------------------------------------------------------------------------------------------
 */

/* |y|, as [B, 1]. */
static bool match_length(bert_pattern *pattern, const bert_value *value, const bert_value *y) {
    double exponent = 0;
    if (reduced(pattern, value, BERT_OP_ReduceL2, 1, true) == y) return true;
    bert_node *root = bert_value_made_by(value, BERT_OP_Sqrt);
    if (!root) return false;
    bert_pattern_add(pattern, root);
    if (reduced(pattern, root->inputs[0], BERT_OP_ReduceSumSquare, 1, true) == y) return true;
    const bert_value *squares = reduced(pattern, root->inputs[0], BERT_OP_ReduceSum, 1, true);
    bert_node *square = squares ? squares->producer : NULL;
    if (!square || squares->producer_output != 0) return false;
    bert_pattern_add(pattern, square);
    if (bert_node_is(square, BERT_OP_Mul)) return square->inputs[0] == y && square->inputs[1] == y;
    return bert_node_is(square, BERT_OP_Pow) && bert_node_beside_scalar(square, true, &exponent) == y && exponent == 2;
}

static bert_status match_normalization(bert_pass_context *context, bert_node *div, bert_node *pool) {
    bert_pattern pattern;
    double least = 0;
    bert_pattern_begin(&pattern, context, div);
    bert_pattern_add(&pattern, pool);
    const bert_value *divisor = div->inputs[1];
    bert_node *expand = bert_value_made_by(divisor, BERT_OP_Expand);
    if (expand && bert_value_rank(expand->inputs[0]) == 2) {
        bert_pattern_add(&pattern, expand);
        divisor = expand->inputs[0];
    }
    divisor = bounded(&pattern, divisor, &least);
    if (!divisor || !match_length(&pattern, divisor, pool->outputs[0]) || !bert_number_near(least, 1e-12, BERT_FLOAT) ||
        !bert_same_shape(div->inputs[0], div->outputs[0])) {
        bert_pass_missed(context, div, "is not y / max(|y|, 1e-12) of what is pooled");
        return BERT_OK;
    }
    if (!bert_pattern_closed(&pattern)) return BERT_OK;
    const bert_attribute attributes[] = {
        BERT_STRING_ATTRIBUTE("pooling", BERT_NODE_STRING(pool, "pooling", "")),
        BERT_FLOAT_ATTRIBUTE("epsilon", BERT_NODE_FLOAT(pool, "epsilon", BERT_POOL_EPSILON)),
        BERT_INT_ATTRIBUTE("normalize", 1)};
    return bert_pattern_replace(&pattern,
                                &(bert_node_spec){.op = pool->op,
                                                  .opset = pool->opset,
                                                  .inputs = pool->inputs,
                                                  .input_count = pool->input_count,
                                                  .attributes = attributes,
                                                  .attribute_count = 3},
                                NULL);
}

/* ---- All ------------------------------------------------------------------------------------------------------------
 */

static bert_status visit(bert_pass_context *context, bert_node *node) {
    if (!bert_node_is(node, BERT_OP_Div)) return BERT_OK;
    bert_node *pool = bert_value_made_by(node->inputs[0], BERT_OP_BERTC_Pool);
    if (pool) return match_normalization(context, node, pool);
    masked_mean m = {.x = NULL};
    bert_pattern_begin(&m.pattern, context, node);
    if (match_mean(&m, node)) return bert_pattern_closed(&m.pattern) ? rewrite_mean(context, &m) : BERT_OK;
    if (m.x) bert_pass_missed(context, node, "is not the mean of the tokens that one mask counts");
    return BERT_OK;
}

bert_status bert_pass_pool(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
