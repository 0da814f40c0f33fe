#include "core/runtime/weights.h"

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/graph/op.h"
#include "core/runtime/op_node.h"
#include "core/runtime/text.h"
#include "core/runtime/token_rows.h"

#include <string.h>

/* ---- Devices ---------------------------------------------------------------------------------------------------- */

static bert_status open_device(bert_model *model, const bert_backend *backend, bert_opened_device **out,
                               bert_error *error) {
    for (bert_opened_device *device = model->devices; device; device = device->next) {
        if (device->backend != backend) continue;
        *out = device;
        return BERT_OK;
    }
    bert_opened_device *device = bert_allocate(&model->allocator, sizeof *device, _Alignof(bert_opened_device));
    if (!device) return bert_fail_memory(error, sizeof *device, "a device");
    *device = (bert_opened_device){.backend = backend};
    device->host = (bert_host){.struct_size = sizeof device->host,
                               .abi_version = BERT_BACKEND_ABI_VERSION,
                               .allocator = &model->allocator,
                               .log = &model->log,
                               .model_path = model->path,
                               .fail = bert_fail};
    const bert_backend *reference = model->composition->reference;
    if (backend != reference) device->host.fallback = reference;
    bert_status status = backend->device_open(&device->host, &device->device, error);
    if (status != BERT_OK) {
        bert_deallocate(&model->allocator, device, sizeof *device, _Alignof(bert_opened_device));
        return status;
    }
    backend->device_properties(device->device, &device->properties);
    device->next = model->devices;
    model->devices = device;
    *out = device;
    return BERT_OK;
}

/* ---- Constants that kernels read -------------------------------------------------------------------------------- */

static bool readable_in_place(const bert_weights *weights, const bert_constant *constant) {
    return weights->device->properties.host_memory && constant->alignment >= bert_dtype_size(constant->dtype);
}

static void free_resident(const bert_weights *weights, void *data, size_t bytes) {
    const bert_opened_device *device = weights->device;
    if (device->properties.host_memory) {
        bert_deallocate(&weights->model->allocator, data, bytes, BERT_ALIGNMENT);
    } else if (data) {
        device->backend->memory_free(device->device, data, bytes);
    }
}

static bert_status copy_constant(const bert_weights *weights, const bert_constant *constant, void **out,
                                 bert_error *error) {
    const bert_opened_device *device = weights->device;
    void *data = NULL;
    if (device->properties.host_memory) {
        data = bert_allocate(&weights->model->allocator, constant->bytes, BERT_ALIGNMENT);
        if (!data) return bert_fail_memory(error, constant->bytes, "an aligned copy of a weight");
        memcpy(data, constant->data, constant->bytes);
    } else {
        BERT_TRY(device->backend->memory_allocate(device->device, constant->bytes, &data, error));
        bert_status status = device->backend->constant(weights->prepared, data, constant, error);
        if (status != BERT_OK) {
            device->backend->memory_free(device->device, data, constant->bytes);
            return status;
        }
    }
    if (constant->file) bert_file_release_pages(constant->file, constant->data, constant->bytes);
    *out = data;
    return BERT_OK;
}

static void *find_resident(const bert_resident *list, uint64_t id) {
    while (list && list->id != id) list = list->next;
    return list ? list->data : NULL;
}

static void add_to(bert_weights *weights, bert_resident **list, bert_resident *resident) {
    resident->next = *list;
    *list = resident;
    weights->resident_bytes += resident->bytes;
}

static bert_status add_resident(bert_weights *weights, const bert_constant *constant, void **out, bert_error *error) {
    *out = find_resident(weights->constants, constant->id);
    if (*out) return BERT_OK;
    bert_resident *resident = bert_allocate(&weights->model->allocator, sizeof *resident, _Alignof(bert_resident));
    if (!resident) return bert_fail_memory(error, sizeof *resident, "a weight");
    void *data = NULL;
    bert_status status = copy_constant(weights, constant, &data, error);
    if (status != BERT_OK) {
        bert_deallocate(&weights->model->allocator, resident, sizeof *resident, _Alignof(bert_resident));
        return status;
    }
    *resident = (bert_resident){.id = constant->id, .data = data, .bytes = constant->bytes};
    add_to(weights, &weights->constants, resident);
    *out = data;
    return BERT_OK;
}

