/* Memory that runs out at every place in turn, and steady runs that take none. */
#include "core/base/cpu_features.h"
#include "tests/runtime/build.h"
#include "tests/support/scarce_memory.h"
#include "tests/support/test.h"

#include <bert/bert.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- Memory that runs out ---------------------------------------------------------------------------------------- */

/* Loads, runs with three shapes and an output of another kind each, frees. The first failure's status. */
static bert_status use_model(scarce_memory *memory, const char *path, bert_error *error) {
    const bert_allocator allocator = scarce_allocator(memory);
    bert_model_options model_options = {.struct_size = sizeof model_options, .allocator = &allocator};
    bert_session_options options = {
        .struct_size = sizeof options, .plan_cache = 2, .profile = true, .padded_rows = BERT_PADDED_ROWS_UNDEFINED};
    bert_model *model = NULL;
    bert_session *session = NULL;
    BERT_TRY(bert_model_load(path, &model_options, &model, error));
    bert_status status = bert_session_create(model, &options, &session, error);
    for (int64_t n = 2; n < 5 && status == BERT_OK; n++) {
        int64_t zeros[8] = {0}, ones[8] = {1, 1, 1, 1, 1, 1, 1, 1}, mask[8] = {1, 1, n == 3 ? 0 : 1, 1};
        bert_named_tensor inputs[3] = {named("input_ids", BERT_INT64, 2, DIMS(1, n), ones),
                                       named("attention_mask", BERT_INT64, 2, DIMS(1, n), mask),
                                       named("token_type_ids", BERT_INT64, 2, DIMS(1, n), zeros)};
        bert_model_tensor first;
        bert_model_output(model, 0, &first);
        bert_named_tensor output = {.name = first.name};
        status = bert_session_run(session, NULL, inputs, bert_model_input_count(model), &output, 1, error);
    }
    bert_session_free(session);
    bert_model_free(model);
    return status;
}

static void expect_status_without_memory(const char *path) {
    bert_error error;
    for (size_t refused = 0;; refused++) {
        scarce_memory memory = {.fail_from = refused, .fail_to = refused + 1};
        bert_status status = use_model(&memory, path, &error);
        assert_int_equal(memory.live, 0);
        if (status == BERT_OK) {
            assert_true(memory.allocations <= refused && refused > 50);
            return;
        }
        if (status != BERT_OUT_OF_MEMORY) fail_msg("allocation %zu: %s", refused, error.message);
    }
}

static void running_out_of_memory_anywhere_is_a_status(void **state) {
    expect_status_without_memory(BERT_SOURCE_DIR "/tests/data/graphs/new_bert_cls_17/model.onnx");
    expect_status_without_memory(BERT_SOURCE_DIR "/tests/data/graphs/old_bert_11_off_fp16/model.onnx");
}

/* ---- Counting what the system is asked for ------------------------------------------------------------------------
 */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS_ALLOCATIONS 0 /* the sanitizer has put its own functions here */
#else
#define COUNTS_ALLOCATIONS 1
static volatile long asked;

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

__attribute__((visibility("default"))) void *malloc(size_t bytes) {
    asked++;
    return __libc_malloc(bytes);
}
__attribute__((visibility("default"))) void *calloc(size_t count, size_t bytes) {
    asked++;
    return __libc_calloc(count, bytes);
}
__attribute__((visibility("default"))) void *realloc(void *memory, size_t bytes) {
    asked++;
    return __libc_realloc(memory, bytes);
}
__attribute__((visibility("default"))) int posix_memalign(void **out, size_t alignment, size_t bytes) {
    asked++;
    *out = __libc_memalign(alignment, bytes);
    return *out ? 0 : 12;
}
__attribute__((visibility("default"))) void *aligned_alloc(size_t alignment, size_t bytes) {
    asked++;
    return __libc_memalign(alignment, bytes);
}
__attribute__((visibility("default"))) void *mmap(void *address, size_t bytes, int protection, int flags,
                                                  int descriptor, off_t offset) {
    asked++;
    return (void *)syscall(SYS_mmap, address, bytes, protection, flags, descriptor, offset);
}
typedef int (*create_fn)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
__attribute__((visibility("default"))) int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                                                          void *(*start)(void *), void *argument) {
    asked++;
    create_fn real;
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attributes, start, argument);
}

