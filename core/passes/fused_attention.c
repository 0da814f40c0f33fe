/*
 * Operators that are attention already: com.microsoft's Attention (the projection becomes a Linear with Q, K and V side
 * by side), QAttention (a MatMulIntegerToFloat, which quantized_linear takes) and MultiHeadAttention, ONNX's Attention
 * over [B, S, H D]; over [B, H, S, D] it becomes products and Softmax, for the attention pass to find the heads' views.
 *
 * What decoders have is left alone: a past, a present, grouped heads. So are query, key and value in one tensor of rank
 * 5, which no encoder of text is written with.
 */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/attention_masks.h"
#include "core/passes/list.h"

#include <math.h>
#include <string.h>

typedef struct fused {
    bert_pattern pattern;
    bert_node *node;
    bert_value *q, *k, *v; /* k and v NULL: packed. */
    int64_t heads;
    float scale;
    bert_built_masks masks;
} fused;

static bert_status replace(fused *m) {
    bert_value *inputs[BERT_ATTENTION_OF_MODEL] = {[BERT_ATTENTION_Q] = m->q,
                                                   [BERT_ATTENTION_K] = m->k,
                                                   [BERT_ATTENTION_V] = m->v,
                                                   [BERT_ATTENTION_BIAS] = m->masks.bias,
                                                   [BERT_ATTENTION_MASK] = m->masks.mask};
    bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("heads", m->heads), BERT_FLOAT_ATTRIBUTE("scale", m->scale),
                                   BERT_INT_ATTRIBUTE("packed", !m->k), BERT_STRING_ATTRIBUTE("masked_rows", "nan"),
                                   BERT_FLOAT_ATTRIBUTE("mask_value", m->masks.mask_value)};
    return bert_pattern_replace(&m->pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_BERTC_Attention),
                                                  .opset = 1,
                                                  .inputs = inputs,
                                                  .input_count = BERT_ATTENTION_OF_MODEL,
                                                  .attributes = attributes,
                                                  .attribute_count = 5},
                                NULL);
}

/* The attribute, or 1 / sqrt(head size) where it is `unset` or absent. */
static float scale_of(const bert_node *node, float unset, int64_t size) {
    float scale = BERT_NODE_FLOAT(node, "scale", unset);
    return scale == unset || isnan(scale) ? (float)(1 / sqrt((double)size)) : scale;
}

/* [B, S, heads x size] with a size that is known; 0 when it isn't. */
static int64_t head_size(const bert_value *value, int64_t heads) {
    if (!value || bert_value_rank(value) != 3 || !bert_dtype_is_float(value->info.dtype)) return 0;
    bert_dim width = bert_value_dim(value, 2);
    return bert_dim_known(width) && heads > 0 && width % heads == 0 ? width / heads : 0;
}

/* ---- com.microsoft's Attention --------------------------------------------------------------------------------------
 */

enum { X, WEIGHT, BIAS };

/* Where the inputs stand that Attention and QAttention have at places of their own; -1 for what one doesn't have. */
typedef struct places {
    int32_t mask, past, scores_bias, past_length;
} places;

static places places_of(const bert_node *node) {
    return bert_node_is(node, BERT_OP_MS_QAttention) ? (places){5, 8, -1, -1} : (places){3, 4, 5, 6};
}

static bert_value *input_at(const bert_node *node, int32_t place) {
    return place < 0 ? NULL : bert_node_in(node, place);
}

/* Q, K and V of one width. */
static bool sizes_are_equal(const bert_node *node) {
    size_t count = 0;
    const int64_t *sizes = BERT_NODE_INTS(node, "qkv_hidden_sizes", &count);
    return !sizes || (count == 3 && sizes[0] == sizes[1] && sizes[1] == sizes[2]);
}

static bert_status project(fused *m, const bert_node *node) {
    bert_value *inputs[] = {[BERT_LINEAR_X] = node->inputs[X],
                            [BERT_LINEAR_WEIGHT(0)] = node->inputs[WEIGHT],
                            [BERT_LINEAR_BIAS(0)] = bert_node_in(node, BIAS)};
    bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("parts", 1), BERT_INT_ATTRIBUTE("transpose", 0),
                                   BERT_FLOAT_ATTRIBUTE("alpha", 1), BERT_STRING_ATTRIBUTE("activation", "none")};
    return bert_build(m->pattern.context, m->node,
                      &(bert_node_spec){.op = bert_op_get(BERT_OP_BERTC_Linear),
                                        .opset = 1,
                                        .name = node->name,
                                        .inputs = inputs,
                                        .input_count = BERT_LINEAR_BIAS(0) + 1,
                                        .attributes = attributes,
                                        .attribute_count = 4},
                      node, &m->q);
}

