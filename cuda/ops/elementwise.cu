/*
 * One kernel for float, double and integers each. What it computes and what types it sees are looked at by every
 * thread, which costs a few jumps that all threads of a warp take alike; memory is what it waits for. Dimensions that
 * lie behind each other in every tensor are joined before, so most calls walk over one dimension, without a division.
 */
#include "cuda/ops/elementwise.h"

#include "cuda/ops/element.h"
#include "cuda/ops/halves.h"

enum { THREADS = 256 };

struct elementwise {
    bert_cuda_elementwise_args args;
    bert_cuda_walk walk;
};

/* ---- Floats --------------------------------------------------------------------------------------------------------
 */

template <typename F> static __device__ F softplus(F x) {
    return x > F(0) ? x + log1p(exp(-x)) : log1p(exp(x));
}

template <typename F> static __device__ F of_one(bert_cuda_elementwise_op op, F x, F parameter) {
    switch (op) {
    case BERT_CUDA_ABS:
        return fabs(x);
    case BERT_CUDA_CEIL:
        return ceil(x);
    case BERT_CUDA_COS:
        return cos(x);
    case BERT_CUDA_ERF:
        return erf(x);
    case BERT_CUDA_EXP:
        return exp(x);
    case BERT_CUDA_FLOOR:
        return floor(x);
    case BERT_CUDA_GELU_OF:
    case BERT_CUDA_BIAS_GELU:
        return F(0.5) * x * (F(1) + erf(x * F(0.70710678118654752440)));
    case BERT_CUDA_GELU_TANH_OF:
    case BERT_CUDA_BIAS_GELU_TANH:
        return F(0.5) * x * (F(1) + tanh(F(0.79788456080286535588) * (x + F(0.044715) * x * x * x)));
    case BERT_CUDA_QUICK_GELU_OF:
        return x / (F(1) + exp(-parameter * x));
    case BERT_CUDA_LOG:
        return log(x);
    case BERT_CUDA_MISH:
        return x * tanh(softplus(x));
    case BERT_CUDA_NEG:
        return -x;
    case BERT_CUDA_RECIPROCAL:
        return F(1) / x;
    case BERT_CUDA_RELU_OF:
        return x < F(0) ? F(0) : x;
    case BERT_CUDA_ROUND:
        return rint(x);
    case BERT_CUDA_SIGMOID:
        return F(1) / (F(1) + exp(-x));
    case BERT_CUDA_SIGN:
        return isnan(x) ? x : F((x > F(0)) - (x < F(0)));
    case BERT_CUDA_SIN:
        return sin(x);
    case BERT_CUDA_SOFTPLUS:
        return softplus(x);
    case BERT_CUDA_SQRT:
        return sqrt(x);
    case BERT_CUDA_TANH_OF:
        return tanh(x);
    default:
        return x;
    }
}

template <typename F> static __device__ F of_two(bert_cuda_elementwise_op op, F a, F b, F parameter) {
    switch (op) {
    case BERT_CUDA_ADD:
        return a + b;
    case BERT_CUDA_SUB:
        return a - b;
    case BERT_CUDA_MUL:
        return a * b;
    case BERT_CUDA_DIV:
        return a / b;
    case BERT_CUDA_MIN:
        return isnan(a) || a < b ? a : b;
    case BERT_CUDA_MAX:
        return isnan(a) || a > b ? a : b;
    case BERT_CUDA_MOD: {
        const F rest = fmod(a, b);
        return parameter == F(0) && rest != F(0) && (rest < F(0)) != (b < F(0)) ? rest + b : rest;
    }
    default:
        return of_one<F>(op, a + b, parameter);
    }
}

/* ---- Integers ------------------------------------------------------------------------------------------------------
 */

static __device__ void report(int32_t *bad) {
    if (bad) atomicExch(bad, 1);
}

static __device__ bool less(int64_t a, int64_t b, bool is_unsigned) {
    return is_unsigned ? static_cast<uint64_t>(a) < static_cast<uint64_t>(b) : a < b;
}

