/* Slice, Split and Concat: parts of tensors, and tensors from parts. */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/movement.h"

#include <inttypes.h>

/* ---- Slice --------------------------------------------------------------------------------------------------------
 */

/* One axis of a slice: elements first, first + step, ... */
typedef struct slice_range {
    int64_t first, step, count;
} slice_range;

/* What numpy makes of start:end:step on a dimension; step is not 0. */
static slice_range resolve_slice(int64_t dim, int64_t start, int64_t end, int64_t step) {
    if (step < -INT64_MAX) step = -INT64_MAX;
    if (start < 0) start += dim;
    if (end < 0) end += dim;
    /* Backwards the last element is 0, and one before it is where the range may end. */
    int64_t least = step > 0 ? 0 : -1;
    int64_t most = step > 0 ? dim : dim - 1;
    start = start < least ? least : start > most ? most : start;
    end = end < least ? least : end > most ? most : end;
    int64_t count = 0;
    if (step > 0 && end > start) count = (end - start - 1) / step + 1;
    if (step < 0 && start > end) count = (start - end - 1) / -step + 1;
    return (slice_range){start, step, count};
}

/* A bound of a slice as a position in [0, dim], steps being positive. False when its sign isn't known. */
static bool resolve_bound(const bert_inference *in, bert_dim dim, bert_dim bound, bert_dim *out) {
    if (bert_dim_known(bound)) {
        if (bound < 0) {
            *out = bert_dim_maximum(in->symbols, bert_dim_add(in->symbols, dim, bound), 0);
        } else if (bound >= INT32_MAX) {
            /* How exporters write "to the end". */
            *out = dim;
        } else {
            *out = bert_dim_minimum(in->symbols, bound, dim);
        }
        return true;
    }
    if (!bert_dim_nonnegative(in->symbols, bound)) return false;
    *out = bert_dim_minimum(in->symbols, bound, dim);
    return true;
}

/*
 * The size of dim[start:end:step]. With symbols it is an expression that holds for every value of them: the slice
 * [0:sequence] of 512 positions has minimum(512, sequence) elements, which broadcasting takes for `sequence` (see
 * bert_dim_broadcast), and the exact number appears when the plan is bound.
 */
static bert_dim slice_size(const bert_inference *in, bert_dim dim, bert_dim start, bert_dim end, bert_dim step) {
    if (bert_dim_known(dim) && bert_dim_known(start) && bert_dim_known(end) && bert_dim_known(step)) {
        return resolve_slice(dim, start, end, step).count;
    }
    if (step == -1 && start == -1 && bert_dim_known(end) && end < -INT32_MAX) return dim;
    if (step == 1 && bert_dim_known(start) && start < 0 && bert_dim_known(end) && end >= INT32_MAX) {
        return bert_dim_minimum(in->symbols, -start, dim);
    }
    /* The last `back` of no more than that many: all of them, also where there are none. */
    const bert_dim back = bert_dim_subtract(in->symbols, 0, start);
    if (step == 1 && bert_dim_known(end) && end >= INT32_MAX && bert_dim_nonnegative(in->symbols, back) &&
        bert_dim_minimum(in->symbols, back, dim) == dim) {
        return dim;
    }
    bert_dim first;
    bert_dim last;
    if (!bert_dim_known(step) || step <= 0 || !resolve_bound(in, dim, start, &first) ||
        !resolve_bound(in, dim, end, &last)) {
        return bert_dim_fresh(in->symbols);
    }
    bert_dim length = bert_dim_subtract(in->symbols, last, first);
    if (first != 0 && !bert_dim_nonnegative(in->symbols, length)) length = bert_dim_maximum(in->symbols, length, 0);
    if (step == 1) return length;
    return bert_dim_divide(in->symbols, bert_dim_add(in->symbols, length, step - 1), step, true);
}

/* One of Slice's four lists, from an attribute (opset 9) or an input (10 and later). */
typedef struct slice_list {
    bool given, known;
    int32_t count;
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
} slice_list;

