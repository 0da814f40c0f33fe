/*
 * Linear: a product with a weight, its bias and its activation.
 *
 *   MatMul(x, W) or Gemm(x, W, b), W a constant of rank 2 or the Transpose of one; Add of a constant vector; then Gelu,
 *   Tanh, Relu, QuickGelu or SiLU. Of com.microsoft's FusedMatMul, FusedGemm and GemmFastGelu what is such a product; a
 *   Sigmoid of FusedGemm's follows the Linear.
 */
#include "core/base/error.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

#include "core/graph/canonical.h"

#include <string.h>

typedef struct linear {
    bert_pattern pattern;
    bert_value *x, *weight, *bias;
    bool transposed;
    float alpha;
    const char *activation;
    bool sigmoid; /* Of the result, which Linear doesn't have. */
} linear;

/* A constant of rank 2, or the Transpose of one. */
static bool match_weight(linear *m, bert_value *value) {
    bert_node *transpose = bert_value_made_by(value, BERT_OP_Transpose);
    int32_t perm[BERT_MAX_RANK];
    if (transpose && bert_node_permutation(transpose, perm) && bert_value_rank(transpose->inputs[0]) == 2 &&
        perm[0] == 1) {
        bert_pattern_add_shared(&m->pattern, transpose);
        m->transposed = !m->transposed;
        value = transpose->inputs[0];
    }
    m->weight = value;
    return value->info.constant && bert_value_rank(value) == 2 && bert_dtype_is_float(value->info.dtype);
}

static bert_dim width(const linear *m) {
    return bert_value_dim(m->weight, m->transposed ? 0 : 1);
}

/* A constant [n], or one with further dimensions of 1 before, which is shown as [n]. */
static bert_status match_bias(bert_pass_context *context, bert_value *value, bert_dim n, int32_t most_rank,
                              bert_value **out) {
    *out = NULL;
    const bert_constant *constant = value->info.constant;
    if (!constant || !bert_dtype_is_float(constant->dtype) || constant->rank < 1 || constant->rank > most_rank)
        return BERT_OK;
    if (constant->dims[constant->rank - 1] != n || bert_constant_elements(constant) != n) return BERT_OK;
    return bert_build_shown(context, value, 1, &n, out);
}

/* ---- The product ----------------------------------------------------------------------------------------------------
 */

static bool match_matmul(linear *m, bert_node *node) {
    m->x = node->inputs[0];
    if (bert_node_is(node, BERT_OP_MS_FusedMatMul)) {
        if (BERT_NODE_INT(node, "transA", 0) || BERT_NODE_INT(node, "transBatchA", 0) ||
            BERT_NODE_INT(node, "transBatchB", 0))
            return false;
        m->alpha = BERT_NODE_FLOAT(node, "alpha", 1);
        m->transposed = BERT_NODE_INT(node, "transB", 0) != 0;
    }
    if (!match_weight(m, node->inputs[1])) {
        if (node->inputs[1]->info.constant)
            bert_pass_missed(m->pattern.context, node, "its weight is not a float matrix of rank 2");
        return false;
    }
    return bert_value_rank(m->x) >= 2 && !m->x->info.constant;
}

/* The activation that is part of the node; false for one that isn't known. */
static bool match_own_activation(linear *m, const bert_node *node) {
    const char *name = bert_node_is(node, BERT_OP_MS_FusedGemm) ? BERT_NODE_STRING(node, "activation", "") : "";
    if (bert_node_is(node, BERT_OP_MS_GemmFastGelu)) {
        m->activation = "gelu_tanh";
    } else if (strcmp(name, "Tanh") == 0) {
        m->activation = "tanh";
    } else if (strcmp(name, "Relu") == 0) {
        m->activation = "relu";
    } else if (strcmp(name, "Sigmoid") == 0) {
        m->sigmoid = true;
    } else {
        return name[0] == '\0';
    }
    return true;
}

