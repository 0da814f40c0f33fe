/*
 * Exports of every family (tests/data/exports) on the CUDA provider, which runs on the emulator here, with 16 bits,
 * beside float32 on the CPU; and what the CPU gives with weights alone rounded. Errors are parts of what bertc verify
 * allows at 1e-2, |y - e| <= 1e-2 + 1e-2 |e|; the greatest of each family are printed, as docs/cuda.md has them.
 */
#include "core/runtime/model.h"
#include "tests/cuda/faults.h"
#include "tests/cuda/provider_composition.h"
#include "tests/support/test.h"
#include "tests/support/worst.h"

#include <bert/bert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTS BERT_SOURCE_DIR "/tests/data/exports"

enum { BATCH = 2, SEQUENCE = 7, TOKENS = BATCH * SEQUENCE, MOST_TENSORS = 8, EXPORT_COUNT = 88 };

static bert_composition composition;

static const struct {
    const char *name, *provider;
    bert_precision precision;
    double most, most_of_products; /* of what is allowed at 1e-2 */
} settings[] = {{"fp16", "cuda", BERT_PRECISION_FP16, 0.5, 0.5},
                {"bf16", "cuda", BERT_PRECISION_BF16, 0.7, 2},
                {"bf16-weights on the CPU", "cpu", BERT_PRECISION_BF16_WEIGHTS, 0.5, 1},
                {"fp8", "cuda", BERT_PRECISION_FP8, 8, 20}};
enum { SETTINGS = sizeof settings / sizeof *settings, MOST_FAMILIES = 16 };

/* Greatest errors of exports whose names are AGE_FAMILY_ and so on. */
static struct {
    char name[32];
    double worst[SETTINGS];
} families[MOST_FAMILIES];

static void note_worst(const char *export, int setting, double worst) {
    char name[sizeof families->name];
    int i = 0;
    if (sscanf(export, "%*[a-z]_%31[a-z0-9]", name) != 1) fail_msg("%s names no family", export);
    while (i < MOST_FAMILIES && families[i].name[0] && strcmp(families[i].name, name) != 0) i++;
    assert_in_range(i, 0, MOST_FAMILIES - 1);
    memcpy(families[i].name, name, sizeof name);
    if (worst > families[i].worst[setting]) families[i].worst[setting] = worst;
}

static void print_families(void) {
    print_message("Of what is allowed at 1e-2:\n| model |");
    for (int s = 0; s < SETTINGS; s++) print_message(" %s |", settings[s].name);
    print_message("\n");
    for (int i = 0; i < MOST_FAMILIES && families[i].name[0]; i++) {
        print_message("| %s |", families[i].name);
        for (int s = 0; s < SETTINGS; s++) print_message(" %.2f |", families[i].worst[s]);
        print_message("\n");
    }
}

/* The last sequence is padded. Ids lie in the tables of every export: 100 words, 2 types. */
static void make_input(bert_named_tensor *input, int64_t *data) {
    const bool mask = strstr(input->name, "mask"), types = strstr(input->name, "type");
    for (int64_t i = 0; i < TOKENS; i++) {
        const bool real = i < TOKENS - 2;
        const int64_t number = mask ? real : types ? i % SEQUENCE > 3 : real ? 5 + (i * 7919 + 13) % 90 : 1;
        if (input->tensor.dtype == BERT_INT32)
            ((int32_t *)data)[i] = (int32_t)number;
        else
            data[i] = number;
    }
    input->tensor.data = data;
}

/* A session and its outputs. */
typedef struct export_run {
    bert_session *session;
    int64_t data[MOST_TENSORS][TOKENS];
    bert_named_tensor inputs[MOST_TENSORS], outputs[MOST_TENSORS];
} export_run;

