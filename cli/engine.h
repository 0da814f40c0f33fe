/* The options that every subcommand with a model has, and the model, threads and session that they make. */
#ifndef BERT_CLI_ENGINE_H
#define BERT_CLI_ENGINE_H

#include "cli/options.h"

#include <bert/model.h>
#include <bert/session.h>

/** Options of the engine. bert_engine_option_rows fills them. */
typedef struct bert_engine_options {
    const char *providers;
    int64_t threads;         /**< 0: the cores that the process may use. */
    int64_t seed;            /**< Of inputs that are made up. */
    int precision;           /**< bert_precision */
    int attention;           /**< bert_precision */
    int quant_scope;         /**< bert_quant_scope */
    const char *packed_file; /**< NULL: none. */
    bool no_passes, deterministic, quiet, verbose;
    bool device_time;     /**< Of bench alone. */
    bool weights_at_once; /**< No option of the command line: for commands that run a model many times, or say what
                             memory it takes. */
} bert_engine_options;

#define BERT_ENGINE_OPTION_COUNT 11
/** Their heading in the help of a command without a session. */
#define BERT_ENGINE_NOTICES_TITLE "Engine (taken by every command; here only --quiet and --verbose have an effect)"
/** Rows for the table of options, over `options`, which get their defaults. */
void bert_engine_option_rows(bert_engine_options *options, bert_quant_scope quant_scope,
                             bert_option rows[BERT_ENGINE_OPTION_COUNT]);

/** The name of a precision as --precision has it. */
const char *bert_engine_precision_name(int precision);

/** A model that is ready to run. */
typedef struct bert_engine {
    bert_log log; /**< Notices go to standard error. */
    bert_model *model;
    bert_thread_pool *threads;
    bert_session *session;
} bert_engine;

/** Where notices go: "bertc: ..." on standard error, as --quiet and --verbose say. */
bert_log bert_engine_log(const bert_engine_options *options);

/** The options for loading a model, and for a session of it; `log` and `threads` outlive what is made with them. */
bert_model_options bert_engine_model_options(const bert_engine_options *options, const bert_log *log);
bert_session_options bert_engine_session_options(const bert_engine_options *options, bert_thread_pool *threads,
                                                 bert_padded_rows padded_rows, bool profile);

/** Loads the model alone: `session` and `threads` stay NULL. */
bert_status bert_engine_load(const bert_engine_options *options, const char *path, bert_engine *out, bert_error *error);
/** The same with further outputs: bert_model_options.extra_outputs and extra_outputs_if_kept. */
bert_status bert_engine_load_outputs(const bert_engine_options *options, const char *path, const char *const *outputs,
                                     size_t output_count, bool if_kept, bert_engine *out, bert_error *error);
/** Threads and session for a loaded model. */
bert_status bert_engine_start(const bert_engine_options *options, bert_padded_rows padded_rows, bool profile,
                              bert_engine *engine, bert_error *error);
/** NULL members are ignored. */
void bert_engine_close(bert_engine *engine);

#endif
