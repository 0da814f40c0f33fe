/* Conv: over any number of spatial axes, one product of matrices for each place of the kernel. */
#include "core/graph/conv_axes.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/product.h"

#include <inttypes.h>
#include <string.h>

/* ---- Inference -----------------------------------------------------------------------------------------------------
 */

/* An attribute that lists `per_axis` numbers for each axis, none of them below `least`. */
static bert_status check_list(const bert_inference *in, const char *name, int32_t axes, int32_t per_axis,
                              int64_t least) {
    size_t count = 0;
    const int64_t *values = bert_attribute_ints(in->attributes, in->attribute_count, name, &count);
    if (!values) return BERT_OK;
    if (count != (size_t)axes * (size_t)per_axis) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "%s lists %zu numbers for %" PRId32 " spatial axes", name,
                         count, axes);
    }
    for (size_t i = 0; i < count; i++) {
        if (values[i] < least || values[i] > INT32_MAX) {
            return bert_fail(in->error, BERT_INVALID_MODEL, "%s has %" PRId64 "; from %" PRId64 " to %d is allowed",
                             name, values[i], least, INT32_MAX);
        }
    }
    return BERT_OK;
}

/* Lists of attributes, and the kernel's shape where it is stated. */
static bert_status check_attributes(const bert_inference *in, const bert_shape *w) {
    if (bert_conv_auto_pad(in->attributes, in->attribute_count) == BERT_CONV_PADS) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "auto_pad is \"%s\"; NOTSET, SAME_UPPER, SAME_LOWER and VALID are known",
                         BERT_INFER_STRING(in, "auto_pad", "NOTSET"));
    }
    int32_t axes = w->rank - BERT_CONV_SPATIAL;
    BERT_TRY(check_list(in, "strides", axes, 1, 1));
    BERT_TRY(check_list(in, "dilations", axes, 1, 1));
    BERT_TRY(check_list(in, "pads", axes, 2, 0));
    BERT_TRY(check_list(in, "kernel_shape", axes, 1, 1));
    size_t count;
    const int64_t *kernel = BERT_INFER_INTS(in, "kernel_shape", &count);
    for (int32_t i = 0; i < axes; i++) {
        bert_dim dim = w->dims[BERT_CONV_SPATIAL + i];
        if (bert_dim_known(dim) && (dim < 1 || dim > INT32_MAX)) {
            return bert_fail(in->error, BERT_INVALID_MODEL, "a dimension of the kernel is %" PRId64, dim);
        }
        if (!kernel) continue;
        BERT_TRY(bert_infer_equal(in, dim, kernel[i], "a dimension of W and of kernel_shape", NULL));
    }
    return BERT_OK;
}

/* Channels of X and W, and outputs that groups share out. */
static bert_status check_channels(const bert_inference *in, const bert_shape *x, const bert_shape *w) {
    int64_t group = BERT_INFER_INT(in, "group", 1);
    bert_dim outputs = w->dims[0];
    if (group < 1 || group > INT32_MAX || (bert_dim_known(outputs) && outputs % group != 0)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "%" PRId64 " groups can't share the outputs of W equally",
                         group);
    }
    BERT_TRY(bert_infer_equal(in, x->dims[1], bert_dim_multiply(in->symbols, w->dims[1], group),
                              "the channels of X and the groups' of W", NULL));
    if (!bert_infer_input(in, 2) || bert_infer_shape(in, 2)->rank != 1) return BERT_OK;
    return bert_infer_equal(in, bert_infer_shape(in, 2)->dims[0], outputs, "the elements of B and the outputs of W",
                            NULL);
}

