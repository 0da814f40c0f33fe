/* Sessions whose weights are laid out by the second run: the same bits from the first run on, whatever happens. */
#include "core/base/cpu_features.h"
#include "tests/runtime/build.h"
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
static size_t make_expected(const char *name, int64_t batch) {
    bert_model *model = load(name, NULL);
    bert_session *session = open_session(model, false, NULL);
    run(session, batch, expected);
    const size_t bytes = weight_bytes(session);
    bert_session_free(session);
    bert_model_free(model);
    return bytes;
}

/* OpenBLAS, which multiplies where there are no own kernels, reads weights where they lie or has them laid out. */
static bool lays_out_later(void) {
    bert_isa isa;
    assert_int_equal(bert_isa_select(&isa, NULL), BERT_OK);
    const char *provider = getenv("BERT_CPU_GEMM");
    return provider ? strcmp(provider, "openblas") != 0 : isa > BERT_ISA_SCALAR;
}

/* With few rows, and with more than are multiplied at once. */
static void the_second_run_lays_weights_out(void **state) {
    static const char *const names[] = {"model.onnx", "model-optimized.onnx", "model-optimized-quantized.onnx"};
    for (int choice = 0; choice < 6; choice++) {
        const int64_t batch = choice & 1 ? MOST_BATCH : 1;
        const size_t bytes = make_expected(names[choice / 2], batch);
        bert_model *model = load(names[choice / 2], NULL);
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
    const size_t bytes = make_expected("model.onnx", 1);
    bert_model *model = load("model.onnx", &allocator);
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

/* Sessions with either option: what is laid out serves both, what isn't serves one. */
static void weights_that_are_laid_out_are_used(void **state) {
    const size_t bytes = make_expected("model.onnx", 1);
    bert_model *model = load("model.onnx", NULL);
    bert_session *later = open_session(model, true, NULL), *at_once = open_session(model, false, NULL);
    bert_session *user = open_session(model, true, NULL);
    assert_int_equal(weight_bytes(at_once), bytes);
    if (lays_out_later()) assert_true(weight_bytes(later) < bytes / 2);
    assert_int_equal(weight_bytes(user), bytes);
    expect_answer(later, 1);
    expect_answer(at_once, 1);
    expect_answer(user, 1);
    bert_session_free(later);
    bert_session_free(at_once);
    bert_session_free(user);
    bert_model_free(model);
}

enum { DEPTH = 80, COLUMNS = 60, MOST_ROWS = 3 };

/* A weight by another name, as exporters share one: what a product is shown is known when shapes are. */
static bert_status build_product(bert_graph *graph, bert_error *error) {
    static float weight[DEPTH * COLUMNS];
    for (int i = 0; i < DEPTH * COLUMNS; i++) weight[i] = (float)(i * 7919 % 211) / 100 - 1.05F;
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "rows 80");
    bert_value *w = build_constant(graph, BERT_FLOAT, 2, DIMS(DEPTH, COLUMNS), weight);
    w = build_node(&graph->body, "Identity", "shared", NULL, 0, w, BUILD_END);
    bert_value *y = build_node(&graph->body, "MatMul", "product", NULL, 0, x, w, BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return bert_graph_set_outputs(graph, &y, 1, error);
}

static void multiply(bert_session *session, int64_t rows, float *y) {
    static float x[MOST_ROWS * DEPTH];
    for (int i = 0; i < MOST_ROWS * DEPTH; i++) x[i] = (float)(i * 104729 % 199) / 100 - 0.95F;
    const bert_named_tensor input = named("x", BERT_FLOAT, 2, DIMS(rows, DEPTH), x);
    bert_model_tensor described;
    bert_model_output(session->model, 0, &described);
    bert_named_tensor output = {
        .name = described.name, .tensor = {.data = y}, .capacity_bytes = (size_t)(rows * COLUMNS) * sizeof *y};
    bert_error error;
    if (bert_session_run(session, NULL, &input, 1, &output, 1, &error) != BERT_OK) fail_msg("%s", error.message);
}

/* Plans and sessions that knew a weight go before it is laid out. */
static void weights_outlive_the_plans_that_found_them(void **state) {
    bert_composition composition = build_composition;
    composition.backends = bert_default_composition.backends;
    composition.backend_count = bert_default_composition.backend_count;
    float products[6][MOST_ROWS * COLUMNS];
    for (int later = 0; later < 2; later++) {
        bert_model *model;
        bert_error error;
        if (build_load(build_product, &composition, NULL, &model, &error) != BERT_OK) fail_msg("%s", error.message);
        for (int i = 0; i < 3; i++) { /* the first product, the second, and one more */
            bert_session *session = open_session(model, later, NULL);
            multiply(session, i + 1, products[3 * later + i]);
            bert_session_free(session);
        }
        bert_model_free(model);
    }
    for (int i = 0; i < 3; i++)
        assert_memory_equal(products[i], products[3 + i], (size_t)((i + 1) * COLUMNS) * sizeof(float));
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
    make_expected("model.onnx", 1);
    bert_model *model = load("model.onnx", NULL);
    pthread_t runners[RUNNERS];
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
        cmocka_unit_test(weights_that_are_laid_out_are_used),
        cmocka_unit_test(weights_outlive_the_plans_that_found_them),
        cmocka_unit_test(sessions_may_run_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
