/* The canonical Attention (core/graph/canonical.h). */
#include "core/graph/canonical.h"
#include "core/graph/ops/attention_core.h"
#include "core/graph/ops/attention_masks.h"
#include "core/graph/ops/infer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Bias and mask: rank 4, broadcastable to the scores. */
static bert_status infer_masks(const bert_inference *in, const bert_shape *scores) {
    BERT_TRY(bert_infer_same_type(in, BERT_ATTENTION_Q, BERT_ATTENTION_BIAS));
    BERT_TRY(bert_infer_type(in, BERT_ATTENTION_MASK, BERT_TYPES_BOOL));
    for (int32_t i = BERT_ATTENTION_BIAS; i <= BERT_ATTENTION_MASK; i++) {
        BERT_TRY(bert_infer_rank(in, i, 4, 4));
        BERT_TRY(bert_infer_broadcasts_to(in, i, scores));
    }
    return BERT_OK;
}

/* Cosines and sines: together, of tokens that are queries and keys at once. */
static bert_status infer_rotation(const bert_inference *in, const bert_shape *scores, bert_dim width, int64_t heads) {
    const int32_t cosines = BERT_ATTENTION_COSINES, sines = BERT_ATTENTION_SINES;
    if ((bert_infer_input(in, cosines) != NULL) != (bert_infer_input(in, sines) != NULL))
        return bert_fail(in->error, BERT_INVALID_MODEL, "Attention's cosines and sines go together");
    if (!bert_infer_input(in, cosines)) return BERT_OK;
    const bert_dim depth = bert_dim_divide(in->symbols, width, heads, true);
    if (bert_dim_known(depth) && depth % 2 != 0)
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "Attention rotates heads of %" PRId64 " elements, an odd number", depth);
    BERT_TRY(bert_infer_equal(in, scores->dims[2], scores->dims[3], "the queries and keys of rotated heads", NULL));
    const bert_shape angles = {.rank = 3, .dims = {scores->dims[0], scores->dims[2], depth}};
    for (int32_t i = cosines; i <= sines; i++) {
        const bert_shape *shape = bert_infer_shape(in, i);
        BERT_TRY(bert_infer_same_type(in, BERT_ATTENTION_Q, i));
        BERT_TRY(bert_infer_rank(in, i, 3, 3));
        BERT_TRY(bert_infer_broadcasts_to(in, i, &angles));
        if (shape->rank != 3) continue;
        BERT_TRY(bert_infer_equal(in, shape->dims[1], angles.dims[1], "the rows of the angles and the tokens", NULL));
        BERT_TRY(bert_infer_equal(in, shape->dims[2], depth, "the columns of the angles and a head's elements", NULL));
    }
    const bert_shape *of_cosines = bert_infer_shape(in, cosines), *of_sines = bert_infer_shape(in, sines);
    if (of_cosines->rank != 3 || of_sines->rank != 3) return BERT_OK;
    return bert_infer_equal(in, of_cosines->dims[0], of_sines->dims[0], "the batches of cosines and sines", NULL);
}

/* Q, K and V of their own: types, ranks, and dimensions that must be the same. */
static bert_status infer_separate(const bert_inference *in, const bert_shape *q, int64_t heads, bert_dim *keys,
                                  bert_dim *width) {
    for (int32_t i = BERT_ATTENTION_K; i <= BERT_ATTENTION_V; i++) {
        if (!bert_infer_input(in, i)) {
            return bert_fail(in->error, BERT_INVALID_MODEL,
                             "input %" PRId32 " is missing; only packed Attention has one", i);
        }
        BERT_TRY(bert_infer_same_type(in, BERT_ATTENTION_Q, i));
        BERT_TRY(bert_infer_rank(in, i, 3, 3));
    }
    const bert_shape *k = bert_infer_shape(in, BERT_ATTENTION_K);
    const bert_shape *v = bert_infer_shape(in, BERT_ATTENTION_V);
    *keys = k->rank == 3 ? k->dims[1] : bert_dim_fresh(in->symbols);
    *width = q->dims[2];
    if (k->rank == 3) {
        BERT_TRY(bert_infer_equal(in, q->dims[0], k->dims[0], "the sequences of Q and K", NULL));
        BERT_TRY(bert_infer_equal(in, q->dims[2], k->dims[2], "the last dimensions of Q and K", NULL));
    }
    if (k->rank == 3 && v->rank == 3) BERT_TRY(bert_infer_equal_shapes(in, k, v, "K and V", NULL));
    return BERT_OK;
}

