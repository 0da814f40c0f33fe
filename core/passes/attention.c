/*
 * Attention: softmax(scale Q K^T + bias) V over heads.
 *
 * Found at its Softmax. Backward from there: additions of a bias, a Where that masks, scales, and the product of two
 * views of [batch, sequence, heads x size] tensors, or of heads that were computed one by one, as those that are
 * rotated by their positions: these are put side by side first. Forward: the guard against rows of NaN, the product
 * with the values, and the views that put the heads side by side again. How an exporter spells the views doesn't matter
 * (layout.h). What computes the masks stays as it is and feeds the new node.
 */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/layout.h"
#include "core/passes/list.h"

#include <math.h>
#include <string.h>

#define VIEWS 16
#define BIASES 4

/* One of query, key and value: a view of `source` [B, S, H D], times `scale`; or of a source of rank 4, whose
 * dimensions are B, S, H and D in the order `axes`. */
typedef struct operand {
    bert_value *source;
    int64_t axes[4];
    bert_dim batch, length, heads, size;
    double scale;
    int32_t rank; /* Of the view: 4, or 3 with batch and heads joined. */
} operand;

typedef struct attention {
    bert_pattern pattern;
    bert_node *softmax;
    operand query, key, value;
    double scale;
    bert_value *biases[BIASES];
    int bias_count;
    bert_value *mask; /* NULL: none. */
    bool mask_drops;  /* True in `mask` means: masked. */
    double mask_value;
    bool guarded; /* Rows of NaN count as zeros. */
} attention;

/* ---- Query, key and value -------------------------------------------------------------------------------------------
 */

/* What `view` is `order` of, for a source [B, S, H D]: order is the permutation of (B, S, H, D). */
static bool read_operand(bert_symbols *symbols, bert_value *source, bert_node *const *chain, int count,
                         const bert_value *view, const int32_t order[4], operand *out) {
    int32_t rank = bert_value_rank(view), last = order[3] == 3 ? -1 : -2;
    bert_layout found, expected;
    if (bert_value_rank(source) != 3 || (rank != 4 && rank != 3)) return false;
    out->source = source;
    out->rank = rank;
    out->batch = bert_value_dim(source, 0);
    out->length = bert_value_dim(source, 1);
    out->size = bert_value_dim(view, last);
    out->heads =
        rank == 4 ? bert_value_dim(view, 1) : bert_dim_divide(symbols, bert_value_dim(view, 0), out->batch, true);
    if (!bert_dim_known(out->heads) || !bert_dim_known(out->size) || out->heads < 1 || out->size < 1) return false;
    if (!bert_layout_begin(&found, source)) return false;
    expected = found;
    for (int i = count - 1; i >= 0; i--) {
        if (bert_is_view(chain[i]) && !bert_layout_apply(&found, chain[i], symbols)) return false;
    }
    bert_dim split[4] = {out->batch, out->length, out->heads, out->size};
    if (!bert_layout_reshape(&expected, split, 4, symbols)) return false;
    bert_layout_permute(&expected, order);
    if (rank == 3) {
        const bert_shape *shape = &view->info.shape;
        if (!bert_layout_reshape(&expected, shape->dims, 3, symbols)) return false;
    }
    return bert_layout_equal(&found, &expected);
}

/* The scale that a node multiplies its only tensor with, or 0 when it does something else. */
static double scale_of(const bert_node *node) {
    double scalar = 0;
    if (bert_node_is(node, BERT_OP_Mul) && bert_node_beside_scalar(node, false, &scalar)) return scalar;
    if (bert_node_is(node, BERT_OP_Div) && bert_node_beside_scalar(node, true, &scalar) && scalar != 0)
        return 1 / scalar;
    return 0;
}

static bert_value *scaled_operand(const bert_node *node) {
    double scalar = 0;
    return bert_node_beside_scalar(node, bert_node_is(node, BERT_OP_Div), &scalar);
}