enum { Q_SCALE = 3, Q_WEIGHT_SCALE, Q_ZERO_POINT = 6, Q_WEIGHT_ZERO_POINT };

/* The same product of bytes: a MatMulIntegerToFloat with the operator's scales, zero points and bias. */
static bert_status project_bytes(fused *m, const bert_node *node) {
    bert_value *inputs[] = {node->inputs[X],
                            node->inputs[WEIGHT],
                            node->inputs[Q_SCALE],
                            node->inputs[Q_WEIGHT_SCALE],
                            bert_node_in(node, Q_ZERO_POINT),
                            bert_node_in(node, Q_WEIGHT_ZERO_POINT),
                            node->inputs[BIAS]};
    return bert_build(m->pattern.context, m->node,
                      &(bert_node_spec){.op = bert_op_get(BERT_OP_MS_MatMulIntegerToFloat),
                                        .opset = 1,
                                        .name = node->name,
                                        .inputs = inputs,
                                        .input_count = 7},
                      node, &m->q);
}

/* A float tensor with the operator's batch and length: its input, before it was quantized if it was. */
static bert_value *like_input(const fused *m, const bert_node *node) {
    if (!bert_node_is(node, BERT_OP_MS_QAttention)) return node->inputs[X];
    const bert_node *quantize = bert_value_made_by(node->inputs[X], BERT_OP_DynamicQuantizeLinear);
    return quantize ? quantize->inputs[0] : m->q;
}

static bert_status visit_attention(bert_pass_context *context, bert_node *node) {
    const bert_value *weight = node->inputs[WEIGHT], *bias = bert_node_in(node, BIAS);
    const places at = places_of(node);
    fused m = {.node = node, .heads = BERT_NODE_INT(node, "num_heads", 0)};
    if (!weight->info.constant || (bias && !bias->info.constant) || bert_value_rank(node->inputs[X]) != 3) {
        bert_pass_missed(context, node, "its weight or bias is not a constant");
        return BERT_OK;
    }
    if (input_at(node, at.past) || input_at(node, at.past_length) || !sizes_are_equal(node)) {
        bert_pass_missed(context, node, "it has a past, or query, key and value of different sizes");
        return BERT_OK;
    }
    bert_pattern_begin(&m.pattern, context, node);
    if (!bert_pattern_closed(&m.pattern)) return BERT_OK;
    BERT_TRY(bert_node_is(node, BERT_OP_MS_QAttention) ? project_bytes(&m, node) : project(&m, node));
    bert_score_masks masks = {.mask = bert_node_in(node, at.mask),
                              .bias = input_at(node, at.scores_bias),
                              .filter = BERT_NODE_FLOAT(node, "mask_filter_value", -10000.0F),
                              .unidirectional = BERT_NODE_INT(node, "unidirectional", 0) != 0,
                              .query = like_input(&m, node),
                              .key = like_input(&m, node)};
    bool built = false;
    BERT_TRY(bert_build_masks(context, node, &masks, &m.masks, &built));
    if (!built) return BERT_OK; /* What was built is read by nobody and goes. */
    m.scale = scale_of(node, 0, weight->info.constant->dims[1] / 3 / m.heads);
    return replace(&m);
}

/* ---- com.microsoft's MultiHeadAttention -----------------------------------------------------------------------------
 */

enum { QUERY, KEY, VALUE, QKV_BIAS, KEY_MASK, ADDED, FIRST_OF_THE_PAST };

/* Adds the part of the bias that is query's, key's or value's: what the product before it takes for its own. */
static bert_status add_bias(fused *m, const bert_node *node, int part, bert_value **value) {
    const bert_constant *all = node->inputs[QKV_BIAS]->info.constant, *own = NULL;
    bert_graph *graph = m->pattern.context->graph;
    bert_error *error = m->pattern.context->error;
    bert_value *added = NULL;
    int64_t width = all->dims[0] / 3;
    size_t bytes = all->bytes / 3;
    BERT_TRY(bert_graph_add_constant(graph, all->dtype, 1, &width, (const char *)all->data + (size_t)part * bytes,
                                     bytes, all->file, &own, error));
    BERT_TRY(bert_graph_add_constant_value(graph, NULL, own, &added, error));
    return bert_build_op(m->pattern.context, m->node, BERT_OP_Add, (bert_value *[]){*value, added}, 2, value);
}