static bert_status read_slice_list(const bert_inference *in, int32_t input, const char *attribute, slice_list *out) {
    *out = (slice_list){.given = false};
    if (in->opset >= 10) {
        out->given = bert_infer_input(in, input) != NULL;
        if (!out->given) return BERT_OK;
        BERT_TRY(bert_infer_type(in, input, BERT_TYPES_INDEX));
        out->known = bert_infer_content(in, input, out->values, &out->count);
    } else {
        size_t count = 0;
        const int64_t *values = attribute ? BERT_INFER_INTS(in, attribute, &count) : NULL;
        out->given = values != NULL;
        if (count > BERT_MAX_RANK) {
            return bert_fail(in->error, BERT_INVALID_MODEL, "%s has %zu elements; a tensor has at most %d dimensions",
                             attribute, count, BERT_MAX_RANK);
        }
        out->known = true;
        for (size_t i = 0; values && i < count; i++) out->values[i] = bert_dim_of(values[i]);
        out->count = (int32_t)count;
    }
    return BERT_OK;
}

typedef struct slice_lists {
    slice_list starts, ends, axes, steps;
} slice_lists;

static bert_status read_slice_lists(const bert_inference *in, slice_lists *out) {
    BERT_TRY(read_slice_list(in, 1, "starts", &out->starts));
    BERT_TRY(read_slice_list(in, 2, "ends", &out->ends));
    BERT_TRY(read_slice_list(in, 3, "axes", &out->axes));
    BERT_TRY(read_slice_list(in, 4, NULL, &out->steps));
    if (!out->starts.given || !out->ends.given) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "Slice needs starts and ends");
    }
    const slice_list *lists[] = {&out->starts, &out->ends, &out->axes, &out->steps};
    int32_t count = -1;
    for (int i = 0; i < 4; i++) {
        if (!lists[i]->given || !lists[i]->known) continue;
        if (count >= 0 && lists[i]->count != count) {
            return bert_fail(in->error, BERT_INVALID_MODEL,
                             "starts, ends, axes and steps of Slice must be of one length; found %" PRId32
                             " and %" PRId32,
                             count, lists[i]->count);
        }
        count = lists[i]->count;
    }
    return BERT_OK;
}

/* The axes in the order given. False when they aren't known, which makes every dimension unknown. */
static bert_status slice_axes(const bert_inference *in, const slice_lists *lists, int32_t rank, int32_t *axes,
                              bool *known) {
    *known = lists->starts.known && lists->ends.known && (!lists->axes.given || lists->axes.known);
    if (!*known) return BERT_OK;
    uint32_t seen = 0;
    for (int32_t i = 0; i < lists->starts.count; i++) {
        bert_dim axis = lists->axes.given ? lists->axes.values[i] : i;
        if (!bert_dim_known(axis)) {
            *known = false;
            return BERT_OK;
        }
        int32_t place;
        BERT_TRY(bert_infer_axis(in, axis, rank, &place));
        if (seen >> place & 1) {
            return bert_fail(in->error, BERT_INVALID_MODEL, "axis %" PRId32 " is sliced twice", place);
        }
        seen |= (uint32_t)1 << place;
        axes[i] = place;
    }
    return BERT_OK;
}

static void slice_elements(const bert_inference *in, const slice_lists *lists, bert_dim step) {
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count;
    if (bert_infer_shape(in, 0)->rank != 1 || lists->starts.count != 1 || !bert_dim_known(lists->starts.values[0]) ||
        !bert_dim_known(lists->ends.values[0]) || !bert_dim_known(step) || !bert_infer_content(in, 0, values, &count)) {
        return;
    }
    slice_range range = resolve_slice(count, lists->starts.values[0], lists->ends.values[0], step);
    bert_dim *elements = bert_infer_new_elements(in, 0, (int32_t)range.count);
    for (int64_t i = 0; elements && i < range.count; i++) elements[i] = values[range.first + i * range.step];
}