bert_status bert_weights_resident(bert_weights *weights, const bert_constant *constant, void **out, bert_error *error) {
    if (constant->bytes == 0 || readable_in_place(weights, constant)) {
        *out = (void *)constant->data; /* kernels only read inputs */
        return BERT_OK;
    }
    pthread_mutex_lock(&weights->mutex);
    bert_status status = add_resident(weights, constant, out, error);
    pthread_mutex_unlock(&weights->mutex);
    return status;
}

/* ---- Values of constants alone ----------------------------------------------------------------------------------- */

void *bert_weights_computed(bert_weights *weights, uint32_t id) {
    pthread_mutex_lock(&weights->mutex);
    void *data = find_resident(weights->computed, id);
    pthread_mutex_unlock(&weights->mutex);
    return data;
}

bert_status bert_weights_keep_computed(bert_weights *weights, uint32_t id, void *data, size_t bytes, void **out,
                                       bert_error *error) {
    const bert_allocator *allocator = &weights->model->allocator;
    bert_resident *value = bert_allocate(allocator, sizeof *value, _Alignof(bert_resident));
    if (!value) {
        bert_deallocate(allocator, data, bytes, BERT_ALIGNMENT);
        return bert_fail_memory(error, sizeof *value, "what is computed once");
    }
    pthread_mutex_lock(&weights->mutex);
    *out = find_resident(weights->computed, id);
    if (!*out) {
        *value = (bert_resident){.id = id, .data = data, .bytes = bytes};
        add_to(weights, &weights->computed, value);
        *out = data;
        value = NULL;
    }
    pthread_mutex_unlock(&weights->mutex);
    if (value) {
        bert_deallocate(allocator, data, bytes, BERT_ALIGNMENT);
        bert_deallocate(allocator, value, sizeof *value, _Alignof(bert_resident));
    }
    return BERT_OK;
}

/* ---- Preparing every node --------------------------------------------------------------------------------------- */

typedef struct preparation {
    bert_weights *weights;
    bert_quant_scope scope;
    bert_arena scratch;
    bool *refused; /* by node id */
    size_t refused_count;
    char reasons[BERT_ERROR_MESSAGE_BYTES];
} preparation;

/* Binding evaluates such a node and no backend sees it, unless its result is too large to be kept. */
static bool is_evaluated_by_binding(const preparation *p, const bert_node *node) {
    for (int32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] && !p->weights->model->deciders.known[node->outputs[i]->id]) return false;
    }
    return true;
}

static void note_refusal(preparation *p, const bert_node *node, const bert_error *reason) {
    bert_log_write(&p->weights->model->log, BERT_LOG_INFO, "provider %s: node %s (%s): %s",
                   p->weights->device->backend->name, bert_node_label(node), node->op->name, reason->message);
    bert_append_text(p->reasons, sizeof p->reasons, "%snode %s (%s): %s", p->refused_count ? "; " : "",
                     bert_node_label(node), node->op->name, reason->message);
    p->refused_count++;
}

/* The node as a session of this scope binds it; what starts and counted are is told by their types alone. */
static const bert_node *in_scope(preparation *p, const bert_node *node) {
    bert_value *starts = BERT_ARENA_NEW(&p->scratch, bert_value);
    bert_value *counted = BERT_ARENA_NEW(&p->scratch, bert_value);
    if (!starts || !counted) return NULL;
    starts->info = (bert_value_info){.dtype = BERT_INT32, .shape = {.rank = 1, .dims = {-1}}};
    counted->info = (bert_value_info){.dtype = BERT_BOOL, .shape = {.rank = 1, .dims = {-1}}};
    return bert_node_in_scope(&p->scratch, node, p->scope, starts, counted);
}

static bert_status call_plan(preparation *p, const bert_node *node, bert_plan_mode mode, bert_op_node *shown,
                             bert_op_plan *plan, bert_error *error) {
    *plan = (bert_op_plan){0};
    if (p->scope != BERT_QUANT_SCOPE_TENSOR && bert_is_dynamic_linear(node)) node = in_scope(p, node);
    if (!node) return bert_fail_memory(error, sizeof *node, "the description of a node");
    BERT_TRY(bert_describe_node(&p->scratch, node, NULL, shown, error));
    return p->weights->device->backend->plan(p->weights->prepared, NULL, shown, mode, plan, error);
}

