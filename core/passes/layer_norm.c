/*
 * LayerNormalization, as exporters wrote it before ONNX had the operator:
 *
 *   dev = x - mean(x);  y = dev / sqrt(mean(dev^2) + epsilon) * gamma + beta
 *
 * with Pow(dev, 2) or dev * dev, Sqrt or Pow(., 0.5), a division or a product with the reciprocal, Casts on the way to
 * the variance (16-bit models compute it in float32, as the operator does), and operands in any order.
 */
#include "core/passes/list.h"
#include "core/passes/match.h"

typedef struct layer_norm {
    bert_pattern pattern;
    bert_value *x, *gamma, *beta;
    double epsilon;
} layer_norm;

static bert_value *through_casts(layer_norm *m, bert_value *value) {
    for (bert_node *cast; (cast = bert_value_made_by(value, BERT_OP_Cast)); value = cast->inputs[0]) {
        if (!bert_dtype_is_float(cast->inputs[0]->info.dtype) || !bert_dtype_is_float(value->info.dtype)) break;
        bert_pattern_add(&m->pattern, cast);
    }
    return value;
}

/* A mean over the last dimension that stays as a dimension of 1: what it is of; NULL for anything else. */
static bert_value *mean_of(layer_norm *m, bert_value *value) {
    bert_node *node = bert_value_made_by(value, BERT_OP_ReduceMean);
    int64_t axes[BERT_MAX_RANK];
    int32_t count = 0;
    if (!node || BERT_NODE_INT(node, "keepdims", 1) != 1 || !bert_node_axes(node, axes, &count)) return NULL;
    int32_t rank = bert_value_rank(node->inputs[0]);
    if (count != 1 || rank < 1 || bert_axis_from_front(axes[0], rank) != rank - 1) return NULL;
    bert_pattern_add(&m->pattern, node);
    return through_casts(m, node->inputs[0]);
}

/* dev = x - mean(x): sets x. */
static bool match_deviation(layer_norm *m, bert_value *value) {
    bert_node *node = bert_value_made_by(value, BERT_OP_Sub);
    if (!node) return false;
    bert_value *x = through_casts(m, node->inputs[0]);
    if (mean_of(m, through_casts(m, node->inputs[1])) != x) return false;
    if (m->x && m->x != x) return false;
    bert_pattern_add(&m->pattern, node);
    m->x = x;
    return true;
}

/* dev^2: its root. */
static bert_value *square_of(layer_norm *m, bert_value *value) {
    double exponent = 0;
    bert_node *node = bert_value_made_by(value, BERT_OP_Mul);
    if (node && node->inputs[0] == node->inputs[1]) {
        bert_pattern_add(&m->pattern, node);
        return through_casts(m, node->inputs[0]);
    }
    node = bert_value_made_by(value, BERT_OP_Pow);
    bert_value *base = node ? bert_node_beside_scalar(node, true, &exponent) : NULL;
    if (!base || exponent != 2) return NULL;
    bert_pattern_add(&m->pattern, node);
    return through_casts(m, base);
}

/* sqrt(variance + epsilon): the variance. */
static bert_value *root_of(layer_norm *m, bert_value *value) {
    double exponent = 0;
    bert_node *node = bert_value_made_by(value, BERT_OP_Sqrt);
    bert_value *inside = node ? node->inputs[0] : NULL;
    if (!node) {
        node = bert_value_made_by(value, BERT_OP_Pow);
        inside = node ? bert_node_beside_scalar(node, true, &exponent) : NULL;
        if (!inside || exponent != 0.5) return NULL;
    }
    bert_pattern_add(&m->pattern, node);
    node = bert_value_made_by(inside, BERT_OP_Add);
    bert_value *variance = node ? bert_node_beside_scalar(node, false, &m->epsilon) : NULL;
    if (!variance || m->epsilon < 0) return NULL;
    bert_pattern_add(&m->pattern, node);
    return variance;
}

/* 1 / value: value. */
static bert_value *reciprocal_of(layer_norm *m, bert_value *value) {
    double one = 0;
    bert_node *node = bert_value_made_by(value, BERT_OP_Reciprocal);
    if (!node) {
        node = bert_value_made_by(value, BERT_OP_Div);
        if (!node || !bert_value_scalar(node->inputs[0], &one) || one != 1) return NULL;
        bert_pattern_add(&m->pattern, node);
        return through_casts(m, node->inputs[1]);
    }
    bert_pattern_add(&m->pattern, node);
    return through_casts(m, node->inputs[0]);
}

