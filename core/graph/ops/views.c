/* Shape and Size, and the ops that give a tensor another shape and leave its elements where they are. */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/movement.h"

#include <inttypes.h>

/* ---- Shape, Size --------------------------------------------------------------------------------------------------
 */

/* Shape's `start` and `end` (both since opset 15) as a range of [0, rank]. */
static void shape_range(const bert_attribute *attributes, size_t count, int32_t rank, int32_t *start, int32_t *end) {
    int64_t from = bert_attribute_int(attributes, count, "start", 0);
    int64_t to = bert_attribute_int(attributes, count, "end", rank);
    if (from < 0) from += rank;
    if (to < 0) to += rank;
    from = from < 0 ? 0 : from > rank ? rank : from;
    to = to < from ? from : to > rank ? rank : to;
    *start = (int32_t)from;
    *end = (int32_t)to;
}

bert_status bert_infer_shape_of(const bert_inference *in) {
    const bert_shape *from = bert_infer_shape(in, 0);
    bert_shape vector = {.rank = 1};
    if (from->rank < 0) {
        vector.dims[0] = bert_dim_fresh(in->symbols);
        bert_infer_give(in, 0, BERT_INT64, &vector);
        return BERT_OK;
    }
    int32_t start;
    int32_t end;
    shape_range(in->attributes, in->attribute_count, from->rank, &start, &end);
    vector.dims[0] = end - start;
    bert_infer_give(in, 0, BERT_INT64, &vector);
    bert_dim *elements = bert_infer_new_elements(in, 0, end - start);
    for (int32_t i = start; elements && i < end; i++) elements[i - start] = from->dims[i];
    return BERT_OK;
}

bert_status bert_reference_shape_of(const bert_reference_call *call) {
    int32_t start;
    int32_t end;
    shape_range(call->attributes, call->attribute_count, call->inputs[0].rank, &start, &end);
    int64_t *out = call->outputs[0].data;
    for (int32_t i = start; i < end; i++) out[i - start] = call->inputs[0].dims[i];
    return BERT_OK;
}

bert_status bert_infer_size(const bert_inference *in) {
    const bert_shape *from = bert_infer_shape(in, 0);
    bert_shape scalar = bert_shape_scalar();
    bert_infer_give(in, 0, BERT_INT64, &scalar);
    bert_dim *elements = from->rank < 0 ? NULL : bert_infer_new_elements(in, 0, 1);
    if (elements) elements[0] = bert_shape_elements(in, from);
    return BERT_OK;
}

bert_status bert_reference_size(const bert_reference_call *call) {
    *(int64_t *)call->outputs[0].data = bert_tensor_elements(&call->inputs[0]);
    return BERT_OK;
}

/* ---- Views --------------------------------------------------------------------------------------------------------
 */

bert_status bert_reference_view(const bert_reference_call *call) {
    const bert_tensor *from = &call->inputs[0];
    bert_copy_elements(&call->outputs[0], 0, from, 0, bert_tensor_elements(from));
    return BERT_OK;
}

/* Output 0 is input 0 with shape `to`, which may be unknown. */
static bert_status give_view(const bert_inference *in, const bert_shape *to) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_ANY));
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), to);
    bert_infer_copy_elements(in, 0, 0);
    return BERT_OK;
}

/* The shape that Reshape's target says, its -1 as 1; *inferred is the place of the -1, or -1. */
static bert_status target_shape(const bert_inference *in, const bert_dim *target, int32_t count, bert_shape *to,
                                int32_t *inferred) {
    const bert_shape *from = bert_infer_shape(in, 0);
    bool copy_zero = BERT_INFER_INT(in, "allowzero", 0) == 0;
    *to = bert_shape_scalar();
    *inferred = -1;
    for (int32_t i = 0; i < count; i++) {
        bert_dim dim = target[i];
        if (dim == 0 && copy_zero) {
            if (from->rank >= 0 && i >= from->rank) {
                return bert_fail(in->error, BERT_INVALID_MODEL,
                                 "the new shape copies dimension %" PRId32 " of a tensor of %" PRId32 " dimensions", i,
                                 from->rank);
            }
            dim = from->rank < 0 ? bert_dim_fresh(in->symbols) : from->dims[i];
        } else if (dim == -1) {
            if (*inferred >= 0) {
                return bert_fail(in->error, BERT_INVALID_MODEL,
                                 "the new shape has -1 at both %" PRId32 " and %" PRId32 "; one at most is allowed",
                                 *inferred, i);
            }
            *inferred = i;
            dim = 1;
        } else if (bert_dim_known(dim) && dim < 0) {
            return bert_fail(in->error, BERT_INVALID_MODEL,
                             "the new shape has the dimension %" PRId64 "; -1 is the least that is allowed", dim);
        }
        BERT_TRY(bert_shape_append(in, to, dim));
    }
    return BERT_OK;
}

static bool all_known(const bert_shape *shape) {
    bool known = true;
    for (int32_t i = 0; i < shape->rank; i++) known &= bert_dim_known(shape->dims[i]);
    return known;
}

