/* Tensors from a rule: ConstantOfShape, Range, EyeLike, and Expand and Tile, which repeat. */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/movement.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- Expand -------------------------------------------------------------------------------------------------------
 */

/* Dimensions from the content of input `input`; unknown ones, or an unknown rank, where it isn't followed. */
static bert_status shape_from_content(const bert_inference *in, int32_t input, bert_shape *out) {
    BERT_TRY(bert_infer_type(in, input, BERT_TYPES_INDEX));
    BERT_TRY(bert_infer_rank(in, input, 1, 1));
    bert_dim dims[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count;
    bool known = bert_infer_content(in, input, dims, &count);
    if (!known) {
        const bert_shape *vector = bert_infer_shape(in, input);
        *out = bert_shape_unknown();
        if (vector->rank != 1 || !bert_dim_known(vector->dims[0])) return BERT_OK;
        count = vector->dims[0] > BERT_MAX_RANK ? BERT_MAX_RANK + 1 : (int32_t)vector->dims[0];
    }
    *out = bert_shape_scalar();
    for (int32_t i = 0; i < count; i++) {
        bert_dim dim = known ? dims[i] : bert_dim_fresh(in->symbols);
        if (bert_dim_known(dim) && dim < 0) {
            return bert_fail(in->error, BERT_INVALID_MODEL, "input %" PRId32 " asks for the dimension %" PRId64, input,
                             dim);
        }
        BERT_TRY(bert_shape_append(in, out, dim));
    }
    return BERT_OK;
}

/* Output 0 holds one value throughout: followed where it is small. */
static void follow_fill(const bert_inference *in, bert_dim value) {
    const bert_shape *to = &in->outputs[0]->shape;
    if (to->rank < 0 || to->rank > 1) return;
    bert_dim count = bert_shape_elements(in, to);
    if (!bert_dim_known(count) || count > BERT_MAX_TRACKED_ELEMENTS) return;
    bert_dim *elements = bert_infer_new_elements(in, 0, (int32_t)count);
    for (int64_t i = 0; elements && i < count; i++) elements[i] = value;
}

bert_status bert_infer_expand(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_ANY));
    bert_shape target;
    bert_shape to;
    BERT_TRY(shape_from_content(in, 1, &target));
    BERT_TRY(bert_infer_broadcast(in, bert_infer_shape(in, 0), &target, &to));
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &to);
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count;
    if (!in->outputs[0] || !bert_infer_content(in, 0, values, &count)) return BERT_OK;
    if (count == 1) {
        follow_fill(in, values[0]);
    } else if (to.rank == 1 && to.dims[0] == count) {
        bert_infer_copy_elements(in, 0, 0);
    }
    return BERT_OK;
}

bert_status bert_reference_expand(const bert_reference_call *call) {
    const bert_tensor *from = &call->inputs[0];
    const bert_tensor *to = &call->outputs[0];
    bert_move move = {.rank = to->rank};
    int64_t strides[BERT_MAX_RANK];
    bert_dense_strides(from->rank, from->dims, strides);
    bert_dense_strides(to->rank, to->dims, move.to);
    for (int32_t i = 0; i < to->rank; i++) {
        int32_t axis = i - (to->rank - from->rank);
        move.dims[i] = to->dims[i];
        move.from[i] = axis < 0 || from->dims[axis] == 1 ? 0 : strides[axis];
    }
    bert_move_run(&move, from, 0, to, 0);
    return BERT_OK;
}

/* ---- Tile ---------------------------------------------------------------------------------------------------------
 */

bert_status bert_infer_tile(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_ANY));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPE(BERT_INT64)));
    BERT_TRY(bert_infer_rank(in, 1, 1, 1));
    bert_shape to = *bert_infer_shape(in, 0);
    bert_dim repeats[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count;
    bool known = bert_infer_content(in, 1, repeats, &count);
    if (known && to.rank >= 0 && count != to.rank) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "Tile has %" PRId32 " repeats for a tensor of %" PRId32 " dimensions", count, to.rank);
    }
    for (int32_t i = 0; i < to.rank; i++) {
        if (known && bert_dim_known(repeats[i]) && repeats[i] < 0) {
            return bert_fail(in->error, BERT_INVALID_MODEL, "Tile repeats axis %" PRId32 " %" PRId64 " times", i,
                             repeats[i]);
        }
        to.dims[i] = known ? bert_dim_multiply(in->symbols, to.dims[i], repeats[i]) : bert_dim_fresh(in->symbols);
    }
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &to);
    return BERT_OK;
}