static bert_status match_gemm(linear *m, bert_node *node, bool *matched) {
    bert_pass_context *context = m->pattern.context;
    if (!match_own_activation(m, node)) {
        bert_pass_missed(context, node, "its activation is not known");
        return BERT_OK;
    }
    m->x = node->inputs[0];
    m->alpha = BERT_NODE_FLOAT(node, "alpha", 1);
    m->transposed = BERT_NODE_INT(node, "transB", 0) != 0;
    float beta = BERT_NODE_FLOAT(node, "beta", 1);
    bert_value *addend = beta == 0 ? NULL : bert_node_in(node, 2);
    if (!match_weight(m, node->inputs[1]) || m->x->info.constant) return BERT_OK;
    if (BERT_NODE_INT(node, "transA", 0) != 0 || (addend && beta != 1)) {
        bert_pass_missed(context, node, "its input is transposed, or its bias is scaled");
        return BERT_OK;
    }
    if (addend) {
        BERT_TRY(match_bias(context, addend, width(m), 2, &m->bias));
        if (!m->bias) bert_pass_missed(context, node, "its addend is not a constant vector as long as a row");
    }
    *matched = !addend || m->bias;
    return BERT_OK;
}

/* ---- What follows it ------------------------------------------------------------------------------------------------
 */

/* The node that alone reads the root's output and may become the root. */
static bert_node *next(const linear *m) {
    bert_node *reader = bert_value_sole_reader(m->pattern.root->outputs[0]);
    return reader && reader->block == m->pattern.root->block ? reader : NULL;
}

/* The pattern goes on to `node`, which reads its root. */
static void extend(linear *m, bert_node *node) {
    bert_node *old = m->pattern.root;
    m->pattern.nodes[0] = m->pattern.root = node;
    bert_pattern_add(&m->pattern, old);
}

static bert_status match_added_bias(linear *m) {
    bert_node *add = next(m);
    if (m->bias || !bert_node_is(add, BERT_OP_Add)) return BERT_OK;
    bert_value *other = bert_node_beside(add, m->pattern.root->outputs[0]);
    BERT_TRY(match_bias(m->pattern.context, other, width(m), bert_value_rank(m->x), &m->bias));
    if (m->bias) extend(m, add);
    return BERT_OK;
}

static void match_activation(linear *m) {
    bert_node *node = next(m);
    const char *activation = node && node->input_count == 1 ? bert_activation_of(node) : NULL;
    if (!activation) return;
    m->activation = activation;
    extend(m, node);
}

static bert_status rewrite(bert_pass_context *context, linear *m) {
    bert_value *inputs[] = {
        [BERT_LINEAR_X] = m->x, [BERT_LINEAR_WEIGHT(0)] = m->weight, [BERT_LINEAR_BIAS(0)] = m->bias};
    bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("parts", 1), BERT_INT_ATTRIBUTE("transpose", m->transposed),
                                   BERT_FLOAT_ATTRIBUTE("alpha", m->alpha),
                                   BERT_STRING_ATTRIBUTE("activation", m->activation)};
    const bert_node_spec spec = {.op = bert_op_get(BERT_OP_BERTC_Linear),
                                 .opset = 1,
                                 .inputs = inputs,
                                 .input_count = 4,
                                 .attributes = attributes,
                                 .attribute_count = 4};
    if (!m->sigmoid) return bert_pattern_replace(&m->pattern, &spec, NULL);
    bert_value *y = NULL;
    BERT_TRY(bert_build(context, m->pattern.root, &spec, m->pattern.root, &y));
    return bert_pattern_replace(&m->pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_Sigmoid),
                                                  .opset = bert_build_opset(m->pattern.root, 13),
                                                  .inputs = &y,
                                                  .input_count = 1},
                                NULL);
}

static bert_status visit(bert_pass_context *context, bert_node *node) {
    linear m = {.alpha = 1, .activation = "none"};
    bool matched = false;
    bert_pattern_begin(&m.pattern, context, node);
    switch (node->op->id) {
    case BERT_OP_MatMul:
    case BERT_OP_MS_FusedMatMul:
        matched = match_matmul(&m, node);
        break;
    case BERT_OP_Gemm:
    case BERT_OP_MS_FusedGemm:
    case BERT_OP_MS_GemmFastGelu:
        BERT_TRY(match_gemm(&m, node, &matched));
        break;
    default:
        break;
    }
    if (!matched) return BERT_OK;
    if (strcmp(m.activation, "none") == 0 && !m.sigmoid) {
        BERT_TRY(match_added_bias(&m));
        match_activation(&m);
    }
    return bert_pattern_closed(&m.pattern) ? rewrite(context, &m) : BERT_OK;
}

bert_status bert_pass_linear(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