/* Heads [B, S, H, D] in any order of dimensions: as far back as only transpositions and scales are passed. */
static bool match_heads(attention *m, bert_value *view, const int32_t order[4], operand *out) {
    int64_t axes[4] = {0, 1, 2, 3}; /* of the source, by dimension of the view */
    bert_value *source = view;
    if (bert_value_rank(view) != 4) return false;
    *out = (operand){.scale = 1, .rank = 4};
    for (int passed = 0; passed < VIEWS && source->producer; passed++) {
        bert_node *node = source->producer;
        const double scale = scale_of(node);
        size_t count = 0;
        const int64_t *perm = bert_node_is(node, BERT_OP_Transpose) ? BERT_NODE_INTS(node, "perm", &count) : NULL;
        if (scale == 0 && count != 4) break;
        for (int i = 0; i < 4 && scale == 0; i++) axes[i] = perm[axes[i]];
        if (scale != 0) out->scale *= scale;
        source = scale != 0 ? scaled_operand(node) : node->inputs[0];
        if (bert_value_rank(source) != 4) return false;
        bert_pattern_add_shared(&m->pattern, node);
    }
    bert_dim *dims[4] = {&out->batch, &out->length, &out->heads, &out->size};
    for (int i = 0; i < 4; i++) {
        out->axes[order[i]] = axes[i];
        *dims[order[i]] = bert_value_dim(view, i);
    }
    out->source = source;
    return bert_dim_known(out->heads) && bert_dim_known(out->size) && out->heads >= 1 && out->size >= 1;
}

/* Goes back through views and scales as far as the source can be [B, S, H D]. */
static bool match_operand(attention *m, bert_value *view, const int32_t order[4], operand *out) {
    bert_symbols *symbols = m->pattern.context->graph->symbols;
    bert_node *chain[VIEWS];
    bert_value *sources[VIEWS + 1] = {view};
    int count = 0;
    for (bert_value *value = view; count < VIEWS && value->producer; count++) {
        bert_node *node = value->producer;
        if (!bert_is_view(node) && scale_of(node) == 0) break;
        chain[count] = node;
        value = bert_is_view(node) ? node->inputs[0] : scaled_operand(node);
        sources[count + 1] = value;
    }
    for (; count >= 0; count--) {
        if (!read_operand(symbols, sources[count], chain, count, view, order, out)) continue;
        out->scale = 1;
        for (int i = 0; i < count; i++) {
            if (!bert_is_view(chain[i])) out->scale *= scale_of(chain[i]);
            bert_pattern_add_shared(&m->pattern, chain[i]);
        }
        return true;
    }
    return match_heads(m, view, order, out);
}

static bert_status build_transpose(const attention *m, const int64_t axes[4], bert_value **value) {
    bert_pass_context *context = m->pattern.context;
    int64_t *own = BERT_ARENA_NEW_ARRAY(&context->graph->arena, int64_t, 4);
    if (!own) return bert_fail_memory(context->error, 4 * sizeof *own, "an attribute");
    memcpy(own, axes, 4 * sizeof *own);
    const bert_attribute perm = {.name = "perm", .kind = BERT_ATTRIBUTE_INTS, .count = 4, .value.ints = own};
    return bert_build(context, m->pattern.root,
                      &(bert_node_spec){.op = bert_op_get(BERT_OP_Transpose),
                                        .opset = bert_build_opset(m->pattern.root, 13),
                                        .inputs = value,
                                        .input_count = 1,
                                        .attributes = &perm,
                                        .attribute_count = 1},
                      NULL, value);
}

/* The operand as [B, S, H D]. */
static bert_status build_operand(const attention *m, const operand *from, bert_value **out) {
    bert_pass_context *context = m->pattern.context;
    *out = from->source;
    if (bert_value_rank(from->source) == 3) return BERT_OK;
    bool in_order = true;
    for (int i = 0; i < 4; i++) in_order = in_order && from->axes[i] == i;
    if (!in_order) BERT_TRY(build_transpose(m, from->axes, out));
    bert_value *inputs[2] = {*out, NULL};
    const int64_t shape[3] = {0, 0, from->heads * from->size}; /* 0: as it is */
    BERT_TRY(bert_build_ints(context, shape, 3, &inputs[1]));
    return bert_build_op(context, m->pattern.root, BERT_OP_Reshape, inputs, 2, out);
}

