/* Comparisons, logic, IsNaN and Where. */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

#include <math.h>

/* ---- Inference -----------------------------------------------------------------------------------------------------
 */

/* a >= b: 1 or 0 where the sign of the difference is known, else fresh. */
static bert_dim at_least(const bert_inference *in, bert_dim a, bert_dim b) {
    if (bert_dim_known(a) && bert_dim_known(b)) return a >= b;
    if (bert_dim_nonnegative(in->symbols, bert_dim_subtract(in->symbols, a, b))) return 1;
    bert_dim below = bert_dim_subtract(in->symbols, bert_dim_subtract(in->symbols, b, a), 1);
    return bert_dim_nonnegative(in->symbols, below) ? 0 : bert_dim_fresh(in->symbols);
}

static bert_dim negation(const bert_inference *in, bert_dim a) {
    return bert_dim_known(a) ? !a : bert_dim_fresh(in->symbols);
}

static bert_dim equal(const bert_inference *in, bert_dim a, bert_dim b) {
    if (a == b) return 1;
    bert_dim no_less = at_least(in, a, b);
    bert_dim no_more = at_least(in, b, a);
    if (no_less == 0 || no_more == 0) return 0;
    return no_less == 1 && no_more == 1 ? 1 : bert_dim_fresh(in->symbols);
}

static bert_dim follow(const bert_inference *in, bert_dim a, bert_dim b) {
    switch (in->op->id) {
    case BERT_OP_Equal:
        return equal(in, a, b);
    case BERT_OP_GreaterOrEqual:
        return at_least(in, a, b);
    case BERT_OP_LessOrEqual:
        return at_least(in, b, a);
    case BERT_OP_Greater:
        return negation(in, at_least(in, b, a));
    case BERT_OP_Less:
        return negation(in, at_least(in, a, b));
    case BERT_OP_And:
        if (a == 0 || b == 0) return 0;
        return a == 1 ? b : b == 1 || a == b ? a : bert_dim_fresh(in->symbols);
    case BERT_OP_Or:
        if (a == 1 || b == 1) return 1;
        return a == 0 ? b : b == 0 || a == b ? a : bert_dim_fresh(in->symbols);
    default: /* Xor */
        if (a == b) return 0;
        return bert_dim_known(a) && bert_dim_known(b) ? a != b : bert_dim_fresh(in->symbols);
    }
}

static bert_status infer_to_bool(const bert_inference *in, bert_type_set allowed) {
    bert_shape shape;
    BERT_TRY(bert_infer_type(in, 0, allowed));
    BERT_TRY(bert_infer_type(in, 1, allowed));
    BERT_TRY(bert_infer_same_type(in, 0, 1));
    BERT_TRY(bert_infer_broadcast_inputs(in, 0, 2, &shape));
    bert_infer_give(in, 0, BERT_BOOL, &shape);
    bert_infer_follow_binary(in, follow);
    return BERT_OK;
}

bert_status bert_infer_comparison(const bert_inference *in) {
    return infer_to_bool(in, in->op->id == BERT_OP_Equal ? BERT_TYPES_ANY : BERT_TYPES_NUMERIC);
}

bert_status bert_infer_logic(const bert_inference *in) {
    return infer_to_bool(in, BERT_TYPES_BOOL);
}

bert_status bert_infer_not(const bert_inference *in) {
    BERT_TRY(bert_infer_like_input(in, BERT_TYPES_BOOL));
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count = 0;
    if (!bert_infer_content(in, 0, values, &count)) return BERT_OK;
    bert_dim *elements = bert_infer_new_elements(in, 0, count);
    for (int32_t i = 0; elements && i < count; i++) elements[i] = negation(in, values[i]);
    return BERT_OK;
}

/* IsNaN and IsInf. */
bert_status bert_infer_float_test(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_FLOAT));
    bert_infer_give(in, 0, BERT_BOOL, bert_infer_shape(in, 0));
    return BERT_OK;
}

