/*
 * Products of bytes that passes left as the file has them: MatMulInteger, and those that scale what it gives.
 *
 * Bytes less their zero points are multiplied as float32, whose products and their sums over up to 256 are exact (255 x
 * 255 x 256 is below 2^24); what 256 give is added as int32. Weights of a BERT don't come here: QuantizedLinear has
 * them.
 */
#include "cuda/ops/elementwise.h"
#include "cuda/ops/quantize.h"
#include "cuda/plan/products.h"

#include <string.h>

enum { EXACT_DEPTH = 256, OPERATORS = 5 };

/* By the code of the row; -1: it has no such input. */
typedef struct operands {
    int32_t a, b, a_zero, b_zero, a_scale, b_scale, bias, y_scale, y_zero;
    bool dynamic; /* a is float, and quantized by its own range */
} operands;

static const operands forms[OPERATORS] = {
    {0, 1, 2, 3, -1, -1, -1, -1, -1, false}, /* MatMulInteger */
    {0, 1, 4, 5, 2, 3, 6, -1, -1, false},    /* MatMulIntegerToFloat */
    {0, 3, 2, 5, 1, 4, -1, 6, 7, false},     /* QLinearMatMul */
    {0, 1, -1, 3, -1, 2, 4, -1, -1, true},   /* DynamicQuantizeMatMul */
    {0, 3, 2, 5, 1, 4, 6, 7, 8, false},      /* QGemm */
};

static bool is_gemm(const operands *form) {
    return form == &forms[4];
}

static int64_t elements_of(const bert_tensor_desc *desc) {
    return bert_cuda_desc_count(desc, 0, desc->rank);
}

/* ---- Planning ---------------------------------------------------------------------------------------------------- */

static bert_status check_parameters(const bert_cuda_planner *planner, const operands *form) {
    const bert_op_node *node = planner->node;
    const int32_t parameters[] = {form->a_zero, form->b_zero, form->a_scale, form->b_scale};
    for (int i = 0; i < 4; i++) {
        const int32_t input = parameters[i];
        if (input < 0 || !bert_cuda_node_has(node, input)) continue;
        if (i > 1 && bert_cuda_stored(planner->prepared, node->inputs[input].dtype) != BERT_FLOAT)
            return bert_cuda_leave(planner, "scales in float32 alone");
        if (planner->mode == BERT_PLAN_BIND && node->inputs[input].rank > 1 && elements_of(&node->inputs[input]) > 1)
            return bert_cuda_leave(planner, "takes scales and zero points of one tensor, row or column");
    }
    return BERT_OK;
}

