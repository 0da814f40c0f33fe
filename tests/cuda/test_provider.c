/* The CUDA provider as a whole, on the emulator: sessions, products, weights, memory and errors. */
#include "core/runtime/model.h"
#include "core/runtime/session.h"
#include "cuda/gemm_key.h"
#include "cuda/launch.h"
#include "tests/cuda/faults.h"
#include "tests/cuda/provider_case.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/support/scarce_memory.h"
#include "tests/support/test.h"

#include <bert/bert.h>
#include <cuda_runtime_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GRAPHS BERT_SOURCE_DIR "/tests/data/graphs/"
#define UNLIMITED ((size_t)4 << 30)

/* Runs the same batches on cuda and cpu; twice each, so that recordings are replayed. */
static void expect_same_as_cpu(const char *path, const bert_session_options *options, double allowed) {
    bert_model *model = load(path);
    bert_session_options cpu = *options;
    cpu.providers = "cpu";
    cpu.precision = BERT_PRECISION_FP32;
    bert_session *sessions[2] = {open_with(model, options), open_with(model, &cpu)};
    for (int padded = 0; padded < 2; padded++) {
        for (unsigned seed = 1; seed <= 2; seed++) {
            batch b = make_batch(BATCH, SEQUENCE, padded, seed);
            float logits[2][BATCH * LABELS];
            for (int i = 0; i < 2; i++) run(sessions[i], &b, logits[i]);
            expect_near(logits[1], logits[0], BATCH * LABELS, allowed);
        }
    }
    for (int i = 0; i < 2; i++) bert_session_free(sessions[i]);
    bert_model_free(model);
    expect_no_faults(__func__);
}

static void cuda_agrees_with_cpu(void **state) {
    bert_session_options options = {.struct_size = sizeof options, .providers = "cuda"};
    expect_same_as_cpu(ZH "model.onnx", &options, 1e-4);
    expect_same_as_cpu(ZH "model-optimized.onnx", &options, 1e-4);
    expect_same_as_cpu(ZH "model-optimized-quantized.onnx", &options, 2e-3);
    options.padded_rows = BERT_PADDED_ROWS_UNDEFINED;
    expect_same_as_cpu(ZH "model.onnx", &options, 1e-4);
    options.quant_scope = BERT_QUANT_SCOPE_SEQUENCE;
    expect_same_as_cpu(ZH "model-optimized-quantized.onnx", &options, 2e-3);
    options.quant_scope = BERT_QUANT_SCOPE_TOKEN;
    expect_same_as_cpu(ZH "model-optimized-quantized.onnx", &options, 2e-3);
}

static uint64_t launches_of(const char *kernel, bert_session *session, batch *b) {
    float logits[BATCH * LABELS];
    bert_emulator_count(kernel);
    run(session, b, logits);
    return bert_emulator_launches();
}

/* What a layer's QuantizedLinears quantize was written by LayerNorm, Attention and a QuantizedLinear, which know the
 * range of each row, or of each stretch of it: only the pooler's rows, which a gather takes out, are read for it. */
static void expect_ranges_of_who_wrote_the_rows(bool library) {
    setenv("BERT_CUDA_LINEAR", library ? "library" : "own", 1);
    bert_model *model = load(ZH "model-optimized-quantized.onnx");
    for (int scope = 0; scope < 3; scope++) {
        const bert_session_options options = {.struct_size = sizeof options,
                                              .providers = "cuda",
                                              .quant_scope = (bert_quant_scope)scope,
                                              .padded_rows = BERT_PADDED_ROWS_UNDEFINED};
        bert_session *session = open_with(model, &options);
        batch b = make_batch(BATCH, SEQUENCE, true, 1);
        const uint64_t products = launches_of("quantize_kernel", session, &b);
        const uint64_t ours = launches_of("tensor_product_kernel", session, &b);
        assert_true(products > 8);
        assert_int_equal(ours, library ? 0 : products);
        if (library) assert_true(launches_of("stretch_kernel", session, &b) >= products);
        const uint64_t read = launches_of("ranges_kernel", session, &b);
        const uint64_t scales = launches_of("quantization_kernel", session, &b);
        assert_true(read <= 2);
        /* A row's own scale needs no kernel; the pooler's rows are a sequence each. */
        const uint64_t own = scope == BERT_QUANT_SCOPE_TENSOR ? 0 : scope == BERT_QUANT_SCOPE_SEQUENCE ? 1 : products;
        assert_int_equal(scales, products - own);
        bert_session_free(session);
    }
    bert_emulator_count(NULL);
    bert_model_free(model);
    unsetenv("BERT_CUDA_LINEAR");
}

