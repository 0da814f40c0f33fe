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
