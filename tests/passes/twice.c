#include "tests/passes/twice.h"

#include "core/base/error.h"
#include "core/runtime/reference_backend.h"

#include <math.h>

enum { MOST_OUTPUTS = 4 };

typedef struct recipe {
    twice_fn make;
    const void *spec;
} recipe;

static bert_status load(const bert_model_source *source, bert_graph **out, bert_error *error) {
    const recipe *r = source->data;
    builder b = start(17);
    r->make(&b, r->spec);
    *out = b.graph;
    return bert_graph_sort(b.graph, error);
}

static bert_status run_passes(bert_graph *graph, const bert_log *log, const bert_pass_report **out, bert_error *error) {
    bert_pass_report *report = BERT_ARENA_NEW(&graph->arena, bert_pass_report);
    assert_non_null(report);
    *out = report;
    BERT_TRY(bert_passes_run(graph, log, report, error));
    return bert_graph_check(graph, error);
}

static const bert_backend *const backends[] = {&bert_reference_backend};
static const bert_composition composition = {.load = load,
                                             .run_passes = run_passes,
                                             .backends = backends,
                                             .backend_count = 1,
                                             .reference = &bert_reference_backend};

typedef struct one {
    bert_model *model;
    bert_session *session;
    bert_named_tensor outputs[MOST_OUTPUTS];
    size_t output_count;
} one;

static void run_once(const recipe *r, bool no_passes, const bert_named_tensor *inputs, size_t count, one *out) {
    bert_error error;
    bert_model_tensor declared;
    bert_model_options options = {.struct_size = sizeof options, .no_passes = no_passes};
    bert_session_options session_options = {.struct_size = sizeof session_options, .providers = "reference"};
    bert_model_source source = {.data = r, .bytes = sizeof *r};
    if (bert_model_load_composed(&composition, &source, &options, &out->model, &error) != BERT_OK ||
        bert_session_create(out->model, &session_options, &out->session, &error) != BERT_OK)
        fail_msg("%s", error.message);
    out->output_count = bert_model_output_count(out->model);
    assert_true(out->output_count <= MOST_OUTPUTS);
    for (size_t i = 0; i < out->output_count; i++) {
        assert_int_equal(bert_model_output(out->model, i, &declared), BERT_OK);
        out->outputs[i] = (bert_named_tensor){.name = declared.name};
    }
    if (bert_session_run(out->session, NULL, inputs, count, out->outputs, out->output_count, &error) != BERT_OK)
        fail_msg("%s passes: %s", no_passes ? "without" : "with", error.message);
}

static double element(const bert_tensor *tensor, int64_t index) {
    switch (tensor->dtype) {
    case BERT_FLOAT:
        return ((const float *)tensor->data)[index];
    case BERT_INT32:
        return ((const int32_t *)tensor->data)[index];
    default:
        fail_msg("an output of type %s", bert_dtype_name(tensor->dtype));
        return NAN;
    }
}

static void compare(const bert_tensor *plain, const bert_tensor *rewritten, double allowed) {
    int64_t count = bert_tensor_elements(plain);
    double greatest = 1;
    assert_int_equal(plain->dtype, rewritten->dtype);
    assert_int_equal(plain->rank, rewritten->rank);
    for (int32_t i = 0; i < plain->rank; i++) assert_int_equal(plain->dims[i], rewritten->dims[i]);
    for (int64_t i = 0; i < count; i++) greatest = fmax(greatest, fabs(element(plain, i)));
    for (int64_t i = 0; i < count; i++) {
        double difference = fabs(element(plain, i) - element(rewritten, i));
        /* Written so that a NaN fails. */
        if (!(difference <= allowed * greatest))
            fail_msg("element %lld: %g without passes, %g with", (long long)i, element(plain, i),
                     element(rewritten, i));
    }
}

bert_model *twice(twice_fn make, const void *spec, const bert_named_tensor *inputs, size_t count, double allowed) {
    recipe r = {make, spec};
    one plain = {0}, rewritten = {0};
    run_once(&r, true, inputs, count, &plain);
    run_once(&r, false, inputs, count, &rewritten);
    assert_int_equal(plain.output_count, rewritten.output_count);
    for (size_t i = 0; i < plain.output_count; i++)
        compare(&plain.outputs[i].tensor, &rewritten.outputs[i].tensor, allowed);
    bert_session_free(plain.session);
    bert_session_free(rewritten.session);
    bert_model_free(plain.model);
    return rewritten.model;
}

bert_named_tensor twice_input(const char *name, bert_dtype dtype, void *data, int32_t rank, const int64_t *dims) {
    bert_named_tensor out = {.name = name, .tensor = {.dtype = dtype, .rank = rank, .data = data}};
    if (rank) memcpy(out.tensor.dims, dims, (size_t)rank * sizeof *dims);
    return out;
}

int twice_count(const bert_model *model, bert_op_id id) {
    int count = 0;
    BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) {
        count += node->op->id == id;
    }
    return count;
}