static void ranges_come_from_who_wrote_the_rows(void **state) {
    expect_ranges_of_who_wrote_the_rows(true);
    expect_ranges_of_who_wrote_the_rows(false);
    expect_no_faults(__func__);
}

/* Sums of bytes are exact, and so is all that follows from them: a product of our own gives the library's bits. It
 * leaves no sums in memory. */
static void products_of_bytes_are_the_same_either_way(void **state) {
    static const char *const ways[] = {"library", "own"};
    float logits[2][BATCH * LABELS];
    size_t arena[2];
    batch b = make_batch(BATCH, SEQUENCE, true, 1);
    for (int i = 0; i < 2; i++) {
        setenv("BERT_CUDA_LINEAR", ways[i], 1);
        bert_model *model = load(ZH "model-optimized-quantized.onnx");
        bert_session *session = open(model, "cuda");
        bert_session_memory memory = {.struct_size = sizeof memory};
        run(session, &b, logits[i]);
        bert_session_get_memory(session, &memory);
        arena[i] = memory.arena_bytes;
        bert_session_free(session);
        bert_model_free(model);
    }
    unsetenv("BERT_CUDA_LINEAR");
    expect_near(logits[0], logits[1], BATCH * LABELS, 0);
    assert_true(arena[1] < arena[0]);
    expect_no_faults(__func__);
}

static void precisions_stay_near(void **state) {
    const bert_precision precisions[] = {BERT_PRECISION_FP16, BERT_PRECISION_BF16, BERT_PRECISION_TF32};
    const double allowed[] = {1e-2, 5e-2, 1e-2};
    for (int i = 0; i < 3; i++) {
        bert_session_options options = {.struct_size = sizeof options, .providers = "cuda", .precision = precisions[i]};
        expect_same_as_cpu(ZH "model.onnx", &options, allowed[i]);
        options.padded_rows = BERT_PADDED_ROWS_UNDEFINED;
        expect_same_as_cpu(ZH "model-optimized-quantized.onnx", &options, allowed[i]);
    }
    bert_model *model = load(ZH "model.onnx");
    bert_session *session = NULL;
    bert_error error;
    const bert_session_options options = {
        .struct_size = sizeof options, .providers = "cuda", .precision = BERT_PRECISION_BF16_WEIGHTS};
    assert_int_equal(bert_session_create(model, &options, &session, &error), BERT_UNSUPPORTED);
    assert_non_null(strstr(error.message, "fp16"));
    bert_model_free(model);
}

/* Bytes of weights, kernels that run in E4M3 in a run of one batch, those that only make bytes for them, and its
 * logits.
 */
static size_t run_in(bert_precision precision, batch *b, size_t *kernels, size_t *quantizing, float *logits) {
    bert_model *model = load(ZH "model.onnx");
    const bert_session_options options = {
        .struct_size = sizeof options, .providers = "cuda", .precision = precision, .profile = true};
    bert_session *session = open_with(model, &options);
    bert_emulator_count("quantize_e4m3");
    run(session, b, logits);
    *quantizing = bert_emulator_launches();
    bert_emulator_count(NULL);
    size_t count = 0;
    *kernels = 0;
    const bert_profile_entry *entries = bert_session_profile(session, &count);
    for (size_t i = 0; i < count; i++) *kernels += strcmp(entries[i].kernel, "linear_e4m3/cuda") == 0;
    bert_session_memory memory = {.struct_size = sizeof memory};
    bert_session_get_memory(session, &memory);
    bert_session_free(session);
    bert_model_free(model);
    return memory.weight_bytes;
}

