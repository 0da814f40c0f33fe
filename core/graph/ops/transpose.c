#include "core/graph/ops/infer.h"
#include "core/graph/ops/movement.h"

#include <inttypes.h>

/* Input axis that becomes output axis `i`. */
static int64_t permuted(const int64_t *permutation, int32_t rank, int32_t i) {
    return permutation ? permutation[i] : rank - 1 - i;
}

bert_status bert_infer_transpose(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_ANY));
    const bert_shape *from = bert_infer_shape(in, 0);
    size_t count = 0;
    const int64_t *permutation = BERT_INFER_INTS(in, "perm", &count);
    if (from->rank < 0) {
        bert_infer_give(in, 0, bert_infer_dtype(in, 0), NULL);
        return BERT_OK;
    }
    if (permutation && count != (size_t)from->rank) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "perm has %zu axes for a tensor of %" PRId32 " dimensions",
                         count, from->rank);
    }
    bert_shape to = {.rank = from->rank};
    uint32_t seen = 0;
    for (int32_t i = 0; i < from->rank; i++) {
        int64_t axis = permuted(permutation, from->rank, i);
        if (axis < 0 || axis >= from->rank || (seen >> axis & 1)) {
            return bert_fail(in->error, BERT_INVALID_MODEL, "perm is no permutation of %" PRId32 " axes", from->rank);
        }
        seen |= (uint32_t)1 << axis;
        to.dims[i] = from->dims[axis];
    }
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &to);
    bert_infer_copy_elements(in, 0, 0);
    return BERT_OK;
}

bert_status bert_reference_transpose(const bert_reference_call *call) {
    const bert_tensor *from = &call->inputs[0];
    const bert_tensor *to = &call->outputs[0];
    size_t count = 0;
    const int64_t *permutation = BERT_CALL_INTS(call, "perm", &count);
    bert_move move = bert_move_between(from, to, to);
    int64_t strides[BERT_MAX_RANK];
    bert_dense_strides(from->rank, from->dims, strides);
    for (int32_t i = 0; i < to->rank; i++) move.from[i] = strides[permuted(permutation, from->rank, i)];
    bert_move_run(&move, from, 0, to, 0);
    return BERT_OK;
}
