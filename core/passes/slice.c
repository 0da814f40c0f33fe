#include "core/passes/slice.h"

static bool constant_int(const bert_node *node, int32_t input, int64_t *out) {
    int32_t count = 0;
    return bert_value_ints(bert_node_in(node, input), out, 1, &count) && count == 1;
}

/* An index that may count from the end. */
static bool from_front(const bert_slice *slice, int64_t index, int64_t *out) {
    const bert_dim whole = bert_value_dim(slice->source, slice->axis);
    if (index < 0 && bert_dim_known(whole)) index += whole;
    *out = index;
    return index >= 0;
}

static bool set_axis(bert_slice *slice, int64_t axis) {
    slice->axis = bert_axis_from_front(axis, bert_value_rank(slice->source));
    return slice->axis >= 0;
}

static bool is_split(const bert_value *value, bert_slice *out) {
    const bert_node *node = value->producer;
    if (!set_axis(out, BERT_NODE_INT(node, "axis", 0))) return false;
    for (int32_t i = 0; i < value->producer_output; i++) {
        const bert_value *before = node->outputs[i];
        if (!before || bert_value_rank(before) <= out->axis || !bert_dim_known(bert_value_dim(before, out->axis)))
            return false;
        out->start += bert_value_dim(before, out->axis);
    }
    return true;
}

/* Along one axis, which newer opsets have as an input. */
static bool is_slice(const bert_node *node, bert_slice *out) {
    int64_t start = 0, axis = 0, step = 1;
    if (!constant_int(node, 1, &start) || !constant_int(node, 3, &axis) || !set_axis(out, axis)) return false;
    if (bert_node_in(node, 4) && (!constant_int(node, 4, &step) || step != 1)) return false;
    return from_front(out, start, &out->start);
}

static bool is_gather(const bert_node *node, bert_slice *out) {
    int64_t index = 0;
    out->drops_axis = true;
    return bert_value_rank(node->inputs[1]) == 0 && constant_int(node, 1, &index) &&
           set_axis(out, BERT_NODE_INT(node, "axis", 0)) && from_front(out, index, &out->start);
}

bool bert_slice_of(const bert_value *value, bert_slice *out) {
    const bert_node *node = value->producer;
    if (!node || !node->inputs[0] || bert_value_rank(node->inputs[0]) < 1 || bert_value_rank(value) < 0) return false;
    *out = (bert_slice){.source = node->inputs[0]};
    switch (node->op->id) {
    case BERT_OP_Split:
        return is_split(value, out);
    case BERT_OP_Slice:
        return is_slice(node, out);
    case BERT_OP_Gather:
        return is_gather(node, out);
    default:
        return false;
    }
}
