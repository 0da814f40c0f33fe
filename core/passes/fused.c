/*
 * Single operators of com.microsoft in other words, so that the passes after this one see one spelling:
 *
 *   Gelu, FastGelu, BiasGelu     Gelu, after an Add where there is a bias
 *   BiasSoftmax                  Add and Softmax
 *   SkipLayerNormalization       the canonical one
 *   EmbedLayerNormalization      Embedding; its mask index becomes a count of the mask's ones
 *   QEmbedLayerNormalization     the same with tables of bytes
 *
 * Products (FusedMatMul, FusedGemm, GemmFastGelu) are read by the passes that fuse products, attention by
 * fused_attention.
 */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

#include <string.h>

/* ---- Gelu -----------------------------------------------------------------------------------------------------------
 */

static bert_status rewrite_gelu(bert_pass_context *context, bert_node *node) {
    bool by_tanh = bert_node_is(node, BERT_OP_MS_FastGelu);
    bert_value *x = node->inputs[0], *bias = bert_node_in(node, 1);
    bert_pattern pattern;
    bert_pattern_begin(&pattern, context, node);
    if (bias) BERT_TRY(bert_build_op(context, node, BERT_OP_Add, (bert_value *[]){x, bias}, 2, &x));
    bert_attribute approximate = BERT_STRING_ATTRIBUTE("approximate", "tanh");
    return bert_pattern_replace(&pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_Gelu),
                                                  .opset = 20,
                                                  .inputs = &x,
                                                  .input_count = 1,
                                                  .attributes = &approximate,
                                                  .attribute_count = by_tanh},
                                NULL);
}

/* ---- BiasSoftmax ----------------------------------------------------------------------------------------------------
 */

static bert_status rewrite_softmax(bert_pass_context *context, bert_node *node) {
    bert_value *x = node->inputs[0];
    int32_t rank = bert_value_rank(x);
    if (rank < 1 || bert_axis_from_front(BERT_NODE_INT(node, "axis", 1), rank) != rank - 1) {
        bert_pass_missed(context, node, "is not over the last dimension");
        return BERT_OK;
    }
    bert_pattern pattern;
    bert_pattern_begin(&pattern, context, node);
    BERT_TRY(bert_build_op(context, node, BERT_OP_Add, (bert_value *[]){x, node->inputs[1]}, 2, &x));
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", -1);
    return bert_pattern_replace(&pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_Softmax),
                                                  .opset = 13,
                                                  .inputs = &x,
                                                  .input_count = 1,
                                                  .attributes = &axis,
                                                  .attribute_count = 1},
                                NULL);
}

/* ---- SkipLayerNormalization -----------------------------------------------------------------------------------------
 */

static bool is_read(const bert_value *value) {
    return value && (value->use_count || bert_value_leaves(value));
}

static bert_status rewrite_skip(bert_pass_context *context, bert_node *node) {
    bool simplified = bert_node_is(node, BERT_OP_MS_SkipSimplifiedLayerNormalization);
    if (!bert_same_shape(node->inputs[0], node->inputs[1])) {
        bert_pass_missed(context, node, "its operands do not certainly have one shape");
        return BERT_OK;
    }
    bert_value *inputs[] = {[BERT_SKIP_X] = node->inputs[0],
                            [BERT_SKIP_SKIP] = node->inputs[1],
                            [BERT_SKIP_GAMMA] = node->inputs[2],
                            [BERT_SKIP_BETA] = simplified ? NULL : bert_node_in(node, 3),
                            [BERT_SKIP_BIAS] = bert_node_in(node, simplified ? 3 : 4)};
    bert_attribute attributes[] = {BERT_FLOAT_ATTRIBUTE("epsilon", BERT_NODE_FLOAT(node, "epsilon", 1e-12F)),
                                   BERT_INT_ATTRIBUTE("simplified", simplified)};
    bool sum_is_read = is_read(bert_node_out(node, 3));
    bert_node *made = NULL;
    BERT_TRY(bert_graph_add_node(node->block, node,
                                 &(bert_node_spec){.op = bert_op_get(BERT_OP_BERTC_SkipLayerNormalization),
                                                   .opset = 1,
                                                   .name = node->name,
                                                   .inputs = inputs,
                                                   .input_count = BERT_SKIP_BIAS + 1,
                                                   .outputs = (bert_value *[]){NULL, NULL},
                                                   .output_count = sum_is_read ? 2 : 1,
                                                   .attributes = attributes,
                                                   .attribute_count = simplified ? 2 : 1},
                                 &made, context->error));
    BERT_TRY(bert_node_add_origins(made, node, context->error));
    bert_node_take_output(made, 0, node, 0);
    if (sum_is_read) bert_node_take_output(made, 1, node, 3);
    bert_graph_remove_node(node);
    bert_pass_rewrote(context, made);
    return BERT_OK;
}

