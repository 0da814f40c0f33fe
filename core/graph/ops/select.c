/* OneHot, TopK, and the ops whose output is as long as the input's content says: NonZero, Compress. */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/movement.h"

#include <inttypes.h>
#include <math.h>

/* ---- OneHot --------------------------------------------------------------------------------------------------------
 */

/* Number of classes, from input 1: an integer that may be symbolic, or a float that is known. */
static bert_status one_hot_depth(const bert_inference *in, bert_dim *out) {
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count;
    double number;
    *out = bert_dim_fresh(in->symbols);
    if (bert_infer_content(in, 1, values, &count)) {
        if (count == 1) *out = values[0];
    } else if (bert_constant_scalar(in->inputs[1]->constant, &number) && fabs(number) < (double)INT32_MAX) {
        *out = (int64_t)number;
    }
    if (!bert_dim_known(*out) || *out >= 0) return BERT_OK;
    return bert_fail(in->error, BERT_INVALID_MODEL, "OneHot has a depth of %" PRId64, *out);
}

bert_status bert_infer_one_hot(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_NUMERIC));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPES_NUMERIC));
    BERT_TRY(bert_infer_type(in, 2, BERT_TYPES_ANY));
    BERT_TRY(bert_infer_rank(in, 1, 0, 1));
    BERT_TRY(bert_infer_equal_shapes(in, bert_infer_shape(in, 2), &(bert_shape){.rank = 1, .dims = {2}},
                                     "values and a pair of off and on", NULL));
    const bert_shape *indices = bert_infer_shape(in, 0);
    bert_dim depth;
    BERT_TRY(one_hot_depth(in, &depth));
    if (indices->rank < 0) {
        bert_infer_give(in, 0, bert_infer_dtype(in, 2), NULL);
        return BERT_OK;
    }
    int32_t axis;
    BERT_TRY(bert_infer_axis(in, BERT_INFER_INT(in, "axis", -1), indices->rank + 1, &axis));
    bert_shape to = bert_shape_scalar();
    for (int32_t i = 0; i < axis; i++) BERT_TRY(bert_shape_append(in, &to, indices->dims[i]));
    BERT_TRY(bert_shape_append(in, &to, depth));
    for (int32_t i = axis; i < indices->rank; i++) BERT_TRY(bert_shape_append(in, &to, indices->dims[i]));
    bert_infer_give(in, 0, bert_infer_dtype(in, 2), &to);
    return BERT_OK;
}

/* A class as an index in [0, depth); -1 when it is outside. A negative one counts from the end. */
static int64_t class_index(const bert_tensor *indices, int64_t position, int64_t depth) {
    double number = bert_load(indices, position);
    if (!(number >= -(double)depth && number < (double)depth)) return -1;
    int64_t index = (int64_t)number;
    return index < 0 ? index + depth : index;
}

bert_status bert_reference_one_hot(const bert_reference_call *call) {
    const bert_tensor *indices = &call->inputs[0];
    const bert_tensor *values = &call->inputs[2];
    const bert_tensor *to = &call->outputs[0];
    int32_t axis = bert_call_axis(BERT_CALL_INT(call, "axis", -1), to->rank);
    int64_t before = bert_dims_product(to, 0, axis);
    int64_t depth = to->dims[axis];
    int64_t after = bert_dims_product(to, axis + 1, to->rank);
    for (int64_t i = 0; i < before * after; i++) {
        int64_t on = class_index(indices, i, depth);
        for (int64_t j = 0; j < depth; j++) {
            bert_copy_elements(to, (i / after * depth + j) * after + i % after, values, j == on, 1);
        }
    }
    return BERT_OK;
}

/* ---- TopK ----------------------------------------------------------------------------------------------------------
 */

