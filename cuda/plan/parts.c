/* What Linear and QuantizedLinear have in common. */
#include "cuda/plan/parts.h"

bert_status bert_cuda_begin_parts(const bert_cuda_planner *planner, bert_cuda_parts *out) {
    const bert_op_node *node = planner->node;
    bert_cuda_activation activation;
    *out = (bert_cuda_parts){.prepared = planner->prepared,
                             .count = (int32_t)bert_cuda_int(node, "parts", 1),
                             .transposed = bert_cuda_int(node, "transpose", 0) != 0};
    if (out->count < 1 || out->count > BERT_CUDA_MOST_PARTS) return bert_cuda_leave(planner, "takes 1 to 8 parts");
    if (!bert_cuda_find_activation(bert_cuda_string(node, "activation", "none"), &activation))
        return bert_cuda_leave(planner, "doesn't know this activation");
    return BERT_OK;
}
