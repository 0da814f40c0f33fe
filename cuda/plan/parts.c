/* What Linear and QuantizedLinear have in common. */
#include "cuda/plan/parts.h"

#include <string.h>

bert_status bert_cuda_begin_parts(const bert_cuda_planner *planner, bert_cuda_parts *out) {
    const bert_op_node *node = planner->node;
    bert_cuda_activation activation;
    *out = (bert_cuda_parts){.prepared = planner->prepared,
                             .count = (int32_t)BERT_NODE_INT(node, "parts", 1),
                             .transposed = BERT_NODE_INT(node, "transpose", 0) != 0};
    if (out->count < 1 || out->count > BERT_CUDA_MOST_PARTS) return bert_cuda_leave(planner, "takes 1 to 8 parts");
    if (!bert_cuda_find_activation(BERT_NODE_STRING(node, "activation", "none"), &activation))
        return bert_cuda_leave(planner, "doesn't know this activation");
    return BERT_OK;
}

const bert_constant *bert_cuda_model_constant(const bert_op_node *node, int32_t input) {
    const bert_constant *constant = bert_cuda_known(node, input);
    return constant && constant->id != 0 ? constant : NULL;
}

bool bert_cuda_varies(const bert_op_node *node, int32_t input) {
    return bert_cuda_node_has(node, input) && !bert_cuda_model_constant(node, input);
}

bert_status bert_cuda_add_part(const bert_cuda_planner *planner, bert_cuda_parts *parts, int32_t part, int32_t weight,
                               int32_t bias) {
    const bert_op_node *node = planner->node;
    const bert_constant *matrix = bert_cuda_model_constant(node, weight), *row = bert_cuda_model_constant(node, bias);
    if (!matrix || matrix->rank != 2 || bert_cuda_varies(node, bias))
        return bert_cuda_leave(planner, "wants constant weights and biases");
    const bert_constant *other = bert_cuda_parts_bias(parts);
    if (row && other && row->dtype != other->dtype) return bert_cuda_leave(planner, "wants biases all of one type");
    parts->constants[part] = matrix;
    parts->biases[part] = row;
    parts->columns += bert_cuda_part_columns(parts, part);
    return BERT_OK;
}

const bert_constant *bert_cuda_parts_bias(const bert_cuda_parts *parts) {
    for (int32_t part = 0; part < parts->count; part++)
        if (parts->biases[part]) return parts->biases[part];
    return NULL;
}

bert_status bert_cuda_write_biases(const void *argument, void *out, bert_error *error) {
    const bert_cuda_parts *parts = argument;
    int64_t first = 0;
    for (int32_t part = 0; part < parts->count; part++) {
        const bert_constant *bias = parts->biases[part];
        if (bias) {
            const bert_dtype stored = bert_cuda_stored(parts->prepared, bias->dtype);
            bert_cuda_encode(stored, bias->dtype, (char *)out + (size_t)first * bert_cuda_dtype_size(stored),
                             bias->data, bert_cuda_constant_count(bias));
        }
        first += bert_cuda_part_columns(parts, part);
    }
    return BERT_OK;
}

size_t bert_cuda_parts_key(const bert_cuda_parts *parts, const char *what, const bert_constant *const *constants,
                           bert_cuda_parts_id *out) {
    memset(out, 0, sizeof *out);
    strncpy(out->what, what, sizeof out->what - 1);
    out->transposed = parts->transposed;
    out->count = parts->count;
    for (int32_t i = 0; i < parts->count; i++) {
        out->ids[i] = constants[i] ? constants[i]->id : 0;
        out->weights[i] = parts->constants[i]->id;
        out->zero_points[i] = parts->zero_points[i] ? parts->zero_points[i]->id : 0;
    }
    return sizeof *out;
}
