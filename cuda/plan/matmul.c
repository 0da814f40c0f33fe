/* Products of two activations, and those that passes left as the file has them. */
#include "cuda/ops/bias_activation.h"
#include "cuda/ops/elementwise.h"
#include "cuda/plan/plan.h"

#include <string.h>

/* ---- Many products ----------------------------------------------------------------------------------------------- */

/* The dimensions before the matrices, of which neighbours are joined where both operands go through them evenly. */
typedef struct batch_shape {
    int32_t rank;
    int64_t dims[BERT_MAX_RANK], a[BERT_MAX_RANK], b[BERT_MAX_RANK]; /* strides, 0 where an operand is broadcast */
} batch_shape;

static void set_strides(const bert_tensor *tensor, int32_t rank, int64_t strides[BERT_MAX_RANK]) {
    int64_t stride = tensor->rank > 1 ? bert_cuda_count(tensor->dims, tensor->rank - 2, tensor->rank) : 0;
    for (int32_t back = 1; back <= rank; back++) {
        const int32_t at = tensor->rank - 2 - back;
        strides[rank - back] = 0;
        if (at < 0) continue;
        strides[rank - back] = tensor->dims[at] == 1 ? 0 : stride;
        stride *= tensor->dims[at];
    }
}

static batch_shape batches_of(const bert_tensor *a, const bert_tensor *b, int32_t rank, const int64_t *dims) {
    int64_t a_strides[BERT_MAX_RANK] = {0}, b_strides[BERT_MAX_RANK] = {0};
    batch_shape shape = {0};
    set_strides(a, rank, a_strides);
    set_strides(b, rank, b_strides);
    for (int32_t i = 0; i < rank; i++) {
        const int32_t last = shape.rank - 1;
        if (dims[i] == 1) continue;
        if (last >= 0 && shape.a[last] == a_strides[i] * dims[i] && shape.b[last] == b_strides[i] * dims[i]) {
            shape.dims[last] *= dims[i];
            shape.a[last] = a_strides[i];
            shape.b[last] = b_strides[i];
            continue;
        }
        shape.dims[shape.rank] = dims[i];
        shape.a[shape.rank] = a_strides[i];
        shape.b[shape.rank++] = b_strides[i];
    }
    return shape;
}

/* The last joined dimension is one call's batch; `args` has everything else. */
static bert_status multiply_all(const bert_cuda_call *call, const batch_shape *shape, bert_cuda_gemm_args *args,
                                size_t element, size_t result) {
    const char *a = args->a, *b = args->b;
    char *c = args->c;
    const int32_t outer_rank = shape->rank ? shape->rank - 1 : 0;
    const int64_t outer = bert_cuda_count(shape->dims, 0, outer_rank);
    args->batch = 1;
    args->stride_c = args->m * args->n;
    if (shape->rank) {
        args->batch = shape->dims[outer_rank];
        args->stride_a = shape->a[outer_rank];
        args->stride_b = shape->b[outer_rank];
    }
    const bool one_right_side = shape->rank == 1 && args->stride_b == 0 && !args->transpose_a;
    if (one_right_side && args->stride_a == args->m * args->lda) { /* one tall product */
        args->m *= args->batch;
        args->batch = 1;
    }
    for (int64_t i = 0; i < outer; i++) {
        int64_t rest = i, a_at = 0, b_at = 0;
        for (int32_t d = outer_rank - 1; d >= 0; d--) {
            a_at += rest % shape->dims[d] * shape->a[d];
            b_at += rest % shape->dims[d] * shape->b[d];
            rest /= shape->dims[d];
        }
        args->a = a + (size_t)a_at * element;
        args->b = b + (size_t)b_at * element;
        args->c = c + (size_t)(i * args->batch * args->stride_c) * result;
        BERT_CUDA_TRY(bert_cuda_multiply(call, args));
    }
    return BERT_OK;
}

/* Sizes of matrices, seen as they are multiplied. A vector is a row on the left, a column on the right. */
static bert_cuda_gemm_args sizes_of(const bert_tensor *a, const bert_tensor *b, bool transpose_a, bool transpose_b) {
    bert_cuda_gemm_args args = {.transpose_a = transpose_a && a->rank > 1,
                                .transpose_b = transpose_b && b->rank > 1,
                                .alpha = 1,
                                .a = a->data,
                                .b = b->data};
    const int64_t rows = a->rank > 1 ? a->dims[a->rank - 2] : 1, inner = a->dims[a->rank - 1];
    args.m = args.transpose_a ? inner : rows;
    args.k = args.transpose_a ? rows : inner;
    args.lda = inner;
    args.n = b->rank > 1 ? b->dims[b->rank - (args.transpose_b ? 2 : 1)] : 1;
    args.ldb = b->rank > 1 ? b->dims[b->rank - 1] : 1;
    args.ldc = args.n;
    return args;
}

