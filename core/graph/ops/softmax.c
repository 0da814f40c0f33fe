/* Softmax and LogSoftmax. */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

#include <math.h>

/* Below opset 13 the axis is where the tensor is flattened to two dimensions, 1 if not given. */
static int64_t axis_attribute(const bert_attribute *attributes, size_t count, int32_t opset) {
    return bert_attribute_int(attributes, count, "axis", opset < 13 ? 1 : -1);
}

bert_status bert_infer_softmax(const bert_inference *in) {
    BERT_TRY(bert_infer_like_input(in, BERT_TYPES_FLOAT));
    int32_t rank = bert_infer_shape(in, 0)->rank;
    int32_t axis = 0;
    /* A scalar counts as one row of one element. */
    if (rank <= 0) return BERT_OK;
    return bert_infer_axis(in, axis_attribute(in->attributes, in->attribute_count, in->opset), rank, &axis);
}

/* One row of `count` elements, `stride` apart from `start` on. */
static void softmax_row(const bert_tensor *x, const bert_tensor *y, int64_t start, int64_t count, int64_t stride,
                        bool logarithm) {
    double greatest = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        double value = bert_load(x, start + i * stride);
        if (value > greatest || isnan(value)) greatest = value;
        if (isnan(value)) break;
    }
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += exp(bert_load(x, start + i * stride) - greatest);
    for (int64_t i = 0; i < count; i++) {
        double shifted = bert_load(x, start + i * stride) - greatest;
        bert_store(y, start + i * stride, logarithm ? shifted - log(sum) : exp(shifted) / sum);
    }
}

bert_status bert_reference_softmax(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *y = &call->outputs[0];
    int64_t attribute = axis_attribute(call->attributes, call->attribute_count, call->opset);
    int32_t axis = x->rank ? bert_call_axis(attribute, x->rank) : 0;
    int64_t outer = bert_dims_product(x, 0, axis);
    int64_t count = x->rank ? x->dims[axis] : 1;
    int64_t inner = x->rank ? bert_dims_product(x, axis + 1, x->rank) : 1;
    if (call->opset < 13) {
        count *= inner;
        inner = 1;
    }
    for (int64_t i = 0; i < outer; i++) {
        for (int64_t j = 0; j < inner; j++) {
            softmax_row(x, y, i * count * inner + j, count, inner, call->op->id == BERT_OP_LogSoftmax);
        }
    }
    return BERT_OK;
}
