/* Gather, GatherElements, GatherND: elements by their indices. */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/movement.h"

#include <inttypes.h>

/* ---- Gather -------------------------------------------------------------------------------------------------------
 */

/* Follows a vector's elements through known indices: how exporters take a dimension out of a shape. */
static bert_status gather_elements(const bert_inference *in) {
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
    bert_dim picked[BERT_MAX_TRACKED_ELEMENTS];
    int64_t indices[BERT_MAX_TRACKED_ELEMENTS];
    int32_t value_count;
    int32_t count;
    if (bert_infer_shape(in, 0)->rank != 1 || !bert_infer_content(in, 0, values, &value_count) ||
        !bert_infer_numbers(in, 1, indices, &count)) {
        return BERT_OK;
    }
    for (int32_t i = 0; i < count; i++) {
        if (indices[i] < -value_count || indices[i] >= value_count) {
            return bert_fail(in->error, BERT_INVALID_MODEL,
                             "index %" PRId64 " is outside a vector of %" PRId32 " elements", indices[i], value_count);
        }
        picked[i] = values[indices[i] < 0 ? indices[i] + value_count : indices[i]];
    }
    bert_dim *elements = bert_infer_new_elements(in, 0, count);
    for (int32_t i = 0; elements && i < count; i++) elements[i] = picked[i];
    return BERT_OK;
}

bert_status bert_infer_gather(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_ANY));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPES_INDEX));
    const bert_shape *data = bert_infer_shape(in, 0);
    const bert_shape *indices = bert_infer_shape(in, 1);
    bert_dtype dtype = bert_infer_dtype(in, 0);
    if (data->rank < 0 || indices->rank < 0) {
        bert_infer_give(in, 0, dtype, NULL);
        return BERT_OK;
    }
    int32_t axis;
    BERT_TRY(bert_infer_rank(in, 0, 1, BERT_MAX_RANK));
    BERT_TRY(bert_infer_axis(in, BERT_INFER_INT(in, "axis", 0), data->rank, &axis));
    bert_shape to = bert_shape_scalar();
    for (int32_t i = 0; i < axis; i++) BERT_TRY(bert_shape_append(in, &to, data->dims[i]));
    for (int32_t i = 0; i < indices->rank; i++) BERT_TRY(bert_shape_append(in, &to, indices->dims[i]));
    for (int32_t i = axis + 1; i < data->rank; i++) BERT_TRY(bert_shape_append(in, &to, data->dims[i]));
    bert_infer_give(in, 0, dtype, &to);
    return gather_elements(in);
}

bert_status bert_reference_gather(const bert_reference_call *call) {
    const bert_tensor *data = &call->inputs[0];
    const bert_tensor *to = &call->outputs[0];
    int32_t axis = bert_call_axis(BERT_CALL_INT(call, "axis", 0), data->rank);
    int64_t before = bert_dims_product(data, 0, axis);
    int64_t row = bert_dims_product(data, axis + 1, data->rank);
    int64_t bound = data->dims[axis];
    int64_t count = bert_tensor_elements(&call->inputs[1]);
    for (int64_t i = 0; i < count; i++) {
        int64_t index;
        BERT_TRY(bert_read_index(call, 1, i, bound, axis == 0 ? "rows of the table" : "elements of the axis", &index));
        for (int64_t j = 0; j < before; j++) {
            bert_copy_elements(to, (j * count + i) * row, data, (j * bound + index) * row, row);
        }
    }
    return BERT_OK;
}

/* ---- GatherElements -----------------------------------------------------------------------------------------------
 */

bert_status bert_infer_gather_elements(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_ANY));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPES_INDEX));
    const bert_shape *data = bert_infer_shape(in, 0);
    const bert_shape *indices = bert_infer_shape(in, 1);
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), indices);
    if (data->rank < 0) return BERT_OK;
    int32_t axis;
    BERT_TRY(bert_infer_axis(in, BERT_INFER_INT(in, "axis", 0), data->rank, &axis));
    BERT_TRY(bert_infer_rank(in, 1, data->rank, data->rank));
    for (int32_t i = 0; i < indices->rank; i++) {
        bert_dim most = data->dims[i];
        bool known = bert_dim_known(most) && bert_dim_known(indices->dims[i]);
        if (i == axis || !known || indices->dims[i] <= most) continue;
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "dimension %" PRId32 " of the indices is %" PRId64 ", that of the data only %" PRId64, i,
                         indices->dims[i], most);
    }
    return BERT_OK;
}

