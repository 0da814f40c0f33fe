/* com.microsoft's BiasGelu, FastGelu and BiasSoftmax. */
#include "core/graph/ops/activation.h"
#include "core/graph/ops/attention_core.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

/* ---- BiasGelu, FastGelu ---------------------------------------------------------------------------------------------
 */

bert_status bert_infer_bias_gelu(const bert_inference *in) {
    BERT_TRY(bert_infer_same_type(in, 0, 1));
    BERT_TRY(bert_infer_rank(in, 1, 1, 1));
    const bert_shape *x = bert_infer_shape(in, 0);
    const bert_shape *bias = bert_infer_shape(in, 1);
    if (x->rank >= 0 && bias->rank == 1) {
        BERT_TRY(bert_infer_rank(in, 0, 1, BERT_MAX_RANK));
        BERT_TRY(bert_infer_equal(in, x->dims[x->rank - 1], bias->dims[0],
                                  "the last dimension of the input and the elements of the bias", NULL));
    }
    return bert_infer_like_input(in, BERT_TYPES_FLOAT);
}

bert_status bert_reference_bias_gelu(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *bias = bert_call_input(call, 1);
    const bert_tensor *y = &call->outputs[0];
    bert_unary_fn gelu = call->op->id == BERT_OP_MS_FastGelu ? bert_gelu_tanh : bert_gelu_erf;
    int64_t width = bias ? bias->dims[0] : 1;
    int64_t count = bert_tensor_elements(y);
    for (int64_t i = 0; i < count; i++) {
        bert_store(y, i, gelu(bert_load(x, i) + (bias ? bert_load(bias, i % width) : 0), 0));
    }
    return BERT_OK;
}

/* ---- BiasSoftmax: softmax over the dimensions from `axis` on
 * ---------------------------------------------------------- */

bert_status bert_infer_bias_softmax(const bert_inference *in) {
    BERT_TRY(bert_infer_same_type(in, 0, 1));
    const bert_shape *x = bert_infer_shape(in, 0);
    int32_t axis = 0;
    if (x->rank >= 0) {
        BERT_TRY(bert_infer_axis(in, BERT_INFER_INT(in, "axis", 1), x->rank, &axis));
        BERT_TRY(bert_infer_broadcasts_to(in, 1, x));
    }
    return bert_infer_like_input(in, BERT_TYPES_FLOAT);
}

bert_status bert_reference_bias_softmax(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *y = &call->outputs[0];
    int64_t width = bert_dims_product(x, bert_call_axis(BERT_CALL_INT(call, "axis", 1), x->rank), x->rank);
    double *row = call->workspace;
    bert_loop loop = bert_loop_over(x->rank, x->dims);
    bert_loop_add(&loop, &call->inputs[1]);
    for (; loop.left; bert_loop_next(&loop)) {
        int64_t within = loop.position % width;
        row[within] = bert_load(x, loop.position) + bert_load(&call->inputs[1], loop.offset[0]);
        if (within < width - 1) continue;
        bert_softmax_row(row, width);
        bert_store_row(y, loop.position - within, width, row);
    }
    return BERT_OK;
}

size_t bert_workspace_bias_softmax(const bert_op_node *node) {
    const bert_tensor_desc *x = &node->inputs[0];
    const int32_t axis = bert_call_axis(BERT_NODE_INT(node, "axis", 1), x->rank);
    size_t bytes;
    return bert_size_product(sizeof(double), x->dims + axis, x->rank - axis, &bytes) ? bytes : SIZE_MAX;
}
