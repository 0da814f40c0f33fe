/* The Reduce operators, ArgMax, ArgMin and CumSum. */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

#include <inttypes.h>
#include <math.h>

/* ---- Inference -----------------------------------------------------------------------------------------------------
 */

static bool keeps_everything(const bert_inference *in) {
    return BERT_INFER_INT(in, "noop_with_empty_axes", 0) != 0;
}

/* A reduction of a followed list to one number: the elements of a shape, say. */
static void follow_reduction(const bert_inference *in) {
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count = 0;
    if (bert_infer_shape(in, 0)->rank != 1 || !bert_infer_content(in, 0, values, &count) || count == 0) return;
    bert_dim result = values[0];
    for (int32_t i = 1; i < count; i++) {
        switch (in->op->id) {
        case BERT_OP_ReduceSum:
            result = bert_dim_add(in->symbols, result, values[i]);
            break;
        case BERT_OP_ReduceProd:
            result = bert_dim_multiply(in->symbols, result, values[i]);
            break;
        case BERT_OP_ReduceMax:
            result = bert_dim_maximum(in->symbols, result, values[i]);
            break;
        case BERT_OP_ReduceMin:
            result = bert_dim_minimum(in->symbols, result, values[i]);
            break;
        default:
            return;
        }
    }
    bool followed = in->op->id == BERT_OP_ReduceSum || in->op->id == BERT_OP_ReduceProd ||
                    in->op->id == BERT_OP_ReduceMax || in->op->id == BERT_OP_ReduceMin;
    bert_dim *elements = followed ? bert_infer_new_elements(in, 0, 1) : NULL;
    if (elements) elements[0] = result;
}

bert_status bert_infer_reduce(const bert_inference *in) {
    bool ordered = in->op->id == BERT_OP_ReduceMax || in->op->id == BERT_OP_ReduceMin;
    bool logarithmic = in->op->id == BERT_OP_ReduceLogSum || in->op->id == BERT_OP_ReduceLogSumExp;
    BERT_TRY(bert_infer_type(in, 0, ordered ? BERT_TYPES_ANY : logarithmic ? BERT_TYPES_FLOAT : BERT_TYPES_NUMERIC));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPE(BERT_INT64)));
    const bert_shape *x = bert_infer_shape(in, 0);
    bert_dtype dtype = bert_infer_dtype(in, 0);
    bert_infer_give(in, 0, dtype, NULL);
    if (x->rank < 0) return BERT_OK;
    bert_axes axes;
    BERT_TRY(bert_infer_axes(in, 1, x->rank, &axes));
    if (axes.count == 0 && axes.state != BERT_AXES_UNKNOWN) {
        if (keeps_everything(in)) {
            bert_infer_give(in, 0, dtype, x);
            bert_infer_copy_elements(in, 0, 0);
            return BERT_OK;
        }
        axes.mask = ((uint32_t)1 << x->rank) - 1;
    }
    bool keep = BERT_INFER_INT(in, "keepdims", 1) != 0;
    if (axes.state == BERT_AXES_UNKNOWN && !keep) return BERT_OK;
    bert_shape shape = bert_shape_scalar();
    for (int32_t i = 0; i < x->rank; i++) {
        bool reduced = axes.mask >> i & 1;
        bert_dim kept = axes.state == BERT_AXES_UNKNOWN ? bert_dim_fresh(in->symbols) : reduced ? 1 : x->dims[i];
        if (keep || !reduced) BERT_TRY(bert_shape_append(in, &shape, kept));
    }
    bert_infer_give(in, 0, dtype, &shape);
    if (axes.mask & 1) follow_reduction(in);
    return BERT_OK;
}

bert_status bert_infer_arg_extreme(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_NUMERIC));
    const bert_shape *x = bert_infer_shape(in, 0);
    bert_infer_give(in, 0, BERT_INT64, NULL);
    if (x->rank < 0) return BERT_OK;
    int32_t axis = 0;
    bool keep = BERT_INFER_INT(in, "keepdims", 1) != 0;
    BERT_TRY(bert_infer_axis(in, BERT_INFER_INT(in, "axis", 0), x->rank, &axis));
    if (x->dims[axis] == 0) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "%s over axis %" PRId32 ", which has no elements", in->op->name,
                         axis);
    }
    bert_shape shape = bert_shape_scalar();
    for (int32_t i = 0; i < x->rank; i++) {
        if (i != axis) BERT_TRY(bert_shape_append(in, &shape, x->dims[i]));
        if (i == axis && keep) BERT_TRY(bert_shape_append(in, &shape, 1));
    }
    bert_infer_give(in, 0, BERT_INT64, &shape);
    return BERT_OK;
}

bert_status bert_infer_cumulative_sum(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPES_INDEX));
    const bert_shape *axis = bert_infer_shape(in, 1);
    if (axis->rank >= 0) {
        BERT_TRY(bert_infer_equal(in, bert_shape_elements(in, axis), 1, "the elements of the axis", NULL));
    }
    BERT_TRY(bert_infer_rank(in, 0, 1, BERT_MAX_RANK));
    return bert_infer_like_input(in, BERT_TYPES_NUMERIC);
}

