/* Running a plan. */
#include "core/base/error.h"
#include "core/runtime/op_node.h"
#include "core/runtime/options.h"
#include "core/runtime/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct runner {
    bert_session *session;
    bert_plan *plan;
    const bert_backend *backend;
    bool host_memory;
    const bert_cancel_flag *cancel;
    bert_named_tensor *outputs; /* the caller's */
    size_t output_count;
    bert_error *error;
} runner;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void *arena_at(const runner *r, size_t offset) {
    return (unsigned char *)r->session->arena + offset;
}

/* ---- The caller's buffers --------------------------------------------------------------------------------------- */

/* The caller's tensor for an output of the plan. */
static bert_named_tensor *caller_output(const runner *r, const bert_plan_output *output) {
    for (size_t i = 0; i < r->output_count; i++) {
        if (r->session->output_indices[i] == output->index) return &r->outputs[i];
    }
    return NULL;
}

/* The caller's buffer for it; NULL when the session is to own the result. */
static void *caller_buffer(const runner *r, const bert_plan_output *output) {
    const bert_named_tensor *caller = caller_output(r, output);
    return caller->capacity_bytes ? caller->tensor.data : NULL;
}

static bool overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes) {
    uintptr_t left = (uintptr_t)a, right = (uintptr_t)b;
    return left < right ? right - left < a_bytes : left - right < b_bytes;
}

static bool is_aligned(const bert_tensor *tensor, const void *data) {
    return (uintptr_t)data % bert_dtype_size(tensor->dtype) == 0;
}

/* Kernels may write into the caller's buffer unless that lies over an input that they still read. */
static bool can_write_directly(const runner *r, const bert_plan_output *output, const void *data) {
    if (!r->host_memory || !data || !is_aligned(&output->tensor, data)) return false;
    for (int32_t i = 0; i < r->session->model->graph->input_count; i++) {
        if (!r->session->given[i]) continue;
        const bert_tensor *input = &r->session->inputs[i];
        if (overlap(data, output->bytes, input->data, bert_tensor_bytes(input))) return false;
    }
    return true;
}

static bert_status check_output_buffers(const runner *r) {
    for (size_t i = 0; i < r->plan->output_count; i++) {
        const bert_plan_output *output = &r->plan->outputs[i];
        const bert_named_tensor *caller = caller_output(r, output);
        if (!caller_buffer(r, output)) continue;
        if (caller->capacity_bytes < output->bytes) {
            return bert_fail(r->error, BERT_INVALID_ARGUMENT,
                             "output %s needs %zu bytes, the buffer given for it has %zu", caller->name, output->bytes,
                             caller->capacity_bytes);
        }
        for (size_t j = 0; j < i; j++) {
            const bert_plan_output *other = &r->plan->outputs[j];
            const void *buffer = caller_buffer(r, other);
            if (!buffer || !overlap(caller->tensor.data, output->bytes, buffer, other->bytes)) continue;
            return bert_fail(r->error, BERT_INVALID_ARGUMENT, "the buffers of outputs %s and %s overlap", caller->name,
                             caller_output(r, other)->name);
        }
    }
    return BERT_OK;
}

/* ---- Addresses -------------------------------------------------------------------------------------------------- */

static bert_status place_input(const runner *r, bert_storage *storage) {
    const bert_tensor *input = &r->session->inputs[storage->index];
    storage->base = arena_at(r, storage->offset);
    if (storage->bytes == 0) return BERT_OK;
    if (!r->host_memory) {
        return r->backend->upload(r->session->context, storage->base, input, r->error);
    }
    if (is_aligned(input, input->data)) {
        storage->base = input->data;
    } else {
        memcpy(storage->base, input->data, storage->bytes);
    }
    return BERT_OK;
}

/* What the run says of its tokens, where the backend reads it. */
static bert_status place_tokens(const runner *r, bert_storage *storage) {
    const bert_tokens *tokens = &r->session->tokens;
    const void *lists[BERT_TOKEN_LISTS] = {tokens->starts, tokens->tokens, tokens->counted};
    storage->base = (void *)lists[storage->index]; /* kernels only read it */
    if (r->host_memory) return BERT_OK;
    bert_tensor list = {.dtype = BERT_INT32, .rank = 1, .data = storage->base};
    if (storage->index == BERT_TOKEN_COUNTED) list.dtype = BERT_BOOL;
    list.dims[0] = storage->index == BERT_TOKEN_TOKENS ? tokens->run_rows
                                                       : (int64_t)(storage->bytes / bert_dtype_size(list.dtype));
    storage->base = arena_at(r, storage->offset);
    return list.dims[0] ? r->backend->upload(r->session->context, storage->base, &list, r->error) : BERT_OK;
}