/* One scale for all that it quantizes is what these operators have, and their own output. */
static bert_status check_scope(const preparation *p, const bert_node *node, bert_error *reason) {
    const bool other = bert_op_quantizes(node->op) && node->op->id != BERT_OP_BERTC_QuantizedLinear;
    if (p->scope == BERT_QUANT_SCOPE_TENSOR || !other) return BERT_OK;
    return bert_fail(reason, BERT_UNSUPPORTED,
                     "it takes one scale over a whole tensor: it runs with quant_scope tensor alone");
}

static bert_status query(preparation *p, const bert_node *node, bert_error *error) {
    bert_op_node shown;
    bert_op_plan plan;
    bert_error reason = {0};
    bert_status status = check_scope(p, node, &reason);
    if (status == BERT_OK) status = call_plan(p, node, BERT_PLAN_QUERY, &shown, &plan, &reason);
    if (status == BERT_OK) return BERT_OK;
    if (status != BERT_UNSUPPORTED) {
        if (error) *error = reason;
        return bert_fail_in_node(error, status, node);
    }
    p->refused[node->id] = true;
    if (!is_evaluated_by_binding(p, node)) note_refusal(p, node, &reason);
    return BERT_OK;
}

static bert_status prepare(preparation *p, const bert_node *node, bert_error *error) {
    if (p->refused[node->id] || is_evaluated_by_binding(p, node)) return BERT_OK;
    bert_op_node shown;
    bert_op_plan plan;
    bert_status status = call_plan(p, node, BERT_PLAN_PREPARE, &shown, &plan, error);
    if (status != BERT_OK) return bert_fail_in_node(error, status, node);
    for (int32_t i = 0; i < node->input_count; i++) {
        const bert_constant *constant = shown.inputs[i].constant;
        if (!constant) continue;
        bool unread = i < 64 && (plan.unread_inputs >> i & 1), anywhere = i < 64 && (plan.unaligned_inputs >> i & 1);
        if (unread) {
            /* Packed, or to be. A later reader of the same weight finds the pages in the system's cache. */
            if (constant->file) bert_file_release_pages(constant->file, constant->data, constant->bytes);
        } else if (!anywhere || !p->weights->device->properties.host_memory) {
            void *data;
            BERT_TRY(bert_weights_resident(p->weights, constant, &data, error));
        }
    }
    return BERT_OK;
}

typedef bert_status (*visit_fn)(preparation *p, const bert_node *node, bert_error *error);

/* Every node that a kernel may run for, branches included. Views and Ifs have no kernel. */
static bert_status for_each_kernel_node(preparation *p, const bert_block *block, visit_fn visit, bert_error *error) {
    BERT_FOR_EACH_NODE (node, block) {
        for (size_t i = 0; i < node->attribute_count; i++) {
            if (node->attributes[i].kind != BERT_ATTRIBUTE_GRAPH) continue;
            BERT_TRY(for_each_kernel_node(p, node->attributes[i].value.graph, visit, error));
        }
        if (bert_node_is_if(node) || (node->op->flags & BERT_OP_VIEW)) continue;
        BERT_TRY(visit(p, node, error));
    }
    return BERT_OK;
}

/* Asks for every node in a scope, and prepares them all where no session did before. */
static bert_status prepare_all(bert_weights *weights, bert_quant_scope scope, bert_error *error) {
    const bert_graph *graph = weights->model->graph;
    const bool first = weights->scopes == 0;
    preparation p = {.weights = weights, .scope = scope};
    if (weights->scopes >> scope & 1) return BERT_OK;
    bert_arena_init(&p.scratch, &weights->model->allocator);
    p.refused = BERT_ARENA_NEW_ARRAY(&p.scratch, bool, graph->next_node_id);
    bert_status status = BERT_OK;
    if (!p.refused) status = bert_fail_memory(error, graph->next_node_id, "the preparation of weights");
    if (status == BERT_OK) status = for_each_kernel_node(&p, &graph->body, query, error);
    if (status == BERT_OK && p.refused_count) {
        status = bert_fail(error, BERT_UNSUPPORTED, "%zu node%s not supported: %s", p.refused_count,
                           p.refused_count == 1 ? " is" : "s are", p.reasons);
    }
    if (status == BERT_OK && first) status = for_each_kernel_node(&p, &graph->body, prepare, error);
    if (status == BERT_OK) weights->scopes |= UINT32_C(1) << scope;
    bert_arena_free(&p.scratch);
    return status;
}

