/*
 * Attention: softmax(scale Q K^T + bias) V over heads.
 *
 * Found at its Softmax. Backward from there: a Where that masks, additions of a bias, a Reshape where batch and heads
 * were one dimension, scales, and the product of two views of [batch, sequence, heads x size] tensors, perhaps rotated
 * by their positions (rotary.h), or of heads that were computed one by one: these are put side by side first. Forward:
 * the guard against rows of NaN, or zeros for masked keys, that Reshape again, the product with the values, and the
 * views that put the heads side by side again. How an exporter spells the views doesn't matter (layout.h). What
 * computes the masks stays as it is and feeds the new node; so does a bias, but for that of relative positions
 * (disentangled.h), which becomes one node.
 */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/disentangled.h"
#include "core/passes/layout.h"
#include "core/passes/list.h"
#include "core/passes/rotary.h"

#include <math.h>
#include <string.h>

#define VIEWS 16
#define BIASES 4

typedef struct attention {
    bert_pattern pattern;
    bert_node *softmax;
    bert_heads query, key, value;
    bert_rotation rotation; /* Of query and key; cosines NULL: none. */
    double scale;
    bert_value *biases[BIASES];
    int bias_count;
    bert_dim split_heads; /* Into which a Reshape parts joined batch and heads before Softmax; 0: none does. */
    int split_biases;     /* With it: so many of them are added behind it, the others where batch and heads are one. */
    bert_disentangled disentangled;
    int disentangled_bias; /* Which of them that is; -1: none. */
    bert_value *mask;      /* NULL: none. */
    bool mask_drops;       /* True in `mask` means: masked. */
    double mask_value;
    bool guarded; /* Rows of NaN count as zeros. */
} attention;

/* Query and key that are rotated alike. */
static bool match_rotated(attention *m, const bert_node *product, const int32_t key_order[4]) {
    bert_rotation of_key;
    return bert_match_rotated_heads(&m->pattern, product->inputs[0], bert_heads_bhsd, &m->query, &m->rotation) &&
           bert_match_rotated_heads(&m->pattern, product->inputs[1], key_order, &m->key, &of_key) &&
           bert_rotation_equal(&m->rotation, &of_key);
}

static bool match_sides(attention *m, const bert_node *product, const int32_t key_order[4]) {
    const attention before = *m;
    if (match_rotated(m, product, key_order)) return true;
    *m = before;
    return bert_match_heads(&m->pattern, product->inputs[0], bert_heads_bhsd, &m->query) &&
           bert_match_heads(&m->pattern, product->inputs[1], key_order, &m->key);
}