static void fp8_multiplies_in_e4m3(void **state) {
    const bert_session_options options = {
        .struct_size = sizeof options, .providers = "cuda", .precision = BERT_PRECISION_FP8};
    float logits[3][BATCH * LABELS];
    size_t kernels[3], quantizing[3];
    batch b = make_batch(BATCH, SEQUENCE, false, 1);
    const size_t half = run_in(BERT_PRECISION_FP16, &b, &kernels[0], &quantizing[0], logits[0]);
    for (int scaled = 0; scaled < 2; scaled++) { /* the epilogue has the scales, or the product */
        bert_emulator_have_e4m3(scaled ? BERT_EMULATOR_E4M3_SCALED : BERT_EMULATOR_E4M3);
        expect_same_as_cpu(ZH "model.onnx", &options, 0.2);
        expect_same_as_cpu(ZH "model-optimized.onnx", &options, 0.2);
        const size_t bytes =
            run_in(BERT_PRECISION_FP8, &b, &kernels[1 + scaled], &quantizing[1 + scaled], logits[1 + scaled]);
        assert_true(bytes < half);
    }
    assert_true(kernels[0] == 0 && kernels[1] > 12 && kernels[2] == kernels[1]);
    assert_true(quantizing[1] == kernels[1] / 4 &&
                quantizing[2] == quantizing[1]);             /* of what attention gives, a layer */
    expect_near(logits[1], logits[2], BATCH * LABELS, 2e-2); /* of the same bytes */
    expect_no_faults(__func__);
}

static void fp8_is_refused_with_the_reason(void **state) {
    bert_model *model = load(ZH "model.onnx");
    bert_session *session = NULL;
    bert_error error;
    bert_session_options options = {
        .struct_size = sizeof options, .providers = "cuda", .precision = BERT_PRECISION_FP8};
    bert_emulator_have_e4m3(BERT_EMULATOR_NO_E4M3);
    assert_int_equal(bert_session_create(model, &options, &session, &error), BERT_UNSUPPORTED);
    assert_non_null(strstr(error.message, "compute capability 8.9"));
    options.providers = "cuda,cpu";
    assert_int_equal(bert_session_create(model, &options, &session, &error), BERT_UNSUPPORTED);
    assert_non_null(strstr(error.message, "the cpu backend computes in fp32"));
    bert_emulator_have_e4m3(BERT_EMULATOR_E4M3_SCALED);
    bert_model_free(model);
}

static void a_driver_that_is_missing_or_too_old_is_told(void **state) {
    static const struct {
        int version;
        const char *reason;
        bool other; /* a plug-in for this driver can be built */
    } drivers[] = {{0, "there is no NVIDIA driver", false},
                   {11080, "the NVIDIA driver is too old: it has CUDA 11.8", false},
                   {12080, "the NVIDIA driver is too old: it has CUDA 12.8", true}};
    bert_model *model = load(ZH "model.onnx");
    bert_session_options options = {.struct_size = sizeof options, .providers = "cuda"};
    for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++) {
        bert_session *session = NULL;
        bert_error error;
        bert_emulator_have_driver(drivers[i].version);
        assert_int_equal(bert_session_create(model, &options, &session, &error), BERT_UNSUPPORTED);
        bert_emulator_have_driver(CUDART_VERSION);
        const bool other = strstr(error.message, ", or a plug-in") != NULL;
        if (!strstr(error.message, drivers[i].reason) || other != drivers[i].other) fail_msg("%s", error.message);
    }
    bert_model_free(model);
}