/* Places that the kernel has on axis `i`, of `size`: none on one that is empty, and at least one on any other. */
static bert_status count_places(const bert_inference *in, int32_t i, int32_t axes, bert_dim size, bert_dim kernel,
                                bert_dim *out) {
    bert_symbols *s = in->symbols;
    const int way = bert_conv_auto_pad(in->attributes, in->attribute_count);
    const int64_t *pads = bert_conv_pads(in->attributes, in->attribute_count);
    int64_t stride = bert_conv_step(in->attributes, in->attribute_count, "strides", i);
    int64_t dilation = bert_conv_step(in->attributes, in->attribute_count, "dilations", i);
    int64_t padding = pads ? pads[i] + pads[i + axes] : 0;
    if (way == BERT_CONV_SAME_UPPER || way == BERT_CONV_SAME_LOWER) {
        *out = bert_dim_divide(s, bert_dim_add(s, size, stride - 1), stride, true);
        return BERT_OK;
    }
    bert_dim span = bert_dim_multiply(s, bert_dim_subtract(s, kernel, 1), dilation);
    bert_dim room = bert_dim_subtract(s, bert_dim_add(s, size, padding - 1), span);
    if (size == 0) {
        *out = 0;
        return BERT_OK;
    }
    if (bert_dim_known(room) && room < 0) {
        char kernel_text[64];
        char size_text[64];
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "a kernel of %s with dilation %" PRId64
                         " doesn't fit into an input of %s with padding %" PRId64,
                         bert_dim_format(s, kernel, kernel_text, sizeof kernel_text), dilation,
                         bert_dim_format(s, size, size_text, sizeof size_text), padding);
    }
    *out = bert_dim_add(s, bert_dim_divide(s, room, stride, true), 1);
    return BERT_OK;
}

bert_status bert_infer_conv(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_same_type(in, 0, 1));
    BERT_TRY(bert_infer_same_type(in, 0, 2));
    BERT_TRY(bert_infer_rank(in, 0, BERT_CONV_SPATIAL + 1, BERT_MAX_RANK));
    BERT_TRY(bert_infer_rank(in, 1, BERT_CONV_SPATIAL + 1, BERT_MAX_RANK));
    BERT_TRY(bert_infer_rank(in, 2, 1, 1));
    const bert_shape *x = bert_infer_shape(in, 0);
    const bert_shape *w = bert_infer_shape(in, 1);
    bert_dtype dtype = bert_infer_dtype(in, 0);
    bert_infer_give(in, 0, dtype, NULL);
    if (x->rank < 0 || w->rank < 0) return BERT_OK;
    if (x->rank != w->rank) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "X has %" PRId32 " dimensions and W has %" PRId32, x->rank,
                         w->rank);
    }
    BERT_TRY(check_attributes(in, w));
    BERT_TRY(check_channels(in, x, w));
    bert_shape y = {.rank = x->rank, .dims = {x->dims[0], w->dims[0]}};
    for (int32_t i = BERT_CONV_SPATIAL; i < y.rank; i++) {
        BERT_TRY(
            count_places(in, i - BERT_CONV_SPATIAL, y.rank - BERT_CONV_SPATIAL, x->dims[i], w->dims[i], &y.dims[i]));
    }
    bert_infer_give(in, 0, dtype, &y);
    return BERT_OK;
}

/* ---- Reference -----------------------------------------------------------------------------------------------------
 */

/* One call: where the kernel lies, and of the group at hand, matrices of which products are taken. */
typedef struct conv {
    const bert_tensor *x, *w, *b, *y;
    int32_t axes;
    bert_conv_axis axis[BERT_CONV_MAX_AXES];
    int64_t x_strides[BERT_MAX_RANK];
    int64_t group_inputs, group_outputs, taps, row; /* Elements of a kernel and of a row of y. */
    double *sums, *scratch;
} conv;

/* Where a tap of the kernel meets x: from its element `offset` within a channel on, for so many elements of a row of y.
 */
typedef struct meeting {
    int64_t offset, first, count;
} meeting;

/* For the row of y at `at`. No elements where all that the tap meets is padding. */
static meeting meet(const conv *c, const int64_t *at, int64_t tap) {
    meeting m = {0};
    for (int32_t i = c->axes - 1; i >= 0; i--) {
        const bert_conv_axis *axis = &c->axis[i];
        int64_t start = tap % axis->taps * axis->dilation - axis->before;
        tap /= axis->taps;
        if (i == c->axes - 1) {
            m.first = start < 0 ? (-start + axis->stride - 1) / axis->stride : 0;
            int64_t end = axis->size > start ? (axis->size - start - 1) / axis->stride + 1 : 0;
            if (end > c->row) end = c->row;
            m.count = end - m.first;
            start += m.first * axis->stride;
        } else {
            start += at[i] * axis->stride;
            if (start < 0 || start >= axis->size) return (meeting){0};
        }
        m.offset += start * c->x_strides[BERT_CONV_SPATIAL + i];
    }
    return m.count > 0 ? m : (meeting){0};
}

