/* The C API of pipelines: options, failures, threads, memory. That answers are right is tested in tests/cli. */
#include "core/base/error.h"
#include "pipelines/lower_case.h"
#include "tests/support/scarce_memory.h"
#include "tests/support/test.h"

#include <bert/bert.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define SMALL BERT_SOURCE_DIR "/tests/data/pipelines"

static bert_text text_of(const char *text, const char *pair) {
    return (bert_text){text, strlen(text), pair, pair ? strlen(pair) : 0};
}

static bert_pipeline *load(bert_task task, const char *model, const bert_pipeline_options *options) {
    bert_pipeline *pipeline;
    bert_error error;
    if (bert_pipeline_load(task, model, options, &pipeline, &error) != BERT_OK) fail_msg("%s", error.message);
    return pipeline;
}

static bert_answers *run(bert_pipeline *pipeline, const bert_text *texts, size_t count) {
    bert_answers *answers;
    bert_error error;
    if (bert_pipeline_run(pipeline, texts, count, NULL, &answers, &error) != BERT_OK) fail_msg("%s", error.message);
    return answers;
}

static void expect_refused(bert_task task, const char *model, const bert_pipeline_options *options, bert_status status,
                           const char *words) {
    bert_pipeline *pipeline = (bert_pipeline *)&task;
    bert_error error = {.message = ""};
    assert_int_equal(bert_pipeline_load(task, model, options, &pipeline, &error), status);
    assert_null(pipeline);
    if (!strstr(error.message, words)) fail_msg("'%s' was expected in '%s'", words, error.message);
}

static void wrong_arguments_are_refused(void **state) {
    bert_pipeline_options options = {.struct_size = 3};
    expect_refused(BERT_TASK_FILL_MASK, SMALL "/fill-mask", &options, BERT_INVALID_ARGUMENT, "struct_size");
    expect_refused((bert_task)77, SMALL "/fill-mask", NULL, BERT_INVALID_ARGUMENT, "77 is not a bert_task");
    expect_refused(BERT_TASK_FILL_MASK, NULL, NULL, BERT_INVALID_ARGUMENT, "NULL");
    expect_refused(BERT_TASK_FILL_MASK, SMALL "/none", NULL, BERT_IO_ERROR, "none");
    options = (bert_pipeline_options){.struct_size = sizeof options, .batch_size = -1};
    expect_refused(BERT_TASK_FILL_MASK, SMALL "/fill-mask", &options, BERT_INVALID_ARGUMENT, "batch_size (-1)");
    options = (bert_pipeline_options){.struct_size = sizeof options, .long_text = BERT_LONG_TEXT_WINDOWS};
    expect_refused(BERT_TASK_FILL_MASK, SMALL "/fill-mask", &options, BERT_UNSUPPORTED, "no rule for windows");
    expect_refused(BERT_TASK_TOKEN_CLASSIFICATION, SMALL "/ner", &options, BERT_UNSUPPORTED, "no rule for windows");
    const char *target = "";
    options = (bert_pipeline_options){.struct_size = sizeof options, .targets = &target, .target_count = 1};
    expect_refused(BERT_TASK_FILL_MASK, SMALL "/fill-mask", &options, BERT_INVALID_ARGUMENT, "targets");
    options = (bert_pipeline_options){.struct_size = sizeof options, .ranking_label = "nothing"};
    expect_refused(BERT_TASK_TEXT_RANKING, SMALL "/classify", &options, BERT_INVALID_ARGUMENT, "label 'nothing'");
    expect_refused(BERT_TASK_TEXT_RANKING, SMALL "/classify", NULL, BERT_INVALID_ARGUMENT, "3 labels");
    bert_answers *answers;
    bert_error error;
    bert_pipeline *pipeline = load(BERT_TASK_FILL_MASK, SMALL "/fill-mask", NULL);
    assert_int_equal(bert_pipeline_run(pipeline, NULL, 1, NULL, &answers, &error), BERT_INVALID_ARGUMENT);
    assert_null(answers);
    bert_pipeline_free(pipeline);
    bert_pipeline_free(NULL);
    bert_answers_free(NULL);
}

static void a_pipeline_tells_of_itself(void **state) {
    bert_pipeline *pipeline = load(BERT_TASK_TOKEN_CLASSIFICATION, SMALL "/ner", NULL);
    assert_int_equal(bert_pipeline_max_length(pipeline), 24);
    assert_int_equal(bert_pipeline_label_count(pipeline), 6);
    assert_string_equal(bert_pipeline_label(pipeline, 1), "B-PER");
    assert_null(bert_pipeline_label(pipeline, 6));
    assert_int_equal(bert_tokenizer_id(bert_pipeline_tokenizer(pipeline), "[CLS]", 5), 2);
    bert_pipeline_free(pipeline);
    assert_string_equal(bert_task_name(BERT_TASK_QUESTION_ANSWERING), "question-answering");
    assert_string_equal(bert_task_name((bert_task)-1), "unknown task");
}

