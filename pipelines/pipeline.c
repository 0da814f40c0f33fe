/* Loading a pipeline: model, tokenizer, configuration, head, settings. */
#include "pipelines/pipeline.h"

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/runtime/model.h"
#include "core/runtime/options.h"
#include "pipelines/worker.h"

#include <inttypes.h>
#include <string.h>

static const struct {
    const char *name;
    const bert_task_rules *rules;
} tasks[] = {
    {"text-classification", &bert_text_classification_rules},   {"feature-extraction", &bert_feature_extraction_rules},
    {"token-classification", &bert_token_classification_rules}, {"fill-mask", &bert_fill_mask_rules},
    {"question-answering", &bert_question_answering_rules},     {"text-ranking", &bert_text_ranking_rules}};
enum { TASKS = sizeof tasks / sizeof *tasks, DEFAULT_BATCH_SIZE = 8, QUESTION_LENGTH = 384 };

const char *bert_task_name(bert_task task) {
    return (size_t)task < TASKS ? tasks[task].name : "unknown task";
}

/* What fits: the least of what the options, the tokenizer, the model's positions and its file's fixed shapes say. */
static void limit_length(bert_pipeline *pipeline, const bert_pipeline_options *options, int64_t width) {
    int64_t limits[] = {bert_tokenizer_model_max_length(pipeline->tokenizer), pipeline->config.positions, width,
                        options->max_length};
    int64_t length = INT64_MAX;
    if (pipeline->task == BERT_TASK_QUESTION_ANSWERING && options->max_length == 0) limits[3] = QUESTION_LENGTH;
    if (pipeline->task == BERT_TASK_FEATURE_EXTRACTION && options->max_length == 0 &&
        pipeline->pooling != BERT_POOLING_NONE) {
        limits[3] = pipeline->config.sentence_length;
    }
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        if (limits[i] > 0 && limits[i] < length) length = limits[i];
    }
    pipeline->texts.max_length = length;
}

static bert_status set_long_text(bert_pipeline *pipeline, const bert_pipeline_options *options, bert_error *error) {
    bert_text_encoder_options *texts = &pipeline->texts;
    bool answers = pipeline->task == BERT_TASK_QUESTION_ANSWERING;
    bool entities = pipeline->task == BERT_TASK_TOKEN_CLASSIFICATION && options->aggregation != BERT_AGGREGATION_NONE;
    bert_long_text how = options->long_text;
    if (how == BERT_LONG_TEXT_DEFAULT) how = answers ? BERT_LONG_TEXT_WINDOWS : BERT_LONG_TEXT_CUT;
    switch (how) {
    case BERT_LONG_TEXT_REFUSE:
        texts->truncation = BERT_TRUNCATION_NONE;
        return BERT_OK;
    case BERT_LONG_TEXT_CUT:
    case BERT_LONG_TEXT_DEFAULT:
        texts->truncation = BERT_TRUNCATION_LONGEST_FIRST;
        return BERT_OK;
    case BERT_LONG_TEXT_CUT_FIRST:
        texts->truncation = BERT_TRUNCATION_ONLY_FIRST;
        return BERT_OK;
    case BERT_LONG_TEXT_CUT_SECOND:
        texts->truncation = BERT_TRUNCATION_ONLY_SECOND;
        return BERT_OK;
    case BERT_LONG_TEXT_WINDOWS:
        if (!answers && !entities) {
            return bert_fail(error, BERT_UNSUPPORTED,
                             "%s has no rule for windows; question-answering has one, and token-classification with an "
                             "aggregation",
                             bert_task_name(pipeline->task));
        }
        texts->windows = true;
        texts->stride = options->stride ? options->stride : answers ? -1 : 0;
        if (options->stride == -1) texts->stride = 0;
        texts->truncation = answers ? BERT_TRUNCATION_ONLY_SECOND : BERT_TRUNCATION_ONLY_FIRST;
        return BERT_OK;
    }
    return bert_fail(error, BERT_INVALID_ARGUMENT, "%d is not a bert_long_text", (int)how);
}