static bert_status place_storages(const runner *r) {
    for (size_t i = 0; i < r->plan->storage_count; i++) {
        bert_storage *storage = &r->plan->storages[i];
        switch (storage->kind) {
        case BERT_STORAGE_CONSTANT:
            break;
        case BERT_STORAGE_ARENA:
            storage->base = arena_at(r, storage->offset);
            break;
        case BERT_STORAGE_INPUT:
            BERT_TRY(place_input(r, storage));
            break;
        case BERT_STORAGE_TOKENS:
            BERT_TRY(place_tokens(r, storage));
            break;
        case BERT_STORAGE_OUTPUT: {
            const bert_plan_output *output = &r->plan->outputs[storage->index];
            void *data = caller_buffer(r, output);
            storage->base = can_write_directly(r, output, data) ? data : arena_at(r, storage->offset);
            break;
        }
        }
    }
    return BERT_OK;
}

static void *base_of(const runner *r, uint32_t storage) {
    return storage == BERT_NO_STORAGE ? NULL : r->plan->storages[storage].base;
}

static bert_byte_rows byte_rows_of(const runner *r, bert_byte_rows_storage storage) {
    return (bert_byte_rows){.bytes = base_of(r, storage.bytes), .scales = base_of(r, storage.scales)};
}

static void place_tensors(const runner *r) {
    for (size_t i = 0; i < r->plan->row_tensor_count; i++) {
        const bert_row_tensor *row = &r->plan->row_tensors[i];
        row->tensor->dims[row->axis] = r->session->tokens.run_rows;
    }
    for (size_t s = 0; s < r->plan->step_count; s++) {
        bert_plan_step *step = &r->plan->steps[s];
        for (int32_t i = 0; i < step->node->input_count; i++) {
            step->inputs[i].data = base_of(r, step->input_storages[i]);
        }
        for (int32_t i = 0; i < step->node->output_count; i++) {
            step->outputs[i].data = base_of(r, step->output_storages[i]);
        }
    }
}

/* ---- Kernels ---------------------------------------------------------------------------------------------------- */

static bert_status run_step(const runner *r, bert_plan_step *step) {
    if (r->cancel && *r->cancel) {
        return bert_fail(r->error, BERT_CANCELLED, "the run was cancelled before node %s (%s)",
                         bert_node_label(step->node), step->node->op->name);
    }
    bert_kernel_call call = {.plan = &step->plan,
                             .context = r->session->context,
                             .inputs = step->inputs,
                             .outputs = step->outputs,
                             .workspace = step->plan.workspace_bytes ? arena_at(r, step->workspace_offset) : NULL,
                             .x_ranges = base_of(r, step->x_ranges),
                             .y_ranges = base_of(r, step->y_ranges),
                             .x_bytes = byte_rows_of(r, step->x_bytes),
                             .x_bytes_made = step->x_bytes_made,
                             .y_bytes = byte_rows_of(r, step->y_bytes),
                             .y_unread = step->y_unread};
    bool profile = r->session->options.profile;
    int64_t start = profile ? now() : 0;
    bert_status status = step->plan.run(&call, r->error);
    if (status != BERT_OK) return bert_fail_in_node(r->error, status, step->node);
    if (profile) {
        step->nanoseconds += now() - start;
        step->runs++;
    }
    return BERT_OK;
}

static bert_status call_kernels(const runner *r) {
    for (size_t s = 0; s < r->plan->step_count; s++) BERT_TRY(run_step(r, &r->plan->steps[s]));
    return BERT_OK;
}

/* What a backend says of all kernels together doesn't tell their shapes; an input's do. */
static bert_status fail_in_run(const runner *r, bert_status status) {
    const bert_graph *graph = r->session->model->graph;
    char shape[24 * BERT_MAX_RANK] = "";
    int32_t input = 0;
    while (input < graph->input_count && !r->session->given[input]) input++;
    if (status == BERT_OK || input == graph->input_count) return status;
    const bert_tensor *tensor = &r->session->inputs[input];
    for (int32_t i = 0, used = 0; i < tensor->rank && used < (int32_t)sizeof shape; i++)
        used += snprintf(shape + used, sizeof shape - (size_t)used, "%s%" PRId64, i ? ", " : "", tensor->dims[i]);
    return bert_fail_in(r->error, status, "a run with %s [%s]", graph->inputs[input]->name, shape);
}

