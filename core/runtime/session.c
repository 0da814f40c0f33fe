#include "core/runtime/session.h"

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/runtime/options.h"
#include "core/runtime/plugin.h"
#include "core/runtime/text.h"

#include <string.h>

enum { DEFAULT_PLANS = 16, MOST_PLANS = 1 << 16 };

/* ---- Choosing a provider ---------------------------------------------------------------------------------------- */

static bool is_named(const char *candidate, const char *name, size_t length) {
    return strlen(candidate) == length && memcmp(candidate, name, length) == 0;
}

static bert_status find_backend(const bert_composition *composition, const char *name, size_t length,
                                const bert_backend **out, bert_error *reason) {
    for (size_t i = 0; i < composition->backend_count; i++) {
        *out = composition->backends[i];
        if (is_named((*out)->name, name, length)) return BERT_OK;
    }
    for (size_t i = 0; i < composition->plugin_count; i++) {
        const char *plugin = composition->plugins[i];
        if (is_named(plugin, name, length)) return bert_plugin_open(plugin, out, reason);
    }
    return bert_fail(reason, BERT_UNSUPPORTED, "not in this build");
}

/* Why providers were passed over, for the log and for the error when none is left. */
static void note_reason(const bert_model *model, char *reasons, size_t capacity, const char *name, size_t length,
                        const char *reason) {
    int shown = length < 100 ? (int)length : 100;
    bert_log_write(&model->log, BERT_LOG_NOTICE, "provider %.*s: %s", shown, name, reason);
    bert_append_text(reasons, capacity, "%sprovider %.*s: %s", reasons[0] ? "; " : "", shown, name, reason);
}

static bert_weights_request request_of(const bert_session_options *options, const bert_backend *backend) {
    return (bert_weights_request){.backend = backend,
                                  .precision = options->precision,
                                  .deterministic = options->deterministic,
                                  .on_demand = options->weights_on_demand,
                                  .quant_scope = options->quant_scope,
                                  .threads = options->threads,
                                  .packed_file = options->packed_file};
}

/* What is tried with each provider of the list, until it succeeds: BERT_UNSUPPORTED passes on to the next one. */
typedef bert_status (*try_backend_fn)(void *argument, const bert_backend *backend, bert_error *error);

static bert_status open_session(void *argument, const bert_backend *backend, bert_error *error) {
    bert_session *session = argument;
    const bert_session_options *options = &session->options;
    const bert_weights_request request = request_of(options, backend);
    BERT_TRY(bert_weights_get(session->model, &request, &session->weights, error));
    bert_context_options context = {.struct_size = sizeof context,
                                    .threads = options->threads,
                                    .attention_precision = options->attention_precision,
                                    .device_time = options->device_time};
    return backend->context_create(session->weights->prepared, &context, &session->context, error);
}

static bert_status choose_backend(const bert_model *model, const char *providers, try_backend_fn try_backend,
                                  void *argument, bert_error *error) {
    char reasons[BERT_ERROR_MESSAGE_BYTES] = "";
    for (const char *at = providers; *at;) {
        at += strspn(at, ", \t");
        size_t length = strcspn(at, ", \t");
        if (length == 0) break;
        const bert_backend *backend = NULL;
        bert_error reason = {0};
        bert_status status = find_backend(model->composition, at, length, &backend, &reason);
        if (status == BERT_OK) status = try_backend(argument, backend, &reason);
        if (status == BERT_OK) return BERT_OK;
        if (status != BERT_UNSUPPORTED) {
            return bert_fail(error, status, "provider %.*s: %s", (int)length, at, reason.message);
        }
        note_reason(model, reasons, sizeof reasons, at, length, reason.message);
        at += length;
    }
    if (!reasons[0]) return bert_fail(error, BERT_INVALID_ARGUMENT, "the list of providers is empty");
    return bert_fail(error, BERT_UNSUPPORTED, "no provider can run this model: %s", reasons);
}

/* ---- Making and freeing ----------------------------------------------------------------------------------------- */