/* ---- Reduce --------------------------------------------------------------------------------------------------------
 */

/* What goes into a reduction and what comes out: the state after no elements, one element more, the end. */
typedef struct float_state {
    double value;   /* sum, product, extreme */
    double largest; /* ReduceLogSumExp: the greatest element, which the sum is relative to */
} float_state;

static float_state begin(bert_op_id id) {
    switch (id) {
    case BERT_OP_ReduceProd:
        return (float_state){.value = 1};
    case BERT_OP_ReduceMax:
        return (float_state){.value = -INFINITY};
    case BERT_OP_ReduceMin:
        return (float_state){.value = INFINITY};
    default:
        return (float_state){.largest = -INFINITY};
    }
}

static void take(bert_op_id id, float_state *state, double x) {
    switch (id) {
    case BERT_OP_ReduceL1:
        state->value += fabs(x);
        break;
    case BERT_OP_ReduceL2:
    case BERT_OP_ReduceSumSquare:
        state->value += x * x;
        break;
    case BERT_OP_ReduceLogSumExp:
        if (x > state->largest) {
            state->value = state->value * exp(state->largest - x) + 1;
            state->largest = x;
        } else if (x != -INFINITY) {
            state->value += x == state->largest ? 1 : exp(x - state->largest);
        }
        break;
    case BERT_OP_ReduceMax:
        if (x > state->value || isnan(x)) state->value = x;
        break;
    case BERT_OP_ReduceMin:
        if (x < state->value || isnan(x)) state->value = x;
        break;
    case BERT_OP_ReduceProd:
        state->value *= x;
        break;
    default: /* ReduceSum, ReduceMean, ReduceLogSum */
        state->value += x;
        break;
    }
}

static double end(bert_op_id id, const float_state *state, int64_t count) {
    switch (id) {
    case BERT_OP_ReduceL2:
        return sqrt(state->value);
    case BERT_OP_ReduceMean:
        return state->value / (double)count;
    case BERT_OP_ReduceLogSum:
        return log(state->value);
    case BERT_OP_ReduceLogSumExp:
        return state->value == 0 ? -INFINITY : state->largest + log(state->value);
    default:
        return state->value;
    }
}

/* Steps through the elements that one result is made of. Their offsets from the first are in loop.offset[0]. */
typedef struct reduction {
    bert_loop results; /* offset[0]: of a result's first element */
    bert_loop members; /* at its start */
    int64_t count;
} reduction;

static reduction plan_reduction(const bert_tensor *x, uint32_t mask) {
    int64_t strides[BERT_MAX_RANK];
    int64_t kept[BERT_MAX_RANK];
    int64_t reduced[BERT_MAX_RANK];
    bert_dense_strides(x->rank, x->dims, strides);
    for (int32_t i = 0; i < x->rank; i++) {
        kept[i] = mask >> i & 1 ? 1 : x->dims[i];
        reduced[i] = mask >> i & 1 ? x->dims[i] : 1;
    }
    reduction plan = {.results = bert_loop_over(x->rank, kept), .members = bert_loop_over(x->rank, reduced)};
    bert_loop_add_strides(&plan.results, strides);
    bert_loop_add_strides(&plan.members, strides);
    plan.count = plan.members.left;
    return plan;
}

static void reduce_floats(const bert_reference_call *call, reduction plan) {
    const bert_tensor *x = &call->inputs[0];
    bert_op_id id = call->op->id;
    for (; plan.results.left; bert_loop_next(&plan.results)) {
        float_state state = begin(id);
        for (bert_loop member = plan.members; member.left; bert_loop_next(&member)) {
            take(id, &state, bert_load(x, plan.results.offset[0] + member.offset[0]));
        }
        bert_store(&call->outputs[0], plan.results.position, end(id, &state, plan.count));
    }
}

/* The least and greatest value of an integer or boolean type. */
static bert_integer type_extreme(bert_dtype dtype, bool greatest) {
    bool is_signed = (BERT_TYPES_SIGNED & BERT_TYPE(dtype)) != 0;
    int32_t bits = dtype == BERT_BOOL ? 1 : (int32_t)bert_dtype_size(dtype) * 8;
    bert_integer limit = (bert_integer)1 << (is_signed ? bits - 1 : bits);
    return greatest ? limit - 1 : is_signed ? -limit : 0;
}

static bert_integer take_integer(bert_op_id id, bert_integer state, bert_integer x) {
    switch (id) {
    case BERT_OP_ReduceL1:
        return state + (x < 0 ? -x : x);
    case BERT_OP_ReduceL2:
    case BERT_OP_ReduceSumSquare:
        return (bert_integer)((unsigned __int128)state + (unsigned __int128)x * (unsigned __int128)x);
    case BERT_OP_ReduceProd: /* modulo 2^64, which no type here is wider than */
        return (bert_integer)(uint64_t)((uint64_t)state * (uint64_t)x);
    case BERT_OP_ReduceMax:
        return x > state ? x : state;
    case BERT_OP_ReduceMin:
        return x < state ? x : state;
    default:
        return state + x;
    }
}

