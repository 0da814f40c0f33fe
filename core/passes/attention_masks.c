#include "core/passes/attention_masks.h"

#include "core/base/error.h"

#include <float.h>

/* From here on, adding it to a score gives the number itself in float32 and in double: the score doesn't count. */
#define SWALLOWS (-1e30F)

static const int64_t axes_0_1[] = {0, 1}, axes_1_2[] = {1, 2};

bert_status bert_build_causal(bert_pass_context *context, bert_node *node, bert_value *query, bert_value *key,
                              bert_value **out) {
    bert_value *rows = NULL, *columns = NULL, *keep = NULL;
    BERT_TRY(bert_build_range(context, node, query, 1, &rows));
    BERT_TRY(bert_build_range(context, node, key, 1, &columns));
    BERT_TRY(bert_build_unsqueeze(context, node, rows, &(int64_t){1}, 1, &rows));
    BERT_TRY(bert_build_op(context, node, BERT_OP_LessOrEqual, (bert_value *[]){columns, rows}, 2, &keep));
    return bert_build_unsqueeze(context, node, keep, axes_0_1, 2, out);
}

/* B, 2 B or 3 B + 2 elements: lengths, lengths and starts, lengths and what isn't read. */
typedef enum lengths_form { LENGTHS, LENGTHS_AND_STARTS, LENGTHS_AND_MORE } lengths_form;

/* B, as a list of one, from the mask's own length: all layers read the same mask. */
static bert_status build_batch(bert_pass_context *context, bert_node *node, const bert_score_masks *m,
                               lengths_form form, bert_value **out) {
    bert_value *count = NULL, *rest = NULL, *factor = NULL;
    BERT_TRY(bert_build_op(context, node, BERT_OP_Shape, &m->mask, 1, &count));
    BERT_TRY(bert_build_ints(context, &(int64_t){form == LENGTHS_AND_MORE ? 2 : 0}, 1, &rest));
    BERT_TRY(bert_build_ints(context, &(int64_t){form == LENGTHS_AND_MORE ? 3 : 2}, 1, &factor));
    BERT_TRY(bert_build_op(context, node, BERT_OP_Sub, (bert_value *[]){count, rest}, 2, &count));
    return bert_build_op(context, node, BERT_OP_Div, (bert_value *[]){count, factor}, 2, out);
}

/* Elements [first B, (first + 1) B) of the mask, as int64 [B, 1]. */
static bert_status give_lengths(bert_pass_context *context, bert_node *node, const bert_score_masks *m, int64_t first,
                                lengths_form form, bert_value **out) {
    bert_value *batch = NULL, *bounds[2] = {NULL}, *factor = NULL, *lengths = m->mask;
    if (form != LENGTHS) {
        BERT_TRY(build_batch(context, node, m, form, &batch));
        for (int64_t i = 0; i < 2; i++) {
            BERT_TRY(bert_build_ints(context, &(int64_t){first + i}, 1, &factor));
            BERT_TRY(bert_build_op(context, node, BERT_OP_Mul, (bert_value *[]){batch, factor}, 2, &bounds[i]));
        }
        BERT_TRY(
            bert_build_op(context, node, BERT_OP_Slice, (bert_value *[]){m->mask, bounds[0], bounds[1]}, 3, &lengths));
    }
    BERT_TRY(bert_build_cast(context, node, lengths, BERT_INT64, &lengths));
    return bert_build_unsqueeze(context, node, lengths, &(int64_t){1}, 1, out);
}

/* True where a key counts: [B, 1, 1, T]. */
static bert_status keep_by_length(bert_pass_context *context, bert_node *node, const bert_score_masks *m,
                                  lengths_form form, bert_value **out) {
    bert_value *lengths = NULL, *columns = NULL, *keep = NULL;
    BERT_TRY(bert_build_range(context, node, m->key, 1, &columns));
    BERT_TRY(give_lengths(context, node, m, 0, form, &lengths));
    BERT_TRY(bert_build_op(context, node, BERT_OP_Less, (bert_value *[]){columns, lengths}, 2, &keep));
    if (form == LENGTHS_AND_STARTS) {
        bert_value *from = NULL;
        BERT_TRY(give_lengths(context, node, m, 1, form, &lengths));
        BERT_TRY(bert_build_op(context, node, BERT_OP_GreaterOrEqual, (bert_value *[]){columns, lengths}, 2, &from));
        BERT_TRY(bert_build_op(context, node, BERT_OP_And, (bert_value *[]){keep, from}, 2, &keep));
    }
    return bert_build_unsqueeze(context, node, keep, axes_1_2, 2, out);
}

