/* com.microsoft's Attention and QAttention: projection of Q, K and V, then attention over them and the past. */
#include "core/graph/ops/attention_core.h"
#include "core/graph/ops/attention_masks.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/quantized.h"

#include <inttypes.h>
#include <math.h>

/* ---- Inputs and attributes ------------------------------------------------------------------------------------------
 */

/* Where the inputs stand; -1 for what an operator doesn't have. */
typedef struct operands {
    int32_t input_scale, weight_scale, mask, input_zero, weight_zero, past, bias;
} operands;

static operands operands_of(uint32_t op_id) {
    return op_id == BERT_OP_MS_QAttention ? (operands){3, 4, 5, 6, 7, 8, -1} : (operands){-1, -1, 3, -1, -1, 4, 5};
}

/* Columns of Q, K and V in the projection. Q and K have the same. */
typedef struct hidden_sizes {
    int64_t q, v;
} hidden_sizes;

static hidden_sizes hidden_sizes_of(const bert_attribute *attributes, size_t count, int64_t columns) {
    size_t sizes = 0;
    const int64_t *listed = bert_attribute_ints(attributes, count, "qkv_hidden_sizes", &sizes);
    if (sizes == 3) return (hidden_sizes){listed[0], listed[2]};
    return (hidden_sizes){columns / 3, columns / 3};
}

/* ---- Inference ------------------------------------------------------------------------------------------------------
 */

static bert_status infer_attributes(const bert_inference *in, int64_t *heads) {
    *heads = BERT_INFER_INT(in, "num_heads", 0);
    if (*heads < 1 || *heads > INT32_MAX) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "%s has %" PRId64 " heads", in->op->name, *heads);
    }
    if (BERT_INFER_INT(in, "do_rotary", 0) || BERT_INFER_INT(in, "past_present_share_buffer", 0)) {
        return bert_fail(in->error, BERT_UNSUPPORTED, "%s with do_rotary or past_present_share_buffer", in->op->name);
    }
    return BERT_OK;
}

/* The columns of the projection are those of Q, K and V, each a multiple of the heads. */
static bert_status infer_sizes(const bert_inference *in, int64_t heads, hidden_sizes *sizes) {
    const bert_shape *weights = bert_infer_shape(in, 1);
    const bert_shape *bias = bert_infer_shape(in, 2);
    *sizes = (hidden_sizes){-1, -1};
    if (weights->rank != 2 || !bert_dim_known(weights->dims[1])) return BERT_OK;
    int64_t columns = weights->dims[1];
    *sizes = hidden_sizes_of(in->attributes, in->attribute_count, columns);
    size_t listed_count = 0;
    const int64_t *listed = BERT_INFER_INTS(in, "qkv_hidden_sizes", &listed_count);
    bool same = !listed || (listed_count == 3 && listed[0] == listed[1]);
    bool positive = sizes->q > 0 && sizes->v > 0 && sizes->q <= columns && sizes->v <= columns;
    if (!same || !positive || 2 * sizes->q + sizes->v != columns || sizes->q % heads || sizes->v % heads) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "%" PRId64 " columns of the weights don't divide into Q, K and V of %" PRId64 " heads",
                         columns, heads);
    }
    if (bias->rank == 1) {
        BERT_TRY(bert_infer_equal(in, bias->dims[0], columns, "the elements of the bias and the columns of the weights",
                                  NULL));
    }
    return BERT_OK;
}

/* The past [2, B, heads, P, depth]: *keys grows by P; the present is given to output 1. */
static bert_status infer_past(const bert_inference *in, int32_t past, bert_dtype dtype, int64_t heads,
                              const hidden_sizes *sizes, bert_dim batch, bert_dim *keys) {
    BERT_TRY(bert_infer_rank(in, past, 5, 5));
    const bert_shape *shape = bert_infer_shape(in, past);
    bert_dim depth = sizes->q < 0 ? bert_dim_fresh(in->symbols) : sizes->q / heads;
    if (bert_infer_input(in, past) && (in->output_count < 2 || !in->outputs[1])) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "%s has a past but no present", in->op->name);
    }
    bool wants_present = bert_infer_input(in, past) || (in->output_count > 1 && in->outputs[1]);
    if (wants_present && sizes->q != sizes->v) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "%s with a past needs Q, K and V of the same size",
                         in->op->name);
    }
    if (shape->rank == 5) {
        BERT_TRY(bert_infer_equal(in, shape->dims[0], 2, "the first dimension of the past and 2", NULL));
        BERT_TRY(bert_infer_equal(in, shape->dims[1], batch, "the sequences of past and input", NULL));
        BERT_TRY(bert_infer_equal(in, shape->dims[2], heads, "the heads of the past and of the operator", NULL));
        BERT_TRY(bert_infer_equal(in, shape->dims[4], depth, "the size of a head in the past and here", NULL));
        *keys = bert_dim_add(in->symbols, *keys, shape->dims[3]);
    } else if (bert_infer_input(in, past)) {
        *keys = bert_dim_fresh(in->symbols);
    }
    bert_shape present = {.rank = 5, .dims = {2, batch, heads, *keys, depth}};
    bert_infer_give(in, 1, dtype, &present);
    return BERT_OK;
}

