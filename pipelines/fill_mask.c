/* Fill-mask: logits of [1, masks, vocabulary] to the likeliest tokens for each mask of a text. */
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/runtime/model_end.h"
#include "pipelines/pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_TOP_K = 5 };

/* A token that competes for a mask. */
typedef struct candidate {
    int32_t token;
    double logit;
} candidate;

static int by_number(const void *a, const void *b) {
    const int32_t *left = a, *right = b;
    return *left < *right ? -1 : *left > *right;
}

/* The token of a target: the vocabulary's, or the first of those that it is made of; -1 when there is none. */
static bert_status find_target(const bert_pipeline *pipeline, bert_encoding *encoding, const char *target, int32_t *out,
                               bert_error *error) {
    const bert_encode_options options = {.struct_size = sizeof options, .no_special_tokens = true};
    *out = bert_tokenizer_id(pipeline->tokenizer, target, strlen(target));
    if (*out >= 0) return BERT_OK;
    BERT_TRY(bert_tokenizer_encode(pipeline->tokenizer, target, strlen(target), NULL, 0, &options, encoding, error));
    bert_encoding_view view = bert_encoding_get(encoding);
    if (view.length == 0) {
        bert_log_write(&pipeline->log, BERT_LOG_NOTICE, "the target '%s' has no tokens and is left out", target);
        return BERT_OK;
    }
    *out = view.ids[0];
    bert_log_write(&pipeline->log, BERT_LOG_NOTICE, "the target '%s' is no token of the vocabulary: '%s' stands for it",
                   target, bert_tokenizer_token(pipeline->tokenizer, *out, NULL));
    return BERT_OK;
}

static bert_status find_targets(bert_pipeline *pipeline, const bert_pipeline_options *options, bert_encoding *encoding,
                                bert_error *error) {
    size_t count = 0;
    for (size_t i = 0; i < options->target_count; i++) {
        int32_t token;
        BERT_TRY(find_target(pipeline, encoding, options->targets[i], &token, error));
        if (token >= 0) pipeline->targets[count++] = token;
    }
    if (count == 0) return bert_fail(error, BERT_INVALID_ARGUMENT, "none of the targets has a token");
    qsort(pipeline->targets, count, sizeof *pipeline->targets, by_number);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && pipeline->targets[i] == pipeline->targets[i - 1]) continue;
        pipeline->targets[pipeline->target_count++] = pipeline->targets[i];
    }
    return BERT_OK;
}

static bert_status prepare(bert_pipeline *pipeline, const bert_pipeline_options *options, bert_error *error) {
    if (bert_tokenizer_special_ids(pipeline->tokenizer).mask < 0) {
        return bert_fail(error, BERT_UNSUPPORTED, "the tokenizer has no mask token");
    }
    BERT_TRY(bert_model_end_in_tokens(pipeline->model, pipeline->head.outputs[0], BERT_TEXT_MASK_TOKENS,
                                      &pipeline->head.outputs[0], error));
    pipeline->top_k = options->top_k ? (size_t)options->top_k : DEFAULT_TOP_K;
    if (!options->targets) return BERT_OK;
    pipeline->targets = BERT_ARENA_NEW_ARRAY(&pipeline->arena, int32_t, options->target_count);
    if (!pipeline->targets) return bert_fail_memory(error, options->target_count * sizeof(int32_t), "targets");
    bert_encoding *encoding;
    BERT_TRY(bert_encoding_create(pipeline->tokenizer, &encoding, error));
    bert_status status = find_targets(pipeline, options, encoding, error);
    bert_encoding_free(encoding);
    return status;
}

static size_t count_masks(const bert_pipeline *pipeline, const bert_text_row *row) {
    int32_t mask = bert_tokenizer_special_ids(pipeline->tokenizer).mask;
    size_t count = 0;
    for (size_t t = 0; t < row->length; t++) count += row->ids[t] == mask;
    return count;
}

static bert_status accept_row(const bert_pipeline *pipeline, const bert_text_row *row, bert_error *error) {
    if (count_masks(pipeline, row) > 0) return BERT_OK;
    int32_t mask = bert_tokenizer_special_ids(pipeline->tokenizer).mask;
    return bert_fail(error, BERT_INVALID_INPUT, "the text has no mask: write %s where a token is to be found",
                     bert_tokenizer_token(pipeline->tokenizer, mask, NULL));
}

static bert_status check(const bert_pipeline *pipeline, const bert_tensor *outputs, bert_error *error) {
    BERT_TRY(bert_check_output(pipeline, outputs, 0, 3, "float logits of [1, masks, vocabulary]", error));
    int32_t greatest = pipeline->targets ? pipeline->targets[pipeline->target_count - 1] : 0;
    if (greatest < outputs->dims[2]) return BERT_OK;
    return bert_fail(error, BERT_INVALID_ARGUMENT, "target %d is no token of the model's: it gives %lld logits",
                     (int)greatest, (long long)outputs->dims[2]);
}

