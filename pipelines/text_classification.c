/* Text classification, and the ranking of documents by a cross-encoder: logits of [batch, labels] to scores. */
#include "core/base/error.h"
#include "pipelines/pipeline.h"

#include <math.h>
#include <string.h>

static bert_status prepare(bert_pipeline *pipeline, const bert_pipeline_options *options, bert_error *error) {
    const bert_model_config *config = &pipeline->config;
    bert_score_function function = options->score_function;
    if (function < BERT_SCORE_DEFAULT || function > BERT_SCORE_NONE) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "%d is not a bert_score_function", (int)function);
    }
    if (function == BERT_SCORE_DEFAULT && pipeline->task == BERT_TASK_TEXT_RANKING) function = config->cross_encoder;
    if (function == BERT_SCORE_DEFAULT) {
        switch (config->problem_type) {
        case BERT_PROBLEM_REGRESSION:
            function = BERT_SCORE_NONE;
            break;
        case BERT_PROBLEM_MULTI_LABEL:
            function = BERT_SCORE_SIGMOID;
            break;
        case BERT_PROBLEM_SINGLE_LABEL:
        case BERT_PROBLEM_UNSTATED:
            break; /* The number of labels decides: one is sigmoid, more are softmax. */
        }
    }
    pipeline->score_function = function;
    return BERT_OK;
}

static bert_status check(const bert_pipeline *pipeline, const bert_tensor *outputs, bert_error *error) {
    return bert_check_output(pipeline, outputs, 0, 2, "float logits of [batch, labels]", error);
}

static void score(bert_score_function function, const double *logits, double *scores, size_t count) {
    if (function == BERT_SCORE_DEFAULT) function = count == 1 ? BERT_SCORE_SIGMOID : BERT_SCORE_SOFTMAX;
    switch (function) {
    case BERT_SCORE_SIGMOID:
        for (size_t i = 0; i < count; i++) scores[i] = 1 / (1 + exp(-logits[i]));
        return;
    case BERT_SCORE_SOFTMAX:
        bert_softmax(logits, scores, count);
        return;
    case BERT_SCORE_NONE:
    case BERT_SCORE_DEFAULT:
        memcpy(scores, logits, count * sizeof *scores);
        return;
    }
}

static bert_status read(const bert_row_reading *reading, bert_error *error) {
    bert_answer *answer = reading->answer;
    size_t count = (size_t)reading->outputs->dims[1];
    double *values = BERT_ARENA_NEW_ARRAY(reading->arena, double, 2 * count);
    if (!values) return bert_fail_memory(error, 2 * count * sizeof *values, "logits");
    bert_output_values(reading->outputs, reading->at * (int64_t)count, count, values);
    score(reading->pipeline->score_function, values, values + count, count);
    answer->logits = values;
    answer->scores = values + count;
    answer->label_count = count;
    answer->label = bert_greatest(answer->scores, count);
    return BERT_OK;
}

const bert_task_rules bert_text_classification_rules = {.prepare = prepare, .check = check, .read = read};

/* ---- Ranking ---------------------------------------------------------------------------------------------------- */

/* The label whose score counts: the only one, the last of two ("relevant"), or the one that is named. */
static bert_status choose_label(bert_pipeline *pipeline, const char *name, bert_error *error) {
    size_t count = pipeline->label_count;
    if (!name && count > 2) {
        return bert_fail(error, BERT_INVALID_ARGUMENT,
                         "the model has %zu labels: name the one that documents are ranked by", count);
    }
    pipeline->ranking_label = count ? count - 1 : 0;
    if (!name) return BERT_OK;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(pipeline->labels[i], name) == 0) {
            pipeline->ranking_label = i;
            return BERT_OK;
        }
    }
    return bert_fail(error, BERT_INVALID_ARGUMENT, "the model has no label '%s'", name);
}

static bert_status prepare_ranking(bert_pipeline *pipeline, const bert_pipeline_options *options, bert_error *error) {
    BERT_TRY(choose_label(pipeline, options->ranking_label, error));
    return prepare(pipeline, options, error);
}

static bert_status accept_pair(const bert_pipeline *pipeline, const bert_text *text, bert_error *error) {
    if (text->pair) return BERT_OK;
    return bert_fail(error, BERT_INVALID_INPUT, "ranking takes pairs of a query and a document, but there is one text");
}

static bert_status read_ranking(const bert_row_reading *reading, bert_error *error) {
    BERT_TRY(read(reading, error));
    bert_answer *answer = reading->answer;
    answer->label = reading->pipeline->ranking_label;
    if (answer->label < answer->label_count) return BERT_OK;
    return bert_fail(error, BERT_INVALID_MODEL, "the model gives %zu logits, but label %zu is what counts",
                     answer->label_count, answer->label);
}

const bert_task_rules bert_text_ranking_rules = {
    .prepare = prepare_ranking, .accept = accept_pair, .check = check, .read = read_ranking};
