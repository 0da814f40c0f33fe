/* One run: texts to rows, rows in batches of like length through the model, answers in the order of the texts. */
#include "core/base/error.h"
#include "core/base/utf8.h"
#include "core/graph/graph.h"
#include "pipelines/worker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Texts whose rows are held at once. */
enum { GROUP_TEXTS = 1024 };

struct bert_answers {
    bert_allocator allocator;
    bert_arena arena;
    bert_answer *items;
    size_t count;
    bert_ranked *ranking; /* Text ranking alone. */
    size_t ranked;
};

/* A row of the group. */
typedef struct group_row {
    const bert_text_row *row;
    size_t text;  /* Of the group. */
    size_t place; /* Among the group's rows. */
} group_row;

/* The texts that are under way. */
typedef struct text_group {
    bert_pipeline *pipeline;
    bert_worker *worker;
    const bert_run_options *options;
    bert_arena *arena;
    bert_arena scratch;
    bert_text *texts; /* Well-formed. */
    bert_answer *answers;
    size_t count;
    const bert_encoded_text **encoded; /* NULL for a text that was refused. */
    bert_encoded_text **own;           /* Those of them that were encoded here. */
    size_t *first_rows;                /* Where each text's rows begin. */
    group_row *rows;                   /* By length. */
    size_t row_count;
    const bert_text_row **batch; /* Room for the rows of one batch. */
    void **partials;             /* One a row. */
} text_group;

/* ---- Workers ---------------------------------------------------------------------------------------------------- */

static void free_worker(const bert_pipeline *pipeline, bert_worker *worker) {
    bert_session_free(worker->session);
    bert_text_batch_free(worker->batch);
    bert_text_encoder_free(worker->encoder);
    bert_deallocate(&pipeline->allocator, worker, sizeof *worker, BERT_ALIGNMENT);
}

static bert_status new_worker(bert_pipeline *pipeline, bert_worker **out, bert_error *error) {
    bert_worker *worker = bert_allocate(&pipeline->allocator, sizeof *worker, BERT_ALIGNMENT);
    if (!worker) return bert_fail_memory(error, sizeof *worker, "a pipeline's run");
    *worker = (bert_worker){0};
    bert_status status =
        bert_text_batch_create(pipeline->model, pipeline->tokenizer, &pipeline->allocator, &worker->batch, error);
    if (status == BERT_OK) status = bert_session_create(pipeline->model, &pipeline->session, &worker->session, error);
    if (status != BERT_OK) {
        free_worker(pipeline, worker);
        return status;
    }
    *out = worker;
    return BERT_OK;
}

bert_status bert_worker_take(bert_pipeline *pipeline, bert_worker **out, bert_error *error) {
    pthread_mutex_lock(&pipeline->mutex);
    bert_worker *worker = pipeline->idle;
    if (worker) pipeline->idle = worker->next;
    pthread_mutex_unlock(&pipeline->mutex);
    if (!worker) return new_worker(pipeline, out, error);
    *out = worker;
    return BERT_OK;
}

void bert_worker_give(bert_pipeline *pipeline, bert_worker *worker) {
    pthread_mutex_lock(&pipeline->mutex);
    worker->next = pipeline->idle;
    pipeline->idle = worker;
    pthread_mutex_unlock(&pipeline->mutex);
}

void bert_workers_free(bert_pipeline *pipeline) {
    while (pipeline->idle) {
        bert_worker *worker = pipeline->idle;
        pipeline->idle = worker->next;
        free_worker(pipeline, worker);
    }
}

/* ---- Texts to rows ---------------------------------------------------------------------------------------------- */

/* A text's own failure: kept in its answer, so that the others go on. */
static bert_status refuse(text_group *group, size_t text, const bert_error *why, bert_error *error) {
    bert_answer *answer = &group->answers[text];
    *answer = (bert_answer){.status = why->status};
    answer->sentence = bert_arena_string(group->arena, why->message, strlen(why->message));
    return answer->sentence ? BERT_OK : bert_fail_memory(error, strlen(why->message), "an error's sentence");
}

/* Failures that are a text's own, not the run's. */
static bool is_its_own(bert_status status) {
    return status == BERT_INVALID_INPUT || status == BERT_UNSUPPORTED;
}

