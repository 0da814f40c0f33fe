#include "core/passes/disentangled.h"

#include "core/base/error.h"
#include "core/graph/canonical.h"

#include <string.h>

enum { DEPTH = 6 };

typedef struct search {
    bert_pattern *pattern;
    const bert_heads *query, *key;
    bert_disentangled *found;
} search;

/* ---- Positions ------------------------------------------------------------------------------------------------------
 */

/* Whether the node transposes the last two dimensions alone. */
static bool turns_last(const bert_node *node) {
    int32_t perm[BERT_MAX_RANK];
    if (!bert_node_is(node, BERT_OP_Transpose) || !bert_node_permutation(node, perm)) return false;
    const int32_t rank = bert_value_rank(node->outputs[0]);
    for (int32_t i = 0; i < rank; i++) {
        if (perm[i] != (i == rank - 2 ? rank - 1 : i == rank - 1 ? rank - 2 : i)) return false;
    }
    return rank >= 2;
}

/* Whether all dimensions but the first are the same for certain. */
static bool repeats_first(const bert_node *node) {
    const bert_value *x = node->inputs[0], *y = node->outputs[0];
    if (!bert_node_is(node, BERT_OP_Tile) && !bert_node_is(node, BERT_OP_Expand)) return false;
    if (bert_value_rank(x) < 2 || bert_value_rank(x) != bert_value_rank(y)) return false;
    for (int32_t i = 1; i < bert_value_rank(x); i++) {
        if (bert_value_dim(x, i) != bert_value_dim(y, i)) return false;
    }
    return true;
}

/* Positions [1, P, H D] behind what is multiplied from the right: heads, perhaps repeated for each sequence. */
static bool match_rows(const search *s, bert_value *view, const bert_heads *of, bert_positions *out) {
    bert_heads rows;
    const int32_t *order = bert_heads_bhds;
    if (view->producer && turns_last(view->producer)) {
        bert_pattern_add_shared(s->pattern, view->producer);
        view = view->producer->inputs[0];
        order = bert_heads_bhsd;
    }
    while (view->producer && repeats_first(view->producer)) {
        bert_pattern_add_shared(s->pattern, view->producer);
        view = view->producer->inputs[0];
    }
    if (!bert_match_heads(s->pattern, view, order, &rows) || bert_value_rank(rows.source) != 3 || rows.batch != 1 ||
        rows.heads != of->heads || rows.size != of->size || rows.source->info.dtype != of->source->info.dtype)
        return false;
    out->rows = rows.source;
    out->scale *= rows.scale;
    return true;
}

/* Whether the last two dimensions are these for certain, and all before them 1. */
static bool is_matrix(const bert_value *value, bert_dim first, bert_dim second, bool one_before) {
    const int32_t rank = bert_value_rank(value);
    if (rank < 2 || bert_value_dim(value, -2) != first || bert_value_dim(value, -1) != second) return false;
    for (int32_t i = 0; i + 2 < rank && one_before; i++) {
        if (bert_value_dim(value, i) != 1) return false;
    }
    return true;
}

/* Whether all matrices of a constant are the first one. */
static bool repeats_matrix(const bert_constant *constant) {
    const int32_t rank = constant->rank;
    const size_t bytes =
        (size_t)(constant->dims[rank - 2] * constant->dims[rank - 1]) * bert_dtype_size(constant->dtype);
    for (size_t at = bytes; at < constant->bytes; at += bytes) {
        if (memcmp(constant->data, constant->data + at, bytes) != 0) return false;
    }
    return constant->bytes > 0;
}

/* Indices [first, second] behind what is gathered by, the same for all sequences and heads. */
static bool match_indices(const search *s, bert_value *value, bert_dim first, bert_dim second, bert_positions *out) {
    bert_node *expand = bert_value_made_by(value, BERT_OP_Expand);
    const bert_constant *constant = value->info.constant;
    out->indices = expand ? expand->inputs[0] : value;
    if (out->indices->info.dtype != BERT_INT32 && out->indices->info.dtype != BERT_INT64) return false;
    if (constant) return is_matrix(value, first, second, false) && repeats_matrix(constant);
    if (!expand || !is_matrix(out->indices, first, second, true)) return false;
    bert_pattern_add_shared(s->pattern, expand);
    return true;
}

/* ---- Terms ----------------------------------------------------------------------------------------------------------
 */

/* Whether all sequences and heads are gathered from: indices may have fewer of these than the products. */
static bool gathers_all(const bert_node *gather) {
    const bert_value *from = gather->inputs[0], *to = gather->outputs[0];
    const int32_t rank = bert_value_rank(from);
    if (rank < 3 || bert_value_rank(to) != rank ||
        bert_axis_from_front(BERT_NODE_INT(gather, "axis", 0), rank) != rank - 1)
        return false;
    for (int32_t i = 0; i + 1 < rank; i++) {
        if (bert_value_dim(from, i) != bert_value_dim(to, i)) return false;
    }
    return true;
}

