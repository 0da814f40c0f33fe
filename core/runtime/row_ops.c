#include "core/runtime/row_ops.h"

#include "core/graph/canonical.h"
#include "core/graph/op.h"

static const bert_value_info *info_of(const bert_node *node, const bert_value_info *infos, int32_t input) {
    const bert_value *value = bert_node_in(node, input);
    return value ? &infos[value->id] : NULL;
}

static int32_t rank_of(const bert_node *node, const bert_value_info *infos, int32_t input) {
    const bert_value_info *info = info_of(node, infos, input);
    return info ? info->shape.rank : 0;
}

/* Whether an axis, which may count from the end, comes after the first `axes`. */
static bool is_inside(int64_t axis, int32_t rank, int32_t axes) {
    return (axis < 0 ? axis + rank : axis) >= axes;
}

/* The same for a list: the attribute, or else input `input`, whose content must be known. An absent list isn't. */
static bool are_inside(const bert_node *node, const bert_value_info *infos, int32_t input, int32_t rank, int32_t axes) {
    size_t count = 0;
    const int64_t *list = BERT_NODE_INTS(node, "axes", &count);
    if (list) {
        for (size_t i = 0; i < count; i++) {
            if (!is_inside(list[i], rank, axes)) return false;
        }
        return true;
    }
    const bert_value_info *info = info_of(node, infos, input);
    if (!info || !info->constant) return false;
    for (int64_t i = 0; i < bert_constant_elements(info->constant); i++) {
        if (!is_inside(bert_constant_int(info->constant, i), rank, axes)) return false;
    }
    return bert_constant_elements(info->constant) > 0;
}

static bert_row_op operands(uint32_t inputs) {
    return (bert_row_op){.kind = BERT_ROWS_OPERANDS, .inputs = inputs};
}

/* `fits`: the node leaves the dimensions that count tokens alone. */
static bert_row_op operands_if(bool fits, uint32_t inputs) {
    return fits ? operands(inputs) : (bert_row_op){.kind = BERT_ROWS_MIXED};
}

static bert_row_op starting(uint32_t inputs) {
    return (bert_row_op){.kind = BERT_ROWS_OPERANDS, .inputs = inputs, .starts = true};
}

/* Softmax flattens at its axis before opset 13, which is the same for the last one. */
static bool is_last_axis(const bert_node *node, int32_t rank, int32_t axes) {
    const int64_t axis = BERT_NODE_INT(node, "axis", node->opset < 13 ? 1 : -1);
    return rank > axes && (axis == -1 || axis == rank - 1);
}

/* Whether an input, where there is one, broadcasts along dimensions after the first `axes` of `rank` alone. */
static bool broadcasts_inside(const bert_node *node, const bert_value_info *infos, int32_t input, int32_t rank,
                              int32_t axes) {
    const int32_t own = rank_of(node, infos, input);
    return own >= 0 && own <= rank - axes;
}

/* A norm of each row, its scale and bias the same for all. */
static bool normalizes_rows(const bert_node *node, const bert_value_info *infos, int32_t rank, int32_t axes) {
    return is_inside(BERT_NODE_INT(node, "axis", -1), rank, axes) && broadcasts_inside(node, infos, 1, rank, axes) &&
           broadcasts_inside(node, infos, 2, rank, axes);
}

/* A product of rows with one matrix. */
static bool has_one_matrix(const bert_node *node, const bert_value_info *infos, int32_t rank, int32_t axes) {
    return rank > axes && rank_of(node, infos, 1) == 2;
}

/* One scale for the whole tensor: QuantizeLinear's and DequantizeLinear's input 1. */
static bool has_one_scale(const bert_node *node, const bert_value_info *infos) {
    const bert_value_info *scale = info_of(node, infos, 1);
    return scale && (scale->shape.rank == 0 || (scale->shape.rank == 1 && scale->shape.dims[0] == 1));
}