/* dev / sqrt(variance + epsilon), the variance being the mean of dev^2. */
static bool match_quotient(layer_norm *m, bert_value *dividend, bert_value *divisor) {
    bert_value *variance = root_of(m, divisor);
    if (!variance || !match_deviation(m, dividend)) return false;
    bert_value *square = mean_of(m, through_casts(m, variance));
    bert_value *deviation = square ? square_of(m, square) : NULL;
    return deviation && (deviation == dividend || match_deviation(m, deviation));
}

/* The normalized value, before gamma. */
static bool match_normalized(layer_norm *m, bert_value *value) {
    value = through_casts(m, value);
    bert_node *node = bert_value_made_by(value, BERT_OP_Div);
    if (node) {
        bert_pattern_add(&m->pattern, node);
        return match_quotient(m, through_casts(m, node->inputs[0]), through_casts(m, node->inputs[1]));
    }
    node = bert_value_made_by(value, BERT_OP_Mul);
    if (!node) return false;
    bert_pattern_add(&m->pattern, node);
    for (int side = 0; side < 2; side++) {
        bert_pattern before = m->pattern;
        bert_value *divisor = reciprocal_of(m, node->inputs[side]);
        if (divisor && match_quotient(m, through_casts(m, node->inputs[1 - side]), divisor)) return true;
        m->pattern = before;
    }
    return false;
}

static bool is_vector(const bert_value *value) {
    return bert_value_rank(value) == 1 && value->info.constant && bert_dtype_is_float(value->info.dtype);
}

/* gamma times the normalized value. */
static bool match_scaled(layer_norm *m, bert_node *mul) {
    for (int side = 0; side < 2; side++) {
        if (!is_vector(mul->inputs[side]) || mul->inputs[1 - side]->info.constant) continue;
        bert_pattern_add(&m->pattern, mul);
        m->gamma = mul->inputs[side];
        return match_normalized(m, mul->inputs[1 - side]);
    }
    return false;
}

static bool fits(const layer_norm *m, const bert_node *root) {
    bert_dtype dtype = root->outputs[0]->info.dtype;
    if (bert_value_rank(m->x) < 1 || !bert_same_shape(m->x, root->outputs[0])) return false;
    bert_dim width = bert_value_dim(m->x, -1);
    if (!bert_is_constant_vector(m->gamma, width) || (m->beta && !bert_is_constant_vector(m->beta, width)))
        return false;
    return m->x->info.dtype == dtype && m->gamma->info.dtype == dtype && (!m->beta || m->beta->info.dtype == dtype);
}

/* Whether the search got as far as a root: then what stopped it is worth a word. */
static bool came_close(const layer_norm *m) {
    for (int i = 0; i < m->pattern.count; i++) {
        if (bert_node_is(m->pattern.nodes[i], BERT_OP_Sqrt)) return true;
    }
    return false;
}

static bert_status rewrite(bert_pass_context *context, layer_norm *m) {
    bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("axis", -1), BERT_FLOAT_ATTRIBUTE("epsilon", (float)m->epsilon)};
    bert_value *inputs[] = {m->x, m->gamma, m->beta};
    return bert_pattern_replace(&m->pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_LayerNormalization),
                                                  .opset = bert_build_opset(m->pattern.root, 17),
                                                  .inputs = inputs,
                                                  .input_count = m->beta ? 3 : 2,
                                                  .attributes = attributes,
                                                  .attribute_count = 2},
                                NULL);
}

/* The root is the Add of beta. */
static bert_status visit(bert_pass_context *context, bert_node *node) {
    if (!bert_node_is(node, BERT_OP_Add)) return BERT_OK;
    for (int side = 0; side < 2; side++) {
        layer_norm m = {.beta = node->inputs[side]};
        bert_node *mul = bert_value_made_by(node->inputs[1 - side], BERT_OP_Mul);
        if (!mul || !is_vector(m.beta)) continue;
        bert_pattern_begin(&m.pattern, context, node);
        if (match_scaled(&m, mul) && fits(&m, node))
            return bert_pattern_closed(&m.pattern) ? rewrite(context, &m) : BERT_OK;
        if (came_close(&m))
            bert_pass_missed(context, node,
                             "is not (x - mean) / sqrt(mean((x - mean)^2) + epsilon) over the last dimension");
    }
    return BERT_OK;
}

bert_status bert_pass_layer_norm(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
