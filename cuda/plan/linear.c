/* Canonical Linear: a product, and what follows it. */
#include "core/graph/canonical.h"
#include "cuda/plan/parts.h"

/* What is packed: weights side by side, as E4M3 where the node's flag is set, and their biases. */
enum { PACKED_WEIGHT, PACKED_BIAS };

void bert_cuda_give_stretches(const bert_cuda_planner *planner) {
    const bert_tensor_desc *y = &planner->node->outputs[0];
    if (planner->mode == BERT_PLAN_BIND) planner->out->y_ranges = (int32_t)bert_cuda_stretches(y->dims[y->rank - 1]);
}

bert_status bert_cuda_multiply_with_epilogue(const bert_cuda_call *call, bert_cuda_gemm_args *product,
                                             const bert_cuda_epilogue *epilogue) {
    const bert_tensor *y = &call->outputs[0];
    const bert_cuda_bias_activation_args args = {.dtype = y->dtype,
                                                 .activation = bert_cuda_activation_of(&call->node->node),
                                                 .rows = bert_cuda_count(y->dims, 0, y->rank - 1),
                                                 .width = y->dims[y->rank - 1],
                                                 .x = y->data,
                                                 .bias = epilogue->bias,
                                                 .residual = bert_cuda_input_data(call, BERT_LINEAR_RESIDUAL),
                                                 .row_scales = epilogue->row_scales,
                                                 .column_scales = epilogue->column_scales,
                                                 .scale = epilogue->scale,
                                                 .y = y->data,
                                                 .residual_lower = bert_cuda_lower_halves(call, BERT_LINEAR_RESIDUAL),
                                                 .y_lower = bert_cuda_output_lower_halves(call, 0),
                                                 .ranges = call->y_ranges,
                                                 .e4m3 = call->y_e4m3,
                                                 .y_unread = call->y_unread};
    return bert_cuda_multiply_followed(call, product, &args, NULL, epilogue->norms);
}

bert_status bert_cuda_multiply_weights(const bert_cuda_call *call, int32_t weight,
                                       const bert_cuda_followed_norms *norms) {
    const bert_cuda_node *node = call->node;
    const bert_tensor *x = &call->inputs[BERT_LINEAR_X], *y = &call->outputs[0];
    const void *packed = node->packed[PACKED_WEIGHT], *bias = node->packed[PACKED_BIAS];
    bert_cuda_gemm_args product =
        bert_cuda_product_of_rows(call, x, packed ? packed : call->inputs[weight].data,
                                  BERT_NODE_INT(&node->node, "transpose", 0) != 0, y->dims[y->rank - 1], y->data);
    product.alpha = BERT_NODE_FLOAT(&node->node, "alpha", 1.0F);
    product.cold_b = bert_cuda_is_cold(call, weight, product.m);
    if (!bias && BERT_NODE_INT(&node->node, "parts", 1) == 1) bias = bert_cuda_input_data(call, weight + 1);
    return bert_cuda_multiply_with_epilogue(call, &product, &(bert_cuda_epilogue){.bias = bias, .norms = norms});
}

bert_status bert_cuda_run_linear(const bert_cuda_call *call) {
    const bert_cuda_node *node = call->node;
    if (node->flag) return bert_cuda_run_e4m3_linear(call, node->packed[PACKED_WEIGHT], node->packed[PACKED_BIAS]);
    return bert_cuda_multiply_weights(call, BERT_LINEAR_WEIGHT(0), NULL);
}

/* Several weights side by side: their rows follow each other where they are transposed, else each row is joined. */
static bert_status write_weights(const void *argument, void *out, bert_error *error) {
    const bert_cuda_parts *parts = argument;
    const size_t size = bert_cuda_dtype_size(bert_cuda_stored(parts->prepared, parts->constants[0]->dtype));
    int64_t first = 0;
    for (int32_t part = 0; part < parts->count; part++) {
        const bert_constant *weight = parts->constants[part];
        const bert_dtype stored = bert_cuda_stored(parts->prepared, weight->dtype);
        const size_t host = bert_cuda_dtype_size(weight->dtype);
        const int64_t columns = bert_cuda_part_columns(parts, part), depth = bert_cuda_parts_depth(parts);
        for (int64_t row = 0; !parts->transposed && row < depth; row++) {
            bert_cuda_encode(stored, weight->dtype, (char *)out + (size_t)(row * parts->columns + first) * size,
                             weight->data + (size_t)(row * columns) * host, columns);
        }
        if (parts->transposed)
            bert_cuda_encode(stored, weight->dtype, (char *)out + (size_t)(first * depth) * size, weight->data,
                             columns * depth);
        first += columns;
    }
    return BERT_OK;
}

bert_status bert_cuda_pack_weights(const bert_cuda_planner *planner, const bert_cuda_parts *parts) {
    bert_cuda_parts_id id;
    const bert_constant *first = parts->constants[0];
    const int64_t depth = bert_cuda_parts_depth(parts);
    const size_t size = bert_cuda_dtype_size(bert_cuda_stored(parts->prepared, first->dtype));
    size_t key = bert_cuda_parts_key(parts, "weights", parts->constants, &id);
    void **weights = &planner->state->packed[PACKED_WEIGHT];
    if (planner->state->flag)
        BERT_CUDA_TRY(bert_cuda_pack_e4m3(planner, parts, weights));
    else
        BERT_CUDA_TRY(bert_cuda_pack(planner->prepared, &id, key, (size_t)(depth * parts->columns) * size,
                                     write_weights, parts, weights, planner->error));
    if (!bert_cuda_parts_bias(parts)) return BERT_OK;
    key = bert_cuda_parts_key(parts, "biases", parts->biases, &id);
    return bert_cuda_pack(planner->prepared, &id, key, (size_t)parts->columns * size, bert_cuda_write_biases, parts,
                          &planner->state->packed[PACKED_BIAS], planner->error);
}

bert_status bert_cuda_plan_linear(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    bert_cuda_parts parts;
    BERT_CUDA_TRY(bert_cuda_begin_parts(planner, &parts));
    BERT_CUDA_TRY(bert_cuda_want_float(planner, BERT_LINEAR_X));
    if (bert_cuda_node_has(node, BERT_LINEAR_RESIDUAL)) bert_cuda_give_wide(planner, 0);
    planner->state->flag = bert_cuda_takes_e4m3(planner, &parts);
    if (planner->state->flag) planner->out->kernel = "linear_e4m3/cuda";
    if (planner->state->flag)
        planner->out->x_bytes = bert_cuda_model_constant(node, BERT_LINEAR_WEIGHT(0))->dims[parts.transposed ? 1 : 0];
    /* What follows a product finds ranges, or makes bytes where it is a kernel of its own anyway. */
    if (bert_cuda_activation_of(node) != BERT_CUDA_NONE || bert_cuda_node_has(node, BERT_LINEAR_RESIDUAL)) {
        if (planner->state->flag) planner->out->y_bytes = bert_cuda_row_width(&node->outputs[0]);
        if (!planner->state->flag) bert_cuda_give_stretches(planner);
    }
    if (parts.count == 1 && !planner->state->flag) return BERT_OK;
    for (int32_t part = 0; part < parts.count; part++) {
        BERT_CUDA_TRY(bert_cuda_add_part(planner, &parts, part, BERT_LINEAR_WEIGHT(part), BERT_LINEAR_BIAS(part)));
        planner->out->unread_inputs |= UINT64_C(3) << BERT_LINEAR_WEIGHT(part);
    }
    return planner->mode == BERT_PLAN_QUERY ? BERT_OK : bert_cuda_pack_weights(planner, &parts);
}
