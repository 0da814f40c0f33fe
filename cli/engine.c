#include "cli/engine.h"

#include "cli/cli.h"
#include "core/runtime/model.h"

static const char *const precisions[] = {"fp32", "bf16", "bf16-weights", "fp16", "fp64", "tf32", "fp8", NULL};
static const char *const attentions[] = {"fp32", "bf16", NULL}; /* as bert_precision numbers them */
static const char *const quant_scopes[] = {"tensor", "sequence", "token", NULL};

void bert_engine_option_rows(bert_engine_options *options, bert_quant_scope quant_scope,
                             bert_option rows[BERT_ENGINE_OPTION_COUNT]) {
    *options = (bert_engine_options){.quant_scope = (int)quant_scope};
    const bert_option table[BERT_ENGINE_OPTION_COUNT] = {
        {.name = "provider",
         .kind = BERT_OPTION_STRING,
         .value = &options->providers,
         .argument = "NAME[,NAME]",
         .help = "what computes, in order of preference (default: cpu)"},
        {.name = "threads",
         .kind = BERT_OPTION_INTEGER,
         .value = &options->threads,
         .argument = "N",
         .least = 1,
         .greatest = 1024,
         .help = "threads (default: the cores that may be used)"},
        {.name = "precision",
         .kind = BERT_OPTION_CHOICE,
         .value = &options->precision,
         .argument = "NAME",
         .choices = precisions,
         .help = "fp32 (default), bf16, bf16-weights, fp16, fp64, tf32,\nfp8: where the provider has it"},
        {.name = "attention",
         .kind = BERT_OPTION_CHOICE,
         .value = &options->attention,
         .argument = "NAME",
         .choices = attentions,
         .help = "precision of the products in attention: as --precision has\nit (fp32, the default), bf16"},
        {.name = "quant-scope",
         .kind = BERT_OPTION_CHOICE,
         .value = &options->quant_scope,
         .argument = "NAME",
         .choices = quant_scopes,
         .help = "what one scale of dynamic quantization covers: tensor\n"
                 "(ONNX's rule), sequence (as if alone; the default of\ntext tasks), token"},
        {.name = "packed",
         .kind = BERT_OPTION_STRING,
         .value = &options->packed_file,
         .argument = "FILE",
         .help = "weights that 'bertc pack' wrote, mapped as they are"},
        {.name = "no-passes", .value = &options->no_passes, .help = "run the graph as the file has it"},
        {.name = "deterministic",
         .value = &options->deterministic,
         .help = "the same bits alone or in a batch, with any threads"},
        {.name = "seed",
         .kind = BERT_OPTION_INTEGER,
         .value = &options->seed,
         .argument = "N",
         .least = 0,
         .greatest = INT64_MAX,
         .help = "of the inputs that run and bench make up (default: 0)"},
        {.name = "quiet", .value = &options->quiet, .help = "no notices"},
        {.name = "verbose", .value = &options->verbose, .help = "more of what goes on, on standard error"},
    };
    for (int i = 0; i < BERT_ENGINE_OPTION_COUNT; i++) rows[i] = table[i];
}

const char *bert_engine_precision_name(int precision) {
    return precisions[precision];
}

static void write_notice(void *user, bert_log_level level, const char *message) {
    bert_cli_complain("%s%s", level == BERT_LOG_WARNING ? "warning: " : "", message);
}

bert_log bert_engine_log(const bert_engine_options *options) {
    bert_log log = {.write = options->quiet ? NULL : write_notice,
                    .level = options->verbose ? BERT_LOG_DEBUG : BERT_LOG_NOTICE};
    return log;
}

bert_model_options bert_engine_model_options(const bert_engine_options *options, const bert_log *log) {
    return (bert_model_options){.struct_size = sizeof(bert_model_options),
                                .log = log,
                                .no_passes = options->no_passes,
                                .promote_to_double = options->precision == BERT_PRECISION_FP64};
}

bert_session_options bert_engine_session_options(const bert_engine_options *options, bert_thread_pool *threads,
                                                 bert_padded_rows padded_rows, bool profile) {
    return (bert_session_options){.struct_size = sizeof(bert_session_options),
                                  .providers = options->providers,
                                  .threads = threads,
                                  .precision = (bert_precision)options->precision,
                                  .quant_scope = (bert_quant_scope)options->quant_scope,
                                  .padded_rows = padded_rows,
                                  .deterministic = options->deterministic,
                                  .profile = profile,
                                  .packed_file = options->packed_file,
                                  .attention_precision = (bert_precision)options->attention,
                                  .weights_on_demand = !options->weights_at_once,
                                  .device_time = options->device_time};
}

bert_status bert_engine_load(const bert_engine_options *options, const char *path, bert_engine *out,
                             bert_error *error) {
    return bert_engine_load_outputs(options, path, NULL, 0, false, out, error);
}

bert_status bert_engine_load_outputs(const bert_engine_options *options, const char *path, const char *const *outputs,
                                     size_t output_count, bool if_kept, bert_engine *out, bert_error *error) {
    *out = (bert_engine){.log = bert_engine_log(options)};
    bert_model_options model_options = bert_engine_model_options(options, &out->log);
    model_options.extra_outputs = outputs;
    model_options.extra_output_count = output_count;
    model_options.extra_outputs_if_kept = if_kept;
    return bert_model_load(path, &model_options, &out->model, error);
}

bert_status bert_engine_start(const bert_engine_options *options, bert_padded_rows padded_rows, bool profile,
                              bert_engine *engine, bert_error *error) {
    bert_status status = bert_thread_pool_create((int)options->threads, NULL, &engine->threads, error);
    if (status != BERT_OK) return status;
    bert_session_options session_options = bert_engine_session_options(options, engine->threads, padded_rows, profile);
    return bert_session_create(engine->model, &session_options, &engine->session, error);
}

void bert_engine_close(bert_engine *engine) {
    bert_session_free(engine->session);
    bert_model_free(engine->model);
    bert_thread_pool_free(engine->threads);
    engine->session = NULL;
    engine->model = NULL;
    engine->threads = NULL;
}
