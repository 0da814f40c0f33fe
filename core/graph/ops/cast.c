/* Cast, CastLike, and Clip. */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

#include <inttypes.h>
#include <math.h>

/* ---- Cast ----------------------------------------------------------------------------------------------------------
 */

/* Whether every value of an integer type lies in its range; symbolic ones are dimensions, which fit all but bytes. */
static bert_dim follow_cast(const bert_inference *in, bert_dtype to, bert_dim value) {
    if (to == BERT_BOOL) {
        if (bert_dim_known(value)) return value != 0;
        bool positive = bert_dim_nonnegative(in->symbols, bert_dim_subtract(in->symbols, value, 1));
        return positive ? 1 : bert_dim_fresh(in->symbols);
    }
    bool is_signed = (BERT_TYPES_SIGNED & BERT_TYPE(to)) != 0;
    int32_t bits = (int32_t)bert_dtype_size(to) * 8;
    if (!bert_dim_known(value)) {
        bool fits = bits >= 32 && (is_signed || bert_dim_nonnegative(in->symbols, value));
        return fits ? value : bert_dim_fresh(in->symbols);
    }
    bert_integer end = (bert_integer)1 << (is_signed ? bits - 1 : bits);
    return value < end && value >= (is_signed ? -end : 0) ? value : bert_dim_fresh(in->symbols);
}

static bert_status infer_cast_to(const bert_inference *in, bert_dtype to) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_ANY));
    bert_infer_give(in, 0, to, bert_infer_shape(in, 0));
    if (!((BERT_TYPES_INTEGER | BERT_TYPES_BOOL) & BERT_TYPE(to))) return BERT_OK;
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count = 0;
    if (!bert_infer_content(in, 0, values, &count)) return BERT_OK;
    bert_dim *elements = bert_infer_new_elements(in, 0, count);
    for (int32_t i = 0; elements && i < count; i++) elements[i] = follow_cast(in, to, values[i]);
    return BERT_OK;
}

bert_status bert_infer_cast(const bert_inference *in) {
    int64_t to = BERT_INFER_INT(in, "to", BERT_DTYPE_UNDEFINED);
    if (to < 0 || to > BERT_BFLOAT16 || !(BERT_TYPES_ANY & BERT_TYPE(to))) {
        return bert_fail(in->error, BERT_UNSUPPORTED, "Cast is to element type %" PRId64 ", which is not supported",
                         to);
    }
    return infer_cast_to(in, (bert_dtype)to);
}

bert_status bert_infer_cast_like(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPES_ANY));
    return infer_cast_to(in, bert_infer_dtype(in, 1));
}

/* Toward zero. What lies outside the type is left open by ONNX; here it is what x86's conversions make of it. */
static bert_integer truncated(double value, bert_dtype to) {
    bool wide = to == BERT_INT64 || to == BERT_UINT64 || to == BERT_UINT32;
    if (!wide) return value > -0x1p31 - 1 && value < 0x1p31 ? (int32_t)value : INT32_MIN;
    if (value >= -0x1p63 && value < 0x1p63) return (int64_t)value;
    return value >= 0x1p63 && value < 0x1p64 && to == BERT_UINT64 ? (bert_integer)(uint64_t)value : INT64_MIN;
}

bert_status bert_reference_cast(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *y = &call->outputs[0];
    int64_t count = bert_tensor_elements(y);
    bool from_float = bert_dtype_is_float(x->dtype);
    for (int64_t i = 0; i < count; i++) {
        if (bert_dtype_is_float(y->dtype)) {
            bert_store(y, i, bert_load(x, i));
        } else if (!from_float) {
            bert_store_integer(y, i, bert_load_integer(x, i));
        } else if (y->dtype == BERT_BOOL) {
            bert_store_integer(y, i, bert_load(x, i) != 0);
        } else {
            bert_store_integer(y, i, truncated(bert_load(x, i), y->dtype));
        }
    }
    return BERT_OK;
}

/* ---- Clip ----------------------------------------------------------------------------------------------------------
 */

/* Bounds are attributes below opset 11, optional inputs from there on. */
bert_status bert_infer_clip(const bert_inference *in) {
    BERT_TRY(bert_infer_like_input(in, BERT_TYPES_NUMERIC));
    bool followed = true;
    bert_dim bounds[2][BERT_MAX_TRACKED_ELEMENTS] = {{0}};
    for (int32_t i = 1; i < 3 && i < in->input_count; i++) {
        int32_t count = 0;
        BERT_TRY(bert_infer_same_type(in, 0, i));
        BERT_TRY(bert_infer_equal(in, bert_infer_input(in, i) ? bert_shape_elements(in, bert_infer_shape(in, i)) : 1, 1,
                                  "the elements of a bound", NULL));
        if (bert_infer_input(in, i))
            followed = bert_infer_content(in, i, bounds[i - 1], &count) && count == 1 && followed;
    }
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count = 0;
    if (!followed || !bert_infer_content(in, 0, values, &count)) return BERT_OK;
    bert_dim *elements = bert_infer_new_elements(in, 0, count);
    for (int32_t i = 0; elements && i < count; i++) {
        elements[i] = values[i];
        if (bert_infer_input(in, 1)) elements[i] = bert_dim_maximum(in->symbols, elements[i], bounds[0][0]);
        if (bert_infer_input(in, 2)) elements[i] = bert_dim_minimum(in->symbols, elements[i], bounds[1][0]);
    }
    return BERT_OK;
}

static void clip_integers(const bert_reference_call *call) {
    const bert_tensor *y = &call->outputs[0];
    const bert_tensor *low = bert_call_input(call, 1);
    const bert_tensor *high = bert_call_input(call, 2);
    int64_t count = bert_tensor_elements(y);
    for (int64_t i = 0; i < count; i++) {
        bert_integer value = bert_load_integer(&call->inputs[0], i);
        if (low && value < bert_load_integer(low, 0)) value = bert_load_integer(low, 0);
        if (high && value > bert_load_integer(high, 0)) value = bert_load_integer(high, 0);
        bert_store_integer(y, i, value);
    }
}

bert_status bert_reference_clip(const bert_reference_call *call) {
    const bert_tensor *y = &call->outputs[0];
    if (!bert_dtype_is_float(y->dtype)) {
        clip_integers(call);
        return BERT_OK;
    }
    const bert_tensor *low = bert_call_input(call, 1);
    const bert_tensor *high = bert_call_input(call, 2);
    double least = low ? bert_load(low, 0) : -INFINITY;
    double most = high ? bert_load(high, 0) : INFINITY;
    if (call->opset < 11) {
        least = BERT_CALL_FLOAT(call, "min", -INFINITY);
        most = BERT_CALL_FLOAT(call, "max", INFINITY);
    }
    int64_t count = bert_tensor_elements(y);
    for (int64_t i = 0; i < count; i++) {
        double value = bert_load(&call->inputs[0], i);
        if (value < least) value = least;
        if (value > most) value = most;
        bert_store(y, i, value);
    }
    return BERT_OK;
}
