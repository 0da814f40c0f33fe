/* Feature extraction: a vector a token, or one a text by pooling, as sentence-transformers pools. */
#include "core/base/error.h"
#include "core/runtime/model_end.h"
#include "pipelines/pipeline.h"
#include "pipelines/text_batch.h"

#include <math.h>

/* The graph pools: one vector a text is all that a run gives, and all that is computed. */
static bert_status end_in_pool(bert_pipeline *pipeline, bert_error *error) {
    static const char *const names[] = {
        [BERT_POOLING_CLS] = "first", [BERT_POOLING_MEAN] = "mean", [BERT_POOLING_MAX] = "max"};
    bool at_0 = false;
    BERT_TRY(bert_text_begins_at_0(pipeline->tokenizer, &at_0, error));
    const bert_pooled_output wanted = {.hidden_states = pipeline->head.outputs[0],
                                       .mask = "attention_mask",
                                       .pooling = names[pipeline->pooling],
                                       .normalize = pipeline->normalize,
                                       .begins_at_0 = at_0};
    return bert_model_end_in_pool(pipeline->model, &wanted, &pipeline->head.outputs[0], error);
}

static bert_status prepare(bert_pipeline *pipeline, const bert_pipeline_options *options, bert_error *error) {
    const bert_model_config *config = &pipeline->config;
    if (options->pooling < BERT_POOLING_DEFAULT || options->pooling > BERT_POOLING_MAX) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "%d is not a bert_pooling", (int)options->pooling);
    }
    pipeline->pooling = options->pooling;
    if (pipeline->pooling == BERT_POOLING_DEFAULT) {
        if (config->cannot_embed) {
            return bert_fail(error, BERT_UNSUPPORTED, "%s: name a pooling to embed without", config->cannot_embed);
        }
        pipeline->pooling = config->pooling == BERT_POOLING_DEFAULT ? BERT_POOLING_MEAN : config->pooling;
    }
    /* Without pooling the vectors are the model's own. */
    pipeline->normalize = config->normalize && pipeline->pooling != BERT_POOLING_NONE;
    if (options->normalize != BERT_AS_THE_MODEL_SAYS) pipeline->normalize = options->normalize == BERT_ON;
    return pipeline->pooling == BERT_POOLING_NONE ? BERT_OK : end_in_pool(pipeline, error);
}

static bert_status check(const bert_pipeline *pipeline, const bert_tensor *outputs, bert_error *error) {
    if (pipeline->pooling == BERT_POOLING_NONE) {
        return bert_check_output(pipeline, outputs, 0, 3, "float hidden states of [batch, sequence, hidden]", error);
    }
    return bert_check_output(pipeline, outputs, 0, 2, "float vectors of [batch, hidden]", error);
}

/* To length 1, as Pool does it where there is one; a vector of nothing but zeros stays so. */
static void normalize(float *vector, size_t width) {
    double sum = 0;
    for (size_t i = 0; i < width; i++) sum += (double)vector[i] * vector[i];
    const double norm = sqrt(sum), length = norm < 1e-12 ? 1e-12 : norm; /* a NaN stays one, unlike in fmax */
    for (size_t i = 0; i < width; i++) vector[i] = (float)(vector[i] / length);
}

static bert_status copy_tokens(const bert_row_reading *reading, bert_error *error) {
    int32_t *ids = BERT_ARENA_NEW_ARRAY(reading->arena, int32_t, reading->row->length);
    if (!ids) return bert_fail_memory(error, reading->row->length * sizeof *ids, "token ids");
    for (size_t t = 0; t < reading->row->length; t++) ids[t] = reading->row->ids[t];
    reading->answer->tokens = ids;
    return BERT_OK;
}

static bert_status read(const bert_row_reading *reading, bert_error *error) {
    const bert_pipeline *pipeline = reading->pipeline;
    const bert_tensor *vectors = reading->outputs;
    const bool pooled = pipeline->pooling != BERT_POOLING_NONE;
    const size_t width = (size_t)vectors->dims[vectors->rank - 1], rows = pooled ? 1 : reading->row->length;
    const int64_t first = pooled ? reading->at : reading->at * vectors->dims[1] + reading->first;
    size_t elements = 0;
    if (!bert_size_multiply(rows, width, &elements)) return bert_fail_memory(error, SIZE_MAX, "an embedding");
    float *out = BERT_ARENA_NEW_ARRAY(reading->arena, float, elements);
    if (!out) return bert_fail_memory(error, elements * sizeof *out, "an embedding");
    if (!pooled) BERT_TRY(copy_tokens(reading, error));
    for (size_t i = 0; i < elements; i++) {
        out[i] = (float)bert_output_value(vectors, first * (int64_t)width + (int64_t)i);
    }
    for (size_t r = 0; pipeline->normalize && !pooled && r < rows; r++) normalize(out + r * width, width);
    reading->answer->embedding = out;
    reading->answer->rows = rows;
    reading->answer->width = width;
    return BERT_OK;
}

const bert_task_rules bert_feature_extraction_rules = {.prepare = prepare, .check = check, .read = read};