static void no_texts_give_no_answers(void **state) {
    bert_pipeline *pipeline = load(BERT_TASK_TEXT_RANKING, SMALL "/score", NULL);
    bert_answers *answers = run(pipeline, NULL, 0);
    size_t count = 7;
    bert_answers_ranking(answers, &count);
    assert_int_equal(count, 0);
    assert_int_equal(bert_answers_count(answers), 0);
    assert_null(bert_answers_get(answers, 0));
    bert_answers_free(answers);
    bert_pipeline_free(pipeline);
}

static void a_bad_text_harms_no_other(void **state) {
    bert_pipeline *pipeline = load(BERT_TASK_TEXT_CLASSIFICATION, SMALL "/classify", NULL);
    const bert_text texts[] = {text_of("good", NULL), text_of("\xff", NULL), text_of("bad film", NULL)};
    bert_answers *answers = run(pipeline, texts, 3);
    bert_answers *alone = run(pipeline, &texts[2], 1);
    assert_int_equal(bert_answers_get(answers, 1)->status, BERT_INVALID_INPUT);
    assert_non_null(strstr(bert_answers_get(answers, 1)->sentence, "not UTF-8"));
    assert_null(bert_answers_get(answers, 0)->sentence);
    for (size_t i = 0; i < 3; i++) {
        double difference = bert_answers_get(answers, 2)->scores[i] - bert_answers_get(alone, 0)->scores[i];
        assert_true(fabs(difference) < 1e-6);
    }
    bert_answers_free(alone);
    bert_pipeline_free(pipeline);
    /* Answers outlive their pipeline. */
    assert_int_equal(bert_answers_get(answers, 2)->label_count, 3);
    bert_answers_free(answers);
}

static void a_ranking_has_the_best_first(void **state) {
    bert_pipeline *pipeline = load(BERT_TASK_TEXT_RANKING, SMALL "/score", NULL);
    const bert_text texts[] = {text_of("who", "good"), text_of("who", NULL), text_of("who", "the film"),
                               text_of("who", "john lives in paris"), text_of("who", "good")};
    bert_answers *answers = run(pipeline, texts, 5);
    size_t count;
    const bert_ranked *ranking = bert_answers_ranking(answers, &count);
    assert_int_equal(count, 4);
    for (size_t i = 0; i < count; i++) {
        const bert_answer *answer = bert_answers_get(answers, ranking[i].index);
        assert_true(ranking[i].score == answer->scores[answer->label]);
        assert_true(i == 0 || ranking[i - 1].score >= ranking[i].score);
        assert_true(ranking[i].index != 1);
        /* Equal documents keep their order. */
        if (ranking[i].index == 0) assert_true(i + 1 < count && ranking[i + 1].index == 4);
    }
    bert_answers_free(answers);
    bert_pipeline_free(pipeline);
}

static void a_run_can_be_cancelled(void **state) {
    bert_pipeline *pipeline = load(BERT_TASK_FEATURE_EXTRACTION, SMALL "/embed", NULL);
    bert_cancel_flag cancel = 1;
    const bert_run_options options = {.struct_size = sizeof options, .cancel = &cancel};
    const bert_text text = text_of("good", NULL);
    bert_answers *answers;
    bert_error error;
    assert_int_equal(bert_pipeline_run(pipeline, &text, 1, &options, &answers, &error), BERT_CANCELLED);
    assert_null(answers);
    cancel = 0;
    assert_int_equal(bert_pipeline_run(pipeline, &text, 1, &options, &answers, &error), BERT_OK);
    bert_answers_free(answers);
    bert_pipeline_free(pipeline);
}

/* ---- Threads ----------------------------------------------------------------------------------------------------- */

enum { THREADS = 6, ROUNDS = 20, WIDTH = 16 };

static const char *const sentences[] = {
    "good", "john lives in paris and works in berlin", "", "a terrible boring film", "who runs", "今天天气很好"};
enum { SENTENCES = sizeof sentences / sizeof *sentences };

typedef struct thread_work {
    pthread_t thread;
    bert_pipeline *pipeline;
    float vectors[SENTENCES][WIDTH];
    bool failed;
} thread_work;

static void *embed_all(void *argument) {
    thread_work *work = argument;
    for (int round = 0; round < ROUNDS && !work->failed; round++) {
        bert_text texts[SENTENCES];
        bert_answers *answers;
        for (size_t i = 0; i < SENTENCES; i++) texts[i] = text_of(sentences[i], NULL);
        work->failed = bert_pipeline_run(work->pipeline, texts, SENTENCES, NULL, &answers, NULL) != BERT_OK;
        for (size_t i = 0; i < SENTENCES && !work->failed; i++) {
            memcpy(work->vectors[i], bert_answers_get(answers, i)->embedding, sizeof work->vectors[i]);
        }
        bert_answers_free(answers);
    }
    return NULL;
}