/* What is the same for both, once types are checked. */
static bert_status infer_attention(const bert_inference *in, bert_dtype dtype) {
    operands o = operands_of(in->op->id);
    int64_t heads;
    hidden_sizes sizes;
    BERT_TRY(infer_attributes(in, &heads));
    BERT_TRY(bert_infer_rank(in, 0, 3, 3));
    BERT_TRY(bert_infer_rank(in, 1, 2, 2));
    BERT_TRY(bert_infer_rank(in, 2, 1, 1));
    BERT_TRY(infer_sizes(in, heads, &sizes));
    const bert_shape *x = bert_infer_shape(in, 0);
    const bert_shape *weights = bert_infer_shape(in, 1);
    bert_infer_give(in, 0, dtype, NULL);
    bert_infer_give(in, 1, dtype, NULL);
    if (x->rank < 0) return BERT_OK;
    if (weights->rank == 2) {
        BERT_TRY(bert_infer_equal(in, x->dims[2], weights->dims[0],
                                  "the last dimension of the input and the rows of the weights", NULL));
    }
    bert_dim keys = x->dims[1];
    BERT_TRY(infer_past(in, o.past, dtype, heads, &sizes, x->dims[0], &keys));
    BERT_TRY(bert_infer_attention_masks(in, o.mask, o.bias, x->dims[0], heads, x->dims[1], keys));
    bert_dim width = sizes.v < 0 ? bert_dim_fresh(in->symbols) : sizes.v;
    bert_shape shape = {.rank = 3, .dims = {x->dims[0], x->dims[1], width}};
    bert_infer_give(in, 0, dtype, &shape);
    return BERT_OK;
}

bert_status bert_infer_ms_attention(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_same_type(in, 0, 1));
    BERT_TRY(bert_infer_same_type(in, 0, 2));
    BERT_TRY(bert_infer_same_type(in, 0, 4));
    return infer_attention(in, bert_infer_dtype(in, 0));
}

bert_status bert_infer_q_attention(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_BYTE));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPES_BYTE));
    BERT_TRY(bert_infer_type(in, 2, BERT_TYPES_FLOAT));
    for (int32_t i = 3; i < 5; i++) BERT_TRY(bert_infer_same_type(in, 2, i));
    BERT_TRY(bert_infer_same_type(in, 2, 8));
    BERT_TRY(bert_infer_same_type(in, 0, 6));
    BERT_TRY(bert_infer_same_type(in, 1, 7));
    const bert_shape *weights = bert_infer_shape(in, 1);
    for (int32_t i = 3; i < 8; i++) {
        if (i == 5 || !bert_infer_input(in, i)) continue;
        bert_dim elements = bert_shape_elements(in, bert_infer_shape(in, i));
        bool of_weights = i == 4 || i == 7;
        bert_dim expected = of_weights && weights->rank == 2 && elements != 1 ? weights->dims[1] : 1;
        BERT_TRY(
            bert_infer_equal(in, elements, expected, "the elements of a scale or zero point and what it is for", NULL));
    }
    return infer_attention(in, bert_infer_dtype(in, 2));
}

/* ---- Reference ------------------------------------------------------------------------------------------------------
 */

/* Everything of one call. K and V are gathered head by head, the past before what was projected. */
typedef struct attention_call {
    const bert_reference_call *call;
    operands o;
    int64_t batch, rows, past, columns; /* columns: past + rows */
    int64_t heads, depth, value_depth;
    int64_t width; /* of the projection: columns of Q, K and V */
    double *projected, *keys, *values, *scratch;
} attention_call;

