/* ScatterElements (Scatter to opset 10) and ScatterND: a copy of a tensor with some elements replaced or combined. */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/movement.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* How an update meets the element that is there. */
typedef enum scatter_mode {
    SCATTER_NONE,
    SCATTER_ADD,
    SCATTER_MUL,
    SCATTER_MAX,
    SCATTER_MIN,
    SCATTER_MODES
} scatter_mode;

static scatter_mode find_mode(const char *name) {
    static const char *const names[SCATTER_MODES] = {"none", "add", "mul", "max", "min"};
    scatter_mode mode = SCATTER_NONE;
    while (mode < SCATTER_MODES && strcmp(name, names[mode]) != 0) mode++;
    return mode;
}

static double combine_floats(scatter_mode mode, double there, double update) {
    switch (mode) {
    case SCATTER_ADD:
        return there + update;
    case SCATTER_MUL:
        return there * update;
    case SCATTER_MAX:
        return isnan(there) || there > update ? there : update;
    case SCATTER_MIN:
        return isnan(there) || there < update ? there : update;
    default:
        return update;
    }
}

static bert_integer combine_integers(scatter_mode mode, bert_integer there, bert_integer update) {
    switch (mode) {
    case SCATTER_ADD:
        return there + update;
    case SCATTER_MUL:
        /* Only the low bits are kept, and unsigned arithmetic gives them without overflow. */
        return (bert_integer)((unsigned __int128)there * (unsigned __int128)update);
    case SCATTER_MAX:
        return there > update ? there : update;
    case SCATTER_MIN:
        return there < update ? there : update;
    default:
        return update;
    }
}

static void put(scatter_mode mode, const bert_tensor *to, int64_t to_index, const bert_tensor *updates,
                int64_t update_index, int64_t count) {
    if (mode == SCATTER_NONE) {
        bert_copy_elements(to, to_index, updates, update_index, count);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        if (bert_dtype_is_float(to->dtype)) {
            double there = bert_load(to, to_index + i);
            bert_store(to, to_index + i, combine_floats(mode, there, bert_load(updates, update_index + i)));
        } else {
            bert_integer there = bert_load_integer(to, to_index + i);
            bert_integer update = bert_load_integer(updates, update_index + i);
            bert_store_integer(to, to_index + i, combine_integers(mode, there, update));
        }
    }
}

static bert_status infer_scatter(const bert_inference *in, bert_type_set index_types) {
    const char *reduction = BERT_INFER_STRING(in, "reduction", "none");
    scatter_mode mode = find_mode(reduction);
    if (mode == SCATTER_MODES) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "%s has the reduction \"%s\"; none, add, mul, max and min are known", in->op->name, reduction);
    }
    BERT_TRY(bert_infer_type(in, 1, index_types));
    BERT_TRY(bert_infer_same_type(in, 0, 2));
    return bert_infer_like_input(in, mode == SCATTER_NONE ? BERT_TYPES_ANY : BERT_TYPES_NUMERIC);
}

/* ---- ScatterElements -----------------------------------------------------------------------------------------------
 */

bert_status bert_infer_scatter_elements(const bert_inference *in) {
    const bert_shape *data = bert_infer_shape(in, 0);
    const bert_shape *indices = bert_infer_shape(in, 1);
    BERT_TRY(infer_scatter(in, BERT_TYPES_INDEX));
    BERT_TRY(bert_infer_equal_shapes(in, indices, bert_infer_shape(in, 2), "indices and updates", NULL));
    if (data->rank < 0) return BERT_OK;
    int32_t axis;
    BERT_TRY(bert_infer_axis(in, BERT_INFER_INT(in, "axis", 0), data->rank, &axis));
    BERT_TRY(bert_infer_rank(in, 1, data->rank, data->rank));
    for (int32_t i = 0; i < indices->rank; i++) {
        bool known = bert_dim_known(data->dims[i]) && bert_dim_known(indices->dims[i]);
        if (i == axis || !known || indices->dims[i] <= data->dims[i]) continue;
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "dimension %" PRId32 " of the indices is %" PRId64 ", that of the data only %" PRId64, i,
                         indices->dims[i], data->dims[i]);
    }
    return BERT_OK;
}