static bool match_product(attention *m, bert_node *node) {
    static const int32_t bhsd[4] = {0, 2, 1, 3}, bhds[4] = {0, 2, 3, 1};
    const int32_t *key_order = bhds;
    if (bert_node_is(node, BERT_OP_MS_FusedMatMul)) {
        if (BERT_NODE_INT(node, "transA", 0) || BERT_NODE_INT(node, "transBatchA", 0) ||
            BERT_NODE_INT(node, "transBatchB", 0))
            return false;
        if (BERT_NODE_INT(node, "transB", 0)) key_order = bhsd;
        m->scale *= BERT_NODE_FLOAT(node, "alpha", 1);
    }
    if (!match_operand(m, node->inputs[0], bhsd, &m->query) || !match_operand(m, node->inputs[1], key_order, &m->key))
        return false;
    bert_pattern_add(&m->pattern, node);
    m->scale *= m->query.scale * m->key.scale;
    return m->query.heads == m->key.heads && m->query.size == m->key.size && m->query.batch == m->key.batch &&
           m->query.rank == m->key.rank;
}

/* ---- From Softmax back to the product -------------------------------------------------------------------------------
 */

static bool match_scores(attention *m, bert_value *value, int depth, bool may_add, bool may_mask);

/* A tensor of one number: a constant of one element, or that number expanded. */
static bool is_uniform(const bert_value *value, double *out) {
    if (bert_value_scalar(value, out)) return true;
    bert_node *node = bert_value_made_by(value, BERT_OP_Expand);
    return node && bert_value_scalar(node->inputs[0], out);
}

static bool match_masking(attention *m, bert_node *where, int depth) {
    for (int side = 1; side <= 2; side++) {
        double number = 0;
        if (!is_uniform(where->inputs[side], &number)) continue;
        bert_pattern_add(&m->pattern, where);
        m->mask = where->inputs[0];
        m->mask_drops = side == 1;
        m->mask_value = number;
        return match_scores(m, where->inputs[3 - side], depth - 1, true, false);
    }
    return false;
}

static bool match_addition(attention *m, bert_node *add, int depth) {
    if (m->bias_count == BIASES) return false;
    for (int side = 0; side < 2; side++) {
        attention before = *m;
        bert_pattern_add(&m->pattern, add);
        m->biases[m->bias_count++] = add->inputs[1 - side];
        if (match_scores(m, add->inputs[side], depth - 1, true, false)) return true;
        *m = before;
    }
    return false;
}

/* Outermost first: one Where, additions, then scales alone. A scale outside an addition would scale the bias, too. */
static bool match_scores(attention *m, bert_value *value, int depth, bool may_add, bool may_mask) {
    bert_node *node = value->producer;
    if (!node || depth == 0) return false;
    double scale = scale_of(node);
    if (scale != 0) {
        bert_pattern_add(&m->pattern, node);
        m->scale *= scale;
        return match_scores(m, scaled_operand(node), depth - 1, false, false);
    }
    switch (node->op->id) {
    case BERT_OP_MatMul:
    case BERT_OP_MS_FusedMatMul:
        return match_product(m, node);
    case BERT_OP_Cast:
        if (!bert_dtype_is_float(node->inputs[0]->info.dtype) || !bert_dtype_is_float(value->info.dtype)) return false;
        bert_pattern_add(&m->pattern, node);
        return match_scores(m, node->inputs[0], depth - 1, may_add, may_mask);
    case BERT_OP_Add:
        return may_add && match_addition(m, node, depth);
    case BERT_OP_Where:
        return may_mask && match_masking(m, node, depth);
    default:
        return false;
    }
}

static bool is_over_last(const bert_node *softmax) {
    int32_t rank = bert_value_rank(softmax->inputs[0]);
    if (rank < 3) return false;
    return bert_axis_from_front(BERT_NODE_INT(softmax, "axis", softmax->opset < 13 ? 1 : -1), rank) == rank - 1;
}

/* ---- From Softmax on to the result ----------------------------------------------------------------------------------
 */

/* Where(IsNaN(p), 0, p), which scaled-dot-product attention is exported with. */
static bert_value *match_guard(attention *m, bert_value *probabilities, bert_node *nodes[2]) {
    double zero = 1;
    for (uint32_t u = 0; u < probabilities->use_count && probabilities->use_count == 2; u++) {
        bert_node *where = probabilities->uses[u].node;
        if (!bert_node_is(where, BERT_OP_Where) || where->inputs[2] != probabilities) continue;
        bert_node *is_nan = bert_value_made_by(where->inputs[0], BERT_OP_IsNaN);
        if (!is_nan || is_nan->inputs[0] != probabilities) continue;
        if (!bert_value_scalar(where->inputs[1], &zero) || zero != 0) continue;
        nodes[0] = is_nan;
        nodes[1] = where;
        m->guarded = true;
        return where->outputs[0];
    }
    return probabilities;
}

