#include "core/graph/ops/infer.h"
#include "core/graph/ops/movement.h"

#include <inttypes.h>
#include <string.h>

/* What the elements outside the tensor are. */
typedef enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP, PAD_MODES } pad_mode;

static pad_mode find_mode(const char *name) {
    static const char *const names[PAD_MODES] = {"constant", "reflect", "edge", "wrap"};
    pad_mode mode = PAD_CONSTANT;
    while (mode < PAD_MODES && strcmp(name, names[mode]) != 0) mode++;
    return mode;
}

/* ---- Inference -----------------------------------------------------------------------------------------------------
 */

/* The amounts before and after `count` axes, from the attribute (to opset 10) or input 1. False where not known. */
static bool read_pads(const bert_inference *in, bert_dim *pads, int32_t *count) {
    if (in->opset >= 11) return bert_infer_content(in, 1, pads, count);
    size_t listed = 0;
    const int64_t *values = BERT_INFER_INTS(in, "pads", &listed);
    *count = listed > BERT_MAX_TRACKED_ELEMENTS ? BERT_MAX_TRACKED_ELEMENTS : (int32_t)listed;
    for (int32_t i = 0; i < *count; i++) pads[i] = bert_dim_of(values[i]);
    return true;
}

static bert_status padded_shape(const bert_inference *in, const bert_dim *pads, int32_t count, bert_shape *to) {
    bert_axes axes;
    BERT_TRY(bert_infer_axes(in, 3, to->rank, &axes));
    if (axes.state == BERT_AXES_UNKNOWN) {
        for (int32_t i = 0; i < to->rank; i++) to->dims[i] = bert_dim_fresh(in->symbols);
        return BERT_OK;
    }
    int32_t padded = axes.state == BERT_AXES_GIVEN ? axes.count : to->rank;
    if (count != 2 * padded) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "Pad has %" PRId32 " amounts for %" PRId32 " axes; it takes two "
                         "for each",
                         count, padded);
    }
    for (int32_t i = 0; i < padded; i++) {
        bert_dim *dim = &to->dims[axes.state == BERT_AXES_GIVEN ? axes.list[i] : i];
        bert_dim both = bert_dim_add(in->symbols, pads[i], pads[i + padded]);
        *dim = bert_dim_add(in->symbols, *dim, both);
        if (bert_dim_known(*dim) && *dim < 0) {
            return bert_fail(in->error, BERT_INVALID_MODEL, "Pad takes %" PRId64 " elements more than the axis has",
                             -*dim);
        }
    }
    return BERT_OK;
}

bert_status bert_infer_pad(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_ANY));
    BERT_TRY(bert_infer_same_type(in, 0, 2));
    const char *mode = BERT_INFER_STRING(in, "mode", "constant");
    if (find_mode(mode) == PAD_MODES) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "Pad has the mode \"%s\"; constant, reflect, edge and wrap are known", mode);
    }
    if (in->opset >= 11 && !bert_infer_input(in, 1)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "Pad needs its input pads");
    }
    bert_shape to = *bert_infer_shape(in, 0);
    bert_dim pads[BERT_MAX_TRACKED_ELEMENTS] = {0};
    int32_t count;
    if (!read_pads(in, pads, &count)) {
        for (int32_t i = 0; i < to.rank; i++) to.dims[i] = bert_dim_fresh(in->symbols);
    } else if (to.rank >= 0) {
        BERT_TRY(padded_shape(in, pads, count, &to));
    }
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &to);
    return BERT_OK;
}

/* ---- Reference -----------------------------------------------------------------------------------------------------
 */

/* One axis: `size` elements of the input from `first` on stand at `before` of the output. */
typedef struct pad_axis {
    int64_t before, first, size;
} pad_axis;

static void read_axes(const bert_reference_call *call, pad_axis *axes) {
    const bert_tensor *from = &call->inputs[0];
    size_t attribute_count = 0;
    const int64_t *attribute = BERT_CALL_INTS(call, "pads", &attribute_count);
    const bert_tensor *input = call->opset >= 11 ? bert_call_input(call, 1) : NULL;
    const bert_tensor *listed = bert_call_input(call, 3);
    int64_t count = (input ? bert_tensor_elements(input) : (int64_t)attribute_count) / 2;
    for (int32_t i = 0; i < from->rank; i++) axes[i] = (pad_axis){.size = from->dims[i]};
    for (int64_t i = 0; i < count; i++) {
        int64_t before = input ? (int64_t)bert_load_integer(input, i) : attribute[i];
        int64_t after = input ? (int64_t)bert_load_integer(input, i + count) : attribute[i + count];
        pad_axis *axis = &axes[bert_call_axis(listed ? (int64_t)bert_load_integer(listed, i) : i, from->rank)];
        axis->before = before > 0 ? before : 0;
        axis->first = before < 0 ? -before : 0;
        axis->size -= axis->first + (after < 0 ? -after : 0);
        if (axis->size < 0) axis->size = 0;
    }
}

static int64_t positive_modulo(int64_t a, int64_t b) {
    return a % b < 0 ? a % b + b : a % b;
}

/* Where the element at `at` (which may lie outside) of an axis of `size` elements comes from; -1: nowhere. */
static int64_t source_index(pad_mode mode, int64_t at, int64_t size) {
    if (at >= 0 && at < size) return at;
    if (size == 0 || mode == PAD_CONSTANT) return -1;
    if (mode == PAD_EDGE || size == 1) return at < 0 ? 0 : size - 1;
    if (mode == PAD_WRAP) return positive_modulo(at, size);
    int64_t period = 2 * (size - 1);
    int64_t place = positive_modulo(at, period);
    return place < size ? place : period - place;
}

static void store_fill(const bert_reference_call *call, int64_t position) {
    const bert_tensor *to = &call->outputs[0];
    const bert_tensor *value = bert_call_input(call, 2);
    double attribute = call->opset < 11 ? BERT_CALL_FLOAT(call, "value", 0) : 0;
    if (value) {
        bert_copy_elements(to, position, value, 0, 1);
    } else if (bert_dtype_is_float(to->dtype)) {
        bert_store(to, position, attribute);
    } else {
        bert_store_integer(to, position, (bert_integer)attribute);
    }
}

bert_status bert_reference_pad(const bert_reference_call *call) {
    const bert_tensor *from = &call->inputs[0];
    const bert_tensor *to = &call->outputs[0];
    pad_mode mode = find_mode(BERT_CALL_STRING(call, "mode", "constant"));
    pad_axis axes[BERT_MAX_RANK] = {{0}};
    int64_t strides[BERT_MAX_RANK] = {0};
    read_axes(call, axes);
    bert_dense_strides(from->rank, from->dims, strides);
    bert_loop loop = bert_loop_over(to->rank, to->dims);
    for (; loop.left; bert_loop_next(&loop)) {
        int64_t source = 0;
        bool inside = true;
        for (int32_t i = 0; i < to->rank; i++) {
            int64_t index = source_index(mode, loop.index[i] - axes[i].before, axes[i].size);
            if (index < 0) inside = false;
            source += (index + axes[i].first) * strides[i];
        }
        if (inside) {
            bert_copy_elements(to, loop.position, from, source, 1);
        } else if (mode == PAD_CONSTANT) {
            store_fill(call, loop.position);
        } else {
            return bert_fail(call->error, BERT_INVALID_INPUT, "Pad of an axis without elements has nothing to repeat");
        }
    }
    return BERT_OK;
}