/* A mask of elements to true where it is positive. */
static bert_status keep_by_element(bert_pass_context *context, bert_node *node, const bert_score_masks *m,
                                   bert_value **out) {
    bert_value *zero = NULL, *keep = NULL;
    BERT_TRY(bert_build_ints(context, &(int64_t){0}, -1, &zero));
    BERT_TRY(bert_build_cast(context, node, zero, m->mask->info.dtype, &zero));
    BERT_TRY(bert_build_op(context, node, BERT_OP_Greater, (bert_value *[]){m->mask, zero}, 2, &keep));
    *out = keep;
    switch (bert_value_rank(m->mask)) {
    case 2:
        return bert_build_unsqueeze(context, node, keep, axes_1_2, 2, out);
    case 3:
        return bert_build_unsqueeze(context, node, keep, &(int64_t){1}, 1, out);
    default:
        return BERT_OK;
    }
}

/* True where a key counts, broadcastable to the scores; NULL where the form isn't certain. */
static bert_status build_keep(bert_pass_context *context, bert_node *node, const bert_score_masks *m,
                              bert_value **out) {
    const bert_shape *shape = &m->mask->info.shape;
    bert_symbols *symbols = context->graph->symbols;
    bert_dim batch = bert_value_dim(m->query, 0), rows = bert_value_dim(m->query, 1), columns;
    columns = bert_value_dim(m->key, 1);
    bert_dim last = shape->rank > 0 ? shape->dims[shape->rank - 1] : 0;
    *out = NULL;
    switch (shape->rank) {
    case 1: {
        bert_dim three = bert_dim_add(symbols, bert_dim_multiply(symbols, batch, 3), 2);
        if (last == batch) return keep_by_length(context, node, m, LENGTHS, out);
        if (last == three) return keep_by_length(context, node, m, LENGTHS_AND_MORE, out);
        bool starts = last == bert_dim_multiply(symbols, batch, 2);
        return starts ? keep_by_length(context, node, m, LENGTHS_AND_STARTS, out) : BERT_OK;
    }
    case 2:
        return last == columns ? keep_by_element(context, node, m, out) : BERT_OK;
    case 3:
        return last == columns && shape->dims[1] == rows ? keep_by_element(context, node, m, out) : BERT_OK;
    case 4: /* [B, 1, M, M] may be larger than the scores; then the operator itself cuts it. */
        return last == columns && shape->dims[2] == rows ? keep_by_element(context, node, m, out) : BERT_OK;
    default:
        return BERT_OK;
    }
}

/* *bias with the filter added where `keep` is false; *bias NULL counts as 0. */
static bert_status add_filter(bert_pass_context *context, bert_node *node, const bert_score_masks *m, bert_value *keep,
                              float number, bert_value **bias) {
    bert_value *zero = NULL, *filter = NULL, *filtered = NULL;
    BERT_TRY(bert_build_float(context, 0, &zero));
    BERT_TRY(bert_build_float(context, number, &filter));
    BERT_TRY(bert_build_op(context, node, BERT_OP_Where, (bert_value *[]){keep, zero, filter}, 3, &filtered));
    BERT_TRY(bert_build_cast(context, node, filtered, m->query->info.dtype, &filtered));
    if (*bias) return bert_build_op(context, node, BERT_OP_Add, (bert_value *[]){*bias, filtered}, 2, bias);
    *bias = filtered;
    return BERT_OK;
}

bert_status bert_build_masks(bert_pass_context *context, bert_node *node, const bert_score_masks *m,
                             bert_built_masks *out, bool *built) {
    bert_value *keep = NULL, *causal = NULL;
    *out = (bert_built_masks){.bias = m->bias, .mask_value = -FLT_MAX};
    *built = false;
    if (m->mask) {
        BERT_TRY(build_keep(context, node, m, &keep));
        if (!keep) {
            bert_pass_missed(context, node, "the form of its mask is not certain");
            return BERT_OK;
        }
    }
    if (m->unidirectional) BERT_TRY(bert_build_causal(context, node, m->query, m->key, &causal));
    /* A filter that leaves nothing of a score is a mask. The triangle of unidirectional attention always is, but where
     * there is a bias, which is added to its keys too and may be as low. */
    bool filters = keep && !(m->filter <= SWALLOWS && (!causal || m->filter == -FLT_MAX));
    bool causal_filters = causal && m->bias;
    if (((filters && m->filter < -65504.0F) || causal_filters) && m->query->info.dtype == BERT_FLOAT16) {
        bert_pass_missed(context, node, "its mask's number is beyond float16");
        return BERT_OK;
    }
    *built = true;
    if (filters) BERT_TRY(add_filter(context, node, m, keep, m->filter, &out->bias));
    if (keep && !filters && !causal) out->mask_value = m->filter;
    out->mask = filters || !keep ? causal : keep;
    if (!filters && keep && causal)
        BERT_TRY(bert_build_op(context, node, BERT_OP_And, (bert_value *[]){keep, causal}, 2, &out->mask));
    if (!causal_filters) return BERT_OK;
    BERT_TRY(add_filter(context, node, m, out->mask, -FLT_MAX, &out->bias));
    out->mask = NULL;
    return BERT_OK;
}
