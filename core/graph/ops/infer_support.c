#include "core/graph/ops/infer.h"

#include "core/graph/canonical.h"

#include <inttypes.h>
#include <stdio.h>

enum { TEXT_BYTES = 160 };

static const bert_shape unknown_shape = {.rank = -1};

/* "float, double, float16" in the order of the types' numbers. */
static const char *list_types(bert_type_set types, char *out, size_t capacity) {
    size_t length = 0;
    out[0] = '\0';
    for (int dtype = 1; dtype <= BERT_BFLOAT16; dtype++) {
        if (!(types & BERT_TYPE(dtype)) || length >= capacity) continue;
        int written =
            snprintf(out + length, capacity - length, "%s%s", length ? ", " : "", bert_dtype_name((bert_dtype)dtype));
        if (written > 0) length += (size_t)written;
    }
    return out;
}

static const char *format_shape(const bert_inference *in, const bert_shape *shape, char *out, size_t capacity) {
    size_t length = (size_t)snprintf(out, capacity, "[");
    for (int32_t i = 0; i < shape->rank && length < capacity; i++) {
        char dim[64];
        bert_dim_format(in->symbols, shape->dims[i], dim, sizeof dim);
        length += (size_t)snprintf(out + length, capacity - length, "%s%s", i ? ", " : "", dim);
    }
    if (length < capacity) snprintf(out + length, capacity - length, "]");
    return out;
}

const bert_value_info *bert_infer_input(const bert_inference *in, int32_t input) {
    return input >= 0 && input < in->input_count ? in->inputs[input] : NULL;
}

bert_dtype bert_infer_dtype(const bert_inference *in, int32_t input) {
    const bert_value_info *info = bert_infer_input(in, input);
    return info ? info->dtype : BERT_DTYPE_UNDEFINED;
}

const bert_shape *bert_infer_shape(const bert_inference *in, int32_t input) {
    const bert_value_info *info = bert_infer_input(in, input);
    return info ? &info->shape : &unknown_shape;
}

bert_status bert_infer_type(const bert_inference *in, int32_t input, bert_type_set allowed) {
    bert_dtype dtype = bert_infer_dtype(in, input);
    if (dtype == BERT_DTYPE_UNDEFINED || (allowed & BERT_TYPE(dtype))) return BERT_OK;
    char types[TEXT_BYTES];
    return bert_fail(in->error, BERT_INVALID_MODEL, "input %" PRId32 " has type %s; %s takes %s", input,
                     bert_dtype_name(dtype), in->op->name, list_types(allowed, types, sizeof types));
}

bert_status bert_infer_same_type(const bert_inference *in, int32_t first, int32_t second) {
    bert_dtype a = bert_infer_dtype(in, first);
    bert_dtype b = bert_infer_dtype(in, second);
    if (a == b || a == BERT_DTYPE_UNDEFINED || b == BERT_DTYPE_UNDEFINED) return BERT_OK;
    return bert_fail(in->error, BERT_INVALID_MODEL,
                     "inputs %" PRId32 " and %" PRId32 " have types %s and %s; %s takes one type for both", first,
                     second, bert_dtype_name(a), bert_dtype_name(b), in->op->name);
}

bert_status bert_infer_rank(const bert_inference *in, int32_t input, int32_t least, int32_t most) {
    int32_t rank = bert_infer_shape(in, input)->rank;
    if (rank < 0 || (rank >= least && rank <= most)) return BERT_OK;
    if (least == most) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "input %" PRId32 " has %" PRId32 " dimensions; %s takes %" PRId32, input, rank, in->op->name,
                         least);
    }
    return bert_fail(in->error, BERT_INVALID_MODEL,
                     "input %" PRId32 " has %" PRId32 " dimensions; %s takes %" PRId32 " to %" PRId32, input, rank,
                     in->op->name, least, most);
}

bool bert_infer_content(const bert_inference *in, int32_t input, bert_dim values[BERT_MAX_TRACKED_ELEMENTS],
                        int32_t *count) {
    const bert_value_info *info = bert_infer_input(in, input);
    if (!info) return false;
    if (info->elements && info->element_count <= BERT_MAX_TRACKED_ELEMENTS) {
        for (int32_t i = 0; i < info->element_count; i++) values[i] = info->elements[i];
        *count = info->element_count;
        return true;
    }
    if (!info->constant || !((BERT_TYPES_INTEGER | BERT_TYPES_BOOL) & BERT_TYPE(info->constant->dtype))) return false;
    int64_t elements = bert_constant_elements(info->constant);
    if (elements < 0 || elements > BERT_MAX_TRACKED_ELEMENTS) return false;
    for (int64_t i = 0; i < elements; i++) values[i] = bert_dim_of(bert_constant_int(info->constant, i));
    *count = (int32_t)elements;
    return true;
}

