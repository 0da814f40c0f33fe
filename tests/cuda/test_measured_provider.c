/* The CUDA provider with products that are measured, on the emulator's cuBLASLt: what a session makes of the answers.
 */
#include "core/graph/canonical.h"
#include "cuda/backend.h"
#include "tests/cuda/faults.h"
#include "tests/cuda_emulator/cublaslt.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/runtime/build.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 4, WIDTH = 64 };

static bert_composition composition;

/* gelu(x W), which our own kernel takes. */
static bert_status build_linear(bert_graph *graph, bert_error *error) {
    static float weights[WIDTH * WIDTH];
    for (int i = 0; i < WIDTH * WIDTH; i++) weights[i] = (float)(i * 37 % 101 - 50) / 400;
    bert_value *inputs[3] = {build_input(graph, "x", BERT_FLOAT, "rows,64")};
    inputs[BERT_LINEAR_WEIGHT(0)] = build_constant(graph, BERT_FLOAT, 2, DIMS(WIDTH, WIDTH), weights);
    const bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("parts", 1), BERT_STRING_ATTRIBUTE("activation", "gelu")};
    bert_value *y = build_node_of(&graph->body, bert_op_get(BERT_OP_BERTC_Linear), 1, "y", attributes, 2, inputs, 3);
    BERT_TRY(build_inputs(graph, error, inputs[0], BUILD_END));
    return build_outputs(graph, error, y, BUILD_END);
}

typedef struct notices {
    int count;
    char last[512];
} notices;

static void keep_notice(void *user, bert_log_level level, const char *message) {
    notices *seen = user;
    seen->count++;
    snprintf(seen->last, sizeof seen->last, "%s", message);
}

static void run(bert_session *session) {
    float x[ROWS * WIDTH], y[ROWS * WIDTH];
    bert_error error;
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = (float)(i * 53 % 97 - 48) / 40;
    const bert_named_tensor input = named("x", BERT_FLOAT, 2, DIMS(ROWS, WIDTH), x);
    bert_named_tensor output = {.name = "y", .tensor.data = y, .capacity_bytes = sizeof y};
    if (bert_session_run(session, NULL, &input, 1, &output, 1, &error) != BERT_OK) fail_msg("%s", error.message);
}

/* A kernel of ours that gives something else than the library is told once, and not run; also not by sessions later. */
static void a_kernel_that_is_wrong_is_told_and_not_run(void **state) {
    for (int wrong = 0; wrong < 2; wrong++) {
        notices seen = {0};
        const bert_log log = {.write = keep_notice, .user = &seen, .level = BERT_LOG_NOTICE};
        const bert_model_options of_model = {.struct_size = sizeof of_model, .log = &log};
        const bert_session_options options = {
            .struct_size = sizeof options, .providers = "cuda", .precision = BERT_PRECISION_FP16};
        bert_model *model = NULL;
        bert_error error;
        if (build_load(build_linear, &composition, &of_model, &model, &error) != BERT_OK) fail_msg("%s", error.message);
        bert_emulated_spoil_products(wrong);
        for (int turn = 0; turn < 2; turn++) {
            bert_session *session = NULL;
            if (bert_session_create(model, &options, &session, &error) != BERT_OK) fail_msg("%s", error.message);
            run(session);
            bert_session_memory memory = {.struct_size = sizeof memory};
            bert_session_get_memory(session, &memory);
            assert_true(memory.context_bytes > 32U << 20); /* the library's workspace, and pinned memory */
            assert_int_equal(seen.count, wrong);
            bert_emulator_count("tensor_product_kernel");
            run(session);
            if (wrong) assert_int_equal(bert_emulator_launches(), 0);
            bert_emulator_count(NULL);
            bert_session_free(session);
        }
        bert_emulated_spoil_products(false);
        if (wrong)
            assert_non_null(strstr(seen.last, "tensor_product gives another product of [4, 64] and [64, 64] than"));
        bert_model_free(model);
    }
    expect_no_faults(__func__);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kernel_that_is_wrong_is_told_and_not_run),
    };
    const bert_backend *backends[] = {bert_cuda_backend(BERT_BACKEND_ABI_VERSION)};
    composition = build_composition;
    composition.backends = backends;
    composition.backend_count = 1;
    setenv("BERT_CUDA_GEMM_CACHE", "off", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
