/* bertc bench: how fast a model runs. */
#include "cli/bench.h"

#include "cli/bench_lengths.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/random_inputs.h"
#include "cli/trace.h"
#include "core/base/cpu_features.h"
#include "core/base/error.h"
#include "core/runtime/plan.h"
#include "pipelines/model_files.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_SIZES = 32, FEWEST_RUNS = 5, MOST_RUNS = 10000000 };

static const char *const formats[] = {"text", "json", NULL};
/* By bert_padded_rows. */
static const char *const paddings[] = {"compute", "skip", NULL};

typedef struct bench_options {
    bert_engine_options engine;
    const char *batch, *sequence, *lengths;
    int64_t batches[MAX_SIZES], sequences[MAX_SIZES];
    size_t batch_count, sequence_count;
    int64_t least_length, greatest_length; /* 0 without --lengths */
    int padding;                           /* bert_padded_rows; -1: not given */
    double min_time;                       /* Seconds. */
    int64_t runs;                          /* 0: as many as min_time takes. */
    int format;
    bool profile;
    const char *trace;
} bench_options;

/* The inputs of one cell: new token ids for each run, the rest as it is. */
typedef struct bench_inputs {
    bert_named_tensor *named;
    size_t count;
    bert_random random;
} bench_inputs;

static double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec * 1e-6;
}

static void free_inputs(bench_inputs *inputs) {
    for (size_t i = 0; i < inputs->count; i++) free(inputs->named[i].tensor.data);
    free(inputs->named);
    *inputs = (bench_inputs){0};
}

/* First dimension batch, second sequence; what the file fixes stays. */
static bert_status shape_input(const bert_model_tensor *declared, const bert_bench_cell *cell, bert_tensor *out,
                               bert_error *error) {
    *out = (bert_tensor){.dtype = declared->dtype, .rank = declared->rank < 0 ? 2 : declared->rank};
    for (int d = 0; d < out->rank; d++) {
        int64_t fixed = declared->rank < 0 ? -1 : declared->dims[d];
        if (fixed < 0 && d > 1) {
            return bert_fail(error, BERT_UNSUPPORTED, "dimension %d of input '%s' has no size that bench could give it",
                             d, declared->name);
        }
        out->dims[d] = fixed >= 0 ? fixed : d == 0 ? cell->batch : cell->sequence;
    }
    return BERT_OK;
}

static bert_status make_inputs(const bert_model *model, const bert_bench_cell *cell, bench_inputs *inputs,
                               bert_error *error) {
    size_t count = bert_model_input_count(model);
    inputs->named = calloc(count + 1, sizeof *inputs->named);
    if (!inputs->named) return bert_fail_memory(error, count * sizeof *inputs->named, "inputs");
    for (size_t i = 0; i < count; i++) {
        bert_model_tensor declared;
        BERT_TRY(bert_model_input(model, i, &declared));
        if (declared.optional) continue;
        bert_owned_tensor tensor = {0};
        BERT_TRY(shape_input(&declared, cell, &tensor.tensor, error));
        BERT_TRY(bert_owned_tensor_allocate(&tensor, error));
        bert_random_fill(model, declared.name, &inputs->random, &tensor.tensor);
        inputs->named[inputs->count++] = (bert_named_tensor){.name = declared.name, .tensor = tensor.tensor};
    }
    return BERT_OK;
}

/* The mask that makes sequences as long as --lengths has it; every token is real without it. */
static bert_status set_lengths(const bench_options *options, const bert_model *model, bert_bench_cell *cell,
                               bench_inputs *inputs, bert_error *error) {
    cell->tokens = cell->batch * cell->sequence;
    if (!options->greatest_length) return BERT_OK;
    int64_t *lengths = calloc((size_t)cell->batch + 1, sizeof *lengths);
    if (!lengths) return bert_fail_memory(error, (size_t)cell->batch * sizeof *lengths, "lengths");
    bert_lengths_fill(options->least_length, options->greatest_length, &inputs->random, lengths, cell->batch);
    cell->tokens = 0;
    for (int64_t i = 0; i < cell->batch; i++) cell->tokens += lengths[i];
    bert_status status = bert_lengths_mask(model, lengths, inputs->named, inputs->count, error);
    free(lengths);
    return status;
}

/* Outside of the measured time. */
static void refresh(const bert_model *model, bench_inputs *inputs) {
    for (size_t i = 0; i < inputs->count; i++) {
        bert_named_tensor *input = &inputs->named[i];
        if (bert_random_is_ids(input->name, input->tensor.dtype)) {
            bert_random_fill(model, input->name, &inputs->random, &input->tensor);
        }
    }
}

