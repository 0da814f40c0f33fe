#include "tests/passes/parity.h"

#include "core/base/error.h"
#include "core/runtime/reference_backend.h"
#include "onnx_loader/onnx_loader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TENSORS = 8 };

static bert_status run_passes(bert_graph *graph, const bert_log *log, const bert_pass_report **out, bert_error *error) {
    bert_pass_report *report = BERT_ARENA_NEW(&graph->arena, bert_pass_report);
    if (!report) return bert_fail_memory(error, sizeof *report, "a report");
    *out = report;
    return bert_passes_run(graph, log, report, error);
}

static const bert_backend *const backends[] = {&bert_reference_backend};
const bert_composition parity_composition = {.load = bert_onnx_load,
                                             .run_passes = run_passes,
                                             .backends = backends,
                                             .backend_count = 1,
                                             .reference = &bert_reference_backend};

/* Row r of a mask keeps all tokens, then ever fewer; one row has a hole, one is padded on the left. */
static int64_t mask_of(int64_t row, int64_t column, int64_t batch, int64_t sequence, bool empty_row) {
    if (empty_row && row == batch - 1) return 0;
    if (row == 1 && column == 2) return 0;
    if (row == 2) return column >= 3 || column == sequence - 1;
    return column < sequence - 2 * row || column == 0;
}

static void make_input(bert_named_tensor *input, int64_t batch, int64_t sequence, bool empty_row, int64_t *data) {
    bool mask = strstr(input->name, "mask") != NULL, types = strstr(input->name, "type") != NULL;
    for (int64_t i = 0; i < batch * sequence; i++) {
        int64_t row = i / sequence, column = i % sequence;
        int64_t kept = mask_of(row, column, batch, sequence, empty_row);
        int64_t number = mask ? kept : types ? column > sequence / 2 : kept ? 5 + (i * 7919 + 13) % 90 : 1;
        if (input->tensor.dtype == BERT_INT32) {
            ((int32_t *)data)[i] = (int32_t)number;
        } else {
            data[i] = number;
        }
    }
    input->tensor.data = data;
}

typedef struct parity_session {
    bert_model *model;
    bert_session *session;
    int64_t *data[MOST_TENSORS];
    bert_named_tensor inputs[MOST_TENSORS], outputs[MOST_TENSORS];
    size_t input_count, output_count;
} parity_session;

static void end(parity_session *r) {
    bert_session_free(r->session);
    bert_model_free(r->model);
    for (size_t i = 0; i < r->input_count; i++) free(r->data[i]);
}

static bert_status name_tensors(parity_session *r, int64_t batch, int64_t sequence, bool empty_row, bert_error *error) {
    bert_model_tensor declared;
    size_t inputs = bert_model_input_count(r->model), outputs = bert_model_output_count(r->model);
    if (inputs > MOST_TENSORS || outputs > MOST_TENSORS) return bert_fail(error, BERT_UNSUPPORTED, "too many tensors");
    for (size_t i = 0; i < inputs; i++) {
        BERT_TRY(bert_model_input(r->model, i, &declared));
        r->data[i] = malloc((size_t)(batch * sequence) * sizeof *r->data[i]);
        r->input_count = i + 1;
        if (!r->data[i]) return bert_fail_memory(error, 0, "an input");
        r->inputs[i] = (bert_named_tensor){declared.name, {declared.dtype, 2, {batch, sequence}, NULL}, 0};
        make_input(&r->inputs[i], batch, sequence, empty_row, r->data[i]);
    }
    for (size_t i = 0; i < outputs; i++) {
        BERT_TRY(bert_model_output(r->model, i, &declared));
        r->outputs[i] = (bert_named_tensor){.name = declared.name};
    }
    r->output_count = outputs;
    return BERT_OK;
}

static bert_status run(parity_session *r, const char *path, bool no_passes, int64_t batch, int64_t sequence,
                       bool empty_row, bert_error *error) {
    bert_model_options options = {.struct_size = sizeof options, .no_passes = no_passes};
    bert_session_options session_options = {.struct_size = sizeof session_options, .providers = "reference"};
    BERT_TRY(
        bert_model_load_composed(&parity_composition, &(bert_model_source){.path = path}, &options, &r->model, error));
    BERT_TRY(bert_session_create(r->model, &session_options, &r->session, error));
    BERT_TRY(name_tensors(r, batch, sequence, empty_row, error));
    return bert_session_run(r->session, NULL, r->inputs, r->input_count, r->outputs, r->output_count, error);
}

static bert_status run_profiled(parity_session *r, const char *path, int64_t batch, int64_t sequence,
                                bert_error *error) {
    bert_session_options options = {.struct_size = sizeof options, .providers = "cpu", .profile = true};
    BERT_TRY(bert_model_load(path, NULL, &r->model, error));
    BERT_TRY(bert_session_create(r->model, &options, &r->session, error));
    BERT_TRY(name_tensors(r, batch, sequence, false, error));
    return bert_session_run(r->session, NULL, r->inputs, r->input_count, r->outputs, r->output_count, error);
}

bert_status parity_profile_run(const char *path, int64_t batch, int64_t sequence, parity_profile *out,
                               bert_error *error) {
    parity_session *r = calloc(1, sizeof *r);
    *out = (parity_profile){.memory = {.struct_size = sizeof out->memory}};
    if (!r) return bert_fail_memory(error, sizeof *r, "a session");
    bert_status status = run_profiled(r, path, batch, sequence, error);
    if (status != BERT_OK) {
        end(r);
        free(r);
        return status;
    }
    out->session = r;
    out->model = r->model;
    out->entries = bert_session_profile(r->session, &out->count);
    bert_session_get_memory(r->session, &out->memory);
    return BERT_OK;
}

void parity_profile_end(parity_profile *profile) {
    if (profile->session) end(profile->session);
    free(profile->session);
    *profile = (parity_profile){.session = NULL};
}

static bert_status compare(const bert_named_tensor *a, const bert_named_tensor *b, double *worst, bert_error *error) {
    int64_t count = bert_tensor_elements(&a->tensor);
    if (a->tensor.dtype != BERT_FLOAT || b->tensor.dtype != BERT_FLOAT || count != bert_tensor_elements(&b->tensor))
        return bert_fail(error, BERT_UNSUPPORTED, "output %s differs in type or size", a->name);
    const float *x = a->tensor.data, *y = b->tensor.data;
    double greatest = 1, difference = 0;
    for (int64_t i = 0; i < count; i++) {
        if (isnan(x[i]) && isnan(y[i])) continue;
        if (!isfinite(x[i]) || !isfinite(y[i]))
            return bert_fail(error, BERT_UNSUPPORTED, "output %s is not a number", a->name);
        greatest = fmax(greatest, fabs((double)x[i]));
        difference = fmax(difference, fabs((double)x[i] - (double)y[i]));
    }
    *worst = fmax(*worst, difference / greatest);
    return BERT_OK;
}

bert_status parity_run(const char *path, int64_t batch, int64_t sequence, bool empty_row, double *worst,
                       bert_error *error) {
    parity_session plain = {0}, rewritten = {0};
    *worst = 0;
    bert_status status = run(&plain, path, true, batch, sequence, empty_row, error);
    if (status == BERT_OK) status = run(&rewritten, path, false, batch, sequence, empty_row, error);
    for (size_t i = 0; status == BERT_OK && i < plain.output_count; i++) {
        status = compare(&plain.outputs[i], &rewritten.outputs[i], worst, error);
    }
    end(&plain);
    end(&rewritten);
    return status;
}
