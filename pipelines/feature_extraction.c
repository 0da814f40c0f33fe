/* Feature extraction: a vector a token, or one a text by pooling, as sentence-transformers pools. */
#include "core/base/error.h"
#include "pipelines/pipeline.h"

#include <math.h>

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
    return BERT_OK;
}

static bert_status check(const bert_pipeline *pipeline, const bert_tensor *outputs, bert_error *error) {
    return bert_check_output(pipeline, outputs, 0, 3, "float hidden states of [batch, sequence, hidden]", error);
}

/* To length 1; a vector of nothing but zeros stays so. As torch.nn.functional.normalize, epsilon 1e-12. */
static void normalize(float *vector, size_t width) {
    double sum = 0;
    for (size_t i = 0; i < width; i++) sum += (double)vector[i] * vector[i];
    double length = fmax(sqrt(sum), 1e-12);
    for (size_t i = 0; i < width; i++) vector[i] = (float)(vector[i] / length);
}

/* The mean or the greatest element over the row's tokens, in `sum` first: double. */
static void pool(const bert_row_reading *reading, bool mean, double *sum, double *token, float *out) {
    const bert_tensor *states = reading->outputs;
    size_t width = (size_t)states->dims[2], length = reading->row->length;
    for (size_t t = 0; t < length; t++) {
        int64_t at = (reading->at * states->dims[1] + reading->first + (int64_t)t) * states->dims[2];
        bert_output_values(states, at, width, token);
        for (size_t i = 0; i < width; i++) {
            sum[i] = t == 0 ? token[i] : mean ? sum[i] + token[i] : token[i] > sum[i] ? token[i] : sum[i];
        }
    }
    for (size_t i = 0; i < width; i++) out[i] = (float)(mean ? sum[i] / (double)length : sum[i]);
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
    const bert_tensor *states = reading->outputs;
    size_t width = (size_t)states->dims[2];
    size_t rows = pipeline->pooling == BERT_POOLING_NONE ? reading->row->length : 1, elements = 0;
    if (!bert_size_multiply(rows, width, &elements)) return bert_fail_memory(error, SIZE_MAX, "an embedding");
    float *out = BERT_ARENA_NEW_ARRAY(reading->arena, float, elements);
    double *work = BERT_ARENA_NEW_ARRAY(reading->scratch, double, 2 * width);
    if (!out || !work) return bert_fail_memory(error, elements * sizeof *out, "an embedding");
    if (pipeline->pooling == BERT_POOLING_NONE) BERT_TRY(copy_tokens(reading, error));
    if (pipeline->pooling == BERT_POOLING_MEAN || pipeline->pooling == BERT_POOLING_MAX) {
        pool(reading, pipeline->pooling == BERT_POOLING_MEAN, work, work + width, out);
    } else {
        int64_t at = (reading->at * states->dims[1] + reading->first) * states->dims[2];
        for (size_t i = 0; i < elements; i++) out[i] = (float)bert_output_value(states, at + (int64_t)i);
    }
    for (size_t r = 0; pipeline->normalize && r < rows; r++) normalize(out + r * width, width);
    reading->answer->embedding = out;
    reading->answer->rows = rows;
    reading->answer->width = width;
    return BERT_OK;
}

const bert_task_rules bert_feature_extraction_rules = {.prepare = prepare, .check = check, .read = read};