static void many_threads_share_a_pipeline(void **state) {
    bert_pipeline *pipeline = load(BERT_TASK_FEATURE_EXTRACTION, SMALL "/embed", NULL);
    thread_work works[THREADS + 1];
    memset(works, 0, sizeof works);
    works[THREADS].pipeline = pipeline;
    embed_all(&works[THREADS]);
    for (int t = 0; t < THREADS; t++) {
        works[t].pipeline = pipeline;
        assert_int_equal(pthread_create(&works[t].thread, NULL, embed_all, &works[t]), 0);
    }
    for (int t = 0; t < THREADS; t++) pthread_join(works[t].thread, NULL);
    for (int t = 0; t <= THREADS; t++) {
        assert_false(works[t].failed);
        assert_memory_equal(works[t].vectors, works[THREADS].vectors, sizeof works[t].vectors);
    }
    bert_pipeline_free(pipeline);
}

/* ---- Pooling ----------------------------------------------------------------------------------------------------- */

/* One vector from those of all tokens, as bert_pooling says, in double. */
static void pool_by_hand(const bert_answer *tokens, bert_pooling pooling, bool normalize, double out[WIDTH]) {
    double squares = 0;
    for (int i = 0; i < WIDTH; i++) {
        out[i] = (double)tokens->embedding[i];
        for (size_t t = 1; t < tokens->rows && pooling != BERT_POOLING_CLS; t++) {
            const double token = (double)tokens->embedding[t * WIDTH + (size_t)i];
            out[i] = pooling == BERT_POOLING_MEAN ? out[i] + token : fmax(out[i], token);
        }
        if (pooling == BERT_POOLING_MEAN) out[i] /= (double)tokens->rows;
        squares += out[i] * out[i];
    }
    for (int i = 0; i < WIDTH && normalize; i++) out[i] /= sqrt(squares);
}

/* Texts of all lengths, in batches and alone, with rows of padding as the graph has them and without. */
static void pooled_vectors_are_made_of_those_of_tokens(void **state) {
    bert_text texts[SENTENCES];
    for (size_t i = 0; i < SENTENCES; i++) texts[i] = text_of(sentences[i], NULL);
    const bert_pipeline_options none = {.struct_size = sizeof none, .pooling = BERT_POOLING_NONE};
    bert_pipeline *pipeline = load(BERT_TASK_FEATURE_EXTRACTION, SMALL "/embed", &none);
    bert_answers *tokens = run(pipeline, texts, SENTENCES);
    bert_pipeline_free(pipeline);
    for (int variant = 0; variant < 24; variant++) {
        const bert_session_options exact = {.struct_size = sizeof exact};
        const bert_pipeline_options options = {.struct_size = sizeof options,
                                               .pooling = (bert_pooling)(BERT_POOLING_CLS + variant % 3),
                                               .normalize = variant / 3 % 2 ? BERT_ON : BERT_OFF,
                                               .batch_size = variant / 6 % 2 ? 1 : 4,
                                               .session = variant / 12 ? &exact : NULL};
        pipeline = load(BERT_TASK_FEATURE_EXTRACTION, SMALL "/embed", &options);
        bert_answers *pooled = run(pipeline, texts, SENTENCES);
        for (size_t i = 0; i < SENTENCES; i++) {
            double expected[WIDTH];
            const bert_answer *got = bert_answers_get(pooled, i);
            pool_by_hand(bert_answers_get(tokens, i), options.pooling, options.normalize == BERT_ON, expected);
            assert_true(got->rows == 1 && got->width == WIDTH && !got->tokens);
            for (int e = 0; e < WIDTH; e++) assert_true(fabs((double)got->embedding[e] - expected[e]) < 1e-6);
        }
        bert_answers_free(pooled);
        bert_pipeline_free(pipeline);
    }
    bert_answers_free(tokens);
}

/* ---- Memory that runs out ---------------------------------------------------------------------------------------- */

typedef struct memory_case {
    bert_task task;
    const char *model;
    bert_pipeline_options options;
    bert_text texts[2];
} memory_case;

static bert_status use_pipeline(const memory_case *use, scarce_memory *memory, bert_thread_pool *threads,
                                bert_error *error) {
    const bert_allocator allocator = scarce_allocator(memory);
    const bert_model_options model = {.struct_size = sizeof model, .allocator = &allocator};
    const bert_session_options session = {.struct_size = sizeof session, .threads = threads};
    bert_pipeline_options options = use->options;
    options.struct_size = sizeof options;
    options.model = &model;
    options.session = &session;
    bert_pipeline *pipeline;
    bert_answers *answers;
    BERT_TRY(bert_pipeline_load(use->task, use->model, &options, &pipeline, error));
    bert_status status = bert_pipeline_run(pipeline, use->texts, 2, NULL, &answers, error);
    bert_answers_free(answers);
    bert_pipeline_free(pipeline);
    return status;
}

