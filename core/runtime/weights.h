/* The weights of a model, prepared once for each backend, precision and mode, and shared by its sessions. */
#ifndef BERT_RUNTIME_WEIGHTS_H
#define BERT_RUNTIME_WEIGHTS_H

#include "core/runtime/model.h"
#include "core/runtime/weight_store.h"

/** A backend's device; opened once for each model. */
typedef struct bert_opened_device {
    struct bert_opened_device *next;
    const bert_backend *backend;
    bert_host host;
    bert_device *device;
    bert_device_properties properties;
} bert_opened_device;

/** One constant, or one value that kernels computed, in memory that kernels can read: aligned, or on the device. */
typedef struct bert_resident {
    struct bert_resident *next;
    uint64_t id; /**< Of the constant, or of the graph's value. */
    void *data;
    size_t bytes;
} bert_resident;

/** A model prepared. Lives as long as the model. */
typedef struct bert_weights {
    struct bert_weights *next;
    bert_model *model;
    const bert_opened_device *device;
    bert_precision precision;
    bool deterministic, on_demand;
    bert_model_store store;
    bert_prepared *prepared;
    uint32_t scopes;       /**< Bit s: its nodes were queried with bert_quant_scope s. Under the model's lock. */
    pthread_mutex_t mutex; /**< Of the lists. */
    bert_resident *constants;
    bert_resident *computed; /**< Of constants alone, once for all plans; in host memory. */
    size_t resident_bytes;   /**< Of both. */
} bert_weights;

/** What weights are wanted. */
typedef struct bert_weights_request {
    const bert_backend *backend;
    bert_precision precision;
    bool deterministic, on_demand; /**< See bert_session_options. */
    bert_quant_scope quant_scope;
    bert_thread_pool *threads; /**< To prepare with; NULL: the calling thread alone. */
    const char *packed_file;   /**< See bert_session_options. */
} bert_weights_request;

/**
 * The weights of `model` on a backend; prepares them if no session did. BERT_UNSUPPORTED when the device isn't there,
 * lacks the precision, or has no kernel for a node in this scope of dynamic quantization: all such nodes are in the
 * sentence, as far as it reaches, and in the log at level info. Any thread.
 */
bert_status bert_weights_get(bert_model *model, const bert_weights_request *request, bert_weights **out,
                             bert_error *error);

/** Prepares weights anew and writes what was packed to the file `path`: see bert_model_pack. Any thread. */
bert_status bert_weights_pack(bert_model *model, const bert_weights_request *request, const char *path,
                              bert_error *error);

/**
 * Asks the backend how it runs a bound node, of whose values `infos` (by id) knows. *runs is false, and *out zeros,
 * where it has no kernel, which is no error; another failure names the node. What it is shown lies in `scratch`. Any
 * thread.
 */
bert_status bert_weights_ask(const bert_weights *weights, bert_arena *scratch, const bert_node *node,
                             const bert_value_info *infos, bert_op_plan *out, bool *runs, bert_error *error);

/** Memory that packed and resident weights take. Any thread. */
size_t bert_weights_bytes(bert_weights *weights);

/**
 * Where kernels read a constant of the model (one with an id): its own bytes where those are in host memory and aligned
 * to the element, else a copy, on the device, that is made once. Any thread.
 */
bert_status bert_weights_resident(bert_weights *weights, const bert_constant *constant, void **out, bert_error *error);

/** What was computed of value `id`; NULL: nothing yet. Any thread. */
void *bert_weights_computed(bert_weights *weights, uint32_t id);
/**
 * Keeps what was computed of it in host memory of the model's allocator, aligned to BERT_ALIGNMENT, which it takes over
 * (also on failure); *out is that, or what another thread was faster with. Any thread.
 */
bert_status bert_weights_keep_computed(bert_weights *weights, uint32_t id, void *data, size_t bytes, void **out,
                                       bert_error *error);

/** Everything that was prepared, with the model. */
void bert_weights_free_all(bert_model *model);

#endif