bool bert_infer_numbers(const bert_inference *in, int32_t input, int64_t values[BERT_MAX_TRACKED_ELEMENTS],
                        int32_t *count) {
    if (!bert_infer_content(in, input, values, count)) return false;
    for (int32_t i = 0; i < *count; i++) {
        if (!bert_dim_known(values[i])) return false;
    }
    return true;
}

bert_shape bert_shape_unknown(void) {
    return unknown_shape;
}

bert_shape bert_shape_scalar(void) {
    return (bert_shape){.rank = 0};
}

bert_status bert_shape_append(const bert_inference *in, bert_shape *shape, bert_dim dim) {
    if (shape->rank < 0 || shape->rank >= BERT_MAX_RANK) {
        return bert_fail(in->error, BERT_UNSUPPORTED, "%s gives a tensor of more than %d dimensions", in->op->name,
                         BERT_MAX_RANK);
    }
    shape->dims[shape->rank++] = dim;
    return BERT_OK;
}

bert_dim bert_shape_product(const bert_inference *in, const bert_shape *shape, int32_t from, int32_t to) {
    bert_dim product = 1;
    for (int32_t i = from; i < to; i++) product = bert_dim_multiply(in->symbols, product, shape->dims[i]);
    return product;
}

bert_dim bert_shape_elements(const bert_inference *in, const bert_shape *shape) {
    return shape->rank < 0 ? bert_dim_fresh(in->symbols) : bert_shape_product(in, shape, 0, shape->rank);
}

/* How much a dimension says: a number says more than a name, a name more than what was computed from names, and that
 * more than what nothing is known of. */
static int worth(const bert_inference *in, bert_dim dim) {
    if (bert_dim_known(dim)) return 3;
    if (bert_dim_name(in->symbols, dim)) return 2;
    return bert_dim_all_named(in->symbols, dim) ? 1 : 0;
}

bert_status bert_infer_equal(const bert_inference *in, bert_dim a, bert_dim b, const char *what, bert_dim *out) {
    if (bert_dim_known(a) && bert_dim_known(b) && a != b) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "%s are %" PRId64 " and %" PRId64 "; %s needs them to be equal",
                         what, a, b, in->op->name);
    }
    if (out) *out = worth(in, b) > worth(in, a) ? b : a;
    return BERT_OK;
}

bert_status bert_infer_equal_shapes(const bert_inference *in, const bert_shape *a, const bert_shape *b,
                                    const char *what, bert_shape *out) {
    if (a->rank < 0 || b->rank < 0) {
        if (out) *out = a->rank < 0 ? *b : *a;
        return BERT_OK;
    }
    bool equal = a->rank == b->rank;
    bert_shape result = *a;
    for (int32_t i = 0; equal && i < a->rank; i++) {
        equal = bert_infer_equal(&(bert_inference){.op = in->op, .symbols = in->symbols}, a->dims[i], b->dims[i], what,
                                 &result.dims[i]) == BERT_OK;
    }
    if (!equal) {
        char first[TEXT_BYTES];
        char second[TEXT_BYTES];
        return bert_fail(in->error, BERT_INVALID_MODEL, "%s have shapes %s and %s; %s needs them to be equal", what,
                         format_shape(in, a, first, sizeof first), format_shape(in, b, second, sizeof second),
                         in->op->name);
    }
    if (out) *out = result;
    return BERT_OK;
}

