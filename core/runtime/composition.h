/*
 * The parts that the runtime is put together from. core/composition.c names them; nothing else in core knows the
 * loader, the passes or a backend.
 */
#ifndef BERT_RUNTIME_COMPOSITION_H
#define BERT_RUNTIME_COMPOSITION_H

#include "core/graph/graph.h"

struct bert_pass_report; /* core/passes/pass.h */

/** Where a model's bytes come from: a path, or memory. */
typedef struct bert_model_source {
    const char *path; /**< NULL for memory. */
    const void *data;
    size_t bytes;
    bool read_files;                  /**< Read instead of mapping. */
    const char *external_data_folder; /**< NULL with a path: the model's own folder; with memory: none. */
    const bert_allocator *allocator;
    const bert_log *log;
} bert_model_source;

typedef struct bert_composition {
    /** Makes the graph of a file, sorted, every node a row of the op table; shapes not yet inferred. */
    bert_status (*load)(const bert_model_source *source, bert_graph **out, bert_error *error);
    /** Rewrites the graph to canonical form; *report (of core/passes/pass.h, in the graph's arena) says how.
     */
    bert_status (*run_passes)(bert_graph *graph, const bert_log *log, const struct bert_pass_report **report,
                              bert_error *error);
    /** Backends of this build, `count` of them; the first is the default one. */
    const bert_backend *const *backends;
    size_t backend_count;
    /** Names of backends that may be there as plug-ins (core/runtime/plugin.h), `plugin_count` of them. */
    const char *const *plugins;
    size_t plugin_count;
    /** What another backend in host memory falls back on for the ops that it has no kernel for. */
    const bert_backend *reference;
} bert_composition;

extern const bert_composition bert_default_composition;

#endif