static bool is_separate(const bert_node *node, int64_t heads) {
    int64_t size = head_size(node->inputs[QUERY], heads);
    return size && head_size(bert_node_in(node, KEY), heads) == size &&
           head_size(bert_node_in(node, VALUE), heads) == size &&
           bert_same_shape(node->inputs[KEY], node->inputs[VALUE]) &&
           bert_value_dim(node->inputs[QUERY], 0) == bert_value_dim(node->inputs[KEY], 0);
}

static bert_status visit_multi_head(bert_pass_context *context, bert_node *node) {
    fused m = {.node = node, .heads = BERT_NODE_INT(node, "num_heads", 0)};
    const bert_value *bias = bert_node_in(node, QKV_BIAS);
    if (!is_separate(node, m.heads) || (bias && !bias->info.constant)) {
        bert_pass_missed(context, node, "its query, key and value are not three of [batch, sequence, heads x size]");
        return BERT_OK;
    }
    for (int32_t i = FIRST_OF_THE_PAST; i < node->input_count; i++) {
        if (!node->inputs[i]) continue;
        bert_pass_missed(context, node, "it has a past");
        return BERT_OK;
    }
    bert_pattern_begin(&m.pattern, context, node);
    if (!bert_pattern_closed(&m.pattern)) return BERT_OK;
    bert_score_masks masks = {.mask = bert_node_in(node, KEY_MASK),
                              .bias = bert_node_in(node, ADDED),
                              .filter = BERT_NODE_FLOAT(node, "mask_filter_value", -10000.0F),
                              .unidirectional = BERT_NODE_INT(node, "unidirectional", 0) != 0,
                              .query = node->inputs[QUERY],
                              .key = node->inputs[KEY]};
    bool built = false;
    BERT_TRY(bert_build_masks(context, node, &masks, &m.masks, &built));
    if (!built) return BERT_OK;
    m.scale = scale_of(node, 0, head_size(node->inputs[QUERY], m.heads));
    bert_value *parts[3] = {node->inputs[QUERY], node->inputs[KEY], node->inputs[VALUE]};
    for (int i = 0; i < 3 && bias; i++) BERT_TRY(add_bias(&m, node, i, &parts[i]));
    m.q = parts[0];
    m.k = parts[1];
    m.v = parts[2];
    return replace(&m);
}

/* ---- ONNX's Attention -----------------------------------------------------------------------------------------------
 */

enum { ADDED_OR_KEPT = 3, ONNX_PAST };

/* Whether the mask certainly broadcasts to [B, H, S, T]. (ONNX lets it have fewer columns than there are keys.) S and T
 * are dimension -2 of query and key, whichever rank they have. */
static bool mask_fits(const bert_node *node, const bert_value *mask, int64_t heads) {
    bert_dim scores[4] = {bert_value_dim(node->inputs[QUERY], 0), heads, bert_value_dim(node->inputs[QUERY], -2),
                          bert_value_dim(node->inputs[KEY], -2)};
    int32_t rank = bert_value_rank(mask);
    if (rank < 1 || rank > 4) return false;
    for (int32_t i = 0; i < rank; i++) {
        bert_dim dim = bert_value_dim(mask, i);
        if (dim != scores[4 - rank + i] && (dim != 1 || i == rank - 1)) return false;
    }
    return true;
}

static bert_status build_onnx_masks(bert_pass_context *context, bert_node *node, bert_built_masks *out) {
    static const int64_t axes[] = {0, 1, 2, 3};
    bert_value *mask = bert_node_in(node, ADDED_OR_KEPT), *causal = NULL;
    *out = (bert_built_masks){.mask_value = -INFINITY};
    if (mask && bert_value_rank(mask) < 4)
        BERT_TRY(bert_build_unsqueeze(context, node, mask, axes, 4 - bert_value_rank(mask), &mask));
    if (mask && mask->info.dtype != BERT_BOOL) out->bias = mask;
    if (mask && mask->info.dtype == BERT_BOOL) out->mask = mask;
    if (!BERT_NODE_INT(node, "is_causal", 0)) return BERT_OK;
    BERT_TRY(bert_build_causal(context, node, node->inputs[QUERY], node->inputs[KEY], &causal));
    if (!out->mask) {
        out->mask = causal;
        return BERT_OK;
    }
    return bert_build_op(context, node, BERT_OP_And, (bert_value *[]){out->mask, causal}, 2, &out->mask);
}