bert_status bert_infer_top_k(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_NUMERIC));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPE(BERT_INT64)));
    bert_shape to = *bert_infer_shape(in, 0);
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS] = {0};
    int32_t count = 1;
    if (in->opset >= 10 && !bert_infer_input(in, 1)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "TopK needs its input K");
    }
    if (in->opset < 10) {
        values[0] = bert_dim_of(BERT_INFER_INT(in, "k", -1));
    } else if (!bert_infer_content(in, 1, values, &count)) {
        values[0] = bert_dim_fresh(in->symbols);
    }
    if (count != 1 || (bert_dim_known(values[0]) && values[0] < 0)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "TopK needs one number K of 0 or more");
    }
    if (to.rank >= 0) {
        int32_t axis;
        BERT_TRY(bert_infer_axis(in, BERT_INFER_INT(in, "axis", -1), to.rank, &axis));
        if (bert_dim_known(values[0]) && bert_dim_known(to.dims[axis]) && values[0] > to.dims[axis]) {
            return bert_fail(in->error, BERT_INVALID_MODEL, "TopK takes %" PRId64 " of %" PRId64 " elements", values[0],
                             to.dims[axis]);
        }
        to.dims[axis] = values[0];
    }
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &to);
    bert_infer_give(in, 1, BERT_INT64, &to);
    return BERT_OK;
}

/* Places of the best so far, best first. */
size_t bert_workspace_top_k(const bert_op_node *node) {
    const bert_tensor_desc *from = &node->inputs[0];
    int64_t most = 0;
    for (int32_t i = 0; i < from->rank; i++) most = from->dims[i] > most ? from->dims[i] : most;
    return (size_t)most * sizeof(int64_t);
}

/* Whether element a comes before element b: NaN counts as greater than any number. */
static bool comes_first(const bert_tensor *tensor, int64_t a, int64_t b, bool largest) {
    if (!bert_dtype_is_float(tensor->dtype)) {
        bert_integer x = bert_load_integer(tensor, a);
        bert_integer y = bert_load_integer(tensor, b);
        return largest ? x > y : x < y;
    }
    double x = bert_load(tensor, largest ? a : b);
    double y = bert_load(tensor, largest ? b : a);
    return !isnan(y) && (isnan(x) || x > y);
}

/* Sorts the best k of one row into `best`; equal ones stay in their order. */
static void select_best(const bert_tensor *from, int64_t start, int64_t stride, int64_t length, bool largest, int64_t k,
                        int64_t *best) {
    int64_t kept = 0;
    for (int64_t i = 0; i < length; i++) {
        int64_t place = kept;
        while (place > 0 && comes_first(from, start + i * stride, start + best[place - 1] * stride, largest)) place--;
        if (place == k) continue;
        kept = kept < k ? kept + 1 : k;
        for (int64_t j = kept - 1; j > place; j--) best[j] = best[j - 1];
        best[place] = i;
    }
}

bert_status bert_reference_top_k(const bert_reference_call *call) {
    const bert_tensor *from = &call->inputs[0];
    const bert_tensor *values = bert_call_output(call, 0);
    const bert_tensor *indices = bert_call_output(call, 1);
    int32_t axis = bert_call_axis(BERT_CALL_INT(call, "axis", -1), from->rank);
    bool largest = call->opset < 11 || BERT_CALL_INT(call, "largest", 1) != 0;
    int64_t length = from->dims[axis];
    int64_t k = values ? values->dims[axis] : indices ? indices->dims[axis] : 0;
    int64_t after = bert_dims_product(from, axis + 1, from->rank);
    int64_t rows = bert_dims_product(from, 0, axis) * after;
    int64_t *best = call->workspace;
    for (int64_t i = 0; i < rows; i++) {
        int64_t start = i / after * length * after + i % after;
        int64_t target = i / after * k * after + i % after;
        select_best(from, start, after, length, largest, k, best);
        for (int64_t j = 0; j < k; j++) {
            if (values) bert_copy_elements(values, target + j * after, from, start + best[j] * after, 1);
            if (indices) bert_store_integer(indices, target + j * after, best[j]);
        }
    }
    return BERT_OK;
}