/* With U+FFFD for what is not UTF-8, where that is wanted: answers quote the text. */
static bert_status well_formed(text_group *group, const char **text, size_t *length, bert_error *error) {
    if (!*text) return BERT_OK;
    if (bert_utf8_valid_prefix(*text, *length) == *length) return BERT_OK;
    size_t bytes = bert_utf8_replace(*text, *length, NULL);
    char *copy = bert_arena_array(&group->scratch, bytes, 1);
    if (!copy) return bert_fail_memory(error, bytes, "a text with its broken bytes replaced");
    *length = bert_utf8_replace(*text, *length, copy);
    *text = copy;
    return BERT_OK;
}

bert_status bert_pipeline_encoder(const bert_pipeline *pipeline, bert_text_encoder **out, bert_error *error) {
    return bert_text_encoder_create(pipeline->tokenizer, &pipeline->texts, out, error);
}

static bert_status encode(text_group *group, size_t index, bert_error *error) {
    bert_worker *worker = group->worker;
    if (!worker->encoder) BERT_TRY(bert_pipeline_encoder(group->pipeline, &worker->encoder, error));
    BERT_TRY(bert_text_encoder_encode(worker->encoder, &group->texts[index], &group->own[index], error));
    group->encoded[index] = group->own[index];
    return BERT_OK;
}

static bert_status take_text(text_group *group, size_t index, bert_error *error) {
    const bert_pipeline *pipeline = group->pipeline;
    const bert_task_rules *rules = pipeline->rules;
    bert_text *text = &group->texts[index];
    bert_answer *answer = &group->answers[index];
    if (pipeline->texts.invalid_utf8 == BERT_INVALID_UTF8_REPLACE) {
        BERT_TRY(well_formed(group, &text->text, &text->text_length, error));
        BERT_TRY(well_formed(group, &text->pair, &text->pair_length, error));
    }
    if (rules->accept) BERT_TRY(rules->accept(pipeline, text, error));
    if (!group->encoded[index]) BERT_TRY(encode(group, index, error));
    const bert_encoded_text *encoded = group->encoded[index];
    for (size_t r = 0; rules->accept_row && r < encoded->row_count; r++) {
        BERT_TRY(rules->accept_row(pipeline, &encoded->rows[r], error));
    }
    answer->cut = encoded->cut;
    answer->windows = encoded->row_count;
    return BERT_OK;
}

static int by_length(const void *a, const void *b) {
    const group_row *left = a, *right = b;
    if (left->row->length != right->row->length) return left->row->length < right->row->length ? -1 : 1;
    return left->place < right->place ? -1 : left->place > right->place;
}

static bert_status take_texts(text_group *group, bert_error *error) {
    for (size_t i = 0; i < group->count; i++) {
        bert_error why;
        bert_status status = take_text(group, i, &why);
        if (status != BERT_OK && !is_its_own(status)) return bert_fail(error, status, "%s", why.message);
        if (status != BERT_OK) BERT_TRY(refuse(group, i, &why, error));
        if (status == BERT_OK) group->row_count += group->encoded[i]->row_count;
    }
    return BERT_OK;
}

static bert_status collect_rows(text_group *group, bert_error *error) {
    size_t count = group->row_count, place = 0;
    group->rows = BERT_ARENA_NEW_ARRAY(&group->scratch, group_row, count);
    group->batch = BERT_ARENA_NEW_ARRAY(&group->scratch, const bert_text_row *, count);
    group->partials = BERT_ARENA_NEW_ARRAY(&group->scratch, void *, count);
    if (!group->rows || !group->batch || !group->partials) {
        return bert_fail_memory(error, count * sizeof *group->rows, "rows of texts");
    }
    for (size_t i = 0; i < group->count; i++) {
        group->first_rows[i] = place;
        if (group->answers[i].sentence) continue;
        const bert_encoded_text *encoded = group->encoded[i];
        for (size_t r = 0; r < encoded->row_count; r++, place++) {
            group->rows[place] = (group_row){.row = &encoded->rows[r], .text = i, .place = place};
        }
    }
    if (!group->pipeline->in_order && count) qsort(group->rows, count, sizeof *group->rows, by_length);
    return BERT_OK;
}

/* ---- Rows to answers -------------------------------------------------------------------------------------------- */

static bert_status read_row(text_group *group, const group_row *row, size_t at, const bert_tensor *outputs,
                            bert_error *error) {
    const bert_text_batch *batch = group->worker->batch;
    size_t width = outputs->rank > 1 ? (size_t)outputs->dims[1] : 0;
    const bert_text_place place = bert_text_batch_place(batch, row->row, at, width);
    const bert_row_reading reading = {.pipeline = group->pipeline,
                                      .arena = group->arena,
                                      .scratch = &group->scratch,
                                      .text = &group->texts[row->text],
                                      .row = row->row,
                                      .outputs = outputs,
                                      .at = place.at,
                                      .first = place.first,
                                      .answer = &group->answers[row->text],
                                      .partial = &group->partials[row->place]};
    return group->pipeline->rules->read(&reading, error);
}

