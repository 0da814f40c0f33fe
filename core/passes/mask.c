/*
 * Masks of Attention no larger than what they say.
 *
 * Exporters expand a mask of [batch, 1, 1, keys] to [batch, 1, queries, keys], and join it with conditions that always
 * hold (a position is at least 0). Attention broadcasts its mask and bias itself, so the expansion goes: what is left
 * tells at a glance that only keys are masked, and costs nothing.
 */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

#include <string.h>

#define DEPTH 12

/* ---- What always holds ----------------------------------------------------------------------------------------------
 */

/* Whether the node only moves, repeats or converts what its first input holds (integers and booleans alone). */
static bool only_moves(const bert_node *node) {
    switch (node->op->id) {
    case BERT_OP_Cast:
    case BERT_OP_Reshape:
    case BERT_OP_Squeeze:
    case BERT_OP_Unsqueeze:
    case BERT_OP_Expand:
    case BERT_OP_Identity:
        return node->inputs[0]->info.dtype != BERT_DTYPE_UNDEFINED &&
               !bert_dtype_is_float(node->inputs[0]->info.dtype) && !bert_dtype_is_float(node->outputs[0]->info.dtype);
    default:
        return false;
    }
}

/* Certainly no element below 0: numbers counted up from 0 or more. */
static bool is_nonnegative(const bert_value *value, int depth) {
    double start = -1, step = -1;
    const bert_node *node = value->producer;
    if (!node) return bert_value_scalar(value, &start) && start >= 0;
    if (depth == 0) return false;
    if (bert_node_is(node, BERT_OP_Range)) {
        return bert_value_scalar(node->inputs[0], &start) && bert_value_scalar(node->inputs[2], &step) && start >= 0 &&
               step > 0;
    }
    return only_moves(node) && is_nonnegative(node->inputs[0], depth - 1);
}

static bool is_all_true(const bert_value *value, int depth) {
    double number = 0;
    const bert_node *node = value->producer;
    if (!node) return value->info.dtype == BERT_BOOL && bert_value_scalar(value, &number) && number != 0;
    if (depth == 0) return false;
    switch (node->op->id) {
    case BERT_OP_GreaterOrEqual:
        return bert_value_scalar(node->inputs[1], &number) && number <= 0 && is_nonnegative(node->inputs[0], depth - 1);
    case BERT_OP_Greater:
        return bert_value_scalar(node->inputs[1], &number) && number < 0 && is_nonnegative(node->inputs[0], depth - 1);
    case BERT_OP_And:
        return is_all_true(node->inputs[0], depth - 1) && is_all_true(node->inputs[1], depth - 1);
    default:
        return only_moves(node) && node->inputs[0]->info.dtype == BERT_BOOL && is_all_true(node->inputs[0], depth - 1);
    }
}

/* ---- Narrowing ------------------------------------------------------------------------------------------------------
 */

static bert_status narrow(bert_pass_context *context, bert_value *value, int depth, bert_value **out);

/* The same with dimensions of 1 in front. */
static bert_status with_rank(bert_pass_context *context, bert_node *before, bert_value *value, int32_t rank,
                             bert_value **out) {
    static const int64_t axes[BERT_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    *out = value;
    if (bert_value_rank(value) == rank) return BERT_OK;
    return bert_build_unsqueeze(context, before, value, axes, rank - bert_value_rank(value), out);
}

/* The node again, with another value for input `input`. */
static bert_status rebuild(bert_pass_context *context, bert_node *node, int32_t input, bert_value *value,
                           bert_value **out) {
    bert_value *inputs[3];
    for (int32_t i = 0; i < node->input_count; i++) inputs[i] = i == input ? value : node->inputs[i];
    return bert_build(context, node,
                      &(bert_node_spec){.op = node->op,
                                        .opset = node->opset,
                                        .name = node->name,
                                        .inputs = inputs,
                                        .input_count = node->input_count,
                                        .attributes = node->attributes,
                                        .attribute_count = node->attribute_count},
                      node, out);
}

/* The one input that isn't a number, of a node that works element by element; -1 when there isn't just one. */
static int32_t elementwise_operand(const bert_node *node) {
    double number = 0;
    switch (node->op->id) {
    case BERT_OP_Cast:
    case BERT_OP_Not:
        return 0;
    case BERT_OP_Add:
    case BERT_OP_Sub:
    case BERT_OP_Mul:
    case BERT_OP_Div:
    case BERT_OP_Equal:
        for (int32_t i = 0; i < 2; i++) {
            if (bert_value_scalar(node->inputs[1 - i], &number)) return i;
        }
        return -1;
    case BERT_OP_Where:
        return bert_value_scalar(node->inputs[1], &number) && bert_value_scalar(node->inputs[2], &number) ? 0 : -1;
    default:
        return -1;
    }
}

/* A value that broadcasts to `value`, of the same rank; `value` itself when there is no smaller one. */
static bert_status narrow(bert_pass_context *context, bert_value *value, int depth, bert_value **out) {
    bert_node *node = value->producer;
    bert_value *inner = NULL, *smaller = NULL;
    *out = value;
    if (!node || depth == 0 || node->output_count != 1 || bert_value_rank(value) < 0) return BERT_OK;
    if (bert_node_is(node, BERT_OP_Expand)) {
        inner = node->inputs[0];
    } else if (bert_node_is(node, BERT_OP_And)) {
        for (int i = 0; i < 2 && !inner; i++) {
            if (is_all_true(node->inputs[i], DEPTH)) inner = node->inputs[1 - i];
        }
    }
    if (inner && bert_value_rank(inner) >= 0) {
        BERT_TRY(narrow(context, inner, depth - 1, &smaller));
        return with_rank(context, node, smaller, bert_value_rank(value), out);
    }
    int32_t operand = elementwise_operand(node);
    if (operand < 0 || bert_value_rank(node->inputs[operand]) != bert_value_rank(value)) return BERT_OK;
    BERT_TRY(narrow(context, node->inputs[operand], depth - 1, &smaller));
    return smaller == node->inputs[operand] ? BERT_OK : rebuild(context, node, operand, smaller, out);
}

static bert_status visit(bert_pass_context *context, bert_node *node) {
    if (!bert_node_is(node, BERT_OP_BERTC_Attention)) return BERT_OK;
    for (int32_t i = BERT_ATTENTION_BIAS; i <= BERT_ATTENTION_MASK; i++) {
        bert_value *mask = bert_node_in(node, i), *smaller = NULL;
        if (!mask) continue;
        BERT_TRY(narrow(context, mask, DEPTH, &smaller));
        if (smaller == mask) continue;
        BERT_TRY(bert_node_set_input(node, i, smaller, context->error));
        bert_pass_rewrote(context, node);
    }
    return BERT_OK;
}

bert_status bert_pass_mask(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