/* ---- EmbedLayerNormalization ----------------------------------------------------------------------------------------
 */

enum { WORD_IDS, TYPE_IDS, WORD_TABLE, POSITION_TABLE, TYPE_TABLE, GAMMA, BETA, MASK, POSITION_IDS };

/* QEmbedLayerNormalization: where the scale and the zero point of a table, gamma or beta stand. It has no position ids.
 */
enum { SCALES = 8, ZERO_POINTS = SCALES + BETA - WORD_TABLE + 1 };

static bool is_quantized(const bert_node *node) {
    return bert_node_is(node, BERT_OP_MS_QEmbedLayerNormalization);
}

/* [1, S]: counted up from 0, as the operator does without position ids. */
static bert_status count_positions(bert_pass_context *context, bert_node *node, bert_value **out) {
    BERT_TRY(bert_build_range(context, node, node->inputs[WORD_IDS], 1, out));
    return bert_build_unsqueeze(context, node, *out, &(int64_t){0}, 1, out);
}

/* The mask index [B]: how many elements of a row of the mask are 1; without a mask 0. */
static bert_status count_mask(bert_pass_context *context, bert_node *node, bert_value **out) {
    bert_value *mask = bert_node_in(node, MASK), *number = NULL, *axes = NULL;
    /* Without a mask word ids stand for it: nothing is a 1 that isn't itself. */
    bert_value *of = mask ? mask : node->inputs[WORD_IDS];
    BERT_TRY(bert_build_ints(context, &(int64_t){1}, -1, &number));
    BERT_TRY(bert_build_cast(context, node, of, BERT_INT64, &of));
    if (mask) {
        BERT_TRY(bert_build_op(context, node, BERT_OP_Equal, (bert_value *[]){of, number}, 2, &of));
    } else {
        BERT_TRY(bert_build_op(context, node, BERT_OP_Less, (bert_value *[]){of, of}, 2, &of));
    }
    BERT_TRY(bert_build_cast(context, node, of, BERT_INT32, &of));
    BERT_TRY(bert_build_ints(context, &(int64_t){1}, 1, &axes));
    bert_attribute keep = BERT_INT_ATTRIBUTE("keepdims", 0);
    return bert_build(context, node,
                      &(bert_node_spec){.op = bert_op_get(BERT_OP_ReduceSum),
                                        .opset = 13,
                                        .inputs = (bert_value *[]){of, axes},
                                        .input_count = 2,
                                        .attributes = &keep,
                                        .attribute_count = 1},
                      node, out);
}

static bool tables_are_constant(const bert_node *node) {
    for (int32_t i = WORD_TABLE; i <= BETA; i++) {
        const bert_value *value = bert_node_in(node, i);
        if (i == TYPE_TABLE && !bert_node_in(node, TYPE_IDS)) continue;
        if (!value || !value->info.constant) return false;
        for (int32_t j = 0; j < 2 && is_quantized(node); j++) {
            const bert_value *parameter = bert_node_in(node, (j ? ZERO_POINTS : SCALES) + i - WORD_TABLE);
            if (!parameter || !parameter->info.constant || bert_constant_elements(parameter->info.constant) != 1)
                return false;
        }
    }
    return true;
}

/* The table at `from`, with its scale and zero point where it has them, to `to` of an Embedding's inputs. */
static bert_status give_table(bert_pass_context *context, const bert_node *node, int32_t from, int32_t to,
                              bert_value **inputs) {
    inputs[to] = node->inputs[from];
    if (!is_quantized(node)) return BERT_OK;
    const int64_t one[2] = {1, 1};
    BERT_TRY(
        bert_build_shown(context, node->inputs[SCALES + from - WORD_TABLE], 2, one, &inputs[BERT_EMBEDDING_SCALE(to)]));
    return bert_build_shown(context, node->inputs[ZERO_POINTS + from - WORD_TABLE], 2, one,
                            &inputs[BERT_EMBEDDING_ZERO_POINT(to)]);
}

