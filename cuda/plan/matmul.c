/* Products of two activations, and those that passes left as the file has them. */
#include "cuda/ops/product.h"
#include "cuda/plan/products.h"

#include <string.h>

/* ---- Many products ----------------------------------------------------------------------------------------------- */

bert_cuda_matrices bert_cuda_matrices_of(const bert_tensor *tensor, bool left, bool batch_last) {
    bert_cuda_matrices m = {.data = tensor->data};
    if (tensor->rank < 2) {
        m.vector = true;
        m.rows = left ? 1 : tensor->dims[0];
        m.columns = m.pitch = left ? tensor->dims[0] : 1;
        return m;
    }
    int64_t strides[BERT_MAX_RANK];
    bert_cuda_dense_strides(tensor->rank, tensor->dims, strides);
    const int32_t rows = batch_last ? 0 : tensor->rank - 2;
    m.rows = tensor->dims[rows];
    m.columns = tensor->dims[tensor->rank - 1];
    m.pitch = strides[rows];
    m.rank = tensor->rank - 2;
    for (int32_t i = 0; i < m.rank; i++) {
        m.dims[i] = tensor->dims[batch_last ? i + 1 : i];
        m.strides[i] = strides[batch_last ? i + 1 : i];
    }
    return m;
}

/* Dimension `back` from the end of what stands before the matrices; 1 where there is none. */
static int64_t dim_of(const bert_cuda_matrices *m, int32_t back, int64_t *stride) {
    const int32_t at = m->rank - back;
    *stride = at < 0 || m->dims[at] == 1 ? 0 : m->strides[at];
    return at < 0 ? 1 : m->dims[at];
}

