/* What the tasks read answers with: outputs as numbers, scores, slices of texts, tokens as text. */
#include "core/base/dtypes.h"
#include "core/base/error.h"
#include "core/base/utf8.h"
#include "core/graph/graph.h"
#include "pipelines/pipeline.h"

#include <math.h>
#include <stdio.h>

bert_status bert_check_output(const bert_pipeline *pipeline, const bert_tensor *outputs, size_t index, int32_t rank,
                              const char *what, bert_error *error) {
    const bert_tensor *output = &outputs[index];
    if (bert_dtype_is_float(output->dtype) && output->rank == rank && output->dims[rank - 1] > 0) return BERT_OK;
    return bert_fail(error, BERT_UNSUPPORTED, "output '%s' is %s of rank %d, but %s reads %s",
                     pipeline->head.outputs[index], bert_dtype_name(output->dtype), (int)output->rank,
                     bert_task_name(pipeline->task), what);
}

double bert_output_value(const bert_tensor *output, int64_t index) {
    const bert_constant view = {.dtype = output->dtype, .data = output->data};
    return bert_constant_double(&view, index);
}

void bert_output_values(const bert_tensor *output, int64_t index, size_t count, double *out) {
    const float *floats = output->data;
    if (output->dtype == BERT_FLOAT) {
        for (size_t i = 0; i < count; i++) out[i] = floats[(size_t)index + i];
        return;
    }
    for (size_t i = 0; i < count; i++) out[i] = bert_output_value(output, index + (int64_t)i);
}

void bert_softmax(const double *logits, double *scores, size_t count) {
    double greatest = -INFINITY;
    double sum = 0;
    for (size_t i = 0; i < count; i++) greatest = fmax(greatest, logits[i]);
    for (size_t i = 0; i < count; i++) sum += scores[i] = exp(logits[i] - greatest);
    for (size_t i = 0; i < count; i++) scores[i] /= sum;
}

size_t bert_greatest(const double *values, size_t count) {
    size_t greatest = 0;
    for (size_t i = 1; i < count; i++) {
        if (values[i] > values[greatest]) greatest = i;
    }
    return greatest;
}

/* Bytes from `from` to the next `count` code points. */
static size_t step(const bert_code_points *points, size_t from, int64_t count, int64_t *stepped) {
    size_t at = from;
    int64_t done = 0;
    while (done < count && at < points->length) {
        at += bert_utf8_length((unsigned char)points->text[at]);
        done++;
    }
    *stepped = done;
    return at;
}

const char *bert_code_points_slice(bert_code_points *points, int64_t start, int64_t end, size_t *length_out) {
    if (start < points->index) points->byte = 0, points->index = 0;
    int64_t stepped;
    points->byte = step(points, points->byte, start - points->index, &stepped);
    points->index += stepped;
    size_t stop = end > start ? step(points, points->byte, end - start, &stepped) : points->byte;
    *length_out = stop - points->byte;
    return points->text + points->byte;
}

bert_status bert_decode_into(const bert_pipeline *pipeline, bert_arena *arena, const int32_t *ids, size_t count,
                             bool skip_special_tokens, const char **out, size_t *length_out, bert_error *error) {
    bool clean = pipeline->config.clean_up_spaces;
    size_t length = bert_tokenizer_decode(pipeline->tokenizer, ids, count, skip_special_tokens, clean, NULL, 0);
    char *text = bert_arena_array(arena, length + 1, 1);
    if (!text) return bert_fail_memory(error, length, "decoded tokens");
    bert_tokenizer_decode(pipeline->tokenizer, ids, count, skip_special_tokens, clean, text, length + 1);
    *out = text;
    *length_out = length;
    return BERT_OK;
}
