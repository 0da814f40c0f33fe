/* bertc verify: recorded inputs and outputs. */
#include "cli/case.h"
#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/model_inputs.h"
#include "cli/output.h"
#include "core/base/error.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct verify_options {
    bert_engine_options engine;
    bert_tolerance given; /* Negative: not given. */
    bool allow_skipped;
} verify_options;

/* What became of a case. `sentence` says why it failed or was skipped. */
typedef enum outcome { PASSED, FAILED, SKIPPED } outcome;

typedef struct case_verdict {
    outcome outcome;
    bert_error sentence;
    bert_comparison worst;
    char place[512]; /* Of the worst element: "logits[0,1] of test_data_set_2". */
    size_t data_sets;
} case_verdict;

/* One case while it is checked. */
typedef struct check {
    const verify_options *options;
    bert_engine engine;
    bert_tolerance tolerance;
    case_verdict *verdict;
} check;

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void describe_place(char *out, size_t size, const bert_named_tensor *output, const bert_comparison *comparison,
                           const char *data_set) {
    char index[BERT_SHAPE_TEXT_BYTES];
    snprintf(out, size, "%s%s of %s", output->name, bert_shape_text(comparison->index, output->tensor.rank, index),
             base_name(data_set));
}

static bert_status compare_output(check *state, const bert_named_tensor *output, const bert_tensor *expected,
                                  const char *data_set, bert_error *error) {
    const bert_tensor *got = &output->tensor;
    bert_comparison comparison = bert_compare_tensors(got, expected, state->tolerance);
    if (!comparison.same_form) {
        char shapes[2][BERT_SHAPE_TEXT_BYTES];
        return bert_fail(error, BERT_INVALID_INPUT, "%s: output '%s' is %s%s, but %s%s was expected",
                         base_name(data_set), output->name, bert_dtype_name(got->dtype),
                         bert_shape_text(got->dims, got->rank, shapes[0]), bert_dtype_name(expected->dtype),
                         bert_shape_text(expected->dims, expected->rank, shapes[1]));
    }
    case_verdict *verdict = state->verdict;
    if (!verdict->place[0] || comparison.ratio > verdict->worst.ratio) {
        verdict->worst = comparison;
        describe_place(verdict->place, sizeof verdict->place, output, &comparison, data_set);
    }
    if (comparison.beyond == 0) return BERT_OK;
    char place[512];
    describe_place(place, sizeof place, output, &comparison, data_set);
    return bert_fail(error, BERT_INVALID_INPUT,
                     "%" PRId64 " of %" PRId64
                     " elements are too far off, worst %.9g instead of %.9g (error %.2g, rtol %g, "
                     "atol %g) at %s",
                     comparison.beyond, comparison.elements, comparison.got, comparison.expected, comparison.error,
                     state->tolerance.rtol, state->tolerance.atol, place);
}

static bert_status run_and_compare(check *state, const char *data_set, const bert_named_tensor *inputs,
                                   size_t input_count, const bert_case_tensors *expected, bert_named_tensor *outputs,
                                   bert_error *error) {
    for (size_t i = 0; i < expected->count; i++) {
        outputs[i].name = bert_case_output_name(state->engine.model, &expected->items[i], i);
        if (!outputs[i].name)
            return bert_fail(error, BERT_INVALID_INPUT, "the model has no output for output_%zu.pb", i);
    }
    bert_status status =
        bert_session_run(state->engine.session, NULL, inputs, input_count, outputs, expected->count, error);
    if (status != BERT_OK) return bert_fail_in(error, status, "%s", base_name(data_set));
    for (size_t i = 0; i < expected->count; i++) {
        BERT_TRY(compare_output(state, &outputs[i], &expected->items[i].tensor, data_set, error));
    }
    return BERT_OK;
}

static bert_status check_tensors(check *state, const char *data_set, bert_case_tensors *inputs,
                                 const bert_case_tensors *expected, bert_error *error) {
    if (expected->count == 0) {
        return bert_fail(error, BERT_INVALID_INPUT, "%s has no output_*.pb to hold against", base_name(data_set));
    }
    bert_named_tensor *named = calloc(inputs->count + expected->count, sizeof *named);
    if (!named) return bert_fail_memory(error, (inputs->count + expected->count) * sizeof *named, "tensors");
    bert_status status = bert_case_name_inputs(state->engine.model, inputs, named, error);
    if (status == BERT_OK) {
        status = run_and_compare(state, data_set, named, inputs->count, expected, named + inputs->count, error);
    }
    free(named);
    return status;
}

static bert_status check_data_set(check *state, const char *data_set, bert_error *error) {
    bert_case_tensors inputs;
    bert_case_tensors expected = {0};
    BERT_TRY(bert_case_read(data_set, "input_", &inputs, error));
    bert_status status = bert_case_read(data_set, "output_", &expected, error);
    if (status == BERT_OK) status = check_tensors(state, data_set, &inputs, &expected, error);
    bert_case_tensors_free(&inputs);
    bert_case_tensors_free(&expected);
    return status;
}