bert_status bert_infer_slice(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_ANY));
    slice_lists lists;
    BERT_TRY(read_slice_lists(in, &lists));
    bert_shape to = *bert_infer_shape(in, 0);
    int32_t axes[BERT_MAX_TRACKED_ELEMENTS];
    bool known = false;
    if (to.rank >= 0) BERT_TRY(slice_axes(in, &lists, to.rank, axes, &known));
    if (!known) {
        for (int32_t i = 0; i < to.rank; i++) to.dims[i] = bert_dim_fresh(in->symbols);
        bert_infer_give(in, 0, bert_infer_dtype(in, 0), &to);
        return BERT_OK;
    }
    for (int32_t i = 0; i < lists.starts.count; i++) {
        bert_dim step = !lists.steps.given ? 1 : lists.steps.known ? lists.steps.values[i] : -BERT_DIM_LIMIT;
        if (step == 0) return bert_fail(in->error, BERT_INVALID_MODEL, "Slice has a step of 0");
        bert_dim *dim = &to.dims[axes[i]];
        *dim = slice_size(in, *dim, lists.starts.values[i], lists.ends.values[i], step);
    }
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &to);
    if (lists.starts.count == 1) {
        bert_dim step = !lists.steps.given ? 1 : lists.steps.known ? lists.steps.values[0] : -BERT_DIM_LIMIT;
        slice_elements(in, &lists, step);
    }
    return BERT_OK;
}

/* Element `i` of a list of Slice; `missing` where the list is absent. */
static int64_t slice_argument(const bert_reference_call *call, int32_t input, const char *attribute, int64_t i,
                              int64_t missing) {
    if (call->opset >= 10) {
        const bert_tensor *list = bert_call_input(call, input);
        return list ? (int64_t)bert_load_integer(list, i) : missing;
    }
    size_t count = 0;
    const int64_t *values = attribute ? BERT_CALL_INTS(call, attribute, &count) : NULL;
    return values ? values[i] : missing;
}

bert_status bert_reference_slice(const bert_reference_call *call) {
    const bert_tensor *from = &call->inputs[0];
    const bert_tensor *to = &call->outputs[0];
    bert_move move = bert_move_between(from, to, to);
    size_t attribute_count = 0;
    BERT_CALL_INTS(call, "starts", &attribute_count);
    int64_t count = call->opset >= 10 ? bert_tensor_elements(&call->inputs[1]) : (int64_t)attribute_count;
    int64_t start = 0;
    for (int64_t i = 0; i < count; i++) {
        int32_t axis = bert_call_axis(slice_argument(call, 3, "axes", i, i), from->rank);
        slice_range range = resolve_slice(from->dims[axis], slice_argument(call, 1, "starts", i, 0),
                                          slice_argument(call, 2, "ends", i, 0), slice_argument(call, 4, NULL, i, 1));
        if (range.count != to->dims[axis]) {
            return bert_fail(call->error, BERT_INTERNAL,
                             "axis %" PRId32 " has %" PRId64 " elements in the slice and %" PRId64 " in the plan", axis,
                             range.count, to->dims[axis]);
        }
        /* An empty range may start behind the last element, and a range of one may have any step. */
        if (range.count > 0) start += range.first * move.from[axis];
        if (range.count > 1) move.from[axis] *= range.step;
    }
    bert_move_run(&move, from, start, to, 0);
    return BERT_OK;
}

/* ---- Split --------------------------------------------------------------------------------------------------------
 */

/* Sizes of equal parts. Since opset 18 the last may be smaller, or empty where there are more parts than needed. */
static bert_status equal_parts(const bert_inference *in, bert_dim dim, bert_dim *sizes) {
    int32_t parts = in->output_count;
    bool ragged = in->opset >= 18;
    if (bert_dim_known(dim) && !ragged && dim % parts != 0) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "a dimension of %" PRId64 " can't be split into %" PRId32 " equal parts", dim, parts);
    }
    bert_dim part = bert_dim_divide(in->symbols, dim, parts, true);
    bool exact = bert_dim_multiply(in->symbols, part, parts) == dim;
    for (int32_t i = 0; i < parts; i++) sizes[i] = part;
    if (exact || !ragged) return BERT_OK;
    part = bert_dim_divide(in->symbols, bert_dim_add(in->symbols, dim, parts - 1), parts, true);
    bert_dim rest = dim;
    for (int32_t i = 0; i < parts; i++) {
        sizes[i] = i == 0 ? part : bert_dim_minimum(in->symbols, part, rest);
        rest = bert_dim_maximum(in->symbols, bert_dim_subtract(in->symbols, rest, part), 0);
    }
    return BERT_OK;
}

