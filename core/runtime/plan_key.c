/* What a plan is for: requests that it can serve, and their hash. */
#include "core/runtime/plan.h"

#include <string.h>

static uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

static uint64_t mix_bytes(uint64_t hash, const unsigned char *bytes, size_t count) {
    for (; count >= 8; bytes += 8, count -= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = mix(hash, word);
    }
    for (; count; bytes++, count--) hash = mix(hash, *bytes);
    return hash;
}

uint64_t bert_request_key(const bert_model *model, const bert_request *request) {
    uint64_t hash = mix(0, (uint64_t)request->rows);
    for (int32_t i = 0; i < model->graph->input_count; i++) {
        hash = mix(hash, request->given[i]);
        if (!request->given[i]) continue;
        const bert_tensor *input = &request->inputs[i];
        hash = mix(hash, (uint64_t)input->rank);
        for (int32_t d = 0; d < input->rank; d++) hash = mix(hash, (uint64_t)input->dims[d]);
        if (model->deciders.inputs[i]) hash = mix_bytes(hash, input->data, bert_tensor_bytes(input));
    }
    for (int32_t i = 0; i < model->graph->output_count; i++) hash = mix(hash, request->wanted[i]);
    return hash;
}

static bool same_input(const bert_tensor *a, const bert_tensor *b, bool by_content) {
    if (a->rank != b->rank) return false;
    for (int32_t d = 0; d < a->rank; d++) {
        if (a->dims[d] != b->dims[d]) return false;
    }
    size_t bytes = by_content ? bert_tensor_bytes(a) : 0;
    return bytes == 0 || memcmp(a->data, b->data, bytes) == 0;
}

bool bert_plan_is_for(const bert_plan *plan, uint64_t key, const bert_request *request) {
    const bert_model *model = plan->weights->model;
    if (plan->key != key || plan->request.rows != request->rows) return false;
    for (int32_t i = 0; i < model->graph->input_count; i++) {
        if (plan->request.given[i] != request->given[i]) return false;
        if (!request->given[i]) continue;
        if (!same_input(&plan->request.inputs[i], &request->inputs[i], model->deciders.inputs[i])) return false;
    }
    for (int32_t i = 0; i < model->graph->output_count; i++) {
        if (plan->request.wanted[i] != request->wanted[i]) return false;
    }
    return true;
}
