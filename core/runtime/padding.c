#include "core/runtime/padding.h"

#include "core/base/error.h"
#include "core/runtime/token_rows.h"

enum { BATCH = 2, SEQUENCE = 8 };

static bert_status say(bert_arena *arena, const char *text, const char **why, bert_error *error) {
    *why = bert_arena_format(arena, "%s", text);
    return *why ? BERT_OK : bert_fail_memory(error, 0, "a sentence");
}

bert_status bert_padding_check(const bert_model *model, bert_quant_scope scope, bert_arena *arena, const char **why,
                               bert_error *error) {
    const size_t inputs = (size_t)model->graph->input_count, outputs = (size_t)model->graph->output_count;
    bert_tensor *tensors = BERT_ARENA_NEW_ARRAY(arena, bert_tensor, inputs);
    bool *given = BERT_ARENA_NEW_ARRAY(arena, bool, inputs), *wanted = BERT_ARENA_NEW_ARRAY(arena, bool, outputs);
    if (!tensors || !given || !wanted) return bert_fail_memory(error, inputs * sizeof *tensors, "a batch");
    if (model->token_mask < 0) return say(arena, "no input is an attention mask", why, error);
    for (size_t i = 0; i < outputs; i++) wanted[i] = true;
    for (size_t i = 0; i < inputs; i++) {
        const bert_model_tensor *declared = &model->inputs[i];
        if (model->deciders.inputs[i]) return say(arena, "shapes depend on the content of inputs", why, error);
        given[i] = !declared->optional;
        tensors[i] = (bert_tensor){.dtype = declared->dtype, .rank = declared->rank < 0 ? 2 : declared->rank};
        for (int32_t d = 0; d < tensors[i].rank; d++) {
            const bool open = declared->rank < 0 || declared->dims[d] < 0;
            tensors[i].dims[d] = !open ? declared->dims[d] : d == 0 ? BATCH : SEQUENCE;
        }
    }
    const int64_t *mask = tensors[model->token_mask].dims;
    const bert_request request = {
        .inputs = tensors, .given = given, .wanted = wanted, .rows = mask[0] * mask[1] - 1, .scope = scope};
    if (request.rows < 1) return say(arena, "the batch is of one token", why, error);
    bert_binding binding;
    bert_error reason;
    bert_status status = bert_bind(model, &request, arena, &binding, &reason);
    if (status == BERT_OK) status = bert_bind_tokens(model, &request, arena, arena, &binding, &reason);
    if (status == BERT_OUT_OF_MEMORY) return bert_fail(error, status, "%s", reason.message);
    if (status != BERT_OK) return say(arena, reason.message, why, error);
    *why = binding.packed ? NULL : binding.padding;
    return BERT_OK;
}