/* Sizes of the parts as the input or attribute `split` lists them; *given false where there is no list. */
static bert_status listed_parts(const bert_inference *in, bert_dim dim, bert_dim *sizes, bool *given) {
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count = 0;
    size_t attribute_count = 0;
    const int64_t *attribute = BERT_INFER_INTS(in, "split", &attribute_count);
    *given = bert_infer_input(in, 1) || attribute;
    if (!*given) return BERT_OK;
    if (bert_infer_input(in, 1)) {
        if (!bert_infer_content(in, 1, values, &count)) {
            for (int32_t i = 0; i < in->output_count; i++) sizes[i] = bert_dim_fresh(in->symbols);
            return BERT_OK;
        }
    } else {
        count = attribute_count > BERT_MAX_TRACKED_ELEMENTS ? -1 : (int32_t)attribute_count;
        for (int32_t i = 0; i < count; i++) values[i] = bert_dim_of(attribute[i]);
    }
    if (count != in->output_count) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "Split has %" PRId32 " sizes and %" PRId32 " outputs",
                         count < 0 ? (int32_t)attribute_count : count, in->output_count);
    }
    bert_dim sum = 0;
    bool known = true;
    for (int32_t i = 0; i < count; i++) {
        if (bert_dim_known(values[i]) && values[i] < 0) {
            return bert_fail(in->error, BERT_INVALID_MODEL, "part %" PRId32 " of Split has the size %" PRId64, i,
                             values[i]);
        }
        sizes[i] = values[i];
        sum = bert_dim_add(in->symbols, sum, values[i]);
        known &= bert_dim_known(values[i]);
    }
    /* A sum that no dimension can be must not pass for one that isn't known yet. */
    if (known && !bert_dim_known(sum)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "the parts of Split have more elements than a tensor can have");
    }
    return bert_infer_equal(in, dim, sum, "the dimension and the sum of its parts", NULL);
}

bert_status bert_infer_split(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_ANY));
    const bert_shape *from = bert_infer_shape(in, 0);
    bert_dtype dtype = bert_infer_dtype(in, 0);
    if (from->rank < 0) {
        for (int32_t i = 0; i < in->output_count; i++) bert_infer_give(in, i, dtype, NULL);
        return BERT_OK;
    }
    if (in->output_count > BERT_MAX_TRACKED_ELEMENTS) {
        return bert_fail(in->error, BERT_UNSUPPORTED, "Split has %" PRId32 " outputs; %d are the most",
                         in->output_count, BERT_MAX_TRACKED_ELEMENTS);
    }
    int64_t parts = BERT_INFER_INT(in, "num_outputs", in->output_count);
    if (parts != in->output_count) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "Split has %" PRId32 " outputs and num_outputs %" PRId64,
                         in->output_count, parts);
    }
    int32_t axis;
    BERT_TRY(bert_infer_axis(in, BERT_INFER_INT(in, "axis", 0), from->rank, &axis));
    bert_dim sizes[BERT_MAX_TRACKED_ELEMENTS];
    bool given;
    BERT_TRY(listed_parts(in, from->dims[axis], sizes, &given));
    if (!given) BERT_TRY(equal_parts(in, from->dims[axis], sizes));
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count = 0;
    bool followed = from->rank == 1 && bert_infer_content(in, 0, values, &count);
    int64_t start = 0;
    for (int32_t i = 0; i < in->output_count; i++) {
        bert_shape to = *from;
        to.dims[axis] = sizes[i];
        bert_infer_give(in, i, dtype, &to);
        followed = followed && bert_dim_known(sizes[i]) && sizes[i] <= count - start;
        if (!followed) continue;
        bert_dim *elements = bert_infer_new_elements(in, i, (int32_t)sizes[i]);
        for (int64_t j = 0; elements && j < sizes[i]; j++) elements[j] = values[start + j];
        start += sizes[i];
    }
    return BERT_OK;
}

/* Size of part `i`: outputs that nobody reads have no shape, and take their part all the same. */
static int64_t part_size(const bert_reference_call *call, int32_t i, int64_t dim) {
    const bert_tensor *list = bert_call_input(call, 1);
    if (list) return (int64_t)bert_load_integer(list, i);
    size_t count = 0;
    const int64_t *sizes = BERT_CALL_INTS(call, "split", &count);
    return sizes ? sizes[i] : (dim + call->output_count - 1) / call->output_count;
}

