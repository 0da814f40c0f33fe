/* Sessions whose weights are laid out by the second run: the same bits from the first run on, whatever happens. */
#include "core/base/cpu_features.h"
#include "tests/support/scarce_memory.h"
#include "tests/support/test.h"

#include <bert/bert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODELS BERT_SOURCE_DIR "/models/zh-sentiment/"

enum { LABELS = 2, TOKENS = 9, MOST_BATCH = 48 };

static bert_model *load(const char *name, const bert_allocator *allocator) {
    const bert_model_options options = {.struct_size = sizeof options, .allocator = allocator};
    char path[256];
    bert_model *model;
    bert_error error;
    snprintf(path, sizeof path, "%s%s", MODELS, name);
    if (bert_model_load(path, &options, &model, &error) != BERT_OK) fail_msg("%s", error.message);
    return model;
}

static bert_session *open_session(bert_model *model, bool on_demand, bert_thread_pool *threads) {
    const bert_session_options options = {
        .struct_size = sizeof options, .threads = threads, .weights_on_demand = on_demand};
    bert_session *session;
    bert_error error;
    if (bert_session_create(model, &options, &session, &error) != BERT_OK) fail_msg("%s", error.message);
    return session;
}

static void run(bert_session *session, int64_t batch, float *logits) {
    static int64_t types[MOST_BATCH * TOKENS];
    int64_t ids[MOST_BATCH * TOKENS], mask[MOST_BATCH * TOKENS];
    for (int64_t i = 0; i < batch * TOKENS; i++) {
        ids[i] = 5 + i * 37 % 4000;
        mask[i] = 1;
    }
    const bert_named_tensor inputs[] = {{"input_ids", {BERT_INT64, 2, {batch, TOKENS}, ids}, 0},
                                        {"token_type_ids", {BERT_INT64, 2, {batch, TOKENS}, types}, 0},
                                        {"attention_mask", {BERT_INT64, 2, {batch, TOKENS}, mask}, 0}};
    bert_named_tensor output = {
        .name = "output_0", .tensor = {.data = logits}, .capacity_bytes = (size_t)(batch * LABELS) * sizeof *logits};
    bert_error error;
    if (bert_session_run(session, NULL, inputs, 3, &output, 1, &error) != BERT_OK) fail_msg("%s", error.message);
}

static size_t weight_bytes(bert_session *session) {
    bert_session_memory memory = {.struct_size = sizeof memory};
    bert_session_get_memory(session, &memory);
    return memory.weight_bytes;
}

static float expected[MOST_BATCH * LABELS];

static void expect_answer(bert_session *session, int64_t batch) {
    float logits[MOST_BATCH * LABELS];
    run(session, batch, logits);
    assert_memory_equal(logits, expected, (size_t)(batch * LABELS) * sizeof *logits);
}

/* What a session that lays weights out at once answers, and the bytes of these. */
static size_t make_expected(bert_model *model, int64_t batch) {
    bert_session *session = open_session(model, false, NULL);
    run(session, batch, expected);
    const size_t bytes = weight_bytes(session);
    bert_session_free(session);
    return bytes;
}

/* OpenBLAS, which multiplies where there are no own kernels, reads weights where they lie or has them laid out. */
static bool lays_out_later(void) {
    bert_isa isa;
    assert_int_equal(bert_isa_select(&isa, NULL), BERT_OK);
    const char *provider = getenv("BERT_CPU_GEMM");
    return provider ? strcmp(provider, "own") == 0 : isa > BERT_ISA_SCALAR;
}

/* With few rows, and with more than are multiplied at once. */
static void the_second_run_lays_weights_out(void **state) {
    static const char *const names[] = {"model.onnx", "model-optimized.onnx", "model-optimized-quantized.onnx"};
    for (int choice = 0; choice < 6; choice++) {
        const int64_t batch = choice & 1 ? MOST_BATCH : 1;
        bert_model *model = load(names[choice / 2], NULL);
        const size_t bytes = make_expected(model, batch);
        bert_session *session = open_session(model, true, NULL);
        const size_t before = weight_bytes(session);
        if (choice / 2 == 2 || !lays_out_later()) /* weights of 8 bits are laid out at once */
            assert_true(before <= bytes);
        else
            assert_true(before < bytes / 2);
        expect_answer(session, batch);
        assert_int_equal(weight_bytes(session), before);
        expect_answer(session, batch);
        assert_int_equal(weight_bytes(session), bytes);
        expect_answer(session, batch);
        assert_int_equal(weight_bytes(session), bytes);
        bert_session_free(session);
        bert_model_free(model);
    }
}

/* A refused piece of memory costs speed alone. */
static void without_memory_weights_stay_where_they_are(void **state) {
    scarce_memory memory = {.fail_from = SIZE_MAX, .fail_to = SIZE_MAX};
    const bert_allocator allocator = scarce_allocator(&memory);
    bert_model *model = load("model.onnx", &allocator);
    const size_t bytes = make_expected(model, 1);
    bert_session *session = open_session(model, true, NULL);
    expect_answer(session, 1);
    const size_t before = weight_bytes(session);
    memory.fail_from = 0;
    expect_answer(session, 1);
    assert_int_equal(weight_bytes(session), before);
    memory.fail_from = SIZE_MAX;
    expect_answer(session, 1);
    assert_int_equal(weight_bytes(session), bytes);
    bert_session_free(session);
    bert_model_free(model);
    assert_int_equal(memory.live, 0);
}

enum { RUNNERS = 4 };

static void *run_some(void *argument) {
    bert_thread_pool *threads = NULL;
    if (bert_thread_pool_create(2, NULL, &threads, NULL) != BERT_OK) return argument;
    bert_session *session = open_session(argument, true, threads);
    float logits[LABELS];
    bool same = true;
    for (int i = 0; i < 5; i++) {
        run(session, 1, logits);
        same = same && memcmp(logits, expected, sizeof logits) == 0;
    }
    bert_session_free(session);
    bert_thread_pool_free(threads);
    return same ? NULL : argument;
}

/* They share the weights, which one of them lays out. */
static void sessions_may_run_at_once(void **state) {
    bert_model *model = load("model.onnx", NULL);
    pthread_t runners[RUNNERS];
    make_expected(model, 1);
    for (int i = 0; i < RUNNERS; i++) assert_int_equal(pthread_create(&runners[i], NULL, run_some, model), 0);
    for (int i = 0; i < RUNNERS; i++) {
        void *failed;
        pthread_join(runners[i], &failed);
        assert_null(failed);
    }
    bert_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_run_lays_weights_out),
        cmocka_unit_test(without_memory_weights_stay_where_they_are),
        cmocka_unit_test(sessions_may_run_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
