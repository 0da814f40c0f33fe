#include "pipelines/text_classification.h"

#include "core/base/error.h"
#include "core/graph/graph.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct bert_text_classifier {
    bert_session *session;
    const bert_model_config *config;
    bert_text_batch *batch;
    const char *output;
    bert_arena arena; /* The answers of the last call. */
    char label_name[32];
};

static bert_status choose_output(const bert_model *model, const char **out, bert_error *error) {
    size_t count = bert_model_output_count(model);
    bert_model_tensor output;
    for (size_t i = count; i-- > 0;) {
        BERT_TRY(bert_model_output(model, i, &output));
        if (i == 0 || strcmp(output.name, "logits") == 0) {
            *out = output.name;
            break;
        }
    }
    if (count == 0) return bert_fail(error, BERT_UNSUPPORTED, "the model has no outputs");
    return BERT_OK;
}

bert_status bert_text_classifier_create(const bert_model *model, bert_session *session, const bert_tokenizer *tokenizer,
                                        const bert_model_config *config, const bert_text_batch_options *options,
                                        bert_text_classifier **out, bert_error *error) {
    *out = NULL;
    bert_text_batch_options limited = *options;
    int64_t positions = config->max_position_embeddings;
    if (positions > 0 && (limited.max_length <= 0 || positions < limited.max_length)) limited.max_length = positions;
    const char *output = NULL;
    BERT_TRY(choose_output(model, &output, error));
    bert_text_batch *batch;
    BERT_TRY(bert_text_batch_create(model, tokenizer, &limited, &batch, error));
    bert_text_classifier *classifier = bert_allocate(NULL, sizeof *classifier, BERT_ALIGNMENT);
    if (!classifier) {
        bert_text_batch_free(batch);
        return bert_fail_memory(error, sizeof *classifier, "a classifier");
    }
    *classifier = (bert_text_classifier){.session = session, .config = config, .batch = batch, .output = output};
    bert_arena_init(&classifier->arena, NULL);
    *out = classifier;
    return BERT_OK;
}

void bert_text_classifier_free(bert_text_classifier *classifier) {
    if (!classifier) return;
    bert_text_batch_free(classifier->batch);
    bert_arena_free(&classifier->arena);
    bert_deallocate(NULL, classifier, sizeof *classifier, BERT_ALIGNMENT);
}

int64_t bert_text_classifier_max_length(const bert_text_classifier *classifier) {
    return bert_text_batch_max_length(classifier->batch);
}

bert_status bert_text_classifier_encoder(const bert_text_classifier *classifier, bert_text_encoder **out,
                                         bert_error *error) {
    return bert_text_encoder_create(classifier->batch, out, error);
}

static bert_status check_logits(const bert_tensor *logits, const char *name, size_t rows, bert_error *error) {
    bool is_float = logits->dtype == BERT_FLOAT || logits->dtype == BERT_DOUBLE || logits->dtype == BERT_FLOAT16 ||
                    logits->dtype == BERT_BFLOAT16;
    if (is_float && logits->rank == 2 && logits->dims[0] >= (int64_t)rows && logits->dims[1] > 0) return BERT_OK;
    return bert_fail(error, BERT_UNSUPPORTED,
                     "output '%s' is %s of rank %d, but a text classifier gives float logits of [batch, labels]", name,
                     bert_dtype_name(logits->dtype), (int)logits->rank);
}

static void softmax(const double *logits, double *scores, size_t count) {
    double greatest = -INFINITY;
    double sum = 0;
    for (size_t i = 0; i < count; i++) greatest = fmax(greatest, logits[i]);
    for (size_t i = 0; i < count; i++) sum += scores[i] = exp(logits[i] - greatest);
    for (size_t i = 0; i < count; i++) scores[i] /= sum;
}

static void score(bert_problem_type type, const double *logits, double *scores, size_t count) {
    if (type == BERT_PROBLEM_REGRESSION) {
        memcpy(scores, logits, count * sizeof *scores);
    } else if (type == BERT_PROBLEM_MULTI_LABEL || count == 1) {
        for (size_t i = 0; i < count; i++) scores[i] = 1 / (1 + exp(-logits[i]));
    } else {
        softmax(logits, scores, count);
    }
}