static bool has_separate_heads(const bert_node *node) {
    const bert_value *q = node->inputs[QUERY], *k = node->inputs[KEY], *v = node->inputs[VALUE];
    return bert_value_rank(q) == 4 && bert_value_rank(k) == 4 && bert_value_rank(v) == 4 &&
           bert_dtype_is_float(q->info.dtype) && bert_dim_known(bert_value_dim(q, 1)) &&
           bert_dim_known(bert_value_dim(q, 3)) && bert_value_dim(k, 1) == bert_value_dim(q, 1) &&
           bert_value_dim(v, 1) == bert_value_dim(q, 1);
}

/* [B, H, S, D]: the operator in other words. */
static bert_status expand_onnx(bert_pass_context *context, bert_node *node) {
    static const int64_t swap_last[] = {0, 1, 3, 2};
    bert_value *q = node->inputs[QUERY], *v = node->inputs[VALUE], *mask = bert_node_in(node, ADDED_OR_KEPT);
    bert_value *k = NULL, *scores = NULL, *number = NULL;
    bert_pattern pattern;
    bert_pattern_begin(&pattern, context, node);
    if (!bert_pattern_closed(&pattern)) return BERT_OK;
    BERT_TRY(bert_build_transpose(context, node, node->inputs[KEY], swap_last, 4, &k));
    BERT_TRY(bert_build_op(context, node, BERT_OP_MatMul, (bert_value *[]){q, k}, 2, &scores));
    BERT_TRY(bert_build_float(context, scale_of(node, NAN, bert_value_dim(q, 3)), &number));
    BERT_TRY(bert_build_cast(context, node, number, q->info.dtype, &number));
    BERT_TRY(bert_build_op(context, node, BERT_OP_Mul, (bert_value *[]){scores, number}, 2, &scores));
    if (mask && mask->info.dtype == BERT_BOOL) {
        BERT_TRY(bert_build_float(context, -INFINITY, &number));
        BERT_TRY(bert_build_cast(context, node, number, q->info.dtype, &number));
        BERT_TRY(bert_build_op(context, node, BERT_OP_Where, (bert_value *[]){mask, scores, number}, 3, &scores));
    } else if (mask) {
        BERT_TRY(bert_build_op(context, node, BERT_OP_Add, (bert_value *[]){scores, mask}, 2, &scores));
    }
    BERT_TRY(bert_build_op(context, node, BERT_OP_Softmax, &scores, 1, &scores));
    return bert_pattern_replace(&pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_MatMul),
                                                  .opset = bert_build_opset(node, 13),
                                                  .inputs = (bert_value *[]){scores, v},
                                                  .input_count = 2},
                                NULL);
}

static bert_status visit_onnx(bert_pass_context *context, bert_node *node) {
    fused m = {.node = node, .heads = BERT_NODE_INT(node, "q_num_heads", 0)};
    const bert_value *mask = bert_node_in(node, ADDED_OR_KEPT);
    const bool expands = has_separate_heads(node) && !BERT_NODE_INT(node, "is_causal", 0);
    if (expands) m.heads = bert_value_dim(node->inputs[QUERY], 1);
    if (!expands && (!is_separate(node, m.heads) || BERT_NODE_INT(node, "kv_num_heads", 0) != m.heads)) {
        bert_pass_missed(context, node, "its query, key and value are not three of [batch, sequence, heads x size]");
        return BERT_OK;
    }
    if (bert_node_in(node, ONNX_PAST) || BERT_NODE_FLOAT(node, "softcap", 0) != 0 ||
        (mask && !mask_fits(node, mask, m.heads))) {
        bert_pass_missed(context, node, "it has a past, caps its scores, or its mask's shape is not certain");
        return BERT_OK;
    }
    if (expands) return expand_onnx(context, node);
    bert_pattern_begin(&m.pattern, context, node);
    if (!bert_pattern_closed(&m.pattern)) return BERT_OK;
    BERT_TRY(build_onnx_masks(context, node, &m.masks));
    m.scale = scale_of(node, NAN, head_size(node->inputs[QUERY], m.heads));
    m.q = node->inputs[QUERY];
    m.k = node->inputs[KEY];
    m.v = node->inputs[VALUE];
    return replace(&m);
}

static bert_status visit(bert_pass_context *context, bert_node *node) {
    switch (node->op->id) {
    case BERT_OP_MS_Attention:
    case BERT_OP_MS_QAttention:
        return visit_attention(context, node);
    case BERT_OP_MS_MultiHeadAttention:
        return visit_multi_head(context, node);
    case BERT_OP_Attention:
        return visit_onnx(context, node);
    default:
        return BERT_OK;
    }
}

bert_status bert_pass_fused_attention(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
