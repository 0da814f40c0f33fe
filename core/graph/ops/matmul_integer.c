/*
 * Products of quantized matrices: MatMulInteger, QLinearMatMul, and com.microsoft's MatMulIntegerToFloat,
 * DynamicQuantizeMatMul and QGemm. All are one loop over the 32-bit sums, which each turns into its own output.
 */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/quantized.h"

/* ---- Inference ------------------------------------------------------------------------------------------------------
 */

/* Inputs of each operator: -1 for what it doesn't have. */
typedef struct operands {
    int32_t a, b, a_scale, b_scale, a_zero, b_zero, bias, y_scale, y_zero;
} operands;

static operands operands_of(uint32_t op_id) {
    switch (op_id) {
    case BERT_OP_MatMulInteger:
        return (operands){0, 1, -1, -1, 2, 3, -1, -1, -1};
    case BERT_OP_QLinearMatMul:
        return (operands){0, 3, 1, 4, 2, 5, -1, 6, 7};
    case BERT_OP_MS_MatMulIntegerToFloat:
        return (operands){0, 1, 2, 3, 4, 5, 6, -1, -1};
    case BERT_OP_MS_QGemm:
        return (operands){0, 3, 1, 4, 2, 5, 6, 7, 8};
    default: /* DynamicQuantizeMatMul */
        return (operands){0, 1, -1, 2, -1, 3, 4, -1, -1};
    }
}

/* A scale or zero point: one element, one for each of `count`, or (N-dimensional) one for each of each matrix. */
static bert_status infer_per_index(const bert_inference *in, int32_t input, int32_t operand, bert_dim count,
                                   const char *what) {
    const bert_shape *shape = bert_infer_shape(in, input);
    if (shape->rank < 0) return BERT_OK;
    bert_dim elements = bert_shape_elements(in, shape);
    if (elements == 1 || elements == count || !bert_dim_known(elements) || !bert_dim_known(count)) return BERT_OK;
    const bert_shape *matrix = bert_infer_shape(in, operand);
    if (shape->rank > 1 && matrix->rank > 2) {
        bert_dim matrices = bert_shape_product(in, matrix, 0, matrix->rank - 2);
        bert_dim all = bert_dim_multiply(in->symbols, matrices, count);
        if (!bert_dim_known(all) || elements == all) return BERT_OK;
    }
    return bert_infer_equal(in, elements, count, what, NULL);
}