/* The dimensions of y before its matrices. */
static batch_shape batches(const bert_tensor *a, const bert_tensor *b, const bert_tensor *y) {
    const int32_t matrix = (a->rank > 1) + (b->rank > 1);
    return batches_of(a, b, y->rank > matrix ? y->rank - matrix : 0, y->dims);
}

/* ---- MatMul ------------------------------------------------------------------------------------------------------ */

bert_status bert_cuda_plan_matmul(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    if (!bert_cuda_is_float(node, 0) || node->inputs[1].dtype != node->inputs[0].dtype)
        return bert_cuda_leave(planner, "computes in float32, float16 and bfloat16 only");
    if (bert_cuda_int(node, "transBatchA", 0) || bert_cuda_int(node, "transBatchB", 0))
        return bert_cuda_leave(planner, "has no kernel for batches that are transposed");
    return BERT_OK;
}

/* MatMul, FusedMatMul and GemmFastGelu. */
bert_status bert_cuda_run_matmul(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const bert_tensor *a = &call->inputs[0], *b = &call->inputs[1], *y = &call->outputs[0];
    bert_cuda_gemm_args args =
        sizes_of(a, b, bert_cuda_int(node, "transA", 0) != 0, bert_cuda_int(node, "transB", 0) != 0);
    const batch_shape shape = batches(a, b, y);
    const size_t size = bert_cuda_dtype_size(a->dtype);
    args.kind = bert_cuda_product_kind(call->node->prepared, a->dtype);
    args.alpha = bert_cuda_float(node, "alpha", 1.0F);
    args.c = y->data;
    BERT_CUDA_TRY(multiply_all(call, &shape, &args, size, size));
    if (call->node->op->code == 0) return BERT_OK;
    const bert_cuda_bias_activation_args gelu = {.dtype = y->dtype,
                                                 .activation = BERT_CUDA_GELU_TANH,
                                                 .rows = bert_cuda_count(y->dims, 0, y->rank - 1),
                                                 .width = y->dims[y->rank - 1],
                                                 .x = y->data,
                                                 .bias = bert_cuda_input_data(call, 2),
                                                 .y = y->data};
    return bert_cuda_launched(call, bert_cuda_bias_activation(&gelu, call->context->stream), "bias_activation");
}

/* ---- Gemm -------------------------------------------------------------------------------------------------------- */

static bool find_gemm_activation(const bert_op_node *node, bert_cuda_activation *out) {
    const char *name = bert_cuda_string(node, "activation", "");
    *out = BERT_CUDA_NONE;
    if (strcmp(name, "Relu") == 0) *out = BERT_CUDA_RELU;
    if (strcmp(name, "Tanh") == 0) *out = BERT_CUDA_TANH;
    return name[0] == 0 || *out != BERT_CUDA_NONE;
}

bert_status bert_cuda_plan_gemm(const bert_cuda_planner *planner) {
    bert_cuda_activation activation;
    if (!bert_cuda_is_float(planner->node, 0))
        return bert_cuda_leave(planner, "computes in float32, float16 and bfloat16 only");
    if (!find_gemm_activation(planner->node, &activation))
        return bert_cuda_leave(planner, "has no kernel for this activation");
    return BERT_OK;
}

/* C, broadcast, is in y when the product is added to it. */
bert_status bert_cuda_run_gemm(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const bert_tensor *c = bert_cuda_input(call, 2), *y = &call->outputs[0];
    bert_cuda_gemm_args args = sizes_of(&call->inputs[0], &call->inputs[1], bert_cuda_int(node, "transA", 0) != 0,
                                        bert_cuda_int(node, "transB", 0) != 0);
    args.kind = bert_cuda_product_kind(call->node->prepared, y->dtype);
    args.alpha = bert_cuda_float(node, "alpha", 1.0F);
    args.beta = c ? bert_cuda_float(node, "beta", 1.0F) : 0;
    args.c = y->data;
    args.batch = 1;
    if (args.beta != 0) BERT_CUDA_TRY(bert_cuda_spread(call, c, y));
    BERT_CUDA_TRY(bert_cuda_multiply(call, &args));
    bert_cuda_activation activation = BERT_CUDA_NONE;
    if (!find_gemm_activation(node, &activation) || activation == BERT_CUDA_NONE) return BERT_OK;
    const bert_cuda_bias_activation_args last = {
        .dtype = y->dtype, .activation = activation, .rows = args.m, .width = args.n, .x = y->data, .y = y->data};
    return bert_cuda_launched(call, bert_cuda_bias_activation(&last, call->context->stream), "bias_activation");
}