/* Follows the views of the result until they are [B, S, H D]; the node that gets there, or NULL. */
static bert_node *find_result(attention *m, bert_value *context, const operand *value, bert_node *chain[VIEWS],
                              int *count) {
    static const int32_t swap[4] = {0, 2, 1, 3};
    bert_symbols *symbols = m->pattern.context->graph->symbols;
    bert_dim heads[4] = {value->batch, value->heads, m->query.length, value->size};
    bert_dim joined[3] = {value->batch, m->query.length, bert_dim_multiply(symbols, value->heads, value->size)};
    bert_layout view, expected;
    if (!bert_layout_begin(&view, context)) return NULL;
    expected = view;
    if (!bert_layout_reshape(&expected, heads, 4, symbols)) return NULL;
    bert_layout_permute(&expected, swap);
    if (!bert_layout_reshape(&expected, joined, 3, symbols)) return NULL;
    for (*count = 0; *count < VIEWS;) {
        bert_node *node = bert_value_sole_reader(context);
        if (!node || !bert_is_view(node) || node->inputs[0] != context || !bert_layout_apply(&view, node, symbols))
            return NULL;
        if (bert_layout_equal(&view, &expected)) return node;
        chain[(*count)++] = node;
        context = node->outputs[0];
    }
    return NULL;
}

/* ---- Masks ----------------------------------------------------------------------------------------------------------
 */

/* Whether a bias or mask broadcasts to the scores [B, H, S, T] for certain. */
static bool fits_scores(const attention *m, const bert_value *value) {
    bert_dim scores[4] = {m->query.batch, m->query.heads, m->query.length, m->key.length};
    int32_t rank = bert_value_rank(value);
    if (rank < 0 || rank > 4) return false;
    for (int32_t i = 0; i < rank; i++) {
        bert_dim dim = bert_value_dim(value, i);
        if (dim != 1 && dim != scores[4 - rank + i]) return false;
    }
    return true;
}

static bool masks_fit(const attention *m) {
    /* With batch and heads joined a mask has another form, which has not been seen yet. */
    if (m->query.rank != 4 && (m->bias_count || m->mask)) return false;
    if (m->mask && (m->mask->info.dtype != BERT_BOOL || !fits_scores(m, m->mask))) return false;
    for (int i = 0; i < m->bias_count; i++) {
        if (m->biases[i]->info.dtype != m->query.source->info.dtype || !fits_scores(m, m->biases[i])) return false;
    }
    return true;
}

static bert_status give_rank_4(attention *m, bert_value *value, bert_value **out) {
    static const int64_t axes[] = {0, 1, 2, 3};
    *out = value;
    int32_t rank = bert_value_rank(value);
    if (rank == 4) return BERT_OK;
    return bert_build_unsqueeze(m->pattern.context, m->pattern.root, value, axes, 4 - rank, out);
}

static bert_status build_bias(attention *m, bert_value **out) {
    *out = NULL;
    /* The outermost addition was found first: the sum is taken from the inside out. */
    for (int i = m->bias_count - 1; i >= 0; i--) {
        bert_value *terms[2] = {*out, m->biases[i]};
        if (!*out) {
            *out = m->biases[i];
            continue;
        }
        BERT_TRY(bert_build(m->pattern.context, m->pattern.root,
                            &(bert_node_spec){.op = bert_op_get(BERT_OP_Add),
                                              .opset = bert_build_opset(m->pattern.root, 7),
                                              .inputs = terms,
                                              .input_count = 2},
                            NULL, out));
    }
    return *out ? give_rank_4(m, *out, out) : BERT_OK;
}

static bert_status build_mask(attention *m, bert_value **out) {
    *out = m->mask;
    if (!m->mask) return BERT_OK;
    if (m->mask_drops) {
        BERT_TRY(bert_build(m->pattern.context, m->pattern.root,
                            &(bert_node_spec){.op = bert_op_get(BERT_OP_Not),
                                              .opset = bert_build_opset(m->pattern.root, 1),
                                              .inputs = &m->mask,
                                              .input_count = 1},
                            NULL, out));
    }
    return give_rank_4(m, *out, out);
}

/* ---- All of it ------------------------------------------------------------------------------------------------------
 */

