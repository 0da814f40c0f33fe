/*
 * LayerNorms go into the Linears around them, of every exporter's models, with padding and without: what a backend that
 * takes LayerNormLinears gives is what it gives without these.
 */
#include "core/graph/canonical.h"
#include "core/runtime/plan.h"
#include "core/runtime/reference_backend.h"
#include "tests/runtime/build.h"
#include "tests/support/scarce_memory.h"
#include "tests/support/test.h"
#include "tests/support/worst.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define GRAPHS BERT_SOURCE_DIR "/tests/data/graphs"
#define EXPORTS BERT_SOURCE_DIR "/tests/data/exports"

enum { BATCH = 3, SEQUENCE = 9, TOKENS = BATCH * SEQUENCE, MOST_INPUTS = 4, MOST_OUTPUTS = 8 };

/* The reference, which says that it takes LayerNormLinears, or doesn't. */
static bert_backend late, plain;

static bert_composition composition_of(const bert_backend *const *backend) {
    bert_composition composition = bert_default_composition;
    composition.backends = backend;
    composition.backend_count = 1;
    composition.plugin_count = 0;
    return composition;
}

typedef struct opened {
    const bert_backend *backends[1];
    bert_composition composition;
    bert_model *model;
    bert_session *session;
    bert_named_tensor outputs[MOST_OUTPUTS];
    size_t output_count;
} opened;

/* `out` stays where it is until it is closed. */
static bert_status open_model(opened *out, const bert_backend *backend, const char *path, bert_padded_rows rows,
                              const bert_allocator *allocator, bert_error *error) {
    const bert_model_options options = {.struct_size = sizeof options, .allocator = allocator};
    const bert_session_options session_options = {.struct_size = sizeof session_options, .padded_rows = rows};
    const bert_model_source source = {.path = path};
    *out = (opened){.backends = {backend}};
    out->composition = composition_of(out->backends);
    BERT_TRY(bert_model_load_composed(&out->composition, &source, &options, &out->model, error));
    BERT_TRY(bert_session_create(out->model, &session_options, &out->session, error));
    out->output_count = bert_model_output_count(out->model);
    assert_true(out->output_count <= MOST_OUTPUTS);
    return BERT_OK;
}

static void close_model(opened *model) {
    bert_session_free(model->session);
    bert_model_free(model->model);
}

/* Sentences of three lengths. */
static bert_status run(opened *model, bert_error *error) {
    static int64_t wide[MOST_INPUTS][TOKENS];
    static int32_t narrow[MOST_INPUTS][TOKENS];
    static const int64_t lengths[BATCH] = {9, 2, 4};
    bert_named_tensor inputs[MOST_INPUTS];
    const size_t count = bert_model_input_count(model->model);
    assert_true(count <= MOST_INPUTS);
    for (size_t i = 0; i < count; i++) {
        bert_model_tensor described;
        bert_model_input(model->model, i, &described);
        for (int64_t t = 0; t < TOKENS; t++) {
            const int64_t real = t % SEQUENCE < lengths[t / SEQUENCE];
            wide[i][t] = strstr(described.name, "mask")       ? real
                         : strstr(described.name, "type")     ? 0
                         : strstr(described.name, "position") ? t % SEQUENCE
                         : real                               ? 4 + t * 7 % 40
                                                              : 1;
            narrow[i][t] = (int32_t)wide[i][t];
        }
        void *data = described.dtype == BERT_INT32 ? (void *)narrow[i] : (void *)wide[i];
        inputs[i] = named(described.name, described.dtype, 2, DIMS(BATCH, SEQUENCE), data);
    }
    for (size_t i = 0; i < model->output_count; i++) {
        bert_model_tensor described;
        bert_model_output(model->model, i, &described);
        model->outputs[i] = (bert_named_tensor){.name = described.name};
    }
    return bert_session_run(model->session, NULL, inputs, count, model->outputs, model->output_count, error);
}