bert_status bert_cuda_plan_matmul_integer(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    const operands *form = &forms[planner->state->op->code];
    static const float one = 1.0F;
    BERT_CUDA_TRY(check_parameters(planner, form));
    if (form->dynamic && bert_cuda_stored(planner->prepared, node->inputs[0].dtype) != BERT_FLOAT)
        return bert_cuda_leave(planner, "computes in float32 only");
    if (bert_cuda_float(node, "alpha", 1.0F) != 1.0F) return bert_cuda_leave(planner, "has no kernel for an alpha");
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_tensor_desc *a = &node->inputs[form->a], *b = &node->inputs[form->b];
    if (a->rank < 2 || b->rank < 2) return bert_cuda_leave(planner, "takes matrices, not vectors");
    const int64_t products = elements_of(&node->outputs[0]);
    BERT_CUDA_TRY(bert_cuda_reserve(planner, elements_of(a), 4));
    BERT_CUDA_TRY(bert_cuda_reserve(planner, elements_of(b), 4));
    for (int i = 0; i < 4; i++) BERT_CUDA_TRY(bert_cuda_reserve(planner, products, 4));
    if (form->dynamic) {
        const int64_t rows = bert_cuda_desc_count(a, 0, a->rank - 1);
        BERT_CUDA_TRY(bert_cuda_reserve(planner, elements_of(a), 1));
        BERT_CUDA_TRY(bert_cuda_reserve(planner, rows, sizeof(bert_cuda_range)));
        for (int i = 0; i < 3; i++) BERT_CUDA_TRY(bert_cuda_reserve(planner, rows + 1, 4));
    }
    return bert_cuda_own(planner, &one, sizeof one);
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

/* Where a run keeps what; tensors of y's shape. */
typedef struct work {
    bert_tensor a, b;
    bert_tensor sums, part, whole, factor; /* float, int32, int32, float */
    void *rest;
} work;

/* a op b with shapes of the same number of dimensions, each broadcast to that of y. */
static bert_status combine(const bert_cuda_call *call, bert_cuda_elementwise_op op, const bert_tensor *a,
                           const bert_tensor *b, const bert_tensor *y) {
    bert_cuda_elementwise_args args = {.op = op, .rank = y->rank, .dtype = y->dtype, .y = y->data};
    const bert_tensor *terms[2] = {a, b};
    memcpy(args.dims, y->dims, sizeof args.dims);
    for (int i = 0; i < 2; i++) {
        args.inputs[i] = (bert_cuda_operand){.data = terms[i]->data, .dtype = terms[i]->dtype};
        bert_cuda_broadcast_strides(y->rank, terms[i], args.inputs[i].strides);
    }
    return bert_cuda_launched(call, bert_cuda_elementwise(&args, call->context->stream), "elementwise");
}

/* x less its zero point, which belongs to all, or to places along `axis`; y has the shape of x. */
static bert_status subtract_zero_point(const bert_cuda_call *call, const bert_tensor *x, const bert_tensor *zero,
                                       int32_t axis, const bert_tensor *y) {
    bert_cuda_elementwise_args args = {.op = BERT_CUDA_DEQUANTIZE, .rank = x->rank, .dtype = BERT_FLOAT, .y = y->data};
    memcpy(args.dims, x->dims, sizeof args.dims);
    args.inputs[0] = (bert_cuda_operand){.data = x->data, .dtype = x->dtype};
    bert_cuda_dense_strides(x->rank, x->dims, args.inputs[0].strides);
    args.inputs[1] = (bert_cuda_operand){.data = call->node->own, .dtype = BERT_FLOAT};
    if (zero) {
        args.inputs[2] = (bert_cuda_operand){.data = zero->data, .dtype = zero->dtype};
        if (bert_cuda_elements(zero) != 1) args.inputs[2].strides[axis] = 1;
    }
    return bert_cuda_launched(call, bert_cuda_elementwise(&args, call->context->stream), "elementwise");
}

/* The sums of 256 at a time, as int32 in w->whole. */
static bert_status multiply(const bert_cuda_call *call, const work *w, bool transpose_a, bool transpose_b) {
    const bert_cuda_batches shape = bert_cuda_product_batches(&w->a, &w->b, &w->whole);
    const bert_cuda_gemm_args all = bert_cuda_product_sizes(&w->a, &w->b, transpose_a, transpose_b);
    for (int64_t from = 0; from == 0 || from < all.k; from += EXACT_DEPTH) {
        bert_cuda_gemm_args args = all;
        args.kind = BERT_CUDA_GEMM_F32;
        args.k = all.k - from < EXACT_DEPTH ? all.k - from : EXACT_DEPTH;
        args.a = (const float *)all.a + from * (all.transpose_a ? all.lda : 1);
        args.b = (const float *)all.b + from * (all.transpose_b ? 1 : all.ldb);
        args.c = w->sums.data;
        BERT_CUDA_TRY(bert_cuda_multiply_all(call, &shape, &args, 4, 4));
        BERT_CUDA_TRY(bert_cuda_spread(call, &w->sums, from ? &w->part : &w->whole));
        if (from) BERT_CUDA_TRY(combine(call, BERT_CUDA_ADD, &w->whole, &w->part, &w->whole));
    }
    return BERT_OK;
}

/* A scale as it stands before the rows or columns of a matrix. */
static bert_tensor as_matrix(const bert_tensor *scale, bool rows) {
    bert_tensor seen = {.dtype = scale->dtype, .rank = 2, .dims = {1, 1}, .data = scale->data};
    seen.dims[rows ? 0 : 1] = bert_cuda_elements(scale);
    return seen;
}

/* float(sums) x (a_scale x b_scale [/ y_scale]), then the bias, or rounding to bytes. */
static bert_status scale_sums(const bert_cuda_call *call, const operands *form, const bert_tensor *a_scale, work *w) {
    const bert_tensor a = as_matrix(a_scale, true), b = as_matrix(&call->inputs[form->b_scale], false);
    const bert_tensor *y = &call->outputs[0], *y_scale = bert_cuda_input(call, form->y_scale);
    const bert_tensor *bias = is_gemm(form) ? NULL : bert_cuda_input(call, form->bias);
    w->factor.rank = 2;
    w->factor.dims[0] = a.dims[0];
    w->factor.dims[1] = b.dims[1];
    BERT_CUDA_TRY(combine(call, BERT_CUDA_MUL, &a, &b, &w->factor));
    if (y_scale) BERT_CUDA_TRY(combine(call, BERT_CUDA_DIV, &w->factor, y_scale, &w->factor));
    BERT_CUDA_TRY(bert_cuda_spread(call, &w->whole, &w->sums));
    BERT_CUDA_TRY(combine(call, BERT_CUDA_MUL, &w->sums, &w->factor, y_scale || bias ? &w->sums : y));
    if (bias) return combine(call, BERT_CUDA_ADD, &w->sums, bias, y);
    if (!y_scale) return BERT_OK;
    const bert_tensor *zero = &call->inputs[form->y_zero];
    bert_cuda_elementwise_args args = {.op = BERT_CUDA_QUANTIZE, .rank = y->rank, .dtype = y->dtype, .y = y->data};
    memcpy(args.dims, y->dims, sizeof args.dims);
    args.inputs[0] = (bert_cuda_operand){.data = w->sums.data, .dtype = BERT_FLOAT};
    bert_cuda_dense_strides(y->rank, y->dims, args.inputs[0].strides);
    args.inputs[1] = (bert_cuda_operand){.data = call->node->own, .dtype = BERT_FLOAT};
    args.inputs[2] = (bert_cuda_operand){.data = zero->data, .dtype = zero->dtype};
    return bert_cuda_launched(call, bert_cuda_elementwise(&args, call->context->stream), "elementwise");
}

/* a in bytes, its scale and its zero point: DynamicQuantizeLinear. */
static bert_status quantize_a(const bert_cuda_call *call, void *rest, bert_tensor *bytes, bert_tensor *scale,
                              bert_tensor *zero) {
    const bert_tensor *x = &call->inputs[0];
    const int64_t rows = bert_cuda_count(x->dims, 0, x->rank - 1), width = x->dims[x->rank - 1];
    *bytes = *x;
    *scale = (bert_tensor){.dtype = BERT_FLOAT};
    *zero = (bert_tensor){.dtype = BERT_UINT8};
    bytes->dtype = BERT_UINT8;
    bytes->data = bert_cuda_take(&rest, bert_cuda_elements(x), 1);
    bert_cuda_range *ranges = bert_cuda_take(&rest, rows, sizeof *ranges);
    scale->data = bert_cuda_take(&rest, rows + 1, 4);
    int32_t *zero_points = bert_cuda_take(&rest, rows + 1, 4);
    zero->data = bert_cuda_take(&rest, rows + 1, 4);
    return bert_cuda_quantize_by_range(call, x, rows, width, ranges, scale->data, zero_points, zero->data, bytes->data);
}

static work lay_out(const bert_cuda_call *call, const operands *form) {
    void *at = call->workspace;
    const bert_tensor *y = &call->outputs[0];
    const int64_t products = bert_cuda_elements(y);
    work w = {.a = call->inputs[form->a], .b = call->inputs[form->b]};
    w.sums = w.part = w.whole = w.factor = *y;
    w.a.data = bert_cuda_take(&at, bert_cuda_elements(&w.a), 4);
    w.b.data = bert_cuda_take(&at, bert_cuda_elements(&w.b), 4);
    w.sums.data = bert_cuda_take(&at, products, 4);
    w.part.data = bert_cuda_take(&at, products, 4);
    w.whole.data = bert_cuda_take(&at, products, 4);
    w.factor.data = bert_cuda_take(&at, products, 4);
    w.sums.dtype = w.factor.dtype = BERT_FLOAT;
    w.part.dtype = w.whole.dtype = BERT_INT32;
    w.rest = at;
    return w;
}

bert_status bert_cuda_run_matmul_integer(const bert_cuda_call *call) {
    const operands *form = &forms[call->node->op->code];
    const bert_op_node *node = &call->node->node;
    const bert_tensor *a = &call->inputs[form->a], *b = &call->inputs[form->b];
    const bert_tensor *a_scale = bert_cuda_input(call, form->a_scale), *a_zero = bert_cuda_input(call, form->a_zero);
    const bool transpose_a = is_gemm(form) && bert_cuda_int(node, "transA", 0);
    const bool transpose_b = is_gemm(form) && bert_cuda_int(node, "transB", 0);
    bert_tensor bytes, scale, zero;
    work w = lay_out(call, form);
    if (bert_cuda_elements(&call->outputs[0]) == 0) return BERT_OK;
    if (form->dynamic) {
        BERT_CUDA_TRY(quantize_a(call, w.rest, &bytes, &scale, &zero));
        a = &bytes;
        a_scale = &scale;
        a_zero = &zero;
    }
    if (!a_scale) w.whole.data = call->outputs[0].data;
    BERT_CUDA_TRY(subtract_zero_point(call, a, a_zero, a->rank - (transpose_a ? 1 : 2), &w.a));
    BERT_CUDA_TRY(
        subtract_zero_point(call, b, bert_cuda_input(call, form->b_zero), b->rank - (transpose_b ? 2 : 1), &w.b));
    BERT_CUDA_TRY(multiply(call, &w, transpose_a, transpose_b));
    if (!a_scale) return BERT_OK;
    const bert_tensor *integers = is_gemm(form) ? bert_cuda_input(call, form->bias) : NULL;
    if (integers) BERT_CUDA_TRY(combine(call, BERT_CUDA_ADD, &w.whole, integers, &w.whole));
    return scale_sums(call, form, a_scale, &w);
}