static bert_status check_options(const bert_model *model, bert_session_options *options, bert_error *error) {
    if (!options->providers) options->providers = model->composition->backends[0]->name;
    if (options->plan_cache == 0) options->plan_cache = DEFAULT_PLANS;
    if (options->plan_cache < 0 || options->plan_cache > MOST_PLANS) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "plan_cache is %d: it must be between 0 and %d",
                         options->plan_cache, MOST_PLANS);
    }
    if ((unsigned)options->precision > BERT_PRECISION_FP8 || (unsigned)options->quant_scope > BERT_QUANT_SCOPE_TOKEN ||
        (unsigned)options->padded_rows > BERT_PADDED_ROWS_UNDEFINED) {
        return bert_fail(error, BERT_INVALID_ARGUMENT,
                         "precision, quant_scope or padded_rows is not a value of its type");
    }
    if (options->attention_precision != BERT_PRECISION_FP32 && options->attention_precision != BERT_PRECISION_BF16) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "attention_precision may be fp32 or bf16");
    }
    if (model->promoted && options->precision != BERT_PRECISION_FP64) {
        return bert_fail(error, BERT_INVALID_ARGUMENT,
                         "the model was promoted to double: its sessions need precision fp64");
    }
    if (!model->promoted && options->precision == BERT_PRECISION_FP64) {
        return bert_fail(error, BERT_INVALID_ARGUMENT,
                         "precision fp64 needs a model that was loaded with promote_to_double");
    }
    return BERT_OK;
}

static bert_status allocate_tables(bert_session *session, bert_error *error) {
    bert_arena *memory = &session->memory;
    size_t inputs = (size_t)session->model->graph->input_count, outputs = (size_t)session->model->graph->output_count;
    session->plan_capacity = (size_t)session->options.plan_cache;
    session->inputs = BERT_ARENA_NEW_ARRAY(memory, bert_tensor, inputs);
    session->given = BERT_ARENA_NEW_ARRAY(memory, bool, inputs);
    session->wanted = BERT_ARENA_NEW_ARRAY(memory, bool, outputs);
    session->output_indices = BERT_ARENA_NEW_ARRAY(memory, int32_t, outputs);
    session->plans = BERT_ARENA_NEW_ARRAY(memory, bert_plan *, session->plan_capacity);
    if (!session->inputs || !session->given || !session->wanted || !session->output_indices || !session->plans) {
        return bert_fail_memory(error, sizeof *session, "a session");
    }
    return BERT_OK;
}

bert_status bert_session_create(bert_model *model, const bert_session_options *options, bert_session **out,
                                bert_error *error) {
    bert_session_options own;
    *out = NULL;
    if (!model) return bert_fail(error, BERT_INVALID_ARGUMENT, "a session needs a model");
    BERT_TRY(bert_read_options(&own, sizeof own, options, "bert_session_options", error));
    BERT_TRY(check_options(model, &own, error));
    bert_session *session = bert_allocate(&model->allocator, sizeof *session, _Alignof(bert_session));
    if (!session) return bert_fail_memory(error, sizeof *session, "a session");
    *session = (bert_session){.model = model, .options = own};
    bert_model_hold(model);
    bert_arena_init(&session->memory, &model->allocator);
    bert_status status = allocate_tables(session, error);
    if (status == BERT_OK) status = choose_backend(model, own.providers, open_session, session, error);
    session->options.providers = session->options.packed_file = NULL; /* the caller's strings */
    if (status != BERT_OK) {
        bert_session_free(session);
        return status;
    }
    *out = session;
    return BERT_OK;
}

typedef struct packing {
    bert_model *model;
    const bert_session_options *options;
    const char *path;
} packing;

static bert_status pack_for(void *argument, const bert_backend *backend, bert_error *error) {
    const packing *p = argument;
    bert_weights_request request = request_of(p->options, backend);
    request.packed_file = NULL; /* what is written is made from the model */
    return bert_weights_pack(p->model, &request, p->path, error);
}

/* Constants of the graph are read from its files, and a rename would take the place of one. */
static bert_status check_pack_path(const bert_model *model, const char *path, bert_error *error) {
    for (const bert_graph_file *file = model->graph->files; file; file = file->next) {
        if (!bert_file_is_at(&file->file, path)) continue;
        return bert_fail(error, BERT_INVALID_ARGUMENT,
                         "'%s' is one of the model's own files, which packed weights don't replace", path);
    }
    return BERT_OK;
}

bert_status bert_model_pack(bert_model *model, const bert_session_options *options, const char *path,
                            bert_error *error) {
    bert_session_options own;
    if (!model || !path) return bert_fail(error, BERT_INVALID_ARGUMENT, "packing needs a model and a path");
    BERT_TRY(bert_read_options(&own, sizeof own, options, "bert_session_options", error));
    BERT_TRY(check_options(model, &own, error));
    BERT_TRY(check_pack_path(model, path, error));
    packing p = {model, &own, path};
    return choose_backend(model, own.providers, pack_for, &p, error);
}

/* Activations too large for a second-level cache lie on large pages. */
static size_t arena_alignment(size_t bytes) {
    return bytes < BERT_LARGE_PAGE ? BERT_ALIGNMENT : BERT_LARGE_PAGE;
}

static void free_device_memory(bert_session *session, void *memory, size_t bytes) {
    const bert_opened_device *device = session->weights->device;
    if (device->properties.host_memory) {
        bert_deallocate(&session->model->allocator, memory, bytes, arena_alignment(bytes));
    } else if (memory) {
        device->backend->memory_free(device->device, memory, bytes);
    }
}

