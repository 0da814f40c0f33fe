/*
 * Products of bytes that passes left as the file has them: MatMulInteger, and those that scale what it gives.
 *
 * Bytes less their zero points are multiplied as float32, whose products and their sums over up to 256 are exact (255 x
 * 255 x 256 is below 2^24); what 256 give is added as int32. Weights of a BERT don't come here: QuantizedLinear has
 * them.
 */
#include "cuda/plan/integer_product.h"

#include "cuda/ops/quantize.h"
#include "cuda/plan/products.h"

#include <string.h>

enum { EXACT_DEPTH = 256 };

/* What the node owns on the device: the scale of what has none, and alpha. */
typedef struct own_constants {
    float one, alpha;
} own_constants;

/* ---- Shapes ------------------------------------------------------------------------------------------------------ */

/* A vector as the matrix that it is. */
static bert_tensor as_matrix(const bert_tensor *x, bool left) {
    bert_tensor matrix = *x;
    if (x->rank > 1) return matrix;
    matrix.rank = 2;
    matrix.dims[0] = left ? 1 : x->dims[0];
    matrix.dims[1] = left ? x->dims[0] : 1;
    return matrix;
}

/* y with the dimensions that a vector among the operands takes away. */
static bert_tensor result_of(const bert_cuda_integer_product *p) {
    bert_tensor y = p->y;
    const int64_t last = y.rank ? y.dims[y.rank - 1] : 1;
    if (p->a.rank == 1 && p->b.rank == 1) {
        y.dims[0] = y.dims[1] = 1;
        y.rank = 2;
    } else if (p->a.rank == 1) {
        y.dims[y.rank - 1] = 1;
        y.dims[y.rank++] = last;
    } else if (p->b.rank == 1) {
        y.dims[y.rank++] = 1;
    }
    return y;
}

/* Strides of a zero point over x, which has `axis` rows or columns: one for all, one for each, or for each of each
 * matrix.
 */
static void zero_point_strides(const bert_tensor *zero, const bert_tensor *x, int32_t axis,
                               int64_t strides[BERT_MAX_RANK]) {
    const int64_t count = bert_cuda_elements(zero);
    int64_t stride = x->dims[axis];
    memset(strides, 0, BERT_MAX_RANK * sizeof *strides);
    if (count == 1) return;
    strides[axis] = 1;
    for (int32_t i = x->rank - 3; i >= 0 && count != x->dims[axis]; i--) {
        strides[i] = stride;
        stride *= x->dims[i];
    }
}

/* A scale of x as a tensor that broadcasts to the products. */
static bert_tensor spread_scale(const bert_tensor *scale, const bert_tensor *x, int32_t axis, bool rows) {
    const int64_t count = bert_cuda_elements(scale);
    bert_tensor seen = {.dtype = scale->dtype, .rank = 2, .dims = {1, 1}, .data = scale->data};
    if (count != 1 && count != x->dims[axis]) {
        seen.rank = x->rank;
        memcpy(seen.dims, x->dims, sizeof seen.dims);
        seen.dims[x->rank - 2] = seen.dims[x->rank - 1] = 1;
    }
    seen.dims[seen.rank - (rows ? 2 : 1)] = count == 1 ? 1 : x->dims[axis];
    return seen;
}

/* ---- Planning ---------------------------------------------------------------------------------------------------- */

bert_status bert_cuda_plan_product_floats(const bert_cuda_planner *planner, bert_cuda_product_floats floats) {
    for (int i = 0; i < 4; i++) {
        const int32_t input = floats.inputs[i];
        if (input < 0 || !bert_cuda_node_has(planner->node, input)) continue;
        BERT_CUDA_TRY(bert_cuda_want_float(planner, input));
        BERT_CUDA_TRY(bert_cuda_keep_floats(planner, input));
    }
    return BERT_OK;
}

/* A scale or bias that is not float32 becomes it first. */
static int64_t converted(const bert_tensor *x) {
    return x && x->dtype != BERT_FLOAT ? bert_cuda_elements(x) : 0;
}