bert_status bert_reference_split(const bert_reference_call *call) {
    const bert_tensor *from = &call->inputs[0];
    int32_t axis = bert_call_axis(BERT_CALL_INT(call, "axis", 0), from->rank);
    int64_t start = 0;
    for (int32_t i = 0; i < call->output_count; i++) {
        const bert_tensor *to = bert_call_output(call, i);
        if (to) {
            bert_move move = bert_move_between(from, to, to);
            bert_move_run(&move, from, start * move.from[axis], to, 0);
        }
        start += part_size(call, i, from->dims[axis]);
    }
    return BERT_OK;
}

/* ---- Concat -------------------------------------------------------------------------------------------------------
 */

/* The elements of vectors one after another; what isn't followed of a vector of known length counts as fresh symbols.
 */
static void concat_elements(const bert_inference *in) {
    bert_dim all[BERT_MAX_TRACKED_ELEMENTS];
    int32_t total = 0;
    bool any = false;
    for (int32_t i = 0; i < in->input_count; i++) {
        bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
        int32_t count;
        bool followed = bert_infer_content(in, i, values, &count);
        bert_dim length = followed ? count : bert_infer_shape(in, i)->dims[0];
        if (!bert_dim_known(length) || length > BERT_MAX_TRACKED_ELEMENTS - total) return;
        for (int32_t j = 0; j < length; j++) all[total++] = followed ? values[j] : bert_dim_fresh(in->symbols);
        any |= followed;
    }
    bert_dim *elements = any ? bert_infer_new_elements(in, 0, total) : NULL;
    for (int32_t i = 0; elements && i < total; i++) elements[i] = all[i];
}

static bert_status concat_shape(const bert_inference *in, bert_shape *to) {
    *to = *bert_infer_shape(in, 0);
    if (to->rank < 0) return BERT_OK;
    int32_t axis;
    BERT_TRY(bert_infer_axis(in, BERT_INFER_INT(in, "axis", 1), to->rank, &axis));
    bert_dim sum = 0;
    for (int32_t i = 0; i < in->input_count; i++) {
        const bert_shape *part = bert_infer_shape(in, i);
        if (part->rank != to->rank) {
            return bert_fail(in->error, BERT_INVALID_MODEL,
                             "inputs 0 and %" PRId32 " have %" PRId32 " and %" PRId32 " dimensions; Concat takes one "
                             "rank",
                             i, to->rank, part->rank);
        }
        for (int32_t j = 0; j < to->rank; j++) {
            if (j == axis) continue;
            BERT_TRY(bert_infer_equal(in, to->dims[j], part->dims[j], "dimensions of two inputs beside the axis",
                                      &to->dims[j]));
        }
        sum = bert_dim_add(in->symbols, sum, part->dims[axis]);
    }
    to->dims[axis] = sum;
    return BERT_OK;
}

bert_status bert_infer_concat(const bert_inference *in) {
    bert_dtype dtype = bert_infer_dtype(in, 0);
    bool known = true;
    for (int32_t i = 0; i < in->input_count; i++) {
        BERT_TRY(bert_infer_type(in, i, BERT_TYPES_ANY));
        BERT_TRY(bert_infer_same_type(in, 0, i));
        if (dtype == BERT_DTYPE_UNDEFINED) dtype = bert_infer_dtype(in, i);
        known &= bert_infer_shape(in, i)->rank >= 0;
    }
    bert_shape to = bert_shape_unknown();
    if (known) BERT_TRY(concat_shape(in, &to));
    bert_infer_give(in, 0, dtype, &to);
    if (to.rank == 1) concat_elements(in);
    return BERT_OK;
}

bert_status bert_reference_concat(const bert_reference_call *call) {
    const bert_tensor *to = &call->outputs[0];
    int32_t axis = bert_call_axis(BERT_CALL_INT(call, "axis", 1), to->rank);
    int64_t start = 0;
    for (int32_t i = 0; i < call->input_count; i++) {
        const bert_tensor *from = &call->inputs[i];
        bert_move move = bert_move_between(from, to, from);
        bert_move_run(&move, from, 0, to, start * move.to[axis]);
        start += from->dims[axis];
    }
    return BERT_OK;
}