static void reduce_integers(const bert_reference_call *call, reduction plan) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *y = &call->outputs[0];
    bert_op_id id = call->op->id;
    bert_integer start = id == BERT_OP_ReduceProd ? 1 : 0;
    if (id == BERT_OP_ReduceMax || id == BERT_OP_ReduceMin) start = type_extreme(x->dtype, id == BERT_OP_ReduceMin);
    for (; plan.results.left; bert_loop_next(&plan.results)) {
        bert_integer state = start;
        for (bert_loop member = plan.members; member.left; bert_loop_next(&member)) {
            state = take_integer(id, state, bert_load_integer(x, plan.results.offset[0] + member.offset[0]));
        }
        if (id == BERT_OP_ReduceL2) state = (bert_integer)sqrt((double)state);
        if (id == BERT_OP_ReduceMean) state = plan.count ? state / plan.count : 0;
        bert_store_integer(y, plan.results.position, state);
    }
}

bert_status bert_reference_reduce(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    uint32_t mask = 0;
    bool given = false;
    BERT_TRY(bert_call_axes(call, 1, x->rank, &mask, &given));
    if (mask == 0 && BERT_CALL_INT(call, "noop_with_empty_axes", 0)) {
        bert_copy_elements(&call->outputs[0], 0, x, 0, bert_tensor_elements(x));
        return BERT_OK;
    }
    if (mask == 0) mask = ((uint32_t)1 << x->rank) - 1;
    reduction plan = plan_reduction(x, mask);
    if (plan.results.left != bert_tensor_elements(&call->outputs[0])) {
        return bert_fail(call->error, BERT_INVALID_INPUT,
                         "the axes are not those that the output's shape was made for");
    }
    if (bert_dtype_is_float(x->dtype)) {
        reduce_floats(call, plan);
    } else {
        reduce_integers(call, plan);
    }
    return BERT_OK;
}

/* ---- ArgMax, ArgMin ------------------------------------------------------------------------------------------------
 */

bert_status bert_reference_arg_extreme(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *y = &call->outputs[0];
    int32_t axis = bert_call_axis(BERT_CALL_INT(call, "axis", 0), x->rank);
    bool last = BERT_CALL_INT(call, "select_last_index", 0) != 0;
    bool greatest = call->op->id == BERT_OP_ArgMax;
    bool floats = bert_dtype_is_float(x->dtype);
    reduction plan = plan_reduction(x, (uint32_t)1 << axis);
    for (; plan.results.left; bert_loop_next(&plan.results)) {
        int64_t best = plan.results.offset[0];
        int64_t best_index = 0;
        for (bert_loop member = plan.members; member.left; bert_loop_next(&member)) {
            int64_t at = plan.results.offset[0] + member.offset[0];
            int order;
            if (floats) {
                double a = bert_load(x, at);
                double b = bert_load(x, best);
                order = (a > b) - (a < b);
            } else {
                bert_integer a = bert_load_integer(x, at);
                bert_integer b = bert_load_integer(x, best);
                order = (a > b) - (a < b);
            }
            bool better = greatest ? order > 0 : order < 0;
            if (better || (order == 0 && last)) {
                best = at;
                best_index = member.position;
            }
        }
        bert_store_integer(y, plan.results.position, best_index);
    }
    return BERT_OK;
}

/* ---- CumSum --------------------------------------------------------------------------------------------------------
 */

bert_status bert_reference_cumulative_sum(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *y = &call->outputs[0];
    bert_integer attribute = bert_load_integer(&call->inputs[1], 0);
    if (attribute < -x->rank || attribute >= x->rank) {
        return bert_fail(call->error, BERT_INVALID_INPUT,
                         "CumSum's axis %" PRId64 " is outside a tensor of %" PRId32 " dimensions", (int64_t)attribute,
                         x->rank);
    }
    int32_t axis = bert_call_axis((int64_t)attribute, x->rank);
    bool exclusive = BERT_CALL_INT(call, "exclusive", 0) != 0;
    bool reverse = BERT_CALL_INT(call, "reverse", 0) != 0;
    int64_t stride = bert_dims_product(x, axis + 1, x->rank);
    int64_t count = x->dims[axis];
    bool floats = bert_dtype_is_float(x->dtype);
    for (reduction plan = plan_reduction(x, (uint32_t)1 << axis); plan.results.left; bert_loop_next(&plan.results)) {
        double sum = 0;
        bert_integer whole = 0;
        for (int64_t i = 0; i < count; i++) {
            int64_t at = plan.results.offset[0] + (reverse ? count - 1 - i : i) * stride;
            double before = sum;
            bert_integer whole_before = whole;
            if (floats) {
                sum += bert_load(x, at);
                bert_store(y, at, exclusive ? before : sum);
            } else {
                whole += bert_load_integer(x, at);
                bert_store_integer(y, at, exclusive ? whole_before : whole);
            }
        }
    }
    return BERT_OK;
}
