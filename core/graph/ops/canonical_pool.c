/* The canonical Pool (core/graph/canonical.h). */
#include "core/graph/canonical.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

#include <inttypes.h>
#include <math.h>

static bert_status infer_mask(const bert_inference *in) {
    const bert_type_set allowed = BERT_TYPES_BOOL | BERT_TYPES_BYTE | BERT_TYPES_INDEX | BERT_TYPES_FLOAT;
    BERT_TRY(bert_infer_type(in, BERT_POOL_MASK, allowed));
    BERT_TRY(bert_infer_rank(in, BERT_POOL_MASK, 2, 2));
    if (bert_dtype_is_float(bert_infer_dtype(in, BERT_POOL_MASK))) {
        BERT_TRY(bert_infer_same_type(in, BERT_POOL_X, BERT_POOL_MASK));
    }
    const bert_shape *x = bert_infer_shape(in, BERT_POOL_X), *mask = bert_infer_shape(in, BERT_POOL_MASK);
    for (int32_t i = 0; i < 2 && x->rank >= 0 && mask->rank >= 0; i++) {
        BERT_TRY(bert_infer_equal(in, x->dims[i], mask->dims[i], "the dimensions of x and of the mask", NULL));
    }
    return BERT_OK;
}

bert_status bert_infer_pool(const bert_inference *in) {
    const char *name = BERT_INFER_STRING(in, "pooling", "");
    if (bert_pool_kind_of(name) == BERT_POOL_KIND_UNKNOWN) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "Pool has no pooling \"%s\"", name);
    }
    if (bert_infer_input(in, BERT_POOL_MASK) && bert_infer_input(in, BERT_POOL_STARTS)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "Pool takes a mask or starts, not both");
    }
    BERT_TRY(bert_infer_type(in, BERT_POOL_X, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_rank(in, BERT_POOL_X, 3, 3));
    BERT_TRY(infer_mask(in));
    BERT_TRY(bert_infer_type(in, BERT_POOL_STARTS, BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_rank(in, BERT_POOL_STARTS, 1, 1));
    const bert_shape *x = bert_infer_shape(in, BERT_POOL_X), *starts = bert_infer_shape(in, BERT_POOL_STARTS);
    bert_shape shape = {.rank = 2, .dims = {bert_dim_fresh(in->symbols), bert_dim_fresh(in->symbols)}};
    if (x->rank == 3) {
        shape.dims[0] = x->dims[0];
        shape.dims[1] = x->dims[2];
    }
    if (bert_infer_input(in, BERT_POOL_STARTS)) {
        const bool known = starts->rank == 1 && bert_dim_known(starts->dims[0]) && starts->dims[0] > 0;
        shape.dims[0] = known ? starts->dims[0] - 1 : bert_dim_fresh(in->symbols);
    }
    bert_infer_give(in, 0, bert_infer_dtype(in, BERT_POOL_X), &shape);
    return BERT_OK;
}

/* Rows [first, end) of x that are sequence b. */
static bert_status find_rows(const bert_reference_call *call, int64_t b, int64_t *first, int64_t *end) {
    const bert_tensor *x = &call->inputs[BERT_POOL_X], *starts = bert_call_input(call, BERT_POOL_STARTS);
    *first = starts ? (int64_t)bert_load_integer(starts, b) : b * x->dims[1];
    *end = starts ? (int64_t)bert_load_integer(starts, b + 1) : (b + 1) * x->dims[1];
    if (*first >= 0 && *end >= *first && *end <= x->dims[0] * x->dims[1]) return BERT_OK;
    return bert_fail(call->error, BERT_INVALID_INPUT,
                     "sequence %" PRId64 " is rows %" PRId64 " to %" PRId64 " of %" PRId64, b, *first, *end,
                     x->dims[0] * x->dims[1]);
}

/* One column over the rows of a sequence. */
static double pool_column(const bert_reference_call *call, bert_pool_kind how, int64_t first, int64_t end,
                          int64_t column) {
    const bert_tensor *x = &call->inputs[BERT_POOL_X], *mask = bert_call_input(call, BERT_POOL_MASK);
    double value = 0, total = 0;
    bool any = false;
    for (int64_t row = first; row < end; row++) {
        const double weight = mask ? bert_load(mask, row) : 1;
        if (weight == 0) continue;
        const double element = bert_load(x, row * x->dims[2] + column);
        if (how == BERT_POOL_KIND_FIRST) return element;
        if (how == BERT_POOL_KIND_MEAN) value += weight * element;
        if (how == BERT_POOL_KIND_MAX && (!any || element > value || isnan(element))) value = element;
        total += weight;
        any = true;
    }
    return how == BERT_POOL_KIND_MEAN ? value / fmax(total, (double)BERT_CALL_FLOAT(call, "epsilon", BERT_POOL_EPSILON))
                                      : value;
}

bert_status bert_reference_pool(const bert_reference_call *call) {
    const bert_tensor *y = &call->outputs[0];
    const bert_pool_kind how = bert_pool_kind_of(BERT_CALL_STRING(call, "pooling", ""));
    const bool normalize = BERT_CALL_INT(call, "normalize", 0) != 0;
    const int64_t width = y->dims[1];
    double *values = call->workspace;
    for (int64_t b = 0; b < y->dims[0]; b++) {
        int64_t first, end;
        double squares = 0;
        BERT_TRY(find_rows(call, b, &first, &end));
        for (int64_t i = 0; i < width; i++) {
            values[i] = pool_column(call, how, first, end, i);
            squares += values[i] * values[i];
        }
        const double norm = sqrt(squares), length = norm < 1e-12 ? 1e-12 : norm; /* a NaN stays one, unlike in fmax */
        for (int64_t i = 0; i < width && normalize; i++) values[i] /= length;
        bert_store_row(y, b * width, width, values);
    }
    return BERT_OK;
}

/* One vector. */
size_t bert_workspace_pool(const bert_op_node *node) {
    size_t bytes;
    return bert_size_multiply((size_t)node->outputs[0].dims[1], sizeof(double), &bytes) ? bytes : SIZE_MAX;
}