static double worst_of(const opened *got, const opened *expected) {
    double worst = 0;
    for (size_t o = 0; o < expected->output_count; o++) {
        const bert_tensor *a = &got->outputs[o].tensor, *b = &expected->outputs[o].tensor;
        const bert_constant read_a = {.dtype = a->dtype, .data = a->data},
                            read_b = {.dtype = b->dtype, .data = b->data};
        assert_int_equal(a->dtype, b->dtype);
        assert_int_equal(bert_tensor_elements(a), bert_tensor_elements(b));
        for (int64_t i = 0; i < bert_tensor_elements(a); i++) {
            const double off = error_of(bert_constant_double(&read_a, i), bert_constant_double(&read_b, i));
            if (off > worst) worst = off;
        }
    }
    return worst;
}

static void expect_moments(const bert_tensor *rows, const bert_tensor *moments) {
    if (moments->dtype == BERT_DTYPE_UNDEFINED) return;
    assert_int_equal(moments->rank, rows->rank + 1);
    for (int32_t i = 0; i + 1 < rows->rank; i++) assert_int_equal(moments->dims[i], rows->dims[i]);
}

static int count_steps(const opened *model, bert_op_id op) {
    const bert_plan *plan = bert_session_plan(model->session);
    int count = 0;
    for (size_t i = 0; i < plan->step_count; i++) count += plan->steps[i].node->op->id == op;
    return count;
}

static int count_norms(const opened *model) {
    return count_steps(model, BERT_OP_BERTC_SkipLayerNormalization) + count_steps(model, BERT_OP_LayerNormalization);
}

/* Moments are of as many rows as the tensors that they belong to, in a run with fewer than the plan is for, too. */
static void expect_moments_of_all_rows(const opened *model) {
    static const int32_t owners[] = {BERT_LINEAR_X, BERT_LINEAR_RESIDUAL};
    static const int32_t moments[] = {BERT_LAYER_NORM_LINEAR_X_MOMENTS, BERT_LAYER_NORM_LINEAR_RESIDUAL_MOMENTS};
    const bert_plan *plan = bert_session_plan(model->session);
    for (size_t s = 0; s < plan->step_count; s++) {
        const bert_plan_step *step = &plan->steps[s];
        if (step->node->op->id != BERT_OP_BERTC_LayerNormLinear) continue;
        for (int i = 0; i < 2; i++) expect_moments(&step->inputs[owners[i]], &step->inputs[moments[i]]);
        if (step->node->output_count > 1) expect_moments(&step->outputs[0], &step->outputs[1]);
    }
}

/* What a model's plan has: products that normalize or give moments, and norms with and without these. */
typedef struct counts {
    int products, norms, norms_before;
    bool packed;
} counts;

static bool is_quantized(const char *name) {
    return strstr(name, "_q") && !strstr(name, "_qa_");
}

static counts compare(const char *path, const char *name, bert_padded_rows rows) {
    opened got, expected;
    bert_error error;
    if (open_model(&expected, &plain, path, rows, NULL, &error) != BERT_OK) fail_msg("%s: %s", path, error.message);
    if (open_model(&got, &late, path, rows, NULL, &error) != BERT_OK) fail_msg("%s: %s", path, error.message);
    if (run(&expected, &error) != BERT_OK) fail_msg("%s: %s", path, error.message);
    if (run(&got, &error) != BERT_OK) fail_msg("%s: %s", path, error.message);
    /* A last bit may be another 8-bit number for a whole row; 16 bits hold rows before and after they are normalized.
     */
    const double tolerance = is_quantized(name) ? 2e-3 : strstr(name, "fp16") ? 5e-3 : 1e-5;
    const double worst = worst_of(&got, &expected);
    if (!(worst <= tolerance)) fail_msg("%s is off by %g", path, worst);
    const counts found = {.products = count_steps(&got, BERT_OP_BERTC_LayerNormLinear),
                          .norms = count_norms(&got),
                          .norms_before = count_norms(&expected),
                          .packed = bert_session_plan(got.session)->request.rows > 0};
    assert_int_equal(count_steps(&expected, BERT_OP_BERTC_LayerNormLinear), 0);
    assert_true(found.norms < found.norms_before || found.products == 0);
    expect_moments_of_all_rows(&got);
    close_model(&got);
    close_model(&expected);
    return found;
}