/* Quotient, or (op MOD) remainder with the sign that is asked for. */
static __device__ int64_t divided(bool modulo, bool c_modulo, int64_t a, int64_t b, bool is_unsigned, int32_t *bad) {
    if (b == 0) {
        report(bad);
        return 0;
    }
    if (is_unsigned) {
        const uint64_t x = static_cast<uint64_t>(a), y = static_cast<uint64_t>(b);
        return static_cast<int64_t>(modulo ? x % y : x / y);
    }
    if (b == -1) return modulo ? 0 : static_cast<int64_t>(0 - static_cast<uint64_t>(a)); /* the least by -1 wraps */
    if (!modulo) return a / b;
    const int64_t rest = a % b;
    return !c_modulo && rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

static __device__ uint64_t power(uint64_t factor, uint64_t exponent) {
    uint64_t result = 1;
    for (; exponent; exponent >>= 1, factor *= factor) result *= exponent & 1 ? factor : 1;
    return result;
}

static __device__ int64_t of_integers(const bert_cuda_elementwise_args &a, int64_t x, int64_t y, bool is_unsigned) {
    const uint64_t left = static_cast<uint64_t>(x), right = static_cast<uint64_t>(y);
    switch (a.op) {
    case BERT_CUDA_ABS:
        return !is_unsigned && x < 0 ? static_cast<int64_t>(0 - left) : x;
    case BERT_CUDA_NEG:
        return static_cast<int64_t>(0 - left);
    case BERT_CUDA_RELU_OF:
        return !is_unsigned && x < 0 ? 0 : x;
    case BERT_CUDA_SIGN:
        return is_unsigned ? x != 0 : (x > 0) - (x < 0);
    case BERT_CUDA_NOT:
        return x == 0;
    case BERT_CUDA_ADD:
        return static_cast<int64_t>(left + right);
    case BERT_CUDA_SUB:
        return static_cast<int64_t>(left - right);
    case BERT_CUDA_MUL:
        return static_cast<int64_t>(left * right);
    case BERT_CUDA_DIV:
    case BERT_CUDA_MOD:
        return divided(a.op == BERT_CUDA_MOD, a.parameter[0] != 0.0F, x, y, is_unsigned, a.bad);
    case BERT_CUDA_MIN:
        return less(x, y, is_unsigned) ? x : y;
    case BERT_CUDA_MAX:
        return less(x, y, is_unsigned) ? y : x;
    default:
        return x;
    }
}

/* Square and root are exact, and cost a fraction. */
static __device__ double raised(double x, double by) {
    if (by == 2) return x * x;
    if (by == 0.5 && x > 0) return sqrt(x);
    return pow(x, by);
}

/* What raised gives of whole numbers, where that is whole, too. CUDA's pow is off by 2 units of the last place at most:
 * 3 to the power of 1 is below 3, and cut off it would be 2. Of powers that aren't whole this is mended below 2^51. */
static __device__ double made_whole(double result, int64_t base, double by) {
    const double whole = rint(result);
    if (by == 0.5) return result;
    if (!(by >= 0 && by < 64 && by == rint(by))) return fabs(result - whole) <= fabs(result) * 0x1p-51 ? whole : result;
    const uint64_t exact = power(static_cast<uint64_t>(base), static_cast<uint64_t>(by));
    return result < 0 ? static_cast<double>(static_cast<int64_t>(exact)) : static_cast<double>(exact);
}

/* An integer to the power of anything: through double, save for integer powers that are not negative. */
static __device__ int64_t integer_power(const bert_cuda_operand &base, int64_t i, const bert_cuda_operand &exponent,
                                        int64_t j) {
    const int64_t factor = load_as<int64_t>(base.data, base.dtype, i);
    if (!bert_dtype_is_float(exponent.dtype)) {
        const int64_t by = load_as<int64_t>(exponent.data, exponent.dtype, j);
        if (by >= 0 || exponent.dtype == BERT_UINT64)
            return static_cast<int64_t>(power(static_cast<uint64_t>(factor), static_cast<uint64_t>(by)));
    }
    const double by = load_as<double>(exponent.data, exponent.dtype, j);
    double result = raised(load_as<double>(base.data, base.dtype, i), by);
    if (result >= -0x1p63 && result < 0x1p64) result = made_whole(result, factor, by);
    if (!(result >= -0x1p63 && result < 0x1p64)) return 0;
    return result < 0x1p63 ? static_cast<int64_t>(result) : static_cast<int64_t>(static_cast<uint64_t>(result));
}

/* ---- Comparisons ---------------------------------------------------------------------------------------------------
 */

template <typename F> static __device__ bool compared(bert_cuda_elementwise_op op, F a, F b) {
    switch (op) {
    case BERT_CUDA_EQUAL:
        return a == b;
    case BERT_CUDA_GREATER:
        return a > b;
    case BERT_CUDA_GREATER_OR_EQUAL:
        return a >= b;
    case BERT_CUDA_LESS:
        return a < b;
    case BERT_CUDA_LESS_OR_EQUAL:
        return a <= b;
    case BERT_CUDA_AND:
        return a != F(0) && b != F(0);
    case BERT_CUDA_OR:
        return a != F(0) || b != F(0);
    default:
        return (a != F(0)) != (b != F(0));
    }
}

static __device__ bool compare(const bert_cuda_elementwise_args &a, int64_t i, int64_t j) {
    const bert_cuda_operand &x = a.inputs[0], &y = a.inputs[1];
    if (bert_dtype_is_float(x.dtype))
        return compared(a.op, load_as<double>(x.data, x.dtype, i), load_as<double>(y.data, y.dtype, j));
    const int64_t left = load_as<int64_t>(x.data, x.dtype, i), right = load_as<int64_t>(y.data, y.dtype, j);
    if (x.dtype == BERT_UINT64) return compared(a.op, static_cast<uint64_t>(left), static_cast<uint64_t>(right));
    return compared(a.op, left, right);
}

/* ---- Cast, quantize ------------------------------------------------------------------------------------------------
 */

/* Toward zero. What lies outside the type is what x86's conversions make of it, as in the reference implementation. */
static __device__ int64_t truncated(double x, bert_dtype to) {
    if (to != BERT_INT64 && to != BERT_UINT64 && to != BERT_UINT32)
        return x > -0x1p31 - 1.0 && x < 0x1p31 ? static_cast<int64_t>(x) : INT32_MIN;
    if (x >= -0x1p63 && x < 0x1p63) return static_cast<int64_t>(x);
    return x >= 0x1p63 && x < 0x1p64 && to == BERT_UINT64 ? static_cast<int64_t>(static_cast<uint64_t>(x)) : INT64_MIN;
}

static __device__ void cast(const bert_cuda_elementwise_args &a, int64_t to, int64_t from) {
    const bert_cuda_operand &x = a.inputs[0];
    if (bert_dtype_is_float(a.dtype)) {
        store_as<double>(a.y, a.dtype, to, load_as<double>(x.data, x.dtype, from));
    } else if (!bert_dtype_is_float(x.dtype)) {
        store_as<int64_t>(a.y, a.dtype, to, load_as<int64_t>(x.data, x.dtype, from));
    } else {
        const double value = load_as<double>(x.data, x.dtype, from);
        const bool truth = a.dtype == BERT_BOOL;
        store_as<int64_t>(a.y, a.dtype, to, truth ? value != 0.0 : truncated(value, a.dtype));
    }
}

static __device__ void quantize(const bert_cuda_elementwise_args &a, int64_t at, const int64_t *from) {
    const bert_cuda_operand &x = a.inputs[0], &scale = a.inputs[1], &zero = a.inputs[2];
    const bool is_signed = a.dtype == BERT_INT8 || a.dtype == BERT_INT16;
    const int bits = 8 * bert_element_bytes(a.dtype);
    const double least = is_signed ? -static_cast<double>(1 << (bits - 1)) : 0.0;
    const double most = static_cast<double>((1 << (is_signed ? bits - 1 : bits)) - 1);
    const double value = load_as<double>(x.data, x.dtype, from[0]),
                 by = load_as<double>(scale.data, scale.dtype, from[1]);
    const double quotient = x.dtype == BERT_DOUBLE
                                ? value / by
                                : static_cast<double>(__fdiv_rn(static_cast<float>(value), static_cast<float>(by)));
    const int64_t zero_point = zero.data ? load_as<int64_t>(zero.data, zero.dtype, from[2]) : 0;
    const double rounded = rint(quotient) + static_cast<double>(zero_point);
    store_as<int64_t>(a.y, a.dtype, at,
                      static_cast<int64_t>(!(rounded > least) ? least
                                           : rounded > most   ? most
                                                              : rounded));
}

static __device__ void dequantize(const bert_cuda_elementwise_args &a, int64_t at, const int64_t *from) {
    const bert_cuda_operand &x = a.inputs[0], &scale = a.inputs[1], &zero = a.inputs[2];
    const int64_t zero_point = zero.data ? load_as<int64_t>(zero.data, zero.dtype, from[2]) : 0;
    const int64_t difference = load_as<int64_t>(x.data, x.dtype, from[0]) - zero_point;
    const double by = load_as<double>(scale.data, scale.dtype, from[1]);
    if (scale.dtype == BERT_DOUBLE)
        store_as<double>(a.y, a.dtype, at, static_cast<double>(difference) * by);
    else
        store_as<float>(a.y, a.dtype, at, __fmul_rn(static_cast<float>(difference), static_cast<float>(by)));
}

/* ---- The kernels ---------------------------------------------------------------------------------------------------
 */

/* Halves are of floats that are computed as float. */
template <typename F> static __device__ F load_operand(const bert_cuda_operand &x, int64_t at) {
    if (sizeof(F) == sizeof(float) && x.lower)
        return F(load_element(static_cast<const __nv_bfloat16 *>(x.data), x.lower, at));
    return load_as<F>(x.data, x.dtype, at);
}

template <typename F>
static __device__ void compute_floats(const bert_cuda_elementwise_args &a, int64_t at, const int64_t *from) {
    const bert_cuda_operand &x = a.inputs[0], &y = a.inputs[1], &z = a.inputs[2];
    F value = load_operand<F>(x, from[0]);
    const F parameter = F(a.parameter[0]);
    if (a.op == BERT_CUDA_CLIP) {
        if (y.data && value < load_operand<F>(y, from[1])) value = load_operand<F>(y, from[1]);
        if (z.data && value > load_operand<F>(z, from[2])) value = load_operand<F>(z, from[2]);
    } else if (!y.data) {
        value = of_one<F>(a.op, value, parameter);
    } else if (a.op == BERT_CUDA_POW) { /* whose power may be of any type */
        value = F(raised(static_cast<double>(value), load_as<double>(y.data, y.dtype, from[1])));
    } else {
        value = of_two<F>(a.op, value, load_operand<F>(y, from[1]), parameter);
    }
    if (sizeof(F) == sizeof(float) && a.y_lower) {
        store_element(static_cast<__nv_bfloat16 *>(a.y), a.y_lower, at, static_cast<float>(value));
        return;
    }
    store_as<F>(a.y, a.dtype, at, value);
}

static __device__ void compute_integers(const bert_cuda_elementwise_args &a, int64_t at, const int64_t *from) {
    const bert_cuda_operand &x = a.inputs[0], &y = a.inputs[1], &z = a.inputs[2];
    const bool is_unsigned = a.dtype == BERT_UINT64;
    int64_t value = load_as<int64_t>(x.data, x.dtype, from[0]);
    if (a.op == BERT_CUDA_CLIP) {
        const int64_t least = y.data ? load_as<int64_t>(y.data, y.dtype, from[1]) : value;
        if (less(value, least, is_unsigned)) value = least;
        const int64_t most = z.data ? load_as<int64_t>(z.data, z.dtype, from[2]) : value;
        if (less(most, value, is_unsigned)) value = most;
    } else if (a.op == BERT_CUDA_POW) {
        value = integer_power(x, from[0], y, from[1]);
    } else {
        value = of_integers(a, value, y.data ? load_as<int64_t>(y.data, y.dtype, from[1]) : 0, is_unsigned);
    }
    store_as<int64_t>(a.y, a.dtype, at, value);
}

/* Operators whose result or operands have types of their own. */
static __device__ void compute_others(const bert_cuda_elementwise_args &a, int64_t at, const int64_t *from) {
    const bert_cuda_operand &x = a.inputs[0];
    uint8_t *truth = static_cast<uint8_t *>(a.y);
    switch (a.op) {
    case BERT_CUDA_WHERE: {
        const int chosen = static_cast<const uint8_t *>(x.data)[from[0]] ? 1 : 2;
        copy_element(a.y, at, a.inputs[chosen].data, from[chosen], bert_element_bytes(a.dtype));
        if (a.y_lower) a.y_lower[at] = a.inputs[chosen].lower ? a.inputs[chosen].lower[from[chosen]] : 0;
        break;
    }
    case BERT_CUDA_CAST:
        cast(a, at, from[0]);
        break;
    case BERT_CUDA_QUANTIZE:
        quantize(a, at, from);
        break;
    case BERT_CUDA_DEQUANTIZE:
        dequantize(a, at, from);
        break;
    case BERT_CUDA_IS_NAN:
        truth[at] = isnan(load_as<double>(x.data, x.dtype, from[0]));
        break;
    case BERT_CUDA_IS_INF: {
        const double value = load_as<double>(x.data, x.dtype, from[0]);
        truth[at] = isinf(value) && a.parameter[value < 0.0 ? 0 : 1] != 0.0F;
        break;
    }
    default:
        truth[at] = compare(a, from[0], from[1]);
    }
}

enum kernel_class { FLOATS, DOUBLES, INTEGERS, OTHERS };

template <int CLASS> static __global__ void __launch_bounds__(THREADS) elementwise_kernel(elementwise e) {
    begin_kernel();
    const int64_t step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < e.walk.count; i += step) {
        int64_t from[3] = {};
        for (int input = 0; input < 3; input++)
            if (e.args.inputs[input].data) from[input] = offset_of(e.walk, e.args.inputs[input].strides, i);
        if (CLASS == FLOATS) compute_floats<float>(e.args, i, from);
        if (CLASS == DOUBLES) compute_floats<double>(e.args, i, from);
        if (CLASS == INTEGERS) compute_integers(e.args, i, from);
        if (CLASS == OTHERS) compute_others(e.args, i, from);
    }
}