static void run(export_run *r, bert_model *model, const char *path, const char *provider, bert_precision precision) {
    const bert_session_options options = {.struct_size = sizeof options, .providers = provider, .precision = precision};
    const size_t inputs = bert_model_input_count(model), outputs = bert_model_output_count(model);
    bert_model_tensor declared;
    bert_error error;
    assert_true(inputs <= MOST_TENSORS && outputs <= MOST_TENSORS);
    for (size_t i = 0; i < inputs; i++) {
        assert_int_equal(bert_model_input(model, i, &declared), BERT_OK);
        r->inputs[i] = (bert_named_tensor){declared.name, {declared.dtype, 2, {BATCH, SEQUENCE}, NULL}, 0};
        make_input(&r->inputs[i], r->data[i]);
    }
    for (size_t i = 0; i < outputs; i++) {
        assert_int_equal(bert_model_output(model, i, &declared), BERT_OK);
        r->outputs[i] = (bert_named_tensor){.name = declared.name};
    }
    if (bert_session_create(model, &options, &r->session, &error) != BERT_OK ||
        bert_session_run(r->session, NULL, r->inputs, inputs, r->outputs, outputs, &error) != BERT_OK)
        fail_msg("%s: %s", path, error.message);
}

/* The greatest part of what is allowed. */
static double compare(const bert_named_tensor *expected, const bert_named_tensor *actual, const char *path) {
    const int64_t count = bert_tensor_elements(&expected->tensor);
    if (expected->tensor.dtype != BERT_FLOAT || actual->tensor.dtype != BERT_FLOAT)
        fail_msg("%s: output %s is not float", path, expected->name);
    assert_int_equal(bert_tensor_elements(&actual->tensor), count);
    return worst_error(actual->tensor.data, expected->tensor.data, count) / 1e-2;
}

/*
 * What is well met now (print_families). Weights are 2.5 times those of the exporters here, so their rounding weighs
 * more, in some families above all: albert's and electra's first residual is a product besides, and deberta2 normalizes
 * products without a residual where tokens are masked.
 */
static double allowed(const char *name, int setting) {
    const bool products = strstr(name, "albert") || strstr(name, "electra") || strstr(name, "deberta2");
    return products ? settings[setting].most_of_products : settings[setting].most;
}

static void expect_near(const char *name) {
    static export_run exact, narrow;
    char path[512];
    bert_model *model = NULL;
    bert_error error;
    snprintf(path, sizeof path, EXPORTS "/%s", name);
    const bert_model_source source = {.path = path};
    if (bert_model_load_composed(&composition, &source, NULL, &model, &error) != BERT_OK) fail_msg("%s", error.message);
    run(&exact, model, path, "cpu", BERT_PRECISION_FP32);
    for (int s = 0; s < SETTINGS; s++) {
        run(&narrow, model, path, settings[s].provider, settings[s].precision);
        for (size_t i = 0; i < bert_model_output_count(model); i++) {
            const double worst = compare(&exact.outputs[i], &narrow.outputs[i], path);
            if (!(worst <= allowed(name, s)))
                fail_msg("%s, %s: %.3g of what is allowed at 1e-2", path, settings[s].name, worst);
            note_worst(name, s, worst);
        }
        bert_session_free(narrow.session);
    }
    bert_session_free(exact.session);
    bert_model_free(model);
    expect_no_faults(path);
}

static void every_export_is_near_with_16_bits(void **state) {
    DIR *folder = opendir(EXPORTS);
    if (!folder) {
        fail_msg("%s can't be read", EXPORTS);
        return;
    }
    int count = 0;
    for (const struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        const char *end = strrchr(entry->d_name, '.');
        if (!end || strcmp(end, ".onnx") != 0) continue;
        expect_near(entry->d_name);
        count++;
    }
    closedir(folder);
    assert_int_equal(count, EXPORT_COUNT);
    print_families();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_export_is_near_with_16_bits),
    };
    composition = provider_composition();
    setenv("BERT_CUDA_GEMM_CACHE", "off", 1); /* nothing is written beside the models */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