/* The first test: a process chooses when it opens its first device. */
static void kernels_are_launched_ahead_where_all_can(void **state) {
    static const struct {
        int major, code, driver;
        const char *wanted; /* NULL: nothing in the environment */
        bool ahead;
    } cases[] = {{8, 90, 13000, NULL, false},  {9, 90, 12020, NULL, false}, {9, 80, 13000, NULL, false},
                 {10, 89, 13000, NULL, false}, {9, 90, 12030, NULL, true},  {10, 90, 13000, "", true},
                 {9, 90, 13000, "off", false}, {9, 90, 13000, NULL, true}};
    unsetenv("BERT_CUDA_LAUNCH_AHEAD");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bert_emulator_have_capability(cases[i].major, 0);
        bert_emulator_have_code(cases[i].code);
        bert_emulator_have_driver(cases[i].driver);
        if (cases[i].wanted) setenv("BERT_CUDA_LAUNCH_AHEAD", cases[i].wanted, 1);
        assert_int_equal(bert_cuda_can_launch_ahead(), cases[i].ahead);
        unsetenv("BERT_CUDA_LAUNCH_AHEAD");
    }
    assert_false(bert_cuda_launch_ahead);
    bert_model *model = load(ZH "model.onnx");
    bert_session_free(open(model, "cuda"));
    assert_true(bert_cuda_launch_ahead);
    bert_model_free(model);
    bert_emulator_have_capability(8, 9);
    bert_emulator_have_driver(CUDART_VERSION);
}

static void keep_last(void *user, bert_log_level level, const char *message) {
    snprintf(user, 256, "%s", message);
}