static bert_status rewrite(attention *m) {
    bert_value *inputs[BERT_ATTENTION_MASK + 1] = {NULL};
    BERT_TRY(build_operand(m, &m->query, &inputs[BERT_ATTENTION_Q]));
    BERT_TRY(build_operand(m, &m->key, &inputs[BERT_ATTENTION_K]));
    BERT_TRY(build_operand(m, &m->value, &inputs[BERT_ATTENTION_V]));
    BERT_TRY(build_bias(m, &inputs[BERT_ATTENTION_BIAS]));
    BERT_TRY(build_mask(m, &inputs[BERT_ATTENTION_MASK]));
    bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("heads", m->query.heads),
                                   BERT_FLOAT_ATTRIBUTE("scale", (float)m->scale), BERT_INT_ATTRIBUTE("packed", 0),
                                   BERT_STRING_ATTRIBUTE("masked_rows", m->guarded ? "zero" : "nan"),
                                   BERT_FLOAT_ATTRIBUTE("mask_value", (float)m->mask_value)};
    return bert_pattern_replace(&m->pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_BERTC_Attention),
                                                  .opset = 1,
                                                  .name = m->softmax->name,
                                                  .inputs = inputs,
                                                  .input_count = BERT_ATTENTION_MASK + 1,
                                                  .attributes = attributes,
                                                  .attribute_count = 5},
                                NULL);
}

/* The product with the values, and the views after it: the last of these is the root. */
static bert_node *match_forward(attention *m, bert_value *probabilities) {
    static const int32_t bhsd[4] = {0, 2, 1, 3};
    bert_pass_context *context = m->pattern.context;
    bert_node *guard[2] = {NULL, NULL}, *chain[VIEWS];
    int count = 0;
    probabilities = match_guard(m, probabilities, guard);
    bert_node *product = bert_value_sole_reader(probabilities);
    if (!bert_node_is(product, BERT_OP_MatMul) || product->inputs[0] != probabilities) {
        bert_pass_missed(context, m->softmax, "its result is not read by one MatMul alone");
        return NULL;
    }
    if (!match_operand(m, product->inputs[1], bhsd, &m->value) || m->value.scale != 1 ||
        m->value.heads != m->query.heads || m->value.size != m->query.size || m->value.batch != m->query.batch ||
        m->value.length != m->key.length) {
        bert_pass_missed(context, product, "its values are not heads of a [batch, sequence, heads x size] tensor");
        return NULL;
    }
    bert_node *root = find_result(m, product->outputs[0], &m->value, chain, &count);
    if (!root) {
        bert_pass_missed(context, product, "its result is not put back to [batch, sequence, heads x size]");
        return NULL;
    }
    bert_pattern_add(&m->pattern, product);
    for (int i = 0; i < count; i++) bert_pattern_add(&m->pattern, chain[i]);
    for (int i = 0; i < 2 && m->guarded; i++) bert_pattern_add(&m->pattern, guard[i]);
    return root;
}

/* The pattern began at the Softmax; now that the root is known it comes first. */
static void move_root(bert_pattern *pattern, bert_node *root) {
    bert_node *softmax = pattern->root;
    pattern->nodes[0] = pattern->root = root;
    bert_pattern_add(pattern, softmax);
}

static bert_status visit(bert_pass_context *context, bert_node *softmax) {
    if (!bert_node_is(softmax, BERT_OP_Softmax)) return BERT_OK;
    attention m = {.softmax = softmax, .scale = 1, .mask_value = -INFINITY};
    bert_pattern_begin(&m.pattern, context, softmax);
    if (!is_over_last(softmax)) {
        bert_pass_missed(context, softmax, "is not over the last dimension of scores");
        return BERT_OK;
    }
    if (!match_scores(&m, softmax->inputs[0], 12, true, true)) {
        bert_pass_missed(context, softmax, "its scores are not masked, scaled products of query and key heads");
        return BERT_OK;
    }
    if (!masks_fit(&m)) {
        bert_pass_missed(context, softmax, "its mask does not certainly broadcast to [batch, heads, queries, keys]");
        return BERT_OK;
    }
    bert_node *root = match_forward(&m, softmax->outputs[0]);
    if (!root) return BERT_OK;
    move_root(&m.pattern, root);
    return bert_pattern_closed(&m.pattern) ? rewrite(&m) : BERT_OK;
}

bert_status bert_pass_attention(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