bert_status bert_cuda_integer_product_reserve(const bert_cuda_planner *planner, const bert_cuda_integer_product *p) {
    const own_constants constants = {1, p->alpha};
    const int64_t products = bert_cuda_elements(&p->y);
    BERT_CUDA_TRY(bert_cuda_reserve(planner, bert_cuda_elements(&p->a), 4));
    BERT_CUDA_TRY(bert_cuda_reserve(planner, bert_cuda_elements(&p->b), 4));
    for (int i = 0; i < 4; i++) BERT_CUDA_TRY(bert_cuda_reserve(planner, products, 4));
    const bert_tensor *floats[] = {p->a_scale, p->b_scale, p->y_scale, p->bias};
    for (int i = 0; i < 4; i++) BERT_CUDA_TRY(bert_cuda_reserve(planner, converted(floats[i]), 4));
    if (p->dynamic) {
        BERT_CUDA_TRY(bert_cuda_reserve(planner, bert_cuda_elements(&p->a), 1));
        BERT_CUDA_TRY(bert_cuda_reserve_quantize_by_range(planner, p->a.rank, p->a.dims));
    }
    return bert_cuda_own(planner, &constants, sizeof constants);
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

/* Where a run keeps what; tensors of y's shape. */
typedef struct work {
    bert_tensor a, b;                      /* float */
    bert_tensor sums, part, whole, factor; /* float, int32, int32, float */
} work;

static const own_constants *constants_of(const bert_cuda_call *call) {
    return call->node->own;
}

/* x less its zero point, which belongs to all, or to places along `axis`; y has the shape of x. */
static bert_status subtract_zero_point(const bert_cuda_call *call, const bert_tensor *x, const bert_tensor *zero,
                                       int32_t axis, const bert_tensor *y) {
    bert_cuda_elementwise_args args = bert_cuda_elementwise_to(BERT_CUDA_DEQUANTIZE, y);
    args.inputs[0] = (bert_cuda_operand){.data = x->data, .dtype = x->dtype};
    bert_cuda_dense_strides(x->rank, x->dims, args.inputs[0].strides);
    args.inputs[1] = (bert_cuda_operand){.data = &constants_of(call)->one, .dtype = BERT_FLOAT};
    if (zero) {
        args.inputs[2] = (bert_cuda_operand){.data = zero->data, .dtype = zero->dtype};
        zero_point_strides(zero, x, axis, args.inputs[2].strides);
    }
    return bert_cuda_launch_elementwise(call, &args);
}

/* The sums of 256 at a time, as int32 in w->whole. */
static bert_status multiply(const bert_cuda_call *call, const work *w, bool transpose_a, bool transpose_b) {
    const bert_cuda_matrices a = bert_cuda_matrices_of(&w->a, true, false);
    const bert_cuda_matrices b = bert_cuda_matrices_of(&w->b, false, false);
    const bert_cuda_batches shape = bert_cuda_product_batches(&a, &b);
    const bert_cuda_gemm_args all = bert_cuda_product_sizes(&a, &b, transpose_a, transpose_b);
    for (int64_t from = 0; from == 0 || from < all.k; from += EXACT_DEPTH) {
        bert_cuda_gemm_args args = all;
        args.kind = BERT_CUDA_GEMM_F32;
        args.k = all.k - from < EXACT_DEPTH ? all.k - from : EXACT_DEPTH;
        args.a = (const float *)all.a + from * (all.transpose_a ? all.lda : 1);
        args.b = (const float *)all.b + from * (all.transpose_b ? 1 : all.ldb);
        args.c = w->sums.data;
        BERT_CUDA_TRY(bert_cuda_multiply_all(call, &shape, &args, 4, 4));
        BERT_CUDA_TRY(bert_cuda_spread(call, &w->sums, from ? &w->part : &w->whole));
        if (from) BERT_CUDA_TRY(bert_cuda_combine(call, BERT_CUDA_ADD, &w->whole, &w->part, &w->whole));
    }
    return BERT_OK;
}

/* *x as float32. */
static bert_status as_float(const bert_cuda_call *call, const bert_tensor *x, bert_tensor *out, void **workspace) {
    void *piece = bert_cuda_take(workspace, converted(x), 4);
    if (!x) return BERT_OK;
    *out = *x;
    if (x->dtype == BERT_FLOAT) return BERT_OK;
    out->dtype = BERT_FLOAT;
    out->data = piece;
    return bert_cuda_spread(call, x, out);
}

/* Scales and bias, all float32. */
typedef struct floats {
    bert_tensor a_scale, b_scale, y_scale, bias;
} floats;

/* float(sums) x (alpha x a_scale x b_scale [/ y_scale]), then the bias, or rounding to bytes. */
static bert_status scale_sums(const bert_cuda_call *call, const bert_cuda_integer_product *p, const floats *f,
                              const bert_tensor *y, work *w) {
    const int32_t a_axis = w->a.rank - (p->transpose_a ? 1 : 2), b_axis = w->b.rank - (p->transpose_b ? 2 : 1);
    const bert_tensor a = spread_scale(&f->a_scale, &w->a, a_axis, true);
    const bert_tensor b = spread_scale(&f->b_scale, &w->b, b_axis, false);
    const own_constants *constants = constants_of(call);
    const bert_tensor alpha = {.dtype = BERT_FLOAT, .data = (void *)&constants->alpha};
    w->factor.rank = a.rank > b.rank ? a.rank : b.rank;
    for (int32_t i = 1; i <= w->factor.rank; i++) {
        const int64_t of_a = i <= a.rank ? a.dims[a.rank - i] : 1, of_b = i <= b.rank ? b.dims[b.rank - i] : 1;
        w->factor.dims[w->factor.rank - i] = of_a == 1 ? of_b : of_a;
    }
    BERT_CUDA_TRY(bert_cuda_combine(call, BERT_CUDA_MUL, &a, &b, &w->factor));
    if (p->alpha != 1) BERT_CUDA_TRY(bert_cuda_combine(call, BERT_CUDA_MUL, &w->factor, &alpha, &w->factor));
    if (p->y_scale) BERT_CUDA_TRY(bert_cuda_combine(call, BERT_CUDA_DIV, &w->factor, &f->y_scale, &w->factor));
    const bool narrow = !p->y_scale && y->dtype != BERT_FLOAT;
    const bert_tensor *last = p->y_scale || narrow ? &w->sums : y, *product = p->bias ? &w->sums : last;
    BERT_CUDA_TRY(bert_cuda_spread(call, &w->whole, &w->sums));
    BERT_CUDA_TRY(bert_cuda_combine(call, BERT_CUDA_MUL, &w->sums, &w->factor, product));
    if (p->bias) BERT_CUDA_TRY(bert_cuda_combine(call, BERT_CUDA_ADD, &w->sums, &f->bias, last));
    if (narrow) return bert_cuda_spread(call, &w->sums, y);
    if (!p->y_scale) return BERT_OK;
    bert_cuda_elementwise_args args = bert_cuda_elementwise_to(BERT_CUDA_QUANTIZE, y);
    args.inputs[0] = (bert_cuda_operand){.data = w->sums.data, .dtype = BERT_FLOAT};
    bert_cuda_dense_strides(y->rank, y->dims, args.inputs[0].strides);
    args.inputs[1] = (bert_cuda_operand){.data = &constants->one, .dtype = BERT_FLOAT};
    args.inputs[2] = (bert_cuda_operand){.data = p->y_zero->data, .dtype = p->y_zero->dtype};
    return bert_cuda_launch_elementwise(call, &args);
}

/* a in bytes, its scale and its zero point. */
static bert_status quantize_a(const bert_cuda_call *call, const bert_tensor *x, void **rest, bert_tensor *bytes,
                              bert_tensor *scale, bert_tensor *zero) {
    bert_cuda_tensor_scale found;
    *bytes = *x;
    bytes->dtype = BERT_UINT8;
    bytes->data = bert_cuda_take(rest, bert_cuda_elements(x), 1);
    BERT_CUDA_TRY(bert_cuda_quantize_by_range(call, x, rest, bytes->data, NULL, &found));
    *scale = (bert_tensor){.dtype = BERT_FLOAT, .data = found.scale};
    *zero = (bert_tensor){.dtype = BERT_UINT8, .data = found.zero_point};
    return BERT_OK;
}

static work lay_out(const bert_tensor *a, const bert_tensor *b, const bert_tensor *y, void **workspace) {
    const int64_t products = bert_cuda_elements(y);
    work w = {.a = *a, .b = *b};
    w.sums = w.part = w.whole = w.factor = *y;
    w.a.data = bert_cuda_take(workspace, bert_cuda_elements(a), 4);
    w.b.data = bert_cuda_take(workspace, bert_cuda_elements(b), 4);
    w.sums.data = bert_cuda_take(workspace, products, 4);
    w.part.data = bert_cuda_take(workspace, products, 4);
    w.whole.data = bert_cuda_take(workspace, products, 4);
    w.factor.data = bert_cuda_take(workspace, products, 4);
    w.a.dtype = w.b.dtype = w.sums.dtype = w.factor.dtype = BERT_FLOAT;
    w.part.dtype = w.whole.dtype = BERT_INT32;
    return w;
}

bert_status bert_cuda_integer_product_run(const bert_cuda_call *call, const bert_cuda_integer_product *p,
                                          void **workspace) {
    bert_tensor a = as_matrix(&p->a, true), b = as_matrix(&p->b, false), y = result_of(p), zero;
    const bert_tensor *a_zero = p->a_zero;
    floats f;
    memset(&f, 0, sizeof f);
    if (bert_cuda_elements(&y) == 0) return BERT_OK;
    work w = lay_out(&a, &b, &y, workspace);
    BERT_CUDA_TRY(as_float(call, p->a_scale, &f.a_scale, workspace));
    BERT_CUDA_TRY(as_float(call, p->b_scale, &f.b_scale, workspace));
    BERT_CUDA_TRY(as_float(call, p->y_scale, &f.y_scale, workspace));
    BERT_CUDA_TRY(as_float(call, p->bias, &f.bias, workspace));
    if (p->dynamic) {
        const bert_tensor x = a;
        BERT_CUDA_TRY(quantize_a(call, &x, workspace, &a, &f.a_scale, &zero));
        a_zero = &zero;
    }
    const bool scales = p->b_scale != NULL;
    if (!scales) w.whole.data = y.data;
    BERT_CUDA_TRY(subtract_zero_point(call, &a, a_zero, a.rank - (p->transpose_a ? 1 : 2), &w.a));
    BERT_CUDA_TRY(subtract_zero_point(call, &b, p->b_zero, b.rank - (p->transpose_b ? 2 : 1), &w.b));
    BERT_CUDA_TRY(multiply(call, &w, p->transpose_a, p->transpose_b));
    if (p->sums_bias) BERT_CUDA_TRY(bert_cuda_combine(call, BERT_CUDA_ADD, &w.whole, p->sums_bias, &w.whole));
    return scales ? scale_sums(call, p, &f, &y, &w) : BERT_OK;
}

/* ---- Operators --------------------------------------------------------------------------------------------------- */

/* By the code of the row; -1: it has no such input. */
typedef struct form {
    int32_t a, b, a_zero, b_zero, a_scale, b_scale, bias, y_scale, y_zero;
    bool dynamic; /* a is float */
} form;

static const form forms[] = {
    {0, 1, 2, 3, -1, -1, -1, -1, -1, false}, /* MatMulInteger */
    {0, 1, 4, 5, 2, 3, 6, -1, -1, false},    /* MatMulIntegerToFloat */
    {0, 3, 2, 5, 1, 4, -1, 6, 7, false},     /* QLinearMatMul */
    {0, 1, -1, 3, -1, 2, 4, -1, -1, true},   /* DynamicQuantizeMatMul */
    {0, 3, 2, 5, 1, 4, 6, 7, 8, false},      /* QGemm */
};
enum { GEMM_FORM = 4 };

static bert_cuda_integer_product describe(const bert_op_node *node, int32_t code, const bert_cuda_operands *o) {
    const form *f = &forms[code];
    const bert_tensor *bias = bert_cuda_operand_at(o->inputs, f->bias);
    const bool is_gemm = code == GEMM_FORM;
    return (bert_cuda_integer_product){.a = o->inputs[f->a],
                                       .b = o->inputs[f->b],
                                       .y = o->outputs[0],
                                       .transpose_a = is_gemm && BERT_NODE_INT(node, "transA", 0),
                                       .transpose_b = is_gemm && BERT_NODE_INT(node, "transB", 0),
                                       .dynamic = f->dynamic,
                                       .a_zero = bert_cuda_operand_at(o->inputs, f->a_zero),
                                       .b_zero = bert_cuda_operand_at(o->inputs, f->b_zero),
                                       .a_scale = bert_cuda_operand_at(o->inputs, f->a_scale),
                                       .b_scale = bert_cuda_operand_at(o->inputs, f->b_scale),
                                       .sums_bias = is_gemm ? bias : NULL,
                                       .bias = is_gemm ? NULL : bias,
                                       .y_scale = bert_cuda_operand_at(o->inputs, f->y_scale),
                                       .y_zero = bert_cuda_operand_at(o->inputs, f->y_zero),
                                       .alpha = is_gemm ? BERT_NODE_FLOAT(node, "alpha", 1.0F) : 1.0F};
}

static bert_cuda_product_floats floats_of(int32_t code) {
    const form *f = &forms[code];
    return (bert_cuda_product_floats){{f->a_scale, f->b_scale, f->y_scale, code == GEMM_FORM ? -1 : f->bias}};
}

bert_status bert_cuda_plan_matmul_integer(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    const int32_t code = planner->state->op->code;
    const form *f = &forms[code];
    if (f->dynamic) BERT_CUDA_TRY(bert_cuda_want_float(planner, f->a));
    BERT_CUDA_TRY(bert_cuda_plan_product_floats(planner, floats_of(code)));
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_cuda_operands operands = bert_cuda_planned_operands(planner);
    const bert_cuda_integer_product product = describe(node, code, &operands);
    return bert_cuda_integer_product_reserve(planner, &product);
}

bert_status bert_cuda_run_matmul_integer(const bert_cuda_call *call) {
    const int32_t code = call->node->op->code;
    const bert_cuda_operands operands = bert_cuda_called_operands(call);
    const bert_cuda_integer_product product = describe(&call->node->node, code, &operands);
    void *workspace = call->workspace;
    return bert_cuda_integer_product_run(call, &product, &workspace);
}