bert_cuda_batches bert_cuda_product_batches(const bert_cuda_matrices *a, const bert_cuda_matrices *b) {
    bert_cuda_batches shape = {0};
    for (int32_t back = a->rank > b->rank ? a->rank : b->rank; back > 0; back--) {
        const int32_t last = shape.rank - 1;
        int64_t a_stride, b_stride;
        const int64_t of_a = dim_of(a, back, &a_stride), of_b = dim_of(b, back, &b_stride);
        const int64_t dim = of_a == 1 ? of_b : of_a;
        if (dim == 1) continue;
        if (last >= 0 && shape.a[last] == a_stride * dim && shape.b[last] == b_stride * dim) {
            shape.dims[last] *= dim;
            shape.a[last] = a_stride;
            shape.b[last] = b_stride;
            continue;
        }
        shape.dims[shape.rank] = dim;
        shape.a[shape.rank] = a_stride;
        shape.b[shape.rank++] = b_stride;
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

bert_cuda_gemm_args bert_cuda_product_sizes(const bert_cuda_matrices *a, const bert_cuda_matrices *b, bool transpose_a,
                                            bool transpose_b) {
    bert_cuda_gemm_args args = {.transpose_a = transpose_a && !a->vector,
                                .transpose_b = transpose_b && !b->vector,
                                .alpha = 1,
                                .a = a->data,
                                .b = b->data,
                                .lda = a->pitch,
                                .ldb = b->pitch};
    args.m = args.transpose_a ? a->columns : a->rows;
    args.k = args.transpose_a ? a->rows : a->columns;
    args.n = args.transpose_b ? b->rows : b->columns;
    args.ldc = args.n;
    return args;
}

/* Of types that the library has no products of. */
static bert_status multiply_plainly(const bert_cuda_call *call, bert_dtype dtype, const bert_cuda_batches *shape,
                                    const bert_cuda_gemm_args *sizes) {
    bert_cuda_product_args args = {
        .dtype = dtype,
        .rank = shape->rank,
        .m = sizes->m,
        .n = sizes->n,
        .k = sizes->k,
        .a = {.data = sizes->a, .row = sizes->lda, .column = 1},
        .b = {.data = sizes->b, .row = sizes->ldb, .column = 1},
        .c = sizes->c,
        .alpha = (double)sizes->alpha,
        .beta = (double)sizes->beta,
    };
    memcpy(args.dims, shape->dims, sizeof args.dims);
    memcpy(args.a.batch, shape->a, sizeof args.a.batch);
    memcpy(args.b.batch, shape->b, sizeof args.b.batch);
    if (sizes->transpose_a) {
        args.a.row = 1;
        args.a.column = sizes->lda;
    }
    if (sizes->transpose_b) {
        args.b.row = 1;
        args.b.column = sizes->ldb;
    }
    return bert_cuda_launched(call, bert_cuda_product(&args, call->context->stream), "product");
}

/* By the library where it has products of the type. */
static bert_status multiply_typed(const bert_cuda_call *call, bert_dtype dtype, const bert_cuda_batches *shape,
                                  bert_cuda_gemm_args *args) {
    const size_t size = bert_cuda_dtype_size(dtype);
    if (dtype != BERT_FLOAT && dtype != BERT_FLOAT16 && dtype != BERT_BFLOAT16)
        return multiply_plainly(call, dtype, shape, args);
    args->kind = bert_cuda_product_kind(call->node->prepared, dtype);
    return bert_cuda_multiply_all(call, shape, args, size, size);
}

static bool is_product_type(bert_dtype dtype) {
    switch (dtype) {
    case BERT_FLOAT:
    case BERT_FLOAT16:
    case BERT_BFLOAT16:
    case BERT_DOUBLE:
    case BERT_INT32:
    case BERT_UINT32:
    case BERT_INT64:
    case BERT_UINT64:
        return true;
    default:
        return false;
    }
}

static bert_status check_types(const bert_cuda_planner *planner) {
    const bert_tensor_desc *inputs = planner->node->inputs;
    if (!is_product_type(inputs[0].dtype) || inputs[1].dtype != inputs[0].dtype)
        return bert_cuda_leave(planner, "has no kernel for this type");
    return BERT_OK;
}

/* ---- MatMul ------------------------------------------------------------------------------------------------------ */

bert_status bert_cuda_plan_matmul(const bert_cuda_planner *planner) {
    return check_types(planner);
}

/* MatMul, FusedMatMul and GemmFastGelu. */
bert_status bert_cuda_run_matmul(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const bert_tensor *y = &call->outputs[0];
    const bert_cuda_matrices a =
        bert_cuda_matrices_of(&call->inputs[0], true, BERT_NODE_INT(node, "transBatchA", 0) != 0);
    const bert_cuda_matrices b =
        bert_cuda_matrices_of(&call->inputs[1], false, BERT_NODE_INT(node, "transBatchB", 0) != 0);
    const bert_cuda_batches shape = bert_cuda_product_batches(&a, &b);
    bert_cuda_gemm_args args =
        bert_cuda_product_sizes(&a, &b, BERT_NODE_INT(node, "transA", 0) != 0, BERT_NODE_INT(node, "transB", 0) != 0);
    args.alpha = BERT_NODE_FLOAT(node, "alpha", 1.0F);
    args.c = y->data;
    BERT_CUDA_TRY(multiply_typed(call, y->dtype, &shape, &args));
    if (call->node->op->code == 0) return BERT_OK;
    return bert_cuda_combine(call, BERT_CUDA_BIAS_GELU_TANH, y, bert_cuda_input(call, 2), y);
}

/* ---- Gemm -------------------------------------------------------------------------------------------------------- */

/* FusedGemm's, which are named as ONNX names operators. */
static bool find_gemm_activation(const bert_op_node *node, bert_cuda_elementwise_op *out) {
    static const struct {
        const char *name;
        bert_cuda_elementwise_op op;
    } activations[] = {
        {"", BERT_CUDA_CAST}, {"Relu", BERT_CUDA_RELU_OF}, {"Tanh", BERT_CUDA_TANH_OF}, {"Sigmoid", BERT_CUDA_SIGMOID}};
    const char *name = BERT_NODE_STRING(node, "activation", "");
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        if (strcmp(activations[i].name, name) != 0) continue;
        *out = activations[i].op;
        return true;
    }
    return false;
}

bert_status bert_cuda_plan_gemm(const bert_cuda_planner *planner) {
    bert_cuda_elementwise_op activation;
    if (!find_gemm_activation(planner->node, &activation))
        return bert_cuda_leave(planner, "has no kernel for this activation");
    return check_types(planner);
}

/* C, broadcast, is in y when the product is added to it. */
bert_status bert_cuda_run_gemm(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const bert_tensor *c = bert_cuda_input(call, 2), *y = &call->outputs[0];
    const bert_cuda_matrices a = bert_cuda_matrices_of(&call->inputs[0], true, false);
    const bert_cuda_matrices b = bert_cuda_matrices_of(&call->inputs[1], false, false);
    const bert_cuda_batches one = {0};
    bert_cuda_gemm_args args =
        bert_cuda_product_sizes(&a, &b, BERT_NODE_INT(node, "transA", 0) != 0, BERT_NODE_INT(node, "transB", 0) != 0);
    args.alpha = BERT_NODE_FLOAT(node, "alpha", 1.0F);
    args.beta = c ? BERT_NODE_FLOAT(node, "beta", 1.0F) : 0;
    args.c = y->data;
    if (args.beta != 0) BERT_CUDA_TRY(bert_cuda_spread(call, c, y));
    BERT_CUDA_TRY(multiply_typed(call, y->dtype, &one, &args));
    bert_cuda_elementwise_op activation = BERT_CUDA_CAST;
    if (!find_gemm_activation(node, &activation) || activation == BERT_CUDA_CAST) return BERT_OK;
    return bert_cuda_combine(call, activation, y, NULL, y);
}