/* Where what is allocated is for a report alone, its want is no failure. */
static void expect_statuses(const memory_case *use, bert_thread_pool *threads) {
    bert_error error;
    size_t failures = 0;
    for (size_t refused = 0;; refused += refused < 60 ? 1 : 3) {
        scarce_memory memory = {.fail_from = refused, .fail_to = refused + 1};
        bert_status status = use_pipeline(use, &memory, threads, &error);
        assert_int_equal(memory.live, 0);
        if (memory.allocations <= refused) {
            assert_int_equal(status, BERT_OK);
            assert_true(failures > 50);
            return;
        }
        failures += status != BERT_OK;
        if (status != BERT_OK && status != BERT_OUT_OF_MEMORY) {
            fail_msg("%s, allocation %zu: %s", use->model, refused, error.message);
        }
    }
}

static void running_out_of_memory_anywhere_is_a_status(void **state) {
    static const char *const targets[] = {"good", "playin"};
    const memory_case cases[] = {
        {BERT_TASK_TEXT_RANKING, SMALL "/score", {0}, {text_of("who", "good"), text_of("who", "\xff")}},
        {BERT_TASK_FEATURE_EXTRACTION,
         SMALL "/embed",
         {.pooling = BERT_POOLING_NONE},
         {text_of("good", NULL), text_of("", NULL)}},
        {BERT_TASK_FEATURE_EXTRACTION,
         SMALL "/embed",
         {.pooling = BERT_POOLING_MEAN, .normalize = BERT_ON},
         {text_of("good", NULL), text_of("a good film", NULL)}},
        {BERT_TASK_TOKEN_CLASSIFICATION,
         SMALL "/ner",
         {.aggregation = BERT_AGGREGATION_AVERAGE, .long_text = BERT_LONG_TEXT_WINDOWS, .max_length = 6, .stride = 1},
         {text_of("john lives in Zürich and works for the film company", NULL), text_of("x", NULL)}},
        {BERT_TASK_FILL_MASK,
         SMALL "/fill-mask",
         {.targets = targets, .target_count = 2, .invalid_utf8 = BERT_INVALID_UTF8_REPLACE},
         {text_of("good [MASK] [MASK]", NULL), text_of("\xff [MASK]", NULL)}},
        {BERT_TASK_QUESTION_ANSWERING,
         SMALL "/qa",
         {.top_k = 3, .max_length = 9, .stride = 1, .impossible_answers = true},
         {text_of("who", "john lives in paris and works in berlin for the film company"), text_of("who", "john")}}};
    bert_thread_pool *threads;
    assert_int_equal(bert_thread_pool_create(1, NULL, &threads, NULL), BERT_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) expect_statuses(&cases[i], threads);
    bert_thread_pool_free(threads);
}

/* ---- Lower case -------------------------------------------------------------------------------------------------- */

static void texts_are_compared_as_python_lowers_them(void **state) {
    static const struct {
        const char *a, *b;
        bool equal;
    } cases[] = {
        {"The", "tHE", true},         {"The", "them", false}, {"", "", true},          {"", "a", false},
        {"Straße", "STRASSE", false}, {"ΟΔΟΣ", "οδος", true}, {"ΟΔΟΣ", "οδοσ", false}, {"ΟΔΟΣ.", "οδος.", true},
        {"ΟΔΟΣΑ", "οδοσα", true},     {"Σ", "σ", true},       {"Σ", "ς", false},       {"İ", "i̇", true},
        {"Α’Σ", "α’ς", true},         {"Σ.Α", "σ.α", true},   {"1Σ", "1σ", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *a = cases[i].a, *b = cases[i].b;
        if (bert_equal_in_lower_case(a, strlen(a), b, strlen(b)) != cases[i].equal) fail_msg("%s and %s", a, b);
        assert_true(bert_equal_in_lower_case(b, strlen(b), a, strlen(a)) == cases[i].equal);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(a_pipeline_tells_of_itself),
        cmocka_unit_test(no_texts_give_no_answers),
        cmocka_unit_test(a_bad_text_harms_no_other),
        cmocka_unit_test(a_ranking_has_the_best_first),
        cmocka_unit_test(a_run_can_be_cancelled),
        cmocka_unit_test(many_threads_share_a_pipeline),
        cmocka_unit_test(pooled_vectors_are_made_of_those_of_tokens),
        cmocka_unit_test(running_out_of_memory_anywhere_is_a_status),
        cmocka_unit_test(texts_are_compared_as_python_lowers_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