/* Kernels, or what the backend recorded of them. */
static bert_status run_steps(const runner *r) {
    if (!r->backend->steps_begin) return call_kernels(r);
    bert_context *context = r->session->context;
    const bert_tokens *tokens = &r->session->tokens;
    const bool packed = r->plan->row_tensor_count > 0;
    const bert_run_steps steps = {.plan = r->plan->id,
                                  .arena = r->session->arena,
                                  .rows = packed ? tokens->run_rows : 0,
                                  .filled = packed && tokens->run_rows > tokens->rows,
                                  .apart = r->session->options.profile};
    for (bool again = true; again;) {
        bool replayed = false;
        again = false;
        if (r->cancel && *r->cancel) return bert_fail(r->error, BERT_CANCELLED, "the run was cancelled");
        BERT_TRY(fail_in_run(r, r->backend->steps_begin(context, &steps, &replayed, r->error)));
        if (replayed) return BERT_OK;
        const bert_status status = call_kernels(r);
        const bert_status end = r->backend->steps_end(context, status, &again, status == BERT_OK ? r->error : NULL);
        if (status != BERT_OK) return status;
        BERT_TRY(end);
    }
    return BERT_OK;
}

/* ---- Outputs ---------------------------------------------------------------------------------------------------- */

/* Before the run ends, which fills what is asked for here. */
static bert_status deliver_from_device(const runner *r) {
    unsigned char *own = r->session->host_outputs;
    for (size_t i = 0; i < r->plan->output_count; i++) {
        const bert_plan_output *output = &r->plan->outputs[i];
        bert_named_tensor *caller = caller_output(r, output);
        void *buffer = caller_buffer(r, output), *data = buffer ? buffer : own;
        if (!buffer) own += (output->bytes + BERT_ALIGNMENT - 1) & ~(size_t)(BERT_ALIGNMENT - 1);
        if (output->bytes) {
            bert_tensor source = output->tensor;
            source.data = r->plan->storages[output->source].base;
            BERT_TRY(r->backend->download(r->session->context, data, &source, r->error));
        }
        caller->tensor = output->tensor;
        caller->tensor.data = data;
    }
    return BERT_OK;
}

static void deliver_in_host_memory(const runner *r) {
    const bert_plan *plan = r->plan;
    /* First what other outputs are copied from is left as it is, then each goes where its caller wants it. */
    for (size_t i = 0; i < plan->output_count; i++) {
        const bert_plan_output *output = &plan->outputs[i];
        void *base = plan->storages[output->storage].base, *source = plan->storages[output->source].base;
        if (base != source && output->bytes) memmove(base, source, output->bytes);
    }
    for (size_t i = 0; i < plan->output_count; i++) {
        const bert_plan_output *output = &plan->outputs[i];
        bert_named_tensor *caller = caller_output(r, output);
        void *base = plan->storages[output->storage].base, *buffer = caller_buffer(r, output);
        void *data = buffer ? buffer : base;
        if (data != base && output->bytes) memmove(data, base, output->bytes);
        caller->tensor = output->tensor;
        caller->tensor.data = data;
    }
}

static bert_status execute(const runner *r) {
    bert_context *context = r->session->context;
    if (r->backend->run_begin) BERT_TRY(r->backend->run_begin(context, r->error));
    bert_status status = place_storages(r);
    if (status == BERT_OK) {
        place_tensors(r);
        status = run_steps(r);
    }
    if (status == BERT_OK && !r->host_memory) status = deliver_from_device(r);
    if (r->backend->run_end) {
        bert_status end = r->backend->run_end(context, status == BERT_OK ? r->error : NULL);
        /* An input that is no good is named as it is. */
        if (status == BERT_OK) status = end == BERT_INVALID_INPUT ? end : fail_in_run(r, end);
    }
    if (status == BERT_OK && r->host_memory) deliver_in_host_memory(r);
    return status;
}

bert_status bert_session_run(bert_session *session, const bert_run_options *options, const bert_named_tensor *inputs,
                             size_t input_count, bert_named_tensor *outputs, size_t output_count, bert_error *error) {
    bert_run_options own;
    BERT_TRY(bert_read_options(&own, sizeof own, options, "bert_run_options", error));
    BERT_TRY(bert_session_take_inputs(session, inputs, input_count, true, error));
    if (!outputs || output_count == 0) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "a run needs at least one output to give");
    }
    for (size_t i = 0; i < output_count; i++) {
        int32_t index;
        BERT_TRY(bert_session_take_output(session, outputs[i].name, &index, error));
        session->output_indices[i] = index;
    }
    BERT_TRY(bert_session_find_plan(session, error));
    const bert_opened_device *device = session->weights->device;
    runner r = {.session = session,
                .plan = session->current,
                .backend = device->backend,
                .host_memory = device->properties.host_memory,
                .cancel = own.cancel,
                .outputs = outputs,
                .output_count = output_count,
                .error = error};
    BERT_TRY(check_output_buffers(&r));
    return execute(&r);
}