/* Types and sizes of what stands beside the matrices. */
static bert_status infer_parameters(const bert_inference *in, const operands *o, bert_dim rows, bert_dim columns) {
    BERT_TRY(bert_infer_type(in, o->a_scale, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_type(in, o->b_scale, BERT_TYPES_FLOAT));
    if (o->a_zero >= 0) BERT_TRY(bert_infer_same_type(in, o->a, o->a_zero));
    BERT_TRY(bert_infer_same_type(in, o->b, o->b_zero));
    BERT_TRY(infer_per_index(in, o->a_scale, o->a, rows, "the scales and the rows of A"));
    BERT_TRY(infer_per_index(in, o->a_zero, o->a, rows, "the zero points and the rows of A"));
    BERT_TRY(infer_per_index(in, o->b_scale, o->b, columns, "the scales and the columns of B"));
    BERT_TRY(infer_per_index(in, o->b_zero, o->b, columns, "the zero points and the columns of B"));
    for (int32_t i = 0; i < 2; i++) {
        int32_t input = i ? o->y_zero : o->y_scale;
        if (!bert_infer_input(in, input)) continue;
        BERT_TRY(bert_infer_equal(in, bert_shape_elements(in, bert_infer_shape(in, input)), 1,
                                  "the elements of the output's scale or zero point", NULL));
    }
    return BERT_OK;
}

/* Output 0 of an operator with MatMul's shape rules. */
static bert_status infer_product(const bert_inference *in, bert_dtype dtype) {
    operands o = operands_of(in->op->id);
    bert_type_set a_types = BERT_TYPES_BYTE;
    if (in->op->id == BERT_OP_MS_DynamicQuantizeMatMul) a_types = BERT_TYPE(BERT_FLOAT) | BERT_TYPE(BERT_DOUBLE);
    BERT_TRY(bert_infer_type(in, o.a, a_types));
    BERT_TRY(bert_infer_type(in, o.b, BERT_TYPES_BYTE));
    bert_shape a = *bert_infer_shape(in, o.a);
    bert_shape b = *bert_infer_shape(in, o.b);
    if (in->op->id == BERT_OP_MS_QGemm) {
        BERT_TRY(bert_infer_rank(in, o.a, 2, 2));
        BERT_TRY(bert_infer_rank(in, o.b, 2, 2));
        const bert_shape *from = bert_infer_shape(in, o.a);
        if (a.rank == 2 && BERT_INFER_INT(in, "transA", 0)) a = (bert_shape){2, {from->dims[1], from->dims[0]}};
        from = bert_infer_shape(in, o.b);
        if (b.rank == 2 && BERT_INFER_INT(in, "transB", 0)) b = (bert_shape){2, {from->dims[1], from->dims[0]}};
    }
    bert_shape shape;
    BERT_TRY(bert_infer_product(in, &a, &b, &shape));
    bert_dim rows = a.rank > 1 ? a.dims[a.rank - 2] : a.rank == 1 ? 1 : bert_dim_fresh(in->symbols);
    bert_dim columns = b.rank > 1 ? b.dims[b.rank - 1] : b.rank == 1 ? 1 : bert_dim_fresh(in->symbols);
    BERT_TRY(infer_parameters(in, &o, rows, columns));
    bert_infer_give(in, 0, dtype, &shape);
    return BERT_OK;
}

bert_status bert_infer_matmul_integer(const bert_inference *in) {
    return infer_product(in, BERT_INT32);
}

bert_status bert_infer_qlinear_matmul(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 7, BERT_TYPES_BYTE));
    return infer_product(in, bert_infer_dtype(in, 7));
}

/* A bias has one element a column. */
static bert_status infer_bias(const bert_inference *in, int32_t input) {
    const bert_shape *bias = bert_infer_shape(in, input);
    const bert_shape *b = bert_infer_shape(in, operands_of(in->op->id).b);
    BERT_TRY(bert_infer_type(in, input, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_rank(in, input, 1, 1));
    if (bias->rank != 1 || b->rank < 1) return BERT_OK;
    bert_dim columns = b->rank == 1 ? 1 : b->dims[b->rank - 1];
    return bert_infer_equal(in, bias->dims[0], columns, "the elements of the bias and the columns of B", NULL);
}

bert_status bert_infer_matmul_integer_to_float(const bert_inference *in) {
    BERT_TRY(infer_bias(in, 6));
    return infer_product(in, bert_infer_dtype(in, 2));
}

bert_status bert_infer_dynamic_quantize_matmul(const bert_inference *in) {
    BERT_TRY(infer_bias(in, 4));
    return infer_product(in, bert_infer_dtype(in, 0));
}

bert_status bert_infer_qgemm(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 6, BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_type(in, 8, BERT_TYPES_BYTE));
    if (!bert_infer_input(in, 7) != !bert_infer_input(in, 8)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "QGemm's y_scale and y_zero_point go together");
    }
    BERT_TRY(infer_product(in, bert_infer_input(in, 8) ? bert_infer_dtype(in, 8) : bert_infer_dtype(in, 1)));
    return bert_infer_broadcasts_to(in, 6, &in->outputs[0]->shape);
}

/* ---- Reference ------------------------------------------------------------------------------------------------------
 */

/* What the 32-bit sums of one operator become. */
typedef struct epilogue {
    const bert_tensor *y;
    bert_dtype arithmetic; /* of scales and products */
    double factor;         /* that every sum is multiplied with, before the scales */
    const bert_tensor *bias;
    const bert_tensor *integer_bias; /* QGemm's C, which broadcasts to the output */
    const bert_tensor *y_scale, *y_zero;
    bert_per_index a_scale, b_scale; /* of this matrix; no tensor: integers go out as they are */
} epilogue;