/* ---- The list --------------------------------------------------------------------------------------------------- */

static void free_list(bert_weights *weights, bert_resident *list) {
    while (list) {
        bert_resident *resident = list;
        list = resident->next;
        free_resident(weights, resident->data, resident->bytes);
        bert_deallocate(&weights->model->allocator, resident, sizeof *resident, _Alignof(bert_resident));
    }
}

static void free_weights(bert_weights *weights) {
    const bert_allocator *allocator = &weights->model->allocator;
    free_list(weights, weights->constants);
    free_list(weights, weights->computed);
    if (weights->prepared) weights->device->backend->prepared_free(weights->prepared);
    bert_model_store_free(&weights->store);
    pthread_mutex_destroy(&weights->mutex);
    bert_deallocate(allocator, weights, sizeof *weights, _Alignof(bert_weights));
}

static bert_packed_target target_of(const bert_weights *weights) {
    bert_packed_target target = {.precision = weights->precision, .deterministic = weights->deterministic};
    memcpy(target.device, weights->device->properties.name, sizeof target.device);
    return target;
}

/* A file that doesn't fit is no reason to fail: the model's own weights are there. One that can't be read is. */
static bert_status open_packed_file(bert_weights *weights, const bert_weights_request *request, bert_error *error) {
    bert_model *model = weights->model;
    if (!request->packed_file || !weights->device->properties.host_memory) return BERT_OK;
    const bert_packed_target target = target_of(weights);
    bert_error reason;
    const bert_status status = bert_packed_file_open(request->packed_file, &target, model->graph, request->threads,
                                                     &model->allocator, &weights->store.file, &reason);
    if (status == BERT_UNSUPPORTED || status == BERT_INVALID_MODEL) {
        bert_log_write(&model->log, BERT_LOG_NOTICE, "%s; weights are packed anew", reason.message);
        return BERT_OK;
    }
    if (status != BERT_OK && error) *error = reason;
    return status;
}

static bert_status prepare_weights(bert_weights *weights, const bert_weights_request *request, bert_error *error) {
    const bert_opened_device *device = weights->device;
    BERT_TRY(open_packed_file(weights, request, error));
    const bert_prepare_options options = {.struct_size = sizeof options,
                                          .precision = weights->precision,
                                          .deterministic = weights->deterministic,
                                          .store = &weights->store.base,
                                          .threads = request->threads,
                                          .on_demand = weights->on_demand};
    weights->store.threads = request->threads;
    BERT_TRY(device->backend->prepared_create(device->device, &options, &weights->prepared, error));
    const bert_status status = prepare_all(weights, request->quant_scope, error);
    weights->store.threads = NULL; /* the session's: it may end before the weights do */
    return status;
}

static bert_status create_weights(bert_model *model, const bert_opened_device *device,
                                  const bert_weights_request *request, bool recording, bert_weights **out,
                                  bert_error *error) {
    bert_weights *weights = bert_allocate(&model->allocator, sizeof *weights, _Alignof(bert_weights));
    if (!weights) return bert_fail_memory(error, sizeof *weights, "prepared weights");
    *weights = (bert_weights){.model = model,
                              .device = device,
                              .precision = request->precision,
                              .deterministic = request->deterministic,
                              .on_demand = request->on_demand && !recording};
    bert_status status = bert_model_store_init(&weights->store, model, error);
    if (status == BERT_OK && pthread_mutex_init(&weights->mutex, NULL) != 0) {
        bert_model_store_free(&weights->store);
        status = bert_fail(error, BERT_OUT_OF_MEMORY, "could not make the lock of prepared weights");
    }
    if (status != BERT_OK) {
        bert_deallocate(&model->allocator, weights, sizeof *weights, _Alignof(bert_weights));
        return status;
    }
    weights->store.recording = recording;
    status = prepare_weights(weights, request, error);
    if (status != BERT_OK) {
        free_weights(weights);
        return status;
    }
    *out = weights;
    return BERT_OK;
}