static bert_status check_all(check *state, const bert_case *item, bert_arena *arena, bert_error *error) {
    const verify_options *options = state->options;
    const char **data_sets;
    size_t count;
    BERT_TRY(bert_case_tolerance(item, &options->given, &state->tolerance, error));
    BERT_TRY(bert_case_data_sets(item, arena, &data_sets, &count, error));
    if (count == 0) return bert_fail(error, BERT_INVALID_INPUT, "it has no test_data_set_* to hold against");
    BERT_TRY(bert_engine_load(&options->engine, item->model, &state->engine, error));
    BERT_TRY(bert_engine_start(&options->engine, BERT_PADDED_ROWS_EXACT, false, &state->engine, error));
    for (size_t i = 0; i < count; i++) BERT_TRY(check_data_set(state, data_sets[i], error));
    state->verdict->data_sets = count;
    return BERT_OK;
}

static outcome check_case(const verify_options *options, const bert_case *item, case_verdict *out) {
    check state = {.options = options, .verdict = out};
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    *out = (case_verdict){0};
    bert_status status = check_all(&state, item, &arena, &out->sentence);
    bert_engine_close(&state.engine);
    bert_arena_free(&arena);
    /* What bert.c doesn't do at all is told apart from what it does wrong. */
    return status == BERT_OK ? PASSED : status == BERT_UNSUPPORTED ? SKIPPED : FAILED;
}

static void print_verdict(const bert_case *item, const case_verdict *verdict) {
    switch (verdict->outcome) {
    case PASSED:
        bert_output_print("pass  %s  worst error %.2g at %s (%.1f%% of what is allowed)\n", item->name,
                          verdict->worst.error, verdict->place, 100 * verdict->worst.ratio);
        break;
    case FAILED:
        bert_output_print("fail  %s  %s\n", item->name, verdict->sentence.message);
        break;
    case SKIPPED:
        bert_output_print("skip  %s  %s\n", item->name, verdict->sentence.message);
        break;
    }
}

static int verify(const verify_options *options, char **paths, size_t path_count) {
    size_t counts[3] = {0};
    bool unusable = false;
    for (size_t p = 0; p < path_count; p++) {
        bert_arena arena;
        bert_arena_init(&arena, NULL);
        bert_case *cases;
        size_t count;
        bert_error error;
        if (bert_cases_find(paths[p], &arena, &cases, &count, &error) != BERT_OK) {
            bert_cli_failed(&error);
            unusable = true;
            count = 0;
        }
        for (size_t i = 0; i < count; i++) {
            case_verdict verdict;
            verdict.outcome = check_case(options, &cases[i], &verdict);
            counts[verdict.outcome]++;
            print_verdict(&cases[i], &verdict);
            if (!bert_output_flush()) break;
        }
        bert_arena_free(&arena);
    }
    bert_output_print("%zu passed, %zu failed, %zu skipped\n", counts[PASSED], counts[FAILED], counts[SKIPPED]);
    bool all_passed = counts[FAILED] == 0 && counts[PASSED] > 0 && (counts[SKIPPED] == 0 || options->allow_skipped);
    return all_passed && !unusable ? BERT_EXIT_OK : BERT_EXIT_FAILED;
}

int bert_command_verify(int argc, char **argv) {
    verify_options options = {0};
    bert_option engine_rows[BERT_ENGINE_OPTION_COUNT];
    bert_engine_option_rows(&options.engine, BERT_QUANT_SCOPE_TENSOR, engine_rows);
    bert_option own_rows[BERT_TOLERANCE_OPTION_COUNT + 1] = {
        [BERT_TOLERANCE_OPTION_COUNT] = {.name = "allow-skipped",
                                         .value = &options.allow_skipped,
                                         .help = "success although cases were skipped, if some passed"},
    };
    bert_tolerance_option_rows(&options.given, own_rows);
    const bert_usage usage = {
        .synopsis = "bertc verify [OPTION ...] CASE ...",
        .text = "Runs cases in the layout of ONNX's backend tests: CASE/model.onnx with\n"
                "CASE/test_data_set_*/{input,output}_*.pb. CASE may be a folder of such folders; a file\n"
                "tolerances.txt in it has lines of name pattern, rtol and atol, the first that matches counts.\n",
        .groups = {{"Comparing", own_rows, sizeof own_rows / sizeof own_rows[0]},
                   {"Engine", engine_rows, BERT_ENGINE_OPTION_COUNT}},
        .least_arguments = 1,
        .greatest_arguments = -1};
    int first;
    int status = bert_options_parse(argc, argv, &usage, &first);
    if (status != BERT_OPTIONS_GO_ON) return status;
    return verify(&options, argv + first, (size_t)(argc - first));
}