/* `turned`: behind the Transpose that puts queries first. */
static bool match_term(const search *s, bert_node *gather, bool turned, double scale) {
    const bert_heads *of = turned ? s->key : s->query;
    const bert_heads *others = turned ? s->query : s->key;
    bert_positions *term = turned ? &s->found->queries : &s->found->keys;
    bert_heads content;
    bert_node *product = bert_value_made_by(gather->inputs[0], BERT_OP_MatMul);
    if (!product || term->rows || !gathers_all(gather)) return false;
    bert_pattern_add_shared(s->pattern, gather);
    bert_pattern_add_shared(s->pattern, product);
    if (!bert_match_heads(s->pattern, product->inputs[0], bert_heads_bhsd, &content) || content.source != of->source ||
        content.heads != of->heads || content.size != of->size || bert_value_rank(content.source) != 3)
        return false;
    term->scale = scale * content.scale;
    return match_rows(s, product->inputs[1], of, term) &&
           match_indices(s, gather->inputs[1], of->length, others->length, term);
}

static bool match_terms(const search *s, bert_value *value, bool turned, double scale, int depth) {
    bert_node *node = value->producer;
    if (!node || depth == 0) return false;
    const double factor = bert_scale_of(node);
    if (factor != 0) {
        bert_pattern_add_shared(s->pattern, node);
        return match_terms(s, bert_scaled_operand(node), turned, scale * factor, depth - 1);
    }
    if (bert_node_is(node, BERT_OP_GatherElements)) return match_term(s, node, turned, scale);
    bert_pattern_add_shared(s->pattern, node);
    if (turns_last(node)) return match_terms(s, node->inputs[0], !turned, scale, depth - 1);
    return bert_node_is(node, BERT_OP_Add) && match_terms(s, node->inputs[0], turned, scale, depth - 1) &&
           match_terms(s, node->inputs[1], turned, scale, depth - 1);
}

bool bert_match_disentangled(bert_pattern *pattern, bert_value *bias, const bert_heads *query, const bert_heads *key,
                             bert_disentangled *out) {
    const search s = {.pattern = pattern, .query = query, .key = key, .found = out};
    *out = (bert_disentangled){.keys = {.rows = NULL}};
    if (!match_terms(&s, bias, false, 1, DEPTH)) return false;
    return !out->keys.rows || !out->queries.rows ||
           bert_number_near(out->keys.scale, out->queries.scale, query->source->info.dtype);
}

/* ---- Building -------------------------------------------------------------------------------------------------------
 */

/* The first matrix of a constant: the same bytes, not copied. */
static bert_status build_matrix(bert_pass_context *context, const bert_constant *of, bert_value **out) {
    const int64_t *dims = of->dims + of->rank - 2;
    const bert_constant *made = NULL;
    const size_t bytes = (size_t)(dims[0] * dims[1]) * bert_dtype_size(of->dtype);
    BERT_TRY(
        bert_graph_add_constant(context->graph, of->dtype, 2, dims, of->data, bytes, of->file, &made, context->error));
    return bert_graph_add_constant_value(context->graph, NULL, made, out, context->error);
}

static bert_status build_indices(const bert_pattern *pattern, bert_value *indices, bert_value **out) {
    static const int64_t axes[BERT_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    bert_value *inputs[2] = {indices, NULL};
    *out = indices;
    if (bert_value_rank(indices) == 2) return BERT_OK;
    if (indices->info.constant) return build_matrix(pattern->context, indices->info.constant, out);
    BERT_TRY(bert_build_ints(pattern->context, axes, bert_value_rank(indices) - 2, &inputs[1]));
    return bert_build_op(pattern->context, pattern->root, BERT_OP_Squeeze, inputs, 2, out);
}

static bert_status build_term(const bert_pattern *pattern, const bert_positions *term, bert_value **rows,
                              bert_value **indices) {
    *rows = term->rows;
    *indices = NULL;
    return term->rows ? build_indices(pattern, term->indices, indices) : BERT_OK;
}

bert_status bert_build_disentangled(const bert_pattern *pattern, const bert_disentangled *bias, const bert_heads *query,
                                    const bert_heads *key, bert_value **out) {
    bert_value *inputs[BERT_DISENTANGLED_INPUTS] = {NULL};
    BERT_TRY(bert_build_heads(pattern, query, &inputs[BERT_DISENTANGLED_Q]));
    BERT_TRY(bert_build_heads(pattern, key, &inputs[BERT_DISENTANGLED_K]));
    BERT_TRY(build_term(pattern, &bias->keys, &inputs[BERT_DISENTANGLED_KEYS], &inputs[BERT_DISENTANGLED_C2P]));
    BERT_TRY(build_term(pattern, &bias->queries, &inputs[BERT_DISENTANGLED_QUERIES], &inputs[BERT_DISENTANGLED_P2C]));
    const double scale = bias->keys.rows ? bias->keys.scale : bias->queries.scale;
    const bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("heads", query->heads),
                                         BERT_FLOAT_ATTRIBUTE("scale", (float)scale)};
    return bert_build(pattern->context, pattern->root,
                      &(bert_node_spec){.op = bert_op_get(BERT_OP_BERTC_DisentangledBias),
                                        .opset = 1,
                                        .inputs = inputs,
                                        .input_count = BERT_DISENTANGLED_INPUTS,
                                        .attributes = attributes,
                                        .attribute_count = 2},
                      NULL, out);
}