static bert_status find_or_create(bert_model *model, const bert_weights_request *request, bert_weights **out,
                                  bert_error *error) {
    for (bert_weights *weights = model->weights; weights; weights = weights->next) {
        if (weights->device->backend == request->backend && weights->precision == request->precision &&
            weights->deterministic == request->deterministic && (!weights->on_demand || request->on_demand)) {
            BERT_TRY(prepare_all(weights, request->quant_scope, error));
            *out = weights;
            return BERT_OK;
        }
    }
    bert_opened_device *device = NULL;
    BERT_TRY(open_device(model, request->backend, &device, error));
    BERT_TRY(create_weights(model, device, request, false, out, error));
    (*out)->next = model->weights;
    model->weights = *out;
    return BERT_OK;
}

bert_status bert_weights_get(bert_model *model, const bert_weights_request *request, bert_weights **out,
                             bert_error *error) {
    pthread_mutex_lock(&model->mutex);
    bert_status status = find_or_create(model, request, out, error);
    pthread_mutex_unlock(&model->mutex);
    return status;
}

static bert_status write_packed(bert_weights *weights, const bert_weights_request *request, const char *path,
                                bert_error *error) {
    bert_model_store *store = &weights->store;
    if (store->incomplete) return bert_fail(error, BERT_OUT_OF_MEMORY, "could not allocate the list of packed weights");
    const bert_packed_target target = target_of(weights);
    return bert_packed_file_write(path, &target, weights->model->graph, store->weights, store->count, request->threads,
                                  &weights->model->allocator, error);
}

bert_status bert_weights_pack(bert_model *model, const bert_weights_request *request, const char *path,
                              bert_error *error) {
    pthread_mutex_lock(&model->mutex);
    bert_opened_device *device = NULL;
    bert_status status = open_device(model, request->backend, &device, error);
    if (status == BERT_OK && !device->properties.host_memory)
        status = bert_fail(error, BERT_UNSUPPORTED, "its weights lie on a device and can't be mapped from a file");
    bert_weights *weights = NULL;
    if (status == BERT_OK) status = create_weights(model, device, request, true, &weights, error);
    if (status == BERT_OK) {
        status = write_packed(weights, request, path, error);
        free_weights(weights);
    }
    pthread_mutex_unlock(&model->mutex);
    return status;
}

bert_status bert_weights_ask(const bert_weights *weights, bert_arena *scratch, const bert_node *node,
                             const bert_value_info *infos, bert_op_plan *out, bool *runs, bert_error *error) {
    bert_op_node shown;
    bert_error reason = {0};
    BERT_TRY(bert_describe_node(scratch, node, infos, &shown, error));
    *out = (bert_op_plan){0};
    const bert_status status =
        weights->device->backend->plan(weights->prepared, NULL, &shown, BERT_PLAN_QUERY, out, &reason);
    *runs = status == BERT_OK;
    if (*runs) return BERT_OK;
    *out = (bert_op_plan){0};
    if (status == BERT_UNSUPPORTED) return BERT_OK;
    if (error) *error = reason;
    return bert_fail_in_node(error, status, node);
}

size_t bert_weights_bytes(bert_weights *weights) {
    size_t packed = weights->device->backend->prepared_bytes(weights->prepared);
    pthread_mutex_lock(&weights->mutex);
    size_t bytes = packed + weights->resident_bytes;
    pthread_mutex_unlock(&weights->mutex);
    return bytes;
}

void bert_weights_free_all(bert_model *model) {
    while (model->weights) {
        bert_weights *weights = model->weights;
        model->weights = weights->next;
        free_weights(weights);
    }
    while (model->devices) {
        bert_opened_device *device = model->devices;
        model->devices = device->next;
        device->backend->device_close(device->device);
        bert_deallocate(&model->allocator, device, sizeof *device, _Alignof(bert_opened_device));
    }
}