void bert_session_free(bert_session *session) {
    if (!session) return;
    bert_model *model = session->model;
    for (size_t i = 0; i < session->plan_count; i++) bert_plan_free(session->plans[i]);
    if (session->arena) free_device_memory(session, session->arena, session->arena_bytes);
    bert_deallocate(&model->allocator, session->host_outputs, session->host_output_bytes, BERT_ALIGNMENT);
    bert_tokens_free(&session->tokens, &model->allocator);
    if (session->context) session->weights->device->backend->context_free(session->context);
    bert_arena_free(&session->memory);
    bert_deallocate(&model->allocator, session, sizeof *session, _Alignof(bert_session));
    bert_model_free(model);
}

const char *bert_session_provider(const bert_session *session) {
    return session->weights->device->backend->name;
}

const bert_plan *bert_session_plan(const bert_session *session) {
    return session->current;
}

/* ---- Plans ------------------------------------------------------------------------------------------------------ */

static bert_status allocate_device_memory(bert_session *session, size_t bytes, void **out, bert_error *error) {
    const bert_opened_device *device = session->weights->device;
    if (!device->properties.host_memory) {
        return device->backend->memory_allocate(device->device, bytes, out, error);
    }
    *out = bert_allocate(&session->model->allocator, bytes, arena_alignment(bytes));
    if (!*out) return bert_fail_memory(error, bytes, "activations");
    bert_ask_for_large_pages(*out, bytes);
    return BERT_OK;
}

/* One arena serves all plans: only one runs at a time. It is never empty, so that an empty tensor has an address. */
static bert_status grow_arena(bert_session *session, size_t bytes, bert_error *error) {
    if (bytes < BERT_ALIGNMENT) bytes = BERT_ALIGNMENT;
    if (bytes <= session->arena_bytes) return BERT_OK;
    void *arena = NULL;
    BERT_TRY(allocate_device_memory(session, bytes, &arena, error));
    if (session->arena) free_device_memory(session, session->arena, session->arena_bytes);
    session->arena = arena;
    session->arena_bytes = bytes;
    return BERT_OK;
}

/* Outputs that the session owns lie in the arena; where that is a device's, they come to the host here. */
static bert_status grow_host_outputs(bert_session *session, const bert_plan *plan, bert_error *error) {
    if (session->weights->device->properties.host_memory) return BERT_OK;
    size_t bytes = BERT_ALIGNMENT;
    for (size_t i = 0; i < plan->output_count; i++) {
        bytes += (plan->outputs[i].bytes + BERT_ALIGNMENT - 1) & ~(size_t)(BERT_ALIGNMENT - 1);
    }
    if (bytes <= session->host_output_bytes) return BERT_OK;
    void *memory = bert_allocate(&session->model->allocator, bytes, BERT_ALIGNMENT);
    if (!memory) return bert_fail_memory(error, bytes, "outputs");
    bert_deallocate(&session->model->allocator, session->host_outputs, session->host_output_bytes, BERT_ALIGNMENT);
    session->host_outputs = memory;
    session->host_output_bytes = bytes;
    return BERT_OK;
}

/* Room for one more plan, the one that was not used for the longest time making it. */
static size_t make_room(bert_session *session) {
    if (session->plan_count < session->plan_capacity) return session->plan_count++;
    size_t oldest = 0;
    for (size_t i = 1; i < session->plan_count; i++) {
        if (session->plans[i]->last_use < session->plans[oldest]->last_use) oldest = i;
    }
    bert_plan_free(session->plans[oldest]);
    return oldest;
}

static bert_status add_plan(bert_session *session, const bert_request *request, bert_error *error) {
    bert_plan *plan = NULL;
    BERT_TRY(bert_plan_create(session->weights, session->context, request, &plan, error));
    bert_status status = grow_arena(session, plan->arena_bytes, error);
    if (status == BERT_OK) status = grow_host_outputs(session, plan, error);
    if (status == BERT_OK && session->options.profile) status = bert_session_describe_profile(session, plan, error);
    if (status != BERT_OK) {
        bert_plan_free(plan);
        return status;
    }
    session->plans[make_room(session)] = plan;
    session->current = plan;
    return BERT_OK;
}

/* Which tokens of the call's batch are real, where the session makes use of it. *packable: some are not, and padding
 * may be skipped. */
