#include "core/graph/canonical.h"
#include "core/graph/ops/ops.h"

#include <string.h>

/* What a row calls `none` is no function at all. */
#define bert_infer_none NULL
#define bert_reference_none NULL
#define bert_workspace_none NULL

static const bert_op table[BERT_OP_COUNT] = {
#define BERT_OP(row_id, row_domain, row_name, row_since, row_until, row_min_inputs, row_max_inputs, row_min_outputs,   \
                row_max_outputs, row_shape_inputs, row_flags, row_infer, row_reference, row_workspace)                 \
    [BERT_OP_##row_id] = {.id = BERT_OP_##row_id,                                                                      \
                          .domain = (row_domain),                                                                      \
                          .name = (row_name),                                                                          \
                          .since = (row_since),                                                                        \
                          .until = (row_until),                                                                        \
                          .min_inputs = (row_min_inputs),                                                              \
                          .max_inputs = (row_max_inputs),                                                              \
                          .min_outputs = (row_min_outputs),                                                            \
                          .max_outputs = (row_max_outputs),                                                            \
                          .shape_inputs = (row_shape_inputs),                                                          \
                          .flags = (row_flags),                                                                        \
                          .infer = bert_infer_##row_infer,                                                             \
                          .reference = bert_reference_##row_reference,                                                 \
                          .workspace = bert_workspace_##row_workspace},
#include "core/graph/ops.def"
#undef BERT_OP
};

const bert_op *bert_op_get(bert_op_id id) {
    return &table[id];
}

const bert_op *bert_op_find(const char *domain, const char *name) {
    for (size_t i = 0; i < BERT_OP_COUNT; i++) {
        if (strcmp(table[i].name, name) == 0 && strcmp(table[i].domain, domain) == 0) return &table[i];
    }
    return NULL;
}

bool bert_op_quantizes(const bert_op *op) {
    return op->id == BERT_OP_DynamicQuantizeLinear || op->id == BERT_OP_MS_DynamicQuantizeMatMul ||
           op->id == BERT_OP_BERTC_QuantizedLinear;
}

bool bert_is_dynamic_linear(const bert_node *node) {
    return node->op->id == BERT_OP_BERTC_QuantizedLinear && !BERT_NODE_INT(node, "weight_only", 0) &&
           !(node->input_count > BERT_QUANTIZED_LINEAR_X_SCALE && node->inputs[BERT_QUANTIZED_LINEAR_X_SCALE]);
}

bool bert_has_place(const bert_node *node) {
    return node->op->id == BERT_OP_BERTC_QuantizedLinear &&
           BERT_NODE_INT(node, "place", BERT_EVERY_PLACE) != BERT_EVERY_PLACE;
}

static const bool is_elementwise[BERT_OP_COUNT] = {
    [BERT_OP_Add] = true,          [BERT_OP_Sub] = true,         [BERT_OP_Mul] = true,
    [BERT_OP_Div] = true,          [BERT_OP_Mod] = true,         [BERT_OP_Min] = true,
    [BERT_OP_Max] = true,          [BERT_OP_Pow] = true,         [BERT_OP_Abs] = true,
    [BERT_OP_Ceil] = true,         [BERT_OP_Cos] = true,         [BERT_OP_Erf] = true,
    [BERT_OP_Exp] = true,          [BERT_OP_Floor] = true,       [BERT_OP_Gelu] = true,
    [BERT_OP_Log] = true,          [BERT_OP_Mish] = true,        [BERT_OP_Neg] = true,
    [BERT_OP_Reciprocal] = true,   [BERT_OP_Relu] = true,        [BERT_OP_Round] = true,
    [BERT_OP_Sigmoid] = true,      [BERT_OP_Sign] = true,        [BERT_OP_Sin] = true,
    [BERT_OP_Softplus] = true,     [BERT_OP_Sqrt] = true,        [BERT_OP_Tanh] = true,
    [BERT_OP_Cast] = true,         [BERT_OP_Clip] = true,        [BERT_OP_MS_Gelu] = true,
    [BERT_OP_MS_QuickGelu] = true, [BERT_OP_MS_BiasGelu] = true, [BERT_OP_MS_FastGelu] = true,
    [BERT_OP_Equal] = true,        [BERT_OP_Greater] = true,     [BERT_OP_GreaterOrEqual] = true,
    [BERT_OP_Less] = true,         [BERT_OP_LessOrEqual] = true, [BERT_OP_And] = true,
    [BERT_OP_Or] = true,           [BERT_OP_Xor] = true,         [BERT_OP_Not] = true,
    [BERT_OP_IsNaN] = true,        [BERT_OP_IsInf] = true,       [BERT_OP_Where] = true,
};

bool bert_op_is_elementwise(const bert_op *op) {
    return is_elementwise[op->id];
}
