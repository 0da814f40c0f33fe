/* The inside of a bert_model, for the runtime, inspect and tests. */
#ifndef BERT_RUNTIME_MODEL_H
#define BERT_RUNTIME_MODEL_H

#include "core/runtime/composition.h"
#include "core/runtime/deciders.h"

#include <bert/model.h>
#include <pthread.h>
#include <stdatomic.h>

struct bert_weights;
struct bert_opened_device;
struct bert_pass_report;

struct bert_model {
    atomic_int holds;
    bert_allocator allocator;
    bert_log log;
    const bert_composition *composition;
    bert_graph *graph;
    const struct bert_pass_report *pass_report;
    bool promoted;    /**< To double. */
    bert_arena arena; /**< What follows here. */
    const char *path; /**< NULL: from memory. */
    bert_model_tensor *inputs, *outputs;
    bert_deciders deciders;
    int32_t token_mask;    /**< The input that says which tokens are real; -1: there is none. */
    pthread_mutex_t mutex; /**< Of the two lists. */
    struct bert_opened_device *devices;
    struct bert_weights *weights;
};

/** bert_model_load over the parts of any composition, which must outlive the model. `source` says where from; its
 * allocator, log and read_files come from `options`. */
bert_status bert_model_load_composed(const bert_composition *composition, const bert_model_source *source,
                                     const bert_model_options *options, bert_model **out, bert_error *error);

/** What the caller is told of a value of the graph that it calls `name`. */
void bert_model_describe(const bert_model *model, const char *name, const bert_value *value, bert_model_tensor *out);

/** One more hold, for a session. */
void bert_model_hold(bert_model *model);

/** The graph as it runs, after passes. Read-only. */
const bert_graph *bert_model_graph(const bert_model *model);
/** Whether a tensor of it is quantized by its own range: then a batch's sequences have one scale with quant_scope
 * tensor. */
bool bert_model_quantizes(const bert_model *model);
/** What passes did (core/passes/pass.h); NULL when none ran. */
const struct bert_pass_report *bert_model_pass_report(const bert_model *model);

/**
 * Makes every float32 constant, tensor and type attribute of a graph a double one; its shapes and types are to be
 * inferred again. What becomes whole numbers in the end and comes from whole numbers and single constants alone
 * (buckets of relative positions) stays float32: there the graph's own roundings decide. BERT_INVALID_MODEL (what
 * inference finds), BERT_OUT_OF_MEMORY.
 */
bert_status bert_promote_to_double(bert_graph *graph, bert_error *error);

#endif