/* One row of y, at `at` of the spatial axes but the last, for some outputs of a group. */
static void compute_row(const conv *c, int64_t sequence, int64_t group, const int64_t *at, int64_t output,
                        int64_t outputs) {
    int64_t first_output = group * c->group_outputs;
    for (int64_t i = 0; i < outputs; i++) {
        double bias = c->b ? bert_load(c->b, first_output + output + i) : 0;
        for (int64_t j = 0; j < c->row; j++) c->sums[i * c->row + j] = bias;
    }
    for (int64_t tap = 0; tap < c->taps; tap++) {
        meeting m = meet(c, at, tap);
        if (m.count == 0) continue;
        int64_t channel = sequence * c->x_strides[0] + group * c->group_inputs * c->x_strides[1];
        bert_matrix w = {c->w, first_output * c->group_inputs * c->taps + tap, c->group_inputs * c->taps, c->taps};
        bert_matrix x = {c->x, channel + m.offset, c->x_strides[1], c->axis[c->axes - 1].stride};
        bert_product_rows(&w, &x, output, outputs, c->group_inputs, m.count, c->scratch);
        for (int64_t i = 0; i < outputs; i++) {
            for (int64_t j = 0; j < m.count; j++) c->sums[i * c->row + m.first + j] += c->scratch[i * m.count + j];
        }
    }
}

static void compute_group(const conv *c, int64_t sequence, int64_t group) {
    int64_t rows = bert_dims_product(c->y, BERT_CONV_SPATIAL, c->y->rank - 1);
    int64_t first = (sequence * c->y->dims[1] + group * c->group_outputs) * rows * c->row;
    for (int64_t output = 0; output < c->group_outputs; output += BERT_PRODUCT_ROWS) {
        int64_t left = c->group_outputs - output;
        int64_t outputs = left < BERT_PRODUCT_ROWS ? left : BERT_PRODUCT_ROWS;
        bert_loop loop = bert_loop_over(c->axes - 1, c->y->dims + BERT_CONV_SPATIAL);
        for (int64_t row = 0; row < rows; row++) {
            compute_row(c, sequence, group, loop.index, output, outputs);
            for (int64_t i = 0; i < outputs; i++) {
                bert_store_row(c->y, first + ((output + i) * rows + row) * c->row, c->row, c->sums + i * c->row);
            }
            bert_loop_next(&loop);
        }
    }
}

bert_status bert_reference_conv(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *w = &call->inputs[1];
    const bert_tensor *y = &call->outputs[0];
    int64_t groups = BERT_CALL_INT(call, "group", 1);
    conv c = {.x = x,
              .w = w,
              .b = bert_call_input(call, 2),
              .y = y,
              .axes = x->rank - BERT_CONV_SPATIAL,
              .group_inputs = w->dims[1],
              .group_outputs = w->dims[0] / groups,
              .taps = w->dims[1] == 0 ? 0 : bert_dims_product(w, BERT_CONV_SPATIAL, w->rank),
              .row = y->dims[y->rank - 1],
              .sums = call->workspace};
    if (bert_tensor_elements(y) == 0) return BERT_OK;
    c.scratch = c.sums + BERT_PRODUCT_ROWS * c.row;
    bert_dense_strides(x->rank, x->dims, c.x_strides);
    bert_conv_read_axes(call->attributes, call->attribute_count, c.axes, x->dims, w->dims, y->dims, c.axis);
    for (int64_t sequence = 0; sequence < y->dims[0]; sequence++) {
        for (int64_t group = 0; group < groups; group++) compute_group(&c, sequence, group);
    }
    return BERT_OK;
}

size_t bert_workspace_conv(const bert_op_node *node) {
    const bert_tensor_desc *y = &node->outputs[0];
    size_t sums;
    size_t product = bert_product_workspace(y->dims[y->rank - 1]);
    bool fits = bert_size_multiply((size_t)y->dims[y->rank - 1], BERT_PRODUCT_ROWS * sizeof(double), &sums);
    return fits && product < SIZE_MAX - sums ? product + sums : SIZE_MAX;
}