/* ---- MatMulInteger ----------------------------------------------------------------------------------------------- */

/*
 * Bytes less their zero points as float32, whose products and their sums over up to 256 are exact (255 x 255 x 256 is
 * below 2^24); what 256 give is added as int32.
 */
enum { EXACT_DEPTH = 256 };

bert_status bert_cuda_plan_matmul_integer(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    static const float one = 1.0F;
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    for (int32_t i = 2; i < 4; i++) {
        if (bert_cuda_node_has(node, i) && node->inputs[i].rank > 1)
            return bert_cuda_leave(planner, "takes zero points of one tensor, row or column");
    }
    if (node->inputs[0].rank < 2 || node->inputs[1].rank < 2)
        return bert_cuda_leave(planner, "takes matrices, not vectors");
    for (int32_t i = 0; i < 2; i++)
        BERT_CUDA_TRY(bert_cuda_reserve(planner, bert_cuda_desc_count(&node->inputs[i], 0, node->inputs[i].rank), 4));
    for (int32_t i = 0; i < 2; i++)
        BERT_CUDA_TRY(bert_cuda_reserve(planner, bert_cuda_desc_count(&node->outputs[0], 0, node->outputs[0].rank), 4));
    return bert_cuda_own(planner, &one, sizeof one);
}

/* x less its zero point, which belongs to all, or to places along `axis`. */
static bert_status subtract_zero_point(const bert_cuda_call *call, int32_t input, int32_t axis, float *out) {
    const bert_tensor *x = &call->inputs[input], *zero = bert_cuda_input(call, input + 2);
    bert_cuda_elementwise_args args = {.op = BERT_CUDA_DEQUANTIZE, .rank = x->rank, .dtype = BERT_FLOAT, .y = out};
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

static bert_status add_sums(const bert_cuda_call *call, const bert_tensor *sums, const bert_tensor *whole, bool first) {
    const bert_tensor *y = &call->outputs[0];
    if (first) return bert_cuda_spread(call, sums, y);
    BERT_CUDA_TRY(bert_cuda_spread(call, sums, whole));
    bert_cuda_elementwise_args args = {.op = BERT_CUDA_ADD, .rank = y->rank, .dtype = BERT_INT32, .y = y->data};
    memcpy(args.dims, y->dims, sizeof args.dims);
    const bert_tensor *terms[2] = {y, whole};
    for (int i = 0; i < 2; i++) {
        args.inputs[i] = (bert_cuda_operand){.data = terms[i]->data, .dtype = BERT_INT32};
        bert_cuda_dense_strides(y->rank, y->dims, args.inputs[i].strides);
    }
    return bert_cuda_launched(call, bert_cuda_elementwise(&args, call->context->stream), "elementwise");
}

bert_status bert_cuda_run_matmul_integer(const bert_cuda_call *call) {
    const bert_tensor *y = &call->outputs[0];
    bert_tensor a = call->inputs[0], b = call->inputs[1], sums = *y, whole = *y;
    void *workspace = call->workspace;
    a.data = bert_cuda_take(&workspace, bert_cuda_elements(&a), 4);
    b.data = bert_cuda_take(&workspace, bert_cuda_elements(&b), 4);
    sums.data = bert_cuda_take(&workspace, bert_cuda_elements(y), 4);
    whole.data = bert_cuda_take(&workspace, bert_cuda_elements(y), 4);
    sums.dtype = BERT_FLOAT;
    BERT_CUDA_TRY(subtract_zero_point(call, 0, a.rank - 2, a.data));
    BERT_CUDA_TRY(subtract_zero_point(call, 1, b.rank - 1, b.data));
    const batch_shape shape = batches(&a, &b, y);
    const bert_cuda_gemm_args all = sizes_of(&a, &b, false, false);
    for (int64_t from = 0; from == 0 || from < all.k; from += EXACT_DEPTH) {
        bert_cuda_gemm_args args = all;
        args.kind = BERT_CUDA_GEMM_F32;
        args.k = all.k - from < EXACT_DEPTH ? all.k - from : EXACT_DEPTH;
        args.a = (const float *)a.data + from;
        args.b = (const float *)b.data + from * args.ldb;
        args.c = sums.data;
        BERT_CUDA_TRY(multiply_all(call, &shape, &args, 4, 4));
        BERT_CUDA_TRY(add_sums(call, &sums, &whole, from == 0));
    }
    return BERT_OK;
}