/* ---- Choosing ------------------------------------------------------------------------------------------------------
 */

/* Inputs that are absent have no say. */
static void join_dimensions(elementwise *e) {
    int64_t *strides[3];
    int tensors = 0;
    for (bert_cuda_operand &input : e->args.inputs)
        if (input.data) strides[tensors++] = input.strides;
    bert_join_dimensions(&e->walk, strides, tensors);
}

static bool is_single(bert_dtype dtype) {
    return bert_dtype_is_float(dtype) && dtype != BERT_DOUBLE;
}

/* Of floats that are computed as float, a cast is one more operator that computes them. */
static bool takes_others(const bert_cuda_elementwise_args *a) {
    const bert_cuda_elementwise_op op = a->op;
    if (op == BERT_CUDA_CAST) return !is_single(a->dtype) || !is_single(a->inputs[0].dtype);
    return op == BERT_CUDA_WHERE || op == BERT_CUDA_QUANTIZE || op == BERT_CUDA_DEQUANTIZE || op == BERT_CUDA_IS_NAN ||
           op == BERT_CUDA_IS_INF || (op >= BERT_CUDA_EQUAL && op <= BERT_CUDA_XOR);
}

/* Which inputs there are, and of which types. */
static bool is_allowed(const bert_cuda_elementwise_args *a) {
    const bert_cuda_operand *const in = a->inputs;
    const bool two = a->op >= BERT_CUDA_ADD && a->op <= BERT_CUDA_XOR;
    if (!in[0].data || bert_element_bytes(a->dtype) == 0 || bert_element_bytes(in[0].dtype) == 0) return false;
    if (two && !in[1].data) return false;
    switch (a->op) {
    case BERT_CUDA_WHERE:
        return in[1].data && in[2].data && in[0].dtype == BERT_BOOL && in[1].dtype == a->dtype &&
               in[2].dtype == a->dtype;
    case BERT_CUDA_CAST:
        return true;
    case BERT_CUDA_QUANTIZE:
        return bert_dtype_is_float(in[0].dtype) && in[1].data && bert_dtype_is_float(in[1].dtype) &&
               !bert_dtype_is_float(a->dtype) && bert_element_bytes(a->dtype) <= 2 &&
               (!in[2].data || in[2].dtype == a->dtype);
    case BERT_CUDA_DEQUANTIZE:
        return !bert_dtype_is_float(in[0].dtype) && in[1].data && bert_dtype_is_float(in[1].dtype) &&
               bert_dtype_is_float(a->dtype) && (!in[2].data || in[2].dtype == in[0].dtype);
    case BERT_CUDA_IS_NAN:
    case BERT_CUDA_IS_INF:
        return bert_dtype_is_float(in[0].dtype) && a->dtype == BERT_BOOL;
    case BERT_CUDA_POW:
        return in[0].dtype == a->dtype && bert_element_bytes(in[1].dtype) != 0;
    default:
        if (two && a->op >= BERT_CUDA_EQUAL) return in[0].dtype == in[1].dtype && a->dtype == BERT_BOOL;
        return in[0].dtype == a->dtype && (!in[1].data || in[1].dtype == a->dtype) &&
               (!in[2].data || in[2].dtype == a->dtype);
    }
}