static bert_status run_rows(text_group *group, const group_row *rows, size_t count, bert_error *error) {
    const bert_pipeline *pipeline = group->pipeline;
    bert_named_tensor outputs[2] = {{.name = pipeline->head.outputs[0]}, {.name = pipeline->head.outputs[1]}};
    bert_tensor tensors[2];
    for (size_t i = 0; i < count; i++) group->batch[i] = rows[i].row;
    BERT_TRY(bert_text_batch_run(group->worker->batch, group->worker->session, group->options, group->batch, count,
                                 outputs, pipeline->head.output_count, error));
    for (size_t i = 0; i < pipeline->head.output_count; i++) tensors[i] = outputs[i].tensor;
    BERT_TRY(pipeline->rules->check(pipeline, tensors, error));
    for (size_t i = 0; i < count; i++) {
        if (!group->answers[rows[i].text].sentence) BERT_TRY(read_row(group, &rows[i], i, tensors, error));
    }
    return BERT_OK;
}

static bert_status run_batch(text_group *group, const group_row *rows, size_t count, bert_error *error) {
    bert_error why = {.status = BERT_OK};
    bert_status status = run_rows(group, rows, count, &why);
    if (status == BERT_OK) return BERT_OK;
    if (status != BERT_INVALID_INPUT) return bert_fail(error, status, "%s", why.message);
    if (count == 1) return refuse(group, rows[0].text, &why, error);
    /* One row of the batch is more than the model takes: alone, each shows whether it is the one. */
    for (size_t i = 0; i < count; i++) {
        if (!group->answers[rows[i].text].sentence) BERT_TRY(run_batch(group, &rows[i], 1, error));
    }
    return BERT_OK;
}

static bert_status finish_texts(text_group *group, bert_error *error) {
    if (!group->pipeline->rules->finish) return BERT_OK;
    for (size_t i = 0; i < group->count; i++) {
        if (group->answers[i].sentence) continue;
        const bert_text_reading reading = {.pipeline = group->pipeline,
                                           .arena = group->arena,
                                           .scratch = &group->scratch,
                                           .text = &group->texts[i],
                                           .partials = group->partials + group->first_rows[i],
                                           .rows = group->encoded[i]->row_count,
                                           .answer = &group->answers[i]};
        BERT_TRY(group->pipeline->rules->finish(&reading, error));
    }
    return BERT_OK;
}

static bert_status run_group(text_group *group, const bert_text *texts, const bert_encoded_text *const *encoded,
                             bert_error *error) {
    const bert_pipeline *pipeline = group->pipeline;
    group->texts = BERT_ARENA_NEW_ARRAY(&group->scratch, bert_text, group->count);
    group->encoded = BERT_ARENA_NEW_ARRAY(&group->scratch, const bert_encoded_text *, group->count);
    group->first_rows = BERT_ARENA_NEW_ARRAY(&group->scratch, size_t, group->count);
    group->own = BERT_ARENA_NEW_ARRAY(&group->scratch, bert_encoded_text *, group->count);
    if (!group->texts || !group->encoded || !group->first_rows || !group->own) {
        group->own = NULL;
        return bert_fail_memory(error, group->count * sizeof *texts, "a group of texts");
    }
    for (size_t i = 0; i < group->count; i++) {
        group->texts[i] = texts[i];
        group->encoded[i] = encoded ? encoded[i] : NULL;
    }
    BERT_TRY(take_texts(group, error));
    BERT_TRY(collect_rows(group, error));
    size_t most = pipeline->batch_size;
    size_t capacity = bert_text_batch_capacity(group->worker->batch);
    if (most > capacity) most = capacity;
    for (size_t done = 0; done < group->row_count;) {
        size_t take = group->row_count - done < most ? group->row_count - done : most;
        BERT_TRY(run_batch(group, group->rows + done, take, error));
        done += take;
    }
    return finish_texts(group, error);
}

static void free_group(text_group *group) {
    for (size_t i = 0; group->own && i < group->count; i++) bert_encoded_text_free(group->own[i]);
    bert_arena_free(&group->scratch);
}

/* ---- Ranking ---------------------------------------------------------------------------------------------------- */