static bert_status reshape_to(const bert_inference *in, const bert_dim *target, int32_t count, bert_shape *to) {
    const bert_shape *from = bert_infer_shape(in, 0);
    int32_t inferred;
    BERT_TRY(target_shape(in, target, count, to, &inferred));
    bert_dim total = bert_shape_elements(in, from);
    bert_dim rest = bert_shape_elements(in, to);
    if (!bert_dim_known(rest) && all_known(to)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "the new shape has more elements than a tensor can have");
    }
    bool known = bert_dim_known(total) && bert_dim_known(rest);
    if (inferred < 0) {
        if (!known || total == rest) return BERT_OK;
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "a tensor of %" PRId64 " elements can't take a shape of %" PRId64 " elements", total, rest);
    }
    if (rest == 0 || (known && total % rest != 0)) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "a tensor of %" PRId64 " elements can't take a shape of -1 times %" PRId64 " elements",
                         bert_dim_known(total) ? total : -1, rest);
    }
    to->dims[inferred] = from->rank < 0 ? bert_dim_fresh(in->symbols) : bert_dim_divide(in->symbols, total, rest, true);
    return BERT_OK;
}

/* As many unknown dimensions as the vector `input` has elements; unknown rank where that isn't known. */
static bert_status shape_of_length(const bert_inference *in, int32_t input, bert_shape *out) {
    const bert_shape *vector = bert_infer_shape(in, input);
    *out = bert_shape_unknown();
    if (vector->rank != 1 || !bert_dim_known(vector->dims[0])) return BERT_OK;
    *out = bert_shape_scalar();
    for (int64_t i = 0; i < vector->dims[0]; i++) {
        BERT_TRY(bert_shape_append(in, out, bert_dim_fresh(in->symbols)));
    }
    return BERT_OK;
}

bert_status bert_infer_reshape(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPE(BERT_INT64)));
    BERT_TRY(bert_infer_rank(in, 1, 1, 1));
    bert_dim target[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count;
    bert_shape to;
    if (bert_infer_content(in, 1, target, &count)) {
        BERT_TRY(reshape_to(in, target, count, &to));
    } else {
        BERT_TRY(shape_of_length(in, 1, &to));
    }
    return give_view(in, &to);
}

bert_status bert_infer_flatten(const bert_inference *in) {
    const bert_shape *from = bert_infer_shape(in, 0);
    bert_shape to = {.rank = 2};
    if (from->rank < 0) {
        to.dims[0] = bert_dim_fresh(in->symbols);
        to.dims[1] = bert_dim_fresh(in->symbols);
        return give_view(in, &to);
    }
    int64_t axis = BERT_INFER_INT(in, "axis", 1);
    int32_t split = from->rank;
    if (axis != from->rank) BERT_TRY(bert_infer_axis(in, axis, from->rank, &split));
    to.dims[0] = bert_shape_product(in, from, 0, split);
    to.dims[1] = bert_shape_product(in, from, split, from->rank);
    return give_view(in, &to);
}

bert_status bert_infer_squeeze(const bert_inference *in) {
    const bert_shape *from = bert_infer_shape(in, 0);
    bert_shape to = bert_shape_unknown();
    if (from->rank < 0) return give_view(in, &to);
    bert_axes axes;
    BERT_TRY(bert_infer_axes(in, 1, from->rank, &axes));
    if (axes.state == BERT_AXES_UNKNOWN) return give_view(in, &to);
    to = bert_shape_scalar();
    for (int32_t i = 0; i < from->rank; i++) {
        bert_dim dim = from->dims[i];
        if (axes.state == BERT_AXES_ABSENT && !bert_dim_known(dim)) {
            /* Whether it goes depends on its size. */
            to = bert_shape_unknown();
            break;
        }
        bool goes = axes.state == BERT_AXES_ABSENT ? dim == 1 : (axes.mask >> i & 1) != 0;
        if (goes && bert_dim_known(dim) && dim != 1) {
            return bert_fail(in->error, BERT_INVALID_MODEL,
                             "dimension %" PRId32 " is %" PRId64 "; only one of size 1 can be squeezed away", i, dim);
        }
        if (!goes) BERT_TRY(bert_shape_append(in, &to, dim));
    }
    return give_view(in, &to);
}

/* How many axes Unsqueeze is given; -1 when that isn't known. */
static int64_t count_axes(const bert_inference *in) {
    const bert_shape *vector = bert_infer_shape(in, 1);
    if (!bert_infer_input(in, 1)) {
        size_t count = 0;
        BERT_INFER_INTS(in, "axes", &count);
        return (int64_t)count;
    }
    bert_dim elements = bert_shape_elements(in, vector);
    return vector->rank >= 0 && bert_dim_known(elements) ? elements : -1;
}

bert_status bert_infer_unsqueeze(const bert_inference *in) {
    const bert_shape *from = bert_infer_shape(in, 0);
    bert_shape to = bert_shape_unknown();
    int64_t added = count_axes(in);
    if (from->rank < 0 || added < 0) return give_view(in, &to);
    if (added > BERT_MAX_RANK - from->rank) {
        return bert_fail(in->error, BERT_UNSUPPORTED,
                         "%" PRId64 " axes added to %" PRId32 " dimensions are more than %d", added, from->rank,
                         BERT_MAX_RANK);
    }
    int32_t rank = from->rank + (int32_t)added;
    bert_axes axes;
    BERT_TRY(bert_infer_axes(in, 1, rank, &axes));
    if (axes.state == BERT_AXES_ABSENT) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "Unsqueeze needs axes, and none are given");
    }
    to = (bert_shape){.rank = rank};
    int32_t next = 0;
    for (int32_t i = 0; i < rank; i++) {
        if (axes.state == BERT_AXES_UNKNOWN) {
            to.dims[i] = bert_dim_fresh(in->symbols);
        } else {
            to.dims[i] = axes.mask >> i & 1 ? 1 : from->dims[next++];
        }
    }
    return give_view(in, &to);
}