/* Starts and tokens: together, for rows of one batch. */
static bert_status infer_tokens(const bert_inference *in, const bert_shape *q, bool *packed_rows) {
    const int32_t starts = BERT_ATTENTION_STARTS, tokens = BERT_ATTENTION_TOKENS;
    *packed_rows = bert_infer_input(in, tokens) != NULL;
    if (*packed_rows != (bert_infer_input(in, starts) != NULL) ||
        *packed_rows != (BERT_INFER_INT(in, "sequence", 0) > 0)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "Attention's starts, tokens and sequence go together");
    }
    BERT_TRY(bert_infer_type(in, starts, BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_type(in, tokens, BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_rank(in, starts, 1, 1));
    BERT_TRY(bert_infer_rank(in, tokens, 1, 1));
    const bert_shape *rows = bert_infer_shape(in, tokens);
    if (!*packed_rows || rows->rank != 1) return BERT_OK;
    BERT_TRY(bert_infer_equal(in, q->dims[0], 1, "the first dimension of rows without padding and 1", NULL));
    return bert_infer_equal(in, q->dims[1], rows->dims[0], "the rows of Q and the tokens", NULL);
}

bert_status bert_infer_canonical_attention(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, BERT_ATTENTION_Q, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_rank(in, BERT_ATTENTION_Q, 3, 3));
    int64_t heads = BERT_INFER_INT(in, "heads", 0);
    bool packed = BERT_INFER_INT(in, "packed", 0) != 0;
    const char *masked_rows = BERT_INFER_STRING(in, "masked_rows", "nan");
    if (heads < 1 || heads > INT32_MAX) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "Attention has %" PRId64 " heads", heads);
    }
    if (strcmp(masked_rows, "nan") != 0 && strcmp(masked_rows, "zero") != 0) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "Attention's masked_rows is \"%s\"; it takes nan or zero",
                         masked_rows);
    }
    const bert_shape *q = bert_infer_shape(in, BERT_ATTENTION_Q);
    bert_dtype dtype = bert_infer_dtype(in, BERT_ATTENTION_Q);
    bert_infer_give(in, 0, dtype, NULL);
    if (q->rank < 0) return BERT_OK;
    bert_dim keys = q->dims[1];
    bert_dim width = q->dims[2];
    if (packed) {
        width = bert_dim_divide(in->symbols, q->dims[2], 3, true);
    } else {
        BERT_TRY(infer_separate(in, q, heads, &keys, &width));
    }
    bert_dim columns = bert_dim_known(q->dims[2]) ? q->dims[2] : 0;
    int64_t unit = packed ? 3 * heads : heads;
    if (columns % unit != 0) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "the last dimension of Q is %" PRId64 ", not a multiple of %" PRId64, columns, unit);
    }
    bool packed_rows;
    BERT_TRY(infer_tokens(in, q, &packed_rows));
    bert_shape scores = {.rank = 4, .dims = {q->dims[0], heads, q->dims[1], keys}};
    if (packed_rows) {
        const bert_shape *starts = bert_infer_shape(in, BERT_ATTENTION_STARTS);
        const bool known = starts->rank == 1 && bert_dim_known(starts->dims[0]) && starts->dims[0] > 0;
        scores.dims[0] = known ? starts->dims[0] - 1 : bert_dim_fresh(in->symbols);
        scores.dims[2] = scores.dims[3] = BERT_INFER_INT(in, "sequence", 0);
    }
    BERT_TRY(infer_masks(in, &scores));
    BERT_TRY(infer_rotation(in, &scores, width, heads));
    bert_shape shape = {.rank = 3, .dims = {q->dims[0], q->dims[1], width}};
    bert_infer_give(in, 0, dtype, &shape);
    return BERT_OK;
}

/* What the scores of one call are made with besides Q and K. */
typedef struct terms {
    bert_spread bias, mask;
    const bert_tensor *cosines, *sines; /* NULL: heads aren't rotated */
    int64_t depth;
    double mask_value;
    bool zero_rows;
    int64_t columns;
    /* Rows without padding: those of one sequence, where it starts among them, and the tokens of all. */
    const bert_tensor *tokens;
    int64_t sequence, length, start;
} terms;

/* Where a row or column of the call stands in bias and mask, and among the angles. */
static int64_t position_of(const terms *m, int64_t index) {
    if (!m->tokens) return index;
    return (int64_t)bert_load_integer(m->tokens, m->start + index) - m->sequence * m->length;
}

static void adjust(const void *user, int64_t batch, int64_t head, int64_t row, double *scores) {
    const terms *m = user;
    if (m->tokens) batch = m->sequence;
    row = position_of(m, row);
    for (int64_t t = 0; t < m->columns; t++) {
        const int64_t column = position_of(m, t);
        if (m->bias.tensor) {
            int64_t at = bert_spread_row(&m->bias, batch, head, row) + column * m->bias.strides[3];
            scores[t] += bert_load(m->bias.tensor, at);
        }
        if (m->mask.tensor) {
            int64_t at = bert_spread_row(&m->mask, batch, head, row) + column * m->mask.strides[3];
            if (!bert_load_integer(m->mask.tensor, at)) scores[t] = m->mask_value;
        }
    }
}

/* Where element d of the angles of a row is: [1 or B, S, D]. */
static int64_t angle_at(const bert_tensor *angles, int64_t batch, int64_t position, int64_t d) {
    return ((angles->dims[0] == 1 ? 0 : batch) * angles->dims[1] + position) * angles->dims[2] + d;
}