/* `padding`: how much shorter each sequence is than the one before. */
static void run_shape(bert_session *session, int64_t batch, int64_t sequence, int64_t padding) {
    static int64_t ids[4 * 64], mask[4 * 64], types[4 * 64];
    for (int64_t i = 0; i < batch * sequence; i++) {
        ids[i] = (i * 37) % 100;
        mask[i] = i % sequence < sequence - batch - padding * (i / sequence);
    }
    bert_named_tensor inputs[3] = {named("input_ids", BERT_INT64, 2, DIMS(batch, sequence), ids),
                                   named("attention_mask", BERT_INT64, 2, DIMS(batch, sequence), mask),
                                   named("token_type_ids", BERT_INT64, 2, DIMS(batch, sequence), types)};
    float mine[8];
    bert_named_tensor output = {.name = "output_0"};
    bert_error error;
    if (batch == 3) output = (bert_named_tensor){"output_0", {.data = mine}, sizeof mine};
    bert_status status = bert_session_run(session, NULL, inputs, 3, &output, 1, &error);
    if (status != BERT_OK) fail_msg("%s", error.message);
}

/* OpenBLAS takes scratch of its own for small products: where it would multiply, a deterministic session does without.
 */
static bool openblas_multiplies(void) {
    bert_isa isa = BERT_ISA_SCALAR;
    const char *gemm = getenv("BERT_CPU_GEMM");
    bert_error error;
    return bert_isa_select(&isa, &error) != BERT_OK || isa == BERT_ISA_SCALAR ||
           (gemm && strcmp(gemm, "openblas") == 0);
}

static void run_shapes(bert_session *session) {
    for (int64_t sequence = 5; sequence < 30; sequence += 8) {
        for (int64_t batch = 3; batch > 0; batch--) {
            for (int64_t padding = 0; padding * batch < sequence - batch; padding += 3) {
                run_shape(session, batch, sequence, padding);
            }
        }
    }
}

static void expect_steady_runs_without_allocation(const char *provider, const char *name, bool profile,
                                                  bert_padded_rows padded_rows, bert_quant_scope scope) {
    bert_model *model = NULL;
    bert_session *session = NULL;
    bert_thread_pool *threads = NULL;
    bert_error error;
    assert_int_equal(bert_thread_pool_create(3, NULL, &threads, &error), BERT_OK);
    char path[512];
    snprintf(path, sizeof path, BERT_SOURCE_DIR "/models/zh-sentiment/%s", name);
    if (bert_model_load(path, NULL, &model, &error) != BERT_OK) fail_msg("%s", error.message);
    bert_session_options options = {.struct_size = sizeof options,
                                    .providers = provider,
                                    .threads = threads,
                                    .profile = profile,
                                    .padded_rows = padded_rows,
                                    .quant_scope = scope,
                                    .plan_cache = 128,
                                    .deterministic = openblas_multiplies()};
    if (bert_session_create(model, &options, &session, &error) != BERT_OK) fail_msg("%s", error.message);
    long before = asked;
    run_shapes(session);
    assert_true(asked > before); /* it counts: binding does allocate */
    before = asked;
    for (int round = 0; round < 3; round++) {
        run_shapes(session);
        size_t count;
        bert_session_profile(session, &count);
        assert_int_equal(count > 0, profile);
    }
    assert_int_equal(asked - before, 0);
    bert_session_free(session);
    bert_model_free(model);
    bert_thread_pool_free(threads);
}
#endif

static void steady_runs_over_changing_shapes_allocate_nothing(void **state) {
#if COUNTS_ALLOCATIONS
    const char *model = "model.onnx", *quantized = "model-optimized-quantized.onnx";
    const bert_padded_rows exact = BERT_PADDED_ROWS_EXACT, undefined = BERT_PADDED_ROWS_UNDEFINED;
    expect_steady_runs_without_allocation("reference", model, false, exact, BERT_QUANT_SCOPE_TENSOR);
    expect_steady_runs_without_allocation("cpu", model, false, exact, BERT_QUANT_SCOPE_TENSOR);
    expect_steady_runs_without_allocation("cpu", model, true, undefined, BERT_QUANT_SCOPE_TENSOR);
    expect_steady_runs_without_allocation("cpu", quantized, false, exact, BERT_QUANT_SCOPE_SEQUENCE);
    expect_steady_runs_without_allocation("cpu", quantized, false, undefined, BERT_QUANT_SCOPE_SEQUENCE);
#else
    print_message("skipped: under a sanitizer allocations can't be counted\n");
    skip();
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(running_out_of_memory_anywhere_is_a_status),
        cmocka_unit_test(steady_runs_over_changing_shapes_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