bert_status bert_reference_gather_elements(const bert_reference_call *call) {
    const bert_tensor *data = &call->inputs[0];
    const bert_tensor *to = &call->outputs[0];
    int32_t axis = bert_call_axis(BERT_CALL_INT(call, "axis", 0), data->rank);
    int64_t strides[BERT_MAX_RANK];
    bert_dense_strides(data->rank, data->dims, strides);
    int64_t along = strides[axis];
    strides[axis] = 0;
    bert_loop loop = bert_loop_over(to->rank, to->dims);
    bert_loop_add_strides(&loop, strides);
    for (; loop.left; bert_loop_next(&loop)) {
        int64_t index;
        BERT_TRY(bert_read_index(call, 1, loop.position, data->dims[axis], "elements of the axis", &index));
        bert_copy_elements(to, loop.position, data, loop.offset[0] + index * along, 1);
    }
    return BERT_OK;
}

/* ---- GatherND -----------------------------------------------------------------------------------------------------
 */

/* Checks what GatherND's indices say of the data's axes: *depth axes are indexed behind `batch` shared ones. */
static bert_status gather_nd_depth(const bert_inference *in, int64_t batch, int64_t *depth) {
    const bert_shape *data = bert_infer_shape(in, 0);
    const bert_shape *indices = bert_infer_shape(in, 1);
    *depth = indices->dims[indices->rank - 1];
    if (batch < 0 || batch >= data->rank || batch >= indices->rank || *depth < 1 || *depth > data->rank - batch) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "GatherND has %" PRId64 " batch dimensions and indices of %" PRId64
                         " numbers for a tensor of %" PRId32 " dimensions",
                         batch, *depth, data->rank);
    }
    return BERT_OK;
}

bert_status bert_infer_gather_nd(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_ANY));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPE(BERT_INT64)));
    BERT_TRY(bert_infer_rank(in, 0, 1, BERT_MAX_RANK));
    BERT_TRY(bert_infer_rank(in, 1, 1, BERT_MAX_RANK));
    const bert_shape *data = bert_infer_shape(in, 0);
    const bert_shape *indices = bert_infer_shape(in, 1);
    if (data->rank < 0 || indices->rank < 0 || !bert_dim_known(indices->dims[indices->rank - 1])) {
        bert_infer_give(in, 0, bert_infer_dtype(in, 0), NULL);
        return BERT_OK;
    }
    int64_t batch = BERT_INFER_INT(in, "batch_dims", 0);
    int64_t depth;
    BERT_TRY(gather_nd_depth(in, batch, &depth));
    bert_shape to = bert_shape_scalar();
    for (int32_t i = 0; i < indices->rank - 1; i++) {
        bert_dim dim = indices->dims[i];
        if (i < batch) BERT_TRY(bert_infer_equal(in, dim, data->dims[i], "batch dimensions of two inputs", &dim));
        BERT_TRY(bert_shape_append(in, &to, dim));
    }
    for (int64_t i = batch + depth; i < data->rank; i++) BERT_TRY(bert_shape_append(in, &to, data->dims[i]));
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &to);
    return BERT_OK;
}

bert_status bert_reference_gather_nd(const bert_reference_call *call) {
    const bert_tensor *data = &call->inputs[0];
    const bert_tensor *indices = &call->inputs[1];
    int32_t batch = (int32_t)BERT_CALL_INT(call, "batch_dims", 0);
    int32_t depth = (int32_t)indices->dims[indices->rank - 1];
    int64_t batches = bert_dims_product(data, 0, batch);
    int64_t batch_stride = bert_dims_product(data, batch, data->rank);
    int64_t tuples = bert_dims_product(indices, batch, indices->rank - 1);
    int64_t row = bert_dims_product(data, batch + depth, data->rank);
    int64_t strides[BERT_MAX_RANK];
    bert_dense_strides(data->rank, data->dims, strides);
    for (int64_t i = 0; i < batches * tuples; i++) {
        int64_t source = i / tuples * batch_stride;
        for (int32_t j = 0; j < depth; j++) {
            int64_t index;
            int64_t bound = data->dims[batch + j];
            BERT_TRY(bert_read_index(call, 1, i * depth + j, bound, "elements of its axis", &index));
            source += index * strides[batch + j];
        }
        bert_copy_elements(&call->outputs[0], i * row, data, source, row);
    }
    return BERT_OK;
}
