/* Products of two activations, and those that passes left as the file has them. */
#include "cuda/ops/bias_activation.h"
#include "cuda/plan/products.h"

#include <string.h>

/* ---- Many products ----------------------------------------------------------------------------------------------- */

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

static bert_cuda_batches batches_of(const bert_tensor *a, const bert_tensor *b, int32_t rank, const int64_t *dims) {
    int64_t a_strides[BERT_MAX_RANK] = {0}, b_strides[BERT_MAX_RANK] = {0};
    bert_cuda_batches shape = {0};
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

bert_status bert_cuda_multiply_all(const bert_cuda_call *call, const bert_cuda_batches *shape,
                                   bert_cuda_gemm_args *args, size_t element, size_t result) {
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

bert_cuda_gemm_args bert_cuda_product_sizes(const bert_tensor *a, const bert_tensor *b, bool transpose_a,
                                            bool transpose_b) {
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

bert_cuda_batches bert_cuda_product_batches(const bert_tensor *a, const bert_tensor *b, const bert_tensor *y) {
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
        bert_cuda_product_sizes(a, b, bert_cuda_int(node, "transA", 0) != 0, bert_cuda_int(node, "transB", 0) != 0);
    const bert_cuda_batches shape = bert_cuda_product_batches(a, b, y);
    const size_t size = bert_cuda_dtype_size(a->dtype);
    args.kind = bert_cuda_product_kind(call->node->prepared, a->dtype);
    args.alpha = bert_cuda_float(node, "alpha", 1.0F);
    args.c = y->data;
    BERT_CUDA_TRY(bert_cuda_multiply_all(call, &shape, &args, size, size));
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
    bert_cuda_gemm_args args =
        bert_cuda_product_sizes(&call->inputs[0], &call->inputs[1], bert_cuda_int(node, "transA", 0) != 0,
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
