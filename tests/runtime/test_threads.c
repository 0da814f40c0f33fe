/* Sessions on many threads that share one model. */
#include "tests/support/test.h"

#include <bert/bert.h>
#include <pthread.h>
#include <string.h>

enum { THREADS = 4, ROUNDS = 3, SHAPES = 3 };

typedef struct worker {
    pthread_t thread;
    bert_model *model;
    const char *provider;
    bert_thread_pool *pool;
    bert_status status;
    bert_error error;
    float logits[SHAPES][2];
} worker;

static bert_status run_shape(bert_session *session, int shape, float *logits, bert_error *error) {
    int64_t ids[16], mask[16], types[16] = {0};
    int64_t length = 4 + 3 * shape;
    for (int64_t i = 0; i < length; i++) {
        ids[i] = 10 * i + shape;
        mask[i] = 1;
    }
    bert_tensor tensor = {BERT_INT64, 2, {1, length}, NULL};
    bert_named_tensor inputs[3] = {
        {"input_ids", tensor, 0}, {"attention_mask", tensor, 0}, {"token_type_ids", tensor, 0}};
    inputs[0].tensor.data = ids;
    inputs[1].tensor.data = mask;
    inputs[2].tensor.data = types;
    bert_named_tensor output = {"output_0", {.data = logits}, 2 * sizeof *logits};
    return bert_session_run(session, NULL, inputs, 3, &output, 1, error);
}

static void *work(void *argument) {
    worker *self = argument;
    bert_session_options options = {
        .struct_size = sizeof options, .providers = self->provider, .threads = self->pool, .plan_cache = 2};
    for (int round = 0; round < ROUNDS; round++) {
        bert_session *session = NULL;
        self->status = bert_session_create(self->model, &options, &session, &self->error);
        for (int shape = 0; shape < SHAPES && self->status == BERT_OK; shape++) {
            self->status = run_shape(session, shape, self->logits[shape], &self->error);
        }
        bert_session_memory memory = {.struct_size = sizeof memory};
        if (session) bert_session_get_memory(session, &memory);
        bert_session_free(session);
        if (self->status != BERT_OK) break;
    }
    return NULL;
}

static void expect_equal_answers(const char *provider, bert_thread_pool *pool) {
    worker workers[THREADS];
    memset(workers, 0, sizeof workers);
    bert_model *model = NULL;
    bert_error error;
    if (bert_model_load(BERT_SOURCE_DIR "/models/zh-sentiment/model.onnx", NULL, &model, &error) != BERT_OK) {
        fail_msg("%s", error.message);
    }
    for (int i = 0; i < THREADS; i++) {
        workers[i].model = model;
        workers[i].provider = provider;
        workers[i].pool = pool;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        if (workers[i].status != BERT_OK) fail_msg("%s", workers[i].error.message);
        assert_memory_equal(workers[i].logits, workers[0].logits, sizeof workers[0].logits);
    }
    assert_true(workers[0].logits[0][0] != 0 && workers[0].logits[0][0] != workers[0].logits[1][0]);
    bert_model_free(model);
}

static void sessions_on_many_threads_share_a_model(void **state) {
    expect_equal_answers("reference", NULL);
    expect_equal_answers("cpu", NULL);
}

static void sessions_on_many_threads_share_a_pool(void **state) {
    bert_thread_pool *pool = NULL;
    assert_int_equal(bert_thread_pool_create(3, NULL, &pool, NULL), BERT_OK);
    expect_equal_answers("cpu", pool);
    bert_thread_pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_on_many_threads_share_a_model),
        cmocka_unit_test(sessions_on_many_threads_share_a_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