bert_status bert_reference_scatter_elements(const bert_reference_call *call) {
    const bert_tensor *data = &call->inputs[0];
    const bert_tensor *indices = &call->inputs[1];
    const bert_tensor *to = &call->outputs[0];
    scatter_mode mode = find_mode(BERT_CALL_STRING(call, "reduction", "none"));
    int32_t axis = bert_call_axis(BERT_CALL_INT(call, "axis", 0), data->rank);
    int64_t strides[BERT_MAX_RANK];
    bert_dense_strides(data->rank, data->dims, strides);
    int64_t along = strides[axis];
    strides[axis] = 0;
    bert_copy_elements(to, 0, data, 0, bert_tensor_elements(data));
    bert_loop loop = bert_loop_over(indices->rank, indices->dims);
    bert_loop_add_strides(&loop, strides);
    for (; loop.left; bert_loop_next(&loop)) {
        int64_t index;
        BERT_TRY(bert_read_index(call, 1, loop.position, data->dims[axis], "elements of the axis", &index));
        put(mode, to, loop.offset[0] + index * along, &call->inputs[2], loop.position, 1);
    }
    return BERT_OK;
}

/* ---- ScatterND -----------------------------------------------------------------------------------------------------
 */

/* Updates have the indices' leading dimensions, then the data's that aren't indexed. */
static bert_status check_updates(const bert_inference *in, int64_t depth) {
    const bert_shape *data = bert_infer_shape(in, 0);
    const bert_shape *indices = bert_infer_shape(in, 1);
    bert_shape wanted = bert_shape_scalar();
    if (depth < 1 || depth > data->rank) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "ScatterND has indices of %" PRId64 " numbers for a tensor of %" PRId32 " dimensions", depth,
                         data->rank);
    }
    for (int32_t i = 0; i < indices->rank - 1; i++) BERT_TRY(bert_shape_append(in, &wanted, indices->dims[i]));
    for (int64_t i = depth; i < data->rank; i++) BERT_TRY(bert_shape_append(in, &wanted, data->dims[i]));
    return bert_infer_equal_shapes(in, &wanted, bert_infer_shape(in, 2), "the places indexed and the updates", NULL);
}

bert_status bert_infer_scatter_nd(const bert_inference *in) {
    const bert_shape *data = bert_infer_shape(in, 0);
    const bert_shape *indices = bert_infer_shape(in, 1);
    BERT_TRY(infer_scatter(in, BERT_TYPE(BERT_INT64)));
    BERT_TRY(bert_infer_rank(in, 0, 1, BERT_MAX_RANK));
    BERT_TRY(bert_infer_rank(in, 1, 1, BERT_MAX_RANK));
    if (data->rank < 0 || indices->rank < 0 || !bert_dim_known(indices->dims[indices->rank - 1])) return BERT_OK;
    return check_updates(in, indices->dims[indices->rank - 1]);
}

bert_status bert_reference_scatter_nd(const bert_reference_call *call) {
    const bert_tensor *data = &call->inputs[0];
    const bert_tensor *indices = &call->inputs[1];
    const bert_tensor *to = &call->outputs[0];
    scatter_mode mode = find_mode(BERT_CALL_STRING(call, "reduction", "none"));
    int32_t depth = (int32_t)indices->dims[indices->rank - 1];
    int64_t tuples = bert_dims_product(indices, 0, indices->rank - 1);
    int64_t row = bert_dims_product(data, depth, data->rank);
    int64_t strides[BERT_MAX_RANK];
    bert_dense_strides(data->rank, data->dims, strides);
    bert_copy_elements(to, 0, data, 0, bert_tensor_elements(data));
    for (int64_t i = 0; i < tuples; i++) {
        int64_t target = 0;
        for (int32_t j = 0; j < depth; j++) {
            int64_t index;
            BERT_TRY(bert_read_index(call, 1, i * depth + j, data->dims[j], "elements of its axis", &index));
            target += index * strides[j];
        }
        put(mode, to, target, &call->inputs[2], i * row, row);
    }
    return BERT_OK;
}
