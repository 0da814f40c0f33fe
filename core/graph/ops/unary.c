/* Operators that compute every element from one element. */
#include "core/graph/ops/activation.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

#include <math.h>
#include <string.h>

/* ---- Inference -----------------------------------------------------------------------------------------------------
 */

bert_status bert_infer_unary_float(const bert_inference *in) {
    return bert_infer_like_input(in, BERT_TYPES_FLOAT);
}

static bert_dim follow_unary(const bert_inference *in, bert_dim a) {
    switch (in->op->id) {
    case BERT_OP_Neg:
        return bert_dim_subtract(in->symbols, 0, a);
    case BERT_OP_Abs:
        if (bert_dim_known(a)) return a < 0 ? -a : a;
        return bert_dim_nonnegative(in->symbols, a) ? a : bert_dim_fresh(in->symbols);
    case BERT_OP_Relu:
        return bert_dim_maximum(in->symbols, a, 0);
    default:
        if (bert_dim_known(a)) return (a > 0) - (a < 0);
        return bert_dim_fresh(in->symbols);
    }
}

bert_status bert_infer_unary_numeric(const bert_inference *in) {
    BERT_TRY(bert_infer_like_input(in, BERT_TYPES_NUMERIC));
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count = 0;
    if (!bert_infer_content(in, 0, values, &count)) return BERT_OK;
    bert_dim *elements = bert_infer_new_elements(in, 0, count);
    for (int32_t i = 0; elements && i < count; i++) elements[i] = follow_unary(in, values[i]);
    return BERT_OK;
}

bert_status bert_infer_identity(const bert_inference *in) {
    BERT_TRY(bert_infer_like_input(in, BERT_TYPES_ANY));
    bert_infer_copy_elements(in, 0, 0);
    return BERT_OK;
}

/* Dropout while nothing is trained: its input, and a mask that keeps everything. */
bert_status bert_infer_dropout(const bert_inference *in) {
    if (bert_infer_input(in, 2)) {
        int64_t training[BERT_MAX_TRACKED_ELEMENTS];
        int32_t count = 0;
        if (!bert_infer_numbers(in, 2, training, &count) || count != 1 || training[0] != 0) {
            return bert_fail(in->error, BERT_UNSUPPORTED, "Dropout in training mode is not something to infer with");
        }
    }
    BERT_TRY(bert_infer_like_input(in, BERT_TYPES_FLOAT));
    bert_infer_give(in, 1, BERT_BOOL, bert_infer_shape(in, 0));
    return BERT_OK;
}

bert_status bert_infer_gelu(const bert_inference *in) {
    const char *approximate = BERT_INFER_STRING(in, "approximate", "none");
    if (strcmp(approximate, "none") != 0 && strcmp(approximate, "tanh") != 0) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "Gelu's approximate is \"%s\"; it takes none or tanh",
                         approximate);
    }
    return bert_infer_like_input(in, BERT_TYPES_FLOAT);
}

/* ---- Functions -----------------------------------------------------------------------------------------------------
 */

double bert_identity(double x, double unused) {
    return x;
}

double bert_gelu_erf(double x, double unused) {
    return 0.5 * x * (1 + erf(x * M_SQRT1_2));
}

double bert_gelu_tanh(double x, double unused) {
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

double bert_sigmoid(double x, double unused) {
    return 1 / (1 + exp(-x));
}

double bert_quick_gelu(double x, double alpha) {
    return x * bert_sigmoid(alpha * x, 0);
}

double bert_relu(double x, double unused) {
    return x < 0 ? 0 : x; /* NaN stays */
}

double bert_tanh(double x, double unused) {
    return tanh(x);
}

#define OF_ONE(name, expression)                                                                                       \
    static double name(double x, double unused) {                                                                      \
        return expression;                                                                                             \
    }
OF_ONE(root, sqrt(x))
OF_ONE(error_function, erf(x))
OF_ONE(magnitude, fabs(x))
OF_ONE(ceiling, ceil(x))
OF_ONE(floored, floor(x))
OF_ONE(cosine, cos(x))
OF_ONE(sine, sin(x))
OF_ONE(exponential, exp(x))
OF_ONE(logarithm, log(x))
OF_ONE(negated, -x)
OF_ONE(sign, isnan(x) ? x : (double)((x > 0) - (x < 0)))
OF_ONE(half_to_even, nearbyint(x))
OF_ONE(reciprocal, 1 / x)
/* log(1 + e^x) without overflow */
OF_ONE(softplus, x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)))