static int by_score(const void *a, const void *b) {
    const bert_ranked *left = a, *right = b;
    if (isnan(left->score) != isnan(right->score)) return isnan(left->score) ? 1 : -1;
    if (left->score > right->score) return -1;
    if (left->score < right->score) return 1;
    return left->index < right->index ? -1 : left->index > right->index;
}

static bert_status rank(bert_answers *answers, bert_error *error) {
    answers->ranking = BERT_ARENA_NEW_ARRAY(&answers->arena, bert_ranked, answers->count);
    if (!answers->ranking) return bert_fail_memory(error, answers->count * sizeof *answers->ranking, "a ranking");
    for (size_t i = 0; i < answers->count; i++) {
        const bert_answer *answer = &answers->items[i];
        if (answer->sentence) continue;
        answers->ranking[answers->ranked++] = (bert_ranked){.index = i, .score = answer->scores[answer->label]};
    }
    qsort(answers->ranking, answers->ranked, sizeof *answers->ranking, by_score);
    return BERT_OK;
}

/* ---- The run ---------------------------------------------------------------------------------------------------- */

static bert_status run(bert_pipeline *pipeline, bert_worker *worker, const bert_text *texts,
                       const bert_encoded_text *const *encoded, const bert_run_options *options, bert_answers *answers,
                       bert_error *error) {
    answers->items = BERT_ARENA_NEW_ARRAY(&answers->arena, bert_answer, answers->count);
    if (!answers->items) return bert_fail_memory(error, answers->count * sizeof *answers->items, "answers");
    for (size_t done = 0; done < answers->count;) {
        size_t left = answers->count - done;
        text_group group = {.pipeline = pipeline,
                            .worker = worker,
                            .options = options,
                            .arena = &answers->arena,
                            .answers = answers->items + done,
                            .count = left < GROUP_TEXTS ? left : GROUP_TEXTS};
        bert_arena_init(&group.scratch, &pipeline->allocator);
        bert_status status = run_group(&group, texts + done, encoded ? encoded + done : NULL, error);
        free_group(&group);
        if (status != BERT_OK) return status;
        done += group.count;
    }
    return pipeline->task == BERT_TASK_TEXT_RANKING ? rank(answers, error) : BERT_OK;
}

bert_status bert_pipeline_run(bert_pipeline *pipeline, const bert_text *texts, size_t count,
                              const bert_run_options *options, bert_answers **out, bert_error *error) {
    return bert_pipeline_run_encoded(pipeline, texts, NULL, count, options, out, error);
}

bert_status bert_pipeline_run_encoded(bert_pipeline *pipeline, const bert_text *texts,
                                      const bert_encoded_text *const *encoded, size_t count,
                                      const bert_run_options *options, bert_answers **out, bert_error *error) {
    if (!out) return bert_fail(error, BERT_INVALID_ARGUMENT, "bert_pipeline_run: out is NULL");
    *out = NULL;
    if (!pipeline || (!texts && count)) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "bert_pipeline_run: %s is NULL",
                         pipeline ? "texts" : "pipeline");
    }
    bert_answers *answers = bert_allocate(&pipeline->allocator, sizeof *answers, BERT_ALIGNMENT);
    if (!answers) return bert_fail_memory(error, sizeof *answers, "answers");
    *answers = (bert_answers){.allocator = pipeline->allocator, .count = count};
    bert_arena_init(&answers->arena, &answers->allocator);
    bert_worker *worker;
    bert_status status = bert_worker_take(pipeline, &worker, error);
    if (status == BERT_OK) {
        status = run(pipeline, worker, texts, encoded, options, answers, error);
        bert_worker_give(pipeline, worker);
    }
    if (status != BERT_OK) {
        bert_answers_free(answers);
        return status;
    }
    *out = answers;
    return BERT_OK;
}

void bert_answers_free(bert_answers *answers) {
    if (!answers) return;
    bert_arena_free(&answers->arena);
    bert_allocator allocator = answers->allocator;
    bert_deallocate(&allocator, answers, sizeof *answers, BERT_ALIGNMENT);
}

size_t bert_answers_count(const bert_answers *answers) {
    return answers->count;
}

const bert_answer *bert_answers_get(const bert_answers *answers, size_t index) {
    return index < answers->count ? &answers->items[index] : NULL;
}

const bert_ranked *bert_answers_ranking(const bert_answers *answers, size_t *count_out) {
    *count_out = answers->ranked;
    return answers->ranking;
}