static double scale_at(const bert_per_index *scale, int64_t i) {
    return scale->tensor ? bert_load(scale->tensor, scale->offset + i * scale->stride) : 1;
}

/* Element (row, column) of a QGemm's C. */
static int64_t integer_bias_at(const bert_tensor *c, int64_t row, int64_t column) {
    if (!c) return 0;
    int64_t columns = c->rank ? c->dims[c->rank - 1] : 1;
    int64_t rows = c->rank > 1 ? c->dims[c->rank - 2] : 1;
    return (int64_t)bert_load_integer(c, (rows == 1 ? 0 : row) * columns + (columns == 1 ? 0 : column));
}

/* One sum to one element of the output. */
static void finish(const epilogue *e, int64_t at, int64_t row, int64_t column, int32_t sum) {
    if (!e->b_scale.tensor) {
        bert_store_integer(e->y, at, sum);
        return;
    }
    double scale = bert_product_in(e->arithmetic, scale_at(&e->a_scale, row), scale_at(&e->b_scale, column));
    if (e->factor != 1) scale = bert_product_in(e->arithmetic, e->factor, scale);
    int32_t total = (int32_t)((uint32_t)sum + (uint32_t)integer_bias_at(e->integer_bias, row, column));
    if (e->y_scale) {
        double ratio = bert_quotient_in(e->arithmetic, scale, bert_load(e->y_scale, 0));
        double value = bert_product_in(e->arithmetic, total, ratio);
        int64_t zero = (int64_t)bert_load_integer(e->y_zero, 0);
        bert_store_integer(e->y, at, bert_quantized(value, zero, e->y->dtype));
        return;
    }
    double value = bert_product_in(e->arithmetic, total, scale);
    bert_store(e->y, at, value + (e->bias ? bert_load(e->bias, column) : 0));
}

/* All rows of one pair of matrices. */
static void multiply(const bert_batched_product *p, const bert_per_index *a_zero, const bert_per_index *b_zero,
                     const epilogue *e, int32_t *sums) {
    for (int64_t row = 0; row < p->rows; row += BERT_PRODUCT_ROWS) {
        int64_t count = p->rows - row < BERT_PRODUCT_ROWS ? p->rows - row : BERT_PRODUCT_ROWS;
        bert_quantized_product_rows(&p->a, a_zero, &p->b, b_zero, row, count, p->depth, p->columns, sums);
        for (int64_t i = 0; i < count * p->columns; i++) {
            finish(e, p->start + row * p->columns + i, row + i / p->columns, i % p->columns, sums[i]);
        }
    }
}

/* The common loop. `o` says which inputs are what; `e` is filled but for the scales. */
static void multiply_all(const bert_reference_call *call, const operands *o, epilogue *e) {
    static const int32_t swapped[2] = {1, 0};
    bool is_gemm = call->op->id == BERT_OP_MS_QGemm;
    const int32_t *a_axes = is_gemm && BERT_CALL_INT(call, "transA", 0) ? swapped : NULL;
    const int32_t *b_axes = is_gemm && BERT_CALL_INT(call, "transB", 0) ? swapped : NULL;
    bert_batched_product p = bert_batched_product_begin(&call->inputs[o->a], a_axes, &call->inputs[o->b], b_axes);
    while (bert_batched_product_step(&p)) {
        bert_per_index a_zero = bert_per_index_of(bert_call_input(call, o->a_zero), p.rows, p.a_index);
        bert_per_index b_zero = bert_per_index_of(bert_call_input(call, o->b_zero), p.columns, p.b_index);
        e->a_scale = bert_per_index_of(bert_call_input(call, o->a_scale), p.rows, p.a_index);
        e->b_scale = bert_per_index_of(bert_call_input(call, o->b_scale), p.columns, p.b_index);
        multiply(&p, &a_zero, &b_zero, e, call->workspace);
    }
}