/* Puts a token among the best `most`, which are in order; of equals the first stays before. */
static void compete(candidate *best, size_t *count, size_t most, int32_t token, double logit) {
    size_t at = *count;
    if (at == most && !(logit > best[at - 1].logit)) return;
    if (at == most) at--;
    while (at > 0 && logit > best[at - 1].logit) {
        best[at] = best[at - 1];
        at--;
    }
    best[at] = (candidate){token, logit};
    if (*count < most) ++*count;
}

/* The row's tokens without padding, with `token` at `at`, as text. */
static bert_status decode_sequence(const bert_row_reading *reading, size_t at, int32_t token, bool single,
                                   bert_filling *out, bert_error *error) {
    const bert_text_row *row = reading->row;
    int32_t pad = bert_tokenizer_special_ids(reading->pipeline->tokenizer).pad;
    int32_t *ids = BERT_ARENA_NEW_ARRAY(reading->scratch, int32_t, row->length);
    if (!ids) return bert_fail_memory(error, row->length * sizeof *ids, "token ids");
    size_t count = 0;
    for (size_t t = 0; t < row->length; t++) {
        int32_t id = t == at ? token : row->ids[t];
        if (id != pad) ids[count++] = id;
    }
    /* Among several masks the others are to be seen: special tokens stay, as in transformers. */
    return bert_decode_into(reading->pipeline, reading->arena, ids, count, single, &out->sequence,
                            &out->sequence_length, error);
}

/* Mask `index` of the row, which is its token `at`. */
static bert_status fill(const bert_row_reading *reading, size_t index, size_t at, bool single, bert_mask_answer *out,
                        bert_error *error) {
    const bert_pipeline *pipeline = reading->pipeline;
    const bert_tensor *logits = reading->outputs;
    int64_t vocabulary = logits->dims[2];
    int64_t begin = (reading->first + (int64_t)index) * vocabulary;
    size_t choices = pipeline->targets ? pipeline->target_count : (size_t)vocabulary;
    size_t most = pipeline->top_k < choices ? pipeline->top_k : choices, count = 0;
    candidate *best = BERT_ARENA_NEW_ARRAY(reading->scratch, candidate, most);
    bert_filling *fillings = BERT_ARENA_NEW_ARRAY(reading->arena, bert_filling, most);
    if (!best || !fillings) return bert_fail_memory(error, most * sizeof *fillings, "fillings");
    double greatest = -INFINITY, sum = 0;
    for (int64_t v = 0; v < vocabulary; v++) greatest = fmax(greatest, bert_output_value(logits, begin + v));
    for (int64_t v = 0; v < vocabulary; v++) {
        double logit = bert_output_value(logits, begin + v);
        sum += exp(logit - greatest);
        if (!pipeline->targets) compete(best, &count, most, (int32_t)v, logit);
    }
    for (size_t i = 0; pipeline->targets && i < pipeline->target_count; i++) {
        int32_t token = pipeline->targets[i];
        compete(best, &count, most, token, bert_output_value(logits, begin + token));
    }
    for (size_t i = 0; i < count; i++) {
        bert_filling *filling = &fillings[i];
        filling->token = best[i].token;
        filling->score = exp(best[i].logit - greatest) / sum;
        BERT_TRY(bert_decode_into(pipeline, reading->arena, &filling->token, 1, false, &filling->token_text,
                                  &filling->token_text_length, error));
        BERT_TRY(decode_sequence(reading, at, filling->token, single, filling, error));
    }
    *out = (bert_mask_answer){fillings, count};
    return BERT_OK;
}

static bert_status read(const bert_row_reading *reading, bert_error *error) {
    const bert_pipeline *pipeline = reading->pipeline;
    int32_t mask = bert_tokenizer_special_ids(pipeline->tokenizer).mask;
    size_t count = count_masks(pipeline, reading->row), done = 0;
    bert_mask_answer *masks = BERT_ARENA_NEW_ARRAY(reading->arena, bert_mask_answer, count);
    if (!masks) return bert_fail_memory(error, count * sizeof *masks, "masks");
    for (size_t t = 0; t < reading->row->length; t++) {
        if (reading->row->ids[t] != mask) continue;
        BERT_TRY(fill(reading, done, t, count == 1, &masks[done], error));
        done++;
    }
    reading->answer->masks = masks;
    reading->answer->mask_count = count;
    return BERT_OK;
}

const bert_task_rules bert_fill_mask_rules = {
    .prepare = prepare, .accept_row = accept_row, .check = check, .read = read};
