/* LayerNormalization and RMSNormalization, and the spellings of SkipLayerNormalization. */
#include "core/graph/ops/normalization.h"

#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

#include <inttypes.h>
#include <math.h>

bert_row_statistics bert_normalize_statistics(const double *row, int64_t count, double epsilon, bool simplified) {
    double mean = 0;
    for (int64_t i = 0; i < count && !simplified; i++) mean += row[i];
    mean /= simplified ? 1 : (double)count;
    double variance = 0;
    for (int64_t i = 0; i < count; i++) variance += (row[i] - mean) * (row[i] - mean);
    variance /= (double)count;
    return (bert_row_statistics){.mean = mean, .inverse_deviation = 1 / sqrt(variance + epsilon)};
}

/* ---- LayerNormalization, RMSNormalization, SimplifiedLayerNormalization ---------------------------------------------
 */

static bool is_simplified(bert_op_id id) {
    return id != BERT_OP_LayerNormalization;
}

/* Type of the statistics: that of the arithmetic, which here is double for double. */
static bert_dtype statistics_type(bert_dtype x, int64_t stash_type) {
    return x == BERT_DOUBLE ? BERT_DOUBLE : stash_type == BERT_BFLOAT16 ? BERT_BFLOAT16 : BERT_FLOAT;
}

bert_status bert_infer_layer_normalization(const bert_inference *in) {
    for (int32_t i = 0; i < 3; i++) BERT_TRY(bert_infer_type(in, i, BERT_TYPES_FLOAT));
    const bert_shape *x = bert_infer_shape(in, 0);
    bert_dtype dtype = bert_infer_dtype(in, 0);
    bert_dtype statistics = statistics_type(dtype, BERT_INFER_INT(in, "stash_type", BERT_FLOAT));
    /* RMS normalization, and ONNX Runtime's own form below opset 17, have the type of the scale in their output. */
    if (in->op->id != BERT_OP_LayerNormalization || in->opset < 17) dtype = bert_infer_dtype(in, 1);
    bert_infer_give(in, 0, dtype, x);
    bert_infer_give(in, 1, statistics, NULL);
    bert_infer_give(in, 2, statistics, NULL);
    if (x->rank < 0) return BERT_OK;
    int32_t axis = 0;
    BERT_TRY(bert_infer_axis(in, BERT_INFER_INT(in, "axis", -1), x->rank, &axis));
    BERT_TRY(bert_infer_broadcasts_to(in, 1, x));
    BERT_TRY(bert_infer_broadcasts_to(in, 2, x));
    bert_shape reduced = *x;
    for (int32_t i = axis; i < x->rank; i++) reduced.dims[i] = 1;
    bool only_deviation = is_simplified(in->op->id);
    bert_infer_give(in, 1, statistics, &reduced);
    if (!only_deviation) bert_infer_give(in, 2, statistics, &reduced);
    return BERT_OK;
}

bert_status bert_reference_layer_normalization(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *scale = &call->inputs[1];
    const bert_tensor *bias = bert_call_input(call, 2);
    const bert_tensor *y = &call->outputs[0];
    bool simplified = is_simplified(call->op->id);
    const bert_tensor *mean = simplified ? NULL : bert_call_output(call, 1);
    const bert_tensor *deviation = bert_call_output(call, simplified ? 1 : 2);
    double epsilon = BERT_CALL_FLOAT(call, "epsilon", 1e-5F);
    int32_t axis = bert_call_axis(BERT_CALL_INT(call, "axis", -1), x->rank);
    int64_t count = bert_dims_product(x, axis, x->rank);
    double *row = call->workspace;
    bert_row_statistics statistics = {0};
    bert_loop loop = bert_loop_over(x->rank, x->dims);
    bert_loop_add(&loop, scale);
    if (bias) bert_loop_add(&loop, bias);
    for (; loop.left; bert_loop_next(&loop)) {
        int64_t within = loop.position % count;
        if (within == 0) {
            bert_load_row(x, loop.position, count, row);
            statistics = bert_normalize_statistics(row, count, epsilon, simplified);
            if (mean) bert_store(mean, loop.position / count, statistics.mean);
            if (deviation) bert_store(deviation, loop.position / count, statistics.inverse_deviation);
        }
        double value = (row[within] - statistics.mean) * statistics.inverse_deviation;
        value = value * bert_load(scale, loop.offset[0]) + (bias ? bert_load(bias, loop.offset[1]) : 0);
        bert_store(y, loop.position, value);
    }
    return BERT_OK;
}