static attention_call describe(uint32_t op_id, const bert_attribute *attributes, size_t count, const int64_t *x_dims,
                               int64_t width, int64_t past) {
    hidden_sizes sizes = hidden_sizes_of(attributes, count, width);
    int64_t heads = bert_attribute_int(attributes, count, "num_heads", 1);
    return (attention_call){.o = operands_of(op_id),
                            .batch = x_dims[0],
                            .rows = x_dims[1],
                            .past = past,
                            .columns = past + x_dims[1],
                            .heads = heads,
                            .depth = sizes.q / heads,
                            .value_depth = sizes.v / heads,
                            .width = width};
}

/* Doubles that the parts of the workspace take; false on overflow. */
static bool layout(const attention_call *a, size_t bytes[4]) {
    size_t rows = (size_t)a->batch;
    size_t keys = (size_t)a->batch;
    size_t values;
    bool fits =
        bert_size_multiply(rows, (size_t)a->rows, &rows) && bert_size_multiply(rows, (size_t)a->width, &rows) &&
        bert_size_multiply(keys, (size_t)a->columns, &keys) && bert_size_multiply(keys, (size_t)a->heads, &keys) &&
        bert_size_multiply(keys, (size_t)a->value_depth, &values) &&
        bert_size_multiply(keys, (size_t)a->depth, &keys) && bert_size_multiply(rows, sizeof(double), &bytes[0]) &&
        bert_size_multiply(keys, sizeof(double), &bytes[1]) && bert_size_multiply(values, sizeof(double), &bytes[2]);
    size_t product = bert_product_workspace(a->width);
    size_t attention = bert_attention_workspace(a->columns, a->depth, a->value_depth);
    bytes[3] = product > attention ? product : attention;
    return fits && bytes[3] != SIZE_MAX;
}

size_t bert_workspace_ms_attention(const bert_op_node *node) {
    int32_t past_input = operands_of(node->op_id).past;
    bool has_past = past_input < node->input_count && node->inputs[past_input].dtype != BERT_DTYPE_UNDEFINED;
    attention_call a = describe(node->op_id, node->attributes, node->attribute_count, node->inputs[0].dims,
                                node->inputs[1].dims[1], has_past ? node->inputs[past_input].dims[3] : 0);
    size_t bytes[4];
    size_t total = 0;
    if (!layout(&a, bytes)) return SIZE_MAX;
    for (int i = 0; i < 4; i++) {
        if (!bert_size_add(total, bytes[i], &total)) return SIZE_MAX;
    }
    return total;
}

/* Row `row` of the projection is `sums` of floats, with the bias. */
static void project_floats(const attention_call *a) {
    const bert_tensor *bias = bert_call_input(a->call, 2);
    int64_t depth = a->call->inputs[0].dims[2];
    int64_t rows = a->batch * a->rows;
    bert_matrix left = {&a->call->inputs[0], 0, depth, 1};
    bert_matrix right = {&a->call->inputs[1], 0, a->width, 1};
    for (int64_t row = 0; row < rows; row += BERT_PRODUCT_ROWS) {
        int64_t count = rows - row < BERT_PRODUCT_ROWS ? rows - row : BERT_PRODUCT_ROWS;
        bert_product_rows(&left, &right, row, count, depth, a->width, a->scratch);
        for (int64_t i = 0; i < count * a->width; i++) {
            a->projected[row * a->width + i] = a->scratch[i] + (bias ? bert_load(bias, i % a->width) : 0);
        }
    }
}

/* The 32-bit sums of bytes, scaled as float steps, with the bias. */
static void project_bytes(const attention_call *a) {
    const bert_tensor *input_scale = &a->call->inputs[a->o.input_scale];
    const bert_tensor *bias = &a->call->inputs[2];
    bert_per_index input_zero = bert_per_index_of(bert_call_input(a->call, a->o.input_zero), 1, 0);
    bert_per_index weight_zero = bert_per_index_of(bert_call_input(a->call, a->o.weight_zero), a->width, 0);
    bert_per_index weight_scale = bert_per_index_of(&a->call->inputs[a->o.weight_scale], a->width, 0);
    int64_t depth = a->call->inputs[0].dims[2];
    int64_t rows = a->batch * a->rows;
    bert_matrix left = {&a->call->inputs[0], 0, depth, 1};
    bert_matrix right = {&a->call->inputs[1], 0, a->width, 1};
    int32_t *sums = (int32_t *)(void *)a->scratch;
    for (int64_t row = 0; row < rows; row += BERT_PRODUCT_ROWS) {
        int64_t count = rows - row < BERT_PRODUCT_ROWS ? rows - row : BERT_PRODUCT_ROWS;
        bert_quantized_product_rows(&left, &input_zero, &right, &weight_zero, row, count, depth, a->width, sums);
        for (int64_t i = 0; i < count * a->width; i++) {
            int64_t column = i % a->width;
            double of_column = bert_load(weight_scale.tensor, column * weight_scale.stride);
            double scale = bert_product_in(bias->dtype, bert_load(input_scale, 0), of_column);
            double value = bert_product_in(bias->dtype, sums[i], scale);
            a->projected[row * a->width + i] = value + bert_load(bias, column);
        }
    }
}

