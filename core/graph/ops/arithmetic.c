/* Add, Sub, Mul, Div, Mod, Pow, and Min, Max over any number of inputs. */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

#include <math.h>

/* ---- Inference -----------------------------------------------------------------------------------------------------
 */

/* The remainder with the sign of the dividend, as C has it. */
static bert_dim remainder_of(const bert_inference *in, bert_dim a, bert_dim b) {
    bert_dim quotient = bert_dim_divide(in->symbols, a, b, false);
    return bert_dim_subtract(in->symbols, a, bert_dim_multiply(in->symbols, quotient, b));
}

/* One element of the result where both operands are followed. */
static bert_dim follow(const bert_inference *in, bert_dim a, bert_dim b) {
    switch (in->op->id) {
    case BERT_OP_Add:
        return bert_dim_add(in->symbols, a, b);
    case BERT_OP_Sub:
        return bert_dim_subtract(in->symbols, a, b);
    case BERT_OP_Mul:
        return bert_dim_multiply(in->symbols, a, b);
    case BERT_OP_Div:
        return bert_dim_divide(in->symbols, a, b, false);
    case BERT_OP_Mod:
        return BERT_INFER_INT(in, "fmod", 0) ? remainder_of(in, a, b) : bert_dim_modulo(in->symbols, a, b);
    case BERT_OP_Min:
        return bert_dim_minimum(in->symbols, a, b);
    case BERT_OP_Max:
        return bert_dim_maximum(in->symbols, a, b);
    default:
        return bert_dim_fresh(in->symbols);
    }
}

bert_status bert_infer_arithmetic(const bert_inference *in) {
    bert_shape shape;
    for (int32_t i = 0; i < in->input_count; i++) {
        BERT_TRY(bert_infer_type(in, i, BERT_TYPES_NUMERIC));
        BERT_TRY(bert_infer_same_type(in, 0, i));
    }
    BERT_TRY(bert_infer_broadcast_inputs(in, 0, in->input_count, &shape));
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &shape);
    bert_infer_follow_binary(in, follow);
    return BERT_OK;
}

bert_status bert_infer_pow(const bert_inference *in) {
    bert_shape shape;
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_NUMERIC));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPES_NUMERIC));
    if (in->opset < 12) BERT_TRY(bert_infer_same_type(in, 0, 1));
    BERT_TRY(bert_infer_broadcast_inputs(in, 0, 2, &shape));
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &shape);
    return BERT_OK;
}

/* ---- Reference -----------------------------------------------------------------------------------------------------
 */

/* The remainder with the sign of the divisor, as Python has it. */
static double floor_modulo(double a, double b) {
    double rest = fmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

/* A NaN operand gives NaN, as ONNX Runtime and numpy's minimum and maximum have it. */
static double least(double a, double b) {
    return isnan(a) || a < b ? a : b;
}

static double greatest(double a, double b) {
    return isnan(a) || a > b ? a : b;
}

static double of_floats(const bert_reference_call *call, bool c_modulo, double a, double b) {
    switch (call->op->id) {
    case BERT_OP_Add:
        return a + b;
    case BERT_OP_Sub:
        return a - b;
    case BERT_OP_Mul:
        return a * b;
    case BERT_OP_Div:
        return a / b;
    case BERT_OP_Mod:
        return c_modulo ? fmod(a, b) : floor_modulo(a, b);
    case BERT_OP_Min:
        return least(a, b);
    case BERT_OP_Max:
        return greatest(a, b);
    default:
        return pow(a, b);
    }
}

static bert_status of_integers(const bert_reference_call *call, bool c_modulo, bert_integer a, bert_integer b,
                               bert_integer *out) {
    if (b == 0 && (call->op->id == BERT_OP_Div || call->op->id == BERT_OP_Mod)) {
        return bert_fail(call->error, BERT_INVALID_INPUT, "%s of integers by zero", call->op->name);
    }
    switch (call->op->id) {
    case BERT_OP_Add:
        *out = a + b;
        break;
    case BERT_OP_Sub:
        *out = a - b;
        break;
    case BERT_OP_Mul:
        *out = (bert_integer)((unsigned __int128)a * (unsigned __int128)b);
        break;
    case BERT_OP_Div:
        *out = a / b;
        break;
    case BERT_OP_Mod:
        *out = a % b;
        if (!c_modulo && *out != 0 && (*out < 0) != (b < 0)) *out += b;
        break;
    case BERT_OP_Min:
        *out = a < b ? a : b;
        break;
    default:
        *out = a > b ? a : b;
        break;
    }
    return BERT_OK;
}

/* y = y op input, or for the first two inputs y = first op second. */
static bert_status combine(const bert_reference_call *call, const bert_tensor *first, const bert_tensor *second) {
    const bert_tensor *y = &call->outputs[0];
    bool c_modulo = BERT_CALL_INT(call, "fmod", 0) != 0;
    bool floats = bert_dtype_is_float(y->dtype);
    bert_loop loop = bert_loop_over(y->rank, y->dims);
    bert_loop_add(&loop, first);
    bert_loop_add(&loop, second);
    for (; loop.left; bert_loop_next(&loop)) {
        if (floats) {
            double result =
                of_floats(call, c_modulo, bert_load(first, loop.offset[0]), bert_load(second, loop.offset[1]));
            bert_store(y, loop.position, result);
        } else {
            bert_integer result = 0;
            BERT_TRY(of_integers(call, c_modulo, bert_load_integer(first, loop.offset[0]),
                                 bert_load_integer(second, loop.offset[1]), &result));
            bert_store_integer(y, loop.position, result);
        }
    }
    return BERT_OK;
}

bert_status bert_reference_arithmetic(const bert_reference_call *call) {
    const bert_tensor *y = &call->outputs[0];
    if (call->input_count == 1) {
        bert_copy_elements(y, 0, &call->inputs[0], 0, bert_tensor_elements(y));
        return BERT_OK;
    }
    BERT_TRY(combine(call, &call->inputs[0], &call->inputs[1]));
    for (int32_t i = 2; i < call->input_count; i++) BERT_TRY(combine(call, y, &call->inputs[i]));
    return BERT_OK;
}

/* An integer raised to a power of any type; through double, save for integer powers that are not negative. */
static bert_integer integer_power(const bert_tensor *base, int64_t i, const bert_tensor *power, int64_t j) {
    bert_integer exponent = bert_dtype_is_float(power->dtype) ? -1 : bert_load_integer(power, j);
    if (exponent < 0) {
        double result = pow(bert_load(base, i), bert_load(power, j));
        return result >= -0x1p63 && result < 0x1p64 ? (bert_integer)result : 0;
    }
    uint64_t factor = (uint64_t)bert_load_integer(base, i);
    uint64_t result = 1;
    for (; exponent; exponent >>= 1, factor *= factor) result *= exponent & 1 ? factor : 1;
    return (bert_integer)result;
}

bert_status bert_reference_pow(const bert_reference_call *call) {
    const bert_tensor *base = &call->inputs[0];
    const bert_tensor *power = &call->inputs[1];
    const bert_tensor *y = &call->outputs[0];
    bert_loop loop = bert_loop_over(y->rank, y->dims);
    bert_loop_add(&loop, base);
    bert_loop_add(&loop, power);
    for (; loop.left; bert_loop_next(&loop)) {
        if (bert_dtype_is_float(y->dtype)) {
            bert_store(y, loop.position, pow(bert_load(base, loop.offset[0]), bert_load(power, loop.offset[1])));
        } else {
            bert_store_integer(y, loop.position, integer_power(base, loop.offset[0], power, loop.offset[1]));
        }
    }
    return BERT_OK;
}