OF_ONE(mish, x *tanh(softplus(x, 0)))

bert_unary_fn bert_activation(const char *name, double *parameter) {
    static const struct {
        const char *name;
        bert_unary_fn function;
        double parameter;
    } activations[] = {{"none", bert_identity, 0},
                       {"gelu", bert_gelu_erf, 0},
                       {"gelu_tanh", bert_gelu_tanh, 0},
                       {"quick_gelu", bert_quick_gelu, 1.702},
                       {"silu", bert_quick_gelu, 1},
                       {"tanh", bert_tanh, 0},
                       {"relu", bert_relu, 0}};
    for (size_t i = 0; i < sizeof activations / sizeof activations[0]; i++) {
        if (strcmp(activations[i].name, name) != 0) continue;
        *parameter = activations[i].parameter;
        return activations[i].function;
    }
    return NULL;
}

static bert_unary_fn function_of(const bert_reference_call *call, double *parameter) {
    switch (call->op->id) {
    case BERT_OP_Sqrt:
        return root;
    case BERT_OP_Erf:
        return error_function;
    case BERT_OP_Tanh:
        return bert_tanh;
    case BERT_OP_Abs:
        return magnitude;
    case BERT_OP_Ceil:
        return ceiling;
    case BERT_OP_Floor:
        return floored;
    case BERT_OP_Cos:
        return cosine;
    case BERT_OP_Sin:
        return sine;
    case BERT_OP_Exp:
        return exponential;
    case BERT_OP_Log:
        return logarithm;
    case BERT_OP_Neg:
        return negated;
    case BERT_OP_Sign:
        return sign;
    case BERT_OP_Sigmoid:
        return bert_sigmoid;
    case BERT_OP_Relu:
        return bert_relu;
    case BERT_OP_Round:
        return half_to_even;
    case BERT_OP_Reciprocal:
        return reciprocal;
    case BERT_OP_Softplus:
        return softplus;
    case BERT_OP_Mish:
        return mish;
    case BERT_OP_MS_QuickGelu:
        *parameter = BERT_CALL_FLOAT(call, "alpha", 1.702F);
        return bert_quick_gelu;
    default: /* Gelu of either domain */
        return strcmp(BERT_CALL_STRING(call, "approximate", "none"), "tanh") == 0 ? bert_gelu_tanh : bert_gelu_erf;
    }
}

/* ---- Reference -----------------------------------------------------------------------------------------------------
 */

static bert_integer of_integer(bert_op_id id, bert_integer x) {
    switch (id) {
    case BERT_OP_Neg:
        return -x;
    case BERT_OP_Abs:
        return x < 0 ? -x : x;
    case BERT_OP_Relu:
        return x < 0 ? 0 : x;
    default: /* Sign */
        return (x > 0) - (x < 0);
    }
}

bert_status bert_reference_unary(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *y = &call->outputs[0];
    int64_t count = bert_tensor_elements(y);
    if (!bert_dtype_is_float(y->dtype)) {
        for (int64_t i = 0; i < count; i++) bert_store_integer(y, i, of_integer(call->op->id, bert_load_integer(x, i)));
        return BERT_OK;
    }
    double parameter = 0;
    bert_unary_fn function = function_of(call, &parameter);
    for (int64_t i = 0; i < count; i++) bert_store(y, i, function(bert_load(x, i), parameter));
    return BERT_OK;
}

bert_status bert_reference_identity(const bert_reference_call *call) {
    const bert_tensor *y = &call->outputs[0];
    bert_copy_elements(y, 0, &call->inputs[0], 0, bert_tensor_elements(y));
    return BERT_OK;
}

bert_status bert_reference_dropout(const bert_reference_call *call) {
    const bert_tensor *mask = bert_call_output(call, 1);
    if (mask) memset(mask->data, 1, (size_t)bert_tensor_elements(mask));
    return bert_reference_identity(call);
}
