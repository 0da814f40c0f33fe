/* Canonical DisentangledBias. */
#include "cuda/ops/disentangled_bias.h"

#include "core/graph/canonical.h"
#include "cuda/plan/plan.h"

/* Where the inputs of each term are. */
typedef struct places {
    int32_t content, positions, indices;
} places;

static const places places_of[BERT_CUDA_POSITION_TERMS] = {
    [BERT_CUDA_CONTENT_TO_POSITION] = {BERT_DISENTANGLED_Q, BERT_DISENTANGLED_KEYS, BERT_DISENTANGLED_C2P},
    [BERT_CUDA_POSITION_TO_CONTENT] = {BERT_DISENTANGLED_K, BERT_DISENTANGLED_QUERIES, BERT_DISENTANGLED_P2C}};

bert_status bert_cuda_plan_disentangled_bias(const bert_cuda_planner *planner) {
    BERT_CUDA_TRY(bert_cuda_want_float(planner, BERT_DISENTANGLED_Q));
    return bert_cuda_want_reports(planner);
}

bert_status bert_cuda_run_disentangled_bias(const bert_cuda_call *call) {
    const bert_tensor *y = &call->outputs[0];
    const int64_t heads = y->dims[1], width = call->inputs[BERT_DISENTANGLED_Q].dims[2];
    bert_cuda_disentangled_bias_args args = {.dtype = y->dtype,
                                             .batch = y->dims[0],
                                             .heads = heads,
                                             .depth = width / heads,
                                             .queries = y->dims[2],
                                             .keys = y->dims[3],
                                             .scale = BERT_NODE_FLOAT(&call->node->node, "scale", 1.0F),
                                             .y = y->data,
                                             .check = bert_cuda_check_of(call)};
    if (bert_cuda_elements(y) == 0) return BERT_OK;
    for (int i = 0; i < BERT_CUDA_POSITION_TERMS; i++) {
        const places *at = &places_of[i];
        const bert_tensor *positions = bert_cuda_input(call, at->positions);
        const bert_tensor *indices = bert_cuda_input(call, at->indices);
        if (!positions || !indices) continue;
        BERT_CUDA_TRY(bert_cuda_check_bound(call, positions->dims[1], indices));
        args.terms[i] = (bert_cuda_position_term){.content = call->inputs[at->content].data,
                                                  .positions = positions->data,
                                                  .count = positions->dims[1],
                                                  .indices = indices->data,
                                                  .index_type = indices->dtype,
                                                  .input = at->indices};
    }
    return bert_cuda_launched(call, bert_cuda_disentangled_bias(&args, call->context->stream), "disentangled_bias");
}