static bert_status answer(bert_text_classifier *classifier, const bert_tensor *logits, size_t row,
                          bert_classification *out, bert_error *error) {
    size_t count = (size_t)logits->dims[1];
    double *values = BERT_ARENA_NEW_ARRAY(&classifier->arena, double, 2 * count);
    if (!values) return bert_fail_memory(error, 2 * count * sizeof *values, "logits");
    const bert_constant view = {.dtype = logits->dtype, .data = logits->data};
    for (size_t i = 0; i < count; i++) values[i] = bert_constant_double(&view, (int64_t)(row * count + i));
    score(classifier->config->problem_type, values, values + count, count);
    out->status = BERT_OK;
    out->logits = values;
    out->scores = values + count;
    out->label_count = count;
    for (size_t i = 1; i < count; i++) {
        if (out->scores[i] > out->scores[out->label]) out->label = i;
    }
    return BERT_OK;
}

/* The text's own failure: kept in the answer, so that the others go on. */
static bert_status refuse(bert_text_classifier *classifier, const bert_error *why, bert_classification *out,
                          bert_error *error) {
    out->status = why->status;
    out->sentence = bert_arena_string(&classifier->arena, why->message, strlen(why->message));
    return out->sentence ? BERT_OK : bert_fail_memory(error, strlen(why->message), "an error's sentence");
}

static bert_status run_batch(bert_text_classifier *classifier, bert_classification *answers, size_t count,
                             bert_error *error) {
    bert_named_tensor output = {.name = classifier->output};
    size_t rows = bert_text_batch_rows(classifier->batch);
    BERT_TRY(bert_text_batch_run(classifier->batch, classifier->session, &output, 1, error));
    BERT_TRY(check_logits(&output.tensor, output.name, rows, error));
    size_t row = 0;
    for (size_t i = 0; i < count; i++) {
        if (answers[i].sentence) continue;
        BERT_TRY(answer(classifier, &output.tensor, row++, &answers[i], error));
    }
    return BERT_OK;
}

static bert_status classify(bert_text_classifier *classifier, const bert_text *texts, bert_classification *answers,
                            size_t count, bert_error *error) {
    bert_text_batch_clear(classifier->batch);
    for (size_t i = 0; i < count; i++) {
        bert_error why;
        answers[i] = (bert_classification){0};
        bert_status status = bert_text_batch_add(classifier->batch, &texts[i], &answers[i].cut, &why);
        if (status == BERT_OUT_OF_MEMORY) return bert_fail(error, status, "%s", why.message);
        if (status != BERT_OK) BERT_TRY(refuse(classifier, &why, &answers[i], error));
    }
    if (bert_text_batch_rows(classifier->batch) == 0) return BERT_OK;
    bert_error why;
    bert_status status = run_batch(classifier, answers, count, &why);
    if (status == BERT_OK) return BERT_OK;
    if (status != BERT_INVALID_INPUT) return bert_fail(error, status, "%s", why.message);
    if (count == 1) return refuse(classifier, &why, &answers[0], error);
    /* One text of the batch is more than the model takes: alone, each shows whether it is the one. */
    for (size_t i = 0; i < count; i++) {
        if (!answers[i].sentence) BERT_TRY(classify(classifier, &texts[i], &answers[i], 1, error));
    }
    return BERT_OK;
}

bert_status bert_text_classifier_run(bert_text_classifier *classifier, const bert_text *texts, size_t count,
                                     const bert_classification **out, bert_error *error) {
    bert_arena_free(&classifier->arena);
    bert_arena_init(&classifier->arena, NULL);
    bert_classification *answers = BERT_ARENA_NEW_ARRAY(&classifier->arena, bert_classification, count);
    if (!answers) return bert_fail_memory(error, count * sizeof *answers, "answers");
    size_t capacity = bert_text_batch_capacity(classifier->batch);
    for (size_t done = 0; done < count;) {
        size_t take = count - done < capacity ? count - done : capacity;
        BERT_TRY(classify(classifier, texts + done, answers + done, take, error));
        done += take;
    }
    *out = answers;
    return BERT_OK;
}

const char *bert_text_classifier_label(bert_text_classifier *classifier, size_t label) {
    const bert_model_config *config = classifier->config;
    if (label < config->label_count && config->labels[label]) return config->labels[label];
    snprintf(classifier->label_name, sizeof classifier->label_name, "LABEL_%zu", label);
    return classifier->label_name;
}