/* What one cell runs with. */
typedef struct bench_run {
    const bench_options *options;
    bert_engine *engine;
    bench_inputs inputs;
    bert_named_tensor *outputs;
    size_t output_count;
    bert_trace *trace;
    size_t capacity; /* Of the cell's times. */
} bench_run;

static bert_status run_once(bench_run *run, double *milliseconds, bert_error *error) {
    refresh(run->engine->model, &run->inputs);
    double begin = now_ms();
    for (size_t i = 0; i < run->output_count; i++) run->outputs[i].tensor.data = NULL;
    bert_status status = bert_session_run(run->engine->session, NULL, run->inputs.named, run->inputs.count,
                                          run->outputs, run->output_count, error);
    *milliseconds = now_ms() - begin;
    return status;
}

static bert_status warm_up(bench_run *run, bert_error *error) {
    double begin = now_ms();
    double milliseconds;
    do {
        BERT_TRY(run_once(run, &milliseconds, error));
    } while (now_ms() - begin < run->options->min_time * 1e3 / 10);
    return BERT_OK;
}

/* Room for `capacity` times. */
static bert_status grow_times(double **times, size_t capacity, bert_error *error) {
    double *larger = realloc(*times, capacity * sizeof *larger);
    if (!larger) return bert_fail_memory(error, capacity * sizeof *larger, "measured times");
    *times = larger;
    return BERT_OK;
}

static bert_status add_time(bench_run *run, bert_bench_cell *cell, double milliseconds, bert_error *error) {
    if (cell->runs == run->capacity) {
        const size_t capacity = run->capacity ? 2 * run->capacity : 64;
        BERT_TRY(grow_times(&cell->times, capacity, error));
        BERT_TRY(grow_times(&cell->device_times, capacity, error));
        run->capacity = capacity;
    }
    cell->times[cell->runs++] = milliseconds;
    const int64_t nanoseconds = bert_session_device_nanoseconds(run->engine->session);
    if (nanoseconds > 0) cell->device_times[cell->device_runs++] = (double)nanoseconds * 1e-6;
    return BERT_OK;
}

static bool is_done(const bench_options *options, const bert_bench_cell *cell, double elapsed_ms) {
    if (options->runs > 0) return cell->runs == (size_t)options->runs;
    return cell->runs >= MOST_RUNS || (cell->runs >= FEWEST_RUNS && elapsed_ms >= options->min_time * 1e3);
}

static bert_status measure(bench_run *run, bert_bench_cell *cell, bert_error *error) {
    if (run->options->runs == 0) BERT_TRY(warm_up(run, error));
    bert_session_reset_profile(run->engine->session);
    double begin = now_ms();
    do {
        double milliseconds;
        BERT_TRY(run_once(run, &milliseconds, error));
        BERT_TRY(add_time(run, cell, milliseconds, error));
        if (run->trace) bert_trace_run(run->trace, run->engine->session, cell->batch, cell->sequence, cell->runs - 1);
    } while (!is_done(run->options, cell, now_ms() - begin));
    bert_bench_summarize(cell);
    const bert_plan *plan = bert_session_plan(run->engine->session);
    for (size_t i = 0; plan && i < plan->step_count; i++) cell->flops += plan->steps[i].flops;
    if (plan && plan->padding && !run->options->engine.quiet)
        bert_cli_complain("padding is computed, since it can't be skipped: %s", plan->padding);
    /* A plan without padding is for some rows more than there are. */
    if (plan && plan->request.rows) {
        cell->flops = (int64_t)((double)cell->flops * (double)cell->tokens / (double)plan->request.rows);
    }
    return run->options->profile ? bert_bench_profile(run->engine->session, cell, error) : BERT_OK;
}

static bert_status list_outputs(const bert_model *model, bench_run *run, bert_error *error) {
    run->output_count = bert_model_output_count(model);
    run->outputs = calloc(run->output_count + 1, sizeof *run->outputs);
    if (!run->outputs) return bert_fail_memory(error, run->output_count * sizeof *run->outputs, "outputs");
    for (size_t i = 0; i < run->output_count; i++) {
        bert_model_tensor output;
        BERT_TRY(bert_model_output(model, i, &output));
        run->outputs[i].name = output.name;
    }
    return BERT_OK;
}