static bert_status count_tokens(bert_session *session, bool *packable, bert_error *error) {
    const bool pack = session->options.padded_rows == BERT_PADDED_ROWS_UNDEFINED;
    const int32_t input = session->model->token_mask;
    *packable = false;
    if (input < 0 || (!pack && session->options.quant_scope != BERT_QUANT_SCOPE_SEQUENCE)) return BERT_OK;
    const bert_constant *mask = session->model->graph->inputs[input]->input_default;
    bert_constant given;
    if (session->given[input]) {
        const bert_tensor *tensor = &session->inputs[input];
        given = (bert_constant){.dtype = tensor->dtype, .rank = tensor->rank, .data = tensor->data};
        memcpy(given.dims, tensor->dims, sizeof given.dims);
        mask = &given;
        if (!tensor->data) return BERT_OK; /* shapes are bound, nothing is run */
    }
    BERT_TRY(bert_tokens_count(&session->tokens, &session->model->allocator, mask, error));
    *packable = pack && session->tokens.packable;
    return BERT_OK;
}

/* The plan for the request; with `refused` one that skips no padding because it can't. NULL when there is none. */
static bert_plan *find_plan(const bert_session *session, const bert_request *request, bool refused) {
    const uint64_t key = bert_request_key(session->model, request);
    for (size_t i = 0; i < session->plan_count; i++) {
        bert_plan *plan = session->plans[i];
        if ((!refused || plan->padding) && bert_plan_is_for(plan, key, request)) return plan;
    }
    return NULL;
}

static bert_status find_or_add(bert_session *session, const bert_request *request, bert_error *error) {
    bert_plan *found = find_plan(session, request, false);
    if (!found) return add_plan(session, request, error);
    session->current = found;
    return BERT_OK;
}

/* Whether padding is where a plan without it must have it, and the tokens that it can't do without are there. */
static bool serves_tokens(const bert_plan *plan, const bert_tokens *tokens) {
    if (plan->right && !tokens->right) return false;
    for (int32_t i = 0; i < plan->needed_count; i++) {
        if (!bert_tokens_have(tokens, plan->needed[i])) return false;
    }
    return true;
}

bert_status bert_session_find_plan(bert_session *session, bert_error *error) {
    bert_request request = {.inputs = session->inputs,
                            .given = session->given,
                            .wanted = session->wanted,
                            .scope = session->options.quant_scope};
    bool packable;
    BERT_TRY(count_tokens(session, &packable, error));
    bert_plan *refused = packable ? find_plan(session, &request, true) : NULL;
    if (refused) {
        session->current = refused;
    } else if (packable) {
        request.rows = bert_tokens_bucket(&session->tokens);
        BERT_TRY(find_or_add(session, &request, error));
        request.rows = 0;
        if (!serves_tokens(session->current, &session->tokens)) BERT_TRY(find_or_add(session, &request, error));
        const bert_backend *backend = session->weights->device->backend;
        if (session->current->fills) bert_tokens_fill(&session->tokens, backend->row_step, backend->few_rows);
    } else {
        BERT_TRY(find_or_add(session, &request, error));
    }
    session->current->last_use = ++session->clock;
    return BERT_OK;
}

bert_status bert_session_bind(bert_session *session, const bert_named_tensor *inputs, size_t input_count,
                              const char *const *output_names, size_t output_count, bert_error *error) {
    BERT_TRY(bert_session_take_inputs(session, inputs, input_count, false, error));
    if (output_count && !output_names) return bert_fail(error, BERT_INVALID_ARGUMENT, "the list of outputs is NULL");
    for (size_t i = 0; i < output_count; i++) {
        int32_t index;
        BERT_TRY(bert_session_take_output(session, output_names[i], &index, error));
    }
    if (output_count == 0) {
        for (int32_t i = 0; i < session->model->graph->output_count; i++) session->wanted[i] = true;
    }
    return bert_session_find_plan(session, error);
}

int64_t bert_session_device_nanoseconds(const bert_session *session) {
    const bert_backend *backend = session->weights->device->backend;
    const bool timed = session->options.device_time && backend->device_nanoseconds;
    return timed ? backend->device_nanoseconds(session->context) : 0;
}

void bert_session_get_memory(const bert_session *session, bert_session_memory *out) {
    size_t size = out->struct_size < sizeof *out ? out->struct_size : sizeof *out;
    bert_session_memory memory = {.struct_size = out->struct_size,
                                  .weight_bytes = bert_weights_bytes(session->weights),
                                  .arena_bytes = session->arena_bytes + session->host_output_bytes,
                                  .plan_count = session->plan_count};
    const bert_backend *backend = session->weights->device->backend;
    if (backend->context_bytes) memory.context_bytes = backend->context_bytes(session->context);
    for (size_t i = 0; i < session->plan_count; i++) {
        memory.arena_bytes += session->plans[i]->memory.total_bytes + session->plans[i]->device_constant_bytes;
    }
    memcpy(out, &memory, size);
}
