/* MatMul and Gemm, and com.microsoft's FusedMatMul, FusedGemm and GemmFastGelu. */
#include "core/graph/ops/activation.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/product.h"

#include <string.h>

/* ---- MatMul --------------------------------------------------------------------------------------------------------
 */

/* How FusedMatMul reads its operands before it multiplies. All false for MatMul. */
typedef struct layout {
    bool transposed[2]; /* the last two dimensions are swapped */
    bool batch_last[2]; /* [M, batch ..., K]: the batch stands between, that is dimension 0 goes next to the last */
} layout;

static layout layout_of(uint32_t op_id, const bert_attribute *attributes, size_t count) {
    if (op_id != BERT_OP_MS_FusedMatMul) return (layout){0};
    return (layout){.transposed = {bert_attribute_int(attributes, count, "transA", 0) != 0,
                                   bert_attribute_int(attributes, count, "transB", 0) != 0},
                    .batch_last = {bert_attribute_int(attributes, count, "transBatchA", 0) != 0,
                                   bert_attribute_int(attributes, count, "transBatchB", 0) != 0}};
}

/* Dimension i of an operand as MatMul sees it, in its own order of `rank` dimensions (at least 2). */
static int32_t source_axis(const layout *l, int32_t operand, int32_t rank, int32_t i) {
    if (i >= rank - 2 && l->transposed[operand]) i = i == rank - 1 ? rank - 2 : rank - 1;
    if (!l->batch_last[operand] || i == rank - 1) return i;
    return i == rank - 2 ? 0 : i + 1;
}

bert_status bert_infer_matmul(const bert_inference *in) {
    bert_type_set wide =
        BERT_TYPE(BERT_INT32) | BERT_TYPE(BERT_INT64) | BERT_TYPE(BERT_UINT32) | BERT_TYPE(BERT_UINT64);
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_FLOAT | (in->op->id == BERT_OP_MatMul ? wide : 0)));
    BERT_TRY(bert_infer_same_type(in, 0, 1));
    BERT_TRY(bert_infer_rank(in, 0, 1, BERT_MAX_RANK));
    BERT_TRY(bert_infer_rank(in, 1, 1, BERT_MAX_RANK));
    const bert_shape *a = bert_infer_shape(in, 0);
    const bert_shape *b = bert_infer_shape(in, 1);
    bert_dtype dtype = bert_infer_dtype(in, 0);
    layout l = layout_of(in->op->id, in->attributes, in->attribute_count);
    bert_shape seen[2] = {*a, *b};
    for (int32_t i = 0; i < a->rank && a->rank > 1; i++) seen[0].dims[i] = a->dims[source_axis(&l, 0, a->rank, i)];
    for (int32_t i = 0; i < b->rank && b->rank > 1; i++) seen[1].dims[i] = b->dims[source_axis(&l, 1, b->rank, i)];
    bert_shape shape;
    BERT_TRY(bert_infer_product(in, &seen[0], &seen[1], &shape));
    bert_infer_give(in, 0, dtype, &shape);
    return BERT_OK;
}

/* One matrix of a batch. */
static void multiply_one(const bert_batched_product *p, double alpha, const bert_tensor *y, void *scratch) {
    for (int64_t row = 0; row < p->rows; row += BERT_PRODUCT_ROWS) {
        int64_t count = p->rows - row < BERT_PRODUCT_ROWS ? p->rows - row : BERT_PRODUCT_ROWS;
        int64_t to = p->start + row * p->columns;
        if (bert_dtype_is_float(y->dtype)) {
            double *sums = scratch;
            bert_product_rows(&p->a, &p->b, row, count, p->depth, p->columns, sums);
            for (int64_t i = 0; i < count * p->columns; i++) bert_store(y, to + i, alpha * sums[i]);
        } else {
            uint64_t *sums = scratch;
            bert_integer_product_rows(&p->a, &p->b, row, count, p->depth, p->columns, sums);
            for (int64_t i = 0; i < count * p->columns; i++) bert_store_integer(y, to + i, (bert_integer)sums[i]);
        }
    }
}

bert_status bert_reference_matmul(const bert_reference_call *call) {
    layout l = layout_of(call->op->id, call->attributes, call->attribute_count);
    int32_t axes[2][BERT_MAX_RANK];
    for (int32_t operand = 0; operand < 2; operand++) {
        int32_t rank = call->inputs[operand].rank;
        for (int32_t i = 0; i < rank; i++) axes[operand][i] = rank > 1 ? source_axis(&l, operand, rank, i) : i;
    }
    double alpha = call->op->id == BERT_OP_MS_FusedMatMul ? BERT_CALL_FLOAT(call, "alpha", 1.0F) : 1;
    bert_batched_product product = bert_batched_product_begin(&call->inputs[0], axes[0], &call->inputs[1], axes[1]);
    while (bert_batched_product_step(&product)) multiply_one(&product, alpha, &call->outputs[0], call->workspace);
    return BERT_OK;
}

size_t bert_workspace_matmul(const bert_op_node *node) {
    const bert_tensor_desc *b = &node->inputs[1];
    layout l = layout_of(node->op_id, node->attributes, node->attribute_count);
    return bert_product_workspace(b->rank > 1 ? b->dims[source_axis(&l, 1, b->rank, b->rank - 1)] : 1);
}

/* ---- Gemm ----------------------------------------------------------------------------------------------------------
 */