static bert_status bench_cell(const bench_options *options, bert_engine *engine, bert_trace *trace,
                              bert_bench_cell *cell, bert_error *error) {
    bench_run run = {.options = options, .engine = engine, .trace = trace};
    run.inputs.random.state = (uint64_t)options->engine.seed;
    bert_status status = make_inputs(engine->model, cell, &run.inputs, error);
    if (status == BERT_OK) status = set_lengths(options, engine->model, cell, &run.inputs, error);
    if (status == BERT_OK) status = list_outputs(engine->model, &run, error);
    if (status == BERT_OK) status = measure(&run, cell, error);
    free(run.outputs);
    free_inputs(&run.inputs);
    if (status == BERT_OK) return BERT_OK;
    return bert_fail_in(error, status, "batch %" PRId64 ", sequence %" PRId64, cell->batch, cell->sequence);
}

static bert_status bench_cells(const bench_options *options, bert_engine *engine, bert_trace *trace,
                               bert_bench_report *report, bert_error *error) {
    size_t count = options->batch_count * options->sequence_count;
    report->cells = calloc(count + 1, sizeof *report->cells);
    if (!report->cells) return bert_fail_memory(error, count * sizeof *report->cells, "results");
    bool text = options->format == 0;
    if (text) bert_bench_print_head(report);
    for (size_t i = 0; i < count && bert_output_flush(); i++) {
        bert_bench_cell *cell = &report->cells[report->cell_count++];
        cell->batch = options->batches[i / options->sequence_count];
        cell->sequence = options->sequences[i % options->sequence_count];
        BERT_TRY(bench_cell(options, engine, trace, cell, error));
        if (text) bert_bench_print_cell(cell);
    }
    if (text) bert_output_print("peak resident memory %.1f MiB\n", bert_bench_peak_rss_mib());
    return BERT_OK;
}

static bert_status show_json(const bert_bench_report *report, bert_error *error) {
    bert_json_out json = {0};
    bert_bench_json(report, &json);
    bert_output_write(json.text, json.length);
    bert_status status = json.failed ? bert_fail_memory(error, json.capacity, "the answer") : BERT_OK;
    bert_json_out_free(&json);
    return status;
}

static void free_report(bert_bench_report *report) {
    for (size_t i = 0; i < report->cell_count; i++) {
        free(report->cells[i].times);
        free(report->cells[i].device_times);
        free(report->cells[i].ops);
        free(report->cells[i].layers);
    }
    free(report->cells);
}

static bert_status start(const bench_options *options, const char *path, bert_engine *engine, bert_bench_report *report,
                         bert_error *error) {
    bert_isa isa;
    BERT_TRY(bert_isa_select(&isa, error));
    double begin = now_ms();
    bool profile = options->profile || options->trace;
    BERT_TRY(bert_engine_load(&options->engine, path, engine, error));
    bert_padded_rows padded_rows = (bert_padded_rows)options->padding;
    if (options->padding < 0) padded_rows = options->lengths ? BERT_PADDED_ROWS_UNDEFINED : BERT_PADDED_ROWS_EXACT;
    BERT_TRY(bert_engine_start(&options->engine, padded_rows, profile, engine, error));
    *report = (bert_bench_report){.model = path,
                                  .provider = bert_session_provider(engine->session),
                                  .precision = bert_engine_precision_name(options->engine.precision),
                                  .isa = bert_isa_name(isa),
                                  .threads = bert_thread_pool_threads(engine->threads),
                                  .load_ms = now_ms() - begin};
    return BERT_OK;
}

static bert_status bench(const bench_options *options, const char *model, bert_error *error) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    bert_model_files files;
    bert_engine engine = {0};
    bert_bench_report report = {0};
    bert_trace *trace = NULL;
    bert_status status = bert_model_files_find(model, NULL, &arena, &files, error);
    if (status == BERT_OK && options->trace) status = bert_trace_open(options->trace, &trace, error);
    if (status == BERT_OK) status = start(options, files.model, &engine, &report, error);
    if (status == BERT_OK) status = bench_cells(options, &engine, trace, &report, error);
    if (status == BERT_OK && options->format == 1) status = show_json(&report, error);
    bert_error trace_error;
    bert_status trace_status = bert_trace_close(trace, &trace_error);
    if (status == BERT_OK && trace_status != BERT_OK)
        status = bert_fail(error, trace_status, "%s", trace_error.message);
    free_report(&report);
    bert_engine_close(&engine);
    bert_arena_free(&arena);
    return status;
}