static bert_status run(const bert_reference_call *call, bert_dtype arithmetic, double factor) {
    operands o = operands_of(call->op->id);
    bool is_gemm = call->op->id == BERT_OP_MS_QGemm;
    epilogue e = {.y = &call->outputs[0],
                  .arithmetic = arithmetic,
                  .factor = factor,
                  .bias = is_gemm ? NULL : bert_call_input(call, o.bias),
                  .integer_bias = is_gemm ? bert_call_input(call, o.bias) : NULL,
                  .y_scale = bert_call_input(call, o.y_scale),
                  .y_zero = bert_call_input(call, o.y_zero)};
    multiply_all(call, &o, &e);
    return BERT_OK;
}

bert_status bert_reference_matmul_integer(const bert_reference_call *call) {
    return run(call, BERT_FLOAT, 1);
}

bert_status bert_reference_qlinear_matmul(const bert_reference_call *call) {
    return run(call, call->inputs[1].dtype, 1);
}

bert_status bert_reference_matmul_integer_to_float(const bert_reference_call *call) {
    return run(call, call->inputs[2].dtype, 1);
}

bert_status bert_reference_qgemm(const bert_reference_call *call) {
    return run(call, call->inputs[1].dtype, BERT_CALL_FLOAT(call, "alpha", 1.0F));
}

size_t bert_workspace_matmul_integer(const bert_op_node *node) {
    const bert_tensor_desc *b = &node->inputs[operands_of(node->op_id).b];
    bool transposed = node->op_id == BERT_OP_MS_QGemm && BERT_NODE_INT(node, "transB", 0) != 0;
    return bert_quantized_workspace(b->rank < 2 ? 1 : b->dims[transposed ? b->rank - 2 : b->rank - 1]);
}

/* ---- DynamicQuantizeMatMul: A is quantized as DynamicQuantizeLinear has it, then MatMulIntegerToFloat
 * ----------------- */

/* The bytes of A come first in the workspace, rounded up so that the sums after them are aligned. */
static size_t quantized_bytes(int64_t elements) {
    return ((size_t)elements + BERT_ALIGNMENT - 1) / BERT_ALIGNMENT * BERT_ALIGNMENT;
}

bert_status bert_reference_dynamic_quantize_matmul(const bert_reference_call *call) {
    const bert_tensor *a = &call->inputs[0];
    int64_t count = bert_tensor_elements(a);
    bert_quantization q = bert_dynamic_quantization(a, 0, count);
    double scale_value[1] = {q.scale};
    uint8_t zero_value[1] = {(uint8_t)q.zero_point};
    bert_tensor quantized = *a;
    quantized.dtype = BERT_UINT8;
    quantized.data = call->workspace;
    for (int64_t i = 0; i < count; i++) {
        double value = bert_quotient_in(a->dtype, bert_load(a, i), q.scale);
        bert_store_integer(&quantized, i, bert_quantized(value, q.zero_point, BERT_UINT8));
    }
    bert_tensor absent = {.dtype = BERT_DTYPE_UNDEFINED};
    /* As MatMulIntegerToFloat has them: A, B, a_scale, b_scale, a_zero_point, b_zero_point, bias. */
    bert_tensor inputs[] = {quantized,
                            call->inputs[1],
                            {.dtype = BERT_DOUBLE, .rank = 0, .data = scale_value},
                            call->inputs[2],
                            {.dtype = BERT_UINT8, .rank = 0, .data = zero_value},
                            bert_call_has_input(call, 3) ? call->inputs[3] : absent,
                            bert_call_has_input(call, 4) ? call->inputs[4] : absent};
    bert_reference_call product = *call;
    product.op = bert_op_get(BERT_OP_MS_MatMulIntegerToFloat);
    product.inputs = inputs;
    product.input_count = 7;
    product.workspace = (char *)call->workspace + quantized_bytes(count);
    return run(&product, a->dtype, 1);
}

size_t bert_workspace_dynamic_quantize_matmul(const bert_op_node *node) {
    const bert_tensor_desc *a = &node->inputs[0];
    size_t bytes;
    if (!bert_size_product(1, a->dims, a->rank, &bytes)) return SIZE_MAX;
    size_t sums = bert_workspace_matmul_integer(node);
    return sums != SIZE_MAX && bert_size_add(quantized_bytes((int64_t)bytes), sums, &bytes) ? bytes : SIZE_MAX;
}
