#include "core/graph/ops/attention_masks.h"

#include <float.h>
#include <inttypes.h>

bert_spread bert_spread_of(const bert_tensor *tensor) {
    bert_spread s = {.tensor = tensor};
    if (!tensor) return s;
    int64_t dense[BERT_MAX_RANK];
    bert_dense_strides(tensor->rank, tensor->dims, dense);
    int32_t shift = 4 - tensor->rank;
    for (int32_t i = 0; i < tensor->rank; i++) s.strides[i + shift] = tensor->dims[i] == 1 ? 0 : dense[i];
    return s;
}

/* A mask of one dimension has B, 2 B or 3 B + 2 elements. */
static bert_status infer_lengths(const bert_inference *in, const bert_shape *mask, bert_dim batch) {
    if (!bert_dim_known(mask->dims[0]) || !bert_dim_known(batch)) return BERT_OK;
    int64_t elements = mask->dims[0];
    if (elements == batch || elements == 2 * batch || elements == 3 * batch + 2) return BERT_OK;
    return bert_fail(in->error, BERT_INVALID_MODEL,
                     "the mask has %" PRId64 " elements; for %" PRId64
                     " sequences it takes as many, twice as many, or 2 "
                     "more than three times as many",
                     elements, batch);
}

bert_status bert_infer_attention_masks(const bert_inference *in, int32_t mask, int32_t bias, bert_dim batch,
                                       int64_t heads, bert_dim rows, bert_dim columns) {
    bert_shape scores = {.rank = 4, .dims = {batch, heads, rows, columns}};
    BERT_TRY(bert_infer_same_type(in, 0, bias));
    BERT_TRY(bert_infer_rank(in, bias, 4, 4));
    BERT_TRY(bert_infer_broadcasts_to(in, bias, &scores));
    BERT_TRY(bert_infer_type(in, mask, BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_rank(in, mask, 1, 4));
    const bert_shape *shape = bert_infer_shape(in, mask);
    if (shape->rank < 1) return BERT_OK;
    if (shape->rank == 1) return infer_lengths(in, shape, batch);
    BERT_TRY(bert_infer_equal(in, shape->dims[0], batch, "the sequences of the mask and of the input", NULL));
    if (shape->rank == 2 && shape->dims[1] == 1) return BERT_OK;
    if (shape->rank == 3) BERT_TRY(bert_infer_equal(in, shape->dims[1], rows, "the rows of mask and scores", NULL));
    if (shape->rank < 4) {
        return bert_infer_equal(in, shape->dims[shape->rank - 1], columns, "the columns of mask and scores", NULL);
    }
    BERT_TRY(bert_infer_equal(in, shape->dims[1], 1, "the second dimension of the mask and 1", NULL));
    for (int32_t i = 2; i < 4; i++) {
        if (!bert_dim_known(shape->dims[i]) || !bert_dim_known(columns) || shape->dims[i] >= columns) continue;
        return bert_fail(in->error, BERT_INVALID_MODEL, "a mask of %" PRId64 " positions is too short for %" PRId64,
                         shape->dims[i], columns);
    }
    return BERT_OK;
}

bert_status bert_attention_masks_check(const bert_reference_call *call, const bert_attention_masks *masks) {
    if (!masks->mask || masks->mask->rank != 1) return BERT_OK;
    int64_t count = masks->mask->dims[0] == 2 * masks->batch ? 2 * masks->batch : masks->batch;
    for (int64_t i = 0; i < count; i++) {
        int64_t value = (int64_t)bert_load_integer(masks->mask, i);
        if (value >= 0) continue;
        return bert_fail(call->error, BERT_INVALID_INPUT,
                         "element %" PRId64 " of the mask index is %" PRId64 "; lengths are not negative", i, value);
    }
    return BERT_OK;
}

static bool is_masked(const bert_attention_masks *m, int64_t batch, int64_t row, int64_t column) {
    const bert_tensor *mask = m->mask;
    if (mask->rank == 1) {
        bool has_start = mask->dims[0] == 2 * m->batch;
        int64_t start = has_start ? (int64_t)bert_load_integer(mask, m->batch + batch) : 0;
        return column >= (int64_t)bert_load_integer(mask, batch) || column < start;
    }
    int64_t width = mask->dims[mask->rank - 1];
    int64_t at = batch * width + column;
    if (mask->rank == 2 && width == 1 && m->columns != 1) return false;
    if (mask->rank == 3) at = (batch * m->rows + row) * width + column;
    if (mask->rank == 4) at = (batch * mask->dims[2] + m->past + row) * width + column;
    return bert_load_integer(mask, at) <= 0;
}

/* What the masks add to the score of a key. A key after the query gets the lowest float, not -infinity: where every key
 * before is masked with that, all are equal. */
static double mask_of(const bert_attention_masks *m, int64_t batch, int64_t row, int64_t column) {
    if (m->unidirectional && column > m->past + row) return -FLT_MAX;
    return m->mask && is_masked(m, batch, row, column) ? m->filter : 0;
}

void bert_attention_masks_apply(const void *user, int64_t batch, int64_t head, int64_t row, double *scores) {
    const bert_attention_masks *m = user;
    int64_t bias = bert_spread_row(&m->bias, batch, head, row);
    for (int64_t t = 0; t < m->columns; t++) {
        scores[t] += mask_of(m, batch, row, t);
        if (m->bias.tensor) scores[t] += bert_load(m->bias.tensor, bias + t * m->bias.strides[3]);
    }
}