bert_status bert_infer_broadcast(const bert_inference *in, const bert_shape *a, const bert_shape *b, bert_shape *out) {
    if (a->rank < 0 || b->rank < 0) {
        *out = unknown_shape;
        return BERT_OK;
    }
    bert_shape result = {.rank = a->rank > b->rank ? a->rank : b->rank};
    for (int32_t i = 0; i < result.rank; i++) {
        int32_t of_a = i - (result.rank - a->rank);
        int32_t of_b = i - (result.rank - b->rank);
        bert_dim x = of_a < 0 ? 1 : a->dims[of_a];
        bert_dim y = of_b < 0 ? 1 : b->dims[of_b];
        if (bert_dim_known(x) && bert_dim_known(y) && x != y && x != 1 && y != 1) {
            char first[TEXT_BYTES];
            char second[TEXT_BYTES];
            return bert_fail(in->error, BERT_INVALID_MODEL, "shapes %s and %s don't broadcast",
                             format_shape(in, a, first, sizeof first), format_shape(in, b, second, sizeof second));
        }
        result.dims[i] = bert_dim_broadcast(in->symbols, x, y);
    }
    *out = result;
    return BERT_OK;
}

bert_status bert_infer_broadcast_inputs(const bert_inference *in, int32_t first, int32_t count, bert_shape *out) {
    *out = bert_shape_scalar();
    for (int32_t i = first; i < first + count; i++) {
        if (bert_infer_input(in, i)) BERT_TRY(bert_infer_broadcast(in, out, bert_infer_shape(in, i), out));
    }
    return BERT_OK;
}

bert_status bert_infer_broadcasts_to(const bert_inference *in, int32_t input, const bert_shape *target) {
    const bert_shape *shape = bert_infer_shape(in, input);
    if (shape->rank < 0 || target->rank < 0) return BERT_OK;
    bool fits = shape->rank <= target->rank;
    for (int32_t i = 0; fits && i < shape->rank; i++) {
        bert_dim from = shape->dims[i];
        bert_dim to = target->dims[target->rank - shape->rank + i];
        fits = from == 1 || from == to || !bert_dim_known(from) || !bert_dim_known(to);
    }
    if (fits) return BERT_OK;
    char first[TEXT_BYTES];
    char second[TEXT_BYTES];
    return bert_fail(in->error, BERT_INVALID_MODEL, "input %" PRId32 " of shape %s doesn't broadcast to %s", input,
                     format_shape(in, shape, first, sizeof first), format_shape(in, target, second, sizeof second));
}

bert_status bert_infer_linear_output(const bert_inference *in, const bert_shape *rows, int64_t parts,
                                     bert_status (*infer_part)(const bert_inference *in, int32_t part, bert_dim depth,
                                                               bert_dim *columns)) {
    bert_shape shape = *rows;
    const bert_dim depth = shape.rank < 0 ? bert_dim_fresh(in->symbols) : shape.dims[shape.rank - 1];
    bert_dim columns = 0;
    for (int32_t part = 0; part < parts; part++) {
        bert_dim of_part = 0;
        BERT_TRY(infer_part(in, part, depth, &of_part));
        columns = bert_dim_add(in->symbols, columns, of_part);
    }
    if (shape.rank > 0) shape.dims[shape.rank - 1] = columns;
    if (bert_infer_input(in, BERT_LINEAR_RESIDUAL)) {
        BERT_TRY(bert_infer_equal_shapes(in, bert_infer_shape(in, BERT_LINEAR_RESIDUAL), &shape,
                                         "the residual and the output", NULL));
    }
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &shape);
    return BERT_OK;
}

bert_status bert_infer_product(const bert_inference *in, const bert_shape *a, const bert_shape *b, bert_shape *out) {
    *out = unknown_shape;
    if (a->rank < 0 || b->rank < 0) return BERT_OK;
    if (a->rank == 0 || b->rank == 0) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "an operand of %s is a scalar", in->op->name);
    }
    bert_dim rows_of_b = b->dims[b->rank == 1 ? 0 : b->rank - 2];
    BERT_TRY(bert_infer_equal(in, a->dims[a->rank - 1], rows_of_b, "the columns of A and the rows of B", NULL));
    bert_shape batch_a = *a;
    bert_shape batch_b = *b;
    batch_a.rank = a->rank > 2 ? a->rank - 2 : 0;
    batch_b.rank = b->rank > 2 ? b->rank - 2 : 0;
    bert_shape shape;
    BERT_TRY(bert_infer_broadcast(in, &batch_a, &batch_b, &shape));
    /* A vector is a matrix of one row (A) or one column (B), which the result doesn't have. */
    if (a->rank > 1) BERT_TRY(bert_shape_append(in, &shape, a->dims[a->rank - 2]));
    if (b->rank > 1) BERT_TRY(bert_shape_append(in, &shape, b->dims[b->rank - 1]));
    *out = shape;
    return BERT_OK;
}