bert_status bert_infer_where(const bert_inference *in) {
    bert_shape shape;
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_BOOL));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPES_ANY));
    BERT_TRY(bert_infer_same_type(in, 1, 2));
    BERT_TRY(bert_infer_broadcast_inputs(in, 0, 3, &shape));
    bert_dtype dtype = bert_infer_dtype(in, 1);
    bert_infer_give(in, 0, dtype != BERT_DTYPE_UNDEFINED ? dtype : bert_infer_dtype(in, 2), &shape);
    bert_dim chosen[BERT_MAX_TRACKED_ELEMENTS];
    bert_dim x[BERT_MAX_TRACKED_ELEMENTS];
    bert_dim y[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count[3] = {0};
    if (!bert_infer_content(in, 0, chosen, &count[0]) || !bert_infer_content(in, 1, x, &count[1]) ||
        !bert_infer_content(in, 2, y, &count[2])) {
        return BERT_OK;
    }
    int32_t wider = 1;
    for (int32_t i = 0; i < 3; i++) wider = count[i] == 1 ? wider : count[i];
    bert_dim *elements = bert_infer_new_elements(in, 0, wider);
    for (int32_t i = 0; elements && i < wider; i++) {
        bert_dim condition = chosen[count[0] == 1 ? 0 : i];
        bert_dim a = x[count[1] == 1 ? 0 : i];
        bert_dim b = y[count[2] == 1 ? 0 : i];
        elements[i] = a == b ? a : !bert_dim_known(condition) ? bert_dim_fresh(in->symbols) : condition ? a : b;
    }
    return BERT_OK;
}

/* ---- Reference -----------------------------------------------------------------------------------------------------
 */

#define COMPARE(id, a, b)                                                                                              \
    ((id) == BERT_OP_Equal            ? (a) == (b)                                                                     \
     : (id) == BERT_OP_Greater        ? (a) > (b)                                                                      \
     : (id) == BERT_OP_GreaterOrEqual ? (a) >= (b)                                                                     \
     : (id) == BERT_OP_Less           ? (a) < (b)                                                                      \
     : (id) == BERT_OP_LessOrEqual    ? (a) <= (b)                                                                     \
     : (id) == BERT_OP_And            ? (a) && (b)                                                                     \
     : (id) == BERT_OP_Or             ? (a) || (b)                                                                     \
                                      : !(a) != !(b))

bert_status bert_reference_comparison(const bert_reference_call *call) {
    const bert_tensor *a = &call->inputs[0];
    const bert_tensor *b = &call->inputs[1];
    const bert_tensor *y = &call->outputs[0];
    bert_op_id id = call->op->id;
    bert_loop loop = bert_loop_over(y->rank, y->dims);
    bert_loop_add(&loop, a);
    bert_loop_add(&loop, b);
    for (; loop.left; bert_loop_next(&loop)) {
        bool result;
        if (bert_dtype_is_float(a->dtype)) {
            double left = bert_load(a, loop.offset[0]);
            double right = bert_load(b, loop.offset[1]);
            result = COMPARE(id, left, right);
        } else {
            bert_integer left = bert_load_integer(a, loop.offset[0]);
            bert_integer right = bert_load_integer(b, loop.offset[1]);
            result = COMPARE(id, left, right);
        }
        bert_store_integer(y, loop.position, result);
    }
    return BERT_OK;
}

bert_status bert_reference_not(const bert_reference_call *call) {
    const bert_tensor *y = &call->outputs[0];
    int64_t count = bert_tensor_elements(y);
    for (int64_t i = 0; i < count; i++) bert_store_integer(y, i, !bert_load_integer(&call->inputs[0], i));
    return BERT_OK;
}

bert_status bert_reference_is_nan(const bert_reference_call *call) {
    const bert_tensor *y = &call->outputs[0];
    int64_t count = bert_tensor_elements(y);
    for (int64_t i = 0; i < count; i++) bert_store_integer(y, i, isnan(bert_load(&call->inputs[0], i)));
    return BERT_OK;
}

bert_status bert_reference_is_inf(const bert_reference_call *call) {
    const bert_tensor *y = &call->outputs[0];
    bool negative = BERT_CALL_INT(call, "detect_negative", 1) != 0;
    bool positive = BERT_CALL_INT(call, "detect_positive", 1) != 0;
    int64_t count = bert_tensor_elements(y);
    for (int64_t i = 0; i < count; i++) {
        double x = bert_load(&call->inputs[0], i);
        bert_store_integer(y, i, isinf(x) && (x < 0 ? negative : positive));
    }
    return BERT_OK;
}

bert_status bert_reference_where(const bert_reference_call *call) {
    const bert_tensor *y = &call->outputs[0];
    bert_loop loop = bert_loop_over(y->rank, y->dims);
    for (int32_t i = 0; i < 3; i++) bert_loop_add(&loop, &call->inputs[i]);
    for (; loop.left; bert_loop_next(&loop)) {
        int32_t from = bert_load_integer(&call->inputs[0], loop.offset[0]) ? 1 : 2;
        bert_copy_elements(y, loop.position, &call->inputs[from], loop.offset[from], 1);
    }
    return BERT_OK;
}