static bert_status copy_labels(bert_pipeline *pipeline, bert_error *error) {
    const bert_model_config *config = &pipeline->config;
    if (pipeline->task == BERT_TASK_FEATURE_EXTRACTION || pipeline->task == BERT_TASK_FILL_MASK ||
        pipeline->task == BERT_TASK_QUESTION_ANSWERING) {
        return BERT_OK;
    }
    size_t count = config->label_count;
    if (pipeline->head.width > 0 && (size_t)pipeline->head.width > count) count = (size_t)pipeline->head.width;
    pipeline->labels = BERT_ARENA_NEW_ARRAY(&pipeline->arena, const char *, count);
    if (!pipeline->labels) return bert_fail_memory(error, count * sizeof *pipeline->labels, "the labels");
    for (size_t i = 0; i < count; i++) {
        pipeline->labels[i] = i < config->label_count ? config->labels[i] : NULL;
        if (!pipeline->labels[i]) pipeline->labels[i] = bert_arena_format(&pipeline->arena, "LABEL_%zu", i);
        if (!pipeline->labels[i]) return bert_fail_memory(error, sizeof "LABEL_", "a label");
    }
    pipeline->label_count = count;
    return BERT_OK;
}

static bert_status check_options(const bert_pipeline_options *options, bert_error *error) {
    if (options->batch_size < 0 || options->max_length < 0 || options->stride < -1 || options->top_k < 0 ||
        options->max_answer_length < 0) {
        return bert_fail(error, BERT_INVALID_ARGUMENT,
                         "batch_size (%d), max_length (%" PRId64 "), stride (%" PRId64 "), top_k (%" PRId64
                         ") and max_answer_length (%" PRId64 ") must not be negative",
                         (int)options->batch_size, options->max_length, options->stride, options->top_k,
                         options->max_answer_length);
    }
    if (options->invalid_utf8 != BERT_INVALID_UTF8_ERROR && options->invalid_utf8 != BERT_INVALID_UTF8_REPLACE) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "%d is not a bert_invalid_utf8", (int)options->invalid_utf8);
    }
    return BERT_OK;
}

static bert_status open_files(bert_pipeline *pipeline, const char *model, const bert_pipeline_options *options,
                              bert_error *error) {
    bert_model_files files;
    bert_tokenizer_options tokenizer_options = {
        .struct_size = sizeof tokenizer_options, .allocator = &pipeline->allocator, .log = &pipeline->log};
    BERT_TRY(bert_model_files_find(model, options->tokenizer_folder, &pipeline->arena, &files, error));
    if (!files.tokenizer_folder) return bert_model_files_no_tokenizer(files.model, error);
    BERT_TRY(bert_tokenizer_load(files.tokenizer_folder, &tokenizer_options, &pipeline->tokenizer, error));
    BERT_TRY(bert_model_config_load(&files, &pipeline->allocator, &pipeline->config, error));
    return bert_model_load(files.model, options->model, &pipeline->model, error);
}

static bert_status set_session(bert_pipeline *pipeline, const bert_pipeline_options *options, bert_error *error) {
    if (options->session) {
        BERT_TRY(bert_read_options(&pipeline->session, sizeof pipeline->session, options->session,
                                   "bert_session_options", error));
    } else {
        pipeline->session = (bert_session_options){.struct_size = sizeof pipeline->session,
                                                   .quant_scope = BERT_QUANT_SCOPE_SEQUENCE,
                                                   .padded_rows = BERT_PADDED_ROWS_UNDEFINED};
    }
    bert_session_options *session = &pipeline->session;
    if (session->providers) {
        session->providers = bert_arena_string(&pipeline->arena, session->providers, strlen(session->providers));
        if (!session->providers) return bert_fail_memory(error, 0, "the providers");
    }
    if (!session->threads) {
        BERT_TRY(bert_thread_pool_create(0, &pipeline->allocator, &pipeline->threads, error));
        session->threads = pipeline->threads;
    }
    pipeline->in_order = session->quant_scope == BERT_QUANT_SCOPE_TENSOR && bert_model_quantizes(pipeline->model);
    return BERT_OK;
}

