/* The canonical DisentangledBias (core/graph/canonical.h). */
#include "core/graph/canonical.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/movement.h"

#include <inttypes.h>

/* One of the two terms: the tensor whose rows stand for positions, and which row is whose. */
typedef struct term {
    int32_t rows, indices;
    const char *widths, *firsts, *seconds; /* of what is to be equal */
} term;

static const term content_to_position = {
    BERT_DISENTANGLED_KEYS, BERT_DISENTANGLED_C2P, "the last dimensions of q and the position keys",
    "the queries and the rows of content_to_position", "the keys and the columns of content_to_position"};
static const term position_to_content = {
    BERT_DISENTANGLED_QUERIES, BERT_DISENTANGLED_P2C, "the last dimensions of k and the position queries",
    "the keys and the rows of position_to_content", "the queries and the columns of position_to_content"};

/* ---- Inference ------------------------------------------------------------------------------------------------------
 */

/* `first` and `second`: dimensions of the indices; `width`: of a row. */
static bert_status infer_term(const bert_inference *in, const term *t, bert_dim first, bert_dim second,
                              bert_dim width) {
    if (!bert_infer_input(in, t->rows) != !bert_infer_input(in, t->indices))
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "DisentangledBias has positions without indices, or these alone");
    BERT_TRY(bert_infer_same_type(in, BERT_DISENTANGLED_Q, t->rows));
    BERT_TRY(bert_infer_type(in, t->indices, BERT_TYPES_INDEX));
    BERT_TRY(bert_infer_rank(in, t->rows, 3, 3));
    BERT_TRY(bert_infer_rank(in, t->indices, 2, 2));
    const bert_shape *rows = bert_infer_shape(in, t->rows), *indices = bert_infer_shape(in, t->indices);
    if (rows->rank == 3) {
        BERT_TRY(bert_infer_equal(in, rows->dims[0], 1, "the first dimension of positions and 1", NULL));
        BERT_TRY(bert_infer_equal(in, rows->dims[2], width, t->widths, NULL));
    }
    if (indices->rank != 2) return BERT_OK;
    BERT_TRY(bert_infer_equal(in, indices->dims[0], first, t->firsts, NULL));
    return bert_infer_equal(in, indices->dims[1], second, t->seconds, NULL);
}

bert_status bert_infer_disentangled_bias(const bert_inference *in) {
    const int64_t heads = BERT_INFER_INT(in, "heads", 0);
    if (heads < 1) return bert_fail(in->error, BERT_INVALID_MODEL, "DisentangledBias has %" PRId64 " heads", heads);
    BERT_TRY(bert_infer_type(in, BERT_DISENTANGLED_Q, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_same_type(in, BERT_DISENTANGLED_Q, BERT_DISENTANGLED_K));
    BERT_TRY(bert_infer_rank(in, BERT_DISENTANGLED_Q, 3, 3));
    BERT_TRY(bert_infer_rank(in, BERT_DISENTANGLED_K, 3, 3));
    const bert_shape *q = bert_infer_shape(in, BERT_DISENTANGLED_Q), *k = bert_infer_shape(in, BERT_DISENTANGLED_K);
    bert_shape y = {.rank = 4};
    for (int i = 0; i < 4; i++) y.dims[i] = bert_dim_fresh(in->symbols);
    y.dims[1] = heads;
    bert_dim width = bert_dim_fresh(in->symbols);
    if (q->rank == 3 && k->rank == 3) {
        BERT_TRY(bert_infer_equal(in, q->dims[0], k->dims[0], "the batches of q and k", &y.dims[0]));
        BERT_TRY(bert_infer_equal(in, q->dims[2], k->dims[2], "the last dimensions of q and k", &width));
        y.dims[2] = q->dims[1];
        y.dims[3] = k->dims[1];
    }
    if (bert_dim_known(width) && width % heads != 0)
        return bert_fail(in->error, BERT_INVALID_MODEL, "%" PRId64 " elements don't make %" PRId64 " heads", width,
                         heads);
    BERT_TRY(infer_term(in, &content_to_position, y.dims[2], y.dims[3], width));
    BERT_TRY(infer_term(in, &position_to_content, y.dims[3], y.dims[2], width));
    bert_infer_give(in, 0, bert_infer_dtype(in, BERT_DISENTANGLED_Q), &y);
    return BERT_OK;
}

/* ---- Reference ------------------------------------------------------------------------------------------------------
 */

/* Of two rows of H D elements, those of one head; elements of the tensors at which these begin. */
static double dot(const bert_tensor *a, int64_t a_first, const bert_tensor *b, int64_t b_first, int64_t size) {
    double sum = 0;
    for (int64_t i = 0; i < size; i++) sum += bert_load(a, a_first + i) * bert_load(b, b_first + i);
    return sum;
}

/* What one term gives to y[b, h, i, j]: `content` [B, ., H D] at `row`, and the row of positions at `at`. */
static bert_status term_at(const bert_reference_call *call, const term *t, int32_t content, int64_t row, int64_t at,
                           int64_t head, double *sum) {
    const bert_tensor *of = &call->inputs[content], *rows = bert_call_input(call, t->rows);
    const int64_t width = of->dims[2], size = width / BERT_CALL_INT(call, "heads", 1);
    int64_t position;
    if (!rows) return BERT_OK;
    BERT_TRY(bert_read_index(call, t->indices, at, rows->dims[1], "positions", &position));
    *sum += dot(of, row * width + head * size, rows, position * width + head * size, size);
    return BERT_OK;
}

bert_status bert_reference_disentangled_bias(const bert_reference_call *call) {
    const bert_tensor *y = &call->outputs[0];
    const int64_t heads = y->dims[1], queries = y->dims[2], keys = y->dims[3], count = bert_tensor_elements(y);
    const double scale = (double)BERT_CALL_FLOAT(call, "scale", 1.0F);
    for (int64_t at = 0; at < count; at++) {
        const int64_t j = at % keys, i = at / keys % queries, head = at / keys / queries % heads;
        const int64_t batch = at / keys / queries / heads;
        double sum = 0;
        BERT_TRY(
            term_at(call, &content_to_position, BERT_DISENTANGLED_Q, batch * queries + i, i * keys + j, head, &sum));
        BERT_TRY(
            term_at(call, &position_to_content, BERT_DISENTANGLED_K, batch * keys + j, j * queries + i, head, &sum));
        bert_store(y, at, scale * sum);
    }
    return BERT_OK;
}