/* Gamma or beta: dequantized where it is bytes. */
static bert_status give_vector(bert_pass_context *context, bert_node *node, int32_t from, bert_value **out) {
    *out = node->inputs[from];
    if (!is_quantized(node)) return BERT_OK;
    return bert_build_op(context, node, BERT_OP_DequantizeLinear,
                         (bert_value *[]){node->inputs[from], node->inputs[SCALES + from - WORD_TABLE],
                                          node->inputs[ZERO_POINTS + from - WORD_TABLE]},
                         3, out);
}

static bert_status rewrite_embedding(bert_pass_context *context, bert_node *node) {
    bert_value *index = bert_node_out(node, 1), *counted = NULL;
    bert_value *positions = is_quantized(node) ? NULL : bert_node_in(node, POSITION_IDS);
    if (!tables_are_constant(node) || bert_value_rank(node->inputs[WORD_IDS]) != 2) {
        bert_pass_missed(context, node, "its tables are not constants, or its ids not certainly [batch, sequence]");
        return BERT_OK;
    }
    if (is_read(bert_node_out(node, 2))) {
        bert_pass_missed(context, node, "its sum before the normalization is read");
        return BERT_OK;
    }
    if (!positions) BERT_TRY(count_positions(context, node, &positions));
    if (is_read(index)) {
        BERT_TRY(count_mask(context, node, &counted));
        BERT_TRY(bert_graph_replace_value(context->graph, index, counted, context->error));
    }
    bool typed = bert_node_in(node, TYPE_IDS) != NULL;
    bert_value *inputs[BERT_EMBEDDING_INPUTS] = {[BERT_EMBEDDING_WORD_IDS] = node->inputs[WORD_IDS],
                                                 [BERT_EMBEDDING_POSITION_IDS] = positions,
                                                 [BERT_EMBEDDING_TYPE_IDS] = typed ? node->inputs[TYPE_IDS] : NULL};
    BERT_TRY(give_table(context, node, WORD_TABLE, BERT_EMBEDDING_WORD_TABLE, inputs));
    BERT_TRY(give_table(context, node, POSITION_TABLE, BERT_EMBEDDING_POSITION_TABLE, inputs));
    if (typed) BERT_TRY(give_table(context, node, TYPE_TABLE, BERT_EMBEDDING_TYPE_TABLE, inputs));
    BERT_TRY(give_vector(context, node, GAMMA, &inputs[BERT_EMBEDDING_GAMMA]));
    BERT_TRY(give_vector(context, node, BETA, &inputs[BERT_EMBEDDING_BETA]));
    bert_attribute epsilon = BERT_FLOAT_ATTRIBUTE("epsilon", BERT_NODE_FLOAT(node, "epsilon", 1e-12F));
    bert_pattern pattern;
    bert_pattern_begin(&pattern, context, node);
    return bert_pattern_replace(&pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_BERTC_Embedding),
                                                  .opset = 1,
                                                  .inputs = inputs,
                                                  .input_count = BERT_EMBEDDING_INPUTS,
                                                  .attributes = &epsilon,
                                                  .attribute_count = 1},
                                NULL);
}

/* ---- All ------------------------------------------------------------------------------------------------------------
 */

static bert_status visit(bert_pass_context *context, bert_node *node) {
    switch (node->op->id) {
    case BERT_OP_MS_Gelu:
    case BERT_OP_MS_FastGelu:
    case BERT_OP_MS_BiasGelu:
        return rewrite_gelu(context, node);
    case BERT_OP_MS_BiasSoftmax:
        return rewrite_softmax(context, node);
    case BERT_OP_MS_SkipLayerNormalization:
    case BERT_OP_MS_SkipSimplifiedLayerNormalization:
        return rewrite_skip(context, node);
    case BERT_OP_MS_EmbedLayerNormalization:
    case BERT_OP_MS_QEmbedLayerNormalization:
        return rewrite_embedding(context, node);
    default:
        return BERT_OK;
    }
}

bert_status bert_pass_fused(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