static void words_that_are_not_known_are_told(void **state) {
    static const struct {
        const char *name, *value, *notice; /* "": none */
    } cases[] = {{"BERT_CUDA_LINEAR", "own", ""},
                 {"BERT_CUDA_LINEAR", "", ""},
                 {"BERT_CUDA_LINEAR", "libary", "BERT_CUDA_LINEAR takes library or own; \"libary\" is ignored"},
                 {"BERT_CUDA_LAUNCH_AHEAD", "off", ""},
                 {"BERT_CUDA_LAUNCH_AHEAD", "no", "BERT_CUDA_LAUNCH_AHEAD takes off; \"no\" is ignored"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char last[256] = "";
        const bert_log log = {.write = keep_last, .user = last, .level = BERT_LOG_NOTICE};
        const bert_model_options options = {.struct_size = sizeof options, .log = &log};
        setenv(cases[i].name, cases[i].value, 1);
        bert_model *model = load_with(ZH "model.onnx", &options);
        bert_session_free(open(model, "cuda"));
        unsetenv(cases[i].name);
        if (cases[i].notice[0])
            assert_non_null(strstr(last, cases[i].notice));
        else
            assert_string_equal(last, "");
        bert_model_free(model);
    }
}

/* ---- Products ---------------------------------------------------------------------------------------------------- */

/* Choices in the file, and those for weights that come from memory. */
static void count_choices(const char *path, int *all, int *cold) {
    char line[512];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    *all = *cold = 0;
    while (fgets(line, sizeof line, file)) {
        int kind;
        unsigned flags;
        if (sscanf(line, "%d %u ", &kind, &flags) != 2) continue;
        ++*all;
        *cold += (flags & BERT_CUDA_GEMM_COLD) != 0;
    }
    fclose(file);
}

/* Only sessions that may differ in the last bits measure products, and keep what they found: of few rows, with weights
 * that come from memory, since the model's are more than the emulator's L2 holds. */
static void deterministic_sessions_measure_nothing(void **state) {
    char folder[] = "/tmp/bertc-choices-XXXXXX", path[64];
    float logits[LABELS];
    int all, cold;
    batch b = make_batch(1, 5, false, 1);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/choices", folder);
    setenv("BERT_CUDA_GEMM_CACHE", path, 1);
    bert_model *model = load(ZH "model.onnx");
    for (int deterministic = 1; deterministic >= 0; deterministic--) {
        const bert_session_options options = {
            .struct_size = sizeof options, .providers = "cuda", .deterministic = deterministic};
        bert_session *session = open_with(model, &options);
        run(session, &b, logits);
        assert_int_equal(access(path, F_OK) == 0, !deterministic);
        bert_session_free(session);
    }
    count_choices(path, &all, &cold);
    assert_true(all > 0);
    assert_int_equal(cold, all); /* all of its products are Linears */
    bert_model_free(model);
    setenv("BERT_CUDA_GEMM_CACHE", "off", 1);
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

/* Linears whose product is our own, in a run with nothing in the environment, or a way. */
static uint64_t own_linears(const char *way, bool deterministic, uint64_t *epilogues) {
    const bert_session_options options = {.struct_size = sizeof options,
                                          .providers = "cuda",
                                          .precision = BERT_PRECISION_FP16,
                                          .deterministic = deterministic};
    batch b = make_batch(1, 5, false, 1);
    if (way) setenv("BERT_CUDA_LINEAR", way, 1);
    setenv("BERT_CUDA_LATE_NORM", "off", 1);
    bert_model *model = load(ZH "model.onnx");
    bert_session *session = open_with(model, &options);
    unsetenv("BERT_CUDA_LINEAR");
    unsetenv("BERT_CUDA_LATE_NORM");
    const uint64_t launches = launches_of("tensor_product_kernel", session, &b);
    *epilogues = launches_of("stretch_kernel", session, &b);
    bert_emulator_count(NULL);
    bert_session_free(session);
    bert_model_free(model);
    return launches;
}

/* Whatever the number of rows: also those that nothing follows but a bias, which the library would guess about. The
 * environment says so of all too, or has the library add that bias, in the product. */
static void linears_are_our_own_where_that_is_wanted(void **state) {
    uint64_t epilogues, library_epilogues;
    const uint64_t chosen = own_linears(NULL, false, &epilogues), all = own_linears(NULL, true, &epilogues);
    assert_true(chosen > 0 && all > chosen);
    assert_int_equal(epilogues, 0);
    for (int deterministic = 0; deterministic < 2; deterministic++) {
        assert_int_equal(own_linears("own", deterministic, &epilogues), all);
        assert_int_equal(epilogues, 0);
        assert_int_equal(own_linears("library", deterministic, &library_epilogues), 0);
        assert_int_equal(library_epilogues, chosen);
    }
    expect_no_faults(__func__);
}

/* Kernels of LayerNorm in a run. `off`: a variable that the environment has; or NULL. */
static uint64_t norms_of(const bert_session_options *options, const char *off) {
    batch b = make_batch(1, 5, false, 1);
    if (off) setenv(off, strcmp(off, "BERT_CUDA_LINEAR") == 0 ? "library" : "off", 1);
    bert_model *model = load(ZH "model.onnx");
    bert_session *session = open_with(model, options);
    if (off) unsetenv(off);
    const uint64_t launches = launches_of("warp_row_kernel", session, &b);
    bert_emulator_count(NULL);
    bert_session_free(session);
    bert_model_free(model);
    return launches;
}

/* A LayerNorm is no kernel of its own in float16 with few rows; but the first, which an Embedding does, and one whose
 * rows are picked from, before the last layer. */
static void few_rows_are_normalized_by_the_products_that_read_them(void **state) {
    bert_session_options options = {
        .struct_size = sizeof options, .providers = "cuda", .precision = BERT_PRECISION_FP16};
    const uint64_t late = norms_of(&options, NULL), all = norms_of(&options, "BERT_CUDA_LATE_NORM");
    assert_true(late > 0 && all > 2 * late);
    assert_int_equal(norms_of(&options, "BERT_CUDA_LINEAR"), all);
    options.deterministic = true;
    assert_int_equal(norms_of(&options, NULL), all);
    options.deterministic = false;
    options.precision = BERT_PRECISION_BF16;
    assert_int_equal(norms_of(&options, NULL), all);
    expect_no_faults(__func__);
}

/* ---- Weights and memory ------------------------------------------------------------------------------------------ */

static size_t weight_bytes(const bert_session *session) {
    bert_session_memory memory = {.struct_size = sizeof memory};
    bert_session_get_memory(session, &memory);
    return memory.weight_bytes;
}

static void sessions_share_weights(void **state) {
    bert_model *model = load(ZH "model.onnx");
    batch b = make_batch(1, 5, false, 1);
    float logits[2][LABELS];
    bert_session *first = open(model, "cuda");
    run(first, &b, logits[0]);
    const size_t bytes = weight_bytes(first);
    bert_session *second = open(model, "cuda");
    run(second, &b, logits[1]);
    assert_true(bytes > 0 && weight_bytes(second) == bytes);
    expect_near(logits[0], logits[1], LABELS, 0);
    bert_session_free(first);
    run(second, &b, logits[1]);
    bert_session_free(second);
    bert_model_free(model);
}

/* What is packed of several weights is there alone, whichever operator multiplies by it. */
static void late_norms_take_no_memory_for_weights(void **state) {
    const bert_session_options options = {
        .struct_size = sizeof options, .providers = "cuda", .precision = BERT_PRECISION_FP16};
    size_t bytes[2];
    for (int off = 0; off < 2; off++) {
        batch b = make_batch(1, 5, false, 1);
        float logits[LABELS];
        if (off) setenv("BERT_CUDA_LATE_NORM", "off", 1);
        bert_model *model = load(ZH "model.onnx");
        bert_session *session = open_with(model, &options);
        unsetenv("BERT_CUDA_LATE_NORM");
        run(session, &b, logits);
        bytes[off] = weight_bytes(session);
        bert_session_free(session);
        bert_model_free(model);
    }
    assert_int_equal(bytes[0], bytes[1]);
}

/* A LayerNorm gives its sum's memory back, and no model is computed wrongly for it. */
static void kernels_take_the_memory_that_nobody_reads_later(void **state) {
    bert_model *model = load(ZH "model.onnx");
    bert_session *session = open(model, "cuda");
    batch b = make_batch(BATCH, SEQUENCE, false, 1);
    float logits[BATCH * LABELS];
    run(session, &b, logits);
    const bert_plan *plan = bert_session_plan(session);
    int norms = 0;
    for (size_t s = 0; s < plan->step_count; s++) {
        const bert_plan_step *step = &plan->steps[s];
        if (step->node->op->id != BERT_OP_BERTC_SkipLayerNormalization) continue;
        assert_true(step->plan.in_place == 1 && step->outputs[0].data == step->inputs[0].data);
        norms++;
    }
    assert_true(norms > 1);
    bert_session_free(session);
    bert_model_free(model);
    expect_no_faults(__func__);
}

static void lack_of_memory_leaves_the_session_usable(void **state) {
    bert_model *model = load(ZH "model.onnx");
    bert_session *session = open(model, "cuda");
    batch small = make_batch(1, 2, false, 1), large = make_batch(BATCH, SEQUENCE, false, 1);
    float before[LABELS], after[LABELS], logits[BATCH * LABELS];
    bert_error error;
    run(session, &small, before);
    bert_emulator_memory_limit(0); /* no more than there is */
    assert_int_equal(try_run(session, &large, logits, &error), BERT_OUT_OF_MEMORY);
    assert_non_null(strstr(error.message, "bytes"));
    run(session, &small, after);
    expect_near(before, after, LABELS, 0);
    bert_emulator_memory_limit(UNLIMITED);
    run(session, &large, logits);
    bert_session_free(session);
    bert_model_free(model);
    expect_no_faults(__func__);
}

static void a_model_that_does_not_fit_is_an_error(void **state) {
    bert_model *model = load(ZH "model.onnx");
    bert_session *session = NULL;
    bert_error error;
    const bert_session_options options = {.struct_size = sizeof options, .providers = "cuda"};
    bert_emulator_memory_limit(64 << 10);
    assert_int_equal(bert_session_create(model, &options, &session, &error), BERT_OUT_OF_MEMORY);
    bert_emulator_memory_limit(UNLIMITED);
    bert_session_free(open(model, "cuda"));
    bert_model_free(model);
}

/* Zeros for every input, all of [2, 4]. */
static bert_status run_zeros(bert_model *model, bert_session *session, bert_error *error) {
    int64_t zeros[8] = {0};
    bert_named_tensor inputs[3] = {{0}}, output = {0};
    bert_model_tensor described;
    const size_t count = bert_model_input_count(model);
    assert_true(count <= 3);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(bert_model_input(model, i, &described), BERT_OK);
        inputs[i] = (bert_named_tensor){described.name, {BERT_INT64, 2, {2, 4}, zeros}, 0};
    }
    assert_int_equal(bert_model_output(model, 0, &described), BERT_OK);
    output.name = described.name;
    return bert_session_run(session, NULL, inputs, count, &output, 1, error);
}

/* A session and two runs, of which the host allocation number `fail` (from 1; 0: none) is refused. Gives their number.
 */
static size_t live_with_refusal(size_t fail) {
    scarce_memory memory = {0};
    const bert_allocator allocator = scarce_allocator(&memory);
    const bert_model_options model_options = {.struct_size = sizeof model_options, .allocator = &allocator};
    bert_model *model = load_with(GRAPHS "old_bert_cls_11/model.onnx", &model_options);
    const size_t loaded = memory.allocations;
    const bert_session_options options = {.struct_size = sizeof options, .providers = "cuda"};
    bert_session *session = NULL;
    bert_error error;
    if (fail) {
        memory.fail_from = loaded + fail - 1;
        memory.fail_to = memory.fail_from + 1;
    }
    bert_status status = bert_session_create(model, &options, &session, &error);
    for (int i = 0; i < 2 && status == BERT_OK; i++) status = run_zeros(model, session, &error);
    if (!fail && status != BERT_OK) fail_msg("%s", error.message);
    if (status != BERT_OK) assert_int_equal(status, BERT_OUT_OF_MEMORY);
    if (session && run_zeros(model, session, &error) != BERT_OK) fail_msg("%s", error.message);
    const size_t asked = memory.allocations - loaded;
    bert_session_free(session);
    bert_model_free(model);
    assert_int_equal(memory.live, 0);
    return asked;
}

static void every_host_allocation_may_fail(void **state) {
    const size_t total = live_with_refusal(0);
    assert_true(total > 50);
    for (size_t fail = 1; fail <= total; fail += 1 + fail / 16) live_with_refusal(fail);
}

/* ---- Errors ------------------------------------------------------------------------------------------------------ */

static void an_id_outside_its_table_is_named(void **state) {
    bert_model *model = load(ZH "model.onnx");
    bert_session *session = open(model, "cuda");
    batch b = make_batch(1, 5, false, 1);
    float before[LABELS], after[LABELS];
    bert_error error;
    for (int i = 0; i < 3; i++) { /* called, and replayed */
        b.ids[3] = 150;
        run(session, &b, before);
        b.ids[3] = 1 << 20;
        assert_int_equal(try_run(session, &b, after, &error), BERT_INVALID_INPUT);
        assert_non_null(strstr(error.message, "1048576"));
        b.ids[3] = 150;
        run(session, &b, after);
        expect_near(before, after, LABELS, 0);
    }
    bert_session_free(session);
    bert_model_free(model);
    expect_no_faults(__func__);
}

/* Without padding it is at the place that it has with it. */
static void its_place_is_that_among_the_padding(void **state) {
    bert_model *model = load(ZH "model.onnx");
    const bert_session_options options = {
        .struct_size = sizeof options, .providers = "cuda", .padded_rows = BERT_PADDED_ROWS_UNDEFINED};
    bert_session *session = open_with(model, &options);
    batch b = make_batch(BATCH, SEQUENCE, true, 1);
    float logits[BATCH * LABELS];
    bert_error error;
    b.ids[TOKENS - 1] = 1 << 20; /* padding: nobody looks */
    run(session, &b, logits);
    b.ids[SEQUENCE + 2] = 1 << 20;
    assert_int_equal(try_run(session, &b, logits, &error), BERT_INVALID_INPUT);
    assert_non_null(strstr(error.message, "index 1048576 at position 11 of input 0"));
    bert_session_free(session);
    bert_model_free(model);
    expect_no_faults(__func__);
}

/* Each CUDA call of a session's life fails in turn: a sentence, and the next run is right. */
static void every_cuda_call_may_fail(void **state) {
    bert_model *model = load(ZH "model.onnx");
    bert_session *session = open(model, "cuda");
    batch b = make_batch(1, 5, false, 1);
    float expected[LABELS], logits[LABELS];
    bert_error error;
    run(session, &b, expected);
    bert_session_free(session);
    int failures = 0, whole = 0; /* of these of no kernel alone */
    for (long calls = 0; calls < 100000; calls += 1 + calls / 16) {
        error.message[0] = 0;
        session = NULL;
        bert_emulator_fail_after(calls, cudaErrorLaunchFailure);
        const bert_session_options options = {.struct_size = sizeof options, .providers = "cuda"};
        bert_status status = bert_session_create(model, &options, &session, &error);
        if (status == BERT_OK) status = try_run(session, &b, logits, &error);
        if (status == BERT_OK) status = try_run(session, &b, logits, &error);
        const bool reached = bert_emulator_fail_after(-1, 0);
        if (status != BERT_OK) {
            failures++;
            assert_true(reached && error.message[0]);
            whole += strncmp(error.message, "a run with input_ids [1, 5]: ", 29) == 0;
        }
        if (session) {
            run(session, &b, logits);
            expect_near(expected, logits, LABELS, 0);
            bert_session_free(session);
        }
        if (!reached) break;
    }
    assert_true(failures > 20 && whole > 0 && whole < failures);
    bert_model_free(model);
    expect_no_faults(__func__);
}

static void another_version_of_the_interface_is_refused(void **state) {
    assert_null(bert_cuda_backend(BERT_BACKEND_ABI_VERSION + 1));
    assert_non_null(bert_cuda_backend(BERT_BACKEND_ABI_VERSION));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_are_launched_ahead_where_all_can),
        cmocka_unit_test(cuda_agrees_with_cpu),
        cmocka_unit_test(ranges_come_from_who_wrote_the_rows),
        cmocka_unit_test(products_of_bytes_are_the_same_either_way),
        cmocka_unit_test(precisions_stay_near),
        cmocka_unit_test(fp8_multiplies_in_e4m3),
        cmocka_unit_test(fp8_is_refused_with_the_reason),
        cmocka_unit_test(a_driver_that_is_missing_or_too_old_is_told),
        cmocka_unit_test(words_that_are_not_known_are_told),
        cmocka_unit_test(deterministic_sessions_measure_nothing),
        cmocka_unit_test(linears_are_our_own_where_that_is_wanted),
        cmocka_unit_test(few_rows_are_normalized_by_the_products_that_read_them),
        cmocka_unit_test(sessions_share_weights),
        cmocka_unit_test(late_norms_take_no_memory_for_weights),
        cmocka_unit_test(kernels_take_the_memory_that_nobody_reads_later),
        cmocka_unit_test(lack_of_memory_leaves_the_session_usable),
        cmocka_unit_test(a_model_that_does_not_fit_is_an_error),
        cmocka_unit_test(every_host_allocation_may_fail),
        cmocka_unit_test(an_id_outside_its_table_is_named),
        cmocka_unit_test(its_place_is_that_among_the_padding),
        cmocka_unit_test(every_cuda_call_may_fail),
        cmocka_unit_test(another_version_of_the_interface_is_refused),
    };
    composition = provider_composition();
    setenv("BERT_CUDA_GEMM_CACHE", "off", 1); /* nothing is written beside the models */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