static void rotate(const void *user, int64_t batch, int64_t row, double *head) {
    const terms *m = user;
    const int64_t half = m->depth / 2, position = position_of(m, row);
    if (m->tokens) batch = m->sequence;
    for (int64_t d = 0; d < half; d++) {
        const double first = head[d], second = head[d + half];
        head[d] = first * bert_load(m->cosines, angle_at(m->cosines, batch, position, d)) -
                  second * bert_load(m->sines, angle_at(m->sines, batch, position, d));
        head[d + half] = second * bert_load(m->cosines, angle_at(m->cosines, batch, position, d + half)) +
                         first * bert_load(m->sines, angle_at(m->sines, batch, position, d + half));
    }
}

static void clear_nan_row(const void *user, int64_t batch, int64_t head, int64_t row, double *probabilities) {
    const terms *m = user;
    if (!m->zero_rows) return;
    for (int64_t t = 0; t < m->columns; t++) {
        if (isnan(probabilities[t])) probabilities[t] = 0;
    }
}

/* Each sequence's rows as a batch of one. */
static bert_status attend_rows(const bert_reference_call *call, const bert_attention *all, terms *m) {
    const bert_tensor *starts = &call->inputs[BERT_ATTENTION_STARTS];
    m->tokens = &call->inputs[BERT_ATTENTION_TOKENS];
    m->length = BERT_CALL_INT(call, "sequence", 0);
    for (m->sequence = 0; m->sequence + 1 < starts->dims[0]; m->sequence++) {
        const int64_t end = (int64_t)bert_load_integer(starts, m->sequence + 1);
        m->start = (int64_t)bert_load_integer(starts, m->sequence);
        if (m->start < 0 || end < m->start || end > m->tokens->dims[0]) {
            return bert_fail(call->error, BERT_INVALID_INPUT,
                             "sequence %" PRId64 " is rows %" PRId64 " to %" PRId64 " of %" PRId64, m->sequence,
                             m->start, end, m->tokens->dims[0]);
        }
        for (int64_t i = 0; i < end - m->start; i++) {
            if (position_of(m, i) >= 0 && position_of(m, i) < m->length) continue;
            return bert_fail(call->error, BERT_INVALID_INPUT, "row %" PRId64 " is no token of sequence %" PRId64,
                             m->start + i, m->sequence);
        }
        bert_attention one = *all;
        bert_heads *heads[] = {&one.q, &one.k, &one.v, &one.y};
        for (int i = 0; i < 4; i++) heads[i]->offset += m->start * heads[i]->row_stride;
        one.batch = 1;
        one.rows = one.columns = m->columns = end - m->start;
        bert_attention_run(&one);
    }
    return BERT_OK;
}

bert_status bert_reference_canonical_attention(const bert_reference_call *call) {
    const bert_tensor *q = &call->inputs[BERT_ATTENTION_Q];
    const bert_tensor *y = &call->outputs[0];
    bool packed = BERT_CALL_INT(call, "packed", 0) != 0;
    const bert_tensor *k = packed ? q : &call->inputs[BERT_ATTENTION_K];
    const bert_tensor *v = packed ? q : &call->inputs[BERT_ATTENTION_V];
    int64_t heads = BERT_CALL_INT(call, "heads", 1);
    int64_t width = y->dims[2];
    int64_t depth = width / heads;
    terms m = {.bias = bert_spread_of(bert_call_input(call, BERT_ATTENTION_BIAS)),
               .mask = bert_spread_of(bert_call_input(call, BERT_ATTENTION_MASK)),
               .cosines = bert_call_input(call, BERT_ATTENTION_COSINES),
               .sines = bert_call_input(call, BERT_ATTENTION_SINES),
               .depth = depth,
               .mask_value = BERT_CALL_FLOAT(call, "mask_value", -INFINITY),
               .zero_rows = strcmp(BERT_CALL_STRING(call, "masked_rows", "nan"), "zero") == 0,
               .columns = k->dims[1]};
    bert_attention attention = {.q = bert_heads_interleaved(q, 0, depth),
                                .k = bert_heads_interleaved(k, packed ? width : 0, depth),
                                .v = bert_heads_interleaved(v, packed ? 2 * width : 0, depth),
                                .y = bert_heads_interleaved(y, 0, depth),
                                .batch = y->dims[0],
                                .heads = heads,
                                .group = 1,
                                .rows = y->dims[1],
                                .columns = k->dims[1],
                                .depth = depth,
                                .value_depth = depth,
                                .scale = BERT_CALL_FLOAT(call, "scale", 1.0F),
                                .turn = m.cosines ? rotate : NULL,
                                .adjust = adjust,
                                .inspect = clear_nan_row,
                                .user = &m,
                                .scratch = call->workspace};
    if (bert_call_has_input(call, BERT_ATTENTION_TOKENS)) return attend_rows(call, &attention, &m);
    bert_attention_run(&attention);
    return BERT_OK;
}

size_t bert_workspace_canonical_attention(const bert_op_node *node) {
    const bert_tensor_desc *q = &node->inputs[BERT_ATTENTION_Q];
    bool packed = BERT_NODE_INT(node, "packed", 0) != 0;
    int64_t keys = packed ? q->dims[1] : node->inputs[BERT_ATTENTION_K].dims[1];
    return bert_attention_workspace(keys, q->dims[2], q->dims[2]);
}