bert_status bert_reference_tile(const bert_reference_call *call) {
    const bert_tensor *from = &call->inputs[0];
    const bert_tensor *to = &call->outputs[0];
    int64_t strides[BERT_MAX_RANK];
    bert_dense_strides(from->rank, from->dims, strides);
    bert_loop loop = bert_loop_over(to->rank, to->dims);
    for (; loop.left; bert_loop_next(&loop)) {
        int64_t source = 0;
        for (int32_t i = 0; i < to->rank; i++) source += loop.index[i] % from->dims[i] * strides[i];
        bert_copy_elements(to, loop.position, from, source, 1);
    }
    return BERT_OK;
}

/* ---- ConstantOfShape ----------------------------------------------------------------------------------------------
 */

bert_status bert_infer_constant_of_shape(const bert_inference *in) {
    /* One element of any type; NULL means a float 0. */
    const bert_constant *value = bert_attribute_tensor(in->attributes, in->attribute_count, "value");
    bert_shape to;
    BERT_TRY(shape_from_content(in, 0, &to));
    if (value && (bert_constant_elements(value) != 1 || !bert_dtype_size(value->dtype))) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "the value of ConstantOfShape has %" PRId64 " elements of type %s; it takes one number",
                         bert_constant_elements(value), bert_dtype_name(value->dtype));
    }
    bert_infer_give(in, 0, value ? value->dtype : BERT_FLOAT, &to);
    bool integer = value && ((BERT_TYPES_INTEGER | BERT_TYPES_BOOL) & BERT_TYPE(value->dtype));
    if (!integer || !in->outputs[0]) return BERT_OK;
    follow_fill(in, bert_dim_of(bert_constant_int(value, 0)));
    return BERT_OK;
}

bert_status bert_reference_constant_of_shape(const bert_reference_call *call) {
    const bert_tensor *to = &call->outputs[0];
    const bert_constant *value = bert_attribute_tensor(call->attributes, call->attribute_count, "value");
    size_t size = bert_dtype_size(to->dtype);
    int64_t elements = bert_tensor_elements(to);
    static const unsigned char zero[sizeof(double)];
    const unsigned char *element = value ? value->data : zero;
    for (int64_t i = 0; i < elements; i++) memcpy((char *)to->data + (size_t)i * size, element, size);
    return BERT_OK;
}

/* ---- Range --------------------------------------------------------------------------------------------------------
 */

/* max(ceil((limit - start) / delta), 0) */
static bert_dim range_size(const bert_inference *in, bert_dim start, bert_dim limit, bert_dim delta) {
    bert_dim distance = bert_dim_subtract(in->symbols, limit, start);
    bert_dim count = distance;
    if (delta != 1) {
        /* ceil(a / b) is -floor(-a / b). */
        bert_dim negated = bert_dim_subtract(in->symbols, 0, distance);
        count = bert_dim_subtract(in->symbols, 0, bert_dim_divide(in->symbols, negated, delta, true));
    }
    bool nonnegative = bert_dim_known(count) ? count >= 0 : bert_dim_nonnegative(in->symbols, count);
    return nonnegative ? count : bert_dim_maximum(in->symbols, count, 0);
}

static bool range_count_of_doubles(double start, double limit, double delta, int64_t *out) {
    double count = ceil((limit - start) / delta);
    if (!(count < (double)BERT_DIM_LIMIT)) return false;
    *out = count > 0 ? (int64_t)count : 0;
    return true;
}

/* A Range of floats: its size is known when its inputs are. */
static bert_status infer_float_range(const bert_inference *in) {
    bert_shape to = {.rank = 1, .dims = {bert_dim_fresh(in->symbols)}};
    double bounds[3];
    bool known = true;
    for (int32_t i = 0; i < 3; i++) known &= bert_constant_scalar(in->inputs[i]->constant, &bounds[i]);
    if (known && (bounds[2] == 0 || !range_count_of_doubles(bounds[0], bounds[1], bounds[2], &to.dims[0]))) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "Range from %g to %g by %g has no end", bounds[0], bounds[1],
                         bounds[2]);
    }
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &to);
    return BERT_OK;
}

