#include "core/passes/match.h"

#include "core/base/error.h"

#include <math.h>
#include <string.h>

bool bert_node_linked(const bert_node *node) {
    return node->previous || node->next || node->block->first == node;
}

bert_node *bert_value_made_by(const bert_value *value, bert_op_id id) {
    return value && value->producer && value->producer_output == 0 && value->producer->op->id == id ? value->producer
                                                                                                    : NULL;
}

bert_node *bert_value_sole_reader(const bert_value *value) {
    return value->use_count == 1 && !bert_value_leaves(value) ? value->uses[0].node : NULL;
}

bool bert_value_scalar(const bert_value *value, double *out) {
    return value && bert_constant_scalar(value->info.constant, out);
}

bool bert_number_near(double number, double expected, bert_dtype dtype) {
    double relative = dtype == BERT_BFLOAT16 ? 0x1p-7 : dtype == BERT_FLOAT16 ? 0x1p-10 : 0x1p-20;
    return fabs(number - expected) <= relative * fabs(expected);
}

bert_value *bert_node_beside_scalar(const bert_node *node, bool right_only, double *scalar) {
    if (node->input_count != 2 || !node->inputs[0] || !node->inputs[1]) return NULL;
    for (int side = 1; side >= (right_only ? 1 : 0); side--) {
        bert_value *number = node->inputs[side], *other = node->inputs[1 - side];
        if (other->info.constant || !bert_value_scalar(number, scalar)) continue;
        int32_t rank = bert_value_rank(number);
        if (rank == 0 || rank <= bert_value_rank(other)) return other;
    }
    return NULL;
}

bert_value *bert_node_beside(const bert_node *node, const bert_value *value) {
    if (node->input_count != 2) return NULL;
    if (node->inputs[0] == value) return node->inputs[1];
    return node->inputs[1] == value ? node->inputs[0] : NULL;
}

bool bert_value_ints(const bert_value *value, int64_t *out, int32_t capacity, int32_t *count) {
    if (!value || !value->info.constant) return false;
    const bert_constant *constant = value->info.constant;
    int64_t elements = bert_constant_elements(constant);
    if ((constant->dtype != BERT_INT64 && constant->dtype != BERT_INT32) || constant->rank > 1 || elements > capacity)
        return false;
    for (int64_t i = 0; i < elements; i++) out[i] = bert_constant_int(constant, i);
    *count = (int32_t)elements;
    return true;
}

int32_t bert_axis_from_front(int64_t axis, int32_t rank) {
    if (axis < 0) axis += rank;
    return axis >= 0 && axis < rank ? (int32_t)axis : -1;
}

bool bert_node_axes(const bert_node *node, int64_t *axes, int32_t *count) {
    size_t length = 0;
    const int64_t *list = BERT_NODE_INTS(node, "axes", &length);
    if (!list) return bert_value_ints(bert_node_in(node, 1), axes, BERT_MAX_RANK, count);
    if (length > BERT_MAX_RANK) return false;
    memcpy(axes, list, length * sizeof *axes);
    *count = (int32_t)length;
    return true;
}

bool bert_node_permutation(const bert_node *node, int32_t perm[BERT_MAX_RANK]) {
    int32_t rank = node->inputs[0] ? bert_value_rank(node->inputs[0]) : -1;
    if (rank < 0 || !bert_node_is(node, BERT_OP_Transpose)) return false;
    size_t length = 0;
    const int64_t *list = BERT_NODE_INTS(node, "perm", &length);
    if (list && length != (size_t)rank) return false;
    uint32_t seen = 0;
    for (int32_t i = 0; i < rank; i++) {
        int64_t axis = list ? list[i] : rank - 1 - i;
        if (axis < 0 || axis >= rank || (seen >> axis & 1)) return false;
        seen |= 1u << axis;
        perm[i] = (int32_t)axis;
    }
    return true;
}

bert_dim bert_value_dim(const bert_value *value, int32_t axis) {
    return value->info.shape.dims[axis < 0 ? axis + value->info.shape.rank : axis];
}

bool bert_shapes_equal(const bert_shape *a, const bert_shape *b) {
    if (a->rank < 0 || a->rank != b->rank) return false;
    for (int32_t i = 0; i < a->rank; i++) {
        if (a->dims[i] != b->dims[i]) return false;
    }
    return true;
}

bool bert_same_shape(const bert_value *a, const bert_value *b) {
    return bert_shapes_equal(&a->info.shape, &b->info.shape);
}

bert_value *bert_value_before_reshaping(bert_value *value, const bert_shape *shape) {
    bert_value *from = value;
    while (from && !bert_shapes_equal(&from->info.shape, shape)) {
        const bert_node *node = from->producer;
        const bool reshapes = bert_node_is(node, BERT_OP_Reshape) || bert_node_is(node, BERT_OP_Squeeze) ||
                              bert_node_is(node, BERT_OP_Unsqueeze) || bert_node_is(node, BERT_OP_Flatten);
        from = reshapes ? node->inputs[0] : NULL;
    }
    return from ? from : value;
}

bool bert_is_constant_vector(const bert_value *value, bert_dim n) {
    return value && value->info.constant && bert_dtype_is_float(value->info.dtype) && bert_value_rank(value) == 1 &&
           value->info.shape.dims[0] == n;
}

const char *bert_activation_of(const bert_node *node) {
    switch (node->op->id) {
    case BERT_OP_Gelu:
        return strcmp(BERT_NODE_STRING(node, "approximate", "none"), "tanh") == 0 ? "gelu_tanh" : "gelu";
    case BERT_OP_Tanh:
        return "tanh";
    case BERT_OP_Relu:
        return "relu";
    case BERT_OP_MS_QuickGelu: {
        const float alpha = BERT_NODE_FLOAT(node, "alpha", 1.702F);
        if (alpha == 1) return "silu";
        return bert_number_near(alpha, 1.702, BERT_FLOAT) ? "quick_gelu" : NULL;
    }
    default:
        return NULL;
    }
}