static bool match_product(attention *m, bert_node *node) {
    const int32_t *key_order = bert_heads_bhds;
    if (bert_node_is(node, BERT_OP_MS_FusedMatMul)) {
        if (BERT_NODE_INT(node, "transA", 0) || BERT_NODE_INT(node, "transBatchA", 0) ||
            BERT_NODE_INT(node, "transBatchB", 0))
            return false;
        if (BERT_NODE_INT(node, "transB", 0)) key_order = bert_heads_bhsd;
        m->scale *= BERT_NODE_FLOAT(node, "alpha", 1);
    }
    if (!match_sides(m, node, key_order)) return false;
    bert_pattern_add(&m->pattern, node);
    m->scale *= m->query.scale * m->key.scale;
    return m->query.heads == m->key.heads && m->query.size == m->key.size && m->query.batch == m->key.batch &&
           m->query.rank == m->key.rank && (!m->split_heads || m->split_heads == m->query.heads);
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

/* Scores [B H, S, T] as [B, H, S, T]. */
static bool match_split(attention *m, bert_node *reshape, int depth, bool may_add, bool may_mask) {
    const bert_value *from = reshape->inputs[0], *to = reshape->outputs[0];
    if (m->split_heads || bert_value_rank(from) != 3 || bert_value_rank(to) != 4 ||
        !bert_dim_known(bert_value_dim(to, 1)) || bert_value_dim(to, 1) < 1 ||
        bert_value_dim(from, 1) != bert_value_dim(to, 2) || bert_value_dim(from, 2) != bert_value_dim(to, 3))
        return false;
    bert_pattern_add(&m->pattern, reshape);
    m->split_heads = bert_value_dim(to, 1);
    m->split_biases = m->bias_count;
    return match_scores(m, reshape->inputs[0], depth - 1, may_add, may_mask);
}

/* Outermost first: one Where, additions, then scales alone. A scale outside an addition would scale the bias, too. */
static bool match_scores(attention *m, bert_value *value, int depth, bool may_add, bool may_mask) {
    bert_node *node = value->producer;
    if (!node || depth == 0) return false;
    double scale = bert_scale_of(node);
    if (scale != 0) {
        bert_pattern_add(&m->pattern, node);
        m->scale *= scale;
        return match_scores(m, bert_scaled_operand(node), depth - 1, false, false);
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
    case BERT_OP_Reshape:
        return match_split(m, node, depth, may_add, may_mask);
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

/* From here on down a score is so small that its exponential is 0 beside that of any product of queries and keys. */
static double most_masked(bert_dtype dtype) {
    return dtype == BERT_FLOAT16 ? -65504 : -1e30;
}

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

/*
 * Where(mask, 0, p): masked keys, whose scores were made too small for them to count, and so rows of these alone. With
 * a bias, which may make others as small, it stays. A row that is NaN becomes zeros, too.
 */
static bert_value *match_zeroed(attention *m, bert_value *probabilities, bert_node **out) {
    bert_node *where = bert_value_sole_reader(probabilities);
    double zero = 1;
    if (!m->mask || !bert_node_is(where, BERT_OP_Where) || where->inputs[0] != m->mask) return probabilities;
    if (m->bias_count > (m->disentangled_bias >= 0 ? 1 : 0)) return probabilities;
    const int side = m->mask_drops ? 1 : 2; /* of the zero */
    if (where->inputs[3 - side] != probabilities || !is_uniform(where->inputs[side], &zero) || zero != 0 ||
        m->mask_value > most_masked(m->query.source->info.dtype))
        return probabilities;
    *out = where;
    m->guarded = true;
    m->mask_value = -INFINITY;
    return where->outputs[0];
}

/* Follows the views of the result until they are [B, S, H D]; the node that gets there, or NULL. */
static bert_node *find_result(attention *m, bert_value *context, const bert_heads *value, bert_node *chain[VIEWS],
                              int *count) {
    bert_symbols *symbols = m->pattern.context->graph->symbols;
    bert_dim heads[4] = {value->batch, value->heads, m->query.length, value->size};
    bert_dim joined[3] = {value->batch, m->query.length, bert_dim_multiply(symbols, value->heads, value->size)};
    bert_layout view, expected;
    if (!bert_layout_begin(&view, context)) return NULL;
    expected = view;
    if (!bert_layout_reshape(&expected, heads, 4, symbols)) return NULL;
    bert_layout_permute(&expected, bert_heads_bhsd); /* its own inverse */
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

/* Whether what is added to scores [B H, S, T] is the same for all of the first dimension. */
static bool fits_joined(const attention *m, const bert_value *bias) {
    const int32_t rank = bert_value_rank(bias);
    return (rank < 3 || (rank == 3 && bert_value_dim(bias, 0) == 1)) && fits_scores(m, bias);
}

/* One of what is added may be DeBERTa's. */
static void find_disentangled(attention *m) {
    for (int i = 0; i < m->bias_count && m->disentangled_bias < 0; i++) {
        const bert_pattern before = m->pattern;
        if (bert_match_disentangled(&m->pattern, m->biases[i], &m->query, &m->key, &m->disentangled))
            m->disentangled_bias = i;
        else
            m->pattern = before;
    }
}

static bool masks_fit(attention *m) {
    const bool joined = m->query.rank == 3;
    find_disentangled(m);
    /* Where nothing parts batch and heads before it, a mask has another form, which has not been seen yet. */
    if (m->mask && (m->mask->info.dtype != BERT_BOOL || !fits_scores(m, m->mask) || (joined && !m->split_heads)))
        return false;
    for (int i = 0; i < m->bias_count; i++) {
        if (m->biases[i]->info.dtype != m->query.source->info.dtype) return false;
        if (i == m->disentangled_bias) continue;
        const bool of_joined = m->split_heads ? i >= m->split_biases : joined;
        if (of_joined ? !fits_joined(m, m->biases[i]) : !fits_scores(m, m->biases[i])) return false;
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
    if (m->disentangled_bias >= 0) {
        BERT_TRY(bert_build_disentangled(&m->pattern, &m->disentangled, &m->query, &m->key,
                                         &m->biases[m->disentangled_bias]));
    }
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

static bert_status build_rotation(const attention *m, bert_value **inputs) {
    if (!m->rotation.cosines) return BERT_OK;
    BERT_TRY(bert_build_angles(&m->pattern, &m->rotation, m->rotation.cosines, &inputs[BERT_ATTENTION_COSINES]));
    return bert_build_angles(&m->pattern, &m->rotation, m->rotation.sines, &inputs[BERT_ATTENTION_SINES]);
}

static bert_status rewrite(attention *m) {
    bert_value *inputs[BERT_ATTENTION_OF_MODEL] = {NULL};
    BERT_TRY(bert_build_heads(&m->pattern, &m->query, &inputs[BERT_ATTENTION_Q]));
    BERT_TRY(bert_build_heads(&m->pattern, &m->key, &inputs[BERT_ATTENTION_K]));
    BERT_TRY(bert_build_heads(&m->pattern, &m->value, &inputs[BERT_ATTENTION_V]));
    BERT_TRY(build_bias(m, &inputs[BERT_ATTENTION_BIAS]));
    BERT_TRY(build_mask(m, &inputs[BERT_ATTENTION_MASK]));
    BERT_TRY(build_rotation(m, inputs));
    bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("heads", m->query.heads),
                                   BERT_FLOAT_ATTRIBUTE("scale", (float)m->scale), BERT_INT_ATTRIBUTE("packed", 0),
                                   BERT_STRING_ATTRIBUTE("masked_rows", m->guarded ? "zero" : "nan"),
                                   BERT_FLOAT_ATTRIBUTE("mask_value", (float)m->mask_value)};
    return bert_pattern_replace(&m->pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_BERTC_Attention),
                                                  .opset = 1,
                                                  .name = m->softmax->name,
                                                  .inputs = inputs,
                                                  .input_count = BERT_ATTENTION_OF_MODEL,
                                                  .attributes = attributes,
                                                  .attribute_count = 5},
                                NULL);
}

/* The product with the values, and the views after it: the last of these is the root. */
static bert_node *match_forward(attention *m, bert_value *probabilities) {
    bert_pass_context *context = m->pattern.context;
    bert_node *guard[2] = {NULL, NULL}, *chain[VIEWS];
    int count = 0;
    probabilities = match_guard(m, probabilities, guard);
    if (!m->guarded) probabilities = match_zeroed(m, probabilities, &guard[0]);
    bert_node *product = bert_value_sole_reader(probabilities), *join = NULL;
    if (m->split_heads && bert_node_is(product, BERT_OP_Reshape) && bert_value_rank(product->outputs[0]) == 3 &&
        product->inputs[0] == probabilities) {
        join = product;
        probabilities = join->outputs[0];
        product = bert_value_sole_reader(probabilities);
    }
    if (!bert_node_is(product, BERT_OP_MatMul) || product->inputs[0] != probabilities) {
        bert_pass_missed(context, m->softmax, "its result is not read by one MatMul alone");
        return NULL;
    }
    if (!bert_match_heads(&m->pattern, product->inputs[1], bert_heads_bhsd, &m->value) || m->value.scale != 1 ||
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
    if (join) bert_pattern_add(&m->pattern, join);
    for (int i = 0; i < count; i++) bert_pattern_add(&m->pattern, chain[i]);
    for (int i = 0; i < 2 && guard[i]; i++) bert_pattern_add(&m->pattern, guard[i]);
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
    attention m = {.softmax = softmax, .scale = 1, .mask_value = -INFINITY, .disentangled_bias = -1};
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