bert_status bert_infer_range(const bert_inference *in) {
    bert_dim bounds[3];
    bool known = true;
    for (int32_t i = 0; i < 3; i++) {
        BERT_TRY(bert_infer_type(in, i, BERT_TYPES_FLOAT | BERT_TYPES_SIGNED));
        BERT_TRY(bert_infer_same_type(in, 0, i));
        BERT_TRY(bert_infer_rank(in, i, 0, 1));
        bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
        int32_t count = 0;
        known &= bert_infer_content(in, i, values, &count) && count == 1;
        bounds[i] = count == 1 ? values[0] : 0;
    }
    if (BERT_TYPES_FLOAT & BERT_TYPE(bert_infer_dtype(in, 0))) return infer_float_range(in);
    bert_shape to = {.rank = 1};
    if (known && bounds[2] == 0) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "Range has a step of 0");
    }
    to.dims[0] = known ? range_size(in, bounds[0], bounds[1], bounds[2]) : bert_dim_fresh(in->symbols);
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &to);
    if (!known || !bert_dim_known(to.dims[0]) || to.dims[0] > BERT_MAX_TRACKED_ELEMENTS) return BERT_OK;
    bert_dim *elements = bert_infer_new_elements(in, 0, (int32_t)to.dims[0]);
    bert_dim next = bounds[0];
    for (int64_t i = 0; elements && i < to.dims[0]; i++) {
        elements[i] = next;
        next = bert_dim_add(in->symbols, next, bounds[2]);
    }
    return BERT_OK;
}

bert_status bert_reference_range(const bert_reference_call *call) {
    const bert_tensor *to = &call->outputs[0];
    int64_t count = to->dims[0];
    if (bert_dtype_is_float(to->dtype)) {
        double start = bert_load(&call->inputs[0], 0);
        double delta = bert_load(&call->inputs[2], 0);
        for (int64_t i = 0; i < count; i++) bert_store(to, i, start + (double)i * delta);
        return BERT_OK;
    }
    bert_integer start = bert_load_integer(&call->inputs[0], 0);
    bert_integer delta = bert_load_integer(&call->inputs[2], 0);
    for (int64_t i = 0; i < count; i++) bert_store_integer(to, i, start + i * delta);
    return BERT_OK;
}

/* ---- EyeLike, Trilu -----------------------------------------------------------------------------------------------
 */

bert_status bert_infer_eye_like(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_ANY));
    BERT_TRY(bert_infer_rank(in, 0, 2, 2));
    bool stated = bert_attribute_find(in->attributes, in->attribute_count, "dtype") != NULL;
    int64_t dtype = BERT_INFER_INT(in, "dtype", bert_infer_dtype(in, 0));
    if (stated && (dtype < 0 || dtype > BERT_BFLOAT16 || !(BERT_TYPES_ANY & BERT_TYPE(dtype)))) {
        return bert_fail(in->error, BERT_UNSUPPORTED, "EyeLike makes elements of the type numbered %" PRId64, dtype);
    }
    bert_infer_give(in, 0, (bert_dtype)dtype, bert_infer_shape(in, 0));
    return BERT_OK;
}

bert_status bert_reference_eye_like(const bert_reference_call *call) {
    const bert_tensor *to = &call->outputs[0];
    int64_t above = BERT_CALL_INT(call, "k", 0);
    bert_loop loop = bert_loop_over(2, to->dims);
    for (; loop.left; bert_loop_next(&loop)) {
        bool one = loop.index[1] - loop.index[0] == above;
        if (bert_dtype_is_float(to->dtype)) {
            bert_store(to, loop.position, one);
        } else {
            bert_store_integer(to, loop.position, one);
        }
    }
    return BERT_OK;
}

bert_status bert_infer_trilu(const bert_inference *in) {
    BERT_TRY(bert_infer_rank(in, 0, 2, BERT_MAX_RANK));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPE(BERT_INT64)));
    if (bert_infer_input(in, 1)) {
        BERT_TRY(bert_infer_equal(in, bert_shape_elements(in, bert_infer_shape(in, 1)), 1, "the elements of k", NULL));
    }
    return bert_infer_like_input(in, BERT_TYPES_ANY);
}

bert_status bert_reference_trilu(const bert_reference_call *call) {
    const bert_tensor *from = &call->inputs[0];
    const bert_tensor *to = &call->outputs[0];
    const bert_tensor *diagonal = bert_call_input(call, 1);
    int64_t above = diagonal ? (int64_t)bert_load_integer(diagonal, 0) : 0;
    bool upper = BERT_CALL_INT(call, "upper", 1) != 0;
    size_t size = bert_dtype_size(to->dtype);
    bert_loop loop = bert_loop_over(to->rank, to->dims);
    for (; loop.left; bert_loop_next(&loop)) {
        int64_t distance = loop.index[to->rank - 1] - loop.index[to->rank - 2];
        if (upper ? distance >= above : distance <= above) {
            bert_copy_elements(to, loop.position, from, loop.position, 1);
        } else {
            memset((char *)to->data + (size_t)loop.position * size, 0, size);
        }
    }
    return BERT_OK;
}