/* K (`part` 0) or V (1) as [B, heads, columns, depth]: the past, then what was projected. Into the present too. */
static void gather_heads(const attention_call *a, int32_t part, double *out) {
    const bert_tensor *past = bert_call_input(a->call, a->o.past);
    const bert_tensor *present = bert_call_output(a->call, 1);
    int64_t depth = part ? a->value_depth : a->depth;
    int64_t first = part ? 2 * a->heads * a->depth : a->heads * a->depth;
    int64_t heads = a->batch * a->heads;
    for (int64_t i = 0; i < heads * a->columns * depth; i++) {
        int64_t d = i % depth;
        int64_t t = i / depth % a->columns;
        int64_t h = i / depth / a->columns; /* of all sequences */
        if (t < a->past) {
            out[i] = bert_load(past, ((part * heads + h) * a->past + t) * depth + d);
        } else {
            int64_t row = h / a->heads * a->rows + t - a->past;
            out[i] = a->projected[row * a->width + first + h % a->heads * depth + d];
        }
        if (present) bert_store(present, part * heads * a->columns * depth + i, out[i]);
    }
}

static bert_status attend(const attention_call *a) {
    const bert_reference_call *call = a->call;
    bert_attention_masks masks = {.mask = bert_call_input(call, a->o.mask),
                                  .bias = bert_spread_of(bert_call_input(call, a->o.bias)),
                                  .filter = BERT_CALL_FLOAT(call, "mask_filter_value", -10000.0F),
                                  .unidirectional = BERT_CALL_INT(call, "unidirectional", 0) != 0,
                                  .batch = a->batch,
                                  .rows = a->rows,
                                  .columns = a->columns,
                                  .past = a->past};
    BERT_TRY(bert_attention_masks_check(call, &masks));
    double scale = BERT_CALL_FLOAT(call, "scale", 0.0F);
    bert_tensor q = {.dtype = BERT_DOUBLE, .rank = 3, .dims = {a->batch, a->rows, a->width}, .data = a->projected};
    bert_tensor k = {.dtype = BERT_DOUBLE, .rank = 4, .dims = {a->batch, a->heads, a->columns, a->depth}};
    bert_tensor v = {.dtype = BERT_DOUBLE, .rank = 4, .dims = {a->batch, a->heads, a->columns, a->value_depth}};
    k.data = a->keys;
    v.data = a->values;
    bert_attention attention = {.q = bert_heads_interleaved(&q, 0, a->depth),
                                .k = bert_heads_separate(&k),
                                .v = bert_heads_separate(&v),
                                .y = bert_heads_interleaved(&call->outputs[0], 0, a->value_depth),
                                .batch = a->batch,
                                .heads = a->heads,
                                .group = 1,
                                .rows = a->rows,
                                .columns = a->columns,
                                .depth = a->depth,
                                .value_depth = a->value_depth,
                                .scale = scale != 0 ? scale : 1 / sqrt((double)a->depth),
                                .adjust = bert_attention_masks_apply,
                                .user = &masks,
                                .scratch = a->scratch};
    bert_attention_run(&attention);
    return BERT_OK;
}

bert_status bert_reference_ms_attention(const bert_reference_call *call) {
    const bert_tensor *past = bert_call_input(call, operands_of(call->op->id).past);
    attention_call a = describe(call->op->id, call->attributes, call->attribute_count, call->inputs[0].dims,
                                call->inputs[1].dims[1], past ? past->dims[3] : 0);
    a.call = call;
    size_t bytes[4];
    if (!layout(&a, bytes)) return bert_fail_memory(call->error, SIZE_MAX, "attention");
    char *memory = call->workspace;
    a.projected = (double *)(void *)memory;
    a.keys = (double *)(void *)(memory + bytes[0]);
    a.values = (double *)(void *)(memory + bytes[0] + bytes[1]);
    a.scratch = (double *)(void *)(memory + bytes[0] + bytes[1] + bytes[2]);
    if (call->op->id == BERT_OP_MS_QAttention) {
        project_bytes(&a);
    } else {
        project_floats(&a);
    }
    gather_heads(&a, 0, a.keys);
    gather_heads(&a, 1, a.values);
    return attend(&a);
}