bert_status bert_infer_axis(const bert_inference *in, int64_t axis, int32_t rank, int32_t *out) {
    if (axis < -(int64_t)rank || axis >= rank) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "axis %" PRId64 " is outside a tensor of %" PRId32 " dimensions", axis, rank);
    }
    *out = (int32_t)(axis < 0 ? axis + rank : axis);
    return BERT_OK;
}

bert_status bert_infer_axes(const bert_inference *in, int32_t input, int32_t rank, bert_axes *out) {
    *out = (bert_axes){.state = BERT_AXES_ABSENT};
    size_t attribute_count = 0;
    const int64_t *axes = BERT_INFER_INTS(in, "axes", &attribute_count);
    int64_t values[BERT_MAX_TRACKED_ELEMENTS];
    if (bert_infer_input(in, input)) {
        int32_t count;
        if (!bert_infer_numbers(in, input, values, &count)) {
            out->state = BERT_AXES_UNKNOWN;
            return BERT_OK;
        }
        axes = values;
        attribute_count = (size_t)count;
    } else if (!axes) {
        return BERT_OK;
    }
    out->state = BERT_AXES_GIVEN;
    if (attribute_count > (size_t)rank) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "%zu axes are given for a tensor of %" PRId32 " dimensions",
                         attribute_count, rank);
    }
    for (size_t i = 0; i < attribute_count; i++) {
        int32_t axis = 0;
        BERT_TRY(bert_infer_axis(in, axes[i], rank, &axis));
        if (out->mask >> axis & 1) {
            return bert_fail(in->error, BERT_INVALID_MODEL, "axis %" PRId32 " is given twice", axis);
        }
        out->mask |= (uint32_t)1 << axis;
        out->list[out->count++] = axis;
    }
    return BERT_OK;
}

void bert_infer_give(const bert_inference *in, int32_t output, bert_dtype dtype, const bert_shape *shape) {
    if (output >= in->output_count || !in->outputs[output]) return;
    in->outputs[output]->dtype = dtype;
    in->outputs[output]->shape = shape ? *shape : unknown_shape;
}

bert_dim *bert_infer_new_elements(const bert_inference *in, int32_t output, int32_t count) {
    if (output >= in->output_count || !in->outputs[output] || count < 0 || count > BERT_MAX_TRACKED_ELEMENTS) {
        return NULL;
    }
    bert_value_info *info = in->outputs[output];
    if (info->shape.rank < 0 || info->shape.rank > 1 || (info->shape.rank == 0 && count != 1)) return NULL;
    bert_dim *elements = BERT_ARENA_NEW_ARRAY(in->arena, bert_dim, count ? (size_t)count : 1);
    if (!elements) return NULL;
    info->elements = elements;
    info->element_count = count;
    return elements;
}

void bert_infer_copy_elements(const bert_inference *in, int32_t output, int32_t input) {
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count;
    if (!bert_infer_content(in, input, values, &count)) return;
    bert_dim *elements = bert_infer_new_elements(in, output, count);
    for (int32_t i = 0; elements && i < count; i++) elements[i] = values[i];
}

void bert_infer_follow_binary(const bert_inference *in, bert_follow_fn follow) {
    bert_dim result[BERT_MAX_TRACKED_ELEMENTS] = {0};
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS] = {0};
    int32_t count = 0;
    int32_t more = 0;
    if (!bert_infer_content(in, 0, result, &count)) return;
    for (int32_t input = 1; input < in->input_count; input++) {
        if (!bert_infer_content(in, input, values, &more)) return;
        int32_t wider = count == 1 ? more : count;
        if (more != wider && more != 1) return;
        /* From the end, so that a single element is there until the last. */
        for (int32_t i = wider - 1; i >= 0; i--) {
            result[i] = follow(in, result[count == 1 ? 0 : i], values[more == 1 ? 0 : i]);
        }
        count = wider;
    }
    bert_dim *elements = bert_infer_new_elements(in, 0, count);
    for (int32_t i = 0; elements && i < count; i++) elements[i] = result[i];
}

bert_status bert_infer_like_input(const bert_inference *in, bert_type_set allowed) {
    BERT_TRY(bert_infer_type(in, 0, allowed));
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), bert_infer_shape(in, 0));
    return BERT_OK;
}