bert_row_op bert_row_op_of(const bert_node *node, const bert_value_info *infos, int32_t axes) {
    const int32_t rank = rank_of(node, infos, 0);
    const int64_t axis = BERT_NODE_INT(node, "axis", 0);
    if (bert_op_is_elementwise(node->op)) return (bert_row_op){.kind = BERT_ROWS_BROADCAST};
    switch (node->op->id) {
    case BERT_OP_BERTC_QuantizedAdd:
        return (bert_row_op){.kind = BERT_ROWS_BROADCAST};
    case BERT_OP_Softmax:
    case BERT_OP_LogSoftmax:
        return operands_if(is_last_axis(node, rank, axes), 1);
    case BERT_OP_LayerNormalization:
    case BERT_OP_RMSNormalization:
    case BERT_OP_SimplifiedLayerNormalization:
        return operands_if(normalizes_rows(node, infos, rank, axes), 1);
    case BERT_OP_MS_SkipLayerNormalization:
    case BERT_OP_MS_SkipSimplifiedLayerNormalization:
    case BERT_OP_BERTC_SkipLayerNormalization:
        return rank > axes ? starting(1U << BERT_SKIP_X | 1U << BERT_SKIP_SKIP) : operands_if(false, 0);
    case BERT_OP_BERTC_Linear:
    case BERT_OP_BERTC_QuantizedLinear:
        if (bert_has_place(node)) return operands_if(false, 0);
        return rank > axes ? starting(1U << BERT_LINEAR_X | 1U << BERT_LINEAR_RESIDUAL) : operands_if(false, 0);
    case BERT_OP_BERTC_Embedding:
        return starting(1U << BERT_EMBEDDING_WORD_IDS | 1U << BERT_EMBEDDING_POSITION_IDS |
                        1U << BERT_EMBEDDING_TYPE_IDS);
    case BERT_OP_BERTC_Lookup:
        return operands(1U << BERT_LOOKUP_X);
    case BERT_OP_QuantizeLinear:
    case BERT_OP_DequantizeLinear:
    case BERT_OP_MS_QuantizeLinear:
    case BERT_OP_MS_DequantizeLinear:
        return operands_if(has_one_scale(node, infos), 1);
    case BERT_OP_BERTC_Attention:
        return starting(1U << BERT_ATTENTION_Q | 1U << BERT_ATTENTION_K | 1U << BERT_ATTENTION_V);
    case BERT_OP_MatMul:
        return has_one_matrix(node, infos, rank, axes) ? starting(1) : operands_if(false, 0);
    case BERT_OP_MS_MatMulNBits:
        return rank > axes ? starting(1) : operands_if(false, 0);
    case BERT_OP_Gemm:
        return axes == 1 && !BERT_NODE_INT(node, "transA", 0) && rank_of(node, infos, 2) < 2 ? starting(1)
                                                                                             : operands_if(false, 0);
    case BERT_OP_Gather:
        if (rank_of(node, infos, 0) == 2 && axis == 0 && info_of(node, infos, 0)->constant) return starting(2);
        return operands_if(is_inside(axis, rank, axes) && info_of(node, infos, 1)->constant, 1);
    case BERT_OP_Split:
        return operands_if(is_inside(axis, rank, axes), 1);
    case BERT_OP_Slice:
        return operands_if(are_inside(node, infos, 3, rank, axes), 1);
    case BERT_OP_Concat:
        return operands_if(node->input_count < 31 && is_inside(axis, rank, axes), (1U << (node->input_count & 31)) - 1);
    case BERT_OP_ReduceL2:
    case BERT_OP_ReduceMax:
    case BERT_OP_ReduceMean:
    case BERT_OP_ReduceMin:
    case BERT_OP_ReduceSum:
    case BERT_OP_ReduceSumSquare:
        return operands_if(are_inside(node, infos, 1, rank, axes), 1);
    default:
        return (bert_row_op){.kind = BERT_ROWS_MIXED};
    }
}
