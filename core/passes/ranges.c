/*
 * Range over floats that were integers: over the integers, and cast afterwards.
 *
 * torch.arange(length, dtype=float32) is written so. Inference follows integers alone: without this nobody knows that
 * rotary embeddings have a row for each token. float32 holds every integer up to 2^24, more than there are tokens;
 * ranges of narrower types end elsewhere where they don't hold their limit, and stay.
 */
#include "core/base/error.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

#include <math.h>

enum { BOUNDS = 3, MOST = 1 << 24 };

/* A bound as int64: a constant that is whole, or what was cast from one. NULL: it's neither. */
static bert_status whole_bound(bert_pass_context *context, bert_node *range, bert_value *bound, bert_value **out) {
    double number = 0;
    const bert_node *cast = bert_value_made_by(bound, BERT_OP_Cast);
    *out = NULL;
    if (bert_value_scalar(bound, &number)) {
        if (number != floor(number) || fabs(number) > MOST) return BERT_OK;
        return bert_build_ints(context, &(int64_t){(int64_t)number}, -1, out);
    }
    if (!cast || bert_value_rank(cast->inputs[0]) != 0) return BERT_OK;
    if (cast->inputs[0]->info.dtype != BERT_INT64 && cast->inputs[0]->info.dtype != BERT_INT32) return BERT_OK;
    return bert_build_cast(context, range, cast->inputs[0], BERT_INT64, out);
}

static bert_status visit(bert_pass_context *context, bert_node *node) {
    bert_value *bounds[BOUNDS] = {NULL}, *whole = NULL;
    double step = 0;
    if (!bert_node_is(node, BERT_OP_Range)) return BERT_OK;
    const bert_dtype dtype = node->outputs[0]->info.dtype;
    if (dtype != BERT_FLOAT && dtype != BERT_DOUBLE) return BERT_OK;
    /* One that has no end fails where it is run, if it is. */
    if (!bert_value_scalar(node->inputs[2], &step) || step == 0) return BERT_OK;
    for (int i = 0; i < BOUNDS; i++) {
        BERT_TRY(whole_bound(context, node, node->inputs[i], &bounds[i]));
        if (!bounds[i]) return BERT_OK;
    }
    BERT_TRY(bert_build_op(context, node, BERT_OP_Range, bounds, BOUNDS, &whole));
    bert_pattern pattern;
    bert_pattern_begin(&pattern, context, node);
    const bert_attribute to = BERT_INT_ATTRIBUTE("to", dtype);
    return bert_pattern_replace(&pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_Cast),
                                                  .opset = bert_build_opset(node, 13),
                                                  .inputs = &whole,
                                                  .input_count = 1,
                                                  .attributes = &to,
                                                  .attribute_count = 1},
                                NULL);
}

bert_status bert_pass_ranges(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