/* Doubles for one normalized row: never more than the tensor has elements. */
size_t bert_workspace_layer_normalization(const bert_op_node *node) {
    const bert_tensor_desc *x = &node->inputs[0];
    const int32_t axis = x->rank ? bert_call_axis(BERT_NODE_INT(node, "axis", -1), x->rank) : 0;
    size_t bytes;
    return bert_size_product(sizeof(double), x->dims + axis, x->rank - axis, &bytes) ? bytes : SIZE_MAX;
}

/* ---- SkipLayerNormalization: canonical, com.microsoft's, and com.microsoft's simplified one
 * -------------------------- */

/* Where the operands of each spelling stand; -1 for what it doesn't have. */
typedef struct skip_layout {
    int32_t gamma, beta, bias, sum_output;
    bool simplified;
} skip_layout;

static skip_layout skip_layout_of(bert_op_id id, const bert_attribute *attributes, size_t count) {
    if (id == BERT_OP_BERTC_SkipLayerNormalization) {
        return (skip_layout){2, 3, 4, 1, bert_attribute_int(attributes, count, "simplified", 0) != 0};
    }
    if (id == BERT_OP_MS_SkipSimplifiedLayerNormalization) return (skip_layout){2, -1, 3, 3, true};
    return (skip_layout){2, 3, 4, 3, false};
}

bert_status bert_infer_skip_layer_normalization(const bert_inference *in) {
    skip_layout l = skip_layout_of(in->op->id, in->attributes, in->attribute_count);
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_FLOAT));
    for (int32_t i = 1; i < in->input_count; i++) BERT_TRY(bert_infer_same_type(in, 0, i));
    bert_shape shape = *bert_infer_shape(in, 0);
    bert_dtype dtype = bert_infer_dtype(in, 0);
    /* com.microsoft's skip may leave the batch out, or have 1 there. */
    BERT_TRY(bert_infer_broadcasts_to(in, 1, &shape));
    if (shape.rank >= 0) BERT_TRY(bert_infer_rank(in, 0, 1, BERT_MAX_RANK));
    for (int32_t i = l.gamma; i < in->input_count && shape.rank > 0; i++) {
        const bert_shape *row = bert_infer_shape(in, i);
        if (row->rank < 0) continue;
        BERT_TRY(bert_infer_rank(in, i, 1, 1));
        BERT_TRY(bert_infer_equal(in, row->dims[0], shape.dims[shape.rank - 1],
                                  "the elements of gamma, beta or bias and the last dimension of the input",
                                  &shape.dims[shape.rank - 1]));
    }
    for (int32_t i = 1; i < in->output_count; i++) {
        if (i == l.sum_output || !in->outputs[i]) continue;
        return bert_fail(in->error, BERT_UNSUPPORTED, "output %" PRId32 " of %s, which training uses, is not computed",
                         i, in->op->name);
    }
    bert_infer_give(in, 0, dtype, &shape);
    bert_infer_give(in, l.sum_output, dtype, &shape);
    return BERT_OK;
}

bert_status bert_reference_skip_layer_normalization(const bert_reference_call *call) {
    skip_layout l = skip_layout_of(call->op->id, call->attributes, call->attribute_count);
    const bert_tensor *y = &call->outputs[0];
    const bert_tensor *sum = bert_call_output(call, l.sum_output);
    const bert_tensor *gamma = &call->inputs[l.gamma];
    const bert_tensor *beta = l.beta < 0 ? NULL : bert_call_input(call, l.beta);
    double epsilon = BERT_CALL_FLOAT(call, "epsilon", 1e-12F);
    const bert_tensor *bias = bert_call_input(call, l.bias);
    int64_t count = y->dims[y->rank - 1];
    double *row = call->workspace;
    bert_loop loop = bert_loop_over(y->rank, y->dims);
    bert_loop_add(&loop, &call->inputs[1]);
    for (; loop.left; bert_loop_next(&loop)) {
        int64_t within = loop.position % count;
        row[within] = bert_load(&call->inputs[0], loop.position) + bert_load(&call->inputs[1], loop.offset[0]) +
                      (bias ? bert_load(bias, within) : 0);
        if (within < count - 1) continue;
        int64_t start = loop.position - within;
        if (sum) bert_store_row(sum, start, count, row);
        bert_row_statistics statistics = bert_normalize_statistics(row, count, epsilon, l.simplified);
        for (int64_t i = 0; i < count; i++) {
            double value = (row[i] - statistics.mean) * statistics.inverse_deviation * bert_load(gamma, i);
            bert_store(y, start + i, value + (beta ? bert_load(beta, i) : 0));
        }
    }
    return BERT_OK;
}

size_t bert_workspace_skip_layer_normalization(const bert_op_node *node) {
    const bert_tensor_desc *x = &node->inputs[0];
    size_t bytes;
    return bert_size_multiply((size_t)x->dims[x->rank - 1], sizeof(double), &bytes) ? bytes : SIZE_MAX;
}