static bert_status load(bert_pipeline *pipeline, const char *model, const bert_pipeline_options *options,
                        bert_error *error) {
    BERT_TRY(check_options(options, error));
    BERT_TRY(open_files(pipeline, model, options, error));
    BERT_TRY(bert_head_find(pipeline->task, pipeline->model, &pipeline->config,
                            bert_tokenizer_vocabulary_size(pipeline->tokenizer), &pipeline->head, error));
    BERT_TRY(copy_labels(pipeline, error));
    pipeline->batch_size = options->batch_size ? (size_t)options->batch_size : DEFAULT_BATCH_SIZE;
    pipeline->texts.invalid_utf8 = options->invalid_utf8;
    /* A cross-encoder gets its pairs in lists, where an empty document stays one. */
    pipeline->texts.empty_pair_is_none = pipeline->task != BERT_TASK_TEXT_RANKING;
    pipeline->texts.allocator = &pipeline->allocator;
    BERT_TRY(set_long_text(pipeline, options, error));
    if (pipeline->rules->prepare) BERT_TRY(pipeline->rules->prepare(pipeline, options, error));
    BERT_TRY(set_session(pipeline, options, error));
    /* The first worker is made at once, so that what the model or a provider can't do fails here. */
    bert_worker *worker;
    BERT_TRY(bert_worker_take(pipeline, &worker, error));
    limit_length(pipeline, options, bert_text_batch_width(worker->batch));
    bert_worker_give(pipeline, worker);
    return BERT_OK;
}

static bert_status create(bert_task task, const bert_model_options *options, bert_pipeline **out, bert_error *error) {
    bert_model_options model_options;
    BERT_TRY(bert_read_options(&model_options, sizeof model_options, options, "bert_model_options", error));
    const bert_allocator *allocator = model_options.allocator ? model_options.allocator : &bert_default_allocator;
    bert_pipeline *pipeline = bert_allocate(allocator, sizeof *pipeline, BERT_ALIGNMENT);
    if (!pipeline) return bert_fail_memory(error, sizeof *pipeline, "a pipeline");
    *pipeline = (bert_pipeline){.allocator = *allocator, .task = task, .rules = tasks[task].rules};
    if (model_options.log) pipeline->log = *model_options.log;
    pthread_mutex_init(&pipeline->mutex, NULL);
    bert_arena_init(&pipeline->arena, &pipeline->allocator);
    bert_arena_init(&pipeline->config.arena, &pipeline->allocator);
    *out = pipeline;
    return BERT_OK;
}

bert_status bert_pipeline_load(bert_task task, const char *model, const bert_pipeline_options *options,
                               bert_pipeline **out, bert_error *error) {
    if (!out) return bert_fail(error, BERT_INVALID_ARGUMENT, "bert_pipeline_load: out is NULL");
    *out = NULL;
    if (!model) return bert_fail(error, BERT_INVALID_ARGUMENT, "bert_pipeline_load: the model's path is NULL");
    if ((size_t)task >= TASKS) return bert_fail(error, BERT_INVALID_ARGUMENT, "%d is not a bert_task", (int)task);
    bert_pipeline_options known;
    BERT_TRY(bert_read_options(&known, sizeof known, options, "bert_pipeline_options", error));
    bert_pipeline *pipeline = NULL;
    BERT_TRY(create(task, known.model, &pipeline, error));
    bert_status status = load(pipeline, model, &known, error);
    if (status != BERT_OK) {
        bert_pipeline_free(pipeline);
        return status;
    }
    *out = pipeline;
    return BERT_OK;
}

void bert_pipeline_free(bert_pipeline *pipeline) {
    if (!pipeline) return;
    bert_workers_free(pipeline);
    bert_model_free(pipeline->model);
    bert_tokenizer_free(pipeline->tokenizer);
    bert_thread_pool_free(pipeline->threads);
    bert_model_config_free(&pipeline->config);
    bert_arena_free(&pipeline->arena);
    pthread_mutex_destroy(&pipeline->mutex);
    bert_allocator allocator = pipeline->allocator;
    bert_deallocate(&allocator, pipeline, sizeof *pipeline, BERT_ALIGNMENT);
}

const bert_tokenizer *bert_pipeline_tokenizer(const bert_pipeline *pipeline) {
    return pipeline->tokenizer;
}

int64_t bert_pipeline_max_length(const bert_pipeline *pipeline) {
    return pipeline->texts.max_length;
}

size_t bert_pipeline_label_count(const bert_pipeline *pipeline) {
    return pipeline->label_count;
}

const char *bert_pipeline_label(const bert_pipeline *pipeline, size_t label) {
    return label < pipeline->label_count ? pipeline->labels[label] : NULL;
}