/* Whether an operator computes integers too. */
static bool has_integers(bert_cuda_elementwise_op op) {
    return op == BERT_CUDA_ABS || op == BERT_CUDA_NEG || op == BERT_CUDA_RELU_OF || op == BERT_CUDA_SIGN ||
           op == BERT_CUDA_NOT || op == BERT_CUDA_CLIP || (op >= BERT_CUDA_ADD && op <= BERT_CUDA_POW);
}

static bool halves_allowed(const bert_cuda_elementwise_args *a) {
    for (const bert_cuda_operand &input : a->inputs)
        if (input.lower && input.dtype != BERT_BFLOAT16) return false;
    return !a->y_lower || (a->dtype == BERT_BFLOAT16 && (!takes_others(a) || a->op == BERT_CUDA_WHERE));
}

cudaError_t bert_cuda_elementwise(const bert_cuda_elementwise_args *args, cudaStream_t stream) {
    elementwise e = {};
    e.args = *args;
    if (!bert_walk_over(args->rank, args->dims, &e.walk)) return cudaErrorInvalidValue;
    if (e.walk.count == 0) return cudaSuccess;
    if (!is_allowed(args) || !halves_allowed(args)) return cudaErrorInvalidValue;
    join_dimensions(&e);
    const dim3 grid(bert_blocks(e.walk.count, THREADS, 1 << 14)), block(THREADS);
    if (takes_others(args)) return BERT_LAUNCH((elementwise_kernel<OTHERS>), grid, block, 0, stream, e);
    if (args->dtype == BERT_DOUBLE) return BERT_LAUNCH((elementwise_kernel<DOUBLES>), grid, block, 0, stream, e);
    if (bert_dtype_is_float(args->dtype)) return BERT_LAUNCH((elementwise_kernel<FLOATS>), grid, block, 0, stream, e);
    if (!has_integers(args->op)) return cudaErrorInvalidValue;
    return BERT_LAUNCH((elementwise_kernel<INTEGERS>), grid, block, 0, stream, e);
}

void bert_cuda_broadcast_strides(int32_t rank, const bert_tensor *tensor, int64_t strides[BERT_MAX_RANK]) {
    int64_t stride = 1;
    for (int32_t i = 0; i < rank; i++) strides[i] = 0;
    for (int32_t i = tensor->rank - 1; i >= 0; i--) {
        const int32_t at = i + rank - tensor->rank;
        if (at >= 0 && tensor->dims[i] != 1) strides[at] = stride;
        stride *= tensor->dims[i];
    }
}