static int check_sizes(bench_options *options) {
    if (!bert_parse_integers(options->batch, options->batches, MAX_SIZES, &options->batch_count)) {
        return bert_usage_error("bench", "--batch takes a list like 1,8, not '%s'", options->batch);
    }
    if (options->lengths && !bert_lengths_parse(options->lengths, &options->least_length, &options->greatest_length)) {
        return bert_usage_error("bench", "--lengths takes a range like 5-128, not '%s'", options->lengths);
    }
    if (!options->sequence && options->lengths) {
        options->sequences[0] = options->greatest_length;
        options->sequence_count = 1;
        return BERT_OPTIONS_GO_ON;
    }
    const char *sequence = options->sequence ? options->sequence : "128";
    if (!bert_parse_integers(sequence, options->sequences, MAX_SIZES, &options->sequence_count)) {
        return bert_usage_error("bench", "--sequence takes a list like 16,128, not '%s'", sequence);
    }
    for (size_t i = 0; i < options->sequence_count; i++) {
        if (options->sequences[i] < options->greatest_length) {
            return bert_usage_error("bench", "--lengths up to %" PRId64 " don't fit into a --sequence of %" PRId64,
                                    options->greatest_length, options->sequences[i]);
        }
    }
    return BERT_OPTIONS_GO_ON;
}

int bert_command_bench(int argc, char **argv) {
    bench_options options = {.batch = "1", .min_time = 1, .padding = -1};
    bert_option engine_rows[BERT_ENGINE_OPTION_COUNT];
    bert_engine_option_rows(&options.engine, BERT_QUANT_SCOPE_TENSOR, engine_rows);
    options.engine.weights_at_once = true;
    const bert_option own_rows[] = {
        {.name = "batch",
         .kind = BERT_OPTION_STRING,
         .value = &options.batch,
         .argument = "N[,N]",
         .help = "first dimension of the inputs (default: 1)"},
        {.name = "sequence",
         .kind = BERT_OPTION_STRING,
         .value = &options.sequence,
         .argument = "N[,N]",
         .help = "second dimension of the inputs (default: 128)"},
        {.name = "lengths",
         .kind = BERT_OPTION_STRING,
         .value = &options.lengths,
         .argument = "A-B",
         .help =
             "sequences of A to B tokens, short ones more often, on\naverage 0.31 of the way, padded to --sequence\n"
             "(default: B); tokens/s counts real ones"},
        {.name = "padding",
         .kind = BERT_OPTION_CHOICE,
         .value = &options.padding,
         .argument = "compute|skip",
         .choices = paddings,
         .help = "with --lengths: whether rows of padding are computed\n(default: skip)"},
        {.name = "min-time",
         .kind = BERT_OPTION_NUMBER,
         .value = &options.min_time,
         .argument = "S",
         .help = "seconds to measure, after warm-up (default: 1);\nat least 5 runs"},
        {.name = "runs",
         .kind = BERT_OPTION_INTEGER,
         .value = &options.runs,
         .argument = "N",
         .least = 1,
         .greatest = MOST_RUNS,
         .help = "exactly N runs, without warm-up"},
        {.name = "format",
         .kind = BERT_OPTION_CHOICE,
         .value = &options.format,
         .argument = "text|json",
         .choices = formats,
         .help = "a table (default), or one JSON object"},
        {.name = "profile", .value = &options.profile, .help = "also time by operator and by layer"},
        {.name = "device-time",
         .value = &options.engine.device_time,
         .help = "also a GPU's own time for the kernels of runs that it\nreplays"},
        {.name = "trace",
         .kind = BERT_OPTION_STRING,
         .value = &options.trace,
         .argument = "FILE",
         .help = "write the kernels of each cell's first runs as Chrome\ntrace events"},
    };
    const bert_usage usage = {.synopsis = "bertc bench MODEL [OPTION ...]",
                              .text = "Times runs on random token ids, for every batch with every sequence.\n",
                              .groups = {{"Measuring", own_rows, sizeof own_rows / sizeof own_rows[0]},
                                         {"Engine", engine_rows, BERT_ENGINE_OPTION_COUNT}},
                              .least_arguments = 1,
                              .greatest_arguments = 1};
    int first;
    int status = bert_options_parse(argc, argv, &usage, &first);
    if (status == BERT_OPTIONS_GO_ON) status = check_sizes(&options);
    if (status != BERT_OPTIONS_GO_ON) return status;
    bert_error error;
    return bench(&options, argv[first], &error) == BERT_OK ? BERT_EXIT_OK : bert_cli_failed(&error);
}