/* Every model of a folder: a file, or model.onnx in a folder of its own. All but quantized ones are rewritten. */
static void compare_all(const char *folder, const char *ending, bert_padded_rows rows) {
    DIR *directory = opendir(folder);
    const struct dirent *entry;
    int models = 0;
    assert_non_null(directory);
    while ((entry = readdir(directory))) {
        char path[1024];
        const char *dot = strrchr(entry->d_name, '.');
        if (*entry->d_name == '.' || (*ending ? dot != NULL : !dot || strcmp(dot, ".onnx") != 0)) continue;
        snprintf(path, sizeof path, "%s/%s%s", folder, entry->d_name, ending);
        const counts found = compare(path, entry->d_name, rows);
        const bool quantized = is_quantized(entry->d_name);
        if (quantized != (found.products == 0)) fail_msg("%s has %d LayerNormLinears", path, found.products);
        if (!quantized) assert_true(found.packed == (rows == BERT_PADDED_ROWS_UNDEFINED));
        models++;
    }
    closedir(directory);
    assert_true(models > 10);
}

static void every_model_gives_what_it_did(void **state) {
    for (int rows = 0; rows < 2; rows++) {
        const bert_padded_rows padded = rows ? BERT_PADDED_ROWS_UNDEFINED : BERT_PADDED_ROWS_EXACT;
        compare_all(GRAPHS, "/model.onnx", padded);
        compare_all(EXPORTS, "", padded);
    }
}

/* Models of two layers, beside whose norms there is an Embedding's. What stays is an output, or read by another op. */
static void norms_that_are_left(void **state) {
    static const struct {
        const char *name;
        int norms_before, norms, products;
    } models[] = {{"new_bert_17", 4, 1, 7},       /* hidden states are an output */
                  {"new_bert_cls_17", 4, 1, 7},   /* [CLS] is gathered before the last layer ends */
                  {"old_bert_mlm_17", 5, 0, 9},   /* the head has one of its own, of a GELU */
                  {"old_bert_qa_17", 4, 0, 8},    /* the head is a Linear */
                  {"new_modernbert_17", 4, 1, 6}, /* norms begin a layer, and sums go on */
                  {"new_deberta2_17", 4, 1, 9}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[1024];
        snprintf(path, sizeof path, EXPORTS "/%s.onnx", models[i].name);
        const counts found = compare(path, models[i].name, BERT_PADDED_ROWS_EXACT);
        if (found.norms_before != models[i].norms_before || found.norms != models[i].norms ||
            found.products != models[i].products)
            fail_msg("%s: %d of %d norms, %d products", path, found.norms, found.norms_before, found.products);
    }
}

static void running_out_of_memory_is_a_status(void **state) {
    bert_status status = BERT_OUT_OF_MEMORY;
    for (size_t at = 0; status != BERT_OK; at++) {
        opened model;
        bert_error error;
        scarce_memory memory = {0};
        const bert_allocator allocator = scarce_allocator(&memory);
        if (open_model(&model, &late, GRAPHS "/new_bert_17/model.onnx", BERT_PADDED_ROWS_UNDEFINED, &allocator,
                       &error) != BERT_OK)
            fail_msg("%s", error.message);
        const size_t before = memory.allocations;
        memory.fail_from = before + at;
        memory.fail_to = memory.fail_from + 1;
        status = run(&model, &error);
        if (status != BERT_OK && status != BERT_OUT_OF_MEMORY) fail_msg("allocation %zu: %s", at, error.message);
        if (status == BERT_OK) assert_true(at > 10 && memory.allocations - before <= at);
        close_model(&model);
        assert_int_equal(memory.live, 0);
    }
}

static int setup(void **state) {
    late = plain = bert_reference_backend;
    late.layer_norm_linear = true;
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_model_gives_what_it_did),
        cmocka_unit_test(norms_that_are_left),
        cmocka_unit_test(running_out_of_memory_is_a_status),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