/* FusedGemm names an ONNX operator as its activation. */
static bert_unary_fn fused_activation(const char *name) {
    static const struct {
        const char *name;
        bert_unary_fn function;
    } activations[] = {{"", bert_identity}, {"Relu", bert_relu}, {"Tanh", bert_tanh}, {"Sigmoid", bert_sigmoid}};
    for (size_t i = 0; i < sizeof activations / sizeof activations[0]; i++) {
        if (strcmp(activations[i].name, name) == 0) return activations[i].function;
    }
    return NULL;
}

bert_status bert_infer_gemm(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_same_type(in, 0, 1));
    BERT_TRY(bert_infer_same_type(in, 0, 2));
    BERT_TRY(bert_infer_rank(in, 0, 2, 2));
    BERT_TRY(bert_infer_rank(in, 1, 2, 2));
    const char *activation = BERT_INFER_STRING(in, "activation", "");
    if (in->op->id == BERT_OP_MS_FusedGemm && !fused_activation(activation)) {
        return bert_fail(in->error, BERT_UNSUPPORTED, "FusedGemm's activation is %s; it may be Relu, Tanh or Sigmoid",
                         activation);
    }
    const bert_shape *a = bert_infer_shape(in, 0);
    const bert_shape *b = bert_infer_shape(in, 1);
    bool transposed[2] = {BERT_INFER_INT(in, "transA", 0) != 0, BERT_INFER_INT(in, "transB", 0) != 0};
    bert_shape shape = {.rank = 2};
    shape.dims[0] = a->rank == 2 ? a->dims[transposed[0] ? 1 : 0] : bert_dim_fresh(in->symbols);
    shape.dims[1] = b->rank == 2 ? b->dims[transposed[1] ? 0 : 1] : bert_dim_fresh(in->symbols);
    if (a->rank == 2 && b->rank == 2) {
        BERT_TRY(bert_infer_equal(in, a->dims[transposed[0] ? 0 : 1], b->dims[transposed[1] ? 1 : 0],
                                  "the columns of A and the rows of B", NULL));
    }
    BERT_TRY(bert_infer_broadcasts_to(in, 2, &shape));
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &shape);
    return BERT_OK;
}

bert_status bert_reference_gemm(const bert_reference_call *call) {
    const bert_tensor *y = &call->outputs[0];
    const bert_tensor *a = &call->inputs[0];
    const bert_tensor *b = &call->inputs[1];
    const bert_tensor *c = bert_call_input(call, 2);
    bool transpose_a = BERT_CALL_INT(call, "transA", 0) != 0;
    bool transpose_b = BERT_CALL_INT(call, "transB", 0) != 0;
    double alpha = BERT_CALL_FLOAT(call, "alpha", 1.0F);
    double beta = BERT_CALL_FLOAT(call, "beta", 1.0F);
    bert_unary_fn activation = bert_identity;
    if (call->op->id == BERT_OP_MS_FusedGemm) activation = fused_activation(BERT_CALL_STRING(call, "activation", ""));
    bert_matrix left = {a, 0, transpose_a ? 1 : a->dims[1], transpose_a ? a->dims[1] : 1};
    bert_matrix right = {b, 0, transpose_b ? 1 : b->dims[1], transpose_b ? b->dims[1] : 1};
    int64_t depth = a->dims[transpose_a ? 0 : 1];
    int64_t columns = y->dims[1];
    double *sums = call->workspace;
    bert_loop loop = bert_loop_over(y->rank, y->dims);
    if (c) bert_loop_add(&loop, c);
    for (; loop.left; bert_loop_next(&loop)) {
        int64_t row = loop.position / columns;
        int64_t within = loop.position - row / BERT_PRODUCT_ROWS * BERT_PRODUCT_ROWS * columns;
        if (within == 0) {
            int64_t count = y->dims[0] - row < BERT_PRODUCT_ROWS ? y->dims[0] - row : BERT_PRODUCT_ROWS;
            bert_product_rows(&left, &right, row, count, depth, columns, sums);
        }
        double value = alpha * sums[within] + (c ? beta * bert_load(c, loop.offset[0]) : 0);
        bert_store(y, loop.position, activation(value, 0));
    }
    return BERT_OK;
}

size_t bert_workspace_gemm(const bert_op_node *node) {
    return bert_product_workspace(node->outputs[0].dims[1]);
}

/* ---- GemmFastGelu: gelu(X W + bias), X of any rank -----------------------------------------------------------------
 */

bert_status bert_infer_gemm_fast_gelu(const bert_inference *in) {
    BERT_TRY(bert_infer_matmul(in));
    BERT_TRY(bert_infer_same_type(in, 0, 2));
    BERT_TRY(bert_infer_rank(in, 1, 2, 2));
    return bert_infer_broadcasts_to(in, 2, &in->outputs[0]->shape);
}

bert_status bert_reference_gemm_fast_gelu(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *y = &call->outputs[0];
    const bert_tensor *bias = bert_call_input(call, 2);
    int64_t depth = x->dims[x->rank - 1];
    int64_t columns = y->dims[y->rank - 1];
    int64_t rows = bert_dims_product(x, 0, x->rank - 1);
    bert_matrix left = {x, 0, depth, 1};
    bert_matrix right = {&call->inputs[1], 0, columns, 1};
    double *sums = call->workspace;
    for (int64_t row = 0; row < rows; row += BERT_PRODUCT_ROWS) {
        int64_t count = rows - row < BERT_PRODUCT_ROWS ? rows - row : BERT_PRODUCT_ROWS;
        bert_product_rows(&left, &right, row, count, depth, columns, sums);
        for (int64_t i = 0; i < count * columns; i++) {
            double value = sums[i] + (bias ? bert_load(bias, i % columns) : 0);
            bert_store(y, row * columns + i, bert_gelu_tanh(value, 0));
        }
    }
    return BERT_OK;
}