/* ---- NonZero, Compress ---------------------------------------------------------------------------------------------
 */

/* How many of the first `limit` elements of an input aren't 0; fresh where its content isn't known. */
static bert_dim count_nonzero(const bert_inference *in, int32_t input, int64_t limit) {
    const bert_constant *constant = in->inputs[input]->constant;
    int64_t values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count = 0;
    int64_t found = 0;
    if (constant) {
        int64_t elements = bert_constant_elements(constant);
        for (int64_t i = 0; i < elements && i < limit; i++) found += bert_constant_double(constant, i) != 0;
        return found;
    }
    if (!bert_infer_numbers(in, input, values, &count)) return bert_dim_fresh(in->symbols);
    for (int32_t i = 0; i < count && i < limit; i++) found += values[i] != 0;
    return found;
}

bert_status bert_infer_non_zero(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_ANY));
    int32_t rank = bert_infer_shape(in, 0)->rank;
    bert_shape to = {.rank = 2};
    to.dims[0] = rank < 0 ? bert_dim_fresh(in->symbols) : rank > 0 ? rank : 1;
    to.dims[1] = count_nonzero(in, 0, INT64_MAX);
    bert_infer_give(in, 0, BERT_INT64, &to);
    return BERT_OK;
}

bert_status bert_reference_non_zero(const bert_reference_call *call) {
    const bert_tensor *from = &call->inputs[0];
    const bert_tensor *to = &call->outputs[0];
    int64_t *out = to->data;
    int64_t found = 0;
    bert_loop loop = bert_loop_over(from->rank, from->dims);
    for (; loop.left; bert_loop_next(&loop)) {
        if (bert_load(from, loop.position) == 0) continue;
        for (int64_t i = 0; i < to->dims[0]; i++) out[i * to->dims[1] + found] = from->rank ? loop.index[i] : 0;
        found++;
    }
    return BERT_OK;
}

bert_status bert_infer_compress(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_ANY));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPES_BOOL));
    BERT_TRY(bert_infer_rank(in, 1, 1, 1));
    bert_shape to = *bert_infer_shape(in, 0);
    bert_shape vector = {.rank = 1};
    int32_t axis = 0;
    bool flat = !bert_attribute_find(in->attributes, in->attribute_count, "axis");
    if (to.rank >= 0 && !flat) BERT_TRY(bert_infer_axis(in, BERT_INFER_INT(in, "axis", 0), to.rank, &axis));
    bert_dim length = flat || to.rank < 0 ? bert_shape_elements(in, &to) : to.dims[axis];
    bert_dim count = bert_dim_known(length) ? count_nonzero(in, 1, length) : bert_dim_fresh(in->symbols);
    vector.dims[0] = count;
    if (to.rank >= 0 && !flat) to.dims[axis] = count;
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), flat ? &vector : &to);
    return BERT_OK;
}

bert_status bert_reference_compress(const bert_reference_call *call) {
    const bert_tensor *from = &call->inputs[0];
    const bert_tensor *condition = &call->inputs[1];
    const bert_tensor *to = &call->outputs[0];
    bool flat = !bert_attribute_find(call->attributes, call->attribute_count, "axis");
    int32_t axis = flat ? 0 : bert_call_axis(BERT_CALL_INT(call, "axis", 0), from->rank);
    int64_t before = flat ? 1 : bert_dims_product(from, 0, axis);
    int64_t length = flat ? bert_tensor_elements(from) : from->dims[axis];
    int64_t row = flat ? 1 : bert_dims_product(from, axis + 1, from->rank);
    int64_t kept = 0;
    for (int64_t i = 0; i < length && i < condition->dims[0]; i++) {
        if (!bert_load_integer(condition, i)) continue;
        for (int64_t j = 0; j < before; j++) {
            bert_copy_elements(to, (j * to->dims[axis] + kept) * row, from, (j * length + i) * row, row);
        }
        kept++;
    }
    return BERT_OK;
}
